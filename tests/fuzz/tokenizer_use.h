/* Encodes a text and decodes it again, with ids in range and offsets in order: what any tokenizer that loads must do. */
#include "text/tokenizer.h"
#include "fuzz.h"

static void use(const struct hth_tokenizer *t, const char *sample, size_t bytes, int flags)
{
	struct hth_tokens tokens = {0};
	struct hth_buf out;
	hth_buf_init(&out, 1u << 20);
	if (hth_tokenizer_encode(t, sample, bytes, flags, &tokens, NULL) == HTH_OK) {
		for (size_t i = 0; i < tokens.n; i++) {
			fuzz_check(tokens.ids[i] >= 0 && tokens.ids[i] < hth_tokenizer_size(t));
			fuzz_check(tokens.starts[i] <= tokens.ends[i] && tokens.ends[i] <= bytes);
			fuzz_check(i == 0 || tokens.starts[i] >= tokens.starts[i - 1]);
		}
		(void)!hth_tokenizer_decode(t, tokens.ids, tokens.n, flags != 0, &out, NULL);
	}
	hth_buf_clear(&out);
	hth_tokens_clear(&tokens);
}
