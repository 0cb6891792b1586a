/* What the files of src/data share. */
#ifndef HTH_DATA_INT_H
#define HTH_DATA_INT_H

#include "base/utf8.h"
#include "data/dataset.h"

/* Appends; the example's arrays are the data set's then. */
HTH_MUST enum hth_status hth_dataset_push(struct hth_dataset *d, const struct hth_data_example *e, struct hth_err *err);
/* Sets n_tokens, n_targets, longest and n_rows from items. */
void hth_dataset_count(struct hth_dataset *d);

/* Rows by content, to find exact repeats. A row is a run of items. */
struct hth_row_ref {
	uint64_t hash;
	size_t first, n; /* n 0: an empty place */
};
struct hth_row_table {
	struct hth_row_ref *slots; /* (cap) open addressing, cap a power of two */
	size_t n, cap;
};
/* Adds items first .. first+n-1 as a row; *repeated: an equal one was there. */
HTH_MUST enum hth_status hth_row_table_add(struct hth_row_table *t, const struct hth_dataset *d, size_t first, size_t n,
					   bool *repeated, struct hth_err *err);
void hth_row_table_clear(struct hth_row_table *t);
uint64_t hth_row_hash(const struct hth_dataset *d, size_t first, size_t n);
bool hth_row_equal(const struct hth_dataset *d, size_t a, size_t na, size_t b, size_t nb);

#endif
