/* safetensors files: what opens tiles its data section exactly and reads back by name. */
#include "formats/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	float out[256];
	struct hth_safetensors st = {0};
	struct hth_err err;
	fuzz_path(path, "st");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_safetensors_open(&st, path, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	uint64_t sum = 0;
	for (size_t i = 0; s == HTH_OK && i < st.n_tensors; i++) {
		const struct hth_st_tensor *t = &st.tensors[i];
		fuzz_check(hth_safetensors_find(&st, t->name) == t);
		fuzz_touch(t->data, t->bytes);
		sum += t->bytes;
		if (t->bytes / hth_st_dtype_bytes(t->dtype) <= 256)
			(void)!hth_st_to_f32(t, out, NULL);
	}
	for (size_t i = 0; s == HTH_OK && i < st.n_meta; i++)
		fuzz_touch(st.meta_values[i], strlen(st.meta_values[i]) + strlen(st.meta_keys[i]) * 0);
	fuzz_check(s != HTH_OK || sum <= bytes);
	hth_safetensors_close(&st);
	unlink(path);
	return 0;
}
