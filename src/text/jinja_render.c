/* One rendering: the context becomes values whose strings know their message and field, the template runs over it,
 * and the output is handed out with its origins. Bounds (steps, depth, memory) and error texts are kept here.
 *
 * As transformers' render_jinja_template: messages get `thinking` and `reasoning_content` from whichever name their
 * reasoning has; tools, documents and add_generation_prompt exist even when not given; continue_final_message (true
 * or a field's name) cuts the text behind the last message. */
#include "text/jinja_int.h"

#include "base/mem.h"

#include <stdarg.h>

#define DEFAULT_STEPS 20000000u
#define DEFAULT_DEPTH 200u
#define DEFAULT_BYTES (256u << 20)
#define CONTINUE_TAG "CONTINUE_FINAL_MESSAGE_TAG "

static const char *const reasoning_fields[] = {"reasoning_content", "thinking", "reasoning"};

bool hth_jx_fail(struct hth_jx *x, enum hth_status status, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	if (x->status != HTH_OK)
		return false;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (x->at != NULL)
		x->status = hth_fail(x->err, status, "%s:%u:%u: %s", x->t->where, x->at->line, x->at->col, text);
	else
		x->status = hth_fail(x->err, status, "%s: %s", x->t->where, text);
	return false;
}

bool hth_jx_charge(struct hth_jx *x, size_t work)
{
	if (x->status != HTH_OK)
		return false;
	x->steps += work;
	if (x->steps > x->max_steps)
		return hth_jx_fail(x, HTH_ERR_LIMIT, "more than %llu steps; does the template loop without end?",
				   (unsigned long long)x->max_steps);
	return true;
}

bool hth_jx_enter(struct hth_jx *x)
{
	if (x->depth >= x->max_depth)
		return hth_jx_fail(x, HTH_ERR_LIMIT,
				   "evaluation nested deeper than %u; does a macro call itself without end?",
				   x->max_depth);
	if (!hth_jx_charge(x, 1))
		return false;
	x->depth++;
	return true;
}

void *hth_jx_alloc(struct hth_jx *x, size_t bytes)
{
	void *p = x->status == HTH_OK ? hth_arena_alloc(&x->arena, bytes) : NULL;
	if (p != NULL || x->status != HTH_OK)
		return p;
	if (bytes > x->max_bytes || x->arena.used_bytes > x->max_bytes - bytes)
		hth_jx_fail(x, HTH_ERR_LIMIT, "the template's values take more than %zu bytes", x->max_bytes);
	else
		x->status = hth_fail_memory(x->err, "values of a template", bytes);
	return NULL;
}

void *hth_jx_array(struct hth_jx *x, size_t n, size_t elem_bytes)
{
	if (n > SIZE_MAX / elem_bytes) {
		hth_jx_fail(x, HTH_ERR_LIMIT, "a list or string too long for this machine");
		return NULL;
	}
	return hth_jx_alloc(x, n * elem_bytes);
}

/* The context. */

static enum hth_field field_of(const char *key)
{
	static const struct {
		const char *key;
		enum hth_field field;
	} fields[] = {
		{"content", HTH_FIELD_CONTENT},
		{"refusal", HTH_FIELD_CONTENT},
		{"reasoning_content", HTH_FIELD_REASONING},
		{"thinking", HTH_FIELD_REASONING},
		{"reasoning", HTH_FIELD_REASONING},
		{"tool_plan", HTH_FIELD_REASONING},
		{"tool_calls", HTH_FIELD_TOOL},
		{"function_call", HTH_FIELD_TOOL},
	};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (strcmp(key, fields[i].key) == 0)
			return fields[i].field;
	return HTH_FIELD_OTHER;
}

static bool set(struct hth_jx *x, struct hth_jdict *d, const char *key, struct hth_jval v)
{
	struct hth_jstr *k = hth_jstr_new(x, key, strlen(key), 0);
	return k != NULL && hth_jdict_set(x, d, hth_jv_str(k), v);
}

static bool read_field(struct hth_jx *x, size_t message, const char *key, const json_t *value, struct hth_jval *out)
{
	return hth_jv_from_json(x, value, (hth_jorigin)(message + 1) << 2 | (hth_jorigin)field_of(key), 0, out);
}

static bool read_message(struct hth_jx *x, size_t index, const json_t *message, struct hth_jval *out)
{
	const json_t *reasoning = NULL;
	json_t *object = (json_t *)message, *value; /* jansson iterates over non-const; nothing is written */
	const char *key;
	struct hth_jval v, r = {.kind = HTH_JV_MISSING};
	struct hth_jdict *d = hth_jdict_new(x, json_object_size(message) + 2);
	if (!json_is_object(message))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "messages[%zu] is not an object", index);
	for (int i = 0; i < 3 && reasoning == NULL; i++) {
		reasoning = json_object_get(message, reasoning_fields[i]);
		if (json_is_null(reasoning))
			reasoning = NULL;
		if (reasoning != NULL && !read_field(x, index, reasoning_fields[i], reasoning, &r))
			return false;
	}
	if (d == NULL || (reasoning != NULL && !set(x, d, "thinking", r)))
		return false;
	json_object_foreach(object, key, value)
	{
		if (!read_field(x, index, key, value, &v) || !set(x, d, key, v))
			return false;
	}
	*out = (struct hth_jval){
		.kind = HTH_JV_DICT, .d = d, .origin = (hth_jorigin)(index + 1) << 2 | HTH_FIELD_OTHER};
	return reasoning == NULL || set(x, d, "reasoning_content", r);
}

static bool read_messages(struct hth_jx *x, const json_t *messages, struct hth_jval *out)
{
	size_t n = json_array_size(messages);
	struct hth_jlist *l = hth_jlist_new(x, n);
	if (!json_is_array(messages))
		return hth_jx_fail(x, HTH_ERR_FORMAT, "messages is not an array");
	if (n >= (1u << 29))
		return hth_jx_fail(x, HTH_ERR_LIMIT, "too many messages");
	for (size_t i = 0; l != NULL && i < n; i++) {
		struct hth_jval v;
		if (!read_message(x, i, json_array_get(messages, i), &v) || !hth_jlist_push(x, l, v))
			return false;
	}
	*out = hth_jv_list(l, HTH_JV_LIST);
	return l != NULL;
}

static bool read_context(struct hth_jx *x, const json_t *context)
{
	json_t *object = (json_t *)context, *value;
	const char *key;
	bool chat = json_object_get(context, "messages") != NULL;
	x->context = hth_jdict_new(x, json_object_size(context) + 3);
	if (x->context == NULL)
		return false;
	if (chat && (!set(x, x->context, "tools", hth_jv_none()) || !set(x, x->context, "documents", hth_jv_none()) ||
		     !set(x, x->context, "add_generation_prompt", hth_jv_bool(false))))
		return false;
	json_object_foreach(object, key, value)
	{
		struct hth_jval v;
		if (chat && strcmp(key, "continue_final_message") == 0)
			continue;
		if (!(strcmp(key, "messages") == 0 ? read_messages(x, value, &v)
						   : hth_jv_from_json(x, value, 0, 0, &v)) ||
		    !set(x, x->context, key, v))
			return false;
	}
	return true;
}

/* Continuing the last message. */

/* v + the tag; of a content list, its last part with text. The text without the tag is handed out. */
static bool add_tag(struct hth_jx *x, struct hth_jdict *d, const char *key, struct hth_jstr **text)
{
	struct hth_jval *v = hth_jdict_get(d, key, strlen(key));
	if (v != NULL && v->kind == HTH_JV_LIST) {
		for (size_t i = v->l->n; i > 0; i--) {
			struct hth_jval *part = &v->l->items[i - 1];
			if (part->kind == HTH_JV_DICT && hth_jdict_get(part->d, "text", 4) != NULL)
				return add_tag(x, part->d, "text", text);
		}
	}
	if (v == NULL || v->kind != HTH_JV_STR)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "continue_final_message: the last message has no text in \"%s\"",
				   key);
	struct hth_jstr *tag = hth_jstr_new(x, CONTINUE_TAG, sizeof CONTINUE_TAG - 1, v->origin);
	*text = v->s;
	v->s = tag == NULL ? NULL : hth_jstr_concat(x, v->s, tag);
	return v->s != NULL;
}

static bool mark_final(struct hth_jx *x, const json_t *how, struct hth_jstr **text)
{
	const char *field = json_is_string(how) ? json_string_value(how) : "content";
	struct hth_jval *messages = hth_jdict_get(x->context, "messages", 8), *v, *other;
	bool reasoning = false, named = false, equal;
	if (messages == NULL || messages->kind != HTH_JV_LIST || messages->l->n == 0)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "continue_final_message is set but there are no messages");
	struct hth_jdict *last = messages->l->items[messages->l->n - 1].d;
	v = hth_jdict_get(last, field, strlen(field));
	if (v == NULL || v->kind == HTH_JV_NONE)
		return hth_jx_fail(x, HTH_ERR_FORMAT, "continue_final_message: the last message has no \"%s\"", field);
	for (int i = 0; i < 3; i++)
		reasoning = reasoning || strcmp(field, reasoning_fields[i]) == 0;
	struct hth_jval final = *v;
	for (int i = 0; i < (reasoning ? 3 : 1); i++) { /* every copy of the reasoning */
		const char *key = reasoning ? reasoning_fields[i] : field;
		other = hth_jdict_get(last, key, strlen(key));
		if (other == NULL || !hth_jv_equal(x, *other, final, &equal))
			continue;
		if (equal && !add_tag(x, last, key, text))
			return false;
		named = named || (equal && memmem(x->t->source, x->t->source_bytes, key, strlen(key)) != NULL);
	}
	return named ||
	       hth_jx_fail(x, HTH_ERR_FORMAT, "continue_final_message: the template does not read \"%s\"", field);
}

/* Where the output is to be cut. */
static bool cut_final(struct hth_jx *x, struct hth_jstr *out, struct hth_jstr *text, size_t *end)
{
	size_t n = sizeof CONTINUE_TAG - 2; /* the tag without its blank */
	struct hth_jstr tag = {.data = CONTINUE_TAG, .bytes = n}, *stripped = hth_jstr_strip(x, text, NULL, 3);
	if (stripped == NULL)
		return false;
	size_t at = hth_jstr_find(out, 0, out->bytes, &tag, true);
	if (at == HTH_JINJA_NONE || hth_jstr_find(out, 0, out->bytes, stripped, false) == HTH_JINJA_NONE)
		return hth_jx_fail(x, HTH_ERR_FORMAT,
				   "continue_final_message: the last message does not appear in the "
				   "rendered chat; the template drops part of it");
	*end = at;
	if (at + n < out->bytes && out->data[at + n] == ' ')
		return true;
	struct hth_jstr *head = hth_jstr_slice(x, out, 0, at);
	head = head == NULL ? NULL : hth_jstr_strip(x, head, NULL, 2);
	*end = head == NULL ? at : head->bytes;
	return head != NULL;
}

/* The result. */

static bool add_origin(struct hth_origin **items, size_t *n, size_t *cap, struct hth_origin o, bool join)
{
	struct hth_origin *last = *n > 0 ? &(*items)[*n - 1] : NULL;
	if (join && last != NULL && last->end == o.start) {
		last->end = o.end;
		return true;
	}
	struct hth_origin *grown = hth_grow(*items, *n, cap, SIZE_MAX, sizeof o);
	if (grown == NULL)
		return false;
	*items = grown;
	grown[(*n)++] = o;
	return true;
}

static bool hand_out(struct hth_jx *x, const struct hth_jstr *s, size_t end, struct hth_rendered *out)
{
	size_t cap = 0, cap_gen = 0;
	hth_jorigin before = 0;
	uint32_t gen_before = 0;
	hth_buf_init(&out->text, x->max_bytes);
	bool ok = hth_buf_add(&out->text, s->data, end);
	for (size_t i = 0; i < s->n_runs && s->runs[i].start < end && ok; i++) {
		const struct hth_jrun *r = &s->runs[i];
		struct hth_origin o = {.start = r->start,
				       .end = r->end < end ? r->end : end,
				       .message = (int32_t)(r->origin >> 2) - 1,
				       .field = (enum hth_field)(r->origin & 3)};
		if (r->origin != 0)
			ok = add_origin(&out->origins, &out->n_origins, &cap, o, r->origin == before);
		o.message = -1;
		o.field = HTH_FIELD_OTHER;
		if (r->gen != 0 && ok)
			ok = add_origin(&out->generated, &out->n_generated, &cap_gen, o, r->gen == gen_before);
		before = r->origin;
		gen_before = r->gen;
	}
	if (!ok && x->status == HTH_OK)
		x->status = hth_fail_memory(x->err, "rendered chat", end);
	return ok;
}

static bool run(struct hth_jx *x, const json_t *context, struct hth_rendered *out)
{
	struct hth_jsb b;
	struct hth_jstr *s, *text = NULL;
	size_t end;
	const json_t *how = json_object_get(context, "messages") == NULL
				    ? NULL
				    : json_object_get(context, "continue_final_message");
	hth_jsb_init(&b, x);
	x->out = &b;
	if (!read_context(x, context) || ((json_is_true(how) || json_is_string(how)) && !mark_final(x, how, &text)) ||
	    (x->root = x->scope = hth_jscope_new(x, NULL)) == NULL || !hth_jexec(x, &x->t->body) ||
	    (s = hth_jsb_done(&b)) == NULL)
		return false;
	x->at = NULL;
	end = s->bytes;
	return (text == NULL || cut_final(x, s, text, &end)) && hand_out(x, s, end, out);
}

enum hth_status hth_template_render(const struct hth_template *t, const json_t *context, int64_t now,
				    const struct hth_template_limits *limits, struct hth_rendered *out,
				    struct hth_err *err)
{
	struct hth_jx x = {.t = t, .now = now, .err = err};
	*out = (struct hth_rendered){0};
	x.max_steps = limits != NULL && limits->max_steps > 0 ? limits->max_steps : DEFAULT_STEPS;
	x.max_depth = limits != NULL && limits->max_depth > 0 ? limits->max_depth : DEFAULT_DEPTH;
	x.max_bytes = limits != NULL && limits->max_bytes > 0 ? limits->max_bytes : DEFAULT_BYTES;
	if (!json_is_object(context))
		return hth_fail(err, HTH_ERR_FORMAT, "%s: the context of a template must be an object", t->where);
	hth_arena_init(&x.arena, x.max_bytes);
	run(&x, context, out);
	hth_arena_clear(&x.arena);
	if (x.status != HTH_OK)
		hth_rendered_clear(out);
	return x.status;
}

void hth_rendered_clear(struct hth_rendered *r)
{
	hth_buf_clear(&r->text);
	hth_free(r->origins);
	hth_free(r->generated);
	*r = (struct hth_rendered){0};
}
