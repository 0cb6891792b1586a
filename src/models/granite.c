/* Granite 3, dense: Llama with four multipliers, of the embedding, the residual, attention scores, and logits (which
 * are divided). Sources: transformers modeling_granite.py; llama.cpp conversion/granite.py. */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key embed = {"embedding_scale", "embedding_multiplier", 0, 1e6, 1};
	const struct hth_real_key residual = {"residual_scale", "residual_multiplier", 0, 1e6, 1};
	const struct hth_real_key logits = {"logit_scale", "logits_scaling", 0, 1e6, 1};
	struct hth_real_key attn = {"attention.scale", "attention_multiplier", 0, 1e6, 1};
	double divisor = 1;
	enum hth_status st = hth_config_read(k, c, err);

	if (st != HTH_OK)
		return st;
	if (k->gguf != NULL)
		attn.def = (double)c->attn_scale;
	if ((st = hth_keys_float(k, embed, &c->embed_scale, err)) != HTH_OK ||
	    (st = hth_keys_float(k, residual, &c->residual_scale, err)) != HTH_OK ||
	    (st = hth_keys_float(k, attn, &c->attn_scale, err)) != HTH_OK ||
	    (st = hth_keys_real(k, logits, &divisor, err)) != HTH_OK)
		return st;
	c->logit_scale = (float)(1 / divisor);
	return HTH_OK;
}

const struct hth_family hth_family_granite = {
	.name = "granite",
	.gguf_arch = "granite",
	.hf_types = "granite ",
	.config = config,
	.gguf_permuted = true,
};
