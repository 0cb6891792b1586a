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

#include "kernels/simd_bf16.h"

INLINE vf v_mac(vf a, vf b, vf c)
{
	return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}

#include "kernels/simd_product.h"

extern const struct hth_kernels hth_kernels_avx512bf16;
const struct hth_kernels hth_kernels_avx512bf16 = {
	.bf16 = SIMD_PRODUCT,
};
#endif
