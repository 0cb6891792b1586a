/* Qwen 3 MoE: Qwen 3 with experts in every decoder_sparse_step'th layer that mlp_only_layers does not name. A folder
 * may leave the chosen experts' weights as they are in the softmax over all (norm_topk_prob); GGUF files always
 * normalise. Sources: transformers modeling_qwen3_moe.py, configuration_qwen3_moe.py; llama.cpp
 * src/models/qwen3moe.cpp. */
#include "models/config.h"

static enum hth_status read_dense_layers(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *dense = json_object_get(k->json, "mlp_only_layers");
	int64_t every = 1;
	enum hth_status st =
		hth_keys_int(k, (struct hth_int_key){NULL, "decoder_sparse_step", 1, HTH_MAX_LAYERS, 1}, &every, err);

	for (int64_t l = 0; st == HTH_OK && l < c->n_layers; l++)
		hth_layer_set(&c->sparse, l, (l + 1) % every == 0);
	for (size_t i = 0; st == HTH_OK && i < json_array_size(dense); i++) {
		const json_t *v = json_array_get(dense, i);
		int64_t l = json_is_integer(v) ? json_integer_value(v) : -1;
		if (l < 0 || l >= c->n_layers)
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: \"mlp_only_layers\"[%zu], expected a layer's number, 0..%lld", k->where, i,
					(long long)c->n_layers - 1);
		hth_layer_set(&c->sparse, l, false);
	}
	return st;
}

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->route_normalise = k->gguf != NULL;
	enum hth_status st = hth_config_qwen(k, c, err);

	return st == HTH_OK && c->n_experts > 0 && k->json != NULL ? read_dense_layers(k, c, err) : st;
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	json_t *dense = json_array();

	hth_config_qwen_to_hf(c, out);
	for (int64_t l = 0; l < c->n_layers; l++)
		if (!hth_layer_in(&c->sparse, l))
			(void)json_array_append_new(dense, json_integer(l));
	(void)json_object_set_new(out, "mlp_only_layers", dense);
	(void)json_object_set_new(out, "decoder_sparse_step", json_integer(1));
	(void)json_object_set_new(out, "num_experts", json_integer(c->n_experts));
	(void)json_object_set_new(out, "num_experts_per_tok", json_integer(c->n_chosen));
	(void)json_object_set_new(out, "moe_intermediate_size", json_integer(c->n_expert_ff));
	(void)json_object_set_new(out, "norm_topk_prob", json_boolean(c->route_normalise));
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
