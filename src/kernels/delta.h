/* Kernels of a gated delta net (backend/args_delta.h): tokens of one head, and some columns of its values. Columns of the
 * state do not meet: each has its own u and y, so that a head is cut into blocks of them that stay in the L1 cache. */
#ifndef HTH_KERNELS_DELTA_H
#define HTH_KERNELS_DELTA_H

#include <stdint.h>

enum { HTH_DELTA_COLS = 32 }; /* columns of a block: the state is (keys,HTH_DELTA_COLS), zero beyond `cols` */

/* n >= 0 tokens, each n-th row ld floats after the one before. */
struct hth_delta_run {
	int64_t n, keys, cols;    /* cols <= HTH_DELTA_COLS */
	const float *q, *k;       /* (n,keys), normed */
	int64_t ldk;
	const float *v;           /* (n,cols) */
	int64_t ldv;
	const float *decay, *beta; /* (n) */
	int64_t ldg;
	float *y;                 /* (n,cols), or NULL: not wanted */
	int64_t ldy;
	float *u, *miss;          /* (n,HTH_DELTA_COLS) what was added, u = beta * miss; NULL: not wanted */
};
/* For each token, with P = decay * S:  miss = v - P^T k;  u = beta * miss;  S = P + k u^T;  y = S^T q. Sums go over keys in
 * ascending order: one run of n tokens has the bits of n runs of one. */
typedef void hth_delta_fn(const struct hth_delta_run *r, float *state);

/* One token backwards. */
struct hth_delta_back {
	int64_t keys, cols;
	const float *q, *k;          /* (keys) */
	const float *u, *miss;       /* (HTH_DELTA_COLS) as the run gave them */
	const float *dy;             /* (cols) */
	const float *before, *after; /* (keys,HTH_DELTA_COLS) states; before NULL: zero */
	float decay, beta;
	float *dq, *dk;              /* (keys), added to */
	float *dv;                   /* (cols), written */
	float *ddecay, *dbeta;       /* added to */
};
/* ds (keys,HTH_DELTA_COLS): gradient of the state after the token, becomes that of the state before. */
typedef void hth_delta_grad_fn(const struct hth_delta_back *b, float *ds);

#endif
