/* Tokenizers over tiny vocabularies written by the tests: offsets, added-token flags, fallback, streaming, ends of
 * turns, configs beside the file; hostile files are in test_tokenizer_hostile.c. The expected ids were worked out by
 * hand from the merges. */
#include "../base/tempdir.h"

#include "base/utf8.h"
#include "text/tokenizer.h"

/* Byte-level: a b c x ab abc and a space; "Ġ" is the space's stand-in, "Ã" "©" are the bytes of U+00E9. */
static const char bytes_json[] =
	"{\"added_tokens\":["
	"{\"id\":12,\"content\":\"<s>\",\"special\":true,\"normalized\":false,\"single_word\":false,\"lstrip\":false,"
	"\"rstrip\":false},"
	"{\"id\":13,\"content\":\"<l>\",\"special\":false,\"normalized\":false,\"single_word\":false,\"lstrip\":true,"
	"\"rstrip\":false},"
	"{\"id\":14,\"content\":\"<r>\",\"special\":false,\"normalized\":false,\"single_word\":false,\"lstrip\":false,"
	"\"rstrip\":true},"
	"{\"id\":15,\"content\":\"xx\",\"special\":false,\"normalized\":false,\"single_word\":true,\"lstrip\":false,"
	"\"rstrip\":false},"
	"{\"id\":16,\"content\":\"<|im_end|>\",\"special\":true,\"normalized\":false,\"single_word\":false,\"lstrip\":"
	"false,\"rstrip\":false},"
	"{\"id\":17,\"content\":\"<s><s>\",\"special\":false,\"normalized\":false,\"single_word\":false,\"lstrip\":"
	"false,\"rstrip\":false}],"
	"\"normalizer\":{\"type\":\"NFC\"},"
	"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
	","
	"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":"
	"0}},"
	"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"<|im_end|>\",\"type_id\":0}}],"
	"\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[12]},\"<|im_end|>\":{\"id\":\"<|im_end|>\",\"ids\":[16]}}"
	"},"
	"\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
	"\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"x\":3,\"ab\":4,\"abc\":5,\"\\u0120\":6,"
	"\"\\u0120abc\":7,"
	"\"\\u00c3\":8,\"\\u00a9\":9,\"\\u00c3\\u00a9\":10,\"bc\":11},"
	"\"merges\":[[\"\\u00c3\",\"\\u00a9\"],[\"a\",\"b\"],[\"b\",\"c\"],\"ab c\",\"\\u0120 abc\"]}}";

/* SentencePiece style: word signs, byte fallback, unknown. */
static const char chars_json[] =
	"{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true,\"normalized\":false,\"single_word\":"
	"false,\"lstrip\":false,\"rstrip\":false}],"
	"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},"
	"{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},"
	"\"pre_tokenizer\":null,\"post_processor\":null,"
	"\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},"
	"\"content\":\" \"},"
	"{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
	"\",\"start\":1,\"stop\":0}]},"
	"\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<"
	"unk>\":0,"
	"\"\\u2581\":1,\"a\":2,\"b\":3,\"ab\":4,\"\\u2581ab\":5,\"<0xC3>\":6,\"<0xA9>\":7,\"<0x21>\":8,\"<0xE4>\":9},"
	"\"merges\":[\"a b\",\"\\u2581 ab\"]}}";

static struct hth_tokenizer *load(const char *json)
{
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	const char *path = temp("tokenizer.json");
	assert_ok(hth_file_write(path, json, strlen(json), &err));
	assert_ok(hth_tokenizer_from_json(path, &t, &err));
	return t;
}

/* want: "id:start-end id:start-end ..." */
static void assert_encoded(const struct hth_tokenizer *t, const char *text, size_t bytes, int flags, const char *want)
{
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	char line[1024] = "";
	size_t n = 0;
	assert_ok(hth_tokenizer_encode(t, text, bytes, flags, &got, &err));
	for (size_t i = 0; i < got.n; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%d:%u-%u", i > 0 ? " " : "", got.ids[i],
				      got.starts[i], got.ends[i]);
	assert_string_equal(line, want);
	hth_tokens_clear(&got);
}
#define ASSERT_ENCODED(t, text, flags, want) assert_encoded(t, text, sizeof(text) - 1, flags, want)

static void assert_decoded(const struct hth_tokenizer *t, const int32_t *ids, size_t n, bool skip, const char *want)
{
	struct hth_buf whole, streamed;
	struct hth_detokenizer d = {.skip_special = skip};
	struct hth_err err = {0};
	hth_buf_init(&whole, 1 << 20);
	hth_buf_init(&streamed, 1 << 20);
	assert_ok(hth_tokenizer_decode(t, ids, n, skip, &whole, &err));
	for (size_t i = 0; i < n; i++) {
		assert_ok(hth_detokenizer_push(&d, t, ids[i], &streamed, &err));
		assert_true(hth_utf8_valid(hth_buf_str(&streamed), streamed.bytes));
	}
	hth_detokenizer_flush(&d, &streamed);
	assert_string_equal(hth_buf_str(&whole), want);
	assert_string_equal(hth_buf_str(&streamed), want);
	hth_buf_clear(&whole);
	hth_buf_clear(&streamed);
}
#define ASSERT_DECODED(t, skip, want, ...)                                                                             \
	assert_decoded(t, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / 4, skip, want)

static void byte_level_merges_by_rank_with_offsets(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	(void)state;
	assert_string_equal(hth_tokenizer_describe(t), "byte-level BPE, 18 tokens");
	ASSERT_ENCODED(t, "", HTH_ENCODE_PLAIN, "");
	ASSERT_ENCODED(t, "abc abc", HTH_ENCODE_PLAIN, "5:0-3 7:3-7");
	ASSERT_ENCODED(t, "bcabcc", HTH_ENCODE_PLAIN, "11:0-2 5:2-5 2:5-6");
	ASSERT_ENCODED(t, "abc", HTH_ENCODE_ADD_SPECIAL, "12:0-0 5:0-3 16:3-3");
	ASSERT_ENCODED(t, "", HTH_ENCODE_ADD_SPECIAL, "12:0-0 16:0-0");
	ASSERT_ENCODED(t, "aqb", HTH_ENCODE_PLAIN, "4:0-3"); /* no token for q and no unk: dropped, the rest merges */
	hth_tokenizer_free(t);
}

static void offsets_point_into_the_text_through_nfc_and_repair(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	(void)state;
	ASSERT_ENCODED(t,
		       "\xC3\xA9"
		       "a",
		       HTH_ENCODE_PLAIN, "10:0-2 0:2-3");
	/* e and U+0301 become one character, whose bytes are the token; the letter after it is in its place. */
	ASSERT_ENCODED(t,
		       "ae\xCC\x81"
		       "b",
		       HTH_ENCODE_PLAIN, "0:0-1 10:1-4 1:4-5");
	/* 0xFF becomes U+FFFD, for which this vocabulary has no token. */
	ASSERT_ENCODED(t,
		       "a\xFF"
		       "c",
		       HTH_ENCODE_PLAIN, "0:0-1 2:2-3");
	assert_encoded(t, "a\0b", 3, HTH_ENCODE_PLAIN, "0:0-1 1:2-3");
	hth_tokenizer_free(t);
}

static void added_tokens_obey_their_flags(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	(void)state;
	ASSERT_ENCODED(t, "a<s>b", HTH_ENCODE_PARSE_SPECIAL, "0:0-1 12:1-4 1:4-5");
	ASSERT_ENCODED(t, "a<s>b", HTH_ENCODE_PLAIN, "0:0-1 1:4-5");
	ASSERT_ENCODED(t, "a  <l> b", HTH_ENCODE_PLAIN, "0:0-1 13:1-6 6:6-7 1:7-8");
	ASSERT_ENCODED(t, "a <r>  b", HTH_ENCODE_PLAIN, "0:0-1 6:1-2 14:2-7 1:7-8");
	ASSERT_ENCODED(t, "xx axx", HTH_ENCODE_PLAIN, "15:0-2 6:2-3 0:3-4 3:4-5 3:5-6");
	ASSERT_ENCODED(t, "<s><s>", HTH_ENCODE_PARSE_SPECIAL, "17:0-6"); /* the longest */
	ASSERT_ENCODED(t, "<r> <l>", HTH_ENCODE_PLAIN, "14:0-4 13:4-7");
	hth_tokenizer_free(t);
}

static void specials_are_known_by_flag_and_name(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	size_t bytes;
	(void)state;
	assert_int_equal(hth_tokenizer_size(t), 18);
	assert_int_equal(hth_tokenizer_id(t, "<|im_end|>"), 16);
	assert_int_equal(hth_tokenizer_id(t, "nothing"), -1);
	assert_true(hth_tokenizer_is_special(t, 12) && !hth_tokenizer_is_special(t, 13) &&
		    !hth_tokenizer_is_special(t, -1));
	assert_true(hth_tokenizer_is_end(t, 16) && !hth_tokenizer_is_end(t, 12) && !hth_tokenizer_is_end(t, 999));
	assert_int_equal(hth_tokenizer_bos(t), 12);
	assert_int_equal(hth_tokenizer_eos(t), 16);
	assert_string_equal(hth_tokenizer_token(t, 7, &bytes), "\xC4\xA0"
							       "abc");
	assert_int_equal(bytes, 5);
	assert_null(hth_tokenizer_token(t, 18, NULL));
	hth_tokenizer_free(t);
}

static void configs_beside_the_file_name_the_ends(void **state)
{
	static const char config[] = "{\"bos_token\":{\"content\":\"<r>\"},\"eos_token\":\"<l>\",\"model_max_length\":"
				     "1000000000000000019884624838656}";
	static const char generation[] = "{\"eos_token_id\":[16,14,999]}";
	struct hth_err err = {0};
	(void)state;
	assert_ok(hth_file_write(temp("tokenizer_config.json"), config, sizeof(config) - 1, &err));
	assert_ok(hth_file_write(temp("generation_config.json"), generation, sizeof(generation) - 1, &err));
	struct hth_tokenizer *t = load(bytes_json);
	assert_int_equal(hth_tokenizer_bos(t), 14);
	assert_int_equal(hth_tokenizer_eos(t), 13);
	assert_true(hth_tokenizer_is_end(t, 13) && hth_tokenizer_is_end(t, 14) && hth_tokenizer_is_end(t, 16));
	hth_tokenizer_free(t);
}

static void byte_level_decodes_and_streams_whole_characters(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	(void)state;
	ASSERT_DECODED(t, false, "abc abc", 5, 7);
	ASSERT_DECODED(t, false, "a\xC3\xA9", 0, 8, 9);
	ASSERT_DECODED(t, false,
		       "a\xEF\xBF\xBD"
		       "b",
		       0, 8, 1);
	ASSERT_DECODED(t, false, "\xEF\xBF\xBD\xEF\xBF\xBD", 8, 8);
	ASSERT_DECODED(t, false, "\xEF\xBF\xBD", 9);
	ASSERT_DECODED(t, false, "<s>a<|im_end|>", 12, 0, 16);
	ASSERT_DECODED(t, true, "a", 12, 0, 16);
	ASSERT_DECODED(t, true, "\xC3\xA9", 8, 12, 9); /* a special left out does not end a character */
	hth_tokenizer_free(t);
}

static void char_level_falls_back_to_bytes_and_unknown(void **state)
{
	struct hth_tokenizer *t = load(chars_json);
	(void)state;
	ASSERT_ENCODED(t, "ab ab", HTH_ENCODE_PLAIN, "5:0-2 5:2-5");
	ASSERT_ENCODED(t, "a!", HTH_ENCODE_PLAIN, "1:0-0 2:0-1 8:1-2");
	ASSERT_ENCODED(t, "\xC3\xA9", HTH_ENCODE_PLAIN, "1:0-0 6:0-1 7:1-2");
	ASSERT_ENCODED(t, "\xE4\xB8\x80?a", HTH_ENCODE_PLAIN, "1:0-0 0:0-4 2:4-5"); /* no bytes for either: fused */
	/* Ids as the tokenizers library has them: bytes go before unknown characters that wait. */
	ASSERT_ENCODED(t, "z!a", HTH_ENCODE_PLAIN, "1:0-0 8:0-2 0:0-2 2:2-3");
	ASSERT_ENCODED(t, "zy!xab!!", HTH_ENCODE_PLAIN, "1:0-0 8:0-3 0:0-4 4:4-6 8:6-7 8:7-8");
	ASSERT_ENCODED(t, "  ab", HTH_ENCODE_PLAIN, "1:0-0 1:0-1 5:1-4");
	hth_tokenizer_free(t);
}

static void byte_runs_are_decoded_as_a_whole(void **state)
{
	struct hth_tokenizer *t = load(chars_json);
	(void)state;
	ASSERT_DECODED(t, false, "ab ab", 5, 5);
	ASSERT_DECODED(t, false, "\xC3\xA9!a", 6, 7, 8, 2);
	/* One bad byte spoils the run, as in the reference. */
	ASSERT_DECODED(t, false,
		       "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
		       "a",
		       6, 7, 9, 2);
	ASSERT_DECODED(t, false, " ab", 1, 5);
	ASSERT_DECODED(t, false, "<unk>ab", 0, 4);
	ASSERT_DECODED(t, true, "ab", 0, 5);
	hth_tokenizer_free(t);
}

static void a_long_byte_run_streams_without_half_characters(void **state)
{
	struct hth_tokenizer *t = load(chars_json);
	int32_t ids[1501];
	char want[1502];
	(void)state;
	ids[0] = 8;
	want[0] = '!';
	for (int i = 0; i < 750; i++) {
		ids[1 + 2 * i] = 6;
		ids[2 + 2 * i] = 7;
		memcpy(want + 1 + 2 * i, "\xC3\xA9", 2);
	}
	want[1501] = '\0';
	assert_decoded(t, ids, 1501, false, want);
	hth_tokenizer_free(t);
}

static void ids_out_of_range_are_named(void **state)
{
	struct hth_tokenizer *t = load(bytes_json);
	struct hth_buf out;
	struct hth_err err = {0};
	(void)state;
	hth_buf_init(&out, 100);
	assert_fails(hth_tokenizer_decode(t, (int32_t[]){0, 18}, 2, false, &out, &err), HTH_ERR_FORMAT, "18");
	assert_fails(hth_tokenizer_decode(t, (int32_t[]){-1}, 1, false, &out, &err), HTH_ERR_FORMAT, "-1");
	hth_buf_clear(&out);
	hth_tokenizer_free(t);
}

static void a_mebibyte_of_one_character_is_encoded(void **state)
{
	enum { N = 1 << 20 };
	struct hth_tokenizer *t = load(bytes_json);
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	char *text = hth_alloc(N);
	(void)state;
	assert_non_null(text);
	for (int i = 0; i < N; i++)
		text[i] = "abc"[i % 3];
	assert_ok(hth_tokenizer_encode(t, text, N, HTH_ENCODE_PLAIN, &got, &err));
	assert_int_equal(got.n, N / 3 + 1); /* the last character stands alone */
	assert_int_equal(got.ids[1000], 5);
	assert_int_equal(got.starts[1000], 3000);
	hth_tokens_clear(&got);
	hth_free(text);
	hth_tokenizer_free(t);
}

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

static struct hth_tokenizer *load_gguf(struct hth_gguf_writer *w, const char *path)
{
	struct hth_gguf g = {0};
	struct hth_tokenizer *t;
	struct hth_err err = {0};
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(&g, path, &err));
	assert_ok(hth_tokenizer_from_gguf(&g, &t, &err));
	hth_gguf_close(&g); /* the tokenizer owns all it needs */
	return t;
}

static void a_gguf_with_scores_merges_the_best_first(void **state)
{
	static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0x21>", "\xE2\x96\x81", "a",
					     "b",     "c",   "bc",   "ab",     "abc",          "<turn>"};
	static const float scores[] = {0, 0, 0, 0, -9, -9, -9, -9, -1, -2, -3, 0};
	static const int32_t types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 4};
	struct hth_gguf_writer *w;
	struct hth_err err = {0};
	const char *path = temp("spm.gguf");
	(void)state;
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.model", "llama", 5, &err));
	put_strings(w, "tokenizer.ggml.tokens", tokens, 12);
	assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.scores", HTH_GGUF_F32, 12, scores, sizeof(scores), &err));
	assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.token_type", HTH_GGUF_I32, 12, types, sizeof(types), &err));
	assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.bos_token_id", HTH_GGUF_U32, 1, &err));
	assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.eos_token_id", HTH_GGUF_U32, 2, &err));
	assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.eot_token_id", HTH_GGUF_U32, 11, &err));
	assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.unknown_token_id", HTH_GGUF_U32, 0, &err));
	struct hth_tokenizer *t = load_gguf(w, path);
	ASSERT_ENCODED(t, "ab!", HTH_ENCODE_ADD_SPECIAL, "1:0-0 4:0-0 9:0-2 3:2-3");
	ASSERT_ENCODED(t, "abc", HTH_ENCODE_PLAIN, "4:0-0 10:0-3"); /* b+c comes first, then a+bc */
	ASSERT_ENCODED(t, "a<turn>a", HTH_ENCODE_PLAIN, "4:0-0 5:0-1 11:1-7 4:7-7 5:7-8");
	assert_true(hth_tokenizer_is_end(t, 2) && hth_tokenizer_is_end(t, 11) && !hth_tokenizer_is_special(t, 11));
	ASSERT_DECODED(t, true, "abc!", 1, 4, 10, 3, 2);
	hth_tokenizer_free(t);
}

static void a_gguf_names_its_pre_tokenizer(void **state)
{
	static const char *const tokens[] = {"1", "2", "12", "\u0120", "\u01201", "<|endoftext|>"};
	static const char *const merges[] = {"1 2", "\xC4\xA0 1"};
	static const int32_t types[] = {1, 1, 1, 1, 1, 3};
	static const struct {
		const char *pre, *want;
	} cases[] = {{"gpt-2", "2:0-2 3:2-3 2:3-5"}, {"smollm", "0:0-1 1:1-2 3:2-3 0:3-4 1:4-5"}};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct hth_gguf_writer *w;
		struct hth_err err = {0};
		const char *path = temp("bpe.gguf");
		assert_ok(hth_gguf_writer_new(path, &w, &err));
		assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.model", "gpt2", 4, &err));
		assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.pre", cases[i].pre, strlen(cases[i].pre), &err));
		put_strings(w, "tokenizer.ggml.tokens", tokens, 6);
		put_strings(w, "tokenizer.ggml.merges", merges, 2);
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.token_type", HTH_GGUF_I32, 6, types, sizeof(types),
					     &err));
		struct hth_tokenizer *t = load_gguf(w, path);
		ASSERT_ENCODED(t, "12 12", HTH_ENCODE_ADD_SPECIAL, cases[i].want);
		assert_int_equal(hth_tokenizer_eos(t), 5);
		hth_tokenizer_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(byte_level_merges_by_rank_with_offsets),
		temp_test(offsets_point_into_the_text_through_nfc_and_repair),
		temp_test(added_tokens_obey_their_flags),
		temp_test(specials_are_known_by_flag_and_name),
		temp_test(configs_beside_the_file_name_the_ends),
		temp_test(byte_level_decodes_and_streams_whole_characters),
		temp_test(char_level_falls_back_to_bytes_and_unknown),
		temp_test(byte_runs_are_decoded_as_a_whole),
		temp_test(a_long_byte_run_streams_without_half_characters),
		temp_test(ids_out_of_range_are_named),
		temp_test(a_mebibyte_of_one_character_is_encoded),
		temp_test(a_gguf_with_scores_merges_the_best_first),
		temp_test(a_gguf_names_its_pre_tokenizer),
	};
	return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
