/* OLMo 2 and 3: norms only after the blocks, queries and keys normed over all heads together. OLMo 3 has a window in
 * three of four layers, whose rotation is not scaled. In GGUF both are "olmo2".
 * Sources: transformers modeling_olmo2.py, modeling_olmo3.py; llama.cpp src/models/olmo2.cpp. */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	c->norm_before = false;
	c->norm_after = true;
	enum hth_status st = hth_config_read(k, c, err);
	if (st == HTH_OK)
		st = hth_config_window(k, k->family->window_every, c, err);
	if (st == HTH_OK && c->window > 0)
		c->rope_local_theta = c->rope_theta;
	return st;
}

const struct hth_family hth_family_olmo2 = {
	.name = "olmo2",
	.gguf_arch = "olmo2",
	.hf_types = "olmo2 olmo3 ",
	.hf_classes = "Olmo2ForCausalLM Olmo3ForCausalLM ",
	.window_every = 4,
	.config = config,
	.qk_norm = HTH_QK_NORM_ALL,
};
