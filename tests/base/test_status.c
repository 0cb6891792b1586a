#include "support.h"

#include <errno.h>

static void fail_returns_the_status_and_formats(void **state)
{
	struct hth_err err;
	(void)state;
	assert_int_equal(hth_fail(&err, HTH_ERR_SHAPE, "%s: %d", "x.gguf", 7), HTH_ERR_SHAPE);
	assert_int_equal(err.status, HTH_ERR_SHAPE);
	assert_string_equal(err.text, "x.gguf: 7");
	assert_int_equal(hth_fail(NULL, HTH_ERR_IO, "%s", "nobody reads"), HTH_ERR_IO);
}

static void fail_errno_appends_the_reason(void **state)
{
	struct hth_err err;
	(void)state;
	errno = ENOENT;
	assert_int_equal(hth_fail_errno(&err, HTH_ERR_NOTFOUND, "%s: cannot open", "a"), HTH_ERR_NOTFOUND);
	assert_string_equal(err.text, "a: cannot open: No such file or directory");
}

static void fail_errno_keeps_the_reason_of_a_long_text(void **state)
{
	struct hth_err err;
	char name[3000];
	(void)state;
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	errno = ENOSPC;
	hth_fail_errno(&err, HTH_ERR_IO, "%s", name);
	assert_non_null(strstr(err.text, "n...: No space left on device"));
	assert_true(strlen(err.text) < HTH_ERR_TEXT_BYTES);
}

static void prefix_goes_in_front_and_keeps_the_status(void **state)
{
	struct hth_err err;
	(void)state;
	hth_fail(&err, HTH_ERR_FORMAT, "no magic");
	assert_int_equal(hth_err_prefix(&err, "model %s", "m.gguf"), HTH_ERR_FORMAT);
	assert_string_equal(err.text, "model m.gguf: no magic");
	assert_int_not_equal(hth_err_prefix(NULL, "x"), HTH_OK);
}

static void arguments_may_point_into_the_error(void **state)
{
	struct hth_err err;
	(void)state;
	hth_fail(&err, HTH_ERR_IO, "inner");
	hth_fail(&err, HTH_ERR_IO, "outer(%s)", err.text);
	assert_string_equal(err.text, "outer(inner)");
}

static void control_bytes_of_foreign_text_are_escaped(void **state)
{
	struct hth_err err;
	(void)state;
	hth_fail(&err, HTH_ERR_FORMAT, "key \"%s\"", "a\x1b[2J\nb\x7f\xff\xc2\x9b!");
	assert_string_equal(err.text, "key \"a\\x1b[2J\\x0ab\\x7f\\xff\\xc2\\x9b!\"");
	hth_fail(&err, HTH_ERR_FORMAT, "%s",
		 "a\xe2\x80\xae"
		 "b"); /* U+202E turns the text around */
	assert_string_equal(err.text, "a\\xe2\\x80\\xaeb");
}

static void long_text_is_cut_between_characters(void **state)
{
	struct hth_err err;
	char text[1100];
	(void)state;
	for (size_t shift = 0; shift < 2; shift++) {
		memset(text, 'a', shift);
		for (size_t i = shift; i + 2 < sizeof text; i += 2)
			memcpy(text + i, "\xc3\xa9", 2); /* e acute */
		text[sizeof text - 2 + shift % 2] = '\0';
		text[sizeof text - 1] = '\0';
		hth_fail(&err, HTH_ERR_FORMAT, "%s", text);
		size_t n = strlen(err.text);
		assert_true(n >= HTH_ERR_TEXT_BYTES - 3);
		assert_null(strchr(err.text, '\\'));
		assert_int_equal((unsigned char)err.text[n - 1], 0xA9);
	}
}

static void memory_failures_name_what_and_how_much(void **state)
{
	struct hth_err err;
	(void)state;
	assert_int_equal(hth_fail_memory(&err, "the tape", 4096), HTH_ERR_MEMORY);
	assert_string_equal(err.text, "out of memory: the tape (4096 bytes)");
}

static void quote_copies_escapes_and_shortens(void **state)
{
	char out[12];
	(void)state;
	assert_string_equal(hth_quote(out, sizeof out, "plain", 5), "plain");
	assert_string_equal(hth_quote(out, sizeof out, "a\0b", 3), "a\\x00b");
	assert_string_equal(hth_quote(out, sizeof out, "elevenchars", 11), "elevenchars");
	assert_string_equal(hth_quote(out, sizeof out, "twelve chars", 12), "twelve c...");
	assert_string_equal(hth_quote(out, 8, "\xff\xff\xff", 3), "\\xff...");
	assert_string_equal(hth_quote(out, sizeof out, "", 0), "");
	/* No character is split: the e acute would end past the room for "...". */
	assert_string_equal(hth_quote(out, sizeof out, "abcdefg\xc3\xa9xyz", 12), "abcdefg...");
}

static void exit_codes_are_zero_one_two(void **state)
{
	(void)state;
	assert_int_equal(hth_exit_code(HTH_OK), 0);
	assert_int_equal(hth_exit_code(HTH_ERR_USAGE), 2);
	assert_int_equal(hth_exit_code(HTH_ERR_IO), 1);
	assert_int_equal(hth_exit_code(HTH_ERR_INTERRUPTED), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_returns_the_status_and_formats),
		cmocka_unit_test(fail_errno_appends_the_reason),
		cmocka_unit_test(fail_errno_keeps_the_reason_of_a_long_text),
		cmocka_unit_test(prefix_goes_in_front_and_keeps_the_status),
		cmocka_unit_test(arguments_may_point_into_the_error),
		cmocka_unit_test(control_bytes_of_foreign_text_are_escaped),
		cmocka_unit_test(long_text_is_cut_between_characters),
		cmocka_unit_test(memory_failures_name_what_and_how_much),
		cmocka_unit_test(quote_copies_escapes_and_shortens),
		cmocka_unit_test(exit_codes_are_zero_one_two),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
