/* What the reference ops share. Each op's file has its cost and its run, plain loops over f32 arrays.
 *
 * Sums (dot products, means, softmax, column sums) run in double and are rounded to f32 once, so that the definition
 * does not depend on an order of summation and every faster kernel is measured against the same value. Nothing here
 * is fast: weights are unpacked row by row, and one thread does everything. */
#ifndef HTH_BACKEND_REF_INT_H
#define HTH_BACKEND_REF_INT_H

#include "backend/backend.h"

/* Keys and values of the past, for each layer; 0 <= row < capacity. */
struct ref_state {
	struct hth_state_shape shape;
	float *k, *v; /* layer by layer (capacity,K*D), with K and D of the layer */
	struct hth_recurrent *recurrent;
};
/* Where a layer begins; of n_layers: floats of k. */
int64_t ref_state_at(const struct hth_state_shape *s, int64_t layer);

/* Where a root that continues a state reads what its layer remembers, and where it leaves the same; NULL, NULL: no state. */
struct ref_move {
	const float *from; /* NULL: zero */
	float *to;
};
/* moves (n_segments). */
HTH_MUST enum hth_status ref_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part,
                                        int64_t elems, struct ref_move *moves, struct hth_err *err);

#define HTH_OP(name)                                                                                                   \
	hth_cost_fn ref_##name##_cost;                                                                                 \
	hth_run_fn ref_##name;
#include "backend/oplist.h"
#undef HTH_OP

/* Row n of w (cols) as f32. */
void ref_unpack_row(const struct hth_weight *w, int64_t n, float *out);
/* Row n of the gradient of a trained weight, in the order of its stored rows. */
float *ref_grad_row(const struct hth_weight *w, int64_t n);
bool ref_is_trained(const struct hth_weight *w); /* NULL is fine */

static inline float *ref_row(struct hth_tensor t, int64_t row) /* (cols) */
{
	return (float *)t.ctx + row * t.cols;
}

/* sum of a[i] * b[i] */
static inline double ref_dot(const float *a, const float *b, int64_t n)
{
	double sum = 0.0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

static inline double ref_bytes(struct hth_tensor t) /* 0 for no tensor */
{
	return hth_tensor_is(t) ? (double)hth_tensor_bytes(t) : 0.0;
}

#endif
