/* Weights trained whole beside LoRA (PEFT's modules_to_save): the embedding, the head, norms. Each has an f32 copy that
 * the adapter's rows use in place of the base's (models/replaced.c); the base stays as it is. */
#include "train/params_int.h"

#include <stdio.h>
#include <string.h>

struct visit {
	struct hth_params *p;
	size_t n;
	enum hth_status status;
	struct hth_err *err;
};

static void count(void *ctx, struct hth_weight *w)
{
	(void)w;
	++*(size_t *)ctx;
}

size_t hth_params_count_saved(struct hth_params *p, const struct hth_train_config *cfg,
			      const struct hth_replacements *start)
{
	size_t n = start->n;

	for (size_t i = 0; i < cfg->n_modules_to_save; i++)
		hth_model_named_weights(p->model, cfg->modules_to_save[i], count, &n);
	return n;
}

static bool is_there(const struct hth_params *p, const struct hth_weight *of)
{
	for (size_t i = 0; i < p->replaced.n; i++)
		if (p->replaced.list[i].of == of)
			return true;
	return false;
}

static void add(void *ctx, struct hth_weight *of)
{
	struct visit *v = ctx;
	struct hth_params *p = v->p;

	if (v->status != HTH_OK || is_there(p, of))
		return;
	bool head = of == &p->model->head;
	const char *name = head ? "lm_head.weight" : of->name;
	struct hth_param *q = hth_arena_calloc(&p->arena, 1, sizeof *q);
	if (q == NULL) {
		v->status = hth_fail_memory(v->err, "a trained weight", sizeof *q);
		return;
	}
	q->name = hth_arena_strndup(&p->arena, name, strlen(name));
	q->rows = of->rows;
	q->cols = of->cols;
	struct hth_replacement *r = &p->replaced.list[p->replaced.n++];
	*r = (struct hth_replacement){.of = of, .head = head, .with = *of};
	snprintf(r->with.name, sizeof r->with.name, "%s", name);
	r->with.prepared = NULL;
	r->with.param = q;
	v->status = hth_params_add(p, q, v->err);
}

enum hth_status hth_params_lay_out_saved(struct hth_params *p, const struct hth_train_config *cfg,
					 const struct hth_replacements *start, struct hth_err *err)
{
	struct visit v = {.p = p, .err = err};
	size_t n = hth_params_count_saved(p, cfg, start);

	p->replaced.list = hth_arena_calloc(&p->arena, n, sizeof *p->replaced.list);
	if (p->replaced.list == NULL)
		return hth_fail_memory(err, "the list of trained weights", n * sizeof *p->replaced.list);
	for (size_t i = 0; i < start->n; i++)
		add(&v, (struct hth_weight *)(uintptr_t)start->list[i].of); /* only looked at */
	for (size_t i = 0; i < cfg->n_modules_to_save && v.status == HTH_OK; i++)
		if (hth_model_named_weights(p->model, cfg->modules_to_save[i], add, &v) == 0)
			return hth_fail(err, HTH_ERR_USAGE,
					"modules_to_save: \"%s\" names no weight that can be trained whole beside "
					"adapters; embed_tokens, lm_head and norms can (norm, input_layernorm, ...)",
					cfg->modules_to_save[i]);
	return v.status;
}

void hth_params_bind_saved(struct hth_params *p, const struct hth_replacements *start, bool plan_only)
{
	for (size_t i = 0; i < p->replaced.n; i++) {
		struct hth_replacement *r = &p->replaced.list[i];
		struct hth_param *q = r->with.param;
		if (!plan_only) {
			hth_params_copy_weight(r->of, q);
			for (size_t j = 0; j < start->n; j++)
				if (start->list[j].of == r->of)
					hth_params_copy_weight(&start->list[j].with, q);
		}
		hth_params_point(&r->with, q);
	}
}

bool hth_params_put_saved(const struct hth_params *p, struct hth_adapter *out)
{
	out->saved = hth_arena_calloc(&out->arena, p->replaced.n, sizeof *out->saved);
	if (out->saved == NULL)
		return false;
	for (size_t i = 0; i < p->replaced.n; i++) {
		const struct hth_replacement *r = &p->replaced.list[i];
		const struct hth_param *q = r->with.param;
		float less = hth_weight_stored_offset(p->model, r->of);
		struct hth_saved_weight *s = &out->saved[out->n_saved++];
		char name[128];
		hth_nested_name(p->model, q->name, name);
		*s = (struct hth_saved_weight){
			.name = hth_arena_strndup(&out->arena, name, strlen(name)),
			.rows = q->rows,
			.cols = q->cols,
			.value = hth_arena_calloc(&out->arena, (size_t)(q->rows * q->cols), sizeof(float)),
		};
		if (s->name == NULL || s->value == NULL)
			return false;
		for (int64_t j = 0; j < q->rows * q->cols; j++)
			s->value[j] = q->value[j] - less;
	}
	return true;
}
