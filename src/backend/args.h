/* Arguments of the op slots: which handles go in and come out, with shapes, and what each op computes. backend/ref
 * is the definition in plain loops; this page is its summary.
 *
 * Conventions. Output handles are made by the rule before the call; on cpu and ref their storage is reserved and not
 * cleared. An output may share storage with an input of the same shape only where said ("may alias"). Backward slots
 * that produce dx take `base`: dx = base + rule, where base is HTH_NO_TENSOR for zero and may alias dx.
 * Gradients of parameters are added to param->grad. */
#ifndef HTH_BACKEND_ARGS_H
#define HTH_BACKEND_ARGS_H

#include "tensor/batch.h"
#include "tensor/tensor.h"
#include "tensor/weight.h"

#define HTH_MAX_GROUP 4
#define HTH_MAX_HEAD 512

#include "backend/args_delta.h"
#include "backend/args_experts.h"

/* y (T,C) = scale * W[ids]; W (V,C). */
struct hth_embed_args {
	const struct hth_batch *batch;
	const struct hth_weight *w; /* (V,C) */
	float scale;
	struct hth_tensor y;        /* (T,C) */
};
/* dW[ids] += scale * dy; called only when w->param is trained. Rows are added in batch order. */
struct hth_embed_backward_args {
	const struct hth_batch *batch;
	const struct hth_weight *w;
	float scale;
	struct hth_tensor dy; /* (T,C) */
};

enum hth_norm_kind { HTH_NORM_RMS, HTH_NORM_LAYER };

/* Over groups of `width` columns (C for a layer's norm, D for per-head norms): cols = G * width.
 * RMS: y = x * rstd * (w + offset), rstd = 1/sqrt(mean(x^2) + eps). LAYER: (x - mean) * rstd * (w + offset) + bias. */
struct hth_norm_args {
	enum hth_norm_kind kind;
	float eps;
	float offset;               /* 1 for Gemma's (1 + w), else 0 */
	int64_t width;
	const struct hth_weight *w;    /* (1,width) f32, or NULL: 1 */
	const struct hth_weight *bias; /* (1,width) f32, or NULL: 0 */
	struct hth_tensor x;        /* (R,G*width) */
	struct hth_tensor y;        /* (R,G*width); may alias x when stats is none */
	struct hth_tensor stats;    /* (R,G) rstd, LAYER: (R,2G) mean then rstd; HTH_NO_TENSOR without a tape */
};
struct hth_norm_backward_args {
	enum hth_norm_kind kind;
	float eps, offset;
	int64_t width;
	const struct hth_weight *w, *bias; /* their params' grads are added to when trained */
	struct hth_tensor x, stats, dy;
	struct hth_tensor base, dx; /* (R,G*width); dx HTH_NO_TENSOR: only parameter gradients are wanted */
};

/* One LoRA on one linear: y += scale * drop(x) @ A^T @ B^T. With magnitudes (DoRA) what comes of that, the bias aside,
 * is multiplied by mag / norm: see struct hth_dora_args. Members of one linear op may share A, its gradient too (q, k
 * and v of a fused module): gradients of members are added one member after another. */
struct hth_lora {
	struct hth_param a;    /* (r,C) */
	struct hth_param b;    /* (N,r) */
	struct hth_param mag;  /* (1,N) DoRA's magnitudes; value NULL: none */
	float *norm;           /* (N) with magnitudes: lengths of the rows of W + scale * B @ A, written by dora_norm
	                        * whenever A or B has changed; a constant for gradients */
	float scale;
	float dropout;         /* of its input, while training */
	uint32_t place;        /* layer * 16 + linear: keys dropout */
};

struct hth_linear {
	const struct hth_weight *w;    /* (N,C) */
	const struct hth_weight *bias; /* (1,N) f32, or NULL */
	const struct hth_weight *late_bias; /* with magnitudes, instead of bias: added after them */
	bool dora;                     /* an adapter here has magnitudes */
	struct hth_lora *const *lora;  /* (n_adapters) one per adapter, entries may be NULL; NULL: none at all */
	int32_t n_adapters;
};

/* Counter-based dropout: keep iff uniform(key(seed, DROPOUT, place, step), example<<32|position, column) >= p. */
struct hth_dropout {
	bool on;
	uint64_t seed;
	uint64_t step;
};

/* y_i (R,N_i) = x (R,C) @ W_i^T + bias_i + LoRA of each row's adapter. Members share x. */
struct hth_linear_args {
	const struct hth_rowset *rows;
	int n;
	const struct hth_linear *member[HTH_MAX_GROUP];
	struct hth_dropout drop;
	struct hth_tensor x;                 /* (R,C) */
	struct hth_tensor y[HTH_MAX_GROUP];  /* (R,N_i); HTH_NO_TENSOR: xa alone is wanted */
	struct hth_tensor xa[HTH_MAX_GROUP]; /* (R,r_i) drop(x) @ A^T, kept for backward; r_i the largest rank of the
	                                      * member's adapters, unused columns 0. HTH_NO_TENSOR: no adapter */
};
/* dx = base + sum_i dy_i @ W_i + scale * ((dy_i @ B_i) @ A_i) * mask;  dA_i += scale * (dy_i @ B_i)^T @ drop(x);
 * dB_i += scale * dy_i^T @ xa_i;  trained weights: dW_i += dy_i^T @ x, dbias_i += column sums of dy_i. */
struct hth_linear_backward_args {
	const struct hth_rowset *rows;
	int n;
	const struct hth_linear *member[HTH_MAX_GROUP];
	struct hth_dropout drop;
	struct hth_tensor x;                 /* its shape always; id -1 and ctx NULL when no parameter here is trained */
	struct hth_tensor xa[HTH_MAX_GROUP]; /* HTH_NO_TENSOR when none of the member's adapters is trained */
	struct hth_tensor dy[HTH_MAX_GROUP]; /* HTH_NO_TENSOR: this member got no gradient */
	struct hth_tensor base, dx;          /* (R,C); dx HTH_NO_TENSOR: nothing below needs a gradient */
};

/* norm[n] = length of row n of W + scale * B @ A, for each site: once for a step, not for a batch. */
struct hth_dora_site {
	const struct hth_weight *w; /* (N,C) */
	struct hth_lora *lora;      /* with magnitudes */
};
struct hth_dora_norm_args {
	const struct hth_dora_site *site;
	int64_t n;
};
/* y = u * f + late_bias, column by column, with f = mag / norm of the row's adapter: 0 where norm is 0, 1 for rows
 * whose adapter has no magnitudes here. u is what the linear op gave without bias. */
struct hth_dora_args {
	const struct hth_rowset *rows;
	const struct hth_linear *member;
	struct hth_tensor u; /* (R,N) */
	struct hth_tensor y; /* (R,N); may alias u */
};
/* du = dy * f; dmag += column sums of dy * u / norm over the adapter's rows; dbias += column sums of dy. */
struct hth_dora_backward_args {
	const struct hth_rowset *rows;
	const struct hth_linear *member;
	struct hth_tensor u;  /* HTH_NO_TENSOR when no magnitudes are trained */
	struct hth_tensor dy; /* (R,N) */
	struct hth_tensor du; /* (R,N); may alias dy; HTH_NO_TENSOR: nothing below needs a gradient */
};

/* How queries or keys turn. What is 0 or NULL behind `attn_scale` changes nothing. */
struct hth_rotation {
	const float *freq;        /* (rot/2) radians a position, made once by the model */
	int64_t head, rot;        /* D; columns rotated, even, <= D */
	float attn_scale;         /* of the rotated columns (YaRN), else 1 */
	const float *freq_beyond; /* (rot/2) of sequences beyond the original context (LongRoPE) */
	float growth;             /* all columns of a row are multiplied by 1 + growth * log(1 + position / original), */
	int64_t original;         /* a whole quotient: 1 within the original context (queries of Ministral 3) */
};
/* Rotates pairs (i, i + rot/2) of the first `rot` columns of each head by positions * freq[i] (Hugging Face's
 * "rotate half"). `inverse` turns the other way: that is the backward rule. */
struct hth_rope_args {
	const struct hth_rowset *rows;
	struct hth_rotation how;
	bool inverse;
	struct hth_tensor x;  /* (R,H*D) */
	struct hth_tensor y;  /* may alias x */
};

struct hth_attention_shape {
	int64_t n_head, n_kv, head;  /* H, K, D; H a multiple of K; D <= HTH_MAX_HEAD */
	float scale;                 /* of q.k, usually 1/sqrt(D) */
	float soft_cap;              /* cap * tanh(s / cap), 0: off */
	int64_t window;              /* key visible iff q_pos - k_pos < window; 0: unlimited */
	const struct hth_weight *sinks; /* (1,H) extra logit a head, or NULL */
	bool shared;                 /* k and v are an earlier layer's, which has put them into the states: they are not again */
};

/* Softmax attention over each query's spans, merged by log-sum-exp; memory linear in T. Keys and values of segments
 * with a state are also appended to it, at rows past .. past+len-1 of `layer`. */
struct hth_attention_args {
	const struct hth_batch *batch;
	struct hth_attention_shape shape;
	int32_t layer;
	struct hth_tensor q;    /* (T,H*D) */
	struct hth_tensor k, v; /* (T,K*D) */
	struct hth_tensor y;    /* (T,H*D) */
	struct hth_tensor lse;  /* (T,H) log-sum-exp of the scaled scores, for backward; HTH_NO_TENSOR without a tape */
};
/* Batches with states have no backward. */
struct hth_attention_backward_args {
	const struct hth_batch *batch;
	struct hth_attention_shape shape;
	struct hth_tensor q, k, v, y, lse, dy;
	struct hth_tensor dq, dk, dv; /* like q, k, v; written, not added to */
};

/* SWIGLU_CLAMPED (gpt-oss): g * sigmoid(1.702 g) * (u + 1) of gate and up clamped to g <= 7, -7 <= u <= 7. */
enum hth_act { HTH_ACT_SILU, HTH_ACT_GELU_TANH, HTH_ACT_GELU_ERF, HTH_ACT_SWIGLU_CLAMPED, HTH_ACT_SIGMOID };
#define HTH_SWIGLU_ALPHA 1.702f
#define HTH_SWIGLU_LIMIT 7.0f

/* y = act(gate) * up. */
struct hth_gated_args {
	enum hth_act act;
	struct hth_tensor gate, up; /* (R,F) */
	struct hth_tensor y;        /* (R,F); may alias gate or up */
};
struct hth_gated_backward_args {
	enum hth_act act;
	struct hth_tensor gate, up, dy;
	struct hth_tensor dgate, dup; /* (R,F); dgate may alias gate, dup may alias up, either may alias dy */
};

/* y = sigmoid(gate) * x, one gate a row (a shared expert's). */
struct hth_row_gate_args {
	struct hth_tensor x;    /* (R,C) */
	struct hth_tensor gate; /* (R,1) */
	struct hth_tensor y;    /* (R,C); may alias x */
};
/* dx = dy * s, dgate = s * (1 - s) * sum of dy * x, with s = sigmoid(gate). */
struct hth_row_gate_backward_args {
	struct hth_tensor x, gate, dy;
	struct hth_tensor dx, dgate; /* (R,C), may alias x or dy; (R,1) */
};

/* y = a + scale * b. */
struct hth_add_args {
	float scale;
	struct hth_tensor a;    /* (R,C); HTH_NO_TENSOR: zero */
	struct hth_tensor b;    /* (R,C) */
	struct hth_tensor y;    /* may alias a or b */
};

/* y (R,C) = x (T,C) at rows->index. */
struct hth_gather_args {
	const struct hth_rowset *rows;
	struct hth_tensor x, y;
};
/* dx (T,C) = base, plus dy (R,C) at rows->index. */
struct hth_gather_backward_args {
	const struct hth_rowset *rows;
	struct hth_tensor dy, base, dx;
};

struct hth_head {
	const struct hth_weight *w; /* (V,C) */
	float scale;                /* logits multiplied by it (Granite divides), 1 otherwise */
	float soft_cap;             /* cap * tanh(z / cap), 0: off */
};

/* y (R,V) logits of the wanted rows, for sampling. */
struct hth_logits_args {
	struct hth_head head;
	struct hth_tensor x; /* (R,C) */
	struct hth_tensor y; /* (R,V) */
};
/* logp (n_outs) = log p(target | row); lse (R). In chunks over V and rows: all logits never exist at once.
 * With `fused`, dx (R,C) = gradient of loss = -sum weight * logp is made in the same pass (and a trained head's
 * dW is added to); backward then has nothing left to do but hand dx on. */
struct hth_logp_args {
	const struct hth_batch *batch; /* outs, out_row */
	struct hth_head head;
	struct hth_tensor x;    /* (R,C) */
	struct hth_tensor logp; /* (1,n_outs) f32; outs without a target get 0, and their weight counts for nothing */
	struct hth_tensor lse;  /* (1,R) f32 */
	struct hth_tensor dx;   /* (R,C), or HTH_NO_TENSOR: not fused */
};
/* The general case: dlogp (1,n_outs) from outside (preference losses). dx (R,C) written. */
struct hth_logp_backward_args {
	const struct hth_batch *batch;
	struct hth_head head;
	struct hth_tensor x, lse, dlogp, dx;
};

/* sum of squares of all grads, in double, in a fixed order; *out on the host. */
struct hth_grad_norm_args {
	struct hth_param *const *params;
	int64_t n;
	double *out; /* norm = sqrt of the sum */
};
/* Decoupled weight decay (Loshchilov & Hutter); step counts from 1. grad is scaled by grad_scale (clipping), used,
 * and cleared. */
struct hth_adamw_args {
	struct hth_param *const *params;
	int64_t n;
	float lr, beta1, beta2, eps, weight_decay, grad_scale;
	bool bias_correction;
	int64_t step;
};

#endif
