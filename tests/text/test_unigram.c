/* Unigram tokenizers against the originals: tests/golden/unigram holds small models made by tools/golden_unigram.py,
 * with the ids and texts that the tokenizers library (tokenizer.json) and sentencepiece (GGUF) give. And what a unigram
 * tokenizer may have wrong. */
#include "../base/tempdir.h"

#include "base/json.h"
#include "text/charsmap.h"
#include "text/grapheme.h"
#include "text/tokenizer.h"
#include "text/tokenizer_convert.h"

#define GOLDEN "tests/golden/unigram/"

static json_t *cases;

static int load_cases(void **state)
{
	struct hth_err err = {0};
	(void)state;
	return hth_json_read(GOLDEN "cases.json", (size_t)4 << 20, HTH_JSON_STRICT, &cases, &err) != HTH_OK;
}

static int drop_cases(void **state)
{
	(void)state;
	json_decref(cases);
	return 0;
}

static void compare(const struct hth_tokenizer *t, const char *name, const json_t *want, int flags)
{
	const json_t *texts = json_object_get(cases, "texts"), *text;
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	struct hth_buf out;
	size_t i;

	hth_buf_init(&out, 1 << 20);
	json_array_foreach((json_t *)(uintptr_t)texts, i, text)
	{
		const json_t *ids = json_array_get(json_object_get(want, "ids"), i);
		const json_t *decoded = json_array_get(json_object_get(want, "decoded"), i);
		size_t bytes = json_string_length(text);
		got.n = 0;
		assert_ok(hth_tokenizer_encode(t, json_string_value(text), bytes, flags, &got, &err));
		bool same = got.n == json_array_size(ids);
		for (size_t k = 0; same && k < got.n; k++)
			same = got.ids[k] == json_integer_value(json_array_get(ids, k));
		for (size_t k = 0; k < got.n; k++)
			assert_true(got.starts[k] <= got.ends[k] && got.ends[k] <= bytes &&
				    (k == 0 || got.starts[k] >= got.starts[k - 1]));
		if (!same) {
			char *found = json_dumps(ids, JSON_COMPACT);
			fprintf(stderr, "expected %s, found", found);
			for (size_t k = 0; k < got.n; k++)
				fprintf(stderr, " %d", got.ids[k]);
			fail_msg("\n%s: text %zu \"%s\": other ids", name, i, json_string_value(text));
		}
		if (!json_is_string(decoded))
			continue;
		hth_buf_reset(&out);
		assert_ok(hth_tokenizer_decode(t, got.ids, got.n, false, &out, &err));
		if (out.bytes != json_string_length(decoded) || memcmp(hth_buf_str(&out), json_string_value(decoded), out.bytes) != 0)
			fail_msg("%s: text %zu decodes to \"%s\", expected \"%s\"", name, i, hth_buf_str(&out),
				 json_string_value(decoded));
	}
	assert_true(i > 200);
	hth_buf_clear(&out);
	hth_tokens_clear(&got);
}

static void tokenizer_json_gives_the_ids_of_the_library(void **state)
{
	static const char *const names[] = {"t5", "xlmr", "first", "llama", "albert", "nmt"};
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, GOLDEN "%s.json", names[i]);
		assert_ok(hth_tokenizer_from_json(path, &t, &err));
		compare(t, names[i], json_object_get(json_object_get(cases, "json"), names[i]),
			HTH_ENCODE_ADD_SPECIAL | HTH_ENCODE_PARSE_SPECIAL);
		assert_non_null(strstr(hth_tokenizer_describe(t), "unigram"));
		hth_tokenizer_free(t);
	}
}

static enum hth_status open_gguf(const char *path, struct hth_tokenizer **t, struct hth_err *err)
{
	struct hth_gguf g;
	enum hth_status st = hth_gguf_open(&g, path, err);

	*t = NULL;
	if (st == HTH_OK)
		st = hth_tokenizer_from_gguf(&g, t, err);
	hth_gguf_close(&g);
	return st;
}

static void gguf_gives_the_ids_of_sentencepiece(void **state)
{
	static const char *const names[] = {"small", "bytes", "plain"};
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	char path[256];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof path, GOLDEN "%s.gguf", names[i]);
		assert_ok(open_gguf(path, &t, &err));
		compare(t, names[i], json_object_get(json_object_get(cases, "gguf"), names[i]), HTH_ENCODE_PLAIN);
		hth_tokenizer_free(t);
	}
}

static void a_t5_of_gguf_ends_its_texts(void **state)
{
	struct hth_tokenizer *t;
	struct hth_tokens got = {0};
	struct hth_err err = {0};

	(void)state;
	assert_ok(open_gguf(GOLDEN "small.gguf", &t, &err));
	assert_ok(hth_tokenizer_encode(t, "water", 5, HTH_ENCODE_ADD_SPECIAL, &got, &err));
	assert_true(got.n >= 2);
	assert_int_equal(got.ids[got.n - 1], hth_tokenizer_eos(t));
	assert_true(got.ids[0] != hth_tokenizer_bos(t));
	hth_tokens_clear(&got);
	hth_tokenizer_free(t);
}

static void written_as_gguf_it_has_the_keys_of_its_source(void **state)
{
	static const char *const keys[] = {"tokenizer.ggml.precompiled_charsmap", "tokenizer.ggml.scores"};
	struct hth_tokenizer *t, *back, *padded;
	struct hth_gguf_made made;
	struct hth_gguf source;
	struct hth_tokens a = {0}, b = {0};
	struct hth_err err = {0};
	static const char text[] = "the water\tvapor is toxic: 300 ppm";

	(void)state;
	assert_ok(hth_gguf_open(&source, GOLDEN "small.gguf", &err));
	assert_ok(hth_tokenizer_from_json(GOLDEN "t5.json", &t, &err));
	assert_ok(hth_gguf_made_init(&made, "made", 1 << 24, &err));
	assert_ok(hth_tokenizer_to_gguf(t, hth_tokenizer_size(t), -1, &made, &err));
	assert_ok(hth_gguf_made_finish(&made, &err));
	for (size_t i = 0; i < 2; i++) {
		const struct hth_gguf_kv *x = hth_gguf_find(&made.g, keys[i]), *y = hth_gguf_find(&source, keys[i]);
		assert_true(x->n >= y->n && x->elem_type == y->elem_type); /* "<x>" is one more token */
		assert_memory_equal(x->data, y->data, y->data_bytes);
	}
	assert_ok(hth_tokenizer_from_gguf(&made.g, &back, &err));
	assert_ok(hth_tokenizer_encode(t, text, sizeof text - 1, HTH_ENCODE_ADD_SPECIAL, &a, &err));
	assert_ok(hth_tokenizer_encode(back, text, sizeof text - 1, HTH_ENCODE_ADD_SPECIAL, &b, &err));
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
	hth_tokenizer_free(back);
	hth_gguf_made_clear(&made);
	/* An embedding with more rows than the vocabulary has tokens. */
	assert_ok(hth_tokenizer_pad(t, hth_tokenizer_size(t) + 1000, &err));
	assert_ok(hth_gguf_made_init(&made, "made", 1 << 24, &err));
	assert_ok(hth_tokenizer_to_gguf(t, hth_tokenizer_size(t), -1, &made, &err));
	assert_ok(hth_gguf_made_finish(&made, &err));
	assert_ok(hth_tokenizer_from_gguf(&made.g, &padded, &err));
	assert_int_equal(hth_tokenizer_size(padded), hth_tokenizer_size(t));
	hth_tokenizer_free(padded);
	hth_gguf_made_clear(&made);
	hth_tokens_clear(&a);
	hth_tokens_clear(&b);
	hth_tokenizer_free(t);
	hth_gguf_close(&source);
}

/* ---- what is wrong ---- */

#define UNI(vocab, rest) "{\"model\":{\"type\":\"Unigram\",\"vocab\":[" vocab "]" rest "}}"
#define MAP(base64)                                                                                                    \
	"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"" base64                                     \
	"\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",0]]}}"

static void wrong_json_is_named(void **state)
{
	static const struct {
		const char *json;
		enum hth_status status;
		const char *part;
	} bad[] = {
		{UNI("", ",\"unk_id\":0"), HTH_ERR_FORMAT, "model.vocab: no tokens"},
		{UNI("[\"a\",0]", ""), HTH_ERR_UNAVAILABLE, "model.unk_id: absent"},
		{UNI("[\"a\",0]", ",\"unk_id\":null"), HTH_ERR_UNAVAILABLE, "model.unk_id: absent"},
		{UNI("[\"a\",0]", ",\"unk_id\":1"), HTH_ERR_FORMAT, "\"unk_id\": found 1, expected an integer in 0..0"},
		{UNI("[\"a\",0]", ",\"unk_id\":-1"), HTH_ERR_FORMAT, "found -1"},
		{UNI("[\"a\",0]", ",\"unk_id\":0,\"byte_fallback\":1"), HTH_ERR_FORMAT, "byte_fallback"},
		{UNI("[\"a\"]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 0: expected a text and a score"},
		{UNI("[\"a\",\"0\"]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 0: expected a text and a score"},
		{UNI("[\"a\",0,0]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 0"},
		{UNI("[\"a\",0],[7,0]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 1"},
		{UNI("[\"a\",0],7", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 1"},
		{UNI("[\"a\\u0000\",0]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "token 0"},
		{UNI("[\"a\",1e999]", ",\"unk_id\":0"), HTH_ERR_FORMAT, "line 1"},
		{"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":{\"a\":0}}}", HTH_ERR_FORMAT, "expected a list"},
		{"{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":[[\"a\",0]]}}", HTH_ERR_FORMAT, "expected an object"},
		{MAP("A"), HTH_ERR_FORMAT, "expected base64"},
		{MAP("A==="), HTH_ERR_FORMAT, "expected base64"},
		{MAP("AA=A"), HTH_ERR_FORMAT, "expected base64"},
		{MAP("AAA*"), HTH_ERR_FORMAT, "expected base64"},
		{MAP("AAAA"), HTH_ERR_FORMAT, "3 bytes"},
		{"{\"normalizer\":{\"type\":\"Precompiled\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\","
		 "0]]}}",
		 HTH_ERR_FORMAT, "precompiled_charsmap"},
	};
	struct hth_tokenizer *t;
	struct hth_err err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *path = temp("tokenizer.json");
		assert_ok(hth_file_write(path, bad[i].json, strlen(bad[i].json), &err));
		enum hth_status st = hth_tokenizer_from_json(path, &t, &err);
		if (st != bad[i].status || strstr(err.text, bad[i].part) == NULL ||
		    strstr(err.text, "tokenizer.json") == NULL)
			fail_msg("%s: status %d \"%s\"", bad[i].json, (int)st, st ? err.text : "");
		assert_null(t);
	}
}

static void a_token_twice_is_found_by_the_later(void **state)
{
	static const char json[] = UNI("[\"u\",0],[\"a\",-1],[\"a\",-2]", ",\"unk_id\":0");
	struct hth_tokenizer *t;
	struct hth_tokens got = {0};
	struct hth_err err = {0};

	(void)state;
	assert_ok(hth_file_write(temp("t.json"), json, sizeof json - 1, &err));
	assert_ok(hth_tokenizer_from_json(temp("t.json"), &t, &err));
	assert_ok(hth_tokenizer_encode(t, "ab", 2, 0, &got, &err));
	assert_int_equal(got.n, 2);
	assert_int_equal(got.ids[0], 2);
	assert_int_equal(got.ids[1], 0);
	hth_tokens_clear(&got);
	hth_tokenizer_free(t);
}

/* Two units: the root, whose child 'a' would be unit `root_offset ^ 'a'`; then texts. */
static enum hth_status map_of(const uint32_t *units, size_t n, const char *texts, size_t n_texts, struct hth_err *err)
{
	static uint8_t data[4096];
	struct hth_arena arena;
	struct hth_charsmap m;

	hth_arena_init(&arena, 1 << 20);
	for (size_t i = 0; i <= n; i++)
		for (size_t k = 0; k < 4; k++)
			data[4 * i + k] = (uint8_t)((i == 0 ? (uint32_t)(4 * n) : units[i - 1]) >> 8 * k & 0xFF);
	memcpy(data + 4 + 4 * n, texts, n_texts);
	enum hth_status st = hth_charsmap_init(&m, &arena, data, 4 + 4 * n + n_texts, "here", err);
	if (st == HTH_OK) {
		const char *with;
		for (int longest = 0; longest < 2; longest++)
			for (unsigned c = 0; c < 256; c++) {
				char text[3] = {(char)c, 'a', 'a'};
				(void)hth_charsmap_find(&m, text, 3, longest != 0, &with);
			}
	}
	hth_arena_clear(&arena);
	return st;
}

static void maps_that_lead_outside_are_refused(void **state)
{
	/* Offsets: bits 10..30. The root's is 0, so that 'a' is unit 97; unit 97 leads to 97 ^ offset. */
	static uint32_t units[256];
	struct hth_err err = {0};
	const uint32_t child = 'a' | 1u << 8;

	(void)state;
	units[97] = child | (97u ^ 5u) << 10;
	units[5] = 2 | 1u << 31;
	assert_ok(map_of(units, 256, "x\0yz\0", 5, &err));
	units[5] = 5 | 1u << 31;
	assert_fails(map_of(units, 256, "x\0yz\0", 5, &err), HTH_ERR_FORMAT, "names the text at byte 5, there are 5 bytes");
	units[97] = child | (97u ^ 256u) << 10; /* just outside */
	assert_fails(map_of(units, 256, "x\0yz\0", 5, &err), HTH_ERR_FORMAT, "leads to unit 256, there are 256");
	units[97] = child | 1u << 9 | 0x1FFFFFu << 10;
	assert_fails(map_of(units, 256, "x\0", 2, &err), HTH_ERR_FORMAT, "leads to unit");
	units[97] = 'a'; /* leads to itself: 'a', 'aa', 'aaa', ... without an end and without a value */
	assert_ok(map_of(units, 256, "x\0", 2, &err));
	assert_fails(map_of(units, 256, "x", 1, &err), HTH_ERR_FORMAT, "not UTF-8 ended by NUL");
	assert_fails(map_of(units, 256, "\xFF\0", 2, &err), HTH_ERR_FORMAT, "not UTF-8 ended by NUL");
	assert_fails(map_of(units, 256, "", 0, &err), HTH_ERR_FORMAT, "leaves room for texts");
	assert_fails(map_of(units, 0, "x\0", 2, &err), HTH_ERR_FORMAT, "says 0 for its trie");
}

/* Cut anywhere, or one byte changed: an error or a tokenizer that encodes, never a crash. */
static void damaged_ggufs_never_crash(void **state)
{
	struct hth_tokenizer *t;
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	char *data;
	size_t n;

	(void)state;
	assert_ok(hth_file_read(GOLDEN "small.gguf", 1 << 20, &data, &n, &err));
	for (size_t i = 0; i < n; i += 3) {
		char was = data[i];
		bool cut = i % 2 == 0;
		data[i] = (char)(was ^ (1 << i % 8));
		unlink(temp("d.gguf"));
		assert_ok(hth_file_write(temp("d.gguf"), data, cut ? i : n, &err));
		if (open_gguf(temp("d.gguf"), &t, &err) == HTH_OK) {
			got.n = 0;
			(void)!hth_tokenizer_encode(t, "A\xCC\x8A the \xEF\xAC\x81 water\t", 17, 3, &got, &err);
		}
		hth_tokenizer_free(t);
		data[i] = was;
	}
	hth_tokens_clear(&got);
	hth_free(data);
}

static void failed_allocations_are_errors(void **state)
{
	static const char *const files[] = {GOLDEN "t5.json", GOLDEN "small.gguf"};
	struct hth_err err = {0};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		enum hth_status st = HTH_ERR_MEMORY;
		for (uint64_t at = 1; st != HTH_OK && at < 20000; at += at < 400 ? 1 : 37) {
			struct hth_tokenizer *t = NULL;
			struct hth_tokens got = {0};
			hth_mem_fail_at(at, false);
			st = k == 0 ? hth_tokenizer_from_json(files[k], &t, &err) : open_gguf(files[k], &t, &err);
			if (st == HTH_OK)
				st = hth_tokenizer_encode(t, "\xEF\xAC\x81 the water", 13, 3, &got, &err);
			hth_mem_fail_at(0, false);
			assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
			hth_tokens_clear(&got);
			hth_tokenizer_free(t);
		}
		assert_int_equal(st, HTH_OK);
	}
}

static void graphemes_follow_unicode(void **state)
{
	static const struct {
		const char *text;
		size_t first;
	} c[] = {
		{"ab", 1},
		{"\r\nx", 2},
		{"\n\r", 1},
		{"a\xCC\x81\xCC\x82x", 5},
		{"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8x", 9},                                 /* L V T */
		{"\xEA\xB0\x80\xE1\x86\xA8x", 6},                                             /* LV T */
		{"\xEA\xB0\x81\xE1\x85\xA1", 3},                                              /* LVT V */
		{"\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA\xF0\x9F\x87\xAB", 8},                     /* three flags' letters */
		{"\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9x", 11},                       /* man ZWJ woman */
		{"a\xE2\x80\x8D\xF0\x9F\x91\xA9", 4},                                        /* a ZWJ | woman */
		{"\xD8\x80\x61x", 3},                                                          /* a prepended sign */
		{"\xE0\xA4\x95\xE0\xA5\x8D\xE0\xA4\xB7x", 9},                                 /* ka virama ssa */
		{"\xE0\xA4\x95\xE0\xA4\xB7", 3},                                              /* ka | ssa */
		{"\xE0\xA4\xA8\xE0\xA4\xBFx", 6},                                             /* na, a spacing mark */
		{"\x01\xCC\x81", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof c / sizeof *c; i++)
		if (hth_grapheme(c[i].text, strlen(c[i].text)) != c[i].first)
			fail_msg("%zu: %zu bytes, expected %zu", i, hth_grapheme(c[i].text, strlen(c[i].text)), c[i].first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokenizer_json_gives_the_ids_of_the_library),
		cmocka_unit_test(gguf_gives_the_ids_of_sentencepiece),
		cmocka_unit_test(a_t5_of_gguf_ends_its_texts),
		cmocka_unit_test(written_as_gguf_it_has_the_keys_of_its_source),
		cmocka_unit_test(graphemes_follow_unicode),
		cmocka_unit_test(maps_that_lead_outside_are_refused),
		temp_test(wrong_json_is_named),
		temp_test(a_token_twice_is_found_by_the_later),
		temp_test(damaged_ggufs_never_crash),
		temp_test(failed_allocations_are_errors),
	};
	return cmocka_run_group_tests_name("unigram", tests, load_cases, drop_cases);
}
