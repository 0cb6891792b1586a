/* JSON for templates: tojson as Python's json.dumps writes it, and contexts read into values.
 * An integer beyond 64 bits cannot stand in a json_t: hth_template_context_parse puts it there as an object with the
 * one key BIG_KEY, and from_json turns it back. */
#include "text/jinja_int.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>

#define BIG_KEY "\001int"

/* Writing. */

static bool dump_str(struct hth_jsb *b, struct hth_jstr *s, hth_jorigin origin, bool ascii)
{
	static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
	char text[16];
	if (!hth_jstr_flat(b->x, s))
		return false;
	struct hth_jcursor c = {.s = s};
	hth_jorigin first = s->n_runs > 0 ? s->runs[0].origin : origin;
	hth_jorigin last = s->n_runs > 0 ? s->runs[s->n_runs - 1].origin : origin;
	size_t plain = 0; /* start of text that needs no escape */
	if (!hth_jsb_puts(b, "\"", first))
		return false;
	while (hth_jcursor_next(&c)) {
		const char *hit = c.cp < 0x80 && c.cp != 0 ? strchr(from, (int)c.cp) : NULL;
		if (hit == NULL && c.cp >= 0x20 && (c.cp < 0x7F || !ascii))
			continue;
		if (hit != NULL)
			snprintf(text, sizeof text, "\\%c", to[hit - from]);
		else if (c.cp < 0x20 || (ascii && c.cp < 0x10000 && c.cp != 0x7F))
			snprintf(text, sizeof text, "\\u%04x", c.cp);
		else if (ascii && c.cp >= 0x10000)
			snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c.cp - 0x10000) >> 10),
				 0xDC00 + ((c.cp - 0x10000) & 0x3FF));
		else
			continue;
		if (!hth_jsb_add_slice(b, s, plain, c.start) || !hth_jsb_add(b, text, strlen(text), c.origin, c.gen))
			return false;
		plain = c.at;
	}
	return hth_jsb_add_slice(b, s, plain, s->bytes) && hth_jsb_puts(b, "\"", last);
}

static bool newline(struct hth_jsb *b, const struct hth_jdump *how, uint32_t level, hth_jorigin origin)
{
	if (how->indent == NULL)
		return true;
	if (!hth_jsb_puts(b, "\n", origin))
		return false;
	for (uint32_t i = 0; i < level; i++)
		if (!hth_jsb_add(b, how->indent->data, how->indent->bytes, origin, 0))
			return false;
	return true;
}

static bool dump_list(struct hth_jsb *b, struct hth_jval v, const struct hth_jdump *how)
{
	uint32_t level = b->x->value_depth;
	if (v.l->n == 0)
		return hth_jsb_puts(b, "[]", v.origin);
	if (!hth_jsb_puts(b, "[", v.origin))
		return false;
	for (size_t i = 0; i < v.l->n; i++)
		if ((i > 0 && !hth_jsb_add(b, how->item_sep->data, how->item_sep->bytes, v.origin, 0)) ||
		    !newline(b, how, level, v.origin) || !hth_jv_dump(b, v.l->items[i], how))
			return false;
	return newline(b, how, level - 1, v.origin) && hth_jsb_puts(b, "]", v.origin);
}

/* Numbers, booleans and None become strings as keys. */
static bool dump_key(struct hth_jsb *b, struct hth_jval k, const struct hth_jdump *how)
{
	if (k.kind == HTH_JV_STR)
		return dump_str(b, k.s, k.origin, how->ascii);
	if (k.kind == HTH_JV_INT || k.kind == HTH_JV_BIG || k.kind == HTH_JV_FLOAT || k.kind == HTH_JV_BOOL ||
	    k.kind == HTH_JV_NONE)
		return hth_jsb_puts(b, "\"", k.origin) && hth_jv_dump(b, k, how) && hth_jsb_puts(b, "\"", k.origin);
	return hth_jx_fail(b->x, HTH_ERR_FORMAT, "keys must be str, int, float, bool or None, not %s", hth_jv_type(k));
}

/* Item order by key: insertion sort on indices is quadratic, so merge. */
static bool sort_keys(struct hth_jx *x, const struct hth_jdict *d, size_t *order)
{
	size_t *spare = hth_jx_array(x, d->n, sizeof *spare);
	if (spare == NULL)
		return false;
	for (size_t i = 0; i < d->n; i++)
		order[i] = i;
	for (size_t width = 1; width < d->n; width *= 2) {
		for (size_t lo = 0; lo < d->n; lo += 2 * width) {
			size_t mid = lo + width < d->n ? lo + width : d->n,
			       hi = mid + width < d->n ? mid + width : d->n;
			size_t i = lo, j = mid;
			for (size_t k = lo; k < hi; k++) {
				int c = 0;
				if (i < mid && j < hi &&
				    !hth_jv_compare(x, "<", d->items[order[j]].key, d->items[order[i]].key, &c))
					return false;
				spare[k] = i >= mid || (j < hi && c == -1) ? order[j++] : order[i++];
			}
		}
		memcpy(order, spare, d->n * sizeof *order);
	}
	return true;
}

static bool dump_dict(struct hth_jsb *b, struct hth_jval v, const struct hth_jdump *how)
{
	uint32_t level = b->x->value_depth;
	size_t *order = NULL;
	if (v.d->n == 0)
		return hth_jsb_puts(b, "{}", v.origin);
	if (how->sort) {
		order = hth_jx_array(b->x, v.d->n, sizeof *order);
		if (order == NULL || !sort_keys(b->x, v.d, order))
			return false;
	}
	if (!hth_jsb_puts(b, "{", v.origin))
		return false;
	for (size_t i = 0; i < v.d->n; i++) {
		const struct hth_jpair *p = &v.d->items[order != NULL ? order[i] : i];
		if ((i > 0 && !hth_jsb_add(b, how->item_sep->data, how->item_sep->bytes, v.origin, 0)) ||
		    !newline(b, how, level, v.origin) || !dump_key(b, p->key, how) ||
		    !hth_jsb_add(b, how->key_sep->data, how->key_sep->bytes, v.origin, 0) ||
		    !hth_jv_dump(b, p->value, how))
			return false;
	}
	return newline(b, how, level - 1, v.origin) && hth_jsb_puts(b, "}", v.origin);
}

static bool dump_inner(struct hth_jsb *b, struct hth_jval v, const struct hth_jdump *how)
{
	switch (v.kind) {
	case HTH_JV_NONE:
		return hth_jsb_puts(b, "null", v.origin);
	case HTH_JV_BOOL:
		return hth_jsb_puts(b, v.b ? "true" : "false", v.origin);
	case HTH_JV_FLOAT:
		if (isnan(v.f) || isinf(v.f))
			return hth_jsb_puts(b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity", v.origin);
		return hth_jv_repr(b, v);
	case HTH_JV_INT:
	case HTH_JV_BIG:
		return hth_jv_repr(b, v);
	case HTH_JV_STR:
		return dump_str(b, v.s, v.origin, how->ascii);
	case HTH_JV_LIST:
	case HTH_JV_TUPLE:
		return dump_list(b, v, how);
	case HTH_JV_DICT:
		return dump_dict(b, v, how);
	default:
		return hth_jx_fail(b->x, HTH_ERR_FORMAT, "Object of type %s is not JSON serializable", hth_jv_type(v));
	}
}

bool hth_jv_dump(struct hth_jsb *b, struct hth_jval v, const struct hth_jdump *how)
{
	struct hth_jx *x = b->x;
	if (x->value_depth >= HTH_JINJA_VALUE_DEPTH)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a value nested deeper than %d", HTH_JINJA_VALUE_DEPTH);
	if (!hth_jx_charge(x, 1))
		return false;
	x->value_depth++;
	bool ok = dump_inner(b, v, how);
	x->value_depth--;
	return ok;
}

/* Reading. */

static bool read_str(struct hth_jx *x, const char *text, size_t bytes, hth_jorigin origin, struct hth_jval *out)
{
	struct hth_jstr *s = hth_jstr_new(x, text, bytes, origin);
	*out = hth_jv_str(s);
	return s != NULL;
}

static bool read_array(struct hth_jx *x, const json_t *j, hth_jorigin origin, unsigned depth, struct hth_jval *out)
{
	size_t n = json_array_size(j);
	struct hth_jlist *l = hth_jlist_new(x, n);
	if (l == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct hth_jval v;
		if (!hth_jv_from_json(x, json_array_get(j, i), origin, depth + 1, &v) || !hth_jlist_push(x, l, v))
			return false;
	}
	*out = hth_jv_list(l, HTH_JV_LIST);
	return true;
}

static bool read_object(struct hth_jx *x, const json_t *j, hth_jorigin origin, unsigned depth, struct hth_jval *out)
{
	struct hth_jdict *d = hth_jdict_new(x, json_object_size(j));
	json_t *object = (json_t *)j; /* jansson's iteration wants it so; nothing is written */
	const char *key;
	json_t *value;
	if (d == NULL)
		return false;
	json_object_foreach(object, key, value)
	{
		struct hth_jval k, v;
		if (!read_str(x, key, strlen(key), origin, &k) || !hth_jv_from_json(x, value, origin, depth + 1, &v))
			return false;
		k.origin = origin;
		if (!hth_jdict_set(x, d, k, v))
			return false;
	}
	*out = (struct hth_jval){.kind = HTH_JV_DICT, .d = d};
	return true;
}

bool hth_jv_from_json(struct hth_jx *x, const json_t *j, hth_jorigin origin, unsigned depth, struct hth_jval *out)
{
	bool ok = true;
	const json_t *big = json_object_size(j) == 1 ? json_object_get(j, BIG_KEY) : NULL;
	if (depth > HTH_JINJA_VALUE_DEPTH)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "the context is nested deeper than %d", HTH_JINJA_VALUE_DEPTH);
	if (json_is_string(big)) {
		ok = read_str(x, json_string_value(big), json_string_length(big), origin, out);
		out->kind = HTH_JV_BIG;
		out->origin = origin;
		return ok;
	}
	switch (json_typeof(j)) {
	case JSON_NULL:
		*out = hth_jv_none();
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		*out = hth_jv_bool(json_is_true(j));
		break;
	case JSON_INTEGER:
		*out = hth_jv_int(json_integer_value(j));
		break;
	case JSON_REAL:
		*out = hth_jv_float(json_real_value(j));
		break;
	case JSON_STRING:
		ok = read_str(x, json_string_value(j), json_string_length(j), origin, out);
		break;
	case JSON_ARRAY:
		ok = read_array(x, j, origin, depth, out);
		break;
	case JSON_OBJECT:
		ok = read_object(x, j, origin, depth, out);
		break;
	}
	if (ok)
		out->origin = origin;
	return ok;
}

/* The end of the number at text[at], and whether it is an integer that needs more than 64 bits. */
static size_t number_end(const char *text, size_t bytes, size_t at, bool *big)
{
	size_t start = at;
	bool whole = true, fits = true;
	int64_t v = 0;
	for (; at < bytes && strchr("+-.eE0123456789", text[at]) != NULL && text[at] != '\0'; at++) {
		if (text[at] >= '0' && text[at] <= '9') /* downwards: INT64_MIN fits */
			fits = fits && !__builtin_mul_overflow(v, (int64_t)10, &v) &&
			       !__builtin_sub_overflow(v, (int64_t)(text[at] - '0'), &v);
		else if (at != start || text[at] != '-')
			whole = false;
	}
	*big = whole && (!fits || (v == INT64_MIN && text[start] != '-'));
	return at;
}

enum hth_status hth_template_context_parse(const char *text, size_t bytes, const char *where, json_t **out,
					   struct hth_err *err)
{
	struct hth_buf b;
	bool any = false, quoted = false;
	size_t plain = 0;
	enum hth_status st;
	hth_buf_init(&b, SIZE_MAX / 2);
	for (size_t at = 0; at < bytes;) {
		bool big = false;
		size_t start = at;
		if (quoted || (text[at] != '-' && (text[at] < '0' || text[at] > '9'))) {
			at += quoted && text[at] == '\\' ? 2 : 1;
			quoted = text[start] == '"' ? !quoted : quoted;
			continue;
		}
		at = number_end(text, bytes, at, &big);
		if (!big)
			continue;
		hth_buf_add(&b, text + plain, start - plain);
		hth_buf_printf(&b, "{\"\\u0001int\":\"%.*s\"}", (int)(at - start < 4096 ? at - start : 4096),
			       text + start);
		plain = at;
		any = true;
	}
	if (any)
		hth_buf_add(&b, text + plain, bytes - plain);
	st = hth_buf_status(&b, "JSON with big integers", err);
	if (st == HTH_OK)
		st = hth_json_parse(any ? hth_buf_str(&b) : text, any ? b.bytes : bytes, HTH_JSON_STRICT, where, out,
				    err);
	hth_buf_clear(&b);
	return st;
}
