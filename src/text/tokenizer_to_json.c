/* A tokenizer read from GGUF as a tokenizer.json of the tokenizers library: what the file's names imply (list.h) is
 * written out as steps. Source of the layout: the tokenizers library 0.23. */
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tokenizer_convert.h"
#include "text/tokenizer_probe.h"

#include <string.h>

#define SIGN HTH_WORD_SIGN

static void put_string(struct hth_buf *out, const char *text, size_t bytes)
{
	(void)hth_json_put_string(out, text, bytes);
}

/* Word signs for spaces: that is how such a vocabulary writes its runs of spaces (tokenizer_gguf.c). */
static void put_signs(struct hth_buf *out, const char *text, size_t bytes, struct hth_buf *work)
{
	hth_buf_reset(work);
	for (size_t i = 0; i < bytes; i++)
		(void)hth_buf_add(work, text[i] == ' ' ? SIGN : text + i, text[i] == ' ' ? 3 : 1);
	put_string(out, hth_buf_str(work), work->bytes);
}

static enum hth_status put_added(const struct hth_tokenizer *t, struct hth_buf *out, struct hth_err *err)
{
	struct hth_buf work;

	hth_buf_init(&work, 4 * HTH_MAX_TOKEN_BYTES);
	(void)hth_buf_puts(out, "\"added_tokens\":[");
	for (size_t i = 0; i < t->added.n; i++) {
		const struct hth_added_token *x = &t->added.tokens[i];
		const struct hth_token *token = &t->vocab.tokens[x->id];
		(void)hth_buf_printf(out, "%s\n{\"id\":%d,\"content\":", i > 0 ? "," : "", x->id);
		if (t->kind == HTH_MODEL_BPE_CHARS && !x->special)
			put_signs(out, token->text, token->bytes, &work);
		else
			put_string(out, token->text, token->bytes);
		(void)hth_buf_printf(out,
				     ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
				     "\"special\":%s}",
				     x->special ? "true" : "false");
	}
	(void)hth_buf_puts(out, "],\n");
	enum hth_status st = hth_buf_status(&work, "an added token", err);
	hth_buf_clear(&work);
	return st;
}

/* A text that has two ids gets the one that is found by it; names of holes are no tokens. */
static enum hth_status put_vocab(const struct hth_tokenizer *t, struct hth_buf *out, struct hth_err *err)
{
	bool first = true;
	char shown[64];

	(void)hth_buf_puts(out, "\"vocab\":{");
	for (size_t id = 0; id < t->vocab.n; id++) {
		const struct hth_token *x = &t->vocab.tokens[id];
		if (x->text == NULL || (x->flags & HTH_TOKEN_MODEL) == 0 ||
		    hth_vocab_find(&t->vocab, &t->vocab.by_text, x->text, x->bytes) != (int32_t)id)
			continue;
		if (!hth_utf8_valid(x->text, x->bytes) || memchr(x->text, 0, x->bytes) != NULL)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"token %zu is \"%s\", which is no text; tokenizer.json cannot hold it", id,
					hth_quote(shown, sizeof(shown), x->text, x->bytes));
		(void)hth_buf_puts(out, first ? "\n" : ",\n");
		put_string(out, x->text, x->bytes);
		(void)hth_buf_printf(out, ":%zu", id);
		first = false;
	}
	(void)hth_buf_puts(out, "},\n");
	return HTH_OK;
}

static enum hth_status put_merges(const struct hth_tokenizer *t, struct hth_buf *out, struct hth_err *err)
{
	struct hth_bpe_pair *pairs;
	size_t n;
	enum hth_status st = hth_tokenizer_merges(t, &pairs, &n, err);

	(void)hth_buf_puts(out, "\"merges\":[");
	for (size_t i = 0; st == HTH_OK && i < n; i++) {
		const struct hth_token *a = &t->vocab.tokens[pairs[i].left], *b = &t->vocab.tokens[pairs[i].right];
		(void)hth_buf_puts(out, i > 0 ? ",\n[" : "\n[");
		put_string(out, a->text, a->bytes);
		(void)hth_buf_putc(out, ',');
		put_string(out, b->text, b->bytes);
		(void)hth_buf_putc(out, ']');
	}
	(void)hth_buf_puts(out, "]}}\n");
	hth_free(pairs);
	return st;
}

static void put_model_head(const struct hth_tokenizer *t, struct hth_buf *out)
{
	(void)hth_buf_puts(out, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
	if (t->unk >= 0)
		put_string(out, t->vocab.tokens[t->unk].text, t->vocab.tokens[t->unk].bytes);
	else
		(void)hth_buf_puts(out, "null");
	(void)hth_buf_printf(out,
			     ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
			     "\"byte_fallback\":%s,\"ignore_merges\":%s,\n",
			     t->fuse_unk ? "true" : "false", t->byte_fallback ? "true" : "false",
			     t->ignore_merges ? "true" : "false");
}

static void put_normalizer(const struct hth_tokenizer *t, struct hth_buf *out)
{
	(void)hth_buf_puts(out, "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
	for (size_t i = 0; i < t->n_norms; i++) {
		const struct hth_norm *x = &t->norms[i];
		(void)hth_buf_puts(out, i > 0 ? "," : "");
		if (x->kind == HTH_NORM_NFC) {
			(void)hth_buf_puts(out, "{\"type\":\"NFC\"}");
			continue;
		}
		(void)hth_buf_puts(out, x->kind == HTH_NORM_PREPEND
						? "{\"type\":\"Prepend\",\"prepend\":"
						: "{\"type\":\"Replace\",\"pattern\":{\"String\":");
		put_string(out, x->what, x->what_bytes);
		if (x->kind == HTH_NORM_REPLACE) {
			(void)hth_buf_puts(out, "},\"content\":");
			put_string(out, x->with, x->with_bytes);
		}
		(void)hth_buf_putc(out, '}');
	}
	(void)hth_buf_puts(out, "]},\n");
}

static void put_affixes(const struct hth_tokenizer *t, struct hth_buf *out)
{
	const int32_t *sides[2] = {t->prefix, t->suffix};
	size_t counts[2] = {t->n_prefix, t->n_suffix}, done = 0;

	if (t->n_prefix + t->n_suffix == 0) {
		(void)hth_buf_puts(out, "\"post_processor\":null,\n");
		return;
	}
	(void)hth_buf_puts(out, "\"post_processor\":{\"type\":\"TemplateProcessing\"");
	for (int pair = 0; pair < 2; pair++) {
		(void)hth_buf_printf(out, ",\"%s\":[", pair ? "pair" : "single");
		for (int text = 0; text <= pair; text++) {
			for (int side = 0; side < 2; side++) {
				for (size_t i = 0; i < counts[side]; i++) {
					const struct hth_token *x = &t->vocab.tokens[sides[side][i]];
					(void)hth_buf_printf(out, "%s{\"SpecialToken\":{\"id\":",
							     side == 1 ? "," : text > 0 || i > 0 ? "," : "");
					put_string(out, x->text, x->bytes);
					(void)hth_buf_printf(out, ",\"type_id\":%d}}", text);
				}
				if (side == 0)
					(void)hth_buf_printf(
						out, "%s{\"Sequence\":{\"id\":\"%s\",\"type_id\":%d}}",
						text > 0 || counts[0] > 0 ? "," : "", text ? "B" : "A", text);
			}
		}
		(void)hth_buf_putc(out, ']');
	}
	(void)hth_buf_puts(out, ",\"special_tokens\":{");
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < counts[side]; i++) {
			const struct hth_token *x = &t->vocab.tokens[sides[side][i]];
			if (side == 1 && t->n_prefix > 0 && t->prefix[0] == sides[side][i])
				continue;
			(void)hth_buf_puts(out, done++ > 0 ? "," : "");
			put_string(out, x->text, x->bytes);
			(void)hth_buf_puts(out, ":{\"id\":");
			put_string(out, x->text, x->bytes);
			(void)hth_buf_printf(out, ",\"ids\":[%d],\"tokens\":[", sides[side][i]);
			put_string(out, x->text, x->bytes);
			(void)hth_buf_puts(out, "]}");
		}
	(void)hth_buf_puts(out, "}},\n");
}

static void put_decoder(const struct hth_tokenizer *t, struct hth_buf *out)
{
	if (t->decoder.byte_level) {
		(void)hth_buf_puts(out, "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
					"\"trim_offsets\":true,\"use_regex\":true},\n");
		return;
	}
	(void)hth_buf_puts(out, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
				"{\"String\":\"" SIGN "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
				"{\"type\":\"Fuse\"}");
	if (t->decoder.strip_start)
		(void)hth_buf_puts(out, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
	(void)hth_buf_puts(out, "]},\n");
}

enum hth_status hth_tokenizer_to_json(const struct hth_tokenizer *t, const struct hth_gguf *g, struct hth_buf *out,
				      struct hth_err *err)
{
	struct hth_gguf_str pre;
	char name[64] = "";
	enum hth_status st = hth_gguf_string(g, "tokenizer.ggml.pre", &pre, err);

	if (st != HTH_OK)
		return st;
	if (t->kind == HTH_MODEL_UNIGRAM)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: a unigram tokenizer (tokenizer.ggml.model \"t5\") cannot be written as a tokenizer.json; "
				"the model can be used as a GGUF file",
				g->map.path != NULL ? g->map.path : "GGUF");
	if (pre.data != NULL && pre.bytes < sizeof(name))
		memcpy(name, pre.data, pre.bytes);
	(void)hth_buf_puts(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
	if ((st = put_added(t, out, err)) != HTH_OK)
		return st;
	put_normalizer(t, out);
	(void)hth_buf_puts(out, "\"pre_tokenizer\":");
	if (t->kind == HTH_MODEL_BPE_BYTES)
		hth_pretok_put_json(name, out);
	else
		(void)hth_buf_puts(out, "null");
	(void)hth_buf_puts(out, ",\n");
	put_affixes(t, out);
	put_decoder(t, out);
	put_model_head(t, out);
	if ((st = put_vocab(t, out, err)) != HTH_OK || (st = put_merges(t, out, err)) != HTH_OK)
		return st;
	return hth_buf_status(out, "a tokenizer", err);
}
