/* MLX's affine quantisation of a group of weights: value = scale * level + bias, levels of 2 to 8 bits. Scale and bias
 * are numbers of a 16-bit type. What is a folder's business (words, tensors) is formats/hf_mlx.h's. */
#ifndef HTH_QUANT_AFFINE_H
#define HTH_QUANT_AFFINE_H

#include "quant/quant.h"

/* x (n), n a multiple of 8. type: HTH_QUANT_F16 or HTH_QUANT_BF16, which scale and bias are values of. importance (n) or
 * NULL. level (n): 0 .. 2^bits - 1. Deterministic; weighted squared error at most that of the plain rule
 * (range / levels), nearly always less. */
void hth_affine_fit(const float *x, int n, int bits, enum hth_quant type, const float *importance, uint8_t *level,
		    float *scale, float *bias);

#endif
