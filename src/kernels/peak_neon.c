/* NEON: sixteen chains of fused multiply-adds; four pipes of three or four cycles need no more (Apple M1 and later). */
#include "kernels/peak_int.h"

#if defined(__aarch64__)
#include <arm_neon.h>

enum { CHAINS = 16 };

double hth_peak_neon(int64_t n)
{
	float32x4_t a[CHAINS], x = vdupq_n_f32(0.999f), y = vdupq_n_f32(0.001f), all = x;

	for (int i = 0; i < CHAINS; i++)
		a[i] = vdupq_n_f32((float)i);
	for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			a[i] = vfmaq_f32(y, a[i], x);
	}
	for (int i = 0; i < CHAINS; i++)
		all = vaddq_f32(all, a[i]);
	return (double)vaddvq_f32(all);
}

uint64_t hth_peak_read_neon(const void *data, size_t bytes)
{
	const uint8_t *p = data;
	uint64x2_t sum[8];

	for (int i = 0; i < 8; i++)
		sum[i] = vdupq_n_u64(0);
	for (size_t at = 0; at < bytes; at += 128) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
			sum[i] = vaddq_u64(sum[i], vreinterpretq_u64_u8(vld1q_u8(p + at + 16 * (size_t)i)));
	}
	for (int i = 1; i < 8; i++)
		sum[0] = vaddq_u64(sum[0], sum[i]);
	return vgetq_lane_u64(sum[0], 0) + vgetq_lane_u64(sum[0], 1);
}
#else
typedef int hth_peak_neon_unused;
#endif
