/* Every template fixture: the public templates' cases and the engine's micro templates, made by jinja2 and
 * transformers. A template's own raise_exception must come out word for word; other errors must be errors. */
#include "support.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/jinja.h"

#define NOW 1768469400 /* 2026-01-15T09:30:00, the fixtures' clock */

struct line_reader {
	char *data;
	size_t bytes, at;
	int line;
};

static bool next_line(struct line_reader *r, const char **text, size_t *bytes)
{
	if (r->at >= r->bytes)
		return false;
	const char *end = memchr(r->data + r->at, '\n', r->bytes - r->at);
	*text = r->data + r->at;
	*bytes = end == NULL ? r->bytes - r->at : (size_t)(end - *text);
	r->at += *bytes + 1;
	r->line++;
	return true;
}

static void open_lines(struct line_reader *r, const char *name)
{
	struct hth_err err;
	char path[1024];
	const char *dir = fixtures_dir();
	*r = (struct line_reader){0};
	snprintf(path, sizeof path, "%s/templates/%s", dir == NULL ? "" : dir, name);
	if (dir == NULL || access(path, R_OK) != 0)
		skip_because("the template fixtures are not here (HTH_FIXTURES)");
	assert_ok(hth_file_read(path, 64u << 20, &r->data, &r->bytes, &err));
}

/* 0 as expected, else 1 after saying what differs. */
static int check(const char *what, int line, const json_t *want, enum hth_status st, const struct hth_rendered *r,
		 const struct hth_err *err)
{
	const json_t *expected = json_object_get(want, "expected");
	const char *type = json_string_value(json_object_get(want, "error_type"));
	const char *message = json_string_value(json_object_get(want, "error"));
	if (expected != NULL) {
		size_t n = json_string_length(expected);
		if (st == HTH_OK && r->text.bytes == n &&
		    memcmp(hth_buf_str(&r->text), json_string_value(expected), n) == 0)
			return 0;
		fprintf(stderr, "%s, line %d: %s\n  expected |%s|\n  got      |%s|\n", what, line,
			st != HTH_OK ? err->text : "", json_string_value(expected),
			st == HTH_OK ? hth_buf_str(&r->text) : "");
		return 1;
	}
	bool own = type != NULL && strcmp(type, "raise_exception") == 0;
	if (st != HTH_OK && own == (st == HTH_ERR_VALUE) &&
	    (!own || strncmp(err->text, message, HTH_ERR_TEXT_BYTES - 4) == 0))
		return 0;
	fprintf(stderr, "%s, line %d: expected error %s \"%s\", got %d \"%s\"\n", what, line, type, message, (int)st,
		st != HTH_OK ? err->text : hth_buf_str(&r->text));
	return 1;
}

static void units_render_as_jinja2_does(void **state)
{
	struct line_reader lines;
	const char *text;
	size_t bytes;
	int failed = 0, n = 0;
	(void)state;
	open_lines(&lines, "units.jsonl");
	while (next_line(&lines, &text, &bytes)) {
		struct hth_err err;
		json_t *unit;
		struct hth_template *t = NULL;
		struct hth_rendered r = {0};
		assert_ok(hth_template_context_parse(text, bytes, "units.jsonl", &unit, &err));
		const json_t *source = json_object_get(unit, "source");
		enum hth_status st =
			hth_template_parse(json_string_value(source), json_string_length(source), "unit", &t, &err);
		if (st == HTH_OK)
			st = hth_template_render(t, json_object_get(unit, "context"), NOW, NULL, &r, &err);
		failed += check(json_string_value(source), lines.line, unit, st, &r, &err);
		n++;
		hth_rendered_clear(&r);
		hth_template_free(t);
		json_decref(unit);
	}
	hth_free(lines.data);
	if (failed > 0)
		fail_msg("%d of %d units differ", failed, n);
	assert_true(n > 400);
}

static struct hth_template *load_template(const char *name)
{
	struct hth_err err;
	char path[1024];
	char *source;
	size_t bytes;
	struct hth_template *t;
	snprintf(path, sizeof path, "%s/templates/%s", fixtures_dir(), name);
	assert_ok(hth_file_read(path, 16u << 20, &source, &bytes, &err));
	assert_ok(hth_template_parse(source, bytes, name, &t, &err));
	hth_free(source);
	return t;
}

static json_t *context_of(const json_t *row)
{
	static const char *const keys[] = {"messages", "tools", "documents", "add_generation_prompt",
					   "continue_final_message"};
	json_t *context = json_copy(json_object_get(row, "kwargs"));
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		json_object_set(context, keys[i], json_object_get(row, keys[i]));
	return context;
}

static void real_templates_render_as_transformers_does(void **state)
{
	struct line_reader lines;
	const char *text;
	size_t bytes;
	int failed = 0, n = 0;
	char name[256] = "";
	struct hth_template *t = NULL;
	(void)state;
	open_lines(&lines, "cases.jsonl");
	while (next_line(&lines, &text, &bytes)) {
		struct hth_err err;
		json_t *row;
		struct hth_rendered r = {0};
		char what[512];
		assert_ok(hth_template_context_parse(text, bytes, "cases.jsonl", &row, &err));
		const char *template = json_string_value(json_object_get(row, "template"));
		if (strcmp(name, template) != 0) {
			hth_template_free(t);
			t = load_template(template);
			snprintf(name, sizeof name, "%s", template);
		}
		snprintf(what, sizeof what, "%s %s", template, json_string_value(json_object_get(row, "case")));
		json_t *context = context_of(row);
		enum hth_status st = hth_template_render(t, context, NOW, NULL, &r, &err);
		failed += check(what, lines.line, row, st, &r, &err);
		n++;
		hth_rendered_clear(&r);
		json_decref(context);
		json_decref(row);
	}
	hth_template_free(t);
	hth_free(lines.data);
	if (failed > 0)
		fail_msg("%d of %d cases differ", failed, n);
	assert_true(n > 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_render_as_jinja2_does),
		cmocka_unit_test(real_templates_render_as_transformers_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
