/* The heap: the only place that calls malloc. Sizes of arrays are checked; failures return NULL, never exit.
 * Counters serve two tests: "a step allocates nothing" and "fail the Nth allocation". */
#ifndef HTH_BASE_MEM_H
#define HTH_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL on failure; bytes 0 gives a unique pointer. Memory is not cleared. */
void *hth_alloc(size_t bytes);
/* n elements of elem_bytes each, cleared; NULL on overflow or failure. */
void *hth_calloc(size_t n, size_t elem_bytes);
/* Grows or shrinks an array; NULL on overflow or failure, the old block then stays valid. */
void *hth_realloc(void *p, size_t n, size_t elem_bytes);
/* Alignment is a power of two >= 8; free with hth_free. */
void *hth_alloc_aligned(size_t bytes, size_t align);
/* For what is read in long runs: from HTH_HUGE_PAGE_BYTES on it begins on a huge page, and the system is asked for such
 * pages. They become resident when they are first written. Free with hth_free. */
#define HTH_HUGE_PAGE_BYTES ((size_t)2 << 20)
void *hth_alloc_large(size_t bytes);
void hth_free(void *p); /* NULL is fine */
char *hth_strdup(const char *s);
char *hth_strndup(const char *s, size_t bytes); /* bytes may hold NULs; one NUL is added */

/* Makes room for one more element in a growing array: doubles *cap when n == *cap, never beyond max_n.
 * Returns the (perhaps moved) array, or NULL when memory or max_n is exhausted; the old one stays valid. */
void *hth_grow(void *p, size_t n, size_t *cap, size_t max_n, size_t elem_bytes);

/* Calls of the allocating functions since the program began (all threads). */
uint64_t hth_mem_allocs(void);

/* Tests only: the nth allocation from now on fails (1 is the next); with `sticky` all after it fail too.
 * 0 turns injection off. */
void hth_mem_fail_at(uint64_t nth, bool sticky);

#endif
