/* Executions: the plan is the run, memory comes back, errors stick and name what is wrong, a step allocates nothing. */
#include "ops/net.h"

static const struct net_config LORA = {
	.lora = {{true, true, true, true, true, true, true}, {true, true, true, true, true, true, true}},
	.dropout = 0.1f,
	.residual_scale = 1.0f,
};
static const struct hth_segment SEGMENTS[] = {
	{.len = 4, .parent = -1, .adapter = 0, .causal = true},
	{.len = 3, .parent = 0, .adapter = 0, .causal = true},
	{.len = 2, .parent = 0, .adapter = -1, .example = 1, .causal = true},
};
static const struct hth_out OUTS[] = {
	{.row = 3, .target = 5, .weight = 0.5f},
	{.row = 3, .target = 6, .weight = 0.5f},
	{.row = 8, .target = 1, .weight = 0.5f},
};

static void open_net(struct graph *g, struct net *net)
{
	graph_init(g);
	net_init(net, g, &LORA);
	graph_batch(g, SEGMENTS, 3, NET_V, OUTS, 3);
	g->build = net_build;
	g->ctx = net;
	g->fused = true;
	g->drop = (struct hth_dropout){.on = true, .seed = 1, .step = 1};
}

static const struct hth_backend *ref(void)
{
	return hth_backend_find("ref");
}

static void plan_and_run_agree_on_every_number(void **state)
{
	(void)state;
	for (int i = 0; hth_backend_at(i) != NULL; i++) {
		struct hth_totals planned;
		struct graph_result r;
		struct graph_bench t;
		struct graph g;
		struct net net;
		open_net(&g, &net);
		if (graph_is_supported(&g, hth_backend_at(i))) {
			graph_open(&t, &g, hth_backend_at(i));
			graph_plan(&g, hth_backend_at(i), &t.machine, true, &planned);
			graph_run(&t, &g, &r);
			assert_true(planned.peak_bytes > 0 && planned.flops > 0.0 && planned.bytes_moved > 0.0);
			assert_int_equal(r.totals.peak_bytes, planned.peak_bytes);
			assert_int_equal(r.totals.ops, planned.ops);
			assert_true(r.totals.flops == planned.flops && r.totals.bytes_moved == planned.bytes_moved);
			graph_close(&t, &g);
		}
		graph_clear(&g);
	}
}

static void a_run_in_less_than_the_plan_is_refused_with_both_numbers(void **state)
{
	struct hth_device_config dc = {.compute = HTH_COMPUTE_F32};
	struct hth_machine m = {.threads = 1};
	struct hth_device *dev;
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_exec *x;
	struct hth_err err;
	struct graph g;
	struct net net;
	char number[32];

	(void)state;
	open_net(&g, &net);
	uint64_t need = graph_plan(&g, ref(), &m, true, NULL);
	assert_ok(ref()->open(&dc, &dev, &err));
	for (uint64_t bytes = 0; bytes < need; bytes += 64) {
		struct hth_exec_config cfg = {.mode = HTH_EXEC_RUN, .backend = ref(), .device = dev, .machine = m,
		                              .arena_bytes = bytes};
		assert_ok(hth_exec_new(&cfg, &x, &err));
		graph_pass(x, &g, true, leaf, NULL);
		snprintf(number, sizeof number, "%llu", (unsigned long long)bytes);
		assert_fails(hth_exec_end(x, &err), HTH_ERR_LIMIT, number);
		if (bytes + 64 == need) {
			snprintf(number, sizeof number, "%llu", (unsigned long long)need);
			assert_non_null(strstr(err.text, number));
		}
		hth_exec_free(x);
	}
	ref()->close(dev);
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = ref(), .machine = m, .arena_bytes = need - 64};
	assert_ok(hth_exec_new(&cfg, &x, &err));
	graph_pass(x, &g, true, leaf, NULL);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_MEMORY, "limit");
	/* Without a tape the same batch fits. */
	graph_pass(x, &g, false, leaf, NULL);
	assert_ok(hth_exec_end(x, &err));
	assert_true(hth_exec_totals(x)->peak_ever_bytes >= hth_exec_totals(x)->peak_bytes);
	hth_exec_free(x);
	graph_clear(&g);
}

static void a_step_allocates_nothing(void **state)
{
	(void)state;
	for (int i = 0; hth_backend_at(i) != NULL; i++) {
		struct hth_tensor leaf[MAX_LEAVES];
		struct graph_bench t;
		struct hth_err err;
		struct graph g;
		struct net net;
		double norm;
		open_net(&g, &net);
		if (graph_is_supported(&g, hth_backend_at(i))) {
			graph_open(&t, &g, hth_backend_at(i));
			graph_pass(t.x, &g, true, leaf, NULL);
			uint64_t before = hth_mem_allocs();
			for (int step = 0; step < 3; step++) {
				graph_pass(t.x, &g, true, leaf, NULL);
				assert_ok(hth_exec_end(t.x, &err));
				assert_ok(hth_op_grad_norm(t.x, g.param, g.n_params, &norm, &err));
			}
			assert_int_equal(hth_mem_allocs() - before, 0);
			assert_true(norm > 0.0);
			graph_close(&t, &g);
		}
		graph_clear(&g);
	}
}

static void failing_allocations_are_reported(void **state)
{
	struct hth_machine m = {.threads = 1};
	struct hth_tensor leaf[MAX_LEAVES];
	struct graph g;
	struct net net;

	(void)state;
	open_net(&g, &net);
	uint64_t need = graph_plan(&g, ref(), &m, true, NULL);
	bool done = false;
	for (uint64_t nth = 1; !done; nth++) {
		struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = ref(), .machine = m, .arena_bytes = need};
		struct hth_exec *x = NULL;
		struct hth_err err;
		hth_mem_fail_at(nth, false);
		enum hth_status status = hth_exec_new(&cfg, &x, &err);
		if (status == HTH_OK) {
			graph_pass(x, &g, true, leaf, NULL);
			status = hth_exec_end(x, &err);
		}
		hth_mem_fail_at(0, false);
		done = status == HTH_OK;
		if (!done) {
			assert_int_equal(status, HTH_ERR_MEMORY);
			assert_non_null(strstr(err.text, "memory"));
		}
		hth_exec_free(x);
		assert_true(nth < 1000);
	}
	graph_clear(&g);
}

static void nothing_is_held_after_a_pass(void **state)
{
	(void)state;
	for (int train = 0; train < 2; train++) {
		struct hth_tensor leaf[MAX_LEAVES];
		struct graph_bench t;
		struct hth_err err;
		struct graph g;
		struct net net;
		open_net(&g, &net);
		graph_open(&t, &g, ref());
		hth_drop(t.x, graph_pass(t.x, &g, train == 1, leaf, NULL));
		assert_ok(hth_exec_end(t.x, &err));
		assert_int_equal(t.x->space.n, 1);
		assert_int_equal(t.x->space.holes[0].offset, 0);
		assert_true(t.x->space.holes[0].bytes == t.planned_bytes);
		graph_close(&t, &g);
		graph_clear(&g);
	}
}

/* A bare execution of 1 MiB on ref. */
static struct hth_exec *bare(struct hth_device **dev)
{
	struct hth_device_config dc = {.compute = HTH_COMPUTE_F32};
	struct hth_exec *x;
	struct hth_err err;

	assert_ok(ref()->open(&dc, dev, &err));
	struct hth_exec_config cfg = {.mode = HTH_EXEC_RUN, .backend = ref(), .device = *dev, .machine = {.threads = 1},
	                              .arena_bytes = 1 << 20};
	assert_ok(hth_exec_new(&cfg, &x, &err));
	hth_exec_begin(x, true, (struct hth_dropout){0});
	return x;
}

static void close_bare(struct hth_exec *x, struct hth_device *dev)
{
	hth_exec_free(x);
	ref()->close(dev);
}

static void an_input_with_one_holder_is_written_over(void **state)
{
	static const float ones[6] = {1, 1, 1, 1, 1, 1};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_err err;

	(void)state;
	struct hth_tensor a = hth_exec_leaf(x, 2, 3, ones, false), b = hth_exec_leaf(x, 2, 3, ones, false);
	struct hth_tensor y = hth_op_add(x, a, b, 2.0f);
	assert_ptr_equal(y.ctx, a.ctx);
	struct hth_tensor kept = hth_keep(x, y);
	struct hth_tensor z = hth_op_add(x, y, hth_exec_leaf(x, 2, 3, ones, false), 1.0f);
	assert_ptr_not_equal(z.ctx, kept.ctx);
	for (int i = 0; i < 6; i++) {
		assert_true(((float *)kept.ctx)[i] == 3.0f);
		assert_true(((float *)z.ctx)[i] == 4.0f);
	}
	/* A second value over the same bytes keeps the first from being sole owner. */
	struct hth_tensor over = hth_exec_make_over(x, z);
	assert_ptr_equal(over.ctx, z.ctx);
	assert_false(hth_exec_is_sole(x, z));
	assert_ptr_not_equal(hth_exec_make_over(x, z).ctx, z.ctx);
	assert_ok(hth_exec_end(x, &err));
	close_bare(x, dev);
}

static void memory_of_dropped_values_is_used_again(void **state)
{
	float data[64] = {0};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_err err;

	(void)state;
	struct hth_tensor a = hth_exec_leaf(x, 4, 16, data, false), b = hth_exec_leaf(x, 4, 16, data, false);
	struct hth_tensor c = hth_exec_leaf(x, 4, 16, data, false);
	hth_drop(x, a);
	hth_drop(x, b);
	/* Both holes joined: 512 bytes at the start. */
	struct hth_tensor d = hth_exec_make(x, 8, 16);
	assert_ptr_equal(d.ctx, a.ctx);
	assert_int_equal(hth_exec_totals(x)->peak_bytes, 3 * 256);
	hth_drop(x, c);
	hth_drop(x, d);
	for (int i = 0; i < 100; i++)
		hth_drop(x, hth_exec_make(x, 12, 16));
	assert_int_equal(hth_exec_totals(x)->peak_bytes, 3 * 256);
	assert_ok(hth_exec_end(x, &err));
	close_bare(x, dev);
}

static void errors_stick_and_the_first_is_told(void **state)
{
	float data[12] = {0};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_norm n = {.kind = HTH_NORM_RMS, .eps = 1e-5f};
	struct hth_err err;

	(void)state;
	struct hth_tensor a = hth_exec_leaf(x, 3, 4, data, false), b = hth_exec_leaf(x, 4, 3, data, false);
	assert_false(hth_tensor_is(hth_op_add(x, a, b, 1.0f)));
	int64_t ops = hth_exec_totals(x)->ops;
	assert_false(hth_tensor_is(hth_op_norm(x, a, &n, 4)));
	assert_false(hth_tensor_is(hth_op_gated(x, HTH_ACT_SILU, a, a)));
	hth_exec_backward(x);
	hth_drop(x, a);
	assert_int_equal(hth_exec_totals(x)->ops, ops);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "add: (3,4) and (4,3)");
	hth_exec_begin(x, false, (struct hth_dropout){0});
	assert_true(hth_tensor_is(hth_op_norm(x, hth_exec_leaf(x, 3, 4, data, false), &n, 4)));
	assert_ok(hth_exec_end(x, &err));
	close_bare(x, dev);
}

static void a_value_used_up_is_refused(void **state)
{
	float data[12] = {0};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_norm n = {.kind = HTH_NORM_RMS, .eps = 1e-5f};
	struct hth_err err;

	(void)state;
	struct hth_tensor a = hth_exec_leaf(x, 3, 4, data, false);
	hth_drop(x, hth_op_norm(x, a, &n, 4));
	hth_op_norm(x, a, &n, 4);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "norm: value 0 has no holder left");
	hth_exec_begin(x, false, (struct hth_dropout){0});
	hth_op_norm(x, a, &n, 4);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "norm");
	hth_exec_begin(x, false, (struct hth_dropout){0});
	a = hth_exec_leaf(x, 3, 4, data, false);
	hth_drop(x, a);
	hth_keep(x, a);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "keep");
	hth_exec_begin(x, false, (struct hth_dropout){0});
	a = hth_exec_leaf(x, 3, 4, data, false);
	hth_drop(x, a);
	hth_drop(x, a);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, "drop");
	close_bare(x, dev);
}

static void ops_name_shapes_that_do_not_fit(void **state)
{
	float data[64] = {0};
	static const float freq[] = {1.0f};
	struct hth_rotation how = {.freq = freq, .head = 2, .rot = 2, .attn_scale = 1};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_dropout off = {0};
	struct hth_attention_shape as = {.n_head = 3, .n_kv = 2, .head = 2, .scale = 1.0f};
	struct hth_norm n = {.kind = HTH_NORM_RMS};
	struct hth_tensor y[HTH_MAX_GROUP + 1];
	struct hth_err err;
	struct graph g;

	(void)state;
	graph_init(&g);
	graph_batch(&g, SEGMENTS, 3, NET_V, OUTS, 3);
	struct hth_weight *w = graph_weight(&g, "w", 4, 3, 1.0f, false, HTH_QUANT_F32);
	struct hth_lora *lora = graph_lora(&g, w, 2, 0.0f, 0, true);
	struct hth_linear m = {.w = w, .lora = &lora, .n_adapters = 0};
	const struct hth_linear *member[] = {&m, &m, &m, &m, &m};
	struct hth_head head = {.w = w, .scale = 1.0f};
#define EXPECT(call, part)                                                                                             \
	hth_exec_begin(x, true, off);                                                                                  \
	call;                                                                                                          \
	assert_fails(hth_exec_end(x, &err), HTH_ERR_SHAPE, part)
#define LEAF(rows, cols) hth_exec_leaf(x, rows, cols, data, true)
	EXPECT(hth_op_embed(x, &g.batch, w, 1.0f), "embed \"w\": token id 5 in row 1, expected 0..3");
	EXPECT(hth_op_norm(x, LEAF(2, 3), &n, 2), "norm: input of 3 columns, expected a multiple of 2");
	n.w = w;
	EXPECT(hth_op_norm(x, LEAF(2, 3), &n, 3), "norm \"w\": shape (4,3) in f32, expected (1,3)");
	EXPECT(hth_op_linear(x, &g.batch.all, LEAF(9, 2), member, 1, y), "linear \"w\": input (9,2), expected (9,3)");
	EXPECT(hth_op_linear(x, &g.batch.all, LEAF(2, 3), member, 1, y), "linear \"w\": input (2,3), expected (9,3)");
	EXPECT(hth_op_linear(x, &g.batch.all, LEAF(9, 3), member, 5, y), "linear: 5 members");
	EXPECT(hth_op_linear(x, &g.batch.all, LEAF(9, 3), member, 1, y), "rows of adapter 0, but 0 adapters");
	m.n_adapters = 1;
	lora->b.rows = 3;
	EXPECT(hth_op_linear(x, &g.batch.all, LEAF(9, 3), member, 1, y), "adapter A (2,3), B (3,2) do not fit");
	EXPECT(hth_op_rope(x, &g.batch.all, LEAF(9, 3), &how), "rope: input (9,3), expected 9 rows");
	how.head = 3;
	how.rot = 4;
	EXPECT(hth_op_rope(x, &g.batch.all, LEAF(9, 3), &how), "rope: rotates 4 columns");
	how.rot = 2;
	how.growth = 0.1f;
	EXPECT(hth_op_rope(x, &g.batch.all, LEAF(9, 3), &how), "rope: growth 0.1 from 0 tokens on");
	EXPECT(hth_op_attention(x, &g.batch, 0, &as, LEAF(9, 6), LEAF(9, 4), LEAF(9, 4)), "attention: 3 heads, 2 kv");
	as.n_head = 2;
	EXPECT(hth_op_attention(x, &g.batch, 0, &as, LEAF(9, 6), LEAF(9, 4), LEAF(9, 4)), "q (9,6)");
	EXPECT(hth_op_gated(x, HTH_ACT_SILU, LEAF(2, 3), LEAF(3, 2)), "gated: gate (2,3), up (3,2)");
	EXPECT(hth_op_row_gate(x, LEAF(2, 3), LEAF(2, 3)), "row gate: (2,3) gated by (2,3), expected one gate a row");
	EXPECT(hth_op_gather(x, LEAF(8, 3), &g.batch.wanted), "gather: wants row 8 of 8");
	EXPECT(hth_op_logits(x, LEAF(2, 4), &head), "logits \"w\": input of 4 columns, expected 3");
	EXPECT(hth_op_logp(x, &g.batch, LEAF(3, 3), &head), "logp: input of 3 rows, expected the 2 wanted ones");
	EXPECT(hth_op_logp(x, &g.batch, LEAF(2, 3), &head), "out 0 has target 5, expected -1..3");
#undef EXPECT
#undef LEAF
	graph_clear(&g);
	close_bare(x, dev);
}

static void a_gradient_for_the_fused_loss_is_refused(void **state)
{
	static const struct hth_out outs[] = {{.row = 0, .target = 1, .weight = 1.0f}};
	float data[3] = {1, 2, 3}, seed[1] = {1};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_err err;
	struct graph g;

	(void)state;
	graph_init(&g);
	graph_batch(&g, SEGMENTS, 1, 4, outs, 1);
	struct hth_head head = {.w = graph_weight(&g, "w", 4, 3, 1.0f, false, HTH_QUANT_F32), .scale = 1.0f};
	struct hth_tensor y = hth_op_logp(x, &g.batch, hth_exec_leaf(x, 1, 3, data, true), &head);
	hth_exec_seed(x, y, seed);
	hth_exec_backward(x);
	assert_fails(hth_exec_end(x, &err), HTH_ERR_USAGE, "hth_exec_outer_loss");
	graph_clear(&g);
	close_bare(x, dev);
}

static void a_batch_with_states_has_no_backward(void **state)
{
	float data[64] = {0};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_attention_shape as = {.n_head = 1, .n_kv = 1, .head = 2, .scale = 1.0f};
	struct hth_err err;
	struct graph g;

	(void)state;
	graph_init(&g);
	graph_batch(&g, SEGMENTS, 1, 4, NULL, 0);
	g.batch.n_states = 1;
	g.batch.segments[0].state = 0;
	assert_ok(hth_batch_finish(&g.batch, &g.arena, &err));
	struct hth_tensor q = hth_exec_leaf(x, 4, 2, data, true), k = hth_exec_leaf(x, 4, 2, data, false);
	hth_op_attention(x, &g.batch, 0, &as, q, k, hth_keep(x, k));
	assert_fails(hth_exec_end(x, &err), HTH_ERR_UNAVAILABLE, "no backward");
	graph_clear(&g);
	close_bare(x, dev);
}

static void an_op_that_a_backend_lacks_is_named(void **state)
{
	struct hth_backend less = *ref();
	float data[4] = {0};
	struct hth_exec *x;
	struct hth_err err;

	(void)state;
	less.name = "less";
	less.slot[HTH_OP_gated].run = NULL;
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = &less, .machine = {.threads = 1}};
	assert_ok(hth_exec_new(&cfg, &x, &err));
	hth_exec_begin(x, false, (struct hth_dropout){0});
	hth_op_gated(x, HTH_ACT_SILU, hth_exec_leaf(x, 2, 2, data, false), hth_exec_leaf(x, 2, 2, data, false));
	assert_fails(hth_exec_end(x, &err), HTH_ERR_UNAVAILABLE, "backend less has no op gated");
	hth_exec_free(x);
	less.host_memory = false;
	cfg.mode = HTH_EXEC_RUN;
	cfg.device = (struct hth_device *)&less;
	assert_fails(hth_exec_new(&cfg, &x, &err), HTH_ERR_UNAVAILABLE, "less");
	cfg.device = NULL;
	assert_fails(hth_exec_new(&cfg, &x, &err), HTH_ERR_USAGE, "device");
}

static void ops_have_names_and_seconds(void **state)
{
	float data[4] = {0};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	double sum = 0.0;

	(void)state;
	assert_string_equal(hth_exec_op_name(HTH_OP_linear_backward), "linear_backward");
	assert_string_equal(hth_exec_op_name(HTH_OP_COUNT), "unknown");
	hth_op_gated(x, HTH_ACT_SILU, hth_exec_leaf(x, 2, 2, data, false), hth_exec_leaf(x, 2, 2, data, false));
	for (int i = 0; i < HTH_OP_COUNT; i++)
		sum += hth_exec_seconds(x)[i];
	assert_true(sum == hth_exec_seconds(x)[HTH_OP_gated] && sum >= 0.0);
	assert_false(hth_exec_planning(x));
	close_bare(x, dev);
}

static void optimizer_ops_check_their_parameters(void **state)
{
	float v[2] = {1, 2}, grad[2] = {3, 4}, moments[4] = {0};
	struct hth_param p = {.name = "lora_A", .rows = 1, .cols = 2, .value = v, .grad = grad};
	struct hth_param *params[] = {&p};
	struct hth_adamw_args a = {.params = params, .n = 1, .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f,
	                           .grad_scale = 1.0f, .bias_correction = true, .step = 1};
	struct hth_device *dev;
	struct hth_exec *x = bare(&dev);
	struct hth_err err;
	double norm = 0.0;

	(void)state;
	assert_ok(hth_op_grad_norm(x, params, 1, &norm, &err));
	assert_true(norm == 5.0);
	assert_fails(hth_op_adamw(x, &a, &err), HTH_ERR_SHAPE, "lora_A");
	p.m = moments;
	p.v = moments + 2;
	/* The first step of Adam moves by lr against the sign. */
	assert_ok(hth_op_adamw(x, &a, &err));
	assert_true(fabsf(v[0] - 0.9f) < 1e-6f && fabsf(v[1] - 1.9f) < 1e-6f && grad[0] == 0.0f);
	a.step = 0;
	assert_fails(hth_op_adamw(x, &a, &err), HTH_ERR_SHAPE, "step 0");
	close_bare(x, dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_and_run_agree_on_every_number),
		cmocka_unit_test(a_run_in_less_than_the_plan_is_refused_with_both_numbers),
		cmocka_unit_test(a_step_allocates_nothing),
		cmocka_unit_test(nothing_is_held_after_a_pass),
		cmocka_unit_test(failing_allocations_are_reported),
		cmocka_unit_test(an_input_with_one_holder_is_written_over),
		cmocka_unit_test(memory_of_dropped_values_is_used_again),
		cmocka_unit_test(errors_stick_and_the_first_is_told),
		cmocka_unit_test(a_value_used_up_is_refused),
		cmocka_unit_test(ops_name_shapes_that_do_not_fit),
		cmocka_unit_test(a_gradient_for_the_fused_loss_is_refused),
		cmocka_unit_test(a_batch_with_states_has_no_backward),
		cmocka_unit_test(an_op_that_a_backend_lacks_is_named),
		cmocka_unit_test(ops_have_names_and_seconds),
		cmocka_unit_test(optimizer_ops_check_their_parameters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
