/* Filters on strings, numbers and single values; filters on sequences are in jinja_seqfilters.c. One row each in the
 * tables at the end. Left out of jinja2's: urlize, wordwrap (nothing that a chat template would use).
 * random picks the same item every time: training rows must not change from run to run. */
#include "text/jinja_strings.h"

#include "base/num.h"

#include <math.h>

static bool give(struct hth_jstr *s, struct hth_jval *out)
{
	*out = hth_jv_str(s);
	return s != NULL;
}

static bool is_set(struct hth_jval v)
{
	return v.kind != HTH_JV_MISSING && v.kind != HTH_JV_NONE;
}

static bool flag(struct hth_jx *x, struct hth_jval v, bool def, bool *out)
{
	*out = def;
	return v.kind == HTH_JV_MISSING || hth_jv_truth(x, v, out);
}

/* str(value), flat. */
static bool text_of(struct hth_jx *x, struct hth_jval v, struct hth_jstr **out)
{
	return hth_jv_str_of(x, v, out) && hth_jstr_flat(x, *out);
}

#define CASE_FILTER(name, how)                                                                                         \
	HTH_JMETHOD(name)                                                                                              \
	{                                                                                                              \
		struct hth_jstr *s;                                                                                    \
		HTH_JUNUSED();                                                                                         \
		return text_of(x, self, &s) && give(hth_jstr_case(x, s, how), out);                                    \
	}
CASE_FILTER(f_upper, 'u')
CASE_FILTER(f_lower, 'l')
CASE_FILTER(f_capitalize, 'c')
CASE_FILTER(f_title, 'w')

HTH_JMETHOD(f_trim)
{
	struct hth_jstr *s, *chars = NULL;
	HTH_JUNUSED();
	return text_of(x, self, &s) && (!is_set(arg[0]) || hth_jarg_str(x, arg[0], "trim", &chars)) &&
	       give(hth_jstr_strip(x, s, chars, 3), out);
}

HTH_JMETHOD(f_replace)
{
	struct hth_jstr *s, *from, *to;
	int64_t count;
	HTH_JUNUSED();
	return text_of(x, self, &s) && text_of(x, arg[0], &from) && text_of(x, arg[1], &to) &&
	       hth_jarg_int(x, arg[2], "replace", -1, &count) &&
	       give(hth_jstr_mark(x, hth_jstr_replace(x, s, from, to, count), false), out);
}

HTH_JMETHOD(f_string)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	return text_of(x, self, &s) && give(s, out);
}

HTH_JMETHOD(f_safe)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	return text_of(x, self, &s) && give(hth_jstr_mark(x, s, true), out);
}

HTH_JMETHOD(f_escape)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	return text_of(x, self, &s) && give(hth_jstr_escape(x, s), out);
}

HTH_JMETHOD(f_forceescape)
{
	struct hth_jstr *s;
	HTH_JUNUSED();
	return text_of(x, self, &s) && (s = hth_jstr_mark(x, s, false)) != NULL && give(hth_jstr_escape(x, s), out);
}

HTH_JMETHOD(f_center)
{
	struct hth_jstr *s;
	int64_t width;
	HTH_JUNUSED();
	return text_of(x, self, &s) && hth_jarg_int(x, arg[0], "center", 80, &width) &&
	       hth_jstr_pad(x, s, width, NULL, 'c', out);
}

HTH_JMETHOD(f_indent)
{
	struct hth_jsb b;
	struct hth_jstr *s, *indent;
	bool first, blank;
	int64_t width = 4;
	size_t at = 0, from, end, lines = 0;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, self, "indent", &s) || !flag(x, arg[1], false, &first) || !flag(x, arg[2], false, &blank))
		return false;
	if (arg[0].kind == HTH_JV_STR)
		indent = arg[0].s;
	else if (!hth_jarg_int(x, arg[0], "indent", 4, &width) ||
		 (indent = hth_jstr_repeat(x, hth_jstr_ref(x, " ", 1), width)) == NULL)
		return false;
	if (!hth_jstr_flat(x, indent))
		return false;
	hth_jsb_init(&b, x);
	for (bool more = true; more; lines++) { /* text behind the last break is a line too, even an empty one */
		bool got = hth_jstr_next_line(s, &at, &from, &end);
		end = got ? end : from;
		more = got && at > end;
		bool indented = lines == 0 ? first : blank || end > from;
		if ((indented && !hth_jsb_add_str(&b, indent)) || !hth_jsb_add_slice(&b, s, from, end) ||
		    !hth_jx_charge(x, 1))
			return false;
		/* breaks become newlines; a plain newline keeps where it came from */
		bool plain = more && at == end + 1 && s->data[end] == '\n';
		if (more && !(plain ? hth_jsb_add_slice(&b, s, end, at) : hth_jsb_puts(&b, "\n", 0)))
			return false;
	}
	if (!give(hth_jsb_done(&b), out))
		return false;
	out->s->markup = s->markup;
	return true;
}

HTH_JMETHOD(f_truncate)
{
	struct hth_jstr *s, *end = hth_jstr_ref(x, "...", 3), *head;
	int64_t length, leeway;
	bool kill;
	HTH_JUNUSED();
	if (end == NULL || !hth_jarg_str(x, self, "truncate", &s) ||
	    !hth_jarg_int(x, arg[0], "truncate", 255, &length) || !flag(x, arg[1], false, &kill) ||
	    (is_set(arg[2]) && !hth_jarg_str(x, arg[2], "truncate", &end)) ||
	    !hth_jarg_int(x, arg[3], "truncate", 5, &leeway))
		return false;
	int64_t tail = (int64_t)hth_jstr_chars(x, end);
	if (length < tail || leeway < 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT,
				   "truncate: the length is below that of the end, or the leeway negative");
	if ((int64_t)hth_jstr_chars(x, s) <= length + leeway)
		return give(s, out);
	head = hth_jstr_slice(x, s, 0, hth_jstr_offset(x, s, (size_t)(length - tail)));
	if (head == NULL)
		return false;
	if (!kill) {
		struct hth_jstr *blank = hth_jstr_ref(x, " ", 1);
		size_t hit = blank == NULL ? 0 : hth_jstr_find(head, 0, head->bytes, blank, true);
		if (hit != HTH_JINJA_NONE && (head = hth_jstr_slice(x, head, 0, hit)) == NULL)
			return false;
	}
	return give(hth_jstr_concat(x, head, end), out);
}

HTH_JMETHOD(f_wordcount)
{
	struct hth_jstr *s;
	int64_t n = 0;
	bool in_word = false;
	HTH_JUNUSED();
	if (!text_of(x, self, &s))
		return false;
	struct hth_jcursor c = {.s = s};
	while (hth_jcursor_next(&c)) {
		bool word = c.cp == '_' || hth_jchar_alpha(c.cp) || hth_jchar_numeric(c.cp);
		n += word && !in_word;
		in_word = word;
	}
	*out = hth_jv_int(n);
	return true;
}

HTH_JMETHOD(f_striptags)
{
	struct hth_jstr *s, *blank = hth_jstr_ref(x, " ", 1);
	struct hth_jsb b;
	struct hth_jval words, none[2] = {{.kind = HTH_JV_MISSING}, {.kind = HTH_JV_MISSING}};
	size_t from = 0;
	HTH_JUNUSED();
	if (blank == NULL || !text_of(x, self, &s))
		return false;
	hth_jsb_init(&b, x);
	while (from < s->bytes) {
		const char *open = memchr(s->data + from, '<', s->bytes - from);
		const char *close = open == NULL ? NULL : memchr(open, '>', s->bytes - (size_t)(open - s->data));
		size_t end = close == NULL ? s->bytes : (size_t)(open - s->data);
		if (!hth_jsb_add_slice(&b, s, from, end))
			return false;
		from = close == NULL ? s->bytes : (size_t)(close - s->data) + 1;
	}
	words = hth_jv_str(hth_jsb_done(&b));
	return words.s != NULL && hth_jstr_split(x, words, none, NULL, &words) &&
	       hth_jstr_join_items(x, blank, words.l->items, words.l->n, false, out);
}

static bool quote_url(struct hth_jsb *b, struct hth_jval v, bool query)
{
	struct hth_jstr *s;
	if (!text_of(b->x, v, &s))
		return false;
	struct hth_jcursor c = {.s = s};
	while (hth_jcursor_next(&c)) {
		char text[16] = "";
		bool plain = c.cp < 0x80 && c.cp != 0 &&
			     (hth_jchar_alpha(c.cp) || hth_jchar_numeric(c.cp) ||
			      strchr(query ? "_.-~" : "_.-~/", (int)c.cp) != NULL);
		if (plain ? !hth_jsb_add_slice(b, s, c.start, c.at)
			  : query && c.cp == ' ' && !hth_jsb_add(b, "+", 1, c.origin, c.gen))
			return false;
		for (size_t i = c.start; i < c.at && !plain && !(query && c.cp == ' '); i++) {
			snprintf(text, sizeof text, "%%%02X", (unsigned char)s->data[i]);
			if (!hth_jsb_add(b, text, 3, c.origin, c.gen))
				return false;
		}
	}
	return true;
}

HTH_JMETHOD(f_urlencode)
{
	struct hth_jsb b;
	struct hth_jval *items, *pair;
	size_t n, two;
	HTH_JUNUSED();
	hth_jsb_init(&b, x);
	if (self.kind == HTH_JV_DICT) {
		const struct hth_jbuiltin *m = hth_jinja_method(HTH_JV_DICT, "items", 5);
		if (!m->fn(x, self, NULL, NULL, &self))
			return false;
	}
	if (self.kind != HTH_JV_LIST && self.kind != HTH_JV_TUPLE && self.kind != HTH_JV_VIEW &&
	    self.kind != HTH_JV_GEN)
		return quote_url(&b, self, false) && give(hth_jsb_done(&b), out);
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!hth_jv_items(x, items[i], &pair, &two))
			return false;
		if (two != 2)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "urlencode: expected pairs");
		if ((i > 0 && !hth_jsb_puts(&b, "&", 0)) || !quote_url(&b, pair[0], true) ||
		    !hth_jsb_puts(&b, "=", 0) || !quote_url(&b, pair[1], true))
			return false;
	}
	return give(hth_jsb_done(&b), out);
}

HTH_JMETHOD(f_xmlattr)
{
	struct hth_jsb b;
	bool space, any = false;
	HTH_JUNUSED();
	if (self.kind != HTH_JV_DICT || !flag(x, arg[0], true, &space))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "xmlattr: expected a dict");
	hth_jsb_init(&b, x);
	for (size_t i = 0; i < self.d->n; i++) {
		struct hth_jval v = self.d->items[i].value;
		struct hth_jstr *k, *s;
		if (v.kind == HTH_JV_NONE || v.kind == HTH_JV_UNDEF)
			continue;
		if (!text_of(x, self.d->items[i].key, &k) || !text_of(x, v, &s))
			return false;
		if (memchr(k->data, '\0', k->bytes) != NULL || strcspn(k->data, " \t\n\r\f\v/>=") < k->bytes)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "xmlattr: invalid character in an attribute's name");
		if ((k = hth_jstr_escape(x, k)) == NULL || (s = hth_jstr_escape(x, s)) == NULL ||
		    ((any || space) && !hth_jsb_puts(&b, " ", 0)) || !hth_jsb_add_str(&b, k) ||
		    !hth_jsb_puts(&b, "=\"", 0) || !hth_jsb_add_str(&b, s) || !hth_jsb_puts(&b, "\"", 0))
			return false;
		any = true;
	}
	return give(hth_jsb_done(&b), out);
}

HTH_JMETHOD(f_format)
{
	struct hth_jstr *s;
	struct hth_jval args;
	struct hth_jlist *l = hth_jlist_new(x, all->n_pos);
	HTH_JUNUSED();
	if (l == NULL || !text_of(x, self, &s))
		return false;
	if (all->n_pos > 0 && all->n_kw > 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "format takes positional or keyword arguments, not both");
	if (all->n_kw > 0) {
		const struct hth_jfunc *dict = hth_jinja_global("dict", 4);
		if (!dict->b.fn(x, self, NULL, all, &args))
			return false;
	} else {
		for (size_t i = 0; i < all->n_pos; i++)
			if (!hth_jlist_push(x, l, all->pos[i]))
				return false;
		args = hth_jv_list(l, HTH_JV_TUPLE);
	}
	return hth_jformat_percent(x, s, args, out);
}

/* int("..."): white space, sign, base prefix, underscores. */
static bool parse_int(const struct hth_jstr *s, int64_t base, int64_t *out)
{
	size_t at = 0, n = s->bytes, digits = 0;
	bool negative = n > 0 && s->data[0] == '-';
	int64_t v = 0;
	at += n > 0 && (s->data[0] == '-' || s->data[0] == '+');
	if (at + 1 < n && s->data[at] == '0') {
		char c = (char)(s->data[at + 1] | 0x20);
		int64_t prefix = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
		if (prefix != 0 && (base == prefix || base == 0)) {
			base = prefix;
			at += 2;
		}
	}
	base = base == 0 ? 10 : base;
	for (; at < n; at++) {
		char c = s->data[at];
		if (c == '_' && digits > 0 && at + 1 < n && s->data[at + 1] != '_')
			continue;
		char low = (char)(c | 0x20);
		int64_t d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'z' ? low - 'a' + 10 : 99;
		if (d >= base || __builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, negative ? -d : d, &v))
			return false;
		digits++;
	}
	*out = v;
	return digits > 0;
}

/* float("..."): also inf, nan, and underscores between digits. */
static bool parse_float(const struct hth_jstr *s, double *out)
{
	static const struct {
		const char *name;
		double value;
	} names[] = {{"inf", INFINITY}, {"infinity", INFINITY}, {"nan", NAN}};
	char text[64];
	size_t n = 0;
	if (s->bytes == 0 || s->bytes >= sizeof text || memchr(s->data, '\0', s->bytes) != NULL)
		return false;
	for (size_t i = 0; i < s->bytes; i++) {
		char c = s->data[i];
		bool between = i > 0 && i + 1 < s->bytes && s->data[i - 1] >= '0' && s->data[i - 1] <= '9' &&
			       s->data[i + 1] >= '0' && s->data[i + 1] <= '9';
		if (c != '_' || !between)
			text[n++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	text[n] = '\0';
	bool sign = text[0] == '-' || text[0] == '+';
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(text + sign, names[i].name) != 0)
			continue;
		*out = text[0] == '-' ? -names[i].value : names[i].value;
		return true;
	}
	return hth_parse_f64(text, out);
}

HTH_JMETHOD(f_int)
{
	int64_t base, i = 0;
	double d = 0;
	HTH_JUNUSED();
	*out = arg[0].kind != HTH_JV_MISSING ? arg[0] : hth_jv_int(0);
	if (self.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, self);
	if (self.kind == HTH_JV_STR) {
		struct hth_jstr *s = hth_jstr_strip(x, self.s, NULL, 3);
		if (s == NULL || !hth_jarg_int(x, arg[1], "int", 10, &base))
			return false;
		if (parse_int(s, base, &i))
			*out = hth_jv_int(i);
		else if (parse_float(s, &d) && fabs(d) < 9e18)
			*out = hth_jv_int((int64_t)d);
		return true;
	}
	if (self.kind == HTH_JV_BIG) {
		*out = self;
	} else if (self.kind == HTH_JV_FLOAT && isfinite(self.f) && fabs(self.f) >= 9.2e18) {
		char text[400];
		snprintf(text, sizeof text, "%.0f", self.f); /* all digits of a double this large */
		*out = hth_jv_str(hth_jstr_new(x, text, strlen(text), 0));
		out->kind = HTH_JV_BIG;
		return out->s != NULL;
	} else if (hth_jv_number(self, &d) && fabs(d) < 9.2e18)
		*out = self.kind == HTH_JV_INT ? self : hth_jv_int((int64_t)d);
	return true;
}

HTH_JMETHOD(f_float)
{
	double d;
	HTH_JUNUSED();
	*out = arg[0].kind != HTH_JV_MISSING ? arg[0] : hth_jv_float(0);
	if (self.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, self);
	if (self.kind == HTH_JV_STR) {
		struct hth_jstr *s = hth_jstr_strip(x, self.s, NULL, 3);
		if (s == NULL)
			return false;
		if (parse_float(s, &d))
			*out = hth_jv_float(d);
	} else if (hth_jv_number(self, &d)) {
		*out = hth_jv_float(d);
	}
	return true;
}

HTH_JMETHOD(f_abs)
{
	bool negative;
	HTH_JUNUSED();
	if (self.kind == HTH_JV_FLOAT) {
		*out = hth_jv_float(fabs(self.f));
		return true;
	}
	negative = self.kind == HTH_JV_INT && self.i < 0;
	return hth_jop_unary(x, negative, self, out);
}

/* Python's round(f, n): the nearest decimal of n places, ties by the exact binary value; printf rounds so too. */
static double round_places(double f, int64_t places)
{
	char text[400];
	double back;
	if (places < 0) {
		double scale = pow(10, (double)-places);
		return nearbyint(f / scale) * scale;
	}
	if (!isfinite(f) || places > 30)
		return f;
	snprintf(text, sizeof text, "%.*f", (int)places, f);
	for (char *c = text; *c != '\0'; c++)
		*c = *c == ',' ? '.' : *c;
	return hth_parse_f64(text, &back) ? back : f;
}

HTH_JMETHOD(f_round)
{
	double d;
	int64_t places;
	struct hth_jstr *how = hth_jstr_ref(x, "common", 6);
	HTH_JUNUSED();
	if (how == NULL || !hth_jarg_int(x, arg[0], "round", 0, &places) ||
	    (is_set(arg[1]) && !hth_jarg_str(x, arg[1], "round", &how)))
		return false;
	if (!hth_jv_number(self, &d))
		return self.kind == HTH_JV_UNDEF
			       ? hth_jv_fail_undef(x, self)
			       : hth_jx_fail(x, HTH_ERR_FORMAT, "round: expected a number, found '%s'",
					     hth_jv_type(self));
	bool ceiling = how->bytes == 4 && memcmp(how->data, "ceil", 4) == 0;
	bool floored = how->bytes == 5 && memcmp(how->data, "floor", 5) == 0;
	if (ceiling || floored) {
		double scale = pow(10, (double)places);
		*out = hth_jv_float((ceiling ? ceil(d * scale) : floor(d * scale)) / scale);
		return true;
	}
	if (how->bytes != 6 || memcmp(how->data, "common", 6) != 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "round: the method must be common, ceil or floor");
	*out = self.kind != HTH_JV_FLOAT && places >= 0 ? hth_jv_int(self.kind == HTH_JV_INT ? self.i : self.b)
	       : self.kind != HTH_JV_FLOAT              ? hth_jv_int((int64_t)round_places(d, places))
							: hth_jv_float(round_places(d, places));
	return true;
}

HTH_JMETHOD(f_filesizeformat)
{
	static const char units[] = "kMGTPEZY";
	char text[64];
	bool binary;
	double size;
	struct hth_jval v;
	struct hth_jval none = {.kind = HTH_JV_MISSING};
	HTH_JUNUSED();
	if (!flag(x, arg[0], false, &binary) || !f_float(x, self, &none, NULL, &v))
		return false;
	if (self.kind != HTH_JV_STR && !hth_jv_number(self, &size))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "filesizeformat: expected a number, found '%s'",
				   hth_jv_type(self));
	if (self.kind == HTH_JV_STR && v.f == 0 &&
	    (self.s->bytes == 0 || memchr(self.s->data, '0', self.s->bytes) == NULL))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "filesizeformat: this text is not a number");
	size = v.f;
	double base = binary ? 1024 : 1000, unit = base * base;
	size_t i = 0;
	if (size == 1)
		return hth_jv_text(x, "1 Byte", out);
	if (size < base) {
		snprintf(text, sizeof text, "%lld Bytes", (long long)size);
		return give(hth_jstr_new(x, text, strlen(text), self.origin), out);
	}
	while (i < sizeof units - 2 && size >= unit) {
		unit *= base;
		i++;
	}
	snprintf(text, sizeof text, "%.1f %c%sB", base * size / unit, binary && units[i] == 'k' ? 'K' : units[i],
		 binary ? "i" : "");
	return give(hth_jstr_new(x, text, strlen(text), self.origin), out);
}

HTH_JMETHOD(f_default)
{
	bool boolean, truth = true;
	HTH_JUNUSED();
	if (!flag(x, arg[1], false, &boolean) || (boolean && !hth_jv_truth(x, self, &truth)))
		return false;
	*out = self;
	if (self.kind != HTH_JV_UNDEF && truth)
		return true;
	*out = arg[0];
	return arg[0].kind != HTH_JV_MISSING || hth_jv_text(x, "", out);
}

HTH_JMETHOD(f_tojson)
{
	struct hth_jsb b;
	struct hth_jdump how = {0};
	struct hth_jval *sep;
	size_t n;
	int64_t width;
	HTH_JUNUSED();
	if (!flag(x, arg[0], false, &how.ascii) || !flag(x, arg[3], false, &how.sort))
		return false;
	if (arg[1].kind == HTH_JV_STR) {
		how.indent = arg[1].s;
	} else if (is_set(arg[1])) {
		if (!hth_jarg_int(x, arg[1], "tojson's indent", 0, &width) ||
		    (how.indent = hth_jstr_repeat(x, hth_jstr_ref(x, " ", 1), width)) == NULL)
			return false;
	}
	how.item_sep = hth_jstr_ref(x, ", ", how.indent != NULL ? 1 : 2);
	how.key_sep = hth_jstr_ref(x, ": ", 2);
	if (is_set(arg[2])) {
		if (!hth_jv_items(x, arg[2], &sep, &n))
			return false;
		if (n != 2)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "tojson: separators are a pair of strings");
		if (!hth_jarg_str(x, sep[0], "tojson", &how.item_sep) ||
		    !hth_jarg_str(x, sep[1], "tojson", &how.key_sep))
			return false;
	}
	if (how.item_sep == NULL || how.key_sep == NULL || (how.indent != NULL && !hth_jstr_flat(x, how.indent)))
		return false;
	uint32_t depth = x->value_depth;
	x->value_depth = 0; /* levels of indentation count from here */
	hth_jsb_init(&b, x);
	bool ok = hth_jv_dump(&b, self, &how);
	x->value_depth = depth;
	return ok && give(hth_jsb_done(&b), out);
}

HTH_JMETHOD(f_attr)
{
	struct hth_jstr *name;
	HTH_JUNUSED();
	if (!hth_jarg_str(x, arg[0], "attr", &name))
		return false;
	if (self.kind == HTH_JV_DICT && hth_jinja_method(self.kind, name->data, name->bytes) == NULL)
		return hth_jv_undef(x, HTH_JU_ATTR, self.kind, name->data, name->bytes, out);
	return hth_jv_getattr(x, self, name->data, name->bytes, out);
}

static const struct hth_jbuiltin filters[] = {
	{"upper", "", f_upper},
	{"lower", "", f_lower},
	{"capitalize", "", f_capitalize},
	{"title", "", f_title},
	{"trim", "|chars", f_trim},
	{"replace", "old,new|count", f_replace},
	{"string", "", f_string},
	{"safe", "", f_safe},
	{"e", "", f_escape},
	{"escape", "", f_escape},
	{"forceescape", "", f_forceescape},
	{"center", "|width", f_center},
	{"indent", "|width,first,blank", f_indent},
	{"truncate", "|length,killwords,end,leeway", f_truncate},
	{"wordcount", "", f_wordcount},
	{"striptags", "", f_striptags},
	{"urlencode", "", f_urlencode},
	{"xmlattr", "|autospace", f_xmlattr},
	{"format", "*", f_format},
	{"int", "|default,base", f_int},
	{"float", "|default", f_float},
	{"abs", "", f_abs},
	{"round", "|precision,method", f_round},
	{"filesizeformat", "|binary", f_filesizeformat},
	{"default", "|default_value,boolean", f_default},
	{"d", "|default_value,boolean", f_default},
	{"tojson", "|ensure_ascii,indent,separators,sort_keys", f_tojson},
	{"attr", "name", f_attr},
};

const struct hth_jbuiltin *hth_jinja_filter(const char *name, size_t bytes)
{
	const struct hth_jbuiltin *f = hth_jinja_in_table(filters, sizeof filters / sizeof filters[0], name, bytes);
	return f != NULL ? f : hth_jinja_in_table(hth_jinja_seq_filters, hth_jinja_n_seq_filters, name, bytes);
}
