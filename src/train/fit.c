/* Finding a token budget that fits, and the memory of a run. */
#include "train/fit.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"

#include <string.h>

/* The part of more work that half the memory may cost. */
#define MORE_WORK 0.02

uint64_t hth_dataset_bytes(const struct hth_dataset *d)
{
	return d == NULL ? 0 : d->cap * sizeof *d->items + d->n_tokens * (sizeof(int32_t) + 1);
}

/* What stays the same whatever the batches: weights, parameters, data, the program. */
struct weights_ctx {
	const struct hth_fit_args *a;
	struct hth_memory *m;
};

/* The same choice as hth_model_prepare: vectors and an embedding that is only looked up in stay as they are. */
static void add_weight(void *ctx, struct hth_weight *w)
{
	const struct weights_ctx *c = ctx;
	const struct hth_model *model = c->a->model;
	uint64_t prepared = 0;
	bool lookup_only = w == &model->embed && !model->config.tied && c->a->backend->host_memory;

	if (w->param != NULL)
		return; /* a trained copy: among the parameters */
	if (w->rows > 1 && !lookup_only)
		prepared = c->a->backend->prepare_bytes(&c->a->machine, w, true);
	c->m->prepared_bytes += prepared;
	if (prepared == 0 && w->rows > 1)
		c->m->mapped_bytes += hth_weight_bytes(w);
}

static void fixed_memory(const struct hth_fit_args *a, const struct hth_params *p, struct hth_memory *m)
{
	struct weights_ctx ctx = {.a = a, .m = m};
	struct hth_mem_use use;
	struct hth_machine_info info;

	hth_model_each_weight(a->model, add_weight, &ctx);
	m->params_bytes = hth_params_bytes(p);
	m->data_bytes = hth_dataset_bytes(a->train) + hth_dataset_bytes(a->valid);
	hth_mem_sample(&use);
	m->program_bytes = a->program_bytes;
	if (m->program_bytes == 0)
		m->program_bytes = use.anon_bytes > m->data_bytes ? use.anon_bytes - m->data_bytes : 0;
	m->limit_bytes = a->cfg->memory_limit;
	if (m->limit_bytes == 0) {
		hth_machine_info(&info);
		m->limit_bytes = info.available_bytes + use.anon_bytes; /* what we hold already is ours to count */
	}
}

static uint64_t without_arena(const struct hth_memory *m)
{
	return m->mapped_bytes + m->prepared_bytes + m->params_bytes + m->data_bytes + m->program_bytes;
}

/* Walks under one budget. An arena beyond what is left ends the walk early with HTH_ERR_MEMORY. */
static enum hth_status try_budget(const struct hth_fit_args *a, struct hth_params *p, const struct hth_lora_set *loras,
				  const struct hth_dataset *train, const struct hth_dataset *valid, int64_t budget,
				  uint64_t arena_limit, struct hth_walk *walk, struct hth_err *err)
{
	struct hth_exec_config cfg = {
		.mode = HTH_EXEC_PLAN, .backend = a->backend, .machine = a->machine, .arena_bytes = arena_limit};
	struct hth_cut_config cut = {.token_budget = budget, .share_prefix = a->cfg->share_prefix};
	struct hth_exec *exec = NULL;
	struct hth_stepper s;
	enum hth_status status = hth_exec_new(&cfg, &exec, err);

	if (status != HTH_OK)
		return status;
	hth_stepper_init(&s, exec, a->model, loras, p, &cut);
	status = hth_walk_run(&s, a->cfg, train, valid, walk, err);
	hth_stepper_clear(&s);
	hth_exec_free(exec);
	return status;
}

/* One example of n tokens, all but the first of them targets: the costliest of its length. */
static enum hth_status arena_of_length(const struct hth_fit_args *a, struct hth_params *p,
				       const struct hth_lora_set *loras, size_t n, uint64_t *bytes, struct hth_err *err)
{
	struct hth_data_example item = {.line = 1};
	struct hth_dataset one = {.items = &item, .n = 1, .longest = (uint32_t)n};
	struct hth_train_config cfg = *a->cfg;
	struct hth_fit_args b = *a;
	struct hth_walk walk;
	enum hth_status status = HTH_OK;

	item.tokens = (struct hth_example){
		.ids = hth_calloc(n, sizeof *item.tokens.ids), .target = hth_alloc(n), .n = n, .n_targets = n - 1};
	if (item.tokens.ids == NULL || item.tokens.target == NULL) {
		status = hth_fail_memory(err, "an example", n);
		goto done;
	}
	memset(item.tokens.target, 1, n);
	cfg.iters = 1;
	b.cfg = &cfg;
	status = try_budget(&b, p, loras, &one, NULL, 1, 0, &walk, err);
	*bytes = walk.arena_bytes;
done:
	hth_free(item.tokens.ids);
	hth_free(item.tokens.target);
	return status;
}

/* "..., with max_seq_length 512 it would fit" from walking one example of each length. */
static void say_what_fits(const struct hth_fit_args *a, struct hth_params *p, const struct hth_lora_set *loras,
			  const struct hth_memory *m, char *out, size_t out_bytes)
{
	uint64_t left = m->limit_bytes > without_arena(m) ? m->limit_bytes - without_arena(m) : 0;
	char need[32], have[32];

	if (left > 0) {
		for (size_t n = 8192; n >= 32; n /= 2) {
			uint64_t bytes = UINT64_MAX;
			if (n >= a->train->longest || arena_of_length(a, p, loras, n, &bytes, NULL) != HTH_OK ||
			    bytes > left)
				continue;
			snprintf(out, out_bytes, "; with max_seq_length %zu it would fit", n);
			return;
		}
	}
	snprintf(out, out_bytes, "; without any batch it needs %s of %s: choose a smaller base or one of fewer bits",
		 hth_format_bytes(need, without_arena(m)), hth_format_bytes(have, m->limit_bytes));
}

static enum hth_status refuse(const struct hth_fit_args *a, struct hth_params *p, const struct hth_lora_set *loras,
			      const struct hth_memory *m, int64_t budget, struct hth_err *err)
{
	char hint[200], limit[32], weights[32], params[32], arena[32], rest[32], total[32];

	say_what_fits(a, p, loras, m, hint, sizeof hint);
	return hth_fail(
		err, HTH_ERR_MEMORY,
		"this run does not fit: it needs %s (weights %s, trained values and moments %s, a micro-batch of %lld "
		"tokens at least %s, data and program %s) and may use %s%s",
		hth_format_bytes(total, without_arena(m) + m->arena_bytes),
		hth_format_bytes(weights, m->mapped_bytes + m->prepared_bytes),
		hth_format_bytes(params, m->params_bytes),
		(long long)(a->train->longest > budget ? (int64_t)a->train->longest : budget),
		hth_format_bytes(arena, m->arena_bytes), hth_format_bytes(rest, m->data_bytes + m->program_bytes),
		hth_format_bytes(limit, m->limit_bytes), hint);
}

/* Products reach their speed at some hundred rows; a larger micro-batch only saves what shared beginnings it holds. So
 * a smaller budget is taken where it costs next to no more work: the memory is the user's. */
static enum hth_status spare_memory(const struct hth_fit_args *a, struct hth_params *p,
				    const struct hth_lora_set *loras, uint64_t left, struct hth_fit *out,
				    struct hth_err *err)
{
	static const int64_t smaller[] = {2048, 1024, 512};
	double enough = out->walk.flops * (1 + MORE_WORK);

	for (size_t i = 0; i < sizeof smaller / sizeof smaller[0]; i++) {
		struct hth_walk walk = {0};
		if (smaller[i] >= out->token_budget)
			continue;
		enum hth_status status = try_budget(a, p, loras, a->train, a->valid, smaller[i], left, &walk, err);
		if (status != HTH_OK)
			return status;
		if (walk.flops > enough)
			return HTH_OK;
		out->token_budget = smaller[i];
		out->walk = walk;
	}
	return HTH_OK;
}

static enum hth_status find_budget(const struct hth_fit_args *a, struct hth_params *p, const struct hth_lora_set *loras,
				   struct hth_fit *out, struct hth_err *err)
{
	static const int64_t tried[] = {4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 128, 64, 1};
	struct hth_memory *m = &out->memory;
	const int64_t *budgets = tried;
	size_t n = sizeof tried / sizeof tried[0];

	fixed_memory(a, p, m);
	if (a->cfg->token_budget > 0 || a->token_budget > 0) {
		budgets = a->cfg->token_budget > 0 ? &a->cfg->token_budget : &a->token_budget;
		n = 1;
	}
	uint64_t fixed = without_arena(m), left = m->limit_bytes > fixed ? m->limit_bytes - fixed : 0;
	for (size_t i = 0; i < n; i++) {
		struct hth_walk walk = {0};
		enum hth_status status = HTH_ERR_MEMORY;
		if (left > 0)
			status = try_budget(a, p, loras, a->train, a->valid, budgets[i], left, &walk, err);
		out->token_budget = budgets[i];
		out->walk = walk;
		m->arena_bytes = walk.arena_bytes;
		if (status == HTH_OK && walk.arena_bytes + walk.batch_bytes <= left) {
			if (n > 1)
				status = spare_memory(a, p, loras, left, out, err);
			if (status != HTH_OK)
				return status;
			m->arena_bytes = out->walk.arena_bytes;
			m->data_bytes += out->walk.batch_bytes;
			m->total_bytes = without_arena(m) + m->arena_bytes;
			return HTH_OK;
		}
		if (status != HTH_OK && status != HTH_ERR_MEMORY)
			return status;
	}
	/* The true need of the smallest, for the message. */
	struct hth_walk walk = {0};
	enum hth_status status = try_budget(a, p, loras, a->train, a->valid, out->token_budget, 0, &walk, err);
	if (status != HTH_OK)
		return status;
	out->walk = walk;
	m->arena_bytes = walk.arena_bytes;
	m->total_bytes = fixed + walk.arena_bytes;
	return refuse(a, p, loras, m, out->token_budget, err);
}

enum hth_status hth_fit_find(const struct hth_fit_args *a, struct hth_fit *out, struct hth_err *err)
{
	struct hth_params p;
	struct hth_lora_set loras = {0};
	struct hth_err own; /* texts of refused budgets are not the caller's */

	if (err == NULL)
		err = &own;
	memset(out, 0, sizeof *out);
	enum hth_status status = hth_params_new(a->model, a->cfg, true, &p, err);
	if (status != HTH_OK)
		return status;
	status = hth_params_set(&p, &loras, err);
	if (status == HTH_OK)
		status = find_budget(a, &p, &loras, out, err);
	hth_lora_set_clear(&loras);
	hth_params_free(&p);
	return status;
}
