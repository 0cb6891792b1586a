/* Encoding: added tokens cut the text first, then normalizer, pre-tokenizer and model work on what lies between.
 * Loading is in tokenizer_gguf.c and tokenizer_json.c, decoding in tokenizer_decode.c. */
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <string.h>

#define MAX_TEXT_BYTES ((size_t)1 << 30)

/* One call's state. */
struct encoder {
	const struct hth_tokenizer *t;
	bool parse_special;
	struct hth_tokens *out;
	struct hth_norm_work norm;
	struct hth_pretok_work pretok;
	struct hth_bpe_work bpe;
	struct hth_unigram_work unigram;
	struct hth_err *err;
};

void hth_tokens_clear(struct hth_tokens *t)
{
	hth_free(t->ids);
	hth_free(t->starts);
	hth_free(t->ends);
	*t = (struct hth_tokens){0};
}

static bool push_token(struct hth_tokens *t, int32_t id, uint32_t start, uint32_t end)
{
	if (t->n == t->cap) {
		size_t cap = t->cap < 64 ? 64 : t->cap * 2;
		int32_t *ids = hth_realloc(t->ids, cap, sizeof(*ids));
		if (ids != NULL)
			t->ids = ids;
		uint32_t *starts = ids == NULL ? NULL : hth_realloc(t->starts, cap, sizeof(*starts));
		if (starts != NULL)
			t->starts = starts;
		uint32_t *ends = starts == NULL ? NULL : hth_realloc(t->ends, cap, sizeof(*ends));
		if (ends == NULL)
			return false;
		t->ends = ends;
		t->cap = cap;
	}
	t->ids[t->n] = id;
	t->starts[t->n] = start;
	t->ends[t->n] = end;
	t->n++;
	return true;
}

static enum hth_status out_of_memory(struct encoder *e)
{
	return hth_fail_memory(e->err, "the tokens of a text", e->out->n * 12);
}

/* The merged symbols of a piece as tokens. */
static enum hth_status push_symbols(struct encoder *e, const struct hth_aligned *a)
{
	for (size_t i = 0; i < e->bpe.n; i++) {
		const struct hth_bpe_symbol *s = &e->bpe.symbols[i];
		if (!push_token(e->out, s->id, hth_aligned_from(a, s->start), hth_aligned_to(a, s->end - 1)))
			return out_of_memory(e);
	}
	return HTH_OK;
}

/* Unknown characters wait here: neighbours become one token with fuse_unk. */
struct unknown {
	bool waiting;
	uint32_t start, end;
};

static bool flush_unknown(struct encoder *e, struct unknown *u)
{
	bool ok = !u->waiting || hth_bpe_push(&e->bpe, e->t->unk, u->start, u->end);
	u->waiting = false;
	return ok;
}

/* One more unknown character: beside those that wait, or after them. */
static bool wait_unknown(struct encoder *e, struct unknown *u, uint32_t start, uint32_t end)
{
	if (!e->t->fuse_unk && !flush_unknown(e, u))
		return false;
	u->start = u->waiting ? u->start : start;
	u->end = end;
	u->waiting = true;
	return true;
}

/* The token that a piece is as a whole; -1: none. */
static int32_t whole_word(const struct hth_tokenizer *t, const char *text, size_t bytes)
{
	char stand_ins[2 * HTH_MAX_TOKEN_BYTES];
	size_t n = 0;

	if (t->vocab.by_raw.slots != NULL)
		return hth_vocab_find(&t->vocab, &t->vocab.by_raw, text, bytes);
	if (bytes > HTH_MAX_TOKEN_BYTES)
		return -1;
	for (size_t i = 0; i < bytes; i++)
		n += hth_utf8_put(hth_byte_stand_in((unsigned char)text[i]), stand_ins + n);
	return hth_tokenizer_model_id(t, stand_ins, n);
}

static enum hth_status encode_bytes(struct encoder *e, const struct hth_aligned *a, struct hth_piece p)
{
	const struct hth_tokenizer *t = e->t;
	struct unknown u = {0};

	if (t->ignore_merges) {
		int32_t id = whole_word(t, a->text + p.start, p.end - p.start);
		if (id >= 0) {
			bool ok = push_token(e->out, id, hth_aligned_from(a, p.start), hth_aligned_to(a, p.end - 1));
			return ok ? HTH_OK : out_of_memory(e);
		}
	}
	hth_bpe_reset(&e->bpe);
	for (uint32_t i = p.start; i < p.end; i++) {
		int32_t id = t->byte_ids[(unsigned char)a->text[i]];
		bool ok = true;
		if (id >= 0)
			ok = flush_unknown(e, &u) && hth_bpe_push(&e->bpe, id, i, i + 1);
		else if (t->unk >= 0)
			ok = wait_unknown(e, &u, i, i + 1);
		if (!ok)
			return out_of_memory(e);
	}
	if (!flush_unknown(e, &u))
		return out_of_memory(e);
	enum hth_status st = hth_bpe_merge(&t->bpe, &e->bpe, e->err);
	return st == HTH_OK ? push_symbols(e, a) : st;
}

/* A character's fallback bytes, when the vocabulary has them all. As in the reference they go before unknown characters
 * that wait; so that tokens stay in the order of their places, either then comes from the place of both. */
static bool push_fallback(struct encoder *e, const char *text, uint32_t start, uint32_t end, struct unknown *u,
			  bool *pushed)
{
	*pushed = false;
	for (uint32_t i = start; i < end; i++) {
		if (e->t->byte_ids[(unsigned char)text[i]] < 0)
			return true;
	}
	for (uint32_t i = start; i < end; i++) {
		if (!hth_bpe_push(&e->bpe, e->t->byte_ids[(unsigned char)text[i]], u->waiting ? u->start : i, i + 1))
			return false;
	}
	u->end = end;
	*pushed = true;
	return true;
}

static enum hth_status encode_word(struct encoder *e, const struct hth_aligned *a, uint32_t start, uint32_t end)
{
	const struct hth_tokenizer *t = e->t;
	struct unknown u = {0};
	size_t used = 1;

	hth_bpe_reset(&e->bpe);
	for (uint32_t at = start; at < end; at += (uint32_t)used) {
		unsigned char c = (unsigned char)a->text[at];
		bool pushed = false;
		used = 1;
		if (c >= 0x80)
			(void)hth_utf8_next(a->text + at, end - at, &used);
		uint32_t next = at + (uint32_t)used;
		int32_t id = c < 0x80 ? t->ascii_ids[c] : hth_tokenizer_model_id(t, a->text + at, used);
		if (id >= 0) {
			if (!flush_unknown(e, &u) || !hth_bpe_push(&e->bpe, id, at, next))
				return out_of_memory(e);
			continue;
		}
		if (t->byte_fallback && !push_fallback(e, a->text, at, next, &u, &pushed))
			return out_of_memory(e);
		if (pushed || t->unk < 0)
			continue;
		if (!wait_unknown(e, &u, at, next))
			return out_of_memory(e);
	}
	if (!flush_unknown(e, &u))
		return out_of_memory(e);
	enum hth_status st = hth_bpe_merge(&t->bpe, &e->bpe, e->err);
	return st == HTH_OK ? push_symbols(e, a) : st;
}

/* A piece may be a whole text. Where no token holds "x" + word sign, nothing merges across that place, so that words
 * can be merged one by one: the same tokens for less work. */
static enum hth_status encode_chars(struct encoder *e, const struct hth_aligned *a, struct hth_piece p)
{
	const struct hth_tokenizer *t = e->t;
	uint32_t start = p.start;

	if (t->ignore_merges) {
		int32_t id = hth_tokenizer_model_id(t, a->text + p.start, p.end - p.start);
		if (id >= 0) {
			bool ok = push_token(e->out, id, hth_aligned_from(a, p.start), hth_aligned_to(a, p.end - 1));
			return ok ? HTH_OK : out_of_memory(e);
		}
	}
	for (uint32_t i = p.start + 1; t->cuts_words && i + 3 <= p.end; i++) {
		unsigned char before = (unsigned char)a->text[i - 1];
		if (a->text[i] != HTH_WORD_SIGN[0] || memcmp(a->text + i, HTH_WORD_SIGN, 3) != 0 ||
		    t->joins_sign[before])
			continue;
		if (i - start >= 3 && memcmp(a->text + i - 3, HTH_WORD_SIGN, 3) == 0)
			continue;
		enum hth_status st = encode_word(e, a, start, i);
		if (st != HTH_OK)
			return st;
		start = i;
	}
	return encode_word(e, a, start, p.end);
}

/* A run of unknown characters: bytes, or one unknown token. */
static enum hth_status push_unknown(struct encoder *e, const struct hth_aligned *a, uint32_t start, uint32_t end)
{
	const struct hth_tokenizer *t = e->t;
	uint32_t from = hth_aligned_from(a, start), to = hth_aligned_to(a, end - 1);
	int32_t id = t->unknown_by_text ? hth_tokenizer_model_id(t, a->text + start, end - start) : -1;
	bool bytes = id < 0 && t->byte_fallback;

	for (uint32_t i = start; bytes && i < end; i++)
		bytes = t->byte_ids[(unsigned char)a->text[i]] >= 0;
	for (uint32_t i = start; bytes && i < end; i++) {
		if (!push_token(e->out, t->byte_ids[(unsigned char)a->text[i]], from, to))
			return out_of_memory(e);
	}
	if (!bytes && !push_token(e->out, id >= 0 ? id : t->unk, from, to))
		return out_of_memory(e);
	return HTH_OK;
}

static enum hth_status encode_unigram(struct encoder *e, const struct hth_aligned *a, struct hth_piece p)
{
	hth_bpe_reset(&e->bpe);
	enum hth_status st = hth_unigram_cut(&e->t->unigram, &e->unigram, a->text, p.start, p.end, &e->bpe, e->err);
	const struct hth_bpe_symbol *s = e->bpe.symbols;

	for (size_t i = 0, next; st == HTH_OK && i < e->bpe.n; i = next) {
		next = i + 1;
		if (s[i].id >= 0 && s[i].id != e->t->unk) {
			if (!push_token(e->out, s[i].id, hth_aligned_from(a, s[i].start), hth_aligned_to(a, s[i].end - 1)))
				st = out_of_memory(e);
			continue;
		}
		while (next < e->bpe.n && (s[next].id < 0 || s[next].id == e->t->unk))
			next++;
		st = push_unknown(e, a, s[i].start, s[next - 1].end);
	}
	return st;
}

static enum hth_status encode_piece(struct encoder *e, const struct hth_aligned *a, struct hth_piece p)
{
	switch (e->t->kind) {
	case HTH_MODEL_BPE_BYTES:
		return encode_bytes(e, a, p);
	case HTH_MODEL_BPE_CHARS:
		return encode_chars(e, a, p);
	case HTH_MODEL_UNIGRAM:
		break;
	}
	return encode_unigram(e, a, p);
}

static enum hth_status encode_plain(struct encoder *e, const struct hth_aligned *a)
{
	enum hth_status st = hth_pretok_run(&e->t->pretok, &e->pretok, a, e->err);

	for (size_t i = 0; st == HTH_OK && i < e->pretok.n; i++)
		st = encode_piece(e, &e->pretok.text, e->pretok.pieces[i]);
	return st;
}

static struct hth_aligned slice(const struct hth_aligned *a, size_t start, size_t end)
{
	struct hth_aligned s = *a;

	s.text += start;
	s.bytes = end - start;
	s.base += (uint32_t)start;
	if (s.from != NULL) {
		s.from += start;
		s.to += start;
	}
	return s;
}

static bool is_whole_word(const struct hth_aligned *a, size_t start, size_t end)
{
	size_t used, before = start == 0 ? 0 : hth_char_before(a->text, start);

	if (start > 0 && hth_unicode_is_word(hth_utf8_next(a->text + before, start - before, &used)))
		return false;
	return end == a->bytes || !hth_unicode_is_word(hth_utf8_next(a->text + end, a->bytes - end, &used));
}

/* Widens a match over the white space that its token takes with it, to the left no further than `floor`. A match may
 * begin inside the white space that the one before it took: both count, as in the reference, but for one that takes what
 * is left of it and finds nothing. */
static void take_spaces(const struct hth_added_token *x, const struct hth_aligned *a, size_t floor, size_t *start,
			size_t *end)
{
	size_t used;

	while (x->lstrip && *start > floor) {
		size_t i = hth_char_before(a->text, *start);
		if (!hth_unicode_is_space(hth_utf8_next(a->text + i, *start - i, &used)))
			break;
		*start = i;
	}
	if (x->lstrip && *start < floor)
		*start = floor;
	while (x->rstrip && *end < a->bytes &&
	       hth_unicode_is_space(hth_utf8_next(a->text + *end, a->bytes - *end, &used)))
		*end += used;
}

typedef enum hth_status (*between_fn)(struct encoder *e, const struct hth_aligned *a);

/* Cuts a by the added tokens of x; what lies between goes to `between`. */
static enum hth_status cut_added(struct encoder *e, const struct hth_added *x, const struct hth_aligned *a,
				 between_fn between)
{
	size_t done = 0, from = 0, start, end;
	const struct hth_added_token *found;
	enum hth_status st = HTH_OK;

	while ((found = hth_added_next(x, a->text, a->bytes, from, &start, &end)) != NULL) {
		from = end; /* a match that does not count is passed over all the same */
		if ((found->special && !e->parse_special) || (found->single_word && !is_whole_word(a, start, end)))
			continue;
		take_spaces(found, a, done, &start, &end);
		if (start >= end) {
			done = end;
			continue;
		}
		if (start > done) {
			struct hth_aligned part = slice(a, done, start);
			if ((st = between(e, &part)) != HTH_OK)
				return st;
		}
		if (!push_token(e->out, found->id, hth_aligned_from(a, start), hth_aligned_to(a, end - 1)))
			return out_of_memory(e);
		done = end;
	}
	if (done < a->bytes) {
		struct hth_aligned part = slice(a, done, a->bytes);
		st = between(e, &part);
	}
	return st;
}

static enum hth_status encode_unnormalized(struct encoder *e, const struct hth_aligned *a)
{
	struct hth_aligned text = *a;
	enum hth_status st = hth_norm_run(e->t->norms, e->t->n_norms, &e->norm, &text, e->err);

	if (st != HTH_OK || text.bytes == 0)
		return st;
	return cut_added(e, &e->t->added_normalized, &text, encode_plain);
}

/* A valid copy of a text that is not UTF-8: each broken piece becomes U+FFFD, which comes from the whole piece. */
static void repair(const char *text, size_t bytes, struct hth_mapped *out)
{
	struct hth_aligned a = {.text = text, .bytes = bytes};

	for (size_t at = 0, n; at < bytes; at += n) {
		bool valid, cut;
		n = hth_utf8_sequence(text + at, bytes - at, &valid, &cut);
		if (valid)
			hth_mapped_copy(out, &a, at, at + n);
		else
			hth_mapped_put(out, "\xEF\xBF\xBD", 3, (uint32_t)at, (uint32_t)(at + n));
	}
}

static enum hth_status push_affix(struct encoder *e, const int32_t *ids, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++) {
		if (!push_token(e->out, ids[i], (uint32_t)at, (uint32_t)at))
			return out_of_memory(e);
	}
	return HTH_OK;
}

enum hth_status hth_tokenizer_encode(const struct hth_tokenizer *t, const char *text, size_t bytes, int flags,
				     struct hth_tokens *out, struct hth_err *err)
{
	struct encoder e = {.t = t, .parse_special = (flags & HTH_ENCODE_PARSE_SPECIAL) != 0, .out = out, .err = err};
	struct hth_mapped repaired = {0};
	struct hth_aligned a = {.text = text, .bytes = bytes, .starts_input = true};
	bool affix = (flags & HTH_ENCODE_ADD_SPECIAL) != 0;
	enum hth_status st = HTH_OK;

	if (bytes > MAX_TEXT_BYTES)
		return hth_fail(err, HTH_ERR_LIMIT, "a text of %zu bytes, at most 1 GiB can be tokenized at once",
				bytes);
	if (bytes > 0 && !hth_utf8_valid(text, bytes)) {
		repair(text, bytes, &repaired);
		if (repaired.failed) {
			st = hth_fail_memory(err, "a text", bytes);
			goto done;
		}
		a = hth_mapped_view(&repaired);
		a.starts_input = true;
	}
	if (affix)
		st = push_affix(&e, t->prefix, t->n_prefix, 0);
	if (st == HTH_OK && bytes > 0)
		st = cut_added(&e, &t->added, &a, encode_unnormalized);
	if (st == HTH_OK && affix)
		st = push_affix(&e, t->suffix, t->n_suffix, bytes);
done:
	hth_norm_work_clear(&e.norm);
	hth_pretok_work_clear(&e.pretok);
	hth_bpe_work_clear(&e.bpe);
	hth_unigram_work_clear(&e.unigram);
	hth_mapped_clear(&repaired);
	return st;
}
