/* Limits of the control groups that this process is in, versions 1 and 2, mounted where every distribution mounts
 * them (/sys/fs/cgroup). A limit of any group on the way up to the root binds. Inside a container /proc/self/cgroup may
 * name a path of the host that is not mounted here: missing folders are skipped, the root of the mount is always read.
 * Source: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst. */
#ifdef __linux__
#include "base/machine_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define SMALL_BYTES 16384

int hth_read_small(const char *path, char *buf, int buf_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), n = 0;

	buf[0] = '\0';
	if (fd < 0)
		return 0;
	while (n < buf_bytes - 1) {
		ssize_t got = read(fd, buf + n, (size_t)(buf_bytes - 1 - n));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (int)got;
	}
	close(fd);
	buf[n] = '\0';
	return n;
}

/* One hierarchy: where it is mounted and which files it has. */
struct hierarchy {
	char mount[PATH_BYTES / 4];
	bool v2;
};

/* The text of mount/group/file; false if there is none. */
static bool read_in(const struct hierarchy *h, const char *group, const char *file, char *buf)
{
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof path, "%s%s/%s", h->mount, group, file);

	return n > 0 && n < (int)sizeof path && hth_read_small(path, buf, SMALL_BYTES) > 0;
}

/* A count of bytes; UINT64_MAX for "max", for version 1's "no limit" (near 2^63) and for what is no number. */
static uint64_t limit_of(const char *text)
{
	if (text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	uint64_t v = strtoull(text, NULL, 10);
	return v >= (uint64_t)1 << 62 ? UINT64_MAX : v;
}

/* The number behind `name ` in a file of "name number" lines, or 0. */
static uint64_t field_of(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = text; line != NULL && *line != '\0';) {
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return strtoull(line + n + 1, NULL, 10);
		line = strchr(line, '\n');
		line = line == NULL ? NULL : line + 1;
	}
	return 0;
}

static void read_memory(const struct hierarchy *h, const char *group, struct hth_cgroup *out)
{
	char buf[SMALL_BYTES];

	if (!read_in(h, group, h->v2 ? "memory.max" : "memory.limit_in_bytes", buf))
		return;
	uint64_t limit = limit_of(buf), used = 0, cache = 0;
	if (limit == UINT64_MAX)
		return;
	if (read_in(h, group, h->v2 ? "memory.current" : "memory.usage_in_bytes", buf))
		used = limit_of(buf);
	if (read_in(h, group, "memory.stat", buf))
		cache = field_of(buf, h->v2 ? "inactive_file" : "total_inactive_file");
	used -= cache < used ? cache : used;
	uint64_t left = used < limit ? limit - used : 0;
	if (limit < out->memory_bytes)
		out->memory_bytes = limit;
	if (left < out->memory_free_bytes)
		out->memory_free_bytes = left;
}

static void read_cpu(const struct hierarchy *h, const char *group, struct hth_cgroup *out)
{
	char buf[SMALL_BYTES];
	long long quota = 0, period = 0;

	if (h->v2) {
		if (!read_in(h, group, "cpu.max", buf) || sscanf(buf, "%lld %lld", &quota, &period) != 2)
			return; /* "max 100000" has no limit */
	} else {
		if (!read_in(h, group, "cpu.cfs_quota_us", buf))
			return;
		quota = strtoll(buf, NULL, 10);
		if (!read_in(h, group, "cpu.cfs_period_us", buf))
			return;
		period = strtoll(buf, NULL, 10);
	}
	if (quota <= 0 || period <= 0)
		return;
	double cpus = (double)quota / (double)period;
	if (out->cpus == 0 || cpus < out->cpus)
		out->cpus = cpus;
}

typedef void read_fn(const struct hierarchy *h, const char *group, struct hth_cgroup *out);

/* Calls read for the group and each of its ancestors, the mount's root last. */
static void walk_up(const struct hierarchy *h, const char *group, read_fn *read, struct hth_cgroup *out)
{
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof path, "%s", group);

	if (n < 0 || n >= (int)sizeof path || strstr(path, "/..") != NULL)
		path[0] = '\0';
	for (;;) {
		char *slash = strrchr(path, '/');
		if (slash != NULL && slash[1] == '\0') { /* "/" or a trailing slash */
			*slash = '\0';
			if (path[0] != '\0')
				continue;
		}
		read(h, path, out);
		if (path[0] == '\0' || slash == NULL)
			return;
		*strrchr(path, '/') = '\0';
	}
}

/* True when the comma-separated list holds the name. */
static bool has_controller(const char *list, size_t list_bytes, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p + n <= list + list_bytes; p++)
		if ((p == list || p[-1] == ',') && strncmp(p, name, n) == 0 &&
		    (p + n == list + list_bytes || p[n] == ','))
			return true;
	return false;
}

/* A line of /proc/self/cgroup: "0::/group" (version 2) or "4:cpu,cpuacct:/group". */
static void read_line(const char *root, const char *line, struct hth_cgroup *out)
{
	static const char *const mounts_v2[] = {"", "/unified"}, *const mounts_cpu[] = {"/cpu", "/cpu,cpuacct"};
	struct hierarchy h = {.v2 = strncmp(line, "0::", 3) == 0};
	const char *list = strchr(line, ':');
	const char *group = list == NULL ? NULL : strchr(++list, ':');

	if (group == NULL)
		return;
	size_t list_bytes = (size_t)(group++ - list);
	for (int i = 0; i < 2; i++) {
		snprintf(h.mount, sizeof h.mount, "%s/sys/fs/cgroup%s", root, h.v2 ? mounts_v2[i] : mounts_cpu[i]);
		if (h.v2)
			walk_up(&h, group, read_memory, out);
		if (h.v2 || has_controller(list, list_bytes, "cpu"))
			walk_up(&h, group, read_cpu, out);
	}
	if (!h.v2 && has_controller(list, list_bytes, "memory")) {
		snprintf(h.mount, sizeof h.mount, "%s/sys/fs/cgroup/memory", root);
		walk_up(&h, group, read_memory, out);
	}
}

void hth_cgroup_read(const char *root, struct hth_cgroup *out)
{
	char path[PATH_BYTES], text[SMALL_BYTES], *rest = text;

	*out = (struct hth_cgroup){.memory_bytes = UINT64_MAX, .memory_free_bytes = UINT64_MAX};
	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	hth_read_small(path, text, sizeof text);
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		read_line(root, line, out);
}
#else
typedef int hth_cgroup_linux_unused; /* ISO C wants a declaration in every file */
#endif
