/* q4_0: 32 elements in 18 bytes: scale d (f16), 16 bytes of nibbles: byte j holds element j (low) and j + 16 (high);
 * value = d * (q - 8), q in 0..15. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 18 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in);
		const uint8_t *qs = in + 2; // (16)
		for (int j = 0; j < 16; j++) {
			dst[j] = (float)((qs[j] & 15) - 8) * d;
			dst[j + 16] = (float)((qs[j] >> 4) - 8) * d;
		}
	}
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		const float *x = src + at; // (32)
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		float d = quant_fit_scale(x, w, ELEMS, -8, 7, true), inv = quant_inverse(d);
		quant_store_f16(out, d);
		for (int j = 0; j < 16; j++) {
			int low = (int)quant_level(x[j] * inv, -8, 7) + 8;
			int high = (int)quant_level(x[j + 16] * inv, -8, 7) + 8;
			out[2 + j] = (uint8_t)(low | high << 4);
		}
	}
}

extern const struct hth_quant_format hth_quant_q4_0;
const struct hth_quant_format hth_quant_q4_0 = {
	.name = "q4_0",
	.ggml_type = 2,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
