/* A tokenizer from tokenizer.json: vocabulary, merges, added tokens. Its steps are read in tokenizer_json_steps.c, what
 * is unigram's alone in tokenizer_json_unigram.c.
 * The file does not say which tokens begin and end a text; when it lies in a model's folder under its usual name,
 * tokenizer_config.json and generation_config.json beside it are asked; inside a GGUF file, its keys. WordPiece and
 * WordLevel are refused by name. */
#include "base/file.h"
#include "base/mem.h"
#include "text/tokenizer_json_int.h"

#include <stdio.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)256 << 20)
#define MAX_CONFIG_BYTES ((size_t)16 << 20)

const char *hth_json_at(struct hth_json_loader *l, const char *key)
{
	snprintf(l->where, sizeof(l->where), "%.240s: %s", l->path, key);
	return l->where;
}

enum hth_status hth_json_need_string(struct hth_json_loader *l, const json_t *obj, const char *key, const char *where,
				     const char **out, size_t *bytes)
{
	const json_t *v = json_object_get(obj, key);
	size_t n = json_string_length(v);

	if (!json_is_string(v) || strlen(json_string_value(v)) != n)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: \"%s\": expected a text", where, key);
	*out = json_string_value(v);
	if (bytes != NULL)
		*bytes = n;
	return HTH_OK;
}

/* An id of the file; the largest decides how many ids there are, so it may not run away from their number. */
static enum hth_status check_id(struct hth_json_loader *l, const json_t *v, size_t count, const char *key, size_t *out)
{
	json_int_t id = json_integer_value(v);

	if (!json_is_integer(v))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: id that is no integer, expected one for each token",
				hth_json_at(l, key));
	if (id < 0 || (uint64_t)id >= HTH_MAX_TOKENS || (uint64_t)id > (uint64_t)count * 4 + 65536)
		return hth_fail(l->err, HTH_ERR_FORMAT,
				"%s: id %lld, expected an integer from 0 to not far above the %zu tokens",
				hth_json_at(l, key), (long long)id, count);
	*out = (size_t)id;
	return HTH_OK;
}

/* How many ids there are: one more than the largest of vocabulary and added tokens. */
static enum hth_status count_ids(struct hth_json_loader *l, const json_t *vocab, const json_t *added, size_t *n)
{
	size_t count = json_object_size(vocab) + json_array_size(vocab) + json_array_size(added), id, i;
	const char *text;
	json_t *v;
	enum hth_status st;

	*n = json_array_size(vocab);
	json_object_foreach((json_t *)vocab, text, v)
	{
		if ((st = check_id(l, v, count, "model.vocab", &id)) != HTH_OK)
			return st;
		*n = id + 1 > *n ? id + 1 : *n;
	}
	json_array_foreach((json_t *)added, i, v)
	{
		if ((st = check_id(l, json_object_get(v, "id"), count, "added_tokens", &id)) != HTH_OK)
			return st;
		*n = id + 1 > *n ? id + 1 : *n;
	}
	if (*n == 0)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: no tokens", hth_json_at(l, "model.vocab"));
	return HTH_OK;
}

static enum hth_status read_vocab(struct hth_json_loader *l, const json_t *vocab)
{
	struct hth_tokenizer *t = l->t;
	const char *text;
	json_t *v;

	json_object_foreach((json_t *)vocab, text, v)
	{
		size_t id = (size_t)json_integer_value(v);
		enum hth_status st = hth_vocab_set(&t->vocab, &t->arena, id, text, strlen(text),
						   hth_json_at(l, "model.vocab"), l->err);
		if (st != HTH_OK)
			return st;
		t->vocab.tokens[id].flags |= HTH_TOKEN_MODEL;
	}
	return HTH_OK;
}

/* "a b" or ["a", "b"]. */
static enum hth_status read_merge(struct hth_json_loader *l, const json_t *v, size_t rank)
{
	const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
	const char *left = json_string_value(a), *right = json_string_value(b), *space;
	size_t left_bytes = json_string_length(a), right_bytes = json_string_length(b);

	if (json_is_string(v)) {
		left = json_string_value(v);
		space = strchr(left, ' ');
		if (space == NULL || strchr(space + 1, ' ') != NULL || strlen(left) != json_string_length(v))
			return hth_fail(l->err, HTH_ERR_FORMAT, "%s: merge %zu: expected two tokens and a space",
					hth_json_at(l, "model.merges"), rank);
		left_bytes = (size_t)(space - left);
		right = space + 1;
		right_bytes = strlen(right);
	} else if (json_array_size(v) != 2 || left == NULL || right == NULL) {
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: merge %zu: expected two tokens",
				hth_json_at(l, "model.merges"), rank);
	}
	return hth_tokenizer_add_merge(l->t, left, left_bytes, right, right_bytes, rank, hth_json_at(l, "model.merges"),
				       l->err);
}

static enum hth_status read_merges(struct hth_json_loader *l, const json_t *merges)
{
	json_t *v;
	size_t rank;

	if (!json_is_array(merges))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected a list", hth_json_at(l, "model.merges"));
	enum hth_status st = hth_bpe_init(&l->t->bpe, &l->t->arena, json_array_size(merges), l->err);
	json_array_foreach((json_t *)merges, rank, v)
	{
		if (st == HTH_OK)
			st = read_merge(l, v, rank);
	}
	return st;
}

static enum hth_status read_unk(struct hth_json_loader *l, const json_t *model)
{
	const char *unk;
	enum hth_status st = hth_json_str(model, "unk_token", NULL, &unk, hth_json_at(l, "model"), l->err);

	if (st != HTH_OK || unk == NULL)
		return st;
	l->t->unk = hth_tokenizer_model_id(l->t, unk, strlen(unk));
	if (l->t->unk < 0)
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: not in the vocabulary", hth_json_at(l, "model.unk_token"));
	return HTH_OK;
}

static enum hth_status read_bpe(struct hth_json_loader *l, const json_t *model)
{
	static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
	struct hth_tokenizer *t = l->t;
	const char *where = hth_json_at(l, "model"), *affix;
	double dropout;
	enum hth_status st;

	for (size_t i = 0; i < 2; i++) {
		if ((st = hth_json_str(model, affixes[i], NULL, &affix, where, l->err)) != HTH_OK)
			return st;
		if (affix != NULL && affix[0] != '\0')
			return hth_fail(l->err, HTH_ERR_UNAVAILABLE, "%s: %s is not supported", where, affixes[i]);
	}
	if ((st = hth_json_real(model, "dropout", 0, 1, 0, &dropout, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(model, "ignore_merges", false, &t->ignore_merges, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(model, "byte_fallback", false, &t->byte_fallback, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(model, "fuse_unk", false, &t->fuse_unk, where, l->err)) != HTH_OK ||
	    (st = read_unk(l, model)) != HTH_OK)
		return st;
	if (dropout > 0)
		return hth_fail(l->err, HTH_ERR_UNAVAILABLE, "%s: BPE dropout is not supported", where);
	return read_merges(l, json_object_get(model, "merges"));
}

/* Since version 0.23 of the library a token decodes to what it looks for; it does so here too, but stays a special one
 * by its own text (there skip_special_tokens no longer knows it). */
static enum hth_status keep_normalized(struct hth_tokenizer *t, int32_t id, const struct hth_aligned *a,
				       struct hth_err *err)
{
	struct hth_token *x = &t->vocab.tokens[id];

	if (a->bytes == x->bytes && memcmp(a->text, x->text, a->bytes) == 0)
		return HTH_OK;
	if (a->bytes > HTH_MAX_TOKEN_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "added token %d has %zu bytes when normalized, at most %zu", id, a->bytes,
				HTH_MAX_TOKEN_BYTES);
	x->raw = hth_arena_strndup(&t->arena, a->text, a->bytes);
	x->raw_bytes = (uint32_t)a->bytes;
	t->vocab.normalized = true;
	return x->raw != NULL ? HTH_OK : hth_fail_memory(err, "a vocabulary", a->bytes);
}

/* Texts of an added-token set; for those matched after normalization, normalized themselves. */
static enum hth_status put_added(struct hth_json_loader *l, const json_t *v, bool normalized, struct hth_norm_work *w)
{
	struct hth_tokenizer *t = l->t;
	const char *where = hth_json_at(l, "added_tokens"), *text;
	struct hth_added_token x = {0};
	size_t bytes;
	bool token_normalized;
	enum hth_status st;

	if ((st = hth_json_need_string(l, v, "content", where, &text, &bytes)) != HTH_OK ||
	    (st = hth_json_bool(v, "special", false, &x.special, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(v, "normalized", !x.special, &token_normalized, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(v, "single_word", false, &x.single_word, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(v, "lstrip", false, &x.lstrip, where, l->err)) != HTH_OK ||
	    (st = hth_json_bool(v, "rstrip", false, &x.rstrip, where, l->err)) != HTH_OK)
		return st;
	if (token_normalized != normalized)
		return HTH_OK;
	x.id = (int32_t)json_integer_value(json_object_get(v, "id"));
	st = hth_vocab_set(&t->vocab, &t->arena, (size_t)x.id, text, bytes, where, l->err);
	if (st != HTH_OK)
		return st;
	if (x.special)
		t->vocab.tokens[x.id].flags |= HTH_TOKEN_SPECIAL;
	struct hth_aligned a = {.text = text, .bytes = bytes, .starts_input = true};
	if (normalized && ((st = hth_norm_run(t->norms, t->n_norms, w, &a, l->err)) != HTH_OK ||
			   (st = keep_normalized(t, x.id, &a, l->err)) != HTH_OK))
		return st;
	return hth_added_put(normalized ? &t->added_normalized : &t->added, &x, a.text, a.bytes, where, l->err);
}

static enum hth_status read_added(struct hth_json_loader *l, const json_t *added)
{
	struct hth_tokenizer *t = l->t;
	struct hth_norm_work w = {0};
	size_t n = json_array_size(added), bytes = 0, i;
	json_t *v;
	enum hth_status st;

	json_array_foreach((json_t *)added, i, v) bytes += json_string_length(json_object_get(v, "content"));
	/* Normalizing may lengthen a text: Replace by a longer one, Prepend. The known files stay far below this. */
	size_t room = bytes * 4 + n * 64;
	if ((st = hth_added_init(&t->added, &t->arena, n, bytes, l->err)) != HTH_OK ||
	    (st = hth_added_init(&t->added_normalized, &t->arena, n, room, l->err)) != HTH_OK)
		return st;
	for (int normalized = 0; normalized < 2; normalized++) {
		json_array_foreach((json_t *)added, i, v)
		{
			if ((st = put_added(l, v, normalized != 0, &w)) != HTH_OK)
				goto done;
		}
	}
done:
	hth_norm_work_clear(&w);
	return st;
}

/* A token that a config names: "<s>" or {"content": "<s>"}. */
static int32_t named_token(const struct hth_tokenizer *t, const json_t *config, const char *key)
{
	const json_t *v = json_object_get(config, key);
	const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);

	return text == NULL ? -1 : hth_tokenizer_id(t, text);
}

/* -1 says "none", and an id above the vocabulary is one that never comes (an embedding has more rows). */
static enum hth_status mark_end(struct hth_json_loader *l, const json_t *v)
{
	json_int_t id = json_integer_value(v);

	if (!json_is_integer(v) || id < -1 || id >= (json_int_t)HTH_MAX_TOKENS)
		return hth_fail(l->err, HTH_ERR_FORMAT,
				"%.*sgeneration_config.json: \"eos_token_id\": expected a token's id or a list of such",
				(int)(hth_path_base(l->path) - l->path), l->path);
	if (id >= 0 && (uint64_t)id < l->t->vocab.n)
		l->t->vocab.tokens[id].flags |= HTH_TOKEN_END;
	return HTH_OK;
}

/* A file beside tokenizer.json; NULL when there is none. One that is broken is an error: what it says of the ends of
 * a turn would be missed only when an answer does not end. */
static enum hth_status read_beside(struct hth_json_loader *l, const char *name, json_t **doc)
{
	size_t dir = (size_t)(hth_path_base(l->path) - l->path), bytes = dir + strlen(name) + 1;
	enum hth_status st = HTH_OK;

	*doc = NULL;
	char *full = hth_alloc(bytes);
	if (full == NULL)
		return hth_fail_memory(l->err, "a path", bytes);
	memcpy(full, l->path, dir);
	memcpy(full + dir, name, strlen(name) + 1);
	if (hth_path_kind(full) == HTH_PATH_FILE)
		st = hth_json_read(full, MAX_CONFIG_BYTES, HTH_JSON_BIG_INT_AS_REAL, doc, l->err);
	if (st == HTH_OK && *doc != NULL && !json_is_object(*doc))
		st = hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected an object", full);
	hth_free(full);
	return st;
}

/* A token id by its key in the GGUF file around; -1 when there is none. */
static enum hth_status gguf_id(struct hth_json_loader *l, const char *key, int32_t *out)
{
	int64_t id = -1;
	enum hth_status st = hth_gguf_int(l->g, key, 0, (int64_t)l->t->vocab.n - 1, -1, &id, l->err);

	*out = (int32_t)id;
	return st;
}

static enum hth_status read_gguf_ids(struct hth_json_loader *l)
{
	static const char *const keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
	enum hth_status st;

	if ((st = gguf_id(l, "tokenizer.ggml.bos_token_id", &l->t->bos)) != HTH_OK ||
	    (st = gguf_id(l, "tokenizer.ggml.eos_token_id", &l->t->eos)) != HTH_OK)
		return st;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		int32_t id;
		if ((st = gguf_id(l, keys[i], &id)) != HTH_OK)
			return st;
		if (id >= 0)
			l->t->vocab.tokens[id].flags |= HTH_TOKEN_END;
	}
	return HTH_OK;
}

static enum hth_status read_configs(struct hth_json_loader *l)
{
	struct hth_tokenizer *t = l->t;
	json_t *v, *config;
	size_t i;

	if (strcmp(hth_path_base(l->path), "tokenizer.json") != 0)
		return HTH_OK;
	enum hth_status st = read_beside(l, "tokenizer_config.json", &config);
	if (st == HTH_OK) {
		t->bos = named_token(t, config, "bos_token");
		t->eos = named_token(t, config, "eos_token");
		json_decref(config);
		st = read_beside(l, "generation_config.json", &config);
	}
	json_t *eos = st == HTH_OK ? json_object_get(config, "eos_token_id") : NULL;
	if (eos != NULL && !json_is_array(eos) && !json_is_null(eos))
		st = mark_end(l, eos);
	json_array_foreach(eos, i, v)
	{
		if (st == HTH_OK)
			st = mark_end(l, v);
	}
	json_decref(config);
	return st;
}

static enum hth_status load(struct hth_json_loader *l, const json_t *doc)
{
	struct hth_tokenizer *t = l->t;
	const json_t *model = json_object_get(doc, "model"), *vocab = json_object_get(model, "vocab");
	const json_t *added = json_object_get(doc, "added_tokens");
	const char *type;
	char quoted[64];
	size_t n;
	bool list = json_is_array(vocab);
	enum hth_status st = hth_json_str(model, "type", list ? "Unigram" : "BPE", &type, hth_json_at(l, "model"), l->err);

	if (st != HTH_OK)
		return st;
	bool unigram = strcmp(type, "Unigram") == 0;
	if (strcmp(type, "BPE") != 0 && !unigram)
		return hth_fail(l->err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\" is not supported, only \"BPE\" and \"Unigram\" are", hth_json_at(l, "model.type"),
				hth_quote(quoted, sizeof(quoted), type, strlen(type)));
	if (unigram ? !list : !json_is_object(vocab))
		return hth_fail(l->err, HTH_ERR_FORMAT, "%s: expected %s of tokens", hth_json_at(l, "model.vocab"),
				unigram ? "a list" : "an object");
	if ((st = count_ids(l, vocab, added, &n)) != HTH_OK ||
	    (st = hth_vocab_init(&t->vocab, &t->arena, n, l->err)) != HTH_OK ||
	    (st = unigram ? hth_json_read_unigram_vocab(l, vocab) : read_vocab(l, vocab)) != HTH_OK ||
	    (st = hth_json_read_normalizer(l, json_object_get(doc, "normalizer"), 0)) != HTH_OK ||
	    (st = hth_json_read_pretok(l, json_object_get(doc, "pre_tokenizer"), 0)) != HTH_OK ||
	    (st = hth_json_read_decoder(l, json_object_get(doc, "decoder"))) != HTH_OK)
		return st;
	t->kind = unigram ? HTH_MODEL_UNIGRAM : t->pretok.bytes ? HTH_MODEL_BPE_BYTES : HTH_MODEL_BPE_CHARS;
	if ((st = unigram ? hth_json_read_unigram(l, model) : read_bpe(l, model)) != HTH_OK ||
	    (st = read_added(l, added)) != HTH_OK ||
	    (st = hth_json_read_post(l, json_object_get(doc, "post_processor"), 0)) != HTH_OK)
		return st;
	if ((st = l->g == NULL ? read_configs(l) : read_gguf_ids(l)) != HTH_OK)
		return st;
	return hth_tokenizer_finish(t, l->replace, l->n_replace, "", l->err);
}

static enum hth_status load_parsed(struct hth_json_loader *l, const json_t *doc, struct hth_tokenizer **out)
{
	enum hth_status st = hth_tokenizer_new(&l->t, l->err);

	if (st == HTH_OK)
		st = load(l, doc);
	if (st != HTH_OK)
		hth_tokenizer_free(l->t);
	else
		*out = l->t;
	return st;
}

enum hth_status hth_tokenizer_from_json(const char *path, struct hth_tokenizer **out, struct hth_err *err)
{
	struct hth_json_loader l = {.path = path, .err = err};
	json_t *doc = NULL;

	*out = NULL;
	enum hth_status st = hth_json_read(path, MAX_FILE_BYTES, HTH_JSON_STRICT, &doc, err);
	if (st == HTH_OK)
		st = load_parsed(&l, doc, out);
	json_decref(doc);
	return st;
}

enum hth_status hth_tokenizer_from_json_in(const struct hth_gguf *g, struct hth_gguf_str text, const char *path,
					   struct hth_tokenizer **out, struct hth_err *err)
{
	struct hth_json_loader l = {.path = path, .err = err, .g = g};
	json_t *doc = NULL;

	*out = NULL;
	if (text.bytes > MAX_FILE_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: a tokenizer of %zu bytes, expected at most %zu", path,
				text.bytes, (size_t)MAX_FILE_BYTES);
	enum hth_status st = hth_json_parse(text.data, text.bytes, HTH_JSON_STRICT, path, &doc, err);
	if (st == HTH_OK)
		st = load_parsed(&l, doc, out);
	json_decref(doc);
	return st;
}
