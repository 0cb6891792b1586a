/* What a gated delta net has beside its linears: the taps of its convolution, the rates and offsets of its decay, and the
 * norm of its output. Folders have the logarithm of each head's rate, GGUF files minus the rate itself; memory has the
 * logarithm. In GGUF files value heads are tiled (formats/heads.h); memory keeps the order of the file, since columns of
 * blocks cannot be moved: adapters and written files are put in their own order where they come and go. */
#include "models/model_int.h"
#include "models/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct hth_weight *hth_delta_vector(struct hth_layer *layer, enum hth_delta_vector k)
{
	return k == HTH_DELTA_CONV    ? &layer->conv
	       : k == HTH_DELTA_A_LOG ? &layer->a_log
	       : k == HTH_DELTA_DT    ? &layer->dt
				      : &layer->delta_norm;
}

void hth_delta_names(enum hth_delta_vector k, int64_t layer, char gguf[64], char hf[80])
{
	static const char *const names[HTH_DELTA_VECTORS][2] = {
		[HTH_DELTA_CONV] = {"ssm_conv1d.weight", "conv1d.weight"},
		[HTH_DELTA_A_LOG] = {"ssm_a", "A_log"},
		[HTH_DELTA_DT] = {"ssm_dt.bias", "dt_bias"},
		[HTH_DELTA_NORM] = {"ssm_norm.weight", "norm.weight"},
	};

	snprintf(gguf, 64, "blk.%lld.%s", (long long)layer, names[k][0]);
	snprintf(hf, 80, "model.layers.%lld.linear_attn.%s", (long long)layer, names[k][1]);
}

static struct hth_heads value_heads(const struct hth_model_config *c, int64_t first, int64_t size)
{
	return (struct hth_heads){
		.first = first, .size = size, .groups = c->delta.n_key, .each = c->delta.n_value / c->delta.n_key};
}

void hth_linear_heads(const struct hth_model_config *c, enum hth_linear_kind k, struct hth_heads *rows,
		      struct hth_heads *cols)
{
	int64_t keys = 2 * c->delta.n_key * c->delta.key;

	*rows = *cols = (struct hth_heads){0};
	if (k == HTH_DELTA_QKV || k == HTH_DELTA_Z)
		*rows = value_heads(c, k == HTH_DELTA_QKV ? keys : 0, c->delta.value);
	else if (k == HTH_DELTA_B || k == HTH_DELTA_A)
		*rows = value_heads(c, 0, 1);
	else if (k == HTH_DELTA_OUT)
		*cols = value_heads(c, 0, c->delta.value);
}

struct hth_heads hth_delta_heads(const struct hth_model_config *c, enum hth_delta_vector k)
{
	if (k == HTH_DELTA_CONV)
		return value_heads(c, 2 * c->delta.n_key * c->delta.key * c->conv_taps, c->delta.value * c->conv_taps);
	return k == HTH_DELTA_NORM ? (struct hth_heads){0} : value_heads(c, 0, 1);
}

/* The taps as one long row: (N,1,W) in folders, (N,W) in GGUF files, (N,W,1) where MLX wrote them, which by that sign has
 * added 1 to the model's norms, too. */
static enum hth_status flatten_taps(struct hth_model *m, int64_t l, struct hth_source_tensor *t, struct hth_err *err)
{
	int64_t n = hth_delta_cols(&m->config.delta), taps = m->config.conv_taps;
	bool two = t->n_dims == 2 && t->dim[0] == n && t->dim[1] == taps;
	bool three = t->n_dims == 3 && t->dim[0] == n && t->dim[1] * t->dim[2] == taps &&
		     (t->dim[1] == 1 || t->dim[2] == 1);

	if (!two && !three)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": %d dimensions, expected the shape (%lld,%lld) or (%lld,1,%lld)",
				m->path, t->name, t->n_dims, (long long)n, (long long)taps, (long long)n, (long long)taps);
	bool mlx = three && taps > 1 && t->dim[2] == 1;
	if (mlx && m->layers[l].slot == 0) {
		m->config.norm_offset = 0;
		m->config.norm_stored = 1;
	}
	if (three && taps > 1 && mlx != (m->config.norm_stored > 0))
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": its last two dimensions are turned, unlike those of other layers",
				m->path, t->name);
	t->n_dims = 1;
	t->dim[0] = n * taps;
	return HTH_OK;
}

/* Logarithms of the rates that a GGUF file has, negated. */
static enum hth_status logarithms(const struct hth_model *m, struct hth_weight *w, struct hth_err *err)
{
	float *v = (float *)(uintptr_t)w->data; /* (Vh), ours: hth_bind_vector made it */

	for (int64_t h = 0; h < w->cols; h++) {
		if (!(v[h] < 0))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\" as GGUF has it: element %lld is %g, expected less than 0",
					m->path, w->name, (long long)h, (double)v[h]);
		v[h] = (float)log(-(double)v[h]);
	}
	return HTH_OK;
}

static enum hth_status bind_one(struct hth_model *m, int64_t l, enum hth_delta_vector k, struct hth_err *err)
{
	const struct hth_delta_shape *d = &m->config.delta;
	struct hth_weight *w = hth_delta_vector(&m->layers[l], k);
	bool from_gguf = m->source->kind->gguf;
	struct hth_source_tensor t = {.quant = HTH_QUANT_NONE};
	char gguf[64], hf[80];
	int64_t cols = k == HTH_DELTA_CONV ? hth_delta_cols(d) * m->config.conv_taps
		       : k == HTH_DELTA_NORM ? d->value
					     : d->n_value;

	hth_delta_names(k, l, gguf, hf);
	snprintf(t.name, sizeof(t.name), "%s", from_gguf ? gguf : hf);
	enum hth_status st = m->source->kind->find(m->source, &t, err);
	if (st == HTH_OK && t.quant == HTH_QUANT_NONE)
		st = hth_bind_missing(m, &t, err);
	if (st == HTH_OK && k == HTH_DELTA_CONV)
		st = flatten_taps(m, l, &t, err);
	if (st == HTH_OK)
		st = hth_bind_vector(m, w, &t, hf, cols, NULL, err);
	return st == HTH_OK && from_gguf && k == HTH_DELTA_A_LOG ? logarithms(m, w, err) : st;
}

enum hth_status hth_bind_delta(struct hth_model *m, int64_t l, struct hth_err *err)
{
	enum hth_status st = HTH_OK;

	for (int k = 0; st == HTH_OK && k < HTH_DELTA_VECTORS; k++)
		st = bind_one(m, l, (enum hth_delta_vector)k, err);
	return st;
}
