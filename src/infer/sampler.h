/* From logits to a token: repetition penalty, temperature, top-k, top-p, min-p, in that order. Counter-based
 * randomness: the same seed gives the same text. */
#ifndef HTH_INFER_SAMPLER_H
#define HTH_INFER_SAMPLER_H

#include "base/rng.h"
#include "base/status.h"

#include <stdint.h>

struct hth_sampler_config {
	float temperature;        /* 0: greedy */
	int32_t top_k;            /* 0: off */
	float top_p;              /* 1: off */
	float min_p;              /* 0: off */
	float repetition_penalty; /* 1: off; as in CTRL: positive logits divided, negative multiplied */
	int32_t repetition_window;/* tokens looked back on, 0: all */
	uint64_t seed;
};

struct hth_sampler; /* scratch for V candidates */

HTH_MUST enum hth_status hth_sampler_new(const struct hth_sampler_config *cfg, int64_t n_vocab,
                                         struct hth_sampler **out, struct hth_err *err);
void hth_sampler_free(struct hth_sampler *s);
/* history (n): tokens so far, prompt included. position keys the random number. HTH_ERR_VALUE when all logits are
 * NaN or -inf. */
HTH_MUST enum hth_status hth_sampler_pick(struct hth_sampler *s, const float *logits, const int32_t *history, int64_t n,
                                          uint64_t position, int32_t *id, struct hth_err *err);

#endif
