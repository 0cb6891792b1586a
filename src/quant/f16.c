/* f16: IEEE half precision, little-endian; a block is one element. Values past 65504 become infinity. */
#include "quant/quant_int.h"

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t i = 0; i < n_elems; i++)
		dst[i] = quant_f16_to_f32(quant_load_u16(in + 2 * i));
}

/* Rounds to nearest even. */
static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	(void)importance;
	uint8_t *out = dst;
	for (int64_t i = 0; i < n_elems; i++)
		quant_store_u16(out + 2 * i, quant_f32_to_f16(src[i]));
}

extern const struct hth_quant_format hth_quant_f16;
const struct hth_quant_format hth_quant_f16 = {
	.name = "f16",
	.ggml_type = 1,
	.block_elems = 1,
	.block_bytes = 2,
	.unpack = unpack,
	.pack = pack,
};
