/* What the files of the Jinja interpreter share: the tree, the values, the running state.
 *
 * Data flow: source -> tokens (jinja_lex.c) -> tree in an arena (jinja_parse.c, jinja_expr.c), read-only and shared
 * -> one rendering (jinja_render.c): context to values, statements (jinja_exec.c) and expressions (jinja_eval.c)
 * write into a string builder (jinja_str.c) that knows for every byte which message it came from.
 *
 * Inside a rendering a function returns false when it failed; x->err then says why and where. Values live in the
 * rendering's arena and are never freed one by one; none is changed after it was made, but namespaces, loops,
 * cyclers and generators. */
#ifndef HTH_TEXT_JINJA_INT_H
#define HTH_TEXT_JINJA_INT_H

#include "base/arena.h"
#include "text/jinja.h"

#include <string.h>

#define HTH_JINJA_PARSE_DEPTH 100  /* nested brackets, operators and blocks of a template */
#define HTH_JINJA_MAX_RANGE 100000 /* as jinja2's sandbox */
#define HTH_JINJA_MAX_SOURCE (16u << 20)
#define HTH_JINJA_VALUE_DEPTH 100 /* nested lists and dicts that are printed, compared, dumped */
#define HTH_JINJA_MAX_PARAMS 6    /* parameters of a filter, test, method or function */
#define HTH_JINJA_NONE SIZE_MAX

enum hth_jkind {
	HTH_JV_MISSING, /* an argument not given; never seen by a template */
	HTH_JV_UNDEF,
	HTH_JV_NONE,
	HTH_JV_BOOL,
	HTH_JV_INT,
	HTH_JV_BIG, /* an integer beyond 64 bits: its decimal text; printed, compared for equality, never computed with
		     */
	HTH_JV_FLOAT,
	HTH_JV_STR,
	HTH_JV_BYTES,
	HTH_JV_LIST,
	HTH_JV_TUPLE,
	HTH_JV_DICT,
	HTH_JV_VIEW, /* dict.keys(), values(), items() */
	HTH_JV_GEN,  /* what map, select, ... give: can be walked once, has no length */
	HTH_JV_RANGE,
	HTH_JV_NS,
	HTH_JV_LOOP,
	HTH_JV_MACRO,
	HTH_JV_FUNC,
	HTH_JV_METHOD,
	HTH_JV_CYCLER,
	HTH_JV_JOINER,
	HTH_JV_SELF,
	HTH_JV_BLOCK,
};

/* Where a value came from: 0 nowhere in messages, else (message + 1) << 2 | field. */
typedef uint32_t hth_jorigin;

struct hth_jrun {
	size_t start, end; /* bytes of the string */
	hth_jorigin origin;
	uint32_t gen; /* number of the {% generation %} block, 0: none */
};

/* Text is either flat (data != NULL) or the concatenation of left and right, flattened when first read. */
struct hth_jstr {
	const char *data;
	size_t bytes;
	size_t chars;                /* code points; HTH_JINJA_NONE: not counted yet */
	const struct hth_jrun *runs; /* sorted, not overlapping, non-empty */
	size_t n_runs;
	struct hth_jstr *left, *right;
	bool markup; /* markupsafe.Markup: what is added to it gets escaped */
};

struct hth_jval {
	uint8_t kind;
	hth_jorigin origin; /* of numbers and containers; a string has runs */
	union {
		bool b;
		int64_t i;
		double f;
		struct hth_jstr *s;
		struct hth_jlist *l;
		struct hth_jdict *d;
		struct hth_jundef *u;
		struct hth_jview *view;
		struct hth_jgen *g;
		struct hth_jrange *r;
		struct hth_jloop *loop;
		struct hth_jmacro *macro;
		const struct hth_jfunc *func;
		struct hth_jmethod *method;
		struct hth_jcycler *cycler;
		const struct hth_jnode *block;
	};
};

struct hth_jlist {
	struct hth_jval *items;
	size_t n, cap;
	bool group; /* what groupby gives: a pair with .grouper and .list */
};

struct hth_jpair {
	struct hth_jval key, value;
	uint64_t hash;
};
struct hth_jdict {
	struct hth_jpair *items; /* in order of insertion */
	size_t n, cap;
	uint32_t *index; /* open addressing, item + 1; NULL while small */
	size_t index_cap;
};

enum hth_jundef_how { HTH_JU_NAME, HTH_JU_ATTR, HTH_JU_ITEM, HTH_JU_HINT, HTH_JU_UNSAFE };
struct hth_jundef {
	enum hth_jundef_how how;
	uint8_t of;       /* kind of the object asked */
	const char *text; /* name or hint */
	size_t bytes;
};

struct hth_jview {
	struct hth_jdict *d;
	char what; /* 'k', 'v', 'i' */
	hth_jorigin origin;
};
struct hth_jgen {
	struct hth_jval *items;
	size_t n, at;
};
struct hth_jrange {
	int64_t start, stop, step, n;
};
struct hth_jcycler {
	struct hth_jlist items;
	size_t at;
	bool used; /* a joiner has been called */
};
struct hth_jloop {
	struct hth_jval *items; /* NULL: a range, counted on demand */
	const struct hth_jrange *range;
	size_t n, index0, depth0;
	struct hth_jval changed; /* last tuple given to loop.changed */
	const struct hth_jnode *node;
	struct hth_jscope *scope; /* around the loop */
};
struct hth_jmacro {
	const struct hth_jmacro_def *def;
	struct hth_jscope *scope;
};
struct hth_jmethod {
	struct hth_jval self;
	const struct hth_jbuiltin *fn;
};

/* Arguments of a call, evaluated. */
struct hth_jkw {
	const char *name;
	size_t bytes;
	struct hth_jval value;
};
struct hth_jargs {
	struct hth_jval *pos;
	size_t n_pos;
	struct hth_jkw *kw;
	size_t n_kw;
};

struct hth_jx;
/* self: the filtered value, the object of a method, the tested value. arg[i]: parameter i or MISSING; all: the
 * arguments as given, for those that take any. */
typedef bool hth_jbuiltin_fn(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg,
			     const struct hth_jargs *all, struct hth_jval *out);
struct hth_jbuiltin {
	const char *name;
	const char *params; /* "chars,count"; after '|' optional ones; "*": any arguments */
	hth_jbuiltin_fn *fn;
};
struct hth_jfunc {
	struct hth_jbuiltin b;
};
const struct hth_jbuiltin *hth_jinja_filter(const char *name, size_t bytes);
const struct hth_jbuiltin *hth_jinja_test(const char *name, size_t bytes);
const struct hth_jbuiltin *hth_jinja_method(uint8_t kind, const char *name, size_t bytes);
const struct hth_jfunc *hth_jinja_global(const char *name, size_t bytes);
/* True for list.append, dict.update, ...: the sandbox's immutable containers refuse them. */
bool hth_jinja_is_mutator(uint8_t kind, const char *name, size_t bytes);

/* The tree. */
struct hth_jname {
	struct hth_jname *next; /* of its hash bucket */
	size_t bytes;
	char text[];
};

enum hth_jnode_kind {
	HTH_JN_CONST,
	HTH_JN_NAME,
	HTH_JN_NSREF,
	HTH_JN_LIST,
	HTH_JN_TUPLE,
	HTH_JN_DICT,
	HTH_JN_ARITH,
	HTH_JN_CONCAT,
	HTH_JN_AND,
	HTH_JN_OR,
	HTH_JN_NOT,
	HTH_JN_NEG,
	HTH_JN_POS,
	HTH_JN_COMPARE,
	HTH_JN_COND,
	HTH_JN_ATTR,
	HTH_JN_ITEM,
	HTH_JN_SLICE,
	HTH_JN_CALL,
	HTH_JN_FILTER,
	HTH_JN_TEST,
	HTH_JN_HOLE,
	HTH_JN_DATA,
	HTH_JN_PRINT,
	HTH_JN_FOR,
	HTH_JN_IF,
	HTH_JN_SET,
	HTH_JN_SETBLOCK,
	HTH_JN_MACRO,
	HTH_JN_CALLBLOCK,
	HTH_JN_FILTERBLOCK,
	HTH_JN_WITH,
	HTH_JN_BLOCK,
	HTH_JN_AUTOESCAPE,
	HTH_JN_GENERATION,
	HTH_JN_BREAK,
	HTH_JN_CONTINUE,
};
enum hth_jop {
	HTH_JO_ADD,
	HTH_JO_SUB,
	HTH_JO_MUL,
	HTH_JO_DIV,
	HTH_JO_FLOORDIV,
	HTH_JO_MOD,
	HTH_JO_POW,
	HTH_JO_EQ,
	HTH_JO_NE,
	HTH_JO_LT,
	HTH_JO_LE,
	HTH_JO_GT,
	HTH_JO_GE,
	HTH_JO_IN,
	HTH_JO_NOTIN,
};

struct hth_jbody {
	struct hth_jnode **items;
	size_t n;
};
struct hth_jcall_kw {
	const struct hth_jname *name;
	struct hth_jnode *value;
};
struct hth_jcall {
	struct hth_jnode **pos;
	size_t n_pos;
	struct hth_jcall_kw *kw;
	size_t n_kw;
	struct hth_jnode *dyn_pos, *dyn_kw; /* *args, **kwargs */
};
struct hth_jfor {
	struct hth_jnode *target, *iter, *test;
	struct hth_jbody body, other;
	bool recursive;
};
struct hth_jif {
	struct hth_jnode **tests; /* (n) */
	struct hth_jbody *bodies; /* (n) */
	size_t n;
	struct hth_jbody other;
};
struct hth_jmacro_def {
	const struct hth_jname *name; /* NULL: a caller */
	const struct hth_jname **args;
	struct hth_jnode **defaults; /* of the last n_defaults arguments */
	size_t n_args, n_defaults;
	struct hth_jbody body;
	struct hth_jnode *call; /* of a call block */
	bool uses_caller, uses_kwargs, uses_varargs;
	const struct hth_jname *caller_name, *kwargs_name, *varargs_name;
};
struct hth_jnode {
	uint8_t kind, op;
	uint32_t line, col;
	union {
		struct hth_jval value;
		const struct hth_jname *name;
		struct {
			struct hth_jnode *a, *b, *c;
			const struct hth_jname *attr;
		};
		struct {
			struct hth_jnode **items;
			size_t n;
			uint8_t *ops;
		};
		struct {
			struct hth_jnode *on;
			struct hth_jcall *call;
			const struct hth_jbuiltin *fn; /* NULL: no such filter or test */
			const struct hth_jname *fn_name;
		};
		struct hth_jfor *loop;
		struct hth_jif *cond;
		struct hth_jmacro_def *macro;
		struct {
			struct hth_jnode *target, *expr;
			struct hth_jbody body;
		};
		struct {
			struct hth_jnode **targets, **values;
			size_t n_with;
			struct hth_jbody *with_body;
		};
	};
};

struct hth_template {
	struct hth_arena arena;
	char *where;
	const char *source; /* newlines normalised */
	size_t source_bytes;
	struct hth_jbody body;
	const struct hth_jname *loop_name, *caller_name;
	bool has_generation;
};

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

/* Variables. */
struct hth_jvar {
	const struct hth_jname *name;
	struct hth_jval value;
};
struct hth_jscope {
	struct hth_jscope *parent;
	struct hth_jvar *vars;
	size_t n, cap;
	bool captured; /* by a macro: not to be reused for the next loop turn */
};

/* A string under construction. */
struct hth_jsb {
	struct hth_jx *x;
	char *data;
	size_t bytes, cap;
	struct hth_jrun *runs;
	size_t n_runs, cap_runs;
};

enum hth_jflow { HTH_JF_NORMAL, HTH_JF_BREAK, HTH_JF_CONTINUE };

struct hth_jx {
	const struct hth_template *t;
	struct hth_arena arena;
	uint64_t steps, max_steps;
	uint32_t depth, max_depth, value_depth;
	size_t max_bytes;
	int64_t now;
	uint32_t n_gen;
	struct hth_err *err;
	enum hth_status status;
	const struct hth_jnode *at;
	struct hth_jdict *context;
	struct hth_jscope *root, *scope;
	struct hth_jsb *out;
	struct hth_jval hole; /* what a filter block or block assignment captured */
	bool autoescape;
	enum hth_jflow flow;
};

/* jinja_render.c */
bool hth_jx_fail(struct hth_jx *x, enum hth_status status, const char *fmt, ...) HTH_PRINTF(3, 4);
/* Counts work; false when the bound is reached. */
bool hth_jx_charge(struct hth_jx *x, size_t work);
bool hth_jx_enter(struct hth_jx *x); /* one level deeper; pair with x->depth-- */
void *hth_jx_alloc(struct hth_jx *x, size_t bytes);
void *hth_jx_array(struct hth_jx *x, size_t n, size_t elem_bytes);

/* jinja_str.c: strings with provenance. */
void hth_jsb_init(struct hth_jsb *b, struct hth_jx *x);
bool hth_jsb_add(struct hth_jsb *b, const char *text, size_t bytes, hth_jorigin origin, uint32_t gen);
bool hth_jsb_puts(struct hth_jsb *b, const char *text, hth_jorigin origin);
bool hth_jsb_put_cp(struct hth_jsb *b, uint32_t cp, hth_jorigin origin, uint32_t gen);
bool hth_jsb_add_str(struct hth_jsb *b, struct hth_jstr *s);
bool hth_jsb_add_slice(struct hth_jsb *b, struct hth_jstr *s, size_t from, size_t to);
struct hth_jstr *hth_jsb_done(struct hth_jsb *b);
struct hth_jstr *hth_jstr_new(struct hth_jx *x, const char *text, size_t bytes, hth_jorigin origin); /* copies */
struct hth_jstr *hth_jstr_ref(struct hth_jx *x, const char *text, size_t bytes); /* borrows static text */
struct hth_jstr *hth_jstr_concat(struct hth_jx *x, struct hth_jstr *a, struct hth_jstr *b);
bool hth_jstr_flat(struct hth_jx *x, struct hth_jstr *s);
size_t hth_jstr_chars(struct hth_jx *x, struct hth_jstr *s);                /* of a flat one */
size_t hth_jstr_offset(struct hth_jx *x, struct hth_jstr *s, size_t index); /* byte of a code point */
struct hth_jstr *hth_jstr_slice(struct hth_jx *x, struct hth_jstr *s, size_t from, size_t to); /* bytes */
/* First or last match in [from, to), as a byte offset; HTH_JINJA_NONE when absent. */
size_t hth_jstr_find(const struct hth_jstr *s, size_t from, size_t to, const struct hth_jstr *what, bool last);
bool hth_jstr_equal(const struct hth_jstr *a, const struct hth_jstr *b); /* flat ones */
struct hth_jstr *hth_jstr_escape(struct hth_jx *x, struct hth_jstr *s);  /* HTML; a Markup */
struct hth_jstr *hth_jstr_mark(struct hth_jx *x, struct hth_jstr *s, bool markup);
struct hth_jstr *hth_jstr_strip(struct hth_jx *x, struct hth_jstr *s, struct hth_jstr *chars, int sides);
struct hth_jstr *hth_jstr_replace(struct hth_jx *x, struct hth_jstr *s, struct hth_jstr *from, struct hth_jstr *to,
				  int64_t count);
struct hth_jstr *hth_jstr_repeat(struct hth_jx *x, struct hth_jstr *s, int64_t times);
/* One code point of a flat string with where it came from; advances *at. */
struct hth_jcursor {
	const struct hth_jstr *s;
	size_t at, run;
	uint32_t cp;
	size_t start;
	hth_jorigin origin;
	uint32_t gen;
};
bool hth_jcursor_next(struct hth_jcursor *c);

/* jinja_case.c: Unicode as Python's str sees it. */
bool hth_jchar_space(uint32_t cp);
bool hth_jchar_alpha(uint32_t cp);
bool hth_jchar_numeric(uint32_t cp);
bool hth_jchar_digit(uint32_t cp);
bool hth_jchar_decimal(uint32_t cp);
bool hth_jchar_printable(uint32_t cp);
bool hth_jchar_cased(uint32_t cp);
bool hth_jchar_upper(uint32_t cp);
bool hth_jchar_lower(uint32_t cp);
bool hth_jchar_title(uint32_t cp);
/* how: 'u' upper, 'l' lower, 't' title, 'c' capitalize, 's' swapcase, 'f' casefold, 'w' the title filter. */
struct hth_jstr *hth_jstr_case(struct hth_jx *x, struct hth_jstr *s, char how);

/* jinja_value.c */
struct hth_jval hth_jv_none(void);
struct hth_jval hth_jv_bool(bool b);
struct hth_jval hth_jv_int(int64_t i);
struct hth_jval hth_jv_float(double f);
struct hth_jval hth_jv_str(struct hth_jstr *s);
bool hth_jv_text(struct hth_jx *x, const char *text, struct hth_jval *out); /* a static text as a string */
bool hth_jv_undef(struct hth_jx *x, enum hth_jundef_how how, uint8_t of, const char *text, size_t bytes,
		  struct hth_jval *out);
bool hth_jv_fail_undef(struct hth_jx *x, struct hth_jval v);
const char *hth_jv_type(struct hth_jval v); /* Python's type name */
bool hth_jv_truth(struct hth_jx *x, struct hth_jval v, bool *out);
bool hth_jv_equal(struct hth_jx *x, struct hth_jval a, struct hth_jval b, bool *out);
bool hth_jv_compare(struct hth_jx *x, const char *op, struct hth_jval a, struct hth_jval b, int *out);
bool hth_jv_in(struct hth_jx *x, struct hth_jval item, struct hth_jval seq, bool *out);
bool hth_jv_number(struct hth_jval v, double *out); /* bool, int, float */
bool hth_jv_int_arg(struct hth_jx *x, struct hth_jval v, const char *what, int64_t *out);
bool hth_jv_len(struct hth_jx *x, struct hth_jval v, size_t *out);
/* All items of an iterable (characters of a string, keys of a dict); a generator is used up. */
bool hth_jv_items(struct hth_jx *x, struct hth_jval v, struct hth_jval **items, size_t *n);
struct hth_jlist *hth_jlist_new(struct hth_jx *x, size_t cap);
bool hth_jlist_push(struct hth_jx *x, struct hth_jlist *l, struct hth_jval v);
struct hth_jval hth_jv_list(struct hth_jlist *l, uint8_t kind);
bool hth_jv_gen(struct hth_jx *x, struct hth_jlist *l, struct hth_jval *out);
bool hth_jv_pair(struct hth_jx *x, struct hth_jval a, struct hth_jval b, struct hth_jval *out); /* a tuple */
bool hth_jv_getattr(struct hth_jx *x, struct hth_jval v, const char *name, size_t bytes, struct hth_jval *out);
bool hth_jv_getitem(struct hth_jx *x, struct hth_jval v, struct hth_jval key, struct hth_jval *out);
bool hth_jv_slice(struct hth_jx *x, struct hth_jval v, const struct hth_jval part[3], struct hth_jval *out);

/* jinja_dict.c */
struct hth_jdict *hth_jdict_new(struct hth_jx *x, size_t cap);
bool hth_jdict_set(struct hth_jx *x, struct hth_jdict *d, struct hth_jval key, struct hth_jval value);
bool hth_jdict_find(struct hth_jx *x, const struct hth_jdict *d, struct hth_jval key, struct hth_jval **out);
struct hth_jval *hth_jdict_get(const struct hth_jdict *d, const char *name, size_t bytes);
uint64_t hth_jdict_hash_bytes(const char *text, size_t bytes);

/* jinja_ops.c */
bool hth_jop_arith(struct hth_jx *x, enum hth_jop op, struct hth_jval a, struct hth_jval b, struct hth_jval *out);
bool hth_jop_compare(struct hth_jx *x, enum hth_jop op, struct hth_jval a, struct hth_jval b, bool *out);
bool hth_jop_unary(struct hth_jx *x, bool negate, struct hth_jval a, struct hth_jval *out);

/* jinja_print.c */
bool hth_jv_str_of(struct hth_jx *x, struct hth_jval v, struct hth_jstr **out); /* str(v) */
bool hth_jv_print(struct hth_jsb *b, struct hth_jval v);                        /* str(v) into b */
bool hth_jv_repr(struct hth_jsb *b, struct hth_jval v);
size_t hth_jfloat_repr(double f, char out[40]);

/* jinja_format.c */
bool hth_jformat_percent(struct hth_jx *x, struct hth_jstr *fmt, struct hth_jval args, struct hth_jval *out);
bool hth_jformat_braces(struct hth_jx *x, struct hth_jstr *fmt, const struct hth_jargs *args, struct hth_jval *out);

/* jinja_json.c */
struct hth_jdump {
	bool ascii, sort;
	struct hth_jstr *indent; /* one level; NULL: one line */
	struct hth_jstr *item_sep, *key_sep;
};
bool hth_jv_dump(struct hth_jsb *b, struct hth_jval v, const struct hth_jdump *how);
bool hth_jv_from_json(struct hth_jx *x, const json_t *j, hth_jorigin origin, unsigned depth, struct hth_jval *out);

/* jinja_time.c */
bool hth_jtime_format(struct hth_jsb *b, struct hth_jstr *fmt, int64_t now);

/* jinja_strings.c */
/* One line of s from *at on: [from, end) without its break, next behind it; false at the end. */
bool hth_jstr_next_line(const struct hth_jstr *s, size_t *at, size_t *from, size_t *end);

/* jinja_seqfilters.c */
extern const struct hth_jbuiltin hth_jinja_seq_filters[];
extern const size_t hth_jinja_n_seq_filters;
const struct hth_jbuiltin *hth_jinja_in_table(const struct hth_jbuiltin *table, size_t n, const char *name,
					      size_t bytes);

/* jinja_call.c */
bool hth_jcall_builtin(struct hth_jx *x, const struct hth_jbuiltin *fn, const char *what, struct hth_jval self,
		       const struct hth_jargs *args, struct hth_jval *out);
bool hth_jcall_value(struct hth_jx *x, struct hth_jval fn, const struct hth_jargs *args, struct hth_jval *out);

/* jinja_eval.c, jinja_exec.c */
bool hth_jeval(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval *out);
bool hth_jexec(struct hth_jx *x, const struct hth_jbody *body);
bool hth_jexec_loop(struct hth_jx *x, const struct hth_jnode *n, struct hth_jval iter, size_t depth0,
		    struct hth_jscope *outer);
/* A block or macro body as a string. */
bool hth_jexec_capture(struct hth_jx *x, const struct hth_jbody *body, struct hth_jscope *scope, struct hth_jval *out);
bool hth_jexec_macro(struct hth_jx *x, struct hth_jmacro *m, const struct hth_jargs *args, struct hth_jval *out);
bool hth_jeval_call(struct hth_jx *x, const struct hth_jnode *n, const struct hth_jval *caller, struct hth_jval *out);
bool hth_jscope_set(struct hth_jx *x, struct hth_jscope *s, const struct hth_jname *name, struct hth_jval v);
struct hth_jval *hth_jscope_find(struct hth_jscope *s, const struct hth_jname *name);
struct hth_jscope *hth_jscope_new(struct hth_jx *x, struct hth_jscope *parent);

#endif
