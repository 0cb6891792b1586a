/* Frequencies of rotary positions: theta^(-2i/rot), stretched as the file says.
 * Sources: Su et al. 2021 (RoFormer); transformers modeling_rope_utils.py for Llama 3.1's three ranges. */
#include "models/model_int.h"

#include <math.h>

/* Llama 3.1: short waves stay, long ones are stretched by the factor, those between are blended. */
static double llama3_frequency(const struct hth_model_config *c, double freq)
{
	double original = (double)c->rope_original;
	double turns = original * freq / (2 * M_PI); /* rotations within the original context */

	if (turns > c->rope_high)
		return freq;
	if (turns < c->rope_low)
		return freq / c->rope_factor;
	double smooth = (turns - c->rope_low) / (c->rope_high - c->rope_low);
	return (1 - smooth) * freq / c->rope_factor + smooth * freq;
}

void hth_rope_frequencies(const struct hth_model_config *c, const float *factors, float *freq)
{
	for (int64_t i = 0; i < c->rot / 2; i++) {
		double f = pow(c->rope_theta, -2.0 * (double)i / (double)c->rot);
		if (factors != NULL)
			f /= (double)factors[i];
		if (c->rope_scaling == HTH_ROPE_LLAMA3)
			f = llama3_frequency(c, f);
		else if (c->rope_scaling == HTH_ROPE_LINEAR)
			f /= c->rope_factor;
		freq[i] = (float)f;
	}
}
