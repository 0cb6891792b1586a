/* A session: one mutable conversation with a model. Holds the state of every layer and what it has seen; a new
 * prompt that begins as the old tokens did keeps that part of the state. Belongs to one thread. */
#ifndef HTH_INFER_SESSION_H
#define HTH_INFER_SESSION_H

#include "models/model.h"

struct hth_session;

struct hth_session_config {
	int64_t capacity;             /* tokens of context; 0: min(model context, 4096) */
	int64_t prompt_chunk;         /* rows computed at once while reading a prompt; 0: 512 */
	const struct hth_lora_set *loras; /* borrowed; NULL: the base */
	int32_t adapter;              /* which of them, -1: the base */
	enum hth_state_type kv_type;  /* of what is kept of the tokens before */
};

/* model must be prepared (hth_model_prepare). */
HTH_MUST enum hth_status hth_session_new(struct hth_model *model, const struct hth_session_config *cfg,
                                         struct hth_session **out, struct hth_err *err);
void hth_session_free(struct hth_session *s);
/* Makes the state stand after exactly these tokens, reusing the common beginning, and gives logits (V) of the next
 * token: borrowed until the next call. n >= 1; beyond the capacity: HTH_ERR_LIMIT naming both numbers. */
HTH_MUST enum hth_status hth_session_prompt(struct hth_session *s, const int32_t *ids, int64_t n, const float **logits,
                                            struct hth_err *err);
/* Appends one token; the same logits. The one that passes a LongRoPE model's original context has all before it read
 * again; a failure may then leave fewer tokens. */
HTH_MUST enum hth_status hth_session_step(struct hth_session *s, int32_t id, const float **logits, struct hth_err *err);
int64_t hth_session_length(const struct hth_session *s);
int64_t hth_session_capacity(const struct hth_session *s);

#endif
