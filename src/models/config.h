/* Reading a model's config, the same way from GGUF keys and from config.json: a number has a name in each, one range
 * and one default. Every number is checked here once, so that nothing behind asks whether a head count is zero. */
#ifndef HTH_MODELS_CONFIG_H
#define HTH_MODELS_CONFIG_H

#include "base/json.h"
#include "models/model.h"

/* The keys of one model. */
struct hth_keys {
	const char *where;               /* path of the file, for messages */
	const struct hth_family *family; /* GGUF keys begin with its arch */
	const struct hth_gguf *gguf;     /* NULL: json is asked */
	const json_t *json;              /* config.json, or an object in it */
	bool first_of_lists;             /* integers that GGUF has as lists, one a layer, are the first: the family reads them */
};

#define HTH_KEY_NEEDED INT64_MIN /* as a default: absence is an error */

/* gguf (behind "<arch>.") or hf NULL: that source has no such key and the default holds. */
struct hth_int_key {
	const char *gguf, *hf;
	int64_t min, max, def;
};
/* above < value <= max when it is there; the default need not. */
struct hth_real_key {
	const char *gguf, *hf;
	double above, max, def;
};
bool hth_keys_has(const struct hth_keys *k, const char *gguf, const char *hf); /* null in JSON is absent */
HTH_MUST enum hth_status hth_keys_int(const struct hth_keys *k, struct hth_int_key key, int64_t *out,
				      struct hth_err *err);
HTH_MUST enum hth_status hth_keys_real(const struct hth_keys *k, struct hth_real_key key, double *out,
				       struct hth_err *err);
/* The same into a float. */
HTH_MUST enum hth_status hth_keys_float(const struct hth_keys *k, struct hth_real_key key, float *out,
					struct hth_err *err);
/* A short text (at most 63 bytes), "" when absent. */
HTH_MUST enum hth_status hth_keys_text(const struct hth_keys *k, const char *gguf, const char *hf, char out[64],
				       struct hth_err *err);

/* What most families are: RMS norms before the blocks, SiLU, scales of 1. */
void hth_config_init(struct hth_model_config *c);
/* Sizes, heads, activation, epsilon, tie, rotation. What a family set before is the default of keys that config.json
 * lacks: act, n_ff, head, norm_eps, tied, window, rope_theta, rope_local_theta, route_normalise. */
HTH_MUST enum hth_status hth_config_read(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
/* Sliding windows: the size, and which layers have one: as the file says, else all but every `every`th (0: all). */
HTH_MUST enum hth_status hth_config_window(const struct hth_keys *k, int64_t every, struct hth_model_config *c,
					   struct hth_err *err);
/* Layers l of n_layers with (l+1) % every != 0; every 0: all. */
void hth_layers_set_all_but(struct hth_layer_set *s, int64_t n_layers, int64_t every);
void hth_layer_set(struct hth_layer_set *s, int64_t l, bool in);
/* One entry a layer: a name, `is` or "full_attention"; in GGUF a boolean. */
HTH_MUST enum hth_status hth_config_layer_list(const struct hth_keys *k, const char *key, const json_t *list,
					       const char *is, int64_t n_layers, struct hth_layer_set *out,
					       struct hth_err *err);
HTH_MUST enum hth_status hth_config_layer_bits(const struct hth_keys *k, const char *key, const struct hth_gguf_kv *kv,
					       int64_t n_layers, struct hth_layer_set *out, struct hth_err *err);
/* Experts: how many, how many of them a row goes to, their width; every layer is sparse then. A mixture in a family that
 * has none is refused. */
HTH_MUST enum hth_status hth_config_experts(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
/* Qwen's folders: which layers are sparse (decoder_sparse_step, mlp_only_layers). */
HTH_MUST enum hth_status hth_config_sparse_layers(const struct hth_keys *k, struct hth_model_config *c,
						  struct hth_err *err);
HTH_MUST enum hth_status hth_config_rope(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);

/* Configs that relatives share. */
HTH_MUST enum hth_status hth_config_qwen(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
HTH_MUST enum hth_status hth_config_qwen35(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
HTH_MUST enum hth_status hth_config_gemma(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err);
/* Gemma 2 and 3: attn_scale; largest_layers: layers of the one model whose GGUF files need another rule. */
HTH_MUST enum hth_status hth_config_gemma_scale(const struct hth_keys *k, int64_t largest_layers,
						struct hth_model_config *c, struct hth_err *err);

/* A real as config.json writes it: the shortest number that is this float. */
void hth_config_put_float(json_t *out, const char *key, float v);
void hth_config_put_layer_types(const struct hth_model_config *c, json_t *out);
void hth_config_gemma_to_hf(const struct hth_model_config *c, json_t *out);
void hth_config_qwen_experts_to_hf(const struct hth_model_config *c, json_t *out);
void hth_config_qwen35_to_hf(const struct hth_model_config *c, json_t *out);
void hth_config_qwen35_to_gguf(const struct hth_model_config *c, const char *arch, struct hth_gguf_made *out);
void hth_config_qwen_to_hf(const struct hth_model_config *c, json_t *out);

#endif
