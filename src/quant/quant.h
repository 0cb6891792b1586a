/* Weight block formats: how a row of weights is stored. A row is a whole number of blocks; bf16, f16 and f32 are
 * blocks of one element. Layouts follow ggml's files byte for byte (docs/formats/blocks.md draws them).
 *
 * unpack and pack are portable and exact: they are the definition that every fast kernel is tested against. */
#ifndef HTH_QUANT_QUANT_H
#define HTH_QUANT_QUANT_H

#include "base/status.h"

#include <stdint.h>

enum hth_quant {
#define HTH_QUANT(ID, name, ggml, elems, bytes) HTH_QUANT_##ID,
#include "quant/list.h"
#undef HTH_QUANT
	HTH_QUANT_COUNT,
	HTH_QUANT_NONE = -1,
};

struct hth_quant_format {
	const char *name;      /* "q4_k" */
	int ggml_type;         /* type id in GGUF files; -1: none, the format lives in memory only */
	uint32_t block_elems;  /* elements a block */
	uint32_t block_bytes;
	/* dst (n_elems) f32 from whole blocks; n_elems is a multiple of block_elems. src need not be aligned. */
	void (*unpack)(const void *src, float *dst, int64_t n_elems);
	/* Whole blocks from src (n_elems). importance: (n_elems) weights of the squared error, or NULL.
	 * Deterministic; as good as the reference encoder of the format's origin or better. */
	void (*pack)(const float *src, void *dst, int64_t n_elems, const float *importance);
};

/* Never NULL for 0 <= q < HTH_QUANT_COUNT. */
const struct hth_quant_format *hth_quant_format(enum hth_quant q);
enum hth_quant hth_quant_from_ggml(int ggml_type);    /* HTH_QUANT_NONE when unknown */
enum hth_quant hth_quant_from_name(const char *name); /* any case; HTH_QUANT_NONE when unknown */
/* Bytes of a row of n elements; HTH_ERR_SHAPE when n is no multiple of the block, HTH_ERR_LIMIT on overflow. */
HTH_MUST enum hth_status hth_quant_row_bytes(enum hth_quant q, uint64_t n_elems, uint64_t *bytes, struct hth_err *err);

#endif
