/* Unigram: of all ways to cut a text into tokens, the one whose scores add up to most (Viterbi). A character without a
 * token costs ten more than the worst token does. Linear in the text times the length of the longest match.
 * Source: Kudo, "Subword regularization" (2018); ties and costs as in the tokenizers library 0.23 (unigram/model.rs,
 * encode_optimized), which follows sentencepiece's unigram_model.cc. */
#ifndef HTH_TEXT_UNIGRAM_H
#define HTH_TEXT_UNIGRAM_H

#include "base/arena.h"
#include "base/status.h"
#include "text/bpe.h"

#include <stdint.h>

struct hth_vocab;

/* A trie in order of breadth: the children of a node stand side by side, sorted by byte. */
struct hth_unigram_node {
	uint32_t first;    /* its first child */
	int32_t id;        /* of the token that ends here; -1: none */
	uint16_t children; /* 0..256 */
	uint8_t byte;
};

struct hth_unigram {
	struct hth_unigram_node *nodes; /* (n_nodes) arena; the first is the root */
	size_t n_nodes;
	const double *scores; /* (n_scores) by id; arena */
	size_t n_scores;
	double unknown;       /* a character without a token; the caller sets it */
};

/* scores (v->n), of which wanted says which tokens may be found; arena's, kept. */
HTH_MUST enum hth_status hth_unigram_init(struct hth_unigram *u, struct hth_arena *arena, const struct hth_vocab *v,
					  const double *scores, const bool *wanted, struct hth_err *err);

struct hth_unigram_step {
	double score;
	uint32_t start; /* where the best token that ends here begins; UINT32_MAX: none does */
	int32_t id;     /* -1: an unknown character */
};
struct hth_unigram_work {
	struct hth_unigram_step *best; /* (bytes + 1) */
	size_t cap;
};
void hth_unigram_work_clear(struct hth_unigram_work *w); /* safe on zeroed */

/* The best cut of text[start..end), valid UTF-8, pushed to out from its beginning; unknown characters have id -1.
 * Offsets are those of text. */
HTH_MUST enum hth_status hth_unigram_cut(const struct hth_unigram *u, struct hth_unigram_work *w, const char *text,
					 uint32_t start, uint32_t end, struct hth_bpe_work *out, struct hth_err *err);

#endif
