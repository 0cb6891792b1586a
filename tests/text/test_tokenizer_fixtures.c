/* Every case of the conformance fixtures, from each source that a family has: ids, decoded text, the same streamed,
 * and that byte-level tokens cover the text. Skipped where the fixtures are not unpacked. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/tokenizer.h"

#include <time.h>

#define SHOWN_FAILURES 8

struct tally {
	size_t ids, ids_bad, decoded, decoded_bad, covered_bad, bytes;
	double seconds;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show_ids(const char *what, const int32_t *ids, size_t n)
{
	fprintf(stderr, "  %s:", what);
	for (size_t i = 0; i < n && i < 40; i++)
		fprintf(stderr, " %d", ids[i]);
	fprintf(stderr, n > 40 ? " ... (%zu)\n" : "\n", n);
}

static size_t read_ids(const json_t *list, int32_t **ids)
{
	size_t n = json_array_size(list);
	*ids = hth_calloc(n + 1, sizeof(**ids));
	assert_non_null(*ids);
	for (size_t i = 0; i < n; i++)
		(*ids)[i] = (int32_t)json_integer_value(json_array_get(list, i));
	return n;
}

static void check_decoded(const struct hth_tokenizer *t, const json_t *c, const char *key, bool skip,
			  const int32_t *ids, size_t n, const char *where, struct tally *tally)
{
	const json_t *want = json_object_get(c, key);
	struct hth_buf whole, streamed;
	struct hth_detokenizer d = {.skip_special = skip};
	struct hth_err err = {0};

	if (want == NULL)
		return;
	/* Gemma's <image_soft_token> is in tokenizer.json alone (fixtures, trap 4). */
	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= hth_tokenizer_size(t))
			return;
	}
	hth_buf_init(&whole, (size_t)1 << 24);
	hth_buf_init(&streamed, (size_t)1 << 24);
	assert_ok(hth_tokenizer_decode(t, ids, n, skip, &whole, &err));
	for (size_t i = 0; i < n; i++)
		assert_ok(hth_detokenizer_push(&d, t, ids[i], &streamed, &err));
	hth_detokenizer_flush(&d, &streamed);
	tally->decoded++;
	size_t bytes = json_string_length(want);
	if (whole.bytes != bytes || memcmp(hth_buf_str(&whole), json_string_value(want), bytes) != 0 ||
	    streamed.bytes != bytes || memcmp(hth_buf_str(&streamed), json_string_value(want), bytes) != 0) {
		if (tally->decoded_bad++ < SHOWN_FAILURES) {
			fprintf(stderr, "%s %s:\n  want     [%s]\n  decode   [%s]\n  streamed [%s]\n", where, key,
				json_string_value(want), hth_buf_str(&whole), hth_buf_str(&streamed));
			show_ids("ids", ids, n);
		}
	}
	hth_buf_clear(&whole);
	hth_buf_clear(&streamed);
}

static void check_case(const struct hth_tokenizer *t, const json_t *c, bool gguf, bool covers, const char *where,
		       struct tally *tally)
{
	const json_t *text = json_object_get(c, "text"), *list = json_object_get(c, "ids");
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	int32_t *want, *ids;
	int flags = (json_is_true(json_object_get(c, "add_special")) ? HTH_ENCODE_ADD_SPECIAL : 0) |
		    (json_is_true(json_object_get(c, "parse_special")) ? HTH_ENCODE_PARSE_SPECIAL : 0);
	size_t n = read_ids(list, &ids), n_want = n;

	want = ids;
	if (gguf && json_object_get(c, "gguf_ids") != NULL)
		n_want = read_ids(json_object_get(c, "gguf_ids"), &want);
	double begin = now();
	assert_ok(hth_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &got, &err));
	tally->seconds += now() - begin;
	tally->bytes += json_string_length(text);
	tally->ids++;
	if (got.n != n_want || (n_want > 0 && memcmp(got.ids, want, n_want * sizeof(*want)) != 0)) {
		if (tally->ids_bad++ < SHOWN_FAILURES) {
			fprintf(stderr, "%s [%s] add %d parse %d [%s]\n", where,
				json_string_value(json_object_get(c, "cat")), flags & 1, flags >> 1,
				json_string_value(text));
			show_ids("want", want, n_want);
			show_ids("got ", got.ids, got.n);
		}
	}
	uint32_t at = 0;
	for (size_t i = 0; covers && i < got.n; i++) {
		tally->covered_bad += got.starts[i] > got.ends[i] || got.ends[i] > json_string_length(text) ||
				      (got.ends[i] > got.starts[i] && got.starts[i] > at);
		at = got.ends[i] > at ? got.ends[i] : at;
	}
	check_decoded(t, c, "decoded", false, ids, n, where, tally);
	/* Where the sources disagree on what is special, skipping differs too: Gemma's <unusedN> and <mask> (trap 4).
	 */
	if (want == ids && !(gguf && strncmp(where, "gemma3", 6) == 0))
		check_decoded(t, c, "decoded_skip_special", true, ids, n, where, tally);
	if (want != ids)
		hth_free(want);
	hth_free(ids);
	hth_tokens_clear(&got);
}

/* covers: the family drops no bytes, so that the tokens' pieces leave no gap. */
static void run_family(const char *name, bool gguf, bool covers)
{
	struct hth_err err = {0};
	struct hth_tokenizer *t;
	struct hth_gguf g = {0};
	struct tally tally = {0};
	char path[512], where[600], *cases, *line, *end;
	size_t bytes, number = 0;
	const char *dir = fixtures_dir();

	if (dir == NULL)
		skip_because("the fixtures are not unpacked (HTH_FIXTURES)");
	snprintf(path, sizeof(path), "%s/tokenizers/%s.%s", dir, name, gguf ? "vocab.gguf" : "tokenizer.json");
	double begin = now();
	if (gguf) {
		assert_ok(hth_gguf_open(&g, path, &err));
		assert_ok(hth_tokenizer_from_gguf(&g, &t, &err));
	} else {
		assert_ok(hth_tokenizer_from_json(path, &t, &err));
	}
	double loaded = now() - begin;
	snprintf(path, sizeof(path), "%s/tokenizers/%s.cases.jsonl", dir, name);
	assert_ok(hth_file_read(path, (size_t)64 << 20, &cases, &bytes, &err));
	for (line = cases; (end = memchr(line, '\n', (size_t)(cases + bytes - line))) != NULL; line = end + 1) {
		json_t *c;
		snprintf(where, sizeof(where), "%s %s:%zu", name, gguf ? "gguf" : "json", ++number);
		assert_ok(hth_json_parse(line, (size_t)(end - line), HTH_JSON_STRICT, where, &c, &err));
		check_case(t, c, gguf, covers, where, &tally);
		json_decref(c);
	}
	fprintf(stderr,
		"# %s from %s: %s; loaded in %.0f ms; %zu cases, %zu wrong; %zu decoded, %zu wrong; %zu gaps; "
		"%.1f MB/s\n",
		name, gguf ? "gguf" : "json", hth_tokenizer_describe(t), loaded * 1e3, tally.ids, tally.ids_bad,
		tally.decoded, tally.decoded_bad, tally.covered_bad, (double)tally.bytes / tally.seconds * 1e-6);
	hth_tokenizer_free(t);
	hth_gguf_close(&g);
	hth_free(cases);
	assert_true(tally.ids > 2500);
	assert_int_equal(tally.ids_bad, 0);
	assert_int_equal(tally.decoded_bad, 0);
	assert_int_equal(tally.covered_bad, 0);
}

/* llama.cpp's own test pairs, those that the reference agrees with. */
static void llama_cpp_pairs_agree(void **state)
{
	struct hth_err err = {0};
	struct hth_tokenizer *t = NULL;
	struct tally tally = {0};
	char path[512], where[600], current[64] = "", *cases, *line, *end;
	size_t bytes, number = 0;
	const char *dir = fixtures_dir();

	(void)state;
	if (dir == NULL)
		skip_because("the fixtures are not unpacked (HTH_FIXTURES)");
	snprintf(path, sizeof(path), "%s/tokenizers/llama_cpp_inp_out.jsonl", dir);
	assert_ok(hth_file_read(path, (size_t)64 << 20, &cases, &bytes, &err));
	for (line = cases; (end = memchr(line, '\n', (size_t)(cases + bytes - line))) != NULL; line = end + 1) {
		json_t *c;
		snprintf(where, sizeof(where), "llama.cpp pair %zu", ++number);
		assert_ok(hth_json_parse(line, (size_t)(end - line), HTH_JSON_STRICT, where, &c, &err));
		const char *name = json_string_value(json_object_get(c, "tokenizer"));
		if (strcmp(name, current) != 0) {
			struct hth_gguf g = {0};
			hth_tokenizer_free(t);
			snprintf(current, sizeof(current), "%s", name);
			snprintf(path, sizeof(path), "%s/tokenizers/%s.vocab.gguf", dir, name);
			assert_ok(hth_gguf_open(&g, path, &err));
			assert_ok(hth_tokenizer_from_gguf(&g, &t, &err));
			hth_gguf_close(&g);
		}
		check_case(t, c, true, false, where, &tally);
		json_decref(c);
	}
	hth_tokenizer_free(t);
	hth_free(cases);
	assert_true(tally.ids > 300);
	assert_int_equal(tally.ids_bad, 0);
}

#define FAMILY(test, name, gguf, covers)                                                                               \
	static void test(void **state)                                                                                 \
	{                                                                                                              \
		(void)state;                                                                                           \
		run_family(name, gguf, covers);                                                                        \
	}

FAMILY(smollm2_gguf_gives_the_reference_ids, "smollm2", true, false)
FAMILY(smollm2_json_gives_the_reference_ids, "smollm2", false, false)
FAMILY(llama3_gguf_gives_the_reference_ids, "llama3", true, true)
FAMILY(qwen2_gguf_gives_the_reference_ids, "qwen2", true, true)
FAMILY(qwen3_json_gives_the_reference_ids, "qwen3", false, true)
FAMILY(gpt2_gguf_gives_the_reference_ids, "gpt2", true, true)
FAMILY(starcoder2_gguf_gives_the_reference_ids, "starcoder2", true, false)
FAMILY(falcon_gguf_gives_the_reference_ids, "falcon", true, false)
FAMILY(falcon_json_gives_the_reference_ids, "falcon", false, false)
FAMILY(deepseek_v3_json_gives_the_reference_ids, "deepseek-v3", false, true)
FAMILY(olmo1_json_gives_the_reference_ids, "olmo1", false, false)
FAMILY(olmo2_cl100k_json_gives_the_reference_ids, "olmo2-cl100k", false, true)
FAMILY(tekken_gguf_gives_the_reference_ids, "tekken", true, true)
FAMILY(llama2_gguf_gives_the_reference_ids, "llama2", true, true)
FAMILY(llama2_json_gives_the_reference_ids, "llama2", false, true)
FAMILY(mistral_v01_gguf_gives_the_reference_ids, "mistral-v0.1", true, true)
FAMILY(mistral_v01_json_gives_the_reference_ids, "mistral-v0.1", false, true)
FAMILY(mistral_v03_gguf_gives_the_reference_ids, "mistral-v0.3", true, true)
FAMILY(mistral_v03_json_gives_the_reference_ids, "mistral-v0.3", false, true)
FAMILY(phi3_gguf_gives_the_reference_ids, "phi3", true, true)
FAMILY(phi3_json_gives_the_reference_ids, "phi3", false, true)
FAMILY(gemma3_gguf_gives_the_reference_ids, "gemma3", true, true)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smollm2_gguf_gives_the_reference_ids),
		cmocka_unit_test(smollm2_json_gives_the_reference_ids),
		cmocka_unit_test(llama3_gguf_gives_the_reference_ids),
		cmocka_unit_test(qwen2_gguf_gives_the_reference_ids),
		cmocka_unit_test(qwen3_json_gives_the_reference_ids),
		cmocka_unit_test(gpt2_gguf_gives_the_reference_ids),
		cmocka_unit_test(starcoder2_gguf_gives_the_reference_ids),
		cmocka_unit_test(falcon_gguf_gives_the_reference_ids),
		cmocka_unit_test(falcon_json_gives_the_reference_ids),
		cmocka_unit_test(deepseek_v3_json_gives_the_reference_ids),
		cmocka_unit_test(olmo1_json_gives_the_reference_ids),
		cmocka_unit_test(olmo2_cl100k_json_gives_the_reference_ids),
		cmocka_unit_test(tekken_gguf_gives_the_reference_ids),
		cmocka_unit_test(llama2_gguf_gives_the_reference_ids),
		cmocka_unit_test(llama2_json_gives_the_reference_ids),
		cmocka_unit_test(mistral_v01_gguf_gives_the_reference_ids),
		cmocka_unit_test(mistral_v01_json_gives_the_reference_ids),
		cmocka_unit_test(mistral_v03_gguf_gives_the_reference_ids),
		cmocka_unit_test(mistral_v03_json_gives_the_reference_ids),
		cmocka_unit_test(phi3_gguf_gives_the_reference_ids),
		cmocka_unit_test(phi3_json_gives_the_reference_ids),
		cmocka_unit_test(gemma3_gguf_gives_the_reference_ids),
		cmocka_unit_test(llama_cpp_pairs_agree),
	};
	return cmocka_run_group_tests_name("tokenizer_fixtures", tests, NULL, NULL);
}
