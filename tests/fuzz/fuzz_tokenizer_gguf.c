/* A vocabulary in a sound GGUF container: whatever loads must encode and decode any text, with ids in range and offsets in
 * order, and what can be written as GGUF keys reads again. */
#include "text/tokenizer_convert.h"
#include "tokenizer_use.h"

static const char sample[] = "the  water\n\t<x>don't \xC3\xA9\x41\xCC\x8A\xCC\x81\xEF\xAC\x81 \xFF 12345  </s>\xE2\x96\x81x";

static void write_again(const struct hth_tokenizer *t)
{
	struct hth_gguf_made made;
	struct hth_tokenizer *back = NULL;
	struct hth_err err;
	if (hth_gguf_made_init(&made, "made", 1u << 22, &err) != HTH_OK)
		return;
	if (hth_tokenizer_to_gguf(t, hth_tokenizer_size(t), -1, &made, &err) == HTH_OK &&
	    hth_gguf_made_finish(&made, &err) == HTH_OK &&
	    hth_tokenizer_from_gguf(&made.g, &back, &err) == HTH_OK)
		fuzz_check(hth_tokenizer_size(back) == hth_tokenizer_size(t));
	hth_tokenizer_free(back);
	hth_gguf_made_clear(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_gguf g;
	struct hth_tokenizer *t = NULL;
	struct hth_err err;
	fuzz_path(path, "tokenizer.gguf");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_gguf_open(&g, path, &err);
	if (s == HTH_OK)
		s = hth_tokenizer_from_gguf(&g, &t, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (int flags = 0; s == HTH_OK && flags < 4; flags++)
		use(t, sample, sizeof sample - 1, flags);
	if (s == HTH_OK)
		write_again(t);
	hth_tokenizer_free(t);
	hth_gguf_close(&g);
	unlink(path);
	return 0;
}
