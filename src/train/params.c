/* Parameters of a run: layout, memory, initial values, and the way back to an adapter. Full fine-tuning's layout is
 * params_full.c's, that of weights trained whole beside adapters params_saved.c's. */
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

static enum hth_status add_param(struct hth_params *p, struct hth_param *q, const char *module, const char *part,
				 int64_t rows, int64_t cols, struct hth_err *err)
{
	char name[160];
	int n = snprintf(name, sizeof name, "%s.%s", module, part);

	q->name = hth_arena_strndup(&p->arena, name, (size_t)n);
	q->rows = rows;
	q->cols = cols;
	return hth_params_add(p, q, err);
}

/* The linear that owns the A of this one: itself, or the first of its fused module. Gate and up of experts are either
 * one module or two. */
static struct hth_lora **owner_of(const struct hth_params *p, int64_t layer, int k, char module[80])
{
	struct hth_module_part own, part[3];

	hth_module_of_linear(p->model, layer, (enum hth_linear_kind)k, module, &own);
	if (p->gate_up[layer] && (k == HTH_EXPERTS_GATE || k == HTH_EXPERTS_UP))
		hth_experts_module(p->model, layer, module);
	bool fused = hth_module_parts(p->model, module, part) > 1;
	return &p->loras[layer * HTH_LINEAR_COUNT + (fused ? part[0].kind : (enum hth_linear_kind)k)];
}

static enum hth_status add_lora(struct hth_params *p, const struct hth_train_config *cfg, int64_t layer, int k,
				const struct hth_lora *start, struct hth_err *err)
{
	const struct hth_weight *w = hth_linear_weight(p->model, layer, (enum hth_linear_kind)k);
	int64_t stack = hth_linear_stack(p->model, (enum hth_linear_kind)k);
	int32_t rank = start != NULL ? (int32_t)start->b.cols : cfg->rank;
	struct hth_lora *lora = hth_arena_calloc(&p->arena, 1, sizeof *lora);
	char module[80], own[80];
	struct hth_lora **owner = owner_of(p, layer, k, module);
	enum hth_status status = HTH_OK;

	if (lora == NULL)
		return hth_fail_memory(err, "an adapter", sizeof *lora);
	p->loras[layer * HTH_LINEAR_COUNT + k] = lora;
	hth_linear_name(p->model, layer, (enum hth_linear_kind)k, own);
	if (*owner == lora)
		status = add_param(p, &lora->a, module, "lora_A.weight", stack * rank, w->cols, err);
	if (status == HTH_OK)
		status = add_param(p, &lora->b, own, "lora_B.weight", stack * w->rows, rank, err);
	if (status == HTH_OK && p->dora) {
		status = add_param(p, &lora->mag, own, "lora_magnitude_vector", 1, w->rows, err);
		lora->norm = hth_arena_calloc(&p->arena, (size_t)w->rows, sizeof *lora->norm);
		if (status == HTH_OK && lora->norm == NULL)
			status = hth_fail_memory(err, "an adapter", (size_t)w->rows * sizeof *lora->norm);
	}
	lora->scale = start != NULL
			      ? start->scale
			      : (float)(cfg->rslora ? cfg->alpha / sqrt((double)rank) : cfg->alpha / (double)rank);
	lora->dropout = k >= HTH_EXPERTS_GATE ? 0 : (float)cfg->dropout;
	lora->place = *owner == lora ? (uint32_t)(layer * 16 + k) : (*owner)->place;
	p->rank = rank > p->rank ? rank : p->rank;
	return status;
}

/* A fused module is adapted whole or not at all. */
static enum hth_status check_fused(const struct hth_model *m, const struct hth_train_config *cfg, struct hth_err *err)
{
	for (int k = 0; k < HTH_OWN_LINEARS; k++) {
		struct hth_module_part own, part[3];
		char module[80];
		hth_module_of_linear(m, 0, (enum hth_linear_kind)k, module, &own);
		int n = hth_module_parts(m, module, part);
		for (int i = 0; i < n; i++)
			if (cfg->target[part[i].kind] != cfg->target[k])
				return hth_fail(err, HTH_ERR_USAGE,
						"target modules: %s is a part of %s in models of family \"%s\"; name "
						"that, or all of its parts",
						hth_linear_module(cfg->target[k] ? (enum hth_linear_kind)k
										 : part[i].kind),
						module + strlen("model.layers.0."), m->family->name);
	}
	return HTH_OK;
}

/* The magnitudes of an adapter to start from, or of the config. */
static enum hth_status choose_dora(struct hth_params *p, const struct hth_train_config *cfg, struct hth_lora **start,
				   struct hth_err *err)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;

	p->dora = cfg->dora;
	for (size_t i = 0; start != NULL && i < n; i++) {
		if (start[i] == NULL)
			continue;
		p->dora = start[i]->mag.value != NULL;
		if (cfg->dora && !p->dora)
			return hth_fail(err, HTH_ERR_USAGE,
					"%s: has no magnitudes; start without DoRA, or make a new adapter with it",
					cfg->adapter_start);
	}
	return HTH_OK;
}

/* A linear that was named and that no layer of the model has. */
static enum hth_status check_named(const struct hth_params *p, const struct hth_train_config *cfg, struct hth_err *err)
{
	const struct hth_model *m = p->model;

	for (int k = 0; k < HTH_LINEAR_COUNT; k++) {
		bool there = !cfg->target[k] || !(cfg->target_named || k >= HTH_ROUTER);
		for (int64_t l = 0; l < m->config.n_layers && !there; l++)
			there = hth_linear_weight(m, l, (enum hth_linear_kind)k)->data != NULL;
		if (!there)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					k >= HTH_ROUTER ? "target module %s: %s is no mixture of experts; leave it out" :
					k >= HTH_DELTA_QKV ? "target module %s: %s has no layers that recur; leave it out" :
					"target module %s: %s has none outside its experts; leave it out (q_proj k_proj v_proj "
					"o_proj are there, and mlp.experts.gate_up_proj and mlp.experts.down_proj)",
					hth_linear_module((enum hth_linear_kind)k), m->name);
	}
	return HTH_OK;
}

/* Gate and up of a layer's experts share A: as the adapter that the run begins with has it, or as the config says. */
static enum hth_status choose_gate_up(struct hth_params *p, const struct hth_train_config *cfg, struct hth_lora **start,
				      struct hth_err *err)
{
	int64_t n_layers = p->model->config.n_layers;

	p->gate_up = hth_arena_calloc(&p->arena, (size_t)n_layers, sizeof *p->gate_up);
	if (p->gate_up == NULL)
		return hth_fail_memory(err, "the list of adapters", (size_t)n_layers);
	for (int64_t l = 0; l < n_layers; l++) {
		struct hth_lora **of = start != NULL ? &start[l * HTH_LINEAR_COUNT + HTH_EXPERTS_GATE] : NULL;
		p->gate_up[l] = of != NULL ? of[0] != NULL && of[1] != NULL && of[0]->a.value == of[1]->a.value
					   : cfg->gate_up && p->model->config.n_experts > 0;
	}
	for (int k = HTH_EXPERTS_GATE; k < HTH_LINEAR_COUNT && start == NULL; k++)
		if (cfg->target[k] && cfg->dora)
			return hth_fail(err, HTH_ERR_UNAVAILABLE,
					"target module %s: experts take LoRA without magnitudes; leave DoRA or experts out",
					hth_linear_module((enum hth_linear_kind)k));
	return HTH_OK;
}

static enum hth_status lay_out_loras(struct hth_params *p, const struct hth_train_config *cfg, struct hth_lora **start,
				     const struct hth_replacements *saved, struct hth_err *err)
{
	int64_t n_layers = p->model->config.n_layers, first = cfg->n_layers < 0 ? 0 : n_layers - cfg->n_layers;
	size_t n = (size_t)n_layers * HTH_LINEAR_COUNT, max = 3 * n + hth_params_count_saved(p, cfg, saved);

	enum hth_status named = start == NULL ? check_named(p, cfg, err) : HTH_OK;
	if (named != HTH_OK)
		return named;
	p->loras = hth_arena_calloc(&p->arena, n, sizeof *p->loras);
	p->list = hth_arena_calloc(&p->arena, max, sizeof *p->list);
	if (p->loras == NULL || p->list == NULL)
		return hth_fail_memory(err, "the list of adapters", n * sizeof *p->loras);
	enum hth_status status = choose_dora(p, cfg, start, err);
	if (status == HTH_OK)
		status = choose_gate_up(p, cfg, start, err);
	if (status == HTH_OK && start == NULL)
		status = check_fused(p->model, cfg, err);
	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		int64_t layer = (int64_t)i / HTH_LINEAR_COUNT;
		int k = (int)(i % HTH_LINEAR_COUNT);
		if (start != NULL ? start[i] == NULL
				  : !cfg->target[k] || layer < first ||
					    hth_linear_weight(p->model, layer, (enum hth_linear_kind)k)->data == NULL)
			continue;
		status = add_lora(p, cfg, layer, k, start != NULL ? start[i] : NULL, err);
	}
	if (status == HTH_OK && p->n == 0)
		return hth_fail(err, HTH_ERR_USAGE,
				"nothing to train: no target module in the last %lld of %lld layers",
				(long long)(n_layers - first), (long long)n_layers);
	return status == HTH_OK ? hth_params_lay_out_saved(p, cfg, saved, err) : status;
}

static void fill_a(struct hth_param *a, uint64_t seed, uint32_t place)
{
	struct hth_rng_key key = hth_rng_key(seed, HTH_RNG_INIT, place, 0);
	float bound = (float)(1.0 / sqrt((double)a->cols));

	for (int64_t i = 0; i < a->rows * a->cols; i++)
		a->value[i] = (2.0f * hth_rng_uniform(key, (uint64_t)i, 0) - 1.0f) * bound;
}

/* Magnitudes that change nothing while B is zero: the lengths of W's rows. */
static enum hth_status fill_mag(const struct hth_weight *w, struct hth_param *mag, struct hth_err *err)
{
	float *row = hth_calloc((size_t)w->cols, sizeof *row); /* (C) */

	if (row == NULL)
		return hth_fail_memory(err, "a row of a weight", (size_t)w->cols * sizeof *row);
	for (int64_t n = 0; n < w->rows; n++) {
		double square = 0;
		hth_quant_format(w->quant)->unpack(hth_weight_row(w, n), row, w->cols);
		for (int64_t c = 0; c < w->cols; c++)
			square += (double)row[c] * (double)row[c];
		mag->value[n] = (float)sqrt(square);
	}
	hth_free(row);
	return HTH_OK;
}

static void copy_values(struct hth_param *to, const struct hth_param *from)
{
	memcpy(to->value, from->value, (size_t)(to->rows * to->cols) * sizeof(float));
}

static enum hth_status fill_loras(struct hth_params *p, uint64_t seed, struct hth_lora **start, struct hth_err *err)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;
	enum hth_status status = HTH_OK;

	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		struct hth_lora *l = p->loras[i];
		if (l == NULL)
			continue;
		if (start == NULL) {
			fill_a(&l->a, seed, l->place);
			if (p->dora)
				status = fill_mag(hth_linear_weight(p->model, (int64_t)(i / HTH_LINEAR_COUNT),
								    (enum hth_linear_kind)(i % HTH_LINEAR_COUNT)),
						  &l->mag, err);
			continue;
		}
		copy_values(&l->a, &start[i]->a);
		copy_values(&l->b, &start[i]->b);
		if (p->dora)
			copy_values(&l->mag, &start[i]->mag);
	}
	return status;
}

/* Parts of a fused module have the A of its first. */
static void share_a(struct hth_params *p)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;
	char module[80];

	for (size_t i = 0; i < n; i++)
		if (p->loras[i] != NULL)
			p->loras[i]->a = (*owner_of(p, (int64_t)(i / HTH_LINEAR_COUNT), (int)(i % HTH_LINEAR_COUNT),
						    module))
						 ->a;
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
	struct hth_lora **start = NULL; /* [linears] */
	struct hth_replacements saved = {0};
	enum hth_status status = HTH_OK;

	hth_arena_init(&scratch, SIZE_MAX / 2);
	if (cfg->adapter_start != NULL) {
		hth_model_adapter_names(p->model, &names);
		status = hth_adapter_read(cfg->adapter_start, &names, &adapter, err);
		if (status == HTH_OK)
			status = hth_model_loras(p->model, &adapter, &scratch, &start, err);
		if (status == HTH_OK)
			status = hth_model_replacements(p->model, &adapter, &scratch, &saved, err);
		if (status != HTH_OK) {
			hth_err_prefix(err, "%s", cfg->adapter_start);
			goto done;
		}
		p->alpha = adapter.alpha;
		p->rslora = adapter.rslora;
	}
	status = lay_out_loras(p, cfg, start, &saved, err);
	if (status == HTH_OK)
		status = place(p, plan_only, err);
	if (status != HTH_OK)
		goto done;
	share_a(p);
	hth_params_bind_saved(p, &saved, plan_only);
	if (!plan_only)
		status = fill_loras(p, cfg->seed, start, err);
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
	if (cfg->type == HTH_TRAIN_FULL && m->config.n_experts > 0 &&
	    (m->family->interleaved || m->config.experts_beside))
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"full training of family \"%s\": its folders hold all experts of a layer in one tensor, which "
				"is not written yet; train a LoRA",
				m->family->name);
	if (cfg->type == HTH_TRAIN_FULL && m->config.n_own > 0)
		return hth_fail(err, HTH_ERR_UNAVAILABLE,
				"full training of %s: its layers' own inputs (hidden_size_per_layer_input) lie in one tensor, "
				"which is not trained yet; train a LoRA",
				m->name);
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

/* The module of layer's linear k, all its parts, in the adapter's arena. */
static bool fill_module(const struct hth_params *p, struct hth_adapter *out, const char *name,
			struct hth_lora_module *mod)
{
	struct hth_module_part part[3];
	int n = hth_module_parts(p->model, name, part);
	const struct hth_lora *first = p->loras[part[0].layer * HTH_LINEAR_COUNT + part[0].kind];
	int64_t stack = hth_linear_stack(p->model, part[0].kind);
	char full[128];

	hth_nested_name(p->model, name, full);
	*mod = (struct hth_lora_module){.name = hth_arena_strndup(&out->arena, full, strlen(full)),
					.experts = part[0].kind >= HTH_EXPERTS_GATE ? stack : 0,
					.in = first->a.cols,
					.rank = (int)first->b.cols,
					.scale = first->scale};
	for (int i = 0; i < n; i++)
		mod->out += part[i].rows;
	mod->a = hth_arena_calloc(&out->arena, (size_t)(stack * mod->rank * mod->in), sizeof(float));
	mod->b = hth_arena_calloc(&out->arena, (size_t)(stack * mod->out * mod->rank), sizeof(float));
	if (p->dora)
		mod->mag = hth_arena_calloc(&out->arena, (size_t)mod->out, sizeof(float));
	if (mod->name == NULL || mod->a == NULL || mod->b == NULL || (p->dora && mod->mag == NULL))
		return false;
	memcpy(mod->a, first->a.value, (size_t)(stack * mod->rank * mod->in) * sizeof(float));
	for (int i = 0; i < n; i++) {
		const struct hth_lora *l = p->loras[part[i].layer * HTH_LINEAR_COUNT + part[i].kind];
		for (int64_t e = 0; e < stack; e++)
			memcpy(mod->b + (e * mod->out + part[i].first) * mod->rank,
			       l->b.value + e * part[i].rows * mod->rank,
			       (size_t)(part[i].rows * mod->rank) * sizeof(float));
		if (p->dora)
			memcpy(mod->mag + part[i].first, l->mag.value, (size_t)part[i].rows * sizeof(float));
	}
	if (mod->experts > 0)
		return true;
	struct hth_lora view = {.a = {.rows = mod->rank, .cols = mod->in, .value = mod->a},
				.b = {.rows = mod->out, .cols = mod->rank, .value = mod->b},
				.mag = {.rows = 1, .cols = mod->out, .value = mod->mag}};
	return hth_lora_order(p->model, part[0].kind, false, &view, &out->arena);
}

enum hth_status hth_params_adapter(const struct hth_params *p, const struct hth_train_config *cfg, const char *base,
				   struct hth_adapter *out, struct hth_err *err)
{
	size_t n = (size_t)p->model->config.n_layers * HTH_LINEAR_COUNT;
	char module[80];

	*out = (struct hth_adapter){.rank = p->rank,
				    .alpha = p->alpha,
				    .dropout = cfg->dropout,
				    .rslora = p->rslora,
				    .n_layers = (int)p->model->config.n_layers,
				    .layout = hth_model_expert_layout(p->model)};
	hth_arena_init(&out->arena, SIZE_MAX / 2);
	out->modules = hth_arena_calloc(&out->arena, n, sizeof *out->modules);
	out->base_model = hth_arena_strndup(&out->arena, base, strlen(base));
	bool ok = out->modules != NULL && out->base_model != NULL;
	for (size_t i = 0; i < n && ok; i++)
		if (p->loras[i] != NULL && *owner_of(p, (int64_t)(i / HTH_LINEAR_COUNT), (int)(i % HTH_LINEAR_COUNT),
						     module) == p->loras[i])
			ok = fill_module(p, out, module, &out->modules[out->n_modules++]);
	if (ok)
		ok = hth_params_put_saved(p, out);
	if (ok)
		return HTH_OK;
	hth_adapter_clear(out);
	return hth_fail_memory(err, "the trained adapter", (size_t)p->n_elems * sizeof(float));
}

enum hth_status hth_params_set(struct hth_params *p, struct hth_lora_set *out, struct hth_err *err)
{
	enum hth_status status = hth_lora_set_init(out, p->model, &p->loras, p->loras != NULL ? 1 : 0, err);

	if (status == HTH_OK && p->loras != NULL)
		hth_lora_set_replace(out, 0, &p->replaced);
	return status;
}
