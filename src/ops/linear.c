/* Linear maps that share an input (q,k,v; gate,up), each with its bias and adapters. The tape keeps the input only
 * where a parameter here is trained: a frozen linear without adapter costs no memory. */
#include "ops/exec_int.h"

/* The largest rank of a member's adapters; 0: none. */
static int64_t member_rank(const struct hth_linear *m)
{
	int64_t rank = 0;

	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		if (m->lora[i] != NULL && m->lora[i]->a.rows > rank)
			rank = m->lora[i]->a.rows;
	return rank;
}

static bool adapters_trained(const struct hth_linear *m)
{
	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		if (m->lora[i] != NULL &&
		    (hth_param_is_trained(&m->lora[i]->a) || hth_param_is_trained(&m->lora[i]->b)))
			return true;
	return false;
}

static bool member_trained(const struct hth_linear *m)
{
	return adapters_trained(m) || hth_weight_is_trained(m->w) || hth_weight_is_trained(m->bias);
}

static void linear_backward(struct hth_exec *x, const struct hth_record *r)
{
	const struct hth_linear_args *f = &r->args.linear;
	bool below = hth_exec_needs_grad(x, f->x), any = false, trained = false;
	struct hth_linear_backward_args a = {
		.rows = f->rows, .n = f->n, .drop = f->drop, .x = f->x, .base = HTH_NO_TENSOR, .dx = HTH_NO_TENSOR};

	for (int i = 0; i < f->n; i++) {
		a.member[i] = f->member[i];
		a.xa[i] = f->xa[i];
		a.dy[i] = hth_grad_take(x, f->y[i]);
		any |= hth_tensor_is(a.dy[i]);
		trained |= member_trained(f->member[i]);
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
		hth_exec_call(x, HTH_OP_linear_backward, &a);
		hth_drop(x, a.base);
		if (below)
			hth_grad_set(x, f->x, a.dx);
	}
	for (int i = 0; i < f->n; i++) {
		hth_drop(x, a.dy[i]);
		hth_drop(x, a.xa[i]);
	}
	hth_drop(x, a.x);
}

static bool lora_fits(struct hth_exec *x, const struct hth_linear *m, const struct hth_lora *l)
{
	if (l->mag.value != NULL && (!m->dora || l->norm == NULL || l->mag.rows != 1 || l->mag.cols != m->w->rows)) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "linear \"%s\": (%lld,%lld) magnitudes, expected (1,%lld) and their lengths",
		              m->w->name, (long long)l->mag.rows, (long long)l->mag.cols, (long long)m->w->rows);
		return false;
	}
	if (l->a.cols == m->w->cols && l->b.rows == m->w->rows && l->b.cols == l->a.rows && l->a.rows >= 1)
		return true;
	hth_exec_fail(x, HTH_ERR_SHAPE, "linear \"%s\" (%lld,%lld): adapter A (%lld,%lld), B (%lld,%lld) do not fit",
	              m->w->name, (long long)m->w->rows, (long long)m->w->cols, (long long)l->a.rows,
	              (long long)l->a.cols, (long long)l->b.rows, (long long)l->b.cols);
	return false;
}

static bool bias_fits(struct hth_exec *x, const struct hth_linear *m, const struct hth_weight *bias)
{
	if (bias == NULL || (bias->rows == 1 && bias->cols == m->w->rows && bias->quant == HTH_QUANT_F32))
		return true;
	hth_exec_fail(x, HTH_ERR_SHAPE, "linear \"%s\": bias (%lld,%lld), expected (1,%lld) in f32", m->w->name,
	              (long long)bias->rows, (long long)bias->cols, (long long)m->w->rows);
	return false;
}

static bool member_fits(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in,
                        const struct hth_linear *m)
{
	if (in.rows != rows->n || in.cols != m->w->cols) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "linear \"%s\": input (%lld,%lld), expected (%d,%lld)", m->w->name,
		              (long long)in.rows, (long long)in.cols, rows->n, (long long)m->w->cols);
		return false;
	}
	if (!bias_fits(x, m, m->bias) || !bias_fits(x, m, m->late_bias))
		return false;
	for (int32_t i = 0; m->lora != NULL && i < m->n_adapters; i++)
		if (m->lora[i] != NULL && !lora_fits(x, m, m->lora[i]))
			return false;
	for (int32_t i = 0; m->lora != NULL && i < rows->n_runs; i++)
		if (rows->runs[i].adapter >= m->n_adapters) {
			hth_exec_fail(x, HTH_ERR_SHAPE, "linear \"%s\": rows of adapter %d, but %d adapters are attached",
			              m->w->name, rows->runs[i].adapter, m->n_adapters);
			return false;
		}
	return true;
}

/* Gives the tape what backward reads; the rest was needed by the forward pass alone. An output needs a gradient when
 * the input does or its own member is trained: q with an adapter in the lowest layer leaves k and v alone. */
static void record(struct hth_exec *x, const struct hth_linear_args *a)
{
	bool below = hth_exec_needs_grad(x, a->x), trained = false;
	struct hth_linear_args kept = *a;

	for (int i = 0; i < a->n; i++) {
		trained |= x->train && member_trained(a->member[i]);
		if (!x->train || !adapters_trained(a->member[i])) {
			hth_drop(x, a->xa[i]);
			kept.xa[i] = HTH_NO_TENSOR;
		}
	}
	if (!trained)
		hth_drop(x, a->x);
	struct hth_record *r = below || trained ? hth_tape_add(x, a->y[0], linear_backward) : NULL;
	if (r == NULL)
		return;
	for (int i = 0; i < a->n; i++)
		x->values[a->y[i].id].needs_grad = below || member_trained(a->member[i]);
	r->args.linear = kept;
}

void hth_op_linear(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in,
                   const struct hth_linear *const *member, int n, struct hth_tensor *out)
{
	struct hth_linear_args a = {.rows = rows, .n = n, .drop = x->drop, .x = in};

	for (int i = 0; i < n; i++)
		out[i] = HTH_NO_TENSOR;
	if (!hth_exec_accepts(x, HTH_OP_linear, in))
		return;
	if (n < 1 || n > HTH_MAX_GROUP) {
		hth_exec_fail(x, HTH_ERR_SHAPE, "linear: %d members, expected 1..%d", n, HTH_MAX_GROUP);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (!member_fits(x, rows, in, member[i]))
			return;
		int64_t rank = member_rank(member[i]);
		a.member[i] = member[i];
		a.y[i] = hth_exec_make(x, rows->n, member[i]->w->rows);
		a.xa[i] = rank > 0 ? hth_exec_make(x, rows->n, rank) : HTH_NO_TENSOR;
	}
	struct hth_linear_args call = a;
	if (n == 1 && x->again && x->needed.bare && x->totals.ops == x->needed.last)
		call.y[0] = HTH_NO_TENSOR;
	if (!hth_exec_call(x, HTH_OP_linear, &call))
		return;
	record(x, &a);
	for (int i = 0; i < n; i++)
		out[i] = member[i]->dora ? hth_dora_apply(x, rows, member[i], a.y[i]) : a.y[i];
}
