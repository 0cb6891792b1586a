/* A bump allocator for values that live and die together: a parsed file, a tokenizer, one batch.
 * Grows by chunks up to a limit given at the start; everything is freed at once. Not thread-safe. */
#ifndef HTH_BASE_ARENA_H
#define HTH_BASE_ARENA_H

#include <stddef.h>

struct hth_arena {
	struct hth_arena_chunk *chunks; /* newest first; owned */
	size_t used_bytes;              /* sum of all allocations, padding included */
	size_t max_bytes;
};

void hth_arena_init(struct hth_arena *a, size_t max_bytes);
void hth_arena_clear(struct hth_arena *a);
/* Forgets all values but keeps the memory, joined to one chunk: a loop that resets and refills stops allocating. */
void hth_arena_reset(struct hth_arena *a);
/* 16-byte aligned, not cleared; NULL when the limit or memory is exhausted. */
void *hth_arena_alloc(struct hth_arena *a, size_t bytes);
/* n * elem_bytes, checked, cleared. */
void *hth_arena_calloc(struct hth_arena *a, size_t n, size_t elem_bytes);
char *hth_arena_strndup(struct hth_arena *a, const char *s, size_t bytes); /* NUL added */

#endif
