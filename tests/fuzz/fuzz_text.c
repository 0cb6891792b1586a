/* Any text through a sound tokenizer: ids in range, offsets in order, and streaming gives what decoding gives. */
#include "text/tokenizer.h"
#include "fuzz.h"

static struct hth_tokenizer *tok;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	struct hth_gguf g = {0};
	fuzz_check(hth_gguf_open(&g, "tests/golden/llama/tied.gguf", NULL) == HTH_OK);
	fuzz_check(hth_tokenizer_from_gguf(&g, &tok, NULL) == HTH_OK);
	hth_gguf_close(&g);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	for (int flags = 0; flags < 4; flags++) {
		struct hth_tokens t = {0};
		struct hth_buf whole, stream;
		struct hth_detokenizer d = {0};
		hth_buf_init(&whole, 16 * bytes + 1024);
		hth_buf_init(&stream, 16 * bytes + 1024);
		fuzz_check(hth_tokenizer_encode(tok, (const char *)data, bytes, flags, &t, NULL) == HTH_OK);
		for (size_t i = 0; i < t.n; i++) {
			fuzz_check(t.ids[i] >= 0 && t.ids[i] < hth_tokenizer_size(tok));
			fuzz_check(t.starts[i] <= t.ends[i] && t.ends[i] <= bytes);
			fuzz_check(i == 0 || (t.starts[i] >= t.starts[i - 1] && t.ends[i] >= t.ends[i - 1]));
			fuzz_check(hth_detokenizer_push(&d, tok, t.ids[i], &stream, NULL) == HTH_OK);
		}
		hth_detokenizer_flush(&d, &stream);
		fuzz_check(hth_tokenizer_decode(tok, t.ids, t.n, false, &whole, NULL) == HTH_OK);
		fuzz_check(whole.bytes == stream.bytes &&
			   memcmp(hth_buf_str(&whole), hth_buf_str(&stream), whole.bytes) == 0);
		hth_buf_clear(&whole);
		hth_buf_clear(&stream);
		hth_tokens_clear(&t);
	}
	return 0;
}
