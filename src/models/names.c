/* Names: what Hugging Face and GGUF call the parts of a decoder. One table for linears, one for vectors; families
 * share them. Also the translation of adapter modules that formats/adapter.c asks for. */
#include "models/model_int.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *gguf, *hf;
} linear_names[HTH_LINEAR_COUNT] = {
	[HTH_Q] = {"attn_q", "self_attn.q_proj"},   [HTH_K] = {"attn_k", "self_attn.k_proj"},
	[HTH_V] = {"attn_v", "self_attn.v_proj"},   [HTH_O] = {"attn_output", "self_attn.o_proj"},
	[HTH_GATE] = {"ffn_gate", "mlp.gate_proj"}, [HTH_UP] = {"ffn_up", "mlp.up_proj"},
	[HTH_DOWN] = {"ffn_down", "mlp.down_proj"},
};

const char *hth_linear_module(enum hth_linear_kind k)
{
	return linear_names[k].hf;
}

void hth_linear_names(enum hth_linear_kind k, int64_t layer, char gguf[64], char hf[80])
{
	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, linear_names[k].gguf);
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)layer, linear_names[k].hf);
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
	};
	static const char *const hf_names[HTH_VECTOR_COUNT] = {
		[HTH_ATTN_NORM] = "input_layernorm",         [HTH_ATTN_POST_NORM] = "post_attention_layernorm",
		[HTH_FFN_NORM] = "post_attention_layernorm", [HTH_FFN_POST_NORM] = "post_feedforward_layernorm",
		[HTH_Q_NORM] = "self_attn.q_norm",           [HTH_K_NORM] = "self_attn.k_norm",
	};
	const char *name = k == HTH_FFN_NORM && c->norm_after ? "pre_feedforward_layernorm" : hf_names[k];

	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, gguf_names[k]);
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
	default:
		return &layer->k_norm;
	}
}

void hth_linear_shape(const struct hth_model_config *c, enum hth_linear_kind k, int64_t *rows, int64_t *cols)
{
	int64_t q = c->n_head * c->head, kv = c->n_kv * c->head;

	*rows = k == HTH_Q ? q : k == HTH_K || k == HTH_V ? kv : k == HTH_GATE || k == HTH_UP ? c->n_ff : c->width;
	*cols = k == HTH_O ? q : k == HTH_DOWN ? c->n_ff : c->width;
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
static bool parse_name(const char *name, const char *prefix, bool gguf, int64_t n_layers, int64_t *layer,
		       enum hth_linear_kind *k)
{
	size_t n = strlen(prefix);

	if (strncmp(name, prefix, n) != 0)
		return false;
	const char *rest = parse_layer(name + n, n_layers, layer);
	if (rest == NULL || *rest != '.')
		return false;
	for (int i = 0; i < HTH_LINEAR_COUNT; i++) {
		if (strcmp(rest + 1, gguf ? linear_names[i].gguf : linear_names[i].hf) != 0)
			continue;
		*k = (enum hth_linear_kind)i;
		return true;
	}
	return false;
}

bool hth_module_parse(const char *module, int64_t n_layers, int64_t *layer, enum hth_linear_kind *k)
{
	return parse_name(module, "model.layers.", false, n_layers, layer, k);
}

static bool adapter_to_gguf(const void *ctx, const char *module, char out[128])
{
	const struct hth_model *m = ctx;
	int64_t layer;
	enum hth_linear_kind k;
	char hf[80];

	if (!hth_module_parse(module, m->config.n_layers, &layer, &k))
		return false;
	hth_linear_names(k, layer, out, hf);
	return true;
}

static bool adapter_from_gguf(const void *ctx, const char *tensor, char out[128])
{
	const struct hth_model *m = ctx;
	int64_t layer;
	enum hth_linear_kind k;
	char gguf[64];

	if (!parse_name(tensor, "blk.", true, m->config.n_layers, &layer, &k))
		return false;
	hth_linear_names(k, layer, gguf, out);
	return true;
}

static int64_t adapter_permuted(const void *ctx, const char *module)
{
	const struct hth_model *m = ctx;
	int64_t layer;
	enum hth_linear_kind k;

	if (!m->family->gguf_permuted || !hth_module_parse(module, m->config.n_layers, &layer, &k))
		return 0;
	return k == HTH_Q || k == HTH_K ? m->config.head : 0;
}

int hth_model_linear_of_gguf(const struct hth_model *m, struct hth_gguf_str tensor)
{
	static const char suffix[] = ".weight";
	size_t tail = sizeof suffix - 1;
	int64_t layer;
	enum hth_linear_kind k;
	char stem[64];

	if (tensor.bytes <= tail || tensor.bytes - tail >= sizeof stem ||
	    memcmp(tensor.data + tensor.bytes - tail, suffix, tail) != 0)
		return -1;
	memcpy(stem, tensor.data, tensor.bytes - tail);
	stem[tensor.bytes - tail] = '\0';
	if (!parse_name(stem, "blk.", true, m->config.n_layers, &layer, &k))
		return -1;
	return (int)(layer * HTH_LINEAR_COUNT + k);
}

void hth_model_adapter_names(const struct hth_model *m, struct hth_adapter_names *out)
{
	*out = (struct hth_adapter_names){
		.gguf_arch = m->family->gguf_arch,
		.to_gguf = adapter_to_gguf,
		.from_gguf = adapter_from_gguf,
		.permuted_head_rows = adapter_permuted,
		.ctx = m,
	};
}
