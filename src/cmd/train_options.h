/* The options of a training run: flags as mlx_lm names them, YAML keys as Axolotl and mlx-lm name them. Shared by
 * `hearth train` and `hearth plan`. */
#ifndef HTH_CMD_TRAIN_OPTIONS_H
#define HTH_CMD_TRAIN_OPTIONS_H

#include "cmd/options.h"
#include "train/config.h"

struct hth_train_options {
	const char *model, *data, *output_dir, *adapter_path, *adapter_start, *backend, *config;
	struct hth_text_list targets, modules_to_save;
	int type, adapter_kind, schedule, optimizer, overlong, compute, checkpointing;
	bool target_linear, rslora, dora, mask_prompt, train_on_inputs, bias_correction, shuffle, share_prefix, resume,
		overwrite, plan, json;
	int64_t rank, n_layers, batch_size, accumulation, iters, warmup_steps, eval_every, evals_per_epoch, val_batches,
		save_every, saves_per_epoch, keep_checkpoints, report_every, patience, max_seq_length, token_budget,
		threads, seed, sample_rows;
	double alpha, mlx_scale, dropout, epochs, learning_rate, warmup_ratio, min_lr_ratio, weight_decay, beta1, beta2,
		adam_eps, max_grad_norm, val_fraction;
	uint64_t memory_limit;
};

extern const struct hth_option hth_train_option_table[];

/* The first positional argument may be a config file; --config names one too. Reads it, applies it under the flags,
 * and fills out from the result. Strings are borrowed from cli. HTH_ERR_USAGE for anything that contradicts. */
HTH_MUST enum hth_status hth_train_options_resolve(struct hth_cli *cli, struct hth_train_config *out,
						   struct hth_err *err);
/* Every resolved value with its origin, to stderr: a line each for flags and files, the defaults together. */
void hth_train_options_print(const struct hth_cli *cli);
/* Prints the plan of a resolved run (text or --json); HTH_ERR_MEMORY when it does not fit. */
HTH_MUST enum hth_status hth_train_plan_command(const struct hth_cli *cli, const struct hth_train_config *cfg,
						struct hth_err *err);
/* The resolved options as a YAML file that reruns this run; caller frees (hth_free). */
HTH_MUST enum hth_status hth_train_options_yaml(const struct hth_cli *cli, char **out, struct hth_err *err);

#endif
