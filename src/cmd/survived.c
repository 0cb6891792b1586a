/* Rows for the check, by preference: --eval; the validation rows of the run folder that holds the adapter; of the one
 * that holds the model. A run's config is read as `hearth train` reads it, so that the split is the one of training. */
#include "cmd/survived.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/commands.h"
#include "cmd/train_options.h"
#include "train/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LEVELS_UP = 3, EVAL_TOKENS = 2048, ANSWER_TOKENS = 64 };

void hth_check_rows_clear(struct hth_check_rows *r)
{
	hth_free(r->config);
	*r = (struct hth_check_rows){0};
}

/* Cuts the last part off a path; false when there is none left. */
static bool cut_last(char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	path[n] = '\0';
	return n > 0;
}

/* config.yml in one of the folders above `path`. */
static enum hth_status find_config(const char *path, char **out, struct hth_err *err)
{
	char *dir = hth_strdup(path);
	enum hth_status s = dir != NULL ? HTH_OK : hth_fail_memory(err, "a path", strlen(path));

	for (int up = 0; s == HTH_OK && *out == NULL && up < LEVELS_UP && cut_last(dir); up++) {
		char *config = hth_path_join(dir, "config.yml");
		if (config == NULL)
			s = hth_fail_memory(err, "a path", strlen(dir));
		else if (hth_path_kind(config) == HTH_PATH_FILE)
			*out = config;
		else
			hth_free(config);
	}
	hth_free(dir);
	return s;
}

enum hth_status hth_check_rows_find(const struct hth_export_options *opt, const char *model, struct hth_check_rows *out,
				    struct hth_err *err)
{
	enum hth_status s = HTH_OK;

	*out = (struct hth_check_rows){0};
	if (!opt->check)
		return HTH_OK;
	out->file = opt->eval;
	if (opt->eval == NULL && opt->adapter != NULL)
		s = find_config(opt->adapter, &out->config, err);
	if (s == HTH_OK && opt->eval == NULL && out->config == NULL)
		s = find_config(model, &out->config, err);
	return s;
}

static enum hth_status read_file(const char *path, const struct hth_model *m, struct hth_dataset *out,
				 struct hth_err *err)
{
	struct hth_chat chat = {.tmpl = m->tmpl, .tok = m->tokenizer, .now = (int64_t)time(NULL)};
	int64_t longest = m->config.context < EVAL_TOKENS ? m->config.context : EVAL_TOKENS;
	struct hth_data_config cfg = {.max_tokens = longest, .overlong = HTH_OVERLONG_CUT};
	struct hth_data_paths paths = {0};
	enum hth_status s = HTH_OK;

	if (hth_path_kind(path) == HTH_PATH_DIR) {
		s = hth_data_find(path, &paths, err);
		if (s == HTH_OK && paths.valid == NULL && paths.test == NULL)
			s = hth_fail(err, HTH_ERR_NOTFOUND, "%s: neither valid.jsonl nor test.jsonl is in this folder",
				     path);
		path = paths.valid != NULL ? paths.valid : paths.test;
	}
	if (s == HTH_OK)
		s = hth_dataset_read(path, &chat, &cfg, false, out, err);
	hth_data_paths_clear(&paths);
	return s;
}

static enum hth_status read_run(const char *config, const struct hth_model *m, struct hth_dataset *out,
				struct hth_err *err)
{
	struct hth_cli cli = {0};
	struct hth_train_config cfg;
	struct hth_dataset train = {0};
	char *argv[] = {(char *)(uintptr_t)config};
	enum hth_status s = hth_cli_parse(&cli, &hth_command_train, 1, argv, err);

	if (s == HTH_OK)
		s = hth_train_options_resolve(&cli, &cfg, err);
	if (s == HTH_OK)
		s = hth_train_data_read(&cfg, m, (int64_t)time(NULL), &train, out, err);
	hth_dataset_clear(&train);
	hth_cli_clear(&cli);
	return s;
}

enum hth_status hth_check_rows_read(const struct hth_check_rows *r, const struct hth_model *m, struct hth_dataset *out,
				    struct hth_err *err)
{
	*out = (struct hth_dataset){0};
	if (r->file != NULL)
		return read_file(r->file, m, out, err);
	if (r->config == NULL)
		return HTH_OK;
	struct hth_err why = {0};
	enum hth_status s = read_run(r->config, m, out, &why);
	if (s == HTH_OK && out->n > 0)
		return HTH_OK;
	hth_dataset_clear(out);
	if (s == HTH_ERR_MEMORY || s == HTH_ERR_INTERRUPTED)
		return hth_fail(err, s, "%s", why.text);
	hth_info("%s: no validation rows (%s); the file is not checked; --eval FILE names some", r->config,
		 s == HTH_OK ? "the run had none" : why.text);
	return HTH_OK;
}

static bool show_check(void *ctx, size_t done, size_t total)
{
	hth_progress_update(ctx, done, "%zu of %zu", done, total);
	return true;
}

enum hth_status hth_survived_check(const struct hth_export_options *opt, struct hth_opened *o,
				   const struct hth_dataset *data, const char *written, struct hth_survival *out,
				   struct hth_err *err)
{
	struct hth_opened base = {0};
	struct hth_model *m = NULL;
	struct hth_progress bar = {0};
	bool adapter = o->loras.n_adapters > 0;
	enum hth_status s = HTH_OK;

	if (opt->base != NULL) {
		struct hth_open_config open = {
			.model = opt->base, .threads = opt->threads, .compute = HTH_COMPUTE_F32};
		s = hth_opened_open(&base, &open, err);
	}
	if (s == HTH_OK)
		s = hth_model_open(written, &m, err);
	if (s == HTH_OK)
		s = hth_model_prepare(m, o->backend, o->device, false, err);
	if (s == HTH_OK) {
		struct hth_survival_config cfg = {
			.reference = {o->model, &o->loras, adapter ? 0 : -1},
			.candidate = {m, NULL, -1},
			.base = {base.model != NULL ? base.model
				 : adapter          ? o->model
						    : NULL,
				 NULL, -1},
			.data = data,
			.max_examples = (size_t)opt->check_rows,
			.max_answers = (size_t)opt->check_answers,
			.answer_tokens = ANSWER_TOKENS,
			.pool = o->pool,
			.on_progress = show_check,
			.ctx = &bar,
		};
		size_t n = cfg.max_examples > 0 && cfg.max_examples < data->n ? cfg.max_examples : data->n;
		hth_progress_start(&bar, "check", n + 2 * cfg.max_answers, 0);
		s = hth_survival_check(&cfg, out, err);
		hth_progress_end(&bar);
	}
	hth_model_close(m);
	hth_opened_close(&base);
	return s;
}

static void print_row(const char *name, const struct hth_survival_score *r, size_t n)
{
	printf("  %-20s %9.4f %12.3f", name, r->loss, exp(r->loss));
	if (n > 0)
		printf("  %6zu of %-4zu %6zu of %zu", r->exact, n, r->contains, n);
	printf("\n");
}

void hth_survived_print(const struct hth_survival *v, bool adapter)
{
	printf("  %-20s %9s %12s", "", "loss", "perplexity");
	if (v->n_questions > 0)
		printf("  %-14s %s", "answers exact", "answers hold");
	printf("\n");
	if (v->has_base)
		print_row("base", &v->base, 0);
	print_row(adapter ? "base + adapter" : "model", &v->reference, v->n_questions);
	print_row("this file", &v->candidate, v->n_questions);
	printf("  KL divergence %.4f nats, same likeliest token %.1f%%, %llu targets of %zu examples\n", v->kl,
	       100 * v->agree, (unsigned long long)v->n_targets, v->n_examples);
	printf("  %s: %s\n", v->verdict == HTH_SURVIVED ? "survived" : "lost", v->why);
}

static bool put_score(struct hth_buf *b, const char *name, const struct hth_survival_score *r, bool answers)
{
	bool ok = hth_buf_printf(b, ",\"%s\":{\"loss\":%.6f,\"perplexity\":%.6f", name, r->loss, exp(r->loss));
	if (answers)
		ok = hth_buf_printf(b, ",\"exact\":%zu,\"contains\":%zu", r->exact, r->contains);
	return ok && hth_buf_putc(b, '}');
}

bool hth_survived_json(const struct hth_survival *v, struct hth_buf *b)
{
	static const char *const verdicts[] = {[HTH_SURVIVED] = "survived",
					       [HTH_LOST_GAIN] = "lost_gain",
					       [HTH_LOST_KL] = "lost_kl",
					       [HTH_LOST_ANSWERS] = "lost_answers"};

	hth_buf_printf(b, "{\"verdict\":\"%s\",\"why\":", verdicts[v->verdict]);
	hth_json_put_string(b, v->why, strlen(v->why));
	hth_buf_printf(b, ",\"examples\":%zu,\"targets\":%llu,\"questions\":%zu,\"kl\":%.6f,\"agreement\":%.6f",
		       v->n_examples, (unsigned long long)v->n_targets, v->n_questions, v->kl, v->agree);
	if (v->has_base)
		put_score(b, "base", &v->base, false);
	put_score(b, "reference", &v->reference, v->n_questions > 0);
	put_score(b, "candidate", &v->candidate, v->n_questions > 0);
	return hth_buf_putc(b, '}');
}
