/* Products in bf16 with AMX tiles: Intel Sapphire Rapids and later. A tile is 16 rows of 16 words; the product tile of
 * 32 x 32 is four of them, two of A and two of B beside (PERFORMANCE's 2 x 2 pattern: a load for each TDPBF16PS). A is
 * packed so that 16 words of 16 rows are one kilobyte in a row; B as everywhere, its rows 128 bytes apart.
 *
 * A thread configures its tiles at its first product and keeps them: LDTILECFG costs as much as a tenth of a product.
 * peak_amx.c uses the same shapes. Source: Intel SDM volume 1, chapter 18, volume 2 (TDPBF16PS). */
#include "kernels/kernels.h"

#if defined(__x86_64__) /* with the flags of the Makefile; compilers name the features differently */
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VL = 16, SIDE = 32, UNIT = 16 };

#include "kernels/simd_x86_512.h"

#include "kernels/simd_part.h"

#include "kernels/simd_bf16.h"

/* What LDTILECFG reads. */
struct tile_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

static void configure(void)
{
	static _Thread_local bool done;
	struct tile_config cfg = {.palette = 1};

	if (done)
		return;
	for (int i = 0; i < 8; i++) {
		cfg.row_bytes[i] = 64;
		cfg.rows[i] = 16;
	}
	_tile_loadconfig(&cfg);
	done = true;
}

/* out (32,32), of which rows below m and columns below n are wanted: a quarter that holds none of them is left out. */
static void multiply(int64_t m, int64_t n, int64_t words, const float *a, const float *b, float *out)
{
	bool low = m > 16, right = n > 16;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (int64_t p = 0; p < words; p += UNIT, a += SIDE * UNIT, b += SIDE * UNIT) {
		_tile_loadd(4, a, 64);
		_tile_loadd(6, b, 128);
		_tile_dpbf16ps(0, 4, 6);
		if (right) {
			_tile_loadd(7, b + 16, 128);
			_tile_dpbf16ps(1, 4, 7);
		}
		if (low) {
			_tile_loadd(5, a + 16 * UNIT, 64);
			_tile_dpbf16ps(2, 5, 6);
		}
		if (low && right)
			_tile_dpbf16ps(3, 5, 7);
	}
	_tile_stored(0, out, 128);
	_tile_stored(1, out + 16, 128);
	_tile_stored(2, out + 16 * SIDE, 128);
	_tile_stored(3, out + 16 * SIDE + 16, 128);
}

static void tile(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
	_Alignas(64) float out[SIDE * SIDE];

	configure();
	multiply(m, n, hth_words(PAIR, UNIT, k), a, b, out);
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j += VL) {
			vf v = v_load(out + i * SIDE + j);
			float *to = c + i * ldc + j;
			part_store(to, add ? v_add(part_load(to, n - j), v) : v, n - j);
		}
}

/* Places of rows m..31 keep what they held: whatever comes of it is in rows that nobody reads. */
static void pack_a(const float *x, int64_t ld, int64_t m, int64_t k, float *a)
{
	for (int64_t p = 0; p < k; p += PAIR * UNIT, a += SIDE * UNIT)
		for (int64_t i = 0; i < m; i++)
			v_store(a + i * UNIT, v_words(x + i * ld + p, k - p));
}

static void pack_b(const float *w, int64_t ld, int64_t n, int64_t k, float *b)
{
	vf r[16];

	for (int64_t p = 0; p < k; p += PAIR * UNIT, b += SIDE * UNIT)
		for (int64_t g = 0; g < SIDE; g += VL) {
#pragma GCC unroll 16
			for (int i = 0; i < 16; i++)
				r[i] = g + i < n ? v_words(w + (g + i) * ld + p, k - p) : v_set1(0);
			v_transpose(r);
#pragma GCC unroll 16
			for (int i = 0; i < 16; i++)
				v_store(b + i * SIDE + g, r[i]);
		}
}

/* Words of columns g..g+15 of rows p, p+1 of k rows of n numbers. */
INLINE vf words_beside(const float *x, int64_t ld, int64_t p, int64_t k, int64_t g, int64_t n)
{
	return v_beside(p < k ? x + p * ld + g : NULL, p + 1 < k ? x + (p + 1) * ld + g : NULL, n - g);
}

static void pack_a_rows(const float *x, int64_t ld, int64_t k, int64_t m, float *a)
{
	vf r[16];

	for (int64_t p = 0; p < k; p += PAIR * UNIT, a += SIDE * UNIT)
		for (int64_t g = 0; g < SIDE; g += VL) {
#pragma GCC unroll 16
			for (int i = 0; i < 16; i++)
				r[i] = words_beside(x, ld, p + PAIR * i, k, g, m);
			v_transpose(r);
#pragma GCC unroll 16
			for (int i = 0; i < 16; i++)
				v_store(a + (g + i) * UNIT, r[i]);
		}
}

static void pack_b_rows(const float *w, int64_t ld, int64_t k, int64_t n, float *b)
{
	int64_t words = hth_words(PAIR, UNIT, k);

	for (int64_t p = 0; p < words; p++, b += SIDE)
		for (int64_t g = 0; g < SIDE; g += VL)
			v_store(b + g, words_beside(w, ld, PAIR * p, k, g, n));
}

extern const struct hth_kernels hth_kernels_amx;
const struct hth_kernels hth_kernels_amx = {
	.bf16 = {.mr = SIDE,
	         .nr = SIDE,
	         .pair = PAIR,
	         .unit = UNIT,
	         .tile = tile,
	         .pack_a = pack_a,
	         .pack_b = pack_b,
	         .pack_a_rows = pack_a_rows,
	         .pack_b_rows = pack_b_rows},
};
#endif
