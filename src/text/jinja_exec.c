/* Executing statements: output, variables and their scopes, loops, macros, captured blocks.
 * Scopes as in jinja2: loops, macros, with, block assignments and filter blocks have their own; if has none; a name
 * set inside a scope does not change the one outside (namespaces are there for that). */
#include "text/jinja_int.h"

struct hth_jscope *hth_jscope_new(struct hth_jx *x, struct hth_jscope *parent)
{
	struct hth_jscope *s = hth_jx_alloc(x, sizeof *s);
	if (s != NULL)
		*s = (struct hth_jscope){.parent = parent};
	return s;
}

struct hth_jval *hth_jscope_find(struct hth_jscope *s, const struct hth_jname *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->vars[i].name == name)
			return &s->vars[i].value;
	return NULL;
}

bool hth_jscope_set(struct hth_jx *x, struct hth_jscope *s, const struct hth_jname *name, struct hth_jval v)
{
	struct hth_jval *old = hth_jscope_find(s, name);
	if (!hth_jx_charge(x, s->n / 16))
		return false;
	if (old != NULL) {
		*old = v;
		return true;
	}
	if (s->n == s->cap) {
		size_t cap = s->cap == 0 ? 4 : 2 * s->cap;
		struct hth_jvar *grown = hth_jx_array(x, cap, sizeof *grown);
		if (grown == NULL)
			return false;
		if (s->n > 0)
			memcpy(grown, s->vars, s->n * sizeof *grown);
		s->vars = grown;
		s->cap = cap;
	}
	s->vars[s->n++] = (struct hth_jvar){.name = name, .value = v};
	return true;
}

/* Names, tuples of them, ns.attr. As deep as the parser allowed. */
static bool assign(struct hth_jx *x, const struct hth_jnode *target, struct hth_jval v)
{
	struct hth_jval ns, *items;
	size_t n;
	if (target->kind == HTH_JN_NAME)
		return hth_jscope_set(x, x->scope, target->name, v);
	x->at = target;
	if (target->kind == HTH_JN_NSREF) {
		if (!hth_jeval(x, target->a, &ns))
			return false;
		x->at = target;
		if (ns.kind != HTH_JV_NS)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "cannot assign attribute on non-namespace object");
		if (target->attr->text[0] == '_')
			return hth_jx_fail(x, HTH_ERR_FORMAT, "a namespace cannot hold a name that begins with '_'");
		struct hth_jstr *key = hth_jstr_ref(x, target->attr->text, target->attr->bytes);
		return key != NULL && hth_jdict_set(x, ns.d, hth_jv_str(key), v);
	}
	if (!hth_jv_items(x, v, &items, &n))
		return false;
	if (n != target->n)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%zu values to unpack into %zu names", n, target->n);
	for (size_t i = 0; i < n; i++)
		if (!assign(x, target->items[i], items[i]))
			return false;
	return true;
}

bool hth_jexec_capture(struct hth_jx *x, const struct hth_jbody *body, struct hth_jscope *scope, struct hth_jval *out)
{
	struct hth_jsb b, *outer = x->out;
	struct hth_jscope *before = x->scope;
	hth_jsb_init(&b, x);
	x->out = &b;
	x->scope = scope;
	bool ok = hth_jexec(x, body);
	x->out = outer;
	x->scope = before;
	*out = hth_jv_str(ok ? hth_jsb_done(&b) : NULL);
	if (out->s != NULL)
		out->s->markup = x->autoescape;
	return out->s != NULL;
}

static bool print(struct hth_jx *x, struct hth_jval v)
{
	struct hth_jstr *s;
	if (!x->autoescape)
		return hth_jv_print(x->out, v);
	return hth_jv_str_of(x, v, &s) && (s = hth_jstr_escape(x, s)) != NULL && hth_jsb_add_str(x->out, s);
}

static bool exec_if(struct hth_jx *x, const struct hth_jif *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct hth_jval v;
		bool truth;
		if (!hth_jeval(x, f->tests[i], &v) || !hth_jv_truth(x, v, &truth))
			return false;
		if (truth)
			return hth_jexec(x, &f->bodies[i]);
	}
	return hth_jexec(x, &f->other);
}

/* The items that pass "if test" of a for. */
static bool filter_items(struct hth_jx *x, const struct hth_jfor *f, struct hth_jscope *outer, struct hth_jval **items,
			 size_t *n)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	struct hth_jscope *s = hth_jscope_new(x, outer), *before = x->scope;
	bool ok = l != NULL && s != NULL, truth;
	x->scope = s;
	for (size_t i = 0; i < *n && ok; i++) {
		struct hth_jval v;
		s->n = 0;
		ok = assign(x, f->target, (*items)[i]) && hth_jeval(x, f->test, &v) && hth_jv_truth(x, v, &truth) &&
		     (!truth || hth_jlist_push(x, l, (*items)[i]));
	}
	x->scope = before;
	if (ok) {
		*items = l->items;
		*n = l->n;
	}
	return ok;
}

static bool loop_turns(struct hth_jx *x, const struct hth_jfor *f, struct hth_jloop *loop)
{
	struct hth_jscope *s = NULL;
	struct hth_jval self = {.kind = HTH_JV_LOOP, .loop = loop};
	for (; loop->index0 < loop->n; loop->index0++) {
		if (s == NULL || s->captured)
			s = hth_jscope_new(x, loop->scope);
		if (s == NULL)
			return false;
		s->n = 0;
		x->scope = s;
		struct hth_jval v =
			loop->items != NULL
				? loop->items[loop->index0]
				: hth_jv_int(loop->range->start + (int64_t)loop->index0 * loop->range->step);
		if (!hth_jx_charge(x, 1) || !hth_jscope_set(x, s, x->t->loop_name, self) || !assign(x, f->target, v) ||
		    !hth_jexec(x, &f->body))
			return false;
		enum hth_jflow flow = x->flow;
		x->flow = HTH_JF_NORMAL;
		if (flow == HTH_JF_BREAK)
			break;
	}
	return true;
}

bool hth_jexec_loop(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval iter, size_t depth0,
		    struct hth_jscope *outer)
{
	const struct hth_jfor *f = n->loop;
	struct hth_jscope *before = x->scope;
	struct hth_jloop *loop = hth_jx_alloc(x, sizeof *loop);
	if (loop == NULL || !hth_jx_enter(x))
		return false;
	*loop = (struct hth_jloop){.depth0 = depth0, .node = n, .scope = outer};
	bool ok = true;
	if (iter.kind == HTH_JV_RANGE && f->test == NULL) {
		loop->range = iter.r;
		loop->n = (size_t)iter.r->n;
	} else {
		ok = hth_jv_items(x, iter, &loop->items, &loop->n) &&
		     (f->test == NULL || filter_items(x, f, outer, &loop->items, &loop->n));
	}
	if (ok && loop->n == 0) {
		x->scope = hth_jscope_new(x, outer);
		ok = x->scope != NULL && hth_jexec(x, &f->other);
	} else if (ok) {
		ok = loop_turns(x, f, loop);
	}
	x->scope = before;
	x->depth--;
	return ok;
}

static bool make_macro(struct hth_jx *x, const struct hth_jmacro_def *def, struct hth_jval *out)
{
	struct hth_jmacro *m = hth_jx_alloc(x, sizeof *m);
	if (m == NULL)
		return false;
	for (struct hth_jscope *s = x->scope; s != NULL && !s->captured; s = s->parent)
		s->captured = true;
	*m = (struct hth_jmacro){.def = def, .scope = x->scope};
	*out = (struct hth_jval){.kind = HTH_JV_MACRO, .macro = m};
	return true;
}

static bool named(const struct hth_jkw *kw, const struct hth_jname *name)
{
	return kw->bytes == name->bytes && memcmp(kw->name, name->text, name->bytes) == 0;
}

/* Parameters of a macro: positional, then by name, then defaults, which see the parameters before them. */
static bool bind_params(struct hth_jx *x, const struct hth_jmacro_def *def, const struct hth_jargs *args, bool *used)
{
	static const char hint[] = "a parameter of this macro was not provided";
	for (size_t i = 0; i < def->n_args; i++) {
		struct hth_jval v = {.kind = HTH_JV_MISSING};
		if (i < args->n_pos)
			v = args->pos[i];
		for (size_t k = 0; k < args->n_kw && v.kind == HTH_JV_MISSING; k++) {
			if (!named(&args->kw[k], def->args[i]))
				continue;
			v = args->kw[k].value;
			used[k] = true;
		}
		size_t first_default = def->n_args - def->n_defaults;
		if (v.kind == HTH_JV_MISSING &&
		    !(i >= first_default ? hth_jeval(x, def->defaults[i - first_default], &v)
					 : hth_jv_undef(x, HTH_JU_HINT, 0, hint, sizeof hint - 1, &v)))
			return false;
		if (!hth_jscope_set(x, x->scope, def->args[i], v))
			return false;
	}
	return true;
}

/* caller, kwargs and varargs, for a macro that asks for them; leftovers are errors for others. */
static bool bind_special(struct hth_jx *x, const struct hth_jmacro_def *def, const struct hth_jargs *args, bool *used)
{
	struct hth_jdict *rest = hth_jdict_new(x, 0);
	struct hth_jlist *more = hth_jlist_new(x, 0);
	struct hth_jval caller;
	char name[64];
	if (rest == NULL || more == NULL || !hth_jv_undef(x, HTH_JU_HINT, 0, "No caller defined", 17, &caller))
		return false;
	for (size_t k = 0; k < args->n_kw; k++) {
		if (used[k])
			continue;
		struct hth_jstr *key = hth_jstr_ref(x, args->kw[k].name, args->kw[k].bytes);
		if (def->uses_caller && named(&args->kw[k], def->caller_name))
			caller = args->kw[k].value;
		else if (!def->uses_kwargs)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "macro '%s' takes no keyword argument '%s'",
					   def->name == NULL ? "caller" : def->name->text,
					   hth_quote(name, sizeof name, args->kw[k].name, args->kw[k].bytes));
		else if (key == NULL || !hth_jdict_set(x, rest, hth_jv_str(key), args->kw[k].value))
			return false;
	}
	for (size_t i = def->n_args; i < args->n_pos; i++)
		if (!hth_jlist_push(x, more, args->pos[i]))
			return false;
	if (more->n > 0 && !def->uses_varargs)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "macro '%s' takes not more than %zu argument(s)",
				   def->name == NULL ? "caller" : def->name->text, def->n_args);
	struct hth_jval kwargs = {.kind = HTH_JV_DICT, .d = rest};
	bool has_caller_arg = hth_jscope_find(x->scope, def->caller_name) != NULL;
	return (!def->uses_caller || has_caller_arg || hth_jscope_set(x, x->scope, def->caller_name, caller)) &&
	       (!def->uses_kwargs || hth_jscope_set(x, x->scope, def->kwargs_name, kwargs)) &&
	       (!def->uses_varargs || hth_jscope_set(x, x->scope, def->varargs_name, hth_jv_list(more, HTH_JV_TUPLE)));
}

bool hth_jexec_macro(struct hth_jx *x, struct hth_jmacro *m, const struct hth_jargs *args, struct hth_jval *out)
{
	struct hth_jscope *before = x->scope, *s = hth_jscope_new(x, m->scope);
	bool *used = hth_jx_array(x, args->n_kw + 1, sizeof *used);
	if (s == NULL || used == NULL || !hth_jx_enter(x))
		return false;
	memset(used, 0, args->n_kw + 1);
	x->scope = s;
	bool ok = bind_params(x, m->def, args, used) && bind_special(x, m->def, args, used) &&
		  hth_jexec_capture(x, &m->def->body, s, out);
	x->scope = before;
	x->depth--;
	return ok;
}

/* A body with a scope of its own as a string, through the filters of `expr` if there are any. */
static bool capture_filtered(struct hth_jx *x, const struct hth_jbody *body, const struct hth_jnode *expr,
			     struct hth_jval *out)
{
	struct hth_jscope *s = hth_jscope_new(x, x->scope);
	struct hth_jval before = x->hole;
	if (s == NULL || !hth_jexec_capture(x, body, s, out))
		return false;
	if (expr == NULL || x->flow != HTH_JF_NORMAL)
		return true;
	x->hole = *out;
	bool ok = hth_jeval(x, expr, out);
	x->hole = before;
	return ok;
}

static bool exec_with(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jscope *before = x->scope, *s = hth_jscope_new(x, before);
	if (s == NULL)
		return false;
	for (size_t i = 0; i < n->n_with; i++) { /* values see the names outside */
		struct hth_jval v;
		if (!hth_jeval(x, n->values[i], &v))
			return false;
		x->scope = s;
		bool ok = assign(x, n->targets[i], v);
		x->scope = before;
		if (!ok)
			return false;
	}
	x->scope = s;
	bool ok = hth_jexec(x, n->with_body);
	x->scope = before;
	return ok;
}

/* All bytes that the block writes carry its number, the template's own too. */
static bool exec_generation(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jval v;
	struct hth_jscope *s = hth_jscope_new(x, x->scope);
	uint32_t gen = ++x->n_gen;
	size_t at = 0;
	if (s == NULL || !hth_jexec_capture(x, &n->body, s, &v) || !hth_jstr_flat(x, v.s))
		return false;
	for (size_t i = 0; i <= v.s->n_runs; i++) {
		const struct hth_jrun *r = i < v.s->n_runs ? &v.s->runs[i] : NULL;
		size_t start = r != NULL ? r->start : v.s->bytes;
		if (!hth_jsb_add(x->out, v.s->data + at, start - at, 0, gen) ||
		    (r != NULL && !hth_jsb_add(x->out, v.s->data + start, r->end - start, r->origin, gen)))
			return false;
		at = r != NULL ? r->end : start;
	}
	return true;
}

static bool exec_call_block(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jval caller, v;
	return make_macro(x, n->macro, &caller) && hth_jeval_call(x, n->macro->call, &caller, &v) && print(x, v);
}

static bool exec_autoescape(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jval v;
	bool before = x->autoescape, truth;
	struct hth_jscope *outer = x->scope;
	if (!hth_jeval(x, n->expr, &v) || !hth_jv_truth(x, v, &truth) || (x->scope = hth_jscope_new(x, outer)) == NULL)
		return false;
	x->autoescape = truth;
	bool ok = hth_jexec(x, &n->body);
	x->autoescape = before;
	x->scope = outer;
	return ok;
}

static bool exec_block(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jval v;
	struct hth_jscope *s = hth_jscope_new(x, x->root); /* a block sees the template's names, not a loop's */
	return s != NULL && hth_jexec_capture(x, &n->body, s, &v) && hth_jsb_add_str(x->out, v.s);
}

static bool statement(struct hth_jx *x, const struct hth_jnode *n)
{
	struct hth_jval v;
	x->at = n;
	switch ((enum hth_jnode_kind)n->kind) {
	case HTH_JN_DATA:
		return hth_jsb_add(x->out, n->value.s->data, n->value.s->bytes, 0, 0);
	case HTH_JN_PRINT:
		return hth_jeval(x, n->a, &v) && print(x, v);
	case HTH_JN_IF:
		return exec_if(x, n->cond);
	case HTH_JN_FOR:
		return hth_jeval(x, n->loop->iter, &v) && hth_jexec_loop(x, n, v, 0, x->scope);
	case HTH_JN_SET:
		return hth_jeval(x, n->expr, &v) && assign(x, n->target, v);
	case HTH_JN_SETBLOCK:
		return capture_filtered(x, &n->body, n->expr, &v) &&
		       (x->flow != HTH_JF_NORMAL || assign(x, n->target, v));
	case HTH_JN_FILTERBLOCK:
		return capture_filtered(x, &n->body, n->expr, &v) && (x->flow != HTH_JF_NORMAL || print(x, v));
	case HTH_JN_MACRO:
		return make_macro(x, n->macro, &v) && hth_jscope_set(x, x->scope, n->macro->name, v);
	case HTH_JN_CALLBLOCK:
		return exec_call_block(x, n);
	case HTH_JN_WITH:
		return exec_with(x, n);
	case HTH_JN_BLOCK:
		return exec_block(x, n);
	case HTH_JN_GENERATION:
		return exec_generation(x, n);
	case HTH_JN_AUTOESCAPE:
		return exec_autoescape(x, n);
	default:
		x->flow = n->kind == HTH_JN_BREAK ? HTH_JF_BREAK : HTH_JF_CONTINUE;
		return true;
	}
}

bool hth_jexec(struct hth_jx *x, const struct hth_jbody *body)
{
	bool ok = true;
	if (body->n == 0)
		return true;
	if (!hth_jx_enter(x))
		return false;
	for (size_t i = 0; i < body->n && ok && x->flow == HTH_JF_NORMAL; i++)
		ok = hth_jx_charge(x, 1) && statement(x, body->items[i]);
	x->depth--;
	return ok;
}
