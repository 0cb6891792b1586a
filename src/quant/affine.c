/* The search for an affine group's scale and bias: the line of the block formats (fit.c), then its two numbers rounded to
 * the type they are stored in, the scale in each direction, with the bias that is best for the levels that follow.
 * Source of the layout: mlx backend/common/quantized.h. */
#include "quant/affine.h"

#include "quant/fit.h"

enum { MAX_GROUP = 128, ROUNDS = 3 };

static float stored(float v, enum hth_quant type)
{
	if (type == HTH_QUANT_F16)
		return quant_as_f16(v);
	return quant_bits_f32((uint32_t)quant_f32_to_bf16(v) << 16);
}

/* The neighbour of a positive value of the type, one step up or down. */
static float step(float v, enum hth_quant type, int by)
{
	if (type == HTH_QUANT_F16)
		return quant_f16_to_f32((uint16_t)(quant_f32_to_f16(v) + by));
	return quant_bits_f32((uint32_t)(quant_f32_to_bf16(v) + by) << 16);
}

/* The bias that fits x to the levels which f gives, as it is stored. */
static float refit_bias(const float *x, const float *w, int n, struct quant_line f, float hi, enum hth_quant type)
{
	float sum = 0, weight = 0, inv = quant_inverse(f.d);

	for (int i = 0; i < n; i++) {
		float q = quant_level((x[i] - f.m) * inv, 0, hi);
		sum += w[i] * (x[i] - f.d * q);
		weight += w[i];
	}
	return stored(weight > 0 ? sum / weight : f.m, type);
}

static void try_line(const float *x, const float *w, int n, struct quant_line f, float hi, struct quant_line *best,
		     float *least)
{
	float error = quant_line_error(x, w, n, f, 0, hi);

	if (error < *least) {
		*best = f;
		*least = error;
	}
}

void hth_affine_fit(const float *x, int n, int bits, enum hth_quant type, const float *importance, uint8_t *level,
		    float *scale, float *bias)
{
	int hi = (1 << bits) - 1;
	float w[MAX_GROUP], top = (float)hi;

	quant_weights(importance, w, n);
	struct quant_line line = quant_fit_line(x, w, n, hi, true);
	struct quant_line best = {stored(line.d, type), stored(line.m, type)};
	float least = quant_line_error(x, w, n, best, 0, top);
	float middle = best.d;
	for (int by = -1; by <= 1 && middle > 0; by++) {
		struct quant_line f = {step(middle, type, by), stored(line.m, type)};
		for (int round = 0; round < ROUNDS && f.d > 0; round++) {
			try_line(x, w, n, f, top, &best, &least);
			f.m = refit_bias(x, w, n, f, top, type);
		}
		if (f.d > 0)
			try_line(x, w, n, f, top, &best, &least);
	}
	float inv = quant_inverse(best.d);
	for (int i = 0; i < n; i++)
		level[i] = (uint8_t)quant_level((x[i] - best.m) * inv, 0, top);
	*scale = best.d;
	*bias = best.m;
}
