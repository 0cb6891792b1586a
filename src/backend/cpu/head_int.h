/* Between logits.c and logp.c. */
#ifndef HTH_BACKEND_CPU_HEAD_INT_H
#define HTH_BACKEND_CPU_HEAD_INT_H

#include "backend/cpu/cpu_int.h"

/* Raw products to logits, in place: scale and soft cap. */
void cpu_head_finish(const struct hth_kernels *k, const struct hth_head *head, float *z, int64_t n);

#endif
