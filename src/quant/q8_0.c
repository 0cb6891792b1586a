/* q8_0: 32 elements in 34 bytes: scale d (f16), then 32 signed bytes; value = d * q. */
#include "quant/quant_int.h"

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

extern const struct hth_quant_format hth_quant_q8_0;
const struct hth_quant_format hth_quant_q8_0 = {
	.name = "q8_0",
	.ggml_type = 8,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
};
