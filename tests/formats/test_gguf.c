/* The GGUF reader on valid and on hostile files. Hostile ones are made here, one per class of RELIABILITY.md 1a. */
#include "bytes.h"

#include "base/mem.h"
#include "formats/gguf.h"

static char path[256];

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, U64 = 10 };

static enum hth_status open_bytes(struct hth_gguf *g, const struct bytes *b, struct hth_err *err)
{
	write_plain(temp_path(path, "in.gguf"), b->data, b->n);
	enum hth_status st = hth_gguf_open(g, path, err);
	unlink(path);
	return st;
}

static void assert_rejected(const struct bytes *b, enum hth_status status, const char *part)
{
	struct hth_gguf g;
	struct hth_err err;
	assert_fails(open_bytes(&g, b, &err), status, part);
	assert_non_null(strstr(err.text, "in.gguf: "));
	assert_null(g.kv);
}

static void head(struct bytes *b, uint64_t n_tensors, uint64_t n_kv)
{
	b->n = 0;
	put_raw(b, "GGUF", 4);
	put_u32(b, 3);
	put_u64(b, n_tensors);
	put_u64(b, n_kv);
}

static void kv_u32(struct bytes *b, const char *key, uint32_t value)
{
	put_str(b, key);
	put_u32(b, U32);
	put_u32(b, value);
}

static void info(struct bytes *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
	put_str(b, name);
	put_u32(b, 2);
	put_u64(b, ne0);
	put_u64(b, ne1);
	put_u32(b, type);
	put_u64(b, offset);
}

/* A head, one tensor and `data` zero bytes after the padding. */
static struct bytes one_tensor(uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset, size_t data)
{
	struct bytes b;
	head(&b, 1, 0);
	info(&b, "w", ne0, ne1, type, offset);
	pad_to(&b, 32);
	put_zeros(&b, data);
	return b;
}

/* Keys of every kind, two tensors (f32 (2,3) and q8_0 (32,1)), 0x5A in the data. */
static struct bytes valid(void)
{
	struct bytes b;
	head(&b, 2, 7);
	put_str(&b, "general.architecture");
	put_u32(&b, STRING);
	put_str(&b, "llama");
	kv_u32(&b, "general.alignment", 32);
	put_str(&b, "a.real");
	put_u32(&b, F32);
	put_u32(&b, 0x3FC00000); /* 1.5 */
	put_str(&b, "a.flag");
	put_u32(&b, BOOL);
	put_raw(&b, "\1", 1);
	put_str(&b, "a.words");
	put_u32(&b, ARRAY);
	put_u32(&b, STRING);
	put_u64(&b, 3);
	put_str(&b, "ab");
	put_str(&b, "");
	put_str(&b, "c");
	put_str(&b, "a.numbers");
	put_u32(&b, ARRAY);
	put_u32(&b, I32);
	put_u64(&b, 2);
	put_u32(&b, 7);
	put_u32(&b, (uint32_t)-9);
	put_str(&b, "a.big");
	put_u32(&b, U64);
	put_u64(&b, UINT64_MAX);
	info(&b, "w", 2, 3, 0, 0);
	info(&b, "q", 32, 1, 8, 32);
	pad_to(&b, 32);
	for (size_t i = 0; i < 32 + 34; i++)
		put_raw(&b, "\x5A", 1);
	return b;
}

static void gguf_reads_keys_and_tensors(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b = valid();
	int64_t i;
	double r;
	bool flag;
	struct hth_gguf_str s;
	struct hth_gguf_strings it;
	assert_ok(open_bytes(&g, &b, &err));
	assert_int_equal(g.version, 3);
	assert_int_equal(g.n_kv, 7);
	assert_int_equal(g.n_tensors, 2);
	assert_ok(hth_gguf_string(&g, "general.architecture", &s, &err));
	assert_true(hth_gguf_str_equal(s, "llama"));
	assert_ok(hth_gguf_string(&g, "not.there", &s, &err));
	assert_null(s.data);
	assert_ok(hth_gguf_int(&g, "general.alignment", 1, 64, 0, &i, &err));
	assert_int_equal(i, 32);
	assert_ok(hth_gguf_int(&g, "not.there", 1, 64, -5, &i, &err));
	assert_int_equal(i, -5);
	assert_ok(hth_gguf_real(&g, "a.real", 0, &r, &err));
	assert_true(r == 1.5);
	assert_ok(hth_gguf_bool(&g, "a.flag", false, &flag, &err));
	assert_true(flag);
	assert_ok(hth_gguf_strings(&g, "a.words", &it, &err));
	assert_true(hth_gguf_next(&it, &s) && hth_gguf_str_equal(s, "ab"));
	assert_true(hth_gguf_next(&it, &s) && hth_gguf_str_equal(s, ""));
	assert_true(hth_gguf_next(&it, &s) && hth_gguf_str_equal(s, "c"));
	assert_false(hth_gguf_next(&it, &s));
	const struct hth_gguf_kv *kv = hth_gguf_find(&g, "a.numbers");
	assert_int_equal(kv->n, 2);
	assert_int_equal(hth_gguf_array_int(kv, 1), -9);
	assert_true(hth_gguf_array_real(kv, 0) == 7.0);
	const struct hth_gguf_tensor *t = hth_gguf_tensor(&g, "q");
	assert_int_equal(t->quant, HTH_QUANT_Q8_0);
	assert_int_equal(t->bytes, 34);
	assert_int_equal(t->ne[0], 32);
	assert_int_equal(t->ne[3], 1);
	assert_int_equal(t->data[33], 0x5A);
	assert_int_equal(hth_gguf_tensor(&g, "w")->bytes, 24);
	assert_null(hth_gguf_tensor(&g, "x"));
	hth_gguf_close(&g);
	hth_gguf_close(&g);
}

static void gguf_getters_refuse_wrong_types_and_ranges(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b = valid();
	int64_t i;
	double r;
	bool flag;
	struct hth_gguf_str s;
	struct hth_gguf_strings it;
	assert_ok(open_bytes(&g, &b, &err));
	assert_fails(hth_gguf_int(&g, "a.real", 0, 9, 0, &i, &err), HTH_ERR_FORMAT,
		     "key \"a.real\": found type f32, expected an integer");
	assert_fails(hth_gguf_int(&g, "general.alignment", 1, 31, 0, &i, &err), HTH_ERR_FORMAT,
		     "found 32, expected an integer in 1..31");
	assert_fails(hth_gguf_int(&g, "a.big", 0, INT64_MAX - 1, 0, &i, &err), HTH_ERR_FORMAT, "key \"a.big\"");
	assert_fails(hth_gguf_need_int(&g, "not.there", 0, 9, &i, &err), HTH_ERR_NOTFOUND, "key \"not.there\"");
	assert_fails(hth_gguf_real(&g, "a.flag", 0, &r, &err), HTH_ERR_FORMAT, "found type bool");
	assert_fails(hth_gguf_bool(&g, "a.real", false, &flag, &err), HTH_ERR_FORMAT, "expected bool");
	assert_fails(hth_gguf_string(&g, "a.words", &s, &err), HTH_ERR_FORMAT, "found type array of string");
	assert_fails(hth_gguf_strings(&g, "a.numbers", &it, &err), HTH_ERR_FORMAT, "expected array of string");
	assert_fails(hth_gguf_strings(&g, "not.there", &it, &err), HTH_ERR_NOTFOUND, "missing");
	hth_gguf_close(&g);
}

static void gguf_opens_file_without_tensors_and_without_padding(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b;
	head(&b, 0, 1);
	kv_u32(&b, "a", 1);
	assert_ok(open_bytes(&g, &b, &err));
	assert_int_equal(g.n_tensors, 0);
	hth_gguf_close(&g);
}

static void gguf_reads_version_2(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b = valid();
	b.data[4] = 2;
	assert_ok(open_bytes(&g, &b, &err));
	assert_int_equal(g.version, 2);
	hth_gguf_close(&g);
}

static void gguf_accepts_unsorted_tensors_gaps_and_trailing_bytes(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b;
	head(&b, 2, 0);
	info(&b, "second", 1, 1, 0, 128);
	info(&b, "first", 1, 1, 0, 32);
	pad_to(&b, 32);
	put_zeros(&b, 200);
	assert_ok(open_bytes(&g, &b, &err));
	assert_true(hth_gguf_tensor(&g, "second")->data > hth_gguf_tensor(&g, "first")->data);
	hth_gguf_close(&g);
}

/* G1, G2, G19: counts that no file of this size can hold, refused before anything but the map is allocated. */
static void gguf_rejects_counts_beyond_file_before_allocating(void **state)
{
	(void)state;
	static const uint64_t counts[] = {5,         1u << 20, UINT64_MAX / 48, UINT64_MAX / 48 + 1, (uint64_t)1 << 63,
					  UINT64_MAX};
	struct bytes b = {.n = 0};
	struct hth_gguf g;
	uint64_t start = hth_mem_allocs();
	assert_int_equal(open_bytes(&g, &b, NULL), HTH_ERR_FORMAT);
	uint64_t map_allocs = hth_mem_allocs() - start;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		head(&b, 0, counts[i]);
		kv_u32(&b, "a", 1);
		start = hth_mem_allocs();
		assert_rejected(&b, HTH_ERR_FORMAT, "keys, the file's");
		assert_true(hth_mem_allocs() - start <= map_allocs);
		head(&b, counts[i], 0);
		info(&b, "w", 1, 1, 0, 0);
		start = hth_mem_allocs();
		assert_rejected(&b, HTH_ERR_FORMAT, "tensors, the file's");
		assert_true(hth_mem_allocs() - start <= map_allocs);
	}
}

/* G3 */
static void gguf_rejects_string_longer_than_file(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {3,         1u << 31, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX - 7,
					   UINT64_MAX};
	struct bytes b;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		head(&b, 0, 1);
		put_str(&b, "key");
		put_u32(&b, STRING);
		put_u64(&b, lengths[i]);
		put_raw(&b, "ab", 2);
		assert_rejected(&b, HTH_ERR_FORMAT, "key \"key\": a string at byte 39 says");
		head(&b, 0, 1);
		put_u64(&b, lengths[i] + 20);
		put_zeros(&b, 10);
		assert_rejected(&b, HTH_ERR_FORMAT, "");
	}
}

/* G4 */
static void gguf_rejects_array_longer_than_file(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {3, (uint64_t)1 << 32, (uint64_t)1 << 61, (uint64_t)1 << 62, UINT64_MAX};
	static const uint32_t types[] = {0, 2, U32, BOOL, STRING, U64, 12};
	struct bytes b;
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			head(&b, 0, 1);
			put_str(&b, "key");
			put_u32(&b, ARRAY);
			put_u32(&b, types[t]);
			put_u64(&b, lengths[i]);
			put_zeros(&b, types[t] == 0 || types[t] == BOOL ? 2 : 5);
			assert_rejected(&b, HTH_ERR_FORMAT, "key \"key\": ");
		}
}

static void gguf_rejects_array_of_strings_that_ends_in_the_middle(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 0, 1);
	put_str(&b, "key");
	put_u32(&b, ARRAY);
	put_u32(&b, STRING);
	put_u64(&b, 2);
	put_str(&b, "abcdefgh");
	put_u32(&b, 0);
	assert_rejected(&b, HTH_ERR_FORMAT, "the file ends at byte");
}

/* G5 */
static void gguf_rejects_bad_number_of_dimensions(void **state)
{
	(void)state;
	static const uint32_t dims[] = {0, 5, 6, 0x80000000u, UINT32_MAX};
	struct bytes b;
	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
		head(&b, 1, 0);
		put_str(&b, "w");
		put_u32(&b, dims[i]);
		for (int k = 0; k < 8; k++)
			put_u64(&b, 1);
		put_zeros(&b, 64);
		assert_rejected(&b, HTH_ERR_FORMAT, "tensor \"w\": ");
	}
}

/* G6 */
static void gguf_rejects_zero_and_negative_dimensions(void **state)
{
	(void)state;
	struct bytes b = one_tensor(0, 1, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "tensor \"w\": dimension 0 is 0");
	b = one_tensor(1, 0, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "dimension 1 is 0");
	b = one_tensor(1, (uint64_t)1 << 63, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "dimension 1 is -9223372036854775808");
	b = one_tensor(UINT64_MAX, 1, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "dimension 0 is -1");
}

/* G7, G10: element and byte products that wrap, also under padding. */
static void gguf_rejects_shapes_whose_product_overflows(void **state)
{
	(void)state;
	struct bytes b = one_tensor((uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "product of its dimensions");
	b = one_tensor((uint64_t)1 << 31, (uint64_t)1 << 31, 0, 0, 64); /* elements fit, bytes = 2^64 */
	assert_rejected(&b, HTH_ERR_FORMAT, "size in bytes does not fit 64 bits");
	b = one_tensor(((uint64_t)1 << 62) + 32, 1, 8, 0, 64); /* 34 / 32 bytes an element: fits, but not the file */
	assert_rejected(&b, HTH_ERR_FORMAT, "pass the end of the data");
	b = one_tensor((uint64_t)1 << 62, 1, 0, 0, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "size in bytes does not fit 64 bits");
	b = one_tensor(((uint64_t)1 << 62) - 1, 1, 0, 0, 64); /* 2^64 - 4 bytes: padding would wrap */
	assert_rejected(&b, HTH_ERR_FORMAT, "pass the end of the data");
}

/* G8, G9: each size fits 64 bits, their sum does not. */
static void gguf_rejects_sizes_whose_sum_overflows(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 2, 0);
	info(&b, "a", (uint64_t)1 << 61, 1, 0, 0);
	info(&b, "b", (uint64_t)1 << 61, 1, 0, (uint64_t)1 << 63);
	put_zeros(&b, 128);
	assert_rejected(&b, HTH_ERR_FORMAT, "pass the end of the data");
}

/* G11 */
static void gguf_rejects_tensor_past_end_of_file(void **state)
{
	(void)state;
	static const uint64_t offsets[] = {32, 64, (uint64_t)1 << 32, UINT64_MAX - 31, UINT64_MAX - 63};
	struct bytes b = one_tensor(8, 1, 0, 0, 31);
	assert_rejected(&b, HTH_ERR_FORMAT,
			"tensor \"w\": its 32 bytes at offset 0 pass the end of the data (31 bytes)");
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		b = one_tensor(8, 1, 0, offsets[i], 63);
		assert_rejected(&b, HTH_ERR_FORMAT, "pass the end of the data");
	}
}

static void gguf_rejects_file_that_ends_before_its_data(void **state)
{
	(void)state;
	struct bytes b = one_tensor(8, 1, 0, 0, 0);
	assert_rejected(&b, HTH_ERR_FORMAT, "pass the end of the data (0 bytes)");
}

/* G13 */
static void gguf_rejects_bad_alignment(void **state)
{
	(void)state;
	static const uint32_t values[] = {0, 1, 4, 24, 33, 1u << 21, 1u << 31, UINT32_MAX};
	struct bytes b;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		head(&b, 0, 1);
		kv_u32(&b, "general.alignment", values[i]);
		assert_rejected(&b, HTH_ERR_FORMAT, "key \"general.alignment\": found");
	}
	head(&b, 0, 1);
	put_str(&b, "general.alignment");
	put_u32(&b, I32);
	put_u32(&b, 32);
	assert_rejected(&b, HTH_ERR_FORMAT, "found type i32, expected u32");
	head(&b, 0, 1);
	put_str(&b, "general.alignment");
	put_u32(&b, ARRAY);
	put_u32(&b, U32);
	put_u64(&b, 0);
	assert_rejected(&b, HTH_ERR_FORMAT, "found type array, expected u32");
}

static void gguf_uses_the_alignment_of_the_file(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b;
	head(&b, 1, 1);
	kv_u32(&b, "general.alignment", 64);
	info(&b, "w", 1, 1, 0, 64);
	pad_to(&b, 64);
	put_zeros(&b, 64);
	put_le(&b, 0x40000000, 4);
	assert_ok(open_bytes(&g, &b, &err));
	assert_int_equal(g.tensors[0].data[3], 0x40);
	hth_gguf_close(&g);
}

/* G14 */
static void gguf_rejects_unknown_tensor_types_by_name(void **state)
{
	(void)state;
	static const uint32_t types[] = {4, 5, 31, 37, 41, 1000, 0x7FFFFFFF, 0x80000000u, UINT32_MAX};
	struct bytes b;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		b = one_tensor(256, 1, types[i], 0, 2048);
		assert_rejected(&b, HTH_ERR_UNAVAILABLE, "tensor \"w\": ggml type id");
	}
	b = one_tensor(256, 1, 23, 0, 2048);
	assert_rejected(&b, HTH_ERR_UNAVAILABLE, "ggml type id 23 (IQ4_XS) is not supported");
}

static void gguf_rejects_rows_that_are_no_whole_blocks(void **state)
{
	(void)state;
	struct bytes b = one_tensor(33, 1, 8, 0, 2048);
	assert_rejected(&b, HTH_ERR_FORMAT, "rows of 33 elements, expected a multiple of 32 for q8_0");
	b = one_tensor(128, 2, 12, 0, 2048);
	assert_rejected(&b, HTH_ERR_FORMAT, "expected a multiple of 256 for q4_k");
}

static void gguf_rejects_unknown_value_types(void **state)
{
	(void)state;
	static const uint32_t types[] = {13, 255, 0x80000000u, UINT32_MAX};
	struct bytes b;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		head(&b, 0, 1);
		put_str(&b, "key");
		put_u32(&b, types[i]);
		put_zeros(&b, 64);
		assert_rejected(&b, HTH_ERR_FORMAT, "does not exist, expected 0..12");
		head(&b, 0, 1);
		put_str(&b, "key");
		put_u32(&b, ARRAY);
		put_u32(&b, types[i]);
		put_zeros(&b, 64);
		assert_rejected(&b, HTH_ERR_FORMAT, "does not exist, expected 0..12");
	}
}

static void gguf_rejects_bools_other_than_0_and_1(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 0, 1);
	put_str(&b, "key");
	put_u32(&b, BOOL);
	put_raw(&b, "\2", 1);
	assert_rejected(&b, HTH_ERR_FORMAT, "a bool holds 2");
}

/* G15 */
static void gguf_rejects_duplicate_keys(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 0, 3);
	kv_u32(&b, "same", 1);
	kv_u32(&b, "other", 1);
	kv_u32(&b, "same", 2);
	assert_rejected(&b, HTH_ERR_FORMAT, "key \"same\" stands twice");
}

static void gguf_rejects_duplicate_tensor_names(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 2, 0);
	info(&b, "w", 1, 1, 0, 0);
	info(&b, "w", 1, 1, 0, 32);
	pad_to(&b, 32);
	put_zeros(&b, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "tensor \"w\" stands twice");
}

static void gguf_rejects_bad_keys_and_names(void **state)
{
	(void)state;
	char name[65] = {0};
	struct hth_gguf g;
	struct hth_err err;
	struct bytes b;
	head(&b, 0, 1);
	kv_u32(&b, "", 1);
	put_zeros(&b, 8);
	assert_rejected(&b, HTH_ERR_FORMAT, "key is empty");
	head(&b, 0, 1);
	put_u64(&b, 3);
	put_raw(&b, "a\0b", 3);
	put_u32(&b, U32);
	put_u32(&b, 1);
	assert_rejected(&b, HTH_ERR_FORMAT, "is not UTF-8 text without NUL");
	head(&b, 0, 1);
	kv_u32(&b, "a\xFF\x1B[2J", 1);
	assert_rejected(&b, HTH_ERR_FORMAT, "a\\xff\\x1b[2J");
	memset(name, 'n', 64);
	head(&b, 1, 0);
	info(&b, name, 1, 1, 0, 0);
	pad_to(&b, 32);
	put_zeros(&b, 4);
	assert_rejected(&b, HTH_ERR_FORMAT, "has 64 bytes, expected at most 63");
	name[63] = '\0';
	head(&b, 1, 0);
	info(&b, name, 1, 1, 0, 0);
	pad_to(&b, 32);
	put_zeros(&b, 4);
	assert_ok(open_bytes(&g, &b, &err));
	hth_gguf_close(&g);
}

/* G16 */
static void gguf_rejects_nested_arrays(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 0, 1);
	put_str(&b, "key");
	for (int i = 0; i < 100; i++) {
		put_u32(&b, ARRAY);
		put_u64(&b, 1);
	}
	assert_rejected(&b, HTH_ERR_FORMAT, "key \"key\": ");
	head(&b, 0, 1);
	put_str(&b, "key");
	put_u32(&b, ARRAY);
	put_u32(&b, ARRAY);
	put_u64(&b, 1);
	put_zeros(&b, 20);
	assert_rejected(&b, HTH_ERR_FORMAT, "(array) inside an array");
}

/* G17 */
static void gguf_rejects_bad_magic_and_versions(void **state)
{
	(void)state;
	static const struct {
		uint32_t version;
		enum hth_status status;
		const char *text;
	} bad[] = {
		{0, HTH_ERR_FORMAT, "version 0, expected 2 or 3"},
		{1, HTH_ERR_FORMAT, "version 1, expected 2 or 3; convert"},
		{4, HTH_ERR_FORMAT, "version 4"},
		{0x03000000, HTH_ERR_UNAVAILABLE, "big-endian"},
		{UINT32_MAX, HTH_ERR_FORMAT, "version 4294967295"},
	};
	struct bytes b = valid();
	memcpy(b.data, "GGML", 4);
	assert_rejected(&b, HTH_ERR_FORMAT, "begins with \"GGML\", expected \"GGUF\"");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		b = valid();
		b.n = 4;
		put_u32(&b, bad[i].version);
		b.n = 300;
		assert_rejected(&b, bad[i].status, bad[i].text);
	}
}

static void gguf_rejects_truncation_at_every_byte(void **state)
{
	(void)state;
	struct bytes full = valid();
	for (size_t n = 0; n < full.n; n++) {
		struct bytes b = full;
		b.n = n;
		assert_rejected(&b, HTH_ERR_FORMAT, "");
	}
}

/* Uses everything an open file promises: under the sanitizers a wrong promise is a crash. */
static unsigned touch(const struct hth_gguf *g)
{
	unsigned sum = 0;
	for (size_t i = 0; i < g->n_kv; i++) {
		const struct hth_gguf_kv *kv = &g->kv[i];
		for (size_t k = 0; k < kv->data_bytes; k++)
			sum += kv->data[k];
		struct hth_gguf_strings it = {kv->data, kv->data + kv->data_bytes, kv->n};
		struct hth_gguf_str s;
		if (kv->type == HTH_GGUF_ARRAY && kv->elem_type == HTH_GGUF_STRING)
			while (hth_gguf_next(&it, &s))
				sum += (unsigned)s.bytes;
		else if (kv->type != HTH_GGUF_STRING && kv->n > 0)
			sum += (unsigned)hth_gguf_array_int(kv, kv->n - 1);
	}
	for (size_t i = 0; i < g->n_tensors; i++)
		for (size_t k = 0; k < g->tensors[i].bytes; k++)
			sum += g->tensors[i].data[k];
	return sum;
}

static void gguf_survives_every_bit_flip_of_the_header(void **state)
{
	(void)state;
	struct bytes full = valid();
	unsigned opened = 0, sum = 0;
	for (size_t bit = 0; bit < 8 * (full.n - 66); bit++) {
		struct bytes b = full;
		struct hth_gguf g;
		struct hth_err err;
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		enum hth_status st = open_bytes(&g, &b, &err);
		if (st == HTH_OK) {
			opened++;
			sum += touch(&g);
			hth_gguf_close(&g);
		} else {
			assert_true(st == HTH_ERR_FORMAT || st == HTH_ERR_UNAVAILABLE);
			assert_non_null(strstr(err.text, "in.gguf: "));
		}
	}
	/* Values and letters of names may change freely, so some open; structure may not, so many do not. */
	assert_true(opened > 500 && sum > 0);
	assert_true(opened < 4 * (full.n - 66));
}

/* G18 */
static void gguf_open_frees_all_when_memory_runs_out(void **state)
{
	(void)state;
	struct bytes b = valid();
	for (uint64_t n = 1; n < 100; n++) {
		struct hth_gguf g;
		struct hth_err err;
		write_plain(temp_path(path, "in.gguf"), b.data, b.n);
		hth_mem_fail_at(n, false);
		enum hth_status st = hth_gguf_open(&g, path, &err);
		hth_mem_fail_at(0, false);
		unlink(path);
		if (st == HTH_OK) {
			hth_gguf_close(&g);
			assert_true(n > 4);
			return;
		}
		assert_int_equal(st, HTH_ERR_MEMORY);
	}
	fail_msg("never succeeded");
}

/* G20 */
static void gguf_rejects_overlapping_tensors(void **state)
{
	(void)state;
	struct bytes b;
	head(&b, 2, 0);
	info(&b, "a", 16, 1, 0, 0); /* 64 bytes */
	info(&b, "b", 1, 1, 0, 32);
	pad_to(&b, 32);
	put_zeros(&b, 128);
	assert_rejected(&b, HTH_ERR_FORMAT, "tensors \"a\" and \"b\" overlap");
	head(&b, 2, 0);
	info(&b, "a", 1, 1, 0, 0);
	info(&b, "b", 1, 1, 0, 0);
	pad_to(&b, 32);
	put_zeros(&b, 128);
	assert_rejected(&b, HTH_ERR_FORMAT, "overlap");
}

static void gguf_rejects_unaligned_offsets(void **state)
{
	(void)state;
	struct bytes b = one_tensor(1, 1, 0, 4, 64);
	assert_rejected(&b, HTH_ERR_FORMAT, "offset 4 is no multiple of the alignment 32");
}

static void gguf_open_refuses_what_is_no_file(void **state)
{
	(void)state;
	struct hth_gguf g;
	struct hth_err err;
	assert_int_not_equal(hth_gguf_open(&g, "/nonexistent/x.gguf", &err), HTH_OK);
	assert_int_not_equal(hth_gguf_open(&g, "/dev/zero", &err), HTH_OK);
	assert_int_not_equal(hth_gguf_open(&g, "/tmp", &err), HTH_OK);
}

static void gguf_opens_the_fixtures(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		unsigned tokens;
	} files[] = {{"gpt2", 50257}, {"llama2", 32000}, {"smollm2", 49152}, {"gemma3", 262144}};
	if (fixtures_dir() == NULL)
		skip_because("fixtures are not unpacked");
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char file[512];
		struct hth_gguf g;
		struct hth_err err;
		struct hth_gguf_strings it;
		struct hth_gguf_str s;
		unsigned n = 0;
		snprintf(file, sizeof(file), "%s/tokenizers/%s.vocab.gguf", fixtures_dir(), files[i].name);
		assert_ok(hth_gguf_open(&g, file, &err));
		assert_ok(hth_gguf_strings(&g, "tokenizer.ggml.tokens", &it, &err));
		while (hth_gguf_next(&it, &s))
			n++;
		assert_int_equal(n, files[i].tokens);
		hth_gguf_close(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gguf_reads_keys_and_tensors),
		cmocka_unit_test(gguf_getters_refuse_wrong_types_and_ranges),
		cmocka_unit_test(gguf_opens_file_without_tensors_and_without_padding),
		cmocka_unit_test(gguf_reads_version_2),
		cmocka_unit_test(gguf_accepts_unsorted_tensors_gaps_and_trailing_bytes),
		cmocka_unit_test(gguf_rejects_counts_beyond_file_before_allocating),
		cmocka_unit_test(gguf_rejects_string_longer_than_file),
		cmocka_unit_test(gguf_rejects_array_longer_than_file),
		cmocka_unit_test(gguf_rejects_array_of_strings_that_ends_in_the_middle),
		cmocka_unit_test(gguf_rejects_bad_number_of_dimensions),
		cmocka_unit_test(gguf_rejects_zero_and_negative_dimensions),
		cmocka_unit_test(gguf_rejects_shapes_whose_product_overflows),
		cmocka_unit_test(gguf_rejects_sizes_whose_sum_overflows),
		cmocka_unit_test(gguf_rejects_tensor_past_end_of_file),
		cmocka_unit_test(gguf_rejects_file_that_ends_before_its_data),
		cmocka_unit_test(gguf_rejects_bad_alignment),
		cmocka_unit_test(gguf_uses_the_alignment_of_the_file),
		cmocka_unit_test(gguf_rejects_unknown_tensor_types_by_name),
		cmocka_unit_test(gguf_rejects_rows_that_are_no_whole_blocks),
		cmocka_unit_test(gguf_rejects_unknown_value_types),
		cmocka_unit_test(gguf_rejects_bools_other_than_0_and_1),
		cmocka_unit_test(gguf_rejects_duplicate_keys),
		cmocka_unit_test(gguf_rejects_duplicate_tensor_names),
		cmocka_unit_test(gguf_rejects_bad_keys_and_names),
		cmocka_unit_test(gguf_rejects_nested_arrays),
		cmocka_unit_test(gguf_rejects_bad_magic_and_versions),
		cmocka_unit_test(gguf_rejects_truncation_at_every_byte),
		cmocka_unit_test(gguf_survives_every_bit_flip_of_the_header),
		cmocka_unit_test(gguf_open_frees_all_when_memory_runs_out),
		cmocka_unit_test(gguf_rejects_overlapping_tensors),
		cmocka_unit_test(gguf_rejects_unaligned_offsets),
		cmocka_unit_test(gguf_open_refuses_what_is_no_file),
		cmocka_unit_test(gguf_opens_the_fixtures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
