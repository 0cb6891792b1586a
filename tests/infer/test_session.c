/* Sessions on the golden models and every backend: against transformers, and against themselves. */
#include "infer/session.h"
#include "models/golden.h"

/* Against transformers, as for all goldens; among our own ways to compute the same in f32: other sums, 1e-5. */
#define GOLDEN_TOLERANCE 1e-4
#define SELF_TOLERANCE 1e-5
/* Keys and values rounded to 11 bits. */
#define HALF_TOLERANCE 3e-3
/* Few rows times blocks: x has 16 bits (kernels/simd_matvec.h), and the clamped units of this model enlarge that tenfold. */
#define BLOCKS_TOLERANCE 5e-4

/* Dense models, mixtures of experts (each kind of router, sinks, blocks of four bits, a shared one), layers of two kinds and
 * layers without keys of their own. */
static const struct {
	const char *stem, *model;
} models[] = {
	{"tests/golden/llama/tied", ".gguf"},  {"tests/golden/llama/untied", ".gguf"},
	{"tests/golden/mixtral/tiny", ".gguf"}, {"tests/golden/qwen3moe_plain/tiny", ""},
	{"tests/golden/qwen35/tiny", ".gguf"},  {"tests/golden/qwen35/tiny", ""}, {"tests/golden/qwen35_nested/tiny", ""},
	{"tests/golden/qwen35moe/tiny", ".gguf"},
	{"tests/golden/gptoss/tiny", ".gguf"},  {"tests/golden/gptoss_mxfp4/tiny", ".gguf"},
	{"tests/golden/qwen2moe/tiny", ".gguf"}, {"tests/golden/gemma4/tiny", ".gguf"},
	{"tests/golden/gemma4_large/tiny", ""}, {"tests/golden/gemma4_moe/tiny", ".gguf"},
};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

static void on_all(void (*fn)(struct golden *g))
{
	const struct hth_backend *b;

	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (size_t k = 0; b->host_memory && k < N_MODELS; k++) {
			struct golden g;
			golden_open_stem(&g, models[k].stem, models[k].model, b, false, 1);
			fn(&g);
			golden_close(&g);
		}
}

/* Tokens of the first golden row: 11, in the small families 10. */
static int row_tokens(const struct golden *g)
{
	return golden_int(g, "begin", 1);
}

/* Eleven tokens, that row first. */
static void first_row(const struct golden *g, int32_t ids[11])
{
	for (int i = 0; i < 11; i++)
		ids[i] = golden_int(g, "ids", i);
}

static struct hth_session *session(struct golden *g, int64_t capacity, int64_t chunk)
{
	struct hth_session_config cfg = {
		.capacity = capacity, .prompt_chunk = chunk, .adapter = -1, .kv_type = HTH_STATE_F32};
	struct hth_session *s;
	struct hth_err err;

	assert_ok(hth_session_new(g->m, &cfg, &s, &err));
	return s;
}

static void check(struct golden *g, const char *what, const float *got, const float *want, double tolerance)
{
	const struct hth_expert_set *e = &g->m->layers[0].experts[0];
	bool blocks = e->n > 0 && e->w[0].quant == HTH_QUANT_MXFP4;

	golden_check(what, g, got, want, g->m->config.n_vocab, blocks ? BLOCKS_TOLERANCE : tolerance);
}

/* Each row of the golden by a step of its own through s, which is freed. */
static void steps_through(struct golden *g, struct hth_session *s, double tolerance)
{
	int64_t v = g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", golden_count(g, "ids") * v);
	const float *logits;
	struct hth_err err;
	int32_t ids[11];

	first_row(g, ids);
	assert_int_equal(hth_session_capacity(s), 128);
	assert_ok(hth_session_prompt(s, ids, 1, &logits, &err));
	check(g, "first token", logits, want, tolerance);
	for (int i = 1; i < row_tokens(g); i++) {
		assert_ok(hth_session_step(s, ids[i], &logits, &err));
		check(g, "a step", logits, want + i * v, tolerance);
		assert_int_equal(hth_session_length(s), i + 1);
	}
	hth_session_free(s);
	hth_free(want);
}

static void steps_of(struct golden *g)
{
	steps_through(g, session(g, 0, 0), GOLDEN_TOLERANCE);
}

static void token_by_token_equals_transformers(void **state)
{
	(void)state;
	on_all(steps_of);
}

static void half_steps_of(struct golden *g)
{
	struct hth_session_config cfg = {.adapter = -1, .kv_type = HTH_STATE_F16};
	struct hth_session *s;
	struct hth_err err;

	assert_ok(hth_session_new(g->m, &cfg, &s, &err));
	steps_through(g, s, HALF_TOLERANCE);
}

static void with_f16_keys_and_values_it_is_close(void **state)
{
	(void)state;
	on_all(half_steps_of);
}

static void chunks_of(struct golden *g)
{
	int64_t v = g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", golden_count(g, "ids") * v),
	      *whole = hth_calloc((size_t)v, sizeof(*whole));
	struct hth_err err;
	const float *logits;
	int32_t ids[11], n = row_tokens(g);

	first_row(g, ids);
	for (int64_t chunk = 11; chunk >= 1; chunk -= chunk == 11 ? 7 : 1) {
		struct hth_session *s = session(g, 16, chunk);
		assert_ok(hth_session_prompt(s, ids, n, &logits, &err));
		check(g, "a prompt", logits, want + (n - 1) * v, GOLDEN_TOLERANCE);
		if (chunk == 11)
			memcpy(whole, logits, (size_t)v * sizeof(*whole));
		check(g, "a prompt in chunks", logits, whole, SELF_TOLERANCE);
		hth_session_free(s);
	}
	hth_free(whole);
	hth_free(want);
}

static void chunked_prompt_equals_whole_prompt(void **state)
{
	(void)state;
	on_all(chunks_of);
}

static void reuse_of(struct golden *g)
{
	struct hth_session *old = session(g, 32, 0), *fresh = session(g, 32, 0);
	const float *a, *b;
	struct hth_err err;
	int32_t ids[11], other[14];

	first_row(g, ids);
	/* Shares 7 tokens, then goes its own way, longer than the old one was. */
	for (int i = 0; i < 14; i++)
		other[i] = i < 7 ? ids[i] : 200 - i;
	assert_ok(hth_session_prompt(old, ids, 11, &a, &err));
	assert_ok(hth_session_step(old, 5, &a, &err));
	assert_ok(hth_session_prompt(old, other, 14, &a, &err));
	assert_ok(hth_session_prompt(fresh, other, 14, &b, &err));
	check(g, "a reused beginning", a, b, SELF_TOLERANCE);
	/* The same prompt again: only its last token is computed. */
	assert_ok(hth_session_prompt(old, other, 14, &a, &err));
	check(g, "the same prompt again", a, b, SELF_TOLERANCE);
	/* Shorter than what it has seen. */
	assert_ok(hth_session_prompt(old, other, 3, &a, &err));
	hth_session_free(fresh);
	fresh = session(g, 32, 0);
	assert_ok(hth_session_prompt(fresh, other, 3, &b, &err));
	check(g, "a shorter prompt", a, b, SELF_TOLERANCE);
	assert_int_equal(hth_session_length(old), 3);
	hth_session_free(old);
	hth_session_free(fresh);
}

static void reused_beginning_gives_the_logits_of_a_fresh_session(void **state)
{
	(void)state;
	on_all(reuse_of);
}

/* Prompts as those of a chat follow each other: longer each time, with an answer between that the next one may tell
 * otherwise from its beginning, from its middle, or not at all; and a new chat. */
static void turns_of(struct golden *g)
{
	static const struct {
		int n, shared, steps; /* tokens of the prompt, how many of the last ones it begins with, tokens of its answer */
	} turns[] = {{70, 0, 9}, {90, 79, 3}, {100, 86, 5}, {110, 102, 4}, {60, 20, 0}, {61, 60, 1}, {40, 0, 2}, {42, 42, 0}};
	struct hth_session *old = session(g, 128, 32);
	int32_t ids[128] = {0};
	const float *a, *b;
	struct hth_err err;

	for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
		struct hth_session *fresh = session(g, 128, 128);
		for (int k = turns[i].shared; k < turns[i].n; k++)
			ids[k] = (int32_t)((k * 37 + (int)i * 11) % 200);
		assert_ok(hth_session_prompt(old, ids, turns[i].n, &a, &err));
		assert_ok(hth_session_prompt(fresh, ids, turns[i].n, &b, &err));
		check(g, "a turn", a, b, SELF_TOLERANCE);
		for (int k = 0; k < turns[i].steps; k++) {
			int32_t id = ids[turns[i].n + k] = (int32_t)((k * 5 + (int)i) % 200);
			assert_ok(hth_session_step(old, id, &a, &err));
			assert_ok(hth_session_step(fresh, id, &b, &err));
			check(g, "a token of an answer", a, b, SELF_TOLERANCE);
		}
		hth_session_free(fresh);
	}
	hth_session_free(old);
}

static void turns_of_a_chat_give_the_logits_of_fresh_sessions(void **state)
{
	(void)state;
	on_all(turns_of);
}

static void adapter_of(struct golden *g)
{
	int64_t v = g->m->config.n_vocab;
	float *want = golden_floats(g, "lora.logits", (golden_count(g, "begin") - 1) * v);
	float *base = golden_floats(g, "logits", golden_count(g, "ids") * v);
	struct hth_session_config cfg = {.adapter = 0};
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_session *s;
	const float *logits;
	struct hth_err err;
	int32_t ids[11], n = row_tokens(g);

	first_row(g, ids);
	hth_arena_init(&arena, 1 << 22);
	loras = golden_loras(g, "start", &arena, false);
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	cfg.loras = &set;
	assert_ok(hth_session_new(g->m, &cfg, &s, &err));
	assert_ok(hth_session_prompt(s, ids, n, &logits, &err));
	check(g, "with the adapter", logits, want, GOLDEN_TOLERANCE);
	hth_session_free(s);
	cfg.adapter = -1;
	assert_ok(hth_session_new(g->m, &cfg, &s, &err));
	assert_ok(hth_session_prompt(s, ids, n, &logits, &err));
	check(g, "with the adapter off", logits, base + (n - 1) * v, GOLDEN_TOLERANCE);
	hth_session_free(s);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
	hth_free(base);
}

static void adapter_on_equals_peft_and_off_equals_base(void **state)
{
	(void)state;
	on_all(adapter_of);
}

static void limits_of(struct golden *g)
{
	struct hth_session *s = session(g, 8, 0);
	const float *logits;
	struct hth_err err;
	int32_t ids[11], bad[2] = {1, 264};

	first_row(g, ids);
	assert_fails(hth_session_prompt(s, ids, 11, &logits, &err), HTH_ERR_LIMIT,
		     "a prompt of 11 tokens, expected at most 8");
	assert_fails(hth_session_prompt(s, ids, 0, &logits, &err), HTH_ERR_USAGE, "an empty prompt");
	assert_int_not_equal(hth_session_prompt(s, bad, 2, &logits, &err), HTH_OK);
	bad[1] = -1;
	assert_int_not_equal(hth_session_prompt(s, bad, 2, &logits, &err), HTH_OK);
	/* And the session still works, up to its last place. */
	assert_ok(hth_session_prompt(s, ids, 7, &logits, &err));
	assert_ok(hth_session_step(s, ids[7], &logits, &err));
	assert_fails(hth_session_step(s, ids[8], &logits, &err), HTH_ERR_LIMIT, "token 9 does not fit a context of 8");
	assert_int_equal(hth_session_length(s), 8);
	hth_session_free(s);
}

static void tokens_beyond_capacity_or_vocabulary_are_refused(void **state)
{
	(void)state;
	on_all(limits_of);
}

static void quiet_steps_of(struct golden *g)
{
	struct hth_session *s = session(g, 0, 0);
	const float *logits;
	struct hth_err err;
	int32_t ids[11];

	first_row(g, ids);
	assert_ok(hth_session_prompt(s, ids, 11, &logits, &err));
	assert_ok(hth_session_step(s, 1, &logits, &err));
	uint64_t before = hth_mem_allocs();
	for (int i = 0; i < 100; i++)
		assert_ok(hth_session_step(s, i, &logits, &err));
	assert_int_equal(hth_mem_allocs() - before, 0);
	hth_session_free(s);
}

static void decoded_token_allocates_nothing(void **state)
{
	(void)state;
	on_all(quiet_steps_of);
}

static void failing_of(struct golden *g)
{
	struct hth_session_config cfg = {.adapter = -1};
	struct hth_session *s;
	struct hth_err err;
	uint64_t n;

	for (n = 1; n < 1000; n++) {
		hth_mem_fail_at(n, true);
		enum hth_status st = hth_session_new(g->m, &cfg, &s, &err);
		hth_mem_fail_at(0, false);
		if (st == HTH_OK)
			break;
		assert_int_equal(st, HTH_ERR_MEMORY);
		assert_null(s);
	}
	assert_in_range(n, 5, 999);
	hth_session_free(s);
}

static void every_failed_allocation_is_an_error_without_a_leak(void **state)
{
	(void)state;
	on_all(failing_of);
}

/* More threads than most machines of a test run have: a session plans for the device, not for the machine. */
static void thread_count_changes_no_bit(void **state)
{
	const struct hth_backend *b;
	const float *one, *many;
	struct hth_err err;
	int32_t ids[11];

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (size_t k = 0; b->host_memory && k < N_MODELS; k++) {
			struct golden g, h;
			golden_open_stem(&g, models[k].stem, models[k].model, b, false, 1);
			golden_open_stem(&h, models[k].stem, models[k].model, b, false, 11);
			struct hth_session *s = session(&g, 0, 0), *t = session(&h, 0, 0);
			size_t bytes = (size_t)g.m->config.n_vocab * sizeof(float);
			first_row(&g, ids);
			assert_ok(hth_session_prompt(s, ids, 10, &one, &err));
			assert_ok(hth_session_prompt(t, ids, 10, &many, &err));
			assert_memory_equal(one, many, bytes);
			assert_ok(hth_session_step(s, ids[10], &one, &err));
			assert_ok(hth_session_step(t, ids[10], &many, &err));
			assert_memory_equal(one, many, bytes);
			hth_session_free(s);
			hth_session_free(t);
			golden_close(&g);
			golden_close(&h);
		}
}

static void wrong_config_is_refused(void **state)
{
	struct hth_session_config cfg = {.adapter = 0};
	struct hth_session *s;
	struct hth_model *m;
	struct hth_err err;
	struct golden g;

	(void)state;
	golden_open(&g, "tied", hth_backend_at(0), false);
	assert_fails(hth_session_new(g.m, &cfg, &s, &err), HTH_ERR_USAGE, "adapter 0, expected -1..-1");
	cfg = (struct hth_session_config){.adapter = -1, .capacity = -5};
	assert_fails(hth_session_new(g.m, &cfg, &s, &err), HTH_ERR_USAGE, "context of -5 tokens");
	cfg = (struct hth_session_config){.adapter = -1, .prompt_chunk = -5};
	assert_fails(hth_session_new(g.m, &cfg, &s, &err), HTH_ERR_USAGE, "prompt chunk of -5");
	assert_fails(hth_model_prepare(g.m, g.backend, g.dev, false, &err), HTH_ERR_USAGE, "on a device already");
	golden_close(&g);
	assert_ok(hth_model_open("tests/golden/llama/tied.gguf", &m, &err));
	cfg = (struct hth_session_config){.adapter = -1};
	assert_fails(hth_session_new(m, &cfg, &s, &err), HTH_ERR_USAGE, "not on a device");
	hth_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(token_by_token_equals_transformers),
		cmocka_unit_test(with_f16_keys_and_values_it_is_close),
		cmocka_unit_test(chunked_prompt_equals_whole_prompt),
		cmocka_unit_test(reused_beginning_gives_the_logits_of_a_fresh_session),
		cmocka_unit_test(turns_of_a_chat_give_the_logits_of_fresh_sessions),
		cmocka_unit_test(adapter_on_equals_peft_and_off_equals_base),
		cmocka_unit_test(tokens_beyond_capacity_or_vocabulary_are_refused),
		cmocka_unit_test(decoded_token_allocates_nothing),
		cmocka_unit_test(every_failed_allocation_is_an_error_without_a_leak),
		cmocka_unit_test(thread_count_changes_no_bit),
		cmocka_unit_test(wrong_config_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
