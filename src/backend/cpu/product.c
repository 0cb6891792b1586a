/* Products with matrices in any block format: panels are unpacked where they are used, to the words of the compute type
 * (kernels.h), and each unpacking serves some 512 rows, so that its price is a few percent of the multiply-adds.
 *
 * A task has up to 512 rows and 64 columns: for each pass of k it fills panels of B (in the second-level cache) and
 * walks the row blocks of A past them. c is added to once a pass. An element's value depends on k and the kernel
 * set only, not on the task it falls into. */
#include "backend/cpu/cpu_int.h"
#include "kernels/interleave.h"

#include <string.h>

float *cpu_take(struct cpu_scratch *s, int64_t elems)
{
	float *p = s->base != NULL ? (float *)(void *)(s->base + s->bytes) : NULL;

	s->bytes += ((uint64_t)elems * sizeof(float) + 63) / 64 * 64;
	return p;
}

struct cpu_tile cpu_tile_of_machine(const struct hth_machine *m)
{
	struct hth_kernel_info info = hth_kernels_find(m->kernels);

	if (info.name == NULL)
		info = hth_kernels_find(NULL);
	struct hth_tile_shape s = m->compute == HTH_COMPUTE_BF16 ? info.bf16 : info.f32;
	return (struct cpu_tile){s.mr, s.nr, s.pair, s.unit};
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

	int64_t deepest = t.pair * CPU_DEEPEST;

	w.panels = cpu_take(s, CPU_DEPTH * CPU_WIDE); /* > CPU_DEEPEST * CPU_COLS */
	w.unpack = cpu_take(s, t.nr * deepest > CPU_STRAIGHT * CPU_WIDE ? t.nr * deepest : CPU_STRAIGHT * CPU_WIDE);
	w.a = cpu_take(s, t.mr * CPU_DEEPEST);
	w.rows = cpu_take(s, t.mr * deepest);
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

/* Rows i..i+n-1 of the matrix, numbers c0..c0+count-1 of each, times scale: where they lie (*ld apart), or in
 * w->unpack. */
static const float *rows_of(const struct hth_kernels *k, const struct cpu_right *b, int64_t i, int64_t n, int64_t c0,
			    int64_t count, int64_t *ld, const struct cpu_work *w)
{
	*ld = count;
	if (b->w != NULL) {
		for (int64_t r = 0; r < n; r++)
			unpack_part(k, b->w, b->row0 + i + r, c0, count, w->unpack + r * count);
		return w->unpack;
	}
	const float *from = b->f32 + (b->row0 + i) * b->ld + c0;
	if (b->scale == 1) {
		*ld = b->ld;
		return from;
	}
	for (int64_t r = 0; r < n; r++)
		k->scale(b->scale, from + r * b->ld, w->unpack + r * count, count);
	return w->unpack;
}

/* kn rows of n numbers, ld apart, as panels; panel q at panels + q * nr * stride. */
static void pack_straight(const struct hth_kernels *k, const float *x, int64_t ld, int64_t kn, int64_t n,
			  int64_t stride, float *panels)
{
	int64_t nr = k->product.nr;

	for (int64_t j = 0; j < n; j += nr)
		k->product.pack_b_rows(x + j, ld, kn, cpu_min(nr, n - j), panels + j * stride);
}

/* Panels of columns j0..j0+n-1 and depth k0..k0+kn-1: panel q at w->panels + q * nr * words of kn. */
static void fill_panels(const struct hth_kernels *k, const struct cpu_right *b, int64_t k0, int64_t kn, int64_t j0,
			int64_t n, const struct cpu_work *w)
{
	struct cpu_tile t = cpu_tile_of_kernels(k);
	int64_t words = cpu_words(t, kn), ld;

	if (b->transposed) {
		for (int64_t j = 0; j < n; j += t.nr) {
			int64_t have = cpu_min(t.nr, n - j);
			const float *x = rows_of(k, b, j0 + j, have, k0, kn, &ld, w); /* (have,kn) */
			k->product.pack_b(x, ld, have, kn, w->panels + j * words);
		}
		return;
	}
	for (int64_t p = 0; p < kn; p += CPU_STRAIGHT) {
		int64_t have = cpu_min(CPU_STRAIGHT, kn - p);
		const float *x = rows_of(k, b, k0 + p, have, j0, n, &ld, w); /* (have,n) */
		pack_straight(k, x, ld, have, n, words, w->panels + cpu_words(t, p) * t.nr);
	}
}

/* Block of rows r..r+m-1, which lie within one block of mr when A is packed. */
static const float *left_block(const struct hth_kernels *k, const struct cpu_left *a, int64_t r, int64_t m, int64_t k0,
			       int64_t kn, const struct cpu_work *w)
{
	struct cpu_tile t = cpu_tile_of_kernels(k);

	if (a->packed != NULL)
		return a->packed + r / t.mr * t.mr * cpu_words(t, a->k) + cpu_words(t, k0) * t.mr + r % t.mr * t.unit;
	if (a->mask == NULL) {
		k->product.pack_a(a->rows + r * a->ld + k0, a->ld, m, kn, w->a);
		return w->a;
	}
	for (int64_t i = 0; i < m; i++)
		cpu_mask_row(k, a->mask, r + i, k0, a->rows + (r + i) * a->ld + k0, w->rows + i * kn, kn);
	k->product.pack_a(w->rows, kn, m, kn, w->a);
	return w->a;
}

int64_t cpu_right_cols(const struct cpu_right *b)
{
	if (b->transposed || b->w == NULL)
		return CPU_COLS;
	return hth_quant_format(b->w->quant)->block_elems > CPU_COLS ? CPU_WIDE : CPU_COLS;
}

/* k of one pass: whole blocks of every format. As many passes as CPU_DEPTH words give to the nearest, up to CPU_DEEPEST
 * words each, where panels are CPU_COLS wide; CPU_DEPTH words where they may be CPU_WIDE. */
static int64_t pass_depth(struct cpu_tile t, const struct cpu_right *b, int64_t k)
{
	enum { BLOCK = 256 };
	int64_t wanted = t.pair * CPU_DEPTH, passes = (k + wanted / 2 - 1) / wanted;

	if (b->w == NULL || cpu_right_cols(b) > CPU_COLS)
		return wanted;
	return cpu_ceil(k, (passes > 1 ? passes : 1) * BLOCK) * BLOCK;
}

void cpu_product(const struct hth_kernels *k, const struct cpu_left *a, int64_t r0, int64_t r1,
		 const struct cpu_right *b, int64_t j0, int64_t j1, float *c, int64_t ldc, bool add,
		 const struct cpu_work *w)
{
	struct cpu_tile t = cpu_tile_of_kernels(k);
	int64_t mr = t.mr, nr = t.nr;

	for (int64_t k0 = 0, depth = pass_depth(t, b, a->k); k0 < a->k; k0 += depth) {
		int64_t kn = cpu_min(depth, a->k - k0), words = cpu_words(t, kn), m;
		fill_panels(k, b, k0, kn, j0, j1 - j0, w);
		for (int64_t r = r0; r < r1; r += m) {
			m = cpu_min(r / mr * mr + mr, r1) - r;
			const float *block = left_block(k, a, r, m, k0, kn, w);
			for (int64_t j = j0; j < j1; j += nr)
				k->product.tile(m, cpu_min(nr, j1 - j), kn, block, w->panels + (j - j0) * words,
						c + r * ldc + j, ldc, add || k0 > 0);
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
	int64_t mr = p->k->product.mr, words = cpu_words(cpu_tile_of_kernels(p->k), p->depth),
		last = cpu_min(p->n, (task + 1) * PACK_BLOCKS * mr);

	(void)thread;
	for (int64_t r = task * PACK_BLOCKS * mr; r < last; r += mr)
		p->k->product.pack_a(p->x + r * p->ld, p->ld, cpu_min(mr, last - r), p->depth, p->packed + r * words);
}

void cpu_pack(const struct cpu_device *dev, const float *x, int64_t ld, int64_t n, int64_t k, float *packed)
{
	struct pack p = {&dev->kernels.k, x, ld, n, k, packed};

	hth_pool_run(dev->pool, pack_task, &p, cpu_ceil(n, PACK_BLOCKS * p.k->product.mr));
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
	struct cpu_tile t = cpu_tile_of_kernels(k);
	int64_t count = j1 - j0, words = cpu_words(t, n);
	for (int64_t p = 0; p < n; p += CPU_STRAIGHT) {
		int64_t have = cpu_min(CPU_STRAIGHT, n - p);
		for (int64_t i = 0; i < have; i++) {
			const float *row = o->r + (t0 + p + i) * o->ldr + j0;
			cpu_mask_row(k, o->mask, t0 + p + i, j0, row, w->unpack + i * count, count);
		}
		pack_straight(k, w->unpack, count, have, count, words, w->panels + cpu_words(t, p) * t.nr);
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
	struct cpu_tile t = cpu_tile_of_kernels(k);

	for (int64_t t0 = r0, depth = t.pair * CPU_DEPTH; t0 < r1; t0 += depth) {
		int64_t n = cpu_min(depth, r1 - t0), words = cpu_words(t, n);
		fill_outer(k, o, t0, n, j0, j1, w);
		for (int64_t i0 = 0; i0 < o->m; i0 += t.mr) {
			int64_t m = cpu_min(t.mr, o->m - i0);
			k->product.pack_a_rows(o->l + t0 * o->ldl + i0, o->ldl, n, m, w->a);
			for (int64_t j = j0; j < j1; j += t.nr)
				k->product.tile(m, cpu_min(t.nr, j1 - j), n, w->a, w->panels + (j - j0) * words,
						w->c + (j - j0), CPU_WIDE, false);
			add_outer(k, o, i0, m, j0, j1, w);
		}
	}
}

int64_t cpu_matvec_step(const struct hth_weight *w)
{
	enum { TASKS = 32, MIN_BYTES = 16 << 10, MAX_BYTES = 512 << 10 };
	int64_t unit = w->head_rows > 0 ? w->head_rows : HTH_LANES,
		row = w->row_bytes > 0 ? (int64_t)w->row_bytes : 1,
		rows = cpu_min(w->rows / TASKS > MIN_BYTES / row ? w->rows / TASKS : MIN_BYTES / row, MAX_BYTES / row);

	return (rows < unit ? 1 : rows / unit) * unit;
}

struct hth_matvec_in cpu_matvec_in(const struct hth_kernels *k, struct hth_tensor x, float *prepared)
{
	struct hth_matvec_in in = {.m = (int)x.rows,
				   .x = x.ctx,
				   .prepared = prepared,
				   .ldx = x.cols,
				   .prepared_ld = hth_prepared_elems(x.cols)};

	for (int64_t r = 0; r < x.rows; r++)
		k->prepare_x(cpu_row(x, r), x.cols, prepared + r * in.prepared_ld);
	return in;
}

/* n stored rows from p on, which are multiples of HTH_LANES where w is prepared. */
static void stored_rows(const struct hth_kernels *k, const struct hth_weight *w, int64_t p, int64_t n,
			const struct hth_matvec_in *in, float *y, int64_t ldy)
{
	if (w->prepared == NULL) {
		k->matvec[w->quant](w->data + (uint64_t)p * w->row_bytes, w->row_bytes, n, w->cols, in, y, ldy);
		return;
	}
	uint64_t at = (uint64_t)p / HTH_LANES * hth_interleaved_bytes(w->quant, w->cols);
	k->matvec16[w->quant]((const uint8_t *)w->prepared + at, n, w->cols, in, y, ldy);
}

void cpu_matvec(const struct hth_kernels *k, const struct hth_weight *w, int64_t n0, int64_t n1,
		const struct hth_matvec_in *in, float *y, int64_t ldy, float *permuted)
{
	int64_t d = w->head_rows;

	if (d == 0) {
		stored_rows(k, w, n0, n1 - n0, in, y, ldy);
		return;
	}
	/* Whole heads: stored rows in order, then each head's results to their logical places. */
	for (int64_t n = n0; n < n1; n += d) {
		stored_rows(k, w, n, d, in, permuted, d);
		for (int r = 0; r < in->m; r++)
			for (int64_t i = 0; i < d; i++)
				y[r * ldy + n - n0 + i] = permuted[r * d + hth_weight_stored_row(w, n + i) - n];
	}
}
