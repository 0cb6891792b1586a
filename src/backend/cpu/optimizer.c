/* Over parameters: the sum of squares of all gradients, in double in a fixed order, and AdamW. Formulas in
 * backend/ref/optimizer.c. Parameters without a gradient are not trained and are passed over. */
#include "backend/cpu/cpu_int.h"

#include <math.h>

enum { TASK_ELEMS = 16384 };

static int64_t elems_of(const struct hth_param *p)
{
	return p->grad != NULL ? p->rows * p->cols : 0;
}

/* Tasks of all parameters, and elements. */
static int64_t count_tasks(struct hth_param *const *params, int64_t n, double *elems)
{
	int64_t tasks = 0;

	*elems = 0;
	for (int64_t i = 0; i < n; i++) {
		tasks += cpu_ceil(elems_of(params[i]), TASK_ELEMS);
		*elems += (double)elems_of(params[i]);
	}
	return tasks;
}

/* Where a task's elements stand: tasks of parameter i are begin[i] .. begin[i+1]-1. A binary search, since a model has
 * hundreds of parameters. */
struct split {
	struct hth_param *const *params;
	int64_t n;
	int64_t *begin; // (n + 1)
};

static void split_fill(struct split *s)
{
	s->begin[0] = 0;
	for (int64_t i = 0; i < s->n; i++)
		s->begin[i + 1] = s->begin[i] + cpu_ceil(elems_of(s->params[i]), TASK_ELEMS);
}

static const struct hth_param *split_at(const struct split *s, int64_t task, int64_t *at, int64_t *elems)
{
	int64_t low = 0, high = s->n; /* begin[low] <= task < begin[high] */

	while (high - low > 1) {
		int64_t middle = (low + high) / 2;
		if (s->begin[middle] <= task)
			low = middle;
		else
			high = middle;
	}
	*at = (task - s->begin[low]) * TASK_ELEMS;
	*elems = cpu_min(TASK_ELEMS, elems_of(s->params[low]) - *at);
	return s->params[low];
}

struct norm {
	struct split split;
	double *sums; // (tasks)
};

static uint64_t norm_scratch(int64_t n, int64_t tasks)
{
	return (uint64_t)(n + 1 + tasks) * sizeof(double);
}

void cpu_grad_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_grad_norm_args *a = args;
	double elems;
	int64_t tasks = count_tasks(a->params, a->n, &elems);

	(void)m;
	out->flops = 2 * elems;
	out->bytes_moved = 4 * elems;
	out->scratch_bytes = norm_scratch(a->n, tasks);
}

/* Four sums side by side, then pairwise. */
static void norm_task(void *ctx, int64_t task, int thread)
{
	const struct norm *n = ctx;
	int64_t at, elems, i = 0;
	const float *g = split_at(&n->split, task, &at, &elems)->grad + at;
	double s[4] = {0};

	(void)thread;
	for (; i + 4 <= elems; i += 4)
		for (int j = 0; j < 4; j++)
			s[j] += (double)g[i + j] * g[i + j];
	for (; i < elems; i++)
		s[0] += (double)g[i] * g[i];
	n->sums[task] = (s[0] + s[1]) + (s[2] + s[3]);
}

enum hth_status cpu_grad_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_grad_norm_args *a = args;
	double elems;
	int64_t tasks = count_tasks(a->params, a->n, &elems);
	struct norm n = {.split = {a->params, a->n, scratch}};

	(void)err;
	n.sums = (double *)scratch + a->n + 1;
	split_fill(&n.split);
	hth_pool_run(cpu_device(dev)->pool, norm_task, &n, tasks);
	for (int64_t step = 1; step < tasks; step *= 2)
		for (int64_t i = 0; i + step < tasks; i += 2 * step)
			n.sums[i] += n.sums[i + step];
	*a->out = tasks > 0 ? n.sums[0] : 0;
	return HTH_OK;
}

void cpu_adamw_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_adamw_args *a = args;
	double elems;

	(void)m;
	(void)count_tasks(a->params, a->n, &elems);
	out->flops = 14 * elems;
	out->bytes_moved = 32 * elems;
	out->scratch_bytes = norm_scratch(a->n, 0);
}

struct adamw {
	const struct hth_kernels *k;
	struct split split;
	struct hth_adamw_step step;
};

static void adamw_task(void *ctx, int64_t task, int thread)
{
	const struct adamw *w = ctx;
	int64_t at, elems;
	const struct hth_param *p = split_at(&w->split, task, &at, &elems);

	(void)thread;
	w->k->adamw(&w->step, p->value + at, p->grad + at, p->m + at, p->v + at, elems);
}

enum hth_status cpu_adamw(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_adamw_args *a = args;
	double elems, fix_m = 1, fix_v = 1;
	int64_t tasks = count_tasks(a->params, a->n, &elems);
	struct adamw w = {.k = &cpu_device(dev)->kernels.k, .split = {a->params, a->n, scratch}};

	(void)err;
	if (a->bias_correction) {
		fix_m = 1 - pow(a->beta1, (double)a->step);
		fix_v = 1 - pow(a->beta2, (double)a->step);
	}
	w.step = (struct hth_adamw_step){
	        .beta1 = a->beta1,
	        .beta2 = a->beta2,
	        .eps = a->eps,
	        .grad_scale = a->grad_scale,
	        .decay = (float)(1 - (double)a->lr * a->weight_decay),
	        .step_size = (float)(a->lr / fix_m),
	        .root = (float)(1 / sqrt(fix_v)),
	};
	split_fill(&w.split);
	hth_pool_run(cpu_device(dev)->pool, adamw_task, &w, tasks);
	return HTH_OK;
}
