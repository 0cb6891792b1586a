/* Products in bf16 with AVX512_BF16's VDPBF16PS: Intel Cooper Lake and Sapphire Rapids, AMD Zen 4 and later. On Zen 4
 * it does twice the work of a fused multiply-add; on the Xeons that we measured half, so it is not taken there by
 * itself (detect.c). The instruction adds two products a word without a rounding between; subnormal numbers count as
 * zero. */
#include "kernels/kernels.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 16, MR = 14, NV = 2 };

#include "kernels/simd_x86_512.h"

#include "kernels/simd_part.h"

enum { PAIR = 2 };

INLINE vf v_mac(vf a, vf b, vf c)
{
	return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
/* VL words of n numbers (more count as 2 * VL), zeros behind them. */
INLINE vf v_words(const float *x, int64_t n)
{
	if (n >= 2 * VL)
		return (vf)_mm512_cvtne2ps_pbh(v_load(x + VL), v_load(x));
	return (vf)_mm512_cvtne2ps_pbh(n > VL ? v_load_n(x + VL, n - VL) : v_set1(0), part_load(x, n));
}
/* Words of n columns of two rows; row1 NULL: zeros. */
INLINE vf v_beside(const float *row0, const float *row1, int64_t n)
{
	static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
					   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
	vf low = n > 0 ? part_load(row0, n) : v_set1(0), high = n > 0 && row1 != NULL ? part_load(row1, n) : v_set1(0);

	return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

#include "kernels/simd_product.h"

extern const struct hth_kernels hth_kernels_avx512bf16;
const struct hth_kernels hth_kernels_avx512bf16 = {
	.bf16 = SIMD_PRODUCT,
};
#endif
