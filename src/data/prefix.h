/* Prefix trees over token sequences: which examples begin alike, and the segments that follow from it.
 *
 * Sequences are sorted; neighbours' common prefixes then say everything. A group of sequences that agree on min_shared
 * tokens or more beyond what its parent covers becomes a segment of the tokens that all of them share; a sequence's
 * rest is a segment of its own. A sequence that is a prefix of another, or equal to it, has no rest.
 *
 *   sorted            lcp     segments (min_shared 2)
 *   S S S a b                 [0] SSS parent -1
 *   S S S a c         4       [1] ab parent 0   [2] ac parent 0   ("a" alone is too short to share)
 *   S S S q r s       3       [3] qrs parent 0 */
#ifndef HTH_DATA_PREFIX_H
#define HTH_DATA_PREFIX_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct hth_prefix_seq {
	const int32_t *ids; /* (n) borrowed */
	int32_t n;
	int32_t example; /* the caller's number */
	bool apart;      /* shares nothing with those of the other kind */
};

struct hth_prefix_segment {
	int32_t parent;   /* index of an earlier segment, or -1 */
	int32_t from, to; /* tokens from .. to-1 of sequence `seq` */
	int32_t seq;      /* index into the sorted sequences: one that holds these tokens */
	int32_t example;  /* smallest example number of those that pass here */
};

struct hth_prefix_tree {
	struct hth_prefix_segment *segments; /* parents first */
	int32_t n_segments;
	int32_t *leaf;    /* (n_seqs) by sorted sequence: the last segment on its path */
	int64_t n_tokens; /* sum of the segments' lengths */
};

/* Sequences kept sorted while they are added one by one, with the number of tokens that the tree would hold. */
struct hth_prefix_set {
	struct hth_prefix_seq *seqs; /* (n) sorted by kind, tokens, example */
	int32_t *lcp;                /* (n) common prefix of seqs[i] and seqs[i-1]; lcp[0] 0 */
	int32_t n, cap;
	int32_t min_shared; /* INT32_MAX: never share */
};

/* Storage for cap sequences; NULL when the arena is exhausted. */
HTH_MUST enum hth_status hth_prefix_set_init(struct hth_prefix_set *s, int32_t cap, int32_t min_shared,
					     struct hth_arena *arena, struct hth_err *err);
/* n < cap; the sequence has at least one token. */
void hth_prefix_set_add(struct hth_prefix_set *s, struct hth_prefix_seq seq);
/* All memory from arena. */
HTH_MUST enum hth_status hth_prefix_tree_build(const struct hth_prefix_set *s, struct hth_arena *arena,
					       struct hth_prefix_tree *out, struct hth_err *err);
/* The tree's n_tokens without building it; scratch: (2 * cap + 2) groups, see prefix.c, from hth_prefix_scratch. */
struct hth_prefix_group;
struct hth_prefix_group *hth_prefix_scratch(int32_t cap, struct hth_arena *arena); /* NULL without memory */
int64_t hth_prefix_tokens(const struct hth_prefix_set *s, struct hth_prefix_group *scratch);

#endif
