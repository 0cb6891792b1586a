/* Random cases for the cpu backend: the same op on backend ref, on cpu with one thread, and on cpu with more threads and
 * each kernel set. Outputs must agree with ref within TOLERANCE and be the same bits for every thread count. */
#ifndef HTH_TESTS_CPU_CASE_H
#define HTH_TESTS_CPU_CASE_H

#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "support.h"

#include <math.h>

/* f32 sums of up to some thousand terms against sums in double, relative to the largest element of the output. */
#define TOLERANCE 1e-5
/* Few rows times weights in blocks: x becomes numbers of 16 bits, each off by 1.5e-5 of the largest of 32 at most. */
#define TOLERANCE_BLOCKS 4e-5
static double tolerance = TOLERANCE; /* of the next case */

extern const struct hth_backend hth_backend_cpu, hth_backend_ref;

/* All memory of a case, freed at once. */
#define CASE_BLOCKS 1024
static void *blocks[CASE_BLOCKS];
static int n_blocks;

static inline void *case_alloc(size_t bytes)
{
	assert_in_range(n_blocks, 0, CASE_BLOCKS - 1);
	void *p = hth_alloc_aligned(bytes + 64, 64);
	assert_non_null(p);
	memset(p, 0, bytes + 64);
	blocks[n_blocks++] = p;
	return p;
}
static inline void case_clear(void)
{
	while (n_blocks > 0)
		hth_free(blocks[--n_blocks]);
}

static uint32_t n_streams;
static inline void fill_random(float *x, int64_t n, float size)
{
	struct hth_rng_key key = hth_rng_key(11, HTH_RNG_TEST, ++n_streams, 0);
	for (int64_t i = 0; i < n; i++)
		x[i] = size * (2 * hth_rng_uniform(key, 0, (uint64_t)i) - 1);
}
static inline float *random_floats(int64_t n, float size)
{
	float *x = case_alloc((size_t)n * sizeof *x);
	fill_random(x, n, size);
	return x;
}
static inline struct hth_tensor tensor_of(float *data, int64_t rows, int64_t cols)
{
	return (struct hth_tensor){.ctx = data, .id = 0, .dtype = HTH_DTYPE_F32, .rows = rows, .cols = cols};
}
static inline struct hth_tensor random_tensor(int64_t rows, int64_t cols, float size)
{
	return tensor_of(random_floats(rows * cols, size), rows, cols);
}
/* An output: filled with junk, so that what is not written shows. */
static inline struct hth_tensor output(int64_t rows, int64_t cols)
{
	struct hth_tensor t = tensor_of(case_alloc((size_t)(rows * cols) * sizeof(float)), rows, cols);
	for (int64_t i = 0; i < rows * cols; i++)
		((float *)t.ctx)[i] = 1e30f;
	return t;
}

/* A random matrix in a block format: bytes at random, scales replaced by small half floats. */
static inline struct hth_weight random_weight(enum hth_quant q, int64_t rows, int64_t cols)
{
	static const int scale_at[HTH_QUANT_COUNT][2] = {
	        [HTH_QUANT_Q4_0] = {0, -1},   [HTH_QUANT_Q4_1] = {0, 2}, [HTH_QUANT_Q5_0] = {0, -1},
	        [HTH_QUANT_Q5_1] = {0, 2},    [HTH_QUANT_Q8_0] = {0, -1}, [HTH_QUANT_Q2_K] = {80, 82},
	        [HTH_QUANT_Q3_K] = {108, -1}, [HTH_QUANT_Q4_K] = {0, 2}, [HTH_QUANT_Q5_K] = {0, 2},
	        [HTH_QUANT_Q6_K] = {208, -1}};
	const struct hth_quant_format *f = hth_quant_format(q);
	struct hth_rng_key key = hth_rng_key(12, HTH_RNG_TEST, ++n_streams, 1);
	struct hth_weight w = {.name = "w", .quant = q, .rows = rows, .cols = cols};

	w.row_bytes = (uint64_t)cols / f->block_elems * f->block_bytes;
	uint8_t *data = case_alloc((size_t)rows * w.row_bytes);
	w.data = data;
	if (q == HTH_QUANT_F32) {
		fill_random((float *)(void *)data, rows * cols, 1);
		return w;
	}
	for (uint64_t at = 0; at < (uint64_t)rows * w.row_bytes; at += f->block_bytes) {
		for (uint32_t i = 0; i < f->block_bytes; i++)
			data[at + i] = (uint8_t)hth_rng_u32(key, at, i);
		if (f->block_elems == 1) /* exponents of numbers near 1 */
			data[at + 1] = (uint8_t)((q == HTH_QUANT_BF16 ? 0x3E : 0x38) | (data[at + 1] & 0x81));
		for (int s = 0; s < 2 && f->block_elems > 1; s++)
			if (scale_at[q][s] >= 0)
				data[at + (uint64_t)scale_at[q][s] + 1] = 0x20; /* about 0.01 */
		if (q == HTH_QUANT_MXFP4)
			data[at] = 122; /* 2^-5 */
		if (q == HTH_QUANT_MLX8)
			memcpy(data + at, (const float[2]){0.01f, -1}, 8);
	}
	return w;
}

/* The trained twin of an f32 weight. */
static inline struct hth_param *trained(struct hth_weight *w)
{
	struct hth_param *p = case_alloc(sizeof *p);
	*p = (struct hth_param){.name = w->name, .rows = w->rows, .cols = w->cols, .value = (float *)(void *)w->data};
	p->grad = random_floats(w->rows * w->cols, 0.1f);
	w->param = p;
	return p;
}

/* A batch from segments given as (length, parent); the rest is filled in. */
static inline struct hth_batch *case_tree(struct hth_arena *arena, const int32_t (*seg)[2], int32_t n, bool causal)
{
	struct hth_batch *b = case_alloc(sizeof *b);
	struct hth_err err;
	int32_t total = 0;

	b->n_segments = n;
	b->segments = case_alloc((size_t)n * sizeof *b->segments);
	for (int32_t s = 0; s < n; s++) {
		b->segments[s] = (struct hth_segment){.start = total, .len = seg[s][0], .parent = seg[s][1], .state = -1,
		                                      .adapter = -1, .causal = causal};
		total += seg[s][0];
	}
	b->n_tokens = total;
	b->ids = case_alloc((size_t)total * sizeof *b->ids);
	b->positions = case_alloc((size_t)total * sizeof *b->positions);
	for (int32_t s = 0; s < n; s++)
		for (int32_t i = 0; i < seg[s][0]; i++) {
			const struct hth_segment *p = seg[s][1] >= 0 ? &b->segments[seg[s][1]] : NULL;
			int32_t from = p != NULL ? b->positions[p->start + p->len - 1] + 1 : 0;
			b->positions[b->segments[s].start + i] = from + i;
		}
	assert_ok(hth_batch_finish(b, arena, &err));
	return b;
}

/* An array that an op writes or adds to: its bits before the op, so that every run starts alike. */
struct result {
	const char *what;
	float *data;
	int64_t n;
	float *before, *want, *first;
};
enum { MAX_RESULTS = 128 };
static struct result results[MAX_RESULTS];
static int n_results;

static inline void result(const char *what, float *data, int64_t n)
{
	assert_in_range(n_results, 0, MAX_RESULTS - 1);
	struct result *r = &results[n_results++];
	size_t bytes = (size_t)n * sizeof(float);
	*r = (struct result){.what = what, .data = data, .n = n};
	r->before = case_alloc(bytes);
	r->want = case_alloc(bytes);
	r->first = case_alloc(bytes);
	memcpy(r->before, data, bytes);
}
static inline void result_tensor(const char *what, struct hth_tensor t)
{
	if (hth_tensor_is(t))
		result(what, t.ctx, t.rows * t.cols);
}

/* Runs one op on a device of its own; the scratch is exactly what the cost says, with guards behind. */
static inline void run_in(enum hth_compute compute, const struct hth_backend *backend, const char *kernels, int threads,
                          enum hth_op op, const void *args)
{
	struct hth_pool *pool = NULL;
	struct hth_device *dev;
	struct hth_machine machine = {.threads = threads, .compute = compute, .kernels = kernels};
	struct hth_cost cost = {0};
	struct hth_err err;

	assert_ok(hth_pool_new(threads, &pool, &err));
	struct hth_device_config cfg = {.pool = pool, .compute = compute, .kernels = kernels};
	assert_ok(backend->open(&cfg, &dev, &err));
	backend->slot[op].cost(&machine, args, &cost);
	uint8_t *scratch = hth_alloc_aligned((size_t)cost.scratch_bytes + 64, 64);
	assert_non_null(scratch);
	memset(scratch, 0xFF, (size_t)cost.scratch_bytes); /* NaN */
	memset(scratch + cost.scratch_bytes, 0x5A, 64);
	assert_ok(backend->slot[op].run(dev, args, scratch, &err));
	for (int i = 0; i < 64; i++)
		if (scratch[cost.scratch_bytes + (uint64_t)i] != 0x5A)
			fail_msg("%s, %d threads: wrote past its %llu bytes of scratch", kernels, threads,
			         (unsigned long long)cost.scratch_bytes);
	hth_free(scratch);
	backend->close(dev);
	hth_pool_free(pool);
}

static inline void run_on(const struct hth_backend *backend, const char *kernels, int threads, enum hth_op op,
                          const void *args)
{
	run_in(HTH_COMPUTE_F32, backend, kernels, threads, op, args);
}

static inline void results_restore(void)
{
	for (int i = 0; i < n_results; i++)
		memcpy(results[i].data, results[i].before, (size_t)results[i].n * sizeof(float));
}

/* The least size that an output's largest element counts as: more where a small one is the rest of large terms. */
static double least_size = 1e-3;

static inline void results_compare(const char *set, const char *name, double allowed)
{
	for (int i = 0; i < n_results; i++) {
		const struct result *r = &results[i];
		double top = least_size;
		for (int64_t j = 0; j < r->n; j++)
			top = fmax(top, fabs((double)r->want[j]));
		for (int64_t j = 0; j < r->n; j++)
			if (!(fabs((double)r->data[j] - r->want[j]) <= allowed * top))
				fail_msg("%s %s: %s [%lld of %lld]: %.9g, expected %.9g (largest %.3g)", set, name, r->what,
				         (long long)j, (long long)r->n, (double)r->data[j], (double)r->want[j], top);
	}
}

/* Operands of 8 bits each: a product of k terms of like size is off by some 2^-8 of one term's size times sqrt(k). */
#define BF16_TOLERANCE 3e-2

/* Does cpu compute in this type with this set? In bf16 those do that have a tile for it, and ref. */
static inline bool computes(enum hth_compute compute, const char *set)
{
	struct hth_device_config cfg = {.compute = compute, .kernels = set};
	struct hth_device *dev = NULL;
	bool can = hth_backend_cpu.open(&cfg, &dev, NULL) == HTH_OK;

	if (can)
		hth_backend_cpu.close(dev);
	return can;
}

/* One set and type: threads 1 to 4. */
static inline void check_set(const char *set, enum hth_compute compute, const char *name, enum hth_op op, const void *args)
{
	char label[64];

	snprintf(label, sizeof label, "%s %s", set, compute == HTH_COMPUTE_BF16 ? "bf16" : "f32");
	for (int threads = 1; threads <= 4; threads++) {
		results_restore();
		run_in(compute, &hth_backend_cpu, set, threads, op, args);
		if (threads == 1)
			results_compare(label, name, compute == HTH_COMPUTE_BF16 ? BF16_TOLERANCE : tolerance);
		for (int i = 0; i < n_results; i++) {
			const struct result *r = &results[i];
			if (threads == 1)
				memcpy(r->first, r->data, (size_t)r->n * sizeof(float));
			else if (memcmp(r->first, r->data, (size_t)r->n * sizeof(float)) != 0)
				fail_msg("%s %s: %s: %d threads give other bits than one", label, name, r->what, threads);
		}
	}
}

/* The case's op on ref, then on cpu: every set, in f32 and where it can in bf16. Ends the case. */
static inline void check_case(const char *name, enum hth_op op, const void *args)
{
	run_on(&hth_backend_ref, NULL, 1, op, args);
	for (int i = 0; i < n_results; i++)
		memcpy(results[i].want, results[i].data, (size_t)results[i].n * sizeof(float));
	for (int s = 0; hth_kernels_info(s).name != NULL; s++) {
		if (!hth_kernels_info(s).present)
			continue;
		const char *set = hth_kernels_info(s).name;
		check_set(set, HTH_COMPUTE_F32, name, op, args);
		if (computes(HTH_COMPUTE_BF16, set))
			check_set(set, HTH_COMPUTE_BF16, name, op, args);
	}
	n_results = 0;
	least_size = 1e-3;
	tolerance = TOLERANCE;
	case_clear();
}

/* A failed case leaves its memory and results behind: not for the next test. */
static inline int case_teardown(void **state)
{
	(void)state;
	n_results = 0;
	case_clear();
	return 0;
}
#define CASE_TEST(f) cmocka_unit_test_teardown(f, case_teardown)

#endif
