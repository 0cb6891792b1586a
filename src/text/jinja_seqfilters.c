/* Filters on sequences and mappings. What jinja2 gives lazily (map, select, unique, ...) is computed at once and can
 * be walked once, as there. */
#include "text/jinja_strings.h"

static bool give_list(struct hth_jlist *l, struct hth_jval *out)
{
	*out = hth_jv_list(l, HTH_JV_LIST);
	return l != NULL;
}

static bool is_set(struct hth_jval v)
{
	return v.kind != HTH_JV_MISSING && v.kind != HTH_JV_NONE;
}

static bool flag(struct hth_jx *x, struct hth_jval v, bool *out)
{
	*out = false;
	return v.kind == HTH_JV_MISSING || hth_jv_truth(x, v, out);
}

HTH_JMETHOD(f_length)
{
	size_t n;
	HTH_JUNUSED();
	if (!hth_jv_len(x, self, &n))
		return false;
	*out = hth_jv_int((int64_t)n);
	return true;
}

HTH_JMETHOD(f_first)
{
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (self.kind == HTH_JV_GEN && self.g->at < self.g->n) { /* takes one, leaves the rest */
		*out = self.g->items[self.g->at++];
		return true;
	}
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	if (n == 0)
		return hth_jv_undef(x, HTH_JU_HINT, 0, "No first item, sequence was empty.", 34, out);
	*out = items[0];
	return true;
}

HTH_JMETHOD(f_last)
{
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (self.kind == HTH_JV_GEN)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "last: 'generator' object is not reversible (use list first)");
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	if (n == 0)
		return hth_jv_undef(x, HTH_JU_HINT, 0, "No last item, sequence was empty.", 33, out);
	*out = items[n - 1];
	return true;
}

HTH_JMETHOD(f_random)
{
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	if (n == 0)
		return hth_jv_undef(x, HTH_JU_HINT, 0, "No random item, sequence was empty.", 35, out);
	*out = items[n / 2];
	return true;
}

HTH_JMETHOD(f_list)
{
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	struct hth_jlist *l = hth_jlist_new(x, n);
	for (size_t i = 0; l != NULL && i < n; i++)
		if (!hth_jlist_push(x, l, items[i]))
			return false;
	if (!give_list(l, out))
		return false;
	out->origin = self.origin;
	return true;
}

HTH_JMETHOD(f_reverse)
{
	struct hth_jval whole[3] = {{.kind = HTH_JV_MISSING}, {.kind = HTH_JV_MISSING}, hth_jv_int(-1)};
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (self.kind == HTH_JV_STR)
		return hth_jv_slice(x, self, whole, out);
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	struct hth_jlist *l = hth_jlist_new(x, n);
	for (size_t i = n; l != NULL && i > 0; i--)
		if (!hth_jlist_push(x, l, items[i - 1]))
			return false;
	if (self.kind == HTH_JV_GEN) /* has no reversed(): jinja2 then gives a list */
		return give_list(l, out);
	return l != NULL && hth_jv_gen(x, l, out);
}

HTH_JMETHOD(f_join)
{
	struct hth_jstr *sep = hth_jstr_ref(x, "", 0);
	struct hth_jval *items, none = {.kind = HTH_JV_MISSING};
	size_t n;
	HTH_JUNUSED();
	if (sep == NULL || !hth_jv_items(x, self, &items, &n) ||
	    (arg[0].kind != HTH_JV_MISSING && !hth_jv_str_of(x, arg[0], &sep)))
		return false;
	struct hth_jval *parts = hth_jx_array(x, n + 1, sizeof *parts);
	for (size_t i = 0; parts != NULL && i < n; i++)
		if (!hth_jseq_attr(x, items[i], arg[1], none, &parts[i]))
			return false;
	return parts != NULL && hth_jstr_join_items(x, sep, parts, n, false, out);
}

HTH_JMETHOD(f_items)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	const struct hth_jbuiltin *m = hth_jinja_method(HTH_JV_DICT, "items", 5);
	struct hth_jval view;
	HTH_JUNUSED();
	if (l == NULL)
		return false;
	if (self.kind == HTH_JV_UNDEF)
		return hth_jv_gen(x, l, out);
	if (self.kind != HTH_JV_DICT)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "items: can only get item pairs from a mapping, found '%s'",
				   hth_jv_type(self));
	return m->fn(x, self, NULL, NULL, &view) && hth_jv_items(x, view, &l->items, &l->n) && hth_jv_gen(x, l, out);
}

HTH_JMETHOD(f_dictsort)
{
	bool case_sensitive, reverse, by_value = false;
	struct hth_jval view, *keys, none = {.kind = HTH_JV_MISSING};
	struct hth_jlist *items;
	struct hth_jstr *by;
	HTH_JUNUSED();
	if (self.kind != HTH_JV_DICT)
		return self.kind == HTH_JV_UNDEF
			       ? hth_jv_fail_undef(x, self)
			       : hth_jx_fail(x, HTH_ERR_FORMAT, "dictsort: expected a mapping, found '%s'",
					     hth_jv_type(self));
	if (!flag(x, arg[0], &case_sensitive) || !flag(x, arg[2], &reverse))
		return false;
	if (arg[1].kind != HTH_JV_MISSING) {
		if (!hth_jarg_str(x, arg[1], "dictsort", &by))
			return false;
		by_value = by->bytes == 5 && memcmp(by->data, "value", 5) == 0;
		if (!by_value && !(by->bytes == 3 && memcmp(by->data, "key", 3) == 0))
			return hth_jx_fail(x, HTH_ERR_FORMAT, "dictsort: by is 'key' or 'value'");
	}
	const struct hth_jbuiltin *m = hth_jinja_method(HTH_JV_DICT, "items", 5);
	if (!m->fn(x, self, NULL, NULL, &view) || !hth_jseq_keys(x, view, none, true, &items, &keys))
		return false;
	for (size_t i = 0; i < items->n; i++) {
		keys[i] = items->items[i].l->items[by_value];
		if (!hth_jseq_fold(x, case_sensitive, &keys[i]))
			return false;
	}
	return hth_jseq_sort(x, items->items, keys, items->n, reverse) && give_list(items, out);
}

HTH_JMETHOD(f_sort)
{
	bool reverse, case_sensitive;
	struct hth_jlist *items;
	struct hth_jval *keys;
	HTH_JUNUSED();
	return flag(x, arg[0], &reverse) && flag(x, arg[1], &case_sensitive) &&
	       hth_jseq_keys(x, self, arg[2], case_sensitive, &items, &keys) &&
	       hth_jseq_sort(x, items->items, keys, items->n, reverse) && give_list(items, out);
}

static bool extreme(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, int want, struct hth_jval *out)
{
	bool case_sensitive;
	struct hth_jval *items, best = {.kind = HTH_JV_MISSING}, key, none = {.kind = HTH_JV_MISSING};
	size_t n;
	int c = want;
	if (!flag(x, arg[0], &case_sensitive) || !hth_jv_items(x, self, &items, &n))
		return false;
	if (n == 0)
		return hth_jv_undef(x, HTH_JU_HINT, 0, "No aggregated item, sequence was empty.", 39, out);
	for (size_t i = 0; i < n; i++) {
		if (!hth_jseq_attr(x, items[i], arg[1], none, &key) || !hth_jseq_fold(x, case_sensitive, &key) ||
		    (i > 0 && !hth_jv_compare(x, want < 0 ? "<" : ">", key, best, &c)))
			return false;
		if (c == want) {
			best = key;
			*out = items[i];
		}
	}
	return true;
}

HTH_JMETHOD(f_min)
{
	HTH_JUNUSED();
	return extreme(x, self, arg, -1, out);
}

HTH_JMETHOD(f_max)
{
	HTH_JUNUSED();
	return extreme(x, self, arg, 1, out);
}

HTH_JMETHOD(f_sum)
{
	struct hth_jval *items, v, none = {.kind = HTH_JV_MISSING};
	size_t n;
	HTH_JUNUSED();
	*out = arg[1].kind != HTH_JV_MISSING ? arg[1] : hth_jv_int(0);
	if (!hth_jv_items(x, self, &items, &n))
		return false;
	if (out->kind == HTH_JV_STR)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "sum() can't sum strings");
	for (size_t i = 0; i < n; i++)
		if (!hth_jx_charge(x, 1) || !hth_jseq_attr(x, items[i], arg[0], none, &v) ||
		    !hth_jop_arith(x, HTH_JO_ADD, *out, v, out))
			return false;
	return true;
}

HTH_JMETHOD(f_unique)
{
	bool case_sensitive;
	struct hth_jval *items, *seen, key, none = {.kind = HTH_JV_MISSING};
	struct hth_jdict *d = hth_jdict_new(x, 0);
	struct hth_jlist *l = hth_jlist_new(x, 0);
	size_t n;
	HTH_JUNUSED();
	if (d == NULL || l == NULL || !flag(x, arg[0], &case_sensitive) || !hth_jv_items(x, self, &items, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!hth_jseq_attr(x, items[i], arg[1], none, &key) || !hth_jseq_fold(x, case_sensitive, &key) ||
		    !hth_jdict_find(x, d, key, &seen))
			return false;
		if (seen == NULL && (!hth_jdict_set(x, d, key, none) || !hth_jlist_push(x, l, items[i])))
			return false;
	}
	return hth_jv_gen(x, l, out);
}

HTH_JMETHOD(f_groupby)
{
	bool case_sensitive, equal = false;
	struct hth_jlist *items, *groups = hth_jlist_new(x, 0), *group = NULL;
	struct hth_jval *keys, real;
	HTH_JUNUSED();
	if (groups == NULL || !flag(x, arg[2], &case_sensitive) ||
	    !hth_jseq_keys(x, self, (struct hth_jval){.kind = HTH_JV_MISSING}, true, &items, &keys))
		return false;
	for (size_t i = 0; i < items->n; i++)
		if (!hth_jseq_attr(x, items->items[i], arg[0], arg[1], &keys[i]) ||
		    !hth_jseq_fold(x, case_sensitive, &keys[i]))
			return false;
	if (!hth_jseq_sort(x, items->items, keys, items->n, false))
		return false;
	for (size_t i = 0; i < items->n; i++) {
		if (i > 0 && !hth_jv_equal(x, keys[i - 1], keys[i], &equal))
			return false;
		if (!equal) {
			struct hth_jval pair;
			group = hth_jlist_new(x, 0);
			if (group == NULL || !hth_jseq_attr(x, items->items[i], arg[0], arg[1], &real) ||
			    !hth_jv_pair(x, real, hth_jv_list(group, HTH_JV_LIST), &pair) ||
			    !hth_jlist_push(x, groups, pair))
				return false;
			pair.l->group = true;
		}
		if (!hth_jlist_push(x, group, items->items[i]))
			return false;
	}
	return give_list(groups, out);
}

/* n items from `from` on, filled up with `fill` to `width` if that is given. */
static bool push_row(struct hth_jx *x, struct hth_jlist *rows, const struct hth_jval *from, size_t n, size_t width,
		     struct hth_jval fill)
{
	struct hth_jlist *row = hth_jlist_new(x, n);
	for (size_t i = 0; row != NULL && i < (is_set(fill) && width > n ? width : n); i++)
		if (!hth_jlist_push(x, row, i < n ? from[i] : fill))
			return false;
	return row != NULL && hth_jlist_push(x, rows, hth_jv_list(row, HTH_JV_LIST));
}

HTH_JMETHOD(f_batch)
{
	struct hth_jlist *rows = hth_jlist_new(x, 0);
	struct hth_jval *items;
	int64_t width;
	size_t n;
	HTH_JUNUSED();
	if (rows == NULL || !hth_jarg_int(x, arg[0], "batch", 1, &width) || !hth_jv_items(x, self, &items, &n))
		return false;
	if (width <= 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "batch: the line count must be positive");
	for (size_t i = 0; i < n; i += (size_t)width)
		if (!push_row(x, rows, items + i, n - i < (size_t)width ? n - i : (size_t)width, (size_t)width, arg[1]))
			return false;
	return hth_jv_gen(x, rows, out);
}

HTH_JMETHOD(f_slice)
{
	struct hth_jlist *rows = hth_jlist_new(x, 0);
	struct hth_jval *items, none = {.kind = HTH_JV_MISSING};
	int64_t slices;
	size_t n, at = 0;
	HTH_JUNUSED();
	if (rows == NULL || !hth_jarg_int(x, arg[0], "slice", 1, &slices) || !hth_jv_items(x, self, &items, &n))
		return false;
	if (slices <= 0 || slices > HTH_JINJA_MAX_RANGE)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "slice: the number of slices must be in 1..%d",
				   HTH_JINJA_MAX_RANGE);
	size_t each = n / (size_t)slices, extra = n % (size_t)slices;
	for (size_t i = 0; i < (size_t)slices; i++) {
		size_t len = each + (i < extra);
		if (!push_row(x, rows, items + at, len, len + (i >= extra), i >= extra ? arg[1] : none))
			return false;
		at += len;
	}
	return hth_jv_gen(x, rows, out);
}

/* Arguments behind the first `skip` ones. */
static struct hth_jargs rest_of(const struct hth_jargs *all, size_t skip)
{
	struct hth_jargs r = *all;
	r.pos += skip;
	r.n_pos -= skip;
	return r;
}

/* Walks self as "for x in value" under "if value": what is false is empty. */
static bool items_if_true(struct hth_jx *x, struct hth_jval self, struct hth_jval **items, size_t *n)
{
	bool truth;
	*n = 0;
	return hth_jv_truth(x, self, &truth) && (!truth || hth_jv_items(x, self, items, n));
}

static bool named(struct hth_jx *x, struct hth_jval name, bool filter, const struct hth_jbuiltin **out)
{
	char text[64];
	struct hth_jstr *s;
	if (!hth_jarg_str(x, name, filter ? "map" : "select", &s))
		return false;
	*out = filter ? hth_jinja_filter(s->data, s->bytes) : hth_jinja_test(s->data, s->bytes);
	return *out != NULL || hth_jx_fail(x, HTH_ERR_FORMAT, "no %s named '%s'", filter ? "filter" : "test",
					   hth_quote(text, sizeof text, s->data, s->bytes));
}

HTH_JMETHOD(f_map)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	struct hth_jval *items = NULL, v, attr = {.kind = HTH_JV_MISSING}, def = {.kind = HTH_JV_MISSING};
	const struct hth_jbuiltin *fn = NULL;
	size_t n;
	HTH_JUNUSED();
	for (size_t i = 0; i < all->n_kw && all->n_pos == 0; i++) {
		if (all->kw[i].bytes == 9 && memcmp(all->kw[i].name, "attribute", 9) == 0)
			attr = all->kw[i].value;
		else if (all->kw[i].bytes == 7 && memcmp(all->kw[i].name, "default", 7) == 0)
			def = all->kw[i].value;
		else
			return hth_jx_fail(x, HTH_ERR_FORMAT, "map: an unexpected keyword argument");
	}
	if (l == NULL || !items_if_true(x, self, &items, &n))
		return false;
	if (all->n_pos == 0 && !is_set(attr))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "map requires a filter's name or attribute=");
	if (all->n_pos > 0 && !named(x, all->pos[0], true, &fn))
		return false;
	for (size_t i = 0; i < n; i++) {
		struct hth_jargs more = rest_of(all, fn != NULL);
		if (!(fn != NULL ? hth_jcall_builtin(x, fn, "filter", items[i], &more, &v)
				 : hth_jseq_attr(x, items[i], attr, def, &v)) ||
		    !hth_jlist_push(x, l, v))
			return false;
	}
	return hth_jv_gen(x, l, out);
}

static bool choose(struct hth_jx *x, struct hth_jval self, const struct hth_jargs *all, bool by_attr, bool want,
		   struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	struct hth_jval *items = NULL, v, none = {.kind = HTH_JV_MISSING};
	const struct hth_jbuiltin *test = NULL;
	size_t n;
	bool truth;
	if (by_attr && all->n_pos == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "missing parameter for attribute name");
	if (l == NULL || !items_if_true(x, self, &items, &n) ||
	    (all->n_pos > by_attr && !named(x, all->pos[by_attr], false, &test)))
		return false;
	for (size_t i = 0; i < n; i++) {
		struct hth_jargs more = rest_of(all, (size_t)by_attr + (test != NULL));
		if (!hth_jseq_attr(x, items[i], by_attr ? all->pos[0] : none, none, &v) ||
		    (test != NULL && !hth_jcall_builtin(x, test, "test", v, &more, &v)) || !hth_jv_truth(x, v, &truth))
			return false;
		if (truth == want && !hth_jlist_push(x, l, items[i]))
			return false;
	}
	return hth_jv_gen(x, l, out);
}

HTH_JMETHOD(f_select)
{
	HTH_JUNUSED();
	return choose(x, self, all, false, true, out);
}

HTH_JMETHOD(f_reject)
{
	HTH_JUNUSED();
	return choose(x, self, all, false, false, out);
}

HTH_JMETHOD(f_selectattr)
{
	HTH_JUNUSED();
	return choose(x, self, all, true, true, out);
}

HTH_JMETHOD(f_rejectattr)
{
	HTH_JUNUSED();
	return choose(x, self, all, true, false, out);
}

/* repr with sorted keys; Python's line breaks for long values are left out. */
HTH_JMETHOD(f_pprint)
{
	struct hth_jsb b;
	struct hth_jval *keys, none = {.kind = HTH_JV_MISSING};
	struct hth_jlist *names;
	HTH_JUNUSED();
	if (self.kind == HTH_JV_DICT) {
		struct hth_jdict *d = hth_jdict_new(x, self.d->n);
		if (d == NULL || !hth_jseq_keys(x, self, none, true, &names, &keys) ||
		    !hth_jseq_sort(x, names->items, keys, names->n, false))
			return false;
		for (size_t i = 0; i < names->n; i++) {
			struct hth_jval *v;
			if (!hth_jdict_find(x, self.d, names->items[i], &v) ||
			    !hth_jdict_set(x, d, names->items[i], *v))
				return false;
		}
		self.d = d;
	}
	hth_jsb_init(&b, x);
	*out = hth_jv_str(hth_jv_repr(&b, self) ? hth_jsb_done(&b) : NULL);
	return out->s != NULL;
}

const struct hth_jbuiltin hth_jinja_seq_filters[] = {
	{"length", "", f_length},
	{"count", "", f_length},
	{"first", "", f_first},
	{"last", "", f_last},
	{"random", "", f_random},
	{"list", "", f_list},
	{"reverse", "", f_reverse},
	{"join", "|d,attribute", f_join},
	{"items", "", f_items},
	{"dictsort", "|case_sensitive,by,reverse", f_dictsort},
	{"sort", "|reverse,case_sensitive,attribute", f_sort},
	{"min", "|case_sensitive,attribute", f_min},
	{"max", "|case_sensitive,attribute", f_max},
	{"sum", "|attribute,start", f_sum},
	{"unique", "|case_sensitive,attribute", f_unique},
	{"groupby", "attribute|default,case_sensitive", f_groupby},
	{"batch", "linecount|fill_with", f_batch},
	{"slice", "slices|fill_with", f_slice},
	{"map", "*", f_map},
	{"select", "*", f_select},
	{"reject", "*", f_reject},
	{"selectattr", "*", f_selectattr},
	{"rejectattr", "*", f_rejectattr},
	{"pprint", "", f_pprint},
};
const size_t hth_jinja_n_seq_filters = sizeof hth_jinja_seq_filters / sizeof hth_jinja_seq_filters[0];
