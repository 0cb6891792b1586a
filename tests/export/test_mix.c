/* Mixes against llama.cpp's, tensor by tensor (tests/golden/mix), and what its API did not say. */
#include "base/mem.h"
#include "export/mix.h"
#include "../base/tempdir.h"

struct shape {
	const char *name;
	int layers;
	int64_t cols, down;
	int heads, kv;
	bool tied;
	int experts;
};

static const struct shape shapes[] = {
	{"smol", 30, 576, 1536, 9, 3, true, 0},     {"wide", 32, 256, 512, 32, 8, false, 0},
	{"big", 80, 256, 512, 64, 8, false, 0},     {"odd", 7, 40, 200, 4, 4, false, 0},
	{"experts", 20, 256, 512, 32, 8, false, 8},
};

static const char letters[HTH_QUANT_COUNT] = {
	[HTH_QUANT_F32] = 'f',  [HTH_QUANT_F16] = 'h',  [HTH_QUANT_BF16] = 'b', [HTH_QUANT_Q4_0] = '0',
	[HTH_QUANT_Q4_1] = '1', [HTH_QUANT_Q5_0] = '5', [HTH_QUANT_Q5_1] = '6', [HTH_QUANT_Q8_0] = '8',
	[HTH_QUANT_Q2_K] = 'C', [HTH_QUANT_Q3_K] = 'D', [HTH_QUANT_Q4_K] = 'E', [HTH_QUANT_Q5_K] = 'F',
	[HTH_QUANT_Q6_K] = 'G',
};

/* One tensor: announced in the first pass, zeros in the second. experts 0: a matrix of two rows; rows 1: a vector. */
static void put(struct hth_gguf_writer *w, bool data, const char *name, int64_t cols, int rows, int experts)
{
	const int64_t ne[3] = {cols, rows, experts};
	enum hth_quant q = rows == 1 ? HTH_QUANT_F32 : HTH_QUANT_F16;
	size_t bytes = (size_t)(cols * rows * (experts > 0 ? experts : 1)) * (rows == 1 ? 4 : 2);
	struct hth_err err;

	if (!data) {
		assert_ok(hth_gguf_add_tensor(w, name, rows == 1 ? 1 : experts > 0 ? 3 : 2, ne, q, &err));
		return;
	}
	void *zeros = hth_calloc(1, bytes);
	assert_non_null(zeros);
	assert_ok(hth_gguf_write_data(w, zeros, bytes, &err));
	hth_free(zeros);
}

static void put_layer(struct hth_gguf_writer *w, bool data, const struct shape *s, int layer)
{
	static const char *const attention[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
	char name[64];
	const char *tail = s->experts > 0 ? "_exps" : "";

	snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
	put(w, data, name, s->cols, 1, 0);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "blk.%d.%s.weight", layer, attention[i]);
		put(w, data, name, s->cols, 2, 0);
	}
	if (s->experts > 0) {
		snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
		put(w, data, name, s->cols, 2, 0);
	}
	snprintf(name, sizeof name, "blk.%d.ffn_gate%s.weight", layer, tail);
	put(w, data, name, s->cols, 2, s->experts);
	snprintf(name, sizeof name, "blk.%d.ffn_up%s.weight", layer, tail);
	put(w, data, name, s->cols, 2, s->experts);
	snprintf(name, sizeof name, "blk.%d.ffn_down%s.weight", layer, tail);
	put(w, data, name, s->down, 2, s->experts);
}

static void open_shape(const struct shape *s, struct hth_gguf *g)
{
	struct hth_gguf_writer *w;
	struct hth_err err;

	assert_ok(hth_gguf_writer_new(temp("shape.gguf"), &w, &err));
	assert_ok(hth_gguf_put_string(w, "general.architecture", "llama", 5, &err));
	assert_ok(hth_gguf_put_int(w, "llama.block_count", HTH_GGUF_U32, s->layers, &err));
	assert_ok(hth_gguf_put_int(w, "llama.attention.head_count", HTH_GGUF_U32, s->heads, &err));
	assert_ok(hth_gguf_put_int(w, "llama.attention.head_count_kv", HTH_GGUF_U32, s->kv, &err));
	assert_ok(hth_gguf_put_int(w, "llama.expert_count", HTH_GGUF_U32, s->experts, &err));
	for (int data = 0; data < 2; data++) {
		put(w, data, "token_embd.weight", s->cols, 2, 0);
		put(w, data, "output_norm.weight", s->cols, 1, 0);
		if (!s->tied)
			put(w, data, "output.weight", s->cols, 2, 0);
		for (int l = 0; l < s->layers; l++)
			put_layer(w, data, s, l);
	}
	assert_ok(hth_gguf_writer_commit(w, &err));
	assert_ok(hth_gguf_open(g, temp("shape.gguf"), &err));
}

/* "mix letters" lines of a golden file against hth_mix_choose. */
static void check_lines(const struct shape *s, const struct hth_gguf *g, char *text)
{
	enum hth_quant *type = hth_calloc(g->n_tensors, sizeof *type);
	struct hth_mix_counts counts;
	struct hth_err err;
	int n_mixes = 0;

	assert_non_null(type);
	for (char *line = text; *line != '\0'; n_mixes++) {
		char *end = strchr(line, '\n'), *want = strchr(line, ' ');
		assert_non_null(end);
		assert_non_null(want);
		*end = *want++ = '\0';
		const struct hth_mix *mix = hth_mix_find(line);
		assert_non_null(mix);
		assert_ok(hth_mix_choose(mix, g, false, type, &counts, &err));
		assert_int_equal(strlen(want), g->n_tensors);
		for (size_t i = 0; i < g->n_tensors; i++)
			if (letters[type[i]] != want[i])
				fail_msg("%s %s \"%.*s\": %s, expected %c", s->name, line,
					 (int)g->tensors[i].name.bytes, g->tensors[i].name.data,
					 hth_quant_format(type[i])->name, want[i]);
		line = end + 1;
	}
	assert_int_equal(n_mixes, 16);
	hth_free(type);
}

static void every_tensor_of_every_mix_has_the_type_it_has_in_llama_cpp(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		struct hth_gguf g = {0};
		struct hth_err err;
		char path[128], *text;
		size_t bytes;
		open_shape(&shapes[i], &g);
		snprintf(path, sizeof path, "tests/golden/mix/%s.txt", shapes[i].name);
		assert_ok(hth_file_read(path, 1 << 20, &text, &bytes, &err));
		check_lines(&shapes[i], &g, text);
		hth_free(text);
		hth_gguf_close(&g);
	}
}

static void importance_guards_the_first_down_projections_of_q4_0(void **state)
{
	const struct shape s = {"", 16, 256, 512, 8, 8, true, 0};
	struct hth_gguf g = {0};
	struct hth_mix_counts counts;
	struct hth_err err;
	enum hth_quant type[2 + 16 * 8];
	int q4_1 = 0;

	(void)state;
	open_shape(&s, &g);
	assert_int_equal(g.n_tensors, sizeof type / sizeof type[0]);
	assert_ok(hth_mix_choose(hth_mix_find("q4_0"), &g, true, type, &counts, &err));
	for (size_t i = 0; i < g.n_tensors; i++)
		q4_1 += type[i] == HTH_QUANT_Q4_1;
	assert_int_equal(q4_1, 2); /* an eighth of 16 layers */
	assert_int_equal(type[2 + 7], HTH_QUANT_Q4_1);
	assert_int_equal(type[2 + 8 + 7], HTH_QUANT_Q4_1);
	assert_int_equal(type[2 + 16 + 7], HTH_QUANT_Q4_0);
	assert_int_equal(counts.fallback, 0);
	hth_gguf_close(&g);
}

static void fallbacks_and_kept_tensors_are_counted(void **state)
{
	struct hth_gguf g = {0};
	struct hth_mix_counts counts;
	struct hth_err err;
	enum hth_quant type[2 + 30 * 8];

	(void)state;
	open_shape(&shapes[0], &g); /* smol: only ffn_down has rows of whole 256 */
	assert_ok(hth_mix_choose(hth_mix_find("q4_k_m"), &g, false, type, &counts, &err));
	assert_int_equal(counts.fallback, 1 + 30 * 6);
	assert_int_equal(counts.kept, 0);
	assert_ok(hth_mix_choose(hth_mix_find("f16"), &g, false, type, &counts, &err));
	assert_int_equal(counts.fallback, 0);
	hth_gguf_close(&g);
}

static void names_are_found_in_any_case_and_others_are_not(void **state)
{
	(void)state;
	assert_string_equal(hth_mix_find("Q4_K_M")->name, "q4_k_m");
	assert_string_equal(hth_mix_find("q4_k")->name, "q4_k_m");
	assert_string_equal(hth_mix_find("q3_k")->name, "q3_k_m");
	assert_null(hth_mix_find("q4_k_x"));
	assert_null(hth_mix_find(""));
	assert_int_equal(hth_mix_find("bf16")->file_type, 32);
	assert_int_equal(hth_mix_find("q5_k_m")->file_type, 17);
	assert_null(hth_mix_at(-1));
	assert_null(hth_mix_at(18));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(every_tensor_of_every_mix_has_the_type_it_has_in_llama_cpp),
		temp_test(importance_guards_the_first_down_projections_of_q4_0),
		temp_test(fallbacks_and_kept_tensors_are_counted),
		cmocka_unit_test(names_are_found_in_any_case_and_others_are_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
