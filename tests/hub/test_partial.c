/* The file that holds a part of a blob: its state survives a crash, and a state that cannot be true is forgotten. */
#include "support.h"

#include "base/file.h"
#include "base/mem.h"
#include "hub/partial.h"

#define CONTENT 1000
#define PART 300

static char path[128];

static int make_path(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/hearth-partial-%ld", (long)getpid());
	unlink(path);
	return 0;
}

static int drop_path(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static struct hth_hub_partial open_it(uint64_t bytes, uint64_t part_bytes)
{
	struct hth_hub_partial p;
	struct hth_err err = {0};

	assert_ok(hth_hub_partial_open(&p, hth_strdup(path), bytes, part_bytes, &err));
	return p;
}

static void put(struct hth_hub_partial *p, uint32_t part, const char *text)
{
	struct hth_err err = {0};

	assert_ok(hth_hub_partial_write(p, p->part_bytes * part + p->done[part], text, strlen(text), &err));
	p->done[part] += strlen(text);
	assert_ok(hth_hub_partial_save(p, part, &err));
}

static void what_was_saved_is_there_after_a_crash(void **state)
{
	struct hth_hub_partial p = open_it(CONTENT, PART), q;

	(void)state;
	assert_int_equal(p.n_parts, 4);
	assert_int_equal(hth_hub_partial_part_bytes(&p, 3), 100);
	put(&p, 0, "abc");
	put(&p, 2, "defgh");
	/* Not closed: the second one sees what is on disk. Another cut is asked for, the old one stays. */
	q = open_it(CONTENT, 77);
	assert_int_equal(q.n_parts, 4);
	assert_int_equal(q.done[0], 3);
	assert_int_equal(q.done[1], 0);
	assert_int_equal(q.done[2], 5);
	assert_int_equal(hth_hub_partial_done(&q), 8);
	hth_hub_partial_close(&q);
	hth_hub_partial_close(&p);
	assert_int_equal(hth_hub_partial_peek(path, CONTENT), 8);
	assert_int_equal(hth_hub_partial_peek(path, CONTENT + 1), 0);
	assert_int_equal(hth_hub_partial_peek("/nowhere", CONTENT), 0);
}

static void content_of_another_size_begins_anew(void **state)
{
	struct hth_hub_partial p = open_it(CONTENT, PART);

	(void)state;
	put(&p, 0, "abc");
	hth_hub_partial_close(&p);
	p = open_it(CONTENT + 8, PART);
	assert_int_equal(hth_hub_partial_done(&p), 0);
	hth_hub_partial_close(&p);
}

static void a_file_cut_anywhere_begins_anew(void **state)
{
	struct hth_err err = {0};
	char *whole;
	size_t bytes;
	struct hth_hub_partial p = open_it(CONTENT, PART);

	(void)state;
	put(&p, 1, "abc");
	hth_hub_partial_close(&p);
	assert_ok(hth_file_read(path, 1 << 20, &whole, &bytes, &err));
	assert_int_equal(bytes, CONTENT + 32 + 4 * 8);
	for (size_t n = 0; n <= bytes + 1; n++) {
		FILE *f = fopen(path, "wb");
		assert_non_null(f);
		fwrite(whole, 1, n < bytes ? n : bytes, f);
		if (n > bytes)
			fputc(0, f);
		fclose(f);
		p = open_it(CONTENT, PART);
		assert_int_equal(hth_hub_partial_done(&p), n == bytes ? 3 : 0);
		hth_hub_partial_close(&p);
	}
	hth_free(whole);
}

static void a_state_that_cannot_be_is_forgotten(void **state)
{
	/* What to write at which u64 behind the content. */
	static const struct {
		int at;
		uint64_t value;
	} bad[] = {{0, 1}, {1, 999}, {2, 0}, {2, 200}, {2, UINT64_MAX}, {3, 0}, {3, 5}, {3, UINT64_MAX}, {4, 301}, {7, 101}};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		unlink(path);
		struct hth_hub_partial p = open_it(CONTENT, PART);
		put(&p, 1, "abc");
		assert_int_equal(pwrite(p.fd, &bad[i].value, 8, CONTENT + 8 * bad[i].at), 8);
		hth_hub_partial_close(&p);
		p = open_it(CONTENT, PART);
		assert_int_equal(hth_hub_partial_done(&p), 0);
		assert_int_equal(p.n_parts, 4);
		hth_hub_partial_close(&p);
	}
}

static void what_is_no_regular_file_is_refused(void **state)
{
	struct hth_hub_partial p;
	struct hth_err err = {0};

	(void)state;
	assert_int_equal(symlink("/tmp/elsewhere", path), 0);
	assert_fails(hth_hub_partial_open(&p, hth_strdup(path), 10, 10, &err), HTH_ERR_IO, "cannot open");
	hth_hub_partial_close(&p);
}

static void a_restart_as_one_part_forgets_the_rest(void **state)
{
	struct hth_err err = {0};
	struct hth_hub_partial p = open_it(CONTENT, PART);

	(void)state;
	put(&p, 3, "abc");
	assert_ok(hth_hub_partial_restart(&p, true, &err));
	assert_int_equal(p.n_parts, 1);
	assert_int_equal(hth_hub_partial_part_bytes(&p, 0), CONTENT);
	assert_int_equal(hth_hub_partial_done(&p), 0);
	hth_hub_partial_close(&p);
}

static void huge_files_have_a_bounded_number_of_parts(void **state)
{
	struct hth_hub_partial p = open_it((uint64_t)1 << 40, 4096);

	(void)state;
	assert_true(p.n_parts <= 65536);
	assert_true(p.part_bytes * p.n_parts >= (uint64_t)1 << 40);
	hth_hub_partial_close(&p);
	unlink(path);
	p = open_it(0, PART);
	assert_int_equal(p.n_parts, 1);
	assert_int_equal(hth_hub_partial_part_bytes(&p, 0), 0);
	hth_hub_partial_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, make_path, drop_path)
		T(what_was_saved_is_there_after_a_crash),
		T(content_of_another_size_begins_anew),
		T(a_file_cut_anywhere_begins_anew),
		T(a_state_that_cannot_be_is_forgotten),
		T(what_is_no_regular_file_is_refused),
		T(a_restart_as_one_part_forgets_the_rest),
		T(huge_files_have_a_bounded_number_of_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
