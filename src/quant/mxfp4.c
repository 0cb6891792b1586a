/* mxfp4: 32 elements in 17 bytes: an exponent e (E8M0), 16 bytes of nibbles: byte j holds element j (low) and j + 16
 * (high); value = 2^(e - 127) * v, v by nibble (E2M1): 0 .5 1 1.5 2 3 4 6, and the same negative from 8 on
 * (8 is 0, without a sign).
 * Source: OCP Microscaling Formats 1.0; ggml-common.h, which reads e = 255 as a number too. */
#include "quant/fit.h"

enum { ELEMS = 32, BYTES = 17, LARGEST = 6 };

static const float levels[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, LARGEST, 0, -0.5f, -1, -1.5f, -2, -3, -4, -LARGEST};

/* 2^(e - 128), so that twice a level times it is in range for every e. */
static float half_scale(uint8_t e)
{
	uint32_t bits = e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static void unpack(const void *src, float *dst, int64_t n_elems)
{
	const uint8_t *in = src;
	for (int64_t b = 0; b < n_elems / ELEMS; b++, in += BYTES, dst += ELEMS) {
		float d = half_scale(in[0]);
		const uint8_t *qs = in + 1; // (16)
		for (int j = 0; j < 16; j++) {
			dst[j] = 2 * levels[qs[j] & 15] * d;
			dst[j + 16] = 2 * levels[qs[j] >> 4] * d;
		}
	}
}

/* The nearest of the eight magnitudes, the lower at a tie. */
static int level_of(float x)
{
	static const float middle[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
	float size = x < 0 ? -x : x;
	int q = 0;

	while (q < 7 && size > middle[q])
		q++;
	return x < 0 && q > 0 ? q + 8 : q;
}

/* Levels of x (32) at exponent e; returns the weighted squared error. */
static double levels_at(const float *x, const float *w, uint8_t e, uint8_t *q)
{
	float d = half_scale(e), inv = 0.5f / d;
	double error = 0;

	for (int j = 0; j < ELEMS; j++) {
		q[j] = (uint8_t)level_of(x[j] * inv);
		double off = (double)x[j] - 2 * (double)levels[q[j]] * (double)d;
		error += (double)w[j] * off * off;
	}
	return error;
}

/* The smallest exponent whose largest level is not below top. */
static int exponent_of(float top)
{
	int x = 0;
	bool power = frexpf(top / LARGEST, &x) == 0.5f;

	x += power ? 126 : 127;
	return top == 0 || x < 0 ? 0 : x > 254 ? 254 : x;
}

/* That exponent, or a smaller one that cuts the largest elements off, whichever errs least. */
static void pack(const float *src, void *dst, int64_t n_elems, const float *importance)
{
	uint8_t *out = dst, q[ELEMS], best[ELEMS];
	float w[ELEMS];
	for (int64_t at = 0; at < n_elems; at += ELEMS, out += BYTES) {
		const float *x = src + at; // (32)
		float top = 0;
		quant_weights(importance != NULL ? importance + at : NULL, w, ELEMS);
		for (int j = 0; j < ELEMS; j++)
			top = fmaxf(top, fabsf(x[j]));
		int e = exponent_of(top);
		double least = levels_at(x, w, (uint8_t)e, best);
		out[0] = (uint8_t)e;
		for (int lower = e - 1; lower >= 0 && lower >= e - 2; lower--) {
			double error = levels_at(x, w, (uint8_t)lower, q);
			if (error < least) {
				least = error;
				out[0] = (uint8_t)lower;
				memcpy(best, q, sizeof(best));
			}
		}
		for (int j = 0; j < 16; j++)
			out[1 + j] = (uint8_t)(best[j] | best[j + 16] << 4);
	}
}

extern const struct hth_quant_format hth_quant_mxfp4;
const struct hth_quant_format hth_quant_mxfp4 = {
	.name = "mxfp4",
	.ggml_type = 39,
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.unpack = unpack,
	.pack = pack,
};
