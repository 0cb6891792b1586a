/* A tokenizer from GGUF metadata (tokenizer.ggml.*). The file says which model and names the pre-tokenizer; what
 * else a family's tokenizer.json holds is in list.h. Token types: 1 normal, 2 unknown, 3 control, 4 user-defined,
 * 5 unused, 6 byte; 2, 3 and 4 are added tokens, the first two special.
 * "t5" is any SentencePiece unigram model. Keys: ggml's docs/gguf.md; llama.cpp llama-vocab.cpp for what only t5 has.
 * WordPiece ("bert") is refused by name. */
#include "base/mem.h"
#include "text/tokenizer_json_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY "tokenizer.ggml."
/* Real files hold a handful of tokens twice; converters and other readers take the later one. */
#define MAX_TWICE 16

enum token_type { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

struct loader {
	const struct hth_gguf *g;
	struct hth_tokenizer *t;
	const struct hth_gguf_kv *types; /* NULL: all normal */
	struct hth_err *err;
	const char *path;
	char where[320];
};

/* "file: key" for messages. */
static const char *at_key(struct loader *l, const char *key)
{
	snprintf(l->where, sizeof(l->where), "%.240s: " KEY "%s", l->path, key);
	return l->where;
}

static enum token_type type_of(const struct loader *l, size_t id)
{
	return l->types == NULL ? NORMAL : (enum token_type)hth_gguf_array_int(l->types, id);
}

static bool is_integer(enum hth_gguf_type t)
{
	return t <= HTH_GGUF_I32 || t == HTH_GGUF_U64 || t == HTH_GGUF_I64;
}

/* An array of n numbers. */
static enum hth_status find_numbers(struct loader *l, const char *name, bool integers, size_t n,
				    const struct hth_gguf_kv **out)
{
	char key[64];

	snprintf(key, sizeof(key), KEY "%s", name);
	const struct hth_gguf_kv *kv = *out = hth_gguf_find(l->g, key);
	if (kv == NULL)
		return HTH_OK;
	bool numbers = kv->type == HTH_GGUF_ARRAY &&
		       (is_integer(kv->elem_type) ||
			(!integers && (kv->elem_type == HTH_GGUF_F32 || kv->elem_type == HTH_GGUF_F64)));
	if (!numbers)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected an array of %s", at_key(l, name),
				integers ? "integers" : "numbers");
	if (kv->n != n)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: %llu values, expected one for each of %zu tokens",
				at_key(l, name), (unsigned long long)kv->n, n);
	return HTH_OK;
}

static enum hth_status check_types(struct loader *l, size_t n)
{
	enum hth_status st = find_numbers(l, "token_type", true, n, &l->types);

	for (size_t i = 0; st == HTH_OK && l->types != NULL && i < n; i++) {
		int64_t type = hth_gguf_array_int(l->types, i);
		if (type < NORMAL || type > BYTE)
			st = hth_fail(l->err, HTH_ERR_FORMAT, "%s: token %zu has type %lld, expected 1..6",
				      at_key(l, "token_type"), i, (long long)type);
	}
	return st;
}

static enum hth_status read_tokens(struct loader *l)
{
	struct hth_tokenizer *t = l->t;
	struct hth_gguf_strings it;
	struct hth_gguf_str s;
	enum hth_status st = hth_gguf_strings(l->g, KEY "tokens", &it, l->err);

	if (st != HTH_OK)
		return st;
	if (it.left == 0 || it.left > HTH_MAX_TOKENS)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: %llu tokens, expected 1..%zu", at_key(l, "tokens"),
				(unsigned long long)it.left, HTH_MAX_TOKENS);
	size_t n = (size_t)it.left;
	if ((st = check_types(l, n)) != HTH_OK || (st = hth_vocab_init(&t->vocab, &t->arena, n, l->err)) != HTH_OK)
		return st;
	t->vocab.twice_allowed = MAX_TWICE;
	for (size_t id = 0; hth_gguf_next(&it, &s); id++) {
		enum token_type type = type_of(l, id);
		st = hth_vocab_set(&t->vocab, &t->arena, id, s.data, s.bytes, at_key(l, "tokens"), l->err);
		if (st != HTH_OK)
			return st;
		if (type == BYTE && hth_byte_token(s.data, s.bytes) < 0) {
			char quoted[96];
			return hth_fail(l->err, HTH_ERR_FORMAT,
					"%s: byte token %zu is \"%s\", expected \"<0x00>\" to \"<0xFF>\"",
					at_key(l, "tokens"), id, hth_quote(quoted, sizeof(quoted), s.data, s.bytes));
		}
		t->vocab.tokens[id].flags = (uint8_t)((type == UNKNOWN || type == CONTROL ? HTH_TOKEN_SPECIAL : 0) |
						      (type != UNUSED ? HTH_TOKEN_MODEL : 0));
	}
	return HTH_OK;
}

/* user_later: user-defined tokens are cut from the normalized text, as SentencePiece does. */
static enum hth_status read_added(struct loader *l, bool user_later)
{
	struct hth_tokenizer *t = l->t;
	size_t n = 0, bytes = 0;

	for (size_t id = 0; id < t->vocab.n; id++) {
		enum token_type type = type_of(l, id);
		if (type == UNKNOWN || type == CONTROL || type == USER) {
			n++;
			bytes += t->vocab.tokens[id].bytes;
		}
	}
	enum hth_status st = hth_added_init(&t->added, &t->arena, n, bytes, l->err);
	if (st == HTH_OK && user_later)
		st = hth_added_init(&t->added_normalized, &t->arena, n, bytes, l->err);
	for (size_t id = 0; st == HTH_OK && id < t->vocab.n; id++) {
		enum token_type type = type_of(l, id);
		const struct hth_token *x = &t->vocab.tokens[id];
		struct hth_added_token added = {.id = (int32_t)id, .special = type != USER};
		if (type == UNKNOWN || type == CONTROL || type == USER)
			st = hth_added_put(type == USER && user_later ? &t->added_normalized : &t->added, &added,
					   x->text, x->bytes, at_key(l, "tokens"), l->err);
	}
	return st;
}

static enum hth_status read_merges(struct loader *l)
{
	struct hth_gguf_strings it;
	struct hth_gguf_str s;
	enum hth_status st = hth_gguf_strings(l->g, KEY "merges", &it, l->err);

	if (st == HTH_OK && it.left > HTH_MAX_TOKENS * 8)
		st = hth_fail(l->err, HTH_ERR_FORMAT, "%s: too many merges", at_key(l, "merges"));
	if (st == HTH_OK)
		st = hth_bpe_init(&l->t->bpe, &l->t->arena, (size_t)it.left, l->err);
	for (size_t rank = 0; st == HTH_OK && hth_gguf_next(&it, &s); rank++) {
		const char *space = s.bytes < 2 ? NULL : memchr(s.data + 1, ' ', s.bytes - 1);
		if (space == NULL) {
			char quoted[96];
			return hth_fail(l->err, HTH_ERR_FORMAT,
					"%s: merge %zu is \"%s\", expected two tokens and a space", at_key(l, "merges"),
					rank, hth_quote(quoted, sizeof(quoted), s.data, s.bytes));
		}
		size_t left = (size_t)(space - s.data);
		st = hth_tokenizer_add_merge(l->t, s.data, left, space + 1, s.bytes - left - 1, rank,
					     at_key(l, "merges"), l->err);
	}
	return st;
}

/* A token id by its key; -1 when the key is absent. */
static enum hth_status read_id(struct loader *l, const char *name, int32_t *out)
{
	char key[64];
	int64_t id = -1;

	snprintf(key, sizeof(key), KEY "%s", name);
	enum hth_status st = hth_gguf_int(l->g, key, 0, (int64_t)l->t->vocab.n - 1, -1, &id, l->err);
	*out = (int32_t)id;
	return st;
}

static enum hth_status read_affixes(struct loader *l, bool bos_default, bool eos_default)
{
	static const char *const end_keys[] = {"eot_token_id", "eom_token_id"};
	struct hth_tokenizer *t = l->t;
	bool bos = false, eos = false;
	enum hth_status st;

	if ((st = read_id(l, "bos_token_id", &t->bos)) != HTH_OK ||
	    (st = read_id(l, "eos_token_id", &t->eos)) != HTH_OK)
		return st;
	for (size_t i = 0; i < sizeof(end_keys) / sizeof(*end_keys); i++) {
		int32_t id;
		if ((st = read_id(l, end_keys[i], &id)) != HTH_OK)
			return st;
		if (id >= 0)
			t->vocab.tokens[id].flags |= HTH_TOKEN_END;
	}
	if ((st = hth_gguf_bool(l->g, KEY "add_bos_token", bos_default, &bos, l->err)) != HTH_OK ||
	    (st = hth_gguf_bool(l->g, KEY "add_eos_token", eos_default, &eos, l->err)) != HTH_OK)
		return st;
	if (bos && t->bos >= 0)
		t->prefix[t->n_prefix++] = t->bos;
	if (eos && t->eos >= 0)
		t->suffix[t->n_suffix++] = t->eos;
	return HTH_OK;
}

static enum hth_status load_bytes(struct loader *l)
{
	struct hth_tokenizer *t = l->t;
	struct hth_gguf_str pre;
	struct hth_pretok_traits traits;
	char name[64];
	enum hth_status st = hth_gguf_string(l->g, KEY "pre", &pre, l->err);

	if (st != HTH_OK)
		return st;
	if (pre.data == NULL || pre.bytes >= sizeof(name))
		return hth_fail(
			l->err, HTH_ERR_UNAVAILABLE,
			"%s: %s; how this model cuts text into words is unknown, convert it again with a newer tool",
			at_key(l, "pre"), pre.data == NULL ? "the key is absent" : "too long a name");
	memcpy(name, pre.data, pre.bytes);
	name[pre.bytes] = '\0';
	if ((st = hth_pretok_from_gguf(name, &t->pretok, &t->arena, &traits, l->err)) != HTH_OK)
		return l->err == NULL ? st : hth_err_prefix(l->err, "%s", l->path);
	t->kind = HTH_MODEL_BPE_BYTES;
	t->ignore_merges = traits.ignore_merges;
	t->decoder.byte_level = true;
	if (traits.nfc)
		t->norms[t->n_norms++].kind = HTH_NORM_NFC;
	if ((st = read_merges(l)) != HTH_OK || (st = read_affixes(l, traits.add_bos, false)) != HTH_OK)
		return st;
	return hth_tokenizer_finish(t, NULL, 0, name, l->err);
}

static void add_norm(struct hth_tokenizer *t, enum hth_norm_kind kind, const char *what, const char *with)
{
	t->norms[t->n_norms++] = (struct hth_norm){
		.kind = kind,
		.what = what,
		.with = with,
		.what_bytes = (uint32_t)strlen(what),
		.with_bytes = (uint32_t)strlen(with),
	};
}

static enum hth_status read_scores(struct loader *l, float **out)
{
	size_t n = l->t->vocab.n;
	const struct hth_gguf_kv *kv;
	enum hth_status st = find_numbers(l, "scores", false, n, &kv);

	if (st != HTH_OK)
		return st;
	if (kv == NULL)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: absent; a SentencePiece vocabulary needs scores",
				at_key(l, "scores"));
	float *scores = *out = hth_arena_calloc(&l->t->arena, n, sizeof(*scores));
	if (scores == NULL)
		return hth_fail_memory(l->err, "scores", n * sizeof(*scores));
	for (size_t i = 0; i < n; i++) {
		scores[i] = (float)hth_gguf_array_real(kv, i);
		if (!isfinite(scores[i]))
			return hth_fail(l->err, HTH_ERR_FORMAT, "%s: score %zu is not finite", at_key(l, "scores"), i);
		/* Converters give user-defined tokens a score of their own; in the model it is 0. */
		if (type_of(l, i) == USER)
			scores[i] = 0;
	}
	return HTH_OK;
}

/* What the SentencePiece kinds have in common: spaces as word signs, bytes for characters without a token. */
static void set_spm(struct hth_tokenizer *t, bool prefix)
{
	t->kind = HTH_MODEL_BPE_CHARS;
	t->byte_fallback = t->fuse_unk = true;
	if (prefix)
		add_norm(t, HTH_NORM_PREPEND, HTH_WORD_SIGN, "");
	add_norm(t, HTH_NORM_REPLACE, " ", HTH_WORD_SIGN);
	t->decoder.byte_fallback = true;
	t->decoder.strip_start = prefix;
}

/* Gemma's GGUF writes user-defined runs of spaces as spaces, its model as word signs, as it writes all tokens; that
 * spelling is what merges refer to. The text that the added token matches is already kept as the file has it. */
static enum hth_status respell_spaces(struct loader *l)
{
	struct hth_tokenizer *t = l->t;
	struct hth_buf text;
	enum hth_status st = HTH_OK;

	hth_buf_init(&text, HTH_MAX_TOKEN_BYTES * 3);
	for (size_t id = 0; st == HTH_OK && id < t->vocab.n; id++) {
		const struct hth_token *x = &t->vocab.tokens[id];
		if (type_of(l, id) != USER || memchr(x->text, ' ', x->bytes) == NULL)
			continue;
		hth_buf_reset(&text);
		for (size_t i = 0; i < x->bytes; i++)
			hth_buf_add(&text, x->text[i] == ' ' ? HTH_WORD_SIGN : x->text + i, x->text[i] == ' ' ? 3 : 1);
		if ((st = hth_buf_status(&text, "a token", l->err)) == HTH_OK)
			st = hth_vocab_respell(&t->vocab, &t->arena, id, hth_buf_str(&text), text.bytes, l->err);
	}
	hth_buf_clear(&text);
	return st;
}

/* merges: the file lists them, otherwise scores imply them. */
static enum hth_status load_spm(struct loader *l, bool merges)
{
	static const struct hth_replace spaces = {HTH_WORD_SIGN, " "};
	struct hth_tokenizer *t = l->t;
	struct hth_gguf_str arch;
	float *scores = NULL;
	bool prefix = true;
	enum hth_status st;

	if ((st = hth_gguf_bool(l->g, KEY "add_space_prefix", !merges, &prefix, l->err)) != HTH_OK ||
	    (st = hth_gguf_string(l->g, "general.architecture", &arch, l->err)) != HTH_OK ||
	    (st = read_id(l, "unknown_token_id", &t->unk)) != HTH_OK)
		return st;
	set_spm(t, prefix);
	if (merges) {
		if ((st = read_merges(l)) != HTH_OK || (st = read_affixes(l, true, false)) != HTH_OK)
			return st;
		return hth_tokenizer_finish(t, &spaces, 1, "", l->err);
	}
	if ((st = read_scores(l, &scores)) != HTH_OK)
		return st;
	bool gemma = arch.bytes >= 5 && memcmp(arch.data, "gemma", 5) == 0;
	if ((st = respell_spaces(l)) != HTH_OK || (st = hth_spm_merges(t, scores, gemma, l->err)) != HTH_OK ||
	    (st = read_affixes(l, true, false)) != HTH_OK)
		return st;
	return hth_tokenizer_finish(t, &spaces, 1, "", l->err);
}

/* SentencePiece's normalizer: the map, then spaces. */
static enum hth_status read_spm_norms(struct loader *l)
{
	struct hth_tokenizer *t = l->t;
	struct hth_norm spaces = {.kind = HTH_NORM_SPACES};
	const struct hth_gguf_kv *map = hth_gguf_find(l->g, KEY "precompiled_charsmap");
	enum hth_status st;

	if ((st = hth_gguf_bool(l->g, KEY "add_space_prefix", false, &spaces.left, l->err)) != HTH_OK ||
	    (st = hth_gguf_bool(l->g, KEY "remove_extra_whitespaces", false, &spaces.right, l->err)) != HTH_OK)
		return st;
	if (map != NULL) {
		struct hth_norm *s = &t->norms[t->n_norms++];
		if (map->type != HTH_GGUF_ARRAY || (map->elem_type != HTH_GGUF_U8 && map->elem_type != HTH_GGUF_I8))
			return hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected an array of bytes",
					at_key(l, "precompiled_charsmap"));
		s->kind = HTH_NORM_LONGEST;
		s->keep = &t->added_normalized;
		st = hth_charsmap_init(&s->map, &t->arena, map->data, map->data_bytes, at_key(l, "precompiled_charsmap"),
				       l->err);
	}
	t->norms[t->n_norms++] = spaces;
	t->decoder.strip_start = spaces.left;
	return st;
}

/* Which tokens text may become, and what an unknown character costs: ten more than the worst of the normal ones. */
static enum hth_status read_unigram(struct loader *l)
{
	struct hth_tokenizer *t = l->t;
	size_t n = t->vocab.n;
	float *scores = NULL, least = INFINITY;
	double *kept = hth_arena_calloc(&t->arena, n, sizeof(*kept)); /* (V) */
	bool *wanted = hth_calloc(n, sizeof(*wanted));                /* (V) */
	size_t n_bytes = 0;
	enum hth_status st = kept != NULL && wanted != NULL ? read_scores(l, &scores)
							    : hth_fail_memory(l->err, "scores", n * sizeof(*kept));

	for (size_t id = 0; st == HTH_OK && id < n; id++) {
		enum token_type type = type_of(l, id);
		kept[id] = (double)scores[id];
		wanted[id] = type == NORMAL || type == USER || type == UNUSED;
		least = type == NORMAL && scores[id] < least ? scores[id] : least;
		n_bytes += type == BYTE;
	}
	if (st == HTH_OK && least == INFINITY)
		st = hth_fail(l->err, HTH_ERR_FORMAT, "%s: no token is a normal one (1)", at_key(l, "token_type"));
	if (st == HTH_OK) {
		t->byte_fallback = t->decoder.byte_fallback = n_bytes == 256; /* SentencePiece makes all or none */
		t->unigram.unknown = (double)(least - 10.0f);
		st = hth_unigram_init(&t->unigram, &t->arena, &t->vocab, kept, wanted, l->err);
	}
	hth_free(wanted);
	return st;
}

static enum hth_status load_unigram(struct loader *l)
{
	static const struct hth_replace spaces = {HTH_WORD_SIGN, " "};
	struct hth_tokenizer *t = l->t;
	enum hth_status st;

	t->kind = HTH_MODEL_UNIGRAM;
	if ((st = read_id(l, "unknown_token_id", &t->unk)) != HTH_OK)
		return st;
	if (t->unk < 0 && t->vocab.n > 2)
		t->unk = 2; /* T5's, where the key is absent */
	if (t->unk < 0)
		return hth_fail(l->err, HTH_ERR_NOTFOUND, "%s: absent", at_key(l, "unknown_token_id"));
	if ((st = read_spm_norms(l)) != HTH_OK || (st = read_unigram(l)) != HTH_OK ||
	    (st = read_affixes(l, false, true)) != HTH_OK)
		return st;
	return hth_tokenizer_finish(t, &spaces, 1, "", l->err);
}

/* A file may hold the whole tokenizer.json for what its keys cannot say. As many ids as the keys list. */
static enum hth_status load_json(struct loader *l, struct hth_gguf_str text, struct hth_tokenizer **out)
{
	const struct hth_gguf_kv *tokens = hth_gguf_find(l->g, KEY "tokens");
	char where[320];

	snprintf(where, sizeof(where), "%.240s: tokenizer.huggingface.json", l->path);
	enum hth_status st = hth_tokenizer_from_json_in(l->g, text, where, out, l->err);
	if (st == HTH_OK && tokens != NULL && tokens->type == HTH_GGUF_ARRAY && tokens->n <= HTH_MAX_TOKENS)
		st = hth_tokenizer_pad(*out, (int64_t)tokens->n, l->err);
	if (st != HTH_OK) {
		hth_tokenizer_free(*out);
		*out = NULL;
	}
	return st;
}

enum hth_status hth_tokenizer_from_gguf(const struct hth_gguf *g, struct hth_tokenizer **out, struct hth_err *err)
{
	struct loader l = {.g = g, .err = err, .path = g->map.path != NULL ? g->map.path : "GGUF"};
	struct hth_gguf_str model;
	char quoted[64];

	*out = NULL;
	enum hth_status st = hth_gguf_string(g, "tokenizer.huggingface.json", &model, err);
	if (st == HTH_OK && model.data != NULL)
		return load_json(&l, model, out);
	if (st == HTH_OK)
		st = hth_gguf_string(g, KEY "model", &model, err);
	if (st != HTH_OK)
		return st;
	if (model.data == NULL)
		return hth_fail(err, HTH_ERR_NOTFOUND, "%s: absent; this file holds no tokenizer", at_key(&l, "model"));
	if ((st = hth_tokenizer_new(&l.t, err)) != HTH_OK)
		return st;
	bool bytes = hth_gguf_str_equal(model, "gpt2"), gemma4 = hth_gguf_str_equal(model, "gemma4");
	bool unigram = hth_gguf_str_equal(model, "t5");
	if (!bytes && !gemma4 && !unigram && !hth_gguf_str_equal(model, "llama")) {
		st = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"%s\" is not supported, only gpt2, llama, gemma4 and t5 are",
			      at_key(&l, "model"), hth_quote(quoted, sizeof(quoted), model.data, model.bytes));
		goto done;
	}
	if ((st = read_tokens(&l)) == HTH_OK && (st = read_added(&l, unigram)) == HTH_OK)
		st = bytes ? load_bytes(&l) : unigram ? load_unigram(&l) : load_spm(&l, gemma4);
done:
	if (st != HTH_OK)
		hth_tokenizer_free(l.t);
	else
		*out = l.t;
	return st;
}
