/* Between log.c and progress.c: who may write to stderr now. */
#ifndef HTH_BASE_LOG_INT_H
#define HTH_BASE_LOG_INT_H

#include "base/log.h"

#include <pthread.h>

/* Guards stderr and the bar below. */
extern pthread_mutex_t hth_log_lock;
/* The bar on screen, or NULL. Written under the lock. */
extern struct hth_progress *hth_log_bar;

/* Called under the lock: wipe the bar's line, draw it again. */
void hth_progress_wipe(void);
void hth_progress_draw(struct hth_progress *p);
/* One line of the bar in at most `columns` columns (UTF-8, no control bytes); eta < 0: the duration `spent_s` instead.
 */
void hth_progress_line(const struct hth_progress *p, int columns, double eta_s, double spent_s, char *out,
		       size_t out_bytes);

#endif
