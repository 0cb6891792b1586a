/* Qwen 3, dense: queries and keys normed per head, no biases; otherwise as Qwen 2.
 * Source: transformers modeling_qwen3.py. */
#include "models/config.h"

const struct hth_family hth_family_qwen3 = {
	.name = "qwen3",
	.gguf_arch = "qwen3",
	.hf_types = "qwen3 ",
	.to_hf = hth_config_qwen_to_hf,
	.hf_classes = "Qwen3ForCausalLM ",
	.config = hth_config_qwen,
	.qk_norm = HTH_QK_NORM_HEAD,
};
