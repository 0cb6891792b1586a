/* Tokenizers from one notation into the other and back: the families' own files where the fixtures are there. */
#include "../support.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/tokenizer_convert.h"

#include <stdio.h>
#include <stdlib.h>

static const char *fixture(char out[300], const char *name)
{
	const char *dir = getenv("HTH_FIXTURES");

	if (dir == NULL)
		return NULL;
	snprintf(out, 300, "%s/tokenizers/%s", dir, name);
	return hth_path_kind(out) == HTH_PATH_FILE ? out : NULL;
}

static struct hth_tokenizer *from_json_text(const struct hth_buf *text)
{
	char path[64];
	struct hth_tokenizer *t = NULL;
	struct hth_err err;

	snprintf(path, sizeof(path), "/tmp/hth-%ld-t.json", (long)getpid());
	assert_ok(hth_file_write(path, text->data, text->bytes, &err));
	assert_ok(hth_tokenizer_from_json(path, &t, &err));
	unlink(path);
	return t;
}

static void check_agree(const char *name, const struct hth_tokenizer *a, const struct hth_tokenizer *b, bool expected)
{
	bool same;
	char *text;
	struct hth_err err;

	assert_ok(hth_tokenizers_agree(a, b, hth_tokenizer_size(a), &same, &text, &err));
	if (same != expected)
		fail_msg("%s: %s on \"%.300s\"", name, same ? "equal" : "different", text != NULL ? text : "");
	hth_free(text);
}

static struct hth_tokenizer *through_gguf(const struct hth_tokenizer *t, struct hth_gguf_made *m)
{
	struct hth_tokenizer *back = NULL;
	struct hth_err err;

	assert_ok(hth_gguf_made_init(m, "made", (size_t)1 << 30, &err));
	assert_ok(hth_tokenizer_to_gguf(t, hth_tokenizer_size(t), -1, m, &err));
	assert_ok(hth_gguf_made_finish(m, &err));
	assert_ok(hth_tokenizer_from_gguf(&m->g, &back, &err));
	return back;
}

/* The tokenizer.json itself in the file: then nothing is lost. */
static void check_whole(const char *name, const char *path, const struct hth_tokenizer *t, struct hth_gguf_made *m)
{
	struct hth_tokenizer *back = NULL;
	struct hth_err err;
	char *text;
	size_t bytes;

	assert_ok(hth_file_read(path, (size_t)64 << 20, &text, &bytes, &err));
	hth_gguf_made_string(m, "tokenizer.huggingface.json", text, bytes);
	assert_ok(hth_gguf_made_finish(m, &err));
	assert_ok(hth_tokenizer_from_gguf(&m->g, &back, &err));
	check_agree(name, t, back, true);
	hth_tokenizer_free(back);
	hth_free(text);
}

/* exact: GGUF's keys alone say GGUF cannot say of it, or NULL. */
static void a_tokenizer_json_goes_through_gguf(void **state)
{
	static const struct {
		const char *name, *pre;
		bool exact;
	} files[] = {
		{"smollm2", "smollm", true},   {"qwen3", "qwen2", true},        {"llama2", "default", true},
		{"olmo2-cl100k", "smaug-bpe", true}, {"falcon", "falcon", true}, {"deepseek-v3", "deepseek-v3", true},
		{"mistral-v0.1", "default", true},
		/* A space in front of the whole only, where GGUF puts one behind each special token too. */
		{"mistral-v0.3", "default", false},
		/* Special tokens that swallow spaces. */
		{"phi3", "default", false},
		{"olmo1", "mpt", true},
	};
	char path[300], file[64];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		struct hth_tokenizer *t = NULL;
		struct hth_gguf_made m;
		struct hth_gguf_str pre;
		struct hth_err err;
		snprintf(file, sizeof(file), "%s.tokenizer.json", files[i].name);
		if (fixture(path, file) == NULL)
			skip();
		assert_ok(hth_tokenizer_from_json(path, &t, &err));
		struct hth_tokenizer *back = through_gguf(t, &m);
		assert_ok(hth_gguf_string(&m.g, "tokenizer.ggml.pre", &pre, &err));
		if (!hth_gguf_str_equal(pre, files[i].pre))
			fail_msg("%s: pre-tokenizer %.*s, expected %s", files[i].name, (int)pre.bytes, pre.data,
				 files[i].pre);
		check_agree(files[i].name, t, back, files[i].exact);
		hth_tokenizer_free(back);
		if (!files[i].exact)
			check_whole(files[i].name, path, t, &m);
		hth_tokenizer_free(t);
		hth_gguf_made_clear(&m);
	}
}

static void a_gguf_vocabulary_goes_through_json(void **state)
{
	static const char *const names[] = {"smollm2", "llama2", "gemma3", "llama3", "falcon", "tekken"};
	char path[300], file[64];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct hth_tokenizer *t = NULL;
		struct hth_gguf g;
		struct hth_buf text;
		struct hth_err err;
		snprintf(file, sizeof(file), "%s.vocab.gguf", names[i]);
		if (fixture(path, file) == NULL)
			skip();
		assert_ok(hth_gguf_open(&g, path, &err));
		assert_ok(hth_tokenizer_from_gguf(&g, &t, &err));
		hth_buf_init(&text, (size_t)1 << 28);
		assert_ok(hth_tokenizer_to_json(t, &g, &text, &err));
		struct hth_tokenizer *back = from_json_text(&text);
		bool same;
		char *differs;
		assert_ok(hth_tokenizers_agree(t, back, hth_tokenizer_size(t), &same, &differs, &err));
		/* BOS and EOS stand in another file of the folder. */
		if (!same && differs[0] != '(')
			fail_msg("%s: different on \"%.300s\"", names[i], differs);
		hth_free(differs);
		hth_tokenizer_free(back);
		hth_tokenizer_free(t);
		hth_buf_clear(&text);
		hth_gguf_close(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tokenizer_json_goes_through_gguf),
		cmocka_unit_test(a_gguf_vocabulary_goes_through_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
