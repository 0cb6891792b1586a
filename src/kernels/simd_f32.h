/* What simd_product.h asks of an element type, for f32: a word is one number. */

enum { PAIR = 1 };
#define TILE_HALF tile_half /* simd_half.h */

INLINE vf v_mac(vf a, vf b, vf c)
{
	return v_fma(a, b, c);
}
/* VL words of n numbers (more count as VL), zeros behind them. */
INLINE vf v_words(const float *x, int64_t n)
{
	return part_load(x, n);
}
/* Words of row 0, n numbers of them; a second row does not belong to the same words. */
INLINE vf v_beside(const float *row0, const float *row1, int64_t n)
{
	(void)row1;
	return part_load(row0, n > 0 ? n : 0);
}
