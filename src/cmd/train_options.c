/* The training options: the table, and how its rows become one struct hth_train_config. */
#include "cmd/train_options.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/where.h"
#include "models/model.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES (4u << 20)
#define AT(field) offsetof(struct hth_train_options, field)
/* A switch where value is NULL, else a flag with a value. */
#define IGNORED(flag, yaml, value, why)                                                                                \
	{                                                                                                              \
		flag, NULL, yaml, HTH_OPTION_IGNORED, 0, 0, 0, NULL, NULL, value, why                                  \
	}

enum { TYPE_LORA, TYPE_DORA, TYPE_FULL };

/* By the order of the option's choices. In other tools' configs `true` is there to make a run fit, which the plan sees
 * to without paying where it fits anyway. */
static const enum hth_checkpointing checkpointing_of[] = {
	HTH_CHECKPOINTING_AUTO, HTH_CHECKPOINTING_OFF,  HTH_CHECKPOINTING_ON,   HTH_CHECKPOINTING_AUTO,
	HTH_CHECKPOINTING_OFF,  HTH_CHECKPOINTING_AUTO, HTH_CHECKPOINTING_AUTO,
};

const struct hth_option hth_train_option_table[] = {
	{"config", "c", NULL, HTH_OPTION_PATH, AT(config), 0, 0, NULL, NULL, "FILE",
	 "YAML file of options; flags win over it"},
	{"model", NULL, "base_model model", HTH_OPTION_PATH, AT(model), 0, 0, NULL, NULL, "MODEL",
	 "the base: a GGUF file"},
	{"data", NULL, "data", HTH_OPTION_PATH, AT(data), 0, 0, NULL, NULL, "DIR|FILE",
	 "folder with train.jsonl (valid.jsonl, test.jsonl), or one JSONL file"},
	{"output-dir", NULL, "output_dir", HTH_OPTION_PATH, AT(output_dir), 0, 0, NULL, NULL, "DIR",
	 "run folder: checkpoints, adapter, metrics, report [runs/NAME-OF-DATA]"},
	{"adapter-path", NULL, "adapter_path", HTH_OPTION_PATH, AT(adapter_path), 0, 0, NULL, NULL, "DIR",
	 "also write the adapter folder here"},
	{"resume-adapter-file", NULL, "lora_model_dir resume_adapter_file", HTH_OPTION_PATH, AT(adapter_start), 0, 0,
	 NULL, NULL, "DIR|FILE", "start from this adapter's weights (not a resume: see --resume)"},
	{"resume", NULL, "auto_resume_from_checkpoints resume", HTH_OPTION_SWITCH, AT(resume), 0, 0, NULL, NULL, NULL,
	 "continue from the newest valid checkpoint of the run folder, bit for bit"},
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, AT(overwrite), 0, 0, NULL, NULL, NULL,
	 "replace the run folder if it exists"},
	{"plan", NULL, NULL, HTH_OPTION_SWITCH, AT(plan), 0, 0, NULL, NULL, NULL,
	 "show memory and time, and leave before any weight is read"},

	{"fine-tune-type", NULL, "fine_tune_type", HTH_OPTION_CHOICE, AT(type), 0, 0, "lora|dora|full", "lora", NULL,
	 "adapters on a frozen base, the same with magnitudes, or all weights"},
	{"adapter-kind", NULL, "adapter", HTH_OPTION_CHOICE, AT(adapter_kind), 0, 0, "lora|qlora", "lora", NULL,
	 "the same here: a base is used in the blocks of its file"},
	{"rank", "lora-r lora-rank r", "lora_r lora_parameters.rank", HTH_OPTION_INT, AT(rank), 1, 4096, NULL, "16",
	 "N", "rank of the adapters"},
	{"alpha", "lora-alpha", "lora_alpha", HTH_OPTION_REAL, AT(alpha), 0, 1e6, NULL, "32", "X",
	 "scale of the adapters is alpha / rank"},
	{"lora-scale", NULL, "lora_parameters.scale", HTH_OPTION_REAL, AT(mlx_scale), 0, 1e6, NULL, "0", "X",
	 "mlx-lm's scale, used as it is: sets alpha to scale * rank"},
	{"dropout", "lora-dropout", "lora_dropout lora_parameters.dropout", HTH_OPTION_REAL, AT(dropout), 0, 0.99, NULL,
	 "0", "P", "dropout of the adapters' input"},
	{"target-modules", "lora-target-modules", "lora_target_modules lora_parameters.keys", HTH_OPTION_LIST,
	 AT(targets), 0, 0, NULL, NULL, "NAME",
	 "linears that get an adapter: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj [all]; experts"},
	{"target-linear", NULL, "lora_target_linear", HTH_OPTION_SWITCH, AT(target_linear), 0, 0, NULL, "true", NULL,
	 "adapters on all linears when no names are given"},
	{"num-layers", "lora-layers", "num_layers", HTH_OPTION_INT, AT(n_layers), -1, 100000, NULL, "-1", "N",
	 "adapters on the last N layers; -1: on all"},
	{"rslora", NULL, "peft_use_rslora", HTH_OPTION_SWITCH, AT(rslora), 0, 0, NULL, NULL, NULL,
	 "scale is alpha / sqrt(rank)"},
	{"use-dora", "dora", "peft_use_dora", HTH_OPTION_SWITCH, AT(dora), 0, 0, NULL, NULL, NULL,
	 "DoRA: a trained length for each output beside A and B"},
	{"modules-to-save", "lora-modules-to-save", "lora_modules_to_save", HTH_OPTION_LIST, AT(modules_to_save), 0, 0,
	 NULL, NULL, "NAME", "trained whole beside the adapters: embed_tokens, lm_head, norms [none]"},

	{"batch-size", "micro-batch-size", "batch_size micro_batch_size", HTH_OPTION_INT, AT(batch_size), 1, 1 << 20,
	 NULL, "4", "N", "examples a micro-step"},
	{"grad-accumulation-steps", "gradient-accumulation-steps",
	 "gradient_accumulation_steps grad_accumulation_steps", HTH_OPTION_INT, AT(accumulation), 1, 1 << 20, NULL, "1",
	 "N", "micro-steps an optimizer step"},
	{"iters", "max-steps", "max_steps iters", HTH_OPTION_INT, AT(iters), 0, 1e12, NULL, "0", "N",
	 "optimizer steps; 0: by --epochs"},
	{"epochs", "num-epochs", "num_epochs epochs", HTH_OPTION_REAL, AT(epochs), 0, 1e6, NULL, "3", "X",
	 "passes over the data"},
	{"max-seq-length", NULL, "sequence_len max_seq_length", HTH_OPTION_INT, AT(max_seq_length), 0, 1 << 26, NULL,
	 "2048", "tokens", "longest example"},
	{"overlong", NULL, "excess_length_strategy", HTH_OPTION_CHOICE, AT(overlong), 0, 0, "drop|truncate|raise",
	 "truncate", NULL, "what happens to longer ones; they are counted"},
	{"mask-prompt", NULL, "mask_prompt", HTH_OPTION_SWITCH, AT(mask_prompt), 0, 0, NULL, NULL, NULL,
	 "learn the last assistant turn only (default: all assistant turns)"},
	{"train-on-inputs", NULL, "train_on_inputs", HTH_OPTION_SWITCH, AT(train_on_inputs), 0, 0, NULL, NULL, NULL,
	 "learn every token, the prompt too"},
	{"shuffle", NULL, "shuffle_merged_datasets shuffle", HTH_OPTION_SWITCH, AT(shuffle), 0, 0, NULL, "true", NULL,
	 "shuffle every epoch; --no-shuffle keeps the file's order"},
	{"prefix-sharing", NULL, "prefix_sharing", HTH_OPTION_BOOL, AT(share_prefix), 0, 0, NULL, "on", "on|off",
	 "compute a beginning that examples share once (exact)"},
	{"token-budget", NULL, "token_budget", HTH_OPTION_INT, AT(token_budget), 0, 1 << 26, NULL, "0", "tokens",
	 "most tokens computed at once; 0: what memory allows"},

	{"learning-rate", "lr", "learning_rate", HTH_OPTION_REAL, AT(learning_rate), 0, 1e3, NULL, "2e-4", "X",
	 "peak learning rate"},
	{"lr-schedule", "lr-scheduler", "lr_scheduler lr_schedule.name", HTH_OPTION_CHOICE, AT(schedule), 0, 0,
	 "constant|linear|cosine", "cosine", NULL, "how it falls after the warm-up"},
	{"warmup-steps", NULL, "warmup_steps lr_schedule.warmup", HTH_OPTION_INT, AT(warmup_steps), -1, 1e12, NULL,
	 "-1", "N", "steps of linear warm-up; -1: by --warmup-ratio"},
	{"warmup-ratio", NULL, "warmup_ratio", HTH_OPTION_REAL, AT(warmup_ratio), 0, 1, NULL, "0.03", "P",
	 "warm-up as a part of all steps"},
	{"min-lr-ratio", NULL, "cosine_min_lr_ratio", HTH_OPTION_REAL, AT(min_lr_ratio), 0, 1, NULL, "0", "P",
	 "where the schedule ends, as a part of the peak"},
	{"optimizer", NULL, "optimizer", HTH_OPTION_CHOICE, AT(optimizer), 0, 0,
	 "adamw|adamw_torch|adamw_torch_fused|adamw_8bit|adamw_bnb_8bit|paged_adamw_8bit", "adamw", NULL,
	 "AdamW; its other names mean the same here (moments are f32)"},
	{"weight-decay", NULL, "weight_decay optimizer_config.adamw.weight_decay", HTH_OPTION_REAL, AT(weight_decay), 0,
	 100, NULL, "0.01", "X", "decoupled weight decay"},
	{"adam-beta1", NULL, "adam_beta1", HTH_OPTION_REAL, AT(beta1), 0, 0.999999, NULL, "0.9", "X",
	 "decay of the first moment"},
	{"adam-beta2", NULL, "adam_beta2", HTH_OPTION_REAL, AT(beta2), 0, 0.9999999, NULL, "0.999", "X",
	 "decay of the second moment"},
	{"adam-epsilon", NULL, "adam_epsilon optimizer_config.adamw.eps", HTH_OPTION_REAL, AT(adam_eps), 0, 1, NULL,
	 "1e-8", "X", "added to the root of the second moment"},
	{"bias-correction", NULL, "optimizer_config.adamw.bias_correction", HTH_OPTION_SWITCH, AT(bias_correction), 0,
	 0, NULL, "true", NULL, "correct the moments' start"},
	{"max-grad-norm", NULL, "max_grad_norm", HTH_OPTION_REAL, AT(max_grad_norm), 0, 1e9, NULL, "1", "X",
	 "clip the gradient's norm; 0: off"},
	{"seed", NULL, "seed", HTH_OPTION_INT, AT(seed), 0, 9e15, NULL, "0", "N",
	 "of shuffling, initial values and dropout"},

	{"val-set-size", NULL, "val_set_size", HTH_OPTION_REAL, AT(val_fraction), 0, 0.9, NULL, "0.05", "P",
	 "part of the rows used for validation when there is no valid.jsonl"},
	{"steps-per-eval", "eval-steps", "eval_steps steps_per_eval", HTH_OPTION_INT, AT(eval_every), 0, 1e12, NULL,
	 "0", "N", "steps between validations; 0: by epoch"},
	{"evals-per-epoch", NULL, "evals_per_epoch", HTH_OPTION_INT, AT(evals_per_epoch), 0, 10000, NULL, "1", "N",
	 "validations an epoch"},
	{"val-batches", NULL, "val_batches", HTH_OPTION_INT, AT(val_batches), -1, 1e9, NULL, "-1", "N",
	 "batches of validation rows used; -1: all"},
	{"early-stopping-patience", "patience", "early_stopping_patience", HTH_OPTION_INT, AT(patience), 0, 1e6, NULL,
	 "0", "N", "stop after N validations without a better loss; 0: never"},
	{"save-every", "save-steps", "save_steps save_every", HTH_OPTION_INT, AT(save_every), 0, 1e12, NULL, "0", "N",
	 "steps between checkpoints; 0: by epoch"},
	{"saves-per-epoch", NULL, "saves_per_epoch", HTH_OPTION_INT, AT(saves_per_epoch), 0, 10000, NULL, "1", "N",
	 "checkpoints an epoch"},
	{"save-total-limit", NULL, "save_total_limit", HTH_OPTION_INT, AT(keep_checkpoints), 1, 10000, NULL, "3", "N",
	 "checkpoints kept, besides the best"},
	{"steps-per-report", "logging-steps", "logging_steps steps_per_report", HTH_OPTION_INT, AT(report_every), 1,
	 1e9, NULL, "10", "N", "steps between log lines"},
	{"sample-rows", NULL, "sample_rows", HTH_OPTION_INT, AT(sample_rows), 0, 100, NULL, "3", "N",
	 "validation rows answered before and after, for report.html"},

	{"compute", NULL, "compute", HTH_OPTION_CHOICE, AT(compute), 0, 0, "auto|f32|bf16", "auto", NULL,
	 "type of the products; auto: bf16 where this processor multiplies faster in it"},
	{"memory-limit", NULL, "memory_limit", HTH_OPTION_BYTES, AT(memory_limit), 0, 0, NULL, "0", "SIZE",
	 "refuse a run that needs more; 0: what the machine has free"},
	{"gradient-checkpointing", NULL, "gradient_checkpointing", HTH_OPTION_CHOICE, AT(checkpointing), 0, 0,
	 "auto|off|on|true|false|offload|unsloth", "auto", NULL,
	 "run layers twice instead of keeping them: where the run would not fit, never, always; other tools' true means "
	 "auto"},
	{"threads", NULL, "threads", HTH_OPTION_INT, AT(threads), 0, 1024, NULL, "0", "N",
	 "threads; 0: as many as this process may use"},
	{"backend", NULL, "backend", HTH_OPTION_TEXT, AT(backend), 0, 0, NULL, NULL, "NAME", "cpu or ref"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, AT(json), 0, 0, NULL, NULL, NULL,
	 "machine-readable result (with --plan: the plan)"},

	/* Keys of other tools that need nothing here. */
	IGNORED("train", "train", NULL, "training is what this command does"),
	IGNORED("model-type", "model_type tokenizer_type type_of_model is_llama_derived_model", "NAME",
		"the model's own file says what it is"),
	IGNORED("trust-remote-code", "trust_remote_code", NULL, "no code of a model is ever run"),
	IGNORED("load-in-4bit", "load_in_4bit load_in_8bit", NULL, "a base is used in the blocks of its file"),
	IGNORED("grad-checkpoint", "gradient_checkpointing_kwargs grad_checkpoint activation_offloading", NULL,
		"the plan turns gradient checkpointing on where memory demands it; see --gradient-checkpointing"),
	IGNORED("sample-packing", "sample_packing eval_sample_packing pad_to_sequence_len group_by_length", NULL,
		"nothing is ever padded"),
	IGNORED("flash-attention", "flash_attention attn_implementation xformers_attention sdp_attention", NULL,
		"attention always takes memory linear in the length"),
	IGNORED("device", "device tf32 fp16 bf16", "NAME", "the compute type is --compute, the device is --backend"),
	IGNORED("chat-template", "chat_template", "NAME", "the model's own template is used"),
	IGNORED("special-tokens", "special_tokens tokens eot_tokens", "NAME",
		"the model's own special tokens are used"),
	IGNORED("dataset-prepared-path", "dataset_prepared_path", "DIR", "tokenizing takes no time worth a cache"),
	IGNORED("load-best", "load_best_model_at_end", NULL, "the best adapter is always the one written"),
	IGNORED("report-to",
		"wandb_project wandb_entity wandb_watch wandb_name wandb_log_model wandb_run_id use_tensorboard "
		"report_to "
		"plugins strict debug local_rank deepspeed fsdp fsdp_config",
		"NAME", "metrics.jsonl and report.html are always written"),
	IGNORED("project-name", "project_name", "NAME", "metrics.jsonl and report.html are always written"),
	IGNORED("clear-cache-threshold", "clear_cache_threshold", "N", "a step allocates nothing"),
	IGNORED("test", "test", NULL, "hearth eval does that"),
	IGNORED("test-batches", "test_batches", "N", "hearth eval does that"),
	{0},
};

static const char *const target_names[HTH_LINEAR_COUNT] = {
	"q_proj",      "k_proj",    "v_proj",    "o_proj",    "gate_proj", "up_proj",
	"down_proj",   "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj",
	"gate",        "experts.gate_proj", "experts.up_proj", "experts.down_proj"};

/* Experts by PEFT's names of their parameters (mlp.experts.gate_up_proj) or by mlx-lm's of their modules
 * (mlp.switch_mlp.gate_proj), "experts" for all; false: none of these. */
static bool set_experts(const char *item, struct hth_train_config *c)
{
	static const char *const blocks[] = {"experts.", "switch_mlp.", "switch_glu."};
	const char *last = strrchr(item, '.');
	bool in = strcmp(item, "experts") == 0;

	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
		in = in || strstr(item, blocks[i]) != NULL;
	if (!in)
		return false;
	last = last != NULL ? last + 1 : item;
	bool all = strcmp(last, "experts") == 0, both = all || strcmp(last, "gate_up_proj") == 0, found = both;
	c->gate_up = c->gate_up || both;
	for (int k = HTH_EXPERTS_GATE; k < HTH_LINEAR_COUNT; k++)
		if (all || (both && k != HTH_EXPERTS_DOWN) || strcmp(target_names[k] + strlen("experts."), last) == 0)
			found = c->target[k] = true;
	return found;
}

static bool set_target(const char *name, bool target[HTH_LINEAR_COUNT])
{
	bool qkv = strcmp(name, "qkv_proj") == 0, gate_up = strcmp(name, "gate_up_proj") == 0, found = qkv || gate_up;

	for (int k = 0; k < HTH_EXPERTS_GATE; k++)
		if (strcmp(name, target_names[k]) == 0 || (qkv && k <= HTH_V) ||
		    (gate_up && (k == HTH_GATE || k == HTH_UP)))
			found = target[k] = true;
	return found;
}

/* Names may carry their block: "self_attn.q_proj", as mlx-lm writes them. */
static enum hth_status resolve_targets(const struct hth_train_options *o, struct hth_train_config *c,
				       struct hth_err *err)
{
	bool all = o->targets.n == 0, apart = false, *target = c->target; /* [HTH_LINEAR_COUNT] */
	memset(target, 0, HTH_LINEAR_COUNT * sizeof *target);
	for (size_t i = 0; i < o->targets.n; i++) {
		const char *dot = strrchr(o->targets.items[i], '.');
		bool had = target[HTH_EXPERTS_GATE] || target[HTH_EXPERTS_UP];
		if (set_experts(o->targets.items[i], c)) {
			apart = apart || (!had && (target[HTH_EXPERTS_GATE] || target[HTH_EXPERTS_UP]) && !c->gate_up);
			if (apart && c->gate_up)
				return hth_fail(err, HTH_ERR_USAGE,
						"--target-modules: \"%s\": gate and up of experts are either one (gate_up_proj) or "
						"two (gate_proj, up_proj)",
						o->targets.items[i]);
			continue;
		}
		const char *name = dot != NULL ? dot + 1 : o->targets.items[i];
		if (strcmp(name, "all-linear") == 0 || strcmp(name, "all") == 0) {
			all = true;
			continue;
		}
		if (!set_target(name, target))
			return hth_fail(err, HTH_ERR_USAGE,
					"--target-modules: \"%s\" is no linear layer of this family; expected q_proj "
					"k_proj v_proj o_proj "
					"gate_proj up_proj down_proj, qkv_proj gate_up_proj where these are one (Phi 3), or "
					"in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj where layers recur (Qwen 3.5), "
					"experts.gate_up_proj experts.down_proj (or switch_mlp.gate_proj and so on, which is "
					"an A each) and gate, the router, in mixtures of experts",
					o->targets.items[i]);
	}
	if (all && o->targets.n == 0 && !o->target_linear)
		return hth_fail(err, HTH_ERR_USAGE,
				"no target modules: give --target-modules, or leave --target-linear on");
	for (int k = 0; all && k < HTH_OWN_LINEARS; k++)
		target[k] = true;
	c->target_named = !all;
	return HTH_OK;
}

static enum hth_status fill_config(const struct hth_cli *cli, struct hth_train_config *c, struct hth_err *err)
{
	const struct hth_train_options *o = cli->config;
	hth_train_config_init(c);
	c->model = o->model;
	c->data = o->data;
	c->output_dir = o->output_dir;
	c->adapter_start = o->adapter_start;
	c->type = o->type == TYPE_FULL ? HTH_TRAIN_FULL : HTH_TRAIN_LORA;
	c->rank = (int32_t)o->rank;
	c->alpha = o->mlx_scale > 0 ? o->mlx_scale * (double)o->rank : o->alpha;
	c->dropout = o->dropout;
	c->rslora = o->rslora;
	c->dora = o->dora || o->type == TYPE_DORA;
	c->modules_to_save = (const char *const *)o->modules_to_save.items;
	c->n_modules_to_save = o->modules_to_save.n;
	c->n_layers = (int32_t)o->n_layers;
	c->batch_size = o->batch_size;
	c->accumulation = o->accumulation;
	c->iters = o->iters;
	c->epochs = o->epochs;
	c->learning_rate = o->learning_rate;
	c->schedule = (enum hth_schedule)o->schedule;
	c->warmup_steps = o->warmup_steps;
	c->warmup_ratio = o->warmup_ratio;
	c->min_lr_ratio = o->min_lr_ratio;
	c->weight_decay = o->weight_decay;
	c->beta1 = o->beta1;
	c->beta2 = o->beta2;
	c->adam_eps = o->adam_eps;
	c->bias_correction = o->bias_correction;
	c->max_grad_norm = o->max_grad_norm;
	c->seed = (uint64_t)o->seed;
	c->shuffle = o->shuffle;
	c->data_cfg.targets = o->train_on_inputs ? HTH_TARGET_ALL
			      : o->mask_prompt   ? HTH_TARGET_LAST_ASSISTANT
						 : HTH_TARGET_ASSISTANT;
	c->data_cfg.max_tokens = o->max_seq_length;
	c->data_cfg.overlong = (enum hth_overlong)o->overlong;
	c->val_fraction = o->val_fraction;
	c->eval_every = o->eval_every;
	c->evals_per_epoch = o->evals_per_epoch;
	c->eval_rows = o->val_batches < 0 ? 0 : o->val_batches * o->batch_size;
	c->save_every = o->save_every;
	c->saves_per_epoch = o->saves_per_epoch;
	c->keep_checkpoints = o->keep_checkpoints;
	c->report_every = o->report_every;
	c->patience = o->patience;
	c->share_prefix = o->share_prefix;
	c->token_budget = o->token_budget;
	c->checkpointing = checkpointing_of[o->checkpointing];
	c->memory_limit = o->memory_limit;
	c->compute = (enum hth_compute)o->compute;
	c->threads = (int)o->threads;
	c->backend = o->backend;
	c->resume = o->resume;
	c->overwrite = o->overwrite;
	c->sample_rows = o->sample_rows;
	if (c->type == HTH_TRAIN_FULL && (o->dora || c->n_modules_to_save > 0))
		return hth_fail(err, HTH_ERR_USAGE,
				"%s belongs to adapters; with --fine-tune-type full every weight is trained",
				o->dora ? "--use-dora" : "--modules-to-save");
	if (o->train_on_inputs && o->mask_prompt)
		return hth_fail(err, HTH_ERR_USAGE, "--mask-prompt and --train-on-inputs contradict each other");
	return resolve_targets(o, c, err);
}

/* Axolotl's `datasets:` list: one entry with a path. */
static enum hth_status apply_datasets(struct hth_cli *cli, const struct hth_yaml_node *list, const char *path,
				      struct hth_err *err)
{
	if (list == NULL || hth_cli_origin(cli, "data") == HTH_FROM_FLAG)
		return HTH_OK;
	if (list->kind != HTH_YAML_SEQ || list->n != 1 || list->items[0].kind != HTH_YAML_MAP)
		return hth_fail(err, HTH_ERR_USAGE, "%s:%d: datasets: expected a list of one entry with a path", path,
				list->line);
	const struct hth_yaml_node *entry = &list->items[0], *file = hth_yaml_get(entry, "path");
	const struct hth_yaml_node *type = hth_yaml_get(entry, "type");
	if (file == NULL || file->kind != HTH_YAML_SCALAR)
		return hth_fail(err, HTH_ERR_USAGE, "%s:%d: datasets: the entry has no path", path, entry->line);
	if (type != NULL && (type->kind != HTH_YAML_SCALAR ||
			     (strcmp(type->text, "chat_template") != 0 && strcmp(type->text, "completion") != 0)))
		return hth_fail(err, HTH_ERR_USAGE, "%s:%d: datasets: type: expected chat_template or completion", path,
				type->line);
	for (size_t i = 0; i < entry->n; i++)
		if (strcmp(entry->keys[i], "path") != 0 && strcmp(entry->keys[i], "type") != 0 &&
		    strcmp(entry->keys[i], "split") != 0)
			return hth_fail(
				err, HTH_ERR_USAGE,
				"%s:%d: datasets: key \"%s\" is not known here; rows are read by their own keys "
				"(messages, prompt and completion, or text)",
				path, entry->key_lines[i], entry->keys[i]);
	return hth_cli_set(cli, "data", file->text, HTH_FROM_FILE, err);
}

static enum hth_status read_config(struct hth_cli *cli, const char *path, struct hth_err *err)
{
	static const char *const handled[] = {"datasets", NULL};
	char *text = NULL;
	size_t bytes = 0;
	const struct hth_yaml_node *root = NULL;
	enum hth_status s = hth_file_read(path, MAX_CONFIG_BYTES, &text, &bytes, err);
	if (s == HTH_OK) {
		s = hth_yaml_parse(text, bytes, path, &cli->arena, &root, err);
		if (s == HTH_ERR_FORMAT) /* a config that cannot be read is bad use, as an unknown key is */
			s = err->status = HTH_ERR_USAGE;
	}
	if (s == HTH_OK)
		s = hth_cli_apply_yaml(cli, root, path, handled, err);
	if (s == HTH_OK)
		s = apply_datasets(cli, hth_yaml_get(root, "datasets"), path, err);
	hth_free(text);
	return s;
}

/* runs/NAME, NAME after the data folder or file. */
static enum hth_status default_output(struct hth_cli *cli, struct hth_err *err)
{
	struct hth_train_options *o = cli->config;
	if (o->output_dir != NULL || o->data == NULL)
		return HTH_OK;
	char dir[256];
	size_t end = strlen(o->data);
	while (end > 1 && o->data[end - 1] == '/')
		end--;
	size_t start = end;
	while (start > 0 && o->data[start - 1] != '/')
		start--;
	size_t bytes = end - start;
	if (bytes > 6 && strncmp(o->data + end - 6, ".jsonl", 6) == 0)
		bytes -= 6;
	bool usable = bytes > 0 && o->data[start] != '.';
	snprintf(dir, sizeof dir, "runs/%.*s", usable ? (int)(bytes < 200 ? bytes : 200) : 3,
		 usable ? o->data + start : "run");
	return hth_cli_set(cli, "output-dir", dir, HTH_FROM_DEFAULT, err);
}

/* A hub name becomes the path of what was pulled. */
static enum hth_status find_model(struct hth_cli *cli, struct hth_err *err)
{
	const struct hth_train_options *o = cli->config;
	char *path = NULL;
	enum hth_status s = hth_model_where(o->model, &path, err);
	if (s == HTH_OK && strcmp(path, o->model) != 0)
		s = hth_cli_set(cli, "model", path, hth_cli_origin(cli, "model"), err);
	hth_free(path);
	return s;
}

enum hth_status hth_train_options_resolve(struct hth_cli *cli, struct hth_train_config *out, struct hth_err *err)
{
	const struct hth_train_options *o = cli->config;
	const char *path = cli->n_args > 0 ? cli->args[0] : o->config;
	enum hth_status s = path != NULL ? read_config(cli, path, err) : HTH_OK;
	if (s == HTH_OK)
		s = default_output(cli, err);
	if (s == HTH_OK && o->model == NULL)
		s = hth_fail(err, HTH_ERR_USAGE, "no model: give --model FILE.gguf, or base_model in a config file");
	if (s == HTH_OK && o->data == NULL)
		s = hth_fail(err, HTH_ERR_USAGE, "no data: give --data DIR, or datasets in a config file");
	if (s == HTH_OK)
		s = find_model(cli, err);
	return s == HTH_OK ? fill_config(cli, out, err) : s;
}

void hth_train_options_print(const struct hth_cli *cli)
{
	char value[256], line[512] = "";
	for (size_t i = 0; cli->command->options[i].flag != NULL; i++) {
		const struct hth_option *o = &cli->command->options[i];
		if (o->type == HTH_OPTION_IGNORED || o->yaml == NULL || cli->origin[i] == HTH_FROM_DEFAULT)
			continue;
		bool flag = cli->origin[i] == HTH_FROM_FLAG || cli->config_path == NULL;
		hth_info("  %-24s %-52s %s", o->flag, hth_cli_value_text(cli, i, value, sizeof value),
			 flag ? "flag" : cli->config_path);
	}
	for (size_t i = 0; cli->command->options[i].flag != NULL; i++) {
		const struct hth_option *o = &cli->command->options[i];
		if (o->type == HTH_OPTION_IGNORED || o->yaml == NULL || cli->origin[i] != HTH_FROM_DEFAULT ||
		    hth_cli_value_text(cli, i, value, sizeof value)[0] == '\0')
			continue;
		if (strlen(line) + strlen(o->flag) + strlen(value) > 110) {
			hth_info("  %s", line);
			line[0] = '\0';
		}
		size_t used = strlen(line);
		snprintf(line + used, sizeof line - used, "%s%s %s", used == 0 ? "default: " : ", ", o->flag, value);
	}
	if (line[0] != '\0')
		hth_info("  %s", line);
}

/* A YAML scalar in double quotes, with what they need escaped. */
static void put_yaml_text(struct hth_buf *out, const char *text)
{
	(void)hth_buf_putc(out, '"');
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			(void)hth_buf_printf(out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7F)
			(void)hth_buf_printf(out, "\\x%02X", *p);
		else
			(void)hth_buf_putc(out, (char)*p);
	}
	(void)hth_buf_putc(out, '"');
}

enum hth_status hth_train_options_yaml(const struct hth_cli *cli, char **text, struct hth_err *err)
{
	struct hth_buf out;
	hth_buf_init(&out, MAX_CONFIG_BYTES);
	(void)hth_buf_puts(&out, "# hearth train: every option of this run, as it was resolved\n");
	for (size_t i = 0; cli->command->options[i].flag != NULL; i++) {
		const struct hth_option *o = &cli->command->options[i];
		char value[4608]; /* longer than any path that a system opens */
		if (o->type == HTH_OPTION_IGNORED || o->yaml == NULL ||
		    hth_cli_value_text(cli, i, value, sizeof value)[0] == '\0')
			continue;
		if (strcmp(o->flag, "resume") == 0 || (strcmp(o->flag, "lora-scale") == 0 && strcmp(value, "0") == 0))
			continue;
		(void)hth_buf_printf(&out, "%.*s:", (int)strcspn(o->yaml, " "), o->yaml);
		if (o->type == HTH_OPTION_LIST) {
			const struct hth_text_list *list = (const void *)((const char *)cli->config + o->offset);
			for (size_t k = 0; k < list->n; k++) {
				(void)hth_buf_puts(&out, "\n  - ");
				put_yaml_text(&out, list->items[k]);
			}
		} else if (o->type == HTH_OPTION_TEXT || o->type == HTH_OPTION_PATH) {
			(void)hth_buf_putc(&out, ' ');
			put_yaml_text(&out, value);
		} else {
			(void)hth_buf_printf(&out, " %s", value);
		}
		(void)hth_buf_putc(&out, '\n');
	}
	enum hth_status s = hth_buf_status(&out, "config.yml", err);
	if (s == HTH_OK && (*text = hth_buf_take(&out, NULL)) == NULL)
		s = hth_fail_memory(err, "config.yml", 4096);
	hth_buf_clear(&out);
	return s;
}
