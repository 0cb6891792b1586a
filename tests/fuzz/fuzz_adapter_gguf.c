/* Adapters in GGUF files, through the names of the Llama family. */
#include "formats/adapter.h"
#include "models/model.h"
#include "fuzz.h"

static struct hth_model *model;
static struct hth_adapter_names names;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_check(hth_model_open("tests/golden/llama/tied.gguf", &model, NULL) == HTH_OK);
	hth_model_adapter_names(model, &names);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_adapter a = {0};
	struct hth_err err;
	fuzz_path(path, "adapter.gguf");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_adapter_read(path, &names, &a, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (size_t i = 0; s == HTH_OK && i < a.n_modules; i++) {
		const struct hth_lora_module *m = &a.modules[i];
		fuzz_touch(m->a, (size_t)(m->rank * m->in) * sizeof(float));
		fuzz_touch(m->b, (size_t)(m->rank * m->out) * sizeof(float));
	}
	struct hth_arena arena;
	struct hth_lora **loras = NULL;
	hth_arena_init(&arena, 64u << 20);
	if (s == HTH_OK)
		(void)!hth_model_loras(model, &a, &arena, &loras, NULL);
	hth_arena_clear(&arena);
	hth_adapter_clear(&a);
	unlink(path);
	return 0;
}
