/* Checksums (XXH3, 64 bits) for checkpoints and caches. Not for security. */
#ifndef HTH_BASE_HASH_H
#define HTH_BASE_HASH_H

#include "base/status.h"

#include <stdint.h>

uint64_t hth_hash64(const void *data, size_t bytes, uint64_t seed);
/* Streams a whole regular file. */
HTH_MUST enum hth_status hth_hash_file(const char *path, uint64_t *out, struct hth_err *err);

#endif
