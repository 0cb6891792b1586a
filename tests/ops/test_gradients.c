/* Every op with its backward rule against finite differences (ref), and against ref (other backends): inputs and
 * parameters, odd shapes, trees of segments, several adapters, dropout. Tolerances: graph.h. */
#include "ops/graph.h"

/* Three rows that share a prefix of five tokens, one row alone; adapters 0, 1 and none. */
static const struct hth_segment TREE[] = {
	{.len = 5, .parent = -1, .adapter = 0, .example = 0, .causal = true},
	{.len = 3, .parent = 0, .adapter = 0, .example = 0, .causal = true},
	{.len = 4, .parent = 0, .adapter = 1, .example = 1, .causal = true},
	{.len = 1, .parent = 2, .adapter = 1, .example = 1, .causal = true},
	{.len = 2, .parent = -1, .adapter = -1, .example = 3, .causal = true},
};
#define TREE_TOKENS 15

static void tree(struct graph *g, const struct hth_out *outs, int n_outs)
{
	graph_batch(g, TREE, 5, 11, outs, n_outs);
	assert_int_equal(g->batch.n_tokens, TREE_TOKENS);
}

/* embed */
static struct hth_tensor build_embed(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	(void)leaf;
	return hth_op_embed(x, &g->batch, g->weight[0], 0.7f);
}

static void embedding_gradient_adds_up_repeated_tokens(void **state)
{
	struct graph g;

	(void)state;
	graph_init(&g);
	tree(&g, NULL, 0);
	graph_weight(&g, "embed", 11, 7, 1.0f, true, HTH_QUANT_F32);
	g.build = build_embed;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* norm */
static struct hth_tensor build_norm(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct hth_norm *n = g->ctx;
	return hth_op_norm(x, leaf[0], n, n->w != NULL ? n->w->cols : 5);
}

static void check_norm(enum hth_norm_kind kind, float offset, bool with_w, bool with_bias, bool trained, bool below)
{
	struct graph g;
	struct hth_norm n = {.kind = kind, .eps = 1e-5f, .offset = offset};

	graph_init(&g);
	graph_add_leaf(&g, 3, 15, below);
	if (with_w)
		n.w = graph_weight(&g, "norm", 1, 5, 1.0f, trained, HTH_QUANT_F32);
	if (with_bias)
		n.bias = graph_weight(&g, "norm bias", 1, 5, 1.0f, trained, HTH_QUANT_F32);
	g.build = build_norm;
	g.ctx = &n;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void norm_gradients_of_both_kinds_per_head_and_without_weight(void **state)
{
	(void)state;
	check_norm(HTH_NORM_RMS, 0.0f, true, false, true, true);
	check_norm(HTH_NORM_RMS, 1.0f, true, false, false, true);
	check_norm(HTH_NORM_RMS, 1.0f, true, false, true, false);
	check_norm(HTH_NORM_RMS, 0.0f, false, false, false, true);
	check_norm(HTH_NORM_LAYER, 0.0f, true, true, true, true);
	check_norm(HTH_NORM_LAYER, 0.0f, true, true, true, false);
	check_norm(HTH_NORM_LAYER, 0.0f, true, false, false, true);
}

/* linear */
struct linear_case {
	struct hth_linear member[3];
	int n;
};

static struct hth_tensor build_linear(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct linear_case *c = g->ctx;
	const struct hth_linear *member[3] = {&c->member[0], &c->member[1], &c->member[2]};
	struct hth_tensor y[3], sum;

	hth_op_linear(x, &g->batch.all, leaf[0], member, c->n, y);
	/* One output of the graph: the members, which have one width, meet in a product and a sum. */
	if (c->n == 1)
		return y[0];
	sum = hth_op_gated(x, HTH_ACT_SILU, y[0], y[1]);
	return c->n == 2 ? sum : hth_op_add(x, sum, y[2], 1.0f);
}

static void check_linear(int n, bool trained, bool adapters, bool adapters_trained, float dropout, bool below,
                         enum hth_quant quant)
{
	static const int64_t ranks[3][2] = {{3, 2}, {1, 4}, {2, 2}};
	struct graph g;
	struct linear_case c = {.n = n};

	graph_init(&g);
	tree(&g, NULL, 0);
	graph_add_leaf(&g, TREE_TOKENS, quant == HTH_QUANT_Q8_0 ? 32 : 5, below);
	for (int i = 0; i < n; i++) {
		struct hth_linear *m = &c.member[i];
		m->w = graph_weight(&g, "linear", 8, g.leaf[0].cols, 0.4f, trained && i != 1, quant);
		m->bias = i == 2 ? NULL : graph_weight(&g, "bias", 1, 8, 0.4f, trained, HTH_QUANT_F32);
		if (!adapters)
			continue;
		struct hth_lora **lora = graph_alloc(&g, 2, sizeof(struct hth_lora *));
		lora[0] = graph_lora(&g, m->w, ranks[i][0], dropout, (uint32_t)i, adapters_trained);
		lora[1] = i == 2 ? NULL : graph_lora(&g, m->w, ranks[i][1], dropout, (uint32_t)i, adapters_trained);
		m->lora = lora;
		m->n_adapters = 2;
	}
	if (trained && n > 1) /* rows in GGUF's order: values, and so gradients, stand permuted */
		((struct hth_weight *)(uintptr_t)c.member[0].w)->head_rows = 4;
	g.drop = (struct hth_dropout){.on = dropout > 0.0f, .seed = 5, .step = 3};
	g.build = build_linear;
	g.ctx = &c;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void linear_gradients_of_adapters_on_frozen_weights(void **state)
{
	(void)state;
	check_linear(3, false, true, true, 0.0f, true, HTH_QUANT_BF16);
	check_linear(2, false, true, true, 0.0f, false, HTH_QUANT_F32);
	check_linear(1, false, true, true, 0.0f, true, HTH_QUANT_Q8_0);
}

/* DoRA: the lengths are constants, so any numbers do; one of them is 0. Adapter 1 has no magnitudes. */
static void check_dora(bool ab_trained, bool mag_trained, bool bias_trained, bool below)
{
	struct graph g;
	struct linear_case c = {.n = 3};

	graph_init(&g);
	tree(&g, NULL, 0);
	graph_add_leaf(&g, TREE_TOKENS, 5, below);
	for (int i = 0; i < 3; i++) {
		struct hth_linear *m = &c.member[i];
		struct hth_lora **lora = graph_alloc(&g, 2, sizeof(struct hth_lora *));
		m->w = graph_weight(&g, "linear", 8, 5, 0.4f, false, HTH_QUANT_F32);
		lora[0] = graph_lora(&g, m->w, 2, 0.0f, (uint32_t)i, ab_trained);
		lora[1] = i == 1 ? NULL : graph_lora(&g, m->w, 3, 0.0f, (uint32_t)i, ab_trained);
		m->lora = lora;
		m->n_adapters = 2;
		if (i == 2) /* beside them a linear without magnitudes */
			continue;
		m->late_bias = i == 1 ? NULL : graph_weight(&g, "bias", 1, 8, 0.4f, bias_trained, HTH_QUANT_F32);
		m->dora = true;
		graph_init_param(&g, &lora[0]->mag, "mag", 1, 8, 0.7f, mag_trained);
		lora[0]->norm = graph_random(&g, 8, 0.2f);
		for (int n = 0; n < 8; n++)
			lora[0]->norm[n] = n == 3 ? 0 : 0.8f + fabsf(lora[0]->norm[n]);
	}
	g.build = build_linear;
	g.ctx = &c;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void dora_gradients_of_magnitudes_adapters_and_bias(void **state)
{
	(void)state;
	check_dora(true, true, false, true);
	check_dora(true, true, true, false);
	check_dora(false, true, false, false);
	check_dora(true, false, false, true);
	check_dora(false, false, true, false);
	check_dora(false, false, false, true);
}

static void linear_gradients_of_adapters_under_dropout(void **state)
{
	(void)state;
	check_linear(3, false, true, true, 0.4f, true, HTH_QUANT_F32);
}

static void linear_gradients_pass_frozen_adapters_and_bare_frozen_weights(void **state)
{
	(void)state;
	check_linear(2, false, true, false, 0.3f, true, HTH_QUANT_F32);
	check_linear(2, false, false, false, 0.0f, true, HTH_QUANT_BF16);
}

static void linear_gradients_of_trained_weights_and_biases(void **state)
{
	(void)state;
	check_linear(3, true, false, false, 0.0f, true, HTH_QUANT_F32);
	check_linear(2, true, true, true, 0.2f, true, HTH_QUANT_F32);
	check_linear(1, true, false, false, 0.0f, false, HTH_QUANT_F32);
}

/* rope */
static struct hth_tensor build_rope(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	static const float freq[] = {1.0f, 0.3f}, beyond[] = {0.5f, 0.1f};
	const struct hth_rotation how = {.freq = freq, .head = 7, .rot = 4, .attn_scale = 1.2f, .freq_beyond = beyond,
	                                 .growth = 0.7f, .original = 2};
	return hth_op_rope(x, &g->batch.all, leaf[0], &how);
}

static void rope_gradient_turns_back_and_leaves_unrotated_columns(void **state)
{
	struct hth_segment segments[5];
	struct graph g;

	(void)state;
	graph_init(&g);
	memcpy(segments, TREE, sizeof segments);
	segments[4].beyond = true;
	graph_batch(&g, segments, 5, 11, NULL, 0);
	graph_add_leaf(&g, TREE_TOKENS, 14, true);
	g.build = build_rope;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* attention */
static struct hth_tensor build_attention(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	return hth_op_attention(x, &g->batch, 0, g->ctx, leaf[0], leaf[1], leaf[2]);
}

static void check_attention(struct hth_attention_shape s, bool sinks, bool causal)
{
	struct hth_segment segments[5];
	struct graph g;

	graph_init(&g);
	memcpy(segments, TREE, sizeof segments);
	segments[2].causal = causal;
	segments[4].causal = causal;
	graph_batch(&g, segments, 5, 11, NULL, 0);
	graph_add_leaf(&g, TREE_TOKENS, s.n_head * s.head, true);
	graph_add_leaf(&g, TREE_TOKENS, s.n_kv * s.head, true);
	graph_add_leaf(&g, TREE_TOKENS, s.n_kv * s.head, true);
	if (sinks)
		s.sinks = graph_weight(&g, "sinks", 1, s.n_head, 1.0f, true, HTH_QUANT_F32);
	g.build = build_attention;
	g.ctx = &s;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void attention_gradients_over_a_tree_of_segments(void **state)
{
	(void)state;
	check_attention((struct hth_attention_shape){.n_head = 2, .n_kv = 2, .head = 3, .scale = 0.6f}, false, true);
	check_attention((struct hth_attention_shape){.n_head = 4, .n_kv = 2, .head = 3, .scale = 0.6f}, false, true);
	check_attention((struct hth_attention_shape){.n_head = 3, .n_kv = 1, .head = 5, .scale = 0.4f}, false, false);
}

static void attention_gradients_with_window_cap_and_sinks(void **state)
{
	(void)state;
	check_attention((struct hth_attention_shape){.n_head = 2, .n_kv = 1, .head = 3, .scale = 0.6f, .window = 3}, false,
	                true);
	check_attention((struct hth_attention_shape){.n_head = 2, .n_kv = 1, .head = 3, .scale = 0.9f, .soft_cap = 1.5f},
	                false, true);
	check_attention((struct hth_attention_shape){.n_head = 2, .n_kv = 2, .head = 3, .scale = 0.6f}, true, true);
	check_attention((struct hth_attention_shape){.n_head = 4, .n_kv = 2, .head = 3, .scale = 0.6f, .soft_cap = 2.0f,
	                                             .window = 4},
	                true, false);
}

/* gated */
static struct hth_tensor build_gated(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	return hth_op_gated(x, *(enum hth_act *)g->ctx, leaf[0], leaf[1]);
}

static void gated_gradients_of_every_activation(void **state)
{
	enum hth_act acts[] = {HTH_ACT_SILU, HTH_ACT_GELU_TANH, HTH_ACT_GELU_ERF, HTH_ACT_SIGMOID};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct graph g;
		graph_init(&g);
		graph_add_leaf(&g, 3, 7, true);
		graph_add_leaf(&g, 3, 7, true);
		g.build = build_gated;
		g.ctx = &acts[i];
		graph_check(&g, FD_TOLERANCE);
		graph_clear(&g);
	}
}

/* row gate */
static struct hth_tensor build_row_gate(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	(void)g;
	return hth_op_row_gate(x, leaf[0], leaf[1]);
}

static void row_gate_gradients_reach_rows_and_gates(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct graph g;
		graph_init(&g);
		graph_add_leaf(&g, 5, 7, i != 1);
		graph_add_leaf(&g, 5, 1, i != 2);
		g.build = build_row_gate;
		graph_check(&g, FD_TOLERANCE);
		graph_clear(&g);
	}
}

/* add, and values with several consumers */
static struct hth_tensor build_add(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	(void)g;
	return hth_op_add(x, leaf[0], leaf[1], 0.22f);
}

/* a + b scaled as a whole, and a once more. */
static struct hth_tensor build_scale(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	struct hth_tensor a = hth_keep(x, leaf[0]);

	(void)g;
	return hth_op_add(x, hth_op_scale(x, hth_op_add(x, leaf[0], leaf[1], 1.0f), 0.4f), hth_op_scale(x, a, -3.0f), 1.0f);
}

/* y = a + 0.5 a; z = y + y; silu(z) * b + 0.3 z + a: every kind of sharing at once. */
static struct hth_tensor build_shared(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	struct hth_tensor a = hth_keep(x, leaf[0]), y, z, w;

	(void)g;
	y = hth_op_add(x, leaf[0], hth_keep(x, a), 0.5f);
	z = hth_op_add(x, y, hth_keep(x, y), 1.0f);
	w = hth_op_gated(x, HTH_ACT_SILU, hth_keep(x, z), leaf[1]);
	w = hth_op_add(x, w, z, 0.3f);
	return hth_op_add(x, w, a, 1.0f);
}

static void add_gradients_are_scaled_shared_and_summed(void **state)
{
	struct hth_tensor (*build[])(struct hth_exec *, const struct graph *, const struct hth_tensor *) = {
		build_add, build_shared, build_scale};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct graph g;
		graph_init(&g);
		graph_add_leaf(&g, 3, 5, true);
		graph_add_leaf(&g, 3, 5, true);
		g.build = build[i];
		graph_check(&g, FD_TOLERANCE);
		graph_clear(&g);
	}
}

/* gather */
static struct hth_tensor build_gather(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	struct hth_tensor some = hth_op_gather(x, hth_keep(x, leaf[0]), &g->batch.wanted);
	struct hth_norm n = {.kind = HTH_NORM_RMS, .eps = 1e-5f};
	struct hth_tensor rest = hth_op_gather(x, hth_op_norm(x, leaf[0], &n, 5), &g->batch.wanted);
	return hth_op_add(x, some, rest, 1.0f);
}

static const struct hth_out OUTS[] = {
	{.row = 4, .target = 3, .weight = 0.5f, .sequence = 0},  {.row = 4, .target = 7, .weight = 0.25f, .sequence = 1},
	{.row = 6, .target = 1, .weight = 0.5f, .sequence = 0},  {.row = 12, .target = -1, .weight = 0.5f, .sequence = 1},
	{.row = 2, .target = 10, .weight = 0.75f, .sequence = 0}, {.row = 13, .target = 0, .weight = 0.4f, .sequence = 3},
	{.row = 12, .target = 5, .weight = 0.3f, .sequence = 1},
};
#define N_OUTS 7
#define N_WANTED 5

static void gather_gradient_goes_back_to_its_rows(void **state)
{
	struct graph g;

	(void)state;
	graph_init(&g);
	tree(&g, OUTS, N_OUTS);
	assert_int_equal(g.batch.wanted.n, N_WANTED);
	graph_add_leaf(&g, TREE_TOKENS, 5, true);
	g.build = build_gather;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* slice */
static struct hth_tensor build_slice(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	struct hth_tensor left = hth_op_slice(x, hth_keep(x, leaf[0]), 5, 0, 3); /* (3,6), columns 2 of both groups shared */

	(void)g;
	return hth_op_gated(x, HTH_ACT_SIGMOID, left, hth_op_slice(x, leaf[0], 5, 2, 3));
}

static void slice_gradient_goes_back_to_its_columns(void **state)
{
	struct graph g;

	(void)state;
	graph_init(&g);
	graph_add_leaf(&g, 3, 10, true);
	g.build = build_slice;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* conv */
static struct hth_tensor build_conv(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	return hth_op_conv(x, &g->batch, 0, leaf[0], g->weight[0], *(int64_t *)g->ctx);
}

static void conv_gradients_over_a_tree_of_segments(void **state)
{
	(void)state;
	for (int64_t taps = 1; taps <= 7; taps += 3) /* longer than most segments, too */
		for (int kind = 0; kind < 3; kind++) {
			struct graph g;
			graph_init(&g);
			tree(&g, NULL, 0);
			graph_add_leaf(&g, TREE_TOKENS, 5, kind != 1);
			graph_weight(&g, "conv", 1, 5 * taps, 0.7f, kind != 0, HTH_QUANT_F32);
			g.build = build_conv;
			g.ctx = &taps;
			graph_check(&g, FD_TOLERANCE);
			graph_clear(&g);
		}
}

/* delta */
static struct hth_tensor build_delta(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct hth_delta d = {*(const struct hth_delta_shape *)g->ctx, g->weight[0], g->weight[1]};

	return hth_op_delta(x, &g->batch, 0, &d, leaf[0], leaf[1], leaf[2]);
}

static void check_delta(struct hth_delta_shape s, bool trained, bool below)
{
	struct graph g;

	graph_init(&g);
	tree(&g, NULL, 0);
	graph_add_leaf(&g, TREE_TOKENS, hth_delta_cols(&s), below);
	graph_add_leaf(&g, TREE_TOKENS, s.n_value, below || !trained);
	graph_add_leaf(&g, TREE_TOKENS, s.n_value, below);
	graph_weight(&g, "a_log", 1, s.n_value, 0.7f, trained, HTH_QUANT_F32);
	graph_weight(&g, "dt", 1, s.n_value, 0.7f, trained, HTH_QUANT_F32);
	g.build = build_delta;
	g.ctx = &s;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

/* Three rows continue one: the state at its end is theirs to begin with, and gets the sum of their gradients. */
static void delta_gradients_over_a_tree_of_segments(void **state)
{
	(void)state;
	check_delta((struct hth_delta_shape){.n_key = 1, .n_value = 1, .key = 3, .value = 2}, true, true);
	check_delta((struct hth_delta_shape){.n_key = 2, .n_value = 4, .key = 4, .value = 3}, false, true);
	check_delta((struct hth_delta_shape){.n_key = 2, .n_value = 4, .key = 4, .value = 3, .tiled = true}, true, true);
	check_delta((struct hth_delta_shape){.n_key = 1, .n_value = 3, .key = 2, .value = 5}, true, false);
	check_delta((struct hth_delta_shape){.n_key = 2, .n_value = 2, .key = 5, .value = 4}, false, false);
}

/* head */
static struct hth_tensor build_logp(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	return hth_op_logp(x, &g->batch, leaf[0], g->ctx);
}

static void check_logp(bool outer, bool trained, bool below, float scale, float cap)
{
	struct graph g;
	struct hth_head head = {.scale = scale, .soft_cap = cap};

	graph_init(&g);
	tree(&g, OUTS, N_OUTS);
	graph_add_leaf(&g, N_WANTED, 5, below);
	head.w = graph_weight(&g, "head", 11, 5, 0.7f, trained, HTH_QUANT_BF16);
	g.fused = !outer;
	g.outer = outer;
	g.build = build_logp;
	g.ctx = &head;
	graph_check(&g, FD_TOLERANCE);
	graph_clear(&g);
}

static void logp_gradients_of_the_fused_loss(void **state)
{
	(void)state;
	check_logp(false, false, true, 1.0f, 0.0f);
	check_logp(false, true, true, 0.5f, 2.0f);
	check_logp(false, true, false, 1.0f, 0.0f);
}

static void logp_gradients_of_an_outer_loss(void **state)
{
	(void)state;
	check_logp(true, false, true, 1.0f, 0.0f);
	check_logp(true, true, true, 0.5f, 2.0f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embedding_gradient_adds_up_repeated_tokens),
		cmocka_unit_test(norm_gradients_of_both_kinds_per_head_and_without_weight),
		cmocka_unit_test(linear_gradients_of_adapters_on_frozen_weights),
		cmocka_unit_test(dora_gradients_of_magnitudes_adapters_and_bias),
		cmocka_unit_test(linear_gradients_of_adapters_under_dropout),
		cmocka_unit_test(linear_gradients_pass_frozen_adapters_and_bare_frozen_weights),
		cmocka_unit_test(linear_gradients_of_trained_weights_and_biases),
		cmocka_unit_test(rope_gradient_turns_back_and_leaves_unrotated_columns),
		cmocka_unit_test(attention_gradients_over_a_tree_of_segments),
		cmocka_unit_test(attention_gradients_with_window_cap_and_sinks),
		cmocka_unit_test(gated_gradients_of_every_activation),
		cmocka_unit_test(row_gate_gradients_reach_rows_and_gates),
		cmocka_unit_test(add_gradients_are_scaled_shared_and_summed),
		cmocka_unit_test(gather_gradient_goes_back_to_its_rows),
		cmocka_unit_test(slice_gradient_goes_back_to_its_columns),
		cmocka_unit_test(conv_gradients_over_a_tree_of_segments),
		cmocka_unit_test(delta_gradients_over_a_tree_of_segments),
		cmocka_unit_test(logp_gradients_of_the_fused_loss),
		cmocka_unit_test(logp_gradients_of_an_outer_loss),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
