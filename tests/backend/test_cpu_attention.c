/* Attention of the cpu backend against ref: trees of segments, windows, soft caps, sinks, shared kv heads, odd head
 * sizes, a past kept in a state. */
#include "base/num.h"
#include "cpu_case.h"

static const int32_t one[][2] = {{1, -1}};
static const int32_t alone[][2] = {{150, -1}};
static const int32_t family[][2] = {{70, -1}, {1, 0}, {33, 0}, {140, 0}, {20, 2}, {9, -1}};
static const int32_t rows_apart[][2] = {{3, -1}, {5, -1}, {1, -1}, {64, -1}};
static const struct {
	const int32_t (*seg)[2];
	int32_t n;
} trees[] = {{one, 1}, {alone, 1}, {family, 6}, {rows_apart, 4}};

struct variant {
	int64_t heads, kv, head, window;
	float soft_cap;
	bool sinks, causal;
};
static const struct variant variants[] = {
        {9, 3, 64, 0, 0, false, true},   {4, 4, 16, 25, 0, false, true},  {4, 1, 80, 0, 5, false, true},
        {2, 2, 10, 40, 3, true, true},   {8, 2, 128, 0, 0, true, true},   {2, 1, 64, 0, 0, false, false},
        {2, 1, 256, 7, 0, false, true},  {6, 2, 48, 300, 0, true, true},
};

static struct hth_attention_shape shape_of(const struct variant *v, struct hth_weight *sinks)
{
	*sinks = random_weight(HTH_QUANT_F32, 1, v->heads);
	return (struct hth_attention_shape){.n_head = v->heads, .n_kv = v->kv, .head = v->head,
	                                    .scale = 1.5f / sqrtf((float)v->head), .soft_cap = v->soft_cap,
	                                    .window = v->window, .sinks = v->sinks ? sinks : NULL};
}

static void forward_and_backward(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		for (size_t j = 0; j < sizeof variants / sizeof variants[0]; j++) {
			struct hth_arena arena;
			struct hth_weight sinks;
			const struct variant *v = &variants[j];
			hth_arena_init(&arena, 1 << 20);
			struct hth_batch *b = case_tree(&arena, trees[i].seg, trees[i].n, v->causal);
			int64_t t = b->n_tokens, wide = v->heads * v->head, narrow = v->kv * v->head;
			struct hth_attention_args a = {.batch = b, .shape = shape_of(v, &sinks), .q = random_tensor(t, wide, 2),
			                               .k = random_tensor(t, narrow, 2), .v = random_tensor(t, narrow, 2),
			                               .y = output(t, wide), .lse = output(t, v->heads)};
			/* Kept for the backward pass beyond the case: its own memory. */
			float *y = hth_alloc((size_t)(t * wide) * 4), *lse = hth_alloc((size_t)(t * v->heads) * 4);
			run_on(&hth_backend_ref, NULL, 1, HTH_OP_attention, &a);
			memcpy(y, a.y.ctx, (size_t)(t * wide) * 4);
			memcpy(lse, a.lse.ctx, (size_t)(t * v->heads) * 4);
			result_tensor("y", a.y);
			result_tensor("lse", a.lse);
			uint32_t streams = n_streams;
			check_case("attention", HTH_OP_attention, &a);

			n_streams = streams - 4; /* the same numbers again */
			b = case_tree(&arena, trees[i].seg, trees[i].n, v->causal);
			struct hth_attention_backward_args g = {.batch = b, .shape = shape_of(v, &sinks),
			                                        .q = random_tensor(t, wide, 2), .k = random_tensor(t, narrow, 2),
			                                        .v = random_tensor(t, narrow, 2), .y = tensor_of(y, t, wide),
			                                        .lse = tensor_of(lse, t, v->heads),
			                                        .dy = random_tensor(t, wide, 1), .dq = output(t, wide),
			                                        .dk = output(t, narrow), .dv = output(t, narrow)};
			result_tensor("dq", g.dq);
			result_tensor("dk", g.dk);
			result_tensor("dv", g.dv);
			if (v->sinks)
				result("dsinks", trained(&sinks)->grad, v->heads);
			check_case("attention_backward", HTH_OP_attention_backward, &g);
			hth_free(y);
			hth_free(lse);
			hth_arena_clear(&arena);
		}
}

/* Keys or values that a state of this type holds exactly. */
static struct hth_tensor keys(enum hth_state_type type, int64_t rows, int64_t cols)
{
	struct hth_tensor x = random_tensor(rows, cols, 2);

	for (int64_t i = 0; i < rows * cols && type == HTH_STATE_F16; i++)
		((float *)x.ctx)[i] = hth_f16_to_f32(hth_f32_to_f16(((float *)x.ctx)[i]));
	return x;
}

/* A sequence in steps through a state gives the rows of one pass over all of it: blocks and units of one token, of some
 * and of many, windows that end within them. */
static void past_in_a_state_of(enum hth_state_type type)
{
	static const int32_t steps[] = {1, 130, 3, 1, 121, 1, 300, 1, 1, 2, 255, 1, 4, 3};
	enum { LENGTH = 824, N_STEPS = sizeof steps / sizeof *steps };
	struct hth_err err;

	for (size_t j = 0; j < sizeof variants / sizeof variants[0]; j++)
		for (int s = 0; hth_kernels_info(s).name != NULL; s++) {
			const struct variant *v = &variants[j];
			if (!hth_kernels_info(s).present || !v->causal)
				continue;
			struct hth_arena arena;
			struct hth_weight sinks;
			const int32_t whole[][2] = {{LENGTH, -1}};
			int64_t wide = v->heads * v->head, narrow = v->kv * v->head;
			hth_arena_init(&arena, 1 << 20);
			struct hth_attention_args a = {.batch = case_tree(&arena, whole, 1, true), .layer = 1,
			                               .shape = shape_of(v, &sinks), .q = random_tensor(LENGTH, wide, 2),
			                               .k = keys(type, LENGTH, narrow), .v = keys(type, LENGTH, narrow),
			                               .y = output(LENGTH, wide), .lse = HTH_NO_TENSOR};
			run_on(&hth_backend_ref, NULL, 1, HTH_OP_attention, &a);

			struct hth_state_shape shape = {.type = type, .n_layers = 2, .n_kv = v->kv, .head = v->head, .capacity = LENGTH};
			struct hth_device_config cfg = {.kernels = hth_kernels_info(s).name};
			struct hth_device *dev;
			struct hth_state *past;
			assert_ok(hth_backend_cpu.open(&cfg, &dev, &err));
			assert_ok(hth_backend_cpu.state_new(dev, &shape, &past, &err));
			int32_t at = 0;
			for (int i = 0; i < N_STEPS; i++) {
				struct hth_segment seg = {.len = steps[i], .parent = -1, .past = at, .adapter = -1, .causal = true};
				struct hth_batch b = {.n_tokens = steps[i], .n_segments = 1, .segments = &seg, .n_states = 1,
				                      .states = &past};
				b.ids = hth_arena_calloc(&arena, (size_t)steps[i], sizeof *b.ids);
				b.positions = hth_arena_calloc(&arena, (size_t)steps[i], sizeof *b.positions);
				for (int32_t t = 0; t < steps[i]; t++)
					b.positions[t] = at + t;
				assert_ok(hth_batch_finish(&b, &arena, &err));
				struct hth_attention_args part = a;
				part.batch = &b;
				part.q = tensor_of((float *)a.q.ctx + at * wide, steps[i], wide);
				part.k = tensor_of((float *)a.k.ctx + at * narrow, steps[i], narrow);
				part.v = tensor_of((float *)a.v.ctx + at * narrow, steps[i], narrow);
				part.y = output(steps[i], wide);
				run_on(&hth_backend_cpu, hth_kernels_info(s).name, 1 + i % 3, HTH_OP_attention, &part);
				for (int64_t e = 0; e < steps[i] * wide; e++) {
					float got = ((float *)part.y.ctx)[e], want = ((float *)a.y.ctx)[at * wide + e];
					if (!(fabsf(got - want) <= 2e-5f))
						fail_msg("%s variant %d step %d [%d]: %.9g, expected %.9g", hth_kernels_info(s).name,
						         (int)j, i, (int)e, (double)got, (double)want);
				}
				at += steps[i];
			}
			hth_backend_cpu.state_free(dev, past);
			hth_backend_cpu.close(dev);
			hth_arena_clear(&arena);
			case_clear();
		}
}

static void past_in_a_state(void **state)
{
	(void)state;
	past_in_a_state_of(HTH_STATE_F16);
	past_in_a_state_of(HTH_STATE_F32);
}

static void a_full_state_is_refused(void **state)
{
	struct hth_state_shape shape = {.n_layers = 1, .n_kv = 1, .head = 4, .capacity = 3};
	struct hth_segment seg = {.len = 2, .parent = -1, .past = 2, .adapter = -1, .causal = true};
	int32_t ids[2] = {0}, positions[2] = {2, 3};
	float x[8] = {0}, scratch[1] = {0};
	struct hth_state *past;
	struct hth_device *dev;
	struct hth_arena arena;
	struct hth_err err;
	struct hth_device_config cfg = {0};

	(void)state;
	hth_arena_init(&arena, 1 << 16);
	assert_ok(hth_backend_cpu.open(&cfg, &dev, &err));
	assert_ok(hth_backend_cpu.state_new(dev, &shape, &past, &err));
	struct hth_batch b = {.n_tokens = 2, .ids = ids, .positions = positions, .n_segments = 1, .segments = &seg,
	                      .n_states = 1, .states = &past};
	assert_ok(hth_batch_finish(&b, &arena, &err));
	struct hth_attention_args a = {.batch = &b, .shape = {.n_head = 1, .n_kv = 1, .head = 4, .scale = 1},
	                               .q = tensor_of(x, 2, 4), .k = tensor_of(x, 2, 4), .v = tensor_of(x, 2, 4),
	                               .y = tensor_of(x, 2, 4), .lse = HTH_NO_TENSOR};
	assert_fails(hth_backend_cpu.slot[HTH_OP_attention].run(dev, &a, scratch, &err), HTH_ERR_LIMIT, "capacity is 3");
	a.layer = 1;
	assert_fails(hth_backend_cpu.slot[HTH_OP_attention].run(dev, &a, scratch, &err), HTH_ERR_SHAPE, "not in the state");
	hth_backend_cpu.state_free(dev, past);
	hth_backend_cpu.close(dev);
	hth_arena_clear(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        CASE_TEST(forward_and_backward),
	        CASE_TEST(past_in_a_state),
	        CASE_TEST(a_full_state_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
