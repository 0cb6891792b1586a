/* Values of GGUF metadata: stepping over them safely, and the typed getters. The walk of a whole file is in
 * gguf.c. Source of the layout: ggml's docs/gguf.md (version 3). */
#include "formats/gguf_int.h"

#include "base/checked.h"
#include "base/num.h"
#include "base/utf8.h"

#include <string.h>

uint32_t hth_gguf_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t hth_gguf_le64(const uint8_t *p)
{
	return (uint64_t)hth_gguf_le32(p) | (uint64_t)hth_gguf_le32(p + 4) << 32;
}

bool hth_gguf_read_u32(struct hth_gguf_cursor *c, uint32_t *out)
{
	if (hth_gguf_left(c) < 4)
		return false;
	*out = hth_gguf_le32(c->at);
	c->at += 4;
	return true;
}

bool hth_gguf_read_u64(struct hth_gguf_cursor *c, uint64_t *out)
{
	if (hth_gguf_left(c) < 8)
		return false;
	*out = hth_gguf_le64(c->at);
	c->at += 8;
	return true;
}

size_t hth_gguf_type_bytes(uint32_t type)
{
	static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
	return type < sizeof(bytes) ? bytes[type] : 0;
}

const char *hth_gguf_type_name(uint32_t type)
{
	static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
					    "bool", "string", "array", "u64", "i64", "f64"};
	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

enum hth_status hth_gguf_read_str(struct hth_gguf_cursor *c, const char *what, struct hth_gguf_str *out,
				  struct hth_err *err)
{
	uint64_t bytes;
	if (!hth_gguf_read_u64(c, &bytes))
		return hth_fail(err, HTH_ERR_FORMAT, "the file ends at byte %zu inside the length of %s; was it cut?",
				(size_t)(c->end - c->base), what);
	if (bytes > hth_gguf_left(c))
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s at byte %zu says %llu bytes, only %zu are left in the file; was it cut?", what,
				(size_t)(c->at - c->base) - 8, (unsigned long long)bytes, hth_gguf_left(c));
	out->data = (const char *)c->at;
	out->bytes = (size_t)bytes;
	c->at += bytes;
	return HTH_OK;
}

enum hth_status hth_gguf_skip_values(struct hth_gguf_cursor *c, uint32_t type, uint64_t n, struct hth_err *err)
{
	size_t size = hth_gguf_type_bytes(type);
	size_t least = type == HTH_GGUF_STRING ? 8 : size;
	if (least == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "value type %u %s", type,
				type == HTH_GGUF_ARRAY ? "(array) inside an array is not supported"
						       : "does not exist, expected 0..12");
	if (n > hth_gguf_left(c) / least)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%llu values of type %s need at least %zu bytes each, only %zu bytes are left in the "
				"file; was it cut?",
				(unsigned long long)n, hth_gguf_type_name(type), least, hth_gguf_left(c));
	if (type == HTH_GGUF_STRING) {
		struct hth_gguf_str s;
		for (uint64_t i = 0; i < n; i++) {
			enum hth_status st = hth_gguf_read_str(c, "a string", &s, err);
			if (st != HTH_OK)
				return st;
		}
		return HTH_OK;
	}
	if (type == HTH_GGUF_BOOL)
		for (uint64_t i = 0; i < n; i++)
			if (c->at[i] > 1)
				return hth_fail(err, HTH_ERR_FORMAT, "a bool holds %u, expected 0 or 1", c->at[i]);
	c->at += n * size;
	return HTH_OK;
}

enum hth_status hth_gguf_check_name(struct hth_gguf_str s, size_t max_bytes, const char *what, struct hth_err *err)
{
	char shown[96];
	if (s.bytes == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s is empty", what);
	if (s.bytes > max_bytes)
		return hth_fail(err, HTH_ERR_FORMAT, "%s \"%s\" has %zu bytes, expected at most %zu", what,
				hth_quote(shown, sizeof(shown), s.data, s.bytes), s.bytes, max_bytes);
	if (memchr(s.data, 0, s.bytes) != NULL || !hth_utf8_valid(s.data, s.bytes))
		return hth_fail(err, HTH_ERR_FORMAT, "%s \"%s\" is not UTF-8 text without NUL", what,
				hth_quote(shown, sizeof(shown), s.data, s.bytes));
	return HTH_OK;
}

enum hth_status hth_gguf_check_alignment(uint64_t alignment, struct hth_err *err)
{
	if (alignment < 8 || alignment > HTH_GGUF_MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "key \"%s\": found %llu, expected a power of two in 8..%u",
				HTH_GGUF_ALIGNMENT_KEY, (unsigned long long)alignment, HTH_GGUF_MAX_ALIGNMENT);
	return HTH_OK;
}

int hth_gguf_str_order(struct hth_gguf_str a, struct hth_gguf_str b)
{
	size_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
	int order = memcmp(a.data, b.data, common);
	if (order != 0)
		return order;
	return a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

bool hth_gguf_str_equal(struct hth_gguf_str s, const char *text)
{
	return s.bytes == strlen(text) && (s.bytes == 0 || memcmp(s.data, text, s.bytes) == 0);
}

static bool type_is_integer(enum hth_gguf_type type)
{
	return type <= HTH_GGUF_I32 || type == HTH_GGUF_U64 || type == HTH_GGUF_I64;
}

/* The integer (or bool) at p. Values past INT64_MAX become INT64_MAX: every range check then refuses them. */
static int64_t int_at(enum hth_gguf_type type, const uint8_t *p)
{
	uint64_t u;
	switch (type) {
	case HTH_GGUF_U8:
	case HTH_GGUF_BOOL:
		return p[0];
	case HTH_GGUF_I8:
		return (int8_t)p[0];
	case HTH_GGUF_U16:
		return p[0] | p[1] << 8;
	case HTH_GGUF_I16:
		return (int16_t)(p[0] | p[1] << 8);
	case HTH_GGUF_U32:
		return hth_gguf_le32(p);
	case HTH_GGUF_I32:
		return (int32_t)hth_gguf_le32(p);
	case HTH_GGUF_I64:
		return (int64_t)hth_gguf_le64(p);
	case HTH_GGUF_U64:
		u = hth_gguf_le64(p);
		return u > INT64_MAX ? INT64_MAX : (int64_t)u;
	default:
		return 0;
	}
}

static double real_at(enum hth_gguf_type type, const uint8_t *p)
{
	union {
		uint32_t u;
		float f;
	} f32;
	union {
		uint64_t u;
		double f;
	} f64;
	if (type == HTH_GGUF_F32) {
		f32.u = hth_gguf_le32(p);
		return f32.f;
	}
	if (type == HTH_GGUF_F64) {
		f64.u = hth_gguf_le64(p);
		return f64.f;
	}
	return type == HTH_GGUF_U64 ? (double)hth_gguf_le64(p) : (double)int_at(type, p);
}

static enum hth_status wrong_type(const struct hth_gguf *g, const struct hth_gguf_kv *kv, const char *expected,
				  struct hth_err *err)
{
	char shown[96];
	const char *of = kv->type == HTH_GGUF_ARRAY ? hth_gguf_type_name(kv->elem_type) : "";
	return hth_fail(err, HTH_ERR_FORMAT, "%s: key \"%s\": found type %s%s%s, expected %s", g->map.path,
			hth_quote(shown, sizeof(shown), kv->key.data, kv->key.bytes), hth_gguf_type_name(kv->type),
			of[0] != '\0' ? " of " : "", of, expected);
}

enum hth_status hth_gguf_int(const struct hth_gguf *g, const char *key, int64_t min, int64_t max, int64_t def,
			     int64_t *out, struct hth_err *err)
{
	const struct hth_gguf_kv *kv = hth_gguf_find(g, key);
	*out = def;
	if (kv == NULL)
		return HTH_OK;
	if (!type_is_integer(kv->type))
		return wrong_type(g, kv, "an integer", err);
	int64_t value = int_at(kv->type, kv->data);
	if (value < min || value > max)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: key \"%s\": found %lld, expected an integer in %lld..%lld",
				g->map.path, key, (long long)value, (long long)min, (long long)max);
	*out = value;
	return HTH_OK;
}

enum hth_status hth_gguf_need_int(const struct hth_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
				  struct hth_err *err)
{
	if (hth_gguf_find(g, key) == NULL)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: key \"%s\" is missing", g->map.path, key);
	return hth_gguf_int(g, key, min, max, 0, out, err);
}

enum hth_status hth_gguf_real(const struct hth_gguf *g, const char *key, double def, double *out, struct hth_err *err)
{
	const struct hth_gguf_kv *kv = hth_gguf_find(g, key);
	*out = def;
	if (kv == NULL)
		return HTH_OK;
	if (kv->type != HTH_GGUF_F32 && kv->type != HTH_GGUF_F64)
		return wrong_type(g, kv, "f32 or f64", err);
	double value = real_at(kv->type, kv->data);
	/* No key of a model file has a use for NaN or infinity, and each would pass a `< min` test somewhere. */
	if (!(value - value == 0.0))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: key \"%s\": found %g, expected a finite number", g->map.path,
				key, value);
	*out = value;
	return HTH_OK;
}

enum hth_status hth_gguf_bool(const struct hth_gguf *g, const char *key, bool def, bool *out, struct hth_err *err)
{
	const struct hth_gguf_kv *kv = hth_gguf_find(g, key);
	*out = def;
	if (kv == NULL)
		return HTH_OK;
	if (kv->type != HTH_GGUF_BOOL)
		return wrong_type(g, kv, "bool", err);
	*out = kv->data[0] != 0;
	return HTH_OK;
}

enum hth_status hth_gguf_string(const struct hth_gguf *g, const char *key, struct hth_gguf_str *out,
				struct hth_err *err)
{
	const struct hth_gguf_kv *kv = hth_gguf_find(g, key);
	*out = (struct hth_gguf_str){NULL, 0};
	if (kv == NULL)
		return HTH_OK;
	if (kv->type != HTH_GGUF_STRING)
		return wrong_type(g, kv, "string", err);
	out->data = (const char *)kv->data + 8;
	out->bytes = kv->data_bytes - 8;
	return HTH_OK;
}

enum hth_status hth_gguf_strings(const struct hth_gguf *g, const char *key, struct hth_gguf_strings *it,
				 struct hth_err *err)
{
	const struct hth_gguf_kv *kv = hth_gguf_find(g, key);
	*it = (struct hth_gguf_strings){0};
	if (kv == NULL)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: key \"%s\" is missing", g->map.path, key);
	if (kv->type != HTH_GGUF_ARRAY || kv->elem_type != HTH_GGUF_STRING)
		return wrong_type(g, kv, "array of string", err);
	*it = (struct hth_gguf_strings){.at = kv->data, .end = kv->data + kv->data_bytes, .left = kv->n};
	return HTH_OK;
}

bool hth_gguf_next(struct hth_gguf_strings *it, struct hth_gguf_str *out)
{
	if (it->left == 0)
		return false;
	/* The reader walked these bytes at open; the check stays because an iterator is cheap to misuse. */
	struct hth_gguf_cursor c = {it->at, it->at, it->end};
	if (hth_gguf_read_str(&c, "a string", out, NULL) != HTH_OK)
		return false;
	it->at = c.at;
	it->left--;
	return true;
}

int64_t hth_gguf_array_int(const struct hth_gguf_kv *kv, uint64_t i)
{
	enum hth_gguf_type type = kv->type == HTH_GGUF_ARRAY ? kv->elem_type : kv->type;
	return i < kv->n ? int_at(type, kv->data + i * hth_gguf_type_bytes(type)) : 0;
}

double hth_gguf_array_real(const struct hth_gguf_kv *kv, uint64_t i)
{
	enum hth_gguf_type type = kv->type == HTH_GGUF_ARRAY ? kv->elem_type : kv->type;
	return i < kv->n ? real_at(type, kv->data + i * hth_gguf_type_bytes(type)) : 0.0;
}
