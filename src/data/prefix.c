/* The prefix tree. One walk over groups of sorted sequences serves both uses, counting and building; it keeps its own
 * stack, since its depth is decided by the data. */
#include "data/prefix.h"
#include "base/checked.h"

#include <string.h>

/* Sequences lo .. hi-1, whose first `covered` tokens are in segment `parent` and its ancestors. */
struct hth_prefix_group {
	int32_t lo, hi, covered, parent;
};

enum hth_status hth_prefix_set_init(struct hth_prefix_set *s, int32_t cap, int32_t min_shared, struct hth_arena *arena,
				    struct hth_err *err)
{
	*s = (struct hth_prefix_set){.cap = cap, .min_shared = min_shared};
	s->seqs = hth_arena_calloc(arena, (size_t)cap, sizeof *s->seqs);
	s->lcp = hth_arena_calloc(arena, (size_t)cap, sizeof *s->lcp);
	if (s->seqs == NULL || s->lcp == NULL)
		return hth_fail_memory(err, "the sequences of a micro-batch", (size_t)cap * sizeof *s->seqs);
	return HTH_OK;
}

static int32_t common_prefix(const struct hth_prefix_seq *a, const struct hth_prefix_seq *b)
{
	int32_t n = a->apart != b->apart ? 0 : a->n < b->n ? a->n : b->n, i = 0;

	while (i < n && a->ids[i] == b->ids[i])
		i++;
	return i;
}

/* By kind, then lexicographic; a prefix stands before what it begins; equal ones by example. */
static bool is_before(const struct hth_prefix_seq *a, const struct hth_prefix_seq *b)
{
	int32_t i = common_prefix(a, b);

	if (a->apart != b->apart)
		return b->apart;
	if (i < a->n && i < b->n)
		return a->ids[i] < b->ids[i];
	return a->n != b->n ? a->n < b->n : a->example < b->example;
}

void hth_prefix_set_add(struct hth_prefix_set *s, struct hth_prefix_seq seq)
{
	int32_t lo = 0, hi = s->n;

	while (lo < hi) {
		int32_t mid = lo + (hi - lo) / 2;
		if (is_before(&s->seqs[mid], &seq))
			lo = mid + 1;
		else
			hi = mid;
	}
	memmove(s->seqs + lo + 1, s->seqs + lo, (size_t)(s->n - lo) * sizeof *s->seqs);
	memmove(s->lcp + lo + 1, s->lcp + lo, (size_t)(s->n - lo) * sizeof *s->lcp);
	s->seqs[lo] = seq;
	s->n++;
	s->lcp[lo] = lo > 0 ? common_prefix(&s->seqs[lo - 1], &seq) : 0;
	if (lo + 1 < s->n)
		s->lcp[lo + 1] = common_prefix(&seq, &s->seqs[lo + 1]);
}

struct hth_prefix_group *hth_prefix_scratch(int32_t cap, struct hth_arena *arena)
{
	return hth_arena_calloc(arena, 2 * (size_t)cap + 2, sizeof(struct hth_prefix_group));
}

/* Appends a segment to out, or only counts it when out->segments is NULL. Returns its index. */
static int32_t emit(struct hth_prefix_tree *out, const struct hth_prefix_set *s, const struct hth_prefix_group *g,
		    int32_t to)
{
	out->n_tokens += to - g->covered;
	if (out->segments == NULL)
		return 0;
	int32_t first = s->seqs[g->lo].example;
	for (int32_t i = g->lo + 1; i < g->hi; i++)
		first = s->seqs[i].example < first ? s->seqs[i].example : first;
	out->segments[out->n_segments] = (struct hth_prefix_segment){
		.parent = g->parent, .from = g->covered, .to = to, .seq = g->lo, .example = first};
	return out->n_segments++;
}

static void single(struct hth_prefix_tree *out, const struct hth_prefix_set *s, struct hth_prefix_group g)
{
	int32_t n = s->seqs[g.lo].n;

	if (n > g.covered)
		g.parent = emit(out, s, &g, n);
	if (out->leaf != NULL)
		out->leaf[g.lo] = g.parent;
}

/* Each turn of the loop takes one group off the stack and puts its parts back, which are disjoint and not empty: the
 * stack never holds more groups than there are sequences, and there are fewer than 2n groups in all. */
static void walk(const struct hth_prefix_set *s, struct hth_prefix_group *stack, struct hth_prefix_tree *out)
{
	int32_t depth = 0;

	if (s->n > 0)
		stack[depth++] = (struct hth_prefix_group){.lo = 0, .hi = s->n, .covered = 0, .parent = -1};
	while (depth > 0) {
		struct hth_prefix_group g = stack[--depth];
		if (g.hi - g.lo == 1) {
			single(out, s, g);
			continue;
		}
		int32_t shared = INT32_MAX;
		for (int32_t i = g.lo + 1; i < g.hi; i++)
			shared = s->lcp[i] < shared ? s->lcp[i] : shared;
		if (shared - g.covered >= s->min_shared) {
			g.parent = emit(out, s, &g, shared);
			g.covered = shared;
		}
		/* Parts: between places where neighbours agree on no more than all do. Last first: taken in order. */
		int32_t end = g.hi;
		for (int32_t i = g.hi - 1; i > g.lo; i--) {
			if (s->lcp[i] != shared)
				continue;
			stack[depth++] = (struct hth_prefix_group){i, end, g.covered, g.parent};
			end = i;
		}
		stack[depth++] = (struct hth_prefix_group){g.lo, end, g.covered, g.parent};
	}
}

int64_t hth_prefix_tokens(const struct hth_prefix_set *s, struct hth_prefix_group *scratch)
{
	struct hth_prefix_tree counted = {0};

	walk(s, scratch, &counted);
	return counted.n_tokens;
}

enum hth_status hth_prefix_tree_build(const struct hth_prefix_set *s, struct hth_arena *arena,
				      struct hth_prefix_tree *out, struct hth_err *err)
{
	size_t n = (size_t)s->n;

	*out = (struct hth_prefix_tree){0};
	struct hth_prefix_group *stack = hth_prefix_scratch(s->n, arena);
	out->segments = hth_arena_calloc(arena, 2 * n + 1, sizeof *out->segments);
	out->leaf = hth_arena_calloc(arena, n + 1, sizeof *out->leaf);
	if (stack == NULL || out->segments == NULL || out->leaf == NULL)
		return hth_fail_memory(err, "a micro-batch's prefix tree", n * sizeof *out->segments);
	walk(s, stack, out);
	return HTH_OK;
}
