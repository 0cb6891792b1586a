/* Tokenizer files that are wrong in one way each: an error that names the file and the key, never a crash; files cut at
 * every byte; allocations that fail one by one. */
#include "../base/tempdir.h"

#include "text/tokenizer.h"

#define MODEL(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}}"

static const struct {
	const char *json;
	enum hth_status status;
	const char *part;
} json_cases[] = {
	{"", HTH_ERR_FORMAT, "tokenizer.json"},
	{"[]", HTH_ERR_FORMAT, "model.vocab"},
	{"{}", HTH_ERR_FORMAT, "model.vocab"},
	{"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", HTH_ERR_UNAVAILABLE, "WordPiece"},
	{"{\"model\":{\"type\":7,\"vocab\":{}}}", HTH_ERR_FORMAT, "type"},
	{MODEL("", ""), HTH_ERR_FORMAT, "no tokens"},
	{MODEL("\"a\":-1", ""), HTH_ERR_FORMAT, "id -1"},
	{MODEL("\"a\":\"0\"", ""), HTH_ERR_FORMAT, "model.vocab: id"},
	{MODEL("\"a\":4294967296", ""), HTH_ERR_FORMAT, "id 4294967296"},
	{MODEL("\"a\":2147483648", ""), HTH_ERR_FORMAT, "id 2147483648"},
	{MODEL("\"a\":10000000", ""), HTH_ERR_FORMAT, "id 10000000"},
	{MODEL("\"a\":0,\"b\":0", ""), HTH_ERR_FORMAT, "id 0 is both"},
	{MODEL("\"a\":0,\"a\":1", ""), HTH_ERR_FORMAT, "duplicate"},
	{MODEL("\"a\":0", "\"a b\""), HTH_ERR_FORMAT, "merge 0 names \"b\""},
	{MODEL("\"a\":0,\"b\":1", "\"a b\""), HTH_ERR_FORMAT, "merge 0 makes \"ab\""},
	{MODEL("\"a\":0", "\"a\""), HTH_ERR_FORMAT, "two tokens and a space"},
	{MODEL("\"a\":0", "\"a a a\""), HTH_ERR_FORMAT, "two tokens and a space"},
	{MODEL("\"a\":0", "[\"a\"]"), HTH_ERR_FORMAT, "two tokens"},
	{MODEL("\"a\":0", "[1,2]"), HTH_ERR_FORMAT, "two tokens"},
	{MODEL("\"a\":0", "7"), HTH_ERR_FORMAT, "two tokens"},
	{"{\"model\":{\"vocab\":{\"a\":0},\"merges\":7}}", HTH_ERR_FORMAT, "model.merges: expected a list"},
	{"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"x\"}}", HTH_ERR_FORMAT, "unk_token"},
	{"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}", HTH_ERR_UNAVAILABLE,
	 "end_of_word"},
	{"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.5}}", HTH_ERR_UNAVAILABLE, "dropout"},
	{"{\"added_tokens\":[{\"id\":0,\"content\":\"b\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
	 HTH_ERR_FORMAT, "both"},
	{"{\"added_tokens\":[{\"id\":1,\"content\":\"a\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
	 HTH_ERR_FORMAT, "two ids"},
	{"{\"added_tokens\":[{\"content\":\"a\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_FORMAT,
	 "added_tokens: id"},
	{"{\"added_tokens\":[7],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_FORMAT, "added_tokens"},
	{"{\"normalizer\":{\"type\":\"BertNormalizer\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_UNAVAILABLE,
	 "normalizer: \"BertNormalizer\""},
	{"{\"normalizer\":7,\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_FORMAT, "normalizer"},
	{"{\"pre_tokenizer\":{\"type\":\"Wombat\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_UNAVAILABLE,
	 "Wombat"},
	{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}},\"model\":{\"vocab\":{\"a\":0},"
	 "\"merges\":[]}}",
	 HTH_ERR_FORMAT, "without )"},
	{"{\"pre_tokenizer\":{\"type\":\"Split\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_FORMAT,
	 "String"},
	{"{\"pre_tokenizer\":{\"type\":\"Sequence\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_FORMAT,
	 "pretokenizers"},
	{"{\"decoder\":{\"type\":\"CTC\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", HTH_ERR_UNAVAILABLE,
	 "decoder: \"CTC\""},
	{"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]},\"model\":{\"vocab\":{\"a\":0},"
	 "\"merges\":[]}}",
	 HTH_ERR_FORMAT, "single"},
	{"{\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",9],\"sep\":[\"y\",0]},\"model\":{\"vocab\":{"
	 "\"a\":0},\"merges\":[]}}",
	 HTH_ERR_FORMAT, "no token"},
};

static void wrong_json_is_named(void **state)
{
	struct hth_err err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(json_cases) / sizeof(*json_cases); i++) {
		struct hth_tokenizer *t = NULL;
		const char *path = temp("tokenizer.json");
		assert_ok(hth_file_write(path, json_cases[i].json, strlen(json_cases[i].json), &err));
		enum hth_status st = hth_tokenizer_from_json(path, &t, &err);
		if (st != json_cases[i].status || strstr(err.text, json_cases[i].part) == NULL ||
		    strstr(err.text, "tokenizer.json") == NULL)
			fail_msg("%s: status %d \"%s\"", json_cases[i].json, (int)st, st ? err.text : "");
		assert_null(t);
	}
}

static void deep_sequences_are_refused(void **state)
{
	char json[2048] = "{\"normalizer\":";
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	size_t n = strlen(json);
	(void)state;
	for (int i = 0; i < 12; i++)
		n += (size_t)snprintf(json + n, sizeof(json) - n, "{\"type\":\"Sequence\",\"normalizers\":[");
	for (int i = 0; i < 12; i++)
		n += (size_t)snprintf(json + n, sizeof(json) - n, "]}");
	snprintf(json + n, sizeof(json) - n, ",\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}");
	assert_ok(hth_file_write(temp("t.json"), json, strlen(json), &err));
	assert_fails(hth_tokenizer_from_json(temp("t.json"), &t, &err), HTH_ERR_LIMIT, "nested");
}

static const char sound_json[] =
	"{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true}],\"normalizer\":{\"type\":\"NFC\"},\"pre_"
	"tokenizer\":"
	"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":"
	"\"ByteLevel\"}]},"
	"\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"<s>\",9],\"cls\":[\"<s>\",9]},\"decoder\":{"
	"\"type\":\"ByteLevel\"},"
	"\"model\":{\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3},\"merges\":[\"a b\"]}}";

static void json_cut_at_every_byte_is_an_error(void **state)
{
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	const char *path = temp("tokenizer.json");
	(void)state;
	for (size_t n = 0; n < sizeof(sound_json) - 1; n++) {
		FILE *f = fopen(path, "wb"); /* without the atomic writer's fsync, 500 times */
		assert_non_null(f);
		assert_int_equal(fwrite(sound_json, 1, n, f), n);
		assert_int_equal(fclose(f), 0);
		assert_int_not_equal(hth_tokenizer_from_json(path, &t, &err), HTH_OK);
	}
}

static enum hth_status use(const struct hth_tokenizer *t, struct hth_err *err)
{
	static const char text[] = "ab a1b <s>e\xCC\x81\xFF";
	struct hth_tokens got = {0};
	struct hth_buf out;
	hth_buf_init(&out, 1000);
	enum hth_status st = hth_tokenizer_encode(t, text, sizeof(text) - 1,
						  HTH_ENCODE_ADD_SPECIAL | HTH_ENCODE_PARSE_SPECIAL, &got, err);
	if (st == HTH_OK)
		st = hth_tokenizer_decode(t, got.ids, got.n, false, &out, err);
	hth_tokens_clear(&got);
	hth_buf_clear(&out);
	return st;
}

static void failed_allocations_are_errors_from_json(void **state)
{
	struct hth_err err = {0};
	enum hth_status st = HTH_ERR_MEMORY;
	const char *path = temp("tokenizer.json");
	uint64_t n = 1;
	(void)state;
	assert_ok(hth_file_write(path, sound_json, sizeof(sound_json) - 1, &err));
	for (; st != HTH_OK && n < 5000; n++) {
		struct hth_tokenizer *t = NULL;
		hth_mem_fail_at(n, false);
		st = hth_tokenizer_from_json(path, &t, &err);
		if (st == HTH_OK)
			st = use(t, &err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
		hth_tokenizer_free(t);
	}
	assert_int_equal(st, HTH_OK);
	assert_true(n > 30);
}

/* A GGUF tokenizer with one thing changed. */
struct gguf_spec {
	const char *model, *pre;
	const char *const *tokens, *const *merges;
	size_t n_tokens, n_merges, n_types, n_scores;
	enum hth_gguf_type types_as;
	int32_t types[8];
	float scores[8];
	int64_t bos;
};

static void put_strings(struct hth_gguf_writer *w, const char *key, const char *const *texts, size_t n)
{
	char data[2048];
	size_t at = 0;
	struct hth_err err = {0};
	for (size_t i = 0; i < n; i++) {
		uint64_t bytes = strlen(texts[i]);
		memcpy(data + at, &bytes, 8);
		memcpy(data + at + 8, texts[i], bytes);
		at += 8 + bytes;
	}
	assert_ok(hth_gguf_put_array(w, key, HTH_GGUF_STRING, n, data, at, &err));
}

static void write_gguf(const char *path, const struct gguf_spec *s)
{
	struct hth_gguf_writer *w;
	struct hth_err err = {0};
	uint8_t narrow[8];
	bool as_bytes = s->types_as == HTH_GGUF_U8;
	for (size_t i = 0; i < 8; i++)
		narrow[i] = (uint8_t)s->types[i];
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	if (s->model != NULL)
		assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.model", s->model, strlen(s->model), &err));
	if (s->pre != NULL)
		assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.pre", s->pre, strlen(s->pre), &err));
	if (s->tokens != NULL)
		put_strings(w, "tokenizer.ggml.tokens", s->tokens, s->n_tokens);
	if (s->merges != NULL)
		put_strings(w, "tokenizer.ggml.merges", s->merges, s->n_merges);
	if (s->n_types > 0)
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.token_type", s->types_as, s->n_types,
					     as_bytes ? (const void *)narrow : s->types,
					     s->n_types * (as_bytes ? 1 : 4), &err));
	if (s->n_scores > 0)
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.scores", HTH_GGUF_F32, s->n_scores, s->scores,
					     s->n_scores * 4, &err));
	if (s->bos != -1)
		assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.bos_token_id", HTH_GGUF_I32, s->bos, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

static const char *const bpe_tokens[] = {"a", "b", "ab", "<s>"};
static const char *const bpe_merges[] = {"a b"};
static const char *const spm_tokens[] = {"<unk>", "\xE2\x96\x81", "a", "<0x0A>"};

static struct gguf_spec sound_bpe(void)
{
	return (struct gguf_spec){
		.model = "gpt2",
		.pre = "gpt-2",
		.tokens = bpe_tokens,
		.n_tokens = 4,
		.merges = bpe_merges,
		.n_merges = 1,
		.types_as = HTH_GGUF_I32,
		.types = {1, 1, 1, 3},
		.n_types = 4,
		.bos = 3,
	};
}

static struct gguf_spec sound_spm(void)
{
	return (struct gguf_spec){
		.model = "llama",
		.tokens = spm_tokens,
		.n_tokens = 4,
		.types_as = HTH_GGUF_I32,
		.types = {2, 1, 1, 6},
		.n_types = 4,
		.scores = {0, -1, -2, 0},
		.n_scores = 4,
		.bos = 0,
	};
}

static enum hth_status load_gguf(const struct gguf_spec *s, struct hth_tokenizer **t, struct hth_err *err)
{
	struct hth_gguf g = {0};
	const char *path = temp("model.gguf");
	*t = NULL;
	write_gguf(path, s);
	enum hth_status st = hth_gguf_open(&g, path, err);
	assert_int_equal(st, HTH_OK);
	st = hth_tokenizer_from_gguf(&g, t, err);
	hth_gguf_close(&g);
	return st;
}

static void expect_gguf(const struct gguf_spec *s, enum hth_status status, const char *part)
{
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	assert_fails(load_gguf(s, &t, &err), status, part);
	assert_non_null(strstr(err.text, "model.gguf"));
	assert_null(t);
}

static void wrong_byte_level_ggufs_are_named(void **state)
{
	static const char *const twice[20] = {"a", "a", "a", "a", "a", "a", "a", "a", "a", "a",
					      "a", "a", "a", "a", "a", "a", "a", "a", "b", "ab"};
	static const char *const broken[] = {"a", "\xFF", "ab", "<s>"};
	static const char *const unknown[] = {"a x"}, *const makes[] = {"b a"}, *const lone[] = {"ab"};
	struct gguf_spec s;
	(void)state;
	s = sound_bpe();
	s.model = NULL;
	expect_gguf(&s, HTH_ERR_NOTFOUND, "tokenizer.ggml.model");
	s = sound_bpe();
	s.model = "bert";
	expect_gguf(&s, HTH_ERR_UNAVAILABLE, "bert");
	s = sound_bpe();
	s.pre = NULL;
	expect_gguf(&s, HTH_ERR_UNAVAILABLE, "tokenizer.ggml.pre");
	s = sound_bpe();
	s.pre = "wombat";
	expect_gguf(&s, HTH_ERR_UNAVAILABLE, "wombat");
	s = sound_bpe();
	s.tokens = NULL;
	expect_gguf(&s, HTH_ERR_NOTFOUND, "tokenizer.ggml.tokens");
	s = sound_bpe();
	s.n_tokens = 0;
	expect_gguf(&s, HTH_ERR_FORMAT, "0 tokens");
	s = sound_bpe();
	s.tokens = broken;
	expect_gguf(&s, HTH_ERR_FORMAT, "not UTF-8");
	s = sound_bpe();
	s.merges = unknown;
	expect_gguf(&s, HTH_ERR_FORMAT, "merge 0 names \"x\"");
	s = sound_bpe();
	s.merges = makes;
	expect_gguf(&s, HTH_ERR_FORMAT, "merge 0 makes \"ba\"");
	s = sound_bpe();
	s.merges = lone;
	expect_gguf(&s, HTH_ERR_FORMAT, "two tokens and a space");
	s = sound_bpe();
	s.merges = NULL;
	expect_gguf(&s, HTH_ERR_NOTFOUND, "tokenizer.ggml.merges");
	s = sound_bpe();
	s.n_types = 3;
	expect_gguf(&s, HTH_ERR_FORMAT, "tokenizer.ggml.token_type: 3 values");
	s = sound_bpe();
	s.types[2] = 7;
	expect_gguf(&s, HTH_ERR_FORMAT, "type 7");
	s = sound_bpe();
	s.types[2] = -1;
	expect_gguf(&s, HTH_ERR_FORMAT, "type -1");
	s = sound_bpe();
	s.types_as = HTH_GGUF_F32;
	expect_gguf(&s, HTH_ERR_FORMAT, "integers");
	s = sound_bpe();
	s.bos = 4;
	expect_gguf(&s, HTH_ERR_FORMAT, "bos_token_id");
	s = sound_bpe();
	s.bos = -2;
	expect_gguf(&s, HTH_ERR_FORMAT, "bos_token_id");
	s = sound_bpe();
	s.tokens = twice;
	s.n_tokens = 20;
	s.n_types = 0;
	expect_gguf(&s, HTH_ERR_FORMAT, "two ids, 16 and 17");
}

static void a_text_with_two_ids_is_found_by_the_later(void **state)
{
	static const char *const twice[] = {"a", "b", "ab", "ab"};
	struct gguf_spec s = sound_bpe();
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	(void)state;
	s.tokens = twice;
	assert_ok(load_gguf(&s, &t, &err));
	assert_int_equal(hth_tokenizer_id(t, "ab"), 3);
	assert_string_equal(hth_tokenizer_token(t, 2, NULL), "ab");
	hth_tokenizer_free(t);
}

static void narrower_integer_types_are_read(void **state)
{
	struct gguf_spec s = sound_bpe();
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	(void)state;
	s.types_as = HTH_GGUF_U8;
	assert_ok(load_gguf(&s, &t, &err));
	assert_true(hth_tokenizer_is_special(t, 3));
	hth_tokenizer_free(t);
}

static void wrong_sentencepiece_ggufs_are_named(void **state)
{
	static const char *const hex[] = {"<unk>", "\xE2\x96\x81", "a", "<0xZZ>"}, *const minus[] = {"<unk>",
												     "\xE2\x96\x81",
												     "a", "<0x-1>"};
	struct gguf_spec s;
	(void)state;
	s = sound_spm();
	s.n_scores = 0;
	expect_gguf(&s, HTH_ERR_FORMAT, "tokenizer.ggml.scores");
	s = sound_spm();
	s.n_scores = 3;
	expect_gguf(&s, HTH_ERR_FORMAT, "tokenizer.ggml.scores: 3 values");
	s = sound_spm();
	memcpy(&s.scores[1], &(uint32_t){0x7FC00000}, 4);
	expect_gguf(&s, HTH_ERR_FORMAT, "not finite");
	s = sound_spm();
	s.tokens = hex;
	expect_gguf(&s, HTH_ERR_FORMAT, "<0xZZ>");
	s = sound_spm();
	s.tokens = minus;
	expect_gguf(&s, HTH_ERR_FORMAT, "<0x-1>");
}

static void failed_allocations_are_errors_from_gguf(void **state)
{
	struct gguf_spec specs[2] = {sound_bpe(), sound_spm()};
	struct hth_err err = {0};
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct hth_gguf g = {0};
		enum hth_status st = HTH_ERR_MEMORY;
		const char *path = temp("model.gguf");
		write_gguf(path, &specs[k]);
		assert_ok(hth_gguf_open(&g, path, &err));
		for (uint64_t n = 1; st != HTH_OK && n < 2000; n++) {
			struct hth_tokenizer *t = NULL;
			hth_mem_fail_at(n, false);
			st = hth_tokenizer_from_gguf(&g, &t, &err);
			if (st == HTH_OK)
				st = use(t, &err);
			hth_mem_fail_at(0, false);
			assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
			hth_tokenizer_free(t);
		}
		assert_int_equal(st, HTH_OK);
		hth_gguf_close(&g);
	}
}

static void a_text_past_the_limit_is_refused(void **state)
{
	struct gguf_spec s = sound_bpe();
	struct hth_tokenizer *t;
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	(void)state;
	assert_ok(load_gguf(&s, &t, &err));
	assert_fails(hth_tokenizer_encode(t, "a", ((size_t)1 << 30) + 1, 0, &got, &err), HTH_ERR_LIMIT, "1 GiB");
	hth_tokenizer_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(wrong_json_is_named),
		temp_test(deep_sequences_are_refused),
		temp_test(json_cut_at_every_byte_is_an_error),
		temp_test(failed_allocations_are_errors_from_json),
		temp_test(wrong_byte_level_ggufs_are_named),
		temp_test(a_text_with_two_ids_is_found_by_the_later),
		temp_test(narrower_integer_types_are_read),
		temp_test(wrong_sentencepiece_ggufs_are_named),
		temp_test(failed_allocations_are_errors_from_gguf),
		temp_test(a_text_past_the_limit_is_refused),
	};
	return cmocka_run_group_tests_name("tokenizer_hostile", tests, NULL, NULL);
}
