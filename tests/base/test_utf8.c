#include "base/utf8.h"
#include "support.h"

static void every_code_point_survives_a_round_trip(void **state)
{
	(void)state;
	for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
		char s[4];
		size_t used, n = hth_utf8_put(cp, s);
		if (cp >= 0xD800 && cp <= 0xDFFF) {
			assert_int_equal(n, 0);
			continue;
		}
		assert_int_equal(n, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
		if (hth_utf8_next(s, n, &used) != cp || used != n)
			fail_msg("U+%04X", cp);
	}
	char s[4];
	assert_int_equal(hth_utf8_put(0x110000, s), 0);
	assert_int_equal(hth_utf8_put(UINT32_MAX, s), 0);
}

static void malformed_sequences_are_invalid_and_one_byte(void **state)
{
	static const char *const bad[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc3",
		"\xc3(",
		"\xe0\x80\x80",
		"\xe0\x9f\xbf",
		"\xe2\x82",
		"\xe2\x82(",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x9f\x98",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"\xfe",
		"\xf8\x88\x80\x80\x80",
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		size_t used = 0;
		assert_int_equal(hth_utf8_next(bad[i], strlen(bad[i]), &used), HTH_UTF8_INVALID);
		assert_int_equal(used, 1);
		assert_false(hth_utf8_valid(bad[i], strlen(bad[i])));
	}
}

static void valid_looks_at_the_whole_text(void **state)
{
	(void)state;
	assert_true(hth_utf8_valid("", 0));
	assert_true(hth_utf8_valid("a\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 11));
	assert_false(hth_utf8_valid("a\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
}

static void a_cut_end_is_held_back_and_nothing_else(void **state)
{
	static const struct {
		const char *text;
		size_t want;
	} cases[] = {
		{"", 0},
		{"a", 0},
		{"\xc3", 1},
		{"a\xe2", 1},
		{"a\xe2\x82", 2},
		{"a\xe2\x82\xac", 0},
		{"\xf0", 1},
		{"\xf0\x9f", 2},
		{"\xf0\x9f\x98", 3},
		{"\xf0\x9f\x98\x80", 0},
		{"\xff", 0},
		{"\x80\x80\x80\x80", 0},
		{"\xc0", 0},
		{"\xe0\x80", 0},
		{"\xed\xa0", 0},
		{"\xf4\x90", 0},
		{"\xc3\xa9", 0},
		{"\x82", 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (hth_utf8_partial_tail(cases[i].text, strlen(cases[i].text)) != cases[i].want)
			fail_msg("case %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point_survives_a_round_trip),
		cmocka_unit_test(malformed_sequences_are_invalid_and_one_byte),
		cmocka_unit_test(valid_looks_at_the_whole_text),
		cmocka_unit_test(a_cut_end_is_held_back_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
