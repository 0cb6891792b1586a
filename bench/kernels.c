/* Speed of the cpu backend's ops, each against what this machine can do at most: multiply-add peak, or read bandwidth,
 * both measured here. Tests say whether results are right; this says how fast they come.
 * usage: bench-kernels [threads] [part of a line's name] [bf16]       HEARTH_CPU=avx2 forces a kernel set
 * With bf16 the products' fractions are of the f32 peak all the same, to be compared. */
#include "backend/backend.h"
#include "base/arena.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct hth_pool *pool;
static const struct hth_backend *backend;
static struct hth_device *device;
static struct hth_machine machine;
static const char *only;
static double peak_flops, peak_bytes; /* a second, all threads */

/* Wall seconds; with one thread the process's own, which other load on the machine disturbs less. */
static double now(void)
{
	struct timespec t;

	if (machine.threads > 1 || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
		return hth_now_s();
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes)
{
	void *p = hth_alloc_aligned(bytes, 64);
	if (p == NULL) {
		fprintf(stderr, "error: out of memory for %zu bytes\n", bytes);
		exit(1);
	}
	memset(p, 1, bytes);
	return p;
}

static float *floats(int64_t n)
{
	float *x = memory((size_t)n * sizeof *x);
	for (int64_t i = 0; i < n; i++)
		x[i] = (float)((i * 37 + i / 7) % 101 - 50) / 50;
	return x;
}

static struct hth_tensor tensor(int64_t rows, int64_t cols)
{
	return (struct hth_tensor){.ctx = floats(rows * cols), .id = 0, .dtype = HTH_DTYPE_F32, .rows = rows, .cols = cols};
}

static struct hth_weight weight(enum hth_quant q, int64_t rows, int64_t cols)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	struct hth_weight w = {.quant = q, .rows = rows, .cols = cols};

	w.row_bytes = (uint64_t)cols / f->block_elems * f->block_bytes;
	w.data = memory((size_t)rows * w.row_bytes); /* bytes 1: small positive numbers in every format */
	return w;
}

/* --- what the machine can do --------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx512f"))) static float fma512(int64_t n)
{
	__m512 a[12], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f), s = x;
	for (int i = 0; i < 12; i++)
		a[i] = _mm512_set1_ps((float)i);
	for (int64_t j = 0; j < n; j++)
#pragma GCC unroll 12
		for (int i = 0; i < 12; i++)
			a[i] = _mm512_fmadd_ps(a[i], x, y);
	for (int i = 0; i < 12; i++)
		s = _mm512_add_ps(s, a[i]);
	return _mm512_reduce_add_ps(s);
}
__attribute__((target("avx2,fma"))) static float fma256(int64_t n)
{
	__m256 a[12], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f), s = x;
	for (int i = 0; i < 12; i++)
		a[i] = _mm256_set1_ps((float)i);
	for (int64_t j = 0; j < n; j++)
#pragma GCC unroll 12
		for (int i = 0; i < 12; i++)
			a[i] = _mm256_fmadd_ps(a[i], x, y);
	for (int i = 0; i < 12; i++)
		s = _mm256_add_ps(s, a[i]);
	return _mm256_cvtss_f32(s);
}
#endif

struct probe {
	struct hth_kernel_pick pick;
	int64_t n, flops;
	float *a, *b, *c;
	volatile float sink;
};

/* One thread's multiply-adds from registers; elsewhere the tile on data in the first-level cache. */
static void probe_task(void *ctx, int64_t task, int thread)
{
	struct probe *p = ctx;
	const struct hth_kernels *k = &p->pick.k;

	(void)task;
#if defined(__x86_64__)
	if (k->product.nr == 32 || k->product.nr == 16) {
		p->sink = k->product.nr == 32 ? fma512(p->n) : fma256(p->n);
		return;
	}
#endif
	for (int64_t i = 0; i < p->n / 100; i++)
		k->product.tile(k->product.mr, k->product.nr, 64, p->a, p->b, p->c + thread * 512, k->product.nr, false);
}

static void measure_peak(void)
{
	struct probe p = {.n = 20000000};
	struct hth_err err;
	double best = 1e9;

	if (hth_kernels_pick(NULL, &p.pick, &err) != HTH_OK)
		exit(1);
	p.a = floats(64 * HTH_KERNEL_MAX_MR);
	p.b = floats(64 * HTH_KERNEL_MAX_NR);
	p.c = floats(512 * machine.threads);
	for (int i = 0; i < 5; i++) {
		double t = now();
		hth_pool_run(pool, probe_task, &p, machine.threads);
		best = fmin(best, now() - t);
	}
	double area = (double)p.pick.k.product.mr * p.pick.k.product.nr;
	double each = p.pick.k.product.nr == 32 || p.pick.k.product.nr == 16 ? 12.0 * p.pick.k.product.nr * (double)p.n
	                                                                     : 2.0 * 64 * area * (double)(p.n / 100);
	peak_flops = each * machine.threads / best;
	printf("%-44s %8.1f GFLOP/s  %d threads, %s\n", "multiply-add peak", peak_flops / 1e9, machine.threads,
	       p.pick.name);
}

struct stream {
	const float *x;
	int64_t each;
	hth_reduce_fn *max;
	volatile float sink;
};

static void stream_task(void *ctx, int64_t task, int thread)
{
	struct stream *s = ctx;

	(void)thread;
	s->sink = s->max(s->x + task * s->each, s->each);
}

static void measure_bandwidth(void)
{
	struct hth_kernel_pick pick;
	struct hth_err err;
	enum { TASKS = 256, EACH = 1 << 18 };
	double best = 1e9;

	if (hth_kernels_pick(NULL, &pick, &err) != HTH_OK)
		exit(1);
	struct stream s = {.x = floats((int64_t)TASKS * EACH), .each = EACH, .max = pick.k.max};
	for (int i = 0; i < 6; i++) {
		double t = now();
		hth_pool_run(pool, stream_task, &s, TASKS);
		best = fmin(best, now() - t);
	}
	peak_bytes = (double)TASKS * EACH * sizeof(float) / best;
	printf("%-44s %8.1f GB/s     256 MB\n", "read bandwidth", peak_bytes / 1e9);
	hth_free((void *)s.x);
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

/* Best of some runs, as flops or bytes a second against the peak. */
static void run(const char *name, enum hth_op op, const void *args, bool by_bytes)
{
	struct hth_cost cost = {0};
	struct hth_err err;
	double best = 1e9, start = hth_now_s();

	if (only != NULL && strstr(name, only) == NULL)
		return;
	backend->slot[op].cost(&machine, args, &cost);
	void *scratch = memory((size_t)cost.scratch_bytes + 64);
	for (int i = 0; i < 3 || (hth_now_s() - start < 0.7 && i < 200); i++) {
		double t = now();
		if (backend->slot[op].run(device, args, scratch, &err) != HTH_OK) {
			fprintf(stderr, "error: %s\n", err.text);
			exit(1);
		}
		best = fmin(best, now() - t);
	}
	hth_free(scratch);
	if (by_bytes)
		printf("%-44s %8.1f GB/s     %5.1f %%  %9.3f ms\n", name, cost.bytes_moved / best / 1e9,
		       100 * cost.bytes_moved / best / peak_bytes, best * 1e3);
	else
		printf("%-44s %8.1f GFLOP/s  %5.1f %%  %9.3f ms\n", name, cost.flops / best / 1e9,
		       100 * cost.flops / best / peak_flops, best * 1e3);
}

static struct hth_rowset *rows_of(int32_t n)
{
	struct hth_rowset *s = memory(sizeof *s);
	struct hth_adapter_run *r = memory(sizeof *r);
	int32_t *positions = memory((size_t)n * 4), *examples = memory((size_t)n * 4);

	for (int32_t i = 0; i < n; i++) {
		positions[i] = i;
		examples[i] = 0;
	}
	*r = (struct hth_adapter_run){.len = n, .adapter = 0};
	*s = (struct hth_rowset){.n = n, .positions = positions, .examples = examples, .n_runs = 1, .runs = r};
	return s;
}

/* A decoded token's linear map from rows laid side by side, where this kernel set has that. */
static void side_by_side(enum hth_quant q, int64_t n, int64_t c)
{
	char name[96];
	struct hth_err err;
	struct hth_weight w = weight(q, n, c);
	struct hth_linear member = {.w = &w};
	struct hth_linear_args a = {.rows = rows_of(1), .n = 1, .member = {&member}, .x = tensor(1, c),
	                            .y = {tensor(1, n)}, .xa = {HTH_NO_TENSOR}};

	if (backend->prepare(device, &w, false, &err) != HTH_OK) {
		fprintf(stderr, "error: %s\n", err.text);
		exit(1);
	}
	if (w.prepared == NULL)
		return;
	snprintf(name, sizeof name, "side by side %s R=1 C=%lld N=%lld", hth_quant_format(q)->name, (long long)c, (long long)n);
	run(name, HTH_OP_linear, &a, true);
	backend->unprepare(device, &w);
}

/* One linear, forward and backward; rank 0: no adapter. */
static void linear(enum hth_quant q, int32_t rows, int64_t n, int64_t c, int64_t rank, float dropout, bool backward)
{
	char name[96];
	struct hth_weight w = weight(q, n, c);
	struct hth_lora l = {.scale = 1, .dropout = dropout}, *list = &l;
	struct hth_linear member = {.w = &w, .lora = rank > 0 ? &list : NULL, .n_adapters = rank > 0};
	struct hth_linear_args a = {.rows = rows_of(rows), .n = 1, .member = {&member}, .x = tensor(rows, c),
	                            .y = {tensor(rows, n)}, .xa = {HTH_NO_TENSOR}};

	a.drop.on = dropout > 0;
	if (rank > 0) {
		l.a = (struct hth_param){.rows = rank, .cols = c, .value = floats(rank * c), .grad = floats(rank * c)};
		l.b = (struct hth_param){.rows = n, .cols = rank, .value = floats(rank * n), .grad = floats(rank * n)};
		a.xa[0] = tensor(rows, rank);
	}
	snprintf(name, sizeof name, "linear %s R=%d C=%lld N=%lld r=%lld%s", hth_quant_format(q)->name, rows,
	         (long long)c, (long long)n, (long long)rank, dropout > 0 ? " dropout" : "");
	run(name, HTH_OP_linear, &a, rows <= HTH_MATVEC_MAX_ROWS);
	if (!backward)
		return;
	struct hth_linear_backward_args b = {.rows = a.rows, .n = 1, .member = {&member}, .drop = a.drop, .x = a.x,
	                                     .xa = {a.xa[0]}, .dy = {a.y[0]}, .base = HTH_NO_TENSOR, .dx = tensor(rows, c)};
	snprintf(name, sizeof name, "  backward %s R=%d C=%lld N=%lld r=%lld%s", hth_quant_format(q)->name, rows,
	         (long long)c, (long long)n, (long long)rank, dropout > 0 ? " dropout" : "");
	run(name, HTH_OP_linear_backward, &b, false);
}

static void attention(int32_t t, int64_t heads, int64_t kv, int64_t head)
{
	char name[96];
	struct hth_arena arena;
	struct hth_err err;
	struct hth_segment seg = {.len = t, .parent = -1, .state = -1, .adapter = -1, .causal = true};
	struct hth_batch b = {.n_tokens = t, .n_segments = 1, .segments = &seg};

	hth_arena_init(&arena, 64 << 20);
	b.ids = memory((size_t)t * 4);
	b.positions = memory((size_t)t * 4);
	for (int32_t i = 0; i < t; i++)
		b.positions[i] = i;
	if (hth_batch_finish(&b, &arena, &err) != HTH_OK)
		exit(1);
	struct hth_attention_shape s = {.n_head = heads, .n_kv = kv, .head = head, .scale = 0.125f};
	struct hth_attention_args a = {.batch = &b, .shape = s, .q = tensor(t, heads * head), .k = tensor(t, kv * head),
	                               .v = tensor(t, kv * head), .y = tensor(t, heads * head), .lse = tensor(t, heads)};
	snprintf(name, sizeof name, "attention T=%d H=%lld K=%lld D=%lld", t, (long long)heads, (long long)kv,
	         (long long)head);
	run(name, HTH_OP_attention, &a, false);
	struct hth_attention_backward_args g = {.batch = &b, .shape = s, .q = a.q, .k = a.k, .v = a.v, .y = a.y,
	                                        .lse = a.lse, .dy = tensor(t, heads * head), .dq = tensor(t, heads * head),
	                                        .dk = tensor(t, kv * head), .dv = tensor(t, kv * head)};
	snprintf(name, sizeof name, "  backward T=%d H=%lld K=%lld D=%lld", t, (long long)heads, (long long)kv,
	         (long long)head);
	run(name, HTH_OP_attention_backward, &g, false);
	hth_arena_clear(&arena);
}

/* Appends `past` tokens, so that their pages are real. */
static void fill_past(const struct hth_attention_shape *s, struct hth_state *state, int32_t past, struct hth_arena *arena)
{
	struct hth_err err;
	struct hth_cost cost = {0};
	struct hth_segment seg = {.len = past, .parent = -1, .adapter = -1, .causal = true};
	struct hth_batch b = {.n_tokens = past, .n_segments = 1, .segments = &seg, .n_states = 1, .states = &state};
	int64_t wide = s->n_head * s->head, narrow = s->n_kv * s->head;

	b.ids = memory((size_t)past * 4);
	b.positions = memory((size_t)past * 4);
	for (int32_t i = 0; i < past; i++) {
		b.ids[i] = 0;
		b.positions[i] = i;
	}
	if (hth_batch_finish(&b, arena, &err) != HTH_OK)
		exit(1);
	struct hth_attention_args a = {.batch = &b, .shape = *s, .q = tensor(past, wide), .k = tensor(past, narrow),
	                               .v = tensor(past, narrow), .y = tensor(past, wide), .lse = HTH_NO_TENSOR};
	a.shape.window = 1; /* what the past attends to does not matter */
	backend->slot[HTH_OP_attention].cost(&machine, &a, &cost);
	void *scratch = memory((size_t)cost.scratch_bytes + 64);
	if (backend->slot[HTH_OP_attention].run(device, &a, scratch, &err) != HTH_OK)
		exit(1);
	hth_free(scratch);
}

/* One token after `past` others. */
static void decode_attention(int32_t past, int64_t heads, int64_t kv, int64_t head)
{
	char name[96];
	struct hth_arena arena;
	struct hth_err err;
	struct hth_state_shape shape = {.n_layers = 1, .n_kv = kv, .head = head, .capacity = past + 1};
	struct hth_state *state;
	struct hth_segment seg = {.len = 1, .parent = -1, .past = past, .adapter = -1, .causal = true};
	struct hth_batch b = {.n_tokens = 1, .n_segments = 1, .segments = &seg, .n_states = 1, .states = &state};

	hth_arena_init(&arena, 1 << 20);
	b.ids = memory(4);
	b.positions = memory(4);
	b.positions[0] = past;
	if (backend->state_new(device, &shape, &state, &err) != HTH_OK || hth_batch_finish(&b, &arena, &err) != HTH_OK)
		exit(1);
	struct hth_attention_shape s = {.n_head = heads, .n_kv = kv, .head = head, .scale = 0.125f};
	fill_past(&s, state, past, &arena);
	struct hth_attention_args a = {.batch = &b, .shape = s, .q = tensor(1, heads * head), .k = tensor(1, kv * head),
	                               .v = tensor(1, kv * head), .y = tensor(1, heads * head), .lse = HTH_NO_TENSOR};
	snprintf(name, sizeof name, "attention decode past=%d H=%lld K=%lld D=%lld", past, (long long)heads, (long long)kv,
	         (long long)head);
	run(name, HTH_OP_attention, &a, true);
	backend->state_free(device, state);
	hth_arena_clear(&arena);
}

static void head(enum hth_quant q, int32_t rows, int64_t v, int64_t c)
{
	char name[96];
	struct hth_weight w = weight(q, v, c);
	struct hth_batch b = {.n_outs = rows};

	b.outs = memory((size_t)rows * sizeof *b.outs);
	b.out_row = memory((size_t)rows * sizeof *b.out_row);
	for (int32_t i = 0; i < rows; i++) {
		b.outs[i] = (struct hth_out){.row = i, .target = i, .weight = 1};
		b.out_row[i] = i;
	}
	struct hth_logp_args a = {.batch = &b, .head = {.w = &w, .scale = 1}, .x = tensor(rows, c), .logp = tensor(1, rows),
	                          .lse = tensor(1, rows), .dx = tensor(rows, c)};
	snprintf(name, sizeof name, "logp fused %s R=%d V=%lld C=%lld", hth_quant_format(q)->name, rows, (long long)v,
	         (long long)c);
	run(name, HTH_OP_logp, &a, false);
}

static void small_ops(int32_t t)
{
	struct hth_weight w = weight(HTH_QUANT_F32, 1, 576);
	struct hth_norm_args n = {.eps = 1e-5f, .width = 576, .w = &w, .x = tensor(t, 576), .y = tensor(t, 576),
	                          .stats = tensor(t, 1)};
	run("norm 576", HTH_OP_norm, &n, true);
	struct hth_norm_backward_args nb = {.eps = 1e-5f, .width = 576, .w = &w, .x = n.x, .stats = n.stats, .dy = n.y,
	                                    .base = tensor(t, 576), .dx = tensor(t, 576)};
	run("norm backward 576", HTH_OP_norm_backward, &nb, true);
	struct hth_rope_args r = {.rows = rows_of(t), .how = {.freq = floats(32), .head = 64, .rot = 64, .attn_scale = 1},
	                          .x = n.x, .y = n.x};
	run("rope 9 x 64", HTH_OP_rope, &r, true);
	struct hth_gated_args g = {.gate = tensor(t, 1536), .up = tensor(t, 1536), .y = tensor(t, 1536)};
	run("gated silu 1536", HTH_OP_gated, &g, true);
	struct hth_gated_backward_args gb = {.gate = g.gate, .up = g.up, .dy = g.y, .dgate = tensor(t, 1536),
	                                     .dup = tensor(t, 1536)};
	run("gated backward silu 1536", HTH_OP_gated_backward, &gb, true);
	struct hth_add_args a = {.scale = 1, .a = n.x, .b = nb.base, .y = nb.dx};
	run("add 576", HTH_OP_add, &a, true);
}

int main(int argc, char **argv)
{
	int64_t threads = 0;
	struct hth_err err;

	if (argc > 1 && !hth_parse_i64(argv[1], &threads))
		threads = 0;
	only = argc > 2 ? argv[2] : NULL;
	if (hth_pool_new((int)threads, &pool, &err) != HTH_OK) {
		fprintf(stderr, "error: %s\n", err.text);
		return 1;
	}
	struct hth_device_config cfg = {.pool = pool, .compute = HTH_COMPUTE_F32};
	if (argc > 3 && strcmp(argv[3], "bf16") == 0)
		cfg.compute = HTH_COMPUTE_BF16;
	backend = hth_backend_find("cpu");
	if (backend->open(&cfg, &device, &err) != HTH_OK) {
		fprintf(stderr, "error: %s\n", err.text);
		return 1;
	}
	backend->machine(device, &machine);
	measure_peak();
	measure_bandwidth();
	linear(HTH_QUANT_Q8_0, 512, 1536, 576, 0, 0, true);
	linear(HTH_QUANT_F32, 512, 1536, 576, 0, 0, true);
	linear(HTH_QUANT_BF16, 512, 1536, 576, 0, 0, true);
	linear(HTH_QUANT_Q4_1, 512, 1536, 576, 8, 0, true);
	linear(HTH_QUANT_Q4_1, 512, 1536, 576, 8, 0.05f, true);
	linear(HTH_QUANT_Q4_1, 2048, 1536, 576, 8, 0, true);
	linear(HTH_QUANT_Q4_1, 2048, 576, 1536, 8, 0, true);
	linear(HTH_QUANT_Q4_K, 512, 2048, 2048, 16, 0, true);
	linear(HTH_QUANT_Q4_K, 64, 2048, 2048, 0, 0, false);
	linear(HTH_QUANT_Q4_K, 16, 2048, 2048, 0, 0, false);
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		linear((enum hth_quant)q, 1, q < 3 ? 16384 : 65536, 4096, 0, 0, false);
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		side_by_side((enum hth_quant)q, 65536, 4096);
	linear(HTH_QUANT_Q4_1, 1, 1536, 576, 0, 0, false);
	side_by_side(HTH_QUANT_Q4_1, 1536, 576);
	side_by_side(HTH_QUANT_Q8_0, 8960, 1536);
	linear(HTH_QUANT_Q4_1, 4, 65536, 4096, 0, 0, false);
	attention(512, 9, 3, 64);
	attention(2048, 9, 3, 64);
	attention(2048, 8, 2, 128);
	decode_attention(1000, 9, 3, 64);
	decode_attention(8000, 32, 8, 128);
	head(HTH_QUANT_Q8_0, 512, 49152, 576);
	small_ops(2048);
	backend->close(device);
	hth_pool_free(pool);
	return 0;
}
