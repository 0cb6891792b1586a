/* Forward passes of a model on an arena that a plan has sized: what sessions and perplexity share. */
#ifndef HTH_INFER_PASS_H
#define HTH_INFER_PASS_H

#include "models/model.h"

struct hth_pass {
	const struct hth_model *model;    /* borrowed, prepared */
	const struct hth_lora_set *loras; /* borrowed, or &base */
	struct hth_lora_set base;         /* no adapter, when none were given */
	struct hth_machine machine;
	struct hth_exec *plan, *run;
	uint64_t bytes; /* of the arena of run */
};

/* loras NULL: the base alone. */
HTH_MUST enum hth_status hth_pass_init(struct hth_pass *p, const struct hth_model *m, const struct hth_lora_set *loras,
				       struct hth_err *err);
void hth_pass_clear(struct hth_pass *p); /* safe on zeroed */
/* Walks the pass with costs only and makes room for it. Values of earlier passes are gone when room had to grow. */
HTH_MUST enum hth_status hth_pass_reserve(struct hth_pass *p, const struct hth_batch *b, enum hth_forward what,
					  struct hth_err *err);
/* Runs it; a pass as large was reserved before. *out: host pointer to the result in f32 (decoder.c says which),
 * borrowed until the next call. */
HTH_MUST enum hth_status hth_pass_run(struct hth_pass *p, const struct hth_batch *b, enum hth_forward what,
				      const float **out, struct hth_err *err);

#endif
