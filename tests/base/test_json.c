#include "base/json.h"
#include "tempdir.h"

#include <locale.h>
#include <math.h>

static struct hth_err err;

/* Parses text and writes it again, compact, into a static buffer; the error's text where it fails. */
static const char *again(const char *text, size_t bytes, int flags)
{
	static char out[4096];
	json_t *doc;
	struct hth_buf b;
	enum hth_status status = hth_json_parse(text, bytes, flags, "t", &doc, &err);

	if (status != HTH_OK) {
		assert_null(doc);
		return err.text;
	}
	hth_buf_init(&b, sizeof out - 1);
	assert_ok(hth_json_dump(doc, 0, &b, &err));
	memcpy(out, hth_buf_str(&b), b.bytes + 1);
	hth_buf_clear(&b);
	json_decref(doc);
	return out;
}

#define AGAIN(text, flags) again(text, sizeof(text) - 1, flags)

static void documents_come_back_as_they_were(void **state)
{
	(void)state;
	assert_string_equal(AGAIN("{\"b\": [1, -2.5, true, false, null], \"a\": {}, \"c\":[]}", 0),
			    "{\"b\":[1,-2.5,true,false,null],\"a\":{},\"c\":[]}");
	assert_string_equal(AGAIN("\xEF\xBB\xBF[\"\xc3\xa9\\u00e9\\ud83d\\ude00\"]", 0),
			    "[\"\xc3\xa9\xc3\xa9\xf0\x9f\x98\x80\"]");
	assert_string_equal(AGAIN("[\"a\\u0000b\"]", 0), "[\"a\\u0000b\"]");
	assert_string_equal(AGAIN("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\\u007f\"]", 0),
			    "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\x7f\"]");
	assert_string_equal(AGAIN(" [ 0.1 , 1e2 , 1E-7, 123456.789 , 5e-324, 0.30000000000000004, -0.0] ", 0),
			    "[0.1,100.0,1e-07,123456.789,4.94065645841247e-324,0.30000000000000004,-0.0]");
	assert_string_equal(AGAIN("[9223372036854775807,-9223372036854775808]", 0),
			    "[9223372036854775807,-9223372036854775808]");
}

static void scalars_need_the_flag(void **state)
{
	(void)state;
	assert_string_equal(AGAIN("5", HTH_JSON_ALLOW_SCALAR), "5");
	assert_string_equal(AGAIN("\"x\"", HTH_JSON_ALLOW_SCALAR), "\"x\"");
	assert_string_equal(AGAIN("null", HTH_JSON_ALLOW_SCALAR), "null");
	assert_non_null(strstr(AGAIN("5", 0), "t: line 1 column 1: '[' or '{' expected"));
}

static void malformed_documents_are_errors_with_a_place(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"", "t: "},
		{" ", "t: "},
		{"{", "line 1"},
		{"[1,]", "line 1 column 4"},
		{"{\"a\" 1}", "line 1"},
		{"{\"a\":1,}", "line 1"},
		{"[1\n,\n x]", "line 3 column 2"},
		{"{a:1}", "line 1"},
		{"['a']", "line 1"},
		{"[01]", "line 1"},
		{"[1.]", "line 1"},
		{"[.5]", "line 1"},
		{"[+1]", "line 1"},
		{"[-]", "line 1"},
		{"[1e]", "line 1"},
		{"[tru]", "line 1"},
		{"[\"a]", "line 1"},
		{"[\"\\x\"]", "line 1"},
		{"[\"\\u12\"]", "line 1"},
		{"[\"\\ud800\"]", "line 1"},
		{"[\"\\udc00\"]", "line 1"},
		{"[\"\n\"]", "line 1"},
		{"[\"\xff\"]", "line 1"},
		{"[\"\xed\xa0\x80\"]", "line 1"},
		{"[] []", "line 1"},
		{"[]x", "line 1"},
		{"{\"a\":1,\"a\":2}", "duplicate"},
		{"{\"\\u0000\":1}", "NUL"},
		{"[1e999]", "overflow"},
		{"]", "line 1"},
		{"[}", "line 1"},
		{"// c\n[]", "line 1"},
		{"[1 2]", "line 1"},
		{"{1:2}", "line 1"},
		{"[99999999999999999999]", "too big integer"},
		{"[NaN]", "t: line 1 column 2: found NaN or Infinity"},
		{"[1,\n-Infinity]", "line 2 column 2: found NaN"},
		{"[Infinity]", "found NaN or Infinity"},
		{"[Nope]", "invalid token"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		json_t *doc;
		enum hth_status status = hth_json_parse(cases[i].text, strlen(cases[i].text), 0, "t", &doc, &err);
		if (status != HTH_ERR_FORMAT || strstr(err.text, cases[i].want) == NULL)
			fail_msg("%s: %d %s", cases[i].text, (int)status, err.text);
	}
	assert_non_null(strstr(AGAIN("[\0]", 0), "line 1"));
}

static void depth_is_bounded_outside_of_strings(void **state)
{
	char text[300];
	(void)state;
	memset(text, '[', 64);
	memset(text + 64, ']', 64);
	assert_int_equal(strlen(again(text, 128, 0)), 128);
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	json_t *doc;
	assert_fails(hth_json_parse(text, 130, 0, "t", &doc, &err), HTH_ERR_LIMIT,
		     "t: line 1 column 65: nested more than 64");
	/* Brackets in strings do not count, nor does a quote behind a backslash end one. */
	int n = snprintf(text, sizeof text, "[\"\\\"%.*s\\\\\"]", 200,
			 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
			 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
	assert_int_equal(strlen(again(text, (size_t)n, 0)), n);
	char *many = hth_alloc(1000000);
	memset(many, '{', 1000000);
	assert_fails(hth_json_parse(many, 1000000, 0, "t", &doc, &err), HTH_ERR_LIMIT, "nested");
	hth_free(many);
}

static void big_integers_become_reals_only_with_the_flag(void **state)
{
	const int big = HTH_JSON_BIG_INT_AS_REAL;
	(void)state;
	assert_string_equal(AGAIN("{\"m\":1000000000000000019884624838656}", big), "{\"m\":1e+30}");
	assert_string_equal(AGAIN("[9223372036854775807, 9223372036854775808,-9223372036854775809]", big),
			    "[9223372036854775807,9.223372036854776e+18,-9.223372036854776e+18]");
	assert_string_equal(AGAIN("[\"9999999999999999999999\", 7, 99999999999999999999]", big),
			    "[\"9999999999999999999999\",7,1e+20]");
	assert_string_equal(AGAIN("99999999999999999999", big | HTH_JSON_ALLOW_SCALAR), "1e+20");
	assert_string_equal(AGAIN("[99999999999999999999.5, 99999999999999999999e1]", big), "[1e+20,1e+21]");
	assert_non_null(strstr(AGAIN("[00000000000000000000001]", big), "line 1"));
	assert_non_null(strstr(AGAIN("[99999999999999999999, \"x", big), "line 1"));
	assert_non_null(strstr(AGAIN("[99999999999999999999", big), "line 1"));
	assert_non_null(strstr(AGAIN("[1000000000000000000000]", 0), "too big integer"));
}

static const char sample[] =
	"{\"name\": \"a long enough string for the token buffer to grow, \\u00e9\\n\", \"n\": "
	"12345678901234567890123,\n"
	" \"list\": [1, 2.5, -3e-4, true, false, null, {\"k\": []}], \"\xc3\xa9\": \"\xe2\x82\xac\"}";

static void every_truncation_is_an_error(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof sample - 1; n++) {
		json_t *doc;
		char *cut = hth_alloc(n); /* exact size: the sanitizer sees a read past the end */
		memcpy(cut, sample, n);
		if (hth_json_parse(cut, n, HTH_JSON_BIG_INT_AS_REAL, "t", &doc, &err) != HTH_ERR_FORMAT)
			fail_msg("cut at %zu", n);
		hth_free(cut);
	}
}

static void no_changed_byte_crashes(void **state)
{
	static const unsigned char bytes[] = {0,   '"', '\\', '[', '}',  ',',  ':', '9',
					      '-', '.', 'e',  'N', 0x80, 0xC3, 0xFF};
	char text[sizeof sample];
	(void)state;
	for (size_t at = 0; at < sizeof sample - 1; at++)
		for (size_t i = 0; i < sizeof bytes; i++) {
			json_t *doc;
			memcpy(text, sample, sizeof text);
			text[at] = (char)bytes[i];
			enum hth_status status =
				hth_json_parse(text, sizeof text - 1, HTH_JSON_BIG_INT_AS_REAL, "t", &doc, &err);
			assert_true((status == HTH_OK) == (doc != NULL));
			json_decref(doc);
		}
}

static void each_failing_allocation_is_reported_as_memory(void **state)
{
	(void)state;
	for (int sticky = 0; sticky < 2; sticky++)
		for (uint64_t nth = 1;; nth++) {
			json_t *doc;
			hth_mem_fail_at(nth, sticky);
			enum hth_status status =
				hth_json_parse(sample, sizeof sample - 1, HTH_JSON_BIG_INT_AS_REAL, "t", &doc, &err);
			hth_mem_fail_at(0, false);
			if (status == HTH_OK) {
				json_decref(doc);
				assert_true(nth > 20);
				break;
			}
			assert_int_equal(status, HTH_ERR_MEMORY);
			assert_null(doc);
		}
}

static void a_file_is_read_within_its_limit(void **state)
{
	json_t *doc;
	(void)state;
	assert_ok(hth_file_write(temp("a.json"), "{\"a\":\n x}", 9, &err));
	assert_fails(hth_json_read(temp("a.json"), 100, 0, &doc, &err), HTH_ERR_FORMAT, "a.json: line 2 column 2");
	assert_fails(hth_json_read(temp("a.json"), 5, 0, &doc, &err), HTH_ERR_LIMIT, "a.json: 9 bytes");
	assert_fails(hth_json_read(temp("none"), 5, 0, &doc, &err), HTH_ERR_NOTFOUND, "none");
	assert_ok(hth_file_write(temp("b.json"), "{}", 2, &err));
	assert_ok(hth_json_read(temp("b.json"), 100, 0, &doc, &err));
	json_decref(doc);
}

static void getters_give_values_defaults_and_clear_errors(void **state)
{
	static const char text[] = "{\"i\":5,\"r\":2.5,\"b\":true,\"s\":\"x\",\"z\":null,\"nul\":\"a\\u0000\",\"l\":[],"
				   "\"o\":{},\"f\":false}";
	json_t *o;
	int64_t i = 0;
	double r = 0;
	bool b = false;
	const char *s = NULL;
	(void)state;
	assert_ok(hth_json_parse(text, sizeof text - 1, 0, "t", &o, &err));
	assert_ok(hth_json_int(o, "i", 1, 5, 9, &i, "c.json", &err));
	assert_int_equal(i, 5);
	assert_ok(hth_json_int(o, "none", 1, 5, -1, &i, "c.json", &err));
	assert_int_equal(i, -1);
	assert_ok(hth_json_int(o, "z", 1, 5, 7, &i, "c.json", &err));
	assert_int_equal(i, 7);
	assert_fails(hth_json_int(o, "i", 6, 4096, 0, &i, "c.json", &err), HTH_ERR_FORMAT,
		     "c.json: \"i\": found 5, expected an integer in 6..4096");
	assert_fails(hth_json_int(o, "i", -4, 4, 0, &i, "c.json", &err), HTH_ERR_FORMAT, "in -4..4");
	assert_fails(hth_json_int(o, "r", 0, 9, 0, &i, "c.json", &err), HTH_ERR_FORMAT,
		     "found 2.5, expected an integer");
	assert_fails(hth_json_int(o, "s", 0, 9, 0, &i, "c.json", &err), HTH_ERR_FORMAT, "found a string");
	assert_ok(hth_json_real(o, "r", 0, 9, 0, &r, "c.json", &err));
	assert_true(r == 2.5);
	assert_ok(hth_json_real(o, "i", 0, 9, 0, &r, "c.json", &err));
	assert_true(r == 5);
	assert_ok(hth_json_real(o, "none", 0, 9, 1e-6, &r, "c.json", &err));
	assert_true(r == 1e-6);
	assert_fails(hth_json_real(o, "r", 3, 9, 0, &r, "c.json", &err), HTH_ERR_FORMAT,
		     "\"r\": found 2.5, expected a number in 3..9");
	assert_fails(hth_json_real(o, "l", 3, 9, 0, &r, "c.json", &err), HTH_ERR_FORMAT, "found a list");
	assert_ok(hth_json_bool(o, "b", false, &b, "c.json", &err));
	assert_true(b);
	assert_ok(hth_json_bool(o, "f", true, &b, "c.json", &err));
	assert_false(b);
	assert_ok(hth_json_bool(o, "none", true, &b, "c.json", &err));
	assert_true(b);
	assert_fails(hth_json_bool(o, "i", true, &b, "c.json", &err), HTH_ERR_FORMAT,
		     "found 5, expected true or false");
	assert_ok(hth_json_str(o, "s", NULL, &s, "c.json", &err));
	assert_string_equal(s, "x");
	assert_ok(hth_json_str(o, "none", NULL, &s, "c.json", &err));
	assert_null(s);
	assert_fails(hth_json_str(o, "o", NULL, &s, "c.json", &err), HTH_ERR_FORMAT,
		     "found an object, expected a string");
	assert_fails(hth_json_str(o, "nul", NULL, &s, "c.json", &err), HTH_ERR_FORMAT, "holds \\u0000");
	json_decref(o);
}

static void an_indented_dump_is_readable(void **state)
{
	json_t *doc;
	struct hth_buf b;
	(void)state;
	assert_ok(hth_json_parse("{\"a\":[1,{\"b\":[]}],\"c\":{}}", 25, 0, "t", &doc, &err));
	hth_buf_init(&b, 1000);
	assert_ok(hth_json_dump(doc, 2, &b, &err));
	assert_string_equal(hth_buf_str(&b),
			    "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
	hth_buf_clear(&b);
	hth_buf_init(&b, 5);
	assert_fails(hth_json_dump(doc, 2, &b, &err), HTH_ERR_LIMIT, "longer than the limit");
	hth_buf_clear(&b);
	hth_mem_fail_at(1, false);
	assert_fails(hth_json_dump(doc, 2, &b, &err), HTH_ERR_MEMORY, "out of memory");
	hth_buf_clear(&b);
	json_decref(doc);
	assert_fails(hth_json_dump(NULL, 2, &b, &err), HTH_ERR_MEMORY, "JSON to write");
}

static void a_document_too_deep_to_read_is_not_written(void **state)
{
	json_t *doc = json_array();
	struct hth_buf b;
	(void)state;
	for (int i = 0; i < 70; i++) {
		json_t *outer = json_array();
		json_array_append_new(outer, doc);
		doc = outer;
	}
	hth_buf_init(&b, 1000);
	assert_fails(hth_json_dump(doc, 0, &b, &err), HTH_ERR_LIMIT, "nested more than 64 deep");
	hth_buf_clear(&b);
	json_decref(doc);
}

static void strings_are_escaped_and_repaired(void **state)
{
	struct hth_buf b;
	(void)state;
	hth_buf_init(&b, 1000);
	assert_true(hth_json_put_string(&b, "a\"\\\x01\0\xff\xc3\xa9\xe2\x82", 10));
	assert_string_equal(hth_buf_str(&b), "\"a\\\"\\\\\\u0001\\u0000\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
	hth_buf_reset(&b);
	assert_true(hth_json_put_string(&b, "", 0));
	assert_string_equal(hth_buf_str(&b), "\"\"");
	hth_buf_clear(&b);
}

static void a_locale_with_a_decimal_comma_changes_nothing(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "fr_FR.utf8"};
	bool set = false;
	(void)state;
	for (size_t i = 0; !set && i < sizeof names / sizeof *names; i++)
		set = setlocale(LC_NUMERIC, names[i]) != NULL;
	if (!set)
		skip_because("no locale with a decimal comma here");
	const char *out = AGAIN("[0.5,1e-7]", 0);
	setlocale(LC_NUMERIC, "C");
	assert_string_equal(out, "[0.5,1e-07]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_come_back_as_they_were),
		cmocka_unit_test(scalars_need_the_flag),
		cmocka_unit_test(malformed_documents_are_errors_with_a_place),
		cmocka_unit_test(depth_is_bounded_outside_of_strings),
		cmocka_unit_test(big_integers_become_reals_only_with_the_flag),
		cmocka_unit_test(every_truncation_is_an_error),
		cmocka_unit_test(no_changed_byte_crashes),
		cmocka_unit_test(each_failing_allocation_is_reported_as_memory),
		temp_test(a_file_is_read_within_its_limit),
		cmocka_unit_test(getters_give_values_defaults_and_clear_errors),
		temp_test(an_indented_dump_is_readable),
		cmocka_unit_test(a_document_too_deep_to_read_is_not_written),
		cmocka_unit_test(strings_are_escaped_and_repaired),
		cmocka_unit_test(a_locale_with_a_decimal_comma_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
