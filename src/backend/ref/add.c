/* y = a + scale * b; without a: scale * b. */
#include "backend/ref/ref_int.h"

void ref_add_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_add_args *a = args;

	(void)m;
	out->flops = 2.0 * (double)(a->y.rows * a->y.cols);
	out->bytes_moved = ref_bytes(a->a) + ref_bytes(a->b) + ref_bytes(a->y);
}

enum hth_status ref_add(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_add_args *a = args;
	const float *first = hth_tensor_is(a->a) ? a->a.ctx : NULL, *second = a->b.ctx; /* (R,C) */
	float *y = a->y.ctx;                                                            /* (R,C) */

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->y.rows * a->y.cols; i++)
		y[i] = (first != NULL ? first[i] : 0.0f) + a->scale * second[i];
	return HTH_OK;
}
