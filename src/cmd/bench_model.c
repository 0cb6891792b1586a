/* The models that hearth bench measures: one from disk, or a standard shape with random weights in memory. Of a shape
 * only so many layers have weights of their own as it takes to be larger than the caches; the others are copies of
 * their handles. Speed does not depend on what the numbers are, as long as they are ordinary ones. */
#include "base/mem.h"
#include "base/rng.h"
#include "cmd/bench.h"
#include "models/config.h"
#include "cmd/where.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { RANDOM_ROWS = 16 }; /* of a matrix; the others repeat them */
#define USUAL_L3_BYTES ((uint64_t)32 << 20)

/* From the models' config.json. */
struct shape {
	const char *name, *type;
	int64_t n_vocab, n_layers, width, n_head, n_kv, head, n_ff;
	bool tied, qkv_bias;
};
static const struct shape shapes[] = {
	{"SmolLM2-135M", "q4_1", 49152, 30, 576, 9, 3, 64, 1536, true, false},
	{"Qwen2.5-1.5B", "q4_k", 151936, 28, 1536, 12, 2, 128, 8960, true, true},
	{"Llama-3.1-8B", "q4_k", 128256, 32, 4096, 32, 8, 128, 14336, false, false},
};

const char *bench_shape_name(int i)
{
	return i >= 0 && i < (int)(sizeof shapes / sizeof shapes[0]) ? shapes[i].name : NULL;
}

static void linear_shape(const struct shape *s, enum hth_linear_kind k, int64_t *rows, int64_t *cols)
{
	int64_t q = s->n_head * s->head, kv = s->n_kv * s->head;

	*rows = k == HTH_Q ? q : k == HTH_K || k == HTH_V ? kv : k == HTH_GATE || k == HTH_UP ? s->n_ff : s->width;
	*cols = k == HTH_O ? q : k == HTH_DOWN ? s->n_ff : s->width;
}

/* w (rows,cols) of random blocks. */
static enum hth_status make_matrix(struct hth_arena *arena, enum hth_quant q, int64_t rows, int64_t cols,
				   struct hth_weight *w, struct hth_err *err)
{
	const struct hth_quant_format *f = hth_quant_format(q);
	struct hth_rng_key key = hth_rng_key(1, HTH_RNG_INIT, (uint32_t)rows, (uint32_t)cols);
	uint64_t row_bytes;
	enum hth_status status = hth_quant_row_bytes(q, (uint64_t)cols, &row_bytes, err);
	if (status != HTH_OK)
		return status;
	uint8_t *data = hth_arena_alloc(arena, (size_t)rows * (size_t)row_bytes);
	float *row = hth_alloc((size_t)cols * sizeof *row); /* (cols) */
	if (data == NULL || row == NULL) {
		hth_free(row);
		return hth_fail_memory(err, "random weights", (size_t)rows * (size_t)row_bytes);
	}
	for (int64_t r = 0; r < rows && r < RANDOM_ROWS; r++) {
		for (int64_t c = 0; c < cols; c++)
			row[c] = hth_rng_normal(key, (uint64_t)r, (uint64_t)c) / sqrtf((float)cols);
		f->pack(row, data + (uint64_t)r * row_bytes, cols, NULL);
	}
	for (int64_t r = RANDOM_ROWS; r < rows; r++)
		memcpy(data + (uint64_t)r * row_bytes, data + (uint64_t)(r % RANDOM_ROWS) * row_bytes,
		       (size_t)row_bytes);
	*w = (struct hth_weight){.quant = q, .rows = rows, .cols = cols, .data = data, .row_bytes = row_bytes};
	snprintf(w->name, sizeof w->name, "random %lld x %lld", (long long)rows, (long long)cols);
	hth_free(row);
	return HTH_OK;
}

/* w (1,n) f32, all of one value. */
static enum hth_status make_vector(struct hth_arena *arena, int64_t n, float value, struct hth_weight *w,
				   struct hth_err *err)
{
	float *data = hth_arena_calloc(arena, (size_t)n, sizeof *data);

	if (data == NULL)
		return hth_fail_memory(err, "a vector", (size_t)n * sizeof *data);
	for (int64_t i = 0; i < n; i++)
		data[i] = value;
	*w = (struct hth_weight){.quant = HTH_QUANT_F32,
				 .rows = 1,
				 .cols = n,
				 .data = (const uint8_t *)(const void *)data,
				 .row_bytes = (uint64_t)n * sizeof *data};
	return HTH_OK;
}

static enum hth_status make_layer(const struct shape *s, enum hth_quant q, struct hth_arena *arena,
				  struct hth_layer *out, struct hth_err *err)
{
	enum hth_status status = make_vector(arena, s->width, 1, &out->attn_norm, err);

	if (status == HTH_OK)
		status = make_vector(arena, s->width, 1, &out->ffn_norm, err);
	for (int k = 0; k < HTH_DELTA_QKV && status == HTH_OK; k++) {
		int64_t rows, cols;
		linear_shape(s, (enum hth_linear_kind)k, &rows, &cols);
		status = make_matrix(arena, q, rows, cols, &out->linear[k], err);
		if (status == HTH_OK && s->qkv_bias && k <= HTH_V)
			status = make_vector(arena, rows, 0.01f, &out->bias[k], err);
	}
	return status;
}

static void fill_config(const struct shape *s, struct hth_model_config *c)
{
	hth_config_init(c);
	c->n_vocab = s->n_vocab;
	c->n_layers = s->n_layers;
	c->width = s->width;
	c->n_head = s->n_head;
	c->n_kv = s->n_kv;
	c->head = c->rot = s->head;
	c->n_ff = s->n_ff;
	c->context = 1 << 17;
	c->attn_scale = 1 / sqrtf((float)s->head);
	c->tied = s->tied;
}

/* Bytes of one layer's linears and of the head. */
static enum hth_status sizes_of(const struct shape *s, enum hth_quant q, uint64_t *layer, uint64_t *head,
				struct hth_err *err)
{
	uint64_t row_bytes;
	enum hth_status status = hth_quant_row_bytes(q, (uint64_t)s->width, &row_bytes, err);

	*layer = 0;
	*head = status == HTH_OK ? row_bytes * (uint64_t)s->n_vocab : 0;
	for (int k = 0; k < HTH_DELTA_QKV && status == HTH_OK; k++) {
		int64_t rows, cols;
		linear_shape(s, (enum hth_linear_kind)k, &rows, &cols);
		status = hth_quant_row_bytes(q, (uint64_t)cols, &row_bytes, err);
		*layer += status == HTH_OK ? row_bytes * (uint64_t)rows : 0;
	}
	return status;
}

/* The format asked for, or q8_0 where the shape's rows are no whole number of its blocks, as other programs do it. */
static enum hth_status choose_type(const struct shape *s, const char *type, enum hth_quant *q, struct hth_err *err)
{
	*q = hth_quant_from_name(type != NULL ? type : s->type);
	if (*q == HTH_QUANT_NONE)
		return hth_fail(err, HTH_ERR_USAGE, "--type %s: no such format; hearth quantize --help lists them",
				type);
	int64_t block = (int64_t)hth_quant_format(*q)->block_elems;
	if (s->width % block != 0 || s->n_ff % block != 0)
		*q = HTH_QUANT_Q8_0;
	return HTH_OK;
}

static enum hth_status fill_model(const struct shape *s, enum hth_quant q, struct bench_model *out, struct hth_err *err)
{
	struct hth_model *m = out->m;
	int64_t pairs = s->head / 2;

	m->layers = hth_arena_calloc(&m->arena, (size_t)s->n_layers, sizeof *m->layers);
	m->rope_freq = hth_arena_calloc(&m->arena, (size_t)pairs, sizeof *m->rope_freq); /* (D/2) */
	if (m->layers == NULL || m->rope_freq == NULL)
		return hth_fail_memory(err, "layers of a model", (size_t)s->n_layers * sizeof *m->layers);
	for (int64_t i = 0; i < pairs; i++)
		m->rope_freq[i] = (float)pow(10000, -(double)i / (double)pairs);
	enum hth_status status = make_matrix(&m->arena, q, s->n_vocab, s->width, &m->head, err);
	m->embed = m->head; /* of an untied model too: rows are only looked up in it */
	if (status == HTH_OK)
		status = make_vector(&m->arena, s->width, 1, &m->final_norm, err);
	for (int64_t l = 0; l < out->distinct && status == HTH_OK; l++)
		status = make_layer(s, q, &m->arena, &m->layers[l], err);
	return status;
}

enum hth_status bench_model_make(const struct bench *b, int shape, const char *type, bool train,
				 struct bench_model *out, struct hth_err *err)
{
	const struct shape *s = &shapes[shape];
	uint64_t layer, head, l3 = b->l3_bytes > 0 ? b->l3_bytes : USUAL_L3_BYTES;
	enum hth_quant q;

	*out = (struct bench_model){.n_layers = s->n_layers};
	snprintf(out->name, sizeof out->name, "%s", s->name);
	enum hth_status status = choose_type(s, type, &q, err);
	if (status == HTH_OK)
		status = sizes_of(s, q, &layer, &head, err);
	if (status != HTH_OK)
		return status;
	snprintf(out->type, sizeof out->type, "%s", hth_quant_format(q)->name);
	uint64_t want = 1 + 2 * l3 / layer,
		 room = b->available_bytes / 2 > head ? (b->available_bytes / 2 - head) / layer : 0;
	if (room < 1)
		return hth_fail(err, HTH_ERR_MEMORY,
				"a layer and the head need %llu MB, half of the %llu MB available are less",
				(unsigned long long)((layer + head) >> 20),
				(unsigned long long)(b->available_bytes >> 20));
	want = want < room ? want : room;
	out->distinct = want < (uint64_t)s->n_layers ? (int64_t)want : s->n_layers;
	out->m = hth_calloc(1, sizeof *out->m);
	if (out->m == NULL)
		return hth_fail_memory(err, "a model", sizeof *out->m);
	hth_arena_init(&out->m->arena, SIZE_MAX / 2);
	fill_config(s, &out->m->config);
	out->m->family = hth_family_find("llama");
	out->m->path = hth_strdup(s->name);
	out->m->name = hth_strdup(s->name);
	status = out->m->path != NULL && out->m->name != NULL ? fill_model(s, q, out, err)
							      : hth_fail_memory(err, "a model's name", 64);
	bench_model_set_layers(out, out->distinct);
	if (status == HTH_OK)
		status = hth_model_prepare(out->m, b->backend, b->device, train, err);
	for (int64_t l = out->distinct; l < out->n_layers && status == HTH_OK; l++)
		out->m->layers[l] = out->m->layers[l % out->distinct];
	if (status != HTH_OK)
		bench_model_close(out);
	return status;
}

enum hth_status bench_model_open(const struct bench *b, const char *path, bool train, struct bench_model *out,
				 struct hth_err *err)
{
	*out = (struct bench_model){0};
	enum hth_status status = hth_model_open_named(path, false, &out->m, err);
	if (status == HTH_OK)
		status = hth_model_prepare(out->m, b->backend, b->device, train, err);
	if (status != HTH_OK) {
		bench_model_close(out);
		return status;
	}
	const struct hth_layer *l = &out->m->layers[0];
	const struct hth_weight *w = l->linear[HTH_UP].data != NULL ? &l->linear[HTH_UP] : &l->linear[HTH_O];
	snprintf(out->name, sizeof out->name, "%s", out->m->name);
	snprintf(out->type, sizeof out->type, "%s", hth_quant_format(w->quant)->name);
	out->n_layers = out->distinct = out->m->config.n_layers;
	return HTH_OK;
}

void bench_model_close(struct bench_model *s)
{
	/* Only the distinct layers were prepared. */
	if (s->m != NULL && s->distinct < s->m->config.n_layers)
		bench_model_set_layers(s, s->distinct);
	hth_model_close(s->m);
	*s = (struct bench_model){0};
}

void bench_model_set_layers(struct bench_model *s, int64_t n)
{
	s->m->config.n_layers = n;
}

double bench_model_weight_bytes(const struct bench_model *s)
{
	const struct hth_model *m = s->m;
	double sum = (double)hth_weight_bytes(m->config.tied ? &m->embed : &m->head);

	for (int64_t l = 0; l < s->n_layers; l++)
		for (int k = 0; k < HTH_LINEAR_COUNT; k++)
			if (m->layers[l].linear[k].data != NULL)
				sum += (double)hth_weight_bytes(&m->layers[l].linear[k]);
	return sum;
}
