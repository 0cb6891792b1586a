/* A model's config as config.json: the reverse of config.c and config_rope.c. Rotation is written as transformers 4
 * does (rope_theta, rope_scaling), which 5 and mlx-lm read as well.
 * Source of names: transformers configuration_*.py and modeling_rope_utils.py. */
#include "models/parts.h"

#include "models/model_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_int(json_t *out, const char *key, int64_t v)
{
	(void)json_object_set_new(out, key, json_integer(v));
}

static void put_text(json_t *out, const char *key, const char *text)
{
	(void)json_object_set_new(out, key, json_string(text));
}

void hth_config_put_float(json_t *out, const char *key, float v)
{
	char text[40];
	double best = (double)v;

	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, (double)v);
		best = strtod(text, NULL);
		if ((float)best == v)
			break;
	}
	(void)json_object_set_new(out, key, json_real(best));
}

/* Word `at` of a list whose words end in a blank; the last there is. */
static void word(const char *list, int at, char out[64])
{
	const char *end = strchr(list, ' ');

	for (; at > 0 && end != NULL && strchr(end + 1, ' ') != NULL; at--) {
		list = end + 1;
		end = strchr(list, ' ');
	}
	snprintf(out, 64, "%.*s", end != NULL ? (int)(end - list) : 0, list);
}

static const char *act_name(enum hth_act act)
{
	return act == HTH_ACT_SILU ? "silu" : act == HTH_ACT_GELU_TANH ? "gelu_pytorch_tanh" : "gelu";
}

static void put_names(const struct hth_model *m, json_t *out)
{
	char name[64];
	int at = m->config.window > 0;

	const struct hth_family *f = hth_family_of_folder(m);

	word(f->hf_classes, at, name);
	(void)json_object_set_new(out, "architectures", json_pack("[s]", name));
	word(f->hf_types, at, name);
	put_text(out, "model_type", name);
}

static bool has_bias(const struct hth_model *m, int from, int to)
{
	for (int k = from; k <= to; k++)
		if (m->layers[0].bias[k].data != NULL)
			return true;
	return false;
}

static void put_sizes(const struct hth_model *m, json_t *out)
{
	const struct hth_model_config *c = &m->config;

	put_int(out, "vocab_size", c->n_vocab);
	put_int(out, "hidden_size", c->width);
	put_int(out, "intermediate_size", c->n_ff);
	put_int(out, "num_hidden_layers", c->n_layers);
	put_int(out, "num_attention_heads", c->n_head);
	put_int(out, "num_key_value_heads", c->n_kv);
	put_int(out, "head_dim", c->head);
	put_int(out, "max_position_embeddings", c->context);
	hth_config_put_float(out, "rms_norm_eps", c->norm_eps);
	put_text(out, "hidden_act", act_name(c->act));
	if (c->act == HTH_ACT_GELU_TANH)
		put_text(out, "hidden_activation", act_name(c->act));
	(void)json_object_set_new(out, "tie_word_embeddings", json_boolean(c->tied));
	if (!m->family->qkv_bias)
		(void)json_object_set_new(out, "attention_bias", json_boolean(has_bias(m, HTH_Q, HTH_O)));
	(void)json_object_set_new(out, "mlp_bias", json_boolean(has_bias(m, HTH_GATE, HTH_DOWN)));
	if (c->rot != c->head)
		(void)json_object_set_new(out, "partial_rotary_factor", json_real((double)c->rot / (double)c->head));
}

void hth_config_put_layer_types(const struct hth_model_config *c, json_t *out)
{
	json_t *types = json_array();

	for (int64_t l = 0; l < c->n_layers; l++)
		(void)json_array_append_new(types, json_string(c->window > 0 && hth_layer_in(&c->windowed, l)
								       ? "sliding_attention"
								       : "full_attention"));
	(void)json_object_set_new(out, "layer_types", types);
}

/* Families whose layers are all alike have no list, and readers that trip over one. */
static void put_window(const struct hth_model *m, json_t *out)
{
	const struct hth_model_config *c = &m->config;
	bool alike = true;

	(void)json_object_set_new(out, "sliding_window", c->window > 0 ? json_integer(c->window) : json_null());
	for (int64_t l = 0; l < c->n_layers; l++)
		alike = alike && hth_layer_in(&c->windowed, l);
	if (c->window > 0 && (!alike || m->family->window_every > 0))
		hth_config_put_layer_types(c, out);
}

/* A GGUF file holds Llama 3.1's divisors, not the numbers that make them. All such models stretch between 1 and 4 turns;
 * the factor is the largest divisor, and the original context is found by trying. */
static bool find_llama3(const struct hth_model_config *c, struct hth_model_config *out)
{
	*out = *c;
	out->rope_scaling = HTH_ROPE_LLAMA3;
	out->rope_low = 1;
	out->rope_high = 4;
	out->rope_factor = 1;
	for (int64_t i = 0; i < c->rot / 2; i++)
		out->rope_factor = fmax(out->rope_factor, (double)c->rope_factors[i]);
	for (out->rope_original = 16; out->rope_original <= 1 << 20; out->rope_original *= 2) {
		bool all = true;
		for (int64_t i = 0; all && i < c->rot / 2; i++)
			all = fabs(hth_rope_divisor(out, i) / (double)c->rope_factors[i] - 1) < 1e-5;
		if (all)
			return true;
	}
	return false;
}

static json_t *real_list(const float *v, int64_t n)
{
	json_t *list = json_array(), *box = json_object();

	for (int64_t i = 0; i < n; i++) {
		hth_config_put_float(box, "v", v[i]);
		(void)json_array_append(list, json_object_get(box, "v"));
	}
	json_decref(box);
	return list;
}

static json_t *scaling_of(const char *type)
{
	json_t *s = json_object();

	put_text(s, "rope_type", type);
	put_text(s, "type", type);
	return s;
}

static json_t *llama3(const struct hth_model_config *c)
{
	json_t *s = scaling_of("llama3");

	(void)json_object_set_new(s, "factor", json_real(c->rope_factor));
	(void)json_object_set_new(s, "low_freq_factor", json_real(c->rope_low));
	(void)json_object_set_new(s, "high_freq_factor", json_real(c->rope_high));
	put_int(s, "original_max_position_embeddings", c->rope_original);
	return s;
}

static json_t *yarn(const struct hth_model_config *c)
{
	json_t *s = scaling_of("yarn");
	double sharper = c->rope_factor > 1 ? 0.1 * log(c->rope_factor) + 1 : 1;

	(void)json_object_set_new(s, "factor", json_real(c->rope_factor));
	(void)json_object_set_new(s, "beta_fast", json_real(c->rope_high));
	(void)json_object_set_new(s, "beta_slow", json_real(c->rope_low));
	put_int(s, "original_max_position_embeddings", c->rope_original);
	if (c->rope_ramp_exact)
		(void)json_object_set_new(s, "truncate", json_false());
	if (fabs((double)c->rope_attn - 1) < 1e-6) {
		/* Two that cancel: mlx-lm does not read an attention_factor. */
		(void)json_object_set_new(s, "mscale", json_real(1));
		(void)json_object_set_new(s, "mscale_all_dim", json_real(1));
	} else if (fabs((double)c->rope_attn - sharper) > 1e-6) {
		hth_config_put_float(s, "attention_factor", c->rope_attn);
	}
	if (c->query_growth > 0)
		hth_config_put_float(s, "llama_4_scaling_beta", c->query_growth);
	return s;
}

static json_t *longrope(const struct hth_model_config *c)
{
	json_t *s = scaling_of("longrope");
	double stretch = (double)c->context / (double)c->rope_original;
	double attn = stretch > 1 && c->rope_original > 1 ? sqrt(1 + log(stretch) / log((double)c->rope_original)) : 1;

	(void)json_object_set_new(s, "short_factor", real_list(c->rope_factors, c->rot / 2));
	(void)json_object_set_new(s, "long_factor",
				  real_list(c->rope_long[0] > 0 ? c->rope_long : c->rope_factors, c->rot / 2));
	if (fabs((double)c->rope_attn - attn) > 1e-6)
		hth_config_put_float(s, "attention_factor", c->rope_attn);
	return s;
}

/* Where layers with the window and without differ in their heads, each kind has an object of its own. */
static enum hth_status put_rope_of_kinds(const struct hth_model *m, json_t *out, struct hth_err *err)
{
	const struct hth_model_config *c = &m->config;
	json_t *full = json_object(), *local = json_object(), *both = json_object();

	put_text(full, "rope_type", c->rope_scaling == HTH_ROPE_SHARE ? "proportional" : "default");
	(void)json_object_set_new(full, "rope_theta", json_real(c->rope_theta));
	if (c->rope_scaling == HTH_ROPE_SHARE) {
		(void)json_object_set_new(full, "partial_rotary_factor", json_real(c->rope_share));
		if (c->rope_factor != 1)
			(void)json_object_set_new(full, "factor", json_real(c->rope_factor));
	}
	put_text(local, "rope_type", "default");
	(void)json_object_set_new(local, "rope_theta", json_real(c->rope_local_theta));
	(void)json_object_set_new(both, "full_attention", full);
	(void)json_object_set_new(both, "sliding_attention", local);
	(void)json_object_set_new(out, "rope_parameters", both);
	if (c->rope_scaling == HTH_ROPE_SHARE || c->rope_scaling == HTH_ROPE_NONE)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: this scaling of rotation cannot be said in a config.json of family \"%s\"",
			m->path, m->family->name);
}

static enum hth_status put_rope(const struct hth_model *m, json_t *out, struct hth_err *err)
{
	const struct hth_model_config *c = &m->config;
	struct hth_model_config found;
	json_t *s = NULL;

	if (c->local_head > 0)
		return put_rope_of_kinds(m, out, err);
	(void)json_object_set_new(out, "rope_theta", json_real(c->rope_theta));
	if (c->rope_local_theta > 0)
		(void)json_object_set_new(out, "rope_local_base_freq", json_real(c->rope_local_theta));
	switch (c->rope_scaling) {
	case HTH_ROPE_LINEAR:
		s = scaling_of("linear");
		(void)json_object_set_new(s, "factor", json_real(c->rope_factor));
		break;
	case HTH_ROPE_LLAMA3:
		s = llama3(c);
		break;
	case HTH_ROPE_YARN:
		s = yarn(c);
		break;
	case HTH_ROPE_FACTORS:
		if (c->rope_long[0] > 0 || m->family->fused)
			s = longrope(c);
		else if (find_llama3(c, &found))
			s = llama3(&found);
		else
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: \"rope_freqs.weight\" holds divisors that no kind of rope_scaling of a "
					"config.json makes",
					m->path);
		break;
	default:
		break;
	}
	if (c->query_growth > 0 && s != NULL) {
		/* A family that begins with transformers 5: mlx-lm reads it from there alone. */
		(void)json_object_set_new(s, "rope_theta", json_real(c->rope_theta));
		(void)json_object_set_new(out, "rope_parameters", s);
		return HTH_OK;
	}
	(void)json_object_set_new(out, "rope_scaling", s != NULL ? s : json_null());
	return HTH_OK;
}

enum hth_status hth_config_to_hf(const struct hth_model *m, const char *dtype, json_t **out, struct hth_err *err)
{
	json_t *doc = json_object();

	*out = NULL;
	if (doc == NULL)
		return hth_fail_memory(err, "a config", 256);
	put_names(m, doc);
	put_sizes(m, doc);
	put_window(m, doc);
	put_text(doc, "torch_dtype", dtype);
	(void)json_object_set_new(doc, "use_cache", json_true());
	if (hth_family_of_folder(m)->to_hf != NULL)
		hth_family_of_folder(m)->to_hf(&m->config, doc);
	enum hth_status st = put_rope(m, doc, err);
	if (st == HTH_OK)
		*out = doc;
	else
		json_decref(doc);
	return st;
}
