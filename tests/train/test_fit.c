/* Planning a run: the budget that fits, what is said when none does, and that the parts add up. On ref, whose memory is
 * activations alone. */
#include "base/log.h"
#include "train/fit.h"
#include "train/rig.h"

static struct hth_err err;

struct planned {
	struct hth_train_config cfg;
	struct hth_model *model;
	struct hth_dataset data;
	struct hth_fit_args args;
};

/* 64 examples of 100 tokens, the last ten of each trained on; shared: all begin alike. */
static void open_planned(struct planned *p, bool shared)
{
	memset(p, 0, sizeof *p);
	hth_train_config_init(&p->cfg);
	p->cfg.rank = 4;
	p->cfg.batch_size = 64;
	p->cfg.epochs = 2;
	assert_ok(hth_model_open(GOLDEN "tied.gguf", &p->model, &err));
	p->data.n = p->data.cap = 64;
	p->data.items = hth_calloc(64, sizeof *p->data.items);
	assert_non_null(p->data.items);
	for (int i = 0; i < 64; i++) {
		struct hth_example *e = &p->data.items[i].tokens;
		*e = (struct hth_example){
			.ids = hth_calloc(100, 4), .target = hth_calloc(100, 1), .n = 100, .n_targets = 10};
		assert_non_null(e->ids);
		assert_non_null(e->target);
		for (int t = 0; t < 100; t++)
			e->ids[t] = shared && t < 80 ? t : (t * 7 + i * (t + 1)) % 200;
		memset(e->target + 90, 1, 10);
		p->data.items[i].line = (uint32_t)i + 1;
	}
	p->data.n_rows = 64;
	p->data.n_tokens = 6400;
	p->data.n_targets = 640;
	p->data.longest = 100;
	p->args = (struct hth_fit_args){.cfg = &p->cfg,
					.model = p->model,
					.backend = hth_backend_find("ref"),
					.machine = {.threads = 1},
					.train = &p->data,
					.program_bytes = 1000};
}

static void close_planned(struct planned *p)
{
	hth_dataset_clear(&p->data);
	hth_model_close(p->model);
}

static void the_parts_of_the_memory_add_up(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;

	open_planned(&p, false);
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	const struct hth_memory *m = &fit.memory;
	assert_int_equal(m->total_bytes, m->mapped_bytes + m->prepared_bytes + m->params_bytes + m->arena_bytes +
						 m->data_bytes + m->program_bytes);
	assert_int_equal(m->prepared_bytes, 0); /* ref reads weights as they are */
	/* Two layers: q 32x20 k, v 16x20 o 20x32 gate, up 40x20 down 20x40, embedding 264x20, f32. */
	assert_int_equal(m->mapped_bytes, 4 * (2 * (640 + 320 + 320 + 640 + 800 + 800 + 800) + 264 * 20));
	/* r 4: A and B of each, five copies. */
	assert_int_equal(m->params_bytes, 5 * 4 * 2 * 4 * ((32 + 20) + 2 * (16 + 20) + (20 + 32) + 3 * (40 + 20)));
	assert_int_equal(fit.walk.steps, 2);
	assert_int_equal(fit.walk.steps_per_epoch, 1);
	assert_true(fit.walk.epoch_tokens == 6400);
	assert_true(fit.walk.epoch_targets == 640);
	/* Nothing is shared here, so a larger micro-batch would save no work. */
	assert_int_equal(fit.token_budget, 512);
	assert_int_equal((int64_t)fit.walk.micro_batches, 26); /* 5 examples each, the last 4, twice */
	/* A plan leaves the model as it was. */
	assert_null(p.model->embed.param);
	close_planned(&p);
}

static void less_memory_makes_smaller_micro_batches(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit most, fit;
	int64_t before = INT64_MAX;

	open_planned(&p, false);
	assert_ok(hth_fit_find(&p.args, &most, &err));
	for (int part = 2; part <= 4; part *= 2) { /* one example alone needs an eighth */
		p.cfg.memory_limit =
			most.memory.total_bytes - most.memory.arena_bytes + most.memory.arena_bytes / (uint64_t)part;
		assert_ok(hth_fit_find(&p.args, &fit, &err));
		assert_true(fit.token_budget < before);
		assert_true(fit.memory.total_bytes <= p.cfg.memory_limit);
		/* The next larger budget would not have fitted. */
		assert_true(fit.memory.arena_bytes * 2 > most.memory.arena_bytes / (uint64_t)part);
		before = fit.token_budget;
	}
	p.cfg.checkpointing = HTH_CHECKPOINTING_OFF;
	p.cfg.token_budget = 4096; /* asked for: never another one */
	assert_fails(hth_fit_find(&p.args, &fit, &err), HTH_ERR_MEMORY, "does not fit");
	close_planned(&p);
}

static void what_does_not_fit_is_told_with_what_would(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit most, fit;

	open_planned(&p, false);
	p.cfg.checkpointing = HTH_CHECKPOINTING_OFF;
	p.cfg.token_budget = 1; /* one example at a time */
	assert_ok(hth_fit_find(&p.args, &most, &err));
	p.cfg.token_budget = 0;
	p.cfg.memory_limit = most.memory.total_bytes - most.memory.arena_bytes / 2;
	assert_fails(hth_fit_find(&p.args, &fit, &err), HTH_ERR_MEMORY, "with max_seq_length 32 it would fit");
	assert_int_equal(fit.memory.arena_bytes, most.memory.arena_bytes); /* the true need is told, not the limit */
	p.cfg.memory_limit = most.memory.total_bytes - most.memory.arena_bytes - 1;
	assert_fails(hth_fit_find(&p.args, &fit, &err), HTH_ERR_MEMORY, "choose a smaller base");
	close_planned(&p);
}

/* Four layers, of which three may run again; the last example is `longest` tokens long, the others 100. */
static void open_deep(struct planned *p, int longest)
{
	open_planned(p, false);
	hth_model_close(p->model);
	assert_ok(hth_model_open("tests/golden/smollm3/tiny.gguf", &p->model, &err));
	p->args.model = p->model;
	struct hth_example *e = &p->data.items[63].tokens;
	hth_free(e->ids);
	hth_free(e->target);
	*e = (struct hth_example){.ids = hth_calloc((size_t)longest, 4),
				  .target = hth_calloc((size_t)longest, 1),
				  .n = (size_t)longest,
				  .n_targets = 10};
	assert_non_null(e->ids);
	assert_non_null(e->target);
	memset(e->target + longest - 10, 1, 10);
	for (size_t i = 0; i < 64; i++) /* this family's vocabulary is smaller */
		for (size_t t = 0; t < p->data.items[i].tokens.n; t++)
			p->data.items[i].tokens.ids[t] %= 50;
	p->data.longest = (uint32_t)longest;
}

/* Bytes that the run needs at least, one example at a time. */
static uint64_t least(struct planned *p, enum hth_checkpointing how)
{
	struct hth_fit fit;

	p->cfg.checkpointing = how;
	p->cfg.token_budget = 1;
	p->cfg.memory_limit = 0;
	assert_ok(hth_fit_find(&p->args, &fit, &err));
	p->cfg.token_budget = 0;
	return fit.memory.total_bytes;
}

static void layers_run_twice_exactly_where_the_limit_demands_it(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;
	char text[200];

	open_deep(&p, 400);
	uint64_t plain = least(&p, HTH_CHECKPOINTING_OFF), again = least(&p, HTH_CHECKPOINTING_ON);
	assert_true(again < plain);
	p.cfg.checkpointing = HTH_CHECKPOINTING_AUTO;
	p.cfg.memory_limit = plain; /* smaller micro-batches do */
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_int_equal(fit.recompute.layers, 0);
	assert_int_equal(strlen(hth_fit_recompute_text(&fit, text)), 0);
	p.cfg.memory_limit = plain - 1;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_int_equal(fit.recompute.layers, 1);
	assert_true(fit.memory.total_bytes <= p.cfg.memory_limit);
	assert_true(fit.plain_arena_bytes > fit.memory.arena_bytes);
	assert_true(fit.plain_flops < fit.walk.flops);
	assert_non_null(strstr(hth_fit_recompute_text(&fit, text), "1 of 4 layers run twice in micro-batches of more than"));
	p.cfg.checkpointing = HTH_CHECKPOINTING_OFF;
	assert_fails(hth_fit_find(&p.args, &fit, &err), HTH_ERR_MEMORY, "with gradient_checkpointing auto it would fit");
	p.cfg.checkpointing = HTH_CHECKPOINTING_AUTO;
	p.cfg.memory_limit = again;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_int_equal(fit.memory.total_bytes, again);
	assert_int_equal(fit.recompute.layers, 3);
	p.cfg.memory_limit = again - 1;
	assert_fails(hth_fit_find(&p.args, &fit, &err), HTH_ERR_MEMORY, "with gradient checkpointing");
	close_planned(&p);
}

static void no_more_layers_run_twice_than_must(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;
	bool seen[4] = {false};
	int64_t before = 0;

	open_deep(&p, 400);
	uint64_t plain = least(&p, HTH_CHECKPOINTING_OFF), again = least(&p, HTH_CHECKPOINTING_ON);
	p.cfg.checkpointing = HTH_CHECKPOINTING_AUTO;
	for (int i = 0; i <= 12; i++) {
		p.cfg.memory_limit = plain - (plain - again) * (uint64_t)i / 12;
		assert_ok(hth_fit_find(&p.args, &fit, &err));
		assert_true(fit.memory.total_bytes <= p.cfg.memory_limit);
		assert_true(fit.recompute.layers >= before);
		before = fit.recompute.layers;
		seen[before] = true;
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	close_planned(&p);
}

static void only_the_long_example_pays_for_its_length(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit, all;

	open_deep(&p, 1000);
	p.cfg.memory_limit = least(&p, HTH_CHECKPOINTING_ON) + 20000; /* room for the others' batches */
	p.cfg.checkpointing = HTH_CHECKPOINTING_ON;
	assert_ok(hth_fit_find(&p.args, &all, &err));
	assert_int_equal(all.recompute.layers, 3);
	assert_int_equal(all.recompute.over, 0);
	p.cfg.checkpointing = HTH_CHECKPOINTING_AUTO;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_true(fit.token_budget >= 100 && fit.token_budget < 1000);
	assert_int_equal(fit.recompute.over, fit.token_budget);
	assert_true(fit.plain_flops < fit.walk.flops && fit.walk.flops < all.walk.flops);
	close_planned(&p);
}

/* The cut of a resumed run changes its bits, running layers twice does not. */
static void a_given_budget_is_kept_by_running_layers_twice(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;

	open_deep(&p, 100);
	p.args.token_budget = 2048;
	p.cfg.memory_limit = 0;
	p.cfg.checkpointing = HTH_CHECKPOINTING_ON;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	p.cfg.memory_limit = fit.memory.total_bytes;
	p.cfg.checkpointing = HTH_CHECKPOINTING_AUTO;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_int_equal(fit.token_budget, 2048);
	assert_int_equal(fit.recompute.layers, 3);
	assert_int_equal(fit.recompute.over, 0);
	close_planned(&p);
}

static void shared_beginnings_save_work(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit with, without;

	open_planned(&p, true);
	assert_ok(hth_fit_find(&p.args, &with, &err));
	p.cfg.share_prefix = false;
	assert_ok(hth_fit_find(&p.args, &without, &err));
	assert_true(without.walk.epoch_computed == 6400);
	assert_true(with.walk.epoch_computed == 80 + 64 * 20);
	assert_true(with.walk.flops < without.walk.flops / 2);
	close_planned(&p);
}

static void full_fine_tuning_counts_every_weight_five_times(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;

	open_planned(&p, false);
	p.cfg.type = HTH_TRAIN_FULL;
	assert_ok(hth_fit_find(&p.args, &fit, &err));
	assert_int_equal(fit.memory.mapped_bytes, 0);
	/* The matrices, and vectors of 20 padded to 32: two norms a layer and the last. */
	assert_int_equal(fit.memory.params_bytes,
			 5 * 4 * (2 * (640 + 320 + 320 + 640 + 800 + 800 + 800) + 264 * 20 + 5 * 32));
	assert_null(p.model->embed.param);
	assert_null(p.model->head.param);
	close_planned(&p);
}

static void running_out_of_memory_while_planning_is_an_error(void **state)
{
	(void)state;
	struct planned p;
	struct hth_fit fit;

	open_planned(&p, true);
	for (uint64_t n = 1;; n++) {
		hth_mem_fail_at(n, true);
		enum hth_status status = hth_fit_find(&p.args, &fit, &err);
		hth_mem_fail_at(0, false);
		if (status == HTH_OK)
			break;
		assert_int_equal(status, HTH_ERR_MEMORY);
		assert_null(p.model->embed.param);
		assert_true(n < 10000);
	}
	close_planned(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_parts_of_the_memory_add_up),
		cmocka_unit_test(less_memory_makes_smaller_micro_batches),
		cmocka_unit_test(what_does_not_fit_is_told_with_what_would),
		cmocka_unit_test(layers_run_twice_exactly_where_the_limit_demands_it),
		cmocka_unit_test(no_more_layers_run_twice_than_must),
		cmocka_unit_test(only_the_long_example_pays_for_its_length),
		cmocka_unit_test(a_given_budget_is_kept_by_running_layers_twice),
		cmocka_unit_test(shared_beginnings_save_work),
		cmocka_unit_test(full_fine_tuning_counts_every_weight_five_times),
		cmocka_unit_test(running_out_of_memory_while_planning_is_an_error),
	};
	hth_log_set_level(HTH_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
