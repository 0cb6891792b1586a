/* Messages as a JSON array, as the chat template takes them. */
#ifndef HTH_CMD_CONVERSATION_H
#define HTH_CMD_CONVERSATION_H

#include "base/json.h"

/* A new array, with a system message when `system` is not NULL; NULL when memory runs out. */
json_t *hth_conversation_new(const char *system);
HTH_MUST enum hth_status hth_conversation_add(json_t *messages, const char *role, const char *content, size_t bytes,
					      struct hth_err *err);

#endif
