/* Everything that says how a run trains: an open struct filled from flags, YAML and defaults (cmd/options.h). */
#ifndef HTH_TRAIN_CONFIG_H
#define HTH_TRAIN_CONFIG_H

#include "backend/backend.h"
#include "data/dataset.h"
#include "models/adapted.h"

enum hth_schedule { HTH_SCHEDULE_CONSTANT, HTH_SCHEDULE_LINEAR, HTH_SCHEDULE_COSINE };
enum hth_checkpointing { HTH_CHECKPOINTING_AUTO, HTH_CHECKPOINTING_OFF, HTH_CHECKPOINTING_ON };
enum hth_train_type { HTH_TRAIN_LORA, HTH_TRAIN_FULL };

struct hth_train_config {
	const char *model, *data, *output_dir; /* paths */
	const char *adapter_start;             /* adapter folder or file to start from, or NULL (resume_adapter_file) */
	enum hth_train_type type;
	int32_t rank;   /* 8 */
	double alpha;   /* 16 */
	double dropout; /* 0 */
	bool rslora;
	bool dora;                                   /* magnitudes beside A and B */
	const char *const *modules_to_save;          /* (n_modules_to_save) trained whole beside the adapters; embedding, */
	size_t n_modules_to_save;                    /* head, norms, by PEFT's names */
	bool target[HTH_LINEAR_COUNT];               /* all */
	bool gate_up;                                /* gate and up of experts share A, as PEFT's gate_up_proj */
	bool target_named;                           /* each was asked for by name: one that no layer has is an error */
	int32_t n_layers;                            /* last N layers get adapters; -1: all */
	int64_t batch_size;                          /* examples a micro-step: 4 */
	int64_t accumulation;                        /* gradient_accumulation_steps: 1 */
	int64_t iters;                               /* optimizer steps; 0: by epochs */
	double epochs;                               /* 3 */
	double learning_rate;                        /* 2e-4 */
	enum hth_schedule schedule;                  /* cosine */
	int64_t warmup_steps;                        /* -1: warmup_ratio */
	double warmup_ratio;                         /* 0.03 */
	double min_lr_ratio;                         /* cosine and linear end here: 0 */
	double weight_decay, beta1, beta2, adam_eps; /* 0.01 0.9 0.999 1e-8 */
	bool bias_correction;                        /* true */
	double max_grad_norm;                        /* 1.0; 0: off */
	uint64_t seed;
	bool shuffle; /* true */
	struct hth_data_config data_cfg;
	double val_fraction;      /* taken from train when there is no valid file: 0.05 */
	int64_t eval_every;       /* optimizer steps between validations; 0: each epoch */
	int64_t eval_rows;        /* rows of validation used; 0: all */
	int64_t save_every;       /* steps between checkpoints; 0: each epoch */
	int64_t keep_checkpoints; /* 3 */
	int64_t report_every;     /* 10 */
	int64_t patience;         /* early stopping: validations without a better loss; 0: off */
	bool share_prefix;        /* true */
	int64_t token_budget;     /* computed tokens a micro-batch; 0: what memory allows and work is saved by (fit.h) */
	/* Layers run again in the backward pass: where the run would not fit (auto), never, in every micro-batch. */
	enum hth_checkpointing checkpointing;
	uint64_t memory_limit;    /* bytes; 0: what the machine has free */
	enum hth_compute compute;
	int threads;             /* 0: all usable */
	const char *backend;     /* NULL: cpu */
	bool resume;             /* continue from the newest valid checkpoint of output_dir */
	bool overwrite;          /* an existing run folder may be replaced */
	int64_t sample_rows;     /* validation rows answered before and after, for the report: 3 */
	int64_t evals_per_epoch; /* where eval_every is 0: validations an epoch; 0: one */
	int64_t saves_per_epoch; /* where save_every is 0: checkpoints an epoch; 0: one */
};

void hth_train_config_init(struct hth_train_config *c); /* the defaults above */

/* lr at optimizer step `step` (0-based) of `total`. Warm-up is linear from lr/warmup. */
double hth_schedule_lr(const struct hth_train_config *c, int64_t step, int64_t total);

#endif
