/* The JSON files of a model's folder, one of them hostile. The input's first byte says which: c config.json,
 * g generation_config.json, t tokenizer_config.json, i model.safetensors.index.json. The others, and two shards of
 * weights, are the golden Mistral's. What opens is a model whose numbers fit together. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "models/model.h"
#include "fuzz.h"

#define SOURCE "tests/golden/mistral/tiny"

static const struct {
	char letter;
	const char *name;
} files[] = {{'c', "config.json"},
	     {'g', "generation_config.json"},
	     {'t', "tokenizer_config.json"},
	     {'i', "model.safetensors.index.json"}};
enum { N_FILES = sizeof files / sizeof *files };

static char folder[256], *sound[N_FILES];
static size_t sound_bytes[N_FILES];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const fixed[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
					    "tokenizer.json"};
	char path[512], *data;
	size_t bytes;
	(void)argc;
	(void)argv;
	hth_log_set_level(HTH_LOG_QUIET);
	fuzz_path(folder, "folder");
	fuzz_check(hth_mkdirs(folder, NULL) == HTH_OK);
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		snprintf(path, sizeof path, SOURCE "/%s", fixed[i]);
		fuzz_check(hth_file_read(path, 1 << 20, &data, &bytes, NULL) == HTH_OK);
		snprintf(path, sizeof path, "%s/%s", folder, fixed[i]);
		fuzz_write(path, (uint8_t *)data, bytes, 0);
		hth_free(data);
	}
	for (size_t i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof path, SOURCE "/%s", files[i].name);
		fuzz_check(hth_file_read(path, 1 << 20, &sound[i], &sound_bytes[i], NULL) == HTH_OK);
		snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
		fuzz_write(path, (uint8_t *)sound[i], sound_bytes[i], 0);
	}
	return 0;
}

static void check_model(const struct hth_model *m)
{
	const struct hth_model_config *c = &m->config;
	fuzz_check(c->n_layers > 0 && c->n_head > 0 && c->n_kv > 0 && c->n_head % c->n_kv == 0 && c->width > 0);
	fuzz_check(hth_tokenizer_size(m->tokenizer) == c->n_vocab && hth_tokenizer_eos(m->tokenizer) < c->n_vocab);
	for (int32_t id = -1; id <= c->n_vocab; id++)
		fuzz_check(!hth_tokenizer_is_end(m->tokenizer, id) || (id >= 0 && id < c->n_vocab));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[512];
	size_t which = 0;
	struct hth_model *m = NULL;
	struct hth_err err;
	while (bytes > 0 && which < N_FILES && files[which].letter != (char)data[0])
		which++;
	if (bytes == 0 || which == N_FILES)
		return 0;
	snprintf(path, sizeof path, "%s/%s", folder, files[which].name);
	fuzz_write(path, data + 1, bytes - 1, 0);
	enum hth_status s = hth_model_open(folder, &m, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK)
		check_model(m);
	hth_model_close(m);
	fuzz_write(path, (uint8_t *)sound[which], sound_bytes[which], 0);
	return 0;
}
