/* Between json.c and json_heap.c. */
#ifndef HTH_BASE_JSON_INT_H
#define HTH_BASE_JSON_INT_H

#include <jansson.h>
#include <stdbool.h>

/* json_loadb that survives a failed allocation: false then, with nothing leaked. Otherwise *out is jansson's answer:
 * a document, or NULL with *why. */
bool hth_json_load(const char *text, size_t bytes, size_t decode_flags, json_t **out, json_error_t *why);

#endif
