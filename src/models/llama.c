/* The Llama family: Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM2, Mistral. RMS norms before both blocks, grouped queries,
 * rotary positions over the whole head, SiLU-gated feed-forward; Mistral 7B 0.1 has a window in every layer. Mistral 3
 * is the same inside a model with eyes. A GGUF file with experts is Mixtral (mixtral.c reads its folders).
 * Leaves out: pictures.
 * Source of q and k's row order in GGUF: llama.cpp convert_hf_to_gguf.py (LlamaModel.permute). */
#include "models/config.h"

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	enum hth_status st = hth_config_read(k, c, err);

	return st == HTH_OK ? hth_config_window(k, k->family->window_every, c, err) : st;
}

const struct hth_family hth_family_llama = {
	.name = "llama",
	.gguf_arch = "llama",
	.hf_types = "llama mistral mistral3 ",
	.hf_classes = "LlamaForCausalLM MistralForCausalLM Mistral3ForConditionalGeneration ",
	.nested = true,
	.aside = "model.vision_tower. model.multi_modal_projector. vision_tower. multi_modal_projector. ",
	.config = config,
	.gguf_permuted = true,
	.experts = true,
};
