/* Did the fine-tune survive? A file made from a tuned model (by fusing, by quantising) against that model itself, on
 * rows that it was not trained on. docs/formats/quantize.md has the rule and its reasons. */
#ifndef HTH_EVAL_SURVIVAL_H
#define HTH_EVAL_SURVIVAL_H

#include "data/dataset.h"
#include "models/model.h"

/* A model as it answers: prepared, with one of its adapters or none. */
struct hth_survival_side {
	struct hth_model *model;
	const struct hth_lora_set *loras; /* NULL: none */
	int32_t adapter;                  /* -1: the model alone */
};

struct hth_survival_config {
	struct hth_survival_side reference; /* the tuned model, adapter beside it */
	struct hth_survival_side candidate; /* what was made of it */
	struct hth_survival_side base;      /* before the fine-tune; model NULL: not known */
	const struct hth_dataset *data;
	size_t max_examples; /* of data, from its beginning; 0: all */
	size_t max_answers;  /* questions that both answer; 0: none */
	int64_t answer_tokens;
	struct hth_pool *pool; /* NULL: one thread */
	/* Told what is done of all that is to do; false stops. May be NULL. */
	bool (*on_progress)(void *ctx, size_t done, size_t total);
	void *ctx;
};

enum hth_verdict {
	HTH_SURVIVED,
	HTH_LOST_GAIN,    /* gave back more than half of what tuning had gained over the base */
	HTH_LOST_KL,      /* predicts too differently */
	HTH_LOST_ANSWERS, /* half of the right answers are gone */
};

struct hth_survival_score {
	double loss; /* mean of -log p over the targets, in nats; perplexity: its exp */
	size_t exact, contains;
};

struct hth_survival {
	size_t n_examples, n_questions;
	uint64_t n_targets;
	bool has_base;
	struct hth_survival_score base, reference, candidate; /* base: its loss alone */
	double kl;    /* mean KL(reference || candidate) over the targets, in nats */
	double agree; /* share of targets where both find the same token likeliest */
	enum hth_verdict verdict;
	char why[200]; /* one sentence for a person */
};

/* The bounds of the verdict. */
#define HTH_SURVIVAL_MAX_GIVEN_BACK 0.5 /* of the gain in loss */
#define HTH_SURVIVAL_MIN_GAIN 0.02      /* nats: below, tuning gained nothing that could be lost */
#define HTH_SURVIVAL_MAX_KL 0.5         /* nats */
#define HTH_SURVIVAL_MIN_ANSWERS 8      /* right answers of the reference below which they decide nothing */

HTH_MUST enum hth_status hth_survival_check(const struct hth_survival_config *cfg, struct hth_survival *out,
					    struct hth_err *err);

#endif
