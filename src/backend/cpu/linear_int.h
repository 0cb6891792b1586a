/* Between linear.c and linear_backward.c. */
#ifndef HTH_BACKEND_CPU_LINEAR_INT_H
#define HTH_BACKEND_CPU_LINEAR_INT_H

#include "backend/cpu/cpu_int.h"

/* The adapter of a run for this member, or NULL. */
const struct hth_lora *cpu_run_lora(const struct hth_linear *m, const struct hth_adapter_run *run);
/* The dropout of an adapter's input where it is on; row 0 of the product is row `first` of the set. */
bool cpu_lora_mask(const struct hth_dropout *drop, const struct hth_lora *l, const struct hth_rowset *rows,
                   int64_t first, struct cpu_mask *out);
/* The part of a run within rows from..to-1; false when empty. */
bool cpu_run_part(const struct hth_adapter_run *run, int64_t from, int64_t to, int64_t *r0, int64_t *r1);
/* Rows of a task where the product is narrow. */
static inline int64_t cpu_xa_rows(struct cpu_tile t)
{
	return cpu_ceil(CPU_ROWS / 4, t.mr) * t.mr;
}

#endif
