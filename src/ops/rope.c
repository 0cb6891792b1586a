/* Rotary positions. Turning back is the backward rule, so the tape keeps nothing and both work in place. */
#include "ops/exec_int.h"

static void rope_backward(struct hth_exec *x, const struct hth_record *r)
{
	struct hth_rope_args a = r->args.rope;
	struct hth_tensor in = a.x, dy = hth_grad_take(x, a.y);

	if (!hth_tensor_is(dy))
		return;
	a.inverse = !a.inverse;
	a.x = dy;
	a.y = hth_exec_make_over(x, dy);
	hth_exec_call(x, HTH_OP_rope, &a);
	hth_drop(x, dy);
	hth_grad_give(x, in, a.y);
}

struct hth_tensor hth_op_rope(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in,
                              const struct hth_rotation *how)
{
	struct hth_rope_args a = {.rows = rows, .how = *how, .inverse = false, .x = in};
	int64_t head = how->head, rot = how->rot;

	if (!hth_exec_accepts(x, HTH_OP_rope, in))
		return HTH_NO_TENSOR;
	if (head < 1 || in.cols % head != 0 || in.rows != rows->n) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "rope: input (%lld,%lld), expected %d rows of heads of %lld",
		              (long long)in.rows, (long long)in.cols, rows->n, (long long)head);
		return HTH_NO_TENSOR;
	}
	if (rot < 0 || rot > head || rot % 2 != 0) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "rope: rotates %lld columns, expected an even number up to %lld",
		              (long long)rot, (long long)head);
		return HTH_NO_TENSOR;
	}
	if (how->growth < 0 || (how->growth > 0 && how->original < 1)) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "rope: growth %g from %lld tokens on, expected 0 or more, from 1 or more",
		              (double)how->growth, (long long)how->original);
		return HTH_NO_TENSOR;
	}
	a.y = hth_exec_make_over(x, in);
	if (!hth_exec_call(x, HTH_OP_rope, &a))
		return HTH_NO_TENSOR;
	hth_drop(x, in);
	struct hth_record *r = hth_exec_needs_grad(x, in) ? hth_tape_add(x, a.y, rope_backward) : NULL;
	if (r != NULL)
		r->args.rope = a;
	return a.y;
}
