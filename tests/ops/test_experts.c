/* The mixture of experts against finite differences (ref), and other backends against ref: the router, both products,
 * trained and frozen experts, biases, experts that nobody chooses, gpt-oss's clamped unit. Tolerances: graph.h. */
#include "ops/graph.h"

#define ROWS 9
#define E 5
#define C 6
#define F 7

struct experts_case {
	struct hth_expert_set gate, up, down;
	int64_t top;
	bool normalise, split, scaled;
	bool adapted; /* rows of two adapters and of none */
	struct hth_rowset rows;
	enum hth_act act;
	const struct hth_weight *scale;
};

static struct hth_tensor build(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct experts_case *c = g->ctx;
	const struct hth_expert_set *both[2] = {&c->gate, &c->up};
	struct hth_routing r = hth_op_route(x, leaf[1], c->top, c->normalise, c->scale);
	struct hth_tensor h[2];

	if (c->split) { /* the input used twice: gradients meet in base */
		hth_op_experts_up(x, &c->rows, hth_keep(x, leaf[0]), hth_routing_keep(x, r), both, 1, h);
		hth_op_experts_up(x, &c->rows, leaf[0], hth_routing_keep(x, r), both + 1, 1, h + 1);
	} else {
		hth_op_experts_up(x, &c->rows, leaf[0], hth_routing_keep(x, r), both, 2, h);
	}
	return hth_op_experts_down(x, &c->rows, hth_op_gated(x, c->act, h[0], h[1]), r, &c->down);
}

static struct hth_expert_set set_of(struct graph *g, int64_t rows, int64_t cols, bool bias, bool trained)
{
	struct hth_weight *w = graph_alloc(g, E, sizeof *w), *b = graph_alloc(g, E, sizeof *b);

	for (int64_t e = 0; e < E; e++) {
		w[e] = *graph_weight(g, "experts", rows, cols, 0.5f, trained, HTH_QUANT_BF16);
		if (bias)
			b[e] = *graph_weight(g, "experts bias", 1, rows, 0.5f, trained, HTH_QUANT_F32);
	}
	return (struct hth_expert_set){.n = E, .w = w, .bias = bias ? b : NULL};
}

/* Adapter 0 of rank 2 or none, adapter 1 of rank 3. */
static void adapt(struct graph *g, struct hth_expert_set *set, bool first)
{
	struct hth_lora **list = graph_alloc(g, 2, sizeof(struct hth_lora *));

	for (int i = first ? 0 : 1; i < 2; i++) {
		struct hth_lora *l = list[i] = graph_alloc(g, 1, sizeof *l);
		graph_init_param(g, &l->a, "lora_A", E * (2 + i), set->w[0].cols, 0.4f, true);
		graph_init_param(g, &l->b, "lora_B", E * set->w[0].rows, 2 + i, 0.4f, true);
		l->scale = 1.5f - (float)i;
	}
	set->lora = list;
	set->n_adapters = 2;
}

/* Logits 0.3 apart or more, so that no step of the differences changes a choice; expert 3 is never among the first two.
 */
static void spread_logits(struct graph_leaf *l)
{
	for (int64_t r = 0; r < l->rows; r++)
		for (int64_t e = 0; e < E; e++)
			l->data[r * E + e] =
				e == 3 ? -1.0f : 0.3f * (float)((r * 3 + e * 2) % E) + 0.05f * (float)(r % 3);
}

static void check(struct experts_case c, bool bias, bool trained, bool x_grad, bool logits_grad)
{
	struct graph g;

	graph_init(&g);
	graph_add_leaf(&g, ROWS, C, x_grad);
	graph_add_leaf(&g, ROWS, E, logits_grad);
	spread_logits(&g.leaf[1]);
	c.gate = set_of(&g, F, C, bias, trained);
	c.up = set_of(&g, F, C, bias, trained);
	c.down = set_of(&g, C, F, bias, trained);
	static const struct hth_adapter_run runs[] = {{0, 3, 0}, {3, 2, -1}, {5, 4, 1}};
	c.rows = (struct hth_rowset){.n = ROWS, .n_runs = 3, .runs = runs};
	if (c.adapted) {
		adapt(&g, &c.gate, true);
		adapt(&g, &c.up, false);
		adapt(&g, &c.down, true);
	}
	c.scale = c.scaled ? graph_weight(&g, "scale", 1, E, 1.5f, false, HTH_QUANT_F32) : NULL;
	g.build = build;
	g.ctx = &c;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void gradients_of_inputs_and_of_the_router(void **state)
{
	(void)state;
	check((struct experts_case){.top = 2, .normalise = true}, false, false, true, true);
	check((struct experts_case){.top = 2, .normalise = false}, false, false, true, true);
	check((struct experts_case){.top = 1, .normalise = false}, true, false, true, true);
	check((struct experts_case){.top = 3, .normalise = true, .scaled = true}, false, false, true, true);
	check((struct experts_case){.top = 2, .normalise = false, .scaled = true}, false, false, true, true);
	check((struct experts_case){.top = E, .normalise = true, .split = true}, true, false, true, true);
	check((struct experts_case){.top = 2, .normalise = true}, true, false, true, false);
	check((struct experts_case){.top = 2, .normalise = false}, true, false, false, true);
}

static void gradients_of_trained_experts(void **state)
{
	(void)state;
	check((struct experts_case){.top = 2, .normalise = true}, true, true, true, true);
	check((struct experts_case){.top = 2, .normalise = true}, false, true, false, false);
}

static void gradients_of_adapters(void **state)
{
	(void)state;
	check((struct experts_case){.top = 2, .normalise = true, .adapted = true}, false, false, true, true);
	check((struct experts_case){.top = 2, .normalise = true, .adapted = true}, true, false, false, false);
	check((struct experts_case){.top = 1, .adapted = true, .split = true}, false, true, true, true);
	check((struct experts_case){.top = E, .adapted = true}, true, false, true, false);
}

static void gradients_of_clamped_units(void **state)
{
	(void)state;
	check((struct experts_case){.top = 2, .normalise = true, .act = HTH_ACT_SWIGLU_CLAMPED}, true, false, true,
	      true);
}

static struct hth_tensor build_gated(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	(void)g;
	return hth_op_gated(x, HTH_ACT_SWIGLU_CLAMPED, leaf[0], leaf[1]);
}

/* Inputs on both sides of the clamps, none within reach of a step. */
static void clamped_inputs_have_no_gradient(void **state)
{
	struct graph g;

	(void)state;
	graph_init(&g);
	for (int i = 0; i < 2; i++) {
		graph_add_leaf(&g, 5, 61, true);
		for (int64_t k = 0; k < 5 * 61; k++) {
			float *v = &g.leaf[i].data[k];
			*v *= 6;
			if (fabsf(fabsf(*v) - 7) < 0.1f)
				*v = copysignf(7.2f, *v);
		}
	}
	g.build = build_gated;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* Equal logits and logits that are not numbers: the lower expert first, numbers before all else. */
static void ties_go_to_the_lower_expert(void **state)
{
	const float logits[3 * 4] = {1, 2, 2, 2, 0, 0, 0, 0, NAN, -INFINITY, -3, NAN};
	const int32_t want[3 * 2] = {1, 2, 0, 1, 2, 1}, order[6] = {2, 0, 3, 5, 1, 4}, begin[5] = {0, 1, 4, 6, 6};
	const struct hth_backend *b;
	struct hth_err err;

	(void)state;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++) {
		if (!b->host_memory)
			continue;
		struct hth_device_config dc = {.compute = HTH_COMPUTE_F32};
		struct hth_exec_config cfg = {
			.mode = HTH_EXEC_RUN, .backend = b, .arena_bytes = 1 << 16, .machine = {.threads = 1}};
		struct hth_exec *x;
		assert_ok(b->open(&dc, &cfg.device, &err));
		assert_ok(hth_exec_new(&cfg, &x, &err));
		hth_exec_begin(x, false, (struct hth_dropout){0});
		struct hth_routing r = hth_op_route(x, hth_exec_leaf(x, 3, 4, logits, false), 2, true, NULL);
		assert_ok(hth_exec_end(x, &err));
		assert_memory_equal(r.expert.ctx, want, sizeof want);
		assert_memory_equal(r.order.ctx, order, sizeof order);
		assert_memory_equal(r.begin.ctx, begin, sizeof begin);
		hth_exec_free(x);
		b->close(cfg.device);
	}
}

static void more_choices_than_experts_are_refused(void **state)
{
	const struct hth_backend *b = hth_backend_find("ref");
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = b, .machine = {.threads = 1}};
	struct hth_exec *x;
	struct hth_err err;

	(void)state;
	assert_ok(hth_exec_new(&cfg, &x, &err));
	hth_exec_begin(x, false, (struct hth_dropout){0});
	hth_op_route(x, hth_exec_leaf(x, 3, 4, NULL, false), 5, true, NULL);
	assert_int_equal(hth_exec_end(x, &err), HTH_ERR_SHAPE);
	assert_string_equal(err.text, "route: 5 of 4 experts for each of 3 rows");
	hth_exec_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_of_inputs_and_of_the_router),
		cmocka_unit_test(gradients_of_trained_experts),
		cmocka_unit_test(gradients_of_adapters),
		cmocka_unit_test(gradients_of_clamped_units),
		cmocka_unit_test(clamped_inputs_have_no_gradient),
		cmocka_unit_test(ties_go_to_the_lower_expert),
		cmocka_unit_test(more_choices_than_experts_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
