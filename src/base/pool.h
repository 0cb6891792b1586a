/* The thread pool. Work is cut into numbered tasks whose number and bounds never depend on the thread count;
 * a task writes only its own outputs, so the thread count changes no bit of any result. Workers sleep when idle
 * (a short spin first), so an idle program uses no processor time. */
#ifndef HTH_BASE_POOL_H
#define HTH_BASE_POOL_H

#include "base/status.h"

#include <stdint.h>

struct hth_pool; /* opaque; used by one caller thread at a time */

/* Called once per task, in any order, on any thread. `thread` in 0..threads-1 names scratch space, never results. */
typedef void hth_pool_fn(void *ctx, int64_t task, int thread);

/* threads 0: as many as this process may really use (affinity mask and cgroup quota, hth_machine_threads).
 * The caller's thread is one of them. */
HTH_MUST enum hth_status hth_pool_new(int threads, struct hth_pool **out, struct hth_err *err);
void hth_pool_free(struct hth_pool *pool);
int hth_pool_threads(const struct hth_pool *pool);
/* Runs tasks 0..n_tasks-1 and returns when all are done. pool NULL runs them here, in order. */
void hth_pool_run(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks);
/* The same, for tasks that read one after the other from memory: neighbours run on one thread where they can, so that
 * each thread reads a stream of its own. A thread that is done takes over the last ones of others. */
void hth_pool_run_apart(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks);

#endif
