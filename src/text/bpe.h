/* Byte-pair merging: symbols (token ids) side by side, the pair of lowest rank merged first, leftmost among equals,
 * until no pair merges. Linear memory, O(n log n) time for any input. */
#ifndef HTH_TEXT_BPE_H
#define HTH_TEXT_BPE_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct hth_bpe_pair {
	int32_t left, right; /* left -1: empty slot */
	uint32_t rank;
	int32_t id; /* what the two become */
};

struct hth_bpe {
	struct hth_bpe_pair *slots; /* (mask + 1) open addressing; arena */
	uint32_t mask;
	size_t n;
};

/* Room for n merges. */
HTH_MUST enum hth_status hth_bpe_init(struct hth_bpe *b, struct hth_arena *arena, size_t n, struct hth_err *err);
/* A pair given twice keeps its last rank, as in the library that the files come from. */
void hth_bpe_add(struct hth_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id);

struct hth_bpe_symbol {
	int32_t id;
	uint32_t start, end; /* bytes of the text */
	uint32_t rank;       /* of merging it with the next; UINT32_MAX: they do not merge */
	int32_t merged;      /* what they become */
	uint32_t next, prev; /* only while long words are merged */
};

/* One thread's buffers. */
struct hth_bpe_work {
	struct hth_bpe_symbol *symbols; /* (n) */
	size_t n, cap;
	uint64_t *heap; /* rank << 32 | symbol */
	size_t n_heap, heap_cap;
};
void hth_bpe_work_clear(struct hth_bpe_work *w); /* safe on zeroed */
static inline void hth_bpe_reset(struct hth_bpe_work *w)
{
	w->n = 0;
}
bool hth_bpe_push(struct hth_bpe_work *w, int32_t id, uint32_t start, uint32_t end); /* false: memory ran out */
/* Merges w->symbols in place; w->n shrinks. */
HTH_MUST enum hth_status hth_bpe_merge(const struct hth_bpe *b, struct hth_bpe_work *w, struct hth_err *err);

#endif
