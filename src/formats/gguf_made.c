/* GGUF in memory: see gguf_made.h. Tensors point into files of their own, so the test for overlaps does not apply: two
 * may well share bytes (a tied head). */
#include "formats/gguf_made.h"

#include "base/checked.h"
#include "base/mem.h"
#include "formats/gguf_int.h"

#include <string.h>

enum { MAX_ENTRIES = 1 << 20 };

enum hth_status hth_gguf_made_init(struct hth_gguf_made *m, const char *name, size_t max_bytes, struct hth_err *err)
{
	*m = (struct hth_gguf_made){.g.version = 3, .g.alignment = HTH_GGUF_DEFAULT_ALIGNMENT};
	hth_arena_init(&m->arena, max_bytes);
	m->g.map.path = hth_strdup(name);
	return m->g.map.path != NULL ? HTH_OK : hth_fail_memory(err, "a path", strlen(name));
}

void hth_gguf_made_clear(struct hth_gguf_made *m)
{
	hth_gguf_close(&m->g);
	hth_arena_clear(&m->arena);
}

/* A copy with the bytes of an aligned allocation behind it. */
static void *copy(struct hth_gguf_made *m, const void *data, size_t bytes)
{
	char *p = hth_arena_calloc(&m->arena, bytes + 1, 1);

	if (p != NULL && bytes > 0)
		memcpy(p, data, bytes);
	m->failed = m->failed || p == NULL;
	return p;
}

static void add(struct hth_gguf_made *m, const char *key, const struct hth_gguf_kv *value, const void *data)
{
	struct hth_gguf *g = &m->g;
	struct hth_gguf_kv kv = *value;
	void *grown = m->failed ? NULL : hth_grow(g->kv, g->n_kv, &m->cap_kv, MAX_ENTRIES, sizeof(*g->kv));

	m->failed = grown == NULL;
	if (grown == NULL)
		return;
	g->kv = grown;
	kv.key = (struct hth_gguf_str){copy(m, key, strlen(key)), strlen(key)};
	kv.data = copy(m, data, value->data_bytes);
	if (!m->failed)
		g->kv[g->n_kv++] = kv;
}

void hth_gguf_made_u32(struct hth_gguf_made *m, const char *key, int64_t value)
{
	uint8_t le[4];

	if (value < 0 || value > UINT32_MAX)
		m->failed = true;
	for (int i = 0; i < 4; i++)
		le[i] = (uint8_t)((uint64_t)value >> (8 * i) & 255);
	add(m, key, &(struct hth_gguf_kv){.type = HTH_GGUF_U32, .n = 1, .data_bytes = 4}, le);
}

void hth_gguf_made_f32(struct hth_gguf_made *m, const char *key, double value)
{
	union {
		float f;
		uint32_t u;
	} bits = {.f = (float)value};
	uint8_t le[4];

	for (int i = 0; i < 4; i++)
		le[i] = (uint8_t)(bits.u >> (8 * i) & 255);
	add(m, key, &(struct hth_gguf_kv){.type = HTH_GGUF_F32, .n = 1, .data_bytes = 4}, le);
}

void hth_gguf_made_bool(struct hth_gguf_made *m, const char *key, bool value)
{
	uint8_t byte = value;

	add(m, key, &(struct hth_gguf_kv){.type = HTH_GGUF_BOOL, .n = 1, .data_bytes = 1}, &byte);
}

void hth_gguf_made_string(struct hth_gguf_made *m, const char *key, const char *text, size_t bytes)
{
	uint8_t *data = hth_arena_calloc(&m->arena, bytes + 8, 1);

	m->failed = m->failed || data == NULL;
	if (m->failed)
		return;
	for (int i = 0; i < 8; i++)
		data[i] = (uint8_t)((uint64_t)bytes >> (8 * i) & 255);
	memcpy(data + 8, text, bytes);
	add(m, key, &(struct hth_gguf_kv){.type = HTH_GGUF_STRING, .n = 1, .data_bytes = bytes + 8}, data);
}

void hth_gguf_made_array(struct hth_gguf_made *m, const char *key, enum hth_gguf_type elem, uint64_t n,
			 const void *data, size_t bytes)
{
	add(m, key,
	    &(struct hth_gguf_kv){.type = HTH_GGUF_ARRAY, .elem_type = elem, .n = n, .data_bytes = bytes}, data);
}

void hth_gguf_made_tensor(struct hth_gguf_made *m, const char *name, int n_dims, const int64_t *ne,
			  enum hth_quant quant, const void *data)
{
	struct hth_gguf *g = &m->g;
	struct hth_gguf_tensor t = {.n_dims = n_dims, .quant = quant, .data = data};
	void *grown = m->failed ? NULL : hth_grow(g->tensors, g->n_tensors, &m->cap_tensors, MAX_ENTRIES, sizeof(t));
	uint64_t row = 0;

	m->failed = grown == NULL || hth_quant_row_bytes(quant, (uint64_t)ne[0], &row, NULL) != HTH_OK;
	if (grown != NULL)
		g->tensors = grown;
	t.bytes = row;
	for (int i = 0; i < 4; i++) {
		t.ne[i] = i < n_dims ? ne[i] : 1;
		m->failed = m->failed || (i > 0 && !hth_mul_u64(t.bytes, (uint64_t)t.ne[i], &t.bytes));
	}
	if (m->failed)
		return;
	t.name = (struct hth_gguf_str){copy(m, name, strlen(name)), strlen(name)};
	if (m->failed)
		return;
	g->tensors[g->n_tensors++] = t;
	g->bytes += t.bytes;
}

enum hth_status hth_gguf_made_finish(struct hth_gguf_made *m, struct hth_err *err)
{
	struct hth_gguf *g = &m->g;
	enum hth_status st = HTH_OK;

	if (m->failed)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: its keys do not fit memory or their types", g->map.path);
	for (size_t i = 0; st == HTH_OK && i < g->n_kv; i++)
		st = hth_gguf_check_name(g->kv[i].key, HTH_GGUF_MAX_KEY_BYTES, "key", err);
	for (size_t i = 0; st == HTH_OK && i < g->n_tensors; i++)
		st = hth_gguf_check_name(g->tensors[i].name, HTH_GGUF_MAX_NAME_BYTES, "tensor name", err);
	if (st == HTH_OK)
		st = hth_gguf_index_new(g, err);
	return st == HTH_OK || err == NULL ? st : hth_err_prefix(err, "%s", g->map.path);
}
