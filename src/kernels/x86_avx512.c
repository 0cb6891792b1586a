/* AVX-512 (F, BW, VL, DQ): Intel Skylake-X and later servers, AMD Zen 4 and later. Primitives in simd_x86_512.h, kernels
 * in the other simd_ headers; decoding's are those of AVX2 or of x86_dots_avx512vnni.c. Tile 14 x 32: 28 accumulators,
 * 2 vectors of b, 1 broadcast of 32 registers. */
#include "kernels/kernels.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 16, MR = 14, NV = 2 };

#include "kernels/simd_x86_512.h"

#include "kernels/simd_part.h"

#include "kernels/simd_f32.h"

#include "kernels/simd_product.h"

#include "kernels/simd_half.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_blocks.h"

#include "kernels/simd_math.h"

#include "kernels/simd_delta.h"

extern const struct hth_kernels hth_kernels_avx512;
const struct hth_kernels hth_kernels_avx512 = {
	.product = SIMD_PRODUCT,
	SIMD_BLOCK_SLOTS,
	SIMD_MATH_SLOTS,
	SIMD_DELTA_SLOTS,
};
#endif
