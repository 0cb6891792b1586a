/* Messages as a JSON array: see conversation.h. */
#include "cmd/conversation.h"

#include <string.h>

enum hth_status hth_conversation_add(json_t *messages, const char *role, const char *content, size_t bytes,
				     struct hth_err *err)
{
	/* Text that is no UTF-8 (a cut answer, a pasted byte) is made valid on the way. */
	struct hth_buf quoted;
	hth_buf_init(&quoted, 6 * bytes + 64);
	json_t *text = NULL;
	enum hth_status s = HTH_OK;
	if (hth_json_put_string(&quoted, content, bytes))
		s = hth_json_parse(hth_buf_str(&quoted), quoted.bytes, HTH_JSON_ALLOW_SCALAR, role, &text, err);
	json_t *message = json_object();
	if (s == HTH_OK &&
	    (text == NULL || message == NULL || json_object_set_new(message, "role", json_string(role)) != 0 ||
	     json_object_set(message, "content", text) != 0 || json_array_append(messages, message) != 0))
		s = hth_fail_memory(err, "conversation", bytes);
	json_decref(message);
	json_decref(text);
	hth_buf_clear(&quoted);
	return s;
}

json_t *hth_conversation_new(const char *system)
{
	json_t *messages = json_array();
	if (messages != NULL && system != NULL &&
	    hth_conversation_add(messages, "system", system, strlen(system), NULL) != HTH_OK) {
		json_decref(messages);
		return NULL;
	}
	return messages;
}
