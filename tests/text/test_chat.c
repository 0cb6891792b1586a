/* Conversations to prompts and examples, with a tokenizer of one token a byte: what is a target is shown in
 * [brackets]. Real vocabularies are in test_chat_fixtures.c. */
#include "chat_support.h"

static const char chatml[] = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
			     "'<|im_end|>' + '\\n' }}{% endfor %}"
			     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
/* Thinking of earlier turns is dropped, as Qwen3 does. */
static const char thinking[] =
	"{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
	"{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
	"{{ m.content }}<|im_end|>\n{% endfor %}"
	"{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char tools[] =
	"{% for m in messages %}<|im_start|>{{ m.role }}\n"
	"{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>{\"name\": \"{{ c.function.name }}\", "
	"\"arguments\": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif "
	"%}"
	"<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

static const char *const specials[] = {"<s>", "<|im_start|>", "<|im_end|>"};

/* Renders each example of a row as a line. */
static void expect(const char *source, bool bos, const char *messages, enum hth_target_rule rule,
		   const char *const *want, size_t n)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, bos);
	struct hth_template *t = parse(source);
	struct hth_chat c = {.tmpl = t, .tok = tok};
	struct hth_examples e = {0};
	json_t *m = json(messages);
	assert_ok(hth_chat_examples(&c, m, NULL, rule, &e, &err));
	assert_int_equal(e.n, n);
	for (size_t i = 0; i < n; i++) {
		char *text = show(tok, &e.items[i]);
		assert_string_equal(text, want[i]);
		hth_free(text);
	}
	hth_examples_clear(&e);
	json_decref(m);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

#define EXPECT(source, messages, rule, ...)                                                                            \
	do {                                                                                                           \
		const char *const want_[] = {__VA_ARGS__};                                                             \
		expect(source, false, messages, rule, want_, sizeof want_ / sizeof want_[0]);                          \
	} while (0)

#define TWO_TURNS                                                                                                      \
	"[{\"role\":\"user\",\"content\":\"q1\"},{\"role\":\"assistant\",\"content\":\"a1\"},"                         \
	"{\"role\":\"user\",\"content\":\"q2\"},{\"role\":\"assistant\",\"content\":\"a2\"}]"

static void targets_are_content_and_end_token(void **state)
{
	(void)state;
	EXPECT(chatml, TWO_TURNS, HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n[a1<|im_end|>]\n"
	       "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n[a2<|im_end|>]\n");
}

static void last_assistant_rule_marks_the_last_turn_only(void **state)
{
	(void)state;
	EXPECT(chatml, TWO_TURNS, HTH_TARGET_LAST_ASSISTANT,
	       "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"
	       "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n[a2<|im_end|>]\n");
}

static void all_rule_marks_everything_but_the_first_token(void **state)
{
	(void)state;
	EXPECT(chatml, "[{\"role\":\"user\",\"content\":\"hi\"}]", HTH_TARGET_ALL,
	       "<|im_start|>[user\nhi<|im_end|>\n]");
}

static void empty_turn_trains_the_end_token(void **state)
{
	(void)state;
	EXPECT(chatml, "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"\"}]",
	       HTH_TARGET_ASSISTANT, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[<|im_end|>]\n");
}

static void row_without_assistant_has_no_targets(void **state)
{
	(void)state;
	EXPECT(chatml, "[{\"role\":\"user\",\"content\":\"q\"}]", HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq<|im_end|>\n");
}

static void dropped_thinking_splits_the_row(void **state)
{
	(void)state;
	EXPECT(thinking,
	       "[{\"role\":\"user\",\"content\":\"q1\"},"
	       "{\"role\":\"assistant\",\"content\":\"a1\",\"reasoning_content\":\"r1\"},"
	       "{\"role\":\"user\",\"content\":\"q2\"},"
	       "{\"role\":\"assistant\",\"content\":\"a2\",\"reasoning_content\":\"r2\"}]",
	       HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n[<think>r1</think>a1<|im_end|>]\n",
	       "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n"
	       "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n[<think>r2</think>a2<|im_end|>]\n");
}

static void prompt_that_opens_a_block_is_kept_in_front(void **state)
{
	(void)state;
	/* the served prompt ends in <think>, the rendered turn has none: P, then the turn's own text */
	EXPECT("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
	       "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
	       "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]",
	       HTH_TARGET_ASSISTANT, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n[a<|im_end|>]\n");
}

static void turn_that_parts_from_its_prompt_is_joined_at_a_tag(void **state)
{
	static const char source[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' "
				     "%}<think></think>{% endif %}"
				     "{{ m.content }}<|im_end|>\n{% endfor %}"
				     "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
	(void)state;
	EXPECT(source, "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]",
	       HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n[</think>a<|im_end|>]\n");
	EXPECT(source, "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"\"}]",
	       HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n[</think><|im_end|>]\n");
}

static void tool_calls_are_targets_with_their_tags(void **state)
{
	(void)state;
	EXPECT(tools,
	       "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{"
	       "\"type\":"
	       "\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},{\"role\":\"tool\",\"content\":"
	       "\"r\"}]",
	       HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
	       "[<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call><|im_end|>]\n"
	       "<|im_start|>tool\nr<|im_end|>\n");
}

static void generation_blocks_are_the_targets_where_they_are(void **state)
{
	(void)state;
	EXPECT("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ "
	       "m.content }}"
	       "{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
	       "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
	       TWO_TURNS, HTH_TARGET_ASSISTANT,
	       "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n[a1]<|im_end|>\n"
	       "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n[a2]<|im_end|>\n");
}

static void special_text_in_a_message_is_text(void **state)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, false);
	struct hth_template *t = parse(chatml);
	struct hth_chat c = {.tmpl = t, .tok = tok};
	struct hth_tokens ids = {0};
	json_t *m = json("[{\"role\":\"user\",\"content\":\"a<|im_end|>b\"}]");
	int ends = 0;
	(void)state;
	assert_ok(hth_chat_prompt(&c, m, NULL, &ids, &err));
	for (size_t i = 0; i < ids.n; i++)
		ends += ids.ids[i] == 258;
	assert_int_equal(ends, 1); /* the template's own */
	/* "<|im_start|>user\na", ten characters of text, "b", ... : offsets still point into the rendered text */
	assert_int_equal(ids.ids[0], 257);
	assert_int_equal(ids.ids[7], '<');
	assert_int_equal(ids.starts[7], 18);
	assert_int_equal(ids.ids[17], 'b');
	assert_int_equal(ids.starts[17], 28);
	hth_tokens_clear(&ids);
	json_decref(m);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

static void bos_is_added_once_and_never_twice(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct hth_tokenizer *tok = byte_tokenizer(specials, 3, true);
		struct hth_template *t = parse(i == 0 ? "{% for m in messages %}{{ m.content }}{% endfor %}"
						      : "<s>{{ messages[0].content }}");
		struct hth_chat c = {.tmpl = t, .tok = tok};
		struct hth_tokens ids = {0};
		json_t *m = json("[{\"role\":\"user\",\"content\":\"x\"}]");
		assert_ok(hth_chat_prompt(&c, m, NULL, &ids, &err));
		assert_int_equal(ids.n, 2);
		assert_int_equal(ids.ids[0], 256);
		assert_int_equal(ids.ids[1], 'x');
		hth_tokens_clear(&ids);
		json_decref(m);
		hth_template_free(t);
		hth_tokenizer_free(tok);
	}
}

static void template_errors_name_the_turn(void **state)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, false);
	struct hth_template *t = parse("{% if add_generation_prompt %}{{ raise_exception('no prompt') }}{% endif %}"
				       "{% for m in messages %}{{ m.content }}{% endfor %}");
	struct hth_chat c = {.tmpl = t, .tok = tok};
	struct hth_examples e = {0};
	json_t *m = json("[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]");
	json_t *bad = json("[{\"content\":\"q\"}]");
	(void)state;
	assert_fails(hth_chat_examples(&c, m, NULL, HTH_TARGET_ASSISTANT, &e, &err), HTH_ERR_VALUE, "messages[1]");
	assert_non_null(strstr(err.text, "no prompt"));
	assert_int_equal(e.n, 0);
	assert_fails(hth_chat_examples(&c, bad, NULL, HTH_TARGET_ASSISTANT, &e, &err), HTH_ERR_FORMAT, "\"role\"");
	c.tmpl = NULL;
	assert_fails(hth_chat_examples(&c, m, NULL, HTH_TARGET_ALL, &e, &err), HTH_ERR_UNAVAILABLE, "no chat template");
	json_decref(m);
	json_decref(bad);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

static void completion_targets_are_the_completion_and_eos(void **state)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, true);
	struct hth_chat c = {.tok = tok};
	struct hth_examples e = {0};
	char *text;
	(void)state;
	assert_ok(hth_chat_completion(&c, "2+2=", 4, "4", 1, HTH_TARGET_ASSISTANT, &e, &err));
	assert_ok(hth_chat_completion(&c, "2+2=", 4, "4", 1, HTH_TARGET_ALL, &e, &err));
	assert_ok(hth_chat_text(&c, "abc", 3, &e, &err));
	assert_ok(hth_chat_text(&c, "abc<|im_end|>", 13, &e, &err));
	static const char *const want[] = {"<s>2+2=[4<|im_end|>]", "<s>[2+2=4<|im_end|>]", "<s>[abc<|im_end|>]",
					   "<s>[abc<|im_end|>]"};
	assert_int_equal(hth_tokenizer_eos(tok), 258);
	for (size_t i = 0; i < 4; i++) {
		text = show(tok, &e.items[i]);
		assert_string_equal(text, want[i]);
		hth_free(text);
	}
	hth_examples_clear(&e);
	hth_tokenizer_free(tok);
}

static void row_renders_with_kwargs_and_special_tokens(void **state)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, true);
	struct hth_template *t = parse("{{ eos_token }}|{{ mode }}|{{ tools is none }}|{{ messages[0].thinking }}");
	struct hth_rendered r;
	json_t *row =
		json("{\"messages\":[{\"role\":\"assistant\",\"reasoning\":\"why\"}],\"kwargs\":{\"mode\":\"x\"}}");
	json_t *bad = json("{\"messages\":1}");
	(void)state;
	assert_ok(hth_chat_render_row(t, tok, row, 0, &r, &err));
	assert_string_equal(hth_buf_str(&r.text), "<|im_end|>|x|True|why");
	hth_rendered_clear(&r);
	assert_ok(hth_chat_render_row(t, NULL, row, 0, &r, &err));
	assert_string_equal(hth_buf_str(&r.text), "|x|True|why");
	hth_rendered_clear(&r);
	assert_fails(hth_chat_render_row(t, tok, bad, 0, &r, &err), HTH_ERR_FORMAT, "messages");
	json_decref(row);
	json_decref(bad);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

static void failed_allocations_leave_nothing_behind(void **state)
{
	struct hth_tokenizer *tok = byte_tokenizer(specials, 3, true);
	struct hth_template *t = parse(thinking);
	struct hth_chat c = {.tmpl = t, .tok = tok};
	json_t *m = json("[{\"role\":\"user\",\"content\":\"a<|im_end|>b\"},"
			 "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"},"
			 "{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"b\"}]");
	bool done = false;
	(void)state;
	for (uint64_t nth = 1; !done && nth < 5000; nth++) {
		struct hth_examples e = {0};
		hth_mem_fail_at(nth, nth % 2 == 0);
		enum hth_status st = hth_chat_examples(&c, m, NULL, HTH_TARGET_ASSISTANT, &e, &err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY || st == HTH_ERR_LIMIT);
		assert_true(st == HTH_OK || e.n == 0);
		done = st == HTH_OK && e.n == 2;
		hth_examples_clear(&e);
	}
	assert_true(done);
	json_decref(m);
	hth_template_free(t);
	hth_tokenizer_free(tok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_are_content_and_end_token),
		cmocka_unit_test(last_assistant_rule_marks_the_last_turn_only),
		cmocka_unit_test(all_rule_marks_everything_but_the_first_token),
		cmocka_unit_test(empty_turn_trains_the_end_token),
		cmocka_unit_test(row_without_assistant_has_no_targets),
		cmocka_unit_test(dropped_thinking_splits_the_row),
		cmocka_unit_test(prompt_that_opens_a_block_is_kept_in_front),
		cmocka_unit_test(turn_that_parts_from_its_prompt_is_joined_at_a_tag),
		cmocka_unit_test(tool_calls_are_targets_with_their_tags),
		cmocka_unit_test(generation_blocks_are_the_targets_where_they_are),
		cmocka_unit_test(special_text_in_a_message_is_text),
		cmocka_unit_test(bos_is_added_once_and_never_twice),
		cmocka_unit_test(template_errors_name_the_turn),
		cmocka_unit_test(completion_targets_are_the_completion_and_eos),
		cmocka_unit_test(row_renders_with_kwargs_and_special_tokens),
		cmocka_unit_test(failed_allocations_leave_nothing_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
