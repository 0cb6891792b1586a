/* Every golden model below tests/golden, as a folder and as GGUF, on every backend: logits, loss, gradients of the
 * adapter, three steps of training, all as transformers and PEFT give them. Both files of a model hold the same
 * weights. */
#include "models/golden.h"

#include <dirent.h>

/* f32 sums of another order; soft caps and LongRoPE's factors go through double here and float there. */
#define TOLERANCE 1e-4
/* Three AdamW steps: a gradient near zero may move either way. */
#define TRAIN_TOLERANCE 1e-4

static bool exists(const char *path)
{
	return access(path, R_OK) == 0;
}

/* Runs fn for each model of each golden folder on each backend; returns how many. */
static int on_all(void (*fn)(struct golden *g), bool both)
{
	static const char *const forms[] = {".gguf", "", "-stacked"};
	const struct hth_backend *b;
	char **dirs, path[120], stem[100];
	static const char *const names[] = {"tiny", "mlx", "tied", "untied"};
	size_t n;
	int count = 0;
	struct hth_err err;

	assert_ok(hth_dir_list("tests/golden", &dirs, &n, &err));
	for (size_t i = 0; i < n * 4 * 3; i++) {
		snprintf(stem, sizeof(stem), "tests/golden/%s/%s", dirs[i / 12], names[i / 3 % 4]);
		snprintf(path, sizeof(path), "%s%s", stem, forms[i % 3]);
		if (!exists(path))
			continue;
		for (int k = 0; (b = hth_backend_at(k)) != NULL; k++) {
			struct golden g;
			if (!b->host_memory)
				continue;
			golden_open_stem(&g, stem, forms[i % 3], b, both, 1);
			fn(&g);
			golden_close(&g);
			count++;
		}
	}
	hth_names_free(dirs, n);
	return count;
}

static void logits_of(struct golden *g)
{
	int64_t n = golden_count(g, "ids") * g->m->config.n_vocab;
	float *want = golden_floats(g, "logits", n), *got = hth_calloc((size_t)n, sizeof(*got));
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 20);
	golden_batch(g, &arena, GOLDEN_ALL_ROWS, -1, false, &b);
	assert_ok(hth_lora_set_init(&set, g->m, NULL, 0, &err));
	golden_run(g, &set, &b, HTH_FORWARD_LOGITS, false, got, n);
	golden_check("logits", g, got, want, n, TOLERANCE);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
	hth_free(got);
}

static void logits_equal_transformers(void **state)
{
	(void)state;
	assert_in_range(on_all(logits_of, false), 2 * 51, 1000);
}

static void check_grad(struct golden *g, const struct hth_param *p)
{
	char name[200];

	snprintf(name, sizeof(name), "lora.grad.%s", p->name);
	float *want = golden_floats(g, name, p->rows * p->cols);
	golden_check(name, g, p->grad, want, p->rows * p->cols, TOLERANCE);
	hth_free(want);
}

static void gradients_of(struct golden *g)
{
	int64_t n_linears = g->m->config.n_layers * HTH_LINEAR_COUNT;
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	float logp[128], loss = 0, *want = golden_floats(g, "lora.loss", 1);
	int n_adapted = 0;

	hth_arena_init(&arena, 1 << 24);
	loras = golden_loras(g, "start", &arena, true);
	for (int share = 0; share < 2; share++) {
		golden_batch(g, &arena, GOLDEN_TARGETS, 0, share == 1, &b);
		assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
		golden_run(g, &set, &b, HTH_FORWARD_LOGP, true, logp, b.n_outs);
		loss = 0;
		for (int32_t o = 0; o < b.n_outs; o++)
			loss -= logp[o] * b.outs[o].weight;
		golden_check("lora.loss", g, &loss, want, 1, TOLERANCE);
		for (int64_t i = 0; i < n_linears; i++) {
			if (loras[i] == NULL)
				continue;
			struct hth_param *p[2] = {&loras[i]->a, &loras[i]->b};
			/* The golden has Hugging Face's order of heads; so has memory, but for some GGUF files. */
			struct hth_lora grads = {.a = {.rows = p[0]->rows, .cols = p[0]->cols, .value = p[0]->grad},
						 .b = {.rows = p[1]->rows, .cols = p[1]->cols, .value = p[1]->grad}};
			assert_true(hth_lora_order(g->m, (enum hth_linear_kind)(i % HTH_LINEAR_COUNT), false, &grads, &arena));
			for (int k = 0; k < 2; k++) {
				check_grad(g, p[k]);
				memset(p[k]->grad, 0, (size_t)(p[k]->rows * p[k]->cols) * sizeof(float));
			}
			n_adapted++;
		}
		hth_lora_set_clear(&set);
	}
	/* Then the adapter is on attention alone. */
	bool sparse = g->m->config.n_experts > 0 && g->m->config.n_shared_ff == 0 && !g->m->config.experts_beside;
	int n_there = 0;
	for (int64_t i = 0; i < n_linears; i++)
		n_there += g->m->layers[i / HTH_LINEAR_COUNT].linear[i % HTH_LINEAR_COUNT].data != NULL &&
			   (!sparse || i % HTH_LINEAR_COUNT < HTH_GATE);
	assert_int_equal(n_adapted, g->m->family->fused ? 4 * g->m->config.n_layers : 2 * n_there);
	hth_arena_clear(&arena);
	hth_free(want);
}

static void loss_and_gradients_of_the_adapter_equal_peft(void **state)
{
	(void)state;
	assert_in_range(on_all(gradients_of, true), 2 * 51, 1000);
}

/* Two rows of the golden file as one batch, without a shared prefix. */
static void batch_of(const struct golden *g, struct hth_arena *arena, int64_t step, struct hth_batch *b)
{
	int32_t n = golden_count(g, "ids");
	struct hth_err err;

	*b = (struct hth_batch){0};
	b->ids = hth_arena_calloc(arena, (size_t)n * 2, sizeof(*b->ids));
	b->positions = hth_arena_calloc(arena, (size_t)n * 2, sizeof(*b->positions));
	b->segments = hth_arena_calloc(arena, 2, sizeof(*b->segments));
	b->outs = hth_arena_calloc(arena, (size_t)n * 2, sizeof(*b->outs));
	for (int32_t i = 0; i < 2; i++) {
		int32_t row = golden_int(g, "train.order", step * 2 + i);
		int32_t begin = golden_int(g, "begin", row), end = golden_int(g, "begin", row + 1);
		golden_segment(g, b, i, begin, end, end, begin, -1, -1, 0, GOLDEN_TARGETS);
	}
	for (int32_t o = 0; o < b->n_outs; o++)
		b->outs[o].weight /= (float)b->n_outs;
	assert_ok(hth_batch_finish(b, arena, &err));
}

/* The parameters of an adapter, with moments of zero; returns how many. */
static int64_t params_of(const struct golden *g, struct hth_lora **loras, struct hth_arena *arena,
			 struct hth_param **params)
{
	int64_t n = 0;

	for (int64_t i = 0; i < g->m->config.n_layers * HTH_LINEAR_COUNT; i++) {
		if (loras[i] == NULL)
			continue;
		params[n++] = &loras[i]->a;
		params[n++] = &loras[i]->b;
	}
	for (int64_t i = 0; i < n; i++) {
		size_t size = (size_t)(params[i]->rows * params[i]->cols);
		params[i]->m = hth_arena_calloc(arena, size, sizeof(float));
		params[i]->v = hth_arena_calloc(arena, size, sizeof(float));
	}
	return n;
}

static void update(const struct golden *g, struct hth_param **params, int64_t n, int64_t step)
{
	struct hth_exec_config cfg = {
		.mode = HTH_EXEC_RUN, .backend = g->backend, .device = g->dev, .machine = g->machine};
	struct hth_adamw_args adamw = {.params = params,
				       .n = n,
				       .lr = 5e-3f,
				       .beta1 = 0.9f,
				       .beta2 = 0.999f,
				       .eps = 1e-8f,
				       .grad_scale = 1,
				       .bias_correction = true,
				       .step = step + 1};
	struct hth_exec *x;
	struct hth_err err;

	cfg.arena_bytes = 1 << 20;
	assert_ok(hth_exec_new(&cfg, &x, &err));
	assert_ok(hth_op_adamw(x, &adamw, &err));
	hth_exec_free(x);
}

static void training_of(struct golden *g)
{
	struct hth_param *params[6 * HTH_LINEAR_COUNT * 2];
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	float logp[128], got[3] = {0}, *want;

	if (golden_count(g, "train.losses") != 3) /* tests/train has the longer ones of Llama */
		return;
	hth_arena_init(&arena, 1 << 24);
	want = golden_floats(g, "train.losses", 3);
	loras = golden_loras(g, "start", &arena, true);
	int64_t n = params_of(g, loras, &arena, params);
	assert_ok(hth_lora_set_init(&set, g->m, list, 1, &err));
	for (int64_t step = 0; step < 3; step++) {
		batch_of(g, &arena, step, &b);
		golden_run(g, &set, &b, HTH_FORWARD_LOGP, true, logp, b.n_outs);
		for (int32_t o = 0; o < b.n_outs; o++)
			got[step] -= logp[o] * b.outs[o].weight;
		update(g, params, n, step);
	}
	golden_check("train.losses", g, got, want, 3, TRAIN_TOLERANCE);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	hth_free(want);
}

static void losses_of_three_steps_equal_peft(void **state)
{
	(void)state;
	on_all(training_of, true);
}

/* What the forward pass of one token costs; top: experts chosen. */
static struct hth_totals cost_of_a_token(struct golden *g, int64_t top)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = g->backend, .machine = g->machine};
	int32_t id = 5, position = 0;
	struct hth_segment segment = {.len = 1, .parent = -1, .state = -1, .adapter = -1, .causal = true};
	struct hth_out out = {.row = 0, .target = -1};
	struct hth_batch b = {.n_tokens = 1, .ids = &id, .positions = &position, .n_segments = 1, .segments = &segment,
			      .n_outs = 1, .outs = &out};
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_exec *x;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 20);
	g->m->config.n_chosen = top;
	assert_ok(hth_batch_finish(&b, &arena, &err));
	assert_ok(hth_lora_set_init(&set, g->m, NULL, 0, &err));
	assert_ok(hth_exec_new(&cfg, &x, &err));
	hth_exec_begin(x, false, (struct hth_dropout){0});
	hth_decoder_forward(x, g->m, &set, &b, HTH_FORWARD_LOGITS);
	assert_ok(hth_exec_end(x, &err));
	struct hth_totals totals = *hth_exec_totals(x);
	hth_exec_free(x);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	return totals;
}

/* Two layers, experts of three matrices (24,16) in bf16 and a unit of 24: one choice more is 2 * (3 * 2 * 384 + 5 * 24)
 * operations. One choice reads one of four experts, two read 1.75 (they are drawn apart); all 8 experts are 18,432 bytes. */
static void plan_counts_the_chosen_experts_alone(void **state)
{
	const struct hth_backend *b;

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++) {
		struct golden g;
		golden_open_stem(&g, "tests/golden/mixtral/tiny", "", b, false, 1);
		struct hth_totals one = cost_of_a_token(&g, 1), two = cost_of_a_token(&g, 2), all = cost_of_a_token(&g, 4);
		assert_int_equal((int64_t)(two.flops - one.flops), 4848);
		assert_int_equal((int64_t)(all.flops - one.flops), 3 * 4848);
		assert_true(two.bytes_moved - one.bytes_moved > 0.75 * 4608);
		assert_true(two.bytes_moved - one.bytes_moved < 0.75 * 4608 + 1536); /* activations */
		assert_int_equal(g.m->n_params, 19408);
		g.m->config.n_chosen = 2;
		assert_int_equal(hth_model_active_params(g.m), 19408 - 2 * 2 * 3 * 384);
		golden_close(&g);
	}
}

static int words(const char *list)
{
	int n = 0;

	for (const char *end; (end = strchr(list, ' ')) != NULL; list = end + 1) {
		assert_true(end > list);
		n++;
	}
	assert_int_equal(*list, '\0'); /* each word is followed by a blank */
	return n;
}

#define HTH_FAMILY(name) extern const struct hth_family hth_family_##name;
#include "models/list.h"
#undef HTH_FAMILY

static void every_family_has_what_the_writers_need(void **state)
{
	static const struct hth_family *const families[] = {
#define HTH_FAMILY(name) &hth_family_##name,
#include "models/list.h"
#undef HTH_FAMILY
	};

	(void)state;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const struct hth_family *f = families[i];
		assert_non_null(f->name);
		assert_non_null(f->gguf_arch);
		assert_non_null(f->config);
		assert_non_null(f->hf_types);
		if (f->hf_classes == NULL)
			fail_msg("family %s has no hf_classes: a folder's config.json cannot be written", f->name);
		assert_in_range(words(f->hf_types), 1, 8);
		assert_int_equal(words(f->hf_classes), words(f->hf_types));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logits_equal_transformers),
		cmocka_unit_test(loss_and_gradients_of_the_adapter_equal_peft),
		cmocka_unit_test(losses_of_three_steps_equal_peft),
		cmocka_unit_test(plan_counts_the_chosen_experts_alone),
		cmocka_unit_test(every_family_has_what_the_writers_need),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
