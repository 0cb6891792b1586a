/* The cpu backend: kernels picked for this processor, products in f32 or bf16, work cut into tasks for the thread pool.
 * Each op's file stands beside the one of the same name in backend/ref, which is its definition. In bf16 the operands of
 * the products of many rows are rounded, attention's too; sums, the residual stream and decoding's dot products are f32.
 *
 * Weights are used in the blocks of their file; where the kernels gain by it, decoding has them side by side as well
 * (prepare.c). state.h says how the past is kept. */
#include "backend/cpu/cpu_int.h"
#include "backend/cpu/state.h"
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
