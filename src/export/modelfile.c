/* A Modelfile by probing: three conversations of marked texts are rendered, and what stands around the marks gives the
 * parts of a chat: before and after a system message, before a user's, between it and the answer, after the answer. A
 * fourth conversation, put together from these parts, must come out as the template renders it.
 * Left out: tools, thinking, templates that show the date or change earlier turns; they fail the last comparison.
 * Source: ollama docs/modelfile.mdx and template.mdx. */
#include "export/modelfile.h"

#include "base/file.h"
#include "base/mem.h"
#include "models/model.h"

#include <string.h>

#define MAX_FILE_BYTES ((size_t)1 << 20)

struct part {
	const char *text; /* borrowed from a rendering */
	size_t bytes;
};

struct chat_parts {
	struct part system_before, system_after, user_before, answer_before, answer_after;
	struct part usual_system; /* that the template puts where there is none; bytes 0: none */
	bool has_usual;
};

struct probe {
	const struct hth_model *m;
	struct hth_chat chat;
	struct hth_rendered r[4];
};

#define S "MARKsystem"
#define U1 "MARKfirst"
#define A1 "MARKanswer"
#define U2 "MARKsecond"

static json_t *messages(const char *system, bool long_one)
{
	json_t *list = json_array();

	if (system != NULL)
		(void)json_array_append_new(list, json_pack("{s:s,s:s}", "role", "system", "content", system));
	(void)json_array_append_new(list, json_pack("{s:s,s:s}", "role", "user", "content", U1));
	if (!long_one)
		return list;
	(void)json_array_append_new(list, json_pack("{s:s,s:s}", "role", "assistant", "content", A1));
	(void)json_array_append_new(list, json_pack("{s:s,s:s}", "role", "user", "content", U2));
	return list;
}

/* Renders into r[i]; false when the template refuses (no system messages, say). */
static bool render(struct probe *p, int i, const char *system, bool long_one)
{
	json_t *list = messages(system, long_one);
	bool ok = hth_chat_render(&p->chat, list, NULL, true, &p->r[i], NULL) == HTH_OK;

	json_decref(list);
	return ok;
}

/* What stands between two marks (NULL: an end) of a rendering; false when one is not there. */
static bool between(const struct hth_rendered *r, const char *from, const char *to, struct part *out)
{
	const char *text = hth_buf_str(&r->text), *a = text, *b = text + r->text.bytes;

	if (from != NULL) {
		if ((a = strstr(text, from)) == NULL)
			return false;
		a += strlen(from);
	}
	if (to != NULL && (b = strstr(a, to)) == NULL)
		return false;
	*out = (struct part){a, (size_t)(b - a)};
	return true;
}

static bool same(struct part a, struct part b)
{
	return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.text, b.text, a.bytes) == 0);
}

/* BOS that the tokenizer puts in front is not the template's to write. */
static struct part without_bos(const struct hth_model *m, struct part p)
{
	struct hth_tokens t = {0};
	size_t bytes = 0;
	int32_t bos = hth_tokenizer_bos(m->tokenizer);
	const char *text = hth_tokenizer_token(m->tokenizer, bos, &bytes);
	bool added = hth_tokenizer_encode(m->tokenizer, "", 0, HTH_ENCODE_ADD_SPECIAL, &t, NULL) == HTH_OK && t.n > 0 &&
		     t.ids[0] == bos;

	hth_tokens_clear(&t);
	if (added && text != NULL && p.bytes >= bytes && memcmp(p.text, text, bytes) == 0)
		p = (struct part){p.text + bytes, p.bytes - bytes};
	return p;
}

/* The longest common ending of two texts. */
static struct part common_end(struct part a, struct part b)
{
	size_t n = 0;

	while (n < a.bytes && n < b.bytes && a.text[a.bytes - 1 - n] == b.text[b.bytes - 1 - n])
		n++;
	return (struct part){a.text + a.bytes - n, n};
}

/* What a conversation without a system message begins with: a user's part, or a usual system message in front. */
static bool find_usual(struct chat_parts *c, struct part start)
{
	size_t around = c->system_before.bytes + c->system_after.bytes + c->user_before.bytes;

	if (same(start, c->user_before))
		return true;
	if (start.bytes < around)
		return false;
	size_t inner = start.bytes - around;
	struct part before = {start.text, c->system_before.bytes};
	struct part after = {start.text + c->system_before.bytes + inner, c->system_after.bytes};
	struct part user = {after.text + after.bytes, c->user_before.bytes};
	c->usual_system = (struct part){start.text + c->system_before.bytes, inner};
	c->has_usual = true;
	return same(before, c->system_before) && same(after, c->system_after) && same(user, c->user_before);
}

static bool find_parts(struct probe *p, struct chat_parts *c)
{
	struct part start, middle, turn, tail;

	if (!render(p, 0, NULL, false) || !render(p, 1, S, false) || !render(p, 2, S, true) ||
	    !render(p, 3, NULL, true))
		return false;
	if (!between(&p->r[2], NULL, S, &c->system_before) || !between(&p->r[2], S, U1, &middle) ||
	    !between(&p->r[2], U1, A1, &c->answer_before) || !between(&p->r[2], A1, U2, &turn) ||
	    !between(&p->r[2], U2, NULL, &tail) || !between(&p->r[0], NULL, U1, &start) ||
	    !same(tail, c->answer_before))
		return false;
	c->system_before = without_bos(p->m, c->system_before);
	/* Where nothing stands in front of a first user message, its own part is known. Otherwise the end that both have in
	 * common will do: how it divides from what closes a turn shows only in conversations that do not occur. */
	start = without_bos(p->m, start);
	c->user_before = common_end(middle, turn);
	if (start.bytes <= c->user_before.bytes &&
	    memcmp(c->user_before.text + c->user_before.bytes - start.bytes, start.text, start.bytes) == 0)
		c->user_before = (struct part){c->user_before.text + c->user_before.bytes - start.bytes, start.bytes};
	c->system_after = (struct part){middle.text, middle.bytes - c->user_before.bytes};
	c->answer_after = (struct part){turn.text, turn.bytes - c->user_before.bytes};
	return find_usual(c, start);
}

static void put(struct hth_buf *b, struct part p)
{
	if (p.bytes > 0)
		(void)hth_buf_add(b, p.text, p.bytes);
}

/* A conversation put together from the parts. */
static void assemble(const struct chat_parts *c, const char *system, bool long_one, struct hth_buf *out)
{
	struct part s = {system, system != NULL ? strlen(system) : 0};

	if (system == NULL && c->has_usual)
		s = c->usual_system;
	if (system != NULL || c->has_usual) {
		put(out, c->system_before);
		put(out, s);
		put(out, c->system_after);
	}
	put(out, c->user_before);
	(void)hth_buf_puts(out, U1);
	put(out, c->answer_before);
	if (!long_one)
		return;
	(void)hth_buf_puts(out, A1);
	put(out, c->answer_after);
	put(out, c->user_before);
	(void)hth_buf_puts(out, U2);
	put(out, c->answer_before);
}

static bool explains(struct probe *p, const struct chat_parts *c)
{
	struct hth_buf made;
	bool good = true;

	hth_buf_init(&made, MAX_FILE_BYTES);
	for (int i = 0; good && i < 4; i++) {
		struct part want = {hth_buf_str(&p->r[i].text), p->r[i].text.bytes};
		want = without_bos(p->m, want);
		hth_buf_reset(&made);
		assemble(c, i == 1 || i == 2 ? S : NULL, i >= 2, &made);
		good = !made.failed && same(want, (struct part){hth_buf_str(&made), made.bytes});
	}
	hth_buf_clear(&made);
	return good;
}

/* Text that would mean something to Go's templates or end the quotes of a Modelfile. */
static bool is_plain(struct part p)
{
	for (size_t i = 0; i + 1 < p.bytes; i++)
		if ((p.text[i] == '{' && p.text[i + 1] == '{') || (p.text[i] == '"' && p.text[i + 1] == '"'))
			return false;
	return p.bytes == 0 || memchr(p.text, 0, p.bytes) == NULL;
}

static bool all_plain(const struct chat_parts *c)
{
	return is_plain(c->system_before) && is_plain(c->system_after) && is_plain(c->user_before) &&
	       is_plain(c->answer_before) && is_plain(c->answer_after) && is_plain(c->usual_system);
}

static void put_template(const struct chat_parts *c, struct hth_buf *out)
{
	(void)hth_buf_puts(out, "TEMPLATE \"\"\"{{ range .Messages }}{{ if eq .Role \"system\" }}");
	put(out, c->system_before);
	(void)hth_buf_puts(out, "{{ .Content }}");
	put(out, c->system_after);
	(void)hth_buf_puts(out, "{{ else if eq .Role \"user\" }}");
	put(out, c->user_before);
	(void)hth_buf_puts(out, "{{ .Content }}");
	put(out, c->answer_before);
	(void)hth_buf_puts(out, "{{ else if eq .Role \"assistant\" }}{{ .Content }}");
	put(out, c->answer_after);
	(void)hth_buf_puts(out, "{{ end }}{{ end }}\"\"\"\n");
	if (!c->has_usual || c->usual_system.bytes == 0)
		return;
	(void)hth_buf_puts(out, "SYSTEM \"\"\"");
	put(out, c->usual_system);
	(void)hth_buf_puts(out, "\"\"\"\n");
}

static void put_stops(const struct hth_model *m, struct hth_buf *out)
{
	for (int32_t id = 0; id < hth_tokenizer_size(m->tokenizer); id++) {
		size_t bytes;
		const char *text = hth_tokenizer_token(m->tokenizer, id, &bytes);
		if (text == NULL || !hth_tokenizer_is_end(m->tokenizer, id) || memchr(text, '"', bytes) != NULL)
			continue;
		(void)hth_buf_printf(out, "PARAMETER stop \"%.*s\"\n", (int)bytes, text);
	}
}

static enum hth_status write_beside(const char *gguf_path, const struct hth_buf *text, struct hth_err *err)
{
	size_t dir = (size_t)(hth_path_base(gguf_path) - gguf_path);
	char *folder = hth_strndup(dir > 0 ? gguf_path : ".", dir > 0 ? dir : 1);
	char *path = folder != NULL ? hth_path_join(folder, "Modelfile") : NULL;
	enum hth_status st = path != NULL ? hth_file_write(path, text->data, text->bytes, err)
					  : hth_fail_memory(err, "a path", dir);

	hth_free(folder);
	hth_free(path);
	return st;
}

enum hth_status hth_modelfile_write(const char *gguf_path, bool *templated, struct hth_err *err)
{
	struct probe p = {0};
	struct chat_parts c = {0};
	struct hth_model *m = NULL;
	struct hth_buf out;
	enum hth_status st = hth_model_open(gguf_path, &m, err);

	*templated = false;
	hth_buf_init(&out, MAX_FILE_BYTES);
	if (st != HTH_OK)
		goto done;
	p.m = m;
	*templated = m->tmpl != NULL && hth_model_chat(m, &p.chat, NULL) == HTH_OK && find_parts(&p, &c) &&
		     explains(&p, &c) && all_plain(&c);
	(void)hth_buf_printf(&out, "FROM ./%s\n", hth_path_base(gguf_path));
	if (*templated)
		put_template(&c, &out);
	else
		(void)hth_buf_puts(&out, "# No TEMPLATE: the model's own is none that can be said in Go's language, or it "
					 "has none.\n# Ollama then takes the one of its list that is most like it.\n");
	put_stops(m, &out);
	if ((st = hth_buf_status(&out, "a Modelfile", err)) == HTH_OK)
		st = write_beside(gguf_path, &out, err);
done:
	for (int i = 0; i < 4; i++)
		hth_rendered_clear(&p.r[i]);
	hth_buf_clear(&out);
	hth_model_close(m);
	return st;
}
