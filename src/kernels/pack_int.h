/* Between pack.c and the versions of its encoders. Entries are NULL for formats without a version. */
#ifndef HTH_KERNELS_PACK_INT_H
#define HTH_KERNELS_PACK_INT_H

#include "kernels/pack.h"

#if defined(__x86_64__)
extern hth_pack_fn *const hth_pack_v3[HTH_QUANT_COUNT];
#endif
#if defined(__aarch64__)
extern hth_pack_fn *const hth_pack_arm[HTH_QUANT_COUNT];
#endif

#endif
