/* Vector primitives of 256 bits with AVX2, FMA and F16C, for x86_avx2.c and x86_vl_avx512.c. */

typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
typedef uint32_t vu __attribute__((vector_size(32)));

static inline vi vi_iota(void)
{
	return (vi){0, 1, 2, 3, 4, 5, 6, 7};
}
static inline __m256i first(int64_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), (__m256i)vi_iota());
}
static inline vf v_load(const float *p)
{
	return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vf v)
{
	_mm256_storeu_ps(p, v);
}
/* n in 0..VL */
static inline vf v_load_n(const float *p, int64_t n)
{
	return _mm256_maskload_ps(p, first(n));
}
static inline void v_store_n(float *p, vf v, int64_t n)
{
	_mm256_maskstore_ps(p, first(n), v);
}
static inline vf v_set1(float x)
{
	return _mm256_set1_ps(x);
}
static inline vf v_fma(vf a, vf b, vf c)
{
	return _mm256_fmadd_ps(a, b, c);
}
/* NaN in b is kept. */
static inline vf v_max(vf a, vf b)
{
	return _mm256_max_ps(a, b);
}
static inline vf v_min(vf a, vf b)
{
	return _mm256_min_ps(a, b);
}
static inline vf v_sqrt(vf a)
{
	return _mm256_sqrt_ps(a);
}
static inline vf v_round(vf a)
{
	return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline float v_sum(vf a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_max_all(vf a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
/* a * 2^n for whole n in -252..254: in two steps, so that results may be subnormal. */
static inline vf v_scale2(vf a, vf n)
{
	vi whole = (vi)_mm256_cvtps_epi32(n), half = whole >> 1;
	return a * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}
static inline vi v_to_i32(vf a)
{
	return (vi)_mm256_cvtps_epi32(a);
}
static inline vf v_from_i32(vi a)
{
	return _mm256_cvtepi32_ps((__m256i)a);
}
static inline vi vi_from_u8(const uint8_t *p)
{
	return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static inline vi vi_from_i8(const uint8_t *p)
{
	return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static inline vf v_from_bf16(const uint8_t *p)
{
	__m128i h = _mm_loadu_si128((const __m128i *)p);
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline vf v_from_f16(const uint8_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
/* max and min give their second operand where one is no number: it stays what it is. */
static inline void v_to_f16(vf a, uint16_t *out)
{
	vf x = _mm256_min_ps(_mm256_set1_ps(65504), _mm256_max_ps(_mm256_set1_ps(-65504), a));
	_mm_storeu_si128((__m128i *)out, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline float f16_to_f32(const uint8_t *p)
{
	uint16_t h;
	memcpy(&h, p, sizeof h);
	return _cvtsh_ss(h);
}
/* The low four bits of each lane plus an offset. */
static inline vf v_nibble(vi a, vf table)
{
	return v_from_i32(a & 15) + table;
}
static inline vf v_nibble_table(float offset)
{
	return v_set1(offset);
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
	__m256i f = _mm256_set1_epi32((int)m), even = _mm256_mul_epu32((__m256i)a, f);
	__m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), f);
	*low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
	*high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
/* Bytes i .. i+VL-1 of 16. */
static inline vi vi_from_words(uint32_t __attribute__((vector_size(16))) w, int i)
{
	return (vi)_mm256_cvtepu8_epi32(i == 0 ? (__m128i)w : _mm_srli_si128((__m128i)w, 8));
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
/* 16 half floats, `bytes` apart; zero from number n on. */
static inline void v_halves(const uint8_t *p, int bytes, int64_t n, vf out[2])
{
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++, p += 8 * bytes, n -= 8) {
		__m128i half = _mm_cvtsi64_si128(four_halves(p, bytes, n));
		if (n > 4)
			half = _mm_insert_epi64(half, four_halves(p + 4 * bytes, bytes, n - 4), 1);
		out[i] = _mm256_cvtph_ps(half);
	}
}
/* a >= b ? x : 0 */
static inline vf v_keep_ge(vf a, vf b, vf x)
{
	return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), x);
}
/* a < b ? x : y */
static inline vf v_select_lt(vf a, vf b, vf x, vf y)
{
	return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* 8 x 8 in three rounds: pairs, quads, then 128-bit lanes. */
static inline void v_transpose(vf r[8])
{
	vf t[8];

#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
		t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++) {
		__m256d a = _mm256_castps_pd(t[4 * i]), b = _mm256_castps_pd(t[4 * i + 1]);
		__m256d c = _mm256_castps_pd(t[4 * i + 2]), d = _mm256_castps_pd(t[4 * i + 3]);
		r[4 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
		r[4 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
		r[4 * i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
		r[4 * i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
	}
	/* r[4g + c] holds, in lane l, column 4l + c of rows 4g .. 4g+3. */
#pragma GCC unroll 4
	for (int c = 0; c < 4; c++) {
		vf a = r[c], b = r[4 + c];
		r[c] = _mm256_permute2f128_ps(a, b, 0x20);
		r[4 + c] = _mm256_permute2f128_ps(a, b, 0x31);
	}
}
