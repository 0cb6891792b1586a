/* XXH3, 64 bits, from libxxhash. */
#include "base/hash.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES ((size_t)1 << 20)

uint64_t hth_hash64(const void *data, size_t bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, bytes, seed);
}

static enum hth_status hash_fd(int fd, const char *path, XXH3_state_t *state, char *chunk, struct hth_err *err)
{
	for (;;) {
		ssize_t n = read(fd, chunk, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hth_fail_errno(err, HTH_ERR_IO, "%s: read failed", path);
		if (n == 0)
			return HTH_OK;
		XXH3_64bits_update(state, chunk, (size_t)n);
	}
}

/* Reads rather than maps: a file that is cut while it is hashed is then an error or another hash, not SIGBUS. */
enum hth_status hth_hash_file(const char *path, uint64_t *out, struct hth_err *err)
{
	int fd = -1;
	XXH3_state_t *state = NULL;
	char *chunk = NULL;
	enum hth_status status = hth_file_open_regular(path, &fd, NULL, err);

	if (status != HTH_OK)
		return status;
	state = XXH3_createState();
	chunk = hth_alloc(READ_BYTES);
	if (state == NULL || chunk == NULL) {
		status = hth_fail_memory(err, "a file's checksum", READ_BYTES);
		goto done;
	}
	XXH3_64bits_reset(state);
	status = hash_fd(fd, path, state, chunk, err);
	if (status == HTH_OK)
		*out = XXH3_64bits_digest(state);
done:
	hth_free(chunk);
	XXH3_freeState(state);
	close(fd);
	return status;
}
