/* GGUF files (versions 2 and 3, little-endian), read through a map and validated whole before anything is
 * allocated from their numbers; and the writer. Layout: docs/formats/gguf.md; source: ggml's docs/gguf.md.
 *
 * Everything checked here is safe to use without a second look: every tensor lies inside the file, its bytes fit
 * its shape and type, names and keys are unique, NUL-free UTF-8. Semantic checks (head counts, vocabulary) belong
 * to the reader of the key. */
#ifndef HTH_FORMATS_GGUF_H
#define HTH_FORMATS_GGUF_H

#include "base/file.h"
#include "quant/quant.h"

enum hth_gguf_type {
	HTH_GGUF_U8, HTH_GGUF_I8, HTH_GGUF_U16, HTH_GGUF_I16, HTH_GGUF_U32, HTH_GGUF_I32, HTH_GGUF_F32,
	HTH_GGUF_BOOL, HTH_GGUF_STRING, HTH_GGUF_ARRAY, HTH_GGUF_U64, HTH_GGUF_I64, HTH_GGUF_F64,
};

struct hth_gguf_str {
	const char *data; /* borrowed from the map: NOT NUL-terminated */
	size_t bytes;
};

struct hth_gguf_kv {
	struct hth_gguf_str key;
	enum hth_gguf_type type;
	enum hth_gguf_type elem_type; /* arrays: element type (never ARRAY) */
	uint64_t n;                   /* arrays: elements; otherwise 1 */
	const uint8_t *data;          /* first value; strings: at their length field */
	size_t data_bytes;
};

struct hth_gguf_tensor {
	struct hth_gguf_str name;
	int n_dims;
	int64_t ne[4];       /* ggml order: ne[0] is the row length; unused are 1 */
	enum hth_quant quant;
	const uint8_t *data; /* borrowed from the map */
	uint64_t bytes;
};

struct hth_gguf {
	struct hth_map map;    /* of the file, or of the first part */
	struct hth_map *parts; /* (n_parts) the other parts of a split model; owned */
	size_t n_parts;
	uint64_t bytes;        /* of all files */
	uint32_t version;
	uint64_t alignment;
	size_t n_kv, n_tensors;
	struct hth_gguf_kv *kv;          /* in file order */
	struct hth_gguf_tensor *tensors; /* in file order */
	void *index;                     /* private: hash of names */
};

HTH_MUST enum hth_status hth_gguf_open(struct hth_gguf *g, const char *path, struct hth_err *err);
void hth_gguf_close(struct hth_gguf *g); /* safe on zeroed */
/* The same for a model that may lie in several files: path may be any part ("x-00002-of-00003.gguf"), all are mapped. Keys
 * are the first part's, tensors those of all, in the order of the parts. One file alone opens as by hth_gguf_open.
 * HTH_ERR_NOTFOUND names a part that is missing, HTH_ERR_FORMAT parts that do not belong together (gguf_split.c). */
HTH_MUST enum hth_status hth_gguf_open_split(struct hth_gguf *g, const char *path, struct hth_err *err);

const struct hth_gguf_kv *hth_gguf_find(const struct hth_gguf *g, const char *key); /* NULL when absent */
const struct hth_gguf_tensor *hth_gguf_tensor(const struct hth_gguf *g, const char *name);

/* Typed getters. Absent: *out = def (or HTH_ERR_NOTFOUND from the `need` forms). Any integer type is accepted for
 * integers if the value fits min..max, f32 and f64 for reals; other types are HTH_ERR_FORMAT naming file and key. */
HTH_MUST enum hth_status hth_gguf_int(const struct hth_gguf *g, const char *key, int64_t min, int64_t max, int64_t def,
                                      int64_t *out, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_need_int(const struct hth_gguf *g, const char *key, int64_t min, int64_t max,
                                           int64_t *out, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_real(const struct hth_gguf *g, const char *key, double def, double *out,
                                       struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_bool(const struct hth_gguf *g, const char *key, bool def, bool *out,
                                       struct hth_err *err);
/* *out = {NULL, 0} when absent. */
HTH_MUST enum hth_status hth_gguf_string(const struct hth_gguf *g, const char *key, struct hth_gguf_str *out,
                                         struct hth_err *err);
/* Arrays. An iterator over strings (they are stored one after the other), and element getters for numbers. */
struct hth_gguf_strings {
	const uint8_t *at, *end;
	uint64_t left;
};
HTH_MUST enum hth_status hth_gguf_strings(const struct hth_gguf *g, const char *key, struct hth_gguf_strings *it,
                                          struct hth_err *err); /* absent: HTH_ERR_NOTFOUND */
bool hth_gguf_next(struct hth_gguf_strings *it, struct hth_gguf_str *out);
int64_t hth_gguf_array_int(const struct hth_gguf_kv *kv, uint64_t i); /* i < kv->n, integer or bool elem_type */
double hth_gguf_array_real(const struct hth_gguf_kv *kv, uint64_t i); /* i < kv->n, any numeric elem_type */
bool hth_gguf_str_equal(struct hth_gguf_str s, const char *text);

/* The writer: metadata first, then the tensor list, then data in the same order, atomically. */
struct hth_gguf_writer;
HTH_MUST enum hth_status hth_gguf_writer_new(const char *path, struct hth_gguf_writer **out, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_put_int(struct hth_gguf_writer *w, const char *key, enum hth_gguf_type type,
                                          int64_t value, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_put_f32(struct hth_gguf_writer *w, const char *key, float value, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_put_bool(struct hth_gguf_writer *w, const char *key, bool value, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_put_string(struct hth_gguf_writer *w, const char *key, const char *value, size_t bytes,
                                             struct hth_err *err);
/* A whole array: `data` in file layout (strings: length-prefixed). */
HTH_MUST enum hth_status hth_gguf_put_array(struct hth_gguf_writer *w, const char *key, enum hth_gguf_type elem_type,
                                            uint64_t n, const void *data, size_t bytes, struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_put_kv(struct hth_gguf_writer *w, const struct hth_gguf_kv *kv, struct hth_err *err);
/* Announces a tensor; its data follows, in the same order, through hth_gguf_write_data. */
HTH_MUST enum hth_status hth_gguf_add_tensor(struct hth_gguf_writer *w, const char *name, int n_dims,
                                             const int64_t *ne, enum hth_quant quant, struct hth_err *err);
/* The next tensor's data, in one or more pieces that add up to its size exactly. */
HTH_MUST enum hth_status hth_gguf_write_data(struct hth_gguf_writer *w, const void *data, size_t bytes,
                                             struct hth_err *err);
/* Fails unless all announced data came. Frees w in every case; on failure no file is left. */
HTH_MUST enum hth_status hth_gguf_writer_commit(struct hth_gguf_writer *w, struct hth_err *err);
void hth_gguf_writer_abort(struct hth_gguf_writer *w); /* NULL is fine */

#endif
