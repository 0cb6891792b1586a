/* Measuring peaks: each number is the best of several repetitions, and the median says how quiet the machine was. */
#include "kernels/peak.h"

#include "base/machine.h"
#include "base/mem.h"
#include "kernels/detect.h"
#include "kernels/kernels.h"
#include "kernels/peak_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TASKS_A_THREAD = 8, /* so that a thread that is held up does not hold up the others for long */
	REPEATS = 7,
	READ_REPEATS = 5,
	READ_BYTES = 1 << 20, /* of a task */
	TRIPS = 50,           /* pool runs of one timing */
	TRIP_REPEATS = 21,
};
#define TASK_S 0.0015 /* length of a compute task, about */
#define MIN_ARRAY_BYTES ((uint64_t)256 << 20)
#define MAX_ARRAY_BYTES ((uint64_t)1 << 30)

struct loop {
	const char *name;
	double ops;
	hth_peak_fn *fn;
	hth_peak_read_fn *read; /* or NULL */
	bool (*has)(void);
};

static const struct loop loops[] = {
	{"f32 ref", HTH_PEAK_REF_OPS, hth_peak_ref, hth_peak_read_ref, hth_has_ref},
#if defined(__aarch64__)
	{"f32 neon", HTH_PEAK_NEON_OPS, hth_peak_neon, hth_peak_read_neon, hth_has_neon},
#endif
#if defined(__x86_64__)
	{"f32 avx2", HTH_PEAK_AVX2_OPS, hth_peak_avx2, hth_peak_read_avx2, hth_has_avx2},
	{"f32 avx512", HTH_PEAK_AVX512_OPS, hth_peak_avx512, hth_peak_read_avx512, hth_has_avx512},
	{"bf16 avx512", HTH_PEAK_BF16_OPS, hth_peak_avx512_bf16, NULL, hth_peak_has_avx512_bf16},
	{"int8 vnni", HTH_PEAK_VNNI_OPS, hth_peak_vnni, NULL, hth_peak_has_vnni},
	{"bf16 amx", HTH_PEAK_AMX_OPS, hth_peak_amx, NULL, hth_peak_has_amx},
#endif
};
enum { N_LOOPS = sizeof loops / sizeof loops[0] };

/* One measured thing: how its work is cut, and what all of it amounts to. */
struct work {
	hth_pool_fn *task;
	int64_t n_tasks;
	double amount; /* operations or bytes */
	const struct loop *loop;
	int64_t rounds; /* of a compute task */
	const uint8_t *data;
	volatile uint64_t sink;
};

static void compute_task(void *ctx, int64_t task, int thread)
{
	struct work *w = ctx;

	(void)task, (void)thread;
	w->sink = (uint64_t)(w->loop->fn(w->rounds) != 0);
}

static void read_task(void *ctx, int64_t task, int thread)
{
	struct work *w = ctx;

	(void)thread;
	w->sink = w->loop->read(w->data + (size_t)task * READ_BYTES, READ_BYTES);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Best rate of n repetitions; the spread between it and the median goes into *spread where it is larger. */
static double best_rate(struct hth_pool *pool, struct work *w, int n, double *spread)
{
	double s[REPEATS];

	for (int i = 0; i < n; i++) {
		double start = hth_now_s();
		hth_pool_run(pool, w->task, w, w->n_tasks);
		s[i] = fmax(hth_now_s() - start, 1e-9);
	}
	qsort(s, (size_t)n, sizeof s[0], ascending);
	*spread = fmax(*spread, s[n / 2] / s[0] - 1);
	return w->amount / s[0];
}

/* Rounds that take TASK_S: doubled until the clock sees them, which also wakes the processor up. */
static int64_t calibrate(const struct loop *l)
{
	int64_t n = 64;
	volatile double sink;

	for (;;) {
		double start = hth_now_s();
		sink = l->fn(n);
		if (hth_now_s() - start >= TASK_S || n >= (int64_t)1 << 32)
			break;
		n *= 2;
	}
	(void)sink;
	return n;
}

static void measure_compute(struct hth_pool *pool, const struct loop *l, struct hth_peaks *out)
{
	struct hth_peak *p = &out->compute[out->n_compute++];
	struct work w = {.task = compute_task, .loop = l, .rounds = calibrate(l)};

	snprintf(p->name, sizeof p->name, "%s", l->name);
	w.n_tasks = TASKS_A_THREAD;
	w.amount = l->ops * (double)w.rounds * (double)w.n_tasks;
	p->one = best_rate(NULL, &w, REPEATS, &out->spread);
	w.n_tasks *= out->threads;
	w.amount *= out->threads;
	p->all = out->threads > 1 ? best_rate(pool, &w, REPEATS, &out->spread) : p->one;
}

static void touch_task(void *ctx, int64_t task, int thread)
{
	uint8_t *data = ctx;

	(void)thread;
	memset(data + (size_t)task * READ_BYTES, 1, READ_BYTES);
}

/* Several times the last-level cache, within what is free. */
static uint64_t array_bytes(const struct hth_machine_info *m)
{
	uint64_t bytes = 4 * m->l3_bytes;

	bytes = bytes < MIN_ARRAY_BYTES ? MIN_ARRAY_BYTES : bytes > MAX_ARRAY_BYTES ? MAX_ARRAY_BYTES : bytes;
	return bytes / READ_BYTES * READ_BYTES;
}

static enum hth_status measure_reads(struct hth_pool *pool, const struct hth_machine_info *m, struct hth_peaks *out,
				     struct hth_err *err)
{
	uint64_t bytes = array_bytes(m);
	int64_t n_tasks = (int64_t)(bytes / READ_BYTES);

	if (m->available_bytes > 0 && m->available_bytes < bytes + bytes / 4)
		return hth_fail(err, HTH_ERR_MEMORY,
				"memory bandwidth: an array of %llu MB is needed to measure it, %llu MB are available",
				(unsigned long long)(bytes >> 20), (unsigned long long)(m->available_bytes >> 20));
	uint8_t *data = hth_alloc_aligned((size_t)bytes, (size_t)2 << 20);
	if (data == NULL)
		return hth_fail_memory(err, "an array to measure memory bandwidth", (size_t)bytes);
	hth_pool_run(pool, touch_task, data, n_tasks);
	for (int i = 0; i < N_LOOPS; i++) {
		struct work w = {.task = read_task,
				 .n_tasks = n_tasks,
				 .amount = (double)bytes,
				 .loop = &loops[i],
				 .data = data};
		if (loops[i].read == NULL || !loops[i].has())
			continue;
		double spread = 0, one = best_rate(NULL, &w, READ_REPEATS, &spread);
		double all = out->threads > 1 ? best_rate(pool, &w, READ_REPEATS, &spread) : one;
		if (all > out->read_all)
			out->spread = fmax(out->spread, spread);
		out->read_one = fmax(out->read_one, one);
		out->read_all = fmax(out->read_all, all);
	}
	hth_free(data);
	return HTH_OK;
}

static void empty_task(void *ctx, int64_t task, int thread)
{
	(void)ctx, (void)task, (void)thread;
}

static double round_trip(struct hth_pool *pool, int threads)
{
	double s[TRIP_REPEATS];

	for (int i = 0; i < TRIP_REPEATS; i++) {
		double start = hth_now_s();
		for (int j = 0; j < TRIPS; j++)
			hth_pool_run(pool, empty_task, NULL, threads);
		s[i] = (hth_now_s() - start) / TRIPS;
	}
	qsort(s, TRIP_REPEATS, sizeof s[0], ascending);
	return s[TRIP_REPEATS / 2];
}

enum hth_status hth_peaks_measure(struct hth_pool *pool, struct hth_peaks *out, struct hth_err *err)
{
	struct hth_machine_info m;
	struct hth_kernel_pick pick;

	*out = (struct hth_peaks){.threads = pool != NULL ? hth_pool_threads(pool) : 1};
	enum hth_status status = hth_kernels_pick(NULL, &pick, err);
	if (status != HTH_OK)
		return status;
	hth_machine_info(&m);
	snprintf(out->cpu, sizeof out->cpu, "%s", m.cpu);
	snprintf(out->kernels, sizeof out->kernels, "%s", pick.name);
	for (int i = 0; i < N_LOOPS; i++)
		if (loops[i].has())
			measure_compute(pool, &loops[i], out);
	out->round_trip_s = round_trip(pool, out->threads);
	return measure_reads(pool, &m, out, err);
}

const struct hth_peak *hth_peaks_find(const struct hth_peaks *p, const char *name)
{
	for (int i = 0; i < p->n_compute; i++)
		if (strcmp(p->compute[i].name, name) == 0)
			return &p->compute[i];
	return NULL;
}

const struct hth_peak *hth_peaks_f32(const struct hth_peaks *p)
{
	char name[24];
	const struct hth_peak *best = NULL;

	snprintf(name, sizeof name, "f32 %s", p->kernels);
	const struct hth_peak *own = hth_peaks_find(p, name);
	if (own != NULL)
		return own;
	/* A set without a loop of its own: it stands above the others and works on floats as the best of them. */
	for (int i = 0; i < p->n_compute; i++)
		if (strncmp(p->compute[i].name, "f32 ", 4) == 0 && (best == NULL || p->compute[i].all > best->all))
			best = &p->compute[i];
	return best;
}
