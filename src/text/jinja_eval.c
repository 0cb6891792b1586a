/* Evaluating expressions. Every node costs a step and a level of depth; chains are loops, not recursion. */
#include "text/jinja_int.h"

static bool eval_name(struct hth_jx *x, const struct hth_jname *name, struct hth_jval *out)
{
	for (struct hth_jscope *s = x->scope; s != NULL; s = s->parent) {
		struct hth_jval *v = hth_jscope_find(s, name);
		if (v != NULL) {
			*out = *v;
			return hth_jx_charge(x, s->n / 16);
		}
	}
	struct hth_jval *v = hth_jdict_get(x->context, name->text, name->bytes);
	if (v != NULL) {
		*out = *v;
		return true;
	}
	const struct hth_jfunc *f = hth_jinja_global(name->text, name->bytes);
	if (f != NULL) {
		*out = (struct hth_jval){.kind = HTH_JV_FUNC, .func = f};
		return true;
	}
	if (name->bytes == 4 && memcmp(name->text, "self", 4) == 0) {
		*out = (struct hth_jval){.kind = HTH_JV_SELF};
		return true;
	}
	return hth_jv_undef(x, HTH_JU_NAME, 0, name->text, name->bytes, out);
}

static bool eval_list(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, n->n);
	for (size_t i = 0; l != NULL && i < n->n; i++) {
		struct hth_jval v;
		if (!hth_jeval(x, n->items[i], &v) || !hth_jlist_push(x, l, v))
			return false;
	}
	*out = hth_jv_list(l, n->kind == HTH_JN_TUPLE ? HTH_JV_TUPLE : HTH_JV_LIST);
	return l != NULL;
}

static bool eval_dict(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jdict *d = hth_jdict_new(x, n->n / 2);
	for (size_t i = 0; d != NULL && i < n->n; i += 2) {
		struct hth_jval k, v;
		if (!hth_jeval(x, n->items[i], &k) || !hth_jeval(x, n->items[i + 1], &v) || !hth_jdict_set(x, d, k, v))
			return false;
	}
	*out = (struct hth_jval){.kind = HTH_JV_DICT, .d = d};
	return d != NULL;
}

static bool eval_arith(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval a, b;
	if (!hth_jeval(x, n->items[0], &a))
		return false;
	for (size_t i = 1; i < n->n; i++) {
		if (!hth_jeval(x, n->items[i], &b))
			return false;
		x->at = n;
		if (!hth_jop_arith(x, (enum hth_jop)n->ops[i], a, b, &a))
			return false;
	}
	*out = a;
	return true;
}

/* a ~ b: str() of each. Under autoescape a Markup. */
static bool eval_concat(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jstr *all = NULL, *s;
	for (size_t i = 0; i < n->n; i++) {
		struct hth_jval v;
		if (!hth_jeval(x, n->items[i], &v) || !hth_jv_str_of(x, v, &s) ||
		    (x->autoescape && (s = hth_jstr_escape(x, s)) == NULL) ||
		    (all = all == NULL ? s : hth_jstr_concat(x, all, s)) == NULL)
			return false;
	}
	*out = hth_jv_str(hth_jstr_mark(x, all, x->autoescape));
	return out->s != NULL;
}

static bool eval_logic(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	bool truth;
	for (size_t i = 0; i < n->n; i++) {
		if (!hth_jeval(x, n->items[i], out))
			return false;
		if (i + 1 == n->n)
			break;
		if (!hth_jv_truth(x, *out, &truth))
			return false;
		if (truth == (n->kind == HTH_JN_OR))
			break;
	}
	return true;
}

static bool eval_compare(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval a, b;
	bool holds = true;
	if (!hth_jeval(x, n->items[0], &a))
		return false;
	for (size_t i = 1; i < n->n && holds; i++) {
		if (!hth_jeval(x, n->items[i], &b))
			return false;
		x->at = n;
		if (!hth_jop_compare(x, (enum hth_jop)n->ops[i], a, b, &holds))
			return false;
		a = b;
	}
	*out = hth_jv_bool(holds);
	return true;
}

static bool eval_unary(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval v;
	bool truth;
	if (!hth_jeval(x, n->a, &v))
		return false;
	x->at = n;
	if (n->kind != HTH_JN_NOT)
		return hth_jop_unary(x, n->kind == HTH_JN_NEG, v, out);
	if (!hth_jv_truth(x, v, &truth))
		return false;
	*out = hth_jv_bool(!truth);
	return true;
}

static bool eval_cond(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	bool truth;
	if (!hth_jeval(x, n->a, out) || !hth_jv_truth(x, *out, &truth))
		return false;
	if (truth)
		return hth_jeval(x, n->b, out);
	if (n->c != NULL)
		return hth_jeval(x, n->c, out);
	static const char hint[] = "the inline if-expression evaluated to false and no else section was defined.";
	return hth_jv_undef(x, HTH_JU_HINT, 0, hint, sizeof hint - 1, out);
}

static bool eval_item(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval v, key;
	if (!hth_jeval(x, n->a, &v))
		return false;
	if (n->b->kind != HTH_JN_SLICE) {
		if (!hth_jeval(x, n->b, &key))
			return false;
		x->at = n;
		return hth_jv_getitem(x, v, key, out);
	}
	const struct hth_jnode *parts[3] = {n->b->a, n->b->b, n->b->c};
	struct hth_jval values[3];
	for (int i = 0; i < 3; i++) {
		values[i] = (struct hth_jval){.kind = HTH_JV_MISSING};
		if (parts[i] != NULL && !hth_jeval(x, parts[i], &values[i]))
			return false;
	}
	x->at = n;
	return hth_jv_slice(x, v, values, out);
}

/* *args appended to the positional ones. */
static bool add_dyn_pos(struct hth_jx *x, const struct hth_jnode *n, struct hth_jargs *args)
{
	struct hth_jval v, *items;
	size_t k;
	if (!hth_jeval(x, n, &v) || !hth_jv_items(x, v, &items, &k))
		return false;
	struct hth_jval *grown = hth_jx_array(x, args->n_pos + k + 1, sizeof *grown);
	if (grown == NULL)
		return false;
	if (args->n_pos > 0)
		memcpy(grown, args->pos, args->n_pos * sizeof *grown);
	if (k > 0)
		memcpy(grown + args->n_pos, items, k * sizeof *grown);
	args->pos = grown;
	args->n_pos += k;
	return true;
}

/* **kwargs, and the caller of a call block. */
static bool add_dyn_kw(struct hth_jx *x, const struct hth_jnode *n, const struct hth_jval *caller,
		       struct hth_jargs *args)
{
	struct hth_jval v = {.kind = HTH_JV_MISSING};
	if (n != NULL && !hth_jeval(x, n, &v))
		return false;
	if (n != NULL && v.kind != HTH_JV_DICT)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "argument after ** must be a mapping, not %s", hth_jv_type(v));
	size_t k = n == NULL ? 0 : v.d->n;
	struct hth_jkw *grown = hth_jx_array(x, args->n_kw + k + 1, sizeof *grown);
	if (grown == NULL)
		return false;
	if (args->n_kw > 0)
		memcpy(grown, args->kw, args->n_kw * sizeof *grown);
	args->kw = grown;
	for (size_t i = 0; i < k; i++) {
		struct hth_jval key = v.d->items[i].key;
		if (key.kind != HTH_JV_STR)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "keywords must be strings");
		args->kw[args->n_kw++] = (struct hth_jkw){key.s->data, key.s->bytes, v.d->items[i].value};
	}
	if (caller != NULL)
		args->kw[args->n_kw++] = (struct hth_jkw){"caller", 6, *caller};
	return true;
}

static bool eval_args(struct hth_jx *x, const struct hth_jcall *c, const struct hth_jval *caller,
		      struct hth_jargs *args)
{
	*args = (struct hth_jargs){0};
	if (c == NULL)
		return true;
	args->pos = hth_jx_array(x, c->n_pos + 1, sizeof *args->pos);
	args->kw = hth_jx_array(x, c->n_kw + 1, sizeof *args->kw);
	if (args->pos == NULL || args->kw == NULL)
		return false;
	for (; args->n_pos < c->n_pos; args->n_pos++)
		if (!hth_jeval(x, c->pos[args->n_pos], &args->pos[args->n_pos]))
			return false;
	for (; args->n_kw < c->n_kw; args->n_kw++) {
		struct hth_jkw *kw = &args->kw[args->n_kw];
		kw->name = c->kw[args->n_kw].name->text;
		kw->bytes = c->kw[args->n_kw].name->bytes;
		if (!hth_jeval(x, c->kw[args->n_kw].value, &kw->value))
			return false;
	}
	return (c->dyn_pos == NULL || add_dyn_pos(x, c->dyn_pos, args)) &&
	       ((c->dyn_kw == NULL && caller == NULL) || add_dyn_kw(x, c->dyn_kw, caller, args));
}

bool hth_jeval_call(struct hth_jx *x, const struct hth_jnode *n, const struct hth_jval *caller, struct hth_jval *out)
{
	struct hth_jval fn;
	struct hth_jargs args;
	if (!hth_jeval(x, n->on, &fn) || !eval_args(x, n->call, caller, &args))
		return false;
	x->at = n;
	return hth_jcall_value(x, fn, &args, out);
}

static bool eval_filter(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval v;
	struct hth_jargs args;
	bool filter = n->kind == HTH_JN_FILTER;
	char name[64];
	if (!hth_jeval(x, n->on, &v) || !eval_args(x, n->call, NULL, &args))
		return false;
	x->at = n;
	if (n->fn == NULL)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "no %s named '%s'", filter ? "filter" : "test",
				   hth_quote(name, sizeof name, n->fn_name->text, n->fn_name->bytes));
	return hth_jcall_builtin(x, n->fn, filter ? "filter" : "test", v, &args, out);
}

static bool eval_inner(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	struct hth_jval v;
	switch ((enum hth_jnode_kind)n->kind) {
	case HTH_JN_CONST:
		*out = n->value;
		return true;
	case HTH_JN_NAME:
		return eval_name(x, n->name, out);
	case HTH_JN_LIST:
	case HTH_JN_TUPLE:
		return eval_list(x, n, out);
	case HTH_JN_DICT:
		return eval_dict(x, n, out);
	case HTH_JN_ARITH:
		return eval_arith(x, n, out);
	case HTH_JN_CONCAT:
		return eval_concat(x, n, out);
	case HTH_JN_AND:
	case HTH_JN_OR:
		return eval_logic(x, n, out);
	case HTH_JN_COMPARE:
		return eval_compare(x, n, out);
	case HTH_JN_NOT:
	case HTH_JN_NEG:
	case HTH_JN_POS:
		return eval_unary(x, n, out);
	case HTH_JN_COND:
		return eval_cond(x, n, out);
	case HTH_JN_ATTR:
		if (!hth_jeval(x, n->a, &v))
			return false;
		x->at = n;
		return hth_jv_getattr(x, v, n->attr->text, n->attr->bytes, out);
	case HTH_JN_ITEM:
		return eval_item(x, n, out);
	case HTH_JN_CALL:
		return hth_jeval_call(x, n, NULL, out);
	case HTH_JN_FILTER:
	case HTH_JN_TEST:
		return eval_filter(x, n, out);
	case HTH_JN_HOLE:
		*out = x->hole;
		return true;
	default:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "a slice or statement stands where a value is needed");
	}
}

bool hth_jeval(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out)
{
	x->at = n;
	if (!hth_jx_enter(x))
		return false;
	bool ok = eval_inner(x, n, out);
	x->depth--;
	return ok;
}
