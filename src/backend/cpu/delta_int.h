/* What both directions of the gated delta rule share on cpu: normed queries and keys, decays and betas of all tokens, made
 * once; and which segments have children, whose states at the end are kept. A head is cut into blocks of HTH_DELTA_COLS
 * columns of its values, whose states do not meet. */
#ifndef HTH_BACKEND_CPU_DELTA_INT_H
#define HTH_BACKEND_CPU_DELTA_INT_H

#include "backend/cpu/cpu_int.h"
#include "backend/cpu/state.h"

#include <math.h>

struct cpu_delta {
	const struct hth_kernels *k;
	const struct hth_batch *batch;
	struct hth_delta_shape s;
	const float *a_log, *dt;   // (Vh)
	struct hth_tensor x, a, b; // as the op's
	float *qk;                 // (T,2*Kh*Dk) normed
	float *gates;              // (T,2*Vh) decays, betas
	int32_t *keeps;            // (segments) number among those with children, -1: none
	int64_t n_kept;
};

/* The shared part of scratch; sizes alone where s->base is NULL. */
void cpu_delta_layout(struct cpu_delta *d, struct cpu_scratch *s);
/* Fills it, on all threads. */
void cpu_delta_prepare(const struct cpu_device *dev, struct cpu_delta *d);

static inline int64_t cpu_delta_block(const struct hth_delta_shape *s) /* numbers of one block's state */
{
	return s->key * HTH_DELTA_COLS;
}
static inline int64_t cpu_delta_blocks(const struct hth_delta_shape *s)
{
	return cpu_ceil(s->value, HTH_DELTA_COLS);
}
/* n tokens from `row` of value head h, columns from d0. */
struct hth_delta_run cpu_delta_run(const struct cpu_delta *d, int64_t h, int64_t d0, int64_t row, int64_t n);
static inline float cpu_delta_factor(const struct hth_kernels *k, const float *x, int64_t n) /* 1 / length */
{
	return 1 / sqrtf(k->dot(x, x, n) + (float)HTH_DELTA_EPS);
}
static inline double cpu_softplus(double x)
{
	return x > 20 ? x : log1p(exp(x));
}

#endif
