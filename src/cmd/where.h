/* Where MODEL is: a path, or a hub name that was pulled. */
#ifndef HTH_CMD_WHERE_H
#define HTH_CMD_WHERE_H

#include "models/model.h"

/* A path that exists is itself; else a hub name ("ORG/MODEL[:quant]") is looked up in the hub's cache, offline.
 * *path: caller frees with hth_free. HTH_ERR_NOTFOUND says both things that were tried. */
HTH_MUST enum hth_status hth_model_where(const char *name, char **path, struct hth_err *err);
/* hth_model_open of where it is, or hth_model_open_to_write. */
HTH_MUST enum hth_status hth_model_open_named(const char *name, bool to_write, struct hth_model **out,
					      struct hth_err *err);

#endif
