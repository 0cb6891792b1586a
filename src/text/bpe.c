/* Byte-pair merging (bpe.h). Short words are merged in a flat array, where a scan for the lowest rank is faster than
 * any heap; long ones (a mebibyte of one character is a legal input) by a linked list and a heap of pairs. */
#include "text/bpe.h"
#include "base/mem.h"

#include <string.h>

#define NONE UINT32_MAX
#define FLAT_SYMBOLS 48
#define MAX_SYMBOLS ((size_t)1 << 31)

enum hth_status hth_bpe_init(struct hth_bpe *b, struct hth_arena *arena, size_t n, struct hth_err *err)
{
	size_t slots = 16;

	while (slots / 2 < n && slots < ((size_t)1 << 31))
		slots *= 2;
	b->slots = hth_arena_calloc(arena, slots, sizeof(*b->slots));
	if (b->slots == NULL)
		return hth_fail_memory(err, "a tokenizer's merges", slots * sizeof(*b->slots));
	for (size_t i = 0; i < slots; i++)
		b->slots[i].left = -1;
	b->mask = (uint32_t)(slots - 1);
	b->n = 0;
	return HTH_OK;
}

static inline uint32_t slot_of(const struct hth_bpe *b, int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
	return (uint32_t)(h >> 32) & b->mask;
}

void hth_bpe_add(struct hth_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
	uint32_t i = slot_of(b, left, right);

	while (b->slots[i].left >= 0 && (b->slots[i].left != left || b->slots[i].right != right))
		i = (i + 1) & b->mask;
	b->n += b->slots[i].left < 0;
	b->slots[i] = (struct hth_bpe_pair){left, right, rank, id};
}

static inline void rank_pair(const struct hth_bpe *b, struct hth_bpe_symbol *s, int32_t right)
{
	uint32_t i = slot_of(b, s->id, right);

	for (; b->slots[i].left >= 0; i = (i + 1) & b->mask) {
		if (b->slots[i].left == s->id && b->slots[i].right == right) {
			s->rank = b->slots[i].rank;
			s->merged = b->slots[i].id;
			return;
		}
	}
	s->rank = NONE;
}

void hth_bpe_work_clear(struct hth_bpe_work *w)
{
	hth_free(w->symbols);
	hth_free(w->heap);
	*w = (struct hth_bpe_work){0};
}

bool hth_bpe_push(struct hth_bpe_work *w, int32_t id, uint32_t start, uint32_t end)
{
	void *p = hth_grow(w->symbols, w->n, &w->cap, MAX_SYMBOLS, sizeof(*w->symbols));
	if (p == NULL)
		return false;
	w->symbols = p;
	w->symbols[w->n++] = (struct hth_bpe_symbol){.id = id, .start = start, .end = end, .rank = NONE};
	return true;
}

static void merge_flat(const struct hth_bpe *b, struct hth_bpe_work *w)
{
	struct hth_bpe_symbol *s = w->symbols;
	size_t n = w->n;

	for (size_t i = 0; i + 1 < n; i++)
		rank_pair(b, &s[i], s[i + 1].id);
	while (n > 1) {
		size_t best = 0;
		for (size_t i = 1; i + 1 < n; i++) {
			if (s[i].rank < s[best].rank)
				best = i;
		}
		if (s[best].rank == NONE)
			break;
		s[best].id = s[best].merged;
		s[best].end = s[best + 1].end;
		memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof(*s));
		n--;
		s[best].rank = NONE;
		if (best + 1 < n)
			rank_pair(b, &s[best], s[best + 1].id);
		if (best > 0)
			rank_pair(b, &s[best - 1], s[best].id);
	}
	w->n = n;
}

/* The order of the heap: rank, then place, which is what the 64 bits say. */
static bool heap_push(struct hth_bpe_work *w, uint64_t v)
{
	void *p = hth_grow(w->heap, w->n_heap, &w->heap_cap, MAX_SYMBOLS * 2, sizeof(*w->heap));
	if (p == NULL)
		return false;
	w->heap = p;
	size_t i = w->n_heap++;
	for (; i > 0 && w->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = v;
	return true;
}

static uint64_t heap_pop(struct hth_bpe_work *w)
{
	uint64_t top = w->heap[0], last = w->heap[--w->n_heap];
	size_t i = 0, n = w->n_heap;

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && w->heap[child + 1] < w->heap[child])
			child++;
		if (w->heap[child] >= last)
			break;
		w->heap[i] = w->heap[child];
	}
	w->heap[i] = last;
	return top;
}

static bool rank_and_push(const struct hth_bpe *b, struct hth_bpe_work *w, uint32_t i)
{
	struct hth_bpe_symbol *s = &w->symbols[i];

	s->rank = NONE;
	if (s->next == NONE)
		return true;
	rank_pair(b, s, w->symbols[s->next].id);
	return s->rank == NONE || heap_push(w, (uint64_t)s->rank << 32 | i);
}

static bool merge_long(const struct hth_bpe *b, struct hth_bpe_work *w)
{
	struct hth_bpe_symbol *s = w->symbols;
	uint32_t n = (uint32_t)w->n;
	size_t kept = 0;

	w->n_heap = 0;
	for (uint32_t i = 0; i < n; i++) {
		s[i].prev = i == 0 ? NONE : i - 1;
		s[i].next = i + 1 == n ? NONE : i + 1;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!rank_and_push(b, w, i))
			return false;
	}
	while (w->n_heap > 0) {
		uint64_t top = heap_pop(w);
		uint32_t i = (uint32_t)top;
		/* A pair that changed since it was pushed has another rank: its text is longer. A dead symbol has none.
		 */
		if (s[i].rank != (uint32_t)(top >> 32))
			continue;
		uint32_t gone = s[i].next;
		s[i].id = s[i].merged;
		s[i].end = s[gone].end;
		s[i].next = s[gone].next;
		if (s[i].next != NONE)
			s[s[i].next].prev = i;
		s[gone].rank = NONE;
		if (!rank_and_push(b, w, i) || (s[i].prev != NONE && !rank_and_push(b, w, s[i].prev)))
			return false;
	}
	for (uint32_t i = 0; i != NONE; i = s[i].next)
		s[kept++] = s[i];
	w->n = kept;
	return true;
}

enum hth_status hth_bpe_merge(const struct hth_bpe *b, struct hth_bpe_work *w, struct hth_err *err)
{
	if (w->n < 2)
		return HTH_OK;
	if (w->n <= FLAT_SYMBOLS) {
		merge_flat(b, w);
		return HTH_OK;
	}
	if (!merge_long(b, w))
		return hth_fail_memory(err, "a long word's merges", w->n * sizeof(*w->heap));
	return HTH_OK;
}
