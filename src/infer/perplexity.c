/* Perplexity: the batches of training, forward only, log-probabilities summed in double in a fixed order. */
#include "infer/perplexity.h"

#include "base/mem.h"
#include "data/batch_build.h"
#include "infer/pass.h"

#include <math.h>

enum { DEFAULT_TOKENS = 2048 };

void hth_perplexity_clear(struct hth_perplexity *p)
{
	hth_free(p->example_nll);
	hth_free(p->example_targets);
	*p = (struct hth_perplexity){0};
}

/* Runs one batch; outs of it belong to examples by their sequence. */
static enum hth_status add_batch(struct hth_pass *pass, const struct hth_batch *b, struct hth_perplexity *out,
				 struct hth_err *err)
{
	const float *logp = NULL; /* (n_outs) */
	enum hth_status st;

	if (b->n_outs == 0)
		return HTH_OK;
	if ((st = hth_pass_reserve(pass, b, HTH_FORWARD_LOGP, err)) != HTH_OK ||
	    (st = hth_pass_run(pass, b, HTH_FORWARD_LOGP, &logp, err)) != HTH_OK)
		return st;
	for (int32_t i = 0; i < b->n_outs; i++) {
		if (b->outs[i].target < 0)
			continue;
		out->example_nll[b->outs[i].sequence] -= (double)logp[i];
		out->example_targets[b->outs[i].sequence]++;
	}
	return HTH_OK;
}

static enum hth_status run(struct hth_pass *pass, const struct hth_dataset *d, const struct hth_perplexity_config *cfg,
			   const uint32_t *order, struct hth_perplexity *out, struct hth_err *err)
{
	struct hth_cut_config cut_cfg = {.token_budget = cfg->token_budget > 0 ? cfg->token_budget : DEFAULT_TOKENS,
					 .share_prefix = cfg->share_prefix,
					 .adapter = cfg->adapter,
					 .rope_switch = hth_rope_switch(&pass->model->config)};
	struct hth_arena cut_arena, arena;
	struct hth_cut cut;

	hth_arena_init(&cut_arena, SIZE_MAX / 2);
	hth_arena_init(&arena, SIZE_MAX / 2);
	enum hth_status st = hth_cut_step(d, order, (int32_t)d->n, &cut_cfg, &cut_arena, &cut, err);
	for (int32_t m = 0; st == HTH_OK && m < cut.n_micro; m++) {
		struct hth_batch b;
		hth_arena_reset(&arena);
		st = hth_cut_batch(d, order, &cut, m, &cut_cfg, &arena, &b, err);
		if (st == HTH_OK)
			st = add_batch(pass, &b, out, err);
		if (st == HTH_OK && cfg->on_progress != NULL &&
		    !cfg->on_progress(cfg->ctx, (size_t)cut.begin[m + 1], d->n))
			st = hth_fail(err, HTH_ERR_INTERRUPTED, "stopped after %d of %zu examples", cut.begin[m + 1],
				      d->n);
	}
	hth_arena_clear(&arena);
	hth_arena_clear(&cut_arena);
	return st;
}

static enum hth_status sum_up(const struct hth_dataset *d, struct hth_perplexity *out, struct hth_err *err)
{
	for (size_t i = 0; i < out->n_examples; i++) {
		out->nll += out->example_nll[i];
		out->n_targets += out->example_targets[i];
	}
	if (out->n_targets == 0)
		return hth_fail(err, HTH_ERR_VALUE, "%s: no example has a token to predict",
				d->path != NULL ? d->path : "data set");
	if (!isfinite(out->nll))
		return hth_fail(err, HTH_ERR_VALUE, "%s: the loss is %g; are the weights or the adapter damaged?",
				d->path != NULL ? d->path : "data set", out->nll);
	return HTH_OK;
}

enum hth_status hth_perplexity(const struct hth_model *m, const struct hth_dataset *d,
			       const struct hth_perplexity_config *cfg, struct hth_perplexity *out, struct hth_err *err)
{
	struct hth_pass pass = {0};
	uint32_t *order = NULL; /* (n_examples) the data set's own */
	enum hth_status st = HTH_OK;

	*out = (struct hth_perplexity){.n_examples = d->n};
	if (d->n < 1 || d->n > INT32_MAX)
		return hth_fail(err, HTH_ERR_VALUE, "%zu examples, expected 1..%d", d->n, INT32_MAX);
	int n_adapters = cfg->loras != NULL ? cfg->loras->n_adapters : 0;
	if (cfg->adapter < -1 || cfg->adapter >= n_adapters)
		return hth_fail(err, HTH_ERR_USAGE, "perplexity: adapter %d, expected -1..%d", cfg->adapter,
				n_adapters - 1);
	out->example_nll = hth_calloc(d->n, sizeof(*out->example_nll));
	out->example_targets = hth_calloc(d->n, sizeof(*out->example_targets));
	order = hth_calloc(d->n, sizeof(*order));
	if (out->example_nll == NULL || out->example_targets == NULL || order == NULL) {
		st = hth_fail_memory(err, "sums of a perplexity", d->n * sizeof(*out->example_nll));
		goto done;
	}
	for (size_t i = 0; i < d->n; i++)
		order[i] = (uint32_t)i;
	if ((st = hth_pass_init(&pass, m, cfg->loras, err)) != HTH_OK ||
	    (st = run(&pass, d, cfg, order, out, err)) != HTH_OK)
		goto done;
	st = sum_up(d, out, err);
done:
	hth_pass_clear(&pass);
	hth_free(order);
	if (st != HTH_OK)
		hth_perplexity_clear(out);
	return st;
}
