/* Phi 3, 3.5 and 4: q, k and v in one tensor, gate and up in another; LongRoPE in the long-context ones, a part of
 * each head rotated in Phi 4 mini.
 * LoRA on a fused tensor has one A for all its parts, as PEFT's and mlx-lm's adapters have: lora.c gives it to each part.
 * Sources: transformers modeling_phi3.py; llama.cpp conversion/phi.py. */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->norm_eps = 1e-5f;
	enum hth_status st = hth_config_read(k, c, err);

	return st == HTH_OK ? hth_config_window(k, k->family->window_every, c, err) : st;
}

/* It keeps this one outside of what says how positions are stretched. */
static void to_hf(const struct hth_model_config *c, json_t *out)
{
	if (c->rope_scaling == HTH_ROPE_FACTORS)
		(void)json_object_set_new(out, "original_max_position_embeddings", json_integer(c->rope_original));
}

const struct hth_family hth_family_phi3 = {
	.name = "phi3",
	.gguf_arch = "phi3",
	.hf_types = "phi3 ",
	.to_hf = to_hf,
	.hf_classes = "Phi3ForCausalLM ",
	.config = config,
	.fused = true,
};
