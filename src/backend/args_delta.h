/* Arguments of the op slots of a gated delta net, a layer that recurs: a short causal convolution and a state of one
 * matrix a head in place of keys and values (args.h has the conventions).
 *
 * Both go along each token's own past: its segment from the start, before that its ancestors, before those the state
 * that the root continues; before the beginning of a text everything is zero. A segment with a state leaves there what
 * its next token needs (recurrent.h). Batches with states have no backward.
 *
 * Letters: Kh key heads of Dk columns, Vh value heads of Dv columns, Vh a multiple of Kh; W taps. */
#ifndef HTH_BACKEND_ARGS_DELTA_H
#define HTH_BACKEND_ARGS_DELTA_H

#include "tensor/batch.h"
#include "tensor/tensor.h"
#include "tensor/weight.h"

enum { HTH_CONV_MAX_TAPS = 16 };
/* y[n] = silu(sum over j < W of w[n*W + j] * x[n] of the token W-1-j places before). */
struct hth_conv_args {
	const struct hth_batch *batch;
	int32_t layer;              /* of the layers that recur */
	int64_t taps;               /* W */
	const struct hth_weight *w; /* (1,N*W) f32 */
	struct hth_tensor x;        /* (T,N) */
	struct hth_tensor y;        /* (T,N), not over x */
};
struct hth_conv_backward_args {
	const struct hth_batch *batch;
	int64_t taps;
	const struct hth_weight *w;
	struct hth_tensor x, dy;
	struct hth_tensor base, dx; /* (T,N); dx HTH_NO_TENSOR: only the gradient of w is wanted */
};

struct hth_delta_shape {
	int64_t n_key, n_value; /* Kh, Vh */
	int64_t key, value;     /* Dk, Dv */
	bool tiled;             /* value head h reads key head h % Kh, else h / (Vh / Kh) */
};
#define HTH_DELTA_EPS 1e-6 /* under the root of the lengths of queries and keys */

static inline int64_t hth_delta_key_head(const struct hth_delta_shape *s, int64_t h)
{
	return s->tiled ? h % s->n_key : h / (s->n_value / s->n_key);
}
static inline int64_t hth_delta_cols(const struct hth_delta_shape *s)
{
	return 2 * s->n_key * s->key + s->n_value * s->value;
}

/* For each value head, with q, k of length 1 (q also over sqrt(Dk)), decay = exp(-exp(a_log) * softplus(a + dt)) and
 * beta = sigmoid(b), the state S (Dk,Dv) goes from token to token:
 *	S = decay * S;  u = beta * (v - S^T k);  S = S + k u^T;  y = S^T q */
struct hth_delta_args {
	const struct hth_batch *batch;
	int32_t layer; /* of the layers that recur */
	struct hth_delta_shape shape;
	const struct hth_weight *a_log, *dt; /* (1,Vh) f32 */
	struct hth_tensor x;                 /* (T,Kh*Dk + Kh*Dk + Vh*Dv): queries, keys, values */
	struct hth_tensor a, b;              /* (T,Vh) */
	struct hth_tensor y;                 /* (T,Vh*Dv) */
};
struct hth_delta_backward_args {
	const struct hth_batch *batch;
	struct hth_delta_shape shape;
	const struct hth_weight *a_log, *dt;
	struct hth_tensor x, a, b, dy;
	struct hth_tensor dx, da, db; /* like x, a, b; written */
};

/* y (R,G*n) = columns first .. first+n-1 of each group of `group` columns of x (R,G*group). */
struct hth_slice_args {
	int64_t group, first, n;
	struct hth_tensor x, y;
};
/* dx (R,G*group) = base, plus dy (R,G*n) at its columns. */
struct hth_slice_backward_args {
	int64_t group, first, n;
	struct hth_tensor dy, base, dx;
};

#endif
