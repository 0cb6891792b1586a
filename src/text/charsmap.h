/* A precompiled map of characters, as SentencePiece writes it into its models: which pieces of a text are replaced by
 * what (NFKC and more), in one double array trie. T5's, XLM-R's, mBART's and ALBERT's tokenizers carry one.
 * Bytes: u32 size of the trie in bytes; the trie's u32 units; replacements, each ended by a NUL. Little-endian.
 * Source: sentencepiece normalizer.cc, Darts-clone's darts.h (the unit's bits), the spm_precompiled crate. */
#ifndef HTH_TEXT_CHARSMAP_H
#define HTH_TEXT_CHARSMAP_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct hth_charsmap {
	const uint32_t *units; /* (n_units) arena */
	size_t n_units;
	const char *texts; /* (n_texts) ended by a NUL; arena */
	size_t n_texts;
};

/* Checks every unit that a text can reach and copies what it needs. n_units stays 0 for an empty map. */
HTH_MUST enum hth_status hth_charsmap_init(struct hth_charsmap *m, struct hth_arena *arena, const void *data,
					   size_t bytes, const char *where, struct hth_err *err);

/* What text[0..bytes) begins with in the map: how many bytes (0: nothing) and their replacement. The longest such
 * piece, or the shortest. */
size_t hth_charsmap_find(const struct hth_charsmap *m, const char *text, size_t bytes, bool longest, const char **with);

#endif
