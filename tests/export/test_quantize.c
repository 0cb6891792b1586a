/* Quantised and fused files: they load, predict as they should, are the same for any number of threads, and need little
 * memory. */
#include "../base/tempdir.h"
#include "../models/golden.h"
#include "base/machine.h"
#include "data/dataset.h"
#include "export/fuse.h"
#include "export/quantize.h"
#include "infer/perplexity.h"
#include "small.h"

/* Loss of the small random model's copies against the model's 6.033 nats: measured 0.002 (q8_0), 0.005 (q6_k, q4_k_m),
 * 0.008 (q5_0); four times that. A wrong row order or a wrong block gives 0.2 and more. */
#define Q8_TOLERANCE 0.008
#define Q6_TOLERANCE 0.02
#define Q4_TOLERANCE 0.032

static enum hth_status quantize(const struct hth_gguf *g, const char *mix, struct hth_pool *pool,
				const struct hth_imatrix *im, const char *out, struct hth_quantize_result *r,
				struct hth_err *err)
{
	struct hth_quantize_config cfg = {
		.from = g, .mix = hth_mix_find(mix), .out_path = out, .importance = im, .pool = pool};

	assert_non_null(cfg.mix);
	return hth_quantize(&cfg, r, err);
}

/* A few rows of tokens, all of them targets. */
static void make_rows(struct hth_dataset *d, struct hth_arena *arena)
{
	uint64_t seed = 3;

	*d = (struct hth_dataset){.n = 6};
	d->items = hth_arena_calloc(arena, d->n, sizeof *d->items);
	for (size_t i = 0; i < d->n; i++) {
		struct hth_example *e = &d->items[i].tokens;
		e->n = 40;
		e->ids = hth_arena_calloc(arena, e->n, sizeof *e->ids);
		e->target = hth_arena_calloc(arena, e->n, 1);
		for (size_t t = 0; t < e->n; t++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			e->ids[t] = (int32_t)((seed >> 40) % SMALL_VOCAB);
			e->target[t] = t > 0;
		}
		e->n_targets = (uint32_t)e->n - 1;
	}
}

static double loss_of(const char *path)
{
	struct hth_device_config dev_cfg = {.compute = HTH_COMPUTE_F32};
	const struct hth_backend *b = hth_backend_find("cpu");
	struct hth_perplexity_config cfg = {.adapter = -1};
	struct hth_perplexity p;
	struct hth_dataset d;
	struct hth_arena arena;
	struct hth_device *dev;
	struct hth_model *m;
	struct hth_err err;

	hth_arena_init(&arena, 1 << 20);
	make_rows(&d, &arena);
	assert_ok(b->open(&dev_cfg, &dev, &err));
	assert_ok(hth_model_open(path, &m, &err));
	assert_ok(hth_model_prepare(m, b, dev, false, &err));
	assert_ok(hth_perplexity(m, &d, &cfg, &p, &err));
	double loss = p.nll / (double)p.n_targets;
	hth_perplexity_clear(&p);
	hth_model_close(m);
	b->close(dev);
	hth_arena_clear(&arena);
	return loss;
}

static void quantised_files_load_and_predict_nearly_the_same(void **state)
{
	static const struct {
		const char *mix;
		double tolerance;
		enum hth_quant of_most;
	} cases[] = {{"f32", 1e-6, HTH_QUANT_F32},           {"f16", 0.001, HTH_QUANT_F16},
		     {"bf16", 0.005, HTH_QUANT_BF16},        {"q8_0", Q8_TOLERANCE, HTH_QUANT_Q8_0},
		     {"q6_k", Q6_TOLERANCE, HTH_QUANT_Q6_K}, {"q4_k_m", Q4_TOLERANCE, HTH_QUANT_Q4_K},
		     {"q5_0", Q4_TOLERANCE, HTH_QUANT_Q5_0}};
	struct hth_gguf g = {0};
	struct hth_quantize_result r;
	struct hth_err err;

	(void)state;
	small_write(temp("small.gguf"), -1);
	assert_ok(hth_gguf_open(&g, temp("small.gguf"), &err));
	double want = loss_of(temp("small.gguf"));
	assert_true(want > 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_ok(quantize(&g, cases[i].mix, NULL, NULL, temp("out.gguf"), &r, &err));
		double got = loss_of(temp("out.gguf"));
		if (!(fabs(got - want) <= cases[i].tolerance))
			fail_msg("%s: loss %.6f, expected %.6f within %g", cases[i].mix, got, want, cases[i].tolerance);
		assert_true(r.of_type[cases[i].of_most] >= 8);
		assert_int_equal(r.requantised, 0);
	}
	hth_gguf_close(&g);
}

static void metadata_travels_and_the_file_says_its_type(void **state)
{
	struct hth_gguf g = {0}, out = {0};
	struct hth_quantize_result r;
	struct hth_gguf_str name;
	struct hth_err err;
	int64_t type = 0;

	(void)state;
	small_write(temp("small.gguf"), -1);
	assert_ok(hth_gguf_open(&g, temp("small.gguf"), &err));
	assert_ok(quantize(&g, "q5_k_m", NULL, NULL, temp("out.gguf"), &r, &err));
	assert_ok(hth_gguf_open(&out, temp("out.gguf"), &err));
	assert_ok(hth_gguf_int(&out, "general.file_type", 0, 100, -1, &type, &err));
	assert_int_equal(type, 17);
	assert_ok(hth_gguf_string(&out, "general.name", &name, &err));
	assert_true(hth_gguf_str_equal(name, "small"));
	assert_non_null(hth_gguf_find(&out, "tokenizer.chat_template"));
	assert_int_equal(out.n_tensors, g.n_tensors);
	assert_int_equal(r.of_type[HTH_QUANT_Q5_K] + r.of_type[HTH_QUANT_Q6_K] + r.of_type[HTH_QUANT_F32], g.n_tensors);
	hth_gguf_close(&out);
	/* Out of blocks into others: done, and said. */
	assert_ok(hth_gguf_open(&out, temp("out.gguf"), &err));
	assert_ok(quantize(&out, "q4_0", NULL, NULL, temp("again.gguf"), &r, &err));
	assert_true(r.requantised >= 8);
	hth_gguf_close(&out);
	hth_gguf_close(&g);
}

static void same_bytes(const char *a, const char *b)
{
	struct hth_map x = {0}, y = {0};
	struct hth_err err;

	assert_ok(hth_map_open(&x, a, &err));
	assert_ok(hth_map_open(&y, b, &err));
	assert_int_equal(x.bytes, y.bytes);
	assert_memory_equal(x.data, y.data, x.bytes);
	hth_map_close(&x);
	hth_map_close(&y);
}

static void the_thread_count_changes_no_byte(void **state)
{
	static const char *const names[] = {"q4_k_m", "q3_k_s", "q4_0"};
	struct hth_gguf g = {0};
	struct hth_quantize_result r;
	struct hth_pool *pool;
	struct hth_err err;

	(void)state;
	small_write(temp("small.gguf"), -1);
	assert_ok(hth_gguf_open(&g, temp("small.gguf"), &err));
	assert_ok(hth_pool_new(3, &pool, &err));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		assert_ok(quantize(&g, names[i], NULL, NULL, temp("one.gguf"), &r, &err));
		assert_ok(quantize(&g, names[i], pool, NULL, temp("three.gguf"), &r, &err));
		same_bytes(temp("one.gguf"), temp("three.gguf"));
	}
	hth_pool_free(pool);
	hth_gguf_close(&g);
}

/* An entry whose importance is all in one column: that column is kept better than without. */
static void importance_moves_precision_to_its_columns(void **state)
{
	static const char name[] = "blk.0.attn_q.weight";
	struct hth_imatrix im = {0};
	struct hth_gguf g = {0}, out = {0};
	struct hth_quantize_result r;
	struct hth_err err;
	double error[2] = {0};

	(void)state;
	small_write(temp("small.gguf"), -1);
	assert_ok(hth_gguf_open(&g, temp("small.gguf"), &err));
	struct hth_imatrix_entry *e = hth_imatrix_add(&im, name, strlen(name), SMALL_WIDTH, 1);
	assert_non_null(e);
	for (int c = 0; c < SMALL_WIDTH; c++)
		e->sum[c] = c % 8 == 0 ? 100 : 0.01f;
	e->count[0] = 1;
	assert_ok(hth_imatrix_sort(&im, "test", &err));
	for (int way = 0; way < 2; way++) {
		assert_ok(quantize(&g, "q4_k_s", NULL, way ? &im : NULL, temp("out.gguf"), &r, &err));
		assert_int_equal(r.unweighted, way ? 1 + SMALL_LAYERS * SMALL_MATRICES - 1 : 0);
		assert_ok(hth_gguf_open(&out, temp("out.gguf"), &err));
		const struct hth_gguf_tensor *was = hth_gguf_tensor(&g, name), *is = hth_gguf_tensor(&out, name);
		for (int64_t row = 0; row < SMALL_WIDTH; row++) {
			float a[SMALL_WIDTH], b[SMALL_WIDTH];
			memcpy(a, was->data + (size_t)row * sizeof a, sizeof a);
			hth_quant_format(is->quant)->unpack(is->data + (uint64_t)row * (is->bytes / SMALL_WIDTH), b,
							    SMALL_WIDTH);
			for (int c = 0; c < SMALL_WIDTH; c += 8)
				error[way] += (double)(a[c] - b[c]) * (double)(a[c] - b[c]);
		}
		hth_gguf_close(&out);
	}
	assert_true(error[1] < 0.5 * error[0]);
	/* And one of another model is refused. */
	im.entries[0].cols = SMALL_WIDTH / 2;
	assert_fails(quantize(&g, "q4_k_s", NULL, &im, temp("out.gguf"), &r, &err), HTH_ERR_SHAPE, "another model");
	hth_imatrix_clear(&im);
	hth_gguf_close(&g);
}

static void a_weight_that_is_not_finite_is_named_and_no_file_stays(void **state)
{
	struct hth_gguf g = {0};
	struct hth_quantize_result r;
	struct hth_err err;

	(void)state;
	small_write(temp("small.gguf"), SMALL_VOCAB * SMALL_WIDTH + 1000);
	assert_ok(hth_gguf_open(&g, temp("small.gguf"), &err));
	assert_fails(quantize(&g, "q4_k_m", NULL, NULL, temp("out.gguf"), &r, &err), HTH_ERR_VALUE,
		     "blk.0.attn_q.weight");
	assert_int_equal(hth_path_kind(temp("out.gguf")), HTH_PATH_NONE);
	assert_int_equal(temp_count(), 1);
	hth_gguf_close(&g);
}

static void fused_rows_are_base_plus_scaled_product_in_logical_order(void **state)
{
	/* Two heads of four rows, stored with rotation pairs side by side: stored row 1 is logical row 2. */
	float a[2 * 3] = {1, 2, 3, 10, 20, 30}, b[8 * 2] = {0}, row[3] = {0.5f, 0, -1};
	struct hth_lora lora = {
		.a = {.rows = 2, .cols = 3, .value = a}, .b = {.rows = 8, .cols = 2, .value = b}, .scale = 2};
	float mag[8] = {0};

	(void)state;
	b[2 * 2] = 1; /* logical row 2 */
	b[2 * 2 + 1] = 0.5f;
	hth_fuse_row(&lora, 0, 2, row);
	assert_float_equal(row[0], 0.5f + 2 * (1 + 5), 0);
	assert_float_equal(row[1], 2 * (2 + 10), 0);
	assert_float_equal(row[2], -1 + 2 * (3 + 15), 0);
	hth_fuse_row(&lora, 0, 0, row); /* nothing to add */
	assert_float_equal(row[0], 12.5f, 0);
	/* With magnitudes the row gets its length, whatever it had; a row of zeros stays. */
	float zero[3] = {0}, plain[3] = {3, 0, -4};
	lora.mag = (struct hth_param){.rows = 1, .cols = 8, .value = mag};
	mag[0] = 10;
	hth_fuse_row(&lora, 0, 0, plain);
	assert_float_equal(plain[0], 6, 1e-6);
	assert_float_equal(plain[2], -8, 1e-6);
	hth_fuse_row(&lora, 0, 0, zero);
	assert_true(zero[0] == 0 && zero[1] == 0 && zero[2] == 0);
}

static void fused_rows_of_experts_take_their_own_product(void **state)
{
	/* Two experts of two rows, rank 1. */
	float a[2 * 2] = {1, 2, 3, 4}, b[4] = {0, 10, 0, 100}, row[2] = {0};
	struct hth_lora lora = {
		.a = {.rows = 2, .cols = 2, .value = a}, .b = {.rows = 4, .cols = 1, .value = b}, .scale = 1};

	(void)state;
	hth_fuse_row(&lora, 1, 1, row);
	assert_true(row[0] == 300 && row[1] == 400);
	hth_fuse_row(&lora, 0, 1, row);
	assert_true(row[0] == 310 && row[1] == 420);
}

/* The fused file without adapter against the base with it: the same loss. */
static void a_fused_file_predicts_as_base_and_adapter(void **state)
{
	struct golden g;
	struct hth_arena arena;
	struct hth_lora_set set;
	struct hth_perplexity with, fused;
	struct hth_quantize_result r;
	struct hth_dataset d;
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (int k = 0; k < GOLDEN_COUNT; k++) {
		golden_open(&g, golden_names[k], hth_backend_find("cpu"), false);
		hth_arena_init(&arena, 1 << 22);
		make_rows(&d, &arena);
		struct hth_lora **loras = golden_loras(&g, "step10", &arena, false);
		struct hth_lora **const *list = (struct hth_lora * *const *)&loras;
		assert_ok(hth_lora_set_init(&set, g.m, list, 1, &err));
		struct hth_quantize_config cfg = {.from = g.m->gguf,
						  .mix = hth_mix_find("f32"),
						  .out_path = temp("fused.gguf"),
						  .model = g.m,
						  .loras = loras};
		assert_ok(hth_quantize(&cfg, &r, &err));
		assert_int_equal(r.fused, 14);
		struct hth_perplexity_config run = {.loras = &set, .adapter = 0};
		assert_ok(hth_perplexity(g.m, &d, &run, &with, &err));
		assert_ok(hth_model_open(temp("fused.gguf"), &m, &err));
		assert_ok(hth_model_prepare(m, g.backend, g.dev, false, &err));
		run = (struct hth_perplexity_config){.adapter = -1};
		assert_ok(hth_perplexity(m, &d, &run, &fused, &err));
		assert_true(fabs(with.nll - fused.nll) <= 1e-5 * with.nll);
		hth_perplexity_clear(&with);
		hth_perplexity_clear(&fused);
		hth_model_close(m);
		hth_lora_set_clear(&set);
		hth_arena_clear(&arena);
		golden_close(&g);
	}
}

/* DoRA, fused modules, whole weights (tools/golden_adapters.py): as above. */
static void check_fused(const char *base, const char *adapter, size_t tensors, bool tied)
{
	struct hth_perplexity with, fused;
	struct hth_quantize_result r;
	struct hth_adapter a;
	struct hth_replacements whole;
	struct hth_adapter_names names;
	struct hth_lora **loras, **const *list = (struct hth_lora * *const *)&loras;
	struct hth_lora_set set;
	struct hth_arena arena;
	struct hth_dataset d;
	struct hth_model *m;
	struct golden g;
	struct hth_err err;
	char path[128];

	golden_open_stem(&g, base, ".gguf", hth_backend_find("cpu"), false, 2);
	hth_arena_init(&arena, 1 << 22);
	make_rows(&d, &arena);
	hth_model_adapter_names(g.m, &names);
	snprintf(path, sizeof path, "tests/golden/adapters/%s-step10", adapter);
	assert_ok(hth_adapter_read(path, &names, &a, &err));
	assert_ok(hth_model_loras(g.m, &a, &arena, &loras, &err));
	assert_ok(hth_model_replacements(g.m, &a, &arena, &whole, &err));
	assert_ok(hth_lora_set_init(&set, g.m, list, 1, &err));
	hth_lora_set_replace(&set, 0, &whole);
	struct hth_quantize_config cfg = {.from = g.m->gguf,
					  .mix = hth_mix_find("f32"),
					  .out_path = temp("fused.gguf"),
					  .model = g.m,
					  .loras = loras,
					  .replaced = &whole};
	enum hth_status status = hth_quantize(&cfg, &r, &err);
	assert_int_equal(status, HTH_OK);
	assert_int_equal(r.fused, tensors);
	struct hth_perplexity_config run = {.loras = &set, .adapter = 0};
	assert_ok(hth_perplexity(g.m, &d, &run, &with, &err));
	assert_ok(hth_model_open(temp("fused.gguf"), &m, &err));
	assert_int_equal(m->config.tied, tied);
	assert_ok(hth_model_prepare(m, g.backend, g.dev, false, &err));
	run = (struct hth_perplexity_config){.adapter = -1};
	assert_ok(hth_perplexity(m, &d, &run, &fused, &err));
	assert_true(fabs(with.nll - fused.nll) <= 1e-5 * with.nll);
	hth_perplexity_clear(&with);
	hth_perplexity_clear(&fused);
	hth_model_close(m);
	hth_lora_set_clear(&set);
	hth_adapter_clear(&a);
	hth_arena_clear(&arena);
	golden_close(&g);
}

static void magnitudes_fused_modules_and_whole_weights_are_fused(void **state)
{
	(void)state;
	check_fused("tests/golden/llama/untied", "dora", 14, false);
	check_fused("tests/golden/qwen2/tiny", "dora-bias", 14, true);
	check_fused("tests/golden/phi3/tiny", "dora-fused", 8, false);
	check_fused("tests/golden/phi3/tiny", "fused", 8, false);
	check_fused("tests/golden/llama/untied", "whole", 4 + 7, false);
	check_fused("tests/golden/qwen2/tiny", "whole-tied", 4 + 1, false); /* its head stays the base's */
	check_fused("tests/golden/gemma/tiny", "whole-head", 2 + 1 + 3, false);
}

/* One matrix of 8192 x 2048 as bf16, 32 MiB: more than the writer may hold. */
static void write_large(const char *path)
{
	const int64_t ne[2] = {2048, 8192};
	struct hth_gguf_writer *w;
	struct hth_err err;
	uint16_t row[2048];

	assert_ok(hth_gguf_writer_new(path, &w, &err));
	assert_ok(hth_gguf_put_string(w, "general.architecture", "llama", 5, &err));
	assert_ok(hth_gguf_add_tensor(w, "blk.0.ffn_up.weight", 2, ne, HTH_QUANT_BF16, &err));
	for (int64_t r = 0; r < ne[1]; r++) {
		for (int i = 0; i < 2048; i++)
			row[i] = (uint16_t)(0x3C00 + ((r * 31 + i * 7) & 0x3FF));
		assert_ok(hth_gguf_write_data(w, row, sizeof row, &err));
	}
	assert_ok(hth_gguf_writer_commit(w, &err));
}

static void sample_memory(void *ctx, uint64_t done, uint64_t total)
{
	struct hth_mem_use now;
	uint64_t *most = ctx;

	assert_true(done <= total);
	hth_mem_sample(&now);
	*most = now.anon_bytes > *most ? now.anon_bytes : *most;
}

static void memory_stays_below_one_tensor(void **state)
{
	struct hth_gguf g = {0};
	struct hth_quantize_result r;
	struct hth_mem_use before;
	struct hth_err err;
	uint64_t most = 0;

	(void)state;
	write_large(temp("large.gguf"));
	assert_ok(hth_gguf_open(&g, temp("large.gguf"), &err));
	struct hth_quantize_config cfg = {.from = &g,
					  .mix = hth_mix_find("f16"),
					  .out_path = temp("out.gguf"),
					  .progress = sample_memory,
					  .ctx = &most};
	hth_mem_sample(&before);
	assert_ok(hth_quantize(&cfg, &r, &err));
	assert_int_equal(r.tensor_bytes, (uint64_t)2048 * 8192 * 2);
	if (most > before.anon_bytes + ((uint64_t)12 << 20))
		fail_msg("%llu bytes more than before, expected at most 12 MiB",
			 (unsigned long long)(most - before.anon_bytes));
	hth_gguf_close(&g);
}

static void failing_memory_leaves_nothing_behind(void **state)
{
	struct hth_gguf g = {0};
	struct hth_quantize_result r;
	struct hth_err err;
	uint64_t nth = 1;

	(void)state;
	assert_ok(hth_gguf_open(&g, "tests/golden/llama/tied.gguf", &err));
	for (;; nth++) {
		hth_mem_fail_at(nth, false);
		enum hth_status s = quantize(&g, "q8_0", NULL, NULL, temp("out.gguf"), &r, &err);
		hth_mem_fail_at(0, false);
		if (s == HTH_OK)
			break;
		assert_int_equal(s, HTH_ERR_MEMORY);
		/* The last allocation comes after the file took its place: it is whole then. */
		if (hth_path_kind(temp("out.gguf")) == HTH_PATH_FILE) {
			struct hth_gguf whole = {0};
			assert_ok(hth_gguf_open(&whole, temp("out.gguf"), &err));
			hth_gguf_close(&whole);
			remove(temp("out.gguf"));
		}
		assert_int_equal(temp_count(), 0);
	}
	assert_true(nth > 4);
	assert_fails(quantize(&g, "q8_0", NULL, NULL, temp("no/such/folder/out.gguf"), &r, &err), HTH_ERR_IO, "folder");
	hth_gguf_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(quantised_files_load_and_predict_nearly_the_same),
		temp_test(metadata_travels_and_the_file_says_its_type),
		temp_test(the_thread_count_changes_no_byte),
		temp_test(importance_moves_precision_to_its_columns),
		temp_test(a_weight_that_is_not_finite_is_named_and_no_file_stays),
		cmocka_unit_test(fused_rows_are_base_plus_scaled_product_in_logical_order),
		cmocka_unit_test(fused_rows_of_experts_take_their_own_product),
		temp_test(a_fused_file_predicts_as_base_and_adapter),
		temp_test(magnitudes_fused_modules_and_whole_weights_are_fused),
		temp_test(memory_stays_below_one_tensor),
		temp_test(failing_memory_leaves_nothing_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
