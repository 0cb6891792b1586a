/* A folder of its own for each test that writes files; gone afterwards. Use as setup and teardown of a cmocka test. */
#ifndef HTH_TESTS_BASE_TEMPDIR_H
#define HTH_TESTS_BASE_TEMPDIR_H

#include "base/file.h"
#include "base/mem.h"
#include "support.h"

#include <sys/stat.h>

static char temp_dir[512];
static char temp_paths[8][2048];
static int temp_next;

/* temp_dir/name in one of eight rotating buffers. */
static inline const char *temp(const char *name)
{
	char *out = temp_paths[temp_next++ % 8];
	snprintf(out, sizeof temp_paths[0], "%s/%s", temp_dir, name);
	return out;
}

static inline int temp_setup(void **state)
{
	const char *base = getenv("TMPDIR");
	(void)state;
	snprintf(temp_dir, sizeof temp_dir, "%s/hearth-test-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
	return mkdtemp(temp_dir) == NULL;
}

static inline int temp_teardown(void **state)
{
	(void)state;
	hth_mem_fail_at(0, false);
	return hth_remove_tree(temp_dir, NULL) != HTH_OK;
}

#define temp_test(f) cmocka_unit_test_setup_teardown(f, temp_setup, temp_teardown)

/* The number of names in temp_dir. */
static inline size_t temp_count(void)
{
	char **names;
	size_t n;
	assert_int_equal(hth_dir_list(temp_dir, &names, &n, NULL), HTH_OK);
	hth_names_free(names, n);
	return n;
}

static inline void assert_content(const char *path, const char *want)
{
	char *data;
	size_t bytes;
	assert_int_equal(hth_file_read(path, 1 << 20, &data, &bytes, NULL), HTH_OK);
	assert_int_equal(bytes, strlen(want));
	assert_memory_equal(data, want, bytes);
	hth_free(data);
}

#endif
