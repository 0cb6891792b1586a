/* The gated unit act(gate) * up. The tape keeps both inputs; their gradients are written over them. */
#include "ops/exec_int.h"

static void gated_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_gated_args *f = &r->args.gated;
	struct hth_gated_backward_args a = {
		.act = f->act, .gate = f->gate, .up = f->up, .dy = hth_grad_take(x, f->y)};
	bool any = hth_tensor_is(a.dy);

	if (any) {
		a.dgate = hth_exec_make_over(x, f->gate);
		a.dup = hth_exec_make_over(x, f->up);
		hth_exec_call(x, HTH_OP_gated_backward, &a);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->gate);
	hth_drop(x, f->up);
	if (any) {
		hth_grad_give(x, f->gate, a.dgate);
		hth_grad_give(x, f->up, a.dup);
	}
}

struct hth_tensor hth_op_gated(struct hth_exec *x, enum hth_act act, struct hth_tensor gate, struct hth_tensor up)
{
	struct hth_gated_args a = {.act = act, .gate = gate, .up = up};

	if (!hth_exec_accepts(x, HTH_OP_gated, gate) || !hth_exec_accepts(x, HTH_OP_gated, up))
		return HTH_NO_TENSOR;
	if (gate.rows != up.rows || gate.cols != up.cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "gated: gate (%lld,%lld), up (%lld,%lld), expected equal shapes",
		              (long long)gate.rows, (long long)gate.cols, (long long)up.rows, (long long)up.cols);
		return HTH_NO_TENSOR;
	}
	bool taped = hth_exec_needs_grad(x, gate) || hth_exec_needs_grad(x, up);
	a.y = taped ? hth_exec_make(x, gate.rows, gate.cols)
	            : hth_exec_make_over(x, hth_exec_is_sole(x, gate) ? gate : up);
	if (!hth_exec_call(x, HTH_OP_gated, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.y, gated_backward) : NULL;
	if (r != NULL) {
		r->args.gated = a;
	} else {
		hth_drop(x, gate);
		hth_drop(x, up);
	}
	return a.y;
}
