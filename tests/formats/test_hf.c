/* Opening Hugging Face folders: what a good one gives, what each kind of bad one is told, cut at every byte, with every
 * allocation failed. Folders are changed copies of the golden Mistral, which has two shards and an index. */
#include "formats/hf.h"

#include "base/mem.h"
#include "base/tempdir.h"

#define MISTRAL "tests/golden/mistral/tiny"
#define QWEN "tests/golden/qwen2/tiny"
#define INDEX "model.safetensors.index.json"

static char dir[1024];

static void put(const char *name, const char *text, size_t bytes)
{
	char path[1200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

static void remove_file(const char *name)
{
	char path[1200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(unlink(path), 0);
}

/* A copy of a golden folder in the test's own. */
static void copy_folder(const char *from)
{
	char **names, path[1200];
	size_t n;
	struct hth_err err;

	snprintf(dir, sizeof(dir), "%s", temp("model"));
	assert_ok(hth_remove_tree(dir, &err));
	assert_ok(hth_mkdirs(dir, &err));
	assert_ok(hth_dir_list(from, &names, &n, &err));
	for (size_t i = 0; i < n; i++) {
		char *data;
		size_t bytes;
		snprintf(path, sizeof(path), "%s/%s", from, names[i]);
		assert_ok(hth_file_read(path, 1 << 20, &data, &bytes, &err));
		put(names[i], data, bytes);
		hth_free(data);
	}
	hth_names_free(names, n);
}

/* The file with the first `from` in it replaced. */
static void replace(const char *name, const char *from, const char *to)
{
	char path[1200], out[65536], *data;
	size_t bytes;
	struct hth_err err;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_ok(hth_file_read(path, 60000, &data, &bytes, &err));
	char *at = strstr(data, from);
	assert_non_null(at);
	int n = snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - data), data, to, at + strlen(from));
	put(name, out, (size_t)n);
	hth_free(data);
}

static void opens_shards_and_finds_tensors_by_name_and_number(void **state)
{
	struct hth_hf h;
	struct hth_err err;
	size_t number, seen = 0;

	(void)state;
	assert_ok(hth_hf_open(&h, MISTRAL, &err));
	assert_int_equal(h.n_shards, 2);
	assert_int_equal(h.n_tensors, 2 * 9 + 3);
	assert_string_equal(json_string_value(json_object_get(h.config, "model_type")), "mistral");
	for (size_t i = 0; i < h.n_tensors; i++) {
		const struct hth_st_tensor *t = hth_hf_tensor(&h, i);
		assert_ptr_equal(hth_hf_find(&h, t->name, &number), t);
		assert_int_equal(number, i);
		seen += t->bytes;
	}
	assert_true(seen > 0 && seen < h.bytes);
	assert_null(hth_hf_find(&h, "model.layers.2.mlp.up_proj.weight", NULL));
	hth_hf_close(&h);
	hth_hf_close(&h);
}

/* A file of the folder, a text in it and what stands there instead. */
static const struct {
	const char *file, *from, *to;
	enum hth_status status;
	const char *part;
} bad[] = {
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"../../x.safetensors\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"/etc/passwd\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"..\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"config.json\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"a\\u0000.safetensors\"", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "1", HTH_ERR_FORMAT, "in this folder"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"model-00003-of-00002.safetensors\"", HTH_ERR_NOTFOUND,
	 "model-00003-of-00002.safetensors"},
	{INDEX, "\"model-00001-of-00002.safetensors\"", "\"model-00002-of-00002.safetensors\"", HTH_ERR_FORMAT,
	 "of one model?"},
	{INDEX, "\"lm_head.weight\"", "\"lm_head.other\"", HTH_ERR_FORMAT, "nothing of it"},
	{INDEX, "\"lm_head.weight\"", "\"extra\": \"model-00001-of-00002.safetensors\", \"lm_head.weight\"",
	 HTH_ERR_FORMAT, "lists 22 tensors, the files have 21"},
	{INDEX, "\"weight_map\"", "\"weights\"", HTH_ERR_FORMAT, "\"weight_map\" is missing"},
	{"config.json", "{", "[{", HTH_ERR_FORMAT, "config.json"},
};

static void bad_folders_are_refused_with_the_reason(void **state)
{
	struct hth_hf h;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		copy_folder(MISTRAL);
		replace(bad[i].file, bad[i].from, bad[i].to);
		assert_fails(hth_hf_open(&h, dir, &err), bad[i].status, bad[i].part);
		assert_null(h.shards);
	}
}

static void folders_that_lack_a_file_are_told_which(void **state)
{
	struct hth_hf h;
	struct hth_err err;

	(void)state;
	copy_folder(MISTRAL);
	remove_file(INDEX);
	assert_fails(hth_hf_open(&h, dir, &err), HTH_ERR_NOTFOUND, "was it downloaded whole?");
	put("pytorch_model.bin", "x", 1);
	assert_fails(hth_hf_open(&h, dir, &err), HTH_ERR_NOTFOUND, "convert them to safetensors");
	remove_file("config.json");
	assert_fails(hth_hf_open(&h, dir, &err), HTH_ERR_NOTFOUND, "no config.json");
	put("adapter_config.json", "{}", 2);
	assert_fails(hth_hf_open(&h, dir, &err), HTH_ERR_UNAVAILABLE, "LoRA adapter");
	assert_fails(hth_hf_open(&h, "no/such", &err), HTH_ERR_NOTFOUND, "no/such");
	copy_folder(MISTRAL);
	remove_file("model-00002-of-00002.safetensors");
	assert_fails(hth_hf_open(&h, dir, &err), HTH_ERR_NOTFOUND, "model-00002-of-00002.safetensors");
}

static void cut_files_never_crash(void **state)
{
	static const char *const files[] = {INDEX, "config.json"};
	struct hth_hf h;
	struct hth_err err;
	char path[1200], *data;
	size_t bytes;

	(void)state;
	copy_folder(MISTRAL);
	for (int f = 0; f < 2; f++) {
		snprintf(path, sizeof(path), "%s/%s", MISTRAL, files[f]);
		assert_ok(hth_file_read(path, 1 << 20, &data, &bytes, &err));
		for (size_t n = 0; n + 2 < bytes; n++) {
			put(files[f], data, n);
			assert_int_not_equal(hth_hf_open(&h, dir, &err), HTH_OK);
		}
		put(files[f], data, bytes);
		hth_free(data);
	}
	assert_ok(hth_hf_open(&h, dir, &err));
	hth_hf_close(&h);
}

static void expect_template(const char *want)
{
	struct hth_hf h;
	struct hth_err err;
	char *text;
	size_t bytes;

	assert_ok(hth_hf_open(&h, dir, &err));
	assert_ok(hth_hf_template(&h, &text, &bytes, &err));
	if (want == NULL)
		assert_null(text);
	else
		assert_string_equal(text, want);
	assert_int_equal(bytes, want != NULL ? strlen(want) : 0);
	hth_free(text);
	hth_hf_close(&h);
}

static void template_comes_from_its_file_or_the_tokenizers_config(void **state)
{
	static const char list[] = "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, "
				   "{\"name\": \"default\", \"template\": \"d\"}]}";
	static const char unnamed[] = "{\"chat_template\": [1, {\"name\": \"rag\", \"template\": \"r\"}]}";

	(void)state;
	copy_folder(QWEN);
	put("tokenizer_config.json", "{\"chat_template\": \"{{ x }}\"}", 28);
	expect_template("{{ x }}");
	put("tokenizer_config.json", list, strlen(list));
	expect_template("d");
	put("tokenizer_config.json", unnamed, strlen(unnamed));
	expect_template("r");
	put("chat_template.jinja", "{{ own }}", 9);
	expect_template("{{ own }}");
	remove_file("chat_template.jinja");
	put("tokenizer_config.json", "{\"chat_template\": null}", 23);
	expect_template(NULL);
	remove_file("tokenizer_config.json");
	expect_template(NULL);
}

static void every_failed_allocation_is_an_error_without_a_leak(void **state)
{
	struct hth_hf h;
	struct hth_err err;
	uint64_t n;

	(void)state;
	for (n = 1; n < 100000; n++) {
		hth_mem_fail_at(n, true);
		enum hth_status st = hth_hf_open(&h, MISTRAL, &err);
		hth_mem_fail_at(0, false);
		if (st == HTH_OK)
			break;
		assert_int_equal(st, HTH_ERR_MEMORY);
	}
	assert_in_range(n, 10, 99999);
	hth_hf_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_shards_and_finds_tensors_by_name_and_number),
		temp_test(bad_folders_are_refused_with_the_reason),
		temp_test(folders_that_lack_a_file_are_told_which),
		temp_test(cut_files_never_crash),
		temp_test(template_comes_from_its_file_or_the_tokenizers_config),
		cmocka_unit_test(every_failed_allocation_is_an_error_without_a_leak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
