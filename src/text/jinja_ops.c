/* Arithmetic and comparison of the Jinja interpreter, by Python's rules: floor division, true division, int overflow
 * as an error (Python would go on with big integers; chat templates never do). */
#include "text/jinja_int.h"

#include <math.h>

static const char *const op_text[] = {
	"+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

static bool is_int(struct hth_jval v)
{
	return v.kind == HTH_JV_INT || v.kind == HTH_JV_BOOL;
}

static int64_t int_of(struct hth_jval v)
{
	return v.kind == HTH_JV_INT ? v.i : v.b;
}

static bool overflow(struct hth_jx *x)
{
	return hth_jx_fail(x, HTH_ERR_LIMIT, "an integer beyond 64 bits");
}

static bool int_power(struct hth_jx *x, int64_t a, int64_t b, struct hth_jval *out)
{
	int64_t r = 1;
	if (b < 0) {
		if (a == 0)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "0.0 cannot be raised to a negative power");
		*out = hth_jv_float(pow((double)a, (double)b));
		return true;
	}
	if (a == 0 || a == 1 || a == -1) {
		*out = hth_jv_int(b == 0 ? 1 : a == -1 && (b & 1) == 0 ? 1 : a);
		return true;
	}
	for (; b > 0; b--)
		if (__builtin_mul_overflow(r, a, &r))
			return overflow(x);
	*out = hth_jv_int(r);
	return true;
}

static bool int_arith(struct hth_jx *x, enum hth_jop op, int64_t a, int64_t b, struct hth_jval *out)
{
	int64_t r = 0;
	bool bad = false;
	switch (op) {
	case HTH_JO_ADD:
		bad = __builtin_add_overflow(a, b, &r);
		break;
	case HTH_JO_SUB:
		bad = __builtin_sub_overflow(a, b, &r);
		break;
	case HTH_JO_MUL:
		bad = __builtin_mul_overflow(a, b, &r);
		break;
	case HTH_JO_POW:
		return int_power(x, a, b, out);
	default:
		if (b == 0)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "division or modulo by zero");
		if (op == HTH_JO_DIV) {
			*out = hth_jv_float((double)a / (double)b);
			return true;
		}
		if (b == -1) { /* INT64_MIN / -1 traps */
			bad = op == HTH_JO_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &r);
			break;
		}
		r = op == HTH_JO_MOD ? a % b : a / b;
		if (a % b != 0 && (a % b < 0) != (b < 0))
			r += op == HTH_JO_MOD ? b : -1;
	}
	if (bad)
		return overflow(x);
	*out = hth_jv_int(r);
	return true;
}

static bool float_arith(struct hth_jx *x, enum hth_jop op, double a, double b, struct hth_jval *out)
{
	double r = 0;
	if (b == 0 && (op == HTH_JO_DIV || op == HTH_JO_FLOORDIV || op == HTH_JO_MOD))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "float division or modulo by zero");
	switch (op) {
	case HTH_JO_ADD:
		r = a + b;
		break;
	case HTH_JO_SUB:
		r = a - b;
		break;
	case HTH_JO_MUL:
		r = a * b;
		break;
	case HTH_JO_DIV:
		r = a / b;
		break;
	case HTH_JO_POW:
		r = pow(a, b);
		if (isfinite(a) && isfinite(b) && !isfinite(r)) /* Python: an overflow, or a complex number */
			return hth_jx_fail(x, HTH_ERR_FORMAT, "the power is out of range or not a real number");
		break;
	default:
		r = fmod(a, b); /* with the sign of b, as Python has it */
		if (r != 0 && (r < 0) != (b < 0))
			r += b;
		if (r == 0)
			r = copysign(0, b);
		if (op == HTH_JO_FLOORDIV)
			r = floor((a - r) / b + 0.5);
	}
	*out = hth_jv_float(r);
	return true;
}

static bool add_strs(struct hth_jx *x, struct hth_jstr *a, struct hth_jstr *b, struct hth_jval *out)
{
	bool markup = a->markup || b->markup;
	if (markup && ((a = hth_jstr_escape(x, a)) == NULL || (b = hth_jstr_escape(x, b)) == NULL))
		return false;
	struct hth_jstr *s = hth_jstr_concat(x, a, b);
	if (s != NULL && markup)
		s->markup = true; /* a fresh node, or one operand, which then is a Markup already */
	*out = hth_jv_str(s);
	return s != NULL;
}

static bool add_lists(struct hth_jx *x, struct hth_jval a, struct hth_jval b, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, a.l->n + b.l->n);
	if (l == NULL || !hth_jx_charge(x, a.l->n + b.l->n))
		return false;
	if (a.l->n > 0)
		memcpy(l->items, a.l->items, a.l->n * sizeof *l->items);
	if (b.l->n > 0)
		memcpy(l->items + a.l->n, b.l->items, b.l->n * sizeof *l->items);
	l->n = a.l->n + b.l->n;
	*out = hth_jv_list(l, a.kind);
	return true;
}

static bool repeat_list(struct hth_jx *x, struct hth_jval a, int64_t times, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	for (int64_t i = 0; l != NULL && i < times && a.l->n > 0; i++)
		for (size_t k = 0; k < a.l->n; k++)
			if (!hth_jlist_push(x, l, a.l->items[k]))
				return false;
	*out = hth_jv_list(l, a.kind);
	return l != NULL;
}

bool hth_jop_arith(struct hth_jx *x, enum hth_jop op, struct hth_jval a, struct hth_jval b, struct hth_jval *out)
{
	double fa, fb;
	if (a.kind == HTH_JV_STR && op == HTH_JO_MOD)
		return hth_jformat_percent(x, a.s, b, out);
	if (a.kind == HTH_JV_UNDEF || b.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, a.kind == HTH_JV_UNDEF ? a : b);
	if (is_int(a) && is_int(b))
		return int_arith(x, op, int_of(a), int_of(b), out);
	if (hth_jv_number(a, &fa) && hth_jv_number(b, &fb))
		return float_arith(x, op, fa, fb, out);
	if (op == HTH_JO_ADD && a.kind == HTH_JV_STR && b.kind == HTH_JV_STR)
		return add_strs(x, a.s, b.s, out);
	if (op == HTH_JO_ADD && a.kind == b.kind && (a.kind == HTH_JV_LIST || a.kind == HTH_JV_TUPLE))
		return add_lists(x, a, b, out);
	if (op == HTH_JO_MUL && is_int(a)) { /* 3 * 'ab' */
		struct hth_jval swap = a;
		a = b;
		b = swap;
	}
	if (op == HTH_JO_MUL && is_int(b) && a.kind == HTH_JV_STR) {
		*out = hth_jv_str(hth_jstr_repeat(x, a.s, int_of(b)));
		return out->s != NULL;
	}
	if (op == HTH_JO_MUL && is_int(b) && (a.kind == HTH_JV_LIST || a.kind == HTH_JV_TUPLE))
		return repeat_list(x, a, int_of(b), out);
	if (a.kind == HTH_JV_BIG || b.kind == HTH_JV_BIG)
		return overflow(x);
	return hth_jx_fail(x, HTH_ERR_FORMAT, "unsupported operand types for %s: '%s' and '%s'", op_text[op],
			   hth_jv_type(a), hth_jv_type(b));
}

bool hth_jop_compare(struct hth_jx *x, enum hth_jop op, struct hth_jval a, struct hth_jval b, bool *out)
{
	int c;
	bool ok;
	if (op == HTH_JO_EQ || op == HTH_JO_NE)
		ok = hth_jv_equal(x, a, b, out);
	else if (op == HTH_JO_IN || op == HTH_JO_NOTIN)
		ok = hth_jv_in(x, a, b, out);
	else
		ok = hth_jv_compare(x, op_text[op], a, b, &c);
	if (!ok)
		return false;
	switch (op) {
	case HTH_JO_NE:
	case HTH_JO_NOTIN:
		*out = !*out;
		break;
	case HTH_JO_LT:
		*out = c == -1;
		break;
	case HTH_JO_LE:
		*out = c == -1 || c == 0;
		break;
	case HTH_JO_GT:
		*out = c == 1;
		break;
	case HTH_JO_GE:
		*out = c == 1 || c == 0;
		break;
	default:
		break;
	}
	return true;
}

bool hth_jop_unary(struct hth_jx *x, bool negate, struct hth_jval a, struct hth_jval *out)
{
	int64_t i = 0;
	if (a.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, a);
	if (a.kind == HTH_JV_FLOAT) {
		*out = hth_jv_float(negate ? -a.f : a.f);
		return true;
	}
	if (!is_int(a))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "bad operand type for unary %s: '%s'", negate ? "-" : "+",
				   hth_jv_type(a));
	if (negate && __builtin_sub_overflow((int64_t)0, int_of(a), &i))
		return overflow(x);
	*out = hth_jv_int(negate ? i : int_of(a));
	return true;
}
