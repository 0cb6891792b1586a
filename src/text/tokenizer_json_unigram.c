/* What a tokenizer.json holds for a unigram model alone: tokens with scores, the unknown token, and the precompiled map
 * of characters, which is base64 there. Source: the tokenizers library 0.23, models/unigram and normalizers/precompiled. */
#include "text/tokenizer_json_int.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define MAX_CHARSMAP_BYTES ((size_t)16 << 20)
/* As in the library. */
#define UNKNOWN_COSTS 10.0
/* The library lets the later of two equal tokens win; files with many are broken. */
#define MAX_TWICE 16

enum hth_status hth_json_read_unigram_vocab(struct hth_json_loader *l, const json_t *vocab)
{
	struct hth_tokenizer *t = l->t;
	size_t i, bytes;
	json_t *v;

	t->vocab.twice_allowed = MAX_TWICE;
	json_array_foreach((json_t *)vocab, i, v)
	{
		const json_t *text = json_array_get(v, 0), *score = json_array_get(v, 1);
		bytes = json_string_length(text);
		if (json_array_size(v) != 2 || !json_is_string(text) || !json_is_number(score) ||
		    strlen(json_string_value(text)) != bytes)
			return hth_fail(l->err, HTH_ERR_FORMAT, "%s: token %zu: expected a text and a score",
					hth_json_at(l, "model.vocab"), i);
		enum hth_status st = hth_vocab_set(&t->vocab, &t->arena, i, json_string_value(text), bytes,
						   hth_json_at(l, "model.vocab"), l->err);
		if (st != HTH_OK)
			return st;
		t->vocab.tokens[i].flags |= HTH_TOKEN_MODEL;
	}
	t->vocab.twice_allowed = 0;
	return HTH_OK;
}

static enum hth_status read_unknown(struct hth_json_loader *l, const json_t *model, size_t n)
{
	int64_t id;
	enum hth_status st = hth_json_int(model, "unk_id", 0, (int64_t)n - 1, -1, &id, hth_json_at(l, "model"), l->err);

	if (st != HTH_OK)
		return st;
	l->t->unk = (int32_t)id;
	return id >= 0 ? HTH_OK
		       : hth_fail(l->err, HTH_ERR_UNAVAILABLE,
				  "%s: absent; text with a character that has no token could not be encoded",
				  hth_json_at(l, "model.unk_id"));
}

enum hth_status hth_json_read_unigram(struct hth_json_loader *l, const json_t *model)
{
	struct hth_tokenizer *t = l->t;
	const json_t *vocab = json_object_get(model, "vocab");
	size_t n = json_array_size(vocab), i;
	double *scores = hth_arena_calloc(&t->arena, t->vocab.n, sizeof(*scores)), least = INFINITY; /* (V) */
	bool *wanted = hth_calloc(t->vocab.n, sizeof(*wanted));                                      /* (V) */
	json_t *v;
	enum hth_status st;

	if (scores == NULL || wanted == NULL) {
		st = hth_fail_memory(l->err, "scores", t->vocab.n * sizeof(*scores));
		goto done;
	}
	if ((st = read_unknown(l, model, n)) != HTH_OK ||
	    (st = hth_json_bool(model, "byte_fallback", false, &t->byte_fallback, hth_json_at(l, "model"), l->err)) !=
		    HTH_OK)
		goto done;
	json_array_foreach((json_t *)vocab, i, v)
	{
		scores[i] = json_number_value(json_array_get(v, 1));
		wanted[i] = true;
		least = scores[i] < least ? scores[i] : least;
	}
	t->unknown_by_text = true;
	t->unigram.unknown = least - UNKNOWN_COSTS;
	st = hth_unigram_init(&t->unigram, &t->arena, &t->vocab, scores, wanted, l->err);
done:
	hth_free(wanted);
	return st;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with its padding into out (3 bytes for each 4 of text); false: it is none. */
static bool decode_base64(const char *text, size_t bytes, uint8_t *out, size_t *n)
{
	size_t pad = 0;

	*n = 0;
	if (bytes % 4 != 0)
		return false;
	while (pad < 2 && bytes > 0 && text[bytes - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < bytes; i += 4) {
		uint32_t v = 0;
		for (size_t k = 0; k < 4; k++) {
			bool padding = i + k >= bytes - pad;
			int d = padding ? 0 : digit_of(text[i + k]);
			if (d < 0)
				return false;
			v = v << 6 | (uint32_t)d;
		}
		out[(*n)++] = (uint8_t)(v >> 16);
		out[(*n)++] = (uint8_t)(v >> 8 & 0xFF);
		out[(*n)++] = (uint8_t)(v & 0xFF);
	}
	*n -= pad;
	return true;
}

enum hth_status hth_json_read_charsmap(struct hth_json_loader *l, const json_t *spec, struct hth_charsmap *out)
{
	const char *text, *where = hth_json_at(l, "normalizer: precompiled_charsmap");
	size_t bytes, n;
	enum hth_status st;

	if (json_is_null(json_object_get(spec, "precompiled_charsmap")))
		return HTH_OK; /* an empty map */
	if ((st = hth_json_need_string(l, spec, "precompiled_charsmap", where, &text, &bytes)) != HTH_OK)
		return st;
	if (bytes > MAX_CHARSMAP_BYTES)
		return hth_fail(l->err, HTH_ERR_LIMIT, "%s: %zu bytes, expected at most %zu", where, bytes,
				MAX_CHARSMAP_BYTES);
	uint8_t *data = hth_alloc(bytes + 1);
	if (data == NULL)
		return hth_fail_memory(l->err, "a map of characters", bytes);
	if (!decode_base64(text, bytes, data, &n))
		st = hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected base64", where);
	else
		st = hth_charsmap_init(out, &l->t->arena, data, n, where, l->err);
	hth_free(data);
	return st;
}
