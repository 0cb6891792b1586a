/* Gradient checkpointing changes no bit: steps with layers run again in the backward pass against steps that keep
 * everything, by family, by what is trained and with dropout; and what it costs and saves. */
#include "train/rig.h"

#include <math.h>

enum { STEPS = 3, EXAMPLES = 4 };
enum kind { LORA, DORA, WHOLE, FULL };

static const char *const models[] = {"llama/tied.gguf",     "qwen2/tiny.gguf",    "gemma2/tiny.gguf",
				     "gemma4_large/tiny.gguf", "qwen2moe/tiny.gguf",  "qwen35/tiny.gguf",
				     "gemma3/tiny.gguf",    "granite/tiny.gguf",  "phi3/tiny.gguf",
				     "olmo2/tiny.gguf",     "smollm3/tiny.gguf",  "mixtral/tiny.gguf",  "qwen3moe/tiny.gguf",
				     "gptoss/tiny.gguf",    "gptoss_mxfp4/tiny.gguf", "gemma4/tiny.gguf",
				     "gemma4_moe/tiny.gguf"};
enum { MODELS = sizeof models / sizeof models[0], FULL_MODELS = MODELS - 4 /* the last are not trained whole */ };

/* Examples of 12 to 30 tokens that begin alike. */
static void fill(struct hth_dataset *d)
{
	d->n = d->cap = EXAMPLES;
	d->items = hth_calloc(EXAMPLES, sizeof *d->items);
	assert_non_null(d->items);
	for (size_t i = 0; i < EXAMPLES; i++) {
		struct hth_example *e = &d->items[i].tokens;
		e->n = 12 + 6 * i;
		e->ids = hth_calloc(e->n, sizeof *e->ids);
		e->target = hth_calloc(e->n, 1);
		assert_non_null(e->ids);
		assert_non_null(e->target);
		d->items[i].line = (uint32_t)i + 1;
		for (size_t t = 0; t < e->n; t++) {
			e->ids[t] = (int32_t)(t < 9 ? t : (t * 7 + i * (t + 3)) % 50);
			e->target[t] = t > 7;
			e->n_targets += e->target[t];
		}
		d->n_tokens += e->n;
		d->longest = e->n > d->longest ? (uint32_t)e->n : d->longest;
	}
}

static void open_rig(struct rig *r, const char *model, enum kind kind, const struct hth_backend *b, int threads)
{
	static const char *const norms[] = {"norm"};
	const struct hth_cut_config cut = {.share_prefix = true, .min_shared = 4, .token_budget = 48};
	char path[128];

	memset(r, 0, sizeof *r);
	fill(&r->data);
	hth_train_config_init(&r->cfg);
	r->cfg.compute = HTH_COMPUTE_F32;
	r->cfg.learning_rate = 0.02;
	r->cfg.seed = 5;
	r->cfg.dropout = 0.3;
	r->cfg.dora = kind == DORA;
	r->cfg.type = kind == FULL ? HTH_TRAIN_FULL : HTH_TRAIN_LORA;
	if (kind == WHOLE) {
		r->cfg.modules_to_save = norms;
		r->cfg.n_modules_to_save = 1;
	}
	snprintf(path, sizeof path, "tests/golden/%s", model);
	rig_open_model(r, path, b, threads, &cut);
}

static void step(struct rig *r, int64_t at, struct hth_step_out *out)
{
	static const uint32_t order[EXAMPLES] = {2, 0, 3, 1};
	struct hth_step_args a;
	struct hth_err err;

	hth_step_args_from(&a, &r->cfg);
	a.data = &r->data;
	a.order = order;
	a.n = EXAMPLES;
	a.step = at;
	a.update = at + 1;
	assert_ok(hth_step_run(&r->stepper, &a, out, &err));
}

/* Values and moments after some steps stand for the gradients of all of them. */
static void same_bits(const char *model, enum kind kind, const struct hth_backend *b, int threads)
{
	struct rig kept, again;
	struct hth_step_out x, y;

	open_rig(&kept, model, kind, b, 1);
	open_rig(&again, model, kind, b, threads);
	again.stepper.recompute.layers = again.model->config.n_layers;
	for (int64_t s = 0; s < STEPS; s++) {
		step(&kept, s, &x);
		step(&again, s, &y);
		assert_false(x.skipped);
		assert_int_equal(x.n_micro, 2);
		assert_true(x.grad_norm > 0);
		if (x.loss != y.loss || x.grad_norm != y.grad_norm)
			fail_msg("%s, kind %d, on %s, step %lld: loss %.17g, norm %.17g, expected %.17g, %.17g", model,
				 (int)kind, b->name, (long long)s, y.loss, y.grad_norm, x.loss, x.grad_norm);
		assert_true(y.flops > x.flops * 1.05);
	}
	assert_int_equal(kept.params.n_elems, again.params.n_elems);
	assert_memory_equal(kept.params.values, again.params.values, (size_t)kept.params.n_elems * sizeof(float));
	assert_memory_equal(kept.params.m, again.params.m, (size_t)kept.params.n_elems * sizeof(float));
	rig_close(&kept);
	rig_close(&again);
}

static void on_all(enum kind kind, const char *const *names, int n)
{
	for (int i = 0; hth_backend_at(i) != NULL; i++)
		for (int k = 0; k < n && hth_backend_at(i)->host_memory; k++)
			same_bits(names[k], kind, hth_backend_at(i), 1 + k % 2);
}

static void adapters_of_every_family_train_to_the_same_bits(void **state)
{
	(void)state;
	on_all(LORA, models, MODELS);
}

static void dora_and_weights_trained_whole_train_to_the_same_bits(void **state)
{
	static const char *const some[] = {"llama/untied.gguf", "qwen2/tiny.gguf", "phi3/tiny.gguf"};

	(void)state;
	on_all(DORA, some, 3);
	on_all(WHOLE, some, 3);
}

static void full_fine_tuning_trains_to_the_same_bits(void **state)
{
	(void)state;
	on_all(FULL, models, FULL_MODELS);
}

static void a_plan_knows_peak_and_work_of_steps_that_run_layers_again(void **state)
{
	(void)state;
	for (int i = 0; hth_backend_at(i) != NULL; i++) {
		struct hth_step_out planned, ran;
		struct rig r;
		uint64_t before = UINT64_MAX;
		if (!hth_backend_at(i)->host_memory)
			continue;
		open_rig(&r, "llama/tied.gguf", LORA, hth_backend_at(i), 2);
		for (int64_t layers = 0; layers < 2; layers++) {
			r.stepper.recompute.layers = layers;
			rig_make_exec(&r, true, 0);
			step(&r, 0, &planned);
			uint64_t peak = hth_exec_totals(r.exec)->peak_ever_bytes;
			rig_make_exec(&r, false, peak); /* not a byte more than the plan says */
			step(&r, 0, &ran);
			assert_int_equal(hth_exec_totals(r.exec)->peak_ever_bytes, peak);
			assert_true(planned.flops == ran.flops);
			assert_true(peak < before);
			before = peak;
		}
		rig_close(&r);
	}
}

static void only_micro_batches_above_the_bound_run_layers_again(void **state)
{
	(void)state;
	struct hth_step_out none, some, all;
	struct rig r;

	open_rig(&r, "llama/tied.gguf", LORA, hth_backend_at(0), 1);
	rig_make_exec(&r, true, 0);
	step(&r, 0, &none);
	r.stepper.recompute = (struct hth_recompute){.layers = 2, .over = 0};
	step(&r, 0, &all);
	r.stepper.recompute.over = 48;
	step(&r, 0, &some);
	assert_true(some.flops == none.flops);
	r.stepper.recompute.over = 38; /* of two micro-batches one is larger */
	step(&r, 0, &some);
	assert_true(none.flops < some.flops && some.flops < all.flops);
	rig_close(&r);
}

static void layers_with_nothing_to_train_are_not_run_again(void **state)
{
	(void)state;
	struct hth_step_out with, without;
	struct rig r;

	memset(&r, 0, sizeof r);
	open_rig(&r, "llama/tied.gguf", LORA, hth_backend_at(0), 1);
	hth_lora_set_clear(&r.loras);
	hth_params_free(&r.params);
	r.cfg.n_layers = 1; /* the last */
	struct hth_err err;
	assert_ok(hth_params_new(r.model, &r.cfg, false, &r.params, &err));
	assert_ok(hth_params_set(&r.params, &r.loras, &err));
	step(&r, 0, &without);
	r.stepper.recompute.layers = 1; /* the first */
	step(&r, 0, &with);
	assert_true(with.flops == without.flops);
	rig_close(&r);
}

static void warmed_up_it_allocates_nothing(void **state)
{
	(void)state;
	struct hth_step_out out;
	struct rig r;

	open_rig(&r, "mixtral/tiny.gguf", LORA, hth_backend_at(0), 2);
	r.stepper.recompute.layers = 2;
	step(&r, 0, &out);
	uint64_t before = hth_mem_allocs();
	for (int64_t s = 1; s < STEPS; s++)
		step(&r, s, &out);
	assert_int_equal(hth_mem_allocs() - before, 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adapters_of_every_family_train_to_the_same_bits),
		cmocka_unit_test(dora_and_weights_trained_whole_train_to_the_same_bits),
		cmocka_unit_test(full_fine_tuning_trains_to_the_same_bits),
		cmocka_unit_test(a_plan_knows_peak_and_work_of_steps_that_run_layers_again),
		cmocka_unit_test(only_micro_batches_above_the_bound_run_layers_again),
		cmocka_unit_test(layers_with_nothing_to_train_are_not_run_again),
		cmocka_unit_test(warmed_up_it_allocates_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
