/* Being asked to stop: SIGINT and SIGTERM set a flag that a run looks at between steps. A second SIGINT ends the
 * process at once, with status 130, as a shell expects. */
#ifndef HTH_TRAIN_STOP_H
#define HTH_TRAIN_STOP_H

#include <stdbool.h>

/* Installs the handlers and forgets earlier requests; nested installs are counted. */
void hth_stop_install(void);
/* Puts back the handlers of before. */
void hth_stop_restore(void);
bool hth_stop_requested(void);
/* The same as a signal would do, for callers with another button to press. */
void hth_stop_request(void);

#endif
