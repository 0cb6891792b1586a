/* Fusing: a row of a base matrix with its adapter added. The writer that goes through a file is quantize.h. */
#ifndef HTH_EXPORT_FUSE_H
#define HTH_EXPORT_FUSE_H

#include "backend/args.h"

/* row (C) += scale * B[n] @ A for the logical row n that stands at row `stored` of w's file. */
void hth_fuse_row(const struct hth_lora *lora, const struct hth_weight *w, int64_t stored, float *row);

#endif
