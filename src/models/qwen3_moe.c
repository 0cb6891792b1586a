/* Qwen 3 MoE: Qwen 3 with experts in every decoder_sparse_step'th layer that mlp_only_layers does not name. A folder
 * may leave the chosen experts' weights as they are in the softmax over all (norm_topk_prob); GGUF files always
 * normalise. Sources: transformers modeling_qwen3_moe.py, configuration_qwen3_moe.py; llama.cpp
 * src/models/qwen3moe.cpp. */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->route_normalise = k->gguf != NULL;
	enum hth_status st = hth_config_qwen(k, c, err);

	return st == HTH_OK && c->n_experts > 0 && k->json != NULL ? hth_config_sparse_layers(k, c, err) : st;
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	hth_config_qwen_to_hf(c, out);
	hth_config_qwen_experts_to_hf(c, out);
}

const struct hth_family hth_family_qwen3_moe = {
	.name = "qwen3moe",
	.gguf_arch = "qwen3moe",
	.hf_types = "qwen3_moe ",
	.hf_classes = "Qwen3MoeForCausalLM ",
	.to_hf = to_hf,
	.config = config,
	.qk_norm = HTH_QK_NORM_HEAD,
	.experts = true,
};
