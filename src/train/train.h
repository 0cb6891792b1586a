/* A training run from its config to its files: the one entry that `hearth train` calls.
 *
 * output_dir/ gets config.yml (as given by the hooks), metrics.jsonl, checkpoints/step-N/, and at the end adapter/ and
 * adapter.gguf (full fine-tuning: model.safetensors) in the best state by validation loss, and report.html. */
#ifndef HTH_TRAIN_TRAIN_H
#define HTH_TRAIN_TRAIN_H

#include "train/fit.h"

struct hth_train_progress {
	int64_t step, total; /* taken, of */
	double epoch, loss, lr, grad_norm, tokens_per_s, elapsed_s;
	double val_loss; /* NaN: none was made after this step */
	bool skipped;
};

struct hth_train_hooks {
	void *ctx;
	const char *config_yaml; /* written to config.yml; NULL: none */
	/* Once, when it is known that the run fits and before anything is computed; a false return ends the run with
	 * HTH_ERR_INTERRUPTED. NULL is fine. */
	bool (*on_plan)(void *ctx, const struct hth_fit *fit);
	void (*on_step)(void *ctx, const struct hth_train_progress *p); /* NULL is fine */
	/* Answers a prompt for the report; adapter -1: the base alone. NULL: no samples. Inference is a peer of
	 * training, so it comes from above. */
	enum hth_status (*answer)(void *ctx, struct hth_model *m, const struct hth_lora_set *loras, int32_t adapter,
				  const int32_t *prompt, int64_t n, struct hth_buf *out, struct hth_err *err);
};

struct hth_train_result {
	int64_t steps, skipped, best_step;
	double first_loss, last_loss, best_loss; /* best_loss: NaN without validation */
	double base_loss;                        /* validation before the first step; NaN without, and when resumed */
	double elapsed_s;
	int64_t trained_tokens;
	uint64_t arena_bytes;   /* peak that the steps used */
	uint64_t planned_bytes; /* and what the plan had said */
	uint64_t anon_peak_bytes;
	bool stopped_early, resumed;
};

/* HTH_ERR_INTERRUPTED after SIGINT or SIGTERM: a checkpoint stands, resume goes on from it. HTH_ERR_MEMORY: does not
 * fit, nothing was read or written. HTH_ERR_EXISTS: output_dir holds a run and neither resume nor overwrite is set.
 * hooks and out may be NULL. */
HTH_MUST enum hth_status hth_train_run(const struct hth_train_config *cfg, const struct hth_train_hooks *hooks,
				       struct hth_train_result *out, struct hth_err *err);

#endif
