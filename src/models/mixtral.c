/* Mixtral: Mistral with experts, two of eight a token, their weights made to sum to 1. In GGUF it is architecture
 * "llama" with an expert count: llama.c reads those. Sources: transformers modeling_mixtral.py; llama.cpp
 * convert_hf_to_gguf.py (LlamaModel). */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->norm_eps = 1e-5f;
	c->rope_theta = 1e6;
	enum hth_status st = hth_config_read(k, c, err);

	return st == HTH_OK ? hth_config_window(k, 0, c, err) : st;
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	(void)json_object_set_new(out, "intermediate_size", json_integer(c->n_expert_ff));
	(void)json_object_set_new(out, "num_local_experts", json_integer(c->n_experts));
	(void)json_object_set_new(out, "num_experts_per_tok", json_integer(c->n_chosen));
}

const struct hth_family hth_family_mixtral = {
	.name = "mixtral",
	.gguf_arch = "llama",
	.hf_types = "mixtral ",
	.hf_classes = "MixtralForCausalLM ",
	.to_hf = to_hf,
	.config = config,
	.gguf_permuted = true,
	.experts = true,
	.w123 = true,
};
