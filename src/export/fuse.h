/* Fuse: base and adapter become one model file that needs no adapter. */
#ifndef HTH_EXPORT_FUSE_H
#define HTH_EXPORT_FUSE_H

#include "models/model.h"

struct hth_fuse_config {
	const char *out_path;  /* a .gguf file; replaced atomically */
	enum hth_quant quant;  /* of the matrices: F32, F16, BF16, Q8_0; rows that do not fit its block get F16 */
	struct hth_pool *pool; /* NULL: one thread */
	void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes of the output; may be NULL */
	void *ctx;
};

/* Writes W + scale * B @ A for every matrix that `loras` ([L*7] entries, NULL ones allowed) touches; every other
 * tensor in its own values, matrices as cfg->quant, vectors as f32. Metadata, tokenizer, template and stop tokens are
 * copied whole. Needs less memory than two rows of the widest matrix a thread, plus one output tensor.
 * HTH_ERR_VALUE when a fused weight is not finite. */
HTH_MUST enum hth_status hth_fuse(const struct hth_model *m, struct hth_lora *const *loras,
				  const struct hth_fuse_config *cfg, struct hth_err *err);

#endif
