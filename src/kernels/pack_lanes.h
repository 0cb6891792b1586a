/* The encoders behind pack.h, included by one file per processor family, which gives f8 (eight floats), i8 (eight
 * int32) and V_MAX, V_MIN (the second operand where the first is not a number).
 *
 * A group is eight blocks, or sub-blocks, of 16 or 32 elements, transposed: element i of all eight stands in x[i].
 * A candidate is judged by the error that the least squares line has on the candidate's own levels: three sums of one
 * pass tell both. That bounds the error on the nearest levels from above, and the last steps close the gap. */
#ifndef HTH_KERNELS_PACK_LANES_H
#define HTH_KERNELS_PACK_LANES_H

#include "kernels/pack.h"
#include "quant/fit.h"

enum { LANES = 8, WHOLE = 3, SPANS = 9, POLISH = 2, PASSES = 2, TOPS = 3, FACTORS = 16 };

/* As in quant/fit.c: how many levels the values span; and whole numbers of levels below the format's. */
static const float spans[SPANS] = {0.9f, 0.97f, 1.03f, 1.06f, 1.1f, 1.14f, 1.19f, 1.25f, 1.33f};

struct group {
	f8 x[32], w[32];
	f8 sw, sx, sxx; /* sums of w, w x, w x^2 */
	int n;          /* 16 or 32 */
};

/* What one pass over a group gives for levels q. */
struct moments {
	f8 q, qq, qx; /* sums of w q, w q^2, w q x */
};

static inline f8 all(float v)
{
	return (f8){v, v, v, v, v, v, v, v};
}

static inline f8 pick(i8 mask, f8 yes, f8 no)
{
	return (f8)((mask & (i8)yes) | (~mask & (i8)no));
}

/* 1 / d, 0 where that is not finite. */
static inline f8 inverse(f8 d)
{
	f8 inv = 1.0f / d;
	return pick((inv - inv == 0) & (d != 0), inv, all(0));
}

static inline f8 levels(f8 v, f8 lo, f8 hi)
{
	v = V_MIN(V_MAX(v, lo), hi);
	return (v + 12582912.0f) - 12582912.0f;
}

static inline float sum8(f8 v)
{
	return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

static inline float max8(f8 v)
{
	float most = v[0];
	for (int l = 1; l < LANES; l++)
		most = v[l] > most ? v[l] : most;
	return most;
}

static inline f8 halves(f8 v)
{
	for (int l = 0; l < LANES; l++)
		v[l] = quant_as_f16(v[l]);
	return v;
}

/* Eight blocks of n elements one after the other; importance NULL: all count alike. `weigh` elements share one
 * normalisation of their weights: the block's, or the whole super-block's. */
static inline void load(struct group *g, const float *src, const float *w, int n)
{
	float *x = (float *)g->x, *to = (float *)g->w;

	g->n = n;
	g->sw = g->sx = g->sxx = all(0);
	for (int l = 0; l < LANES; l++)
		for (int i = 0; i < n; i++)
			x[i * LANES + l] = src[l * n + i];
	for (int l = 0; w != NULL && l < LANES; l++)
		for (int i = 0; i < n; i++)
			to[i * LANES + l] = w[l * n + i];
	for (int i = 0; i < n; i++) {
		if (w == NULL)
			g->w[i] = all(1);
		f8 wx = g->w[i] * g->x[i];
		g->sw += g->w[i];
		g->sx += wx;
		g->sxx += wx * g->x[i];
	}
}

static inline struct moments measure(const struct group *g, f8 d, f8 m, f8 lo, f8 hi)
{
	struct moments s = {all(0), all(0), all(0)};
	f8 inv = inverse(d);

	for (int i = 0; i < g->n; i++) {
		f8 q = levels((g->x[i] - m) * inv, lo, hi), wq = g->w[i] * q;
		s.q += wq;
		s.qq += wq * q;
		s.qx += wq * g->x[i];
	}
	return s;
}

/* The weighted squared error on the nearest levels of value = d q + m. */
static inline f8 error_of(const struct group *g, f8 d, f8 m, f8 lo, f8 hi)
{
	f8 inv = inverse(d), sum = all(0);

	for (int i = 0; i < g->n; i++) {
		f8 e = g->x[i] - (d * levels((g->x[i] - m) * inv, lo, hi) + m);
		sum += g->w[i] * e * e;
	}
	return sum;
}

/* ---- value = d q ---- */

static inline f8 extremes(const struct group *g)
{
	f8 most = all(0);

	for (int i = 0; i < g->n; i++) {
		f8 v = g->x[i];
		most = pick(v * v > most * most, v, most);
	}
	return most;
}

/* Keeps the least squares scale of the levels that d gives where its error is smaller. */
static inline void try_scale(const struct group *g, f8 start, f8 lo, f8 hi, f8 *best, f8 *error)
{
	f8 inv = inverse(start), qq = all(0), qx = all(0);

	for (int i = 0; i < g->n; i++) {
		f8 q = levels(g->x[i] * inv, lo, hi), wq = g->w[i] * q;
		qq += wq * q;
		qx += wq * g->x[i];
	}
	f8 d = qx / qq, e = g->sxx - d * qx;
	i8 better = (e < *error) & (qq > 0) & (d - d == 0);
	*best = pick(better, d, *best);
	*error = pick(better, e, *error);
}

/* `spread`: tries spans beyond the whole numbers of levels too; formats with many levels gain nothing by it. */
static inline f8 fit_scale(const struct group *g, int lo_level, int hi_level, bool spread)
{
	f8 lo = all((float)lo_level), hi = all((float)hi_level), most = extremes(g), error = g->sxx;
	f8 best = most / (float)lo_level;

	for (int sign = 0; sign < (lo_level == -hi_level ? 1 : 2); sign++) {
		float end = (float)(sign ? hi_level : lo_level);
		for (int less = 0; less < WHOLE; less++)
			try_scale(g, most / (end - (float)(sign ? less : -less)), lo, hi, &best, &error);
		for (int step = 0; spread && step < SPANS; step++)
			try_scale(g, most / (end * spans[step]), lo, hi, &best, &error);
	}
	for (int round = 0; round < (spread ? POLISH : 1); round++)
		try_scale(g, best, lo, hi, &best, &error);
	return best;
}

/* ---- value = d q + m ---- */

struct lines {
	f8 d, m;
};

/* `below`: m <= 0. */
static inline void try_line(const struct group *g, f8 d, f8 m, float top, bool below, struct lines *best, f8 *error)
{
	struct moments s = measure(g, d, below ? V_MIN(m, all(0)) : m, all(0), all(top));
	f8 det = g->sw * s.qq - s.q * s.q, inv = 1.0f / det;
	f8 nd = (g->sw * s.qx - s.q * g->sx) * inv, nm = (s.qq * g->sx - s.q * s.qx) * inv;
	i8 flat = ~(det > 0);

	if (below)
		flat |= nm > 0;
	nm = pick(flat, all(0), nm);
	nd = pick(flat, s.qx / s.qq, nd);
	f8 e = g->sxx - nd * s.qx - nm * g->sx;
	/* Without an offset the line is the best of those, so the same formula holds. */
	i8 better = (e < *error) & (nd > 0) & (nd - nd == 0) & (nm - nm == 0);
	if (!below)
		better &= det > 0;
	best->d = pick(better, nd, best->d);
	best->m = pick(better, nm, best->m);
	*error = pick(better, e, *error);
}

static inline struct lines fit_lines(const struct group *g, int top_level, bool below)
{
	float top = (float)top_level;
	f8 least = g->x[0], most = g->x[0];

	for (int i = 1; i < g->n; i++) {
		least = pick(g->x[i] < least, g->x[i], least);
		most = pick(g->x[i] > most, g->x[i], most);
	}
	if (below)
		least = V_MIN(least, all(0));
	/* To begin with: everything on m. */
	struct lines best = {all(0), least};
	f8 error = g->sxx - 2 * least * g->sx + least * least * g->sw;
	for (int step = 0; step < WHOLE + SPANS; step++) {
		float n = step < WHOLE ? top - (float)step : top * spans[step - WHOLE];
		f8 d = (most - least) / n;
		for (int shift = 0; shift < (n == top ? 1 : 3); shift++)
			try_line(g, d, least + (n - top) * 0.5f * (float)shift * d, top, below, &best, &error);
	}
	for (int round = 0; round < POLISH; round++)
		try_line(g, best.d, best.m, top, below, &best, &error);
	return best;
}

/* ---- super-blocks with scales and mins ---- */

struct k_lines {
	float d, dmin;
	f8 scale[2], min[2]; /* integers, of each group */
};

struct k_job {
	struct group g[2];
	int groups;
	float top, scale_max;
};

static inline f8 nearest(f8 v, float max)
{
	return levels(v, all(0), all(max));
}

static inline f8 k_error(const struct k_job *job, int at, float d, float dmin, f8 scale, f8 min)
{
	return error_of(&job->g[at], d * scale, -(dmin * min), all(0), all(job->top));
}

static inline float round_k(const struct k_job *job, const struct lines *fit, struct k_lines *k)
{
	float total = 0, inv = quant_inverse(k->d), inv_min = quant_inverse(k->dmin);

	for (int a = 0; a < job->groups; a++) {
		k->scale[a] = nearest(fit[a].d * inv, job->scale_max);
		k->min[a] = nearest(-fit[a].m * inv_min, job->scale_max);
		total += sum8(k_error(job, a, k->d, k->dmin, k->scale[a], k->min[a]));
	}
	return total;
}

static inline void try_k(const struct k_job *job, struct k_lines *k, int a, f8 scale, f8 min, f8 *best)
{
	f8 e = k_error(job, a, k->d, k->dmin, scale, min);
	i8 better = (e < *best) & (scale >= 0) & (min >= 0) & (scale <= job->scale_max) & (min <= job->scale_max);

	*best = pick(better, e, *best);
	k->scale[a] = pick(better, scale, k->scale[a]);
	k->min[a] = pick(better, min, k->min[a]);
}

/* The neighbours of each scale and min, and the mins one level away. */
static inline float improve_k(const struct k_job *job, struct k_lines *k)
{
	float total = 0, inv_min = quant_inverse(k->dmin);

	for (int a = 0; a < job->groups; a++) {
		f8 scale = k->scale[a], min = k->min[a], best = k_error(job, a, k->d, k->dmin, scale, min);
		f8 level = nearest(k->d * scale * inv_min, job->scale_max);
		for (int s = -1; s <= 1; s++)
			for (int m = -1; m <= 1; m++)
				if (s != 0 || m != 0)
					try_k(job, k, a, scale + (float)s, min + (float)m, &best);
		try_k(job, k, a, scale, min - level, &best);
		try_k(job, k, a, scale, min + level, &best);
		total += sum8(best);
	}
	return total;
}

/* See common_factor in quant/fit_k.c. v: values of each group, not negative. */
static inline float common_factor(const f8 *v, int groups, float max)
{
	float top = max8(v[0]), best = 0, best_error = 0;

	if (groups > 1 && max8(v[1]) > top)
		top = max8(v[1]);
	for (int less = 0; less < FACTORS && (float)less < max / 2; less++) {
		float d = quant_as_f16(top / (max - (float)less)), inv = quant_inverse(d), error = 0;
		for (int a = 0; a < groups; a++) {
			f8 e = v[a] - d * nearest(v[a] * inv, max);
			error += sum8(e * e);
		}
		if (error < best_error || less == 0) {
			best = d;
			best_error = error;
		}
	}
	return best;
}

/* The least squares factors for the integers and levels at hand. */
static inline void refit_k(const struct k_job *job, struct k_lines *k)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;

	for (int a = 0; a < job->groups; a++) {
		f8 s = k->scale[a], m = k->min[a];
		struct moments t = measure(&job->g[a], k->d * s, -(k->dmin * m), all(0), all(job->top));
		aa += (double)sum8(s * s * t.qq);
		ab -= (double)sum8(s * m * t.q);
		bb += (double)sum8(m * m * job->g[a].sw);
		ax += (double)sum8(s * t.qx);
		bx -= (double)sum8(m * job->g[a].sx);
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

static inline struct k_lines fit_k_lines(const struct k_job *job)
{
	struct lines fit[2];
	f8 mins[2], scales[2];
	float top = 0, low = 0, best = 0;
	struct k_lines out = {.d = 0};

	for (int a = 0; a < job->groups; a++) {
		fit[a] = fit_lines(&job->g[a], (int)job->top, true);
		scales[a] = fit[a].d;
		mins[a] = -fit[a].m;
		top = max8(scales[a]) > top ? max8(scales[a]) : top;
		low = max8(mins[a]) > low ? max8(mins[a]) : low;
	}
	const float d[2] = {quant_as_f16(top / job->scale_max), common_factor(scales, job->groups, job->scale_max)};
	const float dmin[2] = {quant_as_f16(low / job->scale_max), common_factor(mins, job->groups, job->scale_max)};
	for (int way = 0; way < 4; way++) {
		struct k_lines k = {.d = d[way & 1], .dmin = dmin[way >> 1]};
		float error = round_k(job, fit, &k);
		if (error < best || way == 0) {
			out = k;
			best = error;
		}
	}
	best = improve_k(job, &out);
	for (int pass = 0; pass < PASSES && best > 0; pass++) {
		struct k_lines k = out;
		refit_k(job, &k);
		float error = improve_k(job, &k);
		if (!(error < best))
			break;
		out = k;
		best = error;
	}
	return out;
}

/* ---- super-blocks with signed scales ---- */

struct k_scales {
	float d;
	f8 scale[2];
};

struct s_job {
	struct group g[2];
	float lo, hi, scale_lo, scale_hi;
};

static inline float round_s(const struct s_job *job, const f8 *fit, struct k_scales *k)
{
	float total = 0, inv = quant_inverse(k->d);

	for (int a = 0; a < 2; a++) {
		k->scale[a] = levels(fit[a] * inv, all(job->scale_lo), all(job->scale_hi));
		total += sum8(error_of(&job->g[a], k->d * k->scale[a], all(0), all(job->lo), all(job->hi)));
	}
	return total;
}

static inline float improve_s(const struct s_job *job, struct k_scales *k)
{
	float total = 0;

	for (int a = 0; a < 2; a++) {
		f8 from = k->scale[a], best = error_of(&job->g[a], k->d * from, all(0), all(job->lo), all(job->hi));
		for (int s = -2; s <= 2; s++) {
			f8 scale = from + (float)s;
			if (s == 0)
				continue;
			f8 e = error_of(&job->g[a], k->d * scale, all(0), all(job->lo), all(job->hi));
			i8 better = (e < best) & (scale >= job->scale_lo) & (scale <= job->scale_hi);
			best = pick(better, e, best);
			k->scale[a] = pick(better, scale, k->scale[a]);
		}
		total += sum8(best);
	}
	return total;
}

static inline void refit_s(const struct s_job *job, struct k_scales *k)
{
	double aa = 0, ax = 0;

	for (int a = 0; a < 2; a++) {
		f8 s = k->scale[a];
		struct moments t = measure(&job->g[a], k->d * s, all(0), all(job->lo), all(job->hi));
		aa += (double)sum8(s * s * t.qq);
		ax += (double)sum8(s * t.qx);
	}
	k->d = aa > 0 ? quant_as_f16((float)(ax / aa)) : 0;
}

static inline struct k_scales fit_k_scales(const struct s_job *job)
{
	f8 fit[2];
	float top = 0, best = 0;
	struct k_scales out = {.d = 0};

	for (int a = 0; a < 2; a++) {
		fit[a] = fit_scale(&job->g[a], (int)job->lo, (int)job->hi, true);
		for (int l = 0; l < LANES; l++)
			top = fabsf(fit[a][l]) > fabsf(top) ? fit[a][l] : top;
	}
	for (int less = 0; less < TOPS; less++) { /* the widest scale stands on the lowest integers */
		struct k_scales k = {.d = quant_as_f16(top / (job->scale_lo + (float)less))};
		float error = round_s(job, fit, &k);
		if (error < best || less == 0) {
			out = k;
			best = error;
		}
	}
	best = improve_s(job, &out);
	for (int pass = 0; pass < PASSES && best > 0; pass++) {
		struct k_scales k = out;
		refit_s(job, &k);
		float error = improve_s(job, &k);
		if (!(error < best))
			break;
		out = k;
		best = error;
	}
	return out;
}

/* Levels as bytes, each lane's one after the other: out (8, n). add is added to each. */
static inline void store_levels(const struct group *g, f8 d, f8 m, f8 lo, f8 hi, int add, uint8_t *out)
{
	f8 inv = inverse(d);

	for (int i = 0; i < g->n; i++) {
		f8 q = levels((g->x[i] - m) * inv, lo, hi);
		for (int l = 0; l < LANES; l++)
			out[l * g->n + i] = (uint8_t)((int)q[l] + add);
	}
}

#endif
