/* Some columns of each group of columns; backward puts them back. */
#include "backend/ref/ref_int.h"

void ref_slice_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_slice_args *a = args;

	(void)m;
	out->bytes_moved = 2.0 * ref_bytes(a->y);
}

enum hth_status ref_slice(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_slice_args *a = args;

	(void)dev, (void)scratch, (void)err;
	for (int64_t r = 0; r < a->y.rows; r++)
		for (int64_t c = 0; c < a->y.cols; c++)
			ref_row(a->y, r)[c] = ref_row(a->x, r)[c / a->n * a->group + a->first + c % a->n];
	return HTH_OK;
}

void ref_slice_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_slice_backward_args *a = args;

	(void)m;
	out->flops = (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = ref_bytes(a->dy) + ref_bytes(a->base) + ref_bytes(a->dx);
}

enum hth_status ref_slice_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_slice_backward_args *a = args;

	(void)dev, (void)scratch, (void)err;
	for (int64_t i = 0; i < a->dx.rows * a->dx.cols; i++)
		ref_row(a->dx, 0)[i] = hth_tensor_is(a->base) ? ref_row(a->base, 0)[i] : 0.0f;
	for (int64_t r = 0; r < a->dy.rows; r++)
		for (int64_t c = 0; c < a->dy.cols; c++)
			ref_row(a->dx, r)[c / a->n * a->group + a->first + c % a->n] += ref_row(a->dy, r)[c];
	return HTH_OK;
}
