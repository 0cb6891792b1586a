/* The product tile and its packings, written once over the vector primitives of an instruction-set file, which defines
 * before including this: VL (words a vector), MR, NV (vectors a tile row), vf and the v_ functions, and the element type
 * (simd_f32.h, or its own): PAIR numbers a word, v_mac (c + the products of a's and b's numbers, word by word), v_words,
 * v_beside.
 *
 * The tile holds MR x NV accumulators in registers; every word of k loads NV vectors of b and broadcasts MR words of
 * a. Bound: the multiply-add units; b streams from the second-level cache. docs/speed.md has what it reaches. */

enum { NR = NV * VL };

/* m, nv and bytes (of a place of b: 4, or 2 of an f16 number) are constants at each use, so that acc becomes registers. */
INLINE void tile_of(int m, int nv, int bytes, int64_t n, int64_t k, const float *a, const uint8_t *b, float *c,
		    int64_t ldc, bool add)
{
	vf acc[MR][NV];

#pragma GCC unroll 16
	for (int i = 0; i < m; i++)
#pragma GCC unroll 4
		for (int j = 0; j < nv; j++)
			acc[i][j] = v_set1(0);
	for (int64_t p = 0; p < k; p += PAIR, a += MR, b += NR * bytes) {
		vf row[NV];
#pragma GCC unroll 4
		for (int j = 0; j < nv; j++)
			row[j] = bytes == 2 ? v_from_f16(b + j * VL * 2) : v_load((const float *)(const void *)b + j * VL);
#pragma GCC unroll 16
		for (int i = 0; i < m; i++) {
			vf x = v_set1(a[i]);
#pragma GCC unroll 4
			for (int j = 0; j < nv; j++)
				acc[i][j] = v_mac(x, row[j], acc[i][j]);
		}
	}
#pragma GCC unroll 16
	for (int i = 0; i < m; i++)
#pragma GCC unroll 4
		for (int j = 0; j < nv; j++) {
			float *to = c + i * ldc + j * VL;
			int64_t left = n - j * VL;
			if (left >= VL)
				v_store(to, add ? v_add(v_load(to), acc[i][j]) : acc[i][j]);
			else if (left > 0)
				v_store_n(to, add ? v_add(v_load_n(to, left), acc[i][j]) : acc[i][j], left);
		}
}

#define TILE_CASE(rows, bytes)                                                                                         \
	case rows:                                                                                                     \
		if (rows <= MR && n > NR - VL)                                                                         \
			tile_of(rows <= MR ? rows : 1, NV, bytes, n, k, a, (const uint8_t *)b, c, ldc, add);           \
		else if (rows <= MR && NV > 2 && n > NR - 2 * VL)                                                      \
			tile_of(rows <= MR ? rows : 1, NV > 2 ? NV - 1 : 1, bytes, n, k, a, (const uint8_t *)b, c, ldc, add);\
		else if (rows <= MR)                                                                                   \
			tile_of(rows <= MR ? rows : 1, 1, bytes, n, k, a, (const uint8_t *)b, c, ldc, add);            \
		break;
#define TILE_CASES(bytes)                                                                                              \
	_Static_assert(MR <= 14 && NV <= 2, "the cases below cover the tile");                                         \
	switch (m) {                                                                                                   \
		TILE_CASE(1, bytes)                                                                                    \
		TILE_CASE(2, bytes)                                                                                    \
		TILE_CASE(3, bytes)                                                                                    \
		TILE_CASE(4, bytes)                                                                                    \
		TILE_CASE(5, bytes)                                                                                    \
		TILE_CASE(6, bytes)                                                                                    \
		TILE_CASE(7, bytes)                                                                                    \
		TILE_CASE(8, bytes)                                                                                    \
		TILE_CASE(9, bytes)                                                                                    \
		TILE_CASE(10, bytes)                                                                                   \
		TILE_CASE(11, bytes)                                                                                   \
		TILE_CASE(12, bytes)                                                                                   \
		TILE_CASE(13, bytes)                                                                                   \
		TILE_CASE(14, bytes)                                                                                   \
	default:                                                                                                       \
		break;                                                                                                 \
	}

static void tile(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
	TILE_CASES(4)
}

/* The words of VL rows, as columns of VL each at out + p * stride, `width` (<= VL) of them kept. Narrower columns are
 * stored whole and their surplus is overwritten by the next, but for the last. */
INLINE void transpose_rows(const float *x, int64_t ld, int64_t rows, int64_t k, float *out, int64_t stride, int width)
{
	vf r[VL];
	int64_t words = (k + PAIR - 1) / PAIR;

	for (int64_t p = 0; p < words; p += VL) {
		int64_t n = words - p < VL ? words - p : VL;
#pragma GCC unroll 16
		for (int i = 0; i < VL; i++)
			r[i] = i >= rows ? v_set1(0) : v_words(x + i * ld + p * PAIR, k - p * PAIR);
		v_transpose(r);
		if (width == VL || p + VL < words) {
#pragma GCC unroll 16
			for (int i = 0; i < VL; i++)
				if (i < n)
					v_store(out + (p + i) * stride, r[i]);
		} else {
#pragma GCC unroll 16
			for (int i = 0; i < VL; i++)
				if (i < n)
					v_store_n(out + (p + i) * stride, r[i], width);
		}
	}
}

static void pack_a(const float *x, int64_t ld, int64_t m, int64_t k, float *a)
{
	_Static_assert(MR <= VL || MR % VL == 0, "surplus columns of one group must not fall into the next");
	for (int g = 0; g < MR; g += VL)
		transpose_rows(x + g * ld, ld, m > g ? m - g : 0, k, a + g, MR, MR < VL ? MR : VL);
}

static void pack_b(const float *w, int64_t ld, int64_t n, int64_t k, float *b)
{
	for (int g = 0; g < NR; g += VL)
		transpose_rows(w + g * ld, ld, n > g ? n - g : 0, k, b + g, NR, VL);
}

/* k rows of n numbers as words (k / PAIR,width), zeros behind them. */
INLINE void straight_rows(const float *x, int64_t ld, int64_t k, int64_t n, int width, float *out)
{
	for (int64_t p = 0; p < k; p += PAIR, x += PAIR * ld, out += width)
		for (int j = 0; j < width; j += VL)
			part_store(out + j, v_beside(x + j, p + 1 < k ? x + ld + j : NULL, n - j), width - j);
}

static void pack_a_rows(const float *x, int64_t ld, int64_t k, int64_t m, float *a)
{
	straight_rows(x, ld, k, m, MR, a);
}

static void pack_b_rows(const float *w, int64_t ld, int64_t k, int64_t n, float *b)
{
	straight_rows(w, ld, k, n, NR, b);
}

#define SIMD_PRODUCT                                                                                                   \
	{                                                                                                              \
		.mr = MR, .nr = NR, .pair = PAIR, .unit = 1, .tile = tile, .tile_half = TILE_HALF, .pack_a = pack_a,   \
		.pack_b = pack_b, .pack_a_rows = pack_a_rows, .pack_b_rows = pack_b_rows                               \
	}
