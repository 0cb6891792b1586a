/* Rotary positions, "rotate half". The angles of a row are taken once for all its heads. */
#include "backend/cpu/cpu_int.h"

#include <string.h>

enum { ROWS = 16, HALF_MAX = 256 }; /* rows of a task; rot/2 at most 256 */

void cpu_rope_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_rope_args *a = args;

	(void)m;
	out->flops = 3 * (double)(a->x.rows * a->x.cols);
	out->bytes_moved = cpu_bytes(a->x) + cpu_bytes(a->y);
}

struct rope {
	const struct hth_kernels *k;
	const struct hth_rope_args *a;
};

static void rope_task(void *ctx, int64_t task, int thread)
{
	const struct rope *r = ctx;
	const struct hth_rope_args *a = r->a;
	int64_t half = a->rot / 2;
	float cosine[HALF_MAX], sine[HALF_MAX]; // (rot/2)

	(void)thread;
	for (int64_t t = task * ROWS; t < cpu_min(task * ROWS + ROWS, a->x.rows); t++) {
		r->k->sincos((float)a->rows->positions[t], a->freq, cosine, sine, half);
		if (a->attn_scale != 1)
			r->k->scale(a->attn_scale, cosine, cosine, half);
		if (a->attn_scale != 1 || a->inverse)
			r->k->scale(a->inverse ? -a->attn_scale : a->attn_scale, sine, sine, half);
		for (int64_t c = 0; c < a->x.cols; c += a->head) {
			const float *x = cpu_row(a->x, t) + c; /* (D) */
			float *y = cpu_row(a->y, t) + c;
			r->k->rope(x, cosine, sine, y, half);
			if (x != y)
				memcpy(y + a->rot, x + a->rot, (size_t)(a->head - a->rot) * sizeof *y);
		}
	}
}

enum hth_status cpu_rope(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct rope r = {&cpu_device(dev)->kernels.k, args};

	(void)scratch;
	if (r.a->rot / 2 > HALF_MAX)
		return hth_fail(err, HTH_ERR_LIMIT, "rope: found %lld rotated columns, expected at most %d",
		                (long long)r.a->rot, 2 * HALF_MAX);
	hth_pool_run(cpu_device(dev)->pool, rope_task, &r, cpu_ceil(r.a->x.rows, ROWS));
	return HTH_OK;
}
