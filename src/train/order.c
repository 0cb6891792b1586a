/* Epoch shuffles by counter-based numbers: epoch e's order depends on the seed and e alone. */
#include "train/order.h"
#include "base/mem.h"
#include "base/rng.h"

enum hth_status hth_order_init(struct hth_order *o, uint32_t n, int64_t per_step, uint64_t seed, bool shuffle,
			       struct hth_err *err)
{
	*o = (struct hth_order){.n = n, .seed = seed, .shuffle = shuffle, .epoch = -1};
	if (n < 1)
		return hth_fail(err, HTH_ERR_VALUE, "there are no examples to train on");
	if (per_step < 1)
		return hth_fail(err, HTH_ERR_USAGE, "a step of %lld examples, expected 1 or more", (long long)per_step);
	o->per_step = per_step < n ? (uint32_t)per_step : n;
	o->steps_per_epoch = (n + (int64_t)o->per_step - 1) / o->per_step;
	o->items = hth_calloc(n, sizeof *o->items);
	return o->items != NULL ? HTH_OK : hth_fail_memory(err, "the order of examples", n * sizeof *o->items);
}

void hth_order_clear(struct hth_order *o)
{
	hth_free(o->items);
	*o = (struct hth_order){0};
}

static void arrange(struct hth_order *o, int64_t epoch)
{
	o->epoch = epoch;
	if (o->shuffle) {
		hth_rng_shuffle(hth_rng_key(o->seed, HTH_RNG_SHUFFLE, (uint32_t)epoch, 0), o->items, o->n);
		return;
	}
	for (uint32_t i = 0; i < o->n; i++)
		o->items[i] = i;
}

const uint32_t *hth_order_step(struct hth_order *o, int64_t step, int32_t *count)
{
	int64_t epoch = step / o->steps_per_epoch, first = step % o->steps_per_epoch * o->per_step;

	if (epoch != o->epoch)
		arrange(o, epoch);
	int64_t left = (int64_t)o->n - first;
	*count = (int32_t)(left < o->per_step ? left : o->per_step);
	return o->items + first;
}
