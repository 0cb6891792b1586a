/* RMS and layer norms, over whole rows or per head. The tape keeps the input and its statistics. */
#include "ops/exec_int.h"

static void norm_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_norm_args *f = &r->args.norm;
	bool trained = hth_weight_is_trained(f->w) || hth_weight_is_trained(f->bias);
	struct hth_norm_backward_args a = {
		.kind = f->kind, .eps = f->eps, .offset = f->offset, .width = f->width, .w = f->w, .bias = f->bias,
		.x = f->x, .stats = f->stats, .dy = hth_grad_take(x, f->y), .base = HTH_NO_TENSOR, .dx = HTH_NO_TENSOR,
	};
	bool below = hth_exec_needs_grad(x, f->x);

	if (hth_tensor_is(a.dy) && (below || trained)) {
		if (below) {
			a.base = hth_grad_take(x, f->x);
			a.dx = hth_grad_target(x, f->x, a.base);
		}
		hth_exec_call(x, HTH_OP_norm_backward, &a);
		hth_drop(x, a.base);
		if (below)
			hth_grad_set(x, f->x, a.dx);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->stats);
	hth_drop(x, f->x);
}

static bool vector_fits(struct hth_exec *x, const struct hth_weight *w, int64_t width)
{
	if (w == NULL || (w->rows == 1 && w->cols == width && w->quant == HTH_QUANT_F32))
		return true;
	hth_exec_fail(x, HTH_ERR_SHAPE, "norm \"%s\": shape (%lld,%lld) in %s, expected (1,%lld) in f32", w->name,
	              (long long)w->rows, (long long)w->cols, hth_quant_format(w->quant)->name, (long long)width);
	return false;
}

struct hth_tensor hth_op_norm(struct hth_exec *x, struct hth_tensor in, const struct hth_norm *n, int64_t width)
{
	struct hth_norm_args a = {
		.kind = n->kind, .eps = n->eps, .offset = n->offset, .width = width, .w = n->w, .bias = n->bias,
		.x = in, .stats = HTH_NO_TENSOR,
	};

	if (!hth_exec_accepts(x, HTH_OP_norm, in) || !vector_fits(x, n->w, width) || !vector_fits(x, n->bias, width))
		return HTH_NO_TENSOR;
	if (width < 1 || in.cols % width != 0) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "norm: input of %lld columns, expected a multiple of %lld",
		              (long long)in.cols, (long long)width);
		return HTH_NO_TENSOR;
	}
	bool trained = hth_weight_is_trained(n->w) || hth_weight_is_trained(n->bias);
	bool taped = x->train && (trained || hth_exec_needs_grad(x, in));
	if (taped)
		a.stats = hth_exec_make(x, in.rows, in.cols / width * (n->kind == HTH_NORM_LAYER ? 2 : 1));
	a.y = taped ? hth_exec_make(x, in.rows, in.cols) : hth_exec_make_over(x, in);
	if (!hth_exec_call(x, HTH_OP_norm, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.y, norm_backward) : NULL;
	if (r != NULL)
		r->args.norm = a;
	else
		hth_drop(x, in);
	return a.y;
}
