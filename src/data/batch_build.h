/* Examples to micro-batches: token-major, prefixes shared, cut by token budget.
 *
 * A step's examples are cut into micro-batches in order, each of at most `token_budget` computed tokens (one example
 * alone may exceed it). Inside a micro-batch examples that begin alike share that prefix as a segment computed
 * once (min_shared tokens or more); the sharing is exact. weight of every target is 1 / (targets of the step), so
 * that the cut changes nothing. */
#ifndef HTH_DATA_BATCH_BUILD_H
#define HTH_DATA_BATCH_BUILD_H

#include "data/dataset.h"
#include "tensor/batch.h"

struct hth_cut_config {
	int64_t token_budget; /* computed tokens a micro-batch; 0: no limit */
	bool share_prefix;
	int32_t min_shared; /* tokens; 0: 8 */
	int32_t adapter;    /* of every segment: 0 for training, -1 for the base alone */
	int64_t rope_switch; /* the model's hth_rope_switch: longer examples rotate otherwise (struct hth_segment's beyond) and
	                      * share no prefix with the others; 0: all rotate alike */
};

/* A step: examples items[order[i]], i < n. Example numbers (dropout keys) are i. Micro-batch m holds examples
 * begin[m] .. begin[m+1]-1 of a permutation-free sequence: the order given. */
struct hth_cut {
	int32_t n_micro;
	int32_t *begin;     /* (n_micro + 1) */
	int64_t n_tokens;   /* tokens of the examples (data-set tokens) */
	int64_t n_computed; /* after sharing */
	int64_t n_targets;
};

HTH_MUST enum hth_status hth_cut_step(const struct hth_dataset *d, const uint32_t *order, int32_t n,
				      const struct hth_cut_config *cfg, struct hth_arena *arena, struct hth_cut *out,
				      struct hth_err *err);
/* Micro-batch m of the step, finished (hth_batch_finish), all memory from arena. */
HTH_MUST enum hth_status hth_cut_batch(const struct hth_dataset *d, const uint32_t *order, const struct hth_cut *cut,
				       int32_t m, const struct hth_cut_config *cfg, struct hth_arena *arena,
				       struct hth_batch *out, struct hth_err *err);

#endif
