/* Status codes and error text: how every fallible function of hearth reports failure.
 *
 * A fallible function returns enum hth_status and takes `struct hth_err *err` as its last argument.
 * The text is one sentence with four parts where they exist: where, found, expected, hint, e.g.
 *   model.gguf: tensor "blk.3.attn_k.weight": shape (1024,2048), expected (512,2048); was the file cut?
 * Callers add context in front with hth_err_prefix and pass the status on. Only main.c exits.
 * `err` may be NULL where a caller wants the status alone. */
#ifndef HTH_BASE_STATUS_H
#define HTH_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

enum hth_status {
	HTH_OK = 0,
	HTH_ERR_USAGE,       /* the command line or config is wrong: exit 2 */
	HTH_ERR_IO,          /* the system refused: open, read, write, rename, ... */
	HTH_ERR_FORMAT,      /* bytes from outside are not what their format says */
	HTH_ERR_SHAPE,       /* tensors do not fit each other */
	HTH_ERR_LIMIT,       /* a stated bound was passed (size, depth, steps) */
	HTH_ERR_MEMORY,      /* an allocation failed, or a plan does not fit */
	HTH_ERR_UNAVAILABLE, /* known, but not in this build, on this machine or for this family */
	HTH_ERR_NOTFOUND,    /* the thing named does not exist */
	HTH_ERR_EXISTS,      /* the thing to write is there already */
	HTH_ERR_INTERRUPTED, /* the user asked to stop */
	HTH_ERR_VALUE,       /* a computed value is unusable (NaN loss, no target tokens, ...) */
};

#define HTH_ERR_TEXT_BYTES 1024

struct hth_err {
	enum hth_status status;
	char text[HTH_ERR_TEXT_BYTES]; /* UTF-8, NUL-terminated; control bytes of foreign input are escaped */
};

#define HTH_MUST __attribute__((warn_unused_result))
#define HTH_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/* Sets err to (status, text) and returns status, so that `return hth_fail(err, ...)` reads well.
 * Text beyond the buffer is cut at a UTF-8 boundary. Never fails; err may be NULL. */
enum hth_status hth_fail(struct hth_err *err, enum hth_status status, const char *fmt, ...) HTH_PRINTF(3, 4);

/* The same with ": " and strerror(errno) appended; errno is read first. */
enum hth_status hth_fail_errno(struct hth_err *err, enum hth_status status, const char *fmt, ...) HTH_PRINTF(3, 4);

/* Puts context in front of the text that err holds: "prefix: text". Returns err->status. Where err may be NULL keep
 * the status of the failed call instead: it is not known here, and HTH_ERR_VALUE is returned so that a failure stays one. */
enum hth_status hth_err_prefix(struct hth_err *err, const char *fmt, ...) HTH_PRINTF(2, 3);

/* "out of memory: WHAT (N bytes)". */
enum hth_status hth_fail_memory(struct hth_err *err, const char *what, size_t bytes);

/* Copies foreign bytes into a fixed buffer so that they are safe to show in a message: invalid UTF-8 and
 * control bytes become \xNN, long text ends in "...". Returns `out`, NUL-terminated; out_bytes >= 8. */
const char *hth_quote(char *out, size_t out_bytes, const char *text, size_t text_bytes);

/* The process's exit code for a status: 0 done, 2 bad use, 1 all others. */
int hth_exit_code(enum hth_status status);

#endif
