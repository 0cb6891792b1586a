/* q6_k: 256 elements in 210 bytes, 16 sub-blocks of 16:
 *
 *   0    ql (128)     low nibbles: element 128h + 64n + 32k + l is nibble n of byte 64h + 32k + l
 *   128  qh (64)      high two bits: element 128h + 32m + l stands in byte 32h + l, bits 2m and 2m+1
 *   192  scales (16)  signed bytes
 *   208  d (f16)
 *
 * value = d * scale * (q - 32), q in 0..63. */
#include "quant/fit.h"

enum { ELEMS = 256, BYTES = 210 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in + 208);
		for (int i = 0; i < ELEMS; i += 16) {
			float scale = d * (float)(int8_t)in[192 + i / 16];
			const uint8_t *ql = in + 64 * (i / 128) + i % 64;
			const uint8_t *qh = in + 128 + 32 * (i / 128) + i % 32;
			int low_shift = 4 * (i / 64 % 2), high_shift = 2 * (i / 32 % 4);
			for (int l = 0; l < 16; l++)
				dst[i + l] = scale *
					     (float)((ql[l] >> low_shift & 15) + (qh[l] >> high_shift & 3) * 16 - 32);
		}
	}
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	struct quant_k_scales k;
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		quant_fit_k_scales(src + at, w, 32, 128, &k);
		memset(out, 0, 192);
		for (int i = 0; i < ELEMS; i++) {
			int q = k.q[i] + 32;
			out[64 * (i / 128) + i % 64] |= (uint8_t)((q & 15) << 4 * (i / 64 % 2));
			out[128 + 32 * (i / 128) + i % 32] |= (uint8_t)(q >> 4 << 2 * (i / 32 % 4));
		}
		for (int j = 0; j < 16; j++)
			out[192 + j] = (uint8_t)k.scale[j];
		quant_store_f16(out + 208, k.d);
	}
}

extern const struct hth_quant_format hth_quant_q6_k;
const struct hth_quant_format hth_quant_q6_k = {
	.name = "q6_k",
	.ggml_type = 14,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
