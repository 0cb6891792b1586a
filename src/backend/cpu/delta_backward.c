/* The gradients of the gated delta rule; formulas in backend/ref/delta.c. A task is one key head: it adds up the gradients
 * of its query and key over the value heads that read it, block by block of their columns.
 *
 * For one block all tokens are run forward once more, keeping the state every STEP tokens; then backwards from the last
 * STEP to the first: their states are made again one by one and walked down. Memory is T / STEP + STEP states a thread. */
#include "backend/cpu/delta_int.h"

#include <string.h>

enum { STEP = 16 };

struct delta_backward {
	struct cpu_delta d;
	const struct hth_delta_backward_args *a;
	int64_t n_steps; /* of all segments */
	float *grads;    // (T,2*Vh) gradients of decay and beta
	float *room;
	int64_t thread_elems;
};

/* One thread's buffers, of states (Dk,HTH_DELTA_COLS). */
struct work {
	float *starts;        // (steps) before each step
	float *states;        // (STEP+1) before the first token of a step, after each
	float *kept, *dkept;  // (kept) at the end of segments with children, and their gradients
	float *ds;            // (1)
	float *u, *miss;      // (STEP,HTH_DELTA_COLS)
};

static struct cpu_delta shared_of(const struct hth_delta_backward_args *a)
{
	return (struct cpu_delta){.batch = a->batch,
	                          .s = a->shape,
	                          .a_log = cpu_vector(a->a_log),
	                          .dt = cpu_vector(a->dt),
	                          .x = a->x,
	                          .a = a->a,
	                          .b = a->b};
}

static struct work carve(const struct delta_backward *t, struct cpu_scratch *s)
{
	int64_t block = cpu_delta_block(&t->d.s);
	struct work w;

	w.starts = cpu_take(s, t->n_steps * block);
	w.states = cpu_take(s, (STEP + 1) * block);
	w.kept = cpu_take(s, t->d.n_kept * block);
	w.dkept = cpu_take(s, t->d.n_kept * block);
	w.ds = cpu_take(s, block);
	w.u = cpu_take(s, STEP * HTH_DELTA_COLS);
	w.miss = cpu_take(s, STEP * HTH_DELTA_COLS);
	return w;
}

static void layout(struct delta_backward *t, struct cpu_scratch *s, int threads)
{
	struct cpu_scratch one = {NULL, 0};

	cpu_delta_layout(&t->d, s);
	t->n_steps = 0;
	for (int32_t i = 0; i < t->d.batch->n_segments; i++)
		t->n_steps += cpu_ceil(t->d.batch->segments[i].len, STEP);
	t->grads = cpu_take(s, t->d.x.rows * 2 * t->d.s.n_value);
	(void)carve(t, &one);
	t->thread_elems = (int64_t)(one.bytes / sizeof(float));
	t->room = cpu_take(s, threads * t->thread_elems);
}

void cpu_delta_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_delta_backward_args *a = args;
	struct delta_backward t = {.d = shared_of(a), .a = a};
	struct cpu_scratch s = {NULL, 0};

	layout(&t, &s, m->threads);
	out->flops = 30 * (double)(a->x.rows * a->shape.n_value * a->shape.key * a->shape.value);
	out->bytes_moved = 2 * (cpu_bytes(a->x) + cpu_bytes(a->dy));
	out->scratch_bytes = s.bytes;
}

/* Runs all tokens of a block of columns forward, leaving the state before each step and at the end of parents. */
static void run_forward(const struct delta_backward *t, const struct work *w, int64_t h, int64_t d0)
{
	int64_t block = cpu_delta_block(&t->d.s), at = 0;
	size_t bytes = (size_t)block * sizeof(float);
	float *state = w->states;

	for (int32_t i = 0; i < t->d.batch->n_segments; i++) {
		const struct hth_segment *g = &t->d.batch->segments[i];
		if (g->parent >= 0)
			memcpy(state, w->kept + t->d.keeps[g->parent] * block, bytes);
		else
			memset(state, 0, bytes);
		for (int64_t in = 0; in < g->len; in += STEP) {
			struct hth_delta_run run =
				cpu_delta_run(&t->d, h, d0, g->start + in, cpu_min(STEP, g->len - in));
			memcpy(w->starts + at++ * block, state, bytes);
			t->d.k->delta(&run, state);
		}
		if (t->d.keeps[i] >= 0)
			memcpy(w->kept + t->d.keeps[i] * block, state, bytes);
	}
}

/* One token backwards: w->states holds the states of its step, in which it is number j. */
static void back_token(const struct delta_backward *t, const struct work *w, int64_t h, int64_t d0, int64_t row,
                       int64_t j)
{
	const struct hth_delta_shape *s = &t->d.s;
	int64_t block = cpu_delta_block(s), keys = s->n_key * s->key, kh = hth_delta_key_head(s, h);
	struct hth_delta_run run = cpu_delta_run(&t->d, h, d0, row, 1);
	float *dx = cpu_row(t->a->dx, row), *grads = t->grads + row * 2 * s->n_value;
	const struct hth_delta_back back = {
		.keys = s->key,
		.cols = run.cols,
		.q = run.q,
		.k = run.k,
		.u = w->u + j * HTH_DELTA_COLS,
		.miss = w->miss + j * HTH_DELTA_COLS,
		.dy = cpu_row(t->a->dy, row) + h * s->value + d0,
		.before = w->states + j * block,
		.after = w->states + (j + 1) * block,
		.decay = *run.decay,
		.beta = *run.beta,
		.dq = dx + kh * s->key,
		.dk = dx + keys + kh * s->key,
		.dv = dx + 2 * keys + h * s->value + d0,
		.ddecay = grads + h,
		.dbeta = grads + s->n_value + h,
	};

	t->d.k->delta_grad(&back, w->ds);
}

static void back_step(const struct delta_backward *t, const struct work *w, int64_t h, int64_t d0, int64_t row,
                      int64_t n, const float *start)
{
	int64_t block = cpu_delta_block(&t->d.s);
	size_t bytes = (size_t)block * sizeof(float);

	memcpy(w->states, start, bytes);
	for (int64_t j = 0; j < n; j++) {
		struct hth_delta_run run = cpu_delta_run(&t->d, h, d0, row + j, 1);
		float *after = w->states + (j + 1) * block;
		memcpy(after, after - block, bytes);
		run.u = w->u + j * HTH_DELTA_COLS;
		run.miss = w->miss + j * HTH_DELTA_COLS;
		t->d.k->delta(&run, after);
	}
	for (int64_t j = n - 1; j >= 0; j--)
		back_token(t, w, h, d0, row + j, j);
}

static void back_block(const struct delta_backward *t, const struct work *w, int64_t h, int64_t d0)
{
	int64_t block = cpu_delta_block(&t->d.s), at = t->n_steps;
	size_t bytes = (size_t)block * sizeof(float);

	run_forward(t, w, h, d0);
	memset(w->dkept, 0, (size_t)t->d.n_kept * bytes);
	for (int32_t i = t->d.batch->n_segments - 1; i >= 0; i--) {
		const struct hth_segment *g = &t->d.batch->segments[i];
		if (t->d.keeps[i] >= 0)
			memcpy(w->ds, w->dkept + t->d.keeps[i] * block, bytes);
		else
			memset(w->ds, 0, bytes);
		for (int64_t in = (cpu_ceil(g->len, STEP) - 1) * STEP; in >= 0; in -= STEP)
			back_step(t, w, h, d0, g->start + in, cpu_min(STEP, g->len - in), w->starts + --at * block);
		if (g->parent >= 0)
			t->d.k->axpy(1, w->ds, w->dkept + t->d.keeps[g->parent] * block, block);
	}
}

/* Gradients of normed queries and keys, in dx so far, become those of what was normed. */
static void back_norms(const struct delta_backward *t, int64_t kh)
{
	const struct hth_delta_shape *s = &t->d.s;
	const struct hth_kernels *k = t->d.k;
	int64_t keys = s->n_key * s->key;

	for (int64_t r = 0; r < t->d.x.rows; r++)
		for (int part = 0; part < 2; part++) {
			int64_t at = part * keys + kh * s->key;
			const float *x = cpu_row(t->d.x, r) + at;
			float *dx = cpu_row(t->a->dx, r) + at, scale = part == 0 ? 1 / sqrtf((float)s->key) : 1;
			float factor = cpu_delta_factor(k, x, s->key), along = k->dot(x, dx, s->key);
			k->scale(factor * scale, dx, dx, s->key);
			k->axpy(-along * factor * factor * factor * scale, x, dx, s->key);
		}
}

/* Gradients of decay and beta become those of a and b; those of a_log and dt are added to. */
static void back_gates(const struct delta_backward *t, int64_t h)
{
	const struct hth_delta_backward_args *a = t->a;
	const struct hth_delta_shape *s = &t->d.s;
	double speed = exp((double)t->d.a_log[h]), da_log = 0, ddt = 0;

	for (int64_t r = 0; r < t->d.x.rows; r++) {
		const float *gates = t->d.gates + r * 2 * s->n_value, *grads = t->grads + r * 2 * s->n_value;
		double z = (double)cpu_row(a->a, r)[h] + (double)t->d.dt[h], beta = (double)gates[s->n_value + h];
		double dg = (double)grads[h] * (double)gates[h], dz = -dg * speed / (1 + exp(-z));
		cpu_row(a->da, r)[h] = (float)dz;
		cpu_row(a->db, r)[h] = (float)((double)grads[s->n_value + h] * beta * (1 - beta));
		ddt += dz;
		da_log -= dg * speed * cpu_softplus(z);
	}
	if (cpu_is_trained(a->a_log))
		a->a_log->param->grad[h] += (float)da_log;
	if (cpu_is_trained(a->dt))
		a->dt->param->grad[h] += (float)ddt;
}

static void backward_task(void *ctx, int64_t kh, int thread)
{
	const struct delta_backward *t = ctx;
	const struct hth_delta_shape *s = &t->d.s;
	struct cpu_scratch own = {(uint8_t *)(t->room + thread * t->thread_elems), 0};
	struct work w = carve(t, &own);
	int64_t keys = s->n_key * s->key;

	for (int64_t r = 0; r < t->d.x.rows; r++)
		for (int part = 0; part < 2; part++)
			memset(cpu_row(t->a->dx, r) + part * keys + kh * s->key, 0, (size_t)s->key * sizeof(float));
	for (int64_t h = 0; h < s->n_value; h++) {
		if (hth_delta_key_head(s, h) != kh)
			continue;
		for (int64_t r = 0; r < t->d.x.rows; r++)
			t->grads[r * 2 * s->n_value + h] = t->grads[(r * 2 + 1) * s->n_value + h] = 0;
		for (int64_t d0 = 0; d0 < s->value; d0 += HTH_DELTA_COLS)
			back_block(t, &w, h, d0);
		back_gates(t, h);
	}
	back_norms(t, kh);
}

enum hth_status cpu_delta_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *c = cpu_device(dev);
	const struct hth_delta_backward_args *a = args;
	struct delta_backward t = {.d = shared_of(a), .a = a};
	struct cpu_scratch s = {scratch, 0};

	(void)err;
	t.d.k = &c->kernels.k;
	layout(&t, &s, hth_pool_threads(c->pool));
	cpu_delta_prepare(c, &t.d);
	hth_pool_run(c->pool, backward_task, &t, a->shape.n_key);
	return HTH_OK;
}
