/* A folder as GGUF: see as_gguf.h. Vectors are written as f32 and made here, since Gemma's differ by 1 and Llama's
 * biases are permuted; matrices are pointed at.
 * The tokenizer is read back from the keys and asked the same questions as the folder's. Where ids differ (Mistral 0.3
 * puts its space elsewhere, Phi 3's tokens swallow blanks) the whole tokenizer.json goes into the file, under the key
 * that the format has for it; hearth reads that first. */
#include "export/as_gguf.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/hf.h"
#include "models/source.h"
#include "text/tokenizer_convert.h"

#include <math.h>
#include <string.h>

#define MAX_KEYS_BYTES ((size_t)1 << 30)
#define MAX_JSON_BYTES ((size_t)256 << 20)

/* What a vector's elements are in GGUF: permuted as their matrix, norms with what the folder leaves out. */
static float *gguf_vector(const struct hth_model *m, const struct hth_model_part *p, struct hth_arena *arena)
{
	const struct hth_weight order = {.head_rows = p->head_rows};
	const float *v = (const float *)(const void *)p->piece[0].w->data; /* (cols) */
	float *out = hth_arena_calloc(arena, (size_t)p->cols, sizeof(*out));
	float more = p->kind == HTH_PART_NORM ? m->config.norm_offset : 0;

	for (int64_t i = 0; out != NULL && i < p->cols; i++) {
		float x = v[hth_part_place(p, &p->heads, hth_weight_logical_row(&order, i))];
		out[i] = p->kind == HTH_PART_DECAY ? (float)-exp((double)x) : x + more;
	}
	return out;
}

/* The experts' biases, one row each. */
static float *stacked_vectors(const struct hth_model_part *p, struct hth_arena *arena)
{
	float *out = hth_arena_calloc(arena, (size_t)(p->n_stack * p->cols), sizeof(*out)); /* (E,N) */

	for (int64_t e = 0; out != NULL && e < p->n_stack; e++)
		memcpy(out + e * p->cols, p->stack[e].data, (size_t)p->cols * sizeof(*out));
	return out;
}

static enum hth_status put_tensors(const struct hth_model *m, struct hth_as_gguf *a, struct hth_err *err)
{
	enum hth_status st = hth_model_parts(m, HTH_LAYOUT_GGUF, &a->parts, &a->n_parts, err);

	for (size_t i = 0; st == HTH_OK && i < a->n_parts; i++) {
		const struct hth_model_part *p = &a->parts[i];
		int64_t ne[3] = {p->cols, p->rows, p->n_stack};
		if (p->kind == HTH_PART_MATRIX) {
			/* A stack's data is one expert's, maybe in another format: rows come through the list of parts. */
			hth_gguf_made_tensor(&a->made, p->name, p->stack != NULL ? 3 : 2, ne,
					     p->f32 ? HTH_QUANT_F32 : p->piece[0].w->quant, p->piece[0].w->data);
			continue;
		}
		const float *v = p->stack != NULL ? stacked_vectors(p, &a->made.arena)
						  : gguf_vector(m, p, &a->made.arena);
		if (v == NULL)
			return hth_fail_memory(err, p->name, (size_t)p->cols * sizeof(*v));
		ne[1] = p->n_stack;
		if (p->kind == HTH_PART_CONV) {
			ne[0] = p->taps;
			ne[1] = p->cols / p->taps;
		}
		hth_gguf_made_tensor(&a->made, p->name, p->stack != NULL || p->kind == HTH_PART_CONV ? 2 : 1, ne,
				     HTH_QUANT_F32, v);
	}
	return st;
}

/* The padding token that tokenizer_config.json names; -1: none. */
static int32_t padding(const struct hth_model *m)
{
	char *path = hth_path_join(m->path, "tokenizer_config.json");
	json_t *doc = NULL;
	int32_t id = -1;

	if (path != NULL && hth_path_kind(path) == HTH_PATH_FILE &&
	    hth_json_read(path, MAX_JSON_BYTES, HTH_JSON_BIG_INT_AS_REAL, &doc, NULL) == HTH_OK) {
		const json_t *v = json_object_get(doc, "pad_token");
		const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
		id = text != NULL ? hth_tokenizer_id(m->tokenizer, text) : -1;
	}
	json_decref(doc);
	hth_free(path);
	return id;
}

static enum hth_status put_whole_tokenizer(const struct hth_model *m, struct hth_as_gguf *a, struct hth_err *err)
{
	char *path = hth_path_join(m->path, "tokenizer.json"), *text = NULL;
	size_t bytes;

	if (path == NULL)
		return hth_fail_memory(err, "a path", strlen(m->path));
	enum hth_status st = hth_file_read(path, MAX_JSON_BYTES, &text, &bytes, err);
	if (st == HTH_OK)
		hth_gguf_made_string(&a->made, "tokenizer.huggingface.json", text, bytes);
	hth_free(text);
	hth_free(path);
	return st;
}

/* Reads the tokenizer back from the keys made so far. */
static enum hth_status try_tokenizer(const struct hth_model *m, struct hth_as_gguf *a, bool *same, char **text,
				     struct hth_err *err)
{
	struct hth_tokenizer *back = NULL;
	enum hth_status st = hth_gguf_made_finish(&a->made, err);

	if (st == HTH_OK)
		st = hth_tokenizer_from_gguf(&a->made.g, &back, err);
	if (st == HTH_OK)
		st = hth_tokenizers_agree(m->tokenizer, back, m->config.n_vocab, same, text, err);
	hth_tokenizer_free(back);
	return st;
}

static enum hth_status put_tokenizer(const struct hth_model *m, struct hth_as_gguf *a, struct hth_err *err)
{
	bool same = true;
	char *still = NULL;
	enum hth_status st = hth_tokenizer_to_gguf(m->tokenizer, m->config.n_vocab, padding(m), &a->made, err);

	if (st == HTH_OK)
		st = try_tokenizer(m, a, &same, &a->lossy, err);
	if (st != HTH_OK || same)
		return st;
	if ((st = put_whole_tokenizer(m, a, err)) != HTH_OK ||
	    (st = try_tokenizer(m, a, &same, &still, err)) != HTH_OK)
		goto done;
	if (!same)
		st = hth_fail(err, HTH_ERR_UNAVAILABLE,
			      "its tokenizer cannot be said in GGUF: \"%.60s\" would become other ids", still);
done:
	hth_free(still);
	return st;
}

enum hth_status hth_as_gguf_open(const struct hth_model *m, struct hth_as_gguf *out, struct hth_err *err)
{
	*out = (struct hth_as_gguf){0};
	enum hth_status st = hth_gguf_made_init(&out->made, m->path, MAX_KEYS_BYTES, err);
	if (st == HTH_OK)
		st = put_tensors(m, out, err);
	if (st == HTH_OK)
		st = hth_config_to_gguf(m, &out->made, err);
	if (st == HTH_OK && (st = put_tokenizer(m, out, err)) != HTH_OK && err != NULL)
		(void)hth_err_prefix(err, "%s", m->path);
	if (st == HTH_OK && m->template_source != NULL)
		hth_gguf_made_string(&out->made, "tokenizer.chat_template", m->template_source,
				     strlen(m->template_source));
	if (st == HTH_OK)
		st = hth_gguf_made_finish(&out->made, err);
	if (st != HTH_OK)
		hth_as_gguf_close(out);
	return st;
}

void hth_as_gguf_close(struct hth_as_gguf *a)
{
	hth_gguf_made_clear(&a->made);
	hth_free(a->parts);
	hth_free(a->lossy);
	*a = (struct hth_as_gguf){0};
}
