/* Do two loaded models compute the same from the same weights? Asked of what a writer wrote, opened again. */
#include "models/parts.h"

#include "models/model_int.h"

#include <math.h>
#include <string.h>

/* GGUF has floats where config.json has decimals. */
static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)) + 1e-12;
}

static const char *differing_size(const struct hth_model_config *a, const struct hth_model_config *b)
{
	const struct {
		const char *what;
		int64_t a, b;
	} sizes[] = {
		{"vocabulary", a->n_vocab, b->n_vocab},
		{"number of layers", a->n_layers, b->n_layers},
		{"width", a->width, b->width},
		{"number of heads", a->n_head, b->n_head},
		{"number of kv heads", a->n_kv, b->n_kv},
		{"head size", a->head, b->head},
		{"feed-forward width", a->n_ff, b->n_ff},
		{"context", a->context, b->context},
		{"sliding window", a->window, b->window},
		{"rotated columns", a->rot, b->rot},
		{"head size of layers with a window", a->local_head, b->local_head},
		{"number of kv heads of layers with a window", a->local_kv, b->local_kv},
		{"number of layers that share keys", a->n_kv_shared, b->n_kv_shared},
		{"feed-forward width of layers that share keys", a->shared_ff, b->shared_ff},
		{"width of the layers' own inputs", a->n_own, b->n_own},
		{"rule for values", a->values_normed * 2 + a->values_are_keys,
		 b->values_normed * 2 + b->values_are_keys},
		{"number of experts", a->n_experts, b->n_experts},
		{"number of chosen experts", a->n_chosen, b->n_chosen},
		{"width of experts", a->n_expert_ff, b->n_expert_ff},
		{"place of the experts", a->experts_beside, b->experts_beside},
		{"width of the shared expert", a->n_shared_ff, b->n_shared_ff},
		{"rule for the chosen experts' weights", a->n_experts > 0 && a->route_normalise,
		 b->n_experts > 0 && b->route_normalise},
		{"key heads of layers that recur", a->delta.n_key, b->delta.n_key},
		{"value heads of layers that recur", a->delta.n_value, b->delta.n_value},
		{"key size of layers that recur", a->delta.key, b->delta.key},
		{"value size of layers that recur", a->delta.value, b->delta.value},
		{"taps of the convolution", a->conv_taps, b->conv_taps},
		{"gate of attention", a->attn_gate, b->attn_gate},
		{"activation", a->act, b->act},
		{"tie of head and embedding", a->tied, b->tied},
		{"place of the norms", a->norm_before * 2 + a->norm_after, b->norm_before * 2 + b->norm_after},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (sizes[i].a != sizes[i].b)
			return sizes[i].what;
	return NULL;
}

static const char *differing_real(const struct hth_model_config *a, const struct hth_model_config *b)
{
	const struct {
		const char *what;
		double a, b;
	} reals[] = {
		{"epsilon of the norms", (double)a->norm_eps, (double)b->norm_eps},
		{"scale of the embedding", (double)a->embed_scale, (double)b->embed_scale},
		{"scale of the residual", (double)a->residual_scale, (double)b->residual_scale},
		{"scale of attention", (double)a->attn_scale, (double)b->attn_scale},
		{"scale of the logits", (double)a->logit_scale, (double)b->logit_scale},
		{"soft cap of attention", (double)a->attn_soft_cap, (double)b->attn_soft_cap},
		{"soft cap of the logits", (double)a->logit_soft_cap, (double)b->logit_soft_cap},
		{"scale of rotated queries and keys", (double)a->rope_attn, (double)b->rope_attn},
		{"growth of queries", (double)a->query_growth, (double)b->query_growth},
	};

	for (size_t i = 0; i < sizeof(reals) / sizeof(*reals); i++)
		if (!near(reals[i].a, reals[i].b))
			return reals[i].what;
	return NULL;
}

static bool layers_agree(const struct hth_layer_set *a, const struct hth_layer_set *b, int64_t n)
{
	for (int64_t l = 0; l < n; l++)
		if (hth_layer_in(a, l) != hth_layer_in(b, l))
			return false;
	return true;
}

/* Frequencies as they are used, whatever kind of scaling they come from. */
static bool rotations_agree(const struct hth_model *a, const struct hth_model *b)
{
	const float *x = a->rope_freq_local, *y = b->rope_freq_local;

	bool beyond = a->rope_freq_beyond != NULL && b->rope_freq_beyond != NULL;
	const float *far_x = a->rope_freq_beyond != NULL ? a->rope_freq_beyond : a->rope_freq;
	const float *far_y = b->rope_freq_beyond != NULL ? b->rope_freq_beyond : b->rope_freq;

	if ((beyond || a->config.query_growth > 0) && a->config.rope_original != b->config.rope_original)
		return false;
	for (int64_t i = 0; i < a->config.rot / 2; i++)
		if (!near((double)a->rope_freq[i], (double)b->rope_freq[i]) || !near((double)far_x[i], (double)far_y[i]))
			return false;
	for (int64_t i = 0; a->config.window > 0 && i < hth_rope_columns(&a->config, true) / 2; i++)
		if (!near((double)(x != NULL ? x : a->rope_freq)[i], (double)(y != NULL ? y : b->rope_freq)[i]))
			return false;
	return true;
}

enum hth_status hth_configs_agree(const struct hth_model *a, const struct hth_model *b, struct hth_err *err)
{
	const struct hth_model_config *x = &a->config, *y = &b->config;
	const char *what = strcmp(a->family->gguf_arch, b->family->gguf_arch) != 0 ? "family" : differing_size(x, y);

	if (what == NULL)
		what = differing_real(x, y);
	if (what == NULL && x->window > 0 && !layers_agree(&x->windowed, &y->windowed, x->n_layers))
		what = "set of layers with a window";
	if (what == NULL && !layers_agree(&x->sparse, &y->sparse, x->n_layers))
		what = "set of layers with experts";
	if (what == NULL && !layers_agree(&x->recurrent, &y->recurrent, x->n_layers))
		what = "set of layers that recur";
	if (what == NULL && !layers_agree(&x->no_rope, &y->no_rope, x->n_layers))
		what = "set of layers without rotation";
	if (what == NULL && !rotations_agree(a, b))
		what = "rotation of positions";
	if (what == NULL)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_UNAVAILABLE,
			"%s: the %s of this model cannot be said in the other format (%s was read again and differs)",
			a->path, what, b->path);
}
