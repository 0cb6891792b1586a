/* Tokenizers: text to ids and back, as Hugging Face's tokenizers library does it, id for id.
 *
 * One opaque, read-only value serves every thread. Sources: GGUF metadata, or a tokenizer.json. Models: byte-level
 * BPE with each family's pre-tokenizer, SentencePiece BPE with byte fallback, unigram (WordPiece is refused).
 * Added tokens, normalizers and Unicode classes follow the fixtures' README (traps 1-13). */
#ifndef HTH_TEXT_TOKENIZER_H
#define HTH_TEXT_TOKENIZER_H

#include "base/buf.h"
#include "formats/gguf.h"

struct hth_tokenizer;

HTH_MUST enum hth_status hth_tokenizer_from_gguf(const struct hth_gguf *g, struct hth_tokenizer **out,
						 struct hth_err *err);
/* path: a tokenizer.json. */
HTH_MUST enum hth_status hth_tokenizer_from_json(const char *path, struct hth_tokenizer **out, struct hth_err *err);
void hth_tokenizer_free(struct hth_tokenizer *t);
/* Ids up to n-1 exist from now on, the new ones without a text: an embedding may have more rows than tokens. */
HTH_MUST enum hth_status hth_tokenizer_pad(struct hth_tokenizer *t, int64_t n, struct hth_err *err);

/* Token ids of a text and where each came from. Grown by encode; cleared by the caller. */
struct hth_tokens {
	int32_t *ids; /* (n) */
	uint32_t *
		starts; /* (n) byte offsets into the input text; tokens without text (an added BOS) have start == end */
	uint32_t *ends; /* (n) */
	size_t n, cap;
};
void hth_tokens_clear(struct hth_tokens *t);

enum hth_encode_flags {
	HTH_ENCODE_PLAIN = 0,
	HTH_ENCODE_ADD_SPECIAL = 1,   /* BOS/EOS as the tokenizer's post-processor or add_bos_token says */
	HTH_ENCODE_PARSE_SPECIAL = 2, /* "<|im_end|>" in the text is that token; without it, special ones are text */
};

/* Appends to out. Text may hold NULs and any code points; invalid UTF-8 is replaced by U+FFFD as Python's
 * errors="replace" does (offsets still point into the input). At most 1 GiB of text. */
HTH_MUST enum hth_status hth_tokenizer_encode(const struct hth_tokenizer *t, const char *text, size_t bytes, int flags,
					      struct hth_tokens *out, struct hth_err *err);
/* Appends the text of ids, as the decoder of the family joins it; ids out of range are HTH_ERR_FORMAT. */
HTH_MUST enum hth_status hth_tokenizer_decode(const struct hth_tokenizer *t, const int32_t *ids, size_t n,
					      bool skip_special, struct hth_buf *out, struct hth_err *err);

/* Streaming: feed ids one by one; appends what became certain, never half a UTF-8 sequence.
 * The concatenation over a whole answer plus the flush equals decode of all ids. A family with byte fallback reads a
 * run of byte tokens as a whole (one bad byte spoils it), so a run is held until it ends or fills `held`. */
struct hth_detokenizer {
	bool skip_special; /* the caller's choice; the rest is private and starts zeroed */
	bool started, byte_level, strip_start;
	size_t n_held;
	char held[256];
};
HTH_MUST enum hth_status hth_detokenizer_push(struct hth_detokenizer *d, const struct hth_tokenizer *t, int32_t id,
					      struct hth_buf *out, struct hth_err *err);
void hth_detokenizer_flush(struct hth_detokenizer *d, struct hth_buf *out);

int32_t hth_tokenizer_size(const struct hth_tokenizer *t);                  /* ids are 0..size-1 */
int32_t hth_tokenizer_id(const struct hth_tokenizer *t, const char *token); /* -1 when absent */
/* The token as its vocabulary writes it ("Ġthe"), borrowed; NULL for a hole or out of range. */
const char *hth_tokenizer_token(const struct hth_tokenizer *t, int32_t id, size_t *bytes);
bool hth_tokenizer_is_special(const struct hth_tokenizer *t, int32_t id);
int32_t hth_tokenizer_bos(const struct hth_tokenizer *t); /* -1 when there is none */
int32_t hth_tokenizer_eos(const struct hth_tokenizer *t);
/* True for ids that end a turn: eos, eot and the family's end-of-turn tokens (<|im_end|>, <|eot_id|>,
 * <end_of_turn>, <|end|>, ...), found in the metadata or by name among the special tokens. */
bool hth_tokenizer_is_end(const struct hth_tokenizer *t, int32_t id);
/* "byte-BPE smollm, 49152 tokens" for people. */
const char *hth_tokenizer_describe(const struct hth_tokenizer *t);

#endif
