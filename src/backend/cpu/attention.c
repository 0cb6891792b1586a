/* Softmax attention over spans, forward; definition in backend/ref/attention.c.
 *
 * A task has up to 192 query rows: the query heads that share one kv head, for some tokens of one segment. It walks the
 * segment's spans in blocks of CPU_ATTN_KEYS keys with an online softmax: for each block of mr rows, scores s = q k^T, the
 * running maximum and sum, then o = o * exp(old - new maximum) + p v. Keys of the batch are packed once a task; a
 * state's are read as they lie (state.h). Memory is linear in T: a fixed buffer for each thread.
 *
 * A few rows behind a long past (decoding) would be no more tasks than there are kv heads: their past is cut into units
 * of one block of keys, each a task that leaves its part of the sum, and the parts are put together in their order. */
#include "backend/cpu/attention_int.h"
#include "backend/cpu/state.h"

#include <math.h>
#include <string.h>

double cpu_attn_pairs(const struct hth_batch *b, const struct hth_attention_shape *s)
{
	double pairs = 0;

	for (int32_t i = 0; i < b->n_spans; i++) {
		double q = b->spans[i].q_len, k = b->spans[i].k_len;
		if (s->window > 0 && k > (double)s->window)
			k = (double)s->window;
		pairs += b->spans[i].causal && k == q ? q * (q + 1) / 2 : q * k;
	}
	return pairs;
}

int64_t cpu_attn_tasks(const struct hth_batch *b, int64_t n_kv, int64_t block)
{
	int64_t n = 0;

	for (int32_t i = 0; i < b->n_segments; i++)
		n += cpu_ceil(b->segments[i].len, block);
	return n * n_kv;
}

struct cpu_attn_task cpu_attn_task(const struct hth_batch *b, int64_t n_kv, int64_t block, int64_t task)
{
	int64_t at = task / n_kv;
	int32_t i = 0;

	while (at >= cpu_ceil(b->segments[i].len, block))
		at -= cpu_ceil(b->segments[i++].len, block);
	const struct hth_segment *g = &b->segments[i];
	return (struct cpu_attn_task){i, g->start + at * block, cpu_min(block, g->len - at * block), task % n_kv};
}

/* The key's place in its sequence: a state's rows are 0, 1, 2, ... */
static int64_t key_position(const struct hth_batch *b, const struct hth_span *span, int64_t key)
{
	return span->state >= 0 ? key : b->positions[key];
}

void cpu_attn_visible(const struct hth_batch *b, const struct hth_attention_shape *s, const struct hth_span *span,
		      int64_t row, int64_t first, int64_t n, int64_t *lo, int64_t *hi)
{
	int64_t from = span->k_start, to = (int64_t)span->k_start + span->k_len;

	if (span->causal)
		to = cpu_min(to, row + 1);
	*lo = from > first ? from - first : 0;
	*hi = cpu_min(n, to - first);
	while (s->window > 0 && *lo < *hi && b->positions[row] - key_position(b, span, first + *lo) >= s->window)
		++*lo;
	if (*hi < *lo)
		*hi = *lo;
}

void cpu_attn_seeing(const struct hth_batch *b, const struct hth_attention_shape *s, const struct hth_span *span,
		     int64_t key, int64_t first, int64_t n, int64_t *lo, int64_t *hi)
{
	*lo = *hi = 0;
	if (key < span->k_start || key >= (int64_t)span->k_start + span->k_len)
		return;
	if (span->causal && key > first)
		*lo = cpu_min(key - first, n);
	*hi = n;
	while (s->window > 0 && *hi > *lo && b->positions[first + *hi - 1] - b->positions[key] >= s->window)
		--*hi;
}

void cpu_attn_straight(const struct hth_kernels *k, const float *x, int64_t ld, int64_t n, int64_t head, int64_t depth,
		       float *panels)
{
	int64_t nr = k->product.nr, words = cpu_words(cpu_tile_of_kernels(k), depth);

	for (int64_t c = 0; c < head; c += nr)
		k->product.pack_b_rows(x + c, ld, n, cpu_min(nr, head - c), panels + c * words);
}

struct attention {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_attention_args *a;
	struct cpu_tile tile;
	int64_t group, block; /* query heads a kv head; tokens a task */
	int64_t words;        /* of D numbers */
	uint64_t thread_elems;
	float *works;
	float *parts; // of segments in several units: (units,K) each of (rows,D) sums, then (rows) top, (rows) sum
};

/* One thread's buffers; rows are g * n + i for query head g of the group and token i. */
struct work {
	float *q;         // (rows,D) scaled, then packed by row blocks in qa
	float *qa;        // (rows,D) words
	float *keys;      // (KEYS,D) words, panels
	float *values;    // (KEYS,width) words, panels
	float *s;         // (mr,KEYS)
	float *p;         // (KEYS,mr) words
	float *o;         // (rows,D)
	float *top, *sum; // (rows)
};

static void cut(struct attention *t, struct cpu_tile tile)
{
	const struct hth_attention_shape *s = &t->a->shape;

	t->tile = tile;
	t->words = cpu_words(tile, s->head);
	t->group = s->n_head / s->n_kv;
	t->block = t->group < CPU_ATTN_ROWS ? CPU_ATTN_ROWS / t->group : 1;
}

static struct work carve(const struct attention *t, struct cpu_scratch *s)
{
	int64_t head = t->a->shape.head, rows = t->group * t->block, mr = t->tile.mr;
	struct work w;

	w.q = cpu_take(s, rows * head);
	w.qa = cpu_take(s, cpu_packed_elems(t->tile, rows, head));
	w.keys = cpu_take(s, CPU_ATTN_KEYS * t->words);
	w.values = cpu_take(s, cpu_words(t->tile, CPU_ATTN_KEYS) * cpu_attn_width(t->tile, head));
	w.s = cpu_take(s, mr * CPU_ATTN_KEYS);
	w.p = cpu_take(s, mr * CPU_ATTN_KEYS);
	w.o = cpu_take(s, rows * head);
	w.top = cpu_take(s, rows);
	w.sum = cpu_take(s, rows);
	return w;
}

/* Blocks of its state's keys that the few rows of a segment look at, each a unit of its own: first .. first+n-1; n is 1
 * where the keys are not cut. */
struct units {
	int64_t first, n;
};

static struct units units_of(const struct attention *t, int32_t segment)
{
	const struct hth_batch *b = t->a->batch;
	const struct hth_segment *g = &b->segments[segment];
	const struct hth_span *past = &b->spans[b->span_begin[segment]]; /* a state's span is the first */
	int64_t window = t->a->shape.window, from = past->k_start, end = from + past->k_len;

	if (past->state < 0 || g->len * t->group > t->tile.mr)
		return (struct units){0, 1};
	if (window > 0 && b->positions[g->start] - window + 1 > from)
		from = cpu_min(b->positions[g->start] - window + 1, end);
	from /= CPU_ATTN_KEYS;
	end = cpu_ceil(end, CPU_ATTN_KEYS);
	return (struct units){from, end > from + 1 ? end - from : 1};
}

static int64_t part_elems(const struct attention *t, int64_t rows)
{
	return rows * (t->a->shape.head + 2);
}

/* Tasks of a segment: row blocks, or units of the only one, for each kv head. */
static int64_t segment_tasks(const struct attention *t, int32_t segment, int64_t units)
{
	return cpu_ceil(t->a->batch->segments[segment].len, t->block) * units * t->a->shape.n_kv;
}

/* Floats of the parts of segments before `segment`. */
static int64_t parts_before(const struct attention *t, int32_t segment)
{
	int64_t elems = 0;

	for (int32_t i = 0; i < segment; i++) {
		int64_t n = units_of(t, i).n;
		if (n > 1)
			elems += n * t->a->shape.n_kv * part_elems(t, t->group * t->a->batch->segments[i].len);
	}
	return elems;
}

static void layout(struct attention *t, struct cpu_scratch *s, int threads)
{
	struct cpu_scratch one = {0};

	carve(t, &one);
	t->thread_elems = one.bytes / sizeof(float);
	t->works = cpu_take(s, (int64_t)t->thread_elems * threads);
	t->parts = cpu_take(s, parts_before(t, t->a->batch->n_segments));
}

void cpu_attention_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct attention t = {.a = args};
	struct cpu_scratch s = {0};

	out->flops = 4 * cpu_attn_pairs(t.a->batch, &t.a->shape) * (double)t.a->q.cols;
	out->bytes_moved = cpu_bytes(t.a->q) + cpu_bytes(t.a->k) + cpu_bytes(t.a->v) + cpu_bytes(t.a->y);
	for (int32_t i = 0; i < t.a->batch->n_spans; i++)
		if (t.a->batch->spans[i].state >= 0)
			out->bytes_moved += 4.0 * t.a->batch->spans[i].k_len * (double)t.a->k.cols;
	cut(&t, cpu_tile_of_machine(m));
	layout(&t, &s, m->threads);
	out->scratch_bytes = s.bytes;
}

/* Task: one segment and kv head: its keys and values go to rows past .. past+len-1. */
static void append_task(void *ctx, int64_t task, int thread)
{
	const struct attention *t = ctx;
	const struct hth_attention_args *a = t->a;
	const struct hth_segment *g = &a->batch->segments[task / a->shape.n_kv];

	(void)thread;
	if (g->state >= 0)
		cpu_state_append(t->k, a, g, task % a->shape.n_kv);
}

/* --- attention of one task -------------------------------------------------------------------------------------- */

/* Panels of a block of keys: keys (D,nr) each nr keys; values (CPU_ATTN_KEYS,nr) each nr columns. A state's in f32 hold f16
 * numbers in the places of words. */
struct block {
	const float *keys, *values;
	bool half;
	int64_t first, n;
};

/* As the product's tile, of panel words from `at` on. */
static void tile_of(const struct attention *t, const struct block *b, int64_t m, int64_t n, int64_t k, const float *x,
		    const float *panels, int64_t at, float *c, int64_t ldc, bool add)
{
	if (b->half)
		t->k->product.tile_half(m, n, k, x, (const uint16_t *)(const void *)panels + at, c, ldc, add);
	else
		t->k->product.tile(m, n, k, x, panels + at, c, ldc, add);
}

static const float *sinks_of(const struct hth_attention_shape *s)
{
	return cpu_vector(s->sinks); /* (H) */
}

static void begin(const struct attention *t, const struct cpu_attn_task *task, bool with_sinks, const struct work *w)
{
	const struct hth_attention_shape *s = &t->a->shape;
	int64_t head = s->head, rows = t->group * task->n;
	const float *sinks = with_sinks ? sinks_of(s) : NULL;

	for (int64_t r = 0; r < rows; r++) {
		int64_t h = task->kv_head * t->group + r / task->n;
		t->k->scale(s->scale, cpu_row(t->a->q, task->first + r % task->n) + h * head, w->q + r * head, head);
		w->top[r] = sinks != NULL ? sinks[h] : -INFINITY;
		w->sum[r] = sinks != NULL ? 1 : 0;
	}
	for (int64_t r = 0; r < rows; r += t->tile.mr)
		t->k->product.pack_a(w->q + r * head, head, cpu_min(t->tile.mr, rows - r), head, w->qa + r * t->words);
	memset(w->o, 0, (size_t)(rows * head) * sizeof *w->o);
}

/* Row r's scores s (lo .. hi-1 visible) become exp(s - top), zero in from .. to-1 elsewhere; top, sum and o follow. */
static void softmax_row(const struct attention *t, int64_t r, float *s, int64_t from, int64_t to, int64_t lo,
			int64_t hi, const struct work *w)
{
	const struct hth_kernels *k = t->k;
	int64_t head = t->a->shape.head;

	if (lo >= hi) {
		memset(s + from, 0, (size_t)(to - from) * sizeof *s);
		return;
	}
	if (t->a->shape.soft_cap > 0)
		k->softcap(t->a->shape.soft_cap, s + lo, hi - lo);
	float top = k->max(s + lo, hi - lo);
	top = w->top[r] > top ? w->top[r] : top;
	float factor = expf(w->top[r] - top);
	memset(s + from, 0, (size_t)(lo - from) * sizeof *s);
	w->sum[r] = w->sum[r] * factor + k->exp_sum(s + lo, top, s + lo, hi - lo);
	memset(s + hi, 0, (size_t)(to - hi) * sizeof *s);
	w->top[r] = top;
	if (factor != 1)
		k->scale(factor, w->o + r * head, w->o + r * head, head);
}

/* One block of keys for rows r .. r+m-1 (a row block). */
static void attend_rows(const struct attention *t, const struct cpu_attn_task *task, const struct hth_span *span,
			const struct block *b, int64_t r, int64_t m, const struct work *w)
{
	const struct hth_attention_shape *s = &t->a->shape;
	int64_t head = s->head, nr = t->tile.nr, from = b->n, to = 0;
	int64_t lo[HTH_KERNEL_MAX_MR], hi[HTH_KERNEL_MAX_MR];

	for (int64_t i = 0; i < m; i++) {
		cpu_attn_visible(t->a->batch, s, span, task->first + (r + i) % task->n, b->first, b->n, &lo[i], &hi[i]);
		if (lo[i] < hi[i]) {
			from = cpu_min(from, lo[i]);
			to = hi[i] > to ? hi[i] : to;
		}
	}
	if (from >= to)
		return;
	from = from / nr * nr;
	for (int64_t j = from; j < to; j += nr)
		tile_of(t, b, m, cpu_min(nr, to - j), head, w->qa + r * t->words, b->keys, j * t->words, w->s + j,
			CPU_ATTN_KEYS, false);
	for (int64_t i = 0; i < m; i++)
		softmax_row(t, r + i, w->s + i * CPU_ATTN_KEYS, from, to, lo[i], hi[i], w);
	t->k->product.pack_a(w->s + from, CPU_ATTN_KEYS, m, to - from, w->p);
	for (int64_t c = 0; c < head; c += nr)
		tile_of(t, b, m, cpu_min(nr, head - c), to - from, w->p, b->values,
			c * cpu_words(t->tile, CPU_ATTN_KEYS) + cpu_words(t->tile, from) * nr, w->o + r * head + c,
			head, true);
}

static void attend_block(const struct attention *t, const struct cpu_attn_task *task, const struct hth_span *span,
			 const struct block *b, const struct work *w)
{
	int64_t rows = t->group * task->n, mr = t->tile.mr;

	for (int64_t r = 0; r < rows; r += mr)
		attend_rows(t, task, span, b, r, cpu_min(mr, rows - r), w);
}

/* False when no query of the task sees any of keys first .. first+n-1: before the window or after the last query. */
static bool is_any_visible(const struct attention *t, const struct cpu_attn_task *task, const struct hth_span *span,
			   int64_t first, int64_t n)
{
	const int32_t *positions = t->a->batch->positions;

	if (span->causal && first > task->first + task->n - 1)
		return false;
	return t->a->shape.window == 0 ||
	       positions[task->first] - key_position(t->a->batch, span, first + n - 1) < t->a->shape.window;
}

/* Panels of n keys of a state from `first` on, a multiple of CPU_ATTN_KEYS. */
static struct block past_block(const struct attention *t, const struct hth_span *span, int64_t kv_head, int64_t first,
			       int64_t n)
{
	const struct cpu_state *state = (const struct cpu_state *)t->a->batch->states[span->state];
	uint8_t *keys = cpu_state_block(state, t->a->layer, kv_head, first);

	return (struct block){.keys = (const float *)(const void *)keys,
			      .values = (const float *)(const void *)cpu_state_values(state, t->a->layer, keys),
			      .half = t->tile.pair == 1 && cpu_state_number(state, t->tile) == 2,
			      .first = first,
			      .n = n};
}

/* The same of the batch's rows, packed here. */
static struct block packed_block(const struct attention *t, int64_t kv_head, int64_t first, int64_t n,
				 const struct work *w)
{
	const struct hth_attention_args *a = t->a;
	int64_t head = a->shape.head, nr = t->tile.nr;
	const float *k = cpu_row(a->k, first) + kv_head * head;

	for (int64_t j = 0; j < n; j += nr)
		t->k->product.pack_b(k + j * a->k.cols, a->k.cols, cpu_min(nr, n - j), head, w->keys + j * t->words);
	cpu_attn_straight(t->k, cpu_row(a->v, first) + kv_head * head, a->v.cols, n, head, CPU_ATTN_KEYS, w->values);
	return (struct block){.keys = w->keys, .values = w->values, .first = first, .n = n};
}

/* Keys from .. end-1 of a span. */
static void attend_span(const struct attention *t, const struct cpu_attn_task *task, const struct hth_span *span,
			int64_t from, int64_t end, const struct work *w)
{
	if (span->state >= 0)
		from = from / CPU_ATTN_KEYS * CPU_ATTN_KEYS; /* where its blocks begin */
	for (int64_t first = from; first < end; first += CPU_ATTN_KEYS) {
		int64_t n = cpu_min(CPU_ATTN_KEYS, end - first);
		if (!is_any_visible(t, task, span, first, n))
			continue;
		struct block b = span->state >= 0 ? past_block(t, span, task->kv_head, first, n)
						  : packed_block(t, task->kv_head, first, n, w);
		attend_block(t, task, span, &b, w);
	}
}

/* The spans of a task's segment, or one unit of the state's and with the last unit all the others. */
static void attend_spans(const struct attention *t, const struct cpu_attn_task *task, struct units units, int64_t unit,
			 const struct work *w)
{
	const struct hth_batch *b = t->a->batch;
	int32_t i = b->span_begin[task->segment];

	if (units.n > 1) {
		const struct hth_span *past = &b->spans[i++];
		int64_t first = (units.first + unit) * CPU_ATTN_KEYS, end = (int64_t)past->k_start + past->k_len;
		attend_span(t, task, past, first > past->k_start ? first : past->k_start,
			    cpu_min(end, first + CPU_ATTN_KEYS), w);
		if (unit < units.n - 1)
			return;
	}
	for (; i < b->span_begin[task->segment + 1]; i++)
		attend_span(t, task, &b->spans[i], b->spans[i].k_start, (int64_t)b->spans[i].k_start + b->spans[i].k_len,
			    w);
}

/* Row r of a task is done: o (D) over sum becomes y, and the log of the sum over all keys is kept. */
static void finish_row(const struct attention *t, const struct cpu_attn_task *task, int64_t r, const float *o,
		       float top, float sum)
{
	const struct hth_attention_args *a = t->a;
	int64_t h = task->kv_head * t->group + r / task->n, row = task->first + r % task->n;

	t->k->scale(1 / sum, o, cpu_row(a->y, row) + h * a->shape.head, a->shape.head);
	if (hth_tensor_is(a->lse))
		cpu_row(a->lse, row)[h] = top + logf(sum);
}

static void attend_task(void *ctx, int64_t number, int thread)
{
	const struct attention *t = ctx;
	struct cpu_scratch s = {.base = (uint8_t *)(t->works + (uint64_t)thread * t->thread_elems)};
	struct work w = carve(t, &s);
	int32_t segment = 0;
	struct units units = units_of(t, 0);

	while (number >= segment_tasks(t, segment, units.n)) {
		number -= segment_tasks(t, segment, units.n);
		units = units_of(t, ++segment);
	}
	const struct hth_segment *g = &t->a->batch->segments[segment];
	int64_t n_kv = t->a->shape.n_kv, at = number / n_kv, row = units.n > 1 ? 0 : at * t->block;
	struct cpu_attn_task task = {segment, g->start + row, cpu_min(t->block, g->len - row), number % n_kv};
	int64_t rows = t->group * task.n, head = t->a->shape.head;
	begin(t, &task, units.n == 1 || at == 0, &w);
	attend_spans(t, &task, units, at, &w);
	if (units.n == 1) {
		for (int64_t r = 0; r < rows; r++)
			finish_row(t, &task, r, w.o + r * head, w.top[r], w.sum[r]);
		return;
	}
	float *part = t->parts + parts_before(t, segment) + number * part_elems(t, rows);
	memcpy(part, w.o, (size_t)(rows * head) * sizeof *part);
	memcpy(part + rows * head, w.top, (size_t)rows * sizeof *part);
	memcpy(part + rows * (head + 1), w.sum, (size_t)rows * sizeof *part);
}

/* Puts the units of one segment and kv head together: unit 0 takes the others up. */
static void join(const struct attention *t, int32_t segment, int64_t units, int64_t kv_head)
{
	const struct hth_segment *g = &t->a->batch->segments[segment];
	struct cpu_attn_task task = {segment, g->start, g->len, kv_head};
	int64_t rows = t->group * g->len, head = t->a->shape.head, step = t->a->shape.n_kv * part_elems(t, rows);
	float *first = t->parts + parts_before(t, segment) + kv_head * part_elems(t, rows);

	for (int64_t r = 0; r < rows; r++) {
		float *o = first + r * head, top = first[rows * head + r], sum = 0;
		for (int64_t u = 1; u < units; u++)
			top = fmaxf(top, first[u * step + rows * head + r]);
		for (int64_t u = 0; u < units; u++) {
			const float *part = first + u * step;
			float factor = expf(part[rows * head + r] - top);
			sum += factor * part[rows * (head + 1) + r];
			if (u == 0)
				t->k->scale(factor, o, o, head);
			else
				t->k->axpy(factor, part + r * head, o, head);
		}
		finish_row(t, &task, r, o, top, sum);
	}
}

enum hth_status cpu_attention(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct attention t = {.dev = d, .k = &d->kernels.k, .a = args};
	const struct hth_batch *b = t.a->batch;
	struct cpu_scratch s = {.base = scratch};
	int64_t tasks = 0;
	bool stateful = false;

	cut(&t, cpu_tile_of_device(d));
	layout(&t, &s, hth_pool_threads(d->pool));
	for (int32_t i = 0; i < b->n_segments; i++) {
		enum hth_status rc = b->segments[i].state >= 0 ? cpu_state_check(t.a, &b->segments[i], err) : HTH_OK;
		if (rc != HTH_OK)
			return rc;
		stateful = stateful || b->segments[i].state >= 0;
		tasks += segment_tasks(&t, i, units_of(&t, i).n);
	}
	if (stateful && !t.a->shape.shared)
		hth_pool_run(d->pool, append_task, &t, b->n_segments * t.a->shape.n_kv);
	hth_pool_run(d->pool, attend_task, &t, tasks);
	for (int32_t i = 0; stateful && i < b->n_segments; i++) {
		int64_t units = units_of(&t, i).n;
		for (int64_t kv = 0; units > 1 && kv < t.a->shape.n_kv; kv++)
			join(&t, i, units, kv);
	}
	return HTH_OK;
}
