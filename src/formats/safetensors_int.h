/* What the safetensors reader and writer share. */
#ifndef HTH_FORMATS_SAFETENSORS_INT_H
#define HTH_FORMATS_SAFETENSORS_INT_H

#include "formats/safetensors.h"

/* The reference reader's limit. */
#define HTH_ST_MAX_HEADER_BYTES 100000000u

/* Bytes of a shape; fails for unknown dtypes, more than HTH_ST_MAX_DIMS dimensions, and sizes past 63 bits. */
HTH_MUST enum hth_status hth_st_shape_bytes(enum hth_st_dtype dtype, int n_dims, const int64_t *dim, uint64_t *bytes,
					    struct hth_err *err);

#endif
