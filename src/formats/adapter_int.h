/* What the files of the adapter reader and writer share. */
#ifndef HTH_FORMATS_ADAPTER_INT_H
#define HTH_FORMATS_ADAPTER_INT_H

#include "formats/adapter.h"
#include "formats/safetensors.h"

#include <jansson.h>

#define HTH_PEFT_WEIGHTS "adapter_model.safetensors"
#define HTH_MLX_WEIGHTS "adapters.safetensors"
#define HTH_ADAPTER_CONFIG "adapter_config.json"
#define HTH_PEFT_PREFIX "base_model.model."
#define HTH_ADAPTER_MAX_CONFIG_BYTES ((size_t)16 << 20)

/* One module more in a->modules, whose array has room for `cap`; a and b are allocated, not filled, scale is 1. */
HTH_MUST enum hth_status hth_adapter_add(struct hth_adapter *a, size_t cap, const char *name, size_t name_bytes,
					 int64_t experts, int64_t rank, int64_t in, int64_t out,
					 struct hth_lora_module **m, struct hth_err *err);
/* Magnitudes for a module, (out), not filled. */
HTH_MUST enum hth_status hth_adapter_add_mag(struct hth_adapter *a, struct hth_lora_module *m, struct hth_err *err);
/* One whole weight more in a->saved, whose array has room; its values are not filled. */
HTH_MUST enum hth_status hth_adapter_add_saved(struct hth_adapter *a, const char *name, const struct hth_st_tensor *t,
					       struct hth_saved_weight **out, struct hth_err *err);
/* Room for n modules (and as many whole weights) in an arena that may grow to what a file of file_bytes can justify. */
HTH_MUST enum hth_status hth_adapter_start(struct hth_adapter *a, size_t n, size_t file_bytes, struct hth_err *err);
/* Sorts, refuses duplicates, checks. */
HTH_MUST enum hth_status hth_adapter_finish(struct hth_adapter *a, struct hth_err *err);
/* At least one module, sane shapes, finite weights and scales: readers and writers alike. */
HTH_MUST enum hth_status hth_adapter_check(const struct hth_adapter *a, struct hth_err *err);

static inline bool hth_adapter_is_dora(const struct hth_adapter *a)
{
	return a->n_modules > 0 && a->modules[0].mag != NULL;
}

/* The first run of digits that is a whole component of the path ("model.layers.3.mlp" -> 3); -1 when there is none.
 * *after: what follows that component and its dot ("mlp"). */
int64_t hth_adapter_layer(const char *module, const char **after);

/* PEFT's rank_pattern and alpha_pattern: regular expressions, the first that matches wins. */
struct hth_adapter_patterns;
HTH_MUST enum hth_status hth_adapter_patterns_new(const json_t *config, const char *key, const char *where,
						  struct hth_adapter_patterns **out, struct hth_err *err);
HTH_MUST enum hth_status hth_adapter_patterns_get(const struct hth_adapter_patterns *p, const char *module, double def,
						  double *out, struct hth_err *err);
void hth_adapter_patterns_free(struct hth_adapter_patterns *p);

/* names: says how the base's experts are stored; may be NULL. */
HTH_MUST enum hth_status hth_adapter_read_peft(const struct hth_safetensors *s, const json_t *config, const char *where,
					       const struct hth_adapter_names *names, struct hth_adapter *out,
					       struct hth_err *err);
HTH_MUST enum hth_status hth_adapter_read_mlx(const struct hth_safetensors *s, const json_t *config, const char *where,
					      struct hth_adapter *out, struct hth_err *err);
HTH_MUST enum hth_status hth_adapter_read_gguf(const char *path, const struct hth_adapter_names *names,
					       struct hth_adapter *out, struct hth_err *err);
/* adapter_config.json for a as PEFT has it, and mlx as MLX has it, or NULL. */
HTH_MUST enum hth_status hth_adapter_config(const struct hth_adapter *a, const struct hth_adapter *mlx, float mlx_scale,
					    json_t **out, struct hth_err *err);

/* Experts (adapter_experts.c). */
#define HTH_ADAPTER_ROUTER "mlp.gate"
const char *hth_adapter_projection(const char *name); /* the last component */
bool hth_adapter_has_experts(const struct hth_adapter *a);
bool hth_adapter_is_router(const char *name);
/* A module whose meaning in GGUF is not certain: each of its experts has a factor of its own. */
#define HTH_ADAPTER_SCALED "LoRA on the down_proj of experts with factors of their own (Gemma 4)"
bool hth_adapter_is_scaled(const struct hth_expert_layout *layout, const struct hth_lora_module *m);
/* Two matrices of the same experts. */
bool hth_adapter_beside(const struct hth_lora_module *x, const struct hth_lora_module *y);
/* MLX's name as the value has it, in a's arena; sets a->layout. NULL: unknown experts, or no memory. */
const char *hth_adapter_from_mlx(struct hth_adapter *a, const char *name, bool experts);
const char *hth_adapter_to_mlx(const struct hth_adapter *a, const struct hth_lora_module *m, struct hth_arena *arena);
/* a with gate and up of experts apart, or as one; what is new is in arena, the rest borrowed. out is not cleared. */
HTH_MUST enum hth_status hth_adapter_split(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out,
					   struct hth_err *err);
HTH_MUST enum hth_status hth_adapter_join(const struct hth_adapter *a, struct hth_arena *arena, struct hth_adapter *out,
					  struct hth_err *err);
/* Modules "...experts.7.gate_proj" (or w1) become one for all experts. */
HTH_MUST enum hth_status hth_adapter_stack(struct hth_adapter *a, struct hth_err *err);
static inline int64_t hth_module_stack(const struct hth_lora_module *m) /* E, or 1 */
{
	return m->experts > 0 ? m->experts : 1;
}

#endif
