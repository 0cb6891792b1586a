/* The causal convolution of layers that recur, and its gradients; definition in backend/ref/conv.c. A task has some columns
 * of all rows, in their order: neighbours' rows are in the cache, and no two tasks add to one place. */
#include "backend/cpu/cpu_int.h"
#include "backend/cpu/state.h"

#include <string.h>

enum { COLS = 128 }; /* of a task */

/* Rows of the tokens before one: back[j] is j places before, -1: not in this batch, but `left` places before the root's
 * first row (0: the one before). */
struct past {
	int64_t row[HTH_CONV_MAX_TAPS], left[HTH_CONV_MAX_TAPS];
};

/* Tokens before the one at place `in` of segment s. */
static void find_past(const struct hth_batch *b, int32_t s, int64_t in, int64_t taps, struct past *p)
{
	for (int64_t j = 0; j < taps; j++) {
		p->row[j] = in >= 0 ? b->segments[s].start + in : -1;
		p->left[j] = -in - 1;
		if (--in < 0 && b->segments[s].parent >= 0) {
			s = b->segments[s].parent;
			in = b->segments[s].len - 1;
		}
	}
}

/* taps (W,COLS): columns c0 .. c0+n-1 of w, one tap after the other. */
static void read_taps(const struct hth_weight *w, int64_t taps, int64_t c0, int64_t n, float *out)
{
	const float *all = cpu_vector(w) + c0 * taps; /* (n,W) */

	for (int64_t c = 0; c < n; c++)
		for (int64_t j = 0; j < taps; j++)
			out[j * COLS + c] = all[c * taps + j];
}

static void multiply_add(const float *w, const float *x, float *z, int64_t n)
{
	for (int64_t c = 0; c < n; c++)
		z[c] += w[c] * x[c];
}

static void fill_ones(float *ones)
{
	for (int64_t c = 0; c < COLS; c++)
		ones[c] = 1;
}

void cpu_conv_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_conv_args *a = args;

	(void)m;
	out->flops = (2 * (double)a->taps + 4) * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->y);
	out->scratch_bytes = (uint64_t)a->batch->n_segments * sizeof(struct cpu_move);
}

struct conv {
	const struct hth_kernels *k;
	const struct hth_conv_args *a;
	const struct cpu_move *moves; /* (segments) */
};

/* Columns of the token's input, or NULL: zero. */
static const float *input(const struct hth_conv_args *a, const float *from, const struct past *p, int64_t j, int64_t c0)
{
	if (p->row[j] >= 0)
		return cpu_row(a->x, p->row[j]) + c0;
	return from != NULL && p->left[j] < a->taps - 1 ? from + (a->taps - 2 - p->left[j]) * a->x.cols + c0 : NULL;
}

static int32_t root_of(const struct hth_batch *b, int32_t s)
{
	while (b->segments[s].parent >= 0)
		s = b->segments[s].parent;
	return s;
}

static void conv_task(void *ctx, int64_t task, int thread)
{
	const struct conv *v = ctx;
	const struct hth_conv_args *a = v->a;
	int64_t c0 = task * COLS, n = cpu_min(COLS, a->x.cols - c0);
	float w[HTH_CONV_MAX_TAPS * COLS], z[COLS], ones[COLS];
	struct past p;

	(void)thread;
	read_taps(a->w, a->taps, c0, n, w);
	fill_ones(ones);
	for (int32_t s = 0; s < a->batch->n_segments; s++) {
		const struct hth_segment *g = &a->batch->segments[s];
		const float *from = v->moves[root_of(a->batch, s)].from, *x;
		for (int64_t in = 0; in < g->len; in++) {
			find_past(a->batch, s, in, a->taps, &p);
			memset(z, 0, sizeof z);
			for (int64_t j = 0; j < a->taps; j++)
				if ((x = input(a, from, &p, a->taps - 1 - j, c0)) != NULL)
					multiply_add(w + j * COLS, x, z, n);
			v->k->silu(z, ones, cpu_row(a->y, g->start + in) + c0, n);
		}
		for (int64_t i = 0; v->moves[s].to != NULL && i < a->taps - 1; i++) {
			float *to = v->moves[s].to + i * a->x.cols + c0;
			if ((x = input(a, from, &p, a->taps - 2 - i, c0)) != NULL)
				memcpy(to, x, (size_t)n * sizeof *to);
			else
				memset(to, 0, (size_t)n * sizeof *to);
		}
	}
}

enum hth_status cpu_conv(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_conv_args *a = args;
	struct conv v = {.k = &cpu_device(dev)->kernels.k, .a = a, .moves = scratch};
	enum hth_status st = cpu_find_moves(a->batch, a->layer, HTH_RECURRENT_CONV, (a->taps - 1) * a->x.cols, scratch, err);

	if (st == HTH_OK)
		hth_pool_run(cpu_device(dev)->pool, conv_task, &v, cpu_ceil(a->x.cols, COLS));
	return st;
}

void cpu_conv_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_conv_backward_args *a = args;

	(void)m;
	out->flops = (6 * (double)a->taps + 8) * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->dy) + cpu_bytes(a->base) + cpu_bytes(a->dx);
}

struct conv_backward {
	const struct hth_kernels *k;
	const struct hth_conv_backward_args *a;
};

static void begin_columns(const struct hth_conv_backward_args *a, int64_t c0, int64_t n)
{
	for (int64_t r = 0; hth_tensor_is(a->dx) && r < a->dx.rows; r++) {
		float *dx = cpu_row(a->dx, r) + c0;
		if (!hth_tensor_is(a->base))
			memset(dx, 0, (size_t)n * sizeof *dx);
		else if (cpu_row(a->base, r) + c0 != dx)
			memcpy(dx, cpu_row(a->base, r) + c0, (size_t)n * sizeof *dx);
	}
}

static void conv_backward_task(void *ctx, int64_t task, int thread)
{
	const struct conv_backward *v = ctx;
	const struct hth_conv_backward_args *a = v->a;
	int64_t c0 = task * COLS, n = cpu_min(COLS, a->x.cols - c0);
	float w[HTH_CONV_MAX_TAPS * COLS], dw[HTH_CONV_MAX_TAPS * COLS] = {0}, z[COLS], dz[COLS], none[COLS], ones[COLS];
	struct past p;

	(void)thread;
	read_taps(a->w, a->taps, c0, n, w);
	fill_ones(ones);
	begin_columns(a, c0, n);
	for (int32_t s = 0; s < a->batch->n_segments; s++) {
		const struct hth_segment *g = &a->batch->segments[s];
		for (int64_t in = 0; in < g->len; in++) {
			find_past(a->batch, s, in, a->taps, &p);
			memset(z, 0, sizeof z);
			for (int64_t j = 0; j < a->taps; j++)
				if (p.row[a->taps - 1 - j] >= 0)
					multiply_add(w + j * COLS, cpu_row(a->x, p.row[a->taps - 1 - j]) + c0, z, n);
			v->k->silu_grad(z, ones, cpu_row(a->dy, g->start + in) + c0, dz, none, n);
			for (int64_t j = 0; j < a->taps; j++) {
				int64_t row = p.row[a->taps - 1 - j];
				if (row >= 0 && hth_tensor_is(a->dx))
					multiply_add(w + j * COLS, dz, cpu_row(a->dx, row) + c0, n);
				if (row >= 0 && cpu_is_trained(a->w))
					multiply_add(cpu_row(a->x, row) + c0, dz, dw + j * COLS, n);
			}
		}
	}
	for (int64_t c = 0; cpu_is_trained(a->w) && c < n; c++)
		for (int64_t j = 0; j < a->taps; j++)
			a->w->param->grad[(c0 + c) * a->taps + j] += dw[j * COLS + c];
}

enum hth_status cpu_conv_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct conv_backward v = {.k = &cpu_device(dev)->kernels.k, .a = args};

	(void)scratch, (void)err;
	hth_pool_run(cpu_device(dev)->pool, conv_backward_task, &v, cpu_ceil(v.a->x.cols, COLS));
	return HTH_OK;
}
