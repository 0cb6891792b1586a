/* Keys of a mixture of experts. Sources of names: ggml's docs/gguf.md; transformers configuration_mixtral.py (num_local_
 * experts), configuration_qwen3_moe.py (num_experts, moe_intermediate_size), configuration_gpt_oss.py. */
#include "models/config.h"

enum { MAX_EXPERTS = 4096, MAX_EXPERT_FF = 1 << 20 };

enum hth_status hth_config_experts(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	bool local = hth_keys_has(k, NULL, "num_local_experts");
	const struct hth_int_key count = {"expert_count", local ? "num_local_experts" : "num_experts", 0, MAX_EXPERTS, 0};
	bool short_name = !hth_keys_has(k, NULL, "num_experts_per_tok") && hth_keys_has(k, NULL, "experts_per_token");
	enum hth_status st = hth_keys_int(k, count, &c->n_experts, err);

	if (st != HTH_OK || c->n_experts == 0)
		return st;
	if (!k->family->experts)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: a mixture of %lld experts, expected a dense model in family \"%s\"", k->where,
				(long long)c->n_experts, k->family->name);
	const struct hth_int_key chosen = {"expert_used_count", short_name ? "experts_per_token" : "num_experts_per_tok", 1,
					   c->n_experts, HTH_KEY_NEEDED};
	const struct hth_int_key ff = {"expert_feed_forward_length", "moe_intermediate_size", 1, MAX_EXPERT_FF, c->n_ff};
	if ((st = hth_keys_int(k, chosen, &c->n_chosen, err)) != HTH_OK ||
	    (st = hth_keys_int(k, ff, &c->n_expert_ff, err)) != HTH_OK)
		return st;
	for (int64_t l = 0; l < c->n_layers; l++)
		hth_layer_set(&c->sparse, l, true);
	if (k->json == NULL)
		return HTH_OK;
	return hth_json_bool(k->json, "norm_topk_prob", c->route_normalise, &c->route_normalise, k->where, err);
}
