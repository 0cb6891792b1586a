/* JSON in: checks before jansson, jansson, then typed getters. JSON out is in json_dump.c.
 * jansson's heap is ours (json_heap.c). Its hash seed is random per process, which keys chosen to collide cannot
 * know; no order depends on it. Real numbers: jansson translates the locale's decimal point itself. */
#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_int.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* What the scan finds in one pass over the text. */
struct scan {
	const char *text;
	size_t bytes;
	size_t big_ints; /* integers that do not fit 64 bits */
	const char *where;
};

static enum hth_status fail_at(const struct scan *s, size_t at, enum hth_status status, const char *what,
			       struct hth_err *err)
{
	size_t line = 1, start = 0;

	for (size_t i = 0; i < at; i++)
		if (s->text[i] == '\n') {
			line++;
			start = i + 1;
		}
	return hth_fail(err, status, "%s: line %zu column %zu: %s", s->where, line, at - start + 1, what);
}

static size_t skip_string(const char *text, size_t bytes, size_t at)
{
	for (at++; at < bytes && text[at] != '"'; at++)
		if (text[at] == '\\')
			at++;
	return at + 1;
}

static bool number_char(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static size_t skip_number(const char *text, size_t bytes, size_t at)
{
	while (at < bytes && number_char(text[at]))
		at++;
	return at;
}

/* True for an integer literal outside of int64. */
static bool is_big_int(const char *num, size_t n)
{
	bool negative = n > 0 && num[0] == '-';
	int64_t v = 0;

	if (n - negative <= 18)
		return false;
	for (size_t i = negative; i < n; i++) {
		if (num[i] < '0' || num[i] > '9')
			return false;
		int d = num[i] - '0';
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? -d : d, &v)) {
			while (i < n && num[i] >= '0' && num[i] <= '9')
				i++;
			return i == n;
		}
	}
	return false;
}

/* Bounds the depth, names NaN and Infinity, counts big integers. All else that is wrong is jansson's to find. */
static enum hth_status scan_text(struct scan *s, struct hth_err *err)
{
	const char *t = s->text;
	int depth = 0;

	for (size_t at = 0; at < s->bytes;) {
		size_t left = s->bytes - at, end;
		switch (t[at]) {
		case '"':
			at = skip_string(t, s->bytes, at);
			continue;
		case '[':
		case '{':
			if (++depth > HTH_JSON_MAX_DEPTH)
				return fail_at(s, at, HTH_ERR_LIMIT,
					       "nested more than " TEXT(HTH_JSON_MAX_DEPTH) " deep", err);
			break;
		case ']':
		case '}':
			depth--;
			break;
		case 'N':
		case 'I':
			if ((left >= 3 && memcmp(t + at, "NaN", 3) == 0) ||
			    (left >= 8 && memcmp(t + at, "Infinity", 8) == 0))
				return fail_at(
					s, at, HTH_ERR_FORMAT,
					"found NaN or Infinity, which JSON does not have; expected a number or null",
					err);
			break;
		default:
			end = skip_number(t, s->bytes, at);
			if (end > at) {
				s->big_ints += is_big_int(t + at, end - at);
				at = end;
				continue;
			}
		}
		at++;
	}
	return HTH_OK;
}

/* A copy in which each integer beyond 64 bits reads as a real: ".0" goes behind it. */
static char *copy_with_reals(const struct scan *s, size_t *bytes)
{
	size_t extra, total, n = 0;

	if (!hth_mul_size(s->big_ints, 2, &extra) || !hth_add_size(s->bytes, extra, &total))
		return NULL;
	char *copy = hth_alloc(total);
	if (copy == NULL)
		return NULL;
	for (size_t at = 0; at < s->bytes;) {
		size_t end = at + 1;
		bool big = false;
		if (s->text[at] == '"') {
			end = skip_string(s->text, s->bytes, at);
			if (end > s->bytes)
				end = s->bytes;
		} else if (number_char(s->text[at])) {
			end = skip_number(s->text, s->bytes, at);
			big = is_big_int(s->text + at, end - at);
		}
		memcpy(copy + n, s->text + at, end - at);
		n += end - at;
		if (big) {
			memcpy(copy + n, ".0", 2);
			n += 2;
		}
		at = end;
	}
	*bytes = n;
	return copy;
}

static enum hth_status parse_checked(const struct scan *s, const char *text, size_t bytes, int flags, json_t **out,
				     struct hth_err *err)
{
	json_error_t why;
	size_t decode = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;

	if (flags & HTH_JSON_ALLOW_SCALAR)
		decode |= JSON_DECODE_ANY;
	if (!hth_json_load(text, bytes, decode, out, &why))
		return hth_fail(err, HTH_ERR_MEMORY, "%s: out of memory while reading %zu bytes of JSON", s->where,
				bytes);
	if (*out == NULL) {
		if (why.line < 1)
			return hth_fail(err, HTH_ERR_FORMAT, "%s: %s", s->where, why.text);
		return hth_fail(err, HTH_ERR_FORMAT, "%s: line %d column %d: %s", s->where, why.line, why.column,
				why.text);
	}
	return HTH_OK;
}

enum hth_status hth_json_parse(const char *text, size_t bytes, int flags, const char *where, json_t **out,
			       struct hth_err *err)
{
	struct scan s = {.text = text, .bytes = bytes, .where = where};

	*out = NULL;
	if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
		s.text += 3;
		s.bytes -= 3;
	}
	enum hth_status status = scan_text(&s, err);
	if (status != HTH_OK)
		return status;
	if (s.big_ints == 0 || !(flags & HTH_JSON_BIG_INT_AS_REAL))
		return parse_checked(&s, s.text, s.bytes, flags, out, err);
	size_t copy_bytes;
	char *copy = copy_with_reals(&s, &copy_bytes);
	if (copy == NULL)
		return hth_fail_memory(err, where, s.bytes);
	status = parse_checked(&s, copy, copy_bytes, flags, out, err);
	hth_free(copy);
	return status;
}

enum hth_status hth_json_read(const char *path, size_t max_bytes, int flags, json_t **out, struct hth_err *err)
{
	char *text;
	size_t bytes;

	*out = NULL;
	enum hth_status status = hth_file_read(path, max_bytes, &text, &bytes, err);
	if (status != HTH_OK)
		return status;
	status = hth_json_parse(text, bytes, flags, path, out, err);
	hth_free(text);
	return status;
}

/* "a string", "the number 3", ... into out. */
static const char *found(const json_t *v, char out[64])
{
	bool whole;

	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		snprintf(out, 64, "%lld", (long long)json_integer_value(v));
		return out;
	case JSON_REAL: /* 16.0 is no 16 */
		whole = fabs(json_real_value(v)) < 1e9 && floor(json_real_value(v)) == json_real_value(v);
		snprintf(out, 64, "%.9g%s", json_real_value(v), whole ? ".0" : "");
		return out;
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	default:
		return "null";
	}
}

enum hth_status hth_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t def, int64_t *out,
			     const char *where, struct hth_err *err)
{
	const json_t *v = json_object_get(obj, key);
	char seen[64];

	*out = def;
	if (v == NULL || json_is_null(v))
		return HTH_OK;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found %s, expected an integer in %lld..%lld", where,
				key, found(v, seen), (long long)min, (long long)max);
	*out = json_integer_value(v);
	return HTH_OK;
}

enum hth_status hth_json_real(const json_t *obj, const char *key, double min, double max, double def, double *out,
			      const char *where, struct hth_err *err)
{
	const json_t *v = json_object_get(obj, key);
	char seen[64];

	*out = def;
	if (v == NULL || json_is_null(v))
		return HTH_OK;
	if (!json_is_number(v) || json_number_value(v) < min || json_number_value(v) > max)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found %s, expected a number in %g..%g", where, key,
				found(v, seen), min, max);
	*out = json_number_value(v);
	return HTH_OK;
}

enum hth_status hth_json_bool(const json_t *obj, const char *key, bool def, bool *out, const char *where,
			      struct hth_err *err)
{
	const json_t *v = json_object_get(obj, key);
	char seen[64];

	*out = def;
	if (v == NULL || json_is_null(v))
		return HTH_OK;
	if (!json_is_boolean(v))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found %s, expected true or false", where, key,
				found(v, seen));
	*out = json_is_true(v);
	return HTH_OK;
}

enum hth_status hth_json_str(const json_t *obj, const char *key, const char *def, const char **out, const char *where,
			     struct hth_err *err)
{
	const json_t *v = json_object_get(obj, key);
	char seen[64];

	*out = def;
	if (v == NULL || json_is_null(v))
		return HTH_OK;
	if (!json_is_string(v))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found %s, expected a string", where, key,
				found(v, seen));
	if (strlen(json_string_value(v)) != json_string_length(v))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": found a string that holds \\u0000", where, key);
	*out = json_string_value(v);
	return HTH_OK;
}
