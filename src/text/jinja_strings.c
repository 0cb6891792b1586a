/* Taking strings apart and putting them together: split, splitlines, partition, join. Pieces keep their origins. */
#include "text/jinja_strings.h"

static bool push_slice(struct hth_jx *x, struct hth_jlist *l, struct hth_jstr *s, size_t from, size_t to)
{
	struct hth_jstr *piece = hth_jstr_slice(x, s, from, to);
	return piece != NULL && hth_jlist_push(x, l, hth_jv_str(piece));
}

static void reverse(struct hth_jlist *l)
{
	for (size_t i = 0; i < l->n / 2; i++) {
		struct hth_jval v = l->items[i];
		l->items[i] = l->items[l->n - 1 - i];
		l->items[l->n - 1 - i] = v;
	}
}

static bool split_at(struct hth_jx *x, struct hth_jstr *s, struct hth_jstr *sep, int64_t max, bool right,
		     struct hth_jlist *l)
{
	size_t from = 0, to = s->bytes;
	if (sep->bytes == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "split: empty separator");
	while (max != 0) {
		size_t hit = hth_jstr_find(s, from, to, sep, right);
		if (hit == HTH_JINJA_NONE)
			break;
		if (!push_slice(x, l, s, right ? hit + sep->bytes : from, right ? to : hit))
			return false;
		if (right)
			to = hit;
		else
			from = hit + sep->bytes;
		max -= max > 0;
	}
	return push_slice(x, l, s, from, to);
}

/* Words between white space. From the right, words come last first. */
static bool split_space(struct hth_jx *x, struct hth_jstr *s, int64_t max, bool right, struct hth_jlist *l)
{
	struct hth_jstr *rest = hth_jstr_strip(x, s, NULL, right ? 2 : 1);
	while (rest != NULL && rest->bytes > 0) {
		struct hth_jcursor c = {.s = rest};
		size_t cut = HTH_JINJA_NONE;
		while (max != 0 && hth_jcursor_next(&c)) {
			if (!hth_jchar_space(c.cp))
				continue;
			cut = right ? c.at : c.start;
			if (!right)
				break;
		}
		if (cut == HTH_JINJA_NONE) {
			rest = hth_jstr_strip(x, rest, NULL, 3);
			return rest != NULL && (rest->bytes == 0 || hth_jlist_push(x, l, hth_jv_str(rest)));
		}
		if (!push_slice(x, l, rest, right ? cut : 0, right ? rest->bytes : cut) ||
		    !hth_jx_charge(x, rest->bytes / 64))
			return false;
		rest = hth_jstr_slice(x, rest, right ? 0 : cut, right ? cut : rest->bytes);
		rest = rest == NULL ? NULL : hth_jstr_strip(x, rest, NULL, right ? 2 : 1);
		max -= max > 0;
	}
	return rest != NULL;
}

static bool split(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, bool right, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	struct hth_jstr *sep;
	int64_t max;
	if (l == NULL || !hth_jstr_flat(x, self.s) || !hth_jarg_int(x, arg[1], "maxsplit", -1, &max) ||
	    !hth_jx_charge(x, self.s->bytes / 64))
		return false;
	bool ok = arg[0].kind == HTH_JV_MISSING || arg[0].kind == HTH_JV_NONE
			  ? split_space(x, self.s, max, right, l)
			  : hth_jarg_str(x, arg[0], "split", &sep) && split_at(x, self.s, sep, max, right, l);
	if (right)
		reverse(l);
	*out = hth_jv_list(l, HTH_JV_LIST);
	return ok;
}

bool hth_jstr_split(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		    struct hth_jval *out)
{
	HTH_JUNUSED();
	return split(x, self, arg, false, out);
}

bool hth_jstr_rsplit(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		     struct hth_jval *out)
{
	HTH_JUNUSED();
	return split(x, self, arg, true, out);
}

bool hth_jstr_next_line(const struct hth_jstr *s, size_t *at, size_t *from, size_t *end)
{
	struct hth_jcursor c = {.s = s, .at = *at};
	*from = *at;
	if (*at >= s->bytes)
		return false;
	while (hth_jcursor_next(&c)) {
		bool broken = (c.cp >= 0x0A && c.cp <= 0x0D) || (c.cp >= 0x1C && c.cp <= 0x1E) || c.cp == 0x85 ||
			      c.cp == 0x2028 || c.cp == 0x2029;
		if (!broken)
			continue;
		*end = c.start;
		*at = c.at + (c.cp == '\r' && c.at < s->bytes && s->data[c.at] == '\n');
		return true;
	}
	*end = *at = s->bytes;
	return true;
}

bool hth_jstr_splitlines(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg,
			 const struct hth_jargs *all, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 0);
	bool keep = false;
	size_t at = 0, from, end;
	HTH_JUNUSED();
	if (l == NULL || !hth_jstr_flat(x, self.s) ||
	    (arg[0].kind != HTH_JV_MISSING && !hth_jv_truth(x, arg[0], &keep)))
		return false;
	while (hth_jstr_next_line(self.s, &at, &from, &end))
		if (!push_slice(x, l, self.s, from, keep ? at : end))
			return false;
	*out = hth_jv_list(l, HTH_JV_LIST);
	return true;
}

static bool partition(struct hth_jx *x, struct hth_jval self, struct hth_jval arg, bool right, struct hth_jval *out)
{
	struct hth_jlist *l = hth_jlist_new(x, 3);
	struct hth_jstr *sep;
	if (l == NULL || !hth_jarg_str(x, arg, "partition", &sep) || !hth_jstr_flat(x, self.s))
		return false;
	if (sep->bytes == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "partition: empty separator");
	size_t n = self.s->bytes, hit = hth_jstr_find(self.s, 0, n, sep, right);
	size_t cut = hit != HTH_JINJA_NONE ? hit : right ? 0 : n, end = hit != HTH_JINJA_NONE ? hit + sep->bytes : cut;
	*out = hth_jv_list(l, HTH_JV_TUPLE);
	return push_slice(x, l, self.s, 0, cut) && push_slice(x, l, self.s, cut, end) &&
	       push_slice(x, l, self.s, end, n);
}

bool hth_jstr_partition(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
			struct hth_jval *out)
{
	HTH_JUNUSED();
	return partition(x, self, arg[0], false, out);
}

bool hth_jstr_rpartition(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg,
			 const struct hth_jargs *all, struct hth_jval *out)
{
	HTH_JUNUSED();
	return partition(x, self, arg[0], true, out);
}

bool hth_jstr_join_items(struct hth_jx *x, struct hth_jstr *sep, const struct hth_jval *items, size_t n, bool strict,
			 struct hth_jval *out)
{
	struct hth_jsb b;
	hth_jsb_init(&b, x);
	for (size_t i = 0; i < n; i++) {
		struct hth_jstr *s;
		if (strict && items[i].kind != HTH_JV_STR)
			return hth_jx_fail(x, HTH_ERR_FORMAT, "sequence item %zu: expected str instance, %s found", i,
					   hth_jv_type(items[i]));
		if (!hth_jv_str_of(x, items[i], &s) || (strict && sep->markup && (s = hth_jstr_escape(x, s)) == NULL))
			return false;
		if ((i > 0 && !hth_jsb_add_str(&b, sep)) || !hth_jsb_add_str(&b, s) || !hth_jx_charge(x, 1))
			return false;
	}
	*out = hth_jv_str(hth_jsb_done(&b));
	return out->s != NULL;
}

bool hth_jstr_join(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg, const struct hth_jargs *all,
		   struct hth_jval *out)
{
	struct hth_jval *items;
	size_t n;
	HTH_JUNUSED();
	if (!hth_jv_items(x, arg[0], &items, &n) || !hth_jstr_join_items(x, self.s, items, n, true, out))
		return false;
	out->s->markup = self.s->markup;
	return true;
}
