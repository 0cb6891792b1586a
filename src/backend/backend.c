/* The table of backends in this build, from list.h. */
#include "backend/backend.h"

#include <string.h>

#define HTH_BACKEND(name) extern const struct hth_backend hth_backend_##name;
#include "backend/list.h"
#undef HTH_BACKEND

static const struct hth_backend *const backends[] = {
#define HTH_BACKEND(name) &hth_backend_##name,
#include "backend/list.h"
#undef HTH_BACKEND
};

const struct hth_backend *hth_backend_at(int i)
{
	return i >= 0 && (size_t)i < sizeof backends / sizeof backends[0] ? backends[i] : NULL;
}

const struct hth_backend *hth_backend_find(const char *name)
{
	for (int i = 0; hth_backend_at(i) != NULL; i++)
		if (strcmp(hth_backend_at(i)->name, name) == 0)
			return hth_backend_at(i);
	return NULL;
}
