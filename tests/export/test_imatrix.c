/* Importance files: round trip, llama.cpp's older form, damage; and calibration against numbers made by hand. */
#include "../base/tempdir.h"
#include "../models/golden.h"
#include "export/calibrate.h"
#include "export/imatrix.h"

/* Means of squares in f32 against the same in double. */
#define MEAN_TOLERANCE 1e-5

static void put_i32(uint8_t **at, int32_t v)
{
	for (int i = 0; i < 4; i++)
		*(*at)++ = (uint8_t)((uint32_t)v >> 8 * i & 0xFF);
}

static void put_f32(uint8_t **at, float f)
{
	memcpy(*at, &f, 4); /* tests run little-endian */
	*at += 4;
}

/* Two entries: "b" of 3 values in 2 calls, "a.weight" of 2 values in 4; chunks 7 of "text.txt". */
static size_t old_file(uint8_t out[256])
{
	uint8_t *at = out;

	put_i32(&at, 2);
	put_i32(&at, 1);
	*at++ = 'b';
	put_i32(&at, 2);
	put_i32(&at, 3);
	put_f32(&at, 2);
	put_f32(&at, 4);
	put_f32(&at, 0);
	put_i32(&at, 8);
	memcpy(at, "a.weight", 8);
	at += 8;
	put_i32(&at, 4);
	put_i32(&at, 2);
	put_f32(&at, 8);
	put_f32(&at, 1);
	put_i32(&at, 7);
	put_i32(&at, 8);
	memcpy(at, "text.txt", 8);
	return (size_t)(at + 8 - out);
}

static enum hth_status read_bytes(const uint8_t *data, size_t n, struct hth_imatrix *im, struct hth_err *err)
{
	FILE *f = fopen(temp("im"), "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
	return hth_imatrix_read(temp("im"), im, err);
}

static struct hth_gguf_str name_of(const char *s)
{
	return (struct hth_gguf_str){s, strlen(s)};
}

static void the_old_form_is_read(void **state)
{
	uint8_t data[256];
	size_t n = old_file(data);
	struct hth_imatrix im;
	struct hth_err err;

	(void)state;
	assert_ok(read_bytes(data, n, &im, &err));
	assert_int_equal(im.n, 2);
	assert_int_equal(im.chunks, 7);
	assert_string_equal(im.dataset, "text.txt");
	const struct hth_imatrix_entry *a = hth_imatrix_find(&im, name_of("a.weight")),
				       *b = hth_imatrix_find(&im, name_of("b"));
	assert_ptr_equal(a, &im.entries[0]);
	assert_ptr_equal(b, &im.entries[1]);
	assert_int_equal(a->cols, 2);
	assert_float_equal(a->mean[0], 2, 0);
	assert_float_equal(a->mean[1], 0.25f, 0);
	assert_float_equal(b->mean[1], 2, 0);
	assert_null(hth_imatrix_find(&im, name_of("a")));
	assert_null(hth_imatrix_find(&im, name_of("a.weights")));
	hth_imatrix_clear(&im);
	/* Chunks and text are optional. */
	assert_ok(read_bytes(data, n - 16, &im, &err));
	assert_int_equal(im.chunks, 0);
	hth_imatrix_clear(&im);
}

static void old_files_cut_anywhere_or_with_wild_numbers_are_refused(void **state)
{
	uint8_t data[256], wild[256];
	size_t n = old_file(data);
	struct hth_imatrix im;
	struct hth_err err;

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		if (cut == n - 16 || cut == n - 12)
			continue; /* whole without the optional end */
		assert_int_equal(read_bytes(data, cut, &im, &err), HTH_ERR_FORMAT);
		assert_null(im.entries);
	}
	/* Every byte set to 255: an error or a file that reads, never a crash; sizes stay within the file's. */
	for (size_t i = 0; i < n; i++) {
		memcpy(wild, data, n);
		wild[i] = 0xFF;
		if (read_bytes(wild, n, &im, &err) == HTH_OK)
			hth_imatrix_clear(&im);
	}
	memcpy(wild, data, n);
	wild[0] = 0;
	assert_fails(read_bytes(wild, n, &im, &err), HTH_ERR_FORMAT, "0 entries");
	memcpy(wild, data, n);
	memcpy(wild + 17, "\0\0\xC0\x7F", 4); /* a value that is NaN */
	assert_fails(read_bytes(wild, n, &im, &err), HTH_ERR_VALUE, "\"b\"");
	memcpy(wild + 17, "\0\0\x80\xBF", 4); /* -1 */
	assert_fails(read_bytes(wild, n, &im, &err), HTH_ERR_VALUE, "-1");
	assert_fails(hth_imatrix_read(temp("none"), &im, &err), HTH_ERR_NOTFOUND, "none");
}

static void make_two(struct hth_imatrix *im)
{
	struct hth_err err;
	struct hth_imatrix_entry *e;

	*im = (struct hth_imatrix){.chunks = 5, .chunk_size = 512};
	im->dataset = hth_strdup("rows.jsonl");
	e = hth_imatrix_add(im, "blk.1.ffn_down.weight", 21, 3, 2);
	assert_non_null(e);
	for (int i = 0; i < 6; i++)
		e->sum[i] = (float)i * 0.3f;
	e->count[0] = 3;
	e->count[1] = 0; /* an expert that nothing reached */
	e = hth_imatrix_add(im, "blk.0.attn_q.weight", 19, 2, 1);
	assert_non_null(e);
	e->sum[0] = 1.1f;
	e->sum[1] = 7;
	e->count[0] = 11;
	assert_ok(hth_imatrix_sort(im, "test", &err));
}

static void what_is_written_is_read_again(void **state)
{
	struct hth_imatrix im, back;
	struct hth_err err;

	(void)state;
	make_two(&im);
	assert_ok(hth_imatrix_write(temp("im.gguf"), &im, &err));
	assert_ok(hth_imatrix_read(temp("im.gguf"), &back, &err));
	assert_int_equal(back.n, 2);
	assert_int_equal(back.chunks, 5);
	assert_int_equal(back.chunk_size, 512);
	assert_string_equal(back.dataset, "rows.jsonl");
	for (size_t i = 0; i < 2; i++) {
		size_t n = (size_t)(im.entries[i].cols * im.entries[i].matrices);
		assert_string_equal(back.entries[i].name, im.entries[i].name);
		assert_int_equal(back.entries[i].matrices, im.entries[i].matrices);
		assert_memory_equal(back.entries[i].sum, im.entries[i].sum, n * sizeof(float));
		assert_memory_equal(back.entries[i].mean, im.entries[i].mean, n * sizeof(float));
	}
	assert_float_equal(back.entries[1].mean[2], 0.2f, 1e-7);
	assert_float_equal(back.entries[1].mean[5], 1, 0); /* no count: neutral */
	hth_imatrix_clear(&back);
	hth_imatrix_clear(&im);
}

static void damaged_gguf_forms_are_refused(void **state)
{
	struct hth_imatrix im, back;
	struct hth_err err;
	char *data;
	size_t n;

	(void)state;
	make_two(&im);
	assert_ok(hth_imatrix_write(temp("im.gguf"), &im, &err));
	hth_imatrix_clear(&im);
	assert_ok(hth_file_read(temp("im.gguf"), 1 << 20, &data, &n, &err));
	/* The last 28 bytes pad the file to 32. */
	for (size_t cut = 0; cut < n - 28; cut++)
		assert_int_not_equal(read_bytes((uint8_t *)data, cut, &back, &err), HTH_OK);
	for (size_t i = 0; i < n; i++) {
		char was = data[i];
		data[i] = (char)~was;
		if (read_bytes((uint8_t *)data, n, &back, &err) == HTH_OK)
			hth_imatrix_clear(&back);
		data[i] = was;
	}
	hth_free(data);
	/* A model is no importance matrix. */
	assert_fails(hth_imatrix_read("tests/golden/llama/tied.gguf", &back, &err), HTH_ERR_FORMAT, "in_sum2");
}

static void two_entries_of_one_name_are_refused(void **state)
{
	struct hth_imatrix im = {0};
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_non_null(hth_imatrix_add(&im, "x", 1, 1, 1));
	assert_fails(hth_imatrix_sort(&im, "here", &err), HTH_ERR_FORMAT, "here: \"x\" is there twice");
	hth_imatrix_clear(&im);
	assert_null(hth_imatrix_add(&im, "x", 1, 0, 1));
	assert_null(hth_imatrix_add(&im, "x", 1, INT64_MAX, INT64_MAX));
}

static void failing_memory_is_survived(void **state)
{
	uint8_t data[256];
	size_t n = old_file(data);
	struct hth_imatrix im;
	struct hth_err err;

	(void)state;
	assert_ok(read_bytes(data, n, &im, &err));
	assert_ok(hth_imatrix_write(temp("im.gguf"), &im, &err));
	hth_imatrix_clear(&im);
	for (int form = 0; form < 2; form++)
		for (uint64_t nth = 1;; nth++) {
			hth_mem_fail_at(nth, false);
			enum hth_status s = hth_imatrix_read(temp(form ? "im.gguf" : "im"), &im, &err);
			hth_mem_fail_at(0, false);
			if (s == HTH_OK) {
				hth_imatrix_clear(&im);
				break;
			}
			assert_int_equal(s, HTH_ERR_MEMORY);
			assert_null(im.entries);
		}
}

/* ---- calibration ---- */

static void one_row(struct hth_dataset *d, struct hth_arena *arena, const int32_t *ids, size_t n)
{
	*d = (struct hth_dataset){.n = 1};
	d->items = hth_arena_calloc(arena, 1, sizeof *d->items);
	struct hth_example *e = &d->items[0].tokens;
	e->n = n;
	e->ids = hth_arena_calloc(arena, n, sizeof *e->ids);
	e->target = hth_arena_calloc(arena, n, 1);
	for (size_t i = 0; i < n; i++) {
		e->ids[i] = ids[i];
		e->target[i] = i > 0;
	}
	e->n_targets = (uint32_t)n - 1;
}

/* The input of the first layer's q, k and v is the normed embedding: computed here in double. */
static void first_inputs(const struct hth_model *m, const int32_t *ids, size_t n, double *mean)
{
	int64_t width = m->config.width;
	const float *norm = (const float *)(const void *)m->layers[0].attn_norm.data;

	for (int64_t c = 0; c < width; c++)
		mean[c] = 0;
	for (size_t t = 0; t < n; t++) {
		float x[64];
		double square = 0;
		hth_quant_format(m->embed.quant)->unpack(hth_weight_row(&m->embed, ids[t]), x, width);
		for (int64_t c = 0; c < width; c++)
			square += (double)x[c] * (double)x[c];
		double scale = 1 / sqrt(square / (double)width + (double)m->config.norm_eps);
		for (int64_t c = 0; c < width; c++) {
			double y = (double)x[c] * scale * (double)norm[c];
			mean[c] += y * y / (double)n;
		}
	}
}

static void calibration_finds_the_mean_squares_of_inputs(void **state)
{
	static const int32_t ids[] = {5, 17, 200, 42, 42, 99, 3};
	enum { N = sizeof ids / sizeof ids[0] };
	struct golden g;
	struct hth_arena arena;
	struct hth_dataset d;
	struct hth_imatrix im;
	struct hth_err err;
	double want[64], loss = 0;

	(void)state;
	golden_open(&g, "tied", hth_backend_find("cpu"), false);
	hth_arena_init(&arena, 1 << 20);
	one_row(&d, &arena, ids, N);
	struct hth_calibrate_config cfg = {.model = g.m, .adapter = -1, .data = &d};
	assert_ok(hth_calibrate(&cfg, &im, &loss, &err));
	assert_int_equal(im.n, 14);
	assert_true(loss > 1);
	/* The last row predicts nothing, but its keys and values would be seen by rows behind it: it is computed. */
	first_inputs(g.m, ids, N, want);
	const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
	for (int k = 0; k < 3; k++) {
		const struct hth_imatrix_entry *e = hth_imatrix_find(&im, name_of(names[k]));
		assert_non_null(e);
		assert_int_equal(e->cols, g.m->config.width);
		assert_float_equal(e->count[0], N, 0);
		for (int64_t c = 0; c < e->cols; c++)
			if (!(fabs((double)e->mean[c] - want[c]) <= MEAN_TOLERANCE * (1 + want[c])))
				fail_msg("%s, column %lld: %g, expected %g", names[k], (long long)c, (double)e->mean[c],
					 want[c]);
	}
	const struct hth_imatrix_entry *last = hth_imatrix_find(&im, name_of("blk.1.ffn_down.weight"));
	assert_int_equal(last->cols, g.m->config.n_ff);
	assert_float_equal(last->count[0], N - 1, 0);   /* only rows that predict a target get that far */
	assert_string_equal(g.m->backend->name, "cpu"); /* the model is as it was */
	hth_imatrix_clear(&im);
	hth_arena_clear(&arena);
	golden_close(&g);
}

static void calibration_is_the_same_for_any_number_of_threads_and_hears_the_adapter(void **state)
{
	static const int32_t ids[] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 100, 101, 102};
	struct hth_imatrix im[3];
	struct hth_err err;

	(void)state;
	for (int way = 0; way < 3; way++) {
		struct golden g;
		struct hth_arena arena;
		struct hth_dataset d;
		struct hth_lora_set set;
		golden_open_threads(&g, "untied", hth_backend_find("cpu"), false, way == 1 ? 3 : 1);
		hth_arena_init(&arena, 1 << 22);
		one_row(&d, &arena, ids, sizeof ids / sizeof ids[0]);
		struct hth_lora **loras = golden_loras(&g, "step10", &arena, false);
		struct hth_lora **const *list = (struct hth_lora * *const *)&loras;
		assert_ok(hth_lora_set_init(&set, g.m, list, 1, &err));
		struct hth_calibrate_config cfg = {
			.model = g.m, .loras = &set, .adapter = way == 2 ? 0 : -1, .data = &d};
		assert_ok(hth_calibrate(&cfg, &im[way], NULL, &err));
		hth_lora_set_clear(&set);
		hth_arena_clear(&arena);
		golden_close(&g);
	}
	for (size_t i = 0; i < im[0].n; i++)
		assert_memory_equal(im[0].entries[i].sum, im[1].entries[i].sum,
				    (size_t)im[0].entries[i].cols * sizeof(float));
	const struct hth_imatrix_entry *base = hth_imatrix_find(&im[0], name_of("blk.1.ffn_down.weight")),
				       *tuned = hth_imatrix_find(&im[2], name_of("blk.1.ffn_down.weight"));
	assert_true(memcmp(base->sum, tuned->sum, (size_t)base->cols * sizeof(float)) != 0);
	for (int way = 0; way < 3; way++)
		hth_imatrix_clear(&im[way]);
}

/* What goes into the first layer's experts does not depend on where it goes: over all experts the sums of one choice are
 * those that each expert has when all are chosen, and half those of two choices. */
static void experts_are_summed_apart_by_what_is_sent_to_them(void **state)
{
	static const int32_t ids[] = {5, 17, 200, 42, 42, 99, 3, 8, 61};
	enum { N = sizeof ids / sizeof ids[0], E = 4, C = 16 };
	static const char *const names[] = {"blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"};
	struct hth_imatrix im[3];
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct golden g;
		struct hth_arena arena;
		struct hth_dataset d;
		golden_open_stem(&g, "tests/golden/mixtral/tiny", "", hth_backend_find("cpu"), false, 1 + i);
		g.m->config.n_chosen = i == 2 ? E : i + 1;
		hth_arena_init(&arena, 1 << 20);
		one_row(&d, &arena, ids, N);
		struct hth_calibrate_config cfg = {.model = g.m, .adapter = -1, .data = &d};
		assert_ok(hth_calibrate(&cfg, &im[i], NULL, &err));
		hth_arena_clear(&arena);
		golden_close(&g);
	}
	for (int k = 0; k < 2; k++) {
		const struct hth_imatrix_entry *e[3];
		for (int i = 0; i < 3; i++) {
			e[i] = hth_imatrix_find(&im[i], name_of(names[k]));
			assert_non_null(e[i]);
			assert_int_equal(e[i]->matrices, E);
			assert_int_equal(e[i]->cols, C);
		}
		float counts[2] = {0};
		for (int x = 0; x < E; x++) {
			counts[0] += e[0]->count[x];
			counts[1] += e[1]->count[x];
			assert_int_equal((int)e[2]->count[x], N);
		}
		assert_int_equal((int)counts[0], N);
		assert_int_equal((int)counts[1], 2 * N);
		for (int c = 0; c < C; c++) {
			double one = 0, two = 0, all = (double)e[2]->sum[c];
			for (int x = 0; x < E; x++) {
				one += (double)e[0]->sum[x * C + c];
				two += (double)e[1]->sum[x * C + c];
				assert_true(fabs((double)e[2]->sum[x * C + c] - all) <= 1e-5 * (1 + all));
			}
			assert_true(fabs(one - all) <= 1e-5 * (1 + all));
			assert_true(fabs(two - 2 * all) <= 2e-5 * (1 + all));
		}
	}
	const struct hth_imatrix_entry *down = hth_imatrix_find(&im[0], name_of("blk.0.ffn_down_exps.weight"));
	assert_non_null(down);
	assert_int_equal(down->cols, 24);
	for (int i = 0; i < 3; i++)
		hth_imatrix_clear(&im[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(the_old_form_is_read),
		temp_test(old_files_cut_anywhere_or_with_wild_numbers_are_refused),
		temp_test(what_is_written_is_read_again),
		temp_test(damaged_gguf_forms_are_refused),
		cmocka_unit_test(two_entries_of_one_name_are_refused),
		temp_test(failing_memory_is_survived),
		cmocka_unit_test(calibration_finds_the_mean_squares_of_inputs),
		cmocka_unit_test(experts_are_summed_apart_by_what_is_sent_to_them),
		cmocka_unit_test(calibration_is_the_same_for_any_number_of_threads_and_hears_the_adapter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
