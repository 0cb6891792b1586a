/* RMS and layer norm over groups of `width` columns, and their gradients; formulas in backend/ref/norm.c. */
#include "backend/cpu/cpu_int.h"

#include <math.h>

enum { TASK_ELEMS = 16384 };

static int64_t groups_of_task(int64_t width)
{
	return cpu_ceil(TASK_ELEMS, width > 0 ? width : 1);
}

void cpu_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_norm_args *a = args;

	(void)m;
	out->flops = 4 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->y) + cpu_bytes(a->stats);
}

struct norm {
	const struct hth_kernels *k;
	const struct hth_norm_args *a;
	int64_t groups; /* R * G */
};

static void norm_task(void *ctx, int64_t task, int thread)
{
	const struct norm *n = ctx;
	const struct hth_norm_args *a = n->a;
	bool layer = a->kind == HTH_NORM_LAYER;
	int64_t width = a->width, each = groups_of_task(width), last = cpu_min(task * each + each, n->groups);

	(void)thread;
	for (int64_t i = task * each; i < last; i++) {
		const float *x = cpu_row(a->x, 0) + i * width; /* (width) */
		float mean = layer ? n->k->sum(x, width) / (float)width : 0;
		float rstd = 1 / sqrtf(n->k->sumsq(x, mean, width) / (float)width + a->eps);
		n->k->norm(x, mean, rstd, cpu_vector(a->w), a->offset, cpu_vector(a->bias), cpu_row(a->y, 0) + i * width,
		           width);
		if (!hth_tensor_is(a->stats))
			continue;
		float *stats = cpu_row(a->stats, 0) + i * (layer ? 2 : 1);
		if (layer)
			*stats++ = mean;
		*stats = rstd;
	}
}

enum hth_status cpu_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct norm n = {.k = &cpu_device(dev)->kernels.k, .a = args};

	(void)scratch, (void)err;
	n.groups = n.a->x.rows * (n.a->x.cols / n.a->width);
	hth_pool_run(cpu_device(dev)->pool, norm_task, &n, cpu_ceil(n.groups, groups_of_task(n.a->width)));
	return HTH_OK;
}

void cpu_norm_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_norm_backward_args *a = args;

	(void)m;
	out->flops = 8 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->dy) + cpu_bytes(a->base) + cpu_bytes(a->dx);
}

struct norm_backward {
	const struct hth_kernels *k;
	const struct hth_norm_backward_args *a;
	int64_t groups;
};

static void stats_of(const struct hth_norm_backward_args *a, int64_t i, float *mean, float *rstd)
{
	const float *stats = cpu_row(a->stats, 0) + i * (a->kind == HTH_NORM_LAYER ? 2 : 1);

	*mean = a->kind == HTH_NORM_LAYER ? *stats++ : 0;
	*rstd = *stats;
}

static void dx_task(void *ctx, int64_t task, int thread)
{
	const struct norm_backward *n = ctx;
	const struct hth_norm_backward_args *a = n->a;
	int64_t width = a->width, each = groups_of_task(width), last = cpu_min(task * each + each, n->groups);

	(void)thread;
	for (int64_t i = task * each; i < last; i++) {
		const float *base = hth_tensor_is(a->base) ? cpu_row(a->base, 0) + i * width : NULL;
		float mean, rstd;
		stats_of(a, i, &mean, &rstd);
		n->k->norm_grad(cpu_row(a->x, 0) + i * width, mean, rstd, cpu_vector(a->w), a->offset,
		                a->kind == HTH_NORM_LAYER, cpu_row(a->dy, 0) + i * width, base,
		                cpu_row(a->dx, 0) + i * width, width);
	}
}

/* Task: 64 columns of dw and dbias, all groups in order, summed in double. */
static void dw_task(void *ctx, int64_t task, int thread)
{
	const struct norm_backward *n = ctx;
	const struct hth_norm_backward_args *a = n->a;
	int64_t c0 = task * CPU_COLS, cols = cpu_min(CPU_COLS, a->width - c0);
	double dw[CPU_COLS] = {0}, dbias[CPU_COLS] = {0};

	(void)thread;
	for (int64_t i = 0; i < n->groups; i++) {
		const float *x = cpu_row(a->x, 0) + i * a->width + c0, *dy = cpu_row(a->dy, 0) + i * a->width + c0;
		float mean, rstd;
		stats_of(a, i, &mean, &rstd);
		for (int64_t c = 0; c < cols; c++) {
			dw[c] += (double)dy[c] * ((x[c] - mean) * rstd);
			dbias[c] += dy[c];
		}
	}
	for (int64_t c = 0; c < cols && cpu_is_trained(a->w); c++)
		a->w->param->grad[c0 + c] += (float)dw[c];
	for (int64_t c = 0; c < cols && cpu_is_trained(a->bias); c++)
		a->bias->param->grad[c0 + c] += (float)dbias[c];
}

/* Parameter gradients first: dx may take the place of dy. */
enum hth_status cpu_norm_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct norm_backward n = {.k = &cpu_device(dev)->kernels.k, .a = args};
	struct hth_pool *pool = cpu_device(dev)->pool;

	(void)scratch, (void)err;
	n.groups = n.a->x.rows * (n.a->x.cols / n.a->width);
	if (cpu_is_trained(n.a->w) || cpu_is_trained(n.a->bias))
		hth_pool_run(pool, dw_task, &n, cpu_ceil(n.a->width, CPU_COLS));
	if (hth_tensor_is(n.a->dx))
		hth_pool_run(pool, dx_task, &n, cpu_ceil(n.groups, groups_of_task(n.a->width)));
	return HTH_OK;
}
