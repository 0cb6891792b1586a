/* The two executions of a forward pass: one that plans, one that runs in an arena of the planned size. No tape. */
#include "infer/pass.h"

#include "base/machine.h"

enum hth_status hth_pass_init(struct hth_pass *p, const struct hth_model *m, const struct hth_lora_set *loras,
			      struct hth_err *err)
{
	enum hth_status st;

	*p = (struct hth_pass){.model = m, .loras = loras};
	if (m->backend == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s: the model is not on a device yet", m->path);
	if (loras == NULL) {
		st = hth_lora_set_init(&p->base, m, NULL, 0, err);
		if (st != HTH_OK)
			return st;
		p->loras = &p->base;
	}
	p->machine.threads = hth_machine_threads();
	if (m->backend->machine != NULL)
		m->backend->machine(m->device, &p->machine);
	struct hth_exec_config plan = {.mode = HTH_EXEC_PLAN, .backend = m->backend, .machine = p->machine};
	st = hth_exec_new(&plan, &p->plan, err);
	if (st != HTH_OK)
		hth_pass_clear(p);
	return st;
}

void hth_pass_clear(struct hth_pass *p)
{
	hth_exec_free(p->plan);
	hth_exec_free(p->run);
	hth_lora_set_clear(&p->base);
	*p = (struct hth_pass){0};
}

enum hth_status hth_pass_reserve(struct hth_pass *p, const struct hth_batch *b, enum hth_forward what,
				 struct hth_err *err)
{
	struct hth_exec_config cfg = {
		.mode = HTH_EXEC_RUN, .backend = p->model->backend, .device = p->model->device, .machine = p->machine};

	hth_exec_begin(p->plan, false, (struct hth_dropout){0});
	(void)hth_decoder_forward(p->plan, p->model, p->loras, b, what);
	enum hth_status st = hth_exec_end(p->plan, err);
	if (st != HTH_OK)
		return st;
	cfg.arena_bytes = hth_exec_totals(p->plan)->peak_bytes;
	if (p->run != NULL && cfg.arena_bytes <= p->bytes)
		return HTH_OK;
	hth_exec_free(p->run);
	p->run = NULL;
	p->bytes = cfg.arena_bytes;
	return hth_exec_new(&cfg, &p->run, err);
}

enum hth_status hth_pass_run(struct hth_pass *p, const struct hth_batch *b, enum hth_forward what, const float **out,
			     struct hth_err *err)
{
	*out = NULL;
	if (p->run == NULL)
		return hth_fail(err, HTH_ERR_USAGE, "%s: a pass was run before it was planned", p->model->path);
	hth_exec_begin(p->run, false, (struct hth_dropout){0});
	struct hth_tensor y = hth_decoder_forward(p->run, p->model, p->loras, b, what); /* (R,V) or (1,n_outs) */
	enum hth_status st = hth_exec_end(p->run, err);
	if (st != HTH_OK)
		return st;
	if (y.dtype != HTH_DTYPE_F32)
		return hth_fail(err, HTH_ERR_UNAVAILABLE, "backend %s: results are not f32", p->model->backend->name);
	*out = y.ctx;
	return HTH_OK;
}
