/* AVX2 with FMA and F16C: Intel Haswell (2013) and AMD Zen (2017) and later. Primitives in simd_x86_256.h, kernels in the
 * other simd_ headers. Tile 6 x 16: 12 accumulators, 2 vectors of b, 1 broadcast of 16 registers. */
#include "kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 8, LANES = 2, MR = 6, NV = 2 };

#include "kernels/simd_x86_256.h"

typedef uint8_t vb __attribute__((vector_size(32)));

/* 16 bytes in each lane. */
static inline vb v_repeat(const uint8_t *p)
{
	return (vb)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
static inline vb pair(const uint8_t *p, const uint8_t *q)
{
	__m256i a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
	return (vb)_mm256_inserti128_si256(a, _mm_loadu_si128((const __m128i *)q), 1);
}
/* 16 bytes at q in the lanes of the group that `lanes` names, at p in the others. */
static inline vb v_two(const uint8_t *p, const uint8_t *q, int lanes, int v)
{
	return pair(lanes >> 2 * v & 1 ? q : p, lanes >> 2 * v & 2 ? q : p);
}
/* Pieces `bytes` apart, n of them there; beyond n: the last again. */
static inline vb v_strided(const uint8_t *p, int bytes, int64_t n)
{
	return pair(p, n > 1 ? p + bytes : p);
}
/* Bytes of a table of 16 at indices 0..15. */
static inline vb v_lookup(const uint8_t table[16], vb index)
{
	return (vb)_mm256_shuffle_epi8((__m256i)pair(table, table), (__m256i)index);
}
/* Each lane shifted right; callers mask what comes from the byte above. */
static inline vb v_shift(vb a, int s0, int s1, int s2, int s3, int v)
{
	return (vb)_mm256_srlv_epi64((__m256i)a, v == 0 ? _mm256_set_epi64x(s1, s1, s0, s0) : _mm256_set_epi64x(s3, s3, s2, s2));
}
/* a | bit where bits & mask */
static inline vb or_if(vb a, __m256i bits, __m256i mask, int bit)
{
	__m256i unset = _mm256_cmpeq_epi8(_mm256_and_si256(bits, mask), _mm256_setzero_si256());
	return (vb)_mm256_or_si256((__m256i)a, _mm256_andnot_si256(unset, _mm256_set1_epi8((char)bit)));
}
/* a | (bits & the lane's mask ? bit : 0) */
static inline vb v_or_if(vb a, vb bits, int m0, int m1, int m2, int m3, int v, int bit)
{
	__m128i low = _mm_set1_epi8((char)(v == 0 ? m0 : m2)), high = _mm_set1_epi8((char)(v == 0 ? m1 : m3));
	return or_if(a, (__m256i)bits, _mm256_set_m128i(high, low), bit);
}
/* a | 16 where the 16 bits at p (`bytes` apart, n of them there) are set. */
static inline vb v_or_bits(vb a, const uint8_t *p, int bytes, int64_t n)
{
	uint16_t h[2];
	memcpy(&h[0], p, sizeof h[0]);
	memcpy(&h[1], n > 1 ? p + bytes : p, sizeof h[1]);
	__m256i two = _mm256_set1_epi32((int)(h[0] | (uint32_t)h[1] << 16));
	two = _mm256_shuffle_epi8(two, _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0));
	return or_if(a, two, _mm256_set1_epi64x((long long)0x8040201008040201), 16);
}
static inline __m256i load_bytes(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}
/* 256 * hi + lo of sums of two. Weights have at most 6 bits, so that no sum of 16 bits overflows, even of four. */
static inline vi join(__m256i hi, __m256i lo)
{
	return (vi)_mm256_add_epi32(_mm256_madd_epi16(hi, _mm256_set1_epi16(256)), _mm256_madd_epi16(lo, _mm256_set1_epi16(1)));
}
/* Bytes of w times hi and lo of x: first and last halves of blocks. */
static inline vi v_dots(vb low, vb high, const uint8_t *x)
{
	__m256i a = (__m256i)low, b = (__m256i)high;
	__m256i hi = _mm256_add_epi16(_mm256_maddubs_epi16(a, load_bytes(x)), _mm256_maddubs_epi16(b, load_bytes(x + 64)));
	__m256i lo = _mm256_add_epi16(_mm256_maddubs_epi16(a, load_bytes(x + 128)), _mm256_maddubs_epi16(b, load_bytes(x + 192)));
	return join(hi, lo);
}
/* One half. */
static inline vi v_dot(vb w, const uint8_t *x)
{
	return join(_mm256_maddubs_epi16((__m256i)w, load_bytes(x)), _mm256_maddubs_epi16((__m256i)w, load_bytes(x + 128)));
}
static inline __m256i words_of(bool is_signed, const uint8_t *p)
{
	__m128i a = _mm_loadu_si128((const __m128i *)p);
	return is_signed ? _mm256_cvtepi8_epi16(a) : _mm256_cvtepu8_epi16(a);
}
/* 32 bytes of w times a block of x. */
static inline vi v_dot8(bool is_signed, const uint8_t *w, const uint8_t *bytes, const int16_t *words)
{
	(void)bytes;
	return (vi)_mm256_add_epi32(_mm256_madd_epi16(words_of(is_signed, w), load_bytes((const uint8_t *)words)),
	                            _mm256_madd_epi16(words_of(is_signed, w + 16), load_bytes((const uint8_t *)(words + 16))));
}
/* Numbers i and i + 1 of s, each in the four places of its lane. */
static inline vf v_spread(const vf *s, int i)
{
	__m256i at = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
	return _mm256_permutevar8x32_ps(s[i / 8], _mm256_add_epi32(at, _mm256_set1_epi32(i % 8)));
}
/* The same of i and i + 2. */
static inline vf v_spread2(const vf *s, int i)
{
	__m256i at = _mm256_set_epi32(2, 2, 2, 2, 0, 0, 0, 0);
	return _mm256_permutevar8x32_ps(s[i / 8], _mm256_add_epi32(at, _mm256_set1_epi32(i % 8)));
}
/* p (8) twice, and after zeros: part i of 16 */
static inline vf v_twice(const float *p, int i)
{
	(void)i;
	return v_load(p);
}
static inline vf v_after8(const float *p, int i)
{
	return i < 8 ? v_set1(0) : v_load(p);
}

#include "kernels/simd_part.h"

#include "kernels/simd_f32.h"

#include "kernels/simd_product.h"

#include "kernels/simd_half.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_blocks.h"

#include "kernels/simd_math.h"

#include "kernels/simd_delta.h"

#include "kernels/simd_matvec.h"

extern const struct hth_kernels hth_kernels_avx2;
const struct hth_kernels hth_kernels_avx2 = {
	.product = SIMD_PRODUCT,
	SIMD_BLOCK_SLOTS,
	SIMD_MATH_SLOTS,
	SIMD_DELTA_SLOTS,
	SIMD_MATVEC_SLOTS,
};
#endif
