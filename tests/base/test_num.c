#include "base/num.h"
#include "support.h"

#include <locale.h>
#include <math.h>

static void integers_are_whole_texts(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
	} good[] = {
		{"0", 0},
		{"-0", 0},
		{"+7", 7},
		{"1_000_000", 1000000},
		{"007", 7},
		{"9223372036854775807", INT64_MAX},
		{"-9223372036854775808", INT64_MIN},
	};
	static const char *const bad[] = {"",
					  "-",
					  "+",
					  " 1",
					  "1 ",
					  "1x",
					  "x1",
					  "0x10",
					  "1.0",
					  "1e3",
					  "_1",
					  "1_",
					  "1__0",
					  "--1",
					  "9223372036854775808",
					  "-9223372036854775809",
					  "1-"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int64_t v = 99;
		assert_true(hth_parse_i64(good[i].text, &v));
		assert_true(v == good[i].want);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t v = 99;
		if (hth_parse_i64(bad[i], &v) || v != 99)
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void reals_are_whole_finite_texts(void **state)
{
	static const struct {
		const char *text;
		double want;
	} good[] = {
		{"0", 0},
		{"2e-4", 0.0002},
		{"-1.5E+2", -150},
		{".5", 0.5},
		{"5.", 5},
		{"+0.1", 0.1},
		{"1e-400", 0},
		{"4.9e-324", 4.9e-324},
		{"1.7976931348623157e308", 1.7976931348623157e308},
	};
	static const char *const bad[] = {"",   ".",   "-",   "e5",       "1e",    "1e+",   "1,5",    "1.5.2", " 1",
					  "1 ", "inf", "nan", "infinity", "0x1p3", "1e999", "-1e999", "1f",    "1_0"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		double v = 99;
		assert_true(hth_parse_f64(good[i].text, &v));
		assert_true(v == good[i].want);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		double v = 99;
		if (hth_parse_f64(bad[i], &v) || v != 99)
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void a_locale_with_a_decimal_comma_changes_nothing(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "fr_FR.utf8"};
	bool set = false;
	double v;
	(void)state;
	for (size_t i = 0; !set && i < sizeof names / sizeof *names; i++)
		set = setlocale(LC_NUMERIC, names[i]) != NULL;
	if (!set)
		skip_because("no locale with a decimal comma here");
	bool ok = hth_parse_f64("0.5", &v);
	setlocale(LC_NUMERIC, "C");
	assert_true(ok && v == 0.5);
}

static void booleans_have_eight_spellings(void **state)
{
	bool v = false;
	(void)state;
	assert_true(hth_parse_bool("Yes", &v) && v);
	assert_true(hth_parse_bool("off", &v) && !v);
	assert_true(hth_parse_bool("TRUE", &v) && v);
	assert_true(hth_parse_bool("0", &v) && !v);
	assert_true(hth_parse_bool("on", &v) && v);
	assert_true(hth_parse_bool("1", &v) && v);
	assert_true(hth_parse_bool("no", &v) && !v);
	assert_true(hth_parse_bool("false", &v) && !v);
	v = true;
	assert_false(hth_parse_bool("", &v) || hth_parse_bool("2", &v) || hth_parse_bool("yes ", &v));
	assert_true(v);
}

static void byte_sizes_know_decimal_and_binary_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {
		{"0", 0},
		{"123", 123},
		{"1.5GB", 1500000000},
		{"512M", 512000000},
		{"800 MiB", 838860800},
		{"2k", 2000},
		{"2KiB", 2048},
		{"1Ki", 1024},
		{"3 b", 3},
		{"0.5 kib", 512},
		{"1tb", 1000000000000},
		{"18446744073709551615", UINT64_MAX},
		{"2.GB", 2000000000},
	};
	static const char *const bad[] = {"",
					  "GB",
					  "-1",
					  "1.5.5G",
					  "1X",
					  "1GBs",
					  "1 G B",
					  "18446744073709551616",
					  "99999999999999999999GB",
					  "20000000000GB",
					  "1e3",
					  ".5G",
					  "1iB",
					  " 1",
					  "1e9.5GB"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		uint64_t v = 99;
		if (!hth_parse_bytes(good[i].text, &v) || v != good[i].want)
			fail_msg("\"%s\": %llu", good[i].text, (unsigned long long)v);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t v = 99;
		if (hth_parse_bytes(bad[i], &v) || v != 99)
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void the_nearest_word_is_named_only_when_near(void **state)
{
	static const char *const words[] = {"learning_rate", "lora_r", "lora_alpha", "batch_size", "seed"};
	(void)state;
	assert_string_equal(hth_nearest("learnign_rate", words, 5), "learning_rate");
	assert_string_equal(hth_nearest("lora-r", words, 5), "lora_r");
	assert_string_equal(hth_nearest("Batch_Size", words, 5), "batch_size");
	assert_string_equal(hth_nearest("sede", words, 5), "seed");
	assert_null(hth_nearest("optimizer", words, 5));
	assert_null(hth_nearest("", words, 5));
	assert_null(hth_nearest("x", words, 5));
	char huge[500];
	memset(huge, 's', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	assert_null(hth_nearest(huge, words, 5));
}

/* The value of a half by its definition: sign, exponent, fraction. */
static double half_value(unsigned h)
{
	int exp = (int)(h >> 10 & 31);
	double m = exp == 0 ? ldexp(h & 1023, -24) : ldexp(1024 + (h & 1023), exp - 25);
	return h & 0x8000 ? -m : m;
}

static void all_halves_have_their_value_and_come_back(void **state)
{
	(void)state;
	for (unsigned h = 0; h < 65536; h++) {
		float f = hth_f16_to_f32((uint16_t)h);
		if ((h & 0x7C00) == 0x7C00) {
			if (h & 0x3FF)
				assert_true(isnan(f) && isnan(hth_f16_to_f32(hth_f32_to_f16(f))));
			else
				assert_true(isinf(f) && (f < 0) == (h >> 15));
		} else if ((double)f != half_value(h) || !signbit(f) != !(h >> 15))
			fail_msg("half %04x: %a", h, (double)f);
		if (!isnan(f))
			assert_int_equal(hth_f32_to_f16(f), h);
		else
			assert_int_equal(hth_f32_to_f16(f), h | 0x200); /* quiet, same payload */
	}
}

static void between_two_halves_the_nearer_wins_and_a_tie_is_even(void **state)
{
	(void)state;
	for (unsigned h = 0; h < 0x7C00; h++) {
		/* 65520 is half way to 65536, where infinity begins. */
		double up = h == 0x7BFF ? 65536.0 : half_value(h + 1);
		float mid = (float)((half_value(h) + up) / 2);
		unsigned even = h & 1 ? h + 1 : h;
		for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
			float s = sign ? -1.0f : 1.0f;
			if (hth_f32_to_f16(s * mid) != (sign | even) ||
			    hth_f32_to_f16(s * nextafterf(mid, 0)) != (sign | h) ||
			    hth_f32_to_f16(s * nextafterf(mid, INFINITY)) != (sign | (h + 1)))
				fail_msg("around half %04x", h);
		}
	}
	assert_int_equal(hth_f32_to_f16(1e30f), 0x7C00);
	assert_int_equal(hth_f32_to_f16(-1e-30f), 0x8000);
	assert_int_equal(hth_f32_to_f16(0x1p-149f), 0);
}

static float from_bits(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static void bf16_rounds_to_nearest_even_and_keeps_nan(void **state)
{
	(void)state;
	assert_int_equal(hth_f32_to_bf16(1.0f), 0x3F80);
	assert_int_equal(hth_f32_to_bf16(from_bits(0x3F808000)), 0x3F80); /* tie, even below */
	assert_int_equal(hth_f32_to_bf16(from_bits(0x3F818000)), 0x3F82); /* tie, even above */
	assert_int_equal(hth_f32_to_bf16(from_bits(0x3F808001)), 0x3F81);
	assert_int_equal(hth_f32_to_bf16(from_bits(0x3F807FFF)), 0x3F80);
	assert_int_equal(hth_f32_to_bf16(from_bits(0x7F7FFFFF)), 0x7F80); /* FLT_MAX rounds to infinity */
	assert_int_equal(hth_f32_to_bf16(INFINITY), 0x7F80);
	assert_int_equal(hth_f32_to_bf16(-INFINITY), 0xFF80);
	assert_int_equal(hth_f32_to_bf16(from_bits(0x7F800001)), 0x7FC0); /* a payload that the cut would lose */
	assert_int_equal(hth_f32_to_bf16(from_bits(0xFFFFFFFF)), 0xFFFF);
	for (uint32_t h = 0; h < 65536; h++)
		if (!isnan(hth_bf16_to_f32((uint16_t)h)))
			assert_int_equal(hth_f32_to_bf16(hth_bf16_to_f32((uint16_t)h)), h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_whole_texts),
		cmocka_unit_test(reals_are_whole_finite_texts),
		cmocka_unit_test(a_locale_with_a_decimal_comma_changes_nothing),
		cmocka_unit_test(booleans_have_eight_spellings),
		cmocka_unit_test(byte_sizes_know_decimal_and_binary_units),
		cmocka_unit_test(the_nearest_word_is_named_only_when_near),
		cmocka_unit_test(all_halves_have_their_value_and_come_back),
		cmocka_unit_test(between_two_halves_the_nearer_wins_and_a_tie_is_even),
		cmocka_unit_test(bf16_rounds_to_nearest_even_and_keeps_nan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
