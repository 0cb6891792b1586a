/* Log-probabilities of targets and their gradients; formulas in backend/ref/logp.c. All logits never exist: rows come in
 * batches, the vocabulary in chunks of 1024, z (sn,1024).
 *
 * Fused, frozen head: one pass. exp(z - top) under the largest logit so far is both summed and, but for the targets,
 * multiplied into dx, which is rescaled when a chunk raises the top (online softmax); at the end dx is divided by the sum
 * and the targets' rows of W are added with p - 1, which a product in bf16 would lose where p is near 1. Otherwise (given
 * gradients, trained head): with the log-sum-exp known, each chunk's dz is made and multiplied into dx and dW. */
#include "backend/cpu/head_int.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1024, BATCH = 1024, ROWS = 8 }; /* vocabulary, rows at a time, rows of a task */

struct logp {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_batch *b;
	const struct hth_head *head;
	struct hth_tensor x, lse, dx; /* (R,C), (1,R), (R,C) or none */
	float *logp;                  // (n_outs), or NULL: in the gradient pass
	const float *dlogp;           // (n_outs) gradient from outside, or NULL: -weight
	bool online;                  /* the first pass makes dx */
	struct cpu_tile tile;
	int64_t batch;
	/* now */
	int64_t s0, sn, v0, vn;
	/* scratch */
	float *packed;           // (sn,C) in blocks: x
	float *z;                // (sn,CHUNK)
	float *packed_z;         // (sn,vn) in blocks
	float *top, *sum;        // (sn)
	int32_t *begin, *order;  // (R+1), (n_outs): outs of row r are order[begin[r] .. begin[r+1]-1]
	float *works;            // (threads) struct cpu_work
};

static void layout(struct logp *l, struct cpu_scratch *s, int threads)
{
	int64_t rows = l->x.rows, width = l->x.cols;

	l->batch = cpu_min(cpu_batch_rows(l->tile, rows, width), cpu_ceil(BATCH, l->tile.mr) * l->tile.mr);
	l->packed = cpu_take(s, cpu_packed_elems(l->tile, l->batch, width));
	l->z = cpu_take(s, l->batch * CHUNK);
	l->packed_z = cpu_take(s, cpu_packed_elems(l->tile, l->batch, CHUNK));
	l->top = cpu_take(s, l->batch);
	l->sum = cpu_take(s, l->batch);
	l->begin = (int32_t *)(void *)cpu_take(s, rows + 1);
	l->order = (int32_t *)(void *)cpu_take(s, l->b->n_outs);
	l->works = cpu_take(s, threads * cpu_work_elems(l->tile));
}

static void cost(const struct hth_machine *m, struct logp *l, double products, struct hth_cost *out)
{
	struct cpu_scratch s = {0};

	l->tile = cpu_tile_of_machine(m);
	out->flops = products * 2 * (double)(l->x.rows * l->x.cols) * (double)l->head->w->rows;
	out->bytes_moved = (double)hth_weight_bytes(l->head->w) + cpu_bytes(l->x) + cpu_bytes(l->dx);
	layout(l, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

void cpu_logp_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logp_args *a = args;
	struct logp l = {.b = a->batch, .head = &a->head, .x = a->x, .dx = a->dx};

	cost(m, &l, !hth_tensor_is(a->dx) ? 1 : cpu_is_trained(a->head.w) ? 4 : 2, out);
}

void cpu_logp_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logp_backward_args *a = args;
	struct logp l = {.b = a->batch, .head = &a->head, .x = a->x, .dx = a->dx};

	cost(m, &l, cpu_is_trained(a->head.w) ? 3 : 2, out);
}

/* Outs sorted by row, in their order within one. */
static void index_outs(struct logp *l)
{
	const struct hth_batch *b = l->b;

	memset(l->begin, 0, (size_t)(l->x.rows + 1) * sizeof *l->begin);
	for (int32_t o = 0; o < b->n_outs; o++)
		l->begin[b->out_row[o] + 1]++;
	for (int64_t r = 0; r < l->x.rows; r++)
		l->begin[r + 1] += l->begin[r];
	for (int32_t o = 0; o < b->n_outs; o++) /* begin[r] moves to the end of r ... */
		l->order[l->begin[b->out_row[o]]++] = o;
	for (int64_t r = l->x.rows; r > 0; r--) /* ... which is the begin of r + 1 */
		l->begin[r] = l->begin[r - 1];
	l->begin[0] = 0;
}

/* Gradient of out o's log-probability; 0 without a target. */
static float gradient_of(const struct logp *l, int32_t o)
{
	if (l->b->outs[o].target < 0)
		return 0;
	return l->dlogp != NULL ? l->dlogp[o] : -l->b->outs[o].weight;
}

/* Of all outs of a row. */
static double gradient_of_row(const struct logp *l, int64_t row)
{
	double all = 0;

	for (int32_t i = l->begin[row]; i < l->begin[row + 1]; i++)
		all += gradient_of(l, l->order[i]);
	return all;
}

/* z of the chunk. Task: (column group, row group), rows fastest. */
static void z_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;
	struct cpu_work w = cpu_work_at(l->tile, l->works, thread);
	int64_t rows = cpu_task_rows(l->tile), chunks = cpu_ceil(l->sn, rows);
	int64_t r0 = task % chunks * rows, r1 = cpu_min(r0 + rows, l->sn);
	int64_t j0 = task / chunks * CPU_COLS, j1 = cpu_min(j0 + CPU_COLS, l->vn);
	struct cpu_left left = {.packed = l->packed, .k = l->x.cols};
	struct cpu_right right = cpu_right_weight(l->head->w, true, l->v0);

	cpu_product(l->k, &left, r0, r1, &right, j0, j1, l->z, CHUNK, false, &w);
	for (int64_t r = r0; r < r1; r++)
		cpu_head_finish(l->k, l->head, l->z + r * CHUNK + j0, j1 - j0);
}

/* One row of a chunk into the running top and sum; z becomes exp(z - top), dx is rescaled. */
static void online_row(const struct logp *l, int64_t r)
{
	float *z = l->z + r * CHUNK, old[CHUNK], top = l->k->max(z, l->vn);

	for (int32_t i = l->begin[l->s0 + r]; i < l->begin[l->s0 + r + 1]; i++) {
		int64_t at = l->b->outs[l->order[i]].target - l->v0;
		if (at >= 0 && at < l->vn)
			l->logp[l->order[i]] = z[at];
	}
	top = l->v0 > 0 && l->top[r] > top ? l->top[r] : top;
	float factor = l->v0 > 0 ? expf(l->top[r] - top) : 0;
	if (l->online && l->head->soft_cap > 0)
		memcpy(old, z, (size_t)l->vn * sizeof *z);
	float part = l->k->exp_sum(z, top, z, l->vn);
	l->sum[r] = (l->v0 > 0 ? l->sum[r] * factor : 0) + part;
	l->top[r] = top;
	if (!l->online)
		return;
	if (l->head->soft_cap > 0)
		cpu_cap_slope(l->head->soft_cap, old, z, l->vn);
	for (int32_t i = l->begin[l->s0 + r]; i < l->begin[l->s0 + r + 1]; i++) {
		int64_t at = l->b->outs[l->order[i]].target - l->v0;
		if (at >= 0 && at < l->vn)
			z[at] = 0;
	}
	float *dx = cpu_row(l->dx, l->s0 + r); /* (C) */
	if (l->v0 > 0 && factor != 1)
		l->k->scale(factor, dx, dx, l->dx.cols);
}

static void online_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;

	(void)thread;
	for (int64_t r = task * ROWS; r < cpu_min(task * ROWS + ROWS, l->sn); r++)
		online_row(l, r);
}

/* z becomes dz, with lse known. */
static void dz_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;
	const struct hth_head *head = l->head;
	float old[CHUNK]; // (vn)

	(void)thread;
	for (int64_t r = task * ROWS; r < cpu_min(task * ROWS + ROWS, l->sn); r++) {
		int64_t row = l->s0 + r;
		float *z = l->z + r * CHUNK;
		if (head->soft_cap > 0)
			memcpy(old, z, (size_t)l->vn * sizeof *z);
		(void)l->k->exp_sum(z, cpu_row(l->lse, 0)[row], z, l->vn);
		l->k->scale((float)-gradient_of_row(l, row), z, z, l->vn);
		for (int32_t i = l->begin[row]; i < l->begin[row + 1]; i++) {
			int64_t at = l->b->outs[l->order[i]].target - l->v0;
			if (at >= 0 && at < l->vn)
				z[at] += gradient_of(l, l->order[i]);
		}
		if (head->soft_cap > 0)
			cpu_cap_slope(head->soft_cap, old, z, l->vn);
		if (head->scale != 1)
			l->k->scale(head->scale, z, z, l->vn);
	}
}

static int64_t dx_cols(const struct logp *l)
{
	struct cpu_right right = cpu_right_weight(l->head->w, false, 0);

	return cpu_right_cols(&right);
}

/* dx += z @ W of the chunk. */
static void dx_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;
	struct cpu_work w = cpu_work_at(l->tile, l->works, thread);
	int64_t rows = cpu_task_rows(l->tile), chunks = cpu_ceil(l->sn, rows), cols = dx_cols(l);
	int64_t r0 = task % chunks * rows, j0 = task / chunks * cols;
	struct cpu_left left = {.packed = l->packed_z, .k = l->vn};
	struct cpu_right right = cpu_right_weight(l->head->w, false, l->v0);

	cpu_product(l->k, &left, r0, cpu_min(r0 + rows, l->sn), &right, j0, cpu_min(j0 + cols, l->dx.cols),
	            cpu_row(l->dx, l->s0), l->dx.cols, l->v0 > 0, &w);
}

/* dW += z^T @ x of the chunk. Task: 64 columns. */
static void dw_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;
	struct cpu_work w = cpu_work_at(l->tile, l->works, thread);
	int64_t j0 = task * CPU_COLS, width = l->x.cols;
	struct cpu_outer o = {.l = l->z,
	                      .ldl = CHUNK,
	                      .m = l->vn,
	                      .r = cpu_row(l->x, l->s0),
	                      .ldr = width,
	                      .scale = 1,
	                      .out = l->head->w->param->grad,
	                      .ldo = width,
	                      .stored = l->head->w,
	                      .stored0 = l->v0};

	cpu_outer(l->k, &o, 0, l->sn, j0, cpu_min(j0 + CPU_COLS, width), &w);
}

static void add_dx(struct logp *l)
{
	cpu_pack(l->dev, l->z, CHUNK, l->sn, l->vn, l->packed_z);
	hth_pool_run(l->dev->pool, dx_task, l, cpu_ceil(l->dx.cols, dx_cols(l)) * cpu_ceil(l->sn, cpu_task_rows(l->tile)));
}

/* All chunks for rows s0 .. s0+sn-1: row_task makes of z what is summed or multiplied further. */
static void walk_chunks(struct logp *l, hth_pool_fn *row_task, bool dx, bool dw)
{
	int64_t n = l->head->w->rows;

	cpu_pack(l->dev, cpu_row(l->x, l->s0), l->x.cols, l->sn, l->x.cols, l->packed);
	for (l->v0 = 0; l->v0 < n; l->v0 += CHUNK) {
		l->vn = cpu_min(CHUNK, n - l->v0);
		hth_pool_run(l->dev->pool, z_task, l,
		             cpu_ceil(l->vn, CPU_COLS) * cpu_ceil(l->sn, cpu_task_rows(l->tile)));
		hth_pool_run(l->dev->pool, row_task, l, cpu_ceil(l->sn, ROWS));
		if (dx)
			add_dx(l);
		if (dw)
			hth_pool_run(l->dev->pool, dw_task, l, cpu_ceil(l->x.cols, CPU_COLS));
	}
}

/* The sum of a row's gradients at the target of its out number i; false when an earlier out has that target, or none. */
static bool gradient_at_target(const struct logp *l, int64_t row, int32_t i, double *sum)
{
	int32_t target = l->b->outs[l->order[i]].target;

	*sum = 0;
	for (int32_t j = l->begin[row]; j < l->begin[row + 1]; j++) {
		if (l->b->outs[l->order[j]].target != target)
			continue;
		if (j < i)
			return false;
		*sum += gradient_of(l, l->order[j]);
	}
	return target >= 0;
}

/* With weights g: dx = head.scale * (sum of g * dx / sum + sum over targets of ((sum of g) * p - g at it) * slope * W[target])
 * for one row. */
static void finish_dx(const struct logp *l, int64_t r, double lse, const struct cpu_work *w)
{
	const struct hth_weight *weight = l->head->w;
	int64_t row = l->s0 + r, width = l->dx.cols;
	float *dx = cpu_row(l->dx, row), cap = l->head->soft_cap;
	double all = gradient_of_row(l, row);

	l->k->scale((float)(-all * l->head->scale / l->sum[r]), dx, dx, width);
	for (int32_t i = l->begin[row]; i < l->begin[row + 1]; i++) {
		int32_t o = l->order[i], target = l->b->outs[o].target;
		double own;
		if (!gradient_at_target(l, row, i, &own))
			continue;
		double slope = cap > 0 ? 1 - l->logp[o] / cap * (l->logp[o] / cap) : 1;
		l->k->unpack[weight->quant](hth_weight_row(weight, target), w->panels, width);
		l->k->axpy((float)((own - all * exp(l->logp[o] - lse)) * slope * l->head->scale), w->panels, dx, width);
	}
}

/* logp holds the targets' logits until here. */
static void finish_task(void *ctx, int64_t task, int thread)
{
	const struct logp *l = ctx;
	struct cpu_work w = cpu_work_at(l->tile, l->works, thread);

	for (int64_t r = task * ROWS; r < cpu_min(task * ROWS + ROWS, l->sn); r++) {
		int64_t row = l->s0 + r;
		double lse = (double)l->top[r] + log((double)l->sum[r]);
		cpu_row(l->lse, 0)[row] = (float)lse;
		if (l->online)
			finish_dx(l, r, lse, &w);
		for (int32_t i = l->begin[row]; i < l->begin[row + 1]; i++) {
			int32_t o = l->order[i];
			l->logp[o] = l->b->outs[o].target < 0 ? 0 : (float)(l->logp[o] - lse);
		}
	}
}

/* The pass with lse known. */
static void gradient_pass(struct logp *l)
{
	for (l->s0 = 0; l->s0 < l->x.rows; l->s0 += l->batch) {
		l->sn = cpu_min(l->batch, l->x.rows - l->s0);
		walk_chunks(l, dz_task, true, cpu_is_trained(l->head->w));
	}
}

enum hth_status cpu_logp(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_logp_args *a = args;
	const struct cpu_device *d = cpu_device(dev);
	struct cpu_scratch s = {.base = scratch};
	struct logp l = {.dev = d,
	                 .k = &d->kernels.k,
	                 .b = a->batch,
	                 .head = &a->head,
	                 .x = a->x,
	                 .lse = a->lse,
	                 .dx = a->dx,
	                 .logp = a->logp.ctx,
	                 .tile = cpu_tile_of_device(d)};

	(void)err;
	layout(&l, &s, hth_pool_threads(d->pool));
	index_outs(&l);
	l.online = hth_tensor_is(a->dx) && !cpu_is_trained(a->head.w);
	for (l.s0 = 0; l.s0 < l.x.rows; l.s0 += l.batch) {
		l.sn = cpu_min(l.batch, l.x.rows - l.s0);
		walk_chunks(&l, online_task, l.online, false);
		hth_pool_run(d->pool, finish_task, &l, cpu_ceil(l.sn, ROWS));
	}
	if (hth_tensor_is(a->dx) && !l.online)
		gradient_pass(&l);
	return HTH_OK;
}

enum hth_status cpu_logp_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_logp_backward_args *a = args;
	const struct cpu_device *d = cpu_device(dev);
	struct cpu_scratch s = {.base = scratch};
	struct logp l = {.dev = d,
	                 .k = &d->kernels.k,
	                 .b = a->batch,
	                 .head = &a->head,
	                 .x = a->x,
	                 .lse = a->lse,
	                 .dx = a->dx,
	                 .dlogp = a->dlogp.ctx,
	                 .tile = cpu_tile_of_device(d)};

	(void)err;
	layout(&l, &s, hth_pool_threads(d->pool));
	index_outs(&l);
	gradient_pass(&l);
	return HTH_OK;
}
