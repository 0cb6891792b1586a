/* Golden models on a backend: model, expected values, batches. Files of one share a stem, "tests/golden/llama/tied":
 * the model STEM.gguf or the folder STEM, STEM.safetensors with the values, STEM-adapter-start. */
#ifndef HTH_TESTS_MODELS_GOLDEN_H
#define HTH_TESTS_MODELS_GOLDEN_H

#include "base/machine.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "support.h"

#include <math.h>

static const char *const golden_names[] = {"tied", "untied"};
enum { GOLDEN_COUNT = 2 };

struct golden {
	const char *name;
	char stem[100];
	struct hth_model *m;
	struct hth_safetensors want;
	const struct hth_backend *backend;
	struct hth_device *dev;
	struct hth_pool *pool;
	struct hth_machine machine;
};

/* On a device of its own with `threads` threads, f32 whatever it would choose. model: path behind the stem. */
static inline void golden_open_stem(struct golden *g, const char *stem, const char *model, const struct hth_backend *b,
				    bool both, int threads)
{
	struct hth_device_config cfg = {.compute = HTH_COMPUTE_F32};
	struct hth_err err;
	char path[160];

	*g = (struct golden){.backend = b};
	snprintf(g->stem, sizeof(g->stem), "%s", stem);
	g->name = g->stem + sizeof("tests/golden/") - 1;
	snprintf(path, sizeof(path), "%s%s", stem, model);
	assert_ok(hth_model_open(path, &g->m, &err));
	snprintf(path, sizeof(path), "%s.safetensors", stem);
	assert_ok(hth_safetensors_open(&g->want, path, &err));
	if (threads > 1)
		assert_ok(hth_pool_new(threads, &g->pool, &err));
	cfg.pool = g->pool;
	assert_ok(b->open(&cfg, &g->dev, &err));
	assert_ok(hth_model_prepare(g->m, b, g->dev, both, &err));
	g->machine.threads = threads;
	if (b->machine != NULL)
		b->machine(g->dev, &g->machine);
}

/* One of golden_names, as GGUF. */
static inline void golden_open_threads(struct golden *g, const char *name, const struct hth_backend *b, bool both,
				       int threads)
{
	char stem[100];

	snprintf(stem, sizeof(stem), "tests/golden/llama/%s", name);
	golden_open_stem(g, stem, ".gguf", b, both, threads);
	g->name = name;
}

static inline void golden_open(struct golden *g, const char *name, const struct hth_backend *b, bool both)
{
	golden_open_threads(g, name, b, both, 1);
}

static inline void golden_close(struct golden *g)
{
	hth_model_close(g->m);
	g->backend->close(g->dev);
	hth_pool_free(g->pool);
	hth_safetensors_close(&g->want);
}

static inline const struct hth_st_tensor *golden_tensor(const struct golden *g, const char *name)
{
	const struct hth_st_tensor *t = hth_safetensors_find(&g->want, name);

	if (t == NULL)
		fail_msg("%s.safetensors has no \"%s\"", g->name, name);
	return t;
}

/* n values, freed by the caller. */
static inline float *golden_floats(const struct golden *g, const char *name, int64_t n)
{
	const struct hth_st_tensor *t = golden_tensor(g, name);
	float *out = hth_calloc((size_t)n, sizeof(*out));
	struct hth_err err;

	assert_non_null(out);
	assert_int_equal(t->bytes, (uint64_t)n * 4);
	assert_ok(hth_st_to_f32(t, out, &err));
	return out;
}

static inline int32_t golden_int(const struct golden *g, const char *name, int64_t i)
{
	const struct hth_st_tensor *t = golden_tensor(g, name);
	int32_t v;

	assert_int_equal(t->dtype, HTH_ST_I32);
	assert_true((uint64_t)i < t->bytes / 4);
	memcpy(&v, t->data + i * 4, 4);
	return v;
}

static inline int32_t golden_count(const struct golden *g, const char *name)
{
	return (int32_t)(golden_tensor(g, name)->bytes / 4);
}

enum golden_outs { GOLDEN_ALL_ROWS, GOLDEN_LAST_ROWS, GOLDEN_TARGETS };

/* Adds one segment of tokens from..to of a row and the outs in it. `first` is the batch row of token `from`; for the
 * target at `from` the predicting row is prev (-1: none). */
static inline void golden_segment(const struct golden *g, struct hth_batch *b, int32_t sequence, int32_t from,
				  int32_t to, int32_t end, int32_t base, int32_t parent, int32_t prev, int32_t adapter,
				  enum golden_outs outs)
{
	int32_t start = b->n_tokens;

	b->segments[b->n_segments++] = (struct hth_segment){.start = start,
							    .len = to - from,
							    .parent = parent,
							    .state = -1,
							    .adapter = adapter,
							    .example = sequence,
							    .causal = true,
							    .beyond = hth_rope_beyond(&g->m->config, end - base)};
	for (int32_t t = from; t < to; t++) {
		int32_t row = b->n_tokens++, before = t > from ? row - 1 : prev;
		b->ids[row] = golden_int(g, "ids", t);
		b->positions[row] = t - base;
		if (outs == GOLDEN_ALL_ROWS || (outs == GOLDEN_LAST_ROWS && t == end - 1))
			b->outs[b->n_outs++] = (struct hth_out){.row = row, .target = -1, .sequence = sequence};
		if (outs == GOLDEN_TARGETS && before >= 0 && golden_int(g, "target", t) != 0)
			b->outs[b->n_outs++] = (struct hth_out){
				.row = before, .target = b->ids[row], .weight = 1, .sequence = sequence};
	}
}

/* The rows of the golden file as one batch; `share`: the common beginning (5 tokens) of rows 0 and 1 once. Weights are
 * 1 / targets. All in arena. */
static inline void golden_batch(const struct golden *g, struct hth_arena *arena, enum golden_outs outs, int32_t adapter,
				bool share, struct hth_batch *b)
{
	int32_t n_rows = golden_count(g, "begin") - 1, n = golden_count(g, "ids"), shared = 5;
	struct hth_err err;

	*b = (struct hth_batch){0};
	b->ids = hth_arena_calloc(arena, (size_t)n, sizeof(*b->ids));
	b->positions = hth_arena_calloc(arena, (size_t)n, sizeof(*b->positions));
	b->segments = hth_arena_calloc(arena, (size_t)n_rows + 1, sizeof(*b->segments));
	b->outs = hth_arena_calloc(arena, (size_t)n, sizeof(*b->outs));
	for (int32_t i = 0; i < n_rows; i++) {
		int32_t begin = golden_int(g, "begin", i), end = golden_int(g, "begin", i + 1);
		if (!share || i > 1) {
			golden_segment(g, b, i, begin, end, end, begin, -1, -1, adapter, outs);
			continue;
		}
		if (i == 0)
			golden_segment(g, b, 0, begin, begin + shared, end, begin, -1, -1, adapter, outs);
		else /* targets inside the shared part count for row 1 too */
			for (int32_t t = 1; outs == GOLDEN_TARGETS && t < shared; t++)
				if (golden_int(g, "target", begin + t) != 0)
					b->outs[b->n_outs++] = (struct hth_out){
						.row = t - 1, .target = b->ids[t], .weight = 1, .sequence = 1};
		golden_segment(g, b, i, begin + shared, end, end, begin, 0, shared - 1, adapter, outs);
	}
	for (int32_t o = 0; o < b->n_outs; o++)
		b->outs[o].weight /= (float)b->n_outs;
	assert_ok(hth_batch_finish(b, arena, &err));
}

/* The adapter's LoRAs; grads: with gradients of zero. All in arena. */
static inline struct hth_lora **golden_loras(const struct golden *g, const char *which, struct hth_arena *arena,
					     bool grads)
{
	struct hth_adapter_names names;
	struct hth_adapter adapter;
	struct hth_lora **loras;
	struct hth_err err;
	char path[160];

	hth_model_adapter_names(g->m, &names);
	snprintf(path, sizeof(path), "%s-adapter-%s", g->stem, which);
	assert_ok(hth_adapter_read(path, &names, &adapter, &err));
	assert_ok(hth_model_loras(g->m, &adapter, arena, &loras, &err));
	for (int64_t i = 0; grads && i < g->m->config.n_layers * HTH_LINEAR_COUNT; i++) {
		if (loras[i] == NULL)
			continue;
		struct hth_param *p[2] = {&loras[i]->a, &loras[i]->b};
		for (int k = 0; k < 2; k++)
			p[k]->grad = hth_arena_calloc(arena, (size_t)(p[k]->rows * p[k]->cols), sizeof(float));
	}
	hth_adapter_clear(&adapter);
	return loras;
}

/* Plans, runs, with `train` also backwards; the result's values (n of them) are copied to out. */
static inline void golden_run(const struct golden *g, const struct hth_lora_set *set, const struct hth_batch *b,
			      enum hth_forward what, bool train, float *out, int64_t n)
{
	struct hth_exec_config cfg = {
		.mode = HTH_EXEC_PLAN, .backend = g->backend, .device = g->dev, .machine = g->machine};
	struct hth_tensor y = HTH_NO_TENSOR;
	struct hth_exec *x;
	struct hth_err err;

	for (int pass = 0; pass < 2; pass++) {
		assert_ok(hth_exec_new(&cfg, &x, &err));
		hth_exec_begin(x, train, (struct hth_dropout){0});
		y = hth_decoder_forward(x, g->m, set, b, what);
		if (train)
			hth_exec_backward(x);
		assert_ok(hth_exec_end(x, &err));
		if (pass == 1)
			break;
		cfg.mode = HTH_EXEC_RUN;
		cfg.arena_bytes = hth_exec_totals(x)->peak_bytes;
		hth_exec_free(x);
	}
	assert_int_equal(y.rows * y.cols, n);
	memcpy(out, y.ctx, (size_t)n * sizeof(*out));
	hth_exec_free(x);
}

/* Largest difference relative to the largest expected value. */
static inline double golden_error(const float *got, const float *want, int64_t n)
{
	double most = 0, largest = 0;

	for (int64_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - (double)want[i]);
		if (!(d <= most)) /* NaN too */
			most = d;
		largest = fmax(largest, fabs((double)want[i]));
	}
	return most / largest;
}

static inline void golden_check(const char *what, const struct golden *g, const float *got, const float *want,
				int64_t n, double tolerance)
{
	double e = golden_error(got, want, n);

	if (!(e <= tolerance))
		fail_msg("%s %s on %s: relative error %g, expected at most %g", g->name, what, g->backend->name, e,
			 tolerance);
}

#endif
