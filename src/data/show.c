/* The two views of an example. Tokens go one by one through the streaming detokenizer, so that the text is exactly what
 * decoding the whole would give and each piece is known by its token. */
#include "data/show.h"
#include "base/utf8.h"

#include <string.h>

#define MAX_PIECE_BYTES ((size_t)1 << 20)

static const char *const open_mark[] = {[HTH_SHOW_BRACKETS] = "\xE2\x9F\xA6", [HTH_SHOW_COLOUR] = "\033[0;32m"};
static const char *const close_mark[] = {[HTH_SHOW_BRACKETS] = "\xE2\x9F\xA7", [HTH_SHOW_COLOUR] = "\033[0;2m"};

/* C0 but newline and tab, DEL, and C1 (which some terminals obey). */
static bool is_control(uint32_t c)
{
	return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F || (c >= 0x80 && c < 0xA0);
}

static void put_safe(struct hth_buf *out, const char *text, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		size_t used;
		uint32_t c = hth_utf8_next(text + at, bytes - at, &used);
		if (c == HTH_UTF8_INVALID || is_control(c)) {
			for (size_t i = 0; i < used; i++)
				hth_buf_printf(out, "\\x%02X", (unsigned char)text[at + i]);
		} else {
			hth_buf_add(out, text + at, used);
		}
		at += used;
	}
}

static void mark(struct hth_buf *out, enum hth_show_style style, bool trained)
{
	hth_buf_puts(out, trained ? open_mark[style] : close_mark[style]);
}

enum hth_status hth_data_show(const struct hth_tokenizer *tok, const struct hth_data_example *e,
			      enum hth_show_style style, struct hth_buf *out, struct hth_err *err)
{
	struct hth_detokenizer stream = {0};
	struct hth_buf piece;
	bool trained = false;
	enum hth_status status = HTH_OK;

	hth_buf_init(&piece, MAX_PIECE_BYTES);
	if (style == HTH_SHOW_COLOUR)
		mark(out, style, false);
	for (size_t i = 0; i <= e->tokens.n && status == HTH_OK; i++) {
		bool now = i < e->tokens.n && e->tokens.target[i] != 0;
		hth_buf_reset(&piece);
		if (i < e->tokens.n)
			status = hth_detokenizer_push(&stream, tok, e->tokens.ids[i], &piece, err);
		else
			hth_detokenizer_flush(&stream, &piece);
		if (i < e->tokens.n && now != trained) {
			mark(out, style, now);
			trained = now;
		}
		put_safe(out, hth_buf_str(&piece), piece.bytes);
		if (status == HTH_OK)
			status = hth_buf_status(&piece, "a token's text", err);
	}
	if (trained)
		mark(out, style, false);
	if (style == HTH_SHOW_COLOUR)
		hth_buf_puts(out, "\033[0m");
	hth_buf_clear(&piece);
	return status == HTH_OK ? hth_buf_status(out, "an example's view", err) : status;
}

enum hth_status hth_data_show_json(const struct hth_tokenizer *tok, const struct hth_data_example *e,
				   struct hth_buf *out, struct hth_err *err)
{
	struct hth_detokenizer stream = {0};
	struct hth_buf piece;
	enum hth_status status = HTH_OK;

	hth_buf_init(&piece, MAX_PIECE_BYTES);
	hth_buf_printf(out, "{\"line\":%u,\"turn\":%u,\"tokens\":[", e->line, e->turn);
	for (size_t i = 0; i < e->tokens.n && status == HTH_OK; i++) {
		hth_buf_reset(&piece);
		status = hth_detokenizer_push(&stream, tok, e->tokens.ids[i], &piece, err);
		if (i + 1 == e->tokens.n)
			hth_detokenizer_flush(&stream, &piece);
		hth_buf_printf(out, "%s{\"id\":%d,\"text\":", i > 0 ? "," : "", e->tokens.ids[i]);
		hth_json_put_string(out, hth_buf_str(&piece), piece.bytes);
		hth_buf_printf(out, ",\"target\":%s}", e->tokens.target[i] != 0 ? "true" : "false");
		if (status == HTH_OK)
			status = hth_buf_status(&piece, "a token's text", err);
	}
	hth_buf_puts(out, "]}");
	hth_buf_clear(&piece);
	return status == HTH_OK ? hth_buf_status(out, "an example's view", err) : status;
}
