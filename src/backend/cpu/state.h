/* A sequence's past on the cpu backend: keys and values in the very panels that the product tile reads, so that attention
 * over the past packs nothing. For each layer and kv head:
 *
 *   keys    blocks of nr tokens: key a, column d at (a / nr) * nr * D + d * nr + a % nr
 *   values  groups of nr columns: value a, column d at (d / nr) * nr * capacity + a * nr + d % nr
 *
 * in words of the compute type (kernels.h): in bf16 a word holds d, d+1 of keys, a, a+1 of values. nr is the kernel set's
 * tile width; capacity and D are padded to CPU_STATE_PAD, a multiple of every nr and of whole words. */
#ifndef HTH_BACKEND_CPU_STATE_H
#define HTH_BACKEND_CPU_STATE_H

#include "backend/cpu/cpu_int.h"

enum { CPU_STATE_PAD = HTH_KERNEL_MAX_NR };

struct cpu_state {
	struct hth_state_shape shape;
	int64_t capacity, width; /* padded: tokens, columns of values */
	float *keys;             // (L,K,capacity,width)
	float *values;           // (L,K,width,capacity)
	struct hth_recurrent *recurrent; // of layers that recur
};

/* Where a root that continues a state reads what its layer remembers, and where it leaves the same; NULL, NULL: no state. */
struct cpu_move {
	const float *from; // NULL: zero
	float *to;
};
/* moves (n_segments). */
HTH_MUST enum hth_status cpu_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part,
                                        int64_t elems, struct cpu_move *moves, struct hth_err *err);

static inline float *cpu_state_keys(const struct cpu_state *s, int64_t layer, int64_t kv_head)
{
	return s->keys + (layer * s->shape.n_kv + kv_head) * s->capacity * s->width;
}
static inline float *cpu_state_values(const struct cpu_state *s, int64_t layer, int64_t kv_head)
{
	return s->values + (layer * s->shape.n_kv + kv_head) * s->capacity * s->width;
}

#endif
