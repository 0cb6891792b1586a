/* q5_1: 32 elements in 24 bytes: scale d (f16), offset m (f16), fifth bits (u32: bit j is element j's), 16 bytes of
 * nibbles: byte j holds element j (low) and j + 16 (high); value = d * q + m, q in 0..31. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 24 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in), m = quant_load_f16(in + 2);
		uint32_t qh = quant_load_u16(in + 4) | (uint32_t)quant_load_u16(in + 6) << 16;
		const uint8_t *qs = in + 8; // (16)
		for (int j = 0; j < 16; j++) {
			int low = (qs[j] & 15) | (int)(qh >> j & 1) << 4;
			int high = qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;
			dst[j] = (float)low * d + m;
			dst[j + 16] = (float)high * d + m;
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
		struct quant_line f = quant_fit_line(x, w, ELEMS, 31, true);
		float inv = quant_inverse(f.d);
		quant_store_f16(out, f.d);
		quant_store_f16(out + 2, f.m);
		uint32_t qh = 0;
		for (int j = 0; j < 16; j++) {
			uint32_t low = (uint32_t)quant_level((x[j] - f.m) * inv, 0, 31);
			uint32_t high = (uint32_t)quant_level((x[j + 16] - f.m) * inv, 0, 31);
			qh |= (low >> 4) << j | (high >> 4) << (j + 16);
			out[8 + j] = (uint8_t)((low & 15) | (high & 15) << 4);
		}
		quant_store_u16(out + 4, (uint16_t)(qh & 0xFFFF));
		quant_store_u16(out + 6, (uint16_t)(qh >> 16));
	}
}

extern const struct hth_quant_format hth_quant_q5_1;
const struct hth_quant_format hth_quant_q5_1 = {
	.name = "q5_1",
	.ggml_type = 7,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
