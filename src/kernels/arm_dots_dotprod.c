/* Decoding with NEON's dot products of bytes (FEAT_DotProd): Arm Cortex-A75 and A55 (2017) and later, every Apple
 * processor of a Mac. Layered over arm_neon.c; kernels in simd_matvec.h and simd_lanes_arm.h. */
#include "kernels/kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VL = 4, LANES = 1 };

#include "kernels/simd_arm.h"

#include "kernels/simd_part.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_matvec.h"

#include "kernels/simd_lanes_arm.h"

extern const struct hth_kernels hth_kernels_dotprod;
const struct hth_kernels hth_kernels_dotprod = {
	SIMD_MATVEC_SLOTS,
	SIMD_MATVEC16_SLOTS,
};
#endif
