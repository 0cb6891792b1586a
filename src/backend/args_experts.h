/* Arguments of the op slots of a mixture of experts (args.h has the conventions).
 *
 * Which experts a row goes to is data, never a shape: R rows with k choices each are always R*k slots, sorted by
 * expert. Letters: E experts, k choices a row, F width of an expert. */
#ifndef HTH_BACKEND_ARGS_EXPERTS_H
#define HTH_BACKEND_ARGS_EXPERTS_H

#include "tensor/tensor.h"
#include "tensor/weight.h"

/* One matrix of every expert, all of one shape. */
struct hth_expert_set {
	int64_t n;               /* E */
	struct hth_weight *w;    /* (E) of (N,C) each, in one format */
	struct hth_weight *bias; /* (E) of (1,N) f32 each, or NULL */
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

/* y_i (R*k,N_i), in the order of slots: x of the slot's row @ W_i[expert]^T + bias_i[expert]. Members share x. */
struct hth_experts_up_args {
	struct hth_routing routing;
	int n;
	const struct hth_expert_set *member[HTH_MAX_GROUP];
	struct hth_tensor x;                /* (R,C) */
	struct hth_tensor y[HTH_MAX_GROUP]; /* (R*k,N_i) */
};
/* dx = base + over slots, experts ascending: sum_i dy_i @ W_i[expert]; trained: dW_i[e] += dy_i^T @ x, dbias_i[e]. */
struct hth_experts_up_backward_args {
	struct hth_routing routing;
	int n;
	const struct hth_expert_set *member[HTH_MAX_GROUP];
	struct hth_tensor x;                 /* its shape always; id -1 and ctx NULL when no weight here is trained */
	struct hth_tensor dy[HTH_MAX_GROUP]; /* HTH_NO_TENSOR: this member got no gradient */
	struct hth_tensor base, dx;          /* (R,C); dx HTH_NO_TENSOR: nothing below needs a gradient */
};

/* y (R,C) = over a row's slots, experts ascending: weight * (a @ W[expert]^T + bias[expert]). */
struct hth_experts_down_args {
	struct hth_routing routing;
	const struct hth_expert_set *set;
	struct hth_tensor a; /* (R*k,F), in the order of slots */
	struct hth_tensor y; /* (R,C) */
};
/* With u = dy of the slot's row @ W[expert]: da = weight * u; dweight = u.a + dy.bias[expert]; trained:
 * dW[e] += weight * dy^T @ a, dbias[e] += weight * dy. */
struct hth_experts_down_backward_args {
	struct hth_routing routing;
	const struct hth_expert_set *set;
	struct hth_tensor a, dy;
	struct hth_tensor da;      /* (R*k,F), not over a; HTH_NO_TENSOR: only parameter gradients are wanted */
	struct hth_tensor dweight; /* (R,k); HTH_NO_TENSOR: not wanted. Only together with da */
};

#endif
