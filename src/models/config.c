/* Sizes, heads and flags that families share; rotation is in config_rope.c.
 * Sources of names: ggml's docs/gguf.md and the gguf package's constants; transformers configuration_*.py. */
#include "models/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bounds far above any model; their products fit 64 bits by far and counts fit int32. */
enum {
	MAX_WIDTH = 1 << 17,
	MAX_HEADS = 4096,
	MAX_HEAD = 2 * HTH_MAX_PAIRS, /* of the attention op too */
	MAX_FF = 1 << 20,
	MAX_VOCAB = 1 << 24,
	MAX_CONTEXT = 1 << 28,
};

void hth_config_init(struct hth_model_config *c)
{
	*c = (struct hth_model_config){
		.norm = HTH_NORM_RMS,
		.norm_eps = 1e-6f,
		.act = HTH_ACT_SILU,
		.embed_scale = 1,
		.residual_scale = 1,
		.logit_scale = 1,
		.rope_theta = 10000,
		.rope_attn = 1,
		.norm_before = true,
		.route_normalise = true,
	};
}

/* In a GGUF file the list of tokens decides. */
static enum hth_status read_gguf_vocab(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_gguf_kv *tokens = hth_gguf_find(k->gguf, "tokenizer.ggml.tokens");
	int64_t said;

	if (tokens == NULL || tokens->type != HTH_GGUF_ARRAY || tokens->elem_type != HTH_GGUF_STRING)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: no list of strings \"tokenizer.ggml.tokens\", expected in every model", k->where);
	if (tokens->n < 1 || tokens->n > MAX_VOCAB)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"tokenizer.ggml.tokens\" has %llu tokens, expected 1..%d",
				k->where, (unsigned long long)tokens->n, MAX_VOCAB);
	c->n_vocab = (int64_t)tokens->n;
	enum hth_status st =
		hth_keys_int(k, (struct hth_int_key){"vocab_size", NULL, 1, MAX_VOCAB, c->n_vocab}, &said, err);
	if (st == HTH_OK && said != c->n_vocab)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s.vocab_size\" is %lld, expected %lld as there are tokens",
				k->where, k->family->gguf_arch, (long long)said, (long long)c->n_vocab);
	return st;
}

static enum hth_status read_sizes(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key layers = {"block_count", "num_hidden_layers", 1, HTH_MAX_LAYERS, HTH_KEY_NEEDED};
	const struct hth_int_key width = {"embedding_length", "hidden_size", 1, MAX_WIDTH, HTH_KEY_NEEDED};
	const struct hth_int_key ff = {"feed_forward_length", "intermediate_size", 1, MAX_FF,
				       c->n_ff > 0 ? c->n_ff : HTH_KEY_NEEDED};
	const struct hth_int_key vocab = {NULL, "vocab_size", 1, MAX_VOCAB, HTH_KEY_NEEDED};
	const struct hth_int_key context = {"context_length", "max_position_embeddings", 1, MAX_CONTEXT,
					    HTH_KEY_NEEDED};
	enum hth_status st;

	if ((st = hth_keys_int(k, layers, &c->n_layers, err)) != HTH_OK ||
	    (st = hth_keys_int(k, width, &c->width, err)) != HTH_OK ||
	    (st = hth_keys_int(k, ff, &c->n_ff, err)) != HTH_OK ||
	    (st = hth_keys_int(k, context, &c->context, err)) != HTH_OK)
		return st;
	return k->gguf != NULL ? read_gguf_vocab(k, c, err) : hth_keys_int(k, vocab, &c->n_vocab, err);
}

static enum hth_status check_heads(const struct hth_keys *k, const struct hth_model_config *c, int64_t value_head,
				   struct hth_err *err)
{
	if (c->n_head % c->n_kv != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: %lld kv heads (head_count_kv, num_key_value_heads), expected a divisor of the "
				"%lld heads",
				k->where, (long long)c->n_kv, (long long)c->n_head);
	if (c->head < 2 || c->head > MAX_HEAD || c->head % 2 != 0)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: heads of %lld columns, expected an even number in 2..%d",
				k->where, (long long)c->head, MAX_HEAD);
	/* Rows permuted within whole heads say nothing about half-rotated ones. */
	bool whole = c->rot == c->head || !k->family->gguf_permuted;
	if (value_head != c->head || c->rot > c->head || c->rot < 2 || c->rot % 2 != 0 || !whole)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: keys of %lld, values of %lld and rotation of %lld columns a head, expected all "
				"three alike",
				k->where, (long long)c->head, (long long)value_head, (long long)c->rot);
	return HTH_OK;
}

/* Columns of a head that are rotated: a number in GGUF, a share of the head in config.json. */
static enum hth_status read_rotated(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key share = {NULL, "partial_rotary_factor", 0, 1, 1};
	struct hth_keys inner = *k;
	double part = 1;
	enum hth_status st;

	if (k->gguf != NULL)
		return hth_keys_int(k, (struct hth_int_key){"rope.dimension_count", NULL, 2, MAX_HEAD, c->head},
				    &c->rot, err);
	const json_t *rope = json_object_get(k->json, "rope_parameters");
	if (json_is_object(rope) && json_object_get(rope, share.hf) != NULL)
		inner.json = rope;
	if ((st = hth_keys_real(&inner, share, &part, err)) == HTH_OK)
		c->rot = (int64_t)(part * (double)c->head);
	return st;
}

static enum hth_status read_heads(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_int_key heads = {"attention.head_count", "num_attention_heads", 1, MAX_HEADS, HTH_KEY_NEEDED};
	int64_t value_head, family_head = k->gguf == NULL ? c->head : 0;
	enum hth_status st;

	if ((st = hth_keys_int(k, heads, &c->n_head, err)) != HTH_OK ||
	    (st = hth_keys_int(
		     k, (struct hth_int_key){"attention.head_count_kv", "num_key_value_heads", 1, c->n_head, c->n_head},
		     &c->n_kv, err)) != HTH_OK)
		return st;
	if (!hth_keys_has(k, "attention.key_length", "head_dim") && family_head == 0 && c->width % c->n_head != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: a width of %lld (embedding_length, hidden_size), expected a multiple of the %lld "
				"heads, or a head size (attention.key_length, head_dim)",
				k->where, (long long)c->width, (long long)c->n_head);
	int64_t def = family_head != 0 ? family_head : c->width / c->n_head;
	if ((st = hth_keys_int(k, (struct hth_int_key){"attention.key_length", "head_dim", 2, MAX_HEAD, def}, &c->head,
			       err)) != HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){"attention.value_length", NULL, 2, MAX_HEAD, c->head},
			       &value_head, err)) != HTH_OK ||
	    (st = read_rotated(k, c, err)) != HTH_OK)
		return st;
	c->attn_scale = (float)(1 / sqrt((double)c->head));
	return check_heads(k, c, value_head, err);
}

/* config.json names the activation; a GGUF file leaves it to the family. */
static enum hth_status read_act(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	static const struct {
		const char *name;
		enum hth_act act;
	} acts[] = {
		{"silu", HTH_ACT_SILU},          {"swish", HTH_ACT_SILU},
		{"gelu_new", HTH_ACT_GELU_TANH}, {"gelu_pytorch_tanh", HTH_ACT_GELU_TANH},
		{"gelu", HTH_ACT_GELU_ERF},
	};
	bool newer = hth_keys_has(k, NULL, "hidden_activation");
	char name[64];
	enum hth_status st = hth_keys_text(k, NULL, newer ? "hidden_activation" : "hidden_act", name, err);

	/* The first Gemma's configs say "gelu" and mean the tanh form. */
	bool legacy = c->act == HTH_ACT_GELU_TANH && strcmp(name, "gelu") == 0;
	if (st != HTH_OK || name[0] == '\0' || legacy)
		return st;
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (strcmp(acts[i].name, name) != 0)
			continue;
		c->act = acts[i].act;
		return HTH_OK;
	}
	return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: activation \"%s\", expected silu or a gelu", k->where, name);
}

static enum hth_status read_eps(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const struct hth_real_key eps = {"attention.layer_norm_rms_epsilon", "rms_norm_eps", 0, 0.1,
					 (double)c->norm_eps};

	if (k->gguf != NULL && !hth_keys_has(k, eps.gguf, NULL))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: no key \"%s.%s\", expected in every model of arch \"%s\"",
				k->where, k->family->gguf_arch, eps.gguf, k->family->gguf_arch);
	return hth_keys_float(k, eps, &c->norm_eps, err);
}

enum hth_status hth_config_read(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	enum hth_status st;

	if ((st = read_sizes(k, c, err)) != HTH_OK || (st = hth_config_experts(k, c, err)) != HTH_OK ||
	    (st = read_heads(k, c, err)) != HTH_OK || (st = read_act(k, c, err)) != HTH_OK ||
	    (st = read_eps(k, c, err)) != HTH_OK || (st = hth_config_rope(k, c, err)) != HTH_OK)
		return st;
	return k->json == NULL ? HTH_OK
			       : hth_json_bool(k->json, "tie_word_embeddings", c->tied, &c->tied, k->where, err);
}

void hth_layer_set(struct hth_layer_set *s, int64_t l, bool in)
{
	uint8_t bit = (uint8_t)(1 << (l % 8));

	s->bits[l / 8] = (uint8_t)(in ? s->bits[l / 8] | bit : s->bits[l / 8] & ~bit);
}

void hth_layers_set_all_but(struct hth_layer_set *s, int64_t n_layers, int64_t every)
{
	for (int64_t l = 0; l < n_layers; l++)
		hth_layer_set(s, l, every == 0 || (l + 1) % every != 0);
}

/* One entry a layer: true where `is` says so. */
enum hth_status hth_config_layer_list(const struct hth_keys *k, const char *key, const json_t *list, const char *is,
				      int64_t n_layers, struct hth_layer_set *out, struct hth_err *err)
{
	if (json_array_size(list) != (size_t)n_layers)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\" has %zu entries, expected %lld, one a layer", k->where,
				key, json_array_size(list), (long long)n_layers);
	for (int64_t l = 0; l < n_layers; l++) {
		const char *type = json_string_value(json_array_get(list, (size_t)l));
		bool yes = type != NULL && strcmp(type, is) == 0;
		if (!yes && (type == NULL || strcmp(type, "full_attention") != 0))
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"%s: \"%s\"[%lld] is neither \"full_attention\" nor \"%s\"", k->where, key,
					(long long)l, is);
		hth_layer_set(out, l, yes);
	}
	return HTH_OK;
}

enum hth_status hth_config_layer_bits(const struct hth_keys *k, const char *key, const struct hth_gguf_kv *kv,
				      int64_t n_layers, struct hth_layer_set *out, struct hth_err *err)
{
	if (kv->type != HTH_GGUF_ARRAY || kv->n < (uint64_t)n_layers || kv->elem_type == HTH_GGUF_STRING ||
	    kv->elem_type == HTH_GGUF_F32 || kv->elem_type == HTH_GGUF_F64)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": expected %lld booleans, one a layer", k->where, key,
				(long long)n_layers);
	for (int64_t l = 0; l < n_layers; l++)
		hth_layer_set(out, l, hth_gguf_array_int(kv, (uint64_t)l) != 0);
	return HTH_OK;
}

/* GGUF says it as a period, or as a list of booleans. */
static enum hth_status read_gguf_pattern(const struct hth_keys *k, int64_t every, struct hth_model_config *c,
					 struct hth_err *err)
{
	const struct hth_int_key period = {"attention.sliding_window_pattern", NULL, 0, HTH_MAX_LAYERS, every};
	char key[96];

	snprintf(key, sizeof(key), "%s.%s", k->family->gguf_arch, period.gguf);
	const struct hth_gguf_kv *kv = hth_gguf_find(k->gguf, key);
	if (kv == NULL || kv->type != HTH_GGUF_ARRAY) {
		enum hth_status st = hth_keys_int(k, period, &every, err);
		if (st == HTH_OK)
			hth_layers_set_all_but(&c->windowed, c->n_layers, every);
		return st;
	}
	return hth_config_layer_bits(k, key, kv, c->n_layers, &c->windowed, err);
}

enum hth_status hth_config_window(const struct hth_keys *k, int64_t every, struct hth_model_config *c,
				  struct hth_err *err)
{
	const struct hth_int_key size = {
		"attention.sliding_window", "sliding_window", 0, MAX_CONTEXT,
		k->gguf == NULL && json_object_get(k->json, "sliding_window") == NULL ? c->window : 0};
	enum hth_status st = hth_keys_int(k, size, &c->window, err);

	if (st != HTH_OK || c->window == 0)
		return st;
	if (k->gguf != NULL)
		return read_gguf_pattern(k, every, c, err);
	const json_t *types = json_object_get(k->json, "layer_types");
	if (json_is_array(types))
		return hth_config_layer_list(k, "layer_types", types, "sliding_attention", c->n_layers,
					     &c->windowed, err);
	st = hth_keys_int(k, (struct hth_int_key){NULL, "sliding_window_pattern", 0, HTH_MAX_LAYERS, every}, &every,
			  err);
	hth_layers_set_all_but(&c->windowed, c->n_layers, every);
	return st;
}
