/* Micro-batches: the greedy cut of a step, and the batch of one of its parts. Sharing is prefix.c's; here it becomes
 * rows, positions, segments and outs.
 *
 * A token at place t of an example sits in one segment of the example's path; the row that predicts it is the one of
 * place t-1, which may be in the parent: that is how a shared prefix's last row gets several targets. */
#include "data/batch_build.h"
#include "base/checked.h"
#include "data/prefix.h"

#include <string.h>

#define DEFAULT_MIN_SHARED 8

static int32_t min_shared_of(const struct hth_cut_config *cfg)
{
	if (!cfg->share_prefix)
		return INT32_MAX;
	return cfg->min_shared > 0 ? cfg->min_shared : DEFAULT_MIN_SHARED;
}

static enum hth_status check_step(const struct hth_dataset *d, const uint32_t *order, int32_t n, struct hth_err *err)
{
	for (int32_t i = 0; i < n; i++) {
		if (order[i] >= d->n)
			return hth_fail(err, HTH_ERR_SHAPE, "example %u of a step: the data set has %zu", order[i],
					d->n);
		const struct hth_example *e = &d->items[order[i]].tokens;
		if (e->n == 0 || e->n > INT32_MAX / 4)
			return hth_fail(err, HTH_ERR_LIMIT, "%s:%u: an example of %zu tokens, expected 1..%d",
					d->path != NULL ? d->path : "data", d->items[order[i]].line, e->n,
					INT32_MAX / 4);
	}
	return HTH_OK;
}

static struct hth_prefix_seq sequence(const struct hth_dataset *d, const uint32_t *order, int32_t i,
				      const struct hth_cut_config *cfg)
{
	const struct hth_example *e = &d->items[order[i]].tokens;
	bool beyond = cfg->rope_switch > 0 && (int64_t)e->n > cfg->rope_switch;

	return (struct hth_prefix_seq){.ids = e->ids, .n = (int32_t)e->n, .example = i, .apart = beyond};
}

/* Takes examples into a micro-batch while it stays within the budget. A set cannot take one out again, so the one that
 * was too much begins the next set. */
static enum hth_status cut_greedily(const struct hth_dataset *d, const uint32_t *order, int32_t n,
				    const struct hth_cut_config *cfg, struct hth_arena *arena, struct hth_cut *out,
				    struct hth_err *err)
{
	struct hth_prefix_set set;
	struct hth_prefix_group *scratch = hth_prefix_scratch(n, arena);
	enum hth_status status = hth_prefix_set_init(&set, n, min_shared_of(cfg), arena, err);
	int64_t before = 0; /* computed tokens of the open micro-batch */

	if (status != HTH_OK)
		return status;
	if (scratch == NULL)
		return hth_fail_memory(err, "a step's cut", (size_t)n);
	for (int32_t i = 0; i < n; i++) {
		hth_prefix_set_add(&set, sequence(d, order, i, cfg));
		int64_t now = hth_prefix_tokens(&set, scratch);
		if (now > INT32_MAX / 2 || (set.n > 1 && cfg->token_budget > 0 && now > cfg->token_budget)) {
			out->begin[out->n_micro++] = i;
			out->n_computed += before;
			set.n = 0;
			hth_prefix_set_add(&set, sequence(d, order, i, cfg));
			now = set.seqs[0].n;
		}
		before = now;
	}
	out->n_computed += before;
	out->begin[out->n_micro] = n;
	return HTH_OK;
}

enum hth_status hth_cut_step(const struct hth_dataset *d, const uint32_t *order, int32_t n,
			     const struct hth_cut_config *cfg, struct hth_arena *arena, struct hth_cut *out,
			     struct hth_err *err)
{
	*out = (struct hth_cut){0};
	if (n < 1)
		return hth_fail(err, HTH_ERR_SHAPE, "a step of %d examples, expected at least 1", n);
	enum hth_status status = check_step(d, order, n, err);
	if (status != HTH_OK)
		return status;
	out->begin = hth_arena_calloc(arena, (size_t)n + 1, sizeof *out->begin);
	if (out->begin == NULL)
		return hth_fail_memory(err, "a step's cut", (size_t)n * sizeof *out->begin);
	for (int32_t i = 0; i < n; i++) {
		out->n_tokens += (int64_t)d->items[order[i]].tokens.n;
		out->n_targets += (int64_t)d->items[order[i]].tokens.n_targets;
	}
	out->n_micro = 1; /* begin[0] is 0 */
	return cut_greedily(d, order, n, cfg, arena, out, err);
}

/* Rows, ids and positions from the tree's segments. */
static enum hth_status lay_segments(const struct hth_prefix_set *set, const struct hth_prefix_tree *tree,
				    int32_t adapter, struct hth_arena *arena, struct hth_batch *out,
				    struct hth_err *err)
{
	size_t t = (size_t)tree->n_tokens, n_segments = (size_t)tree->n_segments;
	int32_t row = 0;

	out->ids = hth_arena_calloc(arena, t, sizeof *out->ids);
	out->positions = hth_arena_calloc(arena, t, sizeof *out->positions);
	out->segments = hth_arena_calloc(arena, n_segments, sizeof *out->segments);
	if (out->ids == NULL || out->positions == NULL || out->segments == NULL)
		return hth_fail_memory(err, "a micro-batch", t * sizeof *out->ids);
	for (int32_t s = 0; s < tree->n_segments; s++) {
		const struct hth_prefix_segment *p = &tree->segments[s];
		int32_t len = p->to - p->from;
		out->segments[s] = (struct hth_segment){.start = row,
							.len = len,
							.parent = p->parent,
							.state = -1,
							.adapter = adapter,
							.example = p->example,
							.causal = true,
							.beyond = set->seqs[p->seq].apart};
		memcpy(out->ids + row, set->seqs[p->seq].ids + p->from, (size_t)len * sizeof *out->ids);
		for (int32_t i = 0; i < len; i++)
			out->positions[row + i] = p->from + i;
		row += len;
	}
	out->n_tokens = row;
	out->n_segments = tree->n_segments;
	return HTH_OK;
}

/* The outs of one example, filled from its end backwards while its path is walked up: place t's predecessor is in the
 * segment on the path that covers t-1. `at` is one past the place of its last out. */
static void lay_outs(const struct hth_example *e, int32_t example, const struct hth_prefix_tree *tree, int32_t leaf,
		     float weight, struct hth_batch *out, int32_t at)
{
	int32_t s = leaf;

	for (int32_t t = (int32_t)e->n - 1; t > 0; t--) {
		if (e->target[t] == 0)
			continue;
		while (tree->segments[s].from > t - 1)
			s = tree->segments[s].parent;
		out->outs[--at] = (struct hth_out){.row = out->segments[s].start + (t - 1 - tree->segments[s].from),
						   .target = e->ids[t],
						   .weight = weight,
						   .sequence = example};
	}
}

/* Targets at places that have a predecessor. */
static int32_t count_outs(const struct hth_example *e)
{
	int32_t n = 0;

	for (size_t t = 1; t < e->n; t++)
		n += e->target[t] != 0;
	return n;
}

enum hth_status hth_cut_batch(const struct hth_dataset *d, const uint32_t *order, const struct hth_cut *cut, int32_t m,
			      const struct hth_cut_config *cfg, struct hth_arena *arena, struct hth_batch *out,
			      struct hth_err *err)
{
	int32_t lo = cut->begin[m], hi = cut->begin[m + 1];
	struct hth_prefix_set set;
	struct hth_prefix_tree tree;
	enum hth_status status = hth_prefix_set_init(&set, hi - lo, min_shared_of(cfg), arena, err);
	int32_t *leaf_of, *ends; /* (hi-lo) by example: its leaf, and where its outs end */
	int64_t n_outs = 0;

	memset(out, 0, sizeof *out);
	if (status != HTH_OK)
		return status;
	for (int32_t i = lo; i < hi; i++)
		hth_prefix_set_add(&set, sequence(d, order, i, cfg));
	status = hth_prefix_tree_build(&set, arena, &tree, err);
	if (status == HTH_OK)
		status = lay_segments(&set, &tree, cfg->adapter, arena, out, err);
	if (status != HTH_OK)
		return status;
	leaf_of = hth_arena_calloc(arena, (size_t)(hi - lo), sizeof *leaf_of);
	ends = hth_arena_calloc(arena, (size_t)(hi - lo), sizeof *ends);
	if (leaf_of == NULL || ends == NULL)
		return hth_fail_memory(err, "a micro-batch", (size_t)(hi - lo));
	for (int32_t i = 0; i < set.n; i++)
		leaf_of[set.seqs[i].example - lo] = tree.leaf[i];
	for (int32_t i = lo; i < hi; i++) {
		n_outs += count_outs(&d->items[order[i]].tokens);
		if (n_outs > INT32_MAX / 2)
			return hth_fail(err, HTH_ERR_LIMIT, "a micro-batch of more than %d targets", INT32_MAX / 2);
		ends[i - lo] = (int32_t)n_outs;
	}
	out->outs = hth_arena_calloc(arena, (size_t)n_outs, sizeof *out->outs);
	if (out->outs == NULL)
		return hth_fail_memory(err, "a micro-batch's targets", (size_t)n_outs * sizeof *out->outs);
	out->n_outs = (int32_t)n_outs;
	float weight = cut->n_targets > 0 ? (float)(1.0 / (double)cut->n_targets) : 0;
	for (int32_t i = lo; i < hi; i++)
		lay_outs(&d->items[order[i]].tokens, i, &tree, leaf_of[i - lo], weight, out, ends[i - lo]);
	return hth_batch_finish(out, arena, err);
}
