/* Products with the experts that each row goes to, forward. Up: tasks of one expert and 64 columns. Down: tasks of 64
 * columns with all experts in order, so that a row's sum over its experts has one order and needs no buffer of (R*k,C).
 */
#include "backend/cpu/experts_int.h"

#include <math.h>
#include <string.h>

void cpu_slots_init(struct cpu_slots *s, const struct hth_routing *r, struct cpu_tile tile, int64_t k)
{
	s->routing = r;
	s->tile = tile;
	s->n = r->weight.rows * r->top;
	s->batch = cpu_batch_rows(tile, s->n, k);
}

void cpu_slots_begin(struct cpu_slots *s, int64_t s0)
{
	const int32_t *begin = cpu_ints(s->routing->begin);

	s->s0 = s0;
	s->sn = cpu_min(s->batch, s->n - s0);
	for (s->e0 = 0; begin[s->e0 + 1] <= s0; s->e0++)
		;
	for (s->e1 = s->e0; s->e1 < s->routing->n_experts && begin[s->e1] < s0 + s->sn; s->e1++)
		;
}

bool cpu_slots_of(const struct cpu_slots *s, int64_t e, int64_t *r0, int64_t *r1)
{
	const int32_t *begin = cpu_ints(s->routing->begin);

	*r0 = (begin[e] > s->s0 ? begin[e] : s->s0) - s->s0;
	*r1 = cpu_min(begin[e + 1], s->s0 + s->sn) - s->s0;
	return *r0 < *r1;
}

void cpu_slot_rows_layout(const struct cpu_slots *s, struct cpu_slot_rows *m, struct cpu_scratch *scratch, int64_t k,
			  bool gather, bool few)
{
	/* By shape alone: with this many slots for each expert hardly one has few. */
	enum { MANY = 4 * CPU_MATVEC_ROWS };
	bool prepare = few && s->n < MANY * s->routing->n_experts;

	m->k = k;
	m->gathered = gather ? cpu_take(scratch, s->batch * k) : NULL;
	m->packed = cpu_take(scratch, cpu_packed_elems(s->tile, s->batch, k));
	m->prepared = prepare ? cpu_take(scratch, s->batch * hth_prepared_elems(k)) : NULL;
}

struct fill {
	const struct cpu_slots *s;
	struct cpu_slot_rows *m;
	struct hth_tensor from;
};

enum { FILL_ROWS = 8 };

static void fill_task(void *ctx, int64_t task, int thread)
{
	const struct fill *f = ctx;
	struct cpu_slot_rows *m = f->m;
	int64_t last = cpu_min((task + 1) * FILL_ROWS, f->s->sn), ld = hth_prepared_elems(m->k);

	(void)thread;
	for (int64_t r = task * FILL_ROWS; r < last; r++) {
		if (m->gathered != NULL)
			memcpy(m->gathered + r * m->k, cpu_row(f->from, cpu_slot_row(f->s, f->s->s0 + r)),
			       (size_t)m->k * sizeof *m->gathered);
		if (m->prepared != NULL)
			f->s->k->prepare_x(m->rows + r * m->k, m->k, m->prepared + r * ld);
	}
}

static bool is_few(const struct cpu_slot_rows *m, int64_t r0, int64_t r1)
{
	return m->prepared != NULL && r1 - r0 <= CPU_MATVEC_ROWS;
}

/* Where experts have few slots their blocks are read as streams. */
static void run_products(const struct cpu_device *dev, const struct cpu_slot_rows *m, hth_pool_fn *task, void *ctx, int64_t n)
{
	if (m->prepared != NULL)
		hth_pool_run_apart(dev->pool, task, ctx, n);
	else
		hth_pool_run(dev->pool, task, ctx, n);
}

void cpu_slot_rows_fill(const struct cpu_slots *s, struct cpu_slot_rows *m, struct hth_tensor from)
{
	struct fill f = {s, m, from};
	bool many = false;
	int64_t r0, r1;

	m->rows = m->gathered != NULL ? m->gathered : cpu_row(from, s->s0);
	if (m->gathered != NULL || m->prepared != NULL)
		hth_pool_run(s->dev->pool, fill_task, &f, cpu_ceil(s->sn, FILL_ROWS));
	for (int64_t e = s->e0; e < s->e1; e++)
		many = many || (cpu_slots_of(s, e, &r0, &r1) && !is_few(m, r0, r1));
	if (many)
		cpu_pack(s->dev, m->rows, m->k, s->sn, m->k, m->packed);
}

void cpu_expert_product(const struct cpu_slots *s, const struct cpu_slot_rows *m, const struct hth_weight *w,
			int64_t r0, int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc,
			const struct cpu_work *work)
{
	int64_t mr = s->tile.mr, first = r0 / mr * mr, ld = hth_prepared_elems(m->k);

	if (is_few(m, r0, r1)) {
		struct hth_matvec_in in = {.m = (int)(r1 - r0),
					   .x = m->rows + r0 * m->k,
					   .ldx = m->k,
					   .prepared = m->prepared + r0 * ld,
					   .prepared_ld = ld};
		cpu_matvec(s->k, w, j0, j1, &in, c + (r0 - first) * ldc, ldc, NULL);
		return;
	}
	struct cpu_left left = {.packed = m->packed + first * cpu_words(s->tile, m->k), .k = m->k};
	struct cpu_right right = cpu_right_weight(w, true, j0);
	cpu_product(s->k, &left, r0 - first, r1 - first, &right, 0, j1 - j0, c, ldc, false, work);
}

/* How many of E experts R*k choices read, if all are as likely: E (1 - (1 - 1/E)^(R*k)). */
static double experts_read(const struct hth_routing *r)
{
	double n = (double)r->n_experts, choices = (double)(r->weight.rows * r->top);

	return n > 1 ? n * -expm1(choices * log1p(-1 / n)) : 1;
}

double cpu_experts_flops(const struct hth_expert_set *set, const struct hth_routing *r)
{
	return 2 * (double)(r->weight.rows * r->top) * (double)set->w[0].rows * (double)set->w[0].cols;
}

double cpu_experts_bytes(const struct hth_expert_set *set, const struct hth_routing *r)
{
	uint64_t bias = set->bias != NULL ? 4 * (uint64_t)set->w[0].rows : 0;

	return experts_read(r) * (double)(hth_weight_bytes(&set->w[0]) + bias);
}

static const float *bias_of(const struct hth_expert_set *set, int64_t e) /* (N), or NULL */
{
	return set->bias != NULL ? cpu_vector(&set->bias[e]) : NULL;
}

/* --- up --------------------------------------------------------------------------------------------------------- */

struct up {
	struct cpu_slots s;
	const struct hth_experts_up_args *a;
	struct cpu_slot_rows x; // (sn,C)
	struct cpu_expert_lora lora[HTH_MAX_GROUP];
	float *works;           // (threads) struct cpu_work
	int64_t groups;         /* tasks of one expert */
};

static void up_layout(struct up *u, struct cpu_scratch *scratch, struct cpu_tile tile, int threads)
{
	cpu_slots_init(&u->s, &u->a->routing, tile, u->a->x.cols);
	cpu_slot_rows_layout(&u->s, &u->x, scratch, u->a->x.cols, true, true);
	u->works = cpu_take(scratch, threads * cpu_work_elems(tile));
	for (int i = 0; i < u->a->n; i++) {
		u->groups += cpu_ceil(u->a->member[i]->w[0].rows, CPU_COLS);
		cpu_expert_lora_layout(&u->s, &u->lora[i], scratch, u->a->member[i], u->a->rows, false);
	}
}

void cpu_experts_up_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct up u = {.a = args};
	struct cpu_scratch s = {0};

	out->bytes_moved = cpu_bytes(u.a->x);
	for (int i = 0; i < u.a->n; i++) {
		out->flops += cpu_experts_flops(u.a->member[i], &u.a->routing) +
			      cpu_expert_lora_flops(u.a->member[i], &u.a->routing, 1);
		out->bytes_moved += cpu_experts_bytes(u.a->member[i], &u.a->routing) + cpu_bytes(u.a->y[i]);
	}
	up_layout(&u, &s, cpu_tile_of_machine(m), m->threads);
	out->scratch_bytes = s.bytes;
}

/* Task: (expert, member, column group). */
static void up_task(void *ctx, int64_t task, int thread)
{
	const struct up *u = ctx;
	struct cpu_work work = cpu_work_at(u->s.tile, u->works, thread);
	int64_t e = u->s.e0 + task / u->groups, group = task % u->groups, r0, r1, n = 0;
	int i = 0;

	if (!cpu_slots_of(&u->s, e, &r0, &r1))
		return;
	for (; i < u->a->n; i++) {
		n = u->a->member[i]->w[0].rows;
		if (group < cpu_ceil(n, CPU_COLS))
			break;
		group -= cpu_ceil(n, CPU_COLS);
	}
	int64_t j0 = group * CPU_COLS, j1 = cpu_min(j0 + CPU_COLS, n), mr = u->s.tile.mr;
	const float *bias = bias_of(u->a->member[i], e);
	float *y = cpu_row(u->a->y[i], u->s.s0) + j0; /* (sn,N) from column j0 */
	cpu_expert_product(&u->s, &u->x, &u->a->member[i]->w[e], r0, r1, j0, j1, y + r0 / mr * mr * n, n, &work);
	cpu_expert_lora_add(&u->s, &u->lora[i], e, r0, r1, j0, j1, y + r0 * n, n, &work);
	for (int64_t r = r0; bias != NULL && r < r1; r++)
		u->s.k->axpy(1, bias + j0, y + r * n, j1 - j0);
}

enum hth_status cpu_experts_up(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *d = cpu_device(dev);
	struct up u = {.s = {.dev = d, .k = &d->kernels.k}, .a = args};
	struct cpu_scratch space = {.base = scratch};

	(void)err;
	up_layout(&u, &space, cpu_tile_of_device(d), hth_pool_threads(d->pool));
	for (int64_t s0 = 0; s0 < u.s.n; s0 += u.s.batch) {
		cpu_slots_begin(&u.s, s0);
		cpu_slot_rows_fill(&u.s, &u.x, u.a->x);
		for (int i = 0; i < u.a->n; i++)
			cpu_expert_lora_rows(&u.s, &u.lora[i], u.x.rows, NULL, u.works);
		run_products(d, &u.x, up_task, &u, (u.s.e1 - u.s.e0) * u.groups);
	}
	return HTH_OK;
}

/* --- down ------------------------------------------------------------------------------------------------------- */

struct down {
	struct cpu_slots s;
	const struct hth_experts_down_args *a;
	struct cpu_slot_rows in; // (sn,F)
	struct cpu_expert_lora lora;
	float *works;            // (threads) struct cpu_work
	float *sums;             // (threads,rows + mr,CPU_COLS)
	int64_t rows;            /* of one product */
};

static void down_layout(struct down *d, struct cpu_scratch *scratch, struct cpu_tile tile, int threads)
{
	cpu_slots_init(&d->s, &d->a->routing, tile, d->a->a.cols);
	cpu_slot_rows_layout(&d->s, &d->in, scratch, d->a->a.cols, false, true);
	d->rows = cpu_min(cpu_task_rows(tile), d->s.batch);
	d->works = cpu_take(scratch, threads * cpu_work_elems(tile));
	d->sums = cpu_take(scratch, threads * (d->rows + tile.mr) * CPU_COLS);
	cpu_expert_lora_layout(&d->s, &d->lora, scratch, d->a->set, d->a->rows, false);
}

void cpu_experts_down_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	struct down d = {.a = args};
	struct cpu_scratch s = {0};

	out->flops = cpu_experts_flops(d.a->set, &d.a->routing) + cpu_expert_lora_flops(d.a->set, &d.a->routing, 1);
	out->bytes_moved = cpu_bytes(d.a->a) + cpu_experts_bytes(d.a->set, &d.a->routing) + cpu_bytes(d.a->y);
	down_layout(&d, &s, cpu_tile_of_machine(m), m->threads);
	out->scratch_bytes = s.bytes;
}

/* y of slots r0..r1-1 of the batch += weight * (c + bias), columns j0..j1-1. c (r1-r0,CPU_COLS). */
static void add_weighted(const struct down *d, int64_t r0, int64_t r1, int64_t j0, int64_t j1, const float *c,
			 const float *bias)
{
	const float *weight = d->a->routing.weight.ctx; /* (R*k) */
	const int32_t *order = cpu_ints(d->a->routing.order);

	for (int64_t r = r0; r < r1; r++, c += CPU_COLS) {
		float *y = cpu_row(d->a->y, cpu_slot_row(&d->s, d->s.s0 + r)) + j0, w = weight[order[d->s.s0 + r]];
		d->s.k->axpy(w, c, y, j1 - j0);
		if (bias != NULL)
			d->s.k->axpy(w, bias + j0, y, j1 - j0);
	}
}

/* Task: 64 columns, all experts of the batch. */
static void down_task(void *ctx, int64_t task, int thread)
{
	const struct down *d = ctx;
	struct cpu_work work = cpu_work_at(d->s.tile, d->works, thread);
	int64_t mr = d->s.tile.mr, j0 = task * CPU_COLS, j1 = cpu_min(j0 + CPU_COLS, d->a->y.cols), r0, r1;
	float *sums = d->sums + thread * (d->rows + mr) * CPU_COLS;

	for (int64_t r = 0; d->s.s0 == 0 && r < d->a->y.rows; r++)
		memset(cpu_row(d->a->y, r) + j0, 0, (size_t)(j1 - j0) * sizeof(float));
	for (int64_t e = d->s.e0; e < d->s.e1; e++) {
		if (!cpu_slots_of(&d->s, e, &r0, &r1))
			continue;
		for (int64_t from = r0; from < r1; from += d->rows) {
			int64_t to = cpu_min(from + d->rows, r1);
			cpu_expert_product(&d->s, &d->in, &d->a->set->w[e], from, to, j0, j1, sums, CPU_COLS, &work);
			cpu_expert_lora_add(&d->s, &d->lora, e, from, to, j0, j1, sums + from % mr * CPU_COLS, CPU_COLS,
					    &work);
			add_weighted(d, from, to, j0, j1, sums + from % mr * CPU_COLS, bias_of(d->a->set, e));
		}
	}
}

enum hth_status cpu_experts_down(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct cpu_device *dv = cpu_device(dev);
	struct down d = {.s = {.dev = dv, .k = &dv->kernels.k}, .a = args};
	struct cpu_scratch space = {.base = scratch};

	(void)err;
	down_layout(&d, &space, cpu_tile_of_device(dv), hth_pool_threads(dv->pool));
	for (int64_t s0 = 0; s0 < d.s.n; s0 += d.s.batch) {
		cpu_slots_begin(&d.s, s0);
		cpu_slot_rows_fill(&d.s, &d.in, d.a->a);
		cpu_expert_lora_rows(&d.s, &d.lora, d.in.rows, NULL, d.works);
		run_products(dv, &d.in, down_task, &d, cpu_ceil(d.a->y.cols, CPU_COLS));
	}
	return HTH_OK;
}
