/* Survival: what was kept is called kept, a candidate without the fine-tune is found out, and the rule's bounds. */
#include "eval/survival_int.h"
#include "../base/tempdir.h"
#include "../models/golden.h"

/* KL against itself: rounding of double sums over 264 terms. */
#define ZERO_TOLERANCE 1e-9
/* Losses against hth_perplexity's, whose head works in f32. */
#define LOSS_TOLERANCE 1e-5

struct rig {
	struct golden g;
	struct hth_model *other; /* the same file opened again */
	struct hth_arena arena;
	struct hth_lora_set set;
	struct hth_dataset rows;
};

/* The rows that the adapter was trained on, so that it has gained something there. */
static void train_rows(const struct golden *g, struct hth_arena *arena, struct hth_dataset *d)
{
	*d = (struct hth_dataset){.n = (size_t)golden_count(g, "train.begin") - 1};
	d->items = hth_arena_calloc(arena, d->n, sizeof *d->items);
	for (size_t i = 0; i < d->n; i++) {
		struct hth_example *e = &d->items[i].tokens;
		int32_t begin = golden_int(g, "train.begin", (int64_t)i),
			end = golden_int(g, "train.begin", (int64_t)i + 1);
		e->n = (size_t)(end - begin);
		e->ids = hth_arena_calloc(arena, e->n, sizeof *e->ids);
		e->target = hth_arena_calloc(arena, e->n, 1);
		for (size_t t = 0; t < e->n; t++) {
			e->ids[t] = golden_int(g, "train.ids", begin + (int64_t)t);
			e->target[t] = golden_int(g, "train.target", begin + (int64_t)t) != 0;
			e->n_targets += e->target[t];
		}
	}
}

static void rig_open(struct rig *r, const char *name)
{
	struct hth_err err;
	char path[128];

	golden_open(&r->g, name, hth_backend_find("cpu"), false);
	hth_arena_init(&r->arena, 1 << 22);
	train_rows(&r->g, &r->arena, &r->rows);
	struct hth_lora **loras = golden_loras(&r->g, "step10", &r->arena, false);
	struct hth_lora **const *list = (struct hth_lora * *const *)&loras;
	assert_ok(hth_lora_set_init(&r->set, r->g.m, list, 1, &err));
	snprintf(path, sizeof path, "tests/golden/llama/%s.gguf", name);
	assert_ok(hth_model_open(path, &r->other, &err));
	assert_ok(hth_model_prepare(r->other, r->g.backend, r->g.dev, false, &err));
}

static void rig_close(struct rig *r)
{
	hth_model_close(r->other);
	hth_lora_set_clear(&r->set);
	hth_arena_clear(&r->arena);
	golden_close(&r->g);
}

static struct hth_survival_config config(struct rig *r)
{
	return (struct hth_survival_config){
		.reference = {r->g.m, &r->set, 0}, .base = {r->g.m, NULL, -1}, .data = &r->rows};
}

static void the_tuned_model_itself_survives(void **state)
{
	struct rig r;
	struct hth_survival v;
	struct hth_err err;

	(void)state;
	rig_open(&r, "tied");
	struct hth_survival_config cfg = config(&r);
	cfg.candidate = cfg.reference;
	assert_ok(hth_survival_check(&cfg, &v, &err));
	assert_int_equal(v.verdict, HTH_SURVIVED);
	assert_true(fabs(v.kl) <= ZERO_TOLERANCE);
	assert_float_equal(v.agree, 1, 0);
	assert_true(v.has_base);
	assert_true(v.base.loss > v.reference.loss + HTH_SURVIVAL_MIN_GAIN);
	assert_true(v.candidate.loss == v.reference.loss);
	assert_non_null(strstr(v.why, "100%"));
	assert_int_equal(v.n_examples, 6);
	rig_close(&r);
}

static void a_candidate_made_of_the_bare_base_is_refused(void **state)
{
	struct hth_survival v;
	struct hth_err err;

	(void)state;
	for (int k = 0; k < GOLDEN_COUNT; k++) {
		struct rig r;
		rig_open(&r, golden_names[k]);
		struct hth_survival_config cfg = config(&r);
		cfg.candidate = (struct hth_survival_side){r.other, NULL, -1};
		assert_ok(hth_survival_check(&cfg, &v, &err));
		assert_int_equal(v.verdict, HTH_LOST_GAIN);
		assert_true(fabs(v.candidate.loss - v.base.loss) <= LOSS_TOLERANCE * v.base.loss);
		assert_true(v.kl > 1e-3);
		rig_close(&r);
	}
}

/* KL by hand from the logits of the golden file: base against adapter-start, in double. */
static void divergence_is_that_of_the_logits(void **state)
{
	struct rig r;
	struct hth_survival v;
	struct hth_err err;

	(void)state;
	rig_open(&r, "tied");
	int64_t n_vocab = r.g.m->config.n_vocab;
	int32_t end = golden_int(&r.g, "begin", 1); /* row 0 */
	float *logits =
		golden_floats(&r.g, "lora.logits", (golden_count(&r.g, "begin") - 1) * n_vocab); /* last positions */
	float *base = golden_floats(&r.g, "logits", golden_count(&r.g, "ids") * n_vocab);
	const float *a = logits, *b = base + (int64_t)(end - 1) * n_vocab;
	double za = 0, zb = 0, want = 0;
	for (int64_t i = 0; i < n_vocab; i++) {
		za += exp((double)a[i]);
		zb += exp((double)b[i]);
	}
	for (int64_t i = 0; i < n_vocab; i++)
		want += exp((double)a[i]) / za * ((double)a[i] - log(za) - (double)b[i] + log(zb));
	/* One example: row 0 and one token behind it, the only target. */
	struct hth_dataset d = {.n = 1, .items = hth_arena_calloc(&r.arena, 1, sizeof *d.items)};
	struct hth_example *e = &d.items[0].tokens;
	e->n = (size_t)end + 1;
	e->n_targets = 1;
	e->ids = hth_arena_calloc(&r.arena, e->n, sizeof *e->ids);
	e->target = hth_arena_calloc(&r.arena, e->n, 1);
	for (int32_t t = 0; t < end; t++)
		e->ids[t] = golden_int(&r.g, "ids", t);
	e->target[end] = 1;
	struct hth_lora **loras = golden_loras(&r.g, "start", &r.arena, false);
	struct hth_lora **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set start;
	assert_ok(hth_lora_set_init(&start, r.g.m, list, 1, &err));
	struct hth_survival_config cfg = {
		.reference = {r.g.m, &start, 0}, .candidate = {r.other, NULL, -1}, .data = &d};
	assert_ok(hth_survival_check(&cfg, &v, &err));
	if (!(fabs(v.kl - want) <= 1e-4 * (1 + want)))
		fail_msg("KL %.6f, expected %.6f", v.kl, want);
	assert_int_equal(v.n_targets, 1);
	assert_false(v.has_base);
	hth_lora_set_clear(&start);
	hth_free(logits);
	hth_free(base);
	rig_close(&r);
}

static void questions_are_answered_by_both(void **state)
{
	static const char text[] =
		"{\"text\":\"no question here\"}\n"
		"{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"},{\"role\":\"assistant\",\"content\":\"xyz\"}]}"
		"\n"
		"{\"messages\":[{\"role\":\"user\",\"content\":\"d\"},{\"role\":\"assistant\",\"content\":\"e\"}]}\n";
	struct rig r;
	struct hth_survival v;
	struct hth_chat chat;
	struct hth_dataset d;
	struct hth_err err;

	(void)state;
	rig_open(&r, "tied");
	assert_ok(hth_file_write(temp("rows.jsonl"), text, sizeof text - 1, &err));
	assert_ok(hth_model_chat(r.g.m, &chat, &err));
	struct hth_data_config data_cfg = {.max_tokens = 128};
	assert_ok(hth_dataset_read(temp("rows.jsonl"), &chat, &data_cfg, false, &d, &err));
	struct hth_survival_config cfg = config(&r);
	cfg.candidate = cfg.reference;
	cfg.data = &d;
	cfg.max_answers = 10;
	cfg.answer_tokens = 4;
	assert_ok(hth_survival_check(&cfg, &v, &err));
	assert_int_equal(v.n_questions, 2);
	assert_int_equal(v.reference.exact, v.candidate.exact);
	cfg.max_examples = 2; /* the text row and the first question */
	assert_ok(hth_survival_check(&cfg, &v, &err));
	assert_int_equal(v.n_examples, 2);
	assert_int_equal(v.n_questions, 1);
	hth_dataset_clear(&d);
	rig_close(&r);
}

static void the_rule_has_its_bounds(void **state)
{
	static const struct {
		bool has_base;
		double base, reference, candidate, kl;
		size_t right, kept;
		enum hth_verdict want;
	} cases[] = {
		{true, 2, 1, 1.49, 0.1, 0, 0, HTH_SURVIVED},    /* gives back a little less than half */
		{true, 2, 1, 1.51, 0.1, 0, 0, HTH_LOST_GAIN},   /* a little more */
		{true, 2, 1, 0.9, 0.1, 0, 0, HTH_SURVIVED},     /* better than the reference */
		{true, 1.01, 1, 1.01, 0.1, 0, 0, HTH_SURVIVED}, /* nothing gained, nothing to lose */
		{true, 0.9, 1, 1.1, 0.1, 0, 0, HTH_SURVIVED},   /* tuning made it worse here */
		{true, 2, 1, 1.1, 0.51, 0, 0, HTH_LOST_KL},     /* predicts otherwise */
		{false, 0, 1, 1.9, 0.49, 0, 0, HTH_SURVIVED},   /* base not known: KL alone decides */
		{false, 0, 1, 1.1, 0.51, 0, 0, HTH_LOST_KL},
		{true, 2, 1, 1.1, 0.1, 8, 4, HTH_SURVIVED}, /* half of the right answers left */
		{true, 2, 1, 1.1, 0.1, 8, 3, HTH_LOST_ANSWERS},
		{true, 2, 1, 1.1, 0.1, 7, 0, HTH_SURVIVED}, /* too few to decide */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hth_survival v = {.has_base = cases[i].has_base,
					 .base.loss = cases[i].base,
					 .reference = {.loss = cases[i].reference, .contains = cases[i].right},
					 .candidate = {.loss = cases[i].candidate, .contains = cases[i].kept},
					 .kl = cases[i].kl};
		hth_survival_judge(&v);
		if (v.verdict != cases[i].want)
			fail_msg("case %zu: verdict %d (%s), expected %d", i, (int)v.verdict, v.why,
				 (int)cases[i].want);
		assert_true(v.why[0] != '\0');
	}
}

static bool stop(void *ctx, size_t done, size_t total)
{
	(void)ctx;
	assert_true(done <= total);
	return false;
}

static void wrong_sides_and_a_stop_are_reported(void **state)
{
	struct rig r;
	struct hth_survival v;
	struct hth_err err;

	(void)state;
	rig_open(&r, "tied");
	struct hth_survival_config cfg = config(&r);
	cfg.candidate = cfg.reference;
	cfg.on_progress = stop;
	assert_fails(hth_survival_check(&cfg, &v, &err), HTH_ERR_INTERRUPTED, "stopped");
	cfg.on_progress = NULL;
	r.other->config.n_vocab--;
	cfg.candidate = (struct hth_survival_side){r.other, NULL, -1};
	assert_fails(hth_survival_check(&cfg, &v, &err), HTH_ERR_SHAPE, "263 tokens, expected 264");
	r.other->config.n_vocab++;
	r.rows.n = 0;
	assert_fails(hth_survival_check(&cfg, &v, &err), HTH_ERR_VALUE, "0 examples");
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_tuned_model_itself_survives),
		cmocka_unit_test(a_candidate_made_of_the_bare_base_is_refused),
		cmocka_unit_test(divergence_is_that_of_the_logits),
		temp_test(questions_are_answered_by_both),
		cmocka_unit_test(the_rule_has_its_bounds),
		cmocka_unit_test(wrong_sides_and_a_stop_are_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
