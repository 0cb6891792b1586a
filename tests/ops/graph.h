/* A small graph of ops under test: leaves, parameters, and a function that connects them. Runs it planned and for
 * real on any backend, compares gradients with finite differences on ref, and other backends with ref.
 *
 * Finite differences are of order four, (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h, with h = 1/64: the rule's own
 * error is near h^4/30 of the fifth derivative (2e-9), and f32 outputs of size 1 leave 6e-8 / h = 4e-6 of noise. The
 * loss is summed in double. */
#ifndef HTH_TESTS_OPS_GRAPH_H
#define HTH_TESTS_OPS_GRAPH_H

#include "base/mem.h"
#include "base/rng.h"
#include "ops/exec_int.h"
#include "support.h"

#include <math.h>

#define FD_STEP 0x1p-6f
#define FD_TOLERANCE 2e-4 /* of the largest element of the gradient, and as much absolutely */
#define REF_TOLERANCE 2e-5 /* of a backend against ref: f32 sums of some dozen products in another order */
#define MAX_LEAVES 6
#define MAX_PARAMS 40

struct graph_leaf {
	int64_t rows, cols;
	float *data;
	bool grad;
};

struct graph {
	struct hth_arena arena; /* owns everything below */
	uint64_t draws;         /* counter of random numbers */
	struct hth_batch batch;
	int n_leaves;
	struct graph_leaf leaf[MAX_LEAVES];
	int n_params;
	struct hth_param *param[MAX_PARAMS];
	int n_weights;
	struct hth_weight *weight[MAX_PARAMS];
	struct hth_dropout drop;
	float step; /* h of finite differences; 0: FD_STEP */
	bool fused; /* build ends in logp: the loss is -sum(weight * logp); else sum(seed * y) */
	bool outer; /* build ends in logp, whose gradient comes from outside */
	/* Consumes the leaves, returns the output. */
	struct hth_tensor (*build)(struct hth_exec *x, const struct graph *g, const struct hth_tensor *leaf);
	void *ctx;
};

/* What one run gives; arrays from the graph's arena. */
struct graph_result {
	int64_t elems;
	float *y;
	double loss;
	float *leaf_grad[MAX_LEAVES]; /* NULL: none */
	float *param_grad[MAX_PARAMS];
	struct hth_totals forward, totals;
};

static inline void graph_init(struct graph *g)
{
	*g = (struct graph){0};
	hth_arena_init(&g->arena, (size_t)1 << 28);
}

static inline void graph_clear(struct graph *g)
{
	hth_arena_clear(&g->arena);
}

static inline void *graph_alloc(struct graph *g, int64_t n, size_t elem_bytes)
{
	void *p = hth_arena_calloc(&g->arena, (size_t)n, elem_bytes);
	assert_non_null(p);
	return p;
}

/* n normal numbers of deviation `size`. */
static inline float *graph_random(struct graph *g, int64_t n, float size)
{
	float *p = graph_alloc(g, n, sizeof *p);
	struct hth_rng_key key = hth_rng_key(7, HTH_RNG_TEST, 0, 0);
	for (int64_t i = 0; i < n; i++)
		p[i] = size * hth_rng_normal(key, g->draws++, 0);
	return p;
}

static inline void graph_add_leaf(struct graph *g, int64_t rows, int64_t cols, bool grad)
{
	assert_true(g->n_leaves < MAX_LEAVES);
	g->leaf[g->n_leaves++] =
		(struct graph_leaf){.rows = rows, .cols = cols, .data = graph_random(g, rows * cols, 1.0f), .grad = grad};
}

static inline void graph_init_param(struct graph *g, struct hth_param *p, const char *name, int64_t rows, int64_t cols,
                                    float size, bool trained)
{
	*p = (struct hth_param){.name = name, .rows = rows, .cols = cols, .value = graph_random(g, rows * cols, size)};
	if (!trained)
		return;
	assert_true(g->n_params < MAX_PARAMS);
	p->grad = graph_alloc(g, rows * cols, sizeof(float));
	g->param[g->n_params++] = p;
}

/* Blocks by hand: f32, bf16 cut to its upper half, q8_0 with the scale 2^-6. */
static inline void graph_pack(enum hth_quant quant, const float *src, uint8_t *dst, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		if (quant == HTH_QUANT_Q8_0) {
			uint8_t *block = dst + i / 32 * 34;
			block[0] = 0x00; /* 0x2400: 2^-6 in f16 */
			block[1] = 0x24;
			block[2 + i % 32] = (uint8_t)(int8_t)fmaxf(-127.0f, fminf(127.0f, rintf(src[i] * 64.0f)));
		} else if (quant == HTH_QUANT_BF16) {
			memcpy(dst + 2 * i, (const uint8_t *)&src[i] + 2, 2);
		} else {
			memcpy(dst + 4 * i, &src[i], 4);
		}
	}
}

/* A weight of normal numbers of deviation `size`, in f32 when trained, else in `quant`. */
static inline struct hth_weight *graph_weight(struct graph *g, const char *name, int64_t rows, int64_t cols, float size,
                                              bool trained, enum hth_quant quant)
{
	struct hth_weight *w = graph_alloc(g, 1, sizeof *w);
	struct hth_param *p = graph_alloc(g, 1, sizeof *p);
	struct hth_err err;
	uint64_t row_bytes;

	assert_true(trained || quant == HTH_QUANT_F32 || quant == HTH_QUANT_BF16 || quant == HTH_QUANT_Q8_0);
	if (trained)
		quant = HTH_QUANT_F32;
	graph_init_param(g, p, name, rows, cols, size, trained);
	assert_ok(hth_quant_row_bytes(quant, (uint64_t)cols, &row_bytes, &err));
	uint8_t *data = graph_alloc(g, rows, row_bytes);
	for (int64_t n = 0; n < rows; n++)
		graph_pack(quant, p->value + n * cols, data + (uint64_t)n * row_bytes, cols);
	snprintf(w->name, sizeof w->name, "%s", name);
	w->quant = quant;
	w->rows = rows;
	w->cols = cols;
	w->row_bytes = row_bytes;
	w->data = trained ? (const uint8_t *)p->value : data;
	w->param = trained ? p : NULL;
	assert_true(g->n_weights < MAX_PARAMS);
	g->weight[g->n_weights++] = w;
	return w;
}

static inline struct hth_lora *graph_lora(struct graph *g, const struct hth_weight *w, int64_t rank, float dropout,
                                          uint32_t place, bool trained)
{
	struct hth_lora *l = graph_alloc(g, 1, sizeof *l);

	graph_init_param(g, &l->a, "lora_A", rank, w->cols, 0.4f, trained);
	graph_init_param(g, &l->b, "lora_B", w->rows, rank, 0.4f, trained);
	l->scale = 1.5f;
	l->dropout = dropout;
	l->place = place;
	return l;
}

/* A batch of the given segments (len, parent, adapter, causal), with positions and ids made up. */
static inline void graph_batch(struct graph *g, const struct hth_segment *segments, int n, int64_t vocab,
                               const struct hth_out *outs, int n_outs)
{
	struct hth_batch *b = &g->batch;
	struct hth_err err;
	int32_t start = 0;

	*b = (struct hth_batch){.n_segments = n, .n_outs = n_outs};
	b->segments = graph_alloc(g, n, sizeof *b->segments);
	b->outs = graph_alloc(g, n_outs, sizeof *b->outs);
	for (int s = 0; s < n; s++) {
		b->segments[s] = segments[s];
		b->segments[s].start = start;
		b->segments[s].state = -1;
		start += segments[s].len;
	}
	b->n_tokens = start;
	b->ids = graph_alloc(g, start, sizeof *b->ids);
	b->positions = graph_alloc(g, start, sizeof *b->positions);
	for (int s = 0; s < n; s++) {
		const struct hth_segment *q = &b->segments[s], *p = q->parent < 0 ? NULL : &b->segments[q->parent];
		int32_t first = p == NULL ? 0 : b->positions[p->start + p->len - 1] + 1;
		for (int32_t i = 0; i < q->len; i++) {
			b->positions[q->start + i] = first + i;
			b->ids[q->start + i] = (int32_t)((q->start + i) * 5 % vocab);
		}
	}
	for (int o = 0; o < n_outs; o++)
		b->outs[o] = outs[o];
	assert_ok(hth_batch_finish(b, &g->arena, &err));
}

/* Weight of output i in the loss: fixed, of both signs. */
static inline float graph_seed(int64_t i)
{
	return (float)((i * 37 + 11) % 19 - 9) / 8.0f;
}

static inline struct hth_tensor graph_pass(struct hth_exec *x, const struct graph *g, bool train,
                                           struct hth_tensor *leaf, struct hth_totals *forward)
{
	hth_exec_begin(x, train, g->drop);
	if (g->outer)
		hth_exec_outer_loss(x);
	for (int i = 0; i < g->n_leaves; i++)
		leaf[i] = hth_exec_leaf(x, g->leaf[i].rows, g->leaf[i].cols, g->leaf[i].data, g->leaf[i].grad);
	struct hth_tensor y = g->build(x, g, leaf);
	if (forward != NULL)
		*forward = *hth_exec_totals(x);
	if (train && !g->fused && hth_tensor_is(y)) {
		float seed[4096];
		assert_true(y.rows * y.cols <= 4096);
		for (int64_t i = 0; i < y.rows * y.cols; i++)
			seed[i] = graph_seed(i);
		hth_exec_seed(x, y, seed);
	}
	if (train)
		hth_exec_backward(x);
	return y;
}

static inline double graph_loss(const struct graph *g, struct hth_tensor y)
{
	const float *v = y.ctx;
	double loss = 0.0;
	for (int64_t i = 0; i < y.rows * y.cols; i++)
		loss += (g->fused ? -(double)g->batch.outs[i].weight : (double)graph_seed(i)) * v[i];
	return loss;
}

/* A device and an execution of exactly the planned size on backend b. */
struct graph_bench {
	const struct hth_backend *backend;
	struct hth_device *device;
	struct hth_machine machine;
	struct hth_exec *x;
	uint64_t planned_bytes;
};

static inline uint64_t graph_plan(const struct graph *g, const struct hth_backend *b, const struct hth_machine *m,
                                  bool train, struct hth_totals *totals)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = b, .machine = *m};
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_exec *x;
	struct hth_err err;

	assert_ok(hth_exec_new(&cfg, &x, &err));
	graph_pass(x, g, train, leaf, NULL);
	assert_ok(hth_exec_end(x, &err));
	uint64_t bytes = hth_exec_totals(x)->peak_bytes;
	if (totals != NULL)
		*totals = *hth_exec_totals(x);
	hth_exec_free(x);
	return bytes;
}

static inline void graph_open(struct graph_bench *t, const struct graph *g, const struct hth_backend *b)
{
	struct hth_device_config dc = {.compute = HTH_COMPUTE_F32};
	struct hth_err err;

	t->backend = b;
	assert_ok(b->open(&dc, &t->device, &err));
	for (int i = 0; i < g->n_weights; i++)
		assert_ok(b->prepare(t->device, g->weight[i], true, &err));
	t->machine = (struct hth_machine){.threads = 1};
	if (b->machine != NULL)
		b->machine(t->device, &t->machine);
	t->planned_bytes = graph_plan(g, b, &t->machine, true, NULL);
	struct hth_exec_config cfg = {.mode = HTH_EXEC_RUN, .backend = b, .device = t->device, .machine = t->machine,
	                              .arena_bytes = t->planned_bytes};
	assert_ok(hth_exec_new(&cfg, &t->x, &err));
}

static inline void graph_close(struct graph_bench *t, const struct graph *g)
{
	for (int i = 0; i < g->n_weights; i++)
		t->backend->unprepare(t->device, g->weight[i]);
	hth_exec_free(t->x);
	t->backend->close(t->device);
}

static inline float *graph_copy(struct graph *g, const float *src, int64_t n)
{
	float *p = graph_alloc(g, n, sizeof *p);
	memcpy(p, src, (size_t)n * sizeof *p);
	return p;
}

/* One training pass: output, loss and all gradients. */
static inline void graph_run(struct graph_bench *t, struct graph *g, struct graph_result *r)
{
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_err err;

	*r = (struct graph_result){0};
	for (int i = 0; i < g->n_params; i++)
		memset(g->param[i]->grad, 0, (size_t)(g->param[i]->rows * g->param[i]->cols) * sizeof(float));
	struct hth_tensor y = graph_pass(t->x, g, true, leaf, &r->forward);
	assert_ok(hth_exec_end(t->x, &err));
	r->totals = *hth_exec_totals(t->x);
	assert_int_equal(r->totals.peak_bytes, t->planned_bytes);
	r->elems = y.rows * y.cols;
	r->y = graph_copy(g, y.ctx, r->elems);
	r->loss = graph_loss(g, y);
	for (int i = 0; i < g->n_leaves; i++) {
		struct hth_tensor grad = hth_grad_peek(t->x, leaf[i]);
		assert_int_equal(hth_tensor_is(grad), g->leaf[i].grad);
		if (hth_tensor_is(grad))
			r->leaf_grad[i] = graph_copy(g, grad.ctx, g->leaf[i].rows * g->leaf[i].cols);
	}
	for (int i = 0; i < g->n_params; i++)
		r->param_grad[i] = graph_copy(g, g->param[i]->grad, g->param[i]->rows * g->param[i]->cols);
}

static inline double graph_loss_at(struct graph_bench *t, const struct graph *g, float *at, float value)
{
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_err err;
	float saved = *at;

	*at = value;
	struct hth_tensor y = graph_pass(t->x, g, false, leaf, NULL);
	*at = saved;
	assert_ok(hth_exec_end(t->x, &err));
	return graph_loss(g, y);
}

static inline double graph_largest(const float *v, int64_t n)
{
	double top = 0.0;
	for (int64_t i = 0; i < n; i++)
		top = fmax(top, fabs((double)v[i]));
	return top;
}

static inline void graph_check_array(struct graph_bench *t, const struct graph *g, const char *what, float *at,
                                     const float *grad, int64_t n, double tolerance)
{
	double allowed = tolerance * (1.0 + graph_largest(grad, n));

	for (int64_t i = 0; i < n; i++) {
		float h = g->step > 0.0f ? g->step : FD_STEP, v = at[i];
		double near = graph_loss_at(t, g, &at[i], v + h) - graph_loss_at(t, g, &at[i], v - h);
		double far = graph_loss_at(t, g, &at[i], v + 2 * h) - graph_loss_at(t, g, &at[i], v - 2 * h);
		double want = (8.0 * near - far) / (12.0 * (double)h);
		if (!(fabs(want - (double)grad[i]) <= allowed))
			fail_msg("%s[%lld]: gradient %.7g, finite difference %.7g, allowed %.2g", what, (long long)i,
			         (double)grad[i], want, allowed);
	}
}

static inline void graph_check_near(const char *what, const float *got, const float *want, int64_t n, double tolerance)
{
	double allowed = tolerance * (1.0 + graph_largest(want, n));

	for (int64_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - (double)want[i]) <= allowed))
			fail_msg("%s[%lld]: %.8g, expected %.8g, allowed %.2g", what, (long long)i, (double)got[i],
			         (double)want[i], allowed);
}

static inline void graph_check_same(struct graph *g, const struct graph_result *got, const struct graph_result *want,
                                    double tolerance)
{
	assert_int_equal(got->elems, want->elems);
	graph_check_near("y", got->y, want->y, want->elems, tolerance);
	for (int i = 0; i < g->n_leaves; i++)
		if (want->leaf_grad[i] != NULL)
			graph_check_near("leaf gradient", got->leaf_grad[i], want->leaf_grad[i],
			                 g->leaf[i].rows * g->leaf[i].cols, tolerance);
	for (int i = 0; i < g->n_params; i++)
		graph_check_near(g->param[i]->name, got->param_grad[i], want->param_grad[i],
		                 g->param[i]->rows * g->param[i]->cols, tolerance);
}

/* True when a backend has every op of this graph: a plan says which it lacks. */
static inline bool graph_is_supported(const struct graph *g, const struct hth_backend *b)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN, .backend = b, .machine = {.threads = 1}};
	struct hth_tensor leaf[MAX_LEAVES];
	struct hth_exec *x;
	struct hth_err err = {0};

	assert_ok(hth_exec_new(&cfg, &x, &err));
	graph_pass(x, g, true, leaf, NULL);
	enum hth_status status = hth_exec_end(x, &err);
	hth_exec_free(x);
	if (status != HTH_OK && status != HTH_ERR_UNAVAILABLE)
		fail_msg("plan on %s: %s", b->name, err.text);
	if (status != HTH_OK)
		fprintf(stderr, "not compared: %s\n", err.text);
	return status == HTH_OK;
}

/* Every backend of this build: ref against finite differences, the others against ref. */
static inline void graph_check(struct graph *g, double tolerance)
{
	const struct hth_backend *ref = hth_backend_find("ref");
	struct graph_result want, got;
	struct graph_bench t;

	assert_non_null(ref);
	graph_open(&t, g, ref);
	graph_run(&t, g, &want);
	for (int i = 0; i < g->n_leaves; i++)
		if (g->leaf[i].grad)
			graph_check_array(&t, g, "leaf", g->leaf[i].data, want.leaf_grad[i],
			                  g->leaf[i].rows * g->leaf[i].cols, tolerance);
	for (int i = 0; i < g->n_params; i++)
		graph_check_array(&t, g, g->param[i]->name, g->param[i]->value, want.param_grad[i],
		                  g->param[i]->rows * g->param[i]->cols, tolerance);
	graph_close(&t, g);
	for (int b = 0; hth_backend_at(b) != NULL; b++) {
		if (hth_backend_at(b) == ref || !graph_is_supported(g, hth_backend_at(b)))
			continue;
		graph_open(&t, g, hth_backend_at(b));
		graph_run(&t, g, &got);
		graph_check_same(g, &got, &want, REF_TOLERANCE);
		graph_close(&t, g);
	}
}

#endif
