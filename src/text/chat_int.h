/* What chat.c and chat_targets.c share. */
#ifndef HTH_TEXT_CHAT_INT_H
#define HTH_TEXT_CHAT_INT_H

#include "text/chat.h"

/* messages[0..n) through the template. */
HTH_MUST enum hth_status hth_chat_render_first(const struct hth_chat *c, const json_t *messages, size_t n,
					       const json_t *tools, bool add_generation_prompt,
					       struct hth_rendered *out, struct hth_err *err);

/* A rendering's text to ids as chat.c's first comment says, with one BOS in front where one is due. No token reaches
 * across byte `cut` (0: none is asked for). Offsets are bytes of the text; at most 1 GiB of it. Appends to out. */
HTH_MUST enum hth_status hth_chat_encode(const struct hth_chat *c, const struct hth_rendered *r, size_t cut,
					 struct hth_tokens *out, struct hth_err *err);

/* Copies tokens into a new example whose targets are `mark` (t->n of 0 or 1), never the first token. */
HTH_MUST enum hth_status hth_examples_add(struct hth_examples *e, const struct hth_tokens *t, const uint8_t *mark,
					  struct hth_err *err);

#endif
