/* MLX's quantised tensors against what mlx.core.dequantize gives (tools/golden_families.py --mlx), and hostile ones. */
#include "formats/hf_mlx.h"

#include "base/mem.h"
#include "base/tempdir.h"

#include <math.h>

#define AFFINE "tests/golden/mlx/affine"
enum { ROWS = 2, COLS = 128 };

static enum hth_status repack(const struct hth_hf *h, const char *module, enum hth_quant *quant, uint8_t **out,
			      struct hth_err *err)
{
	struct hth_mlx_tensor t;
	char name[64];

	snprintf(name, sizeof(name), "%s.weight", module);
	const struct hth_st_tensor *w = hth_hf_find(h, name, NULL);
	assert_non_null(w);
	enum hth_status st = hth_mlx_find(h, w, &t, err);
	if (st != HTH_OK)
		return st;
	assert_int_equal(t.rows, ROWS);
	assert_int_equal(t.cols, COLS);
	uint64_t bytes;
	if ((st = hth_mlx_blocks(&t, quant, &bytes, err)) != HTH_OK)
		return st;
	*out = hth_alloc((size_t)bytes);
	assert_non_null(*out);
	st = hth_mlx_repack(&t, *quant, *out, err);
	if (st != HTH_OK)
		hth_free(*out);
	return st;
}

static void expect(const struct hth_hf *h, const char *module, enum hth_quant want_quant)
{
	enum hth_quant quant;
	uint8_t *blocks;
	float got[ROWS * COLS], want[ROWS * COLS];
	char name[64];
	struct hth_err err;

	assert_ok(repack(h, module, &quant, &blocks, &err));
	assert_int_equal(quant, want_quant);
	hth_quant_format(quant)->unpack(blocks, got, ROWS * COLS);
	snprintf(name, sizeof(name), "%s.want", module);
	assert_ok(hth_st_to_f32(hth_hf_find(h, name, NULL), want, &err));
	/* MLX may fuse the product and the sum: one rounding less, of at most 128 levels of scale. */
	for (int i = 0; i < ROWS * COLS; i++)
		if (!(fabs((double)got[i] - (double)want[i]) <= 2e-7 * (fabs((double)want[i]) + 4)))
			fail_msg("%s: element %d is %.9g, expected %.9g", module, i, (double)got[i], (double)want[i]);
	hth_free(blocks);
}

static void every_layout_unpacks_to_mlx_values(void **state)
{
	static const int bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
	struct hth_hf h;
	struct hth_err err;
	char module[32];

	(void)state;
	assert_ok(hth_hf_open(&h, AFFINE, &err));
	assert_true(hth_mlx_is(&h));
	assert_ok(hth_mlx_check(&h, &err));
	for (int b = 0; b < 6; b++)
		for (int g = 0; g < 3; g++) {
			snprintf(module, sizeof(module), "b%dg%d", bits[b], groups[g]);
			expect(&h, module,
			       bits[b] <= 4   ? HTH_QUANT_Q4_1
			       : bits[b] == 5 ? HTH_QUANT_Q5_1
					      : HTH_QUANT_MLX8);
		}
	/* Scales of 1e-7, which f16 rounds. */
	expect(&h, "small", HTH_QUANT_MLX8);
	hth_hf_close(&h);
}

static const struct {
	const char *config;
	enum hth_status status;
	const char *part;
} bad[] = {
	{"{\"quantization\": {\"bits\": 4, \"group_size\": 64, \"mode\": \"nvfp4\"}}", HTH_ERR_UNAVAILABLE,
	 "\"nvfp4\""},
	{"{\"quantization\": {\"bits\": 4, \"group_size\": 64, \"mode\": \"mxfp4\"}}", HTH_ERR_FORMAT,
	 "groups of 64, expected 4 in groups of 32"},
	{"{\"quantization\": {\"bits\": 8, \"mode\": \"mxfp4\"}}", HTH_ERR_FORMAT, "mxfp4 of 8 bits"},
	/* These scales are no bytes. */
	{"{\"quantization\": {\"bits\": 4, \"mode\": \"mxfp4\"}}", HTH_ERR_SHAPE, "b4g64.scales"},
	{"{\"quantization\": {\"bits\": 7, \"group_size\": 64}}", HTH_ERR_FORMAT, "7 bits"},
	{"{\"quantization\": {\"bits\": 0, \"group_size\": 64}}", HTH_ERR_FORMAT, "bits"},
	{"{\"quantization\": {\"bits\": 16, \"group_size\": 64}}", HTH_ERR_FORMAT, "bits"},
	{"{\"quantization\": {\"bits\": 4, \"group_size\": 48}}", HTH_ERR_FORMAT, "groups of 48"},
	{"{\"quantization\": {\"bits\": 4, \"group_size\": -64}}", HTH_ERR_FORMAT, "group_size"},
	{"{\"quantization\": {\"bits\": \"4\", \"group_size\": 64}}", HTH_ERR_FORMAT, "bits"},
	{"{\"quantization\": {\"bits\": 8, \"group_size\": 64}}", HTH_ERR_SHAPE, "16 words a row, expected 32"},
	{"{\"quantization\": {\"bits\": 4, \"group_size\": 128}}", HTH_ERR_SHAPE, "16 words a row, expected 32"},
	{"{\"quantization\": {\"bits\": 4, \"group_size\": 64, \"b4g64\": false}}", HTH_ERR_UNAVAILABLE,
	 "no \"quantization\" for it"},
	{"{\"quantization\": {\"b4g64\": {\"bits\": 3}}}", HTH_ERR_SHAPE, "expected 12"},
	{"{}", HTH_ERR_UNAVAILABLE, "no \"quantization\" for it"},
};

static void bad_settings_are_refused_with_the_reason(void **state)
{
	struct hth_hf h;
	struct hth_err err;
	enum hth_quant quant;
	uint8_t *blocks;
	char *data;
	size_t bytes;

	(void)state;
	assert_ok(hth_file_read(AFFINE "/model.safetensors", 1 << 20, &data, &bytes, &err));
	assert_ok(hth_file_write(temp("model.safetensors"), data, bytes, &err));
	hth_free(data);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_ok(hth_file_write(temp("config.json"), bad[i].config, strlen(bad[i].config), &err));
		assert_ok(hth_hf_open(&h, temp_dir, &err));
		assert_fails(repack(&h, "b4g64", &quant, &blocks, &err), bad[i].status, bad[i].part);
		hth_hf_close(&h);
	}
}

/* A stack of two matrices of one row each has the blocks of a matrix of two rows. */
static void experts_one_above_the_other_are_rows(void **state)
{
	static const char config[] = "{\"quantization\": {\"bits\": 4, \"group_size\": 64}}";
	static const char *const names[] = {"b4g64.weight", "b4g64.scales", "b4g64.biases"};
	struct hth_st_tensor list[3];
	struct hth_mlx_tensor t;
	struct hth_hf flat, stacked;
	struct hth_err err;
	enum hth_quant quant, again;
	uint8_t *want, *got;
	uint64_t bytes;

	(void)state;
	assert_ok(hth_hf_open(&flat, AFFINE, &err));
	assert_ok(repack(&flat, "b4g64", &quant, &want, &err));
	for (int i = 0; i < 3; i++) {
		list[i] = *hth_hf_find(&flat, names[i], NULL);
		list[i].n_dims = 3;
		list[i].dim[2] = list[i].dim[1];
		list[i].dim[1] = 1;
	}
	assert_ok(hth_safetensors_write(temp("model.safetensors"), list, 3, NULL, 0, &err));
	assert_ok(hth_file_write(temp("config.json"), config, strlen(config), &err));
	assert_ok(hth_hf_open(&stacked, temp_dir, &err));
	assert_ok(hth_mlx_find(&stacked, hth_hf_find(&stacked, names[0], NULL), &t, &err));
	assert_ok(hth_mlx_blocks(&t, &again, &bytes, &err));
	assert_int_equal(t.rows, ROWS);
	assert_int_equal(again, quant);
	got = hth_alloc((size_t)bytes);
	assert_non_null(got);
	assert_ok(hth_mlx_repack(&t, quant, got, &err));
	assert_memory_equal(got, want, (size_t)bytes);
	hth_free(got);
	hth_free(want);
	hth_hf_close(&stacked);
	list[1].dim[1] = 0; /* scales of another stack */
	list[1].bytes = 0;
	assert_ok(hth_safetensors_write(temp("model.safetensors"), list, 3, NULL, 0, &err));
	assert_ok(hth_hf_open(&stacked, temp_dir, &err));
	assert_fails(hth_mlx_find(&stacked, hth_hf_find(&stacked, names[0], NULL), &t, &err), HTH_ERR_SHAPE, "b4g64.scales");
	hth_hf_close(&stacked);
	hth_hf_close(&flat);
}

/* Words, bytes and values as mlx.core.quantize and dequantize of 0.32 gave them. */
static void mxfp4_unpacks_to_mlx_values(void **state)
{
	static const char config[] = "{\"quantization\": {\"bits\": 4, \"group_size\": 32, \"mode\": \"mxfp4\"}}";
	static const uint32_t words[8] = {0x0c0991d4, 0x9a99905a, 0x91300201, 0x9a209410,
					  0xca3e2012, 0x2400b921, 0xa911a930, 0x2a0c12d1};
	static const uint8_t exponents[3] = {127, 120, 0};
	static const float first[10] = {2, -3, 0.5f, -0.5f, -0.5f, 0, -2, 0, -1, 3};
	static const float last[6] = {0.0078125f, 0.00390625f, -0.015625f, 0, -0.0078125f, 0.0078125f};
	struct hth_st_tensor list[2] = {
		{.name = "m.weight", .dtype = HTH_ST_U32, .n_dims = 2, .dim = {1, 8}, .bytes = sizeof(words)},
		{.name = "m.scales", .dtype = HTH_ST_U8, .n_dims = 2, .dim = {1, 2}, .data = exponents, .bytes = 2}};
	struct hth_mlx_tensor t;
	struct hth_hf h;
	struct hth_err err;
	enum hth_quant quant;
	uint8_t blocks[34];
	uint64_t bytes;
	float got[64];

	(void)state;
	list[0].data = (const uint8_t *)words;
	assert_ok(hth_safetensors_write(temp("model.safetensors"), list, 2, NULL, 0, &err));
	assert_ok(hth_file_write(temp("config.json"), config, strlen(config), &err));
	assert_ok(hth_hf_open(&h, temp_dir, &err));
	assert_ok(hth_mlx_check(&h, &err));
	assert_ok(hth_mlx_find(&h, hth_hf_find(&h, "m.weight", NULL), &t, &err));
	assert_null(t.biases);
	assert_ok(hth_mlx_blocks(&t, &quant, &bytes, &err));
	assert_int_equal(quant, HTH_QUANT_MXFP4);
	assert_int_equal(bytes, sizeof(blocks));
	assert_ok(hth_mlx_repack(&t, quant, blocks, &err));
	hth_quant_format(quant)->unpack(blocks, got, 64);
	assert_memory_equal(got, first, sizeof(first));
	for (int i = 0; i < 6; i++)
		assert_true(fabsf(got[58 + i] - last[i]) == 0);
	hth_hf_close(&h);
	list[1].dim[1] = 3;
	list[1].bytes = 3;
	assert_ok(hth_safetensors_write(temp("model.safetensors"), list, 2, NULL, 0, &err));
	assert_ok(hth_hf_open(&h, temp_dir, &err));
	assert_fails(hth_mlx_find(&h, hth_hf_find(&h, "m.weight", NULL), &t, &err), HTH_ERR_SHAPE, "8 words a row, expected 12");
	hth_hf_close(&h);
}

/* One u32 matrix with the parts given, 2 rows of 128 columns at 4 bits in groups of 64. */
static void expect_parts(const struct hth_st_tensor *parts, size_t n, enum hth_status status, const char *part)
{
	static const char config[] = "{\"quantization\": {\"bits\": 4, \"group_size\": 64}}";
	static const uint8_t zeros[4096];
	struct hth_st_tensor list[3] = {{.name = "b4g64.weight",
					 .dtype = HTH_ST_U32,
					 .n_dims = 2,
					 .dim = {2, 16},
					 .data = zeros,
					 .bytes = 128}};
	struct hth_hf h;
	struct hth_err err;
	enum hth_quant quant;
	uint8_t *blocks = NULL;

	for (size_t i = 0; i < n; i++) {
		list[i + 1] = parts[i];
		list[i + 1].data = parts[i].data != NULL ? parts[i].data : zeros;
		list[i + 1].bytes = hth_st_dtype_bytes(parts[i].dtype);
		for (int d = 0; d < parts[i].n_dims; d++)
			list[i + 1].bytes *= (uint64_t)parts[i].dim[d];
	}
	assert_ok(hth_safetensors_write(temp("model.safetensors"), list, n + 1, NULL, 0, &err));
	assert_ok(hth_file_write(temp("config.json"), config, strlen(config), &err));
	assert_ok(hth_hf_open(&h, temp_dir, &err));
	assert_fails(repack(&h, "b4g64", &quant, &blocks, &err), status, part);
	assert_null(blocks);
	hth_hf_close(&h);
}

static void parts_that_do_not_fit_are_refused(void **state)
{
	static const float nan_scales[4] = {1, 2, NAN, 3};
	const struct hth_st_tensor scales = {.name = "b4g64.scales", .dtype = HTH_ST_F16, .n_dims = 2, .dim = {2, 2}};
	const struct hth_st_tensor biases = {.name = "b4g64.biases", .dtype = HTH_ST_F16, .n_dims = 2, .dim = {2, 2}};
	struct hth_st_tensor p[2] = {scales, biases};

	(void)state;
	expect_parts(p, 0, HTH_ERR_FORMAT, "no scales beside it");
	expect_parts(p, 1, HTH_ERR_FORMAT, "no biases beside it");
	p[0].dim[1] = 3;
	expect_parts(p, 2, HTH_ERR_SHAPE, "b4g64.biases");
	p[0] = scales;
	p[0].dim[0] = 1;
	expect_parts(p, 2, HTH_ERR_SHAPE, "b4g64.scales");
	p[0] = scales;
	p[0].n_dims = 1;
	expect_parts(p, 2, HTH_ERR_SHAPE, "b4g64.scales");
	p[0] = scales;
	p[0].dtype = HTH_ST_I32;
	expect_parts(p, 2, HTH_ERR_SHAPE, "b4g64.scales");
	p[0] = scales;
	p[0].dtype = HTH_ST_F32;
	p[0].data = (const uint8_t *)nan_scales;
	expect_parts(p, 2, HTH_ERR_VALUE, "expected a finite number");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_layout_unpacks_to_mlx_values),
		temp_test(mxfp4_unpacks_to_mlx_values),
		temp_test(experts_one_above_the_other_are_rows),
		temp_test(bad_settings_are_refused_with_the_reason),
		temp_test(parts_that_do_not_fit_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
