/* The tape: records of the forward pass, replayed from the last to the first, and the gradients of values.
 *
 * A value with several consumers gets its gradient in parts. The first rule to run sets it, later ones add: either by
 * writing base + part where the slot can (hth_grad_target), or by the add slot (hth_grad_give). A gradient may be
 * shared: an addition hands the same one to both its inputs. Writing over it is allowed to its last holder alone, so
 * nobody sees it change. When a rule has run, all that its record held is let go. */
#include "base/mem.h"
#include "ops/exec_int.h"

#include <string.h>

#define MAX_RECORDS ((size_t)1 << 20)

bool hth_exec_needs_grad(const struct hth_exec *x, struct hth_tensor t)
{
	return x->train && hth_tensor_is(t) && x->values[t.id].needs_grad;
}

struct hth_record *hth_tape_add(struct hth_exec *x, struct hth_tensor t, hth_backward_fn *backward)
{
	if (x->err.status != HTH_OK)
		return NULL;
	struct hth_record *records = hth_grow(x->records, x->n_records, &x->cap_records, MAX_RECORDS, sizeof *records);
	if (records == NULL) {
		hth_exec_fail(x, HTH_ERR_MEMORY, "out of memory: the tape of %zu records", x->n_records + 1);
		return NULL;
	}
	x->records = records;
	x->values[t.id].needs_grad = true;
	struct hth_record *r = &records[x->n_records++];
	memset(r, 0, sizeof *r);
	r->backward = backward;
	return r;
}

void hth_tape_back(struct hth_exec *x, size_t mark)
{
	while (x->n_records > mark && x->err.status == HTH_OK) {
		const struct hth_record *r = &x->records[--x->n_records];
		r->backward(x, r);
	}
}

void hth_exec_backward(struct hth_exec *x)
{
	hth_tape_back(x, 0);
}

static struct hth_tensor grad_handle(const struct hth_exec *x, struct hth_tensor t)
{
	if (x->err.status != HTH_OK || !hth_tensor_is(t) || x->values[t.id].grad < 0)
		return HTH_NO_TENSOR;
	return hth_exec_handle(x, x->values[t.id].grad);
}

struct hth_tensor hth_grad_peek(const struct hth_exec *x, struct hth_tensor t)
{
	return grad_handle(x, t);
}

struct hth_tensor hth_grad_take(struct hth_exec *x, struct hth_tensor t)
{
	struct hth_tensor g = grad_handle(x, t);

	if (hth_tensor_is(g))
		x->values[t.id].grad = -1;
	return g;
}

struct hth_tensor hth_grad_target(struct hth_exec *x, struct hth_tensor t, struct hth_tensor base)
{
	return hth_tensor_is(base) ? hth_exec_make_over(x, base) : hth_exec_make(x, t.rows, t.cols);
}

void hth_grad_set(struct hth_exec *x, struct hth_tensor t, struct hth_tensor g)
{
	if (x->err.status == HTH_OK)
		x->values[t.id].grad = g.id;
}

void hth_grad_give(struct hth_exec *x, struct hth_tensor t, struct hth_tensor g)
{
	if (!hth_exec_needs_grad(x, t)) {
		hth_drop(x, g);
		return;
	}
	struct hth_tensor base = hth_grad_take(x, t);
	if (!hth_tensor_is(base)) {
		hth_grad_set(x, t, g);
		return;
	}
	struct hth_add_args a = {
		.scale = 1.0f,
		.a = base,
		.b = g,
		.y = hth_exec_make_over(x, hth_exec_is_sole(x, base) ? base : g),
	};
	hth_exec_call(x, HTH_OP_add, &a);
	hth_drop(x, base);
	hth_drop(x, g);
	hth_grad_set(x, t, a.y);
}

void hth_exec_seed(struct hth_exec *x, struct hth_tensor t, const float *grad)
{
	if (x->err.status == HTH_OK && hth_exec_needs_grad(x, t))
		hth_grad_give(x, t, hth_exec_leaf(x, t.rows, t.cols, grad, false));
}
