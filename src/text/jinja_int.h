/* What the files of the Jinja interpreter share: the running state and its operations.
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

#include "text/jinja_tree.h"

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
