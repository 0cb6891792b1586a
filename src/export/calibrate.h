/* Collecting an importance matrix: a model reads a data set and the inputs of its linear maps are squared and summed.
 */
#ifndef HTH_EXPORT_CALIBRATE_H
#define HTH_EXPORT_CALIBRATE_H

#include "export/imatrix.h"
#include "infer/perplexity.h"

struct hth_calibrate_config {
	const struct hth_model *model;    /* prepared on a backend whose memory is the host's */
	const struct hth_lora_set *loras; /* borrowed; NULL: the base */
	int32_t adapter;                  /* which of them, -1: the base */
	const struct hth_dataset *data;
	bool (*on_progress)(void *ctx, size_t done, size_t total); /* examples; false stops. May be NULL */
	void *ctx;
};

/* loss (may be NULL): mean of -log p over the targets, a by-product. Sums run in double in a fixed order: the thread
 * count changes no bit. */
HTH_MUST enum hth_status hth_calibrate(const struct hth_calibrate_config *cfg, struct hth_imatrix *out, double *loss,
				       struct hth_err *err);

#endif
