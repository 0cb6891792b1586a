/* What the cpu backend makes of weights before a run: for decoding, a second form with rows side by side
 * (kernels/interleave.h). The matrices of a model lie in a few large pieces of memory, because decoding reads all of them
 * for each token: on huge pages that misses no address translation, and one matrix is often smaller than such a page. */
#include "backend/cpu/cpu_int.h"
#include "base/mem.h"
#include "kernels/interleave.h"

enum { ALIGN = 64, PREPARE_GROUPS = 8 /* sixteens of a task */ };
#define SLAB_BYTES ((uint64_t)64 << 20)

struct cpu_slab {
	struct cpu_slab *next;
	uint8_t *data;
	uint64_t bytes, used;
	int64_t live; /* matrices that lie here */
};

/* `bytes` of the device's newest slab, or of a new one; NULL when memory is out. */
static void *slab_take(struct cpu_device *dev, uint64_t bytes)
{
	struct cpu_slab *slab = dev->slabs;

	bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
	if (slab == NULL || slab->bytes - slab->used < bytes) {
		slab = hth_calloc(1, sizeof *slab);
		if (slab == NULL)
			return NULL;
		slab->bytes = bytes > SLAB_BYTES ? bytes : SLAB_BYTES;
		slab->data = slab->bytes <= SIZE_MAX ? hth_alloc_large((size_t)slab->bytes) : NULL;
		if (slab->data == NULL) {
			hth_free(slab);
			return NULL;
		}
		slab->next = dev->slabs;
		dev->slabs = slab;
	}
	void *at = slab->data + slab->used;
	slab->used += bytes;
	slab->live++;
	return at;
}

/* A slab is given back with its last matrix. */
static void slab_give(struct cpu_device *dev, const uint8_t *at)
{
	for (struct cpu_slab **link = &dev->slabs, *s; (s = *link) != NULL; link = &s->next) {
		if ((uintptr_t)at - (uintptr_t)s->data >= s->bytes)
			continue;
		if (--s->live == 0) {
			*link = s->next;
			hth_free(s->data);
			hth_free(s);
		}
		return;
	}
}

/* Bytes of w with its rows side by side in sixteens, for decoding; 0: this set has no use for that form, or the matrix is
 * not cut so. In training (both) rows come in hundreds: the blocks of the file serve those. */
static uint64_t side_by_side(hth_matvec16_fn *fn, const struct hth_weight *w, bool both)
{
	if (both || fn == NULL || w->rows % HTH_LANES != 0 || w->head_rows % HTH_LANES != 0)
		return 0;
	return (uint64_t)w->rows / HTH_LANES * hth_interleaved_bytes(w->quant, w->cols);
}

uint64_t cpu_prepare_bytes(const struct hth_machine *m, const struct hth_weight *w, bool both)
{
	struct hth_kernel_pick pick;

	if (hth_kernels_pick(m->kernels, &pick, NULL) != HTH_OK) /* another machine's: no set of ours has it */
		return 0;
	return side_by_side(pick.k.matvec16[w->quant], w, both);
}

static void prepare_task(void *ctx, int64_t task, int thread)
{
	const struct hth_weight *w = ctx;
	int64_t last = cpu_min(w->rows / HTH_LANES, (task + 1) * PREPARE_GROUPS);
	uint64_t bytes = hth_interleaved_bytes(w->quant, w->cols), rows = HTH_LANES * w->row_bytes;

	(void)thread;
	for (uint64_t g = (uint64_t)task * PREPARE_GROUPS; g < (uint64_t)last; g++)
		hth_interleave(w->quant, w->data + g * rows, w->row_bytes, w->cols, (uint8_t *)w->prepared + g * bytes);
}

enum hth_status cpu_prepare(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err)
{
	struct cpu_device *d = (struct cpu_device *)dev;
	uint64_t bytes = side_by_side(d->kernels.k.matvec16[w->quant], w, both);

	w->prepared = NULL;
	if (bytes == 0)
		return HTH_OK;
	w->prepared = slab_take(d, bytes);
	if (w->prepared == NULL)
		return hth_fail_memory(err, "a matrix laid out for decoding", (size_t)bytes);
	hth_pool_run(d->pool, prepare_task, w, cpu_ceil(w->rows / HTH_LANES, PREPARE_GROUPS));
	return HTH_OK;
}

void cpu_unprepare(struct hth_device *dev, struct hth_weight *w)
{
	slab_give((struct cpu_device *)dev, w->prepared);
	w->prepared = NULL;
}
