/* What the format files share: numbers in blocks, and the searches that pick scales (fit.c).
 * Everything is inlined into plain loops that compilers turn into vector code. */
#ifndef HTH_QUANT_QUANT_INT_H
#define HTH_QUANT_QUANT_INT_H

#include "quant/quant.h"

#include <math.h>
#include <string.h>

static inline float quant_bits_f32(uint32_t u)
{
	union {
		uint32_t u;
		float f;
	} v = {.u = u};
	return v.f;
}

static inline uint32_t quant_f32_bits(float f)
{
	union {
		float f;
		uint32_t u;
	} v = {.f = f};
	return v.u;
}

static inline uint16_t quant_load_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline void quant_store_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v & 0xFF);
	p[1] = (uint8_t)(v >> 8);
}

/* Exact for every pattern, without branches: the exponent is moved by a multiplication by 2^112, which also
 * normalises subnormals; infinities and NaN keep their mantissa under a full exponent. */
static inline float quant_f16_to_f32(uint16_t h)
{
	float magnitude = quant_bits_f32((uint32_t)(h & 0x7FFF) << 13) * 0x1p112f;
	uint32_t special = (h & 0x7C00) == 0x7C00 ? 0x7F800000u : 0;
	return quant_bits_f32(quant_f32_bits(magnitude) | special | (uint32_t)(h & 0x8000) << 16);
}

/* Round to nearest even; too large becomes infinity, NaN stays a (quiet) NaN. */
static inline uint16_t quant_f32_to_f16(float f)
{
	uint32_t u = quant_f32_bits(f), magnitude = u & 0x7FFFFFFFu;
	uint32_t normal = (magnitude + 0xFFFu + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
	/* Below 2^-14: adding 0.5 lets the float unit round to multiples of 2^-24, f16's smallest step. */
	uint32_t small = quant_f32_bits(quant_bits_f32(magnitude) + 0.5f) - quant_f32_bits(0.5f);
	uint32_t r = magnitude < 113u << 23 ? small : normal;
	r = magnitude >= 0x477FF000u ? 0x7C00u : r; /* 65520 and above */
	r = magnitude > 0x7F800000u ? 0x7E00u | (magnitude >> 13 & 0x3FFu) : r;
	return (uint16_t)(r | (u >> 16 & 0x8000u));
}

static inline uint16_t quant_f32_to_bf16(float f)
{
	uint32_t u = quant_f32_bits(f);
	uint32_t rounded = (u + 0x7FFFu + (u >> 16 & 1)) >> 16;
	return (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? (u >> 16 | 0x40u) : rounded);
}

static inline float quant_load_f16(const uint8_t *p)
{
	return quant_f16_to_f32(quant_load_u16(p));
}

static inline void quant_store_f16(uint8_t *p, float f)
{
	quant_store_u16(p, quant_f32_to_f16(f));
}

/* The 12 bytes of scales that q4_k and q5_k share: 8 scales and 8 mins of 6 bits. Bytes 0..3 hold scales 0..3 in
 * their low 6 bits, bytes 4..7 mins 0..3; bytes 8..11 the low nibbles of scales 4..7 (low) and mins 4..7 (high),
 * whose upper two bits are the top bits of bytes 0..3 and 4..7. */
static inline void quant_k4_scales(const uint8_t in[12], uint8_t scale[8], uint8_t min[8])
{
	for (int j = 0; j < 4; j++) {
		scale[j] = in[j] & 63;
		min[j] = in[j + 4] & 63;
		scale[j + 4] = (uint8_t)((in[j + 8] & 15) | in[j] >> 6 << 4);
		min[j + 4] = (uint8_t)(in[j + 8] >> 4 | in[j + 4] >> 6 << 4);
	}
}

static inline void quant_store_k4_scales(uint8_t out[12], const uint8_t scale[8], const uint8_t min[8])
{
	for (int j = 0; j < 4; j++) {
		out[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
		out[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
		out[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
	}
}

/* Nearest integer, ties to even, for |x| <= 2^22; the addition pushes the fraction out of the mantissa. */
static inline float quant_round(float x)
{
	return (x + 12582912.0f) - 12582912.0f;
}

#endif
