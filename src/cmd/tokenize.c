/* hearth tokenize: the tokenizer by itself, as a filter of JSONL rows. */
#include "base/mem.h"
#include "cmd/lines.h"
#include "cmd/options.h"
#include "cmd/where.h"
#include "text/tokenizer.h"

#include <stddef.h>
#include <string.h>

struct tokenize_options {
	bool decode, skip_special, offsets;
};

static const struct hth_option options[] = {
	{"decode", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct tokenize_options, decode), 0, 0, NULL, NULL, NULL,
	 "the other way: {\"ids\"} rows in, {\"text\"} rows out"},
	{"skip-special", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct tokenize_options, skip_special), 0, 0, NULL,
	 NULL, NULL, "leave special tokens out of decoded text"},
	{"offsets", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct tokenize_options, offsets), 0, 0, NULL, NULL, NULL,
	 "add the byte offsets of each token: \"starts\" and \"ends\""},
	{0},
};

struct tokenize_job {
	const struct tokenize_options *opt;
	const struct hth_tokenizer *tok;
	struct hth_tokens tokens;
	struct hth_buf out;
};

static bool put_ints(struct hth_buf *out, const char *key, const void *values, size_t n, bool is_signed)
{
	bool ok = hth_buf_printf(out, "%s\"%s\":[", out->bytes > 1 ? "," : "", key);
	for (size_t i = 0; i < n && ok; i++) {
		long long v = is_signed ? ((const int32_t *)values)[i] : (long long)((const uint32_t *)values)[i];
		ok = hth_buf_printf(out, "%s%lld", i > 0 ? "," : "", v);
	}
	return ok && hth_buf_putc(out, ']');
}

static enum hth_status print_row(struct hth_buf *out, const char *where, struct hth_err *err)
{
	(void)hth_buf_puts(out, "}\n");
	enum hth_status s = hth_buf_status(out, where, err);
	if (s == HTH_OK && fwrite(out->data, 1, out->bytes, stdout) != out->bytes)
		s = hth_fail_errno(err, HTH_ERR_IO, "stdout: could not be written");
	return s;
}

static enum hth_status encode_row(void *ctx, const json_t *row, const char *where, struct hth_err *err)
{
	struct tokenize_job *job = ctx;
	const json_t *text = json_object_get(row, "text");
	if (!json_is_string(text))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: expected an object with a string \"text\"", where);
	bool add_special = false, parse_special = false;
	enum hth_status s = hth_json_bool(row, "add_special", true, &add_special, where, err);
	if (s == HTH_OK)
		s = hth_json_bool(row, "parse_special", true, &parse_special, where, err);
	if (s != HTH_OK)
		return s;
	int flags = (add_special ? HTH_ENCODE_ADD_SPECIAL : 0) | (parse_special ? HTH_ENCODE_PARSE_SPECIAL : 0);
	job->tokens.n = 0;
	s = hth_tokenizer_encode(job->tok, json_string_value(text), json_string_length(text), flags, &job->tokens, err);
	if (s != HTH_OK)
		return hth_err_prefix(err, "%s", where);
	hth_buf_reset(&job->out);
	(void)hth_buf_putc(&job->out, '{');
	(void)put_ints(&job->out, "ids", job->tokens.ids, job->tokens.n, true);
	if (job->opt->offsets) {
		(void)put_ints(&job->out, "starts", job->tokens.starts, job->tokens.n, false);
		(void)put_ints(&job->out, "ends", job->tokens.ends, job->tokens.n, false);
	}
	return print_row(&job->out, where, err);
}

static enum hth_status decode_row(void *ctx, const json_t *row, const char *where, struct hth_err *err)
{
	struct tokenize_job *job = ctx;
	const json_t *ids = json_object_get(row, "ids");
	if (!json_is_array(ids))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: expected an object with an array \"ids\"", where);
	size_t n = json_array_size(ids);
	int32_t *list = hth_calloc(n + 1, sizeof *list);
	if (list == NULL)
		return hth_fail_memory(err, where, n * sizeof *list);
	enum hth_status s = HTH_OK;
	for (size_t i = 0; i < n && s == HTH_OK; i++) {
		const json_t *id = json_array_get(ids, i);
		if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: ids[%zu]: expected a token id", where, i);
		else
			list[i] = (int32_t)json_integer_value(id);
	}
	struct hth_buf text;
	hth_buf_init(&text, HTH_LINE_MAX_BYTES);
	bool skip = job->opt->skip_special;
	if (s == HTH_OK)
		s = hth_json_bool(row, "skip_special", skip, &skip, where, err);
	if (s == HTH_OK) {
		s = hth_tokenizer_decode(job->tok, list, n, skip, &text, err);
		if (s != HTH_OK)
			s = hth_err_prefix(err, "%s", where);
	}
	if (s == HTH_OK) {
		hth_buf_reset(&job->out);
		(void)hth_buf_puts(&job->out, "{\"text\":");
		(void)hth_json_put_string(&job->out, hth_buf_str(&text), text.bytes);
		s = print_row(&job->out, where, err);
	}
	hth_buf_clear(&text);
	hth_free(list);
	return s;
}

/* A tokenizer.json, a folder that holds one, or a GGUF file. */
static enum hth_status open_tokenizer(const char *name, struct hth_gguf *gguf, struct hth_tokenizer **tok,
				      struct hth_err *err)
{
	char *path = NULL, *json = NULL;
	enum hth_status s = hth_model_where(name, &path, err);
	if (s == HTH_OK && hth_path_kind(path) == HTH_PATH_DIR) {
		json = hth_path_join(path, "tokenizer.json");
		s = json != NULL ? hth_tokenizer_from_json(json, tok, err) : hth_fail_memory(err, "a path", 256);
	} else if (s == HTH_OK && hth_path_has_suffix(path, ".json")) {
		s = hth_tokenizer_from_json(path, tok, err);
	} else if (s == HTH_OK) {
		s = hth_gguf_open_split(gguf, path, err);
		if (s == HTH_OK)
			s = hth_tokenizer_from_gguf(gguf, tok, err);
	}
	hth_free(json);
	hth_free(path);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	struct tokenize_job job = {.opt = cli->config};
	struct hth_gguf gguf = {0};
	struct hth_tokenizer *tok = NULL;
	hth_buf_init(&job.out, 4u * HTH_LINE_MAX_BYTES);
	enum hth_status s = open_tokenizer(cli->args[0], &gguf, &tok, err);
	job.tok = tok;
	if (s == HTH_OK)
		s = hth_each_json_line(stdin, "stdin", job.opt->decode ? decode_row : encode_row, &job, err);
	hth_tokens_clear(&job.tokens);
	hth_buf_clear(&job.out);
	hth_tokenizer_free(tok);
	hth_gguf_close(&gguf);
	return s;
}

const struct hth_command hth_command_tokenize = {
	.name = "tokenize",
	.usage = "MODEL [--decode] < rows.jsonl",
	.summary = "the tokenizer by itself: text rows in, id rows out, and back",
	.about = "MODEL is a GGUF file (a vocabulary alone will do), a tokenizer.json or a folder with one.\n"
		 "Rows in: {\"text\":\"...\", \"add_special\":true, \"parse_special\":true} (both default to true).\n"
		 "Rows out: {\"ids\":[...]}. With --decode: {\"ids\":[...]} in, {\"text\":\"...\"} out.\n\n"
		 "  echo '{\"text\":\"IDLH of ammonia\"}' | hearth tokenize model.gguf",
	.options = options,
	.config_bytes = sizeof(struct tokenize_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
