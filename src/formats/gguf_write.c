/* The GGUF writer, version 3. Metadata and the tensor list are collected in memory and written when the first
 * tensor's data comes (or at commit, for a file without tensors); data goes straight to the file. What the reader
 * would refuse is refused here. Layout: docs/formats/gguf.md. */
#include "formats/gguf_int.h"

#include "base/buf.h"
#include "base/checked.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Metadata of the largest vocabularies is some 10 MB; the bound only stops a runaway caller. */
#define MAX_META_BYTES ((size_t)1 << 30)
#define MAX_TENSORS ((size_t)1 << 20)
#define MAX_KEYS ((size_t)1 << 20)

struct span {
	size_t at, bytes; /* in the buffer that holds the names */
};

struct hth_gguf_writer {
	struct hth_writer file;
	struct hth_buf kv, infos;
	struct span *keys, *names; /* (n_kv), (n_tensors): to find duplicates */
	uint64_t *sizes;           /* (n_tensors) bytes of each tensor */
	size_t n_kv, n_tensors, cap_keys, cap_names, cap_sizes;
	uint64_t alignment, next_offset;
	size_t current;     /* tensor whose data comes next */
	uint64_t remaining; /* bytes that `current` still lacks */
	bool head_written;
	enum hth_status failed; /* the first failure: commit repeats its status */
};

static void free_writer(struct hth_gguf_writer *w)
{
	hth_buf_clear(&w->kv);
	hth_buf_clear(&w->infos);
	hth_free(w->keys);
	hth_free(w->names);
	hth_free(w->sizes);
	hth_free(w);
}

enum hth_status hth_gguf_writer_new(const char *path, struct hth_gguf_writer **out, struct hth_err *err)
{
	*out = NULL;
	struct hth_gguf_writer *w = hth_calloc(1, sizeof(*w));
	if (w == NULL)
		return hth_fail_memory(err, "GGUF writer", sizeof(*w));
	hth_buf_init(&w->kv, MAX_META_BYTES);
	hth_buf_init(&w->infos, MAX_META_BYTES);
	w->alignment = HTH_GGUF_DEFAULT_ALIGNMENT;
	enum hth_status st = hth_writer_open(&w->file, path, err);
	if (st != HTH_OK) {
		free_writer(w);
		return st;
	}
	*out = w;
	return HTH_OK;
}

static void put_le(struct hth_buf *b, uint64_t value, size_t bytes)
{
	uint8_t le[8];
	for (size_t i = 0; i < 8; i++)
		le[i] = (uint8_t)(value >> 8 * i & 0xFF);
	(void)hth_buf_add(b, le, bytes);
}

/* Remembers the name at `at` of the buffer, so that duplicates are found before the head is written. */
static enum hth_status remember(struct span **list, size_t n, size_t *cap, size_t max, size_t at, size_t bytes,
				struct hth_err *err)
{
	struct span *grown = hth_grow(*list, n, cap, max, sizeof(**list));
	if (grown == NULL)
		return hth_fail_memory(err, "GGUF names", (n + 1) * sizeof(**list));
	*list = grown;
	grown[n] = (struct span){at, bytes};
	return HTH_OK;
}

static enum hth_status put(struct hth_gguf_writer *w, struct hth_gguf_str key, const struct hth_gguf_kv *value,
			   struct hth_err *err)
{
	if (w->head_written)
		return hth_fail(err, HTH_ERR_USAGE, "metadata after tensor data");
	enum hth_status st = hth_gguf_check_name(key, HTH_GGUF_MAX_KEY_BYTES, "key", err);
	if (st != HTH_OK)
		return st;
	uint32_t type = (uint32_t)value->type, elem = (uint32_t)value->elem_type;
	struct hth_gguf_cursor c = {value->data, value->data, value->data + value->data_bytes};
	st = hth_gguf_skip_values(&c, type == HTH_GGUF_ARRAY ? elem : type, type == HTH_GGUF_ARRAY ? value->n : 1, err);
	if (st != HTH_OK)
		return st;
	if (c.at != c.end)
		return hth_fail(err, HTH_ERR_USAGE, "%zu bytes follow the value", hth_gguf_left(&c));
	if (hth_gguf_str_equal(key, HTH_GGUF_ALIGNMENT_KEY)) {
		if (type != HTH_GGUF_U32)
			return hth_fail(err, HTH_ERR_FORMAT, "found type %s, expected u32", hth_gguf_type_name(type));
		if (w->n_tensors > 0)
			return hth_fail(err, HTH_ERR_USAGE, "set after a tensor was announced");
		w->alignment = hth_gguf_le32(value->data);
		st = hth_gguf_check_alignment(w->alignment, err);
		if (st != HTH_OK)
			return st;
	}
	st = remember(&w->keys, w->n_kv, &w->cap_keys, MAX_KEYS, w->kv.bytes + 8, key.bytes, err);
	if (st != HTH_OK)
		return st;
	put_le(&w->kv, key.bytes, 8);
	(void)hth_buf_add(&w->kv, key.data, key.bytes);
	put_le(&w->kv, type, 4);
	if (type == HTH_GGUF_ARRAY) {
		put_le(&w->kv, elem, 4);
		put_le(&w->kv, value->n, 8);
	}
	(void)hth_buf_add(&w->kv, value->data, value->data_bytes);
	w->n_kv++;
	return hth_buf_status(&w->kv, "GGUF metadata", err);
}

/* Every public call ends here: the path and key go in front of the message, the failure is kept for commit. */
static enum hth_status ended(struct hth_gguf_writer *w, enum hth_status st, const char *what, struct hth_gguf_str name,
			     struct hth_err *err)
{
	char shown[96];
	if (st == HTH_OK)
		return HTH_OK;
	if (w->failed == HTH_OK)
		w->failed = st;
	(void)hth_err_prefix(err, "%s: %s \"%s\"", w->file.path, what,
			     hth_quote(shown, sizeof(shown), name.data, name.bytes));
	return st;
}

enum hth_status hth_gguf_put_kv(struct hth_gguf_writer *w, const struct hth_gguf_kv *kv, struct hth_err *err)
{
	return ended(w, put(w, kv->key, kv, err), "key", kv->key, err);
}

static enum hth_status put_scalar(struct hth_gguf_writer *w, const char *key, enum hth_gguf_type type, uint64_t bits,
				  struct hth_err *err)
{
	uint8_t le[8];
	for (size_t i = 0; i < 8; i++)
		le[i] = (uint8_t)(bits >> 8 * i & 0xFF);
	struct hth_gguf_kv kv = {
		.key = {key, strlen(key)},
		.type = type,
		.n = 1,
		.data = le,
		.data_bytes = hth_gguf_type_bytes((uint32_t)type),
	};
	return hth_gguf_put_kv(w, &kv, err);
}

enum hth_status hth_gguf_put_int(struct hth_gguf_writer *w, const char *key, enum hth_gguf_type type, int64_t value,
				 struct hth_err *err)
{
	bool is_signed = type == HTH_GGUF_I8 || type == HTH_GGUF_I16 || type == HTH_GGUF_I32 || type == HTH_GGUF_I64;
	bool is_unsigned = type == HTH_GGUF_U8 || type == HTH_GGUF_U16 || type == HTH_GGUF_U32 || type == HTH_GGUF_U64;
	struct hth_gguf_str name = {key, strlen(key)};
	if (!is_signed && !is_unsigned)
		return ended(w,
			     hth_fail(err, HTH_ERR_USAGE, "%s is no integer type", hth_gguf_type_name((uint32_t)type)),
			     "key", name, err);
	unsigned bits = 8 * (unsigned)hth_gguf_type_bytes((uint32_t)type) - (is_signed ? 1 : 0);
	int64_t max = bits >= 63 ? INT64_MAX : ((int64_t)1 << bits) - 1;
	int64_t min = is_signed ? -max - 1 : 0;
	if (value < min || value > max)
		return ended(w,
			     hth_fail(err, HTH_ERR_VALUE, "%lld does not fit %s", (long long)value,
				      hth_gguf_type_name((uint32_t)type)),
			     "key", name, err);
	return put_scalar(w, key, type, (uint64_t)value, err);
}

enum hth_status hth_gguf_put_f32(struct hth_gguf_writer *w, const char *key, float value, struct hth_err *err)
{
	union {
		float f;
		uint32_t u;
	} bits = {.f = value};
	return put_scalar(w, key, HTH_GGUF_F32, bits.u, err);
}

enum hth_status hth_gguf_put_bool(struct hth_gguf_writer *w, const char *key, bool value, struct hth_err *err)
{
	return put_scalar(w, key, HTH_GGUF_BOOL, value, err);
}

enum hth_status hth_gguf_put_string(struct hth_gguf_writer *w, const char *key, const char *value, size_t bytes,
				    struct hth_err *err)
{
	struct hth_gguf_str name = {key, strlen(key)};
	struct hth_buf data;
	hth_buf_init(&data, MAX_META_BYTES);
	put_le(&data, bytes, 8);
	(void)hth_buf_add(&data, value, bytes);
	enum hth_status st = hth_buf_status(&data, "a GGUF string", err);
	if (st != HTH_OK) {
		st = ended(w, st, "key", name, err);
	} else {
		struct hth_gguf_kv kv = {
			.key = name,
			.type = HTH_GGUF_STRING,
			.n = 1,
			.data = (const uint8_t *)data.data,
			.data_bytes = data.bytes,
		};
		st = hth_gguf_put_kv(w, &kv, err);
	}
	hth_buf_clear(&data);
	return st;
}

enum hth_status hth_gguf_put_array(struct hth_gguf_writer *w, const char *key, enum hth_gguf_type elem_type, uint64_t n,
				   const void *data, size_t bytes, struct hth_err *err)
{
	struct hth_gguf_kv kv = {
		.key = {key, strlen(key)},
		.type = HTH_GGUF_ARRAY,
		.elem_type = elem_type,
		.n = n,
		.data = bytes > 0 ? data : (const void *)"",
		.data_bytes = bytes,
	};
	return hth_gguf_put_kv(w, &kv, err);
}

static enum hth_status tensor_bytes(int n_dims, const int64_t *ne, enum hth_quant quant, uint64_t *bytes,
				    struct hth_err *err)
{
	if (n_dims < 1 || n_dims > 4)
		return hth_fail(err, HTH_ERR_SHAPE, "%d dimensions, expected 1..4", n_dims);
	for (int i = 0; i < n_dims; i++)
		if (ne[i] <= 0)
			return hth_fail(err, HTH_ERR_SHAPE, "dimension %d is %lld, expected at least 1", i,
					(long long)ne[i]);
	if (hth_quant_format(quant) != NULL && hth_quant_format(quant)->ggml_type < 0)
		return hth_fail(err, HTH_ERR_USAGE, "%s is no type of GGUF files", hth_quant_format(quant)->name);
	enum hth_status st = hth_quant_row_bytes(quant, (uint64_t)ne[0], bytes, err);
	if (st != HTH_OK)
		return st;
	for (int i = 1; i < n_dims; i++)
		if (!hth_mul_u64(*bytes, (uint64_t)ne[i], bytes))
			return hth_fail(err, HTH_ERR_LIMIT, "its size in bytes does not fit 64 bits");
	return HTH_OK;
}

static enum hth_status add_tensor(struct hth_gguf_writer *w, struct hth_gguf_str name, int n_dims, const int64_t *ne,
				  enum hth_quant quant, struct hth_err *err)
{
	uint64_t bytes = 0, end = 0;
	if (w->head_written)
		return hth_fail(err, HTH_ERR_USAGE, "announced after tensor data");
	enum hth_status st = hth_gguf_check_name(name, HTH_GGUF_MAX_NAME_BYTES, "tensor name", err);
	if (st == HTH_OK)
		st = tensor_bytes(n_dims, ne, quant, &bytes, err);
	if (st != HTH_OK)
		return st;
	if (!hth_pad_u64(w->next_offset, w->alignment, &w->next_offset) || !hth_add_u64(w->next_offset, bytes, &end) ||
	    end > INT64_MAX)
		return hth_fail(err, HTH_ERR_LIMIT, "the file's size does not fit 63 bits");
	uint64_t *sizes = hth_grow(w->sizes, w->n_tensors, &w->cap_sizes, MAX_TENSORS, sizeof(*sizes));
	if (sizes == NULL)
		return hth_fail_memory(err, "GGUF tensor list", (w->n_tensors + 1) * sizeof(*sizes));
	w->sizes = sizes;
	sizes[w->n_tensors] = bytes;
	st = remember(&w->names, w->n_tensors, &w->cap_names, MAX_TENSORS, w->infos.bytes + 8, name.bytes, err);
	if (st != HTH_OK)
		return st;
	put_le(&w->infos, name.bytes, 8);
	(void)hth_buf_add(&w->infos, name.data, name.bytes);
	put_le(&w->infos, (uint64_t)n_dims, 4);
	for (int i = 0; i < n_dims; i++)
		put_le(&w->infos, (uint64_t)ne[i], 8);
	put_le(&w->infos, (uint64_t)hth_quant_format(quant)->ggml_type, 4);
	put_le(&w->infos, w->next_offset, 8);
	w->next_offset = end;
	w->n_tensors++;
	return hth_buf_status(&w->infos, "GGUF tensor list", err);
}

enum hth_status hth_gguf_add_tensor(struct hth_gguf_writer *w, const char *name, int n_dims, const int64_t *ne,
				    enum hth_quant quant, struct hth_err *err)
{
	struct hth_gguf_str s = {name, strlen(name)};
	return ended(w, add_tensor(w, s, n_dims, ne, quant, err), "tensor", s, err);
}

static int order_str(const void *a, const void *b)
{
	return hth_gguf_str_order(*(const struct hth_gguf_str *)a, *(const struct hth_gguf_str *)b);
}

static enum hth_status check_unique(const struct hth_buf *buf, const struct span *spans, size_t n, const char *what,
				    struct hth_err *err)
{
	char shown[96];
	enum hth_status st = HTH_OK;
	struct hth_gguf_str *sorted = hth_calloc(n, sizeof(*sorted));
	if (sorted == NULL)
		return hth_fail_memory(err, "GGUF names", n * sizeof(*sorted));
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct hth_gguf_str){buf->data + spans[i].at, spans[i].bytes};
	qsort(sorted, n, sizeof(*sorted), order_str);
	for (size_t i = 1; i < n && st == HTH_OK; i++)
		if (order_str(&sorted[i - 1], &sorted[i]) == 0)
			st = hth_fail(err, HTH_ERR_EXISTS, "%s \"%s\" was given twice", what,
				      hth_quote(shown, sizeof(shown), sorted[i].data, sorted[i].bytes));
	hth_free(sorted);
	return st;
}

static enum hth_status write_head(struct hth_gguf_writer *w, struct hth_err *err)
{
	struct hth_buf head;
	enum hth_status st = check_unique(&w->kv, w->keys, w->n_kv, "key", err);
	if (st == HTH_OK)
		st = check_unique(&w->infos, w->names, w->n_tensors, "tensor", err);
	if (st != HTH_OK)
		return st;
	hth_buf_init(&head, 64);
	(void)hth_buf_puts(&head, "GGUF");
	put_le(&head, 3, 4);
	put_le(&head, w->n_tensors, 8);
	put_le(&head, w->n_kv, 8);
	st = hth_buf_status(&head, "GGUF head", err);
	if (st == HTH_OK)
		st = hth_writer_write(&w->file, head.data, head.bytes, err);
	if (st == HTH_OK && w->kv.bytes > 0)
		st = hth_writer_write(&w->file, w->kv.data, w->kv.bytes, err);
	if (st == HTH_OK && w->infos.bytes > 0)
		st = hth_writer_write(&w->file, w->infos.data, w->infos.bytes, err);
	if (st == HTH_OK)
		st = hth_writer_pad(&w->file, (size_t)w->alignment, err);
	hth_buf_clear(&head);
	w->head_written = true;
	w->remaining = w->n_tensors > 0 ? w->sizes[0] : 0;
	return st;
}

static enum hth_status write_data(struct hth_gguf_writer *w, const void *data, size_t bytes, struct hth_err *err)
{
	enum hth_status st = w->head_written ? HTH_OK : write_head(w, err);
	if (st != HTH_OK)
		return st;
	if (w->current == w->n_tensors || bytes > w->remaining)
		return hth_fail(err, HTH_ERR_SHAPE, "%zu bytes of data come, tensor %zu of %zu lacks only %llu", bytes,
				w->current, w->n_tensors, (unsigned long long)w->remaining);
	st = hth_writer_write(&w->file, data, bytes, err);
	if (st != HTH_OK)
		return st;
	w->remaining -= bytes;
	if (w->remaining > 0)
		return HTH_OK;
	w->current++;
	if (w->current < w->n_tensors)
		w->remaining = w->sizes[w->current];
	return hth_writer_pad(&w->file, (size_t)w->alignment, err);
}

enum hth_status hth_gguf_write_data(struct hth_gguf_writer *w, const void *data, size_t bytes, struct hth_err *err)
{
	if (w->failed != HTH_OK)
		return hth_fail(err, w->failed, "%s: an earlier write failed", w->file.path);
	enum hth_status st = write_data(w, data, bytes, err);
	if (st != HTH_OK)
		w->failed = st;
	return st;
}

enum hth_status hth_gguf_writer_commit(struct hth_gguf_writer *w, struct hth_err *err)
{
	enum hth_status st = w->failed;
	if (st != HTH_OK)
		st = hth_fail(err, st, "%s: not written, an earlier step failed", w->file.path);
	if (st == HTH_OK && !w->head_written)
		st = write_head(w, err);
	if (st == HTH_OK && w->current != w->n_tensors)
		st = hth_fail(err, HTH_ERR_SHAPE, "%s: data of %zu of %zu tensors came", w->file.path, w->current,
			      w->n_tensors);
	if (st == HTH_OK)
		st = hth_writer_commit(&w->file, err);
	else
		hth_writer_abort(&w->file);
	free_writer(w);
	return st;
}

void hth_gguf_writer_abort(struct hth_gguf_writer *w)
{
	if (w == NULL)
		return;
	hth_writer_abort(&w->file);
	free_writer(w);
}
