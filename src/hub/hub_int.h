/* What the files of this folder share: names, the listing of a repository, the choice of files, the fetching of them.
 * http.h, cache.h and partial.h are what they stand on. */
#ifndef HTH_HUB_INT_H
#define HTH_HUB_INT_H

#include "hub/cache.h"
#include "hub/hub.h"
#include "hub/http.h"
#include "hub/sha.h"

#define HTH_HUB_NAME_BYTES 97      /* of ORG and of MODEL, with NUL */
#define HTH_HUB_REVISION_BYTES 256 /* with NUL */
#define HTH_HUB_PATH_BYTES 1024    /* longest file name in a repository */
#define HTH_HUB_MAX_FILES 100000
#define HTH_HUB_MAX_FILE_BYTES ((uint64_t)1 << 44) /* 16 TiB */

/* name.c */
struct hth_hub_name {
	char repo[2 * HTH_HUB_NAME_BYTES];     /* "ORG/MODEL" or "MODEL" */
	char revision[HTH_HUB_REVISION_BYTES]; /* "main" when none is given */
	char pick[HTH_HUB_PATH_BYTES];         /* file or quant; "" for none */
};
HTH_MUST enum hth_status hth_hub_name_parse(const char *text, struct hth_hub_name *out, struct hth_err *err);
HTH_MUST enum hth_status hth_hub_revision_check(const char *revision, struct hth_err *err);
/* May this name from a server become a path below a folder of ours? No root, no "..", no control characters, bounded,
 * UTF-8. `why` (may be NULL) says what is wrong. */
bool hth_hub_path_ok(const char *path, size_t bytes, const char **why);
bool hth_hub_hex_ok(const char *text, size_t digits); /* exactly this many lower-case digits, then NUL */

/* listing.c */
struct hth_hub_listing {
	char commit[65];
	struct hth_hub_file *files;
	size_t n, cap;
};
HTH_MUST enum hth_status hth_hub_list(struct hth_hub_http *h, const struct hth_hub_config *c,
				      const struct hth_hub_name *name, struct hth_hub_listing *out,
				      struct hth_err *err);
/* One page of /tree added to `out`. The parser that hostile bytes meet; also what the fuzz target calls. */
HTH_MUST enum hth_status hth_hub_list_parse(struct hth_hub_listing *out, const char *text, size_t bytes,
					    const char *where, struct hth_err *err);
void hth_hub_listing_clear(struct hth_hub_listing *l);

/* choose.c */
/* Marks in want[n] the files that pick asks for ("" for the usual ones). *main_file (may stay SIZE_MAX) is the GGUF
 * file, or the first of a split one. HTH_ERR_NOTFOUND or HTH_ERR_USAGE list what there is. `hint` ends a message. */
HTH_MUST enum hth_status hth_hub_choose(const struct hth_hub_file *files, size_t n, const char *repo, const char *pick,
					bool *want, size_t *main_file, struct hth_err *err);
/* "x-00001-of-00003.gguf": its number, count and the bytes before "-00001"; false for any other name. */
bool hth_hub_split_parse(const char *path, unsigned *index, unsigned *count, size_t *stem_bytes);

/* fetch.c */
/* Fetches the chosen files that are not cached; files of equal hash once. Finished ones are blobs when it returns, with
 * whatever status. *fetched_bytes: over the network. */
HTH_MUST enum hth_status hth_hub_fetch(const struct hth_hub_config *c, const struct hth_hub_cache *k, const char *repo,
				       const char *commit, struct hth_hub_file *files, size_t n,
				       uint64_t *fetched_bytes, struct hth_err *err);

#endif
