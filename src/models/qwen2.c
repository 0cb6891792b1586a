/* Qwen 2 and 2.5: Llama with biases on q, k and v, rows in Hugging Face's order. Sliding windows are off unless
 * use_sliding_window says otherwise, whatever sliding_window holds; then the first max_window_layers layers have none.
 * Sources: transformers modeling_qwen2.py, configuration_qwen2.py; llama.cpp conversion/qwen.py. */
#include "models/config.h"

enum hth_status hth_config_qwen(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	bool windows = false;
	int64_t first = 0;
	enum hth_status st = hth_config_read(k, c, err);

	if (st == HTH_OK && k->json != NULL)
		st = hth_json_bool(k->json, "use_sliding_window", false, &windows, k->where, err);
	if (st != HTH_OK || !windows)
		return st;
	if ((st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK ||
	    json_object_get(k->json, "layer_types") != NULL)
		return st;
	st = hth_keys_int(k, (struct hth_int_key){NULL, "max_window_layers", 0, INT32_MAX, 28}, &first, err);
	for (int64_t l = 0; l < c->n_layers && l < first; l++)
		hth_layer_set(&c->windowed, l, false);
	return st;
}

void hth_config_qwen_to_hf(const struct hth_model_config *c, json_t *out)
{
	(void)json_object_set_new(out, "use_sliding_window", json_boolean(c->window > 0));
	(void)json_object_set_new(out, "max_window_layers", json_integer(c->n_layers));
	if (c->window > 0)
		hth_config_put_layer_types(c, out);
}

const struct hth_family hth_family_qwen2 = {
	.name = "qwen2",
	.gguf_arch = "qwen2",
	.hf_types = "qwen2 ",
	.to_hf = hth_config_qwen_to_hf,
	.hf_classes = "Qwen2ForCausalLM ",
	.config = hth_config_qwen,
	.qkv_bias = true,
};
