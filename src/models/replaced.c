/* Weights that an adapter brings whole, PEFT's modules_to_save: the embedding, the head, norms. Linears inside the
 * layers are left out: LoRA is for them. In a tied model the embedding and the head are replaced one by one, as PEFT
 * does; whichever is not named stays the base's. */
#include "models/model_int.h"

#include <stdio.h>
#include <string.h>

void hth_lora_set_replace(struct hth_lora_set *s, int a, const struct hth_replacements *r)
{
	s->replaced[a] = r != NULL && r->n > 0 ? r : NULL;
}

/* Does a module path ("model.layers.3.input_layernorm") go by name: whole, or its end after a dot? */
static bool goes_by(const char *path, size_t bytes, const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= bytes && memcmp(path + bytes - n, name, n) == 0 &&
	       (n == bytes || path[bytes - n - 1] == '.');
}

struct visit {
	const struct hth_model *m;
	const char *name;
	void (*fn)(void *ctx, struct hth_weight *w);
	void *ctx;
	int n;
};

static bool is_replaceable(const struct hth_model *m, const struct hth_weight *w)
{
	return w == &m->embed || w == &m->head || (w->rows == 1 && strstr(w->name, "norm.weight") != NULL);
}

static void visit_weight(void *ctx, struct hth_weight *w)
{
	struct visit *v = ctx;

	if (!is_replaceable(v->m, w) || !goes_by(w->name, strlen(w->name) - strlen(".weight"), v->name))
		return;
	v->n++;
	v->fn(v->ctx, w);
}

int hth_model_named_weights(struct hth_model *m, const char *name, void (*fn)(void *ctx, struct hth_weight *w),
			    void *ctx)
{
	struct visit v = {.m = m, .name = name, .fn = fn, .ctx = ctx};

	hth_model_each_weight(m, visit_weight, &v);
	if (m->config.tied && goes_by("lm_head", strlen("lm_head"), name)) {
		v.n++;
		fn(ctx, &m->head);
	}
	return v.n;
}

float hth_weight_stored_offset(const struct hth_model *m, const struct hth_weight *w)
{
	for (int64_t l = 0; l < m->config.n_layers; l++)
		if (w == &m->layers[l].delta_norm)
			return 0;
	return w->rows == 1 ? m->config.norm_stored : 0;
}

bool hth_replacement_new(const struct hth_model *m, const struct hth_weight *of, struct hth_arena *arena,
			 struct hth_replacement *out)
{
	float *value = hth_arena_calloc(arena, (size_t)(of->rows * of->cols), sizeof(*value)); /* (rows, cols) */

	*out = (struct hth_replacement){.of = of, .head = of == &m->head, .with = *of};
	out->with.quant = HTH_QUANT_F32;
	out->with.data = (const uint8_t *)value;
	out->with.row_bytes = (uint64_t)of->cols * sizeof(float);
	out->with.head_rows = 0;
	out->with.param = NULL;
	out->with.prepared = NULL;
	return value != NULL;
}

void hth_replaceable_gguf_name(const struct hth_model *m, const struct hth_weight *w, char out[80])
{
	char gguf[64], hf[80];

	snprintf(out, 80, "%s",
		 w == &m->embed      ? "token_embd.weight"
		 : w == &m->head     ? "output.weight"
		 : w == &m->own_norm ? "per_layer_proj_norm.weight"
				     : "output_norm.weight");
	for (int64_t l = 0; l < m->config.n_layers; l++)
		if (w == &m->layers[l].delta_norm) {
			hth_delta_names(HTH_DELTA_NORM, l, gguf, hf);
			snprintf(out, 80, "%s", gguf);
			return;
		}
	for (int64_t l = 0; l < m->config.n_layers; l++)
		for (int k = 0; k < HTH_VECTOR_COUNT; k++)
			if (w == hth_layer_vector(&m->layers[l], (enum hth_vector_kind)k)) {
				hth_vector_names(&m->config, (enum hth_vector_kind)k, l, gguf, hf);
				snprintf(out, 80, "%s.weight", gguf);
			}
}

/* The one weight of that full name ("model.norm.weight"). */
struct search {
	const struct hth_model *m;
	const char *name;
	const struct hth_weight *found;
};

static void match(void *ctx, struct hth_weight *w)
{
	struct search *s = ctx;

	if (is_replaceable(s->m, w) && strcmp(w->name, s->name) == 0)
		s->found = w;
}

static const struct hth_weight *find(const struct hth_model *m, const char *name)
{
	struct search s = {.m = m, .name = name};

	if (strcmp(name, "lm_head.weight") == 0)
		return &m->head;
	hth_model_each_weight((struct hth_model *)(uintptr_t)m, match, &s); /* only looks */
	return s.found;
}

static enum hth_status add(const struct hth_model *m, const struct hth_saved_weight *saved, struct hth_arena *arena,
			   struct hth_replacement *out, struct hth_err *err)
{
	char shown[128], name[128];

	hth_unnested_name(m, saved->name, name);
	const struct hth_weight *of = find(m, name);
	hth_quote(shown, sizeof(shown), saved->name, strlen(saved->name));
	if (of == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"adapter: \"%s\": a whole weight that cannot be replaced here; embed_tokens, lm_head and "
				"norms of %s can",
				shown, m->name);
	if (saved->rows != of->rows || saved->cols != of->cols)
		return hth_fail(err, HTH_ERR_SHAPE,
				"adapter: \"%s\": shape (%lld,%lld), expected (%lld,%lld) as in %s; was the adapter "
				"trained on another model, or with added tokens?",
				shown, (long long)saved->rows, (long long)saved->cols, (long long)of->rows,
				(long long)of->cols, m->name);
	if (!hth_replacement_new(m, of, arena, out))
		return hth_fail_memory(err, "an adapter's weight", (size_t)(of->rows * of->cols) * sizeof(float));
	snprintf(out->with.name, sizeof(out->with.name), "%.95s", saved->name);
	float *value = (float *)(uintptr_t)out->with.data, more = hth_weight_stored_offset(m, of);
	for (int64_t i = 0; i < of->rows * of->cols; i++)
		value[i] = saved->value[i] + more;
	return HTH_OK;
}

enum hth_status hth_model_replacements(const struct hth_model *m, const struct hth_adapter *a, struct hth_arena *arena,
				       struct hth_replacements *out, struct hth_err *err)
{
	*out = (struct hth_replacements){.list = hth_arena_calloc(arena, a->n_saved, sizeof(*out->list))};
	if (out->list == NULL)
		return hth_fail_memory(err, "an adapter's weights", a->n_saved * sizeof(*out->list));
	for (size_t i = 0; i < a->n_saved; i++) {
		enum hth_status st = add(m, &a->saved[i], arena, &out->list[out->n], err);
		if (st != HTH_OK)
			return st;
		out->n++;
	}
	return HTH_OK;
}
