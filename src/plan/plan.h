/* What a run will take: memory to the byte, tokens, steps, time. The numbers come from walking the run's real
 * micro-batches through the real step (train/fit.h); this adds the machine's speed and the words. */
#ifndef HTH_PLAN_PLAN_H
#define HTH_PLAN_PLAN_H

#include "train/fit.h"

/* How fast a machine is; 0: unknown. */
struct hth_speed {
	double flops_per_s; /* of the products that training makes, forward and backward, on the model's own weights */
	double bytes_per_s; /* memory copied: read and written */
};

struct hth_plan {
	struct hth_fit fit;
	struct hth_speed speed;
	double seconds; /* of the whole run; 0: unknown */
	char model[128], device[96];
	uint64_t n_params; /* of the base */
	size_t n_rows, n_examples, n_valid_rows, n_dropped, n_cut, n_duplicates;
	bool fits;
	char why_not[HTH_ERR_TEXT_BYTES]; /* when it does not */
};

/* Opens model and data as the run would, walks it and (with measure) times a product for a fraction of a second.
 * A run that does not fit gives HTH_OK with fits false and why_not. */
HTH_MUST enum hth_status hth_plan_make(const struct hth_train_config *cfg, bool measure, struct hth_plan *out,
				       struct hth_err *err);
/* Seconds of a walked run at a speed: the slower of computing and moving. 0 when the speed is unknown. */
double hth_plan_seconds(const struct hth_walk *w, const struct hth_speed *s);

/* Times the product of the model's most common kind of weight (zeros in its format and shape, so that nothing is read)
 * on a device: best of a few, about a quarter of a second. Host-memory backends only. */
HTH_MUST enum hth_status hth_speed_measure(const struct hth_model *m, const struct hth_backend *b,
					   struct hth_device *dev, const struct hth_machine *machine,
					   struct hth_speed *out, struct hth_err *err);

/* Appends the table for people, or one JSON object. */
HTH_MUST enum hth_status hth_plan_print(const struct hth_plan *p, struct hth_buf *out, struct hth_err *err);
HTH_MUST enum hth_status hth_plan_json(const struct hth_plan *p, struct hth_buf *out, struct hth_err *err);

#endif
