/* What a run trains: LoRA matrices of the chosen linears, or every weight (full fine-tuning). One block of memory holds
 * values, gradients, both moments and the best values so far, each n_elems f32 in the same order. */
#ifndef HTH_TRAIN_PARAMS_H
#define HTH_TRAIN_PARAMS_H

#include "models/model.h"
#include "train/config.h"

struct hth_params {
	enum hth_train_type type;
	struct hth_model *model; /* borrowed */
	struct hth_arena arena;  /* owns names, lists and LoRAs */
	struct hth_param **list; /* (n) by layer, linear, A before B; or by weight */
	int64_t n;
	uint64_t n_elems;
	float *block;                         /* owned: values, grads, m, v, best; NULL when only planned */
	float *values, *grads, *m, *v, *best; /* (n_elems) */
	struct hth_lora **loras;              /* [linears], NULL where not trained; NULL in full fine-tuning */
	int32_t rank;                         /* largest of the modules */
	double alpha;
	bool rslora, dora;
	bool *gate_up;            /* (layers) gate and up of the experts share A */
	struct hth_replacements replaced; /* beside LoRA: weights trained whole (modules_to_save) */
	struct hth_weight *saved; /* full: the model's weights as they were, put back by free */
	struct hth_weight **saved_at;
	size_t n_saved;
};

#define HTH_PARAM_COPIES 5 /* values, grads, m, v, best */

/* Lays out the parameters; with plan_only nothing of their size is allocated and no weight is read: enough for a
 * planning execution. Else values are initialised: A uniform in +-1/sqrt(C) keyed by seed and place, B zero (PEFT's
 * init), magnitudes the lengths of W's rows; or from cfg->adapter_start, whose modules, ranks and scales then replace
 * the config's; or copies of the weights. Call before hth_model_prepare: full fine-tuning makes the model's weights
 * point at its copies. */
HTH_MUST enum hth_status hth_params_new(struct hth_model *m, const struct hth_train_config *cfg, bool plan_only,
					struct hth_params *out, struct hth_err *err);
void hth_params_free(struct hth_params *p);            /* safe on zeroed; before hth_model_close */
uint64_t hth_params_bytes(const struct hth_params *p); /* of the block */
void hth_params_clear_grads(struct hth_params *p);
void hth_params_keep_best(struct hth_params *p); /* best = values */
void hth_params_use_best(struct hth_params *p);  /* values = best */
/* NULL, or the name of a parameter with a value that is not finite. */
const char *hth_params_not_finite(const struct hth_params *p);
/* The model seen with the parameters: what steps and answers use. The empty set in full fine-tuning. */
HTH_MUST enum hth_status hth_params_set(struct hth_params *p, struct hth_lora_set *out, struct hth_err *err);
/* The trained LoRA as a value for the adapter writers (from `values`); base: what base_model_name_or_path says. */
HTH_MUST enum hth_status hth_params_adapter(const struct hth_params *p, const struct hth_train_config *cfg,
					    const char *base, struct hth_adapter *out, struct hth_err *err);

#endif
