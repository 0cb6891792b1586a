/* Checkpoints: everything a run needs to go on bit for bit, in a folder that appears whole or not at all.
 *
 * RUN/checkpoints/step-N/ holds weights.safetensors, moments.safetensors, best.safetensors (once there is a best),
 * state.json and manifest.json (each file's size and XXH3; the manifest's own). It is written under another name, every
 * file synced, read back, renamed, the parent synced; only then older ones are pruned. docs/formats/checkpoint.md. */
#ifndef HTH_TRAIN_CHECKPOINT_H
#define HTH_TRAIN_CHECKPOINT_H

#include "train/params.h"

/* One thing that the run depends on, as text ("rank", "8"). A resume compares them by name. */
struct hth_fact {
	char name[32];
	char value[96];
	bool must; /* differs: the resume is refused; else: a warning */
};
#define HTH_MAX_FACTS 48

struct hth_facts {
	struct hth_fact item[HTH_MAX_FACTS];
	int n;
};
void hth_facts_text(struct hth_facts *f, bool must, const char *name, const char *value);
void hth_facts_int(struct hth_facts *f, bool must, const char *name, int64_t value);
void hth_facts_real(struct hth_facts *f, bool must, const char *name, double value);
void hth_facts_hash(struct hth_facts *f, bool must, const char *name, uint64_t value);

/* How far the run is. */
struct hth_progress_state {
	int64_t step;    /* optimizer steps taken, skipped ones included: the next is step `step` from 0 */
	int64_t updates; /* of AdamW */
	int64_t skipped; /* steps */
	int64_t skipped_in_row;
	int64_t epoch, cursor; /* of the next step: epoch, and example within its order */
	int64_t best_step;     /* 0: none yet */
	double best_loss;
	int64_t bad_evals;    /* validations since the best one */
	int64_t eval_pending; /* 1: the validation after `step` steps is still to be made */
	int64_t trained_tokens, trained_targets;
	double elapsed_s;
	int64_t now;          /* seconds since 1970 shown to templates: fixed when the run began */
	int64_t token_budget; /* the cut */
};

struct hth_checkpoint {
	char *path; /* owned; NULL: there is none */
	struct hth_progress_state at;
	struct hth_facts facts;
};
void hth_checkpoint_clear(struct hth_checkpoint *c); /* safe on zeroed */

/* Writes dir/step-N (dir: RUN/checkpoints) and prunes to the newest `keep` (at least 1; 0: all stay). Values that are
 * not finite are HTH_ERR_VALUE: never saved. On failure what was there before is untouched. */
HTH_MUST enum hth_status hth_checkpoint_save(const char *dir, const struct hth_params *p,
					     const struct hth_progress_state *at, const struct hth_facts *facts,
					     int64_t keep, struct hth_err *err);
/* The newest checkpoint whose every byte is as it was written. Damaged ones are named by a warning and left where they
 * are. None at all: path NULL and HTH_OK; only damaged ones: HTH_ERR_FORMAT. */
HTH_MUST enum hth_status hth_checkpoint_newest(const char *dir, struct hth_checkpoint *out, struct hth_err *err);
/* HTH_ERR_USAGE names the first `must` fact that differs; the others are warnings. */
HTH_MUST enum hth_status hth_checkpoint_agrees(const struct hth_checkpoint *c, const struct hth_facts *now,
					       struct hth_err *err);
/* Fills values, moments and best of p. */
HTH_MUST enum hth_status hth_checkpoint_load(const struct hth_checkpoint *c, struct hth_params *p, struct hth_err *err);

#endif
