/* q2_k: 256 elements in 84 bytes, 16 sub-blocks of 16:
 *
 *   0   scales (16)  sub-block j: scale in the low nibble, min in the high one
 *   16  qs (64)      2-bit q: element 128h + 32k + l stands in byte 32h + l, bits 2k and 2k+1
 *   80  d (f16)      82  dmin (f16)
 *
 * value = d * scale * q - dmin * min. */
#include "quant/fit.h"

enum { ELEMS = 256, BYTES = 84 };

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		const uint8_t *qs = in + 16; // (64)
		float d = quant_load_f16(in + 80), dmin = quant_load_f16(in + 82);
		for (int i = 0; i < ELEMS; i += 16) {
			float scale = d * (float)(in[i / 16] & 15), min = dmin * (float)(in[i / 16] >> 4);
			const uint8_t *q = qs + 32 * (i / 128) + i % 32;
			int shift = 2 * (i / 32 % 4);
			for (int l = 0; l < 16; l++)
				dst[i + l] = scale * (float)(q[l] >> shift & 3) - min;
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
		quant_fit_k_lines(src + at, w, 16, 3, 15, &k);
		memset(out, 0, 80);
		for (int j = 0; j < 16; j++)
			out[j] = (uint8_t)(k.scale[j] | k.min[j] << 4);
		for (int i = 0; i < ELEMS; i++)
			out[16 + 32 * (i / 128) + i % 32] |= (uint8_t)(k.q[i] << 2 * (i / 32 % 4));
		quant_store_f16(out + 80, k.d);
		quant_store_f16(out + 82, k.dmin);
	}
}

extern const struct hth_quant_format hth_quant_q2_k;
const struct hth_quant_format hth_quant_q2_k = {
	.name = "q2_k",
	.ggml_type = 10,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
