/* Decoding with AVX-512's instructions on 256-bit vectors: rotation and three-input logic make floats of small integers
 * without a conversion. Not 512 bits: processors that join two 256-bit units for them (AMD Zen 4) lose the freedom to
 * run a shift beside a multiplication, and elsewhere memory is the bound. Layered over x86_avx512.c. */
#include "kernels/kernels.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 8 };

#include "kernels/simd_x86_256.h"

/* n bits from bit `at` of each lane as the float 1 + q / 2^n: rotated to the top of the mantissa, under the bits of 1. */
#define FIELD_ONE 1
static inline float field_unit(int n)
{
	return (float)(1 << n);
}
static inline vu to_mantissa(vu a, vu at, int bit)
{
	return (vu)_mm256_rolv_epi32((__m256i)a, (__m256i)(((uint32_t)(32 + bit) - at) & 31));
}
static inline vf v_field(vu a, vu at, int n)
{
	__m256i q = (__m256i)to_mantissa(a, at, 23 - n), mask = _mm256_set1_epi32(((1 << n) - 1) << (23 - n));
	return _mm256_castsi256_ps(_mm256_ternarylogic_epi32(q, mask, _mm256_set1_epi32(0x3F800000), 0xEA));
}
/* The same of n low bits from a and m high ones from b. */
static inline vf v_field2(vu a, vu at, int n, vu b, vu bt, int m)
{
	__m256i low = (__m256i)to_mantissa(a, at, 23 - n - m), high = (__m256i)to_mantissa(b, bt, 23 - m);
	__m256i low_mask = _mm256_set1_epi32(((1 << n) - 1) << (23 - n - m));
	__m256i high_mask = _mm256_set1_epi32(((1 << m) - 1) << (23 - m));
	low = _mm256_ternarylogic_epi32(low, low_mask, _mm256_set1_epi32(0x3F800000), 0xEA); /* (low & mask) | 1.0 */
	return _mm256_castsi256_ps(_mm256_ternarylogic_epi32(low, high, high_mask, 0xF8)); /* | (high & mask) */
}

#include "kernels/simd_part.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_matvec.h"

extern const struct hth_kernels hth_kernels_avx512vl;
const struct hth_kernels hth_kernels_avx512vl = {
	SIMD_MATVEC_SLOTS,
};
#endif
