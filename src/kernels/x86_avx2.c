/* AVX2 with FMA and F16C: Intel Haswell (2013) and AMD Zen (2017) and later. Primitives in simd_x86_256.h, kernels in the
 * other simd_ headers. Tile 6 x 16: 12 accumulators, 2 vectors of b, 1 broadcast of 16 registers. */
#include "kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 8, MR = 6, NV = 2 };

#include "kernels/simd_x86_256.h"

/* n bits from bit `at` of each lane as a float; with FIELD_ONE it would be 1 + q / 2^n. */
#define FIELD_ONE 0
static inline float field_unit(int n)
{
	(void)n;
	return 1;
}
static inline vf v_field(vu a, vu at, int n)
{
	return v_from_i32((vi)(a >> at & ((1u << n) - 1)));
}
/* The same of n low bits from a and m high ones from b. */
static inline vf v_field2(vu a, vu at, int n, vu b, vu bt, int m)
{
	return v_from_i32((vi)((a >> at & ((1u << n) - 1)) | (b >> bt & ((1u << m) - 1)) << n));
}
#include "kernels/simd_part.h"

#include "kernels/simd_f32.h"

#include "kernels/simd_product.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_blocks.h"

#include "kernels/simd_math.h"

#include "kernels/simd_matvec.h"

extern const struct hth_kernels hth_kernels_avx2;
const struct hth_kernels hth_kernels_avx2 = {
	.product = SIMD_PRODUCT,
	SIMD_BLOCK_SLOTS,
	SIMD_MATH_SLOTS,
	SIMD_MATVEC_SLOTS,
};
#endif
