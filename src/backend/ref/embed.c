/* y[t] = scale * W[ids[t]]. */
#include "backend/ref/ref_int.h"

void ref_embed_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_embed_args *a = args;

	(void)m;
	out->flops = (double)(a->y.rows * a->y.cols);
	out->bytes_moved = ref_bytes(a->y) + (double)a->y.rows * (double)a->w->row_bytes;
}

enum hth_status ref_embed(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_embed_args *a = args;

	(void)dev, (void)scratch, (void)err;
	for (int64_t t = 0; t < a->y.rows; t++) {
		float *y = ref_row(a->y, t);
		ref_unpack_row(a->w, a->batch->ids[t], y);
		for (int64_t c = 0; c < a->y.cols; c++)
			y[c] *= a->scale;
	}
	return HTH_OK;
}

void ref_embed_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_embed_backward_args *a = args;

	(void)m;
	out->flops = 2.0 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 3.0 * ref_bytes(a->dy);
}

/* dW[ids[t]] += scale * dy[t], in the order of t: a token that stands twice adds twice. */
enum hth_status ref_embed_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_embed_backward_args *a = args;

	(void)dev, (void)scratch, (void)err;
	if (!ref_is_trained(a->w))
		return HTH_OK;
	for (int64_t t = 0; t < a->dy.rows; t++) {
		const float *dy = ref_row(a->dy, t);
		float *dw = ref_grad_row(a->w, a->batch->ids[t]);
		for (int64_t c = 0; c < a->dy.cols; c++)
			dw[c] += a->scale * dy[c];
	}
	return HTH_OK;
}
