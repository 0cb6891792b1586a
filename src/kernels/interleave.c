/* Rows of blocks to 16 rows side by side. A piece of n bytes of a block becomes, for each `width` bytes of it, those of
 * row 0, row 1, ... row 15. In the order in which they stand:
 *
 *   q4_0, q4_1   d, (m), 4 x nibbles: low nibbles of vector v are elements 4v .. 4v+3, high ones 16 + 4v ..
 *   q5_0, q5_1   d, (m), fifth bits: for each vector of elements 4v .. 4v+3 a mask of 64 bits, 4 x nibbles
 *   q8_0         d, 8 x bytes, each plus 128
 *   q4_k         d, dmin, for each 64 elements: 2 x (scale, minimum) as bytes, 8 x nibbles: low ones the first 32
 *   q6_k         d, 16 scales, for each 128 elements: 16 x ql, 8 x qh as the block has them */
#include "kernels/interleave.h"
#include "quant/quant_int.h"

#include <string.h>

static bool is_interleaved(enum hth_quant q)
{
	return q == HTH_QUANT_Q4_0 || q == HTH_QUANT_Q4_1 || q == HTH_QUANT_Q5_0 || q == HTH_QUANT_Q5_1 ||
	       q == HTH_QUANT_Q8_0 || q == HTH_QUANT_Q4_K || q == HTH_QUANT_Q6_K;
}

uint64_t hth_interleaved_bytes(enum hth_quant q, int64_t k)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	uint64_t blocks = (uint64_t)(k / f->block_elems), block = f->block_bytes;

	if (!is_interleaved(q) || k % f->block_elems != 0)
		return 0;
	if (q == HTH_QUANT_Q4_K)
		block += 4; /* scales of 6 bits become bytes */
	return blocks * block * HTH_LANES;
}

/* The pieces at `at` of 16 blocks, n bytes each, `width` at a time. */
static uint8_t *put(uint8_t *out, const uint8_t *const block[HTH_LANES], uint64_t at, int n, int width)
{
	for (int i = 0; i < n; i += width)
		for (int r = 0; r < HTH_LANES; r++, out += width)
			memcpy(out, block[r] + at + (uint64_t)i, (size_t)width);
	return out;
}

/* The 32 fifth bits at `at` of each block, as masks: bit 4r + j of mask v is element 4v + j of row r. */
static uint8_t *put_fifths(uint8_t *out, const uint8_t *const block[HTH_LANES], uint64_t at)
{
	for (int v = 0; v < 8; v++, out += 8) {
		uint64_t mask = 0;
		for (int r = 0; r < HTH_LANES; r++) {
			uint32_t bits;
			memcpy(&bits, block[r] + at, sizeof bits);
			mask |= (uint64_t)(bits >> 4 * v & 15) << 4 * r;
		}
		memcpy(out, &mask, sizeof mask);
	}
	return out;
}

static uint8_t *put_q4_k(uint8_t *out, const uint8_t *const block[HTH_LANES])
{
	uint8_t scale[HTH_LANES][8], min[HTH_LANES][8];

	for (int r = 0; r < HTH_LANES; r++)
		quant_k4_scales(block[r] + 4, scale[r], min[r]);
	out = put(out, block, 0, 2, 2);
	out = put(out, block, 2, 2, 2);
	for (int c = 0; c < 4; c++) {
		for (int r = 0; r < HTH_LANES; r++)
			for (int j = 0; j < 2; j++) {
				out[32 * j + r] = scale[r][2 * c + j];
				out[32 * j + 16 + r] = min[r][2 * c + j];
			}
		out = put(out + 64, block, 16 + 32 * (uint64_t)c, 32, 4);
	}
	return out;
}

static uint8_t *put_q8_0(uint8_t *out, const uint8_t *const block[HTH_LANES])
{
	uint8_t *bytes = put(out, block, 0, 2, 2);

	out = put(bytes, block, 2, 32, 4);
	for (; bytes < out; bytes++)
		*bytes ^= 128;
	return out;
}

static uint8_t *put_q6_k(uint8_t *out, const uint8_t *const block[HTH_LANES])
{
	out = put(out, block, 208, 2, 2);
	out = put(out, block, 192, 16, 1);
	for (uint64_t h = 0; h < 2; h++) {
		out = put(out, block, 64 * h, 64, 4);
		out = put(out, block, 128 + 32 * h, 32, 4);
	}
	return out;
}

/* d, (m), (fifth bits), nibbles. */
static uint8_t *put_nibbles(uint8_t *out, const uint8_t *const block[HTH_LANES], bool minimum, bool five)
{
	uint64_t at = minimum ? 4 : 2;

	out = put(out, block, 0, (int)at, 2);
	if (five)
		out = put_fifths(out, block, at);
	return put(out, block, at + (five ? 4 : 0), 16, 4);
}

void hth_interleave(enum hth_quant q, const uint8_t *rows, uint64_t row_bytes, int64_t k, uint8_t *out)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	const uint8_t *block[HTH_LANES];

	for (int64_t b = 0; b < k / f->block_elems; b++) {
		for (uint64_t r = 0; r < HTH_LANES; r++)
			block[r] = rows + r * row_bytes + (uint64_t)b * f->block_bytes;
		if (q == HTH_QUANT_Q8_0)
			out = put_q8_0(out, block);
		else if (q == HTH_QUANT_Q4_K)
			out = put_q4_k(out, block);
		else if (q == HTH_QUANT_Q6_K)
			out = put_q6_k(out, block);
		else
			out = put_nibbles(out, block, q == HTH_QUANT_Q4_1 || q == HTH_QUANT_Q5_1,
			                  q == HTH_QUANT_Q5_0 || q == HTH_QUANT_Q5_1);
	}
}
