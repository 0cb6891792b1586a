/* The safetensors reader: the header is parsed and every tensor's place checked before anything is handed out. What
 * the reference reader refuses is refused here too: holes, overlaps and trailing bytes (files that are two things at
 * once), duplicate names, spans that disagree with shape and dtype. The writer is in safetensors_write.c.
 * Source: huggingface/safetensors README, section Format. */
#include "formats/safetensors_int.h"

#include "base/checked.h"
#include "base/json.h"
#include "base/mem.h"
#include "quant/quant.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	uint8_t bytes;
} dtypes[] = {
	[HTH_ST_F64] = {"F64", 8},   [HTH_ST_F32] = {"F32", 4},         [HTH_ST_F16] = {"F16", 2},
	[HTH_ST_BF16] = {"BF16", 2}, [HTH_ST_I64] = {"I64", 8},         [HTH_ST_I32] = {"I32", 4},
	[HTH_ST_I16] = {"I16", 2},   [HTH_ST_I8] = {"I8", 1},           [HTH_ST_U64] = {"U64", 8},
	[HTH_ST_U32] = {"U32", 4},   [HTH_ST_U16] = {"U16", 2},         [HTH_ST_U8] = {"U8", 1},
	[HTH_ST_BOOL] = {"BOOL", 1}, [HTH_ST_F8_E4M3] = {"F8_E4M3", 1}, [HTH_ST_F8_E5M2] = {"F8_E5M2", 1},
};

enum { N_DTYPES = sizeof(dtypes) / sizeof(dtypes[0]) };

const char *hth_st_dtype_name(enum hth_st_dtype t)
{
	return (size_t)t < N_DTYPES ? dtypes[t].name : "?";
}

size_t hth_st_dtype_bytes(enum hth_st_dtype t)
{
	return (size_t)t < N_DTYPES ? dtypes[t].bytes : 0;
}

enum hth_status hth_st_shape_bytes(enum hth_st_dtype dtype, int n_dims, const int64_t *dim, uint64_t *bytes,
				   struct hth_err *err)
{
	uint64_t n = hth_st_dtype_bytes(dtype);
	if (n == 0 || n_dims < 0 || n_dims > HTH_ST_MAX_DIMS)
		return hth_fail(err, HTH_ERR_FORMAT, "%d dimensions of dtype %s, expected at most %d of a known dtype",
				n_dims, hth_st_dtype_name(dtype), HTH_ST_MAX_DIMS);
	for (int i = 0; i < n_dims; i++)
		if (dim[i] < 0 || !hth_mul_u64(n, (uint64_t)dim[i], &n) || n > INT64_MAX)
			return hth_fail(err, HTH_ERR_FORMAT, "dimension %d (%lld) is negative or too large", i,
					(long long)dim[i]);
	*bytes = n;
	return HTH_OK;
}

/* The header's text lies in [8, 8 + *bytes). */
static enum hth_status header_span(const struct hth_map *map, size_t *bytes, struct hth_err *err)
{
	uint64_t n = 0;
	if (map->bytes < 8)
		return hth_fail(err, HTH_ERR_FORMAT, "%zu bytes, expected at least 8; was the file cut?", map->bytes);
	for (int i = 7; i >= 0; i--)
		n = n << 8 | map->data[i];
	if (n < 2 || n > HTH_ST_MAX_HEADER_BYTES)
		return hth_fail(err, HTH_ERR_FORMAT, "header length %llu, expected 2..%u; not a safetensors file?",
				(unsigned long long)n, HTH_ST_MAX_HEADER_BYTES);
	if (n > map->bytes - 8)
		return hth_fail(err, HTH_ERR_FORMAT, "header of %llu bytes, the file has %zu; was it cut?",
				(unsigned long long)n, map->bytes);
	if (map->data[8] != '{')
		return hth_fail(err, HTH_ERR_FORMAT, "the header does not begin with '{'; not a safetensors file?");
	*bytes = (size_t)n;
	return HTH_OK;
}

static enum hth_status read_dtype(const json_t *value, enum hth_st_dtype *out, struct hth_err *err)
{
	char shown[32];
	const char *name = json_string_value(value);
	if (name == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "\"dtype\" is missing or no string");
	for (int i = 0; i < N_DTYPES; i++)
		if (strcmp(dtypes[i].name, name) == 0) {
			*out = (enum hth_st_dtype)i;
			return HTH_OK;
		}
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "dtype \"%s\" is not supported",
			hth_quote(shown, sizeof(shown), name, strlen(name)));
}

/* An array of min..max integers >= 0 into out; *n is its length. */
static enum hth_status read_ints(const json_t *array, const char *key, size_t min, size_t max, int64_t *out, size_t *n,
				 struct hth_err *err)
{
	if (!json_is_array(array))
		return hth_fail(err, HTH_ERR_FORMAT, "\"%s\" is missing or no array", key);
	*n = json_array_size(array);
	if (*n < min || *n > max)
		return hth_fail(err, HTH_ERR_FORMAT, "\"%s\" has %zu entries, expected %zu..%zu", key, *n, min, max);
	for (size_t i = 0; i < *n; i++) {
		const json_t *v = json_array_get(array, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return hth_fail(err, HTH_ERR_FORMAT, "\"%s\"[%zu] is no integer >= 0", key, i);
		out[i] = json_integer_value(v);
	}
	return HTH_OK;
}

static enum hth_status read_tensor(const struct hth_map *map, size_t data_start, const json_t *entry,
				   struct hth_st_tensor *t, struct hth_err *err)
{
	int64_t span[2] = {0, 0};
	size_t n = 0;
	uint64_t bytes = 0, data_bytes = map->bytes - data_start;
	if (!json_is_object(entry) || json_object_size(entry) != 3)
		return hth_fail(err, HTH_ERR_FORMAT, "expected an object with dtype, shape and data_offsets");
	enum hth_status st = read_dtype(json_object_get(entry, "dtype"), &t->dtype, err);
	if (st == HTH_OK)
		st = read_ints(json_object_get(entry, "shape"), "shape", 0, HTH_ST_MAX_DIMS, t->dim, &n, err);
	if (st == HTH_OK)
		st = hth_st_shape_bytes(t->dtype, (int)n, t->dim, &bytes, err);
	t->n_dims = (int)n;
	if (st == HTH_OK)
		st = read_ints(json_object_get(entry, "data_offsets"), "data_offsets", 2, 2, span, &n, err);
	if (st != HTH_OK)
		return st;
	if (span[1] < span[0])
		return hth_fail(err, HTH_ERR_FORMAT, "data_offsets [%lld, %lld] end before they begin",
				(long long)span[0], (long long)span[1]);
	if ((uint64_t)span[1] > data_bytes)
		return hth_fail(err, HTH_ERR_FORMAT,
				"data_offsets end at %lld, the file holds %llu bytes of data; was it cut?",
				(long long)span[1], (unsigned long long)data_bytes);
	if ((uint64_t)(span[1] - span[0]) != bytes)
		return hth_fail(err, HTH_ERR_FORMAT, "data_offsets span %lld bytes, shape and dtype %s need %llu",
				(long long)(span[1] - span[0]), hth_st_dtype_name(t->dtype), (unsigned long long)bytes);
	t->data = map->data + data_start + span[0];
	t->bytes = bytes;
	return HTH_OK;
}

static char *copy_name(struct hth_safetensors *s, const char *name)
{
	return hth_arena_strndup(&s->arena, name, strlen(name));
}

static enum hth_status read_meta(struct hth_safetensors *s, const json_t *meta, struct hth_err *err)
{
	const char *key;
	json_t *value;
	if (json_is_null(meta)) /* MLX writes this where it has no metadata, as in every adapter of mlx-lm */
		return HTH_OK;
	if (!json_is_object(meta))
		return hth_fail(err, HTH_ERR_FORMAT, "\"__metadata__\" is no object");
	size_t n = json_object_size(meta);
	s->meta_keys = hth_arena_calloc(&s->arena, n + 1, sizeof(*s->meta_keys));
	s->meta_values = hth_arena_calloc(&s->arena, n + 1, sizeof(*s->meta_values));
	if (s->meta_keys == NULL || s->meta_values == NULL)
		return hth_fail_memory(err, "safetensors metadata", n * sizeof(*s->meta_keys));
	json_object_foreach((json_t *)(uintptr_t)meta, key, value)
	{
		if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
			return hth_fail(err, HTH_ERR_FORMAT, "\"__metadata__\": \"%.80s\" is no string without NUL",
					key);
		s->meta_keys[s->n_meta] = copy_name(s, key);
		s->meta_values[s->n_meta] = copy_name(s, json_string_value(value));
		if (s->meta_keys[s->n_meta] == NULL || s->meta_values[s->n_meta] == NULL)
			return hth_fail_memory(err, "safetensors metadata", strlen(key));
		s->n_meta++;
	}
	return HTH_OK;
}

static enum hth_status read_entries(struct hth_safetensors *s, const json_t *header, size_t data_start,
				    struct hth_err *err)
{
	const char *key;
	json_t *value;
	char shown[128];
	size_t n = json_object_size(header);
	s->tensors = hth_arena_calloc(&s->arena, n + 1, sizeof(*s->tensors));
	if (s->tensors == NULL)
		return hth_fail_memory(err, "safetensors table", n * sizeof(*s->tensors));
	json_object_foreach((json_t *)(uintptr_t)header, key, value)
	{
		if (strcmp(key, "__metadata__") == 0) {
			enum hth_status st = read_meta(s, value, err);
			if (st != HTH_OK)
				return st;
			continue;
		}
		struct hth_st_tensor *t = &s->tensors[s->n_tensors];
		enum hth_status st = read_tensor(&s->map, data_start, value, t, err);
		if (st != HTH_OK) {
			(void)hth_err_prefix(err, "tensor \"%s\"", hth_quote(shown, sizeof(shown), key, strlen(key)));
			return st;
		}
		t->name = copy_name(s, key);
		if (t->name == NULL)
			return hth_fail_memory(err, "safetensors name", strlen(key));
		s->n_tensors++;
	}
	return HTH_OK;
}

static int order_place(const void *a, const void *b)
{
	const struct hth_st_tensor *x = a, *y = b;
	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int order_name(const void *a, const void *b)
{
	const struct hth_st_tensor *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* The tensors, in the order of their data, tile the data section exactly. */
static enum hth_status check_tiling(struct hth_safetensors *s, size_t data_start, struct hth_err *err)
{
	char shown[128];
	const uint8_t *at = s->map.data + data_start, *end = s->map.data + s->map.bytes;
	qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), order_place);
	for (size_t i = 0; i < s->n_tensors; i++) {
		const struct hth_st_tensor *t = &s->tensors[i];
		if (t->data != at)
			return hth_fail(err, HTH_ERR_FORMAT, "tensor \"%s\": its data %s",
					hth_quote(shown, sizeof(shown), t->name, strlen(t->name)),
					t->data < at ? "overlap those of another tensor"
						     : "leave a hole after those of another tensor");
		at += t->bytes;
	}
	if (at != end)
		return hth_fail(err, HTH_ERR_FORMAT, "%zu bytes follow the last tensor, expected none",
				(size_t)(end - at));
	return HTH_OK;
}

enum hth_status hth_safetensors_open(struct hth_safetensors *s, const char *path, struct hth_err *err)
{
	json_t *header = NULL;
	size_t header_bytes = 0;
	memset(s, 0, sizeof(*s));
	enum hth_status st = hth_map_open(&s->map, path, err);
	if (st != HTH_OK)
		return st;
	st = header_span(&s->map, &header_bytes, err);
	if (st != HTH_OK)
		goto done;
	/* The shortest pair of JSON text has 5 bytes, a tensor here some 100; names are copied once. */
	hth_arena_init(&s->arena, 32 * header_bytes + 65536);
	st = hth_json_parse((const char *)s->map.data + 8, header_bytes, HTH_JSON_STRICT, "header", &header, err);
	if (st == HTH_OK && !json_is_object(header))
		st = hth_fail(err, HTH_ERR_FORMAT, "the header is no JSON object");
	if (st == HTH_OK)
		st = read_entries(s, header, 8 + header_bytes, err);
	if (st == HTH_OK)
		st = check_tiling(s, 8 + header_bytes, err);
	if (st == HTH_OK)
		qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), order_name);
done:
	json_decref(header);
	if (st != HTH_OK) {
		(void)hth_err_prefix(err, "%s", path);
		hth_safetensors_close(s);
	}
	return st;
}

void hth_safetensors_close(struct hth_safetensors *s)
{
	hth_arena_clear(&s->arena);
	hth_map_close(&s->map);
	memset(s, 0, sizeof(*s));
}

const struct hth_st_tensor *hth_safetensors_find(const struct hth_safetensors *s, const char *name)
{
	struct hth_st_tensor want = {.name = name};
	if (s->n_tensors == 0)
		return NULL;
	return bsearch(&want, s->tensors, s->n_tensors, sizeof(*s->tensors), order_name);
}

enum hth_status hth_st_to_f32(const struct hth_st_tensor *t, float *out, struct hth_err *err)
{
	char shown[128];
	size_t size = hth_st_dtype_bytes(t->dtype);
	int64_t n = size > 0 ? (int64_t)(t->bytes / size) : 0;
	switch (t->dtype) {
	case HTH_ST_F32:
		hth_quant_format(HTH_QUANT_F32)->unpack(t->data, out, n);
		return HTH_OK;
	case HTH_ST_F16:
		hth_quant_format(HTH_QUANT_F16)->unpack(t->data, out, n);
		return HTH_OK;
	case HTH_ST_BF16:
		hth_quant_format(HTH_QUANT_BF16)->unpack(t->data, out, n);
		return HTH_OK;
	case HTH_ST_F64:
		for (int64_t i = 0; i < n; i++) {
			double v;
			memcpy(&v, t->data + 8 * i, sizeof(v));
			out[i] = (float)v;
		}
		return HTH_OK;
	default:
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "tensor \"%s\": dtype %s, expected F32, F16, BF16 or F64",
				hth_quote(shown, sizeof(shown), t->name, strlen(t->name)), hth_st_dtype_name(t->dtype));
	}
}
