/* The front half of pretok_pattern.h: Oniguruma syntax (its Ruby dialect, which the tokenizers library uses) to
 * PCRE2 syntax over sets of code points. What the two read differently is written out: possessive counts, ^ and $,
 * nested classes and &&, case folding. Left out and refused by name: back references, named groups, \b, \R, \X, \K,
 * conditionals, case folding beyond ASCII letters (with U+017F and U+212A, which fold to s and k). */
#include "base/utf8.h"
#include "text/pretok_parse_int.h"

#define MAX_PATTERN_BYTES ((size_t)1 << 16)
#define MAX_REPEAT 1000

/* Puts a set into the output as an atom; takes it over. */
static enum hth_status put_set(struct hth_pattern_parser *p, struct hth_uset *s)
{
	struct hth_pattern_source *out = p->out;
	size_t i;

	if (p->fold)
		hth_parse_fold(s);
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
		return hth_parse_refuse(p, "more than 255 different sets");
	} else {
		out->sets[out->n_sets++] = *s;
	}
	p->atom_at = out->text.bytes;
	hth_buf_putc(&out->text, 1);
	hth_buf_putc(&out->text, (char)i);
	return HTH_OK;
}

/* Inserts "(?:" before the last atom and ")" behind it, so that a second repeat applies to the first. */
static void wrap_atom(struct hth_pattern_parser *p)
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
static bool parse_count(struct hth_pattern_parser *p, size_t *min, size_t *max, bool *open)
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

static enum hth_status parse_repeat(struct hth_pattern_parser *p)
{
	struct hth_buf *b = &p->out->text;
	char c = p->text[p->at];
	size_t min = 0, max = 0;
	bool open = false, counted = c == '{';

	if (p->atom_at == SIZE_MAX)
		return hth_parse_malformed(p, "a repeat of nothing");
	if (counted) {
		(void)parse_count(p, &min, &max, &open);
		if (min > MAX_REPEAT || max > MAX_REPEAT || (!open && max < min))
			return hth_parse_malformed(p, "a count above 1000 or backwards");
		hth_buf_printf(b, open ? "{%zu,}" : "{%zu,%zu}", min, max);
	} else {
		p->at++;
		hth_buf_putc(b, c);
	}
	if (hth_parse_sees(p, "?")) {
		hth_buf_putc(b, '?');
		p->at++;
	} else if (hth_parse_sees(p, "+") && !counted) {
		hth_buf_putc(b, '+');
		p->at++;
	}
	/* "{1,3}+" repeats the count here, where PCRE2 would read it as possessive; "a**" is allowed here too. */
	if (p->at < p->bytes && strchr("*+?{", p->text[p->at]) != NULL)
		wrap_atom(p);
	return HTH_OK;
}

/* Behind "(?": the group's kind, or flags. */
static enum hth_status parse_group_kind(struct hth_pattern_parser *p)
{
	static const char *const kinds[] = {":", "=", "!", "<=", "<!", ">"};
	struct hth_buf *b = &p->out->text;
	bool on = true;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (hth_parse_sees(p, kinds[i])) {
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
	if (hth_parse_sees(p, ":")) {
		p->at++;
		hth_buf_puts(b, "(?:");
		return HTH_OK;
	}
	if (hth_parse_sees(p, ")")) { /* "(?i)" holds to the end of the group around it */
		p->at++;
		p->n_groups--;
		return HTH_OK;
	}
	return hth_parse_refuse(p, "the group");
}

static enum hth_status parse_open(struct hth_pattern_parser *p)
{
	if (p->n_groups == HTH_PARSE_MAX_GROUPS)
		return hth_parse_refuse(p, "a group nested more than 64 deep");
	p->groups[p->n_groups++] = (struct hth_parse_group){p->out->text.bytes, p->fold, p->dot_all};
	p->at++;
	p->atom_at = SIZE_MAX;
	if (!hth_parse_sees(p, "?")) {
		hth_buf_puts(&p->out->text, "(?:");
		return HTH_OK;
	}
	p->at++;
	return parse_group_kind(p);
}

static enum hth_status parse_close(struct hth_pattern_parser *p)
{
	if (p->n_groups == 0)
		return hth_parse_malformed(p, "a ) without (");
	struct hth_parse_group g = p->groups[--p->n_groups];
	p->at++;
	hth_buf_putc(&p->out->text, ')');
	p->atom_at = g.at;
	p->fold = g.fold;
	p->dot_all = g.dot_all;
	return HTH_OK;
}

/* Lookaround for a line end or start: `before` and `after` are PCRE2 syntax around the newline set. */
static enum hth_status put_anchor(struct hth_pattern_parser *p, const char *before, const char *after)
{
	struct hth_uset newline = {0};

	hth_buf_puts(&p->out->text, before);
	hth_uset_add(&newline, '\n', '\n');
	enum hth_status st = put_set(p, &newline);
	hth_buf_puts(&p->out->text, after);
	p->atom_at = SIZE_MAX;
	return st;
}

static enum hth_status parse_literal(struct hth_pattern_parser *p)
{
	struct hth_uset s = {0}, cased = {0};
	uint32_t c;
	enum hth_status st = HTH_OK;

	if (hth_parse_sees(p, "\\")) {
		p->at++;
		st = hth_parse_escape(p, &s, &c);
	} else {
		c = hth_parse_code_point(p);
		if (c == HTH_UTF8_INVALID)
			st = hth_parse_malformed(p, "invalid UTF-8");
	}
	if (st != HTH_OK)
		goto done;
	if (c != HTH_UTF8_INVALID) {
		hth_uset_add(&s, c, c);
		hth_uset_add_class(&cased, "Lu", 2);
		hth_uset_add_class(&cased, "Ll", 2);
		hth_uset_tidy(&cased);
		if (p->fold && c >= 0x80 && hth_uset_has(&cased, c)) {
			st = hth_parse_refuse(p, "a letter beyond ASCII under (?i)");
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

static enum hth_status parse_dot(struct hth_pattern_parser *p)
{
	struct hth_uset s = {0};

	p->at++;
	hth_uset_add(&s, 0, p->dot_all ? 0x10FFFF : 9);
	if (!p->dot_all)
		hth_uset_add(&s, 11, 0x10FFFF);
	return put_set(p, &s);
}

static enum hth_status parse_element(struct hth_pattern_parser *p)
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
	case '*':
	case '+':
	case '?':
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
		enum hth_status st = hth_parse_class(p, 0, &s);
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
	struct hth_pattern_parser p = {
		.text = pattern, .bytes = bytes, .where = where, .err = err, .out = out, .atom_at = SIZE_MAX};
	enum hth_status st = HTH_OK;

	out->n_sets = 0;
	hth_buf_init(&out->text, MAX_PATTERN_BYTES * 8);
	if (bytes > MAX_PATTERN_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: a pattern of %zu bytes, at most 65536", where, bytes);
	while (st == HTH_OK && p.at < bytes) {
		if (hth_parse_sees(&p, "\\A") || hth_parse_sees(&p, "\\z")) {
			hth_buf_add(&out->text, pattern + p.at, 2);
			p.atom_at = SIZE_MAX;
			p.at += 2;
			continue;
		}
		st = parse_element(&p);
	}
	if (st == HTH_OK && p.n_groups > 0)
		st = hth_parse_malformed(&p, "a ( without )");
	if (st == HTH_OK)
		st = hth_buf_status(&out->text, "a pattern", err);
	return st;
}
