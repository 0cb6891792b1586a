/* The parser's state, shared by the two files that read a pattern: pretok_parse.c (groups, repeats, anchors) and
 * pretok_class.c (what stands for code points). */
#ifndef HTH_TEXT_PRETOK_PARSE_INT_H
#define HTH_TEXT_PRETOK_PARSE_INT_H

#include "text/pretok_pattern.h"

#include <string.h>

#define HTH_PARSE_MAX_GROUPS 64

struct hth_parse_group {
	size_t at; /* in the output: where its atom begins */
	bool fold, dot_all;
};

struct hth_pattern_parser {
	const char *text;
	size_t bytes, at;
	const char *where;
	struct hth_err *err;
	struct hth_pattern_source *out;
	struct hth_parse_group groups[HTH_PARSE_MAX_GROUPS];
	size_t n_groups;
	bool fold, dot_all;
	int in_class;   /* how many classes are around */
	size_t atom_at; /* in the output: start of the last atom; SIZE_MAX: none to repeat */
};

static inline bool hth_parse_sees(const struct hth_pattern_parser *p, const char *s)
{
	size_t n = strlen(s);
	return p->bytes - p->at >= n && memcmp(p->text + p->at, s, n) == 0;
}

/* Errors at p->at: what is known to be legal but not done here, and what is wrong. */
enum hth_status hth_parse_refuse(struct hth_pattern_parser *p, const char *what);
enum hth_status hth_parse_malformed(struct hth_pattern_parser *p, const char *what);

/* HTH_UTF8_INVALID for what is not UTF-8. */
uint32_t hth_parse_code_point(struct hth_pattern_parser *p);
/* Adds what folds together with the ASCII letters of a set. */
void hth_parse_fold(struct hth_uset *s);
/* An escape that stands for code points, p->at behind the backslash: *single, or HTH_UTF8_INVALID and added to s. */
HTH_MUST enum hth_status hth_parse_escape(struct hth_pattern_parser *p, struct hth_uset *s, uint32_t *single);
/* A class, p->at behind its [; ends behind its ]. Tidy on success. depth: how many classes are around it. */
HTH_MUST enum hth_status hth_parse_class(struct hth_pattern_parser *p, int depth, struct hth_uset *s);

#endif
