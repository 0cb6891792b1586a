/* The machine's speed, through the very slots that training spends its time in. */
#include "base/machine.h"
#include "base/mem.h"
#include "plan/plan.h"

#include <string.h>

#define ALIGN_BYTES 64
#define ROWS 256      /* of a product: a micro-batch's size, near enough */
#define ENOUGH_S 0.12 /* of each timing */
#define MAX_REPEATS 1000
#define COPY_BYTES ((size_t)32 << 20)

/* A linear without adapters and its backward pass, with memory of their own. */
struct product {
	struct hth_weight w;
	struct hth_linear linear;
	struct hth_rowset rows;
	int32_t *zeros; /* (ROWS) positions and example numbers */
	struct hth_adapter_run run;
	uint8_t *data;     /* the weight's */
	float *x, *y, *dx; /* (ROWS,C) (ROWS,N) (ROWS,C) */
	void *scratch;
};

static void free_product(struct product *p, const struct hth_backend *b, struct hth_device *dev)
{
	if (p->w.prepared != NULL)
		b->unprepare(dev, &p->w);
	hth_free(p->zeros);
	hth_free(p->data);
	hth_free(p->x);
	hth_free(p->y);
	hth_free(p->dx);
	hth_free(p->scratch);
}

static float *floats(int64_t n)
{
	float *f = hth_alloc_aligned((size_t)n * sizeof(float), ALIGN_BYTES);

	for (int64_t i = 0; f != NULL && i < n; i++)
		f[i] = (float)(i % 7) - 3;
	return f;
}

static enum hth_status make_product(struct product *p, const struct hth_weight *like, const struct hth_backend *b,
				    struct hth_device *dev, struct hth_err *err)
{
	size_t bytes = (size_t)hth_weight_bytes(like);

	*p = (struct product){.w = *like};
	p->data = hth_alloc_aligned(bytes, ALIGN_BYTES);
	p->zeros = hth_calloc(ROWS, sizeof *p->zeros);
	p->x = floats(ROWS * like->cols);
	p->y = floats(ROWS * like->rows);
	p->dx = floats(ROWS * like->cols);
	if (p->data == NULL || p->zeros == NULL || p->x == NULL || p->y == NULL || p->dx == NULL)
		return hth_fail_memory(err, "a product to time", bytes);
	memset(p->data, 0, bytes);
	p->w.data = p->data;
	p->w.prepared = NULL;
	p->w.param = NULL;
	p->linear.w = &p->w;
	p->run = (struct hth_adapter_run){.len = ROWS, .adapter = -1};
	p->rows = (struct hth_rowset){
		.n = ROWS, .positions = p->zeros, .examples = p->zeros, .n_runs = 1, .runs = &p->run};
	return b->prepare(dev, &p->w, true, err);
}

static struct hth_tensor tensor(float *data, int32_t id, int64_t cols)
{
	return (struct hth_tensor){.ctx = data, .id = id, .dtype = HTH_DTYPE_F32, .rows = ROWS, .cols = cols};
}

/* Best FLOP/s of a few runs of one slot. */
static enum hth_status time_slot(const struct hth_slot *slot, const void *args, struct hth_device *dev,
				 const struct hth_machine *machine, struct product *p, double *flops_per_s,
				 struct hth_err *err)
{
	struct hth_cost cost = {0};
	double best = 0, spent = 0;

	slot->cost(machine, args, &cost);
	hth_free(p->scratch);
	p->scratch = hth_alloc_aligned((size_t)cost.scratch_bytes + 1, ALIGN_BYTES);
	if (p->scratch == NULL)
		return hth_fail_memory(err, "a product to time", (size_t)cost.scratch_bytes);
	for (int i = 0; i < MAX_REPEATS && (i < 2 || spent < ENOUGH_S); i++) {
		double start = hth_now_s();
		enum hth_status status = slot->run(dev, args, p->scratch, err);
		if (status != HTH_OK)
			return status;
		double s = hth_now_s() - start;
		spent += s;
		if (s > 0 && cost.flops / s > best)
			best = cost.flops / s;
	}
	*flops_per_s = best;
	return HTH_OK;
}

static double time_copy(void)
{
	uint8_t *a = hth_alloc_aligned(COPY_BYTES, ALIGN_BYTES), *b = hth_alloc_aligned(COPY_BYTES, ALIGN_BYTES);
	double best = 0;

	if (a != NULL && b != NULL) {
		memset(a, 1, COPY_BYTES);
		memset(b, 2, COPY_BYTES);
		for (int i = 0; i < 4; i++) {
			double start = hth_now_s();
			memcpy(b, a, COPY_BYTES);
			double s = hth_now_s() - start;
			a[i] = b[COPY_BYTES - 1 - (size_t)i]; /* the copy is used, so it is made */
			if (s > 0 && 2 * (double)COPY_BYTES / s > best)
				best = 2 * (double)COPY_BYTES / s;
		}
	}
	hth_free(a);
	hth_free(b);
	return best;
}

enum hth_status hth_speed_measure(const struct hth_model *m, const struct hth_backend *b, struct hth_device *dev,
				  const struct hth_machine *machine, struct hth_speed *out, struct hth_err *err)
{
	const struct hth_weight *linear = m->layers[0].linear;
	const struct hth_weight *like = linear[HTH_GATE].data != NULL ? &linear[HTH_GATE]
					: linear[HTH_O].data != NULL  ? &linear[HTH_O]
								      : &linear[HTH_DELTA_OUT];
	struct product p;
	double forward = 0, backward = 0;

	*out = (struct hth_speed){0};
	if (!b->host_memory)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend %s: its speed cannot be measured here", b->name);
	enum hth_status status = make_product(&p, like, b, dev, err);
	if (status == HTH_OK) {
		struct hth_linear_args f = {
			.rows = &p.rows, .n = 1, .member = {&p.linear}, .x = tensor(p.x, 0, like->cols)};
		f.y[0] = tensor(p.y, 1, like->rows);
		f.xa[0] = HTH_NO_TENSOR;
		status = time_slot(&b->slot[HTH_OP_linear], &f, dev, machine, &p, &forward, err);
	}
	if (status == HTH_OK) {
		struct hth_linear_backward_args g = {
			.rows = &p.rows,
			.n = 1,
			.member = {&p.linear},
			.x = {.id = -1, .dtype = HTH_DTYPE_F32, .rows = ROWS, .cols = like->cols},
			.base = HTH_NO_TENSOR};
		g.dy[0] = tensor(p.y, 1, like->rows);
		g.xa[0] = HTH_NO_TENSOR;
		g.dx = tensor(p.dx, 2, like->cols);
		status = time_slot(&b->slot[HTH_OP_linear_backward], &g, dev, machine, &p, &backward, err);
	}
	if (status == HTH_OK && forward > 0 && backward > 0)
		out->flops_per_s = 2 / (1 / forward + 1 / backward); /* as much of one as of the other */
	out->bytes_per_s = time_copy();
	free_product(&p, b, dev);
	return status;
}
