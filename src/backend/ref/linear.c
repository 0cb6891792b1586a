/* Linear maps with bias and adapters: y = x @ W^T + bias + scale * drop(x) @ A^T @ B^T, where each run of rows has the
 * adapter of its segment. Each row of W is unpacked once and used for all rows of x. */
#include "backend/ref/ref_int.h"
#include "base/rng.h"

/* The adapter of a run for this member, or NULL. */
static const struct hth_lora *run_lora(const struct hth_linear *m, const struct hth_adapter_run *run)
{
	return run->adapter < 0 || m->lora == NULL ? NULL : m->lora[run->adapter];
}

/* What dropout multiplies x[row][c] with: 0, or 1/(1-p), or 1 where it is off. */
static float mask(const struct hth_dropout *drop, const struct hth_lora *l, const struct hth_rowset *rows, int64_t row,
                  int64_t c)
{
	if (!drop->on || l->dropout <= 0.0f)
		return 1.0f;
	struct hth_rng_key key = hth_rng_key(drop->seed, HTH_RNG_DROPOUT, l->place, (uint32_t)drop->step);
	uint64_t counter = (uint64_t)rows->examples[row] << 32 | (uint32_t)rows->positions[row];
	return hth_rng_uniform(key, counter, (uint64_t)c) >= l->dropout ? 1.0f / (1.0f - l->dropout) : 0.0f;
}

/* scratch: a row of W (C). */
void ref_linear_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_linear_args *a = args;
	double rows = (double)a->x.rows;

	(void)m;
	out->bytes_moved = ref_bytes(a->x);
	for (int i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->member[i]->w;
		double rank = hth_tensor_is(a->xa[i]) ? (double)a->xa[i].cols : 0.0;
		out->flops += 2.0 * rows * rank * (double)w->cols;
		out->bytes_moved += ref_bytes(a->xa[i]) + 4.0 * rank * (double)w->cols;
		if (!hth_tensor_is(a->y[i]))
			continue;
		out->flops += 2.0 * rows * (double)w->rows * ((double)w->cols + rank);
		out->bytes_moved += (double)hth_weight_bytes(w) + ref_bytes(a->y[i]) + 4.0 * rank * (double)w->rows;
	}
	out->scratch_bytes = (uint64_t)a->x.cols * sizeof(float);
}

/* xa (R,r) = drop(x) @ A^T; columns past a run's own rank, and rows without adapter, are 0. */
static void forward_xa(const struct hth_linear_args *a, int i)
{
	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = run_lora(a->member[i], run);
		for (int64_t t = run->start; t < run->start + run->len; t++) {
			const float *x = ref_row(a->x, t); /* (C) */
			for (int64_t r = 0; r < a->xa[i].cols; r++) {
				double sum = 0.0;
				for (int64_t c = 0; l != NULL && r < l->a.rows && c < a->x.cols; c++)
					sum += (double)(x[c] * mask(&a->drop, l, a->rows, t, c)) *
					       l->a.value[r * a->x.cols + c];
				ref_row(a->xa[i], t)[r] = (float)sum;
			}
		}
	}
}

static void forward_member(const struct hth_linear_args *a, int i, float *wrow)
{
	const struct hth_linear *m = a->member[i];
	const float *bias = m->bias == NULL ? NULL : (const float *)(const void *)m->bias->data; /* (N) */

	if (hth_tensor_is(a->xa[i]))
		forward_xa(a, i);
	for (int64_t n = 0; hth_tensor_is(a->y[i]) && n < m->w->rows; n++) {
		ref_unpack_row(m->w, n, wrow);
		for (int32_t g = 0; g < a->rows->n_runs; g++) {
			const struct hth_adapter_run *run = &a->rows->runs[g];
			const struct hth_lora *l = run_lora(m, run);
			for (int64_t t = run->start; t < run->start + run->len; t++) {
				double sum = ref_dot(ref_row(a->x, t), wrow, a->x.cols);
				if (bias != NULL)
					sum += bias[n];
				if (l != NULL)
					sum += l->scale * ref_dot(ref_row(a->xa[i], t), l->b.value + n * l->b.cols, l->b.cols);
				ref_row(a->y[i], t)[n] = (float)sum;
			}
		}
	}
}

enum hth_status ref_linear(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_linear_args *a = args;

	(void)dev, (void)err;
	for (int i = 0; i < a->n; i++)
		forward_member(a, i, scratch);
	return HTH_OK;
}

static int64_t max_rank(const struct hth_linear *m)
{
	int64_t rank = 0;
	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		if (m->lora[i] != NULL && m->lora[i]->a.rows > rank)
			rank = m->lora[i]->a.rows;
	return rank;
}

/* scratch: dx (R,C) and dyb (R,r) in double, a row of W (C). */
void ref_linear_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_linear_backward_args *a = args;
	double rows = (double)a->x.rows;
	uint64_t rank_all = 0;

	(void)m;
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->base) + ref_bytes(a->dx);
	for (int i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->member[i]->w;
		double product = 2.0 * rows * (double)w->rows * (double)w->cols;
		double rank = (double)max_rank(a->member[i]), below = hth_tensor_is(a->dx) ? 1.0 : 0.0;
		if ((uint64_t)rank > rank_all)
			rank_all = (uint64_t)rank;
		if (!hth_tensor_is(a->dy[i]))
			continue;
		out->flops += product * (below + (ref_is_trained(w) ? 1.0 : 0.0)) +
		              4.0 * rows * rank * (double)w->rows + 2.0 * rows * rank * (double)w->cols * (1.0 + below);
		out->bytes_moved += (double)hth_weight_bytes(w) * below + ref_bytes(a->dy[i]) + ref_bytes(a->xa[i]) +
		                    8.0 * rank * (double)(w->rows + w->cols);
	}
	out->scratch_bytes = (uint64_t)a->x.rows * ((uint64_t)a->x.cols + rank_all) * sizeof(double) +
	                     (uint64_t)a->x.cols * sizeof(float);
}

/* dx += dy @ W; dW += dy^T @ x; dbias += column sums of dy. */
static void backward_weight(const struct hth_linear_backward_args *a, int i, double *dx, float *wrow)
{
	const struct hth_linear *m = a->member[i];
	int64_t width = a->x.cols;
	bool below = hth_tensor_is(a->dx);

	for (int64_t n = 0; n < m->w->rows; n++) {
		double column = 0.0;
		if (below)
			ref_unpack_row(m->w, n, wrow);
		for (int64_t t = 0; t < a->x.rows; t++) {
			double dy = ref_row(a->dy[i], t)[n];
			column += dy;
			for (int64_t c = 0; c < width && below; c++)
				dx[t * width + c] += dy * wrow[c];
		}
		if (ref_is_trained(m->bias))
			m->bias->param->grad[n] += (float)column;
		for (int64_t c = 0; c < width && ref_is_trained(m->w); c++) {
			double sum = 0.0;
			for (int64_t t = 0; t < a->x.rows; t++)
				sum += (double)ref_row(a->dy[i], t)[n] * ref_row(a->x, t)[c];
			ref_grad_row(m->w, n)[c] += (float)sum;
		}
	}
}

/* dyb (R,r) = scale * dy @ B and dx += dyb @ A * mask, for the rows of one run. */
static void backward_run(const struct hth_linear_backward_args *a, int i, const struct hth_lora *l,
                         const struct hth_adapter_run *run, double *dx, double *dyb)
{
	int64_t width = a->x.cols, rank = l->a.rows;

	for (int64_t t = run->start; t < run->start + run->len; t++) {
		const float *dy = ref_row(a->dy[i], t); /* (N) */
		for (int64_t r = 0; r < rank; r++) {
			double sum = 0.0;
			for (int64_t n = 0; n < l->b.rows; n++)
				sum += (double)dy[n] * l->b.value[n * rank + r];
			dyb[t * rank + r] = l->scale * sum;
		}
		for (int64_t c = 0; c < width && hth_tensor_is(a->dx); c++) {
			double sum = 0.0;
			for (int64_t r = 0; r < rank; r++)
				sum += dyb[t * rank + r] * l->a.value[r * width + c];
			dx[t * width + c] += sum * mask(&a->drop, l, a->rows, t, c);
		}
	}
}

/* dA += dyb^T @ drop(x) over one run. */
static void backward_a(const struct hth_linear_backward_args *a, const struct hth_lora *l,
                       const struct hth_adapter_run *run, const double *dyb)
{
	int64_t width = a->x.cols, rank = l->a.rows;

	for (int64_t r = 0; r < rank; r++)
		for (int64_t c = 0; c < width; c++) {
			double sum = 0.0;
			for (int64_t t = run->start; t < run->start + run->len; t++)
				sum += dyb[t * rank + r] * (ref_row(a->x, t)[c] * mask(&a->drop, l, a->rows, t, c));
			l->a.grad[r * width + c] += (float)sum;
		}
}

/* dB += scale * dy^T @ xa over one run. */
static void backward_b(const struct hth_linear_backward_args *a, int i, const struct hth_lora *l,
                       const struct hth_adapter_run *run)
{
	for (int64_t n = 0; n < l->b.rows; n++)
		for (int64_t r = 0; r < l->b.cols; r++) {
			double sum = 0.0;
			for (int64_t t = run->start; t < run->start + run->len; t++)
				sum += (double)ref_row(a->dy[i], t)[n] * ref_row(a->xa[i], t)[r];
			l->b.grad[n * l->b.cols + r] += (float)(l->scale * sum);
		}
}

static void backward_member(const struct hth_linear_backward_args *a, int i, double *dx, double *dyb, float *wrow)
{
	backward_weight(a, i, dx, wrow);
	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = run_lora(a->member[i], run);
		if (l == NULL)
			continue;
		backward_run(a, i, l, run, dx, dyb);
		if (l->a.grad != NULL)
			backward_a(a, l, run, dyb);
		if (l->b.grad != NULL)
			backward_b(a, i, l, run);
	}
}

enum hth_status ref_linear_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_linear_backward_args *a = args;
	int64_t elems = a->x.rows * a->x.cols, rank = 0;

	(void)dev, (void)err;
	for (int i = 0; i < a->n; i++)
		if (max_rank(a->member[i]) > rank)
			rank = max_rank(a->member[i]);
	double *dx = scratch, *dyb = dx + elems;         /* (R,C), (R,r) */
	float *wrow = (float *)(dyb + a->x.rows * rank); /* (C) */

	for (int64_t e = 0; e < elems; e++)
		dx[e] = hth_tensor_is(a->base) ? ref_row(a->base, 0)[e] : 0.0;
	for (int i = 0; i < a->n; i++)
		if (hth_tensor_is(a->dy[i]))
			backward_member(a, i, dx, dyb, wrow);
	for (int64_t e = 0; e < elems && hth_tensor_is(a->dx); e++)
		ref_row(a->dx, 0)[e] = (float)dx[e];
	return HTH_OK;
}
