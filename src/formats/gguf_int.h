/* What the GGUF reader, its getters and the writer share: the cursor over hostile bytes and the value walker. */
#ifndef HTH_FORMATS_GGUF_INT_H
#define HTH_FORMATS_GGUF_INT_H

#include "formats/gguf.h"

#define HTH_GGUF_DEFAULT_ALIGNMENT 32u
#define HTH_GGUF_MAX_ALIGNMENT (1u << 20)
#define HTH_GGUF_MAX_KEY_BYTES 65535u
#define HTH_GGUF_MAX_NAME_BYTES 63u /* ggml keeps names in char[64] with a NUL */
#define HTH_GGUF_ALIGNMENT_KEY "general.alignment"

/* Reads forward through [at, end) and never past it. */
struct hth_gguf_cursor {
	const uint8_t *base, *at, *end;
};

/* Tables by pointer, sorted by name: the worst case of a lookup is known, whatever names a file brings. */
struct hth_gguf_index {
	const struct hth_gguf_kv **kv;          /* (n_kv) */
	const struct hth_gguf_tensor **tensors; /* (n_tensors) */
};

static inline size_t hth_gguf_left(const struct hth_gguf_cursor *c)
{
	return (size_t)(c->end - c->at);
}

/* Little-endian numbers; the caller has checked that the bytes are there. */
uint32_t hth_gguf_le32(const uint8_t *p);
uint64_t hth_gguf_le64(const uint8_t *p);
bool hth_gguf_read_u32(struct hth_gguf_cursor *c, uint32_t *out);
bool hth_gguf_read_u64(struct hth_gguf_cursor *c, uint64_t *out);

/* Bytes of a value of a fixed-size type; 0 for STRING, ARRAY and ids that do not exist. */
size_t hth_gguf_type_bytes(uint32_t type);
const char *hth_gguf_type_name(uint32_t type); /* "u32"; "?" for ids that do not exist */

/* A length-prefixed string; fails when it passes the end. `what` names it in the message. */
HTH_MUST enum hth_status hth_gguf_read_str(struct hth_gguf_cursor *c, const char *what, struct hth_gguf_str *out,
					   struct hth_err *err);
/* Checks and steps over n values of a type (not ARRAY). */
HTH_MUST enum hth_status hth_gguf_skip_values(struct hth_gguf_cursor *c, uint32_t type, uint64_t n,
					      struct hth_err *err);
/* Keys and tensor names: not empty, at most max_bytes, UTF-8 without NUL. */
HTH_MUST enum hth_status hth_gguf_check_name(struct hth_gguf_str s, size_t max_bytes, const char *what,
					     struct hth_err *err);
HTH_MUST enum hth_status hth_gguf_check_alignment(uint64_t alignment, struct hth_err *err);
/* Sorts the tables that g->index points into; names that stand twice and tensors that overlap are HTH_ERR_FORMAT. */
HTH_MUST enum hth_status hth_gguf_index_names(struct hth_gguf *g, struct hth_gguf_index *index, struct hth_err *err);
/* A new index of g's tables (the old one goes), without the test for overlaps. */
HTH_MUST enum hth_status hth_gguf_index_new(struct hth_gguf *g, struct hth_err *err);
int hth_gguf_str_order(struct hth_gguf_str a, struct hth_gguf_str b);

#endif
