/* y = act(gate) * up, and its gradients. Activations are taken in double, where their formulas need no care. */
#include "backend/ref/ref_int.h"

#include <math.h>

#define SQRT_HALF 0.70710678118654752440 /* sqrt(1/2) */
#define SQRT_2_PI 0.79788456080286535588 /* sqrt(2/pi) */
#define INV_SQRT_2PI 0.39894228040143267794
#define GELU_CUBIC 0.044715 /* Hendrycks & Gimpel, "Gaussian error linear units" */

/* act(x), and its derivative in *slope. */
static double activate(enum hth_act act, double x, double *slope)
{
	if (act == HTH_ACT_SILU) {
		double sigmoid = 1.0 / (1.0 + exp(-x));
		*slope = sigmoid * (1.0 + x * (1.0 - sigmoid));
		return x * sigmoid;
	}
	if (act == HTH_ACT_SIGMOID) {
		double sigmoid = 1.0 / (1.0 + exp(-x));
		*slope = sigmoid * (1.0 - sigmoid);
		return sigmoid;
	}
	if (act == HTH_ACT_GELU_TANH) {
		double t = tanh(SQRT_2_PI * (x + GELU_CUBIC * x * x * x));
		*slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_PI * (1.0 + 3.0 * GELU_CUBIC * x * x);
		return 0.5 * x * (1.0 + t);
	}
	double below = 0.5 * (1.0 + erf(x * SQRT_HALF)); /* the normal distribution's share below x */
	*slope = below + x * INV_SQRT_2PI * exp(-0.5 * x * x);
	return x * below;
}

void ref_gated_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gated_args *a = args;

	(void)m;
	out->flops = 5.0 * (double)(a->y.rows * a->y.cols);
	out->bytes_moved = 3.0 * ref_bytes(a->y);
}

/* y and its derivatives, gpt-oss's form. A clamped input has none. */
static double swiglu_clamped(double gate, double up, double *dgate, double *dup)
{
	double g = fmin(gate, HTH_SWIGLU_LIMIT), u = fmax(fmin(up, HTH_SWIGLU_LIMIT), -HTH_SWIGLU_LIMIT);
	double sigmoid = 1.0 / (1.0 + exp(-HTH_SWIGLU_ALPHA * g));

	*dgate = gate > HTH_SWIGLU_LIMIT
	                 ? 0.0
	                 : (u + 1.0) * sigmoid * (1.0 + HTH_SWIGLU_ALPHA * g * (1.0 - sigmoid));
	*dup = fabs(up) > HTH_SWIGLU_LIMIT ? 0.0 : g * sigmoid;
	return g * sigmoid * (u + 1.0);
}

enum hth_status ref_gated(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_gated_args *a = args;
	const float *gate = a->gate.ctx, *up = a->up.ctx; /* (R,F) */
	float *y = a->y.ctx;                              /* (R,F) */
	bool clamped = a->act == HTH_ACT_SWIGLU_CLAMPED;
	double slope, other;

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->y.rows * a->y.cols; i++)
		y[i] = (float)(clamped ? swiglu_clamped(gate[i], up[i], &slope, &other)
		                       : activate(a->act, gate[i], &slope) * up[i]);
	return HTH_OK;
}

void ref_gated_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_gated_backward_args *a = args;

	(void)m;
	out->flops = 10.0 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 5.0 * ref_bytes(a->dy);
}

enum hth_status ref_gated_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_gated_backward_args *a = args;
	const float *gate = a->gate.ctx, *up = a->up.ctx, *dy = a->dy.ctx; /* (R,F) */
	float *dgate = a->dgate.ctx, *dup = a->dup.ctx;                    /* (R,F) */

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->dy.rows * a->dy.cols; i++) {
		double slope, u = up[i], g = dy[i];
		if (a->act == HTH_ACT_SWIGLU_CLAMPED) {
			double other;
			swiglu_clamped(gate[i], u, &slope, &other);
			dgate[i] = (float)(g * slope);
			dup[i] = (float)(g * other);
			continue;
		}
		double value = activate(a->act, gate[i], &slope);
		dgate[i] = (float)(g * u * slope);
		dup[i] = (float)(g * value);
	}
	return HTH_OK;
}
