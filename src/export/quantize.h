/* Quantise: a GGUF file written again with its matrices in other formats, with an adapter added on the way if there is
 * one. The one writer behind `hearth quantize` and `hearth fuse`. */
#ifndef HTH_EXPORT_QUANTIZE_H
#define HTH_EXPORT_QUANTIZE_H

#include "export/imatrix.h"
#include "export/mix.h"
#include "models/parts.h"

struct hth_quantize_config {
	const struct hth_gguf *from;
	const struct hth_model_part *parts;                         /* (n_parts) where rows of the first tensors of */
	size_t n_parts;                                             /* `from` come from (as_gguf.h); 0: from it */
	const struct hth_model *parts_of;                           /* the model of these */
	const struct hth_mix *mix;
	bool keep_mxfp4;                                            /* stacks of experts in it stay as they are */
	const char *out_path;                                       /* replaced atomically */
	const struct hth_model *model;                              /* whose adapter; NULL without one */
	struct hth_lora *const *loras;                              /* [linears], entries may be NULL; NULL: none */
	const struct hth_replacements *replaced;                    /* weights it brings whole; NULL: none */
	const struct hth_imatrix *importance;                       /* NULL: every column counts alike */
	struct hth_pool *pool;                                      /* NULL: one thread */
	void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes of the source's tensors; may be NULL */
	void *ctx;
};

struct hth_quantize_result {
	uint64_t tensor_bytes, weights;  /* written */
	size_t of_type[HTH_QUANT_COUNT]; /* tensors */
	size_t fused;                    /* tensors an adapter was added to, or that it replaced */
	size_t requantised;              /* tensors that came out of blocks and went into others: loses twice */
	bool untied;                     /* a head of its own was written, which the source has not */
	size_t unweighted;               /* quantised without importance although a matrix was given */
	struct hth_mix_counts mix;
};

/* Rows are unpacked, added to, packed and written a few megabytes at a time: anonymous memory stays far below one
 * tensor, and the thread count changes no byte. Metadata, tokenizer, template and stop tokens are copied whole.
 * HTH_ERR_VALUE when a weight is not finite, HTH_ERR_SHAPE when the importance is of another model. */
HTH_MUST enum hth_status hth_quantize(const struct hth_quantize_config *cfg, struct hth_quantize_result *out,
				      struct hth_err *err);
#endif
