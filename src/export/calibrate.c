/* Calibration by a backend that listens: it hands every op to the model's own backend and looks at the inputs of linear
 * maps on the way. Neither the forward pass nor any backend knows of it. Inputs of the last layer that reach no target
 * are not computed and do not count: no answer depends on their rounding. */
#include "export/calibrate.h"

#include "base/file.h"
#include "base/mem.h"
#include "models/parts.h"

#include <string.h>

/* Takes the place of a device: slots get it and pass on what it stands for. */
struct listener {
	const struct hth_backend *real;
	struct hth_device *device;
	struct hth_backend backend; /* real's, with slots that go through here */
	const struct hth_model *model;
	double **sum;   /* (linears) of (C); NULL where a layer has no such linear */
	uint64_t *rows; /* (linears) */
	struct expert_sums *experts; /* (L) */
	int64_t batches, tokens;
};

/* Of a sparse layer: gate and up see rows of C, down rows of F. All NULL elsewhere. */
struct expert_sums {
	double *up, *down; /* (E,C), (E,F) */
	uint64_t *rows;    /* (E) */
};

static struct listener *of(struct hth_device *dev)
{
	return (struct listener *)(void *)dev;
}

/* The number of a linear of the model by the place of its weight, or -1. */
static int64_t number(const struct listener *l, const struct hth_weight *w)
{
	for (int64_t i = 0; i < l->model->config.n_layers; i++) {
		const struct hth_weight *first = l->model->layers[i].linear;
		if (w >= first && w < first + HTH_LINEAR_COUNT)
			return i * HTH_LINEAR_COUNT + (w - first);
	}
	return -1;
}

static void listen(struct listener *l, const struct hth_linear_args *a)
{
	const float *x = a->x.ctx; /* (R,C) */
	int64_t cols = a->x.cols;

	for (int m = 0; m < a->n; m++) {
		int64_t at = number(l, a->member[m]->w);
		if (at < 0 || l->sum[at] == NULL) /* routers stay in f32 */
			continue;
		double *sum = l->sum[at]; /* (C) */
		for (int64_t r = 0; r < a->x.rows; r++)
			for (int64_t c = 0; c < cols; c++)
				sum[c] += (double)x[r * cols + c] * (double)x[r * cols + c];
		l->rows[at] += (uint64_t)a->x.rows;
	}
}

/* The layer whose experts' matrices these are, and which of the three; -1: none. */
static int64_t sparse_layer(const struct listener *l, const struct hth_expert_set *set, int *part)
{
	for (int64_t i = 0; i < l->model->config.n_layers; i++)
		for (*part = 0; *part < HTH_EXPERT_PARTS; (*part)++)
			if (set->w == l->model->layers[i].experts[*part].w)
				return i;
	return -1;
}

static void add_squares(double *sum, const float *x, int64_t n)
{
	for (int64_t c = 0; c < n; c++)
		sum[c] += (double)x[c] * (double)x[c];
}

/* Rows of x by the experts they go to. by_slot: x has a row for each slot. */
static void listen_experts(struct listener *l, const struct hth_expert_set *set, const struct hth_routing *r,
			   struct hth_tensor x, bool by_slot)
{
	const int32_t *begin = r->begin.ctx, *order = r->order.ctx;
	const float *rows = x.ctx;
	int part;
	int64_t layer = sparse_layer(l, set, &part);

	if (layer < 0)
		return;
	struct expert_sums *sums = &l->experts[layer];
	for (int64_t e = 0; e < r->n_experts; e++) {
		for (int64_t s = begin[e]; s < begin[e + 1]; s++)
			add_squares((by_slot ? sums->down : sums->up) + e * x.cols,
				    rows + (by_slot ? s : order[s] / r->top) * x.cols, x.cols);
		if (by_slot)
			sums->rows[e] += (uint64_t)(begin[e + 1] - begin[e]);
	}
}

static void listen_up(struct listener *l, const struct hth_experts_up_args *a)
{
	listen_experts(l, a->member[0], &a->routing, a->x, false);
}

static void listen_down(struct listener *l, const struct hth_experts_down_args *a)
{
	listen_experts(l, a->set, &a->routing, a->a, true);
}

static void count_batch(struct listener *l, const struct hth_embed_args *a)
{
	l->batches++;
	l->tokens += a->batch->n_tokens;
}

/* Every slot under a name of its own: that is how it knows which op to hand on. */
#define HTH_OP(name)                                                                                                   \
	static enum hth_status run_##name(struct hth_device *dev, const void *args, void *scratch,                     \
					  struct hth_err *err)                                                         \
	{                                                                                                              \
		struct listener *l = of(dev);                                                                          \
		if (HTH_OP_##name == HTH_OP_linear)                                                                    \
			listen(l, args);                                                                               \
		if (HTH_OP_##name == HTH_OP_experts_up)                                                                \
			listen_up(l, args);                                                                            \
		if (HTH_OP_##name == HTH_OP_experts_down)                                                              \
			listen_down(l, args);                                                                          \
		if (HTH_OP_##name == HTH_OP_embed)                                                                     \
			count_batch(l, args);                                                                          \
		return l->real->slot[HTH_OP_##name].run(l->device, args, scratch, err);                                \
	}
#include "backend/oplist.h"
#undef HTH_OP

static hth_run_fn *const runs[HTH_OP_COUNT] = {
#define HTH_OP(name) [HTH_OP_##name] = run_##name,
#include "backend/oplist.h"
#undef HTH_OP
};

static void machine(const struct hth_device *dev, struct hth_machine *out)
{
	const struct listener *l = (const struct listener *)(const void *)dev;

	if (l->real->machine != NULL)
		l->real->machine(l->device, out);
}

static void listener_clear(struct listener *l)
{
	for (int64_t i = 0; l->sum != NULL && i < l->model->config.n_layers * HTH_LINEAR_COUNT; i++)
		hth_free(l->sum[i]);
	for (int64_t i = 0; l->experts != NULL && i < l->model->config.n_layers; i++) {
		hth_free(l->experts[i].up);
		hth_free(l->experts[i].down);
		hth_free(l->experts[i].rows);
	}
	hth_free(l->sum);
	hth_free(l->rows);
	hth_free(l->experts);
}

static bool make_expert_sums(struct expert_sums *s, const struct hth_expert_set *sets)
{
	const struct hth_expert_set *up = &sets[HTH_EXPERT_UP], *down = &sets[HTH_EXPERT_DOWN];

	if (up->n == 0)
		return true;
	s->up = hth_calloc((size_t)(up->n * up->w[0].cols), sizeof *s->up);
	s->down = hth_calloc((size_t)(down->n * down->w[0].cols), sizeof *s->down);
	s->rows = hth_calloc((size_t)up->n, sizeof *s->rows);
	return s->up != NULL && s->down != NULL && s->rows != NULL;
}

static enum hth_status listener_init(struct listener *l, const struct hth_model *m, struct hth_err *err)
{
	size_t n = (size_t)m->config.n_layers * HTH_LINEAR_COUNT;

	*l = (struct listener){.real = m->backend, .device = m->device, .model = m};
	if (m->backend == NULL || !m->backend->host_memory)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"calibration needs a backend that works in the host's memory: cpu");
	l->backend = *m->backend;
	l->backend.machine = machine;
	for (int op = 0; op < HTH_OP_COUNT; op++)
		if (l->backend.slot[op].run != NULL)
			l->backend.slot[op].run = runs[op];
	l->sum = hth_calloc(n, sizeof *l->sum);
	l->rows = hth_calloc(n, sizeof *l->rows);
	l->experts = hth_calloc((size_t)m->config.n_layers, sizeof *l->experts);
	bool ok = l->sum != NULL && l->rows != NULL && l->experts != NULL;
	for (int64_t i = 0; ok && i < m->config.n_layers; i++)
		ok = make_expert_sums(&l->experts[i], m->layers[i].experts);
	for (size_t i = 0; ok && i < n; i++) {
		const struct hth_weight *w = &m->layers[i / HTH_LINEAR_COUNT].linear[i % HTH_LINEAR_COUNT];
		if (w->data == NULL)
			continue;
		l->sum[i] = hth_calloc((size_t)w->cols, sizeof **l->sum);
		ok = l->sum[i] != NULL;
	}
	return ok ? HTH_OK : hth_fail_memory(err, "sums of a calibration", n * sizeof *l->sum);
}

/* A stack of experts: a matrix each; one that nothing was sent to counts no rows. */
static enum hth_status collect_stack(const struct listener *l, const struct hth_model_part *p, struct hth_imatrix *out,
				     struct hth_err *err)
{
	for (int64_t i = 0; i < l->model->config.n_layers; i++)
		for (int k = 0; k < HTH_EXPERT_PARTS; k++) {
			const struct expert_sums *sums = &l->experts[i];
			const double *sum = k == HTH_EXPERT_DOWN ? sums->down : sums->up; /* (E,cols) */
			if (p->stack != l->model->layers[i].experts[k].w)
				continue;
			struct hth_imatrix_entry *e =
				hth_imatrix_add(out, p->name, strlen(p->name), p->cols, p->n_stack);
			if (e == NULL)
				return hth_fail_memory(err, "an importance matrix",
						       (size_t)(p->cols * p->n_stack) * sizeof *e->sum);
			for (int64_t c = 0; c < p->cols * p->n_stack; c++)
				e->sum[c] = (float)sum[c];
			for (int64_t x = 0; x < p->n_stack; x++)
				e->count[x] = (float)sums->rows[x];
		}
	return HTH_OK;
}

static enum hth_status collect_part(const struct listener *l, const struct hth_model_part *p, struct hth_imatrix *out,
				    struct hth_err *err)
{
	if (p->stack != NULL)
		return collect_stack(l, p, out, err);
	int at = p->piece[0].linear; /* linears of a fused tensor share their input */

	if (at < 0 || l->sum[at] == NULL) /* routers stay in f32 */
		return HTH_OK;
	struct hth_imatrix_entry *e = hth_imatrix_add(out, p->name, strlen(p->name), p->cols, 1);
	if (e == NULL)
		return hth_fail_memory(err, "an importance matrix", (size_t)p->cols * sizeof *e->sum);
	for (int64_t c = 0; c < p->cols; c++)
		e->sum[c] = (float)l->sum[at][hth_part_place(p, &p->col_heads, c)];
	e->count[0] = (float)l->rows[at];
	return HTH_OK;
}

/* Sums by linear become entries by GGUF's names. */
static enum hth_status collect(const struct listener *l, struct hth_imatrix *out, struct hth_err *err)
{
	struct hth_model_part *parts;
	size_t n;
	enum hth_status st = hth_model_parts(l->model, HTH_LAYOUT_GGUF, &parts, &n, err);

	for (size_t i = 0; st == HTH_OK && i < n; i++)
		if (parts[i].kind == HTH_PART_MATRIX)
			st = collect_part(l, &parts[i], out, err);
	hth_free(parts);
	if (st != HTH_OK)
		return st;
	out->chunks = l->batches;
	out->chunk_size = l->batches > 0 ? l->tokens / l->batches : 0;
	return hth_imatrix_sort(out, "calibration", err);
}

enum hth_status hth_calibrate(const struct hth_calibrate_config *cfg, struct hth_imatrix *out, double *loss,
			      struct hth_err *err)
{
	struct listener l;
	struct hth_perplexity p = {0};
	/* The same model, seen through the listener: it shares weights and what was prepared of them. */
	struct hth_model view = *cfg->model;

	*out = (struct hth_imatrix){0};
	enum hth_status s = listener_init(&l, cfg->model, err);
	if (s != HTH_OK)
		goto done;
	view.backend = &l.backend;
	view.device = (struct hth_device *)(void *)&l;
	struct hth_perplexity_config run = {.loras = cfg->loras,
					    .adapter = cfg->adapter,
					    .share_prefix = true,
					    .on_progress = cfg->on_progress,
					    .ctx = cfg->ctx};
	s = hth_perplexity(&view, cfg->data, &run, &p, err);
	if (s == HTH_OK)
		s = collect(&l, out, err);
	if (s == HTH_OK && cfg->data->path != NULL) {
		out->dataset = hth_strdup(hth_path_base(cfg->data->path));
		if (out->dataset == NULL)
			s = hth_fail_memory(err, "an importance matrix", strlen(cfg->data->path));
	}
	if (s == HTH_OK && loss != NULL)
		*loss = p.nll / (double)p.n_targets;
done:
	hth_perplexity_clear(&p);
	listener_clear(&l);
	if (s != HTH_OK)
		hth_imatrix_clear(out);
	return s;
}
