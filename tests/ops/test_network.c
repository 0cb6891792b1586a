/* Ops together: a small decoder against finite differences, shared prefixes against none, batches in turn, and what
 * the backward pass leaves out.
 *
 * NET_STEP: two layers bend more than one op, a smaller h keeps the rule's own error out (1/64 misses by a sixth, 1/128
 * by 1e-2, 1/256 and 1/1024 agree). NET_TOLERANCE: the noise of f32 through two layers, some 1e-6, divided by h. */
#include "ops/net.h"

#define NET_STEP 0x1p-9f
#define NET_TOLERANCE 1e-3
#define SAME_TOLERANCE 1e-6

static const struct net_config LORA_ALL = {
	.lora = {{true, true, true, true, true, true, true}, {true, true, true, true, true, true, true}},
	.residual_scale = 1.0f,
};

/* Rows [p0 p1 p2 p3 | a0 a1 a2] and [p0 p1 p2 p3 | b0 b1]; targets in the prefix and in both answers. */
static const struct hth_segment SHARED[] = {
	{.len = 4, .parent = -1, .adapter = 0, .causal = true},
	{.len = 3, .parent = 0, .adapter = 0, .causal = true},
	{.len = 2, .parent = 0, .adapter = 0, .example = 1, .causal = true},
};
static const int32_t SHARED_IDS[] = {3, 8, 1, 12, 5, 0, 7, 11, 2};
static const struct hth_out SHARED_OUTS[] = {
	{.row = 1, .target = 1, .weight = 0.2f, .sequence = 0},  {.row = 1, .target = 1, .weight = 0.3f, .sequence = 1},
	{.row = 3, .target = 5, .weight = 0.2f, .sequence = 0},  {.row = 3, .target = 11, .weight = 0.3f, .sequence = 1},
	{.row = 4, .target = 0, .weight = 0.2f, .sequence = 0},  {.row = 5, .target = 7, .weight = 0.2f, .sequence = 0},
	{.row = 7, .target = 2, .weight = 0.3f, .sequence = 1},  {.row = 8, .target = 9, .weight = 0.3f, .sequence = 1},
};
static const struct hth_segment APART[] = {
	{.len = 7, .parent = -1, .adapter = 0, .causal = true},
	{.len = 6, .parent = -1, .adapter = 0, .example = 1, .causal = true},
};
static const int32_t APART_IDS[] = {3, 8, 1, 12, 5, 0, 7, 3, 8, 1, 12, 11, 2};
static const struct hth_out APART_OUTS[] = {
	{.row = 1, .target = 1, .weight = 0.2f, .sequence = 0},  {.row = 8, .target = 1, .weight = 0.3f, .sequence = 1},
	{.row = 3, .target = 5, .weight = 0.2f, .sequence = 0},  {.row = 10, .target = 11, .weight = 0.3f, .sequence = 1},
	{.row = 4, .target = 0, .weight = 0.2f, .sequence = 0},  {.row = 5, .target = 7, .weight = 0.2f, .sequence = 0},
	{.row = 11, .target = 2, .weight = 0.3f, .sequence = 1}, {.row = 12, .target = 9, .weight = 0.3f, .sequence = 1},
};

static void set_batch(struct graph *g, const struct hth_segment *segments, int n, const int32_t *ids,
                      const struct hth_out *outs, int n_outs)
{
	graph_batch(g, segments, n, NET_V, outs, n_outs);
	memcpy(g->batch.ids, ids, (size_t)g->batch.n_tokens * sizeof *ids);
}

static void shared_batch(struct graph *g)
{
	set_batch(g, SHARED, 3, SHARED_IDS, SHARED_OUTS, 8);
}

static void open_net(struct graph *g, struct net *net, const struct net_config *cfg)
{
	graph_init(g);
	net_init(net, g, cfg);
	g->build = net_build;
	g->ctx = net;
	g->fused = true;
	g->step = NET_STEP;
	g->drop = (struct hth_dropout){.on = cfg->dropout > 0.0f, .seed = 9, .step = 2};
}

static void check_net(const struct net_config *cfg)
{
	struct graph g;
	struct net net;

	open_net(&g, &net, cfg);
	shared_batch(&g);
	graph_check(&g, NET_TOLERANCE);
	graph_clear(&g);
}

static void frozen_network_with_adapters_has_exact_gradients(void **state)
{
	struct net_config dropout = LORA_ALL;

	(void)state;
	check_net(&LORA_ALL);
	dropout.dropout = 0.3f;
	dropout.residual_scale = 0.6f;
	check_net(&dropout);
}

static void fully_trained_network_has_exact_gradients(void **state)
{
	struct net_config full = {.full = true, .residual_scale = 1.0f};
	struct net_config tied = {.full = true, .tied = true, .residual_scale = 0.6f, .norm = HTH_NORM_LAYER};

	(void)state;
	check_net(&full);
	check_net(&tied);
}

static void adapters_on_some_linears_have_exact_gradients(void **state)
{
	struct net_config some = {.lora[0][NET_VALUE] = true, .lora[1][NET_O] = true, .residual_scale = 1.0f};

	(void)state;
	check_net(&some);
}

/* Loss and parameter gradients of the batch that stands in g now. */
static void run_alone(struct graph *g, const struct hth_backend *b, struct graph_result *r)
{
	struct graph_bench t;

	graph_open(&t, g, b);
	graph_run(&t, g, r);
	graph_close(&t, g);
}

static void check_equal(const struct graph *g, const struct graph_result *a, const struct graph_result *b)
{
	assert_true(fabs(a->loss - b->loss) <= SAME_TOLERANCE * (1.0 + fabs(b->loss)));
	for (int i = 0; i < g->n_params; i++)
		graph_check_near(g->param[i]->name, a->param_grad[i], b->param_grad[i],
		                 g->param[i]->rows * g->param[i]->cols, SAME_TOLERANCE);
}

static void shared_prefix_equals_separate_rows(void **state)
{
	struct net_config full = {.full = true, .residual_scale = 1.0f};
	const struct net_config *configs[] = {&LORA_ALL, &full};

	(void)state;
	for (int b = 0; hth_backend_at(b) != NULL; b++)
		for (int c = 0; c < 2; c++) {
			struct graph_result shared, apart;
			struct graph g;
			struct net net;
			open_net(&g, &net, configs[c]);
			shared_batch(&g);
			if (!graph_is_supported(&g, hth_backend_at(b))) {
				graph_clear(&g);
				continue;
			}
			run_alone(&g, hth_backend_at(b), &shared);
			set_batch(&g, APART, 2, APART_IDS, APART_OUTS, 8);
			run_alone(&g, hth_backend_at(b), &apart);
			assert_true(shared.loss > 1.0);
			check_equal(&g, &shared, &apart);
			graph_clear(&g);
		}
}

/* Two rows of one prompt whose answers are one token: the shared batch is the prompt, its last row wanted twice. */
static void rows_that_differ_in_the_first_answer_token_share_everything(void **state)
{
	static const struct hth_segment one[] = {{.len = 4, .parent = -1, .adapter = 0, .causal = true}};
	static const struct hth_segment two[] = {{.len = 4, .parent = -1, .adapter = 0, .causal = true},
	                                         {.len = 4, .parent = -1, .adapter = 0, .example = 1, .causal = true}};
	static const int32_t ids[] = {3, 8, 1, 12, 3, 8, 1, 12};
	static const struct hth_out shared_outs[] = {{.row = 3, .target = 5, .weight = 0.5f, .sequence = 0},
	                                             {.row = 3, .target = 6, .weight = 0.5f, .sequence = 1}};
	static const struct hth_out apart_outs[] = {{.row = 3, .target = 5, .weight = 0.5f, .sequence = 0},
	                                            {.row = 7, .target = 6, .weight = 0.5f, .sequence = 1}};
	struct graph_result shared, apart;
	struct graph g;
	struct net net;

	(void)state;
	open_net(&g, &net, &LORA_ALL);
	set_batch(&g, one, 1, ids, shared_outs, 2);
	run_alone(&g, hth_backend_find("ref"), &shared);
	set_batch(&g, two, 2, ids, apart_outs, 2);
	run_alone(&g, hth_backend_find("ref"), &apart);
	check_equal(&g, &shared, &apart);
	graph_clear(&g);
}

/* Nine tokens, eight outs, six wanted rows like SHARED, cut otherwise. */
static const struct hth_segment OTHER[] = {
	{.len = 2, .parent = -1, .adapter = -1, .causal = true},
	{.len = 5, .parent = 0, .adapter = 0, .example = 1, .causal = true},
	{.len = 2, .parent = 1, .adapter = 0, .example = 2, .causal = true},
};

static void batches_of_equal_shape_do_not_see_each_other(void **state)
{
	(void)state;
	for (int b = 0; hth_backend_at(b) != NULL; b++) {
		struct graph_result first, second, again_second, again_first;
		struct graph_bench t;
		struct graph g;
		struct net net;
		open_net(&g, &net, &LORA_ALL);
		set_batch(&g, OTHER, 3, SHARED_IDS, SHARED_OUTS, 8);
		struct hth_batch other = g.batch;
		if (!graph_is_supported(&g, hth_backend_at(b))) {
			graph_clear(&g);
			continue;
		}
		run_alone(&g, hth_backend_at(b), &second);
		shared_batch(&g);
		struct hth_batch shared = g.batch;
		graph_open(&t, &g, hth_backend_at(b));
		graph_run(&t, &g, &first);
		g.batch = other;
		graph_run(&t, &g, &again_second);
		g.batch = shared;
		graph_run(&t, &g, &again_first);
		graph_close(&t, &g);
		assert_true(fabs(first.loss - second.loss) > 1e-3);
		assert_true(first.loss == again_first.loss && second.loss == again_second.loss);
		for (int i = 0; i < g.n_params; i++) {
			size_t bytes = (size_t)(g.param[i]->rows * g.param[i]->cols) * sizeof(float);
			assert_memory_equal(first.param_grad[i], again_first.param_grad[i], bytes);
			assert_memory_equal(second.param_grad[i], again_second.param_grad[i], bytes);
		}
		graph_clear(&g);
	}
}

static int64_t backward_ops(const struct net_config *cfg)
{
	struct graph_result r;
	struct graph g;
	struct net net;

	open_net(&g, &net, cfg);
	shared_batch(&g);
	run_alone(&g, hth_backend_find("ref"), &r);
	graph_clear(&g);
	return r.totals.ops - r.forward.ops;
}

static void backward_stops_below_the_lowest_adapter(void **state)
{
	struct net_config none = {.residual_scale = 1.0f};
	struct net_config last_down = {.lora[1][NET_DOWN] = true, .residual_scale = 1.0f};
	struct net_config last_q = {.lora[1][NET_Q] = true, .residual_scale = 1.0f};
	struct net_config first_down = {.lora[0][NET_DOWN] = true, .residual_scale = 1.0f};

	(void)state;
	assert_int_equal(backward_ops(&none), 0);
	/* final norm, down */
	assert_int_equal(backward_ops(&last_down), 2);
	/* final norm, down, gated, gate and up, norm, o, gather, attention, rope of q, (q,k,v) */
	assert_int_equal(backward_ops(&last_q), 10);
	/* the above with rope and norm of k, then norm and gather of the residual stream, down of layer 0 */
	assert_int_equal(backward_ops(&first_down), 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frozen_network_with_adapters_has_exact_gradients),
		cmocka_unit_test(fully_trained_network_has_exact_gradients),
		cmocka_unit_test(adapters_on_some_linears_have_exact_gradients),
		cmocka_unit_test(shared_prefix_equals_separate_rows),
		cmocka_unit_test(rows_that_differ_in_the_first_answer_token_share_everything),
		cmocka_unit_test(batches_of_equal_shape_do_not_see_each_other),
		cmocka_unit_test(backward_stops_below_the_lowest_adapter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
