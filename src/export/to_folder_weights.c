/* model.safetensors of a folder, or shards of it with an index: every part as rows of f32, 16 bits, MLX's words with scales
 * and biases, or the nibbles and exponents of mxfp4, a few megabytes at a time (turned experts: one of them). The thread
 * count changes no byte. Scales and biases of one matrix are held until its words are written: 1/32 of its weights or
 * less. */
#include "export/to_folder_int.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/mem.h"
#include "export/fuse.h"
#include "formats/safetensors.h"
#include "kernels/pack.h"
#include "quant/affine.h"
#include "quant/mxfp4.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PIECE_BYTES ((uint64_t)8 << 20) /* of output held at once */
#define TASK_WEIGHTS 16384
#define SHARD_BYTES ((uint64_t)5000000000)
enum { MAX_GROUP = 128 };

struct job {
	const struct hth_to_folder_config *cfg;
	struct hth_to_folder_result *result;
	struct hth_model_part *parts; /* (n_parts) owned */
	size_t n_parts;
	struct hth_st_tensor *tensors; /* (n_tensors) owned; in the order of data */
	char (*names)[112];            /* (n_tensors) owned */
	size_t n_tensors;
	struct hth_st_writer w;
	const struct hth_quant_format *type;
	hth_pack_fn *pack;
	float *scratch; /* (threads, 2, widest) */
	int64_t widest;
	uint8_t *piece, *scales, *biases; /* scales, biases: of one matrix; scales are mxfp4's exponents too */
	uint64_t done, total;
};

/* One part on its way. */
struct passage {
	struct job *job;
	const struct hth_model_part *p;
	bool quantised, kept, turned;
	const float *values; /* (rows, cols) in place of the model's, or NULL */
	int64_t per_task, first, n; /* rows */
	uint64_t row_bytes;         /* of what goes into piece */
	atomic_bool bad;
};

static enum hth_st_dtype st_dtype(enum hth_quant q)
{
	return q == HTH_QUANT_F32 ? HTH_ST_F32 : q == HTH_QUANT_BF16 ? HTH_ST_BF16 : HTH_ST_F16;
}

bool hth_folder_keeps_mxfp4(const struct hth_to_folder_config *cfg)
{
	const struct hth_model *m = cfg->model;
	bool mlx = hth_folder_layout(cfg) == HTH_LAYOUT_MLX, any = false;

	if (!cfg->keep_mxfp4 || (!mlx && !m->family->interleaved) || (cfg->bits != 0 && cfg->bits < 4))
		return false;
	for (int64_t l = 0; l < m->config.n_layers; l++)
		for (int part = 0; part < HTH_EXPERT_PARTS; part++) {
			const struct hth_expert_set *set = &m->layers[l].experts[part];
			bool adapted = cfg->loras != NULL &&
				       cfg->loras[l * HTH_LINEAR_COUNT + HTH_EXPERTS_GATE + part] != NULL;
			if (set->n > 0 && (set->w[0].quant != HTH_QUANT_MXFP4 || adapted))
				return false;
			any = any || set->n > 0;
		}
	return any;
}

/* ---- the list of tensors ---- */

/* A tensor of a part: (cols), (rows,cols), (n_stack,rows,cols), or (n_stack,cols,rows); biases of a stack (n_stack,cols). */
static enum hth_status add(struct job *j, const struct hth_model_part *p, const char *name, enum hth_st_dtype dtype,
			   int64_t cols, struct hth_err *err)
{
	struct hth_st_tensor *t = &j->tensors[j->n_tensors];
	bool matrix = p->kind == HTH_PART_MATRIX || p->kind == HTH_PART_ROW;
	uint64_t elems;

	snprintf(j->names[j->n_tensors], sizeof(j->names[0]), "%s", name);
	*t = (struct hth_st_tensor){.name = j->names[j->n_tensors], .dtype = dtype};
	if (p->stack != NULL)
		t->dim[t->n_dims++] = p->n_stack;
	if (matrix)
		t->dim[t->n_dims++] = p->turned ? cols : p->rows;
	t->dim[t->n_dims++] = p->turned ? p->rows : cols;
	j->n_tensors++;
	if (!hth_mul_u64((uint64_t)hth_part_rows(p), (uint64_t)cols, &elems) ||
	    !hth_mul_u64(elems, hth_st_dtype_bytes(dtype), &t->bytes))
		return hth_fail(err, HTH_ERR_LIMIT, "\"%s\": its size does not fit 64 bits", name);
	return HTH_OK;
}

/* (N,1,W) */
static enum hth_status add_conv(struct job *j, const struct hth_model_part *p, enum hth_st_dtype dtype,
				struct hth_err *err)
{
	enum hth_status st = add(j, p, p->name, dtype, p->cols, err);
	struct hth_st_tensor *t = &j->tensors[j->n_tensors - 1];

	t->n_dims = 3;
	t->dim[0] = p->cols / p->taps;
	t->dim[1] = j->cfg->mlx ? p->taps : 1;
	t->dim[2] = j->cfg->mlx ? 1 : p->taps;
	return st;
}

/* Nibbles and exponents: as gpt-oss was published, NAME_blocks (E,N,C/32,16) and NAME_scales; MLX: words (E,N,C/8). */
static enum hth_status add_mxfp4(struct job *j, const struct hth_model_part *p, struct hth_err *err)
{
	bool mlx = hth_folder_layout(j->cfg) == HTH_LAYOUT_MLX;
	struct hth_model_part rows = *p;
	int stem = (int)strlen(p->name) - (mlx ? (int)strlen(".weight") : 0);
	char name[112];

	rows.turned = false;
	snprintf(name, sizeof(name), "%.*s%s", stem, p->name, mlx ? ".weight" : "_blocks");
	enum hth_status st = add(j, &rows, name, mlx ? HTH_ST_U32 : HTH_ST_U8, mlx ? p->cols / 8 : p->cols / 2, err);
	struct hth_st_tensor *t = &j->tensors[j->n_tensors - 1];
	if (!mlx) {
		t->dim[2] = p->cols / HTH_MXFP4_ELEMS;
		t->dim[t->n_dims++] = HTH_MXFP4_NIBBLES;
	}
	snprintf(name, sizeof(name), "%.*s%s", stem, p->name, mlx ? ".scales" : "_scales");
	return st == HTH_OK ? add(j, &rows, name, HTH_ST_U8, p->cols / HTH_MXFP4_ELEMS, err) : st;
}

/* How many tensors a part becomes. */
static size_t tensors_of(const struct job *j, const struct hth_model_part *p)
{
	return hth_folder_keeps(j->cfg, p) ? 2 : hth_folder_quantises(j->cfg, p) ? 3 : 1;
}

static enum hth_status add_part(struct job *j, const struct hth_model_part *p, struct hth_err *err)
{
	enum hth_st_dtype dtype = st_dtype(j->cfg->type);
	char name[112];
	enum hth_status st;
	int stem = (int)(strlen(p->name) - strlen(".weight"));

	if (p->kind == HTH_PART_CONV)
		return add_conv(j, p, dtype, err);
	if (hth_folder_keeps(j->cfg, p))
		return add_mxfp4(j, p, err);
	if (!hth_folder_quantises(j->cfg, p))
		return add(j, p, p->name, dtype, p->cols, err);
	if ((st = add(j, p, p->name, HTH_ST_U32, p->cols / 32 * j->cfg->bits, err)) != HTH_OK)
		return st;
	snprintf(name, sizeof(name), "%.*s.scales", stem, p->name);
	if ((st = add(j, p, name, dtype, p->cols / j->cfg->group, err)) != HTH_OK)
		return st;
	snprintf(name, sizeof(name), "%.*s.biases", stem, p->name);
	return add(j, p, name, dtype, p->cols / j->cfg->group, err);
}

/* The embedding a second time, as the head. */
static enum hth_status untie(struct job *j, struct hth_err *err)
{
	const struct hth_weight *head = &j->cfg->model->head;

	if (!hth_folder_unties(j->cfg))
		return HTH_OK;
	void *grown = hth_realloc(j->parts, j->n_parts + 1, sizeof(*j->parts));
	if (grown == NULL)
		return hth_fail_memory(err, "a list of tensors", j->n_parts * sizeof(*j->parts));
	j->parts = grown;
	j->parts[j->n_parts] = (struct hth_model_part){
		.name = "lm_head.weight", .piece = {{head, -1, 0}}, .n_pieces = 1, .rows = head->rows, .cols = head->cols};
	j->n_parts++;
	return HTH_OK;
}

static enum hth_status list_tensors(struct job *j, struct hth_err *err)
{
	enum hth_status st = hth_model_parts(j->cfg->model, hth_folder_layout(j->cfg), &j->parts, &j->n_parts, err);

	if (st != HTH_OK)
		return st;
	if ((st = untie(j, err)) != HTH_OK)
		return st;
	j->tensors = hth_calloc(j->n_parts * 3, sizeof(*j->tensors));
	j->names = hth_calloc(j->n_parts * 3, sizeof(*j->names));
	if (j->tensors == NULL || j->names == NULL)
		return hth_fail_memory(err, "a list of tensors", j->n_parts * 3 * sizeof(*j->tensors));
	for (size_t i = 0; st == HTH_OK && i < j->n_parts; i++) {
		const struct hth_model_part *p = &j->parts[i];
		st = add_part(j, p, err);
		j->widest = p->cols > j->widest ? p->cols : j->widest;
		j->total += (uint64_t)(hth_part_rows(p) * p->cols);
	}
	return st;
}

/* ---- rows ---- */

/* Biases of expert `e`, gate's and up's. */
static void read_biases(const struct hth_model_part *p, int64_t e, float *row)
{
	const float *gate = (const float *)(const void *)p->stack[e].data; /* (cols / 2) */
	const float *up = (const float *)(const void *)p->up[e].data;      /* (cols / 2) */
	int64_t half = p->cols / 2;

	for (int64_t i = 0; i < half; i++) {
		row[p->in_turn ? 2 * i : i] = gate[i];
		row[p->in_turn ? 2 * i + 1 : half + i] = up[i];
	}
}

/* Row `at` as f32, the adapter added; norms as folders hold them. */
static void read_row(struct passage *x, int64_t at, float *row)
{
	const struct hth_to_folder_config *cfg = x->job->cfg;
	int64_t n, cols = x->p->cols;
	struct hth_part_piece piece = hth_part_row(x->p, at, &n);
	const struct hth_weight *w = piece.w;
	/* MLX's folders of models with layers that recur hold their norms with the 1 that they multiply by. */
	float whole = cfg->mlx && cfg->model->config.delta.n_key > 0 ? 1 : 0;
	float more = x->p->kind == HTH_PART_NORM ? whole - cfg->model->config.norm_stored : 0;
	float sum = 0;

	if (x->values != NULL)
		memcpy(row, x->values + at * cols, (size_t)cols * sizeof(*row));
	else if (x->p->up != NULL && x->p->rows == 1)
		read_biases(x->p, at, row);
	else
		hth_quant_format(w->quant)->unpack(hth_weight_row(w, n), row, cols);
	if (cfg->loras != NULL && piece.linear >= 0 && cfg->loras[piece.linear] != NULL)
		hth_fuse_row(cfg->loras[piece.linear], piece.expert, n, row);
	const struct hth_heads *heads = x->p->rows == 1 ? &x->p->heads : &x->p->col_heads;
	if (hth_heads_move(heads)) {
		float *old = row + x->job->widest; /* (cols) */
		memcpy(old, row, (size_t)cols * sizeof(*row));
		for (int64_t i = 0; i < cols; i++)
			row[i] = old[hth_part_place(x->p, heads, i)];
	}
	for (int64_t i = 0; i < cols; i++) {
		row[i] += more;
		sum += row[i] * 0.0f;
	}
	if (sum != 0)
		atomic_store(&x->bad, true);
}

/* Levels as a stream of bits without gaps, lowest first. */
static void put_levels(const uint8_t *level, int n, int bits, uint8_t *out)
{
	uint32_t held = 0;
	int have = 0;

	for (int i = 0; i < n; i++) {
		held |= (uint32_t)level[i] << have;
		for (have += bits; have >= 8; have -= 8, held >>= 8)
			*out++ = (uint8_t)held;
	}
}

static void pack_affine(struct passage *x, int64_t at, const float *row, uint8_t *out)
{
	const struct hth_to_folder_config *cfg = x->job->cfg;
	const struct hth_quant_format *f = x->job->type;
	int64_t groups = x->p->cols / cfg->group;
	uint8_t level[MAX_GROUP];

	for (int64_t g = 0; g < groups; g++) {
		float scale, bias;
		uint64_t place = (uint64_t)(at * groups + g) * f->block_bytes;
		hth_affine_fit(row + g * cfg->group, cfg->group, cfg->bits, cfg->type, NULL, level, &scale, &bias);
		put_levels(level, cfg->group, cfg->bits, out + g * cfg->group * cfg->bits / 8);
		f->pack(&scale, x->job->scales + place, 1, NULL);
		f->pack(&bias, x->job->biases + place, 1, NULL);
	}
}

/* A row's blocks taken apart as they are. */
static void split_row(struct passage *x, int64_t at, uint8_t *out)
{
	int64_t n, blocks = x->p->cols / HTH_MXFP4_ELEMS;
	struct hth_part_piece piece = hth_part_row(x->p, at, &n);
	const uint8_t *row = hth_weight_row(piece.w, n);

	for (int64_t b = 0; b < blocks; b++)
		hth_mxfp4_split(row + b * HTH_MXFP4_BLOCK, out + b * HTH_MXFP4_NIBBLES,
				&x->job->scales[at * blocks + b]);
}

/* Row i of an expert as column i of what is written. */
static void put_column(struct passage *x, int64_t i, const float *row, uint8_t *packed)
{
	size_t bytes = x->job->type->block_bytes;
	int64_t rows = x->p->rows;

	x->job->pack(row, packed, x->p->cols, NULL);
	for (int64_t c = 0; c < x->p->cols; c++)
		memcpy(x->job->piece + (size_t)(c * rows + i) * bytes, packed + (size_t)c * bytes, bytes);
}

static void pack_rows(void *ctx, int64_t task, int thread)
{
	struct passage *x = ctx;
	float *row = x->job->scratch + (int64_t)thread * 2 * x->job->widest; /* (cols), and as much room */
	int64_t end = (task + 1) * x->per_task < x->n ? (task + 1) * x->per_task : x->n;

	for (int64_t i = task * x->per_task; i < end; i++) {
		uint8_t *out = x->job->piece + (uint64_t)i * x->row_bytes;
		if (x->kept) {
			split_row(x, x->first + i, out);
			continue;
		}
		read_row(x, x->first + i, row);
		if (x->turned)
			put_column(x, i, row, (uint8_t *)(row + x->job->widest));
		else if (x->quantised)
			pack_affine(x, x->first + i, row, out);
		else
			x->job->pack(row, out, x->p->cols, NULL);
	}
}

static enum hth_status write_rows(struct job *j, struct passage *x, struct hth_err *err)
{
	const struct hth_model_part *p = x->p;
	int64_t step = (int64_t)(PIECE_BYTES / x->row_bytes) > 0 ? (int64_t)(PIECE_BYTES / x->row_bytes) : 1;
	int64_t rows = hth_part_rows(p);
	enum hth_status st = HTH_OK;

	step = x->turned ? p->rows : step;
	x->per_task = TASK_WEIGHTS / p->cols > 0 ? TASK_WEIGHTS / p->cols : 1;
	for (x->first = 0; x->first < rows && st == HTH_OK; x->first += x->n) {
		x->n = step < rows - x->first ? step : rows - x->first;
		hth_pool_run(j->cfg->pool, pack_rows, x, (x->n + x->per_task - 1) / x->per_task);
		if (atomic_load(&x->bad))
			return hth_fail(err, HTH_ERR_VALUE, "%s: \"%s\": a weight is not finite; the file%s is damaged",
					j->cfg->model->path, p->name, j->cfg->loras != NULL ? " or the adapter" : "");
		st = hth_st_writer_write(&j->w, j->piece, (size_t)((uint64_t)x->n * x->row_bytes), err);
		j->done += (uint64_t)(x->n * p->cols);
		if (j->cfg->progress != NULL)
			j->cfg->progress(j->cfg->ctx, j->done, j->total);
	}
	return st;
}

/* What an adapter does to a part: adds to its linears, or replaces it. */
static void find_adapter(struct job *j, struct passage *x)
{
	const struct hth_to_folder_config *cfg = j->cfg;
	const struct hth_model_part *p = x->p;

	for (int k = 0; cfg->loras != NULL && k < p->n_pieces; k++)
		for (int up = 0; p->piece[k].linear >= 0 && p->piece[k].expert == 0 && up < (p->up != NULL ? 2 : 1); up++)
			j->result->fused += cfg->loras[p->piece[k].linear + up] != NULL;
	for (size_t i = 0; cfg->replaced != NULL && i < cfg->replaced->n; i++) {
		const struct hth_replacement *r = &cfg->replaced->list[i];
		if (p->piece[0].w != (r->head ? &cfg->model->head : r->of))
			continue;
		x->values = (const float *)(const void *)r->with.data;
		j->result->fused++;
	}
}

static enum hth_status write_part(struct job *j, const struct hth_model_part *p, struct hth_err *err)
{
	struct passage x = {
		.job = j, .p = p, .quantised = hth_folder_quantises(j->cfg, p), .kept = hth_folder_keeps(j->cfg, p)};
	uint64_t side = x.quantised ? (uint64_t)(hth_part_rows(p) * (p->cols / j->cfg->group)) * j->type->block_bytes
			: x.kept    ? (uint64_t)(hth_part_rows(p) * (p->cols / HTH_MXFP4_ELEMS))
				    : 0;
	enum hth_status st = HTH_OK;

	find_adapter(j, &x);
	j->result->weights += (uint64_t)(hth_part_rows(p) * p->cols);
	j->result->quantised += x.quantised;
	j->result->kept += x.kept;
	j->result->plain += !x.quantised && !x.kept && p->kind == HTH_PART_MATRIX;
	x.turned = p->turned && !x.kept;
	x.row_bytes = x.kept        ? (uint64_t)(p->cols / 2)
		      : x.quantised ? (uint64_t)(p->cols / 8 * j->cfg->bits)
				    : (uint64_t)p->cols * j->type->block_bytes;
	if (side > 0) {
		j->scales = hth_alloc((size_t)side);
		j->biases = x.quantised ? hth_alloc((size_t)side) : NULL;
		if (j->scales == NULL || (x.quantised && j->biases == NULL))
			return hth_fail_memory(err, p->name, (size_t)side);
	}
	if ((st = hth_part_hold(j->cfg->model, p, err)) != HTH_OK)
		return st;
	st = write_rows(j, &x, err);
	hth_part_release(j->cfg->model, p);
	if (st == HTH_OK && side > 0)
		st = hth_st_writer_write(&j->w, j->scales, (size_t)side, err);
	if (st == HTH_OK && x.quantised)
		st = hth_st_writer_write(&j->w, j->biases, (size_t)side, err);
	hth_free(j->scales);
	hth_free(j->biases);
	j->scales = j->biases = NULL;
	return st;
}

/* ---- the file ---- */

static enum hth_status make_room(struct job *j, struct hth_err *err)
{
	size_t threads = j->cfg->pool != NULL ? (size_t)hth_pool_threads(j->cfg->pool) : 1, floats;
	uint64_t row = (uint64_t)j->widest * 4, bytes = row > PIECE_BYTES ? row : PIECE_BYTES;

	for (size_t i = 0; i < j->n_parts; i++) {
		uint64_t turned = (uint64_t)(j->parts[i].rows * j->parts[i].cols) * j->type->block_bytes;
		bytes = j->parts[i].turned && turned > bytes ? turned : bytes;
	}
	if (!hth_mul_size(threads * 2, (size_t)j->widest, &floats))
		return hth_fail(err, HTH_ERR_LIMIT, "rows of %lld weights are too long", (long long)j->widest);
	j->piece = hth_alloc((size_t)bytes);
	j->scratch = hth_calloc(floats, sizeof(*j->scratch));
	return j->piece != NULL && j->scratch != NULL ? HTH_OK : hth_fail_memory(err, "rows of a model", floats * 4);
}

static enum hth_status need_disk(const struct job *j, const char *dir, struct hth_err *err)
{
	uint64_t room = 0, bytes = 0;

	for (size_t i = 0; i < j->n_tensors; i++)
		bytes += j->tensors[i].bytes;
	enum hth_status st = hth_disk_free(dir, &room, err);
	if (st == HTH_OK && room < bytes)
		st = hth_fail(err, HTH_ERR_IO, "%s: needs %.1f GB of disk, %.1f GB are free", dir, (double)bytes / 1e9,
			      (double)room / 1e9);
	return st;
}

/* An adapter module that no tensor took would be lost without a word. */
static enum hth_status all_fused(const struct job *j, struct hth_err *err)
{
	size_t n = j->cfg->replaced != NULL ? j->cfg->replaced->n : 0;
	size_t all = (size_t)j->cfg->model->config.n_layers * HTH_LINEAR_COUNT;

	for (size_t i = 0; j->cfg->loras != NULL && i < all; i++)
		n += j->cfg->loras[i] != NULL;
	if (n == j->result->fused)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_SHAPE, "%s: %zu of the adapter's %zu parts found their tensor",
			j->cfg->model->path, j->result->fused, n);
}

/* ---- shards ---- */

/* Parts first .. last-1, tensors from .. to-1: one file. */
struct shard {
	size_t first, last, from, to;
};

/* The shard that begins where `s` ends: whole parts, as many as fit. */
static struct shard next_shard(const struct job *j, struct shard s)
{
	uint64_t most = j->cfg->shard_bytes > 0 ? j->cfg->shard_bytes : SHARD_BYTES, bytes = 0;
	struct shard n = {s.last, s.last, s.to, s.to};

	while (n.last < j->n_parts) {
		size_t tensors = tensors_of(j, &j->parts[n.last]);
		for (size_t i = 0; i < tensors; i++)
			bytes += j->tensors[n.to + i].bytes;
		if (bytes > most && n.last > n.first)
			break;
		n.last++;
		n.to += tensors;
	}
	return n;
}

static void shard_name(char name[48], size_t number, size_t n)
{
	if (n == 1)
		snprintf(name, 48, "model.safetensors");
	else
		snprintf(name, 48, "model-%05zu-of-%05zu.safetensors", number, n);
}

static enum hth_status write_shard(struct job *j, const struct shard *s, const char *dir, const char *name,
				   struct hth_err *err)
{
	const char *const meta[1][2] = {{"format", j->cfg->mlx ? "mlx" : "pt"}};
	char *path = hth_path_join(dir, name);
	enum hth_status st = path != NULL ? hth_st_writer_open(&j->w, path, j->tensors + s->from, s->to - s->from, meta,
							       1, err)
					  : hth_fail_memory(err, "a path", strlen(dir));

	for (size_t i = s->first; st == HTH_OK && i < s->last; i++)
		st = write_part(j, &j->parts[i], err);
	if (st == HTH_OK)
		st = hth_st_writer_commit(&j->w, err);
	hth_st_writer_abort(&j->w);
	hth_free(path);
	return st;
}

/* Which file each tensor is in, as transformers and mlx-lm write it. */
static enum hth_status write_index(const struct job *j, const char *dir, struct hth_err *err)
{
	json_t *doc = json_object(), *meta = json_object(), *map = json_object();
	struct shard s = next_shard(j, (struct shard){0});
	char name[48];

	for (size_t i = 1; i <= j->result->shards; i++, s = next_shard(j, s)) {
		shard_name(name, i, j->result->shards);
		for (size_t k = s.from; k < s.to; k++)
			(void)json_object_set_new(map, j->tensors[k].name, json_string(name));
	}
	(void)json_object_set_new(meta, "total_size", json_integer((json_int_t)j->result->bytes));
	(void)json_object_set_new(doc, "metadata", meta);
	(void)json_object_set_new(doc, "weight_map", map);
	/* jansson's setters give way where memory fails: then the map is short. */
	enum hth_status st = map != NULL && json_object_size(map) == j->n_tensors && json_object_size(doc) == 2
				     ? hth_folder_json(dir, "model.safetensors.index.json", doc, err)
				     : hth_fail_memory(err, "an index of shards", j->n_tensors * sizeof(name));
	json_decref(doc);
	return st;
}

static enum hth_status write_shards(struct job *j, const char *dir, struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	struct shard s = {0};
	char name[48];

	do {
		s = next_shard(j, s);
		j->result->shards++;
	} while (s.last < j->n_parts);
	s = (struct shard){0};
	for (size_t i = 1; st == HTH_OK && i <= j->result->shards; i++) {
		s = next_shard(j, s);
		shard_name(name, i, j->result->shards);
		st = write_shard(j, &s, dir, name, err);
	}
	return st == HTH_OK && j->result->shards > 1 ? write_index(j, dir, err) : st;
}

enum hth_status hth_folder_weights(const struct hth_to_folder_config *cfg, const char *dir,
				   struct hth_to_folder_result *out, struct hth_err *err)
{
	struct job j = {.cfg = cfg, .result = out, .widest = 1, .type = hth_quant_format(cfg->type)};
	enum hth_status st = list_tensors(&j, err);

	j.pack = hth_pack_pick(cfg->type);
	if (st != HTH_OK || (st = need_disk(&j, dir, err)) != HTH_OK || (st = make_room(&j, err)) != HTH_OK)
		goto done;
	for (size_t i = 0; i < j.n_tensors; i++)
		out->bytes += j.tensors[i].bytes;
	st = write_shards(&j, dir, err);
	if (st == HTH_OK)
		st = all_fused(&j, err);
done:
	hth_free(j.parts);
	hth_free(j.tensors);
	hth_free(j.names);
	hth_free(j.piece);
	hth_free(j.scratch);
	return st;
}
