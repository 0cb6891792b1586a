/* Models from a hub that speaks the Hugging Face hub's API, into the hub's own cache layout, which other programs share:
 *
 *	CACHE/models--ORG--NAME/blobs/HASH                  content, named by its checksum
 *	                       /snapshots/COMMIT/file       -> ../../blobs/HASH
 *	                       /refs/main                   a commit
 *	CACHE/.locks/models--ORG--NAME/HASH.lock            flock: one download of a blob at a time
 *
 * A name is MODEL or ORG/MODEL, then @REVISION (a branch, tag or commit; main), then :FILE or :QUANT. hth_hub_find never
 * touches the network; hth_hub_pull is the only thing that does. API and layout: huggingface.co/docs/hub/api and
 * /local-cache. Why a folder of its own: docs/decisions/001-hub-folder.md. */
#ifndef HTH_HUB_HUB_H
#define HTH_HUB_HUB_H

#include "base/status.h"

#include <stdint.h>

/* Where and how. The strings are owned. hth_hub_config_init sets what is named beside the limits and times. */
struct hth_hub_config {
	char *endpoint;  /* HF_ENDPOINT, https://huggingface.co; no slash at its end */
	char *token;     /* HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file HF_TOKEN_PATH or HF_HOME/token; NULL: none */
	char *cache;     /* HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, or HF_HOME/hub */
	bool offline;    /* HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE */
	int connections; /* at a time; 4 */
	int tries;       /* without progress before giving up; 5 */
	uint64_t part_bytes;        /* large files are fetched in parts of this size, side by side; 64 MiB */
	uint64_t max_listing_bytes; /* one page of JSON; 32 MiB */
	int64_t connect_ms;         /* 20,000 */
	int64_t stall_ms;           /* below 1 KB/s for this long is a dropped connection; 30,000 */
	int64_t backoff_ms;         /* the first wait before trying again, doubled each time; 1,000 */
	int64_t max_wait_ms;        /* the longest wait that a server may ask for (Retry-After); 120,000 */
	int64_t lock_wait_ms;       /* for another program that fetches the same file; 3,600,000 */
	bool (*stopped)(void);      /* asked often, from several threads; true ends the pull. NULL: never */
};

/* Reads the usual environment variables and the token file. A token with control characters, an endpoint that is not
 * a http or https URL, or no home folder are HTH_ERR_USAGE. */
HTH_MUST enum hth_status hth_hub_config_init(struct hth_hub_config *c, struct hth_err *err);
void hth_hub_config_clear(struct hth_hub_config *c); /* safe on zeroed */

struct hth_hub_options {
	const char *revision; /* NULL: the name's, or main */
	bool verify;          /* read again and check what the cache already has */
	bool dry_run;         /* list what would be fetched */
};

struct hth_hub_file {
	char *path;    /* in the repository */
	char hash[65]; /* SHA-256, or git's blob SHA-1 (40 digits): the name of the blob */
	uint64_t bytes;
	bool cached; /* was there before this pull */
};

struct hth_hub_pulled {
	char *path; /* what a command takes as MODEL: the GGUF file or the snapshot's folder */
	char commit[65];
	struct hth_hub_file *files; /* what was chosen, in the repository's order */
	size_t n_files;
	uint64_t total_bytes, fetched_bytes; /* of the chosen files; over the network in this call */
};

/* Fetches what `name` asks for. Finished files stay in the cache whatever happens to the others, parts of files too:
 * the next call goes on from them. HTH_ERR_INTERRUPTED when stopped, HTH_ERR_UNAVAILABLE offline or without connection,
 * HTH_ERR_NOTFOUND, HTH_ERR_FORMAT (listing or checksum), HTH_ERR_LIMIT (disk, sizes, rate limit), HTH_ERR_USAGE
 * (which file is meant?). The caller clears `out`. */
HTH_MUST enum hth_status hth_hub_pull(const struct hth_hub_config *c, const char *name, const struct hth_hub_options *o,
				      struct hth_hub_pulled *out, struct hth_err *err);
void hth_hub_pulled_clear(struct hth_hub_pulled *p); /* safe on zeroed */

/* The local path of a name that was pulled: a GGUF file (the first of a split one), or a snapshot folder that is
 * complete. The environment says where the cache is. HTH_ERR_NOTFOUND names the command that pulls it, or what the
 * cache has; HTH_ERR_USAGE: not a hub name. *path: caller frees with hth_free. */
HTH_MUST enum hth_status hth_hub_find(const char *name, char **path, struct hth_err *err);
/* True when text is spelled like a hub name. A path may be too: look for the file first. */
bool hth_hub_is_name(const char *text);

#endif
