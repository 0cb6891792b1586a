/* Gradients of attention; definition in backend/ref/attention.c. p = exp(s - lse) is made again; ds = p (dp - delta),
 * delta = dy.y, and through the soft cap ds (1 - (s / cap)^2).
 *
 * Two passes, so that no two tasks write the same memory and every sum has one order:
 *   by queries  (tasks as forward): s = q k^T, dp = dy v^T, dq = scale * sum ds k
 *   by keys     (tasks of 128 keys of one kv head): transposed, s^T = k q^T, dp^T = v dy^T, dv = sum p^T dy,
 *               dk = sum ds^T (scale q), over every span that shows these keys, its query blocks, and the group's heads
 */
#include "backend/cpu/attention_int.h"

#include <math.h>
#include <string.h>

enum { KEYS = CPU_ATTN_KEYS };

struct backward {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_attention_backward_args *a;
	struct cpu_tile tile;
	int64_t group, block, rows; /* query heads a kv head; tokens of a query task; their product */
	int64_t words;              /* of D numbers */
	uint64_t thread_elems;
	float *delta; // (T,H)
	float *works;
};

/* One thread's buffers, for either pass. */
struct work {
	float *x, *y;       // (rows or KEYS,D) rows as copied: scaled q, dy
	float *xa, *ya;     // (rows or KEYS,D) words, blocks of mr rows: q and dy, or k and v
	float *kt, *vt;     // (KEYS,D) words, panels, transposed: k and v, or q and dy
	float *ks, *vs;     // (KEYS,width) words, panels, straight
	float *s, *dp;      // (mr,KEYS)
	float *p;           // (KEYS,mr) words; with a soft cap also (KEYS) numbers
	float *out, *out2;  // (rows or KEYS,D)
	float *lse, *delta; // (KEYS)
};

static void cut(struct backward *t, struct cpu_tile tile)
{
	const struct hth_attention_shape *s = &t->a->shape;

	t->tile = tile;
	t->words = cpu_words(tile, s->head);
	t->group = s->n_head / s->n_kv;
	t->block = t->group < CPU_ATTN_ROWS ? CPU_ATTN_ROWS / t->group : 1;
	t->rows = t->group * t->block;
}

static struct work carve(const struct backward *t, struct cpu_scratch *s)
{
	int64_t head = t->a->shape.head, mr = t->tile.mr, width = cpu_attn_width(t->tile, head);
	int64_t rows = t->rows > KEYS ? t->rows : KEYS, deep = cpu_words(t->tile, KEYS);
	struct work w;

	w.x = cpu_take(s, rows * head);
	w.y = cpu_take(s, rows * head);
	w.xa = cpu_take(s, cpu_packed_elems(t->tile, rows, head));
	w.ya = cpu_take(s, cpu_packed_elems(t->tile, rows, head));
	w.kt = cpu_take(s, KEYS * t->words);
	w.vt = cpu_take(s, KEYS * t->words);
	w.ks = cpu_take(s, deep * width);
	w.vs = cpu_take(s, deep * width);
	w.s = cpu_take(s, mr * KEYS);
	w.dp = cpu_take(s, mr * KEYS);
	w.p = cpu_take(s, mr * KEYS);
	w.out = cpu_take(s, rows * head);
	w.out2 = cpu_take(s, rows * head);
	w.lse = cpu_take(s, KEYS);
	w.delta = cpu_take(s, KEYS);
	return w;
}

static void layout(struct backward *t, struct cpu_scratch *s, int threads)
{
	struct cpu_scratch one = {0};

	carve(t, &one);
	t->thread_elems = one.bytes / sizeof(float);
	t->delta = cpu_take(s, t->a->q.rows * t->a->shape.n_head);
	t->works = cpu_take(s, (int64_t)t->thread_elems * threads);
}

void cpu_attention_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct backward t = {.a = args};
	struct cpu_scratch s = {0};

	out->flops = 10 * cpu_attn_pairs(t.a->batch, &t.a->shape) * (double)t.a->q.cols;
	out->bytes_moved = 2 * (cpu_bytes(t.a->q) + cpu_bytes(t.a->k) + cpu_bytes(t.a->v) + cpu_bytes(t.a->y));
	cut(&t, cpu_tile_of_machine(m));
	layout(&t, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

static struct work work_of(const struct backward *t, int thread)
{
	struct cpu_scratch s = {.base = (uint8_t *)(t->works + (uint64_t)thread * t->thread_elems)};

	return carve(t, &s);
}

enum { DELTA_ROWS = 32 };

static void delta_task(void *ctx, int64_t task, int thread)
{
	const struct backward *t = ctx;
	int64_t head = t->a->shape.head, heads = t->a->shape.n_head;

	(void)thread;
	for (int64_t r = task * DELTA_ROWS; r < cpu_min(task * DELTA_ROWS + DELTA_ROWS, t->a->q.rows); r++)
		for (int64_t h = 0; h < heads; h++)
			t->delta[r * heads + h] =
				t->k->dot(cpu_row(t->a->dy, r) + h * head, cpu_row(t->a->y, r) + h * head, head);
}

static void pack_rows(const struct backward *t, const float *x, int64_t n, float *packed)
{
	int64_t head = t->a->shape.head, mr = t->tile.mr;

	for (int64_t r = 0; r < n; r += mr)
		t->k->product.pack_a(x + r * head, head, cpu_min(mr, n - r), head, packed + r * t->words);
}

static void pack_panels(const struct backward *t, const float *x, int64_t ld, int64_t n, float *panels)
{
	int64_t head = t->a->shape.head, nr = t->tile.nr;

	for (int64_t j = 0; j < n; j += nr)
		t->k->product.pack_b(x + j * ld, ld, cpu_min(nr, n - j), head, panels + j * t->words);
}

/* c (m, columns from..to-1) = a (m,D) @ panels; rows KEYS apart. */
static void scores(const struct backward *t, const float *a, const float *panels, int64_t m, int64_t from, int64_t to,
		   float *c)
{
	int64_t nr = t->tile.nr, head = t->a->shape.head;

	for (int64_t j = from; j < to; j += nr)
		t->k->product.tile(m, cpu_min(nr, to - j), head, a, panels + j * t->words, c + j, KEYS, false);
}

/* out (m,D) += s (m, from..to-1) @ panels (KEYS deep). */
static void multiply(const struct backward *t, const float *s, const float *panels, int64_t m, int64_t from, int64_t to,
		     float *out, const struct work *w)
{
	int64_t nr = t->tile.nr, head = t->a->shape.head, deep = cpu_words(t->tile, KEYS);

	t->k->product.pack_a(s + from, KEYS, m, to - from, w->p);
	for (int64_t c = 0; c < head; c += nr)
		t->k->product.tile(m, cpu_min(nr, head - c), to - from, w->p,
				   panels + c * deep + cpu_words(t->tile, from) * nr, out + c, head, true);
}

static void clear_outside(float *s, int64_t from, int64_t to, int64_t lo, int64_t hi)
{
	memset(s + from, 0, (size_t)(lo - from) * sizeof *s);
	memset(s + hi, 0, (size_t)(to - hi) * sizeof *s);
}

/* Ranges of m rows: the union in from .. to-1, begun at a panel; false when empty. Empty rows get lo = hi = from. */
static bool join_ranges(int64_t m, int64_t nr, int64_t *lo, int64_t *hi, int64_t *from, int64_t *to)
{
	*from = KEYS;
	*to = 0;
	for (int64_t i = 0; i < m; i++)
		if (lo[i] < hi[i]) {
			*from = cpu_min(*from, lo[i]);
			*to = hi[i] > *to ? hi[i] : *to;
		}
	*from = *from / nr * nr;
	for (int64_t i = 0; i < m; i++)
		if (lo[i] >= hi[i])
			lo[i] = hi[i] = *from;
	return *from < *to;
}

/* --- by queries -------------------------------------------------------------------------------------------------- */

/* Keys first .. first+n-1 for rows r .. r+m-1 of the task. */
static void dq_rows(const struct backward *t, const struct cpu_attn_task *task, const struct hth_span *span,
		    int64_t first, int64_t n, int64_t r, int64_t m, const struct work *w)
{
	const struct hth_attention_shape *shape = &t->a->shape;
	int64_t lo[HTH_KERNEL_MAX_MR], hi[HTH_KERNEL_MAX_MR], from, to, head = shape->head;

	for (int64_t i = 0; i < m; i++)
		cpu_attn_visible(t->a->batch, shape, span, task->first + (r + i) % task->n, first, n, &lo[i], &hi[i]);
	if (!join_ranges(m, t->tile.nr, lo, hi, &from, &to))
		return;
	scores(t, w->xa + r * t->words, w->kt, m, from, to, w->s);
	scores(t, w->ya + r * t->words, w->vt, m, from, to, w->dp);
	for (int64_t i = 0; i < m; i++) {
		int64_t row = task->first + (r + i) % task->n, h = task->kv_head * t->group + (r + i) / task->n;
		int64_t len = hi[i] - lo[i];
		float *s = w->s + i * KEYS + lo[i], *dp = w->dp + i * KEYS + lo[i], lse = cpu_row(t->a->lse, row)[h];
		if (shape->soft_cap > 0) {
			t->k->softcap(shape->soft_cap, s, len);
			(void)t->k->exp_sum(s, lse, w->p, len);
			t->k->softmax_grad(w->p, dp, t->delta[row * shape->n_head + h], dp, len);
			cpu_cap_slope(shape->soft_cap, s, dp, len);
		} else {
			(void)t->k->exp_sum(s, lse, s, len);
			t->k->softmax_grad(s, dp, t->delta[row * shape->n_head + h], dp, len);
		}
		clear_outside(w->dp + i * KEYS, from, to, lo[i], hi[i]);
	}
	multiply(t, w->dp, w->ks, m, from, to, w->out + r * head, w);
}

static void dq_span(const struct backward *t, const struct cpu_attn_task *task, const struct hth_span *span,
		    const struct work *w)
{
	const struct hth_attention_backward_args *a = t->a;
	int64_t head = a->shape.head, end = (int64_t)span->k_start + span->k_len, mr = t->tile.mr;
	int64_t rows = t->group * task->n;
	const int32_t *position = a->batch->positions;

	for (int64_t first = span->k_start; first < end; first += KEYS) {
		int64_t n = cpu_min(KEYS, end - first);
		if (span->causal && first > task->first + task->n - 1)
			break;
		if (a->shape.window > 0 && position[task->first] - position[first + n - 1] >= a->shape.window)
			continue;
		const float *k = cpu_row(a->k, first) + task->kv_head * head,
			    *v = cpu_row(a->v, first) + task->kv_head * head;
		pack_panels(t, k, a->k.cols, n, w->kt);
		pack_panels(t, v, a->v.cols, n, w->vt);
		cpu_attn_straight(t->k, k, a->k.cols, n, head, KEYS, w->ks);
		for (int64_t r = 0; r < rows; r += mr)
			dq_rows(t, task, span, first, n, r, cpu_min(mr, rows - r), w);
	}
}

static void dq_task(void *ctx, int64_t number, int thread)
{
	const struct backward *t = ctx;
	const struct hth_attention_backward_args *a = t->a;
	struct work w = work_of(t, thread);
	struct cpu_attn_task task = cpu_attn_task(a->batch, a->shape.n_kv, t->block, number);
	int64_t head = a->shape.head, rows = t->group * task.n;

	for (int64_t r = 0; r < rows; r++) {
		int64_t row = task.first + r % task.n, at = (task.kv_head * t->group + r / task.n) * head;
		t->k->scale(a->shape.scale, cpu_row(a->q, row) + at, w.x + r * head, head);
		memcpy(w.y + r * head, cpu_row(a->dy, row) + at, (size_t)head * sizeof(float));
	}
	pack_rows(t, w.x, rows, w.xa);
	pack_rows(t, w.y, rows, w.ya);
	memset(w.out, 0, (size_t)(rows * head) * sizeof(float));
	for (int32_t i = a->batch->span_begin[task.segment]; i < a->batch->span_begin[task.segment + 1]; i++)
		dq_span(t, &task, &a->batch->spans[i], &w);
	for (int64_t r = 0; r < rows; r++) {
		int64_t row = task.first + r % task.n, at = (task.kv_head * t->group + r / task.n) * head;
		t->k->scale(a->shape.scale, w.out + r * head, cpu_row(a->dq, row) + at, head);
	}
}

/* --- by keys ----------------------------------------------------------------------------------------------------- */

/* Queries first .. first+n-1 of head h for keys r .. r+m-1 of the task. */
static void dkv_rows(const struct backward *t, const struct cpu_attn_task *task, const struct hth_span *span,
		     int64_t first, int64_t n, int64_t r, int64_t m, const struct work *w)
{
	const struct hth_attention_shape *shape = &t->a->shape;
	int64_t lo[HTH_KERNEL_MAX_MR], hi[HTH_KERNEL_MAX_MR], from, to, head = shape->head;

	for (int64_t i = 0; i < m; i++)
		cpu_attn_seeing(t->a->batch, shape, span, task->first + r + i, first, n, &lo[i], &hi[i]);
	if (!join_ranges(m, t->tile.nr, lo, hi, &from, &to))
		return;
	scores(t, w->xa + r * t->words, w->kt, m, from, to, w->s);
	scores(t, w->ya + r * t->words, w->vt, m, from, to, w->dp);
	for (int64_t i = 0; i < m; i++) {
		int64_t len = hi[i] - lo[i];
		float *s = w->s + i * KEYS + lo[i], *dp = w->dp + i * KEYS + lo[i];
		t->k->add(-1, w->delta + lo[i], dp, dp, len);
		if (shape->soft_cap > 0) {
			t->k->softcap(shape->soft_cap, s, len);
			cpu_cap_slope(shape->soft_cap, s, dp, len);
		}
		t->k->add(-1, w->lse + lo[i], s, s, len);
		(void)t->k->exp_sum(s, 0, s, len);
		t->k->softmax_grad(s, dp, 0, dp, len);
		clear_outside(w->s + i * KEYS, from, to, lo[i], hi[i]);
		clear_outside(w->dp + i * KEYS, from, to, lo[i], hi[i]);
	}
	multiply(t, w->s, w->vs, m, from, to, w->out2 + r * head, w);
	multiply(t, w->dp, w->ks, m, from, to, w->out + r * head, w);
}

/* Query rows first .. first+n-1 of a span, head by head of the group. */
static void dkv_queries(const struct backward *t, const struct cpu_attn_task *task, const struct hth_span *span,
			int64_t first, int64_t n, const struct work *w)
{
	const struct hth_attention_backward_args *a = t->a;
	int64_t head = a->shape.head, heads = a->shape.n_head, mr = t->tile.mr;

	for (int64_t h = task->kv_head * t->group; h < (task->kv_head + 1) * t->group; h++) {
		const float *dy = cpu_row(a->dy, first) + h * head;
		for (int64_t i = 0; i < n; i++) {
			t->k->scale(a->shape.scale, cpu_row(a->q, first + i) + h * head, w->x + i * head, head);
			w->lse[i] = cpu_row(a->lse, first + i)[h];
			w->delta[i] = t->delta[(first + i) * heads + h];
		}
		pack_panels(t, w->x, head, n, w->kt);
		pack_panels(t, dy, a->dy.cols, n, w->vt);
		cpu_attn_straight(t->k, w->x, head, n, head, KEYS, w->ks);
		cpu_attn_straight(t->k, dy, a->dy.cols, n, head, KEYS, w->vs);
		for (int64_t r = 0; r < task->n; r += mr)
			dkv_rows(t, task, span, first, n, r, cpu_min(mr, task->n - r), w);
	}
}

static void dkv_span(const struct backward *t, const struct cpu_attn_task *task, const struct hth_span *span,
		     const struct work *w)
{
	const struct hth_attention_backward_args *a = t->a;
	const int32_t *position = a->batch->positions;
	int64_t end = (int64_t)span->q_start + span->q_len, last_key = task->first + task->n - 1;

	if (span->state >= 0 || task->first >= (int64_t)span->k_start + span->k_len || last_key < span->k_start)
		return;
	for (int64_t first = span->q_start; first < end; first += KEYS) {
		int64_t n = cpu_min(KEYS, end - first);
		if (span->causal && first + n - 1 < task->first)
			continue;
		if (a->shape.window > 0 && position[first] - position[last_key] >= a->shape.window)
			continue;
		dkv_queries(t, task, span, first, n, w);
	}
}

static void dkv_task(void *ctx, int64_t number, int thread)
{
	const struct backward *t = ctx;
	const struct hth_attention_backward_args *a = t->a;
	struct work w = work_of(t, thread);
	struct cpu_attn_task task = cpu_attn_task(a->batch, a->shape.n_kv, KEYS, number);
	int64_t head = a->shape.head, at = task.kv_head * head;

	for (int64_t r = 0; r < task.n; r++) {
		memcpy(w.x + r * head, cpu_row(a->k, task.first + r) + at, (size_t)head * sizeof(float));
		memcpy(w.y + r * head, cpu_row(a->v, task.first + r) + at, (size_t)head * sizeof(float));
	}
	pack_rows(t, w.x, task.n, w.xa);
	pack_rows(t, w.y, task.n, w.ya);
	memset(w.out, 0, (size_t)(task.n * head) * sizeof(float));
	memset(w.out2, 0, (size_t)(task.n * head) * sizeof(float));
	for (int32_t i = 0; i < a->batch->n_spans; i++)
		dkv_span(t, &task, &a->batch->spans[i], &w);
	for (int64_t r = 0; r < task.n; r++) {
		memcpy(cpu_row(a->dk, task.first + r) + at, w.out + r * head, (size_t)head * sizeof(float));
		memcpy(cpu_row(a->dv, task.first + r) + at, w.out2 + r * head, (size_t)head * sizeof(float));
	}
}

static void dsinks(const struct backward *t)
{
	const struct hth_attention_shape *s = &t->a->shape;
	const float *sinks = cpu_vector(s->sinks); /* (H) */

	for (int64_t h = 0; h < s->n_head; h++) {
		double sum = 0;
		for (int64_t r = 0; r < t->a->q.rows; r++)
			sum += exp((double)sinks[h] - cpu_row(t->a->lse, r)[h]) * t->delta[r * s->n_head + h];
		s->sinks->param->grad[h] -= (float)sum;
	}
}

enum hth_status cpu_attention_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct backward t = {.dev = d, .k = &d->kernels.k, .a = args};
	const struct hth_batch *b = t.a->batch;
	int64_t n_kv = t.a->shape.n_kv;
	struct cpu_scratch s = {.base = scratch};

	(void)err;
	cut(&t, cpu_tile_of_device(d));
	layout(&t, &s, hth_pool_threads(d->pool));
	hth_pool_run(d->pool, delta_task, &t, cpu_ceil(t.a->q.rows, DELTA_ROWS));
	hth_pool_run(d->pool, dq_task, &t, cpu_attn_tasks(b, n_kv, t.block));
	hth_pool_run(d->pool, dkv_task, &t, cpu_attn_tasks(b, n_kv, KEYS));
	if (cpu_is_trained(t.a->shape.sinks))
		dsinks(&t);
	return HTH_OK;
}
