/* Patterns of pre-tokenizers (Oniguruma's syntax, as tokenizer.json holds them), matched without the regex library's
 * own idea of Unicode: each set of code points that a pattern names (a letter, \p{L}, a class) is worked out from our
 * tables, all code points that no set tells apart become one byte symbol, and PCRE2 matches plain bytes. That is
 * exact, the same everywhere, and faster than its Unicode mode (a class is a bitmap, not 677 ranges). */
#ifndef HTH_TEXT_PRETOK_PATTERN_H
#define HTH_TEXT_PRETOK_PATTERN_H

#include "base/arena.h"
#include "base/buf.h"
#include "text/unicode.h"

#include <stdint.h>

#define HTH_PATTERN_MAX_SETS 255

/* The result of the front half: PCRE2 syntax in which byte 1 and an index byte stand for a set. */
struct hth_pattern_source {
	struct hth_buf text;
	struct hth_uset sets[HTH_PATTERN_MAX_SETS]; /* (n_sets) tidy */
	size_t n_sets;
};
HTH_MUST enum hth_status hth_pattern_parse(const char *pattern, size_t bytes, const char *where,
					   struct hth_pattern_source *out, struct hth_err *err);
void hth_pattern_source_clear(struct hth_pattern_source *s); /* safe on zeroed */

struct hth_pattern {
	const uint16_t *stage1; /* (0x110000 / 128) block of each 128 code points; arena */
	const uint8_t *stage2;  /* blocks of 128 symbols; arena */
	void *code;             /* pcre2_code, owned */
	void *memory;           /* pcre2_general_context, owned */
};
/* where: file and key, for messages. Syntax that is not understood is HTH_ERR_UNAVAILABLE and named. */
HTH_MUST enum hth_status hth_pattern_new(struct hth_pattern *p, struct hth_arena *arena, const char *pattern,
					 size_t bytes, const char *where, struct hth_err *err);
void hth_pattern_clear(struct hth_pattern *p); /* safe on zeroed */

static inline uint8_t hth_pattern_symbol(const struct hth_pattern *p, uint32_t code_point)
{
	return p->stage2[(size_t)p->stage1[code_point >> 7] * 128 + (code_point & 127)];
}

/* One thread's state of matching, made on first use. */
struct hth_matcher {
	void *data;    /* pcre2_match_data */
	void *context; /* pcre2_match_context */
};
void hth_matcher_clear(struct hth_matcher *m); /* safe on zeroed */
/* The first match at or after `from` in symbols[0..n). found=false: none. HTH_ERR_LIMIT when a pattern needs too many
 * steps. */
HTH_MUST enum hth_status hth_pattern_next(const struct hth_pattern *p, struct hth_matcher *m, const uint8_t *symbols,
					  size_t n, size_t from, bool *found, size_t *start, size_t *end,
					  struct hth_err *err);

#endif
