/* A backend: a device, its memory, and a table of op slots. Members stand in list.h; cpu and ref are always there.
 *
 * cpu and ref take all memory of a step from one arena of the size that the plan found (ops/exec.h hands out
 * offsets); `cost` functions are plain C, need no device and are always compiled, so that any machine can plan for
 * any other. */
#ifndef HTH_BACKEND_BACKEND_H
#define HTH_BACKEND_BACKEND_H

#include "backend/args.h"
#include "backend/recurrent.h"
#include "base/pool.h"

/* The type of products' operands. AUTO: bf16 where this machine's products are faster so, else f32. */
enum hth_compute { HTH_COMPUTE_AUTO, HTH_COMPUTE_F32, HTH_COMPUTE_BF16 };

/* What a cost depends on besides shapes. */
struct hth_machine {
	int threads;
	enum hth_compute compute; /* AUTO counts as F32 */
	const char *kernels;     /* kernel set ("avx512"), or NULL: the best of this CPU */
	double flops_per_s;      /* measured or tabled peak of the compute type; 0 unknown */
	double bytes_per_s;      /* memory bandwidth; 0 unknown */
	uint64_t memory_bytes;   /* what a run may use */
};

struct hth_cost {
	double flops;           /* useful floating point operations */
	double bytes_moved;     /* compulsory traffic: weights, inputs, outputs once */
	uint64_t scratch_bytes; /* needed during run, 64-byte aligned */
};

struct hth_device_config {
	struct hth_pool *pool;   /* borrowed; NULL: one thread */
	enum hth_compute compute;
	const char *kernels;     /* force a kernel set, or NULL: HEARTH_CPU, else the best */
};

struct hth_device; /* opaque, one per backend and config; first member of each backend's own struct */

/* What keys and values are rounded to. A device that computes in bf16 keeps them in bf16 instead of f16. */
enum hth_state_type { HTH_STATE_F16, HTH_STATE_F32 };
enum { HTH_STATE_LAYERS = 4096 };
struct hth_state_shape {
	enum hth_state_type type;
	int32_t n_layers;   /* with attention and keys of their own, at most HTH_STATE_LAYERS */
	int64_t n_kv, head; /* K, D */
	int64_t local_kv, local_head;        /* of the layers in `local`, if those differ; 0: none do */
	uint8_t local[HTH_STATE_LAYERS / 8]; /* a bit a layer */
	int64_t capacity;   /* tokens */
	struct hth_recurrent_shape recurrent; /* of the layers that recur; all zero: none do */
};

/* Of one of its layers. */
static inline bool hth_state_is_local(const struct hth_state_shape *s, int64_t layer)
{
	return s->local_kv > 0 && (s->local[layer / 8] >> (layer % 8) & 1) != 0;
}
static inline int64_t hth_state_kv(const struct hth_state_shape *s, int64_t layer)
{
	return hth_state_is_local(s, layer) ? s->local_kv : s->n_kv;
}
static inline int64_t hth_state_head(const struct hth_state_shape *s, int64_t layer)
{
	return hth_state_is_local(s, layer) ? s->local_head : s->head;
}

enum hth_op {
#define HTH_OP(name) HTH_OP_##name,
#include "backend/oplist.h"
#undef HTH_OP
	HTH_OP_COUNT
};

/* Typed at the call by the op's own wrapper; args points to struct hth_<name>_args. */
typedef void hth_cost_fn(const struct hth_machine *m, const void *args, struct hth_cost *out);
typedef enum hth_status hth_run_fn(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err);

struct hth_slot {
	hth_cost_fn *cost;
	hth_run_fn *run; /* NULL: this backend has no such op; the plan says so */
};

struct hth_backend {
	const char *name; /* "cpu" */
	bool host_memory; /* tensors are plain host pointers into the execution's arena */
	/* What open makes of a wanted type: AUTO resolved. kernels: as in the device's config. */
	enum hth_compute (*compute)(enum hth_compute wanted, const char *kernels);
	enum hth_status (*open)(const struct hth_device_config *cfg, struct hth_device **out, struct hth_err *err);
	void (*close)(struct hth_device *dev);
	/* What prepare would allocate for w, and prepare itself: fills w->prepared or leaves NULL. both: forward and
	 * input gradient are needed (training). */
	uint64_t (*prepare_bytes)(const struct hth_machine *m, const struct hth_weight *w, bool both);
	enum hth_status (*prepare)(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err);
	void (*unprepare)(struct hth_device *dev, struct hth_weight *w);
	uint64_t (*state_bytes)(const struct hth_state_shape *s);
	enum hth_status (*state_new)(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
	                             struct hth_err *err);
	void (*state_free)(struct hth_device *dev, struct hth_state *s); /* NULL is fine */
	/* The longest beginning, at most n tokens, of what the state has seen that a segment can continue (its `past`): n
	 * itself where no layer recurs. */
	int64_t (*state_reach)(const struct hth_state *s, int64_t n);
	const char *(*describe)(const struct hth_device *dev); /* "cpu avx512, 8 threads, f32" */
	/* What costs on this very device depend on: threads and kernels as it has them. A plan for an execution on dev
	 * must use it, or its scratch may not suffice. NULL: hth_machine_threads() and the best kernels. */
	void (*machine)(const struct hth_device *dev, struct hth_machine *out);
	struct hth_slot slot[HTH_OP_COUNT];
};

const struct hth_backend *hth_backend_find(const char *name); /* NULL when not in this build */
const struct hth_backend *hth_backend_at(int i);              /* list order, NULL past the end */

#endif
