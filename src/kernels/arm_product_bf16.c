/* Products in bf16 with BFMMLA (FEAT_BF16): Arm Neoverse V1 and N2, Cortex-A510, A710 and X2 (2021) and later, Apple M2 and
 * later. One instruction multiplies two rows by two columns over four numbers of k, 16 products where a multiply-add does
 * 4. A word pair of two rows stands side by side in A as it is packed (unit 2), which is its first operand; the columns'
 * words stand apart by nr, two ZIPs make two operands of them. Tile 12 x 8: 24 accumulators of 2 x 2, four operands of B, one
 * of A.
 *
 * Rounding: products of pairs and their sums are rounded to odd, subnormal numbers count as zero (Arm ARM, BFMatMulAddH
 * without FPCR.EBF): an element errs by at most 2^-23 of each partial sum, where a multiply-add errs by 2^-24.
 * Source: Arm Architecture Reference Manual DDI 0487, BFMMLA, BFCVTN. */
#include "kernels/kernels.h"

#if defined(__aarch64__) /* with the flags of the Makefile */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VL = 4, MR = 12, NR = 8, PAIR = 2, UNIT = 2 };

#include "kernels/simd_arm.h"

#include "kernels/simd_part.h"

/* Four numbers of two rows, to the nearest, ties to even: one operand. */
INLINE vf v_pack(vf row0, vf row1)
{
	return vreinterpretq_f32_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(row0), row1));
}
/* Numbers p .. p+3 of a row of k; zeros behind them, and in a row that is none. */
INLINE vf four_of(const float *row, int64_t p, int64_t k)
{
	return row == NULL || p >= k ? v_set1(0) : part_load(row + p, k - p);
}
INLINE vf v_mac(vf a, vf b, vf c)
{
	return vbfmmlaq_f32(c, vreinterpretq_bf16_f32(a), vreinterpretq_bf16_f32(b));
}

/* c (m,n) = or += v, columns 2j .. 2j+3 of row r (0 or 1) of two accumulators beside each other. */
INLINE void store_row(vf v0, vf v1, int r, float *c, int64_t left, bool add)
{
	vf v = r == 0 ? vcombine_f32(vget_low_f32(v0), vget_low_f32(v1)) : vcombine_f32(vget_high_f32(v0), vget_high_f32(v1));

	part_store(c, add ? v_add(part_load(c, left), v) : v, left);
}

/* m rows by `pairs` pairs of columns, constants at each use, so that acc becomes registers; n of the columns wanted. */
INLINE void tile_of(int m, int pairs, int64_t n, int64_t words, const float *a, const float *b, float *c, int64_t ldc,
                    bool add)
{
	vf acc[MR / 2][NR / 2];

#pragma GCC unroll 6
	for (int i = 0; i < (m + 1) / 2; i++)
#pragma GCC unroll 4
		for (int j = 0; j < pairs; j++)
			acc[i][j] = v_set1(0);
	for (int64_t p = 0; p < words; p += UNIT, a += UNIT * MR, b += UNIT * NR) {
		vf col[NR / 2];
#pragma GCC unroll 2
		for (int j = 0; j < pairs; j += 2) {
			uint32x4_t even = vreinterpretq_u32_f32(v_load(b + 2 * j));
			uint32x4_t next = vreinterpretq_u32_f32(v_load(b + NR + 2 * j));
			col[j] = vreinterpretq_f32_u32(vzip1q_u32(even, next));
			col[j + 1] = vreinterpretq_f32_u32(vzip2q_u32(even, next));
		}
#pragma GCC unroll 6
		for (int i = 0; i < (m + 1) / 2; i++) {
			/* Behind a single row A may end. */
			vf row = 2 * i + 1 < m ? v_load(a + 4 * i) : vcombine_f32(vld1_f32(a + 4 * i), vdup_n_f32(0));
#pragma GCC unroll 4
			for (int j = 0; j < pairs; j++)
				acc[i][j] = v_mac(row, col[j], acc[i][j]);
		}
	}
#pragma GCC unroll 12
	for (int i = 0; i < m; i++)
#pragma GCC unroll 2
		for (int j = 0; j < pairs; j += 2)
			store_row(acc[i / 2][j], acc[i / 2][j + 1], i % 2, c + i * ldc + 2 * j, n - 2 * j, add);
}

#define TILE_CASE(rows)                                                                                                \
	case rows:                                                                                                     \
		if (n > NR / 2)                                                                                        \
			tile_of(rows, NR / 2, n, words, a, b, c, ldc, add);                                            \
		else                                                                                                   \
			tile_of(rows, NR / 4, n, words, a, b, c, ldc, add);                                            \
		break;

static void tile(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
	int64_t words = hth_words(PAIR, UNIT, k);

	_Static_assert(MR == 12, "the cases below cover the tile");
	switch (m) {
		TILE_CASE(1)
		TILE_CASE(2)
		TILE_CASE(3)
		TILE_CASE(4)
		TILE_CASE(5)
		TILE_CASE(6)
		TILE_CASE(7)
		TILE_CASE(8)
		TILE_CASE(9)
		TILE_CASE(10)
		TILE_CASE(11)
		TILE_CASE(12)
	default:
		break;
	}
}
#undef TILE_CASE

static void pack_a(const float *x, int64_t ld, int64_t m, int64_t k, float *a)
{
	for (int64_t p = 0; p < k; p += PAIR * UNIT, a += UNIT * MR)
		for (int64_t i = 0; i < MR; i += 2)
			v_store(a + UNIT * i, v_pack(four_of(i < m ? x + i * ld : NULL, p, k),
			                             four_of(i + 1 < m ? x + (i + 1) * ld : NULL, p, k)));
}

static void pack_b(const float *w, int64_t ld, int64_t n, int64_t k, float *b)
{
	for (int64_t p = 0; p < k; p += PAIR * UNIT, b += UNIT * NR)
		for (int64_t j = 0; j < NR; j += VL) {
			uint32x4_t two[2];
#pragma GCC unroll 2
			for (int h = 0; h < 2; h++) {
				int64_t at = j + 2 * h;
				two[h] = vreinterpretq_u32_f32(v_pack(four_of(at < n ? w + at * ld : NULL, p, k),
				                                      four_of(at + 1 < n ? w + (at + 1) * ld : NULL, p, k)));
			}
			v_store(b + j, vreinterpretq_f32_u32(vuzp1q_u32(two[0], two[1])));
			v_store(b + NR + j, vreinterpretq_f32_u32(vuzp2q_u32(two[0], two[1])));
		}
}

/* Words of rows p, p+1 of k, columns g .. g+3 of n. */
INLINE vf words_beside(const float *x, int64_t ld, int64_t p, int64_t k, int64_t g, int64_t n)
{
	vf low = four_of(p < k ? x + p * ld : NULL, g, n), high = four_of(p + 1 < k ? x + (p + 1) * ld : NULL, g, n);
	uint16x8_t both = vreinterpretq_u16_f32(v_pack(low, high));

	return vreinterpretq_f32_u16(vzip1q_u16(both, vextq_u16(both, both, 4)));
}

static void pack_a_rows(const float *x, int64_t ld, int64_t k, int64_t m, float *a)
{
	for (int64_t p = 0; p < k; p += PAIR * UNIT, a += UNIT * MR)
		for (int64_t g = 0; g < MR; g += VL) {
			uint32x4_t even = vreinterpretq_u32_f32(words_beside(x, ld, p, k, g, m));
			uint32x4_t next = vreinterpretq_u32_f32(words_beside(x, ld, p + PAIR, k, g, m));
			v_store(a + UNIT * g, vreinterpretq_f32_u32(vzip1q_u32(even, next)));
			v_store(a + UNIT * g + VL, vreinterpretq_f32_u32(vzip2q_u32(even, next)));
		}
}

static void pack_b_rows(const float *w, int64_t ld, int64_t k, int64_t n, float *b)
{
	int64_t words = hth_words(PAIR, UNIT, k);

	for (int64_t p = 0; p < words; p++, b += NR)
		for (int64_t g = 0; g < NR; g += VL)
			v_store(b + g, words_beside(w, ld, PAIR * p, k, g, n));
}

extern const struct hth_kernels hth_kernels_neonbf16;
const struct hth_kernels hth_kernels_neonbf16 = {
	.bf16 = {.mr = MR,
	         .nr = NR,
	         .pair = PAIR,
	         .unit = UNIT,
	         .tile = tile,
	         .pack_a = pack_a,
	         .pack_b = pack_b,
	         .pack_a_rows = pack_a_rows,
	         .pack_b_rows = pack_b_rows},
};
#endif
