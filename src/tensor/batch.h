/* A batch: what one forward pass works on. Token-major, without padding.
 *
 *   ids        T tokens, all segments one after the other
 *   positions  T, each token's place in its own sequence (for rotation and windows)
 *   segments   a tree: a segment continues its parent (an earlier segment of this batch) or a past state
 *   outs       predictions wanted: (row, target, weight, sequence)
 *
 * Example: two chats with the same 30-token system prompt are three segments, the prompt once:
 *   [0] start 0 len 30 parent -1      [1] start 30 len 9 parent 0      [2] start 39 len 12 parent 0
 * A token of [2] attends to all of [0] and causally to [2]. The last token of [0] may stand in outs twice, with the
 * first tokens of [1] and of [2] as its targets.
 *
 * Nothing here changes shape with values: row sets and spans are data, made once by hth_batch_finish. */
#ifndef HTH_TENSOR_BATCH_H
#define HTH_TENSOR_BATCH_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct hth_state; /* a backend's per-sequence state over all layers (backend/backend.h) */

struct hth_segment {
	int32_t start, len;  /* rows of the batch */
	int32_t parent;      /* index of an earlier segment, or -1 */
	int32_t state;       /* root segments: index into states of the past this continues and is appended to, or -1 */
	int32_t past;        /* tokens of that state in force before this segment */
	int32_t adapter;     /* which adapter applies, or -1: none */
	int32_t example;     /* keys dropout: example number in the step (a shared prefix: its first example's) */
	bool causal;         /* false: every token of the segment sees all of it (encoders) */
	bool beyond;         /* its whole sequence is longer than the model's original context, which may rotate it otherwise
	                      * (struct hth_rotation); as its parent, and as all that stands in its state */
};

struct hth_out {
	int32_t row;      /* batch row whose next token is predicted */
	int32_t target;   /* token id, or -1: only logits are wanted */
	float weight;     /* factor of -log p in the loss */
	int32_t sequence; /* which example it counts for */
};

/* Queries [q_start, q_start+q_len) see keys [k_start, k_start+k_len) of the batch (state -1) or of a state. */
struct hth_span {
	int32_t q_start, q_len;
	int32_t k_start, k_len;
	int32_t state;   /* index into states, or -1: keys are rows of this batch */
	bool causal;     /* key j visible to query i iff k_start + j <= q_start + i, else all are visible */
};

/* Consecutive rows under one adapter. */
struct hth_adapter_run {
	int32_t start, len, adapter;
};

/* Which rows an op works on: all T rows of the batch, or the wanted ones in the last layer and the head. */
struct hth_rowset {
	int32_t n;                 /* R */
	const int32_t *index;      /* (R) batch rows, ascending; NULL: 0..R-1 */
	const int32_t *positions;  /* (R) */
	const int32_t *examples;   /* (R) keys of dropout */
	const int32_t *beyond;     /* (R) 1: of a sequence beyond the original context; NULL: none is */
	int32_t n_runs;
	const struct hth_adapter_run *runs; /* cover 0..R-1 in order */
};

struct hth_batch {
	int32_t n_tokens;          /* T */
	int32_t *ids, *positions;  /* (T) */
	int32_t n_segments;
	struct hth_segment *segments;
	int32_t n_outs;
	struct hth_out *outs;
	int32_t n_states;
	struct hth_state **states; /* borrowed */

	/* Made by hth_batch_finish from the above. */
	struct hth_rowset all, wanted; /* wanted: distinct rows of outs */
	int32_t *out_row;          /* (n_outs) index into wanted of each out */
	int32_t n_spans;
	struct hth_span *spans;    /* grouped by query segment; within one, keys in order of position: state, oldest
	                            * ancestor, ..., own. A query's key ranges are the spans of its segment */
	int32_t *span_begin;       /* (n_segments + 1) spans of segment s: span_begin[s] .. span_begin[s+1]-1 */
	void *device;              /* the backend's copy of the arrays, or NULL */
};

/* Checks the tree (parents earlier, segments cover 0..T-1 in order, positions continue, outs in range) and fills the
 * derived part. All memory from `arena`. HTH_ERR_SHAPE names what is wrong. */
HTH_MUST enum hth_status hth_batch_finish(struct hth_batch *b, struct hth_arena *arena, struct hth_err *err);

#endif
