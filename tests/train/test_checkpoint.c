/* Checkpoints under damage: truncation, flipped bits, full disks. What loads is what was saved, or an older one. */
#include "base/file.h"
#include "base/log.h"
#include "train/rig.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct hth_err err;

/* Parameters alone, no device: values, moments and best filled with numbers that tell steps apart. */
static void open_params(struct rig *r)
{
	memset(r, 0, sizeof *r);
	rig_config(r, "tied");
	assert_ok(hth_model_open(rig_path("tied", ".gguf"), &r->model, &err));
	assert_ok(hth_params_new(r->model, &r->cfg, false, &r->params, &err));
}

static void fill(struct hth_params *p, float mark)
{
	for (int64_t i = 0; i < p->n; i++)
		for (int64_t j = 0; j < p->list[i]->rows * p->list[i]->cols; j++) {
			p->list[i]->value[j] = mark + (float)j;
			p->list[i]->m[j] = mark - (float)j;
			p->list[i]->v[j] = mark * 2;
			p->best[p->list[i]->value - p->values + j] = mark * 3;
		}
}

static void check_filled(const struct hth_params *p, float mark)
{
	for (int64_t i = 0; i < p->n; i++)
		for (int64_t j = 0; j < p->list[i]->rows * p->list[i]->cols; j++) {
			assert_true(p->list[i]->value[j] == mark + (float)j);
			assert_true(p->list[i]->m[j] == mark - (float)j);
			assert_true(p->list[i]->v[j] == mark * 2);
			assert_true(p->best[p->list[i]->value - p->values + j] == mark * 3);
		}
}

static struct hth_facts some_facts(void)
{
	struct hth_facts f = {.n = 0};

	hth_facts_int(&f, true, "rank", 4);
	hth_facts_hash(&f, true, "model", 0x0123456789abcdefull);
	hth_facts_real(&f, false, "learning rate", 0.1);
	return f;
}

static void save_step(const char *dir, struct rig *r, int64_t step, int64_t keep)
{
	struct hth_progress_state at = {.step = step,
					.updates = step - 1,
					.best_step = 1,
					.best_loss = 1.0 / 3.0,
					.elapsed_s = 12.5,
					.now = -5,
					.token_budget = 4096,
					.eval_pending = 1,
					.skipped = 1};
	struct hth_facts f = some_facts();

	fill(&r->params, (float)step);
	assert_ok(hth_checkpoint_save(dir, &r->params, &at, &f, keep, &err));
}

static void write_file(const char *path, const char *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

/* The newest one that is whole is of this step, and loads as saved. */
static void expect_newest(const char *dir, struct rig *r, int64_t step)
{
	struct hth_checkpoint c;

	assert_ok(hth_checkpoint_newest(dir, &c, &err));
	assert_non_null(c.path);
	assert_int_equal(c.at.step, step);
	fill(&r->params, -1);
	assert_ok(hth_checkpoint_load(&c, &r->params, &err));
	check_filled(&r->params, (float)step);
	hth_checkpoint_clear(&c);
}

static void what_was_saved_is_loaded_to_the_bit(void **state)
{
	(void)state;
	char *dir = rig_scratch();
	struct rig r;
	struct hth_checkpoint c;

	open_params(&r);
	assert_ok(hth_checkpoint_newest(dir, &c, &err));
	assert_null(c.path);
	save_step(dir, &r, 7, 3);
	assert_ok(hth_checkpoint_newest(dir, &c, &err));
	assert_int_equal(c.at.step, 7);
	assert_int_equal(c.at.updates, 6);
	assert_int_equal(c.at.best_step, 1);
	assert_int_equal(c.at.skipped, 1);
	assert_int_equal(c.at.now, -5);
	assert_int_equal(c.at.token_budget, 4096);
	assert_int_equal(c.at.eval_pending, 1);
	assert_true(c.at.best_loss == 1.0 / 3.0);
	assert_true(c.at.elapsed_s == 12.5);
	assert_int_equal(c.facts.n, 3);
	hth_checkpoint_clear(&c);
	expect_newest(dir, &r, 7);
	rig_close(&r);
	rig_remove(dir);
}

static size_t count_entries(const char *dir)
{
	char **names;
	size_t n;

	assert_ok(hth_dir_list(dir, &names, &n, &err));
	hth_names_free(names, n);
	return n;
}

static void old_ones_are_pruned_and_leftovers_of_crashes_removed(void **state)
{
	(void)state;
	char *dir = rig_scratch(), left[128];
	struct rig r;

	open_params(&r);
	for (int64_t step = 10; step <= 50; step += 10)
		save_step(dir, &r, step, 3);
	assert_int_equal(count_entries(dir), 3);
	snprintf(left, sizeof left, "%s/.writing-123/x", dir);
	assert_ok(hth_mkdirs(left, &err));
	snprintf(left, sizeof left, "%s/notes", dir);
	assert_ok(hth_mkdirs(left, &err));
	save_step(dir, &r, 60, 2);
	assert_int_equal(count_entries(dir), 3); /* two checkpoints and what is not ours */
	assert_int_equal(hth_path_kind(left), HTH_PATH_DIR);
	expect_newest(dir, &r, 60);
	/* A run that went back: later steps belong to an abandoned timeline. */
	save_step(dir, &r, 55, 2);
	expect_newest(dir, &r, 55);
	rig_close(&r);
	rig_remove(dir);
}

static const char *const files[] = {"weights.safetensors", "moments.safetensors", "best.safetensors", "state.json",
				    "manifest.json"};

static void read_file(const char *path, char **data, size_t *bytes)
{
	assert_ok(hth_file_read(path, 1 << 24, data, bytes, &err));
}

static void a_truncated_file_makes_the_older_checkpoint_the_newest(void **state)
{
	(void)state;
	char *dir = rig_scratch(), path[128];
	struct rig r;

	open_params(&r);
	save_step(dir, &r, 1, 5);
	save_step(dir, &r, 2, 5);
	for (size_t f = 0; f < 5; f++) {
		char *data;
		size_t bytes;
		snprintf(path, sizeof path, "%s/step-2/%s", dir, files[f]);
		read_file(path, &data, &bytes);
		for (size_t cut = 0; cut < bytes; cut += 1 + bytes / 23) {
			write_file(path, data, cut);
			expect_newest(dir, &r, 1);
		}
		assert_int_equal(unlink(path), 0);
		expect_newest(dir, &r, 1);
		write_file(path, data, bytes);
		hth_free(data);
		expect_newest(dir, &r, 2);
	}
	rig_close(&r);
	rig_remove(dir);
}

static void a_flipped_bit_anywhere_is_found(void **state)
{
	(void)state;
	char *dir = rig_scratch(), path[128];
	struct rig r;

	open_params(&r);
	save_step(dir, &r, 1, 5);
	save_step(dir, &r, 2, 5);
	for (size_t f = 0; f < 5; f++) {
		char *data;
		size_t bytes;
		snprintf(path, sizeof path, "%s/step-2/%s", dir, files[f]);
		read_file(path, &data, &bytes);
		for (size_t at = 0; at < bytes; at += 1 + bytes / 61) {
			char bit = (char)(1 << (at % 8));
			data[at] = (char)(data[at] ^ bit);
			write_file(path, data, bytes);
			data[at] = (char)(data[at] ^ bit);
			struct hth_checkpoint c;
			assert_ok(hth_checkpoint_newest(dir, &c, &err));
			/* A space of the manifest that became another blank says the same thing still. */
			if (c.at.step == 2)
				assert_int_equal(f, 4);
			hth_checkpoint_clear(&c);
		}
		write_file(path, data, bytes);
		hth_free(data);
	}
	rig_close(&r);
	rig_remove(dir);
}

static void only_damaged_checkpoints_are_an_error_that_says_so(void **state)
{
	(void)state;
	char *dir = rig_scratch(), path[128];
	struct rig r;
	struct hth_checkpoint c;

	open_params(&r);
	save_step(dir, &r, 3, 5);
	snprintf(path, sizeof path, "%s/step-3/state.json", dir);
	write_file(path, "{}", 2);
	assert_fails(hth_checkpoint_newest(dir, &c, &err), HTH_ERR_FORMAT, "damaged");
	assert_null(c.path);
	rig_close(&r);
	rig_remove(dir);
}

/* A disk that fills up: writes beyond the limit fail with EFBIG, at every size up to the checkpoint's own. */
static void a_failed_write_leaves_the_checkpoint_of_before(void **state)
{
	(void)state;
	char *dir = rig_scratch();
	struct rig r;

	open_params(&r);
	save_step(dir, &r, 1, 5);
	rlim_t limit = 0;
	for (bool saved = false; !saved; limit = limit * 2 + 100) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			struct rlimit l = {limit, limit};
			struct hth_progress_state at = {.step = 2, .best_step = 1};
			struct hth_facts f = some_facts();
			signal(SIGXFSZ, SIG_IGN);
			setrlimit(RLIMIT_FSIZE, &l);
			enum hth_status status = hth_checkpoint_save(dir, &r.params, &at, &f, 5, &err);
			_exit(status == HTH_OK ? 0 : status == HTH_ERR_IO && strstr(err.text, dir) != NULL ? 1 : 2);
		}
		int how;
		assert_int_equal(waitpid(child, &how, 0), child);
		assert_true(WIFEXITED(how));
		saved = WEXITSTATUS(how) == 0; /* the limit is past what a checkpoint needs */
		if (saved)
			break;
		assert_int_equal(WEXITSTATUS(how), 1);
		assert_int_equal(count_entries(dir), 1); /* no half of one is left */
		expect_newest(dir, &r, 1);
	}
	assert_true(limit > 1000);
	rig_close(&r);
	rig_remove(dir);
}

static void values_that_are_not_finite_are_never_saved(void **state)
{
	(void)state;
	char *dir = rig_scratch();
	struct rig r;
	struct hth_progress_state at = {.step = 9};
	struct hth_facts f = some_facts();

	open_params(&r);
	save_step(dir, &r, 8, 5);
	r.params.list[3]->value[1] = __builtin_nanf("");
	assert_fails(hth_checkpoint_save(dir, &r.params, &at, &f, 5, &err), HTH_ERR_VALUE, r.params.list[3]->name);
	assert_int_equal(count_entries(dir), 1);
	rig_close(&r);
	rig_remove(dir);
}

static void a_resume_names_what_differs(void **state)
{
	(void)state;
	struct hth_checkpoint c = {.path = NULL, .facts = some_facts()};
	struct hth_facts now = some_facts();
	char path[] = "runs/x/checkpoints/step-3";

	c.path = path;
	assert_ok(hth_checkpoint_agrees(&c, &now, &err));
	snprintf(now.item[2].value, sizeof now.item[2].value, "0.2"); /* may differ */
	assert_ok(hth_checkpoint_agrees(&c, &now, &err));
	snprintf(now.item[0].value, sizeof now.item[0].value, "16");
	assert_fails(hth_checkpoint_agrees(&c, &now, &err), HTH_ERR_USAGE, "rank was 4, is now 16");
}

static void another_shape_or_missing_tensor_is_refused(void **state)
{
	(void)state;
	char *dir = rig_scratch();
	struct rig r, other;
	struct hth_checkpoint c;

	open_params(&r);
	save_step(dir, &r, 1, 5);
	memset(&other, 0, sizeof other);
	rig_config(&other, "tied");
	other.cfg.adapter_start = NULL;
	other.cfg.rank = 3;
	assert_ok(hth_model_open(rig_path("tied", ".gguf"), &other.model, &err));
	assert_ok(hth_params_new(other.model, &other.cfg, false, &other.params, &err));
	assert_ok(hth_checkpoint_newest(dir, &c, &err));
	assert_fails(hth_checkpoint_load(&c, &other.params, &err), HTH_ERR_SHAPE, "another shape");
	hth_checkpoint_clear(&c);
	rig_close(&other);
	rig_close(&r);
	rig_remove(dir);
}

/* Allocations of a save and of a load fail, one at a time (all early ones, every 30th part later): an error or a whole
 * checkpoint, never a crash or half of one. */
static void running_out_of_memory_leaves_a_whole_checkpoint_or_none(void **state)
{
	(void)state;
	char *dir = rig_scratch();
	struct rig r;
	struct hth_progress_state at = {.step = 2, .best_step = 1, .best_loss = 2};
	struct hth_facts f = some_facts();

	open_params(&r);
	save_step(dir, &r, 1, 9);
	fill(&r.params, 2);
	for (uint64_t n = 1;; n += 1 + n / 30) {
		hth_mem_fail_at(n, false);
		enum hth_status status = hth_checkpoint_save(dir, &r.params, &at, &f, 9, &err);
		hth_mem_fail_at(0, false);
		if (status == HTH_OK)
			break;
		assert_int_equal(status, HTH_ERR_MEMORY);
		/* An error behind the rename leaves the new one, whole. */
		char path[128];
		snprintf(path, sizeof path, "%s/step-2", dir);
		expect_newest(dir, &r, hth_path_kind(path) == HTH_PATH_DIR ? 2 : 1);
		fill(&r.params, 2);
	}
	expect_newest(dir, &r, 2);
	for (uint64_t n = 1;; n += 1 + n / 30) {
		struct hth_checkpoint c;
		hth_mem_fail_at(n, false);
		enum hth_status status = hth_checkpoint_newest(dir, &c, &err);
		if (status == HTH_OK && c.path != NULL)
			status = hth_checkpoint_load(&c, &r.params, &err);
		hth_mem_fail_at(0, false);
		hth_checkpoint_clear(&c);
		if (status == HTH_OK)
			break;
		assert_int_equal(status, HTH_ERR_MEMORY);
	}
	rig_close(&r);
	rig_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_is_loaded_to_the_bit),
		cmocka_unit_test(old_ones_are_pruned_and_leftovers_of_crashes_removed),
		cmocka_unit_test(a_truncated_file_makes_the_older_checkpoint_the_newest),
		cmocka_unit_test(a_flipped_bit_anywhere_is_found),
		cmocka_unit_test(only_damaged_checkpoints_are_an_error_that_says_so),
		cmocka_unit_test(a_failed_write_leaves_the_checkpoint_of_before),
		cmocka_unit_test(values_that_are_not_finite_are_never_saved),
		cmocka_unit_test(a_resume_names_what_differs),
		cmocka_unit_test(another_shape_or_missing_tensor_is_refused),
		cmocka_unit_test(running_out_of_memory_leaves_a_whole_checkpoint_or_none),
	};
	hth_log_set_level(HTH_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
