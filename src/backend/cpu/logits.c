/* Logits of the wanted rows, for sampling. */
#include "backend/cpu/head_int.h"

void cpu_head_finish(const struct hth_kernels *k, const struct hth_head *head, float *z, int64_t n)
{
	if (head->scale != 1)
		k->scale(head->scale, z, z, n);
	if (head->soft_cap > 0)
		k->softcap(head->soft_cap, z, n);
}

struct logits {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_logits_args *a;
	struct cpu_tile tile;
	int64_t s0, sn, batch;
	float *packed;   // (sn,C) in blocks
	float *works;    // (threads) struct cpu_work
	float *prepared; // few rows: (R,hth_prepared_elems(C))
	float *permuted; // few rows: (threads,CPU_PERMUTED)
	struct hth_matvec_in in;
};

static void layout(struct logits *l, struct cpu_scratch *s, int threads)
{
	int64_t rows = l->a->x.rows, width = l->a->x.cols;

	if (rows <= CPU_MATVEC_ROWS) {
		l->prepared = cpu_take(s, rows * hth_prepared_elems(width));
		l->permuted = cpu_take(s, threads * CPU_PERMUTED);
		return;
	}
	l->batch = cpu_batch_rows(l->tile, rows, width);
	l->packed = cpu_take(s, cpu_packed_elems(l->tile, l->batch, width));
	l->works = cpu_take(s, threads * cpu_work_elems(l->tile));
}

void cpu_logits_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logits_args *a = args;
	struct logits l = {.a = a, .tile = cpu_tile_of_machine(m)};
	struct cpu_scratch s = {0};

	out->flops = 2 * (double)(a->x.rows * a->x.cols) * (double)a->head.w->rows;
	out->bytes_moved = (double)hth_weight_bytes(a->head.w) + cpu_bytes(a->x) + cpu_bytes(a->y);
	layout(&l, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

static void few_task(void *ctx, int64_t task, int thread)
{
	const struct logits *l = ctx;
	const struct hth_weight *w = l->a->head.w;
	int64_t step = cpu_matvec_step(w), n0 = task * step, n1 = cpu_min(n0 + step, w->rows), rows = l->a->x.rows;
	float *y = cpu_row(l->a->y, 0); /* (R,V) */

	cpu_matvec(l->k, w, n0, n1, &l->in, y + n0, w->rows, l->permuted + thread * CPU_PERMUTED);
	for (int64_t r = 0; r < rows; r++)
		cpu_head_finish(l->k, &l->a->head, y + r * w->rows + n0, n1 - n0);
}

/* Task: (column group, row group), rows fastest. */
static void many_task(void *ctx, int64_t task, int thread)
{
	const struct logits *l = ctx;
	struct cpu_work w = cpu_work_at(l->tile, l->works, thread);
	int64_t n = l->a->head.w->rows, rows = cpu_task_rows(l->tile), chunks = cpu_ceil(l->sn, rows);
	int64_t r0 = task % chunks * rows, r1 = cpu_min(r0 + rows, l->sn);
	int64_t j0 = task / chunks * CPU_COLS, j1 = cpu_min(j0 + CPU_COLS, n);
	struct cpu_left left = {.packed = l->packed, .k = l->a->x.cols};
	struct cpu_right right = cpu_right_weight(l->a->head.w, true, 0);
	float *y = cpu_row(l->a->y, l->s0); /* (sn,V) */

	cpu_product(l->k, &left, r0, r1, &right, j0, j1, y, n, false, &w);
	for (int64_t r = r0; r < r1; r++)
		cpu_head_finish(l->k, &l->a->head, y + r * n + j0, j1 - j0);
}

enum hth_status cpu_logits(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct logits l = {.dev = d, .k = &d->kernels.k, .a = args, .tile = cpu_tile_of_device(d)};
	const struct hth_weight *w = l.a->head.w;
	struct cpu_scratch s = {.base = scratch};

	(void)err;
	layout(&l, &s, hth_pool_threads(d->pool));
	if (l.a->x.rows <= CPU_MATVEC_ROWS) {
		l.in = cpu_matvec_in(l.k, l.a->x, l.prepared);
		hth_pool_run_apart(d->pool, few_task, &l, cpu_ceil(w->rows, cpu_matvec_step(w)));
		return HTH_OK;
	}
	for (l.s0 = 0; l.s0 < l.a->x.rows; l.s0 += l.batch) {
		l.sn = cpu_min(l.batch, l.a->x.rows - l.s0);
		cpu_pack(d, cpu_row(l.a->x, l.s0), l.a->x.cols, l.sn, l.a->x.cols, l.packed);
		hth_pool_run(d->pool, many_task, &l, cpu_ceil(w->rows, CPU_COLS) * cpu_ceil(l.sn, cpu_task_rows(l.tile)));
	}
	return HTH_OK;
}
