/* A model's config as GGUF keys: the reverse of config.c and config_rope.c. What follows from the family (activation,
 * Gemma's scales) has no key. Source of names: ggml's docs/gguf.md, llama.cpp convert_hf_to_gguf.py. */
#include "models/parts.h"

#include "base/mem.h"
#include "models/model_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct keys {
	const struct hth_model *m;
	const struct hth_model_config *c;
	struct hth_gguf_made *out;
	char name[96];
};

static const char *key(struct keys *k, const char *name)
{
	snprintf(k->name, sizeof(k->name), "%s.%s", k->m->family->gguf_arch, name);
	return k->name;
}

/* A number, or a list where the layers' differ. */
static void put_of_layers(struct keys *k, const char *name, int64_t (*of)(const struct hth_model_config *c, int64_t l))
{
	const struct hth_model_config *c = k->c;
	int32_t list[HTH_MAX_LAYERS];
	bool alike = true;

	for (int64_t l = 0; l < c->n_layers; l++) {
		list[l] = (int32_t)of(c, l);
		alike = alike && list[l] == list[0];
	}
	if (alike)
		hth_gguf_made_u32(k->out, key(k, name), list[0]);
	else
		hth_gguf_made_array(k->out, key(k, name), HTH_GGUF_I32, (uint64_t)c->n_layers, list,
				    (size_t)c->n_layers * sizeof(*list));
}

static void put_sizes(struct keys *k)
{
	const struct hth_model_config *c = k->c;
	const struct {
		const char *name;
		int64_t value;
	} sizes[] = {
		{"vocab_size", c->n_vocab},
		{"context_length", c->context},
		{"embedding_length", c->width},
		{"block_count", c->n_layers},
		{"attention.head_count", c->n_head},
		{"attention.key_length", c->head},
		{"attention.value_length", c->head},
		{"rope.dimension_count", c->rot},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		hth_gguf_made_u32(k->out, key(k, sizes[i].name), sizes[i].value);
	put_of_layers(k, "feed_forward_length", hth_layer_ff);
	put_of_layers(k, "attention.head_count_kv", hth_layer_kv);
	if (c->local_head > 0) {
		hth_gguf_made_u32(k->out, key(k, "attention.key_length_swa"), c->local_head);
		hth_gguf_made_u32(k->out, key(k, "attention.value_length_swa"), c->local_head);
		hth_gguf_made_u32(k->out, key(k, "rope.dimension_count_swa"), c->local_head);
	}
	hth_gguf_made_f32(k->out, key(k, "attention.layer_norm_rms_epsilon"), (double)c->norm_eps);
	if (c->attn_soft_cap > 0)
		hth_gguf_made_f32(k->out, key(k, "attn_logit_softcapping"), (double)c->attn_soft_cap);
	if (c->logit_soft_cap > 0)
		hth_gguf_made_f32(k->out, key(k, "final_logit_softcapping"), (double)c->logit_soft_cap);
}

/* GGUF's sparse models are sparse in every layer, and whether the chosen experts' weights sum to 1 follows from the
 * architecture; what is otherwise shows
 * when the file is read again. */
static void put_experts(struct keys *k)
{
	if (k->c->n_experts == 0)
		return;
	hth_gguf_made_u32(k->out, key(k, "expert_count"), k->c->n_experts);
	hth_gguf_made_u32(k->out, key(k, "expert_used_count"), k->c->n_chosen);
	hth_gguf_made_u32(k->out, key(k, "expert_feed_forward_length"), k->c->n_expert_ff);
	if (k->c->n_shared_ff > 0)
		hth_gguf_made_u32(k->out, key(k, "expert_shared_feed_forward_length"), k->c->n_shared_ff);
}

/* Which layers have the window is said only where it is not what the family implies: old readers know no list. */
static void put_window(struct keys *k)
{
	const struct hth_model_config *c = k->c;
	struct hth_layer_set implied = {{0}};
	uint8_t list[HTH_MAX_LAYERS];

	if (c->window == 0)
		return;
	hth_gguf_made_u32(k->out, key(k, "attention.sliding_window"), c->window);
	hth_layers_set_all_but(&implied, c->n_layers, k->m->family->window_every);
	if (memcmp(&implied, &c->windowed, sizeof(implied)) == 0)
		return;
	for (int64_t l = 0; l < c->n_layers; l++)
		list[l] = hth_layer_in(&c->windowed, l);
	hth_gguf_made_array(k->out, key(k, "attention.sliding_window_pattern"), HTH_GGUF_BOOL, (uint64_t)c->n_layers,
			    list, (size_t)c->n_layers);
}

static void put_text(struct keys *k, const char *name, const char *text)
{
	hth_gguf_made_string(k->out, key(k, name), text, strlen(text));
}

static void put_yarn(struct keys *k)
{
	const struct hth_model_config *c = k->c;
	double sharper = c->rope_factor > 1 ? 0.1 * log(c->rope_factor) + 1 : 1;

	put_text(k, "rope.scaling.type", "yarn");
	hth_gguf_made_f32(k->out, key(k, "rope.scaling.yarn_beta_fast"), c->rope_high);
	hth_gguf_made_f32(k->out, key(k, "rope.scaling.yarn_beta_slow"), c->rope_low);
	if (fabs((double)c->rope_attn - sharper) > 1e-6)
		hth_gguf_made_f32(k->out, key(k, "rope.scaling.attn_factor"), (double)c->rope_attn / sharper);
}

/* Divisors of the frequencies as a tensor. */
static enum hth_status put_divisors(struct keys *k, const char *name, const float *values, struct hth_err *err)
{
	int64_t n = k->c->rot / 2;
	float *copy = hth_arena_calloc(&k->out->arena, (size_t)n, sizeof(*copy)); /* (rot/2) */

	if (copy == NULL)
		return hth_fail_memory(err, name, (size_t)n * sizeof(*copy));
	memcpy(copy, values, (size_t)n * sizeof(*copy));
	hth_gguf_made_tensor(k->out, name, 1, &n, HTH_QUANT_F32, copy);
	return HTH_OK;
}

static enum hth_status put_llama3(struct keys *k, struct hth_err *err)
{
	float divisors[HTH_MAX_PAIRS];

	for (int64_t i = 0; i < k->c->rot / 2; i++)
		divisors[i] = (float)hth_rope_divisor(k->c, i);
	return put_divisors(k, "rope_freqs.weight", divisors, err);
}

/* Divisors of 1, and of 1e30 for the pairs that do not turn. */
static enum hth_status put_share(struct keys *k, struct hth_err *err)
{
	float divisors[HTH_MAX_PAIRS];

	for (int64_t i = 0; i < k->c->rot / 2; i++)
		divisors[i] = i < hth_rope_turned(k->c) ? (float)k->c->rope_factor : 1e30f;
	return put_divisors(k, "rope_freqs.weight", divisors, err);
}

static enum hth_status put_longrope(struct keys *k, struct hth_err *err)
{
	const struct hth_model_config *c = k->c;
	enum hth_status st = put_divisors(k, "rope_factors_short.weight", c->rope_factors, err);

	/* Readers want both; without long ones the short ones serve for all texts. */
	if (st == HTH_OK)
		st = put_divisors(k, "rope_factors_long.weight", c->rope_long[0] > 0 ? c->rope_long : c->rope_factors,
				  err);
	put_text(k, "rope.scaling.type", "longrope");
	hth_gguf_made_f32(k->out, key(k, "rope.scaling.attn_factor"), (double)c->rope_attn);
	return st;
}

static enum hth_status put_rope(struct keys *k, struct hth_err *err)
{
	const struct hth_model_config *c = k->c;
	bool stretched = c->rope_scaling == HTH_ROPE_LINEAR || c->rope_scaling == HTH_ROPE_YARN;

	hth_gguf_made_f32(k->out, key(k, "rope.freq_base"), c->rope_theta);
	if (c->rope_local_theta > 0)
		hth_gguf_made_f32(k->out, key(k, "rope.freq_base_swa"), c->rope_local_theta);
	if (stretched)
		hth_gguf_made_f32(k->out, key(k, "rope.scaling.factor"), c->rope_factor);
	/* llama.cpp's Phi 3 wants it, stretched or not. */
	if (c->rope_scaling == HTH_ROPE_YARN || c->rope_scaling == HTH_ROPE_FACTORS || k->m->family->fused)
		hth_gguf_made_u32(k->out, key(k, "rope.scaling.original_context_length"), c->rope_original);
	switch (c->rope_scaling) {
	case HTH_ROPE_LINEAR:
		put_text(k, "rope.scaling.type", "linear");
		return HTH_OK;
	case HTH_ROPE_YARN:
		put_yarn(k);
		return HTH_OK;
	case HTH_ROPE_LLAMA3:
		return put_llama3(k, err);
	case HTH_ROPE_FACTORS:
		return put_longrope(k, err);
	case HTH_ROPE_SHARE:
		return put_share(k, err);
	default:
		return HTH_OK;
	}
}

enum hth_status hth_config_to_gguf(const struct hth_model *m, struct hth_gguf_made *out, struct hth_err *err)
{
	struct keys k = {.m = m, .c = &m->config, .out = out};

	hth_gguf_made_string(out, "general.architecture", m->family->gguf_arch, strlen(m->family->gguf_arch));
	hth_gguf_made_string(out, "general.type", "model", 5);
	hth_gguf_made_string(out, "general.name", m->name, strlen(m->name));
	put_sizes(&k);
	put_experts(&k);
	put_window(&k);
	if (m->family->to_gguf != NULL)
		m->family->to_gguf(&m->config, out);
	return put_rope(&k, err);
}
