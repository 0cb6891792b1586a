/* The cpu backend: kernels picked for this processor, products in f32 or bf16, work cut into tasks for the thread pool.
 * Each op's file stands beside the one of the same name in backend/ref, which is its definition. In bf16 the operands of
 * the products of many rows are rounded, attention's too; sums, the residual stream and decoding's dot products are f32.
 *
 * Weights are used in the blocks of their file; where the kernels gain by it, decoding has them side by side as well
 * (kernels/interleave.h). state.h says how the past is kept. */
#include "backend/cpu/cpu_int.h"
#include "backend/cpu/state.h"
#include "base/checked.h"
#include "base/mem.h"
#include "kernels/interleave.h"

#include <stdio.h>
#include <string.h>

extern const struct hth_backend hth_backend_cpu;

static enum hth_compute cpu_compute(enum hth_compute wanted, const char *kernels)
{
	if (wanted != HTH_COMPUTE_AUTO)
		return wanted;
	return hth_kernels_bf16_pays(kernels) ? HTH_COMPUTE_BF16 : HTH_COMPUTE_F32;
}

/* The device's kernels for bf16; refused where only ref has them and a faster set is in force. */
static enum hth_status use_bf16(struct cpu_device *dev, struct hth_err *err)
{
	struct hth_kernel_pick *pick = &dev->kernels;

	if (strcmp(pick->bf16_winner, "ref") == 0 && strcmp(pick->name, "ref") != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend cpu: no kernels for bf16 in the set %s; use --compute f32",
		                pick->name);
	pick->k.product = pick->k.bf16;
	return HTH_OK;
}

static enum hth_status cpu_open(const struct hth_device_config *cfg, struct hth_device **out, struct hth_err *err)
{
	*out = NULL;
	struct cpu_device *dev = hth_calloc(1, sizeof *dev);
	if (dev == NULL)
		return hth_fail_memory(err, "a device", sizeof *dev);
	dev->backend = &hth_backend_cpu;
	dev->pool = cfg->pool;
	dev->compute = cpu_compute(cfg->compute, cfg->kernels);
	enum hth_status rc = hth_kernels_pick(cfg->kernels, &dev->kernels, err);
	if (rc == HTH_OK && dev->compute == HTH_COMPUTE_BF16)
		rc = use_bf16(dev, err);
	if (rc != HTH_OK) {
		hth_free(dev);
		return rc;
	}
	int threads = hth_pool_threads(cfg->pool);
	snprintf(dev->text, sizeof dev->text, "cpu %s, %d thread%s, %s", dev->kernels.name, threads, threads == 1 ? "" : "s",
	         dev->compute == HTH_COMPUTE_BF16 ? "bf16" : "f32");
	*out = (struct hth_device *)dev;
	return HTH_OK;
}

static void cpu_close(struct hth_device *dev)
{
	hth_free(dev);
}

/* Bytes of w with its rows side by side in sixteens, for decoding; 0: this set has no use for that form, or the matrix is
 * not cut so. In training (both) rows come in hundreds: the blocks of the file serve those. */
static uint64_t side_by_side(hth_matvec16_fn *fn, const struct hth_weight *w, bool both)
{
	if (both || fn == NULL || w->rows % HTH_LANES != 0 || w->head_rows % HTH_LANES != 0)
		return 0;
	return (uint64_t)w->rows / HTH_LANES * hth_interleaved_bytes(w->quant, w->cols);
}

static uint64_t cpu_prepare_bytes(const struct hth_machine *m, const struct hth_weight *w, bool both)
{
	struct hth_kernel_pick pick;

	if (hth_kernels_pick(m->kernels, &pick, NULL) != HTH_OK) /* another machine's: no set of ours has it */
		return 0;
	return side_by_side(pick.k.matvec16[w->quant], w, both);
}

enum { PREPARE_GROUPS = 8 }; /* sixteens of a task */

static void prepare_task(void *ctx, int64_t task, int thread)
{
	const struct hth_weight *w = ctx;
	int64_t last = cpu_min(w->rows / HTH_LANES, (task + 1) * PREPARE_GROUPS);
	uint64_t bytes = hth_interleaved_bytes(w->quant, w->cols), rows = HTH_LANES * w->row_bytes;

	(void)thread;
	for (uint64_t g = (uint64_t)task * PREPARE_GROUPS; g < (uint64_t)last; g++)
		hth_interleave(w->quant, w->data + g * rows, w->row_bytes, w->cols, (uint8_t *)w->prepared + g * bytes);
}

static enum hth_status cpu_prepare(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	uint64_t bytes = side_by_side(d->kernels.k.matvec16[w->quant], w, both);

	w->prepared = NULL;
	if (bytes == 0)
		return HTH_OK;
	w->prepared = bytes <= SIZE_MAX ? hth_alloc_aligned((size_t)bytes, 64) : NULL;
	if (w->prepared == NULL)
		return hth_fail_memory(err, "a matrix laid out for decoding", (size_t)bytes);
	hth_pool_run(d->pool, prepare_task, w, cpu_ceil(w->rows / HTH_LANES, PREPARE_GROUPS));
	return HTH_OK;
}

static void cpu_unprepare(struct hth_device *dev, struct hth_weight *w)
{
	(void)dev;
	hth_free(w->prepared);
	w->prepared = NULL;
}

/* Keys, and as many values, in words at one number each, padded; false when they pass 64 bits or a size is negative. */
static bool state_elems(const struct hth_state_shape *s, struct cpu_state *padded, uint64_t *keys)
{
	uint64_t heads, capacity, width;

	if (s->n_layers < 0 || s->n_kv < 0 || s->head < 0 || s->capacity < 0 ||
	    !hth_pad_u64((uint64_t)s->capacity, CPU_STATE_PAD, &capacity) ||
	    !hth_pad_u64((uint64_t)s->head, CPU_STATE_PAD, &width) ||
	    !hth_mul_u64((uint64_t)s->n_layers, (uint64_t)s->n_kv, &heads) || !hth_mul_u64(heads, capacity, &heads) ||
	    !hth_mul_u64(heads, width, keys) || *keys > UINT64_MAX / 16)
		return false;
	*padded = (struct cpu_state){.shape = *s, .capacity = (int64_t)capacity, .width = (int64_t)width};
	return true;
}

/* UINT64_MAX when out of range. */
static uint64_t cpu_state_bytes(const struct hth_state_shape *s)
{
	struct cpu_state padded;
	uint64_t keys, bytes;

	return state_elems(s, &padded, &keys) &&
	                       hth_add_u64(2 * keys * sizeof(float), hth_recurrent_bytes(&s->recurrent), &bytes)
	               ? bytes
	               : UINT64_MAX;
}

static void cpu_state_free(struct hth_device *dev, struct hth_state *s)
{
	struct cpu_state *state = (struct cpu_state *)s;

	(void)dev;
	if (state == NULL)
		return;
	hth_recurrent_free(state->recurrent);
	hth_free(state->keys);
	hth_free(state);
}

static enum hth_status cpu_state_new(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
                                     struct hth_err *err)
{
	struct cpu_state padded, *state = NULL;
	uint64_t keys = 0;
	enum hth_status st = HTH_OK;

	*out = NULL;
	if (state_elems(s, &padded, &keys) && keys <= SIZE_MAX / 16)
		state = hth_calloc(1, sizeof *state);
	if (state != NULL) {
		*state = padded;
		/* Cleared by the system as pages are touched: a large capacity costs what is used. */
		state->keys = hth_calloc((size_t)(2 * keys), sizeof(float));
	}
	if (state == NULL || state->keys == NULL)
		st = hth_fail_memory(err, "a state's keys and values", (size_t)cpu_state_bytes(s));
	else
		st = hth_recurrent_new(&s->recurrent, &state->recurrent, err);
	if (st != HTH_OK) {
		cpu_state_free(dev, (struct hth_state *)state);
		return st;
	}
	state->values = state->keys + keys;
	*out = (struct hth_state *)state;
	return HTH_OK;
}

static int64_t cpu_state_reach(const struct hth_state *s, int64_t n)
{
	return hth_recurrent_reach(((const struct cpu_state *)s)->recurrent, n);
}

enum hth_status cpu_find_moves(const struct hth_batch *b, int32_t layer, enum hth_recurrent_part part, int64_t elems,
                               struct cpu_move *moves, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	for (int32_t i = 0; i < b->n_segments && st == HTH_OK; i++) {
		const struct hth_segment *g = &b->segments[i];
		moves[i] = (struct cpu_move){NULL, NULL};
		if (g->state < 0)
			continue;
		struct cpu_state *state = (struct cpu_state *)b->states[g->state];
		st = hth_recurrent_move(state != NULL ? state->recurrent : NULL, layer, part, elems, g->past, g->len,
		                        &moves[i].from, &moves[i].to, err);
	}
	return st;
}

static const char *cpu_describe(const struct hth_device *dev)
{
	return cpu_device(dev)->text;
}

static void cpu_machine(const struct hth_device *dev, struct hth_machine *out)
{
	*out = (struct hth_machine){.threads = hth_pool_threads(cpu_device(dev)->pool),
	                            .compute = cpu_device(dev)->compute,
	                            .kernels = cpu_device(dev)->kernels.name};
}

const struct hth_backend hth_backend_cpu = {
	.name = "cpu",
	.host_memory = true,
	.compute = cpu_compute,
	.open = cpu_open,
	.close = cpu_close,
	.prepare_bytes = cpu_prepare_bytes,
	.prepare = cpu_prepare,
	.unprepare = cpu_unprepare,
	.state_bytes = cpu_state_bytes,
	.state_new = cpu_state_new,
	.state_free = cpu_state_free,
	.state_reach = cpu_state_reach,
	.describe = cpu_describe,
	.machine = cpu_machine,
	.slot = {
#define HTH_OP(name) [HTH_OP_##name] = {cpu_##name##_cost, cpu_##name},
#include "backend/oplist.h"
#undef HTH_OP
	},
};
