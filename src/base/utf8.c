/* UTF-8 decoding and encoding, one code point at a time. Strict as the Unicode standard's table 3-7 is: no overlong
 * forms, no surrogates, nothing past U+10FFFF. No normalisation and no character classes: see src/text. */
#include "base/utf8.h"

/* What the first byte of a sequence promises: its length (0: not a first byte) and the range of the second byte. */
struct lead {
	size_t bytes;
	unsigned char lo, hi;
};

static struct lead lead_of(unsigned char c)
{
	if (c < 0x80)
		return (struct lead){1, 0, 0};
	if (c < 0xC2)
		return (struct lead){0, 0, 0};
	if (c < 0xE0)
		return (struct lead){2, 0x80, 0xBF};
	if (c < 0xF0)
		return (struct lead){3, c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF};
	if (c < 0xF5)
		return (struct lead){4, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF};
	return (struct lead){0, 0, 0};
}

uint32_t hth_utf8_next(const char *text, size_t bytes, size_t *used)
{
	const unsigned char *s = (const unsigned char *)text;
	struct lead lead = lead_of(s[0]);

	*used = 1;
	if (lead.bytes == 1)
		return s[0];
	if (lead.bytes == 0 || lead.bytes > bytes || s[1] < lead.lo || s[1] > lead.hi)
		return HTH_UTF8_INVALID;
	uint32_t cp = (uint32_t)s[0] & (0x7Fu >> lead.bytes);
	for (size_t i = 1; i < lead.bytes; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return HTH_UTF8_INVALID;
		cp = cp << 6 | (s[i] & 0x3Fu);
	}
	*used = lead.bytes;
	return cp;
}

size_t hth_utf8_put(uint32_t cp, char out[4])
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xC0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3F));
		return 2;
	}
	if (cp < 0x10000) {
		if (cp >= 0xD800 && cp <= 0xDFFF)
			return 0;
		out[0] = (char)(0xE0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
		out[2] = (char)(0x80 | (cp & 0x3F));
		return 3;
	}
	if (cp > 0x10FFFF)
		return 0;
	out[0] = (char)(0xF0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
	out[3] = (char)(0x80 | (cp & 0x3F));
	return 4;
}

bool hth_utf8_valid(const char *text, size_t bytes)
{
	size_t at = 0, used;
	while (at < bytes) {
		if (hth_utf8_next(text + at, bytes - at, &used) == HTH_UTF8_INVALID)
			return false;
		at += used;
	}
	return true;
}

size_t hth_utf8_partial_tail(const char *text, size_t bytes)
{
	const unsigned char *s = (const unsigned char *)text;

	/* A cut sequence shows at most three bytes, its lead first. */
	for (size_t n = 1; n <= 3 && n <= bytes; n++) {
		unsigned char c = s[bytes - n];
		if ((c & 0xC0) == 0x80)
			continue;
		struct lead lead = lead_of(c);
		if (lead.bytes <= n)
			return 0;
		if (n > 1 && (s[bytes - n + 1] < lead.lo || s[bytes - n + 1] > lead.hi))
			return 0;
		return n;
	}
	return 0;
}
