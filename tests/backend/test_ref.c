/* The definition of every op against PyTorch (tests/golden/ops.h, made in double by tools/golden_ops.py), on every
 * backend of this build. TOLERANCE: f32 outputs of a dozen terms of size 1 to 10. */
#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "golden/ops.h"
#include "support.h"

#include <math.h>

#define TOLERANCE 5e-6

static struct hth_device *device;
static const struct hth_backend *backend;

/* The inputs of tools/golden_ops.py. */
static void ramp(float *x, int k, int n)
{
	for (int i = 0; i < n; i++)
		x[i] = (float)((37 * i + 11 * k) % 23 - 11) / 8.0f;
}

static struct hth_tensor tensor(float *data, int64_t rows, int64_t cols)
{
	return (struct hth_tensor){.ctx = data, .id = 0, .dtype = HTH_DTYPE_F32, .rows = rows, .cols = cols};
}

static struct hth_weight weight(const float *data, int64_t rows, int64_t cols)
{
	return (struct hth_weight){.name = "w", .quant = HTH_QUANT_F32, .rows = rows, .cols = cols,
	                           .data = (const uint8_t *)data, .row_bytes = (uint64_t)cols * 4};
}

/* False where the backend lacks the op. */
static bool call(enum hth_op op, const void *args)
{
	const struct hth_slot *slot = &backend->slot[op];
	struct hth_machine machine = {.threads = 1};
	struct hth_cost cost = {0};
	struct hth_err err;

	if (slot->run == NULL)
		return false;
	if (backend->machine != NULL)
		backend->machine(device, &machine);
	slot->cost(&machine, args, &cost);
	void *scratch = hth_alloc_aligned((size_t)cost.scratch_bytes, 64);
	assert_non_null(scratch);
	assert_ok(slot->run(device, args, scratch, &err));
	hth_free(scratch);
	return true;
}

static void check(const float *got, const double *want, int n)
{
	for (int i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[i]) <= TOLERANCE * (1.0 + fabs(want[i]))))
			fail_msg("%s [%d]: %.9g, expected %.9g", backend->name, i, (double)got[i], want[i]);
}

/* Runs a test on each backend. */
static void on_each(void (*test)(void))
{
	struct hth_device_config cfg = {.compute = HTH_COMPUTE_F32};
	struct hth_err err;

	for (int i = 0; hth_backend_at(i) != NULL; i++) {
		backend = hth_backend_at(i);
		assert_ok(backend->open(&cfg, &device, &err));
		test();
		backend->close(device);
	}
}

static void norm(void)
{
	float x[18], w[6], bias[6], y[18];
	ramp(x, 1, 18);
	ramp(w, 2, 6);
	ramp(bias, 3, 6);
	struct hth_weight w6 = weight(w, 1, 6), w3 = weight(w, 1, 3), b6 = weight(bias, 1, 6);
	struct hth_norm_args a = {.kind = HTH_NORM_RMS, .eps = 1e-5f, .width = 6, .w = &w6, .x = tensor(x, 3, 6),
	                          .y = tensor(y, 3, 6), .stats = HTH_NO_TENSOR};

	if (!call(HTH_OP_norm, &a))
		return;
	check(y, golden_rms, 18);
	a.kind = HTH_NORM_LAYER;
	a.bias = &b6;
	call(HTH_OP_norm, &a);
	check(y, golden_layer, 18);
	a = (struct hth_norm_args){.kind = HTH_NORM_RMS, .eps = 1e-5f, .offset = 1.0f, .width = 3, .w = &w3,
	                           .x = tensor(x, 3, 6), .y = tensor(x, 3, 6), .stats = HTH_NO_TENSOR};
	call(HTH_OP_norm, &a);
	check(x, golden_rms_offset_heads, 18);
}

static void norms_equal_pytorch(void **state)
{
	(void)state;
	on_each(norm);
}

static void gated(void)
{
	static const double *const want[] = {golden_silu, golden_gelu_tanh, golden_gelu_erf};
	float gate[10], up[10], y[10];

	ramp(gate, 4, 10);
	ramp(up, 5, 10);
	for (int act = 0; act < 3; act++) {
		struct hth_gated_args a = {.act = (enum hth_act)act, .gate = tensor(gate, 2, 5), .up = tensor(up, 2, 5),
		                           .y = tensor(y, 2, 5)};
		if (call(HTH_OP_gated, &a))
			check(y, want[act], 10);
	}
}

static void gated_units_equal_pytorch(void **state)
{
	(void)state;
	on_each(gated);
}

static void rope(void)
{
	static const int32_t positions[] = {0, 5, 130};
	static const float freq[] = {1.0f, 0.125f};
	struct hth_rowset rows = {.n = 3, .positions = positions};
	float x[36], y[36];

	ramp(x, 6, 36);
	struct hth_rope_args a = {.rows = &rows, .how = {.freq = freq, .head = 6, .rot = 4, .attn_scale = 1.5f},
	                          .x = tensor(x, 3, 12), .y = tensor(y, 3, 12)};
	if (!call(HTH_OP_rope, &a))
		return;
	check(y, golden_rope, 36);
	/* Turning back scales once more: 1.5 * 1.5 on the turned columns. */
	a.inverse = true;
	a.x = a.y;
	call(HTH_OP_rope, &a);
	for (int i = 0; i < 36; i++)
		if (!(fabsf(y[i] - x[i] * (i % 6 < 4 ? 2.25f : 1.0f)) < 1e-5f))
			fail_msg("%s: turned back [%d]: %.9g from %.9g", backend->name, i, (double)y[i], (double)x[i]);
}

static void rope_equals_rotate_half_and_turns_back(void **state)
{
	(void)state;
	on_each(rope);
}

struct attention_batch {
	struct hth_arena arena;
	struct hth_batch b;
	int32_t ids[5], positions[5];
	struct hth_segment segments[3];
};

static void attention_batch(struct attention_batch *t, const struct hth_segment *segments, int n, int n_tokens)
{
	struct hth_err err;

	*t = (struct attention_batch){0};
	hth_arena_init(&t->arena, 1 << 20);
	for (int s = 0; s < n; s++)
		t->segments[s] = segments[s];
	for (int i = 0; i < n_tokens; i++)
		t->positions[i] = segments[0].past + i;
	t->b = (struct hth_batch){.n_tokens = n_tokens, .ids = t->ids, .positions = t->positions, .n_segments = n,
	                          .segments = t->segments, .n_states = segments[0].state >= 0};
	assert_ok(hth_batch_finish(&t->b, &t->arena, &err));
}

/* The same five rows as one segment and as a chain of segments. */
static void attention(void)
{
	static const struct hth_segment one[] = {{.len = 5, .parent = -1, .state = -1, .adapter = -1, .causal = true}};
	static const struct hth_segment chain[] = {
		{.len = 2, .parent = -1, .state = -1, .adapter = -1, .causal = true},
		{.start = 2, .len = 1, .parent = 0, .state = -1, .adapter = -1, .causal = true},
		{.start = 3, .len = 2, .parent = 1, .state = -1, .adapter = -1, .causal = true},
	};
	static const struct hth_segment all[] = {{.len = 5, .parent = -1, .state = -1, .adapter = -1}};
	float q[60], k[30], v[30], y[60], sinks[4];

	ramp(q, 7, 60);
	ramp(k, 8, 30);
	ramp(v, 9, 30);
	ramp(sinks, 10, 4);
	struct hth_weight w = weight(sinks, 1, 4);
	struct hth_attention_shape plain = {.n_head = 4, .n_kv = 2, .head = 3, .scale = 0.5f};
	struct hth_attention_shape window = plain, cap = plain, sink = plain;
	window.window = 2;
	cap.soft_cap = 1.5f;
	sink.sinks = &w;
	struct {
		struct hth_attention_shape shape;
		const double *want;
		const struct hth_segment *segments;
		int n;
	} cases[] = {
		{plain, golden_attention, one, 1},         {plain, golden_attention, chain, 3},
		{window, golden_attention_window, one, 1}, {window, golden_attention_window, chain, 3},
		{cap, golden_attention_cap, one, 1},       {cap, golden_attention_cap, chain, 3},
		{sink, golden_attention_sinks, one, 1},    {sink, golden_attention_sinks, chain, 3},
		{plain, golden_attention_all, all, 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct attention_batch t;
		attention_batch(&t, cases[i].segments, cases[i].n, 5);
		struct hth_attention_args a = {.batch = &t.b, .shape = cases[i].shape, .q = tensor(q, 5, 12),
		                               .k = tensor(k, 5, 6), .v = tensor(v, 5, 6), .y = tensor(y, 5, 12),
		                               .lse = HTH_NO_TENSOR};
		if (call(HTH_OP_attention, &a))
			check(y, cases[i].want, 60);
		hth_arena_clear(&t.arena);
	}
}

static void attention_equals_pytorch_in_one_segment_and_in_a_chain(void **state)
{
	(void)state;
	on_each(attention);
}

/* Three rows, then two more from the state, in the last of its layers; before that the first three once more, shared, with
 * other keys: those must not enter the state. */
static void attention_with_state(struct hth_attention_shape shape, struct hth_state_shape ss, const double *want)
{
	float q[60], k[30], v[30], y[60], other[18];
	struct hth_state *state;
	struct hth_err err;

	if (backend->slot[HTH_OP_attention].run == NULL)
		return;
	ramp(q, 7, 60);
	ramp(k, 8, 30);
	ramp(v, 9, 30);
	assert_ok(backend->state_new(device, &ss, &state, &err));
	assert_true(backend->state_bytes(&ss) >= 2 * 5 * 6 * 2 * 2);
	ramp(other, 11, 18);
	for (int part = 0; part < 3; part++) {
		int first = part == 2 ? 3 : 0, n = part == 2 ? 2 : 3;
		struct hth_segment s = {.len = n, .parent = -1, .past = first, .adapter = -1, .causal = true};
		struct attention_batch t;
		attention_batch(&t, &s, 1, n);
		t.b.states = &state;
		float aside[36];
		struct hth_attention_args a = {.batch = &t.b, .shape = shape, .layer = ss.n_layers - 1,
		                               .q = tensor(q + first * 12, n, 12),
		                               .k = tensor(part == 1 ? other : k + first * 6, n, 6),
		                               .v = tensor(part == 1 ? other : v + first * 6, n, 6),
		                               .y = tensor(part == 1 ? aside : y + first * 12, n, 12), .lse = HTH_NO_TENSOR};
		a.shape.shared = part == 1;
		call(HTH_OP_attention, &a);
		hth_arena_clear(&t.arena);
	}
	check(y, want, 60);
	backend->state_free(device, state);
	backend->state_free(device, NULL);
}

static void state(void)
{
	struct hth_attention_shape shape = {.n_head = 4, .n_kv = 2, .head = 3, .scale = 0.5f};
	struct hth_state_shape alike = {.n_layers = 2, .n_kv = 2, .head = 3, .capacity = 5};
	/* Between layers of another kind, wider or narrower. */
	struct hth_state_shape local = {.n_layers = 10, .n_kv = 5, .head = 40, .local_kv = 2, .local_head = 3, .local = {0x14, 2},
	                                .capacity = 5};
	struct hth_state_shape others = {.n_layers = 10, .n_kv = 2, .head = 3, .local_kv = 1, .local_head = 1, .local = {0xff},
	                                 .capacity = 5};

	attention_with_state(shape, alike, golden_attention);
	attention_with_state(shape, local, golden_attention);
	attention_with_state(shape, others, golden_attention);
	shape.window = 2;
	attention_with_state(shape, alike, golden_attention_window);
	attention_with_state(shape, local, golden_attention_window);
}

static void attention_over_a_state_equals_attention_over_one_batch(void **unused)
{
	(void)unused;
	on_each(state);
}

static void full_state(void)
{
	struct hth_state_shape ss = {.n_layers = 1, .n_kv = 1, .head = 2, .capacity = 4};
	struct hth_segment s = {.len = 3, .parent = -1, .past = 2, .adapter = -1, .causal = true};
	float q[6] = {0}, y[6];
	struct hth_state *st;
	struct attention_batch t;
	struct hth_machine machine = {.threads = 1};
	struct hth_cost cost = {0};
	struct hth_err err;

	if (backend->slot[HTH_OP_attention].run == NULL)
		return;
	assert_ok(backend->state_new(device, &ss, &st, &err));
	attention_batch(&t, &s, 1, 3);
	t.b.states = &st;
	struct hth_attention_args a = {.batch = &t.b, .shape = {.n_head = 1, .n_kv = 1, .head = 2, .scale = 1.0f},
	                               .q = tensor(q, 3, 2), .k = tensor(q, 3, 2), .v = tensor(q, 3, 2),
	                               .y = tensor(y, 3, 2), .lse = HTH_NO_TENSOR};
	if (backend->machine != NULL)
		backend->machine(device, &machine);
	backend->slot[HTH_OP_attention].cost(&machine, &a, &cost);
	void *scratch = hth_alloc_aligned((size_t)cost.scratch_bytes, 64);
	assert_fails(backend->slot[HTH_OP_attention].run(device, &a, scratch, &err), HTH_ERR_LIMIT, "5");
	hth_free(scratch);
	hth_arena_clear(&t.arena);
	backend->state_free(device, st);
}

static void a_state_refuses_tokens_past_its_capacity(void **unused)
{
	(void)unused;
	on_each(full_state);
}

/* Row 0 under the adapter, row 1 under one of twice its scale, row 2 under none. */
static void linear_of_three_runs(struct hth_linear_args *a, struct hth_lora **loras)
{
	static const struct hth_adapter_run runs[] = {
		{.start = 0, .len = 1, .adapter = 0}, {.start = 1, .len = 1, .adapter = 1}, {.start = 2, .len = 1, .adapter = -1}};
	struct hth_rowset rows = {.n = 3, .n_runs = 3, .runs = runs};
	struct hth_lora twice = *loras[0];
	struct hth_lora *both[] = {loras[0], &twice};
	struct hth_linear m = *a->member[0];
	double want[15];

	twice.scale *= 2.0f;
	m.lora = both;
	m.n_adapters = 2;
	for (int i = 0; i < 15; i++)
		want[i] = golden_linear_base[i] + (i < 5 ? 1 : i < 10 ? 2 : 0) * (golden_linear[i] - golden_linear_base[i]);
	a->rows = &rows;
	a->member[0] = &m;
	call(HTH_OP_linear, a);
	check(a->y[0].ctx, want, 15);
}

static void linear(void)
{
	static const struct hth_adapter_run with[] = {{.len = 3, .adapter = 0}}, without[] = {{.len = 3, .adapter = -1}};
	float x[12], w[20], b[5], av[8], bv[10], y[15], xa[6];

	ramp(x, 11, 12);
	ramp(w, 12, 20);
	ramp(b, 13, 5);
	ramp(av, 14, 8);
	ramp(bv, 15, 10);
	struct hth_weight ww = weight(w, 5, 4), wb = weight(b, 1, 5);
	struct hth_lora lora = {.a = {.rows = 2, .cols = 4, .value = av}, .b = {.rows = 5, .cols = 2, .value = bv},
	                        .scale = 2.0f};
	struct hth_lora *loras[] = {&lora};
	struct hth_linear m = {.w = &ww, .bias = &wb, .lora = loras, .n_adapters = 1};
	struct hth_rowset rows = {.n = 3, .n_runs = 1, .runs = with};
	struct hth_linear_args a = {.rows = &rows, .n = 1, .member = {&m}, .x = tensor(x, 3, 4), .y = {tensor(y, 3, 5)},
	                            .xa = {tensor(xa, 3, 2)}};
	struct hth_err err;
	assert_ok(backend->prepare(device, &ww, true, &err));
	if (call(HTH_OP_linear, &a)) {
		check(y, golden_linear, 15);
		rows.runs = without;
		call(HTH_OP_linear, &a);
		check(y, golden_linear_base, 15);
		linear_of_three_runs(&a, loras);
	}
	backend->unprepare(device, &ww);
}

static void linear_equals_pytorch_with_and_without_adapter(void **unused)
{
	(void)unused;
	on_each(linear);
}

/* A is the identity, so xa is drop(x): each element 0 or x / (1 - p), as args.h says by which number. */
static void dropout(void)
{
	enum { ROWS = 50, WIDTH = 8 };
	static const struct hth_adapter_run runs[] = {{.len = ROWS, .adapter = 0}};
	static float x[ROWS * WIDTH], y[ROWS], xa[ROWS * WIDTH], av[WIDTH * WIDTH], w[WIDTH], b[WIDTH];
	int32_t positions[ROWS], examples[ROWS];
	int kept = 0;

	for (int i = 0; i < ROWS * WIDTH; i++)
		x[i] = 3.0f;
	for (int i = 0; i < WIDTH * WIDTH; i++)
		av[i] = i % WIDTH == i / WIDTH ? 1.0f : 0.0f;
	for (int i = 0; i < ROWS; i++) {
		positions[i] = 100 + i % 10;
		examples[i] = 7 + i / 10;
	}
	struct hth_weight ww = weight(w, 1, WIDTH);
	struct hth_lora lora = {.a = {.rows = WIDTH, .cols = WIDTH, .value = av}, .b = {.rows = 1, .cols = WIDTH, .value = b},
	                        .scale = 1.0f, .dropout = 0.25f, .place = 18};
	struct hth_lora *loras[] = {&lora};
	struct hth_linear m = {.w = &ww, .lora = loras, .n_adapters = 1};
	struct hth_rowset rows = {.n = ROWS, .positions = positions, .examples = examples, .n_runs = 1, .runs = runs};
	struct hth_linear_args a = {.rows = &rows, .n = 1, .member = {&m}, .drop = {.on = true, .seed = 5, .step = 3},
	                            .x = tensor(x, ROWS, WIDTH), .y = {tensor(y, ROWS, 1)},
	                            .xa = {tensor(xa, ROWS, WIDTH)}};
	struct hth_rng_key key = hth_rng_key(5, HTH_RNG_DROPOUT, 18, 3);
	struct hth_err err;
	assert_ok(backend->prepare(device, &ww, true, &err));
	if (call(HTH_OP_linear, &a)) {
		for (int i = 0; i < ROWS * WIDTH; i++) {
			int t = i / WIDTH, c = i % WIDTH;
			bool keep = hth_rng_uniform(key, (uint64_t)examples[t] << 32 | (uint64_t)positions[t], (uint64_t)c) >=
			            0.25f;
			assert_true(fabsf(xa[i] - (keep ? 4.0f : 0.0f)) < 1e-5f);
			kept += keep;
		}
		assert_true(kept > 270 && kept < 330); /* 300 of 400, deviation 8.7 */
		a.drop.on = false;
		call(HTH_OP_linear, &a);
		for (int i = 0; i < ROWS * WIDTH; i++)
			assert_true(fabsf(xa[i] - 3.0f) < 1e-5f);
	}
	backend->unprepare(device, &ww);
}

static void dropout_is_keyed_by_example_position_and_place(void **unused)
{
	(void)unused;
	on_each(dropout);
}

static void head(void)
{
	static const int32_t index[] = {0, 1};
	float x[8], w[28], y[14], logp[15], lse[2];
	int32_t out_row[15];
	struct hth_out outs[15];
	struct hth_batch b = {.n_tokens = 2, .n_outs = 15, .outs = outs, .out_row = out_row,
	                      .wanted = {.n = 2, .index = index}};
	struct hth_err err;

	ramp(x, 16, 8);
	ramp(w, 17, 28);
	for (int o = 0; o < 15; o++) {
		out_row[o] = o / 7 % 2;
		outs[o] = (struct hth_out){.row = out_row[o], .target = o == 14 ? -1 : o % 7, .weight = 1.0f};
	}
	struct hth_weight ww = weight(w, 7, 4);
	assert_ok(backend->prepare(device, &ww, true, &err));
	struct hth_head h = {.w = &ww, .scale = 0.5f, .soft_cap = 2.0f};
	struct hth_logits_args a = {.head = h, .x = tensor(x, 2, 4), .y = tensor(y, 2, 7)};
	if (call(HTH_OP_logits, &a))
		check(y, golden_logits, 14);
	struct hth_logp_args l = {.batch = &b, .head = h, .x = tensor(x, 2, 4), .logp = tensor(logp, 1, 15),
	                          .lse = tensor(lse, 1, 2), .dx = HTH_NO_TENSOR};
	if (call(HTH_OP_logp, &l)) {
		check(logp, golden_logp, 14);
		assert_true(logp[14] == 0.0f);
	}
	backend->unprepare(device, &ww);
}

static void head_equals_pytorch_for_every_target(void **unused)
{
	(void)unused;
	on_each(head);
}

static void adamw(void)
{
	float value[6], grad[6], m[6] = {0}, v[6] = {0};
	struct hth_param p = {.name = "p", .rows = 2, .cols = 3, .value = value, .grad = grad, .m = m, .v = v};
	struct hth_param frozen = {.name = "frozen", .rows = 1, .cols = 1, .value = value};
	struct hth_param *params[] = {&frozen, &p};
	double sum = 0.0;

	ramp(value, 18, 6);
	for (int step = 1; step <= 3; step++) {
		ramp(grad, 20 + step, 6);
		struct hth_grad_norm_args n = {.params = params, .n = 2, .out = &sum};
		double want = 0.0;
		for (int i = 0; i < 6; i++)
			want += (double)grad[i] * grad[i];
		if (call(HTH_OP_grad_norm, &n))
			assert_true(fabs(sum - want) < 1e-12);
		struct hth_adamw_args a = {.params = params, .n = 2, .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-6f,
		                           .weight_decay = 0.1f, .grad_scale = 0.5f, .bias_correction = true, .step = step};
		if (!call(HTH_OP_adamw, &a))
			return;
		for (int i = 0; i < 6; i++)
			assert_true(grad[i] == 0.0f);
	}
	check(value, golden_adamw, 6);
}

static void adamw_equals_pytorch_over_three_steps(void **unused)
{
	(void)unused;
	on_each(adamw);
}

static void backends_are_found_by_name(void **unused)
{
	(void)unused;
	assert_non_null(hth_backend_find("ref"));
	for (int i = 0; hth_backend_at(i) != NULL; i++)
		assert_ptr_equal(hth_backend_find(hth_backend_at(i)->name), hth_backend_at(i));
	assert_string_equal(hth_backend_find("ref")->name, "ref");
	assert_null(hth_backend_find("re"));
	assert_null(hth_backend_at(-1));
	assert_null(hth_backend_at(1000));
}

static void ref_state_refuses_sizes_past_64_bits(void **unused)
{
	const struct hth_backend *ref = hth_backend_find("ref");
	struct hth_state_shape big = {.n_layers = INT32_MAX, .n_kv = INT64_MAX, .head = 256, .capacity = INT64_MAX};
	struct hth_device_config cfg = {.compute = HTH_COMPUTE_BF16};
	struct hth_state *st;
	struct hth_err err;

	(void)unused;
	assert_true(ref->state_bytes(&big) == UINT64_MAX);
	assert_fails(ref->open(&cfg, &device, &err), HTH_ERR_UNAVAILABLE, "f32");
	cfg.compute = HTH_COMPUTE_F32;
	assert_ok(ref->open(&cfg, &device, &err));
	assert_fails(ref->state_new(device, &big, &st, &err), HTH_ERR_MEMORY, "state");
	assert_null(st);
	ref->close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(norms_equal_pytorch),
		cmocka_unit_test(gated_units_equal_pytorch),
		cmocka_unit_test(rope_equals_rotate_half_and_turns_back),
		cmocka_unit_test(attention_equals_pytorch_in_one_segment_and_in_a_chain),
		cmocka_unit_test(attention_over_a_state_equals_attention_over_one_batch),
		cmocka_unit_test(a_state_refuses_tokens_past_its_capacity),
		cmocka_unit_test(linear_equals_pytorch_with_and_without_adapter),
		cmocka_unit_test(dropout_is_keyed_by_example_position_and_place),
		cmocka_unit_test(head_equals_pytorch_for_every_target),
		cmocka_unit_test(adamw_equals_pytorch_over_three_steps),
		cmocka_unit_test(backends_are_found_by_name),
		cmocka_unit_test(ref_state_refuses_sizes_past_64_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
