/* Fusing: a row of a base matrix with its adapter added. The writer that goes through a file is quantize.h. */
#ifndef HTH_EXPORT_FUSE_H
#define HTH_EXPORT_FUSE_H

#include "backend/args.h"

/* row (C) of W, logical row n: += scale * B[n] @ A; with magnitudes then brought to length mag[n]. Of experts W, A and B are
 * expert e's, else e is 0. */
void hth_fuse_row(const struct hth_lora *lora, int64_t e, int64_t n, float *row);

#endif
