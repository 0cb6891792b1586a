/* Attributes, items and slices, as jinja2's sandbox looks them up: x.name prefers an attribute to an item, x['name']
 * an item to an attribute; what would change a list or dict, and names that begin with '_', are refused when used. */
#include "text/jinja_int.h"

static bool name_is(const char *name, size_t bytes, const char *want)
{
	return strlen(want) == bytes && memcmp(name, want, bytes) == 0;
}

/* loop.index and the others; MISSING when there is no such attribute. */
static bool loop_attr(struct hth_jx *x, struct hth_jloop *l, const char *name, size_t bytes, struct hth_jval *out)
{
	const struct {
		const char *name;
		size_t value;
	} numbers[] = {
		{"index", l->index0 + 1}, {"index0", l->index0},    {"revindex", l->n - l->index0},
		{"length", l->n},         {"depth", l->depth0 + 1}, {"revindex0", l->n - l->index0 - 1},
		{"depth0", l->depth0},
	};
	out->kind = HTH_JV_MISSING;
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (name_is(name, bytes, numbers[i].name))
			*out = hth_jv_int((int64_t)numbers[i].value);
	if (name_is(name, bytes, "first"))
		*out = hth_jv_bool(l->index0 == 0);
	if (name_is(name, bytes, "last"))
		*out = hth_jv_bool(l->index0 + 1 == l->n);
	bool prev = name_is(name, bytes, "previtem");
	if (!prev && !name_is(name, bytes, "nextitem"))
		return true;
	if (prev ? l->index0 == 0 : l->index0 + 1 >= l->n)
		return hth_jv_undef(x, HTH_JU_HINT, 0, prev ? "there is no previous item" : "there is no next item",
				    prev ? 25 : 21, out);
	size_t i = prev ? l->index0 - 1 : l->index0 + 1;
	*out = l->items != NULL ? l->items[i] : hth_jv_int(l->range->start + (int64_t)i * l->range->step);
	return true;
}

static bool macro_attr(struct hth_jx *x, const struct hth_jmacro *m, const char *name, size_t bytes,
		       struct hth_jval *out)
{
	if (name_is(name, bytes, "name")) {
		const struct hth_jname *n = m->def->name;
		struct hth_jstr *s = n == NULL ? NULL : hth_jstr_ref(x, n->text, n->bytes);
		*out = n == NULL ? hth_jv_none() : hth_jv_str(s);
		return n == NULL || s != NULL;
	}
	if (name_is(name, bytes, "arguments")) {
		struct hth_jlist *l = hth_jlist_new(x, m->def->n_args);
		for (size_t i = 0; l != NULL && i < m->def->n_args; i++) {
			struct hth_jstr *s = hth_jstr_ref(x, m->def->args[i]->text, m->def->args[i]->bytes);
			if (s == NULL || !hth_jlist_push(x, l, hth_jv_str(s)))
				return false;
		}
		*out = hth_jv_list(l, HTH_JV_TUPLE);
		return l != NULL;
	}
	return true;
}

static const struct hth_jnode *find_block(const struct hth_jbody *body, const char *name, size_t bytes)
{
	/* only blocks at the top of the template can be called by name: `{{ self.name() }}` */
	for (size_t i = 0; i < body->n; i++)
		if (body->items[i]->kind == HTH_JN_BLOCK && body->items[i]->expr != NULL &&
		    body->items[i]->expr->value.s->bytes == bytes &&
		    memcmp(body->items[i]->expr->value.s->data, name, bytes) == 0)
			return body->items[i];
	return NULL;
}

/* A real attribute, or MISSING. */
static bool attribute(struct hth_jx *x, struct hth_jval v, const char *name, size_t bytes, struct hth_jval *out)
{
	*out = (struct hth_jval){.kind = HTH_JV_MISSING};
	if (v.kind == HTH_JV_NS) {
		struct hth_jval *item = hth_jdict_get(v.d, name, bytes);
		if (item != NULL)
			*out = *item;
		return true;
	}
	if (v.kind == HTH_JV_LOOP && (!loop_attr(x, v.loop, name, bytes, out) || out->kind != HTH_JV_MISSING))
		return x->status == HTH_OK;
	if (v.kind == HTH_JV_MACRO)
		return macro_attr(x, v.macro, name, bytes, out);
	if (v.kind == HTH_JV_SELF) {
		const struct hth_jnode *b = find_block(&x->t->body, name, bytes);
		if (b != NULL)
			*out = (struct hth_jval){.kind = HTH_JV_BLOCK, .block = b};
		return true;
	}
	if (v.kind == HTH_JV_TUPLE && v.l->group && (name_is(name, bytes, "grouper") || name_is(name, bytes, "list"))) {
		*out = v.l->items[name[0] == 'l'];
		return true;
	}
	if (v.kind == HTH_JV_CYCLER && name_is(name, bytes, "current")) {
		*out = v.cycler->items.items[v.cycler->at];
		return true;
	}
	if ((bytes > 0 && name[0] == '_') || hth_jinja_is_mutator(v.kind, name, bytes))
		return hth_jv_undef(x, HTH_JU_UNSAFE, v.kind, name, bytes, out);
	const struct hth_jbuiltin *fn = hth_jinja_method(v.kind, name, bytes);
	if (fn == NULL)
		return true;
	struct hth_jmethod *m = hth_jx_alloc(x, sizeof *m);
	if (m == NULL)
		return false;
	*m = (struct hth_jmethod){.self = v, .fn = fn};
	*out = (struct hth_jval){.kind = HTH_JV_METHOD, .method = m};
	return true;
}

bool hth_jv_getattr(struct hth_jx *x, struct hth_jval v, const char *name, size_t bytes, struct hth_jval *out)
{
	if (v.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, v);
	if (v.kind == HTH_JV_DICT && hth_jinja_method(v.kind, name, bytes) == NULL &&
	    !hth_jinja_is_mutator(v.kind, name, bytes)) {
		struct hth_jval *item = hth_jdict_get(v.d, name, bytes);
		if (item != NULL) {
			*out = *item;
			return true;
		}
	}
	if (!attribute(x, v, name, bytes, out))
		return false;
	return out->kind != HTH_JV_MISSING || hth_jv_undef(x, HTH_JU_ATTR, v.kind, name, bytes, out);
}

/* seq[i] with Python's negative indices; MISSING when out of range. */
static bool index_item(struct hth_jx *x, struct hth_jval v, int64_t i, struct hth_jval *out)
{
	size_t n;
	if (!hth_jv_len(x, v, &n))
		return false;
	i += i < 0 ? (int64_t)n : 0;
	if (i < 0 || i >= (int64_t)n)
		return true;
	if (v.kind == HTH_JV_RANGE) {
		*out = hth_jv_int(v.r->start + i * v.r->step);
	} else if (v.kind == HTH_JV_STR) {
		size_t from = hth_jstr_offset(x, v.s, (size_t)i), to = from + 1;
		while (to < v.s->bytes && ((unsigned char)v.s->data[to] & 0xC0) == 0x80)
			to++;
		*out = hth_jv_str(hth_jstr_slice(x, v.s, from, to));
		return out->s != NULL;
	} else if (v.kind == HTH_JV_BYTES) {
		*out = hth_jv_int((unsigned char)v.s->data[i]);
	} else {
		*out = v.l->items[i];
	}
	return true;
}

bool hth_jv_getitem(struct hth_jx *x, struct hth_jval v, struct hth_jval key, struct hth_jval *out)
{
	struct hth_jval *found;
	*out = (struct hth_jval){.kind = HTH_JV_MISSING};
	switch (v.kind) {
	case HTH_JV_UNDEF:
		return hth_jv_fail_undef(x, v);
	case HTH_JV_DICT:
		if (key.kind == HTH_JV_LIST || key.kind == HTH_JV_DICT)
			break; /* unhashable: no such element */
		if (!hth_jdict_find(x, v.d, key, &found))
			return false;
		if (found != NULL)
			*out = *found;
		break;
	case HTH_JV_STR:
	case HTH_JV_BYTES:
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
	case HTH_JV_RANGE:
		if ((key.kind == HTH_JV_INT || key.kind == HTH_JV_BOOL) &&
		    !index_item(x, v, key.kind == HTH_JV_INT ? key.i : key.b, out))
			return false;
		break;
	default:
		break;
	}
	if (out->kind != HTH_JV_MISSING)
		return true;
	if (key.kind != HTH_JV_STR)
		return hth_jv_undef(x, HTH_JU_ITEM, v.kind, "asked for", 9, out);
	if (!hth_jstr_flat(x, key.s) || !attribute(x, v, key.s->data, key.s->bytes, out))
		return false;
	return out->kind != HTH_JV_MISSING || hth_jv_undef(x, HTH_JU_ATTR, v.kind, key.s->data, key.s->bytes, out);
}

/* One bound of a slice, clipped as Python does. */
static bool bound(struct hth_jx *x, struct hth_jval v, int64_t n, int64_t step, int64_t def, int64_t *out)
{
	if (v.kind == HTH_JV_MISSING || v.kind == HTH_JV_NONE) {
		*out = def;
		return true;
	}
	if (!hth_jv_int_arg(x, v, "slice", out))
		return false;
	int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
	*out = *out < 0 ? (*out < -n ? low : *out + n) : *out;
	*out = *out < low ? low : *out > high ? high : *out;
	return true;
}

static bool slice_str(struct hth_jx *x, struct hth_jstr *s, int64_t start, int64_t step, int64_t count,
		      struct hth_jval *out)
{
	struct hth_jsb b;
	if (step == 1) {
		size_t from = hth_jstr_offset(x, s, (size_t)start);
		size_t to = hth_jstr_offset(x, s, (size_t)(start + count));
		*out = hth_jv_str(hth_jstr_slice(x, s, from, to));
		return out->s != NULL && x->status == HTH_OK;
	}
	size_t n = hth_jstr_chars(x, s);
	size_t *at = hth_jx_array(x, n + 1, sizeof *at); /* byte of each character */
	if (at == NULL)
		return false;
	struct hth_jcursor c = {.s = s};
	for (size_t i = 0; hth_jcursor_next(&c); i++)
		at[i] = c.start;
	at[n] = s->bytes;
	hth_jsb_init(&b, x);
	for (int64_t i = 0; i < count; i++) {
		size_t k = (size_t)(start + i * step);
		if (!hth_jsb_add_slice(&b, s, at[k], at[k + 1]) || !hth_jx_charge(x, 1))
			return false;
	}
	struct hth_jstr *r = hth_jsb_done(&b);
	*out = hth_jv_str(r);
	if (r != NULL)
		r->markup = s->markup;
	return r != NULL;
}

bool hth_jv_slice(struct hth_jx *x, struct hth_jval v, const struct hth_jval part[3], struct hth_jval *out)
{
	size_t len;
	int64_t step = 1, start, stop;
	if (v.kind == HTH_JV_UNDEF)
		return hth_jv_fail_undef(x, v);
	if (v.kind != HTH_JV_STR && v.kind != HTH_JV_LIST && v.kind != HTH_JV_TUPLE && v.kind != HTH_JV_RANGE)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "'%s' object cannot be sliced", hth_jv_type(v));
	if (!hth_jv_len(x, v, &len))
		return false;
	int64_t n = (int64_t)len;
	if (part[2].kind != HTH_JV_MISSING && part[2].kind != HTH_JV_NONE &&
	    !hth_jv_int_arg(x, part[2], "slice", &step))
		return false;
	if (step == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "slice step cannot be zero");
	step = step < -n - 1 ? -n - 1 : step > n + 1 ? n + 1 : step;
	if (!bound(x, part[0], n, step, step < 0 ? n - 1 : 0, &start) ||
	    !bound(x, part[1], n, step, step < 0 ? -1 : n, &stop))
		return false;
	int64_t count = step > 0 ? (stop > start ? (stop - start - 1) / step + 1 : 0)
				 : (stop < start ? (start - stop - 1) / -step + 1 : 0);
	if (v.kind == HTH_JV_STR)
		return slice_str(x, v.s, count == 0 ? 0 : start, step, count, out);
	if (v.kind == HTH_JV_RANGE) {
		struct hth_jrange *r = hth_jx_alloc(x, sizeof *r);
		if (r == NULL)
			return false;
		*r = (struct hth_jrange){.start = v.r->start + start * v.r->step,
					 .stop = v.r->start + stop * v.r->step,
					 .step = v.r->step * step,
					 .n = count};
		*out = (struct hth_jval){.kind = HTH_JV_RANGE, .r = r};
		return true;
	}
	struct hth_jlist *l = hth_jlist_new(x, (size_t)count);
	if (l == NULL)
		return false;
	for (int64_t i = 0; i < count; i++) {
		struct hth_jval e;
		if (!index_item(x, v, start + i * step, &e) || !hth_jlist_push(x, l, e))
			return false;
	}
	*out = hth_jv_list(l, v.kind == HTH_JV_TUPLE ? HTH_JV_TUPLE : HTH_JV_LIST);
	out->origin = v.origin;
	return true;
}
