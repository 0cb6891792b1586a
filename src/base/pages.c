/* Pages by mmap, the same on Linux and macOS: a private mapping put over the old one gives its memory back at once, where
 * advice (MADV_DONTNEED, MADV_FREE) means different things. */
#include "base/pages.h"

#include <errno.h>
#include <sys/mman.h>

enum { FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

enum hth_status hth_pages_reserve(size_t bytes, void **out, struct hth_err *err)
{
	void *p = mmap(NULL, bytes, PROT_NONE, FLAGS, -1, 0);

	*out = p != MAP_FAILED ? p : NULL;
	return *out != NULL ? HTH_OK : hth_fail_memory(err, "room for a tensor", bytes);
}

enum hth_status hth_pages_take(void *pages, size_t bytes, struct hth_err *err)
{
	if (mprotect(pages, bytes, PROT_READ | PROT_WRITE) != 0)
		return hth_fail_memory(err, "a tensor", bytes);
	return HTH_OK;
}

void hth_pages_drop(void *pages, size_t bytes)
{
	/* Where the system refuses, the memory stays: nothing else is lost. */
	(void)!mmap(pages, bytes, PROT_NONE, FLAGS | MAP_FIXED, -1, 0);
}

void hth_pages_free(void *pages, size_t bytes)
{
	if (pages != NULL)
		munmap(pages, bytes);
}
