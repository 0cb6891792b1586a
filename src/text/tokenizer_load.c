/* What both sources share once they are read: tables derived from the vocabulary, ends of turns by name, and the
 * small questions of tokenizer.h. */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <stdio.h>
#include <string.h>

/* Twice what the largest known tokenizer needs; a file cannot make us allocate more than a multiple of its size. */
#define MAX_ARENA_BYTES ((size_t)2 << 30)

/* Names of tokens that end a turn in some family, the likelier eos first. */
static const char *const end_names[] = {
	"<|im_end|>",
	"<|eot_id|>",
	"<end_of_turn>",
	"<|end|>",
	"<turn|>",
	"<|eot|>",
	"<|end_of_turn|>",
	"<|return|>",
	"<|END_OF_TURN_TOKEN|>",
	"<|endofturn|>",
	"<end_of_utterance>",
	"<|EOT|>",
	"<EOT>",
	"</s>",
	"<|endoftext|>",
	"<|end_of_text|>",
	"<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
	"<eos>",
	"[EOS]",
	"<|eom_id|>",
	"<|eom|>",
	"<|call|>",
	"<eod>",
};
static const char *const begin_names[] = {
	"<s>", "<|begin_of_text|>", "<bos>", "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>", "<|startoftext|>", "[BOS]",
};

enum hth_status hth_tokenizer_new(struct hth_tokenizer **out, struct hth_err *err)
{
	struct hth_tokenizer *t = hth_calloc(1, sizeof(*t));

	*out = t;
	if (t == NULL)
		return hth_fail_memory(err, "a tokenizer", sizeof(*t));
	hth_arena_init(&t->arena, MAX_ARENA_BYTES);
	t->unk = t->bos = t->eos = -1;
	return HTH_OK;
}

void hth_tokenizer_free(struct hth_tokenizer *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n_norms; i++)
		hth_pattern_clear(&t->norms[i].pattern);
	hth_pretok_clear(&t->pretok);
	hth_arena_clear(&t->arena);
	hth_free(t);
}

static enum hth_status unknown_part(const char *where, size_t rank, const char *text, size_t bytes, const char *what,
				    struct hth_err *err)
{
	char quoted[96];
	return hth_fail(err, HTH_ERR_FORMAT, "%s: merge %zu %s \"%s\", which is no token", where, rank, what,
			hth_quote(quoted, sizeof(quoted), text, bytes));
}

enum hth_status hth_tokenizer_add_merge(struct hth_tokenizer *t, const char *left, size_t left_bytes, const char *right,
					size_t right_bytes, size_t rank, const char *where, struct hth_err *err)
{
	char joined[1024], *text = joined;
	size_t bytes = left_bytes + right_bytes;
	int32_t l = hth_tokenizer_model_id(t, left, left_bytes), r = hth_tokenizer_model_id(t, right, right_bytes);

	if (l < 0)
		return unknown_part(where, rank, left, left_bytes, "names", err);
	if (r < 0)
		return unknown_part(where, rank, right, right_bytes, "names", err);
	if (bytes > sizeof(joined) && (text = hth_alloc(bytes)) == NULL)
		return hth_fail_memory(err, "a merge", bytes);
	memcpy(text, left, left_bytes);
	memcpy(text + left_bytes, right, right_bytes);
	int32_t id = hth_tokenizer_model_id(t, text, bytes);
	enum hth_status st = id >= 0 ? HTH_OK : unknown_part(where, rank, text, bytes, "makes", err);
	if (text != joined)
		hth_free(text);
	if (st == HTH_OK)
		hth_bpe_add(&t->bpe, l, r, (uint32_t)rank, id);
	return st;
}

int hth_byte_token(const char *text, size_t bytes)
{
	int v = 0;

	if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
		return -1;
	for (int i = 3; i < 5; i++) {
		char c = text[i];
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
					       : -1;
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Stand-ins to bytes; a token with any other character stays as it is written. */
static bool raw_of_bytes(struct hth_token *x, struct hth_arena *a)
{
	char *raw = hth_arena_alloc(a, (size_t)x->raw_bytes + 1);
	size_t n = 0, used;

	if (raw == NULL)
		return false;
	for (size_t at = 0; at < x->raw_bytes; at += used) {
		int byte = hth_stand_in_byte(hth_utf8_next(x->raw + at, x->raw_bytes - at, &used));
		if (byte < 0)
			return true;
		raw[n++] = (char)byte;
	}
	raw[n] = '\0';
	x->raw = raw;
	x->raw_bytes = (uint32_t)n;
	return true;
}

static bool raw_of_replace(struct hth_token *x, struct hth_arena *a, const struct hth_replace *r)
{
	size_t what = strlen(r->what), with = strlen(r->with), hits = 0, n = 0;

	for (size_t at = 0; at + what <= x->raw_bytes;) {
		bool hit = memcmp(x->raw + at, r->what, what) == 0;
		hits += hit;
		at += hit ? what : 1;
	}
	if (hits == 0)
		return true;
	char *raw = hth_arena_alloc(a, x->raw_bytes + hits * with + 1);
	if (raw == NULL)
		return false;
	for (size_t at = 0; at < x->raw_bytes;) {
		if (at + what <= x->raw_bytes && memcmp(x->raw + at, r->what, what) == 0) {
			memcpy(raw + n, r->with, with);
			n += with;
			at += what;
		} else {
			raw[n++] = x->raw[at++];
		}
	}
	raw[n] = '\0';
	x->raw = raw;
	x->raw_bytes = (uint32_t)n;
	return true;
}

static enum hth_status set_raw(struct hth_tokenizer *t, const struct hth_replace *replace, size_t n_replace,
			       struct hth_err *err)
{
	for (size_t id = 0; id < t->vocab.n; id++) {
		struct hth_token *x = &t->vocab.tokens[id];
		bool ok = true;
		if (x->text == NULL)
			continue;
		if (t->decoder.byte_level)
			ok = raw_of_bytes(x, &t->arena);
		for (size_t k = 0; ok && k < n_replace; k++)
			ok = raw_of_replace(x, &t->arena, &replace[k]);
		if (!ok)
			return hth_fail_memory(err, "a vocabulary's texts", x->bytes);
		int byte = t->decoder.byte_fallback ? hth_byte_token(x->raw, x->raw_bytes) : -1;
		if (byte >= 0) {
			x->flags |= HTH_TOKEN_BYTE;
			x->byte = (uint8_t)byte;
		}
	}
	return HTH_OK;
}

static void set_byte_tables(struct hth_tokenizer *t)
{
	for (unsigned b = 0; b < 256; b++) {
		char text[8];
		size_t n = t->kind == HTH_MODEL_BPE_BYTES ? hth_utf8_put(hth_byte_stand_in((unsigned char)b), text)
							  : (size_t)snprintf(text, sizeof(text), "<0x%02X>", b);
		t->byte_ids[b] = hth_tokenizer_model_id(t, text, n);
	}
	for (unsigned c = 0; c < 128; c++) {
		char text = (char)c;
		t->ascii_ids[c] = hth_tokenizer_model_id(t, &text, 1);
	}
}

/* After which bytes a token goes on with a word sign. Where unknown characters are dropped, or "<unk>" and "<0x0A>" may be
 * in merges with a sign, the byte before does not tell what stands before it. */
static void set_word_cuts(struct hth_tokenizer *t)
{
	bool all = t->unk >= 0 || t->byte_fallback;

	for (unsigned b = 0; t->unk < 0 && b < 256; b++)
		all = all && t->byte_ids[b] >= 0;
	t->cuts_words = t->kind == HTH_MODEL_BPE_CHARS && hth_tokenizer_model_id(t, HTH_WORD_SIGN, 3) >= 0 && all;
	for (size_t id = 0; t->cuts_words && id < t->vocab.n; id++) {
		const struct hth_token *x = &t->vocab.tokens[id];
		for (size_t i = 1; x->text != NULL && i + 3 <= x->bytes; i++) {
			if (memcmp(x->text + i, HTH_WORD_SIGN, 3) != 0)
				continue;
			if (i < 3 || memcmp(x->text + i - 3, HTH_WORD_SIGN, 3) != 0)
				t->joins_sign[(unsigned char)x->text[i - 1]] = true;
		}
	}
	t->cuts_words = t->cuts_words && !t->joins_sign['>'];
}

static int32_t special_by_name(const struct hth_tokenizer *t, const char *name)
{
	int32_t id = hth_vocab_find(&t->vocab, &t->vocab.by_text, name, strlen(name));
	return id >= 0 && (t->vocab.tokens[id].flags & HTH_TOKEN_SPECIAL) != 0 ? id : -1;
}

static void set_ends(struct hth_tokenizer *t)
{
	for (size_t i = 0; i < sizeof(end_names) / sizeof(*end_names); i++) {
		int32_t id = special_by_name(t, end_names[i]);
		if (id < 0)
			continue;
		t->vocab.tokens[id].flags |= HTH_TOKEN_END;
		if (t->eos < 0)
			t->eos = id;
	}
	if (t->bos < 0 && t->n_prefix > 0)
		t->bos = t->prefix[0];
	for (size_t i = 0; t->bos < 0 && i < sizeof(begin_names) / sizeof(*begin_names); i++)
		t->bos = special_by_name(t, begin_names[i]);
	if (t->eos >= 0)
		t->vocab.tokens[t->eos].flags |= HTH_TOKEN_END;
}

enum hth_status hth_tokenizer_finish(struct hth_tokenizer *t, const struct hth_replace *replace, size_t n_replace,
				     const char *family, struct hth_err *err)
{
	static const char *const kinds[] = {"byte-level BPE", "SentencePiece BPE", "unigram"};
	enum hth_status st = set_raw(t, replace, n_replace, err);

	if (st == HTH_OK && t->ignore_merges && t->kind == HTH_MODEL_BPE_BYTES && t->decoder.byte_level &&
	    !t->vocab.normalized)
		st = hth_vocab_index_raw(&t->vocab, &t->arena, err);
	if (st != HTH_OK)
		return st;
	set_byte_tables(t);
	set_word_cuts(t);
	set_ends(t);
	snprintf(t->describe, sizeof(t->describe), "%s%s%.40s, %zu tokens", kinds[t->kind],
		 family[0] != '\0' ? " " : "", family, t->vocab.n);
	return HTH_OK;
}

enum hth_status hth_tokenizer_pad(struct hth_tokenizer *t, int64_t n, struct hth_err *err)
{
	if (n <= (int64_t)t->vocab.n)
		return HTH_OK;
	if (n > (int64_t)HTH_MAX_TOKENS)
		return hth_fail(err, HTH_ERR_LIMIT, "a vocabulary of %lld tokens, expected at most %zu", (long long)n,
				(size_t)HTH_MAX_TOKENS);
	struct hth_token *tokens = hth_arena_calloc(&t->arena, (size_t)n, sizeof(*tokens)); /* (n) */
	if (tokens == NULL)
		return hth_fail_memory(err, "a vocabulary", (size_t)n * sizeof(*tokens));
	memcpy(tokens, t->vocab.tokens, t->vocab.n * sizeof(*tokens));
	t->vocab.tokens = tokens;
	t->vocab.n = (size_t)n;
	return HTH_OK;
}

int32_t hth_tokenizer_size(const struct hth_tokenizer *t)
{
	return (int32_t)t->vocab.n;
}

int32_t hth_tokenizer_id(const struct hth_tokenizer *t, const char *token)
{
	return hth_vocab_find(&t->vocab, &t->vocab.by_text, token, strlen(token));
}

const char *hth_tokenizer_token(const struct hth_tokenizer *t, int32_t id, size_t *bytes)
{
	if (id < 0 || (size_t)id >= t->vocab.n)
		return NULL;
	if (bytes != NULL)
		*bytes = t->vocab.tokens[id].bytes;
	return t->vocab.tokens[id].text;
}

static bool has_flag(const struct hth_tokenizer *t, int32_t id, int flag)
{
	return id >= 0 && (size_t)id < t->vocab.n && (t->vocab.tokens[id].flags & flag) != 0;
}

bool hth_tokenizer_is_special(const struct hth_tokenizer *t, int32_t id)
{
	return has_flag(t, id, HTH_TOKEN_SPECIAL);
}

bool hth_tokenizer_is_end(const struct hth_tokenizer *t, int32_t id)
{
	return has_flag(t, id, HTH_TOKEN_END);
}

int32_t hth_tokenizer_bos(const struct hth_tokenizer *t)
{
	return t->bos;
}

int32_t hth_tokenizer_eos(const struct hth_tokenizer *t)
{
	return t->eos;
}

const char *hth_tokenizer_describe(const struct hth_tokenizer *t)
{
	return t->describe;
}
