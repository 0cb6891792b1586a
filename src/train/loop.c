/* The loop: steps, validations, reports, checkpoints, and the ways to end. State changes in one order everywhere, so
 * that a checkpoint taken between two things resumes between the same two. */
#include "train/run_int.h"
#include "train/stop.h"

#include "base/machine.h"

#include <math.h>
#include <string.h>

#define MAX_SKIPPED_IN_ROW 10

/* What the lines of a report are made of: everything since the last one. */
struct window {
	double loss, seconds;
	int64_t targets, tokens, steps;
};

static double elapsed(const struct hth_run *r)
{
	return r->elapsed_before_s + hth_now_s() - r->start_s;
}

static double epoch_of(const struct hth_run *r, int64_t step)
{
	return (double)step / (double)r->steps_per_epoch;
}

static enum hth_status save(struct hth_run *r, bool needed, struct hth_err *err)
{
	struct hth_err why;

	if (r->saved_step == r->at.step && r->saved_pending == r->at.eval_pending)
		return HTH_OK;
	r->at.epoch = r->at.step / r->steps_per_epoch;
	r->at.cursor = r->at.step % r->steps_per_epoch * r->order.per_step;
	r->at.elapsed_s = elapsed(r);
	hth_metrics_sync(&r->metrics); /* before the checkpoint: rows up to its step are there when it is */
	enum hth_status status =
		hth_checkpoint_save(r->checkpoints_dir, &r->params, &r->at, &r->facts, r->cfg->keep_checkpoints, &why);
	if (status == HTH_OK) {
		r->saved_step = r->at.step;
		r->saved_pending = r->at.eval_pending;
		return HTH_OK;
	}
	if (needed || status == HTH_ERR_VALUE)
		return hth_fail(err, status, "%s", why.text);
	hth_warn("no checkpoint at step %lld: %s; training goes on%s", (long long)r->at.step, why.text,
		 r->saved_step >= 0 ? ", the one before stands" : "");
	return HTH_OK;
}

/* Walks this step (args NULL: a validation) within what memory is left. */
static enum hth_status plan_pass(struct hth_run *r, const struct hth_step_args *args, uint64_t *need,
				 struct hth_err *err)
{
	const struct hth_memory *m = &r->fit.memory;
	uint64_t others = m->total_bytes - m->arena_bytes;
	struct hth_exec_config cfg = {.mode = HTH_EXEC_PLAN,
				      .backend = r->backend,
				      .machine = r->machine,
				      .arena_bytes = m->limit_bytes > others ? m->limit_bytes - others : 1};
	struct hth_exec *plan = NULL;
	struct hth_step_out step;
	struct hth_eval_out eval;
	enum hth_status status = hth_exec_new(&cfg, &plan, err);

	if (status != HTH_OK)
		return status;
	r->stepper.exec = plan;
	status = args != NULL ? hth_step_run(&r->stepper, args, &step, err)
			      : hth_eval_run(&r->stepper, &r->valid, r->n_eval, NULL, &eval, err);
	*need = hth_exec_totals(plan)->peak_ever_bytes;
	hth_exec_free(plan);
	r->stepper.exec = r->exec;
	return status;
}

/* A batch larger than any that was planned: plans it and takes the memory if it may, or runs layers again from here on,
 * first in batches beyond the budget alone. The pass that failed left no trace. */
static enum hth_status grow_arena(struct hth_run *r, const struct hth_step_args *args, struct hth_err *err)
{
	const int64_t over[2] = {r->fit.token_budget, 0};
	uint64_t need = 0;
	enum hth_status status = plan_pass(r, args, &need, err);

	for (int i = 0; i < 2 && status == HTH_ERR_MEMORY && args != NULL; i++) {
		if (r->cfg->checkpointing != HTH_CHECKPOINTING_AUTO)
			break;
		r->stepper.recompute =
			(struct hth_recompute){.layers = hth_recompute_most(r->model), .over = over[i]};
		status = plan_pass(r, args, &need, err);
		if (status == HTH_OK)
			hth_info("step %lld needs gradient checkpointing to fit: from here on %lld layers run twice",
				 (long long)r->at.step + 1, (long long)r->stepper.recompute.layers);
	}
	if (status != HTH_OK)
		return hth_err_prefix(err, "step %lld", (long long)r->at.step + 1);
	return hth_run_make_exec(r, need > r->arena_bytes ? need : r->arena_bytes, err);
}

static enum hth_status run_step(struct hth_run *r, struct hth_step_args *args, struct hth_step_out *out,
				struct hth_err *err)
{
	args->data = &r->train;
	args->order = hth_order_step(&r->order, r->at.step, &args->n);
	args->step = r->at.step;
	args->update = r->at.updates + 1;
	args->lr = hth_schedule_lr(r->cfg, r->at.step, r->total);
	enum hth_status status = hth_step_run(&r->stepper, args, out, err);
	if (status == HTH_ERR_LIMIT) {
		status = grow_arena(r, args, err);
		if (status == HTH_OK)
			status = hth_step_run(&r->stepper, args, out, err);
	}
	return status;
}

static enum hth_status run_eval(struct hth_run *r, struct hth_eval_out *out, struct hth_err *err)
{
	enum hth_status status = hth_eval_run(&r->stepper, &r->valid, r->n_eval, hth_stop_requested, out, err);

	if (status == HTH_ERR_LIMIT) {
		status = grow_arena(r, NULL, err);
		if (status == HTH_OK)
			status = hth_eval_run(&r->stepper, &r->valid, r->n_eval, hth_stop_requested, out, err);
	}
	return status;
}

/* Skipped steps are counted and told; too many in a row end the run before its memory of good gradients fades. */
static enum hth_status count_step(struct hth_run *r, const struct hth_step_args *args, const struct hth_step_out *out,
				  struct hth_err *err)
{
	r->at.step++;
	r->at.trained_tokens += out->n_tokens;
	r->at.trained_targets += out->n_targets;
	if (!out->skipped) {
		r->at.updates++;
		r->at.skipped_in_row = 0;
		return HTH_OK;
	}
	r->at.skipped++;
	r->at.skipped_in_row++;
	uint32_t line = out->bad_line > 0 ? out->bad_line : r->train.items[args->order[0]].line;
	hth_warn("step %lld: its %s is not finite (rows from %s:%u on); the step was skipped", (long long)r->at.step,
		 out->bad_line > 0 ? "loss" : "gradient", r->train.path, line);
	if (r->at.skipped_in_row < MAX_SKIPPED_IN_ROW)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_VALUE,
			"%d steps in a row gave no finite %s, the last one with rows from %s:%u on; lower the learning "
			"rate, or "
			"look at these rows (hearth data show)",
			MAX_SKIPPED_IN_ROW, out->bad_line > 0 ? "loss" : "gradient", r->train.path, line);
}

static void add_row(struct hth_run *r, const struct hth_step_args *args, const struct hth_step_out *out, double seconds)
{
	struct hth_mem_use use;
	struct hth_metrics_row row = {
		.step = r->at.step,
		.epoch = epoch_of(r, r->at.step),
		.loss = out->loss,
		.lr = args->lr,
		.grad_norm = out->grad_norm,
		.tokens = out->n_tokens,
		.targets = out->n_targets,
		.tokens_per_s = seconds > 0 ? (double)out->n_tokens / seconds : 0,
		.time_s = elapsed(r),
		.skipped = out->skipped,
	};
	hth_mem_sample(&use);
	row.mem_bytes = use.anon_peak_bytes;
	hth_metrics_add(&r->metrics, &row);
}

static void report(struct hth_run *r, struct window *w, double lr)
{
	struct hth_mem_use use;

	hth_mem_sample(&use);
	if (!hth_stderr_is_tty())
		hth_info("Iter %lld: Train loss %.3f, Learning Rate %.3e, It/sec %.3f, Tokens/sec %.3f, Trained Tokens "
			 "%lld, "
			 "Peak mem %.3f GB",
			 (long long)r->at.step, w->targets > 0 ? w->loss / (double)w->targets : NAN, lr,
			 (double)w->steps / w->seconds, (double)w->tokens / w->seconds, (long long)r->at.trained_tokens,
			 (double)use.anon_peak_bytes / 1e9);
	*w = (struct window){0};
}

/* One validation. The first, before any step, is the base's and never the best. */
static enum hth_status validate(struct hth_run *r, double *loss, struct hth_err *err)
{
	struct hth_eval_out out;
	struct hth_mem_use use;
	double start = hth_now_s();
	enum hth_status status = run_eval(r, &out, err);

	if (status != HTH_OK)
		return status;
	double seconds = hth_now_s() - start;
	*loss = out.n_targets > 0 ? out.loss_sum / (double)out.n_targets : NAN;
	r->at.eval_pending = 0;
	if (r->at.step == 0)
		r->result->base_loss = *loss;
	else if (isfinite(*loss) && (r->at.best_step == 0 || *loss < r->at.best_loss)) {
		r->at.best_loss = *loss;
		r->at.best_step = r->at.step;
		r->at.bad_evals = 0;
		hth_params_keep_best(&r->params);
	} else {
		r->at.bad_evals++;
	}
	hth_mem_sample(&use);
	struct hth_metrics_row row = {.step = r->at.step,
				      .epoch = epoch_of(r, r->at.step),
				      .is_validation = true,
				      .val_loss = *loss,
				      .tokens = out.n_tokens,
				      .targets = out.n_targets,
				      .tokens_per_s = seconds > 0 ? (double)out.n_tokens / seconds : 0,
				      .mem_bytes = use.anon_peak_bytes,
				      .time_s = elapsed(r)};
	hth_metrics_add(&r->metrics, &row);
	hth_info("Iter %lld: Val loss %.3f, Val took %.3fs", (long long)r->at.step, *loss, seconds);
	return HTH_OK;
}

static bool is_over(const struct hth_run *r)
{
	return r->at.step >= r->total || (r->cfg->patience > 0 && r->at.bad_evals >= r->cfg->patience);
}

static enum hth_status leave(struct hth_run *r, struct hth_err *err)
{
	enum hth_status status = save(r, true, err);

	if (status != HTH_OK)
		return status;
	return hth_fail(err, HTH_ERR_INTERRUPTED,
			"stopped at step %lld of %lld; everything is saved, --resume goes on from there",
			(long long)r->at.step, (long long)r->total);
}

/* Validation, when one is due and nobody asks to stop. */
static enum hth_status maybe_validate(struct hth_run *r, double *val_loss, struct hth_err *err)
{
	*val_loss = NAN;
	if (r->at.eval_pending == 0 || hth_stop_requested())
		return HTH_OK;
	enum hth_status status = validate(r, val_loss, err);
	return status == HTH_ERR_INTERRUPTED ? HTH_OK : status; /* still pending: made after the resume */
}

static void tell(struct hth_run *r, const struct hth_step_args *args, const struct hth_step_out *out, double seconds,
		 double val_loss)
{
	struct hth_train_progress p = {
		.step = r->at.step,
		.total = r->total,
		.epoch = epoch_of(r, r->at.step),
		.loss = out->loss,
		.lr = args->lr,
		.grad_norm = out->grad_norm,
		.tokens_per_s = seconds > 0 ? (double)out->n_tokens / seconds : 0,
		.elapsed_s = elapsed(r),
		.val_loss = val_loss,
		.skipped = out->skipped,
	};
	if (r->result->steps++ == 0)
		r->result->first_loss = out->loss;
	r->result->last_loss = out->loss;
	hth_progress_update(&r->bar, (uint64_t)r->at.step, "loss %.3f  val %.3f  %.0f tok/s", out->loss,
			    r->at.best_step > 0 ? r->at.best_loss : NAN, p.tokens_per_s);
	if (r->hooks->on_step != NULL)
		r->hooks->on_step(r->hooks->ctx, &p);
}

static bool save_due(const struct hth_run *r)
{
	return hth_train_save_due(r->cfg, r->at.step, r->steps_per_epoch) || is_over(r);
}

/* One step and all that follows it. */
static enum hth_status turn(struct hth_run *r, struct hth_step_args *args, struct window *w, struct hth_err *err)
{
	struct hth_step_out out;
	double start = hth_now_s(), val_loss = NAN;
	enum hth_status status = run_step(r, args, &out, err);

	if (status != HTH_OK)
		return status;
	double seconds = hth_now_s() - start;
	status = count_step(r, args, &out, err);
	add_row(r, args, &out, seconds);
	w->loss += out.skipped ? 0 : out.loss * (double)out.n_targets;
	w->targets += out.skipped ? 0 : out.n_targets;
	w->tokens += out.n_tokens;
	w->seconds += seconds;
	w->steps++;
	if (status != HTH_OK)
		return status;
	if (r->cfg->report_every > 0 && r->at.step % r->cfg->report_every == 0)
		report(r, w, args->lr);
	r->at.eval_pending = r->n_eval > 0 && hth_train_eval_due(r->cfg, r->at.step, r->total, r->steps_per_epoch);
	status = maybe_validate(r, &val_loss, err);
	if (status != HTH_OK)
		return status;
	tell(r, args, &out, seconds, val_loss);
	return save_due(r) && r->at.eval_pending == 0 ? save(r, false, err) : HTH_OK;
}

enum hth_status hth_run_loop(struct hth_run *r, struct hth_err *err)
{
	struct hth_step_args args;
	struct window w = {0};
	double base;
	enum hth_status status;

	hth_step_args_from(&args, r->cfg);
	hth_stop_install();
	status = maybe_validate(r, &base, err);
	hth_progress_start(&r->bar, "train", (uint64_t)r->total, (uint64_t)r->at.step);
	while (status == HTH_OK && !is_over(r) && !hth_stop_requested())
		status = turn(r, &args, &w, err);
	hth_progress_end(&r->bar);
	if (status == HTH_OK && (!is_over(r) || r->at.eval_pending != 0))
		status = leave(r, err);
	else if (status == HTH_OK)
		status = save(r, true, err);
	hth_stop_restore();
	r->result->stopped_early = r->at.step < r->total && is_over(r);
	r->result->skipped = r->at.skipped;
	r->result->best_step = r->at.best_step;
	r->result->best_loss = r->at.best_step > 0 ? r->at.best_loss : NAN;
	r->result->trained_tokens = r->at.trained_tokens;
	r->result->elapsed_s = elapsed(r);
	r->result->arena_bytes = hth_exec_totals(r->exec)->peak_ever_bytes;
	r->result->planned_bytes = r->fit.walk.arena_bytes;
	return status;
}
