/* The optimizer step: cut, and for each micro-batch forward, loss, backward; then norm, clip and update. Values that
 * are not finite never reach a parameter: the step is skipped whole. Nothing here branches on computed values while
 * planning. */
#include "train/step.h"

#include <math.h>
#include <string.h>

#define EVAL_EXAMPLES 64 /* examples that a validation cut looks at together */

void hth_stepper_init(struct hth_stepper *s, struct hth_exec *exec, const struct hth_model *m,
		      const struct hth_lora_set *loras, struct hth_params *params, const struct hth_cut_config *cut)
{
	*s = (struct hth_stepper){.exec = exec, .model = m, .loras = loras, .params = params, .cut = *cut};
	s->cut.rope_switch = hth_rope_switch(&m->config);
	hth_arena_init(&s->step_arena, SIZE_MAX / 2);
	hth_arena_init(&s->batch_arena, SIZE_MAX / 2);
}

void hth_stepper_clear(struct hth_stepper *s)
{
	hth_arena_clear(&s->step_arena);
	hth_arena_clear(&s->batch_arena);
}

void hth_step_args_from(struct hth_step_args *a, const struct hth_train_config *cfg)
{
	*a = (struct hth_step_args){
		.lr = cfg->learning_rate,
		.beta1 = cfg->beta1,
		.beta2 = cfg->beta2,
		.eps = cfg->adam_eps,
		.weight_decay = cfg->weight_decay,
		.max_grad_norm = cfg->max_grad_norm,
		.bias_correction = cfg->bias_correction,
		.dropout = cfg->type == HTH_TRAIN_LORA && cfg->dropout > 0,
		.seed = cfg->seed,
	};
}

/* logp (1,n_outs): sum of -weight * logp, in double and in the order of outs; weighted false: weight 1. */
static double sum_loss(const struct hth_batch *b, struct hth_tensor logp, bool weighted)
{
	const float *lp = logp.ctx;
	double sum = 0;

	for (int32_t o = 0; o < b->n_outs; o++)
		sum -= (weighted ? (double)b->outs[o].weight : 1.0) * (double)lp[o];
	return sum;
}

/* One pass over a micro-batch; *loss is left alone while planning. */
static enum hth_status pass(struct hth_stepper *s, const struct hth_batch *b, bool train, struct hth_dropout drop,
			    double *loss, struct hth_err *err)
{
	hth_exec_begin(s->exec, train, drop);
	if (train && b->n_tokens > s->recompute.over)
		hth_exec_recompute(s->exec, s->recompute.layers);
	struct hth_tensor logp = hth_decoder_forward(s->exec, s->model, s->loras, b, HTH_FORWARD_LOGP);
	if (train)
		hth_exec_backward(s->exec);
	enum hth_status status = hth_exec_end(s->exec, err);
	if (status == HTH_OK && !hth_exec_planning(s->exec))
		*loss = sum_loss(b, logp, train);
	return status;
}

/* DoRA's lengths, as A and B are now: once for all passes until the next update. */
static enum hth_status measure(struct hth_stepper *s, double *flops, double *bytes_moved, struct hth_err *err)
{
	const struct hth_totals *t = hth_exec_totals(s->exec);
	double before = t->flops, bytes_before = t->bytes_moved;
	enum hth_status status = hth_op_dora_norm(s->exec, s->loras->dora, s->loras->n_dora, err);

	*flops += t->flops - before;
	*bytes_moved += t->bytes_moved - bytes_before;
	return status;
}

/* The first data line of a micro-batch, for messages. */
static uint32_t first_line(const struct hth_step_args *a, const struct hth_cut *cut, int32_t m)
{
	return a->data->items[a->order[cut->begin[m]]].line;
}

static enum hth_status run_micro_batches(struct hth_stepper *s, const struct hth_step_args *a,
					 const struct hth_cut *cut, struct hth_step_out *out, struct hth_err *err)
{
	struct hth_dropout drop = {.on = a->dropout, .seed = a->seed, .step = (uint64_t)a->step};

	for (int32_t m = 0; m < cut->n_micro; m++) {
		struct hth_batch b;
		double loss = 0;
		hth_arena_reset(&s->batch_arena);
		enum hth_status status = hth_cut_batch(a->data, a->order, cut, m, &s->cut, &s->batch_arena, &b, err);
		if (status == HTH_OK)
			status = pass(s, &b, true, drop, &loss, err);
		if (status != HTH_OK)
			return status;
		const struct hth_totals *t = hth_exec_totals(s->exec);
		out->flops += t->flops;
		out->bytes_moved += t->bytes_moved;
		out->loss += loss;
		if (!isfinite(loss) && !out->skipped) {
			out->skipped = true;
			out->bad_micro = m;
			out->bad_line = first_line(a, cut, m);
		}
	}
	return HTH_OK;
}

static enum hth_status update(struct hth_stepper *s, const struct hth_step_args *a, struct hth_step_out *out,
			      struct hth_err *err)
{
	struct hth_params *p = s->params;
	double before = hth_exec_totals(s->exec)->flops, bytes_before = hth_exec_totals(s->exec)->bytes_moved;
	enum hth_status status = hth_op_grad_norm(s->exec, p->list, p->n, &out->grad_norm, err);

	if (status != HTH_OK)
		return status;
	if (!hth_exec_planning(s->exec) && !isfinite(out->grad_norm))
		out->skipped = true;
	if (out->skipped) {
		hth_params_clear_grads(p);
		return HTH_OK;
	}
	double scale =
		a->max_grad_norm > 0 && out->grad_norm > a->max_grad_norm ? a->max_grad_norm / out->grad_norm : 1.0;
	struct hth_adamw_args adamw = {
		.params = p->list,
		.n = p->n,
		.lr = (float)a->lr,
		.beta1 = (float)a->beta1,
		.beta2 = (float)a->beta2,
		.eps = (float)a->eps,
		.weight_decay = (float)a->weight_decay,
		.grad_scale = (float)scale,
		.bias_correction = a->bias_correction,
		.step = a->update,
	};
	status = hth_op_adamw(s->exec, &adamw, err);
	out->flops += hth_exec_totals(s->exec)->flops - before;
	out->bytes_moved += hth_exec_totals(s->exec)->bytes_moved - bytes_before;
	return status;
}

enum hth_status hth_step_run(struct hth_stepper *s, const struct hth_step_args *args, struct hth_step_out *out,
			     struct hth_err *err)
{
	struct hth_cut cut;

	*out = (struct hth_step_out){.bad_micro = -1};
	hth_arena_reset(&s->step_arena);
	enum hth_status status = hth_cut_step(args->data, args->order, args->n, &s->cut, &s->step_arena, &cut, err);
	if (status == HTH_OK) {
		out->n_tokens = cut.n_tokens;
		out->n_computed = cut.n_computed;
		out->n_targets = cut.n_targets;
		out->n_micro = cut.n_micro;
		status = measure(s, &out->flops, &out->bytes_moved, err);
	}
	if (status == HTH_OK) {
		status = run_micro_batches(s, args, &cut, out, err);
	}
	if (status == HTH_OK)
		status = update(s, args, out, err);
	if (status != HTH_OK && !hth_exec_planning(s->exec))
		hth_params_clear_grads(s->params);
	return status;
}

/* Items first .. first+n-1. */
static enum hth_status eval_group(struct hth_stepper *s, const struct hth_dataset *data, uint32_t first, int32_t n,
				  bool (*stop)(void), struct hth_eval_out *out, struct hth_err *err)
{
	uint32_t order[EVAL_EXAMPLES];
	struct hth_cut cut;

	for (int32_t i = 0; i < n; i++)
		order[i] = first + (uint32_t)i;
	hth_arena_reset(&s->step_arena);
	enum hth_status status = hth_cut_step(data, order, n, &s->cut, &s->step_arena, &cut, err);
	for (int32_t m = 0; m < cut.n_micro && status == HTH_OK; m++) {
		struct hth_batch b;
		double loss = 0;
		if (stop != NULL && stop())
			return hth_fail(err, HTH_ERR_INTERRUPTED, "stopped during validation");
		hth_arena_reset(&s->batch_arena);
		status = hth_cut_batch(data, order, &cut, m, &s->cut, &s->batch_arena, &b, err);
		if (status == HTH_OK)
			status = pass(s, &b, false, (struct hth_dropout){0}, &loss, err);
		out->loss_sum += loss;
		out->n_targets += b.n_outs;
		out->flops += hth_exec_totals(s->exec)->flops;
		out->bytes_moved += hth_exec_totals(s->exec)->bytes_moved;
	}
	out->n_tokens += cut.n_tokens;
	out->n_computed += cut.n_computed;
	return status;
}

enum hth_status hth_eval_run(struct hth_stepper *s, const struct hth_dataset *data, int64_t n, bool (*stop)(void),
			     struct hth_eval_out *out, struct hth_err *err)
{
	*out = (struct hth_eval_out){0};
	enum hth_status measured = measure(s, &out->flops, &out->bytes_moved, err);
	if (measured != HTH_OK)
		return measured;
	for (int64_t i = 0; i < n; i += EVAL_EXAMPLES) {
		int32_t some = (int32_t)(n - i < EVAL_EXAMPLES ? n - i : EVAL_EXAMPLES);
		enum hth_status status = eval_group(s, data, (uint32_t)i, some, stop, out, err);
		if (status != HTH_OK)
			return status;
	}
	return HTH_OK;
}
