/* Some columns of each group of columns; backward puts them back. */
#include "backend/cpu/cpu_int.h"

#include <string.h>

enum { TASK_ELEMS = 16384 };

void cpu_slice_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_slice_args *a = args;

	(void)m;
	out->bytes_moved = 2 * cpu_bytes(a->y);
}

static int64_t task_rows(int64_t cols)
{
	return cpu_ceil(TASK_ELEMS, cols > 0 ? cols : 1);
}

static void slice_task(void *ctx, int64_t task, int thread)
{
	const struct hth_slice_args *a = ctx;
	int64_t each = task_rows(a->x.cols), last = cpu_min(task * each + each, a->x.rows);

	(void)thread;
	for (int64_t r = task * each; r < last; r++)
		for (int64_t g = 0; g < a->y.cols / a->n; g++)
			memcpy(cpu_row(a->y, r) + g * a->n, cpu_row(a->x, r) + g * a->group + a->first,
			       (size_t)a->n * sizeof(float));
}

enum hth_status cpu_slice(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_slice_args *a = args;

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, slice_task, (void *)(uintptr_t)a, cpu_ceil(a->x.rows, task_rows(a->x.cols)));
	return HTH_OK;
}

void cpu_slice_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_slice_backward_args *a = args;

	(void)m;
	out->flops = (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = cpu_bytes(a->dy) + cpu_bytes(a->base) + cpu_bytes(a->dx);
}

static void slice_backward_task(void *ctx, int64_t task, int thread)
{
	const struct hth_slice_backward_args *a = ctx;
	int64_t each = task_rows(a->dx.cols), last = cpu_min(task * each + each, a->dx.rows);
	size_t bytes = (size_t)a->dx.cols * sizeof(float);

	(void)thread;
	for (int64_t r = task * each; r < last; r++) {
		float *dx = cpu_row(a->dx, r);
		if (!hth_tensor_is(a->base))
			memset(dx, 0, bytes);
		else if (cpu_row(a->base, r) != dx)
			memcpy(dx, cpu_row(a->base, r), bytes);
		for (int64_t g = 0; g < a->dy.cols / a->n; g++)
			for (int64_t c = 0; c < a->n; c++)
				dx[g * a->group + a->first + c] += cpu_row(a->dy, r)[g * a->n + c];
	}
}

enum hth_status cpu_slice_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_slice_backward_args *a = args;

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, slice_backward_task, (void *)(uintptr_t)a,
	             cpu_ceil(a->dx.rows, task_rows(a->dx.cols)));
	return HTH_OK;
}
