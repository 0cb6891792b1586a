/* SentencePiece BPE: the merges that a vocabulary's scores imply. */
#ifndef HTH_TEXT_SPM_H
#define HTH_TEXT_SPM_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct hth_tokenizer;

/* Fills t->bpe from scores (n): each way to cut a token into two tokens is a merge; the higher the token's score the
 * earlier. `by_length` breaks ties as Gemma's converter does (long left half first), otherwise by the halves' ids. */
HTH_MUST enum hth_status hth_spm_merges(struct hth_tokenizer *t, const float *scores, bool by_length,
					struct hth_err *err);

#endif
