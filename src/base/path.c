/* Names and folders. Nothing here follows a symbolic link while removing. */
#include "base/checked.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/mount.h>
#include <sys/param.h>
#else
#include <sys/statvfs.h>
#endif

#define MAX_NAMES ((size_t)1 << 24)
#define MAX_TREE_DEPTH 128

enum hth_path_kind hth_path_kind(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return HTH_PATH_NONE;
	return S_ISREG(st.st_mode) ? HTH_PATH_FILE : S_ISDIR(st.st_mode) ? HTH_PATH_DIR : HTH_PATH_OTHER;
}

char *hth_path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir), m = strlen(name), total;
	bool slash = n > 0 && dir[n - 1] != '/';

	if (!hth_add_size(n, m, &total) || !hth_add_size(total, 2, &total))
		return NULL;
	char *path = hth_alloc(total);
	if (path == NULL)
		return NULL;
	memcpy(path, dir, n);
	if (slash)
		path[n++] = '/';
	memcpy(path + n, name, m + 1);
	return path;
}

const char *hth_path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

bool hth_path_has_suffix(const char *path, const char *suffix)
{
	size_t n = strlen(path), m = strlen(suffix);

	return n >= m && strcasecmp(path + n - m, suffix) == 0;
}

/* Makes one folder; one that is there already is fine. */
static enum hth_status make_dir(const char *path, struct hth_err *err)
{
	if (mkdir(path, 0777) == 0)
		return HTH_OK;
	int code = errno;
	enum hth_path_kind kind = hth_path_kind(path);
	if (kind == HTH_PATH_DIR)
		return HTH_OK;
	if (kind != HTH_PATH_NONE)
		return hth_fail(err, HTH_ERR_EXISTS, "%s: is a file, cannot make a folder there", path);
	errno = code;
	return hth_fail_errno(err, HTH_ERR_IO, "%s: cannot make folder", path);
}

enum hth_status hth_mkdirs(const char *path, struct hth_err *err)
{
	enum hth_status status = HTH_OK;

	if (path[0] == '\0')
		return hth_fail(err, HTH_ERR_USAGE, "\"\": is not the name of a folder");
	char *copy = hth_strdup(path);
	if (copy == NULL)
		return hth_fail_memory(err, "a folder's name", strlen(path) + 1);
	for (char *p = copy + 1; status == HTH_OK && *p != '\0'; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		status = make_dir(copy, err);
		*p = '/';
	}
	if (status == HTH_OK)
		status = make_dir(copy, err);
	hth_free(copy);
	return status;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void hth_names_free(char **names, size_t n)
{
	for (size_t i = 0; names != NULL && i < n; i++)
		hth_free(names[i]);
	hth_free(names);
}

static enum hth_status add_name(char ***names, size_t *n, size_t *cap, const char *name, struct hth_err *err)
{
	char **grown = hth_grow(*names, *n, cap, MAX_NAMES, sizeof **names);

	if (grown == NULL)
		return hth_fail_memory(err, "names of a folder", *n * sizeof **names);
	*names = grown;
	grown[*n] = hth_strdup(name);
	if (grown[*n] == NULL)
		return hth_fail_memory(err, "a name", strlen(name) + 1);
	++*n;
	return HTH_OK;
}

enum hth_status hth_dir_list(const char *path, char ***names, size_t *n, struct hth_err *err)
{
	enum hth_status status = HTH_OK;
	size_t cap = 0;

	*names = NULL;
	*n = 0;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return hth_fail_errno(err, errno == ENOENT ? HTH_ERR_NOTFOUND : HTH_ERR_IO, "%s: cannot list folder",
				      path);
	while (status == HTH_OK) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (entry == NULL) {
			if (errno != 0)
				status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot list folder", path);
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = add_name(names, n, &cap, entry->d_name, err);
	}
	closedir(dir);
	if (status != HTH_OK) {
		hth_names_free(*names, *n);
		*names = NULL;
		*n = 0;
	} else if (*n > 1)
		qsort(*names, *n, sizeof **names, compare_names);
	return status;
}

/* Recursion is bounded by MAX_TREE_DEPTH. */
static enum hth_status remove_at_depth(const char *path, int depth, struct hth_err *err)
{
	struct stat st;
	char **names;
	size_t n;
	enum hth_status status = HTH_OK;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? HTH_OK : hth_fail_errno(err, HTH_ERR_IO, "%s: cannot stat", path);
	if (!S_ISDIR(st.st_mode)) {
		if (unlink(path) != 0 && errno != ENOENT)
			return hth_fail_errno(err, HTH_ERR_IO, "%s: cannot remove", path);
		return HTH_OK;
	}
	if (depth == MAX_TREE_DEPTH)
		return hth_fail(err, HTH_ERR_LIMIT, "%s: more than %d folders deep", path, MAX_TREE_DEPTH);
	status = hth_dir_list(path, &names, &n, err);
	if (status != HTH_OK)
		return status;
	for (size_t i = 0; status == HTH_OK && i < n; i++) {
		char *child = hth_path_join(path, names[i]);
		status = child == NULL ? hth_fail_memory(err, "a name", strlen(path))
				       : remove_at_depth(child, depth + 1, err);
		hth_free(child);
	}
	hth_names_free(names, n);
	if (status == HTH_OK && rmdir(path) != 0 && errno != ENOENT)
		status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot remove folder", path);
	return status;
}

enum hth_status hth_remove_tree(const char *path, struct hth_err *err)
{
	const char *base = hth_path_base(path);

	/* A caller's bug or an empty variable must not become rm -rf of a home. */
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return hth_fail(err, HTH_ERR_USAGE, "\"%s\": will not remove this folder", path);
	return remove_at_depth(path, 0, err);
}

static int free_bytes(const char *path, uint64_t *bytes)
{
#ifdef __APPLE__
	struct statfs fs; /* statvfs has 32-bit block counts there */
	if (statfs(path, &fs) != 0)
		return -1;
	*bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
#else
	struct statvfs fs;
	if (statvfs(path, &fs) != 0)
		return -1;
	*bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
#endif
	return 0;
}

enum hth_status hth_disk_free(const char *path, uint64_t *bytes, struct hth_err *err)
{
	char *dir = hth_strdup(path);

	if (dir == NULL)
		return hth_fail_memory(err, "a folder's name", strlen(path) + 1);
	enum hth_status status = HTH_OK;
	for (;;) {
		const char *at = dir[0] == '\0' ? "." : dir;
		if (free_bytes(at, bytes) == 0)
			break;
		char *slash = strrchr(dir, '/');
		if ((errno != ENOENT && errno != ENOTDIR) || dir[0] == '\0' || strcmp(dir, "/") == 0) {
			status = hth_fail_errno(err, HTH_ERR_IO, "%s: cannot tell the free space", at);
			break;
		}
		if (slash == NULL)
			dir[0] = '\0';
		else
			slash[slash == dir] = '\0'; /* keep the root's slash */
	}
	hth_free(dir);
	return status;
}
