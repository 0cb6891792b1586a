/* Fuse an adapter into a GGUF base, tensor by tensor, row by row, in the row order of the file. Leaves out: fusing
 * onto quantised blocks other than q8_0 (that is quantisation, and needs its survival check). */
#include "export/fuse.h"

#include "base/checked.h"
#include "base/mem.h"
#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROWS_PER_TASK 64

/* ggml's general.file_type numbers (llama.h, enum llama_ftype). */
static int64_t file_type(enum hth_quant q)
{
	switch (q) {
	case HTH_QUANT_F32:
		return 0;
	case HTH_QUANT_BF16:
		return 32;
	case HTH_QUANT_Q8_0:
		return 7;
	default:
		return 1;
	}
}

struct fuse_tensor {
	const struct hth_gguf_tensor *t;
	const struct hth_weight *w;  /* for its row order; NULL: stored as is */
	const struct hth_lora *lora; /* NULL: not touched */
	enum hth_quant quant;        /* of the output */
	int64_t rows, cols;
	uint64_t in_row, out_row; /* bytes a row */
	uint8_t *out;             /* rows * out_row */
	float *scratch;           /* (threads, cols) */
	int bad;                  /* a task saw a value that is not finite */
};

/* dst (C) += scale * B[n] @ A; B (N,r), A (r,C). */
static void add_lora_row(const struct hth_lora *lora, int64_t n, float *dst)
{
	int64_t r = lora->a.rows, c = lora->a.cols;
	const float *b = lora->b.value + n * r; /* (r) */
	for (int64_t k = 0; k < r; k++) {
		float f = lora->scale * b[k];
		const float *a = lora->a.value + k * c; /* (C) */
		for (int64_t j = 0; j < c; j++)
			dst[j] += f * a[j];
	}
}

static void fuse_rows(void *ctx, int64_t task, int thread)
{
	struct fuse_tensor *f = ctx;
	float *row = f->scratch + (int64_t)thread * f->cols; /* (C) */
	int64_t end = (task + 1) * ROWS_PER_TASK < f->rows ? (task + 1) * ROWS_PER_TASK : f->rows;
	for (int64_t p = task * ROWS_PER_TASK; p < end; p++) {
		hth_quant_format(f->t->quant)->unpack(f->t->data + (uint64_t)p * f->in_row, row, f->cols);
		if (f->lora != NULL)
			add_lora_row(f->lora, hth_weight_logical_row(f->w, p), row);
		for (int64_t j = 0; j < f->cols; j++)
			if (!isfinite(row[j]))
				__atomic_store_n(&f->bad, 1, __ATOMIC_RELAXED);
		hth_quant_format(f->quant)->pack(row, f->out + (uint64_t)p * f->out_row, f->cols, NULL);
	}
}

/* Output type of a tensor: vectors stay f32, matrices take the wanted type if their rows are whole blocks of it. */
static enum hth_quant out_quant(const struct hth_gguf_tensor *t, enum hth_quant want)
{
	if (t->n_dims < 2)
		return HTH_QUANT_F32;
	return t->ne[0] % hth_quant_format(want)->block_elems == 0 ? want : HTH_QUANT_F16;
}

static enum hth_status write_tensor(const struct hth_model *m, struct hth_lora *const *loras,
				    const struct hth_fuse_config *cfg, const struct hth_gguf_tensor *t,
				    struct hth_gguf_writer *w, struct hth_err *err)
{
	struct fuse_tensor f = {
		.t = t, .quant = out_quant(t, cfg->quant), .cols = t->ne[0], .rows = t->ne[1] * t->ne[2] * t->ne[3]};
	int at = hth_model_linear_of_gguf(m, t->name);
	if (at >= 0) {
		f.w = &m->layers[at / HTH_LINEAR_COUNT].linear[at % HTH_LINEAR_COUNT];
		f.lora = loras != NULL ? loras[at] : NULL;
	}
	size_t out_bytes = 0;
	enum hth_status s = hth_quant_row_bytes(t->quant, (uint64_t)f.cols, &f.in_row, err);
	if (s == HTH_OK)
		s = hth_quant_row_bytes(f.quant, (uint64_t)f.cols, &f.out_row, err);
	if (s != HTH_OK)
		return s;
	int threads = cfg->pool != NULL ? hth_pool_threads(cfg->pool) : 1;
	if (!hth_mul_size((size_t)f.rows, (size_t)f.out_row, &out_bytes))
		return hth_fail(err, HTH_ERR_LIMIT, "fused tensor is too large");
	f.out = hth_alloc(out_bytes);
	f.scratch = hth_calloc((size_t)threads * (size_t)f.cols, sizeof *f.scratch);
	if (f.out == NULL || f.scratch == NULL) {
		s = hth_fail_memory(err, "fused tensor", out_bytes);
	} else {
		hth_pool_run(cfg->pool, fuse_rows, &f, (f.rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK);
		if (f.bad)
			s = hth_fail(err, HTH_ERR_VALUE,
				     "\"%.*s\": a fused weight is not finite; the adapter or the base is damaged",
				     (int)t->name.bytes, t->name.data);
		else
			s = hth_gguf_write_data(w, f.out, out_bytes, err);
	}
	hth_free(f.out);
	hth_free(f.scratch);
	return s;
}

static enum hth_status write_metadata(const struct hth_gguf *g, enum hth_quant quant, struct hth_gguf_writer *w,
				      struct hth_err *err)
{
	enum hth_status s = HTH_OK;
	for (size_t i = 0; i < g->n_kv && s == HTH_OK; i++) {
		struct hth_gguf_str key = g->kv[i].key;
		if (hth_gguf_str_equal(key, "general.file_type") ||
		    hth_gguf_str_equal(key, "general.quantization_version") ||
		    hth_gguf_str_equal(key, "general.alignment"))
			continue;
		s = hth_gguf_put_kv(w, &g->kv[i], err);
	}
	if (s == HTH_OK)
		s = hth_gguf_put_int(w, "general.file_type", HTH_GGUF_U32, file_type(quant), err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(w, "general.quantization_version", HTH_GGUF_U32, 2, err);
	return s;
}

static enum hth_status announce_tensors(const struct hth_gguf *g, enum hth_quant quant, struct hth_gguf_writer *w,
					uint64_t *total, struct hth_err *err)
{
	enum hth_status s = HTH_OK;
	*total = 0;
	for (size_t i = 0; i < g->n_tensors && s == HTH_OK; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[i];
		char name[128];
		if (t->name.bytes >= sizeof name)
			return hth_fail(err, HTH_ERR_FORMAT, "%s: a tensor's name is too long", g->map.path);
		memcpy(name, t->name.data, t->name.bytes);
		name[t->name.bytes] = '\0';
		uint64_t row = 0;
		enum hth_quant q = out_quant(t, quant);
		s = hth_quant_row_bytes(q, (uint64_t)t->ne[0], &row, err);
		if (s == HTH_OK)
			s = hth_gguf_add_tensor(w, name, t->n_dims, t->ne, q, err);
		*total += row * (uint64_t)(t->ne[1] * t->ne[2] * t->ne[3]);
	}
	return s;
}

enum hth_status hth_fuse(const struct hth_model *m, struct hth_lora *const *loras, const struct hth_fuse_config *cfg,
			 struct hth_err *err)
{
	const struct hth_gguf *g = m->gguf;
	struct hth_gguf_writer *w = NULL;
	uint64_t total = 0, done = 0, free_bytes = 0;
	enum hth_status s = hth_gguf_writer_new(cfg->out_path, &w, err);
	if (s != HTH_OK)
		return s;
	s = write_metadata(g, cfg->quant, w, err);
	if (s == HTH_OK)
		s = announce_tensors(g, cfg->quant, w, &total, err);
	if (s == HTH_OK)
		s = hth_disk_free(cfg->out_path, &free_bytes, err);
	if (s == HTH_OK && free_bytes < total)
		s = hth_fail(err, HTH_ERR_IO, "%s: needs %.1f GB of disk, %.1f GB are free", cfg->out_path,
			     (double)total / 1e9, (double)free_bytes / 1e9);
	for (size_t i = 0; i < g->n_tensors && s == HTH_OK; i++) {
		s = write_tensor(m, loras, cfg, &g->tensors[i], w, err);
		done += g->tensors[i].bytes;
		if (s == HTH_OK && cfg->progress != NULL)
			cfg->progress(cfg->ctx, done, m->file_bytes);
	}
	if (s == HTH_OK)
		return hth_gguf_writer_commit(w, err);
	hth_gguf_writer_abort(w);
	return s;
}
