/* y = a + scale * b; without a: scale * b. */
#include "backend/cpu/cpu_int.h"

enum { TASK_ELEMS = 16384 };

void cpu_add_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_add_args *a = args;

	(void)m;
	out->flops = 2 * (double)(a->y.rows * a->y.cols);
	out->bytes_moved = cpu_bytes(a->a) + cpu_bytes(a->b) + cpu_bytes(a->y);
}

struct add {
	const struct hth_kernels *k;
	const struct hth_add_args *a;
	int64_t n;
};

static void add_task(void *ctx, int64_t task, int thread)
{
	const struct add *s = ctx;
	int64_t at = task * TASK_ELEMS, n = cpu_min(TASK_ELEMS, s->n - at);
	const float *b = cpu_row(s->a->b, 0) + at;
	float *y = cpu_row(s->a->y, 0) + at;

	(void)thread;
	if (hth_tensor_is(s->a->a))
		s->k->add(s->a->scale, b, cpu_row(s->a->a, 0) + at, y, n);
	else
		s->k->scale(s->a->scale, b, y, n);
}

enum hth_status cpu_add(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct add s = {.k = &cpu_device(dev)->kernels.k, .a = args};

	(void)scratch, (void)err;
	s.n = s.a->y.rows * s.a->y.cols;
	hth_pool_run(cpu_device(dev)->pool, add_task, &s, cpu_ceil(s.n, TASK_ELEMS));
	return HTH_OK;
}
