/* y = sigmoid(gate) * x with one gate a row, and its gradients. */
#include "backend/ref/ref_int.h"

#include <math.h>

void ref_row_gate_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_row_gate_args *a = args;

	(void)m;
	out->flops = (double)(a->y.rows * a->y.cols);
	out->bytes_moved = 2.0 * ref_bytes(a->y) + ref_bytes(a->gate);
}

enum hth_status ref_row_gate(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_row_gate_args *a = args;
	const float *gate = a->gate.ctx; /* (R,1) */

	(void)dev, (void)scratch, (void)err;
	for (int64_t r = 0; r < a->y.rows; r++) {
		const float *x = ref_row(a->x, r);
		float *y = ref_row(a->y, r);
		double sigmoid = 1.0 / (1.0 + exp(-(double)gate[r]));
		for (int64_t c = 0; c < a->y.cols; c++)
			y[c] = (float)(sigmoid * x[c]);
	}
	return HTH_OK;
}

void ref_row_gate_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_row_gate_backward_args *a = args;

	(void)m;
	out->flops = 3.0 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = 3.0 * ref_bytes(a->dy) + 2.0 * ref_bytes(a->gate);
}

enum hth_status ref_row_gate_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_row_gate_backward_args *a = args;
	const float *gate = a->gate.ctx; /* (R,1) */
	float *dgate = a->dgate.ctx;     /* (R,1) */

	(void)dev, (void)scratch, (void)err;
	for (int64_t r = 0; r < a->dy.rows; r++) {
		const float *x = ref_row(a->x, r), *dy = ref_row(a->dy, r);
		float *dx = ref_row(a->dx, r);
		double sigmoid = 1.0 / (1.0 + exp(-(double)gate[r])), sum = 0.0;
		for (int64_t c = 0; c < a->dy.cols; c++) {
			sum += (double)dy[c] * x[c];
			dx[c] = (float)(sigmoid * dy[c]);
		}
		dgate[r] = (float)(sum * sigmoid * (1.0 - sigmoid));
	}
	return HTH_OK;
}
