/* hearth quantize: a model in fewer bits. All of it is exported.c. */
#include "cmd/exported.h"

static const struct hth_option options[] = {HTH_EXPORT_OPTIONS("q4_k_m"), {0}};

const struct hth_command hth_command_quantize = {
	.name = "quantize",
	.usage = "MODEL --output FILE.gguf|DIR [--type q4_k_m] [--adapter A] [--calibrate DATA] [options]",
	.summary = "a model in fewer bits, checked against what it was",
	.about =
		"Types and mixes are llama.cpp's; rows that are no multiple of 256 fall back as there. With "
		"--calibrate "
		"or --imatrix\n"
		"precision goes where the model's inputs are large. The file is measured against the model (with its "
		"adapter)\n"
		"on rows it was not trained on; when the fine-tune was lost it is removed and the exit status is 1.\n\n"
		"  hearth quantize model-f16.gguf --type q4_k_m --output model-q4_k_m.gguf\n"
		"  hearth quantize model-folder --type mlx4 --output model-mlx4\n"
		"  hearth quantize model-f16.gguf --adapter runs/hazmat/adapter --calibrate examples/hazmat "
		"--output hazmat.gguf\n"
		"  hearth quantize tuned-f16.gguf --base model-f16.gguf --eval test.jsonl --output tuned-q4_k_m.gguf",
	.options = options,
	.config_bytes = sizeof(struct hth_export_options),
	.min_args = 1,
	.max_args = 1,
	.run = hth_export_run,
};
