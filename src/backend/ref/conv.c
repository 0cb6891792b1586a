/* A causal convolution along each token's own past, column by column, and SiLU.
 *
 * Backward, with z the sum before SiLU: dz = dy * silu'(z);  dx of the token j places before += w[W-1-j] * dz;
 * dw[W-1-j] += dz * x of that token. */
#include "backend/ref/ref_int.h"

#include <math.h>

void ref_conv_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_conv_args *a = args;

	(void)m;
	out->flops = (2.0 * (double)a->taps + 4.0) * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->y);
	out->scratch_bytes = (uint64_t)a->batch->n_segments * sizeof(struct ref_move);
}

static int32_t segment_of(const struct hth_batch *b, int64_t row)
{
	int32_t s = 0;
	while (row >= b->segments[s].start + b->segments[s].len)
		s++;
	return s;
}

/* The batch row of the token `back` places before row's; -1: it is not in this batch, and *left places before its
 * root's first token (0: the one before). */
static int64_t row_before(const struct hth_batch *b, int64_t row, int64_t back, int64_t *left, int32_t *root)
{
	int32_t s = segment_of(b, row);
	int64_t in = row - b->segments[s].start;

	while (back > in && b->segments[s].parent >= 0) {
		back -= in + 1;
		s = b->segments[s].parent;
		in = b->segments[s].len - 1;
	}
	*root = s;
	*left = back - in - 1;
	return back <= in ? b->segments[s].start + in - back : -1;
}

/* The input row of the token `back` places before row's, (N), or NULL: zero. */
static const float *input_before(const struct hth_conv_args *a, const struct ref_move *moves, int64_t row, int64_t back)
{
	int32_t root;
	int64_t left, at = row_before(a->batch, row, back, &left, &root);

	if (at >= 0)
		return ref_row(a->x, at);
	const float *from = moves[root].from; /* (W-1,N) */
	return from != NULL && left < a->taps - 1 ? from + (a->taps - 2 - left) * a->x.cols : NULL;
}

static const float *taps_of(const struct hth_weight *w)
{
	return (const float *)(const void *)w->data;
}

static void convolve(const struct hth_conv_args *a, const struct ref_move *moves, int64_t row)
{
	const float *w = taps_of(a->w); /* (N,W) */

	for (int64_t c = 0; c < a->x.cols; c++) {
		double z = 0.0;
		for (int64_t j = 0; j < a->taps; j++) {
			const float *x = input_before(a, moves, row, a->taps - 1 - j);
			z += x != NULL ? (double)w[c * a->taps + j] * x[c] : 0.0;
		}
		ref_row(a->y, row)[c] = (float)(z / (1.0 + exp(-z)));
	}
}

enum hth_status ref_conv(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_conv_args *a = args;
	struct ref_move *moves = scratch;
	enum hth_status st = ref_find_moves(a->batch, a->layer, HTH_RECURRENT_CONV, (a->taps - 1) * a->x.cols, moves, err);

	(void)dev;
	if (st != HTH_OK)
		return st;
	for (int64_t row = 0; row < a->x.rows; row++)
		convolve(a, moves, row);
	for (int32_t s = 0; s < a->batch->n_segments; s++) {
		int64_t last = a->batch->segments[s].start + a->batch->segments[s].len - 1;
		for (int64_t i = 0; moves[s].to != NULL && i < a->taps - 1; i++) {
			const float *x = input_before(a, moves, last, a->taps - 2 - i);
			for (int64_t c = 0; c < a->x.cols; c++)
				moves[s].to[i * a->x.cols + c] = x != NULL ? x[c] : 0.0f;
		}
	}
	return HTH_OK;
}

/* scratch in double: dx (T), dw (W) of one column. */
void ref_conv_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_conv_backward_args *a = args;

	(void)m;
	out->flops = (6.0 * (double)a->taps + 8.0) * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->dy) + ref_bytes(a->base) + ref_bytes(a->dx);
	out->scratch_bytes = (uint64_t)(a->x.rows + a->taps) * sizeof(double);
}

static void column_backward(const struct hth_conv_backward_args *a, int64_t c, double *dx, double *dw)
{
	const float *w = taps_of(a->w) + c * a->taps; /* (W) */
	int64_t left;
	int32_t root;

	for (int64_t i = 0; i < a->x.rows + a->taps; i++)
		dx[i] = 0.0;
	for (int64_t row = 0; row < a->x.rows; row++) {
		double z = 0.0;
		for (int64_t j = 0; j < a->taps; j++) {
			int64_t at = row_before(a->batch, row, a->taps - 1 - j, &left, &root);
			z += at >= 0 ? (double)w[j] * ref_row(a->x, at)[c] : 0.0;
		}
		double sigmoid = 1.0 / (1.0 + exp(-z));
		double dz = ref_row(a->dy, row)[c] * sigmoid * (1.0 + z * (1.0 - sigmoid));
		for (int64_t j = 0; j < a->taps; j++) {
			int64_t at = row_before(a->batch, row, a->taps - 1 - j, &left, &root);
			if (at < 0)
				continue;
			dx[at] += w[j] * dz;
			dw[j] += ref_row(a->x, at)[c] * dz;
		}
	}
}

enum hth_status ref_conv_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_conv_backward_args *a = args;
	double *dx = scratch, *dw = dx + a->x.rows;

	(void)dev, (void)err;
	for (int64_t c = 0; c < a->x.cols; c++) {
		column_backward(a, c, dx, dw);
		for (int64_t t = 0; hth_tensor_is(a->dx) && t < a->x.rows; t++) {
			float base = hth_tensor_is(a->base) ? ref_row(a->base, t)[c] : 0.0f;
			ref_row(a->dx, t)[c] = (float)(base + dx[t]);
		}
		for (int64_t j = 0; ref_is_trained(a->w) && j < a->taps; j++)
			a->w->param->grad[c * a->taps + j] += (float)dw[j];
	}
	return HTH_OK;
}
