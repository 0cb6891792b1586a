/* Experts of the cpu backend against ref: every block format, experts with none, few and many slots, more slots than
 * one batch, trained experts, adapters on them, trained and not. Routings are made here, with some experts preferred. */
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

/* Three adapters: of rank 2, none here, of rank 70; runs of rows of each, of none, and a long one. */
static const struct hth_rowset *adapt(const struct shape *s, struct hth_expert_set *set, bool train)
{
	struct hth_lora **list = case_alloc(3 * sizeof(struct hth_lora *));
	struct hth_adapter_run *runs = case_alloc(5 * sizeof *runs);
	struct hth_rowset *rows = case_alloc(sizeof *rows);
	int32_t at = 0, n = (int32_t)s->rows;

	for (int i = 0; i < 3; i += 2) {
		struct hth_lora *l = list[i] = case_alloc(sizeof *l);
		int64_t rank = i == 0 ? 2 : 70, r = s->experts * set->w[0].rows;
		l->a = (struct hth_param){.rows = s->experts * rank, .cols = set->w[0].cols};
		l->b = (struct hth_param){.rows = r, .cols = rank};
		l->a.value = random_floats(l->a.rows * l->a.cols, 0.5f);
		l->b.value = random_floats(r * rank, 0.5f);
		l->scale = i == 0 ? 2 : 0.25f;
		if (!train)
			continue;
		l->a.grad = random_floats(l->a.rows * l->a.cols, 0.1f);
		l->b.grad = random_floats(r * rank, 0.1f);
		result("dA", l->a.grad, l->a.rows * l->a.cols);
		result("dB", l->b.grad, r * rank);
	}
	for (int i = 0; i < 5; i++) {
		static const int32_t adapter[5] = {0, -1, 2, 1, 0};
		int32_t len = i == 4 ? n - at : n / 5 * (i == 2 ? 2 : 1);
		if (len > 0)
			runs[rows->n_runs++] = (struct hth_adapter_run){.start = at, .len = len, .adapter = adapter[i]};
		at += len;
	}
	rows->n = n;
	rows->runs = runs;
	set->lora = list;
	set->n_adapters = 3;
	return rows;
}

static void up_of(const struct shape *s, enum hth_quant q, bool adapted)
{
	struct hth_experts_up_args a = {.routing = routing_of(s), .n = 2, .x = random_tensor(s->rows, s->c, 1)};

	for (int i = 0; i < 2; i++) {
		struct hth_expert_set *set = set_of(s, q, i == 0 ? s->f : s->f + 5, s->c, false);
		a.member[i] = set;
		if (adapted)
			a.rows = adapt(s, set, false);
		a.y[i] = output(s->rows * s->top, i == 0 ? s->f : s->f + 5);
		result_tensor("y", a.y[i]);
	}
	least_size = 3;
	if (hth_quant_format(q)->block_elems > 1)
		tolerance = TOLERANCE_BLOCKS;
	check_case("experts_up", HTH_OP_experts_up, &a);
}

/* how: bit 0 base in place, 1 no base, 2 no dx, 3 trained, 4 one member without dy, 5 adapters, 6 trained ones. */
static void up_backward_of(const struct shape *s, enum hth_quant q, int how)
{
	struct hth_experts_up_backward_args a = {
		.routing = routing_of(s), .n = 2, .x = random_tensor(s->rows, s->c, 1)};

	a.base = how & 6 ? HTH_NO_TENSOR : random_tensor(s->rows, s->c, 1);
	a.dx = how & 4 ? HTH_NO_TENSOR : how & 1 ? a.base : output(s->rows, s->c);
	result_tensor("dx", a.dx);
	for (int i = 0; i < 2; i++) {
		struct hth_expert_set *set = set_of(s, q, s->f, s->c, how & 8 && !(how & 16 && i == 1));
		a.member[i] = set;
		if (how & 32)
			a.rows = adapt(s, set, how & 64);
		a.dy[i] = how & 16 && i == 1 ? HTH_NO_TENSOR : random_tensor(s->rows * s->top, s->f, 1);
	}
	least_size = 3;
	check_case("experts_up_backward", HTH_OP_experts_up_backward, &a);
}

static void down_of(const struct shape *s, enum hth_quant q, bool adapted)
{
	struct hth_expert_set *set = set_of(s, q, s->c, s->f, false);
	struct hth_experts_down_args a = {.rows = adapted ? adapt(s, set, false) : NULL,
					  .routing = routing_of(s),
					  .set = set,
					  .a = random_tensor(s->rows * s->top, s->f, 1),
					  .y = output(s->rows, s->c)};

	result_tensor("y", a.y);
	least_size = 3;
	if (hth_quant_format(q)->block_elems > 1)
		tolerance = TOLERANCE_BLOCKS;
	check_case("experts_down", HTH_OP_experts_down, &a);
}

/* how: bit 0 no dweight, 1 neither, 2 trained, 5 adapters, 6 trained ones. */
static void down_backward_of(const struct shape *s, enum hth_quant q, int how)
{
	struct hth_expert_set *set = set_of(s, q, s->c, s->f, how & 4);
	struct hth_experts_down_backward_args a = {.rows = how & 32 ? adapt(s, set, how & 64) : NULL,
						   .routing = routing_of(s),
						   .set = set,
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
		for (int adapted = 0; adapted < 2; adapted++) {
			up_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, adapted);
			down_of(&shapes[i], i % 2 ? HTH_QUANT_BF16 : HTH_QUANT_Q8_0, adapted);
		}
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

static void backward_of_adapters(void **state)
{
	(void)state;
	for (int i = 0; i < N_SHAPES; i++) {
		up_backward_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, 32 | 64 | i % 3);
		down_backward_of(&shapes[i], i % 2 ? HTH_QUANT_BF16 : HTH_QUANT_Q8_0, 32 | 64 | i % 2);
	}
	up_backward_of(&shapes[3], HTH_QUANT_F32, 32);
	up_backward_of(&shapes[3], HTH_QUANT_F32, 32 | 64 | 16);
	up_backward_of(&shapes[4], HTH_QUANT_F32, 32 | 64 | 4);
	up_backward_of(&shapes[2], HTH_QUANT_F32, 32 | 64 | 8);
	down_backward_of(&shapes[3], HTH_QUANT_F32, 32);
	down_backward_of(&shapes[5], HTH_QUANT_F32, 32 | 64 | 2);
	down_backward_of(&shapes[2], HTH_QUANT_F32, 32 | 64 | 4);
}

static void products_in_every_format(void **state)
{
	struct shape s = {11, 512, 768, 4, 2, true};

	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		up_of(&s, (enum hth_quant)q, false);
		down_of(&s, (enum hth_quant)q, false);
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
		CASE_TEST(backward_of_adapters),
		CASE_TEST(routes_in_many_shapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
