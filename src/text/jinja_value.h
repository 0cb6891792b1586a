/* Values of the Jinja interpreter: what they are, and the rows of its tables of filters, tests and methods. */
#ifndef HTH_TEXT_JINJA_VALUE_H
#define HTH_TEXT_JINJA_VALUE_H

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

#endif
