/* Prompt in, text out: the loop of session and sampler, with stop strings and streaming. */
#ifndef HTH_INFER_GENERATE_H
#define HTH_INFER_GENERATE_H

#include "infer/sampler.h"
#include "infer/session.h"

enum hth_finish { HTH_FINISH_STOP, HTH_FINISH_LENGTH, HTH_FINISH_CONTEXT, HTH_FINISH_CANCELLED };

struct hth_generate_config {
	struct hth_sampler_config sampler;
	int64_t max_tokens;
	const char *const *stop; /* (n_stop) strings that end the answer and are not shown */
	size_t n_stop;
	bool show_special;       /* print special tokens too */
	bool ignore_end;         /* go on after end-of-turn tokens (benchmarks) */
};

struct hth_generated {
	struct hth_buf text;
	int32_t *ids;            /* (n_ids) owned */
	int64_t n_ids, n_prompt;
	enum hth_finish finish;
	double prompt_s, decode_s;
};
void hth_generated_clear(struct hth_generated *g); /* safe on zeroed */

/* on_text: called with text as it becomes certain (whole UTF-8 characters; text that might begin a stop string is
 * held back); returning false cancels. May be NULL. */
HTH_MUST enum hth_status hth_generate(struct hth_session *s, const struct hth_model *m, const int32_t *prompt, int64_t n,
                                      const struct hth_generate_config *cfg,
                                      bool (*on_text)(void *ctx, const char *text, size_t bytes), void *ctx,
                                      struct hth_generated *out, struct hth_err *err);

#endif
