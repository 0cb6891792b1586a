#include "tempdir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static struct hth_err err;

static void a_map_shows_the_file_and_closes_twice(void **state)
{
	struct hth_map m;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "hello", 5, &err));
	assert_ok(hth_map_open(&m, temp("a"), &err));
	assert_int_equal(m.bytes, 5);
	assert_memory_equal(m.data, "hello", 5);
	assert_string_equal(m.path, temp("a"));
	hth_map_close(&m);
	hth_map_close(&m);
	assert_null(m.data);
}

static void an_empty_file_maps_to_null(void **state)
{
	struct hth_map m;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "", 0, &err));
	assert_ok(hth_map_open(&m, temp("a"), &err));
	assert_null(m.data);
	assert_int_equal(m.bytes, 0);
	hth_map_close(&m);
}

static void what_is_no_regular_file_is_refused_without_blocking(void **state)
{
	struct hth_map m;
	char *data;
	size_t n;
	(void)state;
	assert_int_equal(mkfifo(temp("fifo"), 0600), 0);
	assert_fails(hth_map_open(&m, temp("fifo"), &err), HTH_ERR_IO, "fifo: is a FIFO, expected a regular file");
	assert_null(m.path);
	assert_fails(hth_map_open(&m, temp_dir, &err), HTH_ERR_IO, "is a folder");
	assert_fails(hth_file_read("/dev/null", 10, &data, &n, &err), HTH_ERR_IO, "is a device");
	assert_fails(hth_map_open(&m, temp("none"), &err), HTH_ERR_NOTFOUND, "none: cannot open: No such file");
	assert_fails(hth_file_read(temp("none/x"), 10, &data, &n, &err), HTH_ERR_NOTFOUND, "none/x: cannot open");
	assert_null(data);
}

static void a_read_is_bounded_exactly(void **state)
{
	char *data;
	size_t n;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "12345", 5, &err));
	assert_ok(hth_file_read(temp("a"), 5, &data, &n, &err));
	assert_string_equal(data, "12345");
	assert_int_equal(n, 5);
	hth_free(data);
	assert_fails(hth_file_read(temp("a"), 4, &data, &n, &err), HTH_ERR_LIMIT, "a: 5 bytes, larger than 4");
	assert_ok(hth_file_write(temp("b"), "", 0, &err));
	assert_ok(hth_file_read(temp("b"), 0, &data, &n, &err));
	assert_string_equal(data, "");
	hth_free(data);
}

#ifdef __linux__
static void a_file_that_claims_size_zero_is_read_to_its_end(void **state)
{
	char *data;
	size_t n;
	(void)state;
	assert_ok(hth_file_read("/proc/self/maps", 1 << 20, &data, &n, &err));
	assert_true(n > 100);
	hth_free(data);
	assert_fails(hth_file_read("/proc/self/maps", 50, &data, &n, &err), HTH_ERR_LIMIT, "larger than 50 bytes");
}
#endif

static void the_target_is_untouched_until_commit(void **state)
{
	struct hth_writer w;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "old", 3, &err));
	assert_ok(hth_writer_open(&w, temp("a"), &err));
	assert_ok(hth_writer_write(&w, "new text", 8, &err));
	fflush(w.out);
	assert_content(temp("a"), "old");
	assert_int_equal(temp_count(), 2);
	assert_ok(hth_writer_commit(&w, &err));
	assert_content(temp("a"), "new text");
	assert_int_equal(temp_count(), 1);
	hth_writer_abort(&w); /* safe after commit */
	memset(&w, 0, sizeof w);
	hth_writer_abort(&w);
}

static void memory_that_runs_out_in_commit_leaves_the_old_file(void **state)
{
	struct hth_writer w;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "old", 3, &err));
	assert_ok(hth_writer_open(&w, temp("a"), &err));
	assert_ok(hth_writer_write(&w, "new", 3, &err));
	hth_mem_fail_at(1, false);
	assert_fails(hth_writer_commit(&w, &err), HTH_ERR_MEMORY, "folder");
	hth_mem_fail_at(0, false);
	assert_content(temp("a"), "old");
	assert_int_equal(temp_count(), 1);
}

static void abort_leaves_the_old_file_and_nothing_else(void **state)
{
	struct hth_writer w;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "old", 3, &err));
	assert_ok(hth_writer_open(&w, temp("a"), &err));
	assert_ok(hth_writer_write(&w, "new", 3, &err));
	hth_writer_abort(&w);
	assert_content(temp("a"), "old");
	assert_int_equal(temp_count(), 1);
}

static void padding_fills_with_zeros_to_the_multiple(void **state)
{
	struct hth_writer w;
	char *data;
	size_t n;
	(void)state;
	assert_ok(hth_writer_open(&w, temp("a"), &err));
	assert_ok(hth_writer_pad(&w, 32, &err)); /* nothing yet */
	assert_ok(hth_writer_write(&w, "x", 1, &err));
	assert_ok(hth_writer_pad(&w, 1024, &err));
	assert_int_equal(w.bytes, 1024);
	assert_fails(hth_writer_pad(&w, 3, &err), HTH_ERR_LIMIT, "cannot pad");
	assert_ok(hth_writer_commit(&w, &err));
	assert_ok(hth_file_read(temp("a"), 2000, &data, &n, &err));
	assert_int_equal(n, 1024);
	assert_int_equal(data[0], 'x');
	for (size_t i = 1; i < n; i++)
		assert_int_equal(data[i], 0);
	hth_free(data);
}

static void the_mode_follows_the_umask(void **state)
{
	struct stat st;
	(void)state;
	mode_t old = umask(027);
	assert_ok(hth_file_write(temp("a"), "x", 1, &err));
	umask(old);
	assert_int_equal(stat(temp("a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

static void a_target_that_is_no_file_is_refused(void **state)
{
	struct hth_writer w;
	(void)state;
	assert_fails(hth_writer_open(&w, temp_dir, &err), HTH_ERR_EXISTS, "is a folder");
	assert_fails(hth_writer_open(&w, "/dev/null", &err), HTH_ERR_EXISTS, "/dev/null: is a device");
	assert_fails(hth_writer_open(&w, temp("x/"), &err), HTH_ERR_USAGE, "is not the name of a file");
	assert_fails(hth_writer_open(&w, temp("no/such/folder"), &err), HTH_ERR_IO, "no/such/folder: cannot create");
	assert_null(w.path);
}

static void a_link_is_replaced_and_not_its_target(void **state)
{
	struct stat st;
	(void)state;
	assert_ok(hth_file_write(temp("blob"), "shared", 6, &err));
	assert_int_equal(symlink(temp("blob"), temp("link")), 0);
	assert_ok(hth_file_write(temp("link"), "mine", 4, &err));
	assert_content(temp("blob"), "shared");
	assert_content(temp("link"), "mine");
	assert_int_equal(lstat(temp("link"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void the_longest_name_can_be_written(void **state)
{
	char name[256];
	(void)state;
	memset(name, 'n', 255);
	name[255] = '\0';
	assert_ok(hth_file_write(temp(name), "x", 1, &err));
	assert_content(temp(name), "x");
}

/* A limit on the size of files stands in for a full disk: both fail in write. */
static void a_full_disk_leaves_the_old_file_and_no_temporary(void **state)
{
	struct rlimit old, small;
	struct hth_writer w;
	char block[4096];
	(void)state;
	memset(block, 'b', sizeof block);
	assert_ok(hth_file_write(temp("a"), "old", 3, &err));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 100000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	/* Small enough to stay in the buffer: the failure comes at commit. */
	enum hth_status open_status = hth_writer_open(&w, temp("a"), &err);
	enum hth_status write_status = HTH_OK;
	for (int i = 0; i < 40 && write_status == HTH_OK; i++)
		write_status = hth_writer_write(&w, block, sizeof block, &err);
	enum hth_status commit_status = hth_writer_commit(&w, &err);
	char commit_text[HTH_ERR_TEXT_BYTES];
	memcpy(commit_text, err.text, sizeof commit_text);
	/* Larger than the buffer: the failure comes from the write. */
	char *large = hth_calloc(1 << 20, 1);
	enum hth_status large_status = hth_file_write(temp("a"), large, 1 << 20, &err);
	/* A write that failed and was ignored is still found. */
	enum hth_status again_status = hth_writer_open(&w, temp("a"), NULL);
	enum hth_status ignored = hth_writer_write(&w, large, 1 << 20, NULL);
	enum hth_status found = hth_writer_commit(&w, NULL);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);
	hth_free(large);
	assert_int_equal(open_status, HTH_OK);
	assert_int_equal(write_status, HTH_OK);
	assert_int_equal(commit_status, HTH_ERR_IO);
	assert_non_null(strstr(commit_text, "a: write failed: File too large"));
	assert_int_equal(large_status, HTH_ERR_IO);
	assert_non_null(strstr(err.text, "a: write failed after 0 bytes: File too large"));
	assert_int_equal(again_status, HTH_OK);
	assert_int_equal(ignored, HTH_ERR_IO);
	assert_int_equal(found, HTH_ERR_IO);
	assert_content(temp("a"), "old");
	assert_int_equal(temp_count(), 1);
}

static void each_failing_allocation_of_a_write_leaves_the_old_file(void **state)
{
	(void)state;
	assert_ok(hth_file_write(temp("a"), "old", 3, &err));
	for (uint64_t nth = 1;; nth++) {
		const char *path = temp("a");
		hth_mem_fail_at(nth, false);
		enum hth_status status = hth_file_write(path, "new", 3, &err);
		hth_mem_fail_at(0, false);
		assert_int_equal(temp_count(), 1);
		if (status == HTH_OK) {
			assert_content(temp("a"), "new");
			assert_true(nth > 3);
			return;
		}
		assert_int_equal(status, HTH_ERR_MEMORY);
		if (nth < 4) /* after the rename only the sync of the folder can fail */
			assert_content(temp("a"), "old");
	}
}

static void each_failing_allocation_of_a_read_is_reported(void **state)
{
	char *data;
	size_t n;
	struct hth_map m;
	(void)state;
	assert_ok(hth_file_write(temp("a"), "text", 4, &err));
	hth_mem_fail_at(1, false);
	assert_fails(hth_file_read(temp("a"), 10, &data, &n, &err), HTH_ERR_MEMORY, "a (5 bytes)");
	hth_mem_fail_at(1, false);
	assert_fails(hth_map_open(&m, temp("a"), &err), HTH_ERR_MEMORY, "out of memory");
	assert_null(m.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		temp_test(a_map_shows_the_file_and_closes_twice),
		temp_test(an_empty_file_maps_to_null),
		temp_test(what_is_no_regular_file_is_refused_without_blocking),
		temp_test(a_read_is_bounded_exactly),
#ifdef __linux__
		temp_test(a_file_that_claims_size_zero_is_read_to_its_end),
#endif
		temp_test(the_target_is_untouched_until_commit),
		temp_test(memory_that_runs_out_in_commit_leaves_the_old_file),
		temp_test(abort_leaves_the_old_file_and_nothing_else),
		temp_test(padding_fills_with_zeros_to_the_multiple),
		temp_test(the_mode_follows_the_umask),
		temp_test(a_target_that_is_no_file_is_refused),
		temp_test(a_link_is_replaced_and_not_its_target),
		temp_test(the_longest_name_can_be_written),
		temp_test(a_full_disk_leaves_the_old_file_and_no_temporary),
		temp_test(each_failing_allocation_of_a_write_leaves_the_old_file),
		temp_test(each_failing_allocation_of_a_read_is_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
