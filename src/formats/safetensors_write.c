/* The safetensors writer: header, padding, data in the order given, atomically. Refuses what the reader would. */
#include "formats/safetensors_int.h"

#include "base/buf.h"
#include "base/checked.h"
#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int order_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum hth_status check_names(const struct hth_st_tensor *tensors, size_t n, struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	const char **names = hth_calloc(n, sizeof(*names));
	if (names == NULL)
		return hth_fail_memory(err, "safetensors names", n * sizeof(*names));
	for (size_t i = 0; i < n; i++)
		names[i] = tensors[i].name;
	qsort(names, n, sizeof(*names), order_text);
	for (size_t i = 0; i < n && st == HTH_OK; i++)
		if (strcmp(names[i], "__metadata__") == 0 || (i > 0 && strcmp(names[i - 1], names[i]) == 0))
			st = hth_fail(err, HTH_ERR_EXISTS, "tensor name \"%.128s\" is reserved or was given twice",
				      names[i]);
	hth_free(names);
	return st;
}

static void put_meta(struct hth_buf *header, const char *const (*meta)[2], size_t n_meta)
{
	(void)hth_buf_puts(header, "\"__metadata__\":{");
	for (size_t i = 0; i < n_meta; i++) {
		if (i > 0)
			(void)hth_buf_putc(header, ',');
		(void)hth_json_put_string(header, meta[i][0], strlen(meta[i][0]));
		(void)hth_buf_putc(header, ':');
		(void)hth_json_put_string(header, meta[i][1], strlen(meta[i][1]));
	}
	(void)hth_buf_putc(header, '}');
}

static enum hth_status put_tensor(struct hth_buf *header, const struct hth_st_tensor *t, uint64_t *offset,
				  struct hth_err *err)
{
	uint64_t bytes = 0, end = 0;
	enum hth_status st = hth_st_shape_bytes(t->dtype, t->n_dims, t->dim, &bytes, err);
	if (st == HTH_OK && bytes != t->bytes)
		st = hth_fail(err, HTH_ERR_SHAPE, "%" PRIu64 " bytes given, shape and dtype need %" PRIu64, t->bytes,
			      bytes);
	if (st == HTH_OK && (!hth_add_u64(*offset, bytes, &end) || end > INT64_MAX))
		st = hth_fail(err, HTH_ERR_LIMIT, "the file's size does not fit 63 bits");
	if (st != HTH_OK) {
		(void)hth_err_prefix(err, "tensor \"%.128s\"", t->name);
		return st;
	}
	(void)hth_json_put_string(header, t->name, strlen(t->name));
	(void)hth_buf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", hth_st_dtype_name(t->dtype));
	for (int i = 0; i < t->n_dims; i++)
		(void)hth_buf_printf(header, "%s%" PRId64, i > 0 ? "," : "", t->dim[i]);
	(void)hth_buf_printf(header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", *offset, end);
	*offset = end;
	return HTH_OK;
}

static enum hth_status build_header(struct hth_buf *header, const struct hth_st_tensor *tensors, size_t n,
				    const char *const (*meta)[2], size_t n_meta, struct hth_err *err)
{
	uint64_t offset = 0;
	enum hth_status st = check_names(tensors, n, err);
	(void)hth_buf_putc(header, '{');
	if (n_meta > 0)
		put_meta(header, meta, n_meta);
	for (size_t i = 0; i < n && st == HTH_OK; i++) {
		if (i > 0 || n_meta > 0)
			(void)hth_buf_putc(header, ',');
		st = put_tensor(header, &tensors[i], &offset, err);
	}
	(void)hth_buf_putc(header, '}');
	while (header->bytes % 8 != 0 && !header->failed)
		(void)hth_buf_putc(header, ' ');
	return st != HTH_OK ? st : hth_buf_status(header, "a safetensors header", err);
}

enum hth_status hth_st_writer_open(struct hth_st_writer *w, const char *path, const struct hth_st_tensor *tensors,
				   size_t n, const char *const (*meta)[2], size_t n_meta, struct hth_err *err)
{
	struct hth_buf header;
	uint8_t length[8];

	*w = (struct hth_st_writer){0};
	hth_buf_init(&header, HTH_ST_MAX_HEADER_BYTES);
	enum hth_status st = build_header(&header, tensors, n, meta, n_meta, err);
	if (st != HTH_OK) {
		(void)hth_err_prefix(err, "%s", path);
		goto done;
	}
	for (size_t i = 0; i < n; i++)
		w->left += tensors[i].bytes;
	for (size_t i = 0; i < 8; i++)
		length[i] = (uint8_t)((uint64_t)header.bytes >> 8 * i & 0xFF);
	st = hth_writer_open(&w->file, path, err);
	if (st == HTH_OK)
		st = hth_writer_write(&w->file, length, sizeof(length), err);
	if (st == HTH_OK)
		st = hth_writer_write(&w->file, header.data, header.bytes, err);
done:
	hth_buf_clear(&header);
	if (st != HTH_OK)
		hth_st_writer_abort(w);
	return st;
}

enum hth_status hth_st_writer_write(struct hth_st_writer *w, const void *data, size_t bytes, struct hth_err *err)
{
	if (bytes > w->left)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: %zu bytes of data come, only %" PRIu64 " are announced",
				w->file.path, bytes, w->left);
	w->left -= bytes;
	return hth_writer_write(&w->file, data, bytes, err);
}

enum hth_status hth_st_writer_commit(struct hth_st_writer *w, struct hth_err *err)
{
	if (w->left > 0)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: %" PRIu64 " announced bytes of data did not come",
				w->file.path, w->left);
	return hth_writer_commit(&w->file, err);
}

void hth_st_writer_abort(struct hth_st_writer *w)
{
	hth_writer_abort(&w->file);
}

enum hth_status hth_safetensors_write(const char *path, const struct hth_st_tensor *tensors, size_t n,
				      const char *const (*meta)[2], size_t n_meta, struct hth_err *err)
{
	struct hth_st_writer w;
	enum hth_status st = hth_st_writer_open(&w, path, tensors, n, meta, n_meta, err);

	for (size_t i = 0; i < n && st == HTH_OK; i++)
		st = hth_st_writer_write(&w, tensors[i].data, (size_t)tensors[i].bytes, err);
	if (st == HTH_OK)
		st = hth_st_writer_commit(&w, err);
	hth_st_writer_abort(&w);
	return st;
}
