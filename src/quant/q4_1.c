/* q4_1: 32 elements in 20 bytes: scale d (f16), offset m (f16), 16 bytes of nibbles: byte j holds element j (low)
 * and j + 16 (high); value = d * q + m, q in 0..15. */
#include "quant/quant_int.h"

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

extern const struct hth_quant_format hth_quant_q4_1;
const struct hth_quant_format hth_quant_q4_1 = {
	.name = "q4_1",
	.ggml_type = 3,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
};
