/* A growing byte buffer that cannot be made without a maximum size. Always NUL-terminated past its length,
 * so that text can be used as a C string. A failed append leaves the buffer as it was and sets `failed`;
 * a sequence of appends may be checked once, at its end. */
#ifndef HTH_BASE_BUF_H
#define HTH_BASE_BUF_H

#include "base/status.h"

#include <stdint.h>

struct hth_buf {
	char *data;       /* owned; NULL until the first append */
	size_t bytes;     /* length in use */
	size_t cap;       /* allocated */
	size_t max_bytes; /* limit given at init */
	bool failed;      /* an append did not fit or memory ran out; later appends then fail too */
	bool no_memory;   /* why it failed: memory, not the limit */
};

void hth_buf_init(struct hth_buf *b, size_t max_bytes);
void hth_buf_clear(struct hth_buf *b); /* frees; the buffer may be used again with the same limit */
void hth_buf_reset(struct hth_buf *b); /* length 0, memory kept, failed forgotten */
bool hth_buf_add(struct hth_buf *b, const void *data, size_t bytes);
bool hth_buf_puts(struct hth_buf *b, const char *s);
bool hth_buf_putc(struct hth_buf *b, char c);
bool hth_buf_printf(struct hth_buf *b, const char *fmt, ...) HTH_PRINTF(2, 3);
/* Appends a code point as UTF-8; surrogates and values past U+10FFFF become U+FFFD. */
bool hth_buf_put_utf8(struct hth_buf *b, uint32_t code_point);
/* The text, never NULL; borrowed until the next append or clear. */
const char *hth_buf_str(const struct hth_buf *b);
/* Hands the memory to the caller (hth_free) and empties the buffer; bytes may be NULL. NULL when an append failed
 * or memory runs out; the buffer then stays as it was. */
char *hth_buf_take(struct hth_buf *b, size_t *bytes);
/* HTH_OK, or HTH_ERR_LIMIT / HTH_ERR_MEMORY naming `what`. */
HTH_MUST enum hth_status hth_buf_status(const struct hth_buf *b, const char *what, struct hth_err *err);

#endif
