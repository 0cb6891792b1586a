/* JSON out. Not jansson's own dump, for two reasons: 0.1 is written as 0.1 (the shortest of 15, 16 or 17 digits that
 * reads back equal) and the decimal point does not depend on the locale. */
#include "base/json.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool hth_json_put_string(struct hth_buf *out, const char *s, size_t bytes)
{
	size_t at = 0, plain = 0; /* s[plain..at) is copied as it is */
	bool ok = hth_buf_putc(out, '"');

	while (ok && at < bytes) {
		size_t used;
		uint32_t cp = hth_utf8_next(s + at, bytes - at, &used);
		static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
		const char *name = NULL;
		for (size_t i = 0; i + 1 < sizeof named; i += 2)
			if (cp == (unsigned char)named[i])
				name = &named[i + 1];
		if (name == NULL && cp >= 0x20 && cp != HTH_UTF8_INVALID) {
			at += used;
			continue;
		}
		ok = hth_buf_add(out, s + plain, at - plain);
		if (name != NULL)
			ok = ok && hth_buf_putc(out, '\\') && hth_buf_putc(out, *name);
		else if (cp == HTH_UTF8_INVALID)
			ok = ok && hth_buf_put_utf8(out, 0xFFFD);
		else
			ok = ok && hth_buf_printf(out, "\\u%04x", (unsigned)cp);
		at += used;
		plain = at;
	}
	return ok && hth_buf_add(out, s + plain, bytes - plain) && hth_buf_putc(out, '"');
}

/* A real always shows that it is one: 1.0, not 1. */
static bool put_real(struct hth_buf *out, double v)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	bool point = false, exponent = false;
	for (const char *p = text; *p != '\0'; p++) {
		if ((*p >= '0' && *p <= '9') || *p == '-' || *p == '+') {
			if (!hth_buf_putc(out, *p))
				return false;
		} else if (*p == 'e') {
			exponent = true;
			if (!hth_buf_putc(out, 'e'))
				return false;
		} else if (!point) { /* the locale's decimal point, perhaps of several bytes */
			point = true;
			if (!hth_buf_putc(out, '.'))
				return false;
		}
	}
	return point || exponent || hth_buf_puts(out, ".0");
}

struct dump {
	struct hth_buf *out;
	int indent;
};

static bool put_break(const struct dump *d, int depth)
{
	if (d->indent <= 0)
		return true;
	bool ok = hth_buf_putc(d->out, '\n');
	for (int i = 0; ok && i < depth * d->indent; i++)
		ok = hth_buf_putc(d->out, ' ');
	return ok;
}

static enum hth_status put_value(const struct dump *d, const json_t *v, int depth, struct hth_err *err);

static enum hth_status put_list(const struct dump *d, const json_t *v, int depth, struct hth_err *err)
{
	size_t n = json_array_size(v);
	enum hth_status status = HTH_OK;

	hth_buf_putc(d->out, '[');
	for (size_t i = 0; status == HTH_OK && i < n; i++) {
		if (i > 0)
			hth_buf_putc(d->out, ',');
		put_break(d, depth + 1);
		status = put_value(d, json_array_get(v, i), depth + 1, err);
	}
	if (n > 0)
		put_break(d, depth);
	hth_buf_putc(d->out, ']');
	return status;
}

static enum hth_status put_object(const struct dump *d, const json_t *v, int depth, struct hth_err *err)
{
	enum hth_status status = HTH_OK;
	bool first = true;
	json_t *obj = (json_t *)(uintptr_t)v; /* jansson's iterators take no const */

	hth_buf_putc(d->out, '{');
	for (void *it = json_object_iter(obj); status == HTH_OK && it != NULL; it = json_object_iter_next(obj, it)) {
		const char *key = json_object_iter_key(it);
		if (!first)
			hth_buf_putc(d->out, ',');
		first = false;
		put_break(d, depth + 1);
		hth_json_put_string(d->out, key, strlen(key));
		hth_buf_puts(d->out, d->indent > 0 ? ": " : ":");
		status = put_value(d, json_object_iter_value(it), depth + 1, err);
	}
	if (!first)
		put_break(d, depth);
	hth_buf_putc(d->out, '}');
	return status;
}

/* Recursion is bounded: documents that we build are as shallow as those that we read. */
static enum hth_status put_value(const struct dump *d, const json_t *v, int depth, struct hth_err *err)
{
	if (depth > HTH_JSON_MAX_DEPTH)
		return hth_fail(err, HTH_ERR_LIMIT, "JSON to write: nested more than %d deep", HTH_JSON_MAX_DEPTH);
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return put_object(d, v, depth, err);
	case JSON_ARRAY:
		return put_list(d, v, depth, err);
	case JSON_STRING:
		hth_json_put_string(d->out, json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		hth_buf_printf(d->out, "%lld", (long long)json_integer_value(v));
		break;
	case JSON_REAL:
		put_real(d->out, json_real_value(v));
		break;
	case JSON_TRUE:
		hth_buf_puts(d->out, "true");
		break;
	case JSON_FALSE:
		hth_buf_puts(d->out, "false");
		break;
	case JSON_NULL:
		hth_buf_puts(d->out, "null");
		break;
	}
	return HTH_OK;
}

enum hth_status hth_json_dump(const json_t *doc, int indent, struct hth_buf *out, struct hth_err *err)
{
	struct dump d = {.out = out, .indent = indent};

	if (doc == NULL)
		return hth_fail_memory(err, "JSON to write", 0);
	enum hth_status status = put_value(&d, doc, 0, err);
	return status != HTH_OK ? status : hth_buf_status(out, "JSON to write", err);
}
