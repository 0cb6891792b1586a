/* SmolLM 3: Llama whose every fourth layer does not rotate. GGUF has no key for which.
 * Sources: transformers modeling_smollm3.py; llama.cpp src/models/smollm3.cpp. */
#include "models/config.h"

/* no_rope_layers: 1 where a layer rotates. */
static enum hth_status read_list(const struct hth_keys *k, const json_t *list, struct hth_model_config *c,
				 struct hth_err *err)
{
	if (json_array_size(list) < (size_t)c->n_layers)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"no_rope_layers\" has %zu entries, expected %lld", k->where,
				json_array_size(list), (long long)c->n_layers);
	for (int64_t l = 0; l < c->n_layers; l++)
		hth_layer_set(&c->no_rope, l, json_integer_value(json_array_get(list, (size_t)l)) == 0);
	return HTH_OK;
}

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *list = json_object_get(k->json, "no_rope_layers");
	int64_t every = 4;
	enum hth_status st;

	c->tied = true;
	c->rope_theta = 2e6;
	if ((st = hth_config_qwen(k, c, err)) != HTH_OK)
		return st;
	if (json_is_array(list))
		return read_list(k, list, c, err);
	st = hth_keys_int(k, (struct hth_int_key){NULL, "no_rope_layer_interval", 1, HTH_MAX_LAYERS, every}, &every,
			  err);
	for (int64_t l = 0; l < c->n_layers; l++)
		hth_layer_set(&c->no_rope, l, (l + 1) % every == 0);
	return st;
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	json_t *list = json_array();

	hth_config_qwen_to_hf(c, out);
	for (int64_t l = 0; l < c->n_layers; l++)
		(void)json_array_append_new(list, json_integer(!hth_layer_in(&c->no_rope, l)));
	(void)json_object_set_new(out, "no_rope_layers", list);
}

const struct hth_family hth_family_smollm3 = {
	.name = "smollm3",
	.gguf_arch = "smollm3",
	.hf_types = "smollm3 ",
	.to_hf = to_hf,
	.hf_classes = "SmolLM3ForCausalLM ",
	.config = config,
	.gguf_permuted = true,
};
