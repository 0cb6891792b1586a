/* What stands for code points in a pattern: escapes, properties, classes with nesting and &&. Oniguruma's Ruby dialect;
 * escapes that are not known to mean the same there are refused. */
#include "base/utf8.h"
#include "text/pretok_parse_int.h"

#define MAX_CLASS_DEPTH 8

enum hth_status hth_parse_refuse(struct hth_pattern_parser *p, const char *what)
{
	char quoted[160];
	return hth_fail(p->err, HTH_ERR_UNAVAILABLE, "%s: pattern \"%s\": %s at byte %zu is not supported", p->where,
			hth_quote(quoted, sizeof(quoted), p->text, p->bytes), what, p->at);
}

enum hth_status hth_parse_malformed(struct hth_pattern_parser *p, const char *what)
{
	char quoted[160];
	return hth_fail(p->err, HTH_ERR_FORMAT, "%s: pattern \"%s\": %s at byte %zu", p->where,
			hth_quote(quoted, sizeof(quoted), p->text, p->bytes), what, p->at);
}

uint32_t hth_parse_code_point(struct hth_pattern_parser *p)
{
	size_t used;
	uint32_t c = hth_utf8_next(p->text + p->at, p->bytes - p->at, &used);
	p->at += used;
	return c;
}

void hth_parse_fold(struct hth_uset *s)
{
	hth_uset_tidy(s);
	for (uint32_t lower = 'a'; lower <= 'z'; lower++) {
		uint32_t upper = lower - 'a' + 'A', third = lower == 's' ? 0x17F : lower == 'k' ? 0x212A : upper;
		if (!hth_uset_has(s, lower) && !hth_uset_has(s, upper) && !hth_uset_has(s, third))
			continue;
		hth_uset_add(s, lower, lower);
		hth_uset_add(s, upper, upper);
		hth_uset_add(s, third, third);
		hth_uset_tidy(s);
	}
}

static const char *const class_aliases[][2] = {
	{"letter", "L"},
	{"mark", "M"},
	{"number", "N"},
	{"punctuation", "P"},
	{"symbol", "S"},
	{"separator", "Z"},
	{"other", "C"},
	{"digit", "Nd"},
	{"alpha", "Alphabetic"},
	{"uppercaseletter", "Lu"},
	{"lowercaseletter", "Ll"},
	{"space", "Space"},
	{"word", "Word"},
	{"any", "Any"},
	{"punct", "P"},
};

/* \p{Name}, \p{^Name}, \P{Name}, \pL; p->at is behind the p. */
static enum hth_status parse_property(struct hth_pattern_parser *p, bool negated, struct hth_uset *s)
{
	char name[32], folded[32];
	size_t n = 0, m = 0;

	if (!hth_parse_sees(p, "{"))
		return hth_parse_malformed(p, "\\p without {");
	p->at++;
	if (hth_parse_sees(p, "^")) {
		negated = !negated;
		p->at++;
	}
	for (; p->at < p->bytes && p->text[p->at] != '}'; p->at++) {
		char c = p->text[p->at];
		if (n + 1 == sizeof(name))
			return hth_parse_refuse(p, "this property name");
		name[n++] = c;
		if (c != ' ' && c != '_' && c != '-')
			folded[m++] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
	}
	if (p->at == p->bytes)
		return hth_parse_malformed(p, "\\p{ without }");
	p->at++;
	name[n] = folded[m] = '\0';
	const char *known = name;
	for (size_t i = 0; i < sizeof(class_aliases) / sizeof(*class_aliases); i++) {
		if (strcmp(folded, class_aliases[i][0]) == 0)
			known = class_aliases[i][1];
	}
	struct hth_uset class = {0};
	if (!hth_uset_add_class(&class, known, strlen(known)))
		return hth_parse_refuse(p, "the property before the }");
	hth_uset_tidy(&class);
	if (negated)
		hth_uset_invert(&class);
	hth_uset_add_set(s, &class);
	hth_uset_clear(&class);
	return HTH_OK;
}

static bool parse_hex(struct hth_pattern_parser *p, size_t min, size_t max, uint32_t *out)
{
	uint32_t v = 0;
	size_t n = 0;

	for (; n < max && p->at < p->bytes; n++, p->at++) {
		char c = p->text[p->at];
		uint32_t d;
		if (c >= '0' && c <= '9')
			d = (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			d = (uint32_t)((c | 32) - 'a') + 10;
		else
			break;
		v = v << 4 | d;
	}
	*out = v;
	return n >= min && v <= 0x10FFFF;
}

static enum hth_status add_named(struct hth_uset *s, const char *class, bool negated)
{
	struct hth_uset c = {0};

	hth_uset_add_class(&c, class, strlen(class));
	hth_uset_tidy(&c);
	if (negated)
		hth_uset_invert(&c);
	hth_uset_add_set(s, &c);
	hth_uset_clear(&c);
	return HTH_OK;
}

/* Words: six digits of Latin 1 are of \w by itself, and of no class that holds it, as in Oniguruma. */
static enum hth_status add_word(const struct hth_pattern_parser *p, struct hth_uset *s, bool negated)
{
	static const uint32_t digits[][2] = {{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}};
	struct hth_uset c = {0}, rest = {0};

	hth_uset_add_class(&c, "Word", 4);
	hth_uset_tidy(&c);
	for (int i = 0; i < 3; i++)
		hth_uset_add(&rest, digits[i][0], digits[i][1]);
	hth_uset_tidy(&rest);
	hth_uset_invert(&rest);
	if (p->in_class > 0)
		hth_uset_intersect(&c, &rest);
	if (negated)
		hth_uset_invert(&c);
	hth_uset_add_set(s, &c);
	hth_uset_clear(&c);
	hth_uset_clear(&rest);
	return HTH_OK;
}

static enum hth_status parse_hex_escape(struct hth_pattern_parser *p, char kind, uint32_t *single)
{
	bool braces = kind == 'x' && hth_parse_sees(p, "{");
	bool ok;

	p->at += braces;
	ok = braces        ? parse_hex(p, 1, 8, single)
	     : kind == 'x' ? parse_hex(p, 1, 2, single)
			   : parse_hex(p, 4, 4, single);
	if (braces && ok) {
		ok = hth_parse_sees(p, "}");
		p->at++;
	}
	return ok ? HTH_OK : hth_parse_malformed(p, "a malformed \\x or \\u");
}

enum hth_status hth_parse_escape(struct hth_pattern_parser *p, struct hth_uset *s, uint32_t *single)
{
	static const char from[] = "nrtfvae0", to[] = "\n\r\t\f\v\a\x1b";

	*single = HTH_UTF8_INVALID;
	if (p->at == p->bytes)
		return hth_parse_malformed(p, "a backslash at the end");
	char c = p->text[p->at];
	const char *simple = memchr(from, c, sizeof(from) - 1);
	if (simple != NULL) {
		p->at++;
		*single = (unsigned char)to[simple - from];
		return HTH_OK;
	}
	if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
		*single = hth_parse_code_point(p);
		return *single == HTH_UTF8_INVALID ? hth_parse_malformed(p, "invalid UTF-8") : HTH_OK;
	}
	p->at++;
	switch (c) {
	case 'd':
	case 'D':
		return add_named(s, "Nd", c == 'D');
	case 'w':
	case 'W':
		return add_word(p, s, c == 'W');
	case 's':
	case 'S':
		return add_named(s, "Space", c == 'S');
	case 'p':
	case 'P':
		return parse_property(p, c == 'P', s);
	case 'x':
	case 'u':
		return parse_hex_escape(p, c, single);
	default:
		p->at--;
		return hth_parse_refuse(p, "the escape");
	}
}

static const char *const posix_names[][2] = {
	{"[:alpha:]", "Alphabetic"}, {"[:digit:]", "Nd"},  {"[:space:]", "Space"},
	{"[:punct:]", "Punct"},      {"[:word:]", "Word"},
};

/* One element of a class that is not a plain code point: nested, POSIX or escaped. *single as parse_escape. */
static enum hth_status parse_class_item(struct hth_pattern_parser *p, int depth, struct hth_uset *s, uint32_t *single)
{
	*single = HTH_UTF8_INVALID;
	if (hth_parse_sees(p, "[")) {
		for (size_t i = 0; i < sizeof(posix_names) / sizeof(*posix_names); i++) {
			if (hth_parse_sees(p, posix_names[i][0])) {
				p->at += strlen(posix_names[i][0]);
				return strcmp(posix_names[i][1], "Word") == 0
					       ? add_word(p, s, false)
					       : add_named(s, posix_names[i][1], false);
			}
		}
		if (hth_parse_sees(p, "[:"))
			return hth_parse_refuse(p, "the bracket");
		struct hth_uset inner = {0};
		p->at++;
		enum hth_status st = hth_parse_class(p, depth + 1, &inner);
		hth_uset_add_set(s, &inner);
		hth_uset_clear(&inner);
		return st;
	}
	if (hth_parse_sees(p, "\\")) {
		p->at++;
		return hth_parse_escape(p, s, single);
	}
	*single = hth_parse_code_point(p);
	return *single == HTH_UTF8_INVALID ? hth_parse_malformed(p, "invalid UTF-8") : HTH_OK;
}

/* "-z" behind a: *b is the range's end, or a itself. */
static enum hth_status parse_range_end(struct hth_pattern_parser *p, int depth, struct hth_uset *s, uint32_t a,
				       uint32_t *b)
{
	*b = a;
	if (!hth_parse_sees(p, "-") || p->at + 1 >= p->bytes || p->text[p->at + 1] == ']' || p->text[p->at + 1] == '[')
		return HTH_OK;
	p->at++;
	enum hth_status st = parse_class_item(p, depth, s, b);
	if (st == HTH_OK && *b == HTH_UTF8_INVALID) { /* "a-\w": the hyphen is itself */
		hth_uset_add(s, '-', '-');
		*b = a;
	}
	if (st == HTH_OK && *b < a)
		st = hth_parse_malformed(p, "a range that ends before it begins");
	return st;
}

enum hth_status hth_parse_class(struct hth_pattern_parser *p, int depth, struct hth_uset *s)
{
	struct hth_uset left = {0}; /* what stands before the last && */
	bool negated = false, meets = false, first = true;
	enum hth_status st = HTH_OK;

	if (depth > MAX_CLASS_DEPTH)
		return hth_parse_refuse(p, "a class nested more than 8 deep");
	p->in_class++;
	if (hth_parse_sees(p, "^")) {
		negated = true;
		p->at++;
	}
	for (;; first = false) {
		uint32_t a, b;
		if (p->at >= p->bytes) {
			st = hth_parse_malformed(p, "a class without ]");
			goto done;
		}
		if (hth_parse_sees(p, "]") && !first)
			break;
		if (hth_parse_sees(p, "&&")) {
			p->at += 2;
			hth_uset_tidy(s);
			if (meets)
				hth_uset_intersect(s, &left);
			hth_uset_clear(&left);
			left = *s;
			*s = (struct hth_uset){0};
			meets = true;
			continue;
		}
		if ((st = parse_class_item(p, depth, s, &a)) != HTH_OK)
			goto done;
		if (a == HTH_UTF8_INVALID)
			continue;
		if ((st = parse_range_end(p, depth, s, a, &b)) != HTH_OK)
			goto done;
		hth_uset_add(s, a, b);
	}
	p->at++;
	if (p->fold)
		hth_parse_fold(s);
	hth_uset_tidy(s);
	if (meets)
		hth_uset_intersect(s, &left);
	if (negated)
		hth_uset_invert(s);
done:
	p->in_class--;
	hth_uset_clear(&left);
	return st;
}
