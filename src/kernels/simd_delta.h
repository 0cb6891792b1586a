/* Kernels of delta.h. A block of columns is a few vectors; the loop over keys reads and writes each row of the state once a
 * token: it finishes the token's update, sums its output, and already sums what the next token's key sees. */

enum { DELTA_VECTORS = HTH_DELTA_COLS / VL };
#define EACH_DV _Pragma("GCC unroll 8") for (int c = 0; c < DELTA_VECTORS; c++)

/* A row of `cols` columns as a block's, zero beyond. */
INLINE void delta_load(const float *p, int64_t cols, vf out[DELTA_VECTORS])
{
	EACH_DV out[c] = cols >= (c + 1) * VL ? v_load(p + c * VL)
	                 : cols > c * VL      ? v_load_n(p + c * VL, cols - c * VL)
	                                      : v_set1(0);
}
INLINE void delta_store(float *p, int64_t cols, const vf in[DELTA_VECTORS])
{
	EACH_DV
	{
		if (cols >= (c + 1) * VL)
			v_store(p + c * VL, in[c]);
		else if (cols > c * VL)
			v_store_n(p + c * VL, in[c], cols - c * VL);
	}
}

/* seen += S^T k */
INLINE void delta_see(const float *state, const float *k, int64_t keys, vf seen[DELTA_VECTORS])
{
	for (int64_t i = 0; i < keys; i++) {
		vf ki = v_set1(k[i]);
		EACH_DV seen[c] = v_fma(v_load(state + i * HTH_DELTA_COLS + c * VL), ki, seen[c]);
	}
}

static void delta(const struct hth_delta_run *r, float *state)
{
	vf seen[DELTA_VECTORS], u[DELTA_VECTORS], y[DELTA_VECTORS];

	EACH_DV seen[c] = v_set1(0);
	if (r->n > 0)
		delta_see(state, r->k, r->keys, seen);
	for (int64_t t = 0; t < r->n; t++) {
		const float *q = r->q + t * r->ldk, *k = r->k + t * r->ldk, *next = t + 1 < r->n ? k + r->ldk : k;
		vf decay = v_set1(r->decay[t * r->ldg]), beta = v_set1(r->beta[t * r->ldg]);
		delta_load(r->v + t * r->ldv, r->cols, u);
		EACH_DV u[c] = u[c] - decay * seen[c];
		if (r->miss != NULL)
			delta_store(r->miss + t * HTH_DELTA_COLS, HTH_DELTA_COLS, u);
		EACH_DV
		{
			u[c] *= beta;
			y[c] = seen[c] = v_set1(0);
		}
		if (r->u != NULL)
			delta_store(r->u + t * HTH_DELTA_COLS, HTH_DELTA_COLS, u);
		for (int64_t i = 0; i < r->keys; i++) {
			float *row = state + i * HTH_DELTA_COLS;
			vf ki = v_set1(k[i]), qi = v_set1(q[i]), ni = v_set1(next[i]);
			EACH_DV
			{
				vf s = v_fma(ki, u[c], decay * v_load(row + c * VL));
				v_store(row + c * VL, s);
				y[c] = v_fma(s, qi, y[c]);
				seen[c] = v_fma(s, ni, seen[c]);
			}
		}
		if (r->y != NULL)
			delta_store(r->y + t * r->ldy, r->cols, y);
	}
}

/* Sum of a block's columns. */
INLINE float delta_sum(const vf x[DELTA_VECTORS])
{
	vf sum = x[0];

	_Pragma("GCC unroll 8") for (int c = 1; c < DELTA_VECTORS; c++) sum += x[c];
	return v_sum(sum);
}

static void delta_grad(const struct hth_delta_back *b, float *ds)
{
	vf dy[DELTA_VECTORS], u[DELTA_VECTORS], dv[DELTA_VECTORS], dd[DELTA_VECTORS], t[DELTA_VECTORS];
	vf decay = v_set1(b->decay);

	delta_load(b->dy, b->cols, dy);
	delta_load(b->u, HTH_DELTA_COLS, u);
	EACH_DV dv[c] = dd[c] = v_set1(0);
	for (int64_t i = 0; i < b->keys; i++) {
		float *row = ds + i * HTH_DELTA_COLS;
		const float *s = b->after + i * HTH_DELTA_COLS;
		vf qi = v_set1(b->q[i]), ki = v_set1(b->k[i]);
		EACH_DV
		{
			vf g = v_fma(qi, dy[c], v_load(row + c * VL));
			v_store(row + c * VL, g);
			t[c] = v_load(s + c * VL) * dy[c];
			dv[c] = v_fma(g, ki, dv[c]);
		}
		b->dq[i] += delta_sum(t);
	}
	EACH_DV
	{
		t[c] = dv[c] * v_load(b->miss + c * VL);
		dv[c] *= v_set1(b->beta);
	}
	*b->dbeta += delta_sum(t);
	delta_store(b->dv, b->cols, dv);
	for (int64_t i = 0; i < b->keys; i++) {
		float *row = ds + i * HTH_DELTA_COLS;
		vf ki = v_set1(0 - b->k[i]);
		EACH_DV
		{
			vf g = v_load(row + c * VL), s = v_set1(0);
			if (b->before != NULL)
				s = v_load(b->before + i * HTH_DELTA_COLS + c * VL);
			t[c] = g * u[c] - decay * s * dv[c];
			g = v_fma(ki, dv[c], g);
			dd[c] = v_fma(g, s, dd[c]);
			v_store(row + c * VL, decay * g);
		}
		b->dk[i] += delta_sum(t);
	}
	*b->ddecay += delta_sum(dd);
}

#define SIMD_DELTA_SLOTS .delta = delta, .delta_grad = delta_grad
