/* hearth bench: what this machine can do at most, and how much of it training and inference get. */
#include "base/log.h"
#include "base/machine.h"
#include "cmd/bench.h"
#include "cmd/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct bench_options {
	const char *what, *type, *backend;
	struct hth_text_list shapes;
	int64_t threads, token_budget;
	double seconds;
	bool profile, json;
};

#define AT(field) offsetof(struct bench_options, field)
static const struct hth_option options[] = {
	{"what", NULL, NULL, HTH_OPTION_TEXT, AT(what), 0, 0, NULL, "peaks,train,chat,prompt,decode", "LIST",
	 "what to measure, with commas"},
	{"shape", NULL, NULL, HTH_OPTION_LIST, AT(shapes), 0, 0, NULL, NULL, "NAME",
	 "without a model: 135M, 1.5B or 8B; may be given several times"},
	{"type", NULL, NULL, HTH_OPTION_TEXT, AT(type), 0, 0, NULL, NULL, "FORMAT",
	 "without a model: its weights' format (bf16, q8_0, q4_k, ...)"},
	{"seconds", NULL, NULL, HTH_OPTION_REAL, AT(seconds), 0.01, 3600, NULL, "6", "S",
	 "wanted for each row; slow ones are made smaller"},
	{"token-budget", NULL, NULL, HTH_OPTION_INT, AT(token_budget), 0, 1 << 24, NULL, "0", "N",
	 "computed tokens a micro-batch in training; 0: what memory allows, at most 4096"},
	{"threads", NULL, NULL, HTH_OPTION_INT, AT(threads), 0, 1024, NULL, "0", "N",
	 "threads; 0: as many as this process may use"},
	{"backend", NULL, NULL, HTH_OPTION_TEXT, AT(backend), 0, 0, NULL, NULL, "NAME", "cpu or ref"},
	{"profile", NULL, NULL, HTH_OPTION_SWITCH, AT(profile), 0, 0, NULL, NULL, NULL, "seconds of each op, too"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, AT(json), 0, 0, NULL, NULL, NULL, "machine-readable result"},
	{0},
};

struct wanted {
	bool peaks, row[BENCH_WHAT_COUNT];
};

static enum hth_status parse_what(const char *text, struct wanted *out, struct hth_err *err)
{
	*out = (struct wanted){0};
	for (const char *p = text; *p != '\0';) {
		size_t n = strcspn(p, ",");
		bool known = n == 5 && memcmp(p, "peaks", n) == 0;
		out->peaks = out->peaks || known;
		for (int w = 0; w < BENCH_WHAT_COUNT; w++)
			if (strlen(bench_what_name((enum bench_what)w)) == n &&
			    memcmp(p, bench_what_name((enum bench_what)w), n) == 0)
				known = out->row[w] = true;
		if (!known)
			return hth_fail(err, HTH_ERR_USAGE,
					"--what: found \"%.*s\", expected some of peaks,train,chat,prompt,decode",
					(int)(n < 40 ? n : 40), p);
		p += n + (p[n] == ',');
	}
	return HTH_OK;
}

/* "8b" is Llama-3.1-8B: the end of a name, letters of either case. */
static bool is_shape(const char *name, const char *text)
{
	size_t n = strlen(name), m = strlen(text);

	if (m == 0 || m > n)
		return false;
	for (size_t i = 0; i < m; i++)
		if (tolower((unsigned char)name[n - m + i]) != tolower((unsigned char)text[i]))
			return false;
	return m == n || name[n - m - 1] == '-';
}

static enum hth_status check_shapes(const struct bench_options *opt, struct hth_err *err)
{
	for (size_t i = 0; i < opt->shapes.n; i++) {
		bool known = false;
		for (int s = 0; bench_shape_name(s) != NULL; s++)
			known = known || is_shape(bench_shape_name(s), opt->shapes.items[i]);
		if (!known)
			return hth_fail(err, HTH_ERR_USAGE, "--shape: found \"%.40s\", expected 135M, 1.5B or 8B",
					opt->shapes.items[i]);
	}
	return HTH_OK;
}

static bool is_wanted(const struct bench_options *opt, const char *shape)
{
	for (size_t i = 0; i < opt->shapes.n; i++)
		if (is_shape(shape, opt->shapes.items[i]))
			return true;
	return opt->shapes.n == 0;
}

/* What its products are made of says which peak a device is held against. */
static const struct hth_peak *peak_of(const struct bench *b)
{
	const struct hth_peak *p = NULL;

	if (strstr(b->backend->describe(b->device), "bf16") != NULL) {
		p = hth_peaks_find(&b->peaks, "bf16 amx");
		if (p == NULL)
			p = hth_peaks_find(&b->peaks, "bf16 avx512");
		if (p == NULL)
			p = hth_peaks_find(&b->peaks, "bf16 neon");
	}
	return p != NULL ? p : hth_peaks_f32(&b->peaks);
}

static void save_peaks(const struct bench *b)
{
	struct hth_err why = {0};

	if (hth_peaks_save(&b->peaks, &why) != HTH_OK)
		hth_warn("the peaks of this machine are not kept: %s", why.text);
}

/* Measured anew where they are asked for, else as they were kept. */
static enum hth_status get_peaks(struct bench *b, bool anew, struct hth_err *err)
{
	struct hth_peaks kept;
	bool found = hth_peaks_load(hth_pool_threads(b->pool), &kept);

	if (found && !anew) {
		b->peaks = kept;
		return HTH_OK;
	}
	enum hth_status status = hth_peaks_measure(b->pool, &b->peaks, err);
	if (status != HTH_OK)
		return status;
	b->peaks.train_flops_per_s = kept.train_flops_per_s;
	save_peaks(b);
	return HTH_OK;
}

static enum hth_status open_bench(struct bench *b, const struct bench_options *opt, struct hth_err *err)
{
	struct hth_machine_info info;

	*b = (struct bench){.seconds = opt->seconds, .token_budget = opt->token_budget};
	b->backend = opt->backend != NULL ? hth_backend_find(opt->backend) : hth_backend_at(0);
	if (b->backend == NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"--backend %s: not in this build; hearth --version lists the backends", opt->backend);
	hth_machine_info(&info);
	b->l3_bytes = info.l3_bytes;
	b->available_bytes = info.available_bytes;
	enum hth_status status = hth_pool_new((int)opt->threads, &b->pool, err);
	if (status != HTH_OK)
		return status;
	struct hth_device_config cfg = {.pool = b->pool, .compute = HTH_COMPUTE_AUTO};
	status = b->backend->open(&cfg, &b->device, err);
	b->machine.threads = hth_pool_threads(b->pool);
	if (status == HTH_OK && b->backend->machine != NULL)
		b->backend->machine(b->device, &b->machine);
	return status;
}

static void close_bench(struct bench *b)
{
	if (b->device != NULL)
		b->backend->close(b->device);
	hth_pool_free(b->pool);
}

/* A row of training or of inference? A model is laid out for one or the other. */
static bool is_training(int what)
{
	return what == BENCH_TRAIN || what == BENCH_CHAT;
}

/* The rows wanted of one model, of training or of inference, printed as they come. */
static enum hth_status measure_model(struct bench *b, const struct bench_options *opt, const struct wanted *want,
				     bool train, struct bench_model *s, struct bench_row *rows, int *n, struct hth_err *err)
{
	int before = *n;

	for (int w = 0; w < BENCH_WHAT_COUNT; w++) {
		struct bench_row *row = &rows[*n];
		if (!want->row[w] || is_training(w) != train || *n == BENCH_MAX_ROWS)
			continue;
		*row = (struct bench_row){0};
		enum hth_status status = bench_row_measure(b, s, (enum bench_what)w, row, err);
		if (status != HTH_OK)
			return status;
		++*n;
		if (w == BENCH_TRAIN && row->why_not[0] == '\0' && row->sample.best_s > 0)
			b->peaks.train_flops_per_s = row->flops / row->sample.best_s;
		if (!opt->json)
			bench_print_row(b, row, *n - before == 1, opt->profile);
	}
	return HTH_OK;
}

/* One model: the file at path, or the shape of this number when path is NULL. */
static enum hth_status measure_both(struct bench *b, const struct bench_options *opt, const struct wanted *want,
				    const char *path, int shape, struct bench_row *rows, int *n, struct hth_err *err)
{
	enum hth_status status = HTH_OK;

	for (int train = 1; train >= 0 && status == HTH_OK; train--) {
		struct bench_model s;
		bool any = false;
		for (int w = 0; w < BENCH_WHAT_COUNT; w++)
			any = any || (want->row[w] && is_training(w) == train);
		if (!any)
			continue;
		status = path != NULL ? bench_model_open(b, path, train, &s, err)
				      : bench_model_make(b, shape, opt->type, train, &s, err);
		if (status == HTH_OK)
			status = measure_model(b, opt, want, train, &s, rows, n, err);
		bench_model_close(&s);
	}
	return status;
}

static enum hth_status measure(struct bench *b, const struct bench_options *opt, const struct wanted *want,
			       const char *path, struct bench_row *rows, int *n, struct hth_err *err)
{
	if (path != NULL)
		return measure_both(b, opt, want, path, 0, rows, n, err);
	for (int i = 0; bench_shape_name(i) != NULL; i++) {
		if (!is_wanted(opt, bench_shape_name(i)))
			continue;
		enum hth_status status = measure_both(b, opt, want, NULL, i, rows, n, err);
		if (status == HTH_ERR_MEMORY)
			hth_warn("%s: not measured: %s", bench_shape_name(i), err->text);
		else if (status != HTH_OK)
			return status;
	}
	return HTH_OK;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct bench_options *opt = cli->config;
	struct bench_row rows[BENCH_MAX_ROWS];
	struct wanted want;
	struct bench b = {0};
	int n = 0;
	enum hth_status status = parse_what(opt->what, &want, err);

	if (status == HTH_OK)
		status = check_shapes(opt, err);
	if (status == HTH_OK)
		status = open_bench(&b, opt, err);
	if (status == HTH_OK)
		status = get_peaks(&b, want.peaks, err);
	if (status == HTH_OK) {
		b.peak = peak_of(&b);
		if (!opt->json)
			printf("%s, %s\n", b.peaks.cpu, b.backend->describe(b.device));
		if (!opt->json && want.peaks)
			bench_print_peaks(&b);
		status = measure(&b, opt, &want, cli->n_args > 0 ? cli->args[0] : NULL, rows, &n, err);
	}
	if (status == HTH_OK && want.row[BENCH_TRAIN])
		save_peaks(&b);
	if (status == HTH_OK && opt->json)
		status = bench_print_json(&b, rows, n, want.peaks, err);
	close_bench(&b);
	return status;
}

const struct hth_command hth_command_bench = {
	.name = "bench",
	.usage = "[MODEL] [options]",
	.summary = "this machine's peaks, and its speed in training and inference",
	.about = "Without a model: standard shapes with random weights. Of those too large to hold a few layers run, "
		 "and the\n"
		 "time of the whole follows from what a layer more takes; such rows say so.\n"
		 "train: a LoRA step (rank 8, all linears) on 4 x 512 tokens; chat: on 16 rows of 118 tokens, 32 of "
		 "them\n"
		 "targets, 60 shared; prompt: 512 tokens; decode: 128 tokens behind them.\n\n"
		 "  hearth bench model.gguf --profile\n"
		 "  hearth bench --what peaks,train --shape 8b --type bf16",
	.options = options,
	.config_bytes = sizeof(struct bench_options),
	.min_args = 0,
	.max_args = 1,
	.run = run,
};
