/* The safetensors reader on valid and hostile files (RELIABILITY.md 1c), and the writer. */
#include "bytes.h"

#include "base/mem.h"
#include "formats/safetensors.h"

static char path[256];

static enum hth_status open_header(struct hth_safetensors *s, const char *header, size_t data, struct hth_err *err)
{
	struct bytes b = {.n = 0};
	put_str(&b, header);
	put_zeros(&b, data);
	write_plain(temp_path(path, "in.safetensors"), b.data, b.n);
	enum hth_status st = hth_safetensors_open(s, path, err);
	unlink(path);
	return st;
}

static void assert_rejected(const char *header, size_t data, enum hth_status status, const char *part)
{
	struct hth_safetensors s;
	struct hth_err err;
	assert_fails(open_header(&s, header, data, &err), status, part);
	assert_non_null(strstr(err.text, "in.safetensors: "));
	assert_null(s.tensors);
}

#define TWO                                                                                                            \
	"{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"     \
	"\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[24,26]}}"

static void safetensors_reads_tensors_and_metadata(void **state)
{
	(void)state;
	struct hth_safetensors s;
	struct hth_err err;
	assert_ok(open_header(&s, TWO, 26, &err));
	assert_int_equal(s.n_tensors, 2);
	assert_string_equal(s.tensors[0].name, "a");
	assert_int_equal(s.n_meta, 1);
	assert_string_equal(s.meta_keys[0], "format");
	assert_string_equal(s.meta_values[0], "pt");
	const struct hth_st_tensor *t = hth_safetensors_find(&s, "b");
	assert_int_equal(t->dtype, HTH_ST_F32);
	assert_int_equal(t->n_dims, 2);
	assert_int_equal(t->dim[1], 3);
	assert_int_equal(t->bytes, 24);
	assert_int_equal(hth_safetensors_find(&s, "a")->n_dims, 0);
	assert_null(hth_safetensors_find(&s, "c"));
	hth_safetensors_close(&s);
	hth_safetensors_close(&s);
}

static void safetensors_reads_empty_file_and_empty_tensors(void **state)
{
	(void)state;
	struct hth_safetensors s;
	struct hth_err err;
	assert_ok(open_header(&s, "{}", 0, &err));
	assert_int_equal(s.n_tensors, 0);
	assert_null(hth_safetensors_find(&s, "a"));
	hth_safetensors_close(&s);
	assert_ok(open_header(&s,
			      "{\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]},"
			      "\"f\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
			      1, &err));
	assert_int_equal(s.tensors[0].bytes, 0);
	hth_safetensors_close(&s);
}

static void safetensors_reads_the_null_metadata_of_mlx(void **state)
{
	(void)state;
	struct hth_safetensors s;
	struct hth_err err;
	assert_ok(open_header(&s, "{\"__metadata__\":null}", 0, &err));
	assert_int_equal(s.n_meta, 0);
	hth_safetensors_close(&s);
}

static void safetensors_rejects_bad_header_lengths(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {
		0, 1, 3, 100000001, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX - 7, UINT64_MAX};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct bytes b = {.n = 0};
		struct hth_safetensors s;
		struct hth_err err;
		put_u64(&b, lengths[i]);
		put_raw(&b, "{}", 2);
		write_plain(temp_path(path, "in.safetensors"), b.data, b.n);
		assert_fails(hth_safetensors_open(&s, path, &err), HTH_ERR_FORMAT, "header");
		unlink(path);
	}
	assert_rejected(" {}", 0, HTH_ERR_FORMAT, "does not begin with '{'");
	assert_rejected("[]", 0, HTH_ERR_FORMAT, "does not begin with '{'");
	assert_rejected("{},{}", 0, HTH_ERR_FORMAT, "header");
}

#define ONE(dtype, shape, offsets) "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void safetensors_rejects_bad_offsets(void **state)
{
	(void)state;
	assert_rejected(ONE("\"U8\"", "[4]", "[-1,3]"), 4, HTH_ERR_FORMAT, "tensor \"w\": \"data_offsets\"[0]");
	assert_rejected(ONE("\"U8\"", "[4]", "[4,0]"), 4, HTH_ERR_FORMAT, "end before they begin");
	assert_rejected(ONE("\"U8\"", "[4]", "[4]"), 4, HTH_ERR_FORMAT, "\"data_offsets\" has 1 entries");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,4,4]"), 4, HTH_ERR_FORMAT, "\"data_offsets\" has 3 entries");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,5]"), 4, HTH_ERR_FORMAT, "end at 5, the file holds 4 bytes");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,9223372036854775807]"), 4, HTH_ERR_FORMAT, "was it cut?");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,18446744073709551616]"), 4, HTH_ERR_FORMAT, "");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,4.0]"), 4, HTH_ERR_FORMAT, "is no integer");
	assert_rejected(ONE("\"U8\"", "[4]", "\"0,4\""), 4, HTH_ERR_FORMAT, "no array");
}

static void safetensors_rejects_span_that_disagrees_with_shape(void **state)
{
	(void)state;
	assert_rejected(ONE("\"F32\"", "[1]", "[0,2]"), 2, HTH_ERR_FORMAT, "span 2 bytes, shape and dtype F32 need 4");
	assert_rejected(ONE("\"U8\"", "[3]", "[0,4]"), 4, HTH_ERR_FORMAT, "span 4 bytes");
	assert_rejected(ONE("\"U8\"", "[0]", "[0,4]"), 4, HTH_ERR_FORMAT, "span 4 bytes");
}

static void safetensors_rejects_shapes_that_overflow(void **state)
{
	(void)state;
	assert_rejected(ONE("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, HTH_ERR_FORMAT, "too large");
	assert_rejected(ONE("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, HTH_ERR_FORMAT, "too large");
	assert_rejected(ONE("\"U8\"", "[-4]", "[0,4]"), 4, HTH_ERR_FORMAT, "\"shape\"[0] is no integer >= 0");
	assert_rejected(ONE("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, HTH_ERR_FORMAT, "\"shape\" has 9 entries");
}

static void safetensors_rejects_overlap_holes_and_trailing_bytes(void **state)
{
	(void)state;
	assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
			"\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
			6, HTH_ERR_FORMAT, "overlap");
	assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
			"\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
			4, HTH_ERR_FORMAT, "overlap");
	assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
			"\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
			9, HTH_ERR_FORMAT, "tensor \"b\": its data leave a hole");
	assert_rejected(ONE("\"U8\"", "[4]", "[1,5]"), 5, HTH_ERR_FORMAT, "leave a hole");
	assert_rejected(ONE("\"U8\"", "[4]", "[0,4]"), 5, HTH_ERR_FORMAT, "1 bytes follow the last tensor");
	assert_rejected("{}", 1, HTH_ERR_FORMAT, "1 bytes follow the last tensor");
}

static void safetensors_rejects_bad_entries(void **state)
{
	(void)state;
	assert_rejected("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
			"\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
			1, HTH_ERR_FORMAT, "w");
	assert_rejected(ONE("\"F7\"", "[1]", "[0,1]"), 1, HTH_ERR_UNAVAILABLE, "dtype \"F7\" is not supported");
	assert_rejected(ONE("7", "[1]", "[0,1]"), 1, HTH_ERR_FORMAT, "\"dtype\" is missing or no string");
	assert_rejected("{\"w\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, HTH_ERR_FORMAT, "expected an object with");
	assert_rejected("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1, HTH_ERR_FORMAT,
			"expected an object with");
	assert_rejected("{\"w\":7}", 0, HTH_ERR_FORMAT, "expected an object with");
	assert_rejected("{\"__metadata__\":{\"a\":1}}", 0, HTH_ERR_FORMAT, "is no string");
	assert_rejected("{\"__metadata__\":{\"a\":\"x\\u0000y\"}}", 0, HTH_ERR_FORMAT, "without NUL");
	assert_rejected("{\"__metadata__\":[]}", 0, HTH_ERR_FORMAT, "is no object");
	assert_rejected("{\"w\xFF\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, HTH_ERR_FORMAT, "");
	assert_rejected("{\"w\\ud800\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, HTH_ERR_FORMAT,
			"");
	assert_rejected("{\"w\\u0000\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, HTH_ERR_FORMAT,
			"");
}

static void safetensors_rejects_deep_json(void **state)
{
	(void)state;
	char header[4096] = "{\"__metadata__\":";
	size_t n = strlen(header);
	for (int i = 0; i < 1500; i++)
		header[n++] = '[';
	for (int i = 0; i < 1500; i++)
		header[n++] = ']';
	header[n++] = '}';
	header[n] = '\0';
	assert_rejected(header, 0, HTH_ERR_LIMIT, "");
}

static void safetensors_rejects_truncation_at_every_byte(void **state)
{
	(void)state;
	struct bytes b = {.n = 0};
	put_str(&b, TWO);
	put_zeros(&b, 26);
	for (size_t n = 0; n < b.n; n++) {
		struct hth_safetensors s;
		struct hth_err err;
		write_plain(temp_path(path, "in.safetensors"), b.data, n);
		assert_fails(hth_safetensors_open(&s, path, &err), HTH_ERR_FORMAT, "in.safetensors");
		unlink(path);
	}
}

static void safetensors_survives_every_bit_flip_of_the_header(void **state)
{
	(void)state;
	struct bytes full = {.n = 0};
	unsigned opened = 0;
	put_str(&full, TWO);
	put_zeros(&full, 26);
	for (size_t bit = 0; bit < 8 * (full.n - 26); bit++) {
		struct bytes b = full;
		struct hth_safetensors s;
		struct hth_err err;
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		write_plain(temp_path(path, "in.safetensors"), b.data, b.n);
		if (hth_safetensors_open(&s, path, &err) == HTH_OK) {
			unsigned sum = 0;
			for (size_t i = 0; i < s.n_tensors; i++)
				for (size_t k = 0; k < s.tensors[i].bytes; k++)
					sum += s.tensors[i].data[k];
			assert_int_equal(sum, 0);
			opened++;
			hth_safetensors_close(&s);
		}
		unlink(path);
	}
	assert_true(opened > 10 && opened < 4 * full.n);
}

static void safetensors_open_frees_all_when_memory_runs_out(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 500; n++) {
		struct hth_safetensors s;
		struct hth_err err;
		struct bytes b = {.n = 0};
		put_str(&b, TWO);
		put_zeros(&b, 26);
		write_plain(temp_path(path, "in.safetensors"), b.data, b.n);
		hth_mem_fail_at(n, false);
		enum hth_status st = hth_safetensors_open(&s, path, &err);
		hth_mem_fail_at(0, false);
		unlink(path);
		if (st == HTH_OK) {
			hth_safetensors_close(&s);
			assert_true(n > 4);
			return;
		}
		assert_int_equal(st, HTH_ERR_MEMORY);
	}
	fail_msg("never succeeded");
}

static void values_convert_to_f32(void **state)
{
	(void)state;
	struct hth_err err;
	float out[2];
	const double f64[2] = {1.5, -2.0};
	const float f32[2] = {1.5f, -2.0f};
	const uint16_t f16[2] = {0x3E00, 0xC000}, bf16[2] = {0x3FC0, 0xC000};
	const struct hth_st_tensor tensors[] = {
		{"a", HTH_ST_F64, 1, {2}, (const uint8_t *)f64, 16},
		{"a", HTH_ST_F32, 1, {2}, (const uint8_t *)f32, 8},
		{"a", HTH_ST_F16, 1, {2}, (const uint8_t *)f16, 4},
		{"a", HTH_ST_BF16, 1, {2}, (const uint8_t *)bf16, 4},
	};
	for (size_t i = 0; i < 4; i++) {
		out[0] = out[1] = 0;
		assert_ok(hth_st_to_f32(&tensors[i], out, &err));
		assert_true(out[0] == 1.5f && out[1] == -2.0f);
	}
	struct hth_st_tensor ints = {"ids", HTH_ST_I64, 1, {1}, (const uint8_t *)f64, 8};
	assert_fails(hth_st_to_f32(&ints, out, &err), HTH_ERR_UNAVAILABLE, "tensor \"ids\": dtype I64, expected F32");
}

static void written_files_read_back(void **state)
{
	(void)state;
	struct hth_safetensors s;
	struct hth_err err;
	const float one[6] = {1, 2, 3, 4, 5, 6};
	const uint8_t two[3] = {7, 8, 9};
	const struct hth_st_tensor tensors[] = {
		{"z \"quoted\" \xC3\xA9", HTH_ST_F32, 2, {2, 3}, (const uint8_t *)one, 24},
		{"a", HTH_ST_U8, 1, {3}, two, 3},
		{"scalar", HTH_ST_F32, 0, {0}, (const uint8_t *)one, 4},
		{"empty", HTH_ST_F32, 2, {4, 0}, NULL, 0},
	};
	const char *const meta[][2] = {{"format", "pt"}, {"note", "line\nbreak"}};
	assert_ok(hth_safetensors_write(temp_path(path, "out.safetensors"), tensors, 4, meta, 2, &err));
	assert_ok(hth_safetensors_open(&s, path, &err));
	unlink(path);
	assert_int_equal(s.map.data[0] % 8, 0);
	assert_int_equal(s.n_tensors, 4);
	assert_memory_equal(hth_safetensors_find(&s, tensors[0].name)->data, one, 24);
	assert_memory_equal(hth_safetensors_find(&s, "a")->data, two, 3);
	assert_int_equal(hth_safetensors_find(&s, "scalar")->n_dims, 0);
	assert_int_equal(hth_safetensors_find(&s, "empty")->dim[0], 4);
	assert_string_equal(s.meta_values[1], "line\nbreak");
	hth_safetensors_close(&s);
}

static void writer_refuses_what_the_reader_would(void **state)
{
	(void)state;
	struct hth_err err;
	const uint8_t data[4] = {0};
	const struct hth_st_tensor twice[] = {{"a", HTH_ST_U8, 1, {4}, data, 4}, {"a", HTH_ST_U8, 1, {4}, data, 4}};
	const struct hth_st_tensor size[] = {{"a", HTH_ST_U8, 1, {5}, data, 4}};
	const struct hth_st_tensor reserved[] = {{"__metadata__", HTH_ST_U8, 1, {4}, data, 4}};
	const struct hth_st_tensor huge[] = {{"a", HTH_ST_F32, 2, {INT64_MAX, 2}, data, 4}};
	temp_path(path, "out.safetensors");
	assert_fails(hth_safetensors_write(path, twice, 2, NULL, 0, &err), HTH_ERR_EXISTS, "\"a\"");
	assert_fails(hth_safetensors_write(path, size, 1, NULL, 0, &err), HTH_ERR_SHAPE, "4 bytes given");
	assert_fails(hth_safetensors_write(path, reserved, 1, NULL, 0, &err), HTH_ERR_EXISTS, "reserved");
	assert_fails(hth_safetensors_write(path, huge, 1, NULL, 0, &err), HTH_ERR_FORMAT, "too large");
	assert_int_equal(hth_path_kind(path), HTH_PATH_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(safetensors_reads_tensors_and_metadata),
		cmocka_unit_test(safetensors_reads_empty_file_and_empty_tensors),
		cmocka_unit_test(safetensors_reads_the_null_metadata_of_mlx),
		cmocka_unit_test(safetensors_rejects_bad_header_lengths),
		cmocka_unit_test(safetensors_rejects_bad_offsets),
		cmocka_unit_test(safetensors_rejects_span_that_disagrees_with_shape),
		cmocka_unit_test(safetensors_rejects_shapes_that_overflow),
		cmocka_unit_test(safetensors_rejects_overlap_holes_and_trailing_bytes),
		cmocka_unit_test(safetensors_rejects_bad_entries),
		cmocka_unit_test(safetensors_rejects_deep_json),
		cmocka_unit_test(safetensors_rejects_truncation_at_every_byte),
		cmocka_unit_test(safetensors_survives_every_bit_flip_of_the_header),
		cmocka_unit_test(safetensors_open_frees_all_when_memory_runs_out),
		cmocka_unit_test(values_convert_to_f32),
		cmocka_unit_test(written_files_read_back),
		cmocka_unit_test(writer_refuses_what_the_reader_would),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
