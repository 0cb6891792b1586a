/* Gemma 2: norms before and after the blocks, soft caps on attention scores and logits, a window in every other layer,
 * beginning with the first. Sources: transformers modeling_gemma2.py; llama.cpp src/models/gemma2.cpp. */
#include "models/config.h"

enum { LAYERS_OF_27B = 46 };

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key attn = {"attn_logit_softcapping", "attn_logit_softcapping", 0, 1e6, 50};
	const struct hth_real_key final = {"final_logit_softcapping", "final_logit_softcapping", 0, 1e6, 30};
	enum hth_status st;

	c->norm_after = true;
	c->window = 4096;
	if ((st = hth_config_gemma(k, c, err)) != HTH_OK ||
	    (st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK ||
	    (st = hth_config_gemma_scale(k, LAYERS_OF_27B, c, err)) != HTH_OK ||
	    (st = hth_keys_float(k, attn, &c->attn_soft_cap, err)) != HTH_OK)
		return st;
	return hth_keys_float(k, final, &c->logit_soft_cap, err);
}

const struct hth_family hth_family_gemma2 = {
	.name = "gemma2",
	.gguf_arch = "gemma2",
	.hf_types = "gemma2 ",
	.to_hf = hth_config_gemma_to_hf,
	.hf_classes = "Gemma2ForCausalLM ",
	.window_every = 2,
	.config = config,
};
