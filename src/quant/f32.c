/* f32: IEEE single precision, little-endian; a block is one element. Conversion is
 * a copy on every machine hearth runs on (all are little-endian). */
#include "quant/quant_int.h"

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	memcpy(dst, src, (size_t)n_elems * sizeof(float));
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	(void)importance;
	memcpy(dst, src, (size_t)n_elems * sizeof(float));
}

extern const struct hth_quant_format hth_quant_f32;
const struct hth_quant_format hth_quant_f32 = {
	.name = "f32",
	.ggml_type = 0,
	.block_elems = 1,
	.block_bytes = 4,
	.unpack = unpack,
	.pack = pack,
};
