/* Unicode classes and NFC: literal cases, and the fixtures' tables where they are unpacked. */
#include "support.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/unicode.h"

static void sets_are_tidied_inverted_and_intersected(void **state)
{
	struct hth_uset s = {0}, t = {0};
	(void)state;
	hth_uset_add(&s, 'x', 'z');
	hth_uset_add(&s, 'a', 'c');
	hth_uset_add(&s, 'd', 'd');
	hth_uset_add(&s, 'b', 'b');
	hth_uset_tidy(&s);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.ranges[0][0], 'a');
	assert_int_equal(s.ranges[0][1], 'd');
	hth_uset_add(&t, 'c', 'y');
	hth_uset_tidy(&t);
	hth_uset_intersect(&t, &s);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.ranges[0][0], 'c');
	assert_int_equal(t.ranges[1][1], 'y');
	hth_uset_invert(&s);
	assert_true(hth_uset_has(&s, 0) && hth_uset_has(&s, 'e') && hth_uset_has(&s, 0x10FFFF));
	assert_false(hth_uset_has(&s, 'd') || hth_uset_has(&s, 'z'));
	hth_uset_clear(&s);
	hth_uset_clear(&t);
}

static bool class_has(const char *name, uint32_t c)
{
	struct hth_uset s = {0};
	assert_true(hth_uset_add_class(&s, name, strlen(name)));
	hth_uset_tidy(&s);
	bool has = hth_uset_has(&s, c);
	hth_uset_clear(&s);
	return has;
}

static void classes_are_those_of_unicode_16(void **state)
{
	struct hth_uset s = {0};
	(void)state;
	assert_true(class_has("L", 'a') && class_has("L", 0x4E00) && class_has("Lu", 0x1C89)); /* 1C89: new in 16 */
	assert_true(class_has("N", 0xBD) && class_has("Nd", 0x10D40) && !class_has("Nd", 0xBD));
	assert_true(class_has("C", 0xD800) && class_has("Cn", 0x378) && class_has("Cc", 7));
	assert_true(class_has("Han", 0x3005) && class_has("tok_numeric", 0x2160) && class_has("tok_punctuation", '$'));
	assert_false(class_has("P", '$') || class_has("Space", 0x200B) || class_has("Word", 0x200D));
	assert_true(hth_unicode_is_space(0x85) && hth_unicode_is_word(0x200D) && hth_unicode_is_word('_'));
	assert_false(hth_uset_add_class(&s, "Klingon", 7));
	assert_false(hth_uset_add_class(&s, "", 0));
	hth_uset_clear(&s);
}

static void assert_nfc(const uint32_t *in, size_t n, const uint32_t *want, size_t n_want)
{
	uint32_t *out = hth_calloc(n * HTH_NFC_ROOM, sizeof(*out));
	assert_non_null(out);
	size_t got = hth_nfc_compose(in, n, out);
	assert_int_equal(got, n_want);
	assert_memory_equal(out, want, n_want * sizeof(*want));
	hth_free(out);
}
#define ASSERT_NFC(in, want) assert_nfc(in, sizeof(in) / 4, want, sizeof(want) / 4)

static void nfc_composes_reorders_and_leaves_exclusions_apart(void **state)
{
	(void)state;
	ASSERT_NFC(((uint32_t[]){'e', 0x301}), ((uint32_t[]){0xE9}));
	ASSERT_NFC(((uint32_t[]){'a', 0x301, 0x323}), ((uint32_t[]){0x1EA1, 0x301}));
	ASSERT_NFC(((uint32_t[]){0x212B}), ((uint32_t[]){0xC5}));
	ASSERT_NFC(((uint32_t[]){0x958}), ((uint32_t[]){0x915, 0x93C}));
	ASSERT_NFC(((uint32_t[]){0x1112, 0x1161, 0x11AB}), ((uint32_t[]){0xD55C}));
	ASSERT_NFC(((uint32_t[]){0xD558, 0x11AB}), ((uint32_t[]){0xD55C}));
	ASSERT_NFC(((uint32_t[]){0x301, 'a'}), ((uint32_t[]){0x301, 'a'}));
	ASSERT_NFC(((uint32_t[]){'U', 0x308, 0x304}), ((uint32_t[]){0x1D5}));
}

/* U+0F81 is a starter and becomes two marks, which are ordered among those before it. */
static void nfc_orders_what_a_tibetan_vowel_becomes(void **state)
{
	static const uint32_t in[] = {0xF40, 0xF74, 0xF81}, want[] = {0xF40, 0xF71, 0xF80, 0xF74};
	uint32_t out[3 * HTH_NFC_ROOM];
	bool may = false;

	(void)state;
	ASSERT_NFC(in, want);
	assert_int_equal(hth_nfc_cluster("\xE0\xBD\x80\xE0\xBD\xB4\xE0\xBE\x81x", 10, &may), 9);
	assert_true(may);
	assert_true(hth_nfd_is_mark(0xF81) && hth_nfd_is_mark(0x301) && !hth_nfd_is_mark('a'));
	assert_int_equal(hth_nfd_decompose(in, 3, out), 4);
	assert_memory_equal(out, want, sizeof want);
}

static void forms_of_single_code_points(void **state)
{
	const uint32_t *with;

	(void)state;
	assert_int_equal(hth_form_of(HTH_FORM_COMPAT, 0xFB01, &with), 2); /* fi */
	assert_true(with[0] == 'f' && with[1] == 'i');
	assert_int_equal(hth_form_of(HTH_FORM_COMPAT, 0xE9, &with), SIZE_MAX);
	assert_int_equal(hth_form_of(HTH_FORM_COMPAT, 0xFDFA, &with), 18);
	assert_int_equal(hth_form_of(HTH_FORM_LOWER, 0x130, &with), 2); /* I with a dot above */
	assert_true(with[0] == 'i' && with[1] == 0x307);
	assert_int_equal(hth_form_of(HTH_FORM_LOWER, 'a', &with), SIZE_MAX);
	assert_int_equal(hth_form_of(HTH_FORM_NMT, 0x7, &with), 0);
	assert_int_equal(hth_form_of(HTH_FORM_NMT, 0x200B, &with), 1);
	assert_int_equal(with[0], ' ');
	assert_int_equal(hth_form_of(HTH_FORM_UNACCENTED, 0x301, &with), 0);
	assert_int_equal(hth_form_of(HTH_FORM_UNACCENTED, 'a', &with), SIZE_MAX);
	assert_int_equal(hth_form_of(HTH_FORM_UNACCENTED, 0x10FFFF, &with), SIZE_MAX);
}

static void nfc_sorts_a_long_run_of_marks(void **state)
{
	enum { N = 200001 };
	uint32_t *in = hth_calloc(N, 4), *out = hth_calloc((size_t)N * HTH_NFC_ROOM, 4);
	(void)state;
	assert_non_null(in);
	assert_non_null(out);
	in[0] = 'q';
	for (int i = 1; i < N; i++)
		in[i] = i % 2 == 1 ? 0x301 : 0x323; /* classes 230 and 220 */
	assert_int_equal(hth_nfc_compose(in, N, out), N);
	assert_int_equal(out[1], 0x323);
	assert_int_equal(out[N / 2], 0x323);
	assert_int_equal(out[N / 2 + 1], 0x301);
	hth_free(in);
	hth_free(out);
}

static void clusters_end_before_what_cannot_combine(void **state)
{
	bool may;
	(void)state;
	assert_int_equal(hth_nfc_cluster("plain text", 10, &may), 10);
	assert_false(may);
	assert_int_equal(hth_nfc_cluster("cafe\xCC\x81s", 7, &may), 3);
	assert_false(may);
	assert_int_equal(hth_nfc_cluster("e\xCC\x81s", 4, &may), 3);
	assert_true(may);
	assert_int_equal(hth_nfc_cluster("\xCC\x81s", 3, &may), 2);
	assert_true(may);
}

/* NFC of a whole text, cluster by cluster, against the composition of all of it at once. */
static void nfc_by_clusters_is_nfc_of_the_whole(void **state)
{
	static const char text[] =
		"Ame\xCC\x81lie \xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB \xE2\x84\xAB\xCC\xA3 \xE0\xA4\x95\xE0\xA4\xBC"
		"\xE3\x81\x8B\xE3\x82\x99\xEF\xA4\x80";
	static const uint32_t want[] = {'A', 'm',    0xE9,  'l', 'i',   'e',   ' ',    0xD55C,
					' ', 0x1EA0, 0x30A, ' ', 0x915, 0x93C, 0x304C, 0x8C48};
	uint32_t cps[64], got[512];
	size_t n = 0, bytes = sizeof(text) - 1;
	(void)state;
	for (size_t at = 0, end; at < bytes; at = end) {
		bool may;
		size_t count = 0;
		end = at + hth_nfc_cluster(text + at, bytes - at, &may);
		for (size_t i = at; i < end;) {
			unsigned char c = (unsigned char)text[i];
			int more = c < 0x80 ? 0 : c < 0xE0 ? 1 : 2;
			uint32_t v = more == 0 ? c : more == 1 ? c & 0x1Fu : c & 0xFu;
			for (int k = 1; k <= more; k++)
				v = v << 6 | ((unsigned char)text[i + (size_t)k] & 0x3Fu);
			cps[count++] = v;
			i += (size_t)more + 1;
		}
		n += hth_nfc_compose(cps, count, got + n);
	}
	assert_int_equal(n, sizeof(want) / sizeof(*want));
	assert_memory_equal(got, want, sizeof(want));
}

static char *read_fixture(const char *name)
{
	char path[512], *data;
	struct hth_err err = {0};
	snprintf(path, sizeof(path), "%s/unicode/%s", fixtures_dir(), name);
	assert_ok(hth_file_read(path, (size_t)1 << 20, &data, &(size_t){0}, &err));
	return data;
}

static void classes_equal_the_fixtures(void **state)
{
	(void)state;
	if (fixtures_dir() == NULL)
		skip_because("the fixtures are not unpacked (HTH_FIXTURES)");
	char *data = read_fixture("classes.tsv"), current[32] = "";
	struct hth_uset ours = {0};
	size_t at = 0, classes = 0;
	for (char *line = data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		char name[32];
		unsigned first, last;
		if (*line == '#')
			continue;
		assert_int_equal(sscanf(line, "%31s %x %x", name, &first, &last), 3);
		if (strcmp(name, current) != 0) {
			assert_int_equal(at, ours.n);
			hth_uset_clear(&ours);
			const char *mine = strcmp(name, "regex_s") == 0             ? "Space"
					   : strcmp(name, "Digits_is_numeric") == 0 ? "tok_numeric"
					   : strcmp(name, "Punctuation") == 0       ? "tok_punctuation"
										    : name;
			assert_true(hth_uset_add_class(&ours, mine, strlen(mine)));
			hth_uset_tidy(&ours);
			snprintf(current, sizeof(current), "%s", name);
			at = 0;
			classes++;
		}
		assert_true(at < ours.n);
		assert_int_equal(ours.ranges[at][0], first);
		assert_int_equal(ours.ranges[at][1], last);
		at++;
	}
	assert_int_equal(at, ours.n);
	assert_true(classes >= 14);
	hth_uset_clear(&ours);
	hth_free(data);
}

static size_t parse_hex_list(const char *s, const char *end, uint32_t *out)
{
	size_t n = 0;
	while (s < end) {
		char *next;
		out[n++] = (uint32_t)strtoul(s, &next, 16);
		s = next + (*next == ' ');
	}
	return n;
}

static void nfc_equals_the_fixtures(void **state)
{
	static const char *const names[] = {"nfc.tsv", "nfc_pairs.tsv"};
	size_t rows = 0;
	(void)state;
	if (fixtures_dir() == NULL)
		skip_because("the fixtures are not unpacked (HTH_FIXTURES)");
	for (size_t k = 0; k < 2; k++) {
		char *data = read_fixture(names[k]);
		for (char *line = data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			uint32_t in[8], want[8];
			char *tab = strchr(line, '\t');
			if (*line == '#')
				continue;
			size_t n = parse_hex_list(line, tab, in), m = parse_hex_list(tab + 1, end, want);
			assert_nfc(in, n, want, m);
			rows++;
		}
		hth_free(data);
	}
	assert_true(rows > 2000);
}

/* A code point that the quick checks call unchanging must not be one that the tables change: all of them. */
static void clusters_never_hide_a_change(void **state)
{
	(void)state;
	for (uint32_t c = 0x80; c < 0x110000; c++) {
		char text[8] = {'x'};
		uint32_t out[2 * HTH_NFC_ROOM], in[2] = {'x', c};
		bool may;
		size_t n = 1;
		if (c >= 0xD800 && c < 0xE000)
			continue;
		if (c < 0x800) {
			text[n++] = (char)(0xC0 | c >> 6);
		} else if (c < 0x10000) {
			text[n++] = (char)(0xE0 | c >> 12);
			text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
		} else {
			text[n++] = (char)(0xF0 | c >> 18);
			text[n++] = (char)(0x80 | (c >> 12 & 0x3F));
			text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
		}
		text[n++] = (char)(0x80 | (c & 0x3F));
		if (hth_nfc_cluster(text, n, &may) == n && !may) {
			assert_int_equal(hth_nfc_compose(in, 2, out), 2);
			assert_int_equal(out[0], 'x');
			assert_int_equal(out[1], c);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_are_tidied_inverted_and_intersected),
		cmocka_unit_test(classes_are_those_of_unicode_16),
		cmocka_unit_test(nfc_composes_reorders_and_leaves_exclusions_apart),
		cmocka_unit_test(nfc_orders_what_a_tibetan_vowel_becomes),
		cmocka_unit_test(forms_of_single_code_points),
		cmocka_unit_test(nfc_sorts_a_long_run_of_marks),
		cmocka_unit_test(clusters_end_before_what_cannot_combine),
		cmocka_unit_test(nfc_by_clusters_is_nfc_of_the_whole),
		cmocka_unit_test(classes_equal_the_fixtures),
		cmocka_unit_test(nfc_equals_the_fixtures),
		cmocka_unit_test(clusters_never_hide_a_change),
	};
	return cmocka_run_group_tests_name("unicode", tests, NULL, NULL);
}
