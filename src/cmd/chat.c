/* hearth chat: a conversation on the terminal, with line editing and history; answers stream as they are made.
 * Without a terminal every line of stdin is a turn. */
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "cmd/conversation.h"
#include "cmd/opened.h"

#include <editline/readline.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HISTORY_LINES 1000

struct chat_options {
	struct hth_talk_options talk; /* first: HTH_TALK_OPTIONS */
	bool compare_base;
};

static const struct hth_option options[] = {
	HTH_TALK_OPTIONS("1024", "0.7"),
	{"compare-base", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct chat_options, compare_base), 0, 0, NULL, NULL,
	 NULL, "the base model answers every turn too"},
	{0},
};

struct room {
	struct chat_options *opt;
	struct hth_opened o;
	struct hth_chat chat;
	struct hth_session *tuned, *base; /* base: with --compare-base, or when there is no adapter */
	json_t *messages;
	bool tty;
	char history[512]; /* path, "" when there is none */
	uint64_t turns;
};

/* Set by Ctrl-C: ends the answer, not the program. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

static bool print_text(void *ctx, const char *text, size_t bytes)
{
	(void)ctx;
	return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0 && !interrupted;
}

static enum hth_status answer(struct room *r, struct hth_session *session, const char *label, struct hth_generated *g,
			      struct hth_err *err)
{
	struct hth_tokens prompt = {0};
	struct hth_generate_config cfg;
	hth_talk_generate_config(&r->opt->talk, &cfg);
	cfg.sampler.seed += r->turns; /* the same question twice may get two answers; the run as a whole repeats */
	r->chat.now = (int64_t)time(NULL);
	enum hth_status s = hth_chat_prompt(&r->chat, r->messages, NULL, &prompt, err);
	if (s == HTH_OK) {
		bool colour = hth_use_colour(r->tty && hth_stdout_is_tty());
		if (label != NULL)
			printf("%s%s%s ", colour ? "\033[2m" : "", label, colour ? "\033[0m" : "");
		interrupted = 0;
		s = hth_generate(session, r->o.model, prompt.ids, (int64_t)prompt.n, &cfg, print_text, NULL, g, err);
		printf("\n");
		fflush(stdout);
	}
	if (s == HTH_OK && g->finish == HTH_FINISH_CONTEXT)
		hth_warn("the context of %lld tokens is full; /reset starts anew, --context N makes it larger",
			 (long long)hth_session_capacity(session));
	hth_tokens_clear(&prompt);
	return s;
}

static enum hth_status take_turn(struct room *r, const char *line, struct hth_err *err)
{
	enum hth_status s = hth_conversation_add(r->messages, "user", line, strlen(line), err);
	struct hth_generated g = {0}, other = {0};
	bool both = r->tuned != NULL && r->base != NULL;
	if (s == HTH_OK && both)
		s = answer(r, r->base, "base:", &other, err);
	if (s == HTH_OK)
		s = answer(r, r->tuned != NULL ? r->tuned : r->base, both ? "tuned:" : NULL, &g, err);
	if (s == HTH_OK)
		s = hth_conversation_add(r->messages, "assistant", hth_buf_str(&g.text), g.text.bytes, err);
	else
		json_array_remove(r->messages, json_array_size(r->messages) - 1); /* the question is taken back */
	hth_generated_clear(&g);
	hth_generated_clear(&other);
	r->turns++;
	return s;
}

static enum hth_status reset(struct room *r, const char *system, struct hth_err *err)
{
	json_t *fresh = hth_conversation_new(system);
	if (fresh == NULL)
		return hth_fail_memory(err, "conversation", 64);
	json_decref(r->messages);
	r->messages = fresh;
	return HTH_OK;
}

static enum hth_status save(const struct room *r, const char *path, struct hth_err *err)
{
	struct hth_buf out;
	hth_buf_init(&out, (size_t)256 << 20);
	json_t *row = json_pack("{s:O}", "messages", r->messages);
	enum hth_status s = row != NULL ? hth_json_dump(row, 0, &out, err) : hth_fail_memory(err, "conversation", 64);
	(void)hth_buf_putc(&out, '\n');
	if (s == HTH_OK)
		s = hth_buf_status(&out, "conversation", err);
	if (s == HTH_OK)
		s = hth_file_write(path, hth_buf_str(&out), out.bytes, err);
	if (s == HTH_OK)
		hth_info("saved to %s, one row of training data", path);
	json_decref(row);
	hth_buf_clear(&out);
	return s;
}

static const char help_text[] = "/reset          forget the conversation\n"
				"/system TEXT    start anew with this system message\n"
				"/temp X         temperature from now on\n"
				"/save FILE      write the conversation as a row of training data\n"
				"/exit           leave (also Ctrl-D); Ctrl-C ends an answer\n";

/* True when the line was a command; *leave when it ends the program. */
static bool command(struct room *r, const char *line, bool *leave)
{
	struct hth_err err = {0};
	enum hth_status s = HTH_OK;
	if (line[0] != '/')
		return false;
	if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0) {
		*leave = true;
	} else if (strcmp(line, "/reset") == 0) {
		s = reset(r, r->opt->talk.system, &err);
	} else if (strncmp(line, "/system ", 8) == 0) {
		s = reset(r, line + 8, &err);
	} else if (strncmp(line, "/temp ", 6) == 0) {
		double t;
		if (hth_parse_f64(line + 6, &t) && t >= 0 && t <= 100)
			r->opt->talk.temp = t;
		else
			s = hth_fail(&err, HTH_ERR_USAGE, "/temp: expected a number in 0..100");
	} else if (strncmp(line, "/save ", 6) == 0) {
		s = save(r, line + 6, &err);
	} else {
		fputs(help_text, stdout);
	}
	if (s != HTH_OK)
		hth_error("%s", err.text);
	return true;
}

/* The next line of the user; NULL at the end. Caller free()s (readline's contract). */
static char *next_line(struct room *r)
{
	if (r->tty)
		return readline("> ");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, stdin);
	if (n < 0) {
		free(line);
		return NULL;
	}
	if (n > 0 && line[n - 1] == '\n')
		line[n - 1] = '\0';
	return line;
}

static enum hth_status converse(struct room *r, struct hth_err *err)
{
	enum hth_status s = HTH_OK;
	bool leave = false;
	while (s == HTH_OK && !leave) {
		char *line = next_line(r);
		if (line == NULL)
			break;
		bool blank = line[strspn(line, " \t\r")] == '\0';
		if (!blank && r->tty) {
			add_history(line);
			if (r->history[0] != '\0')
				(void)write_history(r->history);
		}
		if (!blank && !command(r, line, &leave)) {
			s = take_turn(r, line, err);
			if (s != HTH_OK &&
			    r->tty) { /* say it and go on: the conversation is worth more than the turn */
				hth_error("%s", err->text);
				s = HTH_OK;
			}
		}
		free(line);
	}
	if (r->tty && !leave)
		printf("\n");
	return s;
}

static void open_history(struct room *r)
{
	const char *home = getenv("HOME");
	if (!r->tty || home == NULL)
		return;
	using_history();
	stifle_history(HISTORY_LINES);
	if ((size_t)snprintf(r->history, sizeof r->history, "%s/.hearth_history", home) >= sizeof r->history)
		r->history[0] = '\0';
	else
		(void)read_history(r->history);
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	struct room r = {.opt = cli->config};
	const struct hth_talk_options *talk = &r.opt->talk;
	struct hth_open_config open = {.model = cli->args[0],
				       .adapters = talk->adapters.items,
				       .n_adapters = talk->adapters.n,
				       .backend = talk->backend,
				       .threads = talk->threads,
				       .compute = (enum hth_compute)talk->compute,
				       .kv_type = (enum hth_state_type)talk->kv_type};
	r.tty = isatty(STDIN_FILENO) != 0;
	if (talk->adapters.n > 1)
		return hth_fail(err, HTH_ERR_USAGE, "hearth chat: one --adapter at a time; found %zu",
				talk->adapters.n);
	enum hth_status s = hth_opened_open(&r.o, &open, err);
	if (s == HTH_OK)
		s = hth_model_chat(r.o.model, &r.chat, err);
	if (s == HTH_OK && talk->adapters.n > 0)
		s = hth_opened_session(&r.o, 0, talk->context, &r.tuned, err);
	if (s == HTH_OK && (talk->adapters.n == 0 || r.opt->compare_base))
		s = hth_opened_session(&r.o, -1, talk->context, &r.base, err);
	if (s == HTH_OK)
		s = reset(&r, talk->system, err);
	if (s == HTH_OK) {
		signal(SIGINT, on_interrupt);
		open_history(&r);
		if (r.tty)
			hth_info("%s%s%s; /help lists the commands, Ctrl-D leaves", r.o.model->name,
				 r.tuned != NULL ? " + " : "", r.tuned != NULL ? talk->adapters.items[0] : "");
		s = converse(&r, err);
	}
	json_decref(r.messages);
	hth_session_free(r.tuned);
	hth_session_free(r.base);
	hth_opened_close(&r.o);
	return s;
}

const struct hth_command hth_command_chat = {
	.name = "chat",
	.usage = "MODEL [--adapter A] [options]",
	.summary = "a conversation on the terminal",
	.about = "  hearth chat model.gguf --adapter runs/hazmat/adapter --system-prompt \"You are ...\"\n"
		 "Inside: /help, /reset, /system TEXT, /temp X, /save FILE, /exit. Ctrl-C ends an answer.",
	.options = options,
	.config_bytes = sizeof(struct chat_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
