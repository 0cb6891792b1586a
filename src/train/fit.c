/* Finding a way to run that fits (token budget, layers run again), and the memory of a run. */
#include "train/fit.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"

#include <stdio.h>
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

/* A way to run: how steps are cut, and which micro-batches run layers again. */
struct way {
	int64_t budget;
	struct hth_recompute recompute;
};

struct search {
	const struct hth_fit_args *a;
	struct hth_params *p;
	const struct hth_lora_set *loras;
	uint64_t left; /* for activations and batches */
};

int64_t hth_recompute_most(const struct hth_model *m)
{
	return m->config.n_layers - 1;
}

const char *hth_fit_recompute_text(const struct hth_fit *f, char out[200])
{
	char with[32], without[32], which[64] = "every micro-batch";

	out[0] = '\0';
	if (f->recompute.layers == 0)
		return out;
	if (f->recompute.over > 0)
		snprintf(which, sizeof which, "micro-batches of more than %lld tokens", (long long)f->recompute.over);
	snprintf(out, 200, "%lld of %lld layers run twice in %s: %s instead of %s of activations for %.0f %% more work",
		 (long long)f->recompute.layers, (long long)f->n_layers, which,
		 hth_format_bytes(with, f->memory.arena_bytes), hth_format_bytes(without, f->plain_arena_bytes),
		 f->plain_flops > 0 ? 100 * (f->walk.flops / f->plain_flops - 1) : 0);
	return out;
}

/* Walks one way. An arena beyond the limit (0: none) ends the walk early with HTH_ERR_MEMORY. */
static enum hth_status walk_way(const struct search *s, const struct hth_train_config *run,
				const struct hth_dataset *train, const struct hth_dataset *valid, struct way way,
				uint64_t arena_limit, struct hth_walk *walk, struct hth_err *err)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN,
				      .backend = s->a->backend,
				      .machine = s->a->machine,
				      .arena_bytes = arena_limit};
	struct hth_cut_config cut = {.token_budget = way.budget, .share_prefix = run->share_prefix};
	struct hth_exec *exec = NULL;
	struct hth_stepper stepper;
	enum hth_status status = hth_exec_new(&cfg, &exec, err);

	if (status != HTH_OK)
		return status;
	hth_stepper_init(&stepper, exec, s->a->model, s->loras, s->p, &cut);
	stepper.recompute = way.recompute;
	status = hth_walk_run(&stepper, run, train, valid, walk, err);
	hth_stepper_clear(&stepper);
	hth_exec_free(exec);
	return status;
}

/* Walks the run itself one way into *out; *fits: it stays within what is left. */
static enum hth_status try_way(const struct search *s, struct way way, struct hth_fit *out, bool *fits,
			       struct hth_err *err)
{
	struct hth_walk walk = {0};
	enum hth_status status = HTH_ERR_MEMORY;

	if (s->left > 0)
		status = walk_way(s, s->a->cfg, s->a->train, s->a->valid, way, s->left, &walk, err);
	*fits = status == HTH_OK && walk.arena_bytes + walk.batch_bytes <= s->left;
	out->token_budget = way.budget;
	out->recompute = way.recompute;
	out->walk = walk;
	return status == HTH_ERR_MEMORY ? HTH_OK : status;
}

/* One example of n tokens, all but the first of them targets: the costliest of its length. */
static enum hth_status arena_of_length(const struct search *s, struct hth_recompute recompute, size_t n,
				       uint64_t *bytes, struct hth_err *err)
{
	struct hth_data_example item = {.line = 1};
	struct hth_dataset one = {.items = &item, .n = 1, .longest = (uint32_t)n};
	struct hth_train_config cfg = *s->a->cfg;
	struct way way = {.budget = 1, .recompute = recompute};
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
	status = walk_way(s, &cfg, &one, NULL, way, 0, &walk, err);
	*bytes = walk.arena_bytes;
done:
	hth_free(item.tokens.ids);
	hth_free(item.tokens.target);
	return status;
}

/* "..., with max_seq_length 512 it would fit" from walking one example of each length. */
static void say_what_fits(const struct search *s, const struct hth_fit *fit, char *out, size_t out_bytes)
{
	const struct hth_memory *m = &fit->memory;
	struct way again = {.budget = fit->token_budget, .recompute.layers = hth_recompute_most(s->a->model)};
	char need[32], have[32];
	struct hth_fit other;
	bool fits = false;

	if (s->a->cfg->checkpointing == HTH_CHECKPOINTING_OFF && again.recompute.layers > 0 &&
	    try_way(s, again, &other, &fits, NULL) == HTH_OK && fits) {
		snprintf(out, out_bytes, "; with gradient_checkpointing auto it would fit");
		return;
	}
	for (size_t n = 8192; n >= 32 && s->left > 0; n /= 2) {
		uint64_t bytes = UINT64_MAX;
		if (n >= s->a->train->longest ||
		    arena_of_length(s, fit->recompute, n, &bytes, NULL) != HTH_OK || bytes > s->left)
			continue;
		snprintf(out, out_bytes, "; with max_seq_length %zu it would fit", n);
		return;
	}
	snprintf(out, out_bytes, "; without any batch it needs %s of %s: choose a smaller base or one of fewer bits",
		 hth_format_bytes(need, without_arena(m)), hth_format_bytes(have, m->limit_bytes));
}

/* *out: the smallest way that was tried. Walks it whole, for its true need. */
static enum hth_status refuse(const struct search *s, struct hth_fit *out, struct hth_err *err)
{
	char hint[200], limit[32], weights[32], params[32], arena[32], rest[32], total[32];
	struct hth_memory *m = &out->memory;
	struct way way = {.budget = out->token_budget, .recompute = out->recompute};
	int64_t longest = s->a->train->longest;
	enum hth_status status = walk_way(s, s->a->cfg, s->a->train, s->a->valid, way, 0, &out->walk, err);

	if (status != HTH_OK)
		return status;
	m->arena_bytes = out->walk.arena_bytes;
	m->total_bytes = without_arena(m) + m->arena_bytes;
	say_what_fits(s, out, hint, sizeof hint);
	return hth_fail(
		err, HTH_ERR_MEMORY,
		"this run does not fit: it needs %s (weights %s, trained values and moments %s, a micro-batch of %lld "
		"tokens at least %s%s, data and program %s) and may use %s%s",
		hth_format_bytes(total, m->total_bytes),
		hth_format_bytes(weights, m->mapped_bytes + m->prepared_bytes),
		hth_format_bytes(params, m->params_bytes), (long long)(longest > way.budget ? longest : way.budget),
		hth_format_bytes(arena, m->arena_bytes),
		way.recompute.layers > 0 ? " with gradient checkpointing" : "",
		hth_format_bytes(rest, m->data_bytes + m->program_bytes), hth_format_bytes(limit, m->limit_bytes), hint);
}

/* Products reach their speed at some hundred rows; a larger micro-batch only saves what shared beginnings it holds. So
 * a smaller budget is taken where it costs next to no more work: the memory is the user's. */
static enum hth_status spare_memory(const struct search *s, struct hth_fit *out, struct hth_err *err)
{
	static const int64_t smaller[] = {2048, 1024, 512};
	double enough = out->walk.flops * (1 + MORE_WORK);

	for (size_t i = 0; i < sizeof smaller / sizeof smaller[0]; i++) {
		struct way way = {.budget = smaller[i], .recompute = out->recompute};
		struct hth_fit less = *out;
		bool fits;
		if (smaller[i] >= out->token_budget)
			continue;
		enum hth_status status = try_way(s, way, &less, &fits, err);
		if (status != HTH_OK)
			return status;
		if (!fits || less.walk.flops > enough)
			return HTH_OK;
		*out = less;
	}
	return HTH_OK;
}

/* Of a way that fits with layers run again: the fewest layers with which it does. */
static enum hth_status fewest_layers(const struct search *s, struct hth_fit *out, struct hth_err *err)
{
	int64_t low = 1, high = out->recompute.layers;

	while (low < high) {
		struct way way = {.budget = out->token_budget, .recompute = out->recompute};
		struct hth_fit less = *out;
		bool fits;
		way.recompute.layers = low + (high - low) / 2;
		enum hth_status status = try_way(s, way, &less, &fits, err);
		if (status != HTH_OK)
			return status;
		if (fits) {
			*out = less;
			high = way.recompute.layers;
		} else {
			low = way.recompute.layers + 1;
		}
	}
	return HTH_OK;
}

/* Micro-batches within the budget keep everything where that fits; the longer examples run layers again. */
static enum hth_status find_recompute(const struct search *s, const int64_t *budgets, size_t n, struct hth_fit *out,
				      bool *fits, struct hth_err *err)
{
	struct way way = {.recompute.layers = hth_recompute_most(s->a->model)};
	enum hth_status status = HTH_OK;

	for (size_t i = 0; i < n && status == HTH_OK && !*fits; i++) {
		way.budget = way.recompute.over = budgets[i];
		status = try_way(s, way, out, fits, err);
	}
	if (status == HTH_OK && !*fits) {
		way.recompute.over = 0;
		status = try_way(s, way, out, fits, err);
	}
	return status == HTH_OK && *fits ? fewest_layers(s, out, err) : status;
}

static enum hth_status find_way(const struct search *s, struct hth_fit *out, bool *fits, struct hth_err *err)
{
	static const int64_t tried[] = {4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 128, 64, 1};
	const struct hth_train_config *cfg = s->a->cfg;
	const int64_t *budgets = tried;
	size_t n = sizeof tried / sizeof tried[0];
	struct way way = {0};
	enum hth_status status = HTH_OK;

	if (cfg->token_budget > 0 || s->a->token_budget > 0) {
		budgets = cfg->token_budget > 0 ? &cfg->token_budget : &s->a->token_budget;
		n = 1;
	}
	if (cfg->checkpointing == HTH_CHECKPOINTING_ON)
		way.recompute.layers = hth_recompute_most(s->a->model);
	for (size_t i = 0; i < n && status == HTH_OK && !*fits; i++) {
		way.budget = budgets[i];
		status = try_way(s, way, out, fits, err);
	}
	if (status == HTH_OK && *fits && n > 1)
		return spare_memory(s, out, err);
	if (status == HTH_OK && !*fits && cfg->checkpointing == HTH_CHECKPOINTING_AUTO &&
	    hth_recompute_most(s->a->model) > 0)
		return find_recompute(s, budgets, n, out, fits, err);
	return status;
}

static enum hth_status find_fit(const struct hth_fit_args *a, struct hth_params *p, const struct hth_lora_set *loras,
				struct hth_fit *out, struct hth_err *err)
{
	struct search s = {.a = a, .p = p, .loras = loras};
	struct hth_memory *m = &out->memory;
	bool fits = false;

	out->n_layers = a->model->config.n_layers;
	fixed_memory(a, p, m);
	s.left = m->limit_bytes > without_arena(m) ? m->limit_bytes - without_arena(m) : 0;
	enum hth_status status = find_way(&s, out, &fits, err);
	if (status != HTH_OK)
		return status;
	if (!fits)
		return refuse(&s, out, err);
	m->arena_bytes = out->walk.arena_bytes;
	m->data_bytes += out->walk.batch_bytes;
	m->total_bytes = without_arena(m) + m->arena_bytes;
	if (out->recompute.layers > 0) {
		struct hth_walk plain;
		status = walk_way(&s, a->cfg, a->train, a->valid, (struct way){.budget = out->token_budget}, 0, &plain,
				  err);
		out->plain_arena_bytes = plain.arena_bytes;
		out->plain_flops = plain.flops;
	}
	return status;
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
		status = find_fit(a, &p, &loras, out, err);
	hth_lora_set_clear(&loras);
	hth_params_free(&p);
	return status;
}
