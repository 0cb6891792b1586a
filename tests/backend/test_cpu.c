/* The cpu backend's elementwise ops, norms, head and optimizer against ref; linear maps and attention have files of
 * their own. */
#include "cpu_case.h"

static void norms(void **state)
{
	static const int64_t widths[] = {1, 7, 64, 576};

	(void)state;
	for (int i = 0; i < 4; i++)
		for (int kind = 0; kind < 2; kind++) {
			int64_t width = widths[i], groups = i == 2 ? 3 : 1, rows = 37;
			struct hth_weight w = random_weight(HTH_QUANT_F32, 1, width), bias = random_weight(HTH_QUANT_F32, 1, width);
			struct hth_norm_args a = {.kind = kind ? HTH_NORM_LAYER : HTH_NORM_RMS,
			                          .eps = 1e-5f,
			                          .offset = (float)kind,
			                          .width = width,
			                          .w = i == 1 ? NULL : &w,
			                          .bias = kind ? &bias : NULL,
			                          .x = random_tensor(rows, groups * width, 2),
			                          .y = output(rows, groups * width),
			                          .stats = output(rows, groups * (kind ? 2 : 1))};
			result_tensor("y", a.y);
			if (i > 0) /* a layer norm of one column divides by sqrt(eps) alone */
				result_tensor("stats", a.stats);
			check_case("norm", HTH_OP_norm, &a);
		}
}

static void norm_backwards(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		bool layer = i & 1, in_place = i & 2;
		int64_t width = i & 4 ? 64 : 100, groups = i & 4 ? 3 : 1, rows = 29;
		struct hth_weight w = random_weight(HTH_QUANT_F32, 1, width), bias = random_weight(HTH_QUANT_F32, 1, width);
		struct hth_norm_backward_args a = {.kind = layer ? HTH_NORM_LAYER : HTH_NORM_RMS,
		                                   .offset = 1,
		                                   .width = width,
		                                   .w = &w,
		                                   .bias = layer ? &bias : NULL,
		                                   .x = random_tensor(rows, groups * width, 2),
		                                   .stats = random_tensor(rows, groups * (layer ? 2 : 1), 1),
		                                   .dy = random_tensor(rows, groups * width, 1),
		                                   .base = random_tensor(rows, groups * width, 1),
		                                   .dx = output(rows, groups * width)};
		result("dw", trained(&w)->grad, width);
		result("dbias", trained(&bias)->grad, width);
		if (in_place)
			a.dx = a.base;
		else if (layer)
			a.base = HTH_NO_TENSOR;
		result_tensor("dx", a.dx);
		check_case("norm_backward", HTH_OP_norm_backward, &a);
	}
}

static int32_t *positions_from(int32_t first, int32_t step, int32_t n)
{
	int32_t *p = case_alloc((size_t)n * sizeof *p);
	for (int32_t i = 0; i < n; i++)
		p[i] = first + i * step;
	return p;
}

static void rotations(void **state)
{
	static const int64_t heads[] = {64, 80, 6}, rots[] = {64, 32, 4};

	(void)state;
	for (int i = 0; i < 6; i++) {
		int64_t head = heads[i % 3], rot = rots[i % 3], rows = 41;
		float *freq = random_floats(rot / 2, 1);
		int32_t beyond[41];
		for (int k = 0; k < 41; k++)
			beyond[k] = k % 3 == 0;
		struct hth_rowset set = {.n = (int32_t)rows,
		                         .positions = positions_from(3, 1700, (int32_t)rows),
		                         .beyond = i % 4 < 2 ? beyond : NULL};
		struct hth_rope_args a = {.rows = &set,
		                          .how = {.freq = freq,
		                                  .head = head,
		                                  .rot = rot,
		                                  .attn_scale = i % 2 ? 1.25f : 1,
		                                  .freq_beyond = i > 0 ? random_floats(rot / 2, 5) : NULL,
		                                  .growth = i % 3 != 1 ? 0.1f : 0,
		                                  .original = 512},
		                          .inverse = i >= 3,
		                          .x = random_tensor(rows, 3 * head, 2)};
		a.y = i < 2 ? a.x : output(rows, 3 * head);
		result_tensor("y", a.y);
		check_case("rope", HTH_OP_rope, &a);
	}
}

static void row_gates(void **state)
{
	int64_t rows = 45, cols = 801; /* three tasks */

	(void)state;
	for (int over = 0; over < 2; over++) {
		struct hth_row_gate_args a = {.x = random_tensor(rows, cols, 2), .gate = random_tensor(rows, 1, 6)};
		a.y = over ? a.x : output(rows, cols);
		result_tensor("y", a.y);
		check_case("row_gate", HTH_OP_row_gate, &a);
		struct hth_row_gate_backward_args b = {.x = random_tensor(rows, cols, 2),
						       .gate = random_tensor(rows, 1, 6),
						       .dy = random_tensor(rows, cols, 2)};
		b.dx = over ? b.x : output(rows, cols);
		b.dgate = output(rows, 1);
		result_tensor("dx", b.dx);
		result_tensor("dgate", b.dgate);
		check_case("row_gate_backward", HTH_OP_row_gate_backward, &b);
	}
}

static void gated_units(void **state)
{
	(void)state;
	for (int act = 0; act < 3; act++) {
		int64_t rows = 45, cols = 801; /* three tasks, the last of odd size */
		struct hth_gated_args a = {.act = (enum hth_act)act,
		                           .gate = random_tensor(rows, cols, 6),
		                           .up = random_tensor(rows, cols, 2)};
		a.y = act == 1 ? a.gate : output(rows, cols);
		result_tensor("y", a.y);
		check_case("gated", HTH_OP_gated, &a);
		struct hth_gated_backward_args b = {.act = (enum hth_act)act,
		                                    .gate = random_tensor(rows, cols, 6),
		                                    .up = random_tensor(rows, cols, 2),
		                                    .dy = random_tensor(rows, cols, 2)};
		b.dgate = act == 0 ? b.gate : output(rows, cols);
		b.dup = act == 0 ? b.up : act == 1 ? b.dy : output(rows, cols);
		result_tensor("dgate", b.dgate);
		result_tensor("dup", b.dup);
		check_case("gated_backward", HTH_OP_gated_backward, &b);
	}
}

static void sums_and_gathers(void **state)
{
	static const int32_t index[] = {0, 3, 4, 11, 30};
	struct hth_rowset set = {.n = 5, .index = index};

	(void)state;
	struct hth_add_args a = {.scale = 0.5f, .a = random_tensor(9, 4001, 1), .b = random_tensor(9, 4001, 1)};
	a.y = a.b;
	result_tensor("y", a.y);
	check_case("add", HTH_OP_add, &a);
	a = (struct hth_add_args){.scale = -2, .a = HTH_NO_TENSOR, .b = random_tensor(3, 7, 1), .y = output(3, 7)};
	result_tensor("y", a.y);
	check_case("add without a", HTH_OP_add, &a);
	struct hth_gather_args g = {.rows = &set, .x = random_tensor(31, 19, 1), .y = output(5, 19)};
	result_tensor("y", g.y);
	check_case("gather", HTH_OP_gather, &g);
	struct hth_gather_backward_args b = {.rows = &set, .dy = random_tensor(5, 19, 1), .base = random_tensor(31, 19, 1)};
	b.dx = b.base;
	result_tensor("dx", b.dx);
	check_case("gather_backward in place", HTH_OP_gather_backward, &b);
	b = (struct hth_gather_backward_args){
	        .rows = &set, .dy = random_tensor(5, 19, 1), .base = HTH_NO_TENSOR, .dx = output(31, 19)};
	result_tensor("dx", b.dx);
	check_case("gather_backward", HTH_OP_gather_backward, &b);
}

static void embeddings(void **state)
{
	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		int32_t *ids = positions_from(0, 1, 37);
		struct hth_batch batch = {.n_tokens = 37, .ids = ids};
		struct hth_weight w = random_weight((enum hth_quant)q, 40, 512);
		struct hth_embed_args a = {.batch = &batch, .w = &w, .scale = 3, .y = output(37, 512)};
		result_tensor("y", a.y);
		check_case("embed", HTH_OP_embed, &a);
	}
	int32_t *ids = positions_from(0, 1, 37);
	ids[5] = ids[17] = 2;
	struct hth_batch batch = {.n_tokens = 37, .ids = ids};
	struct hth_weight w = random_weight(HTH_QUANT_F32, 40, 130);
	w.head_rows = 10;
	struct hth_embed_backward_args b = {.batch = &batch, .w = &w, .scale = 0.5f, .dy = random_tensor(37, 130, 1)};
	result("dw", trained(&w)->grad, 40 * 130);
	check_case("embed_backward", HTH_OP_embed_backward, &b);
}

/* A batch whose outs have rows without a target, several targets in a row, and weights. */
static struct hth_batch *batch_of_outs(int32_t rows, int32_t vocabulary)
{
	struct hth_batch *b = case_alloc(sizeof *b);

	b->n_outs = rows + 5;
	b->outs = case_alloc((size_t)b->n_outs * sizeof *b->outs);
	b->out_row = case_alloc((size_t)b->n_outs * sizeof *b->out_row);
	for (int32_t o = 0; o < b->n_outs; o++) {
		b->out_row[o] = o < rows ? o : (o * 7) % rows;
		b->outs[o] = (struct hth_out){.row = b->out_row[o],
		                              .target = o % 6 == 4 ? -1 : (o * 389) % vocabulary,
		                              .weight = 0.1f + 0.01f * (float)(o % 9)};
	}
	return b;
}

static struct hth_head head_of(struct hth_weight *w, int i)
{
	return (struct hth_head){.w = w, .scale = i & 1 ? 0.5f : 1, .soft_cap = i & 2 ? 5.0f : 0};
}

static void heads(void **state)
{
	static const int32_t rows[] = {1, 4, 5, 70}, vocabularies[] = {3, 1024, 2100, 300};
	static const enum hth_quant quants[] = {HTH_QUANT_F32, HTH_QUANT_Q4_K, HTH_QUANT_Q8_0, HTH_QUANT_BF16};

	(void)state;
	for (int i = 0; i < 4; i++)
		for (int fused = 0; fused < 2; fused++) {
			int64_t width = 256;
			struct hth_weight w = random_weight(quants[i], vocabularies[i], width);
			struct hth_logp_args a = {.batch = batch_of_outs(rows[i], vocabularies[i]),
			                          .head = head_of(&w, i),
			                          .x = random_tensor(rows[i], width, 0.3f),
			                          .lse = output(1, rows[i])};
			a.logp = output(1, a.batch->n_outs);
			a.dx = fused ? output(rows[i], width) : HTH_NO_TENSOR;
			result_tensor("logp", a.logp);
			result_tensor("lse", a.lse);
			result_tensor("dx", a.dx);
			check_case("logp", HTH_OP_logp, &a);
			struct hth_weight v = random_weight(quants[i], vocabularies[i], width);
			v.head_rows = 0;
			struct hth_logits_args l = {.head = head_of(&v, i + fused),
			                            .x = random_tensor(rows[i], width, 0.3f),
			                            .y = output(rows[i], vocabularies[i])};
			result_tensor("y", l.y);
			if (rows[i] <= HTH_MATVEC_MAX_ROWS && quants[i] == HTH_QUANT_Q4_K) {
				tolerance = TOLERANCE_BLOCKS;
				least_size = 12; /* of sums, before a soft cap of 5 */
			}
			check_case("logits", HTH_OP_logits, &l);
		}
}

static void trained_heads_and_given_gradients(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		int32_t rows = 33, vocabulary = i < 2 ? 1500 : 90;
		int64_t width = 100;
		struct hth_weight w = random_weight(HTH_QUANT_F32, vocabulary, width);
		struct hth_logp_args a = {.batch = batch_of_outs(rows, vocabulary),
		                          .head = head_of(&w, i),
		                          .x = random_tensor(rows, width, 0.3f),
		                          .lse = output(1, rows),
		                          .dx = output(rows, width)};
		a.logp = output(1, a.batch->n_outs);
		result_tensor("logp", a.logp);
		result_tensor("dx", a.dx);
		result("dw", trained(&w)->grad, vocabulary * width);
		check_case("logp of a trained head", HTH_OP_logp, &a);

		w = random_weight(HTH_QUANT_F32, vocabulary, width);
		struct hth_logp_backward_args b = {.batch = batch_of_outs(rows, vocabulary),
		                                   .head = head_of(&w, i),
		                                   .x = random_tensor(rows, width, 0.3f),
		                                   .dx = output(rows, width)};
		b.lse = random_tensor(1, rows, 0.1f);
		for (int32_t r = 0; r < rows; r++)
			((float *)b.lse.ctx)[r] += 7.5f;
		b.dlogp = random_tensor(1, b.batch->n_outs, 1);
		result_tensor("dx", b.dx);
		if (i & 1)
			result("dw", trained(&w)->grad, vocabulary * width);
		check_case("logp_backward", HTH_OP_logp_backward, &b);
	}
}

static struct hth_param *param(int64_t rows, int64_t cols, bool with_grad)
{
	struct hth_param *p = case_alloc(sizeof *p);

	*p = (struct hth_param){.name = "p", .rows = rows, .cols = cols};
	p->value = random_floats(rows * cols, 1);
	p->grad = with_grad ? random_floats(rows * cols, 1) : NULL;
	p->m = random_floats(rows * cols, 0.1f);
	p->v = random_floats(rows * cols, 0.1f);
	for (int64_t i = 0; i < rows * cols; i++)
		p->v[i] *= p->v[i];
	return p;
}

static void optimizer(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct hth_param *params[4] = {param(8, 5000, true), param(3, 3, false), param(0, 7, true), param(1, 33, true)};
		double norm = 0;
		struct hth_grad_norm_args n = {.params = params, .n = i == 2 ? 0 : 4, .out = &norm};
		float seen[2] = {0};
		run_on(&hth_backend_ref, NULL, 1, HTH_OP_grad_norm, &n);
		double want = norm;
		for (int threads = 1; threads < 4; threads++) {
			run_on(&hth_backend_cpu, NULL, threads, HTH_OP_grad_norm, &n);
			assert_true(fabs(norm - want) <= 1e-12 * want);
			seen[threads > 1] = (float)(norm - want);
			assert_true(threads == 1 || seen[0] == seen[1]);
		}
		struct hth_adamw_args a = {.params = params, .n = 4, .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f,
		                           .eps = 1e-8f, .weight_decay = 0.1f, .grad_scale = 0.5f, .bias_correction = i < 2,
		                           .step = 1 + i * 100};
		for (int p = 0; p < 4; p++) {
			int64_t elems = params[p]->rows * params[p]->cols;
			result("value", params[p]->value, elems);
			result("m", params[p]->m, elems);
			result("v", params[p]->v, elems);
			if (params[p]->grad != NULL)
				result("grad", params[p]->grad, elems);
		}
		check_case("adamw", HTH_OP_adamw, &a);
	}
}

static void bf16_is_refused_where_only_ref_has_it_and_describe_names_the_set(void **state)
{
	struct hth_device *dev;
	struct hth_err err;
	struct hth_device_config cfg = {.compute = HTH_COMPUTE_BF16, .kernels = "ref"};
	const char *plain = hth_kernels_find("avx2").present ? "avx2" : "neon";

	(void)state;
	assert_ok(hth_backend_cpu.open(&cfg, &dev, &err));
	assert_string_equal(hth_backend_cpu.describe(dev), "cpu ref, 1 thread, bf16");
	hth_backend_cpu.close(dev);
	cfg.kernels = plain;
	if (hth_kernels_find(plain).present)
		assert_fails(hth_backend_cpu.open(&cfg, &dev, &err), HTH_ERR_UNAVAILABLE, "use --compute f32");
	cfg = (struct hth_device_config){.kernels = "ref"}; /* auto */
	assert_ok(hth_backend_cpu.open(&cfg, &dev, &err));
	assert_string_equal(hth_backend_cpu.describe(dev), "cpu ref, 1 thread, f32");
	hth_backend_cpu.close(dev);
	cfg.kernels = "none";
	assert_fails(hth_backend_cpu.open(&cfg, &dev, &err), HTH_ERR_USAGE, "none");
}

static void states_of_absurd_size_are_refused(void **state)
{
	struct hth_state_shape huge = {.n_layers = INT32_MAX, .n_kv = INT64_MAX, .head = 64, .capacity = INT64_MAX};
	struct hth_state_shape fine = {.n_layers = 2, .n_kv = 3, .head = 80, .capacity = 100}, negative = {.n_layers = -1};
	struct hth_state *s;
	struct hth_err err;

	(void)state;
	assert_true(hth_backend_cpu.state_bytes(&huge) == UINT64_MAX);
	assert_true(hth_backend_cpu.state_bytes(&negative) == UINT64_MAX);
	/* 256 tokens by twice 96 columns of two bytes */
	assert_int_equal(hth_backend_cpu.state_bytes(&fine), 2 * 3 * 256 * (96 + 96) * 2);
	/* Layers 1 and 9 of 10 have one head of 32, the others three of 96. */
	struct hth_state_shape mixed = {.n_layers = 10, .n_kv = 3, .head = 80, .local_kv = 1, .local_head = 32, .local = {2, 2},
	                                .capacity = 257};
	assert_int_equal(hth_backend_cpu.state_bytes(&mixed), 2 * 256 * 2 * 2 * (8 * 3 * 96 + 2 * 32));
	assert_int_equal(hth_backend_find("ref")->state_bytes(&mixed), 257 * 4 * 2 * (8 * 3 * 80 + 2 * 32));
	mixed.local_head = -1;
	assert_true(hth_backend_cpu.state_bytes(&mixed) == UINT64_MAX);
	mixed = (struct hth_state_shape){.n_layers = HTH_STATE_LAYERS + 1};
	assert_true(hth_backend_cpu.state_bytes(&mixed) == UINT64_MAX);
	assert_fails(hth_backend_cpu.state_new(NULL, &huge, &s, &err), HTH_ERR_MEMORY, "keys and values");
	hth_mem_fail_at(2, false);
	assert_fails(hth_backend_cpu.state_new(NULL, &fine, &s, &err), HTH_ERR_MEMORY, "keys and values");
	hth_mem_fail_at(0, false);
	hth_backend_cpu.state_free(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        CASE_TEST(norms),
	        CASE_TEST(norm_backwards),
	        CASE_TEST(rotations),
	        CASE_TEST(row_gates),
	        CASE_TEST(gated_units),
	        CASE_TEST(sums_and_gathers),
	        CASE_TEST(embeddings),
	        CASE_TEST(heads),
	        CASE_TEST(trained_heads_and_given_gradients),
	        CASE_TEST(optimizer),
	        CASE_TEST(bf16_is_refused_where_only_ref_has_it_and_describe_names_the_set),
	        CASE_TEST(states_of_absurd_size_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
