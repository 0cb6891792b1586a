/* Block formats over vector primitives: one decoder per format, used twice, to unpack rows and to multiply them with
 * vectors straight from their blocks. Layouts are drawn in src/quant/<format>.c.
 *
 * A decoder calls emit(ctx, at, w) for every vector w of VL weights that starts at element `at` of the block; both are
 * inlined. Weights are exact f32 values (scale * q [+ minimum], one rounding less where the processor fuses).
 * Bound of matvec: reading the blocks; small formats are bound by decoding (docs/speed.md).
 * The including file defines CHAINS: independent sums a row, so that multiply-adds do not wait for each other. */

typedef void emit_fn(void *ctx, int at, vf w);

struct into_row {
	float *dst;
};
INLINE void emit_store(void *ctx, int at, vf w)
{
	v_store(((struct into_row *)ctx)->dst + at, w);
}

struct into_sums {
	const float *x; // (m, ldx)
	int64_t ldx;
	int m;
	vf acc[HTH_MATVEC_MAX_ROWS][CHAINS];
};
INLINE void emit_sum(void *ctx, int at, vf w)
{
	struct into_sums *s = ctx;
#pragma GCC unroll 4
	for (int r = 0; r < s->m; r++) {
		vf *acc = &s->acc[r][at / VL % CHAINS];
		*acc = v_fma(w, v_load(s->x + r * s->ldx + at), *acc);
	}
}

static inline uint32_t load_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

INLINE void each_q4_0(const uint8_t *b, emit_fn *emit, void *ctx)
{
	vf d = v_set1(f16_to_f32(b)), table = v_nibble_table(-8);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(b + 2 + i);
		emit(ctx, i, v_nibble(q, table) * d);
		emit(ctx, 16 + i, v_nibble(q >> 4, table) * d);
	}
}

INLINE void each_q4_1(const uint8_t *b, emit_fn *emit, void *ctx)
{
	vf d = v_set1(f16_to_f32(b)), m = v_set1(f16_to_f32(b + 2)), table = v_nibble_table(0);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(b + 4 + i);
		emit(ctx, i, v_fma(v_nibble(q, table), d, m));
		emit(ctx, 16 + i, v_fma(v_nibble(q >> 4, table), d, m));
	}
}

/* q5_0 and q5_1: nibbles plus bit i (low) and 16 + i (high) of bits. */
INLINE void each_q5(const uint8_t *qs, uint32_t bits, vf d, vf m, emit_fn *emit, void *ctx)
{
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi q = vi_from_u8(qs + i), lane = vi_iota() + i;
		vu both = (vu){0} + bits;
		vi low = (vi)(both >> (vu)lane) & 1, high = (vi)(both >> (vu)(lane + 16)) & 1;
		emit(ctx, i, v_fma(v_from_i32((q & 15) | low << 4), d, m));
		emit(ctx, 16 + i, v_fma(v_from_i32((q >> 4) | high << 4), d, m));
	}
}
INLINE void each_q5_0(const uint8_t *b, emit_fn *emit, void *ctx)
{
	float d = f16_to_f32(b);
	each_q5(b + 6, load_u32(b + 2), v_set1(d), v_set1(-16 * d), emit, ctx);
}
INLINE void each_q5_1(const uint8_t *b, emit_fn *emit, void *ctx)
{
	each_q5(b + 8, load_u32(b + 4), v_set1(f16_to_f32(b)), v_set1(f16_to_f32(b + 2)), emit, ctx);
}

INLINE void each_q8_0(const uint8_t *b, emit_fn *emit, void *ctx)
{
	vf d = v_set1(f16_to_f32(b));
#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL)
		emit(ctx, i, v_from_i32(vi_from_i8(b + 2 + i)) * d);
}

/* out (16) = bytes, less `bias`, times `a` (the first 8) or `b` (the others). */
INLINE void scale16(const uint8_t bytes[16], int bias, float a, float b, float out[16])
{
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vf lane = v_from_i32(vi_iota() + i);
		vf factor = v_select_lt(lane, v_set1(8), v_set1(a), v_set1(b));
		v_store(out + i, v_from_i32(vi_from_u8(bytes + i) - bias) * factor);
	}
}

INLINE void each_q2_k(const uint8_t *b, emit_fn *emit, void *ctx)
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
				emit(ctx, 128 * h + 32 * k + i, w);
			}
		}
}

INLINE void each_q3_k(const uint8_t *b, emit_fn *emit, void *ctx)
{
	float scale[16], d = f16_to_f32(b + 108);
	uint32_t low[2] = {load_u32(b + 96), load_u32(b + 100)}, high = load_u32(b + 104), six[4];

	for (int g = 0; g < 4; g++)
		six[g] = (low[g & 1] >> 4 * (g / 2) & 0x0F0F0F0Fu) | (high >> 2 * g & 0x03030303u) << 4;
	uint8_t bytes[16];
	memcpy(bytes, six, sizeof bytes);
	scale16(bytes, 32, d, d, scale);
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
				emit(ctx, 128 * h + 32 * k + i, w);
			}
		}
	}
}

/* The 8 scales and 8 minimums of q4_k and q5_k, times d and -dmin: (16) */
INLINE void k4_scales(const uint8_t *b, float out[16])
{
	uint32_t x = load_u32(b + 4), y = load_u32(b + 8), z = load_u32(b + 12), six[4];
	uint8_t bytes[16];

	six[0] = x & 0x3F3F3F3Fu;
	six[1] = (z & 0x0F0F0F0Fu) | (x >> 6 & 0x03030303u) << 4;
	six[2] = y & 0x3F3F3F3Fu;
	six[3] = (z >> 4 & 0x0F0F0F0Fu) | (y >> 6 & 0x03030303u) << 4;
	memcpy(bytes, six, sizeof bytes);
	scale16(bytes, 0, f16_to_f32(b), -f16_to_f32(b + 2), out);
}

INLINE void each_q4_k(const uint8_t *b, emit_fn *emit, void *ctx)
{
	float s[16];
	vf table = v_nibble_table(0);

	k4_scales(b, s);
#pragma GCC unroll 4
	for (int p = 0; p < 4; p++)
#pragma GCC unroll 8
		for (int i = 0; i < 32; i += VL) {
			vi q = vi_from_u8(b + 16 + 32 * p + i);
			emit(ctx, 64 * p + i, v_fma(v_nibble(q, table), v_set1(s[2 * p]), v_set1(s[8 + 2 * p])));
			emit(ctx, 64 * p + 32 + i,
			     v_fma(v_nibble(q >> 4, table), v_set1(s[2 * p + 1]), v_set1(s[9 + 2 * p])));
		}
}

INLINE void each_q5_k(const uint8_t *b, emit_fn *emit, void *ctx)
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
			emit(ctx, 64 * p + i, v_fma(v_from_i32(low), v_set1(s[2 * p]), v_set1(s[8 + 2 * p])));
			emit(ctx, 64 * p + 32 + i,
			     v_fma(v_from_i32(high), v_set1(s[2 * p + 1]), v_set1(s[9 + 2 * p])));
		}
	}
}

INLINE void each_q6_k(const uint8_t *b, emit_fn *emit, void *ctx)
{
	float scale[16];
	vf d = v_set1(f16_to_f32(b + 208));
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL)
		v_store(scale + i, v_from_i32(vi_from_i8(b + 192 + i)) * d);
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
				emit(ctx, 128 * h + 32 * k + i, v_from_i32(low) * v_set1(scale[j]));
				emit(ctx, 128 * h + 64 + 32 * k + i, v_from_i32(high) * v_set1(scale[j + 4]));
			}
		}
}

/* The formats of single elements count as blocks of 4 vectors here; their tails are done apart. */
#define EACH_PLAIN(name, bytes, load)                                                                                  \
	INLINE void each_##name(const uint8_t *b, emit_fn *emit, void *ctx)                                            \
	{                                                                                                              \
		_Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) emit(ctx, i * VL, load(b + (bytes) * i * VL));     \
	}
INLINE vf v_from_f32(const uint8_t *p)
{
	vf v;
	memcpy(&v, p, sizeof v);
	return v;
}
EACH_PLAIN(f32, 4, v_from_f32)
EACH_PLAIN(f16, 2, v_from_f16)
EACH_PLAIN(bf16, 2, v_from_bf16)

INLINE float f32_to_f32(const uint8_t *p)
{
	float v;
	memcpy(&v, p, sizeof v);
	return v;
}
INLINE float bf16_to_f32(const uint8_t *p)
{
	uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
	float v;
	memcpy(&v, &u, sizeof v);
	return v;
}

typedef void each_fn(const uint8_t *b, emit_fn *emit, void *ctx);
typedef float one_fn(const uint8_t *p);

INLINE void unpack_of(each_fn *each, int elems, int bytes, const uint8_t *src, float *dst, int64_t n)
{
	for (; n >= elems; n -= elems, src += bytes, dst += elems) {
		struct into_row row = {dst};
		each(src, emit_store, &row);
	}
}

/* One stored row against m rows of x. tail: the formats of single elements have up to 4 * VL - 1 left, `one` each. */
INLINE void row_of(each_fn *each, one_fn *one, int elems, int bytes, const uint8_t *w, int64_t k, int m, const float *x,
                   int64_t ldx, float *y, int64_t ldy)
{
	struct into_sums s = {.x = x, .ldx = ldx, .m = m};
	int64_t at = 0;

#pragma GCC unroll 4
	for (int r = 0; r < m; r++)
#pragma GCC unroll 4
		for (int c = 0; c < CHAINS; c++)
			s.acc[r][c] = v_set1(0);
	for (; at + elems <= k; at += elems, w += bytes) {
		s.x = x + at;
		each(w, emit_sum, &s);
	}
#pragma GCC unroll 4
	for (int r = 0; r < m; r++) {
		vf a = s.acc[r][0];
#pragma GCC unroll 4
		for (int c = 1; c < CHAINS; c++)
			a += s.acc[r][c];
		float sum = v_sum(a);
		for (int64_t i = at; one != NULL && i < k; i++)
			sum += one(w + (i - at) * (bytes / elems)) * x[r * ldx + i];
		y[r * ldy] = sum;
	}
}

#define ROWS(m_rows, name, one, elems, bytes)                                                                          \
	case m_rows:                                                                                                   \
		for (int64_t j = 0; j < n_rows; j++)                                                                   \
			row_of(each_##name, one, elems, bytes, w + (uint64_t)j * row_bytes, k, m_rows, x, ldx, y + j,  \
			       ldy);                                                                                   \
		break;
#define FORMAT(name, one, elems, bytes)                                                                                \
	static void matvec_##name(const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k, int m,              \
	                          const float *x, int64_t ldx, float *y, int64_t ldy)                                  \
	{                                                                                                              \
		_Static_assert(HTH_MATVEC_MAX_ROWS == 4, "the cases below cover m");                                   \
		switch (m) {                                                                                           \
			ROWS(1, name, one, elems, bytes)                                                               \
			ROWS(2, name, one, elems, bytes)                                                               \
			ROWS(3, name, one, elems, bytes)                                                               \
			ROWS(4, name, one, elems, bytes)                                                               \
		default:                                                                                               \
			break;                                                                                         \
		}                                                                                                      \
	}                                                                                                              \
	static void unpack_##name(const void *src, float *dst, int64_t n)                                              \
	{                                                                                                              \
		const uint8_t *b = src;                                                                                \
		unpack_of(each_##name, elems, bytes, b, dst, n);                                                       \
		for (int64_t i = n / (elems) * (elems); (one_fn *)one != NULL && i < n; i++)                           \
			dst[i] = ((one_fn *)one)(b + i * ((bytes) / (elems)));                                         \
	}

FORMAT(f32, f32_to_f32, 4 * VL, 16 * VL)
FORMAT(f16, f16_to_f32, 4 * VL, 8 * VL)
FORMAT(bf16, bf16_to_f32, 4 * VL, 8 * VL)
FORMAT(q4_0, NULL, 32, 18)
FORMAT(q4_1, NULL, 32, 20)
FORMAT(q5_0, NULL, 32, 22)
FORMAT(q5_1, NULL, 32, 24)
FORMAT(q8_0, NULL, 32, 34)
FORMAT(q2_k, NULL, 256, 84)
FORMAT(q3_k, NULL, 256, 110)
FORMAT(q4_k, NULL, 256, 144)
FORMAT(q5_k, NULL, 256, 176)
FORMAT(q6_k, NULL, 256, 210)

#define BLOCK_SLOT(ID, name) .unpack[HTH_QUANT_##ID] = unpack_##name, .matvec[HTH_QUANT_##ID] = matvec_##name
#define SIMD_BLOCK_SLOTS                                                                                               \
	BLOCK_SLOT(F32, f32), BLOCK_SLOT(F16, f16), BLOCK_SLOT(BF16, bf16), BLOCK_SLOT(Q4_0, q4_0),                    \
	        BLOCK_SLOT(Q4_1, q4_1), BLOCK_SLOT(Q5_0, q5_0), BLOCK_SLOT(Q5_1, q5_1), BLOCK_SLOT(Q8_0, q8_0),        \
	        BLOCK_SLOT(Q2_K, q2_k), BLOCK_SLOT(Q3_K, q3_k), BLOCK_SLOT(Q4_K, q4_k), BLOCK_SLOT(Q5_K, q5_k),        \
	        BLOCK_SLOT(Q6_K, q6_k)
