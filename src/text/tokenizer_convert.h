/* A tokenizer written in the other notation: the keys of a GGUF file, or a tokenizer.json. Neither can say all that the
 * other can, so what was written is read again and both are asked the same questions (hth_tokenizers_agree): a
 * conversion that would give other ids is found here and not by somebody's users. */
#ifndef HTH_TEXT_TOKENIZER_CONVERT_H
#define HTH_TEXT_TOKENIZER_CONVERT_H

#include "formats/gguf_made.h"
#include "text/tokenizer.h"

/* Adds tokenizer.ggml.*: model, pre-tokenizer, tokens with types, merges or scores, BOS, EOS, end of turn, unknown,
 * padding. n_vocab: rows of the embedding; tokens beyond it are left out, missing ones get a name of their own. pad: -1
 * none. gemma: the family whose ties among merges go by length. HTH_ERR_UNAVAILABLE when GGUF has no name for how this
 * tokenizer cuts text. */
HTH_MUST enum hth_status hth_tokenizer_to_gguf(const struct hth_tokenizer *t, int64_t n_vocab, int32_t pad,
					       struct hth_gguf_made *m, struct hth_err *err);
/* Appends a tokenizer.json. g: the file that t was read from. HTH_ERR_UNAVAILABLE when a token is no text. */
HTH_MUST enum hth_status hth_tokenizer_to_json(const struct hth_tokenizer *t, const struct hth_gguf *g,
					       struct hth_buf *out, struct hth_err *err);

/* Some hundred texts of letters, marks, digits, signs and spaces of many scripts, of the vocabulary's own tokens and of
 * added tokens, encoded by both with and without special tokens. *same false: *text (owned by the caller, hth_free) is
 * one that differs. Ends of turns, BOS and EOS are compared too, *text then says so. n_vocab: larger ids do not count. */
HTH_MUST enum hth_status hth_tokenizers_agree(const struct hth_tokenizer *a, const struct hth_tokenizer *b,
					      int64_t n_vocab, bool *same, char **text, struct hth_err *err);

#endif
