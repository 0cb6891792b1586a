/* Rows of blocks times vectors over vector primitives: decoding's inner loops, in integers.
 *
 * The bound is reading the blocks. Turning small integers into floats stood in the way; here they stay integers:
 * - prepare_x makes of each 32 elements of x fixed-point numbers of 16 bits, |q| <= 32639, and a scale; a number is
 *   256 * hi + lo with hi and lo signed bytes, which processors multiply with unsigned bytes of w at once. Rounding costs
 *   at most 2^-15.99 of the block's largest |x| an element: some 250 times less than 8-bit activations.
 * - Integer sums are exact; one conversion and one multiply-add serve 16 or 32 elements and their scale.
 * - What is constant in a block of w (minimum, offset) multiplies the sum of the block's numbers, exact too.
 * - 128 elements stand in the order of nibbles: the first 16 of four blocks of 32, then the last 16 of them, so that a
 *   block fills one 128-bit lane of a vector of any width.
 * NaN and infinity in x make the scale of their block NaN, and with it every result.
 * One row at a time, since memory is read fastest as one stream. Layouts are drawn in src/quant/<format>.c.
 *
 * Primitives (beside those of simd_part.h): LANES 128-bit lanes; vb, bytes; pieces of 16 bytes into lanes; dots. Where a
 * lane's place among the four of 128 elements matters, v says which vector of them it is. */

#include "kernels/simd_x.h"

enum { TINY_EXP = -100 }; /* blocks of x whose largest is below 2^-100 count as zero: their scale would lose bits */
static const float limit_q = 127 * 256 + 127;

/* Row r's scales and sums of blocks i .. i+VL-1; from block n on zero. */
INLINE vf x_scales(const struct at_x *x, int r, int64_t i, int64_t n)
{
	return i + VL <= n ? v_load(ROW(x->scale32, r) + i) : v_load_n(ROW(x->scale32, r) + i, i < n ? n - i : 0);
}
INLINE vf x_sums(const struct at_x *x, int r, int64_t i, int64_t n)
{
	return i + VL <= n ? v_load(ROW(x->sum32, r) + i) : v_load_n(ROW(x->sum32, r) + i, i < n ? n - i : 0);
}

typedef int16_t words16 __attribute__((vector_size(32)));
typedef int8_t bytes16 __attribute__((vector_size(16)));
typedef int16_t words_vl __attribute__((vector_size(2 * VL)));

/* 32 numbers of x at block b (of the row) and what belongs to them. */
static void prepare_block(const float x[32], int64_t b, const struct at_x *to)
{
	vf largest = v_set1(0), odd = v_set1(0); /* odd: NaN where x has NaN or infinity */
	words16 q[2];
	float sum[2];

#pragma GCC unroll 8
	for (int i = 0; i < 32; i += VL) {
		vf v = v_load(x + i);
		largest = v_max(v_max(v, v_set1(0) - v), largest);
		odd = v_fma(v, v_set1(0), odd);
	}
	float top = v_max_all(largest), scale = top >= ldexpf(1, TINY_EXP) ? top / limit_q : 0;
	float inverse = scale > 0 ? limit_q / top : 0;
#pragma GCC unroll 2
	for (int h = 0; h < 2; h++) {
		vf s = v_set1(0);
#pragma GCC unroll 4
		for (int i = 0; i < 16; i += VL) {
			vi n = v_to_i32(v_load(x + 16 * h + i) * v_set1(inverse));
			words_vl narrow = __builtin_convertvector(n, words_vl);
			memcpy((char *)&q[h] + 2 * i, &narrow, sizeof narrow);
			s += v_from_i32(n);
		}
		sum[h] = v_sum(s);
		bytes16 hi = __builtin_convertvector((q[h] + 128) >> 8, bytes16), lo = __builtin_convertvector(q[h], bytes16);
		uint8_t *bytes = (uint8_t *)to->bytes + b / 4 * 2 * GROUP + 16 * (b % 4) + 64 * h;
		memcpy(bytes, &hi, sizeof hi);
		memcpy(bytes + 128, &lo, sizeof lo);
	}
	scale += v_sum(odd);
	memcpy((int16_t *)to->words + 32 * b, q, sizeof q);
	((float *)to->scale32)[b] = ((float *)to->scale16)[2 * b] = ((float *)to->scale16)[2 * b + 1] = scale;
	((float *)to->sum16)[2 * b] = sum[0];
	((float *)to->sum16)[2 * b + 1] = sum[1];
	((float *)to->sum32)[b] = sum[0] + sum[1];
}

static void prepare_x(const float *x, int64_t k, float *out)
{
	struct at_x to = x_layout(out, k, 0);
	int64_t blocks = k / 32, all = (k + GROUP - 1) / GROUP * (GROUP / 32);
	static const float zero[32];

	for (int64_t b = 0; b < all; b++)
		prepare_block(b < blocks ? x + 32 * b : zero, b, &to);
}

/* Running sums of one row of w against each row of x. */
struct sums {
	vf acc[2][HTH_MATVEC_MAX_ROWS];  /* scaled products, in two chains */
	vf fixed[HTH_MATVEC_MAX_ROWS];   /* what is constant in blocks */
};

INLINE void begin(struct sums *t, int m)
{
	EACH_X t->acc[0][r] = t->acc[1][r] = t->fixed[r] = v_set1(0);
}
INLINE void finish(const struct sums *t, float fixed, int m, float *y, int64_t ldy)
{
	EACH_X y[r * ldy] = v_sum(v_fma(v_set1(fixed), t->fixed[r], t->acc[0][r] + t->acc[1][r]));
}

/* --- blocks of 32 ------------------------------------------------------------------------------------------------- */

enum { CHUNK = 16, PARTS = CHUNK / VL }; /* blocks whose scales are converted together; vectors of their scales */

/* What makes formats of nibbles differ: levels instead of numbers (mxfp4), a minimum, fifth bits before the nibbles. */
enum kind { PLAIN = 0, MINIMUM = 1, FIVE = 2, FP4 = 4 };

/* Twice mxfp4's levels plus 12. */
static const uint8_t fp4_levels[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/* The exponents of mxfp4's blocks as scales of doubled levels, 2^(e - 128); beyond n any number. */
INLINE void fp4_scales(const uint8_t *p, int bytes, int64_t n, vf d[PARTS])
{
	uint32_t four[4] = {0};

#pragma GCC unroll 16
	for (int i = 0; i < CHUNK; i++)
		if (i < n)
			four[i / 4] |= (uint32_t)p[i * bytes] << 8 * (i % 4);
	words all = {four[0], four[1], four[2], four[3]};
#pragma GCC unroll 4
	for (int i = 0; i < PARTS; i++) {
		vi e = vi_from_words(all, i * VL), subnormal = e < 2, small = (e + 1) << 21, normal = (e - 1) << 23;
		d[i] = (vf)((small & subnormal) | (normal & ~subnormal));
	}
}

/* LANES blocks, from block i of the chunk: nibbles at qs, n of them there. */
INLINE void blocks32(const uint8_t *qs, int bytes, int kind, int64_t n, int i, vf scale[][PARTS], int m,
                     const struct at_x *x, vf *acc)
{
	vb b = v_strided(qs, bytes, n), low = b & 15, high = b >> 4;

	if (kind & FP4) {
		low = v_lookup(fp4_levels, low);
		high = v_lookup(fp4_levels, high);
	}
	if (kind & FIVE) {
		low = v_or_bits(low, qs - 4, bytes, n);
		high = v_or_bits(high, qs - 2, bytes, n);
	}
	EACH_X acc[r] = v_fma(v_from_i32(v_dots(low, high, ROW(x->bytes, r) + i / 4 * 256 + i % 4 * 16)),
	                      v_spread(scale[r], i), acc[r]);
}

/* A chunk of n blocks. */
INLINE void chunk32(int bytes, int kind, const uint8_t *w, int64_t n, const struct at_x *x, int m,
                    struct sums *t)
{
	vf d[PARTS], c[PARTS], scale[HTH_MATVEC_MAX_ROWS][PARTS];
	const uint8_t *qs = w + (kind & FP4 ? 1 : kind & MINIMUM ? 4 : 2) + (kind & FIVE ? 4 : 0);

	if (kind & FP4)
		fp4_scales(w, bytes, n, d);
	else
		v_halves(w, bytes, n, d);
	if (kind & MINIMUM)
		v_halves(w + 2, bytes, n, c);
#pragma GCC unroll 4
	for (int i = 0; i < PARTS; i++)
		EACH_X {
			vf xs = x_scales(x, r, i * VL, n);
			scale[r][i] = d[i] * xs;
			vf s = scale[r][i];
			if (kind & MINIMUM)
				s = c[i] * xs;
			t->fixed[r] = v_fma(s, x_sums(x, r, i * VL, n), t->fixed[r]);
		}
#pragma GCC unroll 16
	for (int i = 0; i < CHUNK; i += LANES, qs += LANES * bytes)
		if (i < n)
			blocks32(qs, bytes, kind, n - i, i, scale, m, x, t->acc[i / LANES % 2]);
}

/* A row of blocks of `bytes` that store weights plus `offset`. */
INLINE void row32(int bytes, int kind, float offset, const uint8_t *w, int64_t k, int m,
                  const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x x = x_layout(in->prepared, k, in->prepared_ld);
	struct sums t;

	begin(&t, m);
	for (; k >= 32 * CHUNK; k -= 32 * CHUNK, w += CHUNK * bytes, x_skip(&x, 32 * CHUNK))
		chunk32(bytes, kind, w, CHUNK, &x, m, &t);
	if (k >= 32)
		chunk32(bytes, kind, w, k / 32, &x, m, &t);
	finish(&t, kind & MINIMUM ? 1 : -offset, m, y, ldy);
}

/* Scales and minimums of n blocks of mlx8. */
INLINE void mlx8_scales(const uint8_t *w, int64_t n, vf d[PARTS], vf c[PARTS])
{
	float pair[2], scale[CHUNK] = {0}, min[CHUNK] = {0};

	for (int64_t i = 0; i < n; i++) {
		memcpy(pair, w + i * 40, sizeof pair);
		scale[i] = pair[0];
		min[i] = pair[1];
	}
#pragma GCC unroll 4
	for (int i = 0; i < PARTS; i++) {
		d[i] = v_load(scale + i * VL);
		c[i] = v_load(min + i * VL);
	}
}

/* A chunk of n blocks of bytes: signed (q8_0), or unsigned with a minimum (mlx8). */
INLINE void chunk8(bool mlx, const uint8_t *w, int64_t n, const struct at_x *x, int m, struct sums *t)
{
	vf d[PARTS], c[PARTS];
	int bytes = mlx ? 40 : 34, skip = bytes - 32;
	float scale[HTH_MATVEC_MAX_ROWS][CHUNK];

	if (mlx)
		mlx8_scales(w, n, d, c);
	else
		v_halves(w, bytes, n, d);
#pragma GCC unroll 4
	for (int i = 0; i < PARTS; i++)
		EACH_X {
			vf xs = x_scales(x, r, i * VL, n);
			v_store(scale[r] + i * VL, d[i] * xs);
			if (mlx)
				t->fixed[r] = v_fma(c[i] * xs, x_sums(x, r, i * VL, n), t->fixed[r]);
		}
#pragma GCC unroll 16
	for (int i = 0; i < CHUNK; i++)
		if (i < n)
			EACH_X {
				vi dot = v_dot8(!mlx, w + bytes * i + skip, ROW(x->bytes, r) + i / 4 * 256 + i % 4 * 16,
				                ROW(x->words, r) + 32 * i);
				t->acc[i % 2][r] = v_fma(v_from_i32(dot), v_set1(scale[r][i]), t->acc[i % 2][r]);
			}
}

INLINE void row8(bool mlx, const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x x = x_layout(in->prepared, k, in->prepared_ld);
	struct sums t;

	begin(&t, m);
	for (; k >= 32 * CHUNK; k -= 32 * CHUNK, w += CHUNK * (mlx ? 40 : 34), x_skip(&x, 32 * CHUNK))
		chunk8(mlx, w, CHUNK, &x, m, &t);
	if (k >= 32)
		chunk8(mlx, w, k / 32, &x, m, &t);
	finish(&t, mlx ? 1 : 0, m, y, ldy);
}

/* --- blocks of 256 ------------------------------------------------------------------------------------------------ */

/* Two groups of four blocks of 32: lane i of group h stands for elements 128 h + 32 i + 16 half and the 15 after. */

INLINE vb q2_k_piece(const uint8_t *w, int h, int v, int half)
{
	return v_shift(v_repeat(w + 16 + 32 * h + 16 * half), 0, 2, 4, 6, v) & 3;
}
INLINE vb q3_k_piece(const uint8_t *w, int h, int v, int half)
{
	vb low = v_shift(v_repeat(w + 32 + 32 * h + 16 * half), 0, 2, 4, 6, v) & 3;
	return v_or_if(low, v_repeat(w + 16 * half), 1 << 4 * h, 2 << 4 * h, 4 << 4 * h, 8 << 4 * h, v, 4);
}
INLINE vb q4_k_piece(const uint8_t *w, int h, int v, int half)
{
	const uint8_t *qs = w + 16 + 64 * h + 16 * half;
	return v_shift(v_two(qs, qs + 32, 0xC, v), 0, 4, 0, 4, v) & 15;
}
INLINE vb q5_k_piece(const uint8_t *w, int h, int v, int half)
{
	return v_or_if(q4_k_piece(w + 32, h, v, half), v_repeat(w + 16 + 16 * half), 1 << 4 * h, 2 << 4 * h, 4 << 4 * h,
	               8 << 4 * h, v, 16);
}
INLINE vb q6_k_piece(const uint8_t *w, int h, int v, int half)
{
	const uint8_t *ql = w + 64 * h + 16 * half;
	vb low = v_shift(v_two(ql, ql + 32, 0xA, v), 0, 0, 4, 4, v) & 15;
	vb high = v_shift(v_repeat(w + 128 + 32 * h + 16 * half), 0, 2, 4, 6, v) & 3;
	return low | high << 4;
}
typedef vb piece_fn(const uint8_t *w, int h, int v, int half);

/* The 16 scales of q2_k and its 16 minimums. */
INLINE void q2_k_scales(const uint8_t *w, float scale[16], float min[16])
{
	vf d = v_set1(f16_to_f32(w + 80)), dmin = v_set1(-f16_to_f32(w + 82));
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += VL) {
		vi both = vi_from_u8(w + i);
		v_store(scale + i, v_from_i32(both & 15) * d);
		v_store(min + i, v_from_i32(both >> 4) * dmin);
	}
}

/* Scales of 16 elements each, of w times those of x, in order; fixed += (c or the scales) * sums of x. */
INLINE void scales16(const float *d, const float *c, const struct at_x *x, int m, vf scale[][PARTS], vf *fixed)
{
#pragma GCC unroll 4
	for (int i = 0; i < PARTS; i++)
		EACH_X {
			vf xs = v_load(ROW(x->scale16, r) + i * VL), s = v_load(d + i * VL) * xs;
			scale[r][i] = s;
			if (c != NULL)
				s = v_load(c + i * VL) * xs;
			fixed[r] = v_fma(s, v_load(ROW(x->sum16, r) + i * VL), fixed[r]);
		}
}

/* A block of q2_k, q3_k or q6_k: sub-blocks of 16. */
INLINE void block_k16(piece_fn *piece, const uint8_t *w, vf scale[][PARTS], int m, const struct at_x *x,
                      struct sums *t)
{
#pragma GCC unroll 2
	for (int h = 0; h < 2; h++)
#pragma GCC unroll 4
		for (int v = 0; v < 4 / LANES; v++)
#pragma GCC unroll 2
			for (int half = 0; half < 2; half++) {
				vb q = piece(w, h, v, half);
				EACH_X {
					vi dot = v_dot(q, ROW(x->bytes, r) + 256 * h + 16 * LANES * v + 64 * half);
					t->acc[half][r] = v_fma(v_from_i32(dot), v_spread2(scale[r], 8 * h + 2 * LANES * v + half),
					                        t->acc[half][r]);
				}
			}
}

INLINE void row_q2_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x x = x_layout(in->prepared, k, in->prepared_ld);
	float d[16], c[16];
	vf scale[HTH_MATVEC_MAX_ROWS][PARTS];
	struct sums t;

	begin(&t, m);
	for (; k >= 256; k -= 256, w += 84, x_skip(&x, 256)) {
		q2_k_scales(w, d, c);
		scales16(d, c, &x, m, scale, t.fixed);
		block_k16(q2_k_piece, w, scale, m, &x, &t);
	}
	finish(&t, 1, m, y, ldy);
}

typedef void scales_fn(const uint8_t *b, float out[16]);

/* q3_k and q6_k: weights less `offset`. */
INLINE void row_k16(piece_fn *piece, scales_fn *scales, int bytes, float offset, const uint8_t *w, int64_t k, int m,
                    const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x x = x_layout(in->prepared, k, in->prepared_ld);
	float d[16];
	vf scale[HTH_MATVEC_MAX_ROWS][PARTS];
	struct sums t;

	begin(&t, m);
	for (; k >= 256; k -= 256, w += bytes, x_skip(&x, 256)) {
		scales(w, d);
		scales16(d, NULL, &x, m, scale, t.fixed);
		block_k16(piece, w, scale, m, &x, &t);
	}
	finish(&t, -offset, m, y, ldy);
}

/* q4_k and q5_k: sub-blocks of 32. */
INLINE void row_k45(piece_fn *piece, int bytes, const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in,
                    float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	float d[16]; /* 8 scales, 8 minimums */
	vf scale[HTH_MATVEC_MAX_ROWS][PARTS];
	struct sums t;

	begin(&t, m);
	for (; k >= 256; k -= 256, w += bytes, x_skip(x, 256)) {
		k4_scales(w, d);
#pragma GCC unroll 4
		for (int i = 0; i < PARTS; i++)
			EACH_X {
				scale[r][i] = v_load(d + i * VL) * v_twice(ROW(x->scale32, r), i * VL);
				t.fixed[r] = v_fma(scale[r][i], v_after8(ROW(x->sum32, r), i * VL), t.fixed[r]);
			}
#pragma GCC unroll 2
		for (int h = 0; h < 2; h++)
#pragma GCC unroll 4
			for (int v = 0; v < 4 / LANES; v++) {
				vb low = piece(w, h, v, 0), high = piece(w, h, v, 1);
				EACH_X {
					vi dots = v_dots(low, high, ROW(x->bytes, r) + 256 * h + 16 * LANES * v);
					vf *acc = &t.acc[(h * 4 / LANES + v) % 2][r];
					*acc = v_fma(v_from_i32(dots), v_spread(scale[r], 4 * h + LANES * v), *acc);
				}
			}
	}
	finish(&t, 1, m, y, ldy);
}

/* --- formats of single elements ----------------------------------------------------------------------------------- */

INLINE void row_plain(load_fn *load, one_fn *one, int bytes, const uint8_t *w, int64_t k, int m,
                   const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct sums t;
	int64_t at = 0;

	begin(&t, m);
	for (; at + 2 * VL <= k; at += 2 * VL) {
		vf u = load(w + at * bytes), v = load(w + (at + VL) * bytes);
		EACH_X {
			const float *x = in->x + r * in->ldx + at;
			t.acc[0][r] = v_fma(u, v_load(x), t.acc[0][r]);
			t.acc[1][r] = v_fma(v, v_load(x + VL), t.acc[1][r]);
		}
	}
	EACH_X {
		float s = v_sum(t.acc[0][r] + t.acc[1][r]);
		for (int64_t i = at; i < k; i++)
			s += one(w + i * bytes) * in->x[r * in->ldx + i];
		y[r * ldy] = s;
	}
}

/* ROW(...) is a call of a row function up to w. */
#define MATVEC_CASE(n_x, ROW_FN, ...)                                                                                  \
	case n_x:                                                                                                      \
		for (; n_rows > 0; n_rows--, w += row_bytes, y++)                                                      \
			ROW_FN(__VA_ARGS__ w, k, n_x, in, y, ldy);                                                     \
		break;
#define MATVEC(name, ...)                                                                                              \
	static void matvec_##name(const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k,                     \
	                          const struct hth_matvec_in *in, float *y, int64_t ldy)                               \
	{                                                                                                              \
		_Static_assert(HTH_MATVEC_MAX_ROWS == 4, "the cases below cover m");                                   \
		switch (in->m) {                                                                                       \
			MATVEC_CASE(1, __VA_ARGS__)                                                                    \
			MATVEC_CASE(2, __VA_ARGS__)                                                                    \
			MATVEC_CASE(3, __VA_ARGS__)                                                                    \
			MATVEC_CASE(4, __VA_ARGS__)                                                                    \
		default:                                                                                               \
			break;                                                                                         \
		}                                                                                                      \
	}

MATVEC(f32, row_plain, v_from_f32, f32_to_f32, 4, )
MATVEC(f16, row_plain, v_from_f16, f16_to_f32, 2, )
MATVEC(bf16, row_plain, v_from_bf16, bf16_to_f32, 2, )
MATVEC(q4_0, row32, 18, PLAIN, 8, )
MATVEC(q4_1, row32, 20, MINIMUM, 0, )
MATVEC(q5_0, row32, 22, FIVE, 16, )
MATVEC(q5_1, row32, 24, FIVE | MINIMUM, 0, )
MATVEC(mxfp4, row32, 17, FP4, 12, )
MATVEC(q8_0, row8, false, )
MATVEC(mlx8, row8, true, )
MATVEC(q2_k, row_q2_k, )
MATVEC(q3_k, row_k16, q3_k_piece, q3_k_scales, 110, 4, )
MATVEC(q4_k, row_k45, q4_k_piece, 144, )
MATVEC(q5_k, row_k45, q5_k_piece, 176, )
MATVEC(q6_k, row_k16, q6_k_piece, q6_k_scales, 210, 32, )

#define MATVEC_SLOT(ID, name) .matvec[HTH_QUANT_##ID] = matvec_##name
#define SIMD_MATVEC_SLOTS                                                                                              \
	.prepare_x = prepare_x, MATVEC_SLOT(F32, f32), MATVEC_SLOT(F16, f16), MATVEC_SLOT(BF16, bf16),                 \
	MATVEC_SLOT(Q4_0, q4_0), MATVEC_SLOT(Q4_1, q4_1), MATVEC_SLOT(Q5_0, q5_0), MATVEC_SLOT(Q5_1, q5_1),            \
	MATVEC_SLOT(Q8_0, q8_0), MATVEC_SLOT(Q2_K, q2_k), MATVEC_SLOT(Q3_K, q3_k), MATVEC_SLOT(Q4_K, q4_k),            \
	MATVEC_SLOT(Q5_K, q5_k), MATVEC_SLOT(Q6_K, q6_k), MATVEC_SLOT(MXFP4, mxfp4), MATVEC_SLOT(MLX8, mlx8)
