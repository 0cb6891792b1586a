/* What an export writes: which form, which type. Decided from options, output path and the model it comes from. */
#ifndef HTH_CMD_EXPORT_TARGET_H
#define HTH_CMD_EXPORT_TARGET_H

#include "cmd/exported.h"
#include "export/mix.h"
#include "models/model.h"

struct hth_export_target {
	bool folder, mlx;
	const struct hth_mix *mix; /* of a GGUF file */
	enum hth_quant type;       /* of a folder's plain tensors, scales and biases */
	int bits, group;           /* of a folder's matrices; 0: not quantised */
	bool as_stored;            /* no type was asked for: experts in mxfp4 stay in it */
	const char *name;          /* for people: "q4_k_m", "mlx4" */
};

/* Whether --type names a type; before anything is opened. */
HTH_MUST enum hth_status hth_export_check_type(const char *type, struct hth_err *err);
/* m: NULL where only a GGUF file is open. verb: of the command, for messages. */
HTH_MUST enum hth_status hth_export_choose(const struct hth_export_options *opt, enum hth_export_form form,
					   const char *verb, const struct hth_model *m, struct hth_export_target *out,
					   struct hth_err *err);
/* Whether the answer can be a folder, so that a model is needed whatever the source. */
bool hth_export_may_be_folder(const struct hth_export_options *opt, enum hth_export_form form);

#endif
