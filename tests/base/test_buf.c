#include "base/buf.h"
#include "base/mem.h"
#include "support.h"

static void an_empty_buffer_is_an_empty_text(void **state)
{
	struct hth_buf b;
	(void)state;
	hth_buf_init(&b, 10);
	assert_string_equal(hth_buf_str(&b), "");
	size_t n = 99;
	char *s = hth_buf_take(&b, &n);
	assert_string_equal(s, "");
	assert_int_equal(n, 0);
	hth_free(s);
}

static void appends_add_up_with_a_nul_behind(void **state)
{
	struct hth_buf b;
	(void)state;
	hth_buf_init(&b, 1000);
	assert_true(hth_buf_puts(&b, "ab"));
	assert_true(hth_buf_putc(&b, 'c'));
	assert_true(hth_buf_add(&b, "\0d", 2));
	assert_true(hth_buf_add(&b, NULL, 0));
	assert_true(hth_buf_printf(&b, "%d", -5));
	assert_true(hth_buf_put_utf8(&b, 0xE9));
	assert_true(hth_buf_put_utf8(&b, 0xD800));
	assert_memory_equal(b.data, "abc\0d-5\xc3\xa9\xef\xbf\xbd", 13);
	assert_int_equal(b.bytes, 12);
	hth_buf_clear(&b);
}

static void printf_of_any_length_is_whole(void **state)
{
	struct hth_buf b;
	char want[600];
	(void)state;
	memset(want, 'x', sizeof want);
	for (int n = 100; n < 600; n += 7) {
		hth_buf_init(&b, 1000);
		assert_true(hth_buf_printf(&b, "%.*s", n, want));
		assert_int_equal(b.bytes, n);
		assert_int_equal(strlen(b.data), n);
		hth_buf_clear(&b);
	}
}

static void the_limit_is_exact_and_failure_stays(void **state)
{
	struct hth_buf b;
	struct hth_err err;
	(void)state;
	hth_buf_init(&b, 5);
	assert_true(hth_buf_puts(&b, "12345"));
	assert_int_equal(hth_buf_status(&b, "x", &err), HTH_OK);
	assert_false(hth_buf_putc(&b, '6'));
	assert_string_equal(hth_buf_str(&b), "12345");
	assert_fails(hth_buf_status(&b, "the reply", &err), HTH_ERR_LIMIT,
		     "the reply: longer than the limit of 5 bytes");
	assert_null(hth_buf_take(&b, NULL));
	hth_buf_reset(&b);
	assert_int_equal(hth_buf_status(&b, "x", &err), HTH_OK);
	assert_true(hth_buf_puts(&b, "123"));
	assert_false(hth_buf_puts(&b, "456"));
	assert_false(hth_buf_putc(&b, '4')); /* would fit, but the text would have a hole */
	assert_string_equal(hth_buf_str(&b), "123");
	hth_buf_clear(&b);
	assert_int_equal(b.max_bytes, 5);
}

static void huge_appends_fail_without_overflow(void **state)
{
	struct hth_buf b;
	(void)state;
	hth_buf_init(&b, SIZE_MAX);
	assert_true(hth_buf_puts(&b, "x"));
	assert_false(hth_buf_add(&b, "x", SIZE_MAX));
	hth_buf_clear(&b);
	hth_buf_init(&b, 0);
	assert_false(hth_buf_putc(&b, 'x'));
	assert_true(hth_buf_add(&b, "", 0) == false); /* failed before */
	hth_buf_clear(&b);
}

static void each_failing_allocation_is_reported_as_memory(void **state)
{
	(void)state;
	for (uint64_t nth = 1;; nth++) {
		struct hth_buf b;
		struct hth_err err;
		hth_buf_init(&b, 100000);
		hth_mem_fail_at(nth, false);
		for (int i = 0; i < 1000; i++)
			hth_buf_printf(&b, "%d,", i);
		hth_mem_fail_at(0, false);
		enum hth_status status = hth_buf_status(&b, "numbers", &err);
		size_t bytes = b.bytes;
		hth_buf_clear(&b);
		if (status == HTH_OK) {
			assert_int_equal(bytes, 3890);
			assert_true(nth > 5);
			return;
		}
		assert_int_equal(status, HTH_ERR_MEMORY);
		assert_non_null(strstr(err.text, "numbers"));
	}
}

static void take_hands_over_and_empties(void **state)
{
	struct hth_buf b;
	size_t n;
	(void)state;
	hth_buf_init(&b, 100);
	hth_buf_puts(&b, "text");
	char *s = hth_buf_take(&b, &n);
	assert_string_equal(s, "text");
	assert_int_equal(n, 4);
	assert_int_equal(b.bytes, 0);
	assert_null(b.data);
	hth_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_is_an_empty_text),
		cmocka_unit_test(appends_add_up_with_a_nul_behind),
		cmocka_unit_test(printf_of_any_length_is_whole),
		cmocka_unit_test(the_limit_is_exact_and_failure_stays),
		cmocka_unit_test(huge_appends_fail_without_overflow),
		cmocka_unit_test(each_failing_allocation_is_reported_as_memory),
		cmocka_unit_test(take_hands_over_and_empties),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
