/* SmolLM2's own template and vocabulary: ids of whole conversations and of prompts as transformers gives them
 * (tests/golden/chat_smollm2.json, made with transformers 5.23 and tokenizers 0.23), targets by their text. */
#include "chat_support.h"

static void same_ids(const json_t *want, const int32_t *ids, size_t n)
{
	assert_int_equal(n, json_array_size(want));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ids[i], json_integer_value(json_array_get(want, i)));
}

/* The targets of an example, run after run, are these texts. */
static void same_targets(const struct hth_tokenizer *tok, const json_t *want, const struct hth_example *e)
{
	size_t run = 0;
	for (size_t i = 0; i < e->n;) {
		size_t end = i;
		struct hth_buf b;
		while (end < e->n && e->target[end])
			end++;
		if (end == i) {
			i++;
			continue;
		}
		hth_buf_init(&b, 1u << 20);
		assert_ok(hth_tokenizer_decode(tok, e->ids + i, end - i, false, &b, &err));
		assert_string_equal(hth_buf_str(&b), json_string_value(json_array_get(want, run)));
		hth_buf_clear(&b);
		run++;
		i = end;
	}
	assert_int_equal(run, json_array_size(want));
}

static void smollm2_conversations_have_transformers_ids(void **state)
{
	char path[1024];
	struct hth_tokenizer *tok;
	json_t *golden, *row;
	size_t i;
	(void)state;
	snprintf(path, sizeof path, "%s/tokenizers/smollm2.tokenizer.json",
		 fixtures_dir() == NULL ? "" : fixtures_dir());
	if (access(path, R_OK) != 0)
		skip_because("the tokenizer fixtures are not here (HTH_FIXTURES)");
	assert_ok(hth_tokenizer_from_json(path, &tok, &err));
	assert_ok(hth_json_read("tests/golden/chat_smollm2.json", 1u << 20, HTH_JSON_STRICT, &golden, &err));
	struct hth_template *t = parse(json_string_value(json_object_get(golden, "template")));
	struct hth_chat c = {.tmpl = t, .tok = tok};
	json_array_foreach(json_object_get(golden, "rows"), i, row)
	{
		struct hth_examples e = {0};
		struct hth_tokens prompt = {0};
		json_t *messages = json_object_get(row, "messages"), *before = json_copy(messages);
		assert_ok(hth_chat_examples(&c, messages, NULL, HTH_TARGET_ASSISTANT, &e, &err));
		assert_int_equal(e.n, 1);
		same_ids(json_object_get(row, "ids"), e.items[0].ids, e.items[0].n);
		same_targets(tok, json_object_get(row, "targets"), &e.items[0]);
		json_array_remove(before, json_array_size(before) - 1);
		assert_ok(hth_chat_prompt(&c, before, NULL, &prompt, &err));
		same_ids(json_object_get(row, "prompt_ids"), prompt.ids, prompt.n);
		hth_tokens_clear(&prompt);
		hth_examples_clear(&e);
		json_decref(before);
	}
	json_decref(golden);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smollm2_conversations_have_transformers_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
