/* Rows of numbers over vector primitives: sums, exponentials, norms, gated units, dropout, AdamW. Tails are done with
 * partial loads, so that an element's value never depends on where it stands.
 *
 * exp: 2^n * p(r) with r = x - n ln 2 in [-0.35, 0.35] and a polynomial of degree 7 (the first terms of the series,
 * which are exact to 2^-26 there). */

/* For each whole or partial vector at i of n: BODY with `left` elements. */
#define EACH_VECTOR(n) for (int64_t i = 0, left = (n); left > 0; i += VL, left -= VL)

static float dot(const float *x, const float *y, int64_t n)
{
	vf a = v_set1(0), b = a, c = a, d = a;
	int64_t i = 0;

	for (; i + 4 * VL <= n; i += 4 * VL) {
		a = v_fma(v_load(x + i), v_load(y + i), a);
		b = v_fma(v_load(x + i + VL), v_load(y + i + VL), b);
		c = v_fma(v_load(x + i + 2 * VL), v_load(y + i + 2 * VL), c);
		d = v_fma(v_load(x + i + 3 * VL), v_load(y + i + 3 * VL), d);
	}
	for (; i < n; i += VL)
		a = v_fma(part_load(x + i, n - i), part_load(y + i, n - i), a);
	return v_sum((a + b) + (c + d));
}

static float sumsq(const float *x, float mean, int64_t n)
{
	vf a = v_set1(0), b = a, m = v_set1(mean);
	int64_t i = 0;

	for (; i + 2 * VL <= n; i += 2 * VL) {
		vf s = v_load(x + i) - m, t = v_load(x + i + VL) - m;
		a = v_fma(s, s, a);
		b = v_fma(t, t, b);
	}
	for (; i + VL <= n; i += VL) {
		vf s = v_load(x + i) - m;
		a = v_fma(s, s, a);
	}
	float total = v_sum(a + b);
	for (; i < n; i++)
		total += (x[i] - mean) * (x[i] - mean);
	return total;
}

static float sum(const float *x, int64_t n)
{
	vf a = v_set1(0);

	EACH_VECTOR(n)
		a += part_load(x + i, left);
	return v_sum(a);
}

static float max(const float *x, int64_t n)
{
	vf a = v_set1(-INFINITY);
	int64_t i = 0;

	for (; i + VL <= n; i += VL)
		a = v_max(a, v_load(x + i));
	float m = v_max_all(a);
	for (; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

static void axpy(float a, const float *x, float *y, int64_t n)
{
	vf f = v_set1(a);

	EACH_VECTOR(n)
		part_store(y + i, v_fma(f, part_load(x + i, left), part_load(y + i, left)), left);
}

static void scale(float a, const float *x, float *y, int64_t n)
{
	vf f = v_set1(a);

	EACH_VECTOR(n)
		part_store(y + i, f * part_load(x + i, left), left);
}

static void add(float a, const float *x, const float *b, float *y, int64_t n)
{
	vf f = v_set1(a);

	EACH_VECTOR(n)
		part_store(y + i, v_fma(f, part_load(x + i, left), part_load(b + i, left)), left);
}

INLINE vf v_exp(vf x)
{
	x = v_min(v_set1(89), v_max(v_set1(-104), x)); /* beyond: infinity and 0; NaN stays */
	vf n = v_round(x * v_set1(1.44269504f));
	vf r = v_fma(n, v_set1(-0.693145752f), x); /* ln 2 in two parts, the first with 9 free bits */
	r = v_fma(n, v_set1(-1.42860677e-6f), r);
	vf p = v_set1(1.0f / 5040);
	p = v_fma(p, r, v_set1(1.0f / 720));
	p = v_fma(p, r, v_set1(1.0f / 120));
	p = v_fma(p, r, v_set1(1.0f / 24));
	p = v_fma(p, r, v_set1(1.0f / 6));
	p = v_fma(p, r, v_set1(0.5f));
	p = v_fma(p * r, r, r) + v_set1(1);
	return v_scale2(p, n);
}

static float exp_sum(const float *s, float maximum, float *p, int64_t n)
{
	vf total = v_set1(0), m = v_set1(maximum);
	int64_t i = 0;

	for (; i + VL <= n; i += VL) {
		vf e = v_exp(v_load(s + i) - m);
		v_store(p + i, e);
		total += e;
	}
	if (i < n) {
		v_store_n(p + i, v_exp(v_load_n(s + i, n - i) - m), n - i);
		total += v_load_n(p + i, n - i);
	}
	return v_sum(total);
}

/* Odd polynomial near 0 (Taylor to x^9, |x| < 0.25), 1 - 2 / (e^2x + 1) elsewhere. */
INLINE vf v_tanh(vf x)
{
	vf z = x * x, near = v_set1(62.0f / 2835);
	near = v_fma(near, z, v_set1(-17.0f / 315));
	near = v_fma(near, z, v_set1(2.0f / 15));
	near = v_fma(near, z, v_set1(-1.0f / 3));
	near = v_fma(near * z, x, x);
	vf far = v_set1(1) - v_set1(2) / (v_exp(x + x) + v_set1(1));
	return v_select_lt(z, v_set1(0.0625f), near, far);
}

static void softcap(float cap, float *x, int64_t n)
{
	vf c = v_set1(cap), inverse = v_set1(1 / cap);

	EACH_VECTOR(n)
		part_store(x + i, c * v_tanh(part_load(x + i, left) * inverse), left);
}

static void softmax_grad(const float *p, const float *dp, float delta, float *ds, int64_t n)
{
	vf d = v_set1(delta);

	EACH_VECTOR(n)
		part_store(ds + i, part_load(p + i, left) * (part_load(dp + i, left) - d), left);
}

static void norm(const float *x, float mean, float rstd, const float *w, float offset, const float *bias, float *y,
                 int64_t n)
{
	vf m = v_set1(mean), r = v_set1(rstd), o = v_set1(offset);

	EACH_VECTOR(n) {
		vf h = (part_load(x + i, left) - m) * r;
		if (w != NULL)
			h *= part_load(w + i, left) + o;
		if (bias != NULL)
			h += part_load(bias + i, left);
		part_store(y + i, h, left);
	}
}

static void norm_grad(const float *x, float mean, float rstd, const float *w, float offset, bool centred,
                      const float *dy, const float *base, float *dx, int64_t n)
{
	vf m = v_set1(mean), r = v_set1(rstd), o = v_set1(offset), gh = v_set1(0), g1 = gh;

	EACH_VECTOR(n) { /* lanes past the end have dy 0 */
		vf g = part_load(dy + i, left);
		if (w != NULL)
			g *= part_load(w + i, left) + o;
		gh = v_fma(g, (part_load(x + i, left) - m) * r, gh);
		g1 += g;
	}
	vf mean_gh = v_set1(n > 0 ? v_sum(gh) / (float)n : 0), mean_g = v_set1(centred && n > 0 ? v_sum(g1) / (float)n : 0);
	EACH_VECTOR(n) {
		vf g = part_load(dy + i, left), h = (part_load(x + i, left) - m) * r;
		if (w != NULL)
			g *= part_load(w + i, left) + o;
		vf d = r * (g - h * mean_gh - mean_g);
		part_store(dx + i, base != NULL ? v_add(part_load(base + i, left), d) : d, left);
	}
}

static void rope(const float *x, const float *cosine, const float *sine, float *y, int64_t half)
{
	EACH_VECTOR(half) {
		vf a = part_load(x + i, left), b = part_load(x + half + i, left);
		vf c = part_load(cosine + i, left), s = part_load(sine + i, left);
		part_store(y + i, a * c - b * s, left);
		part_store(y + half + i, v_fma(a, s, b * c), left);
	}
}

/* Reduced to |r| <= pi/4 by a pi/2 in three parts, exact through fused multiply-adds; then Taylor polynomials (the
 * first terms left out are below 2^-25), swapped and negated by quadrant. */
static void sincos_of(float position, const float *freq, float *cosine, float *sine, int64_t n)
{
	EACH_VECTOR(n) {
		vf x = v_set1(position) * part_load(freq + i, left);
		vf turns = v_round(x * v_set1(0.636619772f));
		vf r = v_fma(turns, v_set1(-0x1.921fb6p+0f), x);
		r = v_fma(turns, v_set1(0x1.777a5cp-25f), r);
		r = v_fma(turns, v_set1(0x1.ee59dap-50f), r);
		vf z = r * r, s = v_set1(1.0f / 362880), c = v_set1(-1.0f / 3628800);
		s = v_fma(s, z, v_set1(-1.0f / 5040));
		s = v_fma(s, z, v_set1(1.0f / 120));
		s = v_fma(s, z, v_set1(-1.0f / 6));
		s = v_fma(s * z, r, r);
		c = v_fma(c, z, v_set1(1.0f / 40320));
		c = v_fma(c, z, v_set1(-1.0f / 720));
		c = v_fma(c, z, v_set1(1.0f / 24));
		c = v_fma(c, z, v_set1(-0.5f));
		c = v_fma(c, z, v_set1(1));
		vi quadrant = v_to_i32(turns);
		vf odd = v_from_i32(quadrant & 1), half = v_set1(0.5f), two = v_set1(-2), one = v_set1(1);
		vf sine_sign = v_fma(two, v_from_i32(quadrant >> 1 & 1), one);
		vf cosine_sign = v_fma(two, v_from_i32((quadrant + 1) >> 1 & 1), one);
		part_store(cosine + i, v_select_lt(odd, half, c, s) * cosine_sign, left);
		part_store(sine + i, v_select_lt(odd, half, s, c) * sine_sign, left);
	}
}

INLINE vf logistic(vf x)
{
	return v_set1(1) / (v_set1(1) + v_exp(v_set1(0) - x));
}

struct act {
	vf y, dy; /* value and derivative */
};
INLINE struct act act_silu(vf x)
{
	vf one = v_set1(1), s = logistic(x);
	return (struct act){x * s, s * v_fma(x, one - s, one)};
}
INLINE struct act act_sigmoid(vf x)
{
	vf s = logistic(x);
	return (struct act){s, s * (v_set1(1) - s)};
}
INLINE struct act act_gelu_tanh(vf x)
{
	vf one = v_set1(1), two_k = v_set1(2 * 0.7978845608f), c = v_set1(0.044715f), z = x * x;
	vf s = logistic(two_k * x * v_fma(c, z, one));
	vf slope = two_k * v_fma(v_set1(3 * 0.044715f), z, one);
	return (struct act){x * s, v_fma(x * s * (one - s), slope, s)};
}

#define ACT(name)                                                                                                      \
	static void name(const float *gate, const float *up, float *y, int64_t n)                                      \
	{                                                                                                              \
		EACH_VECTOR(n)                                                                                         \
			part_store(y + i, act_##name(part_load(gate + i, left)).y * part_load(up + i, left), left);    \
	}                                                                                                              \
	static void name##_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup,         \
	                        int64_t n)                                                                             \
	{                                                                                                              \
		EACH_VECTOR(n) {                                                                                       \
			struct act a = act_##name(part_load(gate + i, left));                                          \
			vf u = part_load(up + i, left), d = part_load(dy + i, left);                                   \
			part_store(dgate + i, d * u * a.dy, left);                                                     \
			part_store(dup + i, d * a.y, left);                                                            \
		}                                                                                                      \
	}
ACT(silu)
ACT(gelu_tanh)
ACT(sigmoid)

/* Philox 4x32-10 on VL counters (c0, c1 + lane); the first of each block's four numbers. As base/rng.c. */
INLINE vu philox(struct hth_rng_key key, uint64_t c0, vu x2, vu x3)
{
	vu x0 = (vu){0} + (uint32_t)c0, x1 = (vu){0} + (uint32_t)(c0 >> 32);
	uint32_t k0 = key.k[0], k1 = key.k[1];

	for (int round = 0; round < 10; round++) {
		vu h0, l0, h1, l1;
		vu_mul(x0, 0xD2511F53u, &h0, &l0);
		vu_mul(x2, 0xCD9E8D57u, &h1, &l1);
		x0 = h1 ^ x1 ^ k0;
		x1 = l1;
		x2 = h0 ^ x3 ^ k1;
		x3 = l0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	return x0;
}

static void dropout(struct hth_rng_key key, uint64_t c0, uint64_t c1, float p, float factor, const float *x, float *y,
                    int64_t n)
{
	EACH_VECTOR(n) {
		uint64_t first = c1 + (uint64_t)i;
		vu low = (vu)vi_iota() + (uint32_t)first;
		/* A lane that wrapped past 2^32 carries into the upper word: its mask is -1. */
		vu high = (vu){0} + (uint32_t)(first >> 32) - (vu)(low < (uint32_t)first);
		vf u = v_from_i32((vi)(philox(key, c0, low, high) >> 8)) * v_set1(0x1p-24f);
		part_store(y + i, v_keep_ge(u, v_set1(p), part_load(x + i, left) * v_set1(factor)), left);
	}
}

static void adamw(const struct hth_adamw_step *s, float *value, float *grad, float *m, float *v, int64_t n)
{
	vf b1 = v_set1(s->beta1), b2 = v_set1(s->beta2), rest1 = v_set1(1 - s->beta1), rest2 = v_set1(1 - s->beta2);

	EACH_VECTOR(n) {
		vf g = part_load(grad + i, left) * v_set1(s->grad_scale), x = part_load(value + i, left);
		vf first = v_fma(b1, part_load(m + i, left), rest1 * g);
		vf second = v_fma(b2, part_load(v + i, left), rest2 * (g * g));
		vf step = v_set1(s->step_size) * first / v_fma(v_sqrt(second), v_set1(s->root), v_set1(s->eps));
		part_store(m + i, first, left);
		part_store(v + i, second, left);
		part_store(value + i, x * v_set1(s->decay) - step, left);
		part_store(grad + i, v_set1(0), left);
	}
}

#define SIMD_MATH_SLOTS                                                                                                \
	.dot = dot, .sumsq = sumsq, .sum = sum, .max = max, .axpy = axpy, .scale = scale, .add = add,                  \
	.exp_sum = exp_sum, .halves = halves, .softcap = softcap, .softmax_grad = softmax_grad, .norm = norm,          \
	.norm_grad = norm_grad, .rope = rope, .sincos = sincos_of, .silu = silu, .gelu_tanh = gelu_tanh,               \
	.silu_grad = silu_grad, .gelu_tanh_grad = gelu_tanh_grad, .sigmoid = sigmoid,            \
	.sigmoid_grad = sigmoid_grad, .dropout = dropout, .adamw = adamw
