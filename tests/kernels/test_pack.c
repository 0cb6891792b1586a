/* The fast encoders against quant's own and against ggml's: errors, odd lengths, odd values. Where this processor has
 * no version of its own the picked one is quant's, and the test says what holds of it all the same. */
#include "../support.h"

#include "base/file.h"
#include "kernels/pack.h"

#include <math.h>

enum { ROW = 256, ROWS = 16, N = ROWS * ROW };

/* Fast errors against quant's: the grid is the same, candidates are ranked by a bound; measured at most 1.01. q8_0 has
 * no grid beside whole levels here, which costs 8 % of its (small) error where weights differ. */
#define WORSE_AT_MOST(q) ((q) == HTH_QUANT_Q8_0 ? 1.09 : 1.02)

static void load(const char *name, float *out, size_t n)
{
	struct hth_map map;
	struct hth_err err;
	char path[128];

	snprintf(path, sizeof path, "tests/golden/quant/%s.bin", name);
	assert_ok(hth_map_open(&map, path, &err));
	assert_int_equal(map.bytes, n * sizeof(float));
	memcpy(out, map.data, map.bytes);
	hth_map_close(&map);
}

static double rms(hth_pack_fn *pack, const struct hth_quant_format *f, const float *x, const float *weights)
{
	static uint8_t blocks[N * 4];
	static float back[N];
	size_t row_bytes = ROW / f->block_elems * f->block_bytes;
	double sum = 0, total = 0;

	for (int r = 0; r < ROWS; r++) {
		pack(x + r * ROW, blocks + (size_t)r * row_bytes, ROW, weights);
		f->unpack(blocks + (size_t)r * row_bytes, back + r * ROW, ROW);
		for (int i = 0; i < ROW; i++) {
			double w = weights != NULL ? (double)weights[i] : 1.0;
			double e = (double)back[r * ROW + i] - (double)x[r * ROW + i];
			sum += w * e * e;
			total += w;
		}
	}
	return sqrt(sum / total);
}

static void errors_are_at_most_those_of_ggml_and_nearly_those_of_quant(void **state)
{
	static float x[N], weights[ROW];
	char name[16], data[16];
	double plain, weighted;
	int rows = 0;

	(void)state;
	load("importance", weights, ROW);
	FILE *f = fopen("tests/golden/quant/reference_errors.txt", "r");
	assert_non_null(f);
	while (fscanf(f, "%15s %15s %lf %lf", name, data, &plain, &weighted) == 4) {
		enum hth_quant q = hth_quant_from_name(name);
		const struct hth_quant_format *format = hth_quant_format(q);
		load(data, x, N);
		for (int way = 0; way < 2; way++) {
			const float *w = way ? weights : NULL;
			double fast = rms(hth_pack_pick(q), format, x, w), own = rms(format->pack, format, x, w);
			if (!(fast > 0 && fast <= (way ? weighted : plain) && fast <= WORSE_AT_MOST(q) * own))
				fail_msg("%s on %s%s: %.4e, quant's %.4e, ggml's %.4e", name, data,
					 way ? ", weighted" : "", fast, own, way ? weighted : plain);
		}
		rows++;
	}
	fclose(f);
	assert_int_equal(rows, 24);
}

/* A row packed whole is its blocks packed alone, for every number of blocks; not a byte behind it is touched. */
static void blocks_know_no_neighbours_and_lengths_are_kept(void **state)
{
	static float x[N], weights[ROW];
	static uint8_t row[N * 4 + 1], one[1024];

	(void)state;
	load("heavy", x, N);
	load("importance", weights, ROW);
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		hth_pack_fn *pack = hth_pack_pick((enum hth_quant)q);
		for (int64_t blocks = 0; blocks <= 19 && blocks * f->block_elems <= N; blocks++) {
			size_t bytes = (size_t)blocks * f->block_bytes;
			memset(row, 0xEE, sizeof row);
			pack(x, row, blocks * f->block_elems, NULL);
			assert_int_equal(row[bytes], 0xEE);
			for (int64_t b = 0; b < blocks; b++) {
				pack(x + b * f->block_elems, one, f->block_elems, NULL);
				assert_memory_equal(one, row + (size_t)b * f->block_bytes, f->block_bytes);
			}
		}
		/* Weights of a block are read beside it. */
		pack(x, row, ROW, weights);
		int64_t last = ROW - f->block_elems;
		pack(x + last, one, f->block_elems, weights + last);
		assert_memory_equal(one, row + (size_t)(last / f->block_elems) * f->block_bytes, f->block_bytes);
	}
}

static void levels_that_a_block_holds_come_back_exactly(void **state)
{
	static const struct {
		enum hth_quant q;
		int top;
		bool line;
	} cases[] = {{HTH_QUANT_Q4_0, 8, false},
		     {HTH_QUANT_Q5_0, 16, false},
		     {HTH_QUANT_Q8_0, 127, false},
		     {HTH_QUANT_Q4_1, 15, true},
		     {HTH_QUANT_Q5_1, 31, true}};

	(void)state;
	for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
		const struct hth_quant_format *f = hth_quant_format(cases[k].q);
		float x[32], back[32];
		uint8_t block[64];
		int top = cases[k].top;
		for (int i = 0; i < 32; i++) {
			int level = cases[k].line ? i * top / 31 : i * (top - 1) / 31 * (i % 2 ? 1 : -1);
			x[i] = (float)level * 0.0087890625f + (cases[k].line ? -0.25f : 0.0f);
		}
		if (!cases[k].line)
			x[5] = (float)-top * 0.0087890625f;
		hth_pack_pick(cases[k].q)(x, block, 32, NULL);
		f->unpack(block, back, 32);
		for (int i = 0; i < 32; i++)
			if (x[i] != back[i])
				fail_msg("%s: element %d: %.9g became %.9g", f->name, i, (double)x[i], (double)back[i]);
	}
}

static void zeros_constants_and_odd_values_do_no_harm(void **state)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, 1e-30f, 0.0f, 1.0f};
	static const float constants[] = {0.0f, 0.5f, -0.5f};
	enum { KINDS = sizeof odd / sizeof odd[0] };
	float x[ROW], w[ROW], back[ROW];
	uint8_t block[1024];

	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
		hth_pack_fn *pack = hth_pack_pick((enum hth_quant)q);
		for (int c = 0; c < 3; c++) {
			for (int i = 0; i < ROW; i++)
				x[i] = constants[c];
			pack(x, block, ROW, NULL);
			f->unpack(block, back, ROW);
			for (int i = 0; i < ROW; i++)
				if (!(fabsf(back[i] - x[i]) <= 1e-3f * fabsf(x[i])))
					fail_msg("%s: %g became %g", f->name, (double)x[i], (double)back[i]);
		}
		for (int kind = 0; kind < KINDS * KINDS; kind++) {
			for (int i = 0; i < ROW; i++) {
				x[i] = i % 7 == 0 ? odd[kind / KINDS] : 0.01f * (float)(i % 13 - 6);
				w[i] = i % 5 == 0 ? odd[kind % KINDS] : 1.0f;
			}
			pack(x, block, ROW, w);
			f->unpack(block, back, ROW);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_are_at_most_those_of_ggml_and_nearly_those_of_quant),
		cmocka_unit_test(blocks_know_no_neighbours_and_lengths_are_kept),
		cmocka_unit_test(levels_that_a_block_holds_come_back_exactly),
		cmocka_unit_test(zeros_constants_and_odd_values_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
