/* The order of examples: which ones each optimizer step takes. A pure function of seed, epoch and step, so that a
 * resumed run needs no replay: the cursor is the step's number. */
#ifndef HTH_TRAIN_ORDER_H
#define HTH_TRAIN_ORDER_H

#include "base/status.h"

#include <stdint.h>

struct hth_order {
	uint32_t n;        /* examples */
	uint32_t per_step; /* examples a step; the last step of an epoch takes what is left */
	int64_t steps_per_epoch;
	uint64_t seed;
	bool shuffle;
	int64_t epoch;   /* of which `items` is the order; -1: none yet */
	uint32_t *items; /* (n) owned */
};

/* n >= 1, per_step >= 1. */
HTH_MUST enum hth_status hth_order_init(struct hth_order *o, uint32_t n, int64_t per_step, uint64_t seed, bool shuffle,
					struct hth_err *err);
void hth_order_clear(struct hth_order *o); /* safe on zeroed */
/* The examples of a step, counted from 0 over all epochs; borrowed until the next call. */
const uint32_t *hth_order_step(struct hth_order *o, int64_t step, int32_t *count);

#endif
