/* Survival: reference and candidate predict the same targets, their whole distributions are compared, and a verdict is
 * drawn. Logits exist for a bounded number of rows at a time: a batch with more wanted rows is passed again for each
 * part of them. Questions and answers: survival_answers.c. */
#include "eval/survival.h"

#include "base/mem.h"
#include "base/pool.h"
#include "data/batch_build.h"
#include "eval/survival_int.h"
#include "infer/pass.h"
#include "infer/perplexity.h"

#include <math.h>
#include <stdio.h>

enum { TOKEN_BUDGET = 1024, MIN_ROWS = 16 };
#define MAX_LOGITS ((int64_t)24 << 20) /* floats a side: 96 MiB */

/* Sums over the targets. */
struct sums {
	double reference_nll, candidate_nll, kl;
	uint64_t n, agree;
};

/* What comparing one row of logits gives. */
struct compared {
	double reference_nll, candidate_nll, kl;
	bool agree;
};

struct compare {
	const float *a, *b; /* (R,V) logits of reference and candidate */
	int64_t n_vocab;
	const struct hth_batch *batch;
	struct compared *out; /* (n_outs) */
};

struct peak {
	int64_t at;
	double log_sum; /* of exp */
};

static struct peak log_sum_exp(const float *z, int64_t n)
{
	struct peak p = {0, 0};
	double sum = 0;

	for (int64_t i = 1; i < n; i++)
		p.at = z[i] > z[p.at] ? i : p.at;
	for (int64_t i = 0; i < n; i++)
		sum += exp((double)z[i] - (double)z[p.at]);
	p.log_sum = (double)z[p.at] + log(sum);
	return p;
}

static void compare_out(void *ctx, int64_t task, int thread)
{
	struct compare *c = ctx;
	int64_t row = c->batch->out_row[task], target = c->batch->outs[task].target;
	const float *a = c->a + row * c->n_vocab, *b = c->b + row * c->n_vocab; /* (V) */
	struct peak pa = log_sum_exp(a, c->n_vocab), pb = log_sum_exp(b, c->n_vocab);
	struct compared *out = &c->out[task];

	(void)thread;
	if (target < 0)
		return;
	out->agree = pa.at == pb.at;
	out->reference_nll = pa.log_sum - (double)a[target];
	out->candidate_nll = pb.log_sum - (double)b[target];
	for (int64_t i = 0; i < c->n_vocab; i++) {
		double log_p = (double)a[i] - pa.log_sum;
		out->kl += exp(log_p) * (log_p - ((double)b[i] - pb.log_sum));
	}
}

struct runner {
	const struct hth_survival_config *cfg;
	struct hth_pass reference, candidate;
	struct sums sums;
};

/* The logits of one part of a batch on both sides, compared. r and c: the same tokens, adapters of either side. */
static enum hth_status compare_part(struct runner *run, const struct hth_batch *r, const struct hth_batch *c,
				    struct hth_err *err)
{
	struct compare job = {.n_vocab = run->cfg->reference.model->config.n_vocab, .batch = r};
	enum hth_status s;

	if ((s = hth_pass_reserve(&run->reference, r, HTH_FORWARD_LOGITS, err)) != HTH_OK ||
	    (s = hth_pass_reserve(&run->candidate, c, HTH_FORWARD_LOGITS, err)) != HTH_OK ||
	    (s = hth_pass_run(&run->reference, r, HTH_FORWARD_LOGITS, &job.a, err)) != HTH_OK ||
	    (s = hth_pass_run(&run->candidate, c, HTH_FORWARD_LOGITS, &job.b, err)) != HTH_OK)
		return s;
	job.out = hth_calloc((size_t)r->n_outs, sizeof *job.out);
	if (job.out == NULL)
		return hth_fail_memory(err, "compared predictions", (size_t)r->n_outs * sizeof *job.out);
	hth_pool_run(run->cfg->pool, compare_out, &job, r->n_outs);
	for (int32_t i = 0; i < r->n_outs; i++) {
		if (r->outs[i].target < 0)
			continue;
		run->sums.reference_nll += job.out[i].reference_nll;
		run->sums.candidate_nll += job.out[i].candidate_nll;
		run->sums.kl += job.out[i].kl;
		run->sums.agree += job.out[i].agree;
		run->sums.n++;
	}
	hth_free(job.out);
	return HTH_OK;
}

/* Outs from..from+n of a batch as a batch of its own. */
static enum hth_status part_of(const struct hth_batch *b, int32_t from, int32_t n, struct hth_arena *arena,
			       struct hth_batch *out, struct hth_err *err)
{
	*out = *b;
	out->outs += from;
	out->n_outs = n;
	return hth_batch_finish(out, arena, err);
}

static enum hth_status compare_batch(struct runner *run, const struct hth_batch *r, const struct hth_batch *c,
				     struct hth_arena *arena, struct hth_err *err)
{
	int64_t rows = MAX_LOGITS / run->cfg->reference.model->config.n_vocab;
	int32_t step = (int32_t)(rows > MIN_ROWS ? rows : MIN_ROWS);
	enum hth_status s = HTH_OK;

	for (int32_t from = 0; from < r->n_outs && s == HTH_OK; from += step) {
		int32_t n = r->n_outs - from < step ? r->n_outs - from : step;
		struct hth_batch pr, pc;
		if ((s = part_of(r, from, n, arena, &pr, err)) == HTH_OK &&
		    (s = part_of(c, from, n, arena, &pc, err)) == HTH_OK)
			s = compare_part(run, &pr, &pc, err);
	}
	return s;
}

static bool tell(const struct hth_survival_config *cfg, size_t done, size_t total)
{
	return cfg->on_progress == NULL || cfg->on_progress(cfg->ctx, done, total);
}

static enum hth_status compare_all(struct runner *run, const uint32_t *order, int32_t n, size_t total,
				   struct hth_err *err)
{
	const struct hth_survival_config *cfg = run->cfg;
	struct hth_cut_config cut_cfg = {.token_budget = TOKEN_BUDGET,
					 .share_prefix = true,
					 .rope_switch = hth_rope_switch(&cfg->reference.model->config)};
	struct hth_arena cut_arena, arena;
	struct hth_cut cut;

	hth_arena_init(&cut_arena, SIZE_MAX / 2);
	hth_arena_init(&arena, SIZE_MAX / 2);
	enum hth_status s = hth_cut_step(cfg->data, order, n, &cut_cfg, &cut_arena, &cut, err);
	for (int32_t m = 0; s == HTH_OK && m < cut.n_micro; m++) {
		struct hth_batch r, c;
		hth_arena_reset(&arena);
		cut_cfg.adapter = cfg->reference.adapter;
		s = hth_cut_batch(cfg->data, order, &cut, m, &cut_cfg, &arena, &r, err);
		cut_cfg.adapter = cfg->candidate.adapter;
		if (s == HTH_OK)
			s = hth_cut_batch(cfg->data, order, &cut, m, &cut_cfg, &arena, &c, err);
		if (s == HTH_OK)
			s = compare_batch(run, &r, &c, &arena, err);
		if (s == HTH_OK && !tell(cfg, (size_t)cut.begin[m + 1], total))
			s = hth_fail(err, HTH_ERR_INTERRUPTED, "the check was stopped after %d examples",
				     cut.begin[m + 1]);
	}
	hth_arena_clear(&arena);
	hth_arena_clear(&cut_arena);
	return s;
}

/* The base's loss on the same examples: perplexity of a data set that borrows them. */
static enum hth_status base_loss(const struct hth_survival_config *cfg, size_t n, struct hth_survival *out,
				 struct hth_err *err)
{
	struct hth_dataset first = *cfg->data;
	struct hth_perplexity_config run = {
		.loras = cfg->base.loras, .adapter = cfg->base.adapter, .share_prefix = true};
	struct hth_perplexity p = {0};

	first.n = n;
	enum hth_status s = hth_perplexity(cfg->base.model, &first, &run, &p, err);
	if (s == HTH_OK) {
		out->has_base = true;
		out->base.loss = p.nll / (double)p.n_targets;
	}
	hth_perplexity_clear(&p);
	return s;
}

/* The rule. Its order is that of what a person can do about it. */
void hth_survival_judge(struct hth_survival *v)
{
	double gain = v->base.loss - v->reference.loss, given = v->candidate.loss - v->reference.loss;
	bool gained = v->has_base && gain >= HTH_SURVIVAL_MIN_GAIN;

	if (gained && given > HTH_SURVIVAL_MAX_GIVEN_BACK * gain) {
		v->verdict = HTH_LOST_GAIN;
		snprintf(v->why, sizeof v->why,
			 "tuning gained %.3f nats a token over the base, this file gives %.3f of them back", gain,
			 given < gain ? given : gain);
	} else if (v->reference.contains >= HTH_SURVIVAL_MIN_ANSWERS &&
		   2 * v->candidate.contains < v->reference.contains) {
		v->verdict = HTH_LOST_ANSWERS;
		snprintf(v->why, sizeof v->why, "of %zu right answers %zu are left", v->reference.contains,
			 v->candidate.contains);
	} else if (v->kl > HTH_SURVIVAL_MAX_KL) {
		v->verdict = HTH_LOST_KL;
		snprintf(v->why, sizeof v->why, "it predicts too differently: KL divergence %.3f nats, bound %.2f",
			 v->kl, HTH_SURVIVAL_MAX_KL);
	} else if (gained) {
		snprintf(v->why, sizeof v->why, "%.0f%% of what tuning gained is kept",
			 100 * (given > 0 ? 1 - given / gain : 1));
	} else {
		snprintf(v->why, sizeof v->why, "it predicts as the tuned model does");
	}
}

static enum hth_status check_sides(const struct hth_survival_config *cfg, struct hth_err *err)
{
	int64_t want = cfg->reference.model->config.n_vocab, have = cfg->candidate.model->config.n_vocab;

	if (have != want)
		return hth_fail(err, HTH_ERR_SHAPE, "%s: a vocabulary of %lld tokens, expected %lld as in %s",
				cfg->candidate.model->path, (long long)have, (long long)want,
				cfg->reference.model->path);
	if (cfg->data->n < 1 || cfg->data->n > INT32_MAX)
		return hth_fail(err, HTH_ERR_VALUE, "%zu examples to check with, expected 1..%d", cfg->data->n,
				INT32_MAX);
	return HTH_OK;
}

static enum hth_status predictions(const struct hth_survival_config *cfg, size_t n, size_t total,
				   struct hth_survival *out, struct hth_err *err)
{
	struct runner run = {.cfg = cfg};
	uint32_t *order = hth_calloc(n, sizeof *order); /* (n) the data set's own */
	enum hth_status s;

	if (order == NULL)
		return hth_fail_memory(err, "a list of examples", n * sizeof *order);
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	if ((s = hth_pass_init(&run.reference, cfg->reference.model, cfg->reference.loras, err)) != HTH_OK ||
	    (s = hth_pass_init(&run.candidate, cfg->candidate.model, cfg->candidate.loras, err)) != HTH_OK ||
	    (s = compare_all(&run, order, (int32_t)n, total, err)) != HTH_OK)
		goto done;
	double targets = (double)run.sums.n;
	out->n_targets = run.sums.n;
	out->reference.loss = run.sums.reference_nll / targets;
	out->candidate.loss = run.sums.candidate_nll / targets;
	out->kl = run.sums.kl / targets;
	out->agree = (double)run.sums.agree / targets;
	if (run.sums.n == 0 || !isfinite(out->reference.loss))
		s = hth_fail(err, HTH_ERR_VALUE, "%s: no example that the tuned model can predict",
			     cfg->data->path != NULL ? cfg->data->path : "data set");
	else if (!isfinite(out->candidate.loss) || !isfinite(out->kl))
		s = hth_fail(err, HTH_ERR_VALUE, "%s: its predictions are not numbers", cfg->candidate.model->path);
done:
	hth_pass_clear(&run.reference);
	hth_pass_clear(&run.candidate);
	hth_free(order);
	return s;
}

enum hth_status hth_survival_check(const struct hth_survival_config *cfg, struct hth_survival *out, struct hth_err *err)
{
	size_t n = cfg->data->n;

	*out = (struct hth_survival){0};
	if (cfg->max_examples > 0 && n > cfg->max_examples)
		n = cfg->max_examples;
	size_t total = n + 2 * cfg->max_answers;
	enum hth_status s = check_sides(cfg, err);
	if (s != HTH_OK)
		return s;
	out->n_examples = n;
	if ((s = predictions(cfg, n, total, out, err)) != HTH_OK)
		return s;
	if (cfg->base.model != NULL && (s = base_loss(cfg, n, out, err)) != HTH_OK)
		return s;
	if (cfg->max_answers > 0 && (s = hth_survival_answers(cfg, n, n, total, out, err)) != HTH_OK)
		return s;
	hth_survival_judge(out);
	return HTH_OK;
}
