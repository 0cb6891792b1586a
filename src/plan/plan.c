/* Making a plan and putting it into words. */
#include "plan/plan.h"

#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

double hth_plan_seconds(const struct hth_walk *w, const struct hth_speed *s)
{
	double compute = s->flops_per_s > 0 ? w->flops / s->flops_per_s : 0;
	double move = s->bytes_per_s > 0 ? w->bytes_moved / s->bytes_per_s : 0;

	return s->flops_per_s <= 0 ? 0 : compute > move ? compute : move;
}

static enum hth_status measure_speed(const struct hth_train_config *cfg, const struct hth_fit_args *a,
				     struct hth_plan *out, struct hth_err *err)
{
	struct hth_device_config d = {.compute = cfg->compute};
	struct hth_device *dev = NULL;
	struct hth_pool *pool = NULL;
	enum hth_status status = hth_pool_new(a->machine.threads, &pool, err);

	if (status != HTH_OK)
		return status;
	d.pool = pool;
	status = a->backend->open(&d, &dev, err);
	if (status == HTH_OK) {
		snprintf(out->device, sizeof out->device, "%s", a->backend->describe(dev));
		status = hth_speed_measure(a->model, a->backend, dev, &a->machine, &out->speed, err);
	}
	if (dev != NULL)
		a->backend->close(dev);
	hth_pool_free(pool);
	return status;
}

static void describe(struct hth_plan *out, const struct hth_fit_args *a)
{
	snprintf(out->model, sizeof out->model, "%s", a->model->name);
	snprintf(out->device, sizeof out->device, "%s, %d threads", a->backend->name, a->machine.threads);
	out->n_params = a->model->n_params;
	out->n_rows = a->train->n_rows;
	out->n_examples = a->train->n;
	out->n_valid_rows = a->valid != NULL ? a->valid->n_rows : 0;
	out->n_dropped = a->train->n_dropped;
	out->n_cut = a->train->n_cut;
	out->n_duplicates = a->train->n_duplicates;
}

static enum hth_status plan_run(struct hth_fit_args *a, bool measure, struct hth_plan *out, struct hth_err *err)
{
	struct hth_err why = {.status = HTH_OK};

	describe(out, a);
	enum hth_status status = hth_fit_find(a, &out->fit, &why);
	out->fits = status == HTH_OK;
	if (status != HTH_OK && status != HTH_ERR_MEMORY)
		return hth_fail(err, status, "%s", why.text);
	if (status == HTH_ERR_MEMORY && out->fit.walk.steps == 0)
		return hth_fail(err, status, "%s", why.text); /* the planning itself ran out of memory */
	if (!out->fits)
		snprintf(out->why_not, sizeof out->why_not, "%s", why.text);
	if (measure) {
		status = measure_speed(a->cfg, a, out, err);
		if (status != HTH_OK && status != HTH_ERR_UNAVAILABLE)
			return status;
	}
	out->seconds = hth_plan_seconds(&out->fit.walk, &out->speed);
	return HTH_OK;
}

enum hth_status hth_plan_make(const struct hth_train_config *cfg, bool measure, struct hth_plan *out,
			      struct hth_err *err)
{
	const char *backend = cfg->backend != NULL ? cfg->backend : "cpu";
	struct hth_model *m = NULL;
	struct hth_dataset train = {0}, valid = {0};
	struct hth_fit_args a = {.cfg = cfg, .backend = hth_backend_find(backend), .train = &train};

	memset(out, 0, sizeof *out);
	if (a.backend == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend \"%s\" is not in this build", backend);
	a.machine.threads = cfg->threads > 0 ? cfg->threads : hth_machine_threads();
	a.machine.compute = a.backend->compute(cfg->compute, NULL);
	enum hth_status status = hth_model_open(cfg->model, &m, err);
	if (status == HTH_OK) {
		a.model = m;
		status = hth_train_data_read(cfg, m, (int64_t)time(NULL), &train, &valid, err);
	}
	if (status == HTH_OK) {
		a.valid = valid.n > 0 ? &valid : NULL;
		status = plan_run(&a, measure, out, err);
	}
	hth_dataset_clear(&train);
	hth_dataset_clear(&valid);
	hth_model_close(m);
	return status;
}

static void row(struct hth_buf *out, const char *name, const char *value, const char *note)
{
	hth_buf_printf(out, "  %-34s %12s", name, value);
	if (note[0] != '\0')
		hth_buf_printf(out, "   %s", note);
	hth_buf_putc(out, '\n');
}

static void bytes_row(struct hth_buf *out, const char *name, uint64_t bytes, const char *note)
{
	char text[32];

	row(out, name, hth_format_bytes(text, bytes), note);
}

static void count_row(struct hth_buf *out, const char *name, double n, const char *note)
{
	char text[32];

	row(out, name, hth_format_count(text, (uint64_t)(n + 0.5)), note);
}

/* Gradient checkpointing: what it saves and costs. */
static void print_recompute(const struct hth_fit *f, struct hth_buf *out)
{
	char text[64], note[96] = "in every micro-batch";

	if (f->recompute.layers == 0)
		return;
	snprintf(text, sizeof text, "%lld of %lld", (long long)f->recompute.layers, (long long)f->n_layers);
	if (f->recompute.over > 0)
		snprintf(note, sizeof note, "in micro-batches of more than %lld tokens", (long long)f->recompute.over);
	row(out, "layers run twice", text, note);
	snprintf(note, sizeof note, "and %.0f %% more work with it",
		 f->plain_flops > 0 ? 100 * (f->walk.flops / f->plain_flops - 1) : 0);
	bytes_row(out, "activations without that", f->plain_arena_bytes, note);
}

static void print_memory(const struct hth_plan *p, struct hth_buf *out)
{
	const struct hth_memory *m = &p->fit.memory;
	char note[96];

	hth_buf_puts(out, "memory\n");
	bytes_row(out, "weights, read from the file", m->mapped_bytes, "");
	if (m->prepared_bytes > 0)
		bytes_row(out, "weights, packed for this machine", m->prepared_bytes, "");
	bytes_row(out, "trained values, gradients, moments", m->params_bytes, "");
	snprintf(note, sizeof note, "micro-batches of up to %lld tokens", (long long)p->fit.token_budget);
	bytes_row(out, "activations", m->arena_bytes, note);
	print_recompute(&p->fit, out);
	bytes_row(out, "data", m->data_bytes, "");
	bytes_row(out, "program, tokenizer", m->program_bytes, "");
	bytes_row(out, "total", m->total_bytes, "");
	bytes_row(out, "may be used", m->limit_bytes, p->fits ? "fits" : "DOES NOT FIT");
}

static void print_data(const struct hth_plan *p, struct hth_buf *out)
{
	const struct hth_walk *w = &p->fit.walk;
	char note[96] = "";

	hth_buf_puts(out, "data, an epoch\n");
	if (p->n_examples != p->n_rows - p->n_dropped)
		snprintf(note, sizeof note, "%zu examples", p->n_examples);
	count_row(out, "rows", (double)p->n_rows, note);
	count_row(out, "tokens", w->epoch_tokens, "");
	snprintf(note, sizeof note, "%.0f %% saved by shared beginnings",
		 w->epoch_tokens > 0 ? 100 * (1 - w->epoch_computed / w->epoch_tokens) : 0);
	count_row(out, "tokens computed", w->epoch_computed, note);
	count_row(out, "tokens trained on", w->epoch_targets, "");
	snprintf(note, sizeof note, "%.0f tokens a row on average",
		 p->n_rows > 0 ? w->epoch_tokens / (double)p->n_rows : 0);
	count_row(out, "longest example, tokens", (double)w->longest_tokens, note);
	if (p->n_dropped > 0)
		count_row(out, "rows left out as too long", (double)p->n_dropped, "");
	if (p->n_cut > 0)
		count_row(out, "rows cut", (double)p->n_cut, "");
	if (p->n_duplicates > 0)
		count_row(out, "rows that repeat another", (double)p->n_duplicates, "");
	if (p->n_valid_rows > 0)
		count_row(out, "validation rows", (double)p->n_valid_rows, "");
}

static void print_time(const struct hth_plan *p, struct hth_buf *out)
{
	const struct hth_walk *w = &p->fit.walk;
	char note[96], text[32];

	hth_buf_puts(out, "the run\n");
	snprintf(note, sizeof note, "%.3g epochs of %lld", (double)w->steps / (double)w->steps_per_epoch,
		 (long long)w->steps_per_epoch);
	count_row(out, "steps", (double)w->steps, note);
	count_row(out, "micro-batches", w->micro_batches, "");
	if (w->n_evals > 0)
		count_row(out, "validations", (double)w->n_evals, "");
	snprintf(text, sizeof text, "%.3g", w->flops);
	row(out, "floating point operations", text, "");
	if (p->speed.flops_per_s > 0) {
		snprintf(text, sizeof text, "%.4g", p->speed.flops_per_s / 1e9);
		row(out, "measured speed, GFLOP/s", text, p->device);
	}
	if (p->seconds > 0) {
		double tokens = w->epoch_tokens * (double)w->steps / (double)w->steps_per_epoch;
		snprintf(note, sizeof note, "%.0f data tokens a second", tokens / p->seconds);
		row(out, "time, about", hth_format_duration(text, p->seconds), note);
	}
}

enum hth_status hth_plan_print(const struct hth_plan *p, struct hth_buf *out, struct hth_err *err)
{
	char n[32];

	hth_buf_printf(out, "%s, %s parameters, on %s\n", p->model, hth_format_count(n, p->n_params), p->device);
	print_memory(p, out);
	print_data(p, out);
	print_time(p, out);
	if (!p->fits)
		hth_buf_printf(out, "%s\n", p->why_not);
	return hth_buf_status(out, "a plan", err);
}

/* A key and a number that JSON can hold. */
static void put_number(struct hth_buf *out, const char *key, double v)
{
	hth_buf_printf(out, ",\"%s\":%.17g", key, v);
}

enum hth_status hth_plan_json(const struct hth_plan *p, struct hth_buf *out, struct hth_err *err)
{
	const struct hth_memory *m = &p->fit.memory;
	const struct hth_walk *w = &p->fit.walk;

	hth_buf_puts(out, "{\"model\":");
	hth_json_put_string(out, p->model, strlen(p->model));
	hth_buf_puts(out, ",\"device\":");
	hth_json_put_string(out, p->device, strlen(p->device));
	hth_buf_printf(out, ",\"fits\":%s", p->fits ? "true" : "false");
	if (!p->fits) {
		hth_buf_puts(out, ",\"why_not\":");
		hth_json_put_string(out, p->why_not, strlen(p->why_not));
	}
	put_number(out, "token_budget", (double)p->fit.token_budget);
	put_number(out, "layers_run_twice", (double)p->fit.recompute.layers);
	put_number(out, "run_twice_over_tokens", (double)p->fit.recompute.over);
	if (p->fit.recompute.layers > 0) {
		put_number(out, "plain_arena_bytes", (double)p->fit.plain_arena_bytes);
		put_number(out, "plain_flops", p->fit.plain_flops);
	}
	put_number(out, "mapped_bytes", (double)m->mapped_bytes);
	put_number(out, "prepared_bytes", (double)m->prepared_bytes);
	put_number(out, "params_bytes", (double)m->params_bytes);
	put_number(out, "arena_bytes", (double)m->arena_bytes);
	put_number(out, "data_bytes", (double)m->data_bytes);
	put_number(out, "program_bytes", (double)m->program_bytes);
	put_number(out, "total_bytes", (double)m->total_bytes);
	put_number(out, "limit_bytes", (double)m->limit_bytes);
	put_number(out, "rows", (double)p->n_rows);
	put_number(out, "examples", (double)p->n_examples);
	put_number(out, "validation_rows", (double)p->n_valid_rows);
	put_number(out, "epoch_tokens", w->epoch_tokens);
	put_number(out, "epoch_computed_tokens", w->epoch_computed);
	put_number(out, "epoch_targets", w->epoch_targets);
	put_number(out, "longest_tokens", (double)w->longest_tokens);
	put_number(out, "steps", (double)w->steps);
	put_number(out, "steps_per_epoch", (double)w->steps_per_epoch);
	put_number(out, "micro_batches", w->micro_batches);
	put_number(out, "validations", (double)w->n_evals);
	put_number(out, "flops", w->flops);
	put_number(out, "bytes_moved", w->bytes_moved);
	put_number(out, "flops_per_s", p->speed.flops_per_s);
	put_number(out, "bytes_per_s", p->speed.bytes_per_s);
	put_number(out, "seconds", p->seconds);
	hth_buf_puts(out, "}");
	return hth_buf_status(out, "a plan", err);
}
