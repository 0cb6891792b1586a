/* The bounded byte buffer. After the first failure every append fails, so the content is always a prefix of what was
 * meant, never text with a hole. */
#include "base/buf.h"
#include "base/checked.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void hth_buf_init(struct hth_buf *b, size_t max_bytes)
{
	*b = (struct hth_buf){.max_bytes = max_bytes};
}

void hth_buf_clear(struct hth_buf *b)
{
	hth_free(b->data);
	hth_buf_init(b, b->max_bytes);
}

void hth_buf_reset(struct hth_buf *b)
{
	b->bytes = 0;
	b->failed = false;
	b->no_memory = false;
	if (b->data != NULL)
		b->data[0] = '\0';
}

/* Makes room for `more` bytes and a NUL. */
static bool reserve(struct hth_buf *b, size_t more)
{
	size_t need;

	if (b->failed)
		return false;
	if (!hth_add_size(b->bytes, more, &need) || need > b->max_bytes || need == SIZE_MAX) {
		b->failed = true;
		return false;
	}
	if (need < b->cap)
		return true;
	size_t cap = b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
	if (b->max_bytes < SIZE_MAX && cap > b->max_bytes + 1)
		cap = b->max_bytes + 1;
	if (cap < need + 1)
		cap = need + 1;
	if (cap < 64 && b->max_bytes >= 63)
		cap = 64;
	char *data = hth_realloc(b->data, cap, 1);
	if (data == NULL) {
		b->failed = true;
		b->no_memory = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

bool hth_buf_add(struct hth_buf *b, const void *data, size_t bytes)
{
	if (!reserve(b, bytes))
		return false;
	if (bytes > 0)
		memcpy(b->data + b->bytes, data, bytes);
	b->bytes += bytes;
	b->data[b->bytes] = '\0';
	return true;
}

bool hth_buf_puts(struct hth_buf *b, const char *s)
{
	return hth_buf_add(b, s, strlen(s));
}

bool hth_buf_putc(struct hth_buf *b, char c)
{
	return hth_buf_add(b, &c, 1);
}

bool hth_buf_printf(struct hth_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	char small[128];

	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(small, sizeof small, fmt, ap);
	bool ok = n >= 0;
	if (!ok)
		b->failed = true;
	else if ((size_t)n < sizeof small)
		ok = hth_buf_add(b, small, (size_t)n);
	else if ((ok = reserve(b, (size_t)n))) {
		vsnprintf(b->data + b->bytes, (size_t)n + 1, fmt, again);
		b->bytes += (size_t)n;
	}
	va_end(again);
	va_end(ap);
	return ok;
}

bool hth_buf_put_utf8(struct hth_buf *b, uint32_t code_point)
{
	char out[4];
	size_t n = hth_utf8_put(code_point, out);

	if (n == 0)
		n = hth_utf8_put(0xFFFD, out);
	return hth_buf_add(b, out, n);
}

const char *hth_buf_str(const struct hth_buf *b)
{
	return b->data == NULL ? "" : b->data;
}

char *hth_buf_take(struct hth_buf *b, size_t *bytes)
{
	if (!reserve(b, 0))
		return NULL;
	char *data = b->data;
	data[b->bytes] = '\0';
	if (bytes != NULL)
		*bytes = b->bytes;
	hth_buf_init(b, b->max_bytes);
	return data;
}

enum hth_status hth_buf_status(const struct hth_buf *b, const char *what, struct hth_err *err)
{
	if (!b->failed)
		return HTH_OK;
	if (b->no_memory)
		return hth_fail_memory(err, what, b->bytes);
	return hth_fail(err, HTH_ERR_LIMIT, "%s: longer than the limit of %zu bytes", what, b->max_bytes);
}
