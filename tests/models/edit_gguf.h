/* A changed copy of a GGUF file: keys and tensors of the original with some left out, replaced or added. */
#ifndef HTH_TESTS_MODELS_EDIT_GGUF_H
#define HTH_TESTS_MODELS_EDIT_GGUF_H

#include "base/mem.h"
#include "formats/gguf.h"
#include "support.h"

enum edit_kind {
	EDIT_END,
	EDIT_DROP_KEY,    /* name */
	EDIT_INT_KEY,     /* name = value (i64) */
	EDIT_REAL_KEY,    /* name = real (f32) */
	EDIT_TEXT_KEY,    /* name = text */
	EDIT_DROP_TENSOR, /* name; "*": all */
	EDIT_SHAPE,       /* name becomes f32 zeros of rows x cols */
	EDIT_ADD_TENSOR,  /* name, f32 of rows x cols, all `real` */
	EDIT_FILL,        /* name keeps its shape, becomes f32, all `real` */
};

struct edit {
	enum edit_kind kind;
	const char *name;
	int64_t value, rows, cols;
	float real;
	const char *text;
};

static inline const struct edit *edit_of(const struct edit *edits, struct hth_gguf_str name, bool tensor)
{
	for (; edits->kind != EDIT_END; edits++) {
		bool about_tensor = edits->kind >= EDIT_DROP_TENSOR;
		if (about_tensor == tensor && edits->kind != EDIT_ADD_TENSOR &&
		    (hth_gguf_str_equal(name, edits->name) || (tensor && strcmp(edits->name, "*") == 0)))
			return edits;
	}
	return NULL;
}

static inline void edit_put_key(struct hth_gguf_writer *w, const struct edit *e)
{
	struct hth_err err;

	if (e->kind == EDIT_INT_KEY)
		assert_ok(hth_gguf_put_int(w, e->name, HTH_GGUF_I64, e->value, &err));
	else if (e->kind == EDIT_REAL_KEY)
		assert_ok(hth_gguf_put_f32(w, e->name, e->real, &err));
	else if (e->kind == EDIT_TEXT_KEY)
		assert_ok(hth_gguf_put_string(w, e->name, e->text, strlen(e->text), &err));
}

static inline void edit_write_fill(struct hth_gguf_writer *w, int64_t n, float v)
{
	struct hth_err err;

	for (int64_t i = 0; i < n; i++)
		assert_ok(hth_gguf_write_data(w, &v, sizeof(v), &err));
}

static inline void edit_tensors(struct hth_gguf_writer *w, const struct hth_gguf *g, const struct edit *edits,
				bool data)
{
	struct hth_err err;

	for (size_t i = 0; i < g->n_tensors; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[i];
		const struct edit *e = edit_of(edits, t->name, true);
		char name[64];
		int64_t ne[4] = {t->ne[0], t->ne[1], t->ne[2], t->ne[3]};
		if (e != NULL && e->kind == EDIT_DROP_TENSOR)
			continue;
		if (e != NULL && e->kind == EDIT_SHAPE) {
			ne[0] = e->cols;
			ne[1] = e->rows;
			ne[2] = ne[3] = 1;
		}
		bool shaped = e != NULL && e->kind == EDIT_SHAPE;
		snprintf(name, sizeof(name), "%.*s", (int)t->name.bytes, t->name.data);
		if (!data)
			assert_ok(hth_gguf_add_tensor(w, name, shaped && ne[1] > 1 ? 2 : t->n_dims, ne,
						      e != NULL ? HTH_QUANT_F32 : t->quant, &err));
		else if (e == NULL)
			assert_ok(hth_gguf_write_data(w, t->data, (size_t)t->bytes, &err));
		else
			edit_write_fill(w, ne[0] * ne[1] * ne[2] * ne[3], e->real);
	}
	for (; edits->kind != EDIT_END; edits++) {
		if (edits->kind != EDIT_ADD_TENSOR)
			continue;
		int64_t ne[2] = {edits->cols, edits->rows};
		if (!data)
			assert_ok(
				hth_gguf_add_tensor(w, edits->name, edits->rows > 1 ? 2 : 1, ne, HTH_QUANT_F32, &err));
		else
			edit_write_fill(w, ne[0] * ne[1], edits->real);
	}
}

static inline void edit_gguf(const char *from, const char *to, const struct edit *edits)
{
	struct hth_gguf g;
	struct hth_gguf_writer *w;
	struct hth_err err;

	assert_ok(hth_gguf_open(&g, from, &err));
	assert_ok(hth_gguf_writer_new(to, &w, &err));
	for (size_t i = 0; i < g.n_kv; i++)
		if (edit_of(edits, g.kv[i].key, false) == NULL)
			assert_ok(hth_gguf_put_kv(w, &g.kv[i], &err));
	for (const struct edit *e = edits; e->kind != EDIT_END; e++)
		edit_put_key(w, e);
	edit_tensors(w, &g, edits, false);
	edit_tensors(w, &g, edits, true);
	assert_ok(hth_gguf_writer_commit(w, &err));
	hth_gguf_close(&g);
}

#endif
