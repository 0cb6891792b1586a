/* Sessions and losses of models that rotate otherwise, or whose queries grow, beyond their original context (16 tokens
 * here): against transformers, and against themselves whatever the way to a text. */
#include "base/log.h"
#include "infer/perplexity.h"
#include "infer/session.h"
#include "models/golden.h"

#define ORIGINAL 16
/* Against transformers, as for all goldens; among our own ways to compute the same in f32: other sums. */
#define GOLDEN_TOLERANCE 1e-4
#define SELF_TOLERANCE 1e-5

static const struct {
	const char *stem, *model;
} models[] = {
	{"tests/golden/phi3_beyond/tiny", ".gguf"},
	{"tests/golden/phi3_beyond/tiny", ""},
	{"tests/golden/ministral3_beyond/tiny", ".gguf"},
	{"tests/golden/ministral3_beyond/tiny", ""},
};

static void on_all(void (*fn)(struct golden *g))
{
	const struct hth_backend *b;

	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (size_t k = 0; b->host_memory && k < sizeof(models) / sizeof(models[0]); k++) {
			struct golden g;
			golden_open_stem(&g, models[k].stem, models[k].model, b, false, 1);
			fn(&g);
			golden_close(&g);
		}
}

static struct hth_session *session(struct golden *g, int64_t chunk)
{
	struct hth_session_config cfg = {.prompt_chunk = chunk, .adapter = -1, .kv_type = HTH_STATE_F32};
	struct hth_session *s;
	struct hth_err err;

	assert_ok(hth_session_new(g->m, &cfg, &s, &err));
	assert_int_equal(hth_session_capacity(s), 64); /* all of the context */
	return s;
}

static int32_t likeliest(const struct golden *g, const float *logits)
{
	int32_t best = 0;

	for (int32_t i = 1; i < g->m->config.n_vocab; i++)
		best = logits[i] > logits[best] ? i : best;
	return best;
}

static void answers_of(struct golden *g)
{
	const struct hth_st_tensor *t = golden_tensor(g, "greedy.ids");
	const int32_t *want = (const int32_t *)(const void *)t->data;

	for (int64_t chunk = 0; chunk <= 7; chunk += 7) {
		struct hth_session *s = session(g, chunk);
		const int32_t *ids = want;
		for (int k = 0; k < golden_count(g, "greedy.prompt"); k++) {
			int32_t prompt = golden_int(g, "greedy.prompt", k), n = golden_int(g, "greedy.length", k);
			const float *logits;
			struct hth_err err;
			assert_ok(hth_session_prompt(s, ids, prompt, &logits, &err));
			for (int32_t i = prompt; i < n; i++) {
				if (likeliest(g, logits) != ids[i])
					fail_msg("%s on %s, chunk %d, answer %d: token %d is %d, expected %d", g->name,
						 g->backend->name, (int)chunk, k, i, likeliest(g, logits), ids[i]);
				assert_ok(hth_session_step(s, ids[i], &logits, &err));
			}
			assert_int_equal(hth_session_length(s), n);
			ids += n;
		}
		hth_session_free(s);
	}
}

static void greedy_answers_within_across_and_beyond_equal_transformers(void **state)
{
	(void)state;
	on_all(answers_of);
}

/* Logits after the first n tokens of the golden's first row, from a session that has seen nothing else. */
static void fresh(struct golden *g, const int32_t *ids, int64_t n, float *out)
{
	struct hth_session *s = session(g, 0);
	const float *logits;
	struct hth_err err;

	assert_ok(hth_session_prompt(s, ids, n, &logits, &err));
	memcpy(out, logits, (size_t)g->m->config.n_vocab * sizeof(*out));
	hth_session_free(s);
}

/* A chat grows past the original context, comes back (an edited turn), ends on it, and passes it token by token. */
static void ways_of(struct golden *g)
{
	static const int64_t lengths[] = {10, 20, 34, 22, 12, 16, 17, 16, 15, 30};
	int64_t v = g->m->config.n_vocab;
	float *want = hth_calloc((size_t)v, sizeof(*want));
	struct hth_session *s = session(g, 5);
	const float *logits;
	struct hth_err err;
	int32_t ids[34];

	for (int i = 0; i < 34; i++)
		ids[i] = golden_int(g, "ids", i);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		assert_ok(hth_session_prompt(s, ids, lengths[i], &logits, &err));
		fresh(g, ids, lengths[i], want);
		golden_check("prompts one after the other", g, logits, want, v, SELF_TOLERANCE);
	}
	assert_ok(hth_session_prompt(s, ids, ORIGINAL - 2, &logits, &err));
	for (int i = ORIGINAL - 2; i < 34; i++) {
		assert_ok(hth_session_step(s, ids[i], &logits, &err));
		assert_int_equal(hth_session_length(s), i + 1);
		fresh(g, ids, i + 1, want);
		golden_check("steps", g, logits, want, v, SELF_TOLERANCE);
	}
	hth_session_free(s);
	hth_free(want);
}

static void no_way_to_a_text_changes_its_logits(void **state)
{
	(void)state;
	on_all(ways_of);
}

/* The last row's logits of each golden row, which transformers has from one pass over the row. */
static void rows_of(struct golden *g)
{
	int64_t v = g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", golden_count(g, "ids") * v);
	struct hth_session *s = session(g, 0);
	const float *logits;
	struct hth_err err;

	for (int r = 0; r < golden_count(g, "begin") - 1; r++) {
		int32_t begin = golden_int(g, "begin", r), end = golden_int(g, "begin", r + 1), ids[34];
		for (int i = begin; i < end; i++)
			ids[i - begin] = golden_int(g, "ids", i);
		assert_ok(hth_session_prompt(s, ids, end - begin, &logits, &err));
		golden_check("a row as a prompt", g, logits, want + (end - 1) * v, v, GOLDEN_TOLERANCE);
	}
	hth_session_free(s);
	hth_free(want);
}

static void prompts_on_both_sides_equal_transformers(void **state)
{
	(void)state;
	on_all(rows_of);
}

/* The step that has all read again may run out of memory; the session can be used after that. */
static void failing_of(struct golden *g)
{
	int64_t v = g->m->config.n_vocab;
	float *want = hth_calloc((size_t)v, sizeof(*want));
	const float *logits;
	struct hth_err err;
	int32_t ids[ORIGINAL + 1];
	uint64_t n;

	for (int i = 0; i < ORIGINAL + 1; i++)
		ids[i] = golden_int(g, "ids", i);
	fresh(g, ids, ORIGINAL + 1, want);
	for (n = 1; n < 1000; n++) {
		struct hth_session *s = session(g, 7);
		assert_ok(hth_session_prompt(s, ids, ORIGINAL, &logits, &err));
		hth_mem_fail_at(n, true);
		enum hth_status st = hth_session_step(s, ids[ORIGINAL], &logits, &err);
		hth_mem_fail_at(0, false);
		if (st != HTH_OK) {
			assert_int_equal(st, HTH_ERR_MEMORY);
			assert_true(hth_session_length(s) <= ORIGINAL);
			assert_ok(hth_session_prompt(s, ids, ORIGINAL + 1, &logits, &err));
		}
		golden_check("after a failure", g, logits, want, v, SELF_TOLERANCE);
		hth_session_free(s);
		if (st == HTH_OK)
			break;
	}
	assert_in_range(n, 1, 999);
	hth_free(want);
}

static void a_failed_step_across_leaves_a_session_that_works(void **state)
{
	(void)state;
	on_all(failing_of);
}

/* Loss of the tokens of `n` of these rows, each with all its tokens as targets; the first row's in *first. */
static void loss_of(struct golden *g, const int32_t *ids, const int32_t *lengths, size_t n, bool share, double *first)
{
	struct hth_perplexity_config cfg = {.adapter = -1, .share_prefix = share};
	struct hth_data_example items[3] = {0};
	struct hth_dataset d = {.items = items, .n = n};
	struct hth_perplexity p;
	struct hth_err err;
	int32_t copy[34];
	uint8_t target[34];

	memcpy(copy, ids, sizeof copy);
	memset(target, 1, sizeof target);
	target[0] = 0;
	for (size_t i = 0; i < n; i++)
		items[i].tokens = (struct hth_example){.ids = copy,
						       .target = target,
						       .n = (size_t)lengths[i],
						       .n_targets = (size_t)lengths[i] - 1};
	for (size_t i = 0; i < n; i++) {
		d.n_tokens += items[i].tokens.n;
		d.n_targets += items[i].tokens.n_targets;
	}
	assert_ok(hth_perplexity(g->m, &d, &cfg, &p, &err));
	*first = p.example_nll[0];
	hth_perplexity_clear(&p);
}

static void neighbours_of(struct golden *g)
{
	static const int32_t lengths[3][3] = {{16, 34, 17}, {34, 16, 9}, {17, 16, 34}};
	int32_t ids[34];
	double alone, beside;

	for (int i = 0; i < 34; i++)
		ids[i] = golden_int(g, "ids", i);
	for (int i = 0; i < 3; i++) {
		loss_of(g, ids, lengths[i], 1, false, &alone);
		for (int share = 0; share < 2; share++) {
			loss_of(g, ids, lengths[i], 3, share == 1, &beside);
			if (!(fabs(alone - beside) <= SELF_TOLERANCE * alone))
				fail_msg("%s on %s, row of %d: %.9f alone, %.9f among others (sharing %d)", g->name,
					 g->backend->name, lengths[i][0], alone, beside, share);
		}
	}
}

static void a_rows_loss_does_not_depend_on_its_neighbours(void **state)
{
	(void)state;
	on_all(neighbours_of);
}

int main(void)
{
	hth_log_set_level(HTH_LOG_ERROR); /* each reading again is told */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_answers_within_across_and_beyond_equal_transformers),
		cmocka_unit_test(no_way_to_a_text_changes_its_logits),
		cmocka_unit_test(prompts_on_both_sides_equal_transformers),
		cmocka_unit_test(a_failed_step_across_leaves_a_session_that_works),
		cmocka_unit_test(a_rows_loss_does_not_depend_on_its_neighbours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
