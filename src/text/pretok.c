/* Running pre-tokenizer steps. Each step reads the pieces of the last and writes new ones; text is copied only by
 * the steps that change it. */
#include "text/pretok.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

#define MAX_PIECES ((size_t)1 << 31)
#define WORD_SIGN "\xE2\x96\x81" /* U+2581 */

uint32_t hth_byte_stand_in(unsigned char b)
{
	if ((b >= 33 && b <= 126) || (b >= 161 && b != 173))
		return b;
	return b <= 32 ? 256u + b : b <= 160 ? 289u + (b - 127u) : 323u;
}

int hth_stand_in_byte(uint32_t c)
{
	if (c < 256)
		return hth_byte_stand_in((unsigned char)c) == c ? (int)c : -1;
	return c <= 288 ? (int)c - 256 : c <= 322 ? (int)c - 289 + 127 : c == 323 ? 173 : -1;
}

void hth_mapped_clear(struct hth_mapped *m)
{
	hth_free(m->text);
	hth_free(m->from);
	hth_free(m->to);
	*m = (struct hth_mapped){0};
}

static bool mapped_reserve(struct hth_mapped *m, size_t more)
{
	if (more <= m->cap - m->n)
		return true;
	size_t cap = m->cap + m->cap / 2 + more + 64;
	char *text = hth_realloc(m->text, cap, 1);
	uint32_t *from = text == NULL ? NULL : hth_realloc(m->from, cap, sizeof(*from));
	uint32_t *to = from == NULL ? NULL : hth_realloc(m->to, cap, sizeof(*to));
	if (text != NULL)
		m->text = text;
	if (from != NULL)
		m->from = from;
	if (to == NULL) {
		m->failed = true;
		return false;
	}
	m->to = to;
	m->cap = cap;
	return true;
}

void hth_mapped_put(struct hth_mapped *m, const char *text, size_t bytes, uint32_t from, uint32_t to)
{
	if (!mapped_reserve(m, bytes))
		return;
	for (size_t i = 0; i < bytes; i++) {
		m->text[m->n] = text[i];
		m->from[m->n] = from;
		m->to[m->n] = to;
		m->n++;
	}
}

void hth_mapped_copy(struct hth_mapped *m, const struct hth_aligned *a, size_t start, size_t end)
{
	if (start == end || !mapped_reserve(m, end - start))
		return;
	memcpy(m->text + m->n, a->text + start, end - start);
	for (size_t i = start; i < end; i++) {
		m->from[m->n] = hth_aligned_from(a, i);
		m->to[m->n] = hth_aligned_to(a, i);
		m->n++;
	}
}

struct hth_aligned hth_mapped_view(const struct hth_mapped *m)
{
	return (struct hth_aligned){.text = m->text, .bytes = m->n, .from = m->from, .to = m->to};
}

void hth_pretok_clear(struct hth_pretok *p)
{
	for (size_t i = 0; i < p->n; i++)
		hth_pattern_clear(&p->steps[i].pattern);
	*p = (struct hth_pretok){0};
}

/* NULL, with the error told, when there are too many. */
static struct hth_step *new_step(struct hth_pretok *p, enum hth_step_kind kind, const char *where, struct hth_err *err)
{
	if (p->n == HTH_PRETOK_MAX_STEPS) {
		(void)hth_fail(err, HTH_ERR_LIMIT, "%s: more than 16 pre-tokenizer steps", where);
		return NULL;
	}
	struct hth_step *s = &p->steps[p->n++];
	*s = (struct hth_step){.kind = kind, .on_bytes = p->bytes};
	return s;
}

enum hth_status hth_pretok_add_split(struct hth_pretok *p, struct hth_arena *arena, const char *pattern, size_t bytes,
				     enum hth_split split, bool invert, const char *where, struct hth_err *err)
{
	struct hth_step *s = new_step(p, HTH_STEP_SPLIT, where, err);

	if (s == NULL)
		return HTH_ERR_LIMIT;
	enum hth_status st = hth_pattern_new(&s->pattern, arena, pattern, bytes, where, err);
	if (st != HTH_OK)
		return st;
	s->split = split;
	s->invert = invert;
	for (unsigned b = 0; b < 256; b++) {
		uint32_t c = s->on_bytes ? hth_byte_stand_in((unsigned char)b) : b;
		s->byte_symbols[b] = hth_pattern_symbol(&s->pattern, c);
	}
	return HTH_OK;
}

enum hth_status hth_pretok_add_bytes(struct hth_pretok *p, struct hth_arena *arena, bool space_first, bool split,
				     const char *where, struct hth_err *err)
{
	static const char words[] =
		"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
	enum hth_status st;

	if (p->bytes)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: a second ByteLevel step is not supported", where);
	if (space_first && new_step(p, HTH_STEP_SPACE, where, err) == NULL)
		return HTH_ERR_LIMIT;
	if (split) {
		st = hth_pretok_add_split(p, arena, words, sizeof(words) - 1, HTH_SPLIT_ISOLATED, false, where, err);
		if (st != HTH_OK)
			return st;
	}
	if (new_step(p, HTH_STEP_BYTES, where, err) == NULL)
		return HTH_ERR_LIMIT;
	p->bytes = true;
	return HTH_OK;
}

enum hth_status hth_pretok_add_metaspace(struct hth_pretok *p, struct hth_arena *arena, enum hth_prepend prepend,
					 bool split, const char *where, struct hth_err *err)
{
	if (p->bytes)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: Metaspace after ByteLevel is not supported", where);
	struct hth_step *s = new_step(p, HTH_STEP_METASPACE, where, err);
	if (s == NULL)
		return HTH_ERR_LIMIT;
	s->prepend = prepend;
	if (!split)
		return HTH_OK;
	return hth_pretok_add_split(p, arena, WORD_SIGN, 3, HTH_SPLIT_NEXT, false, where, err);
}

void hth_pretok_work_clear(struct hth_pretok_work *w)
{
	hth_free(w->pieces);
	hth_free(w->next);
	hth_free(w->symbols);
	hth_mapped_clear(&w->written[0]);
	hth_mapped_clear(&w->written[1]);
	hth_matcher_clear(&w->matcher);
	*w = (struct hth_pretok_work){0};
}

static bool push_piece(struct hth_pretok_work *w, size_t start, size_t end)
{
	if (start == end)
		return true;
	void *p = hth_grow(w->next, w->n_next, &w->next_cap, MAX_PIECES, sizeof(*w->next));
	if (p == NULL)
		return false;
	w->next = p;
	w->next[w->n_next++] = (struct hth_piece){(uint32_t)start, (uint32_t)end};
	return true;
}

static void take_next(struct hth_pretok_work *w)
{
	struct hth_piece *pieces = w->pieces;
	size_t cap = w->cap;

	w->pieces = w->next;
	w->n = w->n_next;
	w->cap = w->next_cap;
	w->next = pieces;
	w->n_next = 0;
	w->next_cap = cap;
}

/* One piece being cut: the parts so far, and what the split's rule remembers of them. */
struct cutting {
	struct hth_pretok_work *w;
	enum hth_split split;
	size_t first;    /* in w->next: this piece's first part */
	bool last_match; /* the part before was a match */
	bool pending;    /* HTH_SPLIT_NEXT: a match that waits for what follows */
	size_t pending_at;
};

static bool add_part(struct cutting *c, size_t start, size_t end, bool match)
{
	struct hth_pretok_work *w = c->w;
	bool has_last = w->n_next > c->first, was_match = c->last_match;

	c->last_match = match;
	switch (c->split) {
	case HTH_SPLIT_ISOLATED:
		return push_piece(w, start, end);
	case HTH_SPLIT_REMOVED:
		return match || push_piece(w, start, end);
	case HTH_SPLIT_CONTIGUOUS:
		if (!has_last || was_match != match)
			return push_piece(w, start, end);
		w->next[w->n_next - 1].end = (uint32_t)end;
		return true;
	case HTH_SPLIT_PREVIOUS:
		if (!has_last || !match || was_match)
			return push_piece(w, start, end);
		w->next[w->n_next - 1].end = (uint32_t)end;
		return true;
	case HTH_SPLIT_NEXT:
		if (match) {
			bool ok = !c->pending || push_piece(w, c->pending_at, start);
			c->pending = true;
			c->pending_at = start;
			return ok;
		}
		start = c->pending ? c->pending_at : start;
		c->pending = false;
		return push_piece(w, start, end);
	}
	return false;
}

/* The code point at s (valid UTF-8, not ASCII). */
static inline uint32_t decode(const unsigned char *s, size_t *used)
{
	if (s[0] < 0xE0) {
		*used = 2;
		return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
	}
	if (s[0] < 0xF0) {
		*used = 3;
		return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
	}
	*used = 4;
	return (uint32_t)(s[0] & 7) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 |
	       (s[3] & 0x3F);
}

static size_t write_symbols(const struct hth_step *s, const char *text, size_t bytes, uint8_t *symbols)
{
	const unsigned char *t = (const unsigned char *)text;
	size_t n = 0;

	if (s->on_bytes) {
		for (size_t i = 0; i < bytes; i++)
			symbols[i] = s->byte_symbols[t[i]];
		return bytes;
	}
	for (size_t i = 0; i < bytes;) {
		size_t used = 1;
		if (t[i] < 0x80)
			symbols[n++] = s->byte_symbols[t[i]];
		else
			symbols[n++] = hth_pattern_symbol(&s->pattern, decode(t + i, &used));
		i += used;
	}
	return n;
}

static size_t lead_bytes(unsigned char lead)
{
	return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static enum hth_status cut_piece(const struct hth_step *s, struct hth_pretok_work *w, struct hth_piece piece,
				 struct hth_err *err)
{
	const char *text = w->text.text + piece.start;
	size_t bytes = piece.end - piece.start, n = write_symbols(s, text, bytes, w->symbols);
	struct cutting c = {.w = w, .split = s->split, .first = w->n_next};
	size_t symbol = 0, at = piece.start; /* the same place in symbols and in bytes */
	size_t from = 0, last_end = SIZE_MAX, part = piece.start;
	bool found = true;

	while (from <= n) {
		size_t ms, me, start, end;
		enum hth_status st =
			hth_pattern_next(&s->pattern, &w->matcher, w->symbols, n, from, &found, &ms, &me, err);
		if (st != HTH_OK)
			return st;
		if (!found)
			break;
		if (ms == me && ms == last_end) { /* an empty match right behind the last one does not count */
			from++;
			continue;
		}
		if (n == bytes) {
			start = piece.start + ms;
			end = piece.start + me;
		} else {
			for (; symbol < ms; symbol++)
				at += lead_bytes((unsigned char)w->text.text[at]);
			start = at;
			for (; symbol < me; symbol++)
				at += lead_bytes((unsigned char)w->text.text[at]);
			end = at;
		}
		from = last_end = me;
		if ((part != start && !add_part(&c, part, start, s->invert)) || !add_part(&c, start, end, !s->invert))
			return hth_fail_memory(err, "pieces of a text", bytes);
		part = end;
		if (me == n)
			break;
	}
	if (part != piece.end && !add_part(&c, part, piece.end, s->invert))
		return hth_fail_memory(err, "pieces of a text", bytes);
	if (c.pending && !push_piece(w, c.pending_at, piece.end))
		return hth_fail_memory(err, "pieces of a text", bytes);
	return HTH_OK;
}

static enum hth_status run_split(const struct hth_step *s, struct hth_pretok_work *w, struct hth_err *err)
{
	if (w->symbols_cap < w->text.bytes) {
		size_t cap = w->text.bytes + w->text.bytes / 4 + 256;
		uint8_t *symbols = hth_realloc(w->symbols, cap, 1);
		if (symbols == NULL)
			return hth_fail_memory(err, "pieces of a text", cap);
		w->symbols = symbols;
		w->symbols_cap = cap;
	}
	for (size_t i = 0; i < w->n; i++) {
		enum hth_status st = cut_piece(s, w, w->pieces[i], err);
		if (st != HTH_OK)
			return st;
	}
	take_next(w);
	return HTH_OK;
}

/* Writes a piece anew with the word sign for spaces. */
static void write_metaspace(const struct hth_step *s, const struct hth_aligned *a, struct hth_piece p,
			    struct hth_mapped *out)
{
	const char *text = a->text + p.start;
	size_t bytes = p.end - p.start, kept = p.start;
	bool has_sign = text[0] == ' ' || (bytes >= 3 && memcmp(text, WORD_SIGN, 3) == 0);
	uint32_t origin = hth_aligned_from(a, p.start);

	if (!has_sign &&
	    (s->prepend == HTH_PREPEND_ALWAYS || (s->prepend == HTH_PREPEND_FIRST && a->starts_input && origin == 0)))
		hth_mapped_put(out, WORD_SIGN, 3, origin, origin);
	for (size_t i = p.start; i < p.end; i++) {
		if (a->text[i] != ' ')
			continue;
		hth_mapped_copy(out, a, kept, i);
		hth_mapped_put(out, WORD_SIGN, 3, hth_aligned_from(a, i), hth_aligned_to(a, i));
		kept = i + 1;
	}
	hth_mapped_copy(out, a, kept, p.end);
}

static enum hth_status rewrite(const struct hth_step *s, struct hth_pretok_work *w, struct hth_err *err)
{
	struct hth_mapped *out = &w->written[w->text.text == w->written[0].text ? 1 : 0];
	bool starts_input = w->text.starts_input;

	out->n = 0;
	out->failed = false;
	for (size_t i = 0; i < w->n; i++) {
		struct hth_piece p = w->pieces[i];
		size_t start = out->n;
		if (s->kind == HTH_STEP_METASPACE) {
			write_metaspace(s, &w->text, p, out);
		} else {
			uint32_t origin = hth_aligned_from(&w->text, p.start);
			if (w->text.text[p.start] != ' ')
				hth_mapped_put(out, " ", 1, origin, origin);
			hth_mapped_copy(out, &w->text, p.start, p.end);
		}
		if (out->failed || !push_piece(w, start, out->n))
			return hth_fail_memory(err, "a text's pieces", out->n);
		if (out->n > UINT32_MAX)
			return hth_fail(err, HTH_ERR_LIMIT, "the text grows past 4 GiB");
	}
	w->text = hth_mapped_view(out);
	w->text.starts_input = starts_input;
	take_next(w);
	return HTH_OK;
}

enum hth_status hth_pretok_run(const struct hth_pretok *p, struct hth_pretok_work *w, const struct hth_aligned *text,
			       struct hth_err *err)
{
	w->text = *text;
	w->n_next = 0;
	if (!push_piece(w, 0, text->bytes))
		return hth_fail_memory(err, "pieces of a text", text->bytes);
	take_next(w);
	for (size_t i = 0; i < p->n; i++) {
		const struct hth_step *s = &p->steps[i];
		enum hth_status st = s->kind == HTH_STEP_SPLIT   ? run_split(s, w, err)
				     : s->kind == HTH_STEP_BYTES ? HTH_OK
								 : rewrite(s, w, err);
		if (st != HTH_OK)
			return st;
	}
	return HTH_OK;
}
