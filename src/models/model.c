/* A model from a GGUF file: family by architecture, config, weights (bind.c), tokenizer, chat template; its life on a
 * device. Leaves out: Hugging Face folders. Read decoder.c next for what is computed, llama.c for a family. */
#include "models/model_int.h"

#include "base/checked.h"
#include "base/log.h"
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

static enum hth_status unknown_family(const struct hth_model *m, const char *arch, struct hth_err *err)
{
	char known[256] = "";
	size_t at = 0;

	for (int i = 0; i < FAMILY_COUNT && at < sizeof(known); i++)
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i > 0 ? ", " : "",
				       families[i]->gguf_arch);
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: architecture \"%s\" is not supported, expected one of: %s",
			m->path, arch, known);
}

static bool is_string(const struct hth_gguf *g, const char *key, const char *text)
{
	struct hth_gguf_str s;

	return hth_gguf_string(g, key, &s, NULL) == HTH_OK && s.data != NULL && hth_gguf_str_equal(s, text);
}

/* Files that are valid GGUF and no model. */
static enum hth_status check_is_model(const struct hth_model *m, struct hth_err *err)
{
	const struct hth_gguf *g = m->gguf;
	int64_t parts;

	if (is_string(g, "general.type", "adapter"))
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this file is a LoRA adapter, expected a model; "
				"name its base as the model and this file with --adapter",
				m->path);
	enum hth_status st = hth_gguf_int(g, "split.count", 0, INT64_MAX, 1, &parts, err);
	if (st != HTH_OK)
		return st;
	if (parts > 1)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this file is one of %lld parts of a model, expected a whole "
				"one; join the parts first (llama-gguf-split --merge)",
				m->path, (long long)parts);
	if (g->n_tensors == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this file has no weights (a vocabulary only), expected a model", m->path);
	return HTH_OK;
}

static enum hth_status find_family(struct hth_model *m, struct hth_err *err)
{
	struct hth_gguf_str arch;
	char shown[64];
	enum hth_status st = hth_gguf_string(m->gguf, "general.architecture", &arch, err);

	if (st != HTH_OK)
		return st;
	if (arch.data == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: no key \"general.architecture\", expected in every model",
				m->path);
	hth_quote(shown, sizeof(shown), arch.data, arch.bytes);
	m->family = hth_family_find(shown);
	return m->family != NULL ? HTH_OK : unknown_family(m, shown, err);
}

/* general.name, or the file's base name without its suffix. */
static enum hth_status set_name(struct hth_model *m, struct hth_err *err)
{
	struct hth_gguf_str name;
	char shown[256];
	enum hth_status st = hth_gguf_string(m->gguf, "general.name", &name, err);

	if (st != HTH_OK)
		return st;
	if (name.data == NULL || name.bytes == 0) {
		name.data = hth_path_base(m->path);
		name.bytes = strlen(name.data) - (hth_path_has_suffix(m->path, ".gguf") ? 5 : 0);
	}
	m->name = hth_strdup(hth_quote(shown, sizeof(shown), name.data, name.bytes));
	return m->name != NULL ? HTH_OK : hth_fail_memory(err, "model name", name.bytes);
}

static enum hth_status open_tokenizer(struct hth_model *m, struct hth_err *err)
{
	enum hth_status st = hth_tokenizer_from_gguf(m->gguf, &m->tokenizer, err);

	if (st != HTH_OK)
		return st;
	if (hth_tokenizer_size(m->tokenizer) != m->config.n_vocab)
		return hth_fail(err, HTH_ERR_SHAPE,
				"%s: the tokenizer has %d tokens, expected %lld (the model's vocabulary)", m->path,
				hth_tokenizer_size(m->tokenizer), (long long)m->config.n_vocab);
	return HTH_OK;
}

/* A template outside the interpreter's subset does not keep a model from loading: raw prompts still work. */
static enum hth_status open_template(struct hth_model *m, struct hth_err *err)
{
	struct hth_gguf_str source;
	struct hth_err why = {0};
	enum hth_status st = hth_gguf_string(m->gguf, "tokenizer.chat_template", &source, err);

	if (st != HTH_OK || source.data == NULL)
		return st;
	m->template_source = hth_strndup(source.data, source.bytes);
	if (m->template_source == NULL)
		return hth_fail_memory(err, "chat template", source.bytes);
	st = hth_template_parse(source.data, source.bytes, "chat template", &m->tmpl, &why);
	if (st == HTH_OK)
		return HTH_OK;
	m->tmpl = NULL;
	if (st == HTH_ERR_MEMORY)
		return hth_fail(err, st, "%s: %s", m->path, why.text);
	hth_warn("%s: %s; chats and message rows will not work with this model", m->path, why.text);
	return HTH_OK;
}

static enum hth_status open_parts(struct hth_model *m, struct hth_err *err)
{
	enum hth_status st = hth_gguf_open(m->gguf, m->path, err);

	if (st != HTH_OK)
		return st;
	m->file_bytes = m->gguf->map.bytes;
	/* Vectors grow at most 8 times on the way to f32 and a layer's struct is no larger than 16 times its entries
	 * in the file, so that no file can make this arena large by its numbers alone. */
	hth_arena_init(&m->arena,
		       m->gguf->map.bytes < SIZE_MAX / 32 ? ((size_t)1 << 20) + m->gguf->map.bytes * 16 : SIZE_MAX);
	if ((st = check_is_model(m, err)) != HTH_OK || (st = find_family(m, err)) != HTH_OK ||
	    (st = set_name(m, err)) != HTH_OK)
		return st;
	if ((st = m->family->config_from_gguf(m->gguf, &m->config, err)) != HTH_OK ||
	    (st = hth_model_bind(m, err)) != HTH_OK)
		return st;
	if ((st = open_tokenizer(m, err)) != HTH_OK)
		return st;
	return open_template(m, err);
}

static void count_weight(void *ctx, struct hth_weight *w)
{
	*(uint64_t *)ctx += (uint64_t)(w->rows * w->cols);
}

enum hth_status hth_model_open(const char *path, struct hth_model **out, struct hth_err *err)
{
	struct hth_model *m = hth_calloc(1, sizeof(*m));
	enum hth_status st;

	*out = NULL;
	if (m == NULL)
		return hth_fail_memory(err, "model", sizeof(*m));
	m->path = hth_strdup(path);
	m->gguf = hth_calloc(1, sizeof(*m->gguf));
	if (m->path == NULL || m->gguf == NULL) {
		st = hth_fail_memory(err, "model", sizeof(*m->gguf));
		goto done;
	}
	st = open_parts(m, err);
	if (st != HTH_OK)
		goto done;
	hth_model_each_weight(m, count_weight, &m->n_params);
	*out = m;
	m = NULL;
done:
	hth_model_close(m);
	return st;
}

struct prepare_ctx {
	struct hth_model *m;
	bool both;
	enum hth_status st;
	struct hth_err *err;
};

static void prepare_weight(void *ctx, struct hth_weight *w)
{
	struct prepare_ctx *p = ctx;
	const struct hth_model *m = p->m;

	if (p->st != HTH_OK || w->rows == 1)
		return;
	/* An embedding that is not also the head is only looked up in; on the host that needs no copy. */
	if (w == &m->embed && !m->config.tied && m->backend->host_memory)
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
	m->backend = b;
	m->device = dev;
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
	if (m->gguf != NULL)
		hth_gguf_close(m->gguf);
	hth_free(m->gguf);
	hth_free(m->name);
	hth_free(m->path);
	hth_free(m);
}

static void visit(struct hth_weight *w, void (*fn)(void *ctx, struct hth_weight *w), void *ctx)
{
	if (w->data != NULL)
		fn(ctx, w);
}

void hth_model_each_weight(struct hth_model *m, void (*fn)(void *ctx, struct hth_weight *w), void *ctx)
{
	visit(&m->embed, fn, ctx);
	for (int64_t l = 0; l < m->config.n_layers; l++) {
		struct hth_layer *layer = &m->layers[l];
		for (int k = 0; k < HTH_LINEAR_COUNT; k++) {
			visit(&layer->linear[k], fn, ctx);
			visit(&layer->bias[k], fn, ctx);
		}
		for (int k = 0; k < HTH_VECTOR_COUNT; k++)
			visit(hth_layer_vector(layer, (enum hth_vector_kind)k), fn, ctx);
	}
	visit(&m->final_norm, fn, ctx);
	if (!m->config.tied)
		visit(&m->head, fn, ctx);
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
