/* Every golden model from its folder to GGUF and back, and to MLX: the same logits bit for bit where nothing is rounded. */
#include "models/golden.h"

#include "export/as_gguf.h"
#include "export/quantize.h"
#include "export/to_folder.h"
#include "formats/hf.h"
#include "models/source.h"

#include <unistd.h>

static char tmp[200];

static const char *in_tmp(char out[300], const char *name)
{
	snprintf(out, 300, "%s/%s", tmp, name);
	return out;
}

static int set_up(void **state)
{
	struct hth_err err;
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	(void)state;
	snprintf(tmp, sizeof(tmp), "%s/hth-convert-%ld", dir, (long)getpid());
	assert_ok(hth_remove_tree(tmp, &err));
	assert_ok(hth_mkdirs(tmp, &err));
	return 0;
}

static int tear_down(void **state)
{
	struct hth_err err;
	(void)state;
	assert_ok(hth_remove_tree(tmp, &err));
	return 0;
}

static void to_gguf(const struct hth_model *m, const char *mix, const char *path)
{
	struct hth_as_gguf as;
	struct hth_quantize_result r;
	struct hth_err err;

	assert_ok(hth_as_gguf_open(m, &as, &err));
	assert_null(as.lossy);
	struct hth_quantize_config cfg = {.from = &as.made.g,
					  .keep_mxfp4 = strcmp(mix, "bf16") == 0,
					  .parts = as.parts,
					  .n_parts = as.n_parts,
					  .parts_of = m,
					  .mix = hth_mix_find(mix),
					  .out_path = path};
	assert_ok(hth_quantize(&cfg, &r, &err));
	hth_as_gguf_close(&as);
}

static void to_folder(const struct hth_model *m, const char *path)
{
	struct hth_to_folder_config cfg = {.model = m, .out_path = path, .type = HTH_QUANT_F32};
	struct hth_to_folder_result r;
	struct hth_err err;

	assert_ok(hth_to_folder(&cfg, &r, &err));
	assert_true(r.weights == m->n_params);
}

/* Logits (rows, V) of the golden's rows on the reference backend; freed by the caller. */
static float *logits(const char *stem, const char *path, int64_t *n)
{
	struct hth_device_config cfg = {.compute = HTH_COMPUTE_F32};
	struct golden g = {.backend = hth_backend_find("ref")};
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_batch b;
	struct hth_err err;
	char values[160];

	assert_ok(hth_model_open(path, &g.m, &err));
	snprintf(g.stem, sizeof(g.stem), "%s", stem);
	g.name = g.stem;
	snprintf(values, sizeof(values), "%s.safetensors", stem);
	assert_ok(hth_safetensors_open(&g.want, values, &err));
	assert_ok(g.backend->open(&cfg, &g.dev, &err));
	assert_ok(hth_model_prepare(g.m, g.backend, g.dev, false, &err));
	*n = golden_count(&g, "ids") * g.m->config.n_vocab;
	float *got = hth_calloc((size_t)*n, sizeof(*got));
	assert_non_null(got);
	hth_arena_init(&arena, 1 << 20);
	golden_batch(&g, &arena, GOLDEN_ALL_ROWS, -1, false, &b);
	assert_ok(hth_lora_set_init(&set, g.m, NULL, 0, &err));
	golden_run(&g, &set, &b, HTH_FORWARD_LOGITS, false, got, *n);
	hth_lora_set_clear(&set);
	hth_arena_clear(&arena);
	golden_close(&g);
	return got;
}

static void check_same(const char *stem, const char *what, const char *path, const float *want, int64_t n)
{
	int64_t m;
	float *got = logits(stem, path, &m);

	assert_int_equal(m, n);
	for (int64_t i = 0; i < n; i++)
		if (!(fabsf(got[i] - want[i]) <= 2e-5f)) /* Llama 3.1's divisors are floats in GGUF */
			fail_msg("%s %s: logit %lld is %g, expected %g", stem, what, (long long)i, (double)got[i],
				 (double)want[i]);
	hth_free(got);
}

/* Families with a folder among the goldens. */
static const char *const stems[] = {
	"tests/golden/llama/untied", "tests/golden/gemma/tiny",   "tests/golden/gemma2/tiny",
	"tests/golden/gemma3/tiny",  "tests/golden/granite/tiny", "tests/golden/mistral/tiny",
	"tests/golden/olmo2/tiny",   "tests/golden/olmo3/tiny",   "tests/golden/phi3/tiny",
	"tests/golden/qwen2/tiny",   "tests/golden/qwen3/tiny",   "tests/golden/smollm3/tiny",
	"tests/golden/mixtral/tiny", "tests/golden/qwen3moe/tiny", "tests/golden/gptoss/tiny",
	"tests/golden/qwen2moe/tiny", "tests/golden/gemma4/tiny", "tests/golden/gemma4_large/tiny",
	"tests/golden/gemma4_moe/tiny", "tests/golden/gemma4_nested/tiny", "tests/golden/qwen35_nested/tiny",
	"tests/golden/qwen35/tiny", "tests/golden/gemma3_nested/tiny", "tests/golden/mistral3/tiny", "tests/golden/ministral3/tiny",
	"tests/golden/ministral3_beyond/tiny", "tests/golden/phi3_beyond/tiny",
	"tests/golden/qwen35moe/tiny", "tests/golden/gptoss_mxfp4/tiny",
};
enum { STEMS = sizeof(stems) / sizeof(*stems) };

static void folder_to_gguf_to_folder_keeps_logits(void **state)
{
	char gguf[300], back[300], again[300];

	(void)state;
	for (int i = 0; i < STEMS; i++) {
		struct hth_model *m, *n;
		struct hth_err err;
		int64_t count;
		float *want = logits(stems[i], stems[i], &count);
		assert_ok(hth_model_open(stems[i], &m, &err));
		to_gguf(m, "f32", in_tmp(gguf, "a.gguf"));
		check_same(stems[i], "as GGUF", gguf, want, count);
		assert_ok(hth_model_open(gguf, &n, &err));
		assert_ok(hth_configs_agree(m, n, &err));
		to_folder(n, in_tmp(back, "back"));
		check_same(stems[i], "as a folder again", back, want, count);
		to_folder(m, in_tmp(again, "copy"));
		check_same(stems[i], "as a copy", again, want, count);
		assert_ok(hth_remove_tree(back, &err));
		assert_ok(hth_remove_tree(again, &err));
		hth_model_close(n);
		hth_model_close(m);
		hth_free(want);
	}
}

/* MLX has taps turned, and norms with the 1 that Hugging Face leaves out; what one reads from the other is the same model. */
static void mlx_folders_of_layers_that_recur_keep_logits(void **state)
{
	static const char *const recur[] = {"tests/golden/qwen35/tiny", "tests/golden/qwen35_nested/tiny",
					   "tests/golden/qwen35moe/tiny"};
	char mlx[300], back[300];

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct hth_model *m, *n;
		struct hth_to_folder_result r;
		struct hth_err err;
		int64_t count;
		float *want = logits(recur[i], recur[i], &count);
		assert_ok(hth_model_open(recur[i], &m, &err));
		struct hth_to_folder_config cfg = {
			.model = m, .out_path = in_tmp(mlx, "plain-mlx"), .mlx = true, .type = HTH_QUANT_F32};
		assert_ok(hth_to_folder(&cfg, &r, &err));
		check_same(recur[i], "as MLX has it", mlx, want, count);
		assert_ok(hth_model_open(mlx, &n, &err));
		assert_true(n->config.norm_stored == 1);
		to_folder(n, in_tmp(back, "from-mlx"));
		check_same(recur[i], "from MLX", back, want, count);
		hth_model_close(n);
		hth_model_close(m);
		assert_ok(hth_remove_tree(mlx, &err));
		assert_ok(hth_remove_tree(back, &err));
		hth_free(want);
	}
}

static void gguf_keeps_the_golden_ggufs_weights(void **state)
{
	char gguf[300], golden[120];

	(void)state;
	for (int i = 0; i < STEMS; i++) {
		struct hth_gguf ours, theirs;
		struct hth_model *m;
		struct hth_err err;
		snprintf(golden, sizeof(golden), "%s.gguf", stems[i]);
		if (hth_path_kind(golden) != HTH_PATH_FILE)
			continue;
		assert_ok(hth_model_open(stems[i], &m, &err));
		if (m->config.experts_beside) { /* llama.cpp's has gate and up in one tensor */
			hth_model_close(m);
			continue;
		}
		to_gguf(m, hth_quant_format(hth_plain_type(m))->name, in_tmp(gguf, "b.gguf"));
		hth_model_close(m);
		assert_ok(hth_gguf_open(&ours, gguf, &err));
		assert_ok(hth_gguf_open(&theirs, golden, &err));
		for (size_t k = 0; k < theirs.n_tensors; k++) {
			const struct hth_gguf_tensor *b = &theirs.tensors[k];
			char name[64];
			snprintf(name, sizeof(name), "%.*s", (int)b->name.bytes, b->name.data);
			const struct hth_gguf_tensor *a = hth_gguf_tensor(&ours, name);
			if (a == NULL || memcmp(a->ne, b->ne, sizeof(a->ne)) != 0)
				fail_msg("%s: %s is absent or of another shape", stems[i], name);
			if (a->quant == b->quant && strncmp(name, "rope_f", 6) != 0 &&
			    memcmp(a->data, b->data, (size_t)b->bytes) != 0)
				fail_msg("%s: %s differs", stems[i], name);
		}
		assert_int_equal(ours.n_tensors, theirs.n_tensors);
		hth_gguf_close(&ours);
		hth_gguf_close(&theirs);
	}
}

/* mlx: matrices whose rows are whole groups; within half a step of the nearest level. */
static void mlx_folders_are_read_as_they_were_meant(void **state)
{
	static const int bits[] = {2, 3, 4, 5, 6, 8};
	char path[300];
	struct hth_model *m, *q;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open("tests/golden/qwen3/mlx", &m, &err));
	for (int i = 0; i < 6; i++) {
		struct hth_to_folder_config cfg = {.model = m,
						   .out_path = in_tmp(path, "mlx"),
						   .mlx = true,
						   .type = HTH_QUANT_F16,
						   .bits = bits[i],
						   .group = 32};
		struct hth_to_folder_result r;
		assert_ok(hth_to_folder(&cfg, &r, &err));
		assert_true(r.quantised > 0);
		assert_ok(hth_model_open(path, &q, &err));
		const struct hth_weight *a = &m->layers[0].linear[HTH_GATE], *b = &q->layers[0].linear[HTH_GATE];
		float x[512], y[512];
		assert_in_range(a->cols, 32, 512);
		for (int64_t n = 0; n < a->rows; n++) {
			hth_quant_format(a->quant)->unpack(hth_weight_row(a, n), x, a->cols);
			hth_quant_format(b->quant)->unpack(hth_weight_row(b, n), y, a->cols);
			for (int64_t g = 0; g < a->cols; g += 32) {
				float least = x[g], most = x[g];
				for (int64_t c = g; c < g + 32; c++) {
					least = fminf(least, x[c]);
					most = fmaxf(most, x[c]);
				}
				/* The search may cut off an end; never by more than a few steps. */
				float step = (most - least) / (float)((1 << bits[i]) - 1);
				for (int64_t c = g; c < g + 32; c++)
					assert_true(fabsf(x[c] - y[c]) <= 1.5f * step + 1e-3f * fabsf(x[c]));
			}
		}
		hth_model_close(q);
		assert_ok(hth_remove_tree(path, &err));
	}
	hth_model_close(m);
}

/* How many of MLX's tensors are laid out now, and how many ever can be. */
static size_t count_filled(const struct hth_model *m, size_t *all)
{
	const struct hth_source *s = m->source;
	size_t n = 0;

	*all = 0;
	for (size_t i = 0; s->repacked != NULL && i < s->n_tensors; i++) {
		*all += s->repacked[i].data != NULL;
		n += s->repacked[i].filled;
	}
	return n;
}

static void expect_one_filled(void *ctx, uint64_t done, uint64_t total)
{
	size_t all;

	(void)done;
	(void)total;
	assert_in_range(count_filled(ctx, &all), 0, 1);
	assert_true(all > 4);
}

/* The same bytes as from a model that has all of them in memory. */
static void a_model_opened_to_be_written_lays_out_one_tensor_at_a_time(void **state)
{
	char path[2][300], file[2][640], *text[2];
	size_t bytes[2], all;
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct hth_to_folder_result r;
		if (i == 0)
			assert_ok(hth_model_open("tests/golden/qwen3/mlx", &m, &err));
		else
			assert_ok(hth_model_open_to_write("tests/golden/qwen3/mlx", &m, &err));
		struct hth_to_folder_config cfg = {.model = m,
						   .out_path = in_tmp(path[i], i == 0 ? "held" : "demand"),
						   .type = HTH_QUANT_F32,
						   .progress = i == 0 ? NULL : expect_one_filled,
						   .ctx = m};
		assert_ok(hth_to_folder(&cfg, &r, &err));
		size_t filled = count_filled(m, &all);
		assert_int_equal(filled, i == 0 ? all : 1);
		hth_model_close(m);
		snprintf(file[i], sizeof(file[i]), "%s/model.safetensors", path[i]);
		assert_ok(hth_file_read(file[i], 1 << 24, &text[i], &bytes[i], &err));
	}
	assert_int_equal(bytes[0], bytes[1]);
	assert_memory_equal(text[0], text[1], bytes[0]);
	hth_free(text[0]);
	hth_free(text[1]);
}

/* One tensor for all experts, under mlx-lm's names. */
static void mlx_folders_of_experts_keep_logits(void **state)
{
	static const char *const mixtures[] = {"tests/golden/mixtral/tiny", "tests/golden/qwen3moe/tiny",
					       "tests/golden/qwen2moe/tiny", "tests/golden/gptoss/tiny",
					       "tests/golden/gptoss_mxfp4/tiny", "tests/golden/gemma4_moe/tiny"};
	static const char *const names[] = {"model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight",
					    "model.layers.0.mlp.switch_mlp.up_proj.weight",
					    "model.layers.0.mlp.switch_mlp.up_proj.weight",
					    "model.layers.0.mlp.experts.up_proj.weight",
					    "model.layers.0.mlp.experts.up_proj.weight",
					    "model.layers.0.experts.switch_glu.up_proj.weight"};
	char path[300];

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct hth_model *m;
		struct hth_to_folder_result r;
		struct hth_hf h;
		struct hth_err err;
		int64_t n;
		float *want = logits(mixtures[i], mixtures[i], &n);
		assert_ok(hth_model_open(mixtures[i], &m, &err));
		struct hth_to_folder_config cfg = {
			.model = m, .out_path = in_tmp(path, "switch"), .mlx = true, .type = HTH_QUANT_F32};
		assert_ok(hth_to_folder(&cfg, &r, &err));
		assert_true(r.weights == m->n_params);
		assert_ok(hth_hf_open(&h, path, &err));
		const struct hth_st_tensor *t = hth_hf_find(&h, names[i], NULL);
		assert_non_null(t);
		assert_int_equal(t->n_dims, 3);
		assert_int_equal(t->dim[0], m->config.n_experts);
		hth_hf_close(&h);
		hth_model_close(m);
		check_same(mixtures[i], "as an MLX folder", path, want, n);
		assert_ok(hth_remove_tree(path, &err));
		hth_free(want);
	}
}

static void check_tensor(const struct hth_hf *h, const char *name, enum hth_st_dtype dtype, int n_dims, const int64_t *dim)
{
	const struct hth_st_tensor *t = hth_hf_find(h, name, NULL);

	if (t == NULL)
		fail_msg("no %s", name);
	assert_int_equal(t->dtype, dtype);
	assert_int_equal(t->n_dims, n_dims);
	assert_memory_equal(t->dim, dim, (size_t)n_dims * sizeof(*dim));
}

/* Names and shapes as transformers' modeling_gpt_oss.py and modeling_gemma4.py have them. */
static void folders_hold_experts_under_the_published_names(void **state)
{
	static const struct {
		const char *golden, *name;
		int n_dims;
		int64_t dim[3];
	} tensors[] = {
		{"gptoss", "model.layers.0.mlp.experts.gate_up_proj", 3, {4, 32, 64}},
		{"gptoss", "model.layers.0.mlp.experts.gate_up_proj_bias", 2, {4, 64}},
		{"gptoss", "model.layers.0.mlp.experts.down_proj", 3, {4, 32, 32}},
		{"gptoss", "model.layers.0.mlp.experts.down_proj_bias", 2, {4, 32}},
		{"gptoss", "model.layers.1.mlp.router.bias", 1, {4}},
		{"gptoss", "model.layers.1.self_attn.sinks", 1, {4}},
		{"gemma4_moe", "model.layers.1.experts.gate_up_proj", 3, {5, 24, 16}},
		{"gemma4_moe", "model.layers.1.experts.down_proj", 3, {5, 16, 12}},
		{"gemma4_moe", "model.layers.1.router.proj.weight", 2, {5, 16}},
		{"gemma4_moe", "model.layers.1.router.scale", 1, {16}},
		{"gemma4_moe", "model.layers.1.router.per_expert_scale", 1, {5}},
	};
	char path[300], stem[80];
	struct hth_model *m;
	struct hth_hf h;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); i++) {
		snprintf(stem, sizeof(stem), "tests/golden/%s/tiny", tensors[i].golden);
		assert_ok(hth_model_open(stem, &m, &err));
		to_folder(m, in_tmp(path, "names"));
		assert_ok(hth_hf_open(&h, path, &err));
		check_tensor(&h, tensors[i].name, HTH_ST_F32, tensors[i].n_dims, tensors[i].dim);
		hth_hf_close(&h);
		hth_model_close(m);
		assert_ok(hth_remove_tree(path, &err));
	}
}

static void same_tensors(const char *was_path, const char *is_path, enum hth_quant quant, size_t expected)
{
	struct hth_gguf was, is;
	struct hth_err err;
	size_t n = 0;

	assert_ok(hth_gguf_open(&was, was_path, &err));
	assert_ok(hth_gguf_open(&is, is_path, &err));
	assert_int_equal(was.n_tensors, is.n_tensors);
	for (size_t i = 0; i < was.n_tensors; i++) {
		const struct hth_gguf_tensor *a = &was.tensors[i];
		char name[64];
		snprintf(name, sizeof(name), "%.*s", (int)a->name.bytes, a->name.data);
		const struct hth_gguf_tensor *b = hth_gguf_tensor(&is, name);
		if (b == NULL || a->quant != b->quant || a->bytes != b->bytes ||
		    memcmp(a->data, b->data, (size_t)a->bytes) != 0)
			fail_msg("%s is not as it was", name);
		n += a->quant == quant;
	}
	assert_int_equal(n, expected);
	hth_gguf_close(&was);
	hth_gguf_close(&is);
}

/* Every bit of experts in mxfp4 travels: as they were published, and as MLX has them, also beside affine matrices. */
static void mxfp4_experts_keep_every_bit_through_folders(void **state)
{
	static const char stem[] = "tests/golden/gptoss_mxfp4/tiny";
	const struct hth_to_folder_config forms[] = {
		{.type = HTH_QUANT_BF16}, {.type = HTH_QUANT_BF16, .mlx = true}, {.type = HTH_QUANT_F32, .mlx = true}};
	const int64_t blocks[] = {4, 64, 1, 16}, words[] = {4, 32, 4}, scales[] = {4, 32, 1};
	char first[300], folder[300], second[300];
	struct hth_model *m, *n;
	struct hth_hf h;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open(stem, &m, &err));
	to_gguf(m, "bf16", in_tmp(first, "one.gguf"));
	hth_model_close(m);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct hth_to_folder_config cfg = forms[i];
		struct hth_to_folder_result r;
		assert_ok(hth_model_open_to_write(first, &m, &err));
		cfg.model = m;
		cfg.keep_mxfp4 = true;
		cfg.out_path = in_tmp(folder, "between");
		assert_ok(hth_to_folder(&cfg, &r, &err));
		assert_int_equal(r.kept, cfg.mlx ? 6 : 4);
		hth_model_close(m);
		assert_ok(hth_hf_open(&h, folder, &err));
		if (cfg.mlx) {
			check_tensor(&h, "model.layers.1.mlp.experts.up_proj.weight", HTH_ST_U32, 3, words);
			check_tensor(&h, "model.layers.1.mlp.experts.up_proj.scales", HTH_ST_U8, 3, scales);
		} else {
			check_tensor(&h, "model.layers.1.mlp.experts.gate_up_proj_blocks", HTH_ST_U8, 4, blocks);
			check_tensor(&h, "model.layers.1.mlp.experts.gate_up_proj_scales", HTH_ST_U8, 3, blocks);
		}
		hth_hf_close(&h);
		assert_ok(hth_model_open_to_write(folder, &n, &err));
		to_gguf(n, "bf16", in_tmp(second, "two.gguf"));
		hth_model_close(n);
		same_tensors(first, second, HTH_QUANT_MXFP4, 6);
		assert_ok(hth_remove_tree(folder, &err));
	}
}

/* Of the golden's folder as it is: what transformers wrote. */
static void a_folder_in_mxfp4_is_copied_bit_for_bit(void **state)
{
	static const char stem[] = "tests/golden/gptoss_mxfp4/tiny";
	char path[300];
	struct hth_model *m;
	struct hth_hf was, is;
	struct hth_to_folder_result r;
	struct hth_err err;
	size_t seen = 0;

	(void)state;
	assert_ok(hth_model_open_to_write(stem, &m, &err));
	struct hth_to_folder_config cfg = {
		.model = m, .out_path = in_tmp(path, "copy"), .type = HTH_QUANT_BF16, .keep_mxfp4 = true};
	assert_ok(hth_to_folder(&cfg, &r, &err));
	hth_model_close(m);
	assert_ok(hth_hf_open(&was, stem, &err));
	assert_ok(hth_hf_open(&is, path, &err));
	assert_int_equal(was.n_tensors, is.n_tensors);
	for (size_t i = 0; i < was.n_tensors; i++) {
		const struct hth_st_tensor *a = hth_hf_tensor(&was, i), *b = hth_hf_find(&is, a->name, NULL);
		if (b == NULL || a->dtype != b->dtype || a->bytes != b->bytes ||
		    memcmp(a->data, b->data, (size_t)a->bytes) != 0)
			fail_msg("%s is not as it was", a->name);
		seen += a->dtype == HTH_ST_U8;
	}
	assert_int_equal(seen, 8);
	assert_true(json_equal(json_object_get(was.config, "quantization_config"),
			       json_object_get(is.config, "quantization_config")));
	hth_hf_close(&was);
	hth_hf_close(&is);
}

/* 4 bits for the rest, which is worth less than mxfp4 for the experts; 2 bits are for all. */
static void experts_in_mxfp4_stay_so_beside_finer_affine_matrices(void **state)
{
	char path[300];
	struct hth_model *m, *q;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open("tests/golden/gptoss_mxfp4/tiny", &m, &err));
	for (int bits = 2; bits <= 8; bits += 3) {
		struct hth_to_folder_result r;
		struct hth_to_folder_config cfg = {.model = m,
						   .out_path = in_tmp(path, "bits"),
						   .mlx = true,
						   .keep_mxfp4 = true,
						   .type = HTH_QUANT_BF16,
						   .bits = bits,
						   .group = 32};
		assert_ok(hth_to_folder(&cfg, &r, &err));
		assert_int_equal(r.kept, bits == 2 ? 0 : 6);
		assert_ok(hth_model_open(path, &q, &err));
		for (int part = 0; part < HTH_EXPERT_PARTS; part++) {
			const struct hth_weight *a = &m->layers[1].experts[part].w[3];
			const struct hth_weight *b = &q->layers[1].experts[part].w[3];
			assert_true((a->quant == b->quant) == (bits > 2));
			if (bits > 2)
				assert_memory_equal(a->data, b->data, hth_weight_bytes(a));
		}
		hth_model_close(q);
		assert_ok(hth_remove_tree(path, &err));
	}
	hth_model_close(m);
}

/* 2 KB a file: most matrices have one of their own. */
static void shards_are_read_back_as_one_model(void **state)
{
	char path[300], index[640];
	struct hth_model *m;
	struct hth_to_folder_result r;
	struct hth_err err;
	int64_t n;

	(void)state;
	float *want = logits("tests/golden/qwen3/tiny", "tests/golden/qwen3/tiny", &n);
	assert_ok(hth_model_open("tests/golden/qwen3/tiny", &m, &err));
	struct hth_to_folder_config cfg = {
		.model = m, .out_path = in_tmp(path, "shards"), .type = HTH_QUANT_F32, .shard_bytes = 2048};
	assert_ok(hth_to_folder(&cfg, &r, &err));
	hth_model_close(m);
	assert_in_range(r.shards, 3, 1000);
	snprintf(index, sizeof(index), "%s/model.safetensors", path);
	assert_int_equal(hth_path_kind(index), HTH_PATH_NONE);
	snprintf(index, sizeof(index), "%s/model.safetensors.index.json", path);
	assert_int_equal(hth_path_kind(index), HTH_PATH_FILE);
	snprintf(index, sizeof(index), "%s/model-%05zu-of-%05zu.safetensors", path, r.shards, r.shards);
	assert_int_equal(hth_path_kind(index), HTH_PATH_FILE);
	check_same("tests/golden/qwen3/tiny", "in shards", path, want, n);
	hth_free(want);
}

static void a_folder_of_something_else_is_never_replaced(void **state)
{
	char path[300], file[320];
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open("tests/golden/qwen2/tiny", &m, &err));
	assert_ok(hth_mkdirs(in_tmp(path, "thesis"), &err));
	snprintf(file, sizeof(file), "%s/thesis.tex", path);
	assert_ok(hth_file_write(file, "x", 1, &err));
	struct hth_to_folder_config cfg = {.model = m, .out_path = path, .type = HTH_QUANT_F32};
	struct hth_to_folder_result r;
	assert_fails(hth_to_folder(&cfg, &r, &err), HTH_ERR_EXISTS, "--overwrite");
	cfg.overwrite = true;
	assert_fails(hth_to_folder(&cfg, &r, &err), HTH_ERR_EXISTS, "thesis.tex");
	assert_int_equal(hth_path_kind(file), HTH_PATH_FILE);
	hth_model_close(m);
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
	char path[300];
	struct hth_model *m;
	struct hth_err err;
	enum hth_status st = HTH_ERR_MEMORY;

	(void)state;
	assert_ok(hth_model_open("tests/golden/llama/tied.gguf", &m, &err));
	struct hth_to_folder_config cfg = {.model = m, .out_path = in_tmp(path, "m"), .type = HTH_QUANT_F16};
	struct hth_to_folder_result r;
	for (uint64_t nth = 1; st != HTH_OK; nth += 1 + nth / 16) {
		hth_mem_fail_at(nth, true);
		st = hth_to_folder(&cfg, &r, &err);
		hth_mem_fail_at(0, false);
		if (st != HTH_OK)
			assert_int_equal(hth_path_kind(path), HTH_PATH_NONE);
	}
	hth_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folder_to_gguf_to_folder_keeps_logits),
		cmocka_unit_test(mlx_folders_of_layers_that_recur_keep_logits),
		cmocka_unit_test(gguf_keeps_the_golden_ggufs_weights),
		cmocka_unit_test(mlx_folders_are_read_as_they_were_meant),
		cmocka_unit_test(a_model_opened_to_be_written_lays_out_one_tensor_at_a_time),
		cmocka_unit_test(mlx_folders_of_experts_keep_logits),
		cmocka_unit_test(folders_hold_experts_under_the_published_names),
		cmocka_unit_test(mxfp4_experts_keep_every_bit_through_folders),
		cmocka_unit_test(a_folder_in_mxfp4_is_copied_bit_for_bit),
		cmocka_unit_test(experts_in_mxfp4_stay_so_beside_finer_affine_matrices),
		cmocka_unit_test(shards_are_read_back_as_one_model),
		cmocka_unit_test(a_folder_of_something_else_is_never_replaced),
		cmocka_unit_test(lack_of_memory_leaves_nothing_behind),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
