/* What the sequence filters share: looking an attribute up by its path, sort keys, a stable sort. */
#include "text/jinja_strings.h"

static bool is_set(struct hth_jval v)
{
	return v.kind != HTH_JV_MISSING && v.kind != HTH_JV_NONE;
}

/* item.a.b.0 by a dotted path, each step as item['a'] or item[0]; an undefined result becomes `def` if given. */
static bool by_path(struct hth_jx *x, struct hth_jval item, const char *path, size_t bytes, struct hth_jval def,
		    struct hth_jval *out)
{
	*out = item;
	for (size_t at = 0; at <= bytes;) {
		const char *dot = memchr(path + at, '.', bytes - at);
		size_t n = dot == NULL ? bytes - at : (size_t)(dot - path) - at, digits = 0;
		struct hth_jval key = hth_jv_int(0);
		while (digits < n && digits < 18 && path[at + digits] >= '0' && path[at + digits] <= '9')
			key.i = key.i * 10 + (path[at + digits++] - '0');
		if (digits < n || n == 0)
			key = hth_jv_str(hth_jstr_ref(x, path + at, n));
		if ((key.kind == HTH_JV_STR && key.s == NULL) || !hth_jv_getitem(x, *out, key, out))
			return false;
		if (out->kind == HTH_JV_UNDEF && is_set(def))
			*out = def;
		at += n + 1;
	}
	return true;
}

/* The value of an attribute argument on an item; the item itself when there is none. */
bool hth_jseq_attr(struct hth_jx *x, struct hth_jval item, struct hth_jval attr, struct hth_jval def,
		   struct hth_jval *out)
{
	*out = item;
	if (!is_set(attr))
		return true;
	if (attr.kind == HTH_JV_STR)
		return hth_jstr_flat(x, attr.s) && by_path(x, item, attr.s->data, attr.s->bytes, def, out);
	if (!hth_jv_getitem(x, item, attr, out))
		return false;
	if (out->kind == HTH_JV_UNDEF && is_set(def))
		*out = def;
	return true;
}

/* A sort key: strings in lower case unless case matters. */
bool hth_jseq_fold(struct hth_jx *x, bool case_sensitive, struct hth_jval *v)
{
	if (case_sensitive || v->kind != HTH_JV_STR)
		return true;
	v->s = hth_jstr_case(x, v->s, 'l');
	return v->s != NULL;
}

/* Keys of items by a path that may name several attributes, "a,b": then each key is a list. */
static bool sort_key(struct hth_jx *x, struct hth_jval item, struct hth_jval attr, bool case_sensitive,
		     struct hth_jval *out)
{
	struct hth_jval none = {.kind = HTH_JV_MISSING}, v;
	if (attr.kind != HTH_JV_STR)
		return hth_jseq_attr(x, item, attr, none, out) && hth_jseq_fold(x, case_sensitive, out);
	struct hth_jlist *l = hth_jlist_new(x, 1);
	if (l == NULL || !hth_jstr_flat(x, attr.s))
		return false;
	for (size_t at = 0; at <= attr.s->bytes;) {
		const char *comma = memchr(attr.s->data + at, ',', attr.s->bytes - at);
		size_t end = comma == NULL ? attr.s->bytes : (size_t)(comma - attr.s->data);
		if (!by_path(x, item, attr.s->data + at, end - at, none, &v) || !hth_jseq_fold(x, case_sensitive, &v) ||
		    !hth_jlist_push(x, l, v))
			return false;
		at = end + 1;
	}
	*out = hth_jv_list(l, HTH_JV_LIST);
	return true;
}

/* A stable merge sort of items by keys; both are reordered in place. */
bool hth_jseq_sort(struct hth_jx *x, struct hth_jval *items, struct hth_jval *keys, size_t n, bool reverse)
{
	struct hth_jval *spare = hth_jx_array(x, 2 * n + 1, sizeof *spare);
	if (spare == NULL)
		return false;
	for (size_t width = 1; width < n; width *= 2) {
		for (size_t lo = 0; lo < n; lo += 2 * width) {
			size_t mid = lo + width < n ? lo + width : n, hi = mid + width < n ? mid + width : n;
			for (size_t i = lo, j = mid, k = lo; k < hi; k++) {
				int c = 0;
				if (i < mid && j < hi &&
				    (!hth_jx_charge(x, 1) || !(reverse ? hth_jv_compare(x, "<", keys[i], keys[j], &c)
								       : hth_jv_compare(x, "<", keys[j], keys[i], &c))))
					return false;
				size_t from = i >= mid || (j < hi && c == -1) ? j++ : i++;
				spare[k] = items[from];
				spare[n + k] = keys[from];
			}
		}
		memcpy(items, spare, n * sizeof *items);
		memcpy(keys, spare + n, n * sizeof *keys);
	}
	return true;
}

/* A fresh array of the items and of their keys. */
bool hth_jseq_keys(struct hth_jx *x, struct hth_jval self, struct hth_jval attr, bool case_sensitive,
		   struct hth_jlist **items, struct hth_jval **keys)
{
	struct hth_jval *from;
	size_t n;
	if (!hth_jv_items(x, self, &from, &n) || (*items = hth_jlist_new(x, n)) == NULL ||
	    (*keys = hth_jx_array(x, n + 1, sizeof **keys)) == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!hth_jlist_push(x, *items, from[i]) || !sort_key(x, from[i], attr, case_sensitive, &(*keys)[i]))
			return false;
	return true;
}
