/* pack of every block format: errors against those of ggml's C encoder on the same data (tools/golden_quant.py),
 * stability of values that a format holds already, weights, and odd inputs. */
#include "../support.h"

#include "base/file.h"
#include "base/mem.h"
#include "quant/quant.h"

#include <math.h>

enum { ROWS = 16, ROW = 256, N = ROWS * ROW };

static void load(const char *name, float *out, size_t n)
{
	struct hth_map map;
	struct hth_err err;
	char path[128];
	snprintf(path, sizeof(path), "tests/golden/quant/%s.bin", name);
	assert_ok(hth_map_open(&map, path, &err));
	assert_int_equal(map.bytes, n * sizeof(float));
	memcpy(out, map.data, map.bytes);
	hth_map_close(&map);
}

/* Packs and unpacks rows; root of the mean of weighted squared errors, as tools/golden_quant.py has it. */
static double rms(const struct hth_quant_format *f, const float *x, const float *weights)
{
	static uint8_t blocks[N * 4 + 4];
	static float back[N];
	size_t row_bytes = ROW / f->block_elems * f->block_bytes;
	double sum = 0, total = 0;
	for (int r = 0; r < ROWS; r++) {
		f->pack(x + r * ROW, blocks + (size_t)r * row_bytes, ROW, weights);
		f->unpack(blocks + (size_t)r * row_bytes, back + r * ROW, ROW);
		for (int i = 0; i < ROW; i++) {
			double w = weights != NULL ? (double)weights[i] : 1.0,
			       e = (double)back[r * ROW + i] - (double)x[r * ROW + i];
			sum += w * e * e;
			total += w;
		}
	}
	return sqrt(sum / total);
}

static void errors_are_at_most_those_of_the_reference_encoder(void **state)
{
	(void)state;
	static float x[N], weights[ROW];
	char name[16], data[16];
	double plain, weighted;
	int rows = 0, worse = 0;
	load("importance", weights, ROW);
	FILE *f = fopen("tests/golden/quant/reference_errors.txt", "r");
	assert_non_null(f);
	while (fscanf(f, "%15s %15s %lf %lf", name, data, &plain, &weighted) == 4) {
		const struct hth_quant_format *q = hth_quant_format(hth_quant_from_name(name));
		load(data, x, N);
		double ours = rms(q, x, NULL), ours_weighted = rms(q, x, weights);
		if (!(ours > 0 && ours <= plain && ours_weighted > 0 && ours_weighted <= weighted)) {
			fprintf(stderr, "%s on %s: %.4e, reference %.4e; weighted %.4e, reference %.4e\n", name, data,
				ours, plain, ours_weighted, weighted);
			worse++;
		}
		rows++;
	}
	fclose(f);
	assert_int_equal(rows, 24);
	assert_int_equal(worse, 0);
}

/* A block that came out of pack goes through unpack and pack again: the values stay. Nearly so in q4_k and q5_k: a
 * sub-block that used all levels but one fits as well one level up or down, and only the integer mins of its
 * neighbours could tell which it was; a second pass then adds 0.15 of the first's error at most. mlx8 has 256 levels for 32
 * elements: lines a little apart give nearly the same values. */
static void packed_values_pack_to_themselves(void **state)
{
	(void)state;
	static float x[N], once[N], twice[N];
	static uint8_t blocks[N * 4 + 4];
	load("gauss", x, N);
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		double moved = 0, first = 0;
		f->pack(x, blocks, N, NULL);
		f->unpack(blocks, once, N);
		f->pack(once, blocks, N, NULL);
		f->unpack(blocks, twice, N);
		for (int i = 0; i < N; i++) {
			first += ((double)once[i] - (double)x[i]) * ((double)once[i] - (double)x[i]);
			moved += ((double)twice[i] - (double)once[i]) * ((double)twice[i] - (double)once[i]);
		}
		bool near = q == HTH_QUANT_Q4_K || q == HTH_QUANT_Q5_K || q == HTH_QUANT_MLX8;
		double bound = near ? 0.15 : 0.01;
		if (sqrt(moved) > bound * sqrt(first))
			fail_msg("%s: the second pass moves values by %.3g of the first", f->name, sqrt(moved / first));
	}
}

static void levels_that_a_block_holds_come_back_exactly(void **state)
{
	(void)state;
	static const enum hth_quant formats[] = {HTH_QUANT_Q4_0, HTH_QUANT_Q4_1, HTH_QUANT_Q5_0, HTH_QUANT_Q5_1,
						 HTH_QUANT_Q8_0};
	static const int tops[] = {8, 15, 16, 31, 127};
	for (size_t k = 0; k < sizeof(formats) / sizeof(formats[0]); k++) {
		const struct hth_quant_format *f = hth_quant_format(formats[k]);
		float x[32], back[32];
		uint8_t block[64];
		bool line = formats[k] == HTH_QUANT_Q4_1 || formats[k] == HTH_QUANT_Q5_1;
		for (int i = 0; i < 32; i++) {
			int q = line ? i * tops[k] / 31 : i * (tops[k] - 1) / 31 * (i % 2 ? 1 : -1);
			x[i] = (float)q * 0.0087890625f + (line ? -0.25f : 0.0f);
		}
		if (!line)
			x[5] = (float)-tops[k] * 0.0087890625f;
		f->pack(x, block, 32, NULL);
		f->unpack(block, back, 32);
		for (int i = 0; i < 32; i++)
			if (x[i] != back[i])
				fail_msg("%s: element %d: %.9g became %.9g", f->name, i, (double)x[i], (double)back[i]);
	}
}

/* One element matters a thousand times more: its error shrinks. */
static void importance_moves_the_error_where_it_matters_less(void **state)
{
	(void)state;
	static float x[N], weights[N];
	static uint8_t blocks[N * 4 + 4];
	static float back[N];
	load("heavy", x, N);
	for (int i = 0; i < N; i++)
		weights[i] = i % 8 == 3 ? 1000.0f : 1.0f;
	for (int q = HTH_QUANT_Q4_0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		double without = 0, with = 0;
		f->pack(x, blocks, N, NULL);
		f->unpack(blocks, back, N);
		for (int i = 3; i < N; i += 8)
			without += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
		f->pack(x, blocks, N, weights);
		f->unpack(blocks, back, N);
		for (int i = 3; i < N; i += 8)
			with += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
		if (!(with < 0.9 * without))
			fail_msg("%s: weighted %.3g, unweighted %.3g", f->name, with, without);
	}
}

static void packing_is_deterministic_and_knows_no_neighbours(void **state)
{
	(void)state;
	static float x[N];
	static uint8_t all[N * 4], one[ROW * 4 + 1];
	load("heavy", x, N);
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		size_t row_bytes = ROW / f->block_elems * f->block_bytes;
		f->pack(x, all, N, NULL);
		for (int r = 0; r < ROWS; r++) {
			memset(one, 0xEE, sizeof(one));
			f->pack(x + r * ROW, one, ROW, NULL);
			assert_memory_equal(one, all + (size_t)r * row_bytes, row_bytes);
			assert_int_equal(one[row_bytes], 0xEE);
		}
	}
}

static void zeros_and_constants_stay(void **state)
{
	(void)state;
	static const float values[] = {0.0f, 0.5f, -0.5f};
	/* Scales are f16 and mins products of one and an integer: 2^-10 is what they can miss. */
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		for (size_t v = 0; v < 3; v++) {
			const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
			float x[256], back[256];
			uint8_t block[1024];
			for (int i = 0; i < 256; i++)
				x[i] = values[v];
			f->pack(x, block, 256, NULL);
			f->unpack(block, back, 256);
			for (int i = 0; i < 256; i++)
				if (fabsf(back[i] - x[i]) > 1e-3f * fabsf(x[i]))
					fail_msg("%s: %g became %g", f->name, (double)x[i], (double)back[i]);
		}
}

static void odd_values_and_weights_do_no_harm(void **state)
{
	(void)state;
	static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, 1e-30f, 0.0f, 1.0f};
	enum { KINDS = sizeof(odd) / sizeof(odd[0]) };
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		float x[256], w[256], back[256];
		uint8_t block[1024];
		for (int kind = 0; kind < KINDS; kind++)
			for (int other = 0; other < KINDS; other++) {
				for (int i = 0; i < 256; i++) {
					x[i] = i % 7 == 0 ? odd[kind] : 0.01f * (float)(i % 13 - 6);
					w[i] = i % 5 == 0 ? odd[other] : 1.0f;
				}
				f->pack(x, block, 256, w);
				f->unpack(block, back, 256);
			}
		/* Weights that say nothing count as none. */
		uint8_t plain[1024];
		for (int i = 0; i < 256; i++) {
			x[i] = 0.01f * (float)(i % 13 - 6);
			w[i] = -1.0f;
		}
		f->pack(x, block, 256, w);
		f->pack(x, plain, 256, NULL);
		assert_memory_equal(block, plain, 256 / f->block_elems * f->block_bytes);
	}
}

static void halves_round_to_nearest_even(void **state)
{
	(void)state;
	static const struct {
		float x;
		uint16_t f16, bf16;
	} cases[] = {
		{0.0f, 0x0000, 0x0000},           {-0.0f, 0x8000, 0x8000},           {1.0f, 0x3C00, 0x3F80},
		{65504.0f, 0x7BFF, 0x4780},       {65519.996f, 0x7BFF, 0x4780},      {65520.0f, 0x7C00, 0x4780},
		{-70000.0f, 0xFC00, 0xC789},      {1.00048828125f, 0x3C00, 0x3F80}, /* halfway to 1 + 2^-10: to even */
		{1.00146484375f, 0x3C02, 0x3F80}, {6.103515625e-5f, 0x0400, 0x3880}, {5.9604645e-8f, 0x0001, 0x3380},
		{2.9802322e-8f, 0x0000, 0x3300}, /* half of the smallest: to even */
		{2.9802326e-8f, 0x0001, 0x3300},  {6.0975552e-5f, 0x03FF, 0x3880},   {INFINITY, 0x7C00, 0x7F80},
		{3.4e38f, 0x7C00, 0x7F80},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t h[2];
		hth_quant_format(HTH_QUANT_F16)->pack(&cases[i].x, h, 1, NULL);
		if ((h[0] | h[1] << 8) != cases[i].f16)
			fail_msg("f16 of %.9g: %02x%02x", (double)cases[i].x, h[1], h[0]);
		hth_quant_format(HTH_QUANT_BF16)->pack(&cases[i].x, h, 1, NULL);
		if ((h[0] | h[1] << 8) != cases[i].bf16)
			fail_msg("bf16 of %.9g: %02x%02x", (double)cases[i].x, h[1], h[0]);
	}
	const float nan = NAN;
	uint8_t h[2];
	float back;
	for (int q = HTH_QUANT_F16; q <= HTH_QUANT_BF16; q++) {
		hth_quant_format((enum hth_quant)q)->pack(&nan, h, 1, NULL);
		hth_quant_format((enum hth_quant)q)->unpack(h, &back, 1);
		assert_true(isnan(back));
	}
}

static void every_half_goes_to_f32_and_back(void **state)
{
	(void)state;
	for (int q = HTH_QUANT_F16; q <= HTH_QUANT_BF16; q++)
		for (uint32_t u = 0; u < 65536; u++) {
			uint8_t in[2] = {(uint8_t)(u & 255), (uint8_t)(u >> 8)}, out[2];
			float v;
			hth_quant_format((enum hth_quant)q)->unpack(in, &v, 1);
			if (isnan(v))
				continue;
			hth_quant_format((enum hth_quant)q)->pack(&v, out, 1, NULL);
			if (memcmp(in, out, 2) != 0)
				fail_msg("format %d: %04x became %02x%02x", q, u, out[1], out[0]);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_are_at_most_those_of_the_reference_encoder),
		cmocka_unit_test(packed_values_pack_to_themselves),
		cmocka_unit_test(levels_that_a_block_holds_come_back_exactly),
		cmocka_unit_test(importance_moves_the_error_where_it_matters_less),
		cmocka_unit_test(packing_is_deterministic_and_knows_no_neighbours),
		cmocka_unit_test(zeros_and_constants_stay),
		cmocka_unit_test(odd_values_and_weights_do_no_harm),
		cmocka_unit_test(halves_round_to_nearest_even),
		cmocka_unit_test(every_half_goes_to_f32_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
