/* The heap behind checked sizes, a call counter and failure injection. The counters are the only mutable globals of
 * this file; they are atomic, so that a test may count across the thread pool. */
#include "base/mem.h"
#include "base/checked.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

static atomic_uint_fast64_t alloc_calls;
static atomic_uint_fast64_t fail_call;     /* number of the call that fails; 0: none */
static atomic_uint_fast64_t fail_call_end; /* one past the last call that fails */

/* Counts a call; false when a test wants it to fail. */
static bool may_allocate(void)
{
	uint64_t call = atomic_fetch_add_explicit(&alloc_calls, 1, memory_order_relaxed) + 1;
	uint64_t first = atomic_load_explicit(&fail_call, memory_order_relaxed);

	if (first == 0 || call < first)
		return true;
	return call >= atomic_load_explicit(&fail_call_end, memory_order_relaxed);
}

void *hth_alloc(size_t bytes)
{
	if (!may_allocate())
		return NULL;
	return malloc(bytes > 0 ? bytes : 1);
}

void *hth_calloc(size_t n, size_t elem_bytes)
{
	size_t bytes;

	if (!may_allocate() || !hth_mul_size(n, elem_bytes, &bytes))
		return NULL;
	return calloc(1, bytes > 0 ? bytes : 1);
}

void *hth_realloc(void *p, size_t n, size_t elem_bytes)
{
	size_t bytes;

	if (!may_allocate() || !hth_mul_size(n, elem_bytes, &bytes))
		return NULL;
	return realloc(p, bytes > 0 ? bytes : 1);
}

void *hth_alloc_aligned(size_t bytes, size_t align)
{
	void *p = NULL;

	if (!may_allocate() || posix_memalign(&p, align, bytes > 0 ? bytes : 1) != 0)
		return NULL;
	return p;
}

void *hth_alloc_large(size_t bytes)
{
	void *p = hth_alloc_aligned(bytes, bytes >= HTH_HUGE_PAGE_BYTES ? HTH_HUGE_PAGE_BYTES : 64);

#ifdef MADV_HUGEPAGE
	/* Refused where the kernel has no huge pages: then small ones serve. */
	if (p != NULL && bytes >= HTH_HUGE_PAGE_BYTES)
		(void)madvise(p, bytes / HTH_HUGE_PAGE_BYTES * HTH_HUGE_PAGE_BYTES, MADV_HUGEPAGE);
#endif
	return p;
}

void hth_free(void *p)
{
	free(p);
}

char *hth_strdup(const char *s)
{
	return hth_strndup(s, strlen(s));
}

char *hth_strndup(const char *s, size_t bytes)
{
	size_t with_nul;
	if (!hth_add_size(bytes, 1, &with_nul))
		return NULL;
	char *copy = hth_alloc(with_nul);
	if (copy == NULL)
		return NULL;
	if (bytes > 0)
		memcpy(copy, s, bytes);
	copy[bytes] = '\0';
	return copy;
}

void *hth_grow(void *p, size_t n, size_t *cap, size_t max_n, size_t elem_bytes)
{
	if (n < *cap)
		return p;
	if (n >= max_n)
		return NULL;
	size_t want = *cap < 8 ? 8 : *cap > max_n / 2 ? max_n : *cap * 2;
	if (want > max_n)
		want = max_n;
	void *grown = hth_realloc(p, want, elem_bytes);
	if (grown != NULL)
		*cap = want;
	return grown;
}

uint64_t hth_mem_allocs(void)
{
	return atomic_load_explicit(&alloc_calls, memory_order_relaxed);
}

void hth_mem_fail_at(uint64_t nth, bool sticky)
{
	uint64_t first = nth == 0 ? 0 : atomic_load(&alloc_calls) + nth;

	atomic_store(&fail_call, 0);
	atomic_store(&fail_call_end, sticky ? UINT64_MAX : first + 1);
	atomic_store(&fail_call, first);
}
