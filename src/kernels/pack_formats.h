/* The formats' bytes around the searches of pack_lanes.h; layouts are drawn in the files of quant/. */
#ifndef HTH_KERNELS_PACK_FORMATS_H
#define HTH_KERNELS_PACK_FORMATS_H

#include "kernels/pack_lanes.h"

/* Eight blocks of 32 of a row, or as many as are left; the lanes beyond them hold zeros. */
static inline int load_blocks(struct group *g, const float *src, int64_t left, const float *importance)
{
	int blocks = left / 32 < LANES ? (int)(left / 32) : LANES;
	float x[LANES * 32], w[LANES * 32];

	if (blocks == LANES && importance == NULL) {
		load(g, src, NULL, 32);
		return blocks;
	}
	memset(x, 0, sizeof x);
	memset(w, 0, sizeof w);
	memcpy(x, src, (size_t)blocks * 32 * sizeof *x);
	for (int b = 0; b < blocks; b++)
		quant_weights(importance != NULL ? importance + 32 * b : NULL, w + 32 * b, 32);
	load(g, x, w, 32);
	return blocks;
}

static inline void put_nibbles(const uint8_t *q, uint8_t *out)
{
	for (int j = 0; j < 16; j++)
		out[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static inline void put_fifth_bits(const uint8_t *q, uint8_t *out)
{
	uint32_t high = 0;

	for (int j = 0; j < 32; j++)
		high |= (uint32_t)(q[j] >> 4) << j;
	quant_store_u16(out, (uint16_t)(high & 0xFFFF));
	quant_store_u16(out + 2, (uint16_t)(high >> 16));
}

static void pack_q8_0(const float *src, void *dst, int64_t n, const float *importance)
{
	uint8_t *out = dst, q[LANES * 32];
	struct group g;

	for (int64_t at = 0; at < n; at += LANES * 32) {
		int blocks = load_blocks(&g, src + at, n - at, importance != NULL ? importance + at : NULL);
		f8 d = halves(fit_scale(&g, -127, 127, false));
		store_levels(&g, d, all(0), all(-127), all(127), 0, q);
		for (int b = 0; b < blocks; b++, out += 34) {
			quant_store_f16(out, d[b]);
			memcpy(out + 2, q + 32 * b, 32);
		}
	}
}

static void pack_q4_0(const float *src, void *dst, int64_t n, const float *importance)
{
	uint8_t *out = dst, q[LANES * 32];
	struct group g;

	for (int64_t at = 0; at < n; at += LANES * 32) {
		int blocks = load_blocks(&g, src + at, n - at, importance != NULL ? importance + at : NULL);
		f8 d = halves(fit_scale(&g, -8, 7, true));
		store_levels(&g, d, all(0), all(-8), all(7), 8, q);
		for (int b = 0; b < blocks; b++, out += 18) {
			quant_store_f16(out, d[b]);
			put_nibbles(q + 32 * b, out + 2);
		}
	}
}

static void pack_q5_0(const float *src, void *dst, int64_t n, const float *importance)
{
	uint8_t *out = dst, q[LANES * 32];
	struct group g;

	for (int64_t at = 0; at < n; at += LANES * 32) {
		int blocks = load_blocks(&g, src + at, n - at, importance != NULL ? importance + at : NULL);
		f8 d = halves(fit_scale(&g, -16, 15, true));
		store_levels(&g, d, all(0), all(-16), all(15), 16, q);
		for (int b = 0; b < blocks; b++, out += 22) {
			quant_store_f16(out, d[b]);
			put_fifth_bits(q + 32 * b, out + 2);
			put_nibbles(q + 32 * b, out + 6);
		}
	}
}

/* q4_1 and q5_1: value = d q + m. */
static inline void pack_line(const float *src, uint8_t *out, int64_t n, const float *importance, int top)
{
	uint8_t q[LANES * 32];
	struct group g;

	for (int64_t at = 0; at < n; at += LANES * 32) {
		int blocks = load_blocks(&g, src + at, n - at, importance != NULL ? importance + at : NULL);
		struct lines f = fit_lines(&g, top, false);
		f.d = halves(f.d);
		f.m = halves(f.m);
		store_levels(&g, f.d, f.m, all(0), all((float)top), 0, q);
		for (int b = 0; b < blocks; b++, out += 4 + 16 + (top > 15 ? 4 : 0)) {
			quant_store_f16(out, f.d[b]);
			quant_store_f16(out + 2, f.m[b]);
			if (top > 15)
				put_fifth_bits(q + 32 * b, out + 4);
			put_nibbles(q + 32 * b, out + (top > 15 ? 8 : 4));
		}
	}
}

static void pack_q4_1(const float *src, void *dst, int64_t n, const float *importance)
{
	pack_line(src, dst, n, importance, 15);
}

static void pack_q5_1(const float *src, void *dst, int64_t n, const float *importance)
{
	pack_line(src, dst, n, importance, 31);
}

/* A super-block's weights, or NULL where all count alike. */
static inline const float *k_weights(const float *importance, int64_t at, float w[QUANT_K])
{
	if (importance == NULL)
		return NULL;
	quant_weights(importance + at, w, QUANT_K);
	return w;
}

/* Levels of a super-block with scales and mins. */
static inline void fit_k(struct k_job *job, const float *src, const float *w, int top, int scale_max, struct k_lines *k,
			 uint8_t q[QUANT_K])
{
	int sub = QUANT_K / (LANES * job->groups);

	job->top = (float)top;
	job->scale_max = (float)scale_max;
	for (int a = 0; a < job->groups; a++)
		load(&job->g[a], src + a * LANES * sub, w != NULL ? w + a * LANES * sub : NULL, sub);
	*k = fit_k_lines(job);
	for (int a = 0; a < job->groups; a++)
		store_levels(&job->g[a], k->d * k->scale[a], -(k->dmin * k->min[a]), all(0), all(job->top), 0,
			     q + a * LANES * sub);
}

static inline void pack_k4(const float *src, uint8_t *out, int64_t n, const float *importance, int top)
{
	struct k_job job = {.groups = 1};
	uint8_t q[QUANT_K], scale[8], min[8];
	float w[QUANT_K];
	int nibbles = top > 15 ? 48 : 16;

	for (int64_t at = 0; at < n; at += QUANT_K, out += nibbles + 128) {
		struct k_lines k;
		fit_k(&job, src + at, k_weights(importance, at, w), top, 63, &k, q);
		for (int j = 0; j < 8; j++) {
			scale[j] = (uint8_t)k.scale[0][j];
			min[j] = (uint8_t)k.min[0][j];
		}
		quant_store_f16(out, k.d);
		quant_store_f16(out + 2, k.dmin);
		quant_store_k4_scales(out + 4, scale, min);
		for (int p = 0; p < 4; p++)
			for (int l = 0; l < 32; l++)
				out[nibbles + 32 * p + l] =
					(uint8_t)((q[64 * p + l] & 15) | (q[64 * p + 32 + l] & 15) << 4);
		for (int l = 0; top > 15 && l < 32; l++) {
			int high = 0;
			for (int j = 0; j < 8; j++)
				high |= q[32 * j + l] >> 4 << j;
			out[16 + l] = (uint8_t)high;
		}
	}
}

static void pack_q4_k(const float *src, void *dst, int64_t n, const float *importance)
{
	pack_k4(src, dst, n, importance, 15);
}

static void pack_q5_k(const float *src, void *dst, int64_t n, const float *importance)
{
	pack_k4(src, dst, n, importance, 31);
}

static void pack_q2_k(const float *src, void *dst, int64_t n, const float *importance)
{
	struct k_job job = {.groups = 2};
	uint8_t *out = dst, q[QUANT_K];
	float w[QUANT_K];

	for (int64_t at = 0; at < n; at += QUANT_K, out += 84) {
		struct k_lines k;
		fit_k(&job, src + at, k_weights(importance, at, w), 3, 15, &k, q);
		memset(out, 0, 80);
		for (int j = 0; j < 16; j++)
			out[j] = (uint8_t)((int)k.scale[j / 8][j % 8] | (int)k.min[j / 8][j % 8] << 4);
		for (int i = 0; i < QUANT_K; i++)
			out[16 + 32 * (i / 128) + i % 32] |= (uint8_t)(q[i] << 2 * (i / 32 % 4));
		quant_store_f16(out + 80, k.d);
		quant_store_f16(out + 82, k.dmin);
	}
}

/* Levels of a super-block with signed scales, moved up to 0. */
static inline struct k_scales fit_s(const float *src, const float *w, int q_half, int scale_half, uint8_t q[QUANT_K])
{
	struct s_job job = {.lo = (float)-q_half,
			    .hi = (float)(q_half - 1),
			    .scale_lo = (float)-scale_half,
			    .scale_hi = (float)(scale_half - 1)};

	for (int a = 0; a < 2; a++)
		load(&job.g[a], src + 128 * a, w != NULL ? w + 128 * a : NULL, 16);
	struct k_scales k = fit_k_scales(&job);
	for (int a = 0; a < 2; a++)
		store_levels(&job.g[a], k.d * k.scale[a], all(0), all(job.lo), all(job.hi), q_half, q + 128 * a);
	return k;
}

static void pack_q6_k(const float *src, void *dst, int64_t n, const float *importance)
{
	uint8_t *out = dst, q[QUANT_K];
	float w[QUANT_K];

	for (int64_t at = 0; at < n; at += QUANT_K, out += 210) {
		struct k_scales k = fit_s(src + at, k_weights(importance, at, w), 32, 128, q);
		for (int h = 0; h < 2; h++)
			for (int l = 0; l < 64; l++)
				out[64 * h + l] = (uint8_t)((q[128 * h + l] & 15) | (q[128 * h + 64 + l] & 15) << 4);
		for (int h = 0; h < 2; h++)
			for (int l = 0; l < 32; l++)
				out[128 + 32 * h + l] =
					(uint8_t)(q[128 * h + l] >> 4 | q[128 * h + 32 + l] >> 4 << 2 |
						  q[128 * h + 64 + l] >> 4 << 4 | q[128 * h + 96 + l] >> 4 << 6);
		for (int j = 0; j < 16; j++)
			out[192 + j] = (uint8_t)(int8_t)k.scale[j / 8][j % 8];
		quant_store_f16(out + 208, k.d);
	}
}

/* See quant/q3_k.c: sixteen scales of 6 bits, moved up by 32. */
static inline void put_q3_scales(const struct k_scales *k, uint8_t out[12])
{
	memset(out, 0, 12);
	for (int j = 0; j < 16; j++) {
		int s = (int)k->scale[j / 8][j % 8] + 32;
		out[j % 8] |= (uint8_t)((s & 15) << 4 * (j / 8));
		out[8 + j % 4] |= (uint8_t)(s >> 4 << 2 * (j / 4));
	}
}

static void pack_q3_k(const float *src, void *dst, int64_t n, const float *importance)
{
	uint8_t *out = dst, q[QUANT_K];
	float w[QUANT_K];

	for (int64_t at = 0; at < n; at += QUANT_K, out += 110) {
		struct k_scales k = fit_s(src + at, k_weights(importance, at, w), 4, 32, q);
		memset(out, 0, 96);
		put_q3_scales(&k, out + 96);
		for (int i = 0; i < QUANT_K; i++) {
			out[32 + 32 * (i / 128) + i % 32] |= (uint8_t)((q[i] & 3) << 2 * (i / 32 % 4));
			out[i % 32] |= (uint8_t)(q[i] >> 2 << i / 32);
		}
		quant_store_f16(out + 108, k.d);
	}
}

#define HTH_PACK_TABLE                                                                                                 \
	{                                                                                                              \
		[HTH_QUANT_Q8_0] = pack_q8_0, [HTH_QUANT_Q4_0] = pack_q4_0, [HTH_QUANT_Q4_1] = pack_q4_1,              \
		[HTH_QUANT_Q5_0] = pack_q5_0, [HTH_QUANT_Q5_1] = pack_q5_1, [HTH_QUANT_Q2_K] = pack_q2_k,              \
		[HTH_QUANT_Q3_K] = pack_q3_k, [HTH_QUANT_Q4_K] = pack_q4_k, [HTH_QUANT_Q5_K] = pack_q5_k,              \
		[HTH_QUANT_Q6_K] = pack_q6_k                                                                           \
	}

#endif
