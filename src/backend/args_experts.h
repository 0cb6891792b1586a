/* Arguments of the op slots of a mixture of experts (args.h has the conventions).
 *
 * Which experts a row goes to is data, never a shape: R rows with k choices each are always R*k slots, sorted by
 * expert. Letters: E experts, k choices a row, F width of an expert. */
#ifndef HTH_BACKEND_ARGS_EXPERTS_H
#define HTH_BACKEND_ARGS_EXPERTS_H

#include "tensor/tensor.h"
#include "tensor/weight.h"

struct hth_lora;
struct hth_rowset;

/* One matrix of every expert, all of one shape. An adapter's A is (E*r,C) and its B (E*N,r): expert e's are rows e*r.. and
 * e*N... Experts have no dropout (a weight's own LoRA, as PEFT has it, cannot) and no magnitudes. */
struct hth_expert_set {
	int64_t n;               /* E */
	struct hth_weight *w;    /* (E) of (N,C) each, in one format */
	struct hth_weight *bias; /* (E) of (1,N) f32 each, or NULL */
	struct hth_lora *const *lora; /* (n_adapters) one per adapter, entries may be NULL; NULL: none at all */
	int32_t n_adapters;
};

/* Choice r*k + j is row r's j-th: weights fall with j, and of equal ones the lower expert comes first. */
struct hth_routing {
	int64_t n_experts, top;   /* E, k */
	struct hth_tensor weight; /* (R,k) factors of the choices */
	struct hth_tensor expert; /* (R,k) int32 */
	struct hth_tensor order;  /* (1,R*k) int32: slot s holds choice order[s]; by expert, then by row */
	struct hth_tensor begin;  /* (1,E+1) int32: slots of expert e are begin[e] .. begin[e+1]-1 */
};

/* The k largest of softmax(logits); normalise: their weights sum to 1, which is softmax over the chosen logits alone.
 */
struct hth_route_args {
	bool normalise;
	const struct hth_weight *scale; /* (1,E) f32 that the chosen experts' weights are multiplied by, or NULL */
	struct hth_tensor logits;   /* (R,E) */
	struct hth_routing routing; /* written */
};
struct hth_route_backward_args {
	bool normalise;
	const struct hth_weight *scale;
	struct hth_tensor logits;
	struct hth_routing routing; /* weight and expert are read */
	struct hth_tensor dweight;  /* (R,k) */
	struct hth_tensor dlogits;  /* (R,E) written; the choice itself has no gradient */
};

/* y_i (R*k,N_i), in the order of slots: x of the slot's row @ W_i[expert]^T + bias_i[expert] + scale * (x @ A^T) @ B^T of
 * the row's adapter. Members share x. rows: which adapter a row has; NULL where no member has any. */
struct hth_experts_up_args {
	const struct hth_rowset *rows;
	struct hth_routing routing;
	int n;
	const struct hth_expert_set *member[HTH_MAX_GROUP];
	struct hth_tensor x;                /* (R,C) */
	struct hth_tensor y[HTH_MAX_GROUP]; /* (R*k,N_i) */
};
/* dx = base + over slots, experts ascending: sum_i dy_i @ W_i[expert] + scale * (dy_i @ B_i) @ A_i; trained: dW_i[e] +=
 * dy_i^T @ x, dbias_i[e]; dA_i += scale * (dy_i @ B_i)^T @ x, dB_i += scale * dy_i^T @ (x @ A_i^T). */
struct hth_experts_up_backward_args {
	const struct hth_rowset *rows;
	struct hth_routing routing;
	int n;
	const struct hth_expert_set *member[HTH_MAX_GROUP];
	struct hth_tensor x;                 /* its shape always; id -1 and ctx NULL when no parameter here is trained */
	struct hth_tensor dy[HTH_MAX_GROUP]; /* HTH_NO_TENSOR: this member got no gradient */
	struct hth_tensor base, dx;          /* (R,C); dx HTH_NO_TENSOR: nothing below needs a gradient */
};

/* y (R,C) = over a row's slots, experts ascending: weight * (a @ W[expert]^T + bias[expert] + scale * (a @ A^T) @ B^T). */
struct hth_experts_down_args {
	const struct hth_rowset *rows;
	struct hth_routing routing;
	const struct hth_expert_set *set;
	struct hth_tensor a; /* (R*k,F), in the order of slots */
	struct hth_tensor y; /* (R,C) */
};
/* With u = dy of the slot's row @ W[expert] + scale * (dy @ B) @ A: da = weight * u; dweight = u.a + dy.bias[expert];
 * trained: dW[e] += weight * dy^T @ a, dbias[e] += weight * dy; dA += weight * scale * (dy @ B)^T @ a, dB += weight *
 * scale * dy^T @ (a @ A^T). */
struct hth_experts_down_backward_args {
	const struct hth_rowset *rows;
	struct hth_routing routing;
	const struct hth_expert_set *set;
	struct hth_tensor a, dy;
	struct hth_tensor da;      /* (R*k,F), not over a; HTH_NO_TENSOR: only parameter gradients are wanted */
	struct hth_tensor dweight; /* (R,k); HTH_NO_TENSOR: not wanted. Only together with da */
};

#endif
