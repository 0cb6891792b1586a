/* The end of a run: the best state's files, answers before and after, the report. */
#include "train/run_int.h"
#include "train/report.h"

#include "base/file.h"
#include "base/machine.h"
#include "base/mem.h"
#include "formats/safetensors.h"

#include <math.h>
#include <string.h>

#define MAX_SAMPLES 50
#define MAX_SAMPLE_BYTES ((size_t)1 << 20)

static enum hth_status in_run_folder(const struct hth_run *r, const char *name, char **path, struct hth_err *err)
{
	*path = hth_path_join(r->cfg->output_dir, name);
	return *path != NULL ? HTH_OK : hth_fail_memory(err, "a file's name", strlen(name));
}

static enum hth_status write_adapter(const struct hth_run *r, struct hth_err *err)
{
	struct hth_adapter adapter = {0};
	struct hth_adapter_names names;
	char *dir = NULL, *gguf = NULL;
	enum hth_status status = hth_params_adapter(&r->params, r->cfg, r->model->path, &adapter, err);

	if (status == HTH_OK)
		status = in_run_folder(r, "adapter", &dir, err);
	if (status == HTH_OK)
		status = in_run_folder(r, "adapter.gguf", &gguf, err);
	if (status == HTH_OK)
		status = hth_adapter_write_dir(dir, &adapter, false, err);
	const char *no_mlx = hth_adapter_mlx_lacks(&adapter), *no_gguf = hth_adapter_gguf_lacks(&adapter);
	if (status == HTH_OK && no_mlx != NULL)
		hth_info("%s is for PEFT alone: mlx-lm's adapters have no %s", dir, no_mlx);
	if (status == HTH_OK && no_gguf != NULL)
		hth_info("no adapter.gguf: GGUF adapters have no %s; hearth fuse makes a GGUF file of all", no_gguf);
	hth_model_adapter_names(r->model, &names);
	if (status == HTH_OK && no_gguf == NULL)
		status = hth_adapter_write_gguf(gguf, &adapter, &names, err);
	hth_adapter_clear(&adapter);
	hth_free(dir);
	hth_free(gguf);
	return status;
}

/* Full fine-tuning: every trained weight under its Hugging Face name, f32. */
static enum hth_status write_weights(const struct hth_run *r, struct hth_err *err)
{
	static const char *const meta[][2] = {{"format", "pt"}};
	size_t n = (size_t)r->params.n;
	struct hth_st_tensor *t = hth_calloc(n, sizeof *t);
	char *path = NULL;
	enum hth_status status = t != NULL ? in_run_folder(r, "model.safetensors", &path, err)
					   : hth_fail_memory(err, "the list of weights", n * sizeof *t);

	for (size_t i = 0; i < n && status == HTH_OK; i++) {
		const struct hth_param *q = r->params.list[i];
		bool vector = q->rows == 1;
		t[i] = (struct hth_st_tensor){.name = q->name,
					      .dtype = HTH_ST_F32,
					      .n_dims = vector ? 1 : 2,
					      .dim = {vector ? q->cols : q->rows, q->cols},
					      .data = (const uint8_t *)q->value,
					      .bytes = (uint64_t)(q->rows * q->cols) * sizeof(float)};
	}
	if (status == HTH_OK)
		status = hth_safetensors_write(path, t, n, meta, 1, err);
	hth_free(path);
	hth_free(t);
	return status;
}

/* One sample: where its answer begins, and the texts. Owned strings. */
struct sample {
	char *prompt, *expected, *before, *after;
};

static char *decode(const struct hth_run *r, const int32_t *ids, size_t n)
{
	struct hth_buf text;

	hth_buf_init(&text, MAX_SAMPLE_BYTES);
	char *out = hth_tokenizer_decode(r->model->tokenizer, ids, n, true, &text, NULL) == HTH_OK
			    ? hth_buf_take(&text, NULL)
			    : NULL;
	hth_buf_clear(&text);
	return out;
}

static char *answer(const struct hth_run *r, int32_t adapter, const int32_t *prompt, size_t n)
{
	struct hth_buf text;
	struct hth_err why;
	char *out = NULL;

	hth_buf_init(&text, MAX_SAMPLE_BYTES);
	enum hth_status status =
		r->hooks->answer(r->hooks->ctx, r->model, &r->loras, adapter, prompt, (int64_t)n, &text, &why);
	if (status == HTH_OK)
		out = hth_buf_take(&text, NULL);
	else
		hth_warn("a sample for the report was not answered: %s", why.text);
	hth_buf_clear(&text);
	return out;
}

/* The first examples of distinct validation rows, or training rows where there are none. In full fine-tuning the base
 * is gone by now: there is no "before". */
static size_t take_samples(const struct hth_run *r, struct sample *out, size_t max)
{
	const struct hth_dataset *d = r->valid.n > 0 ? &r->valid : &r->train;
	size_t n = 0;

	if (r->hooks->answer == NULL)
		return 0;
	for (size_t i = 0; i < d->n && n < max; i++) {
		const struct hth_example *e = &d->items[i].tokens;
		size_t first = 0, end;
		if (i > 0 && d->items[i].line == d->items[i - 1].line)
			continue;
		while (first < e->n && e->target[first] == 0)
			first++;
		for (end = first; end < e->n && e->target[end] != 0;)
			end++;
		if (first == 0 || first == e->n)
			continue;
		out[n++] = (struct sample){
			.prompt = decode(r, e->ids, first),
			.expected = decode(r, e->ids + first, end - first),
			.before = r->params.loras != NULL ? answer(r, -1, e->ids, first) : NULL,
			.after = answer(r, r->params.loras != NULL ? 0 : -1, e->ids, first),
		};
	}
	return n;
}

static void free_samples(struct sample *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		hth_free(s[i].prompt);
		hth_free(s[i].expected);
		hth_free(s[i].before);
		hth_free(s[i].after);
	}
}

#define MAX_RESULTS 12

struct result_texts {
	char text[MAX_RESULTS][64];
	struct hth_report_pair pairs[MAX_RESULTS + HTH_MAX_FACTS];
	size_t n;
};

static void add_result(struct result_texts *t, const char *name, const char *value)
{
	if (t->n == MAX_RESULTS)
		return;
	snprintf(t->text[t->n], sizeof t->text[0], "%s", value);
	t->pairs[t->n].name = name;
	t->pairs[t->n].value = t->text[t->n];
	t->n++;
}

static void list_results(const struct hth_run *r, struct result_texts *t)
{
	const struct hth_train_result *x = r->result;
	char text[64], part[32];

	snprintf(text, sizeof text, "%lld of %lld%s", (long long)r->at.step, (long long)r->total,
		 x->stopped_early ? " (stopped early)" : "");
	add_result(t, "Steps", text);
	if (isfinite(x->base_loss)) {
		snprintf(text, sizeof text, "%.4f", x->base_loss);
		add_result(t, "Validation loss of the base", text);
	}
	if (x->best_step > 0) {
		snprintf(text, sizeof text, "%.4f at step %lld", x->best_loss, (long long)x->best_step);
		add_result(t, "Best validation loss", text);
	}
	add_result(t, "Time", hth_format_duration(part, x->elapsed_s));
	add_result(t, "Trained tokens", hth_format_count(part, (uint64_t)x->trained_tokens));
	add_result(t, "Peak memory", hth_format_bytes(part, x->anon_peak_bytes));
	add_result(t, "Trained values", hth_format_count(part, r->params.n_elems));
	snprintf(text, sizeof text, "%zu rows, %llu tokens, %llu of them targets", r->train.n_rows,
		 (unsigned long long)r->train.n_tokens, (unsigned long long)r->train.n_targets);
	add_result(t, "Training data", text);
	for (int i = 0; i < r->facts.n; i++)
		t->pairs[t->n++] =
			(struct hth_report_pair){.name = r->facts.item[i].name, .value = r->facts.item[i].value};
}

static enum hth_status write_report(const struct hth_run *r, struct hth_err *err)
{
	struct sample samples[MAX_SAMPLES];
	struct hth_report_sample shown[MAX_SAMPLES];
	struct result_texts texts = {.n = 0};
	struct hth_metrics_row *rows = NULL;
	char *path = NULL, title[300];
	int64_t max = r->cfg->sample_rows < MAX_SAMPLES ? r->cfg->sample_rows : MAX_SAMPLES;
	size_t n_rows = 0, n_samples = max > 0 ? take_samples(r, samples, (size_t)max) : 0;
	enum hth_status status = hth_metrics_read(r->metrics_path, &rows, &n_rows, err);

	for (size_t i = 0; i < n_samples; i++)
		shown[i] = (struct hth_report_sample){samples[i].prompt, samples[i].expected, samples[i].before,
						      samples[i].after};
	list_results(r, &texts);
	snprintf(title, sizeof title, "%s: %s", hth_path_base(r->cfg->output_dir), r->model->name);
	struct hth_report report = {.title = title,
				    .facts = texts.pairs,
				    .n_facts = texts.n,
				    .rows = rows,
				    .n_rows = n_rows,
				    .best_step = r->at.best_step,
				    .samples = shown,
				    .n_samples = n_samples};
	if (status == HTH_OK)
		status = in_run_folder(r, "report.html", &path, err);
	if (status == HTH_OK)
		status = hth_report_write(path, &report, err);
	free_samples(samples, n_samples);
	hth_free(path);
	hth_free(rows);
	return status;
}

enum hth_status hth_run_finish(struct hth_run *r, struct hth_err *err)
{
	struct hth_mem_use use;

	hth_mem_sample(&use);
	r->result->anon_peak_bytes = use.anon_peak_bytes;
	hth_exec_free(r->exec); /* its memory serves the samples now */
	r->exec = r->stepper.exec = NULL;
	if (r->at.best_step > 0)
		hth_params_use_best(&r->params);
	const char *bad = hth_params_not_finite(&r->params);
	if (bad != NULL)
		return hth_fail(err, HTH_ERR_VALUE, "\"%s\" holds a value that is not finite; no adapter was written",
				bad);
	enum hth_status status = hth_lora_set_lengths(&r->loras, r->model, err);
	if (status == HTH_OK)
		status = r->params.type == HTH_TRAIN_FULL ? write_weights(r, err) : write_adapter(r, err);
	if (status == HTH_OK)
		status = write_report(r, err);
	return status;
}

enum hth_status hth_train_run(const struct hth_train_config *cfg, const struct hth_train_hooks *hooks,
			      struct hth_train_result *out, struct hth_err *err)
{
	static const struct hth_train_hooks no_hooks;
	struct hth_train_result own;
	struct hth_run *r = hth_calloc(1, sizeof *r);

	if (r == NULL)
		return hth_fail_memory(err, "a run", sizeof *r);
	r->cfg = cfg;
	r->hooks = hooks != NULL ? hooks : &no_hooks;
	r->result = out != NULL ? out : &own;
	*r->result = (struct hth_train_result){.base_loss = NAN, .best_loss = NAN, .first_loss = NAN, .last_loss = NAN};
	enum hth_status status = hth_run_open(r, err);
	if (status == HTH_OK)
		status = hth_run_loop(r, err);
	if (status == HTH_OK)
		status = hth_run_finish(r, err);
	hth_run_close(r);
	hth_free(r);
	return status;
}
