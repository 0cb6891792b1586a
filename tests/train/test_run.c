/* Whole runs of a tiny model: what they leave, and that being stopped, killed or damaged changes no bit of the end. */
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "train/metrics.h"
#include "train/rig.h"
#include "train/stop.h"
#include "train/train.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static struct hth_err err;
static char dir[64];

static char *in_dir(const char *name)
{
	static char path[4][256];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
	return path[turn];
}

/* 22 rows that begin alike, as domain data does. */
static void write_data(const char *name, int n)
{
	FILE *f = fopen(in_dir(name), "wb");

	assert_non_null(f);
	for (int i = 0; i < n; i++)
		fprintf(f,
			"{\"messages\":[{\"role\":\"system\",\"content\":\"You "
			"know.\"},{\"role\":\"user\",\"content\":\"%c%d?\"},"
			"{\"role\":\"assistant\",\"content\":\"%c%c%d\"}]}\n",
			'a' + i % 5, i, 'A' + i % 5, 'A' + i % 3, i % 7);
	fclose(f);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "%s", rig_scratch());
	write_data("data.jsonl", 22);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	rig_remove(dir);
	return 0;
}

static struct hth_train_config config(const char *out)
{
	struct hth_train_config c;

	hth_train_config_init(&c);
	c.model = GOLDEN "tied.gguf";
	c.data = hth_strdup(in_dir("data.jsonl")); /* kept by the test's process */
	c.output_dir = hth_strdup(in_dir(out));
	c.rank = 4;
	c.dropout = 0.1;
	c.batch_size = 2;
	c.accumulation = 2;
	c.iters = 13;
	c.learning_rate = 0.01;
	c.seed = 5;
	c.val_fraction = 0.2;
	c.eval_every = 3;
	c.save_every = 4;
	c.report_every = 5;
	c.token_budget = 150;
	c.threads = 1;
	c.backend = hth_backend_at(0)->name;
	c.sample_rows = 2;
	return c;
}

static void free_config(struct hth_train_config *c)
{
	hth_free((void *)(uintptr_t)c->data);
	hth_free((void *)(uintptr_t)c->output_dir);
}

static enum hth_status run(const struct hth_train_config *c, const struct hth_train_hooks *h,
			   struct hth_train_result *r)
{
	return hth_train_run(c, h, r, &err);
}

/* A file of a run; caller frees. */
static char *read_run(const char *out, const char *name, size_t *bytes)
{
	char path[256], *data;

	snprintf(path, sizeof path, "%s/%s/%s", dir, out, name);
	assert_ok(hth_file_read(path, 1 << 24, &data, bytes, &err));
	return data;
}

static void same_file(const char *a, const char *b, const char *name)
{
	size_t na, nb;
	char *x = read_run(a, name, &na), *y = read_run(b, name, &nb);

	if (na != nb || memcmp(x, y, na) != 0)
		fail_msg("%s differs between %s and %s", name, a, b);
	hth_free(x);
	hth_free(y);
}

/* Steps, losses, rates and norms of the two runs' metrics, bit for bit; times may differ. */
static void same_metrics(const char *a, const char *b)
{
	struct hth_metrics_row *x, *y;
	size_t nx, ny;
	char path[256];

	snprintf(path, sizeof path, "%s/%s/metrics.jsonl", dir, a);
	assert_ok(hth_metrics_read(path, &x, &nx, &err));
	snprintf(path, sizeof path, "%s/%s/metrics.jsonl", dir, b);
	assert_ok(hth_metrics_read(path, &y, &ny, &err));
	assert_int_equal(nx, ny);
	for (size_t i = 0; i < nx; i++) {
		assert_int_equal(x[i].step, y[i].step);
		assert_int_equal(x[i].is_validation, y[i].is_validation);
		if (!x[i].is_validation) {
			assert_memory_equal(&x[i].loss, &y[i].loss, sizeof(double));
			assert_memory_equal(&x[i].grad_norm, &y[i].grad_norm, sizeof(double));
			assert_memory_equal(&x[i].lr, &y[i].lr, sizeof(double));
		} else {
			assert_memory_equal(&x[i].val_loss, &y[i].val_loss, sizeof(double));
		}
		assert_int_equal(x[i].tokens, y[i].tokens);
	}
	hth_free(x);
	hth_free(y);
}

/* The end of two runs: weights, moments, best, and what is exported. */
static void same_end(const char *a, const char *b)
{
	same_file(a, b, "checkpoints/step-13/weights.safetensors");
	same_file(a, b, "checkpoints/step-13/moments.safetensors");
	same_file(a, b, "checkpoints/step-13/best.safetensors");
	same_file(a, b, "adapter/adapter_model.safetensors");
	same_file(a, b, "adapter.gguf");
	same_metrics(a, b);
}

static enum hth_status some_answer(void *ctx, struct hth_model *m, const struct hth_lora_set *loras, int32_t adapter,
				   const int32_t *prompt, int64_t n, struct hth_buf *out, struct hth_err *e)
{
	(void)ctx;
	assert_non_null(m->device);
	assert_int_equal(loras->n_adapters, 1);
	assert_true(n > 3 && prompt[0] >= 0);
	hth_buf_puts(out, adapter < 0 ? "the base says <this>" : "the tuned one says that");
	return hth_buf_status(out, "answer", e);
}

static void a_run_leaves_metrics_checkpoints_adapters_and_a_report(void **state)
{
	(void)state;
	struct hth_train_config c = config("whole");
	struct hth_train_hooks h = {.config_yaml = "model: x\n", .answer = some_answer};
	struct hth_train_result r;
	struct hth_adapter a = {0};
	struct hth_adapter_names names;
	struct hth_model *m;
	size_t n;
	char *text;

	assert_ok(run(&c, &h, &r));
	assert_int_equal(r.steps, 13);
	assert_int_equal(r.skipped, 0);
	assert_false(r.resumed);
	assert_true(r.last_loss < r.first_loss);
	assert_true(r.best_loss < r.base_loss);
	assert_true(r.best_step > 0);
	assert_int_equal(r.planned_bytes, r.arena_bytes);
	text = read_run("whole", "config.yml", &n);
	assert_string_equal(text, "model: x\n");
	hth_free(text);
	struct hth_metrics_row *rows;
	assert_ok(hth_metrics_read(in_dir("whole/metrics.jsonl"), &rows, &n, &err));
	assert_int_equal(n, 13 + 1 + 5); /* steps; the base; steps 3 6 9 12 and the last */
	assert_true(rows[0].is_validation && rows[0].step == 0 && rows[0].val_loss == r.base_loss);
	double best = 1e9;
	int64_t best_step = 0;
	for (size_t i = 1; i < n; i++)
		if (rows[i].is_validation && rows[i].val_loss < best) {
			best = rows[i].val_loss;
			best_step = rows[i].step;
		}
	assert_int_equal(best_step, r.best_step);
	assert_true(best == r.best_loss);
	hth_free(rows);
	char **list;
	assert_ok(hth_dir_list(in_dir("whole/checkpoints"), &list, &n, &err));
	assert_int_equal(n, 3); /* 8, 12, 13 of 4, 8, 12, 13 */
	assert_string_equal(list[0], "step-12");
	assert_string_equal(list[1], "step-13");
	hth_names_free(list, n);
	/* Both adapters read back and say the same. */
	assert_ok(hth_model_open(c.model, &m, &err));
	hth_model_adapter_names(m, &names);
	assert_ok(hth_adapter_read(in_dir("whole/adapter"), &names, &a, &err));
	assert_int_equal(a.n_modules, 14);
	assert_int_equal(a.rank, 4);
	float b0 = a.modules[3].b[1];
	assert_true(b0 != 0);
	hth_adapter_clear(&a);
	assert_ok(hth_adapter_read(in_dir("whole/adapter.gguf"), &names, &a, &err));
	assert_true(a.modules[3].b[1] == b0);
	hth_adapter_clear(&a);
	hth_model_close(m);
	text = read_run("whole", "report.html", &n);
	assert_non_null(strstr(text, "the base says &lt;this&gt;"));
	assert_non_null(strstr(text, "the tuned one says that"));
	assert_non_null(strstr(text, "<svg"));
	hth_free(text);
	/* The folder is not run over. */
	assert_fails(run(&c, NULL, &r), HTH_ERR_EXISTS, "--resume");
	c.overwrite = true;
	c.iters = 2;
	assert_ok(run(&c, NULL, &r));
	assert_int_equal(r.steps, 2);
	assert_int_equal(hth_path_kind(in_dir("whole/checkpoints/step-13")), HTH_PATH_NONE);
	free_config(&c);
}

static void make_reference(void)
{
	struct hth_train_config c = config("reference");
	struct hth_train_result r;

	if (hth_path_kind(c.output_dir) == HTH_PATH_NONE)
		assert_ok(run(&c, NULL, &r));
	free_config(&c);
}

struct stop_at {
	int64_t step;
	int signal_number; /* 0: hth_stop_request */
};

static void stop_hook(void *ctx, const struct hth_train_progress *p)
{
	const struct stop_at *s = ctx;

	if (p->step != s->step)
		return;
	if (s->signal_number != 0)
		raise(s->signal_number);
	else
		hth_stop_request();
}

static void a_stopped_and_resumed_run_is_the_uninterrupted_one_bit_for_bit(void **state)
{
	(void)state;
	make_reference();
	for (int64_t step = 1; step <= 12; step += step < 6 ? 1 : 3) {
		char out[32];
		snprintf(out, sizeof out, "stopped-%lld", (long long)step);
		struct hth_train_config c = config(out);
		struct stop_at s = {.step = step, .signal_number = step == 2 ? SIGTERM : step == 3 ? SIGINT : 0};
		struct hth_train_hooks h = {.ctx = &s, .on_step = stop_hook};
		struct hth_train_result r;
		assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "everything is saved");
		assert_int_equal(r.steps, step);
		c.resume = true;
		assert_ok(run(&c, NULL, &r));
		assert_true(r.resumed);
		assert_int_equal(r.steps, 13 - step);
		same_end("reference", out);
		free_config(&c);
	}
}

static void the_thread_count_changes_no_bit_of_a_run(void **state)
{
	(void)state;
	struct hth_train_config c = config("threads");
	struct hth_train_result r;

	make_reference();
	c.threads = 3;
	assert_ok(run(&c, NULL, &r));
	same_end("reference", "threads");
	free_config(&c);
}

static void layers_run_twice_change_no_bit_of_a_run(void **state)
{
	(void)state;
	struct hth_train_result r;
	struct stop_at s = {.step = 5};
	struct hth_train_hooks h = {.ctx = &s, .on_step = stop_hook};

	make_reference();
	for (int first = 0; first < 2; first++) { /* off before the stop and on after it, or the other way about */
		struct hth_train_config c = config(first ? "twice-first" : "twice-then");
		c.checkpointing = first ? HTH_CHECKPOINTING_ON : HTH_CHECKPOINTING_OFF;
		assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "everything is saved");
		c.checkpointing = first ? HTH_CHECKPOINTING_OFF : HTH_CHECKPOINTING_ON;
		c.resume = true;
		assert_ok(run(&c, NULL, &r));
		assert_int_equal(r.steps, 8);
		assert_int_equal(r.arena_bytes, r.planned_bytes);
		same_end("reference", first ? "twice-first" : "twice-then");
		free_config(&c);
	}
}

static void batches_and_accumulation_are_one_thing(void **state)
{
	(void)state;
	struct hth_train_config c = config("accumulated");
	struct hth_train_result r;

	make_reference();
	c.batch_size = 4;
	c.accumulation = 1;
	assert_ok(run(&c, NULL, &r));
	same_end("reference", "accumulated");
	free_config(&c);
}

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A signal at moments all over the run's time, again and again, until it has come to its end; later lives get
 * longer. The time was measured on a machine that may have been busier then: a run that ends before its first signal
 * begins again, with signals twice as early. */
static void end_again_and_again(const char *out, int signal_number)
{
	struct hth_train_config timed = config("timed"), c = config(out);
	struct hth_rng_key key = hth_rng_key(1, HTH_RNG_TEST, (uint32_t)signal_number, 0);
	struct hth_train_result r;
	int ends = 0, how = 0;

	make_reference();
	timed.overwrite = true;
	timed.save_every = c.save_every = 1;
	c.resume = true;
	long took_us = now_us();
	assert_ok(run(&timed, NULL, &r));
	took_us = now_us() - took_us;
	for (int life = 0; life < 300; life++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			enum hth_status status = run(&c, NULL, &r);
			_exit(status == HTH_OK ? 0 : status == HTH_ERR_INTERRUPTED ? 3 : 1);
		}
		usleep((useconds_t)((long)hth_rng_below(key, (uint64_t)life, 0, (uint64_t)took_us) +
				    took_us * life / 60));
		kill(child, signal_number);
		assert_int_equal(waitpid(child, &how, 0), child);
		if (WIFEXITED(how) && WEXITSTATUS(how) != 3) {
			assert_int_equal(WEXITSTATUS(how), 0);
			if (ends > 0)
				break;
			assert_ok(hth_remove_tree(c.output_dir, &err));
			took_us /= 2;
			continue;
		}
		ends++;
	}
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
	assert_true(ends >= 1);
	same_end("reference", out);
	free_config(&timed);
	free_config(&c);
}

static void killed_again_and_again_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	end_again_and_again("killed", SIGKILL);
}

static void asked_to_stop_again_and_again_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	end_again_and_again("terminated", SIGTERM);
}

static void run_beside(void *ctx, const struct hth_train_progress *p)
{
	int *how = ctx;

	if (p->step != 2)
		return;
	pid_t child = fork();
	if (child == 0) {
		struct hth_train_config c = config("locked");
		c.resume = true;
		enum hth_status status = run(&c, NULL, NULL);
		_exit(status == HTH_ERR_EXISTS && strstr(err.text, "another process") != NULL ? 0 : 1);
	}
	waitpid(child, how, 0);
}

static void two_runs_cannot_share_a_folder(void **state)
{
	(void)state;
	struct hth_train_config c = config("locked");
	int how = -1;
	struct hth_train_hooks h = {.ctx = &how, .on_step = run_beside};
	struct hth_train_result r;

	c.iters = 3;
	assert_ok(run(&c, &h, &r));
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
	free_config(&c);
}

/* As if the walk had not seen the largest batches. */
static bool plan_too_little(void *ctx, const struct hth_fit *fit)
{
	(void)ctx;
	((struct hth_fit *)(uintptr_t)fit)->walk.arena_bytes /= 3;
	return true;
}

static void a_batch_larger_than_planned_is_planned_anew(void **state)
{
	(void)state;
	struct hth_train_config c = config("grown");
	struct hth_train_hooks h = {.on_plan = plan_too_little};
	struct hth_train_result r;

	make_reference();
	assert_ok(run(&c, &h, &r));
	assert_true(r.arena_bytes > r.planned_bytes);
	same_end("reference", "grown");
	free_config(&c);
}

/* The same where keeping everything is one byte too much. */
static bool plan_too_little_and_no_more(void *ctx, const struct hth_fit *fit)
{
	((struct hth_fit *)(uintptr_t)fit)->memory.limit_bytes = fit->memory.total_bytes - 1;
	return plan_too_little(ctx, fit);
}

static void a_batch_that_cannot_be_kept_runs_layers_twice_from_there_on(void **state)
{
	(void)state;
	struct hth_train_config c = config("twice");
	struct hth_train_hooks h = {.on_plan = plan_too_little_and_no_more};
	struct hth_train_result r;

	make_reference();
	assert_ok(run(&c, &h, &r));
	same_end("reference", "twice");
	c.checkpointing = HTH_CHECKPOINTING_OFF;
	c.overwrite = true;
	assert_fails(run(&c, &h, &r), HTH_ERR_MEMORY, "needs an arena of at least");
	free_config(&c);
}

static void a_second_interrupt_leaves_at_once(void **state)
{
	(void)state;
	pid_t child = fork();
	int how;

	assert_true(child >= 0);
	if (child == 0) {
		hth_stop_install();
		raise(SIGINT);
		if (!hth_stop_requested())
			_exit(1);
		raise(SIGINT);
		_exit(2);
	}
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFEXITED(how));
	assert_int_equal(WEXITSTATUS(how), 130);
}

static void a_damaged_newest_checkpoint_costs_only_the_way_back(void **state)
{
	(void)state;
	struct hth_train_config c = config("damaged");
	struct stop_at s = {.step = 9};
	struct hth_train_hooks h = {.ctx = &s, .on_step = stop_hook};
	struct hth_train_result r;

	make_reference();
	assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "step 9");
	FILE *f = fopen(in_dir("damaged/checkpoints/step-9/moments.safetensors"), "r+b");
	assert_non_null(f);
	fseek(f, -5, SEEK_END);
	fputc(0x55, f);
	fclose(f);
	c.resume = true;
	assert_ok(run(&c, NULL, &r));
	assert_int_equal(r.steps, 5); /* from step 8 */
	same_end("reference", "damaged");
	free_config(&c);
}

static void a_resume_with_other_settings_names_the_one_that_differs(void **state)
{
	(void)state;
	struct hth_train_config c = config("differs"), d;
	struct stop_at s = {.step = 4};
	struct hth_train_hooks h = {.ctx = &s, .on_step = stop_hook};
	struct hth_train_result r;

	assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "step 4");
	c.resume = true;
	d = c;
	d.seed = 6;
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "cannot resume");
	d = c;
	d.rank = 8;
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "rank was 4, is now 8");
	d = c;
	d.target[HTH_Q] = false;
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "targets was qkvogud, is now -kvogud");
	d = c;
	d.batch_size = 3;
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "examples a step was 4, is now 6");
	d = c;
	d.model = GOLDEN "untied.gguf";
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "model was");
	write_data("other.jsonl", 21);
	char *other = hth_strdup(in_dir("other.jsonl"));
	d = c;
	d.data = other;
	assert_fails(run(&d, NULL, &r), HTH_ERR_USAGE, "training data was");
	hth_free(other);
	d = c;
	d.learning_rate = 0.001; /* a warning, and on it goes */
	d.iters = 6;
	assert_ok(run(&d, NULL, &r));
	assert_int_equal(r.steps, 2);
	free_config(&c);
}

static void early_stopping_ends_the_run_and_exports_the_best(void **state)
{
	(void)state;
	struct hth_train_config c = config("early");
	struct hth_train_result r;
	struct hth_safetensors best, out;

	c.learning_rate = 2; /* validation gets worse soon */
	c.schedule = HTH_SCHEDULE_CONSTANT;
	c.iters = 200;
	c.eval_every = 1;
	c.patience = 4;
	assert_ok(run(&c, NULL, &r));
	assert_true(r.stopped_early);
	assert_int_equal(r.steps, r.best_step + 4);
	char name[64];
	snprintf(name, sizeof name, "early/checkpoints/step-%lld/best.safetensors", (long long)r.steps);
	assert_ok(hth_safetensors_open(&best, in_dir(name), &err));
	assert_ok(hth_safetensors_open(&out, in_dir("early/adapter/adapter_model.safetensors"), &err));
	assert_int_equal(best.n_tensors, out.n_tensors);
	for (size_t i = 0; i < best.n_tensors; i++) {
		char full[200];
		snprintf(full, sizeof full, "base_model.model.%s", best.tensors[i].name);
		const struct hth_st_tensor *t = hth_safetensors_find(&out, full);
		assert_non_null(t);
		assert_memory_equal(t->data, best.tensors[i].data, t->bytes);
	}
	hth_safetensors_close(&best);
	hth_safetensors_close(&out);
	c.resume = true; /* it is over: only its files are written again */
	assert_ok(run(&c, NULL, &r));
	assert_int_equal(r.steps, 0);
	free_config(&c);
}

static void a_run_that_does_not_fit_is_refused_before_anything_is_written(void **state)
{
	(void)state;
	struct hth_train_config c = config("toolarge");
	struct hth_train_result r;

	c.token_budget = 0;
	c.memory_limit = 1000;
	assert_fails(run(&c, NULL, &r), HTH_ERR_MEMORY, "this run does not fit");
	assert_non_null(strstr(err.text, "may use 1"));
	assert_int_equal(hth_path_kind(c.output_dir), HTH_PATH_NONE);
	free_config(&c);
}

static bool refuse_plan(void *ctx, const struct hth_fit *fit)
{
	*(struct hth_fit *)ctx = *fit;
	return false;
}

static void the_plan_can_be_looked_at_and_refused(void **state)
{
	(void)state;
	struct hth_train_config c = config("refused");
	struct hth_fit fit = {0};
	struct hth_train_hooks h = {.ctx = &fit, .on_plan = refuse_plan};
	struct hth_train_result r;

	assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "not begun");
	assert_int_equal(fit.token_budget, 150);
	assert_int_equal(fit.walk.steps, 13);
	assert_int_equal(fit.walk.n_evals, 6);
	assert_int_equal(hth_path_kind(c.output_dir), HTH_PATH_NONE);
	free_config(&c);
}

static void gradients_that_never_become_finite_end_the_run_naming_rows(void **state)
{
	(void)state;
	struct hth_train_config c = config("nan");
	struct hth_train_result r;

	c.alpha = 1e38;
	c.iters = 50;
	assert_fails(run(&c, NULL, &r), HTH_ERR_VALUE, "data.jsonl:");
	assert_int_equal(r.skipped, 10);
	assert_int_equal(hth_path_kind(in_dir("nan/adapter")), HTH_PATH_NONE);
	free_config(&c);
}

static void full_fine_tuning_resumes_bit_for_bit_too(void **state)
{
	(void)state;
	struct hth_train_result r;
	struct stop_at s = {.step = 5};
	struct hth_train_hooks h = {.ctx = &s, .on_step = stop_hook};

	for (int stopped = 0; stopped < 2; stopped++) {
		struct hth_train_config c = config(stopped ? "full-b" : "full-a");
		c.type = HTH_TRAIN_FULL;
		if (stopped) {
			assert_fails(run(&c, &h, &r), HTH_ERR_INTERRUPTED, "step 5");
			c.resume = true;
		}
		assert_ok(run(&c, NULL, &r));
		assert_true(r.best_loss < 6);
		free_config(&c);
	}
	same_file("full-a", "full-b", "checkpoints/step-13/weights.safetensors");
	same_file("full-a", "full-b", "model.safetensors");
	same_metrics("full-a", "full-b");
}

/* An allocation fails somewhere in a short run, early ones each and later ones at growing distance: an error or a run that
 * came through with a warning, never a crash, a leak or half a checkpoint. */
static void running_out_of_memory_anywhere_is_survived(void **state)
{
	(void)state;
	struct hth_train_config c = config("memory");
	struct hth_train_result r;
	struct hth_checkpoint newest;
	bool whole = false;

	c.iters = 2;
	c.save_every = 1;
	c.overwrite = true;
	for (uint64_t n = 1; !whole; n += 1 + n / 25) {
		uint64_t before = hth_mem_allocs();
		hth_mem_fail_at(n, false);
		enum hth_status status = run(&c, NULL, &r);
		hth_mem_fail_at(0, false);
		whole = hth_mem_allocs() - before < n;
		if (status != HTH_OK && status != HTH_ERR_MEMORY)
			fail_msg("allocation %llu: %s", (unsigned long long)n, err.text);
		if (hth_path_kind(in_dir("memory/checkpoints")) == HTH_PATH_DIR) {
			assert_ok(hth_checkpoint_newest(in_dir("memory/checkpoints"), &newest, &err));
			hth_checkpoint_clear(&newest);
		}
	}
	free_config(&c);
}

static void settings_out_of_range_are_named(void **state)
{
	(void)state;
	struct hth_train_config c = config("range");
	struct hth_train_result r;

	c.learning_rate = -1;
	assert_fails(run(&c, NULL, &r), HTH_ERR_USAGE, "learning_rate");
	c.learning_rate = NAN;
	assert_fails(run(&c, NULL, &r), HTH_ERR_USAGE, "learning_rate");
	c.learning_rate = 1;
	c.batch_size = 0;
	assert_fails(run(&c, NULL, &r), HTH_ERR_USAGE, "batch_size");
	c.batch_size = 1;
	c.backend = "nonesuch";
	assert_fails(run(&c, NULL, &r), HTH_ERR_UNAVAILABLE, "nonesuch");
	assert_int_equal(hth_path_kind(c.output_dir), HTH_PATH_NONE);
	free_config(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_leaves_metrics_checkpoints_adapters_and_a_report),
		cmocka_unit_test(a_stopped_and_resumed_run_is_the_uninterrupted_one_bit_for_bit),
		cmocka_unit_test(the_thread_count_changes_no_bit_of_a_run),
		cmocka_unit_test(layers_run_twice_change_no_bit_of_a_run),
		cmocka_unit_test(batches_and_accumulation_are_one_thing),
		cmocka_unit_test(killed_again_and_again_it_ends_with_the_same_bits),
		cmocka_unit_test(asked_to_stop_again_and_again_it_ends_with_the_same_bits),
		cmocka_unit_test(two_runs_cannot_share_a_folder),
		cmocka_unit_test(a_batch_larger_than_planned_is_planned_anew),
		cmocka_unit_test(a_batch_that_cannot_be_kept_runs_layers_twice_from_there_on),
		cmocka_unit_test(a_second_interrupt_leaves_at_once),
		cmocka_unit_test(a_damaged_newest_checkpoint_costs_only_the_way_back),
		cmocka_unit_test(a_resume_with_other_settings_names_the_one_that_differs),
		cmocka_unit_test(early_stopping_ends_the_run_and_exports_the_best),
		cmocka_unit_test(a_run_that_does_not_fit_is_refused_before_anything_is_written),
		cmocka_unit_test(the_plan_can_be_looked_at_and_refused),
		cmocka_unit_test(gradients_that_never_become_finite_end_the_run_naming_rows),
		cmocka_unit_test(full_fine_tuning_resumes_bit_for_bit_too),
		cmocka_unit_test(running_out_of_memory_anywhere_is_survived),
		cmocka_unit_test(settings_out_of_range_are_named),
	};
	hth_log_set_level(HTH_LOG_QUIET);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
