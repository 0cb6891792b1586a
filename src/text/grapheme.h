/* Grapheme clusters: what a reader takes for one character (Unicode's UAX 29, extended clusters). */
#ifndef HTH_TEXT_GRAPHEME_H
#define HTH_TEXT_GRAPHEME_H

#include <stddef.h>

/* Bytes of the first cluster of text[0..bytes), valid UTF-8, bytes >= 1. */
size_t hth_grapheme(const char *text, size_t bytes);

#endif
