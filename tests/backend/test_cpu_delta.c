/* The layers that recur on the cpu backend against ref: slices, convolutions and the gated delta rule over trees of
 * segments and odd sizes; sequences in steps through a state; what a state remembers. */
#include "cpu_case.h"

static const int32_t one[][2] = {{1, -1}};
static const int32_t alone[][2] = {{77, -1}};
static const int32_t family[][2] = {{20, -1}, {1, 0}, {17, 0}, {40, 0}, {2, 2}, {9, -1}, {16, 4}};
static const int32_t rows_apart[][2] = {{3, -1}, {5, -1}, {1, -1}, {33, -1}};
static const struct {
	const int32_t (*seg)[2];
	int32_t n;
} trees[] = {{one, 1}, {alone, 1}, {family, 7}, {rows_apart, 4}};

static const struct hth_delta_shape shapes[] = {
	{.n_key = 1, .n_value = 1, .key = 3, .value = 5},
	{.n_key = 2, .n_value = 4, .key = 16, .value = 32},
	{.n_key = 2, .n_value = 6, .key = 20, .value = 70, .tiled = true},
	{.n_key = 3, .n_value = 3, .key = 128, .value = 33},
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static struct hth_weight *vector(int64_t n)
{
	struct hth_weight *w = case_alloc(sizeof *w);

	*w = random_weight(HTH_QUANT_F32, 1, n);
	return w;
}

static void slices(void **state)
{
	static const int64_t cases[][4] = {{3, 1, 0, 1}, {7, 12, 0, 6}, {7, 12, 6, 6}, {200, 20, 3, 11}}; /* G, group, first, n */

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (int base = 0; base < 3; base++) {
			int64_t g = cases[i][0], group = cases[i][1], n = cases[i][3];
			struct hth_slice_args a = {.group = group, .first = cases[i][2], .n = n, .x = random_tensor(9, g * group, 2),
			                           .y = output(9, g * n)};
			result_tensor("y", a.y);
			check_case("slice", HTH_OP_slice, &a);
			struct hth_slice_backward_args b = {.group = group, .first = cases[i][2], .n = n,
			                                    .dy = random_tensor(9, g * n, 2), .base = HTH_NO_TENSOR};
			b.dx = base == 2 ? random_tensor(9, g * group, 2) : output(9, g * group);
			if (base > 0)
				b.base = base == 2 ? b.dx : random_tensor(9, g * group, 2);
			result_tensor("dx", b.dx);
			check_case("slice_backward", HTH_OP_slice_backward, &b);
		}
}

static void convolutions_over_trees(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		for (int64_t taps = 1; taps <= 16; taps += 3)
			for (int64_t cols = 5; cols < 300; cols += 252) {
				struct hth_arena arena;
				hth_arena_init(&arena, 1 << 20);
				struct hth_batch *b = case_tree(&arena, trees[i].seg, trees[i].n, true);
				struct hth_conv_args a = {.batch = b, .taps = taps, .w = vector(cols * taps),
				                          .x = random_tensor(b->n_tokens, cols, 2), .y = output(b->n_tokens, cols)};
				result_tensor("y", a.y);
				check_case("conv", HTH_OP_conv, &a);
				b = case_tree(&arena, trees[i].seg, trees[i].n, true);
				struct hth_weight *w = vector(cols * taps);
				struct hth_conv_backward_args g = {.batch = b, .taps = taps, .w = w,
				                                   .x = random_tensor(b->n_tokens, cols, 2),
				                                   .dy = random_tensor(b->n_tokens, cols, 1),
				                                   .base = taps % 2 ? HTH_NO_TENSOR : random_tensor(b->n_tokens, cols, 1),
				                                   .dx = output(b->n_tokens, cols)};
				if (taps % 3 == 1)
					result("dw", trained(w)->grad, cols * taps);
				result_tensor("dx", g.dx);
				check_case("conv_backward", HTH_OP_conv_backward, &g);
				hth_arena_clear(&arena);
			}
}

static void delta_rules_over_trees(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < SHAPES; j++) {
			const struct hth_delta_shape *s = &shapes[j];
			struct hth_arena arena;
			hth_arena_init(&arena, 1 << 20);
			struct hth_batch *b = case_tree(&arena, trees[i].seg, trees[i].n, true);
			int64_t t = b->n_tokens, cols = hth_delta_cols(s), wide = s->n_value * s->value;
			struct hth_delta_args a = {.batch = b, .shape = *s, .a_log = vector(s->n_value), .dt = vector(s->n_value),
			                           .x = random_tensor(t, cols, 1), .a = random_tensor(t, s->n_value, 2),
			                           .b = random_tensor(t, s->n_value, 2), .y = output(t, wide)};
			result_tensor("y", a.y);
			check_case("delta", HTH_OP_delta, &a);

			b = case_tree(&arena, trees[i].seg, trees[i].n, true);
			struct hth_weight *a_log = vector(s->n_value), *dt = vector(s->n_value);
			struct hth_delta_backward_args g = {.batch = b, .shape = *s, .a_log = a_log, .dt = dt,
			                                    .x = random_tensor(t, cols, 1), .a = random_tensor(t, s->n_value, 2),
			                                    .b = random_tensor(t, s->n_value, 2), .dy = random_tensor(t, wide, 1),
			                                    .dx = output(t, cols), .da = output(t, s->n_value),
			                                    .db = output(t, s->n_value)};
			result_tensor("dx", g.dx);
			result_tensor("da", g.da);
			result_tensor("db", g.db);
			if (j % 2 == 0) {
				result("da_log", trained(a_log)->grad, s->n_value);
				result("ddt", trained(dt)->grad, s->n_value);
			}
			tolerance = 5e-5; /* sums of sums along the sequence */
			check_case("delta_backward", HTH_OP_delta_backward, &g);
			hth_arena_clear(&arena);
		}
}

/* --- states --- */

enum { WHOLE = 91, TAPS = 4 };

struct rig {
	const struct hth_backend *backend;
	struct hth_device *dev;
	struct hth_state *past;
	struct hth_arena arena;
	const struct hth_delta_shape *s;
	struct hth_conv_args conv;
	struct hth_delta_args delta;
};

/* All of a sequence in one pass without a state on ref: what steps must give. */
static void rig_open(struct rig *r, const struct hth_backend *backend, const char *set, const struct hth_delta_shape *s)
{
	static const int32_t whole[][2] = {{WHOLE, -1}};
	int64_t cols = hth_delta_cols(s);
	struct hth_state_shape shape = {.n_layers = 1, .n_kv = 1, .head = 4, .capacity = WHOLE,
	                                .recurrent = {.n_layers = 2, .elems = {(TAPS - 1) * cols,
	                                                                       s->n_value * s->key * s->value}}};
	struct hth_device_config cfg = {.kernels = set};
	struct hth_err err;

	*r = (struct rig){.backend = backend, .s = s};
	hth_arena_init(&r->arena, 1 << 20);
	struct hth_batch *b = case_tree(&r->arena, whole, 1, true);
	r->conv = (struct hth_conv_args){.batch = b, .layer = 1, .taps = TAPS, .w = vector(cols * TAPS),
	                                 .x = random_tensor(WHOLE, cols, 2), .y = output(WHOLE, cols)};
	r->delta = (struct hth_delta_args){.batch = b, .layer = 1, .shape = *s, .a_log = vector(s->n_value),
	                                   .dt = vector(s->n_value), .x = r->conv.x, .a = random_tensor(WHOLE, s->n_value, 2),
	                                   .b = random_tensor(WHOLE, s->n_value, 2),
	                                   .y = output(WHOLE, s->n_value * s->value)};
	run_on(&hth_backend_ref, NULL, 1, HTH_OP_conv, &r->conv);
	run_on(&hth_backend_ref, NULL, 1, HTH_OP_delta, &r->delta);
	assert_ok(backend->open(&cfg, &r->dev, &err));
	assert_ok(backend->state_new(r->dev, &shape, &r->past, &err));
}

static void rig_close(struct rig *r)
{
	r->backend->state_free(r->dev, r->past);
	r->backend->close(r->dev);
	hth_arena_clear(&r->arena);
	case_clear();
}

static void check_rows(struct hth_tensor got, struct hth_tensor whole, int64_t at)
{
	const float *want = (const float *)whole.ctx + at * whole.cols;

	for (int64_t e = 0; e < got.rows * got.cols; e++)
		if (!(fabsf(((float *)got.ctx)[e] - want[e]) <= 3e-5f))
			fail_msg("token %lld, element %lld: %.9g, expected %.9g", (long long)(at + e / got.cols), (long long)e,
			         (double)((float *)got.ctx)[e], (double)want[e]);
}

static struct hth_tensor rows_of(struct hth_tensor t, int64_t at, int64_t n)
{
	return tensor_of((float *)t.ctx + at * t.cols, n, t.cols);
}

/* Tokens at .. at+n-1 of the sequence through the state; child > 0: the last of them as a segment of their own, whose
 * parent continues the state. */
static void step(struct rig *r, const char *set, int threads, int32_t at, int32_t n, int32_t child)
{
	struct hth_segment seg[2] = {{.len = n - child, .parent = -1, .past = at, .adapter = -1, .causal = true},
	                             {.start = n - child, .len = child, .parent = 0, .state = -1, .adapter = -1, .causal = true}};
	struct hth_batch b = {.n_tokens = n, .n_segments = child > 0 ? 2 : 1, .segments = seg, .n_states = 1,
	                      .states = &r->past};
	struct hth_conv_args conv = r->conv;
	struct hth_delta_args delta = r->delta;
	struct hth_err err;

	b.ids = hth_arena_calloc(&r->arena, (size_t)n, sizeof *b.ids);
	b.positions = hth_arena_calloc(&r->arena, (size_t)n, sizeof *b.positions);
	for (int32_t t = 0; t < n; t++)
		b.positions[t] = at + t;
	assert_ok(hth_batch_finish(&b, &r->arena, &err));
	conv.batch = delta.batch = &b;
	conv.x = delta.x = rows_of(r->conv.x, at, n);
	delta.a = rows_of(r->delta.a, at, n);
	delta.b = rows_of(r->delta.b, at, n);
	conv.y = output(n, conv.x.cols);
	delta.y = output(n, r->delta.y.cols);
	run_on(r->backend, set, threads, HTH_OP_conv, &conv);
	run_on(r->backend, set, threads, HTH_OP_delta, &delta);
	check_rows(conv.y, r->conv.y, at);
	check_rows(delta.y, r->delta.y, at);
}

/* Runs fn on ref, and on cpu with every set. */
static void on_all(void (*fn)(struct rig *r, const char *set))
{
	for (int j = 0; j < SHAPES; j++)
		for (int s = -1; s < 0 || hth_kernels_info(s).name != NULL; s++) {
			struct rig r;
			const char *set = s < 0 ? NULL : hth_kernels_info(s).name;
			if (s >= 0 && !hth_kernels_info(s).present)
				continue;
			rig_open(&r, s < 0 ? &hth_backend_ref : &hth_backend_cpu, set, &shapes[j]);
			fn(&r, set);
			rig_close(&r);
		}
}

static void in_steps(struct rig *r, const char *set)
{
	static const int32_t steps[] = {1, 1, 30, 1, 2, 1, 1, 1, 50, 3};
	int32_t at = 0;

	for (int i = 0; i < 10; at += steps[i++])
		step(r, set, 1 + i % 3, at, steps[i], 0);
	assert_int_equal(at, WHOLE);
}

static void steps_through_a_state_give_the_rows_of_one_pass(void **state)
{
	(void)state;
	on_all(in_steps);
}

static void with_children(struct rig *r, const char *set)
{
	step(r, set, 1, 0, 40, 15); /* the state stands at 25 */
	step(r, set, 2, 25, 10, 1);
	step(r, set, 2, 34, 5, 2);
	step(r, set, 1, 37, 4, 0);
}

static void children_of_a_state_do_not_move_it(void **state)
{
	(void)state;
	on_all(with_children);
}

static void going_back(struct rig *r, const char *set)
{
	assert_int_equal(r->backend->state_reach(r->past, 50), 0);
	step(r, set, 1, 0, 20, 0);
	assert_int_equal(r->backend->state_reach(r->past, 50), 0); /* layer 0 saw nothing yet */
	r->conv.layer = r->delta.layer = 0;
	step(r, set, 1, 0, 20, 0);
	assert_int_equal(r->backend->state_reach(r->past, 50), 20);
	for (int layer = 0; layer < 2; layer++) {
		r->conv.layer = r->delta.layer = layer;
		step(r, set, 1, 20, 20, 0);
		for (int32_t at = 40; at < 60; at++)
			step(r, set, 1, at, 1, 0);
	}
	/* The last two tokens' marks, and the ends of both longer segments. */
	assert_int_equal(r->backend->state_reach(r->past, 100), 60);
	assert_int_equal(r->backend->state_reach(r->past, 59), 59);
	assert_int_equal(r->backend->state_reach(r->past, 58), 40);
	assert_int_equal(r->backend->state_reach(r->past, 39), 20);
	assert_int_equal(r->backend->state_reach(r->past, 19), 0);
	for (int layer = 0; layer < 2; layer++) {
		r->conv.layer = r->delta.layer = layer;
		step(r, set, 1, 40, 3, 0);
	}
	/* What came after 40 is forgotten. */
	assert_int_equal(r->backend->state_reach(r->past, 100), 43);
	assert_int_equal(r->backend->state_reach(r->past, 42), 40);
}

static void a_state_goes_back_to_what_it_remembers(void **state)
{
	(void)state;
	on_all(going_back);
}

static void nothing_remembered_is_refused(void **state)
{
	const struct hth_backend *backends[] = {&hth_backend_ref, &hth_backend_cpu};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct rig r;
		struct hth_err err;
		float scratch[4096];
		rig_open(&r, backends[i], NULL, &shapes[0]);
		step(&r, NULL, 1, 0, 7, 0);
		struct hth_segment seg = {.len = 1, .parent = -1, .past = 5, .adapter = -1, .causal = true};
		int32_t id = 0, position = 5;
		struct hth_batch b = {.n_tokens = 1, .ids = &id, .positions = &position, .n_segments = 1, .segments = &seg,
		                      .n_states = 1, .states = &r.past};
		assert_ok(hth_batch_finish(&b, &r.arena, &err));
		struct hth_delta_args a = r.delta;
		a.batch = &b;
		a.x.rows = a.a.rows = a.b.rows = a.y.rows = 1;
		assert_fails(r.backend->slot[HTH_OP_delta].run(r.dev, &a, scratch, &err), HTH_ERR_USAGE, "token 5");
		a.layer = 2;
		assert_fails(r.backend->slot[HTH_OP_delta].run(r.dev, &a, scratch, &err), HTH_ERR_SHAPE, "not in the state");
		struct hth_conv_args c = r.conv;
		c.batch = &b;
		c.x.rows = c.y.rows = 1;
		c.taps = 3;
		assert_fails(r.backend->slot[HTH_OP_conv].run(r.dev, &c, scratch, &err), HTH_ERR_SHAPE, "not in the state");
		rig_close(&r);
	}
}

static void sizes_out_of_range_and_lack_of_memory(void **state)
{
	const struct hth_recurrent_shape huge = {.n_layers = 1 << 20, .elems = {INT64_MAX / 4, INT64_MAX / 4}};
	const struct hth_recurrent_shape small = {.n_layers = 2, .elems = {10, 20}};
	struct hth_recurrent *r;
	struct hth_err err;

	(void)state;
	assert_true(hth_recurrent_bytes(&huge) == UINT64_MAX);
	assert_true(hth_recurrent_bytes(&(struct hth_recurrent_shape){.n_layers = -1}) == UINT64_MAX);
	assert_true(hth_recurrent_bytes(&small) == 2 * 30 * HTH_RECURRENT_MARKS * sizeof(float));
	assert_fails(hth_recurrent_new(&huge, &r, &err), HTH_ERR_MEMORY, "recur");
	for (uint64_t n = 1; n <= 3; n++) {
		hth_mem_fail_at(n, false);
		assert_fails(hth_recurrent_new(&small, &r, &err), HTH_ERR_MEMORY, "recur");
		assert_null(r);
	}
	hth_mem_fail_at(0, false);
	hth_recurrent_free(NULL);
	assert_int_equal(hth_recurrent_reach(NULL, 7), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE_TEST(slices),
		CASE_TEST(convolutions_over_trees),
		CASE_TEST(delta_rules_over_trees),
		CASE_TEST(steps_through_a_state_give_the_rows_of_one_pass),
		CASE_TEST(children_of_a_state_do_not_move_it),
		CASE_TEST(a_state_goes_back_to_what_it_remembers),
		CASE_TEST(nothing_remembered_is_refused),
		CASE_TEST(sizes_out_of_range_and_lack_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
