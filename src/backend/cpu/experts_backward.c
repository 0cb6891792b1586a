/* Gradients of the products with experts: of their inputs, of the factors of choices, and of trained experts. Sums over
 * a row's experts run in one order (tasks are groups of columns, experts ascending), as in experts.c. Adapters' products
 * are experts_lora.c's. */
#include "backend/cpu/experts_int.h"

#include <string.h>

void cpu_expert_product_back(const struct cpu_slots *s, const struct cpu_slot_rows *m, const struct hth_weight *w,
			     int64_t r0, int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc, bool add,
			     const struct cpu_work *work)
{
	const struct hth_quant_format *f = hth_quant_format(w->quant);
	int64_t first = r0 / s->tile.mr * s->tile.mr;
	struct cpu_left left = {.packed = m->packed + first * cpu_words(s->tile, m->k), .k = m->k};
	struct hth_weight part = *w; /* its columns from j0 on */

	part.data += (uint64_t)j0 / f->block_elems * f->block_bytes;
	struct cpu_right right = cpu_right_weight(&part, false, 0);
	cpu_product(s->k, &left, r0 - first, r1 - first, &right, 0, j1 - j0, c, ldc, add, work);
}

static bool set_trained(const struct hth_expert_set *set)
{
	bool any = false;

	for (int64_t e = 0; e < set->n; e++)
		any = any || cpu_is_trained(&set->w[e]) || (set->bias != NULL && cpu_is_trained(&set->bias[e]));
	return any;
}

static int64_t back_cols(const struct hth_expert_set *set)
{
	struct cpu_right right = cpu_right_weight(&set->w[0], false, 0);

	return cpu_right_cols(&right);
}

/* dW[e] += l^T @ r over one expert's rows, 64 columns a task; dbias[e] += column sums of l. */
struct weights {
	const struct cpu_slots *s;
	const struct hth_expert_set *set;
	const float *l, *r; /* (sn,N), (sn,C) */
	float *works;
};

static void weights_task(void *ctx, int64_t task, int thread)
{
	const struct weights *t = ctx;
	const struct hth_weight *w = &t->set->w[t->s->e0];
	int64_t groups = cpu_ceil(w->cols, CPU_COLS), j0 = task % groups * CPU_COLS, r0, r1;
	struct cpu_work work = cpu_work_at(t->s->tile, t->works, thread);
	int64_t e = t->s->e0 + task / groups;

	w = &t->set->w[e];
	if (!cpu_is_trained(w) || !cpu_slots_of(t->s, e, &r0, &r1))
		return;
	struct cpu_outer o = {.l = t->l,
			      .ldl = w->rows,
			      .m = w->rows,
			      .r = t->r,
			      .ldr = w->cols,
			      .scale = 1,
			      .out = w->param->grad,
			      .ldo = w->cols,
			      .stored = w};
	cpu_outer(t->s->k, &o, r0, r1, j0, cpu_min(j0 + CPU_COLS, w->cols), &work);
}

static void train_weights(struct weights *t)
{
	const struct cpu_slots *s = t->s;
	int64_t n = t->set->w[0].rows, r0, r1;

	hth_pool_run(s->dev->pool, weights_task, t, (s->e1 - s->e0) * cpu_ceil(t->set->w[0].cols, CPU_COLS));
	for (int64_t e = s->e0; t->set->bias != NULL && e < s->e1; e++)
		if (cpu_is_trained(&t->set->bias[e]) && cpu_slots_of(s, e, &r0, &r1))
			for (int64_t r = r0; r < r1; r++)
				s->k->axpy(1, t->l + r * n, t->set->bias[e].param->grad, n);
}

/* --- up --------------------------------------------------------------------------------------------------------- */

struct up {
	struct cpu_slots s;
	const struct hth_experts_up_backward_args *a;
	struct cpu_slot_rows dy[HTH_MAX_GROUP]; // (sn,N_i)
	struct cpu_expert_lora lora[HTH_MAX_GROUP];
	struct cpu_slot_rows x;                 // (sn,C), when a parameter is trained
	float *works;                           // (threads) struct cpu_work
	float *sums;                            // (threads,rows + mr,cols)
	int64_t rows, cols;                     /* of one product */
	bool trained;
};

static void up_layout(struct up *u, struct cpu_scratch *scratch, struct cpu_tile tile, int threads)
{
	int64_t deepest = 1;

	u->cols = CPU_COLS;
	for (int i = 0; i < u->a->n; i++) {
		const struct hth_expert_set *set = u->a->member[i];
		if (!hth_tensor_is(u->a->dy[i]))
			continue;
		deepest = set->w[0].rows > deepest ? set->w[0].rows : deepest;
		u->cols = back_cols(set) > u->cols ? back_cols(set) : u->cols;
		u->trained = u->trained || set_trained(set) || cpu_expert_lora_trained(set);
	}
	cpu_slots_init(&u->s, &u->a->routing, tile, deepest);
	for (int i = 0; i < u->a->n; i++)
		if (hth_tensor_is(u->a->dy[i])) {
			cpu_slot_rows_layout(&u->s, &u->dy[i], scratch, u->a->dy[i].cols, false, false);
			cpu_expert_lora_layout(&u->s, &u->lora[i], scratch, u->a->member[i], u->a->rows, true);
		}
	if (u->trained)
		cpu_slot_rows_layout(&u->s, &u->x, scratch, u->a->x.cols, true, false);
	u->rows = cpu_min(cpu_task_rows(tile), u->s.batch);
	u->works = cpu_take(scratch, threads * cpu_work_elems(tile));
	u->sums = cpu_take(scratch, threads * (u->rows + tile.mr) * u->cols);
}

void cpu_experts_up_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct up u = {.a = args};
	struct cpu_scratch s = {0};
	double below = hth_tensor_is(u.a->dx) ? 1 : 0;

	out->bytes_moved = cpu_bytes(u.a->x) + cpu_bytes(u.a->base) + cpu_bytes(u.a->dx);
	for (int i = 0; i < u.a->n; i++) {
		const struct hth_expert_set *set = u.a->member[i];
		if (!hth_tensor_is(u.a->dy[i]))
			continue;
		out->flops += cpu_experts_flops(set, &u.a->routing) * (below + (set_trained(set) ? 1 : 0)) +
			      cpu_expert_lora_flops(set, &u.a->routing, 2 + below);
		out->bytes_moved += cpu_experts_bytes(set, &u.a->routing) * below + cpu_bytes(u.a->dy[i]);
	}
	up_layout(&u, &s, cpu_tile_of_machine(m), m->threads);
	out->scratch_bytes = s.bytes;
}

/* What dx starts from, columns j0..j1-1. */
static void up_start(const struct up *u, int64_t j0, int64_t j1)
{
	const struct hth_experts_up_backward_args *a = u->a;
	size_t bytes = (size_t)(j1 - j0) * sizeof(float);

	for (int64_t r = 0; r < a->dx.rows; r++)
		if (!hth_tensor_is(a->base))
			memset(cpu_row(a->dx, r) + j0, 0, bytes);
		else if (a->base.ctx != a->dx.ctx)
			memcpy(cpu_row(a->dx, r) + j0, cpu_row(a->base, r) + j0, bytes);
}

/* Task: a group of columns, all experts and members. */
static void up_task(void *ctx, int64_t task, int thread)
{
	const struct up *u = ctx;
	const struct hth_experts_up_backward_args *a = u->a;
	struct cpu_work work = cpu_work_at(u->s.tile, u->works, thread);
	int64_t mr = u->s.tile.mr, j0 = task * u->cols, j1 = cpu_min(j0 + u->cols, a->dx.cols), r0, r1;
	float *sums = u->sums + thread * (u->rows + mr) * u->cols;

	if (u->s.s0 == 0)
		up_start(u, j0, j1);
	for (int64_t e = u->s.e0; e < u->s.e1; e++) {
		if (!cpu_slots_of(&u->s, e, &r0, &r1))
			continue;
		for (int64_t from = r0; from < r1; from += u->rows) {
			int64_t to = cpu_min(from + u->rows, r1);
			bool add = false;
			for (int i = 0; i < a->n; i++) {
				if (!hth_tensor_is(a->dy[i]))
					continue;
				cpu_expert_product_back(&u->s, &u->dy[i], &a->member[i]->w[e], from, to, j0, j1, sums,
							u->cols, add, &work);
				cpu_expert_lora_add_back(&u->s, &u->lora[i], e, from, to, j0, j1,
							 sums + from % mr * u->cols, u->cols, &work);
				add = true;
			}
			for (int64_t r = from; r < to; r++)
				u->s.k->axpy(1, sums + (from % mr + r - from) * u->cols,
					     cpu_row(a->dx, cpu_slot_row(&u->s, u->s.s0 + r)) + j0, j1 - j0);
		}
	}
}

enum hth_status cpu_experts_up_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct up u = {.s = {.dev = d, .k = &d->kernels.k}, .a = args};
	struct cpu_scratch space = {.base = scratch};

	(void)err;
	up_layout(&u, &space, cpu_tile_of_device(d), hth_pool_threads(d->pool));
	for (int64_t s0 = 0; s0 < u.s.n; s0 += u.s.batch) {
		cpu_slots_begin(&u.s, s0);
		if (u.trained)
			cpu_slot_rows_fill(&u.s, &u.x, u.a->x);
		for (int i = 0; i < u.a->n; i++) {
			if (!hth_tensor_is(u.a->dy[i]))
				continue;
			cpu_slot_rows_fill(&u.s, &u.dy[i], u.a->dy[i]);
			struct weights t = {&u.s, u.a->member[i], u.dy[i].rows, u.x.rows, u.works};
			if (set_trained(u.a->member[i]))
				train_weights(&t);
			cpu_expert_lora_rows(&u.s, &u.lora[i], u.x.rows, u.dy[i].rows, u.works);
			cpu_expert_lora_grads(&u.s, &u.lora[i], u.works);
		}
		if (hth_tensor_is(u.a->dx))
			hth_pool_run(d->pool, up_task, &u, cpu_ceil(u.a->dx.cols, u.cols));
	}
	return HTH_OK;
}

/* --- down ------------------------------------------------------------------------------------------------------- */

struct down {
	struct cpu_slots s;
	const struct hth_experts_down_backward_args *a;
	struct cpu_slot_rows dy; // (sn,C)
	struct cpu_expert_lora lora;
	float *works;            // (threads) struct cpu_work
	int64_t cols;            /* of one task */
};

static void down_layout(struct down *d, struct cpu_scratch *scratch, struct cpu_tile tile, int threads)
{
	d->cols = back_cols(d->a->set);
	cpu_slots_init(&d->s, &d->a->routing, tile, d->a->dy.cols);
	cpu_slot_rows_layout(&d->s, &d->dy, scratch, d->a->dy.cols, true, false);
	d->works = cpu_take(scratch, threads * cpu_work_elems(tile));
	cpu_expert_lora_layout(&d->s, &d->lora, scratch, d->a->set, d->a->rows, true);
}

void cpu_experts_down_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct down d = {.a = args};
	struct cpu_scratch s = {0};
	double below = hth_tensor_is(d.a->da) ? 1 : 0;

	out->flops = cpu_experts_flops(d.a->set, &d.a->routing) * (below + (set_trained(d.a->set) ? 1 : 0)) +
		     cpu_expert_lora_flops(d.a->set, &d.a->routing, 2 + below);
	out->bytes_moved = cpu_bytes(d.a->a) + cpu_bytes(d.a->dy) + cpu_bytes(d.a->da) +
			   cpu_experts_bytes(d.a->set, &d.a->routing) * below;
	down_layout(&d, &s, cpu_tile_of_machine(m), m->threads);
	out->scratch_bytes = s.bytes;
}

/* Task: (expert, column group): u = dy @ W + t1 @ A, into da. */
static void down_task(void *ctx, int64_t task, int thread)
{
	const struct down *d = ctx;
	struct cpu_work work = cpu_work_at(d->s.tile, d->works, thread);
	int64_t width = d->a->da.cols, groups = cpu_ceil(width, d->cols), e = d->s.e0 + task / groups, r0, r1;
	int64_t j0 = task % groups * d->cols, j1 = cpu_min(j0 + d->cols, width), mr = d->s.tile.mr;

	if (!cpu_slots_of(&d->s, e, &r0, &r1))
		return;
	cpu_expert_product_back(&d->s, &d->dy, &d->a->set->w[e], r0, r1, j0, j1,
				cpu_row(d->a->da, d->s.s0 + r0 / mr * mr) + j0, width, false, &work);
	cpu_expert_lora_add_back(&d->s, &d->lora, e, r0, r1, j0, j1, cpu_row(d->a->da, d->s.s0 + r0) + j0, width, &work);
}

/* Task: one expert's slots: dweight = u.a + dy.bias, then da = weight * u; dy and t1 become weight times
 * themselves for trained experts. */
static void down_finish_task(void *ctx, int64_t task, int thread)
{
	const struct down *d = ctx;
	const struct hth_experts_down_backward_args *a = d->a;
	const float *weight = a->routing.weight.ctx; /* (R*k) */
	int64_t e = d->s.e0 + task, r0, r1;
	const float *bias = a->set->bias != NULL ? cpu_vector(&a->set->bias[e]) : NULL; /* (C) */

	(void)thread;
	if (!cpu_slots_of(&d->s, e, &r0, &r1))
		return;
	for (int64_t r = r0; r < r1; r++) {
		int64_t s = d->s.s0 + r;
		int32_t choice = cpu_ints(a->routing.order)[s];
		float *dy = d->dy.gathered + r * d->dy.k;
		if (hth_tensor_is(a->dweight))
			((float *)a->dweight.ctx)[choice] =
				d->s.k->dot(cpu_row(a->da, s), cpu_row(a->a, s), a->a.cols) +
				(bias != NULL ? d->s.k->dot(dy, bias, a->dy.cols) : 0);
		if (hth_tensor_is(a->da))
			d->s.k->scale(weight[choice], cpu_row(a->da, s), cpu_row(a->da, s), a->da.cols);
		d->s.k->scale(weight[choice], dy, dy, a->dy.cols);
		if (d->lora.t1 != NULL)
			for (int64_t i = 0; i < d->lora.rank; i++)
				d->lora.t1[r * d->lora.rank + i] *= weight[choice];
	}
}

enum hth_status cpu_experts_down_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *dv = cpu_device(dev);
	struct down d = {.s = {.dev = dv, .k = &dv->kernels.k}, .a = args};
	struct cpu_scratch space = {.base = scratch};

	(void)err;
	down_layout(&d, &space, cpu_tile_of_device(dv), hth_pool_threads(dv->pool));
	for (int64_t s0 = 0; s0 < d.s.n; s0 += d.s.batch) {
		cpu_slots_begin(&d.s, s0);
		cpu_slot_rows_fill(&d.s, &d.dy, d.a->dy);
		cpu_expert_lora_rows(&d.s, &d.lora, cpu_row(d.a->a, s0), d.dy.rows, d.works);
		if (hth_tensor_is(d.a->da))
			hth_pool_run(dv->pool, down_task, &d, (d.s.e1 - d.s.e0) * cpu_ceil(d.a->da.cols, d.cols));
		hth_pool_run(dv->pool, down_finish_task, &d, d.s.e1 - d.s.e0);
		struct weights t = {&d.s, d.a->set, d.dy.gathered, cpu_row(d.a->a, s0), d.works};
		if (set_trained(d.a->set))
			train_weights(&t);
		cpu_expert_lora_grads(&d.s, &d.lora, d.works);
	}
	return HTH_OK;
}
