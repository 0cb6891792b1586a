/* The gated delta rule, forward; definition in backend/ref/delta.c. A task is one value head and some columns of it, all
 * segments in order: the state of the block (16 KB with keys of 128) stays in the L1 cache while tokens go by. Work is the
 * same for each token whatever the length, 7 operations a number of the state; cutting the sequence into chunks would add
 * products and save none here, where the state is at hand. */
#include "backend/cpu/delta_int.h"

#include <math.h>
#include <string.h>

enum { PREPARE_ROWS = 16 }; /* of a task */

static int64_t count_kept(const struct hth_batch *b, int32_t *keeps)
{
	int64_t n = 0;

	for (int32_t i = 0; i < b->n_segments; i++) {
		bool parent = false;
		/* Segments are few or children follow their parents soon: no table of parents is worth its memory. */
		for (int32_t j = i + 1; j < b->n_segments && !parent; j++)
			parent = b->segments[j].parent == i;
		if (keeps != NULL)
			keeps[i] = parent ? (int32_t)n : -1;
		n += parent;
	}
	return n;
}

void cpu_delta_layout(struct cpu_delta *d, struct cpu_scratch *s)
{
	d->qk = cpu_take(s, d->x.rows * 2 * d->s.n_key * d->s.key);
	d->gates = cpu_take(s, d->x.rows * 2 * d->s.n_value);
	d->keeps = (int32_t *)(void *)cpu_take(s, d->batch->n_segments);
	d->n_kept = count_kept(d->batch, d->keeps);
}

static void prepare_task(void *ctx, int64_t task, int thread)
{
	const struct cpu_delta *d = ctx;
	const struct hth_delta_shape *s = &d->s;
	int64_t last = cpu_min(task * PREPARE_ROWS + PREPARE_ROWS, d->x.rows), keys = s->n_key * s->key;
	float scale = 1 / sqrtf((float)s->key);

	(void)thread;
	for (int64_t r = task * PREPARE_ROWS; r < last; r++) {
		float *qk = d->qk + r * 2 * keys, *gates = d->gates + r * 2 * s->n_value;
		for (int64_t at = 0; at < 2 * keys; at += s->key) {
			const float *x = cpu_row(d->x, r) + at;
			float factor = cpu_delta_factor(d->k, x, s->key);
			d->k->scale(at < keys ? factor * scale : factor, x, qk + at, s->key);
		}
		for (int64_t h = 0; h < s->n_value; h++) {
			double soft = cpu_softplus((double)cpu_row(d->a, r)[h] + (double)d->dt[h]);
			gates[h] = (float)exp(-exp((double)d->a_log[h]) * soft);
			gates[s->n_value + h] = (float)(1 / (1 + exp(-(double)cpu_row(d->b, r)[h])));
		}
	}
}

void cpu_delta_prepare(const struct cpu_device *dev, struct cpu_delta *d)
{
	hth_pool_run(dev->pool, prepare_task, d, cpu_ceil(d->x.rows, PREPARE_ROWS));
}

struct hth_delta_run cpu_delta_run(const struct cpu_delta *d, int64_t h, int64_t d0, int64_t row, int64_t n)
{
	const struct hth_delta_shape *s = &d->s;
	int64_t keys = s->n_key * s->key, kh = hth_delta_key_head(s, h);

	return (struct hth_delta_run){
		.n = n,
		.keys = s->key,
		.cols = cpu_min(HTH_DELTA_COLS, s->value - d0),
		.q = d->qk + row * 2 * keys + kh * s->key,
		.k = d->qk + row * 2 * keys + keys + kh * s->key,
		.ldk = 2 * keys,
		.v = cpu_row(d->x, row) + 2 * keys + h * s->value + d0,
		.ldv = d->x.cols,
		.decay = d->gates + row * 2 * s->n_value + h,
		.beta = d->gates + row * 2 * s->n_value + s->n_value + h,
		.ldg = 2 * s->n_value,
	};
}

struct delta {
	struct cpu_delta d;
	const struct hth_delta_args *a;
	struct cpu_move *moves; // (segments)
	float *room;            // (threads,1+kept,Dk,HTH_DELTA_COLS)
	int64_t thread_elems;
};

static struct cpu_delta shared_of(const struct hth_delta_args *a)
{
	return (struct cpu_delta){.batch = a->batch,
	                          .s = a->shape,
	                          .a_log = cpu_vector(a->a_log),
	                          .dt = cpu_vector(a->dt),
	                          .x = a->x,
	                          .a = a->a,
	                          .b = a->b};
}

static void layout(struct delta *t, struct cpu_scratch *s, int threads)
{
	int64_t moves = t->a->batch->n_segments * (int64_t)(sizeof(struct cpu_move) / sizeof(float));

	cpu_delta_layout(&t->d, s);
	t->moves = (struct cpu_move *)(void *)cpu_take(s, moves);
	t->thread_elems = (1 + t->d.n_kept) * cpu_delta_block(&t->d.s);
	t->room = cpu_take(s, threads * t->thread_elems);
}

void cpu_delta_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_delta_args *a = args;
	struct delta t = {.d = shared_of(a), .a = a};
	struct cpu_scratch s = {NULL, 0};

	layout(&t, &s, m->threads);
	out->flops = 7 * (double)(a->x.rows * a->shape.n_value * a->shape.key * a->shape.value);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->y);
	out->scratch_bytes = s.bytes;
}

/* The block's part of a remembered state: columns d0.. of (Dk,Dv). */
static void read_block(const struct hth_delta_shape *s, const float *from, int64_t d0, float *block)
{
	size_t bytes = (size_t)cpu_min(HTH_DELTA_COLS, s->value - d0) * sizeof(float);

	for (int64_t i = 0; i < s->key; i++)
		memcpy(block + i * HTH_DELTA_COLS, from + i * s->value + d0, bytes);
}

static void write_block(const struct hth_delta_shape *s, const float *block, int64_t d0, float *to)
{
	size_t bytes = (size_t)cpu_min(HTH_DELTA_COLS, s->value - d0) * sizeof(float);

	for (int64_t i = 0; i < s->key; i++)
		memcpy(to + i * s->value + d0, block + i * HTH_DELTA_COLS, bytes);
}

static void delta_task(void *ctx, int64_t task, int thread)
{
	const struct delta *t = ctx;
	const struct hth_delta_shape *s = &t->d.s;
	int64_t h = task / cpu_delta_blocks(s), d0 = task % cpu_delta_blocks(s) * HTH_DELTA_COLS;
	int64_t elems = cpu_delta_block(s), head = s->key * s->value;
	float *block = t->room + thread * t->thread_elems, *kept = block + elems;

	for (int32_t i = 0; i < t->d.batch->n_segments; i++) {
		const struct hth_segment *g = &t->d.batch->segments[i];
		struct hth_delta_run run = cpu_delta_run(&t->d, h, d0, g->start, g->len);
		run.y = cpu_row(t->a->y, g->start) + h * s->value + d0;
		run.ldy = t->a->y.cols;
		if (g->parent >= 0)
			memcpy(block, kept + t->d.keeps[g->parent] * elems, (size_t)elems * sizeof(float));
		else
			memset(block, 0, (size_t)elems * sizeof(float));
		if (t->moves[i].from != NULL)
			read_block(s, t->moves[i].from + h * head, d0, block);
		t->d.k->delta(&run, block);
		if (t->moves[i].to != NULL)
			write_block(s, block, d0, t->moves[i].to + h * head);
		if (t->d.keeps[i] >= 0)
			memcpy(kept + t->d.keeps[i] * elems, block, (size_t)elems * sizeof(float));
	}
}

enum hth_status cpu_delta(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *c = cpu_device(dev);
	const struct hth_delta_args *a = args;
	struct delta t = {.d = shared_of(a), .a = a};
	struct cpu_scratch s = {scratch, 0};

	t.d.k = &c->kernels.k;
	layout(&t, &s, hth_pool_threads(c->pool));
	enum hth_status st = cpu_find_moves(a->batch, a->layer, HTH_RECURRENT_DELTA,
	                                    a->shape.n_value * a->shape.key * a->shape.value, t.moves, err);
	if (st != HTH_OK)
		return st;
	cpu_delta_prepare(c, &t.d);
	hth_pool_run(c->pool, delta_task, &t, a->shape.n_value * cpu_delta_blocks(&a->shape));
	return HTH_OK;
}
