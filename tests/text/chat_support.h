/* A tiny tokenizer for chat tests: one token a byte (byte-level BPE without merges) and a few special tokens; and
 * readable views of examples. */
#ifndef HTH_TESTS_CHAT_SUPPORT_H
#define HTH_TESTS_CHAT_SUPPORT_H

#include "support.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/chat.h"

static struct hth_err err;

/* GPT-2's printable stand-in for a byte. */
static inline uint32_t stand_in(int byte)
{
	int n = 0;
	if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255))
		return (uint32_t)byte;
	for (int b = 0; b < byte; b++)
		n += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255));
	return 256 + (uint32_t)n;
}

/* specials: ids 256, 257, ...; bos: its encodings begin with the first of them. */
static inline struct hth_tokenizer *byte_tokenizer(const char *const *specials, size_t n, bool bos)
{
	struct hth_buf b, key;
	struct hth_tokenizer *t;
	const char *path = "build-chat-test-tokenizer.json";
	hth_buf_init(&b, 1u << 20);
	hth_buf_init(&key, 64);
	hth_buf_puts(&b, "{\"added_tokens\":[");
	for (size_t i = 0; i < n; i++)
		hth_buf_printf(
			&b,
			"%s{\"id\":%zu,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
			"\"normalized\":false,\"special\":true}",
			i > 0 ? "," : "", 256 + i, specials[i]);
	hth_buf_puts(&b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
			 "\"trim_offsets\":false,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},");
	if (bos)
		hth_buf_printf(
			&b,
			"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
			"\"%s\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
			"\"special_tokens\":{\"%s\":{\"id\":\"%s\",\"ids\":[256],\"tokens\":[\"%s\"]}}},",
			specials[0], specials[0], specials[0], specials[0]);
	hth_buf_puts(&b, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"merges\":[],\"vocab\":{");
	for (int byte = 0; byte < 256; byte++) {
		hth_buf_reset(&key);
		hth_buf_put_utf8(&key, stand_in(byte));
		hth_buf_puts(&b, byte > 0 ? "," : "");
		hth_json_put_string(&b, hth_buf_str(&key), key.bytes);
		hth_buf_printf(&b, ":%d", byte);
	}
	for (size_t i = 0; i < n; i++)
		hth_buf_printf(&b, ",\"%s\":%zu", specials[i], 256 + i);
	hth_buf_puts(&b, "}}}");
	assert_ok(hth_file_write(path, b.data, b.bytes, &err));
	assert_ok(hth_tokenizer_from_json(path, &t, &err));
	unlink(path);
	hth_buf_clear(&b);
	hth_buf_clear(&key);
	return t;
}

/* The text of an example's tokens with the targets in [brackets]. Caller frees with hth_free. */
static inline char *show(const struct hth_tokenizer *t, const struct hth_example *e)
{
	struct hth_buf b;
	hth_buf_init(&b, 1u << 20);
	for (size_t i = 0; i < e->n; i++) {
		bool on = e->target[i], before = i > 0 && e->target[i - 1];
		if (on && !before)
			hth_buf_putc(&b, '[');
		if (!on && before)
			hth_buf_putc(&b, ']');
		assert_ok(hth_tokenizer_decode(t, &e->ids[i], 1, false, &b, &err));
	}
	if (e->n > 0 && e->target[e->n - 1])
		hth_buf_putc(&b, ']');
	return hth_buf_take(&b, NULL);
}

static inline json_t *json(const char *text)
{
	json_t *j;
	assert_ok(hth_json_parse(text, strlen(text), HTH_JSON_ALLOW_SCALAR, "test", &j, &err));
	return j;
}

static inline struct hth_template *parse(const char *source)
{
	struct hth_template *t;
	assert_ok(hth_template_parse(source, strlen(source), "test", &t, &err));
	return t;
}

#endif
