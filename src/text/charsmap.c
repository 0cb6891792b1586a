/* Reading and walking a precompiled map of characters. See charsmap.h.
 * A unit's bits (Darts-clone): 0-7 label, 8 a value hangs below, 9 the offset counts in 256s, 10-30 offset; a value has
 * bit 31 and 31 bits of value. The child for byte c of a node at p is unit p ^ c; it is one if its label is c. */
#include "text/charsmap.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

static size_t offset_of(uint32_t unit)
{
	return (size_t)(unit >> 10 & 0x1FFFFF) << ((unit & 1u << 9) >> 6);
}

static uint32_t label_of(uint32_t unit)
{
	return unit & (1u << 31 | 0xFF);
}

static bool has_value(uint32_t unit)
{
	return (unit >> 8 & 1) != 0;
}

static size_t value_of(uint32_t unit)
{
	return unit & 0x7FFFFFFF;
}

/* Every value that some text reaches is a unit of the array and names a byte of the texts. A child outside of the array
 * is none (hth_charsmap_find). Units are looked at once each, so that a map that runs in circles ends too. */
static enum hth_status check_units(const struct hth_charsmap *m, const char *where, struct hth_err *err)
{
	size_t n = m->n_units, *open = hth_calloc(n + 1, sizeof(*open)), n_open = 0;
	uint8_t *seen = hth_calloc(n, 1);
	enum hth_status st = HTH_OK;

	if (open == NULL || seen == NULL) {
		st = hth_fail_memory(err, "a map of characters", n * sizeof(*open));
		goto done;
	}
	open[n_open++] = offset_of(m->units[0]);
	while (n_open > 0 && st == HTH_OK) {
		size_t at = open[--n_open];
		for (size_t c = 1; c < 256 && st == HTH_OK; c++) {
			size_t next = at ^ c;
			if (next >= n || label_of(m->units[next]) != c || seen[next])
				continue;
			seen[next] = 1;
			size_t below = next ^ offset_of(m->units[next]);
			bool value = has_value(m->units[next]);
			if (value && below >= n)
				st = hth_fail(err, HTH_ERR_FORMAT, "%s: unit %zu leads to unit %zu, there are %zu",
					      where, next, below, n);
			else if (value && value_of(m->units[below]) >= m->n_texts)
				st = hth_fail(err, HTH_ERR_FORMAT,
					      "%s: unit %zu names the text at byte %zu, there are %zu bytes", where, below,
					      value_of(m->units[below]), m->n_texts);
			else
				open[n_open++] = below;
		}
	}
done:
	hth_free(open);
	hth_free(seen);
	return st;
}

enum hth_status hth_charsmap_init(struct hth_charsmap *m, struct hth_arena *arena, const void *data, size_t bytes,
				  const char *where, struct hth_err *err)
{
	const uint8_t *p = data;

	*m = (struct hth_charsmap){0};
	if (bytes == 0)
		return HTH_OK;
	size_t trie = bytes < 4 ? SIZE_MAX : (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
	if (bytes < 4 || trie < 4 || trie % 4 != 0 || trie >= bytes - 4)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: a map of characters of %zu bytes that says %zu for its trie, expected a multiple of 4 "
				"that leaves room for texts",
				where, bytes, bytes < 4 ? (size_t)0 : trie);
	const char *texts = (const char *)p + 4 + trie;
	m->n_texts = bytes - 4 - trie;
	if (texts[m->n_texts - 1] != '\0' || !hth_utf8_valid(texts, m->n_texts))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: the texts of a map of characters are not UTF-8 ended by NUL",
				where);
	m->n_units = trie / 4;
	uint32_t *units = hth_arena_calloc(arena, m->n_units, sizeof(*units));
	m->units = units;
	m->texts = hth_arena_strndup(arena, texts, m->n_texts);
	if (units == NULL || m->texts == NULL)
		return hth_fail_memory(err, "a map of characters", bytes);
	for (size_t i = 0; i < m->n_units; i++) {
		const uint8_t *u = p + 4 + 4 * i;
		units[i] = (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
	}
	return check_units(m, where, err);
}

size_t hth_charsmap_find(const struct hth_charsmap *m, const char *text, size_t bytes, bool longest, const char **with)
{
	size_t at = m->n_units > 0 ? offset_of(m->units[0]) : 0, found = 0;

	for (size_t i = 0; i < bytes && m->n_units > 0 && (found == 0 || longest); i++) {
		uint8_t c = (uint8_t)text[i];
		size_t next = at ^ c;
		if (c == 0 || next >= m->n_units || label_of(m->units[next]) != c)
			break;
		at = next ^ offset_of(m->units[next]);
		if (has_value(m->units[next])) {
			*with = m->texts + value_of(m->units[at]);
			found = i + 1;
		}
	}
	return found;
}
