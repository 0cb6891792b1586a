/* The thread pool: one job at a time, its tasks claimed one by one from a range that all threads share, or from ranges
 * of their own: from the front by the owner, from the back by threads whose own range is done.
 *
 * `gate` packs the job's number, whether it is open, and how many workers are inside. A worker enters by raising the
 * count while the gate is open; the caller closes the gate when no task is left to claim and waits for the count to
 * reach zero. A worker that wakes late finds the gate closed and touches nothing, so a small job waits for
 * nobody. The job's fields are written only while the gate is closed and empty.
 *
 * Idle workers look at the gate for some 50 us (an op of a decoded token follows the last within a few), then sleep. */
#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#ifdef __APPLE__
#include <pthread/qos.h>
#endif

#define MAX_THREADS 1024
#define MAX_TASKS ((int64_t)1 << 31)
#define SPIN_S 50e-6
#define STACK_BYTES ((size_t)2 << 20)

#define GATE_INSIDE ((uint64_t)0xFFFF) /* workers inside */
#define GATE_OPEN ((uint64_t)1 << 16)
#define GATE_JOB ((uint64_t)1 << 17) /* one job further */

/* Tasks first..last-1 that nobody has claimed, in halves of one number. */
struct range {
	_Alignas(128) _Atomic uint64_t left; /* first << 32 | last */
};

struct hth_pool {
	int threads;
	int started; /* workers that run: threads - 1 */
	struct worker *workers;

	hth_pool_fn *fn;
	void *ctx;
	struct range *ranges; /* (threads) */
	int n_ranges;         /* of this job: 1 or `threads` */

	/* On cache lines of its own: the gate is watched while ranges are hammered. */
	_Alignas(128) _Atomic uint64_t gate;
	_Alignas(128) atomic_int sleepers;
	atomic_bool caller_sleeps, stop;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* workers wait for an open gate or stop */
	pthread_cond_t done; /* the caller waits for an empty gate */
};

struct worker {
	struct hth_pool *pool;
	pthread_t id;
	int thread;
};

/* The task that runs on this thread, if any: its pool and its thread number there. */
static _Thread_local struct {
	const struct hth_pool *pool;
	int thread;
	bool inside;
} here;

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* The next unclaimed task of a range, from its front or its back; -1: none is left. */
static int64_t claim(struct range *r, bool back)
{
	uint64_t left = atomic_load_explicit(&r->left, memory_order_relaxed);

	for (;;) {
		uint32_t first = (uint32_t)(left >> 32), last = (uint32_t)left;
		if (first >= last)
			return -1;
		if (atomic_compare_exchange_weak_explicit(&r->left, &left, back ? left - 1 : left + ((uint64_t)1 << 32),
							  memory_order_relaxed, memory_order_relaxed))
			return back ? last - 1 : first;
	}
}

static void run_tasks(struct hth_pool *pool, int thread)
{
	int n = pool->n_ranges;

	here.pool = pool;
	here.thread = thread;
	here.inside = true;
	for (int i = 0; i < n; i++) {
		struct range *r = &pool->ranges[(thread + i) % n];
		for (int64_t task; (task = claim(r, i > 0)) >= 0;)
			pool->fn(pool->ctx, task, thread);
	}
	here.inside = false;
}

/* True when the gate is open for a job other than `seen`, the last one this worker entered. */
static bool is_new(uint64_t gate, uint64_t seen)
{
	return (gate & GATE_OPEN) && gate / GATE_JOB != seen;
}

/* Enters the open gate; false when it has closed meanwhile. */
static bool enter(struct hth_pool *pool, uint64_t *seen)
{
	uint64_t gate = atomic_load(&pool->gate);

	while (is_new(gate, *seen))
		if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
			*seen = gate / GATE_JOB;
			return true;
		}
	return false;
}

static void leave(struct hth_pool *pool)
{
	uint64_t gate = atomic_fetch_sub(&pool->gate, 1) - 1;

	if ((gate & (GATE_OPEN | GATE_INSIDE)) == 0 && atomic_load(&pool->caller_sleeps)) {
		pthread_mutex_lock(&pool->lock);
		pthread_cond_signal(&pool->done);
		pthread_mutex_unlock(&pool->lock);
	}
}

/* Looks at the gate for a short while. Both sides use it: mask and want say what they wait for. */
static void spin(struct hth_pool *pool, bool (*ready)(struct hth_pool *, uint64_t), uint64_t arg)
{
	double end = hth_now_s() + SPIN_S;

	do {
		for (int i = 0; i < 64; i++) {
			if (ready(pool, arg))
				return;
			relax();
		}
	} while (hth_now_s() < end);
}

static bool work_ready(struct hth_pool *pool, uint64_t seen)
{
	return is_new(atomic_load(&pool->gate), seen) || atomic_load(&pool->stop);
}

static bool gate_empty(struct hth_pool *pool, uint64_t unused)
{
	(void)unused;
	return (atomic_load(&pool->gate) & GATE_INSIDE) == 0;
}

/* Raising `sleepers` before the last look at the gate, against the caller's order (open the gate, then read
 * `sleepers`), means that one of both sees the other: no wake-up is lost. */
static void sleep_for_work(struct hth_pool *pool, uint64_t seen)
{
	pthread_mutex_lock(&pool->lock);
	atomic_fetch_add(&pool->sleepers, 1);
	while (!work_ready(pool, seen))
		pthread_cond_wait(&pool->wake, &pool->lock);
	atomic_fetch_sub(&pool->sleepers, 1);
	pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct hth_pool *pool = w->pool;
	uint64_t seen = 0;

	while (!atomic_load(&pool->stop)) {
		if (enter(pool, &seen)) {
			run_tasks(pool, w->thread);
			leave(pool);
		}
		spin(pool, work_ready, seen);
		if (!work_ready(pool, seen))
			sleep_for_work(pool, seen);
	}
	return NULL;
}

/* Starts the workers; signals go to the caller's thread, which knows what to do with them. */
static int start_workers(struct hth_pool *pool)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return rc;
	pthread_attr_setstacksize(&attr, STACK_BYTES); /* macOS gives 512 KiB; refused: the default then */
#ifdef __APPLE__
	pthread_attr_set_qos_class_np(&attr, QOS_CLASS_USER_INITIATED, 0); /* performance cores */
#endif
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (int i = 0; rc == 0 && i < pool->threads - 1; i++) {
		pool->workers[i] = (struct worker){.pool = pool, .thread = i + 1};
		rc = pthread_create(&pool->workers[i].id, &attr, worker_main, &pool->workers[i]);
		pool->started += rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

enum hth_status hth_pool_new(int threads, struct hth_pool **out, struct hth_err *err)
{
	*out = NULL;
	if (threads < 0 || threads > MAX_THREADS)
		return hth_fail(err, HTH_ERR_USAGE, "threads: found %d, expected 0 (all) or 1..%d", threads,
				MAX_THREADS);
	if (threads == 0)
		threads = hth_machine_threads();
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	struct hth_pool *pool = hth_alloc_aligned(sizeof *pool, 128);
	struct worker *workers = hth_calloc((size_t)threads, sizeof *workers);
	struct range *ranges = hth_alloc_aligned((size_t)threads * sizeof *ranges, _Alignof(struct range));
	if (pool == NULL || workers == NULL || ranges == NULL) {
		hth_free(pool);
		hth_free(workers);
		hth_free(ranges);
		return hth_fail_memory(err, "the thread pool", sizeof *pool + (size_t)threads * sizeof *workers);
	}
	*pool = (struct hth_pool){.threads = threads, .workers = workers, .ranges = ranges};
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pthread_cond_init(&pool->done, NULL);
	int rc = start_workers(pool);
	if (rc != 0) {
		int started = pool->started;
		hth_pool_free(pool);
		return hth_fail(err, HTH_ERR_IO, "cannot start thread %d of %d (error %d); try fewer threads",
				started + 2, threads, rc);
	}
	*out = pool;
	return HTH_OK;
}

void hth_pool_free(struct hth_pool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	atomic_store(&pool->stop, true);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->started; i++)
		pthread_join(pool->workers[i].id, NULL);
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	hth_free(pool->workers);
	hth_free(pool->ranges);
	hth_free(pool);
}

int hth_pool_threads(const struct hth_pool *pool)
{
	return pool == NULL ? 1 : pool->threads;
}

/* All tasks on this thread, in order; inside a task of the same pool under that task's thread number. */
static void run_inline(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks)
{
	int thread = here.inside && here.pool == pool ? here.thread : 0;

	for (int64_t task = 0; task < n_tasks; task++)
		fn(ctx, task, thread);
}

static void wake_workers(struct hth_pool *pool, int64_t n)
{
	int sleepers = atomic_load(&pool->sleepers);

	if (sleepers == 0)
		return;
	pthread_mutex_lock(&pool->lock);
	if (n >= sleepers)
		pthread_cond_broadcast(&pool->wake);
	else
		for (int64_t i = 0; i < n; i++)
			pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
}

static void wait_until_empty(struct hth_pool *pool)
{
	spin(pool, gate_empty, 0);
	if (gate_empty(pool, 0))
		return;
	pthread_mutex_lock(&pool->lock);
	atomic_store(&pool->caller_sleeps, true);
	while (!gate_empty(pool, 0))
		pthread_cond_wait(&pool->done, &pool->lock);
	atomic_store(&pool->caller_sleeps, false);
	pthread_mutex_unlock(&pool->lock);
}

/* Tasks 0..n_tasks-1, fewer than 2^32, cut into n_ranges. */
static void run_job(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks, int n_ranges)
{
	pool->fn = fn;
	pool->ctx = ctx;
	pool->n_ranges = n_ranges;
	for (int i = 0; i < n_ranges; i++) {
		uint64_t first = (uint64_t)(n_tasks * i / n_ranges), last = (uint64_t)(n_tasks * (i + 1) / n_ranges);
		atomic_store_explicit(&pool->ranges[i].left, first << 32 | last, memory_order_relaxed);
	}
	/* Closed and empty, so this is the only writer: the next job, open. */
	atomic_store(&pool->gate, (atomic_load(&pool->gate) / GATE_JOB + 1) * GATE_JOB | GATE_OPEN);
	wake_workers(pool, n_tasks - 1);
	run_tasks(pool, 0);
	atomic_fetch_and(&pool->gate, ~GATE_OPEN);
	wait_until_empty(pool);
}

static void run(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks, bool apart)
{
	if (n_tasks <= 0)
		return;
	if (pool == NULL || pool->threads == 1 || n_tasks == 1 || n_tasks > MAX_TASKS || here.inside)
		run_inline(pool, fn, ctx, n_tasks);
	else
		run_job(pool, fn, ctx, n_tasks, apart ? pool->threads : 1);
}

void hth_pool_run(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks)
{
	run(pool, fn, ctx, n_tasks, false);
}

void hth_pool_run_apart(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks)
{
	run(pool, fn, ctx, n_tasks, true);
}
