/* Malformed safetensors files (RELIABILITY.md 1c), adapters in their three layouts, importance matrices. */
#include "corpus.h"

#include "formats/gguf.h"
#include "formats/safetensors.h"

/* ---- safetensors ---- */

static void header_with(const char *name, uint64_t says, const char *header, size_t bytes, size_t data)
{
	static uint8_t out[1 << 16];

	assert_true(8 + bytes + data <= sizeof out);
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(says >> 8 * i & 0xFF);
	memcpy(out + 8, header, bytes);
	memset(out + 8 + bytes, 0, data);
	corpus_put(name, out, 8 + bytes + data);
}

#define T(dtype, shape, from, to)                                                                                      \
	"{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static void safetensors(void)
{
	static const struct {
		const char *name, *header;
		size_t data;
	} c[] = {
		{"st/ST-ok.safetensors", "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("U8", "[4]", "8", "12") "}", 12},
		{"st/ST-no-object.safetensors", "[1,2,3,4]", 0},
		{"st/ST-space-first.safetensors", " {}", 0},
		{"st/ST-offset-negative.safetensors", "{\"a\":" T("F32", "[2]", "-8", "0") "}", 8},
		{"st/ST-end-before-begin.safetensors", "{\"a\":" T("F32", "[2]", "8", "0") "}", 8},
		{"st/ST-end-past-file.safetensors", "{\"a\":" T("F32", "[2]", "0", "8") "}", 7},
		{"st/ST-end-2e63.safetensors", "{\"a\":" T("F32", "[2]", "0", "9223372036854775807") "}", 8},
		{"st/ST-end-2e64.safetensors", "{\"a\":" T("F32", "[2]", "0", "18446744073709551616") "}", 8},
		{"st/ST-offsets-1.safetensors",
		 "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8},
		{"st/ST-offsets-3.safetensors",
		 "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8},
		{"st/ST-offset-real.safetensors", "{\"a\":" T("F32", "[2]", "0.0", "8") "}", 8},
		{"st/ST-span-one-short.safetensors", "{\"a\":" T("F32", "[2]", "0", "7") "}", 7},
		{"st/ST-span-one-over.safetensors", "{\"a\":" T("F32", "[2]", "0", "9") "}", 9},
		{"st/ST-overlap.safetensors",
		 "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "4", "12") "}", 12},
		{"st/ST-same-data.safetensors",
		 "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "0", "8") "}", 8},
		{"st/ST-hole.safetensors",
		 "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "12", "20") "}", 20},
		{"st/ST-hole-first.safetensors", "{\"a\":" T("F32", "[2]", "4", "12") "}", 12},
		{"st/ST-trailing-byte.safetensors", "{\"a\":" T("F32", "[2]", "0", "8") "}", 9},
		{"st/ST-name-twice.safetensors",
		 "{\"a\":" T("F32", "[2]", "0", "8") ",\"a\":" T("F32", "[2]", "8", "16") "}", 16},
		{"st/ST-dtype-unknown.safetensors", "{\"a\":" T("F33", "[2]", "0", "8") "}", 8},
		{"st/ST-dtype-missing.safetensors", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8},
		{"st/ST-key-too-many.safetensors",
		 "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8},
		{"st/ST-shape-wraps.safetensors", "{\"a\":" T("F32", "[4294967296,4294967296]", "0", "0") "}", 0},
		{"st/ST-shape-wraps-to-8.safetensors",
		 "{\"a\":" T("U8", "[9223372036854775807,2,2]", "0", "8") "}", 8},
		{"st/ST-shape-negative.safetensors", "{\"a\":" T("F32", "[-2]", "0", "8") "}", 8},
		{"st/ST-ok-rank-0.safetensors", "{\"a\":" T("F32", "[]", "0", "4") "}", 4},
		{"st/ST-metadata-number.safetensors", "{\"__metadata__\":{\"a\":1}}", 0},
		{"st/ST-metadata-list.safetensors", "{\"__metadata__\":[]}", 0},
		{"st/ST-metadata-object.safetensors", "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0},
		{"st/ST-name-surrogate.safetensors", "{\"\\ud800\":" T("F32", "[2]", "0", "8") "}", 8},
		{"st/ST-name-no-utf-8.safetensors", "{\"\xFF\":" T("F32", "[2]", "0", "8") "}", 8},
		{"st/ST-name-with-nul.safetensors", "{\"a\\u0000b\":" T("F32", "[2]", "0", "8") "}", 8},
		{"st/ST-two-documents.safetensors", "{}{}", 0},
	};
	static char big[40000];

	for (size_t i = 0; i < COUNT_OF(c); i++)
		header_with(c[i].name, strlen(c[i].header), c[i].header, strlen(c[i].header), c[i].data);
	header_with("st/ST-header-0.safetensors", 0, "{}", 2, 0);
	header_with("st/ST-header-past-file.safetensors", 3, "{}", 2, 0);
	header_with("st/ST-header-minus-1.safetensors", UINT64_MAX, "{}", 2, 0);
	header_with("st/ST-header-minus-5.safetensors", UINT64_MAX - 4, "{}", 2, 0);
	header_with("st/ST-header-over-100-mb.safetensors", 100000001, "{}", 2, 0);
	corpus_put("st/ST-cut-in-length.safetensors", "\2\0\0\0\0\0\0", 7);
	corpus_put("st/ST-empty.safetensors", "", 0);
	size_t n = (size_t)snprintf(big, sizeof big, "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"shape\":[1");
	while (n < 30000)
		n += (size_t)snprintf(big + n, sizeof big - n, ",1");
	n += (size_t)snprintf(big + n, sizeof big - n, "]}}");
	header_with("st/ST-rank-15000.safetensors", n, big, n, 4);
	n = (size_t)snprintf(big, sizeof big, "{\"__metadata__\":");
	memset(big + n, '[', 20000);
	header_with("st/ST-deep.safetensors", n + 20000, big, n + 20000, 0);
}

/* ---- adapters ---- */

static const float half[64] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};

struct lora {
	const char *name, *weights, *config, *a, *b;
	int64_t a_dim[2], b_dim[2];
	float fill;
};

static void lora(const struct lora *x)
{
	static float values[64];
	char path[512];
	struct hth_err err;
	struct hth_st_tensor t[2];
	size_t n = 0;

	for (size_t i = 0; i < 64; i++)
		values[i] = x->fill;
	const char *names[2] = {x->a, x->b};
	const int64_t *dims[2] = {x->a_dim, x->b_dim};
	for (int i = 0; i < 2; i++)
		if (names[i] != NULL)
			t[n++] = (struct hth_st_tensor){.name = names[i],
							.dtype = HTH_ST_F32,
							.n_dims = 2,
							.dim = {dims[i][0], dims[i][1]},
							.data = (const uint8_t *)values,
							.bytes = (uint64_t)(4 * dims[i][0] * dims[i][1])};
	snprintf(path, sizeof path, "%s/%s", x->name, x->weights);
	if (n > 0)
		assert_ok(hth_safetensors_write(corpus_path(path), t, n, NULL, 0, &err));
	snprintf(path, sizeof path, "%s/adapter_config.json", x->name);
	if (x->config != NULL)
		corpus_text(path, x->config);
}

#define PEFT "adapter_model.safetensors"
#define MLX "adapters.safetensors"
#define Q "base_model.model.model.layers.0.self_attn.q_proj."
#define QA Q "lora_A.weight"
#define QB Q "lora_B.weight"
#define SOUND "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4}"
#define MLX_SOUND "{\"fine_tune_type\":\"lora\",\"lora_parameters\":{\"rank\":2,\"scale\":2.0}}"
#define MQ "model.layers.0.self_attn.q_proj."

static void adapters(void)
{
	static const struct lora c[] = {
		{"adapter/A-ok-peft", PEFT, SOUND, QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-config-missing", PEFT, NULL, QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-weights-missing", PEFT, SOUND, NULL, NULL, {0}, {0}, 0},
		{"adapter/A-b-missing", PEFT, SOUND, QA, NULL, {2, 3}, {0}, 0.5f},
		{"adapter/A-a-missing", PEFT, SOUND, NULL, QB, {0}, {4, 2}, 0.5f},
		{"adapter/A-halves-disagree", PEFT, SOUND, QA, QB, {2, 3}, {4, 3}, 0.5f},
		{"adapter/A-rank-of-config", PEFT, "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":4}", QA, QB, {2, 3}, {4, 2},
		 0.5f},
		{"adapter/A-rank-0", PEFT, "{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":4}", QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-rank-2e63", PEFT, "{\"peft_type\":\"LORA\",\"r\":9223372036854775807,\"lora_alpha\":4}", QA, QB,
		 {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-empty-tensors", PEFT, SOUND, QA, QB, {0, 3}, {4, 0}, 0.5f},
		{"adapter/A-nan", PEFT, SOUND, QA, QB, {2, 3}, {4, 2}, (float)NAN},
		{"adapter/A-infinite", PEFT, SOUND, QA, QB, {2, 3}, {4, 2}, (float)INFINITY},
		{"adapter/A-alpha-infinite", PEFT, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e999}", QA, QB, {2, 3},
		 {4, 2}, 0.5f},
		{"adapter/A-no-lora", PEFT, "{\"peft_type\":\"IA3\"}", QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-module-outside", PEFT, SOUND, "../../etc/passwd", QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-config-cut", PEFT, "{\"peft_type\":\"LO", QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-config-a-list", PEFT, "[]", QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-ok-pattern-bomb", PEFT,
		 "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"rank_pattern\":{\"(a*)*(a*)*(a*)*(a*)*b\":3}}", QA, QB,
		 {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-pattern-no-regex", PEFT,
		 "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"rank_pattern\":{\"((\":3}}", QA, QB, {2, 3}, {4, 2}, 0.5f},
		{"adapter/A-ok-mlx", MLX, MLX_SOUND, MQ "lora_a", MQ "lora_b", {3, 2}, {2, 4}, 0.5f},
		{"adapter/A-mlx-rank", MLX, MLX_SOUND, MQ "lora_a", MQ "lora_b", {3, 3}, {3, 4}, 0.5f},
		{"adapter/A-mlx-no-parameters", MLX, "{\"fine_tune_type\":\"lora\"}", MQ "lora_a", MQ "lora_b", {3, 2}, {2, 4},
		 0.5f},
		{"adapter/A-mlx-full", MLX, "{\"fine_tune_type\":\"full\"}", MQ "lora_a", MQ "lora_b", {3, 2}, {2, 4}, 0.5f},
		{"adapter/A-mlx-b-missing", MLX, MLX_SOUND, MQ "lora_a", NULL, {3, 2}, {0}, 0.5f},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		lora(&c[i]);
	corpus_text("adapter/A-pickle/adapter_model.bin", "\x80\2}q\1.");
	corpus_text("adapter/A-pickle/adapter_config.json", SOUND);
}

struct gguf_lora {
	const char *name, *type, *arch, *a, *b;
	bool alpha;
	int64_t a_ne[2], b_ne[2];
};

static void gguf_lora(const struct gguf_lora *x)
{
	static const float values[64 * 32];
	struct hth_gguf_writer *w;
	struct hth_err err;
	const char *names[2] = {x->a, x->b};
	const int64_t *ne[2] = {x->a_ne, x->b_ne};

	assert_ok(hth_gguf_writer_new(corpus_path(x->name), &w, &err));
	assert_ok(hth_gguf_put_string(w, "general.type", "adapter", 7, &err));
	assert_ok(hth_gguf_put_string(w, "general.architecture", x->arch, strlen(x->arch), &err));
	assert_ok(hth_gguf_put_string(w, "adapter.type", x->type, strlen(x->type), &err));
	if (x->alpha)
		assert_ok(hth_gguf_put_f32(w, "adapter.lora.alpha", 4, &err));
	for (int i = 0; i < 2; i++)
		if (names[i] != NULL)
			assert_ok(hth_gguf_add_tensor(w, names[i], 2, ne[i], HTH_QUANT_F32, &err));
	for (int i = 0; i < 2; i++)
		if (names[i] != NULL)
			assert_ok(hth_gguf_write_data(w, values, (size_t)(ne[i][0] * ne[i][1] * 4), &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

/* For tests/golden/llama/tied.gguf: width 20, 4 heads of 8. */
static void gguf_adapters(void)
{
	static const char a[] = "blk.0.attn_q.weight.lora_a", b[] = "blk.0.attn_q.weight.lora_b";
	static const char far_a[] = "blk.4294967296.attn_q.weight.lora_a",
			  far_b[] = "blk.4294967296.attn_q.weight.lora_b";
	static const struct gguf_lora c[] = {
		{"adapter/A-ok.gguf", "lora", "llama", a, b, true, {20, 2}, {2, 32}},
		{"adapter/A-no-alpha.gguf", "lora", "llama", a, b, false, {20, 2}, {2, 32}},
		{"adapter/A-control-vector.gguf", "vector", "llama", a, b, true, {20, 2}, {2, 32}},
		{"adapter/A-other-family.gguf", "lora", "qwen3", a, b, true, {20, 2}, {2, 32}},
		{"adapter/A-b-missing.gguf", "lora", "llama", a, NULL, true, {20, 2}, {0}},
		{"adapter/A-a-missing.gguf", "lora", "llama", NULL, b, true, {0}, {2, 32}},
		{"adapter/A-rank-disagrees.gguf", "lora", "llama", a, b, true, {20, 2}, {3, 32}},
		{"adapter/A-other-width.gguf", "lora", "llama", a, b, true, {21, 2}, {2, 32}},
		{"adapter/A-half-a-head.gguf", "lora", "llama", a, b, true, {20, 2}, {2, 31}},
		{"adapter/S6-layer-2e32.gguf", "lora", "llama", far_a, far_b, true, {20, 2}, {2, 32}},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++)
		gguf_lora(&c[i]);
}

/* ---- importance matrices ---- */

static void old_imatrix(const char *name, int32_t n, int32_t name_bytes, int32_t calls, int32_t values, size_t there,
			float value)
{
	struct bytes b = {.n = 0};

	put_u32(&b, (uint32_t)n);
	put_u32(&b, (uint32_t)name_bytes);
	put_raw(&b, "blk.0.attn_q.weight", 19);
	put_u32(&b, (uint32_t)calls);
	put_u32(&b, (uint32_t)values);
	for (size_t i = 0; i < there; i++)
		put_raw(&b, &value, 4);
	corpus_put(name, b.data, b.n);
}

static void gguf_imatrix(const char *name, const char *sums, const char *counts, int64_t n_counts, float value)
{
	const int64_t sums_ne[2] = {32, 1}, counts_ne[2] = {1, n_counts};
	float values[32];
	struct hth_gguf_writer *w;
	struct hth_err err;

	for (size_t i = 0; i < 32; i++)
		values[i] = value;
	assert_ok(hth_gguf_writer_new(corpus_path(name), &w, &err));
	assert_ok(hth_gguf_put_string(w, "general.type", "imatrix", 7, &err));
	assert_ok(hth_gguf_add_tensor(w, sums, 2, sums_ne, HTH_QUANT_F32, &err));
	if (counts != NULL)
		assert_ok(hth_gguf_add_tensor(w, counts, 2, counts_ne, HTH_QUANT_F32, &err));
	assert_ok(hth_gguf_write_data(w, values, sizeof values, &err));
	if (counts != NULL)
		assert_ok(hth_gguf_write_data(w, half, (size_t)n_counts * 4, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

/* For tests/golden/gptoss/tiny.gguf: width 32. */
static void imatrices(void)
{
	static const char sums[] = "blk.0.attn_q.weight.in_sum2", counts[] = "blk.0.attn_q.weight.counts";

	old_imatrix("imatrix/I-ok.dat", 1, 19, 2, 32, 32, 1);
	old_imatrix("imatrix/I-entries-2e31.dat", INT32_MAX, 19, 2, 32, 32, 1);
	old_imatrix("imatrix/I-entries-negative.dat", -1, 19, 2, 32, 32, 1);
	old_imatrix("imatrix/I-name-negative.dat", 1, -1, 2, 32, 32, 1);
	old_imatrix("imatrix/I-name-2e31.dat", 1, INT32_MAX, 2, 32, 32, 1);
	old_imatrix("imatrix/I-values-negative.dat", 1, 19, 2, -32, 32, 1);
	old_imatrix("imatrix/I-values-2e31.dat", 1, 19, 2, INT32_MAX, 32, 1);
	old_imatrix("imatrix/I-values-cut.dat", 1, 19, 2, 32, 31, 1);
	old_imatrix("imatrix/I-calls-negative.dat", 1, 19, -2, 32, 32, 1);
	old_imatrix("imatrix/I-value-negative.dat", 1, 19, 2, 32, 32, -1);
	old_imatrix("imatrix/I-value-nan.dat", 1, 19, 2, 32, 32, (float)NAN);
	old_imatrix("imatrix/I-other-width.dat", 1, 19, 2, 33, 33, 1);
	corpus_put("imatrix/I-empty.dat", "", 0);
	gguf_imatrix("imatrix/I-ok.gguf", sums, counts, 1, 1);
	gguf_imatrix("imatrix/I-counts-missing.gguf", sums, NULL, 1, 1);
	gguf_imatrix("imatrix/I-counts-too-many.gguf", sums, counts, 2, 1);
	gguf_imatrix("imatrix/I-value-infinite.gguf", sums, counts, 1, (float)INFINITY);
	gguf_imatrix("imatrix/I-name-of-nothing.gguf", ".in_sum2", ".counts", 1, 1);
	gguf_imatrix("imatrix/I-no-sums.gguf", "blk.0.attn_q.weight", counts, 1, 1);
}

void corpus_tensors(void)
{
	safetensors();
	adapters();
	gguf_adapters();
	imatrices();
}
