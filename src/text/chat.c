/* Conversations through the model's template and tokenizer; which tokens are trained on is in chat_targets.c.
 *
 * Tokenizing a rendered chat: the whole text at once with special tokens parsed and none added, as transformers does.
 * One exception: where a message's own text spells a special token ("<|im_end|>" in a user's question), that stretch
 * is encoded as plain text, because only the template may end a turn. The text is then cut around these stretches
 * and nothing else changes, so that an ordinary row has transformers' ids exactly. Role and name do not count: some
 * templates build their special tokens from the role.
 *
 * BOS: when the tokenizer would add one and the text does not begin with it, exactly one is put in front. */
#include "text/chat_int.h"

#include "base/checked.h"
#include "base/mem.h"

#include <string.h>

/* jansson counts references through the object, so borrowing needs a non-const pointer. */
static json_t *borrowed(const json_t *j)
{
	return (json_t *)(uintptr_t)j;
}

static bool set_token(json_t *context, const char *key, const struct hth_tokenizer *tok, int32_t id)
{
	size_t bytes;
	const char *text = id < 0 ? NULL : hth_tokenizer_token(tok, id, &bytes);
	return text == NULL || json_object_set_new(context, key, json_stringn(text, bytes)) == 0;
}

static bool set_special(json_t *context, const struct hth_tokenizer *tok)
{
	return tok == NULL || (set_token(context, "bos_token", tok, hth_tokenizer_bos(tok)) &&
			       set_token(context, "eos_token", tok, hth_tokenizer_eos(tok)));
}

enum hth_status hth_chat_render_first(const struct hth_chat *c, const json_t *messages, size_t n, const json_t *tools,
				      bool add_generation_prompt, struct hth_rendered *out, struct hth_err *err)
{
	json_t *context = json_object(), *first = json_array();
	enum hth_status st;
	*out = (struct hth_rendered){0};
	if (c->tmpl == NULL) {
		st = hth_fail(err, HTH_ERR_UNAVAILABLE, "the model has no chat template");
		goto done;
	}
	bool ok = context != NULL && first != NULL && set_special(context, c->tok);
	for (size_t i = 0; i < n && ok; i++)
		ok = json_array_append(first, borrowed(json_array_get(messages, i))) == 0;
	ok = ok && (c->extra == NULL || json_object_update(context, borrowed(c->extra)) == 0) &&
	     json_object_set(context, "messages", first) == 0 &&
	     json_object_set_new(context, "add_generation_prompt", json_boolean(add_generation_prompt)) == 0 &&
	     json_object_set(context, "tools", tools != NULL ? borrowed(tools) : json_null()) == 0;
	st = ok ? hth_template_render(c->tmpl, context, c->now, NULL, out, err)
		: hth_fail_memory(err, "the context of a chat template", 0);
done:
	json_decref(first);
	json_decref(context);
	return st;
}

enum hth_status hth_chat_render(const struct hth_chat *c, const json_t *messages, const json_t *tools,
				bool add_generation_prompt, struct hth_rendered *out, struct hth_err *err)
{
	*out = (struct hth_rendered){0};
	if (!json_is_array(messages))
		return hth_fail(err, HTH_ERR_FORMAT, "messages: expected an array");
	return hth_chat_render_first(c, messages, json_array_size(messages), tools, add_generation_prompt, out, err);
}

enum hth_status hth_chat_render_row(const struct hth_template *t, const struct hth_tokenizer *tok, const json_t *row,
				    int64_t now, struct hth_rendered *out, struct hth_err *err)
{
	static const char *const keys[] = {"messages", "tools", "documents", "add_generation_prompt",
					   "continue_final_message"};
	json_t *context = json_object();
	const json_t *kwargs = json_object_get(row, "kwargs");
	enum hth_status st;
	*out = (struct hth_rendered){0};
	if (!json_is_array(json_object_get(row, "messages"))) {
		st = hth_fail(err, HTH_ERR_FORMAT, "\"messages\": expected an array of messages");
		goto done;
	}
	bool ok = context != NULL && set_special(context, tok) &&
		  (!json_is_object(kwargs) || json_object_update(context, borrowed(kwargs)) == 0);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0] && ok; i++) {
		json_t *v = json_object_get(row, keys[i]);
		ok = v == NULL || json_object_set(context, keys[i], v) == 0;
	}
	st = ok ? hth_template_render(t, context, now, NULL, out, err)
		: hth_fail_memory(err, "the context of a chat template", 0);
done:
	json_decref(context);
	return st;
}

/* Encoding. */

static bool tokens_insert_first(struct hth_tokens *t, size_t at, int32_t id)
{
	if (t->n == t->cap) {
		size_t cap = t->cap < 64 ? 64 : 2 * t->cap;
		int32_t *ids = hth_realloc(t->ids, cap, sizeof *ids);
		t->ids = ids != NULL ? ids : t->ids;
		uint32_t *starts = ids == NULL ? NULL : hth_realloc(t->starts, cap, sizeof *starts);
		t->starts = starts != NULL ? starts : t->starts;
		uint32_t *ends = starts == NULL ? NULL : hth_realloc(t->ends, cap, sizeof *ends);
		if (ends == NULL)
			return false;
		t->ends = ends;
		t->cap = cap;
	}
	memmove(t->ids + at + 1, t->ids + at, (t->n - at) * sizeof *t->ids);
	memmove(t->starts + at + 1, t->starts + at, (t->n - at) * sizeof *t->starts);
	memmove(t->ends + at + 1, t->ends + at, (t->n - at) * sizeof *t->ends);
	t->ids[at] = id;
	t->starts[at] = t->ends[at] = 0;
	t->n++;
	return true;
}

/* Whether an encoding with ADD_SPECIAL begins with BOS. */
static enum hth_status wants_bos(const struct hth_tokenizer *tok, bool *out, struct hth_err *err)
{
	struct hth_tokens t = {0};
	enum hth_status st = hth_tokenizer_encode(tok, "", 0, HTH_ENCODE_ADD_SPECIAL, &t, err);
	*out = st == HTH_OK && t.n > 0 && t.ids[0] == hth_tokenizer_bos(tok);
	hth_tokens_clear(&t);
	return st;
}

/* Whether [start, end) comes from a message: it touches content, reasoning or tool calls, or lies inside any other
 * field. */
static bool from_message(size_t start, size_t end, const struct hth_origin *origins, size_t n)
{
	size_t lo = 0, hi = n; /* the first origin that ends behind start */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (origins[mid].end <= start)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && origins[lo].start < end; lo++)
		if (origins[lo].field != HTH_FIELD_OTHER || (origins[lo].start <= start && origins[lo].end >= end))
			return true;
	return false;
}

/* Whether token i is a special token that a message spelled out, and where. Only its own text counts: some tokens
 * swallow the white space beside them (Phi-3's), and an unknown token stands for text that is not its name. */
static bool spelled_by_message(const struct hth_tokenizer *tok, const struct hth_rendered *r,
			       const struct hth_tokens *t, size_t i, size_t *start, size_t *end)
{
	size_t bytes;
	if (t->starts[i] == t->ends[i] || !hth_tokenizer_is_special(tok, t->ids[i]))
		return false;
	const char *name = hth_tokenizer_token(tok, t->ids[i], &bytes), *text = hth_buf_str(&r->text);
	const char *hit = name == NULL ? NULL : memmem(text + t->starts[i], t->ends[i] - t->starts[i], name, bytes);
	if (hit == NULL)
		return false;
	*start = (size_t)(hit - text);
	*end = *start + bytes;
	return from_message(*start, *end, r->origins, r->n_origins);
}

/* A piece from the middle of a text: encoded behind a newline whose tokens are then dropped, so that no tokenizer
 * puts its start-of-text blank there; where the newline merges into the piece, without it. */
static enum hth_status encode_piece(const struct hth_tokenizer *tok, const char *text, size_t from, size_t to,
				    int flags, struct hth_tokens *out, struct hth_err *err)
{
	struct hth_tokens t = {0};
	struct hth_buf b;
	size_t bytes = to - from, skip = 0, shift = from > 0;
	enum hth_status st;
	if (bytes == 0)
		return HTH_OK;
	hth_buf_init(&b, bytes + 1);
	if (shift)
		hth_buf_putc(&b, '\n');
	hth_buf_add(&b, text + from, bytes);
	st = hth_buf_status(&b, "a piece of a chat", err);
	if (st == HTH_OK)
		st = hth_tokenizer_encode(tok, b.data, b.bytes, flags, &t, err);
	while (st == HTH_OK && shift && skip < t.n && t.ends[skip] <= 1)
		skip++;
	if (st == HTH_OK && shift && (skip == 0 || (skip < t.n && t.starts[skip] == 0))) {
		t.n = skip = shift = 0; /* the newline is part of a longer token */
		st = hth_tokenizer_encode(tok, text + from, bytes, flags, &t, err);
	}
	for (size_t i = skip; i < t.n && st == HTH_OK; i++) {
		size_t at = out->n;
		if (!tokens_insert_first(out, at, t.ids[i])) {
			st = hth_fail_memory(err, "tokens of a chat", at);
			break;
		}
		out->starts[at] = (uint32_t)(t.starts[i] - shift + from);
		out->ends[at] = (uint32_t)(t.ends[i] - shift + from);
	}
	hth_buf_clear(&b);
	hth_tokens_clear(&t);
	return st;
}

/* [from, to), in two pieces when `cut` lies inside. */
static enum hth_status encode_cut(const struct hth_tokenizer *tok, const char *text, size_t from, size_t to, size_t cut,
				  int flags, struct hth_tokens *out, struct hth_err *err)
{
	enum hth_status st = HTH_OK;
	if (from < cut && cut < to) {
		st = encode_piece(tok, text, from, cut, flags, out, err);
		from = cut;
	}
	return st == HTH_OK ? encode_piece(tok, text, from, to, flags, out, err) : st;
}

/* Encodes again, with the special tokens of `found` that came from messages as plain text and no token across cut. */
static enum hth_status encode_guarded(const struct hth_chat *c, const struct hth_rendered *r, size_t cut,
				      const struct hth_tokens *found, struct hth_tokens *out, struct hth_err *err)
{
	const char *text = hth_buf_str(&r->text);
	enum hth_status st = HTH_OK;
	size_t at = 0;
	for (size_t i = 0; i < found->n && st == HTH_OK; i++) {
		size_t start, end;
		if (!spelled_by_message(c->tok, r, found, i, &start, &end))
			continue;
		st = encode_cut(c->tok, text, at, start, cut, HTH_ENCODE_PARSE_SPECIAL, out, err);
		if (st == HTH_OK)
			st = encode_cut(c->tok, text, start, end, cut, HTH_ENCODE_PLAIN, out, err);
		at = end;
	}
	return st == HTH_OK ? encode_cut(c->tok, text, at, r->text.bytes, cut, HTH_ENCODE_PARSE_SPECIAL, out, err) : st;
}

enum hth_status hth_chat_encode(const struct hth_chat *c, const struct hth_rendered *r, size_t cut,
				struct hth_tokens *out, struct hth_err *err)
{
	struct hth_tokens t = {0}, guarded = {0}, *use = &t;
	bool bos = false, again = false;
	size_t start, end;
	enum hth_status st;
	if (c->tok == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "the model has no tokenizer");
	st = wants_bos(c->tok, &bos, err);
	if (st == HTH_OK)
		st = hth_tokenizer_encode(c->tok, hth_buf_str(&r->text), r->text.bytes, HTH_ENCODE_PARSE_SPECIAL, &t,
					  err);
	for (size_t i = 0; i < t.n && st == HTH_OK && !again; i++)
		again = (t.starts[i] < cut && cut < t.ends[i]) || spelled_by_message(c->tok, r, &t, i, &start, &end);
	if (st == HTH_OK && again) {
		st = encode_guarded(c, r, cut, &t, &guarded, err);
		use = &guarded;
	}
	size_t first = out->n;
	for (size_t i = 0; i < use->n && st == HTH_OK; i++) {
		size_t at = out->n;
		if (!tokens_insert_first(out, at, use->ids[i])) {
			st = hth_fail_memory(err, "tokens of a chat", at);
			break;
		}
		out->starts[at] = use->starts[i];
		out->ends[at] = use->ends[i];
	}
	if (st == HTH_OK && bos && (out->n == first || out->ids[first] != hth_tokenizer_bos(c->tok)) &&
	    !tokens_insert_first(out, first, hth_tokenizer_bos(c->tok)))
		st = hth_fail_memory(err, "tokens of a chat", out->n);
	hth_tokens_clear(&t);
	hth_tokens_clear(&guarded);
	return st;
}

enum hth_status hth_chat_prompt(const struct hth_chat *c, const json_t *messages, const json_t *tools,
				struct hth_tokens *out, struct hth_err *err)
{
	struct hth_rendered r;
	enum hth_status st = hth_chat_render(c, messages, tools, true, &r, err);
	if (st == HTH_OK)
		st = hth_chat_encode(c, &r, 0, out, err);
	hth_rendered_clear(&r);
	return st;
}

/* Examples without a template. */

void hth_examples_clear(struct hth_examples *e)
{
	for (size_t i = 0; i < e->n; i++) {
		hth_free(e->items[i].ids);
		hth_free(e->items[i].target);
	}
	hth_free(e->items);
	*e = (struct hth_examples){0};
}

enum hth_status hth_examples_add(struct hth_examples *e, const struct hth_tokens *t, const uint8_t *mark,
				 struct hth_err *err)
{
	struct hth_example x = {.n = t->n};
	struct hth_example *grown = hth_grow(e->items, e->n, &e->cap, SIZE_MAX / sizeof x, sizeof x);
	if (grown != NULL)
		e->items = grown;
	x.ids = hth_calloc(t->n + 1, sizeof *x.ids);
	x.target = hth_calloc(t->n + 1, sizeof *x.target);
	if (grown == NULL || x.ids == NULL || x.target == NULL) {
		hth_free(x.ids);
		hth_free(x.target);
		return hth_fail_memory(err, "a training example", t->n * 5);
	}
	if (t->n > 0)
		memcpy(x.ids, t->ids, t->n * sizeof *x.ids);
	for (size_t i = 1; i < t->n; i++) {
		x.target[i] = mark[i] != 0;
		x.n_targets += x.target[i];
	}
	e->items[e->n++] = x;
	return HTH_OK;
}

/* prompt + completion as one text, EOS behind it; targets are the tokens that reach into the completion. */
static enum hth_status plain_example(const struct hth_chat *c, const char *text, size_t prompt_bytes, size_t bytes,
				     bool all, struct hth_examples *out, struct hth_err *err)
{
	struct hth_tokens t = {0};
	uint8_t *mark = NULL;
	enum hth_status st = c->tok == NULL
				     ? hth_fail(err, HTH_ERR_UNAVAILABLE, "the model has no tokenizer")
				     : hth_tokenizer_encode(c->tok, text, bytes,
							    HTH_ENCODE_ADD_SPECIAL | HTH_ENCODE_PARSE_SPECIAL, &t, err);
	if (st != HTH_OK)
		goto done;
	int32_t eos = hth_tokenizer_eos(c->tok);
	if (eos >= 0 && (t.n == 0 || t.ids[t.n - 1] != eos) && !tokens_insert_first(&t, t.n, eos)) {
		st = hth_fail_memory(err, "a training example", t.n);
		goto done;
	}
	mark = hth_calloc(t.n + 1, 1);
	if (mark == NULL) {
		st = hth_fail_memory(err, "a training example", t.n);
		goto done;
	}
	for (size_t i = 0; i < t.n; i++)
		mark[i] = all || (t.starts[i] < t.ends[i] && t.ends[i] > prompt_bytes) ||
			  (i + 1 == t.n && t.ids[i] == eos);
	st = hth_examples_add(out, &t, mark, err);
done:
	hth_free(mark);
	hth_tokens_clear(&t);
	return st;
}

enum hth_status hth_chat_completion(const struct hth_chat *c, const char *prompt, size_t prompt_bytes,
				    const char *completion, size_t completion_bytes, enum hth_target_rule rule,
				    struct hth_examples *out, struct hth_err *err)
{
	struct hth_buf b;
	size_t bytes;
	if (!hth_add_size(prompt_bytes, completion_bytes, &bytes))
		return hth_fail(err, HTH_ERR_LIMIT, "prompt and completion are too long");
	hth_buf_init(&b, bytes);
	hth_buf_add(&b, prompt, prompt_bytes);
	hth_buf_add(&b, completion, completion_bytes);
	enum hth_status st = hth_buf_status(&b, "prompt and completion", err);
	if (st == HTH_OK)
		st = plain_example(c, hth_buf_str(&b), prompt_bytes, bytes, rule == HTH_TARGET_ALL, out, err);
	hth_buf_clear(&b);
	return st;
}

enum hth_status hth_chat_text(const struct hth_chat *c, const char *text, size_t bytes, struct hth_examples *out,
			      struct hth_err *err)
{
	return plain_example(c, text, 0, bytes, true, out, err);
}
