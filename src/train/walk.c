/* Walking a run. Deterministic: what it walks depends on data and config, never on time or values. */
#include "train/walk.h"

#include <math.h>

int64_t hth_train_per_step(const struct hth_train_config *cfg)
{
	int64_t n;

	if (cfg->batch_size < 1 || cfg->accumulation < 1)
		return 0;
	return __builtin_mul_overflow(cfg->batch_size, cfg->accumulation, &n) || n > INT32_MAX / 2 ? INT32_MAX / 2 : n;
}

int64_t hth_train_steps(const struct hth_train_config *cfg, size_t n_examples, int64_t *steps_per_epoch)
{
	int64_t per_step = hth_train_per_step(cfg), n = (int64_t)n_examples;

	*steps_per_epoch = per_step > 0 ? (n + per_step - 1) / per_step : 0;
	if (cfg->iters > 0)
		return cfg->iters;
	double steps = ceil(cfg->epochs * (double)*steps_per_epoch - 1e-9);
	return steps < 1 ? 1 : steps > 1e15 ? (int64_t)1e15 : (int64_t)steps;
}

/* How often something has been due after `done` steps: every N steps, or evenly `per_epoch` times an epoch, its end
 * among them. */
static int64_t times_due(int64_t every, int64_t per_epoch, int64_t done, int64_t steps_per_epoch)
{
	if (every > 0)
		return done / every;
	int64_t n = per_epoch < 1 ? 1 : per_epoch < steps_per_epoch ? per_epoch : steps_per_epoch;
	return done / steps_per_epoch * n + done % steps_per_epoch * n / steps_per_epoch;
}

bool hth_train_eval_due(const struct hth_train_config *cfg, int64_t done, int64_t total, int64_t steps_per_epoch)
{
	return done == total || times_due(cfg->eval_every, cfg->evals_per_epoch, done, steps_per_epoch) >
					times_due(cfg->eval_every, cfg->evals_per_epoch, done - 1, steps_per_epoch);
}

bool hth_train_save_due(const struct hth_train_config *cfg, int64_t done, int64_t steps_per_epoch)
{
	return times_due(cfg->save_every, cfg->saves_per_epoch, done, steps_per_epoch) >
	       times_due(cfg->save_every, cfg->saves_per_epoch, done - 1, steps_per_epoch);
}

int64_t hth_train_eval_items(const struct hth_train_config *cfg, const struct hth_dataset *valid)
{
	int64_t rows = 0;
	size_t i = 0;

	for (; i < valid->n; i++) {
		bool begins = i == 0 || valid->items[i].line != valid->items[i - 1].line;
		if (begins && cfg->eval_rows > 0 && rows == cfg->eval_rows)
			break;
		rows += begins;
	}
	return (int64_t)i;
}

static int64_t count_evals(const struct hth_train_config *cfg, const struct hth_walk *w)
{
	int64_t n = times_due(cfg->eval_every, cfg->evals_per_epoch, w->steps, w->steps_per_epoch);
	bool at_end = n > times_due(cfg->eval_every, cfg->evals_per_epoch, w->steps - 1, w->steps_per_epoch);

	return 1 + n + !at_end; /* one before the first step */
}

static void take_peaks(struct hth_walk *out, const struct hth_stepper *s)
{
	uint64_t peak = hth_exec_totals(s->exec)->peak_ever_bytes;
	uint64_t batch = s->batch_arena.used_bytes + s->step_arena.used_bytes;

	out->arena_bytes = peak > out->arena_bytes ? peak : out->arena_bytes;
	out->batch_bytes = batch > out->batch_bytes ? batch : out->batch_bytes;
}

static enum hth_status walk_steps(struct hth_stepper *s, const struct hth_train_config *cfg,
				  const struct hth_dataset *train, struct hth_order *order, struct hth_walk *out,
				  struct hth_err *err)
{
	double tokens = 0, computed = 0, targets = 0, micro = 0;
	struct hth_step_args a;

	hth_step_args_from(&a, cfg);
	a.data = train;
	for (int64_t step = 0; step < out->steps && micro < HTH_WALK_MICRO_BATCHES; step++) {
		struct hth_step_out got;
		a.order = hth_order_step(order, step, &a.n);
		a.step = step;
		a.update = step + 1;
		enum hth_status status = hth_step_run(s, &a, &got, err);
		if (status != HTH_OK)
			return status;
		take_peaks(out, s);
		tokens += (double)got.n_tokens;
		computed += (double)got.n_computed;
		targets += (double)got.n_targets;
		micro += got.n_micro;
		out->train_flops += got.flops;
		out->train_bytes_moved += got.bytes_moved;
		out->walked_steps++;
	}
	double whole = (double)out->steps / (double)out->walked_steps;
	double epochs = (double)out->walked_steps / (double)out->steps_per_epoch;
	out->epoch_tokens = tokens / epochs;
	out->epoch_computed = computed / epochs;
	out->epoch_targets = targets / epochs;
	out->micro_batches = micro * whole;
	out->train_flops *= whole;
	out->train_bytes_moved *= whole;
	return HTH_OK;
}

enum hth_status hth_walk_run(struct hth_stepper *s, const struct hth_train_config *cfg, const struct hth_dataset *train,
			     const struct hth_dataset *valid, struct hth_walk *out, struct hth_err *err)
{
	struct hth_order order = {0};
	struct hth_eval_out eval = {0};

	*out = (struct hth_walk){.longest_tokens = train->longest};
	out->steps = hth_train_steps(cfg, train->n, &out->steps_per_epoch);
	if (train->n > INT32_MAX)
		return hth_fail(err, HTH_ERR_LIMIT, "%zu examples, expected at most %d", train->n, INT32_MAX);
	enum hth_status status =
		hth_order_init(&order, (uint32_t)train->n, hth_train_per_step(cfg), cfg->seed, cfg->shuffle, err);
	if (status == HTH_OK)
		status = walk_steps(s, cfg, train, &order, out, err);
	hth_order_clear(&order);
	if (status != HTH_OK)
		return status;
	out->flops = out->train_flops;
	out->bytes_moved = out->train_bytes_moved;
	if (valid == NULL || valid->n == 0)
		return HTH_OK;
	out->n_evals = count_evals(cfg, out);
	status = hth_eval_run(s, valid, hth_train_eval_items(cfg, valid), NULL, &eval, err);
	take_peaks(out, s);
	out->flops += eval.flops * (double)out->n_evals;
	out->bytes_moved += eval.bytes_moved * (double)out->n_evals;
	return status;
}
