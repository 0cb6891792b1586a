/* Parameters of a run: layout, memory, initial values, and the way back to an adapter. Full fine-tuning's layout is
 * params_full.c's. */
#include "train/params_int.h"

#include "base/checked.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_RANK 4096
#define ALIGN_BYTES 64

uint64_t hth_params_bytes(const struct hth_params *p)
{
	return p->n_elems * sizeof(float) * HTH_PARAM_COPIES;
}

enum hth_status hth_params_add(struct hth_params *p, struct hth_param *param, struct hth_err *err)
{
	uint64_t elems;

	if (param->name == NULL)
		return hth_fail_memory(err, "the name of a parameter", 0);
	if (!hth_mul_u64((uint64_t)param->rows, (uint64_t)param->cols, &elems) || !hth_pad_u64(elems, 16, &elems) ||
	    !hth_add_u64(p->n_elems, elems, &p->n_elems))
		return hth_fail(err, HTH_ERR_LIMIT, "%s: shape (%lld,%lld) is too large to train", param->name,
				(long long)param->rows, (long long)param->cols);
	p->list[p->n++] = param;
	return HTH_OK;
}

static enum hth_status add_lora(struct hth_params *p, const struct hth_train_config *cfg, int64_t layer, int k,
				const struct hth_lora *start, struct hth_err *err)
{
	const struct hth_weight *w = &p->model->layers[layer].linear[k];
	int32_t rank = start != NULL ? (int32_t)start->a.rows : cfg->rank;
	struct hth_lora *lora = hth_arena_calloc(&p->arena, 1, sizeof *lora);
	char name[160];

	if (lora == NULL)
		return hth_fail_memory(err, "an adapter", sizeof *lora);
	for (int ab = 0; ab < 2; ab++) {
		struct hth_param *q = ab == 0 ? &lora->a : &lora->b;
		int n = snprintf(name, sizeof name, "model.layers.%lld.%s.lora_%c.weight", (long long)layer,
				 hth_linear_module((enum hth_linear_kind)k), ab == 0 ? 'A' : 'B');
		q->name = hth_arena_strndup(&p->arena, name, (size_t)n);
		q->rows = ab == 0 ? rank : w->rows;
		q->cols = ab == 0 ? w->cols : rank;
		enum hth_status status = hth_params_add(p, q, err);
		if (status != HTH_OK)
			return status;
	}
	lora->scale = start != NULL
			      ? start->scale
			      : (float)(cfg->rslora ? cfg->alpha / sqrt((double)rank) : cfg->alpha / (double)rank);
	lora->dropout = (float)cfg->dropout;
	lora->place = (uint32_t)(layer * 16 + k);
	p->loras[layer * HTH_LINEAR_COUNT + k] = lora;
	p->rank = rank > p->rank ? rank : p->rank;
	return HTH_OK;
}

static enum hth_status lay_out_loras(struct hth_params *p, const struct hth_train_config *cfg, struct hth_lora **start,
				     struct hth_err *err)
{
	int64_t n_layers = p->model->config.n_layers, first = cfg->n_layers < 0 ? 0 : n_layers - cfg->n_layers;
	size_t n = (size_t)n_layers * HTH_LINEAR_COUNT;

	p->loras = hth_arena_calloc(&p->arena, n, sizeof *p->loras);
	p->list = hth_arena_calloc(&p->arena, 2 * n, sizeof *p->list);
	if (p->loras == NULL || p->list == NULL)
		return hth_fail_memory(err, "the list of adapters", n * sizeof *p->loras);
	for (size_t i = 0; i < n; i++) {
		int64_t layer = (int64_t)i / HTH_LINEAR_COUNT;
		int k = (int)(i % HTH_LINEAR_COUNT);
		if (start != NULL ? start[i] == NULL
				  : !cfg->target[k] || layer < first || p->model->layers[layer].linear[k].data == NULL)
			continue;
		enum hth_status status = add_lora(p, cfg, layer, k, start != NULL ? start[i] : NULL, err);
		if (status != HTH_OK)
			return status;
	}
	if (p->n == 0)
		return hth_fail(err, HTH_ERR_USAGE,
				"nothing to train: no target module in the last %lld of %lld layers",
				(long long)(n_layers - first), (long long)n_layers);
	return HTH_OK;
}

static void fill_a(struct hth_param *a, uint64_t seed, uint32_t place)
{
	struct hth_rng_key key = hth_rng_key(seed, HTH_RNG_INIT, place, 0);
	float bound = (float)(1.0 / sqrt((double)a->cols));

	for (int64_t i = 0; i < a->rows * a->cols; i++)
		a->value[i] = (2.0f * hth_rng_uniform(key, (uint64_t)i, 0) - 1.0f) * bound;
}

static void fill_loras(struct hth_params *p, uint64_t seed, struct hth_lora **start)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;

	for (size_t i = 0; i < n; i++) {
		struct hth_lora *l = p->loras[i];
		if (l == NULL)
			continue;
		if (start == NULL) {
			fill_a(&l->a, seed, l->place);
			continue;
		}
		memcpy(l->a.value, start[i]->a.value, (size_t)(l->a.rows * l->a.cols) * sizeof(float));
		memcpy(l->b.value, start[i]->b.value, (size_t)(l->b.rows * l->b.cols) * sizeof(float));
	}
}

/* Memory for all parameters and each one's part of it. Planned ones point at one float that nobody reads. */
static enum hth_status place(struct hth_params *p, bool plan_only, struct hth_err *err)
{
	uint64_t at = 0;
	size_t bytes;

	if (plan_only) {
		p->values = p->grads = p->m = p->v = p->best = hth_arena_calloc(&p->arena, 1, sizeof(float));
		if (p->values == NULL)
			return hth_fail_memory(err, "the parameters", sizeof(float));
	} else {
		if (p->n_elems > SIZE_MAX / (sizeof(float) * HTH_PARAM_COPIES))
			return hth_fail(err, HTH_ERR_LIMIT, "%llu trained values are too many for this machine",
					(unsigned long long)p->n_elems);
		bytes = (size_t)hth_params_bytes(p);
		p->block = hth_alloc_aligned(bytes, ALIGN_BYTES);
		if (p->block == NULL)
			return hth_fail_memory(err, "the parameters, their gradients and moments", bytes);
		memset(p->block, 0, bytes);
		p->values = p->block;
		p->grads = p->values + p->n_elems;
		p->m = p->grads + p->n_elems;
		p->v = p->m + p->n_elems;
		p->best = p->v + p->n_elems;
	}
	for (int64_t i = 0; i < p->n; i++) {
		struct hth_param *q = p->list[i];
		uint64_t elems = (uint64_t)(q->rows * q->cols);
		q->value = p->values + at;
		q->grad = p->grads + at;
		q->m = p->m + at;
		q->v = p->v + at;
		if (!plan_only)
			at += (elems + 15) & ~(uint64_t)15;
	}
	return HTH_OK;
}

static enum hth_status new_loras(struct hth_params *p, const struct hth_train_config *cfg, bool plan_only,
				 struct hth_err *err)
{
	struct hth_adapter_names names;
	struct hth_adapter adapter = {0};
	struct hth_arena scratch;
	struct hth_lora **start = NULL; /* [L*7] */
	enum hth_status status = HTH_OK;

	hth_arena_init(&scratch, SIZE_MAX / 2);
	if (cfg->adapter_start != NULL) {
		hth_model_adapter_names(p->model, &names);
		status = hth_adapter_read(cfg->adapter_start, &names, &adapter, err);
		if (status == HTH_OK)
			status = hth_model_loras(p->model, &adapter, &scratch, &start, err);
		if (status != HTH_OK) {
			hth_err_prefix(err, "%s", cfg->adapter_start);
			goto done;
		}
		p->alpha = adapter.alpha;
		p->rslora = adapter.rslora;
	}
	status = lay_out_loras(p, cfg, start, err);
	if (status == HTH_OK)
		status = place(p, plan_only, err);
	if (status == HTH_OK && !plan_only)
		fill_loras(p, cfg->seed, start);
done:
	hth_adapter_clear(&adapter);
	hth_arena_clear(&scratch);
	return status;
}

static enum hth_status check_config(const struct hth_train_config *cfg, const struct hth_model *m, struct hth_err *err)
{
	if (cfg->type == HTH_TRAIN_LORA && (cfg->rank < 1 || cfg->rank > MAX_RANK))
		return hth_fail(err, HTH_ERR_USAGE, "rank %d: expected 1..%d", cfg->rank, MAX_RANK);
	if (cfg->n_layers == 0 || cfg->n_layers > m->config.n_layers)
		return hth_fail(err, HTH_ERR_USAGE,
				"%d layers with adapters: the model has %lld; expected 1..%lld, or -1 for all",
				cfg->n_layers, (long long)m->config.n_layers, (long long)m->config.n_layers);
	if (!(cfg->dropout >= 0 && cfg->dropout < 1))
		return hth_fail(err, HTH_ERR_USAGE, "dropout %g: expected 0 <= dropout < 1", cfg->dropout);
	if (!isfinite(cfg->alpha))
		return hth_fail(err, HTH_ERR_USAGE, "alpha %g: expected a finite number", cfg->alpha);
	return HTH_OK;
}

enum hth_status hth_params_new(struct hth_model *m, const struct hth_train_config *cfg, bool plan_only,
			       struct hth_params *out, struct hth_err *err)
{
	enum hth_status status = check_config(cfg, m, err);

	*out = (struct hth_params){.type = cfg->type, .model = m, .alpha = cfg->alpha, .rslora = cfg->rslora};
	hth_arena_init(&out->arena, SIZE_MAX / 2);
	if (status != HTH_OK)
		return status;
	if (cfg->type == HTH_TRAIN_FULL) {
		status = hth_params_lay_out_full(out, cfg, err);
		if (status == HTH_OK)
			status = place(out, plan_only, err);
		if (status == HTH_OK)
			hth_params_bind_full(out, plan_only);
	} else {
		status = new_loras(out, cfg, plan_only, err);
	}
	if (status != HTH_OK)
		hth_params_free(out);
	return status;
}

void hth_params_free(struct hth_params *p)
{
	hth_params_unbind_full(p);
	hth_free(p->block);
	hth_arena_clear(&p->arena);
	*p = (struct hth_params){0};
}

void hth_params_clear_grads(struct hth_params *p)
{
	memset(p->grads, 0, (size_t)p->n_elems * sizeof(float));
}

void hth_params_keep_best(struct hth_params *p)
{
	memcpy(p->best, p->values, (size_t)p->n_elems * sizeof(float));
}

void hth_params_use_best(struct hth_params *p)
{
	memcpy(p->values, p->best, (size_t)p->n_elems * sizeof(float));
}

const char *hth_params_not_finite(const struct hth_params *p)
{
	for (int64_t i = 0; i < p->n; i++) {
		const struct hth_param *q = p->list[i];
		for (int64_t j = 0; j < q->rows * q->cols; j++)
			if (!isfinite(q->value[j]))
				return q->name;
	}
	return NULL;
}

/* "model.layers.3.self_attn.q_proj.lora_A.weight" -> the module's path, in the adapter's arena. */
static bool fill_module(struct hth_adapter *out, const struct hth_lora *l, struct hth_lora_module *mod)
{
	size_t name_bytes = strlen(l->a.name) - strlen(".lora_A.weight");
	size_t a_elems = (size_t)(l->a.rows * l->a.cols), b_elems = (size_t)(l->b.rows * l->b.cols);

	*mod = (struct hth_lora_module){
		.name = hth_arena_strndup(&out->arena, l->a.name, name_bytes),
		.in = l->a.cols,
		.out = l->b.rows,
		.rank = (int)l->a.rows,
		.scale = l->scale,
		.a = hth_arena_calloc(&out->arena, a_elems, sizeof(float)),
		.b = hth_arena_calloc(&out->arena, b_elems, sizeof(float)),
	};
	if (mod->name == NULL || mod->a == NULL || mod->b == NULL)
		return false;
	memcpy(mod->a, l->a.value, a_elems * sizeof(float));
	memcpy(mod->b, l->b.value, b_elems * sizeof(float));
	return true;
}

enum hth_status hth_params_adapter(const struct hth_params *p, const struct hth_train_config *cfg, const char *base,
				   struct hth_adapter *out, struct hth_err *err)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;

	*out = (struct hth_adapter){.rank = p->rank,
				    .alpha = p->alpha,
				    .dropout = cfg->dropout,
				    .rslora = p->rslora,
				    .n_layers = (int)p->model->config.n_layers};
	hth_arena_init(&out->arena, SIZE_MAX / 2);
	out->modules = hth_arena_calloc(&out->arena, (size_t)(p->n / 2), sizeof *out->modules);
	out->base_model = hth_arena_strndup(&out->arena, base, strlen(base));
	bool ok = out->modules != NULL && out->base_model != NULL;
	for (size_t i = 0; i < n && ok; i++)
		if (p->loras[i] != NULL)
			ok = fill_module(out, p->loras[i], &out->modules[out->n_modules++]);
	if (ok)
		return HTH_OK;
	hth_adapter_clear(out);
	return hth_fail_memory(err, "the trained adapter", (size_t)p->n_elems * sizeof(float));
}
