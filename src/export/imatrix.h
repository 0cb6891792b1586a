/* Importance matrices: for each column of a weight matrix the mean of the squares of what is multiplied by it. A
 * quantiser that weighs errors by it spends its precision where a model's inputs are large.
 *
 * Read and written in llama.cpp's GGUF form; its older .dat files are read too (docs/formats/quantize.md draws both).
 * Files are hostile: sizes are checked against the file, values must be finite and not negative. */
#ifndef HTH_EXPORT_IMATRIX_H
#define HTH_EXPORT_IMATRIX_H

#include "formats/gguf.h"

struct hth_imatrix_entry {
	char *name;             /* GGUF's name of the matrix: "blk.0.attn_q.weight"; owned */
	int64_t cols, matrices; /* matrices: 1, or one an expert */
	float *sum;             /* (matrices, cols) sum of x^2; owned */
	float *mean;            /* (matrices, cols) sum / count, 1 where count is 0: hth_imatrix_sort fills it; owned */
	float *count;           /* (matrices) rows of input that were summed; owned */
};

struct hth_imatrix {
	struct hth_imatrix_entry *entries; /* sorted by name */
	size_t n, cap;
	char *path;                        /* it was read from; NULL: it was made here; owned */
	char *dataset;      /* base name of the text it was made from, or NULL; owned */
	int64_t chunks;     /* batches */
	int64_t chunk_size; /* tokens a batch */
};

/* HTH_ERR_FORMAT for a file that is no importance matrix or damaged. */
HTH_MUST enum hth_status hth_imatrix_read(const char *path, struct hth_imatrix *out, struct hth_err *err);
HTH_MUST enum hth_status hth_imatrix_write(const char *path, const struct hth_imatrix *im, struct hth_err *err);
void hth_imatrix_clear(struct hth_imatrix *im); /* safe on zeroed */

/* NULL when there is none of that name; entries are sorted. */
const struct hth_imatrix_entry *hth_imatrix_find(const struct hth_imatrix *im, struct hth_gguf_str name);
/* Appends an entry of zeros; NULL when memory runs out. Sort when all are there. */
struct hth_imatrix_entry *hth_imatrix_add(struct hth_imatrix *im, const char *name, size_t name_bytes, int64_t cols,
					  int64_t matrices);
/* Fills the means and sorts by name. HTH_ERR_FORMAT when two have the same name, HTH_ERR_VALUE for values that are
 * not finite or negative. */
HTH_MUST enum hth_status hth_imatrix_sort(struct hth_imatrix *im, const char *where, struct hth_err *err);

#endif
