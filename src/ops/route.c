/* The router of a mixture of experts, behind its linear map: which k experts each row goes to, with which factors, and
 * the rows' slots sorted by expert. The factors have a gradient, the choice has none. */
#include "ops/exec_int.h"

struct hth_routing hth_routing_keep(struct hth_exec *x, struct hth_routing r)
{
	hth_keep(x, r.weight);
	hth_keep(x, r.expert);
	hth_keep(x, r.order);
	hth_keep(x, r.begin);
	return r;
}

void hth_routing_drop(struct hth_exec *x, struct hth_routing r)
{
	hth_drop(x, r.weight);
	hth_drop(x, r.expert);
	hth_drop(x, r.order);
	hth_drop(x, r.begin);
}

static void route_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_route_args *f = &r->args.route;
	struct hth_route_backward_args a = {.normalise = f->normalise,
					    .scale = f->scale,
					    .logits = f->logits,
					    .routing = f->routing,
					    .dweight = hth_grad_take(x, f->routing.weight)};
	bool any = hth_tensor_is(a.dweight);

	if (any) {
		a.dlogits = hth_exec_make(x, f->logits.rows, f->logits.cols);
		hth_exec_call(x, HTH_OP_route_backward, &a);
	}
	hth_drop(x, a.dweight);
	hth_drop(x, f->logits);
	hth_drop(x, f->routing.weight);
	hth_drop(x, f->routing.expert);
	if (any)
		hth_grad_give(x, f->logits, a.dlogits);
}

/* A value of int32, which has the size of a float. */
static struct hth_tensor make_ints(struct hth_exec *x, int64_t rows, int64_t cols)
{
	struct hth_tensor t = hth_exec_make(x, rows, cols);

	t.dtype = HTH_DTYPE_I32;
	return t;
}

struct hth_routing hth_op_route(struct hth_exec *x, struct hth_tensor logits, int64_t top, bool normalise,
				const struct hth_weight *scale)
{
	struct hth_routing none = {
		.weight = HTH_NO_TENSOR, .expert = HTH_NO_TENSOR, .order = HTH_NO_TENSOR, .begin = HTH_NO_TENSOR};
	struct hth_route_args a = {
		.normalise = normalise, .scale = scale, .logits = logits, .routing = {.n_experts = logits.cols, .top = top}};

	if (!hth_exec_accepts(x, HTH_OP_route, logits))
		return none;
	if (top < 1 || top > logits.cols || logits.rows > INT32_MAX / top) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "route: %lld of %lld experts for each of %lld rows", (long long)top,
			      (long long)logits.cols, (long long)logits.rows);
		return none;
	}
	if (scale != NULL && (scale->rows != 1 || scale->cols != logits.cols || scale->quant != HTH_QUANT_F32)) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "route \"%s\": (%lld,%lld), expected (1,%lld) in f32", scale->name,
			      (long long)scale->rows, (long long)scale->cols, (long long)logits.cols);
		return none;
	}
	a.routing.weight = hth_exec_make(x, logits.rows, top);
	a.routing.expert = make_ints(x, logits.rows, top);
	a.routing.order = make_ints(x, 1, logits.rows * top);
	a.routing.begin = make_ints(x, 1, logits.cols + 1);
	if (!hth_exec_call(x, HTH_OP_route, &a))
		return none;
	struct hth_record *r =
		hth_exec_needs_grad(x, logits) ? hth_tape_add(x, a.routing.weight, route_backward) : NULL;
	if (r != NULL) {
		r->args.route = a;
		hth_keep(x, a.routing.weight);
		hth_keep(x, a.routing.expert);
	} else {
		hth_drop(x, logits);
	}
	return a.routing;
}
