/* The front half of pretok_pattern.h: Oniguruma syntax (its Ruby dialect, which the tokenizers library uses) to
 * PCRE2 syntax over sets of code points. What the two read differently is written out: possessive counts, ^ and $,
 * nested classes and &&, case folding. Left out and refused by name: back references, named groups, \b, \R, \X, \K,
 * conditionals, case folding beyond ASCII letters (with U+017F and U+212A, which fold to s and k). */
#include "base/checked.h"
#include "base/utf8.h"
#include "text/pretok_pattern.h"

#include <string.h>

#define MAX_PATTERN_BYTES ((size_t)1 << 16)
#define MAX_GROUPS 64
#define MAX_CLASS_DEPTH 8
#define MAX_REPEAT 1000

struct group {
	size_t at; /* in the output: where its atom begins */
	bool fold, dot_all;
};

struct parser {
	const char *text;
	size_t bytes, at;
	const char *where;
	struct hth_err *err;
	struct hth_pattern_source *out;
	struct group groups[MAX_GROUPS];
	size_t n_groups;
	bool fold, dot_all;
	size_t atom_at; /* in the output: start of the last atom; SIZE_MAX: none to repeat */
};

static enum hth_status refuse(struct parser *p, const char *what)
{
	char quoted[160];
	return hth_fail(p->err, HTH_ERR_UNAVAILABLE, "%s: pattern \"%s\": %s at byte %zu is not supported", p->where,
	                hth_quote(quoted, sizeof(quoted), p->text, p->bytes), what, p->at);
}

static enum hth_status malformed(struct parser *p, const char *what)
{
	char quoted[160];
	return hth_fail(p->err, HTH_ERR_FORMAT, "%s: pattern \"%s\": %s at byte %zu", p->where,
	                hth_quote(quoted, sizeof(quoted), p->text, p->bytes), what, p->at);
}

static bool looking_at(const struct parser *p, const char *s)
{
	size_t n = strlen(s);
	return p->bytes - p->at >= n && memcmp(p->text + p->at, s, n) == 0;
}

static uint32_t next_code_point(struct parser *p)
{
	size_t used;
	uint32_t c = hth_utf8_next(p->text + p->at, p->bytes - p->at, &used);
	p->at += used;
	return c;
}

/* Adds what folds together with the ASCII letters of a set. */
static void add_folded(struct hth_uset *s)
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

/* Puts a set into the output as an atom; takes it over. */
static enum hth_status put_set(struct parser *p, struct hth_uset *s)
{
	struct hth_pattern_source *out = p->out;
	size_t i;

	if (p->fold)
		add_folded(s);
	hth_uset_tidy(s);
	if (s->failed) {
		hth_uset_clear(s);
		return hth_fail_memory(p->err, "a pattern's sets", 0);
	}
	for (i = 0; i < out->n_sets; i++) {
		const struct hth_uset *o = &out->sets[i];
		if (o->n == s->n && (s->n == 0 || memcmp(o->ranges, s->ranges, s->n * sizeof(*s->ranges)) == 0))
			break;
	}
	if (i < out->n_sets) {
		hth_uset_clear(s);
	} else if (i == HTH_PATTERN_MAX_SETS) {
		hth_uset_clear(s);
		return refuse(p, "more than 255 different sets");
	} else {
		out->sets[out->n_sets++] = *s;
	}
	p->atom_at = out->text.bytes;
	hth_buf_putc(&out->text, 1);
	hth_buf_putc(&out->text, (char)i);
	return HTH_OK;
}

static const char *const class_aliases[][2] = {
	{"letter", "L"}, {"mark", "M"}, {"number", "N"}, {"punctuation", "P"}, {"symbol", "S"}, {"separator", "Z"},
	{"other", "C"}, {"digit", "Nd"}, {"alpha", "Alphabetic"}, {"uppercaseletter", "Lu"}, {"lowercaseletter", "Ll"},
	{"space", "Space"}, {"word", "Word"}, {"any", "Any"}, {"punct", "Punct"},
};

/* \p{Name}, \p{^Name}, \P{Name}, \pL; p->at is behind the p. */
static enum hth_status parse_property(struct parser *p, bool negated, struct hth_uset *s)
{
	char name[32], folded[32];
	size_t n = 0, m = 0;

	if (!looking_at(p, "{"))
		return malformed(p, "\\p without {");
	p->at++;
	if (looking_at(p, "^")) {
		negated = !negated;
		p->at++;
	}
	for (; p->at < p->bytes && p->text[p->at] != '}'; p->at++) {
		char c = p->text[p->at];
		if (n + 1 == sizeof(name))
			return refuse(p, "this property name");
		name[n++] = c;
		if (c != ' ' && c != '_' && c != '-')
			folded[m++] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
	}
	if (p->at == p->bytes)
		return malformed(p, "\\p{ without }");
	p->at++;
	name[n] = folded[m] = '\0';
	const char *known = name;
	for (size_t i = 0; i < sizeof(class_aliases) / sizeof(*class_aliases); i++) {
		if (strcmp(folded, class_aliases[i][0]) == 0)
			known = class_aliases[i][1];
	}
	struct hth_uset class = {0};
	if (!hth_uset_add_class(&class, known, strlen(known)))
		return refuse(p, "the property before the }");
	hth_uset_tidy(&class);
	if (negated)
		hth_uset_invert(&class);
	hth_uset_add_set(s, &class);
	hth_uset_clear(&class);
	return HTH_OK;
}

static bool parse_hex(struct parser *p, size_t min, size_t max, uint32_t *out)
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

static enum hth_status parse_hex_escape(struct parser *p, char kind, uint32_t *single)
{
	bool braces = kind == 'x' && looking_at(p, "{");
	bool ok;

	p->at += braces;
	ok = braces ? parse_hex(p, 1, 8, single) : kind == 'x' ? parse_hex(p, 1, 2, single) : parse_hex(p, 4, 4, single);
	if (braces && ok) {
		ok = looking_at(p, "}");
		p->at++;
	}
	return ok ? HTH_OK : malformed(p, "a malformed \\x or \\u");
}

/* An escape that stands for code points, p->at behind the backslash: *single, or HTH_UTF8_INVALID and added to s. */
static enum hth_status parse_escape(struct parser *p, struct hth_uset *s, uint32_t *single)
{
	static const char from[] = "nrtfvae0", to[] = "\n\r\t\f\v\a\x1b";

	*single = HTH_UTF8_INVALID;
	if (p->at == p->bytes)
		return malformed(p, "a backslash at the end");
	char c = p->text[p->at];
	const char *simple = memchr(from, c, sizeof(from) - 1);
	if (simple != NULL) {
		p->at++;
		*single = (unsigned char)to[simple - from];
		return HTH_OK;
	}
	if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
		*single = next_code_point(p);
		return *single == HTH_UTF8_INVALID ? malformed(p, "invalid UTF-8") : HTH_OK;
	}
	p->at++;
	switch (c) {
	case 'd': case 'D':
		return add_named(s, "Nd", c == 'D');
	case 'w': case 'W':
		return add_named(s, "Word", c == 'W');
	case 's': case 'S':
		return add_named(s, "Space", c == 'S');
	case 'p': case 'P':
		return parse_property(p, c == 'P', s);
	case 'x': case 'u':
		return parse_hex_escape(p, c, single);
	default:
		p->at--;
		return refuse(p, "the escape");
	}
}

static const char *const posix_names[][2] = {
	{"[:alpha:]", "Alphabetic"}, {"[:digit:]", "Nd"}, {"[:space:]", "Space"}, {"[:punct:]", "Punct"},
	{"[:word:]", "Word"},
};

static enum hth_status parse_class(struct parser *p, int depth, struct hth_uset *s);

/* One element of a class that is not a plain code point: nested, POSIX or escaped. *single as parse_escape. */
static enum hth_status parse_class_item(struct parser *p, int depth, struct hth_uset *s, uint32_t *single)
{
	*single = HTH_UTF8_INVALID;
	if (looking_at(p, "[")) {
		for (size_t i = 0; i < sizeof(posix_names) / sizeof(*posix_names); i++) {
			if (looking_at(p, posix_names[i][0])) {
				p->at += strlen(posix_names[i][0]);
				return add_named(s, posix_names[i][1], false);
			}
		}
		if (looking_at(p, "[:"))
			return refuse(p, "the bracket");
		struct hth_uset inner = {0};
		p->at++;
		enum hth_status st = parse_class(p, depth + 1, &inner);
		hth_uset_add_set(s, &inner);
		hth_uset_clear(&inner);
		return st;
	}
	if (looking_at(p, "\\")) {
		p->at++;
		return parse_escape(p, s, single);
	}
	*single = next_code_point(p);
	return *single == HTH_UTF8_INVALID ? malformed(p, "invalid UTF-8") : HTH_OK;
}

/* A class, p->at behind its [; ends behind its ]. Tidy on success. */
static enum hth_status parse_class(struct parser *p, int depth, struct hth_uset *s)
{
	struct hth_uset left = {0}; /* what stands before the last && */
	bool negated = false, meets = false, first = true;
	enum hth_status st = HTH_OK;

	if (depth > MAX_CLASS_DEPTH)
		return refuse(p, "a class nested more than 8 deep");
	if (looking_at(p, "^")) {
		negated = true;
		p->at++;
	}
	for (;; first = false) {
		uint32_t a, b;
		if (p->at >= p->bytes) {
			st = malformed(p, "a class without ]");
			goto done;
		}
		if (looking_at(p, "]") && !first)
			break;
		if (looking_at(p, "&&")) {
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
		b = a;
		if (looking_at(p, "-") && p->at + 1 < p->bytes && p->text[p->at + 1] != ']' &&
		    p->text[p->at + 1] != '[') {
			p->at++;
			if ((st = parse_class_item(p, depth, s, &b)) != HTH_OK)
				goto done;
			if (b == HTH_UTF8_INVALID) { /* "a-\w": the hyphen is itself */
				hth_uset_add(s, '-', '-');
				b = a;
			}
		}
		if (b < a) {
			st = malformed(p, "a range that ends before it begins");
			goto done;
		}
		hth_uset_add(s, a, b);
	}
	p->at++;
	if (p->fold)
		add_folded(s);
	hth_uset_tidy(s);
	if (meets)
		hth_uset_intersect(s, &left);
	if (negated)
		hth_uset_invert(s);
done:
	hth_uset_clear(&left);
	return st;
}

/* Inserts "(?:" before the last atom and ")" behind it, so that a second repeat applies to the first. */
static void wrap_atom(struct parser *p)
{
	struct hth_buf *b = &p->out->text;
	size_t tail = b->bytes - p->atom_at;

	if (!hth_buf_puts(b, "(?:)"))
		return;
	memmove(b->data + p->atom_at + 3, b->data + p->atom_at, tail);
	memcpy(b->data + p->atom_at, "(?:", 3);
	b->data[b->bytes - 1] = ')';
}

/* "{n,m}" at p->at; false when it is not a count but a brace. */
static bool parse_count(struct parser *p, size_t *min, size_t *max, bool *open)
{
	size_t at = p->at + 1, v[2] = {0, 0}, digits[2] = {0, 0};
	int k = 0;

	for (; at < p->bytes && p->text[at] != '}'; at++) {
		char c = p->text[at];
		if (c == ',' && k == 0) {
			k = 1;
		} else if (c >= '0' && c <= '9' && digits[k] < 6) {
			v[k] = v[k] * 10 + (size_t)(c - '0');
			digits[k]++;
		} else {
			return false;
		}
	}
	if (at == p->bytes || digits[0] + digits[1] == 0)
		return false;
	*min = v[0];
	*open = k == 1 && digits[1] == 0;
	*max = k == 0 ? v[0] : v[1];
	p->at = at + 1;
	return true;
}

static enum hth_status parse_repeat(struct parser *p)
{
	struct hth_buf *b = &p->out->text;
	char c = p->text[p->at];
	size_t min = 0, max = 0;
	bool open = false, counted = c == '{';

	if (p->atom_at == SIZE_MAX)
		return malformed(p, "a repeat of nothing");
	if (counted) {
		(void)parse_count(p, &min, &max, &open);
		if (min > MAX_REPEAT || max > MAX_REPEAT || (!open && max < min))
			return malformed(p, "a count above 1000 or backwards");
		hth_buf_printf(b, open ? "{%zu,}" : "{%zu,%zu}", min, max);
	} else {
		p->at++;
		hth_buf_putc(b, c);
	}
	if (looking_at(p, "?")) {
		hth_buf_putc(b, '?');
		p->at++;
	} else if (looking_at(p, "+") && !counted) {
		hth_buf_putc(b, '+');
		p->at++;
	}
	/* "{1,3}+" repeats the count here, where PCRE2 would read it as possessive; "a**" is allowed here too. */
	if (p->at < p->bytes && strchr("*+?{", p->text[p->at]) != NULL)
		wrap_atom(p);
	return HTH_OK;
}

/* Behind "(?": the group's kind, or flags. */
static enum hth_status parse_group_kind(struct parser *p)
{
	static const char *const kinds[] = {":", "=", "!", "<=", "<!", ">"};
	struct hth_buf *b = &p->out->text;
	bool on = true;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (looking_at(p, kinds[i])) {
			p->at += strlen(kinds[i]);
			hth_buf_puts(b, "(?");
			hth_buf_puts(b, kinds[i]);
			return HTH_OK;
		}
	}
	for (; p->at < p->bytes; p->at++) {
		char c = p->text[p->at];
		if (c == '-')
			on = false;
		else if (c == 'i')
			p->fold = on;
		else if (c == 'm')
			p->dot_all = on;
		else
			break;
	}
	if (looking_at(p, ":")) {
		p->at++;
		hth_buf_puts(b, "(?:");
		return HTH_OK;
	}
	if (looking_at(p, ")")) { /* "(?i)" holds to the end of the group around it */
		p->at++;
		p->n_groups--;
		return HTH_OK;
	}
	return refuse(p, "the group");
}

static enum hth_status parse_open(struct parser *p)
{
	if (p->n_groups == MAX_GROUPS)
		return refuse(p, "a group nested more than 64 deep");
	p->groups[p->n_groups++] = (struct group){p->out->text.bytes, p->fold, p->dot_all};
	p->at++;
	p->atom_at = SIZE_MAX;
	if (!looking_at(p, "?")) {
		hth_buf_puts(&p->out->text, "(?:");
		return HTH_OK;
	}
	p->at++;
	return parse_group_kind(p);
}

static enum hth_status parse_close(struct parser *p)
{
	if (p->n_groups == 0)
		return malformed(p, "a ) without (");
	struct group g = p->groups[--p->n_groups];
	p->at++;
	hth_buf_putc(&p->out->text, ')');
	p->atom_at = g.at;
	p->fold = g.fold;
	p->dot_all = g.dot_all;
	return HTH_OK;
}

/* Lookaround for a line end or start: `before` and `after` are PCRE2 syntax around the newline set. */
static enum hth_status put_anchor(struct parser *p, const char *before, const char *after)
{
	struct hth_uset newline = {0};

	hth_buf_puts(&p->out->text, before);
	hth_uset_add(&newline, '\n', '\n');
	enum hth_status st = put_set(p, &newline);
	hth_buf_puts(&p->out->text, after);
	p->atom_at = SIZE_MAX;
	return st;
}

static enum hth_status parse_literal(struct parser *p)
{
	struct hth_uset s = {0}, cased = {0};
	uint32_t c;
	enum hth_status st = HTH_OK;

	if (looking_at(p, "\\")) {
		p->at++;
		st = parse_escape(p, &s, &c);
	} else {
		c = next_code_point(p);
		if (c == HTH_UTF8_INVALID)
			st = malformed(p, "invalid UTF-8");
	}
	if (st != HTH_OK)
		goto done;
	if (c != HTH_UTF8_INVALID) {
		hth_uset_add(&s, c, c);
		hth_uset_add_class(&cased, "Lu", 2);
		hth_uset_add_class(&cased, "Ll", 2);
		hth_uset_tidy(&cased);
		if (p->fold && c >= 0x80 && hth_uset_has(&cased, c)) {
			st = refuse(p, "a letter beyond ASCII under (?i)");
			goto done;
		}
	}
	st = put_set(p, &s);
	s = (struct hth_uset){0};
done:
	hth_uset_clear(&s);
	hth_uset_clear(&cased);
	return st;
}

static enum hth_status parse_dot(struct parser *p)
{
	struct hth_uset s = {0};

	p->at++;
	hth_uset_add(&s, 0, p->dot_all ? 0x10FFFF : 9);
	if (!p->dot_all)
		hth_uset_add(&s, 11, 0x10FFFF);
	return put_set(p, &s);
}

static enum hth_status parse_element(struct parser *p)
{
	size_t min, max, at = p->at;
	bool open;

	switch (p->text[p->at]) {
	case '(':
		return parse_open(p);
	case ')':
		return parse_close(p);
	case '|':
		p->at++;
		p->atom_at = SIZE_MAX;
		hth_buf_putc(&p->out->text, '|');
		return HTH_OK;
	case '*': case '+': case '?':
		return parse_repeat(p);
	case '{':
		if (!parse_count(p, &min, &max, &open))
			return parse_literal(p);
		p->at = at;
		return parse_repeat(p);
	case '.':
		return parse_dot(p);
	case '^':
		p->at++;
		return put_anchor(p, "(?:\\A|(?<=", "))");
	case '$':
		p->at++;
		return put_anchor(p, "(?=", "|\\z)");
	case '[': {
		struct hth_uset s = {0};
		p->at++;
		enum hth_status st = parse_class(p, 0, &s);
		if (st == HTH_OK)
			return put_set(p, &s);
		hth_uset_clear(&s);
		return st;
	}
	default:
		return parse_literal(p);
	}
}

void hth_pattern_source_clear(struct hth_pattern_source *s)
{
	for (size_t i = 0; i < s->n_sets; i++)
		hth_uset_clear(&s->sets[i]);
	s->n_sets = 0;
	hth_buf_clear(&s->text);
}

enum hth_status hth_pattern_parse(const char *pattern, size_t bytes, const char *where, struct hth_pattern_source *out,
                                  struct hth_err *err)
{
	struct parser p = {.text = pattern, .bytes = bytes, .where = where, .err = err, .out = out, .atom_at = SIZE_MAX};
	enum hth_status st = HTH_OK;

	out->n_sets = 0;
	hth_buf_init(&out->text, MAX_PATTERN_BYTES * 8);
	if (bytes > MAX_PATTERN_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: a pattern of %zu bytes, at most 65536", where, bytes);
	while (st == HTH_OK && p.at < bytes) {
		if (looking_at(&p, "\\A") || looking_at(&p, "\\z")) {
			hth_buf_add(&out->text, pattern + p.at, 2);
			p.atom_at = SIZE_MAX;
			p.at += 2;
			continue;
		}
		st = parse_element(&p);
	}
	if (st == HTH_OK && p.n_groups > 0)
		st = malformed(&p, "a ( without )");
	if (st == HTH_OK)
		st = hth_buf_status(&out->text, "a pattern", err);
	return st;
}
