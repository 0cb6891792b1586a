/* Jinja's parser, literals and names: numbers, strings, lists, dicts, parentheses. */
#include "text/jinja_parser.h"

#include "base/num.h"

static bool is_word(const struct hth_jtoken *t, const char *const *words)
{
	for (; *words != NULL; words++)
		if (hth_jp_is_name(t, *words))
			return true;
	return false;
}

static struct hth_jnode *const_node(struct hth_jparser *p, const struct hth_jtoken *at, struct hth_jval v)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_CONST, at);
	if (n != NULL)
		n->value = v;
	return n;
}

bool hth_jp_scratch_ok(struct hth_jparser *p)
{
	enum hth_status st = hth_buf_status(&p->scratch, "template", p->err);
	p->status = p->status != HTH_OK ? p->status : st;
	return st == HTH_OK;
}

/* The digits without underscores, in p->scratch. */
static const char *plain_number(struct hth_jparser *p, const struct hth_jtoken *t)
{
	hth_buf_reset(&p->scratch);
	for (size_t i = 0; i < t->bytes; i++)
		if (t->text[i] != '_')
			hth_buf_putc(&p->scratch, t->text[i]);
	return hth_jp_scratch_ok(p) ? hth_buf_str(&p->scratch) : NULL;
}

struct hth_jnode *hth_jp_number(struct hth_jparser *p)
{
	struct hth_jtoken t = p->cur;
	const char *text = plain_number(p, &t);
	int64_t i = 0;
	double f;
	if (text == NULL || !hth_jp_next(p))
		return NULL;
	if (t.kind == HTH_JT_FLOAT) {
		if (hth_parse_f64(text, &f))
			return const_node(p, &t, hth_jv_float(f));
		hth_jp_fail(p, &t, "this number is out of range");
		return NULL;
	}
	char c = (char)(text[0] == '0' ? text[1] | 0x20 : 0);
	int base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
	bool fits = true;
	for (const char *d = base == 10 ? text : text + 2; *d != '\0'; d++) {
		int v = *d >= 'a' ? *d - 'a' + 10 : *d >= 'A' ? *d - 'A' + 10 : *d - '0';
		fits = fits && !__builtin_mul_overflow(i, base, &i) && !__builtin_add_overflow(i, v, &i);
	}
	if (fits)
		return const_node(p, &t, hth_jv_int(i));
	struct hth_jnode *n = base == 10 ? hth_jp_str(p, &t, text, strlen(text)) : NULL;
	if (n != NULL)
		n->value.kind = HTH_JV_BIG;
	else
		hth_jp_fail(p, &t, "this integer is beyond 64 bits");
	return n;
}

static struct hth_jnode *string(struct hth_jparser *p)
{
	struct hth_jtoken at = p->cur;
	hth_buf_reset(&p->scratch);
	while (p->cur.kind == HTH_JT_STRING) { /* 'a' 'b' is one string */
		enum hth_status st = hth_jlex_unescape(&p->lx, &p->cur, &p->scratch);
		if (st != HTH_OK) {
			p->status = p->status != HTH_OK ? p->status : st;
			return NULL;
		}
		if (!hth_jp_next(p))
			return NULL;
	}
	return hth_jp_str(p, &at, hth_buf_str(&p->scratch), p->scratch.bytes);
}

static struct hth_jnode *list(struct hth_jparser *p)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_LIST, &p->cur);
	if (n == NULL || !hth_jp_next(p))
		return NULL;
	while (p->cur.kind != HTH_JT_RBRACKET) {
		if (n->n > 0 && !hth_jp_expect(p, HTH_JT_COMMA))
			return NULL;
		if (p->cur.kind == HTH_JT_RBRACKET)
			break;
		if (!hth_jp_push(p, &n->items, &n->n, hth_jp_expression(p, true)))
			return NULL;
	}
	return hth_jp_next(p) ? n : NULL;
}

static struct hth_jnode *dict(struct hth_jparser *p)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_DICT, &p->cur);
	if (n == NULL || !hth_jp_next(p))
		return NULL;
	while (p->cur.kind != HTH_JT_RBRACE) {
		if (n->n > 0 && !hth_jp_expect(p, HTH_JT_COMMA))
			return NULL;
		if (p->cur.kind == HTH_JT_RBRACE)
			break;
		if (!hth_jp_push(p, &n->items, &n->n, hth_jp_expression(p, true)) || !hth_jp_expect(p, HTH_JT_COLON) ||
		    !hth_jp_push(p, &n->items, &n->n, hth_jp_expression(p, true)))
			return NULL;
	}
	return hth_jp_next(p) ? n : NULL;
}

/* Marks the macros around a name that asks for their special variables. */
static void note_special(struct hth_jparser *p, const struct hth_jname *name)
{
	for (size_t i = 0; i < p->n_macros; i++) {
		struct hth_jmacro_def *m = p->macros[i];
		m->uses_caller = m->uses_caller || name == m->caller_name;
		m->uses_kwargs = m->uses_kwargs || name == m->kwargs_name;
		m->uses_varargs = m->uses_varargs || name == m->varargs_name;
	}
}

static struct hth_jnode *name_or_const(struct hth_jparser *p, bool with_namespace)
{
	static const char *const trues[] = {"true", "True", NULL}, *const falses[] = {"false", "False", NULL},
				 *const nones[] = {"none", "None", NULL};
	struct hth_jtoken at = p->cur;
	if (!hth_jp_next(p))
		return NULL;
	if (is_word(&at, trues) || is_word(&at, falses))
		return const_node(p, &at, hth_jv_bool(is_word(&at, trues)));
	if (is_word(&at, nones))
		return const_node(p, &at, hth_jv_none());
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_NAME, &at);
	const struct hth_jname *name = hth_jp_intern(p, at.text, at.bytes);
	if (n == NULL || name == NULL)
		return NULL;
	note_special(p, name);
	if (with_namespace && p->cur.kind == HTH_JT_DOT) {
		struct hth_jnode *ns = hth_jp_node(p, HTH_JN_NSREF, &at);
		if (ns == NULL || !hth_jp_next(p))
			return NULL;
		n->name = name;
		ns->a = n;
		at = p->cur;
		ns->attr = hth_jp_expect(p, HTH_JT_NAME) ? hth_jp_intern(p, at.text, at.bytes) : NULL;
		return ns->attr != NULL ? ns : NULL;
	}
	n->name = name;
	return n;
}

struct hth_jnode *hth_jp_primary(struct hth_jparser *p, bool with_namespace)
{
	struct hth_jnode *n = NULL;
	switch (p->cur.kind) {
	case HTH_JT_NAME:
		return name_or_const(p, with_namespace);
	case HTH_JT_STRING:
		return string(p);
	case HTH_JT_INT:
	case HTH_JT_FLOAT:
		return hth_jp_number(p);
	case HTH_JT_LPAREN:
	case HTH_JT_LBRACKET:
	case HTH_JT_LBRACE:
		break;
	default:
		hth_jp_fail(p, &p->cur, "expected an expression, found '%s'", hth_jtok_name(p->cur.kind));
		return NULL;
	}
	if (!hth_jp_enter(p))
		return NULL;
	if (p->cur.kind == HTH_JT_LBRACKET) {
		n = list(p);
	} else if (p->cur.kind == HTH_JT_LBRACE) {
		n = dict(p);
	} else if (hth_jp_next(p)) {
		n = hth_jp_tuple(p, true, true, NULL);
		if (n != NULL && !hth_jp_expect(p, HTH_JT_RPAREN))
			n = NULL;
	}
	p->depth--;
	return n;
}
