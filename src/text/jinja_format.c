/* Python's two ways to format: "%s" % args, and "{}".format(args) with the format-spec mini-language.
 * Left out: locale type 'n' as more than 'd'/'g', and nested fields deeper than a spec. */
#include "text/jinja_int.h"

#include <inttypes.h>
#include <math.h>

#define MAX_PRECISION 200
#define NUMBER_BYTES 640 /* 309 digits of the largest double, the precision, sign and separators */

struct spec {
	uint32_t fill;
	char align, sign, grouping, type;
	bool alt, zero;
	int64_t width, precision; /* precision -1: not given */
};

static bool pad(struct hth_jsb *b, uint32_t fill, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (!hth_jsb_put_cp(b, fill, 0, 0) || !hth_jx_charge(b->x, 1))
			return false;
	return true;
}

static bool put_str(struct hth_jsb *b, struct hth_jstr *s, const struct spec *f)
{
	if (!hth_jstr_flat(b->x, s))
		return false;
	size_t end = f->precision >= 0 ? hth_jstr_offset(b->x, s, (size_t)f->precision) : s->bytes;
	int64_t chars = 0;
	for (size_t i = 0; i < end; i++)
		chars += ((unsigned char)s->data[i] & 0xC0) != 0x80;
	int64_t space = f->width > chars ? f->width - chars : 0;
	int64_t left = f->align == '>' || f->align == '=' ? space : f->align == '^' ? space / 2 : 0;
	return pad(b, f->fill, left) && hth_jsb_add_slice(b, s, 0, end) && pad(b, f->fill, space - left);
}

/* sign + prefix + digits, padded: '=' and zero padding go between them. */
static bool put_number(struct hth_jsb *b, const char *head, const char *digits, const struct spec *f,
		       hth_jorigin origin)
{
	int64_t chars = (int64_t)(strlen(head) + strlen(digits));
	int64_t space = f->width > chars ? f->width - chars : 0;
	char align = f->align != 0 ? f->align : f->zero ? '=' : '>';
	uint32_t fill = f->align == 0 && f->zero ? '0' : f->fill;
	int64_t left = align == '>' ? space : align == '^' ? space / 2 : 0;
	if (!pad(b, fill, left) || !hth_jsb_puts(b, head, origin))
		return false;
	if (align == '=')
		return pad(b, fill, space) && hth_jsb_puts(b, digits, origin);
	return hth_jsb_puts(b, digits, origin) && pad(b, fill, space - left);
}

/* Separators between groups of the integer digits that begin `text`. */
static void group(char *text, size_t bytes, char sep, int every)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF"), len = strlen(text);
	if (every == 3)
		n = strspn(text, "0123456789");
	size_t extra = n > 0 ? (n - 1) / (size_t)every : 0;
	if (len + extra + 1 > bytes)
		return;
	memmove(text + n + extra, text + n, len - n + 1);
	for (size_t i = 0, to = n + extra; i < n; i++) {
		if (i > 0 && i % (size_t)every == 0)
			text[--to] = sep;
		text[--to] = text[n - 1 - i];
	}
}

static void digits_of(uint64_t v, unsigned base, bool upper, char out[72])
{
	char rev[72];
	size_t n = 0;
	do {
		rev[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
		v /= base;
	} while (v != 0);
	for (size_t i = 0; i < n; i++)
		out[i] = rev[n - 1 - i];
	out[n] = '\0';
}

static const char *sign_text(bool negative, char sign)
{
	return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

static bool put_int(struct hth_jsb *b, int64_t v, const struct spec *f, hth_jorigin origin)
{
	char digits[NUMBER_BYTES], head[8];
	unsigned base = f->type == 'b' ? 2 : f->type == 'o' ? 8 : f->type == 'x' || f->type == 'X' ? 16 : 10;
	digits_of(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, base, f->type == 'X', digits);
	snprintf(head, sizeof head, "%s%s", sign_text(v < 0, f->sign),
		 !f->alt      ? ""
		 : base == 2  ? "0b"
		 : base == 8  ? "0o"
		 : base == 16 ? (f->type == 'X' ? "0X" : "0x")
			      : "");
	if (f->precision > (int64_t)strlen(digits) && f->precision < MAX_PRECISION) { /* "%.5d" */
		size_t zeros = (size_t)f->precision - strlen(digits);
		memmove(digits + zeros, digits, strlen(digits) + 1);
		memset(digits, '0', zeros);
	}
	if (f->grouping != 0)
		group(digits, sizeof digits, f->grouping, base == 10 ? 3 : 4);
	return put_number(b, head, digits, f, origin);
}

/* printf with '.' whatever the locale. */
static void c_format(char out[NUMBER_BYTES], double v, char type, int64_t precision, bool alt)
{
	char fmt[8] = "%.*";
	size_t n = 3;
	if (alt) {
		memcpy(fmt, "%#.*", 4);
		n = 4;
	}
	fmt[n] = type;
	fmt[n + 1] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(out, NUMBER_BYTES, fmt, (int)precision, v);
#pragma GCC diagnostic pop
	for (char *c = out; *c != '\0'; c++)
		*c = *c == ',' ? '.' : *c;
}

static bool put_float(struct hth_jsb *b, double v, const struct spec *f, hth_jorigin origin)
{
	char digits[NUMBER_BYTES];
	double a = fabs(v);
	char type = f->type;
	if (f->precision > MAX_PRECISION)
		return hth_jx_fail(b->x, HTH_ERR_LIMIT, "a precision beyond %d", MAX_PRECISION);
	if (isnan(v) || isinf(v)) {
		bool up = type == 'F' || type == 'E' || type == 'G';
		snprintf(digits, sizeof digits, "%s", isnan(v) ? (up ? "NAN" : "nan") : up ? "INF" : "inf");
	} else if (type == '%') {
		c_format(digits, a * 100, 'f', f->precision < 0 ? 6 : f->precision, f->alt);
	} else if (type == 0 && f->precision < 0) {
		hth_jfloat_repr(a, digits);
	} else if (type == 0) { /* like 'g', but with a point in it */
		c_format(digits, a, 'g', f->precision == 0 ? 1 : f->precision, false);
		if (strcspn(digits, ".e") == strlen(digits) && strlen(digits) + 3 < sizeof digits)
			memcpy(digits + strlen(digits), ".0", 3);
	} else {
		c_format(digits, a, type == 'n' ? 'g' : type, f->precision < 0 ? 6 : f->precision, f->alt);
	}
	if (f->grouping != 0)
		group(digits, sizeof digits, f->grouping, 3);
	if (type == '%' && strlen(digits) + 2 < sizeof digits)
		memcpy(digits + strlen(digits), "%", 2);
	return put_number(b, sign_text(signbit(v) && !isnan(v), f->sign), digits, f, origin);
}

/* Percent formatting. */

struct percent {
	struct hth_jx *x;
	struct hth_jsb b;
	struct hth_jval args;
	size_t next; /* of a tuple, or 0/1 of a single value */
	bool markup;
};

static bool take(struct percent *p, struct hth_jval *out)
{
	bool tuple = p->args.kind == HTH_JV_TUPLE;
	size_t n = tuple ? p->args.l->n : 1;
	if (p->next >= n)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "not enough arguments for format string");
	*out = tuple ? p->args.l->items[p->next] : p->args;
	p->next++;
	return true;
}

static bool star_or_number(struct percent *p, const char *s, size_t n, size_t *at, int64_t *out)
{
	struct hth_jval v;
	if (*at < n && s[*at] == '*') {
		++*at;
		return take(p, &v) && hth_jv_int_arg(p->x, v, "* of a format", out);
	}
	*out = 0;
	while (*at < n && s[*at] >= '0' && s[*at] <= '9') {
		*out = *out * 10 + (s[*at] - '0');
		++*at;
		if (*out > 1000000000)
			return hth_jx_fail(p->x, HTH_ERR_LIMIT, "a width beyond a billion in a format string");
	}
	return true;
}

static bool percent_value(struct percent *p, struct hth_jval v, struct spec *f)
{
	struct hth_jstr *s;
	struct hth_jsb repr;
	double d;
	if (strchr("diuoxX", f->type) != NULL) {
		if (!hth_jv_number(v, &d) ||
		    (v.kind == HTH_JV_FLOAT && (strchr("diu", f->type) == NULL || fabs(d) > 9e18)))
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "%%%c format: a real number is required, not %s",
					   f->type, hth_jv_type(v));
		f->type = f->type == 'i' || f->type == 'u' ? 'd' : f->type;
		return put_int(&p->b, v.kind == HTH_JV_INT ? v.i : (int64_t)d, f, v.origin);
	}
	if (strchr("eEfFgG", f->type) != NULL) {
		if (!hth_jv_number(v, &d))
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "must be real number, not %s", hth_jv_type(v));
		return put_float(&p->b, d, f, v.origin);
	}
	if (f->align == 0)
		f->align = '>';
	if (f->type == 'c' && v.kind == HTH_JV_INT)
		return v.i >= 0 && v.i <= 0x10FFFF
			       ? hth_jsb_put_cp(&p->b, (uint32_t)v.i, v.origin, 0)
			       : hth_jx_fail(p->x, HTH_ERR_FORMAT, "%%c arg not in range(0x110000)");
	if (f->type == 's' || f->type == 'c') {
		if (!hth_jv_str_of(p->x, v, &s))
			return false;
		if (p->markup && (s = hth_jstr_escape(p->x, s)) == NULL)
			return false;
		return put_str(&p->b, s, f);
	}
	if (f->type != 'r' && f->type != 'a')
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "unsupported format character '%c'", f->type);
	hth_jsb_init(&repr, p->x);
	s = hth_jv_repr(&repr, v) ? hth_jsb_done(&repr) : NULL;
	return s != NULL && put_str(&p->b, s, f);
}

/* One conversion; s[*at] is behind the '%'. */
static bool percent_one(struct percent *p, const char *s, size_t n, size_t *at)
{
	struct spec f = {.fill = ' ', .precision = -1};
	struct hth_jval v = {.kind = HTH_JV_MISSING}, key;
	if (*at < n && s[*at] == '(') {
		const char *end = memchr(s + *at, ')', n - *at);
		struct hth_jstr *name =
			end == NULL ? NULL : hth_jstr_new(p->x, s + *at + 1, (size_t)(end - s) - *at - 1, 0);
		if (end == NULL || p->args.kind != HTH_JV_DICT)
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "format requires a mapping for %%(name)");
		if (name == NULL)
			return false;
		key = hth_jv_str(name);
		struct hth_jval *found;
		if (!hth_jdict_find(p->x, p->args.d, key, &found))
			return false;
		if (found == NULL)
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "a %%(name) that the mapping lacks");
		v = *found;
		p->next = 1;
		*at = (size_t)(end - s) + 1;
	}
	for (; *at < n && s[*at] != '\0' && strchr("#0- +", s[*at]) != NULL; ++*at) {
		f.alt = f.alt || s[*at] == '#';
		f.zero = f.zero || s[*at] == '0';
		f.align = s[*at] == '-' ? '<' : f.align;
		f.sign = s[*at] == '+' || (s[*at] == ' ' && f.sign == 0) ? s[*at] : f.sign;
	}
	if (!star_or_number(p, s, n, at, &f.width))
		return false;
	if (f.width < 0) {
		f.width = -f.width;
		f.align = '<';
	}
	if (*at < n && s[*at] == '.') {
		++*at;
		if (!star_or_number(p, s, n, at, &f.precision))
			return false;
		f.precision = f.precision < 0 ? 0 : f.precision;
	}
	while (*at < n && (s[*at] == 'h' || s[*at] == 'l' || s[*at] == 'L'))
		++*at;
	if (*at >= n)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "incomplete format");
	f.type = s[(*at)++];
	if (f.type == '%')
		return hth_jsb_puts(&p->b, "%", 0);
	return (v.kind != HTH_JV_MISSING || take(p, &v)) && percent_value(p, v, &f);
}

/* What Python takes for a mapping here: left over, it is no error. */
static bool indexable(uint8_t kind)
{
	return kind == HTH_JV_TUPLE || kind == HTH_JV_DICT || kind == HTH_JV_LIST || kind == HTH_JV_RANGE ||
	       kind == HTH_JV_UNDEF;
}

bool hth_jformat_percent(struct hth_jx *x, struct hth_jstr *fmt, struct hth_jval args, struct hth_jval *out)
{
	struct percent p = {.x = x, .args = args, .markup = fmt->markup};
	if (!hth_jstr_flat(x, fmt))
		return false;
	hth_jsb_init(&p.b, x);
	for (size_t at = 0; at < fmt->bytes;) {
		const char *hit = memchr(fmt->data + at, '%', fmt->bytes - at);
		size_t plain = hit == NULL ? fmt->bytes : (size_t)(hit - fmt->data);
		if (!hth_jsb_add_slice(&p.b, fmt, at, plain))
			return false;
		at = plain + 1;
		if (hit != NULL && !percent_one(&p, fmt->data, fmt->bytes, &at))
			return false;
	}
	if ((args.kind == HTH_JV_TUPLE && p.next < args.l->n) || (!indexable(args.kind) && p.next == 0))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "not all arguments converted during string formatting");
	*out = hth_jv_str(hth_jsb_done(&p.b));
	if (out->s != NULL)
		out->s->markup = fmt->markup;
	return out->s != NULL;
}

/* str.format. */

struct braces {
	struct hth_jx *x;
	struct hth_jsb *b;
	const struct hth_jargs *args;
	int64_t next; /* of automatic numbering; -1 once numbers were given */
	bool markup;
};

static int64_t read_int(const char *s, size_t n, size_t *at)
{
	int64_t v = 0;
	while (*at < n && s[*at] >= '0' && s[*at] <= '9' && v < 1000000000)
		v = v * 10 + (s[(*at)++] - '0');
	return v;
}

static bool read_spec(struct hth_jx *x, struct hth_jstr *s, struct spec *f)
{
	struct hth_jcursor c = {.s = s};
	size_t at = 0, n = s->bytes;
	const char *t = s->data;
	*f = (struct spec){.fill = ' ', .precision = -1};
	if (hth_jcursor_next(&c) && c.at < n && t[c.at] != '\0' && strchr("<>^=", t[c.at]) != NULL) {
		f->fill = c.cp;
		f->align = t[c.at];
		at = c.at + 1;
	} else if (n > 0 && t[0] != '\0' && strchr("<>^=", t[0]) != NULL) {
		f->align = t[at++];
	}
	if (at < n && (t[at] == '+' || t[at] == '-' || t[at] == ' '))
		f->sign = t[at++];
	if (at < n && t[at] == '#') {
		f->alt = true;
		at++;
	}
	if (at < n && t[at] == '0') {
		f->zero = true;
		at++;
	}
	f->width = read_int(t, n, &at);
	if (at < n && (t[at] == ',' || t[at] == '_'))
		f->grouping = t[at++];
	if (at < n && t[at] == '.') {
		at++;
		f->precision = read_int(t, n, &at);
	}
	if (at < n)
		f->type = t[at++];
	return at == n || hth_jx_fail(x, HTH_ERR_FORMAT, "invalid format specifier");
}

static bool format_value(struct braces *p, struct hth_jval v, struct spec *f, bool empty)
{
	struct hth_jstr *s;
	double d;
	bool number = hth_jv_number(v, &d) && !(empty && v.kind == HTH_JV_BOOL);
	if (number && v.kind != HTH_JV_FLOAT && (f->type == 0 || strchr("bdoxXn", f->type) != NULL))
		return put_int(p->b, v.kind == HTH_JV_INT ? v.i : v.b, f, v.origin);
	if (number && v.kind == HTH_JV_INT && f->type == 'c' && v.i >= 0 && v.i <= 0x10FFFF)
		return hth_jsb_put_cp(p->b, (uint32_t)v.i, v.origin, 0);
	if (number && (f->type == 0 || strchr("eEfFgG%n", f->type) != NULL))
		return put_float(p->b, d, f, v.origin);
	if (number || (v.kind == HTH_JV_STR && f->type != 0 && f->type != 's'))
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "unknown format code '%c' for object of type '%s'", f->type,
				   hth_jv_type(v));
	if (v.kind != HTH_JV_STR && !empty)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "unsupported format string passed to %s.__format__",
				   hth_jv_type(v));
	if (f->grouping != 0 || f->align == '=' || f->sign != 0)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "sign, '=' and grouping are not allowed in a string's format");
	f->fill = f->zero && f->align == 0 ? '0' : f->fill;
	if (!hth_jv_str_of(p->x, v, &s) || (p->markup && (s = hth_jstr_escape(p->x, s)) == NULL))
		return false;
	return put_str(p->b, s, f);
}

/* "0", "name", "" with .attr and [item] behind. */
static bool lookup(struct braces *p, const char *s, size_t n, struct hth_jval *out)
{
	size_t at = 0, end = 0;
	while (end < n && s[end] != '.' && s[end] != '[')
		end++;
	int64_t index = read_int(s, end, &at);
	if (end == 0) {
		if (p->next < 0)
			return hth_jx_fail(p->x, HTH_ERR_FORMAT,
					   "cannot switch from manual to automatic field numbering");
		index = p->next++;
	} else if (at == end) {
		p->next = -1;
	}
	out->kind = HTH_JV_MISSING;
	if (at == end && index < (int64_t)p->args->n_pos)
		*out = p->args->pos[index];
	for (size_t i = 0; at != end && i < p->args->n_kw; i++)
		if (p->args->kw[i].bytes == end && memcmp(p->args->kw[i].name, s, end) == 0)
			*out = p->args->kw[i].value;
	if (out->kind == HTH_JV_MISSING)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "a replacement field without an argument for it");
	while (end < n) {
		bool item = s[end] == '[';
		size_t from = end + 1;
		const char *close = item ? memchr(s + from, ']', n - from) : NULL;
		if (item && close == NULL)
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "missing ']' in a format string");
		for (end = from; item ? s + end < close : end < n && s[end] != '.' && s[end] != '[';)
			end++;
		struct hth_jval key = hth_jv_int(0);
		at = 0;
		key.i = read_int(s + from, end - from, &at);
		if (at != end - from || end == from) {
			key = hth_jv_str(hth_jstr_new(p->x, s + from, end - from, 0));
			if (key.s == NULL)
				return false;
		}
		if (item ? !hth_jv_getitem(p->x, *out, key, out)
			 : !hth_jv_getattr(p->x, *out, s + from, end - from, out))
			return false;
		end += item;
	}
	return true;
}

static bool format_text(struct braces *p, const char *s, size_t n, int level);

/* The inside of one {...}. */
static bool field(struct braces *p, const char *s, size_t n, int level)
{
	struct hth_jval v;
	struct hth_jsb spec_text, conv;
	struct spec f;
	size_t name = 0;
	while (name < n && s[name] != '!' && s[name] != ':')
		name += s[name] == '[' && memchr(s + name, ']', n - name) != NULL
				? (size_t)((const char *)memchr(s + name, ']', n - name) - (s + name))
				: 1;
	if (!lookup(p, s, name, &v))
		return false;
	if (name < n && s[name] == '!') {
		char c = name + 1 < n ? s[name + 1] : 0;
		if ((c != 'r' && c != 's' && c != 'a') || (name + 2 < n && s[name + 2] != ':'))
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "unknown conversion in a format string");
		hth_jsb_init(&conv, p->x);
		if (!(c == 's' ? hth_jv_print(&conv, v) : hth_jv_repr(&conv, v)))
			return false;
		v = hth_jv_str(hth_jsb_done(&conv));
		if (v.s == NULL)
			return false;
		name += 2;
	}
	struct hth_jsb *out = p->b;
	hth_jsb_init(&spec_text, p->x);
	p->b = &spec_text;
	bool ok = name >= n || format_text(p, s + name + 1, n - name - 1, level + 1);
	p->b = out;
	struct hth_jstr *spec = ok ? hth_jsb_done(&spec_text) : NULL;
	return spec != NULL && read_spec(p->x, spec, &f) && format_value(p, v, &f, spec->bytes == 0);
}

static bool format_text(struct braces *p, const char *s, size_t n, int level)
{
	if (level > 2)
		return hth_jx_fail(p->x, HTH_ERR_FORMAT, "max string recursion exceeded");
	for (size_t at = 0; at < n;) {
		size_t from = at;
		while (at < n && s[at] != '{' && s[at] != '}')
			at++;
		if (!hth_jsb_add(p->b, s + from, at - from, 0, 0))
			return false;
		if (at >= n)
			break;
		if (at + 1 < n && s[at + 1] == s[at]) {
			if (!hth_jsb_add(p->b, s + at, 1, 0, 0))
				return false;
			at += 2;
			continue;
		}
		int open = 1;
		size_t end = at + 1;
		for (; s[at] == '{' && end < n && open > 0; end++)
			open += s[end] == '{' ? 1 : s[end] == '}' ? -1 : 0;
		if (s[at] == '}' || open > 0)
			return hth_jx_fail(p->x, HTH_ERR_FORMAT, "single '%c' encountered in format string", s[at]);
		if (!field(p, s + at + 1, end - at - 2, level))
			return false;
		at = end;
	}
	return true;
}

bool hth_jformat_braces(struct hth_jx *x, struct hth_jstr *fmt, const struct hth_jargs *args, struct hth_jval *out)
{
	struct hth_jsb b;
	struct braces p = {.x = x, .b = &b, .args = args, .markup = fmt->markup};
	if (!hth_jstr_flat(x, fmt))
		return false;
	hth_jsb_init(&b, x);
	if (!format_text(&p, fmt->data, fmt->bytes, 0))
		return false;
	*out = hth_jv_str(hth_jsb_done(&b));
	if (out->s != NULL)
		out->s->markup = fmt->markup;
	return out->s != NULL;
}
