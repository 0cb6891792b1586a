/* Words of two bf16 numbers out of f32 ones, with AVX512_BF16: what simd_product.h and x86_product_amx.c pack. Rounds to
 * the nearest, ties to even; subnormal numbers become zero. */

enum { PAIR = 2 };
#define TILE_HALF NULL

/* VL words of n numbers, n > 0 (more count as 2 * VL), zeros behind them. */
INLINE vf v_words(const float *x, int64_t n)
{
	if (n >= 2 * VL)
		return (vf)_mm512_cvtne2ps_pbh(v_load(x + VL), v_load(x));
	return (vf)_mm512_cvtne2ps_pbh(n > VL ? v_load_n(x + VL, n - VL) : v_set1(0), part_load(x, n));
}
/* Words of n columns (none when n < 0) of two rows; a row that is NULL: zeros. */
INLINE vf v_beside(const float *row0, const float *row1, int64_t n)
{
	static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
	                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
	vf low = n > 0 && row0 != NULL ? part_load(row0, n) : v_set1(0);
	vf high = n > 0 && row1 != NULL ? part_load(row1, n) : v_set1(0);

	return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(high, low));
}
