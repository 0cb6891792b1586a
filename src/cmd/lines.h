/* JSONL on stdin, as the small filter commands read it. */
#ifndef HTH_CMD_LINES_H
#define HTH_CMD_LINES_H

#include "base/json.h"

#include <stdio.h>

#define HTH_LINE_MAX_BYTES (64u << 20)

/* Calls fn for every non-blank line of `in`, parsed; where is "NAME:LINE". Stops at the first failure. */
HTH_MUST enum hth_status hth_each_json_line(FILE *in, const char *name,
					    enum hth_status (*fn)(void *ctx, const json_t *row, const char *where,
								  struct hth_err *err),
					    void *ctx, struct hth_err *err);

#endif
