/* Jinja's lexer: template text to tokens, one at a time, with jinja2's whitespace rules under trim_blocks and
 * lstrip_blocks: a newline behind a statement or comment is dropped, blanks before one at the start of a line too,
 * '-' drops all white space on its side, '+' keeps it. Line statements are left out (transformers has none).
 * The source was normalised by hth_template_parse: newlines are \n, one newline at the end is gone.
 * Source: jinja2 3.1's documented syntax, checked against the template fixtures. */
#include "text/jinja_parser.h"

#include "base/utf8.h"

static const char *const tok_names[] = {
	[HTH_JT_EOF] = "end of template",
	[HTH_JT_DATA] = "text",
	[HTH_JT_VAR_BEGIN] = "begin of print statement",
	[HTH_JT_VAR_END] = "end of print statement",
	[HTH_JT_BLOCK_BEGIN] = "begin of statement block",
	[HTH_JT_BLOCK_END] = "end of statement block",
	[HTH_JT_NAME] = "name",
	[HTH_JT_STRING] = "string",
	[HTH_JT_INT] = "integer",
	[HTH_JT_FLOAT] = "float",
	[HTH_JT_ADD] = "+",
	[HTH_JT_SUB] = "-",
	[HTH_JT_MUL] = "*",
	[HTH_JT_DIV] = "/",
	[HTH_JT_FLOORDIV] = "//",
	[HTH_JT_MOD] = "%",
	[HTH_JT_POW] = "**",
	[HTH_JT_TILDE] = "~",
	[HTH_JT_EQ] = "==",
	[HTH_JT_NE] = "!=",
	[HTH_JT_LT] = "<",
	[HTH_JT_LE] = "<=",
	[HTH_JT_GT] = ">",
	[HTH_JT_GE] = ">=",
	[HTH_JT_ASSIGN] = "=",
	[HTH_JT_DOT] = ".",
	[HTH_JT_COLON] = ":",
	[HTH_JT_PIPE] = "|",
	[HTH_JT_COMMA] = ",",
	[HTH_JT_SEMICOLON] = ";",
	[HTH_JT_LPAREN] = "(",
	[HTH_JT_RPAREN] = ")",
	[HTH_JT_LBRACKET] = "[",
	[HTH_JT_RBRACKET] = "]",
	[HTH_JT_LBRACE] = "{",
	[HTH_JT_RBRACE] = "}",
};

const char *hth_jtok_name(enum hth_jtok kind)
{
	return tok_names[kind];
}

static enum hth_status fail_at(struct hth_jlexer *lx, size_t pos, const char *what)
{
	char found[48];
	size_t n = 1;
	while (pos + n < lx->bytes && n < 4 && ((unsigned char)lx->src[pos + n] & 0xC0) == 0x80)
		n++;
	if (pos >= lx->bytes)
		return hth_fail(lx->err, HTH_ERR_FORMAT, "%s:%u:%zu: %s", lx->where, lx->line, pos - lx->line_start + 1,
				what);
	return hth_fail(lx->err, HTH_ERR_FORMAT, "%s:%u:%zu: %s, found '%s'", lx->where, lx->line,
			pos - lx->line_start + 1, what, hth_quote(found, sizeof found, lx->src + pos, n));
}

/* Moves to `to`, counting lines. */
static void advance(struct hth_jlexer *lx, size_t to)
{
	for (size_t i = lx->pos; i < to; i++) {
		if (lx->src[i] == '\n') {
			lx->line++;
			lx->line_start = i + 1;
		}
	}
	lx->pos = to;
}

/* Bytes of the white space character at pos, 0 if there is none. */
static size_t space_at(const struct hth_jlexer *lx, size_t pos)
{
	size_t used = 0;
	if (pos >= lx->bytes)
		return 0;
	uint32_t cp = hth_utf8_next(lx->src + pos, lx->bytes - pos, &used);
	return cp != HTH_UTF8_INVALID && hth_jchar_space(cp) ? used : 0;
}

static size_t skip_space(const struct hth_jlexer *lx, size_t pos)
{
	size_t n;
	while ((n = space_at(lx, pos)) > 0)
		pos += n;
	return pos;
}

/* The end of text[from, to) without its trailing white space. */
static size_t rstrip(const struct hth_jlexer *lx, size_t from, size_t to)
{
	while (to > from) {
		size_t at = to - 1;
		while (at > from && ((unsigned char)lx->src[at] & 0xC0) == 0x80)
			at--;
		if (space_at(lx, at) != to - at)
			break;
		to = at;
	}
	return to;
}

static bool starts(const struct hth_jlexer *lx, size_t pos, const char *s)
{
	size_t n = strlen(s);
	return lx->bytes - pos >= n && pos <= lx->bytes && memcmp(lx->src + pos, s, n) == 0;
}

/* Matches `{%[-+]? word (-%}\s* | %})` at pos; returns the end or 0, and the sign. With trim, `+%}` is taken too
 * and a newline behind a bare `%}` belongs to it. */
static size_t match_tag(const struct hth_jlexer *lx, size_t pos, const char *word, bool trim, char *sign)
{
	pos += 2;
	*sign = 0;
	if (pos < lx->bytes && (lx->src[pos] == '-' || lx->src[pos] == '+'))
		*sign = lx->src[pos++];
	pos = skip_space(lx, pos);
	if (!starts(lx, pos, word))
		return 0;
	pos = skip_space(lx, pos + strlen(word));
	if (starts(lx, pos, "-%}"))
		return skip_space(lx, pos + 3);
	if (trim && starts(lx, pos, "+%}"))
		return pos + 3;
	if (!starts(lx, pos, "%}"))
		return 0;
	pos += 2;
	return trim && pos < lx->bytes && lx->src[pos] == '\n' ? pos + 1 : pos;
}

/* The end of a text before a tag, after its white space control. */
static size_t trim_text(const struct hth_jlexer *lx, size_t from, size_t to, char sign, bool is_var)
{
	if (sign == '-')
		return rstrip(lx, from, to);
	if (sign == '+' || is_var)
		return to;
	size_t line = to;
	while (line > from && lx->src[line - 1] != '\n')
		line--;
	if (line == from && !lx->line_starting)
		return to;
	return line < to && skip_space(lx, line) >= to ? line : to;
}

static struct hth_jtoken token(const struct hth_jlexer *lx, enum hth_jtok kind, size_t from, size_t to)
{
	return (struct hth_jtoken){.kind = kind,
				   .text = lx->src + from,
				   .bytes = to - from,
				   .line = lx->line,
				   .col = (uint32_t)(from - lx->line_start + 1)};
}

/* Skips a comment whose text begins at pos. */
static enum hth_status skip_comment(struct hth_jlexer *lx, size_t pos)
{
	const char *end = pos + 2 > lx->bytes ? NULL : memmem(lx->src + pos, lx->bytes - pos, "#}", 2);
	if (end == NULL)
		return fail_at(lx, lx->bytes, "missing end of comment tag '#}'");
	size_t at = (size_t)(end - lx->src);
	size_t to = at + 2;
	if (at > pos && lx->src[at - 1] == '-')
		to = skip_space(lx, to);
	else if (!(at > pos && lx->src[at - 1] == '+') && to < lx->bytes && lx->src[to] == '\n')
		to++;
	advance(lx, to);
	lx->line_starting = lx->src[to - 1] == '\n';
	return HTH_OK;
}

/* The body of a raw block. */
static enum hth_status lex_raw(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	size_t from = lx->pos;
	for (size_t at = from; at + 1 < lx->bytes; at++) {
		char sign;
		size_t end;
		if (lx->src[at] != '{' || lx->src[at + 1] != '%' ||
		    (end = match_tag(lx, at, "endraw", true, &sign)) == 0)
			continue;
		*out = token(lx, HTH_JT_DATA, from, trim_text(lx, from, at, sign, false));
		advance(lx, end);
		lx->line_starting = lx->src[end - 1] == '\n';
		lx->state = 'r';
		return HTH_OK;
	}
	return fail_at(lx, lx->bytes, "missing end of raw block '{% endraw %}'");
}

/* Text up to the next tag; the tag's begin is held back or, for comments and raw, dealt with. */
static enum hth_status lex_root(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	size_t from = lx->pos, at = from;
	while (at < lx->bytes) {
		const char *brace = memchr(lx->src + at, '{', lx->bytes - at);
		at = brace == NULL ? lx->bytes : (size_t)(brace - lx->src);
		if (at + 1 < lx->bytes && strchr("{%#", lx->src[at + 1]) != NULL && lx->src[at + 1] != '\0')
			break;
		at += at < lx->bytes;
	}
	if (at >= lx->bytes) {
		*out = token(lx, from < at ? HTH_JT_DATA : HTH_JT_EOF, from, at);
		advance(lx, at);
		return HTH_OK;
	}
	char kind = lx->src[at + 1], sign = 0;
	size_t raw_end = kind == '%' ? match_tag(lx, at, "raw", false, &sign) : 0;
	size_t end = at + 2;
	if (raw_end == 0 && end < lx->bytes && (lx->src[end] == '-' || lx->src[end] == '+'))
		sign = lx->src[end++];
	*out = token(lx, HTH_JT_DATA, from, trim_text(lx, from, at, sign, kind == '{'));
	advance(lx, at);
	lx->line_starting = false;
	if (kind == '#')
		return skip_comment(lx, end);
	if (raw_end != 0) {
		advance(lx, raw_end);
		lx->line_starting = lx->src[raw_end - 1] == '\n';
		lx->state = 'w';
		return HTH_OK;
	}
	lx->held = token(lx, kind == '{' ? HTH_JT_VAR_BEGIN : HTH_JT_BLOCK_BEGIN, at, end);
	lx->has_held = true;
	lx->state = kind == '{' ? 'v' : 'b';
	advance(lx, end);
	return HTH_OK;
}

static bool word_char(uint32_t cp)
{
	return cp == '_' || hth_jchar_alpha(cp) || hth_jchar_numeric(cp);
}

static bool digit_of(char c, int base)
{
	int v = c >= '0' && c <= '9'   ? c - '0'
		: c >= 'a' && c <= 'f' ? c - 'a' + 10
		: c >= 'A' && c <= 'F' ? c - 'A' + 10
				       : 99;
	return v < base;
}

/* Digits with single underscores between them; returns the end, or `pos` when there is none. */
static size_t digits(const struct hth_jlexer *lx, size_t pos, int base)
{
	if (pos >= lx->bytes || !digit_of(lx->src[pos], base))
		return pos;
	while (pos < lx->bytes) {
		if (digit_of(lx->src[pos], base))
			pos++;
		else if (lx->src[pos] == '_' && pos + 1 < lx->bytes && digit_of(lx->src[pos + 1], base))
			pos += 2;
		else
			break;
	}
	return pos;
}

/* A number at pos, which holds a digit. */
static struct hth_jtoken lex_number(struct hth_jlexer *lx)
{
	size_t pos = lx->pos, end = digits(lx, pos, 10);
	bool after_dot = pos > 0 && lx->src[pos - 1] == '.';
	enum hth_jtok kind = HTH_JT_INT;
	if (!after_dot) {
		size_t frac = end < lx->bytes && lx->src[end] == '.' ? digits(lx, end + 1, 10) : end + 1;
		size_t fend = frac > end + 1 ? frac : end;
		size_t exp = fend;
		if (exp < lx->bytes && (lx->src[exp] == 'e' || lx->src[exp] == 'E')) {
			exp++;
			exp += exp < lx->bytes && (lx->src[exp] == '+' || lx->src[exp] == '-');
			size_t eend = digits(lx, exp, 10);
			if (eend > exp)
				fend = eend;
		}
		if (fend > end) {
			kind = HTH_JT_FLOAT;
			end = fend;
		}
	}
	if (kind == HTH_JT_INT && lx->src[pos] == '0') {
		char c = pos + 1 < lx->bytes ? (char)(lx->src[pos + 1] | 0x20) : 0;
		int base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
		size_t from = pos + 2 + (base != 0 && pos + 2 < lx->bytes && lx->src[pos + 2] == '_');
		size_t rend = base != 0 && from < lx->bytes ? digits(lx, from, base) : from;
		/* decimal numbers do not start with 0: "007" is three zeros' worth of tokens, as in jinja2 */
		end = rend > from ? rend : digits(lx, pos, 1);
	}
	return token(lx, kind, pos, end);
}

static enum hth_status lex_string(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	char quote = lx->src[lx->pos];
	for (size_t at = lx->pos + 1; at < lx->bytes; at++) {
		if (lx->src[at] == '\\') {
			at++;
		} else if (lx->src[at] == quote) {
			*out = token(lx, HTH_JT_STRING, lx->pos, at + 1);
			advance(lx, at + 1);
			return HTH_OK;
		}
	}
	return fail_at(lx, lx->pos, "this string has no end");
}

static enum hth_status balance(struct hth_jlexer *lx, char c, size_t pos)
{
	const char *open = memchr("([{", c, 3), *close = memchr(")]}", c, 3);
	if (open != NULL) {
		if (lx->n_balance == sizeof lx->balance)
			return hth_fail(lx->err, HTH_ERR_LIMIT, "%s:%u:%zu: more than %zu nested brackets", lx->where,
					lx->line, pos - lx->line_start + 1, sizeof lx->balance);
		lx->balance[lx->n_balance++] = c == '(' ? ')' : c == '[' ? ']' : '}';
	} else if (close != NULL) {
		char want[64];
		if (lx->n_balance == 0)
			return fail_at(lx, pos, "unexpected closing bracket");
		char expected = lx->balance[--lx->n_balance];
		snprintf(want, sizeof want, "expected '%c'", expected);
		if (expected != c)
			return fail_at(lx, pos, want);
	}
	return HTH_OK;
}

static enum hth_status lex_operator(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	size_t best = 0;
	enum hth_jtok kind = HTH_JT_EOF;
	for (int k = HTH_JT_ADD; k <= HTH_JT_RBRACE; k++) {
		size_t n = strlen(tok_names[k]);
		if (n > best && starts(lx, lx->pos, tok_names[k])) {
			best = n;
			kind = (enum hth_jtok)k;
		}
	}
	if (best == 0)
		return fail_at(lx, lx->pos, "unexpected character");
	enum hth_status st = best == 1 ? balance(lx, lx->src[lx->pos], lx->pos) : HTH_OK;
	if (st == HTH_OK) {
		*out = token(lx, kind, lx->pos, lx->pos + best);
		lx->pos += best;
	}
	return st;
}

/* The end of the tag we are in, at pos: its length with swallowed white space, 0 if it is not there. */
static size_t tag_end(const struct hth_jlexer *lx, size_t pos)
{
	const char *close = lx->state == 'v' ? "}}" : "%}";
	if (lx->n_balance > 0 || pos >= lx->bytes)
		return 0;
	if (lx->src[pos] == '-' && starts(lx, pos + 1, close))
		return skip_space(lx, pos + 3) - pos;
	if (lx->state == 'b' && lx->src[pos] == '+' && starts(lx, pos + 1, close))
		return 3;
	if (!starts(lx, pos, close))
		return 0;
	return lx->state == 'b' && pos + 2 < lx->bytes && lx->src[pos + 2] == '\n' ? 3 : 2;
}

static enum hth_status lex_tag(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	size_t n = tag_end(lx, lx->pos);
	if (n == 0) {
		advance(lx, skip_space(lx, lx->pos));
		n = tag_end(lx, lx->pos);
	}
	if (n > 0) {
		*out = token(lx, lx->state == 'v' ? HTH_JT_VAR_END : HTH_JT_BLOCK_END, lx->pos, lx->pos + n);
		advance(lx, lx->pos + n);
		lx->line_starting = lx->src[lx->pos - 1] == '\n';
		lx->state = 'r';
		return HTH_OK;
	}
	if (lx->pos >= lx->bytes) {
		*out = token(lx, HTH_JT_EOF, lx->pos, lx->pos);
		return HTH_OK;
	}
	char c = lx->src[lx->pos];
	if (c >= '0' && c <= '9') {
		*out = lex_number(lx);
		lx->pos += out->bytes;
		return HTH_OK;
	}
	if (c == '\'' || c == '"')
		return lex_string(lx, out);
	size_t end = lx->pos, used;
	while (end < lx->bytes && word_char(hth_utf8_next(lx->src + end, lx->bytes - end, &used)))
		end += used;
	if (end == lx->pos)
		return lex_operator(lx, out);
	if (hth_jchar_numeric(hth_utf8_next(lx->src + lx->pos, lx->bytes - lx->pos, &used)))
		return fail_at(lx, lx->pos, "invalid character in identifier");
	*out = token(lx, HTH_JT_NAME, lx->pos, end);
	lx->pos = end;
	return HTH_OK;
}

enum hth_status hth_jlex_next(struct hth_jlexer *lx, struct hth_jtoken *out)
{
	enum hth_status st;
	do {
		if (lx->has_held) {
			*out = lx->held;
			lx->has_held = false;
			return HTH_OK;
		}
		st = lx->state == 'r' ? lex_root(lx, out) : lx->state == 'w' ? lex_raw(lx, out) : lex_tag(lx, out);
	} while (st == HTH_OK && out->kind == HTH_JT_DATA && out->bytes == 0);
	return st;
}

/* Names for \N{...} that templates use; Python knows all of Unicode's. */
static const struct {
	const char *name;
	uint32_t cp;
} char_names[] = {
	{"BULLET", 0x2022},
	{"EM DASH", 0x2014},
	{"EN DASH", 0x2013},
	{"HORIZONTAL ELLIPSIS", 0x2026},
	{"NO-BREAK SPACE", 0xA0},
	{"ZERO WIDTH SPACE", 0x200B},
	{"LEFT SINGLE QUOTATION MARK", 0x2018},
	{"RIGHT SINGLE QUOTATION MARK", 0x2019},
	{"LEFT DOUBLE QUOTATION MARK", 0x201C},
	{"RIGHT DOUBLE QUOTATION MARK", 0x201D},
	{"LINE FEED", 0x0A},
	{"SPACE", 0x20},
	{"LOWER ONE EIGHTH BLOCK", 0x2581},
	{"FULLWIDTH VERTICAL LINE", 0xFF5C},
};

static enum hth_status bad_escape(struct hth_jlexer *lx, const struct hth_jtoken *t, const char *what)
{
	return hth_fail(lx->err, HTH_ERR_FORMAT, "%s:%u:%u: %s in this string", lx->where, t->line, t->col, what);
}

/* Up to `max` digits of `base` at *at; exactly max when `exact`. */
static bool read_digits(const char *s, size_t n, size_t *at, int base, size_t max, bool exact, uint32_t *out)
{
	size_t count = 0;
	uint32_t v = 0;
	while (count < max && *at < n && digit_of(s[*at], base)) {
		int c = s[*at] | 0x20;
		v = v * (uint32_t)base + (uint32_t)(c >= 'a' ? c - 'a' + 10 : s[*at] - '0');
		++*at;
		count++;
	}
	*out = v;
	return exact ? count == max : count > 0;
}

static enum hth_status named_char(struct hth_jlexer *lx, const struct hth_jtoken *t, const char *s, size_t n,
				  size_t *at, struct hth_buf *out)
{
	const char *end = *at < n ? memchr(s + *at, '}', n - *at) : NULL;
	if (end == NULL || s[*at] != '{')
		return bad_escape(lx, t, "malformed \\N escape");
	size_t len = (size_t)(end - s) - *at - 1;
	for (size_t i = 0; i < sizeof char_names / sizeof char_names[0]; i++) {
		if (strlen(char_names[i].name) == len && memcmp(char_names[i].name, s + *at + 1, len) == 0) {
			hth_buf_put_utf8(out, char_names[i].cp);
			*at += len + 2;
			return HTH_OK;
		}
	}
	return bad_escape(lx, t, "unknown character name in \\N{...} (write the character itself)");
}

/* The escape whose letter is s[*at]. */
static enum hth_status escape(struct hth_jlexer *lx, const struct hth_jtoken *t, const char *s, size_t n, size_t *at,
			      struct hth_buf *out)
{
	static const char letters[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
	char c = s[*at];
	uint32_t cp = 0;
	const char *simple = c != '\0' ? strchr(letters, c) : NULL;
	if (c == '\n') {
		++*at;
	} else if (simple != NULL) {
		hth_buf_putc(out, values[simple - letters]);
		++*at;
	} else if (c >= '0' && c <= '7') {
		read_digits(s, n, at, 8, 3, false, &cp);
		hth_buf_put_utf8(out, cp);
	} else if (c == 'x' || c == 'u' || c == 'U') {
		++*at;
		if (!read_digits(s, n, at, 16, c == 'x' ? 2 : c == 'u' ? 4 : 8, true, &cp) || cp > 0x10FFFF)
			return bad_escape(lx, t, "a truncated or too large \\x, \\u or \\U escape");
		hth_buf_put_utf8(out, cp);
	} else if (c == 'N') {
		++*at;
		return named_char(lx, t, s, n, at, out);
	} else if ((unsigned char)c >= 0x80) {
		/* jinja2 escapes non-ASCII text before it decodes escapes, so a backslash before it shows the code */
		size_t used;
		cp = hth_utf8_next(s + *at, n - *at, &used);
		hth_buf_printf(out, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
		*at += used;
	} else {
		hth_buf_putc(out, '\\');
		hth_buf_putc(out, c);
		++*at;
	}
	return HTH_OK;
}

enum hth_status hth_jlex_unescape(struct hth_jlexer *lx, const struct hth_jtoken *t, struct hth_buf *out)
{
	const char *s = t->text + 1;
	size_t n = t->bytes - 2, at = 0;
	while (at < n) {
		const char *slash = memchr(s + at, '\\', n - at);
		size_t plain = slash == NULL ? n : (size_t)(slash - s);
		hth_buf_add(out, s + at, plain - at);
		at = plain;
		if (slash == NULL)
			break;
		at++;
		enum hth_status st = escape(lx, t, s, n, &at, out);
		if (st != HTH_OK)
			return st;
	}
	return hth_buf_status(out, "string of a template", lx->err);
}
