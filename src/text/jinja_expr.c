/* Jinja's parser, expressions: precedence as jinja2's (or, and, not, comparisons, + -, ~, * / // %, unary and
 * filters, **). Chains of one level are one node with many operands, so that a long chain is not a deep tree. */
#include "text/jinja_parser.h"

static struct hth_jnode *unary(struct hth_jparser *p, bool with_filter);

static bool is_word(const struct hth_jtoken *t, const char *const *words)
{
	for (; *words != NULL; words++)
		if (hth_jp_is_name(t, *words))
			return true;
	return false;
}

/* What follows a value: .attr, [item], (call). */

static struct hth_jnode *slice_part(struct hth_jparser *p, bool *ok)
{
	*ok = true;
	if (p->cur.kind == HTH_JT_COLON || p->cur.kind == HTH_JT_RBRACKET || p->cur.kind == HTH_JT_COMMA)
		return NULL;
	struct hth_jnode *n = hth_jp_expression(p, true);
	*ok = n != NULL;
	return n;
}

static struct hth_jnode *subscript(struct hth_jparser *p)
{
	struct hth_jtoken at = p->cur;
	bool ok;
	struct hth_jnode *first = NULL;
	if (at.kind != HTH_JT_COLON) {
		first = hth_jp_expression(p, true);
		if (first == NULL || p->cur.kind != HTH_JT_COLON)
			return first;
	}
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_SLICE, &at);
	if (n == NULL || !hth_jp_next(p))
		return NULL;
	n->a = first;
	n->b = slice_part(p, &ok);
	if (!ok)
		return NULL;
	if (p->cur.kind == HTH_JT_COLON) {
		if (!hth_jp_next(p))
			return NULL;
		n->c = slice_part(p, &ok);
		if (!ok)
			return NULL;
	}
	return n;
}

static struct hth_jnode *item(struct hth_jparser *p, struct hth_jnode *on)
{
	struct hth_jtoken at = p->cur;
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_ITEM, &at), *tuple = hth_jp_node(p, HTH_JN_TUPLE, &at);
	if (n == NULL || tuple == NULL || !hth_jp_enter(p))
		return NULL;
	bool ok = hth_jp_next(p);
	while (ok && p->cur.kind != HTH_JT_RBRACKET)
		ok = (tuple->n == 0 || hth_jp_expect(p, HTH_JT_COMMA)) &&
		     hth_jp_push(p, &tuple->items, &tuple->n, subscript(p));
	p->depth--;
	if (!ok || !hth_jp_next(p))
		return NULL;
	n->a = on;
	n->b = tuple->n == 1 ? tuple->items[0] : tuple;
	return n;
}

static struct hth_jnode *attribute(struct hth_jparser *p, struct hth_jnode *on)
{
	struct hth_jnode *n = hth_jp_next(p) ? hth_jp_node(p, HTH_JN_ATTR, &p->cur) : NULL;
	if (n == NULL)
		return NULL;
	n->a = on;
	if (p->cur.kind == HTH_JT_INT) {
		n->kind = HTH_JN_ITEM;
		return (n->b = hth_jp_number(p)) != NULL ? n : NULL;
	}
	struct hth_jtoken at = p->cur;
	if (at.kind != HTH_JT_NAME) {
		hth_jp_fail(p, &at, "expected a name or number behind '.'");
		return NULL;
	}
	n->attr = hth_jp_intern(p, at.text, at.bytes);
	return n->attr != NULL && hth_jp_next(p) ? n : NULL;
}

/* One argument of a call. */
static bool argument(struct hth_jparser *p, struct hth_jcall *c, const struct hth_jtoken *at)
{
	struct hth_jtoken ahead = {0};
	bool ok = c->dyn_kw == NULL;
	if (p->cur.kind == HTH_JT_MUL)
		return ok && c->dyn_pos == NULL && hth_jp_next(p) && (c->dyn_pos = hth_jp_expression(p, true)) != NULL;
	if (p->cur.kind == HTH_JT_POW)
		return ok && hth_jp_next(p) && (c->dyn_kw = hth_jp_expression(p, true)) != NULL;
	if (p->cur.kind == HTH_JT_NAME && !hth_jp_peek(p, &ahead))
		return false;
	if (ahead.kind != HTH_JT_ASSIGN) {
		if (!ok || c->dyn_pos != NULL || c->n_kw > 0)
			return hth_jp_fail(p, at, "a positional argument follows a keyword argument");
		return hth_jp_push(p, &c->pos, &c->n_pos, hth_jp_expression(p, true));
	}
	if (!ok)
		return hth_jp_fail(p, at, "an argument follows **");
	if ((c->n_kw & (c->n_kw - 1)) == 0) {
		struct hth_jcall_kw *grown = hth_jp_alloc(p, c->n_kw == 0 ? 1 : 2 * c->n_kw, sizeof *grown);
		if (grown == NULL)
			return false;
		if (c->n_kw > 0)
			memcpy(grown, c->kw, c->n_kw * sizeof *grown);
		c->kw = grown;
	}
	struct hth_jcall_kw *kw = &c->kw[c->n_kw];
	kw->name = hth_jp_intern(p, p->cur.text, p->cur.bytes);
	if (kw->name == NULL || !hth_jp_next(p) || !hth_jp_next(p) || (kw->value = hth_jp_expression(p, true)) == NULL)
		return false;
	c->n_kw++;
	return true;
}

/* "(...)" of a call, filter or test. */
static struct hth_jcall *arguments(struct hth_jparser *p)
{
	struct hth_jtoken at = p->cur;
	struct hth_jcall *c = hth_jp_alloc(p, 1, sizeof *c);
	if (c == NULL || !hth_jp_enter(p))
		return NULL;
	bool ok = hth_jp_next(p), first = true;
	while (ok && p->cur.kind != HTH_JT_RPAREN) {
		if (!first && !(ok = hth_jp_expect(p, HTH_JT_COMMA)))
			break;
		if (p->cur.kind == HTH_JT_RPAREN)
			break;
		ok = argument(p, c, &at);
		first = false;
	}
	p->depth--;
	if (!ok)
		hth_jp_fail(p, &at, "these arguments of a call do not parse");
	return ok && hth_jp_next(p) ? c : NULL;
}

static struct hth_jnode *call(struct hth_jparser *p, struct hth_jnode *on)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_CALL, &p->cur);
	if (n == NULL)
		return NULL;
	n->on = on;
	return (n->call = arguments(p)) != NULL ? n : NULL;
}

static struct hth_jnode *postfix(struct hth_jparser *p, struct hth_jnode *n)
{
	unsigned depth = p->depth;
	while (n != NULL) {
		enum hth_jtok k = p->cur.kind;
		if (k != HTH_JT_DOT && k != HTH_JT_LBRACKET && k != HTH_JT_LPAREN)
			break;
		if (!hth_jp_enter(p)) /* each step puts the tree one level deeper */
			return NULL;
		n = k == HTH_JT_DOT ? attribute(p, n) : k == HTH_JT_LBRACKET ? item(p, n) : call(p, n);
	}
	p->depth = depth;
	return n;
}

/* A dotted name behind | or is. */
static const struct hth_jname *dotted(struct hth_jparser *p)
{
	struct hth_jtoken at = p->cur;
	if (!hth_jp_expect(p, HTH_JT_NAME))
		return NULL;
	hth_buf_reset(&p->scratch);
	hth_buf_add(&p->scratch, at.text, at.bytes);
	while (p->cur.kind == HTH_JT_DOT) {
		if (!hth_jp_next(p))
			return NULL;
		hth_buf_putc(&p->scratch, '.');
		hth_buf_add(&p->scratch, p->cur.text, p->cur.bytes);
		if (!hth_jp_expect(p, HTH_JT_NAME))
			return NULL;
	}
	return hth_jp_scratch_ok(p) ? hth_jp_intern(p, hth_buf_str(&p->scratch), p->scratch.bytes) : NULL;
}

/* Outside of an if, an unknown name is an error at once; inside, only when it is reached. */
static bool known(struct hth_jparser *p, const struct hth_jtoken *at, const struct hth_jnode *n, const char *what)
{
	char text[64];
	if (n->fn != NULL || p->in_if > 0)
		return true;
	return hth_jp_fail(p, at, "no %s named '%s'", what,
			   hth_quote(text, sizeof text, n->fn_name->text, n->fn_name->bytes));
}

static struct hth_jnode *filter(struct hth_jparser *p, struct hth_jnode *on)
{
	struct hth_jtoken at = p->cur;
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_FILTER, &at);
	if (n == NULL || (n->fn_name = dotted(p)) == NULL)
		return NULL;
	n->on = on;
	n->fn = hth_jinja_filter(n->fn_name->text, n->fn_name->bytes);
	if (!known(p, &at, n, "filter"))
		return NULL;
	if (p->cur.kind == HTH_JT_LPAREN && (n->call = arguments(p)) == NULL)
		return NULL;
	return n;
}

struct hth_jnode *hth_jp_filters(struct hth_jparser *p, struct hth_jnode *on, bool inline_start)
{
	unsigned depth = p->depth;
	struct hth_jnode *n = inline_start ? filter(p, on) : on;
	while (n != NULL && p->cur.kind == HTH_JT_PIPE)
		n = hth_jp_enter(p) && hth_jp_next(p) ? filter(p, n) : NULL;
	p->depth = depth;
	return n;
}

static struct hth_jnode *test(struct hth_jparser *p, struct hth_jnode *on)
{
	static const char *const ends[] = {"else", "or", "and", NULL};
	struct hth_jtoken at = p->cur;
	bool negated;
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_TEST, &at);
	if (n == NULL || !hth_jp_next(p) || !hth_jp_skip_name(p, "not", &negated) || (n->fn_name = dotted(p)) == NULL)
		return NULL;
	n->on = on;
	n->fn = hth_jinja_test(n->fn_name->text, n->fn_name->bytes);
	if (!known(p, &at, n, "test"))
		return NULL;
	enum hth_jtok k = p->cur.kind;
	if (k == HTH_JT_LPAREN) {
		n->call = arguments(p);
		if (n->call == NULL)
			return NULL;
	} else if ((k == HTH_JT_NAME || k == HTH_JT_STRING || k == HTH_JT_INT || k == HTH_JT_FLOAT ||
		    k == HTH_JT_LBRACKET || k == HTH_JT_LBRACE) &&
		   !is_word(&p->cur, ends)) {
		if (hth_jp_is_name(&p->cur, "is")) {
			hth_jp_fail(p, &p->cur, "tests cannot be chained with is");
			return NULL;
		}
		n->call = hth_jp_alloc(p, 1, sizeof *n->call);
		if (n->call == NULL ||
		    !hth_jp_push(p, &n->call->pos, &n->call->n_pos, postfix(p, hth_jp_primary(p, false))))
			return NULL;
	}
	if (!negated)
		return n;
	struct hth_jnode *neg = hth_jp_node(p, HTH_JN_NOT, &at);
	if (neg != NULL)
		neg->a = n;
	return neg;
}

static struct hth_jnode *unary(struct hth_jparser *p, bool with_filter)
{
	struct hth_jtoken at = p->cur;
	struct hth_jnode *n;
	unsigned depth = p->depth;
	if (at.kind == HTH_JT_SUB || at.kind == HTH_JT_ADD) {
		n = hth_jp_node(p, at.kind == HTH_JT_SUB ? HTH_JN_NEG : HTH_JN_POS, &at);
		if (n == NULL || !hth_jp_enter(p) || !hth_jp_next(p))
			return NULL;
		n->a = unary(p, false);
		p->depth--;
		n = n->a != NULL ? n : NULL;
	} else {
		n = hth_jp_primary(p, false);
	}
	n = postfix(p, n);
	while (n != NULL && with_filter) {
		enum hth_jtok k = p->cur.kind;
		if (k != HTH_JT_PIPE && k != HTH_JT_LPAREN && !hth_jp_is_name(&p->cur, "is"))
			break;
		if (!hth_jp_enter(p))
			return NULL;
		if (k == HTH_JT_PIPE)
			n = hth_jp_next(p) ? filter(p, n) : NULL;
		else
			n = k == HTH_JT_LPAREN ? call(p, n) : test(p, n);
	}
	p->depth = depth;
	return n;
}

/* Chains. */

static bool push_op(struct hth_jparser *p, struct hth_jnode *n, struct hth_jnode *operand, enum hth_jop op)
{
	size_t i = n->n; /* operand i is joined by ops[i]; ops[0] is unused */
	if ((i & (i - 1)) == 0) {
		uint8_t *grown = hth_jp_alloc(p, i == 0 ? 1 : 2 * i, 1);
		if (grown == NULL)
			return false;
		if (i > 0)
			memcpy(grown, n->ops, i);
		n->ops = grown;
	}
	if (!hth_jp_push(p, &n->items, &n->n, operand))
		return false;
	n->ops[i] = (uint8_t)op;
	return true;
}

enum level { L_OR, L_AND, L_COMPARE, L_SUM, L_CONCAT, L_PRODUCT, L_POWER, L_UNARY };

/* Whether the current token is an operator of `level`; *op says which, *words how many tokens it takes. */
static bool operator_at(struct hth_jparser *p, enum level level, enum hth_jop *op, int *words)
{
	static const struct {
		uint8_t level, tok, op;
	} table[] = {
		{L_COMPARE, HTH_JT_EQ, HTH_JO_EQ},    {L_COMPARE, HTH_JT_NE, HTH_JO_NE},
		{L_COMPARE, HTH_JT_LT, HTH_JO_LT},    {L_COMPARE, HTH_JT_LE, HTH_JO_LE},
		{L_COMPARE, HTH_JT_GT, HTH_JO_GT},    {L_COMPARE, HTH_JT_GE, HTH_JO_GE},
		{L_SUM, HTH_JT_ADD, HTH_JO_ADD},      {L_SUM, HTH_JT_SUB, HTH_JO_SUB},
		{L_CONCAT, HTH_JT_TILDE, HTH_JO_ADD}, {L_PRODUCT, HTH_JT_MUL, HTH_JO_MUL},
		{L_PRODUCT, HTH_JT_DIV, HTH_JO_DIV},  {L_PRODUCT, HTH_JT_FLOORDIV, HTH_JO_FLOORDIV},
		{L_PRODUCT, HTH_JT_MOD, HTH_JO_MOD},  {L_POWER, HTH_JT_POW, HTH_JO_POW},
	};
	struct hth_jtoken ahead;
	*words = 1;
	*op = HTH_JO_ADD;
	if (p->cur.kind == HTH_JT_NAME) {
		if (level == L_OR || level == L_AND)
			return hth_jp_is_name(&p->cur, level == L_OR ? "or" : "and");
		*op = HTH_JO_IN;
		if (level == L_COMPARE && hth_jp_is_name(&p->cur, "in"))
			return true;
		*words = 2;
		*op = HTH_JO_NOTIN;
		return level == L_COMPARE && hth_jp_is_name(&p->cur, "not") && hth_jp_peek(p, &ahead) &&
		       hth_jp_is_name(&ahead, "in");
	}
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (table[i].level == level && table[i].tok == p->cur.kind) {
			*op = (enum hth_jop)table[i].op;
			return true;
		}
	}
	return false;
}

static struct hth_jnode *chain(struct hth_jparser *p, enum level level);

/* An operand of `level`: for and, not comes in between. */
static struct hth_jnode *operand(struct hth_jparser *p, enum level level)
{
	if (level == L_POWER)
		return unary(p, true);
	if (level == L_AND && hth_jp_is_name(&p->cur, "not")) {
		struct hth_jnode *n = hth_jp_node(p, HTH_JN_NOT, &p->cur);
		if (n == NULL || !hth_jp_enter(p) || !hth_jp_next(p))
			return NULL;
		n->a = operand(p, L_AND);
		p->depth--;
		return n->a != NULL ? n : NULL;
	}
	return chain(p, level + 1);
}

static struct hth_jnode *chain(struct hth_jparser *p, enum level level)
{
	static const uint8_t kinds[] = {HTH_JN_OR,     HTH_JN_AND,   HTH_JN_COMPARE, HTH_JN_ARITH,
					HTH_JN_CONCAT, HTH_JN_ARITH, HTH_JN_ARITH};
	struct hth_jtoken at = p->cur;
	enum hth_jop op;
	int words;
	struct hth_jnode *first = operand(p, level), *n = NULL;
	while (first != NULL && operator_at(p, level, &op, &words)) {
		if (n == NULL) {
			n = hth_jp_node(p, (enum hth_jnode_kind)kinds[level], &at);
			if (n == NULL || !push_op(p, n, first, HTH_JO_ADD))
				return NULL;
		}
		if (!hth_jp_next(p) || (words == 2 && !hth_jp_next(p)) || !push_op(p, n, operand(p, level), op))
			return NULL;
	}
	return p->status != HTH_OK ? NULL : n != NULL ? n : first;
}

struct hth_jnode *hth_jp_expression(struct hth_jparser *p, bool with_cond)
{
	unsigned depth = p->depth;
	struct hth_jtoken at = p->cur;
	bool has;
	struct hth_jnode *n = chain(p, L_OR);
	while (n != NULL && with_cond && hth_jp_is_name(&p->cur, "if")) {
		struct hth_jnode *c = hth_jp_node(p, HTH_JN_COND, &at);
		if (c == NULL || !hth_jp_enter(p) || !hth_jp_next(p))
			return NULL;
		p->in_if++;
		c->b = n;
		c->a = chain(p, L_OR);
		if (c->a == NULL || !hth_jp_skip_name(p, "else", &has) ||
		    (has && (c->c = hth_jp_expression(p, true)) == NULL))
			return NULL;
		p->in_if--;
		n = c;
	}
	p->depth = depth;
	return n;
}

/* simplified: only what can be assigned to. */
static struct hth_jnode *tuple(struct hth_jparser *p, bool with_cond, bool parens, const char *end, bool simplified,
			       bool with_namespace)
{
	struct hth_jtoken at = p->cur;
	bool is_tuple = false;
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_TUPLE, &at);
	if (n == NULL)
		return NULL;
	for (;;) {
		enum hth_jtok k = p->cur.kind;
		if (k == HTH_JT_VAR_END || k == HTH_JT_BLOCK_END || k == HTH_JT_RPAREN ||
		    (end != NULL && hth_jp_is_name(&p->cur, end)))
			break;
		struct hth_jnode *e = simplified ? hth_jp_primary(p, with_namespace) : hth_jp_expression(p, with_cond);
		if (!hth_jp_push(p, &n->items, &n->n, e))
			return NULL;
		if (p->cur.kind != HTH_JT_COMMA)
			break;
		is_tuple = true;
		if (!hth_jp_next(p))
			return NULL;
	}
	if (is_tuple)
		return n;
	if (n->n == 1)
		return n->items[0];
	if (!parens) {
		hth_jp_fail(p, &p->cur, "expected an expression, found '%s'", hth_jtok_name(p->cur.kind));
		return NULL;
	}
	return n;
}

struct hth_jnode *hth_jp_tuple(struct hth_jparser *p, bool with_cond, bool parens, const char *end)
{
	return tuple(p, with_cond, parens, end, false, false);
}

static bool assignable(struct hth_jparser *p, const struct hth_jnode *n)
{
	struct hth_jtoken at = {.line = n->line, .col = n->col};
	if (n->kind == HTH_JN_NAME || n->kind == HTH_JN_NSREF)
		return true;
	for (size_t i = 0; n->kind == HTH_JN_TUPLE && i < n->n; i++)
		if (!assignable(p, n->items[i])) /* as deep as the parser went */
			return false;
	return n->kind == HTH_JN_TUPLE ? true : hth_jp_fail(p, &at, "cannot assign to this expression");
}

struct hth_jnode *hth_jp_target(struct hth_jparser *p, const char *end, bool with_namespace)
{
	struct hth_jnode *n = tuple(p, true, false, end, true, with_namespace);
	return n != NULL && assignable(p, n) ? n : NULL;
}
