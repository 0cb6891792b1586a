/* One row of W + scale * B @ A: the sum runs over the rank in order, in f32, as the base row is. DoRA's length is summed
 * in double. */
#include "export/fuse.h"

#include <math.h>

void hth_fuse_row(const struct hth_lora *lora, int64_t e, int64_t n, float *row)
{
	int64_t rank = lora->b.cols, cols = lora->a.cols, rows = lora->b.rows / (lora->a.rows / rank);
	const float *b = lora->b.value + (e * rows + n) * rank; /* (r) */
	double square = 0;

	for (int64_t k = 0; k < rank; k++) {
		float f = lora->scale * b[k];
		const float *a = lora->a.value + (e * rank + k) * cols; /* (C) */
		for (int64_t j = 0; j < cols; j++)
			row[j] += f * a[j];
	}
	if (lora->mag.value == NULL)
		return;
	for (int64_t j = 0; j < cols; j++)
		square += (double)row[j] * (double)row[j];
	float f = square > 0 ? (float)((double)lora->mag.value[n] / sqrt(square)) : 0;
	for (int64_t j = 0; j < cols; j++)
		row[j] *= f;
}
