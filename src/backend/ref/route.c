/* The choice of experts: the k largest logits of each row (of equal ones the lower expert), the softmax over all logits
 * or over the chosen ones, and slots sorted by expert. Logits that are not numbers are never preferred. */
#include "backend/ref/ref_int.h"

#include <math.h>

void ref_route_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_route_args *a = args;

	(void)m;
	out->flops = 5.0 * (double)(a->logits.rows * a->logits.cols);
	out->bytes_moved = ref_bytes(a->logits) + ref_bytes(a->routing.weight) + ref_bytes(a->routing.expert) +
			   ref_bytes(a->routing.order);
}

/* What expert e's weights are multiplied by. */
static double factor(const struct hth_weight *scale, int64_t e)
{
	return scale != NULL ? (double)((const float *)(const void *)scale->data)[e] : 1.0;
}

static int32_t *ints(struct hth_tensor t, int64_t row) /* (cols) */
{
	return (int32_t *)t.ctx + row * t.cols;
}

/* Is expert e among the n chosen? */
static bool is_chosen(const int32_t *chosen, int64_t n, int64_t e)
{
	for (int64_t j = 0; j < n; j++)
		if (chosen[j] == e)
			return true;
	return false;
}

static void choose(const float *logits, int64_t n_experts, int64_t top, int32_t *chosen)
{
	for (int64_t j = 0; j < top; j++) {
		int64_t best = -1;
		for (int64_t e = 0; e < n_experts; e++)
			if (!is_chosen(chosen, j, e) &&
			    (best < 0 || logits[e] > logits[best] || (isnan(logits[best]) && !isnan(logits[e]))))
				best = e;
		chosen[j] = (int32_t)best;
	}
}

/* Sum of exp(logit - largest) over all experts, or over the chosen. */
static double total(const float *logits, int64_t n_experts, const int32_t *chosen, int64_t top, bool normalise)
{
	double top_logit = logits[chosen[0]], sum = 0.0;

	for (int64_t e = 0; e < n_experts; e++)
		if (!normalise || is_chosen(chosen, top, e))
			sum += exp(logits[e] - top_logit);
	return sum;
}

enum hth_status ref_route(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_route_args *a = args;
	int64_t n_experts = a->logits.cols, top = a->routing.top;
	int32_t *begin = ints(a->routing.begin, 0), *order = ints(a->routing.order, 0), slot = 0;

	(void)dev, (void)scratch, (void)err;
	for (int64_t r = 0; r < a->logits.rows; r++) {
		const float *logits = ref_row(a->logits, r);  /* (E) */
		int32_t *chosen = ints(a->routing.expert, r); /* (k) */
		choose(logits, n_experts, top, chosen);
		double sum = total(logits, n_experts, chosen, top, a->normalise);
		for (int64_t j = 0; j < top; j++)
			ref_row(a->routing.weight, r)[j] =
				(float)(exp((double)logits[chosen[j]] - logits[chosen[0]]) / sum *
					factor(a->scale, chosen[j]));
	}
	for (int64_t e = 0; e < n_experts; e++) {
		begin[e] = slot;
		for (int64_t c = 0; c < a->logits.rows * top; c++)
			if (ints(a->routing.expert, 0)[c] == e)
				order[slot++] = (int32_t)c;
	}
	begin[n_experts] = slot;
	return HTH_OK;
}

void ref_route_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_route_backward_args *a = args;

	(void)m;
	out->flops = 8.0 * (double)(a->logits.rows * a->logits.cols);
	out->bytes_moved = 2.0 * ref_bytes(a->logits) + 2.0 * ref_bytes(a->dweight);
}

/* p over the experts that take part (all, or the chosen); dlogit = p * (dp - sum of p dp), dp = 0 where not chosen. */
enum hth_status ref_route_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_route_backward_args *a = args;
	int64_t n_experts = a->logits.cols, top = a->routing.top;

	(void)dev, (void)scratch, (void)err;
	for (int64_t r = 0; r < a->logits.rows; r++) {
		const float *logits = ref_row(a->logits, r), *dweight = ref_row(a->dweight, r); /* (E), (k) */
		const int32_t *chosen = ints(a->routing.expert, r);                             /* (k) */
		float *dlogits = ref_row(a->dlogits, r);                                        /* (E) */
		double sum = total(logits, n_experts, chosen, top, a->normalise), mean = 0.0;
		for (int64_t j = 0; j < top; j++)
			mean += exp((double)logits[chosen[j]] - logits[chosen[0]]) / sum * dweight[j] *
				factor(a->scale, chosen[j]);
		for (int64_t e = 0; e < n_experts; e++)
			dlogits[e] =
				a->normalise ? 0.0f : (float)(-exp((double)logits[e] - logits[chosen[0]]) / sum * mean);
		for (int64_t j = 0; j < top; j++)
			dlogits[chosen[j]] =
				(float)(exp((double)logits[chosen[j]] - logits[chosen[0]]) / sum *
					(dweight[j] * factor(a->scale, chosen[j]) - mean));
	}
	return HTH_OK;
}
