/* The hub's cache layout, as huggingface.co/docs/hub/local-cache describes it and huggingface_hub 0.8 to 2.x keep it.
 * Left out: .no_exist (for libraries that probe for optional files) and trees/. Links are made under another name and
 * renamed, so that a reader sees the old file or the new one. */
#include "hub/cache.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "hub/hub_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_POLL_MS 200

static char *join3(const char *a, const char *b, const char *c)
{
	char *ab = hth_path_join(a, b), *abc = NULL;

	if (ab != NULL)
		abc = hth_path_join(ab, c);
	hth_free(ab);
	return abc;
}

enum hth_status hth_hub_cache_init(struct hth_hub_cache *k, const struct hth_hub_config *c, const char *repo,
				   struct hth_err *err)
{
	struct hth_buf folder;

	memset(k, 0, sizeof *k);
	hth_buf_init(&folder, 512);
	(void)hth_buf_puts(&folder, "models--");
	for (const char *p = repo; *p != '\0'; p++)
		(void)hth_buf_puts(&folder, *p == '/' ? "--" : (char[]){*p, '\0'});
	if (!folder.failed) {
		k->repo_dir = hth_path_join(c->cache, hth_buf_str(&folder));
		k->locks = join3(c->cache, ".locks", hth_buf_str(&folder));
		if (k->repo_dir != NULL)
			k->blobs = hth_path_join(k->repo_dir, "blobs");
	}
	hth_buf_clear(&folder);
	if (k->blobs != NULL && k->locks != NULL)
		return HTH_OK;
	hth_hub_cache_clear(k);
	return hth_fail_memory(err, "paths of the cache", 0);
}

void hth_hub_cache_clear(struct hth_hub_cache *k)
{
	hth_free(k->repo_dir);
	hth_free(k->blobs);
	hth_free(k->locks);
	memset(k, 0, sizeof *k);
}

/* The tag tells backup programs to leave a cache alone (bford.info/cachedir); the hub's library writes it too. */
static void tag_cache(const struct hth_hub_config *c)
{
	static const char text[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
				   "# A cache of files from a model hub. See https://bford.info/cachedir/\n";
	char *path = hth_path_join(c->cache, "CACHEDIR.TAG");

	if (path != NULL && hth_path_kind(path) == HTH_PATH_NONE &&
	    hth_file_write(path, text, sizeof text - 1, NULL) != HTH_OK)
		hth_debug("%s: not written", path);
	hth_free(path);
}

enum hth_status hth_hub_cache_make(const struct hth_hub_cache *k, const struct hth_hub_config *c, struct hth_err *err)
{
	enum hth_status s = hth_mkdirs(k->blobs, err);

	if (s == HTH_OK)
		s = hth_mkdirs(k->locks, err);
	if (s == HTH_OK)
		tag_cache(c);
	return s;
}

char *hth_hub_cache_blob(const struct hth_hub_cache *k, const char *hash, const char *suffix)
{
	char name[128];

	snprintf(name, sizeof name, "%.64s%.40s", hash, suffix);
	return hth_path_join(k->blobs, name);
}

char *hth_hub_cache_snapshot(const struct hth_hub_cache *k, const char *commit, const char *file)
{
	char *dir = join3(k->repo_dir, "snapshots", commit), *path = dir;

	if (dir != NULL && file[0] != '\0') {
		path = hth_path_join(dir, file);
		hth_free(dir);
	}
	return path;
}

/* Points `path` at `target`, replacing what was there. */
static enum hth_status place_link(const char *path, const char *target, struct hth_err *err)
{
	char now[512];
	ssize_t n = readlink(path, now, sizeof now - 1);
	struct hth_buf temp;
	enum hth_status s;

	if (n > 0 && (size_t)n == strlen(target) && memcmp(now, target, (size_t)n) == 0)
		return HTH_OK;
	hth_buf_init(&temp, 8192);
	(void)hth_buf_printf(&temp, "%.*s.hearth-%ld.tmp", (int)(hth_path_base(path) - path), path, (long)getpid());
	s = hth_buf_status(&temp, "a link's name", err);
	if (s == HTH_OK) {
		(void)unlink(hth_buf_str(&temp));
		if (symlink(target, hth_buf_str(&temp)) != 0)
			s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot make a link", path);
		else if (rename(hth_buf_str(&temp), path) != 0) {
			s = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot put the link in its place", path);
			(void)unlink(hth_buf_str(&temp));
		}
	}
	hth_buf_clear(&temp);
	return s;
}

enum hth_status hth_hub_cache_link(const struct hth_hub_cache *k, const char *commit, const char *path,
				   const char *hash, struct hth_err *err)
{
	char *full = hth_hub_cache_snapshot(k, commit, path);
	struct hth_buf target;
	enum hth_status s;

	if (full == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	hth_buf_init(&target, 512);
	(void)hth_buf_puts(&target, "../../");
	for (const char *p = path; *p != '\0'; p++)
		if (*p == '/')
			(void)hth_buf_puts(&target, "../");
	(void)hth_buf_printf(&target, "blobs/%s", hash);
	s = hth_buf_status(&target, "a link", err);
	if (s == HTH_OK) {
		char *slash = strrchr(full, '/');
		*slash = '\0';
		s = hth_mkdirs(full, err);
		*slash = '/';
	}
	if (s == HTH_OK)
		s = place_link(full, hth_buf_str(&target), err);
	hth_buf_clear(&target);
	hth_free(full);
	return s;
}

static bool is_commit(const char *text)
{
	return hth_hub_hex_ok(text, 40) || hth_hub_hex_ok(text, 64);
}

enum hth_status hth_hub_cache_set_ref(const struct hth_hub_cache *k, const char *revision, const char *commit,
				      struct hth_err *err)
{
	if (is_commit(revision))
		return HTH_OK;
	char *path = join3(k->repo_dir, "refs", revision);
	if (path == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	char *slash = strrchr(path, '/');
	*slash = '\0';
	enum hth_status s = hth_mkdirs(path, err);
	*slash = '/';
	if (s == HTH_OK)
		s = hth_file_write(path, commit, strlen(commit), err);
	hth_free(path);
	return s;
}

enum hth_status hth_hub_cache_ref(const struct hth_hub_cache *k, const char *revision, char commit[65],
				  struct hth_err *err)
{
	char *path = NULL, *text = NULL;
	size_t bytes;

	if (is_commit(revision)) {
		memcpy(commit, revision, strlen(revision) + 1);
		return HTH_OK;
	}
	path = join3(k->repo_dir, "refs", revision);
	if (path == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	enum hth_status s = hth_file_read(path, 256, &text, &bytes, err);
	if (s == HTH_OK) {
		text[strcspn(text, " \r\n\t")] = '\0';
		if (is_commit(text))
			memcpy(commit, text, strlen(text) + 1);
		else
			s = hth_fail(err, HTH_ERR_FORMAT, "%s: holds no commit; remove it and pull again", path);
	}
	hth_free(text);
	hth_free(path);
	return s;
}

/* True when the file that fd has open is still the one at path: a lock on a file that its last owner removed is worth
 * nothing. */
static bool still_there(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* One try: 1 locked, 0 busy, -1 impossible here. */
static int try_lock(const char *path, int *fd)
{
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
	if (*fd < 0)
		return -1;
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0 && still_there(*fd, path))
		return 1;
	int busy = errno == EWOULDBLOCK || errno == EINTR || !still_there(*fd, path) ? 0 : -1;
	close(*fd);
	*fd = -1;
	return busy;
}

static char *lock_path(const struct hth_hub_cache *k, const char *hash)
{
	char name[80];

	snprintf(name, sizeof name, "%.64s.lock", hash);
	return hth_path_join(k->locks, name);
}

bool hth_hub_cache_try_lock(const struct hth_hub_cache *k, const char *hash, int *fd)
{
	char *path = lock_path(k, hash);
	bool got = path != NULL && try_lock(path, fd) == 1;

	hth_free(path);
	return got;
}

enum hth_status hth_hub_cache_lock(const struct hth_hub_cache *k, const struct hth_hub_config *c, const char *hash,
				   const atomic_bool *abort, int *fd, struct hth_err *err)
{
	bool told = false;
	double end = hth_now_s() + (double)c->lock_wait_ms / 1000;
	enum hth_status s = HTH_OK;

	char *path = lock_path(k, hash);
	if (path == NULL)
		return hth_fail_memory(err, "a path of the cache", 0);
	for (;;) {
		int got = try_lock(path, fd);
		if (got < 0)
			hth_debug("%s: cannot be locked here; going on without", path);
		if (got != 0)
			break;
		if (!told)
			hth_info("another program is fetching the same file; waiting for it (%s)", path);
		told = true;
		if (hth_now_s() > end) {
			s = hth_fail(err, HTH_ERR_UNAVAILABLE,
				     "%s: held by another program for too long; end it or try "
				     "again later",
				     path);
			break;
		}
		s = hth_hub_sleep(c, LOCK_POLL_MS, abort, err);
		if (s != HTH_OK)
			break;
	}
	hth_free(path);
	return s;
}
