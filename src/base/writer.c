/* Atomic replacement of a file: temporary file beside the target, fsync, rename, fsync of the folder.
 * A target that is a symbolic link is replaced itself, never the file that it points to: caches of model hubs link to
 * shared blobs. A target that is not a regular file is refused, since a rename would replace /dev/null.
 * Handlers of signals are installed with SA_RESTART, so stdio sees no EINTR; what is called here directly retries. */
#include "base/checked.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_TRIES 100
#define OUT_BUFFER_BYTES ((size_t)1 << 18)

static enum hth_status refuse_other_kinds(const char *path, struct hth_err *err)
{
	switch (hth_path_kind(path)) {
	case HTH_PATH_DIR:
		return hth_fail(err, HTH_ERR_EXISTS, "%s: is a folder, cannot write a file there", path);
	case HTH_PATH_OTHER:
		return hth_fail(err, HTH_ERR_EXISTS, "%s: is a device or FIFO, expected a regular file or nothing",
				path);
	default:
		return HTH_OK;
	}
}

/* The temporary name does not hold the target's: that may be as long as a name can be. */
static enum hth_status open_temp(struct hth_writer *w, int *fd, struct hth_err *err)
{
	static atomic_uint counter;
	size_t dir_bytes = (size_t)(hth_path_base(w->path) - w->path), temp_bytes;

	if (!hth_add_size(dir_bytes, 64, &temp_bytes))
		return hth_fail_memory(err, "a temporary name", dir_bytes);
	w->temp_path = hth_alloc(temp_bytes);
	if (w->temp_path == NULL)
		return hth_fail_memory(err, "a temporary name", temp_bytes);
	for (int i = 0; i < TEMP_TRIES; i++) {
		snprintf(w->temp_path, temp_bytes, "%.*s.hearth-%ld-%u.tmp", (int)dir_bytes, w->path, (long)getpid(),
			 atomic_fetch_add(&counter, 1));
		do {
			*fd = open(w->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
		} while (*fd < 0 && errno == EINTR);
		if (*fd >= 0)
			return HTH_OK;
		if (errno != EEXIST)
			break;
	}
	enum hth_status status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot create %s", w->path, w->temp_path);
	hth_free(w->temp_path); /* nothing to remove */
	w->temp_path = NULL;
	return status;
}

enum hth_status hth_writer_open(struct hth_writer *w, const char *path, struct hth_err *err)
{
	int fd = -1;
	enum hth_status status;

	memset(w, 0, sizeof *w);
	if (*hth_path_base(path) == '\0')
		return hth_fail(err, HTH_ERR_USAGE, "\"%s\": is not the name of a file", path);
	status = refuse_other_kinds(path, err);
	if (status != HTH_OK)
		return status;
	w->path = hth_strdup(path);
	w->buffer = hth_alloc(OUT_BUFFER_BYTES);
	if (w->path == NULL || w->buffer == NULL) {
		hth_writer_abort(w);
		return hth_fail_memory(err, "a file's buffer", OUT_BUFFER_BYTES);
	}
	status = open_temp(w, &fd, err);
	if (status != HTH_OK)
		goto done;
	w->out = fdopen(fd, "wb");
	if (w->out == NULL) {
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot open a stream", w->temp_path);
		close(fd);
		goto done;
	}
	/* Our own buffer: the C library's are small, and glibc ignores a size without one. */
	setvbuf(w->out, w->buffer, _IOFBF, OUT_BUFFER_BYTES);
done:
	if (status != HTH_OK)
		hth_writer_abort(w);
	return status;
}

enum hth_status hth_writer_write(struct hth_writer *w, const void *data, size_t bytes, struct hth_err *err)
{
	if (bytes == 0)
		return HTH_OK;
	errno = 0;
	if (fwrite(data, 1, bytes, w->out) != bytes)
		return hth_fail_errno(err, HTH_ERR_IO, "%s: write failed after %llu bytes", w->path,
				      (unsigned long long)w->bytes);
	w->bytes += bytes;
	return HTH_OK;
}

enum hth_status hth_writer_pad(struct hth_writer *w, size_t align, struct hth_err *err)
{
	static const char zeros[256];
	uint64_t end;

	if (!hth_pad_u64(w->bytes, align, &end))
		return hth_fail(err, HTH_ERR_LIMIT, "%s: cannot pad %llu bytes to a multiple of %zu", w->path,
				(unsigned long long)w->bytes, align);
	while (w->bytes < end) {
		uint64_t n = end - w->bytes < sizeof zeros ? end - w->bytes : sizeof zeros;
		enum hth_status status = hth_writer_write(w, zeros, (size_t)n, err);
		if (status != HTH_OK)
			return status;
	}
	return HTH_OK;
}

/* To the disk itself: on macOS fsync stops at the drive's cache. */
static int sync_fd(int fd)
{
	int rc;
#ifdef F_FULLFSYNC
	if (fcntl(fd, F_FULLFSYNC) == 0)
		return 0;
#endif
	do {
		rc = fsync(fd);
	} while (rc != 0 && errno == EINTR);
	/* Some file systems cannot sync a folder or a network file; there is nothing more to do then. */
	return rc != 0 && (errno == EINVAL || errno == ENOTSUP || errno == EROFS) ? 0 : rc;
}

enum hth_status hth_fsync_dir(const char *path, struct hth_err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return hth_fail_errno(err, errno == ENOENT ? HTH_ERR_NOTFOUND : HTH_ERR_IO, "%s: cannot open folder",
				      path);
	enum hth_status status = HTH_OK;
	if (sync_fd(fd) != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot sync folder", path);
	close(fd);
	return status;
}

/* The folder that holds path, "." where it names none; caller frees. Made before a rename, so that nothing but the disk
 * can fail after it. */
static enum hth_status parent_of(const char *path, char **out, struct hth_err *err)
{
	size_t bytes = (size_t)(hth_path_base(path) - path);

	*out = bytes > 0 ? hth_strndup(path, bytes) : hth_strdup(".");
	return *out != NULL ? HTH_OK : hth_fail_memory(err, "a folder's name", bytes + 1);
}

enum hth_status hth_writer_commit(struct hth_writer *w, struct hth_err *err)
{
	char *dir = NULL;
	enum hth_status status = parent_of(w->path, &dir, err);
	bool failed_before = ferror(w->out) != 0;

	errno = 0;
	if (status != HTH_OK)
		; /* closed and removed below */
	else if (fflush(w->out) != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: write failed", w->path);
	else if (failed_before)
		status = hth_fail(err, HTH_ERR_IO, "%s: an earlier write failed; is the disk full?", w->path);
	else if (sync_fd(fileno(w->out)) != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot sync", w->path);
	int rc = fclose(w->out);
	w->out = NULL;
	if (status == HTH_OK && rc != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot close", w->path);
	if (status == HTH_OK && rename(w->temp_path, w->path) != 0)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot rename %s to it", w->path, w->temp_path);
	if (status == HTH_OK) {
		hth_free(w->temp_path);
		w->temp_path = NULL;
		status = hth_fsync_dir(dir, err);
	}
	hth_free(dir);
	hth_writer_abort(w);
	return status;
}

void hth_writer_abort(struct hth_writer *w)
{
	if (w->out != NULL)
		fclose(w->out);
	if (w->temp_path != NULL)
		unlink(w->temp_path);
	hth_free(w->buffer);
	hth_free(w->temp_path);
	hth_free(w->path);
	memset(w, 0, sizeof *w);
}

enum hth_status hth_file_write(const char *path, const void *data, size_t bytes, struct hth_err *err)
{
	struct hth_writer w;
	enum hth_status status = hth_writer_open(&w, path, err);

	if (status != HTH_OK)
		return status;
	status = hth_writer_write(&w, data, bytes, err);
	if (status == HTH_OK)
		return hth_writer_commit(&w, err);
	hth_writer_abort(&w);
	return status;
}

enum hth_status hth_rename_dir(const char *from, const char *to, struct hth_err *err)
{
	char *dir = NULL;
	enum hth_status status = parent_of(to, &dir, err);

	if (status == HTH_OK && rename(from, to) != 0)
		status = hth_fail_errno(err,
					errno == ENOENT                         ? HTH_ERR_NOTFOUND
					: errno == EEXIST || errno == ENOTEMPTY ? HTH_ERR_EXISTS
										: HTH_ERR_IO,
					"%s: cannot rename to %s", from, to);
	if (status == HTH_OK)
		status = hth_fsync_dir(dir, err);
	hth_free(dir);
	return status;
}
