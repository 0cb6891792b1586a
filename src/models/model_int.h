/* What the files of this folder share: names of tensors, binding, rotation frequencies. */
#ifndef HTH_MODELS_MODEL_INT_H
#define HTH_MODELS_MODEL_INT_H

#include "formats/heads.h"
#include "models/model.h"

struct hth_source_tensor;

/* Vectors of a layer, in file order. */
enum hth_vector_kind {
	HTH_ATTN_NORM,
	HTH_ATTN_POST_NORM,
	HTH_FFN_NORM,
	HTH_FFN_POST_NORM,
	HTH_Q_NORM,
	HTH_K_NORM,
	HTH_OWN_NORM,
	HTH_DENSE_POST_NORM,
	HTH_EXPERT_NORM,
	HTH_EXPERT_POST_NORM,
	HTH_VECTOR_COUNT
};
/* Is there such a linear in the layer, experts aside? */
bool hth_linear_there(const struct hth_model_config *c, int64_t layer, enum hth_linear_kind k);
struct hth_weight *hth_layer_vector(struct hth_layer *layer, enum hth_vector_kind k);

/* "blk.3.attn_q" / "model.layers.3.self_attn.q_proj", without ".weight" or ".bias". */
void hth_linear_names(const struct hth_model_config *c, enum hth_linear_kind k, int64_t layer, char gguf[64],
		      char hf[80]);
void hth_vector_names(const struct hth_model_config *c, enum hth_vector_kind k, int64_t layer, char gguf[64],
		      char hf[80]);
/* Splits "model.layers.3.self_attn.q_proj"; false for any other text and for layers outside 0..n_layers-1. */
bool hth_module_parse(const struct hth_model_config *c, const char *module, int64_t *layer, enum hth_linear_kind *k);

/* Rows and columns of a layer's linear under a config. */
void hth_linear_shape(const struct hth_model_config *c, int64_t layer, enum hth_linear_kind k, int64_t *rows,
		      int64_t *cols);

/* In families with fused tensors: the tensor that holds this linear's rows, the first of them there and their number in
 * all. False: the linear has a tensor of its own. */
bool hth_linear_fused(const struct hth_model_config *c, enum hth_linear_kind k, int64_t layer, char gguf[64],
		      char hf[80], int64_t *first, int64_t *total);

/* Fills embed, layers, final_norm and head of m from m->source; m->config is checked already. Every tensor of the
 * source must find its place: one that nobody asked for would be silently ignored otherwise. */
HTH_MUST enum hth_status hth_model_bind(struct hth_model *m, struct hth_err *err);

/* Parts of it. gguf, hf: names without suffix. A matrix of (rows,cols): */
HTH_MUST enum hth_status hth_bind_matrix(struct hth_model *m, struct hth_weight *w, const char *gguf, const char *hf,
					 int64_t rows, int64_t cols, struct hth_err *err);
/* A vector of `cols`, made f32 in the arena. like: a matrix whose row order it follows, or NULL. */
HTH_MUST enum hth_status hth_bind_vector(struct hth_model *m, struct hth_weight *w, const struct hth_source_tensor *t,
					 const char *hf_name, int64_t cols, const struct hth_weight *like,
					 struct hth_err *err);
/* HTH_ERR_FORMAT: t->name is not there. */
HTH_MUST enum hth_status hth_bind_missing(const struct hth_model *m, const struct hth_source_tensor *t,
					  struct hth_err *err);
/* Names of an expert's matrix (GGUF's holds all of the layer), and of the router; of MLX's stack of one kind; what names of
 * folders begin with that hold gate and up of all experts together. */
void hth_switch_name(const struct hth_family *f, int64_t l, int part, char hf[80]);
void hth_together_name(const struct hth_family *f, int64_t l, char hf[80]);
void hth_expert_names(const struct hth_family *f, int64_t layer, int64_t expert, int part, char gguf[64], char hf[80]);
void hth_router_names(const struct hth_family *f, int64_t layer, char gguf[64], char hf[80]);
/* Names of the matrices of a layer's own input. */
void hth_own_names(int64_t layer, enum hth_own_part part, char gguf[64], char hf[80]);
/* Names of the factor of a layer's output; the folder's has no suffix. */
void hth_out_scale_names(int64_t layer, char gguf[64], char hf[80]);
/* Inputs of the layers' own (bind_own.c): what the model has for all of them, and a layer's. */
HTH_MUST enum hth_status hth_bind_own_embed(struct hth_model *m, struct hth_err *err);
HTH_MUST enum hth_status hth_bind_own(struct hth_model *m, int64_t l, struct hth_err *err);
void hth_shared_gate_names(int64_t layer, char gguf[64], char hf[80]); /* the row that weighs the shared expert */
/* What a layer that recurs has beside linears and norms: conv, a_log, dt, delta_norm. */
enum hth_delta_vector { HTH_DELTA_CONV, HTH_DELTA_A_LOG, HTH_DELTA_DT, HTH_DELTA_NORM, HTH_DELTA_VECTORS };
struct hth_weight *hth_delta_vector(struct hth_layer *layer, enum hth_delta_vector k);
void hth_delta_names(enum hth_delta_vector k, int64_t layer, char gguf[64], char hf[80]); /* whole, with suffix */
HTH_MUST enum hth_status hth_bind_delta(struct hth_model *m, int64_t l, struct hth_err *err);
/* How the value heads stand in a linear's rows and columns, or in a vector's elements: grouped in folders, tiled in GGUF. */
void hth_linear_heads(const struct hth_model_config *c, enum hth_linear_kind k, struct hth_heads *rows,
		      struct hth_heads *cols);
struct hth_heads hth_delta_heads(const struct hth_model_config *c, enum hth_delta_vector k);
/* The router and experts of a sparse layer (bind_experts.c). */
HTH_MUST enum hth_status hth_bind_experts(struct hth_model *m, int64_t l, struct hth_err *err);

/* By how much scaling divides the frequency of pair i. */
double hth_rope_divisor(const struct hth_model_config *c, int64_t i);
int64_t hth_rope_turned(const struct hth_model_config *c); /* SHARE: pairs that turn */
/* freq (rot/2): radians a position; local: of windowed layers with a theta of their own. */
void hth_rope_frequencies(const struct hth_model_config *c, bool local, float *freq);
void hth_rope_frequencies_beyond(const struct hth_model_config *c, float *freq); /* of rope_long */

#endif
