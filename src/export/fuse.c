/* One row of W + scale * B @ A: the sum runs over the rank in order, in f32, as the base row is. */
#include "export/fuse.h"

void hth_fuse_row(const struct hth_lora *lora, const struct hth_weight *w, int64_t stored, float *row)
{
	int64_t rank = lora->a.rows, cols = lora->a.cols;
	const float *b = lora->b.value + hth_weight_logical_row(w, stored) * rank; /* (r) */

	for (int64_t k = 0; k < rank; k++) {
		float f = lora->scale * b[k];
		const float *a = lora->a.value + k * cols; /* (C) */
		for (int64_t j = 0; j < cols; j++)
			row[j] += f * a[j];
	}
}
