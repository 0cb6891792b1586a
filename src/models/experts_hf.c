/* Experts in folders of gpt-oss: mxfp4 as two byte tensors, (E,N,K/32,16) of nibbles and (E,N,K/32) of exponents, or
 * plain numbers transposed, (E,K,N). Both are laid out anew as rows of N, the pairs of gate and up taken apart.
 * Source: transformers integrations/mxfp4.py (convert_moe_packed_tensors), modeling_gpt_oss.py. */
#include "formats/hf.h"
#include "models/source.h"
#include "quant/mxfp4.h"

#include <stdio.h>
#include <string.h>

enum { TILE = 32 };

/* Where row n of N goes. */
static int64_t new_row(int64_t n, int64_t rows, bool paired)
{
	return paired ? n % 2 * (rows / 2) + n / 2 : n;
}

static enum hth_status fill_mxfp4(const struct hth_source *s, size_t number, uint8_t *out, struct hth_err *err)
{
	const struct hth_repacked *how = &s->repacked[number];
	const struct hth_st_tensor *blocks = hth_hf_tensor(s->hf, number), *scales = hth_hf_tensor(s->hf, how->scales_number);
	const int64_t *d = blocks->dim; /* (E,N,K/32,16) */

	(void)err;
	for (int64_t r = 0; r < d[0] * d[1]; r++) {
		int64_t to = r / d[1] * d[1] + new_row(r % d[1], d[1], how->paired);
		for (int64_t b = 0; b < d[2]; b++)
			hth_mxfp4_join(blocks->data + (r * d[2] + b) * HTH_MXFP4_NIBBLES, scales->data[r * d[2] + b],
				       out + (to * d[2] + b) * HTH_MXFP4_BLOCK);
	}
	return HTH_OK;
}

static enum hth_status take_mxfp4(struct hth_source *s, const struct hth_st_tensor *blocks, size_t number,
				  const struct hth_st_tensor *scales, struct hth_repacked *how,
				  struct hth_source_tensor *t, struct hth_err *err)
{
	const int64_t *d = blocks->dim; /* (E,N,K/32,16) */
	bool fits = blocks->dtype == HTH_ST_U8 && scales->dtype == HTH_ST_U8 && blocks->n_dims == 4 && d[3] == HTH_MXFP4_NIBBLES &&
		    scales->n_dims == 3 && memcmp(d, scales->dim, 3 * sizeof(*d)) == 0 &&
		    (!how->paired || d[1] % 2 == 0);

	if (!fits)
		return hth_fail(err, HTH_ERR_SHAPE,
				"%s: \"%s\" and its scales: expected bytes of shape (E,N,K/32,16) and (E,N,K/32)",
				s->path, t->name);
	t->dim[1] = d[1];
	t->dim[2] = d[2] * HTH_MXFP4_ELEMS;
	how->quant = HTH_QUANT_MXFP4;
	how->fill = fill_mxfp4;
	/* As many blocks as scales, which are in the file: the product is in range. */
	how->bytes = scales->bytes * HTH_MXFP4_BLOCK;
	return hth_source_lay_out(s, number, how, false, err);
}

static enum hth_status fill_plain(const struct hth_source *s, size_t number, uint8_t *out, struct hth_err *err)
{
	const struct hth_st_tensor *x = hth_hf_tensor(s->hf, number);
	const int64_t *d = x->dim; /* (E,K,N) */
	size_t size = hth_st_dtype_bytes(x->dtype);
	bool paired = s->repacked[number].paired;

	(void)err;
	/* A few columns at a time, so that a line of memory is read once. */
	for (int64_t e = 0; e < d[0]; e++)
		for (int64_t first = 0; first < d[2]; first += TILE)
			for (int64_t k = 0; k < d[1]; k++)
				for (int64_t n = first; n < d[2] && n < first + TILE; n++)
					memcpy(out + (size_t)((e * d[2] + new_row(n, d[2], paired)) * d[1] + k) * size,
					       x->data + (size_t)((e * d[1] + k) * d[2] + n) * size, size);
	return HTH_OK;
}

static enum hth_status take_plain(struct hth_source *s, const struct hth_st_tensor *x, size_t number,
				  struct hth_repacked *how, struct hth_source_tensor *t, struct hth_err *err)
{
	const int64_t *d = x->dim; /* (E,K,N) */

	how->quant = x->dtype == HTH_ST_BF16  ? HTH_QUANT_BF16
		     : x->dtype == HTH_ST_F16 ? HTH_QUANT_F16
		     : x->dtype == HTH_ST_F32 ? HTH_QUANT_F32
					      : HTH_QUANT_NONE;
	if (how->quant == HTH_QUANT_NONE || x->n_dims != 3 || (how->paired && d[2] % 2 != 0))
		return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": %s of %d dimensions, expected BF16, F16 or F32 of 3",
				s->path, t->name, hth_st_dtype_name(x->dtype), x->n_dims);
	t->dim[1] = d[2];
	t->dim[2] = d[1];
	how->fill = fill_plain;
	how->bytes = x->bytes;
	return hth_source_lay_out(s, number, how, false, err);
}

enum hth_status hth_source_take_experts(struct hth_source *s, const char *stem, const char *name, bool paired,
					struct hth_source_tensor *t, struct hth_err *err)
{
	char scales_name[112];
	size_t number;
	struct hth_repacked how = {.paired = paired};
	enum hth_status st;

	*t = (struct hth_source_tensor){.quant = HTH_QUANT_NONE, .n_dims = 3};
	snprintf(t->name, sizeof(t->name), "%s.%s_blocks", stem, name);
	snprintf(scales_name, sizeof(scales_name), "%s.%s_scales", stem, name);
	const struct hth_st_tensor *x = hth_hf_find(s->hf, t->name, &number);
	const struct hth_st_tensor *scales = hth_hf_find(s->hf, scales_name, &how.scales_number);
	if (x != NULL && scales != NULL) {
		hth_source_mark(s, how.scales_number);
		st = take_mxfp4(s, x, number, scales, &how, t, err);
	} else {
		snprintf(t->name, sizeof(t->name), "%s.%s", stem, name);
		x = hth_hf_find(s->hf, t->name, &number);
		if (x == NULL)
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: no \"%s\" and no \"%s_blocks\" with \"_scales\", expected one of them",
					s->path, t->name, t->name);
		st = take_plain(s, x, number, &how, t, err);
	}
	if (st != HTH_OK)
		return st;
	hth_source_mark(s, number);
	t->dim[0] = x->dim[0];
	t->quant = how.quant;
	t->data = s->repacked[number].data;
	return HTH_OK;
}
