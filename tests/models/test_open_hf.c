/* Opening models from Hugging Face folders: configs of good ones, and what each kind of bad config.json, tensor and
 * tokenizer is told. Folders are changed copies of the golden ones. */
#include "base/json.h"
#include "base/log.h"
#include "base/tempdir.h"
#include "formats/safetensors.h"
#include "models/parts.h"
#include "models/source.h"

#include <math.h>

#define GOLDEN "tests/golden/"

static char dir[1024];

static void copy_file(const char *from, const char *name)
{
	char path[1200], *data;
	size_t bytes;
	struct hth_err err;

	snprintf(path, sizeof(path), "%s/%s", from, name);
	assert_ok(hth_file_read(path, 1 << 20, &data, &bytes, &err));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
	hth_free(data);
}

static void copy_family(const char *family)
{
	char **names, from[200];
	size_t n;
	struct hth_err err;

	snprintf(dir, sizeof(dir), "%s", temp("model"));
	snprintf(from, sizeof(from), GOLDEN "%s/tiny", family);
	assert_ok(hth_remove_tree(dir, &err));
	assert_ok(hth_mkdirs(dir, &err));
	assert_ok(hth_dir_list(from, &names, &n, &err));
	for (size_t i = 0; i < n; i++)
		copy_file(from, names[i]);
	hth_names_free(names, n);
}

/* key = value (JSON text; NULL: the key goes) in config.json; "a.b": key b of object a. */
static void set_key(const char *key, const char *value)
{
	char path[1200], outer[64];
	json_t *doc, *v = NULL;
	struct hth_err err;
	const char *dot = strchr(key, '.');

	snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_ok(hth_json_read(path, 1 << 20, 0, &doc, &err));
	json_t *obj = doc;
	if (dot != NULL) {
		snprintf(outer, sizeof(outer), "%.*s", (int)(dot - key), key);
		obj = json_object_get(doc, outer);
		assert_true(json_is_object(obj));
		key = dot + 1;
	}
	if (value != NULL)
		assert_ok(hth_json_parse(value, strlen(value), HTH_JSON_ALLOW_SCALAR, "value", &v, &err));
	assert_int_equal(value != NULL ? json_object_set_new(obj, key, v) : json_object_del(obj, key), 0);
	assert_int_equal(json_dump_file(doc, path, 0), 0);
	json_decref(doc);
}

static struct hth_model *open_ok(void)
{
	struct hth_model *m;
	struct hth_err err;

	assert_ok(hth_model_open(dir, &m, &err));
	return m;
}

static void folder_gives_the_config_of_its_gguf(void **state)
{
	static const char *const families[] = {"qwen2", "qwen3", "gemma",   "gemma2",  "gemma3",
					       "phi3",  "olmo2", "granite", "smollm3", "olmo3",
					       "qwen2moe", "qwen3moe", "gptoss", "gptoss_mxfp4",
					       "gemma4", "gemma4_large", "gemma4_moe", "qwen35", "qwen35moe",
					       "phi3_beyond"};
	struct hth_model *hf, *gguf;
	struct hth_err err;
	char path[100];

	(void)state;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		snprintf(path, sizeof(path), GOLDEN "%s/tiny", families[i]);
		assert_ok(hth_model_open(path, &hf, &err));
		snprintf(path, sizeof(path), GOLDEN "%s/tiny.gguf", families[i]);
		assert_ok(hth_model_open(path, &gguf, &err));
		assert_null(hf->gguf);
		assert_non_null(gguf->gguf);
		assert_string_equal(hf->name, "tiny");
		assert_ptr_equal(hf->family, gguf->family);
		const struct hth_model_config *a = &hf->config, *b = &gguf->config;
		assert_int_equal(a->n_vocab, b->n_vocab);
		assert_int_equal(a->context, b->context);
		assert_int_equal(a->window, b->window);
		assert_memory_equal(&a->windowed, &b->windowed, sizeof(a->windowed));
		assert_memory_equal(&a->no_rope, &b->no_rope, sizeof(a->no_rope));
		assert_memory_equal(&a->sparse, &b->sparse, sizeof(a->sparse));
		assert_int_equal(a->n_experts, b->n_experts);
		assert_int_equal(a->n_chosen, b->n_chosen);
		assert_int_equal(a->n_expert_ff, b->n_expert_ff);
		assert_int_equal(a->n_shared_ff, b->n_shared_ff);
		assert_int_equal(a->route_normalise, b->route_normalise);
		assert_int_equal(a->rot, b->rot);
		assert_int_equal(a->tied, b->tied);
		assert_int_equal(a->act, b->act);
		assert_float_equal(a->attn_scale, b->attn_scale, 1e-7);
		assert_float_equal(a->rope_attn, b->rope_attn, 1e-6);
		assert_int_equal(hf->rope_freq_local != NULL, gguf->rope_freq_local != NULL);
		for (int64_t p = 0; p < a->rot / 2; p++)
			assert_float_equal(hf->rope_freq[p], gguf->rope_freq[p], 1e-6f * gguf->rope_freq[p] + 1e-12f);
		assert_ok(hth_configs_agree(hf, gguf, &err));
		assert_int_equal(hf->n_params, gguf->n_params);
		assert_int_equal(hth_tokenizer_size(hf->tokenizer), hth_tokenizer_size(gguf->tokenizer));
		assert_non_null(hf->tmpl);
		hth_model_close(hf);
		hth_model_close(gguf);
	}
}

/* Of a model inside one with eyes; others' names stay, and are not taken for it. */
static void adapters_name_modules_as_the_folder_does(void **state)
{
	static const struct {
		const char *model;
		bool nested, takes;
	} of[] = {{"gemma4_nested/tiny", true, true},
		  {"gemma4/tiny", false, true},
		  {"gemma4/tiny.gguf", false, true},
		  {"qwen35_nested/tiny", true, true},
		  {"qwen3/tiny", false, false}};
	const char *own = "model.layers.1.self_attn.q_proj", *nested = "model.language_model.layers.1.self_attn.q_proj";
	struct hth_module_part part[3];
	struct hth_model *m;
	struct hth_err err;
	char path[100], name[128];

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		snprintf(path, sizeof(path), GOLDEN "%s", of[i].model);
		assert_ok(hth_model_open(path, &m, &err));
		hth_nested_name(m, own, name);
		assert_string_equal(name, of[i].nested ? nested : own);
		hth_nested_name(m, "lm_head", name);
		assert_string_equal(name, "lm_head");
		hth_unnested_name(m, nested, name);
		assert_string_equal(name, of[i].takes ? own : nested);
		assert_int_equal(hth_module_parts(m, own, part), 1);
		assert_int_equal(hth_module_parts(m, nested, part), of[i].takes);
		hth_model_close(m);
	}
}

static void end_tokens_come_from_the_generation_config(void **state)
{
	(void)state;
	copy_family("qwen3");
	struct hth_model *m = open_ok();
	assert_int_equal(hth_tokenizer_bos(m->tokenizer), 261);
	assert_int_equal(hth_tokenizer_eos(m->tokenizer), 260);
	assert_true(hth_tokenizer_is_end(m->tokenizer, 262));
	assert_true(hth_tokenizer_is_end(m->tokenizer, 260));
	assert_false(hth_tokenizer_is_end(m->tokenizer, 261));
	hth_model_close(m);
}

static void older_names_of_rope_mean_the_same(void **state)
{
	(void)state;
	copy_family("gemma3");
	struct hth_model *newer = open_ok();
	set_key("rope_parameters", NULL);
	set_key("rope_theta", "1000000.0");
	set_key("rope_local_base_freq", "10000");
	set_key("rope_scaling", "{\"factor\": 8.0, \"type\": \"linear\"}");
	set_key("layer_types", NULL);
	set_key("sliding_window_pattern", "2");
	struct hth_model *older = open_ok();
	for (int p = 0; p < 4; p++) {
		assert_float_equal(older->rope_freq[p] / newer->rope_freq[p], 1, 1e-6);
		assert_float_equal(older->rope_freq_local[p] / newer->rope_freq_local[p], 1, 1e-6);
	}
	/* theta 1e6, D 8, stretched by 8; theta 1e4 */
	assert_float_equal(newer->rope_freq[1], 0.0316227766f / 8, 1e-8);
	assert_float_equal(newer->rope_freq_local[1], 0.1f, 1e-7);
	assert_memory_equal(&older->config.windowed, &newer->config.windowed, sizeof(newer->config.windowed));
	hth_model_close(older);
	hth_model_close(newer);
}

static void qwens_window_is_off_unless_said_otherwise(void **state)
{
	(void)state;
	copy_family("qwen3");
	set_key("layer_types", NULL);
	set_key("sliding_window", "4");
	struct hth_model *m = open_ok();
	assert_int_equal(m->config.window, 0);
	hth_model_close(m);
	set_key("use_sliding_window", "true");
	set_key("max_window_layers", "1");
	m = open_ok();
	assert_int_equal(m->config.window, 4);
	assert_false(hth_layer_in(&m->config.windowed, 0));
	assert_true(hth_layer_in(&m->config.windowed, 1));
	hth_model_close(m);
}

static void longrope_has_divisors_of_both_kinds_from_either_source(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_ok(hth_model_open(i ? GOLDEN "phi3/tiny.gguf" : GOLDEN "phi3/tiny", &m, &err));
		assert_int_equal(m->config.context, 512);
		assert_int_equal(hth_rope_switch(&m->config), 256);
		assert_false(hth_rope_beyond(&m->config, 256));
		assert_true(hth_rope_beyond(&m->config, 257));
		assert_int_equal(m->config.rot, 6);
		/* 1 / (1.25 * 10000^(2/6)), 1 / (4 * 10000^(2/6)); sqrt(1 + log(2) / log(256)) */
		assert_float_equal(m->rope_freq[1], 0.0371327069f, 1e-7);
		assert_float_equal(m->rope_freq_beyond[1], 0.0116039721f, 1e-7);
		assert_float_equal(m->config.rope_attn, 1.0606602f, 1e-6);
		hth_model_close(m);
	}
}

static void longrope_without_long_divisors_ends_with_the_original_context(void **state)
{
	(void)state;
	copy_family("phi3");
	set_key("rope_parameters.long_factor", NULL);
	struct hth_model *m = open_ok();
	assert_int_equal(m->config.context, 256);
	assert_int_equal(hth_rope_switch(&m->config), 0);
	assert_null(m->rope_freq_beyond);
	hth_model_close(m);
}

/* Layers 0, 1 with the window: 2 kv heads of 8; layer 2: one of 16. E2B's kind: six layers, the last two without keys. */
static void states_have_each_layers_own_width(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open(GOLDEN "gemma4_large/tiny", &m, &err));
	struct hth_state_shape s = hth_model_state_shape(m, 7);
	assert_int_equal(s.n_layers, 3);
	for (int64_t l = 0; l < 3; l++) {
		assert_int_equal(hth_state_kv(&s, l), l < 2 ? 2 : 1);
		assert_int_equal(hth_state_head(&s, l), l < 2 ? 8 : 16);
	}
	hth_model_close(m);
	assert_ok(hth_model_open(GOLDEN "gemma4/tiny", &m, &err));
	s = hth_model_state_shape(m, 7);
	assert_int_equal(s.n_layers, 4);
	for (int64_t l = 0; l < 4; l++) {
		assert_int_equal(hth_state_kv(&s, l), 1);
		assert_int_equal(hth_state_head(&s, l), l % 2 == 0 ? 8 : 16);
	}
	hth_model_close(m);
}

static void growing_queries_do_not_end_the_context(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_ok(hth_model_open(i ? GOLDEN "ministral3/tiny.gguf" : GOLDEN "ministral3/tiny", &m, &err));
		assert_int_equal(m->config.context, 128);
		assert_int_equal(m->config.rope_original, 32);
		assert_float_equal(m->config.query_growth, 0.1f, 1e-7);
		hth_model_close(m);
	}
}

static const struct {
	const char *family, *key, *value;
	enum hth_status status;
	const char *part;
} bad[] = {
	{"qwen3", "model_type", NULL, HTH_ERR_FORMAT, "model_type"},
	{"qwen3", "model_type", "\"quokka\"", HTH_ERR_UNAVAILABLE,
	 "\"quokka\" is not supported, expected one of: llama"},
	{"qwen3", "model_type", "\"llama mistral\"", HTH_ERR_UNAVAILABLE, "is not supported"},
	{"qwen3", "model_type", "\"\"", HTH_ERR_UNAVAILABLE, "is not supported"},
	{"qwen3", "model_type", "7", HTH_ERR_FORMAT, "model_type"},
	{"qwen3", "num_hidden_layers", "0", HTH_ERR_FORMAT, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", "-1", HTH_ERR_FORMAT, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", "4096", HTH_ERR_FORMAT, "was the file cut?"},
	{"qwen3", "num_hidden_layers", "4097", HTH_ERR_FORMAT, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", "9223372036854775807", HTH_ERR_FORMAT, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", "1", HTH_ERR_UNAVAILABLE, "has no place"},
	{"qwen3", "num_hidden_layers", "3", HTH_ERR_FORMAT, "no such tensor"},
	{"qwen3", "num_hidden_layers", "\"2\"", HTH_ERR_FORMAT, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", NULL, HTH_ERR_NOTFOUND, "num_hidden_layers"},
	{"qwen3", "num_hidden_layers", "null", HTH_ERR_NOTFOUND, "num_hidden_layers"},
	{"qwen3", "num_attention_heads", "0", HTH_ERR_FORMAT, "num_attention_heads"},
	{"qwen3", "num_key_value_heads", "0", HTH_ERR_FORMAT, "num_key_value_heads"},
	{"qwen3", "num_key_value_heads", "3", HTH_ERR_FORMAT, "expected a divisor"},
	{"qwen3", "num_key_value_heads", "8", HTH_ERR_FORMAT, "num_key_value_heads"},
	{"qwen3", "head_dim", "7", HTH_ERR_FORMAT, "an even number"},
	{"qwen3", "head_dim", "514", HTH_ERR_FORMAT, "head_dim"},
	{"qwen3", "head_dim", "16", HTH_ERR_SHAPE, "expected"},
	{"qwen3", "hidden_size", "0", HTH_ERR_FORMAT, "hidden_size"},
	{"qwen3", "hidden_size", "1e3", HTH_ERR_FORMAT, "hidden_size"},
	{"qwen3", "hidden_size", "17", HTH_ERR_SHAPE, "shape (264,16), expected (264,17)"},
	{"qwen3", "intermediate_size", "25", HTH_ERR_SHAPE, "expected"},
	{"qwen3", "vocab_size", "263", HTH_ERR_SHAPE, "expected (263,16)"},
	{"qwen3", "vocab_size", NULL, HTH_ERR_NOTFOUND, "vocab_size"},
	{"qwen3", "rms_norm_eps", "0", HTH_ERR_FORMAT, "rms_norm_eps"},
	{"qwen3", "rms_norm_eps", "-1", HTH_ERR_FORMAT, "rms_norm_eps"},
	{"qwen3", "max_position_embeddings", "0", HTH_ERR_FORMAT, "max_position_embeddings"},
	{"qwen3", "hidden_act", "\"relu\"", HTH_ERR_UNAVAILABLE, "relu"},
	{"qwen3", "tie_word_embeddings", "false", HTH_ERR_FORMAT, "lm_head.weight"},
	{"qwen3", "tie_word_embeddings", "3", HTH_ERR_FORMAT, "tie_word_embeddings"},
	{"qwen3", "num_experts", "8", HTH_ERR_UNAVAILABLE, "mixture of 8 experts"},
	{"qwen3", "rope_parameters.rope_theta", "0", HTH_ERR_FORMAT, "rope_theta"},
	{"qwen3", "rope_parameters.rope_type", "\"dynamic\"", HTH_ERR_UNAVAILABLE, "dynamic"},
	{"qwen3", "rope_parameters.partial_rotary_factor", "1.5", HTH_ERR_FORMAT, "partial_rotary_factor"},
	{"qwen3", "rope_parameters.partial_rotary_factor", "0.15", HTH_ERR_UNAVAILABLE, "rotation"},
	{"qwen3", "quantization_config", "{\"quant_method\": \"gptq\"}", HTH_ERR_UNAVAILABLE, "\"gptq\""},
	{"qwen2", "rope_parameters.factor", "0", HTH_ERR_FORMAT, "factor"},
	{"qwen2", "rope_parameters.original_max_position_embeddings", "0", HTH_ERR_FORMAT, "original"},
	{"qwen2", "rope_parameters.beta_fast", "-1", HTH_ERR_FORMAT, "beta_fast"},
	{"qwen2", "rope_parameters.mscale", "-1", HTH_ERR_FORMAT, "mscale"},
	{"gemma3", "layer_types", "[\"full_attention\"]", HTH_ERR_FORMAT, "has 1 entries, expected 3"},
	{"gemma3", "layer_types", "[1, 2, 3]", HTH_ERR_UNAVAILABLE, "layer_types"},
	{"gemma3", "layer_types", "[\"linear_attention\", \"full_attention\", \"full_attention\"]", HTH_ERR_UNAVAILABLE,
	 "layer_types"},
	{"gemma3", "sliding_window", "-1", HTH_ERR_FORMAT, "sliding_window"},
	{"gemma3", "query_pre_attn_scalar", "0", HTH_ERR_FORMAT, "query_pre_attn_scalar"},
	{"gemma3", "use_bidirectional_attention", "true", HTH_ERR_UNAVAILABLE, "both directions"},
	{"gemma2", "final_logit_softcapping", "-3", HTH_ERR_FORMAT, "final_logit_softcapping"},
	{"phi3", "rope_parameters.short_factor", "[1, 1]", HTH_ERR_FORMAT, "has 2 entries, expected 3"},
	{"phi3", "rope_parameters.short_factor", "[1, 0, 1]", HTH_ERR_FORMAT, "short_factor"},
	{"phi3", "rope_parameters.short_factor", "[1, \"2\", 1]", HTH_ERR_FORMAT, "short_factor"},
	{"granite", "logits_scaling", "0", HTH_ERR_FORMAT, "logits_scaling"},
	{"smollm3", "no_rope_layers", "[1]", HTH_ERR_FORMAT, "no_rope_layers"},
	{"mixtral", "num_local_experts", "3", HTH_ERR_SHAPE, "expected (3,16)"},
	{"mixtral", "num_experts_per_tok", "5", HTH_ERR_FORMAT, "num_experts_per_tok"},
	{"mixtral", "num_experts_per_tok", NULL, HTH_ERR_NOTFOUND, "num_experts_per_tok"},
	{"mixtral", "intermediate_size", "25", HTH_ERR_SHAPE, "experts.0.w1.weight"},
	{"gemma4", "per_layer_config", "{\"1\": {\"head_dim\": 16}}", HTH_ERR_UNAVAILABLE, "per_layer_config"},
	{"gemma4", "per_layer_config", "null", HTH_ERR_SHAPE, "layers.1.self_attn.q_proj"},
	{"gemma4", "vocab_size_per_layer_input", "10", HTH_ERR_UNAVAILABLE, "vocab_size_per_layer_input"},
	{"gemma4", "hidden_size_per_layer_input", "0", HTH_ERR_UNAVAILABLE, "per_layer"},
	{"gemma4", "num_kv_shared_layers", "6", HTH_ERR_FORMAT, "num_kv_shared_layers"},
	{"gemma4", "num_kv_shared_layers", "5", HTH_ERR_FORMAT, "of the kind of layer 1"},
	{"gemma4", "use_double_wide_mlp", "false", HTH_ERR_SHAPE, "layers.4.mlp.gate_proj"},
	{"gemma4", "use_bidirectional_attention", "\"all\"", HTH_ERR_UNAVAILABLE, "use_bidirectional_attention"},
	{"gemma4_moe", "enable_moe_block", "false", HTH_ERR_UNAVAILABLE, "layers.0.experts.down_proj"},
	{"gemma4_moe", "num_experts", "null", HTH_ERR_FORMAT, "num_experts"},
	{"gemma4_moe", "top_k_experts", "6", HTH_ERR_FORMAT, "top_k_experts"},
	{"gemma4_large", "attention_k_eq_v", "false", HTH_ERR_SHAPE, "layers.2.self_attn.k_proj"},
	{"gemma4_large", "global_head_dim", "1024", HTH_ERR_FORMAT, "global_head_dim"},
	{"gemma4_large", "num_global_key_value_heads", "3", HTH_ERR_FORMAT, "kv heads"},
	{"qwen35moe", "num_experts", "0", HTH_ERR_FORMAT, "0 experts"},
	{"qwen35", "linear_num_value_heads", "5", HTH_ERR_FORMAT, "a multiple of the 2 key heads"},
	{"qwen35", "linear_num_value_heads", "2", HTH_ERR_SHAPE, "linear_attn.in_proj_qkv"},
	{"qwen35", "linear_key_head_dim", "0", HTH_ERR_FORMAT, "linear_key_head_dim"},
	{"qwen35", "linear_conv_kernel_dim", "17", HTH_ERR_FORMAT, "linear_conv_kernel_dim"},
	{"qwen35", "linear_conv_kernel_dim", "3", HTH_ERR_SHAPE, "linear_attn.conv1d.weight"},
	{"qwen35", "layer_types", "[\"linear_attention\"]", HTH_ERR_FORMAT, "has 1 entries, expected 3"},
	{"qwen35", "layer_types", "[\"linear_attention\", \"full_attention\", \"sparse\"]", HTH_ERR_UNAVAILABLE,
	 "layer_types"},
	{"qwen35", "attn_output_gate", "false", HTH_ERR_UNAVAILABLE, "attn_output_gate"},
	{"qwen35", "hidden_act", "\"gelu\"", HTH_ERR_UNAVAILABLE, "silu"},
	{"qwen2moe", "num_experts", "0", HTH_ERR_FORMAT, "0 experts"},
	{"qwen2moe", "shared_expert_intermediate_size", "0", HTH_ERR_FORMAT, "shared_expert_intermediate_size"},
	{"qwen2moe", "shared_expert_intermediate_size", "21", HTH_ERR_SHAPE, "mlp.shared_expert.gate_proj.weight"},
	{"qwen2moe", "qkv_bias", "false", HTH_ERR_UNAVAILABLE, "qkv_bias"},
	{"qwen3moe", "moe_intermediate_size", "13", HTH_ERR_SHAPE, "experts.0.gate_proj.weight"},
	{"qwen3moe", "num_local_experts", "9000", HTH_ERR_FORMAT, "num_local_experts"},
	{"qwen3moe", "num_experts", "7", HTH_ERR_FORMAT, "expected one number"},
	{"qwen3moe", "norm_topk_prob", "1", HTH_ERR_FORMAT, "norm_topk_prob"},
	{"qwen3moe", "mlp_only_layers", "[2]", HTH_ERR_FORMAT, "expected a layer's number, 0..1"},
	{"qwen3moe", "mlp_only_layers", "[1]", HTH_ERR_FORMAT, "mlp.gate_proj.weight"},
	{"qwen3moe", "decoder_sparse_step", "0", HTH_ERR_FORMAT, "decoder_sparse_step"},
	{"gptoss", "num_local_experts", "3", HTH_ERR_SHAPE, "expected (3,32)"},
	{"gptoss", "intermediate_size", "33", HTH_ERR_SHAPE, "expected the shape (4,66,32)"},
	{"gptoss", "swiglu_limit", "6.0", HTH_ERR_UNAVAILABLE, "limit 6, expected 1.702 and 7"},
	{"gptoss", "rope_parameters.truncate", "3", HTH_ERR_FORMAT, "truncate"},
	{"gptoss_mxfp4", "intermediate_size", "64", HTH_ERR_SHAPE, "expected the shape (4,128,32)"},
	{"gptoss_mxfp4", "quantization_config", "{\"quant_method\": \"awq\"}", HTH_ERR_UNAVAILABLE, "\"awq\""},
	{"olmo2", "model_type", "\"llama\"", HTH_ERR_FORMAT, "input_layernorm"},
	{"qwen2", "model_type", "\"qwen3\"", HTH_ERR_FORMAT, "q_norm"},
};

static void bad_configs_are_refused_with_the_reason(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		copy_family(bad[i].family);
		set_key(bad[i].key, bad[i].value);
		assert_fails(hth_model_open(dir, &m, &err), bad[i].status, bad[i].part);
		assert_non_null(strstr(err.text, "model"));
		assert_null(m);
	}
}

/* Every prefix and many flipped bits of config.json: an error or a model, never a crash. */
static void damaged_config_never_crashes(void **state)
{
	static const char *const families[] = {"gemma3", "phi3"};
	struct hth_model *m;
	struct hth_err err;
	char path[1200], *data;
	size_t bytes;

	(void)state;
	hth_log_set_level(HTH_LOG_ERROR);
	for (int f = 0; f < 2; f++) {
		copy_family(families[f]);
		snprintf(path, sizeof(path), "%s/config.json", dir);
		assert_ok(hth_file_read(path, 1 << 20, &data, &bytes, &err));
		for (size_t i = 0; i < bytes; i++) {
			char was = data[i];
			data[i] = (char)(was ^ (1 << (i % 7)));
			FILE *out = fopen(path, "wb");
			assert_non_null(out);
			assert_int_equal(fwrite(data, 1, i % 3 == 0 ? i : bytes, out), i % 3 == 0 ? i : bytes);
			fclose(out);
			if (hth_model_open(dir, &m, &err) == HTH_OK)
				hth_model_close(m);
			data[i] = was;
		}
		hth_free(data);
	}
	hth_log_set_level(HTH_LOG_INFO);
}

/* model.safetensors rewritten with one tensor changed. */
static void rewrite(const char *name, enum hth_st_dtype dtype, const char *extra)
{
	struct hth_safetensors s;
	struct hth_st_tensor list[64];
	struct hth_err err;
	char path[1200];
	static const uint8_t zeros[65536];
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	assert_ok(hth_safetensors_open(&s, path, &err));
	for (size_t i = 0; i < s.n_tensors; i++) {
		list[n] = s.tensors[i];
		if (name != NULL && strcmp(list[n].name, name) == 0) {
			list[n].dtype = dtype;
			list[n].data = zeros;
		}
		n++;
	}
	if (extra != NULL)
		list[n++] = (struct hth_st_tensor){
			.name = extra, .dtype = HTH_ST_BF16, .n_dims = 1, .dim = {4}, .data = zeros, .bytes = 8};
	/* Written beside and moved, since the original stays mapped until it is closed. */
	char other[1300];
	snprintf(other, sizeof(other), "%s.new", path);
	for (size_t i = 0; i < n; i++) {
		list[i].bytes = hth_st_dtype_bytes(list[i].dtype);
		for (int d = 0; d < list[i].n_dims; d++)
			list[i].bytes *= (uint64_t)list[i].dim[d];
	}
	assert_ok(hth_safetensors_write(other, list, n, NULL, 0, &err));
	hth_safetensors_close(&s);
	assert_int_equal(rename(other, path), 0);
}

static void tensors_of_other_types_or_names_are_refused(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	copy_family("qwen3");
	rewrite("model.layers.1.mlp.up_proj.weight", HTH_ST_F8_E4M3, NULL);
	assert_fails(hth_model_open(dir, &m, &err), HTH_ERR_UNAVAILABLE, "F8_E4M3, expected BF16, F16 or F32");
	copy_family("qwen3");
	rewrite("model.layers.1.mlp.up_proj.weight", HTH_ST_F32, NULL);
	m = open_ok();
	assert_int_equal(m->layers[1].linear[HTH_UP].quant, HTH_QUANT_F32);
	hth_model_close(m);
	copy_family("qwen3");
	rewrite(NULL, HTH_ST_F32, "model.layers.1.self_attn.rotary.extra");
	assert_fails(hth_model_open(dir, &m, &err), HTH_ERR_UNAVAILABLE, "has no place");
	copy_family("qwen3");
	rewrite(NULL, HTH_ST_F32, "lm_head.weight"); /* a copy of a tied head, whatever it holds, is not asked */
	m = open_ok();
	assert_true(m->config.tied);
	hth_model_close(m);
}

static void folder_without_a_tokenizer_is_told(void **state)
{
	struct hth_model *m;
	struct hth_err err;
	char path[1200];

	(void)state;
	copy_family("qwen3");
	snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
	assert_int_equal(unlink(path), 0);
	assert_fails(hth_model_open(dir, &m, &err), HTH_ERR_NOTFOUND, "tokenizer.json");
}

static void adapters_on_parts_of_a_fused_tensor_are_refused(void **state)
{
	float a[16] = {0}, b[32] = {0};
	struct hth_lora_module mod = {
		.name = "model.layers.0.self_attn.v_proj", .in = 16, .out = 8, .rank = 1, .scale = 2, .a = a, .b = b};
	struct hth_adapter adapter = {.n_modules = 1, .modules = &mod};
	struct hth_lora **loras;
	struct hth_arena arena;
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	hth_arena_init(&arena, 1 << 20);
	assert_ok(hth_model_open(GOLDEN "phi3/tiny", &m, &err));
	assert_fails(hth_model_loras(m, &adapter, &arena, &loras, &err), HTH_ERR_UNAVAILABLE,
		     "self_attn.v_proj is a part of self_attn.qkv_proj");
	mod.name = "model.layers.1.mlp.gate_proj";
	assert_fails(hth_model_loras(m, &adapter, &arena, &loras, &err), HTH_ERR_UNAVAILABLE,
		     "mlp.gate_proj is a part of mlp.gate_up_proj");
	hth_model_close(m);
	hth_arena_clear(&arena);
}

static void every_failed_allocation_while_opening_is_an_error_without_a_leak(void **state)
{
	struct hth_model *m;
	struct hth_err err;
	uint64_t n;

	(void)state;
	for (n = 1; n < 100000; n += n < 400 ? 1 : 7) {
		hth_mem_fail_at(n, true);
		enum hth_status st = hth_model_open(GOLDEN "mistral/tiny", &m, &err);
		hth_mem_fail_at(0, false);
		if (st == HTH_OK)
			break;
		assert_int_equal(st, HTH_ERR_MEMORY);
		assert_null(m);
	}
	assert_in_range(n, 10, 99999);
	hth_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folder_gives_the_config_of_its_gguf),
		cmocka_unit_test(adapters_name_modules_as_the_folder_does),
		temp_test(end_tokens_come_from_the_generation_config),
		temp_test(older_names_of_rope_mean_the_same),
		temp_test(qwens_window_is_off_unless_said_otherwise),
		cmocka_unit_test(longrope_has_divisors_of_both_kinds_from_either_source),
		cmocka_unit_test(longrope_without_long_divisors_ends_with_the_original_context),
		cmocka_unit_test(growing_queries_do_not_end_the_context),
		cmocka_unit_test(states_have_each_layers_own_width),
		temp_test(bad_configs_are_refused_with_the_reason),
		temp_test(damaged_config_never_crashes),
		temp_test(tensors_of_other_types_or_names_are_refused),
		temp_test(folder_without_a_tokenizer_is_told),
		cmocka_unit_test(adapters_on_parts_of_a_fused_tensor_are_refused),
		cmocka_unit_test(every_failed_allocation_while_opening_is_an_error_without_a_leak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
