/* Over parameters: the sum of squares of all gradients, and AdamW (Loshchilov & Hutter, "Decoupled weight decay
 * regularization"). Parameters without a gradient are not trained and are passed over. */
#include "backend/ref/ref_int.h"

#include <math.h>

static double trained_elems(struct hth_param *const *params, int64_t n)
{
	double elems = 0.0;

	for (int64_t i = 0; i < n; i++)
		if (params[i]->grad != NULL)
			elems += (double)(params[i]->rows * params[i]->cols);
	return elems;
}

void ref_grad_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_grad_norm_args *a = args;

	(void)m;
	out->flops = 2.0 * trained_elems(a->params, a->n);
	out->bytes_moved = 4.0 * trained_elems(a->params, a->n);
}

enum hth_status ref_grad_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_grad_norm_args *a = args;
	double sum = 0.0;

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->n; i++)
		if (a->params[i]->grad != NULL)
			sum += ref_dot(a->params[i]->grad, a->params[i]->grad, a->params[i]->rows * a->params[i]->cols);
	*a->out = sum;
	return HTH_OK;
}

void ref_adamw_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_adamw_args *a = args;

	(void)m;
	out->flops = 14.0 * trained_elems(a->params, a->n);
	out->bytes_moved = 32.0 * trained_elems(a->params, a->n);
}

/* The step's own constants are made in double: 1 - beta2^step loses half its digits in f32 at step 1. */
enum hth_status ref_adamw(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_adamw_args *a = args;
	double fix_m = 1.0, fix_v = 1.0;

	(void)dev, (void)scratch, (void)err;
	if (a->bias_correction) {
		fix_m = 1.0 - pow(a->beta1, (double)a->step);
		fix_v = 1.0 - pow(a->beta2, (double)a->step);
	}
	float step_size = (float)(a->lr / fix_m), root = (float)(1.0 / sqrt(fix_v));
	float decay = (float)(1.0 - (double)a->lr * a->weight_decay);

	for (int64_t i = 0; i < a->n; i++) {
		struct hth_param *p = a->params[i];
		for (int64_t e = 0; p->grad != NULL && e < p->rows * p->cols; e++) {
			float g = p->grad[e] * a->grad_scale;
			p->m[e] = a->beta1 * p->m[e] + (1.0f - a->beta1) * g;
			p->v[e] = a->beta2 * p->v[e] + (1.0f - a->beta2) * (g * g);
			p->value[e] = p->value[e] * decay - step_size * p->m[e] / (sqrtf(p->v[e]) * root + a->eps);
			p->grad[e] = 0.0f;
		}
	}
	return HTH_OK;
}
