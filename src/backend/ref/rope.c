/* Rotary positions, "rotate half": columns i and i + rot/2 of each head turn by positions * freq[i]. */
#include "backend/ref/ref_int.h"

#include <math.h>

void ref_rope_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_rope_args *a = args;

	(void)m;
	out->flops = 3.0 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = ref_bytes(a->x) + ref_bytes(a->y);
}

/* The angle is the f32 product, as where the models were trained; its sine and cosine are taken in double. */
enum hth_status ref_rope(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_rope_args *a = args;
	const struct hth_rotation *how = &a->how;
	int64_t half = how->rot / 2;

	(void)dev, (void)scratch, (void)err;
	for (int64_t t = 0; t < a->x.rows; t++) {
		bool beyond = how->freq_beyond != NULL && a->rows->beyond != NULL && a->rows->beyond[t];
		const float *freq = beyond ? how->freq_beyond : how->freq; /* (rot/2) */
		double grown = 1;
		if (how->growth > 0)
			grown += how->growth * log(1 + floor((double)a->rows->positions[t] / (double)how->original));
		for (int64_t h = 0; h < a->x.cols / how->head; h++) {
			const float *x = ref_row(a->x, t) + h * how->head; /* (D) */
			float *y = ref_row(a->y, t) + h * how->head;
			for (int64_t i = 0; i < half; i++) {
				float angle = (float)a->rows->positions[t] * freq[i];
				double c = cos(angle) * how->attn_scale * grown;
				double s = (a->inverse ? -sin(angle) : sin(angle)) * how->attn_scale * grown;
				double first = x[i], second = x[i + half];
				y[i] = (float)(first * c - second * s);
				y[i + half] = (float)(second * c + first * s);
			}
			for (int64_t i = how->rot; i < how->head; i++)
				y[i] = (float)(x[i] * grown);
		}
	}
	return HTH_OK;
}
