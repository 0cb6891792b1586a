/* JSONL on stdin: see lines.h. */
#include "cmd/lines.h"

#include "base/file.h"

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

enum hth_status hth_each_json_line(FILE *in, const char *name,
				   enum hth_status (*fn)(void *ctx, const json_t *row, const char *where,
							 struct hth_err *err),
				   void *ctx, struct hth_err *err)
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
		s = hth_json_parse(hth_buf_str(&line), line.bytes, HTH_JSON_STRICT, where, &row, err);
		if (s == HTH_OK)
			s = fn(ctx, row, where, err);
		json_decref(row);
	}
	if (s == HTH_OK && ferror(in))
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: could not be read", name);
	hth_buf_clear(&line);
	return s;
}
