/* The adapters of experts, between the products of experts.c and experts_backward.c: x @ A^T and its product with B,
 * and back. Within an expert slots go by row, so that each run of rows with one adapter is a stretch of them. Products
 * are cut by rows of a batch or by columns, never by threads. */
#include "backend/cpu/experts_int.h"

int64_t cpu_expert_rank(const struct hth_expert_set *set)
{
	int64_t rank = 0;

	for (int32_t i = 0; set->lora != NULL && i < set->n_adapters; i++)
		if (set->lora[i] != NULL && set->lora[i]->b.cols > rank)
			rank = set->lora[i]->b.cols;
	return rank;
}

bool cpu_expert_lora_trained(const struct hth_expert_set *set)
{
	bool any = false;

	for (int32_t i = 0; set->lora != NULL && i < set->n_adapters; i++)
		any = any ||
		      (set->lora[i] != NULL && (set->lora[i]->a.grad != NULL || set->lora[i]->b.grad != NULL));
	return any;
}

double cpu_expert_lora_flops(const struct hth_expert_set *set, const struct hth_routing *r, double times)
{
	return 2 * times * (double)(r->weight.rows * r->top * cpu_expert_rank(set)) *
	       (double)(set->w[0].rows + set->w[0].cols);
}

void cpu_expert_lora_layout(const struct cpu_slots *s, struct cpu_expert_lora *m, struct cpu_scratch *scratch,
			    const struct hth_expert_set *set, const struct hth_rowset *rows, bool back)
{
	*m = (struct cpu_expert_lora){.set = set, .rows = rows, .rank = cpu_expert_rank(set)};
	if (m->rank == 0)
		return;
	m->xa = !back || cpu_expert_lora_trained(set) ? cpu_take(scratch, s->batch * m->rank) : NULL;
	m->t1 = back ? cpu_take(scratch, s->batch * m->rank) : NULL;
}

/* Rows *r.. of the batch, below r1, that one adapter serves: returns where the next stretch begins. *run: where to look
 * first. */
static int64_t stretch(const struct cpu_slots *s, const struct cpu_expert_lora *m, int64_t r, int64_t r1, int32_t *run,
		       const struct hth_lora **l)
{
	const struct hth_adapter_run *runs = m->rows->runs;
	int64_t row = cpu_slot_row(s, s->s0 + r);

	while (row >= (int64_t)runs[*run].start + runs[*run].len)
		(*run)++;
	*l = runs[*run].adapter >= 0 ? m->set->lora[runs[*run].adapter] : NULL;
	if (*run + 1 == m->rows->n_runs)
		return r1;
	while (r < r1 && cpu_slot_row(s, s->s0 + r) < (int64_t)runs[*run].start + runs[*run].len)
		r++;
	return r;
}

static const float *a_of(const struct hth_lora *l, int64_t e) // (r,C)
{
	return l->a.value + e * l->b.cols * l->a.cols;
}

static const float *b_of(const struct cpu_expert_lora *m, const struct hth_lora *l, int64_t e) // (N,r)
{
	return l->b.value + e * m->set->w[0].rows * l->b.cols;
}

/* xa of rows from..to-1, all of one expert and adapter. */
static void xa_rows(const struct cpu_slots *s, const struct cpu_expert_lora *m, const struct hth_lora *l, int64_t e,
		    int64_t from, int64_t to, const struct cpu_work *work)
{
	int64_t rank = l->b.cols, k = l->a.cols;
	const float *a = a_of(l, e);

	if (to - from <= CPU_MATVEC_ROWS) {
		for (int64_t r = from; r < to; r++)
			for (int64_t i = 0; i < rank; i++)
				m->xa[r * m->rank + i] = s->k->dot(m->x + r * k, a + i * k, k);
		return;
	}
	struct cpu_left left = {.rows = m->x + from * k, .ld = k, .k = k};
	struct cpu_right right = cpu_right_f32(a, k, true, 1);
	for (int64_t j = 0; j < rank; j += CPU_COLS)
		cpu_product(s->k, &left, 0, to - from, &right, j, cpu_min(j + CPU_COLS, rank), m->xa + from * m->rank,
			    m->rank, false, work);
}

static void t1_rows(const struct cpu_slots *s, const struct cpu_expert_lora *m, const struct hth_lora *l, int64_t e,
		    int64_t from, int64_t to, const struct cpu_work *work)
{
	int64_t rank = l->b.cols, n = m->set->w[0].rows;
	struct cpu_left left = {.rows = m->dy + from * n, .ld = n, .k = n};
	struct cpu_right right = cpu_right_f32(b_of(m, l, e), rank, false, l->scale);

	for (int64_t j = 0; j < rank; j += CPU_COLS)
		cpu_product(s->k, &left, 0, to - from, &right, j, cpu_min(j + CPU_COLS, rank), m->t1 + from * m->rank,
			    m->rank, false, work);
}

struct pass {
	const struct cpu_slots *s;
	const struct cpu_expert_lora *m;
	float *works;
};

static int64_t rows_of_task(const struct cpu_slots *s)
{
	return cpu_ceil(CPU_ROWS / 4, s->tile.mr) * s->tile.mr;
}

/* Task: some rows of the batch. */
static void rows_task(void *ctx, int64_t task, int thread)
{
	const struct pass *p = ctx;
	const struct cpu_slots *s = p->s;
	struct cpu_work work = cpu_work_at(s->tile, p->works, thread);
	int64_t first = task * rows_of_task(s), last = cpu_min(first + rows_of_task(s), s->sn), r0, r1, next;

	for (int64_t e = s->e0; e < s->e1; e++) {
		const struct hth_lora *l;
		int32_t run = 0;
		if (!cpu_slots_of(s, e, &r0, &r1))
			continue;
		r0 = r0 > first ? r0 : first;
		r1 = cpu_min(r1, last);
		for (; r0 < r1; r0 = next) {
			next = stretch(s, p->m, r0, r1, &run, &l);
			if (l != NULL && p->m->x != NULL && p->m->xa != NULL)
				xa_rows(s, p->m, l, e, r0, next, &work);
			if (l != NULL && p->m->dy != NULL)
				t1_rows(s, p->m, l, e, r0, next, &work);
		}
	}
}

void cpu_expert_lora_rows(const struct cpu_slots *s, struct cpu_expert_lora *m, const float *x, const float *dy,
			  float *works)
{
	struct pass p = {s, m, works};

	m->x = x;
	m->dy = dy;
	if (m->rank > 0)
		hth_pool_run(s->dev->pool, rows_task, &p, cpu_ceil(s->sn, rows_of_task(s)));
}

void cpu_expert_lora_add(const struct cpu_slots *s, const struct cpu_expert_lora *m, int64_t e, int64_t r0, int64_t r1,
			 int64_t j0, int64_t j1, float *c, int64_t ldc, const struct cpu_work *work)
{
	const struct hth_lora *l;
	int32_t run = 0;

	for (int64_t r = r0, next; m->rank > 0 && r < r1; r = next) {
		next = stretch(s, m, r, r1, &run, &l);
		if (l == NULL)
			continue;
		int64_t rank = l->b.cols;
		const float *b = b_of(m, l, e) + j0 * rank, *xa = m->xa + r * m->rank;
		float *to = c + (r - r0) * ldc;
		if (next - r <= CPU_MATVEC_ROWS) {
			for (int64_t i = 0; i < next - r; i++)
				for (int64_t j = 0; j < j1 - j0; j++)
					to[i * ldc + j] += l->scale * s->k->dot(xa + i * m->rank, b + j * rank, rank);
			continue;
		}
		struct cpu_left left = {.rows = xa, .ld = m->rank, .k = rank};
		struct cpu_right right = cpu_right_f32(b, rank, true, l->scale);
		cpu_product(s->k, &left, 0, next - r, &right, 0, j1 - j0, to, ldc, true, work);
	}
}

void cpu_expert_lora_add_back(const struct cpu_slots *s, const struct cpu_expert_lora *m, int64_t e, int64_t r0,
			      int64_t r1, int64_t j0, int64_t j1, float *c, int64_t ldc, const struct cpu_work *work)
{
	const struct hth_lora *l;
	int32_t run = 0;

	for (int64_t r = r0, next; m->rank > 0 && r < r1; r = next) {
		next = stretch(s, m, r, r1, &run, &l);
		if (l == NULL)
			continue;
		struct cpu_left left = {.rows = m->t1 + r * m->rank, .ld = m->rank, .k = l->b.cols};
		struct cpu_right right = cpu_right_f32(a_of(l, e) + j0, l->a.cols, false, 1);
		cpu_product(s->k, &left, 0, next - r, &right, 0, j1 - j0, c + (r - r0) * ldc, ldc, true, work);
	}
}

/* Task: (expert, 64 columns of dA, then 64 rows of dB), all adapters in order. */
static void grads_task(void *ctx, int64_t task, int thread)
{
	const struct pass *p = ctx;
	const struct cpu_slots *s = p->s;
	const struct cpu_expert_lora *m = p->m;
	struct cpu_work work = cpu_work_at(s->tile, p->works, thread);
	int64_t cols = m->set->w[0].cols, n = m->set->w[0].rows, as = cpu_ceil(cols, CPU_COLS);
	int64_t groups = as + cpu_ceil(n, CPU_COLS), e = s->e0 + task / groups, group = task % groups, r, r1, next;
	const struct hth_lora *l;
	int32_t run = 0;

	for (bool any = cpu_slots_of(s, e, &r, &r1); any && r < r1; r = next) {
		next = stretch(s, m, r, r1, &run, &l);
		if (l == NULL)
			continue;
		int64_t rank = l->b.cols, j0 = (group < as ? group : group - as) * CPU_COLS;
		struct cpu_outer o = {.ldl = m->rank, .m = rank, .scale = 1};
		if (group < as && l->a.grad != NULL) {
			o.l = m->t1;
			o.r = m->x;
			o.ldr = o.ldo = cols;
			o.out = l->a.grad + e * rank * cols;
			cpu_outer(s->k, &o, r, next, j0, cpu_min(j0 + CPU_COLS, cols), &work);
		} else if (group >= as && l->b.grad != NULL) {
			o.l = m->xa;
			o.r = m->dy;
			o.ldr = n;
			o.ldo = rank;
			o.scale = l->scale;
			o.out = l->b.grad + e * n * rank;
			o.flip = true;
			cpu_outer(s->k, &o, r, next, j0, cpu_min(j0 + CPU_COLS, n), &work);
		}
	}
}

void cpu_expert_lora_grads(const struct cpu_slots *s, const struct cpu_expert_lora *m, float *works)
{
	struct pass p = {s, m, works};
	int64_t groups = cpu_ceil(m->set->w[0].cols, CPU_COLS) + cpu_ceil(m->set->w[0].rows, CPU_COLS);

	if (m->rank > 0 && m->x != NULL && cpu_expert_lora_trained(m->set))
		hth_pool_run(s->dev->pool, grads_task, &p, (s->e1 - s->e0) * groups);
}
