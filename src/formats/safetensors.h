/* safetensors files: an 8-byte header length, a JSON header, then data. Validated whole: offsets tile the data
 * section without overlap, holes or trailing bytes. Source: huggingface/safetensors README (format section). */
#ifndef HTH_FORMATS_SAFETENSORS_H
#define HTH_FORMATS_SAFETENSORS_H

#include "base/arena.h"
#include "base/file.h"

enum hth_st_dtype {
	HTH_ST_F64, HTH_ST_F32, HTH_ST_F16, HTH_ST_BF16, HTH_ST_I64, HTH_ST_I32, HTH_ST_I16, HTH_ST_I8,
	HTH_ST_U64, HTH_ST_U32, HTH_ST_U16, HTH_ST_U8, HTH_ST_BOOL, HTH_ST_F8_E4M3, HTH_ST_F8_E5M2,
};

#define HTH_ST_MAX_DIMS 8

struct hth_st_tensor {
	const char *name; /* NUL-terminated, in the file's arena */
	enum hth_st_dtype dtype;
	int n_dims;       /* 0 for a scalar */
	int64_t dim[HTH_ST_MAX_DIMS]; /* outermost first */
	const uint8_t *data;          /* borrowed from the map */
	uint64_t bytes;
};

struct hth_safetensors {
	struct hth_map map;
	struct hth_arena arena;
	size_t n_tensors, n_meta;
	struct hth_st_tensor *tensors; /* sorted by name */
	const char **meta_keys, **meta_values;
};

HTH_MUST enum hth_status hth_safetensors_open(struct hth_safetensors *s, const char *path, struct hth_err *err);
void hth_safetensors_close(struct hth_safetensors *s); /* safe on zeroed */
const struct hth_st_tensor *hth_safetensors_find(const struct hth_safetensors *s, const char *name);
const char *hth_st_dtype_name(enum hth_st_dtype t); /* "BF16" */
size_t hth_st_dtype_bytes(enum hth_st_dtype t);
/* (n) values as f32, from F32, F16, BF16 or F64 data; HTH_ERR_UNAVAILABLE for other types. */
HTH_MUST enum hth_status hth_st_to_f32(const struct hth_st_tensor *t, float *out, struct hth_err *err);

/* Writes a file atomically. Data of tensor i is tensors[i].data. Names are written in the order given; meta in
 * pairs (key, value), n_meta pairs. The header is padded with spaces to 8 bytes, as the reference writer does. */
HTH_MUST enum hth_status hth_safetensors_write(const char *path, const struct hth_st_tensor *tensors, size_t n,
                                               const char *const (*meta)[2], size_t n_meta, struct hth_err *err);

/* The same piece by piece: the header first (tensors' data is not looked at), then the data of all in that order, in pieces
 * of any size. Commit fails unless all came; abort is safe on zeroed and after commit, and leaves no file. */
struct hth_st_writer {
	struct hth_writer file;
	uint64_t left; /* bytes of data that are still to come */
};
HTH_MUST enum hth_status hth_st_writer_open(struct hth_st_writer *w, const char *path,
                                            const struct hth_st_tensor *tensors, size_t n,
                                            const char *const (*meta)[2], size_t n_meta, struct hth_err *err);
HTH_MUST enum hth_status hth_st_writer_write(struct hth_st_writer *w, const void *data, size_t bytes,
                                             struct hth_err *err);
HTH_MUST enum hth_status hth_st_writer_commit(struct hth_st_writer *w, struct hth_err *err);
void hth_st_writer_abort(struct hth_st_writer *w);

#endif
