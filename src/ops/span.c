/* Spans: parts of a training pass whose inside is not kept but made again in the backward pass (gradient checkpointing).
 *
 * The first time the inside is taped as ever, which says exactly what needs a gradient and what backward rules read; then
 * its records are let go as if nobody had asked for their gradients, and one record takes their place. The second time
 * the very same calls run on the very same values, so that every gradient has the bits it would have had. Calls behind
 * the last value that a rule reads are left out then: of a layer, the product that brings its result. */
#include "ops/exec_int.h"

#include <string.h>

void hth_exec_recompute(struct hth_exec *x, int64_t n)
{
	x->recompute = n;
}

static void span_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_span_args f = r->args.span; /* a copy: new records are written over r */
	struct hth_tensor dy[HTH_SPAN_TENSORS], y[HTH_SPAN_TENSORS] = {{0}};
	size_t mark = x->n_records;
	bool any = false;

	for (int i = 0; i < f.n_out; i++) {
		dy[i] = hth_grad_take(x, f.out[i]);
		any |= hth_tensor_is(dy[i]);
	}
	if (!any) {
		for (int i = 0; i < f.n_in; i++)
			hth_drop(x, f.in[i]);
		return;
	}
	x->recompute = 0;
	x->again = true;
	x->needed = f.needed;
	x->needed.last += x->totals.ops;
	f.fn(x, f.ctx, f.in, y);
	x->again = false;
	for (int i = 0; i < f.n_out; i++) {
		if (hth_tensor_is(dy[i]))
			hth_grad_give(x, y[i], dy[i]);
		hth_drop(x, y[i]);
	}
	hth_tape_back(x, mark);
}

/* What the values made since (value, call) say of the calls behind them: on a tape those with holders are read by rules,
 * but for the caller's hold on the outputs. */
static struct hth_needed find_needed(const struct hth_exec *x, size_t value, int64_t call, const struct hth_span_args *a)
{
	struct hth_needed needed = {.last = -1};

	for (size_t v = value; v < x->n_values; v++) {
		const struct hth_value *now = &x->values[v];
		int32_t holders = now->holders;
		for (int i = 0; i < a->n_out; i++)
			holders -= a->out[i].id == (int32_t)v;
		if (holders > 0 && now->call - call > needed.last)
			needed = (struct hth_needed){.last = now->call - call,
			                             .bare = v > value && now[-1].call == now->call};
	}
	return needed;
}

/* Puts one record in the place of those from mark on. */
static void fold(struct hth_exec *x, size_t mark, const struct hth_span_args *a)
{
	struct hth_tensor first = HTH_NO_TENSOR;

	hth_tape_back(x, mark);
	for (int i = 0; i < a->n_out && !hth_tensor_is(first); i++)
		if (hth_exec_needs_grad(x, a->out[i]))
			first = a->out[i];
	struct hth_record *r = hth_tensor_is(first) ? hth_tape_add(x, first, span_backward) : NULL;
	if (r != NULL) {
		r->args.span = *a;
		return;
	}
	for (int i = 0; i < a->n_in; i++)
		hth_drop(x, a->in[i]);
}

void hth_op_span(struct hth_exec *x, hth_span_fn *fn, const void *ctx, size_t ctx_bytes, const struct hth_tensor *in,
                 int n_in, struct hth_tensor *out, int n_out)
{
	struct hth_span_args a = {.fn = fn, .n_in = n_in, .n_out = n_out};
	int64_t left = x->recompute;
	size_t mark = x->n_records, value = x->n_values;
	int64_t call = x->totals.ops;

	if (n_in < 1 || n_in > HTH_SPAN_TENSORS || n_out < 1 || n_out > HTH_SPAN_TENSORS || ctx_bytes > sizeof a.ctx) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "span: %d inputs, %d outputs, %zu bytes of context; expected 1..%d, 1..%d, "
		              "at most %zu",
		              n_in, n_out, ctx_bytes, HTH_SPAN_TENSORS, HTH_SPAN_TENSORS, sizeof a.ctx);
		return;
	}
	memcpy(a.ctx, ctx, ctx_bytes);
	memcpy(a.in, in, (size_t)n_in * sizeof *in); /* out may be in */
	bool again = x->train && left > 0;
	for (int i = 0; again && i < n_in; i++)
		hth_keep(x, a.in[i]);
	if (again)
		x->recompute = 0; /* a span within a span is a part of it */
	fn(x, a.ctx, a.in, out);
	if (!again)
		return;
	x->recompute = left - 1;
	memcpy(a.out, out, (size_t)n_out * sizeof *out);
	a.needed = find_needed(x, value, call, &a);
	if (x->err.status == HTH_OK)
		fold(x, mark, &a);
}
