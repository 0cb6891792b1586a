/* Answers: rows of messages that end with an assistant's turn are asked, greedily, of both models, and what they say is
 * matched with that turn, or with the row's "expect". Rows of other kinds have no question. */
#include "eval/survival_int.h"

#include "base/json.h"
#include "base/mem.h"
#include "data/jsonl.h"
#include "eval/match.h"
#include "infer/generate.h"

#include <string.h>

struct question {
	json_t *messages; /* up to the last turn; owned */
	json_t *reply;    /* that turn's text; owned */
	json_t *expect;   /* what an answer must hold; owned; NULL: the reply */
};

struct questions {
	struct question *items;
	size_t n, cap;
};

static void clear(struct questions *q)
{
	for (size_t i = 0; i < q->n; i++) {
		json_decref(q->items[i].messages);
		json_decref(q->items[i].reply);
		json_decref(q->items[i].expect);
	}
	hth_free(q->items);
	*q = (struct questions){0};
}

/* Adds the row's question, if it has one. */
static enum hth_status add(struct questions *q, json_t *row, struct hth_err *err)
{
	json_t *messages = json_object_get(row, "messages"), *expect = json_object_get(row, "expect");
	size_t n = json_array_size(messages);
	const json_t *last = n > 1 ? json_array_get(messages, n - 1) : NULL;
	const char *role = json_string_value(json_object_get(last, "role"));
	json_t *reply = json_object_get(last, "content");

	if (role == NULL || strcmp(role, "assistant") != 0 || !json_is_string(reply))
		return HTH_OK;
	struct question *grown = hth_grow(q->items, q->n, &q->cap, (size_t)1 << 20, sizeof *grown);
	if (grown == NULL)
		return hth_fail_memory(err, "questions", q->n * sizeof *grown);
	q->items = grown;
	json_t *before = json_copy(messages);
	if (before == NULL || json_array_remove(before, n - 1) != 0) {
		json_decref(before);
		return hth_fail_memory(err, "a question", n);
	}
	q->items[q->n++] = (struct question){.messages = before,
					     .reply = json_incref(reply),
					     .expect = json_is_string(expect) ? json_incref(expect) : NULL};
	return HTH_OK;
}

/* Rows that the examples came from, by their line numbers, which both ascend. */
static enum hth_status read_questions(const struct hth_survival_config *cfg, size_t n_examples, struct questions *q,
				      struct hth_err *err)
{
	const struct hth_dataset *d = cfg->data;
	struct hth_jsonl in;
	size_t at = 0;
	bool more = true;
	enum hth_status s = hth_jsonl_open(&in, d->path, err);

	if (s != HTH_OK)
		return s;
	while (s == HTH_OK && at < n_examples && q->n < cfg->max_answers) {
		json_t *row = NULL;
		s = hth_jsonl_next(&in, &more, err);
		if (s == HTH_ERR_LIMIT) { /* such a row is no example either */
			s = HTH_OK;
			continue;
		}
		if (s != HTH_OK || !more)
			break;
		while (at < n_examples && d->items[at].line < in.line)
			at++;
		if (at == n_examples || d->items[at].line != in.line)
			continue;
		s = hth_json_parse(hth_buf_str(&in.text), in.text.bytes, HTH_JSON_STRICT, d->path, &row, err);
		if (s == HTH_OK)
			s = add(q, row, err);
		json_decref(row);
	}
	hth_jsonl_close(&in);
	return s;
}

static void match(const struct question *q, const struct hth_generated *g, struct hth_survival_score *score)
{
	const json_t *want = q->expect != NULL ? q->expect : q->reply;
	const char *text = hth_buf_str(&g->text);

	score->exact += hth_match_exact(text, g->text.bytes, json_string_value(q->reply), json_string_length(q->reply));
	score->contains += hth_match_contains(text, g->text.bytes, json_string_value(want), json_string_length(want));
}

struct asker {
	const struct hth_survival_config *cfg;
	size_t done, total;
};

static enum hth_status ask(struct asker *a, const struct hth_survival_side *side, const struct questions *q,
			   struct hth_survival_score *score, struct hth_err *err)
{
	struct hth_session_config open = {.loras = side->loras, .adapter = side->adapter};
	struct hth_generate_config gen = {.sampler = {.top_p = 1, .repetition_penalty = 1},
					  .max_tokens = a->cfg->answer_tokens};
	struct hth_session *session = NULL;
	struct hth_chat chat;
	enum hth_status s = hth_model_chat(side->model, &chat, err);

	if (s == HTH_OK)
		s = hth_session_new(side->model, &open, &session, err);
	for (size_t i = 0; i < q->n && s == HTH_OK; i++) {
		struct hth_tokens prompt = {0};
		struct hth_generated g = {0};
		s = hth_chat_prompt(&chat, q->items[i].messages, NULL, &prompt, err);
		if (s == HTH_OK && (int64_t)prompt.n < hth_session_capacity(session))
			s = hth_generate(session, side->model, prompt.ids, (int64_t)prompt.n, &gen, NULL, NULL, &g,
					 err);
		if (s == HTH_OK)
			match(&q->items[i], &g, score);
		hth_generated_clear(&g);
		hth_tokens_clear(&prompt);
		a->done++;
		if (s == HTH_OK && a->cfg->on_progress != NULL && !a->cfg->on_progress(a->cfg->ctx, a->done, a->total))
			s = hth_fail(err, HTH_ERR_INTERRUPTED, "the check was stopped");
	}
	hth_session_free(session);
	return s;
}

enum hth_status hth_survival_answers(const struct hth_survival_config *cfg, size_t n_examples, size_t done,
				     size_t total, struct hth_survival *out, struct hth_err *err)
{
	struct asker a = {cfg, done, total};
	struct questions q = {0};
	enum hth_status s = cfg->data->path != NULL ? read_questions(cfg, n_examples, &q, err) : HTH_OK;

	out->n_questions = q.n;
	if (s == HTH_OK && q.n > 0)
		s = ask(&a, &cfg->reference, &q, &out->reference, err);
	if (s == HTH_OK && q.n > 0)
		s = ask(&a, &cfg->candidate, &q, &out->candidate, err);
	clear(&q);
	return s;
}
