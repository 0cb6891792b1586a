/* DoRA: lengths of adapted rows, outputs scaled by magnitude over length. Formulas in backend/ref/dora.c.
 *
 * A row of W + scale * B @ A is made as it is and squared, rather than by ||w||^2 plus the cross terms: where the
 * adapter cancels the row that form loses its digits, and it would spare nothing, since A @ w costs what B @ A does. It
 * happens once a step, for all micro-batches. */
#include "backend/cpu/cpu_int.h"

#include <math.h>

enum { TASK_ELEMS = 65536, DORA_PART = 1024 /* columns: a part of A stays in the second cache over a task's rows */ };

static const struct hth_lora *run_dora(const struct hth_linear *m, const struct hth_adapter_run *run)
{
	const struct hth_lora *l = run->adapter < 0 || m->lora == NULL ? NULL : m->lora[run->adapter];

	return l != NULL && l->mag.value != NULL ? l : NULL;
}

/* scratch: (threads, widest C). */
void cpu_dora_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_norm_args *a = args;
	int64_t widest = 0;

	for (int64_t i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->site[i].w;
		double rank = (double)a->site[i].lora->a.rows;
		out->flops += 2 * (rank + 1) * (double)w->rows * (double)w->cols;
		out->bytes_moved += (double)hth_weight_bytes(w) + 4 * rank * (double)(w->rows + w->cols);
		widest = w->cols > widest ? w->cols : widest;
	}
	out->scratch_bytes = (uint64_t)(m->threads * widest) * sizeof(float);
}

struct lengths {
	const struct hth_kernels *k;
	const struct hth_dora_site *site;
	int64_t widest;
	float *rows; // (threads,widest)
};

static int64_t rows_of_task(int64_t width)
{
	return cpu_ceil(TASK_ELEMS, width > 0 ? width : 1);
}

static void norm_task(void *ctx, int64_t task, int thread)
{
	const struct lengths *d = ctx;
	const struct hth_weight *w = d->site->w;
	const struct hth_lora *l = d->site->lora;
	int64_t rank = l->a.rows, width = w->cols, each = rows_of_task(width);
	float *row = d->rows + thread * d->widest; /* (C) */

	for (int64_t n = task * each; n < cpu_min(task * each + each, w->rows); n++) {
		d->k->unpack[w->quant](hth_weight_row(w, n), row, width);
		for (int64_t c = 0; c < width; c += DORA_PART)
			for (int64_t r = 0; r < rank; r++)
				d->k->axpy(l->scale * l->b.value[n * rank + r], l->a.value + r * width + c, row + c,
				           cpu_min(DORA_PART, width - c));
		l->norm[n] = sqrtf(d->k->sumsq(row, 0, width));
	}
}

enum hth_status cpu_dora_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_dora_norm_args *a = args;
	struct lengths d = {.k = &cpu_device(dev)->kernels.k, .rows = scratch};

	(void)err;
	for (int64_t i = 0; i < a->n; i++)
		d.widest = a->site[i].w->cols > d.widest ? a->site[i].w->cols : d.widest;
	for (int64_t i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->site[i].w;
		d.site = &a->site[i];
		hth_pool_run(cpu_device(dev)->pool, norm_task, &d, cpu_ceil(w->rows, rows_of_task(w->cols)));
	}
	return HTH_OK;
}

/* mag / norm of all columns; 1 without magnitudes. */
static void factors(const struct hth_lora *l, int64_t n, float *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = l == NULL ? 1 : l->norm[i] > 0 ? l->mag.value[i] / l->norm[i] : 0;
}

/* out (R,N) = in * f + bias. The norm kernel with mean 0 and deviation 1 is just that. */
struct scaling {
	const struct hth_kernels *k;
	const struct hth_rowset *rows;
	const struct hth_linear *member;
	struct hth_tensor in, out;
	const float *bias; /* (N), or NULL */
	float *f;          // (threads,N)
};

static int64_t scale_rows(int64_t cols)
{
	return cpu_ceil(TASK_ELEMS, cols > 0 ? cols : 1);
}

/* Task: some rows. */
static void scale_task(void *ctx, int64_t task, int thread)
{
	const struct scaling *s = ctx;
	int64_t n = s->in.cols, from = task * scale_rows(n), to = cpu_min(from + scale_rows(n), s->in.rows);
	float *f = s->f + thread * n; /* (N) */

	for (int32_t g = 0; g < s->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &s->rows->runs[g];
		int64_t r0 = run->start > from ? run->start : from, r1 = cpu_min((int64_t)run->start + run->len, to);
		if (r0 >= r1)
			continue;
		factors(run_dora(s->member, run), n, f);
		for (int64_t r = r0; r < r1; r++)
			s->k->norm(cpu_row(s->in, r), 0, 1, f, 0, s->bias, cpu_row(s->out, r), n);
	}
}

static void scale(const struct cpu_device *dev, struct scaling *s)
{
	s->k = &dev->kernels.k;
	hth_pool_run(dev->pool, scale_task, s, cpu_ceil(s->in.rows, scale_rows(s->in.cols)));
}

/* scratch: (threads,N). */
void cpu_dora_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_args *a = args;

	out->flops = 2 * (double)(a->u.rows * a->u.cols);
	out->bytes_moved = cpu_bytes(a->u) + cpu_bytes(a->y);
	out->scratch_bytes = (uint64_t)(m->threads * a->u.cols) * sizeof(float);
}

enum hth_status cpu_dora(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_dora_args *a = args;
	struct scaling s = {.rows = a->rows,
	                    .member = a->member,
	                    .in = a->u,
	                    .out = a->y,
	                    .bias = cpu_vector(a->member->late_bias),
	                    .f = scratch};

	(void)err;
	scale(cpu_device(dev), &s);
	return HTH_OK;
}

/* scratch: (threads,N). */
void cpu_dora_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_backward_args *a = args;

	out->flops = 4 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = cpu_bytes(a->u) + cpu_bytes(a->dy) + cpu_bytes(a->du);
	out->scratch_bytes = (uint64_t)(m->threads * a->dy.cols) * sizeof(float);
}

/* Sums over the rows of one run, in order and in double. */
static void mag_grad(const struct hth_dora_backward_args *a, const struct hth_adapter_run *run,
                     const struct hth_lora *l, int64_t n0, int64_t cols)
{
	double sum[CPU_COLS] = {0};

	for (int64_t t = run->start; t < run->start + run->len; t++) {
		const float *u = cpu_row(a->u, t) + n0, *dy = cpu_row(a->dy, t) + n0;
		for (int64_t i = 0; i < cols; i++)
			sum[i] += (double)dy[i] * u[i];
	}
	for (int64_t i = 0; i < cols; i++)
		if (l->norm[n0 + i] > 0)
			l->mag.grad[n0 + i] += (float)(sum[i] / l->norm[n0 + i]);
}

static void bias_grad(const struct hth_dora_backward_args *a, int64_t n0, int64_t cols)
{
	double sum[CPU_COLS] = {0};

	for (int64_t t = 0; t < a->dy.rows; t++)
		for (int64_t i = 0; i < cols; i++)
			sum[i] += cpu_row(a->dy, t)[n0 + i];
	for (int64_t i = 0; i < cols; i++)
		a->member->late_bias->param->grad[n0 + i] += (float)sum[i];
}

/* Task: 64 columns, all rows in order. */
static void grad_task(void *ctx, int64_t task, int thread)
{
	const struct hth_dora_backward_args *a = ctx;
	int64_t n0 = task * CPU_COLS, cols = cpu_min(CPU_COLS, a->dy.cols - n0);

	(void)thread;
	if (cpu_is_trained(a->member->late_bias))
		bias_grad(a, n0, cols);
	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_lora *l = run_dora(a->member, &a->rows->runs[g]);
		if (l != NULL && l->mag.grad != NULL)
			mag_grad(a, &a->rows->runs[g], l, n0, cols);
	}
}

/* Parameter gradients first: du may take the place of dy. */
enum hth_status cpu_dora_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct hth_dora_backward_args a = *(const struct hth_dora_backward_args *)args;
	struct scaling s = {.rows = a.rows, .member = a.member, .in = a.dy, .out = a.du, .f = scratch};

	(void)err;
	if (hth_tensor_is(a.u) || cpu_is_trained(a.member->late_bias))
		hth_pool_run(cpu_device(dev)->pool, grad_task, &a, cpu_ceil(a.dy.cols, CPU_COLS));
	if (hth_tensor_is(a.du))
		scale(cpu_device(dev), &s);
	return HTH_OK;
}
