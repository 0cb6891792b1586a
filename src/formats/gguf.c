/* The GGUF reader: maps the file, walks it once to validate everything, and only then allocates two tables whose
 * sizes the walk has proved. Getters are in gguf_values.c, the writer in gguf_write.c.
 *
 * Decisions where readers differ (docs/formats/gguf.md): tensors may stand in any order and leave gaps, but may not
 * overlap; bytes after the last tensor are allowed; dims of 0 and tensors without dims are not; tensor types that
 * hearth cannot unpack are refused at open. Source: ggml's docs/gguf.md, version 3. */
#include "formats/gguf_int.h"

#include "base/checked.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Fewest bytes an entry can take: key length, one byte of key, type, one byte of value; name length, one byte of
 * name, number of dims, one dim, type, offset. They bound both counts by the size of the file. */
enum { MIN_KV_BYTES = 8 + 1 + 4 + 1, MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

/* So a file of n bytes never makes tables of more than 64 n. */
_Static_assert(sizeof(struct hth_gguf_kv) + sizeof(void *) <= 64 * MIN_KV_BYTES, "the table of keys");
_Static_assert(sizeof(struct hth_gguf_tensor) + sizeof(void *) <= 64 * MIN_TENSOR_BYTES, "the table of tensors");

struct counts {
	uint32_t version;
	uint64_t n_tensors, n_kv;
};

/* ggml's names of types that exist but have no format here; NULL for ids never given or withdrawn. */
static const char *foreign_type_name(uint32_t type)
{
	static const struct {
		uint32_t id;
		const char *name;
	} names[] = {
		{9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
		{19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
		{24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
		{29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {40, "NVFP4"},
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].id == type)
			return names[i].name;
	return NULL;
}

static enum hth_status cut(const struct hth_gguf_cursor *c, const char *inside, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_FORMAT, "the file ends at byte %zu inside %s; was it cut?",
			(size_t)(c->end - c->base), inside);
}

static enum hth_status read_head(struct hth_gguf_cursor *c, struct counts *n, struct hth_err *err)
{
	if (hth_gguf_left(c) < 4)
		return cut(c, "the magic number (expected \"GGUF\")", err);
	if (memcmp(c->at, "GGUF", 4) != 0) {
		char shown[32];
		return hth_fail(err, HTH_ERR_FORMAT, "not a GGUF file: it begins with \"%s\", expected \"GGUF\"",
				hth_quote(shown, sizeof(shown), (const char *)c->at, 4));
	}
	c->at += 4;
	if (!hth_gguf_read_u32(c, &n->version))
		return cut(c, "the version", err);
	if (n->version != 0 && (n->version & 0xFFFFu) == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"a big-endian GGUF file, expected little-endian; convert it with gguf-py");
	if (n->version != 2 && n->version != 3)
		return hth_fail(err, HTH_ERR_FORMAT, "GGUF version %u, expected 2 or 3%s", n->version,
				n->version == 1 ? "; convert it with a newer llama.cpp" : "");
	if (!hth_gguf_read_u64(c, &n->n_tensors) || !hth_gguf_read_u64(c, &n->n_kv))
		return cut(c, "the counts of tensors and keys", err);
	size_t left = hth_gguf_left(c);
	if (n->n_kv > left / MIN_KV_BYTES)
		return hth_fail(err, HTH_ERR_FORMAT, "says %llu keys, the file's %zu bytes hold at most %zu",
				(unsigned long long)n->n_kv, left, left / MIN_KV_BYTES);
	if (n->n_tensors > left / MIN_TENSOR_BYTES)
		return hth_fail(err, HTH_ERR_FORMAT, "says %llu tensors, the file's %zu bytes hold at most %zu",
				(unsigned long long)n->n_tensors, left, left / MIN_TENSOR_BYTES);
	return HTH_OK;
}

static enum hth_status read_kv_value(struct hth_gguf_cursor *c, struct hth_gguf_kv *kv, struct hth_err *err)
{
	uint32_t type, elem = 0;
	uint64_t n = 1;
	if (!hth_gguf_read_u32(c, &type))
		return cut(c, "the value's type", err);
	if (type == HTH_GGUF_ARRAY && (!hth_gguf_read_u32(c, &elem) || !hth_gguf_read_u64(c, &n)))
		return cut(c, "the array's type and length", err);
	const uint8_t *first = c->at;
	enum hth_status st = hth_gguf_skip_values(c, type == HTH_GGUF_ARRAY ? elem : type, n, err);
	if (st != HTH_OK)
		return st;
	kv->type = (enum hth_gguf_type)type;
	kv->elem_type = (enum hth_gguf_type)elem;
	kv->n = n;
	kv->data = first;
	kv->data_bytes = (size_t)(c->at - first);
	return HTH_OK;
}

static enum hth_status read_kv(struct hth_gguf_cursor *c, struct hth_gguf_kv *kv, struct hth_err *err)
{
	char shown[96];
	enum hth_status st = hth_gguf_read_str(c, "a key", &kv->key, err);
	if (st == HTH_OK)
		st = hth_gguf_check_name(kv->key, HTH_GGUF_MAX_KEY_BYTES, "key", err);
	if (st != HTH_OK)
		return st;
	st = read_kv_value(c, kv, err);
	if (st != HTH_OK)
		(void)hth_err_prefix(err, "key \"%s\"", hth_quote(shown, sizeof(shown), kv->key.data, kv->key.bytes));
	return st;
}

static enum hth_status check_type(uint32_t type, enum hth_quant *quant, struct hth_err *err)
{
	*quant = type <= INT32_MAX ? hth_quant_from_ggml((int)type) : HTH_QUANT_NONE;
	if (*quant != HTH_QUANT_NONE)
		return HTH_OK;
	const char *name = foreign_type_name(type);
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"ggml type id %u%s%s%s is not supported; use a file in bf16, f16, q8_0, q4_k_m or the like",
			type, name ? " (" : "", name ? name : "", name ? ")" : "");
}

/* Shape and type -> bytes, all multiplications checked: elements as int64, bytes as uint64. */
static enum hth_status tensor_bytes(struct hth_gguf_tensor *t, struct hth_err *err)
{
	uint64_t elems = 1, row, bytes;
	for (int i = 0; i < t->n_dims; i++) {
		if (t->ne[i] <= 0)
			return hth_fail(err, HTH_ERR_FORMAT, "dimension %d is %lld, expected at least 1", i,
					(long long)t->ne[i]);
		if (!hth_mul_u64(elems, (uint64_t)t->ne[i], &elems) || elems > INT64_MAX)
			return hth_fail(err, HTH_ERR_FORMAT, "the product of its dimensions does not fit 63 bits");
	}
	const struct hth_quant_format *f = hth_quant_format(t->quant);
	if (t->ne[0] % f->block_elems != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "rows of %lld elements, expected a multiple of %u for %s",
				(long long)t->ne[0], f->block_elems, f->name);
	row = (uint64_t)t->ne[0] / f->block_elems;
	if (!hth_mul_u64(row, f->block_bytes, &row) || !hth_mul_u64(row, elems / (uint64_t)t->ne[0], &bytes))
		return hth_fail(err, HTH_ERR_FORMAT, "its size in bytes does not fit 64 bits");
	t->bytes = bytes;
	return HTH_OK;
}

static enum hth_status read_tensor_body(struct hth_gguf_cursor *c, struct hth_gguf_tensor *t, uint64_t *offset,
					struct hth_err *err)
{
	uint32_t n_dims, type;
	uint64_t dim;
	if (!hth_gguf_read_u32(c, &n_dims))
		return cut(c, "the number of dimensions", err);
	if (n_dims < 1 || n_dims > 4)
		return hth_fail(err, HTH_ERR_FORMAT, "%u dimensions, expected 1..4", n_dims);
	t->n_dims = (int)n_dims;
	for (int i = 0; i < 4; i++) {
		dim = 1;
		if (i < t->n_dims && !hth_gguf_read_u64(c, &dim))
			return cut(c, "the dimensions", err);
		t->ne[i] = (int64_t)dim; /* past INT64_MAX it turns negative, which tensor_bytes refuses */
	}
	if (!hth_gguf_read_u32(c, &type) || !hth_gguf_read_u64(c, offset))
		return cut(c, "the tensor's type and offset", err);
	enum hth_status st = check_type(type, &t->quant, err);
	return st != HTH_OK ? st : tensor_bytes(t, err);
}

static enum hth_status prefix_tensor(const struct hth_gguf_tensor *t, enum hth_status st, struct hth_err *err)
{
	char shown[96];
	(void)hth_err_prefix(err, "tensor \"%s\"", hth_quote(shown, sizeof(shown), t->name.data, t->name.bytes));
	return st;
}

static enum hth_status read_tensor(struct hth_gguf_cursor *c, struct hth_gguf_tensor *t, uint64_t *offset,
				   struct hth_err *err)
{
	enum hth_status st = hth_gguf_read_str(c, "a tensor's name", &t->name, err);
	if (st == HTH_OK)
		st = hth_gguf_check_name(t->name, HTH_GGUF_MAX_NAME_BYTES, "tensor name", err);
	if (st != HTH_OK)
		return st;
	st = read_tensor_body(c, t, offset, err);
	return st != HTH_OK ? prefix_tensor(t, st, err) : HTH_OK;
}

static enum hth_status read_alignment(const struct hth_gguf_kv *kv, uint64_t *alignment, struct hth_err *err)
{
	if (kv->type != HTH_GGUF_U32)
		return hth_fail(err, HTH_ERR_FORMAT, "key \"%s\": found type %s, expected u32", HTH_GGUF_ALIGNMENT_KEY,
				hth_gguf_type_name(kv->type));
	*alignment = hth_gguf_le32(kv->data);
	return hth_gguf_check_alignment(*alignment, err);
}

/* Where tensor t lies: aligned, inside the data section. */
static enum hth_status place_tensor(const struct hth_gguf *g, struct hth_gguf_tensor *t, uint64_t data_start,
				    uint64_t offset, struct hth_err *err)
{
	if (offset % g->alignment != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "offset %llu is no multiple of the alignment %llu",
				(unsigned long long)offset, (unsigned long long)g->alignment);
	uint64_t data_bytes = g->map.bytes - data_start;
	if (!hth_range_inside(offset, t->bytes, data_bytes))
		return hth_fail(
			err, HTH_ERR_FORMAT,
			"its %llu bytes at offset %llu pass the end of the data (%llu bytes); was the file cut?",
			(unsigned long long)t->bytes, (unsigned long long)offset, (unsigned long long)data_bytes);
	t->data = g->map.data + data_start + offset;
	return HTH_OK;
}

/* One walk over everything after the counts. With g->kv NULL it only checks; the second call, with the tables
 * allocated, fills them. The data section begins at the padded end of the walk. */
static enum hth_status walk(struct hth_gguf *g, const struct counts *n, struct hth_gguf_cursor c, struct hth_err *err)
{
	enum hth_status st;
	for (uint64_t i = 0; i < n->n_kv; i++) {
		struct hth_gguf_kv kv = {0};
		st = read_kv(&c, &kv, err);
		if (st == HTH_OK && hth_gguf_str_equal(kv.key, HTH_GGUF_ALIGNMENT_KEY))
			st = read_alignment(&kv, &g->alignment, err);
		if (st != HTH_OK)
			return st;
		if (g->kv != NULL)
			g->kv[i] = kv;
	}
	/* Where the data begins is known only after the list of tensors. */
	struct hth_gguf_cursor list = c;
	struct hth_gguf_tensor t = {0};
	uint64_t offset, start = 0;
	for (uint64_t i = 0; i < n->n_tensors; i++) {
		st = read_tensor(&c, &t, &offset, err);
		if (st != HTH_OK)
			return st;
	}
	if (!hth_pad_u64((uint64_t)(c.at - c.base), g->alignment, &start) || (n->n_tensors > 0 && start > g->map.bytes))
		return cut(&c, "the padding before the data", err);
	for (uint64_t i = 0; i < n->n_tensors; i++) {
		st = read_tensor(&list, &t, &offset, err);
		if (st != HTH_OK)
			return st;
		st = place_tensor(g, &t, start, offset, err);
		if (st != HTH_OK)
			return prefix_tensor(&t, st, err);
		if (g->tensors != NULL)
			g->tensors[i] = t;
	}
	return HTH_OK;
}

static int order_kv(const void *a, const void *b)
{
	const struct hth_gguf_kv *const *x = a, *const *y = b;
	return hth_gguf_str_order((*x)->key, (*y)->key);
}

static int order_name(const void *a, const void *b)
{
	const struct hth_gguf_tensor *const *x = a, *const *y = b;
	return hth_gguf_str_order((*x)->name, (*y)->name);
}

static int order_place(const void *a, const void *b)
{
	const struct hth_gguf_tensor *const *x = a, *const *y = b;
	return (*x)->data < (*y)->data ? -1 : (*x)->data > (*y)->data;
}

static enum hth_status check_overlap(struct hth_gguf *g, const struct hth_gguf_tensor **by_place, struct hth_err *err)
{
	char one[96], two[96];
	qsort(by_place, g->n_tensors, sizeof(*by_place), order_place);
	for (size_t i = 1; i < g->n_tensors; i++) {
		const struct hth_gguf_tensor *a = by_place[i - 1], *b = by_place[i];
		if ((uint64_t)(b->data - a->data) < a->bytes)
			return hth_fail(err, HTH_ERR_FORMAT, "tensors \"%s\" and \"%s\" overlap",
					hth_quote(one, sizeof(one), a->name.data, a->name.bytes),
					hth_quote(two, sizeof(two), b->name.data, b->name.bytes));
	}
	return HTH_OK;
}

/* Equal neighbours in sorted tables are duplicates. */
static enum hth_status check_twice(const struct hth_gguf *g, const struct hth_gguf_index *index, struct hth_err *err)
{
	char shown[96];
	for (size_t i = 1; i < g->n_kv; i++)
		if (order_kv(&index->kv[i - 1], &index->kv[i]) == 0)
			return hth_fail(
				err, HTH_ERR_FORMAT, "key \"%s\" stands twice in the file",
				hth_quote(shown, sizeof(shown), index->kv[i]->key.data, index->kv[i]->key.bytes));
	for (size_t i = 1; i < g->n_tensors; i++)
		if (order_name(&index->tensors[i - 1], &index->tensors[i]) == 0)
			return hth_fail(err, HTH_ERR_FORMAT, "tensor \"%s\" stands twice in the file",
					hth_quote(shown, sizeof(shown), index->tensors[i]->name.data,
						  index->tensors[i]->name.bytes));
	return HTH_OK;
}

static void fill_index(struct hth_gguf *g, struct hth_gguf_index *index)
{
	for (size_t i = 0; i < g->n_kv; i++)
		index->kv[i] = &g->kv[i];
	for (size_t i = 0; i < g->n_tensors; i++)
		index->tensors[i] = &g->tensors[i];
}

static void sort_index(struct hth_gguf *g, struct hth_gguf_index *index)
{
	qsort(index->kv, g->n_kv, sizeof(*index->kv), order_kv);
	qsort(index->tensors, g->n_tensors, sizeof(*index->tensors), order_name);
}

enum hth_status hth_gguf_index_names(struct hth_gguf *g, struct hth_gguf_index *index, struct hth_err *err)
{
	fill_index(g, index);
	enum hth_status st = check_overlap(g, index->tensors, err);
	if (st != HTH_OK)
		return st;
	sort_index(g, index);
	return check_twice(g, index, err);
}

static void free_index(struct hth_gguf_index *index)
{
	if (index == NULL)
		return;
	hth_free(index->kv);
	hth_free(index->tensors);
	hth_free(index);
}

enum hth_status hth_gguf_index_new(struct hth_gguf *g, struct hth_err *err)
{
	struct hth_gguf_index *index = hth_calloc(1, sizeof(*index));
	free_index(g->index);
	g->index = index;
	if (index == NULL)
		return hth_fail_memory(err, "GGUF index", sizeof(*index));
	index->kv = hth_calloc(g->n_kv + 1, sizeof(*index->kv));
	index->tensors = hth_calloc(g->n_tensors + 1, sizeof(*index->tensors));
	if (index->kv == NULL || index->tensors == NULL)
		return hth_fail_memory(err, "GGUF index", (g->n_kv + g->n_tensors) * sizeof(*index->kv));
	fill_index(g, index);
	sort_index(g, index);
	return check_twice(g, index, err);
}

static enum hth_status allocate(struct hth_gguf *g, const struct counts *n, struct hth_err *err)
{
	struct hth_gguf_index *index = hth_calloc(1, sizeof(*index));
	g->index = index;
	if (index == NULL)
		return hth_fail_memory(err, "GGUF index", sizeof(*index));
	/* Both counts are bounded by the file's size (read_head), so they fit size_t. */
	g->kv = hth_calloc((size_t)n->n_kv, sizeof(*g->kv));
	g->tensors = hth_calloc((size_t)n->n_tensors, sizeof(*g->tensors));
	index->kv = hth_calloc((size_t)n->n_kv, sizeof(*index->kv));
	index->tensors = hth_calloc((size_t)n->n_tensors, sizeof(*index->tensors));
	if (g->kv == NULL || g->tensors == NULL || index->kv == NULL || index->tensors == NULL)
		return hth_fail_memory(err, "GGUF tables",
				       (size_t)n->n_kv * sizeof(*g->kv) + (size_t)n->n_tensors * sizeof(*g->tensors));
	g->n_kv = (size_t)n->n_kv;
	g->n_tensors = (size_t)n->n_tensors;
	return HTH_OK;
}

enum hth_status hth_gguf_open(struct hth_gguf *g, const char *path, struct hth_err *err)
{
	struct counts n = {0};
	memset(g, 0, sizeof(*g));
	enum hth_status st = hth_map_open(&g->map, path, err);
	if (st != HTH_OK)
		return st;
	static const uint8_t nothing[1];
	const uint8_t *base = g->map.bytes > 0 ? g->map.data : nothing;
	struct hth_gguf_cursor c = {base, base, base + g->map.bytes};
	g->alignment = HTH_GGUF_DEFAULT_ALIGNMENT;
	st = read_head(&c, &n, err);
	if (st == HTH_OK)
		st = walk(g, &n, c, err);
	if (st == HTH_OK)
		st = allocate(g, &n, err);
	if (st == HTH_OK)
		st = walk(g, &n, c, err);
	if (st == HTH_OK)
		st = hth_gguf_index_names(g, g->index, err);
	g->version = n.version;
	g->bytes = g->map.bytes;
	if (st != HTH_OK) {
		(void)hth_err_prefix(err, "%s", path);
		hth_gguf_close(g);
	}
	return st;
}

void hth_gguf_close(struct hth_gguf *g)
{
	free_index(g->index);
	hth_free(g->kv);
	hth_free(g->tensors);
	for (size_t i = 0; i < g->n_parts; i++)
		hth_map_close(&g->parts[i]);
	hth_free(g->parts);
	hth_map_close(&g->map);
	memset(g, 0, sizeof(*g));
}

const struct hth_gguf_kv *hth_gguf_find(const struct hth_gguf *g, const char *key)
{
	const struct hth_gguf_index *index = g->index;
	struct hth_gguf_str want = {key, strlen(key)};
	size_t low = 0, high = g->n_kv;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = hth_gguf_str_order(want, index->kv[mid]->key);
		if (order == 0)
			return index->kv[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const struct hth_gguf_tensor *hth_gguf_tensor(const struct hth_gguf *g, const char *name)
{
	const struct hth_gguf_index *index = g->index;
	struct hth_gguf_str want = {name, strlen(name)};
	size_t low = 0, high = g->n_tensors;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = hth_gguf_str_order(want, index->tensors[mid]->name);
		if (order == 0)
			return index->tensors[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}
