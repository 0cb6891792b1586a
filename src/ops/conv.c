/* A causal convolution along each token's own past, and SiLU. The tape keeps the input. */
#include "ops/exec_int.h"

static void conv_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_conv_args *f = &r->args.conv;
	struct hth_conv_backward_args a = {.batch = f->batch,
	                                   .taps = f->taps,
	                                   .w = f->w,
	                                   .x = f->x,
	                                   .dy = hth_grad_take(x, f->y),
	                                   .base = HTH_NO_TENSOR,
	                                   .dx = HTH_NO_TENSOR};
	bool below = hth_exec_needs_grad(x, f->x);

	if (hth_tensor_is(a.dy)) {
		if (below) {
			a.base = hth_grad_take(x, f->x);
			a.dx = hth_grad_target(x, f->x, a.base);
		}
		hth_exec_call(x, HTH_OP_conv_backward, &a);
		hth_drop(x, a.base);
		if (below)
			hth_grad_set(x, f->x, a.dx);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->x);
}

struct hth_tensor hth_op_conv(struct hth_exec *x, const struct hth_batch *b, int32_t layer, struct hth_tensor in,
                              const struct hth_weight *w, int64_t taps)
{
	struct hth_conv_args a = {.batch = b, .layer = layer, .taps = taps, .w = w, .x = in};

	if (!hth_exec_accepts(x, HTH_OP_conv, in))
		return HTH_NO_TENSOR;
	if (taps < 1 || taps > HTH_CONV_MAX_TAPS || in.rows != b->n_tokens || w->rows != 1 ||
	    w->cols != in.cols * taps || w->quant != HTH_QUANT_F32) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "conv \"%s\": (%lld,%lld), expected %d rows and %lld f32 weights of 1..%d taps",
		              w->name, (long long)in.rows, (long long)in.cols, b->n_tokens, (long long)(in.cols * taps),
		              HTH_CONV_MAX_TAPS);
		return HTH_NO_TENSOR;
	}
	bool taped = hth_exec_needs_grad(x, in) || (x->train && hth_weight_is_trained(w));
	if (taped && b->n_states > 0) {
		hth_exec_fail(x, HTH_ERR_UNAVAILABLE, "conv: a batch that continues a state has no backward pass");
		return HTH_NO_TENSOR;
	}
	a.y = hth_exec_make(x, in.rows, in.cols);
	if (!hth_exec_call(x, HTH_OP_conv, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.y, conv_backward) : NULL;
	if (r != NULL)
		r->args.conv = a;
	else
		hth_drop(x, in);
	return a.y;
}
