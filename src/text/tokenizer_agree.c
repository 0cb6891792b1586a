/* Do two tokenizers give the same ids? Texts are made from a fixed seed: every kind of character that pre-tokenizers
 * tell apart (letters of each case, marks, digits, signs, spaces, line ends, scripts without spaces), tokens of the
 * vocabulary, added tokens with and without spaces beside them. Without U+2581, SentencePiece's own word sign: as a
 * character of a text it is a space to some readers and not to others, whatever a file says. */
#include "base/mem.h"
#include "text/tokenizer_convert.h"
#include "text/tokenizer_probe.h"

#include <string.h>

enum { TEXTS = 400, PARTS = 40 };

static uint32_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

void hth_probe_characters(uint64_t *state, int n, struct hth_buf *out)
{
	static const char *const kinds[] = {
		" ",      " ",     "  ",      "\n",    "\r\n",     "\t",     "\n\n",   "\u00A0", "\u3000", "\u2028", "a",
		"b",      "Z",     "Q",       "the",   "Hello",    "\u00E9", "\u00DF", "\u0130", "\u01C5", "\u02B0", "\u4E2D",
		"\u6587", "\u3042", "\u30AB", "\uD55C", "\u0E01",  "\u0E31", "\u0915", "\u093F", "\u05D0", "\u0627", "\u0301",
		"e\u0301", "\u212B", "1",     "2",     "34",       "567",    "\u0663", "\u00BD", "\u2167", "\u00B2", "'",
		"'s",     "'ll",   "'S",      "'RE",   "\u2019s",  "!",      "?",      ".",      ",",      "-",      "_",
		"/",      "//",    "@",       "#",     "$",        "%",      "+",      "=",      "<",      ">",      "|",
		"^",      "`",     "~",       "\"",    "(",        ")",      "[",      "]",      "{",      "}",      "\\",
		"\u00AB", "\u3002", "\u20AC", "\u00A9", "\u2192",  "\U0001F600", "\U0001F468\u200D\U0001F469", "\u200B",
		"\001", "x",      "\u0416", "\u03C9",  "\u10D0", "\u1E9E", "\U00010400", "\uFF11", "\uFF21",
	};

	for (int i = 0; i < n; i++)
		(void)hth_buf_puts(out, kinds[next(state) % (sizeof(kinds) / sizeof(*kinds))]);
}

static const struct hth_token *some_token(const struct hth_tokenizer *t, uint64_t *state, size_t n)
{
	for (int tries = 0; tries < 16; tries++) {
		const struct hth_token *x = &t->vocab.tokens[next(state) % n];
		if (x->text != NULL)
			return x;
	}
	return NULL;
}

/* One part of a text: characters, a token as it decodes, or an added token. */
static void put_part(const struct hth_tokenizer *t, uint64_t *state, size_t n, struct hth_buf *out)
{
	uint32_t what = next(state) % 8;
	const struct hth_added *sets[2] = {&t->added, &t->added_normalized};
	const struct hth_added *set = sets[next(state) % 2];
	const struct hth_token *x;

	if (what < 3) {
		hth_probe_characters(state, 1 + (int)(next(state) % 5), out);
	} else if (what < 6) {
		if ((x = some_token(t, state, n)) != NULL && (x->flags & HTH_TOKEN_BYTE) == 0)
			(void)hth_buf_add(out, x->raw, x->raw_bytes);
	} else if (set->n > 0) {
		x = &t->vocab.tokens[set->tokens[next(state) % set->n].id];
		bool special = (x->flags & HTH_TOKEN_SPECIAL) != 0;
		(void)hth_buf_add(out, special ? x->text : x->raw, special ? x->bytes : x->raw_bytes);
	}
	if (what == 7)
		(void)hth_buf_putc(out, next(state) % 2 ? ' ' : '\n');
}

static enum hth_status compare(const struct hth_tokenizer *a, const struct hth_tokenizer *b, const struct hth_buf *text,
			       int flags, struct hth_tokens one[2], bool *same, struct hth_err *err)
{
	enum hth_status st;

	one[0].n = one[1].n = 0;
	if ((st = hth_tokenizer_encode(a, text->data, text->bytes, flags, &one[0], err)) != HTH_OK ||
	    (st = hth_tokenizer_encode(b, text->data, text->bytes, flags, &one[1], err)) != HTH_OK)
		return st;
	*same = one[0].n == one[1].n &&
		(one[0].n == 0 || memcmp(one[0].ids, one[1].ids, one[0].n * sizeof(*one[0].ids)) == 0);
	return HTH_OK;
}

/* What a program asks a tokenizer beside ids of texts; NULL: the same. */
static const char *other_facts(const struct hth_tokenizer *a, const struct hth_tokenizer *b, int64_t n_vocab)
{
	if (a->bos != b->bos)
		return "(the token that begins a text)";
	if (a->eos != b->eos)
		return "(the token that ends a text)";
	for (int32_t id = 0; id < n_vocab; id++)
		if (hth_tokenizer_is_end(a, id) != hth_tokenizer_is_end(b, id))
			return "(which tokens end a turn)";
	return NULL;
}

enum hth_status hth_tokenizers_agree(const struct hth_tokenizer *a, const struct hth_tokenizer *b, int64_t n_vocab,
				     bool *same, char **text, struct hth_err *err)
{
	struct hth_tokens ids[2] = {{0}, {0}};
	uint64_t state = 20;
	size_t n = a->vocab.n < (size_t)n_vocab ? a->vocab.n : (size_t)n_vocab;
	struct hth_buf made;
	const char *fact = other_facts(a, b, n_vocab);
	enum hth_status st = HTH_OK;

	*text = NULL;
	*same = fact == NULL;
	hth_buf_init(&made, (size_t)4 << 20);
	for (int i = 0; st == HTH_OK && *same && i < TEXTS; i++) {
		hth_buf_reset(&made);
		for (int k = 0; k < PARTS; k++)
			put_part(a, &state, n, &made);
		if ((st = hth_buf_status(&made, "a text", err)) != HTH_OK)
			break;
		for (int flags = 0; st == HTH_OK && *same && flags < 4; flags++)
			st = compare(a, b, &made, flags, ids, same, err);
	}
	if (st == HTH_OK && !*same) {
		*text = hth_strdup(fact != NULL ? fact : hth_buf_str(&made));
		if (*text == NULL)
			st = hth_fail_memory(err, "a text", made.bytes);
	}
	hth_tokens_clear(&ids[0]);
	hth_tokens_clear(&ids[1]);
	hth_buf_clear(&made);
	return st;
}
