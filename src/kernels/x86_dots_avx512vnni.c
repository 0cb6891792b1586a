/* Decoding with AVX-512's dot products of bytes (VNNI): Intel Cascade Lake and AMD Zen 4 and later. Layered over
 * x86_avx512.c; kernels in simd_matvec.h. */
#include "kernels/kernels.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 16, LANES = 4 };

#include "kernels/simd_x86_512.h"

typedef uint8_t vb __attribute__((vector_size(64)));

static inline __m512i repeat(const uint8_t *p)
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
/* Lanes of `a` whose bit in `lanes` is set become the 16 bytes at p. */
static inline __m512i into(__m512i a, int lanes, const uint8_t *p)
{
	__mmask16 k = (__mmask16)((lanes & 1 ? 0xF : 0) | (lanes & 2 ? 0xF0 : 0) | (lanes & 4 ? 0xF00 : 0) |
	                          (lanes & 8 ? 0xF000 : 0));
	return _mm512_mask_broadcast_i32x4(a, k, _mm_loadu_si128((const __m128i *)p));
}
/* 16 bytes in each lane. */
static inline vb v_repeat(const uint8_t *p)
{
	return (vb)repeat(p);
}
/* 16 bytes at q in the lanes of the group that `lanes` names, at p in the others. */
static inline vb v_two(const uint8_t *p, const uint8_t *q, int lanes, int v)
{
	(void)v;
	return (vb)into(repeat(p), lanes, q);
}
/* Pieces `bytes` apart, n of them there; beyond n: the last again. */
static inline vb v_strided(const uint8_t *p, int bytes, int64_t n)
{
	int64_t last = n - 1;
	__m512i a = repeat(p);
	a = into(a, 2, p + (last < 1 ? last : 1) * bytes);
	a = into(a, 4, p + (last < 2 ? last : 2) * bytes);
	return (vb)into(a, 8, p + (last < 3 ? last : 3) * bytes);
}
/* Bytes of a table of 16 at indices 0..15. */
static inline vb v_lookup(const uint8_t table[16], vb index)
{
	return (vb)_mm512_shuffle_epi8(repeat(table), (__m512i)index);
}
static inline __m512i of_lanes(__m128i a, __m128i b, __m128i c, __m128i d)
{
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(b, a)), _mm256_set_m128i(d, c), 1);
}
/* Each lane's 16-bit words shifted right; callers mask what comes from the byte above. */
static inline vb v_shift(vb a, int s0, int s1, int s2, int s3, int v)
{
	__m512i s = of_lanes(_mm_set1_epi16((short)s0), _mm_set1_epi16((short)s1), _mm_set1_epi16((short)s2),
	                     _mm_set1_epi16((short)s3));
	(void)v;
	return (vb)_mm512_srlv_epi16((__m512i)a, s);
}
/* a | (bits & the lane's mask ? bit : 0) */
static inline vb v_or_if(vb a, vb bits, int m0, int m1, int m2, int m3, int v, int bit)
{
	__m512i m = of_lanes(_mm_set1_epi8((char)m0), _mm_set1_epi8((char)m1), _mm_set1_epi8((char)m2),
	                     _mm_set1_epi8((char)m3));
	(void)v;
	return (vb)_mm512_mask_add_epi8((__m512i)a, _mm512_test_epi8_mask((__m512i)bits, m), (__m512i)a,
	                                _mm512_set1_epi8((char)bit));
}
/* a | 16 where the 16 bits at p (`bytes` apart, n of them there) are set. */
static inline vb v_or_bits(vb a, const uint8_t *p, int bytes, int64_t n)
{
	uint64_t all = 0;
#pragma GCC unroll 4
	for (int64_t i = 0; i < 4; i++) {
		uint16_t h;
		memcpy(&h, p + (i < n ? i : n - 1) * bytes, sizeof h);
		all |= (uint64_t)h << 16 * i;
	}
	return (vb)_mm512_mask_add_epi8((__m512i)a, (__mmask64)all, (__m512i)a, _mm512_set1_epi8(16));
}
/* Bytes of w times hi and lo of x: first and last halves of blocks. */
static inline vi v_dots(vb low, vb high, const uint8_t *x)
{
	__m512i s = _mm512_dpbusd_epi32(_mm512_setzero_si512(), (__m512i)low, _mm512_loadu_si512(x));
	s = _mm512_slli_epi32(_mm512_dpbusd_epi32(s, (__m512i)high, _mm512_loadu_si512(x + 64)), 8);
	s = _mm512_dpbusd_epi32(s, (__m512i)low, _mm512_loadu_si512(x + 128));
	return (vi)_mm512_dpbusd_epi32(s, (__m512i)high, _mm512_loadu_si512(x + 192));
}
/* One half. */
static inline vi v_dot(vb w, const uint8_t *x)
{
	__m512i s = _mm512_dpbusd_epi32(_mm512_setzero_si512(), (__m512i)w, _mm512_loadu_si512(x));
	return (vi)_mm512_dpbusd_epi32(_mm512_slli_epi32(s, 8), (__m512i)w, _mm512_loadu_si512(x + 128));
}
/* 32 bytes of w times a block of x. */
static inline vi v_dot8(bool is_signed, const uint8_t *w, const uint8_t *bytes, const int16_t *words)
{
	__m256i a = _mm256_loadu_si256((const __m256i *)w);
	(void)bytes;
	return (vi)_mm512_dpwssd_epi32(_mm512_setzero_si512(), is_signed ? _mm512_cvtepi8_epi16(a) : _mm512_cvtepu8_epi16(a),
	                               _mm512_loadu_si512(words));
}
/* Numbers i .. i+3 of s, each in the four places of its lane. */
static inline vf v_spread(const vf *s, int i)
{
	__m512i at = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
	return _mm512_permutexvar_ps(_mm512_add_epi32(at, _mm512_set1_epi32(i)), *s);
}
/* The same of i, i + 2, i + 4, i + 6. */
static inline vf v_spread2(const vf *s, int i)
{
	__m512i at = _mm512_set_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
	return _mm512_permutexvar_ps(_mm512_add_epi32(at, _mm512_set1_epi32(i)), *s);
}
/* p (8) twice, and after zeros: part i of 16 */
static inline vf v_twice(const float *p, int i)
{
	(void)i;
	return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
}
static inline vf v_after8(const float *p, int i)
{
	(void)i;
	return _mm512_insertf32x8(_mm512_setzero_ps(), _mm256_loadu_ps(p), 1);
}
/* Four half floats, `bytes` apart, n of them there, through integer registers: the vector units have enough to do. */
static inline long long four_halves(const uint8_t *p, int bytes, int64_t n)
{
	uint64_t all = 0;
	uint16_t h;
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		if (i < n) {
			memcpy(&h, p + i * bytes, sizeof h);
			all |= (uint64_t)h << 16 * i;
		}
	return (long long)all;
}
static inline __m128i eight_halves(const uint8_t *p, int bytes, int64_t n)
{
	__m128i low = _mm_cvtsi64_si128(four_halves(p, bytes, n));
	return n <= 4 ? low : _mm_insert_epi64(low, four_halves(p + 4 * bytes, bytes, n - 4), 1);
}
/* 16 half floats, `bytes` apart; zero from number n on. */
static inline void v_halves(const uint8_t *p, int bytes, int64_t n, vf *out)
{
	__m128i low = eight_halves(p, bytes, n);
	*out = _mm512_cvtph_ps(n <= 8 ? _mm256_zextsi128_si256(low)
	                              : _mm256_set_m128i(eight_halves(p + 8 * bytes, bytes, n - 8), low));
}

#include "kernels/simd_part.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_matvec.h"

#include "kernels/simd_lanes.h"

extern const struct hth_kernels hth_kernels_avx512vnni;
const struct hth_kernels hth_kernels_avx512vnni = {
	SIMD_MATVEC_SLOTS,
	SIMD_MATVEC16_SLOTS,
};
#endif
