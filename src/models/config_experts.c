/* Keys of a mixture of experts. Sources of names: ggml's docs/gguf.md; transformers configuration_mixtral.py
 * (num_local_ experts), configuration_qwen3_moe.py (num_experts, moe_intermediate_size), configuration_gpt_oss.py. */
#include "models/config.h"

enum { MAX_EXPERTS = 4096, MAX_EXPERT_FF = 1 << 20 };

enum hth_status hth_config_experts(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key older = {NULL, "num_experts", 0, MAX_EXPERTS, 0};
	int64_t also = 0; /* Qwen's name of it before transformers 5 */
	bool short_name = !hth_keys_has(k, NULL, "num_experts_per_tok") && hth_keys_has(k, NULL, "experts_per_token");
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
	const struct hth_int_key chosen = {"expert_used_count",
					   short_name ? "experts_per_token" : "num_experts_per_tok", 1, c->n_experts,
					   HTH_KEY_NEEDED};
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
