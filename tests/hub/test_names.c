/* Names of models, names that servers give to files, and the choice of files by name. */
#include "support.h"

#include "base/mem.h"
#include "hub/hub_int.h"

static void assert_name(const char *text, const char *repo, const char *revision, const char *pick)
{
	struct hth_hub_name n;
	struct hth_err err = {0};

	assert_ok(hth_hub_name_parse(text, &n, &err));
	assert_string_equal(n.repo, repo);
	assert_string_equal(n.revision, revision);
	assert_string_equal(n.pick, pick);
}

static void a_name_has_up_to_four_parts(void **state)
{
	(void)state;
	assert_name("gpt2", "gpt2", "main", "");
	assert_name("Qwen/Qwen2.5-0.5B_x", "Qwen/Qwen2.5-0.5B_x", "main", "");
	assert_name("a/b:q4_k_m", "a/b", "main", "q4_k_m");
	assert_name("a/b:sub/x.gguf", "a/b", "main", "sub/x.gguf");
	assert_name("a/b@v1.0", "a/b", "v1.0", "");
	assert_name("a/b@refs/pr/3:f@1:2", "a/b", "refs/pr/3", "f@1:2");
}

static void what_is_no_name_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "/", "a/", "/b", "a/b/c", "../b", "a/..", ".a/b", "a/b.", "-a/b", "a/b-", "a--b/c", "a/b..c", "a b/c",
		"a/b.git", "a/b:", "a/b:../x", "a/b:/x", "a/b@", "a/b@..", "a/b@x y", "a/b@../../x", "a/b@/x", "a\n/b",
		"./model.gguf", "~/model", "caf\xC3\xA9/x", "a/b@x^{tree}", "https://huggingface.co/a/b",
	};
	char longest[128];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (hth_hub_is_name(bad[i]))
			fail_msg("\"%s\" was taken for a name", bad[i]);
	memset(longest, 'a', sizeof longest);
	longest[96] = '\0';
	assert_true(hth_hub_is_name(longest));
	longest[96] = 'a';
	longest[97] = '\0';
	assert_false(hth_hub_is_name(longest));
}

static void paths_stay_below_their_folder(void **state)
{
	static const char *const good[] = {"a", "a/b/c.txt", "...", ".gitattributes", "a..b", "\xC3\xA9.json", "a b"};
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/../b", "a\\b", "a\tb",
					  "a\x7f", "\xff", "\xC0\xAF"};
	char text[1200];
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(hth_hub_path_ok(good[i], strlen(good[i]), NULL));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(hth_hub_path_ok(bad[i], strlen(bad[i]), &why));
		assert_non_null(why);
	}
	assert_false(hth_hub_path_ok("a\0b", 3, NULL));
	memset(text, 'a', sizeof text);
	assert_true(hth_hub_path_ok(text, 255, NULL));
	assert_false(hth_hub_path_ok(text, 256, NULL));
	for (size_t i = 1; i < sizeof text; i += 2)
		text[i] = '/';
	assert_true(hth_hub_path_ok(text, 63, NULL));
	assert_false(hth_hub_path_ok(text, 1023, NULL)); /* deeper than any repository */
	memset(text, 'a', sizeof text);
	for (size_t i = 200; i < sizeof text; i += 200)
		text[i] = '/';
	assert_true(hth_hub_path_ok(text, 1023, NULL));
	assert_false(hth_hub_path_ok(text, 1024, NULL));
}

/* Chooses among up to 16 files of 1000 bytes; the chosen ones as "x" in a string. */
static enum hth_status choose(const char *const *paths, const char *pick, char marks[17], const char **main_path,
			      struct hth_err *err)
{
	struct hth_hub_file files[16] = {0};
	bool want[16];
	size_t n = 0, main_file;

	for (; paths[n] != NULL; n++) {
		snprintf(files[n].hash, sizeof files[n].hash, "%zu", n);
		files[n].bytes = 1000;
		files[n].path = hth_strdup(paths[n]);
	}
	enum hth_status s = hth_hub_choose(files, n, "a/b", pick, want, &main_file, err);
	for (size_t i = 0; i < n; i++) {
		marks[i] = want[i] ? 'x' : '.';
		hth_free(files[i].path);
	}
	marks[n] = '\0';
	*main_path = s == HTH_OK && main_file != SIZE_MAX ? paths[main_file] : "";
	return s;
}

static const char *const ggufs[] = {
	"README.md",          "m-Q4_K_M.gguf",       "m-Q4_K_S.gguf",        "m-IQ4_XS.gguf", "m.f16.gguf",
	"big/m-Q8_0-00001-of-00002.gguf", "big/m-Q8_0-00002-of-00002.gguf", "mmproj-m-f16.gguf", "m.imatrix.gguf", NULL,
};

static void a_quantisation_is_a_word_of_the_name(void **state)
{
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_ok(choose(ggufs, "q4_k_m", marks, &main_path, &err));
	assert_string_equal(marks, ".x.......");
	assert_string_equal(main_path, "m-Q4_K_M.gguf");
	assert_ok(choose(ggufs, "Q8_0", marks, &main_path, &err));
	assert_string_equal(marks, ".....xx..");
	assert_string_equal(main_path, "big/m-Q8_0-00001-of-00002.gguf");
	assert_ok(choose(ggufs, "F16", marks, &main_path, &err));
	assert_string_equal(main_path, "m.f16.gguf");
	assert_fails(choose(ggufs, "q4_k", marks, &main_path, &err), HTH_ERR_NOTFOUND, "m-Q4_K_M.gguf (1.0 KB)");
	assert_fails(choose(ggufs, "4_xs", marks, &main_path, &err), HTH_ERR_NOTFOUND, "there are");
}

static void a_file_is_chosen_by_its_whole_name(void **state)
{
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_ok(choose(ggufs, "README.md", marks, &main_path, &err));
	assert_string_equal(marks, "x........");
	assert_ok(choose(ggufs, "big/m-Q8_0-00002-of-00002.gguf", marks, &main_path, &err));
	assert_string_equal(marks, ".....xx..");
	assert_string_equal(main_path, "big/m-Q8_0-00001-of-00002.gguf");
	assert_ok(choose(ggufs, "mmproj-m-f16.gguf", marks, &main_path, &err));
	assert_string_equal(main_path, "mmproj-m-f16.gguf");
	assert_fails(choose(ggufs, "m-Q4_K_N.gguf", marks, &main_path, &err), HTH_ERR_NOTFOUND,
		     "did you mean m-Q4_K_M.gguf?");
}

static void several_ggufs_are_listed_with_their_sizes(void **state)
{
	static const char *const twice[] = {"a-q4_0.gguf", "b-q4_0.gguf", "c-q8_0.gguf", NULL};
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_fails(choose(ggufs, "", marks, &main_path, &err), HTH_ERR_USAGE,
		     "which one? Give a quantisation or a file after a colon: m-Q4_K_M.gguf (1.0 KB), m-Q4_K_S.gguf");
	assert_non_null(strstr(err.text, "big/m-Q8_0-00001-of-00002.gguf (2.0 KB)"));
	assert_null(strstr(err.text, "mmproj"));
	assert_fails(choose(twice, "q4_0", marks, &main_path, &err), HTH_ERR_USAGE,
		     "a-q4_0.gguf (1.0 KB), b-q4_0.gguf (1.0 KB)");
	assert_null(strstr(err.text, "c-q8_0"));
}

static void a_split_file_with_a_piece_missing_is_not_taken(void **state)
{
	static const char *const paths[] = {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "m-00002-of-00004.gguf",
					    "n-00002-of-00003.gguf", NULL};
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_fails(choose(paths, "", marks, &main_path, &err), HTH_ERR_NOTFOUND, "2 of 3 pieces");
}

static void safetensors_come_with_what_they_need_and_no_more(void **state)
{
	static const char *const paths[] = {
		"model.safetensors", "config.json",    "tokenizer.json",    "chat_template.jinja", "LICENSE",
		"README.md",         "pytorch_model.bin", "model.fp16.safetensors", "consolidated.safetensors",
		"onnx/model.safetensors", "m-q4_0.gguf", "training_args.bin", "vocab.json", NULL,
	};
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_ok(choose(paths, "", marks, &main_path, &err));
	assert_string_equal(marks, "xxxxx.......x");
	assert_string_equal(main_path, "");
	assert_ok(choose(paths, "q4_0", marks, &main_path, &err));
	assert_string_equal(marks, "..........x..");
}

static void an_adapter_repository_is_taken_whole(void **state)
{
	static const char *const paths[] = {"adapter_config.json", "adapter_model.safetensors", "README.md", NULL};
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_ok(choose(paths, "", marks, &main_path, &err));
	assert_string_equal(marks, "xx.");
}

static void pickles_are_not_models(void **state)
{
	static const char *const paths[] = {"pytorch_model.bin", "config.json", NULL};
	static const char *const none[] = {"config.json", NULL};
	struct hth_err err = {0};
	char marks[17];
	const char *main_path;

	(void)state;
	assert_fails(choose(paths, "", marks, &main_path, &err), HTH_ERR_NOTFOUND, "Python pickles");
	assert_fails(choose(none, "", marks, &main_path, &err), HTH_ERR_NOTFOUND, "is it a model?");
	assert_fails(choose(none, "q4_0", marks, &main_path, &err), HTH_ERR_NOTFOUND, "there is no GGUF file at all");
}

static void a_listing_cut_anywhere_is_refused(void **state)
{
	static const char text[] = "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"ce013625030ba8dba906f756967f9e9ca"
				   "394464a\"},{\"type\":\"directory\",\"path\":\"b\"},{\"type\":\"file\",\"path\":\"c\",\"oid\":"
				   "\"x\",\"size\":9,\"lfs\":{\"oid\":\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e74"
				   "6f6be03\",\"size\":4}}]";
	struct hth_hub_listing l = {0};
	struct hth_err err = {0};

	(void)state;
	for (size_t n = 0; n + 1 < sizeof text; n++) {
		if (hth_hub_list_parse(&l, text, n, "x", &err) == HTH_OK)
			fail_msg("%zu bytes were a listing", n);
		hth_hub_listing_clear(&l);
	}
	assert_ok(hth_hub_list_parse(&l, text, sizeof text - 1, "x", &err));
	assert_int_equal(l.n, 2);
	assert_string_equal(l.files[1].hash, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e746f6be03");
	assert_int_equal(l.files[1].bytes, 4);
	hth_hub_listing_clear(&l);
}

static void a_listing_without_memory_leaks_nothing(void **state)
{
	static const char text[] = "[{\"path\":\"a.gguf\",\"size\":3,\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"},"
				   "{\"path\":\"b.gguf\",\"size\":3,\"oid\":\"ce013625030ba8dba906f756967f9e9ca394464a\"}]";
	struct hth_err err = {0};
	int fails = 0;

	(void)state;
	for (uint64_t nth = 1; nth < 500; nth++) {
		struct hth_hub_listing l = {0};
		bool want[2];
		size_t main_file;
		hth_mem_fail_at(nth, true);
		enum hth_status s = hth_hub_list_parse(&l, text, sizeof text - 1, "x", &err);
		if (s == HTH_OK)
			s = hth_hub_choose(l.files, l.n, "a/b", "", want, &main_file, &err);
		hth_mem_fail_at(0, false);
		hth_hub_listing_clear(&l);
		if (s == HTH_ERR_USAGE)
			break; /* "which one?": nothing failed any more, or only the message's list */
		assert_int_equal(s, HTH_ERR_MEMORY);
		fails++;
	}
	assert_true(fails > 3 && fails < 499);
}

static void a_piece_says_its_number_and_how_many_there_are(void **state)
{
	unsigned index, count;
	size_t stem;

	(void)state;
	assert_true(hth_hub_split_parse("x-00002-of-00010.gguf", &index, &count, &stem));
	assert_int_equal(index, 2);
	assert_int_equal(count, 10);
	assert_int_equal(stem, 1);
	assert_false(hth_hub_split_parse("x-00000-of-00010.gguf", &index, &count, &stem));
	assert_false(hth_hub_split_parse("x-00011-of-00010.gguf", &index, &count, &stem));
	assert_false(hth_hub_split_parse("x-2-of-10.gguf", &index, &count, &stem));
	assert_false(hth_hub_split_parse(".gguf", &index, &count, &stem));
	assert_false(hth_hub_split_parse("00001-of-00001.gguf", &index, &count, &stem));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_has_up_to_four_parts),
		cmocka_unit_test(what_is_no_name_is_refused),
		cmocka_unit_test(paths_stay_below_their_folder),
		cmocka_unit_test(a_quantisation_is_a_word_of_the_name),
		cmocka_unit_test(a_file_is_chosen_by_its_whole_name),
		cmocka_unit_test(several_ggufs_are_listed_with_their_sizes),
		cmocka_unit_test(a_split_file_with_a_piece_missing_is_not_taken),
		cmocka_unit_test(safetensors_come_with_what_they_need_and_no_more),
		cmocka_unit_test(an_adapter_repository_is_taken_whole),
		cmocka_unit_test(pickles_are_not_models),
		cmocka_unit_test(a_listing_cut_anywhere_is_refused),
		cmocka_unit_test(a_listing_without_memory_leaks_nothing),
		cmocka_unit_test(a_piece_says_its_number_and_how_many_there_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
