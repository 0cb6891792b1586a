/* Frequencies of rotary positions: theta^(-2i/rot), stretched as the file says.
 * Sources: Su et al. 2021 (RoFormer); transformers modeling_rope_utils.py for Llama 3.1's three
 * ranges; Peng et al. 2023 (YaRN). */
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

/* YaRN: the pair of columns that turns `turns` times within the original context. */
static double yarn_pair(const struct hth_model_config *c, double turns)
{
	double original = (double)c->rope_original;

	return (double)c->rot * log(original / (turns * 2 * M_PI)) / (2 * log(c->rope_theta));
}

/* Pairs that turn often stay, those that hardly turn are stretched, a ramp over the pairs lies between. */
static double yarn_frequency(const struct hth_model_config *c, int64_t i, double freq)
{
	double first = yarn_pair(c, c->rope_high), last = yarn_pair(c, c->rope_low);
	if (!c->rope_ramp_exact) {
		first = floor(first);
		last = ceil(last);
	}
	first = fmax(first, 0);
	last = fmin(last, (double)(c->rot - 1));
	double ramp = ((double)i - first) / fmax(last - first, 0.001);

	ramp = fmin(fmax(ramp, 0), 1);
	return freq / c->rope_factor * ramp + freq * (1 - ramp);
}

int64_t hth_rope_turned(const struct hth_model_config *c)
{
	return (int64_t)(c->rope_share * (double)c->rot / 2);
}

static double scaled_frequency(const struct hth_model_config *c, int64_t i, double freq)
{
	switch (c->rope_scaling) {
	case HTH_ROPE_LINEAR:
		return freq / c->rope_factor;
	case HTH_ROPE_LLAMA3:
		return llama3_frequency(c, freq);
	case HTH_ROPE_YARN:
		return yarn_frequency(c, i, freq);
	case HTH_ROPE_FACTORS:
		return freq / (double)c->rope_factors[i];
	case HTH_ROPE_SHARE:
		return i < hth_rope_turned(c) ? freq / c->rope_factor : 0;
	default:
		return freq;
	}
}

double hth_rope_divisor(const struct hth_model_config *c, int64_t i)
{
	double f = pow(c->rope_theta, -2.0 * (double)i / (double)c->rot);

	return f / scaled_frequency(c, i, f);
}

void hth_rope_frequencies(const struct hth_model_config *c, bool local, float *freq)
{
	double theta = local ? c->rope_local_theta : c->rope_theta;
	int64_t rot = hth_rope_columns(c, local);

	for (int64_t i = 0; i < rot / 2; i++) {
		double f = pow(theta, -2.0 * (double)i / (double)rot);
		freq[i] = (float)(local ? f : scaled_frequency(c, i, f));
	}
}

void hth_rope_frequencies_beyond(const struct hth_model_config *c, float *freq)
{
	for (int64_t i = 0; i < c->rot / 2; i++)
		freq[i] = (float)(pow(c->rope_theta, -2.0 * (double)i / (double)c->rot) / (double)c->rope_long[i]);
}
