/* The Llama family as GGUF files say it (arch "llama"): Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM2, Mistral.
 * RMS norms before both blocks, grouped queries, rotary positions over the whole head, SiLU-gated feed-forward.
 * Every number is checked here once, so that nothing behind has to ask whether a head count is zero.
 * Source of keys: ggml's docs/gguf.md; of q and k's row order: llama.cpp convert_hf_to_gguf.py (LlamaModel.permute). */
#include "models/model.h"

#include <math.h>

/* Bounds far above any model of this family; their products fit 64 bits by far and counts fit int32. */
enum {
	MAX_LAYERS = 4096,
	MAX_WIDTH = 1 << 17,
	MAX_HEADS = 4096,
	MAX_HEAD = 256, /* of the attention op */
	MAX_FF = 1 << 20,
	MAX_VOCAB = 1 << 24,
	MAX_CONTEXT = 1 << 28,
};

static enum hth_status read_sizes(const struct hth_gguf *g, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_gguf_kv *tokens = hth_gguf_find(g, "tokenizer.ggml.tokens");
	enum hth_status st;

	if ((st = hth_gguf_need_int(g, "llama.block_count", 1, MAX_LAYERS, &c->n_layers, err)) != HTH_OK ||
	    (st = hth_gguf_need_int(g, "llama.embedding_length", 1, MAX_WIDTH, &c->width, err)) != HTH_OK ||
	    (st = hth_gguf_need_int(g, "llama.feed_forward_length", 1, MAX_FF, &c->n_ff, err)) != HTH_OK ||
	    (st = hth_gguf_need_int(g, "llama.context_length", 1, MAX_CONTEXT, &c->context, err)) != HTH_OK)
		return st;
	if (tokens == NULL || tokens->type != HTH_GGUF_ARRAY || tokens->elem_type != HTH_GGUF_STRING)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: no list of strings \"tokenizer.ggml.tokens\", expected in every model",
				g->map.path);
	if (tokens->n < 1 || tokens->n > MAX_VOCAB)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"tokenizer.ggml.tokens\" has %llu tokens, expected 1..%d",
				g->map.path, (unsigned long long)tokens->n, MAX_VOCAB);
	c->n_vocab = (int64_t)tokens->n;
	int64_t said;
	if ((st = hth_gguf_int(g, "llama.vocab_size", 1, MAX_VOCAB, c->n_vocab, &said, err)) != HTH_OK)
		return st;
	if (said != c->n_vocab)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"llama.vocab_size\" is %lld, expected %lld as there are tokens", g->map.path,
				(long long)said, (long long)c->n_vocab);
	return HTH_OK;
}

static enum hth_status read_heads(const struct hth_gguf *g, struct hth_model_config *c, struct hth_err *err)
{
	int64_t value_head;
	enum hth_status st;

	if ((st = hth_gguf_need_int(g, "llama.attention.head_count", 1, MAX_HEADS, &c->n_head, err)) != HTH_OK ||
	    (st = hth_gguf_int(g, "llama.attention.head_count_kv", 1, c->n_head, c->n_head, &c->n_kv, err)) != HTH_OK)
		return st;
	if (c->n_head % c->n_kv != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"llama.attention.head_count_kv\" is %lld, expected a divisor of "
				"head_count %lld",
				g->map.path, (long long)c->n_kv, (long long)c->n_head);
	if (hth_gguf_find(g, "llama.attention.key_length") == NULL && c->width % c->n_head != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"llama.embedding_length\" is %lld, expected a multiple of "
				"head_count %lld (or a key \"llama.attention.key_length\")",
				g->map.path, (long long)c->width, (long long)c->n_head);
	if ((st = hth_gguf_int(g, "llama.attention.key_length", 2, MAX_HEAD, c->width / c->n_head, &c->head, err)) !=
		    HTH_OK ||
	    (st = hth_gguf_int(g, "llama.attention.value_length", 2, MAX_HEAD, c->head, &value_head, err)) != HTH_OK ||
	    (st = hth_gguf_int(g, "llama.rope.dimension_count", 2, MAX_HEAD, c->head, &c->rot, err)) != HTH_OK)
		return st;
	if (c->head < 2 || c->head > MAX_HEAD || c->head % 2 != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: heads of %lld columns, expected an even number in 2..%d",
				g->map.path, (long long)c->head, MAX_HEAD);
	if (value_head != c->head || c->rot != c->head)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: keys of %lld, values of %lld and rotation of %lld columns a "
				"head, expected all three alike",
				g->map.path, (long long)c->head, (long long)value_head, (long long)c->rot);
	return HTH_OK;
}

static enum hth_status check_real(const struct hth_gguf *g, const char *key, double v, double above, double max,
				  struct hth_err *err)
{
	if (v > above && v <= max)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" is %g, expected more than %g and at most %g", g->map.path, key,
			v, above, max);
}

static enum hth_status read_rope(const struct hth_gguf *g, struct hth_model_config *c, struct hth_err *err)
{
	struct hth_gguf_str type;
	double old_factor;
	enum hth_status st;

	if ((st = hth_gguf_real(g, "llama.rope.freq_base", 10000, &c->rope_theta, err)) != HTH_OK ||
	    (st = check_real(g, "llama.rope.freq_base", c->rope_theta, 0, 1e12, err)) != HTH_OK ||
	    (st = hth_gguf_string(g, "llama.rope.scaling.type", &type, err)) != HTH_OK ||
	    (st = hth_gguf_real(g, "llama.rope.scale_linear", 1, &old_factor, err)) != HTH_OK ||
	    (st = hth_gguf_real(g, "llama.rope.scaling.factor", old_factor, &c->rope_factor, err)) != HTH_OK ||
	    (st = check_real(g, "llama.rope.scaling.factor", c->rope_factor, 0, 1e6, err)) != HTH_OK)
		return st;
	if (type.data != NULL && !hth_gguf_str_equal(type, "linear") && !hth_gguf_str_equal(type, "none")) {
		char shown[64];
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"llama.rope.scaling.type\" is \"%s\", expected none or linear", g->map.path,
				hth_quote(shown, sizeof(shown), type.data, type.bytes));
	}
	bool linear = type.data != NULL ? hth_gguf_str_equal(type, "linear") : c->rope_factor != 1;
	c->rope_scaling = linear ? HTH_ROPE_LINEAR : HTH_ROPE_NONE;
	return HTH_OK;
}

static enum hth_status config_from_gguf(const struct hth_gguf *g, struct hth_model_config *c, struct hth_err *err)
{
	double eps;
	int64_t experts;
	enum hth_status st;

	*c = (struct hth_model_config){
		.norm = HTH_NORM_RMS,
		.act = HTH_ACT_SILU,
		.embed_scale = 1,
		.residual_scale = 1,
		.logit_scale = 1,
		.norm_before = true,
	};
	if ((st = hth_gguf_int(g, "llama.expert_count", 0, 1 << 20, 0, &experts, err)) != HTH_OK)
		return st;
	if (experts > 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: a mixture of %lld experts, expected a dense model",
				g->map.path, (long long)experts);
	if ((st = read_sizes(g, c, err)) != HTH_OK || (st = read_heads(g, c, err)) != HTH_OK ||
	    (st = read_rope(g, c, err)) != HTH_OK)
		return st;
	if (hth_gguf_find(g, "llama.attention.layer_norm_rms_epsilon") == NULL)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: no key \"llama.attention.layer_norm_rms_epsilon\", expected in every "
				"model of arch \"llama\"",
				g->map.path);
	if ((st = hth_gguf_real(g, "llama.attention.layer_norm_rms_epsilon", 0, &eps, err)) != HTH_OK ||
	    (st = check_real(g, "llama.attention.layer_norm_rms_epsilon", eps, 0, 0.1, err)) != HTH_OK ||
	    (st = hth_gguf_int(g, "llama.attention.sliding_window", 0, MAX_CONTEXT, 0, &c->window, err)) != HTH_OK)
		return st;
	c->norm_eps = (float)eps;
	c->attn_scale = (float)(1 / sqrt((double)c->head));
	return HTH_OK;
}

const struct hth_family hth_family_llama = {
	.name = "llama",
	.gguf_arch = "llama",
	.config_from_gguf = config_from_gguf,
	.gguf_permuted = true,
};
