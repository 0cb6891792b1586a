/* Conversations to prompts and to training examples, through the model's own template.
 *
 * The targets of a training row are read off the one full rendering: every byte that came from an assistant message
 * (its reasoning and tool calls included: the hull of what that message gave, its role left out), and the
 * end-of-turn token behind it. Where a turn as it would be served differs from its place in the full rendering
 * (templates that drop old thinking), the row becomes one example per assistant turn. */
#ifndef HTH_TEXT_CHAT_H
#define HTH_TEXT_CHAT_H

#include "text/jinja.h"
#include "text/tokenizer.h"

struct hth_chat {
	const struct hth_template *tmpl;     /* borrowed */
	const struct hth_tokenizer *tok;     /* borrowed */
	int64_t now;                         /* for strftime_now */
	const json_t *extra;                 /* more template arguments (enable_thinking, ...), or NULL; borrowed */
};

/* The whole conversation as text, through the template: what `messages` become before tokenizing. tools may be NULL. */
HTH_MUST enum hth_status hth_chat_render(const struct hth_chat *c, const json_t *messages, const json_t *tools,
                                         bool add_generation_prompt, struct hth_rendered *out, struct hth_err *err);

/* One row as transformers' render_jinja_template takes it: messages, tools, documents, add_generation_prompt,
 * continue_final_message, kwargs (further arguments, bos_token and eos_token among them; without them the tokenizer's,
 * which may be NULL). The aliases that transformers gives to reasoning fields are added. */
HTH_MUST enum hth_status hth_chat_render_row(const struct hth_template *t, const struct hth_tokenizer *tok,
                                             const json_t *row, int64_t now, struct hth_rendered *out,
                                             struct hth_err *err);

/* The prompt that serving would send: messages rendered with add_generation_prompt, tokenized with specials parsed
 * and none added (exactly one BOS where the template or the tokenizer wants one). Appends to out. */
HTH_MUST enum hth_status hth_chat_prompt(const struct hth_chat *c, const json_t *messages, const json_t *tools,
                                         struct hth_tokens *out, struct hth_err *err);

/* One tokenized training example. */
struct hth_example {
	int32_t *ids;     /* (n) owned */
	uint8_t *target;  /* (n) 1 where this token is to be predicted (never at 0) */
	size_t n;
	size_t n_targets;
};
struct hth_examples {
	struct hth_example *items;
	size_t n, cap;
};
void hth_examples_clear(struct hth_examples *e); /* safe on zeroed */

enum hth_target_rule {
	HTH_TARGET_ASSISTANT,      /* all assistant turns (default) */
	HTH_TARGET_LAST_ASSISTANT, /* mlx-lm's --mask-prompt */
	HTH_TARGET_ALL,            /* every token but the first */
};

/* messages: the row's array, every element checked: an object with a string role. Appends one example, or one per
 * assistant turn where the template needs it. Examples without a target are appended too (n_targets 0): the caller
 * reports them by file and line. */
HTH_MUST enum hth_status hth_chat_examples(const struct hth_chat *c, const json_t *messages, const json_t *tools,
                                           enum hth_target_rule rule, struct hth_examples *out, struct hth_err *err);
/* prompt/completion text without a template: prompt tokens, then completion tokens and EOS as targets. */
HTH_MUST enum hth_status hth_chat_completion(const struct hth_chat *c, const char *prompt, size_t prompt_bytes,
                                             const char *completion, size_t completion_bytes,
                                             enum hth_target_rule rule, struct hth_examples *out, struct hth_err *err);
/* Raw text: all tokens are targets, EOS appended where missing. */
HTH_MUST enum hth_status hth_chat_text(const struct hth_chat *c, const char *text, size_t bytes,
                                       struct hth_examples *out, struct hth_err *err);

#endif
