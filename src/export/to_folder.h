/* A model written as a folder: Hugging Face's layout, which is MLX's too, or MLX's with affine-quantised matrices. */
#ifndef HTH_EXPORT_TO_FOLDER_H
#define HTH_EXPORT_TO_FOLDER_H

#include "models/parts.h"

struct hth_to_folder_config {
	const struct hth_model *model;
	struct hth_lora *const *loras; /* [linears] added on the way; NULL: none */
	const struct hth_replacements *replaced; /* weights that an adapter brings whole; NULL: none */
	const char *out_path;
	bool mlx;               /* metadata that mlx-lm writes */
	enum hth_quant type;    /* F32, F16 or BF16: of every tensor, and of scales and biases */
	int bits, group;        /* 2 to 6 or 8 bits, groups of 32, 64 or 128: matrices are quantised; bits 0: not */
	bool keep_mxfp4;        /* experts that are stored in mxfp4 stay in it, where the layout can say it */
	uint64_t shard_bytes;   /* of weights in one file at most, but for a larger matrix; 0: 5 GB, as the peers do */
	bool overwrite;         /* replaces a folder that holds a model and nothing else */
	struct hth_pool *pool;  /* NULL: one thread */
	void (*progress)(void *ctx, uint64_t done, uint64_t total); /* weights; may be NULL */
	void *ctx;
};

struct hth_to_folder_result {
	uint64_t bytes, weights; /* of model.safetensors; of all tensors */
	size_t quantised, plain; /* matrices */
	size_t kept;             /* stacks of experts in mxfp4, bit for bit as they were */
	size_t shards;           /* files of weights */
	size_t fused;            /* parts of an adapter that found their tensor */
};

/* Writes beside out_path, opens what was written, compares config and tokenizer with the model's, then renames. Rows are
 * unpacked, added to and packed a few megabytes at a time. HTH_ERR_UNAVAILABLE where the layout cannot say what the model
 * does, HTH_ERR_EXISTS where out_path is taken, HTH_ERR_VALUE when a weight is not finite. */
HTH_MUST enum hth_status hth_to_folder(const struct hth_to_folder_config *cfg, struct hth_to_folder_result *out,
				       struct hth_err *err);
/* Puts a folder that hth_to_folder wrote in the place of another, which may be a model's when `overwrite`. */
HTH_MUST enum hth_status hth_to_folder_move(const char *from, const char *to, bool overwrite, struct hth_err *err);
/* The plain type nearest to how the model is stored: that of its matrices, f16 for blocks. */
enum hth_quant hth_plain_type(const struct hth_model *m);

#endif
