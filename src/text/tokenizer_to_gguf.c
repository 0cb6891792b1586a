/* A tokenizer as GGUF keys. Two things a tokenizer.json has are only implied there. How text is cut is a name
 * (tokenizer.ggml.pre): found by cutting texts that tell pre-tokenizers apart as each name would. And SentencePiece
 * vocabularies have scores in place of merges: the place of a token's first merge, negated, puts them in the same order.
 * A unigram one is what llama.cpp calls "t5", with the scores and the map of characters as they were read.
 * Source of keys: ggml's docs/gguf.md, llama.cpp convert_hf_to_gguf.py. */
#include "text/tokenizer_convert.h"
#include "text/tokenizer_probe.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY "tokenizer.ggml."
#define MAX_KEYS_BYTES ((size_t)512 << 20)
enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };
enum { PROBES = 200, PROBE_CHARACTERS = 60 };

static enum hth_status same_cuts(const struct hth_pretok *a, const struct hth_pretok *b, struct hth_pretok_work w[2],
				 bool *same, struct hth_err *err)
{
	uint64_t state = 10;
	struct hth_buf text;
	enum hth_status st = HTH_OK;

	*same = true;
	hth_buf_init(&text, (size_t)1 << 20);
	for (int i = 0; *same && i < PROBES; i++) {
		hth_buf_reset(&text);
		hth_probe_characters(&state, PROBE_CHARACTERS, &text);
		if ((st = hth_buf_status(&text, "a text", err)) != HTH_OK)
			break;
		struct hth_aligned in = {.text = text.data, .bytes = text.bytes, .starts_input = true};
		if ((st = hth_pretok_run(a, &w[0], &in, err)) != HTH_OK ||
		    (st = hth_pretok_run(b, &w[1], &in, err)) != HTH_OK)
			break;
		*same = w[0].n == w[1].n && w[0].text.bytes == w[1].text.bytes &&
			memcmp(w[0].text.text, w[1].text.text, w[0].text.bytes) == 0 &&
			memcmp(w[0].pieces, w[1].pieces, w[0].n * sizeof(*w[0].pieces)) == 0;
	}
	hth_buf_clear(&text);
	return st;
}

/* The first name of list.h that cuts, normalizes and looks words up as t does; NULL: none. */
static enum hth_status find_pre(const struct hth_tokenizer *t, const char **out, struct hth_err *err)
{
	struct hth_pretok_work w[2];
	bool nfc = t->n_norms == 1 && t->norms[0].kind == HTH_NORM_NFC, same = false;
	enum hth_status st = HTH_OK;

	*out = NULL;
	memset(w, 0, sizeof(w));
	for (size_t i = 0; st == HTH_OK && !same && (t->n_norms == 0 || nfc); i++) {
		struct hth_pretok p = {0};
		struct hth_pretok_traits traits;
		struct hth_arena arena;
		const char *name = hth_pretok_gguf_name(i);
		if (name == NULL)
			break;
		hth_arena_init(&arena, (size_t)64 << 20);
		st = hth_pretok_from_gguf(name, &p, &arena, &traits, err);
		if (st == HTH_OK && traits.nfc == nfc && traits.ignore_merges == t->ignore_merges)
			st = same_cuts(&t->pretok, &p, w, &same, err);
		if (same)
			*out = name;
		hth_pretok_clear(&p);
		hth_arena_clear(&arena);
	}
	hth_pretok_work_clear(&w[0]);
	hth_pretok_work_clear(&w[1]);
	return st;
}

static void put_text(struct hth_buf *b, const char *text, size_t bytes)
{
	uint8_t le[8];

	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)((uint64_t)bytes >> (8 * i) & 255);
	(void)hth_buf_add(b, le, 8);
	(void)hth_buf_add(b, text, bytes);
}

static void put_i32(struct hth_buf *b, uint32_t v)
{
	uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

	(void)hth_buf_add(b, le, 4);
}

static void mark_added(const struct hth_tokenizer *t, const struct hth_added *set, int64_t n, uint8_t *types)
{
	for (size_t i = 0; i < set->n; i++) {
		const struct hth_added_token *x = &set->tokens[i];
		if (x->id < n)
			types[x->id] = x->id == t->unk ? UNKNOWN : x->special ? CONTROL : USER;
	}
}

static enum hth_status put_tokens(const struct hth_tokenizer *t, int64_t n, struct hth_gguf_made *m,
				  struct hth_err *err)
{
	uint8_t *types = hth_calloc((size_t)n, 1); /* (n) */
	struct hth_buf tokens, list;

	if (types == NULL)
		return hth_fail_memory(err, "a vocabulary", (size_t)n);
	hth_buf_init(&tokens, MAX_KEYS_BYTES);
	hth_buf_init(&list, (size_t)n * 4);
	for (int64_t id = 0; id < n; id++) {
		const struct hth_token *x = (size_t)id < t->vocab.n ? &t->vocab.tokens[id] : NULL;
		char name[32];
		snprintf(name, sizeof(name), "[PAD%lld]", (long long)id);
		bool there = x != NULL && x->text != NULL;
		put_text(&tokens, there ? x->text : name, there ? x->bytes : strlen(name));
		types[id] = !there ? UNUSED : id == t->unk ? UNKNOWN : (x->flags & HTH_TOKEN_BYTE) != 0 ? BYTE : NORMAL;
	}
	mark_added(t, &t->added, n, types);
	mark_added(t, &t->added_normalized, n, types);
	for (int64_t id = 0; id < n; id++)
		put_i32(&list, types[id]);
	enum hth_status st = hth_buf_status(&tokens, "a vocabulary", err);
	if (st == HTH_OK)
		st = hth_buf_status(&list, "a vocabulary", err);
	if (st == HTH_OK) {
		hth_gguf_made_array(m, KEY "tokens", HTH_GGUF_STRING, (uint64_t)n, tokens.data, tokens.bytes);
		hth_gguf_made_array(m, KEY "token_type", HTH_GGUF_I32, (uint64_t)n, list.data, list.bytes);
	}
	hth_buf_clear(&tokens);
	hth_buf_clear(&list);
	hth_free(types);
	return st;
}

static int by_rank(const void *a, const void *b)
{
	const struct hth_bpe_pair *x = a, *y = b;

	return (x->rank > y->rank) - (x->rank < y->rank);
}

enum hth_status hth_tokenizer_merges(const struct hth_tokenizer *t, struct hth_bpe_pair **out, size_t *n,
				     struct hth_err *err)
{
	struct hth_bpe_pair *pairs = hth_calloc(t->bpe.n + 1, sizeof(*pairs));

	*out = pairs;
	*n = 0;
	if (pairs == NULL)
		return hth_fail_memory(err, "merges", t->bpe.n * sizeof(*pairs));
	for (size_t i = 0; t->bpe.slots != NULL && i <= t->bpe.mask && *n < t->bpe.n; i++)
		if (t->bpe.slots[i].left >= 0)
			pairs[(*n)++] = t->bpe.slots[i];
	qsort(pairs, *n, sizeof(*pairs), by_rank);
	return HTH_OK;
}

static enum hth_status put_merges(const struct hth_tokenizer *t, int64_t n_vocab, struct hth_gguf_made *m,
				  struct hth_err *err)
{
	struct hth_bpe_pair *pairs;
	size_t n;
	uint64_t kept = 0;
	struct hth_buf list, one;
	enum hth_status st = hth_tokenizer_merges(t, &pairs, &n, err);

	hth_buf_init(&list, MAX_KEYS_BYTES);
	hth_buf_init(&one, 4 * HTH_MAX_TOKEN_BYTES);
	for (size_t i = 0; st == HTH_OK && i < n; i++) {
		if (pairs[i].left >= n_vocab || pairs[i].right >= n_vocab || pairs[i].id >= n_vocab)
			continue;
		const struct hth_token *a = &t->vocab.tokens[pairs[i].left], *b = &t->vocab.tokens[pairs[i].right];
		hth_buf_reset(&one);
		(void)hth_buf_add(&one, a->text, a->bytes);
		(void)hth_buf_putc(&one, ' ');
		(void)hth_buf_add(&one, b->text, b->bytes);
		put_text(&list, hth_buf_str(&one), one.bytes);
		kept++;
	}
	if (st == HTH_OK && (st = hth_buf_status(&list, "merges", err)) == HTH_OK)
		hth_gguf_made_array(m, KEY "merges", HTH_GGUF_STRING, kept, list.data, list.bytes);
	hth_buf_clear(&list);
	hth_buf_clear(&one);
	hth_free(pairs);
	return st;
}

/* Tokens that no merge makes come last: single characters, bytes, added tokens. */
static enum hth_status put_scores(const struct hth_tokenizer *t, int64_t n_vocab, struct hth_gguf_made *m,
				  struct hth_err *err)
{
	struct hth_bpe_pair *pairs = NULL;
	size_t n = 0, place = 0;
	float *scores = hth_calloc((size_t)n_vocab, sizeof(*scores)); /* (V) */
	enum hth_status st = scores != NULL ? hth_tokenizer_merges(t, &pairs, &n, err)
					    : hth_fail_memory(err, "scores", (size_t)n_vocab * sizeof(*scores));
	struct hth_buf list;

	hth_buf_init(&list, (size_t)n_vocab * 4);
	for (size_t i = 0; st == HTH_OK && i < n; i++)
		if (pairs[i].id < n_vocab && scores[pairs[i].id] == 0)
			scores[pairs[i].id] = -(float)++place;
	for (int64_t id = 0; st == HTH_OK && id < n_vocab; id++) {
		const struct hth_token *x = (size_t)id < t->vocab.n ? &t->vocab.tokens[id] : NULL;
		bool plain = x != NULL && x->text != NULL && (x->flags & (HTH_TOKEN_BYTE | HTH_TOKEN_SPECIAL)) == 0;
		union {
			float f;
			uint32_t u;
		} bits = {.f = scores[id] == 0 && plain ? -(float)(place + (size_t)id + 1) : scores[id]};
		put_i32(&list, bits.u);
	}
	if (st == HTH_OK && (st = hth_buf_status(&list, "scores", err)) == HTH_OK)
		hth_gguf_made_array(m, KEY "scores", HTH_GGUF_F32, (uint64_t)n_vocab, list.data, list.bytes);
	hth_buf_clear(&list);
	hth_free(scores);
	hth_free(pairs);
	return st;
}

/* The end-of-turn token beside EOS, if there is one that is not found by name anyway; -1: none. */
static int32_t end_of_turn(const struct hth_tokenizer *t, int64_t n_vocab)
{
	for (int32_t id = 0; id < n_vocab && (size_t)id < t->vocab.n; id++)
		if (id != t->eos && (t->vocab.tokens[id].flags & HTH_TOKEN_END) != 0)
			return id;
	return -1;
}

static void put_ids(const struct hth_tokenizer *t, int64_t n_vocab, int32_t pad, struct hth_gguf_made *m)
{
	const struct {
		const char *key;
		int32_t id;
	} ids[] = {{KEY "bos_token_id", t->bos},
		   {KEY "eos_token_id", t->eos},
		   {KEY "eot_token_id", end_of_turn(t, n_vocab)},
		   {KEY "unknown_token_id", t->unk},
		   {KEY "padding_token_id", pad}};

	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		if (ids[i].id >= 0 && ids[i].id < n_vocab)
			hth_gguf_made_u32(m, ids[i].key, ids[i].id);
	hth_gguf_made_bool(m, KEY "add_bos_token", t->n_prefix > 0);
	hth_gguf_made_bool(m, KEY "add_eos_token", t->n_suffix > 0);
}

/* A space in front of the text: by a normalizer, or by Metaspace. */
static bool puts_space_first(const struct hth_tokenizer *t)
{
	for (size_t i = 0; i < t->n_norms; i++)
		if (t->norms[i].kind == HTH_NORM_PREPEND)
			return true;
	for (size_t i = 0; i < t->pretok.n; i++)
		if (t->pretok.steps[i].kind == HTH_STEP_METASPACE && t->pretok.steps[i].prepend != HTH_PREPEND_NEVER)
			return true;
	return false;
}

static enum hth_status put_unigram_scores(const struct hth_tokenizer *t, int64_t n_vocab, struct hth_gguf_made *m,
					  struct hth_err *err)
{
	struct hth_buf list;

	hth_buf_init(&list, (size_t)n_vocab * 4);
	for (int64_t id = 0; id < n_vocab; id++) {
		union {
			float f;
			uint32_t u;
		} bits = {.f = (size_t)id < t->unigram.n_scores ? (float)t->unigram.scores[id] : 0};
		put_i32(&list, bits.u);
	}
	enum hth_status st = hth_buf_status(&list, "scores", err);
	if (st == HTH_OK)
		hth_gguf_made_array(m, KEY "scores", HTH_GGUF_F32, (uint64_t)n_vocab, list.data, list.bytes);
	hth_buf_clear(&list);
	return st;
}

/* What SentencePiece's normalizer is told: the map as it was read, and whether runs of spaces are one. */
static enum hth_status put_spm_norms(const struct hth_tokenizer *t, struct hth_gguf_made *m, struct hth_err *err)
{
	bool merges = false;
	struct hth_buf map;
	enum hth_status st = HTH_OK;

	for (size_t i = 0; i < t->n_norms && st == HTH_OK; i++) {
		const struct hth_norm *s = &t->norms[i];
		merges |= s->kind == HTH_NORM_PATTERN && strcmp(s->what, " {2,}") == 0;
		if (s->kind != HTH_NORM_CHARSMAP || s->map.n_units == 0)
			continue;
		hth_buf_init(&map, MAX_KEYS_BYTES);
		put_i32(&map, (uint32_t)(4 * s->map.n_units));
		for (size_t k = 0; k < s->map.n_units; k++)
			put_i32(&map, s->map.units[k]);
		(void)hth_buf_add(&map, s->map.texts, s->map.n_texts);
		if ((st = hth_buf_status(&map, "a map of characters", err)) == HTH_OK)
			hth_gguf_made_array(m, KEY "precompiled_charsmap", HTH_GGUF_U8, map.bytes, map.data, map.bytes);
		hth_buf_clear(&map);
	}
	hth_gguf_made_bool(m, KEY "remove_extra_whitespaces", merges);
	return st;
}

enum hth_status hth_tokenizer_to_gguf(const struct hth_tokenizer *t, int64_t n_vocab, int32_t pad,
				      struct hth_gguf_made *m, struct hth_err *err)
{
	const char *pre = "default";
	bool bytes = t->kind == HTH_MODEL_BPE_BYTES, unigram = t->kind == HTH_MODEL_UNIGRAM;
	enum hth_status st = bytes ? find_pre(t, &pre, err) : HTH_OK;

	if (st != HTH_OK)
		return st;
	if (pre == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"this tokenizer cuts text into words in a way for which GGUF has no name "
				"(tokenizer.ggml.pre) that hearth knows; the model can be used as a folder");
	if (!bytes && !unigram && !t->byte_fallback)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"this tokenizer has characters for tokens and no bytes to fall back to, which GGUF "
				"cannot say; the model can be used as a folder");
	const char *model = bytes ? "gpt2" : unigram ? "t5" : "llama";
	hth_gguf_made_string(m, KEY "model", model, strlen(model));
	hth_gguf_made_string(m, KEY "pre", pre, strlen(pre));
	if ((st = put_tokens(t, n_vocab, m, err)) != HTH_OK ||
	    (st = bytes	    ? put_merges(t, n_vocab, m, err)
		  : unigram ? put_unigram_scores(t, n_vocab, m, err)
			    : put_scores(t, n_vocab, m, err)) != HTH_OK ||
	    (unigram && (st = put_spm_norms(t, m, err)) != HTH_OK))
		return st;
	put_ids(t, n_vocab, pad, m);
	if (!bytes)
		hth_gguf_made_bool(m, KEY "add_space_prefix", puts_space_first(t));
	return HTH_OK;
}
