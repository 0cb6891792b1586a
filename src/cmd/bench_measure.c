/* Repetitions, and what follows from them: best and median, and for models of which only some layers are held the time
 * of the whole from the difference that a few layers more make. */
#include "base/machine.h"
#include "cmd/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPEATS = 64, MIN_REPEATS = 3, MIN_SLOW_REPEATS = 1 };
#define SLOW 4.0     /* work of so many times the seconds wanted is repeated once only, after the warm-up */
#define EXPECTED 0.4 /* of the peak: to guess how long work will take */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

enum hth_status bench_repeat(const struct bench_work *w, double seconds, struct bench_sample *out, struct hth_err *err)
{
	double s[MAX_REPEATS], before[HTH_OP_COUNT], spent = 0, start = hth_now_s();
	struct hth_mem_use use;
	int n = 0;

	*out = (struct bench_sample){0};
	enum hth_status status = w->repeat(w->ctx, err); /* the warm-up */
	double first = hth_now_s() - start;
	int least = first > seconds * SLOW ? MIN_SLOW_REPEATS : MIN_REPEATS;
	memcpy(before, hth_exec_seconds(w->exec(w->ctx)), sizeof before);
	while (status == HTH_OK && n < MAX_REPEATS && (n < least || spent < seconds)) {
		start = hth_now_s();
		status = w->repeat(w->ctx, err);
		s[n] = hth_now_s() - start;
		spent += s[n++];
	}
	if (status != HTH_OK)
		return status;
	const double *after = hth_exec_seconds(w->exec(w->ctx));
	for (int i = 0; i < HTH_OP_COUNT; i++)
		out->op_s[i] = (after[i] - before[i]) / n;
	qsort(s, (size_t)n, sizeof s[0], ascending);
	hth_mem_sample(&use);
	out->anon_bytes = use.anon_bytes;
	out->best_s = s[0];
	out->median_s = s[n / 2];
	out->repeats = n;
	return HTH_OK;
}

static bool is_training(enum bench_what w)
{
	return w == BENCH_TRAIN || w == BENCH_CHAT;
}

static enum hth_status plan(const struct bench *b, struct bench_model *s, struct bench_row *row, int64_t n_layers,
			    struct hth_err *err)
{
	bench_model_set_layers(s, n_layers);
	row->tokens = row->computed = row->targets = row->flops = row->bytes = 0;
	return is_training(row->what) ? bench_train_plan(b, s, row, err) : bench_infer_plan(b, s, row, err);
}

static enum hth_status run(const struct bench *b, struct bench_model *s, struct bench_row *row, int64_t n_layers,
			   double seconds, struct bench_sample *out, struct hth_err *err)
{
	bench_model_set_layers(s, n_layers);
	return is_training(row->what) ? bench_train_run(b, s, row, seconds, out, err)
				      : bench_infer_run(b, s, row, seconds, out, err);
}

static double guess_s(const struct bench *b, const struct bench_row *row)
{
	double s = b->peak != NULL ? row->flops / (EXPECTED * b->peak->all) : 0;

	return row->bytes > 0 ? fmax(s, row->bytes / b->peaks.read_all) : s;
}

/* Sizes that a row may have, the wanted one first. */
static bool set_size(struct bench_row *row, int i)
{
	static const int64_t dense[][2] = {{4, 512}, {2, 512}, {1, 512}, {1, 256}, {1, 128}};
	static const int64_t chat[] = {16, 8, 4};
	static const int64_t decode[] = {BENCH_DECODE_TOKENS, 64, 32, 16};

	if (row->what == BENCH_TRAIN && i < (int)(sizeof dense / sizeof dense[0])) {
		row->rows = dense[i][0];
		row->row_tokens = dense[i][1];
		return true;
	}
	if (row->what == BENCH_DECODE && i < (int)(sizeof decode / sizeof decode[0])) {
		row->rows = 1;
		row->row_tokens = decode[i];
		return true;
	}
	if (row->what == BENCH_CHAT && i < (int)(sizeof chat / sizeof chat[0])) {
		row->rows = chat[i];
		row->row_tokens = 118;
		return true;
	}
	if (row->what == BENCH_PROMPT && i == 0) {
		row->rows = 1;
		row->row_tokens = BENCH_PROMPT_TOKENS;
		return true;
	}
	return false;
}

/* The largest size whose repetitions take about the seconds wanted, at a number of layers; the smallest if none does.
 */
static enum hth_status choose_size(const struct bench *b, struct bench_model *s, struct bench_row *row,
				   int64_t n_layers, double seconds, struct hth_err *err)
{
	for (int i = 0; set_size(row, i); i++) {
		enum hth_status status = plan(b, s, row, n_layers, err);
		if (status != HTH_OK || guess_s(b, row) <= seconds)
			return status;
	}
	return HTH_OK;
}

/* Few layers such that the first and the last are among them: those differ from the others. In training the first has
 * no gradient of its input to make, and behind the last one's attention only rows with targets remain. As many more as
 * time allows: the more, the less noise matters. */
static enum hth_status choose_layers(const struct bench *b, struct bench_model *s, struct bench_row *row,
				     struct hth_err *err)
{
	row->few = is_training(row->what) ? 2 : 1;
	for (int64_t more = 8; more >= 1; more /= 2) {
		row->many = row->few + more;
		if (row->many >= s->n_layers)
			continue;
		enum hth_status status = plan(b, s, row, row->many, err);
		if (status != HTH_OK)
			return status;
		if (guess_s(b, row) <= b->seconds / 6)
			break;
	}
	return HTH_OK;
}

static double whole(const struct bench_row *row, double few_s, double many_s)
{
	double layer = fmax(0, (many_s - few_s) / (double)(row->many - row->few));

	return few_s + layer * (double)(row->n_layers - row->few);
}

static enum hth_status measure_part(const struct bench *b, struct bench_model *s, struct bench_row *row,
				    struct hth_err *err)
{
	struct bench_sample few, many;
	enum hth_status status = choose_size(b, s, row, is_training(row->what) ? 3 : 2, b->seconds / 4, err);

	if (status == HTH_OK)
		status = choose_layers(b, s, row, err);
	if (status == HTH_OK)
		status = run(b, s, row, row->few, b->seconds / 3, &few, err);
	if (status == HTH_OK)
		status = run(b, s, row, row->many, b->seconds / 2, &many, err);
	if (status == HTH_OK)
		status = plan(b, s, row, s->n_layers, err);
	if (status != HTH_OK)
		return status;
	struct bench_sample *w = &row->sample;
	w->best_s = whole(row, few.best_s, many.best_s);
	w->median_s = whole(row, few.median_s, many.median_s);
	w->repeats = few.repeats < many.repeats ? few.repeats : many.repeats;
	for (int i = 0; i < HTH_OP_COUNT; i++)
		w->op_s[i] = whole(row, few.op_s[i], many.op_s[i]);
	if (many.best_s <= few.best_s)
		snprintf(row->why_not, sizeof row->why_not, "too noisy: more layers took no more time");
	return HTH_OK;
}

static enum hth_status measure_whole(const struct bench *b, struct bench_model *s, struct bench_row *row,
				     struct hth_err *err)
{
	enum hth_status status = choose_size(b, s, row, s->n_layers, 4 * b->seconds, err);

	if (status == HTH_OK && row->arena_bytes + row->params_bytes + row->state_bytes > b->available_bytes)
		return hth_fail(err, HTH_ERR_MEMORY, "needs %llu MB beside the weights, %llu MB are available",
				(unsigned long long)((row->arena_bytes + row->params_bytes + row->state_bytes) >> 20),
				(unsigned long long)(b->available_bytes >> 20));
	return status == HTH_OK ? run(b, s, row, s->n_layers, b->seconds, &row->sample, err) : status;
}

enum hth_status bench_row_measure(const struct bench *b, struct bench_model *s, enum bench_what what,
				  struct bench_row *row, struct hth_err *err)
{
	struct hth_err own = {0};

	row->what = what;
	row->n_layers = s->n_layers;
	snprintf(row->model, sizeof row->model, "%s", s->name);
	snprintf(row->type, sizeof row->type, "%s", s->type);
	bool part = s->distinct < s->n_layers;
	enum hth_status status = part ? measure_part(b, s, row, &own) : measure_whole(b, s, row, &own);
	if (status == HTH_OK)
		return HTH_OK;
	if (status != HTH_ERR_MEMORY && status != HTH_ERR_UNAVAILABLE && status != HTH_ERR_VALUE)
		return hth_fail(err, status, "%s", own.text);
	snprintf(row->why_not, sizeof row->why_not, "%.255s", own.text);
	return HTH_OK;
}
