/* Super-blocks of the K formats: 256 elements whose sub-blocks' scales (and mins) are themselves small integers under
 * one f16 factor. First every sub-block is fitted alone (fit.c); then a factor is chosen that lets the integers come
 * close; then integers and factors are improved in turn, each step keeping only what lowers the weighted squared
 * error of the values as they will be read back. */
#include "quant/fit.h"

enum { PASSES = 2, TOPS = 3, FACTORS = 16 };

static int nearest(float v, int lo, int hi)
{
	return (int)quant_level(v, (float)lo, (float)hi);
}

/* ---- scales and mins ---- */

struct lines_job {
	const float *x, *w; // (256)
	int sub, n_sub, q_max, scale_max;
};

static float lines_error(const struct lines_job *job, const struct quant_k_lines *k, int j, int scale, int min)
{
	int at = j * job->sub;
	struct quant_line f = {k->d * (float)scale, -(k->dmin * (float)min)};
	return quant_line_error(job->x + at, job->w + at, job->sub, f, 0, (float)job->q_max);
}

/* Integers nearest to the fitted lines under k's factors; returns the error. */
static float round_lines(const struct lines_job *job, const struct quant_line *fit, struct quant_k_lines *k)
{
	float total = 0, inv = quant_inverse(k->d), inv_min = quant_inverse(k->dmin);
	for (int j = 0; j < job->n_sub; j++) {
		k->scale[j] = (uint8_t)nearest(fit[j].d * inv, 0, job->scale_max);
		k->min[j] = (uint8_t)nearest(-fit[j].m * inv_min, 0, job->scale_max);
		total += lines_error(job, k, j, k->scale[j], k->min[j]);
	}
	return total;
}

/* Keeps scale and min of sub-block j where they lower its error. */
static void try_line(const struct lines_job *job, struct quant_k_lines *k, int j, int scale, int min, float *best)
{
	if (scale < 0 || min < 0 || scale > job->scale_max || min > job->scale_max)
		return;
	float error = lines_error(job, k, j, scale, min);
	if (error < *best) {
		*best = error;
		k->scale[j] = (uint8_t)scale;
		k->min[j] = (uint8_t)min;
	}
}

/* Tries the neighbours of each sub-block's scale and min, and the mins that lie one level away: a sub-block that does
 * not use all levels fits as well there, and one of them may be nearer to a whole min. */
static float improve_lines(const struct lines_job *job, struct quant_k_lines *k)
{
	float total = 0, inv_min = quant_inverse(k->dmin);
	for (int j = 0; j < job->n_sub; j++) {
		int scale = k->scale[j], min = k->min[j];
		int level = nearest(k->d * (float)scale * inv_min, 0, job->scale_max);
		float best = lines_error(job, k, j, scale, min);
		for (int s = scale - 1; s <= scale + 1; s++)
			for (int m = min - 1; m <= min + 1; m++)
				try_line(job, k, j, s, m, &best);
		if (level > 1) {
			try_line(job, k, j, scale, min - level, &best);
			try_line(job, k, j, scale, min + level, &best);
		}
		total += best;
	}
	return total;
}

/* The f16 factor under which the n values come closest to integers in 0..max, the largest value standing on one of
 * max, max - 1, ... max - FACTORS + 1. */
static float common_factor(const float *v, int n, int max)
{
	float top = 0, best = 0, best_error = 0;
	for (int j = 0; j < n; j++)
		top = v[j] > top ? v[j] : top;
	for (int less = 0; less < FACTORS && less < max / 2; less++) {
		float d = quant_as_f16(top / (float)(max - less)), inv = quant_inverse(d), error = 0;
		for (int j = 0; j < n; j++) {
			float e = v[j] - d * quant_level(v[j] * inv, 0, (float)max);
			error += e * e;
		}
		if (error < best_error || less == 0) {
			best = d;
			best_error = error;
		}
	}
	return best;
}

/* The least squares factors for the integers and levels at hand: x ~ d * (scale q) - dmin * min. */
static void refit_factors(const struct lines_job *job, struct quant_k_lines *k)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
	for (int j = 0; j < job->n_sub; j++) {
		float d = k->d * (float)k->scale[j], m = k->dmin * (float)k->min[j], inv = quant_inverse(d);
		double b = -(double)k->min[j];
		for (int i = j * job->sub; i < (j + 1) * job->sub; i++) {
			double a =
				(double)k->scale[j] * (double)quant_level((job->x[i] + m) * inv, 0, (float)job->q_max);
			double w = (double)job->w[i], v = (double)job->x[i];
			aa += w * a * a;
			ab += w * a * b;
			bb += w * b * b;
			ax += w * a * v;
			bx += w * b * v;
		}
	}
	double det = aa * bb - ab * ab, d = 0, dmin = 0;
	if (det > 1e-9 * aa * bb) {
		d = (ax * bb - bx * ab) / det;
		dmin = (bx * aa - ax * ab) / det;
	} else if (aa > 0) {
		d = ax / aa;
	}
	k->d = d > 0 ? quant_as_f16((float)d) : 0;
	k->dmin = dmin > 0 ? quant_as_f16((float)dmin) : 0;
}

void quant_fit_k_lines(const float *x, const float *w, int sub, int q_max, int scale_max, struct quant_k_lines *out)
{
	struct lines_job job = {x, w, sub, QUANT_K / sub, q_max, scale_max};
	struct quant_line fit[16];
	float scales[16], mins[16], top = 0, low = 0, best = 0;
	for (int j = 0; j < job.n_sub; j++) {
		fit[j] = quant_fit_line(x + j * sub, w + j * sub, sub, q_max, false);
		scales[j] = fit[j].d;
		mins[j] = -fit[j].m;
		top = scales[j] > top ? scales[j] : top;
		low = mins[j] > low ? mins[j] : low;
	}
	const float d[2] = {quant_as_f16(top / (float)scale_max), common_factor(scales, job.n_sub, scale_max)};
	const float dmin[2] = {quant_as_f16(low / (float)scale_max), common_factor(mins, job.n_sub, scale_max)};
	memset(out, 0, sizeof(*out));
	for (int way = 0; way < 4; way++) {
		struct quant_k_lines k = {.d = d[way & 1], .dmin = dmin[way >> 1]};
		float error = round_lines(&job, fit, &k);
		if (error < best || way == 0) {
			*out = k;
			best = error;
		}
	}
	best = improve_lines(&job, out);
	for (int pass = 0; pass < PASSES && best > 0; pass++) {
		struct quant_k_lines k = *out;
		refit_factors(&job, &k);
		float error = improve_lines(&job, &k);
		if (!(error < best))
			break;
		*out = k;
		best = error;
	}
	for (int i = 0; i < QUANT_K; i++) {
		int j = i / sub;
		float step = out->d * (float)out->scale[j], m = out->dmin * (float)out->min[j];
		out->q[i] = (uint8_t)nearest((x[i] + m) * quant_inverse(step), 0, q_max);
	}
}

/* ---- signed scales ---- */

struct scales_job {
	const float *x, *w; // (256)
	int q_half, scale_half;
};

static float scales_error(const struct scales_job *job, float d, int j, int scale)
{
	struct quant_line f = {d * (float)scale, 0};
	return quant_line_error(job->x + 16 * j, job->w + 16 * j, 16, f, (float)-job->q_half, (float)(job->q_half - 1));
}

static float round_scales(const struct scales_job *job, const float *fit, struct quant_k_scales *k)
{
	float total = 0, inv = quant_inverse(k->d);
	for (int j = 0; j < 16; j++) {
		k->scale[j] = (int8_t)nearest(fit[j] * inv, -job->scale_half, job->scale_half - 1);
		total += scales_error(job, k->d, j, k->scale[j]);
	}
	return total;
}

static float improve_scales(const struct scales_job *job, struct quant_k_scales *k)
{
	float total = 0;
	for (int j = 0; j < 16; j++) {
		int scale = k->scale[j];
		float best = scales_error(job, k->d, j, scale);
		for (int s = scale - 2; s <= scale + 2; s++) {
			if (s < -job->scale_half || s >= job->scale_half)
				continue;
			float error = scales_error(job, k->d, j, s);
			if (error < best) {
				best = error;
				k->scale[j] = (int8_t)s;
			}
		}
		total += best;
	}
	return total;
}

static void refit_factor(const struct scales_job *job, struct quant_k_scales *k)
{
	double aa = 0, ax = 0;
	for (int i = 0; i < QUANT_K; i++) {
		float inv = quant_inverse(k->d * (float)k->scale[i / 16]);
		double q = (double)quant_level(job->x[i] * inv, (float)-job->q_half, (float)(job->q_half - 1));
		double a = (double)k->scale[i / 16] * q;
		aa += (double)job->w[i] * a * a;
		ax += (double)job->w[i] * a * (double)job->x[i];
	}
	k->d = aa > 0 ? quant_as_f16((float)(ax / aa)) : 0;
}

void quant_fit_k_scales(const float *x, const float *w, int q_half, int scale_half, struct quant_k_scales *out)
{
	struct scales_job job = {x, w, q_half, scale_half};
	float fit[16], top = 0, best = 0;
	for (int j = 0; j < 16; j++) {
		fit[j] = quant_fit_scale(x + 16 * j, w + 16 * j, 16, -q_half, q_half - 1, false);
		top = fabsf(fit[j]) > fabsf(top) ? fit[j] : top;
	}
	memset(out, 0, sizeof(*out));
	for (int a = 0; a < TOPS; a++) { /* the widest scale stands on -half, -half + 1, ... */
		struct quant_k_scales k = {.d = quant_as_f16(top / (float)(a - scale_half))};
		float error = round_scales(&job, fit, &k);
		if (error < best || a == 0) {
			*out = k;
			best = error;
		}
	}
	best = improve_scales(&job, out);
	for (int pass = 0; pass < PASSES && best > 0; pass++) {
		struct quant_k_scales k = *out;
		refit_factor(&job, &k);
		float error = improve_scales(&job, &k);
		if (!(error < best))
			break;
		*out = k;
		best = error;
	}
	for (int i = 0; i < QUANT_K; i++)
		out->q[i] =
			(int8_t)nearest(x[i] * quant_inverse(out->d * (float)out->scale[i / 16]), -q_half, q_half - 1);
}
