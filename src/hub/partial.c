/* HASH.hearth.incomplete:
 *   [0, bytes)   the content, each byte at its place, parts filled from their starts
 *   then         "HTHPART1", bytes, part_bytes, n_parts as u64, done[n_parts] as u64 (this machine's byte order)
 * The state may lag behind the content after a crash (some bytes are then fetched again), or be ahead of it after a
 * loss of power: the checksum at the end decides. */
#include "hub/partial.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 32
#define MAX_PARTS 65536
#define CHUNK_BYTES ((size_t)1 << 18)

static const char magic[8] = "HTHPART1";

static enum hth_status write_all(struct hth_hub_partial *p, uint64_t at, const void *data, size_t bytes,
				 struct hth_err *err)
{
	const char *from = data;

	while (bytes > 0) {
		ssize_t n = pwrite(p->fd, from, bytes, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hth_fail_errno(err, HTH_ERR_IO, "%s: write failed", p->path);
		from += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return HTH_OK;
}

/* False at the end of the file or on an error. */
static bool read_all(int fd, uint64_t at, void *data, size_t bytes)
{
	char *to = data;

	while (bytes > 0) {
		ssize_t n = pread(fd, to, bytes, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return true;
}

uint64_t hth_hub_partial_part_bytes(const struct hth_hub_partial *p, uint32_t part)
{
	uint64_t start = p->part_bytes * part;

	return p->bytes - start < p->part_bytes ? p->bytes - start : p->part_bytes;
}

uint64_t hth_hub_partial_done(const struct hth_hub_partial *p)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->n_parts; i++)
		sum += p->done[i];
	return sum;
}

/* Sets the cut; the array is made anew. */
static enum hth_status cut(struct hth_hub_partial *p, uint64_t part_bytes, struct hth_err *err)
{
	if (part_bytes == 0 || part_bytes > p->bytes)
		part_bytes = p->bytes > 0 ? p->bytes : 1;
	if (p->bytes / part_bytes >= MAX_PARTS)
		part_bytes = p->bytes / (MAX_PARTS - 1) + 1;
	uint64_t n = p->bytes == 0 ? 1 : (p->bytes - 1) / part_bytes + 1;
	uint64_t *done = hth_calloc((size_t)n, sizeof *done);
	if (done == NULL)
		return hth_fail_memory(err, p->path, (size_t)n * sizeof *done);
	hth_free(p->done);
	p->done = done;
	p->part_bytes = part_bytes;
	p->n_parts = (uint32_t)n;
	return HTH_OK;
}

/* Reads the state; false when there is none that fits. */
static bool load(struct hth_hub_partial *p, uint64_t file_bytes)
{
	char head[HEAD_BYTES];
	uint64_t bytes, part_bytes, n;

	if (file_bytes < p->bytes + HEAD_BYTES || !read_all(p->fd, p->bytes, head, sizeof head) ||
	    memcmp(head, magic, sizeof magic) != 0)
		return false;
	memcpy(&bytes, head + 8, 8);
	memcpy(&part_bytes, head + 16, 8);
	memcpy(&n, head + 24, 8);
	if (bytes != p->bytes || part_bytes == 0 || n == 0 || n > MAX_PARTS ||
	    file_bytes != p->bytes + HEAD_BYTES + 8 * n || cut(p, part_bytes, NULL) != HTH_OK ||
	    p->part_bytes != part_bytes || p->n_parts != n ||
	    !read_all(p->fd, p->bytes + HEAD_BYTES, p->done, (size_t)n * sizeof *p->done))
		return false;
	for (uint32_t i = 0; i < p->n_parts; i++)
		if (p->done[i] > hth_hub_partial_part_bytes(p, i))
			return false;
	return true;
}

/* Writes the whole state of the present cut, with nothing done. */
static enum hth_status begin(struct hth_hub_partial *p, uint64_t part_bytes, struct hth_err *err)
{
	char head[HEAD_BYTES];
	enum hth_status s = cut(p, part_bytes, err);

	if (s != HTH_OK)
		return s;
	uint64_t n = p->n_parts;
	memcpy(head, magic, sizeof magic);
	memcpy(head + 8, &p->bytes, 8);
	memcpy(head + 16, &p->part_bytes, 8);
	memcpy(head + 24, &n, 8);
	if (ftruncate(p->fd, 0) != 0 || ftruncate(p->fd, (off_t)(p->bytes + HEAD_BYTES + 8 * n)) != 0)
		return hth_fail_errno(err, HTH_ERR_IO, "%s: cannot be set to %llu bytes", p->path,
				      (unsigned long long)p->bytes);
	return write_all(p, p->bytes, head, sizeof head, err);
}

enum hth_status hth_hub_partial_open(struct hth_hub_partial *p, char *path, uint64_t bytes, uint64_t part_bytes,
				     struct hth_err *err)
{
	struct stat st;
	enum hth_status s = HTH_OK;

	*p = (struct hth_hub_partial){.fd = -1, .path = path, .bytes = bytes};
	do {
		p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
	} while (p->fd < 0 && errno == EINTR);
	if (p->fd < 0 || fstat(p->fd, &st) != 0)
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot open", path);
	else if (!S_ISREG(st.st_mode))
		s = hth_fail(err, HTH_ERR_IO, "%s: is no regular file; remove it", path);
	else if (!load(p, (uint64_t)st.st_size))
		s = begin(p, part_bytes, err);
	if (s != HTH_OK)
		hth_hub_partial_close(p);
	return s;
}

uint64_t hth_hub_partial_peek(const char *path, uint64_t bytes)
{
	struct hth_hub_partial p = {.fd = -1, .bytes = bytes};
	size_t file_bytes;
	uint64_t done = 0;

	if (hth_file_open_regular(path, &p.fd, &file_bytes, NULL) != HTH_OK)
		return 0;
	if (load(&p, file_bytes))
		done = hth_hub_partial_done(&p);
	hth_hub_partial_close(&p);
	return done;
}

void hth_hub_partial_close(struct hth_hub_partial *p)
{
	if (p->fd >= 0)
		close(p->fd);
	hth_free(p->path);
	hth_free(p->done);
	*p = (struct hth_hub_partial){.fd = -1};
}

enum hth_status hth_hub_partial_write(struct hth_hub_partial *p, uint64_t at, const void *data, size_t bytes,
				      struct hth_err *err)
{
	return write_all(p, at, data, bytes, err);
}

enum hth_status hth_hub_partial_save(struct hth_hub_partial *p, uint32_t part, struct hth_err *err)
{
	return write_all(p, p->bytes + HEAD_BYTES + 8 * (uint64_t)part, &p->done[part], sizeof *p->done, err);
}

enum hth_status hth_hub_partial_restart(struct hth_hub_partial *p, bool one_part, struct hth_err *err)
{
	return begin(p, one_part ? 0 : p->part_bytes, err);
}

enum hth_status hth_hub_partial_hash(const struct hth_hub_partial *p, uint64_t from, uint64_t to, struct hth_sha *sha,
				     struct hth_err *err)
{
	char *chunk = hth_alloc(CHUNK_BYTES);
	enum hth_status s = HTH_OK;

	if (chunk == NULL)
		return hth_fail_memory(err, p->path, CHUNK_BYTES);
	while (from < to && s == HTH_OK) {
		size_t n = to - from < CHUNK_BYTES ? (size_t)(to - from) : CHUNK_BYTES;
		if (read_all(p->fd, from, chunk, n))
			hth_sha_add(sha, chunk, n);
		else
			s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot be read back at byte %llu", p->path,
					   (unsigned long long)from);
		from += n;
	}
	hth_free(chunk);
	return s;
}

enum hth_status hth_hub_partial_commit(struct hth_hub_partial *p, const char *blob, struct hth_err *err)
{
	enum hth_status s = HTH_OK;

	if (ftruncate(p->fd, (off_t)p->bytes) != 0 || fsync(p->fd) != 0)
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot be finished", p->path);
	else if (rename(p->path, blob) != 0)
		s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot be renamed to %s", p->path, blob);
	return s;
}
