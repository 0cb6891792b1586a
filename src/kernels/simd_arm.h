/* Vector primitives of NEON (Advanced SIMD), for arm_neon.c and arm_dots_dotprod.c. Dot products of bytes where the
 * compiler's flags have them, sums of 16-bit products elsewhere. */

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
static inline void v_to_f16(vf a, uint16_t *out)
{
	vf x = vminq_f32(vmaxq_f32(a, vdupq_n_f32(-65504)), vdupq_n_f32(65504));
	vst1_u16(out, vreinterpret_u16_f16(vcvt_f16_f32(x)));
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
/* Values of 16 bytes of nibbles, low ones first, from a table of 16. */
static inline void lookup_nibbles(const int8_t table[16], const uint8_t *qs, int8_t out[32])
{
	int8x16_t t = vld1q_s8(table);
	uint8x16_t q = vld1q_u8(qs);
	vst1q_s8(out, vqtbl1q_s8(t, vandq_u8(q, vdupq_n_u8(15))));
	vst1q_s8(out + 16, vqtbl1q_s8(t, vshrq_n_u8(q, 4)));
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
/* 16 half floats, `bytes` apart; zero from number n on. */
static inline void v_halves(const uint8_t *p, int bytes, int64_t n, vf out[4])
{
	for (int i = 0; i < 4; i++, p += 4 * bytes, n -= 4) {
		uint64_t four = 0;
		for (int j = 0; j < 4 && j < n; j++) {
			uint16_t h;
			memcpy(&h, p + j * bytes, sizeof h);
			four |= (uint64_t)h << 16 * j;
		}
		out[i] = vcvt_f32_f16(vreinterpret_f16_u16(vcreate_u16(four)));
	}
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

/* --- bytes (simd_matvec.h): one lane, so that v is its place among four -------------------------------------------- */

typedef uint8x16_t vb;

static inline vb v_repeat(const uint8_t *p)
{
	return vld1q_u8(p);
}
static inline vb v_two(const uint8_t *p, const uint8_t *q, int lanes, int v)
{
	return vld1q_u8(lanes >> v & 1 ? q : p);
}
static inline vb v_strided(const uint8_t *p, int bytes, int64_t n)
{
	(void)bytes;
	(void)n;
	return vld1q_u8(p);
}
/* Bytes of a table of 16 at indices 0..15. */
static inline vb v_lookup(const uint8_t table[16], vb index)
{
	return vqtbl1q_u8(vld1q_u8(table), index);
}
static inline vb v_shift(vb a, int s0, int s1, int s2, int s3, int v)
{
	return vshlq_u8(a, vdupq_n_s8((int8_t)(v == 0 ? -s0 : v == 1 ? -s1 : v == 2 ? -s2 : -s3)));
}
/* a | (bits & the lane's mask ? bit : 0) */
static inline vb v_or_if(vb a, vb bits, int m0, int m1, int m2, int m3, int v, int bit)
{
	int m = v == 0 ? m0 : v == 1 ? m1 : v == 2 ? m2 : m3;
	return vorrq_u8(a, vandq_u8(vtstq_u8(bits, vdupq_n_u8((uint8_t)m)), vdupq_n_u8((uint8_t)bit)));
}
/* a | 16 where the 16 bits at p are set. */
static inline vb v_or_bits(vb a, const uint8_t *p, int bytes, int64_t n)
{
	uint8x8_t each = vcreate_u8(0x8040201008040201);
	uint8x16_t set = vtstq_u8(vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1])), vcombine_u8(each, each));
	(void)bytes;
	(void)n;
	return vorrq_u8(a, vandq_u8(set, vdupq_n_u8(16)));
}
/* s += 16 products of signed bytes (their 16-bit sums of two have room). */
static inline int32x4_t dot16(int32x4_t s, int8x16_t a, const uint8_t *x)
{
	int8x16_t b = vreinterpretq_s8_u8(vld1q_u8(x));
#if defined(__ARM_FEATURE_DOTPROD)
	return vdotq_s32(s, a, b);
#else
	s = vpadalq_s16(s, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
	return vpadalq_s16(s, vmull_high_s8(a, b));
#endif
}
/* Bytes of w times hi and lo of x: first and last halves of blocks. */
static inline vi v_dots(vb low, vb high, const uint8_t *x)
{
	int8x16_t a = vreinterpretq_s8_u8(low), b = vreinterpretq_s8_u8(high);
	int32x4_t s = vshlq_n_s32(dot16(dot16(vdupq_n_s32(0), a, x), b, x + 64), 8);
	return (vi)dot16(dot16(s, a, x + 128), b, x + 192);
}
/* One half. */
static inline vi v_dot(vb w, const uint8_t *x)
{
	int8x16_t a = vreinterpretq_s8_u8(w);
	return (vi)dot16(vshlq_n_s32(dot16(vdupq_n_s32(0), a, x), 8), a, x + 128);
}
/* 32 bytes of w times a block of x; unsigned ones in two parts that are small as signed ones too. */
static inline vi v_dot8(bool is_signed, const uint8_t *w, const uint8_t *bytes, const int16_t *words)
{
	vb a = vld1q_u8(w), b = vld1q_u8(w + 16), one = vdupq_n_u8(1);
	(void)words;
	if (is_signed)
		return v_dots(a, b, bytes);
	return v_dots(vshrq_n_u8(a, 1), vshrq_n_u8(b, 1), bytes) * 2 + v_dots(vandq_u8(a, one), vandq_u8(b, one), bytes);
}
/* Number i of s in every place. */
static inline vf v_spread(const vf *s, int i)
{
	return vdupq_n_f32(s[i / 4][i % 4]);
}
static inline vf v_spread2(const vf *s, int i)
{
	return v_spread(s, i);
}
/* p (8) twice, and after zeros: part i of 16 */
static inline vf v_twice(const float *p, int i)
{
	return v_load(p + i % 8);
}
static inline vf v_after8(const float *p, int i)
{
	return i < 8 ? v_set1(0) : v_load(p + i - 8);
}
