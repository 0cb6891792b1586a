/* q2_k: 256 elements in 84 bytes, 16 sub-blocks of 16:
 *
 *   0   scales (16)  sub-block j: scale in the low nibble, min in the high one
 *   16  qs (64)      2-bit q: element 128h + 32k + l stands in byte 32h + l, bits 2k and 2k+1
 *   80  d (f16)      82  dmin (f16)
 *
 * value = d * scale * q - dmin * min. */
#include "quant/quant_int.h"

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

extern const struct hth_quant_format hth_quant_q2_k;
const struct hth_quant_format hth_quant_q2_k = {
	.name = "q2_k",
	.ggml_type = 10,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
};
