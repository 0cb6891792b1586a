/* hearth render: the chat template by itself, as a filter of JSONL rows. */
#include "base/file.h"
#include "base/mem.h"
#include "cmd/lines.h"
#include "cmd/options.h"
#include "cmd/where.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_TEMPLATE_BYTES (8u << 20)

struct render_options {
	const char *now;
	bool origins;
};

static const struct hth_option options[] = {
	{"now", NULL, NULL, HTH_OPTION_TEXT, offsetof(struct render_options, now), 0, 0, NULL, NULL,
	 "2026-01-15T09:30:00", "the time that strftime_now shows [this moment]"},
	{"origins", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct render_options, origins), 0, 0, NULL, NULL, NULL,
	 "add which bytes came from which message"},
	{0},
};

struct render_job {
	const struct hth_template *tmpl;
	const struct hth_tokenizer *tok; /* NULL for a template file */
	bool origins;
	int64_t now;
	struct hth_buf out;
};

/* "2026-01-15T09:30:00" as seconds since 1970, taken as civil time without a zone. */
static bool parse_time(const char *text, int64_t *out)
{
	struct tm t = {0};
	char rest;
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%c", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min,
		   &t.tm_sec, &rest) != 6)
		return false;
	t.tm_year -= 1900;
	t.tm_mon -= 1;
	*out = (int64_t)timegm(&t);
	return t.tm_mon >= 0 && t.tm_mon < 12 && t.tm_mday >= 1 && t.tm_mday <= 31;
}

/* This moment's local civil time, as if it were UTC: what strftime_now shows. */
static int64_t local_now(void)
{
	time_t now = time(NULL);
	struct tm t;
	return localtime_r(&now, &t) != NULL ? (int64_t)timegm(&t) : (int64_t)now;
}

static void put_origins(struct hth_buf *out, const struct hth_rendered *r)
{
	static const char *const fields[] = {"content", "reasoning", "tool", "other"};
	(void)hth_buf_puts(out, ",\"origins\":[");
	for (size_t i = 0; i < r->n_origins; i++)
		(void)hth_buf_printf(out, "%s{\"start\":%zu,\"end\":%zu,\"message\":%d,\"field\":\"%s\"}",
				     i > 0 ? "," : "", r->origins[i].start, r->origins[i].end, r->origins[i].message,
				     fields[r->origins[i].field]);
	(void)hth_buf_putc(out, ']');
}

static enum hth_status render_row(void *ctx, const json_t *row, const char *where, struct hth_err *err)
{
	struct render_job *job = ctx;
	struct hth_rendered r = {0};
	struct hth_err row_err = {0};
	if (!json_is_object(row))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: expected an object with \"messages\"", where);
	enum hth_status s = hth_chat_render_row(job->tmpl, job->tok, row, job->now, &r, &row_err);
	hth_buf_reset(&job->out);
	if (s == HTH_OK) {
		(void)hth_buf_puts(&job->out, "{\"text\":");
		(void)hth_json_put_string(&job->out, hth_buf_str(&r.text), r.text.bytes);
		if (job->origins)
			put_origins(&job->out, &r);
	} else {
		(void)hth_buf_puts(&job->out, "{\"error\":");
		(void)hth_json_put_string(&job->out, row_err.text, strlen(row_err.text));
	}
	(void)hth_buf_puts(&job->out, "}\n");
	s = hth_buf_status(&job->out, where, err);
	if (s == HTH_OK && fwrite(job->out.data, 1, job->out.bytes, stdout) != job->out.bytes)
		s = hth_fail_errno(err, HTH_ERR_IO, "stdout: could not be written");
	hth_rendered_clear(&r);
	return s;
}

/* What a row is rendered with; closed by close_source. */
struct template_source {
	struct hth_model *model; /* of a folder */
	struct hth_gguf gguf;    /* of a file; a vocabulary alone will do */
	struct hth_tokenizer *tok;
	struct hth_template *tmpl;
};

static enum hth_status open_gguf(const char *path, struct template_source *t, struct hth_err *err)
{
	struct hth_gguf_str source = {0};
	enum hth_status s = hth_gguf_open_split(&t->gguf, path, err);
	if (s == HTH_OK)
		s = hth_gguf_string(&t->gguf, "tokenizer.chat_template", &source, err);
	if (s == HTH_OK && source.data == NULL)
		s = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: this model has no chat template", path);
	if (s == HTH_OK)
		s = hth_template_parse(source.data, source.bytes, path, &t->tmpl, err);
	if (s == HTH_OK)
		s = hth_tokenizer_from_gguf(&t->gguf, &t->tok, err);
	return s;
}

static enum hth_status open_source(const char *name, struct template_source *t, struct hth_err *err)
{
	char *path = NULL, *source = NULL;
	size_t bytes = 0;
	enum hth_status s = hth_model_where(name, &path, err);
	if (s == HTH_OK && hth_path_kind(path) == HTH_PATH_DIR) {
		s = hth_model_open(path, &t->model, err);
		if (s == HTH_OK && t->model->tmpl == NULL)
			s = hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: this model has no chat template", path);
	} else if (s == HTH_OK && hth_path_has_suffix(path, ".gguf")) {
		s = open_gguf(path, t, err);
	} else if (s == HTH_OK) {
		s = hth_file_read(path, MAX_TEMPLATE_BYTES, &source, &bytes, err);
		if (s == HTH_OK)
			s = hth_template_parse(source, bytes, path, &t->tmpl, err);
	}
	hth_free(source);
	hth_free(path);
	return s;
}

static void close_source(struct template_source *t)
{
	hth_template_free(t->tmpl);
	hth_tokenizer_free(t->tok);
	hth_gguf_close(&t->gguf);
	hth_model_close(t->model);
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct render_options *opt = cli->config;
	struct render_job job = {.origins = opt->origins, .now = local_now()};
	struct template_source t = {0};
	if (opt->now != NULL && !parse_time(opt->now, &job.now))
		return hth_fail(err, HTH_ERR_USAGE, "--now: found \"%s\", expected a time such as 2026-01-15T09:30:00",
				opt->now);
	hth_buf_init(&job.out, 4u * HTH_LINE_MAX_BYTES);
	enum hth_status s = open_source(cli->args[0], &t, err);
	if (s == HTH_OK) {
		job.tmpl = t.model != NULL ? t.model->tmpl : t.tmpl;
		job.tok = t.model != NULL ? t.model->tokenizer : t.tok;
		s = hth_each_context_line(stdin, "stdin", render_row, &job, err);
	}
	close_source(&t);
	hth_buf_clear(&job.out);
	return s;
}

const struct hth_command hth_command_render = {
	.name = "render",
	.usage = "TEMPLATE|MODEL [--now TIME] < rows.jsonl",
	.summary = "the chat template by itself: conversations in, text out",
	.about = "TEMPLATE is a Jinja file; MODEL a GGUF file (a vocabulary alone will do) or folder whose template is "
		 "used.\n"
		 "Rows in: {\"messages\":[...], \"tools\":..., \"documents\":..., \"add_generation_prompt\":true, "
		 "\"kwargs\":{...}}.\n"
		 "Rows out: {\"text\":\"...\"}, or {\"error\":\"...\"} for a row that the template refuses.",
	.options = options,
	.config_bytes = sizeof(struct render_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
