/* Tokenizers that nobody made on purpose, against what the tokenizers library gives (tools/golden_tokenizers.py): each is a
 * way in which hearth once differed. */
#include "../base/tempdir.h"

#include "base/json.h"
#include "text/tokenizer.h"

static void expect_ids(const char *name, const char *text, const json_t *want, const struct hth_tokens *got)
{
	bool same = got->n == json_array_size(want);

	for (size_t i = 0; same && i < got->n; i++)
		same = got->ids[i] == json_integer_value(json_array_get(want, i));
	if (!same) {
		char *expected = json_dumps(want, JSON_COMPACT);
		fprintf(stderr, "expected %s, found", expected);
		for (size_t i = 0; i < got->n; i++)
			fprintf(stderr, " %d", got->ids[i]);
		fail_msg("\n%s: \"%s\": other ids", name, text);
	}
	for (size_t i = 0; i < got->n; i++)
		if (got->starts[i] > got->ends[i] || got->ends[i] > strlen(text) || (i > 0 && got->starts[i] < got->starts[i - 1]))
			fail_msg("%s: \"%s\": token %zu stands at %u to %u", name, text, i, got->starts[i], got->ends[i]);
}

static void check(const json_t *c, const struct hth_tokenizer *t)
{
	const char *name = json_string_value(json_object_get(c, "name"));
	const json_t *texts = json_object_get(c, "texts"), *v;
	struct hth_tokens got = {0};
	struct hth_err err = {0};
	struct hth_buf out;
	size_t i;

	hth_buf_init(&out, 1 << 16);
	json_array_foreach((json_t *)(uintptr_t)texts, i, v)
	{
		const char *text = json_string_value(v);
		const char *decoded = json_string_value(json_array_get(json_object_get(c, "decoded"), i));
		got.n = 0;
		assert_ok(hth_tokenizer_encode(t, text, strlen(text), HTH_ENCODE_PARSE_SPECIAL, &got, &err));
		expect_ids(name, text, json_array_get(json_object_get(c, "ids"), i), &got);
		hth_buf_reset(&out);
		assert_ok(hth_tokenizer_decode(t, got.ids, got.n, false, &out, &err));
		if (strcmp(hth_buf_str(&out), decoded) != 0)
			fail_msg("%s: \"%s\" decodes to \"%s\", expected \"%s\"", name, text, hth_buf_str(&out), decoded);
	}
	assert_true(i > 0);
	hth_buf_clear(&out);
	hth_tokens_clear(&got);
}

static void odd_tokenizers_give_the_ids_of_the_library(void **state)
{
	struct hth_err err = {0};
	json_t *cases, *c;
	size_t i;

	(void)state;
	assert_ok(hth_json_read("tests/golden/tokenizers.json", (size_t)1 << 20, HTH_JSON_STRICT, &cases, &err));
	json_array_foreach(cases, i, c)
	{
		struct hth_tokenizer *t;
		struct hth_buf text;
		hth_buf_init(&text, 1 << 20);
		assert_ok(hth_json_dump(json_object_get(c, "tokenizer"), 0, &text, &err));
		assert_ok(hth_file_write(temp("odd.json"), text.data, text.bytes, &err));
		assert_ok(hth_tokenizer_from_json(temp("odd.json"), &t, &err));
		check(c, t);
		hth_tokenizer_free(t);
		hth_buf_clear(&text);
	}
	assert_true(i >= 15);
	json_decref(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(odd_tokenizers_give_the_ids_of_the_library),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
