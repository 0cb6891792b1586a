/* The run walked with costs only: the very steps, cuts and passes that training will make, on a planning execution. */
#ifndef HTH_TRAIN_WALK_H
#define HTH_TRAIN_WALK_H

#include "train/order.h"
#include "train/step.h"

/* Micro-batches that are walked one by one; beyond them an epoch's reshuffle is taken to cost what the walked steps
 * cost on average, and a running trainer plans anew when a batch turns out larger. */
#define HTH_WALK_MICRO_BATCHES 1500

struct hth_walk {
	uint64_t arena_bytes; /* peak of the execution's arena over all walked passes */
	uint64_t batch_bytes; /* peak of the batches' own arrays */
	int64_t steps, walked_steps, steps_per_epoch;
	int64_t n_evals; /* validations of the run */
	/* Of one epoch (an average where epochs are not walked): */
	double epoch_tokens, epoch_computed, epoch_targets;
	/* Of the whole run, validations included: */
	double micro_batches, flops, bytes_moved;
	double train_flops, train_bytes_moved; /* without them */
	int64_t longest_tokens;                /* of an example */
};

/* s: on a planning execution. n_eval: validation rows used (0: none). stop_at: steps of the run. */
HTH_MUST enum hth_status hth_walk_run(struct hth_stepper *s, const struct hth_train_config *cfg,
				      const struct hth_dataset *train, const struct hth_dataset *valid,
				      struct hth_walk *out, struct hth_err *err);

/* Optimizer steps of a run over n examples, and of one epoch. */
int64_t hth_train_steps(const struct hth_train_config *cfg, size_t n_examples, int64_t *steps_per_epoch);
/* Examples of a step, kept within what counts hold. */
int64_t hth_train_per_step(const struct hth_train_config *cfg);
/* True when a validation is due after `done` steps of `total`. */
bool hth_train_eval_due(const struct hth_train_config *cfg, int64_t done, int64_t total, int64_t steps_per_epoch);
/* The same for a checkpoint; the run's end is not looked at. */
bool hth_train_save_due(const struct hth_train_config *cfg, int64_t done, int64_t steps_per_epoch);
/* Validation examples used: whole rows, at most cfg->eval_rows of them. */
int64_t hth_train_eval_items(const struct hth_train_config *cfg, const struct hth_dataset *valid);

#endif
