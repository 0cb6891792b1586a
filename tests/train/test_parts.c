/* The small parts of training: schedules, order, initial values, metrics, report. */
#include "base/file.h"
#include "base/log.h"
#include "train/metrics.h"
#include "train/order.h"
#include "train/report.h"
#include "train/rig.h"
#include "train/walk.h"

#include <math.h>

static struct hth_err err;

static struct hth_train_config schedule_config(enum hth_schedule s, int64_t warmup)
{
	struct hth_train_config c;

	hth_train_config_init(&c);
	c.learning_rate = 1e-3;
	c.schedule = s;
	c.warmup_steps = warmup;
	return c;
}

#define assert_close(got, want) assert_true(fabs((got) - (want)) < 1e-12)

static void schedules_have_these_values(void **state)
{
	(void)state;
	struct hth_train_config c = schedule_config(HTH_SCHEDULE_CONSTANT, 0);

	assert_close(hth_schedule_lr(&c, 0, 10), 1e-3);
	assert_close(hth_schedule_lr(&c, 9, 10), 1e-3);
	c = schedule_config(HTH_SCHEDULE_LINEAR, 0);
	assert_close(hth_schedule_lr(&c, 0, 10), 1e-3);
	assert_close(hth_schedule_lr(&c, 5, 10), 5e-4);
	assert_close(hth_schedule_lr(&c, 9, 10), 1e-4);
	c = schedule_config(HTH_SCHEDULE_COSINE, 2);
	assert_close(hth_schedule_lr(&c, 0, 10), 5e-4); /* warm-up from lr/warmup */
	assert_close(hth_schedule_lr(&c, 1, 10), 1e-3);
	assert_close(hth_schedule_lr(&c, 2, 10), 1e-3);
	assert_close(hth_schedule_lr(&c, 4, 10), 1e-3 * 0.8535533905932737);
	assert_close(hth_schedule_lr(&c, 6, 10), 5e-4);
	c.min_lr_ratio = 0.1;
	assert_close(hth_schedule_lr(&c, 6, 10), 5.5e-4);
	assert_close(hth_schedule_lr(&c, 10, 10), 1e-4);
	c = schedule_config(HTH_SCHEDULE_COSINE, -1);
	c.warmup_ratio = 0.03; /* of 50 steps: 2 */
	assert_close(hth_schedule_lr(&c, 0, 50), 5e-4);
	assert_close(hth_schedule_lr(&c, 2, 50), 1e-3);
	c = schedule_config(HTH_SCHEDULE_COSINE, 100); /* longer than the run */
	assert_close(hth_schedule_lr(&c, 9, 10), 1e-4);
}

static void validations_and_checkpoints_are_spread_evenly_over_an_epoch(void **state)
{
	/* An epoch of 10 steps, 25 in all. */
	static const struct {
		int64_t every, per_epoch;
		const char *due; /* steps 1..25 */
	} cases[] = {
		{0, 0, "0000000001000000000100000"}, {0, 1, "0000000001000000000100000"},
		{0, 2, "0000100001000010000100001"}, {0, 3, "0001001001000100100100010"},
		{0, 99, "1111111111111111111111111"}, {4, 3, "0001000100010001000100010"},
	};
	struct hth_train_config c;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		hth_train_config_init(&c);
		c.eval_every = c.save_every = cases[i].every;
		c.evals_per_epoch = c.saves_per_epoch = cases[i].per_epoch;
		for (int64_t s = 1; s <= 25; s++) {
			bool due = cases[i].due[s - 1] == '1';
			assert_int_equal(hth_train_save_due(&c, s, 10), due);
			assert_int_equal(hth_train_eval_due(&c, s, 25, 10), due || s == 25);
		}
	}
}

static void every_epoch_is_another_permutation_and_steps_cover_it(void **state)
{
	(void)state;
	struct hth_order o;
	uint32_t first[23];

	assert_ok(hth_order_init(&o, 23, 5, 42, true, &err));
	assert_int_equal(o.steps_per_epoch, 5);
	for (int64_t epoch = 0; epoch < 3; epoch++) {
		bool seen[23] = {false}, moved = false;
		int at = 0;
		for (int64_t s = 0; s < 5; s++) {
			int32_t n;
			const uint32_t *items = hth_order_step(&o, epoch * 5 + s, &n);
			assert_int_equal(n, s == 4 ? 3 : 5);
			for (int32_t i = 0; i < n; i++, at++) {
				assert_true(items[i] < 23);
				assert_false(seen[items[i]]);
				seen[items[i]] = true;
				moved = moved || (epoch > 0 && items[i] != first[at]);
				if (epoch == 0)
					first[at] = items[i];
			}
		}
		assert_int_equal(at, 23);
		assert_true(epoch == 0 || moved);
	}
	/* Any step by itself, without those before it. */
	int32_t n;
	const uint32_t *again = hth_order_step(&o, 1, &n);
	assert_memory_equal(again, first + 5, 5 * sizeof *first);
	hth_order_clear(&o);
	assert_ok(hth_order_init(&o, 4, 100, 42, false, &err));
	assert_int_equal(o.steps_per_epoch, 1);
	static const uint32_t in_order[] = {0, 1, 2, 3};
	assert_memory_equal(hth_order_step(&o, 7, &n), in_order, sizeof in_order);
	hth_order_clear(&o);
	assert_fails(hth_order_init(&o, 0, 1, 1, true, &err), HTH_ERR_VALUE, "no examples");
	hth_order_clear(&o);
}

static void open_params(struct rig *r, struct hth_train_config *cfg)
{
	memset(r, 0, sizeof *r);
	assert_ok(hth_model_open(rig_path("tied", ".gguf"), &r->model, &err));
	assert_ok(hth_params_new(r->model, cfg, false, &r->params, &err));
}

static void a_new_adapter_is_uniform_a_and_zero_b_keyed_by_seed_and_place(void **state)
{
	(void)state;
	struct rig r, again, other;
	struct hth_train_config cfg;

	hth_train_config_init(&cfg);
	cfg.rank = 4;
	open_params(&r, &cfg);
	open_params(&again, &cfg);
	cfg.seed = 1;
	open_params(&other, &cfg);
	assert_int_equal(r.params.n, 2 * 2 * 7);
	double mean = 0, most = 0;
	int64_t n = 0;
	for (int64_t i = 0; i < r.params.n; i += 2) {
		const struct hth_param *a = r.params.list[i], *b = r.params.list[i + 1];
		double bound = 1 / sqrt((double)a->cols);
		for (int64_t j = 0; j < a->rows * a->cols; j++) {
			assert_true(fabs((double)a->value[j]) <= bound);
			mean += (double)a->value[j] / bound;
			most = fmax(most, fabs((double)a->value[j]) / bound);
			n++;
		}
		for (int64_t j = 0; j < b->rows * b->cols; j++)
			assert_true(b->value[j] == 0);
	}
	assert_true(fabs(mean / (double)n) < 0.05);
	assert_true(most > 0.98);
	assert_memory_equal(r.params.values, again.params.values, r.params.n_elems * sizeof(float));
	assert_memory_not_equal(r.params.values, other.params.values, r.params.n_elems * sizeof(float));
	/* q and k of one layer have inputs of one width: their numbers must differ all the same. */
	assert_memory_not_equal(r.params.list[0]->value, r.params.list[2]->value, 16);
	rig_close(&r);
	rig_close(&again);
	rig_close(&other);
}

static void targets_and_last_layers_choose_what_is_trained(void **state)
{
	(void)state;
	struct rig r;
	struct hth_train_config cfg;

	hth_train_config_init(&cfg);
	memset(cfg.target, 0, sizeof cfg.target);
	cfg.target[HTH_Q] = cfg.target[HTH_DOWN] = true;
	cfg.n_layers = 1;
	cfg.rslora = true;
	cfg.rank = 4;
	cfg.alpha = 16;
	open_params(&r, &cfg);
	assert_int_equal(r.params.n, 4);
	assert_string_equal(r.params.list[0]->name, "model.layers.1.self_attn.q_proj.lora_A.weight");
	assert_string_equal(r.params.list[3]->name, "model.layers.1.mlp.down_proj.lora_B.weight");
	assert_true(r.params.loras[HTH_LINEAR_COUNT + HTH_Q]->scale == 8.0f); /* 16 / sqrt(4) */
	assert_null(r.params.loras[HTH_Q]);
	rig_close(&r);

	struct hth_params p;
	assert_ok(hth_model_open(rig_path("tied", ".gguf"), &r.model, &err));
	memset(cfg.target, 0, sizeof cfg.target);
	assert_fails(hth_params_new(r.model, &cfg, false, &p, &err), HTH_ERR_USAGE, "nothing to train");
	cfg.n_layers = 3;
	assert_fails(hth_params_new(r.model, &cfg, false, &p, &err), HTH_ERR_USAGE, "the model has 2");
	cfg.n_layers = -1;
	cfg.rank = 0;
	assert_fails(hth_params_new(r.model, &cfg, false, &p, &err), HTH_ERR_USAGE, "rank 0");
	hth_model_close(r.model);
}

static void a_start_adapter_decides_modules_ranks_and_scales(void **state)
{
	(void)state;
	struct rig r;
	struct hth_train_config cfg;
	struct hth_adapter a;

	hth_train_config_init(&cfg);
	cfg.adapter_start = GOLDEN "tied-adapter-start";
	cfg.rank = 99;
	cfg.alpha = 1;
	open_params(&r, &cfg);
	assert_int_equal(r.params.rank, 4);
	assert_true(r.params.loras[0]->scale == 2.0f);
	/* What goes out is what came in. */
	assert_ok(hth_params_adapter(&r.params, &cfg, "base", &a, &err));
	assert_int_equal(a.n_modules, 14);
	assert_int_equal(a.rank, 4);
	assert_true(a.alpha == 8);
	assert_string_equal(a.modules[0].name, "model.layers.0.self_attn.q_proj");
	assert_memory_equal(a.modules[0].b, r.params.loras[0]->b.value, 16 * sizeof(float));
	hth_adapter_clear(&a);
	rig_close(&r);
	cfg.adapter_start = GOLDEN "untied-adapter-start";
	struct hth_params p;
	assert_ok(hth_model_open(rig_path("tied", ".gguf"), &r.model, &err));
	assert_fails(hth_params_new(r.model, &cfg, false, &p, &err), HTH_ERR_SHAPE,
		     "was the adapter trained on another model");
	hth_model_close(r.model);
}

static struct hth_metrics_row step_row(int64_t step)
{
	return (struct hth_metrics_row){.step = step,
					.epoch = 0.1,
					.loss = 1.0 / 3.0,
					.lr = 1e-5,
					.grad_norm = NAN,
					.tokens = 100,
					.targets = 50,
					.tokens_per_s = 12.5,
					.mem_bytes = 1000,
					.time_s = 2};
}

static void metrics_come_back_as_written_and_end_where_the_checkpoint_stands(void **state)
{
	(void)state;
	char *dir = rig_scratch(), path[128];
	struct hth_metrics m;
	struct hth_metrics_row *rows;
	size_t n;

	snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
	assert_ok(hth_metrics_open(&m, path, -1, false, &err));
	for (int64_t s = 1; s <= 4; s++) {
		struct hth_metrics_row row = step_row(s), val = {.step = s, .is_validation = true, .val_loss = 2.5};
		hth_metrics_add(&m, &row);
		hth_metrics_add(&m, &val);
	}
	hth_metrics_close(&m);
	assert_ok(hth_metrics_read(path, &rows, &n, &err));
	assert_int_equal(n, 8);
	assert_true(rows[0].loss == 1.0 / 3.0);
	assert_true(isnan(rows[0].grad_norm));
	assert_int_equal(rows[0].targets, 50);
	assert_true(rows[7].is_validation && rows[7].val_loss == 2.5);
	hth_free(rows);
	FILE *f = fopen(path, "ab"); /* a torn row, as a crash leaves it */
	assert_non_null(f);
	fputs("{\"step\":5,\"loss\":1.", f);
	fclose(f);
	assert_ok(hth_metrics_open(&m, path, 3, false, &err));
	struct hth_metrics_row row = step_row(4);
	hth_metrics_add(&m, &row);
	hth_metrics_close(&m);
	assert_ok(hth_metrics_read(path, &rows, &n, &err));
	assert_int_equal(n, 7);
	assert_int_equal(rows[6].step, 4);
	assert_false(rows[6].is_validation);
	hth_free(rows);
	assert_ok(hth_metrics_open(&m, path, 3, true, &err)); /* the validation of step 3 will be made again */
	hth_metrics_close(&m);
	assert_ok(hth_metrics_read(path, &rows, &n, &err));
	assert_int_equal(n, 5);
	hth_free(rows);
	rig_remove(dir);
}

static void the_report_is_one_page_with_everything_escaped(void **state)
{
	(void)state;
	struct hth_metrics_row rows[2000];
	struct hth_report_pair facts[] = {{"model", "<script>alert(1)</script>"}, {"a&b", "\"x\" 'y'"}};
	struct hth_report_sample samples[] = {
		{"What is <b>?\x1b[31m", "300 ppm", "I don't know\xff", "300 ppm & more"}};
	struct hth_report r = {.title = "run <1>",
			       .facts = facts,
			       .n_facts = 2,
			       .rows = rows,
			       .n_rows = 2000,
			       .best_step = 1500,
			       .samples = samples,
			       .n_samples = 1};
	struct hth_buf page;

	for (int i = 0; i < 2000; i++) {
		rows[i] = step_row(i + 1);
		rows[i].loss = i == 77 ? NAN : 5.0 / (1 + i / 100.0);
		if (i % 100 == 99)
			rows[i] = (struct hth_metrics_row){
				.step = i, .is_validation = true, .val_loss = 5.5 / (1 + i / 100.0)};
	}
	hth_buf_init(&page, 1 << 24);
	assert_ok(hth_report_render(&r, &page, &err));
	const char *text = hth_buf_str(&page);
	assert_null(strstr(text, "<script"));
	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "inf"));
	assert_null(strstr(text, "http"));
	assert_null(strstr(text, "\x1b"));
	assert_null(strstr(text, "<b>?"));
	assert_non_null(strstr(text, "&lt;script&gt;alert(1)&lt;/script&gt;"));
	assert_non_null(strstr(text, "&quot;x&quot; &#39;y&#39;"));
	assert_non_null(strstr(text, "run &lt;1&gt;"));
	assert_non_null(strstr(text, "prefers-color-scheme:dark"));
	assert_non_null(strstr(text, "300 ppm &amp; more"));
	assert_non_null(strstr(text, "best: step 1500"));
	size_t circles = 0;
	for (const char *at = text; (at = strstr(at, "<circle")) != NULL; at++)
		circles++;
	assert_int_equal(circles, 20);    /* one a validation */
	assert_true(page.bytes < 200000); /* 2000 rows are thinned */
	/* A run without rows has no curves and is a page all the same. */
	r.n_rows = 0;
	r.n_samples = 0;
	hth_buf_reset(&page);
	assert_ok(hth_report_render(&r, &page, &err));
	assert_null(strstr(hth_buf_str(&page), "<svg"));
	/* One row: ranges of nothing. */
	r.n_rows = 1;
	hth_buf_reset(&page);
	assert_ok(hth_report_render(&r, &page, &err));
	assert_null(strstr(hth_buf_str(&page), "nan"));
	hth_buf_clear(&page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedules_have_these_values),
		cmocka_unit_test(validations_and_checkpoints_are_spread_evenly_over_an_epoch),
		cmocka_unit_test(every_epoch_is_another_permutation_and_steps_cover_it),
		cmocka_unit_test(a_new_adapter_is_uniform_a_and_zero_b_keyed_by_seed_and_place),
		cmocka_unit_test(targets_and_last_layers_choose_what_is_trained),
		cmocka_unit_test(a_start_adapter_decides_modules_ranks_and_scales),
		cmocka_unit_test(metrics_come_back_as_written_and_end_where_the_checkpoint_stands),
		cmocka_unit_test(the_report_is_one_page_with_everything_escaped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
