/* hearth fuse: adapter into model. All of it is exported.c. */
#include "cmd/exported.h"

static const struct hth_option options[] = {HTH_EXPORT_OPTIONS(NULL), {0}};

const struct hth_command hth_command_fuse = {
	.name = "fuse",
	.usage = "MODEL --adapter A --output FILE.gguf|DIR [--type f16|bf16|q8_0|q4_k_m|mlx4|...] [options]",
	.summary = "adapter into model: a file or folder that needs no adapter",
	.about = "Tokenizer, chat template and stop tokens travel with the file. It is measured against base and "
		 "adapter "
		 "on the\n"
		 "run's validation rows; when the fine-tune was lost it is removed and the exit status is 1.\n"
		 "A folder becomes a folder unless --output ends in .gguf; the type is as the model is stored, f16 where it is\n"
		 "quantised, unless --type says one.\n\n"
		 "  hearth fuse model.gguf --adapter runs/hazmat/adapter --output hazmat-f16.gguf\n"
		 "  hearth fuse model-folder --adapter runs/hazmat/adapter --output hazmat-folder",
	.options = options,
	.config_bytes = sizeof(struct hth_export_options),
	.min_args = 1,
	.max_args = 1,
	.run = hth_export_run,
};
