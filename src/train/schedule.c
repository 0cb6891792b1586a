/* Learning rates: a linear warm-up, then constant, or linear or half a cosine down to min_lr_ratio of the peak, which
 * would be reached one step after the last. */
#include "train/config.h"

#include <math.h>

static double warmup_of(const struct hth_train_config *c, int64_t total)
{
	if (c->warmup_steps >= 0)
		return (double)c->warmup_steps;
	return ceil(c->warmup_ratio * (double)total);
}

double hth_schedule_lr(const struct hth_train_config *c, int64_t step, int64_t total)
{
	const double pi = 3.14159265358979323846;
	double peak = c->learning_rate, low = peak * c->min_lr_ratio, warmup = warmup_of(c, total);

	if ((double)step < warmup)
		return peak * (double)(step + 1) / warmup;
	if (c->schedule == HTH_SCHEDULE_CONSTANT || (double)total <= warmup)
		return peak;
	double done = ((double)step - warmup) / ((double)total - warmup);
	if (done > 1)
		done = 1;
	if (c->schedule == HTH_SCHEDULE_LINEAR)
		return low + (peak - low) * (1 - done);
	return low + (peak - low) * 0.5 * (1 + cos(pi * done));
}
