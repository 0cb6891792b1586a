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

/* gpt-oss's unit is silu's, z * sigmoid(z) * v, of z = alpha * gate and v = (up + 1) / alpha, both clamped. z, v (n) */
enum { PART = 256 };

static void clamp_part(const float *gate, const float *up, float *z, float *v, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		float g = gate[i] > HTH_SWIGLU_LIMIT ? HTH_SWIGLU_LIMIT : gate[i];
		float u = up[i] > HTH_SWIGLU_LIMIT ? HTH_SWIGLU_LIMIT : up[i];
		z[i] = HTH_SWIGLU_ALPHA * g;
		v[i] = ((u < -HTH_SWIGLU_LIMIT ? -HTH_SWIGLU_LIMIT : u) + 1) / HTH_SWIGLU_ALPHA;
	}
}

static void swiglu_clamped(hth_gated_fn *silu, const float *gate, const float *up, float *y, int64_t n)
{
	float z[PART], v[PART];

	for (int64_t at = 0; at < n; at += PART) {
		int64_t part = cpu_min(PART, n - at);
		clamp_part(gate + at, up + at, z, v, part);
		silu(z, v, y + at, part);
	}
}

/* A clamped input has no gradient. */
static void swiglu_clamped_grad(hth_gated_grad_fn *silu_grad, const float *gate, const float *up, const float *dy,
                                float *dgate, float *dup, int64_t n)
{
	float z[PART], v[PART], dz[PART], dv[PART];

	for (int64_t at = 0; at < n; at += PART) {
		int64_t part = cpu_min(PART, n - at);
		clamp_part(gate + at, up + at, z, v, part);
		silu_grad(z, v, dy + at, dz, dv, part);
		for (int64_t i = 0; i < part; i++) {
			float g = gate[at + i], u = up[at + i];
			dgate[at + i] = g > HTH_SWIGLU_LIMIT ? 0 : HTH_SWIGLU_ALPHA * dz[i];
			dup[at + i] = u > HTH_SWIGLU_LIMIT || u < -HTH_SWIGLU_LIMIT ? 0 : dv[i] / HTH_SWIGLU_ALPHA;
		}
	}
}

struct gated {
	const struct hth_kernels *k;
	hth_gated_fn *act;
	const struct hth_gated_args *a;
	int64_t n;
};

static void gated_task(void *ctx, int64_t task, int thread)
{
	const struct gated *g = ctx;
	int64_t at = task * TASK_ELEMS, n = cpu_min(TASK_ELEMS, g->n - at);
	const float *gate = cpu_row(g->a->gate, 0) + at, *up = cpu_row(g->a->up, 0) + at;

	(void)thread;
	if (g->a->act == HTH_ACT_SWIGLU_CLAMPED)
		swiglu_clamped(g->k->silu, gate, up, cpu_row(g->a->y, 0) + at, n);
	else
		g->act(gate, up, cpu_row(g->a->y, 0) + at, n);
}

enum hth_status cpu_gated(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_kernels *k = &cpu_device(dev)->kernels.k;
	struct gated g = {.k = k, .a = args};

	(void)scratch, (void)err;
	g.n = g.a->y.rows * g.a->y.cols;
	g.act = g.a->act == HTH_ACT_SILU        ? k->silu
	        : g.a->act == HTH_ACT_GELU_TANH ? k->gelu_tanh
	        : g.a->act == HTH_ACT_SIGMOID   ? k->sigmoid
	                                        : k->gelu_erf;
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
	const struct hth_kernels *k;
	hth_gated_grad_fn *act;
	const struct hth_gated_backward_args *a;
	int64_t n;
};

static void gated_backward_task(void *ctx, int64_t task, int thread)
{
	const struct gated_backward *g = ctx;
	const struct hth_gated_backward_args *a = g->a;
	int64_t at = task * TASK_ELEMS, n = cpu_min(TASK_ELEMS, g->n - at);
	const float *gate = cpu_row(a->gate, 0) + at, *up = cpu_row(a->up, 0) + at, *dy = cpu_row(a->dy, 0) + at;
	float *dgate = cpu_row(a->dgate, 0) + at, *dup = cpu_row(a->dup, 0) + at;

	(void)thread;
	if (a->act == HTH_ACT_SWIGLU_CLAMPED)
		swiglu_clamped_grad(g->k->silu_grad, gate, up, dy, dgate, dup, n);
	else
		g->act(gate, up, dy, dgate, dup, n);
}

enum hth_status cpu_gated_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_kernels *k = &cpu_device(dev)->kernels.k;
	struct gated_backward g = {.k = k, .a = args};

	(void)scratch, (void)err;
	g.n = g.a->dy.rows * g.a->dy.cols;
	g.act = g.a->act == HTH_ACT_SILU        ? k->silu_grad
	        : g.a->act == HTH_ACT_GELU_TANH ? k->gelu_tanh_grad
	        : g.a->act == HTH_ACT_SIGMOID   ? k->sigmoid_grad
	                                        : k->gelu_erf_grad;
	hth_pool_run(cpu_device(dev)->pool, gated_backward_task, &g, cpu_ceil(g.n, TASK_ELEMS));
	return HTH_OK;
}
