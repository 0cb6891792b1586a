/* A GGUF file that exists in memory only: keys made one by one, tensors that point at data somewhere else. What reads a
 * file (typed getters, tokenizer, mixes, the quantising writer) reads this one alike, so that a model from a folder
 * takes the same way out as one from a file. */
#ifndef HTH_FORMATS_GGUF_MADE_H
#define HTH_FORMATS_GGUF_MADE_H

#include "base/arena.h"
#include "formats/gguf.h"

struct hth_gguf_made {
	struct hth_gguf g; /* complete after hth_gguf_made_finish; map.path is `name`, map.data NULL */
	struct hth_arena arena;
	size_t cap_kv, cap_tensors;
	bool failed; /* memory ran out, or a value is too large: finish says so */
};

/* name: in front of messages. max_bytes: of all keys together. */
HTH_MUST enum hth_status hth_gguf_made_init(struct hth_gguf_made *m, const char *name, size_t max_bytes,
					    struct hth_err *err);
void hth_gguf_made_clear(struct hth_gguf_made *m); /* safe on zeroed */

/* Keys and texts are copied. An error shows at finish. */
void hth_gguf_made_u32(struct hth_gguf_made *m, const char *key, int64_t value);
void hth_gguf_made_f32(struct hth_gguf_made *m, const char *key, double value);
void hth_gguf_made_bool(struct hth_gguf_made *m, const char *key, bool value);
void hth_gguf_made_string(struct hth_gguf_made *m, const char *key, const char *text, size_t bytes);
/* data: (n) values in file layout (strings: length-prefixed), bytes in all; copied. */
void hth_gguf_made_array(struct hth_gguf_made *m, const char *key, enum hth_gguf_type elem, uint64_t n,
			 const void *data, size_t bytes);
/* ne: (n_dims) innermost first. data: borrowed; whole rows of `quant`, not checked here. */
void hth_gguf_made_tensor(struct hth_gguf_made *m, const char *name, int n_dims, const int64_t *ne,
			  enum hth_quant quant, const void *data);
/* Sorts names. HTH_ERR_FORMAT when one stands twice or breaks the rules of the format. */
HTH_MUST enum hth_status hth_gguf_made_finish(struct hth_gguf_made *m, struct hth_err *err);

#endif
