/* Scales and offsets of one block or sub-block: a grid of starting points, each followed by the closed-form least
 * squares line for the levels that it gives; the best one is improved by more of the same (Lloyd's method).
 * Sums run in eight lanes, so that their order is fixed and compilers can use vectors. Super-blocks: fit_k.c.
 * The idea of a grid of scales before a least squares step is that of ggml's encoders (ggml-quants.c). */
#include "quant/fit.h"

enum { LANES = 8, POLISH = 4, SPANS = 9 };

/* Starting points: how many levels the range of values spans, in units of the format's. Above 1 the extremes are cut,
 * which pays where they are rare or weigh little. */
static const float spans[SPANS] = {0.9f, 0.97f, 1.03f, 1.06f, 1.1f, 1.14f, 1.19f, 1.25f, 1.33f};
/* And whole numbers of levels, all of the format's or fewer by these: so values that came out of this format go back in
 * unchanged, even if they do not use its last levels. */
enum { WHOLE = 3 };

struct fit_job {
	const float *x, *w; // (n)
	int n;
	bool f16;
};

static float sum_lanes(const float acc[LANES])
{
	return ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
}

void quant_weights(const float *importance, float *w, int n)
{
	float largest = 0;
	for (int i = 0; i < n; i++) {
		w[i] = importance != NULL && importance[i] > 0 && importance[i] <= 3e38f ? importance[i] : 0;
		largest = w[i] > largest ? w[i] : largest;
	}
	for (int i = 0; i < n; i++)
		w[i] = largest > 0 ? w[i] / largest : 1.0f;
}

float quant_as_f16(float d)
{
	d = d > -65504.0f ? d : -65504.0f;
	d = d < 65504.0f ? d : 65504.0f;
	return quant_f16_to_f32(quant_f32_to_f16(d));
}

float quant_line_error(const float *x, const float *w, int n, struct quant_line f, float lo, float hi)
{
	float acc[LANES] = {0}, inv = quant_inverse(f.d);
	for (int i = 0; i < n; i += LANES)
		for (int l = 0; l < LANES; l++) {
			float q = quant_level((x[i + l] - f.m) * inv, lo, hi);
			float e = x[i + l] - (f.d * q + f.m);
			acc[l] += w[i + l] * e * e;
		}
	return sum_lanes(acc);
}

/* ---- value = d * q ---- */

/* The least squares d for the levels that d0 gives; d0 where there are none. */
static float refit_scale(const float *x, const float *w, int n, float d0, float lo, float hi)
{
	float xq[LANES] = {0}, qq[LANES] = {0}, inv = quant_inverse(d0);
	for (int i = 0; i < n; i += LANES)
		for (int l = 0; l < LANES; l++) {
			float q = quant_level(x[i + l] * inv, lo, hi);
			xq[l] += w[i + l] * x[i + l] * q;
			qq[l] += w[i + l] * q * q;
		}
	float den = sum_lanes(qq), d = sum_lanes(xq) / den;
	return den > 0 && d - d == 0 ? d : d0;
}

/* Tries the least squares line that follows from `start`; keeps it in *best if its error is smaller. */
static void try_scale(const struct fit_job *job, float start, float lo, float hi, float *best, float *best_error)
{
	float d = refit_scale(job->x, job->w, job->n, start, lo, hi);
	struct quant_line f = {job->f16 ? quant_as_f16(d) : d, 0};
	float error = quant_line_error(job->x, job->w, job->n, f, lo, hi);
	if (error < *best_error) {
		*best = f.d;
		*best_error = error;
	}
}

float quant_fit_scale(const float *x, const float *w, int n, int lo, int hi, bool f16)
{
	struct fit_job job = {x, w, n, f16};
	float extreme = 0;
	for (int i = 0; i < n; i++)
		extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
	float best = quant_as_f16(extreme / (float)lo);
	float best_error = quant_line_error(x, w, n, (struct quant_line){best, 0}, (float)lo, (float)hi);
	if (!(fabsf(extreme) > 0))
		return 0;
	/* The extreme value stands on one of the levels at either end, or near them. */
	for (int sign = 0; sign < 2; sign++) {
		float end = (float)(sign ? hi : lo);
		for (int less = 0; less < WHOLE; less++)
			try_scale(&job, extreme / (end - (float)(sign ? less : -less)), (float)lo, (float)hi, &best,
				  &best_error);
		for (int step = 0; step < SPANS; step++)
			try_scale(&job, extreme / (end * spans[step]), (float)lo, (float)hi, &best, &best_error);
	}
	for (int round = 0; round < POLISH; round++) {
		float before = best_error;
		try_scale(&job, best, (float)lo, (float)hi, &best, &best_error);
		if (!(best_error < before))
			break;
	}
	return best;
}

/* ---- value = d * q + m ---- */

/* The least squares line for the levels that f gives. `below`: m <= 0. */
static struct quant_line refit_line(const float *x, const float *w, int n, struct quant_line f, float hi, bool below)
{
	float sw[LANES] = {0}, sq[LANES] = {0}, sx[LANES] = {0}, sqq[LANES] = {0}, sqx[LANES] = {0};
	float inv = quant_inverse(f.d);
	for (int i = 0; i < n; i += LANES)
		for (int l = 0; l < LANES; l++) {
			float v = x[i + l], q = quant_level((v - f.m) * inv, 0, hi), wq = w[i + l] * q;
			sw[l] += w[i + l];
			sq[l] += wq;
			sx[l] += w[i + l] * v;
			sqq[l] += wq * q;
			sqx[l] += wq * v;
		}
	float W = sum_lanes(sw), Q = sum_lanes(sq), X = sum_lanes(sx), QQ = sum_lanes(sqq), QX = sum_lanes(sqx);
	float det = W * QQ - Q * Q;
	struct quant_line g = {(W * QX - Q * X) / det, (QQ * X - Q * QX) / det};
	if (!(det > 0) || (below && g.m > 0))
		g = (struct quant_line){QQ > 0 ? QX / QQ : f.d, det > 0 ? 0 : f.m};
	return g.d > 0 && g.d - g.d == 0 && g.m - g.m == 0 ? g : f;
}

static void try_line(const struct fit_job *job, struct quant_line start, float hi, struct quant_line *best,
		     float *best_error)
{
	if (!job->f16 && start.m > 0)
		start.m = 0;
	struct quant_line f = refit_line(job->x, job->w, job->n, start, hi, !job->f16);
	if (job->f16)
		f = (struct quant_line){quant_as_f16(f.d), quant_as_f16(f.m)};
	float error = quant_line_error(job->x, job->w, job->n, f, 0, hi);
	if (error < *best_error) {
		*best = f;
		*best_error = error;
	}
}

struct quant_line quant_fit_line(const float *x, const float *w, int n, int hi, bool f16)
{
	struct fit_job job = {x, w, n, f16};
	float least = x[0], most = x[0], top = (float)hi;
	for (int i = 1; i < n; i++) {
		least = x[i] < least ? x[i] : least;
		most = x[i] > most ? x[i] : most;
	}
	if (!f16 && least > 0)
		least = 0;
	struct quant_line best = {0, f16 ? quant_as_f16(least) : least};
	float best_error = quant_line_error(x, w, n, best, 0, top);
	if (!(most > least))
		return best;
	for (int step = 0; step < WHOLE + SPANS; step++) {
		float levels = step < WHOLE ? top - (float)step : top * spans[step - WHOLE],
		      d = (most - least) / levels;
		/* What is cut off or left over falls to the upper end, to both, or to the lower one. */
		for (int shift = 0; shift < 3; shift++) {
			struct quant_line start = {d, least + (levels - top) * 0.5f * (float)shift * d};
			try_line(&job, start, top, &best, &best_error);
			if (levels == top)
				break;
		}
	}
	for (int round = 0; round < POLISH; round++) {
		float before = best_error;
		try_line(&job, best, top, &best, &best_error);
		if (!(best_error < before))
			break;
	}
	return best;
}
