/* Patterns and pre-tokenizer steps on small texts: what is cut where, and what is refused. The literal pieces are those
 * of the tokenizers library 0.23.3 (Split, Digits, ByteLevel of the same settings). */
#include "support.h"

#include "base/mem.h"
#include "text/pretok.h"

/* Pieces joined by '|'. */
static void cut(const struct hth_pretok *p, const char *text, char *out, size_t cap)
{
	struct hth_pretok_work w = {0};
	struct hth_aligned a = {.text = text, .bytes = strlen(text), .starts_input = true};
	struct hth_err err = {0};
	size_t n = 0;
	assert_ok(hth_pretok_run(p, &w, &a, &err));
	for (size_t i = 0; i < w.n; i++) {
		size_t bytes = w.pieces[i].end - w.pieces[i].start;
		assert_true(n + bytes + 2 < cap);
		if (i > 0)
			out[n++] = '|';
		memcpy(out + n, w.text.text + w.pieces[i].start, bytes);
		n += bytes;
	}
	out[n] = '\0';
	hth_pretok_work_clear(&w);
}

static void assert_split(const char *pattern, enum hth_split split, bool invert, const char *text, const char *want)
{
	struct hth_pretok p = {0};
	struct hth_arena arena;
	struct hth_err err = {0};
	char got[512];
	hth_arena_init(&arena, (size_t)1 << 26);
	assert_ok(hth_pretok_add_split(&p, &arena, pattern, strlen(pattern), split, invert, "test", &err));
	cut(&p, text, got, sizeof(got));
	assert_string_equal(got, want);
	hth_pretok_clear(&p);
	hth_arena_clear(&arena);
}

static void assert_refused(const char *pattern, enum hth_status status, const char *part)
{
	struct hth_pretok p = {0};
	struct hth_arena arena;
	struct hth_err err = {0};
	hth_arena_init(&arena, (size_t)1 << 26);
	assert_fails(hth_pretok_add_split(&p, &arena, pattern, strlen(pattern), HTH_SPLIT_ISOLATED, false, "f.json: k",
					  &err),
		     status, part);
	assert_non_null(strstr(err.text, "f.json: k"));
	hth_pretok_clear(&p);
	hth_arena_clear(&arena);
}

static void each_behavior_joins_matches_as_named(void **state)
{
	(void)state;
	assert_split("-", HTH_SPLIT_ISOLATED, false, "-a--b-", "-|a|-|-|b|-");
	assert_split("-", HTH_SPLIT_REMOVED, false, "-a--b-", "a|b");
	assert_split("-", HTH_SPLIT_CONTIGUOUS, false, "-a--b-", "-|a|--|b|-");
	assert_split("-", HTH_SPLIT_PREVIOUS, false, "-a--b-", "-|a-|-|b-");
	assert_split("-", HTH_SPLIT_NEXT, false, "-a--b-", "-a|-|-b|-");
	assert_split("[a-z]+", HTH_SPLIT_REMOVED, true, "-a--b-", "a|b");
}

static void classes_escapes_and_groups_are_understood(void **state)
{
	(void)state;
	assert_split("(?i:'s|'t)", HTH_SPLIT_ISOLATED, false, "a'S'\xC5\xBF't's", "a|'S|'\xC5\xBF|'t|'s");
	assert_split("\\p{Lu}\\p{^Lu}", HTH_SPLIT_ISOLATED, false,
		     "\xC3\x84"
		     "bcD1",
		     "\xC3\x84"
		     "b|c|D1");
	assert_split("[\\p{L}&&[^a-c]]+", HTH_SPLIT_ISOLATED, false, "abcdefab", "abc|def|ab");
	assert_split("[^\\s\\d]+", HTH_SPLIT_ISOLATED, false, "ab1 \xE5\xAD\x97", "ab|1 |\xE5\xAD\x97");
	assert_split("[]-]", HTH_SPLIT_ISOLATED, false, "a]b-c", "a|]|b|-|c");
	assert_split("[\\]\\-x]", HTH_SPLIT_ISOLATED, false, "a]b-cx", "a|]|b|-|c|x");
	assert_split("\\x41|\\u4e00|\\x{1F600}", HTH_SPLIT_ISOLATED, false, "bAb\xE4\xB8\x80\xF0\x9F\x98\x80",
		     "b|A|b|\xE4\xB8\x80|\xF0\x9F\x98\x80");
	assert_split("a{2}", HTH_SPLIT_ISOLATED, false, "aaab{2}", "aa|ab{2}");
	assert_split("b{,2}c|x{y", HTH_SPLIT_ISOLATED, false, "bbbc", "b|bbc");
	assert_split("(?:a{1,2})+b", HTH_SPLIT_ISOLATED, false, "aaaabx", "aaaab|x");
	assert_split("a{1,2}+b", HTH_SPLIT_ISOLATED, false, "aaaabx", "aaaab|x"); /* a repeated count, not possessive */
	assert_split("a++a|.", HTH_SPLIT_ISOLATED, false, "aa\nb", "a|a|\n|b");   /* possessive */
	assert_split("(?<=a)b|(?<!a)c(?=d)|e(?!f)", HTH_SPLIT_ISOLATED, false, "abaccdef e", "a|b|ac|c|def |e");
	assert_split("^b|b$", HTH_SPLIT_ISOLATED, false, "bab\nb-b", "b|a|b|\n|b|-|b");
	assert_split("(?i)ab(?-i:c)d", HTH_SPLIT_ISOLATED, false, "ABcD ABCD", "ABcD| ABCD");
	assert_split("x*", HTH_SPLIT_ISOLATED, false, "axxb", "a|xx|b");
}

static void what_is_not_understood_is_refused_by_name(void **state)
{
	(void)state;
	assert_refused("(a)\\1", HTH_ERR_UNAVAILABLE, "escape at byte 4");
	assert_refused("\\bx", HTH_ERR_UNAVAILABLE, "escape");
	assert_refused("\\p{Klingon}", HTH_ERR_UNAVAILABLE, "property");
	assert_refused("(?<n>a)", HTH_ERR_UNAVAILABLE, "group");
	assert_refused("(?i:\xC3\xA4)", HTH_ERR_UNAVAILABLE, "beyond ASCII");
	assert_refused("[[:upper:]]", HTH_ERR_UNAVAILABLE, "bracket");
	assert_refused("[[[[[[[[[[a]]]]]]]]]]", HTH_ERR_UNAVAILABLE, "nested");
	assert_refused("(", HTH_ERR_FORMAT, "without )");
	assert_refused(")", HTH_ERR_FORMAT, "without (");
	assert_refused("[a", HTH_ERR_FORMAT, "without ]");
	assert_refused("[z-a]", HTH_ERR_FORMAT, "range");
	assert_refused("*a", HTH_ERR_FORMAT, "repeat of nothing");
	assert_refused("a{5000}", HTH_ERR_FORMAT, "above 1000");
	assert_refused("\\", HTH_ERR_FORMAT, "backslash");
	assert_refused("\xFF", HTH_ERR_FORMAT, "UTF-8");
	assert_refused("(?<=a+)b", HTH_ERR_FORMAT, "lookbehind");
}

static void a_hopeless_pattern_ends_in_an_error(void **state)
{
	struct hth_pretok p = {0};
	struct hth_pretok_work w = {0};
	struct hth_arena arena;
	struct hth_err err = {0};
	char text[64];
	(void)state;
	hth_arena_init(&arena, (size_t)1 << 26);
	memset(text, 'a', sizeof(text));
	text[63] = 'c';
	assert_ok(hth_pretok_add_split(&p, &arena, "(a|a)*bc", 8, HTH_SPLIT_ISOLATED, false, "test", &err));
	struct hth_aligned a = {.text = text, .bytes = sizeof(text)};
	assert_fails(hth_pretok_run(&p, &w, &a, &err), HTH_ERR_LIMIT, "gave up");
	hth_pretok_work_clear(&w);
	hth_pretok_clear(&p);
	hth_arena_clear(&arena);
}

static void assert_gguf(const char *name, const char *text, const char *want)
{
	struct hth_pretok p = {0};
	struct hth_pretok_traits traits;
	struct hth_arena arena;
	struct hth_err err = {0};
	char got[512];
	hth_arena_init(&arena, (size_t)1 << 26);
	assert_ok(hth_pretok_from_gguf(name, &p, &arena, &traits, &err));
	cut(&p, text, got, sizeof(got));
	assert_string_equal(got, want);
	hth_pretok_clear(&p);
	hth_arena_clear(&arena);
}

static void gguf_names_give_the_families_words(void **state)
{
	(void)state;
	assert_gguf("gpt-2", "I'll pay 1234 now!!  ok\n", "I|'ll| pay| 1234| now|!!| | ok|\n");
	assert_gguf("smollm", "I'll pay 1234", "I|'ll| pay| |1|2|3|4");
	assert_gguf("llama-bpe", "I'LL pay 12345\n\n x", "I|'LL| pay| |123|45|\n\n| x");
	assert_gguf("qwen2", "a_b 123", "a|_b| |1|2|3");
	assert_gguf("falcon", "ab 12345!?x", "ab| |123|45|!?|x");
	/* Digits come after the bytes: the second byte of U+00BD is a digit's stand-in. */
	assert_gguf("falcon", "\xC2\xBD", "\xC2|\xBD");
	assert_gguf("tekken", "helloWorld HTTPx", "hello|World| HTTPx");
	assert_gguf("deepseek-v3", "12345\xE5\xAD\x97\xE3\x81\x82x", "123|45|\xE5\xAD\x97\xE3\x81\x82|x");
}

static void an_unknown_gguf_name_is_refused(void **state)
{
	struct hth_pretok p = {0};
	struct hth_pretok_traits traits;
	struct hth_arena arena;
	struct hth_err err = {0};
	(void)state;
	hth_arena_init(&arena, (size_t)1 << 20);
	assert_fails(hth_pretok_from_gguf("klingon", &p, &arena, &traits, &err), HTH_ERR_UNAVAILABLE, "klingon");
	hth_arena_clear(&arena);
}

static void metaspace_writes_signs_and_keeps_origins(void **state)
{
	struct hth_pretok p = {0};
	struct hth_pretok_work w = {0};
	struct hth_arena arena;
	struct hth_err err = {0};
	struct hth_aligned a = {.text = "a b", .bytes = 3, .starts_input = true};
	(void)state;
	hth_arena_init(&arena, (size_t)1 << 26);
	assert_ok(hth_pretok_add_metaspace(&p, &arena, HTH_PREPEND_FIRST, true, "test", &err));
	assert_ok(hth_pretok_run(&p, &w, &a, &err));
	assert_int_equal(w.n, 2);
	assert_int_equal(w.text.bytes, 8);
	assert_memory_equal(w.text.text,
			    "\xE2\x96\x81"
			    "a\xE2\x96\x81"
			    "b",
			    8);
	assert_int_equal(w.pieces[1].start, 4);
	assert_int_equal(hth_aligned_from(&w.text, 0), 0);
	assert_int_equal(hth_aligned_to(&w.text, 2), 0);
	assert_int_equal(hth_aligned_to(&w.text, 3), 1);
	assert_int_equal(hth_aligned_from(&w.text, 4), 1);
	assert_int_equal(hth_aligned_to(&w.text, 6), 2);
	a.starts_input = false;
	assert_ok(hth_pretok_run(&p, &w, &a, &err));
	assert_int_equal(w.text.bytes, 5);
	hth_pretok_work_clear(&w);
	hth_pretok_clear(&p);
	hth_arena_clear(&arena);
}

static void stand_ins_are_a_bijection(void **state)
{
	(void)state;
	for (int b = 0; b < 256; b++)
		assert_int_equal(hth_stand_in_byte(hth_byte_stand_in((unsigned char)b)), b);
	assert_int_equal(hth_byte_stand_in(' '), 0x120);
	assert_int_equal(hth_stand_in_byte(' '), -1);
	assert_int_equal(hth_stand_in_byte(0x144), -1);
}

static void failed_allocations_are_errors(void **state)
{
	struct hth_err err = {0};
	enum hth_status st = HTH_ERR_MEMORY;
	(void)state;
	for (uint64_t n = 1; st != HTH_OK && n < 2000; n++) {
		struct hth_pretok p = {0};
		struct hth_pretok_work w = {0};
		struct hth_arena arena;
		struct hth_pretok_traits traits;
		struct hth_aligned a = {.text = "I'll pay 12", .bytes = 11};
		hth_arena_init(&arena, (size_t)1 << 26);
		hth_mem_fail_at(n, true);
		st = hth_pretok_from_gguf("llama-bpe", &p, &arena, &traits, &err);
		if (st == HTH_OK)
			st = hth_pretok_run(&p, &w, &a, &err);
		hth_mem_fail_at(0, false);
		assert_true(st == HTH_OK || st == HTH_ERR_MEMORY);
		hth_pretok_work_clear(&w);
		hth_pretok_clear(&p);
		hth_arena_clear(&arena);
	}
	assert_int_equal(st, HTH_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_behavior_joins_matches_as_named),
		cmocka_unit_test(classes_escapes_and_groups_are_understood),
		cmocka_unit_test(what_is_not_understood_is_refused_by_name),
		cmocka_unit_test(a_hopeless_pattern_ends_in_an_error),
		cmocka_unit_test(gguf_names_give_the_families_words),
		cmocka_unit_test(an_unknown_gguf_name_is_refused),
		cmocka_unit_test(metaspace_writes_signs_and_keeps_origins),
		cmocka_unit_test(stand_ins_are_a_bijection),
		cmocka_unit_test(failed_allocations_are_errors),
	};
	return cmocka_run_group_tests_name("pretok", tests, NULL, NULL);
}
