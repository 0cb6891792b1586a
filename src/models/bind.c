/* Binding: finds every tensor of a model in its source, checks shapes, undoes nothing and copies only vectors (to f32).
 * Matrices stay mapped. The rows of q and k that GGUF stores permuted are read through hth_weight_row; of a fused
 * tensor each linear takes its range of rows.
 *
 * Decision: a tensor that no part of the model asked for is an error, not a warning. Whoever made the file meant it to
 * take part, and the answer without it would be wrong without a word. */
#include "models/model_int.h"
#include "models/source.h"

#include "base/checked.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tensors every layer has: o, down, two norms, and two fused ones at least. */
enum { MIN_LAYER_TENSORS = 6 };

/* One tensor by both of its names, without ".weight". */
struct names {
	char gguf[64], hf[80];
};

enum hth_status hth_bind_missing(const struct hth_model *m, const struct hth_source_tensor *t, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_FORMAT,
			"%s: \"%s\": no such tensor, expected in a model of family \"%s\" with %lld layers", m->path,
			t->name, m->family->name, (long long)m->config.n_layers);
}

static enum hth_status check_shape(const struct hth_model *m, const struct hth_source_tensor *t, int64_t rows,
				   int64_t cols, struct hth_err *err)
{
	char found[HTH_ST_MAX_DIMS * 24] = "", *end = found;
	int64_t outer = 1;

	for (int i = 0; i < t->n_dims - 2; i++)
		outer = t->dim[i] == 1 ? outer : 0;
	if (t->n_dims > 0 && outer == 1 && t->dim[t->n_dims - 1] == cols &&
	    (t->n_dims == 1 ? 1 : t->dim[t->n_dims - 2]) == rows)
		return HTH_OK;
	for (int i = 0; i < t->n_dims; i++)
		end += snprintf(end, (size_t)(found + sizeof(found) - end), "%s%lld", i > 0 ? "," : "",
				(long long)t->dim[i]);
	if (rows == 1)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": shape (%s), expected (%lld)", m->path, t->name, found,
				(long long)cols);
	return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": shape (%s), expected (%lld,%lld)", m->path, t->name, found,
			(long long)rows, (long long)cols);
}

/* Rows first .. first+w->rows-1 of a tensor of `total` rows; w has its shape already. hf names the weight. */
static enum hth_status bind_rows(struct hth_model *m, struct hth_weight *w, const struct names *stored, const char *hf,
				 int64_t first, int64_t total, struct hth_err *err)
{
	struct hth_source_tensor t;
	enum hth_status st = hth_source_take(m->source, stored->gguf, stored->hf, "weight", &t, err);

	if (st != HTH_OK)
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	if ((st = check_shape(m, &t, total, w->cols, err)) != HTH_OK ||
	    (st = hth_quant_row_bytes(t.quant, (uint64_t)w->cols, &w->row_bytes, err)) != HTH_OK)
		return st;
	w->quant = t.quant;
	w->data = t.data + (uint64_t)first * w->row_bytes;
	snprintf(w->name, sizeof(w->name), "%s.weight", hf);
	return HTH_OK;
}

enum hth_status hth_bind_matrix(struct hth_model *m, struct hth_weight *w, const char *gguf, const char *hf,
				   int64_t rows, int64_t cols, struct hth_err *err)
{
	struct names n;

	snprintf(n.gguf, sizeof(n.gguf), "%s", gguf);
	snprintf(n.hf, sizeof(n.hf), "%s", hf);
	*w = (struct hth_weight){.rows = rows, .cols = cols};
	return bind_rows(m, w, &n, hf, 0, rows, err);
}

/* The logical order of a bias whose rows the file stores permuted, as its matrix. */
static void unpermute(const struct hth_weight *matrix, const float *stored, float *out)
{
	for (int64_t n = 0; n < matrix->rows; n++)
		out[n] = stored[hth_weight_stored_row(matrix, n)];
}

/* A vector of `cols`, made f32 in the arena. like: a matrix whose row order it follows, or NULL. */
enum hth_status hth_bind_vector(struct hth_model *m, struct hth_weight *w, const struct hth_source_tensor *t,
				   const char *hf_name, int64_t cols, const struct hth_weight *like,
				   struct hth_err *err)
{
	bool permuted = like != NULL && like->head_rows != 0;
	enum hth_status st = check_shape(m, t, 1, cols, err);

	if (st != HTH_OK)
		return st;
	float *v = hth_arena_calloc(&m->arena, (size_t)cols, sizeof(*v)); /* (cols) */
	float *stored = permuted ? hth_arena_calloc(&m->arena, (size_t)cols, sizeof(*stored)) : v;
	if (v == NULL || stored == NULL)
		return hth_fail_memory(err, t->name, (size_t)cols * sizeof(*v));
	hth_quant_format(t->quant)->unpack(t->data, stored, cols);
	if (permuted)
		unpermute(like, stored, v);
	for (int64_t i = 0; i < cols; i++)
		if (!isfinite(v[i]))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": element %lld is %g, expected a finite number",
					m->path, t->name, (long long)i, (double)v[i]);
	*w = (struct hth_weight){.quant = HTH_QUANT_F32,
				 .rows = 1,
				 .cols = cols,
				 .data = (const uint8_t *)v,
				 .row_bytes = (uint64_t)cols * sizeof(*v)};
	snprintf(w->name, sizeof(w->name), "%s", hf_name);
	return HTH_OK;
}

static enum hth_status bind_norm(struct hth_model *m, struct hth_weight *w, const char *gguf, const char *hf,
				 int64_t cols, struct hth_err *err)
{
	struct hth_source_tensor t;
	char name[96];
	enum hth_status st = hth_source_take(m->source, gguf, hf, "weight", &t, err);

	if (st != HTH_OK)
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	snprintf(name, sizeof(name), "%s.weight", hf);
	return hth_bind_vector(m, w, &t, name, cols, NULL, err);
}

static enum hth_status bind_bias(struct hth_model *m, int64_t l, enum hth_linear_kind k, const struct names *n,
				 struct hth_err *err)
{
	struct hth_layer *layer = &m->layers[l];
	struct hth_source_tensor t;
	char name[96];
	enum hth_status st = hth_source_take(m->source, n->gguf, n->hf, "bias", &t, err);

	if (st != HTH_OK)
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return m->family->qkv_bias && k <= HTH_V ? hth_bind_missing(m, &t, err) : HTH_OK;
	snprintf(name, sizeof(name), "%s.bias", n->hf);
	return hth_bind_vector(m, &layer->bias[k], &t, name, layer->linear[k].rows, &layer->linear[k], err);
}

static enum hth_status bind_linear(struct hth_model *m, int64_t l, enum hth_linear_kind k, struct hth_err *err)
{
	struct hth_weight *w = &m->layers[l].linear[k];
	struct names own, stored;
	int64_t rows, cols, first = 0, total;

	hth_linear_names(&m->config, k, l, own.gguf, own.hf);
	hth_linear_shape(&m->config, l, k, &rows, &cols);
	*w = (struct hth_weight){.rows = rows, .cols = cols};
	bool fused = m->family->fused && hth_linear_fused(&m->config, k, l, stored.gguf, stored.hf, &first, &total);
	enum hth_status st = bind_rows(m, w, fused ? &stored : &own, own.hf, first, fused ? total : rows, err);
	if (st != HTH_OK || fused)
		return st;
	if (m->source->kind->gguf && m->family->gguf_permuted && (k == HTH_Q || k == HTH_K))
		w->head_rows = m->config.head;
	return bind_bias(m, l, k, &own, err);
}

/* Columns of a vector that a layer must have, 0 for one that may not be there. */
static int64_t vector_cols(const struct hth_model *m, int64_t l, enum hth_vector_kind k)
{
	const struct hth_model_config *c = &m->config;
	int64_t head = hth_layer_head(c, l);
	bool all = m->family->qk_norm == HTH_QK_NORM_ALL;

	if (k == HTH_Q_NORM || k == HTH_K_NORM) {
		if (m->family->qk_norm == HTH_QK_NORM_NONE || (k == HTH_K_NORM && hth_layer_shares(c, l)) ||
		    hth_layer_in(&c->recurrent, l))
			return 0;
		return !all ? head : k == HTH_Q_NORM ? c->n_head * head : hth_layer_kv(c, l) * head;
	}
	if (k == HTH_OWN_NORM)
		return c->n_own > 0 ? c->width : 0;
	if (k == HTH_DENSE_POST_NORM || k == HTH_EXPERT_NORM || k == HTH_EXPERT_POST_NORM)
		return c->experts_beside && hth_layer_in(&c->sparse, l) ? c->width : 0;
	bool there = k == HTH_ATTN_NORM || k == HTH_FFN_NORM ? c->norm_before : c->norm_after;
	return there ? c->width : 0;
}

/* The extra logit of each head; a folder's name has no suffix. */
static enum hth_status bind_sinks(struct hth_model *m, int64_t l, struct hth_err *err)
{
	bool gguf = m->source->kind->gguf;
	struct hth_source_tensor t;
	char stem[80], name[96];

	snprintf(stem, sizeof(stem), gguf ? "blk.%lld.attn_sinks" : "model.layers.%lld.self_attn", (long long)l);
	snprintf(name, sizeof(name), "model.layers.%lld.self_attn.sinks", (long long)l);
	enum hth_status st = hth_source_take(m->source, stem, stem, gguf ? "weight" : "sinks", &t, err);
	if (st != HTH_OK)
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	return hth_bind_vector(m, &m->layers[l].sinks, &t, name, m->config.n_head, NULL, err);
}

/* Layers that attend to another one's keys and values may still have tensors for their own, which take no part. */
static enum hth_status pass_over_keys(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_source_tensor t;
	struct names n;
	enum hth_status st = HTH_OK;

	for (int k = HTH_K; st == HTH_OK && k <= HTH_V; k++) {
		hth_linear_names(&m->config, (enum hth_linear_kind)k, l, n.gguf, n.hf);
		st = hth_source_take(m->source, n.gguf, n.hf, "weight", &t, err);
	}
	hth_vector_names(&m->config, HTH_K_NORM, l, n.gguf, n.hf);
	return st == HTH_OK ? hth_source_take(m->source, n.gguf, n.hf, "weight", &t, err) : st;
}

static enum hth_status bind_linears(struct hth_model *m, int64_t l, struct hth_err *err)
{
	bool shares = hth_layer_shares(&m->config, l), has_v = hth_layer_has_v(&m->config, l);
	enum hth_status st = shares ? pass_over_keys(m, l, err) : HTH_OK;

	for (int k = 0; st == HTH_OK && k < HTH_OWN_LINEARS; k++)
		if (hth_linear_there(&m->config, l, (enum hth_linear_kind)k) &&
		    !((k == HTH_K || k == HTH_V) && shares) && (k != HTH_V || has_v))
			st = bind_linear(m, l, (enum hth_linear_kind)k, err);
	return st;
}

static enum hth_status bind_out_scale(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_source_tensor t;
	char gguf[64], hf[80], stem[80];
	enum hth_status st;

	hth_out_scale_names(l, gguf, hf);
	snprintf(stem, sizeof(stem), "model.layers.%lld", (long long)l);
	st = hth_source_take(m->source, gguf, stem, m->source->kind->gguf ? "weight" : "layer_scalar", &t, err);
	/* GGUF files may leave it out: it is 1. */
	if (st != HTH_OK || (t.quant == HTH_QUANT_NONE && m->source->kind->gguf))
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	return hth_bind_vector(m, &m->layers[l].out_scale, &t, hf, 1, NULL, err);
}

static enum hth_status bind_layer(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct names n;

	enum hth_status st = bind_linears(m, l, err);
	if (st == HTH_OK && hth_layer_in(&m->config.recurrent, l))
		st = hth_bind_delta(m, l, err);
	if (st == HTH_OK && hth_layer_in(&m->config.sparse, l))
		st = hth_bind_experts(m, l, err);
	if (st == HTH_OK && m->config.sinks)
		st = bind_sinks(m, l, err);
	if (st == HTH_OK && m->config.n_own > 0)
		st = hth_bind_own(m, l, err);
	if (st == HTH_OK && m->config.out_scaled)
		st = bind_out_scale(m, l, err);
	for (int i = 0; st == HTH_OK && i < HTH_VECTOR_COUNT; i++) {
		enum hth_vector_kind k = (enum hth_vector_kind)i;
		int64_t cols = vector_cols(m, l, k);
		if (cols == 0)
			continue;
		hth_vector_names(&m->config, k, l, n.gguf, n.hf);
		st = bind_norm(m, hth_layer_vector(&m->layers[l], k), n.gguf, n.hf, cols, err);
	}
	return st;
}

/* Divisors of the rotation frequencies that GGUF keeps in a tensor, one a pair. */
static enum hth_status read_factors(struct hth_model *m, const char *name, float *out, struct hth_err *err)
{
	struct hth_model_config *c = &m->config;
	struct hth_weight factors = {0}; /* (1,rot/2) */
	struct hth_source_tensor t;
	enum hth_status st = hth_source_take(m->source, name, NULL, "weight", &t, err);

	if (st != HTH_OK || t.quant == HTH_QUANT_NONE)
		return st;
	if ((st = hth_bind_vector(m, &factors, &t, name, c->rot / 2, NULL, err)) != HTH_OK)
		return st;
	const float *v = (const float *)(const void *)factors.data;
	for (int64_t i = 0; i < factors.cols; i++)
		if (!(v[i] > 0))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": element %lld is %g, expected more than 0",
					m->path, t.name, (long long)i, (double)v[i]);
	memcpy(out, v, (size_t)factors.cols * sizeof(*v));
	return HTH_OK;
}

/* Divisors of 1 and then of 1e30 are how GGUF says that the first pairs alone turn. */
static void find_share(struct hth_model_config *c)
{
	int64_t n = 0, pairs = c->rot / 2;

	while (n < pairs && c->rope_factors[n] == 1.0f)
		n++;
	for (int64_t i = n; i < pairs; i++)
		if (c->rope_factors[i] < 1e20f)
			return;
	if (n == pairs)
		return;
	c->rope_scaling = HTH_ROPE_SHARE;
	c->rope_share = (double)n / (double)pairs;
	c->rope_factor = 1;
}

/* LongRoPE without divisors for what is beyond the original context: the context ends there. */
static void end_without_long(struct hth_model_config *c)
{
	if (c->rope_scaling == HTH_ROPE_FACTORS && c->rope_long[0] == 0 && c->rope_original < c->context)
		c->context = c->rope_original;
}

/* rope_freqs: Llama 3.1 and later, no key says so. rope_factors_short and _long: LongRoPE. */
static enum hth_status bind_factors(struct hth_model *m, struct hth_err *err)
{
	struct hth_model_config *c = &m->config;
	enum hth_status st;

	if (!m->source->kind->gguf) {
		end_without_long(c);
		return HTH_OK;
	}
	if (c->rope_scaling == HTH_ROPE_FACTORS) {
		if ((st = read_factors(m, "rope_factors_long", c->rope_long, err)) != HTH_OK)
			return st;
		st = read_factors(m, "rope_factors_short", c->rope_factors, err);
		end_without_long(c);
	} else {
		st = read_factors(m, "rope_freqs", c->rope_factors, err);
	}
	if (st != HTH_OK)
		return st;
	bool there = c->rope_factors[0] > 0;
	if (there && c->rope_scaling != HTH_ROPE_NONE && c->rope_scaling != HTH_ROPE_FACTORS)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: has both \"rope_freqs.weight\" and a rope scaling type in its keys, expected one",
				m->path);
	if (!there && c->rope_scaling == HTH_ROPE_FACTORS)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"rope_factors_short.weight\": no such tensor, expected with longrope scaling",
				m->path);
	c->rope_scaling = there ? HTH_ROPE_FACTORS : c->rope_scaling;
	if (there && c->rope_long[0] == 0)
		find_share(c);
	return HTH_OK;
}

static enum hth_status bind_rope(struct hth_model *m, struct hth_err *err)
{
	const struct hth_model_config *c = &m->config;
	enum hth_status st = bind_factors(m, err);
	size_t pairs = (size_t)c->rot / 2, local = (size_t)hth_rope_columns(c, true) / 2;
	bool beyond = hth_rope_switch(c) > 0, of_windows = c->rope_local_theta > 0;

	if (st != HTH_OK)
		return st;
	m->rope_freq = hth_arena_calloc(&m->arena, pairs, sizeof(*m->rope_freq));
	m->rope_freq_beyond = beyond ? hth_arena_calloc(&m->arena, pairs, sizeof(*m->rope_freq)) : NULL;
	m->rope_freq_local = of_windows ? hth_arena_calloc(&m->arena, local, sizeof(*m->rope_freq)) : NULL;
	if (m->rope_freq == NULL || (beyond && m->rope_freq_beyond == NULL) || (of_windows && m->rope_freq_local == NULL))
		return hth_fail_memory(err, "rotation frequencies", (2 * pairs + local) * sizeof(*m->rope_freq));
	hth_rope_frequencies(c, false, m->rope_freq);
	if (beyond)
		hth_rope_frequencies_beyond(c, m->rope_freq_beyond);
	if (of_windows)
		hth_rope_frequencies(c, true, m->rope_freq_local);
	return HTH_OK;
}

static enum hth_status bind_ends(struct hth_model *m, struct hth_err *err)
{
	struct hth_model_config *c = &m->config;
	struct hth_source_tensor head;
	enum hth_status st = hth_bind_matrix(m, &m->embed, "token_embd", "model.embed_tokens", c->n_vocab, c->width, err);

	if (st == HTH_OK)
		st = bind_norm(m, &m->final_norm, "output_norm", "model.norm", c->width, err);
	if (st == HTH_OK)
		st = hth_source_take(m->source, "output", "lm_head", "weight", &head, err);
	if (st != HTH_OK)
		return st;
	/* In GGUF absence ties. A folder says it, and may hold a copy of the embedding under the head's name. */
	if (m->source->kind->gguf)
		c->tied = head.quant == HTH_QUANT_NONE;
	if (c->tied) {
		m->head = m->embed;
		return HTH_OK;
	}
	return hth_bind_matrix(m, &m->head, "output", "lm_head", c->n_vocab, c->width, err);
}

enum hth_status hth_model_bind(struct hth_model *m, struct hth_err *err)
{
	const struct hth_source *s = m->source;
	enum hth_status st;

	/* Before anything is allocated from the number of layers: the source must be able to hold that many. */
	if ((uint64_t)m->config.n_layers > s->n_tensors / MIN_LAYER_TENSORS)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: %zu tensors, expected at least %lld for %lld layers; was the file cut?", m->path,
				s->n_tensors, (long long)m->config.n_layers * MIN_LAYER_TENSORS,
				(long long)m->config.n_layers);
	m->layers = hth_arena_calloc(&m->arena, (size_t)m->config.n_layers, sizeof(*m->layers));
	if (m->layers == NULL)
		return hth_fail_memory(err, "layers of the model", (size_t)m->config.n_layers * sizeof(*m->layers));
	st = bind_ends(m, err);
	if (st == HTH_OK && m->config.n_own > 0)
		st = hth_bind_own_embed(m, err);
	int32_t slots[2] = {0, 0};
	for (int64_t l = 0; st == HTH_OK && l < m->config.n_layers; l++) {
		m->layers[l].slot = slots[hth_layer_in(&m->config.recurrent, l)]++;
		st = bind_layer(m, l, err);
	}
	if (st == HTH_OK)
		st = bind_rope(m, err);
	return st == HTH_OK ? hth_source_check_all_used(s, &m->config, err) : st;
}
