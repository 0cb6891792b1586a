/* Qwen 3.5 MoE, text: Qwen 3.5 with experts in every layer, whose chosen ones' weights sum to 1, and beside them one that
 * every row passes, scaled by the sigmoid of a row of its own.
 * Leaves out: pictures and draft heads.
 * Sources: transformers modeling_qwen3_5_moe.py, configuration_qwen3_5_moe.py; llama.cpp src/models/qwen35moe.cpp. */
#include "models/config.h"

enum { WIDTH = 512 /* of an expert, where config.json is silent */ };

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key shared = {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", 1, 1 << 20,
					   WIDTH};
	enum hth_status st;

	c->n_ff = WIDTH; /* no layer is dense: neither source need say how wide one would be */
	if ((st = hth_config_qwen35(k, c, err)) != HTH_OK ||
	    (st = hth_keys_int(k, shared, &c->n_shared_ff, err)) != HTH_OK)
		return st;
	if (c->n_experts == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: 0 experts (expert_count, num_experts), expected some in family \"%s\"",
				k->where, k->family->name);
	return HTH_OK;
}

static void to_gguf(const struct hth_model_config *c, struct hth_gguf_made *out)
{
	hth_config_qwen35_to_gguf(c, "qwen35moe", out);
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	hth_config_qwen35_to_hf(c, out);
	hth_config_qwen_experts_to_hf(c, out);
	(void)json_object_set_new(out, "shared_expert_intermediate_size", json_integer(c->n_shared_ff));
}

const struct hth_family hth_family_qwen3_5_moe = {
	.name = "qwen35moe",
	.gguf_arch = "qwen35moe",
	.hf_types = "qwen3_5_moe_text qwen3_5_moe ",
	.hf_classes = "Qwen3_5MoeForCausalLM Qwen3_5MoeForConditionalGeneration ",
	.config = config,
	.to_gguf = to_gguf,
	.to_hf = to_hf,
	.qk_norm = HTH_QK_NORM_HEAD,
	.experts = true,
	.mlx_type = "qwen3_5_moe",
	.nested = true,
	.aside = "mtp. model.mtp. model.visual. visual. vision_tower. language_model.mtp. ",
};
