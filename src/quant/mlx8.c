/* mlx8: 32 elements in 40 bytes: scale d (f32), offset m (f32), 32 levels of a byte; value = d * q + m. What MLX's affine
 * tensors of up to 8 bits become when 16-bit blocks cannot say the same (formats/hf_mlx.h): scale and offset come from
 * f16, bf16 or f32 and stay as they are. It is no type of GGUF files. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 40 };

static float load_f32(const uint8_t *p)
{
	return quant_bits_f32((uint32_t)quant_load_u16(p) | (uint32_t)quant_load_u16(p + 2) << 16);
}

static void store_f32(uint8_t *p, float f)
{
	uint32_t u = quant_f32_bits(f);

	quant_store_u16(p, (uint16_t)(u & 0xFFFF));
	quant_store_u16(p + 2, (uint16_t)(u >> 16));
}

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = load_f32(in), m = load_f32(in + 4);
		for (int j = 0; j < ELEMS; j++)
			dst[j] = (float)in[8 + j] * d + m;
	}
}

static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst;
	float w[ELEMS];
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		const float *x = src + at; // (32)
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		struct quant_line f = quant_fit_line(x, w, ELEMS, 255, true);
		float inv = quant_inverse(f.d);
		store_f32(out, f.d);
		store_f32(out + 4, f.m);
		for (int j = 0; j < ELEMS; j++)
			out[8 + j] = (uint8_t)quant_level((x[j] - f.m) * inv, 0, 255);
	}
}

extern const struct hth_quant_format hth_quant_mlx8;
const struct hth_quant_format hth_quant_mlx8 = {
	.name = "mlx8",
	.ggml_type = -1,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
