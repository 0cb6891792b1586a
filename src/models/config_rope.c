/* How positions are rotated. GGUF has flat keys; config.json has rope_parameters (transformers 5), which may hold one
 * object for each kind of layer, or rope_theta and rope_scaling.
 * Sources: ggml's docs/gguf.md, llama.cpp llama-model.cpp (load_hparams), transformers modeling_rope_utils.py. */
#include "models/config.h"

#include <math.h>
#include <string.h>

static const struct {
	const char *name;
	enum hth_rope_scaling scaling;
	bool gguf; /* GGUF knows it by this name */
} scalings[] = {
	{"default", HTH_ROPE_NONE, false},  {"none", HTH_ROPE_NONE, true},        {"linear", HTH_ROPE_LINEAR, true},
	{"yarn", HTH_ROPE_YARN, true},      {"longrope", HTH_ROPE_FACTORS, true}, {"su", HTH_ROPE_FACTORS, false},
	{"llama3", HTH_ROPE_LLAMA3, false}, {"proportional", HTH_ROPE_SHARE, false},
};

static enum hth_status read_scaling(const struct hth_keys *k, const char *gguf, const char *hf,
				    struct hth_model_config *c, struct hth_err *err)
{
	char type[64];
	enum hth_status st = hth_keys_text(k, gguf, hf, type, err);

	if (st != HTH_OK || type[0] == '\0')
		return st;
	for (size_t i = 0; i < sizeof(scalings) / sizeof(scalings[0]); i++) {
		if (strcmp(scalings[i].name, type) != 0 || (k->gguf != NULL && !scalings[i].gguf))
			continue;
		c->rope_scaling = scalings[i].scaling;
		return HTH_OK;
	}
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"%s: rope scaling of type \"%s\", expected none, linear, llama3, yarn or longrope", k->where,
			type);
}

static enum hth_status read_original(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key original = {"rope.scaling.original_context_length", "original_max_position_embeddings",
					     1, 1 << 28, c->rope_original != 0 ? c->rope_original : c->context};

	return hth_keys_int(k, original, &c->rope_original, err);
}

static double sharpness(double factor, double m)
{
	return factor > 1 ? 0.1 * m * log(factor) + 1 : 1;
}

/* YaRN stretches as Llama 3.1 does, between other bounds, and makes attention sharper. */
static enum hth_status read_yarn(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key fast = {"rope.scaling.yarn_beta_fast", "beta_fast", 0, 1e6, 32};
	const struct hth_real_key slow = {"rope.scaling.yarn_beta_slow", "beta_slow", 0, 1e6, 1};
	const struct hth_real_key one = {NULL, "mscale", 0, 1e3, 0};
	const struct hth_real_key all = {"rope.scaling.yarn_log_multiplier", "mscale_all_dim", 0, 1e3, 0};
	double sharper = sharpness(c->rope_factor, 1), gguf_attn = 1, m, all_m;
	bool truncate = !c->rope_ramp_exact;
	enum hth_status st;

	if (k->json != NULL && (st = hth_json_bool(k->json, "truncate", truncate, &truncate, k->where, err)) != HTH_OK)
		return st;
	c->rope_ramp_exact = !truncate;
	if ((st = hth_keys_real(k, one, &m, err)) != HTH_OK || (st = hth_keys_real(k, all, &all_m, err)) != HTH_OK)
		return st;
	/* In GGUF the first of the two is always 1. */
	if (k->gguf != NULL && all_m != 0)
		m = 1;
	if (m != 0 && all_m != 0)
		sharper = sharpness(c->rope_factor, m) / sharpness(c->rope_factor, all_m);
	if ((st = hth_keys_real(k, fast, &c->rope_high, err)) != HTH_OK ||
	    (st = hth_keys_real(k, slow, &c->rope_low, err)) != HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){"rope.scaling.attn_factor", NULL, 0, 1e3, 1}, &gguf_attn,
				err)) != HTH_OK)
		return st;
	return hth_keys_float(k, (struct hth_real_key){NULL, "attention_factor", 0, 1e3, sharper * gguf_attn},
			      &c->rope_attn, err);
}

static enum hth_status read_llama3(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	enum hth_status st;

	if ((st = hth_keys_real(k, (struct hth_real_key){NULL, "low_freq_factor", 0, 1e6, 1}, &c->rope_low, err)) !=
		    HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){NULL, "high_freq_factor", c->rope_low, 1e6, 4}, &c->rope_high,
				err)) != HTH_OK)
		return st;
	if (c->rope_high > c->rope_low)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_FORMAT,
			"%s: \"high_freq_factor\" is %g, expected more than \"low_freq_factor\" %g", k->where,
			c->rope_high, c->rope_low);
}

static enum hth_status read_divisors(const struct hth_keys *k, const char *key, const struct hth_model_config *c,
				     float out[HTH_MAX_PAIRS], struct hth_err *err)
{
	const json_t *list = json_object_get(k->json, key);

	if (json_array_size(list) != (size_t)(c->rot / 2))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" has %zu entries, expected %lld", k->where, key,
				json_array_size(list), (long long)(c->rot / 2));
	for (int64_t i = 0; i < c->rot / 2; i++) {
		double v = json_number_value(json_array_get(list, (size_t)i));
		if (!(v > 0 && v <= 1e6))
			return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\"[%lld] is %g, expected more than 0 and at most 1e6",
					k->where, key, (long long)i, v);
		out[i] = (float)v;
	}
	return HTH_OK;
}

/* LongRoPE has two sets of divisors: for sequences within the original context and for longer ones. */
static enum hth_status read_longrope(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	double stretch = (double)c->context / (double)c->rope_original, attn = 1;
	enum hth_status st = HTH_OK;

	if (k->gguf == NULL)
		st = read_divisors(k, "short_factor", c, c->rope_factors, err);
	if (st == HTH_OK && k->gguf == NULL && json_object_get(k->json, "long_factor") != NULL)
		st = read_divisors(k, "long_factor", c, c->rope_long, err);
	if (st != HTH_OK)
		return st;
	st = hth_keys_real(k, (struct hth_real_key){NULL, "factor", 0, 1e6, stretch}, &stretch, err);
	if (st != HTH_OK)
		return st;
	if (k->gguf == NULL && stretch > 1 && c->rope_original > 1)
		attn = sqrt(1 + log(stretch) / log((double)c->rope_original));
	return hth_keys_float(k, (struct hth_real_key){"rope.scaling.attn_factor", "attention_factor", 0, 1e3, attn},
			      &c->rope_attn, err);
}

/* What depends on the kind of scaling; k's JSON is the object that holds its numbers. */
static enum hth_status read_kind(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	enum hth_status st = read_original(k, c, err);

	if (st != HTH_OK)
		return st;
	switch (c->rope_scaling) {
	case HTH_ROPE_LLAMA3:
		return read_llama3(k, c, err);
	case HTH_ROPE_YARN:
		return read_yarn(k, c, err);
	case HTH_ROPE_FACTORS:
		return read_longrope(k, c, err);
	case HTH_ROPE_SHARE: {
		const struct hth_real_key share = {NULL, "partial_rotary_factor", 0, 1, c->rope_share > 0 ? c->rope_share : 1};
		return hth_keys_real(k, share, &c->rope_share, err);
	}
	default:
		return HTH_OK;
	}
}

static enum hth_status read_gguf(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	double old_factor;
	enum hth_status st;

	/* Converted models name the base they have; the default is the format's. */
	if ((st = hth_keys_real(k, (struct hth_real_key){"rope.freq_base", NULL, 0, 1e12, 10000}, &c->rope_theta,
				err)) != HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){"rope.freq_base_swa", NULL, 0, 1e12, c->rope_local_theta},
				&c->rope_local_theta, err)) != HTH_OK ||
	    (st = read_scaling(k, "rope.scaling.type", NULL, c, err)) != HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){"rope.scale_linear", NULL, 0, 1e6, 1}, &old_factor, err)) !=
		    HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){"rope.scaling.factor", NULL, 0, 1e6, old_factor},
				&c->rope_factor, err)) != HTH_OK)
		return st;
	if (!hth_keys_has(k, "rope.scaling.type", NULL)) {
		if (hth_gguf_tensor(k->gguf, "rope_factors_short.weight") != NULL)
			c->rope_scaling = HTH_ROPE_FACTORS;
		else if (c->rope_factor != 1)
			c->rope_scaling = HTH_ROPE_LINEAR;
	}
	return read_kind(k, c, err);
}

/* The object for windowed layers: their theta, unscaled. */
static enum hth_status read_local(const struct hth_keys *k, const json_t *local, struct hth_model_config *c,
				  struct hth_err *err)
{
	struct hth_keys inner = *k;
	char type[64];
	enum hth_status st;

	inner.json = local;
	if ((st = hth_keys_text(&inner, NULL, "rope_type", type, err)) != HTH_OK)
		return st;
	if (type[0] != '\0' && strcmp(type, "default") != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: rope scaling of type \"%s\" in windowed layers, expected default", k->where, type);
	return hth_keys_real(&inner, (struct hth_real_key){NULL, "rope_theta", 0, 1e12, c->rope_local_theta},
			     &c->rope_local_theta, err);
}

static enum hth_status read_hf(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *parameters = json_object_get(k->json, "rope_parameters");
	const json_t *full = json_object_get(parameters, "full_attention");
	const json_t *scaling = json_object_get(k->json, "rope_scaling");
	struct hth_keys inner = *k;
	enum hth_status st;

	inner.json = full != NULL ? full : json_is_object(parameters) ? parameters : scaling;
	if ((st = hth_keys_real(k, (struct hth_real_key){NULL, "rope_theta", 0, 1e12, c->rope_theta}, &c->rope_theta,
				err)) != HTH_OK ||
	    (st = hth_keys_real(&inner, (struct hth_real_key){NULL, "rope_theta", 0, 1e12, c->rope_theta},
				&c->rope_theta, err)) != HTH_OK ||
	    (st = hth_keys_real(k, (struct hth_real_key){NULL, "rope_local_base_freq", 0, 1e12, c->rope_local_theta},
				&c->rope_local_theta, err)) != HTH_OK ||
	    (st = read_local(k, json_object_get(parameters, "sliding_attention"), c, err)) != HTH_OK ||
	    (st = read_scaling(&inner, NULL, hth_keys_has(&inner, NULL, "rope_type") ? "rope_type" : "type", c, err)) !=
		    HTH_OK ||
	    (st = hth_keys_real(&inner, (struct hth_real_key){NULL, "factor", 0, 1e6, 1}, &c->rope_factor, err)) !=
		    HTH_OK)
		return st;
	/* Phi 3 keeps this one outside. */
	if ((st = read_original(k, c, err)) != HTH_OK)
		return st;
	return read_kind(&inner, c, err);
}

enum hth_status hth_config_rope(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	return k->gguf != NULL ? read_gguf(k, c, err) : read_hf(k, c, err);
}
