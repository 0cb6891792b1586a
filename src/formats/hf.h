/* A Hugging Face model folder: config.json, safetensors (one file, or shards and their index), a chat template.
 * Every name that leads to another file stays inside the folder, every tensor is in exactly one shard. What the keys
 * of config.json mean is the reader's business (models/config.c); tokenizer.json is text/tokenizer.h's. */
#ifndef HTH_FORMATS_HF_H
#define HTH_FORMATS_HF_H

#include "base/json.h"
#include "formats/safetensors.h"

struct hth_hf {
	char *path;                     /* of the folder, as given; owned */
	char *config_path;              /* "DIR/config.json", for messages; owned */
	json_t *config;                 /* an object */
	size_t n_shards, n_tensors;     /* tensors of all shards together */
	struct hth_safetensors *shards; /* (n_shards), sorted by file name */
	size_t *first;                  /* (n_shards) number of a shard's first tensor */
	uint64_t bytes;                 /* of all shards */
};

HTH_MUST enum hth_status hth_hf_open(struct hth_hf *h, const char *path, struct hth_err *err);
void hth_hf_close(struct hth_hf *h); /* safe on zeroed */
/* NULL when absent. *number (may be NULL): 0 .. n_tensors-1. */
const struct hth_st_tensor *hth_hf_find(const struct hth_hf *h, const char *name, size_t *number);
const struct hth_st_tensor *hth_hf_tensor(const struct hth_hf *h, size_t number); /* number < n_tensors */
/* The chat template: chat_template.jinja, else chat_template of tokenizer_config.json (a text, or a list of named
 * ones of which "default" is taken). *out NULL when there is none; caller frees. */
HTH_MUST enum hth_status hth_hf_template(const struct hth_hf *h, char **out, size_t *bytes, struct hth_err *err);

#endif
