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
	double **sum;   /* (L*7) of (C); NULL where a layer has no such linear */
	uint64_t *rows; /* (L*7) */
	int64_t batches, tokens;
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
		if (at < 0 || l->sum[at] == NULL)
			continue;
		double *sum = l->sum[at]; /* (C) */
		for (int64_t r = 0; r < a->x.rows; r++)
			for (int64_t c = 0; c < cols; c++)
				sum[c] += (double)x[r * cols + c] * (double)x[r * cols + c];
		l->rows[at] += (uint64_t)a->x.rows;
	}
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
	hth_free(l->sum);
	hth_free(l->rows);
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
	bool ok = l->sum != NULL && l->rows != NULL;
	for (size_t i = 0; ok && i < n; i++) {
		const struct hth_weight *w = &m->layers[i / HTH_LINEAR_COUNT].linear[i % HTH_LINEAR_COUNT];
		if (w->data == NULL)
			continue;
		l->sum[i] = hth_calloc((size_t)w->cols, sizeof **l->sum);
		ok = l->sum[i] != NULL;
	}
	return ok ? HTH_OK : hth_fail_memory(err, "sums of a calibration", n * sizeof *l->sum);
}

static enum hth_status collect_part(const struct listener *l, const struct hth_model_part *p, struct hth_imatrix *out,
				    struct hth_err *err)
{
	int at = p->piece[0].linear; /* linears of a fused tensor share their input */

	if (at < 0 || l->sum[at] == NULL)
		return HTH_OK;
	struct hth_imatrix_entry *e = hth_imatrix_add(out, p->name, strlen(p->name), p->cols, 1);
	if (e == NULL)
		return hth_fail_memory(err, "an importance matrix", (size_t)p->cols * sizeof *e->sum);
	for (int64_t c = 0; c < p->cols; c++)
		e->sum[c] = (float)l->sum[at][c];
	e->count[0] = (float)l->rows[at];
	return HTH_OK;
}

/* Sums by linear become entries by GGUF's names. */
static enum hth_status collect(const struct listener *l, struct hth_imatrix *out, struct hth_err *err)
{
	struct hth_model_part *parts;
	size_t n;
	enum hth_status st = hth_model_parts(l->model, true, &parts, &n, err);

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
