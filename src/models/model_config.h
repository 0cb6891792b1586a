/* The numbers and flags of a model that drive decoder.c, as a family's config reads them. */
#ifndef HTH_MODELS_MODEL_CONFIG_H
#define HTH_MODELS_MODEL_CONFIG_H

#include "ops/ops.h"

enum hth_rope_scaling {
	HTH_ROPE_NONE,
	HTH_ROPE_LINEAR,
	HTH_ROPE_LLAMA3,
	HTH_ROPE_YARN,
	HTH_ROPE_FACTORS,
	HTH_ROPE_SHARE /* the first pairs of a head alone turn, as fast as if all did */
};
enum { HTH_MAX_LAYERS = 4096, HTH_MAX_PAIRS = 256 /* rotated pairs of columns a head */ };

/* Some layers of a model. */
struct hth_layer_set {
	uint8_t bits[HTH_MAX_LAYERS / 8];
};
static inline bool hth_layer_in(const struct hth_layer_set *s, int64_t l)
{
	return (s->bits[l / 8] >> (l % 8) & 1) != 0;
}

/* Flags that drive decoder.c. */
struct hth_model_config {
	int64_t n_vocab, n_layers, width, n_head, n_kv, head, n_ff, context; /* V L C H K D F, trained positions */
	float norm_eps, norm_offset;
	float norm_stored;       /* what the file's norm weights are above Hugging Face's: 1 in GGUF files of Gemma, else 0 */
	enum hth_norm_kind norm;
	enum hth_act act;
	float embed_scale;       /* 1; Gemma sqrt(C) */
	float residual_scale;    /* 1; Granite */
	float attn_scale;        /* 1/sqrt(D) unless said */
	float attn_soft_cap, logit_soft_cap, logit_scale;
	int64_t window;          /* sliding window of the layers in `windowed`, 0 none */
	struct hth_layer_set windowed, no_rope; /* layers with the window; layers without rotation */
	/* Layers with the window may differ from the others, and the last ones may attend to keys and values of an earlier
	 * one: see the functions below. 0: they do not. */
	int64_t local_head, local_kv, n_kv_shared, shared_ff;
	int64_t n_own;           /* P: width of an input of its own for each layer */
	bool values_normed;      /* per head, without a weight */
	bool values_are_keys;    /* in layers without the window: before norm and rotation */
	bool out_scaled;         /* each layer's output is multiplied by a number */
	int64_t rot;             /* rotated columns, usually D */
	double rope_theta;
	double rope_local_theta; /* of windowed layers, unscaled; 0: they rotate as all others */
	enum hth_rope_scaling rope_scaling;
	double rope_share;       /* SHARE: of the pairs */
	double rope_factor, rope_low, rope_high; /* LLAMA3, YARN: turns in the original context between which they blend */
	float rope_factors[HTH_MAX_PAIRS];       /* FACTORS: divisors of the frequencies */
	float rope_long[HTH_MAX_PAIRS]; /* FACTORS of sequences beyond the original context; [0] 0: as all */
	float rope_attn;         /* 1; YARN, FACTORS: multiplies rotated queries and keys */
	float query_growth;      /* of queries beyond the original context (struct hth_rotation); 0: none */
	int64_t rope_original;   /* original context */
	bool rope_ramp_exact;    /* YARN: its ramp begins and ends between pairs */
	bool tied;               /* head = embedding */
	bool norm_before, norm_after; /* norms before / after each block (OLMo 2: only after; Gemma 2: both) */
	int64_t n_experts, n_chosen, n_expert_ff; /* E, k, F of an expert; 0: every layer is dense */
	int64_t n_shared_ff;         /* width of the expert that every row of a sparse layer passes too; 0: none */
	bool experts_beside;         /* sparse layers have their dense block too, and norms for each of the two */
	struct hth_layer_set sparse; /* layers with experts */
	bool route_normalise;        /* weights of the chosen experts sum to 1 */
	bool sinks;                  /* attention has a learned extra logit a head */
	bool attn_gate;              /* q's rows are 2D a head: the query, and a gate of attention's output */
	struct hth_layer_set recurrent; /* layers with a gated delta net in place of attention */
	struct hth_delta_shape delta;   /* of those; tiled: the file has their value heads in GGUF's order, and so has memory */
	int64_t conv_taps;
	int64_t n_aside;             /* layers of the file behind these (GGUF: draft heads), which are left aside */
	bool ffn_norm_post; /* GGUF calls the norm before the feed-forward block post_attention_norm */
};

/* D, K and F of layer l. */
static inline int64_t hth_layer_head(const struct hth_model_config *c, int64_t l)
{
	return c->local_head > 0 && hth_layer_in(&c->windowed, l) ? c->local_head : c->head;
}
static inline int64_t hth_layer_kv(const struct hth_model_config *c, int64_t l)
{
	return c->local_kv > 0 && hth_layer_in(&c->windowed, l) ? c->local_kv : c->n_kv;
}
static inline bool hth_layer_shares(const struct hth_model_config *c, int64_t l)
{
	return l >= c->n_layers - c->n_kv_shared;
}
static inline int64_t hth_layer_ff(const struct hth_model_config *c, int64_t l)
{
	return c->shared_ff > 0 && hth_layer_shares(c, l) ? c->shared_ff : c->n_ff;
}
/* The layer whose keys and values layer l attends to: itself, or the last of its kind that has some; -1: there is none. */
static inline int64_t hth_layer_of_keys(const struct hth_model_config *c, int64_t l)
{
	int64_t at = hth_layer_shares(c, l) ? c->n_layers - c->n_kv_shared - 1 : l;

	while (at >= 0 && hth_layer_in(&c->windowed, at) != hth_layer_in(&c->windowed, l))
		at--;
	return at;
}
/* Do later layers attend to the keys and values of layer l? It is then the last of its kind that has some. */
static inline bool hth_layer_is_shared(const struct hth_model_config *c, int64_t l)
{
	bool windowed = hth_layer_in(&c->windowed, l);

	if (c->n_kv_shared == 0 || hth_layer_shares(c, l))
		return false;
	while (++l < c->n_layers)
		if (hth_layer_in(&c->windowed, l) == windowed)
			return hth_layer_shares(c, l);
	return false;
}
static inline bool hth_layer_has_v(const struct hth_model_config *c, int64_t l)
{
	return !c->values_are_keys || hth_layer_in(&c->windowed, l);
}
/* Longer sequences rotate otherwise (struct hth_segment's beyond); 0: all rotate alike. */
static inline int64_t hth_rope_switch(const struct hth_model_config *c)
{
	return c->rope_long[0] > 0 ? c->rope_original : 0;
}
static inline bool hth_rope_beyond(const struct hth_model_config *c, int64_t tokens)
{
	return hth_rope_switch(c) > 0 && tokens > c->rope_original;
}
/* Columns that rotation counts with; local: in windowed layers. */
static inline int64_t hth_rope_columns(const struct hth_model_config *c, bool local)
{
	return local && c->local_head > 0 ? c->local_head : c->rot;
}

#endif
