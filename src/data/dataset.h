/* Data sets: JSONL rows to tokenized examples. A row is an object with `messages` (and optional `tools`),
 * `prompt` and `completion` (strings, or message lists), or `text`; every row says by its own keys what it is.
 * A bad row is reported with file, line and reason; nothing is dropped silently. */
#ifndef HTH_DATA_DATASET_H
#define HTH_DATA_DATASET_H

#include "text/chat.h"

enum hth_overlong { HTH_OVERLONG_DROP, HTH_OVERLONG_CUT, HTH_OVERLONG_ERROR };

struct hth_data_config {
	enum hth_target_rule targets;
	int64_t max_tokens; /* max_seq_length; 0: no limit here (a trainer puts the model's context in) */
	enum hth_overlong overlong;
	int64_t max_rows; /* stop after this many rows, 0: all */
};

struct hth_data_example {
	struct hth_example tokens;
	uint32_t line; /* 1-based line of the file it came from */
	uint32_t turn; /* which of several examples of one row */
};

#define HTH_DATA_MAX_ISSUES 10000 /* kept in the list; all are counted */

/* What was wrong with a row, or what was done to it: HTH_OK for a row that was cut and is used, HTH_ERR_LIMIT for one
 * dropped as too long; any other status: the row cannot be used. */
struct hth_data_issue {
	uint32_t line;
	enum hth_status status;
	char text[240];
};

struct hth_dataset {
	char *path;
	struct hth_data_example *items;
	size_t n, cap;
	uint64_t n_tokens, n_targets;                  /* sums over items */
	size_t n_rows, n_cut, n_dropped, n_duplicates; /* rows read; over-long ones cut or dropped; exact repeats */
	uint32_t longest;                              /* tokens */
	struct hth_data_issue *issues; /* by line; loading for training fails on the first bad row, check lists all */
	size_t n_issues, issues_cap;   /* in the list */
	size_t n_bad;                  /* rows that cannot be used, those beyond the list included */
};

/* Reads one file. With `collect` bad rows are listed in issues and skipped; without, the first one is the error.
 * Rows that are cut or dropped as cfg->overlong says are listed in both cases. A row with `messages` is a chat; else
 * with `prompt` and `completion` it is that pair; else `text`. Other keys are left alone. Lines may end in CRLF, the
 * file may begin with a byte-order mark, blank lines are skipped. Line limit: 64 MiB.
 * chat->tmpl may be NULL when no row has messages. HTH_ERR_VALUE when no row is left and collect is off. */
HTH_MUST enum hth_status hth_dataset_read(const char *path, const struct hth_chat *chat,
					  const struct hth_data_config *cfg, bool collect, struct hth_dataset *out,
					  struct hth_err *err);
void hth_dataset_clear(struct hth_dataset *d); /* safe on zeroed */

/* Where the parts of a data set are: a folder with train.jsonl (needed), valid.jsonl, test.jsonl, or one file. */
struct hth_data_paths {
	char *train, *valid, *test; /* owned; NULL when absent */
};
HTH_MUST enum hth_status hth_data_find(const char *path, struct hth_data_paths *out, struct hth_err *err);
void hth_data_paths_clear(struct hth_data_paths *p);

/* Moves a fraction of the rows of `train` to `valid` (zeroed before), in file order: at least one, never all. Chosen
 * by seed and content: equal rows stay together, and rows added to the file later do not move the others' sides much.
 * With fewer than two different rows, or fraction 0, valid stays empty. */
HTH_MUST enum hth_status hth_dataset_split(struct hth_dataset *train, double fraction, uint64_t seed,
					   struct hth_dataset *valid, struct hth_err *err);

#endif
