/* MLX's quantisations. Levels are a stream of bits without gaps, lowest first, row by row.
 * Source: mlx backend/common/quantized.h and ops.cpp (affine_quantize, dequantize); mlx_lm utils.py (config keys). */
#include "formats/hf_mlx.h"

#include "base/checked.h"
#include "base/mem.h"
#include "quant/mxfp4.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 32 }; /* elements of q4_1, q5_1 and mlx8 */

static const json_t *settings(const struct hth_hf *h)
{
	const json_t *q = json_object_get(h->config, "quantization");

	return json_is_object(q) ? q : NULL;
}

bool hth_mlx_is(const struct hth_hf *h)
{
	return settings(h) != NULL;
}

/* Bits and group of one object of settings. */
static enum hth_status read_layout(const struct hth_hf *h, const json_t *q, struct hth_mlx_layout *out,
				   struct hth_err *err)
{
	const char *mode;
	char shown[48];
	enum hth_status st;

	if ((st = hth_json_str(q, "mode", "affine", &mode, h->config_path, err)) != HTH_OK ||
	    (st = hth_json_int(q, "bits", 2, 8, 4, &out->bits, h->config_path, err)) != HTH_OK)
		return st;
	out->mxfp4 = strcmp(mode, "mxfp4") == 0;
	if ((st = hth_json_int(q, "group_size", 32, 128, out->mxfp4 ? 32 : 64, &out->group, h->config_path, err)) != HTH_OK)
		return st;
	if (!out->mxfp4 && strcmp(mode, "affine") != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"quantization\": mode \"%s\", expected affine or mxfp4",
				h->config_path, hth_quote(shown, sizeof(shown), mode, strlen(mode)));
	if (out->mxfp4 && (out->bits != 4 || out->group != 32))
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"quantization\": mxfp4 of %lld bits in groups of %lld, expected 4 in groups of 32",
				h->config_path, (long long)out->bits, (long long)out->group);
	if (out->bits == 7 || (out->group != 32 && out->group != 64 && out->group != 128))
		return hth_fail(err, HTH_ERR_FORMAT,
				"%s: \"quantization\": %lld bits in groups of %lld, expected 2 to 6 or 8 in groups of "
				"32, 64 or 128",
				h->config_path, (long long)out->bits, (long long)out->group);
	return HTH_OK;
}

enum hth_status hth_mlx_check(const struct hth_hf *h, struct hth_err *err)
{
	struct hth_mlx_layout all;

	return hth_mlx_is(h) ? read_layout(h, settings(h), &all, err) : HTH_OK;
}

/* A module may have settings of its own; `stem` is its path. */
static enum hth_status layout_of(const struct hth_hf *h, const char *stem, struct hth_mlx_layout *out,
				 struct hth_err *err)
{
	const json_t *q = settings(h), *own = json_object_get(q, stem);

	if (q == NULL || json_is_false(own)) {
		*out = (struct hth_mlx_layout){0};
		return HTH_OK;
	}
	return read_layout(h, json_is_object(own) ? own : q, out, err);
}

static bool is_float(enum hth_st_dtype t)
{
	return t == HTH_ST_F32 || t == HTH_ST_F16 || t == HTH_ST_BF16;
}

static enum hth_status check_parts(const struct hth_hf *h, const struct hth_mlx_tensor *t, struct hth_err *err)
{
	const struct hth_st_tensor *w = t->weight, *parts[2] = {t->scales, t->biases};
	size_t outer = (size_t)w->n_dims - 1;
	int64_t words;

	for (int i = 0; i < (t->layout.mxfp4 ? 1 : 2); i++) {
		const struct hth_st_tensor *p = parts[i];
		if (p == NULL)
			return hth_fail(err, HTH_ERR_FORMAT, "%s: \"%s\": no %s beside it, expected in an MLX folder",
					h->path, w->name, i == 0 ? "scales" : "biases");
		bool typed = t->layout.mxfp4 ? p->dtype == HTH_ST_U8 : is_float(p->dtype);
		if (!typed || p->n_dims != w->n_dims || memcmp(p->dim, w->dim, outer * sizeof(*p->dim)) != 0 ||
		    p->dim[outer] != t->scales->dim[outer])
			return hth_fail(err, HTH_ERR_SHAPE, "%s: \"%s\": expected one number for each group of \"%s\"",
					h->path, p->name, w->name);
	}
	/* Both are bounded by the file, so that this cannot overflow. */
	words = t->cols / 32 * t->layout.bits;
	if (words != w->dim[outer])
		return hth_fail(err, HTH_ERR_SHAPE,
				"%s: \"%s\": %lld words a row, expected %lld (%lld columns of %lld bits)", h->path,
				w->name, (long long)w->dim[outer], (long long)words, (long long)t->cols,
				(long long)t->layout.bits);
	return HTH_OK;
}

enum hth_status hth_mlx_find(const struct hth_hf *h, const struct hth_st_tensor *weight, struct hth_mlx_tensor *out,
			     struct hth_err *err)
{
	static const char suffix[] = ".weight";
	size_t n = strlen(weight->name), tail = sizeof(suffix) - 1;
	char stem[200], name[210];

	*out = (struct hth_mlx_tensor){.weight = weight};
	if ((weight->n_dims != 2 && weight->n_dims != 3) || weight->bytes == 0 || n <= tail || n - tail >= sizeof(stem) ||
	    strcmp(weight->name + n - tail, suffix) != 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "%s: \"%.80s\": 32-bit words that are no matrix of weights",
				h->path, weight->name);
	snprintf(stem, sizeof(stem), "%.*s", (int)(n - tail), weight->name);
	enum hth_status st = layout_of(h, stem, &out->layout, err);
	if (st != HTH_OK)
		return st;
	if (out->layout.bits == 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"%s: \"%s\": 32-bit words, but config.json has no \"quantization\" for it", h->path,
				weight->name);
	snprintf(name, sizeof(name), "%s.scales", stem);
	out->scales = hth_hf_find(h, name, &out->scales_number);
	snprintf(name, sizeof(name), "%s.biases", stem);
	if (!out->layout.mxfp4)
		out->biases = hth_hf_find(h, name, &out->biases_number);
	int last = weight->n_dims - 1;
	/* The file has as many words or more: no overflow. */
	out->rows = weight->n_dims == 2 ? weight->dim[0] : weight->dim[0] * weight->dim[1];
	if (out->scales != NULL && out->scales->n_dims == weight->n_dims && out->scales->dim[last] <= INT64_MAX / 128)
		out->cols = out->scales->dim[last] * out->layout.group;
	return check_parts(h, out, err);
}

/* Level i of a row's stream of bits. */
static uint32_t level(const uint8_t *row, int64_t i, int64_t bits)
{
	int64_t at = i * bits;
	uint32_t low = row[at / 8];

	/* A level reaches into a second byte only where the row has one. */
	if (at % 8 + bits > 8)
		low |= (uint32_t)row[at / 8 + 1] << 8;
	return low >> (at % 8) & ((1u << bits) - 1);
}

/* Scales or biases of all groups as f32; checks that they are numbers. */
static enum hth_status read_floats(const struct hth_st_tensor *t, float **out, struct hth_err *err)
{
	size_t n = (size_t)(t->bytes / hth_st_dtype_bytes(t->dtype));

	*out = hth_calloc(n + 1, sizeof(**out));
	if (*out == NULL)
		return hth_fail_memory(err, "scales of a weight", n * sizeof(**out));
	enum hth_status st = hth_st_to_f32(t, *out, err);
	for (size_t i = 0; st == HTH_OK && i < n; i++)
		if (!isfinite((*out)[i]))
			return hth_fail(err, HTH_ERR_VALUE, "\"%.80s\": element %zu is %g, expected a finite number",
					t->name, i, (double)(*out)[i]);
	return st;
}

static bool all_f16(const float *v, size_t n)
{
	const struct hth_quant_format *f16 = hth_quant_format(HTH_QUANT_F16);

	for (size_t i = 0; i < n; i++) {
		uint8_t half[2];
		float back;
		f16->pack(&v[i], half, 1, NULL);
		f16->unpack(half, &back, 1);
		if (back != v[i])
			return false;
	}
	return true;
}

/* 32 levels from `first` of a row: q4_1 has 4 bytes of scale and bias, then nibbles, element j with element j + 16;
 * q5_1 has its fifth bits, element j at bit j, between the two. */
static void put_block(uint8_t *out, const uint8_t *row, int64_t first, int64_t bits, float scale, float bias)
{
	const struct hth_quant_format *f16 = hth_quant_format(HTH_QUANT_F16);
	uint8_t *nibbles = out + (bits == 5 ? 8 : 4);
	uint32_t fifth = 0;

	f16->pack(&scale, out, 1, NULL);
	f16->pack(&bias, out + 2, 1, NULL);
	for (int j = 0; j < BLOCK / 2; j++) {
		uint32_t a = level(row, first + j, bits), b = level(row, first + j + BLOCK / 2, bits);
		nibbles[j] = (uint8_t)((a & 15) | (b & 15) << 4);
		fifth |= a >> 4 << j | b >> 4 << (j + BLOCK / 2);
	}
	for (int i = 0; bits == 5 && i < 4; i++)
		out[4 + i] = (uint8_t)(fifth >> (8 * i));
}

/* Blocks of mlx8: scale and bias as f32, a level a byte. */
static void put_wide_block(uint8_t *out, const uint8_t *row, int64_t first, int64_t bits, float scale, float bias)
{
	const struct hth_quant_format *f32 = hth_quant_format(HTH_QUANT_F32);

	f32->pack(&scale, out, 1, NULL);
	f32->pack(&bias, out + 4, 1, NULL);
	for (int j = 0; j < BLOCK; j++)
		out[8 + j] = (uint8_t)level(row, first + j, bits);
}

static void put_row(const struct hth_mlx_tensor *t, enum hth_quant quant, const uint8_t *row, const float *scales,
		    const float *biases, uint8_t *out)
{
	int64_t bits = t->layout.bits, group = t->layout.group;
	size_t bytes = hth_quant_format(quant)->block_bytes;

	for (int64_t i = 0; i < t->cols; i += BLOCK, out += bytes) {
		float scale = scales[i / group], bias = biases[i / group];
		if (quant == HTH_QUANT_MLX8)
			put_wide_block(out, row, i, bits, scale, bias);
		else
			put_block(out, row, i, bits, scale, bias);
	}
}

enum hth_status hth_mlx_blocks(const struct hth_mlx_tensor *t, enum hth_quant *quant, uint64_t *bytes,
			       struct hth_err *err)
{
	float *scales = NULL, *biases = NULL; /* (N, C/group) */
	size_t n_groups = (size_t)(t->rows * (t->cols / t->layout.group));
	bool halves = t->layout.bits <= 5 && !t->layout.mxfp4;
	uint64_t row_bytes;
	enum hth_status st = HTH_OK;

	if (halves && ((st = read_floats(t->scales, &scales, err)) != HTH_OK ||
		       (st = read_floats(t->biases, &biases, err)) != HTH_OK))
		goto done;
	halves = halves && all_f16(scales, n_groups) && all_f16(biases, n_groups);
	*quant = t->layout.mxfp4         ? HTH_QUANT_MXFP4
		 : !halves               ? HTH_QUANT_MLX8
		 : t->layout.bits == 5 ? HTH_QUANT_Q5_1
				       : HTH_QUANT_Q4_1;
	st = hth_quant_row_bytes(*quant, (uint64_t)t->cols, &row_bytes, err);
	if (st == HTH_OK && !hth_mul_u64((uint64_t)t->rows, row_bytes, bytes))
		st = hth_fail(err, HTH_ERR_LIMIT, "\"%.80s\": its size does not fit 64 bits", t->weight->name);
done:
	hth_free(scales);
	hth_free(biases);
	return st;
}

enum hth_status hth_mlx_repack(const struct hth_mlx_tensor *t, enum hth_quant quant, uint8_t *out, struct hth_err *err)
{
	float *scales = NULL, *biases = NULL; /* (N, C/group) */
	int64_t groups = t->cols / t->layout.group, words = t->cols / 32 * t->layout.bits;
	uint64_t row_bytes;
	enum hth_status st;

	for (int64_t i = 0; t->layout.mxfp4 && i < t->rows * groups; i++)
		hth_mxfp4_join(t->weight->data + i * HTH_MXFP4_NIBBLES, t->scales->data[i], out + i * HTH_MXFP4_BLOCK);
	if (t->layout.mxfp4)
		return HTH_OK;
	if ((st = read_floats(t->scales, &scales, err)) != HTH_OK ||
	    (st = read_floats(t->biases, &biases, err)) != HTH_OK ||
	    (st = hth_quant_row_bytes(quant, (uint64_t)t->cols, &row_bytes, err)) != HTH_OK)
		goto done;
	for (int64_t r = 0; r < t->rows; r++)
		put_row(t, quant, t->weight->data + r * words * 4, scales + r * groups, biases + r * groups,
			out + (uint64_t)r * row_bytes);
done:
	hth_free(scales);
	hth_free(biases);
	return st;
}
