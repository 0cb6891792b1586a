/* bf16: the upper half of an f32, little-endian; a block is one element. */
#include "quant/quant_int.h"

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t i = 0; i < n_elems; i++)
		dst[i] = quant_bits_f32((uint32_t)quant_load_u16(in + 2 * i) << 16);
}

/* Rounds to nearest even. */
static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	(void)importance;
	uint8_t *out = dst;
	for (int64_t i = 0; i < n_elems; i++)
		quant_store_u16(out + 2 * i, quant_f32_to_bf16(src[i]));
}

extern const struct hth_quant_format hth_quant_bf16;
const struct hth_quant_format hth_quant_bf16 = {
	.name = "bf16",
	.ggml_type = 30,
	.block_elems = 1,
	.block_bytes = 2,
	.unpack = unpack,
	.pack = pack,
};
