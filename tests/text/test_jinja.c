/* The Jinja interpreter by itself: where strings come from, its bounds, its errors, hostile and cut input. What it
 * renders is compared with jinja2 in test_jinja_fixtures.c. */
#include "support.h"

#include "base/mem.h"
#include "text/jinja.h"

#include <pthread.h>

static struct hth_err err;

static json_t *json(const char *text)
{
	json_t *j;
	assert_ok(hth_template_context_parse(text, strlen(text), "context", &j, &err));
	return j;
}

static enum hth_status render_with(const char *source, const char *context, const struct hth_template_limits *limits,
				   struct hth_rendered *r)
{
	struct hth_template *t;
	*r = (struct hth_rendered){0};
	enum hth_status st = hth_template_parse(source, strlen(source), "t.jinja", &t, &err);
	if (st != HTH_OK)
		return st;
	json_t *c = json(context);
	st = hth_template_render(t, c, 0, limits, r, &err);
	json_decref(c);
	hth_template_free(t);
	return st;
}

static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":\" Ab cd \"},"
			   "{\"role\":\"assistant\",\"content\":\"x\\\"y\",\"reasoning\":\"why\",\"tool_calls\":["
			   "{\"name\":\"f\",\"arguments\":{\"n\":12,\"s\":\"v\"}}]}]}";

/* The output with its origins: {message field|text}. */
static void expect_origins(const char *source, const char *want)
{
	struct hth_rendered r;
	struct hth_buf b;
	size_t at = 0;
	assert_ok(render_with(source, chat, NULL, &r));
	hth_buf_init(&b, 1u << 20);
	for (size_t i = 0; i < r.n_origins; i++) {
		const struct hth_origin *o = &r.origins[i];
		assert_true(o->start >= at && o->end > o->start && o->end <= r.text.bytes);
		hth_buf_add(&b, r.text.data + at, o->start - at);
		hth_buf_printf(&b, "{%d%c|", (int)o->message, "crto"[o->field]);
		hth_buf_add(&b, r.text.data + o->start, o->end - o->start);
		hth_buf_putc(&b, '}');
		at = o->end;
	}
	hth_buf_add(&b, hth_buf_str(&r.text) + at, r.text.bytes - at);
	assert_string_equal(hth_buf_str(&b), want);
	hth_buf_clear(&b);
	hth_rendered_clear(&r);
}

static void output_knows_message_and_field(void **state)
{
	(void)state;
	expect_origins("<{{ messages[0].content }}>", "<{0c| Ab cd }>");
	expect_origins("{{ messages[0].role }}:{{ messages[1].thinking }}", "{0o|user}:{1r|why}");
	expect_origins("{{ 'a' ~ messages[0]['content'] + 'b' }}", "a{0c| Ab cd }b");
	expect_origins("{% for m in messages %}{{ m.content }}{% endfor %}", "{0c| Ab cd }{1c|x\"y}");
	expect_origins("{{ messages[1].tool_calls[0].arguments.n }}", "{1t|12}");
}

static void origins_survive_string_operations(void **state)
{
	(void)state;
	expect_origins("{{ messages[0].content.strip() }}|{{ messages[0].content | trim }}", "{0c|Ab cd}|{0c|Ab cd}");
	expect_origins("{{ messages[0].content[1:3] }}{{ messages[0].content[::-1] }}", "{0c|Ab dc bA }");
	expect_origins("{{ messages[0].content.split() }}", "[{0c|'Ab'}, {0c|'cd'}]");
	expect_origins("{{ messages[0].content.split('b')[1] }}", "{0c| cd }");
	expect_origins("{{ messages[0].content | replace('b', '_') }}", "{0c| A}_{0c| cd }");
	expect_origins("{{ messages[0].content | upper }}", "{0c| AB CD }");
	expect_origins("{{ [messages[0].role, 'z'] | join('-') }}", "{0o|user}-z");
	expect_origins("{{ '%s!' % messages[0].role }}{{ '<{}>'.format(messages[0].role) }}", "{0o|user}!<{0o|user}>");
	expect_origins("{{ 'x' | replace('x', messages[0].role) }}", "{0o|user}");
	expect_origins("{{ ('p' ~ messages[0].role ~ 'q')[:3] }}", "p{0o|us}");
	expect_origins("{{ messages[0].role | indent(2, true) }}", "  {0o|user}");
	expect_origins("{% set x %}a{{ messages[0].role }}{% endset %}{{ x * 2 }}", "a{0o|user}a{0o|user}");
	expect_origins("{% macro m(v) %}({{ v }}){% endmacro %}{{ m(messages[0].role) }}", "({0o|user})");
	expect_origins("{% filter upper %}a{{ messages[0].role }}{% endfilter %}", "A{0o|USER}");
}

static void json_of_message_parts_keeps_their_origin(void **state)
{
	(void)state;
	expect_origins("{{ messages[1].content | tojson }}", "{1c|\"x\\\"y\"}");
	expect_origins("<{{ messages[1].tool_calls[0].arguments | tojson }}>", "<{1t|{\"n\": 12, \"s\": \"v\"}}>");
	expect_origins("{{ {'k': messages[0].role} | tojson }}", "{\"k\": {0o|\"user\"}}");
}

static void generation_blocks_are_reported(void **state)
{
	struct hth_rendered r;
	(void)state;
	assert_ok(render_with("a{% generation %}b{{ messages[1].content }}c{% endgeneration %}{% generation %}d"
			      "{% endgeneration %}",
			      chat, NULL, &r));
	assert_string_equal(hth_buf_str(&r.text), "abx\"ycd");
	assert_int_equal(r.n_generated, 2);
	assert_int_equal(r.generated[0].start, 1);
	assert_int_equal(r.generated[0].end, 6);
	assert_int_equal(r.generated[0].message, -1);
	assert_int_equal(r.generated[1].start, 6);
	assert_int_equal(r.n_origins, 1);
	assert_int_equal(r.origins[0].start, 2);
	hth_rendered_clear(&r);
}

static void continued_message_is_cut_with_its_origins(void **state)
{
	struct hth_rendered r;
	(void)state;
	assert_ok(render_with("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}",
			      "{\"messages\":[{\"role\":\"assistant\",\"content\":\"half an answer \"}],"
			      "\"continue_final_message\":true}",
			      NULL, &r));
	assert_string_equal(hth_buf_str(&r.text), "[half an answer");
	assert_int_equal(r.n_origins, 1);
	assert_int_equal(r.origins[0].end, 15);
	hth_rendered_clear(&r);
}

/* Every bound ends in HTH_ERR_LIMIT, soon. */
static void expect_limit(const char *source, const char *part)
{
	struct hth_rendered r;
	assert_fails(render_with(source, "{}", NULL, &r), HTH_ERR_LIMIT, part);
	assert_null(r.text.data);
}

static void hostile_templates_end_at_a_bound(void **state)
{
	(void)state;
	expect_limit(
		"{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
		"bytes");
	expect_limit("{% for i in range(25000) %}{% for j in range(25000) %}{% endfor %}{% endfor %}", "steps");
	expect_limit("{% for i in range(1000000000) %}{% endfor %}", "range");
	expect_limit("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper");
	expect_limit("{{ 'x' * 1000000000 }}", "bytes");
	expect_limit("{{ '%1000000000d' % 1 }}", "");
	expect_limit("{{ '{:1000000000}'.format(1) }}", "");
	expect_limit("{{ 'a'.center(1000000000) }}", "");
	expect_limit("{{ [1] * 1000000000 }}", "");
	expect_limit("{{ 2 ** 64 }}", "64 bits");
	expect_limit("{{ 9223372036854775807 + 1 }}", "64 bits");
	expect_limit(
		"{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
		"nested deeper");
	expect_limit("{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}"
		     "{{ ns.x | tojson }}",
		     "nested deeper");
	expect_limit("{% set a = namespace(x=[]) %}{% set b = namespace(x=[]) %}{% for i in range(1000) %}{% set a.x = "
		     "[a.x] %}"
		     "{% set b.x = [b.x] %}{% endfor %}{{ a.x == b.x }}",
		     "nested deeper");
	expect_limit("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "nested deeper");
}

static void limits_of_the_caller_hold(void **state)
{
	struct hth_rendered r;
	struct hth_template_limits steps = {.max_steps = 50}, depth = {.max_depth = 5}, bytes = {.max_bytes = 4096};
	(void)state;
	assert_fails(render_with("{% for i in range(100) %}x{% endfor %}", "{}", &steps, &r), HTH_ERR_LIMIT,
		     "50 steps");
	assert_fails(render_with("{{ [[[[[[1]]]]]] }}", "{}", &depth, &r), HTH_ERR_LIMIT, "deeper than 5");
	assert_fails(render_with("{% for i in range(1000) %}xxxxxxxxxx{% endfor %}", "{}", &bytes, &r), HTH_ERR_LIMIT,
		     "4096");
	assert_ok(render_with("{% for i in range(9) %}x{% endfor %}", "{}", NULL, &r));
	hth_rendered_clear(&r);
}

/* Text repeated n times. */
static char *repeat(const char *open, const char *middle, const char *close, int n)
{
	struct hth_buf b;
	hth_buf_init(&b, 1u << 24);
	for (int i = 0; i < n; i++)
		hth_buf_puts(&b, open);
	hth_buf_puts(&b, middle);
	for (int i = 0; i < n; i++)
		hth_buf_puts(&b, close);
	return hth_buf_take(&b, NULL);
}

static void *deepest_things(void *unused)
{
	static const char *const shapes[][3] = {
		{"(", "1", ")"},    {"[", "1", "]"},           {"{1:", "1", "}"}, {"not ", "1", ""},
		{"-", "1", ""},     {"1 if ", "1", ""},        {"x[", "1", "]"},  {"f(", "1", ")"},
		{"f(a=", "1", ")"}, {"1 if 1 else ", "1", ""}, {"x", "1", ".a"},  {"1 + (", "1", ")"},
	};
	struct hth_rendered r;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		for (int n = 90; n <= 5000; n = n == 90 ? 5000 : 5001) {
			char *inner = repeat(shapes[i][0], shapes[i][1], shapes[i][2], n), *source = NULL;
			struct hth_buf b;
			hth_buf_init(&b, 1u << 24);
			hth_buf_printf(&b, "{{ %s }}", inner);
			source = hth_buf_take(&b, NULL);
			enum hth_status st = render_with(source, "{}", NULL, &r);
			if (st == HTH_OK)
				hth_rendered_clear(&r);
			hth_free(inner);
			hth_free(source);
		}
	}
	char *blocks = repeat("{% if 1 %}", "x", "{% endif %}", 5000);
	assert_fails(render_with(blocks, "{}", NULL, &r), HTH_ERR_LIMIT, "nesting");
	hth_free(blocks);
	blocks = repeat("{% for i in [1] %}", "x", "{% endfor %}", 90);
	assert_ok(render_with(blocks, "{}", NULL, &r));
	hth_rendered_clear(&r);
	hth_free(blocks);
	assert_fails(
		render_with(
			"{% macro m(x) %}{% if 1 %}{% for i in [1] %}{{ [m(x ~ (m | string))] | map('upper') | list }}"
			"{% endfor %}{% endif %}{% endmacro %}{{ m('') }}",
			"{}", NULL, &r),
		HTH_ERR_LIMIT, "nested deeper");
	assert_fails(render_with("{% for i in [1] recursive %}{{ loop([i]) }}{% endfor %}", "{}", NULL, &r),
		     HTH_ERR_LIMIT, "nested deeper");
	return unused;
}

static void deepest_recursion_fits_a_small_stack(void **state)
{
	pthread_attr_t attr;
	pthread_t thread;
	(void)state;
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, 768u << 10), 0);
	assert_int_equal(pthread_create(&thread, &attr, deepest_things, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
}

static void syntax_errors_say_where_and_what(void **state)
{
	static const struct {
		const char *source, *part;
	} cases[] = {
		{"{{ a b }}", "t.jinja:1:6: expected end of print statement, found b"},
		{"x\n  {{ }}", "t.jinja:2:6: expected an expression"},
		{"{% if x %}", "expected one of {% elif else endif %} for the 'if' of line 1"},
		{"{% nosuch %}", "t.jinja:1:4: unknown or misplaced tag {% nosuch %}"},
		{"{% endif %}", "unknown or misplaced tag {% endif %}"},
		{"{% for %}", "expected an expression"},
		{"{% for x of y %}", "expected 'in', found of"},
		{"{{ (1 }}", "expected ')'"},
		{"{{ 1) }}", "unexpected closing bracket"},
		{"{{ 'abc }}", "t.jinja:1:4: this string has no end"},
		{"{{ x", "expected end of print statement, found end of template"},
		{"{# x", "missing end of comment tag"},
		{"{% raw %}x", "missing end of raw block"},
		{"{{ 1 ! 2 }}", "t.jinja:1:6: unexpected character, found '!'"},
		{"{{ x | nosuch }}", "t.jinja:1:8: no filter named 'nosuch'"},
		{"{{ x is nosuch }}", "no test named 'nosuch'"},
		{"{% set 1 = 2 %}", "cannot assign"},
		{"{% set a = b = c %}", "expected end of statement block"},
		{"{% break %}", "'break' outside of a loop"},
		{"{% macro m(a=1, b) %}{% endmacro %}", "without default follows one with a default"},
		{"{{ f(a=1, 2) }}", "positional argument follows"},
		{"{{ x. }}", "expected a name or number behind '.'"},
		{"{{ {1 2} }}", "expected :"},
		{"{% call x %}{% endcall %}", "expected a call"},
		{"{{ '\\N{NO SUCH CHARACTER}' }}", "unknown character name"},
		{"{{ '\\x4' }}", "truncated"},
		{"{{ 1e999 }}", "out of range"},
		{"{{ x is in is none }}", "chained"},
	};
	struct hth_rendered r;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_fails(render_with(cases[i].source, "{}", NULL, &r), HTH_ERR_FORMAT, cases[i].part);
	assert_fails(render_with("a{% include 'x' %}", "{}", NULL, &r), HTH_ERR_UNAVAILABLE,
		     "t.jinja:1:5: {% include %}");
	assert_fails(render_with("{% import 'x' as y %}", "{}", NULL, &r), HTH_ERR_UNAVAILABLE, "import");
	assert_fails(render_with("\xff", "{}", NULL, &r), HTH_ERR_FORMAT, "UTF-8");
}

static void evaluation_errors_say_where_and_what(void **state)
{
	static const struct {
		const char *source, *part;
	} cases[] = {
		{"a\n{{ missing + 1 }}", "t.jinja:2:4: 'missing' is undefined"},
		{"{{ {}.a.b }}", "'dict object' has no attribute 'a'"},
		{"{{ 1 + 'a' }}", "unsupported operand types for +: 'int' and 'str'"},
		{"{{ 1 // 0 }}", "by zero"},
		{"{{ [1].append(2) }}", "'append' of 'list' object is unsafe"},
		{"{{ 'x'.__class__.y }}", "'__class__' of 'str' object is unsafe"},
		{"{{ nosuch() }}", "'nosuch' is undefined"},
		{"{{ 1() }}", "'int' object is not callable"},
		{"{{ 'a' | replace('b') }}", "argument 'new' is missing"},
		{"{{ 'a' | upper(1) }}", "takes 0 arguments"},
		{"{{ 'a' | trim(x=1) }}", "unexpected keyword"},
		{"{% if 1 %}{{ 1 | nosuch }}{% endif %}", "no filter named 'nosuch'"},
		{"{% for x in 1 %}{% endfor %}", "'int' object is not iterable"},
		{"{% for a, b in [[1]] %}{% endfor %}", "1 values to unpack into 2"},
		{"{% set x = 1 %}{% set x.y = 2 %}", "non-namespace"},
		{"{{ {[]: 1} }}", "unhashable"},
		{"{{ namespace(_x=1) }}", "begins with '_'"},
		{"{{ missing | tojson }}", "not JSON serializable"},
		{"{{ '%d' % 'x' }}", "number is required"},
		{"{{ '%s %s' % ('x',) }}", "not enough arguments"},
		{"{{ '{0} {}'.format(1) }}", "numbering"},
	};
	struct hth_rendered r;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_fails(render_with(cases[i].source, "{}", NULL, &r), HTH_ERR_FORMAT, cases[i].part);
	assert_fails(render_with("{{ raise_exception('its words') }}", "{}", NULL, &r), HTH_ERR_VALUE, "its words");
	assert_string_equal(err.text, "its words");
	assert_fails(render_with("x", "{\"messages\":[1]}", NULL, &r), HTH_ERR_FORMAT, "messages[0] is not an object");
}

static const char everything[] =
	"{%- macro m(a, b=[1, {'k': a}], *c) -%}{{ a }}{% endmacro %}\n"
	"{% macro n(a, b='x') %}{{ caller(a) }}{{ varargs }}{{ kwargs }}{% endmacro %}"
	"{% call(q) n('z', c=1) %}{{ q }}{% endcall %}"
	"{% for m in messages if m.role != 'x' recursive %}{{ loop.index }}{{ m.content[1:-1:2] | tojson(indent=2) }}"
	"{% else %}none{% endfor %}{% set ns = namespace(a='') %}{% set ns.a = ns.a ~ 'b' %}{% set v | upper %}t{% "
	"endset %}"
	"{% with a=1, b=2 %}{{ a ** b // 1 % 3 }}{% endwith %}{% raw %}{{ }}{% endraw %}{# c #}"
	"{% if not 1 in [2] and 1 < 2 <= 3 or x is defined %}{{ '%5.1f' % 2.5 }}{% elif y %}{% else %}{% endif %}"
	"{% filter indent(2) %}a\nb{% endfilter %}{% generation %}g{% endgeneration %}{% block b %}{% endblock %}"
	"{{ 'a\\u00e9\\n' 'b' }}{{ (1, 2)[0] if 1 else 2 }}{% autoescape true %}{{ '<' }}{% endautoescape %}"
	"{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}{% break %}{% endfor %}{{ messages | "
	"map(attribute="
	"'role') | list | sort | join(',') }}{{ strftime_now('%Y') }}";

static void template_cut_at_any_byte_is_an_error_or_a_template(void **state)
{
	struct hth_rendered r;
	char source[sizeof everything];
	(void)state;
	for (size_t n = 0; n < sizeof everything; n++) {
		memcpy(source, everything, n);
		source[n] = '\0';
		enum hth_status st = render_with(source, chat, NULL, &r);
		assert_true(st == HTH_OK || st == HTH_ERR_FORMAT);
		hth_rendered_clear(&r);
	}
}

static void template_with_any_byte_changed_does_not_crash(void **state)
{
	static const char bytes[] = {'\0', '{', '}', '%', '(', '\'', '\\', '0', '|', '\n'};
	struct hth_rendered r;
	char source[sizeof everything];
	struct hth_template *t;
	json_t *c = json(chat);
	(void)state;
	for (size_t at = 0; at + 1 < sizeof everything; at++) {
		for (size_t k = 0; k < sizeof bytes; k++) {
			memcpy(source, everything, sizeof everything);
			source[at] = bytes[k];
			if (hth_template_parse(source, sizeof everything - 1, "t", &t, &err) != HTH_OK)
				continue;
			if (hth_template_render(t, c, 0, NULL, &r, &err) == HTH_OK)
				hth_rendered_clear(&r);
			hth_template_free(t);
		}
	}
	json_decref(c);
}

static const char healthy[] =
	"{% macro m(a, b=2) %}<{{ a ~ b }}>{% endmacro %}{% set ns = namespace(t='') %}"
	"{% for m in messages %}{% set ns.t = ns.t + m.role + ': ' + (m.content | trim) + '\n' %}{% endfor %}"
	"{{ ns.t | upper }}{{ m(1) }}{{ messages | tojson(indent=2) }}{{ '%s' % messages[0].role }}"
	"{% generation %}{{ messages | map(attribute='role') | join(', ') }}{% endgeneration %}";

static void failed_allocations_are_reported_and_leak_nothing(void **state)
{
	bool done = false;
	json_t *c = json(chat);
	(void)state;
	for (uint64_t nth = 1; !done && nth < 2000; nth++) {
		struct hth_template *t = NULL;
		struct hth_rendered r = {0};
		hth_mem_fail_at(nth, nth % 2 == 0);
		enum hth_status st = hth_template_parse(healthy, sizeof healthy - 1, "t", &t, &err);
		if (st == HTH_OK)
			st = hth_template_render(t, c, 0, NULL, &r, &err);
		hth_mem_fail_at(0, false);
		done = st == HTH_OK;
		if (!done)
			assert_int_equal(st, HTH_ERR_MEMORY);
		hth_rendered_clear(&r);
		hth_template_free(t);
	}
	assert_true(done);
	json_decref(c);
}

static void big_integers_are_kept_exactly(void **state)
{
	struct hth_rendered r;
	(void)state;
	assert_ok(render_with("{{ a }} {{ b }} {{ c | tojson }} {{ d }}",
			      "{\"a\":12345678901234567890,\"b\":-9223372036854775808,\"c\":[-99999999999999999999],"
			      "\"d\":\"12345678901234567890 \\\" 99999999999999999999\"}",
			      NULL, &r));
	assert_string_equal(hth_buf_str(&r.text), "12345678901234567890 -9223372036854775808 [-99999999999999999999] "
						  "12345678901234567890 \" 99999999999999999999");
	hth_rendered_clear(&r);
}

static void growing_a_string_piece_by_piece_is_linear(void **state)
{
	struct hth_rendered r;
	(void)state;
	/* 100000 pieces of ten bytes: copying each time would take 50 GB */
	assert_ok(render_with(
		"{% set ns = namespace(t='') %}{% for i in range(100000) %}{% set ns.t = ns.t ~ '0123456789' %}"
		"{% endfor %}{{ ns.t | length }}",
		"{}", NULL, &r));
	assert_string_equal(hth_buf_str(&r.text), "1000000");
	hth_rendered_clear(&r);
}

static void dates_follow_strftime(void **state)
{
	struct hth_template *t;
	struct hth_rendered r;
	json_t *c = json("{}");
	static const char source[] =
		"{{ strftime_now('%a %A %b %B %d %-d %e %H %I %p %j %m %y %Y %U %W %V %G %u %w %% %q %F %T') }}";
	(void)state;
	assert_ok(hth_template_parse(source, sizeof source - 1, "t", &t, &err));
	/* Python: datetime(2024, 12, 30, 15, 4, 5) */
	assert_ok(hth_template_render(t, c, 1735571045, NULL, &r, &err));
	assert_string_equal(hth_buf_str(&r.text),
			    "Mon Monday Dec December 30 30 30 15 03 PM 365 12 24 2024 52 53 01 2025 1 1 "
			    "% %q 2024-12-30 15:04:05");
	hth_rendered_clear(&r);
	hth_template_free(t);
	json_decref(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_knows_message_and_field),
		cmocka_unit_test(origins_survive_string_operations),
		cmocka_unit_test(json_of_message_parts_keeps_their_origin),
		cmocka_unit_test(generation_blocks_are_reported),
		cmocka_unit_test(continued_message_is_cut_with_its_origins),
		cmocka_unit_test(hostile_templates_end_at_a_bound),
		cmocka_unit_test(limits_of_the_caller_hold),
		cmocka_unit_test(deepest_recursion_fits_a_small_stack),
		cmocka_unit_test(syntax_errors_say_where_and_what),
		cmocka_unit_test(evaluation_errors_say_where_and_what),
		cmocka_unit_test(template_cut_at_any_byte_is_an_error_or_a_template),
		cmocka_unit_test(template_with_any_byte_changed_does_not_crash),
		cmocka_unit_test(failed_allocations_are_reported_and_leak_nothing),
		cmocka_unit_test(big_integers_are_kept_exactly),
		cmocka_unit_test(growing_a_string_piece_by_piece_is_linear),
		cmocka_unit_test(dates_follow_strftime),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
