#include "base/buf.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "support.h"

static struct hth_err err;

static int no_injection(void **state)
{
	(void)state;
	hth_mem_fail_at(0, false);
	return 0;
}

static void show(struct hth_buf *b, const struct hth_yaml_node *n)
{
	if (n->kind == HTH_YAML_SCALAR) {
		hth_buf_printf(b, n->quoted ? "'%s'" : "%s", n->text);
		return;
	}
	hth_buf_putc(b, n->kind == HTH_YAML_MAP ? '{' : '[');
	for (size_t i = 0; i < n->n; i++) {
		if (n->kind == HTH_YAML_MAP)
			hth_buf_printf(b, "%s@%d=", n->keys[i], n->key_lines[i]);
		show(b, &n->items[i]);
		hth_buf_putc(b, i + 1 < n->n ? ',' : ' ');
	}
	hth_buf_putc(b, n->kind == HTH_YAML_MAP ? '}' : ']');
}

/* The tree in one line, or the error's text. */
static const char *tree(const char *text, size_t bytes)
{
	static char out[2048];
	struct hth_arena a;
	struct hth_buf b;
	const struct hth_yaml_node *root;

	hth_arena_init(&a, 1 << 20);
	if (hth_yaml_parse(text, bytes, "c.yml", &a, &root, &err) != HTH_OK) {
		assert_null(root);
		hth_arena_clear(&a);
		return err.text;
	}
	hth_buf_init(&b, sizeof out - 1);
	show(&b, root);
	memcpy(out, hth_buf_str(&b), b.bytes + 1);
	hth_buf_clear(&b);
	hth_arena_clear(&a);
	return out;
}

#define TREE(text) tree(text, sizeof(text) - 1)

static void values_stay_text_with_their_lines(void **state)
{
	(void)state;
	assert_string_equal(TREE("lr: 2e-4\nflag: no\nempty:\nlist:\n  - 1\n  - 'null'\n  - {k: [a, b]}\n"),
			    "{lr@1=2e-4,flag@2=no,empty@3=,list@4=[1,'null',{k@7=[a,b ] } ] }");
	assert_string_equal(TREE("\xEF\xBB\xBF"
				 "a: \"x\\ty\" # note\r\nb: |\r\n  l1\r\n  l2\r\n"),
			    "{a@1='x\ty',b@2='l1\nl2\n' }");
	assert_string_equal(TREE("- a\n- b\n"), "[a,b ]");
	assert_string_equal(TREE("word"), "word");
	assert_string_equal(TREE("%YAML 1.1\n---\na: 1\n...\n"), "{a@3=1 }");
}

static void an_empty_document_is_an_empty_map(void **state)
{
	(void)state;
	assert_string_equal(TREE(""), "{}");
	assert_string_equal(TREE("# only a comment\n"), "{}");
	assert_string_equal(TREE("---\n"), "{}");
	assert_string_equal(TREE("~"), "{}");
	assert_string_equal(TREE("\xEF\xBB\xBF"), "{}");
}

static void what_a_config_does_not_need_is_refused(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"a: 1\nb: 2\na: 3\n", "c.yml:3: \"a\" is there already, in line 1"},
		{"x: {a: 1, b: 2, a: 3}", "c.yml:1: \"a\" is there already"},
		{"a: &x 1", "c.yml:1: found an anchor"},
		{"&x a: 1", "found an anchor"},
		{"a: &x [1]", "found an anchor"},
		{"a: &x {}", "found an anchor"},
		{"a: 1\nb: *x", "c.yml:2: found an alias"},
		{"*x : 1", "found an alias"},
		{"a: !!int 1", "found a tag"},
		{"a: !x [1]", "found a tag"},
		{"a: !x {}", "found a tag"},
		{"a: ! 1", "found a tag"},
		{"a: 1\n---\nb: 1\n", "c.yml:2: found a second document"},
		{"? [a]\n: 1", "as a key"},
		{"? {a: b}\n: 1", "as a key"},
		{"\"\": 1", "empty key"},
		{"? \n: 1", "empty key"},
		{"a: \"x\\0y\"", "found \\0 in a string"},
		{"\"a\\0\": 1", "found \\0"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (strstr(tree(cases[i].text, strlen(cases[i].text)), cases[i].want) == NULL ||
		    err.status != HTH_ERR_FORMAT)
			fail_msg("%s: %s", cases[i].text, err.text);
}

static void what_is_no_yaml_is_an_error_with_a_line(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"a: [1, 2", "that began in line 1"},
		{"a: 'x", "c.yml:"},
		{"a: \"\\q\"", "c.yml:1:"},
		{"a:\n\t- b", "c.yml:2:"},
		{"a: b: c", "c.yml:1:"},
		{"a: 1\n b: 2", "c.yml:2:"},
		{"]", "c.yml:1:"},
		{"a: }", "c.yml:1:"},
		{"a: 1\nb: 2\nc: \xff", "c.yml:3:"},
		{"a: 1\nb: \x01", "c.yml:2:"},
		{"a: @x", "c.yml:1:"},
		{"a: `x`", "c.yml:1:"},
		{"%BAD\n", "c.yml:"},
		{"a: |9999999999\n x", "c.yml:1:"},
		{"\xff\xfe"
		 "a",
		 "c.yml:1:"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		err.status = HTH_OK;
		const char *got = tree(cases[i].text, strlen(cases[i].text));
		if (strstr(got, cases[i].want) == NULL || err.status != HTH_ERR_FORMAT)
			fail_msg("%s: %s", cases[i].text, got);
	}
}

static void depth_is_bounded(void **state)
{
	char text[400];
	(void)state;
	memset(text, '[', 64);
	memset(text + 64, ']', 64);
	assert_int_equal(tree(text, 128)[0], '[');
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	assert_string_equal(tree(text, 130), "c.yml:1: nested more than 64 deep");
	assert_int_equal(err.status, HTH_ERR_LIMIT);
	/* Far more than the bound ends as early. */
	char *many = hth_alloc(1000000);
	memset(many, '[', 1000000);
	assert_non_null(strstr(tree(many, 1000000), "nested"));
	hth_free(many);
}

static void size_is_bounded(void **state)
{
	struct hth_arena a;
	const struct hth_yaml_node *root;
	(void)state;
	hth_arena_init(&a, 1000);
	size_t bytes = (16u << 20) + 1;
	char *big = hth_calloc(bytes, 1);
	assert_fails(hth_yaml_parse(big, bytes, "c.yml", &a, &root, &err), HTH_ERR_LIMIT, "c.yml: 16777217 bytes");
	memset(big, 'x', 5000);
	assert_fails(hth_yaml_parse(big, 5000, "c.yml", &a, &root, &err), HTH_ERR_MEMORY, "too large for its limit");
	hth_free(big);
	hth_arena_clear(&a);
}

static void many_keys_are_compared_in_reasonable_time(void **state)
{
	struct hth_buf b;
	struct hth_arena a;
	const struct hth_yaml_node *root;
	(void)state;
	hth_buf_init(&b, 1 << 24);
	for (int i = 0; i < 50000; i++)
		hth_buf_printf(&b, "k%d: 1\n", i * 7919 % 50000);
	hth_arena_init(&a, 64 << 20);
	assert_ok(hth_yaml_parse(b.data, b.bytes, "c.yml", &a, &root, &err));
	assert_int_equal(root->n, 50000);
	hth_arena_clear(&a);
	hth_buf_puts(&b, "k777: 2\n");
	assert_fails(hth_yaml_parse(b.data, b.bytes, "c.yml", &a, &root, &err), HTH_ERR_FORMAT,
		     "c.yml:50001: \"k777\" is there already");
	hth_arena_clear(&a);
	hth_buf_clear(&b);
}

static void get_finds_keys_and_null_is_told_from_text(void **state)
{
	struct hth_arena a;
	const struct hth_yaml_node *root;
	static const char text[] = "a: ~\nb: null\nc:\nd: 'null'\ne: x\nf: [1]\ng: \"\"\nh: NULL\ni: nUll\n";
	(void)state;
	hth_arena_init(&a, 1 << 20);
	assert_ok(hth_yaml_parse(text, sizeof text - 1, "c.yml", &a, &root, &err));
	const char *null_keys = "abch", *other_keys = "defgi";
	for (const char *k = null_keys; *k != '\0'; k++)
		assert_true(hth_yaml_is_null(hth_yaml_get(root, (char[]){*k, '\0'})));
	for (const char *k = other_keys; *k != '\0'; k++)
		assert_false(hth_yaml_is_null(hth_yaml_get(root, (char[]){*k, '\0'})));
	assert_null(hth_yaml_get(root, "z"));
	assert_null(hth_yaml_get(hth_yaml_get(root, "e"), "a"));
	assert_null(hth_yaml_get(NULL, "a"));
	assert_int_equal(hth_yaml_get(root, "e")->line, 5);
	hth_arena_clear(&a);
}

static const char sample[] = "# config\nmodel: \"a b\\u00e9\"\nlist:\n  - one\n  - {x: 1, 'y': [2, 3]}\ntext: |\n  "
			     "first\n  second\nfold: >-\n  a\n  b\n"
			     "last: \xc3\xa9\n";

static void no_truncation_crashes_or_leaks(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof sample; n++) {
		char *cut = hth_alloc(n);
		memcpy(cut, sample, n);
		tree(cut, n);
		hth_free(cut);
	}
}

static void no_changed_byte_crashes_or_leaks(void **state)
{
	static const unsigned char bytes[] = {0,   '"', '\'', '[',  '}',  ',', ':',  '-',  '&',
					      '*', '!', '|',  '\t', '\n', '%', 0x80, 0xC3, 0xFF};
	char text[sizeof sample];
	(void)state;
	for (size_t at = 0; at < sizeof sample - 1; at++)
		for (size_t i = 0; i < sizeof bytes; i++) {
			memcpy(text, sample, sizeof text);
			text[at] = (char)bytes[i];
			tree(text, sizeof text - 1);
		}
}

static void each_failing_allocation_is_reported_as_memory(void **state)
{
	(void)state;
	for (uint64_t nth = 1;; nth++) {
		struct hth_arena a;
		const struct hth_yaml_node *root;
		hth_arena_init(&a, 1 << 20);
		hth_mem_fail_at(nth, false);
		enum hth_status status = hth_yaml_parse(sample, sizeof sample - 1, "c.yml", &a, &root, &err);
		hth_mem_fail_at(0, false);
		hth_arena_clear(&a);
		if (status == HTH_OK) {
			assert_true(nth > 8);
			return;
		}
		assert_int_equal(status, HTH_ERR_MEMORY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_stay_text_with_their_lines),
		cmocka_unit_test(an_empty_document_is_an_empty_map),
		cmocka_unit_test(what_a_config_does_not_need_is_refused),
		cmocka_unit_test(what_is_no_yaml_is_an_error_with_a_line),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(size_is_bounded),
		cmocka_unit_test(many_keys_are_compared_in_reasonable_time),
		cmocka_unit_test(get_finds_keys_and_null_is_told_from_text),
		cmocka_unit_test(no_truncation_crashes_or_leaks),
		cmocka_unit_test(no_changed_byte_crashes_or_leaks),
		cmocka_unit_test_teardown(each_failing_allocation_is_reported_as_memory, no_injection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
