/* Full fine-tuning: every weight gets an f32 copy that the optimizer may write, and the model's own entries are pointed
 * at the copies while the parameters live. A count of layers trains the blocks of the last ones alone, embedding, final
 * norm and head then stay frozen. */
#include "base/mem.h"
#include "train/params_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct visit {
	struct hth_params *p;
	int64_t first_layer; /* -1: all, and what is outside the layers */
	size_t n;
	enum hth_status status;
	struct hth_err *err;
};

static bool is_trained(const struct visit *v, const struct hth_weight *w)
{
	const char *prefix = "model.layers.";

	if (v->first_layer < 0)
		return true;
	return strncmp(w->name, prefix, strlen(prefix)) == 0 &&
	       strtoll(w->name + strlen(prefix), NULL, 10) >= v->first_layer;
}

static void count(void *ctx, struct hth_weight *w)
{
	struct visit *v = ctx;

	v->n += is_trained(v, w);
}

static void add(void *ctx, struct hth_weight *w)
{
	struct visit *v = ctx;
	struct hth_params *p = v->p;

	if (v->status != HTH_OK || !is_trained(v, w))
		return;
	struct hth_param *q = hth_arena_calloc(&p->arena, 1, sizeof *q);
	if (q == NULL) {
		v->status = hth_fail_memory(v->err, "a trained weight", sizeof *q);
		return;
	}
	q->name = hth_arena_strndup(&p->arena, w->name, strlen(w->name));
	q->rows = w->rows;
	q->cols = w->cols;
	p->saved[p->n_saved] = *w;
	p->saved_at[p->n_saved++] = w;
	v->status = hth_params_add(p, q, v->err);
}

enum hth_status hth_params_lay_out_full(struct hth_params *p, const struct hth_train_config *cfg, struct hth_err *err)
{
	struct visit v = {.p = p, .err = err};

	v.first_layer = cfg->n_layers < 0 ? -1 : p->model->config.n_layers - cfg->n_layers;
	hth_model_each_weight(p->model, count, &v);
	p->list = hth_arena_calloc(&p->arena, v.n, sizeof *p->list);
	p->saved = hth_arena_calloc(&p->arena, v.n + 1, sizeof *p->saved); /* and the tied head */
	p->saved_at = hth_arena_calloc(&p->arena, v.n + 1, sizeof *p->saved_at);
	if (p->list == NULL || p->saved == NULL || p->saved_at == NULL)
		return hth_fail_memory(err, "the list of trained weights", v.n * sizeof *p->saved);
	hth_model_each_weight(p->model, add, &v);
	return v.status;
}

void hth_params_point(struct hth_weight *w, struct hth_param *q)
{
	w->quant = HTH_QUANT_F32;
	w->data = (const uint8_t *)q->value;
	w->row_bytes = (uint64_t)q->cols * sizeof(float);
	w->head_rows = 0;
	w->param = q;
}

void hth_params_copy_weight(const struct hth_weight *w, struct hth_param *q)
{
	const struct hth_quant_format *f = hth_quant_format(w->quant);

	for (int64_t r = 0; r < w->rows; r++)
		f->unpack(hth_weight_row(w, r), q->value + r * w->cols, w->cols);
}

void hth_params_bind_full(struct hth_params *p, bool plan_only)
{
	struct hth_model *m = p->model;
	size_t n = p->n_saved;

	for (size_t i = 0; i < n; i++) {
		struct hth_weight *w = p->saved_at[i];
		if (!plan_only)
			hth_params_copy_weight(w, p->list[i]);
		hth_params_point(w, p->list[i]);
	}
	if (m->config.tied && m->embed.param != NULL) {
		p->saved[n] = m->head;
		p->saved_at[n] = &m->head;
		p->n_saved++;
		hth_params_point(&m->head, m->embed.param);
	}
}

void hth_params_unbind_full(struct hth_params *p)
{
	for (size_t i = 0; i < p->n_saved; i++) {
		void *prepared = p->saved_at[i]->prepared; /* still the device's to free */
		*p->saved_at[i] = p->saved[i];
		p->saved_at[i]->prepared = prepared;
	}
	p->n_saved = 0;
}
