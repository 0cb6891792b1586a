/* Sixteen interleaved rows (interleave.h) times vectors as simd_matvec.h prepares them, with AVX-512's VNNI. One vector
 * holds four elements of 16 rows, so a block of 32 is eight; each meets four bytes of x's hi and lo parts. Sums of 16 rows
 * stand beside each other from the start. Bound: the reading of the blocks. */

#include "kernels/interleave.h"

INLINE vf lanes_f16(const uint8_t *p) /* 16 half floats */
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vf lanes_u8(const uint8_t *p) /* 16 bytes */
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE vf lanes_i8(const uint8_t *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE __m512i four_of_x(const uint8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof four);
	return _mm512_set1_epi32(four);
}

/* times * sum, a whole number of x's, in every lane; any number where x is NaN, as its scale is then. */
INLINE __m512i times_sum(int times, float sum)
{
	return _mm512_set1_epi32((int32_t)((uint32_t)times * (uint32_t)_mm_cvttss_si32(_mm_set_ss(sum))));
}

/* Four vectors of 4 elements times a half block of x. */
INLINE __m512i lanes_half(const __m512i w[4], const uint8_t *x)
{
	__m512i hi = _mm512_setzero_si512(), lo = hi;
#pragma GCC unroll 4
	for (int v = 0; v < 4; v++) {
		hi = _mm512_dpbusd_epi32(hi, w[v], four_of_x(x + 4 * v));
		lo = _mm512_dpbusd_epi32(lo, w[v], four_of_x(x + 128 + 4 * v));
	}
	return _mm512_add_epi32(_mm512_slli_epi32(hi, 8), lo);
}

/* n vectors' low and high nibbles. */
INLINE void lanes_nibbles(const uint8_t *p, int n, __m512i *low, __m512i *high)
{
	const __m512i mask = _mm512_set1_epi8(15);
#pragma GCC unroll 16
	for (int v = 0; v < n; v++) {
		__m512i both = _mm512_loadu_si512(p + 64 * v);
		low[v] = _mm512_and_si512(both, mask);
		high[v] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
	}
}

/* Block i of x in row r: the bytes of its first half. */
#define X_BLOCK(r, i) (ROW(x->bytes, r) + (i) / 4 * 256 + (i) % 4 * 16)

struct lane_sums {
	vf acc[HTH_MATVEC_MAX_ROWS], fixed[HTH_MATVEC_MAX_ROWS];
};
INLINE void lanes_begin(struct lane_sums *t, int m)
{
	EACH_X t->acc[r] = t->fixed[r] = v_set1(0);
}
INLINE void lanes_finish(const struct lane_sums *t, int m, float *y, int64_t ldy)
{
	EACH_X v_store(y + r * ldy, t->acc[r] + t->fixed[r]);
}

/* 32 weights of 16 rows, stored plus `offset`, times block i of x. */
INLINE void lanes_block(const __m512i w[8], int offset, vf d, int64_t i, int m, const struct at_x *x, struct lane_sums *t)
{
	EACH_X {
		const uint8_t *at = X_BLOCK(r, i);
		__m512i dot = _mm512_add_epi32(lanes_half(w, at), lanes_half(w + 4, at + 64));
		if (offset != 0)
			dot = _mm512_sub_epi32(dot, times_sum(offset, ROW(x->sum32, r)[i]));
		t->acc[r] = v_fma(v_from_i32((vi)dot), d * v_set1(ROW(x->scale32, r)[i]), t->acc[r]);
	}
}
/* What a minimum c adds to block i. */
INLINE void lanes_minimum(vf c, int64_t i, int m, const struct at_x *x, struct lane_sums *t)
{
	EACH_X t->fixed[r] = v_fma(c, v_set1(ROW(x->scale32, r)[i] * ROW(x->sum32, r)[i]), t->fixed[r]);
}

/* q4_0, q4_1, q5_0, q5_1: kinds of simd_matvec.h. */
INLINE void lanes_row32(int bytes, int kind, int offset, const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in,
                        float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	__m512i q[8];

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i++, w += HTH_LANES * bytes) {
		const uint8_t *p = w + (kind & MINIMUM ? 64 : 32);
		lanes_nibbles(p + (kind & FIVE ? 64 : 0), 4, q, q + 4);
		if (kind & FIVE)
#pragma GCC unroll 8
			for (int v = 0; v < 8; v++) {
				uint64_t fifth;
				memcpy(&fifth, p + 8 * v, sizeof fifth);
				q[v] = _mm512_mask_add_epi8(q[v], (__mmask64)fifth, q[v], _mm512_set1_epi8(16));
			}
		lanes_block(q, offset, lanes_f16(w), i, m, x, &t);
		if (kind & MINIMUM)
			lanes_minimum(lanes_f16(w + 32), i, m, x, &t);
	}
	lanes_finish(&t, m, y, ldy);
}

INLINE void lanes_q8_0(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	__m512i q[8];

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i++, w += HTH_LANES * 34) {
#pragma GCC unroll 8
		for (int v = 0; v < 8; v++)
			q[v] = _mm512_loadu_si512(w + 32 + 64 * v);
		lanes_block(q, 128, lanes_f16(w), i, m, x, &t);
	}
	lanes_finish(&t, m, y, ldy);
}

INLINE void lanes_q4_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	__m512i low[8], high[8];

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i += 8, w += HTH_LANES * 148) {
		vf d = lanes_f16(w), dmin = v_set1(0) - lanes_f16(w + 32);
		const uint8_t *p = w + 64;
		for (int c = 0; c < 4; c++, p += 64 + 512) {
			lanes_nibbles(p + 64, 8, low, high);
			lanes_block(low, 0, d * lanes_u8(p), i + 2 * c, m, x, &t);
			lanes_minimum(dmin * lanes_u8(p + 16), i + 2 * c, m, x, &t);
			lanes_block(high, 0, d * lanes_u8(p + 32), i + 2 * c + 1, m, x, &t);
			lanes_minimum(dmin * lanes_u8(p + 48), i + 2 * c + 1, m, x, &t);
		}
	}
	lanes_finish(&t, m, y, ldy);
}

/* Two halves of 16 weights, each with a scale of its own: q6_k, less 32. */
INLINE void lanes_halves(const __m512i w[8], vf d0, vf d1, int64_t i, int m, const struct at_x *x, struct lane_sums *t)
{
	EACH_X {
		const float *sum = ROW(x->sum16, r) + 2 * i;
		vf xs = v_set1(ROW(x->scale32, r)[i]);
		__m512i a = _mm512_sub_epi32(lanes_half(w, X_BLOCK(r, i)), times_sum(32, sum[0]));
		__m512i b = _mm512_sub_epi32(lanes_half(w + 4, X_BLOCK(r, i) + 64), times_sum(32, sum[1]));
		t->acc[r] = v_fma(v_from_i32((vi)a), d0 * xs, t->acc[r]);
		t->fixed[r] = v_fma(v_from_i32((vi)b), d1 * xs, t->fixed[r]);
	}
}

INLINE void lanes_q6_k(const uint8_t *w, int64_t k, int m, const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	struct at_x at = x_layout(in->prepared, k, in->prepared_ld), *x = &at;
	struct lane_sums t;
	const __m512i two = _mm512_set1_epi8(0x30);

	lanes_begin(&t, m);
	for (int64_t i = 0; i < k / 32; i += 8, w += HTH_LANES * 210) {
		vf d = lanes_f16(w);
		for (int h = 0; h < 2; h++) {
			const uint8_t *ql = w + 32 + 256 + 1536 * h, *qh = ql + 1024, *scale = w + 32 + 128 * h;
#pragma GCC unroll 4
			for (int b = 0; b < 4; b++) { /* 32 elements: nibbles b / 2 of ql's half b % 2, bits 2b of qh */
				__m512i q[8];
#pragma GCC unroll 8
				for (int v = 0; v < 8; v++) {
					__m512i nibble = _mm512_loadu_si512(ql + 512 * (b % 2) + 64 * v);
					__m512i bits = _mm512_loadu_si512(qh + 64 * v);
					if (b / 2 == 1)
						nibble = _mm512_srli_epi16(nibble, 4);
					bits = b == 0 ? _mm512_slli_epi16(bits, 4) : b == 1 ? _mm512_slli_epi16(bits, 2)
					     : b == 3 ? _mm512_srli_epi16(bits, 2) : bits;
					/* (nibble & 15) | (bits & 0x30) */
					nibble = _mm512_and_si512(nibble, _mm512_set1_epi8(15));
					q[v] = _mm512_ternarylogic_epi32(nibble, bits, two, 0xF8);
				}
				vf d0 = d * lanes_i8(scale + 32 * b), d1 = d * lanes_i8(scale + 32 * b + 16);
				lanes_halves(q, d0, d1, i + 4 * h + b, m, x, &t);
			}
		}
	}
	lanes_finish(&t, m, y, ldy);
}

#include "kernels/simd_lanes_slots.h"

MATVEC16(Q4_0, q4_0, lanes_row32, 18, PLAIN, 8, )
MATVEC16(Q4_1, q4_1, lanes_row32, 20, MINIMUM, 0, )
MATVEC16(Q5_0, q5_0, lanes_row32, 22, FIVE, 16, )
MATVEC16(Q5_1, q5_1, lanes_row32, 24, FIVE | MINIMUM, 0, )
MATVEC16(Q8_0, q8_0, lanes_q8_0, )
MATVEC16(Q4_K, q4_k, lanes_q4_k, )
MATVEC16(Q6_K, q6_k, lanes_q6_k, )
