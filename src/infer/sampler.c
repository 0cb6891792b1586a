/* Sampling. Candidates stand in an array of V; what needs them in order (top-k, top-p) takes them from a heap, largest
 * first, ties by lower id, so that the order never depends on a library's sort and only as many are ordered as kept.
 * Sources: Keskar et al. 2019 (CTRL) for the penalty, Holtzman et al. 2019 for top-p, Nguyen et al. 2024 for min-p. */
#include "infer/sampler.h"

#include "base/mem.h"

#include <math.h>

struct candidate {
	float logit;
	int32_t id;
	double p; /* proportional to its probability */
};

struct hth_sampler {
	struct hth_sampler_config cfg;
	struct hth_rng_key key;
	int64_t n_vocab;
	float *logits;           /* (V) after the penalty */
	struct candidate *items; /* (V) */
	uint8_t *seen;           /* (V) penalised already in this call */
};

static enum hth_status check_config(const struct hth_sampler_config *c, struct hth_err *err)
{
	if (!(c->temperature >= 0) || !isfinite(c->temperature))
		return hth_fail(err, HTH_ERR_USAGE, "temperature %g, expected 0 or more", (double)c->temperature);
	if (c->top_k < 0)
		return hth_fail(err, HTH_ERR_USAGE, "top_k %d, expected 0 (off) or more", c->top_k);
	if (!(c->top_p > 0 && c->top_p <= 1))
		return hth_fail(err, HTH_ERR_USAGE, "top_p %g, expected more than 0 and at most 1 (off)",
				(double)c->top_p);
	if (!(c->min_p >= 0 && c->min_p <= 1))
		return hth_fail(err, HTH_ERR_USAGE, "min_p %g, expected 0 (off) to 1", (double)c->min_p);
	if (!(c->repetition_penalty > 0) || !isfinite(c->repetition_penalty))
		return hth_fail(err, HTH_ERR_USAGE, "repetition_penalty %g, expected more than 0 (1: off)",
				(double)c->repetition_penalty);
	if (c->repetition_window < 0)
		return hth_fail(err, HTH_ERR_USAGE, "repetition_window %d, expected 0 (all) or more",
				c->repetition_window);
	return HTH_OK;
}

enum hth_status hth_sampler_new(const struct hth_sampler_config *cfg, int64_t n_vocab, struct hth_sampler **out,
				struct hth_err *err)
{
	enum hth_status st = check_config(cfg, err);

	*out = NULL;
	if (st != HTH_OK)
		return st;
	if (n_vocab < 1 || n_vocab > INT32_MAX)
		return hth_fail(err, HTH_ERR_USAGE, "a vocabulary of %lld tokens, expected 1..%d", (long long)n_vocab,
				INT32_MAX);
	struct hth_sampler *s = hth_calloc(1, sizeof(*s));
	if (s != NULL) {
		s->cfg = *cfg;
		s->key = hth_rng_key(cfg->seed, HTH_RNG_SAMPLE, 0, 0);
		s->n_vocab = n_vocab;
		s->logits = hth_calloc((size_t)n_vocab, sizeof(*s->logits));
		s->items = hth_calloc((size_t)n_vocab, sizeof(*s->items));
		s->seen = hth_calloc((size_t)n_vocab, 1);
	}
	if (s == NULL || s->logits == NULL || s->items == NULL || s->seen == NULL) {
		hth_sampler_free(s);
		return hth_fail_memory(err, "a sampler", (size_t)n_vocab * sizeof(*s->items));
	}
	*out = s;
	return HTH_OK;
}

void hth_sampler_free(struct hth_sampler *s)
{
	if (s == NULL)
		return;
	hth_free(s->logits);
	hth_free(s->items);
	hth_free(s->seen);
	hth_free(s);
}

/* Each token of the history once, however often it stands there. */
static void penalise(struct hth_sampler *s, const int32_t *history, int64_t n)
{
	float penalty = s->cfg.repetition_penalty;
	int64_t first = s->cfg.repetition_window > 0 && n > s->cfg.repetition_window ? n - s->cfg.repetition_window : 0;

	for (int64_t i = first; i < n; i++) {
		int32_t id = history[i];
		if (id < 0 || id >= s->n_vocab || s->seen[id])
			continue;
		s->seen[id] = 1;
		s->logits[id] = s->logits[id] > 0 ? s->logits[id] / penalty : s->logits[id] * penalty;
	}
	for (int64_t i = first; i < n; i++)
		if (history[i] >= 0 && history[i] < s->n_vocab)
			s->seen[history[i]] = 0;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift_down(struct candidate *heap, int64_t n, int64_t at)
{
	for (;;) {
		int64_t child = 2 * at + 1;
		if (child >= n)
			return;
		if (child + 1 < n && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &heap[at]))
			return;
		struct candidate tmp = heap[at];
		heap[at] = heap[child];
		heap[child] = tmp;
		at = child;
	}
}

/* Candidates of finite or infinite logit, NaN and -inf left out. Returns how many; *best is the largest, or -1. */
static int64_t collect(struct hth_sampler *s, int32_t *best)
{
	int64_t n = 0;

	*best = -1;
	for (int64_t i = 0; i < s->n_vocab; i++) {
		float z = s->logits[i];
		if (!(z > -INFINITY))
			continue;
		s->items[n++] = (struct candidate){.logit = z, .id = (int32_t)i};
		if (*best < 0 || z > s->logits[*best])
			*best = (int32_t)i;
	}
	return n;
}

/* Moves the candidates kept by top-k and top-p to the end of items, the best last; returns where they begin. */
static int64_t keep_best(struct hth_sampler *s, int64_t n, double total)
{
	int64_t most = s->cfg.top_k > 0 && s->cfg.top_k < n ? s->cfg.top_k : n, left = n;
	double wanted, sum = 0;

	for (int64_t i = n / 2; i-- > 0;)
		sift_down(s->items, n, i);
	if (most < n) {
		/* top-p counts what top-k left: its total is known only after the first cut. */
		while (n - left < most) {
			struct candidate top = s->items[0];
			s->items[0] = s->items[--left];
			s->items[left] = top;
			sum += top.p;
			sift_down(s->items, left, 0);
		}
		if (s->cfg.top_p >= 1)
			return left;
		wanted = sum * (double)s->cfg.top_p;
		sum = 0;
		for (int64_t i = n; i-- > left;) {
			sum += s->items[i].p;
			if (sum >= wanted)
				return i;
		}
		return left;
	}
	wanted = total * (double)s->cfg.top_p;
	while (left > 0 && (n == left || sum < wanted)) {
		struct candidate top = s->items[0];
		s->items[0] = s->items[--left];
		s->items[left] = top;
		sum += top.p;
		sift_down(s->items, left, 0);
	}
	return left;
}

/* Draws from items[first .. n-1], of which min-p leaves those not far below the best. */
static int32_t draw(struct hth_sampler *s, int64_t first, int64_t n, uint64_t position)
{
	double least = (double)s->cfg.min_p, total = 0; /* the best has p = 1 */

	for (int64_t i = first; i < n; i++)
		if (s->items[i].p >= least)
			total += s->items[i].p;
	double u = hth_rng_uniform53(s->key, position, 0) * total;
	int32_t last = -1;
	for (int64_t i = n; i-- > first;) {
		if (s->items[i].p < least || s->items[i].p <= 0)
			continue;
		last = s->items[i].id;
		u -= s->items[i].p;
		if (u < 0)
			break;
	}
	return last;
}

enum hth_status hth_sampler_pick(struct hth_sampler *s, const float *logits, const int32_t *history, int64_t n,
				 uint64_t position, int32_t *id, struct hth_err *err)
{
	int32_t best;
	double total = 0;

	for (int64_t i = 0; i < s->n_vocab; i++)
		s->logits[i] = logits[i];
	if (s->cfg.repetition_penalty != 1)
		penalise(s, history, n);
	int64_t n_items = collect(s, &best);
	if (best < 0)
		return hth_fail(err, HTH_ERR_VALUE,
				"all %lld logits are NaN or -infinity; are the model's weights damaged?",
				(long long)s->n_vocab);
	*id = best;
	if (s->cfg.temperature == 0 || !isfinite(s->logits[best]))
		return HTH_OK;
	for (int64_t i = 0; i < n_items; i++) {
		s->items[i].p = exp(((double)s->items[i].logit - (double)s->logits[best]) / (double)s->cfg.temperature);
		total += s->items[i].p;
	}
	int64_t first = s->cfg.top_k > 0 || s->cfg.top_p < 1 ? keep_best(s, n_items, total) : 0;
	*id = draw(s, first, n_items, position);
	return HTH_OK;
}
