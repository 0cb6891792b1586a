/* JSONL data sets with the tiny model's tokenizer and template: bad rows are listed, good ones have sound targets. */
#include "data/dataset.h"
#include "models/model.h"
#include "fuzz.h"

static struct hth_model *model;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_check(hth_model_open("tests/golden/llama/tied.gguf", &model, NULL) == HTH_OK);
	return 0;
}

static void check_examples(const struct hth_dataset *d, int64_t max_tokens)
{
	uint64_t tokens = 0, targets = 0;
	for (size_t i = 0; i < d->n; i++) {
		const struct hth_example *e = &d->items[i].tokens;
		size_t n = 0;
		fuzz_check(e->n >= 1 && (int64_t)e->n <= max_tokens && e->target[0] == 0);
		for (size_t k = 0; k < e->n; k++) {
			fuzz_check(e->ids[k] >= 0 && e->ids[k] < hth_tokenizer_size(model->tokenizer));
			n += e->target[k];
		}
		fuzz_check(n == e->n_targets && n > 0 && d->items[i].line >= 1);
		tokens += e->n;
		targets += n;
	}
	fuzz_check(tokens == d->n_tokens && targets == d->n_targets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_chat chat = {.tmpl = model->tmpl, .tok = model->tokenizer, .now = 1768469400};
	fuzz_path(path, "rows.jsonl");
	fuzz_write(path, data, bytes, 0);
	for (int rule = 0; rule < 3; rule++) {
		struct hth_data_config cfg = {
			.targets = (enum hth_target_rule)rule, .max_tokens = 48, .overlong = (enum hth_overlong)rule};
		struct hth_dataset d = {0}, valid = {0};
		struct hth_err err;
		enum hth_status s = hth_dataset_read(path, &chat, &cfg, true, &d, &err);
		fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
		if (s == HTH_OK) {
			check_examples(&d, cfg.max_tokens);
			for (size_t i = 0; i < d.n_issues; i++)
				fuzz_check(d.issues[i].line >= 1 && (i == 0 || d.issues[i].line >= d.issues[i - 1].line));
		}
		if (s == HTH_OK && hth_dataset_split(&d, 0.3, 7, &valid, &err) == HTH_OK) {
			check_examples(&d, cfg.max_tokens);
			check_examples(&valid, cfg.max_tokens);
		}
		hth_dataset_clear(&d);
		hth_dataset_clear(&valid);
	}
	unlink(path);
	return 0;
}
