/* Tokens and the parser: what jinja_lex.c, jinja_parse.c, jinja_expr.c and jinja_literal.c share. Parsing functions
 * return false or NULL when they failed; p->err then says why and where. */
#ifndef HTH_TEXT_JINJA_PARSER_H
#define HTH_TEXT_JINJA_PARSER_H

#include "text/jinja_int.h"

/* Tokens. */
enum hth_jtok {
	HTH_JT_EOF,
	HTH_JT_DATA,
	HTH_JT_VAR_BEGIN,
	HTH_JT_VAR_END,
	HTH_JT_BLOCK_BEGIN,
	HTH_JT_BLOCK_END,
	HTH_JT_NAME,
	HTH_JT_STRING,
	HTH_JT_INT,
	HTH_JT_FLOAT,
	HTH_JT_ADD,
	HTH_JT_SUB,
	HTH_JT_MUL,
	HTH_JT_DIV,
	HTH_JT_FLOORDIV,
	HTH_JT_MOD,
	HTH_JT_POW,
	HTH_JT_TILDE,
	HTH_JT_EQ,
	HTH_JT_NE,
	HTH_JT_LT,
	HTH_JT_LE,
	HTH_JT_GT,
	HTH_JT_GE,
	HTH_JT_ASSIGN,
	HTH_JT_DOT,
	HTH_JT_COLON,
	HTH_JT_PIPE,
	HTH_JT_COMMA,
	HTH_JT_SEMICOLON,
	HTH_JT_LPAREN,
	HTH_JT_RPAREN,
	HTH_JT_LBRACKET,
	HTH_JT_RBRACKET,
	HTH_JT_LBRACE,
	HTH_JT_RBRACE,
};
struct hth_jtoken {
	enum hth_jtok kind;
	const char *text; /* as written; of data: what is left after trimming; of a string: with its quotes */
	size_t bytes;
	uint32_t line, col;
};
struct hth_jlexer {
	const char *src; /* newlines are \n, one trailing newline gone */
	size_t bytes, pos;
	uint32_t line;
	size_t line_start;
	const char *where;
	struct hth_err *err;
	char state; /* 'r' text, 'b' statement, 'v' expression, 'w' raw text */
	bool line_starting;
	struct hth_jtoken held; /* a begin token that follows its data */
	bool has_held;
	char balance[2 * HTH_JINJA_PARSE_DEPTH];
	size_t n_balance;
};
HTH_MUST enum hth_status hth_jlex_next(struct hth_jlexer *lx, struct hth_jtoken *out);
/* "name" or "end of statement block", for messages. */
const char *hth_jtok_name(enum hth_jtok kind);
/* A string literal's value; appends to out. */
HTH_MUST enum hth_status hth_jlex_unescape(struct hth_jlexer *lx, const struct hth_jtoken *t, struct hth_buf *out);

/* The parser. */
struct hth_jparser {
	struct hth_template *t;
	struct hth_jlexer lx;
	struct hth_jtoken cur, ahead;
	bool has_ahead;
	struct hth_err *err;
	enum hth_status status;
	unsigned depth, in_if, in_loop;
	struct hth_jname *names[1024];
	struct hth_jmacro_def *macros[HTH_JINJA_PARSE_DEPTH + 1]; /* being parsed, outermost first */
	size_t n_macros;
	struct hth_buf scratch;
};
bool hth_jp_fail(struct hth_jparser *p, const struct hth_jtoken *at, const char *fmt, ...) HTH_PRINTF(3, 4);
bool hth_jp_next(struct hth_jparser *p);
bool hth_jp_peek(struct hth_jparser *p, struct hth_jtoken *out);
bool hth_jp_is_name(const struct hth_jtoken *t, const char *name);
bool hth_jp_expect(struct hth_jparser *p, enum hth_jtok kind);
bool hth_jp_expect_name(struct hth_jparser *p, const char *name);
bool hth_jp_skip_name(struct hth_jparser *p, const char *name, bool *skipped);
bool hth_jp_enter(struct hth_jparser *p);
void *hth_jp_alloc(struct hth_jparser *p, size_t n, size_t elem_bytes);
struct hth_jnode *hth_jp_node(struct hth_jparser *p, enum hth_jnode_kind kind, const struct hth_jtoken *at);
const struct hth_jname *hth_jp_intern(struct hth_jparser *p, const char *text, size_t bytes);
struct hth_jnode *hth_jp_str(struct hth_jparser *p, const struct hth_jtoken *at, const char *text, size_t bytes);
/* Appends to an arena array that doubles at powers of two. */
bool hth_jp_push(struct hth_jparser *p, struct hth_jnode ***items, size_t *n, struct hth_jnode *node);
bool hth_jp_scratch_ok(struct hth_jparser *p);
/* NULL: failed, p->err says why. */
struct hth_jnode *hth_jp_primary(struct hth_jparser *p, bool with_namespace);
struct hth_jnode *hth_jp_number(struct hth_jparser *p);
struct hth_jnode *hth_jp_expression(struct hth_jparser *p, bool with_cond);
/* end: a name that ends a tuple here ("recursive"), or NULL. */
struct hth_jnode *hth_jp_tuple(struct hth_jparser *p, bool with_cond, bool parens, const char *end);
struct hth_jnode *hth_jp_target(struct hth_jparser *p, const char *end, bool with_namespace);
struct hth_jnode *hth_jp_filters(struct hth_jparser *p, struct hth_jnode *on, bool inline_start);

#endif
