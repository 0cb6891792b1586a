/* report.html: one file that shows a run: curves of loss, learning rate and speed as inline SVG, the settings, answers
 * before and after. Loads nothing from anywhere, runs no script, follows the reader's light or dark scheme. */
#ifndef HTH_TRAIN_REPORT_H
#define HTH_TRAIN_REPORT_H

#include "base/buf.h"
#include "train/metrics.h"

struct hth_report_pair {
	const char *name, *value;
};

struct hth_report_sample {
	const char *prompt, *expected, *before, *after; /* any may be NULL */
};

struct hth_report {
	const char *title;
	const struct hth_report_pair *facts; /* (n_facts) results and settings, in this order */
	size_t n_facts;
	const struct hth_metrics_row *rows; /* (n_rows) of metrics.jsonl */
	size_t n_rows;
	int64_t best_step; /* marked in the loss curve; 0: none */
	const struct hth_report_sample *samples;
	size_t n_samples;
};

/* Appends the page. All text from outside is escaped. */
HTH_MUST enum hth_status hth_report_render(const struct hth_report *r, struct hth_buf *out, struct hth_err *err);
HTH_MUST enum hth_status hth_report_write(const char *path, const struct hth_report *r, struct hth_err *err);

#endif
