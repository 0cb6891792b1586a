/* CPU kernels: the inner loops of the cpu backend as a table of function pointers, filled at run time with the best
 * that this processor has. ref.c fills every slot in plain C and is the definition; one file per instruction set
 * overrides the slots it improves (list.h). No kernel allocates, knows threads, or needs aligned data.
 *
 * Lengths may be 0 unless said. Sums have a fixed order that depends on lengths alone, never on addresses. Outputs may
 * alias inputs element by element only where said. docs/adding/kernel.md is the walk-through. */
#ifndef HTH_KERNELS_KERNELS_H
#define HTH_KERNELS_KERNELS_H

#include "base/rng.h"
#include "kernels/delta.h"
#include "quant/quant.h"

#define HTH_KERNEL_MAX_MR 32 /* bounds of a product tile, for callers' buffers */
#define HTH_KERNEL_MAX_NR 32
#define HTH_MATVEC_MAX_ROWS 4

/* Packed operands of a product are words of 32 bits along k: one f32 number each, or two bf16 numbers (the earlier in the
 * low half; beside the last of an odd k stands zero). k counts numbers, words of it below are hth_words(). A is packed
 * with `unit` words of a row together: word p of row i at a[(p / unit * mr + i) * unit + p % unit]; B: word p of column j
 * at b[p * nr + j]. */

/* c (m,n) = or += A (m,k) @ B (k,n), 1 <= m <= mr, 1 <= n <= nr; c's rows are ldc apart. Each element is one chain of
 * multiply-adds over the words from zero, so that its value depends neither on m, n nor on its place in the tile. */
typedef void hth_tile_fn(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int64_t ldc,
                         bool add);
/* The same where B is of f16 numbers at the places of f32 words. */
typedef void hth_tile_half_fn(int64_t m, int64_t n, int64_t k, const float *a, const uint16_t *b, float *c, int64_t ldc,
                              bool add);
/* A of m rows of k numbers, ld apart; places of rows m..mr-1 hold anything afterwards. Writes words * mr. */
typedef void hth_pack_a_fn(const float *x, int64_t ld, int64_t m, int64_t k, float *a);
/* B whose n columns are rows of k numbers, ld apart; columns n..nr-1 are zero. */
typedef void hth_pack_b_fn(const float *w, int64_t ld, int64_t n, int64_t k, float *b);
/* A or B whose k steps are rows of m or n numbers, ld apart; the rest is zero. */
typedef void hth_pack_rows_fn(const float *x, int64_t ld, int64_t k, int64_t n, float *out);

struct hth_tile_shape {
	int mr, nr;
	int pair; /* numbers a word: 1 f32, 2 bf16 */
	int unit; /* words of k are padded to a multiple of it */
};
struct hth_products {
	int mr, nr, pair, unit; /* as struct hth_tile_shape */
	hth_tile_fn *tile;
	hth_tile_half_fn *tile_half; /* where a word is one number, else NULL */
	hth_pack_a_fn *pack_a;
	hth_pack_b_fn *pack_b;
	hth_pack_rows_fn *pack_a_rows, *pack_b_rows;
};
static inline int64_t hth_words(int64_t pair, int64_t unit, int64_t k)
{
	return (k + pair * unit - 1) / (pair * unit) * unit;
}

/* dst (n) from whole blocks, as quant's unpack: within one unit in the last place of it. */
typedef void hth_unpack_fn(const void *src, float *dst, int64_t n);
/* Vectors for matvec: m rows, 1 <= m <= HTH_MATVEC_MAX_ROWS, as they are and as prepare_x makes them. */
struct hth_matvec_in {
	int m;
	const float *x, *prepared; /* row r at x + r * ldx, prepared + r * prepared_ld */
	int64_t ldx, prepared_ld;
};
/* out (hth_prepared_elems(k)): x in the set's own order and number format, and sums of its parts. One row, once for all
 * rows of w. */
typedef void hth_prepare_x_fn(const float *x, int64_t k, float *out);
static inline int64_t hth_prepared_elems(int64_t k)
{
	return (k + 127) / 128 * 160;
}
/* y[r * ldy + j] = dot of stored row j of w (rows of row_bytes, k elements each) and x's row r. One row's result does not
 * depend on m. */
typedef void hth_matvec_fn(const uint8_t *w, uint64_t row_bytes, int64_t n_rows, int64_t k,
                           const struct hth_matvec_in *in, float *y, int64_t ldy);

/* The same from rows that hth_interleave (interleave.h) has put side by side; n_rows is a multiple of 16. Other sums than
 * matvec's, within its bounds. */
typedef void hth_matvec16_fn(const uint8_t *w, int64_t n_rows, int64_t k, const struct hth_matvec_in *in, float *y,
                             int64_t ldy);

typedef float hth_dot_fn(const float *x, const float *y, int64_t n);
/* Sum of (x - mean)^2. */
typedef float hth_sumsq_fn(const float *x, float mean, int64_t n);
typedef float hth_reduce_fn(const float *x, int64_t n); /* sum (0 if empty), or max (-infinity if empty) */
/* y += a * x */
typedef void hth_axpy_fn(float a, const float *x, float *y, int64_t n);
/* y = a * x; y may be x */
typedef void hth_scale_fn(float a, const float *x, float *y, int64_t n);
/* y = b + a * x; y may be b or x */
typedef void hth_add_fn(float a, const float *x, const float *b, float *y, int64_t n);
/* p = exp(s - max), returns its sum; p may be s. Relative error of each below 3e-7; -infinity gives 0. */
typedef float hth_exp_sum_fn(const float *s, float max, float *p, int64_t n);
/* out (n) = x in f16, to nearest, even; what is beyond its range becomes +-65504. */
typedef void hth_halves_fn(const float *x, uint16_t *out, int64_t n);
/* x = cap * tanh(x / cap), in place */
typedef void hth_softcap_fn(float cap, float *x, int64_t n);
/* ds = p * (dp - delta): the gradient of softmax. ds may be p or dp. */
typedef void hth_softmax_grad_fn(const float *p, const float *dp, float delta, float *ds, int64_t n);

/* y = (x - mean) * rstd * (w + offset) + bias; w NULL: factor 1, bias NULL: 0; y may be x. */
typedef void hth_norm_fn(const float *x, float mean, float rstd, const float *w, float offset, const float *bias,
                         float *y, int64_t n);
/* Input gradient of the above for one group: with g = dy * (w + offset), h = (x - mean) * rstd:
 * dx = base + rstd * (g - h * mean(g * h) - [centred] mean(g)). base NULL: 0; dx may be base or dy. */
typedef void hth_norm_grad_fn(const float *x, float mean, float rstd, const float *w, float offset, bool centred,
                              const float *dy, const float *base, float *dx, int64_t n);
/* Rotates pairs (x[i], x[i + half]) by the angle whose cosine and sine are given; y may be x. */
typedef void hth_rope_fn(const float *x, const float *cos, const float *sin, float *y, int64_t half);
/* cosine, sine (n) of the f32 products position * freq[i], |product| < 2^20; error below 3e-7. */
typedef void hth_sincos_fn(float position, const float *freq, float *cosine, float *sine, int64_t n);
/* y = act(gate) * up; y may be gate or up. */
typedef void hth_gated_fn(const float *gate, const float *up, float *y, int64_t n);
/* dgate = dy * up * act'(gate), dup = dy * act(gate); dgate may be gate, dup may be up, either may be dy. */
typedef void hth_gated_grad_fn(const float *gate, const float *up, const float *dy, float *dgate, float *dup,
                               int64_t n);
/* y[i] = keep(i) ? x[i] * scale : 0 with keep(i) = hth_rng_uniform(key, c0, c1 + i) >= p; y may be x. Bit-exact. */
typedef void hth_dropout_fn(struct hth_rng_key key, uint64_t c0, uint64_t c1, float p, float scale, const float *x,
                            float *y, int64_t n);

/* One AdamW step on n elements, constants made by the caller: g = grad * grad_scale, m and v updated,
 * value = value * decay - step_size * m / (sqrt(v) * root + eps), grad = 0. */
struct hth_adamw_step {
	float beta1, beta2, eps, grad_scale;
	float decay;     /* 1 - lr * weight_decay */
	float step_size; /* lr / (1 - beta1^step) */
	float root;      /* 1 / sqrt(1 - beta2^step) */
};
typedef void hth_adamw_fn(const struct hth_adamw_step *s, float *value, float *grad, float *m, float *v, int64_t n);

/* Slots in the order of slotlist.h. */
struct hth_kernels {
	struct hth_products product; /* in f32; a device that computes in bf16 puts bf16 in its place */
	struct hth_products bf16;
	hth_unpack_fn *unpack[HTH_QUANT_COUNT];
	hth_prepare_x_fn *prepare_x; /* a set that overrides any of prepare_x and matvec overrides all of them */
	hth_matvec_fn *matvec[HTH_QUANT_COUNT];
	hth_matvec16_fn *matvec16[HTH_QUANT_COUNT]; /* NULL: this set gains nothing by it */
	hth_dot_fn *dot;
	hth_sumsq_fn *sumsq;
	hth_reduce_fn *sum, *max;
	hth_axpy_fn *axpy;
	hth_scale_fn *scale;
	hth_add_fn *add;
	hth_exp_sum_fn *exp_sum;
	hth_halves_fn *halves;
	hth_softcap_fn *softcap;
	hth_softmax_grad_fn *softmax_grad;
	hth_norm_fn *norm;
	hth_norm_grad_fn *norm_grad;
	hth_rope_fn *rope;
	hth_sincos_fn *sincos;
	hth_gated_fn *silu, *gelu_tanh, *gelu_erf, *sigmoid;
	hth_gated_grad_fn *silu_grad, *gelu_tanh_grad, *gelu_erf_grad, *sigmoid_grad;
	hth_delta_fn *delta;
	hth_delta_grad_fn *delta_grad;
	hth_dropout_fn *dropout;
	hth_adamw_fn *adamw;
};

/* A set as its file defines it (`hth_kernels_<name>`): slots left NULL are another set's. */
enum hth_kernel_slot {
#define HTH_KERNEL_SLOT(name) HTH_KERNEL_SLOT_##name,
#include "kernels/slotlist.h"
#undef HTH_KERNEL_SLOT
	HTH_KERNEL_SLOT_COUNT
};

/* What was picked: the merged table, and which set each slot came from (for `hearth doctor`). */
struct hth_kernel_pick {
	const char *name; /* the highest set in force: "avx512" */
	struct hth_kernels k;
	const char *winner[HTH_KERNEL_SLOT_COUNT];
	const char *unpack_winner[HTH_QUANT_COUNT], *matvec_winner[HTH_QUANT_COUNT];
	const char *product_winner, *bf16_winner;
};

/* Lays every set that this processor and its system support over ref, in list order, up to `ceiling`; ceiling NULL:
 * $HEARTH_CPU, and without that all. HTH_ERR_USAGE for an unknown name, HTH_ERR_UNAVAILABLE for a set that this
 * processor lacks. */
HTH_MUST enum hth_status hth_kernels_pick(const char *ceiling, struct hth_kernel_pick *out, struct hth_err *err);
const char *hth_kernel_slot_name(enum hth_kernel_slot s);

/* The sets by index, on any machine: name (NULL past the end), whether it runs here, and the tiles in force once it is
 * laid over the others of its architecture (for plans of another machine). */
struct hth_kernel_info {
	const char *name;
	bool present; /* compiled for this architecture and supported by this processor */
	struct hth_tile_shape f32, bf16;
};
struct hth_kernel_info hth_kernels_info(int i);
/* Information on the set of this name; NULL: on the highest that hth_kernels_pick(NULL) would take. name is NULL in it
 * when there is no such set. */
struct hth_kernel_info hth_kernels_find(const char *name);
/* Are products in bf16 faster than in f32 on this processor, up to `ceiling` (as hth_kernels_pick's)? */
bool hth_kernels_bf16_pays(const char *ceiling);

#endif
