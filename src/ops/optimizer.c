/* The ops over parameters: the norm of all gradients and the update. They read no values and stand beside the tape;
 * both may be called while planning, so that their scratch is part of the plan. */
#include "ops/exec_int.h"

#include <math.h>

enum hth_status hth_op_grad_norm(struct hth_exec *x, struct hth_param *const *params, int64_t n, double *norm,
                                 struct hth_err *err)
{
	double sum = 0.0;
	struct hth_grad_norm_args args = {.params = params, .n = n, .out = &sum};
	enum hth_status status = hth_exec_call_slot(x, HTH_OP_grad_norm, &args, err);

	*norm = sqrt(sum);
	return status;
}

enum hth_status hth_op_adamw(struct hth_exec *x, const struct hth_adamw_args *args, struct hth_err *err)
{
	if (args->step < 1)
		return hth_fail(err, HTH_ERR_SHAPE, "adamw: step %lld, expected 1 or more", (long long)args->step);
	for (int64_t i = 0; i < args->n; i++) {
		const struct hth_param *p = args->params[i];
		if (p->grad != NULL && (p->m == NULL || p->v == NULL))
			return hth_fail(err, HTH_ERR_SHAPE, "adamw: \"%s\" has a gradient but no moments",
			                p->name != NULL ? p->name : "a parameter");
	}
	return hth_exec_call_slot(x, HTH_OP_adamw, args, err);
}
