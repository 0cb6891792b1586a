/* Gemma 3, text: Gemma 2 with normed queries and keys in place of soft caps, five windowed layers to each whole one,
 * and two rotations: windowed layers have a theta of their own and no scaling.
 * A model with eyes (4B and up, as published) names in its text_config only what differs from its class.
 * Leaves out: pictures.
 * Sources: transformers modeling_gemma3.py, configuration_gemma3.py; llama.cpp src/models/gemma3.cpp. */
#include "models/config.h"

enum { LAYERS_OF_27B = 62 };

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key final = {"final_logit_softcapping", "final_logit_softcapping", 0, 1e6, 0};
	const struct hth_real_key attn = {NULL, "attn_logit_softcapping", 0, 1e6, 0};
	enum hth_status st;

	c->norm_after = true;
	c->window = 4096;
	c->rope_theta = 1e6;
	c->rope_local_theta = 10000;
	if ((st = hth_config_gemma(k, c, err)) != HTH_OK ||
	    (st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK ||
	    (st = hth_config_gemma_scale(k, LAYERS_OF_27B, c, err)) != HTH_OK ||
	    (st = hth_keys_float(k, attn, &c->attn_soft_cap, err)) != HTH_OK ||
	    (st = hth_keys_float(k, final, &c->logit_soft_cap, err)) != HTH_OK)
		return st;
	if (json_is_true(json_object_get(k->json, "use_bidirectional_attention")))
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: attention in both directions (an embedding model), expected causal", k->where);
	return HTH_OK;
}

const struct hth_family hth_family_gemma3 = {
	.name = "gemma3",
	.gguf_arch = "gemma3",
	/* Windows make the second the one that is written. */
	.hf_types = "gemma3 gemma3_text ",
	.to_hf = hth_config_gemma_to_hf,
	.hf_classes = "Gemma3ForConditionalGeneration Gemma3ForCausalLM ",
	.nested = true,
	.nested_defaults = "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, "
			   "\"num_hidden_layers\": 26, \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
			   "\"head_dim\": 256, \"hidden_activation\": \"gelu_pytorch_tanh\", "
			   "\"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-6, \"query_pre_attn_scalar\": 256, "
			   "\"sliding_window\": 4096, \"tie_word_embeddings\": true}",
	.aside = "model.vision_tower. model.multi_modal_projector. vision_tower. multi_modal_projector. ",
	.window_every = 6,
	.config = config,
	.qk_norm = HTH_QK_NORM_HEAD,
};
