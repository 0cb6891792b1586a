/* Sound containers with hostile values in them (RELIABILITY.md 1b), as GGUF files and as folders, and models in several
 * files that do not belong together. */
#include "corpus.h"

#include "../models/edit_gguf.h"

#define TIED "tests/golden/llama/tied.gguf"
#define QWEN3 "tests/golden/qwen3/tiny"
#define GEMMA3 "tests/golden/gemma3/tiny"
#define MISTRAL "tests/golden/mistral/tiny"
#define INDEX "model.safetensors.index.json"
#define SHARD1 "\"model-00001-of-00002.safetensors\""

static void changed_models(void)
{
	static const struct {
		const char *name;
		struct edit edit;
	} c[] = {
		{"model/S1-heads-0.gguf", {EDIT_INT_KEY, .name = "llama.attention.head_count", .value = 0}},
		{"model/S1-heads-2e63.gguf", {EDIT_INT_KEY, .name = "llama.attention.head_count", .value = INT64_MAX}},
		{"model/S1-kv-heads-0.gguf", {EDIT_INT_KEY, .name = "llama.attention.head_count_kv", .value = 0}},
		{"model/S1-kv-heads-3.gguf", {EDIT_INT_KEY, .name = "llama.attention.head_count_kv", .value = 3}},
		{"model/S1-layers-0.gguf", {EDIT_INT_KEY, .name = "llama.block_count", .value = 0}},
		{"model/S1-layers-minus-1.gguf", {EDIT_INT_KEY, .name = "llama.block_count", .value = -1}},
		{"model/S1-layers-2e31.gguf", {EDIT_INT_KEY, .name = "llama.block_count", .value = (int64_t)1 << 31}},
		{"model/S1-layers-4000.gguf", {EDIT_INT_KEY, .name = "llama.block_count", .value = 4000}},
		{"model/S1-layers-a-text.gguf", {EDIT_TEXT_KEY, .name = "llama.block_count", .text = "2"}},
		{"model/S1-ok-layers-2.gguf", {EDIT_INT_KEY, .name = "llama.block_count", .value = 2}},
		{"model/S1-context-0.gguf", {EDIT_INT_KEY, .name = "llama.context_length", .value = 0}},
		{"model/S1-width-0.gguf", {EDIT_INT_KEY, .name = "llama.embedding_length", .value = 0}},
		{"model/S1-head-size-odd.gguf", {EDIT_INT_KEY, .name = "llama.attention.key_length", .value = 7}},
		{"model/S1-theta-nan.gguf", {EDIT_REAL_KEY, .name = "llama.rope.freq_base", .real = (float)NAN}},
		{"model/S1-epsilon-0.gguf",
		 {EDIT_REAL_KEY, .name = "llama.attention.layer_norm_rms_epsilon", .real = 0}},
		{"model/S1-norm-infinite.gguf",
		 {EDIT_FILL, .name = "blk.1.ffn_norm.weight", .real = (float)INFINITY}},
		{"model/S1-experts-2e20.gguf", {EDIT_INT_KEY, .name = "llama.expert_count", .value = 1 << 20}},
		{"model/S1-shape-transposed.gguf",
		 {EDIT_SHAPE, .name = "blk.0.attn_k.weight", .rows = 20, .cols = 16}},
		{"model/S6-layer-2e32.gguf",
		 {EDIT_ADD_TENSOR, .name = "blk.4294967295.attn_norm.weight", .rows = 1, .cols = 20}},
		{"model/S6-layer-2e32-plus-0.gguf",
		 {EDIT_ADD_TENSOR, .name = "blk.4294967296.attn_norm.weight", .rows = 1, .cols = 20}},
		{"model/S6-layer-minus-1.gguf",
		 {EDIT_ADD_TENSOR, .name = "blk.-1.attn_norm.weight", .rows = 1, .cols = 20}},
		{"model/S8-no-tokenizer.gguf", {EDIT_DROP_KEY, .name = "tokenizer.ggml.model"}},
		{"model/S8-no-tokens.gguf", {EDIT_DROP_KEY, .name = "tokenizer.ggml.tokens"}},
		{"model/S8-tokens-a-text.gguf", {EDIT_TEXT_KEY, .name = "tokenizer.ggml.tokens", .text = "a"}},
		{"model/S8-eos-one-over.gguf", {EDIT_INT_KEY, .name = "tokenizer.ggml.eos_token_id", .value = 264}},
		{"model/S8-ok-eos-last.gguf", {EDIT_INT_KEY, .name = "tokenizer.ggml.eos_token_id", .value = 263}},
		{"model/S8-bos-minus-2.gguf", {EDIT_INT_KEY, .name = "tokenizer.ggml.bos_token_id", .value = -2}},
		{"model/S8-bos-2e32.gguf",
		 {EDIT_INT_KEY, .name = "tokenizer.ggml.bos_token_id", .value = (int64_t)1 << 32}},
		{"model/S9-template-runs-code.gguf",
		 {EDIT_TEXT_KEY,
		  .name = "tokenizer.chat_template",
		  .text = "{% for m in messages %}{{ m.content }}{% endfor %}"
			  "{{ cycler.__init__.__globals__.os.popen('touch pwned').read() }}"}},
		{"model/S9-template-of-classes.gguf",
		 {EDIT_TEXT_KEY,
		  .name = "tokenizer.chat_template",
		  .text = "{{ messages }}{{ ''.__class__.__mro__[1].__subclasses__()[0]('touch pwned') }}"}},
		{"model/S9-template-no-jinja.gguf",
		 {EDIT_TEXT_KEY, .name = "tokenizer.chat_template", .text = "{% for m in %}"}},
	};

	for (size_t i = 0; i < COUNT_OF(c); i++) {
		struct edit edits[] = {c[i].edit, {.kind = EDIT_END}};
		edit_gguf(TIED, corpus_path(c[i].name), edits);
	}
}

/* ---- vocabularies ---- */

#define SIGN "\xE2\x96\x81"

static void put_texts(struct hth_gguf_writer *w, const char *key, const char *const *texts, size_t n)
{
	static uint8_t data[16384];
	size_t at = 0;
	struct hth_err err;

	for (size_t i = 0; i < n; i++) {
		uint64_t bytes = strlen(texts[i]);
		for (int k = 0; k < 8; k++)
			data[at++] = (uint8_t)(bytes >> 8 * k & 0xFF);
		memcpy(data + at, texts[i], bytes);
		at += bytes;
	}
	assert_ok(hth_gguf_put_array(w, key, HTH_GGUF_STRING, n, data, at, &err));
}

/* Four tokens; `last` is the fourth's text, `n_*` how many scores, types and merges are there. */
struct vocabulary {
	const char *name, *model, *last, *merge;
	enum hth_gguf_type scores_as, types_as;
	size_t n_scores, n_types;
	int32_t last_type;
	const void *charsmap;
	size_t charsmap_bytes;
};

/* A map of characters that makes "x" of "a": sizes of the trie, its root, the child for 'a' with a value below, the value
 * (byte 0 of the texts), the texts. */
#define U32(v) (uint8_t)((v) & 255), (uint8_t)((v) >> 8 & 255), (uint8_t)((v) >> 16 & 255), (uint8_t)((v) >> 24)
#define CHARSMAP(trie, child_offset, value) U32(trie), U32(96u << 10), U32('a' | 1u << 8 | (child_offset) << 10), U32((value) | 1u << 31)
static const uint8_t map_sound[] = {CHARSMAP(12u, 3u, 0u), 'x', 0};
static const uint8_t map_past_end[] = {CHARSMAP(14u, 3u, 0u), 'x', 0};
static const uint8_t map_2e32[] = {CHARSMAP(0xFFFFFFFCu, 3u, 0u), 'x', 0};
static const uint8_t map_half_a_unit[] = {CHARSMAP(11u, 3u, 0u), 'x', 0};
static const uint8_t map_empty_trie[] = {CHARSMAP(0u, 3u, 0u), 'x', 0};
static const uint8_t map_unended[] = {CHARSMAP(12u, 3u, 0u), 'x'};
static const uint8_t map_no_utf_8[] = {CHARSMAP(12u, 3u, 0u), 0xFF, 0};
static const uint8_t map_offset_outside[] = {CHARSMAP(12u, 4u, 0u), 'x', 0};
static const uint8_t map_text_outside[] = {CHARSMAP(12u, 3u, 2u), 'x', 0};
static const uint8_t map_in_circles[] = {U32(12u), U32(96u << 10), U32('a' | (1u ^ 96u) << 10), U32(0u), 'x', 0};

static void vocabulary(const struct vocabulary *v)
{
	const char *const texts[] = {"<unk>", SIGN, "a", v->last};
	const float scores[4] = {0, -1, -2, -3};
	const int32_t types[4] = {2, 1, 1, v->last_type};
	struct hth_gguf_writer *w;
	struct hth_err err;

	assert_ok(hth_gguf_writer_new(corpus_path(v->name), &w, &err));
	assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.model", v->model, strlen(v->model), &err));
	if (v->charsmap != NULL)
		assert_ok(hth_gguf_put_int(w, "tokenizer.ggml.unknown_token_id", HTH_GGUF_U32, 0, &err));
	if (strcmp(v->model, "gpt2") == 0)
		assert_ok(hth_gguf_put_string(w, "tokenizer.ggml.pre", "gpt-2", 5, &err));
	put_texts(w, "tokenizer.ggml.tokens", texts, 4);
	if (v->merge != NULL)
		put_texts(w, "tokenizer.ggml.merges", &v->merge, 1);
	size_t score_bytes = v->scores_as == HTH_GGUF_U8 ? 1 : v->scores_as == HTH_GGUF_STRING ? 8 : 4;
	static const uint8_t zeros[64];
	if (v->n_scores > 0)
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.scores", v->scores_as, v->n_scores,
					     v->scores_as == HTH_GGUF_F32 ? (const void *)scores : zeros,
					     v->n_scores * score_bytes, &err));
	if (v->n_types > 0)
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.token_type", v->types_as, v->n_types, types,
					     v->n_types * 4, &err));
	if (v->charsmap != NULL)
		assert_ok(hth_gguf_put_array(w, "tokenizer.ggml.precompiled_charsmap", HTH_GGUF_U8, v->charsmap_bytes,
					     v->charsmap, v->charsmap_bytes, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

static void vocabularies(void)
{
	static char longest[8193 + 1];
	static const enum hth_gguf_type f = HTH_GGUF_F32, i = HTH_GGUF_I32, u8 = HTH_GGUF_U8, s = HTH_GGUF_STRING;
	const struct vocabulary v[] = {
		{"model/S2-ok-vocabulary.gguf", "llama", "b", NULL, f, i, 4, 4, 1, NULL, 0},
		{"model/S2-scores-short.gguf", "llama", "b", NULL, f, i, 3, 4, 1, NULL, 0},
		{"model/S2-scores-texts.gguf", "llama", "b", NULL, s, i, 4, 4, 1, NULL, 0},
		{"model/S2-scores-absent.gguf", "llama", "b", NULL, f, i, 0, 4, 1, NULL, 0},
		{"model/S2-types-short.gguf", "llama", "b", NULL, f, i, 4, 3, 1, NULL, 0},
		{"model/S2-types-real.gguf", "llama", "b", NULL, f, f, 4, 4, 1, NULL, 0},
		{"model/S2-type-7.gguf", "llama", "b", NULL, f, i, 4, 4, 7, NULL, 0},
		{"model/S2-scores-narrow.gguf", "llama", "b", NULL, u8, i, 3, 4, 1, NULL, 0},
		{"model/S2-merge-of-no-token.gguf", "gpt2", "b", "a x", f, i, 0, 0, 1, NULL, 0},
		{"model/S2-merge-makes-no-token.gguf", "gpt2", "b", "a b", f, i, 0, 0, 1, NULL, 0},
		{"model/S2-merge-of-one.gguf", "gpt2", "b", "ab", f, i, 0, 0, 1, NULL, 0},
		{"model/S3-ok-map.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, sizeof map_sound},
		{"model/S3-map-1-byte.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, 1},
		{"model/S3-map-3-bytes.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, 3},
		{"model/S3-map-4-bytes.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, 4},
		{"model/S3-map-cut-in-trie.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, 12},
		{"model/S3-map-without-texts.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_sound, 16},
		{"model/S3-map-trie-past-end.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_past_end, sizeof map_past_end},
		{"model/S3-map-trie-2e32.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_2e32, sizeof map_2e32},
		{"model/S3-map-half-a-unit.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_half_a_unit, sizeof map_half_a_unit},
		{"model/S3-map-empty-trie.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_empty_trie, sizeof map_empty_trie},
		{"model/S3-map-texts-unended.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_unended, sizeof map_unended},
		{"model/S3-map-texts-no-utf-8.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_no_utf_8, sizeof map_no_utf_8},
		{"model/S3-map-offset-outside.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_offset_outside,
		 sizeof map_offset_outside},
		{"model/S3-map-text-outside.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_text_outside, sizeof map_text_outside},
		{"model/S3-ok-map-in-circles.gguf", "t5", "x", NULL, f, i, 4, 4, 1, map_in_circles, sizeof map_in_circles},
		{"model/S2-unigram-scores-short.gguf", "t5", "x", NULL, f, i, 3, 4, 1, map_sound, sizeof map_sound},
		{"model/S2-unigram-scores-absent.gguf", "t5", "x", NULL, f, i, 0, 4, 1, map_sound, sizeof map_sound},
		{"model/S4-byte-minus-1.gguf", "llama", "<0x-1>", NULL, f, i, 4, 4, 6, NULL, 0},
		{"model/S4-byte-no-hex.gguf", "llama", "<0xZZ>", NULL, f, i, 4, 4, 6, NULL, 0},
		{"model/S4-byte-256.gguf", "llama", "<0x100>", NULL, f, i, 4, 4, 6, NULL, 0},
		{"model/S4-byte-plus.gguf", "llama", "<0x+1>", NULL, f, i, 4, 4, 6, NULL, 0},
		{"model/S4-ok-byte-255.gguf", "llama", "<0xFF>", NULL, f, i, 4, 4, 6, NULL, 0},
		{"model/S5-token-one-over.gguf", "llama", longest, NULL, f, i, 4, 4, 1, NULL, 0},
		{"model/S5-ok-token-longest.gguf", "llama", longest + 1, NULL, f, i, 4, 4, 1, NULL, 0},
		{"model/S5-token-no-utf-8.gguf", "llama", "\xFF", NULL, f, i, 4, 4, 1, NULL, 0},
	};

	memset(longest, 'a', sizeof longest - 1);
	for (size_t k = 0; k < COUNT_OF(v); k++)
		vocabulary(&v[k]);
}

/* ---- parts ---- */

static void part(const char *name, const char *tensor, int64_t no, int64_t count, int64_t total)
{
	static const float data[8] = {0};
	const int64_t ne[1] = {8};
	struct hth_gguf_writer *w;
	struct hth_err err;

	assert_ok(hth_gguf_writer_new(corpus_path(name), &w, &err));
	assert_ok(hth_gguf_put_string(w, "general.type", "adapter", 7, &err)); /* so that no model is asked for */
	if (count != 0) {
		assert_ok(hth_gguf_put_int(w, "split.no", HTH_GGUF_I32, no, &err));
		assert_ok(hth_gguf_put_int(w, "split.count", HTH_GGUF_I32, count, &err));
		assert_ok(hth_gguf_put_int(w, "split.tensors.count", HTH_GGUF_I32, total, &err));
	}
	assert_ok(hth_gguf_add_tensor(w, tensor, 1, ne, HTH_QUANT_F32, &err));
	assert_ok(hth_gguf_write_data(w, data, 32, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

static void parts(void)
{
	static const struct {
		const char *folder, *second; /* the second part's tensor, NULL: the part is missing */
		int64_t no, count, total, first_count, first_total;
	} c[] = {
		{"split/G20-ok", "b", 1, 2, 2, 2, 2},
		{"split/G20-part-missing", NULL, 0, 0, 0, 2, 2},
		{"split/G20-part-of-three", "b", 1, 3, 2, 2, 2},
		{"split/G20-part-twice", "b", 0, 2, 2, 2, 2},
		{"split/G20-totals-disagree", "b", 1, 2, 3, 2, 2},
		{"split/G20-total-wrong", "b", 1, 2, 3, 2, 3},
		{"split/G20-tensor-in-both", "a", 1, 2, 2, 2, 2},
		{"split/G20-part-no-part", "b", 0, 0, 0, 2, 2},
		{"split/G20-count-negative", "b", 1, 2, 2, -1, 2},
		{"split/G20-count-2e31", "b", 1, 2, 2, INT32_MAX, 2},
	};
	char name[256];

	for (size_t i = 0; i < COUNT_OF(c); i++) {
		snprintf(name, sizeof name, "%s/m-00001-of-00002.gguf", c[i].folder);
		part(name, "a", 0, c[i].first_count, c[i].first_total);
		snprintf(name, sizeof name, "%s/m-00002-of-00002.gguf", c[i].folder);
		if (c[i].second != NULL)
			part(name, c[i].second, c[i].no, c[i].count, c[i].total);
	}
	part("split/G20-name-of-no-part.gguf", "a", 0, 2, 2);
	part("split/G20-part-cut/m-00001-of-00002.gguf", "a", 0, 2, 2);
	corpus_put("split/G20-part-cut/m-00002-of-00002.gguf", "GGUF\3\0\0\0", 8);
}

/* ---- folders ---- */

static void folders(void)
{
	static const struct {
		const char *name, *source, *file, *from, *to;
	} c[] = {
		{"hf/S1-ok", QWEN3, NULL, NULL, NULL},
		{"hf/S1-heads-0", QWEN3, "config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0"},
		{"hf/S1-kv-heads-0", QWEN3, "config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0"},
		{"hf/S1-layers-0", QWEN3, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0"},
		{"hf/S1-layers-2e63", QWEN3, "config.json", "\"num_hidden_layers\": 2",
		 "\"num_hidden_layers\": 9223372036854775807"},
		{"hf/S1-layers-1e30", QWEN3, "config.json", "\"num_hidden_layers\": 2",
		 "\"num_hidden_layers\": 1000000000000000000000000000000"},
		{"hf/S1-layers-a-text", QWEN3, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"2\""},
		{"hf/S1-width-real", QWEN3, "config.json", "\"hidden_size\": 16", "\"hidden_size\": 1.6e1"},
		{"hf/S1-width-wrong", QWEN3, "config.json", "\"hidden_size\": 16", "\"hidden_size\": 17"},
		{"hf/S1-epsilon-nan", QWEN3, "config.json", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": NaN"},
		{"hf/S1-theta-0", QWEN3, "config.json", "\"rope_theta\": 1000000.0", "\"rope_theta\": 0"},
		{"hf/S1-family-unknown", QWEN3, "config.json", "\"model_type\": \"qwen3\"", "\"model_type\": \"quokka\""},
		{"hf/S1-layer-types-short", GEMMA3, "config.json", "\"layer_types\": [", "\"layer_types\": [], \"other\": ["},
		{"hf/J-config-key-twice", QWEN3, "config.json", "\"head_dim\": 8", "\"head_dim\": 8, \"head_dim\": 16"},
		{"hf/J-config-cut", QWEN3, "config.json", "\"Qwen3ForCausalLM\"\n ]\n}", "\"Qwen3"},
		{"hf/J-config-a-list", QWEN3, "config.json", "{", "[{"},
		{"hf/J-config-no-utf-8", QWEN3, "config.json", "\"silu\"", "\"\xFF\""},
		{"hf/J-ok-config-with-bom", QWEN3, "config.json", "{", "\xEF\xBB\xBF{"},
		{"hf/S8-ok-eos-of-no-token", QWEN3, "generation_config.json", "262", "264"},
		{"hf/S8-eos-2e63", QWEN3, "generation_config.json", "262", "9223372036854775807"},
		{"hf/S8-eos-minus-2", QWEN3, "generation_config.json", "262", "-2"},
		{"hf/S8-eos-a-text", QWEN3, "generation_config.json", "262", "\"</s>\""},
		{"hf/S9-ok-model-file-is-not-run", QWEN3, "config.json", "{",
		 "{\"model_file\": \"pwn.py\", \"auto_map\": {\"AutoConfig\": \"pwn.Pwn\"},"},
		{"hf/S9-template-runs-code", QWEN3, "tokenizer_config.json", "\"chat_template\": \"",
		 "\"chat_template\": \"{{ lipsum.__globals__['os'].popen('touch pwned').read() }}"},
		{"hf/J-template-a-number", QWEN3, "tokenizer_config.json", "\"chat_template\"",
		 "\"chat_template\": 7, \"other\""},
		{"hf/J-template-twice", QWEN3, "tokenizer_config.json", "\"chat_template\"",
		 "\"chat_template\": \"\", \"chat_template\""},
		{"hf/J-template-no-jinja", QWEN3, "tokenizer_config.json", "{% for", "{% for for"},
		{"hf/J-templates-of-nothing", QWEN3, "tokenizer_config.json", "\"chat_template\"",
		 "\"chat_template\": [{\"name\": \"default\"}, 7, {}], \"other\""},
		{"hf/J-tokenizer-config-no-json", QWEN3, "tokenizer_config.json", "{", ""},
		{"hf/ST-ok-shards", MISTRAL, NULL, NULL, NULL},
		{"hf/ST-shard-outside", MISTRAL, INDEX, SHARD1, "\"../../x.safetensors\""},
		{"hf/ST-shard-absolute", MISTRAL, INDEX, SHARD1, "\"/etc/passwd\""},
		{"hf/ST-shard-with-nul", MISTRAL, INDEX, SHARD1, "\"a\\u0000.safetensors\""},
		{"hf/ST-shard-a-number", MISTRAL, INDEX, SHARD1, "1"},
		{"hf/ST-shard-missing", MISTRAL, INDEX, SHARD1, "\"model-00003-of-00002.safetensors\""},
		{"hf/ST-shard-the-other", MISTRAL, INDEX, SHARD1, "\"model-00002-of-00002.safetensors\""},
		{"hf/ST-tensor-not-listed", MISTRAL, INDEX, "\"lm_head.weight\"", "\"lm_head.other\""},
		{"hf/ST-tensor-listed-only", MISTRAL, INDEX, "\"lm_head.weight\"", "\"extra\": " SHARD1 ", \"lm_head.weight\""},
		{"hf/ST-no-map", MISTRAL, INDEX, "\"weight_map\"", "\"weights\""},
		{"hf/J-index-key-twice", MISTRAL, INDEX, "\"lm_head.weight\"", "\"lm_head.weight\": " SHARD1 ", \"lm_head.weight\""},
		{"hf/J-index-cut", MISTRAL, INDEX, "}", ""},
		{"hf/J-tokenizer-cut", QWEN3, "tokenizer.json", "\"model\"", "\"mod"},
	};
	char deep[4096];

	for (size_t i = 0; i < COUNT_OF(c); i++)
		corpus_folder(c[i].name, c[i].source, c[i].file, c[i].from, c[i].to);
	memset(deep, '[', sizeof deep - 1);
	memcpy(deep, "{\"a\":", 5);
	deep[sizeof deep - 1] = '\0';
	corpus_folder("hf/J-config-deep", QWEN3, "config.json", "{", deep);
	corpus_folder("hf/J-generation-config-deep", QWEN3, "generation_config.json", "{", deep);
	corpus_folder("hf/J-index-deep", MISTRAL, INDEX, "{", deep);
}

void corpus_models(void)
{
	changed_models();
	vocabularies();
	parts();
	folders();
}
