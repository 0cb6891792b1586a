/* Malformed tokenizer.json files, chat templates and hub listings (RELIABILITY.md 1d). */
#include "corpus.h"

#define BPE(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define SMALL "\"a\":0,\"b\":1,\"ab\":2"

#define UNIGRAM(vocab, rest, norm)                                                                                     \
	"{\"normalizer\":" norm ",\"model\":{\"type\":\"Unigram\",\"vocab\":[" vocab "]" rest "}}"
#define MAP(base64) "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"" base64 "\"}"

static void tokenizers(void)
{
	static const struct {
		const char *name, *text;
	} c[] = {
		{"tokenizer/T-ok.json", "{" BPE(SMALL, "\"a b\"") "}"},
		{"tokenizer/T-empty.json", ""},
		{"tokenizer/T-a-list.json", "[]"},
		{"tokenizer/T-no-model.json", "{}"},
		{"tokenizer/T-model-unknown.json", "{\"model\":{\"type\":\"Wombat\",\"vocab\":{}}}"},
		{"tokenizer/T-vocab-empty.json", "{" BPE("", "") "}"},
		{"tokenizer/T-hole-of-10-million.json", "{" BPE("\"a\":10000000", "") "}"},
		{"tokenizer/T-id-negative.json", "{" BPE("\"a\":-1", "") "}"},
		{"tokenizer/T-id-2e31.json", "{" BPE("\"a\":2147483648", "") "}"},
		{"tokenizer/T-id-2e32.json", "{" BPE("\"a\":4294967296", "") "}"},
		{"tokenizer/T-id-2e63.json", "{" BPE("\"a\":9223372036854775808", "") "}"},
		{"tokenizer/T-ok-unigram.json", UNIGRAM("[\"<unk>\",0],[\"a\",-1]", ",\"unk_id\":0", "null")},
		{"tokenizer/T-unigram-without-unk.json", UNIGRAM("[\"a\",-1]", "", "null")},
		{"tokenizer/T-unigram-unk-one-over.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":1", "null")},
		{"tokenizer/T-unigram-unk-negative.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":-1", "null")},
		{"tokenizer/T-unigram-unk-2e63.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":9223372036854775807", "null")},
		{"tokenizer/T-unigram-score-a-text.json", UNIGRAM("[\"a\",\"-1\"]", ",\"unk_id\":0", "null")},
		{"tokenizer/T-unigram-token-alone.json", UNIGRAM("\"a\"", ",\"unk_id\":0", "null")},
		{"tokenizer/T-unigram-vocab-an-object.json",
		 "{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0},\"unk_id\":0}}"},
		{"tokenizer/T-map-no-base64.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":0", MAP("AA*A"))},
		{"tokenizer/T-map-3-bytes.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":0", MAP("AAAA"))},
		{"tokenizer/T-map-missing.json", UNIGRAM("[\"a\",-1]", ",\"unk_id\":0", "{\"type\":\"Precompiled\"}")},
		{"tokenizer/T-id-a-text.json", "{" BPE("\"a\":\"0\"", "") "}"},
		{"tokenizer/T-id-twice.json", "{" BPE("\"a\":0,\"b\":0", "") "}"},
		{"tokenizer/T-token-twice.json", "{" BPE("\"a\":0,\"a\":1", "") "}"},
		{"tokenizer/T-token-surrogate.json", "{" BPE("\"\\ud800\":0", "") "}"},
		{"tokenizer/T-token-with-nul.json", "{" BPE("\"a\\u0000\":0", "") "}"},
		{"tokenizer/T-merge-unknown.json", "{" BPE(SMALL, "\"a c\"") "}"},
		{"tokenizer/T-merge-makes-nothing.json", "{" BPE(SMALL, "\"b a\"") "}"},
		{"tokenizer/T-merge-of-one.json", "{" BPE(SMALL, "\"ab\"") "}"},
		{"tokenizer/T-merge-numbers.json", "{" BPE(SMALL, "[1,2]") "}"},
		{"tokenizer/T-unk-unknown.json",
		 "{\"model\":{\"type\":\"BPE\",\"vocab\":{" SMALL "},\"merges\":[],\"unk_token\":\"x\"}}"},
		{"tokenizer/T-added-with-other-id.json", "{\"added_tokens\":[{\"id\":3,\"content\":\"a\"}]," BPE(SMALL, "") "}"},
		{"tokenizer/T-added-cyclic.json",
		 "{\"added_tokens\":[{\"id\":0,\"content\":\"b\"},{\"id\":1,\"content\":\"a\"}]," BPE(SMALL, "") "}"},
		{"tokenizer/T-added-far.json", "{\"added_tokens\":[{\"id\":2147483647,\"content\":\"x\"}]," BPE(SMALL, "") "}"},
		{"tokenizer/T-ok-added-empty.json", "{\"added_tokens\":[{\"id\":3,\"content\":\"\"}]," BPE(SMALL, "") "}"},
		{"tokenizer/T-regex-unclosed.json",
		 "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"}}," BPE(SMALL, "") "}"},
		{"tokenizer/T-ok-regex-bomb.json",
		 "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a*)*(a*)*(a*)*c\"},\"behavior\":\"Isolated\","
		 "\"invert\":false}," BPE(SMALL, "") "}"},
		{"tokenizer/T-normalizer-unknown.json", "{\"normalizer\":{\"type\":\"Wombat\"}," BPE(SMALL, "") "}"},
		{"tokenizer/T-decoder-unknown.json", "{\"decoder\":{\"type\":\"Wombat\"}," BPE(SMALL, "") "}"},
		{"tokenizer/T-post-names-no-token.json",
		 "{\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"x\",9],\"cls\":[\"a\",0]}," BPE(SMALL, "") "}"},
	};
	static char deep[20000];

	for (size_t i = 0; i < COUNT_OF(c); i++)
		corpus_text(c[i].name, c[i].text);
	size_t n = (size_t)snprintf(deep, sizeof deep, "{\"normalizer\":");
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(deep + n, sizeof deep - n, "{\"type\":\"Sequence\",\"normalizers\":[");
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(deep + n, sizeof deep - n, "]}");
	snprintf(deep + n, sizeof deep - n, "," BPE(SMALL, "") "}");
	corpus_text("tokenizer/T-normalizers-deep.json", deep);
	memset(deep, '[', sizeof deep - 1);
	corpus_text("tokenizer/T-deep.json", deep);
}

/* name: the piece `n` times between start and end. */
static void repeated(const char *name, const char *start, const char *piece, size_t n, const char *end)
{
	size_t bytes = strlen(start) + n * strlen(piece) + strlen(end) + 1, at = strlen(start);
	char *text = hth_alloc(bytes);

	assert_non_null(text);
	memcpy(text, start, at);
	for (size_t i = 0; i < n; i++, at += strlen(piece))
		memcpy(text + at, piece, strlen(piece));
	memcpy(text + at, end, strlen(end) + 1);
	corpus_text(name, text);
	hth_free(text);
}

static void templates(void)
{
	static const struct {
		const char *name, *text;
	} c[] = {
		{"template/J-ok.jinja", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"},
		{"template/J-range-1e9.jinja", "{% for i in range(1000000000) %}{{ messages }}{% endfor %}"},
		{"template/J-loops-nested.jinja",
		 "{% for i in range(30000) %}{% for j in range(30000) %}x{% endfor %}{% endfor %}{{ messages }}"},
		{"template/J-doubling.jinja",
		 "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
		 "{{ ns.x }}{{ messages }}"},
		{"template/J-string-times.jinja", "{{ 'a' * 1000000000000 }}{{ messages }}"},
		{"template/J-list-times.jinja", "{{ messages * 1000000000 }}"},
		{"template/J-indent-1e9.jinja", "{{ 'a\nb' | indent(1000000000) }}{{ messages }}"},
		{"template/J-format-1e9.jinja", "{{ '%1000000000d' % 1 }}{{ messages }}"},
		{"template/J-power.jinja", "{{ 9 ** 9 ** 9 }}{{ messages }}"},
		{"template/J-divided-by-0.jinja", "{{ 1 // 0 }}{{ messages }}"},
		{"template/J-minimum-divided.jinja", "{{ (-9223372036854775807 - 1) // -1 }}{{ messages }}"},
		{"template/J-macro-recursion.jinja", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(messages) }}"},
		{"template/J-raise.jinja", "{{ raise_exception('no such role') }}{{ messages }}"},
		{"template/J-include.jinja", "{% include '/etc/passwd' %}{{ messages }}"},
		{"template/J-import.jinja", "{% import 'os' as os %}{{ os.listdir('/') }}{{ messages }}"},
		{"template/J-tag-unknown.jinja", "{% wombat %}{{ messages }}"},
		{"template/J-filter-unknown.jinja", "{{ messages | wombat }}"},
		{"template/J-tag-unclosed.jinja", "{% for m in messages %}{{ m.content }}"},
		{"template/J-brace-unclosed.jinja", "{{ messages"},
		{"template/J-string-unclosed.jinja", "{{ 'abc }}{{ messages }}"},
		{"template/J-no-utf-8.jinja", "\xFF\xFE{{ messages }}"},
		{"template/J-runs-code.jinja", "{{ self.__init__.__globals__.__builtins__.open('pwned','w') }}{{ messages }}"},
		{"template/J-runs-code-by-attr.jinja",
		 "{{ messages }}{{ ''|attr('__class__')|attr('__mro__') }}"},
		{"template/J-undefined.jinja", "{{ nothing.of.this }}{{ messages }}"},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		corpus_text(c[i].name, c[i].text);
	repeated("template/J-brackets-60000.jinja", "{{ ", "(", 60000, "1 }}{{ messages }}");
	repeated("template/J-ifs-10000.jinja", "", "{% if messages %}", 10000, "x");
	repeated("template/J-nots-60000.jinja", "{{ ", "not ", 60000, "1 }}{{ messages }}");
	repeated("template/J-minus-60000.jinja", "{{ ", "-", 60000, "1 }}{{ messages }}");
	repeated("template/J-lists-60000.jinja", "{{ ", "[", 60000, "1 }}{{ messages }}");
	repeated("template/J-dots-60000.jinja", "{{ messages", ".a", 60000, " }}");
	repeated("template/J-ok-powers-20000.jinja", "{{ 1", " ** 1", 20000, " }}{{ messages }}");
	repeated("template/J-elses-20000.jinja", "{{ 1", " if 0 else 1", 20000, " }}{{ messages }}");
}

#define OID "\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\""
#define FILE_OF(path, rest) "[{\"type\":\"file\",\"path\":\"" path "\"," rest "}]"
#define NAMED(path) FILE_OF(path, "\"size\":3," OID)

static void listings(void)
{
	static const struct {
		const char *name, *text;
	} c[] = {
		{"hub/H-name-up.json", NAMED("../../../etc/cron.d/x.gguf")},
		{"hub/H-name-absolute.json", NAMED("/etc/passwd.gguf")},
		{"hub/H-name-up-inside.json", NAMED("a/../../b.gguf")},
		{"hub/H-name-backslash.json", NAMED("a\\\\..\\\\b.gguf")},
		{"hub/H-name-nul.json", NAMED("a\\u0000b.gguf")},
		{"hub/H-name-escape.json", NAMED("a\\u001b[2Jb.gguf")},
		{"hub/H-name-empty.json", NAMED("")},
		{"hub/H-name-surrogate.json", NAMED("\\ud800.gguf")},
		{"hub/H-name-no-utf-8.json", NAMED("\xFF.gguf")},
		{"hub/H-name-twice.json",
		 "[{\"path\":\"m.gguf\",\"size\":3," OID "},{\"path\":\"m.gguf\",\"size\":3," OID "}]"},
		{"hub/H-name-missing.json", "[{\"type\":\"file\",\"size\":3," OID "}]"},
		{"hub/H-name-a-number.json", "[{\"path\":7,\"size\":3," OID "}]"},
		{"hub/H-key-twice.json", "[{\"path\":\"a.gguf\",\"path\":\"../b\",\"size\":3," OID "}]"},
		{"hub/H-size-missing.json", FILE_OF("m.gguf", OID)},
		{"hub/H-size-negative.json", FILE_OF("m.gguf", "\"size\":-1," OID)},
		{"hub/H-size-2e63.json", FILE_OF("m.gguf", "\"size\":9223372036854775807," OID)},
		{"hub/H-size-2e64.json", FILE_OF("m.gguf", "\"size\":18446744073709551616," OID)},
		{"hub/H-size-real.json", FILE_OF("m.gguf", "\"size\":1e3," OID)},
		{"hub/H-hash-missing.json", FILE_OF("m.gguf", "\"size\":3")},
		{"hub/H-hash-short.json", FILE_OF("m.gguf", "\"size\":3,\"oid\":\"ce0136\"")},
		{"hub/H-hash-path.json", FILE_OF("m.gguf", "\"size\":3,\"oid\":\"../../../../../../../../../../etc/passwd//\"")},
		{"hub/H-hash-upper.json",
		 FILE_OF("m.gguf", "\"size\":3,\"oid\":\"CE013625030BA8DBA906F756967F9E9CA394464A\"")},
		{"hub/H-lfs-hash-short.json", FILE_OF("m.gguf", "\"size\":3," OID ",\"lfs\":{\"oid\":\"ab\",\"size\":3}")},
		{"hub/H-lfs-size-missing.json",
		 FILE_OF("m.gguf", "\"size\":3," OID ",\"lfs\":{\"oid\":"
				   "\"0123456789012345678901234567890123456789012345678901234567890123\"}")},
		{"hub/H-no-list.json", "{\"error\":\"no\"}"},
		{"hub/H-entry-no-object.json", "[7]"},
		{"hub/H-empty.json", ""},
		{"hub/H-nothing-listed.json", "[]"},
		{"hub/H-cut.json", "[{\"path\":\"m.gguf\",\"size\":3"},
		{"hub/H-html.json", "<html>sign in</html>"},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		corpus_text(c[i].name, c[i].text);
	repeated("hub/H-deep.json", "", "[", 100000, "");
}

void corpus_texts(void)
{
	tokenizers();
	templates();
	listings();
}
