/* A model from a GGUF file or a Hugging Face folder (source.h): family, config, weights (bind.c), tokenizer, chat
 * template; its life on a device. Read decoder.c next for what is computed, llama.c for a family. */
#include "models/model_int.h"
#include "models/parts.h"
#include "models/source.h"

#include "base/checked.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define HTH_FAMILY(name) extern const struct hth_family hth_family_##name;
#include "models/list.h"
#undef HTH_FAMILY

static const struct hth_family *const families[] = {
#define HTH_FAMILY(name) &hth_family_##name,
#include "models/list.h"
#undef HTH_FAMILY
};
enum { FAMILY_COUNT = sizeof(families) / sizeof(families[0]) };

const struct hth_family *hth_family_find(const char *gguf_arch)
{
	for (int i = 0; i < FAMILY_COUNT; i++)
		if (strcmp(families[i]->gguf_arch, gguf_arch) == 0)
			return families[i];
	return NULL;
}

const struct hth_family *hth_family_find_hf(const char *model_type)
{
	size_t n = strlen(model_type);

	if (n == 0 || strchr(model_type, ' ') != NULL)
		return NULL;
	for (int i = 0; i < FAMILY_COUNT; i++)
		for (const char *p = families[i]->hf_types; *p != '\0'; p = strchr(p, ' ') + 1)
			if (strncmp(p, model_type, n) == 0 && p[n] == ' ')
				return families[i];
	return NULL;
}

const struct hth_family *hth_family_of_folder(const struct hth_model *m)
{
	for (int i = 0; m->config.n_experts > 0 && i < FAMILY_COUNT; i++)
		if (families[i]->w123 && strcmp(families[i]->gguf_arch, m->family->gguf_arch) == 0)
			return families[i];
	return m->family;
}

enum hth_status hth_source_unknown_family(const struct hth_source *s, const char *found, bool hf, struct hth_err *err)
{
	char known[512] = "";
	size_t at = 0;

	for (int i = 0; i < FAMILY_COUNT && at < sizeof(known); i++)
		if (hf || hth_family_find(families[i]->gguf_arch) == families[i]) /* Mixtral's files are "llama" too */
			at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i > 0 && !hf ? ", " : "",
				       hf ? families[i]->hf_types : families[i]->gguf_arch);
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: %s \"%s\" is not supported, expected one of: %s", s->path,
			hf ? "model type" : "architecture", found, known);
}

/* The name the model gives itself, or the base name of its file without suffix, or of its folder. */
static enum hth_status set_name(struct hth_model *m, struct hth_err *err)
{
	struct hth_gguf_str name;
	char shown[256];
	enum hth_status st = m->source->kind->model_name(m->source, &name, err);

	if (st != HTH_OK)
		return st;
	if (name.data == NULL || name.bytes == 0) {
		size_t end = strlen(m->path), start;
		while (end > 1 && m->path[end - 1] == '/')
			end--;
		for (start = end; start > 0 && m->path[start - 1] != '/'; start--)
			;
		name = (struct hth_gguf_str){.data = m->path + start, .bytes = end - start};
		if (name.bytes > 5 && hth_path_has_suffix(m->path, ".gguf"))
			name.bytes -= 5;
	}
	m->name = hth_strdup(hth_quote(shown, sizeof(shown), name.data, name.bytes));
	return m->name != NULL ? HTH_OK : hth_fail_memory(err, "model name", name.bytes);
}

/* A template outside the interpreter's subset does not keep a model from loading: raw prompts still work. */
static enum hth_status open_template(struct hth_model *m, struct hth_err *err)
{
	struct hth_err why = {0};
	size_t bytes = 0;
	enum hth_status st = m->source->kind->template_text(m->source, &m->template_source, &bytes, err);

	if (st != HTH_OK || m->template_source == NULL)
		return st;
	st = hth_template_parse(m->template_source, bytes, "chat template", &m->tmpl, &why);
	if (st == HTH_OK)
		return HTH_OK;
	m->tmpl = NULL;
	if (st == HTH_ERR_MEMORY)
		return hth_fail(err, st, "%s: %s", m->path, why.text);
	hth_warn("%s: %s; chats and message rows will not work with this model", m->path, why.text);
	return HTH_OK;
}

static enum hth_status open_parts(struct hth_model *m, bool to_write, struct hth_err *err)
{
	enum hth_status st = hth_source_open(m->path, &m->source, err);

	if (st != HTH_OK)
		return st;
	m->source->on_demand = to_write;
	const struct hth_source *s = m->source;
	m->gguf = s->gguf;
	m->family = s->keys.family;
	m->file_bytes = s->bytes;
	/* Vectors grow at most 8 times on the way to f32 and a layer's struct is no larger than 16 times its entries
	 * in the file, so that no file can make this arena large by its numbers alone. */
	hth_arena_init(&m->arena, s->bytes < SIZE_MAX / 32 ? ((size_t)1 << 20) + s->bytes * 16 : SIZE_MAX);
	hth_config_init(&m->config);
	if ((st = set_name(m, err)) != HTH_OK || (st = m->family->config(&s->keys, &m->config, err)) != HTH_OK ||
	    (st = hth_model_bind(m, err)) != HTH_OK ||
	    (st = s->kind->tokenizer(s, m->config.n_vocab, &m->tokenizer, err)) != HTH_OK)
		return st;
	return open_template(m, err);
}

static void count_weight(void *ctx, struct hth_weight *w)
{
	*(uint64_t *)ctx += (uint64_t)(w->rows * w->cols);
}

uint64_t hth_model_active_params(const struct hth_model *m)
{
	uint64_t idle = 0;

	for (int64_t l = 0; l < m->config.n_layers; l++)
		for (int k = 0; k < HTH_EXPERT_PARTS; k++) {
			const struct hth_expert_set *set = &m->layers[l].experts[k];
			if (set->n > 0)
				idle += (uint64_t)(set->n - m->config.n_chosen) * (uint64_t)set->w[0].rows *
					(uint64_t)(set->w[0].cols + (set->bias != NULL));
		}
	return m->n_params - idle;
}

static enum hth_status open_model(const char *path, bool to_write, struct hth_model **out, struct hth_err *err)
{
	struct hth_model *m = hth_calloc(1, sizeof(*m));
	enum hth_status st;

	*out = NULL;
	if (m == NULL)
		return hth_fail_memory(err, "model", sizeof(*m));
	m->path = hth_strdup(path);
	if (m->path == NULL) {
		st = hth_fail_memory(err, "model", strlen(path));
		goto done;
	}
	st = open_parts(m, to_write, err);
	if (st != HTH_OK)
		goto done;
	hth_model_each_weight(m, count_weight, &m->n_params);
	*out = m;
	m = NULL;
done:
	hth_model_close(m);
	return st;
}

enum hth_status hth_model_open(const char *path, struct hth_model **out, struct hth_err *err)
{
	return open_model(path, false, out, err);
}

enum hth_status hth_model_open_to_write(const char *path, struct hth_model **out, struct hth_err *err)
{
	return open_model(path, true, out, err);
}

struct prepare_ctx {
	struct hth_model *m;
	bool both;
	struct hth_machine machine;
	uint64_t bytes;
	enum hth_status st;
	struct hth_err *err;
};

/* An embedding that is not also the head is only looked up in; on the host that needs no copy. */
static bool is_prepared(const struct hth_model *m, const struct hth_weight *w)
{
	return w->rows != 1 && w != &m->own_embed &&
	       (w != &m->embed || m->config.tied || !m->backend->host_memory);
}

static void count_prepared(void *ctx, struct hth_weight *w)
{
	struct prepare_ctx *p = ctx;

	if (is_prepared(p->m, w))
		p->bytes += p->m->backend->prepare_bytes(&p->machine, w, p->both);
}

static void prepare_weight(void *ctx, struct hth_weight *w)
{
	struct prepare_ctx *p = ctx;
	const struct hth_model *m = p->m;

	if (p->st != HTH_OK || !is_prepared(m, w))
		return;
	p->st = m->backend->prepare(m->device, w, p->both, p->err);
	if (p->st != HTH_OK)
		hth_err_prefix(p->err, "%s: \"%s\"", m->path, w->name);
}

enum hth_status hth_model_prepare(struct hth_model *m, const struct hth_backend *b, struct hth_device *dev, bool both,
				  struct hth_err *err)
{
	struct prepare_ctx p = {.m = m, .both = both, .st = HTH_OK, .err = err};

	if (m->backend != NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s: the model is on a device already", m->path);
	if (m->source != NULL && m->source->on_demand) {
		enum hth_status st = hth_source_hold_all(m->source, err);
		if (st != HTH_OK)
			return st;
	}
	m->backend = b;
	m->device = dev;
	/* On the host a prepared form is a second copy, for speed alone: not where it would take more than half of what is
	 * free. */
	if (!both && b->host_memory && b->machine != NULL) {
		struct hth_machine_info info;
		b->machine(dev, &p.machine);
		hth_machine_info(&info);
		hth_model_each_weight(m, count_prepared, &p);
		if (p.bytes > info.available_bytes / 2)
			return HTH_OK;
	}
	hth_model_each_weight(m, prepare_weight, &p);
	return p.st;
}

static void unprepare_weight(void *ctx, struct hth_weight *w)
{
	struct hth_model *m = ctx;

	if (w->prepared != NULL)
		m->backend->unprepare(m->device, w);
	w->prepared = NULL;
}

void hth_model_close(struct hth_model *m)
{
	if (m == NULL)
		return;
	if (m->backend != NULL)
		hth_model_each_weight(m, unprepare_weight, m);
	hth_template_free(m->tmpl);
	hth_free(m->template_source);
	hth_tokenizer_free(m->tokenizer);
	hth_arena_clear(&m->arena);
	hth_source_close(m->source);
	hth_free(m->name);
	hth_free(m->path);
	hth_free(m);
}

static void visit(struct hth_weight *w, void (*fn)(void *ctx, struct hth_weight *w), void *ctx)
{
	if (w->data != NULL)
		fn(ctx, w);
}

static void visit_experts(struct hth_layer *layer, void (*fn)(void *ctx, struct hth_weight *w), void *ctx)
{
	for (int k = 0; k < HTH_EXPERT_PARTS; k++)
		for (int64_t e = 0; e < layer->experts[k].n; e++) {
			visit(&layer->experts[k].w[e], fn, ctx);
			if (layer->experts[k].bias != NULL)
				visit(&layer->experts[k].bias[e], fn, ctx);
		}
}

void hth_model_each_weight(struct hth_model *m, void (*fn)(void *ctx, struct hth_weight *w), void *ctx)
{
	visit(&m->embed, fn, ctx);
	visit(&m->own_embed, fn, ctx);
	visit(&m->own_norm, fn, ctx);
	for (int64_t l = 0; l < m->config.n_layers; l++) {
		struct hth_layer *layer = &m->layers[l];
		for (int k = 0; k < HTH_LINEAR_COUNT; k++) {
			visit(&layer->linear[k], fn, ctx);
			visit(&layer->bias[k], fn, ctx);
		}
		for (int k = 0; k < HTH_VECTOR_COUNT; k++)
			visit(hth_layer_vector(layer, (enum hth_vector_kind)k), fn, ctx);
		visit(&layer->sinks, fn, ctx);
		for (int k = 0; k < HTH_DELTA_VECTORS; k++)
			visit(hth_delta_vector(layer, (enum hth_delta_vector)k), fn, ctx);
		visit(&layer->router_w, fn, ctx);
		visit(&layer->router_bias, fn, ctx);
		visit_experts(layer, fn, ctx);
		visit(&layer->shared_gate_w, fn, ctx);
		visit(&layer->router_norm, fn, ctx);
		visit(&layer->expert_scale, fn, ctx);
		for (int k = 0; k < HTH_OWN_PARTS; k++)
			visit(&layer->own.w[k], fn, ctx);
		visit(&layer->out_scale, fn, ctx);
	}
	visit(&m->final_norm, fn, ctx);
	if (!m->config.tied)
		visit(&m->head, fn, ctx);
}

struct hth_state_shape hth_model_state_shape(const struct hth_model *m, int64_t capacity)
{
	const struct hth_model_config *c = &m->config;

	struct hth_state_shape s = {.n_layers = (int32_t)(c->n_layers - c->n_kv_shared),
				    .n_kv = c->n_kv,
				    .head = c->head,
				    .capacity = capacity};

	for (int64_t l = 0; l < c->n_layers; l++)
		s.recurrent.n_layers += hth_layer_in(&c->recurrent, l);
	for (int64_t l = 0; (c->local_kv > 0 || c->local_head > 0) && l < c->n_layers; l++)
		if (hth_layer_in(&c->windowed, l) && !hth_layer_shares(c, l) && !hth_layer_in(&c->recurrent, l)) {
			int32_t slot = m->layers[l].slot;
			s.local_kv = hth_layer_kv(c, l);
			s.local_head = hth_layer_head(c, l);
			s.local[slot / 8] |= (uint8_t)(1 << slot % 8);
		}
	s.n_layers -= s.recurrent.n_layers;
	if (s.recurrent.n_layers > 0) {
		s.recurrent.elems[HTH_RECURRENT_CONV] = (c->conv_taps - 1) * hth_delta_cols(&c->delta);
		s.recurrent.elems[HTH_RECURRENT_DELTA] = c->delta.n_value * c->delta.key * c->delta.value;
	}
	return s;
}

enum hth_status hth_model_chat(const struct hth_model *m, struct hth_chat *out, struct hth_err *err)
{
	if (m->template_source == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this model has no chat template; use raw prompts, or a model "
				"tuned for chat",
				m->path);
	if (m->tmpl == NULL) {
		struct hth_template *t = NULL;
		enum hth_status st =
			hth_template_parse(m->template_source, strlen(m->template_source), "chat template", &t, err);
		hth_template_free(t);
		return st != HTH_OK
			       ? hth_err_prefix(err, "%s", m->path)
			       : hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: its chat template holds a NUL byte", m->path);
	}
	*out = (struct hth_chat){.tmpl = m->tmpl, .tok = m->tokenizer, .now = (int64_t)time(NULL)};
	return HTH_OK;
}
