/* What the tests of training share: a golden model with its ten training steps as data set and order. */
#ifndef HTH_TESTS_TRAIN_RIG_H
#define HTH_TESTS_TRAIN_RIG_H

#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "support.h"
#include "train/checkpoint.h"
#include "train/step.h"

#define GOLDEN "tests/golden/llama/"
#define GOLDEN_STEPS 10
#define GOLDEN_PER_STEP 2

struct rig {
	struct hth_train_config cfg;
	const struct hth_backend *backend;
	struct hth_machine machine;
	struct hth_pool *pool;
	struct hth_device *device;
	struct hth_model *model;
	struct hth_params params;
	struct hth_lora_set loras;
	struct hth_exec *exec;
	struct hth_stepper stepper;
	struct hth_dataset data;
	uint32_t order[GOLDEN_STEPS * GOLDEN_PER_STEP];
	float losses[GOLDEN_STEPS];
};

/* A folder of the test's own; in memory where the system has such, since tests of damage write a lot. */
static inline char *rig_scratch(void)
{
	static char dir[64];

	snprintf(dir, sizeof dir, "%s/hearth-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(dir));
	return dir;
}

static inline void rig_remove(const char *dir)
{
	struct hth_err err;

	assert_ok(hth_remove_tree(dir, &err));
}

static inline char *rig_path(const char *name, const char *tail)
{
	static char path[4][256];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], GOLDEN "%s%s", name, tail);
	return path[turn];
}

static inline const int32_t *rig_ints(const struct hth_safetensors *f, const char *name, int64_t *n)
{
	const struct hth_st_tensor *t = hth_safetensors_find(f, name);

	assert_non_null(t);
	assert_int_equal(t->dtype, HTH_ST_I32);
	if (n != NULL)
		*n = (int64_t)(t->bytes / 4);
	return (const int32_t *)(const void *)t->data;
}

/* The golden's rows, steps and losses. */
static inline void rig_read(struct rig *r, const char *name)
{
	struct hth_safetensors f;
	struct hth_err err;
	int64_t n_begin;

	assert_ok(hth_safetensors_open(&f, rig_path(name, ".safetensors"), &err));
	const int32_t *ids = rig_ints(&f, "train.ids", NULL), *target = rig_ints(&f, "train.target", NULL);
	const int32_t *begin = rig_ints(&f, "train.begin", &n_begin), *order = rig_ints(&f, "train.order", NULL);
	r->data.n = r->data.cap = (size_t)n_begin - 1;
	r->data.items = hth_calloc(r->data.n, sizeof *r->data.items);
	assert_non_null(r->data.items);
	for (size_t i = 0; i < r->data.n; i++) {
		struct hth_example *e = &r->data.items[i].tokens;
		e->n = (size_t)(begin[i + 1] - begin[i]);
		e->ids = hth_calloc(e->n, sizeof *e->ids);
		e->target = hth_calloc(e->n, 1);
		assert_non_null(e->ids);
		assert_non_null(e->target);
		r->data.items[i].line = (uint32_t)i + 1;
		for (size_t t = 0; t < e->n; t++) {
			e->ids[t] = ids[begin[i] + (int32_t)t];
			e->target[t] = (uint8_t)target[begin[i] + (int32_t)t];
			e->n_targets += e->target[t];
		}
		r->data.n_tokens += e->n;
		r->data.longest = e->n > r->data.longest ? (uint32_t)e->n : r->data.longest;
	}
	for (int i = 0; i < GOLDEN_STEPS * GOLDEN_PER_STEP; i++)
		r->order[i] = (uint32_t)order[i];
	const struct hth_st_tensor *t = hth_safetensors_find(&f, "train.losses");
	assert_non_null(t);
	assert_ok(hth_st_to_f32(t, r->losses, &err));
	hth_safetensors_close(&f);
}

/* The settings of the golden training run. */
static inline void rig_config(struct rig *r, const char *name)
{
	hth_train_config_init(&r->cfg);
	r->cfg.adapter_start = rig_path(name, "-adapter-start");
	r->cfg.learning_rate = 0.005;
	r->cfg.schedule = HTH_SCHEDULE_CONSTANT;
	r->cfg.warmup_steps = 0;
	r->cfg.weight_decay = 0;
	r->cfg.max_grad_norm = 0;
	r->cfg.compute = HTH_COMPUTE_F32;
}

static inline void rig_make_exec(struct rig *r, bool plan, uint64_t arena_bytes)
{
	struct hth_exec_config x = {.mode = plan ? HTH_EXEC_PLAN : HTH_EXEC_RUN,
				    .backend = r->backend,
				    .device = plan ? NULL : r->device,
				    .machine = r->machine,
				    .arena_bytes = arena_bytes};
	struct hth_err err;

	hth_exec_free(r->exec);
	assert_ok(hth_exec_new(&x, &r->exec, &err));
	r->stepper.exec = r->exec;
}

/* After rig_read and rig_config (and changes of the config). */
static inline void rig_open_model(struct rig *r, const char *path, const struct hth_backend *backend, int threads,
				  const struct hth_cut_config *cut)
{
	struct hth_device_config d = {.compute = HTH_COMPUTE_F32};
	struct hth_err err;

	r->backend = backend;
	r->machine.threads = threads;
	assert_ok(hth_pool_new(threads, &r->pool, &err));
	d.pool = r->pool;
	assert_ok(backend->open(&d, &r->device, &err));
	assert_ok(hth_model_open(path, &r->model, &err));
	assert_ok(hth_params_new(r->model, &r->cfg, false, &r->params, &err));
	assert_ok(hth_params_set(&r->params, &r->loras, &err));
	assert_ok(hth_model_prepare(r->model, backend, r->device, true, &err));
	hth_stepper_init(&r->stepper, NULL, r->model, &r->loras, &r->params, cut);
	rig_make_exec(r, false, (uint64_t)4 << 20);
}

static inline void rig_open(struct rig *r, const char *name, const struct hth_backend *backend, int threads,
			    const struct hth_cut_config *cut)
{
	rig_open_model(r, rig_path(name, ".gguf"), backend, threads, cut);
}

static inline void rig_close(struct rig *r)
{
	hth_exec_free(r->exec);
	hth_stepper_clear(&r->stepper);
	hth_lora_set_clear(&r->loras);
	hth_params_free(&r->params);
	hth_model_close(r->model);
	if (r->device != NULL)
		r->backend->close(r->device);
	hth_pool_free(r->pool);
	hth_dataset_clear(&r->data);
	memset(r, 0, sizeof *r);
}

/* Step `step` of the golden run, counted from 0. */
static inline void rig_step(struct rig *r, int64_t step, struct hth_step_out *out)
{
	struct hth_step_args a;
	struct hth_err err;

	hth_step_args_from(&a, &r->cfg);
	a.data = &r->data;
	a.order = r->order + step * GOLDEN_PER_STEP;
	a.n = GOLDEN_PER_STEP;
	a.step = step;
	a.update = step + 1;
	assert_ok(hth_step_run(&r->stepper, &a, out, &err));
}

#endif
