/* Error text. Everything that reaches err->text is made safe to print here, once: foreign names and values that
 * callers put into a message cannot move the cursor, colour the terminal or fake a second line. */
#include "base/status.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* C0, DEL and C1 controls, and the code points that reorder text on screen. */
static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || (cp >= 0x202A && cp <= 0x202E) ||
	       (cp >= 0x2066 && cp <= 0x2069) || cp == 0x2028 || cp == 0x2029;
}

/* Writes the safe form of the character at text[0..bytes) into out (at most 16 bytes); *used: bytes taken. */
static size_t safe_char(const char *text, size_t bytes, size_t *used, char out[16])
{
	static const char hex[] = "0123456789abcdef";
	uint32_t cp = hth_utf8_next(text, bytes, used);

	if (cp != HTH_UTF8_INVALID && !is_control(cp)) {
		memcpy(out, text, *used);
		return *used;
	}
	size_t n = 0;
	for (size_t i = 0; i < *used; i++) {
		unsigned char c = (unsigned char)text[i];
		out[n++] = '\\';
		out[n++] = 'x';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	return n;
}

/* Copies whole safe characters while they fit with a NUL; returns the bytes of text taken. */
static size_t copy_safe(char *out, size_t out_bytes, const char *text, size_t bytes, size_t *written)
{
	size_t at = 0, n = 0;

	while (at < bytes) {
		char c[16];
		size_t used, len = safe_char(text + at, bytes - at, &used, c);
		if (n + len + 1 > out_bytes)
			break;
		memcpy(out + n, c, len);
		n += len;
		at += used;
	}
	out[n] = '\0';
	*written = n;
	return at;
}

const char *hth_quote(char *out, size_t out_bytes, const char *text, size_t text_bytes)
{
	size_t n;

	if (copy_safe(out, out_bytes, text, text_bytes, &n) == text_bytes)
		return out;
	copy_safe(out, out_bytes - 3, text, text_bytes, &n);
	memcpy(out + n, "...", 4);
	return out;
}

/* raw: what vsnprintf made, `wanted` its return value. Arguments may alias err->text, hence the copy. */
static enum hth_status set_text(struct hth_err *err, enum hth_status status, const char *raw, int wanted)
{
	size_t bytes = wanted < 0 ? 0 : strlen(raw), n;

	if ((size_t)wanted > bytes) /* cut: do not show half a character */
		bytes -= hth_utf8_partial_tail(raw, bytes);
	copy_safe(err->text, sizeof err->text, raw, bytes, &n);
	err->status = status;
	return status;
}

enum hth_status hth_fail(struct hth_err *err, enum hth_status status, const char *fmt, ...)
{
	char raw[HTH_ERR_TEXT_BYTES];
	va_list ap;

	if (err == NULL)
		return status;
	va_start(ap, fmt);
	int wanted = vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	return set_text(err, status, raw, wanted);
}

/* strerror_r has two signatures; the compiler picks the reader by the type of its result. */
static inline const char *strerror_xsi(int rc, const char *buf)
{
	return rc == 0 ? buf : "unknown error";
}

static inline const char *strerror_gnu(const char *text, const char *buf)
{
	(void)buf;
	return text;
}

#define strerror_text(rc, buf) _Generic((rc), int : strerror_xsi, char * : strerror_gnu)((rc), (buf))

enum hth_status hth_fail_errno(struct hth_err *err, enum hth_status status, const char *fmt, ...)
{
	int code = errno;
	char raw[HTH_ERR_TEXT_BYTES], why[128];
	va_list ap;

	if (err == NULL)
		return status;
	va_start(ap, fmt);
	int wanted = vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	set_text(err, status, raw, wanted);
	size_t bytes = strlen(err->text);
	const char *text = strerror_text(strerror_r(code, why, sizeof why), why);
	int more = snprintf(raw, sizeof raw, "%s: %s", err->text, text);
	if (more >= (int)sizeof raw && bytes > strlen(text) + 8) {
		/* The reason matters more than the end of a long text. */
		size_t keep = sizeof raw - strlen(text) - 8;
		keep -= hth_utf8_partial_tail(err->text, keep);
		more = snprintf(raw, sizeof raw, "%.*s...: %s", (int)keep, err->text, text);
	}
	errno = code;
	return set_text(err, status, raw, more);
}

enum hth_status hth_err_prefix(struct hth_err *err, const char *fmt, ...)
{
	char prefix[HTH_ERR_TEXT_BYTES], raw[2 * HTH_ERR_TEXT_BYTES + 8];
	va_list ap;

	if (err == NULL)
		return HTH_ERR_VALUE;
	va_start(ap, fmt);
	int wanted = vsnprintf(prefix, sizeof prefix, fmt, ap);
	va_end(ap);
	if (wanted < 0)
		return err->status;
	size_t bytes = strlen(prefix);
	if ((size_t)wanted > bytes)
		bytes -= hth_utf8_partial_tail(prefix, bytes);
	wanted = snprintf(raw, sizeof raw, "%.*s: %s", (int)bytes, prefix, err->text);
	return set_text(err, err->status, raw, wanted);
}

enum hth_status hth_fail_memory(struct hth_err *err, const char *what, size_t bytes)
{
	return hth_fail(err, HTH_ERR_MEMORY, "out of memory: %s (%zu bytes)", what, bytes);
}

int hth_exit_code(enum hth_status status)
{
	switch (status) {
	case HTH_OK:
		return 0;
	case HTH_ERR_USAGE:
		return 2;
	default:
		return 1;
	}
}
