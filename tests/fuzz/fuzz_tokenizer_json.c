/* tokenizer.json: whatever loads must encode and decode any text, with ids in range and offsets in order. */
#include "tokenizer_use.h"

static const char sample[] = "IDLH of ammonia: 300 ppm\n\t<s>don't \xC3\xA9\xF0\x9F\x98\x80 \xFF 12345  </s>\xE2\x96\x81x";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_tokenizer *t = NULL;
	struct hth_err err;
	fuzz_path(path, "tokenizer.json");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_tokenizer_from_json(path, &t, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (int flags = 0; s == HTH_OK && flags < 4; flags++)
		use(t, sample, sizeof sample - 1, flags);
	if (s == HTH_OK) {
		fuzz_check(hth_tokenizer_bos(t) < hth_tokenizer_size(t) && hth_tokenizer_eos(t) < hth_tokenizer_size(t));
		fuzz_touch(hth_tokenizer_describe(t), 1);
		for (int32_t id = -1; id <= hth_tokenizer_size(t) && id < 4096; id++) {
			size_t n = 0;
			const char *name = hth_tokenizer_token(t, id, &n);
			if (name != NULL)
				fuzz_touch(name, n);
			(void)hth_tokenizer_is_end(t, id);
		}
	}
	hth_tokenizer_free(t);
	unlink(path);
	return 0;
}
