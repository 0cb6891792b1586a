/* Products with the experts that each row goes to. Slots are sorted by expert; slot s belongs to row order[s] / k. */
#include "backend/ref/ref_int.h"

static const int32_t *ints(struct hth_tensor t)
{
	return t.ctx;
}

static int64_t slots(const struct hth_routing *r)
{
	return r->weight.rows * r->top;
}

/* How many of E experts are read by R*k choices, if all are as likely: E (1 - (1 - 1/E)^(R*k)). */
static double experts_read(const struct hth_routing *r)
{
	double left = 1.0, share = 1.0 - 1.0 / (double)r->n_experts;
	int64_t n = slots(r);

	for (int64_t i = 0; i < n && left > 1e-9; i++)
		left *= share;
	return (double)r->n_experts * (1.0 - left);
}

static double set_bytes(const struct hth_expert_set *s, const struct hth_routing *r)
{
	return experts_read(r) *
	       (double)(hth_weight_bytes(&s->w[0]) + (s->bias != NULL ? 4 * (uint64_t)s->w[0].rows : 0));
}

static double product_flops(const struct hth_expert_set *s, const struct hth_routing *r)
{
	return 2.0 * (double)slots(r) * (double)s->w[0].rows * (double)s->w[0].cols;
}

static const float *bias_of(const struct hth_expert_set *s, int64_t e)
{
	return s->bias != NULL ? (const float *)(const void *)s->bias[e].data : NULL;
}

/* --- adapters --------------------------------------------------------------------------------------------------- */

/* The adapter that slot s has in this set, or NULL. */
static const struct hth_lora *slot_lora(const struct hth_expert_set *set, const struct hth_rowset *rows,
					const struct hth_routing *r, int64_t s)
{
	int64_t row = ints(r->order)[s] / r->top;

	for (int32_t g = 0; set->lora != NULL && g < rows->n_runs; g++) {
		const struct hth_adapter_run *run = &rows->runs[g];
		if (row >= run->start && row < (int64_t)run->start + run->len)
			return run->adapter >= 0 ? set->lora[run->adapter] : NULL;
	}
	return NULL;
}

static int64_t max_rank(const struct hth_expert_set *set)
{
	int64_t rank = 0;

	for (int32_t i = 0; set->lora != NULL && i < set->n_adapters; i++)
		if (set->lora[i] != NULL && set->lora[i]->b.cols > rank)
			rank = set->lora[i]->b.cols;
	return rank;
}

/* FLOPs of products with A and B, each taken `times` times. */
static double adapter_flops(const struct hth_expert_set *set, const struct hth_routing *r, double times)
{
	return 2.0 * times * (double)(slots(r) * max_rank(set)) * (double)(set->w[0].rows + set->w[0].cols);
}

static const float *a_of(const struct hth_lora *l, int64_t e, int64_t i) /* row i of expert e's A: (C) */
{
	return l->a.value + (e * l->b.cols + i) * l->a.cols;
}

static const float *b_of(const struct hth_lora *l, int64_t e, int64_t n_rows, int64_t n) /* row n of its B: (r) */
{
	return l->b.value + (e * n_rows + n) * l->b.cols;
}

/* xa (r) = A of expert e @ x. */
static void make_xa(const struct hth_lora *l, int64_t e, const float *x, float *xa)
{
	for (int64_t i = 0; i < l->b.cols; i++)
		xa[i] = (float)ref_dot(x, a_of(l, e, i), l->a.cols);
}

/* One slot's gradients, whose dy is worth `weight`: u (C) += scale * (dy @ B) @ A, where u is wanted; dA, dB. */
static void slot_backward(const struct hth_expert_set *set, const struct hth_lora *l, int64_t e, const float *x,
			  const float *dy, float weight, double *u, float *xa)
{
	int64_t n_rows = set->w[0].rows, rank = l->b.cols, cols = l->a.cols;

	if (l->a.grad != NULL || l->b.grad != NULL)
		make_xa(l, e, x, xa);
	for (int64_t i = 0; i < rank; i++) {
		double t = 0.0; /* scale * dy @ column i of B */
		for (int64_t n = 0; n < n_rows; n++) {
			t += (double)l->scale * dy[n] * b_of(l, e, n_rows, n)[i];
			if (l->b.grad != NULL)
				l->b.grad[(e * n_rows + n) * rank + i] += (float)((double)weight * l->scale * dy[n] * xa[i]);
		}
		for (int64_t c = 0; c < cols && u != NULL; c++)
			u[c] += t * a_of(l, e, i)[c];
		for (int64_t c = 0; c < cols && l->a.grad != NULL; c++)
			l->a.grad[(e * rank + i) * cols + c] += (float)(weight * t * x[c]);
	}
}

/* --- up --------------------------------------------------------------------------------------------------------- */

/* scratch: a row of W (C), xa of a slot (r). */
void ref_experts_up_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_experts_up_args *a = args;
	int64_t most = 0;

	(void)m;
	out->bytes_moved = ref_bytes(a->x);
	for (int i = 0; i < a->n; i++) {
		int64_t rank = max_rank(a->member[i]);
		out->flops += product_flops(a->member[i], &a->routing) + adapter_flops(a->member[i], &a->routing, 1);
		out->bytes_moved += set_bytes(a->member[i], &a->routing) + ref_bytes(a->y[i]);
		most = rank > most ? rank : most;
	}
	out->scratch_bytes = (uint64_t)(a->x.cols + most) * sizeof(float);
}

static void up_expert(const struct hth_experts_up_args *a, int i, int64_t e, float *wrow)
{
	const struct hth_weight *w = &a->member[i]->w[e];
	const float *bias = bias_of(a->member[i], e); /* (N) */
	const int32_t *begin = ints(a->routing.begin), *order = ints(a->routing.order);

	for (int64_t n = 0; n < w->rows; n++) {
		ref_unpack_row(w, n, wrow);
		for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
			double sum = ref_dot(ref_row(a->x, order[s] / a->routing.top), wrow, w->cols);
			ref_row(a->y[i], s)[n] = (float)(sum + (bias != NULL ? bias[n] : 0.0));
		}
	}
	for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
		const struct hth_lora *l = slot_lora(a->member[i], a->rows, &a->routing, s);
		float *xa = wrow + w->cols; /* (r) */
		if (l == NULL)
			continue;
		make_xa(l, e, ref_row(a->x, order[s] / a->routing.top), xa);
		for (int64_t n = 0; n < w->rows; n++)
			ref_row(a->y[i], s)[n] += (float)(l->scale * ref_dot(xa, b_of(l, e, w->rows, n), l->b.cols));
	}
}

enum hth_status ref_experts_up(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_experts_up_args *a = args;

	(void)dev, (void)err;
	for (int i = 0; i < a->n; i++)
		for (int64_t e = 0; e < a->routing.n_experts; e++)
			if (ints(a->routing.begin)[e] < ints(a->routing.begin)[e + 1])
				up_expert(a, i, e, scratch);
	return HTH_OK;
}

/* scratch: dx (R,C) in double, a row of W (C), xa of a slot (r). */
void ref_experts_up_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_experts_up_backward_args *a = args;
	double below = hth_tensor_is(a->dx) ? 1.0 : 0.0;
	int64_t most = 0;

	(void)m;
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->base) + ref_bytes(a->dx);
	for (int i = 0; i < a->n; i++) {
		if (!hth_tensor_is(a->dy[i]))
			continue;
		most = max_rank(a->member[i]) > most ? max_rank(a->member[i]) : most;
		out->flops += adapter_flops(a->member[i], &a->routing, 2.0 + below);
		out->flops += product_flops(a->member[i], &a->routing) *
			      (below + (ref_is_trained(&a->member[i]->w[0]) ? 1.0 : 0.0));
		out->bytes_moved += set_bytes(a->member[i], &a->routing) * below + ref_bytes(a->dy[i]);
	}
	out->scratch_bytes =
		(uint64_t)(a->x.rows * a->x.cols) * sizeof(double) + (uint64_t)(a->x.cols + most) * sizeof(float);
}

/* One expert of one member: dx (R,C) += dy @ W; dW += dy^T @ x; dbias += column sums of dy. */
static void up_backward_expert(const struct hth_experts_up_backward_args *a, int i, int64_t e, double *dx, float *wrow)
{
	const struct hth_weight *w = &a->member[i]->w[e];
	const int32_t *begin = ints(a->routing.begin), *order = ints(a->routing.order);
	bool below = hth_tensor_is(a->dx),
	     biased = a->member[i]->bias != NULL && ref_is_trained(&a->member[i]->bias[e]);

	for (int64_t n = 0; n < w->rows; n++) {
		ref_unpack_row(w, n, wrow);
		for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
			int64_t row = order[s] / a->routing.top;
			double dy = ref_row(a->dy[i], s)[n];
			for (int64_t c = 0; c < w->cols && below; c++)
				dx[row * w->cols + c] += dy * wrow[c];
			for (int64_t c = 0; c < w->cols && ref_is_trained(w); c++)
				ref_grad_row(w, n)[c] += (float)(dy * ref_row(a->x, row)[c]);
			if (biased)
				a->member[i]->bias[e].param->grad[n] += (float)dy;
		}
	}
	for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
		const struct hth_lora *l = slot_lora(a->member[i], a->rows, &a->routing, s);
		int64_t row = order[s] / a->routing.top;
		if (l != NULL)
			slot_backward(a->member[i], l, e, a->x.ctx != NULL ? ref_row(a->x, row) : NULL,
				      ref_row(a->dy[i], s), 1, below ? dx + row * w->cols : NULL, wrow + w->cols);
	}
}

enum hth_status ref_experts_up_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_experts_up_backward_args *a = args;
	int64_t elems = a->x.rows * a->x.cols;
	double *dx = scratch;                /* (R,C) */
	float *wrow = (float *)(dx + elems); /* (C) */

	(void)dev, (void)err;
	for (int64_t k = 0; k < elems; k++)
		dx[k] = hth_tensor_is(a->base) ? ref_row(a->base, 0)[k] : 0.0;
	for (int64_t e = 0; e < a->routing.n_experts; e++)
		for (int i = 0; i < a->n; i++)
			if (hth_tensor_is(a->dy[i]))
				up_backward_expert(a, i, e, dx, wrow);
	for (int64_t k = 0; k < elems && hth_tensor_is(a->dx); k++)
		ref_row(a->dx, 0)[k] = (float)dx[k];
	return HTH_OK;
}

/* --- down ------------------------------------------------------------------------------------------------------- */

/* scratch: y (R,C) in double, a row of W (F), xa of a slot (r). */
void ref_experts_down_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_experts_down_args *a = args;

	(void)m;
	out->flops = product_flops(a->set, &a->routing) + adapter_flops(a->set, &a->routing, 1);
	out->bytes_moved = ref_bytes(a->a) + set_bytes(a->set, &a->routing) + ref_bytes(a->y);
	out->scratch_bytes = (uint64_t)(a->y.rows * a->y.cols) * sizeof(double) +
			     (uint64_t)(a->a.cols + max_rank(a->set)) * sizeof(float);
}

/* y (R,C) += weight * scale * (a @ A^T) @ B^T over expert e's slots. */
static void down_adapters(const struct hth_experts_down_args *a, int64_t e, double *y, float *xa)
{
	const int32_t *begin = ints(a->routing.begin), *order = ints(a->routing.order);
	const float *weight = a->routing.weight.ctx; /* (R*k) */
	int64_t width = a->y.cols;

	for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
		const struct hth_lora *l = slot_lora(a->set, a->rows, &a->routing, s);
		double *to = y + order[s] / a->routing.top * width; /* (C) */
		if (l == NULL)
			continue;
		make_xa(l, e, ref_row(a->a, s), xa);
		for (int64_t n = 0; n < width; n++)
			to[n] += (double)weight[order[s]] * l->scale * ref_dot(xa, b_of(l, e, width, n), l->b.cols);
	}
}

enum hth_status ref_experts_down(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_experts_down_args *a = args;
	const int32_t *begin = ints(a->routing.begin), *order = ints(a->routing.order);
	const float *weight = a->routing.weight.ctx; /* (R*k) */
	int64_t elems = a->y.rows * a->y.cols, width = a->y.cols;
	double *y = scratch;                /* (R,C) */
	float *wrow = (float *)(y + elems); /* (F) */

	(void)dev, (void)err;
	for (int64_t k = 0; k < elems; k++)
		y[k] = 0.0;
	for (int64_t e = 0; e < a->routing.n_experts; e++) {
		for (int64_t n = 0; n < width && begin[e] < begin[e + 1]; n++) {
			double bias = bias_of(a->set, e) != NULL ? bias_of(a->set, e)[n] : 0.0;
			ref_unpack_row(&a->set->w[e], n, wrow);
			for (int64_t s = begin[e]; s < begin[e + 1]; s++)
				y[order[s] / a->routing.top * width + n] +=
					weight[order[s]] * (ref_dot(ref_row(a->a, s), wrow, a->a.cols) + bias);
		}
		down_adapters(a, e, y, wrow + a->a.cols);
	}
	for (int64_t k = 0; k < elems; k++)
		ref_row(a->y, 0)[k] = (float)y[k];
	return HTH_OK;
}

/* scratch: u (R*k,F) in double, a row of W (F), xa of a slot (r). */
void ref_experts_down_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_experts_down_backward_args *a = args;
	double below = hth_tensor_is(a->da) ? 1.0 : 0.0;

	(void)m;
	out->flops = product_flops(a->set, &a->routing) * (below + (ref_is_trained(&a->set->w[0]) ? 1.0 : 0.0)) +
		     adapter_flops(a->set, &a->routing, 2.0 + below);
	out->bytes_moved =
		ref_bytes(a->a) + ref_bytes(a->dy) + ref_bytes(a->da) + set_bytes(a->set, &a->routing) * below;
	out->scratch_bytes = (uint64_t)(a->a.rows * a->a.cols) * sizeof(double) +
			     (uint64_t)(a->a.cols + max_rank(a->set)) * sizeof(float);
}

/* One expert: u (R*k,F) += dy @ W; dW += weight * dy^T @ a; dbias += weight * dy. */
static void down_backward_expert(const struct hth_experts_down_backward_args *a, int64_t e, double *u, float *wrow)
{
	const struct hth_weight *w = &a->set->w[e];
	const int32_t *begin = ints(a->routing.begin), *order = ints(a->routing.order);
	const float *weight = a->routing.weight.ctx; /* (R*k) */

	for (int64_t n = 0; n < w->rows; n++) {
		ref_unpack_row(w, n, wrow);
		for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
			double dy = ref_row(a->dy, order[s] / a->routing.top)[n];
			for (int64_t f = 0; f < w->cols; f++)
				u[s * w->cols + f] += dy * wrow[f];
			for (int64_t f = 0; f < w->cols && ref_is_trained(w); f++)
				ref_grad_row(w, n)[f] += (float)(weight[order[s]] * dy * ref_row(a->a, s)[f]);
			if (a->set->bias != NULL && ref_is_trained(&a->set->bias[e]))
				a->set->bias[e].param->grad[n] += (float)(weight[order[s]] * dy);
		}
	}
	for (int64_t s = begin[e]; s < begin[e + 1]; s++) {
		const struct hth_lora *l = slot_lora(a->set, a->rows, &a->routing, s);
		if (l != NULL)
			slot_backward(a->set, l, e, ref_row(a->a, s), ref_row(a->dy, order[s] / a->routing.top),
				      weight[order[s]], u + s * w->cols, wrow + w->cols);
	}
}

/* What is left of a slot once its u is known. */
static void finish_slot(const struct hth_experts_down_backward_args *a, int64_t e, int64_t s, const double *u)
{
	int32_t choice = ints(a->routing.order)[s];
	const float *in = ref_row(a->a, s), *bias = bias_of(a->set, e); /* (F), (C) */
	const float *dy = ref_row(a->dy, choice / a->routing.top);      /* (C) */
	double dweight = bias != NULL ? ref_dot(dy, bias, a->dy.cols) : 0.0;

	for (int64_t f = 0; f < a->a.cols; f++) {
		dweight += u[f] * in[f];
		ref_row(a->da, s)[f] = (float)(((const float *)a->routing.weight.ctx)[choice] * u[f]);
	}
	if (hth_tensor_is(a->dweight))
		((float *)a->dweight.ctx)[choice] = (float)dweight;
}

enum hth_status ref_experts_down_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_experts_down_backward_args *a = args;
	const int32_t *begin = ints(a->routing.begin);
	int64_t elems = a->a.rows * a->a.cols;
	double *u = scratch;                /* (R*k,F) */
	float *wrow = (float *)(u + elems); /* (F) */

	(void)dev, (void)err;
	for (int64_t k = 0; k < elems; k++)
		u[k] = 0.0;
	for (int64_t e = 0; e < a->routing.n_experts; e++) {
		down_backward_expert(a, e, u, wrow);
		for (int64_t s = begin[e]; s < begin[e + 1] && hth_tensor_is(a->da); s++)
			finish_slot(a, e, s, u + s * a->a.cols);
	}
	return HTH_OK;
}
