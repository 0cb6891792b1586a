/* UTF-8 stepping. */
#ifndef HTH_BASE_UTF8_H
#define HTH_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTH_UTF8_INVALID 0xFFFFFFFFu

/* Decodes one code point of text[0..bytes), bytes >= 1. Returns it and sets *used (1..4); an invalid, overlong,
 * surrogate or cut sequence returns HTH_UTF8_INVALID with *used = 1. */
uint32_t hth_utf8_next(const char *text, size_t bytes, size_t *used);
/* Writes 1..4 bytes for a valid code point; returns the count, 0 for surrogates and values past U+10FFFF. */
size_t hth_utf8_put(uint32_t code_point, char out[4]);
bool hth_utf8_valid(const char *text, size_t bytes);
/* Bytes at the end of text that begin a sequence not yet complete (0..3): held back while streaming. */
size_t hth_utf8_partial_tail(const char *text, size_t bytes);

#endif
