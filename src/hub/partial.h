/* A blob on its way: what is here of it survives an interrupted pull. */
#ifndef HTH_HUB_PARTIAL_H
#define HTH_HUB_PARTIAL_H

#include "hub/hub.h"
#include "hub/sha.h"

/* A blob on its way: HASH.hearth.incomplete holds the content's bytes at their places and, behind them, how many bytes
 * of each part are here. The name is our own, since other programs take the length of HASH.incomplete for the bytes
 * done. */
struct hth_hub_partial {
	int fd;
	char *path;          /* owned */
	uint64_t bytes;      /* of the content */
	uint64_t part_bytes; /* of every part but the last */
	uint32_t n_parts;
	uint64_t *done; /* (n_parts) bytes at the start of each part that are here; owned */
};
#define HTH_HUB_PARTIAL_SUFFIX ".hearth.incomplete"

/* Opens or makes it, and takes path (hth_free'd in any case); a state that does not fit is forgotten. */
HTH_MUST enum hth_status hth_hub_partial_open(struct hth_hub_partial *p, char *path, uint64_t bytes,
					      uint64_t part_bytes, struct hth_err *err);
void hth_hub_partial_close(struct hth_hub_partial *p); /* keeps the file; safe on zeroed with fd -1 */
uint64_t hth_hub_partial_part_bytes(const struct hth_hub_partial *p, uint32_t part);
uint64_t hth_hub_partial_done(const struct hth_hub_partial *p);
/* Bytes that the file at path has of a content of `bytes`; 0 without one. */
uint64_t hth_hub_partial_peek(const char *path, uint64_t bytes);
HTH_MUST enum hth_status hth_hub_partial_write(struct hth_hub_partial *p, uint64_t at, const void *data, size_t bytes,
					       struct hth_err *err);
HTH_MUST enum hth_status hth_hub_partial_save(struct hth_hub_partial *p, uint32_t part, struct hth_err *err);
/* Begins again as one part with nothing done: for servers without ranges, and after a wrong checksum. */
HTH_MUST enum hth_status hth_hub_partial_restart(struct hth_hub_partial *p, bool one_part, struct hth_err *err);
/* Adds content bytes [from, to) to a hash. */
HTH_MUST enum hth_status hth_hub_partial_hash(const struct hth_hub_partial *p, uint64_t from, uint64_t to,
					      struct hth_sha *sha, struct hth_err *err);
/* Cuts the state off, syncs, renames to `blob`. */
HTH_MUST enum hth_status hth_hub_partial_commit(struct hth_hub_partial *p, const char *blob, struct hth_err *err);

#endif
