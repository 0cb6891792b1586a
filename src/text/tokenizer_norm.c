/* Normalizer steps of a tokenizer.json: NFC, NFD, NFKC, NFKD, Prepend, Replace (text or pattern), Strip, Lowercase,
 * StripAccents, Nmt, Precompiled; and SentencePiece's own, of GGUF files. Bert's is not here; the loader refuses it by
 * name. */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/grapheme.h"
#include "text/tokenizer_int.h"

#include <string.h>

void hth_norm_work_clear(struct hth_norm_work *w)
{
	hth_mapped_clear(&w->written[0]);
	hth_mapped_clear(&w->written[1]);
	hth_free(w->cps);
	hth_free(w->symbols);
	hth_matcher_clear(&w->matcher);
	*w = (struct hth_norm_work){0};
}

static struct hth_mapped *next_buffer(struct hth_norm_work *w, const struct hth_aligned *a)
{
	/* The text may be a part of the first buffer (Strip): then the second is free. */
	uintptr_t text = (uintptr_t)a->text, first = (uintptr_t)w->written[0].text;
	struct hth_mapped *out = &w->written[text >= first && text - first <= w->written[0].cap ? 1 : 0];

	out->n = 0;
	out->failed = false;
	return out;
}

static void take_buffer(struct hth_aligned *a, const struct hth_mapped *out)
{
	bool starts_input = a->starts_input;

	*a = hth_mapped_view(out);
	a->starts_input = starts_input;
}

typedef size_t (*form_fn)(const uint32_t *in, size_t n, uint32_t *out);

/* A form of text[0..bytes) into w->cps; *same when it is the text itself. Returns the count, SIZE_MAX out of memory. */
static size_t normal_cluster(struct hth_norm_work *w, const char *text, size_t bytes, form_fn form, bool *same)
{
	size_t n = 0, m, at = 0;

	if (w->cps_cap < bytes * (HTH_NFC_ROOM + 1)) {
		uint32_t *cps = hth_realloc(w->cps, bytes * (HTH_NFC_ROOM + 1), sizeof(*cps));
		if (cps == NULL)
			return SIZE_MAX;
		w->cps = cps;
		w->cps_cap = bytes * (HTH_NFC_ROOM + 1);
	}
	uint32_t *in = w->cps + bytes * HTH_NFC_ROOM;
	for (size_t used; at < bytes; at += used)
		in[n++] = hth_utf8_next(text + at, bytes - at, &used);
	m = form(in, n, w->cps);
	*same = m == n && memcmp(in, w->cps, n * sizeof(*in)) == 0;
	return m;
}

/* Code points that stand for a->text[at..end). */
static void put_cluster(struct hth_mapped *out, const uint32_t *cps, size_t n, const struct hth_aligned *a, size_t at,
			size_t end)
{
	for (size_t i = 0; i < n; i++) {
		char utf8[4];
		hth_mapped_put(out, utf8, hth_utf8_put(cps[i], utf8), hth_aligned_from(a, at), hth_aligned_to(a, end - 1));
	}
}

static bool may_need_nfc(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if ((unsigned char)text[i] >= 0xCC) /* the lead byte of U+0300 */
			return true;
	}
	return false;
}

static bool run_nfc(struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = NULL;
	size_t at = 0, copied = 0;

	if (!may_need_nfc(a->text, a->bytes))
		return true;
	while (at < a->bytes) {
		bool may_change, same;
		size_t n = hth_nfc_cluster(a->text + at, a->bytes - at, &may_change);
		if (may_change) {
			size_t m = normal_cluster(w, a->text + at, n, hth_nfc_compose, &same);
			if (m == SIZE_MAX)
				return false;
			if (!same) {
				if (out == NULL)
					out = next_buffer(w, a);
				hth_mapped_copy(out, a, copied, at);
				put_cluster(out, w->cps, m, a, at, at + n);
				copied = at + n;
			}
		}
		at += n;
	}
	if (out == NULL)
		return true;
	hth_mapped_copy(out, a, copied, a->bytes);
	take_buffer(a, out);
	return !out->failed;
}

/* A starter and the marks behind it at a time. */
static bool run_nfd(struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = NULL;
	size_t copied = 0, end, used;

	for (size_t at = 0; at < a->bytes; at = end) {
		end = at;
		(void)hth_utf8_next(a->text + at, a->bytes - at, &used);
		do {
			end += used;
		} while (end < a->bytes && (unsigned char)a->text[end] >= 0xCC &&
			 hth_nfd_is_mark(hth_utf8_next(a->text + end, a->bytes - end, &used)));
		if (end == at + 1) /* ASCII by itself */
			continue;
		bool same;
		size_t m = normal_cluster(w, a->text + at, end - at, hth_nfd_decompose, &same);
		if (m == SIZE_MAX)
			return false;
		if (same)
			continue;
		if (out == NULL)
			out = next_buffer(w, a);
		hth_mapped_copy(out, a, copied, at);
		put_cluster(out, w->cps, m, a, at, end);
		copied = end;
	}
	if (out == NULL)
		return true;
	hth_mapped_copy(out, a, copied, a->bytes);
	take_buffer(a, out);
	return !out->failed;
}

static bool run_form(enum hth_form form, struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = NULL;
	size_t copied = 0, used;

	for (size_t at = 0; at < a->bytes; at += used) {
		const uint32_t *with;
		size_t n = hth_form_of(form, hth_utf8_next(a->text + at, a->bytes - at, &used), &with);
		if (n == SIZE_MAX)
			continue;
		if (out == NULL)
			out = next_buffer(w, a);
		hth_mapped_copy(out, a, copied, at);
		put_cluster(out, with, n, a, at, at + used);
		copied = at + used;
	}
	if (out == NULL)
		return true;
	hth_mapped_copy(out, a, copied, a->bytes);
	take_buffer(a, out);
	return !out->failed;
}

static bool run_prepend(const struct hth_norm *s, struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = next_buffer(w, a);

	if (a->bytes == 0)
		return true;
	hth_mapped_put(out, s->what, s->what_bytes, hth_aligned_from(a, 0), hth_aligned_from(a, 0));
	hth_mapped_copy(out, a, 0, a->bytes);
	take_buffer(a, out);
	return !out->failed;
}

/* Writes `with` for a->text[start..end). In the reference it comes from the last character of these alone: Metaspace's
 * "first" sees no beginning of the input in it if there are more. */
static void put_replacement(const struct hth_norm *s, struct hth_mapped *out, struct hth_aligned *a, size_t start,
			    size_t end)
{
	size_t last = end > start ? hth_char_before(a->text, end) : start;

	if (out->n == 0 && s->with_bytes > 0 && end > start && hth_aligned_from(a, last) != 0)
		a->starts_input = false;
	uint32_t from = start < a->bytes ? hth_aligned_from(a, start)
			: start > 0      ? hth_aligned_to(a, start - 1)
					 : 0;
	hth_mapped_put(out, s->with, s->with_bytes, from, end > start ? hth_aligned_to(a, end - 1) : from);
}

static bool run_replace(const struct hth_norm *s, struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = NULL;
	size_t copied = 0;

	for (size_t at = 0; at + s->what_bytes <= a->bytes;) {
		const char *hit = memchr(a->text + at, s->what[0], a->bytes - s->what_bytes + 1 - at);
		if (hit == NULL)
			break;
		at = (size_t)(hit - a->text);
		if (memcmp(hit, s->what, s->what_bytes) != 0) {
			at++;
			continue;
		}
		if (out == NULL)
			out = next_buffer(w, a);
		hth_mapped_copy(out, a, copied, at);
		put_replacement(s, out, a, at, at + s->what_bytes);
		at = copied = at + s->what_bytes;
	}
	if (out == NULL)
		return true;
	hth_mapped_copy(out, a, copied, a->bytes);
	take_buffer(a, out);
	return !out->failed;
}

/* The pattern's symbols of the whole text into w->symbols; their count, SIZE_MAX out of memory. */
static size_t symbols_of(const struct hth_norm *s, struct hth_norm_work *w, const struct hth_aligned *a)
{
	size_t n = 0;

	if (w->symbols_cap < a->bytes) {
		uint8_t *symbols = hth_realloc(w->symbols, a->bytes, 1);
		if (symbols == NULL)
			return SIZE_MAX;
		w->symbols = symbols;
		w->symbols_cap = a->bytes;
	}
	for (size_t at = 0, used; at < a->bytes; at += used)
		w->symbols[n++] = hth_pattern_symbol(&s->pattern, hth_utf8_next(a->text + at, a->bytes - at, &used));
	return n;
}

static enum hth_status run_pattern(const struct hth_norm *s, struct hth_norm_work *w, struct hth_aligned *a,
				   struct hth_err *err)
{
	struct hth_mapped *out = NULL;
	size_t n = symbols_of(s, w, a), from = 0, symbol = 0, at = 0, copied = 0, last_end = SIZE_MAX;

	if (n == SIZE_MAX)
		return hth_fail_memory(err, "a normalized text", a->bytes);
	while (n > 0 && from <= n) {
		size_t ms, me, start, used;
		bool found;
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
		for (; symbol < ms; symbol++, at += used)
			(void)hth_utf8_next(a->text + at, a->bytes - at, &used);
		start = at;
		for (; symbol < me; symbol++, at += used)
			(void)hth_utf8_next(a->text + at, a->bytes - at, &used);
		from = last_end = me;
		if (out == NULL)
			out = next_buffer(w, a);
		hth_mapped_copy(out, a, copied, start);
		put_replacement(s, out, a, start, at);
		copied = at;
	}
	if (out == NULL)
		return HTH_OK;
	hth_mapped_copy(out, a, copied, a->bytes);
	take_buffer(a, out);
	return out->failed ? hth_fail_memory(err, "a normalized text", a->bytes) : HTH_OK;
}

static void run_strip(const struct hth_norm *s, struct hth_aligned *a)
{
	size_t start = 0, end = a->bytes, used;

	while (s->left && start < end && hth_unicode_is_space(hth_utf8_next(a->text + start, end - start, &used)))
		start += used;
	while (s->right && end > start) {
		size_t at = end - 1;
		while (at > start && ((unsigned char)a->text[at] & 0xC0) == 0x80)
			at--;
		if (!hth_unicode_is_space(hth_utf8_next(a->text + at, end - at, &used)))
			break;
		end = at;
	}
	a->text += start;
	a->base += (uint32_t)start;
	if (a->from != NULL) {
		a->from += start;
		a->to += start;
	}
	a->bytes = end - start;
}

/* What stands for text[at..bytes) at its beginning, and for how many bytes of it (0: it stays). The tokenizers library
 * looks at a whole grapheme if it is short, takes the shortest match, and lets it stand for all of the grapheme. */
static size_t mapped_at(const struct hth_norm *s, const struct hth_aligned *a, size_t at, size_t *step, const char **with)
{
	const char *text = a->text + at;

	(void)hth_utf8_next(text, a->bytes - at, step);
	if (s->kind == HTH_NORM_LONGEST)
		return hth_charsmap_find(&s->map, text, a->bytes - at, true, with);
	return hth_charsmap_find(&s->map, text, *step, false, with) > 0 ? *step : 0;
}

/* The next text at or after `at` that the map leaves alone. */
static void find_kept(const struct hth_norm *s, const struct hth_aligned *a, size_t at, size_t *start, size_t *end)
{
	*start = *end = SIZE_MAX;
	if (s->keep != NULL)
		(void)!hth_added_next(s->keep, a->text, a->bytes, at, start, end);
}

#define SHORT_GRAPHEME 6 /* bytes; shorter ones are looked up whole */

static bool run_charsmap(const struct hth_norm *s, struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = NULL;
	size_t copied = 0, cluster_end = 0, kept, kept_end;

	find_kept(s, a, 0, &kept, &kept_end);
	for (size_t at = 0, step; at < a->bytes; at += step) {
		const char *with = NULL;
		size_t n = 0;
		if (at > kept) /* a replacement went over its beginning */
			find_kept(s, a, at, &kept, &kept_end);
		if (at == kept) {
			step = kept_end - kept;
			continue;
		}
		if (s->kind == HTH_NORM_CHARSMAP && at >= cluster_end) {
			cluster_end = at + hth_grapheme(a->text + at, a->bytes - at);
			n = cluster_end - at;
			if (n >= SHORT_GRAPHEME || hth_charsmap_find(&s->map, a->text + at, n, false, &with) == 0)
				n = 0;
		}
		if (n == 0)
			n = mapped_at(s, a, at, &step, &with);
		if (n == 0)
			continue;
		step = n;
		if (out == NULL)
			out = next_buffer(w, a);
		hth_mapped_copy(out, a, copied, at);
		hth_mapped_put(out, with, strlen(with), hth_aligned_from(a, at), hth_aligned_to(a, at + n - 1));
		copied = at + n;
	}
	if (out == NULL)
		return true;
	hth_mapped_copy(out, a, copied, a->bytes);
	/* What the map drops at the beginning is the first remaining character's in the reference: Metaspace's "first" asks. */
	size_t used = 0;
	if (!out->failed && out->n > 0)
		(void)hth_utf8_next(out->text, out->n, &used);
	for (size_t i = 0; i < used; i++)
		out->from[i] = hth_aligned_from(a, 0);
	take_buffer(a, out);
	return !out->failed;
}

static bool run_spaces(const struct hth_norm *s, struct hth_norm_work *w, struct hth_aligned *a)
{
	struct hth_mapped *out = next_buffer(w, a);
	size_t at = 0, n = strlen(HTH_WORD_SIGN);
	bool after_space = true;

	while (s->right && at < a->bytes && a->text[at] == ' ')
		at++;
	if (at < a->bytes && s->left)
		hth_mapped_put(out, HTH_WORD_SIGN, n, hth_aligned_from(a, at), hth_aligned_from(a, at));
	for (; at < a->bytes; at++) {
		bool space = a->text[at] == ' ';
		if (!space)
			hth_mapped_copy(out, a, at, at + 1);
		else if (!s->right || !after_space)
			hth_mapped_put(out, HTH_WORD_SIGN, n, hth_aligned_from(a, at), hth_aligned_to(a, at));
		after_space = space;
	}
	while (s->right && out->n >= n && memcmp(out->text + out->n - n, HTH_WORD_SIGN, n) == 0)
		out->n -= n;
	take_buffer(a, out);
	return !out->failed;
}

enum hth_status hth_norm_run(const struct hth_norm *norms, size_t n, struct hth_norm_work *w, struct hth_aligned *a,
			     struct hth_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct hth_norm *s = &norms[i];
		enum hth_status st = HTH_OK;
		bool ok = true;
		switch (s->kind) {
		case HTH_NORM_NFC:
			ok = run_nfc(w, a);
			break;
		case HTH_NORM_NFD:
			ok = run_nfd(w, a);
			break;
		case HTH_NORM_FORM:
			ok = run_form(s->form, w, a);
			break;
		case HTH_NORM_PREPEND:
			ok = run_prepend(s, w, a);
			break;
		case HTH_NORM_REPLACE:
			ok = run_replace(s, w, a);
			break;
		case HTH_NORM_PATTERN:
			st = run_pattern(s, w, a, err);
			break;
		case HTH_NORM_STRIP:
			run_strip(s, a);
			break;
		case HTH_NORM_CHARSMAP:
		case HTH_NORM_LONGEST:
			ok = run_charsmap(s, w, a);
			break;
		case HTH_NORM_SPACES:
			ok = run_spaces(s, w, a);
			break;
		}
		if (!ok)
			st = hth_fail_memory(err, "a normalized text", a->bytes);
		if (st != HTH_OK)
			return st;
		if (a->bytes > UINT32_MAX)
			return hth_fail(err, HTH_ERR_LIMIT, "the text grows past 4 GiB when normalized");
	}
	return HTH_OK;
}
