/* Qwen 3.5, text: three layers that recur (gated delta net behind a short convolution) to each with attention, whose
 * output has a gate of its own in q's rows, rotation of a quarter of each head, norms that multiply by 1 + w (GGUF files
 * hold 1 + w) except the one inside the delta net. Positions of text are the same on all three axes of its rotation.
 * Leaves out: pictures and draft heads; such tensors of a checkpoint are left aside.
 * Sources: transformers modeling_qwen3_5.py, configuration_qwen3_5.py; llama.cpp src/models/qwen35.cpp, conversion/qwen.py.
 */
#include "formats/gguf_made.h"
#include "models/config.h"

#include <stdio.h>

enum { EVERY = 4, MAX_HEADS = 4096, MAX_SIZE = 1024 };

static enum hth_status read_delta(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	struct hth_delta_shape *d = &c->delta;
	int64_t inner = 0;
	enum hth_status st;

	if ((st = hth_keys_int(k, (struct hth_int_key){"ssm.conv_kernel", "linear_conv_kernel_dim", 1, HTH_CONV_MAX_TAPS, 4},
			       &c->conv_taps, err)) != HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){"ssm.group_count", "linear_num_key_heads", 1, MAX_HEADS, 16},
			       &d->n_key, err)) != HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){"ssm.time_step_rank", "linear_num_value_heads", 1, MAX_HEADS, 32},
			       &d->n_value, err)) != HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){"ssm.state_size", "linear_key_head_dim", 1, MAX_SIZE, 128}, &d->key,
			       err)) != HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){NULL, "linear_value_head_dim", 1, MAX_SIZE, 128}, &d->value, err)) !=
		    HTH_OK ||
	    (st = hth_keys_int(k, (struct hth_int_key){"ssm.inner_size", NULL, 1, (int64_t)MAX_HEADS * MAX_SIZE,
						       d->n_value * (k->gguf != NULL ? d->key : d->value)},
			       &inner, err)) != HTH_OK)
		return st;
	if (d->n_value % d->n_key != 0)
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: %lld value heads (ssm.time_step_rank, linear_num_value_heads), expected a multiple of the "
				"%lld key heads",
				k->where, (long long)d->n_value, (long long)d->n_key);
	if (inner % d->n_value != 0 || inner / d->n_value > MAX_SIZE)
		return hth_fail(err, HTH_ERR_FORMAT, "%s: an inner size of %lld (ssm.inner_size), expected heads of 1..%d for "
				"each of %lld",
				k->where, (long long)inner, MAX_SIZE, (long long)d->n_value);
	d->value = inner / d->n_value;
	d->tiled = k->gguf != NULL && d->n_value != d->n_key;
	return HTH_OK;
}

/* Which layers recur: a list, or all but every fourth. */
static enum hth_status read_layers(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *types = json_object_get(k->json, "layer_types");
	char key[96];
	int64_t every = EVERY;
	enum hth_status st = hth_keys_int(
		k, (struct hth_int_key){"full_attention_interval", "full_attention_interval", 1, HTH_MAX_LAYERS, EVERY},
		&every, err);

	if (st != HTH_OK)
		return st;
	hth_layers_set_all_but(&c->recurrent, c->n_layers, every);
	if (json_is_array(types))
		return hth_config_layer_list(k, "layer_types", types, "linear_attention", c->n_layers, &c->recurrent, err);
	snprintf(key, sizeof(key), "%s.attention.recurrent_layers", k->family->gguf_arch);
	const struct hth_gguf_kv *kv = k->gguf != NULL ? hth_gguf_find(k->gguf, key) : NULL;
	return kv != NULL ? hth_config_layer_bits(k, key, kv, c->n_layers, &c->recurrent, err) : HTH_OK;
}

/* A quarter of each head is rotated unless a folder says otherwise. */
static bool says_rotated(const struct hth_keys *k)
{
	const json_t *rope = json_object_get(k->json, "rope_parameters");

	return k->gguf != NULL || hth_keys_has(k, NULL, "partial_rotary_factor") ||
	       json_object_get(rope, "partial_rotary_factor") != NULL;
}

enum hth_status hth_config_qwen35(const struct hth_keys *k, struct hth_model_config *c, struct hth_err *err)
{
	const json_t *gate = json_object_get(k->json, "attn_output_gate");
	enum hth_status st;

	c->head = 256;
	c->norm_offset = k->gguf != NULL ? 0 : 1;
	c->norm_stored = k->gguf != NULL ? 1 : 0;
	c->ffn_norm_post = true;
	c->attn_gate = true;
	if ((st = hth_config_read(k, c, err)) != HTH_OK)
		return st;
	if (!says_rotated(k))
		c->rot = c->head / 8 * 2;
	if (c->act != HTH_ACT_SILU || json_is_false(gate))
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: an activation other than silu, or attention without its gate "
				"(attn_output_gate), expected neither",
				k->where);
	if ((st = hth_keys_int(k, (struct hth_int_key){"nextn_predict_layers", NULL, 0, c->n_layers - 1, 0}, &c->n_aside,
			       err)) != HTH_OK)
		return st;
	c->n_layers -= c->n_aside;
	if ((st = read_delta(k, c, err)) != HTH_OK)
		return st;
	return read_layers(k, c, err);
}

static int64_t interval_of(const struct hth_model_config *c)
{
	int64_t every = 1;

	while (every < c->n_layers && hth_layer_in(&c->recurrent, every - 1))
		every++;
	return every;
}

/* Pairs of columns for each axis of a picture's positions, as the published models share them out. */
static void axes_of(const struct hth_model_config *c, int32_t out[4])
{
	out[0] = out[1] = (int32_t)(c->rot / 2 + 1) / 3;
	out[2] = (int32_t)(c->rot / 2) - 2 * out[0];
	out[3] = 0;
}

void hth_config_qwen35_to_gguf(const struct hth_model_config *c, const char *arch, struct hth_gguf_made *out)
{
	const struct {
		const char *name;
		int64_t value;
	} sizes[] = {
		{"ssm.conv_kernel", c->conv_taps},
		{"ssm.state_size", c->delta.key},
		{"ssm.group_count", c->delta.n_key},
		{"ssm.time_step_rank", c->delta.n_value},
		{"ssm.inner_size", c->delta.n_value * c->delta.value},
		{"full_attention_interval", interval_of(c)},
	};
	struct hth_layer_set implied = {{0}};
	uint8_t list[HTH_MAX_LAYERS];
	int32_t axes[4];
	char key[96];
	bool same = true;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		snprintf(key, sizeof(key), "%s.%s", arch, sizes[i].name);
		hth_gguf_made_u32(out, key, sizes[i].value);
	}
	axes_of(c, axes);
	snprintf(key, sizeof(key), "%s.rope.dimension_sections", arch);
	hth_gguf_made_array(out, key, HTH_GGUF_I32, 4, axes, sizeof(axes));
	hth_layers_set_all_but(&implied, c->n_layers, interval_of(c));
	for (int64_t l = 0; l < c->n_layers; l++) {
		list[l] = hth_layer_in(&c->recurrent, l);
		same = same && list[l] == hth_layer_in(&implied, l);
	}
	snprintf(key, sizeof(key), "%s.attention.recurrent_layers", arch);
	if (!same)
		hth_gguf_made_array(out, key, HTH_GGUF_BOOL, (uint64_t)c->n_layers, list, (size_t)c->n_layers);
}

static void to_gguf(const struct hth_model_config *c, struct hth_gguf_made *out)
{
	hth_config_qwen35_to_gguf(c, "qwen35", out);
}

static void put_int(json_t *out, const char *key, int64_t v)
{
	(void)json_object_set_new(out, key, json_integer(v));
}

void hth_config_qwen35_to_hf(const struct hth_model_config *c, json_t *out)
{
	json_t *types = json_array(), *rope = json_object();
	int32_t s[4];

	axes_of(c, s);
	for (int64_t l = 0; l < c->n_layers; l++)
		(void)json_array_append_new(
			types, json_string(hth_layer_in(&c->recurrent, l) ? "linear_attention" : "full_attention"));
	(void)json_object_set_new(out, "layer_types", types);
	put_int(out, "full_attention_interval", interval_of(c));
	put_int(out, "linear_conv_kernel_dim", c->conv_taps);
	put_int(out, "linear_num_key_heads", c->delta.n_key);
	put_int(out, "linear_num_value_heads", c->delta.n_value);
	put_int(out, "linear_key_head_dim", c->delta.key);
	put_int(out, "linear_value_head_dim", c->delta.value);
	(void)json_object_set_new(out, "attn_output_gate", json_true());
	(void)json_object_set_new(rope, "rope_type", json_string("default"));
	(void)json_object_set_new(rope, "rope_theta", json_real(c->rope_theta));
	(void)json_object_set_new(rope, "partial_rotary_factor", json_real((double)c->rot / (double)c->head));
	(void)json_object_set_new(rope, "mrope_section", json_pack("[iii]", s[0], s[1], s[2]));
	(void)json_object_set_new(rope, "mrope_interleaved", json_true());
	(void)json_object_set_new(out, "rope_parameters", rope);
	(void)json_object_del(out, "sliding_window");
}

const struct hth_family hth_family_qwen3_5 = {
	.name = "qwen35",
	.gguf_arch = "qwen35",
	.hf_types = "qwen3_5_text qwen3_5 ",
	.hf_classes = "Qwen3_5ForCausalLM Qwen3_5ForConditionalGeneration ",
	.config = hth_config_qwen35,
	.to_gguf = to_gguf,
	.to_hf = hth_config_qwen35_to_hf,
	.qk_norm = HTH_QK_NORM_HEAD,
	.mlx_type = "qwen3_5",
	.nested = true,
	.aside = "mtp. model.mtp. model.visual. visual. vision_tower. language_model.mtp. ",
};
