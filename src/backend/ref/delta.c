/* The gated delta rule, token by token (Yang et al., "Gated Delta Networks", 2024).
 *
 * Backward, from the last token to the first, with S_ the state before the token, P = decay * S_, S = P + k u^T, and dS
 * the gradient of S by all later tokens:
 *	dS += q dy^T;  dq = S dy;  du = dS^T k;  dk = dS u;  dv = beta du;  dbeta = du.(v - P^T k);
 *	dk -= P dv;  dP = dS - k dv^T;  ddecay = sum of dP * S_;  dS_ = decay dP
 * A parent's last token gets the dS_ of the first tokens of all its children. */
#include "backend/ref/ref_int.h"

#include <math.h>
#include <string.h>

/* What both directions read. */
struct rule {
	struct hth_delta_shape s;
	const float *a_log, *dt; /* (Vh) */
	struct hth_tensor x, a, b;
};

/* One token of one head: normed query and key, decay, beta. */
struct token {
	double *q, *k; /* (Dk) */
	double decay, beta;
	double q_factor, k_factor; /* 1 / length (the query's also over sqrt(Dk)) */
	const float *xq, *xk, *v;  /* (Dk), (Dk), (Dv): as they came in */
};

static double softplus(double x)
{
	return x > 20.0 ? x : log1p(exp(x));
}

static double factor_of(const float *x, int64_t n)
{
	return 1.0 / sqrt(ref_dot(x, x, n) + HTH_DELTA_EPS);
}

static void read_token(const struct rule *r, int64_t row, int64_t h, struct token *t)
{
	const struct hth_delta_shape *s = &r->s;
	int64_t kh = hth_delta_key_head(s, h);

	t->xq = ref_row(r->x, row) + kh * s->key;
	t->xk = t->xq + s->n_key * s->key;
	t->v = ref_row(r->x, row) + 2 * s->n_key * s->key + h * s->value;
	t->q_factor = factor_of(t->xq, s->key) / sqrt((double)s->key);
	t->k_factor = factor_of(t->xk, s->key);
	for (int64_t i = 0; i < s->key; i++) {
		t->q[i] = t->xq[i] * t->q_factor;
		t->k[i] = t->xk[i] * t->k_factor;
	}
	t->decay = exp(-exp((double)r->a_log[h]) * softplus((double)ref_row(r->a, row)[h] + r->dt[h]));
	t->beta = 1.0 / (1.0 + exp(-(double)ref_row(r->b, row)[h]));
}

/* after (Dk,Dv) from before (the same, NULL: zero); u (Dv) */
static void step(const struct hth_delta_shape *s, const struct token *t, const double *before, double *after, double *u)
{
	for (int64_t d = 0; d < s->value; d++) {
		double seen = 0.0;
		for (int64_t i = 0; i < s->key; i++) {
			double p = before != NULL ? t->decay * before[i * s->value + d] : 0.0;
			after[i * s->value + d] = p;
			seen += p * t->k[i];
		}
		u[d] = t->beta * (t->v[d] - seen);
		for (int64_t i = 0; i < s->key; i++)
			after[i * s->value + d] += t->k[i] * u[d];
	}
}

/* scratch: a move for each segment; in double a state for each segment, q, k, u. */
void ref_delta_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_delta_args *a = args;
	const struct hth_delta_shape *s = &a->shape;
	int64_t n = a->batch->n_segments;

	(void)m;
	out->flops = 7.0 * (double)(a->x.rows * s->n_value * s->key * s->value);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->y);
	out->scratch_bytes = (uint64_t)n * sizeof(struct ref_move) +
	                     (uint64_t)(n * s->key * s->value + 2 * s->key + s->value) * sizeof(double);
}

static const float *vector(const struct hth_weight *w)
{
	return (const float *)(const void *)w->data;
}

/* One segment of one head: the state in `state` (Dk,Dv) goes on to its end. room: q, k, u. */
static void run_segment(const struct hth_delta_args *a, const struct rule *r, int64_t h, const struct hth_segment *g,
                        double *state, double *room)
{
	const struct hth_delta_shape *s = &a->shape;
	struct token t = {.q = room, .k = room + s->key};

	for (int64_t row = g->start; row < g->start + g->len; row++) {
		float *y = ref_row(a->y, row) + h * s->value;
		read_token(r, row, h, &t);
		step(s, &t, state, state, room + 2 * s->key);
		for (int64_t d = 0; d < s->value; d++) {
			double sum = 0.0;
			for (int64_t i = 0; i < s->key; i++)
				sum += state[i * s->value + d] * t.q[i];
			y[d] = (float)sum;
		}
	}
}

enum hth_status ref_delta(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_delta_args *a = args;
	const struct hth_delta_shape *s = &a->shape;
	const struct rule r = {*s, vector(a->a_log), vector(a->dt), a->x, a->a, a->b};
	int64_t size = s->key * s->value, n = a->batch->n_segments;
	struct ref_move *moves = scratch;
	double *ends = (double *)(void *)(moves + n), *room = ends + n * size; /* (segments,Dk,Dv) */
	enum hth_status st =
		ref_find_moves(a->batch, a->layer, HTH_RECURRENT_DELTA, s->n_value * size, moves, err);

	(void)dev;
	if (st != HTH_OK)
		return st;
	for (int64_t h = 0; h < s->n_value; h++)
		for (int32_t i = 0; i < n; i++) {
			const struct hth_segment *g = &a->batch->segments[i];
			double *state = ends + i * size;
			for (int64_t e = 0; e < size; e++)
				state[e] = g->parent >= 0            ? ends[g->parent * size + e]
				           : moves[i].from != NULL ? moves[i].from[h * size + e]
				                                   : 0.0;
			run_segment(a, &r, h, g, state, room);
			for (int64_t e = 0; e < size && moves[i].to != NULL; e++)
				moves[i].to[h * size + e] = (float)state[e];
		}
	return HTH_OK;
}

/* scratch of the backward pass, in double. */
struct sums {
	double *after; /* (T,Dk,Dv) states of one head */
	double *dend;  /* (segments,Dk,Dv) gradients of a segment's last state */
	double *dqk;   /* (T,2*Kh*Dk) gradients of normed queries and keys */
	double *da_log, *ddt; /* (Vh) */
	double *q, *k, *dk, *dq, *u, *dv; /* (Dk), (Dv) */
};

static int64_t lay_out(const struct hth_delta_backward_args *a, double *at, struct sums *out)
{
	const struct hth_delta_shape *s = &a->shape;
	int64_t size = s->key * s->value, rows = a->x.rows;
	const int64_t elems[] = {rows * size, a->batch->n_segments * size, rows * 2 * s->n_key * s->key, s->n_value,
	                         s->n_value, s->key, s->key, s->key, s->key, s->value, s->value};
	double **const place[] = {&out->after, &out->dend, &out->dqk, &out->da_log, &out->ddt, &out->q,
	                          &out->k, &out->dk, &out->dq, &out->u, &out->dv};
	int64_t total = 0;

	for (size_t i = 0; i < sizeof(elems) / sizeof(elems[0]); i++) {
		*place[i] = at != NULL ? at + total : NULL;
		total += elems[i];
	}
	return total;
}

void ref_delta_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_delta_backward_args *a = args;
	const struct hth_delta_shape *s = &a->shape;
	struct sums sums;

	(void)m;
	out->flops = 23.0 * (double)(a->x.rows * s->n_value * s->key * s->value);
	out->bytes_moved = 2.0 * (ref_bytes(a->x) + ref_bytes(a->dy));
	out->scratch_bytes = (uint64_t)lay_out(a, NULL, &sums) * sizeof(double);
}

/* The state before a row: that after the row before it, or after its parent's last; NULL: zero. */
static const double *before_row(const struct hth_delta_backward_args *a, const struct sums *w, int64_t row,
                                const struct hth_segment *g)
{
	int64_t size = a->shape.key * a->shape.value;

	if (row > g->start)
		return w->after + (row - 1) * size;
	if (g->parent < 0)
		return NULL;
	const struct hth_segment *p = &a->batch->segments[g->parent];
	return w->after + (p->start + p->len - 1) * size;
}

/* One token of one head: ds (Dk,Dv) is the gradient of the state after it, and becomes that of the state before. */
static void token_backward(const struct hth_delta_backward_args *a, const struct rule *r, const struct sums *w,
                           int64_t row, int64_t h, const double *before, double *ds)
{
	const struct hth_delta_shape *s = &a->shape;
	const double *after = w->after + row * s->key * s->value;
	const float *dy = ref_row(a->dy, row) + h * s->value;
	struct token t = {.q = w->q, .k = w->k};
	double dbeta = 0.0, ddecay = 0.0;

	read_token(r, row, h, &t);
	for (int64_t i = 0; i < s->key; i++)
		w->dq[i] = w->dk[i] = 0.0;
	for (int64_t d = 0; d < s->value; d++) {
		double seen = 0.0, du = 0.0;
		for (int64_t i = 0; i < s->key; i++) {
			double *g = &ds[i * s->value + d];
			*g += t.q[i] * dy[d];
			w->dq[i] += after[i * s->value + d] * dy[d];
			du += *g * t.k[i];
			seen += before != NULL ? t.decay * before[i * s->value + d] * t.k[i] : 0.0;
		}
		w->u[d] = t.beta * (t.v[d] - seen);
		w->dv[d] = t.beta * du;
		dbeta += du * (t.v[d] - seen);
	}
	for (int64_t i = 0; i < s->key; i++)
		for (int64_t d = 0; d < s->value; d++) {
			double *g = &ds[i * s->value + d], p = before != NULL ? before[i * s->value + d] : 0.0;
			w->dk[i] += *g * w->u[d] - t.decay * p * w->dv[d];
			*g -= t.k[i] * w->dv[d];
			ddecay += *g * p;
			*g *= t.decay;
		}
	int64_t kh = hth_delta_key_head(s, h);
	double *dqk = w->dqk + row * 2 * s->n_key * s->key + kh * s->key;
	for (int64_t i = 0; i < s->key; i++) {
		dqk[i] += w->dq[i];
		dqk[s->n_key * s->key + i] += w->dk[i];
	}
	for (int64_t d = 0; d < s->value; d++)
		ref_row(a->dx, row)[2 * s->n_key * s->key + h * s->value + d] = (float)w->dv[d];
	double z = (double)ref_row(a->a, row)[h] + r->dt[h], speed = exp((double)r->a_log[h]);
	double dg = ddecay * t.decay, dz = -dg * speed / (1.0 + exp(-z));
	ref_row(a->da, row)[h] = (float)dz;
	ref_row(a->db, row)[h] = (float)(dbeta * t.beta * (1.0 - t.beta));
	w->ddt[h] += dz;
	w->da_log[h] -= dg * speed * softplus(z);
}

static void head_backward(const struct hth_delta_backward_args *a, const struct rule *r, const struct sums *w, int64_t h)
{
	const struct hth_delta_shape *s = &a->shape;
	int64_t size = s->key * s->value;
	struct token t = {.q = w->q, .k = w->k};

	for (int32_t i = 0; i < a->batch->n_segments; i++) {
		const struct hth_segment *g = &a->batch->segments[i];
		for (int64_t row = g->start; row < g->start + g->len; row++) {
			read_token(r, row, h, &t);
			step(s, &t, before_row(a, w, row, g), w->after + row * size, w->u);
		}
	}
	memset(w->dend, 0, (size_t)(a->batch->n_segments * size) * sizeof(double));
	for (int32_t i = a->batch->n_segments - 1; i >= 0; i--) {
		const struct hth_segment *g = &a->batch->segments[i];
		double *ds = w->dend + i * size;
		for (int64_t row = g->start + g->len - 1; row >= g->start; row--)
			token_backward(a, r, w, row, h, before_row(a, w, row, g), ds);
		for (int64_t e = 0; e < size && g->parent >= 0; e++)
			w->dend[g->parent * size + e] += ds[e];
	}
}

/* dx of a query or key (Dk) from the gradient of the normed one, factor * x: factor * (d - x * factor^2 * unit * x.d),
 * where unit undoes what factor has beside 1 / length. */
static void norm_backward(const float *x, const double *d, double factor, double unit, int64_t n, float *dx)
{
	double along = 0.0;

	for (int64_t i = 0; i < n; i++)
		along += x[i] * d[i];
	for (int64_t i = 0; i < n; i++)
		dx[i] = (float)(factor * (d[i] - x[i] * factor * factor * unit * along));
}

enum hth_status ref_delta_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_delta_backward_args *a = args;
	const struct hth_delta_shape *s = &a->shape;
	const struct rule r = {*s, vector(a->a_log), vector(a->dt), a->x, a->a, a->b};
	int64_t keys = s->n_key * s->key;
	struct sums w;

	(void)dev, (void)err;
	(void)lay_out(a, scratch, &w);
	memset(w.dqk, 0, (size_t)(a->x.rows * 2 * keys) * sizeof(double));
	memset(w.da_log, 0, (size_t)(2 * s->n_value) * sizeof(double)); /* and ddt */
	for (int64_t h = 0; h < s->n_value; h++)
		head_backward(a, &r, &w, h);
	for (int64_t row = 0; row < a->x.rows; row++)
		for (int64_t at = 0; at < 2 * keys; at += s->key) {
			double scale = at < keys ? 1.0 / sqrt((double)s->key) : 1.0;
			const float *x = ref_row(a->x, row) + at;
			norm_backward(x, w.dqk + row * 2 * keys + at, factor_of(x, s->key) * scale, 1.0 / (scale * scale),
			              s->key, ref_row(a->dx, row) + at);
		}
	for (int64_t h = 0; h < s->n_value; h++) {
		if (ref_is_trained(a->a_log))
			a->a_log->param->grad[h] += (float)w.da_log[h];
		if (ref_is_trained(a->dt))
			a->dt->param->grad[h] += (float)w.ddt[h];
	}
	return HTH_OK;
}
