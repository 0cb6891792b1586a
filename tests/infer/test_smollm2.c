/* The real SmolLM2-135M-Instruct (Q4_1): greedy answers equal transformers' in float32, token by token. The model file
 * is no part of the repository: $HTH_SMOLLM2, or build/models/SmolLM2-135M-Instruct.Q4_1.gguf. */
#include "base/json.h"
#include "base/machine.h"
#include "infer/generate.h"
#include "support.h"

#define MODEL "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"
/* Below this distance of the two best logits another order of summation may choose the other one. */
#define NEAR_TIE 1e-3

static const char *model_path(void)
{
	const char *path = getenv("HTH_SMOLLM2");

	if (path != NULL && path[0] != '\0')
		return path;
	return access(MODEL, R_OK) == 0 ? MODEL : NULL;
}

static int64_t ints(const json_t *array, int32_t *out, int64_t cap)
{
	int64_t n = (int64_t)json_array_size(array);

	assert_in_range(n, 1, cap);
	for (int64_t i = 0; i < n; i++)
		out[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
	return n;
}

static void check_row(struct hth_session *s, const struct hth_model *m, const json_t *row)
{
	const struct hth_generate_config cfg = {.sampler = {.top_p = 1, .repetition_penalty = 1}, .max_tokens = 48};
	int32_t prompt[256], want[48];
	int64_t n = ints(json_object_get(row, "ids"), prompt, 256),
		n_want = ints(json_object_get(row, "greedy"), want, 48);
	struct hth_generated out;
	struct hth_err err;

	assert_ok(hth_generate(s, m, prompt, n, &cfg, NULL, NULL, &out, &err));
	for (int64_t i = 0; i < n_want; i++) {
		if (i < out.n_ids && out.ids[i] == want[i])
			continue;
		double gap = json_real_value(json_array_get(json_object_get(row, "gap"), (size_t)i));
		if (gap >= NEAR_TIE)
			fail_msg("\"%s\": token %lld is %d, expected %d (the two best logits are %g apart)",
				 json_string_value(json_object_get(row, "prompt")), (long long)i,
				 i < out.n_ids ? out.ids[i] : -1, want[i], gap);
		break;
	}
	assert_int_equal(out.n_ids, n_want);
	hth_generated_clear(&out);
}

/* The fastest backend: the first of the list. */
static void greedy_answers_equal_transformers(void **state)
{
	const char *path = model_path();
	const struct hth_backend *b = hth_backend_at(0);
	const struct hth_session_config scfg = {.capacity = 512, .adapter = -1};
	struct hth_device_config dcfg = {.compute = HTH_COMPUTE_F32};
	struct hth_session *s;
	struct hth_device *dev;
	struct hth_model *m;
	struct hth_err err;
	json_t *doc;

	(void)state;
	if (path == NULL)
		skip_because("no model; set HTH_SMOLLM2 or put it at " MODEL);
	assert_ok(hth_json_read("tests/golden/smollm2/greedy.json", 1 << 20, HTH_JSON_STRICT, &doc, &err));
	assert_ok(hth_pool_new(0, &dcfg.pool, &err));
	assert_ok(b->open(&dcfg, &dev, &err));
	assert_ok(hth_model_open(path, &m, &err));
	assert_ok(hth_model_prepare(m, b, dev, false, &err));
	assert_ok(hth_session_new(m, &scfg, &s, &err));
	const json_t *rows = json_object_get(doc, "rows");
	assert_int_equal(json_array_size(rows), 10);
	/* The slow definition is given one row: it takes a seventh of a second a token. */
	size_t n = strcmp(b->name, "ref") == 0 ? 1 : 10;
	for (size_t i = 0; i < n; i++)
		check_row(s, m, json_array_get(rows, i));
	hth_session_free(s);
	hth_model_close(m);
	b->close(dev);
	hth_pool_free(dcfg.pool);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(greedy_answers_equal_transformers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
