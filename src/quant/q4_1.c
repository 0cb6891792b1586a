/* q4_1: 32 elements in 20 bytes: scale d (f16), offset m (f16), 16 bytes of nibbles: byte j holds element j (low)
 * and j + 16 (high); value = d * q + m, q in 0..15. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 20 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in), m = quant_load_f16(in + 2);
		const uint8_t *qs = in + 4; // (16)
		for (int j = 0; j < 16; j++) {
			dst[j] = (float)(qs[j] & 15) * d + m;
			dst[j + 16] = (float)(qs[j] >> 4) * d + m;
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
		struct quant_line f = quant_fit_line(x, w, ELEMS, 15, true);
		float inv = quant_inverse(f.d);
		quant_store_f16(out, f.d);
		quant_store_f16(out + 2, f.m);
		for (int j = 0; j < 16; j++) {
			int low = (int)quant_level((x[j] - f.m) * inv, 0, 15);
			int high = (int)quant_level((x[j + 16] - f.m) * inv, 0, 15);
			out[4 + j] = (uint8_t)(low | high << 4);
		}
	}
}

extern const struct hth_quant_format hth_quant_q4_1;
const struct hth_quant_format hth_quant_q4_1 = {
	.name = "q4_1",
	.ggml_type = 3,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
