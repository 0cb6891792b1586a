/* Jinja's tests ("x is defined"): one row each in the table at the end. */
#include "text/jinja_int.h"

#include <math.h>

#define TEST(name)                                                                                                     \
	static bool name(struct hth_jx *x, struct hth_jval v, const struct hth_jval *arg, const struct hth_jargs *all, \
			 struct hth_jval *out)
#define UNUSED() ((void)x, (void)v, (void)arg, (void)all)

static bool yes_no(bool b, struct hth_jval *out)
{
	*out = hth_jv_bool(b);
	return true;
}

#define KIND_TEST(name, condition)                                                                                     \
	TEST(name)                                                                                                     \
	{                                                                                                              \
		UNUSED();                                                                                              \
		return yes_no(condition, out);                                                                         \
	}

KIND_TEST(is_defined, v.kind != HTH_JV_UNDEF)
KIND_TEST(is_undefined, v.kind == HTH_JV_UNDEF)
KIND_TEST(is_none, v.kind == HTH_JV_NONE)
KIND_TEST(is_boolean, v.kind == HTH_JV_BOOL)
KIND_TEST(is_true, v.kind == HTH_JV_BOOL && v.b)
KIND_TEST(is_false, v.kind == HTH_JV_BOOL && !v.b)
KIND_TEST(is_integer, v.kind == HTH_JV_INT || v.kind == HTH_JV_BIG)
KIND_TEST(is_float, v.kind == HTH_JV_FLOAT)
KIND_TEST(is_string, v.kind == HTH_JV_STR)
KIND_TEST(is_mapping, v.kind == HTH_JV_DICT)
KIND_TEST(is_escaped, v.kind == HTH_JV_STR && v.s->markup)
KIND_TEST(is_number, v.kind == HTH_JV_INT || v.kind == HTH_JV_BIG || v.kind == HTH_JV_FLOAT || v.kind == HTH_JV_BOOL)
/* what has a length and items; an undefined value too, which jinja2 lets through */
KIND_TEST(is_sequence, v.kind == HTH_JV_STR || v.kind == HTH_JV_BYTES || v.kind == HTH_JV_LIST ||
			       v.kind == HTH_JV_TUPLE || v.kind == HTH_JV_DICT || v.kind == HTH_JV_RANGE ||
			       v.kind == HTH_JV_UNDEF)
KIND_TEST(is_iterable, v.kind == HTH_JV_STR || v.kind == HTH_JV_BYTES || v.kind == HTH_JV_LIST ||
			       v.kind == HTH_JV_TUPLE || v.kind == HTH_JV_DICT || v.kind == HTH_JV_RANGE ||
			       v.kind == HTH_JV_UNDEF || v.kind == HTH_JV_VIEW || v.kind == HTH_JV_GEN ||
			       v.kind == HTH_JV_LOOP)
KIND_TEST(is_callable, v.kind == HTH_JV_FUNC || v.kind == HTH_JV_METHOD || v.kind == HTH_JV_MACRO ||
			       v.kind == HTH_JV_JOINER || v.kind == HTH_JV_LOOP || v.kind == HTH_JV_BLOCK ||
			       v.kind == HTH_JV_UNDEF)

/* v % by, as Python's; fails for what has no remainder. */
static bool remainder_is(struct hth_jx *x, struct hth_jval v, struct hth_jval by, int64_t want, struct hth_jval *out)
{
	struct hth_jval r;
	bool equal;
	if (!hth_jop_arith(x, HTH_JO_MOD, v, by, &r) || !hth_jv_equal(x, r, hth_jv_int(want), &equal))
		return false;
	return yes_no(equal, out);
}

TEST(is_odd)
{
	UNUSED();
	return remainder_is(x, v, hth_jv_int(2), 1, out);
}

TEST(is_even)
{
	UNUSED();
	return remainder_is(x, v, hth_jv_int(2), 0, out);
}

TEST(is_divisibleby)
{
	UNUSED();
	return remainder_is(x, v, arg[0], 0, out);
}

static bool all_case(struct hth_jx *x, struct hth_jval v, bool upper, struct hth_jval *out)
{
	struct hth_jstr *s;
	bool any = false, wrong = false;
	if (!hth_jv_str_of(x, v, &s) || !hth_jstr_flat(x, s))
		return false;
	struct hth_jcursor c = {.s = s};
	while (hth_jcursor_next(&c)) {
		bool up = hth_jchar_upper(c.cp), low = hth_jchar_lower(c.cp);
		any = any || up || low;
		wrong = wrong || hth_jchar_title(c.cp) || (upper ? low : up);
	}
	return yes_no(any && !wrong, out);
}

TEST(is_lower)
{
	UNUSED();
	return all_case(x, v, false, out);
}

TEST(is_upper)
{
	UNUSED();
	return all_case(x, v, true, out);
}

TEST(is_sameas)
{
	UNUSED();
	if (v.kind != arg[0].kind)
		return yes_no(false, out);
	if (v.kind == HTH_JV_BOOL || v.kind == HTH_JV_NONE)
		return yes_no(v.kind == HTH_JV_NONE || v.b == arg[0].b, out);
	if (v.kind == HTH_JV_INT) /* CPython shares small integers only; nobody means the difference */
		return yes_no(v.i == arg[0].i, out);
	return yes_no(v.kind != HTH_JV_FLOAT && v.d == arg[0].d, out);
}

TEST(is_in)
{
	bool b;
	UNUSED();
	return hth_jv_in(x, v, arg[0], &b) && yes_no(b, out);
}

TEST(is_filter)
{
	UNUSED();
	return yes_no(v.kind == HTH_JV_STR && hth_jstr_flat(x, v.s) && hth_jinja_filter(v.s->data, v.s->bytes) != NULL,
		      out);
}

TEST(is_test)
{
	UNUSED();
	return yes_no(v.kind == HTH_JV_STR && hth_jstr_flat(x, v.s) && hth_jinja_test(v.s->data, v.s->bytes) != NULL,
		      out);
}

#define COMPARE_TEST(name, op)                                                                                         \
	TEST(name)                                                                                                     \
	{                                                                                                              \
		bool b = false;                                                                                        \
		UNUSED();                                                                                              \
		return hth_jop_compare(x, op, v, arg[0], &b) && yes_no(b, out);                                        \
	}

COMPARE_TEST(is_eq, HTH_JO_EQ)
COMPARE_TEST(is_ne, HTH_JO_NE)
COMPARE_TEST(is_gt, HTH_JO_GT)
COMPARE_TEST(is_ge, HTH_JO_GE)
COMPARE_TEST(is_lt, HTH_JO_LT)
COMPARE_TEST(is_le, HTH_JO_LE)

static const struct hth_jbuiltin tests[] = {
	{"defined", "", is_defined},   {"undefined", "", is_undefined}, {"none", "", is_none},
	{"boolean", "", is_boolean},   {"true", "", is_true},           {"false", "", is_false},
	{"integer", "", is_integer},   {"float", "", is_float},         {"number", "", is_number},
	{"string", "", is_string},     {"mapping", "", is_mapping},     {"sequence", "", is_sequence},
	{"iterable", "", is_iterable}, {"callable", "", is_callable},   {"escaped", "", is_escaped},
	{"odd", "", is_odd},           {"even", "", is_even},           {"divisibleby", "num", is_divisibleby},
	{"lower", "", is_lower},       {"upper", "", is_upper},         {"sameas", "other", is_sameas},
	{"in", "seq", is_in},          {"filter", "", is_filter},       {"test", "", is_test},
	{"==", "other", is_eq},        {"eq", "other", is_eq},          {"equalto", "other", is_eq},
	{"!=", "other", is_ne},        {"ne", "other", is_ne},          {">", "other", is_gt},
	{"gt", "other", is_gt},        {"greaterthan", "other", is_gt}, {">=", "other", is_ge},
	{"ge", "other", is_ge},        {"<", "other", is_lt},           {"lt", "other", is_lt},
	{"lessthan", "other", is_lt},  {"<=", "other", is_le},          {"le", "other", is_le},
};

const struct hth_jbuiltin *hth_jinja_test(const char *name, size_t bytes)
{
	return hth_jinja_in_table(tests, sizeof tests / sizeof tests[0], name, bytes);
}
