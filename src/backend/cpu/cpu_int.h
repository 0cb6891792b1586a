/* What the ops of the cpu backend share: the device, and products of matrices in any block format.
 *
 * Every op cuts its work into tasks whose bounds depend on shapes and the kernel set alone; a task writes only its own
 * outputs. So the thread count changes no bit. Scratch is laid out by one function an op, used by cost and run. */
#ifndef HTH_BACKEND_CPU_INT_H
#define HTH_BACKEND_CPU_INT_H

#include "backend/backend.h"
#include "kernels/kernels.h"

struct cpu_device {
	const struct hth_backend *backend;
	struct hth_pool *pool; /* borrowed, or NULL */
	enum hth_compute compute; /* F32 or BF16 */
	struct hth_kernel_pick kernels;
	struct cpu_slab *slabs; /* of prepare.c; none are left when the last weight is unprepared */
	char text[64];
};

static inline const struct cpu_device *cpu_device(const struct hth_device *dev)
{
	return (const struct cpu_device *)dev;
}

/* As in struct hth_backend (prepare.c). */
uint64_t cpu_prepare_bytes(const struct hth_machine *m, const struct hth_weight *w, bool both);
HTH_MUST enum hth_status cpu_prepare(struct hth_device *dev, struct hth_weight *w, bool both, struct hth_err *err);
void cpu_unprepare(struct hth_device *dev, struct hth_weight *w);

#define HTH_OP(name)                                                                                                   \
	hth_cost_fn cpu_##name##_cost;                                                                                 \
	hth_run_fn cpu_##name;
#include "backend/oplist.h"
#undef HTH_OP

static inline float *cpu_row(struct hth_tensor t, int64_t row) /* (cols) */
{
	return (float *)t.ctx + row * t.cols;
}
static inline double cpu_bytes(struct hth_tensor t) /* 0 for no tensor */
{
	return hth_tensor_is(t) ? (double)hth_tensor_bytes(t) : 0;
}
static inline int64_t cpu_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}
static inline int64_t cpu_ceil(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}
/* d (n), gradients of capped scores z = cap * tanh(x / cap), times tanh's slope: gradients of x. */
static inline void cpu_cap_slope(float cap, const float *z, float *d, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		d[i] *= 1 - z[i] / cap * (z[i] / cap);
}
/* The vector of a norm or bias, (n) f32; NULL for none. */
static inline const float *cpu_vector(const struct hth_weight *w)
{
	return w != NULL ? (const float *)(const void *)w->data : NULL;
}
static inline bool cpu_is_trained(const struct hth_weight *w)
{
	return w != NULL && w->param != NULL && w->param->grad != NULL;
}

/* Scratch as a bump pointer: with base NULL only sizes are counted. Every piece is 64-byte aligned. */
struct cpu_scratch {
	uint8_t *base;
	uint64_t bytes;
};
float *cpu_take(struct cpu_scratch *s, int64_t elems);

/* --- products (product.c) --------------------------------------------------------------------------------------- */

enum {
	CPU_DEPTH = 512,    /* words of k of one pass: a panel of 32 columns is 64 KiB */
	CPU_DEEPEST = 768,  /* where that spares a pass */
	CPU_COLS = 64,      /* columns of a task */
	CPU_WIDE = 256,     /* where columns cut blocks of 256 */
	CPU_STRAIGHT = 32,  /* rows of a straight matrix that are unpacked at once: whole words of every tile */
	CPU_ROWS = 512,     /* rows of a task, rounded up to the tile: what one unpacking of a panel serves */
	CPU_MATVEC_ROWS = HTH_MATVEC_MAX_ROWS,
};

/* The tile in force, as struct hth_tile_shape. */
struct cpu_tile {
	int64_t mr, nr, pair, unit;
};
struct cpu_tile cpu_tile_of_machine(const struct hth_machine *m);
static inline struct cpu_tile cpu_tile_of_kernels(const struct hth_kernels *k)
{
	return (struct cpu_tile){k->product.mr, k->product.nr, k->product.pair, k->product.unit};
}
static inline struct cpu_tile cpu_tile_of_device(const struct cpu_device *dev)
{
	return cpu_tile_of_kernels(&dev->kernels.k);
}
/* Packed words of k numbers. Panels and blocks that begin at a multiple of 32 or nr begin at a whole word. */
static inline int64_t cpu_words(struct cpu_tile t, int64_t k)
{
	return hth_words(t.pair, t.unit, k);
}
static inline int64_t cpu_task_rows(struct cpu_tile t)
{
	return cpu_ceil(CPU_ROWS, t.mr) * t.mr;
}
/* Rows that are packed at a time, k deep: bounds scratch to some 32 MB. */
int64_t cpu_batch_rows(struct cpu_tile t, int64_t rows, int64_t k);
/* Words of rows x k packed. */
static inline int64_t cpu_packed_elems(struct cpu_tile t, int64_t rows, int64_t k)
{
	return cpu_ceil(rows, t.mr) * t.mr * cpu_words(t, k);
}

/* What one thread needs for products. */
struct cpu_work {
	float *panels; // (CPU_DEPTH,CPU_WIDE) or (CPU_DEEPEST,CPU_COLS) words
	float *unpack; // (nr,pair * CPU_DEEPEST), or (CPU_STRAIGHT,CPU_WIDE)
	float *a;      // (CPU_DEEPEST,mr) words
	float *rows;   // (mr,pair * CPU_DEEPEST)
	float *c;      // (mr,CPU_WIDE)
};
int64_t cpu_work_elems(struct cpu_tile t);
struct cpu_work cpu_work_at(struct cpu_tile t, float *works, int thread);

/* Dropout of a row set's rows. */
struct cpu_mask {
	struct hth_rng_key key;
	float p, factor; /* factor 1/(1-p) */
	const struct hth_rowset *rows;
	int64_t first;   /* row 0 of the product is this row of the set */
};
/* y (n) = row `row` of x from column c0, dropped. y may be x. */
void cpu_mask_row(const struct hth_kernels *k, const struct cpu_mask *mask, int64_t row, int64_t c0, const float *x,
                  float *y, int64_t n);

/* A (R,k): packed in blocks of mr rows, or as plain rows, packed on the way (and dropped with mask). */
struct cpu_left {
	const float *packed;
	const float *rows; /* row r at rows + r * ld */
	int64_t ld, k;
	const struct cpu_mask *mask;
};

/* B (k,n): element (p,j) is row row0 + j, column p of the matrix (transposed) or row row0 + p, column j. The matrix is
 * a weight or plain f32; the latter is multiplied by scale. */
struct cpu_right {
	bool transposed;
	const struct hth_weight *w; /* or NULL */
	const float *f32;
	int64_t ld, row0;
	float scale;
};
static inline struct cpu_right cpu_right_weight(const struct hth_weight *w, bool transposed, int64_t row0)
{
	return (struct cpu_right){.transposed = transposed, .w = w, .row0 = row0};
}
static inline struct cpu_right cpu_right_f32(const float *m, int64_t ld, bool transposed, float scale)
{
	return (struct cpu_right){.transposed = transposed, .f32 = m, .ld = ld, .scale = scale};
}
/* Columns of one task, so that none cuts a block. */
int64_t cpu_right_cols(const struct cpu_right *b);

/* c[r * ldc + j] = or += A @ B for rows r0..r1-1 and columns j0..j1-1, at most CPU_WIDE of them (c: row 0, column 0). */
void cpu_product(const struct hth_kernels *k, const struct cpu_left *a, int64_t r0, int64_t r1,
                 const struct cpu_right *b, int64_t j0, int64_t j1, float *c, int64_t ldc, bool add,
                 const struct cpu_work *w);
/* Packs rows 0..n-1 of x (ld apart, k deep) on all threads. */
void cpu_pack(const struct cpu_device *dev, const float *x, int64_t ld, int64_t n, int64_t k, float *packed);

/* out (m,n) += scale * L^T @ R over rows r0..r1-1, columns j0..j1-1 (at most CPU_WIDE) of R, all m columns of L. Element
 * (i,j) is at out[i * ldo + j], or at out[j * ldo + i] when flip. mask drops R. */
struct cpu_outer {
	const float *l, *r; /* row t at l + t * ldl, r + t * ldr */
	int64_t ldl, ldr, m;
	const struct cpu_mask *mask;
	float scale;
	float *out;
	int64_t ldo;
	bool flip;
	const struct hth_weight *stored; /* not flipped: row i of out stands where this weight stores row stored0 + i */
	int64_t stored0;
};
void cpu_outer(const struct hth_kernels *k, const struct cpu_outer *o, int64_t r0, int64_t r1, int64_t j0, int64_t j1,
               const struct cpu_work *w);

/* Few rows (decoding): y[r * ldy + n - n0] = row n of w . row r of in, for n0 <= n < n1. n0 and n1 are multiples of
 * cpu_matvec_step or the end. permuted: (m,head_rows) floats. */
enum { CPU_PERMUTED = CPU_MATVEC_ROWS * 256 };
int64_t cpu_matvec_step(const struct hth_weight *w);
void cpu_matvec(const struct hth_kernels *k, const struct hth_weight *w, int64_t n0, int64_t n1,
                const struct hth_matvec_in *in, float *y, int64_t ldy, float *permuted);
/* Vectors of at most CPU_MATVEC_ROWS rows of x; prepared: (R,hth_prepared_elems(C)) floats. */
struct hth_matvec_in cpu_matvec_in(const struct hth_kernels *k, struct hth_tensor x, float *prepared);

#endif
