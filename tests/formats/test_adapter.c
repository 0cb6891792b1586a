/* Adapters: round trips through the three layouts, what is refused, and the atomic replacement of folders. */
#include "bytes.h"

#include "base/json.h"
#include "base/mem.h"
#include "formats/adapter.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

#include <math.h>

static char dir[256];

/* The smallest base: Llama's names, heads of 4 rows. */
static bool to_gguf(const void *ctx, const char *module, char out[128])
{
	int layer;
	char rest[64];
	(void)ctx;
	if (sscanf(module, "model.layers.%d.%63s", &layer, rest) != 2)
		return false;
	if (strcmp(rest, "self_attn.q_proj") == 0)
		snprintf(out, 128, "blk.%d.attn_q", layer);
	else if (strcmp(rest, "mlp.down_proj") == 0)
		snprintf(out, 128, "blk.%d.ffn_down", layer);
	else
		return false;
	return true;
}

static bool from_gguf(const void *ctx, const char *tensor, char out[128])
{
	int layer;
	char rest[64];
	(void)ctx;
	if (sscanf(tensor, "blk.%d.%63s", &layer, rest) != 2)
		return false;
	if (strcmp(rest, "attn_q") == 0)
		snprintf(out, 128, "model.layers.%d.self_attn.q_proj", layer);
	else if (strcmp(rest, "ffn_down") == 0)
		snprintf(out, 128, "model.layers.%d.mlp.down_proj", layer);
	else
		return false;
	return true;
}

static int64_t head_rows(const void *ctx, const char *module)
{
	(void)ctx;
	return strstr(module, "q_proj") != NULL ? 4 : 0;
}

static const struct hth_adapter_names llama = {
	.gguf_arch = "llama", .to_gguf = to_gguf, .from_gguf = from_gguf, .permuted_head_rows = head_rows};

static float weight(unsigned seed, size_t i)
{
	uint32_t x = seed * 2654435761u + (uint32_t)i * 40503u + 12345u;
	x ^= x >> 15;
	x *= 2246822519u;
	x ^= x >> 13;
	return (float)(int32_t)x * 0x1p-31f;
}

static void add(struct hth_adapter *a, const char *name, int rank, int64_t in, int64_t out, float scale)
{
	struct hth_lora_module *m = &a->modules[a->n_modules++];
	*m = (struct hth_lora_module){.name = name, .in = in, .out = out, .rank = rank, .scale = scale};
	m->a = hth_arena_calloc(&a->arena, (size_t)(rank * in), sizeof(float));
	m->b = hth_arena_calloc(&a->arena, (size_t)(rank * out), sizeof(float));
	for (int64_t i = 0; i < rank * in; i++)
		m->a[i] = weight((unsigned)a->n_modules, (size_t)i);
	for (int64_t i = 0; i < rank * out; i++)
		m->b[i] = weight(100 + (unsigned)a->n_modules, (size_t)i);
}

/* Two layers of q_proj (6 -> 8) and down_proj (5 -> 6), rank 2, alpha 4. */
static void make_even(struct hth_adapter *a)
{
	memset(a, 0, sizeof(*a));
	hth_arena_init(&a->arena, 1 << 20);
	a->modules = hth_arena_calloc(&a->arena, 4, sizeof(*a->modules));
	a->rank = 2;
	a->alpha = 4;
	a->dropout = 0.05;
	a->n_layers = 2;
	a->base_model = hth_arena_strndup(&a->arena, "org/base", 8);
	add(a, "model.layers.0.self_attn.q_proj", 2, 6, 8, 2.0f);
	add(a, "model.layers.0.mlp.down_proj", 2, 5, 6, 2.0f);
	add(a, "model.layers.1.self_attn.q_proj", 2, 6, 8, 2.0f);
	add(a, "model.layers.1.mlp.down_proj", 2, 5, 6, 2.0f);
}

/* Ranks 2, 3 and 1 and scales that no common alpha explains. */
static void make_mixed(struct hth_adapter *a)
{
	memset(a, 0, sizeof(*a));
	hth_arena_init(&a->arena, 1 << 20);
	a->modules = hth_arena_calloc(&a->arena, 3, sizeof(*a->modules));
	a->rank = 3;
	a->alpha = 6;
	a->n_layers = 12;
	a->base_model = hth_arena_strndup(&a->arena, "", 0);
	add(a, "model.layers.2.self_attn.q_proj", 2, 6, 8, 0.7f);
	add(a, "model.layers.2.mlp.down_proj", 3, 5, 6, 2.0f);
	add(a, "model.layers.10.self_attn.q_proj", 1, 6, 8, 1.25f);
}

static void assert_same_modules(const struct hth_adapter *a, const struct hth_adapter *b)
{
	assert_int_equal(a->n_modules, b->n_modules);
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *x = &a->modules[i], *y = &b->modules[i];
		assert_string_equal(x->name, y->name);
		assert_int_equal(x->rank, y->rank);
		assert_int_equal(x->in, y->in);
		assert_int_equal(x->out, y->out);
		assert_true(x->scale == y->scale);
		assert_memory_equal(x->a, y->a, (size_t)(x->rank * x->in) * sizeof(float));
		assert_memory_equal(x->b, y->b, (size_t)(x->rank * x->out) * sizeof(float));
	}
}

/* scale * B A of both, element by element. */
static void assert_same_effect(const struct hth_adapter *a, const struct hth_adapter *b)
{
	assert_int_equal(a->n_modules, b->n_modules);
	for (size_t k = 0; k < a->n_modules; k++) {
		const struct hth_lora_module *x = &a->modules[k], *y = hth_adapter_find(b, x->name);
		assert_non_null(y);
		for (int64_t i = 0; i < x->out; i++)
			for (int64_t j = 0; j < x->in; j++) {
				double one = 0, two = 0;
				for (int r = 0; r < x->rank; r++)
					one += (double)x->b[i * x->rank + r] * (double)x->a[r * x->in + j];
				for (int r = 0; r < y->rank; r++)
					two += (double)y->b[i * y->rank + r] * (double)y->a[r * y->in + j];
				assert_true(fabs(one * (double)x->scale - two * (double)y->scale) < 1e-6);
			}
	}
}

static void drop(const char *name)
{
	char *path = hth_path_join(dir, name);
	assert_int_equal(unlink(path), 0);
	hth_free(path);
}

static json_t *config_of(const char *path)
{
	struct hth_err err;
	json_t *config = NULL;
	char *file = hth_path_join(path, "adapter_config.json");
	assert_ok(hth_json_read(file, 1 << 20, 0, &config, &err));
	hth_free(file);
	return config;
}

static void clean(void)
{
	struct hth_err err;
	assert_ok(hth_remove_tree(dir, &err));
}

static void even_adapter_round_trips_bit_for_bit_through_all_layouts(void **state)
{
	(void)state;
	struct hth_err err;
	struct hth_adapter a, b;
	char file[256];
	make_even(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_same_modules(&a, &b);
	assert_true(b.alpha == 4 && b.rank == 2 && b.dropout == 0.05);
	assert_string_equal(b.base_model, "org/base");
	hth_adapter_clear(&b);
	drop("adapter_model.safetensors");
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_same_modules(&a, &b);
	assert_true(b.alpha == 4);
	hth_adapter_clear(&b);
	assert_ok(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err));
	assert_ok(hth_adapter_read(file, &llama, &b, &err));
	assert_same_modules(&a, &b);
	assert_true(b.alpha == 4);
	assert_string_equal(b.base_model, "org/base");
	hth_adapter_clear(&b);
	unlink(file);
	clean();
	hth_adapter_clear(&a);
}

static void mixed_adapter_keeps_its_modules_in_peft_and_its_effect_elsewhere(void **state)
{
	(void)state;
	struct hth_err err;
	struct hth_adapter a, b;
	char file[256];
	make_mixed(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_same_modules(&a, &b);
	hth_adapter_clear(&b);
	drop("adapter_model.safetensors");
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_int_equal(b.modules[0].rank, 3);
	assert_same_effect(&a, &b);
	hth_adapter_clear(&b);
	assert_ok(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err));
	assert_ok(hth_adapter_read(file, &llama, &b, &err));
	assert_int_equal(b.modules[2].rank, 1);
	assert_same_effect(&a, &b);
	hth_adapter_clear(&b);
	unlink(file);
	clean();
	hth_adapter_clear(&a);
}

static void rslora_scales_survive(void **state)
{
	(void)state;
	struct hth_err err;
	struct hth_adapter a, b;
	make_mixed(&a);
	a.rslora = true;
	for (size_t i = 0; i < a.n_modules; i++)
		a.modules[i].scale = (float)(a.alpha / sqrt((double)a.modules[i].rank));
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, true, &err));
	json_t *config = config_of(dir);
	assert_true(json_is_true(json_object_get(config, "use_rslora")));
	assert_int_equal(json_object_size(json_object_get(config, "alpha_pattern")), 0);
	assert_int_equal(json_object_size(json_object_get(config, "rank_pattern")), 2);
	json_decref(config);
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_true(b.rslora);
	assert_same_modules(&a, &b);
	hth_adapter_clear(&b);
	clean();
	hth_adapter_clear(&a);
}

static void zero_scale_is_not_read_as_no_alpha(void **state)
{
	(void)state;
	struct hth_err err;
	struct hth_adapter a, b;
	char file[256];
	make_even(&a);
	for (size_t i = 0; i < a.n_modules; i++)
		a.modules[i].scale = 0;
	assert_ok(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err));
	assert_ok(hth_adapter_read(file, &llama, &b, &err));
	assert_same_effect(&a, &b);
	hth_adapter_clear(&b);
	hth_adapter_clear(&a);
	unlink(file);
}

static void gguf_rows_of_q_are_permuted_as_llama_cpp_does(void **state)
{
	(void)state;
	/* Two heads of 4: Hugging Face rows 0 1 2 3 stand in the file as 0 2 1 3. */
	static const int file_row_of[8] = {0, 2, 1, 3, 4, 6, 5, 7};
	struct hth_err err;
	struct hth_adapter a;
	struct hth_gguf g;
	char file[256];
	make_even(&a);
	assert_ok(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err));
	assert_ok(hth_gguf_open(&g, file, &err));
	unlink(file);
	const struct hth_gguf_tensor *ta = hth_gguf_tensor(&g, "blk.1.attn_q.weight.lora_a");
	const struct hth_gguf_tensor *tb = hth_gguf_tensor(&g, "blk.1.attn_q.weight.lora_b");
	assert_int_equal(ta->ne[0], 6);
	assert_int_equal(ta->ne[1], 2);
	assert_int_equal(tb->ne[0], 2);
	assert_int_equal(tb->ne[1], 8);
	assert_memory_equal(ta->data, a.modules[2].a, 48);
	for (int row = 0; row < 8; row++)
		assert_memory_equal(tb->data + 8 * file_row_of[row], a.modules[2].b + 2 * row, 8);
	assert_memory_equal(hth_gguf_tensor(&g, "blk.1.ffn_down.weight.lora_b")->data, a.modules[3].b, 48);
	struct hth_gguf_str s;
	assert_ok(hth_gguf_string(&g, "general.type", &s, &err));
	assert_true(hth_gguf_str_equal(s, "adapter"));
	assert_ok(hth_gguf_string(&g, "adapter.type", &s, &err));
	assert_true(hth_gguf_str_equal(s, "lora"));
	hth_gguf_close(&g);
	hth_adapter_clear(&a);
}

static void mlx_file_holds_transposes(void **state)
{
	(void)state;
	struct hth_err err;
	struct hth_adapter a;
	struct hth_safetensors s;
	make_even(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	char *file = hth_path_join(dir, "adapters.safetensors");
	assert_ok(hth_safetensors_open(&s, file, &err));
	const struct hth_st_tensor *ta = hth_safetensors_find(&s, "model.layers.0.mlp.down_proj.lora_a");
	const struct hth_st_tensor *tb = hth_safetensors_find(&s, "model.layers.0.mlp.down_proj.lora_b");
	assert_int_equal(ta->dim[0], 5);
	assert_int_equal(ta->dim[1], 2);
	assert_int_equal(tb->dim[0], 2);
	assert_int_equal(tb->dim[1], 6);
	assert_memory_equal(ta->data + 4 * (3 * 2 + 1), &a.modules[1].a[1 * 5 + 3], 4);
	assert_memory_equal(tb->data + 4 * (1 * 6 + 4), &a.modules[1].b[4 * 2 + 1], 4);
	hth_safetensors_close(&s);
	hth_free(file);
	clean();
	hth_adapter_clear(&a);
}

static void config_holds_the_keys_of_both_tools(void **state)
{
	(void)state;
	static const char *const peft[] = {
		"peft_type",
		"task_type",
		"auto_mapping",
		"base_model_name_or_path",
		"revision",
		"inference_mode",
		"r",
		"lora_alpha",
		"lora_dropout",
		"target_modules",
		"bias",
		"fan_in_fan_out",
		"use_rslora",
		"use_dora",
		"modules_to_save",
		"init_lora_weights",
		"layers_to_transform",
		"layers_pattern",
		"rank_pattern",
		"alpha_pattern",
		"layer_replication",
		"loftq_config",
		"megatron_config",
		"megatron_core",
	};
	struct hth_err err;
	struct hth_adapter a;
	make_even(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	json_t *c = config_of(dir);
	for (size_t i = 0; i < sizeof(peft) / sizeof(peft[0]); i++)
		assert_non_null(json_object_get(c, peft[i]));
	assert_int_equal(json_object_size(c), sizeof(peft) / sizeof(peft[0]) + 3);
	assert_string_equal(json_string_value(json_object_get(c, "fine_tune_type")), "lora");
	assert_int_equal(json_integer_value(json_object_get(c, "num_layers")), 2);
	json_t *lora = json_object_get(c, "lora_parameters"), *targets = json_object_get(c, "target_modules");
	assert_int_equal(json_integer_value(json_object_get(lora, "rank")), 2);
	assert_true(json_number_value(json_object_get(lora, "scale")) == 2.0);
	assert_string_equal(json_string_value(json_array_get(json_object_get(lora, "keys"), 1)), "mlp.down_proj");
	assert_int_equal(json_array_size(targets), 2);
	assert_string_equal(json_string_value(json_array_get(targets, 0)), "q_proj");
	json_decref(c);
	assert_ok(hth_adapter_write_dir(dir, &a, true, &err));
	c = config_of(dir);
	assert_int_equal(json_object_size(c), sizeof(peft) / sizeof(peft[0]));
	json_decref(c);
	char *mlx = hth_path_join(dir, "adapters.safetensors");
	assert_int_equal(hth_path_kind(mlx), HTH_PATH_NONE);
	hth_free(mlx);
	/* Layers without some projections: short names would say too much. */
	a.n_modules = 3;
	assert_ok(hth_adapter_write_dir(dir, &a, true, &err));
	c = config_of(dir);
	targets = json_object_get(c, "target_modules");
	assert_int_equal(json_array_size(targets), 3);
	assert_string_equal(json_string_value(json_array_get(targets, 2)), "model.layers.1.self_attn.q_proj");
	json_decref(c);
	clean();
	hth_adapter_clear(&a);
}

/* ---- reading what others wrote ---- */

struct made {
	const char *name;
	int64_t dim[2];
	int n_dims;
};

/* A folder with tensors of 0.5 and this config. */
static void make_dir(const char *weights, const char *config, const struct made *made, size_t n)
{
	static float values[64];
	struct hth_err err;
	struct hth_st_tensor t[8];
	for (size_t i = 0; i < 64; i++)
		values[i] = 0.5f;
	assert_ok(hth_mkdirs(temp_path(dir, "made"), &err));
	for (size_t i = 0; i < n; i++) {
		t[i] = (struct hth_st_tensor){.name = made[i].name, .dtype = HTH_ST_F32, .n_dims = made[i].n_dims};
		uint64_t elems = 1;
		for (int k = 0; k < made[i].n_dims; k++) {
			t[i].dim[k] = made[i].dim[k];
			elems *= (uint64_t)made[i].dim[k];
		}
		t[i].data = (const uint8_t *)values;
		t[i].bytes = 4 * elems;
	}
	char *file = hth_path_join(dir, weights);
	assert_ok(hth_safetensors_write(file, t, n, NULL, 0, &err));
	hth_free(file);
	file = hth_path_join(dir, "adapter_config.json");
	assert_ok(hth_file_write(file, config, strlen(config), &err));
	hth_free(file);
}

#define PEFT(x) "base_model.model." x

static const struct made q_pair[] = {
	{PEFT("model.layers.0.self_attn.q_proj.lora_A.weight"), {2, 3}, 2},
	{PEFT("model.layers.0.self_attn.q_proj.lora_B.weight"), {4, 2}, 2},
};

static void assert_read(const char *weights, const char *config, const struct made *made, size_t n, float scale)
{
	struct hth_adapter a;
	struct hth_err err;
	make_dir(weights, config, made, n);
	assert_ok(hth_adapter_read(dir, NULL, &a, &err));
	assert_true(a.modules[0].scale == scale);
	hth_adapter_clear(&a);
	clean();
}

static void assert_refused(const char *weights, const char *config, const struct made *made, size_t n,
			   enum hth_status status, const char *part)
{
	struct hth_adapter a;
	struct hth_err err;
	make_dir(weights, config, made, n);
	assert_fails(hth_adapter_read(dir, NULL, &a, &err), status, part);
	assert_non_null(strstr(err.text, "-made/"));
	assert_int_equal(a.n_modules, 0);
	clean();
}

#define W "adapter_model.safetensors"
#define M "adapters.safetensors"

static void peft_patterns_are_matched_as_peft_does(void **state)
{
	(void)state;
	assert_read(W, "{\"r\":2,\"lora_alpha\":5}", q_pair, 2, 2.5f);
	assert_read(W, "{\"r\":4,\"lora_alpha\":5,\"rank_pattern\":{\"q_proj\":2}}", q_pair, 2, 2.5f);
	assert_read(
		W,
		"{\"r\":4,\"lora_alpha\":5,\"rank_pattern\":{\"self_attn.q_proj\":2},\"alpha_pattern\":{\"q_proj\":3}}",
		q_pair, 2, 1.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"alpha_pattern\":{\"_proj\":3,\"q_pro\":7}}", q_pair, 2, 2.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"alpha_pattern\":{\"layers\\\\.[0-3]\\\\..*q_proj\":3}}", q_pair, 2,
		    1.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"alpha_pattern\":{\"k_proj|q_proj\":1,\"q_proj\":3}}", q_pair, 2,
		    0.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"alpha_pattern\":{\"^model.layers.0.self_attn.q_proj\":3}}", q_pair,
		    2, 1.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":4,\"use_rslora\":true}", q_pair, 2, (float)(4 / sqrt(2)));
	assert_refused(W, "{\"r\":2,\"alpha_pattern\":{\"(\":3}}", q_pair, 2, HTH_ERR_FORMAT,
		       "is no regular expression");
	assert_refused(W, "{\"r\":2,\"alpha_pattern\":{\"q_proj\":\"3\"}}", q_pair, 2, HTH_ERR_FORMAT,
		       "expected a number");
	assert_refused(W, "{\"r\":2,\"alpha_pattern\":[]}", q_pair, 2, HTH_ERR_FORMAT, "expected an object");
	assert_refused(W, "{\"r\":2,\"alpha_pattern\":{\"(([a-z_.0-9]*)*)*[!?]\":3}}", q_pair, 2, HTH_ERR_LIMIT,
		       "takes too long");
	assert_refused(W, "{\"r\":4}", q_pair, 2, HTH_ERR_SHAPE, "weights of rank 2, the config says 4");
}

static void peft_features_that_are_no_lora_are_refused_by_name(void **state)
{
	(void)state;
	static const struct made table[] = {{PEFT("model.embed_tokens.lora_embedding_A"), {2, 3}, 2}};
	static const struct made full[] = {{PEFT("lm_head.weight"), {2, 3}, 2}};
	static const struct made bare[] = {{"lm_head.lora_A.weight", {2, 3}, 2}};
	assert_refused(W, "{\"r\":2,\"bias\":\"all\"}", q_pair, 2, HTH_ERR_UNAVAILABLE, "biases");
	assert_refused(W, "{\"r\":2,\"bias\":\"lora_only\"}", q_pair, 2, HTH_ERR_UNAVAILABLE, "(\"lora_only\")");
	assert_refused(W, "{\"r\":2,\"lora_bias\":true}", q_pair, 2, HTH_ERR_UNAVAILABLE, "lora_bias");
	assert_refused(W, "{\"r\":2,\"peft_type\":\"IA3\"}", q_pair, 2, HTH_ERR_UNAVAILABLE, "found \"IA3\"");
	static const char *const inits[] = {"pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga"};
	for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++) {
		char config[80], part[96];
		snprintf(config, sizeof(config), "{\"r\":2,\"init_lora_weights\":\"%s\"}", inits[i]);
		snprintf(part, sizeof(part), "\"%s\" changes the base model's weights; convert the adapter to plain LoRA",
			 inits[i]);
		assert_refused(W, config, q_pair, 2, HTH_ERR_UNAVAILABLE, part);
	}
	assert_refused(W, "{\"r\":2,\"trainable_token_indices\":[1,2]}", q_pair, 2, HTH_ERR_UNAVAILABLE,
		       "\"trainable_token_indices\": trained tokens");
	assert_refused(W, "{\"r\":2,\"modules_to_save\":[\"embed_tokens\"],\"ensure_weight_tying\":true}", q_pair, 2,
		       HTH_ERR_UNAVAILABLE, "\"ensure_weight_tying\"");
	assert_refused(W, "{\"r\":2,\"layer_replication\":[[0,4]]}", q_pair, 2, HTH_ERR_UNAVAILABLE,
		       "replicated layers");
	assert_refused(W, "{\"r\":2}", table, 1, HTH_ERR_UNAVAILABLE, "LoRA on embeddings");
	assert_refused(W, "{\"r\":2}", full, 1, HTH_ERR_UNAVAILABLE, "modules_to_save does not name");
	assert_refused(W, "{\"r\":2,\"modules_to_save\":[\"embed_tokens\"]}", full, 1, HTH_ERR_UNAVAILABLE,
		       "lm_head.weight");
	assert_refused(W, "{\"r\":2}", bare, 1, HTH_ERR_UNAVAILABLE, "expected base_model.model.");
}

/* What only says where an adapter was put when it was made: the tensors say where it is. */
static void peft_keys_that_change_nothing_here_are_read(void **state)
{
	(void)state;
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"exclude_modules\":[\"k_proj\"]}", q_pair, 2, 2.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"layers_to_transform\":[0],\"layers_pattern\":\"layers\"}", q_pair, 2,
		    2.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"fan_in_fan_out\":true}", q_pair, 2, 2.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"init_lora_weights\":\"gaussian\"}", q_pair, 2, 2.5f);
	assert_read(W, "{\"r\":2,\"lora_alpha\":5,\"init_lora_weights\":false}", q_pair, 2, 2.5f);
}

static const struct made dora_q[] = {
	{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},
	{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
	{PEFT("m.0.q.lora_magnitude_vector"), {4}, 1},
};

static void magnitudes_of_both_layouts_are_read_or_refused(void **state)
{
	(void)state;
	static const struct made old[] = {
		{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},
		{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
		{PEFT("m.0.q.lora_magnitude_vector.weight"), {4}, 1},
	};
	static const struct made more[] = {
		{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},      {PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
		{PEFT("m.0.q.lora_magnitude_vector"), {4}, 1}, {PEFT("m.1.q.lora_magnitude_vector"), {4}, 1},
	};
	static const struct made wide[] = {
		{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},
		{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
		{PEFT("m.0.q.lora_magnitude_vector"), {5}, 1},
	};
	static const struct made mlx[] = {
		{"m.0.q.lora_a", {3, 2}, 2}, {"m.0.q.lora_b", {2, 4}, 2}, {"m.0.q.m", {4}, 1}};
	static const char config[] = "{\"fine_tune_type\":\"dora\",\"lora_parameters\":{\"rank\":2,\"scale\":1.5}}";
	struct hth_adapter a;
	struct hth_err err;
	const char *const files[] = {W, W, M};
	const struct made *const parts[] = {dora_q, old, mlx};
	for (int i = 0; i < 3; i++) {
		make_dir(files[i], i < 2 ? "{\"r\":2,\"lora_alpha\":3,\"use_dora\":true}" : config, parts[i], 3);
		assert_ok(hth_adapter_read(dir, NULL, &a, &err));
		assert_true(a.modules[0].scale == 1.5f && a.modules[0].mag[3] == 0.5f);
		hth_adapter_clear(&a);
		clean();
	}
	assert_refused(W, "{\"r\":2}", dora_q, 3, HTH_ERR_UNAVAILABLE, "magnitudes (DoRA), which the config denies");
	assert_refused(W, "{\"r\":2,\"use_dora\":true}", dora_q, 2, HTH_ERR_FORMAT,
		       "module \"m.0.q\": its lora_magnitude_vector is missing");
	assert_refused(W, "{\"r\":2,\"use_dora\":true}", more, 4, HTH_ERR_FORMAT,
		       "1 modules and 2 lora_magnitude_vector do not pair");
	assert_refused(W, "{\"r\":2,\"use_dora\":true}", wide, 3, HTH_ERR_SHAPE, "expected 4 magnitudes");
	assert_refused(M, config, mlx, 2, HTH_ERR_FORMAT, "its magnitudes (.m) are missing");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":2,\"scale\":1.5}}", mlx, 3, HTH_ERR_UNAVAILABLE, "DoRA");
}

/* An adapter with magnitudes, and with weights trained whole. */
static void enrich(struct hth_adapter *a, bool dora, bool whole)
{
	for (size_t i = 0; dora && i < a->n_modules; i++) {
		struct hth_lora_module *m = &a->modules[i];
		m->mag = hth_arena_calloc(&a->arena, (size_t)m->out, sizeof(float));
		for (int64_t k = 0; k < m->out; k++)
			m->mag[k] = weight(200 + (unsigned)i, (size_t)k);
	}
	if (!whole)
		return;
	a->saved = hth_arena_calloc(&a->arena, 2, sizeof(*a->saved));
	a->n_saved = 2;
	a->saved[0] = (struct hth_saved_weight){.name = "lm_head.weight", .rows = 9, .cols = 6};
	a->saved[1] = (struct hth_saved_weight){.name = "model.norm.weight", .rows = 1, .cols = 6};
	for (size_t i = 0; i < 2; i++) {
		size_t n = (size_t)(a->saved[i].rows * a->saved[i].cols);
		a->saved[i].value = hth_arena_calloc(&a->arena, n, sizeof(float));
		for (size_t k = 0; k < n; k++)
			a->saved[i].value[k] = weight(300 + (unsigned)i, k);
	}
}

static void magnitudes_round_trip_through_peft_and_mlx_and_not_through_gguf(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	char file[256];
	for (int mixed = 0; mixed < 2; mixed++) {
		(mixed ? make_mixed : make_even)(&a);
		enrich(&a, true, false);
		assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
		json_t *config = config_of(dir);
		assert_true(json_is_true(json_object_get(config, "use_dora")));
		assert_string_equal(json_string_value(json_object_get(config, "fine_tune_type")), "dora");
		json_decref(config);
		for (int mlx = 0; mlx < 2; mlx++) {
			assert_ok(hth_adapter_read(dir, NULL, &b, &err));
			assert_same_effect(&a, &b);
			for (size_t i = 0; i < a.n_modules; i++)
				assert_memory_equal(a.modules[i].mag, b.modules[i].mag,
						    (size_t)a.modules[i].out * sizeof(float));
			hth_adapter_clear(&b);
			if (mlx == 0)
				drop("adapter_model.safetensors");
		}
		assert_fails(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err),
			     HTH_ERR_UNAVAILABLE, "GGUF adapters have no magnitudes (DoRA); hearth fuse");
		assert_int_equal(hth_path_kind(file), HTH_PATH_NONE);
		a.modules[1].mag = NULL;
		assert_fails(hth_adapter_write_dir(dir, &a, false, &err), HTH_ERR_FORMAT, "has no magnitudes");
		clean();
		hth_adapter_clear(&a);
	}
}

static void whole_weights_round_trip_through_peft_alone(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	char file[256];
	make_even(&a);
	enrich(&a, false, true);
	assert_string_equal(hth_adapter_mlx_lacks(&a), "weights trained whole (modules_to_save)");
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	json_t *config = config_of(dir), *names = json_object_get(config, "modules_to_save");
	assert_int_equal(json_array_size(names), 2);
	assert_string_equal(json_string_value(json_array_get(names, 1)), "model.norm");
	assert_null(json_object_get(config, "fine_tune_type"));
	json_decref(config);
	char *mlx = hth_path_join(dir, "adapters.safetensors");
	assert_int_equal(hth_path_kind(mlx), HTH_PATH_NONE);
	hth_free(mlx);
	assert_ok(hth_adapter_read(dir, NULL, &b, &err));
	assert_same_modules(&a, &b);
	assert_int_equal(b.n_saved, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(a.saved[i].name, b.saved[i].name);
		assert_int_equal(a.saved[i].rows, b.saved[i].rows);
		assert_int_equal(a.saved[i].cols, b.saved[i].cols);
		assert_memory_equal(a.saved[i].value, b.saved[i].value,
				    (size_t)(a.saved[i].rows * a.saved[i].cols) * sizeof(float));
	}
	hth_adapter_clear(&b);
	assert_fails(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err), HTH_ERR_UNAVAILABLE,
		     "GGUF adapters have no weights trained whole");
	a.saved[0].value[5] = NAN;
	assert_fails(hth_adapter_write_dir(dir, &a, false, &err), HTH_ERR_VALUE, "weight \"lm_head.weight\"");
	clean();
	hth_adapter_clear(&a);
}

static void failed_allocations_while_reading_all_of_peft_leak_nothing(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	make_even(&a);
	enrich(&a, true, true);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	enum hth_status status = HTH_ERR_MEMORY;
	for (uint64_t n = 1; status != HTH_OK; n++) {
		hth_mem_fail_at(n, false);
		status = hth_adapter_read(dir, NULL, &b, &err);
		hth_mem_fail_at(0, false);
		assert_true(n < 10000 && (status == HTH_OK || status == HTH_ERR_MEMORY));
	}
	hth_adapter_clear(&b);
	clean();
	hth_adapter_clear(&a);
}

static void frozen_copy_of_the_head_is_skipped_and_a_foreign_one_refused(void **state)
{
	(void)state;
	static const struct made copy[] = {
		{PEFT("lm_head.base_layer.weight"), {4, 3}, 2},
		{PEFT("lm_head.lora_A.weight"), {2, 3}, 2},
		{PEFT("lm_head.lora_B.weight"), {4, 2}, 2},
	};
	static const struct made other[] = {
		{PEFT("lm_head.base_layer.weight"), {5, 3}, 2},
		{PEFT("lm_head.lora_A.weight"), {2, 3}, 2},
		{PEFT("lm_head.lora_B.weight"), {4, 2}, 2},
	};
	assert_read(W, "{\"r\":2,\"lora_alpha\":5}", copy, 3, 2.5f);
	assert_refused(W, "{\"r\":2}", other, 3, HTH_ERR_UNAVAILABLE, "lm_head.base_layer.weight");
	assert_refused(W, "{\"r\":2}", copy, 1, HTH_ERR_UNAVAILABLE, "modules_to_save does not name");
}

static void adapters_with_wrong_shapes_or_missing_halves_are_refused(void **state)
{
	(void)state;
	static const struct made shapes[] = {
		{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},
		{PEFT("m.0.q.lora_B.weight"), {4, 3}, 2},
	};
	static const struct made vector[] = {
		{PEFT("m.0.q.lora_A.weight"), {2}, 1},
		{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
	};
	static const struct made b_first[] = {{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2}};
	static const struct made empty[] = {
		{PEFT("m.0.q.lora_A.weight"), {0, 3}, 2},
		{PEFT("m.0.q.lora_B.weight"), {4, 0}, 2},
	};
	static const struct made twice[] = {
		{PEFT("m.0.q.lora_A.weight"), {2, 3}, 2},
		{PEFT("m.0.q.lora_B.weight"), {4, 2}, 2},
		{PEFT("m.0.q.lora_A.default.weight"), {2, 3}, 2},
		{PEFT("m.0.q.lora_B.default.weight"), {4, 2}, 2},
	};
	assert_refused(W, "{\"r\":2}", shapes, 2, HTH_ERR_SHAPE, "expected lora_A (r, in) and lora_B (out, r)");
	assert_refused(W, "{\"r\":2}", vector, 2, HTH_ERR_SHAPE, "expected lora_A");
	assert_refused(W, "{\"r\":2}", q_pair, 1, HTH_ERR_FORMAT, "its lora_B is missing");
	assert_refused(W, "{\"r\":2}", b_first, 1, HTH_ERR_FORMAT, "do not pair");
	assert_refused(W, "{\"r\":2}", empty, 2, HTH_ERR_SHAPE, "make no LoRA");
	assert_refused(W, "{\"r\":2}", twice, 4, HTH_ERR_FORMAT, "module \"m.0.q\" stands twice");
	assert_refused(W, "{\"r\":2}", NULL, 0, HTH_ERR_FORMAT, "no modules");
	assert_refused(W, "[]", q_pair, 2, HTH_ERR_FORMAT, "");
	assert_refused(W, "{\"r\":0}", q_pair, 2, HTH_ERR_FORMAT, "\"r\"");
}

static void mlx_folders_are_read_and_foreign_parts_refused(void **state)
{
	(void)state;
	static const struct made pair[] = {
		{"language_model.model.layers.0.mlp.up_proj.lora_a", {3, 2}, 2},
		{"language_model.model.layers.0.mlp.up_proj.lora_b", {2, 4}, 2},
	};
	static const struct made table[] = {{"model.embed_tokens.lora_a", {3, 2}, 2},
					    {"model.embed_tokens.lora_b", {2, 4}, 2}};
	static const char config[] = "{\"fine_tune_type\":\"lora\",\"num_layers\":4,\"model\":\"org/m\","
				     "\"lora_parameters\":{\"rank\":2,\"scale\":20.0,\"dropout\":0.1}}";
	struct hth_adapter a;
	struct hth_err err;
	assert_read(M, config, pair, 2, 20.0f);
	make_dir(M, config, pair, 2);
	assert_ok(hth_adapter_read(dir, NULL, &a, &err));
	assert_string_equal(a.modules[0].name, "model.layers.0.mlp.up_proj");
	assert_string_equal(a.base_model, "org/m");
	assert_true(a.alpha == 40 && a.dropout == 0.1 && a.modules[0].in == 3 && a.modules[0].out == 4);
	hth_adapter_clear(&a);
	clean();
	assert_refused(M, config, table, 2, HTH_ERR_UNAVAILABLE, "embeddings");
	assert_refused(M, config, pair, 1, HTH_ERR_FORMAT, "its lora_b is missing");
	assert_refused(M, "{\"fine_tune_type\":\"full\"}", pair, 2, HTH_ERR_UNAVAILABLE, "\"full\"");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":2,\"alpha\":16}}", pair, 2, HTH_ERR_FORMAT, "rank and scale");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":4,\"scale\":1}}", pair, 2, HTH_ERR_SHAPE,
		       "rank 2, the config says 4");
}

static void gguf_adapters_of_other_bases_and_kinds_are_refused(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	char file[256];
	struct hth_adapter_names other = llama;
	other.gguf_arch = "qwen2";
	make_even(&a);
	assert_ok(hth_adapter_write_gguf(temp_path(file, "adapter.gguf"), &a, &llama, &err));
	assert_fails(hth_adapter_read(file, &other, &b, &err), HTH_ERR_SHAPE,
		     "an adapter for \"llama\", the base is \"qwen2\"");
	assert_fails(hth_adapter_read(file, NULL, &b, &err), HTH_ERR_USAGE, "can only be read for a known model");
	unlink(file);
	a.modules[1].name = "model.layers.0.mlp.gate_proj";
	assert_fails(hth_adapter_write_gguf(file, &a, &llama, &err), HTH_ERR_UNAVAILABLE, "has no name in GGUF");
	assert_int_equal(hth_path_kind(file), HTH_PATH_NONE);
	a.modules[1].name = "model.layers.7.self_attn.q_proj"; /* 6 rows, heads of 4 */
	assert_fails(hth_adapter_write_gguf(file, &a, &llama, &err), HTH_ERR_SHAPE, "no whole heads");
	assert_int_equal(hth_path_kind(file), HTH_PATH_NONE);
	hth_adapter_clear(&a);
}

static void nan_and_infinity_are_refused_on_write_and_read(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	char file[256];
	make_even(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, true, &err));
	a.modules[1].b[3] = INFINITY;
	assert_fails(hth_adapter_write_dir(dir, &a, false, &err), HTH_ERR_VALUE,
		     "module \"model.layers.0.mlp.down_proj\"");
	assert_fails(hth_adapter_write_gguf(temp_path(file, "a.gguf"), &a, &llama, &err), HTH_ERR_VALUE,
		     "NaN or infinite");
	a.modules[1].b[3] = NAN;
	assert_fails(hth_adapter_write_dir(dir, &a, false, &err), HTH_ERR_VALUE, "NaN");
	/* The folder written before stands; put a NaN into its last value. */
	char *path = hth_path_join(dir, "adapter_model.safetensors");
	FILE *f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, -1, SEEK_END), 0);
	assert_int_equal(fwrite("\x7F", 1, 1, f), 1);
	assert_int_equal(fseek(f, -2, SEEK_END), 0);
	assert_int_equal(fwrite("\xC0", 1, 1, f), 1);
	assert_int_equal(fclose(f), 0);
	hth_free(path);
	assert_fails(hth_adapter_read(dir, NULL, &b, &err), HTH_ERR_VALUE, "NaN or infinite");
	clean();
	hth_adapter_clear(&a);
}

static void folder_is_replaced_whole_and_nothing_stays_beside_it(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	char **names, parent[256];
	size_t n;
	make_even(&a);
	assert_ok(hth_mkdirs(temp_path(parent, "parent"), &err));
	char *path = hth_path_join(parent, "adapter");
	assert_ok(hth_adapter_write_dir(path, &a, false, &err));
	a.modules[0].b[0] = 0.25f;
	char slash[300];
	snprintf(slash, sizeof(slash), "%s//", path);
	assert_ok(hth_adapter_write_dir(slash, &a, false, &err));
	assert_ok(hth_adapter_read(path, NULL, &b, &err));
	assert_same_modules(&a, &b);
	hth_adapter_clear(&b);
	assert_ok(hth_dir_list(parent, &names, &n, &err));
	assert_int_equal(n, 1);
	hth_names_free(names, n);
	/* A folder with anything else in it is left alone. */
	char *foreign = hth_path_join(path, "thesis.docx");
	write_plain(foreign, "x", 1);
	assert_fails(hth_adapter_write_dir(path, &a, false, &err), HTH_ERR_EXISTS, "thesis.docx");
	assert_int_equal(hth_path_kind(foreign), HTH_PATH_FILE);
	assert_fails(hth_adapter_write_dir(foreign, &a, false, &err), HTH_ERR_EXISTS, "is a file");
	assert_fails(hth_adapter_write_dir(".", &a, false, &err), HTH_ERR_USAGE, "cannot be replaced");
	hth_free(foreign);
	hth_free(path);
	assert_ok(hth_remove_tree(parent, &err));
	hth_adapter_clear(&a);
}

static void failed_allocations_leave_the_old_folder_and_no_leak(void **state)
{
	(void)state;
	struct hth_adapter a, b;
	struct hth_err err;
	enum hth_status st = HTH_ERR_MEMORY;
	make_mixed(&a);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "adapter"), &a, false, &err));
	float old = a.modules[0].b[0];
	a.modules[0].b[0] = 0.25f;
	uint64_t n;
	for (n = 1; st != HTH_OK; n++) {
		hth_mem_fail_at(n, false);
		st = hth_adapter_write_dir(dir, &a, false, &err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
		assert_ok(hth_adapter_read(dir, NULL, &b, &err));
		assert_true(b.modules[0].b[0] == old || b.modules[0].b[0] == 0.25f);
		hth_adapter_clear(&b);
		assert_true(n < 2000);
	}
	assert_true(n > 20);
	st = HTH_ERR_MEMORY;
	for (n = 1; st != HTH_OK; n++) {
		hth_mem_fail_at(n, false);
		st = hth_adapter_read(dir, NULL, &b, &err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
		hth_adapter_clear(&b);
		assert_true(n < 2000);
	}
	assert_true(n > 20);
	clean();
	hth_adapter_clear(&a);
}

static void modules_are_sorted_by_layer_then_by_use(void **state)
{
	(void)state;
	static const struct made made[] = {
		{PEFT("lm_head.lora_A.weight"), {2, 3}, 2},
		{PEFT("lm_head.lora_B.weight"), {3, 2}, 2},
		{PEFT("model.layers.10.self_attn.k_proj.lora_A.weight"), {2, 3}, 2},
		{PEFT("model.layers.10.self_attn.k_proj.lora_B.weight"), {3, 2}, 2},
		{PEFT("model.layers.10.self_attn.q_proj.lora_A.weight"), {2, 3}, 2},
		{PEFT("model.layers.10.self_attn.q_proj.lora_B.weight"), {3, 2}, 2},
		{PEFT("model.layers.9.mlp.down_proj.lora_A.weight"), {2, 3}, 2},
		{PEFT("model.layers.9.mlp.down_proj.lora_B.weight"), {3, 2}, 2},
	};
	struct hth_adapter a;
	struct hth_err err;
	make_dir(W, "{\"r\":2}", made, 8);
	assert_ok(hth_adapter_read(dir, NULL, &a, &err));
	assert_string_equal(a.modules[0].name, "model.layers.9.mlp.down_proj");
	assert_string_equal(a.modules[1].name, "model.layers.10.self_attn.q_proj");
	assert_string_equal(a.modules[2].name, "model.layers.10.self_attn.k_proj");
	assert_string_equal(a.modules[3].name, "lm_head");
	assert_null(hth_adapter_find(&a, "model.layers.1"));
	hth_adapter_clear(&a);
	clean();
}

static void what_is_no_adapter_is_refused(void **state)
{
	(void)state;
	struct hth_adapter a;
	struct hth_err err;
	assert_fails(hth_adapter_read("/nonexistent", NULL, &a, &err), HTH_ERR_NOTFOUND, "no such adapter");
	assert_ok(hth_mkdirs(temp_path(dir, "made"), &err));
	assert_fails(hth_adapter_read(dir, NULL, &a, &err), HTH_ERR_NOTFOUND, "holds neither");
	clean();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_adapter_round_trips_bit_for_bit_through_all_layouts),
		cmocka_unit_test(mixed_adapter_keeps_its_modules_in_peft_and_its_effect_elsewhere),
		cmocka_unit_test(rslora_scales_survive),
		cmocka_unit_test(zero_scale_is_not_read_as_no_alpha),
		cmocka_unit_test(gguf_rows_of_q_are_permuted_as_llama_cpp_does),
		cmocka_unit_test(mlx_file_holds_transposes),
		cmocka_unit_test(config_holds_the_keys_of_both_tools),
		cmocka_unit_test(peft_patterns_are_matched_as_peft_does),
		cmocka_unit_test(peft_features_that_are_no_lora_are_refused_by_name),
		cmocka_unit_test(peft_keys_that_change_nothing_here_are_read),
		cmocka_unit_test(magnitudes_of_both_layouts_are_read_or_refused),
		cmocka_unit_test(magnitudes_round_trip_through_peft_and_mlx_and_not_through_gguf),
		cmocka_unit_test(whole_weights_round_trip_through_peft_alone),
		cmocka_unit_test(failed_allocations_while_reading_all_of_peft_leak_nothing),
		cmocka_unit_test(frozen_copy_of_the_head_is_skipped_and_a_foreign_one_refused),
		cmocka_unit_test(adapters_with_wrong_shapes_or_missing_halves_are_refused),
		cmocka_unit_test(mlx_folders_are_read_and_foreign_parts_refused),
		cmocka_unit_test(gguf_adapters_of_other_bases_and_kinds_are_refused),
		cmocka_unit_test(nan_and_infinity_are_refused_on_write_and_read),
		cmocka_unit_test(folder_is_replaced_whole_and_nothing_stays_beside_it),
		cmocka_unit_test(failed_allocations_leave_the_old_folder_and_no_leak),
		cmocka_unit_test(modules_are_sorted_by_layer_then_by_use),
		cmocka_unit_test(what_is_no_adapter_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
