/* Granite 3, dense: Llama with four multipliers, of the embedding, the residual, attention scores, and logits (which
 * are divided). Sources: transformers modeling_granite.py; llama.cpp conversion/granite.py. */
#include "formats/gguf_made.h"
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

static void to_gguf(const struct hth_model_config *c, struct hth_gguf_made *out)
{
	hth_gguf_made_f32(out, "granite.embedding_scale", (double)c->embed_scale);
	hth_gguf_made_f32(out, "granite.residual_scale", (double)c->residual_scale);
	hth_gguf_made_f32(out, "granite.attention.scale", (double)c->attn_scale);
	hth_gguf_made_f32(out, "granite.logit_scale", 1 / (double)c->logit_scale);
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	hth_config_put_float(out, "embedding_multiplier", c->embed_scale);
	hth_config_put_float(out, "residual_multiplier", c->residual_scale);
	hth_config_put_float(out, "attention_multiplier", c->attn_scale);
	hth_config_put_float(out, "logits_scaling", 1 / c->logit_scale);
}

const struct hth_family hth_family_granite = {
	.name = "granite",
	.gguf_arch = "granite",
	.hf_types = "granite ",
	.hf_classes = "GraniteForCausalLM ",
	.config = config,
	.gguf_permuted = true,
	.to_gguf = to_gguf,
	.to_hf = to_hf,
};
