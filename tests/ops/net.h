/* A decoder of two layers in the ops of a real one: the last layer goes on with the wanted rows alone. */
#ifndef HTH_TESTS_OPS_NET_H
#define HTH_TESTS_OPS_NET_H

#include "ops/graph.h"

enum { NET_LAYERS = 2, NET_V = 13, NET_C = 8, NET_H = 2, NET_K = 1, NET_D = 4, NET_F = 6 };
enum net_linear { NET_Q, NET_KEY, NET_VALUE, NET_O, NET_GATE, NET_UP, NET_DOWN, NET_LINEARS };

/* What is trained. */
struct net_config {
	bool full;                 /* every weight */
	bool tied;                 /* embed and head are one parameter */
	bool lora[NET_LAYERS][NET_LINEARS];
	float dropout;
	float residual_scale;
	enum hth_norm_kind norm;
};

struct net {
	const struct net_config *cfg;
	const struct hth_weight *embed, *head;
	struct hth_norm attn_norm[NET_LAYERS], ffn_norm[NET_LAYERS], final_norm, key_norm;
	struct hth_linear linear[NET_LAYERS][NET_LINEARS];
	struct hth_attention_shape shape;
};

static inline void net_init_norm(struct graph *g, struct hth_norm *n, const struct net_config *cfg, int64_t width)
{
	n->kind = cfg->norm;
	n->eps = 1e-5f;
	n->offset = 1.0f;
	n->w = graph_weight(g, "norm", 1, width, 0.2f, cfg->full, HTH_QUANT_F32);
	if (cfg->norm == HTH_NORM_LAYER)
		n->bias = graph_weight(g, "norm bias", 1, width, 0.2f, cfg->full, HTH_QUANT_F32);
}

static inline void net_init(struct net *net, struct graph *g, const struct net_config *cfg)
{
	static const int64_t rows[NET_LINEARS] = {NET_H * NET_D, NET_K * NET_D, NET_K * NET_D, NET_C, NET_F, NET_F, NET_C};
	static const int64_t cols[NET_LINEARS] = {NET_C, NET_C, NET_C, NET_H * NET_D, NET_C, NET_C, NET_F};
	static const char *const names[NET_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};

	*net = (struct net){.cfg = cfg};
	net->shape = (struct hth_attention_shape){.n_head = NET_H, .n_kv = NET_K, .head = NET_D, .scale = 0.5f};
	net->embed = graph_weight(g, "embed", NET_V, NET_C, 0.7f, cfg->full, HTH_QUANT_BF16);
	net->head = cfg->tied ? net->embed : graph_weight(g, "head", NET_V, NET_C, 0.5f, cfg->full, HTH_QUANT_BF16);
	net_init_norm(g, &net->key_norm, cfg, NET_D);
	net_init_norm(g, &net->final_norm, cfg, NET_C);
	for (int l = 0; l < NET_LAYERS; l++) {
		net_init_norm(g, &net->attn_norm[l], cfg, NET_C);
		net_init_norm(g, &net->ffn_norm[l], cfg, NET_C);
		for (int i = 0; i < NET_LINEARS; i++) {
			struct hth_linear *m = &net->linear[l][i];
			m->w = graph_weight(g, names[i], rows[i], cols[i], 0.35f, cfg->full, HTH_QUANT_BF16);
			if (!cfg->lora[l][i])
				continue;
			struct hth_lora **list = graph_alloc(g, 1, sizeof(struct hth_lora *));
			list[0] = graph_lora(g, m->w, 2, cfg->dropout, (uint32_t)(l * 16 + i), true);
			m->lora = list;
			m->n_adapters = 1;
		}
	}
}

static inline struct hth_tensor net_attention(struct hth_exec *x, const struct net *net, const struct hth_batch *b,
                                              int l, struct hth_tensor h)
{
	static const float freq[] = {1.0f, 0.2f};
	const struct hth_rotation how = {.freq = freq, .head = NET_D, .rot = NET_D, .attn_scale = 1};
	const struct hth_linear *qkv[] = {&net->linear[l][NET_Q], &net->linear[l][NET_KEY], &net->linear[l][NET_VALUE]};
	struct hth_tensor y[3];

	h = hth_op_norm(x, h, &net->attn_norm[l], NET_C);
	hth_op_linear(x, &b->all, h, qkv, 3, y);
	y[1] = hth_op_norm(x, y[1], &net->key_norm, NET_D);
	y[0] = hth_op_rope(x, &b->all, y[0], &how);
	y[1] = hth_op_rope(x, &b->all, y[1], &how);
	return hth_op_attention(x, b, l, &net->shape, y[0], y[1], y[2]);
}

static inline struct hth_tensor net_ffn(struct hth_exec *x, const struct net *net, const struct hth_rowset *rows, int l,
                                        struct hth_tensor h)
{
	const struct hth_linear *gu[] = {&net->linear[l][NET_GATE], &net->linear[l][NET_UP]};
	const struct hth_linear *down[] = {&net->linear[l][NET_DOWN]};
	struct hth_tensor y[2];

	h = hth_op_norm(x, h, &net->ffn_norm[l], NET_C);
	hth_op_linear(x, rows, h, gu, 2, y);
	h = hth_op_gated(x, HTH_ACT_SILU, y[0], y[1]);
	hth_op_linear(x, rows, h, down, 1, y);
	return y[0];
}

static inline struct hth_tensor net_build(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf)
{
	const struct net *net = g->ctx;
	const struct hth_batch *b = &g->batch;
	struct hth_head head = {.w = net->head, .scale = 1.0f};
	struct hth_tensor h = hth_op_embed(x, b, net->embed, 1.0f), f;

	(void)leaf;
	for (int l = 0; l < NET_LAYERS; l++) {
		const struct hth_linear *o[] = {&net->linear[l][NET_O]};
		const struct hth_rowset *rows = l + 1 < NET_LAYERS ? &b->all : &b->wanted;
		f = net_attention(x, net, b, l, hth_keep(x, h));
		f = hth_op_gather(x, f, rows);
		h = hth_op_gather(x, h, rows);
		hth_op_linear(x, rows, f, o, 1, &f);
		h = hth_op_add(x, h, f, net->cfg->residual_scale);
		f = net_ffn(x, net, rows, l, hth_keep(x, h));
		h = hth_op_add(x, h, f, net->cfg->residual_scale);
	}
	h = hth_op_norm(x, h, &net->final_norm, NET_C);
	return hth_op_logp(x, b, h, &head);
}

#endif
