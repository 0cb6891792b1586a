/* y = sigmoid(gate) * x with one gate a row. The tape keeps both inputs. */
#include "ops/exec_int.h"

static void row_gate_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_row_gate_args *f = &r->args.row_gate;
	struct hth_row_gate_backward_args a = {.x = f->x, .gate = f->gate, .dy = hth_grad_take(x, f->y)};
	bool any = hth_tensor_is(a.dy);

	if (any) {
		a.dx = hth_exec_make_over(x, f->x);
		a.dgate = hth_exec_make(x, f->gate.rows, f->gate.cols);
		hth_exec_call(x, HTH_OP_row_gate_backward, &a);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->x);
	hth_drop(x, f->gate);
	if (any) {
		hth_grad_give(x, f->x, a.dx);
		hth_grad_give(x, f->gate, a.dgate);
	}
}

struct hth_tensor hth_op_row_gate(struct hth_exec *x, struct hth_tensor in, struct hth_tensor gate)
{
	struct hth_row_gate_args a = {.x = in, .gate = gate};

	if (!hth_exec_accepts(x, HTH_OP_row_gate, in) || !hth_exec_accepts(x, HTH_OP_row_gate, gate))
		return HTH_NO_TENSOR;
	if (gate.rows != in.rows || gate.cols != 1) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "row gate: (%lld,%lld) gated by (%lld,%lld), expected one gate a row",
			      (long long)in.rows, (long long)in.cols, (long long)gate.rows, (long long)gate.cols);
		return HTH_NO_TENSOR;
	}
	bool taped = hth_exec_needs_grad(x, in) || hth_exec_needs_grad(x, gate);
	a.y = taped ? hth_exec_make(x, in.rows, in.cols) : hth_exec_make_over(x, in);
	if (!hth_exec_call(x, HTH_OP_row_gate, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.y, row_gate_backward) : NULL;
	if (r != NULL) {
		r->args.row_gate = a;
	} else {
		hth_drop(x, in);
		hth_drop(x, gate);
	}
	return a.y;
}
