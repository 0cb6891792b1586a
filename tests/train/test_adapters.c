/* Adapters beyond plain LoRA against PEFT (tools/golden_adapters.py): DoRA, fused modules, weights trained whole. First
 * gradients, ten losses, the adapter after them; and what must not change a bit. */
#include "train/rig.h"

#include <math.h>

/* f32 sums in another order than PyTorch's; observed below 2e-6 relative to the largest of a tensor. */
#define GRAD_TOLERANCE 1e-4
#define LOSS_TOLERANCE 1e-4
/* Ten AdamW steps of 2e-3: an element whose gradient is near zero may move either way for a step. */
#define VALUE_TOLERANCE 2e-4

static const struct {
	const char *name, *base;
} cases[] = {
	{"dora", "llama/untied"},  {"dora-bias", "qwen2/tiny"},  {"dora-fused", "phi3/tiny"},   {"fused", "phi3/tiny"},
	{"whole", "llama/untied"}, {"whole-tied", "qwen2/tiny"}, {"whole-head", "gemma/tiny"},
	{"fused-beyond", "phi3_beyond/tiny"},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static const char *adapter_file(const char *name, const char *tail)
{
	char from[64];

	snprintf(from, sizeof from, "../adapters/%s", name);
	return rig_path(from, tail);
}

static const char *base_path(int c, bool gguf)
{
	static char path[128];

	snprintf(path, sizeof path, "tests/golden/%s%s", cases[c].base, gguf ? ".gguf" : "");
	return path;
}

static void open_case(struct rig *r, int c, bool gguf, const struct hth_backend *b, int threads,
		      const struct hth_cut_config *cut)
{
	char from[64];

	*r = (struct rig){0};
	snprintf(from, sizeof from, "../adapters/%s", cases[c].name);
	rig_read(r, from);
	rig_config(r, from);
	r->cfg.adapter_start = adapter_file(cases[c].name, "-start");
	r->cfg.learning_rate = 2e-3;
	rig_open_model(r, base_path(c, gguf), b, threads, cut);
}

/* Every case on every backend, from the folder and from GGUF. */
static void on_all(void (*fn)(int c, bool gguf, const struct hth_backend *b))
{
	for (int i = 0; hth_backend_at(i) != NULL; i++)
		for (int c = 0; c < CASES; c++)
			for (int gguf = 0; gguf < 2; gguf++)
				if (hth_backend_at(i)->host_memory)
					fn(c, gguf == 1, hth_backend_at(i));
}

static void near(const char *what, const float *got, const float *want, int64_t n, double tolerance, bool relative)
{
	double largest = relative ? 1e-3 : 1;

	for (int64_t i = 0; relative && i < n; i++)
		largest = fmax(largest, fabs((double)want[i]));
	for (int64_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * largest))
			fail_msg("%s[%lld]: %.8f, expected %.8f", what, (long long)i, (double)got[i], (double)want[i]);
}

static const float *golden_grad(const struct hth_safetensors *f, const char *name, const char *tail, int64_t n)
{
	char full[200];

	snprintf(full, sizeof full, "grad.%s%s", name, tail);
	const struct hth_st_tensor *t = hth_safetensors_find(f, full);
	if (t == NULL)
		fail_msg("the golden has no %s", full);
	assert_int_equal(t->bytes, (uint64_t)n * 4);
	return (const float *)(const void *)t->data;
}

/* With lr 0 and beta1 0 the first moment is the gradient; it is put where the values are, to be read as an adapter. */
static void gradients_of(int c, bool gguf, const struct hth_backend *b)
{
	static const struct hth_cut_config cuts[] = {{0}, {.share_prefix = true, .min_shared = 4}, {.token_budget = 1}};
	struct hth_safetensors f;
	struct hth_adapter got;
	struct hth_err err;

	assert_ok(hth_safetensors_open(&f, adapter_file(cases[c].name, ".safetensors"), &err));
	for (int k = 0; k < 3; k++) {
		struct hth_step_out out;
		struct rig r;
		open_case(&r, c, gguf, b, 1, &cuts[k]);
		r.cfg.learning_rate = 0;
		r.cfg.beta1 = 0;
		rig_step(&r, 0, &out);
		memcpy(r.params.values, r.params.m, (size_t)r.params.n_elems * sizeof(float));
		assert_ok(hth_params_adapter(&r.params, &r.cfg, "", &got, &err));
		for (size_t i = 0; i < got.n_modules; i++) {
			const struct hth_lora_module *m = &got.modules[i];
			near(m->name, m->a, golden_grad(&f, m->name, ".lora_A.weight", m->rank * m->in), m->rank * m->in,
			     GRAD_TOLERANCE, true);
			near(m->name, m->b, golden_grad(&f, m->name, ".lora_B.weight", m->rank * m->out),
			     m->rank * m->out, GRAD_TOLERANCE, true);
			if (m->mag != NULL)
				near(m->name, m->mag, golden_grad(&f, m->name, ".lora_magnitude_vector", m->out), m->out,
				     GRAD_TOLERANCE, true);
		}
		for (size_t i = 0; i < r.params.replaced.n; i++) {
			const struct hth_param *p = r.params.replaced.list[i].with.param;
			near(p->name, p->value, golden_grad(&f, p->name, "", p->rows * p->cols), p->rows * p->cols,
			     GRAD_TOLERANCE, true);
		}
		assert_true(strncmp(cases[c].name, "dora", 4) != 0 || got.modules[0].mag != NULL);
		assert_true(strncmp(cases[c].name, "whole", 5) != 0 || got.n_saved > 0);
		hth_adapter_clear(&got);
		rig_close(&r);
	}
	hth_safetensors_close(&f);
}

static void first_gradients_equal_peft(void **state)
{
	(void)state;
	on_all(gradients_of);
}

static void check_adapter(const struct hth_adapter *got, const struct hth_adapter *want)
{
	assert_int_equal(got->n_modules, want->n_modules);
	assert_int_equal(got->n_saved, want->n_saved);
	for (size_t i = 0; i < got->n_modules; i++) {
		const struct hth_lora_module *m = &got->modules[i], *w = &want->modules[i];
		assert_string_equal(m->name, w->name);
		assert_true(m->scale == w->scale);
		near(m->name, m->a, w->a, w->rank * w->in, VALUE_TOLERANCE, false);
		near(m->name, m->b, w->b, w->rank * w->out, VALUE_TOLERANCE, false);
		assert_int_equal(m->mag != NULL, w->mag != NULL);
		if (m->mag != NULL)
			near(m->name, m->mag, w->mag, w->out, VALUE_TOLERANCE, false);
	}
	for (size_t i = 0; i < got->n_saved; i++) {
		const struct hth_saved_weight *s = &got->saved[i], *w = NULL;
		for (size_t j = 0; j < want->n_saved; j++)
			if (strcmp(want->saved[j].name, s->name) == 0)
				w = &want->saved[j];
		assert_non_null(w);
		near(s->name, s->value, w->value, w->rows * w->cols, VALUE_TOLERANCE, false);
	}
}

static void steps_of(int c, bool gguf, const struct hth_backend *b)
{
	const struct hth_cut_config cut = {.share_prefix = true, .min_shared = 4};
	struct hth_adapter got, want;
	struct hth_err err;
	struct rig r;

	open_case(&r, c, gguf, b, 1, &cut);
	for (int64_t s = 0; s < GOLDEN_STEPS; s++) {
		struct hth_step_out out;
		rig_step(&r, s, &out);
		if (!(fabs(out.loss - (double)r.losses[s]) < LOSS_TOLERANCE))
			fail_msg("%s on %s, step %lld: loss %.7f, expected %.7f", cases[c].name, b->name, (long long)s,
				 out.loss, (double)r.losses[s]);
	}
	assert_ok(hth_params_adapter(&r.params, &r.cfg, "", &got, &err));
	assert_ok(hth_adapter_read(adapter_file(cases[c].name, "-step10"), NULL, &want, &err));
	check_adapter(&got, &want);
	hth_adapter_clear(&got);
	hth_adapter_clear(&want);
	rig_close(&r);
}

static void ten_steps_give_pefts_losses_and_adapter(void **state)
{
	(void)state;
	on_all(steps_of);
}

static void run_steps(struct rig *r, int64_t from, int64_t to)
{
	for (int64_t s = from; s < to; s++) {
		struct hth_step_out out;
		rig_step(r, s, &out);
		assert_false(out.skipped);
	}
}

static void threads_of(int c, bool gguf, const struct hth_backend *b)
{
	const struct hth_cut_config cut = {.share_prefix = true, .token_budget = 24};
	struct rig one, many;

	if (gguf)
		return;
	open_case(&one, c, gguf, b, 1, &cut);
	open_case(&many, c, gguf, b, 5, &cut);
	run_steps(&one, 0, 3);
	run_steps(&many, 0, 3);
	assert_memory_equal(one.params.block, many.params.block, (size_t)one.params.n_elems * 4 * sizeof(float));
	rig_close(&one);
	rig_close(&many);
}

static void the_thread_count_changes_no_bit(void **state)
{
	(void)state;
	on_all(threads_of);
}

static void plan_of(int c, bool gguf, const struct hth_backend *b)
{
	const struct hth_cut_config cut = {.share_prefix = true, .token_budget = 24};
	struct hth_step_out out;
	struct rig r;

	open_case(&r, c, gguf, b, 2, &cut);
	rig_make_exec(&r, true, 0);
	for (int64_t s = 0; s < GOLDEN_STEPS; s++)
		rig_step(&r, s, &out);
	uint64_t peak = hth_exec_totals(r.exec)->peak_ever_bytes;
	rig_make_exec(&r, false, peak);
	run_steps(&r, 0, GOLDEN_STEPS);
	assert_int_equal(hth_exec_totals(r.exec)->peak_ever_bytes, peak);
	uint64_t before = hth_mem_allocs();
	run_steps(&r, 0, GOLDEN_STEPS);
	assert_int_equal(hth_mem_allocs() - before, 0);
	rig_close(&r);
}

static void a_plan_knows_the_peak_and_a_step_allocates_nothing(void **state)
{
	(void)state;
	on_all(plan_of);
}

static void resume_of(int c, bool gguf, const struct hth_backend *b)
{
	const struct hth_cut_config cut = {0};
	struct hth_progress_state at = {.step = 4, .updates = 4, .token_budget = 1};
	struct hth_facts facts = {.n = 0};
	struct hth_checkpoint saved = {0};
	struct hth_err err;
	struct rig r, again;
	const char *dir = rig_scratch();

	open_case(&r, c, gguf, b, 1, &cut);
	run_steps(&r, 0, 4);
	assert_ok(hth_checkpoint_save(dir, &r.params, &at, &facts, 3, &err));
	run_steps(&r, 4, 8);
	open_case(&again, c, gguf, b, 2, &cut);
	assert_ok(hth_checkpoint_newest(dir, &saved, &err));
	assert_ok(hth_checkpoint_load(&saved, &again.params, &err));
	run_steps(&again, 4, 8);
	assert_memory_equal(r.params.block, again.params.block, (size_t)r.params.n_elems * 4 * sizeof(float));
	hth_checkpoint_clear(&saved);
	rig_close(&r);
	rig_close(&again);
	rig_remove(dir);
}

static void a_resumed_run_has_the_bits_of_the_uninterrupted_one(void **state)
{
	(void)state;
	on_all(resume_of);
}

/* A new DoRA begins as the base, and its magnitudes are the lengths of W's rows. */
static void new_magnitudes_change_nothing(void **state)
{
	const struct hth_cut_config cut = {0};
	struct hth_step_out plain, dora;
	struct rig r;

	(void)state;
	for (int k = 0; k < 2; k++) {
		r = (struct rig){0};
		rig_read(&r, "untied");
		rig_config(&r, "untied");
		r.cfg.adapter_start = NULL;
		r.cfg.dora = k == 1;
		rig_open(&r, "untied", hth_backend_at(0), 1, &cut);
		rig_step(&r, 0, k == 0 ? &plain : &dora);
		assert_int_equal(r.params.n, (k == 0 ? 2 : 3) * 2 * HTH_DELTA_QKV);
		if (k == 1)
			assert_true(fabs(sqrt(1.2 * 1.2) - (double)r.params.loras[0]->norm[0]) < 0.8);
		rig_close(&r);
	}
	assert_true(fabs(plain.loss - dora.loss) < 1e-5);
}

static void start(struct rig *r, const char *base, enum hth_status want, const char *part)
{
	struct hth_model *m;
	struct hth_params p;
	struct hth_err err;

	assert_ok(hth_model_open(base, &m, &err));
	assert_fails(hth_params_new(m, &r->cfg, true, &p, &err), want, part);
	hth_model_close(m);
}

static void what_cannot_be_trained_is_refused_by_name(void **state)
{
	static const char *const nothing[] = {"embedding"}, *const linear[] = {"down_proj"};
	struct rig r = {0};

	(void)state;
	rig_config(&r, "untied");
	r.cfg.dora = true; /* the start has no magnitudes */
	start(&r, "tests/golden/llama/untied.gguf", HTH_ERR_USAGE, "has no magnitudes");
	r.cfg.adapter_start = NULL;
	r.cfg.modules_to_save = nothing;
	r.cfg.n_modules_to_save = 1;
	start(&r, "tests/golden/llama/untied.gguf", HTH_ERR_USAGE, "\"embedding\" names no weight");
	r.cfg.modules_to_save = linear;
	start(&r, "tests/golden/llama/untied.gguf", HTH_ERR_USAGE, "\"down_proj\" names no weight");
	r.cfg.n_modules_to_save = 0;
	r.cfg.target[HTH_K] = false;
	start(&r, "tests/golden/phi3/tiny.gguf", HTH_ERR_USAGE, "self_attn.q_proj is a part of self_attn.qkv_proj");
}

/* An adapter read onto a model and given back is the same, and through GGUF's layout too: in a GGUF file of Qwen 3.5 rows
 * and columns of its linears stand in another order than in the adapter. */
static void an_adapter_keeps_its_order_on_every_source(void **state)
{
	static const char *const models[] = {"tests/golden/qwen35/tiny.gguf", "tests/golden/qwen35/tiny",
					     "tests/golden/qwen35_nested/tiny", "tests/golden/llama/untied.gguf"};
	static const char *const starts[] = {"tests/golden/qwen35/tiny-adapter-start", "tests/golden/qwen35/tiny-adapter-start",
					     "tests/golden/qwen35_nested/tiny-adapter-start",
					     "tests/golden/llama/untied-adapter-start"};
	char file[64];

	(void)state;
	snprintf(file, sizeof file, "/tmp/hth-adapter-%ld.gguf", (long)getpid());
	for (int i = 0; i < 4; i++) {
		struct hth_adapter_names names;
		struct hth_adapter want, got, read;
		struct hth_train_config cfg;
		struct hth_params p;
		struct hth_model *m;
		struct hth_err err;
		hth_train_config_init(&cfg);
		cfg.adapter_start = starts[i];
		assert_ok(hth_model_open(models[i], &m, &err));
		hth_model_adapter_names(m, &names);
		assert_ok(hth_adapter_read(starts[i], &names, &want, &err));
		assert_ok(hth_params_new(m, &cfg, false, &p, &err));
		assert_ok(hth_params_adapter(&p, &cfg, "", &got, &err));
		assert_ok(hth_adapter_write_gguf(file, &got, &names, &err));
		assert_ok(hth_adapter_read(file, &names, &read, &err));
		assert_int_equal(got.n_modules, want.n_modules);
		assert_int_equal(read.n_modules, want.n_modules);
		for (size_t k = 0; k < want.n_modules; k++) {
			const struct hth_lora_module *a = &want.modules[k], *b;
			char name[128]; /* as the base's folder has it */
			hth_nested_name(m, a->name, name);
			b = hth_adapter_find(&got, name);
			const struct hth_lora_module *c = hth_adapter_find(&read, a->name);
			assert_true(b != NULL && c != NULL);
			assert_memory_equal(a->a, b->a, (size_t)(a->rank * a->in) * sizeof(float));
			assert_memory_equal(a->b, b->b, (size_t)(a->out * a->rank) * sizeof(float));
			assert_memory_equal(a->a, c->a, (size_t)(a->rank * a->in) * sizeof(float));
			assert_memory_equal(a->b, c->b, (size_t)(a->out * a->rank) * sizeof(float));
		}
		hth_adapter_clear(&want);
		hth_adapter_clear(&got);
		hth_adapter_clear(&read);
		hth_params_free(&p);
		hth_model_close(m);
	}
	(void)unlink(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_gradients_equal_peft),
		cmocka_unit_test(ten_steps_give_pefts_losses_and_adapter),
		cmocka_unit_test(the_thread_count_changes_no_bit),
		cmocka_unit_test(a_plan_knows_the_peak_and_a_step_allocates_nothing),
		cmocka_unit_test(a_resumed_run_has_the_bits_of_the_uninterrupted_one),
		cmocka_unit_test(new_magnitudes_change_nothing),
		cmocka_unit_test(what_cannot_be_trained_is_refused_by_name),
		cmocka_unit_test(an_adapter_keeps_its_order_on_every_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
