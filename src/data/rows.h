/* One row of a data set to tokenized examples. For dataset.c; the kinds of rows are drawn in docs/formats/data.md. */
#ifndef HTH_DATA_ROWS_H
#define HTH_DATA_ROWS_H

#include "data/dataset.h"

/* Appends the examples of one row. text: the line's JSON; where: "train.jsonl:12". On failure out is as it was or
 * holds examples of this row that the caller clears. */
HTH_MUST enum hth_status hth_row_examples(const char *text, size_t bytes, const char *where,
					  const struct hth_chat *chat, enum hth_target_rule rule,
					  struct hth_examples *out, struct hth_err *err);

#endif
