/* Values of the Jinja interpreter: making them, Python's truth, equality, order, length and iteration.
 * Attributes, items and slices are in jinja_access.c, arithmetic in jinja_ops.c, printing in jinja_print.c. */
#include "text/jinja_int.h"

struct hth_jval hth_jv_none(void)
{
	return (struct hth_jval){.kind = HTH_JV_NONE};
}

struct hth_jval hth_jv_bool(bool b)
{
	return (struct hth_jval){.kind = HTH_JV_BOOL, .b = b};
}

struct hth_jval hth_jv_int(int64_t i)
{
	return (struct hth_jval){.kind = HTH_JV_INT, .i = i};
}

struct hth_jval hth_jv_float(double f)
{
	return (struct hth_jval){.kind = HTH_JV_FLOAT, .f = f};
}

struct hth_jval hth_jv_str(struct hth_jstr *s)
{
	return (struct hth_jval){.kind = HTH_JV_STR, .s = s};
}

struct hth_jval hth_jv_list(struct hth_jlist *l, uint8_t kind)
{
	return (struct hth_jval){.kind = kind, .l = l};
}

bool hth_jv_text(struct hth_jx *x, const char *text, struct hth_jval *out)
{
	struct hth_jstr *s = hth_jstr_ref(x, text, strlen(text));
	*out = hth_jv_str(s);
	return s != NULL;
}

bool hth_jv_undef(struct hth_jx *x, enum hth_jundef_how how, uint8_t of, const char *text, size_t bytes,
		  struct hth_jval *out)
{
	struct hth_jundef *u = hth_jx_alloc(x, sizeof *u);
	if (u == NULL)
		return false;
	*u = (struct hth_jundef){.how = how, .of = of, .text = text, .bytes = bytes};
	*out = (struct hth_jval){.kind = HTH_JV_UNDEF, .u = u};
	return true;
}

bool hth_jv_fail_undef(struct hth_jx *x, struct hth_jval v)
{
	char name[80];
	const struct hth_jundef *u = v.u;
	const char *of = hth_jv_type((struct hth_jval){.kind = u->of});
	hth_quote(name, sizeof name, u->text, u->bytes);
	switch (u->how) {
	case HTH_JU_NAME:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s' is undefined", name);
	case HTH_JU_ATTR:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s object' has no attribute '%s'", of, name);
	case HTH_JU_ITEM:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%s object has no element %s", of, name);
	case HTH_JU_UNSAFE:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "access to attribute '%s' of '%s' object is unsafe", name, of);
	default:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "%s", name);
	}
}

const char *hth_jv_type(struct hth_jval v)
{
	static const char *const names[] = {
		[HTH_JV_MISSING] = "missing",
		[HTH_JV_UNDEF] = "Undefined",
		[HTH_JV_NONE] = "NoneType",
		[HTH_JV_BOOL] = "bool",
		[HTH_JV_INT] = "int",
		[HTH_JV_BIG] = "int",
		[HTH_JV_FLOAT] = "float",
		[HTH_JV_STR] = "str",
		[HTH_JV_BYTES] = "bytes",
		[HTH_JV_LIST] = "list",
		[HTH_JV_TUPLE] = "tuple",
		[HTH_JV_DICT] = "dict",
		[HTH_JV_VIEW] = "dict view",
		[HTH_JV_GEN] = "generator",
		[HTH_JV_RANGE] = "range",
		[HTH_JV_NS] = "Namespace",
		[HTH_JV_LOOP] = "LoopContext",
		[HTH_JV_MACRO] = "Macro",
		[HTH_JV_FUNC] = "function",
		[HTH_JV_METHOD] = "method",
		[HTH_JV_CYCLER] = "Cycler",
		[HTH_JV_JOINER] = "Joiner",
		[HTH_JV_SELF] = "TemplateReference",
		[HTH_JV_BLOCK] = "BlockReference",
	};
	return names[v.kind];
}

bool hth_jv_number(struct hth_jval v, double *out)
{
	if (v.kind == HTH_JV_FLOAT)
		*out = v.f;
	else if (v.kind == HTH_JV_INT)
		*out = (double)v.i;
	else if (v.kind == HTH_JV_BOOL)
		*out = v.b;
	else
		return false;
	return true;
}

bool hth_jv_int_arg(struct hth_jx *x, struct hth_jval v, const char *what, int64_t *out)
{
	if (v.kind == HTH_JV_INT || v.kind == HTH_JV_BOOL) {
		*out = v.kind == HTH_JV_INT ? v.i : v.b;
		return true;
	}
	if (v.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, v);
	return hth_jx_fail(x, HTH_ERR_FORMAT, "%s: expected an integer, found a value of type '%s'", what,
			   hth_jv_type(v));
}

struct hth_jlist *hth_jlist_new(struct hth_jx *x, size_t cap)
{
	struct hth_jlist *l = hth_jx_alloc(x, sizeof *l);
	if (l == NULL)
		return NULL;
	*l = (struct hth_jlist){.cap = cap};
	if (cap > 0 && (l->items = hth_jx_array(x, cap, sizeof *l->items)) == NULL)
		return NULL;
	return l;
}

bool hth_jlist_push(struct hth_jx *x, struct hth_jlist *l, struct hth_jval v)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 4 : 2 * l->cap;
		struct hth_jval *grown = hth_jx_array(x, cap, sizeof *grown);
		if (grown == NULL)
			return false;
		if (l->n > 0)
			memcpy(grown, l->items, l->n * sizeof *grown);
		l->items = grown;
		l->cap = cap;
	}
	l->items[l->n++] = v;
	return hth_jx_charge(x, 1);
}

bool hth_jv_gen(struct hth_jx *x, struct hth_jlist *l, struct hth_jval *out)
{
	struct hth_jgen *g = hth_jx_alloc(x, sizeof *g);
	if (g == NULL)
		return false;
	*g = (struct hth_jgen){.items = l->items, .n = l->n};
	*out = (struct hth_jval){.kind = HTH_JV_GEN, .g = g};
	return true;
}

bool hth_jv_pair(struct hth_jx *x, struct hth_jval a, struct hth_jval b, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 2);
	if (l == NULL || !hth_jlist_push(x, l, a) || !hth_jlist_push(x, l, b))
		return false;
	*out = hth_jv_list(l, HTH_JV_TUPLE);
	return true;
}

bool hth_jv_truth(struct hth_jx *x, struct hth_jval v, bool *out)
{
	size_t n;
	switch (v.kind) {
	case HTH_JV_UNDEF:
	case HTH_JV_NONE:
		*out = false;
		return true;
	case HTH_JV_BOOL:
		*out = v.b;
		return true;
	case HTH_JV_INT:
		*out = v.i != 0;
		return true;
	case HTH_JV_FLOAT:
		*out = v.f != 0;
		return true;
	case HTH_JV_STR:
	case HTH_JV_BYTES:
		*out = v.s->bytes > 0;
		return true;
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
	case HTH_JV_DICT:
	case HTH_JV_VIEW:
	case HTH_JV_RANGE:
	case HTH_JV_LOOP:
		if (!hth_jv_len(x, v, &n))
			return false;
		*out = n > 0;
		return true;
	default:
		*out = true; /* a generator too, even an empty one */
		return true;
	}
}

bool hth_jv_len(struct hth_jx *x, struct hth_jval v, size_t *out)
{
	switch (v.kind) {
	case HTH_JV_STR:
		if (!hth_jstr_flat(x, v.s))
			return false;
		*out = hth_jstr_chars(x, v.s);
		return true;
	case HTH_JV_BYTES:
		*out = v.s->bytes;
		return true;
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
		*out = v.l->n;
		return true;
	case HTH_JV_DICT:
		*out = v.d->n;
		return true;
	case HTH_JV_VIEW:
		*out = v.view->d->n;
		return true;
	case HTH_JV_RANGE:
		*out = (size_t)v.r->n;
		return true;
	case HTH_JV_LOOP:
		*out = v.loop->n;
		return true;
	case HTH_JV_UNDEF:
		*out = 0;
		return true;
	default:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "object of type '%s' has no len()", hth_jv_type(v));
	}
}

static bool enter_value(struct hth_jx *x)
{
	if (x->value_depth >= HTH_JINJA_VALUE_DEPTH)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a value nested deeper than %d", HTH_JINJA_VALUE_DEPTH);
	x->value_depth++;
	return hth_jx_charge(x, 1);
}

static bool lists_equal(struct hth_jx *x, const struct hth_jlist *a, const struct hth_jlist *b, bool *out)
{
	*out = a->n == b->n;
	if (!*out || !enter_value(x))
		return x->status == HTH_OK;
	for (size_t i = 0; i < a->n && *out; i++)
		if (!hth_jv_equal(x, a->items[i], b->items[i], out))
			return false;
	x->value_depth--;
	return true;
}

static bool dicts_equal(struct hth_jx *x, const struct hth_jdict *a, const struct hth_jdict *b, bool *out)
{
	*out = a->n == b->n;
	if (!*out || !enter_value(x))
		return x->status == HTH_OK;
	for (size_t i = 0; i < a->n && *out; i++) {
		struct hth_jval *other;
		if (!hth_jdict_find(x, b, a->items[i].key, &other))
			return false;
		*out = other != NULL;
		if (*out && !hth_jv_equal(x, a->items[i].value, *other, out))
			return false;
	}
	x->value_depth--;
	return true;
}

/* Same kind, neither numbers nor undefined. */
static bool same_kind_equal(struct hth_jx *x, struct hth_jval a, struct hth_jval b, bool *out)
{
	switch (a.kind) {
	case HTH_JV_NONE:
	case HTH_JV_UNDEF:
		*out = true;
		return true;
	case HTH_JV_STR:
	case HTH_JV_BYTES:
	case HTH_JV_BIG:
		if (!hth_jstr_flat(x, a.s) || !hth_jstr_flat(x, b.s))
			return false;
		*out = hth_jstr_equal(a.s, b.s);
		return hth_jx_charge(x, a.s->bytes / 64);
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
		return lists_equal(x, a.l, b.l, out);
	case HTH_JV_DICT:
		return dicts_equal(x, a.d, b.d, out);
	case HTH_JV_RANGE:
		*out = a.r->n == b.r->n && (a.r->n == 0 || a.r->start == b.r->start) &&
		       (a.r->n <= 1 || a.r->step == b.r->step);
		return true;
	case HTH_JV_VIEW:
		*out = a.view == b.view ||
		       (a.view->d == b.view->d && a.view->what == b.view->what && a.view->what != 'v');
		return true;
	default:
		*out = a.d == b.d; /* identity: all pointers share the union */
		return true;
	}
}

bool hth_jv_equal(struct hth_jx *x, struct hth_jval a, struct hth_jval b, bool *out)
{
	double fa, fb;
	if (a.kind == HTH_JV_INT && b.kind == HTH_JV_INT) {
		*out = a.i == b.i;
		return true;
	}
	if (hth_jv_number(a, &fa) && hth_jv_number(b, &fb)) {
		*out = fa == fb;
		return true;
	}
	*out = false;
	return a.kind != b.kind || same_kind_equal(x, a, b, out);
}

static int order(size_t a, size_t b)
{
	return a < b ? -1 : a > b;
}

static bool compare_lists(struct hth_jx *x, const char *op, const struct hth_jlist *a, const struct hth_jlist *b,
			  int *out)
{
	bool equal = true;
	if (!enter_value(x))
		return false;
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		if (!hth_jv_equal(x, a->items[i], b->items[i], &equal))
			return false;
		if (!equal) {
			bool ok = hth_jv_compare(x, op, a->items[i], b->items[i], out);
			x->value_depth--;
			return ok;
		}
	}
	x->value_depth--;
	*out = order(a->n, b->n);
	return true;
}

/* -1, 0 or 1; 2 for NaN. */
bool hth_jv_compare(struct hth_jx *x, const char *op, struct hth_jval a, struct hth_jval b, int *out)
{
	double fa, fb;
	if (a.kind == HTH_JV_UNDEF || b.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, a.kind == HTH_JV_UNDEF ? a : b);
	if (a.kind == HTH_JV_INT && b.kind == HTH_JV_INT) {
		*out = a.i < b.i ? -1 : a.i > b.i;
		return true;
	}
	if (hth_jv_number(a, &fa) && hth_jv_number(b, &fb)) {
		*out = fa < fb ? -1 : fa > fb ? 1 : fa == fb ? 0 : 2;
		return true;
	}
	if (a.kind == HTH_JV_STR && b.kind == HTH_JV_STR) {
		if (!hth_jstr_flat(x, a.s) || !hth_jstr_flat(x, b.s))
			return false;
		size_t n = a.s->bytes < b.s->bytes ? a.s->bytes : b.s->bytes;
		int c = memcmp(a.s->data, b.s->data, n); /* UTF-8 keeps the order of code points */
		*out = c < 0 ? -1 : c > 0 ? 1 : order(a.s->bytes, b.s->bytes);
		return hth_jx_charge(x, n / 64);
	}
	if (a.kind == b.kind && (a.kind == HTH_JV_LIST || a.kind == HTH_JV_TUPLE))
		return compare_lists(x, op, a.l, b.l, out);
	return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s' not supported between instances of '%s' and '%s'", op,
			   hth_jv_type(a), hth_jv_type(b));
}

static bool chars_of(struct hth_jx *x, struct hth_jstr *s, struct hth_jlist *l)
{
	if (!hth_jstr_flat(x, s))
		return false;
	struct hth_jcursor c = {.s = s};
	while (hth_jcursor_next(&c)) {
		struct hth_jstr *one = hth_jstr_mark(x, hth_jstr_slice(x, s, c.start, c.at), false);
		if (one == NULL || !hth_jlist_push(x, l, hth_jv_str(one)))
			return false;
	}
	return true;
}

static bool view_items(struct hth_jx *x, const struct hth_jdict *d, char what, struct hth_jlist *l)
{
	for (size_t i = 0; i < d->n; i++) {
		struct hth_jval v = what == 'k' ? d->items[i].key : d->items[i].value;
		if (what == 'i' && !hth_jv_pair(x, d->items[i].key, d->items[i].value, &v))
			return false;
		if (!hth_jlist_push(x, l, v))
			return false;
	}
	return true;
}

bool hth_jv_items(struct hth_jx *x, struct hth_jval v, struct hth_jval **items, size_t *n)
{
	struct hth_jlist l = {0};
	bool ok = true;
	switch (v.kind) {
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
		*items = v.l->items;
		*n = v.l->n;
		return true;
	case HTH_JV_GEN:
		*items = v.g->items == NULL ? NULL : v.g->items + v.g->at;
		*n = v.g->n - v.g->at;
		v.g->at = v.g->n;
		return true;
	case HTH_JV_CYCLER:
		*items = v.cycler->items.items;
		*n = v.cycler->items.n;
		return true;
	case HTH_JV_UNDEF:
		break;
	case HTH_JV_STR:
		ok = chars_of(x, v.s, &l);
		break;
	case HTH_JV_DICT:
		ok = view_items(x, v.d, 'k', &l);
		break;
	case HTH_JV_VIEW:
		ok = view_items(x, v.view->d, v.view->what, &l);
		break;
	case HTH_JV_RANGE:
		for (int64_t i = 0; i < v.r->n && ok; i++)
			ok = hth_jlist_push(x, &l, hth_jv_int(v.r->start + i * v.r->step));
		break;
	default:
		return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s' object is not iterable", hth_jv_type(v));
	}
	*items = l.items;
	*n = l.n;
	return ok;
}

bool hth_jv_in(struct hth_jx *x, struct hth_jval item, struct hth_jval seq, bool *out)
{
	struct hth_jval *items, *found;
	size_t n;
	*out = false;
	if (seq.kind == HTH_JV_STR) {
		if (item.kind != HTH_JV_STR)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "'in <string>' requires string as left operand, not %s",
					   hth_jv_type(item));
		if (!hth_jstr_flat(x, seq.s) || !hth_jstr_flat(x, item.s) || !hth_jx_charge(x, seq.s->bytes / 64))
			return false;
		*out = hth_jstr_find(seq.s, 0, seq.s->bytes, item.s, false) != HTH_JINJA_NONE;
		return true;
	}
	if (seq.kind == HTH_JV_DICT || (seq.kind == HTH_JV_VIEW && seq.view->what == 'k')) {
		if (!hth_jdict_find(x, seq.kind == HTH_JV_DICT ? seq.d : seq.view->d, item, &found))
			return false;
		*out = found != NULL;
		return true;
	}
	if (!hth_jv_items(x, seq, &items, &n))
		return false;
	for (size_t i = 0; i < n && !*out; i++)
		if (!hth_jx_charge(x, 1) || !hth_jv_equal(x, items[i], item, out))
			return false;
	return true;
}
