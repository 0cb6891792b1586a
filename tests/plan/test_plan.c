/* The plan of a run: that it is the run's own, its words, its JSON, and the measured speed. */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "plan/plan.h"
#include "support.h"
#include "train/train.h"

#include <math.h>

static struct hth_err err;
static char dir[64], data[128], out_dir[128];

static int make_folder(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "%s/hearth-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(dir));
	snprintf(data, sizeof data, "%s/data.jsonl", dir);
	snprintf(out_dir, sizeof out_dir, "%s/run", dir);
	FILE *f = fopen(data, "wb");
	assert_non_null(f);
	for (int i = 0; i < 30; i++)
		fprintf(f, "{\"prompt\":\"The question number %d is this: \",\"completion\":\"answer %d\"}\n", i,
			i * i);
	fclose(f);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return hth_remove_tree(dir, &err) == HTH_OK ? 0 : -1;
}

static struct hth_train_config config(void)
{
	struct hth_train_config c;

	hth_train_config_init(&c);
	c.model = "tests/golden/llama/untied.gguf";
	c.data = data;
	c.output_dir = out_dir;
	c.epochs = 2;
	c.threads = 1;
	return c;
}

static void the_plan_is_the_runs_own_to_the_byte(void **state)
{
	(void)state;
	struct hth_train_config c = config();
	struct hth_plan p;
	struct hth_train_result r;

	assert_ok(hth_plan_make(&c, false, &p, &err));
	assert_true(p.fits);
	assert_int_equal(p.n_rows, 28); /* of 30, two held out */
	assert_int_equal(p.n_valid_rows, 2);
	assert_int_equal(p.fit.walk.steps, 14);
	assert_true(p.seconds == 0); /* not measured, not guessed */
	assert_int_equal(hth_path_kind(out_dir), HTH_PATH_NONE);
	assert_ok(hth_train_run(&c, NULL, &r, &err));
	assert_int_equal(r.arena_bytes, p.fit.memory.arena_bytes);
	assert_int_equal(r.trained_tokens, (int64_t)(p.fit.walk.epoch_tokens * 2));
}

static void a_plan_with_layers_run_twice_is_the_runs_own_and_says_so(void **state)
{
	(void)state;
	struct hth_train_config c = config();
	struct hth_plan p, plain;
	struct hth_train_result r;
	struct hth_buf b;

	assert_ok(hth_plan_make(&c, false, &plain, &err));
	c.checkpointing = HTH_CHECKPOINTING_ON;
	c.overwrite = true;
	assert_ok(hth_plan_make(&c, false, &p, &err));
	assert_int_equal(p.fit.recompute.layers, 1);
	assert_int_equal(p.fit.plain_arena_bytes, plain.fit.memory.arena_bytes);
	assert_true(p.fit.plain_flops == plain.fit.walk.flops);
	assert_true(p.fit.memory.arena_bytes < plain.fit.memory.arena_bytes);
	hth_buf_init(&b, 1 << 16);
	assert_ok(hth_plan_print(&p, &b, &err));
	assert_non_null(strstr(hth_buf_str(&b), "layers run twice"));
	assert_non_null(strstr(hth_buf_str(&b), "1 of 2   in every micro-batch"));
	assert_non_null(strstr(hth_buf_str(&b), "activations without that"));
	assert_ok(hth_train_run(&c, NULL, &r, &err));
	assert_int_equal(r.arena_bytes, p.fit.memory.arena_bytes);
	hth_buf_clear(&b);
}

static void a_plan_reads_as_a_table_and_as_json(void **state)
{
	(void)state;
	struct hth_train_config c = config();
	struct hth_plan p;
	struct hth_buf b;
	json_t *doc = NULL;

	assert_ok(hth_plan_make(&c, true, &p, &err));
	assert_true(p.speed.flops_per_s > 1e6);
	assert_true(p.speed.bytes_per_s > 1e6);
	assert_true(p.seconds > 0);
	hth_buf_init(&b, 1 << 16);
	assert_ok(hth_plan_print(&p, &b, &err));
	assert_non_null(strstr(hth_buf_str(&b), "activations"));
	assert_non_null(strstr(hth_buf_str(&b), "fits"));
	assert_non_null(strstr(hth_buf_str(&b), "saved by shared beginnings"));
	assert_non_null(strstr(hth_buf_str(&b), "time, about"));
	hth_buf_reset(&b);
	assert_ok(hth_plan_json(&p, &b, &err));
	assert_ok(hth_json_parse(hth_buf_str(&b), b.bytes, HTH_JSON_STRICT, "plan", &doc, &err));
	assert_true(json_is_true(json_object_get(doc, "fits")));
	assert_true(json_number_value(json_object_get(doc, "steps")) == 14);
	assert_true(json_number_value(json_object_get(doc, "arena_bytes")) == (double)p.fit.memory.arena_bytes);
	json_decref(doc);
	hth_buf_clear(&b);
}

static void a_run_that_does_not_fit_is_planned_and_told(void **state)
{
	(void)state;
	struct hth_train_config c = config();
	struct hth_plan p;
	struct hth_buf b;

	c.memory_limit = 5000;
	assert_ok(hth_plan_make(&c, false, &p, &err));
	assert_false(p.fits);
	assert_non_null(strstr(p.why_not, "does not fit"));
	assert_true(p.fit.memory.total_bytes > 5000);
	hth_buf_init(&b, 1 << 16);
	assert_ok(hth_plan_print(&p, &b, &err));
	assert_non_null(strstr(hth_buf_str(&b), "DOES NOT FIT"));
	hth_buf_clear(&b);
}

static void time_is_the_slower_of_computing_and_moving(void **state)
{
	(void)state;
	struct hth_walk w = {.flops = 2e12, .bytes_moved = 3e9};
	struct hth_speed s = {.flops_per_s = 1e12, .bytes_per_s = 1e9};

	assert_true(hth_plan_seconds(&w, &s) == 3);
	s.bytes_per_s = 1e10;
	assert_true(hth_plan_seconds(&w, &s) == 2);
	s.bytes_per_s = 0;
	assert_true(hth_plan_seconds(&w, &s) == 2);
	s.flops_per_s = 0;
	assert_true(hth_plan_seconds(&w, &s) == 0);
}

static void missing_things_are_named(void **state)
{
	(void)state;
	struct hth_train_config c = config();
	struct hth_plan p;

	c.model = "nowhere.gguf";
	assert_fails(hth_plan_make(&c, false, &p, &err), HTH_ERR_NOTFOUND, "nowhere.gguf");
	c = config();
	c.data = "nowhere.jsonl";
	assert_fails(hth_plan_make(&c, false, &p, &err), HTH_ERR_NOTFOUND, "nowhere.jsonl");
	c = config();
	c.backend = "nonesuch";
	assert_fails(hth_plan_make(&c, false, &p, &err), HTH_ERR_UNAVAILABLE, "nonesuch");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_plan_is_the_runs_own_to_the_byte),
		cmocka_unit_test(a_plan_with_layers_run_twice_is_the_runs_own_and_says_so),
		cmocka_unit_test(a_plan_reads_as_a_table_and_as_json),
		cmocka_unit_test(a_run_that_does_not_fit_is_planned_and_told),
		cmocka_unit_test(time_is_the_slower_of_computing_and_moving),
		cmocka_unit_test(missing_things_are_named),
	};
	hth_log_set_level(HTH_LOG_QUIET);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
