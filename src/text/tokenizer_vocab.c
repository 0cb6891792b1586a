/* The vocabulary: tokens by id and by text, and the two UTF-8 walks that Python and Rust share (replacing what is
 * broken). */
#include "base/hash.h"
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <string.h>

static const char *text_of(const struct hth_token *t, bool raw, size_t *bytes)
{
	*bytes = raw ? t->raw_bytes : t->bytes;
	return raw ? t->raw : t->text;
}

static enum hth_status init_index(struct hth_token_index *x, struct hth_arena *a, size_t n, bool raw,
				  struct hth_err *err)
{
	size_t slots = 16;

	while (slots / 2 < n)
		slots *= 2;
	x->slots = hth_arena_calloc(a, slots, sizeof(*x->slots));
	if (x->slots == NULL)
		return hth_fail_memory(err, "a vocabulary's index", slots * sizeof(*x->slots));
	x->mask = (uint32_t)(slots - 1);
	x->raw = raw;
	return HTH_OK;
}

/* The slot that holds the text, or the empty one where it would go. Half of a text's hash chooses the slot, the other
 * half stands in it, so that other texts are passed over without a look at them. */
static uint64_t *find_slot(const struct hth_vocab *v, const struct hth_token_index *x, const char *s, size_t bytes,
			   uint32_t *tag)
{
	uint64_t hash = hth_hash64(s, bytes, 0);
	uint32_t i = (uint32_t)hash & x->mask;

	*tag = (uint32_t)(hash >> 32);
	for (; x->slots[i] != 0; i = (i + 1) & x->mask) {
		size_t n;
		if ((uint32_t)(x->slots[i] >> 32) != *tag)
			continue;
		const char *text = text_of(&v->tokens[(uint32_t)x->slots[i] - 1], x->raw, &n);
		if (n == bytes && memcmp(text, s, bytes) == 0)
			break;
	}
	return &x->slots[i];
}

static uint64_t slot_value(uint32_t tag, size_t id)
{
	return (uint64_t)tag << 32 | (uint32_t)(id + 1);
}

enum hth_status hth_vocab_init(struct hth_vocab *v, struct hth_arena *a, size_t n, struct hth_err *err)
{
	v->tokens = hth_arena_calloc(a, n, sizeof(*v->tokens));
	if (v->tokens == NULL)
		return hth_fail_memory(err, "a vocabulary", n * sizeof(*v->tokens));
	v->n = n;
	return init_index(&v->by_text, a, n, false, err);
}

enum hth_status hth_vocab_set(struct hth_vocab *v, struct hth_arena *a, size_t id, const char *text, size_t bytes,
			      const char *where, struct hth_err *err)
{
	struct hth_token *t = &v->tokens[id];
	char found[96], here[96];

	if (bytes > HTH_MAX_TOKEN_BYTES)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: token %zu has %zu bytes, expected at most %zu", where, id,
				bytes, HTH_MAX_TOKEN_BYTES);
	if (!hth_utf8_valid(text, bytes))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: token %zu \"%s\" is not UTF-8", where, id,
				hth_quote(found, sizeof(found), text, bytes));
	if (t->text != NULL) {
		if (t->bytes == bytes && memcmp(t->text, text, bytes) == 0)
			return HTH_OK;
		return hth_fail(err, HTH_ERR_FORMAT, "%s: id %zu is both \"%s\" and \"%s\"", where, id,
				hth_quote(found, sizeof(found), t->text, t->bytes),
				hth_quote(here, sizeof(here), text, bytes));
	}
	uint32_t tag = 0;
	uint64_t *slot = bytes == 0 ? NULL : find_slot(v, &v->by_text, text, bytes, &tag);
	if (slot != NULL && *slot != 0 && v->twice_allowed > 0)
		v->twice_allowed--;
	else if (slot != NULL && *slot != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: token \"%s\" has two ids, %u and %zu", where,
				hth_quote(found, sizeof(found), text, bytes), (uint32_t)*slot - 1, id);
	char *copy = hth_arena_strndup(a, text, bytes);
	if (copy == NULL)
		return hth_fail_memory(err, "a vocabulary", bytes);
	t->text = t->raw = copy;
	t->bytes = t->raw_bytes = (uint32_t)bytes;
	if (slot != NULL)
		*slot = slot_value(tag, id);
	return HTH_OK;
}

enum hth_status hth_vocab_respell(struct hth_vocab *v, struct hth_arena *a, size_t id, const char *text, size_t bytes,
				  struct hth_err *err)
{
	struct hth_token *t = &v->tokens[id];
	uint32_t tag;
	uint64_t *slot = find_slot(v, &v->by_text, text, bytes, &tag);

	if (*slot != 0)
		return HTH_OK;
	char *copy = hth_arena_strndup(a, text, bytes);
	if (copy == NULL)
		return hth_fail_memory(err, "a vocabulary", bytes);
	/* The old text's slot stays, and no text matches it any more. The index has room: it is at most half full. */
	t->text = t->raw = copy;
	t->bytes = t->raw_bytes = (uint32_t)bytes;
	*slot = slot_value(tag, id);
	return HTH_OK;
}

int32_t hth_vocab_find(const struct hth_vocab *v, const struct hth_token_index *x, const char *s, size_t bytes)
{
	uint32_t tag;
	return bytes == 0 || x->slots == NULL ? -1 : (int32_t)(uint32_t)*find_slot(v, x, s, bytes, &tag) - 1;
}

/* Whether every character of a token is a stand-in for a byte, so that its raw text is what a word looks like. */
static bool all_stand_ins(const struct hth_token *t)
{
	for (size_t at = 0, used; at < t->bytes; at += used) {
		if (hth_stand_in_byte(hth_utf8_next(t->text + at, t->bytes - at, &used)) < 0)
			return false;
	}
	return true;
}

enum hth_status hth_vocab_index_raw(struct hth_vocab *v, struct hth_arena *a, struct hth_err *err)
{
	enum hth_status st = init_index(&v->by_raw, a, v->n, true, err);

	for (size_t id = 0; st == HTH_OK && id < v->n; id++) {
		const struct hth_token *t = &v->tokens[id];
		if (t->text == NULL || t->raw_bytes == 0 || (t->flags & HTH_TOKEN_MODEL) == 0 || !all_stand_ins(t))
			continue;
		uint32_t tag;
		uint64_t *slot = find_slot(v, &v->by_raw, t->raw, t->raw_bytes, &tag);
		if (*slot == 0)
			*slot = slot_value(tag, id);
	}
	return st;
}

/* Allowed second bytes of a lead byte, and the sequence's length; 0 for a byte that cannot lead. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high)
{
	*low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
	*high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
	return c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
}

size_t hth_utf8_sequence(const char *text, size_t bytes, bool *valid, bool *cut)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low, high;
	size_t need = lead(s[0], &low, &high), n = 1;

	while (n < need && n < bytes && s[n] >= low && s[n] <= high) {
		low = 0x80;
		high = 0xBF;
		n++;
	}
	*valid = n == need;
	*cut = !*valid && need != 0 && n == bytes;
	return n;
}

size_t hth_utf8_lossy(const char *text, size_t bytes, bool more, struct hth_buf *out)
{
	size_t at = 0, kept = 0;

	while (at < bytes) {
		bool valid, cut;
		if ((unsigned char)text[at] < 0x80) {
			at++;
			continue;
		}
		size_t n = hth_utf8_sequence(text + at, bytes - at, &valid, &cut);
		if (valid) {
			at += n;
			continue;
		}
		hth_buf_add(out, text + kept, at - kept);
		if (cut && more)
			return at;
		hth_buf_puts(out, "\xEF\xBF\xBD");
		at += n;
		kept = at;
	}
	hth_buf_add(out, text + kept, at - kept);
	return at;
}
