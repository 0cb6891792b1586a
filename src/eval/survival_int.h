/* Between survival.c (predictions, verdict) and survival_answers.c (questions). */
#ifndef HTH_EVAL_SURVIVAL_INT_H
#define HTH_EVAL_SURVIVAL_INT_H

#include "eval/survival.h"

/* Both sides answer the first questions of the data; fills exact and contains. done, total: of the progress so far. */
HTH_MUST enum hth_status hth_survival_answers(const struct hth_survival_config *cfg, size_t n_examples, size_t done,
					      size_t total, struct hth_survival *out, struct hth_err *err);

/* Draws the verdict from the numbers: fills verdict and why. */
void hth_survival_judge(struct hth_survival *v);

#endif
