/* Between experts.c, experts_backward.c and experts_lora.c: batches of slots, and one expert's product with the slots it has in a
 * batch.
 *
 * Slots are sorted by expert and worked off in batches of a fixed number of rows, so that scratch is bounded. An expert
 * with at most CPU_MATVEC_ROWS slots in a batch has dot products straight on its blocks (decoding: only what was chosen
 * is read), others the packed product. */
#ifndef HTH_BACKEND_CPU_EXPERTS_INT_H
#define HTH_BACKEND_CPU_EXPERTS_INT_H

#include "backend/cpu/cpu_int.h"

struct cpu_slots {
	const struct cpu_device *dev;
	const struct hth_kernels *k;
	const struct hth_routing *routing;
	struct cpu_tile tile;
	int64_t n, batch, s0, sn; /* slots in all, a batch, this batch's first and number */
	int64_t e0, e1;           /* experts with slots in this batch: e0 .. e1-1 */
};
static inline const int32_t *cpu_ints(struct hth_tensor t)
{
	return t.ctx;
}
static inline int64_t cpu_slot_row(const struct cpu_slots *s, int64_t slot)
{
	return cpu_ints(s->routing->order)[slot] / s->routing->top;
}
/* k: the deepest row that is packed. */
void cpu_slots_init(struct cpu_slots *s, const struct hth_routing *r, struct cpu_tile tile, int64_t k);
/* Starts the batch at s0. */
void cpu_slots_begin(struct cpu_slots *s, int64_t s0);
/* Expert e's rows of the batch; false when it has none. */
bool cpu_slots_of(const struct cpu_slots *s, int64_t e, int64_t *r0, int64_t *r1);

/* A matrix of `k` columns with a row for each slot of the batch. */
struct cpu_slot_rows {
	int64_t k;
	const float *rows; // (sn,k)
	float *gathered;   // (batch,k), or NULL: rows are in place
	float *packed;     // (batch,k) in blocks
	float *prepared;   // (batch,hth_prepared_elems(k)), or NULL: no expert is expected to have few slots
};
/* gather: rows come from a tensor with one row for each R. few: dot products are possible (forward). */
void cpu_slot_rows_layout(const struct cpu_slots *s, struct cpu_slot_rows *m, struct cpu_scratch *scratch, int64_t k,
			  bool gather, bool few);
/* Fills m for the batch from `from`: (R,k) when gathered, else (R*k,k). */
void cpu_slot_rows_fill(const struct cpu_slots *s, struct cpu_slot_rows *m, struct hth_tensor from);
/* c = rows r0..r1-1 of the batch @ W^T, columns j0..j1-1. c: where the element of row r0 / mr * mr, column j0 stands.
 */
void cpu_expert_product(const struct cpu_slots *s, const struct cpu_slot_rows *m, const struct hth_weight *w,
			int64_t r0, int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc,
			const struct cpu_work *work);
/* The same with W in place of W^T, = or +=. j0 cuts no block (cpu_right_cols). */
void cpu_expert_product_back(const struct cpu_slots *s, const struct cpu_slot_rows *m, const struct hth_weight *w,
			     int64_t r0, int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc, bool add,
			     const struct cpu_work *work);

/* --- adapters (experts_lora.c); all of it is nothing where rank is 0 ------------------------------------------------- */

/* One set's adapters with the slots of a batch. */
struct cpu_expert_lora {
	const struct hth_expert_set *set;
	const struct hth_rowset *rows;
	int64_t rank;   /* the largest of the adapters */
	const float *x; // (sn,C), or NULL
	const float *dy; // (sn,N), or NULL
	float *xa;      // (batch,rank) x @ A^T, undefined where a row has no adapter; NULL: backward and nothing trained
	float *t1;      // (batch,rank) scale * dy @ B; backward
};
int64_t cpu_expert_rank(const struct hth_expert_set *set);
bool cpu_expert_lora_trained(const struct hth_expert_set *set);
double cpu_expert_lora_flops(const struct hth_expert_set *set, const struct hth_routing *r, double times);
void cpu_expert_lora_layout(const struct cpu_slots *s, struct cpu_expert_lora *m, struct cpu_scratch *scratch,
			    const struct hth_expert_set *set, const struct hth_rowset *rows, bool back);
/* xa of the batch's x, t1 of its dy; NULL: not that one. */
void cpu_expert_lora_rows(const struct cpu_slots *s, struct cpu_expert_lora *m, const float *x, const float *dy,
			  float *works);
/* c += scale * xa @ B^T for rows r0..r1-1 of expert e, columns j0..j1-1; c: where row r0, column j0 stands. */
void cpu_expert_lora_add(const struct cpu_slots *s, const struct cpu_expert_lora *m, int64_t e, int64_t r0, int64_t r1,
			 int64_t j0, int64_t j1, float *c, int64_t ldc, const struct cpu_work *work);
/* c += t1 @ A, likewise. */
void cpu_expert_lora_add_back(const struct cpu_slots *s, const struct cpu_expert_lora *m, int64_t e, int64_t r0,
			      int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc, const struct cpu_work *work);
/* dA += t1^T @ x, dB += scale * dy^T @ xa. */
void cpu_expert_lora_grads(const struct cpu_slots *s, const struct cpu_expert_lora *m, float *works);

/* What a set costs: FLOPs of one product, and bytes of the experts that are read, if all are as likely. */
double cpu_experts_flops(const struct hth_expert_set *set, const struct hth_routing *r);
double cpu_experts_bytes(const struct hth_expert_set *set, const struct hth_routing *r);

#endif
