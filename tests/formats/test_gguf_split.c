/* Models in several GGUF files: made here by the writer, opened by any part, and broken in every way a folder breaks. */
#include "bytes.h"

#include "base/mem.h"
#include "formats/gguf.h"

#include <sys/stat.h>

enum { COUNT = 3 };
struct part {
	const char *name, *model; /* of its tensor; general.name or NULL */
	int64_t no, count, total;
};
static char dir[256], paths[COUNT][256];

static void write_part(const char *path, const struct part *p)
{
	static const float data[32] = {0};
	const int64_t ne[1] = {p->no >= 0 && p->no < COUNT ? 8 + p->no : 8};
	struct hth_gguf_writer *w;
	struct hth_err err;

	unlink(path);
	assert_ok(hth_gguf_writer_new(path, &w, &err));
	if (p->model != NULL)
		assert_ok(hth_gguf_put_string(w, "general.name", p->model, strlen(p->model), &err));
	if (p->count > 0) {
		assert_ok(hth_gguf_put_int(w, "split.no", HTH_GGUF_U16, p->no, &err));
		assert_ok(hth_gguf_put_int(w, "split.count", HTH_GGUF_U16, p->count, &err));
		assert_ok(hth_gguf_put_int(w, "split.tensors.count", HTH_GGUF_I32, p->total, &err));
	}
	assert_ok(hth_gguf_add_tensor(w, p->name, 1, ne, HTH_QUANT_F32, &err));
	assert_ok(hth_gguf_write_data(w, data, (size_t)ne[0] * 4, &err));
	assert_ok(hth_gguf_writer_commit(w, &err));
}

static const struct part good[COUNT] = {{"a", "m", 0, 3, 3}, {"b", NULL, 1, 3, 3}, {"c", NULL, 2, 3, 3}};

static void write_good(void)
{
	for (int i = 0; i < COUNT; i++)
		write_part(paths[i], &good[i]);
}

static int set_up(void **state)
{
	(void)state;
	temp_path(dir, "split");
	mkdir(dir, 0700);
	for (int i = 0; i < COUNT; i++)
		snprintf(paths[i], sizeof(paths[i]), "%.180s/m-0000%d-of-00003.gguf", dir, i + 1);
	return 0;
}

static int tear_down(void **state)
{
	struct hth_err err;
	(void)state;
	assert_ok(hth_remove_tree(dir, &err));
	return 0;
}

static void any_part_opens_all(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct hth_gguf g;
	struct hth_err err;
	struct hth_gguf_str model;
	uint64_t bytes;

	(void)state;
	write_good();
	for (int i = 0; i < COUNT; i++) {
		assert_ok(hth_gguf_open_split(&g, paths[i], &err));
		assert_int_equal(g.n_tensors, 3);
		assert_ok(hth_gguf_string(&g, "general.name", &model, &err));
		assert_true(hth_gguf_str_equal(model, "m"));
		bytes = g.map.bytes + g.parts[0].bytes + g.parts[1].bytes;
		assert_int_equal(g.bytes, bytes);
		for (int k = 0; k < COUNT; k++) {
			const struct hth_gguf_tensor *t = hth_gguf_tensor(&g, names[k]);
			assert_ptr_equal(t, &g.tensors[k]);
			assert_int_equal(t->ne[0], 8 + k);
		}
		hth_gguf_close(&g);
	}
}

static void a_whole_file_opens_as_before(void **state)
{
	const struct part whole = {"w", "m", 0, 0, 0};
	struct hth_gguf g;
	struct hth_err err;

	(void)state;
	write_part(paths[0], &whole);
	assert_ok(hth_gguf_open_split(&g, paths[0], &err));
	assert_int_equal(g.n_tensors, 1);
	assert_int_equal(g.n_parts, 0);
	assert_int_equal(g.bytes, g.map.bytes);
	hth_gguf_close(&g);
}

static void parts_that_do_not_belong_together_are_refused(void **state)
{
	static const struct {
		int at;
		struct part part;
		enum hth_status status;
		const char *says;
	} cases[] = {
		{1, {"b", NULL, 1, 4, 3}, HTH_ERR_FORMAT, "part 2 of 4"},
		{1, {"b", NULL, 2, 3, 3}, HTH_ERR_FORMAT, "part 3 of 3"},
		{1, {"b", NULL, 1, 3, 4}, HTH_ERR_FORMAT, "4 tensors in all"},
		{1, {"b", NULL, 0, 0, 0}, HTH_ERR_FORMAT, "part 1 of 1"},
		{2, {"a", NULL, 2, 3, 3}, HTH_ERR_FORMAT, "stands twice"},
		{2, {"c", "other", 2, 3, 3}, HTH_ERR_FORMAT, "\"other\", the first part's is \"m\""},
		{1, {"b", NULL, 5, 3, 3}, HTH_ERR_FORMAT, "split.no"},
	};
	struct hth_gguf g;
	struct hth_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		write_good();
		write_part(paths[cases[i].at], &cases[i].part);
		assert_fails(hth_gguf_open_split(&g, paths[0], &err), cases[i].status, cases[i].says);
		assert_null(g.kv);
	}
	/* All agree on a total that is not what they hold. */
	for (int i = 0; i < COUNT; i++) {
		struct part p = good[i];
		p.total = 4;
		write_part(paths[i], &p);
	}
	assert_fails(hth_gguf_open_split(&g, paths[1], &err), HTH_ERR_FORMAT, "3 tensors, expected 4");
}

static void a_missing_part_is_named(void **state)
{
	struct hth_gguf g;
	struct hth_err err;

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		write_good();
		unlink(paths[i]);
		assert_fails(hth_gguf_open_split(&g, paths[(i + 1) % 3], &err), HTH_ERR_NOTFOUND, paths[i]);
	}
}

static void a_part_under_another_name_is_refused(void **state)
{
	char other[256];
	struct hth_gguf g;
	struct hth_err err;

	(void)state;
	write_good();
	snprintf(other, sizeof(other), "%.180s/renamed.gguf", dir);
	assert_int_equal(rename(paths[1], other), 0);
	assert_fails(hth_gguf_open_split(&g, other, &err), HTH_ERR_FORMAT, "-00002-of-00003.gguf");
	/* A number that the keys contradict. */
	assert_int_equal(rename(other, paths[2]), 0);
	assert_fails(hth_gguf_open_split(&g, paths[2], &err), HTH_ERR_FORMAT, "-00002-of-00003.gguf");
}

static void a_cut_part_never_crashes(void **state)
{
	struct hth_gguf g;
	struct hth_err err;
	char *data;
	size_t n;

	(void)state;
	write_good();
	assert_ok(hth_file_read(paths[1], 1 << 16, &data, &n, &err));
	for (size_t keep = 0; keep < n; keep++) {
		write_plain(paths[1], data, keep);
		enum hth_status st = hth_gguf_open_split(&g, paths[0], &err);
		/* Padding after the last tensor may be missing. */
		if (st == HTH_OK) {
			assert_true(keep >= n - 32);
			hth_gguf_close(&g);
		} else {
			assert_non_null(strstr(err.text, "m-00002-of-00003.gguf"));
		}
	}
	hth_free(data);
}

static void lack_of_memory_is_an_error(void **state)
{
	struct hth_gguf g;
	struct hth_err err;
	enum hth_status st = HTH_ERR_MEMORY;

	(void)state;
	write_good();
	for (uint64_t nth = 1; st != HTH_OK; nth++) {
		assert_in_range(nth, 1, 200);
		hth_mem_fail_at(nth, false);
		st = hth_gguf_open_split(&g, paths[2], &err);
		hth_mem_fail_at(0, false);
		if (st != HTH_OK)
			assert_int_equal(st, HTH_ERR_MEMORY);
	}
	hth_gguf_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_part_opens_all),
		cmocka_unit_test(a_whole_file_opens_as_before),
		cmocka_unit_test(parts_that_do_not_belong_together_are_refused),
		cmocka_unit_test(a_missing_part_is_named),
		cmocka_unit_test(a_part_under_another_name_is_refused),
		cmocka_unit_test(a_cut_part_never_crashes),
		cmocka_unit_test(lack_of_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
