/* A run's state, and which file does what to it: run.c sets it up and takes it down, facts of the run are
 * run_facts.c's, loop.c trains, finish.c writes what remains. */
#ifndef HTH_TRAIN_RUN_INT_H
#define HTH_TRAIN_RUN_INT_H

#include "base/log.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/train.h"

struct hth_run {
	const struct hth_train_config *cfg;
	const struct hth_train_hooks *hooks;
	struct hth_train_result *result;
	char *checkpoints_dir, *metrics_path;
	int lock_fd;                /* of output_dir/.lock, or -1 */
	struct hth_checkpoint from; /* resumed from; path NULL: a new run */
	struct hth_model *model;
	struct hth_dataset train, valid;
	int64_t n_eval; /* validation examples used; 0: none */
	struct hth_fit fit;
	struct hth_pool *pool;
	const struct hth_backend *backend;
	struct hth_device *device;
	struct hth_machine machine; /* costs are asked for with it */
	struct hth_params params;
	struct hth_lora_set loras;
	struct hth_exec *exec;
	uint64_t arena_bytes; /* of exec */
	struct hth_stepper stepper;
	struct hth_order order;
	struct hth_facts facts;
	struct hth_progress_state at;
	int64_t total, steps_per_epoch;
	int64_t saved_step;    /* of the newest checkpoint; -1: none */
	int64_t saved_pending; /* its eval_pending */
	struct hth_metrics metrics;
	struct hth_progress bar;
	double start_s, elapsed_before_s; /* this process began; run time of earlier ones */
};

/* run.c */
HTH_MUST enum hth_status hth_run_open(struct hth_run *r, struct hth_err *err);
void hth_run_close(struct hth_run *r);
HTH_MUST enum hth_status hth_run_make_exec(struct hth_run *r, uint64_t arena_bytes, struct hth_err *err);

/* run_facts.c */
void hth_run_facts(struct hth_run *r);

/* loop.c */
HTH_MUST enum hth_status hth_run_loop(struct hth_run *r, struct hth_err *err);

/* finish.c */
HTH_MUST enum hth_status hth_run_finish(struct hth_run *r, struct hth_err *err);

#endif
