/* Rows of a value: the wanted ones, before the last layer's products and the head. */
#include "ops/exec_int.h"

static void gather_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_gather_args *f = &r->args.gather;
	struct hth_gather_backward_args a = {.rows = f->rows, .dy = hth_grad_take(x, f->y)};

	if (!hth_tensor_is(a.dy))
		return;
	a.base = hth_grad_take(x, f->x);
	a.dx = hth_grad_target(x, f->x, a.base);
	hth_exec_call(x, HTH_OP_gather_backward, &a);
	hth_drop(x, a.base);
	hth_drop(x, a.dy);
	hth_grad_set(x, f->x, a.dx);
}

struct hth_tensor hth_op_gather(struct hth_exec *x, struct hth_tensor in, const struct hth_rowset *rows)
{
	struct hth_gather_args a = {.rows = rows, .x = in};

	if (!hth_exec_accepts(x, HTH_OP_gather, in))
		return HTH_NO_TENSOR;
	int64_t reach = rows->n == 0 ? 0 : rows->index == NULL ? rows->n : rows->index[rows->n - 1] + 1;
	if (reach > in.rows) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "gather: wants row %lld of %lld", (long long)reach - 1, (long long)in.rows);
		return HTH_NO_TENSOR;
	}
	if (rows->index == NULL && rows->n == in.rows)
		return in;
	a.y = hth_exec_make(x, rows->n, in.cols);
	if (!hth_exec_call(x, HTH_OP_gather, &a))
		return HTH_NO_TENSOR;
	hth_drop(x, in);
	struct hth_record *r = hth_exec_needs_grad(x, in) ? hth_tape_add(x, a.y, gather_backward) : NULL;
	if (r != NULL)
		r->args.gather = a;
	return a.y;
}
