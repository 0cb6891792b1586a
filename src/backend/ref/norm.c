/* RMS and layer norm over groups of `width` columns, and their gradients.
 *
 * With xhat = (x - mean) * rstd (RMS: mean 0) and g = dy * (w + offset), both kinds have
 *   dx = rstd * (g - xhat * mean(g * xhat)) and LAYER also subtracts rstd * mean(g), the path through the mean. */
#include "backend/ref/ref_int.h"

#include <math.h>

void ref_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_norm_args *a = args;

	(void)m;
	out->flops = 4.0 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->y) + ref_bytes(a->stats);
}

static const float *vector(const struct hth_weight *w) /* (1,width) f32, or NULL */
{
	return w == NULL ? NULL : (const float *)(const void *)w->data;
}

enum hth_status ref_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_norm_args *a = args;
	const float *w = vector(a->w), *bias = vector(a->bias);
	int64_t width = a->width, groups = a->x.cols / width;
	bool layer = a->kind == HTH_NORM_LAYER;

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->x.rows * groups; i++) {
		const float *x = ref_row(a->x, 0) + i * width; /* (width) */
		float *y = ref_row(a->y, 0) + i * width;
		double mean = 0.0, square = 0.0;

		for (int64_t c = 0; c < width && layer; c++)
			mean += (double)x[c] / (double)width;
		for (int64_t c = 0; c < width; c++)
			square += (x[c] - mean) * (x[c] - mean) / (double)width;
		double rstd = 1.0 / sqrt(square + a->eps);
		for (int64_t c = 0; c < width; c++) {
			double scale = w == NULL ? 1.0 : (double)w[c] + a->offset;
			y[c] = (float)((x[c] - mean) * rstd * scale + (bias == NULL ? 0.0 : bias[c]));
		}
		if (hth_tensor_is(a->stats)) {
			float *stats = ref_row(a->stats, 0) + i * (layer ? 2 : 1);
			if (layer)
				*stats++ = (float)mean;
			*stats = (float)rstd;
		}
	}
	return HTH_OK;
}

/* scratch: dw (width), dbias (width) in double. */
void ref_norm_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_norm_backward_args *a = args;

	(void)m;
	out->flops = 8.0 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->dy) + ref_bytes(a->base) + ref_bytes(a->dx);
	out->scratch_bytes = 2 * (uint64_t)a->width * sizeof(double);
}

static void add_gradient(const struct hth_weight *w, const double *sum)
{
	if (!ref_is_trained(w))
		return;
	for (int64_t c = 0; c < w->cols; c++)
		w->param->grad[c] += (float)sum[c];
}

enum hth_status ref_norm_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_norm_backward_args *a = args;
	const float *w = vector(a->w);
	int64_t width = a->width, groups = a->x.cols / width;
	bool layer = a->kind == HTH_NORM_LAYER;
	double *dw = scratch, *dbias = dw + width; /* (width) */

	(void)dev, (void)err;
	for (int64_t c = 0; c < 2 * width; c++)
		dw[c] = 0.0;
	for (int64_t i = 0; i < a->x.rows * groups; i++) {
		const float *x = ref_row(a->x, 0) + i * width, *dy = ref_row(a->dy, 0) + i * width; /* (width) */
		const float *stats = ref_row(a->stats, 0) + i * (layer ? 2 : 1);
		double mean = layer ? stats[0] : 0.0, rstd = stats[layer ? 1 : 0];
		double mean_g = 0.0, mean_gx = 0.0;

		for (int64_t c = 0; c < width; c++) {
			double xhat = (x[c] - mean) * rstd, g = dy[c] * (w == NULL ? 1.0 : (double)w[c] + a->offset);
			mean_g += g / (double)width;
			mean_gx += g * xhat / (double)width;
			dw[c] += dy[c] * xhat;
			dbias[c] += dy[c];
		}
		for (int64_t c = 0; c < width && hth_tensor_is(a->dx); c++) {
			double xhat = (x[c] - mean) * rstd, g = dy[c] * (w == NULL ? 1.0 : (double)w[c] + a->offset);
			double dx = rstd * (g - xhat * mean_gx - (layer ? mean_g : 0.0));
			double base = hth_tensor_is(a->base) ? (ref_row(a->base, 0) + i * width)[c] : 0.0;
			(ref_row(a->dx, 0) + i * width)[c] = (float)(base + dx);
		}
	}
	add_gradient(a->w, dw);
	add_gradient(a->bias, dbias);
	return HTH_OK;
}
