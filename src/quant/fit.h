/* The searches that pick scales and offsets: given values and the weights of their squared errors, find the numbers
 * that a block format can hold with the least weighted squared error. All are deterministic and use no randomness.
 * n is a multiple of 8 everywhere. */
#ifndef HTH_QUANT_FIT_H
#define HTH_QUANT_FIT_H

#include "quant/quant_int.h"

#define QUANT_K 256 /* elements of a K format's super-block */

struct quant_line {
	float d, m; /* value = d * q + m */
};

/* w (n): the importance of a block made usable: finite, not negative, largest 1; all 1 where `importance` is NULL or
 * has no positive entry. */
void quant_weights(const float *importance, float *w, int n);

/* Level of v on lo..hi (integers); NaN gives lo. */
static inline float quant_level(float v, float lo, float hi)
{
	v = v > lo ? v : lo;
	v = v < hi ? v : hi;
	return quant_round(v);
}

static inline float quant_inverse(float d)
{
	float inv = 1.0f / d;
	return d != 0 && inv - inv == 0 ? inv : 0.0f;
}

/* d as f16 holds it, never infinite. */
float quant_as_f16(float d);

/* The weighted squared error of x on the nearest levels lo..hi of f. */
float quant_line_error(const float *x, const float *w, int n, struct quant_line f, float lo, float hi);

/* value = d * q, q in lo..hi (lo = -hi or -hi - 1); d may be negative. With `f16` the error is that of d as f16. */
float quant_fit_scale(const float *x, const float *w, int n, int lo, int hi, bool f16);
/* value = d * q + m, q in 0..hi, d >= 0. With `f16` d and m are such values; without, m <= 0 (the K formats'). */
struct quant_line quant_fit_line(const float *x, const float *w, int n, int hi, bool f16);

/* A super-block with scales and mins: value = d * scale[j] * q - dmin * min[j] in sub-block j. */
struct quant_k_lines {
	float d, dmin; /* f16 values */
	uint8_t scale[16], min[16];
	uint8_t q[QUANT_K];
};
void quant_fit_k_lines(const float *x, const float *w, int sub, int q_max, int scale_max, struct quant_k_lines *out);

/* A super-block with signed scales, 16 elements each: value = d * scale[j] * q, q in -q_half..q_half-1, scale in
 * -scale_half..scale_half-1. */
struct quant_k_scales {
	float d; /* f16 value */
	int8_t scale[16];
	int8_t q[QUANT_K];
};
void quant_fit_k_scales(const float *x, const float *w, int q_half, int scale_half, struct quant_k_scales *out);

#endif
