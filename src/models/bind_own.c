/* Binding of inputs that layers have of their own (Gemma 4's E2B and E4B): one embedding as wide as all layers' together
 * and one map from the embedding of the text, of both of which a layer takes its part where it lies: columns of the
 * first, rows of the second. Sources of names: transformers modeling_gemma4.py, the gguf package's constants. */
#include "models/model_int.h"
#include "models/source.h"

#include <stdio.h>

void hth_own_names(int64_t layer, enum hth_own_part part, char gguf[64], char hf[80])
{
	static const char *const gguf_names[HTH_OWN_PARTS] = {"", "inp_gate", "proj"};
	static const char *const hf_names[HTH_OWN_PARTS] = {"", "per_layer_input_gate", "per_layer_projection"};

	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, gguf_names[part]);
	snprintf(hf, 80, "model.layers.%lld.%s", (long long)layer, hf_names[part]);
}

void hth_out_scale_names(int64_t layer, char gguf[64], char hf[80])
{
	snprintf(gguf, 64, "blk.%lld.layer_output_scale", (long long)layer);
	snprintf(hf, 80, "model.layers.%lld.layer_scalar", (long long)layer);
}

enum hth_status hth_bind_own_embed(struct hth_model *m, struct hth_err *err)
{
	const struct hth_model_config *c = &m->config;
	const char *norm = "model.per_layer_projection_norm";
	int64_t width = c->n_layers * c->n_own;
	struct hth_source_tensor t;
	char name[96];
	enum hth_status st;

	if ((st = hth_bind_matrix(m, &m->own_embed, "per_layer_token_embd", "model.embed_tokens_per_layer", c->n_vocab,
				  width, err)) != HTH_OK ||
	    (st = hth_bind_matrix(m, &m->own_project, "per_layer_model_proj", "model.per_layer_model_projection", width,
				  c->width, err)) != HTH_OK ||
	    (st = hth_source_take(m->source, "per_layer_proj_norm", norm, "weight", &t, err)) != HTH_OK)
		return st;
	if (t.quant == HTH_QUANT_NONE)
		return hth_bind_missing(m, &t, err);
	snprintf(name, sizeof(name), "%s.weight", norm);
	return hth_bind_vector(m, &m->own_norm, &t, name, c->n_own, NULL, err);
}

/* Columns l*P .. l*P+P-1 of the embedding, P rows of the map. */
static enum hth_status take_part(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_own_input *own = &m->layers[l].own;
	const struct hth_quant_format *f = hth_quant_format(m->own_embed.quant);
	int64_t n = m->config.n_own, each = (int64_t)f->block_elems;

	if (n % each != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\" in %s: %lld columns a layer, expected a multiple of the format's blocks of %lld",
				m->path, m->own_embed.name, f->name, (long long)n, (long long)each);
	own->embed = m->own_embed;
	own->embed.cols = n;
	own->embed.data += (uint64_t)(l * n / each) * f->block_bytes;
	own->w[HTH_OWN_PROJECT] = m->own_project;
	own->w[HTH_OWN_PROJECT].rows = n;
	own->w[HTH_OWN_PROJECT].data += (uint64_t)(l * n) * m->own_project.row_bytes;
	return HTH_OK;
}

enum hth_status hth_bind_own(struct hth_model *m, int64_t l, struct hth_err *err)
{
	struct hth_own_input *own = &m->layers[l].own;
	int64_t n = m->config.n_own, width = m->config.width;
	enum hth_status st = take_part(m, l, err);

	for (int part = HTH_OWN_GATE; st == HTH_OK && part < HTH_OWN_PARTS; part++) {
		char gguf[64], hf[80];
		bool out = part == HTH_OWN_OUT;
		hth_own_names(l, (enum hth_own_part)part, gguf, hf);
		st = hth_bind_matrix(m, &own->w[part], gguf, hf, out ? width : n, out ? n : width, err);
	}
	for (int part = 0; part < HTH_OWN_PARTS; part++)
		own->linear[part] = (struct hth_linear){.w = &own->w[part]};
	return st;
}
