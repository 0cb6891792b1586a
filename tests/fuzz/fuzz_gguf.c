/* GGUF containers: whatever opens must be safe to read whole, and its numbers must agree with each other. */
#include "formats/gguf.h"
#include "fuzz.h"

static void read_value(const struct hth_gguf *g, const struct hth_gguf_kv *kv)
{
	char key[128];
	struct hth_gguf_str s;
	struct hth_gguf_strings it;
	int64_t i;
	double r;
	bool b;
	fuzz_touch(kv->key.data, kv->key.bytes);
	fuzz_touch(kv->data, kv->data_bytes);
	bool numbers = kv->type != HTH_GGUF_STRING && (kv->type != HTH_GGUF_ARRAY || kv->elem_type != HTH_GGUF_STRING);
	bool real = kv->type == HTH_GGUF_F32 || kv->type == HTH_GGUF_F64 ||
		    (kv->type == HTH_GGUF_ARRAY && (kv->elem_type == HTH_GGUF_F32 || kv->elem_type == HTH_GGUF_F64));
	for (uint64_t at = 0; numbers && at < kv->n; at += at < 64 ? 1 : 1 + kv->n / 64) {
		(void)hth_gguf_array_real(kv, at);
		if (!real)
			(void)hth_gguf_array_int(kv, at);
	}
	if (kv->key.bytes >= sizeof key)
		return;
	memcpy(key, kv->key.data, kv->key.bytes);
	key[kv->key.bytes] = '\0';
	fuzz_check(hth_gguf_find(g, key) == kv);
	(void)!hth_gguf_int(g, key, 0, 1 << 20, 1, &i, NULL);
	(void)!hth_gguf_real(g, key, 1, &r, NULL);
	(void)!hth_gguf_bool(g, key, false, &b, NULL);
	if (hth_gguf_string(g, key, &s, NULL) == HTH_OK)
		fuzz_touch(s.data, s.bytes);
	if (hth_gguf_strings(g, key, &it, NULL) != HTH_OK)
		return;
	uint64_t n = 0;
	for (; hth_gguf_next(&it, &s); n++)
		fuzz_touch(s.data, s.bytes);
	fuzz_check(n == kv->n);
}

static void read_tensor(const struct hth_gguf *g, const struct hth_gguf_tensor *t)
{
	float out[512];
	const struct hth_quant_format *f = hth_quant_format(t->quant);
	uint64_t elems = 1;
	for (int d = 0; d < 4; d++) {
		fuzz_check(t->ne[d] >= 1);
		elems *= (uint64_t)t->ne[d];
	}
	fuzz_check(t->n_dims >= 1 && t->n_dims <= 4);
	fuzz_check(elems / f->block_elems * f->block_bytes == t->bytes);
	fuzz_check(t->data >= g->map.data && t->bytes <= g->map.bytes &&
		   (size_t)(t->data - g->map.data) <= g->map.bytes - t->bytes);
	fuzz_touch(t->data, t->bytes);
	if (f->block_elems <= 512 && t->bytes >= f->block_bytes)
		f->unpack(t->data, out, f->block_elems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char path[256];
	struct hth_gguf g = {0};
	struct hth_err err;
	fuzz_path(path, "gguf");
	fuzz_write(path, data, bytes, 0);
	enum hth_status s = hth_gguf_open(&g, path, &err);
	fuzz_check(s == HTH_OK || (err.status == s && err.text[0] != '\0'));
	for (size_t i = 0; s == HTH_OK && i < g.n_kv; i++)
		read_value(&g, &g.kv[i]);
	for (size_t i = 0; s == HTH_OK && i < g.n_tensors; i++)
		read_tensor(&g, &g.tensors[i]);
	hth_gguf_close(&g);
	unlink(path);
	return 0;
}
