/* How values look as text: Python's str() and repr(), with the origin of what is printed. Structure (brackets,
 * quotes, commas) takes the origin of the container it belongs to. */
#include "text/jinja_int.h"

#include "base/num.h"

#include <inttypes.h>
#include <math.h>

/* The shortest digits that read back as f; returns their number, *exp10 is that of the first digit. */
static int shortest(double f, char digits[32], int *exp10)
{
	char text[48];
	int n = 0;
	/* 15 digits survive in every normal double, so that fewer only need trying below those */
	for (int precision = f < 2.3e-308 ? 0 : 14; precision <= 16; precision++) {
		double back;
		snprintf(text, sizeof text, "%.*e", precision, f);
		for (char *c = text; *c != '\0'; c++) /* whatever the locale's decimal point is */
			*c = *c == ',' ? '.' : *c;
		if (hth_parse_f64(text, &back) && back == f)
			break;
	}
	const char *e = strchr(text, 'e');
	for (const char *c = text; c < e; c++)
		if (*c >= '0' && *c <= '9')
			digits[n++] = *c;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	*exp10 = (int)strtol(e + 1, NULL, 10);
	return n;
}

size_t hth_jfloat_repr(double f, char out[40])
{
	char digits[32];
	int exp10, at = 0;
	if (isnan(f) || isinf(f))
		return (size_t)snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
	if (signbit(f))
		out[at++] = '-';
	if (f == 0)
		return (size_t)(at + snprintf(out + at, (size_t)(40 - at), "0.0"));
	int n = shortest(fabs(f), digits, &exp10);
	if (exp10 < -4 || exp10 >= 16) {
		out[at++] = digits[0];
		if (n > 1)
			out[at++] = '.';
		for (int i = 1; i < n; i++)
			out[at++] = digits[i];
		return (size_t)(at +
				snprintf(out + at, (size_t)(40 - at), "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10)));
	}
	if (exp10 < 0) {
		out[at++] = '0';
		out[at++] = '.';
		for (int i = exp10 + 1; i < 0; i++)
			out[at++] = '0';
	}
	for (int i = 0; i < n || i <= exp10; i++) {
		if (exp10 >= 0 && i == exp10 + 1)
			out[at++] = '.';
		out[at++] = i < n ? digits[i] : '0';
	}
	if (exp10 >= 0 && n <= exp10 + 1) {
		out[at++] = '.';
		out[at++] = '0';
	}
	out[at] = '\0';
	return (size_t)at;
}

/* Python quotes with ' unless the text holds ' and no ". */
static bool repr_str(struct hth_jsb *b, struct hth_jstr *s, hth_jorigin origin)
{
	char text[16];
	if (!hth_jstr_flat(b->x, s))
		return false;
	bool dquote = memchr(s->data, '\'', s->bytes) != NULL && memchr(s->data, '"', s->bytes) == NULL;
	char quote = dquote ? '"' : '\'';
	struct hth_jcursor c = {.s = s};
	hth_jorigin first = s->n_runs > 0 ? s->runs[0].origin : origin;
	hth_jorigin last = s->n_runs > 0 ? s->runs[s->n_runs - 1].origin : origin;
	if (!hth_jsb_add(b, &quote, 1, first, 0))
		return false;
	while (hth_jcursor_next(&c)) {
		if (c.cp == '\n' || c.cp == '\r' || c.cp == '\t')
			snprintf(text, sizeof text, "\\%c", c.cp == '\n' ? 'n' : c.cp == '\r' ? 'r' : 't');
		else if (c.cp == '\\' || c.cp == (uint32_t)quote)
			snprintf(text, sizeof text, "\\%c", (char)c.cp);
		else if (!hth_jchar_printable(c.cp))
			snprintf(text, sizeof text,
				 c.cp < 0x100     ? "\\x%02x"
				 : c.cp < 0x10000 ? "\\u%04x"
						  : "\\U%08x",
				 c.cp);
		else
			text[0] = '\0';
		if (text[0] != '\0' ? !hth_jsb_add(b, text, strlen(text), c.origin, c.gen)
				    : !hth_jsb_add_slice(b, s, c.start, c.at))
			return false;
	}
	return hth_jsb_add(b, &quote, 1, last, 0);
}

static bool repr_bytes(struct hth_jsb *b, const struct hth_jstr *s)
{
	char text[8];
	bool dquote = memchr(s->data, '\'', s->bytes) != NULL && memchr(s->data, '"', s->bytes) == NULL;
	if (!hth_jsb_puts(b, dquote ? "b\"" : "b'", 0))
		return false;
	for (size_t i = 0; i < s->bytes; i++) {
		unsigned char c = (unsigned char)s->data[i];
		if (c == '\n' || c == '\r' || c == '\t')
			snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
		else if (c == '\\' || c == (dquote ? '"' : '\''))
			snprintf(text, sizeof text, "\\%c", c);
		else
			snprintf(text, sizeof text, c < 0x20 || c >= 0x7f ? "\\x%02x" : "%c", c);
		if (!hth_jsb_puts(b, text, 0))
			return false;
	}
	return hth_jsb_puts(b, dquote ? "\"" : "'", 0);
}

/* [a, b] with the given ends. */
static bool repr_items(struct hth_jsb *b, const struct hth_jval *items, size_t n, const char *open, const char *close,
		       hth_jorigin origin)
{
	if (!hth_jsb_puts(b, open, origin))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((i > 0 && !hth_jsb_puts(b, ", ", origin)) || !hth_jv_repr(b, items[i]))
			return false;
	return hth_jsb_puts(b, close, origin);
}

static bool repr_dict(struct hth_jsb *b, const struct hth_jdict *d, hth_jorigin origin)
{
	if (!hth_jsb_puts(b, "{", origin))
		return false;
	for (size_t i = 0; i < d->n; i++)
		if ((i > 0 && !hth_jsb_puts(b, ", ", origin)) || !hth_jv_repr(b, d->items[i].key) ||
		    !hth_jsb_puts(b, ": ", origin) || !hth_jv_repr(b, d->items[i].value))
			return false;
	return hth_jsb_puts(b, "}", origin);
}

static bool repr_view(struct hth_jsb *b, const struct hth_jview *v)
{
	struct hth_jval *items, self = {.kind = HTH_JV_VIEW, .view = (struct hth_jview *)v};
	size_t n;
	const char *open = v->what == 'k' ? "dict_keys([" : v->what == 'v' ? "dict_values([" : "dict_items([";
	return hth_jv_items(b->x, self, &items, &n) && repr_items(b, items, n, open, "])", v->origin);
}

static bool repr_object(struct hth_jsb *b, struct hth_jval v)
{
	char text[160], name[64];
	switch (v.kind) {
	case HTH_JV_RANGE:
		snprintf(text, sizeof text,
			 v.r->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
					: "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
			 v.r->start, v.r->stop, v.r->step);
		break;
	case HTH_JV_LOOP:
		snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.loop->index0 + 1, v.loop->n);
		break;
	case HTH_JV_MACRO:
		if (v.macro->def->name == NULL)
			snprintf(text, sizeof text, "<Macro anonymous>");
		else
			snprintf(text, sizeof text, "<Macro '%s'>",
				 hth_quote(name, sizeof name, v.macro->def->name->text, v.macro->def->name->bytes));
		break;
	case HTH_JV_FUNC:
		snprintf(text, sizeof text, "<function %s>", v.func->b.name);
		break;
	case HTH_JV_METHOD:
		snprintf(text, sizeof text, "<built-in method %s of %s object>", v.method->fn->name,
			 hth_jv_type(v.method->self));
		break;
	case HTH_JV_SELF:
		snprintf(text, sizeof text, "<TemplateReference None>");
		break;
	default:
		snprintf(text, sizeof text, "<%s object>", hth_jv_type(v));
	}
	return hth_jsb_puts(b, text, v.origin);
}

static bool repr_inner(struct hth_jsb *b, struct hth_jval v)
{
	char text[40];
	switch (v.kind) {
	case HTH_JV_UNDEF:
		return hth_jsb_puts(b, "Undefined", 0);
	case HTH_JV_NONE:
		return hth_jsb_puts(b, "None", v.origin);
	case HTH_JV_BOOL:
		return hth_jsb_puts(b, v.b ? "True" : "False", v.origin);
	case HTH_JV_INT:
		snprintf(text, sizeof text, "%" PRId64, v.i);
		return hth_jsb_puts(b, text, v.origin);
	case HTH_JV_FLOAT:
		return hth_jsb_add(b, text, hth_jfloat_repr(v.f, text), v.origin, 0);
	case HTH_JV_BIG:
		return hth_jsb_add(b, v.s->data, v.s->bytes, v.origin, 0);
	case HTH_JV_STR:
		if (v.s->markup)
			return hth_jsb_puts(b, "Markup(", v.origin) && repr_str(b, v.s, v.origin) &&
			       hth_jsb_puts(b, ")", v.origin);
		return repr_str(b, v.s, v.origin);
	case HTH_JV_BYTES:
		return repr_bytes(b, v.s);
	case HTH_JV_LIST:
		return repr_items(b, v.l->items, v.l->n, "[", "]", v.origin);
	case HTH_JV_TUPLE:
		return repr_items(b, v.l->items, v.l->n, "(", v.l->n == 1 ? ",)" : ")", v.origin);
	case HTH_JV_DICT:
		return repr_dict(b, v.d, v.origin);
	case HTH_JV_NS:
		return hth_jsb_puts(b, "<Namespace ", 0) && repr_dict(b, v.d, 0) && hth_jsb_puts(b, ">", 0);
	case HTH_JV_VIEW:
		return repr_view(b, v.view);
	default:
		return repr_object(b, v);
	}
}

bool hth_jv_repr(struct hth_jsb *b, struct hth_jval v)
{
	struct hth_jx *x = b->x;
	if (x->value_depth >= HTH_JINJA_VALUE_DEPTH)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a value nested deeper than %d", HTH_JINJA_VALUE_DEPTH);
	if (!hth_jx_charge(x, 1))
		return false;
	x->value_depth++;
	bool ok = repr_inner(b, v);
	x->value_depth--;
	return ok;
}

bool hth_jv_print(struct hth_jsb *b, struct hth_jval v)
{
	if (v.kind == HTH_JV_STR)
		return hth_jsb_add_str(b, v.s);
	return v.kind == HTH_JV_UNDEF || hth_jv_repr(b, v);
}

bool hth_jv_str_of(struct hth_jx *x, struct hth_jval v, struct hth_jstr **out)
{
	struct hth_jsb b;
	if (v.kind == HTH_JV_STR) {
		*out = v.s;
		return true;
	}
	hth_jsb_init(&b, x);
	*out = hth_jv_print(&b, v) ? hth_jsb_done(&b) : NULL;
	return *out != NULL;
}
