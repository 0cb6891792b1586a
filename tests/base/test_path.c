#include "base/hash.h"
#include "tempdir.h"

static struct hth_err err;

static void join_puts_one_slash_between(void **state)
{
	static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *p = hth_path_join(cases[i][0], cases[i][1]);
		assert_string_equal(p, cases[i][2]);
		hth_free(p);
	}
	hth_mem_fail_at(1, false);
	assert_null(hth_path_join("a", "b"));
}

static void base_and_suffix_look_at_the_end(void **state)
{
	(void)state;
	assert_string_equal(hth_path_base("a/b.txt"), "b.txt");
	assert_string_equal(hth_path_base("b"), "b");
	assert_string_equal(hth_path_base("a/"), "");
	assert_true(hth_path_has_suffix("m/X.GGUF", ".gguf"));
	assert_false(hth_path_has_suffix("gguf", ".gguf"));
	assert_true(hth_path_has_suffix("x", ""));
}

static void mkdirs_makes_all_and_accepts_what_is_there(void **state)
{
	(void)state;
	assert_ok(hth_mkdirs(temp("a//b/c/"), &err));
	assert_int_equal(hth_path_kind(temp("a/b/c")), HTH_PATH_DIR);
	assert_ok(hth_mkdirs(temp("a/b/c"), &err));
	assert_ok(hth_mkdirs("/", &err));
	assert_ok(hth_file_write(temp("f"), "x", 1, &err));
	assert_fails(hth_mkdirs(temp("f"), &err), HTH_ERR_EXISTS, "f: is a file");
	assert_fails(hth_mkdirs(temp("f/g"), &err), HTH_ERR_EXISTS, "f: is a file");
	assert_fails(hth_mkdirs("", &err), HTH_ERR_USAGE, "not the name of a folder");
	hth_mem_fail_at(1, false);
	assert_fails(hth_mkdirs(temp("z"), &err), HTH_ERR_MEMORY, "out of memory");
}

static void kinds_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(hth_path_kind(temp("none")), HTH_PATH_NONE);
	assert_int_equal(hth_path_kind(temp_dir), HTH_PATH_DIR);
	assert_ok(hth_file_write(temp("f"), "x", 1, &err));
	assert_int_equal(hth_path_kind(temp("f")), HTH_PATH_FILE);
	assert_int_equal(hth_path_kind("/dev/null"), HTH_PATH_OTHER);
}

static void a_listing_is_sorted_by_bytes(void **state)
{
	static const char *const names[] = {"b", "a", "B", "\xc3\xa9", ".hidden", "a.b"};
	static const char *const want[] = {".hidden", "B", "a", "a.b", "b", "\xc3\xa9"};
	char **got;
	size_t n;
	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_ok(hth_file_write(temp(names[i]), "", 0, &err));
	assert_ok(hth_dir_list(temp_dir, &got, &n, &err));
	assert_int_equal(n, 6);
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(got[i], want[i]);
	hth_names_free(got, n);
	hth_names_free(NULL, 0);
	assert_fails(hth_dir_list(temp("none"), &got, &n, &err), HTH_ERR_NOTFOUND, "none: cannot list");
	assert_fails(hth_dir_list(temp("a"), &got, &n, &err), HTH_ERR_IO, "a: cannot list");
	for (uint64_t nth = 1; nth <= 7; nth++) {
		hth_mem_fail_at(nth, false);
		assert_fails(hth_dir_list(temp_dir, &got, &n, &err), HTH_ERR_MEMORY, "out of memory");
		assert_null(got);
	}
}

static void remove_tree_takes_all_and_follows_no_link(void **state)
{
	(void)state;
	assert_ok(hth_mkdirs(temp("t/a/b"), &err));
	assert_ok(hth_mkdirs(temp("keep"), &err));
	assert_ok(hth_file_write(temp("keep/f"), "x", 1, &err));
	assert_ok(hth_file_write(temp("t/a/b/g"), "x", 1, &err));
	assert_int_equal(symlink(temp("keep"), temp("t/a/link")), 0);
	assert_ok(hth_remove_tree(temp("t"), &err));
	assert_int_equal(hth_path_kind(temp("t")), HTH_PATH_NONE);
	assert_content(temp("keep/f"), "x");
	assert_ok(hth_remove_tree(temp("t"), &err));      /* missing is fine */
	assert_ok(hth_remove_tree(temp("keep/f"), &err)); /* a file too */
	assert_int_equal(hth_path_kind(temp("keep/f")), HTH_PATH_NONE);
}

static void remove_tree_refuses_names_that_are_surely_wrong(void **state)
{
	(void)state;
	assert_fails(hth_remove_tree("", &err), HTH_ERR_USAGE, "will not remove");
	assert_fails(hth_remove_tree("/", &err), HTH_ERR_USAGE, "will not remove");
	assert_fails(hth_remove_tree(".", &err), HTH_ERR_USAGE, "will not remove");
	assert_fails(hth_remove_tree(temp(".."), &err), HTH_ERR_USAGE, "will not remove");
}

static void remove_tree_survives_failing_allocations(void **state)
{
	(void)state;
	for (uint64_t nth = 1;; nth++) {
		assert_ok(hth_mkdirs(temp("t/a/b"), &err));
		assert_ok(hth_file_write(temp("t/f"), "x", 1, &err));
		hth_mem_fail_at(nth, false);
		enum hth_status status = hth_remove_tree(temp("t"), &err);
		hth_mem_fail_at(0, false);
		if (status == HTH_OK) {
			assert_true(nth > 3);
			return;
		}
		assert_int_equal(status, HTH_ERR_MEMORY);
	}
}

static void a_tree_too_deep_is_a_limit(void **state)
{
	char path[1024] = "t";
	(void)state;
	for (int i = 0; i < 130; i++)
		snprintf(path + strlen(path), sizeof path - strlen(path), "/d");
	assert_ok(hth_mkdirs(temp(path), &err));
	assert_fails(hth_remove_tree(temp("t"), &err), HTH_ERR_LIMIT, "more than 128 folders deep");
	/* In two bites, so that the teardown can. */
	assert_ok(hth_remove_tree(temp("t/d/d/d/d/d"), &err));
}

static void rename_dir_moves_and_refuses_a_full_target(void **state)
{
	(void)state;
	assert_ok(hth_mkdirs(temp("a"), &err));
	assert_ok(hth_file_write(temp("a/f"), "x", 1, &err));
	assert_ok(hth_rename_dir(temp("a"), temp("b"), &err));
	assert_content(temp("b/f"), "x");
	assert_ok(hth_mkdirs(temp("c"), &err));
	assert_ok(hth_file_write(temp("c/g"), "y", 1, &err));
	assert_fails(hth_rename_dir(temp("b"), temp("c"), &err), HTH_ERR_EXISTS, "b: cannot rename to");
	assert_fails(hth_rename_dir(temp("none"), temp("d"), &err), HTH_ERR_NOTFOUND, "none: cannot rename");
	assert_fails(hth_fsync_dir(temp("none"), &err), HTH_ERR_NOTFOUND, "none: cannot open folder");
}

static void free_space_is_told_for_paths_that_are_not_there_yet(void **state)
{
	uint64_t here = 0, deep = 0, cwd = 0;
	(void)state;
	assert_ok(hth_disk_free(temp_dir, &here, &err));
	assert_ok(hth_disk_free(temp("not/there/yet"), &deep, &err));
	assert_ok(hth_disk_free("not-there-either", &cwd, &err));
	assert_true(here > 0 && cwd > 0);
	/* Others write too: the same within a gigabyte. */
	assert_true(deep < here + 1000000000 && here < deep + 1000000000);
	hth_mem_fail_at(1, false);
	assert_fails(hth_disk_free("x", &cwd, &err), HTH_ERR_MEMORY, "out of memory");
}

/* Values published with xxHash's reference implementation. */
static void xxh3_has_its_known_values(void **state)
{
	(void)state;
	assert_true(hth_hash64("", 0, 0) == 0x2D06800538D394C2);
	assert_true(hth_hash64("a", 1, 0) == 0xE6C632B61E964E1F);
	assert_true(hth_hash64("abc", 3, 0) == 0x78AF5F94892F3950);
	assert_true(hth_hash64("abc", 3, 1) != 0x78AF5F94892F3950);
}

static void a_file_hashes_as_its_bytes_do(void **state)
{
	uint64_t h = 0;
	size_t bytes = 3000001; /* more than one chunk */
	(void)state;
	char *data = hth_alloc(bytes);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)(i * i >> 3);
	assert_ok(hth_file_write(temp("f"), data, bytes, &err));
	assert_ok(hth_hash_file(temp("f"), &h, &err));
	assert_true(h == hth_hash64(data, bytes, 0));
	hth_free(data);
	assert_ok(hth_file_write(temp("e"), "", 0, &err));
	assert_ok(hth_hash_file(temp("e"), &h, &err));
	assert_true(h == 0x2D06800538D394C2);
	assert_fails(hth_hash_file(temp("none"), &h, &err), HTH_ERR_NOTFOUND, "none: cannot open");
	assert_fails(hth_hash_file(temp_dir, &h, &err), HTH_ERR_IO, "is a folder");
	hth_mem_fail_at(1, false);
	assert_fails(hth_hash_file(temp("e"), &h, &err), HTH_ERR_MEMORY, "checksum");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(join_puts_one_slash_between),
		temp_test(base_and_suffix_look_at_the_end),
		temp_test(mkdirs_makes_all_and_accepts_what_is_there),
		temp_test(kinds_are_told_apart),
		temp_test(a_listing_is_sorted_by_bytes),
		temp_test(remove_tree_takes_all_and_follows_no_link),
		temp_test(remove_tree_refuses_names_that_are_surely_wrong),
		temp_test(remove_tree_survives_failing_allocations),
		temp_test(a_tree_too_deep_is_a_limit),
		temp_test(rename_dir_moves_and_refuses_a_full_target),
		temp_test(free_space_is_told_for_paths_that_are_not_there_yet),
		cmocka_unit_test(xxh3_has_its_known_values),
		temp_test(a_file_hashes_as_its_bytes_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
