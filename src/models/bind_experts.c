/* Binding of a sparse layer: its router, and the experts' matrices, which a source has as one tensor of three
 * dimensions for each part, as gate and up together, or one by one. All three become weights one by one, so that a step
 * reads the chosen ones alone. */
#include "models/model_int.h"
#include "models/parts.h"
#include "models/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const gguf_parts[HTH_EXPERT_PARTS] = {"ffn_gate", "ffn_up", "ffn_down"};

void hth_expert_names(const struct hth_family *f, int64_t l, int64_t e, int part, char gguf[64], char hf[80])
{
	static const char *const proj[HTH_EXPERT_PARTS] = {"gate_proj", "up_proj", "down_proj"};
	static const char *const w123[HTH_EXPERT_PARTS] = {"w1", "w3", "w2"};

	snprintf(gguf, 64, "blk.%lld.%s_exps", (long long)l, gguf_parts[part]);
	if (f->w123)
		snprintf(hf, 80, "model.layers.%lld.block_sparse_moe.experts.%lld.%s", (long long)l, (long long)e,
			 w123[part]);
	else
		snprintf(hf, 80, "model.layers.%lld.mlp.experts.%lld.%s", (long long)l, (long long)e, proj[part]);
}

void hth_router_names(const struct hth_family *f, int64_t l, char gguf[64], char hf[80])
{
	const char *name = f->w123	     ? "block_sparse_moe.gate"
			   : f->beside	     ? "router.proj"
			   : f->interleaved ? "mlp.router"
					     : "mlp.gate";

	snprintf(gguf, 64, "blk.%lld.ffn_gate_inp", (long long)l);
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)l, name);
}

void hth_shared_gate_names(int64_t l, char gguf[64], char hf[80])
{
	snprintf(gguf, 64, "blk.%lld.ffn_gate_inp_shexp", (long long)l);
	snprintf(hf, 80, "model.layers.%lld.mlp.shared_expert_gate", (long long)l);
}

/* MLX's folders have the experts of a layer under this name, as mlx_lm's SwitchGLU. */
void hth_switch_name(const struct hth_family *f, int64_t l, int part, char hf[80])
{
	static const char *const proj[HTH_EXPERT_PARTS] = {"gate_proj", "up_proj", "down_proj"};
	const char *name = f->w123	    ? "block_sparse_moe.switch_mlp"
			   : f->beside	    ? "experts.switch_glu"
			   : f->interleaved ? "mlp.experts"
					    : "mlp.switch_mlp";

	snprintf(hf, 80, "model.layers.%lld.%s.%s", (long long)l, name, proj[part]);
}

void hth_together_name(const struct hth_family *f, int64_t l, char hf[80])
{
	snprintf(hf, 80, f->beside ? "model.layers.%lld.experts" : "model.layers.%lld.mlp.experts", (long long)l);
}

/* The name of one expert's matrix, and of the tensors in a source that hold it alone. */
static void part_names(const struct hth_model *m, int64_t l, int64_t e, int part, char gguf[64], char hf[80])
{
	hth_expert_names(hth_family_of_folder(m), l, e, part, gguf, hf);
	snprintf(gguf, 64, "blk.%lld.%s.%lld", (long long)l, gguf_parts[part], (long long)e);
}

static void part_shape(const struct hth_model_config *c, int part, int64_t *rows, int64_t *cols)
{
	*rows = part == HTH_EXPERT_DOWN ? c->width : c->n_expert_ff;
	*cols = part == HTH_EXPERT_DOWN ? c->n_expert_ff : c->width;
}

static enum hth_status new_set(struct hth_model *m, struct hth_expert_set *set, struct hth_err *err)
{
	size_t n = (size_t)m->config.n_experts;

	set->w = hth_arena_calloc(&m->arena, n, sizeof(*set->w));
	if (set->w == NULL)
		return hth_fail_memory(err, "experts of the model", n * sizeof(*set->w));
	set->n = m->config.n_experts;
	return HTH_OK;
}

/* Rows first .. first+rows-1 of `total` for each expert of t. */
static enum hth_status bind_stacked(struct hth_model *m, int64_t l, int part, const struct hth_source_tensor *t,
				    int64_t first, int64_t total, struct hth_err *err)
{
	struct hth_expert_set *set = &m->layers[l].experts[part];
	int64_t rows, cols, n_experts = m->config.n_experts;
	char gguf[64], hf[80];
	uint64_t row_bytes;
	enum hth_status st;

	part_shape(&m->config, part, &rows, &cols);
	if (t->n_dims != 3 || t->dim[0] != n_experts || t->dim[1] != total || t->dim[2] != cols)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": %d dimensions, expected the shape (%lld,%lld,%lld)",
				m->path, t->name, t->n_dims, (long long)n_experts, (long long)total, (long long)cols);
	if ((st = hth_quant_row_bytes(t->quant, (uint64_t)cols, &row_bytes, err)) != HTH_OK ||
	    (st = new_set(m, set, err)) != HTH_OK)
		return st;
	for (int64_t e = 0; e < n_experts; e++) {
		struct hth_weight *w = &set->w[e];
		*w = (struct hth_weight){.quant = t->quant, .rows = rows, .cols = cols, .row_bytes = row_bytes};
		w->data = t->data + (uint64_t)(e * total + first) * row_bytes;
		part_names(m, l, e, part, gguf, hf);
		snprintf(w->name, sizeof(w->name), "%s.weight", hf);
	}
	return HTH_OK;
}

static enum hth_status bind_separate(struct hth_model *m, int64_t l, int part, struct hth_err *err)
{
	struct hth_expert_set *set = &m->layers[l].experts[part];
	int64_t rows, cols;
	char gguf[64], hf[80];
	enum hth_status st = HTH_OK;

	part_shape(&m->config, part, &rows, &cols);
	/* Before memory is taken by their number. */
	if ((uint64_t)m->config.n_experts > m->source->n_tensors)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: %zu tensors, expected more for %lld experts", m->path,
				m->source->n_tensors, (long long)m->config.n_experts);
	st = new_set(m, set, err);
	for (int64_t e = 0; st == HTH_OK && e < set->n; e++) {
		part_names(m, l, e, part, gguf, hf);
		st = hth_bind_matrix(m, &set->w[e], gguf, hf, rows, cols, err);
		if (st == HTH_OK && set->w[e].quant != set->w[0].quant)
			st = hth_fail(err, HTH_ERR_UNAVAILABLE,
				      "%s: \"%s\" is %s and \"%s\" is %s, expected one format", m->path, set->w[e].name,
				      hth_quant_format(set->w[e].quant)->name, set->w[0].name,
				      hth_quant_format(set->w[0].quant)->name);
	}
	return st;
}

/* t (E,total): each expert's columns first, first + step, ... as its bias. */
static enum hth_status bind_biases(struct hth_model *m, int64_t l, int part, const struct hth_source_tensor *t,
				   int64_t first, int64_t step, struct hth_err *err)
{
	struct hth_expert_set *set = &m->layers[l].experts[part];
	int64_t n = set->w[0].rows, total = n * step;
	const struct hth_quant_format *f = hth_quant_format(t->quant);
	struct hth_weight *bias = hth_arena_calloc(&m->arena, (size_t)set->n, sizeof(*bias));
	float *v = hth_arena_calloc(&m->arena, (size_t)(set->n * n), sizeof(*v)); /* (E,N) */

	if (bias == NULL || v == NULL)
		return hth_fail_memory(err, "biases of experts", (size_t)(set->n * n) * sizeof(*v));
	if (t->n_dims != 2 || t->dim[0] != set->n || t->dim[1] != total || f->block_elems != 1)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": %s of %d dimensions, expected the shape (%lld,%lld)",
				m->path, t->name, f->name, t->n_dims, (long long)set->n, (long long)total);
	for (int64_t i = 0; i < set->n * n; i++) {
		int64_t at = i / n * total + first + i % n * step;
		f->unpack(t->data + (uint64_t)at * f->block_bytes, v + i, 1);
		if (!isfinite(v[i]))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": element %lld is %g, expected a finite number",
					m->path, t->name, (long long)at, (double)v[i]);
	}
	for (int64_t e = 0; e < set->n; e++) {
		bias[e] = (struct hth_weight){.quant = HTH_QUANT_F32,
					      .rows = 1,
					      .cols = n,
					      .data = (const uint8_t *)(v + e * n),
					      .row_bytes = (uint64_t)n * sizeof(*v)};
		int stem = (int)strlen(set->w[e].name) - (int)strlen(".weight");
		snprintf(bias[e].name, sizeof(bias[e].name), "%.*s.bias", stem, set->w[e].name);
	}
	set->bias = bias;
	return HTH_OK;
}

/* Folders of gpt-oss as Hugging Face has them. */
static enum hth_status bind_interleaved(struct hth_model *m, int64_t l, struct hth_err *err)
{
	int64_t ff = m->config.n_expert_ff;
	struct hth_source_tensor t;
	char stem[80];
	enum hth_status st;

	hth_together_name(m->family, l, stem);
	if ((st = hth_source_take_experts(m->source, stem, "gate_up_proj", true, &t, err)) != HTH_OK ||
	    (st = bind_stacked(m, l, HTH_EXPERT_GATE, &t, 0, 2 * ff, err)) != HTH_OK ||
	    (st = bind_stacked(m, l, HTH_EXPERT_UP, &t, ff, 2 * ff, err)) != HTH_OK ||
	    (st = hth_source_take_experts(m->source, stem, "down_proj", false, &t, err)) != HTH_OK ||
	    (st = bind_stacked(m, l, HTH_EXPERT_DOWN, &t, 0, m->config.width, err)) != HTH_OK)
		return st;
	for (int part = 0; part < HTH_EXPERT_PARTS; part++) {
		bool down = part == HTH_EXPERT_DOWN;
		st = hth_source_take(m->source, NULL, stem, down ? "down_proj_bias" : "gate_up_proj_bias", &t, err);
		if (st == HTH_OK && t.quant == HTH_QUANT_NONE)
			st = hth_bind_missing(m, &t, err);
		if (st == HTH_OK)
			st = bind_biases(m, l, part, &t, down ? 0 : part, down ? 1 : 2, err);
		if (st != HTH_OK)
			return st;
	}
	return HTH_OK;
}

/* One part of an MLX folder, with biases if there are some. */
static enum hth_status bind_switch(struct hth_model *m, int64_t l, int part, bool *found, struct hth_err *err)
{
	struct hth_source_tensor t;
	char hf[80];
	int64_t rows, cols;

	part_shape(&m->config, part, &rows, &cols);
	hth_switch_name(hth_family_of_folder(m), l, part, hf);
	enum hth_status st = hth_source_take(m->source, NULL, hf, "weight", &t, err);
	*found = st == HTH_OK && t.quant != HTH_QUANT_NONE;
	if (st == HTH_OK && *found)
		st = bind_stacked(m, l, part, &t, 0, rows, err);
	if (st == HTH_OK && *found)
		st = hth_source_take(m->source, NULL, hf, "bias", &t, err);
	return st != HTH_OK || !*found || t.quant == HTH_QUANT_NONE ? st : bind_biases(m, l, part, &t, 0, 1, err);
}

/* One part from a tensor of its own; *found false: there is none, and in GGUF an older one for each expert. */
static enum hth_status bind_part(struct hth_model *m, int64_t l, int part, bool *found, struct hth_err *err)
{
	struct hth_source_tensor t;
	char gguf[64], hf[80];
	int64_t rows, cols;

	part_shape(&m->config, part, &rows, &cols);
	snprintf(gguf, sizeof(gguf), "blk.%lld.%s_exps", (long long)l, gguf_parts[part]);
	enum hth_status st = bind_switch(m, l, part, found, err);
	if (st != HTH_OK || *found)
		return st;
	hth_together_name(m->family, l, hf);
	/* Of a folder's stacked tensors only down has one for itself. */
	const char *suffix = m->source->kind->gguf ? "weight" : "down_proj";
	st = hth_source_take(m->source, gguf, part == HTH_EXPERT_DOWN ? hf : NULL, suffix, &t, err);
	*found = st == HTH_OK && t.quant != HTH_QUANT_NONE;
	if (st == HTH_OK && *found)
		st = bind_stacked(m, l, part, &t, 0, rows, err);
	if (st != HTH_OK || !m->source->kind->gguf)
		return st;
	if (!*found) {
		struct hth_source_tensor old;
		part_names(m, l, 0, part, gguf, hf);
		st = hth_source_take(m->source, gguf, NULL, "weight", &old, err);
		return st == HTH_OK && old.quant == HTH_QUANT_NONE ? hth_bind_missing(m, &t, err) : st;
	}
	st = hth_source_take(m->source, gguf, NULL, "bias", &t, err);
	return st != HTH_OK || t.quant == HTH_QUANT_NONE ? st : bind_biases(m, l, part, &t, 0, 1, err);
}

/* Gate and up in one tensor. */
static enum hth_status bind_gate_up(struct hth_model *m, int64_t l, bool *found, struct hth_err *err)
{
	int64_t ff = m->config.n_expert_ff;
	struct hth_source_tensor t;
	char gguf[64], hf[80];

	snprintf(gguf, sizeof(gguf), "blk.%lld.ffn_gate_up_exps", (long long)l);
	hth_together_name(m->family, l, hf);
	enum hth_status st =
		hth_source_take(m->source, gguf, hf, m->source->kind->gguf ? "weight" : "gate_up_proj", &t, err);
	*found = st == HTH_OK && t.quant != HTH_QUANT_NONE;
	if (st == HTH_OK && *found)
		st = bind_stacked(m, l, HTH_EXPERT_GATE, &t, 0, 2 * ff, err);
	return st == HTH_OK && *found ? bind_stacked(m, l, HTH_EXPERT_UP, &t, ff, 2 * ff, err) : st;
}

static enum hth_status bind_router(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_layer *layer = &m->layers[l];
	struct hth_source_tensor t;
	char gguf[64], hf[80], name[96];

	hth_router_names(hth_family_of_folder(m), l, gguf, hf);
	enum hth_status st = hth_source_take(m->source, gguf, hf, "weight", &t, err);
	/* transformers 5 calls Mixtral's as the others' in folders that it saved in its own form. */
	if (st == HTH_OK && t.quant == HTH_QUANT_NONE && m->family->w123 && !m->source->kind->gguf)
		snprintf(hf, sizeof(hf), "model.layers.%lld.mlp.gate", (long long)l);
	if (st == HTH_OK)
		st = hth_bind_matrix(m, &layer->router_w, gguf, hf, m->config.n_experts, m->config.width, err);
	if (st == HTH_OK)
		st = hth_source_take(m->source, gguf, hf, "bias", &t, err);
	layer->router = (struct hth_linear){.w = &layer->router_w};
	if (st != HTH_OK || t.quant == HTH_QUANT_NONE)
		return st;
	snprintf(name, sizeof(name), "%s.bias", hf);
	layer->router.bias = &layer->router_bias;
	return hth_bind_vector(m, &layer->router_bias, &t, name, m->config.n_experts, NULL, err);
}

/* The shared expert's own matrices are linears (bind.c). */
static enum hth_status bind_shared_gate(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_layer *layer = &m->layers[l];
	struct hth_source_tensor t;
	char gguf[64], hf[80], name[96];

	hth_shared_gate_names(l, gguf, hf);
	enum hth_status st = hth_source_take(m->source, gguf, hf, "weight", &t, err);
	if (st == HTH_OK && t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	snprintf(name, sizeof(name), "%s.weight", hf);
	layer->shared_gate = (struct hth_linear){.w = &layer->shared_gate_w};
	return st == HTH_OK ? hth_bind_vector(m, &layer->shared_gate_w, &t, name, m->config.width, NULL, err) : st;
}

/* A vector named "GGUF.scale" or "model.layers.N.router.NAME". */
static enum hth_status bind_scale(struct hth_model *m, int64_t l, const char *stem, const char *name,
				  struct hth_weight *w, int64_t cols, struct hth_err *err)
{
	struct hth_source_tensor t;
	char gguf[64], hf[80], full[96];
	bool is_gguf = m->source->kind->gguf;

	snprintf(gguf, sizeof(gguf), "blk.%lld.%s", (long long)l, stem);
	snprintf(hf, sizeof(hf), "model.layers.%lld.router", (long long)l);
	snprintf(full, sizeof(full), "%s.%s", hf, name);
	enum hth_status st = hth_source_take(m->source, gguf, hf, is_gguf ? "scale" : name, &t, err);
	if (st == HTH_OK && t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	return st == HTH_OK ? hth_bind_vector(m, w, &t, full, cols, NULL, err) : st;
}

/* Where experts stand beside a dense block the router has a norm, and each expert a factor of its weight. */
static enum hth_status bind_beside(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_layer *layer = &m->layers[l];
	enum hth_status st =
		bind_scale(m, l, "ffn_gate_inp", "scale", &layer->router_norm, m->config.width, err);

	return st == HTH_OK ? bind_scale(m, l, "ffn_down_exps", "per_expert_scale", &layer->expert_scale,
					 m->config.n_experts, err)
			    : st;
}

enum hth_status hth_bind_experts(struct hth_model *m, int64_t l, struct hth_err *err)
{
	bool both = false, found = false, turned = m->family->interleaved && !m->source->kind->gguf;
	enum hth_status st = bind_router(m, l, err);

	if (st == HTH_OK && m->config.n_shared_ff > 0)
		st = bind_shared_gate(m, l, err);
	if (st == HTH_OK && m->config.experts_beside)
		st = bind_beside(m, l, err);

	int part = HTH_EXPERT_GATE;
	if (st == HTH_OK && turned && (st = bind_switch(m, l, part, &found, err)) == HTH_OK && !found)
		return bind_interleaved(m, l, err);
	if (st == HTH_OK && !turned)
		st = bind_gate_up(m, l, &both, err);
	for (part = both ? HTH_EXPERT_DOWN : part + found; st == HTH_OK && part < HTH_EXPERT_PARTS; part++) {
		st = bind_part(m, l, part, &found, err);
		if (st == HTH_OK && !found)
			st = bind_separate(m, l, part, err);
	}
	return st;
}
