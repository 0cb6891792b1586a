/* Merges in order, and texts that tell tokenizers apart; shared by the files that write tokenizers. */
#ifndef HTH_TEXT_TOKENIZER_PROBE_H
#define HTH_TEXT_TOKENIZER_PROBE_H

#include "text/tokenizer_int.h"

/* Appends n characters or short sequences. *state: any seed, goes on from call to call. */
void hth_probe_characters(uint64_t *state, int n, struct hth_buf *out);
/* Merges by rank: (n), caller frees with hth_free. */
HTH_MUST enum hth_status hth_tokenizer_merges(const struct hth_tokenizer *t, struct hth_bpe_pair **out, size_t *n,
					      struct hth_err *err);

#endif
