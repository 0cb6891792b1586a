/* Setting a run up, cheapest refusals first: config, folder, data, the plan; then memory is taken and weights are
 * read. */
#include "train/run_int.h"

#include "base/file.h"
#include "base/machine.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum hth_status need_range(const char *name, double value, double low, double high, struct hth_err *err)
{
	if (value >= low && value <= high)
		return HTH_OK;
	return hth_fail(err, HTH_ERR_USAGE, "%s %g: expected %g..%g", name, value, low, high);
}

static enum hth_status check_config(const struct hth_train_config *c, struct hth_err *err)
{
	const struct {
		const char *name;
		double value, low, high;
	} ranges[] = {
		{"batch_size", (double)c->batch_size, 1, 1e6},
		{"gradient_accumulation_steps", (double)c->accumulation, 1, 1e6},
		{"iters", (double)c->iters, 0, 1e12},
		{"num_epochs", c->epochs, c->iters > 0 ? -HUGE_VAL : 1e-9, 1e6},
		{"learning_rate", c->learning_rate, 0, 1e3},
		{"warmup_ratio", c->warmup_ratio, 0, 1},
		{"min_lr_ratio", c->min_lr_ratio, 0, 1},
		{"weight_decay", c->weight_decay, 0, 1e3},
		{"adam_beta1", c->beta1, 0, 1 - 1e-12},
		{"adam_beta2", c->beta2, 0, 1 - 1e-12},
		{"adam_epsilon", c->adam_eps, 0, 1},
		{"max_grad_norm", c->max_grad_norm, 0, 1e30},
		{"keep_checkpoints", (double)c->keep_checkpoints, 1, 1e9},
	};
	for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
		enum hth_status status =
			need_range(ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high, err);
		if (status != HTH_OK)
			return status;
	}
	if (c->model == NULL || c->data == NULL || c->output_dir == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "a run needs a model, data and an output folder");
	return HTH_OK;
}

/* What an earlier run left in the folder: removed by name, or refused. Anything else there is not ours. */
static enum hth_status clear_folder(const char *dir, bool remove, struct hth_err *err)
{
	static const char *const ours[] = {"checkpoints",  "metrics.jsonl",     "adapter",
					   "adapter.gguf", "model.safetensors", "report.html"};
	enum hth_status status = HTH_OK;

	for (size_t i = 0; i < sizeof ours / sizeof ours[0] && status == HTH_OK; i++) {
		char *path = hth_path_join(dir, ours[i]);
		if (path == NULL)
			return hth_fail_memory(err, "a file's name", strlen(dir));
		if (hth_path_kind(path) != HTH_PATH_NONE)
			status = remove ? hth_remove_tree(path, err)
					: hth_fail(err, HTH_ERR_EXISTS,
						   "%s: the folder holds a run; go on with it (--resume), replace it "
						   "(--overwrite), "
						   "or choose another output folder",
						   path);
		hth_free(path);
	}
	return status;
}

static enum hth_status open_folder(struct hth_run *r, struct hth_err *err)
{
	const char *dir = r->cfg->output_dir;
	enum hth_status status = HTH_OK;

	r->checkpoints_dir = hth_path_join(dir, "checkpoints");
	r->metrics_path = hth_path_join(dir, "metrics.jsonl");
	if (r->checkpoints_dir == NULL || r->metrics_path == NULL)
		return hth_fail_memory(err, "a folder's name", strlen(dir));
	if (r->cfg->resume)
		status = hth_checkpoint_newest(r->checkpoints_dir, &r->from, err);
	else if (!r->cfg->overwrite)
		status = clear_folder(dir, false, err);
	if (status == HTH_OK && r->cfg->resume && r->from.path == NULL)
		hth_info("%s has no checkpoint yet: the run begins anew", r->checkpoints_dir);
	return status;
}

/* The budget of a resumed run is the one that its cut was made with; where memory has shrunk, another with a
 * warning. */
static enum hth_status fit(struct hth_run *r, struct hth_err *err)
{
	struct hth_fit_args a = {.cfg = r->cfg,
				 .model = r->model,
				 .backend = r->backend,
				 .machine = r->machine,
				 .train = &r->train,
				 .valid = r->n_eval > 0 ? &r->valid : NULL,
				 .token_budget = r->from.path != NULL ? r->from.at.token_budget : 0};
	enum hth_status status = hth_fit_find(&a, &r->fit, err);

	if (status == HTH_ERR_MEMORY && a.token_budget > 0 && r->cfg->token_budget == 0) {
		hth_warn("the token budget of the checkpoint, %lld, does not fit now; looking for a smaller one",
			 (long long)a.token_budget);
		a.token_budget = 0;
		status = hth_fit_find(&a, &r->fit, err);
	}
	if (status == HTH_OK && r->hooks->on_plan != NULL && !r->hooks->on_plan(r->hooks->ctx, &r->fit))
		status = hth_fail(err, HTH_ERR_INTERRUPTED, "the run was not begun");
	return status;
}

static void tell_shared_masks(const struct hth_run *r)
{
	const struct hth_walk *w = &r->fit.walk;

	if (r->cfg->dropout > 0 && w->epoch_computed < w->epoch_tokens)
		hth_info("dropout: examples that begin alike share one mask for their beginning in a micro-batch; "
			 "prefix sharing "
			 "off gives each its own");
}

/* What "all linear layers" leaves out. */
static void tell_experts(const struct hth_run *r)
{
	const struct hth_train_config *c = r->cfg;

	bool experts = c->target[HTH_EXPERTS_GATE] || c->target[HTH_EXPERTS_UP] || c->target[HTH_EXPERTS_DOWN];

	if (c->type != HTH_TRAIN_LORA || r->model->config.n_experts == 0 || c->adapter_start != NULL)
		return;
	if (experts && c->dropout > 0)
		hth_info("dropout: not on the experts' adapters, which PEFT has without it");
	if (!experts && !c->target_named && c->target[HTH_GATE])
		hth_info("adapters are on attention and %s: the experts stay as they are, as in PEFT "
			 "(--target-modules experts beside others adapts them too)",
			 r->model->config.n_shared_ff > 0 ? "shared experts" : "dense layers");
}

enum hth_status hth_run_make_exec(struct hth_run *r, uint64_t arena_bytes, struct hth_err *err)
{
	struct hth_exec_config cfg = {.mode = HTH_EXEC_RUN,
				      .backend = r->backend,
				      .device = r->device,
				      .machine = r->machine,
				      .arena_bytes = arena_bytes};

	hth_exec_free(r->exec);
	r->exec = NULL;
	enum hth_status status = hth_exec_new(&cfg, &r->exec, err);
	r->stepper.exec = r->exec;
	r->arena_bytes = arena_bytes;
	return status;
}

static enum hth_status open_device(struct hth_run *r, struct hth_err *err)
{
	struct hth_device_config cfg = {.compute = r->cfg->compute};
	struct hth_cut_config cut = {.token_budget = r->fit.token_budget, .share_prefix = r->cfg->share_prefix};
	enum hth_status status = hth_pool_new(r->machine.threads, &r->pool, err);

	if (status != HTH_OK)
		return status;
	cfg.pool = r->pool;
	status = r->backend->open(&cfg, &r->device, err);
	if (status == HTH_OK)
		status = hth_params_new(r->model, r->cfg, false, &r->params, err);
	if (status == HTH_OK)
		status = hth_params_set(&r->params, &r->loras, err);
	if (status == HTH_OK)
		status = hth_model_prepare(r->model, r->backend, r->device, true, err);
	if (status != HTH_OK)
		return status;
	hth_stepper_init(&r->stepper, NULL, r->model, &r->loras, &r->params, &cut);
	r->stepper.recompute = r->fit.recompute;
	return hth_run_make_exec(r, r->fit.walk.arena_bytes, err);
}

static enum hth_status begin_or_resume(struct hth_run *r, struct hth_err *err)
{
	enum hth_status status = HTH_OK;

	hth_run_facts(r);
	r->saved_step = -1;
	if (r->from.path != NULL) {
		status = hth_checkpoint_agrees(&r->from, &r->facts, err);
		if (status == HTH_OK)
			status = hth_checkpoint_load(&r->from, &r->params, err);
		if (status != HTH_OK)
			return status;
		int64_t now = r->at.now;
		r->at = r->from.at;
		r->at.now = now;
		r->saved_step = r->at.step;
		r->saved_pending = r->at.eval_pending;
		r->elapsed_before_s = r->at.elapsed_s;
		r->result->resumed = true;
		hth_info("resuming from %s", r->from.path);
	} else {
		/* Only now is it certain that the new run can begin. */
		status = clear_folder(r->cfg->output_dir, true, err);
		if (status != HTH_OK)
			return status;
		r->at.eval_pending = r->n_eval > 0;
	}
	r->at.token_budget = r->fit.token_budget;
	if (status == HTH_OK)
		status = hth_metrics_open(&r->metrics, r->metrics_path, r->from.path != NULL ? r->at.step : -1,
					  r->at.eval_pending != 0, err);
	return status;
}

/* One run at a time in a folder. The lock goes with the process, however that ends. File systems without locks are let
 * pass. */
static enum hth_status lock_folder(struct hth_run *r, struct hth_err *err)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *path = hth_path_join(r->cfg->output_dir, ".lock");
	enum hth_status status = HTH_OK;

	if (path == NULL)
		return hth_fail_memory(err, "a file's name", strlen(r->cfg->output_dir));
	r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (r->lock_fd < 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot open", path);
	else if (fcntl(r->lock_fd, F_SETLK, &whole) != 0 && (errno == EACCES || errno == EAGAIN))
		status = hth_fail(err, HTH_ERR_EXISTS, "%s: another process is training in this folder",
				  r->cfg->output_dir);
	hth_free(path);
	return status;
}

static enum hth_status write_config(const struct hth_run *r, struct hth_err *err)
{
	if (r->hooks->config_yaml == NULL)
		return HTH_OK;
	char *path = hth_path_join(r->cfg->output_dir, "config.yml");
	enum hth_status status =
		path != NULL ? hth_file_write(path, r->hooks->config_yaml, strlen(r->hooks->config_yaml), err)
			     : hth_fail_memory(err, "a file's name", strlen(r->cfg->output_dir));
	hth_free(path);
	return status;
}

enum hth_status hth_run_open(struct hth_run *r, struct hth_err *err)
{
	const char *backend = r->cfg->backend != NULL ? r->cfg->backend : "cpu";
	enum hth_status status = check_config(r->cfg, err);

	r->lock_fd = -1;
	r->start_s = hth_now_s();
	if (status == HTH_OK)
		status = open_folder(r, err);
	if (status != HTH_OK)
		return status;
	r->at.now = r->from.path != NULL ? r->from.at.now : (int64_t)time(NULL);
	r->backend = hth_backend_find(backend);
	if (r->backend == NULL)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend \"%s\" is not in this build", backend);
	r->machine = (struct hth_machine){.threads = r->cfg->threads > 0 ? r->cfg->threads : hth_machine_threads(),
					  .compute = r->backend->compute(r->cfg->compute, NULL)};
	status = hth_model_open(r->cfg->model, &r->model, err);
	if (status == HTH_OK)
		status = hth_train_data_read(r->cfg, r->model, r->at.now, &r->train, &r->valid, err);
	r->n_eval = hth_train_eval_items(r->cfg, &r->valid);
	if (status == HTH_OK)
		status = fit(r, err);
	if (status != HTH_OK)
		return status;
	r->total = r->fit.walk.steps;
	r->steps_per_epoch = r->fit.walk.steps_per_epoch;
	tell_shared_masks(r);
	tell_experts(r);
	status = hth_mkdirs(r->cfg->output_dir, err);
	if (status == HTH_OK)
		status = lock_folder(r, err);
	if (status == HTH_OK)
		status = open_device(r, err);
	if (status == HTH_OK)
		status = hth_order_init(&r->order, (uint32_t)r->train.n, hth_train_per_step(r->cfg), r->cfg->seed,
					r->cfg->shuffle, err);
	if (status == HTH_OK)
		status = begin_or_resume(r, err);
	if (status == HTH_OK)
		status = write_config(r, err);
	return status;
}

void hth_run_close(struct hth_run *r)
{
	hth_metrics_close(&r->metrics);
	hth_order_clear(&r->order);
	hth_stepper_clear(&r->stepper);
	hth_exec_free(r->exec);
	hth_lora_set_clear(&r->loras);
	hth_params_free(&r->params);
	hth_model_close(r->model);
	if (r->device != NULL)
		r->backend->close(r->device);
	hth_pool_free(r->pool);
	hth_dataset_clear(&r->train);
	hth_dataset_clear(&r->valid);
	hth_checkpoint_clear(&r->from);
	hth_free(r->checkpoints_dir);
	hth_free(r->metrics_path);
	if (r->lock_fd >= 0)
		close(r->lock_fd);
}
