/* JSON through jansson, behind the checks that hostile files need: nesting depth is bounded before parsing,
 * a byte-order mark is stripped, duplicate keys are rejected. Callers then use jansson's own json_t calls to
 * walk a document, and the typed getters below where a message should say which key was wrong. */
#ifndef HTH_BASE_JSON_H
#define HTH_BASE_JSON_H

#include "base/buf.h"

#include <jansson.h>

#define HTH_JSON_MAX_DEPTH 64

enum hth_json_flags {
	HTH_JSON_STRICT = 0,
	HTH_JSON_BIG_INT_AS_REAL = 1, /* Hugging Face configs: model_max_length is 1e30 written as an integer */
	HTH_JSON_ALLOW_SCALAR = 2,    /* the document may be a string, number, true, false or null */
};

/* Parses one document of `bytes` bytes. `where` ("train.jsonl:12") starts every message. \u0000 in strings is
 * allowed (use json_string_length). NaN and Infinity are rejected. *out: caller json_decref()s. */
HTH_MUST enum hth_status hth_json_parse(const char *text, size_t bytes, int flags, const char *where, json_t **out,
                                        struct hth_err *err);
/* A whole file of at most max_bytes. */
HTH_MUST enum hth_status hth_json_read(const char *path, size_t max_bytes, int flags, json_t **out,
                                       struct hth_err *err);

/* Typed getters on an object. A missing key or null gives the default; a wrong type or a value out of range is
 * HTH_ERR_FORMAT: `where: "key": found a string, expected an integer in 1..4096`. */
HTH_MUST enum hth_status hth_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t def,
                                      int64_t *out, const char *where, struct hth_err *err);
HTH_MUST enum hth_status hth_json_real(const json_t *obj, const char *key, double min, double max, double def,
                                       double *out, const char *where, struct hth_err *err);
HTH_MUST enum hth_status hth_json_bool(const json_t *obj, const char *key, bool def, bool *out, const char *where,
                                       struct hth_err *err);
/* Borrowed from obj; NULL default allowed. */
HTH_MUST enum hth_status hth_json_str(const json_t *obj, const char *key, const char *def, const char **out,
                                      const char *where, struct hth_err *err);

/* Serialises with insertion order kept and UTF-8 unescaped, as jansson's JSON_COMPACT or indent n. */
HTH_MUST enum hth_status hth_json_dump(const json_t *doc, int indent, struct hth_buf *out, struct hth_err *err);
/* Appends a quoted, escaped JSON string; invalid UTF-8 becomes U+FFFD. */
bool hth_json_put_string(struct hth_buf *out, const char *s, size_t bytes);

#endif
