/* Gradients of linear maps: dx = base + sum_i dy_i @ W_i + adapters; dA, dB; dW and dbias where trained.
 *
 * For each member: dy is packed; t1 = scale * dy @ B; dx gets dy @ W and (t1 @ A) * mask; then dA += t1^T drop(x) and
 * dB += scale * dy^T xa, cut by columns, rows in order. */
#include "backend/cpu/linear_int.h"

#include <string.h>

struct backward {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_linear_backward_args *a;
	struct cpu_tile tile;
	int64_t s0, sn, batch; /* rows s0 .. s0+sn-1 of R are packed, `batch` at a time */
	int i;                 /* member */
	int64_t rank;          /* largest of all members' adapters: width of t1 */
	bool first;            /* the first member that writes dx */
	float *packed;         // (sn,N_i) in blocks: dy
	float *t1;             // (sn,rank) scale * dy @ B
	float *works;          // (threads) struct cpu_work
};

static int64_t rank_of(const struct hth_linear *m)
{
	int64_t rank = 0;

	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		if (m->lora[i] != NULL && m->lora[i]->a.rows > rank)
			rank = m->lora[i]->a.rows;
	return rank;
}

/* Has any adapter of m a gradient? */
static bool is_trained(const struct hth_linear *m)
{
	bool any = false;

	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		any = any || (m->lora[i] != NULL && (m->lora[i]->a.grad != NULL || m->lora[i]->b.grad != NULL));
	return any;
}

static void layout(struct backward *b, struct cpu_scratch *s, int threads)
{
	int64_t widest = 1;

	b->rank = 0;
	for (int i = 0; i < b->a->n; i++) {
		const struct hth_linear *m = b->a->member[i];
		if (!hth_tensor_is(b->a->dy[i]))
			continue;
		widest = m->w->rows > widest ? m->w->rows : widest;
		b->rank = rank_of(m) > b->rank ? rank_of(m) : b->rank;
	}
	b->batch = cpu_batch_rows(b->tile, b->a->x.rows, widest);
	b->packed = cpu_take(s, cpu_packed_elems(b->tile, b->batch, widest));
	b->t1 = cpu_take(s, b->batch * b->rank);
	b->works = cpu_take(s, threads * cpu_work_elems(b->tile));
}

void cpu_linear_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_linear_backward_args *a = args;
	struct backward b = {.a = a, .tile = cpu_tile_of_machine(m)};
	struct cpu_scratch s = {0};
	double rows = (double)a->x.rows, below = hth_tensor_is(a->dx) ? 1 : 0;

	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->base) + cpu_bytes(a->dx);
	for (int i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->member[i]->w;
		double rank = (double)rank_of(a->member[i]);
		if (!hth_tensor_is(a->dy[i]))
			continue;
		out->flops += 2 * rows * (double)w->rows * (double)w->cols * (below + (cpu_is_trained(w) ? 1 : 0)) +
		              4 * rows * rank * (double)w->rows + 2 * rows * rank * (double)w->cols * (1 + below);
		out->bytes_moved += (double)hth_weight_bytes(w) * below + cpu_bytes(a->dy[i]) + cpu_bytes(a->xa[i]) +
		                    8 * rank * (double)(w->rows + w->cols);
	}
	layout(&b, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

/* The adapter and the rows (of those packed) of run g within from..to-1 of those packed; NULL when none. */
static const struct hth_lora *part_of_run(const struct backward *b, int32_t g, int64_t from, int64_t to, int64_t *r0,
                                          int64_t *r1)
{
	const struct hth_adapter_run *run = &b->a->rows->runs[g];

	if (!cpu_run_part(run, b->s0 + from, b->s0 + to, r0, r1))
		return NULL;
	*r0 -= b->s0;
	*r1 -= b->s0;
	return cpu_run_lora(b->a->member[b->i], run);
}

static void t1_task(void *ctx, int64_t task, int thread)
{
	const struct backward *b = ctx;
	struct cpu_work w = cpu_work_at(b->tile, b->works, thread);
	int64_t rows = cpu_xa_rows(b->tile), from = task * rows, to = cpu_min(from + rows, b->sn), r0, r1;

	for (int32_t g = 0; g < b->a->rows->n_runs; g++) {
		const struct hth_lora *l = part_of_run(b, g, from, to, &r0, &r1);
		if (l == NULL)
			continue;
		int64_t rank = l->b.cols;
		struct cpu_left dy = {.packed = b->packed, .k = l->b.rows};
		struct cpu_right right = cpu_right_f32(l->b.value, rank, false, l->scale);
		for (int64_t j = 0; j < rank; j += CPU_COLS)
			cpu_product(b->k, &dy, r0, r1, &right, j, cpu_min(j + CPU_COLS, rank), b->t1, b->rank,
			            false, &w);
	}
}

/* dx += (t1 @ A) * mask for rows r0..r1-1, columns j0..j1-1. */
static void dx_adapter(const struct backward *b, const struct hth_lora *l, int64_t r0, int64_t r1, int64_t j0, int64_t j1,
                       const struct cpu_work *w)
{
	const struct hth_linear_backward_args *a = b->a;
	int64_t width = a->dx.cols, mr = b->tile.mr;
	float *dx = cpu_row(a->dx, b->s0); /* (sn,C) */
	struct cpu_left t1 = {.rows = b->t1, .ld = b->rank, .k = l->a.rows};
	struct cpu_right right = cpu_right_f32(l->a.value, width, false, 1);
	struct cpu_mask mask;

	if (!cpu_lora_mask(&a->drop, l, a->rows, b->s0, &mask)) {
		cpu_product(b->k, &t1, r0, r1, &right, j0, j1, dx, width, true, w);
		return;
	}
	for (int64_t r = r0; r < r1; r += mr) {
		int64_t m = cpu_min(mr, r1 - r);
		/* c of the product stands at row 0, column 0: shifted so that (r,j0) is the buffer's start. */
		struct cpu_left rows = t1;
		rows.rows += r * t1.ld;
		struct cpu_right part = right;
		part.f32 += j0;
		cpu_product(b->k, &rows, 0, m, &part, 0, j1 - j0, w->c, CPU_WIDE, false, w);
		for (int64_t i = 0; i < m; i++) {
			float *c = w->c + i * CPU_WIDE;
			cpu_mask_row(b->k, &mask, r + i, j0, c, c, j1 - j0);
			b->k->axpy(1, c, dx + (r + i) * width + j0, j1 - j0);
		}
	}
}

/* What dx starts from: true when something is there to add to. */
static bool dx_begin(const struct backward *b, int64_t r0, int64_t r1, int64_t j0, int64_t j1)
{
	const struct hth_linear_backward_args *a = b->a;

	if (!b->first)
		return true;
	if (!hth_tensor_is(a->base))
		return false;
	for (int64_t r = b->s0 + r0; a->base.ctx != a->dx.ctx && r < b->s0 + r1; r++)
		memcpy(cpu_row(a->dx, r) + j0, cpu_row(a->base, r) + j0, (size_t)(j1 - j0) * sizeof(float));
	return true;
}

static int64_t dx_cols(const struct backward *b)
{
	struct cpu_right right = cpu_right_weight(b->a->member[b->i]->w, false, 0);

	return cpu_right_cols(&right);
}

/* Task: (column group, row group), rows fastest. */
static void dx_task(void *ctx, int64_t task, int thread)
{
	const struct backward *b = ctx;
	const struct hth_linear *m = b->a->member[b->i];
	struct cpu_work w = cpu_work_at(b->tile, b->works, thread);
	int64_t rows = cpu_task_rows(b->tile), chunks = cpu_ceil(b->sn, rows), cols = dx_cols(b), width = b->a->dx.cols;
	int64_t r0 = task % chunks * rows, r1 = cpu_min(r0 + rows, b->sn), from, to;
	int64_t j0 = task / chunks * cols, j1 = cpu_min(j0 + cols, width);
	struct cpu_left dy = {.packed = b->packed, .k = m->w->rows};
	struct cpu_right right = cpu_right_weight(m->w, false, 0);
	bool add = dx_begin(b, r0, r1, j0, j1);

	cpu_product(b->k, &dy, r0, r1, &right, j0, j1, cpu_row(b->a->dx, b->s0), width, add, &w);
	for (int32_t g = 0; g < b->a->rows->n_runs; g++) {
		const struct hth_lora *l = part_of_run(b, g, r0, r1, &from, &to);
		if (l != NULL)
			dx_adapter(b, l, from, to, j0, j1, &w);
	}
}

/* Task: 64 columns of dA, all runs in order. */
static void da_task(void *ctx, int64_t task, int thread)
{
	const struct backward *b = ctx;
	struct cpu_work w = cpu_work_at(b->tile, b->works, thread);
	int64_t width = b->a->x.cols, j0 = task * CPU_COLS, r0, r1;

	for (int32_t g = 0; g < b->a->rows->n_runs; g++) {
		const struct hth_lora *l = part_of_run(b, g, 0, b->sn, &r0, &r1);
		struct cpu_mask mask;
		if (l == NULL || l->a.grad == NULL)
			continue;
		bool masked = cpu_lora_mask(&b->a->drop, l, b->a->rows, b->s0, &mask);
		struct cpu_outer o = {.l = b->t1,
		                      .ldl = b->rank,
		                      .m = l->a.rows,
		                      .r = cpu_row(b->a->x, b->s0),
		                      .ldr = width,
		                      .mask = masked ? &mask : NULL,
		                      .scale = 1,
		                      .out = l->a.grad,
		                      .ldo = width};
		cpu_outer(b->k, &o, r0, r1, j0, cpu_min(j0 + CPU_COLS, width), &w);
	}
}

/* Task: 64 rows of dB, all runs in order. */
static void db_task(void *ctx, int64_t task, int thread)
{
	const struct backward *b = ctx;
	struct cpu_work w = cpu_work_at(b->tile, b->works, thread);
	struct hth_tensor dy = b->a->dy[b->i], xa = b->a->xa[b->i];
	int64_t j0 = task * CPU_COLS, r0, r1;

	for (int32_t g = 0; g < b->a->rows->n_runs; g++) {
		const struct hth_lora *l = part_of_run(b, g, 0, b->sn, &r0, &r1);
		if (l == NULL || l->b.grad == NULL)
			continue;
		struct cpu_outer o = {.l = cpu_row(xa, b->s0),
		                      .ldl = xa.cols,
		                      .m = l->b.cols,
		                      .r = cpu_row(dy, b->s0),
		                      .ldr = dy.cols,
		                      .scale = l->scale,
		                      .out = l->b.grad,
		                      .ldo = l->b.cols,
		                      .flip = true};
		cpu_outer(b->k, &o, r0, r1, j0, cpu_min(j0 + CPU_COLS, dy.cols), &w);
	}
}

/* Task: 64 columns of dW. */
static void dw_task(void *ctx, int64_t task, int thread)
{
	const struct backward *b = ctx;
	const struct hth_weight *weight = b->a->member[b->i]->w;
	struct cpu_work w = cpu_work_at(b->tile, b->works, thread);
	struct hth_tensor dy = b->a->dy[b->i];
	int64_t width = b->a->x.cols, j0 = task * CPU_COLS;
	struct cpu_outer o = {.l = cpu_row(dy, b->s0),
	                      .ldl = dy.cols,
	                      .m = dy.cols,
	                      .r = cpu_row(b->a->x, b->s0),
	                      .ldr = width,
	                      .scale = 1,
	                      .out = weight->param->grad,
	                      .ldo = width,
	                      .stored = weight};

	cpu_outer(b->k, &o, 0, b->sn, j0, cpu_min(j0 + CPU_COLS, width), &w);
}

static void dbias(const struct backward *b)
{
	struct hth_tensor dy = b->a->dy[b->i];

	for (int64_t r = b->s0; r < b->s0 + b->sn; r++)
		b->k->axpy(1, cpu_row(dy, r), b->a->member[b->i]->bias->param->grad, dy.cols);
}

static void backward_member(struct backward *b)
{
	const struct hth_linear_backward_args *a = b->a;
	const struct hth_linear *m = a->member[b->i];
	struct hth_tensor dy = a->dy[b->i];
	struct hth_pool *pool = b->dev->pool;
	bool adapters = rank_of(m) > 0, below = hth_tensor_is(a->dx), trained = is_trained(m);

	adapters = adapters && (below || trained);
	if (below || adapters)
		cpu_pack(b->dev, cpu_row(dy, b->s0), dy.cols, b->sn, dy.cols, b->packed);
	if (adapters)
		hth_pool_run(pool, t1_task, b, cpu_ceil(b->sn, cpu_xa_rows(b->tile)));
	if (below) {
		hth_pool_run(pool, dx_task, b, cpu_ceil(a->dx.cols, dx_cols(b)) * cpu_ceil(b->sn, cpu_task_rows(b->tile)));
		b->first = false;
	}
	if (adapters && trained) {
		hth_pool_run(pool, da_task, b, cpu_ceil(a->x.cols, CPU_COLS));
		hth_pool_run(pool, db_task, b, cpu_ceil(dy.cols, CPU_COLS));
	}
	if (cpu_is_trained(m->w))
		hth_pool_run(pool, dw_task, b, cpu_ceil(a->x.cols, CPU_COLS));
	if (cpu_is_trained(m->bias))
		dbias(b);
}

/* No member had a gradient: dx is base alone. */
static void base_alone(const struct hth_linear_backward_args *a)
{
	if (!hth_tensor_is(a->base))
		memset(a->dx.ctx, 0, (size_t)hth_tensor_bytes(a->dx));
	else if (a->base.ctx != a->dx.ctx)
		memcpy(a->dx.ctx, a->base.ctx, (size_t)hth_tensor_bytes(a->dx));
}

enum hth_status cpu_linear_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct backward b = {.dev = d, .k = &d->kernels.k, .a = args, .tile = cpu_tile_of_device(d)};
	struct cpu_scratch s = {.base = scratch};
	bool any = false;

	(void)err;
	layout(&b, &s, hth_pool_threads(d->pool));
	for (b.s0 = 0; b.s0 < b.a->x.rows; b.s0 += b.batch) {
		b.sn = cpu_min(b.batch, b.a->x.rows - b.s0);
		b.first = true;
		for (b.i = 0; b.i < b.a->n; b.i++)
			if (hth_tensor_is(b.a->dy[b.i])) {
				any = true;
				backward_member(&b);
			}
	}
	if (!any && hth_tensor_is(b.a->dx))
		base_alone(b.a);
	return HTH_OK;
}
