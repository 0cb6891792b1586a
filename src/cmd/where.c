/* Where MODEL is: see where.h. */
#include "cmd/where.h"

#include "base/file.h"
#include "base/mem.h"
#include "hub/hub.h"

enum hth_status hth_model_where(const char *name, char **path, struct hth_err *err)
{
	*path = NULL;
	if (hth_path_kind(name) != HTH_PATH_NONE) {
		*path = hth_strdup(name);
		return *path != NULL ? HTH_OK : hth_fail_memory(err, "a path", 256);
	}
	if (hth_hub_is_name(name))
		return hth_hub_find(name, path, err);
	return hth_fail(err, HTH_ERR_NOTFOUND, "%s: no such file or folder", name);
}

enum hth_status hth_model_open_named(const char *name, bool to_write, struct hth_model **out, struct hth_err *err)
{
	char *path = NULL;
	*out = NULL;
	enum hth_status s = hth_model_where(name, &path, err);
	if (s == HTH_OK)
		s = to_write ? hth_model_open_to_write(path, out, err) : hth_model_open(path, out, err);
	hth_free(path);
	return s;
}
