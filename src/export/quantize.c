/* The writer: metadata, the list of tensors, then row after row in the order of the file. Leaves out: what a mix is
 * (mix.c), where importance comes from (imatrix.c, calibrate.c), whether the result is any good (eval/survival.c). */
#include "export/quantize.h"

#include "base/checked.h"
#include "base/mem.h"
#include "export/fuse.h"
#include "kernels/pack.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PIECE_BYTES ((uint64_t)8 << 20) /* of output held at once */
#define TASK_WEIGHTS 16384
enum { FILE_TYPE_MXFP4 = 38 }; /* llama.h: experts in mxfp4 */

struct job {
	const struct hth_quantize_config *cfg;
	struct hth_quantize_result *result;
	struct hth_gguf_writer *w;
	enum hth_quant *type; /* (n_tensors) */
	float *scratch;       /* (threads, 2, widest row) */
	int64_t widest;
	uint8_t *piece;
	uint64_t piece_bytes, done, total;
	int file_type;
	size_t taken; /* parts of the adapter that found their tensor */
	struct hth_gguf untied;          /* the source with a head of its own, where it must have one */
	struct hth_gguf_tensor *tensors; /* of untied; owned */
	size_t embed;                    /* in it the last tensor is this one again; SIZE_MAX: not used */
};

/* One tensor on its way. */
struct passage {
	const struct hth_gguf_tensor *t;
	struct hth_module_part part[3]; /* the linears in it, in row order */
	int n_parts;
	bool fused;          /* an adapter changes it */
	const float *values; /* (rows, cols) in place of the file's, or NULL */
	const struct hth_model_part *source; /* where rows come from; NULL: they stand in t */
	float more;                          /* that values of a norm lack */
	const float *importance;     /* (matrices, cols), or NULL */
	int64_t matrices;            /* that importance speaks of: 1, or one an expert */
	const struct hth_quant_format *in, *out;
	hth_pack_fn *pack; /* out's fastest */
	int64_t rows, cols, per_task;
	uint64_t in_row, out_row; /* bytes a row */
	int64_t first, n;         /* rows of this piece */
	struct job *job;
	atomic_bool bad; /* a value is not finite */
};

/* Eight sums side by side: a value that is NaN or infinite makes its sum NaN. */
static bool all_finite(const float *row, int64_t n)
{
	float sum[8] = {0}, rest = 0;
	int64_t whole = n - n % 8;

	for (int64_t i = 0; i < whole; i += 8)
		for (int l = 0; l < 8; l++)
			sum[l] += row[i + l] * 0.0f;
	for (int64_t i = whole; i < n; i++)
		rest += row[i] * 0.0f;
	for (int l = 0; l < 8; l++)
		rest += sum[l];
	return rest == 0;
}

/* The adapter of the row that stands at `at` of the file, or NULL; *n: the row of its linear, *e: of which expert. */
static const struct hth_lora *lora_at(const struct passage *p, int64_t at, int64_t *e, int64_t *n)
{
	const struct hth_quantize_config *cfg = p->job->cfg;
	const struct hth_module_part *part = p->part;

	if (p->n_parts == 0)
		return NULL;
	*e = at / p->t->ne[1];
	at %= p->t->ne[1];
	while (at >= part->first + part->rows)
		part++;
	*n = hth_weight_logical_row(hth_linear_weight(cfg->model, part->layer, part->kind), at - part->first);
	return cfg->loras[part->layer * HTH_LINEAR_COUNT + part->kind];
}

/* Row `at` of a model from a folder, whose order is another there; false: `out` has it already, since nothing changes. */
static bool source_row(const struct passage *p, int64_t at, float *row, uint8_t *out)
{
	struct hth_lora *const *loras = p->n_parts > 0 ? p->job->cfg->loras : NULL;
	int64_t n;
	struct hth_part_piece piece = hth_part_row(p->source, at, &n);
	const struct hth_lora *lora = loras != NULL && piece.linear >= 0 ? loras[piece.linear] : NULL;
	const uint8_t *data = hth_weight_row(piece.w, n);

	bool moved = hth_heads_move(&p->source->col_heads);
	float *from = moved ? row + p->job->widest : row; /* (cols) in memory's order */

	if (lora == NULL && !moved && hth_quant_format(piece.w->quant) == p->out) {
		memcpy(out, data, p->out_row);
		return false;
	}
	hth_quant_format(piece.w->quant)->unpack(data, from, p->cols);
	if (lora != NULL)
		hth_fuse_row(lora, piece.expert, n, from);
	for (int64_t i = 0; moved && i < p->cols; i++)
		row[i] = from[hth_part_place(p->source, &p->source->col_heads, i)];
	return true;
}

static void replaced_row(const struct passage *p, int64_t at, float *row)
{
	for (int64_t i = 0; i < p->cols; i++)
		row[i] = p->values[at * p->cols + i] + p->more;
}

static bool file_row(const struct passage *p, int64_t at, float *row)
{
	int64_t n = 0, e = 0;
	const struct hth_lora *lora = lora_at(p, at, &e, &n);

	p->in->unpack(p->t->data + (uint64_t)at * p->in_row, row, p->cols);
	if (lora != NULL)
		hth_fuse_row(lora, e, n, row);
	return true;
}

static void pack_rows(void *ctx, int64_t task, int thread)
{
	struct passage *p = ctx;
	float *row = p->job->scratch + (int64_t)thread * 2 * p->job->widest; /* (cols), and as much room */
	int64_t end = (task + 1) * p->per_task < p->n ? (task + 1) * p->per_task : p->n;

	for (int64_t i = task * p->per_task; i < end; i++) {
		int64_t at = p->first + i;
		const float *importance = p->importance;
		if (importance != NULL)
			importance += at / p->t->ne[1] % p->matrices * p->cols;
		uint8_t *out = p->job->piece + (uint64_t)i * p->out_row;
		bool pack = true;
		if (p->values != NULL)
			replaced_row(p, at, row);
		else
			pack = p->source != NULL ? source_row(p, at, row, out) : file_row(p, at, row);
		if (!pack)
			continue;
		if (!all_finite(row, p->cols))
			atomic_store(&p->bad, true);
		p->pack(row, out, p->cols, importance);
	}
}

static enum hth_status advance(struct job *job, struct passage *p, const uint8_t *data, struct hth_err *err)
{
	uint64_t bytes = (uint64_t)p->n * p->out_row;
	enum hth_status s = hth_gguf_write_data(job->w, data, (size_t)bytes, err);

	job->done += (uint64_t)p->n * p->in_row;
	job->result->tensor_bytes += bytes;
	if (s == HTH_OK && job->cfg->progress != NULL)
		job->cfg->progress(job->cfg->ctx, job->done, job->total);
	return s;
}

static enum hth_status write_rows(struct job *job, struct passage *p, struct hth_err *err)
{
	bool copy = p->in == p->out && !p->fused && p->source == NULL;
	int64_t step = (int64_t)(job->piece_bytes / p->out_row);
	enum hth_status s = HTH_OK;

	p->per_task = TASK_WEIGHTS / p->cols > 0 ? TASK_WEIGHTS / p->cols : 1;
	for (p->first = 0; p->first < p->rows && s == HTH_OK; p->first += p->n) {
		p->n = step < p->rows - p->first ? step : p->rows - p->first;
		if (!copy)
			hth_pool_run(job->cfg->pool, pack_rows, p, (p->n + p->per_task - 1) / p->per_task);
		if (atomic_load(&p->bad))
			return hth_fail(err, HTH_ERR_VALUE,
					"%s: \"%.*s\": a weight is not finite%s; the file%s is damaged",
					job->cfg->from->map.path, (int)p->t->name.bytes, p->t->name.data,
					p->fused ? " with the adapter added" : "", p->fused ? " or the adapter" : "");
		s = advance(job, p, copy ? p->t->data + (uint64_t)p->first * p->in_row : job->piece, err);
	}
	return s;
}

/* Finds the importance of a tensor. An embedding that does not fit is passed by: files made from another vocabulary
 * size are about the other tensors all the same. */
static enum hth_status find_importance(struct job *job, struct passage *p, struct hth_err *err)
{
	const struct hth_imatrix *im = job->cfg->importance;

	if (im == NULL || p->out->block_elems == 1 || p->in == p->out)
		return HTH_OK;
	const struct hth_imatrix_entry *e = hth_imatrix_find(im, p->t->name);
	/* Old files do not say how many experts their values are for. */
	int64_t n = e != NULL ? e->cols * e->matrices / p->cols : 0;
	bool fits = e != NULL && e->cols * e->matrices == n * p->cols && (n == 1 || n == p->t->ne[2]);
	if (e != NULL && !fits && !hth_gguf_str_equal(p->t->name, "token_embd.weight"))
		return hth_fail(err, HTH_ERR_SHAPE,
				"%s%simportance of \"%.*s\": %lld matrices of %lld columns, expected %lld of %lld; was "
				"it made for another model?",
				im->path != NULL ? im->path : "", im->path != NULL ? ": " : "", (int)p->t->name.bytes,
				p->t->name.data, (long long)e->matrices, (long long)e->cols,
				(long long)p->t->ne[2], (long long)p->cols);
	if (fits) {
		p->importance = e->mean;
		p->matrices = n;
	}
	job->result->unweighted += !fits;
	return HTH_OK;
}

/* What the adapter does to a tensor. */
static void find_adapter(const struct hth_quantize_config *cfg, struct passage *p)
{
	char name[80];
	size_t before = p->job->taken;

	p->n_parts = cfg->loras != NULL ? hth_gguf_parts(cfg->model, p->t->name, p->part) : 0;
	for (int i = 0; i < p->n_parts; i++)
		p->job->taken += cfg->loras[p->part[i].layer * HTH_LINEAR_COUNT + p->part[i].kind] != NULL;
	p->fused = p->job->taken > before;
	if (!p->fused)
		p->n_parts = 0;
	for (size_t i = 0; cfg->replaced != NULL && i < cfg->replaced->n; i++) {
		const struct hth_replacement *r = &cfg->replaced->list[i];
		hth_replaceable_gguf_name(cfg->model, r->of, name);
		if (hth_gguf_str_equal(p->t->name, name)) {
			p->values = (const float *)(const void *)r->with.data;
			p->fused = true;
			p->job->taken++;
		}
	}
}

static enum hth_status write_tensor(struct job *job, size_t i, struct hth_err *err)
{
	const struct hth_quantize_config *cfg = job->cfg;
	const struct hth_gguf_tensor *t = &cfg->from->tensors[i];
	struct passage p = {.t = t,
			    .job = job,
			    .in = hth_quant_format(t->quant),
			    .out = hth_quant_format(job->type[i]),
			    .pack = hth_pack_pick(job->type[i]),
			    .cols = t->ne[0],
			    .rows = t->ne[1] * t->ne[2] * t->ne[3]};

	size_t at = job->embed != SIZE_MAX && i + 1 == cfg->from->n_tensors ? job->embed : i;

	if (at < cfg->n_parts && cfg->parts[at].kind == HTH_PART_MATRIX)
		p.source = &cfg->parts[at];
	if (at < cfg->n_parts && cfg->parts[at].kind == HTH_PART_NORM)
		p.more = cfg->model != NULL ? cfg->model->config.norm_offset : 0;
	find_adapter(cfg, &p);
	job->result->fused += p.fused;
	job->result->of_type[job->type[i]]++;
	if (p.rows * p.cols == 0)
		return HTH_OK;
	enum hth_status s = hth_quant_row_bytes(t->quant, (uint64_t)p.cols, &p.in_row, err);
	if (s == HTH_OK)
		s = hth_quant_row_bytes(job->type[i], (uint64_t)p.cols, &p.out_row, err);
	if (s == HTH_OK)
		s = find_importance(job, &p, err);
	if (s != HTH_OK)
		return s;
	job->result->weights += (uint64_t)(p.rows * p.cols);
	job->result->requantised +=
		p.in->block_elems > 1 && p.out->block_elems > 1 && (p.in != p.out || p.fused);
	if (p.source != NULL && (s = hth_part_hold(cfg->parts_of, p.source, err)) != HTH_OK)
		return s;
	s = write_rows(job, &p, err);
	if (p.source != NULL)
		hth_part_release(cfg->parts_of, p.source);
	return s;
}

/* Keys that the writer knows better, and those of a part of a split file. */
static bool is_ours(struct hth_gguf_str key)
{
	static const char *const ours[] = {"general.file_type", "general.quantization_version", "general.alignment"};

	for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
		if (hth_gguf_str_equal(key, ours[i]))
			return true;
	return (key.bytes >= 6 && memcmp(key.data, "split.", 6) == 0) ||
	       (key.bytes >= 17 && memcmp(key.data, "quantize.imatrix.", 17) == 0);
}

static enum hth_status put_importance(struct job *job, struct hth_err *err)
{
	const struct hth_imatrix *im = job->cfg->importance;
	enum hth_status s;

	if (im == NULL)
		return HTH_OK;
	s = hth_gguf_put_int(job->w, "quantize.imatrix.entries_count", HTH_GGUF_U32, (int64_t)im->n, err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(job->w, "quantize.imatrix.chunks_count", HTH_GGUF_U32, im->chunks, err);
	if (s == HTH_OK && im->dataset != NULL)
		s = hth_gguf_put_string(job->w, "quantize.imatrix.dataset", im->dataset, strlen(im->dataset), err);
	return s;
}

/* Does the adapter change this tensor? */
static bool is_adapted(const struct hth_quantize_config *cfg, struct hth_gguf_str name)
{
	struct hth_module_part part[3];
	int n = cfg->loras != NULL ? hth_gguf_parts(cfg->model, name, part) : 0;

	for (int i = 0; i < n; i++)
		if (cfg->loras[part[i].layer * HTH_LINEAR_COUNT + part[i].kind] != NULL)
			return true;
	return false;
}

/* A mixture's experts that the model was published with would lose twice in another type of blocks, and grow in none: those
 * that stay as they are. */
static void keep_mxfp4(struct job *job)
{
	const struct hth_gguf *g = job->cfg->from;

	for (size_t i = 0; job->cfg->keep_mxfp4 && i < g->n_tensors; i++) {
		if (g->tensors[i].quant != HTH_QUANT_MXFP4 || g->tensors[i].n_dims != 3 ||
		    is_adapted(job->cfg, g->tensors[i].name))
			continue;
		job->type[i] = HTH_QUANT_MXFP4;
		job->file_type = FILE_TYPE_MXFP4;
	}
}

static enum hth_status put_metadata(struct job *job, struct hth_err *err)
{
	const struct hth_gguf *g = job->cfg->from;
	enum hth_status s = HTH_OK;

	for (size_t i = 0; i < g->n_kv && s == HTH_OK; i++)
		if (!is_ours(g->kv[i].key))
			s = hth_gguf_put_kv(job->w, &g->kv[i], err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(job->w, "general.file_type", HTH_GGUF_U32, job->file_type, err);
	if (s == HTH_OK)
		s = hth_gguf_put_int(job->w, "general.quantization_version", HTH_GGUF_U32, 2, err);
	return s == HTH_OK ? put_importance(job, err) : s;
}

/* Announces every tensor and learns the widest row and the sizes. */
static enum hth_status announce(struct job *job, uint64_t *out_bytes, struct hth_err *err)
{
	const struct hth_gguf *g = job->cfg->from;
	enum hth_status s = HTH_OK;

	*out_bytes = 0;
	for (size_t i = 0; i < g->n_tensors && s == HTH_OK; i++) {
		const struct hth_gguf_tensor *t = &g->tensors[i];
		char name[128];
		uint64_t row = 0, bytes = 0;
		if (t->name.bytes >= sizeof name)
			return hth_fail(err, HTH_ERR_FORMAT,
					"%s: a tensor's name has %zu bytes, expected fewer than %zu", g->map.path,
					t->name.bytes, sizeof name);
		memcpy(name, t->name.data, t->name.bytes);
		name[t->name.bytes] = '\0';
		s = hth_quant_row_bytes(job->type[i], (uint64_t)t->ne[0], &row, err);
		if (s == HTH_OK && (!hth_mul_u64(row, (uint64_t)(t->ne[1] * t->ne[2] * t->ne[3]), &bytes) ||
				    !hth_add_u64(*out_bytes, bytes, out_bytes)))
			s = hth_fail(err, HTH_ERR_LIMIT, "%s: \"%s\" would not fit 64 bits", g->map.path, name);
		if (s == HTH_OK)
			s = hth_gguf_add_tensor(job->w, name, t->n_dims, t->ne, job->type[i], err);
		job->widest = t->ne[0] > job->widest ? t->ne[0] : job->widest;
		job->piece_bytes = row > job->piece_bytes ? row : job->piece_bytes;
		job->total += t->bytes;
	}
	return s;
}

static enum hth_status need_disk(const char *path, uint64_t bytes, struct hth_err *err)
{
	uint64_t room = 0;
	enum hth_status s = hth_disk_free(path, &room, err);

	if (s == HTH_OK && room < bytes)
		s = hth_fail(err, HTH_ERR_IO, "%s: needs %.1f GB of disk, %.1f GB are free", path, (double)bytes / 1e9,
			     (double)room / 1e9);
	return s;
}

static enum hth_status make_room(struct job *job, struct hth_err *err)
{
	size_t threads = job->cfg->pool != NULL ? (size_t)hth_pool_threads(job->cfg->pool) : 1, floats;

	if (!hth_mul_size(threads * 2, (size_t)job->widest, &floats))
		return hth_fail(err, HTH_ERR_LIMIT, "rows of %lld weights are too long", (long long)job->widest);
	job->piece = hth_alloc((size_t)job->piece_bytes);
	job->scratch = hth_calloc(floats, sizeof *job->scratch);
	return job->piece != NULL && job->scratch != NULL ? HTH_OK
							  : hth_fail_memory(err, "rows of a model", floats * 4);
}

/* An adapter module that no tensor took would be lost without a word. */
static enum hth_status all_fused(const struct job *job, struct hth_err *err)
{
	size_t n = 0, all = job->cfg->loras != NULL ? (size_t)job->cfg->model->config.n_layers * HTH_LINEAR_COUNT : 0;

	for (size_t i = 0; i < all; i++)
		n += job->cfg->loras[i] != NULL;
	n += job->cfg->replaced != NULL ? job->cfg->replaced->n : 0;
	if (n == job->taken)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_SHAPE, "%s: %zu of the adapter's %zu modules found their tensor",
			job->cfg->from->map.path, job->taken, n);
}

/* In a file without a head of its own an adapter that replaces the embedding would replace the head too, and its own
 * head has no place: the file is then read as if the embedding stood in it a second time, as the head. */
static enum hth_status untie(struct job *job, struct hth_quantize_config *cfg, struct hth_err *err)
{
	const struct hth_gguf *g = cfg->from;
	bool apart = false;

	for (size_t i = 0; cfg->replaced != NULL && cfg->model->config.tied && i < cfg->replaced->n; i++)
		apart = apart || cfg->replaced->list[i].head || cfg->replaced->list[i].of == &cfg->model->embed;
	job->embed = SIZE_MAX;
	for (size_t i = 0; apart && i < g->n_tensors; i++)
		if (hth_gguf_str_equal(g->tensors[i].name, "token_embd.weight"))
			job->embed = i;
	if (job->embed == SIZE_MAX)
		return HTH_OK;
	job->tensors = hth_calloc(g->n_tensors + 1, sizeof *job->tensors);
	if (job->tensors == NULL)
		return hth_fail_memory(err, "a list of tensors", g->n_tensors * sizeof *job->tensors);
	memcpy(job->tensors, g->tensors, g->n_tensors * sizeof *job->tensors);
	job->tensors[g->n_tensors] = g->tensors[job->embed];
	job->tensors[g->n_tensors].name = (struct hth_gguf_str){"output.weight", strlen("output.weight")};
	job->untied = *g;
	job->untied.tensors = job->tensors;
	job->untied.n_tensors++;
	job->result->untied = true;
	cfg->from = &job->untied;
	return HTH_OK;
}

enum hth_status hth_quantize(const struct hth_quantize_config *given, struct hth_quantize_result *out,
			     struct hth_err *err)
{
	struct hth_quantize_config own = *given;
	const struct hth_quantize_config *cfg = &own;
	struct job job = {.cfg = cfg, .result = out, .piece_bytes = PIECE_BYTES, .widest = 1};
	uint64_t out_bytes = 0;

	*out = (struct hth_quantize_result){0};
	enum hth_status s = untie(&job, &own, err);
	if (s != HTH_OK)
		return s;
	s = hth_gguf_writer_new(cfg->out_path, &job.w, err);
	if (s != HTH_OK)
		goto done;
	job.type = hth_calloc(cfg->from->n_tensors + 1, sizeof *job.type);
	if (job.type == NULL) {
		s = hth_fail_memory(err, "a list of tensors", cfg->from->n_tensors * sizeof *job.type);
		goto done;
	}
	job.file_type = cfg->mix->file_type;
	if ((s = hth_mix_choose(cfg->mix, cfg->from, cfg->importance != NULL, job.type, &out->mix, err)) != HTH_OK)
		goto done;
	keep_mxfp4(&job);
	if ((s = put_metadata(&job, err)) != HTH_OK || (s = announce(&job, &out_bytes, err)) != HTH_OK ||
	    (s = need_disk(cfg->out_path, out_bytes, err)) != HTH_OK || (s = make_room(&job, err)) != HTH_OK)
		goto done;
	for (size_t i = 0; i < cfg->from->n_tensors && s == HTH_OK; i++)
		s = write_tensor(&job, i, err);
	if (s == HTH_OK)
		s = all_fused(&job, err);
	if (s == HTH_OK) {
		s = hth_gguf_writer_commit(job.w, err);
		job.w = NULL;
	}
done:
	hth_gguf_writer_abort(job.w);
	hth_free(job.type);
	hth_free(job.piece);
	hth_free(job.scratch);
	hth_free(job.tensors);
	return s;
}
