/* Some columns of each group of columns: the query's and the gate's of a linear that gives both. */
#include "ops/exec_int.h"

static void slice_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_slice_args *f = &r->args.slice;
	struct hth_slice_backward_args a = {
		.group = f->group, .first = f->first, .n = f->n, .dy = hth_grad_take(x, f->y)};

	if (!hth_tensor_is(a.dy))
		return;
	a.base = hth_grad_take(x, f->x);
	a.dx = hth_grad_target(x, f->x, a.base);
	hth_exec_call(x, HTH_OP_slice_backward, &a);
	hth_drop(x, a.base);
	hth_drop(x, a.dy);
	hth_grad_set(x, f->x, a.dx);
}

struct hth_tensor hth_op_slice(struct hth_exec *x, struct hth_tensor in, int64_t group, int64_t first, int64_t n)
{
	struct hth_slice_args a = {.group = group, .first = first, .n = n, .x = in};

	if (!hth_exec_accepts(x, HTH_OP_slice, in))
		return HTH_NO_TENSOR;
	if (group < 1 || in.cols % group != 0 || first < 0 || n < 1 || first > group - n) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "slice: columns %lld..%lld of groups of %lld in %lld, expected whole groups",
		              (long long)first, (long long)(first + n - 1), (long long)group, (long long)in.cols);
		return HTH_NO_TENSOR;
	}
	a.y = hth_exec_make(x, in.rows, in.cols / group * n);
	if (!hth_exec_call(x, HTH_OP_slice, &a))
		return HTH_NO_TENSOR;
	hth_drop(x, in);
	struct hth_record *r = hth_exec_needs_grad(x, in) ? hth_tape_add(x, a.y, slice_backward) : NULL;
	if (r != NULL)
		r->args.slice = a;
	return a.y;
}
