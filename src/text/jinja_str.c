/* Strings of the Jinja interpreter and where their bytes came from.
 *
 * A string is text plus runs: (start, end, origin, generation block). Bytes without a run are the template's own.
 * Every operation goes through the builder (hth_jsb_*), which copies runs with the text, clips them and joins
 * neighbours of one origin. Concatenation is lazy: a pair of halves, put together when somebody reads the text, so
 * that a template that grows a string piece by piece costs time linear in its length. */
#include "text/jinja_int.h"

#include "base/utf8.h"

void hth_jsb_init(struct hth_jsb *b, struct hth_jx *x)
{
	*b = (struct hth_jsb){.x = x};
}

static bool reserve(struct hth_jsb *b, size_t more)
{
	struct hth_jx *x = b->x;
	if (x->status != HTH_OK)
		return false;
	if (more > x->max_bytes || b->bytes > x->max_bytes - more)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "a string or the output beyond %zu bytes", x->max_bytes);
	if (b->data != NULL && b->bytes + more <= b->cap)
		return true;
	size_t cap = b->cap < 32 ? 64 : 2 * b->cap;
	if (cap < b->bytes + more)
		cap = b->bytes + more;
	char *grown = hth_jx_alloc(x, cap);
	if (grown == NULL)
		return false;
	if (b->bytes > 0)
		memcpy(grown, b->data, b->bytes);
	b->data = grown;
	b->cap = cap;
	return true;
}

/* Says that the bytes [start, end), the last ones, have this origin. */
static bool add_run(struct hth_jsb *b, size_t start, size_t end, hth_jorigin origin, uint32_t gen)
{
	struct hth_jrun *last = b->n_runs > 0 ? &b->runs[b->n_runs - 1] : NULL;
	if ((origin == 0 && gen == 0) || start == end)
		return true;
	if (last != NULL && last->end == start && last->origin == origin && last->gen == gen) {
		last->end = end;
		return true;
	}
	if (b->n_runs == b->cap_runs) {
		size_t cap = b->cap_runs == 0 ? 4 : 2 * b->cap_runs;
		struct hth_jrun *grown = hth_jx_array(b->x, cap, sizeof *grown);
		if (grown == NULL)
			return false;
		if (b->n_runs > 0)
			memcpy(grown, b->runs, b->n_runs * sizeof *grown);
		b->runs = grown;
		b->cap_runs = cap;
	}
	b->runs[b->n_runs++] = (struct hth_jrun){.start = start, .end = end, .origin = origin, .gen = gen};
	return true;
}

bool hth_jsb_add(struct hth_jsb *b, const char *text, size_t bytes, hth_jorigin origin, uint32_t gen)
{
	if (bytes == 0)
		return b->x->status == HTH_OK;
	if (!reserve(b, bytes) || !hth_jx_charge(b->x, bytes / 64))
		return false;
	memcpy(b->data + b->bytes, text, bytes);
	b->bytes += bytes;
	return add_run(b, b->bytes - bytes, b->bytes, origin, gen);
}

bool hth_jsb_puts(struct hth_jsb *b, const char *text, hth_jorigin origin)
{
	return hth_jsb_add(b, text, strlen(text), origin, 0);
}

bool hth_jsb_put_cp(struct hth_jsb *b, uint32_t cp, hth_jorigin origin, uint32_t gen)
{
	char out[4];
	size_t n = hth_utf8_put(cp, out);
	return n == 0 ? hth_jsb_add(b, "\xEF\xBF\xBD", 3, origin, gen) : hth_jsb_add(b, out, n, origin, gen);
}

/* The first run that ends behind `at`. */
static size_t first_run(const struct hth_jstr *s, size_t at)
{
	size_t lo = 0, hi = s->n_runs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->runs[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool hth_jsb_add_slice(struct hth_jsb *b, struct hth_jstr *s, size_t from, size_t to)
{
	if (!hth_jstr_flat(b->x, s))
		return false;
	if (from >= to)
		return true;
	size_t base = b->bytes;
	if (!hth_jsb_add(b, s->data + from, to - from, 0, 0))
		return false;
	for (size_t i = first_run(s, from); i < s->n_runs && s->runs[i].start < to; i++) {
		const struct hth_jrun *r = &s->runs[i];
		size_t start = r->start > from ? r->start - from : 0, end = (r->end < to ? r->end : to) - from;
		if (!add_run(b, base + start, base + end, r->origin, r->gen))
			return false;
	}
	return true;
}

bool hth_jsb_add_str(struct hth_jsb *b, struct hth_jstr *s)
{
	return hth_jsb_add_slice(b, s, 0, s->bytes);
}

static struct hth_jstr *new_str(struct hth_jx *x)
{
	struct hth_jstr *s = hth_jx_alloc(x, sizeof *s);
	if (s != NULL)
		*s = (struct hth_jstr){.data = "", .chars = HTH_JINJA_NONE};
	return s;
}

struct hth_jstr *hth_jsb_done(struct hth_jsb *b)
{
	struct hth_jstr *s = b->x->status == HTH_OK ? new_str(b->x) : NULL;
	if (s == NULL || b->bytes == 0)
		return s;
	s->data = b->data;
	s->bytes = b->bytes;
	s->runs = b->runs;
	s->n_runs = b->n_runs;
	return s;
}

struct hth_jstr *hth_jstr_new(struct hth_jx *x, const char *text, size_t bytes, hth_jorigin origin)
{
	struct hth_jsb b;
	hth_jsb_init(&b, x);
	return hth_jsb_add(&b, text, bytes, origin, 0) ? hth_jsb_done(&b) : NULL;
}

struct hth_jstr *hth_jstr_ref(struct hth_jx *x, const char *text, size_t bytes)
{
	struct hth_jstr *s = new_str(x);
	if (s != NULL && bytes > 0) {
		s->data = text;
		s->bytes = bytes;
	}
	return s;
}

struct hth_jstr *hth_jstr_concat(struct hth_jx *x, struct hth_jstr *a, struct hth_jstr *b)
{
	if (b->bytes == 0)
		return a;
	if (a->bytes == 0)
		return b;
	if (a->bytes > x->max_bytes || b->bytes > x->max_bytes - a->bytes) {
		hth_jx_fail(x, HTH_ERR_LIMIT, "a string beyond %zu bytes", x->max_bytes);
		return NULL;
	}
	struct hth_jstr *s = new_str(x);
	if (s != NULL) {
		s->data = NULL;
		s->bytes = a->bytes + b->bytes;
		s->left = a;
		s->right = b;
	}
	return s;
}

/* Left to right without recursion: `todo` holds the right halves still to come. */
bool hth_jstr_flat(struct hth_jx *x, struct hth_jstr *s)
{
	struct hth_jsb b;
	struct hth_jstr **todo = NULL, *at = s;
	size_t n = 0, cap = 0;
	if (s->data != NULL)
		return true;
	hth_jsb_init(&b, x);
	if (!reserve(&b, s->bytes))
		return false;
	for (;;) {
		while (at->data == NULL) {
			if (n == cap) {
				struct hth_jstr **grown = hth_jx_array(x, cap == 0 ? 16 : 2 * cap, sizeof *grown);
				if (grown == NULL)
					return false;
				if (n > 0)
					memcpy(grown, todo, n * sizeof *grown);
				todo = grown;
				cap = cap == 0 ? 16 : 2 * cap;
			}
			todo[n++] = at->right;
			at = at->left;
		}
		if (!hth_jsb_add_slice(&b, at, 0, at->bytes)) /* flat: no deeper call */
			return false;
		if (n == 0)
			break;
		at = todo[--n];
	}
	s->data = b.data;
	s->runs = b.runs;
	s->n_runs = b.n_runs;
	s->left = s->right = NULL;
	return true;
}

size_t hth_jstr_chars(struct hth_jx *x, struct hth_jstr *s)
{
	if (s->chars == HTH_JINJA_NONE && hth_jx_charge(x, s->bytes / 64)) {
		size_t n = 0;
		for (size_t i = 0; i < s->bytes; i++)
			n += ((unsigned char)s->data[i] & 0xC0) != 0x80;
		s->chars = n;
	}
	return s->chars == HTH_JINJA_NONE ? 0 : s->chars;
}

size_t hth_jstr_offset(struct hth_jx *x, struct hth_jstr *s, size_t index)
{
	size_t chars = hth_jstr_chars(x, s);
	if (index >= chars)
		return s->bytes;
	if (chars == s->bytes)
		return index;
	size_t at = 0;
	hth_jx_charge(x, index / 64);
	for (size_t seen = 0; at < s->bytes; at++)
		if (((unsigned char)s->data[at] & 0xC0) != 0x80 && seen++ == index)
			break;
	return at;
}

struct hth_jstr *hth_jstr_slice(struct hth_jx *x, struct hth_jstr *s, size_t from, size_t to)
{
	if (!hth_jstr_flat(x, s))
		return NULL;
	if (from == 0 && to == s->bytes)
		return s;
	struct hth_jstr *r;
	if (s->n_runs == 0) { /* nothing to clip: share the text */
		r = hth_jstr_ref(x, s->data + from, to > from ? to - from : 0);
	} else {
		struct hth_jsb b;
		hth_jsb_init(&b, x);
		r = hth_jsb_add_slice(&b, s, from, to) ? hth_jsb_done(&b) : NULL;
	}
	if (r != NULL)
		r->markup = s->markup;
	return r;
}

size_t hth_jstr_find(const struct hth_jstr *s, size_t from, size_t to, const struct hth_jstr *what, bool last)
{
	if (from > to || what->bytes > to - from)
		return HTH_JINJA_NONE;
	if (!last) {
		const char *hit =
			what->bytes == 0 ? s->data + from : memmem(s->data + from, to - from, what->data, what->bytes);
		return hit == NULL ? HTH_JINJA_NONE : (size_t)(hit - s->data);
	}
	for (size_t at = to - what->bytes + 1; at > from; at--)
		if (memcmp(s->data + at - 1, what->data, what->bytes) == 0)
			return at - 1;
	return HTH_JINJA_NONE;
}

bool hth_jstr_equal(const struct hth_jstr *a, const struct hth_jstr *b)
{
	return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

bool hth_jcursor_next(struct hth_jcursor *c)
{
	size_t used = 1;
	if (c->at >= c->s->bytes)
		return false;
	c->start = c->at;
	c->cp = hth_utf8_next(c->s->data + c->at, c->s->bytes - c->at, &used);
	c->at += used;
	while (c->run < c->s->n_runs && c->s->runs[c->run].end <= c->start)
		c->run++;
	bool inside = c->run < c->s->n_runs && c->s->runs[c->run].start <= c->start;
	c->origin = inside ? c->s->runs[c->run].origin : 0;
	c->gen = inside ? c->s->runs[c->run].gen : 0;
	return true;
}

struct hth_jstr *hth_jstr_mark(struct hth_jx *x, struct hth_jstr *s, bool markup)
{
	if (s == NULL || s->markup == markup)
		return s;
	if (!hth_jstr_flat(x, s))
		return NULL;
	struct hth_jstr *r = new_str(x);
	if (r != NULL) {
		*r = *s;
		r->markup = markup;
	}
	return r;
}

struct hth_jstr *hth_jstr_escape(struct hth_jx *x, struct hth_jstr *s)
{
	static const char special[] = "&<>'\"";
	static const char *const text[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
	struct hth_jsb b;
	if (s->markup)
		return s;
	if (!hth_jstr_flat(x, s))
		return NULL;
	hth_jsb_init(&b, x);
	struct hth_jcursor c = {.s = s};
	size_t from = 0;
	while (hth_jcursor_next(&c)) {
		const char *hit = c.cp < 0x80 && c.cp != 0 ? strchr(special, (int)c.cp) : NULL;
		if (hit == NULL)
			continue;
		const char *to = text[hit - special];
		if (!hth_jsb_add_slice(&b, s, from, c.start) || !hth_jsb_add(&b, to, strlen(to), c.origin, c.gen))
			return NULL;
		from = c.at;
	}
	if (!hth_jsb_add_slice(&b, s, from, s->bytes))
		return NULL;
	struct hth_jstr *r = hth_jsb_done(&b);
	if (r != NULL)
		r->markup = true;
	return r;
}

static bool strips(uint32_t cp, const struct hth_jstr *chars)
{
	if (chars == NULL)
		return hth_jchar_space(cp);
	struct hth_jcursor c = {.s = chars};
	while (hth_jcursor_next(&c))
		if (c.cp == cp)
			return true;
	return false;
}

/* sides: 1 left, 2 right, 3 both. */
struct hth_jstr *hth_jstr_strip(struct hth_jx *x, struct hth_jstr *s, struct hth_jstr *chars, int sides)
{
	size_t from = 0, used;
	if (!hth_jstr_flat(x, s) || (chars != NULL && !hth_jstr_flat(x, chars)))
		return NULL;
	size_t to = s->bytes;
	while ((sides & 1) != 0 && from < to && strips(hth_utf8_next(s->data + from, to - from, &used), chars))
		from += used;
	while ((sides & 2) != 0 && to > from) {
		size_t at = to - 1;
		while (at > from && ((unsigned char)s->data[at] & 0xC0) == 0x80)
			at--;
		if (!strips(hth_utf8_next(s->data + at, to - at, &used), chars))
			break;
		to = at;
	}
	return hth_jx_charge(x, (from + s->bytes - to) / 16) ? hth_jstr_slice(x, s, from, to) : NULL;
}

/* Python's replace with an empty needle: `to` before every character and at the end. */
static bool replace_empty(struct hth_jsb *b, struct hth_jstr *s, struct hth_jstr *to, int64_t count)
{
	struct hth_jcursor c = {.s = s};
	while (hth_jcursor_next(&c)) {
		if (count != 0 && !hth_jsb_add_str(b, to))
			return false;
		count -= count > 0;
		if (!hth_jsb_add_slice(b, s, c.start, c.at))
			return false;
	}
	return count == 0 || hth_jsb_add_str(b, to);
}

struct hth_jstr *hth_jstr_replace(struct hth_jx *x, struct hth_jstr *s, struct hth_jstr *from, struct hth_jstr *to,
				  int64_t count)
{
	struct hth_jsb b;
	size_t at = 0;
	if (!hth_jstr_flat(x, s) || !hth_jstr_flat(x, from) || !hth_jstr_flat(x, to) ||
	    !hth_jx_charge(x, s->bytes / 64))
		return NULL;
	hth_jsb_init(&b, x);
	if (from->bytes == 0) {
		if (!replace_empty(&b, s, to, count))
			return NULL;
	} else {
		for (; count != 0; count -= count > 0) {
			size_t hit = hth_jstr_find(s, at, s->bytes, from, false);
			if (hit == HTH_JINJA_NONE)
				break;
			if (!hth_jsb_add_slice(&b, s, at, hit) || !hth_jsb_add_str(&b, to) || !hth_jx_charge(x, 1))
				return NULL;
			at = hit + from->bytes;
		}
		if (at == 0)
			return s;
		if (!hth_jsb_add_slice(&b, s, at, s->bytes))
			return NULL;
	}
	struct hth_jstr *r = hth_jsb_done(&b);
	if (r != NULL)
		r->markup = s->markup;
	return r;
}

struct hth_jstr *hth_jstr_repeat(struct hth_jx *x, struct hth_jstr *s, int64_t times)
{
	struct hth_jsb b;
	if (times > 0 && s->bytes > 0 && (uint64_t)times > x->max_bytes / s->bytes) {
		hth_jx_fail(x, HTH_ERR_LIMIT, "a string beyond %zu bytes", x->max_bytes);
		return NULL;
	}
	hth_jsb_init(&b, x);
	for (int64_t i = 0; i < times; i++)
		if (!hth_jsb_add_str(&b, s) || !hth_jx_charge(x, 1))
			return NULL;
	struct hth_jstr *r = hth_jsb_done(&b);
	if (r != NULL)
		r->markup = s->markup;
	return r;
}
