/* One optimizer step, and the same forward pass for validation. Works on a running and on a planning execution alike:
 * a plan is this very code with costs only.
 *
 * A step's loss is the mean of -log p over all its target tokens, whatever the cut into micro-batches. */
#ifndef HTH_TRAIN_STEP_H
#define HTH_TRAIN_STEP_H

#include "data/batch_build.h"
#include "train/params.h"

/* Gradient checkpointing: in micro-batches of more than `over` computed tokens the first `layers` layers keep their
 * input alone and run again in the backward pass. It costs time and changes no bit. */
struct hth_recompute {
	int64_t layers; /* 0: off */
	int64_t over;
};

/* What steps work with; all borrowed but the two arenas, which are reset and refilled. */
struct hth_stepper {
	struct hth_exec *exec;
	const struct hth_model *model;
	const struct hth_lora_set *loras; /* of the parameters; the empty set in full fine-tuning */
	struct hth_params *params;
	struct hth_cut_config cut;
	struct hth_recompute recompute;
	struct hth_arena step_arena;  /* a step's cut */
	struct hth_arena batch_arena; /* one micro-batch */
};
/* Without gradient checkpointing; set recompute for it. */
void hth_stepper_init(struct hth_stepper *s, struct hth_exec *exec, const struct hth_model *m,
		      const struct hth_lora_set *loras, struct hth_params *params, const struct hth_cut_config *cut);
void hth_stepper_clear(struct hth_stepper *s); /* the arenas */

struct hth_step_args {
	const struct hth_dataset *data;
	const uint32_t *order; /* (n) items of data, borrowed */
	int32_t n;
	int64_t step;   /* from 0: keys dropout */
	int64_t update; /* from 1: how many updates AdamW has made with this one */
	double lr, beta1, beta2, eps, weight_decay, max_grad_norm;
	bool bias_correction;
	bool dropout;
	uint64_t seed;
};
/* lr is the schedule's. */
void hth_step_args_from(struct hth_step_args *a, const struct hth_train_config *cfg);

struct hth_step_out {
	double loss, grad_norm; /* 0 while planning */
	bool skipped;           /* loss or gradient was not finite: nothing was updated, gradients are cleared */
	int32_t bad_micro;      /* skipped: the first micro-batch with a loss that is not finite, or -1 */
	uint32_t bad_line;      /* and the data file's line of an example in it (0: the gradient's fault) */
	int64_t n_tokens, n_computed, n_targets;
	int32_t n_micro;
	double flops, bytes_moved;
};

/* Gradients must be clear before and are clear after, also after an error. */
HTH_MUST enum hth_status hth_step_run(struct hth_stepper *s, const struct hth_step_args *args, struct hth_step_out *out,
				      struct hth_err *err);

struct hth_eval_out {
	double loss_sum; /* of -log p over the targets */
	int64_t n_targets, n_tokens, n_computed;
	double flops, bytes_moved;
};
/* Forward only, over items 0 .. n-1 of data in order. Stops early with HTH_ERR_INTERRUPTED when stop says so between
 * micro-batches; stop may be NULL. */
HTH_MUST enum hth_status hth_eval_run(struct hth_stepper *s, const struct hth_dataset *data, int64_t n,
				      bool (*stop)(void), struct hth_eval_out *out, struct hth_err *err);

#endif
