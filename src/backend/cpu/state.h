/* A sequence's past on the cpu backend: keys and values in the very panels that the product tile reads, so that attention
 * over the past packs nothing. For each CPU_ATTN_KEYS tokens, layer and kv head there is a block: keys, then values, as wide
 * as the layer's heads are. In it, nr being the kernel set's tile width:
 *
 *   keys    panels of nr tokens: key a, column d at (a / nr) * nr * D + d * nr + a % nr
 *   values  panels of nr columns: value a, column d at (d / nr) * nr * CPU_ATTN_KEYS + a * nr + d % nr
 *
 * Where products are in f32 these are places of f16 or f32 numbers, as the state was made; in bf16 of words (kernels.h) of
 * two bf16 numbers: d, d+1 of keys, a, a+1 of values. D is padded to CPU_STATE_PAD, a multiple of every nr and of whole words. */
#ifndef HTH_BACKEND_CPU_STATE_H
#define HTH_BACKEND_CPU_STATE_H

#include "backend/cpu/attention_int.h"

enum { CPU_STATE_PAD = HTH_KERNEL_MAX_NR };

struct cpu_state {
	struct hth_state_shape shape;
	int64_t block_bytes[2]; /* of 2 * CPU_ATTN_KEYS * padded D numbers; [1]: of local layers */
	int64_t stride;         /* from a block to the same of the next CPU_ATTN_KEYS tokens */
	uint8_t *data;          // (blocks,stride): layer by layer (K,block_bytes)
	struct hth_recurrent *recurrent; // of layers that recur
	int64_t layer_at[];     // (L) where each layer begins in a stride
};

/* Where a root that continues a state reads what its layer remembers, and where it leaves the same; NULL, NULL: no state. */
struct cpu_move {
	const float *from; // NULL: zero
	float *to;
};
/* moves (n_segments). */
HTH_MUST enum hth_status cpu_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part,
                                        int64_t elems, struct cpu_move *moves, struct hth_err *err);

/* The block that holds token `at`. */
static inline uint8_t *cpu_state_block(const struct cpu_state *s, int64_t layer, int64_t kv_head, int64_t at)
{
	return s->data + at / CPU_ATTN_KEYS * s->stride + s->layer_at[layer] +
	       kv_head * s->block_bytes[hth_state_is_local(&s->shape, layer)];
}
static inline uint8_t *cpu_state_values(const struct cpu_state *s, int64_t layer, uint8_t *block)
{
	return block + s->block_bytes[hth_state_is_local(&s->shape, layer)] / 2;
}

/* Bytes of a number: a state made for f32 holds as many bytes and is used for bf16 all the same. */
static inline int64_t cpu_state_number(const struct cpu_state *s, struct cpu_tile tile)
{
	return s->shape.type == HTH_STATE_F32 && tile.pair == 1 ? 4 : 2;
}

/* As in struct hth_backend. */
uint64_t cpu_state_bytes(const struct hth_state_shape *s);
HTH_MUST enum hth_status cpu_state_new(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
                                       struct hth_err *err);
void cpu_state_free(struct hth_device *dev, struct hth_state *s);
int64_t cpu_state_reach(const struct hth_state *s, int64_t n);

/* Does the batch's state of this segment fit the attention? */
HTH_MUST enum hth_status cpu_state_check(const struct hth_attention_args *a, const struct hth_segment *g,
                                         struct hth_err *err);
/* Keys and values of kv head `kv` of a segment with a state go to its rows past .. past+len-1. */
void cpu_state_append(const struct hth_kernels *k, const struct hth_attention_args *a, const struct hth_segment *g,
                      int64_t kv);

#endif
