/* A model in a Hugging Face folder: safetensors of bf16, f16 or f32, mapped in place; MLX's affine-quantised tensors
 * (formats/hf_mlx.h), laid out anew in memory of our own while they
 * are held. The tokenizer may have fewer
 * tokens than the embedding has rows (padding to a round number) and special ones beyond it (image tokens of a
 * relative with eyes); both are common, and neither is ever a target.
 * Leaves out: folders quantised in other ways (GPTQ, AWQ, fp8, ...). */
#include "base/mem.h"
#include "formats/hf_mlx.h"
#include "models/source.h"

#include <stdio.h>
#include <string.h>

#define TIED "tie_word_embeddings"

/* The text's own type has the last word on the family, and the text says all that its class does not. */
static enum hth_status read_text(struct hth_source *s, json_t *text, struct hth_err *err)
{
	const char *type = json_string_value(json_object_get(text, "model_type"));
	char shown[64];

	if (type != NULL) {
		hth_quote(shown, sizeof(shown), type, strlen(type));
		s->keys.family = hth_family_find_hf(shown);
		if (s->keys.family == NULL || !s->keys.family->nested)
			return hth_source_unknown_family(s, shown, true, err);
	}
	json_t *defaults = NULL;
	const char *rest = s->keys.family->nested_defaults;
	enum hth_status st = HTH_OK;
	if (rest != NULL)
		st = hth_json_parse(rest, strlen(rest), HTH_JSON_STRICT, s->keys.family->name, &defaults, err);
	if (st == HTH_OK && rest != NULL && json_object_update_missing(text, defaults) != 0)
		st = hth_fail_memory(err, "a config", strlen(rest));
	json_decref(defaults);
	return st;
}

static enum hth_status find_family(struct hth_source *s, struct hth_err *err)
{
	const char *type;
	char shown[64];
	enum hth_status st = hth_json_str(s->hf->config, "model_type", NULL, &type, s->hf->config_path, err);

	if (st != HTH_OK)
		return st;
	if (type == NULL)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: no key \"model_type\", expected in every model",
				s->hf->config_path);
	hth_quote(shown, sizeof(shown), type, strlen(type));
	s->keys.family = hth_family_find_hf(shown);
	if (s->keys.family == NULL)
		return hth_source_unknown_family(s, shown, true, err);
	json_t *text = json_object_get(s->hf->config, "text_config"), *tied = json_object_get(s->hf->config, TIED);
	if (!s->keys.family->nested || !json_is_object(text))
		return HTH_OK;
	s->keys.json = text;
	if ((st = read_text(s, text, err)) != HTH_OK)
		return st;
	/* The whole model's word on the tie goes before the part's. */
	if (tied != NULL && json_object_set(text, TIED, tied) != 0)
		return hth_fail_memory(err, "a config", 64);
	return HTH_OK;
}

static enum hth_status refuse_quantised(const struct hth_source *s, struct hth_err *err)
{
	const json_t *q = json_object_get(s->hf->config, "quantization_config");
	const char *method = json_string_value(json_object_get(q, "quant_method"));
	char shown[64];

	/* MLX writes its settings under both names. */
	if (q == NULL || json_is_null(q) || hth_mlx_is(s->hf))
		return hth_mlx_check(s->hf, err);
	method = method != NULL ? method : "unnamed";
	/* gpt-oss as published: experts_hf.c. */
	if (strcmp(method, "mxfp4") == 0 && s->keys.family->interleaved)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"%s: quantised by \"%s\", which is not read; take the unquantised model or a GGUF of it",
			s->path, hth_quote(shown, sizeof(shown), method, strlen(method)));
}

static enum hth_status open_folder(struct hth_source *s, struct hth_err *err)
{
	s->hf = hth_calloc(1, sizeof(*s->hf));
	if (s->hf == NULL)
		return hth_fail_memory(err, "a model's source", sizeof(*s->hf));
	enum hth_status st = hth_hf_open(s->hf, s->path, err);
	if (st != HTH_OK)
		return st;
	s->n_tensors = s->hf->n_tensors;
	s->bytes = s->hf->bytes;
	s->keys.json = s->hf->config;
	s->keys.where = s->hf->config_path;
	if ((st = find_family(s, err)) != HTH_OK)
		return st;
	return refuse_quantised(s, err);
}

static void close_folder(struct hth_source *s)
{
	if (s->hf != NULL)
		hth_hf_close(s->hf);
	hth_free(s->hf);
}

static enum hth_quant quant_of(enum hth_st_dtype t)
{
	return t == HTH_ST_F32    ? HTH_QUANT_F32
	       : t == HTH_ST_F16  ? HTH_QUANT_F16
	       : t == HTH_ST_BF16 ? HTH_QUANT_BF16
				  : HTH_QUANT_NONE;
}

static enum hth_status fill_quantised(const struct hth_source *s, size_t number, uint8_t *out, struct hth_err *err)
{
	struct hth_mlx_tensor parts;
	enum hth_status st = hth_mlx_find(s->hf, hth_hf_tensor(s->hf, number), &parts, err);

	return st == HTH_OK ? hth_mlx_repack(&parts, s->repacked[number].quant, out, err) : st;
}

/* A quantised tensor. Vectors are wanted at once. */
static enum hth_status find_quantised(struct hth_source *s, const struct hth_st_tensor *x, size_t number,
				      struct hth_source_tensor *t, struct hth_err *err)
{
	struct hth_mlx_tensor parts;
	struct hth_repacked how = {.fill = fill_quantised};
	enum hth_status st = hth_mlx_find(s->hf, x, &parts, err);

	if (st == HTH_OK)
		st = hth_mlx_blocks(&parts, &how.quant, &how.bytes, err);
	if (st == HTH_OK)
		st = hth_source_lay_out(s, number, &how, parts.rows == 1, err);
	if (st != HTH_OK)
		return st;
	hth_source_mark(s, parts.scales_number);
	if (parts.biases != NULL)
		hth_source_mark(s, parts.biases_number);
	t->quant = how.quant;
	t->data = s->repacked[number].data;
	t->n_dims = x->n_dims;
	memcpy(t->dim, x->dim, sizeof(t->dim));
	t->dim[x->n_dims - 1] = parts.cols;
	return HTH_OK;
}

static enum hth_status find(struct hth_source *s, struct hth_source_tensor *t, struct hth_err *err)
{
	size_t number;
	const struct hth_st_tensor *x = hth_hf_find(s->hf, t->name, &number);
	char nested[sizeof(t->name) + 32];

	/* "model.layers.0." of a text model is "model.language_model.layers.0." of one with eyes; MLX turns the two words. */
	if (x == NULL && s->keys.family->nested && strncmp(t->name, "model.", 6) == 0) {
		snprintf(nested, sizeof(nested), "model.language_model.%s", t->name + 6);
		x = hth_hf_find(s->hf, nested, &number);
	}
	if (x == NULL && s->keys.family->nested) {
		snprintf(nested, sizeof(nested), "language_model.%s", t->name);
		x = hth_hf_find(s->hf, nested, &number);
	}
	if (x == NULL)
		return HTH_OK;
	hth_source_mark(s, number);
	if (x->dtype == HTH_ST_U32)
		return find_quantised(s, x, number, t, err);
	t->quant = quant_of(x->dtype);
	if (t->quant == HTH_QUANT_NONE)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"%s\": dtype %s, expected BF16, F16 or F32", s->path,
				t->name, hth_st_dtype_name(x->dtype));
	t->n_dims = x->n_dims;
	memcpy(t->dim, x->dim, sizeof(t->dim));
	t->data = x->data;
	return HTH_OK;
}

static const char *tensor_name(const struct hth_source *s, size_t number, size_t *bytes)
{
	const char *name = hth_hf_tensor(s->hf, number)->name;

	*bytes = strlen(name);
	return name;
}

static enum hth_status tokenizer(const struct hth_source *s, int64_t n_vocab, struct hth_tokenizer **out,
				 struct hth_err *err)
{
	char *path = hth_path_join(s->path, "tokenizer.json");

	if (path == NULL)
		return hth_fail_memory(err, "a path", strlen(s->path));
	enum hth_status st = hth_path_kind(path) == HTH_PATH_FILE
				     ? hth_tokenizer_from_json(path, out, err)
				     : hth_fail(err, HTH_ERR_NOTFOUND,
						"%s: no tokenizer.json, expected in every model folder", s->path);
	hth_free(path);
	if (st != HTH_OK)
		return st;
	for (int32_t id = hth_tokenizer_size(*out) - 1; id >= n_vocab; id--)
		if (!hth_tokenizer_is_special(*out, id) && hth_tokenizer_token(*out, id, NULL) != NULL)
			return hth_fail(err, HTH_ERR_SHAPE,
					"%s: the tokenizer has %d tokens, expected at most %lld (vocab_size); are the "
					"files of one model?",
					s->path, hth_tokenizer_size(*out), (long long)n_vocab);
	return hth_tokenizer_pad(*out, n_vocab, err);
}

static enum hth_status template_text(const struct hth_source *s, char **out, size_t *bytes, struct hth_err *err)
{
	return hth_hf_template(s->hf, out, bytes, err);
}

static enum hth_status model_name(const struct hth_source *s, struct hth_gguf_str *out, struct hth_err *err)
{
	(void)s;
	(void)err;
	*out = (struct hth_gguf_str){0};
	return HTH_OK;
}

const struct hth_source_kind hth_source_hf = {
	.gguf = false,
	.open = open_folder,
	.close = close_folder,
	.find = find,
	.tensor_name = tensor_name,
	.tokenizer = tokenizer,
	.template_text = template_text,
	.model_name = model_name,
};
