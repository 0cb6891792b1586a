/* Sixteen rows of blocks side by side, for decoding: row r of a group in lane r of every vector, so that one vector load
 * serves the scales of 16 rows, no sum crosses lanes, and four bytes of x serve all of them. As many bytes as the rows
 * had (q4_k: 3 % more). What a set's matvec16 reads. */
#ifndef HTH_KERNELS_INTERLEAVE_H
#define HTH_KERNELS_INTERLEAVE_H

#include "quant/quant.h"

enum { HTH_LANES = 16 };

/* Bytes of 16 rows of k elements; 0: this format has no such form. */
uint64_t hth_interleaved_bytes(enum hth_quant q, int64_t k);
/* 16 rows, row_bytes apart, to out. */
void hth_interleave(enum hth_quant q, const uint8_t *rows, uint64_t row_bytes, int64_t k, uint8_t *out);

#endif
