/* Pre-tokenizers: the steps that cut a text into the words that a model merges, and what they write into it (a word
 * sign for spaces, a space in front). A tokenizer.json lists its own steps; a GGUF names one of list.h. */
#ifndef HTH_TEXT_PRETOK_H
#define HTH_TEXT_PRETOK_H

#include "text/pretok_pattern.h"

/* Text that still knows where it came from. Positions and offsets are bytes. */
struct hth_aligned {
	const char *text;
	size_t bytes;
	const uint32_t *from, *to; /* (bytes) origin of each byte, or NULL: byte i came from [base+i, base+i+1) */
	uint32_t base;
	bool starts_input; /* what comes from the input's first byte begins it, for Metaspace's "first" */
};

static inline uint32_t hth_aligned_from(const struct hth_aligned *a, size_t i)
{
	return a->from != NULL ? a->from[i] : a->base + (uint32_t)i;
}

static inline uint32_t hth_aligned_to(const struct hth_aligned *a, size_t i)
{
	return a->to != NULL ? a->to[i] : a->base + (uint32_t)i + 1;
}

/* A text being written with its origins; reused from call to call. */
struct hth_mapped {
	char *text;
	uint32_t *from, *to;
	size_t n, cap;
	bool failed;
};
void hth_mapped_clear(struct hth_mapped *m); /* safe on zeroed */
void hth_mapped_put(struct hth_mapped *m, const char *text, size_t bytes, uint32_t from, uint32_t to);
void hth_mapped_copy(struct hth_mapped *m, const struct hth_aligned *a, size_t start, size_t end);
struct hth_aligned hth_mapped_view(const struct hth_mapped *m);

enum hth_split { HTH_SPLIT_ISOLATED, HTH_SPLIT_REMOVED, HTH_SPLIT_CONTIGUOUS, HTH_SPLIT_PREVIOUS, HTH_SPLIT_NEXT };
enum hth_prepend { HTH_PREPEND_NEVER, HTH_PREPEND_FIRST, HTH_PREPEND_ALWAYS };

enum hth_step_kind {
	HTH_STEP_SPLIT,     /* by a pattern */
	HTH_STEP_BYTES,     /* from here on a byte is a character: GPT-2's printable stand-in for it */
	HTH_STEP_METASPACE, /* ' ' becomes U+2581, and one is put in front */
	HTH_STEP_SPACE,     /* ' ' is put in front of a piece that has none */
};

struct hth_step {
	enum hth_step_kind kind;
	enum hth_split split;
	bool invert;
	bool on_bytes; /* comes after HTH_STEP_BYTES */
	enum hth_prepend prepend;
	struct hth_pattern pattern;
	uint8_t byte_symbols[256]; /* pattern's symbol of each byte: its code point below 128, or its stand-in's */
};

#define HTH_PRETOK_MAX_STEPS 16
struct hth_pretok {
	struct hth_step steps[HTH_PRETOK_MAX_STEPS];
	size_t n;
	bool bytes; /* some step is HTH_STEP_BYTES */
};
void hth_pretok_clear(struct hth_pretok *p);

/* Adds a step. where: file and key, for messages. */
HTH_MUST enum hth_status hth_pretok_add_split(struct hth_pretok *p, struct hth_arena *arena, const char *pattern,
					      size_t bytes, enum hth_split split, bool invert, const char *where,
					      struct hth_err *err);
HTH_MUST enum hth_status hth_pretok_add_bytes(struct hth_pretok *p, struct hth_arena *arena, bool space_first,
					      bool split, const char *where, struct hth_err *err);
HTH_MUST enum hth_status hth_pretok_add_metaspace(struct hth_pretok *p, struct hth_arena *arena,
						  enum hth_prepend prepend, bool split, const char *where,
						  struct hth_err *err);

/* The steps that a GGUF's tokenizer.ggml.pre names, with what else the name implies. HTH_ERR_UNAVAILABLE for a name
 * that list.h lacks. */
struct hth_pretok_traits {
	bool nfc;           /* normalized to NFC first */
	bool ignore_merges; /* a word that is a token is that token */
	bool add_bos;       /* where the file has no add_bos_token */
};
HTH_MUST enum hth_status hth_pretok_from_gguf(const char *name, struct hth_pretok *p, struct hth_arena *arena,
					      struct hth_pretok_traits *traits, struct hth_err *err);

const char *hth_pretok_gguf_name(size_t i); /* of list.h, in its order; NULL past the end */
/* The steps of a known name as the "pre_tokenizer" of a tokenizer.json. */
void hth_pretok_put_json(const char *name, struct hth_buf *out);

/* GPT-2's stand-ins: a byte's code point, and back (-1: not a stand-in). */
uint32_t hth_byte_stand_in(unsigned char byte);
int hth_stand_in_byte(uint32_t code_point);

struct hth_piece {
	uint32_t start, end;
};
/* One thread's buffers. After a run: `text` and the pieces in it. */
struct hth_pretok_work {
	struct hth_aligned text;
	struct hth_piece *pieces; /* (n) */
	size_t n, cap;
	struct hth_piece *next;
	size_t n_next, next_cap;
	uint8_t *symbols;
	size_t symbols_cap;
	struct hth_mapped written[2];
	struct hth_matcher matcher;
};
void hth_pretok_work_clear(struct hth_pretok_work *w); /* safe on zeroed */
/* text is valid UTF-8 and stays borrowed until the next run. */
HTH_MUST enum hth_status hth_pretok_run(const struct hth_pretok *p, struct hth_pretok_work *w,
					const struct hth_aligned *text, struct hth_err *err);

#endif
