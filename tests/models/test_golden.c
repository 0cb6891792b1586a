/* The golden models on every backend: logits, losses and every gradient as transformers and PEFT give them. */
#include "models/golden.h"

/* f32 sums of another order over at most 264 terms: observed 1e-6; the design's bound for goldens is 1e-4. */
#define TOLERANCE 1e-4

/* Runs fn for each golden model on each backend. */
static void on_all(void (*fn)(struct golden *g), bool both)
{
	const struct hth_backend *b;

	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++) {
		if (!b->host_memory)
			continue;
		for (int k = 0; k < GOLDEN_COUNT; k++) {
			struct golden g;
			golden_open(&g, golden_names[k], b, both);
			fn(&g);
			golden_close(&g);
		}
	}
	assert_non_null(hth_backend_at(0));
}

static void check_logits(struct golden *g, bool share)
{
	int64_t n = golden_count(g, "ids") * g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", n), *got = hth_calloc((size_t)n, sizeof(*got));
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 20);
	golden_batch(g, &arena, GOLDEN_ALL_ROWS, -1, share, &b);
	assert_ok(hth_lora_set_init(&set, g->m, NULL, 0, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGITS, false, got, (int64_t)b.wanted.n * g->m->config.n_vocab);
	if (share) /* row 1's beginning is not there a second time */
		memmove(want + 11 * g->m->config.n_vocab, want + 16 * g->m->config.n_vocab,
			(size_t)((22 - 16) * g->m->config.n_vocab) * sizeof(*want));
	golden_check("logits", g, got, want, (int64_t)b.wanted.n * g->m->config.n_vocab, TOLERANCE);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
	hth_free(got);
}

static void logits_of(struct golden *g)
{
	check_logits(g, false);
}

static void shared_logits_of(struct golden *g)
{
	check_logits(g, true);
}

static void logits_equal_transformers(void **state)
{
	(void)state;
	on_all(logits_of, false);
}

static void logits_with_a_shared_prefix_equal_transformers(void **state)
{
	(void)state;
	on_all(shared_logits_of, false);
}

/* Only the last rows are wanted: the last layer's work on the others is skipped. */
static void adapter_logits_of(struct golden *g)
{
	int64_t n = (golden_count(g, "begin") - 1) * g->m->config.n_vocab;
	float *want = golden_floats(g, "lora.logits", n), *got = hth_calloc((size_t)n, sizeof(*got));
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 24);
	loras = golden_loras(g, "start", &arena, false);
	golden_batch(g, &arena, GOLDEN_LAST_ROWS, 0, false, &b);
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGITS, false, got, n);
	golden_check("lora.logits", g, got, want, n, TOLERANCE);
	/* The same set with the adapter off is the base. */
	golden_batch(g, &arena, GOLDEN_LAST_ROWS, -1, false, &b);
	golden_run(g, &set, &b, HTH_FORWARD_LOGITS, false, got, n);
	hth_free(want);
	want = golden_floats(g, "logits", golden_count(g, "ids") * g->m->config.n_vocab);
	golden_check("logits of the last row, adapter off", g, got + n - g->m->config.n_vocab,
		     want + 21 * g->m->config.n_vocab, g->m->config.n_vocab, TOLERANCE);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
	hth_free(got);
}

static void adapter_logits_equal_peft_and_off_is_the_base(void **state)
{
	(void)state;
	on_all(adapter_logits_of, false);
}

static void check_loss(struct golden *g, const char *name, const float *logp, const struct hth_batch *b)
{
	float *want = golden_floats(g, name, 1), got = 0;

	for (int32_t o = 0; o < b->n_outs; o++)
		got -= logp[o] * b->outs[o].weight;
	golden_check(name, g, &got, want, 1, TOLERANCE);
	hth_free(want);
}

static void check_grad(struct golden *g, const char *prefix, const char *name, const float *grad, int64_t n)
{
	char full[192];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	float *want = golden_floats(g, full, n);
	golden_check(full, g, grad, want, n, TOLERANCE);
	hth_free(want);
}

static void check_adapter_training(struct golden *g, bool share)
{
	int64_t n_linears = g->m->config.n_layers * HTH_LINEAR_COUNT;
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	float logp[64];

	hth_arena_init(&arena, 1 << 24);
	loras = golden_loras(g, "start", &arena, true);
	golden_batch(g, &arena, GOLDEN_TARGETS, 0, share, &b);
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGP, true, logp, b.n_outs);
	check_loss(g, "lora.loss", logp, &b);
	for (int64_t i = 0; i < n_linears; i++) {
		if (loras[i] == NULL) {
			assert_true(i % HTH_LINEAR_COUNT >= HTH_DELTA_QKV);
			continue;
		}
		check_grad(g, "lora.grad.", loras[i]->a.name, loras[i]->a.grad, loras[i]->a.rows * loras[i]->a.cols);
		check_grad(g, "lora.grad.", loras[i]->b.name, loras[i]->b.grad, loras[i]->b.rows * loras[i]->b.cols);
	}
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
}

static void adapter_training_of(struct golden *g)
{
	check_adapter_training(g, false);
	check_adapter_training(g, true);
}

static void adapter_loss_and_gradients_equal_peft_with_and_without_shared_prefix(void **state)
{
	(void)state;
	on_all(adapter_training_of, true);
}

struct full {
	struct golden *g;
	struct hth_arena *arena;
};

/* Makes a weight trained: its values in f32 and logical order, a gradient of zero. */
static void train_weight(void *ctx, struct hth_weight *w)
{
	struct full *f = ctx;
	struct hth_param *p = hth_arena_calloc(f->arena, 1, sizeof(*p));

	*p = (struct hth_param){.name = w->name, .rows = w->rows, .cols = w->cols};
	p->value = hth_arena_calloc(f->arena, (size_t)(w->rows * w->cols), sizeof(*p->value));
	p->grad = hth_arena_calloc(f->arena, (size_t)(w->rows * w->cols), sizeof(*p->grad));
	for (int64_t n = 0; n < w->rows; n++)
		hth_quant_format(w->quant)->unpack(hth_weight_row(w, n), p->value + n * w->cols, w->cols);
	w->param = p;
	w->data = (const uint8_t *)p->value;
	w->quant = HTH_QUANT_F32;
	w->head_rows = 0;
	w->row_bytes = (uint64_t)w->cols * sizeof(float);
}

static void check_weight(void *ctx, struct hth_weight *w)
{
	struct full *f = ctx;

	check_grad(f->g, "grad.", w->name, w->param->grad, w->rows * w->cols);
}

static void full_training_on(const struct hth_backend *backend, const char *name)
{
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	struct golden g;
	float logp[64];

	golden_open(&g, name, backend, true);
	/* Weights become trained before a device sees them. */
	hth_model_close(g.m);
	char path[256];
	snprintf(path, sizeof(path), "tests/golden/llama/%s.gguf", name);
	assert_ok(hth_model_open(path, &g.m, &err));
	hth_arena_init(&arena, 1 << 24);
	struct full f = {.g = &g, .arena = &arena};
	hth_model_each_weight(g.m, train_weight, &f);
	assert_ok(hth_model_prepare(g.m, backend, g.dev, true, &err));
	golden_batch(&g, &arena, GOLDEN_TARGETS, -1, true, &b);
	assert_ok(hth_lora_set_init(&set, g.m, NULL, 0, &err));
	golden_run(&g, &set, &b, HTH_FORWARD_LOGP, true, logp, b.n_outs);
	check_loss(&g, "loss", logp, &b);
	hth_model_each_weight(g.m, check_weight, &f);
	hth_lora_set_clear(&set);
	golden_close(&g);
	hth_arena_clear(&arena);
}

static void loss_and_gradient_of_every_weight_equal_transformers(void **state)
{
	const struct hth_backend *b;

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (int k = 0; b->host_memory && k < GOLDEN_COUNT; k++)
			full_training_on(b, golden_names[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logits_equal_transformers),
		cmocka_unit_test(logits_with_a_shared_prefix_equal_transformers),
		cmocka_unit_test(adapter_logits_equal_peft_and_off_is_the_base),
		cmocka_unit_test(adapter_loss_and_gradients_equal_peft_with_and_without_shared_prefix),
		cmocka_unit_test(loss_and_gradient_of_every_weight_equal_transformers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
