/* Ministral 3: Llama's layers under YaRN, inside a model with eyes. Its queries grow with their position: those at position p
 * are multiplied by 1 + beta * ln(1 + floor(p / original context)), which is 1 within the original context.
 * Leaves out: pictures.
 * Sources: transformers modeling_ministral3.py; llama.cpp src/models/mistral3.cpp. */
#include "models/parts.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key in_gguf = {"attention.temperature_scale", NULL, 0, 1e3, 0};
	const struct hth_real_key in_hf = {NULL, "llama_4_scaling_beta", 0, 1e3, 0};
	const json_t *rope = json_object_get(k->json, "rope_parameters");
	struct hth_keys inner = *k;
	enum hth_status st;

	if ((st = hth_config_read(k, c, err)) != HTH_OK || (st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK)
		return st;
	if (k->gguf == NULL)
		inner.json = json_is_object(rope) ? rope : json_object_get(k->json, "rope_scaling");
	return hth_keys_float(&inner, k->gguf != NULL ? in_gguf : in_hf, &c->query_growth, err);
}

static void to_gguf(const struct hth_model_config *c, struct hth_gguf_made *out)
{
	if (c->query_growth > 0)
		hth_gguf_made_f32(out, "mistral3.attention.temperature_scale", (double)c->query_growth);
}

const struct hth_family hth_family_ministral3 = {
	.name = "ministral3",
	.gguf_arch = "mistral3",
	.hf_types = "ministral3 ",
	.hf_classes = "Ministral3ForCausalLM ",
	.to_gguf = to_gguf,
	.config = config,
	.gguf_permuted = true,
	.nested = true,
	.aside = "model.vision_tower. model.multi_modal_projector. vision_tower. multi_modal_projector. ",
};
