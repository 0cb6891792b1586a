/* NEON (Advanced SIMD): every 64-bit Arm processor, Apple Silicon included. The vector primitives stand here, the
 * kernels in the simd_ headers. Tile 12 x 8: 24 accumulators, 2 vectors of b, broadcasts of 32 registers. */
#include "kernels/kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VL = 4, MR = 12, NV = 2 };

typedef float32x4_t vf;
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

static inline vf v_load(const float *p)
{
	return vld1q_f32(p);
}
static inline void v_store(float *p, vf v)
{
	vst1q_f32(p, v);
}
/* n in 0..VL */
static inline vf v_load_n(const float *p, int64_t n)
{
	float t[4] = {0};
	memcpy(t, p, (size_t)n * sizeof t[0]);
	return vld1q_f32(t);
}
static inline void v_store_n(float *p, vf v, int64_t n)
{
	float t[4];
	vst1q_f32(t, v);
	memcpy(p, t, (size_t)n * sizeof t[0]);
}
static inline vf v_set1(float x)
{
	return vdupq_n_f32(x);
}
static inline vf v_fma(vf a, vf b, vf c)
{
	return vfmaq_f32(c, a, b);
}
static inline vf v_max(vf a, vf b)
{
	return vmaxq_f32(a, b);
}
static inline vf v_min(vf a, vf b)
{
	return vminq_f32(a, b);
}
static inline vf v_sqrt(vf a)
{
	return vsqrtq_f32(a);
}
static inline vf v_round(vf a)
{
	return vrndnq_f32(a);
}
static inline float v_sum(vf a)
{
	return vaddvq_f32(a);
}
static inline float v_max_all(vf a)
{
	return vmaxvq_f32(a);
}
/* a * 2^n for whole n in -252..254: in two steps, so that results may be subnormal. */
static inline vf v_scale2(vf a, vf n)
{
	vi whole = (vi)vcvtnq_s32_f32(n), half = whole >> 1;
	return a * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}
static inline vi v_to_i32(vf a)
{
	return (vi)vcvtnq_s32_f32(a);
}
static inline vf v_from_i32(vi a)
{
	return vcvtq_f32_s32((int32x4_t)a);
}
static inline vi vi_from_u8(const uint8_t *p)
{
	uint32_t four;
	memcpy(&four, p, sizeof four);
	return (vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
static inline vi vi_from_i8(const uint8_t *p)
{
	uint32_t four;
	memcpy(&four, p, sizeof four);
	return (vi)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four))));
}
static inline vi vi_iota(void)
{
	return (vi){0, 1, 2, 3};
}
static inline vf v_from_bf16(const uint8_t *p)
{
	uint64_t four;
	memcpy(&four, p, sizeof four);
	return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vcreate_u16(four)), 16));
}
static inline vf v_from_f16(const uint8_t *p)
{
	uint64_t four;
	memcpy(&four, p, sizeof four);
	return vcvt_f32_f16(vreinterpret_f16_u16(vcreate_u16(four)));
}
static inline float f16_to_f32(const uint8_t *p)
{
	uint16_t h;
	memcpy(&h, p, sizeof h);
	return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vcreate_u16(h))), 0);
}
/* The low four bits of each lane plus an offset. */
static inline vf v_nibble(vi a, vf table)
{
	return v_from_i32(a & 15) + table;
}
static inline vf v_nibble_table(float offset)
{
	return v_set1(offset);
}
/* Upper and lower halves of the 64-bit products of each lane with m. */
static inline void vu_mul(vu a, uint32_t m, vu *high, vu *low)
{
	uint32x4_t x = (uint32x4_t)a;
	uint32x4_t lower = (uint32x4_t)vmull_n_u32(vget_low_u32(x), m), upper = (uint32x4_t)vmull_n_u32(vget_high_u32(x), m);
	*low = (vu)vuzp1q_u32(lower, upper);
	*high = (vu)vuzp2q_u32(lower, upper);
}
/* Bytes i .. i+VL-1 of 16. */
static inline vi vi_from_words(uint32_t __attribute__((vector_size(16))) w, int i)
{
	return (vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(w[i / 4]))));
}
static inline vu v_bytes16(const uint8_t *p)
{
	return (vu)vreinterpretq_u32_u8(vld1q_u8(p));
}
/* 16 half floats, `bytes` apart. */
static inline void v_gather_halves(const uint8_t *p, int bytes, float out[16])
{
	for (int i = 0; i < 16; i += 4, p += 4 * bytes) {
		uint16_t v[4];
		for (int j = 0; j < 4; j++)
			memcpy(&v[j], p + j * bytes, sizeof v[j]);
		vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(v))));
	}
}
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
/* a >= b ? x : 0 */
static inline vf v_keep_ge(vf a, vf b, vf x)
{
	return vbslq_f32(vcgeq_f32(a, b), x, vdupq_n_f32(0));
}
/* a < b ? x : y */
static inline vf v_select_lt(vf a, vf b, vf x, vf y)
{
	return vbslq_f32(vcltq_f32(a, b), x, y);
}

static inline void v_transpose(vf r[4])
{
	float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
	r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
	r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
	r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
	r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#include "kernels/simd_part.h"

#include "kernels/simd_f32.h"

#include "kernels/simd_product.h"

#include "kernels/simd_scales.h"

#include "kernels/simd_blocks.h"

#include "kernels/simd_math.h"

#include "kernels/simd_matvec.h"

extern const struct hth_kernels hth_kernels_neon;
const struct hth_kernels hth_kernels_neon = {
	.product = SIMD_PRODUCT,
	SIMD_BLOCK_SLOTS,
	SIMD_MATH_SLOTS,
	SIMD_MATVEC_SLOTS,
};
#endif
