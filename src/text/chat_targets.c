/* Training examples from conversations: which tokens the model is to predict.
 *
 * For an assistant turn i three renderings say what serving does with it: the full one, F; the prompt P that would be
 * sent for it (messages before it, with add_generation_prompt); and R, messages up to it, with the turn last.
 * What the model has to produce is what follows P: so the targets reach from the end of P to the end-of-turn token,
 * the first such token behind the turn's own text and before the next message. That takes in what the template puts
 * around a turn's text on the model's side ("<tool_call>" and its end, the blank before Llama-2's answers, an empty
 * "<think></think>") and leaves out what only separates turns (the newline behind <|im_end|>).
 *
 * A row is one example when every turn stands in F as in R and right behind its P. Where it does not (old thinking
 * dropped, a prompt that opens a block which F lacks, a token of F across the end of P) the row becomes one example per
 * turn: R with that turn's targets, or, where R does not continue P, P followed by what R has where it parts from P
 * (P "<think>\n" and R "<think></think>yes" give "<think>\n</think>yes"). There the ids are P's, exactly as served, and
 * then those of the rest.
 *
 * A template's {% generation %} blocks, where it has them, are the targets instead, exactly, as in transformers. */
#include "text/chat_int.h"

#include "base/checked.h"
#include "base/mem.h"

#include <string.h>

struct span {
	size_t start, end;
	bool any;
};

struct turn {
	size_t message;
	struct hth_rendered prompt, last; /* P and R */
	bool continues;                   /* R begins with P */
	bool no_last;                     /* R does not render by itself */
};

/* The hull of what a message gave to a rendering: all but role, name and the like. */
static struct span hull_of(const struct hth_rendered *r, size_t message)
{
	struct span s = {0};
	for (size_t i = 0; i < r->n_origins; i++) {
		const struct hth_origin *o = &r->origins[i];
		if (o->message != (int32_t)message || o->field == HTH_FIELD_OTHER)
			continue;
		s.start = s.any ? s.start : o->start;
		s.end = o->end;
		s.any = true;
	}
	return s;
}

static bool begins_with(const struct hth_rendered *r, const struct hth_rendered *prompt)
{
	return prompt->text.bytes <= r->text.bytes &&
	       memcmp(hth_buf_str(&r->text), hth_buf_str(&prompt->text), prompt->text.bytes) == 0;
}

/* Whether r continues the turn's prompt, the turn's text behind it. */
static bool continues(const struct hth_rendered *r, const struct turn *t)
{
	struct span s = hull_of(r, t->message);
	return begins_with(r, &t->prompt) && (!s.any || s.start >= t->prompt.text.bytes);
}

/* Whether the turn stands in the full rendering as it would be served. */
static bool served_alike(const struct hth_rendered *full, const struct turn *t)
{
	struct span f = hull_of(full, t->message), r = hull_of(&t->last, t->message);
	return continues(full, t) && t->continues && f.any == r.any && f.end == r.end &&
	       memcmp(hth_buf_str(&full->text), hth_buf_str(&t->last.text), f.end) == 0;
}

static void mark_overlap(const struct hth_tokens *t, size_t start, size_t end, uint8_t *mark)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->starts[i] < t->ends[i] && t->ends[i] > start && t->starts[i] < end)
			mark[i] = 1;
}

/* Targets of one turn whose served part begins at `start` of rendering r. */
static void mark_turn(const struct hth_tokenizer *tok, const struct hth_tokens *t, const struct hth_rendered *r,
		      size_t message, size_t start, uint8_t *mark)
{
	struct span s = hull_of(r, message);
	size_t text_end = s.any && s.end > start ? s.end : start, limit = r->text.bytes, end = text_end;
	for (size_t i = 0; i < r->n_origins; i++) /* sorted: the first later message bounds the search */
		if (r->origins[i].start >= text_end && r->origins[i].message != (int32_t)message) {
			limit = r->origins[i].start;
			break;
		}
	for (size_t i = 0; i < t->n; i++) {
		if (t->starts[i] >= t->ends[i] || t->starts[i] < text_end)
			continue;
		if (t->starts[i] >= limit)
			break;
		if (hth_tokenizer_is_end(tok, t->ids[i])) {
			end = t->ends[i];
			break;
		}
	}
	mark_overlap(t, start, end, mark);
}

/* Targets of generation blocks that end behind `from`. */
static void mark_generated(const struct hth_tokens *t, const struct hth_rendered *r, size_t from, uint8_t *mark)
{
	for (size_t i = 0; i < r->n_generated; i++)
		if (r->generated[i].end > from)
			mark_overlap(t, r->generated[i].start, r->generated[i].end, mark);
}

static enum hth_status encode(const struct hth_chat *c, const struct hth_rendered *r, size_t cut, struct hth_tokens *t,
			      uint8_t **mark, struct hth_err *err)
{
	enum hth_status st = hth_chat_encode(c, r, cut, t, err);
	*mark = st == HTH_OK ? hth_calloc(t->n + 1, 1) : NULL;
	return st == HTH_OK && *mark == NULL ? hth_fail_memory(err, "targets of a training example", t->n) : st;
}

/* Whether a token reaches across the end of a turn's prompt: serving would not cut the text so. */
static bool straddles(const struct hth_tokens *t, const struct turn *turns, size_t n)
{
	for (size_t i = 0, at = 0; i < n; i++) { /* prompts grow from turn to turn */
		size_t end = turns[i].prompt.text.bytes;
		while (at < t->n && t->ends[at] <= end)
			at++;
		if (at < t->n && t->starts[at] < end && !turns[i].no_last)
			return true;
	}
	return false;
}

/* The whole conversation as one example, if its tokens allow that. */
static enum hth_status add_whole(const struct hth_chat *c, const struct hth_rendered *full, const struct turn *turns,
				 size_t n, bool all, bool *added, struct hth_examples *out, struct hth_err *err)
{
	struct hth_tokens t = {0};
	uint8_t *mark = NULL;
	enum hth_status st = encode(c, full, 0, &t, &mark, err);
	*added = st == HTH_OK && !straddles(&t, turns, n);
	if (!*added)
		goto done;
	if (all)
		memset(mark, 1, t.n);
	else if (full->n_generated > 0 && n > 0)
		mark_generated(&t, full, turns[0].prompt.text.bytes, mark);
	else
		for (size_t i = 0; i < n; i++)
			mark_turn(c->tok, &t, full, turns[i].message, turns[i].prompt.text.bytes, mark);
	st = hth_examples_add(out, &t, mark, err);
done:
	hth_free(mark);
	hth_tokens_clear(&t);
	return st;
}

/* P, then R from its turn's own text on, with the origins of both. */
static enum hth_status splice(const struct turn *t, size_t from, struct hth_rendered *out, struct hth_err *err)
{
	const struct hth_rendered *parts[2] = {&t->prompt, &t->last};
	size_t bytes, n;
	*out = (struct hth_rendered){0};
	if (!hth_add_size(t->prompt.text.bytes, t->last.text.bytes, &bytes) ||
	    !hth_add_size(t->prompt.n_origins, t->last.n_origins, &n))
		return hth_fail(err, HTH_ERR_LIMIT, "a training example is too long");
	hth_buf_init(&out->text, bytes);
	hth_buf_add(&out->text, hth_buf_str(&t->prompt.text), t->prompt.text.bytes);
	hth_buf_add(&out->text, hth_buf_str(&t->last.text) + from, t->last.text.bytes - from);
	out->origins = hth_calloc(n + 1, sizeof *out->origins);
	if (out->text.failed || out->origins == NULL)
		return hth_fail_memory(err, "a training example", bytes);
	for (int p = 0; p < 2; p++) {
		size_t cut = p == 0 ? 0 : from, base = p == 0 ? 0 : t->prompt.text.bytes;
		for (size_t i = 0; i < parts[p]->n_origins; i++) {
			struct hth_origin o = parts[p]->origins[i];
			if (o.end <= cut)
				continue;
			o.start = (o.start > cut ? o.start - cut : 0) + base;
			o.end = o.end - cut + base;
			out->origins[out->n_origins++] = o;
		}
	}
	return HTH_OK;
}

/* Where the turn's own part of R begins when R does not continue P: where the two part, moved back to the end of a tag
 * or line so that no tag is cut; never inside an earlier message, at the latest at the turn's text. */
static size_t own_part(const struct turn *t, struct span hull)
{
	const char *p = hth_buf_str(&t->prompt.text), *r = hth_buf_str(&t->last.text);
	size_t n = t->prompt.text.bytes < t->last.text.bytes ? t->prompt.text.bytes : t->last.text.bytes;
	size_t common = 0, earlier = 0;
	for (size_t i = 0; i < t->last.n_origins; i++)
		if (t->last.origins[i].message != (int32_t)t->message && t->last.origins[i].end <= hull.start)
			earlier = t->last.origins[i].end;
	while (common < n && p[common] == r[common])
		common++;
	while (common > earlier && strchr(">]\n", r[common - 1]) == NULL)
		common--;
	return common < earlier || common == 0 || common > hull.start ? hull.start : common;
}

/* One turn as an example of its own. */
static enum hth_status add_turn(const struct hth_chat *c, const struct turn *turn, struct hth_examples *out,
				struct hth_err *err)
{
	struct hth_rendered joined = {0};
	const struct hth_rendered *r = &turn->last;
	struct hth_tokens t = {0};
	struct span s = hull_of(r, turn->message);
	uint8_t *mark = NULL;
	size_t start = turn->prompt.text.bytes;
	enum hth_status st = HTH_OK;
	if (!turn->continues) {
		if (!s.any) /* an empty turn: all that follows the common part is its end */
			s.start = r->text.bytes;
		st = splice(turn, own_part(turn, s), &joined, err);
		r = &joined;
	}
	if (st == HTH_OK)
		st = encode(c, r, start, &t, &mark, err);
	if (st != HTH_OK)
		goto done;
	if (turn->continues && r->n_generated > 0)
		mark_generated(&t, r, start, mark);
	else
		mark_turn(c->tok, &t, r, turn->message, start, mark);
	st = hth_examples_add(out, &t, mark, err);
done:
	hth_free(mark);
	hth_tokens_clear(&t);
	hth_rendered_clear(&joined);
	return st;
}

/* Renders P and R of a turn. Where R fails in mid-conversation (a template that insists on what follows), only P is
 * compared. */
static enum hth_status prepare(const struct hth_chat *c, const json_t *messages, const json_t *tools,
			       const struct hth_rendered *full, struct turn *t, bool *alike, struct hth_err *err)
{
	enum hth_status st = hth_chat_render_first(c, messages, t->message, tools, true, &t->prompt, err);
	if (st != HTH_OK) {
		hth_err_prefix(err, "messages[%zu] (assistant): its prompt, as serving would send it, does not render",
			       t->message);
		return st;
	}
	st = hth_chat_render_first(c, messages, t->message + 1, tools, false, &t->last, err);
	if (st == HTH_OK) {
		t->continues = continues(&t->last, t);
		*alike = served_alike(full, t);
		return HTH_OK;
	}
	t->no_last = true;
	*alike = continues(full, t);
	if (*alike && st != HTH_ERR_MEMORY)
		return HTH_OK;
	hth_err_prefix(err, "messages[%zu] (assistant): the conversation up to it does not render", t->message);
	return st;
}

static enum hth_status check_messages(const json_t *messages, struct hth_err *err)
{
	if (!json_is_array(messages))
		return hth_fail(err, HTH_ERR_FORMAT, "messages: expected an array");
	for (size_t i = 0; i < json_array_size(messages); i++)
		if (!json_is_string(json_object_get(json_array_get(messages, i), "role")))
			return hth_fail(err, HTH_ERR_FORMAT, "messages[%zu]: expected an object with a string \"role\"",
					i);
	return HTH_OK;
}

static bool is_assistant(const json_t *messages, size_t i)
{
	const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
	return role != NULL && strcmp(role, "assistant") == 0;
}

/* The turns to be trained on, prepared. */
static enum hth_status find_turns(const struct hth_chat *c, const json_t *messages, const json_t *tools,
				  enum hth_target_rule rule, const struct hth_rendered *full, struct turn *turns,
				  size_t *n, bool *alike, struct hth_err *err)
{
	*n = 0;
	*alike = true;
	for (size_t i = 0; i < json_array_size(messages); i++) {
		if (!is_assistant(messages, i))
			continue;
		if (rule == HTH_TARGET_LAST_ASSISTANT)
			*n = 0;
		turns[(*n)++].message = i;
	}
	for (size_t i = 0; i < *n; i++) {
		bool one;
		enum hth_status st = prepare(c, messages, tools, full, &turns[i], &one, err);
		if (st != HTH_OK)
			return st;
		*alike = *alike && one;
	}
	for (size_t i = 0; i < *n && !*alike; i++)
		if (turns[i].no_last)
			return hth_fail(err, HTH_ERR_VALUE,
					"messages[%zu] (assistant): the row has to be split into turns, but the "
					"conversation up to "
					"this one does not render by itself",
					turns[i].message);
	return HTH_OK;
}

enum hth_status hth_chat_examples(const struct hth_chat *c, const json_t *messages, const json_t *tools,
				  enum hth_target_rule rule, struct hth_examples *out, struct hth_err *err)
{
	struct hth_rendered full = {0};
	struct turn *turns = NULL;
	size_t n = 0, before = out->n, n_messages = json_array_size(messages);
	bool alike = true;
	enum hth_status st = check_messages(messages, err);
	if (st == HTH_OK)
		st = hth_chat_render(c, messages, tools, false, &full, err);
	if (st != HTH_OK)
		goto done;
	turns = hth_calloc(n_messages + 1, sizeof *turns);
	if (turns == NULL) {
		st = hth_fail_memory(err, "turns of a conversation", n_messages);
		goto done;
	}
	if (rule != HTH_TARGET_ALL)
		st = find_turns(c, messages, tools, rule, &full, turns, &n, &alike, err);
	if (st != HTH_OK)
		goto done;
	if (alike)
		st = add_whole(c, &full, turns, n, rule == HTH_TARGET_ALL, &alike, out, err);
	for (size_t i = 0; i < n && !alike && st == HTH_OK; i++)
		st = add_turn(c, &turns[i], out, err);
done:
	while (st != HTH_OK && out->n > before) { /* all of a row or nothing */
		out->n--;
		hth_free(out->items[out->n].ids);
		hth_free(out->items[out->n].target);
	}
	for (size_t i = 0; turns != NULL && i < n_messages; i++) {
		hth_rendered_clear(&turns[i].prompt);
		hth_rendered_clear(&turns[i].last);
	}
	hth_free(turns);
	hth_rendered_clear(&full);
	return st;
}
