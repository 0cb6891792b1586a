/* Linear maps with bias and adapters, forward: y = x @ W^T + bias + scale * drop(x) @ A^T @ B^T.
 *
 * Many rows: x is packed once for all members; tasks of 64 columns and some 512 rows add the adapter's part and the bias
 * while their piece of y is in the cache. Few rows (decoding): dot products straight on the blocks of W, cut by rows
 * of W; each row of y then has another order of summation than in a larger batch, the same for 1 to 4 rows. */
#include "backend/cpu/linear_int.h"

#include <string.h>

const struct hth_lora *cpu_run_lora(const struct hth_linear *m, const struct hth_adapter_run *run)
{
	return run->adapter < 0 || m->lora == NULL ? NULL : m->lora[run->adapter];
}

bool cpu_lora_mask(const struct hth_dropout *drop, const struct hth_lora *l, const struct hth_rowset *rows,
                   int64_t first, struct cpu_mask *out)
{
	if (!drop->on || l->dropout <= 0)
		return false;
	*out = (struct cpu_mask){
	        .key = hth_rng_key(drop->seed, HTH_RNG_DROPOUT, l->place, (uint32_t)drop->step),
	        .p = l->dropout,
	        .factor = 1.0f / (1.0f - l->dropout),
	        .rows = rows,
	        .first = first,
	};
	return true;
}

bool cpu_run_part(const struct hth_adapter_run *run, int64_t from, int64_t to, int64_t *r0, int64_t *r1)
{
	*r0 = run->start > from ? run->start : from;
	*r1 = cpu_min((int64_t)run->start + run->len, to);
	return *r0 < *r1;
}

/* Columns of member i that are asked for. */
static int64_t y_cols(const struct hth_linear_args *a, int i)
{
	return hth_tensor_is(a->y[i]) ? a->member[i]->w->rows : 0;
}

struct forward {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_linear_args *a;
	struct cpu_tile tile;
	int64_t s0, sn;  /* rows s0 .. s0+sn-1 are packed */
	int64_t batch;   /* rows packed at a time */
	float *packed;   // (sn,C) in blocks
	float *works;    // (threads) struct cpu_work
	float *dropped;  // few rows: (R,C)
	float *prepared; // few rows: (R,hth_prepared_elems(C))
	float *permuted; // few rows: (threads,CPU_PERMUTED)
	struct hth_matvec_in in;
};

static void layout(struct forward *f, struct cpu_scratch *s, int threads)
{
	int64_t rows = f->a->x.rows, width = f->a->x.cols;

	if (rows <= CPU_MATVEC_ROWS) {
		f->dropped = cpu_take(s, rows * width);
		f->prepared = cpu_take(s, rows * hth_prepared_elems(width));
		f->permuted = cpu_take(s, threads * CPU_PERMUTED);
		return;
	}
	f->batch = cpu_batch_rows(f->tile, rows, width);
	f->packed = cpu_take(s, cpu_packed_elems(f->tile, f->batch, width));
	f->works = cpu_take(s, threads * cpu_work_elems(f->tile));
}

void cpu_linear_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_linear_args *a = args;
	struct forward f = {.a = a, .tile = cpu_tile_of_machine(m)};
	struct cpu_scratch s = {0};
	double rows = (double)a->x.rows;

	out->bytes_moved = cpu_bytes(a->x);
	for (int i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->member[i]->w;
		double rank = hth_tensor_is(a->xa[i]) ? (double)a->xa[i].cols : 0;
		out->flops += 2 * rows * rank * (double)w->cols;
		out->bytes_moved += cpu_bytes(a->xa[i]) + 4 * rank * (double)w->cols;
		if (!hth_tensor_is(a->y[i]))
			continue;
		out->flops += 2 * rows * (double)w->rows * ((double)w->cols + rank);
		out->bytes_moved += (double)hth_weight_bytes(w) + cpu_bytes(a->y[i]) + 4 * rank * (double)w->rows;
	}
	layout(&f, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

/* --- many rows -------------------------------------------------------------------------------------------------- */

/* xa of one member for rows from..to-1 (of the batch): zero where no adapter applies. */
static void xa_rows(const struct forward *f, int i, int64_t from, int64_t to, const struct cpu_work *w)
{
	const struct hth_linear_args *a = f->a;
	int64_t width = a->x.cols, rank_all = a->xa[i].cols, r0, r1;

	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_lora *l = cpu_run_lora(a->member[i], &a->rows->runs[g]);
		struct cpu_mask mask;
		if (!cpu_run_part(&a->rows->runs[g], from, to, &r0, &r1))
			continue;
		int64_t rank = l != NULL ? l->a.rows : 0;
		for (int64_t r = r0; r < r1 && rank < rank_all; r++)
			memset(cpu_row(a->xa[i], r) + rank, 0, (size_t)(rank_all - rank) * sizeof(float));
		if (rank == 0)
			continue;
		struct cpu_left left = {.packed = f->packed, .k = width};
		if (cpu_lora_mask(&a->drop, l, a->rows, f->s0, &mask))
			left = (struct cpu_left){.rows = cpu_row(a->x, f->s0), .ld = width, .k = width, .mask = &mask};
		struct cpu_right right = cpu_right_f32(l->a.value, width, true, 1);
		for (int64_t j = 0; j < rank; j += CPU_COLS)
			cpu_product(f->k, &left, r0 - f->s0, r1 - f->s0, &right, j, cpu_min(j + CPU_COLS, rank),
			            cpu_row(a->xa[i], f->s0), rank_all, false, w);
	}
}

/* Task: a quarter of a task's rows, all members. */
static void xa_task(void *ctx, int64_t task, int thread)
{
	const struct forward *f = ctx;
	struct cpu_work w = cpu_work_at(f->tile, f->works, thread);
	int64_t rows = cpu_xa_rows(f->tile), from = f->s0 + task * rows, to = cpu_min(from + rows, f->s0 + f->sn);

	for (int i = 0; i < f->a->n; i++)
		if (hth_tensor_is(f->a->xa[i]))
			xa_rows(f, i, from, to, &w);
}

/* Columns j0..j1-1 of member i for rows r0..r1-1 (of those packed). */
static void y_part(const struct forward *f, int i, int64_t r0, int64_t r1, int64_t j0, int64_t j1,
                   const struct cpu_work *w)
{
	const struct hth_linear_args *a = f->a;
	const struct hth_linear *m = a->member[i];
	const float *bias = cpu_vector(m->bias); /* (N) */
	float *y = cpu_row(a->y[i], f->s0);      /* (sn,N) */
	int64_t width = a->x.cols, n = m->w->rows, from, to;
	struct cpu_left left = {.packed = f->packed, .k = width};
	struct cpu_right right = cpu_right_weight(m->w, true, 0);

	cpu_product(f->k, &left, r0, r1, &right, j0, j1, y, n, false, w);
	for (int32_t g = 0; hth_tensor_is(a->xa[i]) && g < a->rows->n_runs; g++) {
		const struct hth_lora *l = cpu_run_lora(m, &a->rows->runs[g]);
		if (l == NULL || !cpu_run_part(&a->rows->runs[g], f->s0 + r0, f->s0 + r1, &from, &to))
			continue;
		struct cpu_left xa = {.rows = cpu_row(a->xa[i], f->s0), .ld = a->xa[i].cols, .k = l->b.cols};
		struct cpu_right b = cpu_right_f32(l->b.value, l->b.cols, true, l->scale);
		cpu_product(f->k, &xa, from - f->s0, to - f->s0, &b, j0, j1, y, n, true, w);
	}
	for (int64_t r = r0; bias != NULL && r < r1; r++)
		f->k->axpy(1, bias + j0, y + r * n + j0, j1 - j0);
}

/* Task: (member, column group, row group), rows fastest. */
static void y_task(void *ctx, int64_t task, int thread)
{
	const struct forward *f = ctx;
	struct cpu_work w = cpu_work_at(f->tile, f->works, thread);
	int64_t rows = cpu_task_rows(f->tile), chunks = cpu_ceil(f->sn, rows), n = 0;
	int i = 0;

	for (; i < f->a->n; i++) {
		n = y_cols(f->a, i);
		if (task < cpu_ceil(n, CPU_COLS) * chunks)
			break;
		task -= cpu_ceil(n, CPU_COLS) * chunks;
	}
	int64_t r0 = task % chunks * rows, j0 = task / chunks * CPU_COLS;
	y_part(f, i, r0, cpu_min(r0 + rows, f->sn), j0, cpu_min(j0 + CPU_COLS, n), &w);
}

static void forward_many(struct forward *f)
{
	const struct hth_linear_args *a = f->a;
	int64_t groups = 0;
	bool adapters = false;

	for (int i = 0; i < a->n; i++) {
		groups += cpu_ceil(y_cols(a, i), CPU_COLS);
		adapters = adapters || hth_tensor_is(a->xa[i]);
	}
	for (f->s0 = 0; f->s0 < a->x.rows; f->s0 += f->batch) {
		f->sn = cpu_min(f->batch, a->x.rows - f->s0);
		cpu_pack(f->dev, cpu_row(a->x, f->s0), a->x.cols, f->sn, a->x.cols, f->packed);
		if (adapters)
			hth_pool_run(f->dev->pool, xa_task, f, cpu_ceil(f->sn, cpu_xa_rows(f->tile)));
		hth_pool_run(f->dev->pool, y_task, f, groups * cpu_ceil(f->sn, cpu_task_rows(f->tile)));
	}
}

/* --- few rows --------------------------------------------------------------------------------------------------- */

/* xa of one member, on one thread: a few thousand multiply-adds. */
static void xa_few(const struct forward *f, int i)
{
	const struct hth_linear_args *a = f->a;
	int64_t width = a->x.cols, rank = a->xa[i].cols;

	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = cpu_run_lora(a->member[i], run);
		struct cpu_mask mask;
		bool masked = l != NULL && cpu_lora_mask(&a->drop, l, a->rows, 0, &mask);
		for (int64_t t = run->start; t < run->start + run->len; t++) {
			const float *x = cpu_row(a->x, t); /* (C) */
			if (masked) {
				cpu_mask_row(f->k, &mask, t, 0, x, f->dropped + t * width, width);
				x = f->dropped + t * width;
			}
			for (int64_t r = 0; r < rank; r++)
				cpu_row(a->xa[i], t)[r] =
				        l != NULL && r < l->a.rows ? f->k->dot(x, l->a.value + r * width, width) : 0;
		}
	}
}

/* Rows n0..n1-1 of W_i against all rows of x. */
static void y_few(const struct forward *f, int i, int64_t n0, int64_t n1, float *permuted)
{
	const struct hth_linear_args *a = f->a;
	const struct hth_linear *m = a->member[i];
	const float *bias = cpu_vector(m->bias);
	int64_t n = m->w->rows;
	float *y = cpu_row(a->y[i], 0); /* (R,N) */

	cpu_matvec(f->k, m->w, n0, n1, &f->in, y + n0, n, permuted);
	for (int32_t g = 0; hth_tensor_is(a->xa[i]) && g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = cpu_run_lora(m, run);
		for (int64_t t = run->start; l != NULL && t < run->start + run->len; t++)
			for (int64_t j = n0; j < n1; j++)
				y[t * n + j] +=
				        l->scale * f->k->dot(cpu_row(a->xa[i], t), l->b.value + j * l->b.cols, l->b.cols);
	}
	for (int64_t t = 0; bias != NULL && t < a->x.rows; t++)
		f->k->axpy(1, bias + n0, y + t * n + n0, n1 - n0);
}

static void few_task(void *ctx, int64_t task, int thread)
{
	const struct forward *f = ctx;

	for (int i = 0; i < f->a->n; i++) {
		const struct hth_weight *w = f->a->member[i]->w;
		int64_t step = cpu_matvec_step(w), tasks = cpu_ceil(y_cols(f->a, i), step);
		if (task < tasks) {
			y_few(f, i, task * step, cpu_min(task * step + step, w->rows), f->permuted + thread * CPU_PERMUTED);
			return;
		}
		task -= tasks;
	}
}

static void forward_few(struct forward *f)
{
	int64_t tasks = 0;

	f->in = cpu_matvec_in(f->k, f->a->x, f->prepared);
	for (int i = 0; i < f->a->n; i++) {
		const struct hth_weight *w = f->a->member[i]->w;
		if (hth_tensor_is(f->a->xa[i]))
			xa_few(f, i);
		tasks += cpu_ceil(y_cols(f->a, i), cpu_matvec_step(w));
	}
	hth_pool_run_apart(f->dev->pool, few_task, f, tasks);
}

enum hth_status cpu_linear(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct forward f = {.dev = d, .k = &d->kernels.k, .a = args, .tile = cpu_tile_of_device(d)};
	struct cpu_scratch s = {.base = scratch};

	(void)err;
	layout(&f, &s, hth_pool_threads(d->pool));
	if (f.a->x.rows <= CPU_MATVEC_ROWS)
		forward_few(&f);
	else
		forward_many(&f);
	return HTH_OK;
}
