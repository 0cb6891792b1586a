/* Sixteen interleaved rows (interleave.h) times vectors as simd_matvec.h prepares them, with NEON's products of bytes. A
 * vector holds four elements of four rows: of the 64 bytes that a piece has for 16 rows, quarter g is rows 4g .. 4g+3.
 *
 * - SDOT by element multiplies four rows with four bytes of x, spread by the instruction itself: two a vector, for hi and
 *   lo of x.
 * - SMMLA (where the file's flags have it) multiplies eight elements of two rows with eight hi and eight lo bytes of x:
 *   one a vector, after a ZIP that puts a row's eight elements side by side; the ZIP comes before nibbles are split.
 * Offsets go into the sums' first values. Bound: the reading of the blocks, where the caches of x hold. */

#include "kernels/interleave.h"

enum { QUARTERS = HTH_LANES / 4, PIECE = 4 * HTH_LANES }; /* vectors of 16 rows; bytes of a piece */

/* Block i of x in row r: hi of its halves at 0 and 64, lo at 128 and 192. */
#define X_BLOCK(r, i) (ROW(x->bytes, r) + (i) / 4 * 256 + (i) % 4 * 16)

/* A block of x, what all quarters need of it: two operands for each half; its scale; its sum times its scale; the first
 * values of lo sums, of the whole or of each half. */
struct x_block {
	int8x16_t v[HTH_MATVEC_MAX_ROWS][4];
	vf scale[HTH_MATVEC_MAX_ROWS], sum[HTH_MATVEC_MAX_ROWS];
	int32x4_t first[HTH_MATVEC_MAX_ROWS][2];
};
/* Sums of one half or a whole block for four rows. */
struct four_rows {
	int32x4_t a, b;
};

INLINE int8x16_t bytes_of(const uint8_t *p)
{
	return vreinterpretq_s8_u8(vld1q_u8(p));
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
INLINE int8x16_t low_halves(int8x16_t hi, int8x16_t lo)
{
	return vcombine_s8(vget_low_s8(hi), vget_low_s8(lo));
}
INLINE int8x16_t high_halves(int8x16_t hi, int8x16_t lo)
{
	return vcombine_s8(vget_high_s8(hi), vget_high_s8(lo));
}
INLINE void x_operands(const uint8_t *p, int8x16_t v[2])
{
	int8x16_t hi = bytes_of(p), lo = bytes_of(p + 128);
	v[0] = low_halves(hi, lo);
	v[1] = high_halves(hi, lo);
}
/* Vectors 2i and 2i+1 become eight elements of rows 0, 1 and of rows 2, 3. */
INLINE void arrange(vb *w, int n)
{
#pragma GCC unroll 4
	for (int i = 0; i < n; i += 2) {
		uint32x4_t a = vreinterpretq_u32_u8(w[i]), b = vreinterpretq_u32_u8(w[i + 1]);
		w[i] = vreinterpretq_u8_u32(vzip1q_u32(a, b));
		w[i + 1] = vreinterpretq_u8_u32(vzip2q_u32(a, b));
	}
}
/* a: hi and lo of row 0, of row 1; b: of rows 2 and 3 */
INLINE int32x4_t spread_first(int32_t first)
{
	return vreinterpretq_s32_u64(vdupq_n_u64((uint64_t)(uint32_t)first << 32));
}
INLINE struct four_rows rows_begin(int32x4_t first)
{
	return (struct four_rows){first, first};
}
INLINE void rows_add(struct four_rows *s, const vb w[4], const int8x16_t x[2])
{
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++) {
		s->a = vmmlaq_s32(s->a, vreinterpretq_s8_u8(w[2 * i]), x[i]);
		s->b = vmmlaq_s32(s->b, vreinterpretq_s8_u8(w[2 * i + 1]), x[i]);
	}
}
INLINE vf rows_sum(const struct four_rows *s)
{
	int32x4_t hi = vuzp1q_s32(s->a, s->b), lo = vuzp2q_s32(s->a, s->b);
	return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(hi, 8), lo));
}
#else
INLINE void x_operands(const uint8_t *p, int8x16_t v[2])
{
	v[0] = bytes_of(p);
	v[1] = bytes_of(p + 128);
}
INLINE void arrange(vb *w, int n)
{
	(void)w;
	(void)n;
}
/* a: hi of rows 0 .. 3; b: lo */
INLINE int32x4_t spread_first(int32_t first)
{
	return vdupq_n_s32(first);
}
INLINE struct four_rows rows_begin(int32x4_t first)
{
	return (struct four_rows){vdupq_n_s32(0), first};
}
#define ADD_FOUR(i)                                                                                                    \
	s->a = vdotq_laneq_s32(s->a, vreinterpretq_s8_u8(w[i]), x[0], i);                                              \
	s->b = vdotq_laneq_s32(s->b, vreinterpretq_s8_u8(w[i]), x[1], i);
INLINE void rows_add(struct four_rows *s, const vb w[4], const int8x16_t x[2])
{
	ADD_FOUR(0)
	ADD_FOUR(1)
	ADD_FOUR(2)
	ADD_FOUR(3)
}
#undef ADD_FOUR
INLINE vf rows_sum(const struct four_rows *s)
{
	return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(s->a, 8), s->b));
}
#endif

/* -offset * sum, a whole number of x's below 2^26. */
INLINE int32x4_t first_of(int offset, float sum)
{
	return spread_first(-offset * (int32_t)sum);
}
/* Block i for weights stored plus `offset`; halves: the first values are those of each half. */
INLINE void x_block_of(const struct at_x *x, int64_t i, int offset, bool halves, int m, struct x_block *out)
{
	EACH_X {
		float scale = ROW(x->scale32, r)[i], sum = ROW(x->sum32, r)[i];
		x_operands(X_BLOCK(r, i), out->v[r]);
		x_operands(X_BLOCK(r, i) + 64, out->v[r] + 2);
		out->scale[r] = v_set1(scale);
		out->sum[r] = v_set1(scale * sum);
		out->first[r][0] = first_of(offset, halves ? (ROW(x->sum16, r) + 2 * i)[0] : sum);
		if (halves)
			out->first[r][1] = first_of(offset, (ROW(x->sum16, r) + 2 * i)[1]);
	}
}

struct lane_sums {
	vf acc[HTH_MATVEC_MAX_ROWS][QUARTERS];
};
INLINE void lanes_begin(struct lane_sums *t, int m)
{
	EACH_X for (int g = 0; g < QUARTERS; g++)
		t->acc[r][g] = v_set1(0);
}
INLINE void lanes_finish(const struct lane_sums *t, int m, float *y, int64_t ldy)
{
	EACH_X for (int g = 0; g < QUARTERS; g++)
		v_store(y + r * ldy + 4 * g, t->acc[r][g]);
}

/* 32 weights of quarter g, arranged, of scale d and with minimum c, times a block of x. */
INLINE void lanes_block(const vb w[8], vf d, const vf *c, int g, int m, const struct x_block *x, struct lane_sums *t)
{
	EACH_X {
		struct four_rows s = rows_begin(x->first[r][0]);
		rows_add(&s, w, x->v[r]);
		rows_add(&s, w + 4, x->v[r] + 2);
		vf acc = v_fma(rows_sum(&s), d * x->scale[r], t->acc[r][g]);
		t->acc[r][g] = c != NULL ? v_fma(*c, x->sum[r], acc) : acc;
	}
}
/* The same where each half has a scale of its own. */
INLINE void lanes_halves(const vb w[8], const vf d[2], int g, int m, const struct x_block *x, struct lane_sums *t)
{
	EACH_X {
		vf acc = t->acc[r][g];
#pragma GCC unroll 2
		for (int h = 0; h < 2; h++) {
			struct four_rows s = rows_begin(x->first[r][h]);
			rows_add(&s, w + 4 * h, x->v[r] + 2 * h);
			acc = v_fma(rows_sum(&s), d[h] * x->scale[r], acc);
		}
		t->acc[r][g] = acc;
	}
}

/* Quarter g of n pieces from p on. */
INLINE void pieces(const uint8_t *p, int n, int g, vb *out)
{
#pragma GCC unroll 8
	for (int v = 0; v < n; v++)
		out[v] = vld1q_u8(p + PIECE * v + 16 * g);
}
INLINE void split(const vb *both, int n, vb *low, vb *high)
{
#pragma GCC unroll 8
	for (int v = 0; v < n; v++) {
		low[v] = vandq_u8(both[v], vdupq_n_u8(15));
		high[v] = vshrq_n_u8(both[v], 4);
	}
}

/* q4_0, q4_1, q5_0, q5_1 */
INLINE void lanes_row32(int bytes, bool minimum, bool five, int offset, const uint8_t *w, int64_t k, int m,
                        const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	struct x_block xb;

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i++, w += HTH_LANES * bytes) {
		const uint8_t *p = w + (minimum ? 64 : 32), *nibbles = p + (five ? 64 : 0);
		x_block_of(x, i, offset, false, m, &xb);
		for (int g = 0; g < QUARTERS; g++) {
			vb both[4], q[8];
			vf d = v_from_f16(w + 8 * g), c = v_set1(0);
			pieces(nibbles, 4, g, both);
			if (!five)
				arrange(both, 4);
			split(both, 4, q, q + 4);
			if (five) {
#pragma GCC unroll 8
				for (int v = 0; v < 8; v++)
					q[v] = v_or_bits(q[v], p + 8 * v + 2 * g, 0, 1);
				arrange(q, 8);
			}
			if (minimum)
				c = v_from_f16(w + 32 + 8 * g);
			lanes_block(q, d, minimum ? &c : NULL, g, m, &xb, &t);
		}
	}
	lanes_finish(&t, m, y, ldy);
}

INLINE void lanes_q8_0(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	struct x_block xb;

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i++, w += HTH_LANES * 34) {
		x_block_of(x, i, 0, false, m, &xb);
		for (int g = 0; g < QUARTERS; g++) {
			vb q[8];
			pieces(w + 32, 8, g, q);
			arrange(q, 8);
#pragma GCC unroll 8
			for (int v = 0; v < 8; v++)
				q[v] = veorq_u8(q[v], vdupq_n_u8(128)); /* stored plus 128 */
			lanes_block(q, v_from_f16(w + 8 * g), NULL, g, m, &xb, &t);
		}
	}
	lanes_finish(&t, m, y, ldy);
}

INLINE vf four_u8(const uint8_t *p)
{
	return v_from_i32(vi_from_u8(p));
}

INLINE void lanes_q4_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	struct x_block xb[2];

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i += 8, w += HTH_LANES * 148) {
		const uint8_t *p = w + 64;
		for (int64_t b = i; b < i + 8; b += 2, p += 64 + 8 * PIECE) {
			x_block_of(x, b, 0, false, m, xb);
			x_block_of(x, b + 1, 0, false, m, xb + 1);
			for (int g = 0; g < QUARTERS; g++) {
				vf d = v_from_f16(w + 8 * g), dmin = v_set1(0) - v_from_f16(w + 32 + 8 * g), c;
				vb both[8], q[8];
				pieces(p + 64, 8, g, both);
				arrange(both, 8);
#pragma GCC unroll 2
				for (int h = 0; h < 2; h++) {
#pragma GCC unroll 8
					for (int v = 0; v < 8; v++)
						q[v] = h == 0 ? vandq_u8(both[v], vdupq_n_u8(15)) : vshrq_n_u8(both[v], 4);
					c = dmin * four_u8(p + 32 * h + 16 + 4 * g);
					lanes_block(q, d * four_u8(p + 32 * h + 4 * g), &c, g, m, xb + h, &t);
				}
			}
		}
	}
	lanes_finish(&t, m, y, ldy);
}

/* 32 of 128 weights of q6_k: nibbles b / 2 of ql's half b % 2, bits 2b of qh; arranged. */
INLINE void q6_k_lanes(const uint8_t *ql, const vb qh[8], int b, int g, vb q[8])
{
	pieces(ql + 8 * PIECE * (b % 2), 8, g, q);
	arrange(q, 8);
#pragma GCC unroll 8
	for (int v = 0; v < 8; v++) {
		vb bits = b == 0 ? vshlq_n_u8(qh[v], 4) : b == 1 ? vshlq_n_u8(qh[v], 2) : b == 2 ? qh[v] : vshrq_n_u8(qh[v], 2);
		vb nibble = b / 2 == 0 ? vandq_u8(q[v], vdupq_n_u8(15)) : vshrq_n_u8(q[v], 4);
		q[v] = vorrq_u8(nibble, vandq_u8(bits, vdupq_n_u8(0x30)));
	}
}

INLINE void lanes_q6_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	struct x_block xb[4];

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i += 8, w += HTH_LANES * 210)
		for (int h = 0; h < 2; h++) {
			const uint8_t *ql = w + 32 + 256 + 24 * PIECE * h, *scale = w + 32 + 128 * h;
			for (int b = 0; b < 4; b++)
				x_block_of(x, i + 4 * h + b, 32, true, m, xb + b);
			for (int g = 0; g < QUARTERS; g++) {
				vf d = v_from_f16(w + 8 * g);
				vb qh[8], q[8];
				pieces(ql + 16 * PIECE, 8, g, qh);
				arrange(qh, 8);
#pragma GCC unroll 4
				for (int b = 0; b < 4; b++) {
					const uint8_t *s = scale + 32 * b + 4 * g;
					vf ds[2] = {d * v_from_i32(vi_from_i8(s)), d * v_from_i32(vi_from_i8(s + 16))};
					q6_k_lanes(ql, qh, b, g, q);
					lanes_halves(q, ds, g, m, xb + b, &t);
				}
			}
		}
	lanes_finish(&t, m, y, ldy);
}

#include "kernels/simd_lanes_slots.h"

MATVEC16(Q4_0, q4_0, lanes_row32, 18, false, false, 8, )
MATVEC16(Q4_1, q4_1, lanes_row32, 20, true, false, 0, )
MATVEC16(Q5_0, q5_0, lanes_row32, 22, false, true, 16, )
MATVEC16(Q5_1, q5_1, lanes_row32, 24, true, true, 0, )
MATVEC16(Q8_0, q8_0, lanes_q8_0, )
MATVEC16(Q4_K, q4_k, lanes_q4_k, )
MATVEC16(Q6_K, q6_k, lanes_q6_k, )
