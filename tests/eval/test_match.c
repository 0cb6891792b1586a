/* Facts about the matching of answers. */
#include "support.h"

#include "eval/match.h"

static bool contains(const char *answer, const char *expected)
{
	return hth_match_contains(answer, strlen(answer), expected, strlen(expected));
}

static void a_number_is_not_found_inside_a_longer_one(void **state)
{
	(void)state;
	assert_false(contains("The IDLH is 1200 ppm.", "2 ppm"));
	assert_false(contains("The IDLH is 0.2 ppm.", "2 ppm"));
	assert_false(contains("It is 300.5 ppm", "300"));
	assert_false(contains("It is 1,300 ppm", "300 ppm"));
	assert_true(contains("The IDLH is 2 ppm.", "2 ppm"));
	assert_true(contains("It is 300.", "300"));
	assert_true(contains("(300 ppm)", "300 ppm"));
}

static void digit_groups_case_and_spaces_do_not_count(void **state)
{
	(void)state;
	assert_true(contains("About 2,000 PPM,\n watch the wind", "2000 ppm"));
	assert_true(contains("2000  ppm", "2,000 ppm"));
	assert_false(contains("values 2,000", "2,00"));
	assert_true(hth_match_exact(" Yes \n", 6, "yes", 3));
	assert_false(hth_match_exact("yes, sir", 8, "yes", 3));
}

static void units_and_words_are_whole(void **state)
{
	(void)state;
	assert_false(contains("300 ppmv", "300 ppm"));
	assert_false(contains("300 mg/m3", "300 ppm"));
	assert_true(contains("9 mg/m3 is the value", "9 mg/m3"));
	assert_false(contains("99 mg/m3", "9 mg/m3"));
	assert_false(contains("anything", ""));
	assert_false(contains("", "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_not_found_inside_a_longer_one),
		cmocka_unit_test(digit_groups_case_and_spaces_do_not_count),
		cmocka_unit_test(units_and_words_are_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
