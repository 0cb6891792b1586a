/* Normalization form C, cluster by cluster, over the generated tables of unicode_nfc_data.c. Those hold what the
 * tokenizers library knows (an older Unicode than its patterns), so text of newer scripts is left as it is, as there.
 * Compatibility forms are in unicode_forms.c. Source: Unicode Standard Annex 15 and chapter 3.12 (Hangul). */
#include "base/utf8.h"
#include "text/unicode.h"
#include "text/unicode_int.h"

#include <string.h>

enum {
	HANGUL_S = 0xAC00,
	HANGUL_L = 0x1100,
	HANGUL_V = 0x1161,
	HANGUL_T = 0x11A7,
	L_COUNT = 19,
	V_COUNT = 21,
	T_COUNT = 28,
	S_COUNT = L_COUNT * V_COUNT * T_COUNT,
};
#define CP_BITS 21
#define CP_MASK ((1u << CP_BITS) - 1)

/* The value of the entry whose key (entry >> shift) is `key`; false when there is none. */
static bool find64(const uint64_t *table, size_t n, int shift, uint64_t key, uint64_t *out)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		uint64_t k = table[mid] >> shift;
		if (k == key) {
			*out = table[mid];
			return true;
		}
		if (k < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static uint32_t combining_class(uint32_t c)
{
	size_t lo = 0, hi = hth_nfc_n_ccc;

	if (c < 0x300)
		return 0;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		uint32_t k = hth_nfc_ccc[mid] >> 8;
		if (k == c)
			return hth_nfc_ccc[mid] & 0xFF;
		if (k < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

/* True for code points that neither change by themselves nor act on what is before them; no table is asked for the
 * scripts that most text is made of. */
static bool is_inert(uint32_t c)
{
	return c < 0x300 || (c >= 0x400 && c < 0x483) || (c >= 0x620 && c < 0x64B) || (c >= 0x2010 && c < 0x2028) ||
	       (c >= 0x3030 && c < 0x3097) || (c >= 0x30A0 && c < 0xA66F) || (c >= 0xAC00 && c < 0xD7A4) ||
	       (c >= 0xFF00 && c < 0xFFF0);
}

/* Tibetan vowels that are starters and decompose into marks: what they become is ordered among the marks before. */
static bool becomes_marks(uint32_t c)
{
	return c == 0x0F73 || c == 0x0F75 || c == 0x0F81;
}

static bool joins_before(uint32_t c)
{
	if (is_inert(c))
		return false;
	if ((c >= HANGUL_V && c < HANGUL_V + V_COUNT) || (c > HANGUL_T && c < HANGUL_T + T_COUNT))
		return true;
	for (size_t i = 0; i < hth_nfc_n_joiners; i++) {
		if (hth_nfc_joiners[i] == c)
			return true;
	}
	return combining_class(c) != 0 || becomes_marks(c);
}

static bool changes_alone(uint32_t c)
{
	uint64_t unused;
	/* Composites decompose and come back the same; only what the pairs do not give back changes. That is not
	 * known here, so any decomposable code point outside the inert scripts is looked at in full. */
	return !is_inert(c) && find64(hth_nfc_decomp, hth_nfc_n_decomp, 16, c, &unused);
}

size_t hth_nfc_cluster(const char *text, size_t bytes, bool *may_change)
{
	size_t at = 0, last = 0; /* last: where the code point before `at` begins */

	while (at < bytes) {
		size_t used = 1;
		uint32_t c = (unsigned char)text[at] < 0x80 ? (unsigned char)text[at]
							    : hth_utf8_next(text + at, bytes - at, &used);
		bool joins = joins_before(c);
		if (joins || changes_alone(c)) {
			size_t begin = joins ? last : at;
			if (begin > 0) {
				*may_change = false;
				return begin;
			}
			at += used;
			while (at < bytes) {
				c = hth_utf8_next(text + at, bytes - at, &used);
				if (!joins_before(c))
					break;
				at += used;
			}
			*may_change = true;
			return at;
		}
		last = at;
		at += used;
	}
	*may_change = false;
	return bytes;
}

/* Appends the full canonical decomposition of c, each with its class above CP_BITS. The tables nest 4 deep at most. */
static size_t decompose(uint32_t c, uint32_t *out, size_t n, int depth)
{
	uint64_t entry;

	if (c >= HANGUL_S && c < HANGUL_S + S_COUNT) {
		uint32_t s = c - HANGUL_S;
		out[n++] = HANGUL_L + s / (V_COUNT * T_COUNT);
		out[n++] = HANGUL_V + s % (V_COUNT * T_COUNT) / T_COUNT;
		if (s % T_COUNT != 0)
			out[n++] = HANGUL_T + s % T_COUNT;
		return n;
	}
	if (c < 0xC0 || depth == 4 || !find64(hth_nfc_decomp, hth_nfc_n_decomp, 16, c, &entry)) {
		out[n++] = c | combining_class(c) << CP_BITS;
		return n;
	}
	const uint32_t *parts = hth_nfc_pool + ((entry & 0xFFFF) >> 2);
	for (size_t i = 0; i <= (entry & 3); i++) {
		if (parts[i] == c)
			out[n++] = c | combining_class(c) << CP_BITS;
		else
			n = decompose(parts[i], out, n, depth + 1);
	}
	return n;
}

/* Stable, and linear for long runs: a hostile text may be one run of marks. */
static void sort_marks(uint32_t *marks, size_t n, uint32_t *temp)
{
	if (n <= 32) {
		for (size_t i = 1; i < n; i++) {
			uint32_t m = marks[i];
			size_t k = i;
			for (; k > 0 && marks[k - 1] >> CP_BITS > m >> CP_BITS; k--)
				marks[k] = marks[k - 1];
			marks[k] = m;
		}
		return;
	}
	size_t at[257] = {0};
	for (size_t i = 0; i < n; i++)
		at[(marks[i] >> CP_BITS) + 1]++;
	for (size_t k = 1; k < 257; k++)
		at[k] += at[k - 1];
	for (size_t i = 0; i < n; i++)
		temp[at[marks[i] >> CP_BITS]++] = marks[i];
	memcpy(marks, temp, n * sizeof(*marks));
}

static bool compose_pair(uint32_t a, uint32_t b, uint32_t *out)
{
	uint64_t entry;

	if (a >= HANGUL_L && a < HANGUL_L + L_COUNT && b >= HANGUL_V && b < HANGUL_V + V_COUNT) {
		*out = HANGUL_S + ((a - HANGUL_L) * V_COUNT + (b - HANGUL_V)) * T_COUNT;
		return true;
	}
	if (a >= HANGUL_S && a < HANGUL_S + S_COUNT && (a - HANGUL_S) % T_COUNT == 0 && b > HANGUL_T &&
	    b < HANGUL_T + T_COUNT) {
		*out = a + (b - HANGUL_T);
		return true;
	}
	if (!find64(hth_nfc_pairs, hth_nfc_n_pairs, CP_BITS, (uint64_t)a << CP_BITS | b, &entry))
		return false;
	*out = (uint32_t)(entry & CP_MASK);
	return true;
}

/* Canonical decomposition and order, each code point with its class above CP_BITS. */
static size_t decompose_all(const uint32_t *in, size_t n, uint32_t *out)
{
	size_t m = 0;

	for (size_t i = 0; i < n; i++)
		m = decompose(in[i], out, m, 0);
	for (size_t i = 0; i < m;) {
		size_t k = i;
		while (k < m && out[k] >> CP_BITS != 0)
			k++;
		sort_marks(out + i, k - i, out + m);
		i = k + 1;
	}
	return m;
}

size_t hth_nfd_decompose(const uint32_t *in, size_t n, uint32_t *out)
{
	size_t m = decompose_all(in, n, out);

	for (size_t i = 0; i < m; i++)
		out[i] &= CP_MASK;
	return m;
}

bool hth_nfd_is_mark(uint32_t code_point)
{
	return combining_class(code_point) != 0 || becomes_marks(code_point);
}

size_t hth_nfc_compose(const uint32_t *in, size_t n, uint32_t *out)
{
	size_t m = decompose_all(in, n, out);
	size_t kept = 0, starter = SIZE_MAX;
	uint32_t before = 0; /* class of the last code point kept after the starter; 0: none */
	for (size_t i = 0; i < m; i++) {
		uint32_t c = out[i] & CP_MASK, class = out[i] >> CP_BITS, joined;
		bool blocked = starter == SIZE_MAX || (before != 0 && before >= class);
		if (!blocked && compose_pair(out[starter], c, &joined)) {
			out[starter] = joined;
			continue;
		}
		if (class == 0)
			starter = kept;
		before = class;
		out[kept++] = c;
	}
	return kept;
}
