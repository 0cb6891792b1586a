/* NEON (Advanced SIMD): every 64-bit Arm processor, Apple Silicon included. Primitives in simd_arm.h,
 * kernels in the other simd_ headers. Tile 12 x 8: 24 accumulators, 2 vectors of b, broadcasts of 32 registers. */
#include "kernels/kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VL = 4, LANES = 1, MR = 12, NV = 2 };

#include "kernels/simd_arm.h"

#include "kernels/simd_part.h"

#include "kernels/simd_f32.h"

#include "kernels/simd_product.h"

#include "kernels/simd_half.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_blocks.h"

#include "kernels/simd_math.h"

#include "kernels/simd_delta.h"

#include "kernels/simd_matvec.h"

extern const struct hth_kernels hth_kernels_neon;
const struct hth_kernels hth_kernels_neon = {
	.product = SIMD_PRODUCT,
	SIMD_BLOCK_SLOTS,
	SIMD_MATH_SLOTS,
	SIMD_DELTA_SLOTS,
	SIMD_MATVEC_SLOTS,
};
#endif
