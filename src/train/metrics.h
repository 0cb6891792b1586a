/* metrics.jsonl: one row a step, and one a validation, appended as they happen. Keys: docs/formats/checkpoint.md. */
#ifndef HTH_TRAIN_METRICS_H
#define HTH_TRAIN_METRICS_H

#include "base/status.h"

#include <stdint.h>
#include <stdio.h>

struct hth_metrics_row {
	int64_t step; /* steps taken, from 1; a validation before the first step: 0 */
	double epoch; /* passed, with its fraction */
	bool is_validation;
	double loss, val_loss;   /* one of them */
	double lr, grad_norm;    /* steps */
	int64_t tokens, targets; /* of the step, or of the validation */
	double tokens_per_s;     /* data-set tokens */
	uint64_t mem_bytes;      /* anonymous memory's peak */
	double time_s;           /* since the run began, pauses between resumes left out */
	bool skipped;
};

struct hth_metrics {
	FILE *out;
	char *path;  /* owned */
	bool warned; /* a failed write was told once */
};

/* Opens for appending. Rows of steps beyond keep_step (a crash after the checkpoint that is resumed) and a torn last
 * line are taken off first; keep_step -1 begins anew. drop_validation: a validation row of keep_step goes too (it will
 * be made again). */
HTH_MUST enum hth_status hth_metrics_open(struct hth_metrics *m, const char *path, int64_t keep_step,
					  bool drop_validation, struct hth_err *err);
void hth_metrics_add(struct hth_metrics *m, const struct hth_metrics_row *row); /* a failure is a warning, once */
void hth_metrics_sync(struct hth_metrics *m);                                   /* to the disk */
void hth_metrics_close(struct hth_metrics *m);                                  /* safe on zeroed */

/* All rows of a file; caller frees with hth_free. Lines that are no rows are left out. */
HTH_MUST enum hth_status hth_metrics_read(const char *path, struct hth_metrics_row **rows, size_t *n,
					  struct hth_err *err);

#endif
