/* hearth data: check, prepare, split and show data sets. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cmd/json_out.h"
#include "cmd/lines.h"
#include "cmd/where.h"
#include "cmd/options.h"
#include "data/show.h"
#include "models/model.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_FILE_BYTES ((size_t)8 << 30)

struct data_options {
	const char *model, *output;
	int64_t max_seq_length, rows, line, seed;
	double valid, test;
	bool mask_prompt, train_on_inputs, json, overwrite;
	int overlong;
};

#define AT(field) offsetof(struct data_options, field)

static const struct hth_option options[] = {
	{"model", NULL, NULL, HTH_OPTION_PATH, AT(model), 0, 0, NULL, NULL, "MODEL",
	 "whose tokenizer and template read the rows"},
	{"max-seq-length", NULL, NULL, HTH_OPTION_INT, AT(max_seq_length), 0, 1 << 26, NULL, "2048", "tokens",
	 "longest example"},
	{"overlong", NULL, NULL, HTH_OPTION_CHOICE, AT(overlong), 0, 0, "drop|truncate|raise", "truncate", NULL,
	 "check, show: what happens to longer ones"},
	{"mask-prompt", NULL, NULL, HTH_OPTION_SWITCH, AT(mask_prompt), 0, 0, NULL, NULL, NULL,
	 "learn the last assistant turn only"},
	{"train-on-inputs", NULL, NULL, HTH_OPTION_SWITCH, AT(train_on_inputs), 0, 0, NULL, NULL, NULL,
	 "learn every token"},
	{"rows", NULL, NULL, HTH_OPTION_INT, AT(rows), 0, 1e9, NULL, "3", "N", "show: how many examples; 0: all"},
	{"line", NULL, NULL, HTH_OPTION_INT, AT(line), 0, 1e9, NULL, "0", "N",
	 "show: the row at this line of the file"},
	{"output", "o", NULL, HTH_OPTION_PATH, AT(output), 0, 0, NULL, NULL, "DIR|FILE",
	 "prepare, split: where the result goes"},
	{"valid", NULL, NULL, HTH_OPTION_REAL, AT(valid), 0, 0.9, NULL, "0.1", "P",
	 "split: part of the rows for valid.jsonl"},
	{"test", NULL, NULL, HTH_OPTION_REAL, AT(test), 0, 0.9, NULL, "0.1", "P",
	 "split: part of the rows for test.jsonl"},
	{"seed", NULL, NULL, HTH_OPTION_INT, AT(seed), 0, 9e15, NULL, "0", "N", "split: which rows go where"},
	{"overwrite", NULL, NULL, HTH_OPTION_SWITCH, AT(overwrite), 0, 0, NULL, NULL, NULL,
	 "replace outputs that exist"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, AT(json), 0, 0, NULL, NULL, NULL, "machine-readable result"},
	{0},
};

static enum hth_status open_chat(const struct data_options *opt, struct hth_model **m, struct hth_chat *chat,
				 struct hth_err *err)
{
	if (opt->model == NULL)
		return hth_fail(err, HTH_ERR_USAGE,
				"hearth data: no model; give --model FILE.gguf (its tokenizer and template are used)");
	enum hth_status s = hth_model_open_named(opt->model, true, m, err);
	if (s != HTH_OK)
		return s;
	*chat = (struct hth_chat){.tmpl = (*m)->tmpl, .tok = (*m)->tokenizer, .now = (int64_t)time(NULL)};
	return HTH_OK;
}

static struct hth_data_config data_config(const struct data_options *opt)
{
	return (struct hth_data_config){
		.targets = opt->train_on_inputs ? HTH_TARGET_ALL
			   : opt->mask_prompt   ? HTH_TARGET_LAST_ASSISTANT
						: HTH_TARGET_ASSISTANT,
		.max_tokens = opt->max_seq_length,
		.overlong = (enum hth_overlong)opt->overlong,
	};
}

/* ---- check ---- */

/* Parsers name file and line themselves; what is said of a row as a whole does not. */
static void print_issue(const char *path, const struct hth_data_issue *issue)
{
	if (strncmp(issue->text, path, strlen(path)) == 0)
		hth_error("%s", issue->text);
	else
		hth_error("%s:%u: %s", path, issue->line, issue->text);
}

static enum hth_status check_file(const char *path, const struct hth_chat *chat, const struct data_options *opt,
				  size_t *bad, struct hth_err *err)
{
	struct hth_dataset d = {0};
	struct hth_data_config cfg = data_config(opt);
	enum hth_status s = hth_dataset_read(path, chat, &cfg, true, &d, err);
	if (s != HTH_OK) {
		hth_dataset_clear(&d);
		return s;
	}
	if (opt->json) {
		putchar('{');
		hth_json_out_text("file", path);
		printf("\"rows\":%zu,\"examples\":%zu,\"tokens\":%llu,\"targets\":%llu,\"longest\":%u,"
		       "\"cut\":%zu,"
		       "\"dropped\":%zu,\"duplicates\":%zu,\"bad\":%zu}\n",
		       d.n_rows, d.n, (unsigned long long)d.n_tokens, (unsigned long long)d.n_targets, d.longest,
		       d.n_cut, d.n_dropped, d.n_duplicates, d.n_issues);
	} else {
		char tokens[32], targets[32];
		double share = d.n_tokens > 0 ? 100.0 * (double)d.n_targets / (double)d.n_tokens : 0;
		printf("%s\n  %zu rows, %zu examples, %s tokens, %s of them targets (%.0f %%), longest %u\n", path,
		       d.n_rows, d.n, hth_format_count(tokens, d.n_tokens), hth_format_count(targets, d.n_targets),
		       share, d.longest);
		if (d.n_cut > 0 || d.n_dropped > 0)
			printf("  over --max-seq-length %lld: %zu cut, %zu dropped\n", (long long)opt->max_seq_length,
			       d.n_cut, d.n_dropped);
		if (d.n_duplicates > 0)
			printf("  %zu rows stand there more than once\n", d.n_duplicates);
	}
	for (size_t i = 0; i < d.n_issues; i++)
		print_issue(path, &d.issues[i]);
	*bad += d.n_issues;
	hth_dataset_clear(&d);
	return HTH_OK;
}

static enum hth_status run_check(const char *path, const struct data_options *opt, struct hth_err *err)
{
	struct hth_model *m = NULL;
	struct hth_chat chat;
	struct hth_data_paths paths = {0};
	size_t bad = 0;
	enum hth_status s = open_chat(opt, &m, &chat, err);
	if (s == HTH_OK)
		s = hth_data_find(path, &paths, err);
	const char *files[] = {paths.train, paths.valid, paths.test};
	for (int i = 0; i < 3 && s == HTH_OK; i++)
		if (files[i] != NULL)
			s = check_file(files[i], &chat, opt, &bad, err);
	if (s == HTH_OK && bad > 0)
		s = hth_fail(err, HTH_ERR_FORMAT, "%zu rows cannot be trained on; mend or remove them", bad);
	else if (s == HTH_OK && !opt->json)
		printf("every row can be trained on\n");
	hth_data_paths_clear(&paths);
	hth_model_close(m);
	return s;
}

/* ---- show ---- */

static enum hth_status show_example(const struct hth_model *m, const struct hth_data_example *e,
				    const struct data_options *opt, struct hth_err *err)
{
	struct hth_buf out;
	hth_buf_init(&out, (size_t)1 << 30);
	enum hth_show_style style = hth_use_colour(hth_stdout_is_tty()) ? HTH_SHOW_COLOUR : HTH_SHOW_BRACKETS;
	enum hth_status s;
	if (opt->json)
		s = hth_data_show_json(m->tokenizer, e, &out, err);
	else
		s = hth_data_show(m->tokenizer, e, style, &out, err);
	if (s == HTH_OK && !opt->json)
		printf("-- line %u, %zu tokens, %zu trained on\n", e->line, e->tokens.n, e->tokens.n_targets);
	if (s == HTH_OK)
		printf("%s\n", hth_buf_str(&out));
	hth_buf_clear(&out);
	return s;
}

static enum hth_status run_show(const char *path, const struct data_options *opt, struct hth_err *err)
{
	struct hth_model *m = NULL;
	struct hth_chat chat;
	struct hth_data_paths paths = {0};
	struct hth_dataset d = {0};
	struct hth_data_config cfg = data_config(opt);
	enum hth_status s = open_chat(opt, &m, &chat, err);
	if (s == HTH_OK)
		s = hth_data_find(path, &paths, err);
	cfg.max_rows = opt->line > 0 ? opt->line : opt->rows;
	if (s == HTH_OK)
		s = hth_dataset_read(paths.train, &chat, &cfg, false, &d, err);
	size_t shown = 0;
	for (size_t i = 0; i < d.n && s == HTH_OK; i++) {
		if (opt->line > 0 && d.items[i].line != (uint32_t)opt->line)
			continue;
		s = show_example(m, &d.items[i], opt, err);
		shown++;
	}
	if (s == HTH_OK && shown == 0)
		s = hth_fail(err, HTH_ERR_NOTFOUND, "%s: no example at line %lld; the file has %zu rows", paths.train,
			     (long long)opt->line, d.n_rows);
	hth_dataset_clear(&d);
	hth_data_paths_clear(&paths);
	hth_model_close(m);
	return s;
}

/* ---- prepare ---- */

struct prepare_job {
	const struct hth_chat *chat;
	struct hth_buf out;
	size_t rows;
};

static enum hth_status prepare_row(void *ctx, const json_t *row, const char *where, struct hth_err *err)
{
	struct prepare_job *job = ctx;
	const json_t *messages = json_object_get(row, "messages");
	struct hth_rendered r = {0};
	enum hth_status s;
	if (!json_is_array(messages))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: expected an object with \"messages\"", where);
	s = hth_chat_render(job->chat, messages, json_object_get(row, "tools"), false, &r, err);
	if (s == HTH_OK) {
		(void)hth_buf_puts(&job->out, "{\"text\":");
		(void)hth_json_put_string(&job->out, hth_buf_str(&r.text), r.text.bytes);
		(void)hth_buf_puts(&job->out, "}\n");
		s = hth_buf_status(&job->out, where, err);
		job->rows++;
	} else {
		s = hth_err_prefix(err, "%s", where);
	}
	hth_rendered_clear(&r);
	return s;
}

static enum hth_status run_prepare(const char *path, const struct data_options *opt, struct hth_err *err)
{
	struct hth_model *m = NULL;
	struct hth_chat chat;
	struct prepare_job job = {.chat = &chat};
	hth_buf_init(&job.out, MAX_FILE_BYTES);
	if (opt->output == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth data prepare: no output; give --output FILE.jsonl");
	if (!opt->overwrite && hth_path_kind(opt->output) != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", opt->output);
	enum hth_status s = open_chat(opt, &m, &chat, err);
	if (s == HTH_OK && m->tmpl == NULL)
		s = hth_model_chat(m, &chat, err); /* says that the model has no template */
	FILE *in = NULL;
	if (s == HTH_OK)
		s = hth_open_lines(path, &in, err);
	if (s == HTH_OK)
		s = hth_each_json_line(in, path, prepare_row, &job, err);
	if (in != NULL)
		fclose(in);
	if (s == HTH_OK)
		s = hth_file_write(opt->output, hth_buf_str(&job.out), job.out.bytes, err);
	if (s == HTH_OK)
		printf("%s: %zu rows of text\n", opt->output, job.rows);
	hth_buf_clear(&job.out);
	hth_model_close(m);
	return s;
}

/* ---- split ---- */

struct line_at {
	size_t start, bytes; /* with its newline where it has one */
};

static enum hth_status find_lines(const char *text, size_t bytes, struct line_at **lines, size_t *n,
				  struct hth_err *err)
{
	size_t cap = 0;
	for (size_t at = 0; at < bytes;) {
		const char *nl = memchr(text + at, '\n', bytes - at);
		size_t len = nl != NULL ? (size_t)(nl - (text + at)) + 1 : bytes - at;
		if (strspn(text + at, " \t\r\n") < len) {
			struct line_at *grown = hth_grow(*lines, *n, &cap, UINT32_MAX - 1, sizeof *grown);
			if (grown == NULL)
				return hth_fail_memory(err, "lines", *n * sizeof *grown);
			*lines = grown;
			(*lines)[(*n)++] = (struct line_at){at, len};
		}
		at += len;
	}
	return HTH_OK;
}

/* Writes the lines whose place in the shuffled order is in [from, to), in their file order. */
static enum hth_status write_part(const char *dir, const char *name, const char *text, const struct line_at *lines,
				  const uint32_t *place, size_t n, size_t from, size_t to, bool overwrite,
				  struct hth_err *err)
{
	char *path = hth_path_join(dir, name);
	struct hth_buf out;
	hth_buf_init(&out, MAX_FILE_BYTES);
	enum hth_status s = path != NULL ? HTH_OK : hth_fail_memory(err, name, 256);
	if (s == HTH_OK && !overwrite && hth_path_kind(path) != HTH_PATH_NONE)
		s = hth_fail(err, HTH_ERR_EXISTS, "%s: exists; --overwrite replaces it", path);
	for (size_t i = 0; i < n && s == HTH_OK; i++) {
		if (place[i] < from || place[i] >= to)
			continue;
		(void)hth_buf_add(&out, text + lines[i].start, lines[i].bytes);
		if (text[lines[i].start + lines[i].bytes - 1] != '\n')
			(void)hth_buf_putc(&out, '\n');
	}
	if (s == HTH_OK)
		s = hth_buf_status(&out, name, err);
	if (s == HTH_OK)
		s = hth_file_write(path, hth_buf_str(&out), out.bytes, err);
	if (s == HTH_OK)
		printf("%s: %zu rows\n", path, to - from);
	hth_buf_clear(&out);
	hth_free(path);
	return s;
}

static enum hth_status run_split(const char *path, const struct data_options *opt, struct hth_err *err)
{
	char *text = NULL;
	size_t bytes = 0, n = 0;
	struct line_at *lines = NULL;
	uint32_t *order = NULL, *place = NULL;
	if (opt->output == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth data split: no output; give --output DIR");
	if (opt->valid + opt->test >= 1)
		return hth_fail(err, HTH_ERR_USAGE, "--valid %g and --test %g leave nothing to train on", opt->valid,
				opt->test);
	enum hth_status s = hth_file_read(path, MAX_FILE_BYTES, &text, &bytes, err);
	if (s == HTH_OK)
		s = find_lines(text, bytes, &lines, &n, err);
	if (s == HTH_OK) {
		order = hth_calloc(n + 1, sizeof *order);
		place = hth_calloc(n + 1, sizeof *place);
		if (order == NULL || place == NULL)
			s = hth_fail_memory(err, "split", n * sizeof *order);
	}
	if (s == HTH_OK)
		s = hth_mkdirs(opt->output, err);
	if (s == HTH_OK) {
		hth_rng_shuffle(hth_rng_key((uint64_t)opt->seed, HTH_RNG_SPLIT, 0, 0), order, (uint32_t)n);
		for (size_t i = 0; i < n; i++)
			place[order[i]] = (uint32_t)i;
		size_t valid = (size_t)((double)n * opt->valid + 0.5), test = (size_t)((double)n * opt->test + 0.5);
		size_t train = n - valid - test;
		s = write_part(opt->output, "train.jsonl", text, lines, place, n, 0, train, opt->overwrite, err);
		if (s == HTH_OK && valid > 0)
			s = write_part(opt->output, "valid.jsonl", text, lines, place, n, train, train + valid,
				       opt->overwrite, err);
		if (s == HTH_OK && test > 0)
			s = write_part(opt->output, "test.jsonl", text, lines, place, n, train + valid, n,
				       opt->overwrite, err);
	}
	hth_free(place);
	hth_free(order);
	hth_free(lines);
	hth_free(text);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	static const struct {
		const char *name;
		enum hth_status (*run)(const char *path, const struct data_options *opt, struct hth_err *err);
	} actions[] = {{"check", run_check}, {"prepare", run_prepare}, {"split", run_split}, {"show", run_show}};
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (strcmp(cli->args[0], actions[i].name) == 0)
			return actions[i].run(cli->args[1], cli->config, err);
	return hth_fail(err, HTH_ERR_USAGE, "hearth data: found \"%s\", expected check, prepare, split or show",
			cli->args[0]);
}

const struct hth_command hth_command_data = {
	.name = "data",
	.usage = "check|prepare|split|show PATH [options]",
	.summary = "data doctor; messages to text; splits; what is trained on, in colour",
	.about = "PATH is a JSONL file, or a folder with train.jsonl, valid.jsonl and test.jsonl (check, show).\n\n"
		 "  hearth data check examples/hazmat --model model.gguf     every bad row by file, line and reason\n"
		 "  hearth data show examples/hazmat --model model.gguf      what the model reads; trained tokens "
		 "marked\n"
		 "  hearth data prepare chats.jsonl --model model.gguf --output text.jsonl\n"
		 "  hearth data split rows.jsonl --output data --valid 0.1 --test 0.1",
	.options = options,
	.config_bytes = sizeof(struct data_options),
	.words = "check prepare split show",
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
