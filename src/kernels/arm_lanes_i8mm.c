/* Decoding from rows side by side with SMMLA (FEAT_I8MM): Arm Neoverse V1 and N2, Cortex-A510, A710 and X2 (2021) and later;
 * not Apple's, which have it and gain nothing (detect.c). Layered over arm_dots_dotprod.c, whose vectors it reads: hi and
 * lo bytes of x are the two rows of one operand. Straight on blocks the instruction gains nothing: of its 2 x 2 results
 * two would pair a row of x with elements that it does not meet. */
#include "kernels/kernels.h"

#if defined(__aarch64__) /* with the flags of the Makefile */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VL = 4 };

#include "kernels/simd_arm.h"

#include "kernels/simd_part.h"

#include "kernels/simd_x.h"

#include "kernels/simd_lanes_arm.h"

extern const struct hth_kernels hth_kernels_i8mm;
const struct hth_kernels hth_kernels_i8mm = {
	SIMD_MATVEC16_SLOTS,
};
#endif
