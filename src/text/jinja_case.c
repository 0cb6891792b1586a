/* Characters as Python's str sees them: classes, and case mapping with Unicode's special cases (ß, final sigma).
 * General categories and simple mappings are utf8proc's. */
#include "text/jinja_int.h"

#include "text/jinja_casetab.h"

#include <utf8proc.h>

static utf8proc_category_t category(uint32_t cp)
{
	return utf8proc_category((utf8proc_int32_t)cp);
}

static bool in_ranges(const uint32_t (*r)[2], size_t n, uint32_t cp)
{
	for (size_t i = 0; i < n; i++)
		if (cp >= r[i][0] && cp <= r[i][1])
			return true;
	return false;
}

bool hth_jchar_space(uint32_t cp)
{
	return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
	       (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
	       cp == 0x3000;
}

bool hth_jchar_alpha(uint32_t cp)
{
	if (cp < 0x80)
		return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
	utf8proc_category_t c = category(cp);
	return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool hth_jchar_decimal(uint32_t cp)
{
	return cp < 0x80 ? cp >= '0' && cp <= '9' : category(cp) == UTF8PROC_CATEGORY_ND;
}

bool hth_jchar_digit(uint32_t cp)
{
	return hth_jchar_decimal(cp) || in_ranges(digit_others, sizeof digit_others / sizeof digit_others[0], cp);
}

bool hth_jchar_numeric(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= '0' && cp <= '9';
	utf8proc_category_t c = category(cp);
	return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) ||
	       in_ranges(numeric_letters, sizeof numeric_letters / sizeof numeric_letters[0], cp);
}

bool hth_jchar_printable(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= 0x20 && cp < 0x7F;
	utf8proc_category_t c = category(cp);
	return c != UTF8PROC_CATEGORY_CN && !(c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_CO);
}

bool hth_jchar_upper(uint32_t cp)
{
	return category(cp) == UTF8PROC_CATEGORY_LU;
}

bool hth_jchar_lower(uint32_t cp)
{
	return category(cp) == UTF8PROC_CATEGORY_LL;
}

bool hth_jchar_title(uint32_t cp)
{
	return category(cp) == UTF8PROC_CATEGORY_LT;
}

bool hth_jchar_cased(uint32_t cp)
{
	utf8proc_category_t c = category(cp);
	return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* Unicode's Case_Ignorable, near enough for the final sigma. */
static bool ignorable(uint32_t cp)
{
	utf8proc_category_t c = category(cp);
	return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
	       c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK || cp == '\'' || cp == '.' || cp == ':' ||
	       cp == 0xB7 || cp == 0x2018 || cp == 0x2019;
}

/* A capital sigma at the end of a word is ς: a cased letter before it, none behind. */
static bool final_sigma(const struct hth_jcursor *at, uint32_t last_cased)
{
	struct hth_jcursor c = *at;
	if (last_cased == 0)
		return false;
	while (hth_jcursor_next(&c))
		if (!ignorable(c.cp))
			return !hth_jchar_cased(c.cp);
	return true;
}

static bool put_special(struct hth_jsb *b, const struct hth_jcursor *c, bool title, bool *done)
{
	size_t lo = 0, hi = sizeof case_special / sizeof case_special[0];
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (case_special[mid].cp < c->cp)
			lo = mid + 1;
		else
			hi = mid;
	}
	*done = lo < sizeof case_special / sizeof case_special[0] && case_special[lo].cp == c->cp;
	const char *text = !*done ? "" : title ? case_special[lo].title : case_special[lo].upper;
	return hth_jsb_add(b, text, strlen(text), c->origin, c->gen);
}

/* 'u', 'l', 't' or 'f' of the character at c. */
static bool put_mapped(struct hth_jsb *b, const struct hth_jcursor *c, char how, uint32_t last_cased)
{
	bool done = false;
	utf8proc_int32_t cp = (utf8proc_int32_t)c->cp, folded[4];
	if (cp < 0x80 || c->cp > 0x10FFFF) {
		bool letter = hth_jchar_alpha(c->cp) && cp < 0x80;
		char ch = (char)(letter ? (how == 'l' || how == 'f' ? cp | 0x20 : cp & ~0x20) : cp);
		return c->cp > 0x10FFFF ? hth_jsb_put_cp(b, 0xFFFD, c->origin, c->gen)
					: hth_jsb_add(b, &ch, 1, c->origin, c->gen);
	}
	if ((how == 'u' || how == 't') && (!put_special(b, c, how == 't', &done) || done))
		return b->x->status == HTH_OK;
	if (how == 'l' && cp == 0x130)
		return hth_jsb_add(b, "i\xCC\x87", 3, c->origin, c->gen);
	if (how == 'l' && cp == 0x3A3 && final_sigma(c, last_cased))
		return hth_jsb_put_cp(b, 0x3C2, c->origin, c->gen);
	if (how == 'f') {
		int boundclass = 0;
		utf8proc_ssize_t n = utf8proc_decompose_char(cp, folded, 4, UTF8PROC_CASEFOLD, &boundclass);
		for (utf8proc_ssize_t i = 0; i < n && i < 4; i++)
			if (!hth_jsb_put_cp(b, (uint32_t)folded[i], c->origin, c->gen))
				return false;
		return true;
	}
	cp = how == 'u' ? utf8proc_toupper(cp) : how == 'l' ? utf8proc_tolower(cp) : utf8proc_totitle(cp);
	return hth_jsb_put_cp(b, (uint32_t)cp, c->origin, c->gen);
}

struct hth_jstr *hth_jstr_case(struct hth_jx *x, struct hth_jstr *s, char how)
{
	struct hth_jsb b;
	struct hth_jcursor c = {.s = s};
	uint32_t last_cased = 0; /* the cased letter before, across ignorable characters */
	bool start = true, prev_cased = false;
	if (!hth_jstr_flat(x, s))
		return NULL;
	hth_jsb_init(&b, x);
	while (hth_jcursor_next(&c)) {
		char to = how;
		if (how == 's')
			to = hth_jchar_upper(c.cp) ? 'l' : hth_jchar_lower(c.cp) ? 'u' : 'n';
		else if (how == 'c')
			to = start ? 't' : 'l';
		else if (how == 't')
			to = prev_cased ? 'l' : 't';
		else if (how == 'w')
			to = start ? 'u' : 'l';
		if (to == 'n' ? !hth_jsb_add_slice(&b, s, c.start, c.at) : !put_mapped(&b, &c, to, last_cased))
			return NULL;
		prev_cased = hth_jchar_cased(c.cp);
		if (!ignorable(c.cp))
			last_cased = prev_cased ? c.cp : 0;
		start = how == 'w' &&
			(hth_jchar_space(c.cp) || (c.cp < 0x80 && c.cp != 0 && strchr("-({[<", (int)c.cp) != NULL));
	}
	struct hth_jstr *r = hth_jsb_done(&b);
	if (r != NULL)
		r->markup = s->markup;
	return r;
}
