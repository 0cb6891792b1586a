/* q8_0: 32 elements in 34 bytes: scale d (f16), then 32 signed bytes; value = d * q. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 34 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in);
		for (int j = 0; j < ELEMS; j++)
			dst[j] = (float)(int8_t)in[2 + j] * d;
	}
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		const float *x = src + at; // (32)
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		float d = quant_fit_scale(x, w, ELEMS, -127, 127, true), inv = quant_inverse(d);
		quant_store_f16(out, d);
		for (int j = 0; j < ELEMS; j++)
			out[2 + j] = (uint8_t)(int8_t)quant_level(x[j] * inv, -127, 127);
	}
}

extern const struct hth_quant_format hth_quant_q8_0;
const struct hth_quant_format hth_quant_q8_0 = {
	.name = "q8_0",
	.ggml_type = 8,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
