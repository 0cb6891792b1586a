/* Every slot of a kernel set against ref.c: odd sizes, unaligned addresses, length zero, bytes past the end untouched.
 * Without cmocka, so that the same checks run cross-compiled (neon.sh). Each check returns the number of failures and
 * prints them.
 *
 * Tolerance: 4e-6 relative to the sum of absolute terms. f32 sums of up to 1,100 terms in another order, and
 * exponentials good to 3e-7, stay below it. */
#ifndef HTH_TESTS_KERNEL_CHECKS_H
#define HTH_TESTS_KERNEL_CHECKS_H

#include "base/num.h"
#include "kernels/interleave.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE 4e-6
#define GUARD 12345.678f

enum { MAX_N = 1100, PAD = 40 };
static const int64_t lengths[] = {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257, 1024, 1027};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

/* (n) numbers in -2 .. 2, different for each `which`. */
static void fill(float *x, int64_t n, uint32_t which)
{
	struct hth_rng_key key = hth_rng_key(7, HTH_RNG_TEST, which, 0);
	for (int64_t i = 0; i < n; i++)
		x[i] = 4 * hth_rng_uniform(key, 0, (uint64_t)i) - 2;
}

static int differ(const char *set, const char *what, const float *got, const float *want, int64_t n, double scale)
{
	for (int64_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[i]) <= TOLERANCE * (scale + fabs((double)want[i])))) {
			printf("# %s %s: element %lld of %lld is %.9g, expected %.9g\n", set, what, (long long)i, (long long)n,
			       (double)got[i], (double)want[i]);
			return 1;
		}
	return 0;
}

/* A number as the tile sees it. */
static double operand(const struct hth_products *p, float x)
{
	return p->pair == 1 ? (double)x : (double)hth_bf16_to_f32(hth_f32_to_bf16(x));
}

/* Packs m rows of x and n of w, or the same matrices given step by step of k (transposed copies in xt, wt). */
static void pack_both(const struct hth_products *p, bool rows, int64_t m, int64_t n, int64_t k, const float *x,
                      const float *w, int64_t ld, float *a, float *b)
{
	static float xt[MAX_N * 40], wt[MAX_N * 40];

	if (!rows) {
		p->pack_a(x, ld, m, k, a);
		p->pack_b(w, ld, n, k, b);
		return;
	}
	for (int64_t s = 0; s < k; s++) {
		for (int64_t i = 0; i < m; i++)
			xt[s * 40 + i] = x[i * ld + s];
		for (int64_t j = 0; j < n; j++)
			wt[s * 40 + j] = w[j * ld + s];
	}
	p->pack_a_rows(xt, 40, k, m, a);
	p->pack_b_rows(wt, 40, k, n, b);
}

static int check_tile(const char *set, const struct hth_products *p)
{
	static float x[HTH_KERNEL_MAX_MR * MAX_N], w[HTH_KERNEL_MAX_NR * MAX_N];
	static float a[HTH_KERNEL_MAX_MR * MAX_N + PAD], b[HTH_KERNEL_MAX_NR * MAX_N + PAD];
	static const int64_t depths[] = {0, 1, 2, 5, 16, 33, 64, 257};
	static float c[HTH_KERNEL_MAX_MR * 40], want[HTH_KERNEL_MAX_MR * 40];
	int bad = 0;

	fill(x, HTH_KERNEL_MAX_MR * MAX_N, 1);
	fill(w, HTH_KERNEL_MAX_NR * MAX_N, 2);
	for (int64_t m = 1; m <= p->mr; m++)
		for (int64_t n = 1; n <= p->nr; n++)
			for (int d = 0; d < 8 && bad == 0; d++) {
				int64_t depth = depths[d], ld = depth + 1, words = hth_words(p->pair, p->unit, depth);
				a[words * p->mr] = b[words * p->nr] = GUARD;
				pack_both(p, (m + n + d) % 3 == 0, m, n, depth, x + 1, w + 1, ld, a, b);
				bad += a[words * p->mr] != GUARD || b[words * p->nr] != GUARD;
				for (int64_t i = 0; i < HTH_KERNEL_MAX_MR * 40; i++)
					c[i] = want[i] = (float)(i % 7);
				bool add = (m + n) % 2 == 0;
				for (int64_t i = 0; i < m; i++)
					for (int64_t j = 0; j < n; j++) {
						double s = add ? want[i * 37 + j] : 0;
						for (int64_t t = 0; t < depth; t++)
							s += operand(p, x[1 + i * ld + t]) * operand(p, w[1 + j * ld + t]);
						want[i * 37 + j] = (float)s;
					}
				p->tile(m, n, depth, a, b, c, 37, add);
				bad += differ(set, "tile", c, want, HTH_KERNEL_MAX_MR * 37, 1 + (double)depth);
			}
	return bad;
}

/* A tile may begin at any row of a packed block: the rows behind give what they gave. */
static int check_tile_rows(const char *set, const struct hth_products *p, const float *a, const float *b,
                           const float *whole)
{
	float part[HTH_KERNEL_MAX_MR * HTH_KERNEL_MAX_NR];

	for (int64_t i = 1; i < p->mr; i++) {
		p->tile(p->mr - i, p->nr, 100, a + i * p->unit, b, part, HTH_KERNEL_MAX_NR, false);
		for (int64_t r = i; r < p->mr; r++)
			if (memcmp(part + (r - i) * HTH_KERNEL_MAX_NR, whole + r * HTH_KERNEL_MAX_NR, (size_t)p->nr * sizeof *part) != 0) {
				printf("# %s tile: row %d is another when the tile begins at row %d\n", set, (int)r, (int)i);
				return 1;
			}
	}
	return 0;
}

/* One element's value must not depend on the tile's size or its place there. */
static int check_tile_places(const char *set, const struct hth_products *p)
{
	static float x[HTH_KERNEL_MAX_MR * 100], w[HTH_KERNEL_MAX_NR * 100], a[HTH_KERNEL_MAX_MR * 128],
	        b[HTH_KERNEL_MAX_NR * 128];
	float whole[HTH_KERNEL_MAX_MR * HTH_KERNEL_MAX_NR], one;

	fill(x, p->mr * 100, 3);
	fill(w, p->nr * 100, 4);
	p->pack_a(x, 100, p->mr, 100, a);
	p->pack_b(w, 100, p->nr, 100, b);
	p->tile(p->mr, p->nr, 100, a, b, whole, HTH_KERNEL_MAX_NR, false);
	if (check_tile_rows(set, p, a, b, whole) != 0)
		return 1;
	for (int64_t i = 0; i < p->mr; i++)
		for (int64_t j = 0; j < p->nr; j++) {
			p->pack_a(x + i * 100, 100, 1, 100, a);
			p->pack_b(w + j * 100, 100, 1, 100, b);
			p->tile(1, 1, 100, a, b, &one, 1, false);
			if (memcmp(&one, &whole[i * HTH_KERNEL_MAX_NR + j], sizeof one) != 0) {
				printf("# %s tile: (%d,%d) depends on the tile\n", set, (int)i, (int)j);
				return 1;
			}
		}
	return 0;
}

/* The tile over f16 numbers has the bits of the tile over the same numbers in f32. */
static int check_tile_half(const char *set, const struct hth_products *p, hth_halves_fn *halves)
{
	static float x[HTH_KERNEL_MAX_MR * 100], w[HTH_KERNEL_MAX_NR * 100], a[HTH_KERNEL_MAX_MR * 128],
	        b[HTH_KERNEL_MAX_NR * 128];
	static uint16_t half[HTH_KERNEL_MAX_NR * 128];
	float got[HTH_KERNEL_MAX_MR * HTH_KERNEL_MAX_NR], want[HTH_KERNEL_MAX_MR * HTH_KERNEL_MAX_NR];

	fill(x, HTH_KERNEL_MAX_MR * 100, 5);
	fill(w, HTH_KERNEL_MAX_NR * 100, 6);
	for (int64_t m = 1; m <= p->mr; m++)
		for (int64_t n = 1; n <= p->nr; n++) {
			int64_t k = (m * 7 + n) % 100;
			p->pack_a(x, 100, m, k, a);
			p->pack_b(w, 100, n, k, b);
			halves(b, half, k * p->nr);
			for (int64_t i = 0; i < k * p->nr; i++)
				b[i] = hth_f16_to_f32(half[i]);
			for (int64_t i = 0; i < p->mr * HTH_KERNEL_MAX_NR; i++)
				got[i] = want[i] = (float)(i % 7);
			p->tile(m, n, k, a, b, want, HTH_KERNEL_MAX_NR, n % 2 == 0);
			p->tile_half(m, n, k, a, half, got, HTH_KERNEL_MAX_NR, n % 2 == 0);
			if (memcmp(got, want, (size_t)(p->mr * HTH_KERNEL_MAX_NR) * sizeof *got) != 0) {
				printf("# %s tile_half: m %d n %d k %d differs from tile\n", set, (int)m, (int)n, (int)k);
				return 1;
			}
		}
	return 0;
}

/* The bits of base's conversion, and nothing behind them. */
static int check_halves(const char *set, hth_halves_fn *halves)
{
	static const float special[] = {0, -0.0f, 65504, 65519, 65520, -65536, 1e30f, INFINITY, -INFINITY, 6e-8f, 2.9e-8f,
	                                1e-10f, 1 + 1.0f / 2048, 1 + 3.0f / 2048, 6.1e-5f, NAN};
	enum { SPECIALS = sizeof special / sizeof *special };
	static float x[MAX_N];
	static uint16_t out[MAX_N + 1];

	fill(x, MAX_N, 8);
	for (int l = 0; l < N_LENGTHS; l++) {
		int64_t n = lengths[l];
		for (int64_t i = 0; i < n && i < SPECIALS; i++)
			x[n - 1 - i] = special[i];
		out[n] = 0xABCD;
		halves(x, out, n);
		for (int64_t i = 0; i < n; i++) {
			uint16_t want = hth_f32_to_f16(fminf(fmaxf(x[i], -65504), 65504));
			bool same = isnan(x[i]) ? (out[i] & 0x7FFF) > 0x7C00 : out[i] == want;
			if (!same || out[n] != 0xABCD) {
				printf("# %s halves: %.9g is %04x, expected %04x\n", set, (double)x[i], out[i], want);
				return 1;
			}
		}
		fill(x, MAX_N, 8);
	}
	return 0;
}

/* Random blocks of one format: bytes at random, scales replaced by small half floats. */
static void random_blocks(enum hth_quant q, uint8_t *out, int64_t blocks, uint32_t which)
{
	static const int scale_at[HTH_QUANT_COUNT][2] = {
	        [HTH_QUANT_Q4_0] = {0, -1}, [HTH_QUANT_Q4_1] = {0, 2},  [HTH_QUANT_Q5_0] = {0, -1},
	        [HTH_QUANT_Q5_1] = {0, 2},  [HTH_QUANT_Q8_0] = {0, -1}, [HTH_QUANT_Q2_K] = {80, 82},
	        [HTH_QUANT_Q3_K] = {108, -1}, [HTH_QUANT_Q4_K] = {0, 2}, [HTH_QUANT_Q5_K] = {0, 2},
	        [HTH_QUANT_Q6_K] = {208, -1}};
	const struct hth_quant_format *f = hth_quant_format(q);
	struct hth_rng_key key = hth_rng_key(7, HTH_RNG_TEST, which, 1);

	for (int64_t b = 0; b < blocks; b++, out += f->block_bytes) {
		for (uint32_t i = 0; i < f->block_bytes; i++)
			out[i] = (uint8_t)hth_rng_u32(key, (uint64_t)b, i);
		if (f->block_elems == 1) { /* numbers in -2 .. 2 */
			float v = 4 * hth_rng_uniform(key, (uint64_t)b, 0) - 2;
			uint32_t u;
			memcpy(&u, &v, sizeof u);
			uint16_t half = q == HTH_QUANT_BF16 ? (uint16_t)(u >> 16) : (uint16_t)(0x3800 | (u & 0x83FF));
			if (q == HTH_QUANT_F32)
				memcpy(out, &v, sizeof v);
			else
				memcpy(out, &half, sizeof half);
			continue;
		}
		for (int s = 0; s < 2; s++)
			if (scale_at[q][s] >= 0) { /* 0.03 or so */
				out[scale_at[q][s]] = (uint8_t)hth_rng_u32(key, (uint64_t)b, 1000);
				out[scale_at[q][s] + 1] = (uint8_t)(0x28 | (hth_rng_u32(key, (uint64_t)b, 1001) & 0x80));
			}
		if (q == HTH_QUANT_MXFP4) /* 2^-7 to 2^-4 */
			out[0] = (uint8_t)(120 + hth_rng_u32(key, (uint64_t)b, 1000) % 4);
		if (q == HTH_QUANT_MLX8)
			memcpy(out, (const float[2]){0.03f * hth_rng_uniform(key, (uint64_t)b, 1000), -1}, 8);
	}
}

static int check_unpack(const char *set, const struct hth_kernels *k, enum hth_quant q)
{
	static uint8_t w[4 * MAX_N + 1];
	static float got[MAX_N + 1], want[MAX_N + 1];
	const struct hth_quant_format *f = hth_quant_format(q);
	int bad = 0;

	for (int i = 0; i < N_LENGTHS; i++) {
		int64_t n = f->block_elems == 1 ? lengths[i] : lengths[i] / 8 * f->block_elems;
		if (n > MAX_N - 8)
			break;
		random_blocks(q, w + 1, n / f->block_elems, 6 + (uint32_t)i);
		got[n] = GUARD;
		k->unpack[q](w + 1, got, n);
		f->unpack(w + 1, want, n);
		bad += differ(set, f->name, got, want, n, 0.5) + (got[n] != GUARD);
	}
	return bad;
}

/* What matvec may err by where w is in blocks: x becomes numbers of 16 bits, which costs at most 2^-16 (1 + 2^-7) of the
 * largest |x| of 32 an element; blocks of x below 2^-100 count as zero. f32 sums come on top, as everywhere. */
#define X_ROUNDING 1.54e-5
#define X_TINY 7.9e-31 /* 2^-100 */

struct matvec_case {
	int64_t n; /* elements a row */
	int m;
	uint8_t *w;
	uint64_t row_bytes;
	float *x; /* (m,n + 3) */
	bool lanes; /* through 16 rows side by side: these again and again */
};
enum { ROWS = 3, X_MOST = 4 * (MAX_N + 3) + 1 };

static void run_matvec(const struct hth_kernels *k, enum hth_quant q, const struct matvec_case *c, float *y)
{
	static float prepared[HTH_MATVEC_MAX_ROWS * 2 * MAX_N];
	struct hth_matvec_in in = {c->m, c->x, prepared, c->n + 3, hth_prepared_elems(c->n)};

	for (int r = 0; r < c->m; r++)
		k->prepare_x(c->x + r * in.ldx, c->n, prepared + r * in.prepared_ld);
	if (!c->lanes) {
		k->matvec[q](c->w, c->row_bytes, ROWS, c->n, &in, y, 4);
		return;
	}
	static uint8_t rows[HTH_LANES * 4 * MAX_N], lanes[HTH_LANES * 4 * MAX_N + 1];
	float all[HTH_MATVEC_MAX_ROWS * HTH_LANES];
	for (uint64_t i = 0; i < HTH_LANES; i++)
		memcpy(rows + i * c->row_bytes, c->w + i % ROWS * c->row_bytes, c->row_bytes);
	hth_interleave(q, rows, c->row_bytes, c->n, lanes + 1);
	k->matvec16[q](lanes + 1, HTH_LANES, c->n, &in, all, HTH_LANES);
	for (int r = 0; r < c->m; r++)
		memcpy(y + r * 4, all + r * HTH_LANES + 9, ROWS * sizeof *y); /* rows 9, 10, 11: 0, 1, 2 again */
}

/* Row j of w times row r of x in double, and the bound of the error. */
static double exact_product(enum hth_quant q, const struct matvec_case *c, int64_t j, int r, double *bound)
{
	static float w[MAX_N];
	const struct hth_quant_format *f = hth_quant_format(q);
	const float *x = c->x + r * (c->n + 3);
	double s = 0;

	f->unpack(c->w + (uint64_t)j * c->row_bytes, w, c->n);
	*bound = 0;
	for (int64_t b = 0; b < c->n; b += 32) {
		double top = 0, size = 0;
		for (int64_t i = b; i < b + 32 && i < c->n; i++) {
			s += (double)w[i] * (double)x[i];
			size += fabs((double)w[i]);
			top = fmax(top, fabs((double)x[i]));
			*bound += TOLERANCE * 0.3 * fabs((double)w[i] * (double)x[i]);
		}
		if (f->block_elems > 1)
			*bound += size * (top < X_TINY ? top : X_ROUNDING * top) + 1e-37;
	}
	return s;
}

/* All m against exact products; one row's result must not depend on m. */
static int compare_matvec(const char *set, const struct hth_kernels *k, enum hth_quant q, struct matvec_case *c)
{
	float y[4 * 4], single[4];
	double bound;

	for (c->m = HTH_MATVEC_MAX_ROWS; c->m >= 1; c->m--) {
		run_matvec(k, q, c, y);
		for (int r = 0; r < c->m; r++)
			for (int64_t j = 0; j < ROWS; j++) {
				double want = exact_product(q, c, j, r, &bound), off = fabs((double)y[r * 4 + j] - want);
				if (!(off <= bound)) {
					printf("# %s matvec %s n=%lld m=%d: (%d,%d) is %.9g, expected %.9g +- %.3g\n", set,
					       hth_quant_format(q)->name, (long long)c->n, c->m, r, (int)j,
					       (double)y[r * 4 + j], want, bound);
					return 1;
				}
			}
		if (c->m == HTH_MATVEC_MAX_ROWS)
			memcpy(single, y, sizeof single);
		else if (memcmp(single, y, ROWS * sizeof single[0]) != 0) {
			printf("# %s matvec %s n=%lld: a row's result depends on m\n", set, hth_quant_format(q)->name,
			       (long long)c->n);
			return 1;
		}
	}
	return 0;
}

/* Ordinary numbers; then blocks of zeros, of the largest and smallest magnitudes, and single large elements. */
static int check_matvec_width(const char *set, const struct hth_kernels *k, enum hth_quant q, int64_t n, bool lanes)
{
	static uint8_t w[ROWS * 4 * MAX_N + 1];
	static float x[X_MOST];
	const struct hth_quant_format *f = hth_quant_format(q);
	struct matvec_case c = {n, 1, w + 1, (uint64_t)n / f->block_elems * f->block_bytes, x + 1, lanes};
	int bad = 0;

	random_blocks(q, w + 1, ROWS * n / f->block_elems, (uint32_t)n);
	fill(x, X_MOST, (uint32_t)n + 1);
	bad += compare_matvec(set, k, q, &c);
	for (int64_t i = 0; i < X_MOST; i++) {
		static const float size[] = {1, 0, 1e30f, 1e-30f, 1e-33f, 1e-41f, 1e-4f};
		x[i] *= i % 37 == 5 ? 300 : size[(i / 32 + i / n) % 7];
	}
	bad += compare_matvec(set, k, q, &c);
	memset(x, 0, sizeof x);
	bad += compare_matvec(set, k, q, &c);
	return bad;
}

/* NaN or infinity anywhere in a row makes its results NaN or infinity, and leaves other rows alone. */
static int check_matvec_odd(const char *set, const struct hth_kernels *k, enum hth_quant q, int64_t n, bool lanes)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY};
	static uint8_t w[ROWS * 4 * MAX_N];
	static float x[X_MOST];
	const struct hth_quant_format *f = hth_quant_format(q);
	struct matvec_case c = {n, 2, w, (uint64_t)n / f->block_elems * f->block_bytes, x, lanes};
	float y[4 * 4];

	random_blocks(q, w, ROWS * n / f->block_elems, 99);
	for (int64_t at = 0; at < n; at += 29)
		for (int o = 0; o < 3; o++) {
			fill(x, X_MOST, 98);
			x[at] = odd[o];
			run_matvec(k, q, &c, y);
			for (int64_t j = 0; j < ROWS; j++)
				if (isfinite(y[j]) || !isfinite(y[4 + j])) {
					printf("# %s matvec %s: %g at %d of x gives %g, and %g in the next row\n", set, f->name,
					       (double)odd[o], (int)at, (double)y[j], (double)y[4 + j]);
					return 1;
				}
		}
	return 0;
}

static int check_matvecs_of(const char *set, const struct hth_kernels *k, enum hth_quant q, bool lanes)
{
	static const int64_t single[] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 100, 257, 1027};
	static const int64_t blocks[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 18, 19, 33};
	int64_t elems = hth_quant_format(q)->block_elems;
	int bad = 0;

	for (int i = 0; elems == 1 && i < (int)(sizeof single / sizeof single[0]); i++)
		bad += check_matvec_width(set, k, q, single[i], lanes);
	for (int i = 0; elems > 1 && i < (int)(sizeof blocks / sizeof blocks[0]) && blocks[i] * elems <= MAX_N; i++)
		bad += check_matvec_width(set, k, q, blocks[i] * elems, lanes);
	return bad + check_matvec_odd(set, k, q, elems == 256 ? 512 : 576, lanes);
}

static int check_matvecs(const char *set, const struct hth_kernels *k)
{
	int bad = 0;

	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		bad += check_matvecs_of(set, k, (enum hth_quant)q, false);
		if (k->matvec16[q] != NULL)
			bad += check_matvecs_of(set, k, (enum hth_quant)q, true);
	}
	return bad;
}

static int check_formats(const char *set, const struct hth_kernels *k)
{
	int bad = 0;

	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		bad += check_unpack(set, k, (enum hth_quant)q);
	return bad;
}

static int check_sums(const char *set, const struct hth_kernels *k, const struct hth_kernels *ref)
{
	float x[MAX_N], y[MAX_N], got[5], want[5];
	int bad = 0;

	fill(x, MAX_N, 20);
	fill(y, MAX_N, 21);
	for (int i = 0; i < N_LENGTHS; i++) {
		int64_t n = lengths[i];
		for (int s = 0; s < 2; s++) {
			const struct hth_kernels *from = s ? ref : k;
			float *to = s ? want : got;
			to[0] = from->dot(x + 1, y + 2, n);
			to[1] = from->sumsq(x + 1, 0.25f, n);
			to[2] = from->sum(x + 1, n);
			to[3] = n > 0 ? from->max(x + 1, n) : from->max(x, 0) == -INFINITY;
			to[4] = from->exp_sum(x + 1, 1.5f, y + 2, n);
			fill(y, MAX_N, 21);
		}
		bad += differ(set, "dot, sumsq, sum, max or exp_sum", got, want, 5, 1 + (double)n);
	}
	return bad;
}

/* What an elementwise slot made of copies of the same inputs: three arrays. */
struct rows {
	float a[MAX_N + PAD], b[MAX_N + PAD], c[MAX_N + PAD], d[MAX_N + PAD];
};

static void rows_fill(struct rows *r, int64_t n)
{
	fill(r->a, MAX_N, 30);
	fill(r->b, MAX_N, 31);
	fill(r->c, MAX_N, 32);
	fill(r->d, MAX_N, 33);
	r->a[n + 1] = r->b[n + 1] = r->c[n + 1] = r->d[n + 1] = GUARD;
}

static void run_elementwise(int slot, const struct hth_kernels *k, struct rows *r, int64_t n)
{
	float *a = r->a + 1, *b = r->b + 1, *c = r->c + 1, *d = r->d + 1;
	struct hth_adamw_step step = {0.9f, 0.999f, 1e-8f, 0.5f, 0.99f, 1e-2f, 1.5f};

	switch (slot) {
	case 0: k->axpy(0.3f, a, b, n); break;
	case 1: k->scale(0.3f, a, a, n); break;
	case 2: k->add(0.3f, a, b, b, n); break;
	case 3: (void)k->exp_sum(a, 1.5f, b, n); break;
	case 4: k->softcap(1.5f, a, n); break;
	case 5: k->softmax_grad(a, b, 0.25f, b, n); break;
	case 6: k->norm(a, 0.1f, 1.3f, b, 1, c, a, n); break;
	case 7: k->norm(a, 0, 1.3f, NULL, 0, NULL, b, n); break;
	case 8: k->norm_grad(a, 0.1f, 1.3f, b, 1, true, c, d, d, n); break;
	case 9: k->norm_grad(a, 0, 1.3f, NULL, 0, false, c, NULL, c, n); break;
	case 10: k->rope(a, c, d, b, n / 2); break;
	case 11: k->silu(a, b, a, n); break;
	case 12: k->gelu_tanh(a, b, b, n); break;
	case 13: k->gelu_erf(a, b, c, n); break;
	case 14: k->silu_grad(a, b, c, a, b, n); break;
	case 15: k->gelu_tanh_grad(a, b, c, c, b, n); break;
	case 16: k->gelu_erf_grad(a, b, c, a, c, n); break;
	case 17: k->sincos(1234, a, b, c, n); break;
	case 18:
		for (int64_t i = 0; i < n; i++)
			d[i] = fabsf(d[i]);
		k->adamw(&step, a, b, c, d, n);
		break;
	case 19: k->sigmoid(a, b, b, n); break;
	case 20: k->sigmoid_grad(a, b, c, c, a, n); break;
	default: break;
	}
}

/* Tokens of a gated delta net in one run, in runs of one, and backwards. */
static int check_delta(const char *set, const struct hth_kernels *k, const struct hth_kernels *ref)
{
	enum { KEYS = 37, TOKENS = 5, BLOCK = KEYS * HTH_DELTA_COLS, LD = 2 * KEYS + 3 };
	static float qk[TOKENS * LD], v[TOKENS * 40], gates[TOKENS * 3], s0[BLOCK];
	static float s[3][BLOCK], after[BLOCK], y[3][TOKENS * 40], u[3][TOKENS * HTH_DELTA_COLS], miss[3][TOKENS * HTH_DELTA_COLS];
	static float ds[2][BLOCK], dq[2][2 * KEYS], dv[2][HTH_DELTA_COLS + 1], dg[2][2];
	int bad = 0;

	for (int64_t cols = 1; cols <= HTH_DELTA_COLS; cols++) {
		fill(qk, TOKENS * LD, 40);
		fill(v, TOKENS * 40, 41);
		fill(gates, TOKENS * 3, 42);
		fill(s0, BLOCK, 43);
		for (int i = 0; i < TOKENS * LD; i++)
			qk[i] *= 0.2f;
		for (int i = 0; i < TOKENS * 3; i++)
			gates[i] = 1 / (1 + fabsf(gates[i]));
		for (int i = 0; i < BLOCK; i++)
			s0[i] = i % HTH_DELTA_COLS < cols ? s0[i] : 0;
		for (int w = 0; w < 3; w++) { /* ref; one run; runs of one */
			struct hth_delta_run r = {.n = w < 2 ? TOKENS : 1, .keys = KEYS, .cols = cols, .q = qk, .k = qk + KEYS,
			                          .ldk = LD, .v = v, .ldv = 40, .decay = gates, .beta = gates + 1, .ldg = 3,
			                          .y = y[w], .ldy = 40, .u = u[w], .miss = miss[w]};
			for (int i = 0; i < TOKENS * 40; i++)
				y[w][i] = GUARD;
			memcpy(s[w], s0, sizeof s0);
			for (int t = 0; t < (w < 2 ? 1 : TOKENS); t++) {
				(w == 0 ? ref : k)->delta(&r, s[w]);
				r.q += LD, r.k += LD, r.v += 40, r.decay += 3, r.beta += 3, r.y += 40;
				r.u += HTH_DELTA_COLS, r.miss += HTH_DELTA_COLS;
			}
		}
		bad += differ(set, "delta state", s[1], s[0], BLOCK, 2) + differ(set, "delta y", y[1], y[0], TOKENS * 40, 2);
		bad += differ(set, "delta u", u[1], u[0], TOKENS * HTH_DELTA_COLS, 2);
		if (memcmp(s[1], s[2], sizeof s0) != 0 || memcmp(y[1], y[2], sizeof y[1]) != 0 ||
		    memcmp(miss[1], miss[2], sizeof miss[1]) != 0) {
			printf("# %s delta: %d runs of one token give other bits than one run\n", set, TOKENS);
			bad++;
		}
		memcpy(after, s0, sizeof s0);
		struct hth_delta_run one = {.n = 1, .keys = KEYS, .cols = cols, .q = qk, .k = qk + KEYS, .v = v, .decay = gates,
		                            .beta = gates + 1, .u = u[0], .miss = miss[0]};
		ref->delta(&one, after);
		for (int w = 0; w < 2; w++) {
			struct hth_delta_back b = {.keys = KEYS, .cols = cols, .q = qk, .k = qk + KEYS, .u = u[0], .miss = miss[0],
			                           .dy = v + 40, .before = cols % 2 == 0 ? s0 : NULL, .after = after,
			                           .decay = gates[0], .beta = gates[1], .dq = dq[w], .dk = dq[w] + KEYS,
			                           .dv = dv[w], .ddecay = &dg[w][0], .dbeta = &dg[w][1]};
			fill(dq[w], 2 * KEYS, 44);
			fill(dg[w], 2, 45);
			fill(ds[w], BLOCK, 46);
			for (int i = 0; i < BLOCK; i++)
				ds[w][i] = i % HTH_DELTA_COLS < cols ? ds[w][i] : 0;
			dv[w][cols] = GUARD;
			(w == 0 ? ref : k)->delta_grad(&b, ds[w]);
		}
		bad += differ(set, "delta ds", ds[1], ds[0], BLOCK, 5) + differ(set, "delta dq, dk", dq[1], dq[0], 2 * KEYS, 50) +
		       differ(set, "delta dv", dv[1], dv[0], cols + 1, 50) + differ(set, "delta gates", dg[1], dg[0], 2, 1000);
	}
	return bad;
}

static int check_elementwise(const char *set, const struct hth_kernels *k, const struct hth_kernels *ref)
{
	static struct rows got, want;
	int bad = 0;

	for (int slot = 0; slot < 21; slot++)
		for (int i = 0; i < N_LENGTHS; i++) {
			int64_t n = lengths[i];
			char what[32];
			snprintf(what, sizeof what, "elementwise %d", slot);
			rows_fill(&got, n);
			rows_fill(&want, n);
			run_elementwise(slot, k, &got, n);
			run_elementwise(slot, ref, &want, n);
			double scale = slot == 8 || slot == 9 ? 5 : 0.2;
			bad += differ(set, what, got.a, want.a, MAX_N, scale) + differ(set, what, got.b, want.b, MAX_N, scale) +
			       differ(set, what, got.c, want.c, MAX_N, scale) + differ(set, what, got.d, want.d, MAX_N, scale);
		}
	return bad;
}

/* exp over its whole range: relative error, zero far below, NaN kept. */
static int check_exp(const char *set, const struct hth_kernels *k)
{
	int bad = 0;

	for (double x = -87; x < 88 && bad == 0; x += 0.0137) {
		float in = (float)x, out;
		(void)k->exp_sum(&in, 0, &out, 1);
		double want = exp((double)in);
		if (!(fabs(out - want) <= 3e-7 * want)) {
			printf("# %s exp(%.9g) is %.9g, expected %.9g\n", set, (double)in, (double)out, want);
			bad++;
		}
	}
	float special[20] = {-INFINITY, -200, -104, NAN}, p[20];
	(void)k->exp_sum(special, 0, p, 20);
	if (p[0] != 0 || p[1] != 0 || !(p[2] >= 0 && p[2] < 1e-44f) || !isnan(p[3]) || p[4] != 1) {
		printf("# %s exp of special values: %g %g %g %g %g\n", set, (double)p[0], (double)p[1], (double)p[2],
		       (double)p[3], (double)p[4]);
		bad++;
	}
	return bad;
}

static int check_dropout(const char *set, const struct hth_kernels *k, const struct hth_kernels *ref)
{
	static const uint64_t starts[] = {0, 5, 0xFFFFFFF0u, 0x123456789Au};
	struct hth_rng_key key = hth_rng_key(9, HTH_RNG_DROPOUT, 3, 4);
	float x[MAX_N], got[MAX_N + 1], want[MAX_N + 1];
	int bad = 0;

	fill(x, MAX_N, 40);
	for (int i = 0; i < N_LENGTHS; i++)
		for (int s = 0; s < 4; s++) {
			int64_t n = lengths[i];
			got[n] = want[n] = GUARD;
			k->dropout(key, 77ull << 32 | 5, starts[s], 0.3f, 1 / 0.7f, x, got, n);
			ref->dropout(key, 77ull << 32 | 5, starts[s], 0.3f, 1 / 0.7f, x, want, n);
			if (memcmp(got, want, (size_t)(n + 1) * sizeof got[0]) != 0) {
				printf("# %s dropout: not the bits of ref at length %lld\n", set, (long long)n);
				bad++;
			}
		}
	return bad;
}

#endif
