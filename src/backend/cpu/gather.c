/* y[r] = x[index[r]]; backward puts dy back to those rows. */
#include "backend/cpu/cpu_int.h"

#include <string.h>

enum { ROWS = 32 }; /* of a task */

void cpu_gather_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gather_args *a = args;

	(void)m;
	out->bytes_moved = 2 * cpu_bytes(a->y);
}

static int64_t source(const struct hth_rowset *rows, int64_t r)
{
	return rows->index != NULL ? rows->index[r] : r;
}

static void gather_task(void *ctx, int64_t task, int thread)
{
	const struct hth_gather_args *a = ctx;

	(void)thread;
	for (int64_t r = task * ROWS; r < cpu_min(task * ROWS + ROWS, a->y.rows); r++)
		memcpy(cpu_row(a->y, r), cpu_row(a->x, source(a->rows, r)), (size_t)a->y.cols * sizeof(float));
}

enum hth_status cpu_gather(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct hth_gather_args a = *(const struct hth_gather_args *)args;

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, gather_task, &a, cpu_ceil(a.y.rows, ROWS));
	return HTH_OK;
}

void cpu_gather_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gather_backward_args *a = args;

	(void)m;
	out->flops = (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = cpu_bytes(a->dy) + cpu_bytes(a->base) + cpu_bytes(a->dx);
}

/* One pass over dx's memory and a few rows added: bound by memory, so one thread does it. Rows of the set may repeat. */
enum hth_status cpu_gather_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_gather_backward_args *a = args;

	(void)scratch, (void)err;
	if (!hth_tensor_is(a->base))
		memset(a->dx.ctx, 0, (size_t)hth_tensor_bytes(a->dx));
	else if (a->base.ctx != a->dx.ctx)
		memcpy(a->dx.ctx, a->base.ctx, (size_t)hth_tensor_bytes(a->dx));
	for (int64_t r = 0; r < a->dy.rows; r++)
		cpu_device(dev)->kernels.k.axpy(1, cpu_row(a->dy, r), cpu_row(a->dx, source(a->rows, r)), a->dy.cols);
	return HTH_OK;
}
