/* The derived part of a batch: row sets with their adapter runs, and each segment's key ranges. Checks what the
 * kernels rely on, so that no backend has to: ids are not negative (their upper bound is the vocabulary's, checked by
 * the embed op), segments follow each other, positions are consecutive along every path from a root. */
#include "tensor/batch.h"

#include <math.h>

static enum hth_status check_counts(const struct hth_batch *b, struct hth_err *err)
{
	if (b->n_tokens < 1 || b->ids == NULL || b->positions == NULL)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: found %d tokens, expected at least 1 with ids and positions",
		                b->n_tokens);
	if (b->n_segments < 1 || b->n_segments > b->n_tokens || b->segments == NULL)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: found %d segments, expected 1..%d (one a token at most)",
		                b->n_segments, b->n_tokens);
	if (b->n_outs < 0 || (b->n_outs > 0 && b->outs == NULL))
		return hth_fail(err, HTH_ERR_SHAPE, "batch: found %d outs, expected 0 or an array of them", b->n_outs);
	if (b->n_states < 0)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: found %d states, expected 0 or more", b->n_states);
	return HTH_OK;
}

/* used (n_states): which states earlier segments have taken. */
static enum hth_status check_state(const struct hth_batch *b, int32_t s, bool *used, struct hth_err *err)
{
	const struct hth_segment *g = &b->segments[s];

	if (g->state < 0) {
		if (g->state != -1 || g->past != 0)
			return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d: state %d with past %d, expected -1 with 0", s,
			                g->state, g->past);
		return HTH_OK;
	}
	if (g->parent >= 0)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d: has parent %d and state %d, expected one of them", s,
		                g->parent, g->state);
	if (g->state >= b->n_states || g->past < 0)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d: state %d with past %d, expected 0..%d with 0 or more",
		                s, g->state, g->past, b->n_states - 1);
	if (used[g->state])
		return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d: state %d is appended to by an earlier segment", s,
		                g->state);
	used[g->state] = true;
	return HTH_OK;
}

static enum hth_status check_positions(const struct hth_batch *b, int32_t s, struct hth_err *err)
{
	const struct hth_segment *g = &b->segments[s];
	int64_t want = g->past;

	if (g->parent >= 0) {
		const struct hth_segment *p = &b->segments[g->parent];
		want = (int64_t)b->positions[p->start + p->len - 1] + 1;
	}
	for (int32_t i = 0; i < g->len; i++)
		if (b->positions[g->start + i] != want + i)
			return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d, row %d: position %d, expected %lld", s,
			                g->start + i, b->positions[g->start + i], (long long)(want + i));
	return HTH_OK;
}

static enum hth_status check_segments(const struct hth_batch *b, bool *used, struct hth_err *err)
{
	int64_t start = 0;

	for (int32_t s = 0; s < b->n_segments; s++) {
		const struct hth_segment *g = &b->segments[s];
		if (g->start != start || g->len < 1 || g->len > b->n_tokens - start)
			return hth_fail(err, HTH_ERR_SHAPE,
			                "batch: segment %d: start %d, length %d, expected start %lld and length 1..%lld", s,
			                g->start, g->len, (long long)start, (long long)(b->n_tokens - start));
		if (g->parent < -1 || g->parent >= s)
			return hth_fail(err, HTH_ERR_SHAPE, "batch: segment %d: parent %d, expected -1 or an earlier segment", s,
			                g->parent);
		if (g->adapter < -1 || g->example < 0)
			return hth_fail(err, HTH_ERR_SHAPE,
			                "batch: segment %d: adapter %d, example %d, expected -1 or more, 0 or more", s,
			                g->adapter, g->example);
		if (g->parent >= 0 && g->beyond != b->segments[g->parent].beyond)
			return hth_fail(err, HTH_ERR_SHAPE,
					"batch: segment %d: one of it and its parent %d is beyond the original context, "
					"expected both or none",
					s, g->parent);
		enum hth_status status = check_state(b, s, used, err);
		if (status == HTH_OK)
			status = check_positions(b, s, err);
		if (status != HTH_OK)
			return status;
		start += g->len;
	}
	if (start != b->n_tokens)
		return hth_fail(err, HTH_ERR_SHAPE, "batch: segments cover %lld of %d tokens", (long long)start, b->n_tokens);
	return HTH_OK;
}

static enum hth_status check_rows(const struct hth_batch *b, struct hth_err *err)
{
	for (int32_t t = 0; t < b->n_tokens; t++)
		if (b->ids[t] < 0)
			return hth_fail(err, HTH_ERR_SHAPE, "batch: row %d: token id %d, expected 0 or more", t, b->ids[t]);
	for (int32_t o = 0; o < b->n_outs; o++) {
		const struct hth_out *out = &b->outs[o];
		if (out->row < 0 || out->row >= b->n_tokens)
			return hth_fail(err, HTH_ERR_SHAPE, "batch: out %d: row %d, expected 0..%d", o, out->row,
			                b->n_tokens - 1);
		if (out->target < -1 || !isfinite(out->weight))
			return hth_fail(err, HTH_ERR_SHAPE,
			                "batch: out %d: target %d, weight %g, expected a token id or -1, and a finite weight", o,
			                out->target, (double)out->weight);
	}
	return HTH_OK;
}

/* examples, beyond (R), adapters of rows as runs, all read off the segments. rs->n and rs->index are set. */
static bool fill_rowset(const struct hth_batch *b, struct hth_rowset *rs, struct hth_arena *arena)
{
	int32_t *positions = hth_arena_calloc(arena, (size_t)rs->n, sizeof *positions);
	int32_t *examples = hth_arena_calloc(arena, (size_t)rs->n, sizeof *examples);
	int32_t *beyond = hth_arena_calloc(arena, (size_t)rs->n, sizeof *beyond);
	struct hth_adapter_run *runs = hth_arena_calloc(arena, (size_t)b->n_segments, sizeof *runs);
	int32_t s = 0, n_runs = 0;

	if (positions == NULL || examples == NULL || beyond == NULL || runs == NULL)
		return false;
	for (int32_t r = 0; r < rs->n; r++) {
		int32_t row = rs->index != NULL ? rs->index[r] : r;
		while (row >= b->segments[s].start + b->segments[s].len)
			s++;
		positions[r] = b->positions[row];
		examples[r] = b->segments[s].example;
		beyond[r] = b->segments[s].beyond;
		if (n_runs == 0 || runs[n_runs - 1].adapter != b->segments[s].adapter)
			runs[n_runs++] = (struct hth_adapter_run){.start = r, .adapter = b->segments[s].adapter};
		runs[n_runs - 1].len++;
	}
	rs->positions = positions;
	rs->examples = examples;
	rs->beyond = beyond;
	rs->runs = runs;
	rs->n_runs = n_runs;
	return true;
}

/* The distinct rows of outs in ascending order, and where each out finds its row among them. */
static bool fill_wanted(struct hth_batch *b, struct hth_arena *arena)
{
	int32_t *place = hth_arena_calloc(arena, (size_t)b->n_tokens, sizeof *place); /* (T) wanted?, then its index */
	int32_t n = 0;

	if (place == NULL)
		return false;
	for (int32_t o = 0; o < b->n_outs; o++)
		place[b->outs[o].row] = 1;
	for (int32_t t = 0; t < b->n_tokens; t++)
		n += place[t];
	int32_t *index = hth_arena_calloc(arena, (size_t)n, sizeof *index);
	b->out_row = hth_arena_calloc(arena, (size_t)b->n_outs, sizeof *b->out_row);
	if (index == NULL || b->out_row == NULL)
		return false;
	n = 0;
	for (int32_t t = 0; t < b->n_tokens; t++)
		if (place[t]) {
			index[n] = t;
			place[t] = n++;
		}
	for (int32_t o = 0; o < b->n_outs; o++)
		b->out_row[o] = place[b->outs[o].row];
	b->wanted = (struct hth_rowset){.n = n, .index = index};
	return fill_rowset(b, &b->wanted, arena);
}

/* span_begin (n_segments + 1): a segment has its parent's spans, or that of its state, and one more. */
static enum hth_status count_spans(struct hth_batch *b, struct hth_arena *arena, struct hth_err *err)
{
	int64_t total = 0;

	b->span_begin = hth_arena_calloc(arena, (size_t)b->n_segments + 1, sizeof *b->span_begin);
	if (b->span_begin == NULL)
		return hth_fail_memory(err, "a batch's spans", ((size_t)b->n_segments + 1) * sizeof *b->span_begin);
	for (int32_t s = 0; s < b->n_segments; s++) {
		int32_t p = b->segments[s].parent;
		total += 1 + (p >= 0 ? b->span_begin[p + 1] - b->span_begin[p] : b->segments[s].past > 0);
		if (total > INT32_MAX)
			return hth_fail(err, HTH_ERR_LIMIT, "batch: segment %d: more than %d spans; the tree is too deep", s,
			                INT32_MAX);
		b->span_begin[s + 1] = (int32_t)total;
	}
	b->n_spans = (int32_t)total;
	b->spans = hth_arena_calloc(arena, (size_t)total, sizeof *b->spans);
	if (b->spans == NULL)
		return hth_fail_memory(err, "a batch's spans", (size_t)total * sizeof *b->spans);
	return HTH_OK;
}

/* A segment sees what its parent sees, and all of the parent, and itself. */
static void fill_spans(struct hth_batch *b)
{
	for (int32_t s = 0; s < b->n_segments; s++) {
		const struct hth_segment *g = &b->segments[s];
		struct hth_span *out = &b->spans[b->span_begin[s]];
		struct hth_span q = {.q_start = g->start, .q_len = g->len, .state = -1};

		if (g->past > 0) {
			*out = q;
			out->k_len = g->past;
			out->state = g->state;
			out++;
		}
		for (int32_t i = g->parent < 0 ? 0 : b->span_begin[g->parent];
		     g->parent >= 0 && i < b->span_begin[g->parent + 1]; i++) {
			*out = b->spans[i];
			out->q_start = g->start;
			out->q_len = g->len;
			out->causal = false;
			out++;
		}
		*out = q;
		out->k_start = g->start;
		out->k_len = g->len;
		out->causal = g->causal;
	}
}

enum hth_status hth_batch_finish(struct hth_batch *b, struct hth_arena *arena, struct hth_err *err)
{
	enum hth_status status = check_counts(b, err);
	if (status != HTH_OK)
		return status;
	bool *used = hth_arena_calloc(arena, (size_t)b->n_states, sizeof *used);
	if (used == NULL)
		return hth_fail_memory(err, "a batch's states", (size_t)b->n_states * sizeof *used);
	status = check_segments(b, used, err);
	if (status == HTH_OK)
		status = check_rows(b, err);
	if (status != HTH_OK)
		return status;
	b->all = (struct hth_rowset){.n = b->n_tokens};
	if (!fill_rowset(b, &b->all, arena) || !fill_wanted(b, arena))
		return hth_fail_memory(err, "a batch's row sets", (size_t)b->n_tokens * sizeof(int32_t));
	status = count_spans(b, arena, err);
	if (status != HTH_OK)
		return status;
	fill_spans(b);
	b->device = NULL;
	return HTH_OK;
}
