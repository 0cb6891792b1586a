/* JSONL on stdin, as the small filter commands read it. */
#ifndef HTH_CMD_LINES_H
#define HTH_CMD_LINES_H

#include "base/json.h"

#include <stdio.h>

#define HTH_LINE_MAX_BYTES (64u << 20)

/* Opens a regular file of lines; a FIFO, a device or a folder is refused without waiting. Caller fclose()s *in. */
HTH_MUST enum hth_status hth_open_lines(const char *path, FILE **in, struct hth_err *err);
typedef enum hth_status hth_line_fn(void *ctx, const json_t *row, const char *where, struct hth_err *err);
/* Calls fn for every non-blank line of `in`, parsed; where is "NAME:LINE". Stops at the first failure. */
HTH_MUST enum hth_status hth_each_json_line(FILE *in, const char *name, hth_line_fn *fn, void *ctx,
					    struct hth_err *err);
/* The same for rows that templates render: integers of any size (hth_template_context_parse). */
HTH_MUST enum hth_status hth_each_context_line(FILE *in, const char *name, hth_line_fn *fn, void *ctx,
					       struct hth_err *err);

#endif
