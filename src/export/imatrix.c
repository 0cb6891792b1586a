/* Files of importance. GGUF: per matrix NAME two f32 tensors, NAME.in_sum2 (cols, matrices) and NAME.counts
 * (1, matrices). The older form, all little-endian:
 *
 *   n (i32), then n times: name length (i32), name, calls (i32), values (i32), values x f32: mean of x^2 times calls
 *   optionally: chunks (i32), length (i32), name of the text
 *
 * Source: llama.cpp tools/imatrix/imatrix.cpp and common_imatrix_load. Leaves out: collecting (calibrate.c). */
#include "export/imatrix.h"

#include "base/checked.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES ((size_t)1 << 20)
#define MAX_NAME 120 /* with a suffix it must fit a tensor's name */

static void clear_entry(struct hth_imatrix_entry *e)
{
	hth_free(e->name);
	hth_free(e->sum);
	hth_free(e->mean);
	hth_free(e->count);
}

void hth_imatrix_clear(struct hth_imatrix *im)
{
	for (size_t i = 0; i < im->n; i++)
		clear_entry(&im->entries[i]);
	hth_free(im->entries);
	hth_free(im->dataset);
	hth_free(im->path);
	*im = (struct hth_imatrix){0};
}

struct hth_imatrix_entry *hth_imatrix_add(struct hth_imatrix *im, const char *name, size_t name_bytes, int64_t cols,
					  int64_t matrices)
{
	size_t n;

	if (cols < 1 || matrices < 1 || !hth_mul_size((size_t)cols, (size_t)matrices, &n))
		return NULL;
	struct hth_imatrix_entry *grown = hth_grow(im->entries, im->n, &im->cap, MAX_ENTRIES, sizeof *grown);
	if (grown == NULL)
		return NULL;
	im->entries = grown;
	struct hth_imatrix_entry e = {.name = hth_strndup(name, name_bytes),
				      .cols = cols,
				      .matrices = matrices,
				      .sum = hth_calloc(n, sizeof(float)),
				      .mean = hth_calloc(n, sizeof(float)),
				      .count = hth_calloc((size_t)matrices, sizeof(float))};
	if (e.name == NULL || e.sum == NULL || e.mean == NULL || e.count == NULL) {
		clear_entry(&e);
		return NULL;
	}
	im->entries[im->n] = e;
	return &im->entries[im->n++];
}

static int by_name(const void *pa, const void *pb)
{
	const struct hth_imatrix_entry *a = pa, *b = pb;
	return strcmp(a->name, b->name);
}

static enum hth_status fill_mean(const struct hth_imatrix_entry *e, const char *where, struct hth_err *err)
{
	for (int64_t m = 0; m < e->matrices; m++) {
		float count = e->count[m];
		if (!(count >= 0 && count <= 3e38f))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": count %g, expected a finite number from 0",
					where, e->name, (double)count);
		for (int64_t i = m * e->cols; i < (m + 1) * e->cols; i++) {
			if (!(e->sum[i] >= 0 && e->sum[i] <= 3e38f))
				return hth_fail(err, HTH_ERR_VALUE,
						"%s: \"%s\": value %lld is %g, expected a finite number from 0", where,
						e->name, (long long)i, (double)e->sum[i]);
			e->mean[i] = count > 0 ? e->sum[i] / count : 1;
		}
	}
	return HTH_OK;
}

enum hth_status hth_imatrix_sort(struct hth_imatrix *im, const char *where, struct hth_err *err)
{
	for (size_t i = 0; i < im->n; i++) {
		enum hth_status s = fill_mean(&im->entries[i], where, err);
		if (s != HTH_OK)
			return s;
	}
	if (im->n > 1)
		qsort(im->entries, im->n, sizeof *im->entries, by_name);
	for (size_t i = 1; i < im->n; i++)
		if (strcmp(im->entries[i - 1].name, im->entries[i].name) == 0)
			return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" is there twice", where, im->entries[i].name);
	return HTH_OK;
}

const struct hth_imatrix_entry *hth_imatrix_find(const struct hth_imatrix *im, struct hth_gguf_str name)
{
	size_t lo = 0, hi = im->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const char *have = im->entries[mid].name;
		size_t n = strlen(have);
		int c = memcmp(name.data, have, name.bytes < n ? name.bytes : n);
		if (c == 0)
			c = name.bytes < n ? -1 : name.bytes > n;
		if (c == 0)
			return &im->entries[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* ---- the older form ---- */

struct reader {
	const struct hth_map *map;
	size_t at;
};

static enum hth_status cut_short(const struct reader *r, const char *what, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_FORMAT,
			"%s: ends inside %s at byte %zu; expected an importance matrix (GGUF, or llama.cpp's .dat)",
			r->map->path, what, r->at);
}

static bool take_i32(struct reader *r, int64_t *out)
{
	if (r->map->bytes - r->at < 4)
		return false;
	const uint8_t *p = r->map->data + r->at;
	uint32_t u = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	*out = (int32_t)u;
	r->at += 4;
	return true;
}

static enum hth_status read_old_entry(struct reader *r, struct hth_imatrix *out, struct hth_err *err)
{
	int64_t name_bytes, calls, values;

	if (!take_i32(r, &name_bytes))
		return cut_short(r, "a name", err);
	if (name_bytes < 1 || name_bytes > MAX_NAME)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: byte %zu: a name of %lld bytes, expected 1..%d; expected an "
				"importance matrix (GGUF, or llama.cpp's .dat)",
				r->map->path, r->at, (long long)name_bytes, MAX_NAME);
	if (r->map->bytes - r->at < (size_t)name_bytes)
		return cut_short(r, "a name", err);
	const char *name = (const char *)r->map->data + r->at;
	if (!hth_utf8_valid(name, (size_t)name_bytes) || memchr(name, 0, (size_t)name_bytes) != NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: byte %zu: a name is not text", r->map->path, r->at);
	r->at += (size_t)name_bytes;
	if (!take_i32(r, &calls) || !take_i32(r, &values))
		return cut_short(r, "an entry", err);
	if (values < 1 || calls < 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: byte %zu: %lld values of %lld calls, expected at least 1 of 0", r->map->path,
				r->at, (long long)values, (long long)calls);
	if ((r->map->bytes - r->at) / 4 < (size_t)values)
		return cut_short(r, "values", err);
	struct hth_imatrix_entry *e = hth_imatrix_add(out, name, (size_t)name_bytes, values, 1);
	if (e == NULL)
		return hth_fail_memory(err, "an importance matrix", (size_t)values * 4);
	memcpy(e->sum, r->map->data + r->at, (size_t)values * 4);
	e->count[0] = calls > 0 ? (float)calls : 1;
	r->at += (size_t)values * 4;
	return HTH_OK;
}

static enum hth_status read_old(const struct hth_map *map, struct hth_imatrix *out, struct hth_err *err)
{
	struct reader r = {.map = map};
	int64_t n, chunks = 0, bytes = 0;

	if (!take_i32(&r, &n))
		return cut_short(&r, "the number of entries", err);
	if (n < 1 || (uint64_t)n > map->bytes / 12)
		return hth_fail(
			err, HTH_ERR_FORMAT,
			"%s: %lld entries in %zu bytes; expected an importance matrix (GGUF, or llama.cpp's .dat)",
			map->path, (long long)n, map->bytes);
	for (int64_t i = 0; i < n; i++) {
		enum hth_status s = read_old_entry(&r, out, err);
		if (s != HTH_OK)
			return s;
	}
	if (r.at == map->bytes)
		return HTH_OK;
	if (!take_i32(&r, &chunks))
		return cut_short(&r, "the number of chunks", err);
	out->chunks = chunks > 0 ? chunks : 0;
	if (r.at == map->bytes)
		return HTH_OK;
	if (!take_i32(&r, &bytes) || bytes < 0 || map->bytes - r.at < (size_t)bytes)
		return cut_short(&r, "the name of the text", err);
	out->dataset = bytes > 0 ? hth_strndup((const char *)map->data + r.at, (size_t)bytes) : NULL;
	return bytes > 0 && out->dataset == NULL ? hth_fail_memory(err, "an importance matrix", (size_t)bytes) : HTH_OK;
}

/* ---- GGUF ---- */

static enum hth_status read_pair(const struct hth_gguf *g, const struct hth_gguf_tensor *sums, size_t name_bytes,
				 struct hth_imatrix *out, struct hth_err *err)
{
	char counts_name[MAX_NAME + 16];

	if (name_bytes < 1 || name_bytes > MAX_NAME)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: a name of %zu bytes, expected 1..%d", g->map.path, name_bytes,
				MAX_NAME);
	snprintf(counts_name, sizeof counts_name, "%.*s.counts", (int)name_bytes, sums->name.data);
	const struct hth_gguf_tensor *counts = hth_gguf_tensor(g, counts_name);
	int64_t matrices = sums->ne[1] * sums->ne[2] * sums->ne[3];
	if (counts == NULL || counts->quant != HTH_QUANT_F32 || sums->quant != HTH_QUANT_F32 ||
	    counts->ne[0] * counts->ne[1] * counts->ne[2] * counts->ne[3] != matrices || sums->ne[0] * matrices < 1)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"%s\": expected f32 of one count for each of the %lld matrices of in_sum2",
				g->map.path, counts_name, (long long)matrices);
	struct hth_imatrix_entry *e = hth_imatrix_add(out, sums->name.data, name_bytes, sums->ne[0], matrices);
	if (e == NULL)
		return hth_fail_memory(err, "an importance matrix", (size_t)sums->bytes);
	memcpy(e->sum, sums->data, (size_t)sums->bytes);
	memcpy(e->count, counts->data, (size_t)counts->bytes);
	return HTH_OK;
}

static enum hth_status read_facts(const struct hth_gguf *g, struct hth_imatrix *out, struct hth_err *err)
{
	struct hth_gguf_strings texts;
	struct hth_gguf_str first;
	enum hth_status s = hth_gguf_int(g, "imatrix.chunk_count", 0, INT64_MAX, 0, &out->chunks, err);

	if (s == HTH_OK)
		s = hth_gguf_int(g, "imatrix.chunk_size", 0, INT64_MAX, 0, &out->chunk_size, err);
	if (s != HTH_OK || hth_gguf_find(g, "imatrix.datasets") == NULL)
		return s;
	s = hth_gguf_strings(g, "imatrix.datasets", &texts, err);
	if (s == HTH_OK && hth_gguf_next(&texts, &first)) {
		out->dataset = hth_strndup(first.data, first.bytes);
		if (out->dataset == NULL)
			s = hth_fail_memory(err, "an importance matrix", first.bytes);
	}
	return s;
}

static enum hth_status read_gguf(const char *path, struct hth_imatrix *out, struct hth_err *err)
{
	static const char suffix[] = ".in_sum2";
	const size_t tail = sizeof suffix - 1;
	struct hth_gguf g = {0};
	enum hth_status s = hth_gguf_open(&g, path, err);

	if (s == HTH_OK)
		s = read_facts(&g, out, err);
	for (size_t i = 0; s == HTH_OK && i < g.n_tensors; i++) {
		struct hth_gguf_str name = g.tensors[i].name;
		if (name.bytes > tail && memcmp(name.data + name.bytes - tail, suffix, tail) == 0)
			s = read_pair(&g, &g.tensors[i], name.bytes - tail, out, err);
	}
	if (s == HTH_OK && out->n == 0)
		s = hth_fail(err, HTH_ERR_FORMAT, "%s: holds no importance: expected tensors named NAME.in_sum2", path);
	hth_gguf_close(&g);
	return s;
}

enum hth_status hth_imatrix_read(const char *path, struct hth_imatrix *out, struct hth_err *err)
{
	struct hth_map map = {0};

	*out = (struct hth_imatrix){0};
	enum hth_status s = hth_map_open(&map, path, err);
	if (s != HTH_OK)
		return s;
	bool gguf = map.bytes >= 4 && memcmp(map.data, "GGUF", 4) == 0;
	s = gguf ? read_gguf(path, out, err) : read_old(&map, out, err);
	hth_map_close(&map);
	if (s == HTH_OK && (out->path = hth_strdup(path)) == NULL)
		s = hth_fail_memory(err, "a path", strlen(path));
	if (s == HTH_OK)
		s = hth_imatrix_sort(out, path, err);
	if (s != HTH_OK)
		hth_imatrix_clear(out);
	return s;
}

/* ---- writing ---- */

static enum hth_status put_facts(struct hth_gguf_writer *w, const struct hth_imatrix *im, struct hth_err *err)
{
	const char *text = im->dataset != NULL ? im->dataset : "";
	size_t n = strlen(text);
	uint64_t length = n;
	uint8_t *array = hth_alloc(n + 8);

	if (array == NULL)
		return hth_fail_memory(err, "an importance matrix", n);
	for (int i = 0; i < 8; i++)
		array[i] = (uint8_t)(length >> 8 * i & 0xFF);
	memcpy(array + 8, text, n);
	enum hth_status s = hth_gguf_put_string(w, "general.type", "imatrix", 7, err);
	if (s == HTH_OK)
		s = hth_gguf_put_array(w, "imatrix.datasets", HTH_GGUF_STRING, 1, array, n + 8, err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(w, "imatrix.chunk_count", HTH_GGUF_U32, im->chunks, err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(w, "imatrix.chunk_size", HTH_GGUF_U32, im->chunk_size, err);
	hth_free(array);
	return s;
}

static enum hth_status announce(struct hth_gguf_writer *w, const struct hth_imatrix_entry *e, struct hth_err *err)
{
	char name[MAX_NAME + 16];
	const int64_t sums[2] = {e->cols, e->matrices}, counts[2] = {1, e->matrices};

	snprintf(name, sizeof name, "%.*s.in_sum2", MAX_NAME, e->name);
	enum hth_status s = hth_gguf_add_tensor(w, name, 2, sums, HTH_QUANT_F32, err);
	snprintf(name, sizeof name, "%.*s.counts", MAX_NAME, e->name);
	return s == HTH_OK ? hth_gguf_add_tensor(w, name, 2, counts, HTH_QUANT_F32, err) : s;
}

enum hth_status hth_imatrix_write(const char *path, const struct hth_imatrix *im, struct hth_err *err)
{
	struct hth_gguf_writer *w = NULL;
	enum hth_status s = hth_gguf_writer_new(path, &w, err);

	if (s != HTH_OK)
		return s;
	s = put_facts(w, im, err);
	for (size_t i = 0; i < im->n && s == HTH_OK; i++)
		s = announce(w, &im->entries[i], err);
	for (size_t i = 0; i < im->n && s == HTH_OK; i++) {
		const struct hth_imatrix_entry *e = &im->entries[i];
		s = hth_gguf_write_data(w, e->sum, (size_t)(e->cols * e->matrices) * sizeof *e->sum, err);
		if (s == HTH_OK)
			s = hth_gguf_write_data(w, e->count, (size_t)e->matrices * sizeof *e->count, err);
	}
	if (s == HTH_OK)
		return hth_gguf_writer_commit(w, err);
	hth_gguf_writer_abort(w);
	return s;
}
