/* Lines of a JSONL file as a stream: numbered from 1, line ends and byte-order mark taken off, blank lines skipped.
 * Memory: one line. Reads rather than maps, so that a file cut meanwhile is an error and not SIGBUS. */
#ifndef HTH_DATA_JSONL_H
#define HTH_DATA_JSONL_H

#include "base/buf.h"

#define HTH_JSONL_MAX_LINE_BYTES ((size_t)64 << 20)

struct hth_jsonl {
	int fd;              /* -1: closed */
	const char *path;    /* borrowed */
	char *chunk;         /* what was read last; owned */
	size_t at, filled;   /* of chunk */
	bool ended;          /* the system reported the end */
	struct hth_buf text; /* the line */
	uint32_t line;       /* its number */
};

HTH_MUST enum hth_status hth_jsonl_open(struct hth_jsonl *r, const char *path, struct hth_err *err);
/* The next line that is not blank: r->text, r->line, *more true; at the end *more is false. A line over the limit is
 * HTH_ERR_LIMIT and a wrong encoding HTH_ERR_FORMAT; after HTH_ERR_LIMIT reading may go on with the line behind it. */
HTH_MUST enum hth_status hth_jsonl_next(struct hth_jsonl *r, bool *more, struct hth_err *err);
void hth_jsonl_close(struct hth_jsonl *r); /* safe after a failed open, and twice */

#endif
