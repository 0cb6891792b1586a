/* Methods of dicts, lists, loops and cyclers: one row each in the tables at the end; those of strings are in
 * jinja_strmethods.c. What would change a list or dict is listed apart and refused, as jinja2's immutable sandbox
 * does. */
#include "text/jinja_strings.h"

static bool give_bool(bool b, struct hth_jval *out)
{
	*out = hth_jv_bool(b);
	return true;
}

/* Dicts. */

static bool view(struct hth_jx *x, struct hth_jval self, char what, struct hth_jval *out)
{
	struct hth_jview *v = hth_jx_alloc(x, sizeof *v);
	if (v == NULL)
		return false;
	*v = (struct hth_jview){.d = self.d, .what = what, .origin = self.origin};
	*out = (struct hth_jval){.kind = HTH_JV_VIEW, .view = v};
	return true;
}

HTH_JMETHOD(dict_keys)
{
	HTH_JUNUSED();
	return view(x, self, 'k', out);
}

HTH_JMETHOD(dict_values)
{
	HTH_JUNUSED();
	return view(x, self, 'v', out);
}

HTH_JMETHOD(dict_items)
{
	HTH_JUNUSED();
	return view(x, self, 'i', out);
}

HTH_JMETHOD(dict_get)
{
	struct hth_jval *found;
	HTH_JUNUSED();
	if (!hth_jdict_find(x, self.d, arg[0], &found))
		return false;
	*out = found != NULL ? *found : arg[1].kind != HTH_JV_MISSING ? arg[1] : hth_jv_none();
	return true;
}

HTH_JMETHOD(same_copy) /* nothing changes a list or dict, so a copy is the thing itself */
{
	HTH_JUNUSED();
	*out = self;
	return true;
}

/* Lists. */

HTH_JMETHOD(list_index)
{
	bool equal = false;
	HTH_JUNUSED();
	for (size_t i = 0; i < self.l->n; i++) {
		if (!hth_jv_equal(x, self.l->items[i], arg[0], &equal) || !hth_jx_charge(x, 1))
			return false;
		if (equal) {
			*out = hth_jv_int((int64_t)i);
			return true;
		}
	}
	return hth_jx_fail(x, HTH_ERR_FORMAT, "the value is not in the list");
}

HTH_JMETHOD(list_count)
{
	int64_t n = 0;
	bool equal;
	HTH_JUNUSED();
	for (size_t i = 0; i < self.l->n; i++) {
		if (!hth_jv_equal(x, self.l->items[i], arg[0], &equal) || !hth_jx_charge(x, 1))
			return false;
		n += equal;
	}
	*out = hth_jv_int(n);
	return true;
}

/* Loops and cyclers. */

HTH_JMETHOD(loop_cycle)
{
	HTH_JUNUSED();
	if (all->n_pos == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "loop.cycle: no items for cycling given");
	*out = all->pos[self.loop->index0 % all->n_pos];
	return true;
}

HTH_JMETHOD(loop_changed)
{
	struct hth_jlist *now = hth_jlist_new(x, all->n_pos);
	bool equal = false;
	HTH_JUNUSED();
	for (size_t i = 0; now != NULL && i < all->n_pos; i++)
		if (!hth_jlist_push(x, now, all->pos[i]))
			return false;
	struct hth_jval value = hth_jv_list(now, HTH_JV_TUPLE);
	if (now == NULL ||
	    (self.loop->changed.kind != HTH_JV_MISSING && !hth_jv_equal(x, self.loop->changed, value, &equal)))
		return false;
	self.loop->changed = value;
	return give_bool(!equal, out);
}

HTH_JMETHOD(cycler_next)
{
	HTH_JUNUSED();
	*out = self.cycler->items.items[self.cycler->at];
	self.cycler->at = (self.cycler->at + 1) % self.cycler->items.n;
	return true;
}

HTH_JMETHOD(cycler_reset)
{
	HTH_JUNUSED();
	self.cycler->at = 0;
	*out = hth_jv_none();
	return true;
}

static const struct hth_jbuiltin dict_methods[] = {
	{"get", "key|default", dict_get}, {"keys", "", dict_keys}, {"values", "", dict_values},
	{"items", "", dict_items},        {"copy", "", same_copy},
};
static const struct hth_jbuiltin list_methods[] = {
	{"index", "value", list_index},
	{"count", "value", list_count},
	{"copy", "", same_copy},
};
static const struct hth_jbuiltin loop_methods[] = {
	{"cycle", "*", loop_cycle},
	{"changed", "*", loop_changed},
};
static const struct hth_jbuiltin cycler_methods[] = {
	{"next", "", cycler_next},
	{"reset", "", cycler_reset},
};

const struct hth_jbuiltin *hth_jinja_method(uint8_t kind, const char *name, size_t bytes)
{
#define ROWS(t) t, sizeof t / sizeof t[0]
	switch (kind) {
	case HTH_JV_STR:
		return hth_jinja_in_table(hth_jinja_str_methods, hth_jinja_n_str_methods, name, bytes);
	case HTH_JV_DICT:
		return hth_jinja_in_table(ROWS(dict_methods), name, bytes);
	case HTH_JV_LIST:
		return hth_jinja_in_table(ROWS(list_methods), name, bytes);
	case HTH_JV_TUPLE: /* no copy() */
		return hth_jinja_in_table(list_methods, 2, name, bytes);
	case HTH_JV_LOOP:
		return hth_jinja_in_table(ROWS(loop_methods), name, bytes);
	case HTH_JV_CYCLER:
		return hth_jinja_in_table(ROWS(cycler_methods), name, bytes);
	default:
		return NULL;
	}
#undef ROWS
}

bool hth_jinja_is_mutator(uint8_t kind, const char *name, size_t bytes)
{
	static const char *const lists[] = {"append", "clear",  "pop",    "reverse", "insert",
					    "sort",   "extend", "remove", NULL};
	static const char *const dicts[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
	const char *const *names = kind == HTH_JV_LIST ? lists : kind == HTH_JV_DICT ? dicts : NULL;
	for (; names != NULL && *names != NULL; names++)
		if (strlen(*names) == bytes && memcmp(*names, name, bytes) == 0)
			return true;
	return false;
}
