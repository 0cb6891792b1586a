/* BFMMLA: sixteen chains; each instruction is 16 products where a multiply-add of NEON does 4. What that is worth differs
 * from core to core (docs/speed.md, bf16). */
#include "kernels/peak_int.h"

#if defined(__aarch64__)
#include <arm_neon.h>

enum { CHAINS = 16 };

double hth_peak_neon_bf16(int64_t n)
{
	float32x4_t a[CHAINS], all = vdupq_n_f32(0);
	float32x4_t half = vdupq_n_f32(0.5f), minus = vdupq_n_f32(-0.5f);
	bfloat16x8_t x = vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(half), half);
	bfloat16x8_t y = vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(minus), minus);

	for (int i = 0; i < CHAINS; i++)
		a[i] = vdupq_n_f32((float)i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			a[i] = vbfmmlaq_f32(a[i], x, y);
	}
	for (int i = 0; i < CHAINS; i++)
		all = vaddq_f32(all, a[i]);
	return (double)vaddvq_f32(all);
}
#else
typedef int hth_peak_bf16_unused;
#endif
