/* Spans: run twice they give the bits and the gradients of a span that is kept, in less memory, and leave out of the
 * second run what no backward rule reads. */
#include "ops/graph.h"

static const struct hth_segment ROWS[] = {
	{.len = 5, .parent = -1, .adapter = 0, .example = 0, .causal = true},
	{.len = 4, .parent = 0, .adapter = -1, .example = 1, .causal = true},
};
enum { TOKENS = 9, WIDTH = 32, INNER = 64 };

struct way {
	int64_t recompute;
	bool nested;      /* the product is a span of its own within the first */
	bool one_output;  /* the second output is not used */
	bool frozen_down; /* the product that ends the span has no adapter */
	struct hth_linear up, down;
};

struct at {
	const struct graph *g;
	const struct way *w;
};

static void product_span(struct hth_exec *x, const void *ctx, const struct hth_tensor *in, struct hth_tensor *out)
{
	const struct at *at = ctx;
	const struct hth_linear *up = &at->w->up, *down = &at->w->down;
	struct hth_tensor y; /* (TOKENS,INNER) */

	hth_op_linear(x, &at->g->batch.all, in[0], &up, 1, &y);
	hth_op_linear(x, &at->g->batch.all, hth_op_gated(x, HTH_ACT_SILU, hth_keep(x, y), y), &down, 1, out);
}

/* (TOKENS,WIDTH) twice -> (TOKENS,WIDTH) twice */
static void layer_span(struct hth_exec *x, const void *ctx, const struct hth_tensor *in, struct hth_tensor *out)
{
	const struct at *at = ctx;
	const struct hth_norm n = {.kind = HTH_NORM_RMS, .eps = 1e-5f};
	struct hth_tensor h = hth_op_add(x, hth_op_norm(x, in[0], &n, WIDTH), in[1], 0.5f), y;

	hth_keep(x, h);
	if (at->w->nested)
		hth_op_span(x, product_span, at, sizeof *at, &h, 1, &y, 1);
	else
		product_span(x, at, &h, &y);
	out[0] = hth_op_add(x, y, hth_keep(x, h), 1.0f);
	out[1] = h;
}

static struct hth_tensor build(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct way *w = g->ctx;
	const struct at at = {g, w};
	struct hth_tensor h[2] = {leaf[0], leaf[1]};

	hth_exec_recompute(x, w->recompute);
	for (int l = 0; l < 3; l++)
		hth_op_span(x, layer_span, &at, sizeof at, h, 2, h, 2);
	if (!w->one_output)
		return hth_op_add(x, h[0], h[1], 0.25f);
	hth_drop(x, h[1]);
	return h[0];
}

static void add_lora(struct graph *g, struct hth_linear *m, uint32_t place)
{
	struct hth_lora **list = graph_alloc(g, 1, sizeof *list);

	list[0] = graph_lora(g, m->w, 3, 0.2f, place, true);
	m->lora = list;
	m->n_adapters = 1;
}

static void open_graph(struct graph *g, struct way *w, bool leaves_trained)
{
	graph_init(g);
	graph_batch(g, ROWS, 2, 11, NULL, 0);
	graph_add_leaf(g, TOKENS, WIDTH, leaves_trained);
	graph_add_leaf(g, TOKENS, WIDTH, leaves_trained);
	w->up = (struct hth_linear){.w = graph_weight(g, "up", INNER, WIDTH, 0.15f, false, HTH_QUANT_BF16)};
	w->down = (struct hth_linear){.w = graph_weight(g, "down", WIDTH, INNER, 0.1f, false, HTH_QUANT_BF16)};
	if (leaves_trained) {
		add_lora(g, &w->up, 1);
		if (!w->frozen_down)
			add_lora(g, &w->down, 2);
	}
	g->drop = (struct hth_dropout){.on = true, .seed = 3, .step = 2};
	g->build = build;
	g->ctx = w;
}

static void run_on(const struct hth_backend *b, struct way w, int64_t recompute, struct graph *g,
                   struct graph_result *r)
{
	static struct way now;
	struct graph_bench t;

	now = w;
	now.recompute = recompute;
	open_graph(g, &now, true);
	graph_open(&t, g, b);
	graph_run(&t, g, r);
	graph_close(&t, g);
}

static void run_twice_gives_the_same_bits_in_less_memory(void **state)
{
	static const struct way ways[] = {{.nested = false}, {.nested = true}, {.one_output = true}, {.frozen_down = true}};
	const struct hth_backend *b;

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		for (size_t k = 0; k < sizeof ways / sizeof ways[0] && b->host_memory; k++)
			for (int64_t n = 1; n <= 4; n++) {
				struct graph kept, again;
				struct graph_result x, y;
				run_on(b, ways[k], 0, &kept, &x);
				run_on(b, ways[k], n, &again, &y);
				assert_memory_equal(x.y, y.y, (size_t)x.elems * sizeof(float));
				for (int p = 0; p < kept.n_params; p++)
					assert_memory_equal(x.param_grad[p], y.param_grad[p],
					                    (size_t)(kept.param[p]->rows * kept.param[p]->cols) * sizeof(float));
				for (int l = 0; l < 2; l++)
					assert_memory_equal(x.leaf_grad[l], y.leaf_grad[l], TOKENS * WIDTH * sizeof(float));
				assert_true(y.totals.flops > x.totals.flops);
				assert_true(n < 2 || y.totals.peak_bytes < x.totals.peak_bytes);
				graph_clear(&kept);
				graph_clear(&again);
			}
}

static void its_gradients_are_those_of_finite_differences(void **state)
{
	(void)state;
	struct way w = {.recompute = 3};
	struct graph g;

	open_graph(&g, &w, true);
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* One span is run twice: what the second run adds, in products. */
static void the_product_that_ends_a_span_is_not_made_twice(void **state)
{
	const struct hth_backend *b = hth_backend_find("ref");
	const double up = 2.0 * TOKENS * (WIDTH * INNER + 3 * (WIDTH + INNER)), whole = 2.0 * TOKENS * INNER * WIDTH;

	(void)state;
	for (int frozen = 0; frozen < 2; frozen++) {
		struct way w = {.frozen_down = frozen == 1};
		struct graph kept, again;
		struct graph_result x, y;
		run_on(b, w, 0, &kept, &x);
		run_on(b, w, 1, &again, &y);
		double more = y.totals.flops - x.totals.flops, down = frozen ? 0 : 2.0 * TOKENS * 3 * INNER;
		/* Norm, sums and the gated unit are the rest: some operations an element. */
		assert_true(more >= up + down);
		assert_true(more < up + down + 0.5 * whole);
		graph_clear(&kept);
		graph_clear(&again);
	}
}

static void nothing_is_run_twice_where_nothing_is_trained(void **state)
{
	(void)state;
	struct hth_machine m = {.threads = 1};
	struct hth_totals kept, again;
	struct way w = {.recompute = 0};
	struct graph g;

	open_graph(&g, &w, false);
	graph_plan(&g, hth_backend_find("ref"), &m, true, &kept);
	w.recompute = 3;
	graph_plan(&g, hth_backend_find("ref"), &m, true, &again);
	assert_int_equal(again.ops, kept.ops);
	assert_true(again.flops == kept.flops);
	graph_clear(&g);
}

static struct hth_tensor build_too_many(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	struct hth_tensor in[HTH_SPAN_TENSORS + 1] = {leaf[0], leaf[1]}, out = HTH_NO_TENSOR;
	const struct at at = {g, g->ctx};

	hth_op_span(x, layer_span, &at, sizeof at, in, HTH_SPAN_TENSORS + 1, &out, 1);
	return out;
}

static void a_span_of_too_much_is_refused(void **state)
{
	(void)state;
	const struct hth_backend *b = hth_backend_find("ref");
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = b, .machine = {.threads = 1}};
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_exec *x;
	struct hth_err err;
	struct way w = {0};
	struct graph g;

	open_graph(&g, &w, true);
	g.build = build_too_many;
	assert_ok(hth_exec_new(&cfg, &x, &err));
	graph_pass(x, &g, true, leaf, NULL);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "span: 5 inputs");
	hth_exec_free(x);
	graph_clear(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_twice_gives_the_same_bits_in_less_memory),
		cmocka_unit_test(its_gradients_are_those_of_finite_differences),
		cmocka_unit_test(the_product_that_ends_a_span_is_not_made_twice),
		cmocka_unit_test(nothing_is_run_twice_where_nothing_is_trained),
		cmocka_unit_test(a_span_of_too_much_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
