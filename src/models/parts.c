/* The list of a model's tensors: see parts.h. Vectors are f32 in the order of Hugging Face, as bind.c made them. */
#include "models/parts.h"

#include "base/mem.h"
#include "models/model_int.h"
#include "models/source.h"

#include <stdio.h>
#include <string.h>

struct list {
	const struct hth_model *m;
	bool gguf, mlx;
	const struct hth_family *folder;
	struct hth_model_part *parts; /* (n) */
	size_t n;
};

static struct hth_model_part *add(struct list *l, enum hth_part_kind kind, const char *gguf, const char *hf,
				  const struct hth_weight *w)
{
	struct hth_model_part *p = &l->parts[l->n++];

	*p = (struct hth_model_part){
		.kind = kind, .piece = {{w, -1, 0}}, .n_pieces = 1, .rows = w->rows, .cols = w->cols};
	const char *suffix = kind == HTH_PART_BIAS ? ".bias" : kind == HTH_PART_BARE && !l->gguf ? "" : ".weight";
	snprintf(p->name, sizeof(p->name), "%s%s", l->gguf ? gguf : hf, suffix);
	return p;
}

/* The linears k, k+1, .. of a layer that share one tensor; returns how many. */
static int add_fused(struct list *l, int64_t layer, enum hth_linear_kind k, const char *gguf, const char *hf,
		     int64_t total)
{
	struct hth_layer *of = &l->m->layers[layer];
	struct hth_model_part *p = add(l, HTH_PART_MATRIX, gguf, hf, &of->linear[k]);

	p->n_pieces = 0;
	p->rows = total;
	for (int64_t have = 0; have < total; have += of->linear[k].rows, k++)
		p->piece[p->n_pieces++] =
			(struct hth_part_piece){&of->linear[k], (int)(layer * HTH_LINEAR_COUNT + k), 0};
	return p->n_pieces;
}

/* Linear k of a layer and what shares its tensor; returns how many linears that were. */
static int add_linear(struct list *l, int64_t layer, enum hth_linear_kind k)
{
	const struct hth_model *m = l->m;
	const struct hth_layer *of = &m->layers[layer];
	char gguf[64], hf[80];
	int64_t first, total;
	bool permuted = l->gguf && m->family->gguf_permuted && (k == HTH_Q || k == HTH_K);

	if (m->family->fused && hth_linear_fused(&m->config, k, layer, gguf, hf, &first, &total))
		return add_fused(l, layer, k, gguf, hf, total);
	hth_linear_names(&m->config, k, layer, gguf, hf);
	struct hth_model_part *p = add(l, HTH_PART_MATRIX, gguf, hf, &of->linear[k]);
	p->piece[0].linear = (int)(layer * HTH_LINEAR_COUNT + k);
	p->head_rows = permuted ? m->config.head : 0;
	if (l->gguf != m->config.delta.tiled)
		hth_linear_heads(&m->config, k, &p->heads, &p->col_heads);
	p->tile = l->gguf;
	if (of->bias[k].data != NULL)
		add(l, HTH_PART_BIAS, gguf, hf, &of->bias[k])->head_rows = permuted ? m->config.head : 0;
	return 1;
}

/* The experts' matrices of one kind, and their biases: one tensor in GGUF and MLX, one an expert in a folder of Hugging
 * Face. */
static void add_experts(struct list *l, int64_t layer, int part)
{
	const struct hth_expert_set *set = &l->m->layers[layer].experts[part];
	char gguf[64], hf[80];
	bool one = l->gguf || l->mlx;

	for (int64_t e = 0; e < (one ? 1 : set->n); e++) {
		hth_expert_names(l->folder, layer, e, part, gguf, hf);
		if (l->mlx)
			hth_switch_name(l->folder, layer, part, hf);
		struct hth_model_part *p = add(l, HTH_PART_MATRIX, gguf, hf, &set->w[e]);
		p->piece[0].linear = (int)(layer * HTH_LINEAR_COUNT + HTH_EXPERTS_GATE + part);
		p->piece[0].expert = e;
		p->stack = one ? set->w : NULL;
		p->n_stack = one ? set->n : 0;
		if (set->bias == NULL)
			continue;
		p = add(l, HTH_PART_BIAS, gguf, hf, &set->bias[e]);
		p->stack = one ? set->bias : NULL;
		p->n_stack = one ? set->n : 0;
	}
}

/* Folders of gpt-oss (gate and up row by row, matrices turned) and of Gemma 4 (gate above up). */
static void add_experts_together(struct list *l, int64_t layer)
{
	const struct hth_expert_set *set = l->m->layers[layer].experts;
	bool in_turn = l->folder->interleaved;
	char stem[80];

	hth_together_name(l->folder, layer, stem);
	for (int part = HTH_EXPERT_UP; part < HTH_EXPERT_PARTS; part++) {
		bool down = part == HTH_EXPERT_DOWN;
		const struct hth_expert_set *of = &set[down ? HTH_EXPERT_DOWN : HTH_EXPERT_GATE];
		struct hth_model_part *p = add(l, HTH_PART_MATRIX, "", "", of->w);
		snprintf(p->name, sizeof(p->name), "%s.%s", stem, down ? "down_proj" : "gate_up_proj");
		p->piece[0].linear =
			(int)(layer * HTH_LINEAR_COUNT + HTH_EXPERTS_GATE + (down ? HTH_EXPERT_DOWN : HTH_EXPERT_GATE));
		p->stack = of->w;
		p->up = down ? NULL : set[HTH_EXPERT_UP].w;
		p->n_stack = of->n;
		p->rows *= down ? 1 : 2;
		p->in_turn = p->turned = in_turn;
		if (of->bias == NULL)
			continue;
		p = add(l, HTH_PART_BIAS, "", "", of->bias);
		snprintf(p->name, sizeof(p->name), "%s.%s_bias", stem, down ? "down_proj" : "gate_up_proj");
		p->stack = of->bias;
		p->up = down ? NULL : set[HTH_EXPERT_UP].bias;
		p->n_stack = of->n;
		p->cols *= down ? 1 : 2;
		p->in_turn = in_turn;
	}
}

/* "blk.N.STEM.scale", or a folder's "model.layers.N.router.NAME". */
static void add_scale(struct list *l, int64_t layer, const char *stem, const char *name, const struct hth_weight *w)
{
	struct hth_model_part *p = add(l, HTH_PART_BARE, stem, stem, w);

	if (l->gguf)
		snprintf(p->name, sizeof(p->name), "blk.%lld.%s.scale", (long long)layer, stem);
	else
		snprintf(p->name, sizeof(p->name), "model.layers.%lld.router.%s", (long long)layer, name);
}

static void add_feed_forward_of_experts(struct list *l, int64_t layer)
{
	const struct hth_layer *of = &l->m->layers[layer];
	char gguf[64], hf[80];

	hth_router_names(l->folder, layer, gguf, hf);
	struct hth_model_part *router = add(l, HTH_PART_MATRIX, gguf, hf, &of->router_w);
	router->f32 = true;
	router->piece[0].linear = (int)(layer * HTH_LINEAR_COUNT + HTH_ROUTER);
	if (of->shared_gate_w.data != NULL) {
		hth_shared_gate_names(layer, gguf, hf);
		add(l, HTH_PART_ROW, gguf, hf, &of->shared_gate_w);
	}
	if (of->router_bias.data != NULL)
		add(l, HTH_PART_BIAS, gguf, hf, &of->router_bias);
	if (!l->gguf && !l->mlx && (l->folder->interleaved || l->folder->beside))
		add_experts_together(l, layer);
	else
		for (int part = 0; part < HTH_EXPERT_PARTS; part++)
			add_experts(l, layer, part);
	if (of->router_norm.data != NULL)
		add_scale(l, layer, "ffn_gate_inp", "scale", &of->router_norm);
	if (of->expert_scale.data != NULL)
		add_scale(l, layer, "ffn_down_exps", "per_expert_scale", &of->expert_scale);
}

static void add_delta(struct list *l, int64_t layer)
{
	static const enum hth_part_kind kinds[HTH_DELTA_VECTORS] = {[HTH_DELTA_CONV] = HTH_PART_CONV,
								    [HTH_DELTA_A_LOG] = HTH_PART_DECAY,
								    [HTH_DELTA_DT] = HTH_PART_PLAIN,
								    [HTH_DELTA_NORM] = HTH_PART_PLAIN};
	const struct hth_model_config *c = &l->m->config;
	char gguf[64], hf[80];

	for (int k = 0; k < HTH_DELTA_VECTORS; k++) {
		const struct hth_weight *w = hth_delta_vector(&l->m->layers[layer], (enum hth_delta_vector)k);
		struct hth_model_part *p = add(l, kinds[k], "", "", w);
		hth_delta_names((enum hth_delta_vector)k, layer, gguf, hf);
		snprintf(p->name, sizeof(p->name), "%s", l->gguf ? gguf : hf);
		p->taps = k == HTH_DELTA_CONV ? c->conv_taps : 0;
		p->tile = l->gguf;
		if (l->gguf != c->delta.tiled)
			p->heads = hth_delta_heads(c, (enum hth_delta_vector)k);
	}
}

/* The way of a layer's own input into it; what makes the input is one tensor for all layers. */
static void add_own(struct list *l, int64_t layer)
{
	const struct hth_own_input *own = &l->m->layers[layer].own;
	char gguf[64], hf[80];

	for (int part = HTH_OWN_GATE; part < HTH_OWN_PARTS && own->w[part].data != NULL; part++) {
		hth_own_names(layer, (enum hth_own_part)part, gguf, hf);
		add(l, HTH_PART_MATRIX, gguf, hf, &own->w[part]);
	}
}

static void add_layer(struct list *l, int64_t layer)
{
	const struct hth_layer *of = &l->m->layers[layer];
	bool sparse = of->experts[0].n > 0;
	char gguf[64], hf[80];

	for (int k = 0; k < HTH_OWN_LINEARS;)
		k += of->linear[k].data != NULL ? add_linear(l, layer, (enum hth_linear_kind)k) : 1;
	if (of->conv.data != NULL)
		add_delta(l, layer);
	if (sparse)
		add_feed_forward_of_experts(l, layer);
	for (int i = 0; i < HTH_VECTOR_COUNT; i++) {
		enum hth_vector_kind k = (enum hth_vector_kind)i;
		const struct hth_weight *w = hth_layer_vector(&l->m->layers[layer], k);
		if (w->data == NULL)
			continue;
		hth_vector_names(&l->m->config, k, layer, gguf, hf);
		add(l, HTH_PART_NORM, gguf, hf, w);
	}
	add_own(l, layer);
	if (of->out_scale.data != NULL) {
		hth_out_scale_names(layer, gguf, hf);
		add(l, HTH_PART_BARE, gguf, hf, &of->out_scale);
	}
	if (of->sinks.data != NULL) {
		snprintf(gguf, sizeof(gguf), "blk.%lld.attn_sinks", (long long)layer);
		snprintf(hf, sizeof(hf), "model.layers.%lld.self_attn.sinks", (long long)layer);
		add(l, HTH_PART_BARE, gguf, hf, &of->sinks);
	}
}

enum hth_status hth_model_parts(const struct hth_model *m, enum hth_layout layout, struct hth_model_part **parts, size_t *n,
				struct hth_err *err)
{
	bool gguf = layout == HTH_LAYOUT_GGUF;
	size_t experts = (size_t)m->config.n_experts * 2 * HTH_EXPERT_PARTS + 5;
	size_t layer = 2 * HTH_LINEAR_COUNT + HTH_VECTOR_COUNT + HTH_OWN_PARTS + HTH_DELTA_VECTORS + 2 + experts;
	size_t most = 6 + (size_t)m->config.n_layers * layer;
	struct list l = {.m = m, .gguf = gguf, .mlx = layout == HTH_LAYOUT_MLX, .folder = hth_family_of_folder(m)};

	*parts = NULL;
	*n = 0;
	l.parts = hth_calloc(most, sizeof(*l.parts));

	*parts = l.parts;
	if (l.parts == NULL)
		return hth_fail_memory(err, "a list of tensors", most * sizeof(*l.parts));
	add(&l, HTH_PART_MATRIX, "token_embd", "model.embed_tokens", &m->embed);
	if (m->config.n_own > 0) {
		add(&l, HTH_PART_MATRIX, "per_layer_token_embd", "model.embed_tokens_per_layer", &m->own_embed);
		add(&l, HTH_PART_MATRIX, "per_layer_model_proj", "model.per_layer_model_projection", &m->own_project);
		add(&l, HTH_PART_NORM, "per_layer_proj_norm", "model.per_layer_projection_norm", &m->own_norm);
	}
	for (int64_t i = 0; i < m->config.n_layers; i++)
		add_layer(&l, i);
	add(&l, HTH_PART_NORM, "output_norm", "model.norm", &m->final_norm);
	if (!m->config.tied)
		add(&l, HTH_PART_MATRIX, "output", "lm_head", &m->head);
	*n = l.n;
	return HTH_OK;
}

struct hth_part_piece hth_part_row(const struct hth_model_part *p, int64_t at, int64_t *row)
{
	const struct hth_weight order = {.head_rows = p->head_rows};
	int i = 0;

	if (p->stack != NULL) {
		int64_t half = p->rows / 2, e = at / p->rows, n = at % p->rows;
		bool up = p->up != NULL && p->rows > 1 && (p->in_turn ? n % 2 != 0 : n >= half);
		int linear = p->piece[0].linear < 0 ? -1 : p->piece[0].linear + up;
		*row = p->up == NULL || p->rows == 1 ? n : p->in_turn ? n / 2 : n % half;
		return (struct hth_part_piece){up ? &p->up[e] : &p->stack[e], linear, e};
	}
	*row = hth_part_place(p, &p->heads, hth_weight_logical_row(&order, at));
	while (i + 1 < p->n_pieces && *row >= p->piece[i].w->rows)
		*row -= p->piece[i++].w->rows;
	return p->piece[i];
}

/* Weight i of a part; NULL: there are no more. */
static const struct hth_weight *weight_of(const struct hth_model_part *p, int64_t i)
{
	if (p->stack != NULL && i >= p->n_stack && p->up != NULL)
		return i < 2 * p->n_stack ? &p->up[i - p->n_stack] : NULL;
	if (p->stack != NULL)
		return i < p->n_stack ? &p->stack[i] : NULL;
	return i < p->n_pieces ? p->piece[i].w : NULL;
}

static void release_first(const struct hth_model *m, const struct hth_model_part *p, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		hth_source_release(m->source, weight_of(p, i)->data);
}

enum hth_status hth_part_hold(const struct hth_model *m, const struct hth_model_part *p, struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	int64_t i = 0;

	for (; st == HTH_OK && weight_of(p, i) != NULL; i++)
		st = hth_source_hold(m->source, weight_of(p, i)->data, err);
	if (st != HTH_OK)
		release_first(m, p, i - 1);
	return st;
}

void hth_part_release(const struct hth_model *m, const struct hth_model_part *p)
{
	int64_t n = p->stack != NULL ? p->n_stack : p->n_pieces;

	release_first(m, p, p->up != NULL ? 2 * n : n);
}
