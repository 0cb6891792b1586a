/* Rows: what kind a row is, the checks of its keys, and the call into text/chat that makes tokens and targets. */
#include "data/rows.h"

#include <string.h>

static const char *json_kind(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_NULL:
		return "null";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	default:
		return "a number";
	}
}

/* A key that is there and not null. */
static json_t *field(const json_t *row, const char *key)
{
	json_t *v = json_object_get(row, key);

	return v == NULL || json_is_null(v) ? NULL : v;
}

static enum hth_status need_messages(const json_t *v, const char *key, const char *where, struct hth_err *err)
{
	if (!json_is_array(v))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found %s, expected an array of messages", where, key,
				json_kind(v));
	if (json_array_size(v) == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" is empty", where, key);
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *m = json_array_get(v, i), *role = json_object_get(m, "role");
		if (!json_is_object(m))
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: \"%s\"[%zu]: found %s, expected an object with role and content", where,
					key, i, json_kind(m));
		if (!json_is_string(role))
			return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\"[%zu]: \"role\" is %s, expected a string%s",
					where, key, i, role == NULL ? "missing" : json_kind(role),
					json_object_get(m, "from") != NULL
						? "; ShareGPT's from/value must become role/content"
						: "");
	}
	return HTH_OK;
}

static enum hth_status row_tools(const json_t *row, const char *where, const json_t **tools, struct hth_err *err)
{
	*tools = field(row, "tools");
	if (*tools != NULL && !json_is_array(*tools))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"tools\": found %s, expected an array of tool descriptions",
				where, json_kind(*tools));
	return HTH_OK;
}

static enum hth_status chat_row(const json_t *row, const json_t *messages, const char *where,
				const struct hth_chat *chat, enum hth_target_rule rule, struct hth_examples *out,
				struct hth_err *err)
{
	const json_t *tools = NULL;
	enum hth_status status = row_tools(row, where, &tools, err);

	if (status != HTH_OK)
		return status;
	if (chat->tmpl == NULL)
		return hth_fail(
			err, HTH_ERR_UNAVAILABLE,
			"%s: the row has messages but the model has no chat template; use an instruct model, or rows "
			"with prompt and completion or text",
			where);
	status = hth_chat_examples(chat, messages, tools, rule, out, err);
	return status == HTH_OK ? HTH_OK : hth_err_prefix(err, "%s", where);
}

static size_t count_assistant(const json_t *messages)
{
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(messages); i++) {
		const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
		n += role != NULL && strcmp(role, "assistant") == 0;
	}
	return n;
}

/* prompt and completion as messages: one conversation whose targets are the completion's turns alone. */
static enum hth_status pair_of_messages(const json_t *row, const json_t *prompt, const json_t *completion,
					const char *where, const struct hth_chat *chat, enum hth_target_rule rule,
					struct hth_examples *out, struct hth_err *err)
{
	enum hth_status status = need_messages(prompt, "prompt", where, err);

	if (status == HTH_OK)
		status = need_messages(completion, "completion", where, err);
	if (status != HTH_OK)
		return status;
	if (rule == HTH_TARGET_ASSISTANT && count_assistant(prompt) > 0) {
		if (count_assistant(completion) > 1)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: both \"prompt\" and \"completion\" hold assistant messages and the "
					"completion several; "
					"write the row as \"messages\", or one row per answer",
					where);
		rule = HTH_TARGET_LAST_ASSISTANT;
	}
	json_t *all = json_array();
	if (all == NULL || json_array_extend(all, (json_t *)(uintptr_t)prompt) != 0 ||
	    json_array_extend(all, (json_t *)(uintptr_t)completion) != 0)
		status = hth_fail_memory(err, "a row's messages", 0);
	else
		status = chat_row(row, all, where, chat, rule, out, err);
	json_decref(all);
	return status;
}

static enum hth_status pair_row(const json_t *row, const char *where, const struct hth_chat *chat,
				enum hth_target_rule rule, struct hth_examples *out, struct hth_err *err)
{
	const json_t *prompt = field(row, "prompt"), *completion = field(row, "completion");

	if (json_is_array(prompt) && json_is_array(completion))
		return pair_of_messages(row, prompt, completion, where, chat, rule, out, err);
	if (!json_is_string(prompt) || !json_is_string(completion))
		return hth_fail(
			err, HTH_ERR_FORMAT,
			"%s: \"prompt\" is %s and \"completion\" %s, expected two strings or two arrays of messages",
			where, json_kind(prompt), json_kind(completion));
	enum hth_status status =
		hth_chat_completion(chat, json_string_value(prompt), json_string_length(prompt),
				    json_string_value(completion), json_string_length(completion), rule, out, err);
	return status == HTH_OK ? HTH_OK : hth_err_prefix(err, "%s", where);
}

static enum hth_status text_row(const json_t *text, const char *where, const struct hth_chat *chat,
				struct hth_examples *out, struct hth_err *err)
{
	if (!json_is_string(text))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"text\": found %s, expected a string", where,
				json_kind(text));
	enum hth_status status = hth_chat_text(chat, json_string_value(text), json_string_length(text), out, err);
	return status == HTH_OK ? HTH_OK : hth_err_prefix(err, "%s", where);
}

static enum hth_status unknown_row(const json_t *row, const char *where, struct hth_err *err)
{
	char keys[160] = "";
	size_t used = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)row, key, v)
	{
		char shown[40];
		int n = snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "",
				 hth_quote(shown, sizeof shown, key, strlen(key)));
		if (n < 0 || (size_t)n >= sizeof keys - used) {
			keys[used] = '\0';
			break;
		}
		used += (size_t)n;
	}
	return hth_fail(err, HTH_ERR_FORMAT, "%s: found keys [%s], expected messages, prompt and completion, or text%s",
			where, keys,
			json_object_get(row, "conversations") != NULL
				? "; ShareGPT's conversations must become messages with role and content"
				: "");
}

enum hth_status hth_row_examples(const char *text, size_t bytes, const char *where, const struct hth_chat *chat,
				 enum hth_target_rule rule, struct hth_examples *out, struct hth_err *err)
{
	json_t *row = NULL;
	enum hth_status status = hth_json_parse(text, bytes, HTH_JSON_STRICT, where, &row, err);

	if (status != HTH_OK)
		return status;
	if (!json_is_object(row)) {
		status = hth_fail(err, HTH_ERR_FORMAT, "%s: found %s, expected one JSON object on each line", where,
				  json_kind(row));
	} else if (field(row, "messages") != NULL) {
		status = need_messages(field(row, "messages"), "messages", where, err);
		if (status == HTH_OK)
			status = chat_row(row, field(row, "messages"), where, chat, rule, out, err);
	} else if (field(row, "prompt") != NULL && field(row, "completion") != NULL) {
		status = pair_row(row, where, chat, rule, out, err);
	} else if (field(row, "text") != NULL) {
		status = text_row(field(row, "text"), where, chat, out, err);
	} else {
		status = unknown_row(row, where, err);
	}
	json_decref(row);
	return status;
}
