/* Rotary positions, "rotate half". The angles of a row are taken once for all its heads. */
#include "backend/cpu/cpu_int.h"

#include <math.h>

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

/* By how much a row is multiplied; exactly 1 within the original context. */
static float grown(const struct hth_rotation *how, int32_t position)
{
	return how->growth > 0 ? 1 + how->growth * logf((float)(1 + position / how->original)) : 1;
}

static void rope_row(const struct rope *r, int64_t t)
{
	const struct hth_rope_args *a = r->a;
	const struct hth_rotation *how = &a->how;
	bool beyond = how->freq_beyond != NULL && a->rows->beyond != NULL && a->rows->beyond[t];
	float grow = grown(how, a->rows->positions[t]), scale = how->attn_scale * grow;
	int64_t half = how->rot / 2, rest = how->head - how->rot, head = how->head, cols = a->x.cols;
	const float *x = cpu_row(a->x, t); /* (H*D) */
	float *y = cpu_row(a->y, t);
	float cosine[HALF_MAX], sine[HALF_MAX]; // (rot/2)

	r->k->sincos((float)a->rows->positions[t], beyond ? how->freq_beyond : how->freq, cosine, sine, half);
	if (scale != 1)
		r->k->scale(scale, cosine, cosine, half);
	if (scale != 1 || a->inverse)
		r->k->scale(a->inverse ? -scale : scale, sine, sine, half);
	for (int64_t c = 0; c < cols; c += head)
		r->k->rope(x + c, cosine, sine, y + c, half);
	if (rest == 0 || (grow == 1 && x == y))
		return;
	for (int64_t c = how->rot; c < cols; c += head)
		r->k->scale(grow, x + c, y + c, rest);
}

static void rope_task(void *ctx, int64_t task, int thread)
{
	const struct rope *r = ctx;

	(void)thread;
	for (int64_t t = task * ROWS; t < cpu_min(task * ROWS + ROWS, r->a->x.rows); t++)
		rope_row(r, t);
}

enum hth_status cpu_rope(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	struct rope r = {&cpu_device(dev)->kernels.k, args};

	(void)scratch;
	if (r.a->how.rot / 2 > HALF_MAX)
		return hth_fail(err, HTH_ERR_LIMIT, "rope: found %lld rotated columns, expected at most %d",
		                (long long)r.a->how.rot, 2 * HALF_MAX);
	hth_pool_run(cpu_device(dev)->pool, rope_task, &r, cpu_ceil(r.a->x.rows, ROWS));
	return HTH_OK;
}
