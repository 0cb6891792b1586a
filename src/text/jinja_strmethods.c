/* Methods of strings: one row each in the table at the end, names and arguments as Python's str has them.
 * Splitting and joining are in jinja_strings.c. */
#include "text/jinja_strings.h"

static bool give(struct hth_jstr *s, struct hth_jval *out)
{
	*out = hth_jv_str(s);
	return s != NULL;
}

static bool give_bool(bool b, struct hth_jval *out)
{
	*out = hth_jv_bool(b);
	return true;
}

bool hth_jarg_str(struct hth_jx *x, struct hth_jval v, const char *what, struct hth_jstr **out)
{
	*out = NULL;
	if (v.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, v);
	if (v.kind != HTH_JV_STR)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%s: expected a string, found a value of type '%s'", what,
				   hth_jv_type(v));
	*out = v.s;
	return hth_jstr_flat(x, v.s);
}

bool hth_jarg_int(struct hth_jx *x, struct hth_jval v, const char *what, int64_t def, int64_t *out)
{
	*out = def;
	return v.kind == HTH_JV_MISSING || v.kind == HTH_JV_NONE || hth_jv_int_arg(x, v, what, out);
}

#define CASE_METHOD(name, how)                                                                                         \
	HTH_JMETHOD(name)                                                                                              \
	{                                                                                                              \
		HTH_JUNUSED();                                                                                         \
		return give(hth_jstr_case(x, self.s, how), out);                                                       \
	}
CASE_METHOD(str_upper, 'u')
CASE_METHOD(str_lower, 'l')
CASE_METHOD(str_title, 't')
CASE_METHOD(str_capitalize, 'c')
CASE_METHOD(str_swapcase, 's')
CASE_METHOD(str_casefold, 'f')

static bool strip(struct hth_jx *x, struct hth_jval self, struct hth_jval chars, int sides, struct hth_jval *out)
{
	struct hth_jstr *set = NULL;
	if (chars.kind != HTH_JV_MISSING && chars.kind != HTH_JV_NONE && !hth_jarg_str(x, chars, "strip", &set))
		return false;
	return give(hth_jstr_strip(x, self.s, set, sides), out);
}

HTH_JMETHOD(str_strip)
{
	HTH_JUNUSED();
	return strip(x, self, arg[0], 3, out);
}

HTH_JMETHOD(str_lstrip)
{
	HTH_JUNUSED();
	return strip(x, self, arg[0], 1, out);
}

HTH_JMETHOD(str_rstrip)
{
	HTH_JUNUSED();
	return strip(x, self, arg[0], 2, out);
}

HTH_JMETHOD(str_replace)
{
	struct hth_jstr *from, *to;
	int64_t count;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, arg[0], "replace", &from) || !hth_jarg_str(x, arg[1], "replace", &to) ||
	    !hth_jarg_int(x, arg[2], "replace", -1, &count) ||
	    (self.s->markup && (to = hth_jstr_escape(x, to)) == NULL))
		return false;
	return give(hth_jstr_replace(x, self.s, from, to, count), out);
}

/* Bytes of s[start:end] for find, count, startswith; false in *ok when start is behind the end. */
static bool window(struct hth_jx *x, struct hth_jstr *s, const struct hth_jval *bounds, size_t *from, size_t *to,
		   bool *ok)
{
	int64_t start, end;
	*from = *to = 0;
	*ok = false;
	if (!hth_jstr_flat(x, s))
		return false;
	int64_t n = (int64_t)hth_jstr_chars(x, s);
	if (!hth_jarg_int(x, bounds[0], "start", 0, &start) || !hth_jarg_int(x, bounds[1], "end", n, &end))
		return false;
	start = start < 0 ? (start + n < 0 ? 0 : start + n) : start;
	end = end < 0 ? (end + n < 0 ? 0 : end + n) : end > n ? n : end;
	*ok = start <= end;
	*from = hth_jstr_offset(x, s, (size_t)start);
	*to = hth_jstr_offset(x, s, (size_t)end);
	return true;
}

/* The character index of a match, -1 when there is none. */
static bool find(struct hth_jx *x, struct hth_jstr *s, const struct hth_jval *arg, bool last, int64_t *out)
{
	struct hth_jstr *what;
	size_t from, to, hit;
	bool ok;
	*out = -1;
	if (!hth_jarg_str(x, arg[0], "find", &what) || !window(x, s, arg + 1, &from, &to, &ok) ||
	    !hth_jx_charge(x, s->bytes / 64))
		return false;
	hit = ok ? hth_jstr_find(s, from, to, what, last) : HTH_JINJA_NONE;
	if (hit == HTH_JINJA_NONE)
		return true;
	*out = 0;
	for (size_t i = 0; i < hit; i++)
		*out += ((unsigned char)s->data[i] & 0xC0) != 0x80;
	return true;
}

static bool find_or_fail(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, bool last, bool must,
			 struct hth_jval *out)
{
	int64_t at;
	if (!find(x, self.s, arg, last, &at))
		return false;
	if (must && at < 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "substring not found");
	*out = hth_jv_int(at);
	return true;
}

HTH_JMETHOD(str_find)
{
	HTH_JUNUSED();
	return find_or_fail(x, self, arg, false, false, out);
}

HTH_JMETHOD(str_rfind)
{
	HTH_JUNUSED();
	return find_or_fail(x, self, arg, true, false, out);
}

HTH_JMETHOD(str_index)
{
	HTH_JUNUSED();
	return find_or_fail(x, self, arg, false, true, out);
}

HTH_JMETHOD(str_rindex)
{
	HTH_JUNUSED();
	return find_or_fail(x, self, arg, true, true, out);
}

HTH_JMETHOD(str_count)
{
	struct hth_jstr *what;
	size_t from, to, hit;
	int64_t n = 0;
	bool ok;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, arg[0], "count", &what) || !window(x, self.s, arg + 1, &from, &to, &ok) ||
	    !hth_jx_charge(x, self.s->bytes / 64))
		return false;
	if (what->bytes == 0) {
		for (n = 1; ok && from < to; from++)
			n += ((unsigned char)self.s->data[from] & 0xC0) != 0x80;
	} else {
		for (; ok && (hit = hth_jstr_find(self.s, from, to, what, false)) != HTH_JINJA_NONE; n++)
			from = hit + what->bytes;
	}
	*out = hth_jv_int(n);
	return true;
}

static bool affix(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, bool at_end, struct hth_jval *out)
{
	struct hth_jval one = arg[0], *list = &one;
	size_t n = 1, from, to;
	bool ok, hit = false;
	if (one.kind == HTH_JV_TUPLE && !hth_jv_items(x, one, &list, &n))
		return false;
	if (!window(x, self.s, arg + 1, &from, &to, &ok))
		return false;
	for (size_t i = 0; i < n && !hit; i++) {
		struct hth_jstr *s;
		if (!hth_jarg_str(x, list[i], at_end ? "endswith" : "startswith", &s))
			return false;
		hit = ok && s->bytes <= to - from &&
		      memcmp(self.s->data + (at_end ? to - s->bytes : from), s->data, s->bytes) == 0;
	}
	return give_bool(hit, out);
}

HTH_JMETHOD(str_startswith)
{
	HTH_JUNUSED();
	return affix(x, self, arg, false, out);
}

HTH_JMETHOD(str_endswith)
{
	HTH_JUNUSED();
	return affix(x, self, arg, true, out);
}

HTH_JMETHOD(str_removeprefix)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, arg[0], "removeprefix", &s) || !hth_jstr_flat(x, self.s))
		return false;
	bool hit = s->bytes <= self.s->bytes && memcmp(self.s->data, s->data, s->bytes) == 0;
	return give(hth_jstr_slice(x, self.s, hit ? s->bytes : 0, self.s->bytes), out);
}

HTH_JMETHOD(str_removesuffix)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, arg[0], "removesuffix", &s) || !hth_jstr_flat(x, self.s))
		return false;
	size_t n = self.s->bytes;
	bool hit = s->bytes <= n && memcmp(self.s->data + n - s->bytes, s->data, s->bytes) == 0;
	return give(hth_jstr_slice(x, self.s, 0, hit ? n - s->bytes : n), out);
}

bool hth_jstr_pad(struct hth_jx *x, struct hth_jstr *s, int64_t width, struct hth_jstr *fill, char align,
		  struct hth_jval *out)
{
	struct hth_jsb b;
	struct hth_jstr *space = fill;
	if (!hth_jstr_flat(x, s) || (space == NULL && (space = hth_jstr_ref(x, " ", 1)) == NULL))
		return false;
	if (hth_jstr_chars(x, space) != 1)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "the fill character must be exactly one character long");
	int64_t n = (int64_t)hth_jstr_chars(x, s), more = width > n ? width - n : 0;
	/* Python puts the odd space of center() to the left when the width is odd */
	int64_t left = align == 'l' ? 0 : align == 'r' ? more : more / 2 + (more & width & 1);
	hth_jsb_init(&b, x);
	for (int64_t i = 0; i < left; i++)
		if (!hth_jsb_add_str(&b, space) || !hth_jx_charge(x, 1))
			return false;
	if (!hth_jsb_add_str(&b, s))
		return false;
	for (int64_t i = left; i < more; i++)
		if (!hth_jsb_add_str(&b, space) || !hth_jx_charge(x, 1))
			return false;
	if (!give(hth_jsb_done(&b), out))
		return false;
	out->s->markup = s->markup;
	return true;
}

static bool pad_method(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, char align,
		       struct hth_jval *out)
{
	int64_t width;
	struct hth_jstr *fill = NULL;
	return hth_jarg_int(x, arg[0], "width", 0, &width) &&
	       (arg[1].kind == HTH_JV_MISSING || hth_jarg_str(x, arg[1], "fill character", &fill)) &&
	       hth_jstr_pad(x, self.s, width, fill, align, out);
}

HTH_JMETHOD(str_center)
{
	HTH_JUNUSED();
	return pad_method(x, self, arg, 'c', out);
}

HTH_JMETHOD(str_ljust)
{
	HTH_JUNUSED();
	return pad_method(x, self, arg, 'l', out);
}

HTH_JMETHOD(str_rjust)
{
	HTH_JUNUSED();
	return pad_method(x, self, arg, 'r', out);
}

HTH_JMETHOD(str_zfill)
{
	int64_t width;
	HTH_JUNUSED();
	if (!hth_jarg_int(x, arg[0], "width", 0, &width) || !hth_jstr_flat(x, self.s))
		return false;
	struct hth_jstr *s = self.s, *zero = hth_jstr_ref(x, "0", 1);
	bool sign = s->bytes > 0 && (s->data[0] == '-' || s->data[0] == '+');
	struct hth_jstr *rest = hth_jstr_slice(x, s, sign, s->bytes);
	if (zero == NULL || rest == NULL || !hth_jstr_pad(x, rest, width - sign, zero, 'r', out))
		return false;
	if (!sign)
		return true;
	struct hth_jstr *head = hth_jstr_slice(x, s, 0, 1);
	return head != NULL && give(hth_jstr_concat(x, head, out->s), out);
}

HTH_JMETHOD(str_expandtabs)
{
	struct hth_jsb b;
	int64_t size, column = 0;
	HTH_JUNUSED();
	if (!hth_jarg_int(x, arg[0], "tab size", 8, &size) || !hth_jstr_flat(x, self.s))
		return false;
	struct hth_jcursor c = {.s = self.s};
	hth_jsb_init(&b, x);
	while (hth_jcursor_next(&c)) {
		int64_t n = c.cp != '\t' ? 0 : size > 0 ? size - column % size : 0;
		if (c.cp != '\t' && !hth_jsb_add_slice(&b, self.s, c.start, c.at))
			return false;
		for (int64_t i = 0; i < n; i++)
			if (!hth_jsb_add(&b, " ", 1, c.origin, c.gen) || !hth_jx_charge(x, 1))
				return false;
		column = c.cp == '\n' || c.cp == '\r' ? 0 : column + (c.cp == '\t' ? n : 1);
	}
	return give(hth_jsb_done(&b), out);
}

/* str.isalpha and its like: every character fits, and there is one. */
static bool all_chars(struct hth_jx *x, struct hth_jval self, bool (*fits)(uint32_t), bool empty, struct hth_jval *out)
{
	if (!hth_jstr_flat(x, self.s) || !hth_jx_charge(x, self.s->bytes / 16))
		return false;
	struct hth_jcursor c = {.s = self.s};
	bool ok = self.s->bytes > 0 || empty;
	while (ok && hth_jcursor_next(&c))
		ok = fits(c.cp);
	return give_bool(ok, out);
}

static bool alnum(uint32_t cp)
{
	return hth_jchar_alpha(cp) || hth_jchar_numeric(cp);
}

static bool ascii(uint32_t cp)
{
	return cp < 0x80;
}

#define CLASS_METHOD(name, fits, empty)                                                                                \
	HTH_JMETHOD(name)                                                                                              \
	{                                                                                                              \
		HTH_JUNUSED();                                                                                         \
		return all_chars(x, self, fits, empty, out);                                                           \
	}
CLASS_METHOD(str_isalpha, hth_jchar_alpha, false)
CLASS_METHOD(str_isalnum, alnum, false)
CLASS_METHOD(str_isdigit, hth_jchar_digit, false)
CLASS_METHOD(str_isdecimal, hth_jchar_decimal, false)
CLASS_METHOD(str_isnumeric, hth_jchar_numeric, false)
CLASS_METHOD(str_isspace, hth_jchar_space, false)
CLASS_METHOD(str_isprintable, hth_jchar_printable, true)
CLASS_METHOD(str_isascii, ascii, true)

static bool by_test(struct hth_jx *x, const char *test, struct hth_jval self, struct hth_jval *out)
{
	const struct hth_jbuiltin *t = hth_jinja_test(test, strlen(test));
	return t->fn(x, self, NULL, NULL, out);
}

HTH_JMETHOD(str_isupper)
{
	HTH_JUNUSED();
	return by_test(x, "upper", self, out);
}

HTH_JMETHOD(str_islower)
{
	HTH_JUNUSED();
	return by_test(x, "lower", self, out);
}

HTH_JMETHOD(str_istitle)
{
	bool any = false, ok = true, prev = false;
	HTH_JUNUSED();
	if (!hth_jstr_flat(x, self.s))
		return false;
	struct hth_jcursor c = {.s = self.s};
	while (ok && hth_jcursor_next(&c)) {
		bool up = hth_jchar_upper(c.cp) || hth_jchar_title(c.cp), low = hth_jchar_lower(c.cp);
		ok = up ? !prev : !low || prev;
		any = any || up || low;
		prev = up || low;
	}
	return give_bool(ok && any, out);
}

HTH_JMETHOD(str_isidentifier)
{
	bool ok;
	HTH_JUNUSED();
	if (!hth_jstr_flat(x, self.s))
		return false;
	struct hth_jcursor c = {.s = self.s};
	ok = self.s->bytes > 0;
	while (ok && hth_jcursor_next(&c))
		ok = c.cp == '_' || hth_jchar_alpha(c.cp) || (c.start > 0 && hth_jchar_numeric(c.cp));
	return give_bool(ok, out);
}

HTH_JMETHOD(str_format)
{
	HTH_JUNUSED();
	return hth_jformat_braces(x, self.s, all, out);
}

HTH_JMETHOD(str_encode)
{
	HTH_JUNUSED();
	*out = (struct hth_jval){.kind = HTH_JV_BYTES, .s = self.s};
	return hth_jstr_flat(x, self.s);
}

const struct hth_jbuiltin hth_jinja_str_methods[] = {
	{"upper", "", str_upper},
	{"lower", "", str_lower},
	{"title", "", str_title},
	{"capitalize", "", str_capitalize},
	{"swapcase", "", str_swapcase},
	{"casefold", "", str_casefold},
	{"strip", "|chars", str_strip},
	{"lstrip", "|chars", str_lstrip},
	{"rstrip", "|chars", str_rstrip},
	{"split", "|sep,maxsplit", hth_jstr_split},
	{"rsplit", "|sep,maxsplit", hth_jstr_rsplit},
	{"splitlines", "|keepends", hth_jstr_splitlines},
	{"partition", "sep", hth_jstr_partition},
	{"rpartition", "sep", hth_jstr_rpartition},
	{"join", "iterable", hth_jstr_join},
	{"replace", "old,new|count", str_replace},
	{"find", "sub|start,end", str_find},
	{"rfind", "sub|start,end", str_rfind},
	{"index", "sub|start,end", str_index},
	{"rindex", "sub|start,end", str_rindex},
	{"count", "sub|start,end", str_count},
	{"startswith", "prefix|start,end", str_startswith},
	{"endswith", "suffix|start,end", str_endswith},
	{"removeprefix", "prefix", str_removeprefix},
	{"removesuffix", "suffix", str_removesuffix},
	{"center", "width|fillchar", str_center},
	{"ljust", "width|fillchar", str_ljust},
	{"rjust", "width|fillchar", str_rjust},
	{"zfill", "width", str_zfill},
	{"expandtabs", "|tabsize", str_expandtabs},
	{"isalpha", "", str_isalpha},
	{"isalnum", "", str_isalnum},
	{"isdigit", "", str_isdigit},
	{"isdecimal", "", str_isdecimal},
	{"isnumeric", "", str_isnumeric},
	{"isspace", "", str_isspace},
	{"isprintable", "", str_isprintable},
	{"isascii", "", str_isascii},
	{"isupper", "", str_isupper},
	{"islower", "", str_islower},
	{"istitle", "", str_istitle},
	{"isidentifier", "", str_isidentifier},
	{"format", "*", str_format},
	{"encode", "|encoding,errors", str_encode},
};
const size_t hth_jinja_n_str_methods = sizeof hth_jinja_str_methods / sizeof hth_jinja_str_methods[0];
