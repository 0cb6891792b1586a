/* hearth generate: one prompt, one answer; with --compare-base the base model's answer beside it. */
#include "base/log.h"
#include "base/mem.h"
#include "cmd/conversation.h"
#include "cmd/opened.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_PROMPT_BYTES (64u << 20)

struct generate_options {
	struct hth_talk_options talk; /* first: HTH_TALK_OPTIONS */
	const char *prompt;
	bool raw, compare_base, quiet;
};

static const struct hth_option options[] = {
	{"prompt", "p", NULL, HTH_OPTION_TEXT, offsetof(struct generate_options, prompt), 0, 0, NULL, NULL, "TEXT",
	 "the user's message, if not given as an argument; - reads stdin"},
	HTH_TALK_OPTIONS("256", "0"),
	{"ignore-chat-template", "raw", NULL, HTH_OPTION_SWITCH, offsetof(struct generate_options, raw), 0, 0, NULL,
	 NULL, NULL, "continue the prompt as plain text"},
	{"compare-base", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct generate_options, compare_base), 0, 0, NULL,
	 NULL, NULL, "let the base model answer too"},
	{"quiet", "q", NULL, HTH_OPTION_SWITCH, offsetof(struct generate_options, quiet), 0, 0, NULL, NULL, NULL,
	 "no speed line on stderr"},
	{0},
};

static const char *finish_name(enum hth_finish f)
{
	return f == HTH_FINISH_STOP      ? "stop"
	       : f == HTH_FINISH_LENGTH  ? "length"
	       : f == HTH_FINISH_CONTEXT ? "context"
					 : "cancelled";
}

static bool print_text(void *ctx, const char *text, size_t bytes)
{
	(void)ctx;
	return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

static enum hth_status read_stdin(struct hth_buf *out, struct hth_err *err)
{
	char chunk[4096];
	size_t n;
	while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
		if (!hth_buf_add(out, chunk, n))
			break;
	return hth_buf_status(out, "stdin", err);
}

static enum hth_status make_prompt(const struct hth_model *m, const struct generate_options *opt, const char *text,
				   size_t bytes, struct hth_tokens *out, struct hth_err *err)
{
	if (opt->raw)
		return hth_tokenizer_encode(m->tokenizer, text, bytes,
					    HTH_ENCODE_ADD_SPECIAL | HTH_ENCODE_PARSE_SPECIAL, out, err);
	struct hth_chat chat;
	enum hth_status s = hth_model_chat(m, &chat, err);
	if (s != HTH_OK)
		return s;
	chat.now = (int64_t)time(NULL);
	json_t *messages = hth_conversation_new(opt->talk.system);
	if (messages == NULL)
		return hth_fail_memory(err, "conversation", bytes);
	s = hth_conversation_add(messages, "user", text, bytes, err);
	if (s == HTH_OK)
		s = hth_chat_prompt(&chat, messages, NULL, out, err);
	json_decref(messages);
	return s;
}

static void print_speed(const struct hth_generated *g)
{
	hth_info("Prompt: %lld tokens, %.1f tokens-per-sec\nGeneration: %lld tokens, %.1f tokens-per-sec",
		 (long long)g->n_prompt, g->prompt_s > 0 ? (double)g->n_prompt / g->prompt_s : 0, (long long)g->n_ids,
		 g->decode_s > 0 ? (double)g->n_ids / g->decode_s : 0);
}

static enum hth_status print_json(const char *who, const struct hth_generated *g, struct hth_err *err)
{
	struct hth_buf out;
	hth_buf_init(&out, (size_t)1 << 30);
	(void)hth_buf_printf(&out, "{\"model\":\"%s\",\"text\":", who);
	(void)hth_json_put_string(&out, hth_buf_str(&g->text), g->text.bytes);
	(void)hth_buf_printf(
		&out,
		",\"finish\":\"%s\",\"prompt_tokens\":%lld,\"tokens\":%lld,\"prompt_s\":%.6f,\"decode_s\":%.6f,"
		"\"ids\":[",
		finish_name(g->finish), (long long)g->n_prompt, (long long)g->n_ids, g->prompt_s, g->decode_s);
	for (int64_t i = 0; i < g->n_ids; i++)
		(void)hth_buf_printf(&out, "%s%d", i > 0 ? "," : "", g->ids[i]);
	(void)hth_buf_puts(&out, "]}\n");
	enum hth_status s = hth_buf_status(&out, "answer", err);
	if (s == HTH_OK)
		fputs(hth_buf_str(&out), stdout);
	hth_buf_clear(&out);
	return s;
}

/* One answer of adapter index `adapter` (-1: the base). */
static enum hth_status answer(struct hth_opened *o, const struct generate_options *opt, const struct hth_tokens *prompt,
			      int32_t adapter, struct hth_err *err)
{
	struct hth_generate_config cfg;
	hth_talk_generate_config(&opt->talk, &cfg);
	struct hth_session *session = NULL;
	struct hth_generated g = {0};
	const char *who = adapter < 0 ? "base" : "tuned";
	enum hth_status s = hth_opened_session(o, adapter, opt->talk.context, &session, err);
	if (s == HTH_OK && opt->compare_base && !opt->talk.json)
		printf("%s%s: ", adapter < 0 ? "" : "\n", who);
	if (s == HTH_OK)
		s = hth_generate(session, o->model, prompt->ids, (int64_t)prompt->n, &cfg,
				 opt->talk.json ? NULL : print_text, NULL, &g, err);
	if (s == HTH_OK && opt->talk.json) {
		s = print_json(who, &g, err);
	} else if (s == HTH_OK) {
		printf("\n");
		fflush(stdout);
		if (!opt->quiet)
			print_speed(&g);
		if (g.finish == HTH_FINISH_LENGTH)
			hth_info("(cut at --max-tokens %lld)", (long long)opt->talk.max_tokens);
	}
	hth_generated_clear(&g);
	hth_session_free(session);
	return s;
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct generate_options *opt = cli->config;
	const char *text = cli->n_args > 1 ? cli->args[1] : opt->prompt;
	if (text == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "hearth generate: no prompt; usage: hearth generate %s",
				cli->command->usage);
	struct hth_opened o = {0};
	struct hth_tokens prompt = {0};
	struct hth_buf input;
	hth_buf_init(&input, MAX_PROMPT_BYTES);
	enum hth_status s = strcmp(text, "-") == 0 ? read_stdin(&input, err) : HTH_OK;
	if (s == HTH_OK && strcmp(text, "-") != 0 && !hth_buf_puts(&input, text))
		s = hth_buf_status(&input, "prompt", err);
	struct hth_open_config open = {.model = cli->args[0],
				       .adapters = opt->talk.adapters.items,
				       .n_adapters = opt->talk.adapters.n,
				       .backend = opt->talk.backend,
				       .threads = opt->talk.threads,
				       .compute = (enum hth_compute)opt->talk.compute,
				       .kv_type = (enum hth_state_type)opt->talk.kv_type};
	if (s == HTH_OK)
		s = hth_opened_open(&o, &open, err);
	if (s == HTH_OK)
		s = make_prompt(o.model, opt, hth_buf_str(&input), input.bytes, &prompt, err);
	if (s == HTH_OK && (opt->compare_base || opt->talk.adapters.n == 0))
		s = answer(&o, opt, &prompt, -1, err);
	for (size_t i = 0; i < opt->talk.adapters.n && s == HTH_OK; i++)
		s = answer(&o, opt, &prompt, (int32_t)i, err);
	hth_tokens_clear(&prompt);
	hth_opened_close(&o);
	hth_buf_clear(&input);
	return s;
}

const struct hth_command hth_command_generate = {
	.name = "generate",
	.usage = "MODEL PROMPT [--adapter A] [options]",
	.summary = "one answer to one prompt",
	.about = "  hearth generate model.gguf \"What is the IDLH of ammonia?\" --adapter runs/hazmat/adapter "
		 "--compare-base\n"
		 "  echo \"Once upon a time\" | hearth generate model.gguf - --raw --temp 0.8",
	.options = options,
	.config_bytes = sizeof(struct generate_options),
	.min_args = 1,
	.max_args = 2,
	.run = run,
};
