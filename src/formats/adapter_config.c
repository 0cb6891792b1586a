/* adapter_config.json: PEFT's keys, complete with their defaults, and beside them the three that mlx-lm reads. Only
 * keys that PEFT has known since 0.10 are written: older versions refuse what they do not know.
 * Keys: docs/formats/adapters.md. */
#include "formats/adapter_int.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Steals the value; remembers any failure. */
static void set(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (json_object_set_new(object, key, value) != 0)
		*ok = false;
}

static void append(json_t *array, json_t *value, bool *ok)
{
	if (json_array_append_new(array, value) != 0)
		*ok = false;
}

static json_t *number(double v)
{
	return v == floor(v) && fabs(v) < 1e15 ? json_integer((json_int_t)v) : json_real(v);
}

/* alpha of a module: what makes the reader's division give back its scale. */
static double module_alpha(const struct hth_adapter *a, const struct hth_lora_module *m)
{
	double root = a->rslora ? sqrt((double)m->rank) : (double)m->rank;
	return (double)m->scale * root;
}

static bool has_default_scale(const struct hth_adapter *a, const struct hth_lora_module *m)
{
	double root = a->rslora ? sqrt((double)m->rank) : (double)m->rank;
	return (float)(a->alpha / root) == m->scale;
}

/* True when every layer 0..n-1 has the same projections, so that their short names say all: not in a model with eyes, where
 * these have modules of such names too. */
static bool is_uniform(const struct hth_adapter *a)
{
	const char *rest, *first_rest;
	size_t per_layer = 0;
	int64_t n_layers = a->n_layers;

	if (a->n_modules > 0 && strncmp(a->modules[0].name, HTH_NESTED_PREFIX, strlen(HTH_NESTED_PREFIX)) == 0)
		return false;
	while (per_layer < a->n_modules && hth_adapter_layer(a->modules[per_layer].name, &rest) == 0)
		per_layer++;
	if (n_layers == 0)
		for (size_t i = 0; i < a->n_modules; i++) {
			int64_t layer = hth_adapter_layer(a->modules[i].name, &rest);
			n_layers = layer >= n_layers ? layer + 1 : n_layers;
		}
	if (per_layer == 0 || a->n_modules % per_layer != 0 || (int64_t)(a->n_modules / per_layer) != n_layers)
		return false;
	for (size_t i = 0; i < a->n_modules; i++) {
		(void)hth_adapter_layer(a->modules[i % per_layer].name, &first_rest);
		if (hth_adapter_layer(a->modules[i].name, &rest) != (int64_t)(i / per_layer) ||
		    strcmp(rest, first_rest) != 0)
			return false;
	}
	return true;
}

static void append_once(json_t *array, const char *text, bool *ok)
{
	size_t i;
	json_t *v;
	json_array_foreach(array, i, v) if (strcmp(json_string_value(v), text) == 0) return;
	append(array, json_string(text), ok);
}

/* Parameters in PEFT's eyes, no modules: a stack of experts, and the router, whose module transformers 5 keeps its weight in
 * without being a linear. */
static bool is_parameter(const struct hth_lora_module *m)
{
	return m->experts > 0 || hth_adapter_is_router(m->name);
}

/* PATH.weight of a router by PEFT's name for it. */
static json_t *router_parameter(const struct hth_adapter *a, const char *name, bool uniform)
{
	const char *rest, *router = a->layout != NULL && a->layout->peft_router != NULL ? a->layout->peft_router
										     : HTH_ADAPTER_ROUTER;
	(void)hth_adapter_layer(name, &rest);
	return json_sprintf("%.*s%s.weight", uniform ? 0 : (int)(rest - name), name, router);
}

static void append_text(json_t *list, json_t *text, bool *ok)
{
	if (text == NULL)
		*ok = false;
	else
		append_once(list, json_string_value(text), ok);
	json_decref(text);
}

/* What PEFT shall look for: modules, or parameters. */
static json_t *targets(const struct hth_adapter *a, bool params, bool *ok)
{
	json_t *list = json_array();
	bool uniform = is_uniform(a);
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		const char *rest;
		(void)hth_adapter_layer(m->name, &rest);
		if (is_parameter(m) != params)
			continue;
		if (params && m->experts == 0)
			append_text(list, router_parameter(a, m->name, uniform), ok);
		else if (!uniform)
			append(list, json_string(m->name), ok);
		else
			append_once(list, params ? rest : hth_adapter_projection(m->name), ok);
	}
	return list;
}

static bool has_parameters(const struct hth_adapter *a)
{
	bool any = false;
	for (size_t i = 0; i < a->n_modules; i++)
		any |= is_parameter(&a->modules[i]);
	return any;
}

/* Whole paths: PEFT takes every module that ends with a name, and "norm" would be all of them. */
static json_t *saved_modules(const struct hth_adapter *a, bool *ok)
{
	json_t *list = json_array();
	for (size_t i = 0; i < a->n_saved; i++)
		append(list, json_stringn(a->saved[i].name, strlen(a->saved[i].name) - strlen(".weight")), ok);
	return list;
}

/* A pattern's key: PEFT asks with the path of the module, or of the parameter. */
static void set_pattern(json_t *object, const struct hth_adapter *a, const struct hth_lora_module *m, json_t *value,
			bool *ok)
{
	json_t *name = hth_adapter_is_router(m->name) ? router_parameter(a, m->name, false) : json_string(m->name);
	if (name == NULL) {
		*ok = false;
		json_decref(value);
		return;
	}
	set(object, json_string_value(name), value, ok);
	json_decref(name);
}

static void set_peft(json_t *c, const struct hth_adapter *a, bool *ok)
{
	const char *base = a->base_model != NULL ? a->base_model : "";
	json_t *ranks = json_object(), *alphas = json_object();
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *m = &a->modules[i];
		if (m->rank != a->rank)
			set_pattern(ranks, a, m, json_integer(m->rank), ok);
		if (!has_default_scale(a, m))
			set_pattern(alphas, a, m, number(module_alpha(a, m)), ok);
	}
	set(c, "peft_type", json_string("LORA"), ok);
	set(c, "task_type", json_string("CAUSAL_LM"), ok);
	set(c, "auto_mapping", json_null(), ok);
	set(c, "base_model_name_or_path", base[0] != '\0' ? json_string(base) : json_null(), ok);
	set(c, "revision", json_null(), ok);
	set(c, "inference_mode", json_true(), ok);
	set(c, "r", json_integer(a->rank), ok);
	set(c, "lora_alpha", number(a->alpha), ok);
	/* PEFT takes no adapter with dropout on parameters, not even to use it. */
	set(c, "lora_dropout", json_real(has_parameters(a) ? 0 : a->dropout), ok);
	set(c, "target_modules", targets(a, false, ok), ok);
	/* PEFT before 0.17 does not know the key, and has no LoRA on experts either. */
	if (has_parameters(a))
		set(c, "target_parameters", targets(a, true, ok), ok);
	set(c, "bias", json_string("none"), ok);
	set(c, "fan_in_fan_out", json_false(), ok);
	set(c, "use_rslora", json_boolean(a->rslora), ok);
	set(c, "use_dora", json_boolean(hth_adapter_is_dora(a)), ok);
	set(c, "modules_to_save", a->n_saved > 0 ? saved_modules(a, ok) : json_null(), ok);
	set(c, "init_lora_weights", json_true(), ok);
	set(c, "layers_to_transform", json_null(), ok);
	set(c, "layers_pattern", json_null(), ok);
	set(c, "rank_pattern", ranks, ok);
	set(c, "alpha_pattern", alphas, ok);
	set(c, "layer_replication", json_null(), ok);
	set(c, "loftq_config", json_object(), ok);
	set(c, "megatron_config", json_null(), ok);
	set(c, "megatron_core", json_string("megatron.core"), ok);
}

static void set_mlx(json_t *c, const struct hth_adapter *a, float scale, bool *ok)
{
	json_t *lora = json_object(), *keys = json_array();
	for (size_t i = 0; i < a->n_modules; i++) {
		const char *rest;
		(void)hth_adapter_layer(a->modules[i].name, &rest);
		append_once(keys, rest, ok);
	}
	set(lora, "rank", json_integer(a->rank), ok);
	set(lora, "scale", json_real((double)scale), ok);
	set(lora, "dropout", json_real(a->dropout), ok);
	set(lora, "keys", keys, ok);
	set(c, "fine_tune_type", json_string(hth_adapter_is_dora(a) ? "dora" : "lora"), ok);
	/* -1 is "all": right for a base whose number of layers is not known here. */
	set(c, "num_layers", json_integer(a->n_layers > 0 ? a->n_layers : -1), ok);
	set(c, "lora_parameters", lora, ok);
}

enum hth_status hth_adapter_config(const struct hth_adapter *a, const struct hth_adapter *mlx, float mlx_scale,
				   json_t **out, struct hth_err *err)
{
	bool ok = true;
	json_t *c = json_object();
	set_peft(c, a, &ok);
	if (mlx != NULL)
		set_mlx(c, mlx, mlx_scale, &ok);
	if (!ok || c == NULL) {
		json_decref(c);
		return hth_fail_memory(err, HTH_ADAPTER_CONFIG, 0);
	}
	*out = c;
	return HTH_OK;
}
