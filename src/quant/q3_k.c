/* q3_k: 256 elements in 110 bytes, 16 sub-blocks of 16:
 *
 *   0    hmask (32)   third bits: element 32k + l is bit k of byte l
 *   32   qs (64)      low two bits: element 128h + 32k + l stands in byte 32h + l, bits 2k and 2k+1
 *   96   scales (12)  6-bit scales: low 4 bits of sub-block j in nibble j / 8 of byte j % 8, high 2 bits in byte
 *                     8 + j % 4, bits 2 (j / 4) and up
 *   108  d (f16)
 *
 * value = d * (scale - 32) * (q - 4), q in 0..7. */
#include "quant/fit.h"

enum { ELEMS = 256, BYTES = 110 };

static int scale_of(const uint8_t *scales, int j)
{
	int low = scales[j % 8] >> 4 * (j / 8) & 15;
	return (low | (scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4) - 32;
}

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = quant_load_f16(in + 108);
		for (int i = 0; i < ELEMS; i += 16) {
			float scale = d * (float)scale_of(in + 96, i / 16);
			const uint8_t *q = in + 32 + 32 * (i / 128) + i % 32, *high = in + i % 32;
			int shift = 2 * (i / 32 % 4), bit = i / 32;
			for (int l = 0; l < 16; l++)
				dst[i + l] = scale * (float)((q[l] >> shift & 3) + (high[l] >> bit & 1) * 4 - 4);
		}
	}
}

static void store_scale(uint8_t *scales, int j, int scale)
{
	int s = scale + 32;
	scales[j % 8] |= (uint8_t)((s & 15) << 4 * (j / 8));
	scales[8 + j % 4] |= (uint8_t)(s >> 4 << 2 * (j / 4));
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	struct quant_k_scales k;
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		quant_fit_k_scales(src + at, w, 4, 32, &k);
		memset(out, 0, BYTES);
		for (int j = 0; j < 16; j++)
			store_scale(out + 96, j, k.scale[j]);
		for (int i = 0; i < ELEMS; i++) {
			int q = k.q[i] + 4;
			out[32 + 32 * (i / 128) + i % 32] |= (uint8_t)((q & 3) << 2 * (i / 32 % 4));
			out[i % 32] |= (uint8_t)(q >> 2 << i / 32);
		}
		quant_store_f16(out + 108, k.d);
	}
}

extern const struct hth_quant_format hth_quant_q3_k;
const struct hth_quant_format hth_quant_q3_k = {
	.name = "q3_k",
	.ggml_type = 11,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
