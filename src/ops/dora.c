/* DoRA: what a linear gave, scaled by magnitude over length, and the lengths themselves. Called by hth_op_linear for
 * members whose adapters have magnitudes. The tape keeps the unscaled output where magnitudes are trained. */
#include "ops/exec_int.h"

static bool magnitudes_trained(const struct hth_linear *m)
{
	for (int32_t i = 0; i < m->n_adapters; i++)
		if (m->lora[i] != NULL && hth_param_is_trained(&m->lora[i]->mag))
			return true;
	return false;
}

bool hth_dora_trained(const struct hth_linear *m)
{
	return m->dora && (magnitudes_trained(m) || hth_weight_is_trained(m->late_bias));
}

static void dora_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_dora_args *f = &r->args.dora;
	struct hth_dora_backward_args a = {.rows = f->rows,
	                                   .member = f->member,
	                                   .u = magnitudes_trained(f->member) ? f->u : HTH_NO_TENSOR,
	                                   .dy = hth_grad_take(x, f->y),
	                                   .du = HTH_NO_TENSOR};
	bool below = hth_exec_needs_grad(x, f->u);

	if (hth_tensor_is(a.dy)) {
		if (below)
			a.du = hth_exec_make_over(x, a.dy);
		hth_exec_call(x, HTH_OP_dora_backward, &a);
		if (below)
			hth_grad_set(x, f->u, a.du);
	}
	hth_drop(x, a.dy);
	hth_drop(x, a.u);
}

struct hth_tensor hth_dora_apply(struct hth_exec *x, const struct hth_rowset *rows, const struct hth_linear *m,
                                 struct hth_tensor u)
{
	struct hth_dora_args a = {.rows = rows, .member = m, .u = u};
	bool keep = x->train && magnitudes_trained(m);

	if (x->err.status != HTH_OK)
		return HTH_NO_TENSOR;
	a.y = keep ? hth_exec_make(x, u.rows, u.cols) : hth_exec_make_over(x, u);
	if (!hth_exec_call(x, HTH_OP_dora, &a))
		return HTH_NO_TENSOR;
	bool taped = x->train && (hth_dora_trained(m) || hth_exec_needs_grad(x, u));
	struct hth_record *r = taped ? hth_tape_add(x, a.y, dora_backward) : NULL;
	if (r != NULL)
		r->args.dora = a;
	if (!keep)
		hth_drop(x, u);
	return a.y;
}

enum hth_status hth_op_dora_norm(struct hth_exec *x, const struct hth_dora_site *site, int64_t n, struct hth_err *err)
{
	struct hth_dora_norm_args a = {.site = site, .n = n};

	return n > 0 ? hth_exec_call_slot(x, HTH_OP_dora_norm, &a, err) : HTH_OK;
}
