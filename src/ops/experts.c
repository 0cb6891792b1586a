/* Products with the matrices of the experts that each row goes to: into their hidden width, and back with the weighted
 * sum over a row's experts. The tape keeps an input only where a weight is trained or its routing has a gradient: the
 * sum is folded into the product, so that no value of (R*k,C) lives. Experts take no LoRA. */
#include "ops/exec_int.h"

static bool set_trained(const struct hth_expert_set *s)
{
	for (int32_t i = 0; s->lora != NULL && i < s->n_adapters; i++)
		if (s->lora[i] != NULL && (hth_param_is_trained(&s->lora[i]->a) || hth_param_is_trained(&s->lora[i]->b)))
			return true;
	for (int64_t e = 0; e < s->n; e++)
		if (hth_weight_is_trained(&s->w[e]) || (s->bias != NULL && hth_weight_is_trained(&s->bias[e])))
			return true;
	return false;
}

static bool lora_fits(struct hth_exec *x, const struct hth_expert_set *s, const struct hth_lora *l)
{
	const struct hth_weight *w = &s->w[0];

	if (l->b.cols >= 1 && l->a.rows / l->b.cols == s->n && l->a.rows % l->b.cols == 0 && l->a.cols == w->cols &&
	    l->b.rows % s->n == 0 && l->b.rows / s->n == w->rows && l->mag.value == NULL)
		return true;
	hth_exec_fail(x, HTH_ERR_SHAPE, "experts \"%s\", %lld of (%lld,%lld): adapter A (%lld,%lld), B (%lld,%lld)%s do not fit",
		      w->name, (long long)s->n, (long long)w->rows, (long long)w->cols, (long long)l->a.rows,
		      (long long)l->a.cols, (long long)l->b.rows, (long long)l->b.cols,
		      l->mag.value != NULL ? " and magnitudes" : "");
	return false;
}

static bool loras_fit(struct hth_exec *x, const struct hth_expert_set *s, const struct hth_rowset *rows, int64_t n_rows)
{
	if (s->lora == NULL)
		return true;
	if (rows == NULL || rows->n != n_rows) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "experts \"%s\": adapters of %d rows, expected %lld", s->w[0].name,
			      rows != NULL ? rows->n : 0, (long long)n_rows);
		return false;
	}
	for (int32_t i = 0; i < s->n_adapters; i++)
		if (s->lora[i] != NULL && !lora_fits(x, s, s->lora[i]))
			return false;
	for (int32_t i = 0; i < rows->n_runs; i++)
		if (rows->runs[i].adapter >= s->n_adapters) {
			hth_exec_fail(x, HTH_ERR_SHAPE, "experts \"%s\": rows of adapter %d, but %d adapters are attached",
				      s->w[0].name, rows->runs[i].adapter, s->n_adapters);
			return false;
		}
	return true;
}

static bool set_fits(struct hth_exec *x, const struct hth_expert_set *s, const struct hth_rowset *rows,
		     struct hth_tensor in, const struct hth_routing *r)
{
	if (s->n < 1 || s->n != r->n_experts || in.cols != s->w[0].cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE,
			      "experts \"%s\": input of %lld columns and a choice of %lld experts, expected %lld "
			      "and %lld",
			      s->n < 1 ? "" : s->w[0].name, (long long)in.cols, (long long)r->n_experts,
			      s->n < 1 ? 0LL : (long long)s->w[0].cols, (long long)s->n);
		return false;
	}
	for (int64_t e = 0; e < s->n; e++) {
		const struct hth_weight *bias = s->bias != NULL ? &s->bias[e] : NULL;
		if (s->w[e].rows != s->w[0].rows || s->w[e].cols != s->w[0].cols ||
		    (bias != NULL && (bias->rows != 1 || bias->cols != s->w[0].rows || bias->quant != HTH_QUANT_F32))) {
			hth_exec_fail(x, HTH_ERR_SHAPE,
				      "experts \"%s\": shape (%lld,%lld) or its bias, expected (%lld,%lld)",
				      s->w[e].name, (long long)s->w[e].rows, (long long)s->w[e].cols,
				      (long long)s->w[0].rows, (long long)s->w[0].cols);
			return false;
		}
	}
	return loras_fit(x, s, rows, r->weight.rows);
}

static bool accepts_routing(struct hth_exec *x, enum hth_op op, const struct hth_routing *r)
{
	return hth_exec_accepts(x, op, r->weight) && hth_exec_accepts(x, op, r->expert) &&
	       hth_exec_accepts(x, op, r->order) && hth_exec_accepts(x, op, r->begin);
}

/* up */

static void up_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_experts_up_args *f = &r->args.experts_up;
	bool below = hth_exec_needs_grad(x, f->x), any = false, trained = false;
	struct hth_experts_up_backward_args a = {
		.rows = f->rows, .routing = f->routing, .n = f->n, .x = f->x, .base = HTH_NO_TENSOR, .dx = HTH_NO_TENSOR};

	for (int i = 0; i < f->n; i++) {
		a.member[i] = f->member[i];
		a.dy[i] = hth_grad_take(x, f->y[i]);
		any |= hth_tensor_is(a.dy[i]);
		trained |= set_trained(f->member[i]);
	}
	if (!trained) {
		a.x.id = -1;
		a.x.ctx = NULL;
	}
	if (any && (below || trained)) {
		if (below) {
			a.base = hth_grad_take(x, f->x);
			a.dx = hth_grad_target(x, f->x, a.base);
		}
		hth_exec_call(x, HTH_OP_experts_up_backward, &a);
		hth_drop(x, a.base);
		if (below)
			hth_grad_set(x, f->x, a.dx);
	}
	for (int i = 0; i < f->n; i++)
		hth_drop(x, a.dy[i]);
	hth_drop(x, a.x);
	hth_routing_drop(x, f->routing);
}

void hth_op_experts_up(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in, struct hth_routing r,
		       const struct hth_expert_set *const *member, int n, struct hth_tensor *out)
{
	struct hth_experts_up_args a = {.rows = rows, .routing = r, .n = n, .x = in};
	bool below = hth_exec_needs_grad(x, in), trained = false;

	for (int i = 0; i < n; i++)
		out[i] = HTH_NO_TENSOR;
	if (!hth_exec_accepts(x, HTH_OP_experts_up, in) || !accepts_routing(x, HTH_OP_experts_up, &r))
		return;
	if (n < 1 || n > HTH_MAX_GROUP || in.rows != r.weight.rows) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "experts_up: %d members and %lld rows, expected 1..%d and %lld", n,
			      (long long)in.rows, HTH_MAX_GROUP, (long long)r.weight.rows);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (!set_fits(x, member[i], rows, in, &r))
			return;
		a.member[i] = member[i];
		a.y[i] = hth_exec_make(x, in.rows * r.top, member[i]->w[0].rows);
		trained |= x->train && set_trained(member[i]);
	}
	if (!hth_exec_call(x, HTH_OP_experts_up, &a))
		return;
	struct hth_record *record = below || trained ? hth_tape_add(x, a.y[0], up_backward) : NULL;
	if (record != NULL)
		record->args.experts_up = a;
	else
		hth_routing_drop(x, r);
	if (!trained)
		hth_drop(x, in);
	for (int i = 0; i < n; i++) {
		if (hth_tensor_is(a.y[i]))
			x->values[a.y[i].id].needs_grad = record != NULL && (below || set_trained(member[i]));
		out[i] = a.y[i];
	}
}

/* down */

static void down_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_experts_down_args *f = &r->args.experts_down;
	bool routed = hth_exec_needs_grad(x, f->routing.weight), below = routed || hth_exec_needs_grad(x, f->a);
	struct hth_experts_down_backward_args a = {.rows = f->rows,
						   .routing = f->routing,
						   .set = f->set,
						   .a = f->a,
						   .dy = hth_grad_take(x, f->y),
						   .da = HTH_NO_TENSOR,
						   .dweight = HTH_NO_TENSOR};
	bool any = hth_tensor_is(a.dy);

	if (any) {
		if (below)
			a.da = hth_exec_make(x, f->a.rows, f->a.cols);
		if (routed)
			a.dweight = hth_exec_make(x, f->routing.weight.rows, f->routing.weight.cols);
		hth_exec_call(x, HTH_OP_experts_down_backward, &a);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->a);
	hth_routing_drop(x, f->routing);
	if (any && below)
		hth_grad_give(x, f->a, a.da);
	if (any && routed)
		hth_grad_give(x, f->routing.weight, a.dweight);
}

struct hth_tensor hth_op_experts_down(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor a_in,
				      struct hth_routing r, const struct hth_expert_set *set)
{
	struct hth_experts_down_args a = {.rows = rows, .routing = r, .set = set, .a = a_in};

	if (!hth_exec_accepts(x, HTH_OP_experts_down, a_in) || !accepts_routing(x, HTH_OP_experts_down, &r) ||
	    !set_fits(x, set, rows, a_in, &r))
		return HTH_NO_TENSOR;
	if (a_in.rows != r.weight.rows * r.top) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "experts_down: %lld rows, expected %lld of each of %lld",
			      (long long)a_in.rows, (long long)r.top, (long long)r.weight.rows);
		return HTH_NO_TENSOR;
	}
	a.y = hth_exec_make(x, r.weight.rows, set->w[0].rows);
	if (!hth_exec_call(x, HTH_OP_experts_down, &a))
		return HTH_NO_TENSOR;
	bool taped = hth_exec_needs_grad(x, a_in) || hth_exec_needs_grad(x, r.weight) || (x->train && set_trained(set));
	struct hth_record *record = taped ? hth_tape_add(x, a.y, down_backward) : NULL;
	if (record != NULL) {
		record->args.experts_down = a;
	} else {
		hth_drop(x, a_in);
		hth_routing_drop(x, r);
	}
	return a.y;
}
