/* Products with matrices in any block format: panels are unpacked to f32 where they are used, and each unpacking serves
 * some 512 rows, so that its price is a few percent of the multiply-adds.
 *
 * A task has up to 512 rows and 64 columns: for each 512 of k it fills panels of B (in the second-level cache) and walks
 * the row blocks of A past them. c is added to once each 512 of k. An element's value depends on k and the kernel set
 * only, not on the task it falls into. */
#include "backend/cpu/cpu_int.h"

#include <string.h>

float *cpu_take(struct cpu_scratch *s, int64_t elems)
{
	float *p = s->base != NULL ? (float *)(void *)(s->base + s->bytes) : NULL;

	s->bytes += ((uint64_t)elems * sizeof(float) + 63) / 64 * 64;
	return p;
}

struct cpu_tile cpu_tile_of_machine(const struct hth_machine *m)
{
	int mr, nr;

	if (!hth_kernels_tile(m->kernels, &mr, &nr) && !hth_kernels_tile(NULL, &mr, &nr))
		return (struct cpu_tile){HTH_KERNEL_MAX_MR, HTH_KERNEL_MAX_NR};
	return (struct cpu_tile){mr, nr};
}

int64_t cpu_batch_rows(struct cpu_tile t, int64_t rows, int64_t k)
{
	enum { LEAST = 512, MOST = 2048, ELEMS = 8 << 20 };
	int64_t n = ELEMS / (k > 0 ? k : 1);

	n = n < LEAST ? LEAST : n > MOST ? MOST : n;
	return cpu_min(cpu_ceil(n, t.mr), cpu_ceil(rows, t.mr)) * t.mr;
}

static struct cpu_work carve(struct cpu_tile t, struct cpu_scratch *s)
{
	struct cpu_work w;

	w.panels = cpu_take(s, CPU_DEPTH * CPU_WIDE);
	w.unpack = cpu_take(s, t.nr * CPU_DEPTH);
	w.a = cpu_take(s, t.mr * CPU_DEPTH);
	w.rows = cpu_take(s, t.mr * CPU_DEPTH);
	w.c = cpu_take(s, t.mr * CPU_WIDE);
	return w;
}

int64_t cpu_work_elems(struct cpu_tile t)
{
	struct cpu_scratch s = {0};

	carve(t, &s);
	return (int64_t)(s.bytes / sizeof(float));
}

struct cpu_work cpu_work_at(struct cpu_tile t, float *works, int thread)
{
	struct cpu_scratch s = {.base = (uint8_t *)(works + thread * cpu_work_elems(t))};

	return carve(t, &s);
}

void cpu_mask_row(const struct hth_kernels *k, const struct cpu_mask *mask, int64_t row, int64_t c0, const float *x,
                  float *y, int64_t n)
{
	int64_t at = mask->first + row;
	uint64_t counter = (uint64_t)mask->rows->examples[at] << 32 | (uint32_t)mask->rows->positions[at];

	k->dropout(mask->key, counter, (uint64_t)c0, mask->p, mask->factor, x, y, n);
}

/* Elements c0..c0+n-1 of a stored row as f32, whole blocks. */
static void unpack_part(const struct hth_kernels *k, const struct hth_weight *w, int64_t row, int64_t c0, int64_t n,
                        float *out)
{
	const struct hth_quant_format *f = hth_quant_format(w->quant);

	k->unpack[w->quant](hth_weight_row(w, row) + (uint64_t)c0 / f->block_elems * f->block_bytes, out, n);
}

/* One panel (kn,nr) whose columns are rows j..j+n-1 of the matrix. */
static void fill_transposed(const struct hth_kernels *k, const struct cpu_right *b, int64_t k0, int64_t kn, int64_t j,
                            int64_t n, float *panel, const struct cpu_work *w)
{
	if (b->w == NULL) {
		k->pack_b(b->f32 + (b->row0 + j) * b->ld + k0, b->ld, n, kn, panel);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		unpack_part(k, b->w, b->row0 + j + i, k0, kn, w->unpack + i * kn);
	k->pack_b(w->unpack, kn, n, kn, panel);
}

/* All panels of columns j0..j0+n-1, row by row of the matrix. */
static void fill_straight(const struct hth_kernels *k, const struct cpu_right *b, int64_t k0, int64_t kn, int64_t j0,
                          int64_t n, const struct cpu_work *w)
{
	int64_t nr = k->nr;

	for (int64_t p = 0; p < kn; p++) {
		const float *row = w->unpack; /* (n) */
		if (b->w != NULL)
			unpack_part(k, b->w, b->row0 + k0 + p, j0, n, w->unpack);
		else
			row = b->f32 + (b->row0 + k0 + p) * b->ld + j0;
		for (int64_t j = 0; j < n; j += nr) {
			float *to = w->panels + j * kn + p * nr;
			int64_t have = cpu_min(nr, n - j);
			memcpy(to, row + j, (size_t)have * sizeof *to);
			memset(to + have, 0, (size_t)(nr - have) * sizeof *to);
		}
	}
}

/* Panels of columns j0..j0+n-1 and depth k0..k0+kn-1: panel q at w->panels + q * nr * kn. */
static void fill_panels(const struct hth_kernels *k, const struct cpu_right *b, int64_t k0, int64_t kn, int64_t j0,
                        int64_t n, const struct cpu_work *w)
{
	int64_t padded = cpu_ceil(n, k->nr) * k->nr;

	if (b->transposed)
		for (int64_t j = 0; j < n; j += k->nr)
			fill_transposed(k, b, k0, kn, j0 + j, cpu_min(k->nr, n - j), w->panels + j * kn, w);
	else
		fill_straight(k, b, k0, kn, j0, n, w);
	if (b->w == NULL && b->scale != 1)
		k->scale(b->scale, w->panels, w->panels, padded * kn);
}

/* Block (kn,mr) of rows r..r+m-1, which lie within one block of mr when A is packed. */
static const float *left_block(const struct hth_kernels *k, const struct cpu_left *a, int64_t r, int64_t m, int64_t k0,
                               int64_t kn, const struct cpu_work *w)
{
	if (a->packed != NULL)
		return a->packed + r / k->mr * k->mr * a->k + k0 * k->mr + r % k->mr;
	if (a->mask == NULL) {
		k->pack_a(a->rows + r * a->ld + k0, a->ld, m, kn, w->a);
		return w->a;
	}
	for (int64_t i = 0; i < m; i++)
		cpu_mask_row(k, a->mask, r + i, k0, a->rows + (r + i) * a->ld + k0, w->rows + i * kn, kn);
	k->pack_a(w->rows, kn, m, kn, w->a);
	return w->a;
}

int64_t cpu_right_cols(const struct cpu_right *b)
{
	if (b->transposed || b->w == NULL)
		return CPU_COLS;
	return hth_quant_format(b->w->quant)->block_elems > CPU_COLS ? CPU_WIDE : CPU_COLS;
}

void cpu_product(const struct hth_kernels *k, const struct cpu_left *a, int64_t r0, int64_t r1,
                 const struct cpu_right *b, int64_t j0, int64_t j1, float *c, int64_t ldc, bool add,
                 const struct cpu_work *w)
{
	int64_t mr = k->mr, nr = k->nr;

	for (int64_t k0 = 0; k0 < a->k; k0 += CPU_DEPTH) {
		int64_t kn = cpu_min(CPU_DEPTH, a->k - k0), m;
		fill_panels(k, b, k0, kn, j0, j1 - j0, w);
		for (int64_t r = r0; r < r1; r += m) {
			m = cpu_min(r / mr * mr + mr, r1) - r;
			const float *block = left_block(k, a, r, m, k0, kn, w);
			for (int64_t j = j0; j < j1; j += nr)
				k->tile(m, cpu_min(nr, j1 - j), kn, block, w->panels + (j - j0) * kn, c + r * ldc + j, ldc,
				        add || k0 > 0);
		}
	}
	for (int64_t r = r0; r < r1 && a->k == 0 && !add; r++)
		memset(c + r * ldc + j0, 0, (size_t)(j1 - j0) * sizeof *c);
}

struct pack {
	const struct hth_kernels *k;
	const float *x;
	int64_t ld, n, depth;
	float *packed;
};

enum { PACK_BLOCKS = 4 }; /* row blocks of a task */

static void pack_task(void *ctx, int64_t task, int thread)
{
	const struct pack *p = ctx;
	int64_t mr = p->k->mr, last = cpu_min(p->n, (task + 1) * PACK_BLOCKS * mr);

	(void)thread;
	for (int64_t r = task * PACK_BLOCKS * mr; r < last; r += mr)
		p->k->pack_a(p->x + r * p->ld, p->ld, cpu_min(mr, last - r), p->depth, p->packed + r * p->depth);
}

void cpu_pack(const struct cpu_device *dev, const float *x, int64_t ld, int64_t n, int64_t k, float *packed)
{
	struct pack p = {&dev->kernels.k, x, ld, n, k, packed};

	hth_pool_run(dev->pool, pack_task, &p, cpu_ceil(n, PACK_BLOCKS * p.k->mr));
}

/* Rows t0..t0+n-1 of R, columns j0..j1-1, dropped, as panels. */
static void fill_outer(const struct hth_kernels *k, const struct cpu_outer *o, int64_t t0, int64_t n, int64_t j0,
                       int64_t j1, const struct cpu_work *w)
{
	struct cpu_right b = cpu_right_f32(o->r, o->ldr, false, 1);

	if (o->mask == NULL) {
		fill_panels(k, &b, t0, n, j0, j1 - j0, w);
		return;
	}
	for (int64_t t = 0; t < n; t++) {
		cpu_mask_row(k, o->mask, t0 + t, j0, o->r + (t0 + t) * o->ldr + j0, w->unpack, j1 - j0);
		for (int64_t j = 0; j < j1 - j0; j += k->nr) {
			float *to = w->panels + j * n + t * k->nr;
			int64_t have = cpu_min(k->nr, j1 - j0 - j);
			memcpy(to, w->unpack + j, (size_t)have * sizeof *to);
			memset(to + have, 0, (size_t)(k->nr - have) * sizeof *to);
		}
	}
}

/* out (m rows from i0, columns j0..j1-1) += scale * the tile rows in w->c, which are CPU_WIDE apart. */
static void add_outer(const struct hth_kernels *k, const struct cpu_outer *o, int64_t i0, int64_t m, int64_t j0,
                      int64_t j1, const struct cpu_work *w)
{
	for (int64_t i = 0; i < m; i++) {
		const float *from = w->c + i * CPU_WIDE;
		if (!o->flip) {
			int64_t to = o->stored != NULL ? hth_weight_stored_row(o->stored, o->stored0 + i0 + i) : i0 + i;
			k->axpy(o->scale, from, o->out + to * o->ldo + j0, j1 - j0);
			continue;
		}
		for (int64_t j = j0; j < j1; j++)
			o->out[j * o->ldo + i0 + i] += o->scale * from[j - j0];
	}
}

void cpu_outer(const struct hth_kernels *k, const struct cpu_outer *o, int64_t r0, int64_t r1, int64_t j0, int64_t j1,
               const struct cpu_work *w)
{
	for (int64_t t0 = r0; t0 < r1; t0 += CPU_DEPTH) {
		int64_t n = cpu_min(CPU_DEPTH, r1 - t0);
		fill_outer(k, o, t0, n, j0, j1, w);
		for (int64_t i0 = 0; i0 < o->m; i0 += k->mr) {
			int64_t m = cpu_min(k->mr, o->m - i0);
			for (int64_t t = 0; t < n; t++)
				memcpy(w->a + t * k->mr, o->l + (t0 + t) * o->ldl + i0, (size_t)m * sizeof *w->a);
			for (int64_t j = j0; j < j1; j += k->nr)
				k->tile(m, cpu_min(k->nr, j1 - j), n, w->a, w->panels + (j - j0) * n, w->c + (j - j0),
				        CPU_WIDE, false);
			add_outer(k, o, i0, m, j0, j1, w);
		}
	}
}

int64_t cpu_matvec_step(const struct hth_weight *w)
{
	enum { TASK_BYTES = 32 << 10 };
	int64_t unit = w->head_rows > 0 ? w->head_rows : 8, rows = TASK_BYTES / (int64_t)(w->row_bytes > 0 ? w->row_bytes : 1);

	return (rows < unit ? 1 : rows / unit) * unit;
}

struct hth_matvec_in cpu_matvec_in(const struct hth_kernels *k, struct hth_tensor x, float *prepared)
{
	struct hth_matvec_in in = {.m = (int)x.rows, .x = x.ctx, .prepared = prepared, .ldx = x.cols,
	                           .prepared_ld = hth_prepared_elems(x.cols)};

	for (int64_t r = 0; r < x.rows; r++)
		k->prepare_x(cpu_row(x, r), x.cols, prepared + r * in.prepared_ld);
	return in;
}

void cpu_matvec(const struct hth_kernels *k, const struct hth_weight *w, int64_t n0, int64_t n1,
                const struct hth_matvec_in *in, float *y, int64_t ldy, float *permuted)
{
	int64_t d = w->head_rows;
	const uint8_t *rows = w->data + (uint64_t)n0 * w->row_bytes;

	if (d == 0) {
		k->matvec[w->quant](rows, w->row_bytes, n1 - n0, w->cols, in, y, ldy);
		return;
	}
	/* Whole heads: stored rows in order, then each head's results to their logical places. */
	for (int64_t n = n0; n < n1; n += d, rows += (uint64_t)d * w->row_bytes) {
		k->matvec[w->quant](rows, w->row_bytes, d, w->cols, in, permuted, d);
		for (int r = 0; r < in->m; r++)
			for (int64_t i = 0; i < d; i++)
				y[r * ldy + n - n0 + i] = permuted[r * d + hth_weight_stored_row(w, n + i) - n];
	}
}
