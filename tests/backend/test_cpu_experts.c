/* Experts of the cpu backend against ref: every block format, experts with none, few and many slots, more slots than
 * one batch, trained experts. Routings are made here, with some experts preferred. */
#include "cpu_case.h"

struct shape {
	int64_t rows, c, f; /* R, C, F */
	int64_t experts, top;
	bool bias;
};

static const struct shape shapes[] = {
	{1, 64, 32, 8, 2, false},  {2, 96, 64, 4, 3, true},    {7, 32, 96, 16, 4, true},
	{40, 96, 160, 5, 2, true}, {300, 64, 32, 3, 2, false}, {1200, 32, 64, 2, 2, true},
};
#define N_SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* Row r's choices: experts with a bent for the first; expert 1 is never chosen where there are others enough. */
static struct hth_routing routing_of(const struct shape *s)
{
	int64_t n = s->rows * s->top, at = 0;
	int32_t *expert = case_alloc((size_t)n * 4), *order = case_alloc((size_t)n * 4);
	int32_t *begin = case_alloc((size_t)(s->experts + 1) * 4);
	struct hth_rng_key key = hth_rng_key(13, HTH_RNG_TEST, ++n_streams, 0);

	for (int64_t r = 0; r < s->rows; r++)
		for (int64_t j = 0; j < s->top; j++) {
			uint32_t pick = hth_rng_u32(key, (uint64_t)r, (uint64_t)j) % (uint32_t)s->experts;
			int64_t e = j == 0 && r % 3 != 0 ? 0 : (int64_t)pick;
			for (int64_t i = 0; i < j || (e == 1 && s->top < s->experts); i++)
				if (i >= j || expert[r * s->top + i] == e) {
					e = (e + 1) % s->experts;
					i = -1;
				}
			expert[r * s->top + j] = (int32_t)e;
		}
	for (int64_t e = 0; e < s->experts; e++) {
		begin[e] = (int32_t)at;
		for (int64_t c = 0; c < n; c++)
			if (expert[c] == e)
				order[at++] = (int32_t)c;
	}
	begin[s->experts] = (int32_t)at;
	return (struct hth_routing){.n_experts = s->experts,
				    .top = s->top,
				    .weight = random_tensor(s->rows, s->top, 1),
				    .expert = tensor_of((float *)(void *)expert, s->rows, s->top),
				    .order = tensor_of((float *)(void *)order, 1, n),
				    .begin = tensor_of((float *)(void *)begin, 1, s->experts + 1)};
}

/* The gradients of all experts of a set are one result. */
static struct hth_expert_set *set_of(const struct shape *s, enum hth_quant q, int64_t rows, int64_t cols, bool train)
{
	struct hth_expert_set *set = case_alloc(sizeof *set);
	struct hth_weight *w = case_alloc((size_t)s->experts * sizeof *w),
			  *b = case_alloc((size_t)s->experts * sizeof *b);

	for (int64_t e = 0; e < s->experts; e++) {
		w[e] = random_weight(q, rows, cols);
		b[e] = random_weight(HTH_QUANT_F32, 1, rows);
		if (!train)
			continue;
		result("dW", trained(&w[e])->grad, rows * cols);
		if (s->bias)
			result("dbias", trained(&b[e])->grad, rows);
	}
	*set = (struct hth_expert_set){.n = s->experts, .w = w, .bias = s->bias ? b : NULL};
	return set;
}

static void up_of(const struct shape *s, enum hth_quant q)
{
	struct hth_experts_up_args a = {.routing = routing_of(s), .n = 2, .x = random_tensor(s->rows, s->c, 1)};

	for (int i = 0; i < 2; i++) {
		a.member[i] = set_of(s, q, i == 0 ? s->f : s->f + 5, s->c, false);
		a.y[i] = output(s->rows * s->top, i == 0 ? s->f : s->f + 5);
		result_tensor("y", a.y[i]);
	}
	least_size = 3;
	if (hth_quant_format(q)->block_elems > 1)
		tolerance = TOLERANCE_BLOCKS;
	check_case("experts_up", HTH_OP_experts_up, &a);
}

/* how: bit 0 base in place, 1 no base, 2 no dx, 3 trained, 4 one member without dy. */
static void up_backward_of(const struct shape *s, enum hth_quant q, int how)
{
	struct hth_experts_up_backward_args a = {
		.routing = routing_of(s), .n = 2, .x = random_tensor(s->rows, s->c, 1)};

	a.base = how & 6 ? HTH_NO_TENSOR : random_tensor(s->rows, s->c, 1);
	a.dx = how & 4 ? HTH_NO_TENSOR : how & 1 ? a.base : output(s->rows, s->c);
	result_tensor("dx", a.dx);
	for (int i = 0; i < 2; i++) {
		a.member[i] = set_of(s, q, s->f, s->c, how & 8 && !(how & 16 && i == 1));
		a.dy[i] = how & 16 && i == 1 ? HTH_NO_TENSOR : random_tensor(s->rows * s->top, s->f, 1);
	}
	least_size = 3;
	check_case("experts_up_backward", HTH_OP_experts_up_backward, &a);
}

static void down_of(const struct shape *s, enum hth_quant q)
{
	struct hth_experts_down_args a = {.routing = routing_of(s),
					  .set = set_of(s, q, s->c, s->f, false),
					  .a = random_tensor(s->rows * s->top, s->f, 1),
					  .y = output(s->rows, s->c)};

	result_tensor("y", a.y);
	least_size = 3;
	if (hth_quant_format(q)->block_elems > 1)
		tolerance = TOLERANCE_BLOCKS;
	check_case("experts_down", HTH_OP_experts_down, &a);
}

/* how: bit 0 no dweight, 1 neither, 2 trained. */
static void down_backward_of(const struct shape *s, enum hth_quant q, int how)
{
	struct hth_experts_down_backward_args a = {.routing = routing_of(s),
						   .set = set_of(s, q, s->c, s->f, how & 4),
						   .a = random_tensor(s->rows * s->top, s->f, 1),
						   .dy = random_tensor(s->rows, s->c, 1),
						   .da = HTH_NO_TENSOR,
						   .dweight = HTH_NO_TENSOR};

	if (!(how & 2))
		a.da = output(s->rows * s->top, s->f);
	if (!(how & 3))
		a.dweight = output(s->rows, s->top);
	result_tensor("da", a.da);
	result_tensor("dweight", a.dweight);
	least_size = 3;
	check_case("experts_down_backward", HTH_OP_experts_down_backward, &a);
}

static void forward_in_many_shapes(void **state)
{
	(void)state;
	for (int i = 0; i < N_SHAPES; i++) {
		up_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0);
		down_of(&shapes[i], i % 2 ? HTH_QUANT_BF16 : HTH_QUANT_Q8_0);
	}
}

static void backward_in_many_shapes(void **state)
{
	(void)state;
	for (int i = 0; i < N_SHAPES; i++) {
		up_backward_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, i % 3);
		down_backward_of(&shapes[i], i % 2 ? HTH_QUANT_BF16 : HTH_QUANT_Q8_0, i % 2);
	}
	up_backward_of(&shapes[3], HTH_QUANT_F32, 16);
}

static void backward_of_trained_experts(void **state)
{
	(void)state;
	up_backward_of(&shapes[4], HTH_QUANT_F32, 8);
	up_backward_of(&shapes[5], HTH_QUANT_F32, 8 | 4);
	up_backward_of(&shapes[3], HTH_QUANT_F32, 8 | 16);
	down_backward_of(&shapes[3], HTH_QUANT_F32, 4);
	down_backward_of(&shapes[5], HTH_QUANT_F32, 4 | 2);
}

static void products_in_every_format(void **state)
{
	struct shape s = {11, 512, 768, 4, 2, true};

	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		up_of(&s, (enum hth_quant)q);
		down_of(&s, (enum hth_quant)q);
		up_backward_of(&s, (enum hth_quant)q, q % 2);
		down_backward_of(&s, (enum hth_quant)q, 0);
	}
}

static void routes_in_many_shapes(void **state)
{
	static const int64_t sizes[][3] = {{1, 8, 2}, {5, 4, 4}, {33, 128, 8}, {100, 7, 3}, {64, 1, 1}};

	(void)state;
	for (int i = 0; i < 10; i++) {
		const int64_t *z = sizes[i / 2];
		struct hth_route_args a = {.normalise = i % 2, .logits = random_tensor(z[0], z[1], 3)};
		a.routing = (struct hth_routing){.n_experts = z[1], .top = z[2]};
		a.routing.weight = output(z[0], z[2]);
		a.routing.expert = output(z[0], z[2]);
		a.routing.order = output(1, z[0] * z[2]);
		a.routing.begin = output(1, z[1] + 1);
		result_tensor("weight", a.routing.weight);
		run_on(&hth_backend_ref, NULL, 1, HTH_OP_route, &a);
		int32_t *expert = case_alloc((size_t)(z[0] * z[2]) * 4), *order = case_alloc((size_t)(z[0] * z[2]) * 4);
		memcpy(expert, a.routing.expert.ctx, (size_t)(z[0] * z[2]) * 4);
		memcpy(order, a.routing.order.ctx, (size_t)(z[0] * z[2]) * 4);
		struct hth_routing routing = a.routing;
		run_on(&hth_backend_cpu, NULL, 2, HTH_OP_route, &a);
		assert_memory_equal(expert, routing.expert.ctx, (size_t)(z[0] * z[2]) * 4);
		assert_memory_equal(order, routing.order.ctx, (size_t)(z[0] * z[2]) * 4);
		struct hth_route_backward_args back = {.normalise = i % 2, .logits = a.logits, .routing = routing};
		back.dweight = random_tensor(z[0], z[2], 1);
		back.dlogits = output(z[0], z[1]);
		n_results = 0;
		result_tensor("dlogits", back.dlogits);
		check_case("route_backward", HTH_OP_route_backward, &back);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE_TEST(forward_in_many_shapes),      CASE_TEST(backward_in_many_shapes),
		CASE_TEST(backward_of_trained_experts), CASE_TEST(products_in_every_format),
		CASE_TEST(routes_in_many_shapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
