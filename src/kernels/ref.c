/* Every kernel slot in plain C: the definition that the fast sets are tested against, and what runs where no set
 * fits the processor. Written for reading; contracts are in kernels.h. */
#include "base/num.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { MR = 4, NR = 8, BLOCK_MAX = 256 };

static void tile(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
	float acc[MR][NR] = {{0}};

	for (int64_t p = 0; p < k; p++)
		for (int i = 0; i < MR; i++)
			for (int j = 0; j < NR; j++)
				acc[i][j] += (i < m ? a[p * MR + i] : 0) * b[p * NR + j];
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j++)
			c[i * ldc + j] = add ? c[i * ldc + j] + acc[i][j] : acc[i][j];
}

static void tile_half(int64_t m, int64_t n, int64_t k, const float *a, const uint16_t *b, float *c, int64_t ldc,
		      bool add)
{
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j++) {
			float s = 0;
			for (int64_t p = 0; p < k; p++)
				s += a[p * MR + i] * hth_f16_to_f32(b[p * NR + j]);
			c[i * ldc + j] = add ? c[i * ldc + j] + s : s;
		}
}

/* Word p of a row (or of column i of rows ld apart: by = ld, ld = 1). */
static float word_of(int pair, const float *x, int64_t i, int64_t ld, int64_t by, int64_t p, int64_t k)
{
	const float *at = x + i * ld + p * pair * by;
	uint32_t bits;
	float word;

	if (pair == 1)
		return at[0];
	bits = hth_f32_to_bf16(at[0]) | (p * 2 + 1 < k ? (uint32_t)hth_f32_to_bf16(at[by]) << 16 : 0);
	memcpy(&word, &bits, sizeof word);
	return word;
}

/* Element (step p of k, place i) of x is at x[i * ld + p * by]. */
static void pack(int pair, const float *x, int64_t ld, int64_t by, int64_t n, int64_t k, int64_t width, float *out)
{
	for (int64_t p = 0; p < hth_words(pair, 1, k); p++)
		for (int64_t i = 0; i < width; i++)
			out[p * width + i] = i < n ? word_of(pair, x, i, ld, by, p, k) : 0;
}

static void pack_a(const float *x, int64_t ld, int64_t m, int64_t k, float *a)
{
	pack(1, x, ld, 1, m, k, MR, a);
}
static void pack_b(const float *w, int64_t ld, int64_t n, int64_t k, float *b)
{
	pack(1, w, ld, 1, n, k, NR, b);
}
static void pack_a_rows(const float *x, int64_t ld, int64_t k, int64_t m, float *a)
{
	pack(1, x, 1, ld, m, k, MR, a);
}
static void pack_b_rows(const float *w, int64_t ld, int64_t k, int64_t n, float *b)
{
	pack(1, w, 1, ld, n, k, NR, b);
}
static void pack_a_bf16(const float *x, int64_t ld, int64_t m, int64_t k, float *a)
{
	pack(2, x, ld, 1, m, k, MR, a);
}
static void pack_b_bf16(const float *w, int64_t ld, int64_t n, int64_t k, float *b)
{
	pack(2, w, ld, 1, n, k, NR, b);
}
static void pack_a_rows_bf16(const float *x, int64_t ld, int64_t k, int64_t m, float *a)
{
	pack(2, x, 1, ld, m, k, MR, a);
}
static void pack_b_rows_bf16(const float *w, int64_t ld, int64_t k, int64_t n, float *b)
{
	pack(2, w, 1, ld, n, k, NR, b);
}

static float half_of(float word, int64_t which)
{
	uint32_t bits;

	memcpy(&bits, &word, sizeof bits);
	return hth_bf16_to_f32((uint16_t)(bits >> (16 * which)));
}

static void tile_bf16(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j++) {
			float s = 0;
			for (int64_t p = 0; p < k; p++)
				s += half_of(a[p / 2 * MR + i], p & 1) * half_of(b[p / 2 * NR + j], p & 1);
			c[i * ldc + j] = add ? c[i * ldc + j] + s : s;
		}
}

static float dot(const float *x, const float *y, int64_t n)
{
	double s = 0;

	for (int64_t i = 0; i < n; i++)
		s += (double)x[i] * y[i];
	return (float)s;
}

/* One row of any format against m rows of x, a block at a time. */
static void matvec_row(enum hth_quant q, const uint8_t *w, int64_t k, int m, const float *x, int64_t ldx, double *y)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	int64_t elems = f->block_elems;
	float block[BLOCK_MAX]; // (elems)

	for (int64_t at = 0; at < k; at += elems, w += f->block_bytes) {
		f->unpack(w, block, elems);
		for (int r = 0; r < m; r++)
			for (int64_t i = 0; i < elems; i++)
				y[r] += (double)block[i] * x[r * ldx + at + i];
	}
}

static void matvec(enum hth_quant q, const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k,
                   const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	for (int64_t j = 0; j < n_rows; j++, w += row_bytes) {
		double s[HTH_MATVEC_MAX_ROWS] = {0};
		matvec_row(q, w, k, in->m, in->x, in->ldx, s);
		for (int r = 0; r < in->m; r++)
			y[r * ldy + j] = (float)s[r];
	}
}

/* Nothing is read from it here. */
static void prepare_x(const float *x, int64_t k, float *out)
{
	(void)x, (void)k, (void)out;
}

/* The two slots of each format. */
#define HTH_QUANT(ID, name, ggml, elems, bytes)                                                                        \
	static void unpack_##name(const void *src, float *dst, int64_t n)                                             \
	{                                                                                                              \
		hth_quant_format(HTH_QUANT_##ID)->unpack(src, dst, n);                                                 \
	}                                                                                                              \
	static void matvec_##name(const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k,                     \
	                          const struct hth_matvec_in *in, float *y, int64_t ldy)                               \
	{                                                                                                              \
		_Static_assert(elems <= BLOCK_MAX, "a block fits matvec_row's buffer");                                \
		matvec(HTH_QUANT_##ID, w, row_bytes, n_rows, k, in, y, ldy);                                           \
	}
#include "quant/list.h"
#undef HTH_QUANT

static float sumsq(const float *x, float mean, int64_t n)
{
	double s = 0;

	for (int64_t i = 0; i < n; i++)
		s += ((double)x[i] - mean) * ((double)x[i] - mean);
	return (float)s;
}

static float sum(const float *x, int64_t n)
{
	double s = 0;

	for (int64_t i = 0; i < n; i++)
		s += x[i];
	return (float)s;
}

static float max(const float *x, int64_t n)
{
	float m = -INFINITY;

	for (int64_t i = 0; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

static void axpy(float a, const float *x, float *y, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += a * x[i];
}

static void scale(float a, const float *x, float *y, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] = a * x[i];
}

static void add(float a, const float *x, const float *b, float *y, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] = b[i] + a * x[i];
}

static float exp_sum(const float *s, float maximum, float *p, int64_t n)
{
	double total = 0;

	for (int64_t i = 0; i < n; i++) {
		p[i] = expf(s[i] - maximum);
		total += p[i];
	}
	return (float)total;
}

static void softcap(float cap, float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		x[i] = cap * tanhf(x[i] / cap);
}

static void softmax_grad(const float *p, const float *dp, float delta, float *ds, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		ds[i] = p[i] * (dp[i] - delta);
}

static void norm(const float *x, float mean, float rstd, const float *w, float offset, const float *bias, float *y,
                 int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] = (x[i] - mean) * rstd * (w ? w[i] + offset : 1) + (bias ? bias[i] : 0);
}

static void norm_grad(const float *x, float mean, float rstd, const float *w, float offset, bool centred,
                      const float *dy, const float *base, float *dx, int64_t n)
{
	double gh = 0, g1 = 0;

	for (int64_t i = 0; i < n; i++) {
		float g = dy[i] * (w ? w[i] + offset : 1);
		gh += (double)g * ((x[i] - mean) * rstd);
		g1 += g;
	}
	float mean_gh = n > 0 ? (float)(gh / (double)n) : 0, mean_g = centred && n > 0 ? (float)(g1 / (double)n) : 0;
	for (int64_t i = 0; i < n; i++) {
		float g = dy[i] * (w ? w[i] + offset : 1), h = (x[i] - mean) * rstd;
		dx[i] = (base ? base[i] : 0) + rstd * (g - h * mean_gh - mean_g);
	}
}

static void halves(const float *x, uint16_t *out, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = hth_f32_to_f16(x[i] > 65504 ? 65504 : x[i] < -65504 ? -65504 : x[i]);
}

static void rope(const float *x, const float *cosine, const float *sine, float *y, int64_t half)
{
	for (int64_t i = 0; i < half; i++) {
		float a = x[i], b = x[i + half];
		y[i] = a * cosine[i] - b * sine[i];
		y[i + half] = b * cosine[i] + a * sine[i];
	}
}

static void sincos_of(float position, const float *freq, float *cosine, float *sine, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		float angle = position * freq[i];
		cosine[i] = (float)cos(angle);
		sine[i] = (float)sin(angle);
	}
}

/* An activation and its derivative at x. */
struct act {
	float y, dy;
};

static struct act act_silu(float x)
{
	float s = 1 / (1 + expf(-x));
	return (struct act){x * s, s * (1 + x * (1 - s))};
}

static struct act act_sigmoid(float x)
{
	float s = 1 / (1 + expf(-x));
	return (struct act){s, s * (1 - s)};
}

static struct act act_gelu_tanh(float x)
{
	const float k = 0.7978845608f, c = 0.044715f; /* sqrt(2 / pi) */
	float s = 1 / (1 + expf(-2 * k * (x + c * x * x * x)));
	return (struct act){x * s, s + x * 2 * s * (1 - s) * k * (1 + 3 * c * x * x)};
}

static struct act act_gelu_erf(float x)
{
	float cdf = 0.5f * erfcf(-0.7071067812f * x), pdf = 0.3989422804f * expf(-0.5f * x * x);
	return (struct act){x * cdf, cdf + x * pdf};
}

#define ACT(name)                                                                                                      \
	static void name(const float *gate, const float *up, float *y, int64_t n)                                      \
	{                                                                                                              \
		for (int64_t i = 0; i < n; i++)                                                                        \
			y[i] = act_##name(gate[i]).y * up[i];                                                          \
	}                                                                                                              \
	static void name##_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup,         \
	                        int64_t n)                                                                             \
	{                                                                                                              \
		for (int64_t i = 0; i < n; i++) {                                                                      \
			struct act a = act_##name(gate[i]);                                                            \
			float u = up[i], d = dy[i];                                                                    \
			dgate[i] = d * u * a.dy;                                                                       \
			dup[i] = d * a.y;                                                                              \
		}                                                                                                      \
	}
ACT(silu)
ACT(gelu_tanh)
ACT(gelu_erf)
ACT(sigmoid)

static void dropout(struct hth_rng_key key, uint64_t c0, uint64_t c1, float p, float factor, const float *x, float *y,
                    int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] = hth_rng_uniform(key, c0, c1 + (uint64_t)i) >= p ? x[i] * factor : 0;
}

static void delta(const struct hth_delta_run *r, float *state)
{
	for (int64_t t = 0; t < r->n; t++) {
		const float *q = r->q + t * r->ldk, *k = r->k + t * r->ldk, *v = r->v + t * r->ldv;
		float decay = r->decay[t * r->ldg], beta = r->beta[t * r->ldg];
		for (int64_t d = 0; d < HTH_DELTA_COLS; d++) {
			float seen = 0, y = 0;
			for (int64_t i = 0; i < r->keys; i++)
				seen += state[i * HTH_DELTA_COLS + d] * k[i];
			float miss = (d < r->cols ? v[d] : 0) - decay * seen, u = beta * miss;
			for (int64_t i = 0; i < r->keys; i++) {
				float *s = &state[i * HTH_DELTA_COLS + d];
				*s = decay * *s + k[i] * u;
				y += *s * q[i];
			}
			if (r->y != NULL && d < r->cols)
				r->y[t * r->ldy + d] = y;
			if (r->u != NULL)
				r->u[t * HTH_DELTA_COLS + d] = u;
			if (r->miss != NULL)
				r->miss[t * HTH_DELTA_COLS + d] = miss;
		}
	}
}

static void delta_grad(const struct hth_delta_back *b, float *ds)
{
	float dbeta = 0, ddecay = 0, dv[HTH_DELTA_COLS];

	for (int64_t d = 0; d < HTH_DELTA_COLS; d++) {
		float dy = d < b->cols ? b->dy[d] : 0, du = 0;
		for (int64_t i = 0; i < b->keys; i++) {
			int64_t at = i * HTH_DELTA_COLS + d;
			ds[at] += b->q[i] * dy;
			b->dq[i] += b->after[at] * dy;
			du += ds[at] * b->k[i];
		}
		dbeta += du * b->miss[d];
		dv[d] = b->beta * du;
		if (d < b->cols)
			b->dv[d] = dv[d];
	}
	for (int64_t i = 0; i < b->keys; i++)
		for (int64_t d = 0; d < HTH_DELTA_COLS; d++) {
			int64_t at = i * HTH_DELTA_COLS + d;
			float s = b->before != NULL ? b->before[at] : 0;
			b->dk[i] += ds[at] * b->u[d] - b->decay * s * dv[d];
			ds[at] -= b->k[i] * dv[d];
			ddecay += ds[at] * s;
			ds[at] *= b->decay;
		}
	*b->dbeta += dbeta;
	*b->ddecay += ddecay;
}

static void adamw(const struct hth_adamw_step *s, float *value, float *grad, float *m, float *v, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		float g = grad[i] * s->grad_scale;
		m[i] = s->beta1 * m[i] + (1 - s->beta1) * g;
		v[i] = s->beta2 * v[i] + (1 - s->beta2) * (g * g);
		value[i] = value[i] * s->decay - s->step_size * m[i] / (sqrtf(v[i]) * s->root + s->eps);
		grad[i] = 0;
	}
}

extern const struct hth_kernels hth_kernels_ref;
const struct hth_kernels hth_kernels_ref = {
	.product = {.mr = MR,
	            .nr = NR,
	            .pair = 1,
	            .unit = 1,
	            .tile = tile,
	            .tile_half = tile_half,
	            .pack_a = pack_a,
	            .pack_b = pack_b,
	            .pack_a_rows = pack_a_rows,
	            .pack_b_rows = pack_b_rows},
	.bf16 = {.mr = MR,
	         .nr = NR,
	         .pair = 2,
	         .unit = 1,
	         .tile = tile_bf16,
	         .pack_a = pack_a_bf16,
	         .pack_b = pack_b_bf16,
	         .pack_a_rows = pack_a_rows_bf16,
	         .pack_b_rows = pack_b_rows_bf16},
#define HTH_QUANT(ID, name, ggml, elems, bytes)                                                                        \
	.unpack[HTH_QUANT_##ID] = unpack_##name, .matvec[HTH_QUANT_##ID] = matvec_##name,
#include "quant/list.h"
#undef HTH_QUANT
	.prepare_x = prepare_x,
	.dot = dot,
	.sumsq = sumsq,
	.sum = sum,
	.max = max,
	.axpy = axpy,
	.scale = scale,
	.add = add,
	.exp_sum = exp_sum,
	.halves = halves,
	.softcap = softcap,
	.softmax_grad = softmax_grad,
	.norm = norm,
	.norm_grad = norm_grad,
	.rope = rope,
	.sincos = sincos_of,
	.silu = silu,
	.gelu_tanh = gelu_tanh,
	.gelu_erf = gelu_erf,
	.silu_grad = silu_grad,
	.gelu_tanh_grad = gelu_tanh_grad,
	.gelu_erf_grad = gelu_erf_grad,
	.sigmoid = sigmoid,
	.sigmoid_grad = sigmoid_grad,
	.delta = delta,
	.delta_grad = delta_grad,
	.dropout = dropout,
	.adamw = adamw,
};
