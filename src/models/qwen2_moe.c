/* Qwen 2 MoE (Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B): Qwen 2 with experts, and beside them one that every row passes, scaled
 * by the sigmoid of a row of its own. The chosen experts' weights are those of the softmax over all: a folder may say
 * otherwise (norm_topk_prob), a GGUF file cannot. With use_sliding_window every other layer below max_window_layers has
 * the window. Sources: transformers modeling_qwen2_moe.py, configuration_qwen2_moe.py; llama.cpp src/models/qwen2moe.cpp.
 */
#include "models/config.h"

/* Where config.json has no list of layers. */
static enum hth_status read_windows(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	int64_t first = 0;
	enum hth_status st =
		hth_keys_int(k, (struct hth_int_key){NULL, "max_window_layers", 0, INT32_MAX, 28}, &first, err);

	for (int64_t l = 0; st == HTH_OK && l < c->n_layers; l++)
		hth_layer_set(&c->windowed, l, (l + 1) % 2 != 0 && l < first);
	return st;
}

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	bool bias = true;
	enum hth_status st;

	c->route_normalise = false;
	c->window = json_is_true(json_object_get(k->json, "use_sliding_window")) ? 4096 : 0;
	if ((st = hth_config_qwen(k, c, err)) != HTH_OK)
		return st;
	if (k->json != NULL && (st = hth_json_bool(k->json, "qkv_bias", true, &bias, k->where, err)) != HTH_OK)
		return st;
	if (!bias)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"qkv_bias\" is false, expected biases", k->where);
	if (c->n_experts == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: 0 experts (expert_count, num_experts), expected some in family \"%s\"",
				k->where, k->family->name);
	const struct hth_int_key shared = {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", 1,
					   1 << 20, k->gguf != NULL ? c->n_ff : 5632};
	if ((st = hth_keys_int(k, shared, &c->n_shared_ff, err)) != HTH_OK || k->json == NULL)
		return st;
	if (c->window > 0 && !json_is_array(json_object_get(k->json, "layer_types")) &&
	    (st = read_windows(k, c, err)) != HTH_OK)
		return st;
	return hth_config_sparse_layers(k, c, err);
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	hth_config_qwen_to_hf(c, out);
	hth_config_qwen_experts_to_hf(c, out);
	(void)json_object_set_new(out, "shared_expert_intermediate_size", json_integer(c->n_shared_ff));
}

const struct hth_family hth_family_qwen2_moe = {
	.name = "qwen2moe",
	.gguf_arch = "qwen2moe",
	.hf_types = "qwen2_moe ",
	.hf_classes = "Qwen2MoeForCausalLM ",
	.to_hf = to_hf,
	.config = config,
	.qkv_bias = true,
	.experts = true,
};
