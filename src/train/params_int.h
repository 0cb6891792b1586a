/* Between params.c, params_full.c and params_saved.c. */
#ifndef HTH_TRAIN_PARAMS_INT_H
#define HTH_TRAIN_PARAMS_INT_H

#include "train/params.h"

/* Appends to list and counts elements (each parameter padded to 16). */
HTH_MUST enum hth_status hth_params_add(struct hth_params *p, struct hth_param *param, struct hth_err *err);

HTH_MUST enum hth_status hth_params_lay_out_full(struct hth_params *p, const struct hth_train_config *cfg,
						 struct hth_err *err);
/* w as an f32 matrix whose values are q's. */
void hth_params_point(struct hth_weight *w, struct hth_param *q);
/* Rows of w, as they are in f32, into q's values. */
void hth_params_copy_weight(const struct hth_weight *w, struct hth_param *q);

/* params_saved.c: weights trained whole beside LoRA. start: of the adapter that the run begins with. */
HTH_MUST enum hth_status hth_params_lay_out_saved(struct hth_params *p, const struct hth_train_config *cfg,
						  const struct hth_replacements *start, struct hth_err *err);
/* How many parameters that may add. */
size_t hth_params_count_saved(struct hth_params *p, const struct hth_train_config *cfg,
			      const struct hth_replacements *start);
void hth_params_bind_saved(struct hth_params *p, const struct hth_replacements *start, bool plan_only);
/* Appends them to an adapter, in its arena; false when memory runs out. */
bool hth_params_put_saved(const struct hth_params *p, struct hth_adapter *out);

/* Copies the weights (unless plan_only) and points the model at the copies. */
void hth_params_bind_full(struct hth_params *p, bool plan_only);
void hth_params_unbind_full(struct hth_params *p); /* the model as it was */

#endif
