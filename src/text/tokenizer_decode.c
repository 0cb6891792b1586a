/* Decoding, whole and streamed. What a token alone decides is in its raw text; here tokens are joined. */
#include "base/utf8.h"
#include "text/tokenizer_int.h"

#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

static enum hth_status check_id(const struct hth_tokenizer *t, int32_t id, struct hth_err *err)
{
	if (id < 0 || (size_t)id >= t->vocab.n)
		return hth_fail(err, HTH_ERR_FORMAT, "token id %d, the vocabulary has 0..%zu", id, t->vocab.n - 1);
	return HTH_OK;
}

/* Text that is certain. The first space of all goes where the family's decoder says so. */
static void put_text(struct hth_detokenizer *d, const struct hth_tokenizer *t, const char *text, size_t bytes,
		     struct hth_buf *out)
{
	if (bytes == 0)
		return;
	if (!d->started && t->decoder.strip_start && text[0] == ' ') {
		text++;
		bytes--;
	}
	d->started = true;
	for (size_t at = 0; t->decoder.signs && at + 3 <= bytes;) {
		if (memcmp(text + at, HTH_WORD_SIGN, 3) != 0) {
			at++;
			continue;
		}
		hth_buf_add(out, text, at);
		hth_buf_putc(out, ' ');
		text += at + 3;
		bytes -= at + 3;
		at = 0;
	}
	hth_buf_add(out, text, bytes);
}

/* The end of a run of byte tokens: text if it is UTF-8 as a whole, else a replacement for every byte. */
static void end_run(struct hth_detokenizer *d, struct hth_buf *out)
{
	bool valid = hth_utf8_valid(d->held, d->n_held);

	if (d->n_held == 0)
		return;
	if (valid && !d->started && d->strip_start && d->held[0] == ' ')
		hth_buf_add(out, d->held + 1, d->n_held - 1);
	else if (valid)
		hth_buf_add(out, d->held, d->n_held);
	for (size_t i = 0; !valid && i < d->n_held; i++)
		hth_buf_puts(out, REPLACEMENT);
	d->started = true;
	d->n_held = 0;
}

/* One more byte of a run. A run longer than we hold is given out by its whole characters. */
static void add_byte(struct hth_detokenizer *d, uint8_t byte, struct hth_buf *out)
{
	if (d->n_held == sizeof(d->held)) {
		size_t tail = hth_utf8_partial_tail(d->held, d->n_held);
		char rest[4];
		memcpy(rest, d->held + d->n_held - tail, tail);
		d->n_held -= tail;
		end_run(d, out);
		memcpy(d->held, rest, tail);
		d->n_held = tail;
	}
	d->held[d->n_held++] = (char)byte;
}

/* Bytes of a byte-level token: held ones first, whole characters out, an unfinished one held. */
static void add_bytes(struct hth_detokenizer *d, const char *raw, size_t bytes, struct hth_buf *out)
{
	/* The held part is 3 bytes at most, so that a few bytes of the token settle it. */
	while (d->n_held > 0 && bytes > 0) {
		char first[4];
		bool valid, cut;
		memcpy(first, d->held, d->n_held);
		first[d->n_held] = *raw;
		size_t n = hth_utf8_sequence(first, d->n_held + 1, &valid, &cut);
		if (cut) {
			d->held[d->n_held++] = *raw++;
			bytes--;
		} else if (valid) {
			hth_buf_add(out, first, n);
			d->n_held = 0;
			raw++;
			bytes--;
		} else { /* the held bytes are a broken piece; the new one begins something */
			hth_buf_puts(out, REPLACEMENT);
			d->n_held = 0;
		}
	}
	size_t used = hth_utf8_lossy(raw, bytes, true, out);
	memcpy(d->held + d->n_held, raw + used, bytes - used);
	d->n_held += bytes - used;
}

/* Metaspace's first token: its word signs go. */
static void put_first(struct hth_detokenizer *d, const struct hth_token *x, struct hth_buf *out)
{
	for (size_t at = 0; at < x->raw_bytes; at++) {
		if (x->raw_bytes - at >= 3 && memcmp(x->raw + at, HTH_WORD_SIGN, 3) == 0)
			at += 2;
		else
			hth_buf_putc(out, x->raw[at]);
	}
	d->started = true;
}

enum hth_status hth_detokenizer_push(struct hth_detokenizer *d, const struct hth_tokenizer *t, int32_t id,
				     struct hth_buf *out, struct hth_err *err)
{
	enum hth_status st = check_id(t, id, err);
	if (st != HTH_OK)
		return st;
	const struct hth_token *x = &t->vocab.tokens[id];
	d->strip_start = t->decoder.strip_start;
	d->byte_level = t->decoder.byte_level;
	if (x->text == NULL || (d->skip_special && (x->flags & HTH_TOKEN_SPECIAL) != 0))
		return HTH_OK;
	if (t->decoder.byte_level) {
		add_bytes(d, x->raw, x->raw_bytes, out);
		return hth_buf_status(out, "decoded text", err);
	}
	if (t->decoder.byte_fallback && (x->flags & HTH_TOKEN_BYTE) != 0) {
		add_byte(d, x->byte, out);
		return hth_buf_status(out, "decoded text", err);
	}
	end_run(d, out);
	if (t->decoder.first_signs && !d->started) {
		put_first(d, x, out);
		return hth_buf_status(out, "decoded text", err);
	}
	if (t->decoder.join_spaces && d->started)
		hth_buf_putc(out, ' ');
	if (t->decoder.join_spaces)
		d->started = true;
	put_text(d, t, x->raw, x->raw_bytes, out);
	return hth_buf_status(out, "decoded text", err);
}

void hth_detokenizer_flush(struct hth_detokenizer *d, struct hth_buf *out)
{
	size_t n = d->n_held;

	if (d->byte_level) {
		d->n_held = 0;
		(void)hth_utf8_lossy(d->held, n, false, out);
		return;
	}
	end_run(d, out);
}

enum hth_status hth_tokenizer_decode(const struct hth_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
				     struct hth_buf *out, struct hth_err *err)
{
	struct hth_detokenizer d = {.skip_special = skip_special};

	for (size_t i = 0; i < n; i++) {
		enum hth_status st = hth_detokenizer_push(&d, t, ids[i], out, err);
		if (st != HTH_OK)
			return st;
	}
	hth_detokenizer_flush(&d, out);
	return hth_buf_status(out, "decoded text", err);
}
