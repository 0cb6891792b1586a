/* The tree of a parsed template: in the template's arena, read-only, shared between threads. */
#ifndef HTH_TEXT_JINJA_TREE_H
#define HTH_TEXT_JINJA_TREE_H

#include "text/jinja_value.h"

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

#endif
