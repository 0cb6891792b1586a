/* Matching of answers: see match.h. Leaves out: units converted into each other, numbers in words. */
#include "eval/match.h"

#include "base/buf.h"

#include <string.h>

#define MAX_TEXT_BYTES (16u << 20)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A comma between digits with exactly three digits behind it groups thousands: 1,200 or 1,000,000. */
static bool is_group_comma(const char *s, size_t n, size_t i)
{
	if (s[i] != ',' || i == 0 || !is_digit(s[i - 1]) || i + 3 >= n)
		return false;
	return is_digit(s[i + 1]) && is_digit(s[i + 2]) && is_digit(s[i + 3]) && (i + 4 == n || !is_digit(s[i + 4]));
}

static bool normalise(struct hth_buf *out, const char *s, size_t n)
{
	bool ok = true, space = false;
	for (size_t i = 0; i < n && ok; i++) {
		if (is_space(s[i])) {
			space = out->bytes > 0;
			continue;
		}
		if (is_group_comma(s, n, i))
			continue;
		if (space)
			ok = hth_buf_putc(out, ' ');
		space = false;
		ok = ok && hth_buf_putc(out, s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + ('a' - 'A')) : s[i]);
	}
	return ok;
}

/* Is text[at .. at+n) a whole: not the inside of a longer number or word? */
static bool whole(const char *text, size_t bytes, size_t at, size_t n)
{
	char first = text[at], last = text[at + n - 1];
	char before = at > 0 ? text[at - 1] : ' ', after = at + n < bytes ? text[at + n] : ' ';
	if (is_digit(first) &&
	    (is_digit(before) || ((before == '.' || before == ',') && at > 1 && is_digit(text[at - 2]))))
		return false;
	if (is_letter(first) && is_letter(before))
		return false;
	if (is_digit(last) &&
	    (is_digit(after) || ((after == '.' || after == ',') && at + n + 1 < bytes && is_digit(text[at + n + 1]))))
		return false;
	return !(is_letter(last) && is_letter(after));
}

static bool normalise_both(struct hth_buf *a, struct hth_buf *b, const char *answer, size_t answer_bytes,
			   const char *expected, size_t expected_bytes)
{
	hth_buf_init(a, MAX_TEXT_BYTES);
	hth_buf_init(b, MAX_TEXT_BYTES);
	return normalise(a, answer, answer_bytes) && normalise(b, expected, expected_bytes) && b->bytes > 0;
}

bool hth_match_exact(const char *answer, size_t answer_bytes, const char *expected, size_t expected_bytes)
{
	struct hth_buf a, b;
	bool same = normalise_both(&a, &b, answer, answer_bytes, expected, expected_bytes) && a.bytes == b.bytes &&
		    memcmp(a.data, b.data, a.bytes) == 0;
	hth_buf_clear(&a);
	hth_buf_clear(&b);
	return same;
}

bool hth_match_contains(const char *answer, size_t answer_bytes, const char *expected, size_t expected_bytes)
{
	struct hth_buf a, b;
	bool found = false;
	if (normalise_both(&a, &b, answer, answer_bytes, expected, expected_bytes))
		for (size_t at = 0; at + b.bytes <= a.bytes && !found; at++)
			found = memcmp(a.data + at, b.data, b.bytes) == 0 && whole(a.data, a.bytes, at, b.bytes);
	hth_buf_clear(&a);
	hth_buf_clear(&b);
	return found;
}
