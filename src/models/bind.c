/* Binding: finds every tensor of a model in its file, checks shapes, undoes nothing and copies only vectors (to f32).
 * Matrices stay mapped. The rows of q and k that GGUF stores permuted are read through hth_weight_row.
 *
 * Decision: a tensor that no part of the model asked for is an error, not a warning. Whoever made the file meant it to
 * take part, and the answer without it would be wrong without a word. */
#include "models/model_int.h"

#include "base/checked.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tensors every layer has: seven linears and two norms at least. */
enum { MIN_LAYER_TENSORS = HTH_LINEAR_COUNT + 2 };

struct binder {
	struct hth_model *m;
	bool *used; /* (n_tensors) somebody asked for it */
	size_t n_used;
};

/* NULL when absent. */
static const struct hth_gguf_tensor *take(struct binder *b, const char *name)
{
	const struct hth_gguf_tensor *t = hth_gguf_tensor(b->m->gguf, name);

	if (t != NULL) {
		size_t i = (size_t)(t - b->m->gguf->tensors);
		b->n_used += !b->used[i];
		b->used[i] = true;
	}
	return t;
}

static enum hth_status missing(const struct binder *b, const char *name, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_FORMAT,
			"%s: \"%s\": no such tensor, expected in a model of arch \"%s\" with %lld layers", b->m->path,
			name, b->m->family->gguf_arch, (long long)b->m->config.n_layers);
}

static enum hth_status check_shape(const struct binder *b, const struct hth_gguf_tensor *t, const char *name,
				   int64_t rows, int64_t cols, struct hth_err *err)
{
	char found[96], *end = found;

	if (t->ne[0] == cols && t->ne[1] == rows && t->ne[2] == 1 && t->ne[3] == 1)
		return HTH_OK;
	for (int i = t->n_dims - 1; i >= 0; i--)
		end += snprintf(end, (size_t)(found + sizeof(found) - end), "%lld%s", (long long)t->ne[i],
				i > 0 ? "," : "");
	if (rows == 1)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": shape (%s), expected (%lld)", b->m->path, name, found,
				(long long)cols);
	return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": shape (%s), expected (%lld,%lld)", b->m->path, name, found,
			(long long)rows, (long long)cols);
}

static enum hth_status bind_matrix(struct binder *b, struct hth_weight *w, const char *gguf, const char *hf,
				   int64_t rows, int64_t cols, struct hth_err *err)
{
	char name[80];

	snprintf(name, sizeof(name), "%s.weight", gguf);
	const struct hth_gguf_tensor *t = take(b, name);
	if (t == NULL)
		return missing(b, name, err);
	enum hth_status st = check_shape(b, t, name, rows, cols, err);
	if (st != HTH_OK)
		return st;
	*w = (struct hth_weight){.quant = t->quant, .rows = rows, .cols = cols, .data = t->data};
	snprintf(w->name, sizeof(w->name), "%s.weight", hf);
	return hth_quant_row_bytes(t->quant, (uint64_t)cols, &w->row_bytes, err);
}

/* The logical order of a bias whose rows the file stores permuted, as its matrix. */
static void unpermute(const struct hth_weight *matrix, const float *stored, float *out)
{
	for (int64_t n = 0; n < matrix->rows; n++)
		out[n] = stored[hth_weight_stored_row(matrix, n)];
}

/* A vector of `cols`, made f32 in the arena. like: a matrix whose row order it follows, or NULL. */
static enum hth_status bind_vector(struct binder *b, struct hth_weight *w, const struct hth_gguf_tensor *t,
				   const char *gguf, const char *hf, int64_t cols, const struct hth_weight *like,
				   struct hth_err *err)
{
	bool permuted = like != NULL && like->head_rows != 0;
	enum hth_status st = check_shape(b, t, gguf, 1, cols, err);

	if (st != HTH_OK)
		return st;
	float *v = hth_arena_calloc(&b->m->arena, (size_t)cols, sizeof(*v)); /* (cols) */
	float *stored = permuted ? hth_arena_calloc(&b->m->arena, (size_t)cols, sizeof(*stored)) : v;
	if (v == NULL || stored == NULL)
		return hth_fail_memory(err, gguf, (size_t)cols * sizeof(*v));
	hth_quant_format(t->quant)->unpack(t->data, stored, cols);
	if (permuted)
		unpermute(like, stored, v);
	for (int64_t i = 0; i < cols; i++)
		if (!isfinite(v[i]))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": element %lld is %g, expected a finite number",
					b->m->path, gguf, (long long)i, (double)v[i]);
	*w = (struct hth_weight){.quant = HTH_QUANT_F32,
				 .rows = 1,
				 .cols = cols,
				 .data = (const uint8_t *)v,
				 .row_bytes = (uint64_t)cols * sizeof(*v)};
	snprintf(w->name, sizeof(w->name), "%s", hf);
	return HTH_OK;
}

static enum hth_status bind_named_vector(struct binder *b, struct hth_weight *w, const char *gguf, const char *hf,
					 int64_t cols, struct hth_err *err)
{
	char gguf_full[80], hf_full[96];

	snprintf(gguf_full, sizeof(gguf_full), "%s.weight", gguf);
	snprintf(hf_full, sizeof(hf_full), "%s.weight", hf);
	const struct hth_gguf_tensor *t = take(b, gguf_full);
	if (t == NULL)
		return missing(b, gguf_full, err);
	return bind_vector(b, w, t, gguf_full, hf_full, cols, NULL, err);
}

static enum hth_status bind_linear(struct binder *b, int64_t l, enum hth_linear_kind k, struct hth_err *err)
{
	const struct hth_model *m = b->m;
	struct hth_layer *layer = &m->layers[l];
	char gguf[64], hf[80], gguf_bias[80], hf_bias[96];
	int64_t rows, cols;

	hth_linear_names(k, l, gguf, hf);
	hth_linear_shape(&m->config, k, &rows, &cols);
	enum hth_status st = bind_matrix(b, &layer->linear[k], gguf, hf, rows, cols, err);
	if (st != HTH_OK)
		return st;
	if (m->family->gguf_permuted && (k == HTH_Q || k == HTH_K))
		layer->linear[k].head_rows = m->config.head;
	snprintf(gguf_bias, sizeof(gguf_bias), "%s.bias", gguf);
	snprintf(hf_bias, sizeof(hf_bias), "%s.bias", hf);
	const struct hth_gguf_tensor *t = take(b, gguf_bias);
	if (t != NULL)
		return bind_vector(b, &layer->bias[k], t, gguf_bias, hf_bias, rows, &layer->linear[k], err);
	if (m->family->qkv_bias && k <= HTH_V)
		return missing(b, gguf_bias, err);
	return HTH_OK;
}

/* Which vectors a layer must have; the others may not be there. */
static bool wants_vector(const struct hth_model *m, enum hth_vector_kind k)
{
	if (k == HTH_Q_NORM || k == HTH_K_NORM)
		return m->family->qk_norm;
	return k == HTH_ATTN_NORM || k == HTH_FFN_NORM ? m->config.norm_before : m->config.norm_after;
}

static enum hth_status bind_layer(struct binder *b, int64_t l, struct hth_err *err)
{
	const struct hth_model_config *c = &b->m->config;
	char gguf[64], hf[80];
	enum hth_status st = HTH_OK;

	for (int k = 0; st == HTH_OK && k < HTH_LINEAR_COUNT; k++)
		st = bind_linear(b, l, (enum hth_linear_kind)k, err);
	for (int k = 0; st == HTH_OK && k < HTH_VECTOR_COUNT; k++) {
		if (!wants_vector(b->m, (enum hth_vector_kind)k))
			continue;
		hth_vector_names(c, (enum hth_vector_kind)k, l, gguf, hf);
		st = bind_named_vector(b, hth_layer_vector(&b->m->layers[l], (enum hth_vector_kind)k), gguf, hf,
				       k == HTH_Q_NORM || k == HTH_K_NORM ? c->head : c->width, err);
	}
	return st;
}

/* Divisors of the rotation frequencies, one a pair (Llama 3.1 and later). */
static enum hth_status bind_rope(struct binder *b, struct hth_err *err)
{
	struct hth_model *m = b->m;
	struct hth_weight factors = {0}; /* (1,rot/2) */
	const struct hth_gguf_tensor *t = take(b, "rope_freqs.weight");

	if (t != NULL) {
		enum hth_status st = bind_vector(b, &factors, t, "rope_freqs.weight", "rope_freqs.weight",
						 m->config.rot / 2, NULL, err);
		if (st != HTH_OK)
			return st;
		const float *v = (const float *)(const void *)factors.data;
		for (int64_t i = 0; i < factors.cols; i++)
			if (!(v[i] > 0))
				return hth_fail(err, HTH_ERR_VALUE,
						"%s: \"rope_freqs.weight\": element %lld is %g, expected more than 0",
						m->path, (long long)i, (double)v[i]);
		if (m->config.rope_scaling != HTH_ROPE_NONE)
			return hth_fail(
				err, HTH_ERR_FORMAT,
				"%s: has both \"rope_freqs.weight\" and a rope scaling type in its keys, expected one",
				m->path);
		m->config.rope_scaling = HTH_ROPE_FACTORS;
	}
	m->rope_freq = hth_arena_calloc(&m->arena, (size_t)m->config.rot / 2, sizeof(*m->rope_freq));
	if (m->rope_freq == NULL)
		return hth_fail_memory(err, "rotation frequencies", (size_t)m->config.rot * 2);
	hth_rope_frequencies(&m->config, t != NULL ? (const float *)(const void *)factors.data : NULL, m->rope_freq);
	return HTH_OK;
}

static enum hth_status bind_ends(struct binder *b, struct hth_err *err)
{
	struct hth_model *m = b->m;
	const struct hth_model_config *c = &m->config;
	enum hth_status st = bind_matrix(b, &m->embed, "token_embd", "model.embed_tokens", c->n_vocab, c->width, err);

	if (st == HTH_OK)
		st = bind_named_vector(b, &m->final_norm, "output_norm", "model.norm", c->width, err);
	if (st != HTH_OK)
		return st;
	m->config.tied = hth_gguf_tensor(m->gguf, "output.weight") == NULL;
	if (m->config.tied) {
		m->head = m->embed;
		return HTH_OK;
	}
	return bind_matrix(b, &m->head, "output", "lm_head", c->n_vocab, c->width, err);
}

static enum hth_status check_all_used(const struct binder *b, struct hth_err *err)
{
	const struct hth_gguf *g = b->m->gguf;
	char shown[80];

	for (size_t i = 0; i < g->n_tensors; i++)
		if (!b->used[i])
			return hth_fail(
				err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\" has no place in a model of arch \"%s\" (%zu such tensors); "
				"without it the answers would be wrong",
				b->m->path,
				hth_quote(shown, sizeof(shown), g->tensors[i].name.data, g->tensors[i].name.bytes),
				b->m->family->gguf_arch, g->n_tensors - b->n_used);
	return HTH_OK;
}

enum hth_status hth_model_bind(struct hth_model *m, struct hth_err *err)
{
	struct binder b = {.m = m};
	enum hth_status st;

	/* Before anything is allocated from block_count: the file must be able to hold that many layers. */
	if ((uint64_t)m->config.n_layers > m->gguf->n_tensors / MIN_LAYER_TENSORS)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: %zu tensors, expected at least %lld for %lld layers; was the file cut?", m->path,
				m->gguf->n_tensors, (long long)m->config.n_layers * MIN_LAYER_TENSORS,
				(long long)m->config.n_layers);
	b.used = hth_calloc(m->gguf->n_tensors, sizeof(*b.used));
	m->layers = hth_arena_calloc(&m->arena, (size_t)m->config.n_layers, sizeof(*m->layers));
	if (b.used == NULL || m->layers == NULL) {
		st = hth_fail_memory(err, "layers of the model", (size_t)m->config.n_layers * sizeof(*m->layers));
		goto done;
	}
	st = bind_ends(&b, err);
	for (int64_t l = 0; st == HTH_OK && l < m->config.n_layers; l++)
		st = bind_layer(&b, l, err);
	if (st == HTH_OK)
		st = bind_rope(&b, err);
	if (st == HTH_OK)
		st = check_all_used(&b, err);
done:
	hth_free(b.used);
	return st;
}
