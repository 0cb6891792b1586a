/* A LoRA or DoRA adapter as a value, in Hugging Face's row order, and its three file layouts: PEFT, MLX and GGUF
 * (exact keys: docs/formats/adapters.md).
 *
 * One module: y += scale * (x @ A^T) @ B^T with A (r, C) and B (N, r). PEFT stores exactly A and B; MLX stores both
 * transposed; GGUF stores A and B with the rows of B permuted where the base's rows are (Llama family q and k; value heads
 * of Qwen 3.5, whose A may have its columns permuted, too). */
#ifndef HTH_FORMATS_ADAPTER_H
#define HTH_FORMATS_ADAPTER_H

#include "base/arena.h"
#include "base/status.h"
#include "formats/heads.h"

#include <stdint.h>

struct hth_lora_module {
	const char *name;        /* Hugging Face module path: "model.layers.3.self_attn.q_proj" */
	int64_t experts;         /* E matrices in one, each with its rows of A (E*r,C) and of B (E*N,r); 0: a plain linear */
	int64_t in, out;         /* C, N */
	int rank;                /* r */
	float scale;             /* alpha / r, or alpha / sqrt(r) with rsLoRA */
	float *a;                /* (r, C); of experts (E*r, C) */
	float *b;                /* (N, r); of experts (E*N, r) */
	float *mag;              /* (N) DoRA's magnitudes: y *= mag / length of the rows of W + scale * B @ A; NULL: none */
};

/* A weight of the base that the adapter brings whole (PEFT's modules_to_save), as Hugging Face has it. */
struct hth_saved_weight {
	const char *name;        /* "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight" */
	int64_t rows, cols;      /* vectors: rows 1 */
	float *value;            /* (rows, cols) */
};

/* What a family's experts are called in a layer, and how PEFT stores them. In struct hth_adapter they are PEFT's names,
 * with gate_proj and up_proj apart where each has its own A, and B of gate_up_proj has gate's rows above up's. */
struct hth_expert_layout {
	const char *peft, *mlx;               /* "mlp.experts", "mlp.switch_mlp" */
	const char *peft_router, *mlx_router; /* NULL: takes no LoRA; the value's name is "mlp.gate" */
	bool paired;                          /* rows of gate and up alternate in PEFT's files */
};
enum hth_expert_layout_kind {
	HTH_EXPERTS_SWITCH, /* Qwen's */
	HTH_EXPERTS_SPARSE, /* Mixtral's */
	HTH_EXPERTS_PAIRED, /* gpt-oss's */
	HTH_EXPERTS_BESIDE, /* Gemma 4's */
	HTH_EXPERT_LAYOUTS
};
extern const struct hth_expert_layout hth_expert_layouts[HTH_EXPERT_LAYOUTS];

struct hth_adapter {
	struct hth_arena arena;  /* owns everything below */
	size_t n_modules;
	struct hth_lora_module *modules; /* sorted by layer, then by the family's order; all with magnitudes or none */
	size_t n_saved;
	struct hth_saved_weight *saved;  /* sorted by name */
	int rank;                /* the config's r (largest of the modules) */
	double alpha;
	double dropout;
	bool rslora;
	int n_layers;            /* of the base model, when known, else 0 */
	char *base_model;        /* base_model_name_or_path, may be "" */
	const struct hth_expert_layout *layout; /* of its experts; NULL: has none, or of an unknown family */
};

/* Where a model with eyes has its text part: names of modules and weights begin so in PEFT, with "language_model.model."
 * in MLX. */
#define HTH_NESTED_PREFIX "model.language_model."

void hth_adapter_clear(struct hth_adapter *a); /* safe on zeroed */
const struct hth_lora_module *hth_adapter_find(const struct hth_adapter *a, const char *name);

/* How a base's modules are called in GGUF; given by the model family, since formats knows no families. */
struct hth_adapter_names {
	const char *gguf_arch; /* "llama" */
	/* "model.layers.3.self_attn.q_proj" -> "blk.3.attn_q" into out; false when there is none. */
	bool (*to_gguf)(const void *ctx, const char *module, char out[128]);
	bool (*from_gguf)(const void *ctx, const char *tensor, char out[128]);
	/* Rows a head of the permuted B, or 0 when this module's rows are stored as they are. */
	int64_t (*permuted_head_rows)(const void *ctx, const char *module);
	/* Heads that GGUF has tiled, in the rows of B and the columns of A; NULL: none anywhere. */
	void (*tiled)(const void *ctx, const char *module, struct hth_heads *rows, struct hth_heads *cols);
	const struct hth_expert_layout *layout; /* of the family's experts; NULL: it has none */
	bool gguf_joined;                       /* the base's GGUF file has gate and up of its experts in one tensor */
	const void *ctx;
};

/* Reads a folder (PEFT's adapter_model.safetensors or MLX's adapters.safetensors, PEFT first when both are there)
 * or a .gguf file. Rank and alpha patterns and rsLoRA are resolved into each module's rank and scale. What cannot be
 * said here (LoRA on embeddings, trained biases, an initialisation that changes the base) is HTH_ERR_UNAVAILABLE by
 * name. */
HTH_MUST enum hth_status hth_adapter_read(const char *path, const struct hth_adapter_names *names,
                                          struct hth_adapter *out, struct hth_err *err);

/* What MLX's layout cannot say of this adapter, in words ("weights trained whole (modules_to_save)"), or NULL; GGUF's. */
const char *hth_adapter_mlx_lacks(const struct hth_adapter *a);
const char *hth_adapter_gguf_lacks(const struct hth_adapter *a);

/* PEFT and MLX in one folder: adapter_model.safetensors, adapters.safetensors and one adapter_config.json that
 * holds both tools' keys; the folder is replaced atomically. Mixed ranks are zero-padded and scales folded into B
 * for MLX, which has one rank and one scale; where MLX lacks something its file is left out. `plain_peft` writes
 * PEFT's keys alone (PEFT before 0.14 rejects unknown ones). n_layers: layers of the base (MLX's num_layers). */
HTH_MUST enum hth_status hth_adapter_write_dir(const char *path, const struct hth_adapter *a, bool plain_peft,
                                               struct hth_err *err);
/* adapter.gguf, with alpha' so that alpha'/r is each module's scale (scales that differ are folded into B).
 * HTH_ERR_UNAVAILABLE names what GGUF lacks. */
HTH_MUST enum hth_status hth_adapter_write_gguf(const char *path, const struct hth_adapter *given,
                                                const struct hth_adapter_names *names, struct hth_err *err);

#endif
