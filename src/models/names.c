/* Names: what Hugging Face and GGUF call the parts of a decoder. One table for linears, one for vectors; families
 * share them. Also the translation of adapter modules that formats/adapter.c asks for. */
#include "formats/hf.h"
#include "models/model_int.h"
#include "models/parts.h"
#include "models/source.h"

#include <stdio.h>
#include <string.h>

struct names {
	const char *gguf, *hf;
};
static const struct names linear_names[HTH_LINEAR_COUNT] = {
	[HTH_Q] = {"attn_q", "self_attn.q_proj"},   [HTH_K] = {"attn_k", "self_attn.k_proj"},
	[HTH_V] = {"attn_v", "self_attn.v_proj"},   [HTH_O] = {"attn_output", "self_attn.o_proj"},
	[HTH_GATE] = {"ffn_gate", "mlp.gate_proj"}, [HTH_UP] = {"ffn_up", "mlp.up_proj"},
	[HTH_DOWN] = {"ffn_down", "mlp.down_proj"},
	[HTH_DELTA_QKV] = {"attn_qkv", "linear_attn.in_proj_qkv"},
	[HTH_DELTA_Z] = {"attn_gate", "linear_attn.in_proj_z"},
	[HTH_DELTA_B] = {"ssm_beta", "linear_attn.in_proj_b"},
	[HTH_DELTA_A] = {"ssm_alpha", "linear_attn.in_proj_a"},
	[HTH_DELTA_OUT] = {"ssm_out", "linear_attn.out_proj"},
	[HTH_ROUTER] = {"ffn_gate_inp", "mlp.gate"},
	[HTH_EXPERTS_GATE] = {"ffn_gate_exps", "mlp.experts.gate_proj"},
	[HTH_EXPERTS_UP] = {"ffn_up_exps", "mlp.experts.up_proj"},
	[HTH_EXPERTS_DOWN] = {"ffn_down_exps", "mlp.experts.down_proj"},
};

/* Where experts stand beside a dense block. */
static const struct names beside_names[HTH_LINEAR_COUNT] = {
	[HTH_EXPERTS_GATE] = {"ffn_gate_exps", "experts.gate_proj"},
	[HTH_EXPERTS_UP] = {"ffn_up_exps", "experts.up_proj"},
	[HTH_EXPERTS_DOWN] = {"ffn_down_exps", "experts.down_proj"},
};

/* In sparse layers whose rows all pass one more expert. */
static const struct names shared_names[HTH_LINEAR_COUNT] = {
	[HTH_GATE] = {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
	[HTH_UP] = {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
	[HTH_DOWN] = {"ffn_down_shexp", "mlp.shared_expert.down_proj"},
};

static const struct names *names_of(const struct hth_model_config *c, int64_t layer, enum hth_linear_kind k)
{
	bool shared = k >= HTH_GATE && k <= HTH_DOWN && c->n_shared_ff > 0 && hth_layer_in(&c->sparse, layer);

	return shared						 ? &shared_names[k]
	       : c->experts_beside && k >= HTH_EXPERTS_GATE ? &beside_names[k]
							     : &linear_names[k];
}

bool hth_linear_there(const struct hth_model_config *c, int64_t layer, enum hth_linear_kind k)
{
	bool recurrent = hth_layer_in(&c->recurrent, layer);

	/* The router of experts that stand beside a dense block has a norm and more around it: no plain linear. */
	if (k >= HTH_ROUTER)
		return hth_layer_in(&c->sparse, layer) && (k != HTH_ROUTER || !c->experts_beside);
	if (k >= HTH_GATE && k <= HTH_DOWN)
		return !hth_layer_in(&c->sparse, layer) || c->n_shared_ff > 0 || c->experts_beside;
	return k < HTH_GATE ? !recurrent : recurrent;
}

const char *hth_linear_module(enum hth_linear_kind k)
{
	return linear_names[k].hf;
}

const struct hth_weight *hth_linear_weight(const struct hth_model *m, int64_t layer, enum hth_linear_kind k)
{
	static const struct hth_weight none = {0};
	const struct hth_layer *l = &m->layers[layer];

	if (k < HTH_ROUTER)
		return &l->linear[k];
	if (!hth_linear_there(&m->config, layer, k))
		return &none;
	return k == HTH_ROUTER ? &l->router_w : &l->experts[k - HTH_EXPERTS_GATE].w[0];
}

int64_t hth_linear_stack(const struct hth_model *m, enum hth_linear_kind k)
{
	return k >= HTH_EXPERTS_GATE ? m->config.n_experts : 1;
}

void hth_linear_names(const struct hth_model_config *c, enum hth_linear_kind k, int64_t layer, char gguf[64],
		      char hf[80])
{
	const struct names *n = names_of(c, layer, k);

	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, n->gguf);
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)layer, n->hf);
}

void hth_linear_name(const struct hth_model *m, int64_t layer, enum hth_linear_kind k, char hf[80])
{
	char gguf[64];

	hth_linear_names(&m->config, k, layer, gguf, hf);
}

/* Hugging Face calls the norm before the feed-forward block by its place behind attention, unless the family has
 * norms after the blocks too; then that name is taken. */
void hth_vector_names(const struct hth_model_config *c, enum hth_vector_kind k, int64_t layer, char gguf[64],
		      char hf[80])
{
	static const char *const gguf_names[HTH_VECTOR_COUNT] = {
		[HTH_ATTN_NORM] = "attn_norm", [HTH_ATTN_POST_NORM] = "post_attention_norm",
		[HTH_FFN_NORM] = "ffn_norm",   [HTH_FFN_POST_NORM] = "post_ffw_norm",
		[HTH_Q_NORM] = "attn_q_norm",  [HTH_K_NORM] = "attn_k_norm",
		[HTH_OWN_NORM] = "post_norm",  [HTH_DENSE_POST_NORM] = "post_ffw_norm_1",
		[HTH_EXPERT_NORM] = "pre_ffw_norm_2", [HTH_EXPERT_POST_NORM] = "post_ffw_norm_2",
	};
	static const char *const hf_names[HTH_VECTOR_COUNT] = {
		[HTH_ATTN_NORM] = "input_layernorm",         [HTH_ATTN_POST_NORM] = "post_attention_layernorm",
		[HTH_FFN_NORM] = "post_attention_layernorm", [HTH_FFN_POST_NORM] = "post_feedforward_layernorm",
		[HTH_Q_NORM] = "self_attn.q_norm",           [HTH_K_NORM] = "self_attn.k_norm",
		[HTH_OWN_NORM] = "post_per_layer_input_norm", [HTH_DENSE_POST_NORM] = "post_feedforward_layernorm_1",
		[HTH_EXPERT_NORM] = "pre_feedforward_layernorm_2",
		[HTH_EXPERT_POST_NORM] = "post_feedforward_layernorm_2",
	};
	const char *name = k == HTH_FFN_NORM && c->norm_after ? "pre_feedforward_layernorm" : hf_names[k];
	bool post = k == HTH_FFN_NORM && c->ffn_norm_post;

	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, gguf_names[post ? HTH_ATTN_POST_NORM : k]);
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)layer, name);
}

struct hth_weight *hth_layer_vector(struct hth_layer *layer, enum hth_vector_kind k)
{
	switch (k) {
	case HTH_ATTN_NORM:
		return &layer->attn_norm;
	case HTH_ATTN_POST_NORM:
		return &layer->attn_post_norm;
	case HTH_FFN_NORM:
		return &layer->ffn_norm;
	case HTH_FFN_POST_NORM:
		return &layer->ffn_post_norm;
	case HTH_Q_NORM:
		return &layer->q_norm;
	case HTH_OWN_NORM:
		return &layer->own.norm;
	case HTH_DENSE_POST_NORM:
		return &layer->dense_post_norm;
	case HTH_EXPERT_NORM:
		return &layer->expert_norm;
	case HTH_EXPERT_POST_NORM:
		return &layer->expert_post_norm;
	default:
		return &layer->k_norm;
	}
}

void hth_linear_shape(const struct hth_model_config *c, int64_t layer, enum hth_linear_kind k, int64_t *rows,
		      int64_t *cols)
{
	int64_t q = c->n_head * hth_layer_head(c, layer), kv = hth_layer_kv(c, layer) * hth_layer_head(c, layer);
	bool sparse = hth_layer_in(&c->sparse, layer) && !c->experts_beside;
	int64_t ff = sparse ? c->n_shared_ff : hth_layer_ff(c, layer);

	if (k >= HTH_ROUTER) {
		*rows = k == HTH_ROUTER ? c->n_experts : k == HTH_EXPERTS_DOWN ? c->width : c->n_expert_ff;
		*cols = k == HTH_EXPERTS_DOWN ? c->n_expert_ff : c->width;
		return;
	}
	if (k >= HTH_DELTA_QKV) {
		int64_t values = c->delta.n_value * c->delta.value;
		*rows = k == HTH_DELTA_QKV   ? hth_delta_cols(&c->delta)
			: k == HTH_DELTA_Z   ? values
			: k == HTH_DELTA_OUT ? c->width
					     : c->delta.n_value;
		*cols = k == HTH_DELTA_OUT ? values : c->width;
		return;
	}
	*rows = k == HTH_Q                      ? (c->attn_gate ? 2 * q : q)
		: k == HTH_K || k == HTH_V     ? kv
		: k == HTH_GATE || k == HTH_UP ? ff
					       : c->width;
	*cols = k == HTH_O ? q : k == HTH_DOWN ? ff : c->width;
}

bool hth_linear_fused(const struct hth_model_config *c, enum hth_linear_kind k, int64_t layer, char gguf[64],
		      char hf[80], int64_t *first, int64_t *total)
{
	int64_t q = c->n_head * c->head, kv = c->n_kv * c->head;
	bool qkv = k <= HTH_V;

	if (!qkv && k != HTH_GATE && k != HTH_UP)
		return false;
	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, qkv ? "attn_qkv" : "ffn_up");
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)layer, qkv ? "self_attn.qkv_proj" : "mlp.gate_up_proj");
	*first = k == HTH_K ? q : k == HTH_V ? q + kv : k == HTH_UP ? c->n_ff : 0;
	*total = qkv ? q + 2 * kv : 2 * c->n_ff;
	return true;
}

/* A layer number: digits without sign or leading zero, below n_layers. Returns what follows it, or NULL. */
static const char *parse_layer(const char *text, int64_t n_layers, int64_t *layer)
{
	int64_t n = 0;
	const char *p = text;

	while (*p >= '0' && *p <= '9' && n < n_layers)
		n = n * 10 + (*p++ - '0');
	if (p == text || n >= n_layers || (p - text > 1 && *text == '0'))
		return NULL;
	*layer = n;
	return p;
}

/* Both naming schemes are prefix, layer number, dot, name of the linear. */
static bool parse_name(const struct hth_model_config *c, const char *name, const char *prefix, bool gguf,
		       int64_t *layer, enum hth_linear_kind *k)
{
	size_t n = strlen(prefix);

	if (strncmp(name, prefix, n) != 0)
		return false;
	const char *rest = parse_layer(name + n, c->n_layers, layer);
	if (rest == NULL || *rest != '.')
		return false;
	for (int i = 0; i < HTH_LINEAR_COUNT; i++) {
		const struct names *own = names_of(c, *layer, (enum hth_linear_kind)i);
		bool ff = i >= HTH_GATE && i <= HTH_DOWN; /* of experts: the caller says more of those */
		if (strcmp(rest + 1, gguf ? own->gguf : own->hf) != 0 ||
		    (!ff && !hth_linear_there(c, *layer, (enum hth_linear_kind)i)))
			continue;
		*k = (enum hth_linear_kind)i;
		return true;
	}
	return false;
}

bool hth_module_parse(const struct hth_model_config *c, const char *module, int64_t *layer, enum hth_linear_kind *k)
{
	return parse_name(c, module, "model.layers.", false, layer, k);
}

/* The parts of a fused module, given one of its names without the layer's prefix. */
static int fused_parts(const struct hth_model *m, int64_t layer, const char *name, bool gguf,
		       struct hth_module_part out[3])
{
	int n = 0;

	for (int k = 0; k < HTH_LINEAR_COUNT; k++) {
		char names[2][80];
		struct hth_module_part p = {.layer = layer, .kind = (enum hth_linear_kind)k};
		int64_t total, cols;
		if (!hth_linear_fused(&m->config, p.kind, layer, names[0], names[1], &p.first, &total) ||
		    strcmp(name, names[gguf ? 0 : 1]) != 0)
			continue;
		hth_linear_shape(&m->config, layer, p.kind, &p.rows, &cols);
		out[n++] = p;
	}
	return n;
}

/* Gate and up of a layer's experts in one: the name of both, in GGUF without ".weight". */
static void both_names(const struct hth_model *m, int64_t layer, char gguf[64], char hf[80])
{
	snprintf(gguf, 64, "blk.%lld.ffn_gate_up_exps", (long long)layer);
	snprintf(hf, 80, "model.layers.%lld.%sexperts.gate_up_proj", (long long)layer,
		 m->config.experts_beside ? "" : "mlp.");
}

void hth_experts_module(const struct hth_model *m, int64_t layer, char out[80])
{
	char gguf[64];

	both_names(m, layer, gguf, out);
}

static int experts_parts(const struct hth_model *m, int64_t layer, const char *name, bool gguf,
			 struct hth_module_part out[3])
{
	int64_t ff = m->config.n_expert_ff;
	char names[2][80];

	both_names(m, layer, names[0], names[1]);
	if (!hth_layer_in(&m->config.sparse, layer) || strcmp(name, names[gguf ? 0 : 1]) != 0)
		return 0;
	out[0] = (struct hth_module_part){.layer = layer, .kind = HTH_EXPERTS_GATE, .first = 0, .rows = ff};
	out[1] = (struct hth_module_part){.layer = layer, .kind = HTH_EXPERTS_UP, .first = ff, .rows = ff};
	return 2;
}

static int parts_of(const struct hth_model *m, const char *name, bool gguf, struct hth_module_part out[3])
{
	const char *prefix = gguf ? "blk." : "model.layers.";
	int64_t layer, cols;

	if (m->config.n_experts > 0 && strncmp(name, prefix, strlen(prefix)) == 0 &&
	    parse_layer(name + strlen(prefix), m->config.n_layers, &layer) != NULL &&
	    experts_parts(m, layer, name, gguf, out) > 0)
		return 2;

	if (m->family->fused && strncmp(name, prefix, strlen(prefix)) == 0 &&
	    parse_layer(name + strlen(prefix), m->config.n_layers, &layer) != NULL) {
		int n = fused_parts(m, layer, name, gguf, out);
		if (n > 0)
			return n;
	}
	out[0] = (struct hth_module_part){0};
	if (!parse_name(&m->config, name, prefix, gguf, &out[0].layer, &out[0].kind))
		return 0;
	char names[2][80];
	if (m->family->fused &&
	    hth_linear_fused(&m->config, out[0].kind, 0, names[0], names[1], &out[0].first, &out[0].rows))
		return 0; /* a part of a fused module is no module */
	hth_linear_shape(&m->config, out[0].layer, out[0].kind, &out[0].rows, &cols);
	return 1;
}

void hth_nested_name(const struct hth_model *m, const char *name, char out[128])
{
	const struct hth_source *s = m->source;
	bool nested = s != NULL && s->hf != NULL && s->keys.json != s->hf->config && strncmp(name, "model.", 6) == 0;

	snprintf(out, 128, "%s%s", nested ? HTH_NESTED_PREFIX : "", nested ? name + 6 : name);
}

void hth_unnested_name(const struct hth_model *m, const char *name, char out[128])
{
	size_t n = strlen(HTH_NESTED_PREFIX);
	bool nested = m->family->nested && strncmp(name, HTH_NESTED_PREFIX, n) == 0;

	snprintf(out, 128, "%s%s", nested ? "model." : "", nested ? name + n : name);
}

int hth_module_parts(const struct hth_model *m, const char *module, struct hth_module_part out[3])
{
	char name[128];

	hth_unnested_name(m, module, name);
	return parts_of(m, name, false, out);
}

int hth_gguf_parts(const struct hth_model *m, struct hth_gguf_str tensor, struct hth_module_part out[3])
{
	static const char suffix[] = ".weight";
	size_t tail = sizeof suffix - 1;
	char stem[64];

	if (tensor.bytes <= tail || tensor.bytes - tail >= sizeof stem ||
	    memcmp(tensor.data + tensor.bytes - tail, suffix, tail) != 0)
		return 0;
	memcpy(stem, tensor.data, tensor.bytes - tail);
	stem[tensor.bytes - tail] = '\0';
	return parts_of(m, stem, true, out);
}

/* Both names of the module that a linear belongs to. */
static void module_names(const struct hth_model *m, int64_t layer, enum hth_linear_kind k, char gguf[64], char hf[80],
			 struct hth_module_part *part)
{
	int64_t total, cols;

	*part = (struct hth_module_part){.layer = layer, .kind = k};
	hth_linear_shape(&m->config, layer, k, &part->rows, &cols);
	if (!m->family->fused || !hth_linear_fused(&m->config, k, layer, gguf, hf, &part->first, &total)) {
		part->first = 0;
		hth_linear_names(&m->config, k, layer, gguf, hf);
	}
}

void hth_module_of_linear(const struct hth_model *m, int64_t layer, enum hth_linear_kind k, char out[80],
			  struct hth_module_part *part)
{
	char gguf[64];

	module_names(m, layer, k, gguf, out, part);
}

static bool adapter_to_gguf(const void *ctx, const char *module, char out[128])
{
	const struct hth_model *m = ctx;
	struct hth_module_part part[3], own;
	char hf[80];

	int n = hth_module_parts(m, module, part);
	if (n == 0)
		return false;
	if (n == 2 && part[0].kind == HTH_EXPERTS_GATE)
		both_names(m, part[0].layer, out, hf);
	else
		module_names(m, part[0].layer, part[0].kind, out, hf, &own);
	return true;
}

static bool adapter_from_gguf(const void *ctx, const char *tensor, char out[128])
{
	const struct hth_model *m = ctx;
	struct hth_module_part part[3], own;
	char gguf[64];

	int n = parts_of(m, tensor, true, part);
	if (n == 0)
		return false;
	if (n == 2 && part[0].kind == HTH_EXPERTS_GATE)
		both_names(m, part[0].layer, gguf, out);
	else
		module_names(m, part[0].layer, part[0].kind, gguf, out, &own);
	return true;
}

static int64_t adapter_permuted(const void *ctx, const char *module)
{
	const struct hth_model *m = ctx;
	struct hth_module_part part[3];

	if (!m->family->gguf_permuted || hth_module_parts(m, module, part) != 1)
		return 0;
	return part[0].kind == HTH_Q || part[0].kind == HTH_K ? m->config.head : 0;
}

static void adapter_tiled(const void *ctx, const char *module, struct hth_heads *rows, struct hth_heads *cols)
{
	const struct hth_model *m = ctx;
	struct hth_module_part part[3];

	if (m->config.delta.n_key > 0 && hth_module_parts(m, module, part) == 1)
		hth_linear_heads(&m->config, part[0].kind, rows, cols);
}

const struct hth_expert_layout *hth_model_expert_layout(const struct hth_model *m)
{
	const struct hth_family *f = hth_family_of_folder(m);

	if (m->config.n_experts == 0)
		return NULL;
	return &hth_expert_layouts[m->config.experts_beside ? HTH_EXPERTS_BESIDE
				   : f->interleaved	    ? HTH_EXPERTS_PAIRED
				   : f->w123		    ? HTH_EXPERTS_SPARSE
							    : HTH_EXPERTS_SWITCH];
}

/* Gate and up of experts in one tensor, as published files of Gemma 4 have them; ours of a folder have them apart. */
static bool is_joined(const struct hth_model *m)
{
	for (int64_t l = 0; m->gguf != NULL && l < m->config.n_layers; l++) {
		char gguf[64], hf[80], name[80];
		both_names(m, l, gguf, hf);
		snprintf(name, sizeof(name), "%s.weight", gguf);
		if (hth_layer_in(&m->config.sparse, l))
			return hth_gguf_tensor(m->gguf, name) != NULL;
	}
	return false;
}

void hth_model_adapter_names(const struct hth_model *m, struct hth_adapter_names *out)
{
	*out = (struct hth_adapter_names){
		.gguf_arch = m->family->gguf_arch,
		.to_gguf = adapter_to_gguf,
		.from_gguf = adapter_from_gguf,
		.permuted_head_rows = adapter_permuted,
		.tiled = adapter_tiled,
		.layout = hth_model_expert_layout(m),
		.gguf_joined = is_joined(m),
		.ctx = m,
	};
}
