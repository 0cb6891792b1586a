/* Linear maps of the cpu backend against ref: every block format, few and many rows, several adapters in one batch,
 * dropout, bias, trained weights, permuted rows. */
#include "cpu_case.h"

/* Adapters of one member: ranks[i] 0 is none. */
static struct hth_lora *const *adapters(int64_t n, int64_t c, const int *ranks, int count, float dropout, bool train)
{
	struct hth_lora **list = case_alloc((size_t)count * sizeof *list);

	for (int i = 0; i < count; i++) {
		int64_t r = ranks[i];
		if (r == 0)
			continue;
		struct hth_lora *l = list[i] = case_alloc(sizeof *l);
		*l = (struct hth_lora){.scale = 0.5f + (float)i, .dropout = dropout, .place = (uint32_t)(16 + i)};
		l->a = (struct hth_param){.name = "a", .rows = r, .cols = c, .value = random_floats(r * c, 0.2f)};
		l->b = (struct hth_param){.name = "b", .rows = n, .cols = r, .value = random_floats(n * r, 0.2f)};
		if (train) {
			l->a.grad = random_floats(r * c, 0.1f);
			l->b.grad = random_floats(n * r, 0.1f);
			result("dA", l->a.grad, r * c);
			result("dB", l->b.grad, n * r);
		}
	}
	return list;
}

/* Rows in three runs with adapters 1, -1, 0 (where there are rows enough), positions and examples of their own. */
static struct hth_rowset *rows_of(int32_t n)
{
	struct hth_rowset *s = case_alloc(sizeof *s);
	struct hth_adapter_run *runs = case_alloc(3 * sizeof *runs);
	int32_t *positions = case_alloc((size_t)n * sizeof *positions), *examples = case_alloc((size_t)n * sizeof *examples);
	int32_t cut1 = n / 3, cut2 = n / 2, k = 0;

	for (int32_t i = 0; i < n; i++) {
		positions[i] = i * 3 % 101;
		examples[i] = i / 7;
	}
	if (cut1 > 0)
		runs[k++] = (struct hth_adapter_run){.start = 0, .len = cut1, .adapter = 1};
	if (cut2 > cut1)
		runs[k++] = (struct hth_adapter_run){.start = cut1, .len = cut2 - cut1, .adapter = -1};
	runs[k++] = (struct hth_adapter_run){.start = cut2, .len = n - cut2, .adapter = 0};
	*s = (struct hth_rowset){.n = n, .positions = positions, .examples = examples, .n_runs = k, .runs = runs};
	return s;
}

struct shape {
	int32_t rows;
	int64_t c, n[3];
	int members;
	int ranks[2];
	float dropout;
	bool bias;
};

static const struct shape shapes[] = {
        {1, 64, {32, 0, 0}, 1, {0, 0}, 0, false},
        {1, 96, {40, 70, 1}, 3, {4, 3}, 0, true},
        {3, 32, {5, 0, 0}, 1, {2, 0}, 0.25f, true},
        {4, 64, {300, 2, 0}, 2, {8, 8}, 0, false},
        {5, 64, {33, 0, 0}, 1, {4, 70}, 0, true},
        {37, 96, {65, 130, 8}, 3, {8, 3}, 0, true},
        {61, 128, {96, 64, 0}, 2, {5, 17}, 0.3f, false},
        {530, 32, {70, 0, 0}, 1, {8, 0}, 0.1f, false},
        {30, 1056, {40, 0, 0}, 1, {4, 4}, 0.2f, true},
};

/* bare: xa alone is wanted, of all members but the second. */
static void forward_with(const struct shape *s, enum hth_quant q, int64_t c, int64_t head_rows, bool bare)
{
	struct hth_linear members[3];
	struct hth_weight w[3], bias[3];
	struct hth_linear_args a = {.rows = rows_of(s->rows), .n = s->members, .x = random_tensor(s->rows, c, 1)};

	a.drop = (struct hth_dropout){.on = s->dropout > 0, .seed = 5, .step = 3};
	for (int i = 0; i < s->members; i++) {
		int64_t n = head_rows > 0 ? (s->n[i] + head_rows - 1) / head_rows * head_rows : s->n[i];
		int64_t rank = s->ranks[0] > s->ranks[1] ? s->ranks[0] : s->ranks[1];
		w[i] = random_weight(q, n, c);
		w[i].head_rows = head_rows;
		bias[i] = random_weight(HTH_QUANT_F32, 1, n);
		members[i] = (struct hth_linear){.w = &w[i], .bias = s->bias ? &bias[i] : NULL};
		a.xa[i] = HTH_NO_TENSOR;
		if (rank > 0) {
			members[i].lora = adapters(n, c, s->ranks, 2, s->dropout, false);
			members[i].n_adapters = 2;
			a.xa[i] = output(s->rows, rank);
			result_tensor("xa", a.xa[i]);
		}
		a.member[i] = &members[i];
		a.y[i] = bare && i != 1 ? HTH_NO_TENSOR : output(s->rows, n);
		result_tensor("y", a.y[i]);
	}
	least_size = 3; /* of a sum of 512 products of about 0.3 */
	if (s->rows <= HTH_MATVEC_MAX_ROWS && hth_quant_format(q)->block_elems > 1)
		tolerance = TOLERANCE_BLOCKS;
	check_case("linear", HTH_OP_linear, &a);
}

static void forward_of(const struct shape *s, enum hth_quant q, int64_t c, int64_t head_rows)
{
	forward_with(s, q, c, head_rows, false);
}

static void forward_of_what_backward_reads_alone(void **state)
{
	(void)state;
	for (size_t i = 1; i < sizeof shapes / sizeof shapes[0]; i++)
		forward_with(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, shapes[i].c, 0, true);
}

static void forward_in_many_shapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
		forward_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, shapes[i].c, 0);
}

static void forward_in_every_format(void **state)
{
	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		for (int i = 1; i < 6; i += 4)
			forward_of(&shapes[i], (enum hth_quant)q, hth_quant_format((enum hth_quant)q)->block_elems == 1 ? 77 : 512,
			           0);
}

static void forward_with_permuted_rows(void **state)
{
	(void)state;
	forward_of(&shapes[1], HTH_QUANT_Q8_0, 96, 8);
	forward_of(&shapes[5], HTH_QUANT_Q8_0, 96, 8);
	forward_of(&shapes[5], HTH_QUANT_F32, 96, 64);
}

/* how: bit 0 base in place, 1 no base, 2 no dx, 3 trained weights, 4 frozen adapters, 5 the second member has no dy. */
static void backward_of(const struct shape *s, enum hth_quant q, int64_t c, int64_t head_rows, int how)
{
	struct hth_linear members[3];
	struct hth_weight w[3], bias[3];
	struct hth_linear_backward_args a = {.rows = rows_of(s->rows), .n = s->members, .x = random_tensor(s->rows, c, 1)};
	bool frozen = how & 16;

	a.drop = (struct hth_dropout){.on = s->dropout > 0, .seed = 5, .step = 3};
	a.base = how & 2 ? HTH_NO_TENSOR : random_tensor(s->rows, c, 1);
	a.dx = how & 4 ? HTH_NO_TENSOR : how & 1 ? a.base : output(s->rows, c);
	if (how & 4)
		a.base = HTH_NO_TENSOR;
	result_tensor("dx", a.dx);
	for (int i = 0; i < s->members; i++) {
		int64_t n = head_rows > 0 ? (s->n[i] + head_rows - 1) / head_rows * head_rows : s->n[i];
		int64_t rank = s->ranks[0] > s->ranks[1] ? s->ranks[0] : s->ranks[1];
		w[i] = random_weight(q, n, c);
		w[i].head_rows = head_rows;
		bias[i] = random_weight(HTH_QUANT_F32, 1, n);
		members[i] = (struct hth_linear){.w = &w[i], .bias = s->bias ? &bias[i] : NULL};
		a.member[i] = &members[i];
		a.xa[i] = HTH_NO_TENSOR;
		a.dy[i] = how & 32 && i == 1 ? HTH_NO_TENSOR : random_tensor(s->rows, n, 1);
		if (rank > 0) {
			members[i].lora = adapters(n, c, s->ranks, 2, s->dropout, !frozen);
			members[i].n_adapters = 2;
			if (!frozen)
				a.xa[i] = random_tensor(s->rows, rank, 1);
		}
		if (how & 8) {
			result("dW", trained(&w[i])->grad, n * c);
			if (s->bias)
				result("dbias", trained(&bias[i])->grad, n);
		}
	}
	if (frozen && !(how & 8)) {
		a.x.ctx = NULL;
		a.x.id = -1;
	}
	check_case("linear_backward", HTH_OP_linear_backward, &a);
}

static void backward_in_many_shapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		backward_of(&shapes[i], i % 2 ? HTH_QUANT_F32 : HTH_QUANT_Q4_0, shapes[i].c, 0, (int)(i % 3));
		backward_of(&shapes[i], HTH_QUANT_F32, shapes[i].c, 0, 8 | (int)(i % 3));
	}
	backward_of(&shapes[5], HTH_QUANT_F32, 96, 0, 4);
	backward_of(&shapes[5], HTH_QUANT_F32, 96, 0, 16);
	backward_of(&shapes[6], HTH_QUANT_F32, 96, 0, 16 | 2);
	backward_of(&shapes[5], HTH_QUANT_F32, 96, 0, 32 | 1);
	backward_of(&shapes[5], HTH_QUANT_F32, 96, 8, 8);
}

static void backward_in_every_format(void **state)
{
	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		backward_of(&shapes[5], (enum hth_quant)q, hth_quant_format((enum hth_quant)q)->block_elems == 1 ? 77 : 512, 0,
		            q % 3);
}

/* No member has a gradient: dx is base, or zero. */
static void backward_without_any_dy(void **state)
{
	struct hth_weight w = random_weight(HTH_QUANT_F32, 8, 16);
	struct hth_linear member = {.w = &w};

	(void)state;
	for (int how = 0; how < 3; how++) {
		struct hth_linear_backward_args a = {.rows = rows_of(6), .n = 1, .member = {&member}, .dy = {HTH_NO_TENSOR},
		                                     .xa = {HTH_NO_TENSOR}, .x = random_tensor(6, 16, 1)};
		a.base = how == 0 ? HTH_NO_TENSOR : random_tensor(6, 16, 1);
		a.dx = how == 1 ? a.base : output(6, 16);
		result_tensor("dx", a.dx);
		w = random_weight(HTH_QUANT_F32, 8, 16);
		check_case("linear_backward without dy", HTH_OP_linear_backward, &a);
	}
}

/* Rows of a batch do not depend on how many others there are: within 1..4 rows, and from 5 on. */
static void row_does_not_depend_on_others(void **state)
{
	static const int32_t counts[] = {1, 2, 4, 5, 8, 100, 700};
	float few[70], many[70];

	(void)state;
	struct hth_weight w = random_weight(HTH_QUANT_Q4_K, 70, 512);
	struct hth_linear member = {.w = &w};
	struct hth_tensor x = random_tensor(700, 512, 1);
	for (int i = 0; i < 7; i++) {
		struct hth_linear_args a = {.rows = rows_of(counts[i]), .n = 1, .member = {&member}, .x = x,
		                            .xa = {HTH_NO_TENSOR}};
		a.x.rows = counts[i];
		a.y[0] = output(counts[i], 70);
		run_on(&hth_backend_cpu, NULL, 2, HTH_OP_linear, &a);
		float *first = i < 3 ? few : many;
		if (i == 0 || i == 3)
			memcpy(first, a.y[0].ctx, sizeof few);
		assert_memory_equal(first, a.y[0].ctx, sizeof few);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        CASE_TEST(forward_in_many_shapes),     CASE_TEST(forward_in_every_format),
	        CASE_TEST(forward_with_permuted_rows), CASE_TEST(backward_in_many_shapes),
	        CASE_TEST(backward_in_every_format),   CASE_TEST(backward_without_any_dy),
	        CASE_TEST(row_does_not_depend_on_others), CASE_TEST(forward_of_what_backward_reads_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
