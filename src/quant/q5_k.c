/* q5_k: 256 elements in 176 bytes, 8 sub-blocks of 32:
 *
 *   0   d (f16)       2  dmin (f16)
 *   4   scales (12)   8 scales and 8 mins of 6 bits (quant_k4_scales in quant_int.h)
 *   16  qh (32)       fifth bits: element 32j + l is bit j of byte l
 *   48  qs (128)      nibbles: byte 32p + l holds element 64p + l (low) and 64p + 32 + l (high)
 *
 * value = d * scale * q - dmin * min, q in 0..31. */
#include "quant/fit.h"

enum { ELEMS = 256, BYTES = 176 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	uint8_t scale[8], min[8];
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in), dmin = quant_load_f16(in + 2);
		quant_k4_scales(in + 4, scale, min);
		for (int j = 0; j < 8; j++) {
			float step = d * (float)scale[j], low = dmin * (float)min[j];
			const uint8_t *qh = in + 16, *q = in + 48 + 32 * (j / 2);
			int shift = 4 * (j % 2);
			for (int l = 0; l < 32; l++)
				dst[32 * j + l] = step * (float)((q[l] >> shift & 15) + (qh[l] >> j & 1) * 16) - low;
		}
	}
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	struct quant_k_lines k;
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		quant_fit_k_lines(src + at, w, 32, 31, 63, &k);
		quant_store_f16(out, k.d);
		quant_store_f16(out + 2, k.dmin);
		quant_store_k4_scales(out + 4, k.scale, k.min);
		memset(out + 16, 0, 32);
		for (int i = 0; i < ELEMS; i++)
			out[16 + i % 32] |= (uint8_t)((k.q[i] >> 4) << i / 32);
		for (int p = 0; p < 4; p++)
			for (int l = 0; l < 32; l++)
				out[48 + 32 * p + l] =
					(uint8_t)((k.q[64 * p + l] & 15) | (k.q[64 * p + 32 + l] & 15) << 4);
	}
}

extern const struct hth_quant_format hth_quant_q5_k;
const struct hth_quant_format hth_quant_q5_k = {
	.name = "q5_k",
	.ggml_type = 13,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
