/* Between attention.c and attention_backward.c: how work is cut, and which keys a query sees. */
#ifndef HTH_BACKEND_CPU_ATTENTION_INT_H
#define HTH_BACKEND_CPU_ATTENTION_INT_H

#include "backend/cpu/cpu_int.h"

enum {
	CPU_ATTN_ROWS = 192, /* query rows of a task: tokens times query heads of one kv head */
	CPU_ATTN_KEYS = 256, /* keys (backward: of a task; queries) of one block; a multiple of every nr */
};

/* Query-key pairs visible by span and causality; the window only shrinks it. */
double cpu_attn_pairs(const struct hth_batch *b, const struct hth_attention_shape *s);

/* A block of rows of one segment for one kv head. */
struct cpu_attn_task {
	int32_t segment;
	int64_t first, n, kv_head; /* batch rows first .. first+n-1 */
};
/* Tasks when segments are cut into blocks of `block` rows: n_kv for each. */
int64_t cpu_attn_tasks(const struct hth_batch *b, int64_t n_kv, int64_t block);
struct cpu_attn_task cpu_attn_task(const struct hth_batch *b, int64_t n_kv, int64_t block, int64_t task);

/* Of keys first .. first+n-1 (rows of the batch, or of a state) of a span: those that the query in batch row `row` sees,
 * relative to first: lo .. hi-1. Positions rise within a span. */
void cpu_attn_visible(const struct hth_batch *b, const struct hth_attention_shape *s, const struct hth_span *span,
                      int64_t row, int64_t first, int64_t n, int64_t *lo, int64_t *hi);
/* The reverse: of query rows first .. first+n-1 of a span, those that see the batch's key `key`. */
void cpu_attn_seeing(const struct hth_batch *b, const struct hth_attention_shape *s, const struct hth_span *span,
                     int64_t key, int64_t first, int64_t n, int64_t *lo, int64_t *hi);
/* Rows (n,D) ld apart as panels of nr columns, `depth` rows a panel, padded with zeros. */
void cpu_attn_straight(const struct hth_kernels *k, const float *x, int64_t ld, int64_t n, int64_t head, int64_t depth,
                       float *panels);
/* D rounded up to the tile's width. */
static inline int64_t cpu_attn_width(struct cpu_tile t, int64_t head)
{
	return cpu_ceil(head, t.nr) * t.nr;
}

#endif
