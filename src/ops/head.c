/* The head: logits for sampling, and log-probabilities of targets with the loss -sum(weight * logp) fused in: its
 * gradient is made by the forward slot, so that logits of a whole batch never exist. With an outer loss the tape keeps
 * the input and the row sums instead, and the gradient of the log-probabilities comes from hth_exec_seed. */
#include "ops/exec_int.h"

static bool head_fits(struct hth_exec *x, enum hth_op op, struct hth_tensor in, const struct hth_head *head)
{
	if (!hth_exec_accepts(x, op, in))
		return false;
	if (in.cols == head->w->cols)
		return true;
	hth_exec_fail(x, HTH_ERR_SHAPE, "%s \"%s\": input of %lld columns, expected %lld", hth_exec_op_name(op),
	              head->w->name, (long long)in.cols, (long long)head->w->cols);
	return false;
}

struct hth_tensor hth_op_logits(struct hth_exec *x, struct hth_tensor in, const struct hth_head *head)
{
	struct hth_logits_args a = {.head = *head, .x = in};

	if (!head_fits(x, HTH_OP_logits, in, head))
		return HTH_NO_TENSOR;
	a.y = hth_exec_make(x, in.rows, head->w->rows);
	if (!hth_exec_call(x, HTH_OP_logits, &a))
		return HTH_NO_TENSOR;
	hth_drop(x, in);
	return a.y;
}

static void fused_backward(struct hth_exec *x, const struct hth_record *r)
{
	if (hth_tensor_is(hth_grad_peek(x, r->args.logp.logp)))
		hth_exec_fail(x, HTH_ERR_USAGE, "logp: its gradient was given, but the loss was fused; call "
		                                "hth_exec_outer_loss after begin");
	hth_grad_give(x, r->args.logp.x, r->args.logp.dx);
}

static void outer_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_logp_args *f = &r->args.logp;
	struct hth_logp_backward_args a = {
		.batch = f->batch, .head = f->head, .x = f->x, .lse = f->lse, .dlogp = hth_grad_take(x, f->logp)};
	bool any = hth_tensor_is(a.dlogp);

	if (any) {
		a.dx = hth_exec_make(x, f->x.rows, f->x.cols);
		hth_exec_call(x, HTH_OP_logp_backward, &a);
	}
	hth_drop(x, a.dlogp);
	hth_drop(x, f->lse);
	hth_drop(x, f->x);
	if (any)
		hth_grad_give(x, f->x, a.dx);
}

static bool outs_fit(struct hth_exec *x, const struct hth_batch *b, struct hth_tensor in, const struct hth_head *head)
{
	if (in.rows != b->wanted.n) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "logp: input of %lld rows, expected the %d wanted ones", (long long)in.rows,
		              b->wanted.n);
		return false;
	}
	for (int32_t o = 0; o < b->n_outs; o++)
		if (b->outs[o].target < -1 || b->outs[o].target >= head->w->rows) {
			hth_exec_fail(x, HTH_ERR_SHAPE, "logp \"%s\": out %d has target %d, expected -1..%lld", head->w->name, o,
			              b->outs[o].target, (long long)head->w->rows - 1);
			return false;
		}
	return true;
}

struct hth_tensor hth_op_logp(struct hth_exec *x, const struct hth_batch *b, struct hth_tensor in,
                              const struct hth_head *head)
{
	struct hth_logp_args a = {.batch = b, .head = *head, .x = in, .dx = HTH_NO_TENSOR};

	if (!head_fits(x, HTH_OP_logp, in, head) || !outs_fit(x, b, in, head))
		return HTH_NO_TENSOR;
	bool taped = x->train && (hth_exec_needs_grad(x, in) || hth_weight_is_trained(head->w));
	bool fused = taped && !x->outer_loss;
	a.logp = hth_exec_make(x, 1, b->n_outs);
	a.lse = hth_exec_make(x, 1, in.rows);
	if (fused)
		a.dx = hth_exec_make(x, in.rows, in.cols);
	if (!hth_exec_call(x, HTH_OP_logp, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.logp, fused ? fused_backward : outer_backward) : NULL;
	if (r != NULL)
		r->args.logp = a;
	if (r == NULL || fused) {
		hth_drop(x, a.lse);
		hth_drop(x, in);
	}
	return a.logp;
}
