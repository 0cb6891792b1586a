/* JSONL on stdin: see lines.h. */
#include "cmd/lines.h"

#include "base/file.h"
#include "text/jinja.h"

#include <string.h>
#include <unistd.h>

enum hth_status hth_open_lines(const char *path, FILE **in, struct hth_err *err)
{
	int fd = -1;
	*in = NULL;
	enum hth_status s = hth_file_open_regular(path, &fd, NULL, err);
	if (s != HTH_OK)
		return s;
	*in = fdopen(fd, "rb");
	if (*in == NULL) {
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: could not be opened", path);
		close(fd);
	}
	return s;
}

/* Appends one line without its newline; false at the end of the input with nothing read. */
static bool read_line(FILE *in, struct hth_buf *line)
{
	int c = getc(in);
	if (c == EOF)
		return false;
	for (; c != EOF && c != '\n'; c = getc(in))
		if (!hth_buf_putc(line, (char)c))
			return true; /* the caller sees `failed` */
	return true;
}

static bool blank(const struct hth_buf *line)
{
	const char *s = hth_buf_str(line);
	return strspn(s, " \t\r") == line->bytes;
}

/* How a line becomes a row. */
typedef enum hth_status parse_fn(const char *text, size_t bytes, const char *where, json_t **out, struct hth_err *err);

static enum hth_status parse_strict(const char *text, size_t bytes, const char *where, json_t **out,
				    struct hth_err *err)
{
	return hth_json_parse(text, bytes, HTH_JSON_STRICT, where, out, err);
}

static enum hth_status each_line(FILE *in, const char *name, parse_fn *parse, hth_line_fn *fn, void *ctx,
				 struct hth_err *err)
{
	struct hth_buf line;
	hth_buf_init(&line, HTH_LINE_MAX_BYTES);
	enum hth_status s = HTH_OK;
	for (unsigned long long n = 1; s == HTH_OK && read_line(in, &line); n++, hth_buf_reset(&line)) {
		char where[160];
		snprintf(where, sizeof where, "%.100s:%llu", name, n);
		s = hth_buf_status(&line, where, err);
		if (s != HTH_OK || blank(&line))
			continue;
		json_t *row = NULL;
		s = parse(hth_buf_str(&line), line.bytes, where, &row, err);
		if (s == HTH_OK)
			s = fn(ctx, row, where, err);
		json_decref(row);
	}
	if (s == HTH_OK && ferror(in))
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: could not be read", name);
	hth_buf_clear(&line);
	return s;
}

enum hth_status hth_each_json_line(FILE *in, const char *name, hth_line_fn *fn, void *ctx, struct hth_err *err)
{
	return each_line(in, name, parse_strict, fn, ctx, err);
}

enum hth_status hth_each_context_line(FILE *in, const char *name, hth_line_fn *fn, void *ctx, struct hth_err *err)
{
	return each_line(in, name, hth_template_context_parse, fn, ctx, err);
}
