#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define TASKS 1000

static struct hth_err err;

struct work {
	atomic_int runs[TASKS];
	atomic_int busy[16]; /* by thread: more than one task at a time would share scratch space */
	atomic_int wrong;
	int threads;
	struct hth_pool *pool;
};

static void count_task(void *ctx, int64_t task, int thread)
{
	struct work *w = ctx;

	if (thread < 0 || thread >= w->threads || atomic_fetch_add(&w->busy[thread], 1) != 0)
		atomic_fetch_add(&w->wrong, 1);
	atomic_fetch_add(&w->runs[task], 1);
	atomic_fetch_sub(&w->busy[thread], 1);
}

typedef void run_fn(struct hth_pool *pool, hth_pool_fn *fn, void *ctx, int64_t n_tasks);

static void assert_every_task_runs_once(run_fn *run)
{
	static const int64_t counts[] = {0, 1, 2, 3, 7, TASKS};

	for (int threads = 1; threads <= 9; threads += 2) {
		struct hth_pool *pool;
		assert_ok(hth_pool_new(threads, &pool, &err));
		assert_int_equal(hth_pool_threads(pool), threads);
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			struct work *w = hth_calloc(1, sizeof *w);
			w->threads = threads;
			run(pool, count_task, w, counts[c]);
			for (int64_t i = 0; i < TASKS; i++)
				assert_int_equal(atomic_load(&w->runs[i]), i < counts[c]);
			assert_int_equal(atomic_load(&w->wrong), 0);
			hth_free(w);
		}
		hth_pool_free(pool);
	}
}

static void every_task_runs_once_whatever_the_threads(void **state)
{
	(void)state;
	assert_every_task_runs_once(hth_pool_run);
	assert_every_task_runs_once(hth_pool_run_apart);
}

struct sequence {
	int64_t last[4]; /* by thread: its last task, -1: none yet */
	atomic_int wrong, owned;
};

/* A thread of four goes up in its own range of 100, then down in those of the next, never back to one. */
static void sequence_task(void *ctx, int64_t task, int thread)
{
	struct sequence *s = ctx;
	int64_t last = s->last[thread], range = (task / 100 - thread + 4) % 4, before = last < 0 ? 0 : (last / 100 - thread + 4) % 4;
	bool right = last < 0 || range > before || (range == before && (range == 0 ? task == last + 1 : task < last));

	atomic_fetch_add(&s->wrong, !right);
	atomic_fetch_add(&s->owned, range == 0);
	s->last[thread] = task;
	if (task % 50 == 0)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void tasks_run_apart_go_up_in_a_thread_s_own_range_and_down_in_others(void **state)
{
	struct hth_pool *pool;
	(void)state;
	assert_ok(hth_pool_new(4, &pool, &err));
	for (int i = 0; i < 20; i++) {
		struct sequence s = {.last = {-1, -1, -1, -1}};
		hth_pool_run_apart(pool, sequence_task, &s, 400);
		assert_int_equal(atomic_load(&s.wrong), 0);
		assert_true(atomic_load(&s.owned) > 0); /* the caller's own at the least */
	}
	hth_pool_free(pool);
}

static void many_small_jobs_in_a_row_lose_no_task(void **state)
{
	struct hth_pool *pool;
	struct work *w = hth_calloc(1, sizeof *w);
	(void)state;
	w->threads = 4;
	assert_ok(hth_pool_new(4, &pool, &err));
	for (int i = 0; i < 20000; i++) {
		(i % 2 == 0 ? hth_pool_run : hth_pool_run_apart)(pool, count_task, w, 3);
		if (i % 4000 == 0) /* let the workers fall asleep now and then */
			nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(atomic_load(&w->runs[i]), 20000);
	assert_int_equal(atomic_load(&w->wrong), 0);
	hth_pool_free(pool);
	hth_free(w);
}

static void order_task(void *ctx, int64_t task, int thread)
{
	int64_t *next = ctx;

	if (task == *next && thread == 0)
		++*next;
}

static void no_pool_runs_here_in_order(void **state)
{
	int64_t next = 0;
	(void)state;
	hth_pool_run(NULL, order_task, &next, 100);
	assert_int_equal(next, 100);
	assert_int_equal(hth_pool_threads(NULL), 1);
	hth_pool_free(NULL);
	hth_pool_run(NULL, order_task, &next, -1);
	assert_int_equal(next, 100);
}

struct inner {
	atomic_int *sum;
	int outer_thread;
	int64_t next;
};

static void inner_task(void *ctx, int64_t task, int thread)
{
	struct inner *in = ctx;

	/* Inline: in order, and under the thread number of the task around it. */
	if (task == in->next++ && thread == in->outer_thread)
		atomic_fetch_add(in->sum, 1);
}

struct outer {
	struct hth_pool *pool;
	atomic_int sum;
};

static void outer_task(void *ctx, int64_t task, int thread)
{
	struct outer *o = ctx;
	struct inner in = {.sum = &o->sum, .outer_thread = thread};
	(void)task;
	hth_pool_run(o->pool, inner_task, &in, 10);
}

static void a_run_from_within_a_task_is_inline(void **state)
{
	struct outer o = {0};
	(void)state;
	assert_ok(hth_pool_new(4, &o.pool, &err));
	hth_pool_run(o.pool, outer_task, &o, 100);
	assert_int_equal(atomic_load(&o.sum), 1000);
	hth_pool_free(o.pool);
}

static void slow_task(void *ctx, int64_t task, int thread)
{
	(void)thread;
	atomic_fetch_add((atomic_int *)ctx, 1);
	/* One task far longer than the spin: the caller must sleep and be woken. */
	nanosleep(&(struct timespec){.tv_nsec = task == 1 ? 20000000 : 1000}, NULL);
}

static void the_caller_waits_for_a_slow_task(void **state)
{
	struct hth_pool *pool;
	atomic_int done = 0;
	(void)state;
	assert_ok(hth_pool_new(3, &pool, &err));
	for (int i = 0; i < 5; i++) {
		hth_pool_run(pool, slow_task, &done, 3);
		assert_int_equal(atomic_load(&done), 3 * (i + 1));
	}
	hth_pool_free(pool);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void an_idle_pool_uses_no_processor_time(void **state)
{
	struct hth_pool *pool;
	atomic_int done = 0;
	(void)state;
	assert_ok(hth_pool_new(4, &pool, &err));
	hth_pool_run(pool, slow_task, &done, 4);
	double before = cpu_seconds();
	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	/* Spinning would be 0.6 s; three spins of 50 us and the sanitizers' own threads are far below this. */
	assert_true(cpu_seconds() - before < 0.05);
	hth_pool_free(pool);
}

static void signal_task(void *ctx, int64_t task, int thread)
{
	sigset_t mask;
	(void)task;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	if (thread != 0 && !sigismember(&mask, SIGINT))
		atomic_fetch_add((atomic_int *)ctx, 1);
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void workers_leave_signals_to_the_caller(void **state)
{
	struct hth_pool *pool;
	atomic_int wrong = 0;
	sigset_t mask;
	(void)state;
	assert_ok(hth_pool_new(4, &pool, &err));
	hth_pool_run(pool, signal_task, &wrong, 40);
	hth_pool_free(pool);
	assert_int_equal(atomic_load(&wrong), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGINT));
}

static void a_run_allocates_nothing(void **state)
{
	struct hth_pool *pool;
	struct work *w = hth_calloc(1, sizeof *w);
	(void)state;
	w->threads = 2;
	assert_ok(hth_pool_new(2, &pool, &err));
	uint64_t before = hth_mem_allocs();
	hth_pool_run(pool, count_task, w, 50);
	assert_int_equal(hth_mem_allocs(), before);
	hth_pool_free(pool);
	hth_free(w);
}

static void bad_thread_counts_and_failed_allocations_are_errors(void **state)
{
	struct hth_pool *pool;
	(void)state;
	assert_fails(hth_pool_new(-1, &pool, &err), HTH_ERR_USAGE, "threads: found -1");
	assert_null(pool);
	assert_fails(hth_pool_new(1025, &pool, &err), HTH_ERR_USAGE, "found 1025");
	for (uint64_t nth = 1; nth <= 3; nth++) {
		hth_mem_fail_at(nth, false);
		assert_fails(hth_pool_new(2, &pool, &err), HTH_ERR_MEMORY, "thread pool");
		assert_null(pool);
	}
	hth_mem_fail_at(0, false);
	assert_ok(hth_pool_new(0, &pool, &err));
	assert_int_equal(hth_pool_threads(pool), hth_machine_threads());
	hth_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_task_runs_once_whatever_the_threads),
		cmocka_unit_test(tasks_run_apart_go_up_in_a_thread_s_own_range_and_down_in_others),
		cmocka_unit_test(many_small_jobs_in_a_row_lose_no_task),
		cmocka_unit_test(no_pool_runs_here_in_order),
		cmocka_unit_test(a_run_from_within_a_task_is_inline),
		cmocka_unit_test(the_caller_waits_for_a_slow_task),
		cmocka_unit_test(an_idle_pool_uses_no_processor_time),
		cmocka_unit_test(workers_leave_signals_to_the_caller),
		cmocka_unit_test(a_run_allocates_nothing),
		cmocka_unit_test(bad_thread_counts_and_failed_allocations_are_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
