/* y = sigmoid(gate) * x with one gate a row, and its gradients. */
#include "backend/cpu/cpu_int.h"

#include <math.h>

enum { TASK_ELEMS = 16384 };

static int64_t rows_of_task(int64_t cols)
{
	return cpu_ceil(TASK_ELEMS, cols > 0 ? cols : 1);
}

void cpu_row_gate_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_row_gate_args *a = args;

	(void)m;
	out->flops = (double)(a->y.rows * a->y.cols);
	out->bytes_moved = 2 * cpu_bytes(a->y) + cpu_bytes(a->gate);
}

struct row_gate {
	const struct hth_kernels *k;
	const struct hth_row_gate_args *a;
};

static void row_gate_task(void *ctx, int64_t task, int thread)
{
	const struct row_gate *s = ctx;
	int64_t cols = s->a->y.cols, each = rows_of_task(cols), last = cpu_min(task * each + each, s->a->y.rows);

	(void)thread;
	for (int64_t r = task * each; r < last; r++)
		s->k->scale(1 / (1 + expf(-*cpu_row(s->a->gate, r))), cpu_row(s->a->x, r), cpu_row(s->a->y, r), cols);
}

enum hth_status cpu_row_gate(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct row_gate s = {.k = &cpu_device(dev)->kernels.k, .a = args};

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, row_gate_task, &s, cpu_ceil(s.a->y.rows, rows_of_task(s.a->y.cols)));
	return HTH_OK;
}

void cpu_row_gate_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_row_gate_backward_args *a = args;

	(void)m;
	out->flops = 3 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 3 * cpu_bytes(a->dy) + 2 * cpu_bytes(a->gate);
}

struct row_gate_backward {
	const struct hth_kernels *k;
	const struct hth_row_gate_backward_args *a;
};

static void row_gate_backward_task(void *ctx, int64_t task, int thread)
{
	const struct row_gate_backward *s = ctx;
	const struct hth_row_gate_backward_args *a = s->a;
	int64_t cols = a->dy.cols, each = rows_of_task(cols), last = cpu_min(task * each + each, a->dy.rows);

	(void)thread;
	for (int64_t r = task * each; r < last; r++) {
		const float *dy = cpu_row(a->dy, r);
		float sigmoid = 1 / (1 + expf(-*cpu_row(a->gate, r)));
		/* Before dx, which may stand over x. */
		*cpu_row(a->dgate, r) = s->k->dot(dy, cpu_row(a->x, r), cols) * sigmoid * (1 - sigmoid);
		s->k->scale(sigmoid, dy, cpu_row(a->dx, r), cols);
	}
}

enum hth_status cpu_row_gate_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct row_gate_backward s = {.k = &cpu_device(dev)->kernels.k, .a = args};

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, row_gate_backward_task, &s,
		     cpu_ceil(s.a->dy.rows, rows_of_task(s.a->dy.cols)));
	return HTH_OK;
}
