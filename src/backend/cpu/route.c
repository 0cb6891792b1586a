/* The choice of experts: rows on all threads, then one pass that sorts the choices by expert (a counting sort). */
#include "backend/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

enum { TASK_ROWS = 32 };

void cpu_route_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_route_args *a = args;

	(void)m;
	out->flops = 5 * (double)(a->logits.rows * a->logits.cols);
	out->bytes_moved = cpu_bytes(a->logits) + cpu_bytes(a->routing.weight) + cpu_bytes(a->routing.expert) +
			   cpu_bytes(a->routing.order);
}

/* What expert e's weights are multiplied by. */
static float factor(const struct hth_weight *scale, int64_t e)
{
	return scale != NULL ? cpu_vector(scale)[e] : 1;
}

static int32_t *ints(struct hth_tensor t, int64_t row) /* (cols) */
{
	return (int32_t *)t.ctx + row * t.cols;
}

/* The largest k, sorted; an expert takes its place behind all that are not smaller, so of equal ones the lower comes
 * first. A logit that is no number comes last. */
static void choose(const float *logits, int64_t n_experts, int64_t top, int32_t *chosen)
{
	int64_t n = 0;

	for (int64_t e = 0; e < n_experts; e++) {
		int64_t at = n < top ? n : top;
		while (at > 0 &&
		       (logits[e] > logits[chosen[at - 1]] || (isnan(logits[chosen[at - 1]]) && !isnan(logits[e]))))
			at--;
		if (at == top)
			continue;
		n = n < top ? n + 1 : top;
		memmove(chosen + at + 1, chosen + at, (size_t)(n - 1 - at) * sizeof *chosen);
		chosen[at] = (int32_t)e;
	}
}

/* Sum of exp(logit - largest) over all experts, or over the chosen. */
static float total(const float *logits, int64_t n_experts, const int32_t *chosen, int64_t top, bool normalise)
{
	float sum = 0;

	if (normalise)
		for (int64_t j = 0; j < top; j++)
			sum += expf(logits[chosen[j]] - logits[chosen[0]]);
	else
		for (int64_t e = 0; e < n_experts; e++)
			sum += expf(logits[e] - logits[chosen[0]]);
	return sum;
}

static void route_task(void *ctx, int64_t task, int thread)
{
	const struct hth_route_args *a = ctx;
	int64_t top = a->routing.top, last = cpu_min((task + 1) * TASK_ROWS, a->logits.rows);

	(void)thread;
	for (int64_t r = task * TASK_ROWS; r < last; r++) {
		const float *logits = cpu_row(a->logits, r);   /* (E) */
		float *weight = cpu_row(a->routing.weight, r); /* (k) */
		int32_t *chosen = ints(a->routing.expert, r);  /* (k) */
		choose(logits, a->logits.cols, top, chosen);
		float sum = total(logits, a->logits.cols, chosen, top, a->normalise);
		for (int64_t j = 0; j < top; j++)
			weight[j] = expf(logits[chosen[j]] - logits[chosen[0]]) / sum * factor(a->scale, chosen[j]);
	}
}

/* begin[e + 1] counts, then is where expert e's next slot goes, and so ends up as the end of e. */
static void sort(const struct hth_routing *r)
{
	int64_t n = r->weight.rows * r->top;
	const int32_t *expert = ints(r->expert, 0);
	int32_t *begin = ints(r->begin, 0), *order = ints(r->order, 0), at = 0;

	memset(begin, 0, (size_t)(r->n_experts + 1) * sizeof *begin);
	for (int64_t c = 0; c < n; c++)
		begin[expert[c] + 1]++;
	for (int64_t e = 0; e < r->n_experts; e++) {
		int32_t count = begin[e + 1];
		begin[e + 1] = at;
		at += count;
	}
	for (int64_t c = 0; c < n; c++)
		order[begin[expert[c] + 1]++] = (int32_t)c;
}

enum hth_status cpu_route(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct hth_route_args a = *(const struct hth_route_args *)args;

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, route_task, &a, cpu_ceil(a.logits.rows, TASK_ROWS));
	sort(&a.routing);
	return HTH_OK;
}

void cpu_route_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_route_backward_args *a = args;

	(void)m;
	out->flops = 8 * (double)(a->logits.rows * a->logits.cols);
	out->bytes_moved = 2 * cpu_bytes(a->logits) + 2 * cpu_bytes(a->dweight);
}

/* p over the experts that take part; dlogit = p * (dp - sum of p dp), dp = 0 where not chosen. */
static void route_backward_task(void *ctx, int64_t task, int thread)
{
	const struct hth_route_backward_args *a = ctx;
	int64_t n_experts = a->logits.cols, top = a->routing.top,
		last = cpu_min((task + 1) * TASK_ROWS, a->logits.rows);

	(void)thread;
	for (int64_t r = task * TASK_ROWS; r < last; r++) {
		const float *logits = cpu_row(a->logits, r), *weight = cpu_row(a->routing.weight, r); /* (E), (k) */
		const float *dweight = cpu_row(a->dweight, r);                                        /* (k) */
		const int32_t *chosen = ints(a->routing.expert, r);                                   /* (k) */
		float *dlogits = cpu_row(a->dlogits, r), mean = 0;                                    /* (E) */
		for (int64_t j = 0; j < top; j++)
			mean += weight[j] * dweight[j];
		float sum = total(logits, n_experts, chosen, top, a->normalise);
		if (a->normalise) {
			memset(dlogits, 0, (size_t)n_experts * sizeof *dlogits);
		} else {
			for (int64_t e = 0; e < n_experts; e++)
				dlogits[e] = -mean * (expf(logits[e] - logits[chosen[0]]) / sum);
		}
		for (int64_t j = 0; j < top; j++)
			dlogits[chosen[j]] = expf(logits[chosen[j]] - logits[chosen[0]]) / sum *
					     (dweight[j] * factor(a->scale, chosen[j]) - mean);
	}
}

enum hth_status cpu_route_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct hth_route_backward_args a = *(const struct hth_route_backward_args *)args;

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, route_backward_task, &a, cpu_ceil(a.logits.rows, TASK_ROWS));
	return HTH_OK;
}
