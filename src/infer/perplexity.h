/* How well a model predicts the targets of a data set. */
#ifndef HTH_INFER_PERPLEXITY_H
#define HTH_INFER_PERPLEXITY_H

#include "data/dataset.h"
#include "models/model.h"

struct hth_perplexity_config {
	const struct hth_lora_set *loras; /* borrowed; NULL: the base */
	int32_t adapter;                  /* which of them, -1: the base */
	int64_t token_budget;             /* computed tokens a batch; 0: 2048 */
	bool share_prefix;
	/* Told after each batch how many of the examples are done; false stops. May be NULL. */
	bool (*on_progress)(void *ctx, size_t done, size_t total);
	void *ctx;
};

struct hth_perplexity {
	double nll;                /* sum of -log p over all targets, in nats */
	uint64_t n_targets;        /* mean loss: nll / n_targets; perplexity: its exp */
	size_t n_examples;         /* of the data set, in its order */
	double *example_nll;       /* (n_examples) owned */
	uint32_t *example_targets; /* (n_examples) owned */
};
void hth_perplexity_clear(struct hth_perplexity *p); /* safe on zeroed */

/* m is prepared. HTH_ERR_VALUE when no example has a target or the sum is not a number, HTH_ERR_INTERRUPTED when the
 * listener stopped it. */
HTH_MUST enum hth_status hth_perplexity(const struct hth_model *m, const struct hth_dataset *d,
					const struct hth_perplexity_config *cfg, struct hth_perplexity *out,
					struct hth_err *err);

#endif
