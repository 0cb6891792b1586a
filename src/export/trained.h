/* A full fine-tuning as a model: its base with the trained weights in their places. */
#ifndef HTH_EXPORT_TRAINED_H
#define HTH_EXPORT_TRAINED_H

#include "base/status.h"

/* base: path of the model that was trained; weights: the run's model.safetensors, f32 by Hugging Face's names, of the row
 * order and conventions that the base has in memory. out_path becomes a folder of the base's type. HTH_ERR_SHAPE when a
 * weight is none of the base's. */
HTH_MUST enum hth_status hth_export_trained(const char *base, const char *weights, const char *out_path,
					    struct hth_err *err);

#endif
