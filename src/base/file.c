/* Reading regular files: maps and bounded reads. Writing is in writer.c, folders and paths in path.c.
 * A file is opened without blocking and looked at before the first read: a FIFO would hang, a device may never end. */
#include "base/checked.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a folder";
	if (S_ISFIFO(mode))
		return "a FIFO";
	if (S_ISSOCK(mode))
		return "a socket";
	return "a device";
}

enum hth_status hth_file_open_regular(const char *path, int *fd, size_t *bytes, struct hth_err *err)
{
	struct stat st;
	enum hth_status status;
	size_t size;

	do {
		*fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	} while (*fd < 0 && errno == EINTR);
	if (*fd < 0)
		return hth_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? HTH_ERR_NOTFOUND : HTH_ERR_IO,
				      "%s: cannot open", path);
	if (fstat(*fd, &st) != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot stat", path);
	else if (!S_ISREG(st.st_mode))
		status = hth_fail(err, HTH_ERR_IO, "%s: is %s, expected a regular file", path, kind_of(st.st_mode));
	else if (st.st_size < 0 || !hth_size_from_u64((uint64_t)st.st_size, &size))
		status = hth_fail(err, HTH_ERR_LIMIT, "%s: too large for this machine's address space", path);
	else {
		if (bytes != NULL)
			*bytes = size;
		return HTH_OK;
	}
	close(*fd);
	*fd = -1;
	return status;
}

enum hth_status hth_map_open(struct hth_map *m, const char *path, struct hth_err *err)
{
	int fd;
	enum hth_status status;

	memset(m, 0, sizeof *m);
	status = hth_file_open_regular(path, &fd, &m->bytes, err);
	if (status != HTH_OK)
		goto done;
	m->path = hth_strdup(path);
	if (m->path == NULL) {
		status = hth_fail_memory(err, "a file's name", strlen(path) + 1);
		goto done;
	}
	if (m->bytes > 0) {
		void *data = mmap(NULL, m->bytes, PROT_READ, MAP_SHARED, fd, 0);
		if (data == MAP_FAILED)
			status = hth_fail_errno(err, errno == ENOMEM ? HTH_ERR_MEMORY : HTH_ERR_IO,
						"%s: cannot map %zu bytes", path, m->bytes);
		else
			m->data = data;
	}
done:
	if (fd >= 0)
		close(fd);
	if (status != HTH_OK) {
		m->bytes = 0;
		hth_map_close(m);
	}
	return status;
}

void hth_map_close(struct hth_map *m)
{
	if (m->data != NULL)
		munmap((void *)(uintptr_t)m->data, m->bytes);
	hth_free(m->path);
	memset(m, 0, sizeof *m);
}

/* One read that returns what is there: 0 at the end, -1 with errno. */
static ssize_t read_some(int fd, char *data, size_t bytes)
{
	ssize_t n;
	/* macOS refuses single reads past INT_MAX. */
	if (bytes > (size_t)1 << 30)
		bytes = (size_t)1 << 30;
	do {
		n = read(fd, data, bytes);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Reads to the end. The size that stat told is only a first guess: files under /proc say 0, others grow. */
static enum hth_status read_all(int fd, const char *path, size_t guess, size_t max_bytes, char **out, size_t *bytes,
				struct hth_err *err)
{
	size_t cap = guess < max_bytes ? guess : max_bytes, n = 0;
	char *data = hth_alloc(cap + 1);

	if (data == NULL)
		return hth_fail_memory(err, path, cap + 1);
	for (;;) {
		ssize_t got = read_some(fd, data + n, cap + 1 - n); /* the byte past cap shows that there is more */
		if (got < 0) {
			enum hth_status status =
				hth_fail_errno(err, HTH_ERR_IO, "%s: read failed at byte %zu", path, n);
			hth_free(data);
			return status;
		}
		if (got == 0)
			break;
		n += (size_t)got;
		if (n <= cap)
			continue;
		if (n > max_bytes) {
			hth_free(data);
			return hth_fail(err, HTH_ERR_LIMIT, "%s: larger than %zu bytes, the most allowed here", path,
					max_bytes);
		}
		cap = cap < 2048 ? 4096 : cap * 2;
		if (cap > max_bytes)
			cap = max_bytes;
		char *grown = hth_realloc(data, cap + 1, 1);
		if (grown == NULL) {
			hth_free(data);
			return hth_fail_memory(err, path, cap + 1);
		}
		data = grown;
	}
	data[n] = '\0';
	*out = data;
	*bytes = n;
	return HTH_OK;
}

enum hth_status hth_file_read(const char *path, size_t max_bytes, char **data, size_t *bytes, struct hth_err *err)
{
	int fd;
	size_t size;

	*data = NULL;
	*bytes = 0;
	if (max_bytes > SIZE_MAX / 4)
		max_bytes = SIZE_MAX / 4;
	enum hth_status status = hth_file_open_regular(path, &fd, &size, err);
	if (status != HTH_OK)
		return status;
	if (size > max_bytes)
		status = hth_fail(err, HTH_ERR_LIMIT, "%s: %zu bytes, larger than %zu, the most allowed here", path,
				  size, max_bytes);
	else
		status = read_all(fd, path, size, max_bytes, data, bytes, err);
	close(fd);
	return status;
}
