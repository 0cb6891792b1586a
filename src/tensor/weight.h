/* A frozen matrix (or vector, rows == 1) of the base model, in the blocks of its file. Logical rows are in Hugging
 * Face's order; a GGUF of the Llama family stores the rows of q and k in another order, which hth_weight_row
 * undoes on the way, so that the file stays mapped as it is. */
#ifndef HTH_TENSOR_WEIGHT_H
#define HTH_TENSOR_WEIGHT_H

#include "quant/quant.h"
#include "tensor/tensor.h"

struct hth_weight {
	char name[96];           /* Hugging Face's tensor name: "model.layers.3.self_attn.q_proj.weight" */
	enum hth_quant quant;
	int64_t rows, cols;      /* (N, C): y = x @ W^T */
	const uint8_t *data;     /* rows * row_bytes, borrowed from the model's map (or its owned memory) */
	uint64_t row_bytes;
	int64_t head_rows;       /* D when the file's rows are permuted within heads of D rows, else 0 */
	struct hth_param *param; /* full fine-tuning: data is param->value (quant F32) and gradients go to param->grad */
	void *prepared;          /* the backend's packed form, or NULL; owned by the device */
};

/* Where logical row n stands in the file. GGUF's Llama permutation: logical row h*D + half*(D/2) + i is stored as
 * row h*D + 2*i + half (rotation pairs side by side). */
static inline int64_t hth_weight_stored_row(const struct hth_weight *w, int64_t n)
{
	if (w->head_rows == 0)
		return n;
	int64_t d = w->head_rows, h = n / d, j = n % d;
	return h * d + 2 * (j % (d / 2)) + j / (d / 2);
}

/* The other way: which logical row stands at row p of the file. */
static inline int64_t hth_weight_logical_row(const struct hth_weight *w, int64_t p)
{
	if (w->head_rows == 0)
		return p;
	int64_t d = w->head_rows, h = p / d, j = p % d;
	return h * d + (j % 2) * (d / 2) + j / 2;
}

static inline const uint8_t *hth_weight_row(const struct hth_weight *w, int64_t n)
{
	return w->data + (uint64_t)hth_weight_stored_row(w, n) * w->row_bytes;
}

static inline uint64_t hth_weight_bytes(const struct hth_weight *w)
{
	return (uint64_t)w->rows * w->row_bytes;
}

#endif
