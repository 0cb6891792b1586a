/* Adapters on a model: LoRAs of its linears, weights they bring whole, and how files call both. Read model.h first. */
#ifndef HTH_MODELS_ADAPTED_H
#define HTH_MODELS_ADAPTED_H

#include "formats/adapter.h"
#include "formats/gguf.h"
#include "ops/ops.h"

struct hth_model;

/* The linears of a layer, in the order used for adapters, dropout places and files. */
enum hth_linear_kind {
	HTH_Q,
	HTH_K,
	HTH_V,
	HTH_O,
	HTH_GATE,
	HTH_UP,
	HTH_DOWN,
	/* Of a layer that recurs, in place of q, k, v and o: its queries, keys and values, output gate, beta, decay, output. */
	HTH_DELTA_QKV,
	HTH_DELTA_Z,
	HTH_DELTA_B,
	HTH_DELTA_A,
	HTH_DELTA_OUT,
	/* Elsewhere in struct hth_layer than among its linears: the router of a mixture of experts (router_w), */
	HTH_ROUTER,
	/* and the matrices of its experts, each kind as one: rows of A and B follow each other expert by expert. */
	HTH_EXPERTS_GATE,
	HTH_EXPERTS_UP,
	HTH_EXPERTS_DOWN,
	HTH_LINEAR_COUNT
};
#define HTH_OWN_LINEARS HTH_ROUTER /* kinds below are struct hth_layer's linears */
const char *hth_linear_module(enum hth_linear_kind k); /* "self_attn.q_proj", for messages */
/* The weight of a layer's linear; of experts the first one's, of hth_linear_stack. data NULL: the layer has none. */
const struct hth_weight *hth_linear_weight(const struct hth_model *m, int64_t layer, enum hth_linear_kind k);
int64_t hth_linear_stack(const struct hth_model *m, enum hth_linear_kind k); /* E, or 1 */
/* "model.layers.3.self_attn.q_proj": the name of a layer's own linear. */
void hth_linear_name(const struct hth_model *m, int64_t layer, enum hth_linear_kind k, char hf[80]);

/* Weights that an adapter brings whole (PEFT's modules_to_save): embedding, head, norms. */
struct hth_replacement {
	const struct hth_weight *of; /* the model's */
	bool head;                   /* the head, also where it is tied to the embedding: it is then of its own */
	struct hth_weight with;      /* f32 */
};
struct hth_replacements {
	struct hth_replacement *list;
	size_t n;
};

/* Adapters attached to a model for one forward pass: linear i = l * HTH_LINEAR_COUNT + k of adapter a has loras[a][i], or
 * NULL. */
struct hth_lora_set {
	int n_adapters;
	struct hth_lora ***loras;          /* [n_adapters][linears] */
	struct hth_linear *linears;        /* [linears] ready for hth_op_linear */
	struct hth_expert_set *experts;    /* [layers * HTH_EXPERT_PARTS] ready for the ops of experts */
	struct hth_lora **flat;            /* backing store of per-linear lists */
	struct hth_dora_site *dora;        /* [n_dora] every LoRA with magnitudes */
	int64_t n_dora;
	const struct hth_replacements **replaced; /* [n_adapters], borrowed; entries NULL: none */
	struct hth_arena arena;
};
/* n_adapters 0 is fine: the base alone. loras arrays are borrowed and copied as pointers. Where the model is on a device
 * already, the lengths of DoRA are made; else, and whenever A or B change, by hth_lora_set_lengths. */
HTH_MUST enum hth_status hth_lora_set_init(struct hth_lora_set *s, const struct hth_model *m,
                                           struct hth_lora **const *loras, int n_adapters, struct hth_err *err);
void hth_lora_set_clear(struct hth_lora_set *s);
HTH_MUST enum hth_status hth_lora_set_lengths(const struct hth_lora_set *s, const struct hth_model *m,
                                              struct hth_err *err);
/* Adapter a's own weights in place of the base's; r is borrowed. Rows of such an adapter cannot stand in one batch with
 * others. */
void hth_lora_set_replace(struct hth_lora_set *s, int a, const struct hth_replacements *r);

/* An adapter read from disk as LoRAs of this model (values copied into `arena`, no gradients): [linears] or NULL entries.
 * Modules that the model lacks or whose shapes differ are HTH_ERR_SHAPE by name. A module over a fused tensor (Phi 3's
 * qkv_proj; gate_up_proj of experts) becomes the LoRAs of its parts: they share A, each has its rows of B. */
HTH_MUST enum hth_status hth_model_loras(const struct hth_model *m, const struct hth_adapter *a, struct hth_arena *arena,
                                         struct hth_lora ***out, struct hth_err *err);
/* In a model from a GGUF file whose value heads are tiled the rows and columns of such linears' LoRAs are, too; adapters
 * have Hugging Face's order. Puts A, B and magnitudes of l into memory's order, or back into Hugging Face's; arena: room for
 * a copy. false when memory runs out. */
bool hth_lora_order(const struct hth_model *m, enum hth_linear_kind k, bool to_memory, struct hth_lora *l,
                    struct hth_arena *arena);
/* And the weights it brings whole, in `arena`; n 0 when it has none. */
HTH_MUST enum hth_status hth_model_replacements(const struct hth_model *m, const struct hth_adapter *a,
                                                struct hth_arena *arena, struct hth_replacements *out,
                                                struct hth_err *err);
/* One replacement of `of` with memory for its values in arena, not filled; false when memory runs out. */
bool hth_replacement_new(const struct hth_model *m, const struct hth_weight *of, struct hth_arena *arena,
                         struct hth_replacement *out);
/* The weights that name names as PEFT's modules_to_save does (its last part, or all of it): embedding, head, norms.
 * Calls fn for each; returns their number. */
int hth_model_named_weights(struct hth_model *m, const char *name, void (*fn)(void *ctx, struct hth_weight *w),
                            void *ctx);
/* What must be added to Hugging Face's value of this weight: norm_stored for norms, else 0. */
float hth_weight_stored_offset(const struct hth_model *m, const struct hth_weight *w);
/* "token_embd.weight": what GGUF calls a weight that may be replaced. */
void hth_replaceable_gguf_name(const struct hth_model *m, const struct hth_weight *w, char out[80]);

/* Names of modules and weights in adapters for a folder that holds the model inside one with eyes: in, and back out to
 * the model's own. Others are copied. */
void hth_nested_name(const struct hth_model *m, const char *name, char out[128]);
void hth_unnested_name(const struct hth_model *m, const char *name, char out[128]);

/* The linears of a module: 1, or those of a fused one in the order of its rows; 0: no such module. */
struct hth_module_part {
	int64_t layer;
	enum hth_linear_kind kind;
	int64_t first, rows; /* of the module's rows; of experts, of each one's */
};
int hth_module_parts(const struct hth_model *m, const char *module, struct hth_module_part out[3]);
/* The same by the name of a GGUF tensor ("blk.3.attn_q.weight"). */
int hth_gguf_parts(const struct hth_model *m, struct hth_gguf_str tensor, struct hth_module_part out[3]);
/* The module that a linear belongs to ("model.layers.3.self_attn.qkv_proj") and its own part of it. */
void hth_module_of_linear(const struct hth_model *m, int64_t layer, enum hth_linear_kind k, char out[80],
                          struct hth_module_part *part);
/* "model.layers.3.mlp.experts.gate_up_proj": the module that is both, with one A. */
void hth_experts_module(const struct hth_model *m, int64_t layer, char out[80]);
/* How adapter files have this model's experts; NULL: it has none. */
const struct hth_expert_layout *hth_model_expert_layout(const struct hth_model *m);
/* Names of this model's modules in GGUF, for adapter files. */
void hth_model_adapter_names(const struct hth_model *m, struct hth_adapter_names *out);

#endif
