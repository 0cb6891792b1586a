/* What the ops share of an execution: values, memory, the call of a slot, the tape and gradients.
 *
 * A value is a row of a table and lives on after its memory is gone, so that its gradient can be asked for by id. Its
 * memory may be shared: an output written over an input is a second value over the same block, which is free when
 * both have no holder left. Handles (struct hth_tensor) are copied; ids are unique within a pass. */
#ifndef HTH_OPS_EXEC_INT_H
#define HTH_OPS_EXEC_INT_H

#include "ops/ops.h"

#include <stddef.h>

/* Offsets of one arena, first fit: always the lowest free block that is large enough (alloc.c). */
struct hth_space_hole {
	uint64_t offset, bytes;
};
struct hth_space {
	struct hth_space_hole *holes; /* ascending, never touching; owned */
	size_t n, cap;
	uint64_t limit; /* end of the arena */
	uint64_t peak;  /* highest end of a block since reset */
};
/* Room for n blocks at once; false when memory runs out. */
bool hth_space_reserve(struct hth_space *s, size_t n);
void hth_space_reset(struct hth_space *s);
bool hth_space_take(struct hth_space *s, uint64_t bytes, uint64_t *offset);
/* What the arena would have to hold for hth_space_take to succeed now. */
uint64_t hth_space_need(const struct hth_space *s, uint64_t bytes);
void hth_space_give(struct hth_space *s, uint64_t offset, uint64_t bytes);

struct hth_value {
	int64_t rows, cols;
	uint64_t offset, bytes; /* of its own block; bytes 0: it has none, see storage */
	int32_t storage;        /* the value that owns the block: itself, or the one it was written over */
	int32_t users;          /* of its own block: values with holders */
	int32_t holders;
	int32_t grad;           /* the value that is this one's gradient, so far; -1: none */
	int64_t call;           /* slot calls of the pass before it: the next one fills it */
	bool needs_grad;
};

/* Slot calls that a span's second run makes: those up to the last one that fills a value which a backward rule reads. */
struct hth_needed {
	int64_t last; /* counted from the span's first as 0; -1: none */
	bool bare;    /* the first value that the last one fills is not read: a linear's y */
};

struct hth_span_args {
	hth_span_fn *fn;
	_Alignas(max_align_t) uint8_t ctx[HTH_SPAN_CTX_BYTES];
	int n_in, n_out;
	struct hth_needed needed;
	struct hth_tensor in[HTH_SPAN_TENSORS];  /* held */
	struct hth_tensor out[HTH_SPAN_TENSORS]; /* by id alone */
};

/* A rule whose outputs got no gradient does nothing but let go of what its record holds. */
struct hth_record;
typedef void hth_backward_fn(struct hth_exec *x, const struct hth_record *r);

/* One op of the forward pass as its backward rule needs it: the forward arguments, with holders on the tensors that
 * the rule reads. Others are there by id alone, for their gradients. */
struct hth_record {
	hth_backward_fn *backward;
	union {
		struct hth_embed_args embed;
		struct hth_norm_args norm;
		struct hth_linear_args linear;
		struct hth_dora_args dora;
		struct hth_rope_args rope;
		struct hth_attention_args attention;
		struct hth_gated_args gated;
		struct hth_row_gate_args row_gate;
		struct hth_slice_args slice;
		struct hth_conv_args conv;
		struct hth_delta_args delta;
		struct hth_route_args route;
		struct hth_experts_up_args experts_up;
		struct hth_experts_down_args experts_down;
		struct hth_add_args add;
		struct hth_gather_args gather;
		struct hth_logp_args logp;
		struct hth_span_args span;
	} args;
};

struct hth_exec {
	struct hth_exec_config cfg;
	struct hth_err err; /* the first error since begin */
	bool train, outer_loss;
	int64_t recompute; /* spans still to come that are not kept */
	bool again;        /* within a span's second run */
	struct hth_needed needed; /* then; last counted in calls of the pass */
	struct hth_dropout drop;
	struct hth_value *values;
	size_t n_values, cap_values;
	struct hth_record *records;
	size_t n_records, cap_records;
	struct hth_space space;
	uint8_t *arena; /* NULL while planning */
	struct hth_totals totals;
	double seconds[HTH_OP_COUNT];
};

/* exec.c */
/* False after an error, or with one when t is no living value of this pass: the op then does nothing. */
bool hth_exec_accepts(struct hth_exec *x, enum hth_op op, struct hth_tensor t);
/* A new f32 value with one holder; HTH_NO_TENSOR after an error. */
struct hth_tensor hth_exec_make(struct hth_exec *x, int64_t rows, int64_t cols);
/* The same over the memory of t when t has one holder (the caller, who still drops t) and nobody else's bytes. */
struct hth_tensor hth_exec_make_over(struct hth_exec *x, struct hth_tensor t);
struct hth_tensor hth_exec_handle(const struct hth_exec *x, int32_t id);
bool hth_exec_is_sole(const struct hth_exec *x, struct hth_tensor t);
/* Calls the slot: costs always, run when not planning. False after an error. */
bool hth_exec_call(struct hth_exec *x, enum hth_op op, const void *args);
/* The same beside a pass: its error goes to err. */
enum hth_status hth_exec_call_slot(struct hth_exec *x, enum hth_op op, const void *args, struct hth_err *err);
/* A leaf with a copy of data (rows,cols), for tests; data may be NULL while planning. */
struct hth_tensor hth_exec_leaf(struct hth_exec *x, int64_t rows, int64_t cols, const float *data, bool needs_grad);

/* tape.c */
bool hth_exec_needs_grad(const struct hth_exec *x, struct hth_tensor t);
/* Marks t as needing a gradient and appends a record; NULL after an error. */
struct hth_record *hth_tape_add(struct hth_exec *x, struct hth_tensor t, hth_backward_fn *backward);
/* Runs the rules of the records from mark on, the last first, and forgets them. */
void hth_tape_back(struct hth_exec *x, size_t mark);
/* The gradient of t, handed over with its holder; HTH_NO_TENSOR when there is none. */
struct hth_tensor hth_grad_take(struct hth_exec *x, struct hth_tensor t);
/* Where a rule writes base + its part: over base when it can be, else a new value. */
struct hth_tensor hth_grad_target(struct hth_exec *x, struct hth_tensor t, struct hth_tensor base);
/* Makes g the gradient of t, which has none now. Consumes g. */
void hth_grad_set(struct hth_exec *x, struct hth_tensor t, struct hth_tensor g);
/* Adds g to the gradient of t, or drops it when t needs none. Consumes g. */
void hth_grad_give(struct hth_exec *x, struct hth_tensor t, struct hth_tensor g);
/* The gradient of t so far, which stays there; for tests. */
struct hth_tensor hth_grad_peek(const struct hth_exec *x, struct hth_tensor t);

/* dora.c: the last part of a linear whose member has magnitudes. Consumes u (R,N). */
struct hth_tensor hth_dora_apply(struct hth_exec *x, const struct hth_rowset *rows, const struct hth_linear *m,
                                 struct hth_tensor u);
bool hth_dora_trained(const struct hth_linear *m); /* its magnitudes or bias */

static inline bool hth_param_is_trained(const struct hth_param *p)
{
	return p != NULL && p->grad != NULL;
}
static inline bool hth_weight_is_trained(const struct hth_weight *w)
{
	return w != NULL && hth_param_is_trained(w->param);
}

#endif
