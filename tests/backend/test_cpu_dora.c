/* DoRA on the cpu backend: lengths of adapted rows against sums in double, also where the adapter nearly cancels the row;
 * scaling and its gradients against ref, for every thread count. */
#include "cpu_case.h"

#include <math.h>

enum { ROWS = 70, COLS = 1536, RANK = 5 };

static struct hth_lora *make_lora(int64_t n, int64_t c, int64_t r)
{
	struct hth_lora *l = case_alloc(sizeof *l);

	*l = (struct hth_lora){.scale = 1.5f};
	l->a = (struct hth_param){.name = "a", .rows = r, .cols = c, .value = random_floats(r * c, 0.2f)};
	l->b = (struct hth_param){.name = "b", .rows = n, .cols = r, .value = random_floats(n * r, 0.2f)};
	l->mag = (struct hth_param){.name = "mag", .rows = 1, .cols = n, .value = random_floats(n, 2)};
	l->norm = case_alloc((size_t)n * sizeof *l->norm);
	return l;
}

static double exact(const struct hth_dora_site *s, int64_t n, double *largest)
{
	const struct hth_lora *l = s->lora;
	float *row = case_alloc((size_t)s->w->cols * sizeof *row); /* (C) */
	double square = 0, of_w = 0;

	hth_quant_format(s->w->quant)->unpack(hth_weight_row(s->w, n), row, s->w->cols);
	for (int64_t c = 0; c < s->w->cols; c++) {
		double v = row[c];
		of_w += v * v;
		for (int64_t r = 0; r < l->a.rows; r++)
			v += (double)l->scale * (double)l->b.value[n * l->a.rows + r] *
			     (double)l->a.value[r * l->a.cols + c];
		square += v * v;
	}
	*largest = sqrt(of_w);
	return sqrt(square);
}

/* Error of an element of the row is a few roundings of the row's own size, whatever is left of it. */
static void check_lengths(const struct hth_dora_site *s)
{
	for (int64_t n = 0; n < s->w->rows; n += 7) {
		double of_w, want = exact(s, n, &of_w), got = (double)s->lora->norm[n];
		if (!(fabs(got - want) <= 1e-6 * want + 1e-7 * of_w))
			fail_msg("%s, row %lld: %.9g, expected %.9g", hth_quant_format(s->w->quant)->name, (long long)n, got,
				 want);
	}
}

static void lengths_of_adapted_rows_equal_sums_in_double(void **state)
{
	static const enum hth_quant quants[] = {HTH_QUANT_F32, HTH_QUANT_BF16, HTH_QUANT_Q4_1, HTH_QUANT_Q4_K};

	(void)state;
	for (size_t q = 0; q < sizeof quants / sizeof quants[0]; q++) {
		struct hth_weight w = random_weight(quants[q], ROWS, COLS), small = random_weight(HTH_QUANT_F32, 8, 3);
		w.head_rows = q == 1 ? 10 : 0;
		struct hth_dora_site site[2] = {{&w, make_lora(ROWS, COLS, RANK)}, {&small, make_lora(8, 3, 1)}};
		struct hth_dora_norm_args args = {.site = site, .n = 2};
		for (int s = 0; hth_kernels_info(s).name != NULL; s++) {
			if (!hth_kernels_info(s).present)
				continue;
			run_on(&hth_backend_cpu, hth_kernels_info(s).name, 3, HTH_OP_dora_norm, &args);
			check_lengths(&site[0]);
			check_lengths(&site[1]);
		}
		result("norm", site[0].lora->norm, ROWS);
		result("small norm", site[1].lora->norm, 8);
		check_case(hth_quant_format(quants[q])->name, HTH_OP_dora_norm, &args);
	}
}

/* W = -scale * B @ A, rounded, and a little: what is left is a ten-thousandth of the row. */
static void lengths_keep_their_digits_where_the_adapter_cancels_the_row(void **state)
{
	struct hth_weight w = random_weight(HTH_QUANT_F32, ROWS, COLS);
	struct hth_lora *l = make_lora(ROWS, COLS, RANK);
	struct hth_dora_site site = {&w, l};
	struct hth_dora_norm_args args = {.site = &site, .n = 1};
	float *v = (float *)(uintptr_t)w.data;

	(void)state;
	for (int64_t n = 0; n < ROWS; n++)
		for (int64_t c = 0; c < COLS; c++) {
			double sum = 0;
			for (int64_t r = 0; r < RANK; r++)
				sum += (double)l->b.value[n * RANK + r] * (double)l->a.value[r * COLS + c];
			v[n * COLS + c] = (float)(1e-4 * (double)v[n * COLS + c] - 1.5 * sum);
		}
	run_on(&hth_backend_cpu, NULL, 3, HTH_OP_dora_norm, &args);
	for (int64_t n = 0; n < ROWS; n++) {
		double of_w, want = exact(&site, n, &of_w);
		assert_true(want < 0.02 * of_w);
		if (!(fabs((double)l->norm[n] - want) <= 1e-7 * of_w))
			fail_msg("row %lld: %.9g, expected %.9g of %.9g", (long long)n, (double)l->norm[n], want, of_w);
	}
	case_clear();
}

/* Adapters 0 and 1 have magnitudes, 2 has none; some lengths are 0. */
static struct hth_linear *make_linear(int64_t n)
{
	struct hth_weight *bias = case_alloc(sizeof *bias), *w = case_alloc(sizeof *w);
	struct hth_lora **list = case_alloc(3 * sizeof *list);
	struct hth_linear *m = case_alloc(sizeof *m);

	*bias = random_weight(HTH_QUANT_F32, 1, n);
	*w = random_weight(HTH_QUANT_F32, n, 3);
	*m = (struct hth_linear){.w = w, .late_bias = bias, .dora = true, .lora = list, .n_adapters = 3};
	for (int i = 0; i < 3; i++) {
		list[i] = make_lora(n, 3, 1 + i);
		fill_random(list[i]->norm, n, 1);
		for (int64_t j = 0; j < n; j++)
			list[i]->norm[j] = j % 17 == 3 ? 0 : 1 + fabsf(list[i]->norm[j]);
	}
	list[2]->mag.value = NULL;
	return m;
}

static void scaling_and_its_gradients_equal_ref(void **state)
{
	static const int64_t widths[] = {1, 64, 150};
	struct hth_adapter_run runs[] = {{.start = 0, .len = 4, .adapter = 1},
	                                 {.start = 4, .len = 9, .adapter = 0},
	                                 {.start = 13, .len = 2, .adapter = -1},
	                                 {.start = 15, .len = 3, .adapter = 2}};
	struct hth_rowset rows = {.n = 18, .n_runs = 4, .runs = runs};

	(void)state;
	for (size_t k = 0; k < sizeof widths / sizeof widths[0]; k++) {
		int64_t n = widths[k];
		struct hth_linear *m = make_linear(n);
		struct hth_dora_args forward = {
			.rows = &rows, .member = m, .u = random_tensor(18, n, 1), .y = output(18, n)};
		result_tensor("y", forward.y);
		check_case("dora", HTH_OP_dora, &forward);
		m = make_linear(n);
		for (int i = 0; i < 2; i++) {
			m->lora[i]->mag.grad = random_floats(n, 0.1f);
			result("dmag", m->lora[i]->mag.grad, n);
		}
		result("dbias", trained((struct hth_weight *)(uintptr_t)m->late_bias)->grad, n);
		struct hth_dora_backward_args backward = {.rows = &rows,
		                                          .member = m,
		                                          .u = random_tensor(18, n, 1),
		                                          .dy = random_tensor(18, n, 1),
		                                          .du = output(18, n)};
		result_tensor("du", backward.du);
		check_case("dora_backward", HTH_OP_dora_backward, &backward);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE_TEST(lengths_of_adapted_rows_equal_sums_in_double),
		CASE_TEST(lengths_keep_their_digits_where_the_adapter_cancels_the_row),
		CASE_TEST(scaling_and_its_gradients_equal_ref),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
