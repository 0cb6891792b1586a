/* Attention over each segment's spans. The tape keeps q, k, v, y and the log-sum-exp of every row and head. */
#include "ops/exec_int.h"

static void attention_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_attention_args *f = &r->args.attention;
	struct hth_attention_backward_args a = {
		.batch = f->batch, .shape = f->shape, .q = f->q, .k = f->k, .v = f->v, .y = f->y, .lse = f->lse,
		.dy = hth_grad_take(x, f->y),
	};
	bool any = hth_tensor_is(a.dy);

	if (any) {
		a.dq = hth_exec_make(x, f->q.rows, f->q.cols);
		a.dk = hth_exec_make(x, f->k.rows, f->k.cols);
		a.dv = hth_exec_make(x, f->v.rows, f->v.cols);
		hth_exec_call(x, HTH_OP_attention_backward, &a);
	}
	hth_drop(x, a.dy);
	hth_drop(x, f->y);
	hth_drop(x, f->lse);
	hth_drop(x, f->q);
	hth_drop(x, f->k);
	hth_drop(x, f->v);
	if (any) {
		hth_grad_give(x, f->q, a.dq);
		hth_grad_give(x, f->k, a.dk);
		hth_grad_give(x, f->v, a.dv);
	}
}

static bool shape_fits(struct hth_exec *x, const struct hth_batch *b, const struct hth_attention_args *a)
{
	const struct hth_attention_shape *s = &a->shape;

	if (s->n_kv < 1 || s->n_head < 1 || s->n_head % s->n_kv != 0 || s->head < 1 || s->head > HTH_MAX_HEAD) {
		hth_exec_fail(x, HTH_ERR_SHAPE,
		              "attention: %lld heads, %lld kv heads, head size %lld; expected kv heads to divide heads and "
		              "sizes 1..%d",
		              (long long)s->n_head, (long long)s->n_kv, (long long)s->head, HTH_MAX_HEAD);
		return false;
	}
	if (a->q.rows != b->n_tokens || a->q.cols != s->n_head * s->head || a->k.rows != b->n_tokens ||
	    a->k.cols != s->n_kv * s->head || a->v.rows != b->n_tokens || a->v.cols != a->k.cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "attention: q (%lld,%lld), k (%lld,%lld), v (%lld,%lld), expected %d rows "
		              "of %lld, %lld, %lld",
		              (long long)a->q.rows, (long long)a->q.cols, (long long)a->k.rows, (long long)a->k.cols,
		              (long long)a->v.rows, (long long)a->v.cols, b->n_tokens, (long long)(s->n_head * s->head),
		              (long long)(s->n_kv * s->head), (long long)(s->n_kv * s->head));
		return false;
	}
	if (s->sinks != NULL && (s->sinks->rows != 1 || s->sinks->cols != s->n_head || s->sinks->quant != HTH_QUANT_F32)) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "attention \"%s\": sinks (%lld,%lld), expected (1,%lld) in f32",
		              s->sinks->name, (long long)s->sinks->rows, (long long)s->sinks->cols, (long long)s->n_head);
		return false;
	}
	return true;
}

struct hth_tensor hth_op_attention(struct hth_exec *x, const struct hth_batch *b, int32_t layer,
                                   const struct hth_attention_shape *shape, struct hth_tensor q, struct hth_tensor k,
                                   struct hth_tensor v)
{
	struct hth_attention_args a = {
		.batch = b, .shape = *shape, .layer = layer, .q = q, .k = k, .v = v, .lse = HTH_NO_TENSOR};

	if (!hth_exec_accepts(x, HTH_OP_attention, q) || !hth_exec_accepts(x, HTH_OP_attention, k) ||
	    !hth_exec_accepts(x, HTH_OP_attention, v) || !shape_fits(x, b, &a))
		return HTH_NO_TENSOR;
	bool taped = hth_exec_needs_grad(x, q) || hth_exec_needs_grad(x, k) || hth_exec_needs_grad(x, v) ||
	             (x->train && hth_weight_is_trained(shape->sinks));
	if (taped && b->n_states > 0) {
		hth_exec_fail(x, HTH_ERR_UNAVAILABLE, "attention: a batch that continues a state has no backward pass");
		return HTH_NO_TENSOR;
	}
	a.y = hth_exec_make(x, q.rows, q.cols);
	if (taped)
		a.lse = hth_exec_make(x, q.rows, shape->n_head);
	if (!hth_exec_call(x, HTH_OP_attention, &a))
		return HTH_NO_TENSOR;
	struct hth_record *r = taped ? hth_tape_add(x, a.y, attention_backward) : NULL;
	if (r != NULL) {
		r->args.attention = a;
		hth_keep(x, a.y);
	} else {
		hth_drop(x, q);
		hth_drop(x, k);
		hth_drop(x, v);
	}
	return a.y;
}
