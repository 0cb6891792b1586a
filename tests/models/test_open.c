/* Opening models: what a good file gives, and what each kind of bad one is told. Files are changed copies of the
 * golden models. */
#include "base/log.h"
#include "base/tempdir.h"
#include "models/edit_gguf.h"
#include "models/model.h"

#include <math.h>

#define TIED "tests/golden/llama/tied.gguf"
#define UNTIED "tests/golden/llama/untied.gguf"

static void opens_golden_model_with_its_config(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	assert_ok(hth_model_open(TIED, &m, &err));
	assert_string_equal(m->family->name, "llama");
	assert_string_equal(m->name, "golden tied");
	assert_int_equal(m->config.n_vocab, 264);
	assert_int_equal(m->config.n_layers, 2);
	assert_int_equal(m->config.width, 20);
	assert_int_equal(m->config.n_head, 4);
	assert_int_equal(m->config.n_kv, 2);
	assert_int_equal(m->config.head, 8);
	assert_int_equal(m->config.rot, 8);
	assert_int_equal(m->config.n_ff, 40);
	assert_int_equal(m->config.context, 128);
	assert_true(m->config.tied);
	assert_float_equal(m->config.norm_eps, 1e-5f, 1e-12);
	assert_float_equal(m->config.attn_scale, 0.35355339f, 1e-7);
	assert_int_equal(m->layers[1].linear[HTH_Q].head_rows, 8);
	assert_int_equal(m->layers[1].linear[HTH_K].head_rows, 8);
	assert_int_equal(m->layers[1].linear[HTH_V].head_rows, 0);
	assert_string_equal(m->layers[1].linear[HTH_DOWN].name, "model.layers.1.mlp.down_proj.weight");
	assert_string_equal(m->layers[0].ffn_norm.name, "model.layers.0.post_attention_layernorm.weight");
	/* 264*20 + 2 layers of (32+16+16)*20 + 20*32 + 3*40*20 + 2*20, and 20 */
	assert_int_equal(m->n_params, 264 * 20 + 2 * (64 * 20 + 20 * 32 + 3 * 40 * 20 + 40) + 20);
	assert_non_null(m->tmpl);
	hth_model_close(m);
}

static void rope_frequencies_follow_theta_and_llama31_factors(void **state)
{
	struct hth_model *m;
	struct hth_err err;
	/* theta 10000, D 8 */
	const float plain[] = {1.0f, 0.1f, 0.01f, 0.001f};
	/* transformers 5.23's inv_freq of the untied golden: factor 8, low 1, high 4, original context 64, D 16. */
	const float scaled[] = {1.0f,     0.244384587f,    0.0130422562f, 0.00395284733f,
				0.00125f, 0.000395284733f, 0.000125f,     3.95284733e-05f};

	(void)state;
	assert_ok(hth_model_open(TIED, &m, &err));
	for (int i = 0; i < 4; i++)
		assert_float_equal(m->rope_freq[i] / plain[i], 1, 1e-6);
	hth_model_close(m);
	assert_ok(hth_model_open(UNTIED, &m, &err));
	assert_false(m->config.tied);
	for (int i = 0; i < 8; i++)
		assert_float_equal(m->rope_freq[i] / scaled[i], 1, 1e-6);
	hth_model_close(m);
}

static void linear_scaling_divides_all_frequencies(void **state)
{
	const struct edit with_type[] = {{EDIT_TEXT_KEY, .name = "llama.rope.scaling.type", .text = "linear"},
					 {EDIT_REAL_KEY, .name = "llama.rope.scaling.factor", .real = 4},
					 {.kind = EDIT_END}};
	const struct edit old_key[] = {{EDIT_REAL_KEY, .name = "llama.rope.scale_linear", .real = 4},
				       {.kind = EDIT_END}};
	const struct edit off[] = {{EDIT_TEXT_KEY, .name = "llama.rope.scaling.type", .text = "none"},
				   {EDIT_REAL_KEY, .name = "llama.rope.scaling.factor", .real = 4},
				   {.kind = EDIT_END}};
	const struct edit *const files[] = {with_type, old_key, off};
	const float first[] = {0.25f, 0.25f, 1.0f};
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (int i = 0; i < 3; i++) {
		edit_gguf(TIED, temp("linear.gguf"), files[i]);
		assert_ok(hth_model_open(temp("linear.gguf"), &m, &err));
		assert_float_equal(m->rope_freq[0], first[i], 1e-7);
		assert_float_equal(m->rope_freq[2], first[i] * 0.01f, 1e-8);
		hth_model_close(m);
	}
}

static void count(void *ctx, struct hth_weight *w)
{
	(void)w;
	(*(int *)ctx)++;
}

static void each_weight_visits_a_tied_head_once(void **state)
{
	struct hth_model *m;
	struct hth_err err;
	int n = 0;

	(void)state;
	assert_ok(hth_model_open(TIED, &m, &err));
	hth_model_each_weight(m, count, &n);
	assert_int_equal(n, 1 + 2 * 9 + 1);
	hth_model_close(m);
	assert_ok(hth_model_open(UNTIED, &m, &err));
	n = 0;
	hth_model_each_weight(m, count, &n);
	assert_int_equal(n, 1 + 2 * 9 + 2);
	hth_model_close(m);
}

/* One changed copy, and what opening it must say. */
struct bad {
	struct edit edit;
	enum hth_status status;
	const char *part;
};

static const struct bad bad_files[] = {
	{{EDIT_DROP_TENSOR, .name = "blk.1.ffn_up.weight"}, HTH_ERR_FORMAT, "\"blk.1.ffn_up.weight\": no such tensor"},
	{{EDIT_DROP_TENSOR, .name = "output_norm.weight"}, HTH_ERR_FORMAT, "\"output_norm.weight\": no such tensor"},
	{{EDIT_DROP_TENSOR, .name = "token_embd.weight"}, HTH_ERR_FORMAT, "\"token_embd.weight\": no such tensor"},
	{{EDIT_DROP_TENSOR, .name = "*"}, HTH_ERR_UNAVAILABLE, "no weights (a vocabulary only)"},
	{{EDIT_SHAPE, .name = "blk.0.attn_k.weight", .rows = 20, .cols = 16},
	 HTH_ERR_SHAPE,
	 "\"blk.0.attn_k.weight\": shape (20,16), expected (16,20)"},
	{{EDIT_SHAPE, .name = "blk.0.attn_norm.weight", .rows = 1, .cols = 21},
	 HTH_ERR_SHAPE,
	 "\"blk.0.attn_norm.weight\": shape (21), expected (20)"},
	{{EDIT_SHAPE, .name = "token_embd.weight", .rows = 263, .cols = 20}, HTH_ERR_SHAPE, "expected (264,20)"},
	{{EDIT_ADD_TENSOR, .name = "output.weight", .rows = 263, .cols = 20}, HTH_ERR_SHAPE, "expected (264,20)"},
	{{EDIT_FILL, .name = "blk.1.ffn_norm.weight", .real = (float)INFINITY},
	 HTH_ERR_VALUE,
	 "expected a finite number"},
	{{EDIT_ADD_TENSOR, .name = "blk.0.attn_q_norm.weight", .rows = 1, .cols = 8},
	 HTH_ERR_UNAVAILABLE,
	 "has no place"},
	{{EDIT_ADD_TENSOR, .name = "blk.4294967296.attn_norm.weight", .rows = 1, .cols = 20},
	 HTH_ERR_UNAVAILABLE,
	 "has no place"},
	{{EDIT_ADD_TENSOR, .name = "rope_freqs.weight", .rows = 1, .cols = 3, .real = 1},
	 HTH_ERR_SHAPE,
	 "expected (4)"},
	{{EDIT_ADD_TENSOR, .name = "rope_freqs.weight", .rows = 1, .cols = 4, .real = 0}, HTH_ERR_VALUE, "more than 0"},
	{{EDIT_ADD_TENSOR, .name = "blk.0.attn_q.bias", .rows = 1, .cols = 20}, HTH_ERR_SHAPE, "expected (32)"},
	{{EDIT_TEXT_KEY, .name = "general.architecture", .text = "quokka"},
	 HTH_ERR_UNAVAILABLE,
	 "\"quokka\" is not supported, expected one of: llama"},
	{{EDIT_TEXT_KEY, .name = "general.type", .text = "adapter"}, HTH_ERR_UNAVAILABLE, "LoRA adapter"},
	{{EDIT_INT_KEY, .name = "split.count", .value = 3}, HTH_ERR_NOTFOUND, "split.no"},
	{{EDIT_INT_KEY, .name = "llama.expert_count", .value = 8}, HTH_ERR_NOTFOUND, "llama.expert_used_count"},
	{{EDIT_DROP_KEY, .name = "general.architecture"}, HTH_ERR_FORMAT, "general.architecture"},
	{{EDIT_DROP_KEY, .name = "llama.block_count"}, HTH_ERR_NOTFOUND, "llama.block_count"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = 0}, HTH_ERR_FORMAT, "llama.block_count"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = 3}, HTH_ERR_FORMAT, "expected"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = 4000}, HTH_ERR_FORMAT, "was the file cut?"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = (int64_t)1 << 31}, HTH_ERR_FORMAT, "llama.block_count"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = -1}, HTH_ERR_FORMAT, "llama.block_count"},
	{{EDIT_TEXT_KEY, .name = "llama.block_count", .text = "2"}, HTH_ERR_FORMAT, "llama.block_count"},
	{{EDIT_INT_KEY, .name = "llama.block_count", .value = 1}, HTH_ERR_UNAVAILABLE, "has no place"},
	{{EDIT_INT_KEY, .name = "llama.attention.head_count", .value = 0}, HTH_ERR_FORMAT, "head_count"},
	{{EDIT_INT_KEY, .name = "llama.attention.head_count", .value = INT64_MAX}, HTH_ERR_FORMAT, "head_count"},
	{{EDIT_INT_KEY, .name = "llama.attention.head_count_kv", .value = 0}, HTH_ERR_FORMAT, "head_count_kv"},
	{{EDIT_INT_KEY, .name = "llama.attention.head_count_kv", .value = 3}, HTH_ERR_FORMAT, "expected a divisor"},
	{{EDIT_INT_KEY, .name = "llama.attention.head_count_kv", .value = 5}, HTH_ERR_FORMAT, "head_count_kv"},
	{{EDIT_INT_KEY, .name = "llama.attention.key_length", .value = 7}, HTH_ERR_FORMAT, "an even number"},
	{{EDIT_INT_KEY, .name = "llama.attention.key_length", .value = 514}, HTH_ERR_FORMAT, "key_length"},
	{{EDIT_INT_KEY, .name = "llama.attention.value_length", .value = 16},
	 HTH_ERR_UNAVAILABLE,
	 "expected all three alike"},
	{{EDIT_INT_KEY, .name = "llama.rope.dimension_count", .value = 4},
	 HTH_ERR_UNAVAILABLE,
	 "expected all three alike"},
	{{EDIT_REAL_KEY, .name = "llama.rope.freq_base", .real = 0}, HTH_ERR_FORMAT, "freq_base"},
	{{EDIT_REAL_KEY, .name = "llama.rope.freq_base", .real = (float)NAN}, HTH_ERR_FORMAT, "freq_base"},
	{{EDIT_TEXT_KEY, .name = "llama.rope.scaling.type", .text = "dynamic"}, HTH_ERR_UNAVAILABLE, "\"dynamic\""},
	{{EDIT_REAL_KEY, .name = "llama.rope.scaling.factor", .real = -1}, HTH_ERR_FORMAT, "factor"},
	{{EDIT_REAL_KEY, .name = "llama.attention.layer_norm_rms_epsilon", .real = 0}, HTH_ERR_FORMAT, "epsilon"},
	{{EDIT_DROP_KEY, .name = "llama.attention.layer_norm_rms_epsilon"}, HTH_ERR_FORMAT, "epsilon"},
	{{EDIT_INT_KEY, .name = "llama.vocab_size", .value = 300}, HTH_ERR_FORMAT, "vocab_size"},
	{{EDIT_INT_KEY, .name = "llama.context_length", .value = 0}, HTH_ERR_FORMAT, "context_length"},
	{{EDIT_INT_KEY, .name = "llama.embedding_length", .value = 0}, HTH_ERR_FORMAT, "embedding_length"},
	{{EDIT_INT_KEY, .name = "llama.embedding_length", .value = 24}, HTH_ERR_SHAPE, "expected"},
	{{EDIT_INT_KEY, .name = "llama.feed_forward_length", .value = 41}, HTH_ERR_SHAPE, "expected (41,20)"},
	{{EDIT_DROP_KEY, .name = "tokenizer.ggml.tokens"}, HTH_ERR_FORMAT, "tokenizer.ggml.tokens"},
	{{EDIT_TEXT_KEY, .name = "tokenizer.ggml.tokens", .text = "a"}, HTH_ERR_FORMAT, "tokenizer.ggml.tokens"},
	{{EDIT_INT_KEY, .name = "tokenizer.ggml.eos_token_id", .value = 264}, HTH_ERR_FORMAT, "eos_token_id"},
	{{EDIT_INT_KEY, .name = "tokenizer.ggml.bos_token_id", .value = -2}, HTH_ERR_FORMAT, "bos_token_id"},
	{{EDIT_DROP_KEY, .name = "tokenizer.ggml.model"}, HTH_ERR_NOTFOUND, "tokenizer.ggml.model"},
	{{EDIT_TEXT_KEY, .name = "tokenizer.ggml.model", .text = "telepathy"}, HTH_ERR_UNAVAILABLE, "telepathy"},
};

#define EXPERTS "tests/golden/mixtral/tiny.gguf"
#define GPT_OSS "tests/golden/gptoss/tiny.gguf"

static const struct {
	const char *file;
	struct bad bad;
} bad_experts[] = {
	{EXPERTS, {{EDIT_INT_KEY, .name = "llama.expert_count", .value = 3}, HTH_ERR_SHAPE, "expected (3,16)"}},
	{EXPERTS, {{EDIT_INT_KEY, .name = "llama.expert_count", .value = 0}, HTH_ERR_FORMAT, "blk.0.ffn_gate.weight"}},
	{EXPERTS, {{EDIT_INT_KEY, .name = "llama.expert_count", .value = 1 << 20}, HTH_ERR_FORMAT, "llama.expert_count"}},
	{EXPERTS, {{EDIT_INT_KEY, .name = "llama.expert_used_count", .value = 5}, HTH_ERR_FORMAT, "expert_used_count"}},
	{EXPERTS, {{EDIT_INT_KEY, .name = "llama.expert_used_count", .value = 0}, HTH_ERR_FORMAT, "expert_used_count"}},
	{EXPERTS, {{EDIT_DROP_KEY, .name = "llama.expert_used_count"}, HTH_ERR_NOTFOUND, "expert_used_count"}},
	{EXPERTS,
	 {{EDIT_INT_KEY, .name = "llama.feed_forward_length", .value = 25}, HTH_ERR_SHAPE, "expected the shape (4,25,16)"}},
	{EXPERTS,
	 {{EDIT_DROP_TENSOR, .name = "blk.1.ffn_up_exps.weight"},
	  HTH_ERR_FORMAT,
	  "\"blk.1.ffn_up_exps.weight\": no such tensor"}},
	{EXPERTS,
	 {{EDIT_DROP_TENSOR, .name = "blk.0.ffn_gate_inp.weight"},
	  HTH_ERR_FORMAT,
	  "\"blk.0.ffn_gate_inp.weight\": no such tensor"}},
	{EXPERTS,
	 {{EDIT_SHAPE, .name = "blk.0.ffn_down_exps.weight", .rows = 64, .cols = 24},
	  HTH_ERR_SHAPE,
	  "2 dimensions, expected the shape (4,16,24)"}},
	{EXPERTS,
	 {{EDIT_ADD_TENSOR, .name = "blk.0.ffn_gate.weight", .rows = 24, .cols = 16}, HTH_ERR_UNAVAILABLE, "has no place"}},
	{GPT_OSS, {{EDIT_DROP_TENSOR, .name = "blk.0.attn_sinks.weight"}, HTH_ERR_FORMAT, "attn_sinks.weight"}},
	{GPT_OSS, {{EDIT_DROP_TENSOR, .name = "blk.0.attn_q.bias"}, HTH_ERR_FORMAT, "blk.0.attn_q.bias"}},
	{GPT_OSS,
	 {{EDIT_SHAPE, .name = "blk.0.ffn_up_exps.bias", .rows = 4, .cols = 33}, HTH_ERR_SHAPE, "the shape (4,32)"}},
	{GPT_OSS,
	 {{EDIT_FILL, .name = "blk.1.ffn_down_exps.bias", .real = (float)INFINITY},
	  HTH_ERR_VALUE,
	  "expected a finite number"}},
};

static void bad_mixtures_of_experts_are_refused_with_the_reason(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_experts) / sizeof(bad_experts[0]); i++) {
		struct edit edits[] = {bad_experts[i].bad.edit, {.kind = EDIT_END}};
		edit_gguf(bad_experts[i].file, temp("bad.gguf"), edits);
		assert_fails(hth_model_open(temp("bad.gguf"), &m, &err), bad_experts[i].bad.status,
			     bad_experts[i].bad.part);
		assert_null(m);
	}
}

static void bad_files_are_refused_with_the_reason(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		const struct bad *b = &bad_files[i];
		struct edit edits[] = {b->edit, {.kind = EDIT_END}};
		edit_gguf(TIED, temp("bad.gguf"), edits);
		assert_fails(hth_model_open(temp("bad.gguf"), &m, &err), b->status, b->part);
		assert_non_null(strstr(err.text, "bad.gguf"));
		assert_null(m);
	}
}

static void missing_file_is_named(void **state)
{
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	assert_fails(hth_model_open("no/such.gguf", &m, &err), HTH_ERR_NOTFOUND, "no/such.gguf");
}

/* Not atomic: thousands of fsyncs would take minutes. */
static void write_quickly(const char *path, const char *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

/* Either an error or, where the bytes mean nothing to a model, a model; never a crash (run under sanitizers too). */
static void cut_or_damaged_file_never_crashes(void **state)
{
	enum { HEADER_BYTES = 7000, CUT_STEP = 211 }; /* metadata and tensor list; a cut in the data */
	struct hth_model *m;
	struct hth_err err;
	char *data;
	size_t bytes, opened = 0;

	(void)state;
	assert_ok(hth_file_read(TIED, 1 << 20, &data, &bytes, &err));
	hth_log_set_level(HTH_LOG_ERROR); /* damaged templates are warnings */
	for (size_t n = 0; n < bytes; n += CUT_STEP) {
		write_quickly(temp("cut.gguf"), data, n);
		assert_int_not_equal(hth_model_open(temp("cut.gguf"), &m, &err), HTH_OK);
	}
	for (size_t i = 0; i < HEADER_BYTES; i += 3) {
		char was = data[i];
		data[i] = (char)(was ^ (1 << (i / 3 % 8)));
		write_quickly(temp("flip.gguf"), data, bytes);
		if (hth_model_open(temp("flip.gguf"), &m, &err) == HTH_OK)
			opened++;
		hth_model_close(m);
		data[i] = was;
	}
	hth_log_set_level(HTH_LOG_INFO);
	assert_true(opened < HEADER_BYTES / 3);
	hth_free(data);
}

static void q_bias_is_read_in_the_order_of_its_rows(void **state)
{
	struct hth_gguf_writer *w;
	struct hth_gguf g;
	struct hth_model *m;
	struct hth_err err;
	float stored[32];
	const int64_t ne[1] = {32};

	(void)state;
	for (int i = 0; i < 32; i++)
		stored[i] = (float)i;
	assert_ok(hth_gguf_open(&g, TIED, &err));
	assert_ok(hth_gguf_writer_new(temp("bias.gguf"), &w, &err));
	for (size_t i = 0; i < g.n_kv; i++)
		assert_ok(hth_gguf_put_kv(w, &g.kv[i], &err));
	edit_tensors(w, &g, &(struct edit){.kind = EDIT_END}, false);
	assert_ok(hth_gguf_add_tensor(w, "blk.0.attn_q.bias", 1, ne, HTH_QUANT_F32, &err));
	edit_tensors(w, &g, &(struct edit){.kind = EDIT_END}, true);
	assert_ok(hth_gguf_write_data(w, stored, sizeof(stored), &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
	hth_gguf_close(&g);

	assert_ok(hth_model_open(temp("bias.gguf"), &m, &err));
	const float *bias = (const float *)(const void *)m->layers[0].bias[HTH_Q].data;
	/* Head of 8: the first half's columns stand at even places of the file, the second half's at odd ones. */
	const float want[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
	assert_memory_equal(bias, want, sizeof(want));
	assert_string_equal(m->layers[0].bias[HTH_Q].name, "model.layers.0.self_attn.q_proj.bias");
	assert_null(m->layers[1].bias[HTH_Q].data);
	hth_model_close(m);
}

static void model_without_template_has_no_chat(void **state)
{
	struct edit none[] = {{EDIT_DROP_KEY, .name = "tokenizer.chat_template"}, {.kind = EDIT_END}};
	struct edit broken[] = {{EDIT_TEXT_KEY, .name = "tokenizer.chat_template", .text = "{% if x %}"},
				{.kind = EDIT_END}};
	struct hth_model *m;
	struct hth_chat chat;
	struct hth_err err;

	(void)state;
	edit_gguf(TIED, temp("a.gguf"), none);
	assert_ok(hth_model_open(temp("a.gguf"), &m, &err));
	assert_fails(hth_model_chat(m, &chat, &err), HTH_ERR_UNAVAILABLE, "no chat template");
	hth_model_close(m);
	edit_gguf(TIED, temp("b.gguf"), broken);
	assert_ok(hth_model_open(temp("b.gguf"), &m, &err));
	assert_null(m->tmpl);
	assert_int_not_equal(hth_model_chat(m, &chat, &err), HTH_OK);
	hth_model_close(m);
}

static void name_falls_back_to_the_file_name(void **state)
{
	struct edit edits[] = {{EDIT_DROP_KEY, .name = "general.name"}, {.kind = EDIT_END}};
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	edit_gguf(TIED, temp("little.gguf"), edits);
	assert_ok(hth_model_open(temp("little.gguf"), &m, &err));
	assert_string_equal(m->name, "little");
	hth_model_close(m);
}

static void every_failed_allocation_while_opening_is_an_error_without_a_leak(void **state)
{
	static const char *const paths[] = {UNTIED, GPT_OSS, "tests/golden/gptoss_mxfp4/tiny", "tests/golden/mixtral/tiny",
					   "tests/golden/gemma4/tiny.gguf", "tests/golden/gemma4_moe/tiny"};
	struct hth_model *m;
	struct hth_err err;
	uint64_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		for (n = 1; n < 100000; n++) {
			hth_mem_fail_at(n, true);
			enum hth_status st = hth_model_open(paths[i], &m, &err);
			hth_mem_fail_at(0, false);
			if (st == HTH_OK)
				break;
			assert_int_equal(st, HTH_ERR_MEMORY);
			assert_null(m);
		}
		assert_in_range(n, 10, 99999);
		hth_model_close(m);
	}
}

static void adapter_names_translate_both_ways(void **state)
{
	struct hth_adapter_names names;
	struct hth_model *m;
	struct hth_err err;
	char out[128];

	(void)state;
	assert_ok(hth_model_open(TIED, &m, &err));
	hth_model_adapter_names(m, &names);
	assert_string_equal(names.gguf_arch, "llama");
	assert_true(names.to_gguf(names.ctx, "model.layers.1.self_attn.o_proj", out));
	assert_string_equal(out, "blk.1.attn_output");
	assert_true(names.from_gguf(names.ctx, "blk.0.ffn_down", out));
	assert_string_equal(out, "model.layers.0.mlp.down_proj");
	assert_int_equal(names.permuted_head_rows(names.ctx, "model.layers.0.self_attn.q_proj"), 8);
	assert_int_equal(names.permuted_head_rows(names.ctx, "model.layers.0.self_attn.v_proj"), 0);
	const char *const wrong[] = {"model.layers.2.self_attn.q_proj",
				     "model.layers.01.self_attn.q_proj",
				     "model.layers.-1.self_attn.q_proj",
				     "model.layers.4294967296.mlp.up_proj",
				     "model.layers.1",
				     "model.layers.",
				     "model.layers.1.self_attn.q_projx",
				     "lm_head",
				     ""};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(names.to_gguf(names.ctx, wrong[i], out));
	assert_false(names.from_gguf(names.ctx, "blk.2.ffn_down", out));
	assert_false(names.from_gguf(names.ctx, "token_embd", out));
	hth_model_close(m);
}

static void adapters_of_another_model_are_refused_by_name(void **state)
{
	float a[4 * 20] = {0}, b[32 * 4] = {0};
	struct hth_lora_module mod = {
		.name = "model.layers.0.self_attn.q_proj", .in = 20, .out = 32, .rank = 4, .scale = 2, .a = a, .b = b};
	struct hth_lora_module two[2] = {mod, mod};
	struct hth_adapter adapter = {.n_modules = 1, .modules = &mod};
	struct hth_arena arena;
	struct hth_lora **loras;
	struct hth_model *m;
	struct hth_err err;

	(void)state;
	hth_arena_init(&arena, 1 << 20);
	assert_ok(hth_model_open(TIED, &m, &err));
	assert_ok(hth_model_loras(m, &adapter, &arena, &loras, &err));
	assert_non_null(loras[HTH_Q]);
	assert_null(loras[HTH_K]);
	assert_int_equal(loras[HTH_Q]->a.cols, 20);
	assert_string_equal(loras[HTH_Q]->b.name, "model.layers.0.self_attn.q_proj.lora_B.weight");
	mod.in = 21;
	assert_fails(hth_model_loras(m, &adapter, &arena, &loras, &err), HTH_ERR_SHAPE,
		     "\"model.layers.0.self_attn.q_proj\": shape (32,21) of rank 4, expected (32,20)");
	mod.in = 20;
	mod.name = "model.layers.7.self_attn.q_proj";
	assert_fails(hth_model_loras(m, &adapter, &arena, &loras, &err), HTH_ERR_SHAPE, "no such module (2 layers)");
	adapter = (struct hth_adapter){.n_modules = 2, .modules = two};
	assert_fails(hth_model_loras(m, &adapter, &arena, &loras, &err), HTH_ERR_FORMAT, "there twice");
	hth_arena_clear(&arena);
	hth_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_golden_model_with_its_config),
		cmocka_unit_test(rope_frequencies_follow_theta_and_llama31_factors),
		temp_test(linear_scaling_divides_all_frequencies),
		cmocka_unit_test(each_weight_visits_a_tied_head_once),
		temp_test(bad_files_are_refused_with_the_reason),
		temp_test(bad_mixtures_of_experts_are_refused_with_the_reason),
		cmocka_unit_test(missing_file_is_named),
		temp_test(cut_or_damaged_file_never_crashes),
		temp_test(q_bias_is_read_in_the_order_of_its_rows),
		temp_test(model_without_template_has_no_chat),
		temp_test(name_falls_back_to_the_file_name),
		cmocka_unit_test(every_failed_allocation_while_opening_is_an_error_without_a_leak),
		cmocka_unit_test(adapter_names_translate_both_ways),
		cmocka_unit_test(adapters_of_another_model_are_refused_by_name),
	};
	/* Fifty files are written with fsync: in memory where that is to be had. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
