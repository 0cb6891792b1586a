/* Keys of a mixture of experts. Sources of names: ggml's docs/gguf.md; transformers configuration_mixtral.py
 * (num_local_ experts), configuration_qwen3_moe.py (num_experts, moe_intermediate_size), configuration_gpt_oss.py. */
#include "models/config.h"

enum { MAX_EXPERTS = 4096, MAX_EXPERT_FF = 1 << 20 };

enum hth_status hth_config_experts(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key older = {NULL, "num_experts", 0, MAX_EXPERTS, 0};
	int64_t also = 0; /* Qwen's name of it before transformers 5 */
	const char *top = hth_keys_has(k, NULL, "num_experts_per_tok") ? "num_experts_per_tok"
			  : hth_keys_has(k, NULL, "experts_per_token") ? "experts_per_token"
			  : hth_keys_has(k, NULL, "top_k_experts")     ? "top_k_experts"
								       : "num_experts_per_tok";
	enum hth_status st = hth_keys_int(k, older, &also, err);

	if (st == HTH_OK)
		st = hth_keys_int(k, (struct hth_int_key){"expert_count", "num_local_experts", 0, MAX_EXPERTS, also},
				  &c->n_experts, err);
	if (st != HTH_OK || c->n_experts == 0)
		return st;
	if (also != 0 && also != c->n_experts)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"num_experts\" is %lld and \"num_local_experts\" %lld, expected one number",
				k->where, (long long)also, (long long)c->n_experts);
	if (!k->family->experts)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: a mixture of %lld experts, expected a dense model in family \"%s\"", k->where,
				(long long)c->n_experts, k->family->name);
	const struct hth_int_key chosen = {"expert_used_count", top, 1, c->n_experts, HTH_KEY_NEEDED};
	const struct hth_int_key ff = {"expert_feed_forward_length", "moe_intermediate_size", 1, MAX_EXPERT_FF,
				       c->n_ff};
	if ((st = hth_keys_int(k, chosen, &c->n_chosen, err)) != HTH_OK ||
	    (st = hth_keys_int(k, ff, &c->n_expert_ff, err)) != HTH_OK)
		return st;
	for (int64_t l = 0; l < c->n_layers; l++)
		hth_layer_set(&c->sparse, l, true);
	if (k->json == NULL)
		return HTH_OK;
	return hth_json_bool(k->json, "norm_topk_prob", c->route_normalise, &c->route_normalise, k->where, err);
}

enum hth_status hth_config_sparse_layers(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
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

void hth_config_qwen_experts_to_hf(const struct hth_model_config *c, json_t *out)
{
	json_t *dense = json_array();

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
