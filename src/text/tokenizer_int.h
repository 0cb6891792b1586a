/* What the files of a tokenizer share: its vocabulary, added tokens, normalizer, decoder. Everything lives in the
 * tokenizer's arena and does not change after loading. */
#ifndef HTH_TEXT_TOKENIZER_INT_H
#define HTH_TEXT_TOKENIZER_INT_H

#include "base/arena.h"
#include "text/bpe.h"
#include "text/charsmap.h"
#include "text/pretok.h"
#include "text/spm.h"
#include "text/tokenizer.h"
#include "text/unigram.h"

/* Far above any real vocabulary (the largest has 262,145); what a file may make us allocate stays below its size. */
#define HTH_MAX_TOKENS ((size_t)1 << 24)
#define HTH_MAX_TOKEN_BYTES ((size_t)8192)

enum hth_token_flags {
	HTH_TOKEN_SPECIAL = 1, /* left out by skip_special; text unless parse_special */
	HTH_TOKEN_BYTE = 2,    /* "<0x0A>": decodes to one byte */
	HTH_TOKEN_END = 4,     /* ends a turn */
	HTH_TOKEN_MODEL = 8,   /* of the model's vocabulary, not only an added token */
};

struct hth_token {
	const char *text; /* as the vocabulary writes it; NULL: no token has this id */
	const char *raw;  /* what it adds to decoded text; may be `text`, and of added tokens the normalized one */
	uint32_t bytes, raw_bytes;
	uint8_t flags;
	uint8_t byte; /* HTH_TOKEN_BYTE */
};

/* Open-addressing index of tokens by text, or by raw. */
struct hth_token_index {
	uint64_t *slots; /* (mask + 1) half of the hash, then id + 1; 0: empty; arena */
	uint32_t mask;
	bool raw;
};

struct hth_vocab {
	struct hth_token *tokens; /* (n) */
	size_t n;
	size_t twice_allowed; /* texts that may still have a second id: the later one is then found by text */
	struct hth_token_index by_text, by_raw; /* by_raw where words of bytes are looked up whole, and raw is as they are */
	bool normalized;                        /* raw of a token is its normalized text */
};
HTH_MUST enum hth_status hth_vocab_init(struct hth_vocab *v, struct hth_arena *a, size_t n, struct hth_err *err);
/* Sets token `id` (below n). A second text for an id, or a second id for a text beyond
 * twice_allowed, is HTH_ERR_FORMAT naming `where`. */
HTH_MUST enum hth_status hth_vocab_set(struct hth_vocab *v, struct hth_arena *a, size_t id, const char *text,
				       size_t bytes, const char *where, struct hth_err *err);
/* Gives a token another text, unless another token has it. */
HTH_MUST enum hth_status hth_vocab_respell(struct hth_vocab *v, struct hth_arena *a, size_t id, const char *text,
					   size_t bytes, struct hth_err *err);
int32_t hth_vocab_find(const struct hth_vocab *v, const struct hth_token_index *x, const char *s, size_t bytes);
HTH_MUST enum hth_status hth_vocab_index_raw(struct hth_vocab *v, struct hth_arena *a, struct hth_err *err);

/* Added tokens: found in the text before anything else cuts it. */
struct hth_added_token {
	int32_t id;
	bool special, single_word, lstrip, rstrip;
};
struct hth_added {
	struct hth_added_token *tokens; /* (n) arena */
	size_t n, cap;
	uint64_t *edges; /* (mask + 1) trie: (node << 8 | byte) << 32 | child; 0: empty; arena */
	uint32_t *ends;  /* (n_nodes) token index + 1 whose text ends there; arena */
	uint32_t mask;
	size_t n_nodes, max_nodes;
	bool first[256]; /* a token begins with this byte */
};
/* Room for n tokens whose texts have `bytes` bytes in all. */
HTH_MUST enum hth_status hth_added_init(struct hth_added *x, struct hth_arena *a, size_t n, size_t bytes,
					struct hth_err *err);
HTH_MUST enum hth_status hth_added_put(struct hth_added *x, const struct hth_added_token *token, const char *text,
				       size_t bytes, const char *where, struct hth_err *err);
/* Leftmost, then longest, at or after `from`; NULL when there is none. */
const struct hth_added_token *hth_added_next(const struct hth_added *x, const char *text, size_t bytes, size_t from,
					     size_t *start, size_t *end);

/* Normalizer steps, in order. */
enum hth_norm_kind {
	HTH_NORM_NFC, HTH_NORM_PREPEND, HTH_NORM_REPLACE, HTH_NORM_PATTERN, HTH_NORM_STRIP,
	HTH_NORM_FORM, /* code point by code point: `form` */
	HTH_NORM_NFD,
	HTH_NORM_CHARSMAP, /* a precompiled map, as the tokenizers library applies it: grapheme by grapheme */
	HTH_NORM_LONGEST,  /* the same map, as SentencePiece does: the longest match at each place */
	HTH_NORM_SPACES,   /* SentencePiece: ' ' becomes a word sign */
};
struct hth_norm {
	enum hth_norm_kind kind;
	const char *what, *with; /* PREPEND: what; REPLACE, PATTERN: what becomes with; arena */
	uint32_t what_bytes, with_bytes;
	enum hth_form form;         /* FORM */
	bool left, right;           /* STRIP; SPACES: one in front; runs become one, none at the ends */
	struct hth_charsmap map;    /* CHARSMAP, LONGEST */
	const struct hth_added *keep; /* LONGEST: what the map leaves alone; NULL: nothing */
	struct hth_pattern pattern; /* PATTERN */
};
#define HTH_MAX_NORMS 16
struct hth_norm_work {
	struct hth_mapped written[2];
	uint32_t *cps;
	size_t cps_cap;
	uint8_t *symbols;
	size_t symbols_cap;
	struct hth_matcher matcher;
};
void hth_norm_work_clear(struct hth_norm_work *w); /* safe on zeroed */
/* Runs all steps; *a becomes the result, borrowed until the next run with w. */
HTH_MUST enum hth_status hth_norm_run(const struct hth_norm *norms, size_t n, struct hth_norm_work *w,
				      struct hth_aligned *a, struct hth_err *err);

/* How the pieces of decoded tokens are joined. What a token alone decides (stand-ins, Replace) is in its raw. */
struct hth_decoder {
	bool byte_level;    /* raw are bytes; the whole is read as UTF-8, what is not becomes U+FFFD */
	bool byte_fallback; /* runs of byte tokens are read as UTF-8; a bad run gives one U+FFFD a byte */
	bool strip_start;   /* one space at the start of the whole goes */
	bool signs;         /* Metaspace: word signs are spaces */
	bool first_signs;   /* Metaspace: the first token's go */
	bool join_spaces;   /* no decoder: tokens with spaces between */
};

enum hth_model_kind { HTH_MODEL_BPE_BYTES, HTH_MODEL_BPE_CHARS, HTH_MODEL_UNIGRAM };

#define HTH_MAX_AFFIX 8
struct hth_tokenizer {
	struct hth_arena arena;
	struct hth_vocab vocab;
	enum hth_model_kind kind;
	struct hth_bpe bpe;
	struct hth_unigram unigram;
	bool unknown_by_text; /* UNIGRAM: a run of unknown characters may be a token after all */
	bool ignore_merges, byte_fallback, fuse_unk;
	int32_t unk;            /* -1: unknown characters are dropped */
	int32_t byte_ids[256];  /* BPE_BYTES: the byte's token, -1 none; otherwise the byte's fallback token */
	int32_t ascii_ids[128]; /* BPE_CHARS: the character's token, -1 none */
	bool cuts_words;        /* BPE_CHARS: no merge crosses "x" + word sign, except after... */
	bool joins_sign[256];   /* ...these bytes */
	struct hth_norm norms[HTH_MAX_NORMS];
	size_t n_norms;
	struct hth_pretok pretok;
	struct hth_added added, added_normalized;
	struct hth_decoder decoder;
	int32_t prefix[HTH_MAX_AFFIX], suffix[HTH_MAX_AFFIX]; /* what add_special puts around */
	size_t n_prefix, n_suffix;
	int32_t bos, eos;
	char describe[128];
};

#define HTH_WORD_SIGN "\xE2\x96\x81" /* U+2581, SentencePiece's space */

/* A tokenizer with nothing in it. */
HTH_MUST enum hth_status hth_tokenizer_new(struct hth_tokenizer **out, struct hth_err *err);
/* A token of the model's own vocabulary; -1 when absent. */
static inline int32_t hth_tokenizer_model_id(const struct hth_tokenizer *t, const char *text, size_t bytes)
{
	int32_t id = hth_vocab_find(&t->vocab, &t->vocab.by_text, text, bytes);
	return id >= 0 && (t->vocab.tokens[id].flags & HTH_TOKEN_MODEL) != 0 ? id : -1;
}
/* Adds the merge of two tokens by their texts. */
HTH_MUST enum hth_status hth_tokenizer_add_merge(struct hth_tokenizer *t, const char *left, size_t left_bytes,
						 const char *right, size_t right_bytes, size_t rank, const char *where,
						 struct hth_err *err);
/* A decoder's rule for the text of each token. */
struct hth_replace {
	const char *what, *with;
};
/* Last step of both loaders, when vocabulary, merges, steps and decoder stand: raw texts, byte tables, ends of turns.
 * bos and eos may be -1: then they are looked for by name. */
HTH_MUST enum hth_status hth_tokenizer_finish(struct hth_tokenizer *t, const struct hth_replace *replace,
					      size_t n_replace, const char *family, struct hth_err *err);
/* Where the character that ends at `at` (above 0) begins. */
static inline size_t hth_char_before(const char *text, size_t at)
{
	size_t i = at - 1;
	while (i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80)
		i--;
	return i;
}

/* "<0x0A>" -> 10; -1 for any other text. */
int hth_byte_token(const char *text, size_t bytes);

/* Copies text to `out` with what is not UTF-8 replaced: each maximal piece of a broken sequence becomes U+FFFD. With
 * `more`, a sequence that is only cut short at the end is left out. Returns the bytes consumed. */
size_t hth_utf8_lossy(const char *text, size_t bytes, bool more, struct hth_buf *out);
/* The bytes of the first sequence; *valid says whether it is one; *cut: only its end is missing. */
size_t hth_utf8_sequence(const char *text, size_t bytes, bool *valid, bool *cut);

#endif
