/* Gemma 4, text. What differs from Gemma 3: norms multiply by w itself; scores are not scaled; values are normed per head
 * without a weight; layers without the window have heads and kv heads of their own numbers, rotate the first pairs of a
 * head alone, and may take their keys as values (attention_k_eq_v); the last layers may attend to keys and values of
 * the last layer of their kind that has some (num_kv_shared_layers), with a wider feed-forward block; each layer's
 * output is multiplied by a number, and each layer may have an input of its own from a second embedding.
 * In 26B-A4B experts stand beside every dense block. Leaves out: pictures and sound, whose tensors are left aside.
 * Sources: transformers modeling_gemma4.py, configuration_gemma4.py; llama.cpp src/models/gemma4.cpp,
 * conversion/gemma.py. */
#include "models/config.h"
#include "models/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_HEADS = 4096, MAX_FF = 1 << 21, MAX_OWN = 1 << 14 };

/* Entry l of a key that GGUF has as a number or as a list, one a layer. */
static enum hth_status number_of_layer(const struct hth_keys *k, const char *name, int64_t l, int64_t def, int64_t *out,
				       struct hth_err *err)
{
	char key[96];

	snprintf(key, sizeof(key), "%s.%s", k->family->gguf_arch, name);
	const struct hth_gguf_kv *kv = hth_gguf_find(k->gguf, key);
	if (kv == NULL || kv->type != HTH_GGUF_ARRAY) {
		*out = def;
		return HTH_OK;
	}
	if (kv->n <= (uint64_t)l || kv->elem_type == HTH_GGUF_STRING || kv->elem_type == HTH_GGUF_F32 ||
	    kv->elem_type == HTH_GGUF_F64)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": expected integers, one a layer", k->where, key);
	*out = hth_gguf_array_int(kv, (uint64_t)l);
	return HTH_OK;
}

static enum hth_status refuse_layer(const struct hth_keys *k, const char *key, int64_t l, int64_t found,
				    int64_t expected, struct hth_err *err)
{
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"%s: \"%s\" is %lld for layer %lld and %lld for others of its kind, expected one number",
			k->where, key, (long long)found, (long long)l, (long long)expected);
}

/* What GGUF's lists say must be one number for each kind of layer. */
static enum hth_status read_lists(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	int64_t kv[2] = {0, 0}, ff[2] = {0, 0}; /* without and with the window; with keys of their own and without */
	enum hth_status st;

	for (int64_t l = 0; l < c->n_layers; l++) {
		int64_t *of_kv = &kv[hth_layer_in(&c->windowed, l)], *of_ff = &ff[hth_layer_shares(c, l)], n, f;
		if ((st = number_of_layer(k, "attention.head_count_kv", l, c->n_kv, &n, err)) != HTH_OK ||
		    (st = number_of_layer(k, "feed_forward_length", l, c->n_ff, &f, err)) != HTH_OK)
			return st;
		if (*of_kv != 0 && *of_kv != n)
			return refuse_layer(k, "gemma4.attention.head_count_kv", l, n, *of_kv, err);
		if (*of_ff != 0 && *of_ff != f)
			return refuse_layer(k, "gemma4.feed_forward_length", l, f, *of_ff, err);
		if (n < 1 || n > MAX_HEADS || f < 1 || f > MAX_FF)
			return hth_fail(err, HTH_ERR_FORMAT, "%s: layer %lld has %lld kv heads and a width of %lld",
					k->where, (long long)l, (long long)n, (long long)f);
		*of_kv = n;
		*of_ff = f;
	}
	c->n_kv = kv[0] != 0 ? kv[0] : kv[1];
	c->local_kv = kv[1];
	c->n_ff = ff[0] != 0 ? ff[0] : ff[1];
	c->shared_ff = ff[1] != c->n_ff ? ff[1] : 0;
	return HTH_OK;
}

static enum hth_status read_kinds_gguf(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key head = {"attention.key_length_swa", NULL, 2, HTH_MAX_HEAD, c->head};
	int64_t value_head, rot;
	enum hth_status st;

	if ((st = hth_keys_int(k, head, &c->local_head, err)) != HTH_OK)
		return st;
	const struct hth_int_key value = {"attention.value_length_swa", NULL, 2, HTH_MAX_HEAD, c->local_head};
	const struct hth_int_key turned = {"rope.dimension_count_swa", NULL, 2, HTH_MAX_HEAD, c->local_head};
	if ((st = hth_keys_int(k, value, &value_head, err)) != HTH_OK ||
	    (st = hth_keys_int(k, turned, &rot, err)) != HTH_OK || (st = read_lists(k, c, err)) != HTH_OK)
		return st;
	if (value_head != c->local_head || rot != c->local_head || c->rot != c->head)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: heads of %lld and %lld columns, of which %lld and %lld turn, expected all of them",
				k->where, (long long)c->head, (long long)c->local_head, (long long)c->rot, (long long)rot);
	for (int64_t l = 0; l < c->n_layers; l++) {
		char name[64];
		snprintf(name, sizeof(name), "blk.%lld.attn_v.weight", (long long)l);
		if (!hth_layer_in(&c->windowed, l) && !hth_layer_shares(c, l))
			c->values_are_keys = hth_gguf_tensor(k->gguf, name) == NULL;
	}
	return HTH_OK;
}

/* What transformers 5.23 writes: an object for each layer that differs. They must be those without the window, and alike. */
static enum hth_status read_overrides(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *all = json_object_get(k->json, "per_layer_config"), *of;
	int64_t n_found = 0, head = c->head, kv = c->n_kv;
	enum hth_status st;

	for (int64_t l = 0; l < c->n_layers; l++) {
		struct hth_keys inner = *k;
		char number[24];
		snprintf(number, sizeof(number), "%lld", (long long)l);
		of = inner.json = json_object_get(all, number);
		if (hth_layer_in(&c->windowed, l) ? of != NULL : !json_is_object(of))
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: \"per_layer_config\", layer %lld: expected an entry for each layer without a "
					"window and no other",
					k->where, (long long)l);
		if (of == NULL)
			continue;
		const struct hth_int_key heads = {NULL, "head_dim", 2, HTH_MAX_HEAD, c->local_head};
		const struct hth_int_key kvs = {NULL, "num_key_value_heads", 1, MAX_HEADS, c->local_kv};
		int64_t one, n;
		if ((st = hth_keys_int(&inner, heads, &one, err)) != HTH_OK ||
		    (st = hth_keys_int(&inner, kvs, &n, err)) != HTH_OK)
			return st;
		if (n_found++ > 0 && (one != head || n != kv))
			return refuse_layer(k, "per_layer_config", l, one != head ? one : n, one != head ? head : kv, err);
		head = one;
		kv = n;
	}
	c->head = head;
	c->n_kv = kv;
	return HTH_OK;
}

static enum hth_status read_kinds_hf(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key head = {NULL, "global_head_dim", 2, HTH_MAX_HEAD, 512};
	const struct hth_int_key kv = {NULL, "num_global_key_value_heads", 1, MAX_HEADS, c->n_kv};
	bool wide = false;
	enum hth_status st;

	c->local_head = c->head;
	c->local_kv = c->n_kv;
	if ((st = hth_json_bool(k->json, "attention_k_eq_v", false, &c->values_are_keys, k->where, err)) != HTH_OK ||
	    (st = hth_json_bool(k->json, "use_double_wide_mlp", false, &wide, k->where, err)) != HTH_OK)
		return st;
	c->shared_ff = wide ? 2 * c->n_ff : 0;
	if (json_is_object(json_object_get(k->json, "per_layer_config")))
		st = read_overrides(k, c, err);
	else if ((st = hth_keys_int(k, head, &c->head, err)) == HTH_OK && c->values_are_keys)
		st = hth_keys_int(k, kv, &c->n_kv, err);
	c->rot = c->head;
	return st;
}

static enum hth_status check(const struct hth_keys *k, const struct hth_model_config *c, struct hth_err *err)
{
	char both[64];
	enum hth_status st = hth_keys_text(k, NULL, "use_bidirectional_attention", both, err);

	if (st != HTH_OK)
		return st;
	if (strcmp(both, "all") == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"use_bidirectional_attention\" is \"all\" (an embedding model), expected causal "
				"attention",
				k->where);
	if (c->n_head % c->n_kv != 0 || c->n_head % c->local_kv != 0 || c->head % 2 != 0 || c->local_head % 2 != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: %lld and %lld kv heads of %lld and %lld columns, expected divisors of the %lld heads "
				"and even numbers",
				k->where, (long long)c->n_kv, (long long)c->local_kv, (long long)c->head,
				(long long)c->local_head, (long long)c->n_head);
	for (int64_t l = 0; l < c->n_layers; l++)
		if (hth_layer_of_keys(c, l) < 0)
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: %lld layers share keys (shared_kv_layers, num_kv_shared_layers), and no layer "
					"before them is of the kind of layer %lld",
					k->where, (long long)c->n_kv_shared, (long long)l);
	return HTH_OK;
}

/* 12B: the same text model, whose configs have other defaults. */
static bool is_unified(const struct hth_keys *k)
{
	const char *type = json_string_value(json_object_get(k->json, "model_type"));

	return type != NULL && strncmp(type, "gemma4_unified", 14) == 0;
}

static enum hth_status read_rest(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key shared = {"attention.shared_kv_layers", "num_kv_shared_layers", 0, c->n_layers - 1, 0};
	const struct hth_int_key own = {"embedding_length_per_layer_input", "hidden_size_per_layer_input", 0, MAX_OWN,
					k->gguf != NULL || is_unified(k) ? 0 : 256};
	const struct hth_int_key vocab = {NULL, "vocab_size_per_layer_input", 1, INT32_MAX,
					  k->gguf != NULL ? c->n_vocab : 262144};
	const struct hth_real_key final = {"final_logit_softcapping", "final_logit_softcapping", 0, 1e6, 0};
	int64_t n_vocab;
	enum hth_status st;

	if ((st = hth_keys_int(k, shared, &c->n_kv_shared, err)) != HTH_OK ||
	    (st = hth_keys_int(k, own, &c->n_own, err)) != HTH_OK ||
	    (st = hth_keys_int(k, vocab, &n_vocab, err)) != HTH_OK ||
	    (st = hth_keys_float(k, final, &c->logit_soft_cap, err)) != HTH_OK)
		return st;
	if (c->n_own > 0 && n_vocab != c->n_vocab)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"vocab_size_per_layer_input\" is %lld, expected %lld as \"vocab_size\"", k->where,
				(long long)n_vocab, (long long)c->n_vocab);
	return HTH_OK;
}

static enum hth_status read_experts(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	bool on = c->n_experts > 0;
	enum hth_status st =
		k->json != NULL ? hth_json_bool(k->json, "enable_moe_block", false, &on, k->where, err) : HTH_OK;

	if (st != HTH_OK)
		return st;
	if (on && c->n_experts == 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"enable_moe_block\" is true, and \"num_experts\" says none",
				k->where);
	if (!on) {
		c->n_experts = 0;
		memset(&c->sparse, 0, sizeof(c->sparse));
	}
	c->experts_beside = on;
	return HTH_OK;
}

static enum hth_status config(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	struct hth_keys lists = *k;
	enum hth_status st;

	lists.first_of_lists = true;
	c->act = HTH_ACT_GELU_TANH;
	c->head = 256;
	c->tied = true;
	c->window = is_unified(k) ? 1024 : 512;
	c->rope_theta = 1e6;
	c->rope_local_theta = 10000;
	c->norm_after = c->values_normed = c->out_scaled = true;
	if (k->json != NULL && !json_is_object(json_object_get(k->json, "rope_parameters"))) {
		c->rope_scaling = HTH_ROPE_SHARE;
		c->rope_share = 0.25;
	}
	if ((st = hth_config_read(&lists, c, err)) != HTH_OK ||
	    (st = hth_config_window(k, k->family->window_every, c, err)) != HTH_OK ||
	    (st = read_rest(k, c, err)) != HTH_OK || (st = read_experts(k, c, err)) != HTH_OK)
		return st;
	/* As transformers does, whatever the list says. */
	if (k->json != NULL)
		hth_layer_set(&c->windowed, c->n_layers - 1, false);
	st = k->gguf != NULL ? read_kinds_gguf(k, c, err) : read_kinds_hf(k, c, err);
	c->embed_scale = (float)sqrt((double)c->width);
	c->attn_scale = 1;
	return st == HTH_OK ? check(k, c, err) : st;
}

static void to_gguf(const struct hth_model_config *c, struct hth_gguf_made *out)
{
	hth_gguf_made_u32(out, "gemma4.embedding_length_per_layer_input", c->n_own);
	hth_gguf_made_u32(out, "gemma4.attention.shared_kv_layers", c->n_kv_shared);
}

static void to_hf(const struct hth_model_config *c, json_t *out)
{
	const struct {
		const char *name;
		int64_t value;
	} sizes[] = {
		{"head_dim", c->local_head},
		{"global_head_dim", c->head},
		{"num_key_value_heads", c->local_kv},
		{"num_kv_shared_layers", c->n_kv_shared},
		{"hidden_size_per_layer_input", c->n_own},
		{"vocab_size_per_layer_input", c->n_vocab},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		(void)json_object_set_new(out, sizes[i].name, json_integer(sizes[i].value));
	(void)json_object_set_new(out, "enable_moe_block", json_boolean(c->experts_beside));
	if (c->experts_beside) {
		(void)json_object_set_new(out, "num_experts", json_integer(c->n_experts));
		(void)json_object_set_new(out, "top_k_experts", json_integer(c->n_chosen));
		(void)json_object_set_new(out, "moe_intermediate_size", json_integer(c->n_expert_ff));
	}
	(void)json_object_set_new(out, "num_global_key_value_heads",
				  c->n_kv != c->local_kv ? json_integer(c->n_kv) : json_null());
	(void)json_object_set_new(out, "attention_k_eq_v", json_boolean(c->values_are_keys));
	(void)json_object_set_new(out, "use_double_wide_mlp", json_boolean(c->shared_ff == 2 * c->n_ff));
	(void)json_object_set_new(out, "final_logit_softcapping",
				  c->logit_soft_cap > 0 ? json_real((double)c->logit_soft_cap) : json_null());
}

const struct hth_family hth_family_gemma4 = {
	.name = "gemma4",
	.gguf_arch = "gemma4",
	/* Windows make the second the one that is written. */
	.hf_types = "gemma4 gemma4_text gemma4_unified gemma4_unified_text ",
	.hf_classes = "Gemma4ForConditionalGeneration Gemma4ForCausalLM Gemma4UnifiedForConditionalGeneration "
		      "Gemma4UnifiedForCausalLM ",
	.window_every = 6,
	.to_gguf = to_gguf,
	.to_hf = to_hf,
	.config = config,
	.qk_norm = HTH_QK_NORM_HEAD,
	.experts = true,
	.beside = true,
	.nested = true,
	.aside = "model.vision_tower. model.audio_tower. model.embed_vision. model.embed_audio. "
		 "vision_tower. audio_tower. embed_vision. embed_audio. ",
};
