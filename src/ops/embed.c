/* Embedding: rows of the table, scaled. Backward: only where the table is trained. */
#include "ops/exec_int.h"

static void embed_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_embed_args *f = &r->args.embed;
	struct hth_embed_backward_args a = {
		.batch = f->batch, .w = f->w, .scale = f->scale, .dy = hth_grad_take(x, f->y)};

	if (hth_tensor_is(a.dy))
		hth_exec_call(x, HTH_OP_embed_backward, &a);
	hth_drop(x, a.dy);
}

struct hth_tensor hth_op_embed(struct hth_exec *x, const struct hth_batch *b, const struct hth_weight *w, float scale)
{
	struct hth_embed_args a = {.batch = b, .w = w, .scale = scale};

	if (x->err.status != HTH_OK)
		return HTH_NO_TENSOR;
	for (int32_t t = 0; t < b->n_tokens; t++)
		if (b->ids[t] < 0 || b->ids[t] >= w->rows) {
			hth_exec_fail(x, HTH_ERR_SHAPE, "embed \"%s\": token id %d in row %d, expected 0..%lld", w->name,
			              b->ids[t], t, (long long)w->rows - 1);
			return HTH_NO_TENSOR;
		}
	a.y = hth_exec_make(x, b->n_tokens, w->cols);
	if (!hth_exec_call(x, HTH_OP_embed, &a))
		return HTH_NO_TENSOR;
	if (x->train && hth_weight_is_trained(w)) {
		struct hth_record *r = hth_tape_add(x, a.y, embed_backward);
		if (r != NULL)
			r->args.embed = a;
	}
	return a.y;
}
