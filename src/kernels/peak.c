/* Measuring peaks: each number is the best of several repetitions; how far their median lies behind it says how
 * quiet the machine was. */
#include "kernels/peak.h"

#include "base/machine.h"
#include "base/mem.h"
#include "kernels/detect.h"
#include "kernels/kernels.h"
#include "kernels/peak_int.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WINDOWS = 12, /* timings of one thread in one repetition */
	REPEATS = 5,
	READ_REPEATS = 24,
	READ_PARTS = 8,       /* of the array, read in turns */
	READ_BYTES = 1 << 20, /* of a task */
	MAX_TRIPS = 200,
	MAX_THREADS = 1024, /* of the pool, here */
};
#define WINDOW_S 0.001
#define TRIPS_S 0.3     /* time for all round trips */
#define TRIP_WAIT_S 0.1 /* of a thread for the others, at most */
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
	{"bf16 neon", HTH_PEAK_NEON_BF16_OPS, hth_peak_neon_bf16, NULL, hth_has_neonbf16},
#endif
#if defined(__x86_64__)
	{"f32 avx2", HTH_PEAK_AVX2_OPS, hth_peak_avx2, hth_peak_read_avx2, hth_has_avx2},
	{"f32 avx512", HTH_PEAK_AVX512_OPS, hth_peak_avx512, hth_peak_read_avx512, hth_has_avx512},
	{"bf16 avx512", HTH_PEAK_BF16_OPS, hth_peak_avx512_bf16, NULL, hth_has_avx512bf16},
	{"int8 vnni", HTH_PEAK_VNNI_OPS, hth_peak_vnni, NULL, hth_has_avx512vnni},
	{"bf16 amx", HTH_PEAK_AMX_OPS, hth_peak_amx, NULL, hth_has_amx},
#endif
};
enum { N_LOOPS = sizeof loops / sizeof loops[0] };

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Multiply-adds on all threads at once. Each times windows of its own, so that being held up costs it a window and not
 * the measurement; what ends after the first thread is through is not counted, since then not all were at work. */
struct compute {
	const struct loop *loop;
	int64_t rounds; /* of a window */
	atomic_bool over;
	double window_s[MAX_THREADS][WINDOWS];
	int n[MAX_THREADS];
};

static void compute_task(void *ctx, int64_t task, int thread)
{
	struct compute *c = ctx;
	volatile double sink;

	(void)thread;
	c->n[task] = 0;
	for (int i = 0; i < WINDOWS; i++) {
		double start = hth_now_s();
		sink = c->loop->fn(c->rounds);
		double s = hth_now_s() - start;
		if (atomic_load(&c->over))
			return;
		c->window_s[task][c->n[task]++] = s;
	}
	(void)sink;
	atomic_store(&c->over, true);
}

/* Operations a second of n threads: the sum of each one's best window, best of all repetitions. */
static double compute_rate(struct hth_pool *pool, struct compute *c, int n, double *spread)
{
	double best = 0, quiet = INFINITY;

	for (int r = 0; r < REPEATS; r++) {
		double sum = 0;
		atomic_store(&c->over, false);
		hth_pool_run(pool, compute_task, c, n);
		for (int t = 0; t < n; t++) {
			if (c->n[t] == 0)
				continue;
			qsort(c->window_s[t], (size_t)c->n[t], sizeof c->window_s[t][0], ascending);
			sum += c->loop->ops * (double)c->rounds / c->window_s[t][0];
			if (t == 0)
				quiet = fmin(quiet, c->window_s[t][c->n[t] / 2] / c->window_s[t][0] - 1);
		}
		best = fmax(best, sum);
	}
	if (isfinite(quiet))
		*spread = fmax(*spread, quiet);
	return best;
}

/* Rounds that take a window: doubled until the clock sees them, which also wakes the processor up. */
static int64_t calibrate(const struct loop *l)
{
	int64_t n = 64;
	volatile double sink;

	for (;;) {
		double start = hth_now_s();
		sink = l->fn(n);
		if (hth_now_s() - start >= WINDOW_S || n >= (int64_t)1 << 32)
			break;
		n *= 2;
	}
	(void)sink;
	return n;
}

static void measure_compute(struct hth_pool *pool, const struct loop *l, struct compute *c, struct hth_peaks *out)
{
	struct hth_peak *p = &out->compute[out->n_compute++];
	int n = out->threads < MAX_THREADS ? out->threads : MAX_THREADS;

	snprintf(p->name, sizeof p->name, "%s", l->name);
	c->loop = l;
	c->rounds = calibrate(l);
	p->one = compute_rate(NULL, c, 1, &out->spread);
	p->all = n > 1 ? compute_rate(pool, c, n, &out->spread) : p->one;
	p->all = fmax(p->all, p->one); /* a machine whose other cores are taken */
}

/* Reading: the array in parts, one after the other, each by all threads. */
struct reading {
	hth_peak_read_fn *read;
	const uint8_t *data; /* of the part */
	volatile uint64_t sink;
};

static void read_task(void *ctx, int64_t task, int thread)
{
	struct reading *r = ctx;

	(void)thread;
	r->sink = r->read(r->data + (size_t)task * READ_BYTES, READ_BYTES);
}

static double read_rate(struct hth_pool *pool, hth_peak_read_fn *read, const uint8_t *data, uint64_t bytes,
			double *spread)
{
	int64_t n_tasks = (int64_t)(bytes / READ_BYTES / READ_PARTS);
	double s[READ_REPEATS];

	for (int i = 0; i < READ_REPEATS; i++) {
		struct reading r = {.read = read,
				    .data = data + (size_t)(i % READ_PARTS) * (size_t)n_tasks * READ_BYTES};
		double start = hth_now_s();
		hth_pool_run(pool, read_task, &r, n_tasks);
		s[i] = fmax(hth_now_s() - start, 1e-9);
	}
	qsort(s, READ_REPEATS, sizeof s[0], ascending);
	*spread = fmax(*spread, s[READ_REPEATS / 2] / s[0] - 1);
	return (double)n_tasks * READ_BYTES / s[0];
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
	return bytes / (READ_BYTES * READ_PARTS) * (READ_BYTES * READ_PARTS);
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
		if (loops[i].read == NULL || !loops[i].has())
			continue;
		double spread = 0, one = read_rate(NULL, loops[i].read, data, bytes, &spread);
		double all = out->threads > 1 ? read_rate(pool, loops[i].read, data, bytes, &spread) : one;
		if (all > out->read_all)
			out->spread = fmax(out->spread, spread);
		out->read_one = fmax(out->read_one, one);
		out->read_all = fmax(out->read_all, fmax(one, all));
	}
	hth_free(data);
	return HTH_OK;
}

/* Every thread waits for the others, so that none does the work of two. */
struct trip {
	atomic_int arrived;
	int threads;
};

static void trip_task(void *ctx, int64_t task, int thread)
{
	struct trip *t = ctx;
	double start = hth_now_s();

	(void)task, (void)thread;
	atomic_fetch_add(&t->arrived, 1);
	while (atomic_load(&t->arrived) < t->threads && hth_now_s() - start < TRIP_WAIT_S)
		;
}

static double round_trip(struct hth_pool *pool, int threads)
{
	struct trip t = {.threads = threads};
	double s[MAX_TRIPS], spent = 0;
	int n = 0;

	while (n < MAX_TRIPS && (n < 3 || spent < TRIPS_S)) {
		double start = hth_now_s();
		atomic_store(&t.arrived, 0);
		hth_pool_run(pool, trip_task, &t, threads);
		s[n] = fmax(hth_now_s() - start, 1e-9);
		spent += s[n++];
	}
	qsort(s, (size_t)n, sizeof s[0], ascending);
	return s[n / 2];
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
	struct compute *c = hth_calloc(1, sizeof *c);
	if (c == NULL)
		return hth_fail_memory(err, "timings", sizeof *c);
	for (int i = 0; i < N_LOOPS; i++)
		if (loops[i].has())
			measure_compute(pool, &loops[i], c, out);
	hth_free(c);
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

/* The set in force may be a finer one than those measured here ("avx512vnni" of "f32 avx512"), or stand above them
 * with no f32 of its own. */
const struct hth_peak *hth_peaks_f32(const struct hth_peaks *p)
{
	const struct hth_peak *best = NULL, *like = NULL;
	size_t like_bytes = 0;

	for (int i = 0; i < p->n_compute; i++) {
		const struct hth_peak *c = &p->compute[i];
		if (strncmp(c->name, "f32 ", 4) != 0)
			continue;
		size_t n = strlen(c->name + 4);
		if (n > like_bytes && strncmp(p->kernels, c->name + 4, n) == 0) {
			like = c;
			like_bytes = n;
		}
		if (best == NULL || c->all >= best->all)
			best = c;
	}
	return like != NULL ? like : best;
}
