/* Named mixes: which block format every tensor of a model gets under "q4_k_m", "q8_0", "f16" and the like.
 *
 * The rules are llama.cpp's, so that a file of a given name has the size and the types people know (llama-quant.cpp,
 * llama_tensor_get_type; checked against llama_model_quantize tensor by tensor, docs/formats/quantize.md). Left out:
 * the IQ and ternary formats, Falcon's exceptions. */
#ifndef HTH_EXPORT_MIX_H
#define HTH_EXPORT_MIX_H

#include "formats/gguf.h"

struct hth_mix {
	const char *name;     /* "q4_k_m" */
	const char *also;     /* another name, or NULL: "q4_k" */
	enum hth_quant quant; /* of most matrices */
	int file_type;        /* general.file_type (llama.h, enum llama_ftype) */
};

const struct hth_mix *hth_mix_at(int i);              /* NULL past the end */
const struct hth_mix *hth_mix_find(const char *name); /* any case; NULL when unknown */

struct hth_mix_counts {
	size_t fallback; /* matrices whose rows are no whole blocks of the format they should have had */
	size_t kept;     /* matrices that are never quantised: gates of experts, positions, convolutions */
};

/* type (g->n_tensors): the format of each tensor of g. importance: an importance matrix will be used. Vectors become
 * f32; tensors that must not be quantised keep the format they have. */
HTH_MUST enum hth_status hth_mix_choose(const struct hth_mix *mix, const struct hth_gguf *g, bool importance,
					enum hth_quant *type, struct hth_mix_counts *counts, struct hth_err *err);

#endif
