/* Packing rows into blocks with the vectors of this processor. The searches are those of quant/fit.c, laid out so that
 * each lane of a vector is a block (or a sub-block of a K format): no sum ever runs across lanes. Errors are those of
 * quant's own encoders within a percent; bytes are the same on every processor that has a version here. */
#ifndef HTH_KERNELS_PACK_H
#define HTH_KERNELS_PACK_H

#include "quant/quant.h"

/* As pack of struct hth_quant_format. */
typedef void hth_pack_fn(const float *src, void *dst, int64_t n_elems, const float *importance);

/* The fastest that runs here; quant's own where there is no other. HEARTH_CPU=ref gives quant's. */
hth_pack_fn *hth_pack_pick(enum hth_quant q);

#endif
