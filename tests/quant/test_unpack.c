/* unpack of every block format against the values of ggml's own Python code (tools/golden_quant.py). */
#include "../support.h"

#include "base/file.h"
#include "base/mem.h"
#include "quant/quant.h"

#include <math.h>

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Equal bits, or both NaN (the sign and payload of inf - inf differ between processors). */
static bool same(float a, float b)
{
	return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static void check_golden(enum hth_quant q)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	struct hth_map map;
	struct hth_err err;
	char path[128];
	snprintf(path, sizeof(path), "tests/golden/quant/%s.bin", f->name);
	assert_ok(hth_map_open(&map, path, &err));
	assert_true(map.bytes > 12);
	uint32_t n_blocks = le32(map.data);
	size_t n = (size_t)n_blocks * f->block_elems;
	assert_int_equal(le32(map.data + 4), f->block_bytes);
	assert_int_equal(le32(map.data + 8), f->block_elems);
	assert_int_equal(map.bytes, 12 + (size_t)n_blocks * f->block_bytes + 4 * n);
	/* From an odd address: files do not align blocks. */
	uint8_t *blocks = hth_alloc((size_t)n_blocks * f->block_bytes + 1);
	float *got = hth_calloc(n + 1, sizeof(*got));
	memcpy(blocks + 1, map.data + 12, (size_t)n_blocks * f->block_bytes);
	got[n] = 42.0f;
	f->unpack(blocks + 1, got, (int64_t)n);
	const uint8_t *want = map.data + 12 + (size_t)n_blocks * f->block_bytes;
	unsigned wrong = 0;
	for (size_t i = 0; i < n; i++) {
		float value;
		memcpy(&value, want + 4 * i, sizeof(value));
		wrong += !same(got[i], value);
	}
	if (wrong > 0)
		fail_msg("%s: %u of %zu values differ", f->name, wrong, n);
	assert_true(got[n] == 42.0f);
	hth_free(blocks);
	hth_free(got);
	hth_map_close(&map);
}

static void unpack_gives_the_reference_values_bit_for_bit(void **state)
{
	(void)state;
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		if (q != HTH_QUANT_F32)
			check_golden((enum hth_quant)q);
}

static void f32_is_copied(void **state)
{
	(void)state;
	const float in[3] = {1.5f, -0.0f, INFINITY};
	uint8_t block[12];
	float out[3];
	hth_quant_format(HTH_QUANT_F32)->pack(in, block, 3, NULL);
	hth_quant_format(HTH_QUANT_F32)->unpack(block, out, 3);
	assert_memory_equal(in, out, sizeof(in));
}

static void any_bytes_unpack_without_harm(void **state)
{
	(void)state;
	static const uint8_t fills[] = {0x00, 0x7C, 0x7E, 0x80, 0xFC, 0xFF};
	uint8_t block[1024];
	float out[256];
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		for (size_t i = 0; i < sizeof(fills); i++) {
			const struct hth_quant_format *f = hth_quant_format((enum hth_quant)q);
			memset(block, fills[i], sizeof(block));
			f->unpack(block, out, f->block_elems);
		}
}

static void no_elements_is_no_work(void **state)
{
	(void)state;
	float out = 7.0f;
	uint8_t block = 9;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		hth_quant_format((enum hth_quant)q)->unpack(&block, &out, 0);
		hth_quant_format((enum hth_quant)q)->pack(&out, &block, 0, NULL);
	}
	assert_true(out == 7.0f && block == 9);
}

static void table_agrees_with_the_formats(void **state)
{
	(void)state;
#define HTH_QUANT(ID, text, ggml, elems, bytes)                                                                        \
	do {                                                                                                           \
		const struct hth_quant_format *f = hth_quant_format(HTH_QUANT_##ID);                                   \
		assert_string_equal(f->name, #text);                                                                   \
		assert_int_equal(f->ggml_type, ggml);                                                                  \
		assert_int_equal(f->block_elems, elems);                                                               \
		assert_int_equal(f->block_bytes, bytes);                                                               \
		assert_non_null(f->unpack);                                                                            \
		assert_non_null(f->pack);                                                                              \
		assert_int_equal(hth_quant_from_ggml(ggml), (ggml) < 0 ? HTH_QUANT_NONE : HTH_QUANT_##ID);                                           \
		assert_int_equal(hth_quant_from_name(#ID), HTH_QUANT_##ID);                                            \
	} while (0);
#include "quant/list.h"
#undef HTH_QUANT
	assert_int_equal(hth_quant_from_ggml(-1), HTH_QUANT_NONE);
	assert_int_equal(hth_quant_from_ggml(4), HTH_QUANT_NONE);
	assert_int_equal(hth_quant_from_name("q4_k_m"), HTH_QUANT_NONE);
	assert_null(hth_quant_format(HTH_QUANT_NONE));
	assert_null(hth_quant_format(HTH_QUANT_COUNT));
}

static void row_bytes_are_checked(void **state)
{
	(void)state;
	struct hth_err err;
	uint64_t bytes = 0;
	assert_ok(hth_quant_row_bytes(HTH_QUANT_Q4_K, 512, &bytes, &err));
	assert_int_equal(bytes, 288);
	assert_ok(hth_quant_row_bytes(HTH_QUANT_BF16, 3, &bytes, &err));
	assert_int_equal(bytes, 6);
	assert_ok(hth_quant_row_bytes(HTH_QUANT_Q6_K, 0, &bytes, &err));
	assert_int_equal(bytes, 0);
	assert_fails(hth_quant_row_bytes(HTH_QUANT_Q4_K, 128, &bytes, &err), HTH_ERR_SHAPE,
		     "a multiple of 256 for q4_k");
	assert_fails(hth_quant_row_bytes(HTH_QUANT_F32, UINT64_MAX, &bytes, &err), HTH_ERR_LIMIT,
		     "does not fit 64 bits");
	assert_int_equal(hth_quant_row_bytes(HTH_QUANT_NONE, 1, &bytes, &err), HTH_ERR_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unpack_gives_the_reference_values_bit_for_bit),
		cmocka_unit_test(f32_is_copied),
		cmocka_unit_test(any_bytes_unpack_without_harm),
		cmocka_unit_test(no_elements_is_no_work),
		cmocka_unit_test(table_agrees_with_the_formats),
		cmocka_unit_test(row_bytes_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
