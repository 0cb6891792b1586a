/* Tensors as handles: dtype, shape and the backend's storage. No math here, no general strides: the last dimension
 * is contiguous and rows follow each other. Batches are token-major: (T, C).
 *
 * Dimension letters (docs/tour.md): T tokens of a batch, R rows of a row set, C width, L layers, H query heads,
 * K kv heads, D head size, F ffn width, V vocabulary, N output rows of a matrix, r rank of an adapter. */
#ifndef HTH_TENSOR_TENSOR_H
#define HTH_TENSOR_TENSOR_H

#include "base/status.h"

#include <stdint.h>

enum hth_dtype { HTH_DTYPE_F32, HTH_DTYPE_BF16, HTH_DTYPE_F16, HTH_DTYPE_I32 };

static inline int64_t hth_dtype_bytes(enum hth_dtype t)
{
	return t == HTH_DTYPE_F32 || t == HTH_DTYPE_I32 ? 4 : 2;
}

/* A value. Copied freely; what it names is owned by the execution that made it (ops/exec.h). */
struct hth_tensor {
	void *ctx;    /* storage, read by its backend only: cpu and ref: the first element. NULL while planning */
	int32_t id;   /* the execution's number for it; -1: no tensor */
	enum hth_dtype dtype;
	int64_t rows; /* T or R; 1 for a vector */
	int64_t cols;
};

#define HTH_NO_TENSOR ((struct hth_tensor){.id = -1})

static inline bool hth_tensor_is(struct hth_tensor t)
{
	return t.id >= 0;
}
static inline int64_t hth_tensor_bytes(struct hth_tensor t)
{
	return t.rows * t.cols * hth_dtype_bytes(t.dtype);
}

/* A trained array: adapter matrices, or a weight in full fine-tuning. value, grad and moments are f32, row-major,
 * owned by the parameter store of the trainer (train/params.h) or by the loader of an adapter. */
struct hth_param {
	const char *name;
	int64_t rows, cols;
	float *value; /* (rows, cols) */
	float *grad;  /* (rows, cols), added to by backward rules; NULL when not trained */
	float *m, *v; /* AdamW's moments, or NULL */
	void *ctx;    /* the backend's copy, or NULL */
};

#endif
