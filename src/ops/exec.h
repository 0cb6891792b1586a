/* An execution: one forward pass (and backward, with a tape) on a device, or the same walk with costs only.
 *
 * Values are counted. Every op consumes its inputs; hth_keep first what is used again:
 *	h = hth_op_norm(x, hth_keep(x, resid), ...);
 * When the last holder lets go, the memory is free for the next value. The tape holds what backward rules need.
 * Memory is handed out by one deterministic first-fit allocator over an arena; a planning execution runs the very
 * same allocator over an arena without memory, so that its high-water mark is the size that the real one needs.
 *
 * Errors stick: after the first one every op returns HTH_NO_TENSOR and does nothing; the caller asks once, at the
 * end (hth_exec_end). Nothing here branches on values of tensors. After warm-up nothing allocates. */
#ifndef HTH_OPS_EXEC_H
#define HTH_OPS_EXEC_H

#include "backend/backend.h"

struct hth_exec;

enum hth_exec_mode { HTH_EXEC_RUN, HTH_EXEC_PLAN };

struct hth_exec_config {
	enum hth_exec_mode mode;
	const struct hth_backend *backend;
	struct hth_device *device;  /* RUN */
	struct hth_machine machine; /* costs; threads and kernels as the device has them */
	uint64_t arena_bytes;       /* RUN: size found by a plan. PLAN: 0, or a limit not to pass */
};

struct hth_totals {
	double flops, bytes_moved;
	uint64_t peak_bytes;      /* high-water mark of the arena since begin */
	uint64_t peak_ever_bytes; /* since the execution was made */
	int64_t ops;
};

HTH_MUST enum hth_status hth_exec_new(const struct hth_exec_config *cfg, struct hth_exec **out, struct hth_err *err);
void hth_exec_free(struct hth_exec *x);

/* Starts a pass: forgets all values and the tape. train: record a tape; batch, weights, adapters and whatever else an
 * op was given by pointer then stay where they are until backward is done. drop: dropout of adapters. */
void hth_exec_begin(struct hth_exec *x, bool train, struct hth_dropout drop);
/* The loss of this pass is not the fused one (preference losses): call between begin and hth_op_logp. */
void hth_exec_outer_loss(struct hth_exec *x);
/* Gradient checkpointing: of the first n spans of this pass (hth_op_span) only the inputs are kept; the backward pass
 * runs each once more. Call between begin and the first span; without a tape it means nothing. */
void hth_exec_recompute(struct hth_exec *x, int64_t n);
/* Adds grad (rows,cols), f32 on the host and copied, to the gradient of t: before hth_exec_backward. Does nothing
 * for a value that needs none. grad may be NULL while planning. */
void hth_exec_seed(struct hth_exec *x, struct hth_tensor t, const float *grad);
/* Runs the tape backwards from what the forward pass left (the fused loss), adding to parameters' gradients. */
void hth_exec_backward(struct hth_exec *x);
/* Ends the pass with an error, as ops do: the first one stays. */
void hth_exec_fail(struct hth_exec *x, enum hth_status status, const char *fmt, ...) HTH_PRINTF(3, 4);
/* Status of everything since begin. Values stay readable until the next begin. */
HTH_MUST enum hth_status hth_exec_end(struct hth_exec *x, struct hth_err *err);

const struct hth_totals *hth_exec_totals(const struct hth_exec *x);
bool hth_exec_planning(const struct hth_exec *x);
const char *hth_exec_op_name(enum hth_op op);
/* Seconds spent in each op since the execution was made (RUN), for profiles: (HTH_OP_COUNT). */
const double *hth_exec_seconds(const struct hth_exec *x);

struct hth_tensor hth_keep(struct hth_exec *x, struct hth_tensor t); /* one more holder; returns t */
void hth_drop(struct hth_exec *x, struct hth_tensor t);              /* one holder less */

#endif
