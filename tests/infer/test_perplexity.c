/* Perplexity of the golden rows: the golden loss, however the rows are cut and whether or not prefixes are shared. */
#include "infer/perplexity.h"
#include "models/golden.h"

/* As all goldens against transformers; cuts among each other: the same sums in another order. */
#define GOLDEN_TOLERANCE 1e-4
#define CUT_TOLERANCE 1e-6

/* The golden rows as a data set in memory. */
static void golden_dataset(const struct golden *g, struct hth_arena *arena, struct hth_dataset *d)
{
	*d = (struct hth_dataset){.n = (size_t)golden_count(g, "begin") - 1};
	d->items = hth_arena_calloc(arena, d->n, sizeof(*d->items));
	for (size_t i = 0; i < d->n; i++) {
		struct hth_example *e = &d->items[i].tokens;
		int32_t begin = golden_int(g, "begin", (int64_t)i), end = golden_int(g, "begin", (int64_t)i + 1);
		e->n = (size_t)(end - begin);
		e->ids = hth_arena_calloc(arena, e->n, sizeof(*e->ids));
		e->target = hth_arena_calloc(arena, e->n, 1);
		for (size_t t = 0; t < e->n; t++) {
			e->ids[t] = golden_int(g, "ids", begin + (int64_t)t);
			e->target[t] = golden_int(g, "target", begin + (int64_t)t) != 0;
			e->n_targets += e->target[t];
		}
		d->n_tokens += e->n;
		d->n_targets += e->n_targets;
	}
}

static void check_mean(struct golden *g, const char *name, const struct hth_perplexity *p)
{
	float *want = golden_floats(g, name, 1), got = (float)(p->nll / (double)p->n_targets);

	golden_check(name, g, &got, want, 1, GOLDEN_TOLERANCE);
	hth_free(want);
}

static void cuts_of(struct golden *g, const struct hth_lora_set *set, int32_t adapter, const char *name)
{
	const int64_t budgets[] = {0, 1, 12};
	struct hth_perplexity first = {0}, p;
	struct hth_dataset d;
	struct hth_arena arena;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 20);
	golden_dataset(g, &arena, &d);
	for (int i = 0; i < 6; i++) {
		struct hth_perplexity_config cfg = {
			.loras = set, .adapter = adapter, .token_budget = budgets[i % 3], .share_prefix = i >= 3};
		assert_ok(hth_perplexity(g->m, &d, &cfg, &p, &err));
		check_mean(g, name, &p);
		assert_int_equal(p.n_targets, d.n_targets);
		assert_int_equal(p.n_examples, 4);
		if (i == 0) {
			first = p;
			continue;
		}
		for (int k = 0; k < 4; k++) {
			assert_int_equal(p.example_targets[k], d.items[k].tokens.n_targets);
			assert_true(fabs(p.example_nll[k] - first.example_nll[k]) <=
				    CUT_TOLERANCE * fabs(first.example_nll[k]));
		}
		hth_perplexity_clear(&p);
	}
	assert_true(first.example_nll[3] == 0);
	hth_perplexity_clear(&first);
	hth_arena_clear(&arena);
}

static void perplexity_equals_golden_loss_for_every_cut(void **state)
{
	const struct hth_backend *b;

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (int k = 0; b->host_memory && k < GOLDEN_COUNT; k++) {
			struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
			struct hth_lora_set set;
			struct hth_arena arena;
			struct golden g;
			struct hth_err err;
			golden_open(&g, golden_names[k], b, false);
			hth_arena_init(&arena, 1 << 22);
			loras = golden_loras(&g, "start", &arena, false);
			assert_ok(hth_lora_set_init(&set, g.m, list, 1, &err));
			cuts_of(&g, NULL, -1, "loss");
			cuts_of(&g, &set, -1, "loss");
			cuts_of(&g, &set, 0, "lora.loss");
			hth_lora_set_clear(&set);
			hth_arena_clear(&arena);
			golden_close(&g);
		}
}

static bool stop_at_once(void *ctx, size_t done, size_t total)
{
	(void)ctx;
	assert_true(done <= total);
	return false;
}

static void listener_adapter_and_empty_targets_are_checked(void **state)
{
	struct hth_perplexity_config cfg = {.adapter = -1, .on_progress = stop_at_once};
	struct hth_perplexity p;
	struct hth_dataset d;
	struct hth_arena arena;
	struct hth_err err;
	struct golden g;

	(void)state;
	golden_open(&g, "tied", hth_backend_at(0), false);
	hth_arena_init(&arena, 1 << 20);
	golden_dataset(&g, &arena, &d);
	assert_fails(hth_perplexity(g.m, &d, &cfg, &p, &err), HTH_ERR_INTERRUPTED, "stopped");
	assert_null(p.example_nll);
	cfg = (struct hth_perplexity_config){.adapter = 0};
	assert_fails(hth_perplexity(g.m, &d, &cfg, &p, &err), HTH_ERR_USAGE, "adapter 0");
	for (size_t i = 0; i < d.n; i++) {
		memset(d.items[i].tokens.target, 0, d.items[i].tokens.n);
		d.items[i].tokens.n_targets = 0;
	}
	cfg.adapter = -1;
	assert_int_not_equal(hth_perplexity(g.m, &d, &cfg, &p, &err), HTH_OK);
	d.n = 0;
	assert_fails(hth_perplexity(g.m, &d, &cfg, &p, &err), HTH_ERR_VALUE, "0 examples");
	hth_arena_clear(&arena);
	golden_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(perplexity_equals_golden_loss_for_every_cut),
		cmocka_unit_test(listener_adapter_and_empty_targets_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
