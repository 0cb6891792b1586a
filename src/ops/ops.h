/* The coarse ops that a model is written in. Each checks shapes, makes its outputs, calls the backend's slot and, on
 * a tape, records its backward rule (same file). All consume their tensor inputs (ops/exec.h). A value "needs a
 * gradient" when a trained parameter stands at or below it: backward work happens for those alone. */
#ifndef HTH_OPS_OPS_H
#define HTH_OPS_OPS_H

#include "ops/exec.h"

struct hth_norm {
	enum hth_norm_kind kind;
	float eps, offset;
	const struct hth_weight *w, *bias; /* (1,width); NULL: none */
};

/* (T,C) */
struct hth_tensor hth_op_embed(struct hth_exec *x, const struct hth_batch *b, const struct hth_weight *w, float scale);
/* in (R,G*width) -> same shape; width: C, or D for a norm per head. */
struct hth_tensor hth_op_norm(struct hth_exec *x, struct hth_tensor in, const struct hth_norm *n, int64_t width);
/* in (R,C) -> out[i] (R,N_i), i < n <= HTH_MAX_GROUP. */
void hth_op_linear(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in,
                   const struct hth_linear *const *member, int n, struct hth_tensor *out);
struct hth_tensor hth_op_rope(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in,
                              const struct hth_rotation *how);
/* q (T,H*D), k, v (T,K*D) -> (T,H*D) */
struct hth_tensor hth_op_attention(struct hth_exec *x, const struct hth_batch *b, int32_t layer,
                                   const struct hth_attention_shape *shape, struct hth_tensor q, struct hth_tensor k,
                                   struct hth_tensor v);
/* in (R,G*group) -> (R,G*n): columns first .. first+n-1 of each group. */
struct hth_tensor hth_op_slice(struct hth_exec *x, struct hth_tensor in, int64_t group, int64_t first, int64_t n);
/* in (T,N) -> (T,N); w (1,N*taps). layer: of those that recur. */
struct hth_tensor hth_op_conv(struct hth_exec *x, const struct hth_batch *b, int32_t layer, struct hth_tensor in,
                              const struct hth_weight *w, int64_t taps);
struct hth_delta {
	struct hth_delta_shape shape;
	const struct hth_weight *a_log, *dt; /* (1,Vh) */
};
/* in (T,Kh*Dk + Kh*Dk + Vh*Dv), a, b (T,Vh) -> (T,Vh*Dv) */
struct hth_tensor hth_op_delta(struct hth_exec *x, const struct hth_batch *batch, int32_t layer,
                               const struct hth_delta *d, struct hth_tensor in, struct hth_tensor a,
                               struct hth_tensor b);
struct hth_tensor hth_op_gated(struct hth_exec *x, enum hth_act act, struct hth_tensor gate, struct hth_tensor up);
/* in (R,C), gate (R,1) -> sigmoid(gate) * in */
struct hth_tensor hth_op_row_gate(struct hth_exec *x, struct hth_tensor in, struct hth_tensor gate);
/* logits (R,E) -> where each row goes. Consumes logits; the routing is held once, hth_routing_keep for another user.
 * scale (1,E) or NULL: factors of the experts' weights, frozen. */
struct hth_routing hth_op_route(struct hth_exec *x, struct hth_tensor logits, int64_t top, bool normalise,
                                const struct hth_weight *scale);
struct hth_routing hth_routing_keep(struct hth_exec *x, struct hth_routing r);
void hth_routing_drop(struct hth_exec *x, struct hth_routing r);
/* in (R,C) -> out[i] (R*k,N_i) by expert. Consumes in and the routing. rows: NULL where no member has adapters. */
void hth_op_experts_up(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor in, struct hth_routing r,
                       const struct hth_expert_set *const *member, int n, struct hth_tensor *out);
/* a (R*k,F) by expert -> (R,C), weighted sums of each row's experts. Consumes a and the routing. */
struct hth_tensor hth_op_experts_down(struct hth_exec *x, const struct hth_rowset *rows, struct hth_tensor a,
                                      struct hth_routing r, const struct hth_expert_set *set);
struct hth_tensor hth_op_add(struct hth_exec *x, struct hth_tensor a, struct hth_tensor b, float scale);
struct hth_tensor hth_op_scale(struct hth_exec *x, struct hth_tensor in, float scale);
/* A part of the pass: fn makes out of in by further ops and consumes in, as an op does. What else it reads stands in ctx,
 * which is copied, and stays where it is until backward is done. Where hth_exec_recompute says so, nothing inside is
 * kept and fn is called again in the backward pass: it must then do what it did. out may be in. */
enum { HTH_SPAN_TENSORS = 4, HTH_SPAN_CTX_BYTES = 96 };
typedef void hth_span_fn(struct hth_exec *x, const void *ctx, const struct hth_tensor *in, struct hth_tensor *out);
void hth_op_span(struct hth_exec *x, hth_span_fn *fn, const void *ctx, size_t ctx_bytes, const struct hth_tensor *in,
                 int n_in, struct hth_tensor *out, int n_out);
/* x (T,C) -> (R,C) */
struct hth_tensor hth_op_gather(struct hth_exec *x, struct hth_tensor in, const struct hth_rowset *rows);
/* in (R,C), the wanted rows -> (R,V); not differentiable */
struct hth_tensor hth_op_logits(struct hth_exec *x, struct hth_tensor in, const struct hth_head *head);
/* in (R,C), the wanted rows -> (1,n_outs) log-probabilities. On a tape the loss -sum(weight * logp) is what
 * hth_exec_backward differentiates (fused), unless hth_exec_outer_loss was called: then hth_exec_seed gives dlogp. */
struct hth_tensor hth_op_logp(struct hth_exec *x, const struct hth_batch *b, struct hth_tensor in,
                              const struct hth_head *head);

/* Not on a tape: over parameters. */
HTH_MUST enum hth_status hth_op_grad_norm(struct hth_exec *x, struct hth_param *const *params, int64_t n, double *norm,
                                          struct hth_err *err);
/* The lengths that linears with magnitudes divide by; after every change of A or B, before the pass that uses them. */
HTH_MUST enum hth_status hth_op_dora_norm(struct hth_exec *x, const struct hth_dora_site *site, int64_t n,
                                          struct hth_err *err);
HTH_MUST enum hth_status hth_op_adamw(struct hth_exec *x, const struct hth_adamw_args *args, struct hth_err *err);

#endif
