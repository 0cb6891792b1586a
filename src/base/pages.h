/* Memory by the page, for what is large and not always needed: its address stays the same while its contents come and go.
 * Reading pages that are not there is a fault, never a zero. */
#ifndef HTH_BASE_PAGES_H
#define HTH_BASE_PAGES_H

#include "base/status.h"

#include <stddef.h>

/* Room for `bytes` (> 0) that takes no memory yet; freed by hth_pages_free. */
HTH_MUST enum hth_status hth_pages_reserve(size_t bytes, void **out, struct hth_err *err);
/* Makes them writable; they are zero. */
HTH_MUST enum hth_status hth_pages_take(void *pages, size_t bytes, struct hth_err *err);
/* Gives the memory back and keeps the room. */
void hth_pages_drop(void *pages, size_t bytes);
void hth_pages_free(void *pages, size_t bytes); /* NULL is fine */

#endif
