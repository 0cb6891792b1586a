/* LoRA on experts in the three layouts: where each number stands, gate and up as one module and as two, what is refused, damaged
 * files and failed allocations. What the numbers do is tests/models/test_experts_lora.c's. */
#include "bytes.h"

#include "base/json.h"
#include "base/mem.h"
#include "formats/adapter.h"
#include "formats/safetensors.h"

#include <math.h>

enum { E = 3, IN = 4, FF = 5 };
static char dir[256];

static const char *const spelled[][2] = {{"gate_up_proj", "ffn_gate_up_exps"}, {"gate_proj", "ffn_gate_exps"},
					 {"up_proj", "ffn_up_exps"},	     {"down_proj", "ffn_down_exps"}};

static bool to_gguf(const void *ctx, const char *module, char out[128])
{
	int layer;
	char last[32];

	(void)ctx;
	for (int i = 0; i < 4; i++)
		if (sscanf(module, "model.layers.%d.mlp.experts.%31s", &layer, last) == 2 && strcmp(last, spelled[i][0]) == 0) {
			snprintf(out, 128, "blk.%d.%s", layer, spelled[i][1]);
			return true;
		}
	return false;
}

static bool from_gguf(const void *ctx, const char *tensor, char out[128])
{
	int layer;
	char last[32];

	(void)ctx;
	for (int i = 0; i < 4; i++)
		if (sscanf(tensor, "blk.%d.%31s", &layer, last) == 2 && strcmp(last, spelled[i][1]) == 0) {
			snprintf(out, 128, "model.layers.%d.mlp.experts.%s", layer, spelled[i][0]);
			return true;
		}
	return false;
}

static struct hth_adapter_names names_of(enum hth_expert_layout_kind kind)
{
	return (struct hth_adapter_names){
		.gguf_arch = "moe", .to_gguf = to_gguf, .from_gguf = from_gguf, .layout = &hth_expert_layouts[kind]};
}

static void add(struct hth_adapter *a, const char *name, int64_t experts, int rank, int64_t in, int64_t out, float scale)
{
	struct hth_lora_module *m = &a->modules[a->n_modules++];
	int64_t rows = (experts > 0 ? experts : 1) * rank;

	*m = (struct hth_lora_module){
		.name = name, .experts = experts, .in = in, .out = out, .rank = rank, .scale = scale};
	m->a = hth_arena_calloc(&a->arena, (size_t)(rows * in), sizeof(float));
	m->b = hth_arena_calloc(&a->arena, (size_t)(rows * out), sizeof(float));
	for (int64_t i = 0; i < rows * in; i++)
		m->a[i] = (float)(1000 * (int)a->n_modules + i);
	for (int64_t i = 0; i < rows * out; i++)
		m->b[i] = -(float)(1000 * (int)a->n_modules + i);
}

static void begin(struct hth_adapter *a, enum hth_expert_layout_kind kind)
{
	*a = (struct hth_adapter){.rank = 2, .alpha = 4, .n_layers = 1, .layout = &hth_expert_layouts[kind]};
	hth_arena_init(&a->arena, 1 << 20);
	a->modules = hth_arena_calloc(&a->arena, 6, sizeof(*a->modules));
	a->base_model = hth_arena_strndup(&a->arena, "", 0);
}

/* q_proj, both matrices of the experts, the router. */
static void make_joined(struct hth_adapter *a, enum hth_expert_layout_kind kind)
{
	begin(a, kind);
	add(a, "model.layers.0.self_attn.q_proj", 0, 2, IN, IN, 2);
	add(a, "model.layers.0.mlp.experts.gate_up_proj", E, 2, IN, 2 * FF, 2);
	add(a, "model.layers.0.mlp.experts.down_proj", E, 2, FF, IN, 2);
	add(a, "model.layers.0.mlp.gate", 0, 2, IN, E, 2);
}

static void make_apart(struct hth_adapter *a)
{
	begin(a, HTH_EXPERTS_SPARSE);
	add(a, "model.layers.0.mlp.experts.gate_proj", E, 1, IN, FF, 4);
	add(a, "model.layers.0.mlp.experts.up_proj", E, 2, IN, FF, 0.5f);
}

static void assert_same(const struct hth_adapter *a, const struct hth_adapter *b)
{
	assert_int_equal(a->n_modules, b->n_modules);
	for (size_t i = 0; i < a->n_modules; i++) {
		const struct hth_lora_module *x = &a->modules[i], *y = hth_adapter_find(b, x->name);
		size_t rows = (size_t)(x->experts > 0 ? x->experts : 1) * (size_t)x->rank;
		if (y == NULL)
			fail_msg("no module \"%s\"", x->name);
		assert_int_equal(x->experts, y->experts);
		assert_int_equal(x->rank, y->rank);
		assert_true(x->in == y->in && x->out == y->out && x->scale == y->scale);
		assert_memory_equal(x->a, y->a, rows * (size_t)x->in * sizeof(float));
		assert_memory_equal(x->b, y->b, rows * (size_t)x->out * sizeof(float));
	}
}

/* scale * B A of rows first.. of expert e of m, against all of `part`. */
static void assert_part(const struct hth_lora_module *m, int64_t first, const struct hth_lora_module *part)
{
	for (int64_t e = 0; e < E; e++)
		for (int64_t n = 0; n < part->out; n++)
			for (int64_t c = 0; c < part->in; c++) {
				double one = 0, two = 0;
				for (int i = 0; i < m->rank; i++)
					one += (double)m->b[(e * m->out + first + n) * m->rank + i] *
					       (double)m->a[(e * m->rank + i) * m->in + c];
				for (int i = 0; i < part->rank; i++)
					two += (double)part->b[(e * part->out + n) * part->rank + i] *
					       (double)part->a[(e * part->rank + i) * part->in + c];
				assert_true(fabs(one * (double)m->scale - two * (double)part->scale) <= 1e-6 * fabs(two));
			}
}

static void clean(void)
{
	struct hth_err err;
	assert_ok(hth_remove_tree(dir, &err));
}

static const float *tensor(const struct hth_safetensors *s, const char *name, int n_dims, int64_t d0, int64_t d1, int64_t d2)
{
	const struct hth_st_tensor *t = hth_safetensors_find(s, name);

	if (t == NULL)
		fail_msg("no tensor \"%s\"", name);
	assert_int_equal(t->n_dims, n_dims);
	assert_int_equal(t->dim[0], d0);
	assert_int_equal(t->dim[1], d1);
	assert_true(n_dims < 3 || t->dim[2] == d2);
	return (const float *)(const void *)t->data;
}

static void open_in(struct hth_safetensors *s, const char *name)
{
	struct hth_err err;
	char *path = hth_path_join(dir, name);

	assert_ok(hth_safetensors_open(s, path, &err));
	hth_free(path);
}

static void peft_has_experts_by_rows_of_a_and_by_columns_of_b(void **state)
{
	static const enum hth_expert_layout_kind kinds[2] = {HTH_EXPERTS_SWITCH, HTH_EXPERTS_PAIRED};
	struct hth_safetensors s;
	struct hth_adapter a;
	struct hth_err err;

	(void)state;
	for (int k = 0; k < 2; k++) {
		const char *router = k == 0 ? "base_model.model.model.layers.0.mlp.gate.lora_A.weight"
					    : "base_model.model.model.layers.0.mlp.router.lora_A.weight";
		make_joined(&a, kinds[k]);
		assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err));
		open_in(&s, "adapter_model.safetensors");
		const float *got = tensor(&s, "base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight", 2, E * 2, IN, 0);
		assert_memory_equal(got, a.modules[1].a, E * 2 * IN * sizeof(float));
		got = tensor(&s, "base_model.model.model.layers.0.mlp.experts.base_layer.lora_B.weight", 2, 2 * FF, 2 * E, 0);
		/* Column i of expert e, row 3 of gate, row 3 of up. */
		for (int64_t e = 0; e < E; e++)
			for (int64_t i = 0; i < 2; i++) {
				int64_t gate = k == 0 ? 3 : 6, up = k == 0 ? FF + 3 : 7;
				assert_true(got[gate * 2 * E + i * E + e] == a.modules[1].b[(e * 2 * FF + 3) * 2 + i]);
				assert_true(got[up * 2 * E + i * E + e] == a.modules[1].b[(e * 2 * FF + FF + 3) * 2 + i]);
			}
		(void)tensor(&s, "base_model.model.model.layers.0.mlp.experts.lora_B.weight", 2, IN, 2 * E, 0);
		(void)tensor(&s, router, 2, 2, IN, 0);
		hth_safetensors_close(&s);
		clean();
		hth_adapter_clear(&a);
	}
}

static void mlx_has_gate_and_up_apart_under_the_familys_name(void **state)
{
	static const char *const blocks[] = {"mlp.switch_mlp", "block_sparse_moe.switch_mlp", "mlp.experts"};
	struct hth_safetensors s;
	struct hth_adapter a;
	struct hth_err err;
	char name[128];

	(void)state;
	for (int k = 0; k < 3; k++) {
		make_joined(&a, (enum hth_expert_layout_kind)k);
		assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err));
		open_in(&s, "adapters.safetensors");
		snprintf(name, sizeof(name), "model.layers.0.%s.gate_proj.lora_a", blocks[k]);
		assert_memory_equal(tensor(&s, name, 3, E, 2, IN), a.modules[1].a, E * 2 * IN * sizeof(float));
		snprintf(name, sizeof(name), "model.layers.0.%s.up_proj.lora_b", blocks[k]);
		const float *up = tensor(&s, name, 3, E, FF, 2);
		for (int64_t e = 0; e < E; e++)
			assert_memory_equal(up + e * FF * 2, a.modules[1].b + (e * 2 * FF + FF) * 2, FF * 2 * sizeof(float));
		hth_safetensors_close(&s);
		clean();
		hth_adapter_clear(&a);
	}
}

static void every_layout_gives_back_what_it_was_given(void **state)
{
	struct hth_adapter a, peft, mlx, gguf;
	struct hth_err err;
	char file[256];

	(void)state;
	for (int k = 0; k < 3; k++) {
		struct hth_adapter_names names = names_of((enum hth_expert_layout_kind)k);
		make_joined(&a, (enum hth_expert_layout_kind)k);
		assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err));
		assert_ok(hth_adapter_read(dir, &names, &peft, &err));
		assert_same(&a, &peft);
		hth_adapter_clear(&peft);
		assert_ok(hth_adapter_read(dir, NULL, &peft, &err)); /* the keys for MLX say which family it is */
		assert_ptr_equal(peft.layout, a.layout);
		assert_same(&a, &peft);
		char *path = hth_path_join(dir, "adapter_model.safetensors");
		assert_int_equal(unlink(path), 0);
		hth_free(path);
		assert_ok(hth_adapter_read(dir, NULL, &mlx, &err));
		assert_ptr_equal(mlx.layout, a.layout);
		assert_int_equal(mlx.n_modules, 5);
		assert_part(&a.modules[1], 0, hth_adapter_find(&mlx, "model.layers.0.mlp.experts.gate_proj"));
		assert_part(&a.modules[1], FF, hth_adapter_find(&mlx, "model.layers.0.mlp.experts.up_proj"));
		clean();
		/* From MLX's form to PEFT's: gate and up share A still, and are one module again. */
		assert_ok(hth_adapter_write_dir(dir, &mlx, true, &err));
		hth_adapter_clear(&peft);
		assert_ok(hth_adapter_read(dir, &names, &peft, &err));
		assert_same(&a, &peft);
		a.n_modules = 3; /* without the router */
		a.modules[0] = a.modules[2];
		a.n_modules = 2;
		for (int joined = 0; joined < 2; joined++) {
			names.gguf_joined = joined;
			assert_ok(hth_adapter_write_gguf(temp_path(file, "experts.gguf"), &a, &names, &err));
			assert_ok(hth_adapter_read(file, &names, &gguf, &err));
			assert_int_equal(gguf.n_modules, joined ? 2 : 3);
			if (joined)
				assert_same(&a, &gguf);
			else
				assert_part(&a.modules[1], FF, hth_adapter_find(&gguf, "model.layers.0.mlp.experts.up_proj"));
			hth_adapter_clear(&gguf);
			assert_int_equal(unlink(file), 0);
		}
		clean();
		hth_adapter_clear(&mlx);
		hth_adapter_clear(&peft);
		hth_adapter_clear(&a);
	}
}

static void gate_and_up_of_different_a_become_one_of_both_ranks(void **state)
{
	struct hth_adapter_names names = names_of(HTH_EXPERTS_SPARSE);
	struct hth_adapter a, b;
	struct hth_err err;

	(void)state;
	for (int only = 0; only < 3; only++) { /* both, gate alone, up alone */
		make_apart(&a);
		if (only == 2)
			a.modules[0] = a.modules[1];
		a.n_modules = only == 0 ? 2 : 1;
		assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, true, &err));
		assert_ok(hth_adapter_read(dir, &names, &b, &err));
		assert_int_equal(b.n_modules, 1);
		assert_string_equal(b.modules[0].name, "model.layers.0.mlp.experts.gate_up_proj");
		assert_int_equal(b.modules[0].rank, only == 0 ? 3 : only == 1 ? 1 : 2);
		assert_int_equal(b.modules[0].out, 2 * FF);
		assert_part(&b.modules[0], only == 2 ? FF : 0, &a.modules[0]);
		if (only == 0)
			assert_part(&b.modules[0], FF, &a.modules[1]);
		clean();
		hth_adapter_clear(&b);
		hth_adapter_clear(&a);
	}
}

static void dropout_is_not_said_to_peft(void **state)
{
	struct hth_adapter a;
	struct hth_err err;
	json_t *config = NULL;

	(void)state;
	make_joined(&a, HTH_EXPERTS_SWITCH);
	a.dropout = 0.1;
	assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err));
	char *path = hth_path_join(dir, "adapter_config.json");
	assert_ok(hth_json_read(path, 1 << 20, 0, &config, &err));
	hth_free(path);
	assert_true(json_number_value(json_object_get(config, "lora_dropout")) == 0);
	assert_true(json_number_value(json_object_get(json_object_get(config, "lora_parameters"), "dropout")) == 0.1);
	json_t *list = json_object_get(config, "target_parameters");
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(json_string_value(json_array_get(list, 0)), "mlp.experts.gate_up_proj");
	assert_string_equal(json_string_value(json_array_get(list, 2)), "mlp.gate.weight");
	json_decref(config);
	clean();
	hth_adapter_clear(&a);
}

/* A file of these tensors, all zero but small, with this config. */
struct made {
	const char *name;
	int64_t dim[3];
	int n_dims;
};
static void make_dir(const char *file, const char *config, const struct made *made, size_t n)
{
	static const float values[256];
	struct hth_st_tensor t[4];
	struct hth_err err;

	assert_ok(hth_mkdirs(temp_path(dir, "made"), &err));
	for (size_t i = 0; i < n; i++) {
		uint64_t elems = 1;
		t[i] = (struct hth_st_tensor){.name = made[i].name, .dtype = HTH_ST_F32, .n_dims = made[i].n_dims};
		for (int k = 0; k < made[i].n_dims; k++)
			elems *= (uint64_t)(t[i].dim[k] = made[i].dim[k]);
		t[i].data = (const uint8_t *)values;
		t[i].bytes = 4 * elems;
	}
	char *path = hth_path_join(dir, file);
	assert_ok(hth_safetensors_write(path, t, n, NULL, 0, &err));
	hth_free(path);
	path = hth_path_join(dir, "adapter_config.json");
	assert_ok(hth_file_write(path, config, strlen(config), &err));
	hth_free(path);
}

static void assert_refused(const char *file, const char *config, const struct made *made, size_t n,
			   enum hth_status status, const char *part)
{
	struct hth_adapter_names names = names_of(HTH_EXPERTS_PAIRED);
	struct hth_adapter a;
	struct hth_err err;

	make_dir(file, config, made, n);
	assert_fails(hth_adapter_read(dir, &names, &a, &err), status, part);
	clean();
}

#define S "base_model.model.model.layers.0.block_sparse_moe.experts."
/* PEFT with transformers 4: a module an expert. */
static void single_experts_are_read_as_one(void **state)
{
	static const char *const files[] = {S "1.w3.lora_A.weight", S "1.w3.lora_B.weight", S "0.w3.lora_A.weight",
					    S "0.w3.lora_B.weight"};
	struct hth_adapter_names names = names_of(HTH_EXPERTS_SPARSE);
	struct hth_st_tensor t[4];
	struct hth_adapter a;
	struct hth_err err;
	float values[4][10];
	char *path;

	(void)state;
	for (int i = 0; i < 4; i++) {
		bool is_a = i % 2 == 0;
		for (int k = 0; k < 10; k++)
			values[i][k] = (float)(10 * i + k);
		t[i] = (struct hth_st_tensor){.name = files[i], .dtype = HTH_ST_F32, .n_dims = 2, .bytes = is_a ? 32 : 40};
		t[i].dim[0] = is_a ? 2 : 5;
		t[i].dim[1] = is_a ? 4 : 2;
		t[i].data = (const uint8_t *)values[i];
	}
	for (int full = 1; full >= 0; full--) {
		const char *config = "{\"r\":2,\"lora_alpha\":2}";
		assert_ok(hth_mkdirs(temp_path(dir, "made"), &err));
		path = hth_path_join(dir, "adapter_model.safetensors");
		assert_ok(hth_safetensors_write(path, t, full ? 4 : 2, NULL, 0, &err));
		hth_free(path);
		path = hth_path_join(dir, "adapter_config.json");
		assert_ok(hth_file_write(path, config, strlen(config), &err));
		hth_free(path);
		if (!full) { /* expert 1 alone */
			assert_fails(hth_adapter_read(dir, &names, &a, &err), HTH_ERR_UNAVAILABLE, "experts from 0 on");
			break;
		}
		assert_ok(hth_adapter_read(dir, NULL, &a, &err));
		assert_int_equal(a.n_modules, 1);
		assert_string_equal(a.modules[0].name, "model.layers.0.mlp.experts.up_proj");
		assert_ptr_equal(a.layout, &hth_expert_layouts[HTH_EXPERTS_SPARSE]);
		assert_int_equal(a.modules[0].experts, 2);
		assert_true(a.modules[0].scale == 1 && a.modules[0].rank == 2);
		assert_memory_equal(a.modules[0].a, values[2], 32);
		assert_memory_equal(a.modules[0].a + 8, values[0], 32);
		assert_memory_equal(a.modules[0].b, values[3], 40);
		assert_memory_equal(a.modules[0].b + 10, values[1], 40);
		hth_adapter_clear(&a);
	}
	clean();
}

#define P "adapter_model.safetensors"
#define M "adapters.safetensors"
#define X "base_model.model.model.layers.0.mlp.experts"
static void what_is_no_adapter_of_experts_is_refused_by_name(void **state)
{
	static const struct made pair[] = {{X ".lora_A.weight", {6, 4}, 2}, {X ".lora_B.weight", {5, 6}, 2}};
	static const struct made inner[] = {{X ".base_layer.lora_A.weight", {6, 4}, 2},
					    {X ".base_layer.lora_B.weight", {5, 6}, 2}};
	static const struct made mlx[] = {{"model.layers.0.mlp.switch_mlp.up_proj.lora_a", {3, 2, 4}, 3},
					  {"model.layers.0.mlp.switch_mlp.up_proj.lora_b", {3, 5, 2}, 3}};
	static const struct made other[] = {{"model.layers.0.mlp.moe.up_proj.lora_a", {3, 2, 4}, 3},
					    {"model.layers.0.mlp.moe.up_proj.lora_b", {3, 5, 2}, 3}};
	static const struct made fewer[] = {{"model.layers.0.mlp.switch_mlp.up_proj.lora_a", {3, 2, 4}, 3},
					    {"model.layers.0.mlp.switch_mlp.up_proj.lora_b", {2, 5, 2}, 3}};

	(void)state;
	assert_refused(P, "{\"r\":4,\"target_parameters\":[\"experts.down_proj\"]}", pair, 2, HTH_ERR_SHAPE,
		       "6 rows, expected 4 for each expert");
	assert_refused(P, "{\"r\":2,\"target_parameters\":[\"experts.gate_up_proj\"]}", pair, 2, HTH_ERR_SHAPE,
		       "5 rows, expected pairs of gate and up");
	assert_refused(P, "{\"r\":2,\"target_parameters\":[\"experts.down_proj\"]}", inner, 2, HTH_ERR_UNAVAILABLE,
		       "a wrapper of no parameter in target_parameters");
	assert_refused(P, "{\"r\":2}", inner, 2, HTH_ERR_UNAVAILABLE, "a wrapper of no parameter in target_parameters");
	assert_refused(P, "{\"r\":2,\"target_parameters\":\"down_proj\"}", pair, 2, HTH_ERR_FORMAT, "expected a list of names");
	assert_refused(P, "{\"r\":2,\"target_parameters\":[7]}", pair, 2, HTH_ERR_FORMAT, "expected a list of names");
	/* Not one of the known parameters: a module of its own, whose rank is then another. */
	assert_refused(P, "{\"r\":2,\"target_parameters\":[\"experts.up_bias\"]}", pair, 2, HTH_ERR_SHAPE,
		       "weights of rank 6, the config says 2");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":2,\"scale\":1}}", other, 2, HTH_ERR_UNAVAILABLE,
		       "LoRA on experts of an unknown name");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":2,\"scale\":1}}", fewer, 2, HTH_ERR_SHAPE,
		       "expected lora_a (E, r, in) and lora_b (E, out, r)");
	assert_refused(M, "{\"lora_parameters\":{\"rank\":3,\"scale\":1}}", mlx, 2, HTH_ERR_SHAPE, "rank 2, the config says 3");
	assert_refused(M, "{\"fine_tune_type\":\"dora\",\"lora_parameters\":{\"rank\":2,\"scale\":1}}", mlx, 2,
		       HTH_ERR_UNAVAILABLE, "experts with magnitudes");
}

static void what_a_layout_cannot_say_is_named(void **state)
{
	struct hth_adapter_names names = names_of(HTH_EXPERTS_BESIDE);
	struct hth_adapter a;
	struct hth_err err;
	char file[256];

	(void)state;
	make_joined(&a, HTH_EXPERTS_BESIDE);
	assert_non_null(strstr(hth_adapter_gguf_lacks(&a), "down_proj"));
	assert_fails(hth_adapter_write_gguf(temp_path(file, "experts.gguf"), &a, &names, &err), HTH_ERR_UNAVAILABLE,
		     "experts with factors of their own");
	assert_null(hth_adapter_mlx_lacks(&a));
	a.layout = NULL;
	assert_non_null(strstr(hth_adapter_mlx_lacks(&a), "--model names it"));
	a.modules[1].out--;
	a.layout = &hth_expert_layouts[HTH_EXPERTS_SWITCH];
	assert_fails(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err), HTH_ERR_SHAPE,
		     "9 rows, expected gate and up");
	hth_adapter_clear(&a);
}

static size_t slurp(const char *file, uint8_t *out, size_t cap)
{
	FILE *f = fopen(file, "rb");
	size_t n;

	assert_non_null(f);
	n = fread(out, 1, cap, f);
	assert_true(n < cap);
	fclose(f);
	return n;
}

static void cut_files_and_failed_allocations_leak_nothing(void **state)
{
	struct hth_adapter_names names = names_of(HTH_EXPERTS_PAIRED);
	struct hth_adapter a, b;
	struct hth_err err;
	enum hth_status st = HTH_ERR_MEMORY;
	static uint8_t whole[16384];
	uint64_t n;

	(void)state;
	make_joined(&a, HTH_EXPERTS_PAIRED);
	assert_ok(hth_adapter_write_dir(temp_path(dir, "experts"), &a, false, &err));
	for (n = 1; st != HTH_OK; n++) {
		hth_mem_fail_at(n, false);
		st = hth_adapter_write_dir(dir, &a, false, &err);
		hth_mem_fail_at(0, false);
		assert_true((st == HTH_OK || st == HTH_ERR_MEMORY) && n < 2000);
	}
	for (int mlx = 0; mlx < 2; mlx++) {
		char *path = hth_path_join(dir, mlx ? "adapters.safetensors" : "adapter_model.safetensors");
		for (n = 1, st = HTH_ERR_MEMORY; st != HTH_OK; n++) {
			hth_mem_fail_at(n, false);
			st = hth_adapter_read(dir, &names, &b, &err);
			hth_mem_fail_at(0, false);
			/* A name that memory was missing for is taken for an unknown one. */
			assert_true((st == HTH_OK || st == HTH_ERR_MEMORY || st == HTH_ERR_UNAVAILABLE) && n < 2000);
			hth_adapter_clear(&b);
		}
		size_t full = slurp(path, whole, sizeof(whole));
		for (size_t cut = 0; cut < full; cut += cut < 1600 ? 1 : 37) {
			write_plain(path, whole, cut);
			assert_int_not_equal(hth_adapter_read(dir, &names, &b, &err), HTH_OK);
		}
		assert_int_equal(unlink(path), 0);
		hth_free(path);
	}
	clean();
	hth_adapter_clear(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peft_has_experts_by_rows_of_a_and_by_columns_of_b),
		cmocka_unit_test(mlx_has_gate_and_up_apart_under_the_familys_name),
		cmocka_unit_test(every_layout_gives_back_what_it_was_given),
		cmocka_unit_test(gate_and_up_of_different_a_become_one_of_both_ranks),
		cmocka_unit_test(dropout_is_not_said_to_peft),
		cmocka_unit_test(single_experts_are_read_as_one),
		cmocka_unit_test(what_is_no_adapter_of_experts_is_refused_by_name),
		cmocka_unit_test(what_a_layout_cannot_say_is_named),
		cmocka_unit_test(cut_files_and_failed_allocations_leak_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
