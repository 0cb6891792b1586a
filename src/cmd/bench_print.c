/* What hearth bench says, for people and as JSON. Rates are of the best repetition. */
#include "base/json.h"
#include "base/log.h"
#include "cmd/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NOISY 0.15 /* median against best */
#define MAX_JSON_BYTES ((size_t)16 << 20)

const char *bench_what_name(enum bench_what w)
{
	static const char *const names[] = {"train", "chat", "prompt", "decode"};

	return names[w];
}

static double rate(double amount, const struct bench_row *r)
{
	return r->sample.best_s > 0 ? amount / r->sample.best_s : 0;
}

static double spread(const struct bench_row *r)
{
	return r->sample.best_s > 0 ? fmax(0, r->sample.median_s / r->sample.best_s - 1) : 0;
}

/* Of the peak of products, or of reading for rows that wait for memory. */
static double fraction(const struct bench *b, const struct bench_row *r)
{
	if (r->what == BENCH_DECODE)
		return b->peaks.read_all > 0 ? rate(r->bytes, r) / b->peaks.read_all : 0;
	return b->peak != NULL ? rate(r->flops, r) / b->peak->all : 0;
}

void bench_print_peaks(const struct bench *b)
{
	const struct hth_peaks *p = &b->peaks;
	char all[32];

	snprintf(all, sizeof all, "%d threads", p->threads);
	printf("%-28s %12s %12s\n", "peaks", "1 thread", p->threads > 1 ? all : "");
	for (int i = 0; i < p->n_compute; i++)
		printf("  %-26s %12.1f %12.1f  %s\n", p->compute[i].name, p->compute[i].one / 1e9,
		       p->compute[i].all / 1e9, strncmp(p->compute[i].name, "int", 3) == 0 ? "Gop/s" : "GFLOP/s");
	printf("  %-26s %12.1f %12.1f  GB/s\n", "memory read", p->read_one / 1e9, p->read_all / 1e9);
	printf("  %-26s %12s %12.2f  us\n", "thread pool, round trip", "", p->round_trip_s * 1e6);
	if (p->spread > NOISY)
		printf("  noisy: medians are up to %.0f %% behind the best; something else runs on this machine\n",
		       100 * p->spread);
}

static void print_work(const struct bench_row *r)
{
	char text[48];

	if (r->what == BENCH_TRAIN || r->what == BENCH_CHAT)
		snprintf(text, sizeof text, "%lld x %lld, %.0f targets", (long long)r->rows, (long long)r->row_tokens,
			 r->targets);
	else if (r->what == BENCH_PROMPT)
		snprintf(text, sizeof text, "%lld tokens", (long long)r->row_tokens);
	else
		snprintf(text, sizeof text, "%lld tokens after %d", (long long)r->row_tokens, BENCH_PROMPT_TOKENS);
	printf("  %-7s %-24s", bench_what_name(r->what), text);
}

static void print_profile(const struct bench_row *r)
{
	double sum = 0;

	for (int i = 0; i < HTH_OP_COUNT; i++)
		sum += r->sample.op_s[i];
	for (int i = 0; i < HTH_OP_COUNT; i++)
		if (r->sample.op_s[i] > 0)
			printf("      %-20s %10.3f ms %6.1f %%\n", hth_exec_op_name((enum hth_op)i),
			       1e3 * r->sample.op_s[i], 100 * r->sample.op_s[i] / sum);
	printf("      %-20s %10.3f ms\n", "all ops", 1e3 * sum);
}

static void print_head(const struct bench_row *r)
{
	printf("%s, %s", r->model, r->type);
	if (r->few > 0)
		printf(" (random weights, one layer at a time, times %lld)", (long long)r->n_layers);
	printf("\n");
}

void bench_print_row(const struct bench *b, const struct bench_row *r, bool first_of_model, bool profile)
{
	char memory[32];

	if (first_of_model)
		print_head(r);
	print_work(r);
	if (r->why_not[0] != '\0') {
		printf(" %s\n", r->why_not);
		return;
	}
	printf(" %9.1f tok/s", rate(r->tokens, r));
	if (r->computed < r->tokens)
		printf(" (%.1f computed)", rate(r->computed, r));
	if (r->what == BENCH_DECODE)
		printf("  %7.2f GB/s, %2.0f %% of memory read", rate(r->bytes, r) / 1e9, 100 * fraction(b, r));
	else
		printf("  %7.1f GFLOP/s, %2.0f %% of %s", rate(r->flops, r) / 1e9, 100 * fraction(b, r),
		       b->peak != NULL ? b->peak->name : "an unknown peak");
	uint64_t planned = r->arena_bytes + r->params_bytes + r->state_bytes;
	printf("  %s %s\n", r->few > 0 ? "beside weights" : "anonymous",
	       hth_format_bytes(memory, r->few > 0 ? planned : r->sample.anon_bytes));
	if (spread(r) > NOISY)
		printf("          noisy: the median of %d is %.0f %% behind the best\n", r->sample.repeats,
		       100 * spread(r));
	if (profile)
		print_profile(r);
	fflush(stdout);
}

static json_t *peaks_json(const struct hth_peaks *p)
{
	json_t *compute = json_object();

	for (int i = 0; i < p->n_compute; i++)
		json_object_set_new(compute, p->compute[i].name,
				    json_pack("{sf sf}", "one", p->compute[i].one, "all", p->compute[i].all));
	return json_pack("{so s{sf sf} sf sf sb}", "compute", compute, "read_bytes_per_s", "one", p->read_one, "all",
			 p->read_all, "round_trip_s", p->round_trip_s, "spread", p->spread, "noisy", p->spread > NOISY);
}

static json_t *ops_json(const struct bench_row *r)
{
	json_t *ops = json_object();

	for (int i = 0; i < HTH_OP_COUNT; i++)
		if (r->sample.op_s[i] > 0)
			json_object_set_new(ops, hth_exec_op_name((enum hth_op)i), json_real(r->sample.op_s[i]));
	return ops;
}

static json_t *row_json(const struct bench *b, const struct bench_row *r)
{
	json_t *o = json_pack("{ss ss ss sI sI sb sI}", "model", r->model, "type", r->type, "what",
			      bench_what_name(r->what), "rows", (json_int_t)r->rows, "row_tokens",
			      (json_int_t)r->row_tokens, "estimated", r->few > 0, "layers", (json_int_t)r->n_layers);

	if (r->why_not[0] != '\0') {
		json_object_set_new(o, "skipped", json_string(r->why_not));
		return o;
	}
	bool decode = r->what == BENCH_DECODE;
	if (r->token_budget > 0)
		json_object_set_new(o, "token_budget", json_integer((json_int_t)r->token_budget));
	json_t *more = json_pack("{sf sf sf sf sf sf si sf sb sf sf sf ss}", "tokens_per_s", rate(r->tokens, r),
				 "median_tokens_per_s", r->sample.median_s > 0 ? r->tokens / r->sample.median_s : 0,
				 "computed_tokens_per_s", rate(r->computed, r), "targets", r->targets, "best_s",
				 r->sample.best_s, "median_s", r->sample.median_s, "repeats", r->sample.repeats,
				 "spread", spread(r), "noisy", spread(r) > NOISY, "flops_per_s", rate(r->flops, r),
				 "bytes_per_s", decode ? rate(r->bytes, r) : 0, "fraction", fraction(b, r), "of",
				 decode            ? "memory read"
				 : b->peak != NULL ? b->peak->name
						   : "");
	json_object_update(o, more);
	json_decref(more);
	json_object_set_new(o, "planned_bytes",
			    json_integer((json_int_t)(r->arena_bytes + r->params_bytes + r->state_bytes)));
	if (r->few == 0)
		json_object_set_new(o, "anon_bytes", json_integer((json_int_t)r->sample.anon_bytes));
	else
		json_object_set_new(o, "layers_run", json_pack("[II]", (json_int_t)r->few, (json_int_t)r->many));
	json_object_set_new(o, "op_seconds", ops_json(r));
	return o;
}

enum hth_status bench_print_json(const struct bench *b, const struct bench_row *rows, int n, bool peaks,
				 struct hth_err *err)
{
	json_t *list = json_array();
	struct hth_buf out;

	for (int i = 0; i < n; i++)
		json_array_append_new(list, row_json(b, &rows[i]));
	json_t *doc = json_pack("{ss ss ss si so}", "cpu", b->peaks.cpu, "kernels", b->peaks.kernels, "device",
				b->backend->describe(b->device), "threads", b->peaks.threads, "rows", list);
	if (doc != NULL && peaks)
		json_object_set_new(doc, "peaks", peaks_json(&b->peaks));
	hth_buf_init(&out, MAX_JSON_BYTES);
	enum hth_status status =
		doc != NULL ? hth_json_dump(doc, 0, &out, err) : hth_fail_memory(err, "the results as JSON", 0);
	if (status == HTH_OK)
		printf("%s\n", hth_buf_str(&out));
	hth_buf_clear(&out);
	json_decref(doc);
	return status;
}
