/* Sets of code points and classes, over the generated tables of unicode_data.c. */
#include "text/unicode.h"
#include "base/mem.h"
#include "text/unicode_int.h"

#include <stdlib.h>
#include <string.h>

#define LAST_CODE_POINT 0x10FFFFu
/* Far above any class (the largest has under 3,000 ranges); a bound for sets built from a hostile pattern. */
#define MAX_RANGES ((size_t)1 << 18)

void hth_uset_clear(struct hth_uset *s)
{
	hth_free(s->ranges);
	*s = (struct hth_uset){0};
}

void hth_uset_add(struct hth_uset *s, uint32_t first, uint32_t last)
{
	void *p = hth_grow(s->ranges, s->n, &s->cap, MAX_RANGES, sizeof(*s->ranges));
	if (p == NULL) {
		s->failed = true;
		return;
	}
	s->ranges = p;
	s->ranges[s->n][0] = first;
	s->ranges[s->n][1] = last;
	s->n++;
}

void hth_uset_add_set(struct hth_uset *s, const struct hth_uset *other)
{
	for (size_t i = 0; i < other->n; i++)
		hth_uset_add(s, other->ranges[i][0], other->ranges[i][1]);
	s->failed |= other->failed;
}

/* Adds the categories whose name begins with name[0..bytes). Runs without a category are Cn and Cs. */
static bool add_categories(struct hth_uset *s, const char *name, size_t bytes)
{
	bool wanted[64] = {false}, any = false;

	for (size_t i = 0; bytes >= 1 && bytes <= 2 && i < hth_unicode_n_categories; i++) {
		wanted[i] = strncmp(hth_unicode_categories[i], name, bytes) == 0;
		any |= wanted[i];
	}
	if (bytes >= 1 && name[0] == 'C' && (bytes == 1 || (bytes == 2 && name[1] == 'n')))
		wanted[hth_unicode_n_categories] = any = true;
	for (size_t i = 0; any && i < hth_unicode_n_runs; i++) {
		if (!wanted[hth_unicode_runs[i] & 0xFF])
			continue;
		uint32_t end = i + 1 < hth_unicode_n_runs ? hth_unicode_runs[i + 1] >> 8 : LAST_CODE_POINT + 1;
		hth_uset_add(s, hth_unicode_runs[i] >> 8, end - 1);
	}
	return any;
}

bool hth_uset_add_class(struct hth_uset *s, const char *name, size_t bytes)
{
	if (bytes == 3 && memcmp(name, "Any", 3) == 0) {
		hth_uset_add(s, 0, LAST_CODE_POINT);
		return true;
	}
	for (size_t i = 0; i < hth_unicode_n_classes; i++) {
		const struct hth_unicode_class *c = &hth_unicode_classes[i];
		if (strlen(c->name) != bytes || memcmp(c->name, name, bytes) != 0)
			continue;
		for (size_t k = 0; k < c->n; k++)
			hth_uset_add(s, c->ranges[k][0], c->ranges[k][1]);
		return true;
	}
	return add_categories(s, name, bytes);
}

static int by_first(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

void hth_uset_tidy(struct hth_uset *s)
{
	size_t n = 0;

	if (s->n == 0)
		return;
	qsort(s->ranges, s->n, sizeof(*s->ranges), by_first);
	for (size_t i = 1; i < s->n; i++) {
		if (s->ranges[i][0] <= s->ranges[n][1] || s->ranges[i][0] == s->ranges[n][1] + 1) {
			if (s->ranges[i][1] > s->ranges[n][1])
				s->ranges[n][1] = s->ranges[i][1];
			continue;
		}
		n++;
		s->ranges[n][0] = s->ranges[i][0];
		s->ranges[n][1] = s->ranges[i][1];
	}
	s->n = n + 1;
}

void hth_uset_invert(struct hth_uset *s)
{
	struct hth_uset out = {0};
	uint32_t next = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->ranges[i][0] > next)
			hth_uset_add(&out, next, s->ranges[i][0] - 1);
		next = s->ranges[i][1] + 1;
	}
	if (next <= LAST_CODE_POINT)
		hth_uset_add(&out, next, LAST_CODE_POINT);
	out.failed |= s->failed;
	hth_uset_clear(s);
	*s = out;
}

void hth_uset_intersect(struct hth_uset *s, const struct hth_uset *other)
{
	struct hth_uset out = {0};
	size_t i = 0, k = 0;

	while (i < s->n && k < other->n) {
		const uint32_t *a = s->ranges[i], *b = other->ranges[k];
		uint32_t first = a[0] > b[0] ? a[0] : b[0], last = a[1] < b[1] ? a[1] : b[1];
		if (first <= last)
			hth_uset_add(&out, first, last);
		if (a[1] < b[1])
			i++;
		else
			k++;
	}
	out.failed |= s->failed | other->failed;
	hth_uset_clear(s);
	*s = out;
}

static bool ranges_have(const uint32_t (*ranges)[2], size_t n, uint32_t c)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (c > ranges[mid][1])
			lo = mid + 1;
		else if (c < ranges[mid][0])
			hi = mid;
		else
			return true;
	}
	return false;
}

bool hth_uset_has(const struct hth_uset *s, uint32_t code_point)
{
	return ranges_have((const uint32_t(*)[2])s->ranges, s->n, code_point);
}

static bool class_has(const char *name, uint32_t c)
{
	for (size_t i = 0; i < hth_unicode_n_classes; i++) {
		if (strcmp(hth_unicode_classes[i].name, name) == 0)
			return ranges_have(hth_unicode_classes[i].ranges, hth_unicode_classes[i].n, c);
	}
	return false;
}

bool hth_unicode_is_space(uint32_t code_point)
{
	return class_has("Space", code_point);
}

/* The added-token rules use another engine than the patterns, whose \w also has the two joiners and lacks six digits. */
bool hth_unicode_is_word(uint32_t code_point)
{
	bool digit = (code_point >= 0xB2 && code_point <= 0xB3) || code_point == 0xB9 ||
		     (code_point >= 0xBC && code_point <= 0xBE);

	return !digit && (code_point == 0x200C || code_point == 0x200D || class_has("Word", code_point));
}
