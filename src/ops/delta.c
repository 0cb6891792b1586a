/* The gated delta rule. The tape keeps the inputs; states are made again on the way back. */
#include "ops/exec_int.h"

static void delta_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_delta_args *f = &r->args.delta;
	struct hth_delta_backward_args a = {.batch = f->batch,
	                                    .shape = f->shape,
	                                    .a_log = f->a_log,
	                                    .dt = f->dt,
	                                    .x = f->x,
	                                    .a = f->a,
	                                    .b = f->b,
	                                    .dy = hth_grad_take(x, f->y)};
	bool any = hth_tensor_is(a.dy);

	if (any) {
		a.dx = hth_exec_make(x, f->x.rows, f->x.cols);
		a.da = hth_exec_make(x, f->a.rows, f->a.cols);
		a.db = hth_exec_make(x, f->b.rows, f->b.cols);
		hth_exec_call(x, HTH_OP_delta_backward, &a);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->x);
	hth_drop(x, f->a);
	hth_drop(x, f->b);
	if (any) {
		hth_grad_give(x, f->x, a.dx);
		hth_grad_give(x, f->a, a.da);
		hth_grad_give(x, f->b, a.db);
	}
}

static bool vector_fits(const struct hth_weight *w, int64_t n)
{
	return w->rows == 1 && w->cols == n && w->quant == HTH_QUANT_F32;
}

static bool shape_fits(struct hth_exec *x, const struct hth_delta_args *a)
{
	const struct hth_delta_shape *s = &a->shape;
	int64_t rows = a->batch->n_tokens;

	if (s->n_key < 1 || s->n_value < 1 || s->n_value % s->n_key != 0 || s->key < 1 || s->value < 1) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "delta: %lld key heads of %lld, %lld value heads of %lld; expected key heads to "
		              "divide value heads",
		              (long long)s->n_key, (long long)s->key, (long long)s->n_value, (long long)s->value);
		return false;
	}
	if (a->x.rows != rows || a->x.cols != hth_delta_cols(s) || a->a.rows != rows || a->a.cols != s->n_value ||
	    a->b.rows != rows || a->b.cols != s->n_value || !vector_fits(a->a_log, s->n_value) ||
	    !vector_fits(a->dt, s->n_value)) {
		hth_exec_fail(x, HTH_ERR_SHAPE,
		              "delta: (%lld,%lld), gates (%lld,%lld) and (%lld,%lld), expected %lld rows of %lld and %lld, and "
		              "vectors of %lld in f32",
		              (long long)a->x.rows, (long long)a->x.cols, (long long)a->a.rows, (long long)a->a.cols,
		              (long long)a->b.rows, (long long)a->b.cols, (long long)rows, (long long)hth_delta_cols(s),
		              (long long)s->n_value, (long long)s->n_value);
		return false;
	}
	return true;
}

struct hth_tensor hth_op_delta(struct hth_exec *x, const struct hth_batch *batch, int32_t layer,
                               const struct hth_delta *d, struct hth_tensor in, struct hth_tensor a,
                               struct hth_tensor b)
{
	struct hth_delta_args args = {.batch = batch,
	                              .layer = layer,
	                              .shape = d->shape,
	                              .a_log = d->a_log,
	                              .dt = d->dt,
	                              .x = in,
	                              .a = a,
	                              .b = b};

	if (!hth_exec_accepts(x, HTH_OP_delta, in) || !hth_exec_accepts(x, HTH_OP_delta, a) ||
	    !hth_exec_accepts(x, HTH_OP_delta, b) || !shape_fits(x, &args))
		return HTH_NO_TENSOR;
	bool taped = hth_exec_needs_grad(x, in) || hth_exec_needs_grad(x, a) || hth_exec_needs_grad(x, b) ||
	             (x->train && (hth_weight_is_trained(d->a_log) || hth_weight_is_trained(d->dt)));
	if (taped && batch->n_states > 0) {
		hth_exec_fail(x, HTH_ERR_UNAVAILABLE, "delta: a batch that continues a state has no backward pass");
		return HTH_NO_TENSOR;
	}
	args.y = hth_exec_make(x, in.rows, d->shape.n_value * d->shape.value);
	if (!hth_exec_call(x, HTH_OP_delta, &args))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, args.y, delta_backward) : NULL;
	if (r != NULL) {
		r->args.delta = args;
	} else {
		hth_drop(x, in);
		hth_drop(x, a);
		hth_drop(x, b);
	}
	return args.y;
}
