/* A loaded model: config, weights, tokenizer, template. Read-only once open, shared by sessions and trainers.
 *
 * decoder.c is the one forward pass; a family is one small file that says how its config keys and tensor names map
 * onto struct hth_model_config and struct hth_layer, nothing more. */
#ifndef HTH_MODELS_MODEL_H
#define HTH_MODELS_MODEL_H

#include "base/json.h"
#include "models/adapted.h"
#include "models/model_config.h"
#include "text/chat.h"

/* Matrices of an expert: gate, up (F,C), down (C,F). */
enum hth_expert_part { HTH_EXPERT_GATE, HTH_EXPERT_UP, HTH_EXPERT_DOWN, HTH_EXPERT_PARTS };

/* The input that a layer has of its own (config.n_own > 0): columns of the model's own_embed, rows of its own_project, and
 * the way into the layer. */
enum hth_own_part { HTH_OWN_PROJECT, HTH_OWN_GATE, HTH_OWN_OUT, HTH_OWN_PARTS };
struct hth_own_input {
	struct hth_weight embed;            /* (V,P) */
	struct hth_weight w[HTH_OWN_PARTS]; /* (P,C), (P,C), (C,P) */
	struct hth_linear linear[HTH_OWN_PARTS]; /* of these, for hth_op_linear */
	struct hth_weight norm;             /* (1,C) of what goes in */
};

/* Weights of a layer; absent ones have data NULL. Shapes (N,C): q (H*D,C), k, v (K*D,C), o (C,H*D), gate, up (F,C),
 * down (C,F); vectors (1,n) in f32. */
struct hth_layer {
	struct hth_weight linear[HTH_LINEAR_COUNT];
	struct hth_weight bias[HTH_LINEAR_COUNT];
	struct hth_weight attn_norm, attn_post_norm, ffn_norm, ffn_post_norm; /* (1,C) */
	struct hth_weight q_norm, k_norm; /* (1,D) per head or (1,H*D) over all */
	struct hth_weight sinks;          /* (1,H) */
	int32_t slot; /* this layer's number among those of its kind, with attention or recurrent: its place in a state */
	/* Where the layer recurs; vectors in f32. */
	struct hth_weight conv;            /* (1,N*W), N channels of W taps each */
	struct hth_weight a_log, dt;       /* (1,Vh) */
	struct hth_weight delta_norm;      /* (1,Dv), without offset */
	/* In place of gate, up and down where the layer is sparse, or beside them as the shared expert; n 0 elsewhere. */
	struct hth_weight router_w, router_bias; /* (E,C), (1,E) */
	struct hth_linear router;                /* of these two, for hth_op_linear */
	struct hth_expert_set experts[HTH_EXPERT_PARTS];
	struct hth_weight router_norm, expert_scale; /* (1,C) of the router's input, (1,E) factors of experts' weights */
	struct hth_weight dense_post_norm, expert_norm, expert_post_norm; /* (1,C) of the two blocks side by side */
	struct hth_weight shared_gate_w; /* (1,C) f32: its sigmoid scales the shared expert */
	struct hth_linear shared_gate;   /* of it, for hth_op_linear */
	struct hth_weight out_scale;     /* (1,1) factor of what leaves the layer */
	struct hth_own_input own;
};

struct hth_model {
	const struct hth_family *family;
	struct hth_model_config config;
	struct hth_weight embed;      /* (V,C) */
	struct hth_weight final_norm; /* (1,C) */
	struct hth_weight head;       /* (V,C); tied: a copy of embed as opened, the decoder uses embed itself */
	struct hth_weight own_embed, own_project; /* (V,L*P), (L*P,C): every layer's part side by side; data NULL: none */
	struct hth_weight own_norm;   /* (1,P) */
	struct hth_layer *layers;     /* (L) */
	float *rope_freq;             /* (rot/2) */
	float *rope_freq_beyond;      /* (rot/2) of sequences beyond the original context, or NULL: as rope_freq */
	float *rope_freq_local;       /* (hth_rope_columns/2) of windowed layers, or NULL: as rope_freq */
	struct hth_tokenizer *tokenizer;
	struct hth_template *tmpl;    /* NULL when the file has none */
	char *template_source;        /* owned; NULL when none */
	char *path, *name;            /* as given; general.name or the base name of file or folder */
	struct hth_source *source;    /* owned: the open file or folder (source.h) */
	struct hth_gguf *gguf;        /* the open GGUF file; NULL for a folder */
	struct hth_arena arena;       /* layers, names, converted vectors */
	const struct hth_backend *backend; /* set by hth_model_prepare */
	struct hth_device *device;
	uint64_t file_bytes, n_params;
};

/* Opens a GGUF file or a Hugging Face folder (MLX's too), checks that every tensor is there with its shape and that
 * none is left over, converts vectors to f32. Reads no big tensor, except those that MLX quantised. A file with a
 * vocabulary alone is HTH_ERR_UNAVAILABLE. A template that cannot be parsed is a warning here and an error of
 * hth_model_chat. */
HTH_MUST enum hth_status hth_model_open(const char *path, struct hth_model **out, struct hth_err *err);
/* The same for a model that is written elsewhere and not run: what MLX quantised (and gpt-oss's experts) is laid out only
 * while a part is held (parts.h), or for good by hth_model_prepare. */
HTH_MUST enum hth_status hth_model_open_to_write(const char *path, struct hth_model **out, struct hth_err *err);
/* Binds the model to a device: packs weights where the backend wants to (both: training). Call once. */
HTH_MUST enum hth_status hth_model_prepare(struct hth_model *m, const struct hth_backend *b, struct hth_device *dev,
                                           bool both, struct hth_err *err);
void hth_model_close(struct hth_model *m); /* NULL is fine */
/* Visits every weight (vectors too) in a fixed order: embed, layers, final norm, head (unless tied). */
void hth_model_each_weight(struct hth_model *m, void (*fn)(void *ctx, struct hth_weight *w), void *ctx);
/* Parameters that a token passes through: all but the experts it is not sent to. */
uint64_t hth_model_active_params(const struct hth_model *m);
/* What a state of so many tokens needs. */
struct hth_state_shape hth_model_state_shape(const struct hth_model *m, int64_t capacity);
/* A chat bound to the model's tokenizer and template; HTH_ERR_UNAVAILABLE when it has no template. */
HTH_MUST enum hth_status hth_model_chat(const struct hth_model *m, struct hth_chat *out, struct hth_err *err);

enum hth_forward { HTH_FORWARD_LOGITS, HTH_FORWARD_LOGP };
/* The one forward pass. loras: never NULL, a set without adapters is the base. Batches need at least one out.
 * Returns logits (R,V) of the wanted rows, or (1,n_outs) log-probabilities. */
struct hth_tensor hth_decoder_forward(struct hth_exec *x, const struct hth_model *m, const struct hth_lora_set *loras,
                                      const struct hth_batch *b, enum hth_forward what);

struct hth_keys;
struct hth_gguf_made;
enum hth_qk_norm { HTH_QK_NORM_NONE, HTH_QK_NORM_HEAD, HTH_QK_NORM_ALL }; /* none; by vectors (1,D); (1,H*D), (1,K*D) */
/* What a family provides. */
struct hth_family {
	const char *name;      /* "llama" */
	const char *gguf_arch; /* general.architecture */
	const char *hf_types;  /* values of model_type in config.json, each followed by a blank */
	/* Reads keys of either source (config.h) and checks ranges. */
	enum hth_status (*config)(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
	/* GGUF stores q and k rows permuted for side-by-side rotation pairs. */
	bool gguf_permuted;
	bool qkv_bias; /* q, k and v must have biases; elsewhere a bias is bound where the file has one */
	bool fused;    /* q, k and v are one tensor, gate and up another */
	bool experts;  /* layers may be mixtures of experts */
	bool w123;     /* folders call an expert's gate, up and down block_sparse_moe.experts.N.w1, w3, w2 */
	bool beside;      /* folders have experts stacked below layers.N.experts, the router below layers.N.router */
	bool interleaved; /* folders have gate and up rows of all experts in turn, in one tensor (experts_hf.c) */
	/* For writers (parts.h). Class names in the order of hf_types, each followed by a blank; where there are two types,
	 * the second is the one with windows. */
	const char *hf_classes;
	int window_every; /* layers l with (l+1) % window_every == 0 have no window; 0: all have. Also what reading assumes */
	/* Keys that only this family has; may be NULL. */
	void (*to_gguf)(const struct hth_model_config *c, struct hth_gguf_made *out);
	void (*to_hf)(const struct hth_model_config *c, json_t *out);
	enum hth_qk_norm qk_norm;
	const char *mlx_type; /* model_type of MLX's folders where it is another; else NULL */
	bool nested;       /* folders may hold this model in a text_config, its tensors below "model.language_model." */
	const char *nested_defaults; /* JSON of what a text_config need not say; NULL: nothing */
	const char *aside; /* beginnings of names of tensors that belong to other parts of such a checkpoint (pictures, draft
	                    * heads) and are left aside, each followed by a blank; NULL: none */
};
const struct hth_family *hth_family_find(const char *gguf_arch); /* NULL when unknown */
const struct hth_family *hth_family_find_hf(const char *model_type);

#endif
