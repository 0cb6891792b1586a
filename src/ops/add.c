/* y = a + scale * b: the residual sum, and scale * b alone. The sum's gradient is shared by both inputs without a copy
 * when scale is 1. */
#include "ops/exec_int.h"

static void add_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_add_args *f = &r->args.add;
	struct hth_tensor dy = hth_grad_take(x, f->y);

	if (!hth_tensor_is(dy))
		return;
	if (f->scale == 1.0f) {
		hth_grad_give(x, f->b, hth_keep(x, dy));
	} else if (hth_exec_needs_grad(x, f->b)) {
		struct hth_tensor base = hth_grad_take(x, f->b);
		struct hth_add_args a = {.scale = f->scale, .a = base, .b = dy, .y = hth_grad_target(x, f->b, base)};
		hth_exec_call(x, HTH_OP_add, &a);
		hth_drop(x, base);
		hth_grad_set(x, f->b, a.y);
	}
	hth_grad_give(x, f->a, dy);
}

static void scale_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_add_args *f = &r->args.add;
	struct hth_add_args a = {.scale = f->scale, .b = hth_grad_take(x, f->y)};

	if (!hth_tensor_is(a.b))
		return;
	a.a = hth_grad_take(x, f->b);
	a.y = hth_grad_target(x, f->b, a.a);
	hth_exec_call(x, HTH_OP_add, &a);
	hth_drop(x, a.a);
	hth_drop(x, a.b);
	hth_grad_set(x, f->b, a.y);
}

struct hth_tensor hth_op_scale(struct hth_exec *x, struct hth_tensor in, float scale)
{
	struct hth_add_args args = {.scale = scale, .a = HTH_NO_TENSOR, .b = in};

	if (!hth_exec_accepts(x, HTH_OP_add, in))
		return HTH_NO_TENSOR;
	bool taped = hth_exec_needs_grad(x, in);
	args.y = hth_exec_make_over(x, in);
	if (!hth_exec_call(x, HTH_OP_add, &args))
		return HTH_NO_TENSOR;
	hth_drop(x, in);
	struct hth_record *r = taped ? hth_tape_add(x, args.y, scale_backward) : NULL;
	if (r != NULL)
		r->args.add = args;
	return args.y;
}

struct hth_tensor hth_op_add(struct hth_exec *x, struct hth_tensor a, struct hth_tensor b, float scale)
{
	struct hth_add_args args = {.scale = scale, .a = a, .b = b};

	if (!hth_exec_accepts(x, HTH_OP_add, a) || !hth_exec_accepts(x, HTH_OP_add, b))
		return HTH_NO_TENSOR;
	if (a.rows != b.rows || a.cols != b.cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "add: (%lld,%lld) and (%lld,%lld), expected equal shapes", (long long)a.rows,
		              (long long)a.cols, (long long)b.rows, (long long)b.cols);
		return HTH_NO_TENSOR;
	}
	bool taped = hth_exec_needs_grad(x, a) || hth_exec_needs_grad(x, b);
	args.y = hth_exec_make_over(x, hth_exec_is_sole(x, a) ? a : b);
	if (!hth_exec_call(x, HTH_OP_add, &args))
		return HTH_NO_TENSOR;
	hth_drop(x, a);
	hth_drop(x, b);
	struct hth_record *r = taped ? hth_tape_add(x, args.y, add_backward) : NULL;
	if (r != NULL)
		r->args.add = args;
	return args.y;
}
