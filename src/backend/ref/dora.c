/* DoRA (Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation"): lengths of the adapted rows, and outputs
 * scaled by magnitude over length. The length is a constant for gradients (section 4.3 there, PEFT and mlx-lm alike). */
#include "backend/ref/ref_int.h"

#include <math.h>

/* The adapter's LoRA with magnitudes for a run of rows, or NULL. */
static const struct hth_lora *run_dora(const struct hth_linear *m, const struct hth_adapter_run *run)
{
	const struct hth_lora *l = run->adapter < 0 || m->lora == NULL ? NULL : m->lora[run->adapter];

	return l != NULL && l->mag.value != NULL ? l : NULL;
}

/* scratch: a row of W (C). */
void ref_dora_norm_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_norm_args *a = args;
	int64_t widest = 0;

	(void)m;
	for (int64_t i = 0; i < a->n; i++) {
		const struct hth_weight *w = a->site[i].w;
		double rank = (double)a->site[i].lora->a.rows;
		out->flops += 2.0 * (rank + 1.0) * (double)w->rows * (double)w->cols;
		out->bytes_moved += (double)hth_weight_bytes(w) + 4.0 * rank * (double)(w->rows + w->cols);
		widest = w->cols > widest ? w->cols : widest;
	}
	out->scratch_bytes = (uint64_t)widest * sizeof(float);
}

static void norms_of(const struct hth_dora_site *s, float *wrow)
{
	const struct hth_lora *l = s->lora;
	int64_t rank = l->a.rows, width = s->w->cols;

	for (int64_t n = 0; n < s->w->rows; n++) {
		double square = 0.0;
		ref_unpack_row(s->w, n, wrow);
		for (int64_t c = 0; c < width; c++) {
			double sum = 0.0;
			for (int64_t r = 0; r < rank; r++)
				sum += (double)l->b.value[n * rank + r] * l->a.value[r * width + c];
			double v = wrow[c] + l->scale * sum;
			square += v * v;
		}
		l->norm[n] = (float)sqrt(square);
	}
}

enum hth_status ref_dora_norm(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_dora_norm_args *a = args;

	(void)dev, (void)err;
	for (int64_t i = 0; i < a->n; i++)
		norms_of(&a->site[i], scratch);
	return HTH_OK;
}

void ref_dora_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_args *a = args;

	(void)m;
	out->flops = 2.0 * (double)(a->u.rows * a->u.cols);
	out->bytes_moved = ref_bytes(a->u) + ref_bytes(a->y);
}

static float factor(const struct hth_lora *l, int64_t n)
{
	return l == NULL ? 1.0f : l->norm[n] > 0.0f ? l->mag.value[n] / l->norm[n] : 0.0f;
}

enum hth_status ref_dora(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_dora_args *a = args;
	const struct hth_weight *bias = a->member->late_bias;
	const float *b = bias == NULL ? NULL : (const float *)(const void *)bias->data; /* (N) */

	(void)dev, (void)scratch, (void)err;
	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = run_dora(a->member, run);
		for (int64_t t = run->start; t < run->start + run->len; t++)
			for (int64_t n = 0; n < a->u.cols; n++)
				ref_row(a->y, t)[n] = ref_row(a->u, t)[n] * factor(l, n) + (b == NULL ? 0.0f : b[n]);
	}
	return HTH_OK;
}

void ref_dora_backward_cost(const struct hth_machine *m, const void *args, struct hth_cost *out)
{
	const struct hth_dora_backward_args *a = args;

	(void)m;
	out->flops = 4.0 * (double)(a->dy.rows * a->dy.cols);
	out->bytes_moved = ref_bytes(a->u) + ref_bytes(a->dy) + ref_bytes(a->du);
}

/* Gradients of the magnitudes over one run. */
static void backward_mag(const struct hth_dora_backward_args *a, const struct hth_adapter_run *run,
                         const struct hth_lora *l)
{
	for (int64_t n = 0; n < a->dy.cols; n++) {
		double sum = 0.0;
		for (int64_t t = run->start; t < run->start + run->len; t++)
			sum += (double)ref_row(a->dy, t)[n] * ref_row(a->u, t)[n];
		if (l->norm[n] > 0.0f)
			l->mag.grad[n] += (float)(sum / l->norm[n]);
	}
}

/* Parameter gradients first: du may take the place of dy. */
enum hth_status ref_dora_backward(struct hth_device *dev, const void *args, void *scratch, struct hth_err *err)
{
	const struct hth_dora_backward_args *a = args;
	const struct hth_weight *bias = a->member->late_bias;

	(void)dev, (void)scratch, (void)err;
	for (int64_t n = 0; ref_is_trained(bias) && n < a->dy.cols; n++) {
		double sum = 0.0;
		for (int64_t t = 0; t < a->dy.rows; t++)
			sum += ref_row(a->dy, t)[n];
		bias->param->grad[n] += (float)sum;
	}
	for (int32_t g = 0; g < a->rows->n_runs; g++) {
		const struct hth_adapter_run *run = &a->rows->runs[g];
		const struct hth_lora *l = run_dora(a->member, run);
		if (l != NULL && l->mag.grad != NULL)
			backward_mag(a, run, l);
		for (int64_t t = run->start; hth_tensor_is(a->du) && t < run->start + run->len; t++)
			for (int64_t n = 0; n < a->dy.cols; n++)
				ref_row(a->du, t)[n] = ref_row(a->dy, t)[n] * factor(l, n);
	}
	return HTH_OK;
}
