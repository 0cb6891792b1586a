/* Adapters on a model: the linears with their LoRAs as the ops want them, and adapters from disk checked against the
 * model. Training's own adapters are made by train/params.c. */
#include "models/model_int.h"

#include "base/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* See phi3.c. */
static enum hth_status check_not_fused(const struct hth_model *m, enum hth_linear_kind k, struct hth_err *err)
{
	int64_t first, total;
	char gguf[64], hf[80];

	if (!m->family->fused || !hth_linear_fused(&m->config, k, 0, gguf, hf, &first, &total))
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"adapter: %s is a part of %s in models of family \"%s\", which takes no adapter here; "
			"self_attn.o_proj and mlp.down_proj do",
			hth_linear_module(k), hf + sizeof("model.layers.0.") - 1, m->family->name);
}

enum hth_status hth_lora_set_init(struct hth_lora_set *s, const struct hth_model *m, struct hth_lora **const *loras,
				  int n_adapters, struct hth_err *err)
{
	size_t n = (size_t)m->config.n_layers * HTH_LINEAR_COUNT, n_flat;

	*s = (struct hth_lora_set){.n_adapters = n_adapters};
	hth_arena_init(&s->arena, SIZE_MAX / 2);
	if (n_adapters < 0 || !hth_mul_size(n, (size_t)n_adapters, &n_flat))
		return hth_fail(err, HTH_ERR_LIMIT, "%d adapters at once, expected fewer", n_adapters);
	s->linears = hth_arena_calloc(&s->arena, n, sizeof(*s->linears));
	s->loras = hth_arena_calloc(&s->arena, (size_t)n_adapters, sizeof(*s->loras));
	s->flat = hth_arena_calloc(&s->arena, n_flat, sizeof(struct hth_lora *));
	if (s->linears == NULL || s->loras == NULL || s->flat == NULL) {
		hth_lora_set_clear(s);
		return hth_fail_memory(err, "adapters of a model", n * sizeof(*s->linears));
	}
	for (size_t i = 0; i < n; i++) {
		const struct hth_layer *layer = &m->layers[i / HTH_LINEAR_COUNT];
		size_t k = i % HTH_LINEAR_COUNT;
		struct hth_lora **list = s->flat + i * (size_t)n_adapters; /* (n_adapters) */
		bool any = false;
		for (int a = 0; a < n_adapters; a++) {
			list[a] = loras[a][i];
			any = any || list[a] != NULL;
		}
		enum hth_status st = any ? check_not_fused(m, (enum hth_linear_kind)k, err) : HTH_OK;
		if (st != HTH_OK) {
			hth_lora_set_clear(s);
			return st;
		}
		s->linears[i] = (struct hth_linear){
			.w = &layer->linear[k],
			.bias = layer->bias[k].data != NULL ? &layer->bias[k] : NULL,
			.lora = any ? list : NULL,
			.n_adapters = any ? n_adapters : 0,
		};
	}
	for (int a = 0; a < n_adapters; a++) {
		s->loras[a] = hth_arena_calloc(&s->arena, n, sizeof(struct hth_lora *));
		if (s->loras[a] == NULL) {
			hth_lora_set_clear(s);
			return hth_fail_memory(err, "adapters of a model", n * sizeof(struct hth_lora *));
		}
		memcpy(s->loras[a], loras[a], n * sizeof(struct hth_lora *));
	}
	return HTH_OK;
}

void hth_lora_set_clear(struct hth_lora_set *s)
{
	hth_arena_clear(&s->arena);
	*s = (struct hth_lora_set){0};
}

/* Where a module belongs, or what is wrong with it. */
static enum hth_status check_module(const struct hth_model *m, const struct hth_lora_module *mod, int64_t *layer,
				    enum hth_linear_kind *k, struct hth_err *err)
{
	int64_t rows, cols;
	char shown[128];

	hth_quote(shown, sizeof(shown), mod->name, strlen(mod->name));
	if (!hth_module_parse(mod->name, m->config.n_layers, layer, k))
		return hth_fail(err, HTH_ERR_SHAPE,
				"adapter: \"%s\": %s has no such module (%lld layers); was the adapter "
				"trained on another model?",
				shown, m->name, (long long)m->config.n_layers);
	enum hth_status st = check_not_fused(m, *k, err);
	if (st != HTH_OK)
		return st;
	hth_linear_shape(&m->config, *k, &rows, &cols);
	if (mod->out != rows || mod->in != cols || mod->rank < 1)
		return hth_fail(err, HTH_ERR_SHAPE,
				"adapter: \"%s\": shape (%lld,%lld) of rank %d, expected (%lld,%lld) as in "
				"%s; was the adapter trained on another model?",
				shown, (long long)mod->out, (long long)mod->in, mod->rank, (long long)rows,
				(long long)cols, m->name);
	if (!isfinite(mod->scale))
		return hth_fail(err, HTH_ERR_VALUE, "adapter: \"%s\": scale %g, expected a finite number", shown,
				(double)mod->scale);
	return HTH_OK;
}

static bool copy_param(struct hth_arena *arena, const char *module, const char *part, int64_t rows, int64_t cols,
		       const float *from, struct hth_param *out)
{
	char name[128];
	int n = snprintf(name, sizeof(name), "%s.%s.weight", module, part);
	float *value = hth_arena_calloc(arena, (size_t)(rows * cols), sizeof(*value)); /* (rows, cols) */

	*out = (struct hth_param){
		.name = hth_arena_strndup(arena, name, (size_t)n), .rows = rows, .cols = cols, .value = value};
	if (value == NULL || out->name == NULL)
		return false;
	memcpy(value, from, (size_t)(rows * cols) * sizeof(*value));
	return true;
}

enum hth_status hth_model_loras(const struct hth_model *m, const struct hth_adapter *a, struct hth_arena *arena,
				struct hth_lora ***out, struct hth_err *err)
{
	size_t n = (size_t)m->config.n_layers * HTH_LINEAR_COUNT;
	struct hth_lora **list = hth_arena_calloc(arena, n, sizeof(struct hth_lora *)); /* (L*7) */

	*out = NULL;
	if (list == NULL)
		return hth_fail_memory(err, "adapter", n * sizeof(struct hth_lora *));
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *mod = &a->modules[i];
		int64_t layer;
		enum hth_linear_kind k;
		enum hth_status st = check_module(m, mod, &layer, &k, err);
		if (st != HTH_OK)
			return st;
		struct hth_lora **slot = &list[layer * HTH_LINEAR_COUNT + k];
		if (*slot != NULL)
			return hth_fail(err, HTH_ERR_FORMAT, "adapter: \"%s\" is there twice", mod->name);
		*slot = hth_arena_calloc(arena, 1, sizeof(**slot));
		if (*slot == NULL || !copy_param(arena, mod->name, "lora_A", mod->rank, mod->in, mod->a, &(*slot)->a) ||
		    !copy_param(arena, mod->name, "lora_B", mod->out, mod->rank, mod->b, &(*slot)->b))
			return hth_fail_memory(err, "adapter",
					       (size_t)(mod->rank * (mod->in + mod->out)) * sizeof(float));
		(*slot)->scale = mod->scale;
		(*slot)->place = (uint32_t)(layer * 16 + k);
	}
	*out = list;
	return HTH_OK;
}
