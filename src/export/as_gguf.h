/* A model from a folder as the GGUF file it would be: its keys, its tokenizer and template, its tensors by their names
 * there. Matrices stay where they are; the quantising writer (quantize.h) goes through them in the rows' new order. */
#ifndef HTH_EXPORT_AS_GGUF_H
#define HTH_EXPORT_AS_GGUF_H

#include "models/parts.h"

struct hth_as_gguf {
	struct hth_gguf_made made;
	struct hth_model_part *parts; /* (n_parts): tensor i of made.g is part i; further tensors are not of the list */
	size_t n_parts;
	char *lossy; /* not NULL: a text that GGUF's keys alone would give other ids; then tokenizer.json is in the file */
};

/* m: from a folder, borrowed while this lives. HTH_ERR_UNAVAILABLE where GGUF cannot say what the folder does. */
HTH_MUST enum hth_status hth_as_gguf_open(const struct hth_model *m, struct hth_as_gguf *out, struct hth_err *err);
void hth_as_gguf_close(struct hth_as_gguf *a); /* safe on zeroed */

#endif
