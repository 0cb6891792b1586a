/* Jinja's parser, statements: tokens to a tree in the template's arena. Expressions are in jinja_expr.c.
 * Left out, as errors that name them: include, import, from, extends, do, and line statements. A template is one
 * text here; there is nothing to load others from. */
#include "text/jinja_parser.h"

#include "base/checked.h"
#include "base/mem.h"
#include "base/utf8.h"

bool hth_jp_fail(struct hth_jparser *p, const struct hth_jtoken *at, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	if (p->status != HTH_OK)
		return false;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	p->status = hth_fail(p->err, HTH_ERR_FORMAT, "%s:%u:%u: %s", p->t->where, at->line, at->col, text);
	return false;
}

static bool set_status(struct hth_jparser *p, enum hth_status st)
{
	if (p->status == HTH_OK)
		p->status = st;
	return st == HTH_OK;
}

bool hth_jp_next(struct hth_jparser *p)
{
	if (p->has_ahead) {
		p->cur = p->ahead;
		p->has_ahead = false;
		return true;
	}
	return set_status(p, hth_jlex_next(&p->lx, &p->cur));
}

bool hth_jp_peek(struct hth_jparser *p, struct hth_jtoken *out)
{
	if (!p->has_ahead && !set_status(p, hth_jlex_next(&p->lx, &p->ahead)))
		return false;
	p->has_ahead = true;
	*out = p->ahead;
	return true;
}

bool hth_jp_is_name(const struct hth_jtoken *t, const char *name)
{
	return t->kind == HTH_JT_NAME && strlen(name) == t->bytes && memcmp(t->text, name, t->bytes) == 0;
}

/* What a token is, for "found ...". */
static const char *describe(const struct hth_jtoken *t, char *out, size_t out_bytes)
{
	if (t->kind == HTH_JT_NAME || t->kind == HTH_JT_INT || t->kind == HTH_JT_FLOAT || t->kind == HTH_JT_STRING)
		return hth_quote(out, out_bytes, t->text, t->bytes);
	return hth_jtok_name(t->kind);
}

bool hth_jp_expect(struct hth_jparser *p, enum hth_jtok kind)
{
	char found[64];
	if (p->cur.kind == kind)
		return hth_jp_next(p);
	return hth_jp_fail(p, &p->cur, "expected %s, found %s", hth_jtok_name(kind),
			   describe(&p->cur, found, sizeof found));
}

bool hth_jp_expect_name(struct hth_jparser *p, const char *name)
{
	char found[64];
	if (hth_jp_is_name(&p->cur, name))
		return hth_jp_next(p);
	return hth_jp_fail(p, &p->cur, "expected '%s', found %s", name, describe(&p->cur, found, sizeof found));
}

bool hth_jp_skip_name(struct hth_jparser *p, const char *name, bool *skipped)
{
	*skipped = hth_jp_is_name(&p->cur, name);
	return !*skipped || hth_jp_next(p);
}

bool hth_jp_enter(struct hth_jparser *p)
{
	if (p->depth >= HTH_JINJA_PARSE_DEPTH) {
		if (p->status == HTH_OK)
			p->status = hth_fail(p->err, HTH_ERR_LIMIT, "%s:%u:%u: more than %d levels of nesting",
					     p->t->where, p->cur.line, p->cur.col, HTH_JINJA_PARSE_DEPTH);
		return false;
	}
	p->depth++;
	return true;
}

void *hth_jp_alloc(struct hth_jparser *p, size_t n, size_t elem_bytes)
{
	void *m = hth_arena_calloc(&p->t->arena, n, elem_bytes);
	if (m == NULL)
		set_status(p, hth_fail_memory(p->err, "template", n * elem_bytes));
	return m;
}

struct hth_jnode *hth_jp_node(struct hth_jparser *p, enum hth_jnode_kind kind, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_alloc(p, 1, sizeof *n);
	if (n != NULL) {
		n->kind = (uint8_t)kind;
		n->line = at->line;
		n->col = at->col;
	}
	return n;
}

const struct hth_jname *hth_jp_intern(struct hth_jparser *p, const char *text, size_t bytes)
{
	struct hth_jname **at = &p->names[hth_jdict_hash_bytes(text, bytes) % (sizeof p->names / sizeof p->names[0])];
	for (struct hth_jname *n = *at; n != NULL; n = n->next)
		if (n->bytes == bytes && memcmp(n->text, text, bytes) == 0)
			return n;
	struct hth_jname *n = hth_jp_alloc(p, 1, sizeof *n + bytes + 1);
	if (n == NULL)
		return NULL;
	memcpy(n->text, text, bytes);
	n->bytes = bytes;
	n->next = *at;
	*at = n;
	return n;
}

struct hth_jnode *hth_jp_str(struct hth_jparser *p, const struct hth_jtoken *at, const char *text, size_t bytes)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_CONST, at);
	struct hth_jstr *s = hth_jp_alloc(p, 1, sizeof *s);
	char *copy = hth_arena_strndup(&p->t->arena, text, bytes);
	if (n == NULL || s == NULL || copy == NULL) {
		set_status(p, hth_fail_memory(p->err, "template", bytes));
		return NULL;
	}
	s->data = copy;
	s->bytes = bytes;
	for (size_t i = 0; i < bytes; i++) /* counted now: the tree is shared and never written again */
		s->chars += ((unsigned char)copy[i] & 0xC0) != 0x80;
	n->value.kind = HTH_JV_STR;
	n->value.s = s;
	return n;
}

bool hth_jp_push(struct hth_jparser *p, struct hth_jnode ***items, size_t *n, struct hth_jnode *node)
{
	if (node == NULL)
		return false;
	if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
		struct hth_jnode **grown = hth_jp_alloc(p, *n == 0 ? 1 : 2 * *n, sizeof *grown);
		if (grown == NULL)
			return false;
		if (*n > 0)
			memcpy(grown, *items, *n * sizeof *grown);
		*items = grown;
	}
	(*items)[(*n)++] = node;
	return true;
}

static struct hth_jnode *statement(struct hth_jparser *p);

static bool ends_body(const struct hth_jtoken *t, const char *ends)
{
	/* ends: names with a space behind each, "elif else endif " */
	for (const char *e = ends; *e != '\0';) {
		size_t n = strcspn(e, " ");
		if (t->kind == HTH_JT_NAME && t->bytes == n && memcmp(t->text, e, n) == 0)
			return true;
		e += n + 1;
	}
	return false;
}

/* Text, prints and statements until a block that begins with one of `ends`, whose name is then current.
 * NULL: until the end of the template. */
static bool parse_body(struct hth_jparser *p, const char *ends, const struct hth_jtoken *opener, struct hth_jbody *out)
{
	*out = (struct hth_jbody){0};
	while (p->cur.kind != HTH_JT_EOF) {
		struct hth_jnode *n = NULL;
		struct hth_jtoken at = p->cur;
		if (at.kind == HTH_JT_DATA) {
			n = hth_jp_str(p, &at, at.text, at.bytes);
			if (n != NULL)
				n->kind = HTH_JN_DATA;
			if (!hth_jp_next(p))
				return false;
		} else if (at.kind == HTH_JT_VAR_BEGIN) {
			n = hth_jp_next(p) ? hth_jp_node(p, HTH_JN_PRINT, &at) : NULL;
			if (n == NULL || (n->a = hth_jp_tuple(p, true, false, NULL)) == NULL ||
			    !hth_jp_expect(p, HTH_JT_VAR_END))
				return false;
		} else {
			if (!hth_jp_next(p))
				return false;
			if (ends != NULL && ends_body(&p->cur, ends))
				return true;
			n = statement(p);
			if (n == NULL || !hth_jp_expect(p, HTH_JT_BLOCK_END))
				return false;
		}
		if (!hth_jp_push(p, &out->items, &out->n, n))
			return false;
	}
	if (ends == NULL)
		return true;
	return hth_jp_fail(p, &p->cur,
			   "unexpected end of template, expected one of {%% %s%%} for the '%.*s' of line %u", ends,
			   (int)(opener->bytes < 32 ? opener->bytes : 32), opener->text, opener->line);
}

/* The rest of an opening tag, the body, and, with `drop`, the name that ends it. */
static bool block_body(struct hth_jparser *p, const char *ends, bool drop, const struct hth_jtoken *opener,
		       struct hth_jbody *out)
{
	if (p->cur.kind == HTH_JT_COLON && !hth_jp_next(p)) /* "if x:" is allowed for Python's sake */
		return false;
	if (!hth_jp_expect(p, HTH_JT_BLOCK_END) || !hth_jp_enter(p))
		return false;
	bool ok = parse_body(p, ends, opener, out);
	p->depth--;
	return ok && (!drop || hth_jp_next(p));
}

static struct hth_jnode *parse_for(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_FOR, at);
	struct hth_jfor *f = hth_jp_alloc(p, 1, sizeof *f);
	bool has;
	if (n == NULL || f == NULL)
		return NULL;
	n->loop = f;
	if ((f->target = hth_jp_target(p, "in", false)) == NULL || !hth_jp_expect_name(p, "in") ||
	    (f->iter = hth_jp_tuple(p, false, false, "recursive")) == NULL || !hth_jp_skip_name(p, "if", &has) ||
	    (has && (f->test = hth_jp_expression(p, true)) == NULL) || !hth_jp_skip_name(p, "recursive", &f->recursive))
		return NULL;
	p->in_loop++;
	bool ok = block_body(p, "endfor else ", false, at, &f->body);
	p->in_loop--;
	if (!ok || !hth_jp_skip_name(p, "else", &has))
		return NULL;
	if (has ? !block_body(p, "endfor ", true, at, &f->other) : !hth_jp_expect_name(p, "endfor"))
		return NULL;
	return n;
}

/* One branch: its test and body. */
static bool if_branch(struct hth_jparser *p, const struct hth_jtoken *at, struct hth_jif *f)
{
	struct hth_jnode *test = hth_jp_tuple(p, false, false, NULL);
	size_t n = f->n;
	if (test == NULL || !hth_jp_push(p, &f->tests, &f->n, test))
		return false;
	if ((n & (n - 1)) == 0) { /* bodies grow with tests */
		struct hth_jbody *grown = hth_jp_alloc(p, n == 0 ? 1 : 2 * n, sizeof *grown);
		if (grown == NULL)
			return false;
		if (n > 0)
			memcpy(grown, f->bodies, n * sizeof *grown);
		f->bodies = grown;
	}
	return block_body(p, "elif else endif ", false, at, &f->bodies[n]);
}

static struct hth_jnode *parse_if(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_IF, at);
	struct hth_jif *f = hth_jp_alloc(p, 1, sizeof *f);
	bool has = true;
	if (n == NULL || f == NULL)
		return NULL;
	n->cond = f;
	p->in_if++;
	while (has)
		if (!if_branch(p, at, f) || !hth_jp_skip_name(p, "elif", &has))
			return NULL;
	if (!hth_jp_skip_name(p, "else", &has) || (has && !block_body(p, "endif ", false, at, &f->other)))
		return NULL;
	p->in_if--;
	return hth_jp_expect_name(p, "endif") ? n : NULL;
}

static struct hth_jnode *parse_set(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_SET, at);
	if (n == NULL || (n->target = hth_jp_target(p, NULL, true)) == NULL)
		return NULL;
	if (p->cur.kind == HTH_JT_ASSIGN) {
		if (!hth_jp_next(p) || (n->expr = hth_jp_tuple(p, true, false, NULL)) == NULL)
			return NULL;
		return n;
	}
	n->kind = HTH_JN_SETBLOCK;
	if (p->cur.kind == HTH_JT_PIPE) {
		struct hth_jnode *hole = hth_jp_node(p, HTH_JN_HOLE, at);
		if (hole == NULL || (n->expr = hth_jp_filters(p, hole, false)) == NULL)
			return NULL;
	}
	return block_body(p, "endset ", true, at, &n->body) ? n : NULL;
}

/* "(a, b=1)" of a macro or call block. */
static bool signature(struct hth_jparser *p, struct hth_jmacro_def *m)
{
	size_t cap = 0, cap_defaults = 0;
	if (!hth_jp_expect(p, HTH_JT_LPAREN))
		return false;
	while (p->cur.kind != HTH_JT_RPAREN) {
		struct hth_jtoken at = p->cur;
		if (m->n_args > 0 && !hth_jp_expect(p, HTH_JT_COMMA))
			return false;
		at = p->cur;
		if (m->n_args == cap) {
			cap = cap == 0 ? 4 : 2 * cap;
			const struct hth_jname **grown = hth_jp_alloc(p, cap, sizeof *grown);
			if (grown == NULL)
				return false;
			if (m->n_args > 0)
				memcpy(grown, m->args, m->n_args * sizeof *grown);
			m->args = grown;
		}
		if (!hth_jp_expect(p, HTH_JT_NAME) ||
		    (m->args[m->n_args++] = hth_jp_intern(p, at.text, at.bytes)) == NULL)
			return false;
		if (p->cur.kind == HTH_JT_ASSIGN) {
			if (!hth_jp_next(p) || !hth_jp_push(p, &m->defaults, &cap_defaults, hth_jp_expression(p, true)))
				return false;
			m->n_defaults = cap_defaults;
		} else if (m->n_defaults > 0) {
			return hth_jp_fail(p, &at, "an argument without default follows one with a default");
		}
	}
	return hth_jp_next(p);
}

/* The body of a macro or call block: a function of its own, so that no loop reaches into it. */
static bool macro_body(struct hth_jparser *p, const struct hth_jtoken *at, const char *end, struct hth_jmacro_def *m)
{
	unsigned in_loop = p->in_loop;
	m->caller_name = hth_jp_intern(p, "caller", 6);
	m->kwargs_name = hth_jp_intern(p, "kwargs", 6);
	m->varargs_name = hth_jp_intern(p, "varargs", 7);
	if (m->caller_name == NULL || m->kwargs_name == NULL || m->varargs_name == NULL)
		return false;
	p->macros[p->n_macros++] = m; /* bounded by the nesting, which block_body checks */
	p->in_loop = 0;
	bool ok = block_body(p, end, true, at, &m->body);
	p->in_loop = in_loop;
	p->n_macros--;
	return ok;
}

static struct hth_jnode *parse_macro(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_MACRO, at);
	struct hth_jmacro_def *m = hth_jp_alloc(p, 1, sizeof *m);
	struct hth_jtoken name = p->cur;
	if (n == NULL || m == NULL || !hth_jp_expect(p, HTH_JT_NAME) ||
	    (m->name = hth_jp_intern(p, name.text, name.bytes)) == NULL || !signature(p, m))
		return NULL;
	n->macro = m;
	if (!macro_body(p, at, "endmacro ", m))
		return NULL;
	for (size_t i = 0; i + m->n_defaults < m->n_args && m->uses_caller; i++) {
		if (m->args[i] == m->caller_name) {
			hth_jp_fail(p, at, "the argument 'caller' of a macro must be left out or have a default");
			return NULL;
		}
	}
	return n;
}

static struct hth_jnode *parse_call_block(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_CALLBLOCK, at);
	struct hth_jmacro_def *m = hth_jp_alloc(p, 1, sizeof *m);
	if (n == NULL || m == NULL || (p->cur.kind == HTH_JT_LPAREN && !signature(p, m)) ||
	    (m->call = hth_jp_expression(p, true)) == NULL)
		return NULL;
	if (m->call->kind != HTH_JN_CALL) {
		hth_jp_fail(p, at, "expected a call of a macro in {%% call %%}");
		return NULL;
	}
	n->macro = m;
	return macro_body(p, at, "endcall ", m) ? n : NULL;
}

static struct hth_jnode *parse_filter_block(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_FILTERBLOCK, at), *hole = hth_jp_node(p, HTH_JN_HOLE, at);
	if (n == NULL || hole == NULL || (n->expr = hth_jp_filters(p, hole, true)) == NULL)
		return NULL;
	return block_body(p, "endfilter ", true, at, &n->body) ? n : NULL;
}

static struct hth_jnode *parse_with(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_WITH, at);
	size_t n_targets = 0;
	if (n == NULL || (n->with_body = hth_jp_alloc(p, 1, sizeof *n->with_body)) == NULL)
		return NULL;
	while (p->cur.kind != HTH_JT_BLOCK_END) {
		if (n_targets > 0 && !hth_jp_expect(p, HTH_JT_COMMA))
			return NULL;
		struct hth_jnode *target = hth_jp_target(p, NULL, false);
		if (!hth_jp_push(p, &n->targets, &n_targets, target) || !hth_jp_expect(p, HTH_JT_ASSIGN) ||
		    !hth_jp_push(p, &n->values, &n->n_with, hth_jp_expression(p, true)))
			return NULL;
	}
	return block_body(p, "endwith ", true, at, n->with_body) ? n : NULL;
}

static struct hth_jnode *parse_block(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_BLOCK, at);
	struct hth_jtoken name = p->cur;
	unsigned in_loop = p->in_loop;
	bool has;
	if (n == NULL || !hth_jp_expect(p, HTH_JT_NAME) || !hth_jp_skip_name(p, "scoped", &has) ||
	    !hth_jp_skip_name(p, "required", &has))
		return NULL;
	p->in_loop = 0;
	n->expr = hth_jp_str(p, at, name.text, name.bytes);
	bool ok = n->expr != NULL && block_body(p, "endblock ", true, at, &n->body);
	p->in_loop = in_loop;
	has = p->cur.kind == HTH_JT_NAME && p->cur.bytes == name.bytes &&
	      memcmp(p->cur.text, name.text, name.bytes) == 0;
	return ok && (!has || hth_jp_next(p)) ? n : NULL;
}

static struct hth_jnode *parse_generation(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_GENERATION, at);
	unsigned in_loop = p->in_loop;
	p->in_loop = 0;
	bool ok = n != NULL && block_body(p, "endgeneration ", true, at, &n->body);
	p->in_loop = in_loop;
	p->t->has_generation = true;
	return ok ? n : NULL;
}

static struct hth_jnode *parse_autoescape(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_AUTOESCAPE, at);
	if (n == NULL || (n->expr = hth_jp_expression(p, true)) == NULL)
		return NULL;
	return block_body(p, "endautoescape ", true, at, &n->body) ? n : NULL;
}

static struct hth_jnode *parse_print(struct hth_jparser *p, const struct hth_jtoken *at)
{
	struct hth_jnode *n = hth_jp_node(p, HTH_JN_PRINT, at), *all = hth_jp_node(p, HTH_JN_CONCAT, at);
	if (n == NULL || all == NULL)
		return NULL;
	do {
		if (all->n > 0 && !hth_jp_expect(p, HTH_JT_COMMA))
			return NULL;
		if (!hth_jp_push(p, &all->items, &all->n, hth_jp_expression(p, true)))
			return NULL;
	} while (p->cur.kind != HTH_JT_BLOCK_END);
	n->a = all;
	return n;
}

static struct hth_jnode *parse_jump(struct hth_jparser *p, const struct hth_jtoken *at)
{
	if (p->in_loop == 0) {
		hth_jp_fail(p, at, "'%.*s' outside of a loop", (int)at->bytes, at->text);
		return NULL;
	}
	return hth_jp_node(p, at->text[0] == 'b' ? HTH_JN_BREAK : HTH_JN_CONTINUE, at);
}

static const struct {
	const char *name;
	struct hth_jnode *(*parse)(struct hth_jparser *p, const struct hth_jtoken *at);
} statements[] = {
	{"for", parse_for},
	{"if", parse_if},
	{"set", parse_set},
	{"macro", parse_macro},
	{"call", parse_call_block},
	{"filter", parse_filter_block},
	{"with", parse_with},
	{"block", parse_block},
	{"generation", parse_generation},
	{"autoescape", parse_autoescape},
	{"print", parse_print},
	{"break", parse_jump},
	{"continue", parse_jump},
};

/* Known to jinja2, not to us: why is said in the message. */
static const char *const unsupported[] = {"include", "import", "from", "extends"};

static struct hth_jnode *statement(struct hth_jparser *p)
{
	struct hth_jtoken at = p->cur;
	char name[64];
	for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
		if (hth_jp_is_name(&at, statements[i].name))
			return hth_jp_next(p) ? statements[i].parse(p, &at) : NULL;
	for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
		if (hth_jp_is_name(&at, unsupported[i]) && p->status == HTH_OK) {
			p->status = hth_fail(p->err, HTH_ERR_UNAVAILABLE,
					     "%s:%u:%u: {%% %s %%} is not supported: a chat template is one text and "
					     "loads no others",
					     p->t->where, at.line, at.col, unsupported[i]);
			return NULL;
		}
	}
	if (at.kind != HTH_JT_NAME)
		hth_jp_fail(p, &at, "expected a statement's name, found %s", describe(&at, name, sizeof name));
	else
		hth_jp_fail(p, &at, "unknown or misplaced tag {%% %s %%}", describe(&at, name, sizeof name));
	return NULL;
}

/* \r\n and \r become \n, one newline at the end goes. */
static char *normalize(struct hth_template *t, const char *source, size_t bytes, size_t *out_bytes)
{
	char *copy = hth_arena_alloc(&t->arena, bytes + 1);
	size_t n = 0;
	for (size_t i = 0; copy != NULL && i < bytes; i++) {
		copy[n] = source[i] == '\r' ? '\n' : source[i];
		n++;
		if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n')
			i++;
	}
	*out_bytes = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
	return copy;
}

static enum hth_status parse_source(struct hth_template *t, const char *source, size_t bytes, struct hth_err *err)
{
	struct hth_jparser *p = hth_calloc(1, sizeof *p);
	enum hth_status st;
	if (p == NULL)
		return hth_fail_memory(err, "template parser", sizeof *p);
	p->t = t;
	p->err = err;
	p->lx = (struct hth_jlexer){.where = t->where, .err = err, .line = 1, .state = 'r', .line_starting = true};
	hth_buf_init(&p->scratch, HTH_JINJA_MAX_SOURCE);
	p->lx.src = normalize(t, source, bytes, &p->lx.bytes);
	if (p->lx.src == NULL) {
		st = hth_fail_memory(err, "template", bytes);
		goto done;
	}
	t->source = p->lx.src;
	t->source_bytes = p->lx.bytes;
	t->loop_name = hth_jp_intern(p, "loop", 4);
	t->caller_name = hth_jp_intern(p, "caller", 6);
	if (t->loop_name != NULL && t->caller_name != NULL && hth_jp_next(p))
		parse_body(p, NULL, NULL, &t->body);
	st = p->status;
done:
	hth_buf_clear(&p->scratch);
	hth_free(p);
	return st;
}

enum hth_status hth_template_parse(const char *source, size_t bytes, const char *where, struct hth_template **out,
				   struct hth_err *err)
{
	enum hth_status st;
	size_t max;
	*out = NULL;
	if (bytes > HTH_JINJA_MAX_SOURCE)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: a template of %zu bytes, at most %u are read", where, bytes,
				HTH_JINJA_MAX_SOURCE);
	if (!hth_utf8_valid(source, bytes))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: the template is not valid UTF-8", where);
	struct hth_template *t = hth_calloc(1, sizeof *t);
	if (t == NULL)
		return hth_fail_memory(err, "template", sizeof *t);
	/* the tree of the densest text ("a+a+a+...") takes some 50 bytes a byte */
	if (!hth_mul_size(bytes, 256, &max) || !hth_add_size(max, 1u << 20, &max))
		max = SIZE_MAX;
	hth_arena_init(&t->arena, max);
	t->where = hth_arena_strndup(&t->arena, where, strlen(where));
	st = t->where == NULL ? hth_fail_memory(err, "template", strlen(where)) : parse_source(t, source, bytes, err);
	if (st != HTH_OK) {
		hth_template_free(t);
		return st;
	}
	*out = t;
	return HTH_OK;
}

void hth_template_free(struct hth_template *t)
{
	if (t == NULL)
		return;
	hth_arena_clear(&t->arena);
	hth_free(t);
}
