/* Block formats over vector primitives: rows unpacked to f32, for panels of products. Layouts are drawn in
 * src/quant/<format>.c.
 *
 * Weights are scale * q [+ minimum], one rounding less than quant's where the processor fuses. */

INLINE void each_q4_0(const uint8_t *b, float *dst)
{
	vf d = v_set1(f16_to_f32(b)), table = v_nibble_table(-8);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(b + 2 + i);
		v_store(dst + i, v_nibble(q, table) * d);
		v_store(dst + 16 + i, v_nibble(q >> 4, table) * d);
	}
}

INLINE void each_q4_1(const uint8_t *b, float *dst)
{
	vf d = v_set1(f16_to_f32(b)), m = v_set1(f16_to_f32(b + 2)), table = v_nibble_table(0);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(b + 4 + i);
		v_store(dst + i, v_fma(v_nibble(q, table), d, m));
		v_store(dst + 16 + i, v_fma(v_nibble(q >> 4, table), d, m));
	}
}

/* q5_0 and q5_1: nibbles plus bit i (low) and 16 + i (high) of bits. */
INLINE void each_q5(const uint8_t *qs, uint32_t bits, vf d, vf m, float *dst)
{
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(qs + i), lane = vi_iota() + i;
		vu both = (vu){0} + bits;
		vi low = (vi)(both >> (vu)lane) & 1, high = (vi)(both >> (vu)(lane + 16)) & 1;
		v_store(dst + i, v_fma(v_from_i32((q & 15) | low << 4), d, m));
		v_store(dst + 16 + i, v_fma(v_from_i32((q >> 4) | high << 4), d, m));
	}
}
INLINE void each_q5_0(const uint8_t *b, float *dst)
{
	float d = f16_to_f32(b);
	each_q5(b + 6, load_u32(b + 2), v_set1(d), v_set1(-16 * d), dst);
}
INLINE void each_q5_1(const uint8_t *b, float *dst)
{
	each_q5(b + 8, load_u32(b + 4), v_set1(f16_to_f32(b)), v_set1(f16_to_f32(b + 2)), dst);
}

INLINE void each_q8_0(const uint8_t *b, float *dst)
{
	vf d = v_set1(f16_to_f32(b));
#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL)
		v_store(dst + i, v_from_i32(vi_from_i8(b + 2 + i)) * d);
}

/* Twice mxfp4's levels. */
static const int8_t mxfp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
INLINE void each_mxfp4(const uint8_t *b, float *dst)
{
	vf d = v_set1(mxfp4_scale(b[0]));
	int8_t q[32];

	lookup_nibbles(mxfp4_levels, b + 1, q);
#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL)
		v_store(dst + i, v_from_i32(vi_from_i8((const uint8_t *)q + i)) * d);
}

INLINE void each_q2_k(const uint8_t *b, float *dst)
{
	float scale[16], min[16], d = f16_to_f32(b + 80), dmin = f16_to_f32(b + 82);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi both = vi_from_u8(b + i);
		v_store(scale + i, v_from_i32(both & 15) * v_set1(d));
		v_store(min + i, v_from_i32(both >> 4) * v_set1(-dmin));
	}
#pragma GCC unroll 2
	for (int h = 0; h < 2; h++)
#pragma GCC unroll 8
		for (int i = 0; i < 32; i += VL) {
			vi q = vi_from_u8(b + 16 + 32 * h + i);
#pragma GCC unroll 4
			for (int k = 0; k < 4; k++) {
				int j = 8 * h + 2 * k + i / 16;
				vf w = v_fma(v_from_i32(q >> 2 * k & 3), v_set1(scale[j]), v_set1(min[j]));
				v_store(dst + 128 * h + 32 * k + i, w);
			}
		}
}

INLINE void each_q3_k(const uint8_t *b, float *dst)
{
	float scale[16];

	q3_k_scales(b, scale);
#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL) {
		vi top = vi_from_u8(b + i);
#pragma GCC unroll 2
		for (int h = 0; h < 2; h++) {
			vi q = vi_from_u8(b + 32 + 32 * h + i);
#pragma GCC unroll 4
			for (int k = 0; k < 4; k++) {
				vi v = (q >> 2 * k & 3) + ((top >> (4 * h + k) & 1) << 2) - 4;
				vf w = v_from_i32(v) * v_set1(scale[8 * h + 2 * k + i / 16]);
				v_store(dst + 128 * h + 32 * k + i, w);
			}
		}
	}
}

INLINE void each_q4_k(const uint8_t *b, float *dst)
{
	float s[16];
	vf table = v_nibble_table(0);

	k4_scales(b, s);
#pragma GCC unroll 4
	for (int p = 0; p < 4; p++)
#pragma GCC unroll 8
		for (int i = 0; i < 32; i += VL) {
			vi q = vi_from_u8(b + 16 + 32 * p + i);
			v_store(dst + 64 * p + i, v_fma(v_nibble(q, table), v_set1(s[2 * p]), v_set1(s[8 + 2 * p])));
			v_store(dst + 64 * p + 32 + i,
			             v_fma(v_nibble(q >> 4, table), v_set1(s[2 * p + 1]), v_set1(s[9 + 2 * p])));
		}
}

INLINE void each_q5_k(const uint8_t *b, float *dst)
{
	float s[16];

	k4_scales(b, s);
#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL) {
		vi top = vi_from_u8(b + 16 + i);
#pragma GCC unroll 4
		for (int p = 0; p < 4; p++) {
			vi q = vi_from_u8(b + 48 + 32 * p + i);
			vi low = (q & 15) | (top >> 2 * p & 1) << 4, high = (q >> 4) | (top >> (2 * p + 1) & 1) << 4;
			v_store(dst + 64 * p + i, v_fma(v_from_i32(low), v_set1(s[2 * p]), v_set1(s[8 + 2 * p])));
			v_store(dst + 64 * p + 32 + i,
			        v_fma(v_from_i32(high), v_set1(s[2 * p + 1]), v_set1(s[9 + 2 * p])));
		}
	}
}

INLINE void each_q6_k(const uint8_t *b, float *dst)
{
	float scale[16];

	q6_k_scales(b, scale);
#pragma GCC unroll 2
	for (int h = 0; h < 2; h++)
#pragma GCC unroll 8
		for (int i = 0; i < 32; i += VL) {
			vi top = vi_from_u8(b + 128 + 32 * h + i);
#pragma GCC unroll 2
			for (int k = 0; k < 2; k++) {
				vi q = vi_from_u8(b + 64 * h + 32 * k + i);
				vi low = ((q & 15) | (top >> 2 * k & 3) << 4) - 32;
				vi high = ((q >> 4) | (top >> (4 + 2 * k) & 3) << 4) - 32;
				int j = 8 * h + 2 * k + i / 16;
				v_store(dst + 128 * h + 32 * k + i, v_from_i32(low) * v_set1(scale[j]));
				v_store(dst + 128 * h + 64 + 32 * k + i, v_from_i32(high) * v_set1(scale[j + 4]));
			}
		}
}

typedef void each_fn(const uint8_t *b, float *dst);

INLINE void unpack_blocks(each_fn *each, int elems, int bytes, const uint8_t *src, float *dst, int64_t n)
{
	for (; n >= elems; n -= elems, src += bytes, dst += elems)
		each(src, dst);
}

#define UNPACK(name, elems, bytes)                                                                                     \
	static void unpack_##name(const void *src, float *dst, int64_t n)                                              \
	{                                                                                                              \
		unpack_blocks(each_##name, elems, bytes, src, dst, n);                                                 \
	}
UNPACK(q4_0, 32, 18)
UNPACK(q4_1, 32, 20)
UNPACK(q5_0, 32, 22)
UNPACK(q5_1, 32, 24)
UNPACK(q8_0, 32, 34)
UNPACK(mxfp4, 32, 17)
UNPACK(q2_k, 256, 84)
UNPACK(q3_k, 256, 110)
UNPACK(q4_k, 256, 144)
UNPACK(q5_k, 256, 176)
UNPACK(q6_k, 256, 210)

/* Formats of single elements: vectors, then the tail one by one. */
INLINE void unpack_plain(load_fn *load, one_fn *one, int bytes, const uint8_t *src, float *dst, int64_t n)
{
	int64_t i = 0;

	for (; i + VL <= n; i += VL)
		v_store(dst + i, load(src + i * bytes));
	for (; i < n; i++)
		dst[i] = one(src + i * bytes);
}
static void unpack_f32(const void *src, float *dst, int64_t n)
{
	memcpy(dst, src, (size_t)n * sizeof *dst);
}
static void unpack_f16(const void *src, float *dst, int64_t n)
{
	unpack_plain(v_from_f16, f16_to_f32, 2, src, dst, n);
}
static void unpack_bf16(const void *src, float *dst, int64_t n)
{
	unpack_plain(v_from_bf16, bf16_to_f32, 2, src, dst, n);
}

#define UNPACK_SLOT(ID, name) .unpack[HTH_QUANT_##ID] = unpack_##name
#define SIMD_BLOCK_SLOTS                                                                                               \
	UNPACK_SLOT(F32, f32), UNPACK_SLOT(F16, f16), UNPACK_SLOT(BF16, bf16), UNPACK_SLOT(Q4_0, q4_0),                \
	        UNPACK_SLOT(Q4_1, q4_1), UNPACK_SLOT(Q5_0, q5_0), UNPACK_SLOT(Q5_1, q5_1), UNPACK_SLOT(Q8_0, q8_0),    \
	        UNPACK_SLOT(Q2_K, q2_k), UNPACK_SLOT(Q3_K, q3_k), UNPACK_SLOT(Q4_K, q4_k), UNPACK_SLOT(Q5_K, q5_k),    \
	        UNPACK_SLOT(Q6_K, q6_k), UNPACK_SLOT(MXFP4, mxfp4)
