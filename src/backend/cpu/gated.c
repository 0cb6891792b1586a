/* y = act(gate) * up, and its gradients. */
#include "backend/cpu/cpu_int.h"

enum { TASK_ELEMS = 16384 };

void cpu_gated_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gated_args *a = args;

	(void)m;
	out->flops = 5 * (double)(a->y.rows * a->y.cols);
	out->bytes_moved = 3 * cpu_bytes(a->y);
}

struct gated {
	hth_gated_fn *act;
	const struct hth_gated_args *a;
	int64_t n;
};

static void gated_task(void *ctx, int64_t task, int thread)
{
	const struct gated *g = ctx;
	int64_t at = task * TASK_ELEMS;

	(void)thread;
	g->act(cpu_row(g->a->gate, 0) + at, cpu_row(g->a->up, 0) + at, cpu_row(g->a->y, 0) + at,
	       cpu_min(TASK_ELEMS, g->n - at));
}

enum hth_status cpu_gated(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_kernels *k = &cpu_device(dev)->kernels.k;
	struct gated g = {.a = args};

	(void)scratch, (void)err;
	g.n = g.a->y.rows * g.a->y.cols;
	g.act = g.a->act == HTH_ACT_SILU ? k->silu : g.a->act == HTH_ACT_GELU_TANH ? k->gelu_tanh : k->gelu_erf;
	hth_pool_run(cpu_device(dev)->pool, gated_task, &g, cpu_ceil(g.n, TASK_ELEMS));
	return HTH_OK;
}

void cpu_gated_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gated_backward_args *a = args;

	(void)m;
	out->flops = 10 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 5 * cpu_bytes(a->dy);
}

struct gated_backward {
	hth_gated_grad_fn *act;
	const struct hth_gated_backward_args *a;
	int64_t n;
};

static void gated_backward_task(void *ctx, int64_t task, int thread)
{
	const struct gated_backward *g = ctx;
	const struct hth_gated_backward_args *a = g->a;
	int64_t at = task * TASK_ELEMS;

	(void)thread;
	g->act(cpu_row(a->gate, 0) + at, cpu_row(a->up, 0) + at, cpu_row(a->dy, 0) + at, cpu_row(a->dgate, 0) + at,
	       cpu_row(a->dup, 0) + at, cpu_min(TASK_ELEMS, g->n - at));
}

enum hth_status cpu_gated_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_kernels *k = &cpu_device(dev)->kernels.k;
	struct gated_backward g = {.a = args};

	(void)scratch, (void)err;
	g.n = g.a->dy.rows * g.a->dy.cols;
	g.act = g.a->act == HTH_ACT_SILU        ? k->silu_grad
	        : g.a->act == HTH_ACT_GELU_TANH ? k->gelu_tanh_grad
	                                        : k->gelu_erf_grad;
	hth_pool_run(cpu_device(dev)->pool, gated_backward_task, &g, cpu_ceil(g.n, TASK_ELEMS));
	return HTH_OK;
}
