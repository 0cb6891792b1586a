/* mxfp4 as folders have it (gpt-oss's, MLX's): exponents apart, and byte i of a block's nibbles holds elements 2i (low) and
 * 2i+1 (high), where a block of quant/list.h holds i and i+16. Every bit travels, both ways.
 * Source: transformers integrations/mxfp4.py; mlx backend/common/quantized.h. */
#ifndef HTH_QUANT_MXFP4_H
#define HTH_QUANT_MXFP4_H

#include <stdint.h>

enum { HTH_MXFP4_ELEMS = 32, HTH_MXFP4_NIBBLES = 16, HTH_MXFP4_BLOCK = 17 };

/* nibbles (16) of neighbours and an exponent as a block (17). */
static inline void hth_mxfp4_join(const uint8_t *nibbles, uint8_t exponent, uint8_t *block)
{
	*block++ = exponent;
	for (int i = 0; i < HTH_MXFP4_NIBBLES; i++) {
		int low = nibbles[i / 2] >> (i % 2 * 4) & 15, high = nibbles[i / 2 + 8] >> (i % 2 * 4) & 15;
		block[i] = (uint8_t)(low | high << 4);
	}
}

/* The reverse. */
static inline void hth_mxfp4_split(const uint8_t *block, uint8_t *nibbles, uint8_t *exponent)
{
	*exponent = *block++;
	for (int i = 0; i < HTH_MXFP4_NIBBLES; i++) {
		int at = i % 8 * 2, shift = i / 8 * 4;
		nibbles[i] = (uint8_t)((block[at] >> shift & 15) | (block[at + 1] >> shift & 15) << 4);
	}
}

#endif
