/* gpt-oss: experts with biases and a clamped unit, attention with sinks and biases, a window in every other layer, YaRN
 * without rounding of its ramp. Its folders have mxfp4 blocks (experts_hf.c).
 * Mind: llama.cpp rounds the ramp's ends, so that its frequencies differ a little between them.
 * Sources: transformers modeling_gpt_oss.py, configuration_gpt_oss.py; llama.cpp src/models/openai-moe.cpp. */
#include "models/config.h"

/* The unit's numbers are in the op. */
static enum hth_status check_unit(const struct hth_keys *k, struct hth_err *err)
{
	double alpha, limit;
	enum hth_status st;

	if ((st = hth_keys_real(k, (struct hth_real_key){NULL, "swiglu_alpha", 0, 1e6, 1.702}, &alpha, err)) !=
		    HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){NULL, "swiglu_limit", 0, 1e6, 7}, &limit, err)) != HTH_OK)
		return st;
	if ((float)alpha == HTH_SWIGLU_ALPHA && (float)limit == HTH_SWIGLU_LIMIT)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: a unit of alpha %g and limit %g, expected 1.702 and 7", k->where,
			alpha, limit);
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	(void)json_object_set_new(out, "num_local_experts", json_integer(c->n_experts));
	(void)json_object_set_new(out, "num_experts_per_tok", json_integer(c->n_chosen));
	(void)json_object_set_new(out, "intermediate_size", json_integer(c->n_expert_ff));
	(void)json_object_set_new(out, "attention_bias", json_true());
	(void)json_object_set_new(out, "hidden_act", json_string("silu"));
	hth_config_put_float(out, "swiglu_limit", HTH_SWIGLU_LIMIT);
}

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	enum hth_status st;

	c->norm_eps = 1e-5f;
	c->head = 64;
	c->window = 128;
	c->rope_theta = 150000;
	c->rope_ramp_exact = k->gguf != NULL;
	c->sinks = true;
	c->ffn_norm_post = true;
	if ((st = hth_config_read(k, c, err)) != HTH_OK ||
	    (st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK ||
	    (st = check_unit(k, err)) != HTH_OK)
		return st;
	c->act = HTH_ACT_SWIGLU_CLAMPED;
	return HTH_OK;
}

const struct hth_family hth_family_gpt_oss = {
	.name = "gpt-oss",
	.gguf_arch = "gpt-oss",
	.hf_types = "gpt_oss ",
	.hf_classes = "GptOssForCausalLM ",
	.window_every = 2,
	.config = config,
	.to_hf = to_hf,
	.qkv_bias = true,
	.experts = true,
	.interleaved = true,
};
