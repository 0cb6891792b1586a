/* The head: logits, log-probabilities of targets, and their gradients.
 *
 * With u = scale * x.w, z = cap * tanh(u / cap) (z = u without a cap) and p = softmax(z) over the vocabulary, an out
 * with target t and gradient g of its log-probability adds g * ([v == t] - p[v]) to dz[v]. The fused loss
 * -sum(weight * logp) is the case g = -weight. One row's V logits exist at a time. */
#include "backend/ref/ref_int.h"

#include <math.h>

static float head_logit(const struct hth_head *head, const float *x, const float *wrow)
{
	double u = head->scale * ref_dot(x, wrow, head->w->cols);

	return (float)(head->soft_cap > 0.0f ? head->soft_cap * tanh(u / head->soft_cap) : u);
}

/* z (V) of one row. wrow (C) is scratch. */
static void row_logits(const struct hth_head *head, const float *x, float *wrow, float *z)
{
	for (int64_t v = 0; v < head->w->rows; v++) {
		ref_unpack_row(head->w, v, wrow);
		z[v] = head_logit(head, x, wrow);
	}
}

void ref_logits_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logits_args *a = args;

	(void)m;
	out->flops = 2.0 * (double)(a->x.rows * a->x.cols) * (double)a->head.w->rows;
	out->bytes_moved = (double)hth_weight_bytes(a->head.w) + ref_bytes(a->x) + ref_bytes(a->y);
	out->scratch_bytes = (uint64_t)a->x.cols * sizeof(float);
}

enum hth_status ref_logits(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_logits_args *a = args;

	(void)dev, (void)err;
	for (int64_t r = 0; r < a->x.rows; r++)
		row_logits(&a->head, ref_row(a->x, r), scratch, ref_row(a->y, r));
	return HTH_OK;
}

/* What one row of the head needs: its logits, a row of W, dx in double. */
struct work {
	double *dx;     /* (C) */
	float *z, *wrow; /* (V), (C) */
};

static uint64_t work_bytes(const struct hth_head *head)
{
	return (uint64_t)head->w->cols * (sizeof(double) + sizeof(float)) + (uint64_t)head->w->rows * sizeof(float);
}

static struct work work_from(void *scratch, const struct hth_head *head)
{
	double *dx = scratch;
	float *z = (float *)(dx + head->w->cols);

	return (struct work){.dx = dx, .z = z, .wrow = z + head->w->rows};
}

static double log_sum_exp(const float *z, int64_t n)
{
	double top = -INFINITY, sum = 0.0;

	for (int64_t v = 0; v < n; v++)
		top = fmax(top, z[v]);
	for (int64_t v = 0; v < n; v++)
		sum += exp(z[v] - top);
	return top + log(sum);
}

/* Gradient of one row's log-probabilities: dx (C) is written, a trained head's dW added to. dlogp (n_outs), or NULL:
 * the fused loss. w->z holds the row's logits. */
static void row_gradient(const struct hth_batch *b, const struct hth_head *head, const float *dlogp, int64_t row,
                         double lse, const float *x, const struct work *w, float *dx)
{
	int64_t width = head->w->cols;
	double all = 0.0;

	for (int64_t c = 0; c < width; c++)
		w->dx[c] = 0.0;
	for (int32_t o = 0; o < b->n_outs; o++)
		if (b->out_row[o] == row && b->outs[o].target >= 0)
			all += dlogp != NULL ? dlogp[o] : -b->outs[o].weight;
	for (int64_t v = 0; v < head->w->rows; v++) {
		double dz = -all * exp(w->z[v] - lse);
		for (int32_t o = 0; o < b->n_outs; o++)
			if (b->out_row[o] == row && b->outs[o].target == v)
				dz += dlogp != NULL ? dlogp[o] : -b->outs[o].weight;
		double du = dz * head->scale;
		if (head->soft_cap > 0.0f)
			du *= 1.0 - (double)w->z[v] / head->soft_cap * ((double)w->z[v] / head->soft_cap);
		ref_unpack_row(head->w, v, w->wrow);
		for (int64_t c = 0; c < width; c++)
			w->dx[c] += du * w->wrow[c];
		for (int64_t c = 0; c < width && ref_is_trained(head->w); c++)
			ref_grad_row(head->w, v)[c] += (float)(du * x[c]);
	}
	for (int64_t c = 0; c < width; c++)
		dx[c] = (float)w->dx[c];
}

void ref_logp_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logp_args *a = args;
	double product = 2.0 * (double)(a->x.rows * a->x.cols) * (double)a->head.w->rows;

	(void)m;
	out->flops = product;
	if (hth_tensor_is(a->dx))
		out->flops += product * (ref_is_trained(a->head.w) ? 2.0 : 1.0);
	out->bytes_moved = (double)hth_weight_bytes(a->head.w) + ref_bytes(a->x) + ref_bytes(a->dx);
	out->scratch_bytes = work_bytes(&a->head);
}

enum hth_status ref_logp(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_logp_args *a = args;
	const struct hth_batch *b = a->batch;
	struct work w = work_from(scratch, &a->head);

	(void)dev, (void)err;
	for (int64_t r = 0; r < a->x.rows; r++) {
		const float *x = ref_row(a->x, r);
		row_logits(&a->head, x, w.wrow, w.z);
		double lse = log_sum_exp(w.z, a->head.w->rows);
		ref_row(a->lse, 0)[r] = (float)lse;
		for (int32_t o = 0; o < b->n_outs; o++)
			if (b->out_row[o] == r)
				ref_row(a->logp, 0)[o] = b->outs[o].target < 0 ? 0.0f : (float)(w.z[b->outs[o].target] - lse);
		if (hth_tensor_is(a->dx))
			row_gradient(b, &a->head, NULL, r, lse, x, &w, ref_row(a->dx, r));
	}
	return HTH_OK;
}

void ref_logp_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_logp_backward_args *a = args;

	(void)m;
	out->flops = 2.0 * (double)(a->x.rows * a->x.cols) * (double)a->head.w->rows *
	             (ref_is_trained(a->head.w) ? 3.0 : 2.0);
	out->bytes_moved = (double)hth_weight_bytes(a->head.w) + ref_bytes(a->x) + ref_bytes(a->dx);
	out->scratch_bytes = work_bytes(&a->head);
}

enum hth_status ref_logp_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_logp_backward_args *a = args;
	struct work w = work_from(scratch, &a->head);

	(void)dev, (void)err;
	for (int64_t r = 0; r < a->x.rows; r++) {
		const float *x = ref_row(a->x, r);
		row_logits(&a->head, x, w.wrow, w.z);
		row_gradient(a->batch, &a->head, ref_row(a->dlogp, 0), r, ref_row(a->lse, 0)[r], x, &w, ref_row(a->dx, r));
	}
	return HTH_OK;
}
