/* hearth train: fine-tunes a model on data. Everything it does is train/train.h; this is its command line. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/json_out.h"
#include "cmd/train_options.h"
#include "export/trained.h"
#include "formats/adapter.h"
#include "infer/generate.h"
#include "plan/plan.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_TOKENS 96
#define SAMPLE_CONTEXT 2048

/* The model's answer to a prompt, for the samples of report.html. */
static enum hth_status answer(void *ctx, struct hth_model *m, const struct hth_lora_set *loras, int32_t adapter,
			      const int32_t *prompt, int64_t n, struct hth_buf *out, struct hth_err *err)
{
	(void)ctx;
	struct hth_session *session = NULL;
	struct hth_generated g = {0};
	int64_t room = n + SAMPLE_TOKENS;
	struct hth_session_config cfg = {
		.capacity = room < SAMPLE_CONTEXT ? SAMPLE_CONTEXT : room, .loras = loras, .adapter = adapter};
	if (cfg.capacity > m->config.context)
		cfg.capacity = m->config.context;
	struct hth_generate_config gen = {.sampler = {.top_p = 1, .repetition_penalty = 1},
					  .max_tokens = SAMPLE_TOKENS};
	enum hth_status s = hth_session_new(m, &cfg, &session, err);
	if (s == HTH_OK)
		s = hth_generate(session, m, prompt, n, &gen, NULL, NULL, &g, err);
	if (s == HTH_OK && !hth_buf_add(out, hth_buf_str(&g.text), g.text.bytes))
		s = hth_buf_status(out, "a sample", err);
	hth_generated_clear(&g);
	hth_session_free(session);
	return s;
}

static bool show_fit(void *ctx, const struct hth_fit *fit)
{
	(void)ctx;
	char total[32], limit[32], again[200];
	hth_info("plan: %s of %s memory, %lld steps of %.0f tokens (%.0f computed), %lld tokens at once",
		 hth_format_bytes(total, fit->memory.total_bytes), hth_format_bytes(limit, fit->memory.limit_bytes),
		 (long long)fit->walk.steps, fit->walk.epoch_tokens / (double)fit->walk.steps_per_epoch,
		 fit->walk.epoch_computed / (double)fit->walk.steps_per_epoch, (long long)fit->token_budget);
	if (hth_fit_recompute_text(fit, again)[0] != '\0')
		hth_info("gradient checkpointing: %s", again);
	return true;
}

/* mlx-lm's --adapter-path: the adapter folder once more, where its tools look for it. */
static enum hth_status copy_adapter(const struct hth_train_options *opt, struct hth_err *err)
{
	struct hth_adapter a = {0};
	char *from = hth_path_join(opt->output_dir, "adapter");
	enum hth_status s = from != NULL ? hth_adapter_read(from, NULL, &a, err) : hth_fail_memory(err, "a path", 64);
	if (s == HTH_OK)
		s = hth_adapter_write_dir(opt->adapter_path, &a, false, err);
	hth_adapter_clear(&a);
	hth_free(from);
	return s;
}

/* A full fine-tuning as a model of its own. */
static enum hth_status export_model(const struct hth_train_config *cfg, struct hth_err *err)
{
	char *weights = hth_path_join(cfg->output_dir, "model.safetensors");
	char *folder = hth_path_join(cfg->output_dir, "model");
	enum hth_status s = weights != NULL && folder != NULL ? HTH_OK : hth_fail_memory(err, "a path", 64);

	if (s == HTH_OK && hth_path_kind(weights) == HTH_PATH_FILE)
		s = hth_export_trained(cfg->model, weights, folder, err);
	hth_free(weights);
	hth_free(folder);
	return s;
}

/* What the run left, and for whom. */
static void print_files(const char *dir)
{
	static const struct {
		const char *file, *text;
	} files[] = {{"adapter/adapter_model.safetensors", " adapter/ (PEFT"},
		     {"adapter/adapters.safetensors", ", mlx-lm"},
		     {"adapter/adapter_model.safetensors", "),"},
		     {"adapter.gguf", " adapter.gguf (llama.cpp),"},
		     {"model.safetensors", " model.safetensors,"},
		     {"model/config.json", " model/ (hearth, transformers, mlx-lm; hearth convert makes GGUF of it),"}};

	printf("%s:", dir);
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		char *path = hth_path_join(dir, files[i].file);
		if (path != NULL && hth_path_kind(path) == HTH_PATH_FILE)
			printf("%s", files[i].text);
		hth_free(path);
	}
	printf(" report.html, metrics.jsonl, checkpoints/\n");
}

static void print_result(const struct hth_train_options *opt, const struct hth_train_result *r)
{
	char time[32], memory[32];
	hth_format_duration(time, r->elapsed_s);
	hth_format_bytes(memory, r->anon_peak_bytes);
	if (opt->json) {
		putchar('{');
		hth_json_out_text("output_dir", opt->output_dir);
		printf("\"steps\":%lld,\"skipped\":%lld,\"first_loss\":%.6f,\"last_loss\":%.6f,", (long long)r->steps,
		       (long long)r->skipped, r->first_loss, r->last_loss);
		if (isfinite(r->best_loss))
			printf("\"best_loss\":%.6f,\"best_step\":%lld,", r->best_loss, (long long)r->best_step);
		printf("\"tokens\":%lld,\"seconds\":%.3f,\"anon_peak_bytes\":%llu,\"arena_bytes\":%llu,\"planned_"
		       "bytes\":%llu}\n",
		       (long long)r->trained_tokens, r->elapsed_s, (unsigned long long)r->anon_peak_bytes,
		       (unsigned long long)r->arena_bytes, (unsigned long long)r->planned_bytes);
		return;
	}
	printf("%lld steps in %s, train loss %.3f -> %.3f", (long long)r->steps, time, r->first_loss, r->last_loss);
	if (isfinite(r->best_loss))
		printf(", best validation loss %.3f at step %lld", r->best_loss, (long long)r->best_step);
	printf("\n%lld tokens of the data set, peak memory %s beside the mapped model\n", (long long)r->trained_tokens,
	       memory);
	if (r->stopped_early)
		printf("stopped early: no better validation loss for %lld validations\n", (long long)opt->patience);
	print_files(opt->output_dir);
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct hth_train_options *opt = cli->config;
	struct hth_train_config cfg;
	struct hth_train_result result = {0};
	char *yaml = NULL;
	enum hth_status s = hth_train_options_resolve(cli, &cfg, err);
	if (s == HTH_OK && opt->plan)
		return hth_train_plan_command(cli, &cfg, err);
	if (s == HTH_OK)
		s = hth_train_options_yaml(cli, &yaml, err);
	if (s == HTH_OK && !opt->json)
		hth_train_options_print(cli);
	if (s == HTH_OK) {
		struct hth_train_hooks hooks = {.config_yaml = yaml, .on_plan = show_fit, .answer = answer};
		s = hth_train_run(&cfg, &hooks, &result, err);
	}
	if (s == HTH_OK && opt->adapter_path != NULL && cfg.type == HTH_TRAIN_LORA)
		s = copy_adapter(opt, err);
	if (s == HTH_OK && cfg.type == HTH_TRAIN_FULL)
		s = export_model(&cfg, err);
	if (s == HTH_OK)
		print_result(opt, &result);
	hth_free(yaml);
	return s;
}

const struct hth_command hth_command_train = {
	.name = "train",
	.usage = "[config.yml] [options]",
	.summary = "fine-tunes a model: LoRA on any base, or all weights",
	.about = "  hearth train config.yml                        keys as Axolotl or mlx-lm name them\n"
		 "  hearth train --model model.gguf --data DIR --iters 200 --batch-size 4\n"
		 "  hearth train config.yml --plan                 memory and time, before any weight is read\n"
		 "  hearth train config.yml --resume               goes on where the last checkpoint stands, bit for "
		 "bit\n"
		 "Ctrl-C saves and leaves; a second one leaves at once.",
	.options = hth_train_option_table,
	.config_bytes = sizeof(struct hth_train_options),
	.min_args = 0,
	.max_args = 1,
	.run = run,
};
