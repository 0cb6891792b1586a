/* A small random model of width 256 for tests of exports: real metadata (from tests/golden/llama/tied.gguf), random
 * matrices, so that every block format fits its rows. 2 layers, 264 tokens, about 1.2 million weights. */
#ifndef HTH_TESTS_EXPORT_SMALL_H
#define HTH_TESTS_EXPORT_SMALL_H

#include "base/mem.h"
#include "base/rng.h"
#include "formats/gguf.h"
#include "support.h"

enum { SMALL_WIDTH = 256, SMALL_FF = 512, SMALL_LAYERS = 2, SMALL_VOCAB = 264, SMALL_KV = 128 };

static const struct {
	const char *name;
	int64_t rows, cols;
} small_matrices[] = {
	{"attn_q", SMALL_WIDTH, SMALL_WIDTH}, {"attn_k", SMALL_KV, SMALL_WIDTH},
	{"attn_v", SMALL_KV, SMALL_WIDTH},    {"attn_output", SMALL_WIDTH, SMALL_WIDTH},
	{"ffn_gate", SMALL_FF, SMALL_WIDTH},  {"ffn_up", SMALL_FF, SMALL_WIDTH},
	{"ffn_down", SMALL_WIDTH, SMALL_FF},
};
enum { SMALL_MATRICES = sizeof small_matrices / sizeof small_matrices[0] };

/* Roughly normal, the same on every machine. */
static inline float small_value(uint64_t *seed)
{
	float sum = 0;
	for (int i = 0; i < 4; i++) {
		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		sum += (float)(*seed >> 40) / (float)(1 << 24) - 0.5f;
	}
	return sum;
}

/* Rows of f32; a value that is not finite stands at `bad` (counted over all matrices), -1: nowhere. */
static inline void small_data(struct hth_gguf_writer *w, int64_t rows, int64_t cols, float scale, uint64_t *seed,
			      int64_t *bad)
{
	struct hth_err err;
	float row[SMALL_FF];

	for (int64_t r = 0; r < rows; r++) {
		for (int64_t c = 0; c < cols; c++, *bad -= *bad >= 0)
			row[c] = *bad == 0 ? (float)(1 / (double)0.0f) : scale * small_value(seed);
		assert_ok(hth_gguf_write_data(w, row, (size_t)cols * sizeof *row, &err));
	}
}

static inline void small_layout(struct hth_gguf_writer *w, bool data, int64_t bad)
{
	const int64_t embed[2] = {SMALL_WIDTH, SMALL_VOCAB}, vector[1] = {SMALL_WIDTH};
	uint64_t seed = 7;
	float ones[SMALL_WIDTH];
	struct hth_err err;
	char name[64];

	for (int i = 0; i < SMALL_WIDTH; i++)
		ones[i] = 1;
	if (data)
		small_data(w, SMALL_VOCAB, SMALL_WIDTH, 0.1f, &seed, &bad);
	else
		assert_ok(hth_gguf_add_tensor(w, "token_embd.weight", 2, embed, HTH_QUANT_F32, &err));
	for (int i = 0; i < SMALL_LAYERS * SMALL_MATRICES; i++) {
		int64_t rows = small_matrices[i % SMALL_MATRICES].rows, cols = small_matrices[i % SMALL_MATRICES].cols;
		const int64_t ne[2] = {cols, rows};
		snprintf(name, sizeof name, "blk.%d.%s.weight", i / SMALL_MATRICES,
			 small_matrices[i % SMALL_MATRICES].name);
		if (data)
			small_data(w, rows, cols, 0.15f, &seed, &bad);
		else
			assert_ok(hth_gguf_add_tensor(w, name, 2, ne, HTH_QUANT_F32, &err));
	}
	for (int i = 0; i < 2 * SMALL_LAYERS + 1; i++) {
		snprintf(name, sizeof name, i == 0 ? "output_norm.weight" : "blk.%d.%s_norm.weight", (i - 1) / 2,
			 i % 2 ? "attn" : "ffn");
		if (data)
			assert_ok(hth_gguf_write_data(w, ones, sizeof ones, &err));
		else
			assert_ok(hth_gguf_add_tensor(w, name, 1, vector, HTH_QUANT_F32, &err));
	}
}

static inline void small_write(const char *path, int64_t bad)
{
	static const struct {
		const char *key;
		int64_t value;
	} ints[] = {{"llama.block_count", SMALL_LAYERS},     {"llama.embedding_length", SMALL_WIDTH},
		    {"llama.feed_forward_length", SMALL_FF}, {"llama.context_length", 128},
		    {"llama.attention.head_count", 4},       {"llama.attention.head_count_kv", 2},
		    {"llama.rope.dimension_count", 64},      {"llama.vocab_size", SMALL_VOCAB}};
	struct hth_gguf g = {0};
	struct hth_gguf_writer *w;
	struct hth_err err;

	assert_ok(hth_gguf_open(&g, "tests/golden/llama/tied.gguf", &err));
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	for (size_t i = 0; i < g.n_kv; i++)
		if (memcmp(g.kv[i].key.data, "tokenizer.", 10) == 0)
			assert_ok(hth_gguf_put_kv(w, &g.kv[i], &err));
	assert_ok(hth_gguf_put_string(w, "general.architecture", "llama", 5, &err));
	assert_ok(hth_gguf_put_string(w, "general.name", "small", 5, &err));
	assert_ok(hth_gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, &err));
	for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++)
		assert_ok(hth_gguf_put_int(w, ints[i].key, HTH_GGUF_U32, ints[i].value, &err));
	small_layout(w, false, -1);
	small_layout(w, true, bad);
	assert_ok(hth_gguf_writer_commit(w, &err));
	hth_gguf_close(&g);
}

#endif
