/* Where a model comes from: a GGUF file or a Hugging Face folder, asked alike. bind.c says which tensor it wants by
 * both of its names; the source knows one of them, and notes what was asked for, so that what is left over shows. */
#ifndef HTH_MODELS_SOURCE_H
#define HTH_MODELS_SOURCE_H

#include "formats/safetensors.h"
#include "models/config.h"

/* A tensor as it is stored. Rows of q and k may be permuted (hth_family.gguf_permuted) in GGUF sources. */
struct hth_source_tensor {
	enum hth_quant quant; /* HTH_QUANT_NONE: the source has no such tensor */
	int n_dims;
	int64_t dim[HTH_ST_MAX_DIMS]; /* outermost first */
	const uint8_t *data;          /* borrowed from the source; not aligned */
	char name[96];                /* as the source calls it, for messages */
};

struct hth_source;
struct hth_source_kind;
/* A tensor that is laid out anew as blocks, in pages that are filled while somebody holds them. */
struct hth_repacked {
	uint8_t *data; /* (bytes) owned; NULL: not asked for yet */
	uint64_t bytes;
	enum hth_quant quant;
	int holders;
	bool filled;
	/* Writes `bytes` of tensor `number` to out. */
	enum hth_status (*fill)(const struct hth_source *s, size_t number, uint8_t *out, struct hth_err *err);
	size_t scales_number; /* what fill needs, of experts */
	bool paired;
};
struct hth_source {
	const struct hth_source_kind *kind;
	const char *path;     /* borrowed from the model */
	struct hth_keys keys; /* of the config */
	size_t n_tensors, n_used;
	bool *used;            /* (n_tensors) somebody asked for it; owned */
	uint64_t bytes;        /* of weights on disk */
	struct hth_gguf *gguf; /* one of these; owned */
	struct hth_hf *hf;
	struct hth_repacked *repacked; /* (n_tensors) or NULL: blocks made from several tensors; owned */
	bool on_demand;                /* these are filled by hth_source_hold; else as soon as they are asked for */
	size_t idle;                   /* filled and held by nobody, kept until another is filled; SIZE_MAX: none */
};

struct hth_source_kind {
	bool gguf; /* names, row order and norms are GGUF's */
	/* Opens s->path; finds the family. */
	enum hth_status (*open)(struct hth_source *s, struct hth_err *err);
	void (*close)(struct hth_source *s);
	enum hth_status (*find)(struct hth_source *s, struct hth_source_tensor *t, struct hth_err *err); /* t->name */
	const char *(*tensor_name)(const struct hth_source *s, size_t number, size_t *bytes);
	enum hth_status (*tokenizer)(const struct hth_source *s, int64_t n_vocab, struct hth_tokenizer **out,
				     struct hth_err *err);
	/* Text of the chat template, caller frees; *out NULL: none. */
	enum hth_status (*template_text)(const struct hth_source *s, char **out, size_t *bytes, struct hth_err *err);
	/* The name the model gives itself, {NULL, 0}: none. */
	enum hth_status (*model_name)(const struct hth_source *s, struct hth_gguf_str *out, struct hth_err *err);
};
extern const struct hth_source_kind hth_source_gguf, hth_source_hf;

/* path: borrowed while the source lives. A folder is a Hugging Face model, all else a GGUF file. */
HTH_MUST enum hth_status hth_source_open(const char *path, struct hth_source **out, struct hth_err *err);
void hth_source_close(struct hth_source *s); /* NULL is fine */
/* Finds "GGUF.SUFFIX" or "HF.SUFFIX" and marks it used; t->quant HTH_QUANT_NONE when absent. A NULL name: absent. */
HTH_MUST enum hth_status hth_source_take(struct hth_source *s, const char *gguf, const char *hf, const char *suffix,
					 struct hth_source_tensor *t, struct hth_err *err);
/* gpt-oss's folders: "STEM.NAME" of all experts as one tensor of three dimensions, (E,N,K), laid out anew in the source's
 * memory: from "NAME_blocks" and "NAME_scales" (mxfp4), or from "NAME" (E,K,N). paired: rows 2i and 2i+1 (gate and up)
 * become rows i and N/2 + i. */
HTH_MUST enum hth_status hth_source_take_experts(struct hth_source *s, const char *stem, const char *name, bool paired,
						 struct hth_source_tensor *t, struct hth_err *err);
/* Room for tensor `number` as `how` says; held at once, for good, unless the source is on demand and `now` false. */
HTH_MUST enum hth_status hth_source_lay_out(struct hth_source *s, size_t number, const struct hth_repacked *how, bool now,
					    struct hth_err *err);
/* Fills the tensor laid out anew that `data` lies in, if it is one; as many releases as holds. Not for several threads. */
HTH_MUST enum hth_status hth_source_hold(struct hth_source *s, const uint8_t *data, struct hth_err *err);
void hth_source_release(struct hth_source *s, const uint8_t *data);
HTH_MUST enum hth_status hth_source_hold_all(struct hth_source *s, struct hth_err *err);
void hth_source_mark(struct hth_source *s, size_t number);
/* An error naming a tensor that nobody asked for; HTH_OK when there is none. Those that the family leaves aside are told
 * in the log. */
HTH_MUST enum hth_status hth_source_check_all_used(const struct hth_source *s, const struct hth_model_config *c,
						   struct hth_err *err);
/* HTH_ERR_UNAVAILABLE with the list of families. hf: their model types. */
enum hth_status hth_source_unknown_family(const struct hth_source *s, const char *found, bool hf, struct hth_err *err);

#endif
