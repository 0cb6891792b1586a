/* A model in one GGUF file, or in the parts of one. */
#include "base/mem.h"
#include "models/source.h"

#include <string.h>

static bool is_string(const struct hth_gguf *g, const char *key, const char *text)
{
	struct hth_gguf_str s;

	return hth_gguf_string(g, key, &s, NULL) == HTH_OK && s.data != NULL && hth_gguf_str_equal(s, text);
}

/* Files that are valid GGUF and no model. */
static enum hth_status check_is_model(const struct hth_source *s, struct hth_err *err)
{
	const struct hth_gguf *g = s->gguf;

	if (is_string(g, "general.type", "adapter"))
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this file is a LoRA adapter, expected a model; "
				"name its base as the model and this file with --adapter",
				s->path);
	if (g->n_tensors == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: this file has no weights (a vocabulary only), expected a model", s->path);
	return HTH_OK;
}

static enum hth_status find_family(struct hth_source *s, struct hth_err *err)
{
	struct hth_gguf_str arch;
	char shown[64];
	enum hth_status st = hth_gguf_string(s->gguf, "general.architecture", &arch, err);

	if (st != HTH_OK)
		return st;
	if (arch.data == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: no key \"general.architecture\", expected in every model",
				s->path);
	hth_quote(shown, sizeof(shown), arch.data, arch.bytes);
	s->keys.family = hth_family_find(shown);
	return s->keys.family != NULL ? HTH_OK : hth_source_unknown_family(s, shown, false, err);
}

static enum hth_status open_file(struct hth_source *s, struct hth_err *err)
{
	s->gguf = hth_calloc(1, sizeof(*s->gguf));
	if (s->gguf == NULL)
		return hth_fail_memory(err, "a model's source", sizeof(*s->gguf));
	enum hth_status st = hth_gguf_open_split(s->gguf, s->path, err);
	if (st != HTH_OK)
		return st;
	s->n_tensors = s->gguf->n_tensors;
	s->bytes = s->gguf->bytes;
	s->keys.gguf = s->gguf;
	s->keys.where = s->path;
	if ((st = check_is_model(s, err)) != HTH_OK)
		return st;
	return find_family(s, err);
}

static void close_file(struct hth_source *s)
{
	if (s->gguf != NULL)
		hth_gguf_close(s->gguf);
	hth_free(s->gguf);
}

static enum hth_status find(struct hth_source *s, struct hth_source_tensor *t, struct hth_err *err)
{
	const struct hth_gguf_tensor *g = hth_gguf_tensor(s->gguf, t->name);

	(void)err;
	if (g == NULL)
		return HTH_OK;
	hth_source_mark(s, (size_t)(g - s->gguf->tensors));
	t->quant = g->quant;
	t->n_dims = g->n_dims;
	for (int i = 0; i < g->n_dims; i++)
		t->dim[i] = g->ne[g->n_dims - 1 - i];
	t->data = g->data;
	return HTH_OK;
}

static const char *tensor_name(const struct hth_source *s, size_t number, size_t *bytes)
{
	*bytes = s->gguf->tensors[number].name.bytes;
	return s->gguf->tensors[number].name.data;
}

static enum hth_status tokenizer(const struct hth_source *s, int64_t n_vocab, struct hth_tokenizer **out,
				 struct hth_err *err)
{
	enum hth_status st = hth_tokenizer_from_gguf(s->gguf, out, err);

	if (st == HTH_OK && hth_tokenizer_size(*out) != n_vocab)
		return hth_fail(err, HTH_ERR_SHAPE,
				"%s: the tokenizer has %d tokens, expected %lld (the model's vocabulary)", s->path,
				hth_tokenizer_size(*out), (long long)n_vocab);
	return st;
}

static enum hth_status template_text(const struct hth_source *s, char **out, size_t *bytes, struct hth_err *err)
{
	struct hth_gguf_str text;
	enum hth_status st = hth_gguf_string(s->gguf, "tokenizer.chat_template", &text, err);

	*out = NULL;
	if (st != HTH_OK || text.data == NULL)
		return st;
	*bytes = text.bytes;
	*out = hth_strndup(text.data, text.bytes);
	return *out != NULL ? HTH_OK : hth_fail_memory(err, "chat template", text.bytes);
}

static enum hth_status model_name(const struct hth_source *s, struct hth_gguf_str *out, struct hth_err *err)
{
	return hth_gguf_string(s->gguf, "general.name", out, err);
}

const struct hth_source_kind hth_source_gguf = {
	.gguf = true,
	.open = open_file,
	.close = close_file,
	.find = find,
	.tensor_name = tensor_name,
	.tokenizer = tokenizer,
	.template_text = template_text,
	.model_name = model_name,
};
