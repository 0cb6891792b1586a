/* The cpu backend: kernels picked for this processor, products in f32 or bf16, work cut into tasks for the thread pool.
 * Each op's file stands beside the one of the same name in backend/ref, which is its definition. In bf16 the operands of
 * the products of many rows are rounded, attention's too; sums, the residual stream and decoding's dot products are f32.
 *
 * Weights are used in the blocks of their file: nothing is prepared. state.h says how the past is kept. */
#include "backend/cpu/cpu_int.h"
#include "backend/cpu/state.h"
#include "base/checked.h"
#include "base/mem.h"

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

static uint64_t cpu_prepare_bytes(const struct hth_machine *m, const struct hth_weight *w, bool both)
{
	(void)m, (void)w, (void)both;
	return 0;
}

static enum hth_status cpu_prepare(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err)
{
	(void)dev, (void)both, (void)err;
	w->prepared = NULL;
	return HTH_OK;
}

static void cpu_unprepare(struct hth_device *dev, struct hth_weight *w)
{
	(void)dev;
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
	uint64_t keys;

	return state_elems(s, &padded, &keys) ? 2 * keys * sizeof(float) : UINT64_MAX;
}

static enum hth_status cpu_state_new(struct hth_device *dev, const struct hth_state_shape *s, struct hth_state **out,
                                     struct hth_err *err)
{
	struct cpu_state padded, *state = NULL;
	uint64_t keys = 0;

	(void)dev;
	*out = NULL;
	if (state_elems(s, &padded, &keys) && keys <= SIZE_MAX / 16)
		state = hth_calloc(1, sizeof *state);
	if (state != NULL) {
		*state = padded;
		/* Cleared by the system as pages are touched: a large capacity costs what is used. */
		state->keys = hth_calloc((size_t)(2 * keys), sizeof(float));
	}
	if (state == NULL || state->keys == NULL) {
		hth_free(state);
		return hth_fail_memory(err, "a state's keys and values", (size_t)cpu_state_bytes(s));
	}
	state->values = state->keys + keys;
	*out = (struct hth_state *)state;
	return HTH_OK;
}

static void cpu_state_free(struct hth_device *dev, struct hth_state *s)
{
	struct cpu_state *state = (struct cpu_state *)s;

	(void)dev;
	if (state != NULL)
		hth_free(state->keys);
	hth_free(state);
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
	.describe = cpu_describe,
	.machine = cpu_machine,
	.slot = {
#define HTH_OP(name) [HTH_OP_##name] = {cpu_##name##_cost, cpu_##name},
#include "backend/oplist.h"
#undef HTH_OP
	},
};
