/* Softmax attention of each query over the spans of its segment. Three passes over the visible keys of one query and
 * head: the largest score, the sum of exponentials, the weighted values. A sink is one more score without a value.
 *
 * Backward, with p = exp(score - lse): dv += p * dy;  ds = p * (dy.v - delta), delta = dy.y (the sum of p * dy.v over
 * all keys);  through the soft cap ds * (1 - (score/cap)^2);  dq += scale * ds * k, dk += scale * ds * q. */
#include "backend/ref/ref_int.h"

#include <math.h>

/* Query-key pairs that are visible by span and causality; the window only shrinks it. */
static double visible_pairs(const struct hth_batch *b, const struct hth_attention_shape *s)
{
	double pairs = 0.0;

	for (int32_t i = 0; i < b->n_spans; i++) {
		double q = b->spans[i].q_len, k = b->spans[i].k_len;
		if (s->window > 0 && k > (double)s->window)
			k = (double)s->window;
		pairs += b->spans[i].causal && k == (double)b->spans[i].q_len ? q * (q + 1.0) / 2.0 : q * k;
	}
	return pairs;
}

void ref_attention_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_attention_args *a = args;

	(void)m;
	out->flops = 4.0 * visible_pairs(a->batch, &a->shape) * (double)a->q.cols;
	out->bytes_moved = ref_bytes(a->q) + ref_bytes(a->k) + ref_bytes(a->v) + ref_bytes(a->y);
	for (int32_t i = 0; i < a->batch->n_spans; i++)
		if (a->batch->spans[i].state >= 0)
			out->bytes_moved += 8.0 * a->batch->spans[i].k_len * (double)a->k.cols;
	out->scratch_bytes = (uint64_t)a->shape.head * sizeof(double);
}

/* One head's keys or values of a span: rows of `stride` floats, of which D are this head's. */
struct keys {
	const float *k, *v;
	int64_t stride;
	const int32_t *positions; /* of the rows, or NULL: 0, 1, 2, ... (a state's) */
};

static struct keys span_keys(const struct hth_batch *b, const struct hth_attention_shape *s, int32_t layer,
                             struct hth_tensor k, struct hth_tensor v, const struct hth_span *span, int64_t kv_head)
{
	int64_t stride = s->n_kv * s->head, from = span->k_start * stride + kv_head * s->head;

	if (span->state < 0)
		return (struct keys){ref_row(k, 0) + from, ref_row(v, 0) + from, stride, b->positions + span->k_start};
	const struct ref_state *state = (const struct ref_state *)b->states[span->state];
	from += ref_state_at(&state->shape, layer);
	return (struct keys){state->k + from, state->v + from, stride, NULL};
}

/* Is key j of the span visible to the query in batch row `row`? */
static bool is_visible(const struct hth_batch *b, const struct hth_attention_shape *s, const struct hth_span *span,
                       const struct keys *keys, int64_t row, int64_t j)
{
	int64_t position = keys->positions != NULL ? keys->positions[j] : span->k_start + j;

	if (span->causal && span->k_start + j > row)
		return false;
	return s->window == 0 || b->positions[row] - position < s->window;
}

/* scale * q.k, through the soft cap. */
static double score(const struct hth_attention_shape *s, const float *q, const float *k)
{
	double z = s->scale * ref_dot(q, k, s->head);

	return s->soft_cap > 0.0f ? s->soft_cap * tanh(z / s->soft_cap) : z;
}

static int32_t segment_of(const struct hth_batch *b, int64_t row)
{
	int32_t s = 0;
	while (row >= b->segments[s].start + b->segments[s].len)
		s++;
	return s;
}

static float sink(const struct hth_attention_shape *s, int64_t h)
{
	return ((const float *)(const void *)s->sinks->data)[h];
}

/* One query of one head. acc (D) in double. */
static void attend(const struct hth_attention_args *a, int64_t row, int64_t h, double *acc)
{
	const struct hth_attention_shape *s = &a->shape;
	const struct hth_batch *b = a->batch;
	const float *q = ref_row(a->q, row) + h * s->head; /* (D) */
	float *y = ref_row(a->y, row) + h * s->head;
	int32_t segment = segment_of(b, row), from = b->span_begin[segment], to = b->span_begin[segment + 1];
	int64_t kv_head = h / (s->n_head / s->n_kv);
	double top = s->sinks != NULL ? sink(s, h) : -INFINITY, sum;

	for (int64_t d = 0; d < s->head; d++)
		acc[d] = 0.0;
	for (int32_t i = from; i < to; i++) {
		struct keys keys = span_keys(b, s, a->layer, a->k, a->v, &b->spans[i], kv_head);
		for (int64_t j = 0; j < b->spans[i].k_len; j++)
			if (is_visible(b, s, &b->spans[i], &keys, row, j))
				top = fmax(top, score(s, q, keys.k + j * keys.stride));
	}
	sum = s->sinks != NULL ? exp(sink(s, h) - top) : 0.0;
	for (int32_t i = from; i < to; i++) {
		struct keys keys = span_keys(b, s, a->layer, a->k, a->v, &b->spans[i], kv_head);
		for (int64_t j = 0; j < b->spans[i].k_len; j++) {
			if (!is_visible(b, s, &b->spans[i], &keys, row, j))
				continue;
			double p = exp(score(s, q, keys.k + j * keys.stride) - top);
			sum += p;
			for (int64_t d = 0; d < s->head; d++)
				acc[d] += p * keys.v[j * keys.stride + d];
		}
	}
	for (int64_t d = 0; d < s->head; d++)
		y[d] = (float)(acc[d] / sum);
	if (hth_tensor_is(a->lse))
		ref_row(a->lse, row)[h] = (float)(top + log(sum));
}

/* Keys and values of segments with a state go to its rows past .. past+len-1, unless they are there. */
static enum hth_status append(const struct hth_attention_args *a, const struct hth_segment *g, struct hth_err *err)
{
	struct ref_state *state = (struct ref_state *)a->batch->states[g->state];
	int64_t width = a->k.cols;

	if (state == NULL || a->layer < 0 || a->layer >= state->shape.n_layers ||
	    hth_state_kv(&state->shape, a->layer) * hth_state_head(&state->shape, a->layer) < width)
		return hth_fail(err, HTH_ERR_SHAPE, "attention: layer %d of width %lld is not in the state", a->layer,
		                (long long)width);
	if (g->past + (int64_t)g->len > state->shape.capacity)
		return hth_fail(err, HTH_ERR_LIMIT, "attention: %lld tokens, the state's capacity is %lld",
		                (long long)g->past + g->len, (long long)state->shape.capacity);
	int64_t to = ref_state_at(&state->shape, a->layer) + g->past * width;
	for (int64_t i = 0; !a->shape.shared && i < g->len * width; i++) {
		state->k[to + i] = ref_row(a->k, g->start)[i];
		state->v[to + i] = ref_row(a->v, g->start)[i];
	}
	return HTH_OK;
}

enum hth_status ref_attention(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_attention_args *a = args;

	(void)dev;
	for (int32_t i = 0; i < a->batch->n_segments; i++)
		if (a->batch->segments[i].state >= 0) {
			enum hth_status status = append(a, &a->batch->segments[i], err);
			if (status != HTH_OK)
				return status;
		}
	for (int64_t row = 0; row < a->q.rows; row++)
		for (int64_t h = 0; h < a->shape.n_head; h++)
			attend(a, row, h, scratch);
	return HTH_OK;
}

/* scratch in double: dq (D) of one query and head, dk and dv (T,K*D), dsinks (H). */
void ref_attention_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_attention_backward_args *a = args;

	(void)m;
	out->flops = 10.0 * visible_pairs(a->batch, &a->shape) * (double)a->q.cols;
	out->bytes_moved = 2.0 * (ref_bytes(a->q) + ref_bytes(a->k) + ref_bytes(a->v) + ref_bytes(a->y));
	out->scratch_bytes = (uint64_t)(a->shape.head + 2 * a->k.rows * a->k.cols + a->shape.n_head) * sizeof(double);
}

/* Double sums of the gradients of keys and values, (T,K*D), and of sinks, (H). */
struct sums {
	double *dq, *dk, *dv, *dsinks;
};

static void attend_backward(const struct hth_attention_backward_args *a, int64_t row, int64_t h,
                            const struct sums *sums)
{
	const struct hth_attention_shape *s = &a->shape;
	const struct hth_batch *b = a->batch;
	int64_t at = h * s->head, kv_head = h / (s->n_head / s->n_kv);
	const float *q = ref_row(a->q, row) + at, *dy = ref_row(a->dy, row) + at; /* (D) */
	double lse = ref_row(a->lse, row)[h], delta = ref_dot(dy, ref_row(a->y, row) + at, s->head);
	int32_t segment = segment_of(b, row);

	for (int64_t d = 0; d < s->head; d++)
		sums->dq[d] = 0.0;
	for (int32_t i = b->span_begin[segment]; i < b->span_begin[segment + 1]; i++) {
		const struct hth_span *span = &b->spans[i];
		struct keys keys = span_keys(b, s, 0, a->k, a->v, span, kv_head);
		for (int64_t j = 0; j < span->k_len; j++) {
			if (!is_visible(b, s, span, &keys, row, j))
				continue;
			const float *k = keys.k + j * keys.stride, *v = keys.v + j * keys.stride; /* (D) */
			int64_t to = (span->k_start + j) * keys.stride + kv_head * s->head;
			double z = score(s, q, k), p = exp(z - lse);
			double ds = p * (ref_dot(dy, v, s->head) - delta) * s->scale;
			if (s->soft_cap > 0.0f)
				ds *= 1.0 - (z / s->soft_cap) * (z / s->soft_cap);
			for (int64_t d = 0; d < s->head; d++) {
				sums->dv[to + d] += p * dy[d];
				sums->dk[to + d] += ds * q[d];
				sums->dq[d] += ds * k[d];
			}
		}
	}
	for (int64_t d = 0; d < s->head; d++)
		ref_row(a->dq, row)[at + d] = (float)sums->dq[d];
	if (s->sinks != NULL)
		sums->dsinks[h] -= exp(sink(s, h) - lse) * delta;
}

enum hth_status ref_attention_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_attention_backward_args *a = args;
	int64_t elems = a->k.rows * a->k.cols;
	struct sums sums = {.dq = scratch};

	(void)dev, (void)err;
	sums.dk = sums.dq + a->shape.head;
	sums.dv = sums.dk + elems;
	sums.dsinks = sums.dv + elems;
	for (int64_t i = 0; i < 2 * elems + a->shape.n_head; i++)
		sums.dk[i] = 0.0;
	for (int64_t row = 0; row < a->q.rows; row++)
		for (int64_t h = 0; h < a->shape.n_head; h++)
			attend_backward(a, row, h, &sums);
	for (int64_t i = 0; i < elems; i++) {
		ref_row(a->dk, 0)[i] = (float)sums.dk[i];
		ref_row(a->dv, 0)[i] = (float)sums.dv[i];
	}
	for (int64_t h = 0; h < a->shape.n_head && ref_is_trained(a->shape.sinks); h++)
		a->shape.sinks->param->grad[h] += (float)sums.dsinks[h];
	return HTH_OK;
}
