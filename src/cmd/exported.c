/* From a model to a file in another type: importance if asked for, the writer, the check. What is to be checked is
 * written under a name of its own beside the output and takes the output's place only when it passed, so that a good
 * file of an earlier day is not lost to a bad one. */
#include "cmd/exported.h"

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/num.h"
#include "cmd/export_target.h"
#include "cmd/survived.h"
#include "cmd/where.h"
#include "export/as_gguf.h"
#include "export/calibrate.h"
#include "export/modelfile.h"
#include "export/quantize.h"
#include "export/to_folder.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CALIBRATE_TOKENS = 2048 };

struct job {
	const struct hth_export_options *opt;
	const char *verb, *model;
	enum hth_export_form form;
	struct hth_export_target target;
	struct hth_check_rows rows;
	char *path;  /* where the model is; owned */
	bool opened; /* o holds the model, on a device; else `plain` or `file` is all there is */
	struct hth_opened o;
	struct hth_model *plain; /* opened only to be written: a folder, or what becomes one */
	struct hth_as_gguf as;   /* a folder as GGUF */
	struct hth_gguf file;
	const struct hth_gguf *from; /* NULL: a folder becomes a folder */
	struct hth_imatrix importance;
	double calibration_loss; /* 0: none */
	struct hth_dataset eval;
	char *written; /* the output's path, or the name it has until it is checked */
	struct hth_quantize_result r;
	struct hth_survival survival;
	size_t quantised, plain_matrices; /* of a folder */
	uint64_t bytes;                   /* of the file */
	double start_s, write_s;
};

static enum hth_status check_options(struct job *job, struct hth_err *err)
{
	const struct hth_export_options *opt = job->opt;

	enum hth_status s = hth_export_check_type(opt->type, err);
	if (s != HTH_OK)
		return s;
	if (opt->output == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: no output; give --output FILE.gguf, or a folder",
				job->verb);
	if (opt->calibrate != NULL && opt->imatrix != NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth %s: --calibrate and --imatrix both say what matters; give one", job->verb);
	if (opt->imatrix_out != NULL && opt->calibrate == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: --imatrix-out keeps what --calibrate finds; give both",
				job->verb);
	if (opt->base != NULL && opt->adapter != NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: with --adapter the model is the base; leave --base out",
				job->verb);
	if (!opt->overwrite && hth_path_kind(opt->output) != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", opt->output);
	return HTH_OK;
}

/* Opens the model where it has to think, and only its file where it is to be written in another type. */
static enum hth_status open_source(struct job *job, struct hth_err *err)
{
	const struct hth_export_options *opt = job->opt;
	bool think = opt->calibrate != NULL || job->rows.file != NULL || job->rows.config != NULL;
	enum hth_status s;

	if ((s = hth_model_where(job->model, &job->path, err)) != HTH_OK)
		return s;
	if (!think && opt->adapter == NULL) {
		bool whole = hth_path_kind(job->path) == HTH_PATH_DIR || hth_export_may_be_folder(opt, job->form);
		s = hth_pool_new((int)opt->threads, &job->o.pool, err);
		if (s == HTH_OK)
			s = whole ? hth_model_open_to_write(job->path, &job->plain, err)
				  : hth_gguf_open_split(&job->file, job->path, err);
		return s;
	}
	struct hth_open_config open = {.model = job->model,
				       .adapters = &opt->adapter,
				       .n_adapters = opt->adapter != NULL,
				       .threads = opt->threads,
				       .compute = HTH_COMPUTE_F32,
				       .to_write = !think};
	s = hth_opened_open(&job->o, &open, err);
	if (s != HTH_OK)
		return s;
	job->opened = true;
	return hth_check_rows_read(&job->rows, job->o.model, &job->eval, err);
}

static const struct hth_model *model_of(const struct job *job)
{
	return job->opened ? job->o.model : job->plain;
}

/* Form and type, and for a GGUF file what it is written from. */
static enum hth_status choose_target(struct job *job, struct hth_err *err)
{
	const struct hth_model *m = model_of(job);
	enum hth_status s = hth_export_choose(job->opt, job->form, job->verb, m, &job->target, err);

	if (s == HTH_OK && job->target.folder && job->opt->modelfile)
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: --modelfile goes with a GGUF file, not with a folder",
				job->verb);
	if (s != HTH_OK || job->target.folder)
		return s;
	if (m == NULL || m->gguf != NULL) {
		job->from = m == NULL ? &job->file : m->gguf;
		return HTH_OK;
	}
	if (m->config.window > 0 && m->config.window < m->config.context && m->family->window_every == 0)
		hth_warn("%s: llama.cpp does not use this family's sliding window: beyond %lld tokens it computes "
			 "something else",
			 job->model, (long long)m->config.window);
	s = hth_as_gguf_open(m, &job->as, err);
	job->from = &job->as.made.g;
	if (s == HTH_OK && job->as.lossy != NULL)
		hth_warn("%s: GGUF's own keys cannot say all that this tokenizer does, so its tokenizer.json is in the "
			 "file too; hearth reads it, other programs may give other ids to texts like \"%.40s\"",
			 job->model, job->as.lossy);
	return s;
}

static bool show_calibration(void *ctx, size_t done, size_t total)
{
	hth_progress_update(ctx, done, "%zu of %zu examples", done, total);
	return true;
}

static enum hth_status calibrate(struct job *job, struct hth_err *err)
{
	const struct hth_export_options *opt = job->opt;
	const struct hth_model *m = job->o.model;
	struct hth_chat chat = {.tmpl = m->tmpl, .tok = m->tokenizer, .now = (int64_t)time(NULL)};
	int64_t longest = m->config.context < CALIBRATE_TOKENS ? m->config.context : CALIBRATE_TOKENS;
	struct hth_data_config data_cfg = {
		.max_tokens = longest, .overlong = HTH_OVERLONG_CUT, .max_rows = opt->calibrate_rows};
	struct hth_data_paths paths = {0};
	struct hth_dataset data = {0};
	struct hth_progress bar = {0};
	enum hth_status s = hth_data_find(opt->calibrate, &paths, err);

	if (s == HTH_OK)
		s = hth_dataset_read(paths.train, &chat, &data_cfg, false, &data, err);
	if (s == HTH_OK) {
		struct hth_calibrate_config cfg = {.model = m,
						   .loras = &job->o.loras,
						   .adapter = job->o.loras.n_adapters > 0 ? 0 : -1,
						   .data = &data,
						   .on_progress = show_calibration,
						   .ctx = &bar};
		hth_progress_start(&bar, "calibrate", data.n, 0);
		s = hth_calibrate(&cfg, &job->importance, &job->calibration_loss, err);
		hth_progress_end(&bar);
	}
	if (s == HTH_OK && opt->imatrix_out != NULL)
		s = hth_imatrix_write(opt->imatrix_out, &job->importance, err);
	hth_dataset_clear(&data);
	hth_data_paths_clear(&paths);
	return s;
}

static enum hth_status get_importance(struct job *job, struct hth_err *err)
{
	if (job->target.folder && (job->opt->imatrix != NULL || job->opt->calibrate != NULL))
		return hth_fail(err, HTH_ERR_USAGE, "hearth %s: importance is used by GGUF's types, not by %s", job->verb,
				job->target.name);
	if (job->opt->imatrix != NULL)
		return hth_imatrix_read(job->opt->imatrix, &job->importance, err);
	if (job->opt->calibrate != NULL)
		return calibrate(job, err);
	if (strcmp(job->target.name, "q2_k_s") == 0)
		hth_warn("q2_k_s without importance loses much; --calibrate DATA lets the model show what matters");
	return HTH_OK;
}

/* The name that the file is written under. What a run that was ended midway left under it is never the result. */
static enum hth_status name_output(struct job *job, struct hth_err *err)
{
	size_t n = strlen(job->opt->output) + sizeof ".unchecked";

	job->written = hth_alloc(n);
	if (job->written == NULL)
		return hth_fail_memory(err, "a path", n);
	snprintf(job->written, n, "%s.unchecked", job->opt->output);
	if (hth_path_kind(job->written) == HTH_PATH_FILE) {
		hth_info("%s: left by a run that ended before its check; removed", job->written);
		if (remove(job->written) != 0)
			return hth_fail_errno(err, HTH_ERR_IO, "%s: cannot be removed", job->written);
	}
	if (job->eval.n == 0)
		snprintf(job->written, n, "%s", job->opt->output);
	return HTH_OK;
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
	char a[32], b[32];
	hth_progress_update(ctx, done, "%s of %s read", hth_format_bytes(a, done), hth_format_bytes(b, total));
}

static void show_weights(void *ctx, uint64_t done, uint64_t total)
{
	hth_progress_update(ctx, done, "%.1f of %.1f million weights", (double)done / 1e6, (double)total / 1e6);
}

static struct hth_lora *const *loras_of(const struct job *job)
{
	return job->o.loras.n_adapters > 0 ? job->o.loras.loras[0] : NULL;
}

static enum hth_status write_folder(struct job *job, struct hth_err *err)
{
	struct hth_progress bar = {0};
	struct hth_to_folder_result r;
	struct hth_to_folder_config cfg = {
		.model = model_of(job),
		.loras = loras_of(job),
		.replaced = job->o.loras.n_adapters > 0 ? job->o.loras.replaced[0] : NULL,
		.out_path = job->written,
		.mlx = job->target.mlx,
		.type = job->target.type,
		.bits = job->target.bits,
		.group = job->target.group,
		.keep_mxfp4 = job->target.as_stored || job->target.bits != 0,
		.shard_bytes = job->opt->shard_bytes,
		.overwrite = job->opt->overwrite || job->eval.n > 0,
		.pool = job->o.pool,
		.progress = show_weights,
		.ctx = &bar,
	};
	double start = hth_now_s();

	hth_progress_start(&bar, job->verb, cfg.model->n_params, 0);
	enum hth_status s = hth_to_folder(&cfg, &r, err);
	hth_progress_end(&bar);
	job->write_s = hth_now_s() - start;
	job->bytes = job->r.tensor_bytes = r.bytes;
	job->r.weights = r.weights;
	job->r.fused = r.fused;
	job->quantised = r.quantised;
	job->plain_matrices = r.plain;
	job->r.of_type[HTH_QUANT_MXFP4] = r.kept;
	return s;
}

static uint64_t tensor_bytes(const struct hth_gguf *g)
{
	uint64_t n = 0;

	for (size_t i = 0; i < g->n_tensors; i++)
		n += g->tensors[i].bytes;
	return n;
}

/* A file made from a folder is opened as any program would and compared, before it keeps its name. */
static enum hth_status look_at(const struct job *job, struct hth_err *err)
{
	struct hth_model *back = NULL;
	enum hth_status s;

	if (job->as.n_parts == 0)
		return HTH_OK;
	s = hth_model_open_to_write(job->written, &back, err);
	if (s == HTH_OK && job->r.untied) /* on purpose: the adapter has a head or an embedding of its own */
		back->config.tied = true;
	if (s == HTH_OK)
		s = hth_configs_agree(model_of(job), back, err);
	hth_model_close(back);
	if (s != HTH_OK)
		(void)!hth_remove_tree(job->written, NULL);
	return s;
}

static enum hth_status write_file(struct job *job, struct hth_err *err)
{
	struct hth_progress bar = {0};
	struct hth_map map = {0};
	struct hth_quantize_config cfg = {
		.from = job->from,
		.parts = job->as.parts,
		.n_parts = job->as.n_parts,
		.parts_of = model_of(job),
		.mix = job->target.mix,
		.keep_mxfp4 = job->target.as_stored,
		.out_path = job->written,
		.model = job->o.model,
		.loras = loras_of(job),
		.replaced = job->o.loras.n_adapters > 0 ? job->o.loras.replaced[0] : NULL,
		.importance = job->importance.n > 0 ? &job->importance : NULL,
		.pool = job->o.pool,
		.progress = show_progress,
		.ctx = &bar,
	};
	double start = hth_now_s();

	if (job->target.folder)
		return write_folder(job, err);
	hth_progress_start(&bar, job->verb, tensor_bytes(job->from), 0);
	enum hth_status s = hth_quantize(&cfg, &job->r, err);
	hth_progress_end(&bar);
	job->write_s = hth_now_s() - start;
	if (s != HTH_OK)
		return s;
	s = hth_map_open(&map, job->written, err);
	job->bytes = map.bytes;
	hth_map_close(&map);
	return s;
}

/* What a person should know about the file beyond its size. */
static void tell(const struct job *job)
{
	const struct hth_quantize_result *r = &job->r;

	if (r->requantised > 0)
		hth_info("%s: %zu tensors were quantised already and lose twice; a 16-bit file of this model gives "
			 "better "
			 "ones",
			 job->model, r->requantised);
	if (r->mix.fallback > 0)
		hth_info("%zu matrices have rows that are no multiple of 256 and got formats with blocks of 32",
			 r->mix.fallback);
	if (r->unweighted > 0)
		hth_info("%zu matrices have no importance and were quantised without", r->unweighted);
}

static enum hth_status check(struct job *job, struct hth_err *err)
{
	if (job->eval.n == 0)
		return HTH_OK;
	enum hth_status s = hth_survived_check(job->opt, &job->o, &job->eval, job->written, &job->survival, err);
	bool keep = s == HTH_OK && (job->survival.verdict == HTH_SURVIVED || job->opt->force);
	if (keep)
		s = job->target.folder ? hth_to_folder_move(job->written, job->opt->output, job->opt->overwrite, err)
				       : hth_rename_dir(job->written, job->opt->output, err);
	if (!keep || s != HTH_OK)
		(void)!hth_remove_tree(job->written, NULL);
	return s;
}

static enum hth_status print_json(const struct job *job, struct hth_err *err)
{
	struct hth_buf b;

	hth_buf_init(&b, (size_t)1 << 20);
	hth_buf_puts(&b, "{\"path\":");
	hth_json_put_string(&b, job->opt->output, strlen(job->opt->output));
	hth_buf_printf(
		&b, ",\"type\":\"%s\",\"bytes\":%llu,\"bits_per_weight\":%.4f,\"seconds\":%.3f,\"write_seconds\":%.3f",
		job->target.name, (unsigned long long)job->bytes,
		8 * (double)job->r.tensor_bytes / (double)job->r.weights, hth_now_s() - job->start_s, job->write_s);
	hth_buf_printf(&b, ",\"fallback\":%zu,\"requantised\":%zu,\"fused\":%zu,\"tensors\":{", job->r.mix.fallback,
		       job->r.requantised, job->r.fused);
	bool first = true;
	for (int q = 0; q < HTH_QUANT_COUNT; q++) {
		if (job->r.of_type[q] == 0)
			continue;
		hth_buf_printf(&b, "%s\"%s\":%zu", first ? "" : ",", hth_quant_format((enum hth_quant)q)->name,
			       job->r.of_type[q]);
		first = false;
	}
	hth_buf_putc(&b, '}');
	if (job->calibration_loss > 0)
		hth_buf_printf(&b, ",\"calibration_loss\":%.6f", job->calibration_loss);
	if (job->eval.n > 0) {
		hth_buf_puts(&b, ",\"survival\":");
		hth_survived_json(&job->survival, &b);
	}
	hth_buf_puts(&b, "}\n");
	enum hth_status s = hth_buf_status(&b, "the result", err);
	if (s == HTH_OK)
		fputs(hth_buf_str(&b), stdout);
	hth_buf_clear(&b);
	return s;
}

static uint64_t source_bytes(const struct job *job)
{
	return model_of(job) != NULL ? model_of(job)->file_bytes : job->file.bytes;
}

static void print_text(const struct job *job)
{
	char size[32], was[32], time[32];

	printf("%s: %s, %s (%.2f bits a weight; the source has %s), in %s\n", job->opt->output,
	       hth_format_bytes(size, job->bytes), job->target.name,
	       8 * (double)job->r.tensor_bytes / (double)job->r.weights, hth_format_bytes(was, source_bytes(job)),
	       hth_format_duration(time, hth_now_s() - job->start_s));
	for (int q = 0, first = 1; q < HTH_QUANT_COUNT; q++)
		if (job->r.of_type[q] > 0) {
			printf("%s%zu %s", first ? "  tensors: " : ", ", job->r.of_type[q],
			       hth_quant_format((enum hth_quant)q)->name);
			first = 0;
		}
	if (job->target.bits != 0)
		printf("%s  matrices: %zu in groups of %d, %zu plain",
		       job->r.of_type[HTH_QUANT_MXFP4] > 0 ? "\n" : "", job->quantised, job->target.group,
		       job->plain_matrices);
	printf(job->target.folder && job->target.bits == 0 && job->r.of_type[HTH_QUANT_MXFP4] == 0 ? "" : "\n");
	if (job->eval.n > 0)
		hth_survived_print(&job->survival, job->o.loras.n_adapters > 0);
	else if (job->form == HTH_EXPORT_AUTO)
		printf("  not checked: no rows to check with; --eval FILE names some\n");
}

static enum hth_status write_modelfile(const struct job *job, struct hth_err *err)
{
	bool templated;
	bool kept = job->eval.n == 0 || job->survival.verdict == HTH_SURVIVED || job->opt->force;

	if (!job->opt->modelfile || !kept)
		return HTH_OK;
	enum hth_status s = hth_modelfile_write(job->opt->output, &templated, err);
	if (s == HTH_OK && !templated)
		hth_warn("Modelfile: without a TEMPLATE; this model's chat template is none that Ollama's language can say");
	return s;
}

static enum hth_status report(const struct job *job, struct hth_err *err)
{
	enum hth_status s = HTH_OK;

	tell(job);
	if (job->opt->json)
		s = print_json(job, err);
	else
		print_text(job);
	if (s != HTH_OK || job->eval.n == 0 || job->survival.verdict == HTH_SURVIVED)
		return s;
	return hth_fail(err, HTH_ERR_VALUE, "%s: the fine-tune was lost: %s; %s", job->opt->output, job->survival.why,
			job->opt->force
				? "the file was kept (--force)"
				: "the file was removed; take a finer --type, --calibrate DATA, or keep it with "
				  "--force");
}

static void clear(struct job *job)
{
	hth_dataset_clear(&job->eval);
	hth_imatrix_clear(&job->importance);
	hth_check_rows_clear(&job->rows);
	hth_gguf_close(&job->file);
	if (job->opened)
		hth_opened_close(&job->o);
	else
		hth_pool_free(job->o.pool);
	hth_as_gguf_close(&job->as);
	hth_model_close(job->plain);
	hth_free(job->written);
	hth_free(job->path);
}

static enum hth_status run(struct job *job, struct hth_err *err)
{
	enum hth_status s = check_options(job, err);

	if (s == HTH_OK && job->opt->check)
		s = hth_check_rows_find(job->opt, job->model, &job->rows, err);
	if (s == HTH_OK)
		s = open_source(job, err);
	if (s == HTH_OK)
		s = choose_target(job, err);
	if (s == HTH_OK)
		s = get_importance(job, err);
	if (s == HTH_OK)
		s = name_output(job, err);
	if (s == HTH_OK)
		s = write_file(job, err);
	if (s == HTH_OK)
		s = look_at(job, err);
	if (s == HTH_OK)
		s = check(job, err);
	if (s == HTH_OK)
		s = write_modelfile(job, err);
	if (s == HTH_OK)
		s = report(job, err);
	clear(job);
	return s;
}

enum hth_status hth_export_run(struct hth_cli *cli, struct hth_err *err)
{
	struct job job = {
		.opt = cli->config, .verb = cli->command->name, .model = cli->args[0], .start_s = hth_now_s()};

	return run(&job, err);
}

enum hth_status hth_export_model(const struct hth_export_options *opt, const char *verb, const char *model,
				 enum hth_export_form form, struct hth_err *err)
{
	struct job job = {.opt = opt, .verb = verb, .model = model, .form = form, .start_s = hth_now_s()};

	return run(&job, err);
}
