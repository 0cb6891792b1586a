/* Reading lines: chunks from the system into one growing line buffer with a limit. What a line means is rows.c's. */
#include "data/jsonl.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 16)

enum hth_status hth_jsonl_open(struct hth_jsonl *r, const char *path, struct hth_err *err)
{
	*r = (struct hth_jsonl){.fd = -1, .path = path};
	hth_buf_init(&r->text, HTH_JSONL_MAX_LINE_BYTES);
	enum hth_status status = hth_file_open_regular(path, &r->fd, NULL, err);
	if (status != HTH_OK)
		return status;
	r->chunk = hth_alloc(CHUNK_BYTES);
	if (r->chunk == NULL) {
		hth_jsonl_close(r);
		return hth_fail_memory(err, "a data file's buffer", CHUNK_BYTES);
	}
	return HTH_OK;
}

void hth_jsonl_close(struct hth_jsonl *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	hth_free(r->chunk);
	r->chunk = NULL;
	hth_buf_clear(&r->text);
}

static enum hth_status fill(struct hth_jsonl *r, struct hth_err *err)
{
	ssize_t n;

	do {
		n = read(r->fd, r->chunk, CHUNK_BYTES);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return hth_fail_errno(err, HTH_ERR_IO, "%s: read failed after line %u", r->path, r->line);
	r->at = 0;
	r->filled = (size_t)n;
	r->ended = n == 0;
	return HTH_OK;
}

/* One raw line into r->text; *got is false when there is none left. A line too long is read to its end all the same. */
static enum hth_status raw_line(struct hth_jsonl *r, bool *got, struct hth_err *err)
{
	bool any = false, whole = false;

	hth_buf_reset(&r->text);
	while (!whole) {
		if (r->at == r->filled && !r->ended) {
			enum hth_status status = fill(r, err);
			if (status != HTH_OK)
				return status;
		}
		if (r->at == r->filled)
			break;
		const char *from = r->chunk + r->at, *end = memchr(from, '\n', r->filled - r->at);
		size_t n = end != NULL ? (size_t)(end - from) : r->filled - r->at;
		whole = end != NULL;
		any = true;
		r->at += n + (whole ? 1 : 0);
		hth_buf_add(&r->text, from, n);
	}
	*got = any;
	if (!any)
		return HTH_OK;
	if (r->line == UINT32_MAX)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: more than %u lines", r->path, UINT32_MAX);
	r->line++;
	if (r->text.failed && r->text.no_memory)
		return hth_fail_memory(err, "a line of a data file", r->text.bytes);
	if (r->text.failed)
		return hth_fail(err, HTH_ERR_LIMIT, "%s:%u: the line is longer than %zu bytes", r->path, r->line,
				r->text.max_bytes);
	return HTH_OK;
}

static void drop_front(struct hth_buf *b, size_t bytes)
{
	memmove(b->data, b->data + bytes, b->bytes - bytes + 1);
	b->bytes -= bytes;
}

static bool is_blank(const struct hth_buf *b)
{
	for (size_t i = 0; i < b->bytes; i++)
		if (strchr(" \t\r\f\v", b->data[i]) == NULL || b->data[i] == '\0')
			return false;
	return true;
}

enum hth_status hth_jsonl_next(struct hth_jsonl *r, bool *more, struct hth_err *err)
{
	for (;;) {
		enum hth_status status = raw_line(r, more, err);
		if (status != HTH_OK || !*more)
			return status;
		struct hth_buf *b = &r->text;
		if (r->line == 1 && b->bytes >= 2 &&
		    (memcmp(b->data, "\xFF\xFE", 2) == 0 || memcmp(b->data, "\xFE\xFF", 2) == 0))
			return hth_fail(err, HTH_ERR_FORMAT, "%s: is UTF-16, expected UTF-8; save it as UTF-8",
					r->path);
		if (r->line == 1 && b->bytes >= 3 && memcmp(b->data, "\xEF\xBB\xBF", 3) == 0)
			drop_front(b, 3);
		if (b->bytes > 0 && b->data[b->bytes - 1] == '\r')
			b->data[--b->bytes] = '\0';
		if (!is_blank(b))
			return HTH_OK;
	}
}
