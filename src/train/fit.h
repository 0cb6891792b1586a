/* Does a run fit: its memory, found by walking it, and the token budget that keeps it within the limit. Refuses with
 * what would fit. No weight is read. */
#ifndef HTH_TRAIN_FIT_H
#define HTH_TRAIN_FIT_H

#include "train/walk.h"

struct hth_memory {
	uint64_t mapped_bytes;   /* weights read in place from the file */
	uint64_t prepared_bytes; /* weights in the backend's own packing */
	uint64_t params_bytes;   /* trained values, gradients, moments, best values */
	uint64_t arena_bytes;    /* activations, their gradients and scratch of one micro-batch: the peak */
	uint64_t data_bytes;     /* tokens of the data sets, and a batch's arrays */
	uint64_t program_bytes;  /* tokenizer, tables, the program itself: as measured now */
	uint64_t total_bytes;
	uint64_t limit_bytes;
};

struct hth_fit_args {
	const struct hth_train_config *cfg;
	struct hth_model *model; /* open, not prepared */
	const struct hth_backend *backend;
	struct hth_machine machine;
	const struct hth_dataset *train;
	const struct hth_dataset *valid; /* or NULL */
	int64_t token_budget;            /* of a run that is resumed: the only one tried; else 0 */
	uint64_t program_bytes;          /* 0: measured now */
};

struct hth_fit {
	int64_t token_budget; /* 0: none was needed (a config said so) */
	struct hth_recompute recompute;
	int64_t n_layers;
	struct hth_walk walk;
	struct hth_memory memory;
	/* Where layers are run again: the run without that. */
	uint64_t plain_arena_bytes;
	double plain_flops;
};

/* With cfg->token_budget: that one. Else the largest of 4096 and smaller ones that fits, or a smaller one that costs
 * at most 2 % more work. Where none fits, as a single example is too long, gradient checkpointing (cfg->checkpointing
 * auto): the largest budget that fits when longer micro-batches run layers again, and as few layers as will do.
 * HTH_ERR_MEMORY, with the parts and what would fit, when nothing does; *out then holds the smallest that was tried. */
HTH_MUST enum hth_status hth_fit_find(const struct hth_fit_args *a, struct hth_fit *out, struct hth_err *err);
/* The most layers that gain by running again: all but the last, whose turn in the backward pass comes first. */
int64_t hth_recompute_most(const struct hth_model *m);
/* "12 of 30 layers run twice in micro-batches of more than 512 tokens: ..."; empty when none do. */
const char *hth_fit_recompute_text(const struct hth_fit *f, char out[200]);

/* Reads cfg->data through the model's tokenizer and template (both zeroed before): a validation part from its file, or
 * split off by cfg->val_fraction. Rows that were cut, dropped or repeated are told by warnings. */
HTH_MUST enum hth_status hth_train_data_read(const struct hth_train_config *cfg, const struct hth_model *m, int64_t now,
					     struct hth_dataset *train, struct hth_dataset *valid, struct hth_err *err);
uint64_t hth_dataset_bytes(const struct hth_dataset *d);

#endif
