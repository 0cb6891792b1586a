/* A LoRA step as hearth train makes it, on random tokens: train/step.h on a planning and on a running execution. */
#include "base/rng.h"
#include "cmd/bench.h"
#include "train/step.h"

enum {
	MAX_EXAMPLES = 16,
	CHAT_PREFIX = 60, /* tokens that the chat rows share */
	CHAT_TARGETS = 32,
	MAX_BUDGET = 4096,
	MIN_BUDGET = 128,
};

/* Everything of one step; ctx of the repetitions. */
struct rig {
	struct hth_arena arena; /* rows */
	struct hth_data_example items[MAX_EXAMPLES];
	struct hth_dataset data;
	uint32_t order[MAX_EXAMPLES];
	struct hth_train_config cfg;
	struct hth_params params;
	struct hth_lora_set loras;
	struct hth_exec *exec;
	struct hth_stepper stepper;
	struct hth_step_args args;
	struct hth_step_out out;
};

static enum hth_status make_example(struct rig *r, const struct bench_row *row, int64_t n_vocab, uint32_t number,
				    struct hth_err *err)
{
	bool chat = row->what == BENCH_CHAT;
	size_t n = (size_t)row->row_tokens;
	struct hth_example *e = &r->items[number].tokens;

	e->ids = hth_arena_calloc(&r->arena, n, sizeof *e->ids);
	e->target = hth_arena_calloc(&r->arena, n, sizeof *e->target);
	if (e->ids == NULL || e->target == NULL)
		return hth_fail_memory(err, "random rows", n * sizeof *e->ids);
	e->n = n;
	for (size_t i = 0; i < n; i++) {
		uint32_t stream = chat && i < CHAT_PREFIX ? MAX_EXAMPLES : number;
		struct hth_rng_key key = hth_rng_key(7, HTH_RNG_INIT, stream, 0);
		e->ids[i] = (int32_t)hth_rng_below(key, i, 0, (uint64_t)n_vocab);
		e->target[i] = chat ? i + CHAT_TARGETS >= n : i > 0;
		e->n_targets += e->target[i];
	}
	r->items[number].line = number + 1;
	r->order[number] = number;
	r->data.n_tokens += n;
	r->data.n_targets += e->n_targets;
	return HTH_OK;
}

static void close_rig(struct rig *r)
{
	hth_stepper_clear(&r->stepper);
	hth_exec_free(r->exec);
	hth_lora_set_clear(&r->loras);
	hth_params_free(&r->params);
	hth_arena_clear(&r->arena);
}

static enum hth_status open_rig(const struct bench *b, struct bench_model *s, const struct bench_row *row,
				bool plan_only, struct rig *r, struct hth_err *err)
{
	struct hth_exec_config cfg = {.mode = plan_only ? HTH_EXEC_PLAN : HTH_EXEC_RUN,
				      .backend = b->backend,
				      .device = b->device,
				      .machine = b->machine,
				      .arena_bytes = plan_only ? 0 : row->arena_bytes};
	struct hth_cut_config cut = {.token_budget = row->token_budget, .share_prefix = true};
	enum hth_status status = HTH_OK;

	*r = (struct rig){0};
	hth_arena_init(&r->arena, (size_t)1 << 30);
	for (uint32_t i = 0; i < (uint32_t)row->rows && status == HTH_OK; i++)
		status = make_example(r, row, s->m->config.n_vocab, i, err);
	r->data.items = r->items;
	r->data.n = r->data.cap = (size_t)row->rows;
	r->data.longest = (uint32_t)row->row_tokens;
	hth_train_config_init(&r->cfg);
	r->cfg.rank = BENCH_RANK;
	r->cfg.alpha = 2 * BENCH_RANK;
	r->cfg.dropout = 0;
	if (status == HTH_OK)
		status = hth_params_new(s->m, &r->cfg, plan_only, &r->params, err);
	if (status == HTH_OK)
		status = hth_params_set(&r->params, &r->loras, err);
	if (status == HTH_OK)
		status = hth_exec_new(&cfg, &r->exec, err);
	hth_stepper_init(&r->stepper, r->exec, s->m, &r->loras, &r->params, &cut);
	hth_step_args_from(&r->args, &r->cfg);
	r->args.data = &r->data;
	r->args.order = r->order;
	r->args.n = (int32_t)row->rows;
	r->args.lr = 1e-6;
	if (status != HTH_OK)
		close_rig(r);
	return status;
}

static enum hth_status plan_budget(const struct bench *b, struct bench_model *s, struct bench_row *row,
				   struct hth_err *err)
{
	struct rig r;
	enum hth_status status = open_rig(b, s, row, true, &r, err);

	if (status != HTH_OK)
		return status;
	r.args.update = 1;
	status = hth_step_run(&r.stepper, &r.args, &r.out, err);
	row->tokens = (double)r.out.n_tokens;
	row->computed = (double)r.out.n_computed;
	row->targets = (double)r.out.n_targets;
	row->flops = r.out.flops;
	row->arena_bytes = hth_exec_totals(r.exec)->peak_ever_bytes;
	row->params_bytes = hth_params_bytes(&r.params);
	close_rig(&r);
	return status;
}

/* The budgets that hearth train tries, too (train/fit.c). Of a model that is not all there nobody asks whether it fits.
 */
enum hth_status bench_train_plan(const struct bench *b, struct bench_model *s, struct bench_row *row,
				 struct hth_err *err)
{
	enum hth_status status = HTH_OK;

	row->token_budget = b->token_budget > 0 ? b->token_budget : MAX_BUDGET;
	for (;;) {
		status = plan_budget(b, s, row, err);
		bool fits = row->arena_bytes + row->params_bytes <= b->available_bytes / 5 * 4;
		if (status != HTH_OK || fits || s->distinct < s->n_layers || b->token_budget > 0 ||
		    row->token_budget <= MIN_BUDGET)
			return status;
		row->token_budget /= 2;
	}
}

static enum hth_status repeat(void *ctx, struct hth_err *err)
{
	struct rig *r = ctx;

	r->args.step++;
	r->args.update++;
	return hth_step_run(&r->stepper, &r->args, &r->out, err);
}

static struct hth_exec *exec_of(void *ctx)
{
	return ((struct rig *)ctx)->exec;
}

enum hth_status bench_train_run(const struct bench *b, struct bench_model *s, struct bench_row *row, double seconds,
				struct bench_sample *out, struct hth_err *err)
{
	struct bench_row here = *row; /* its arena is this number of layers' */
	struct rig r;
	enum hth_status status = bench_train_plan(b, s, &here, err);

	if (status == HTH_OK)
		status = open_rig(b, s, &here, false, &r, err);
	if (status != HTH_OK)
		return status;
	status = bench_repeat(&(struct bench_work){repeat, exec_of, &r}, seconds, out, err);
	if (status == HTH_OK && r.out.skipped)
		status = hth_fail(err, HTH_ERR_VALUE, "the step's loss or gradient is not finite");
	close_rig(&r);
	return status;
}
