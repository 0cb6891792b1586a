/* What the two files that read a tokenizer.json share. */
#ifndef HTH_TEXT_TOKENIZER_JSON_INT_H
#define HTH_TEXT_TOKENIZER_JSON_INT_H

#include "base/json.h"
#include "text/tokenizer_int.h"

#define HTH_MAX_REPLACES 8

struct hth_json_loader {
	struct hth_tokenizer *t;
	const char *path;
	struct hth_err *err;
	char where[320];
	struct hth_replace replace[HTH_MAX_REPLACES]; /* of the decoder; arena */
	size_t n_replace;
	const struct hth_gguf *g; /* the file holds it, and its keys say what begins and ends a text; NULL: a file alone */
};

/* The tokenizer.json that a GGUF file holds whole ("tokenizer.huggingface.json"). */
HTH_MUST enum hth_status hth_tokenizer_from_json_in(const struct hth_gguf *g, struct hth_gguf_str text,
						    const char *path, struct hth_tokenizer **out, struct hth_err *err);

/* "file: key" for messages. */
const char *hth_json_at(struct hth_json_loader *l, const char *key);
/* A string of obj, needed; NUL inside is refused. */
HTH_MUST enum hth_status hth_json_need_string(struct hth_json_loader *l, const json_t *obj, const char *key,
					      const char *where, const char **out, size_t *bytes);

HTH_MUST enum hth_status hth_json_read_normalizer(struct hth_json_loader *l, const json_t *spec, int depth);
HTH_MUST enum hth_status hth_json_read_pretok(struct hth_json_loader *l, const json_t *spec, int depth);
/* tokenizer_json_unigram.c: a vocabulary that is a list of texts and scores, and the settings of its model. */
HTH_MUST enum hth_status hth_json_read_unigram_vocab(struct hth_json_loader *l, const json_t *vocab);
HTH_MUST enum hth_status hth_json_read_unigram(struct hth_json_loader *l, const json_t *model);
/* The "precompiled_charsmap" of a normalizer of type Precompiled. */
HTH_MUST enum hth_status hth_json_read_charsmap(struct hth_json_loader *l, const json_t *spec, struct hth_charsmap *out);
HTH_MUST enum hth_status hth_json_read_decoder(struct hth_json_loader *l, const json_t *spec);
HTH_MUST enum hth_status hth_json_read_post(struct hth_json_loader *l, const json_t *spec, int depth);

#endif
