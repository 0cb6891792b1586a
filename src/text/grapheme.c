/* The rules GB3 to GB13 of UAX 29, over the generated runs of unicode_grapheme_data.c. */
#include "text/grapheme.h"
#include "base/utf8.h"
#include "text/unicode_int.h"

#include <stdbool.h>

/* In the order of tools/graphemes.py; LV and LVT are computed. */
enum cluster_class {
	OTHER, CR, LF, CONTROL, ZWJ, LINKER, INCB_EXTEND, EXTEND, REGIONAL, PREPEND, SPACING, L, V, T, PICTOGRAPH,
	CONSONANT, LV, LVT,
};

static enum cluster_class class_of(uint32_t c)
{
	size_t low = 0, high = hth_grapheme_n_runs;

	if (c >= 0x20 && c < 0x7F)
		return OTHER;
	if (c >= 0xAC00 && c <= 0xD7A3) /* Hangul syllables: each 28th has no final consonant */
		return (c - 0xAC00) % 28 == 0 ? LV : LVT;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (hth_grapheme_runs[mid] >> 8 <= c)
			low = mid;
		else
			high = mid;
	}
	return (enum cluster_class)(hth_grapheme_runs[low] & 0xFF);
}

static bool is_extend(enum cluster_class k)
{
	return k == EXTEND || k == INCB_EXTEND || k == LINKER;
}

/* What the cluster up to here looks like to the rules that look back. */
struct past {
	enum cluster_class last;
	bool pictograph;        /* ExtPict Extend* */
	bool pictograph_joiner; /* ExtPict Extend* ZWJ */
	bool consonant, linked; /* Consonant [Extend Linker]*, with a linker among them */
	size_t regionals;
};

static void add(struct past *p, enum cluster_class k)
{
	p->pictograph_joiner = k == ZWJ && p->pictograph;
	p->pictograph = k == PICTOGRAPH || (p->pictograph && is_extend(k));
	bool goes_on = k == LINKER || k == INCB_EXTEND || k == ZWJ;
	p->linked = p->consonant && goes_on && (p->linked || k == LINKER);
	p->consonant = k == CONSONANT || (p->consonant && goes_on);
	p->regionals = k == REGIONAL ? p->regionals + 1 : 0;
	p->last = k;
}

static bool goes_on(const struct past *p, enum cluster_class k)
{
	enum cluster_class a = p->last;

	if (a == CR || a == LF || a == CONTROL || k == CR || k == LF || k == CONTROL)
		return a == CR && k == LF;
	if (is_extend(k) || k == ZWJ || k == SPACING || a == PREPEND)
		return true;
	if (a == L && (k == L || k == V || k == LV || k == LVT))
		return true;
	if (((a == LV || a == V) && (k == V || k == T)) || ((a == LVT || a == T) && k == T))
		return true;
	return (k == CONSONANT && p->linked) || (k == PICTOGRAPH && p->pictograph_joiner) ||
	       (k == REGIONAL && p->regionals % 2 == 1);
}

size_t hth_grapheme(const char *text, size_t bytes)
{
	struct past p = {.last = OTHER};
	size_t at, used;

	add(&p, class_of(hth_utf8_next(text, bytes, &at)));
	for (; at < bytes; at += used) {
		enum cluster_class k = class_of(hth_utf8_next(text + at, bytes - at, &used));
		if (!goes_on(&p, k))
			break;
		add(&p, k);
	}
	return at;
}
