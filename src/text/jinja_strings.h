/* What jinja_methods.c, jinja_strings.c and the filters share about strings. */
#ifndef HTH_TEXT_JINJA_STRINGS_H
#define HTH_TEXT_JINJA_STRINGS_H

#include "text/jinja_int.h"

/* The head of a method or filter; every one has the signature of hth_jbuiltin_fn. */
#define HTH_JMETHOD(name)                                                                                              \
	static bool name(struct hth_jx *x, struct hth_jval self, const struct hth_jval *arg,                           \
			 const struct hth_jargs *all, struct hth_jval *out)
#define HTH_JUNUSED() ((void)x, (void)self, (void)arg, (void)all)

hth_jbuiltin_fn hth_jstr_split, hth_jstr_rsplit, hth_jstr_splitlines, hth_jstr_partition, hth_jstr_rpartition,
	hth_jstr_join;

extern const struct hth_jbuiltin hth_jinja_str_methods[];
extern const size_t hth_jinja_n_str_methods;

/* A flat string argument; an undefined one or another type is an error that names `what`. */
bool hth_jarg_str(struct hth_jx *x, struct hth_jval v, const char *what, struct hth_jstr **out);
/* MISSING and None give def. */
bool hth_jarg_int(struct hth_jx *x, struct hth_jval v, const char *what, int64_t def, int64_t *out);
/* align: 'l', 'r' or 'c'; fill NULL: a blank. */
bool hth_jstr_pad(struct hth_jx *x, struct hth_jstr *s, int64_t width, struct hth_jstr *fill, char align,
		  struct hth_jval *out);
/* items joined by sep, str() of each unless `strict`, which takes strings only. */
bool hth_jstr_join_items(struct hth_jx *x, struct hth_jstr *sep, const struct hth_jval *items, size_t n, bool strict,
			 struct hth_jval *out);

/* jinja_sort.c. attr MISSING or None: the item itself; def: what stands for an undefined result. */
bool hth_jseq_attr(struct hth_jx *x, struct hth_jval item, struct hth_jval attr, struct hth_jval def,
		   struct hth_jval *out);
/* Strings in lower case unless case matters. */
bool hth_jseq_fold(struct hth_jx *x, bool case_sensitive, struct hth_jval *v);
/* A fresh list of the items, and their sort keys. */
bool hth_jseq_keys(struct hth_jx *x, struct hth_jval self, struct hth_jval attr, bool case_sensitive,
		   struct hth_jlist **items, struct hth_jval **keys);
/* Stable, by keys; both arrays are reordered. */
bool hth_jseq_sort(struct hth_jx *x, struct hth_jval *items, struct hth_jval *keys, size_t n, bool reverse);

#endif
