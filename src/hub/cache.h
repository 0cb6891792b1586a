/* The hub's cache layout on disk: paths, links, refs, locks. */
#ifndef HTH_HUB_CACHE_H
#define HTH_HUB_CACHE_H

#include "hub/hub.h"

#include <stdatomic.h>

struct hth_hub_cache {
	char *repo_dir, *blobs, *locks; /* owned; .../models--ORG--NAME, /blobs in it, .locks/models--ORG--NAME */
};
HTH_MUST enum hth_status hth_hub_cache_init(struct hth_hub_cache *k, const struct hth_hub_config *c, const char *repo,
					    struct hth_err *err);
void hth_hub_cache_clear(struct hth_hub_cache *k);
HTH_MUST enum hth_status hth_hub_cache_make(const struct hth_hub_cache *k, const struct hth_hub_config *c,
					    struct hth_err *err);
/* Caller frees; NULL when memory runs out. */
char *hth_hub_cache_blob(const struct hth_hub_cache *k, const char *hash, const char *suffix);
char *hth_hub_cache_snapshot(const struct hth_hub_cache *k, const char *commit, const char *file); /* file "": folder */
/* snapshots/COMMIT/path -> blobs/HASH, relative; replaces what was there. */
HTH_MUST enum hth_status hth_hub_cache_link(const struct hth_hub_cache *k, const char *commit, const char *path,
					    const char *hash, struct hth_err *err);
HTH_MUST enum hth_status hth_hub_cache_set_ref(const struct hth_hub_cache *k, const char *revision, const char *commit,
					       struct hth_err *err);
/* A revision as a commit, from refs/; a commit stands for itself. HTH_ERR_NOTFOUND. */
HTH_MUST enum hth_status hth_hub_cache_ref(const struct hth_hub_cache *k, const char *revision, char commit[65],
					   struct hth_err *err);
/* One try for the lock of a blob; false when it is held or cannot be had. */
bool hth_hub_cache_try_lock(const struct hth_hub_cache *k, const char *hash, int *fd);
/* Waits for the lock of a blob; *fd -1 where the file system has no locks. Closing fd lets go. */
HTH_MUST enum hth_status hth_hub_cache_lock(const struct hth_hub_cache *k, const struct hth_hub_config *c,
					    const char *hash, const atomic_bool *abort, int *fd, struct hth_err *err);

#endif
