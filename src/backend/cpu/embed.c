/* y[t] = scale * W[ids[t]], and the gradient of a trained W. */
#include "backend/cpu/cpu_int.h"

enum { ROWS = 16 }; /* of a task */

void cpu_embed_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_embed_args *a = args;

	(void)m;
	out->flops = (double)(a->y.rows * a->y.cols);
	out->bytes_moved = cpu_bytes(a->y) + (double)a->y.rows * (double)a->w->row_bytes;
}

struct embed {
	const struct hth_kernels *k;
	const struct hth_embed_args *a;
};

static void embed_task(void *ctx, int64_t task, int thread)
{
	const struct embed *e = ctx;
	const struct hth_weight *w = e->a->w;

	(void)thread;
	for (int64_t t = task * ROWS; t < cpu_min(task * ROWS + ROWS, e->a->y.rows); t++) {
		float *y = cpu_row(e->a->y, t); /* (C) */
		e->k->unpack[w->quant](hth_weight_row(w, e->a->batch->ids[t]), y, w->cols);
		if (e->a->scale != 1)
			e->k->scale(e->a->scale, y, y, w->cols);
	}
}

enum hth_status cpu_embed(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct embed e = {&cpu_device(dev)->kernels.k, args};

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, embed_task, &e, cpu_ceil(e.a->y.rows, ROWS));
	return HTH_OK;
}

void cpu_embed_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_embed_backward_args *a = args;

	(void)m;
	out->flops = 2 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 3 * cpu_bytes(a->dy);
}

struct embed_backward {
	const struct hth_kernels *k;
	const struct hth_embed_backward_args *a;
};

/* Task: 64 columns, all rows in order, since a token may stand twice. */
static void embed_backward_task(void *ctx, int64_t task, int thread)
{
	const struct embed_backward *e = ctx;
	const struct hth_embed_backward_args *a = e->a;
	int64_t c = task * CPU_COLS, n = cpu_min(CPU_COLS, a->dy.cols - c);

	(void)thread;
	for (int64_t t = 0; t < a->dy.rows; t++) {
		int64_t row = hth_weight_stored_row(a->w, a->batch->ids[t]);
		e->k->axpy(a->scale, cpu_row(a->dy, t) + c, a->w->param->grad + row * a->w->cols + c, n);
	}
}

enum hth_status cpu_embed_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct embed_backward e = {&cpu_device(dev)->kernels.k, args};

	(void)scratch, (void)err;
	if (cpu_is_trained(e.a->w))
		hth_pool_run(cpu_device(dev)->pool, embed_backward_task, &e, cpu_ceil(e.a->dy.cols, CPU_COLS));
	return HTH_OK;
}
