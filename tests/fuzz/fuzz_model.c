/* What stands in a sound GGUF container: hostile configuration, vocabulary, template and shapes. The input is a file's
 * metadata; zeros follow it in place of the tensors' data. */
#include "models/model.h"
#include "fuzz.h"

#define DATA_BYTES (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_model *m = NULL;
	struct hth_err err;
	fuzz_path(path, "model.gguf");
	fuzz_write(path, data, bytes, DATA_BYTES);
	enum hth_status s = hth_model_open(path, &m, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	if (s == HTH_OK) {
		const struct hth_model_config *c = &m->config;
		struct hth_tokens tokens = {0};
		fuzz_check(c->n_layers > 0 && c->n_head > 0 && c->n_kv > 0 && c->n_head % c->n_kv == 0 && c->width > 0);
		static const char text[] = "<|im_start|>user\nhello 123 <0x0A>\xFF<|im_end|>";
		(void)!hth_tokenizer_encode(m->tokenizer, text, sizeof text - 1, 3, &tokens, NULL);
		for (size_t i = 0; i < tokens.n; i++)
			fuzz_check(tokens.ids[i] >= 0 && tokens.ids[i] < c->n_vocab);
		hth_tokens_clear(&tokens);
	}
	hth_model_close(m);
	unlink(path);
	return 0;
}
