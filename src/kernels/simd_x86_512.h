/* Vector primitives of AVX-512 (F, BW, VL, DQ) on 512-bit vectors, for the simd_ headers: included by the files whose VL
 * is 16, after immintrin.h and string.h. */

typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));

static inline __mmask16 first(int64_t n)
{
	return (__mmask16)((1u << n) - 1);
}
static inline vf v_load(const float *p)
{
	return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vf v)
{
	_mm512_storeu_ps(p, v);
}
/* n in 0..VL */
static inline vf v_load_n(const float *p, int64_t n)
{
	return _mm512_maskz_loadu_ps(first(n), p);
}
static inline void v_store_n(float *p, vf v, int64_t n)
{
	_mm512_mask_storeu_ps(p, first(n), v);
}
static inline vf v_set1(float x)
{
	return _mm512_set1_ps(x);
}
static inline vf v_fma(vf a, vf b, vf c)
{
	return _mm512_fmadd_ps(a, b, c);
}
/* NaN in b is kept. */
static inline vf v_max(vf a, vf b)
{
	return _mm512_max_ps(a, b);
}
static inline vf v_min(vf a, vf b)
{
	return _mm512_min_ps(a, b);
}
static inline vf v_sqrt(vf a)
{
	return _mm512_sqrt_ps(a);
}
static inline vf v_round(vf a)
{
	return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline float v_sum(vf a)
{
	return _mm512_reduce_add_ps(a);
}
static inline float v_max_all(vf a)
{
	return _mm512_reduce_max_ps(a);
}
/* a * 2^n for whole n */
static inline vf v_scale2(vf a, vf n)
{
	return _mm512_scalef_ps(a, n);
}
static inline vi v_to_i32(vf a)
{
	return (vi)_mm512_cvtps_epi32(a);
}
static inline vf v_from_i32(vi a)
{
	return _mm512_cvtepi32_ps((__m512i)a);
}
static inline vi vi_from_u8(const uint8_t *p)
{
	return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
static inline vi vi_from_i8(const uint8_t *p)
{
	return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}
static inline vi vi_iota(void)
{
	return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}
static inline vf v_from_bf16(const uint8_t *p)
{
	__m256i h = _mm256_loadu_si256((const __m256i *)p);
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vf v_from_f16(const uint8_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
/* max and min give their second operand where one is no number: it stays what it is. */
static inline void v_to_f16(vf a, uint16_t *out)
{
	vf x = _mm512_min_ps(_mm512_set1_ps(65504), _mm512_max_ps(_mm512_set1_ps(-65504), a));
	_mm256_storeu_si256((__m256i *)out, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline float f16_to_f32(const uint8_t *p)
{
	uint16_t h;
	memcpy(&h, p, sizeof h);
	return _cvtsh_ss(h);
}
/* The low four bits of each lane, looked up in a table of 16: no masking and no conversion is needed. */
static inline vf v_nibble(vi a, vf table)
{
	return _mm512_permutexvar_ps((__m512i)a, table);
}
static inline vf v_nibble_table(float offset)
{
	return _mm512_add_ps(_mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_ps(offset));
}
/* Values of 16 bytes of nibbles, low ones first, from a table of 16. */
static inline void lookup_nibbles(const int8_t table[16], const uint8_t *qs, int8_t out[32])
{
	__m128i t = _mm_loadu_si128((const __m128i *)table), q = _mm_loadu_si128((const __m128i *)qs);
	__m128i mask = _mm_set1_epi8(15);
	_mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(t, _mm_and_si128(q, mask)));
	_mm_storeu_si128((__m128i *)(out + 16), _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(q, 4), mask)));
}
/* Upper and lower halves of the 64-bit products of each lane with m. */
static inline void vu_mul(vu a, uint32_t m, vu *high, vu *low)
{
	__m512i f = _mm512_set1_epi32((int)m), even = _mm512_mul_epu32((__m512i)a, f);
	__m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), f);
	*low = (vu)_mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
	*high = (vu)_mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
}
/* Bytes i .. i+VL-1 of 16. */
static inline vi vi_from_words(uint32_t __attribute__((vector_size(16))) w, int i)
{
	(void)i;
	return (vi)_mm512_cvtepu8_epi32((__m128i)w);
}
/* a >= b ? x : 0 */
static inline vf v_keep_ge(vf a, vf b, vf x)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), x);
}
/* a < b ? x : y */
static inline vf v_select_lt(vf a, vf b, vf x, vf y)
{
	return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}

/* 16 x 16 in four rounds: pairs, quads, then 128-bit lanes twice. */
static inline void v_transpose(vf r[16])
{
	vf t[16];

#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) {
		t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
		t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		__m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
		__m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
		r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
		r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
		r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
		r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
	}
	/* r[4g + c] holds, in lane l, column 4l + c of rows 4g .. 4g+3. */
#pragma GCC unroll 4
	for (int c = 0; c < 4; c++) {
		t[c] = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88);
		t[4 + c] = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xDD);
		t[8 + c] = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
		t[12 + c] = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xDD);
	}
#pragma GCC unroll 4
	for (int c = 0; c < 4; c++) {
		r[c] = _mm512_shuffle_f32x4(t[c], t[8 + c], 0x88);
		r[4 + c] = _mm512_shuffle_f32x4(t[4 + c], t[12 + c], 0x88);
		r[8 + c] = _mm512_shuffle_f32x4(t[c], t[8 + c], 0xDD);
		r[12 + c] = _mm512_shuffle_f32x4(t[4 + c], t[12 + c], 0xDD);
	}
}
