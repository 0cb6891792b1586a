/* Between params.c and params_full.c. */
#ifndef HTH_TRAIN_PARAMS_INT_H
#define HTH_TRAIN_PARAMS_INT_H

#include "train/params.h"

/* Appends to list and counts elements (each parameter padded to 16). */
HTH_MUST enum hth_status hth_params_add(struct hth_params *p, struct hth_param *param, struct hth_err *err);

HTH_MUST enum hth_status hth_params_lay_out_full(struct hth_params *p, const struct hth_train_config *cfg,
						 struct hth_err *err);
/* Copies the weights (unless plan_only) and points the model at the copies. */
void hth_params_bind_full(struct hth_params *p, bool plan_only);
void hth_params_unbind_full(struct hth_params *p); /* the model as it was */

#endif
