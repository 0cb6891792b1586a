/* hearth eval: how well a model does on rows of data, base and adapters in one table: perplexity of the targets, and
 * answers that are exactly or at least contain what was expected. */
#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "cmd/conversation.h"
#include "cmd/json_out.h"
#include "cmd/lines.h"
#include "cmd/opened.h"
#include "eval/match.h"
#include "infer/perplexity.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct eval_options {
	struct hth_talk_options talk; /* first: HTH_TALK_OPTIONS */
	const char *data;
	bool no_base, perplexity, answers, show_misses;
	int64_t rows, max_seq_length;
};

static const struct hth_option options[] = {
	{"data", NULL, NULL, HTH_OPTION_PATH, offsetof(struct eval_options, data), 0, 0, NULL, NULL, "FILE|DIR",
	 "JSONL rows; a folder stands for its test.jsonl"},
	HTH_TALK_OPTIONS("64", "0"),
	{"skip-base", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct eval_options, no_base), 0, 0, NULL, NULL, NULL,
	 "do not evaluate the base beside the adapters"},
	{"perplexity", NULL, NULL, HTH_OPTION_BOOL, offsetof(struct eval_options, perplexity), 0, 0, NULL, "on",
	 "on|off", "perplexity of the targets"},
	{"answers", NULL, NULL, HTH_OPTION_BOOL, offsetof(struct eval_options, answers), 0, 0, NULL, "on", "on|off",
	 "generate an answer to every row and match it"},
	{"show-misses", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct eval_options, show_misses), 0, 0, NULL, NULL,
	 NULL, "print the answers that did not match, to stderr"},
	{"rows", NULL, NULL, HTH_OPTION_INT, offsetof(struct eval_options, rows), 0, 1e12, NULL, "0", "N",
	 "use the first N rows; 0: all"},
	{"max-seq-length", NULL, NULL, HTH_OPTION_INT, offsetof(struct eval_options, max_seq_length), 0, 1 << 26, NULL,
	 "2048", "tokens", "longest example; longer ones are cut and counted"},
	{0},
};

/* One question with what its answer must hold. */
struct question {
	json_t *messages;      /* up to the last assistant turn; owned */
	struct hth_buf reply;  /* that turn's text */
	struct hth_buf expect; /* "expect" of the row, or empty: then the reply */
};

struct eval_job {
	const struct eval_options *opt;
	struct hth_opened o;
	struct hth_chat chat;
	struct hth_dataset data;
	struct question *questions;
	size_t n, cap;
};

struct score {
	char name[80];
	double loss, perplexity;
	size_t exact, contains;
	double seconds;
};

static enum hth_status copy_text(struct hth_buf *out, const json_t *text, const char *where, struct hth_err *err)
{
	hth_buf_init(out, HTH_LINE_MAX_BYTES);
	if (json_is_string(text))
		(void)hth_buf_add(out, json_string_value(text), json_string_length(text));
	return hth_buf_status(out, where, err);
}

/* A row of messages whose last turn is the assistant's becomes a question; other rows count for perplexity alone. */
static enum hth_status add_question(void *ctx, const json_t *row, const char *where, struct hth_err *err)
{
	struct eval_job *job = ctx;
	const json_t *messages = json_object_get(row, "messages");
	size_t n = json_array_size(messages);
	const json_t *last = n > 0 ? json_array_get(messages, n - 1) : NULL;
	const char *role = json_string_value(json_object_get(last, "role"));
	if (role == NULL || strcmp(role, "assistant") != 0 || (job->opt->rows > 0 && job->n >= (size_t)job->opt->rows))
		return HTH_OK;
	struct question *grown = hth_grow(job->questions, job->n, &job->cap, (size_t)1 << 24, sizeof *grown);
	if (grown == NULL)
		return hth_fail_memory(err, where, sizeof *grown);
	job->questions = grown;
	struct question *q = &job->questions[job->n];
	memset(q, 0, sizeof *q);
	q->messages = json_copy((json_t *)(uintptr_t)messages); /* shallow: the row's own messages are shared */
	if (q->messages == NULL || json_array_remove(q->messages, n - 1) != 0) {
		json_decref(q->messages);
		return hth_fail_memory(err, where, n);
	}
	job->n++;
	enum hth_status s = copy_text(&q->reply, json_object_get(last, "content"), where, err);
	if (s == HTH_OK)
		s = copy_text(&q->expect, json_object_get(row, "expect"), where, err);
	return s;
}

static enum hth_status read_questions(struct eval_job *job, const char *path, struct hth_err *err)
{
	FILE *in = NULL;
	enum hth_status s = hth_open_lines(path, &in, err);
	if (s != HTH_OK)
		return s;
	s = hth_each_json_line(in, path, add_question, job, err);
	fclose(in);
	return s;
}

static enum hth_status ask_all(struct eval_job *job, int32_t adapter, struct score *score, struct hth_err *err)
{
	struct hth_session *session = NULL;
	struct hth_generate_config cfg;
	hth_talk_generate_config(&job->opt->talk, &cfg);
	struct hth_progress bar = {0};
	enum hth_status s = hth_opened_session(&job->o, adapter, job->opt->talk.context, &session, err);
	hth_progress_start(&bar, score->name, job->n, 0);
	for (size_t i = 0; i < job->n && s == HTH_OK; i++) {
		struct question *q = &job->questions[i];
		struct hth_tokens prompt = {0};
		struct hth_generated g = {0};
		s = hth_chat_prompt(&job->chat, q->messages, NULL, &prompt, err);
		if (s == HTH_OK)
			s = hth_generate(session, job->o.model, prompt.ids, (int64_t)prompt.n, &cfg, NULL, NULL, &g,
					 err);
		if (s == HTH_OK) {
			const struct hth_buf *want = q->expect.bytes > 0 ? &q->expect : &q->reply;
			bool exact = hth_match_exact(hth_buf_str(&g.text), g.text.bytes, hth_buf_str(&q->reply),
						     q->reply.bytes);
			bool holds =
				hth_match_contains(hth_buf_str(&g.text), g.text.bytes, hth_buf_str(want), want->bytes);
			score->exact += exact;
			score->contains += holds;
			if (!holds && job->opt->show_misses)
				hth_info("%s, row %zu: expected \"%s\", answered \"%s\"", score->name, i + 1,
					 hth_buf_str(want), hth_buf_str(&g.text));
			hth_progress_update(&bar, i + 1, "%zu of %zu right", score->contains, i + 1);
		}
		hth_generated_clear(&g);
		hth_tokens_clear(&prompt);
	}
	hth_progress_end(&bar);
	hth_session_free(session);
	return s;
}

static enum hth_status measure(struct eval_job *job, int32_t adapter, struct score *score, struct hth_err *err)
{
	double start = hth_now_s();
	enum hth_status s = HTH_OK;
	snprintf(score->name, sizeof score->name, "%.79s",
		 adapter < 0 ? "base" : job->opt->talk.adapters.items[adapter]);
	if (job->opt->perplexity) {
		struct hth_perplexity_config cfg = {.loras = &job->o.loras, .adapter = adapter, .share_prefix = true};
		struct hth_perplexity p = {0};
		s = hth_perplexity(job->o.model, &job->data, &cfg, &p, err);
		if (s == HTH_OK) {
			score->loss = p.nll / (double)p.n_targets;
			score->perplexity = exp(score->loss);
		}
		hth_perplexity_clear(&p);
	}
	if (s == HTH_OK && job->opt->answers && job->n > 0)
		s = ask_all(job, adapter, score, err);
	score->seconds = hth_now_s() - start;
	return s;
}

static void print_scores(const struct eval_job *job, const struct score *scores, size_t n)
{
	double rows = job->n > 0 ? (double)job->n : 1;
	if (job->opt->talk.json) {
		printf("{\"rows\":%zu,\"targets\":%llu,\"results\":[", job->n, (unsigned long long)job->data.n_targets);
		for (size_t i = 0; i < n; i++) {
			printf("%s{", i > 0 ? "," : "");
			hth_json_out_text("model", scores[i].name);
			printf("\"loss\":%.6f,\"perplexity\":%.6f,\"exact\":%zu,\"contains\":%zu,"
			       "\"exact_rate\":%.6f,"
			       "\"contains_rate\":%.6f,\"seconds\":%.3f}",
			       scores[i].loss, scores[i].perplexity, scores[i].exact, scores[i].contains,
			       (double)scores[i].exact / rows, (double)scores[i].contains / rows, scores[i].seconds);
		}
		printf("]}\n");
		return;
	}
	printf("%zu questions, %zu examples with %llu target tokens\n", job->n, job->data.n,
	       (unsigned long long)job->data.n_targets);
	printf("%-28s %10s %12s %16s %16s %9s\n", "", "loss", "perplexity", "answer exact", "answer holds", "time");
	for (size_t i = 0; i < n; i++)
		printf("%-28s %10.4f %12.3f %8zu %6.1f%% %8zu %6.1f%% %8.1fs\n", scores[i].name, scores[i].loss,
		       scores[i].perplexity, scores[i].exact, 100 * (double)scores[i].exact / rows, scores[i].contains,
		       100 * (double)scores[i].contains / rows, scores[i].seconds);
}

static enum hth_status load(struct eval_job *job, const char *model, struct hth_err *err)
{
	const struct eval_options *opt = job->opt;
	struct hth_open_config open = {.model = model,
				       .adapters = opt->talk.adapters.items,
				       .n_adapters = opt->talk.adapters.n,
				       .backend = opt->talk.backend,
				       .threads = opt->talk.threads,
				       .compute = (enum hth_compute)opt->talk.compute,
				       .kv_type = (enum hth_state_type)opt->talk.kv_type};
	struct hth_data_paths paths = {0};
	const char *path = opt->data;
	enum hth_status s = hth_opened_open(&job->o, &open, err);
	if (s == HTH_OK && hth_path_kind(path) == HTH_PATH_DIR) {
		s = hth_data_find(path, &paths, err);
		path = paths.test != NULL ? paths.test : paths.valid;
		if (s == HTH_OK && path == NULL)
			s = hth_fail(err, HTH_ERR_NOTFOUND, "%s: neither test.jsonl nor valid.jsonl is in this folder",
				     opt->data);
	}
	if (s == HTH_OK)
		s = hth_model_chat(job->o.model, &job->chat, err);
	if (s == HTH_OK) {
		job->chat.now = (int64_t)time(NULL);
		struct hth_data_config cfg = {
			.max_tokens = opt->max_seq_length, .overlong = HTH_OVERLONG_CUT, .max_rows = opt->rows};
		s = hth_dataset_read(path, &job->chat, &cfg, false, &job->data, err);
	}
	if (s == HTH_OK)
		s = read_questions(job, path, err);
	hth_data_paths_clear(&paths);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	struct eval_job job = {.opt = cli->config};
	size_t n_adapters = job.opt->talk.adapters.n, n = 0;
	if (job.opt->data == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth eval: no data; give --data FILE.jsonl");
	struct score *scores = hth_calloc(n_adapters + 1, sizeof *scores);
	if (scores == NULL)
		return hth_fail_memory(err, "scores", n_adapters * sizeof *scores);
	enum hth_status s = load(&job, cli->args[0], err);
	if (s == HTH_OK && (!job.opt->no_base || n_adapters == 0))
		s = measure(&job, -1, &scores[n++], err);
	for (size_t i = 0; i < n_adapters && s == HTH_OK; i++)
		s = measure(&job, (int32_t)i, &scores[n++], err);
	if (s == HTH_OK)
		print_scores(&job, scores, n);
	for (size_t i = 0; i < job.n; i++) {
		json_decref(job.questions[i].messages);
		hth_buf_clear(&job.questions[i].reply);
		hth_buf_clear(&job.questions[i].expect);
	}
	hth_free(job.questions);
	hth_free(scores);
	hth_dataset_clear(&job.data);
	hth_opened_close(&job.o);
	return s;
}

const struct hth_command hth_command_eval = {
	.name = "eval",
	.usage = "MODEL --data FILE|DIR [--adapter A]... [options]",
	.summary = "perplexity and right answers, base against tuned",
	.about = "Rows are training rows. The last assistant turn is the reference answer; a row's \"expect\" text is "
		 "what an answer\n"
		 "must hold (numbers match as numbers: \"2 ppm\" is not in \"1200 ppm\").\n\n"
		 "  hearth eval model.gguf --data examples/hazmat --adapter runs/hazmat/adapter",
	.options = options,
	.config_bytes = sizeof(struct eval_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
