/* The GGUF writer: what it writes reads back, what the reader would refuse it refuses, and it leaves no half files. */
#include "bytes.h"

#include "base/mem.h"
#include "formats/gguf.h"

static char path[256];

static const int64_t row4[2] = {4, 2}, block[1] = {32};

static void put_example(struct hth_gguf_writer *w, struct hth_err *err_out)
{
	struct hth_err err = {0};
	static const uint8_t words[] = {2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 0};
	static const int32_t numbers[3] = {1, -2, 3};
	assert_ok(hth_gguf_put_string(w, "general.architecture", "llama", 5, &err));
	assert_ok(hth_gguf_put_int(w, "a.u8", HTH_GGUF_U8, 255, &err));
	assert_ok(hth_gguf_put_int(w, "a.i16", HTH_GGUF_I16, -32768, &err));
	assert_ok(hth_gguf_put_int(w, "a.u32", HTH_GGUF_U32, 4294967295, &err));
	assert_ok(hth_gguf_put_int(w, "a.i64", HTH_GGUF_I64, INT64_MIN, &err));
	assert_ok(hth_gguf_put_f32(w, "a.real", 0.1f, &err));
	assert_ok(hth_gguf_put_bool(w, "a.flag", true, &err));
	assert_ok(hth_gguf_put_string(w, "a.empty", "", 0, &err));
	assert_ok(hth_gguf_put_array(w, "a.words", HTH_GGUF_STRING, 2, words, sizeof(words), &err));
	assert_ok(hth_gguf_put_array(w, "a.numbers", HTH_GGUF_I32, 3, numbers, sizeof(numbers), &err));
	assert_ok(hth_gguf_put_array(w, "a.nothing", HTH_GGUF_U8, 0, NULL, 0, &err));
	assert_ok(hth_gguf_add_tensor(w, "first", 2, row4, HTH_QUANT_F32, &err));
	assert_ok(hth_gguf_add_tensor(w, "second", 1, block, HTH_QUANT_Q8_0, &err));
	*err_out = err;
}

static void written_files_read_back(void **state)
{
	(void)state;
	struct hth_gguf_writer *w;
	struct hth_err err;
	struct hth_gguf g;
	struct hth_gguf_str s;
	struct hth_gguf_strings it;
	int64_t i;
	double r;
	bool flag;
	static const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t q8[34];
	memset(q8, 0x11, sizeof(q8));
	assert_ok(hth_gguf_writer_new(temp_path(path, "out.gguf"), &w, &err));
	put_example(w, &err);
	assert_ok(hth_gguf_write_data(w, values, 12, &err)); /* in pieces */
	assert_ok(hth_gguf_write_data(w, (const uint8_t *)values + 12, 20, &err));
	assert_ok(hth_gguf_write_data(w, q8, 34, &err));
	assert_int_equal(hth_path_kind(path), HTH_PATH_NONE); /* nothing stands there before commit */
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(&g, path, &err));
	unlink(path);
	assert_int_equal(g.version, 3);
	assert_int_equal(g.n_kv, 11);
	assert_ok(hth_gguf_int(&g, "a.u8", 0, 255, 0, &i, &err));
	assert_int_equal(i, 255);
	assert_ok(hth_gguf_int(&g, "a.i16", INT64_MIN, 0, 0, &i, &err));
	assert_int_equal(i, -32768);
	assert_ok(hth_gguf_int(&g, "a.u32", 0, INT64_MAX, 0, &i, &err));
	assert_true(i == 4294967295);
	assert_ok(hth_gguf_int(&g, "a.i64", INT64_MIN, 0, 0, &i, &err));
	assert_true(i == INT64_MIN);
	assert_ok(hth_gguf_real(&g, "a.real", 0, &r, &err));
	assert_true((float)r == 0.1f);
	assert_ok(hth_gguf_bool(&g, "a.flag", false, &flag, &err));
	assert_true(flag);
	assert_ok(hth_gguf_string(&g, "a.empty", &s, &err));
	assert_true(s.data != NULL && s.bytes == 0);
	assert_ok(hth_gguf_strings(&g, "a.words", &it, &err));
	assert_true(hth_gguf_next(&it, &s) && hth_gguf_str_equal(s, "ab"));
	assert_true(hth_gguf_next(&it, &s) && s.bytes == 0);
	assert_int_equal(hth_gguf_array_int(hth_gguf_find(&g, "a.numbers"), 1), -2);
	assert_int_equal(hth_gguf_find(&g, "a.nothing")->n, 0);
	assert_memory_equal(hth_gguf_tensor(&g, "first")->data, values, 32);
	assert_memory_equal(hth_gguf_tensor(&g, "second")->data, q8, 34);
	assert_int_equal((hth_gguf_tensor(&g, "second")->data - g.map.data) % 32, 0);
	hth_gguf_close(&g);
}

/* Every key of one file put into another; alignment 64 moves the data of the copy as well. */
static void keys_copy_from_file_to_file_with_the_alignment(void **state)
{
	(void)state;
	struct hth_gguf_writer *w;
	struct hth_err err;
	struct hth_gguf g, copy;
	char second[256];
	const uint8_t data[66] = {7};
	assert_ok(hth_gguf_writer_new(temp_path(path, "one.gguf"), &w, &err));
	assert_ok(hth_gguf_put_int(w, "general.alignment", HTH_GGUF_U32, 64, &err));
	put_example(w, &err);
	assert_ok(hth_gguf_write_data(w, data, 32, &err));
	assert_ok(hth_gguf_write_data(w, data + 32, 34, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(&g, path, &err));
	assert_int_equal(g.alignment, 64);
	assert_int_equal((g.tensors[1].data - g.map.data) % 64, 0);
	assert_ok(hth_gguf_writer_new(temp_path(second, "two.gguf"), &w, &err));
	for (size_t i = 0; i < g.n_kv; i++)
		assert_ok(hth_gguf_put_kv(w, &g.kv[i], &err));
	char name[64] = {0};
	for (size_t i = 0; i < g.n_tensors; i++) {
		memcpy(name, g.tensors[i].name.data, g.tensors[i].name.bytes);
		name[g.tensors[i].name.bytes] = '\0';
		assert_ok(hth_gguf_add_tensor(w, name, g.tensors[i].n_dims, g.tensors[i].ne, g.tensors[i].quant, &err));
	}
	for (size_t i = 0; i < g.n_tensors; i++)
		assert_ok(hth_gguf_write_data(w, g.tensors[i].data, g.tensors[i].bytes, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(&copy, second, &err));
	assert_int_equal(copy.map.bytes, g.map.bytes);
	assert_memory_equal(copy.map.data, g.map.data, g.map.bytes);
	hth_gguf_close(&g);
	hth_gguf_close(&copy);
	unlink(path);
	unlink(second);
}

static void file_without_tensors_can_be_written(void **state)
{
	(void)state;
	struct hth_gguf_writer *w;
	struct hth_err err;
	struct hth_gguf g;
	assert_ok(hth_gguf_writer_new(temp_path(path, "out.gguf"), &w, &err));
	assert_ok(hth_gguf_put_bool(w, "a", false, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(&g, path, &err));
	assert_int_equal(g.n_kv, 1);
	hth_gguf_close(&g);
	unlink(path);
}

/* One bad call after a good start; commit must then fail and leave nothing. */
static void assert_spoils(enum hth_status (*bad)(struct hth_gguf_writer *w, struct hth_err *err),
			  enum hth_status status, const char *part)
{
	struct hth_gguf_writer *w;
	struct hth_err err;
	assert_ok(hth_gguf_writer_new(temp_path(path, "out.gguf"), &w, &err));
	assert_ok(hth_gguf_put_bool(w, "a", false, &err));
	assert_fails(bad(w, &err), status, part);
	assert_int_equal(hth_gguf_writer_commit(w, &err), status);
	assert_int_equal(hth_path_kind(path), HTH_PATH_NONE);
}

static enum hth_status value_too_large(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_int(w, "k", HTH_GGUF_U8, 256, err);
}

static enum hth_status value_negative(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_int(w, "k", HTH_GGUF_U32, -1, err);
}

static enum hth_status no_integer_type(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_int(w, "k", HTH_GGUF_F32, 1, err);
}

static enum hth_status empty_key(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_bool(w, "", true, err);
}

static enum hth_status array_too_short(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_array(w, "k", HTH_GGUF_U32, 3, "abcdefgh", 8, err);
}

static enum hth_status array_too_long(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_array(w, "k", HTH_GGUF_U32, 1, "abcdefgh", 8, err);
}

static enum hth_status bad_alignment(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_put_int(w, "general.alignment", HTH_GGUF_U32, 48, err);
}

static enum hth_status late_alignment(struct hth_gguf_writer *w, struct hth_err *err)
{
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_F32, err), HTH_OK);
	return hth_gguf_put_int(w, "general.alignment", HTH_GGUF_U32, 64, err);
}

static enum hth_status part_of_a_block(struct hth_gguf_writer *w, struct hth_err *err)
{
	static const int64_t ne[1] = {33};
	return hth_gguf_add_tensor(w, "t", 1, ne, HTH_QUANT_Q8_0, err);
}

static enum hth_status no_elements(struct hth_gguf_writer *w, struct hth_err *err)
{
	static const int64_t ne[2] = {32, 0};
	return hth_gguf_add_tensor(w, "t", 2, ne, HTH_QUANT_Q8_0, err);
}

static enum hth_status huge_tensor(struct hth_gguf_writer *w, struct hth_err *err)
{
	static const int64_t ne[2] = {INT64_MAX / 32 * 32, 32};
	return hth_gguf_add_tensor(w, "t", 2, ne, HTH_QUANT_Q8_0, err);
}

static enum hth_status long_name(struct hth_gguf_writer *w, struct hth_err *err)
{
	return hth_gguf_add_tensor(w, "0123456789012345678901234567890123456789012345678901234567890123", 1, block,
				   HTH_QUANT_F32, err);
}

static enum hth_status same_key_twice(struct hth_gguf_writer *w, struct hth_err *err)
{
	assert_int_equal(hth_gguf_put_bool(w, "a", true, err), HTH_OK);
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err), HTH_OK);
	return hth_gguf_write_data(w, "x", 1, err);
}

static enum hth_status same_tensor_twice(struct hth_gguf_writer *w, struct hth_err *err)
{
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err), HTH_OK);
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err), HTH_OK);
	return hth_gguf_write_data(w, "x", 1, err);
}

static enum hth_status too_much_data(struct hth_gguf_writer *w, struct hth_err *err)
{
	static const uint8_t data[35] = {0};
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err), HTH_OK);
	return hth_gguf_write_data(w, data, 35, err);
}

static enum hth_status key_after_data(struct hth_gguf_writer *w, struct hth_err *err)
{
	assert_int_equal(hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err), HTH_OK);
	assert_int_equal(hth_gguf_write_data(w, "x", 1, err), HTH_OK);
	return hth_gguf_put_bool(w, "late", true, err);
}

static void writer_refuses_what_the_reader_would(void **state)
{
	(void)state;
	assert_spoils(value_too_large, HTH_ERR_VALUE, "key \"k\": 256 does not fit u8");
	assert_spoils(value_negative, HTH_ERR_VALUE, "-1 does not fit u32");
	assert_spoils(no_integer_type, HTH_ERR_USAGE, "f32 is no integer type");
	assert_spoils(empty_key, HTH_ERR_FORMAT, "key is empty");
	assert_spoils(array_too_short, HTH_ERR_FORMAT, "3 values of type u32");
	assert_spoils(array_too_long, HTH_ERR_USAGE, "4 bytes follow the value");
	assert_spoils(bad_alignment, HTH_ERR_FORMAT, "power of two");
	assert_spoils(late_alignment, HTH_ERR_USAGE, "after a tensor");
	assert_spoils(part_of_a_block, HTH_ERR_SHAPE, "tensor \"t\": a row of 33 elements");
	assert_spoils(no_elements, HTH_ERR_SHAPE, "dimension 1 is 0");
	assert_spoils(huge_tensor, HTH_ERR_LIMIT, "does not fit");
	assert_spoils(long_name, HTH_ERR_FORMAT, "has 64 bytes");
	assert_spoils(same_key_twice, HTH_ERR_EXISTS, "key \"a\" was given twice");
	assert_spoils(same_tensor_twice, HTH_ERR_EXISTS, "tensor \"t\" was given twice");
	assert_spoils(too_much_data, HTH_ERR_SHAPE, "lacks only 34");
	assert_spoils(key_after_data, HTH_ERR_USAGE, "metadata after tensor data");
}

static void missing_data_fails_at_commit_and_keeps_the_old_file(void **state)
{
	(void)state;
	struct hth_gguf_writer *w;
	struct hth_err err;
	write_plain(temp_path(path, "out.gguf"), "old", 3);
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	put_example(w, &err);
	assert_fails(hth_gguf_writer_commit(w, &err), HTH_ERR_SHAPE, "data of 0 of 2 tensors came");
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	put_example(w, &err);
	hth_gguf_writer_abort(w);
	hth_gguf_writer_abort(NULL);
	struct hth_map map;
	assert_ok(hth_map_open(&map, path, &err));
	assert_int_equal(map.bytes, 3);
	hth_map_close(&map);
	unlink(path);
	assert_int_not_equal(hth_gguf_writer_new("/nonexistent/x.gguf", &w, &err), HTH_OK);
	assert_null(w);
}

static enum hth_status write_small(struct hth_err *err)
{
	struct hth_gguf_writer *w;
	const uint8_t data[34] = {0};
	enum hth_status st = hth_gguf_writer_new(path, &w, err);
	if (st == HTH_OK)
		st = hth_gguf_put_string(w, "k", "value", 5, err);
	if (st == HTH_OK)
		st = hth_gguf_add_tensor(w, "t", 1, block, HTH_QUANT_Q8_0, err);
	if (st == HTH_OK)
		st = hth_gguf_write_data(w, data, 34, err);
	if (w == NULL)
		return st;
	if (st == HTH_OK)
		return hth_gguf_writer_commit(w, err);
	hth_gguf_writer_abort(w);
	return st;
}

static void failed_allocations_leave_no_file_and_no_leak(void **state)
{
	(void)state;
	struct hth_err err;
	enum hth_status st = HTH_ERR_MEMORY;
	uint64_t n;
	temp_path(path, "out.gguf");
	for (n = 1; st != HTH_OK && n < 200; n++) {
		unlink(path);
		hth_mem_fail_at(n, false);
		st = write_small(&err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
	}
	assert_int_equal(st, HTH_OK);
	assert_true(n > 8);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_files_read_back),
		cmocka_unit_test(keys_copy_from_file_to_file_with_the_alignment),
		cmocka_unit_test(file_without_tensors_can_be_written),
		cmocka_unit_test(writer_refuses_what_the_reader_would),
		cmocka_unit_test(missing_data_fails_at_commit_and_keeps_the_old_file),
		cmocka_unit_test(failed_allocations_leave_no_file_and_no_leak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
