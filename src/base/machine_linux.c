/* The machine on Linux: /proc, /sys, the affinity mask and the control groups. */
#ifdef __linux__
#include "base/machine.h"
#include "base/machine_int.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SMALL_BYTES 16384

/* The text behind "name" and its colon on a line of its own, or NULL. */
static const char *after_name(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = text; line != NULL && *line != '\0';) {
		if (strncmp(line, name, n) == 0) {
			const char *p = line + n;
			while (*p == ' ' || *p == '\t')
				p++;
			if (*p == ':')
				return p + 1;
		}
		line = strchr(line, '\n');
		line = line == NULL ? NULL : line + 1;
	}
	return NULL;
}

/* "MemTotal:  16384 kB" in bytes; 0 when there is none. */
static uint64_t kib_field(const char *text, const char *name)
{
	const char *p = after_name(text, name);

	return p == NULL ? 0 : (uint64_t)strtoull(p, NULL, 10) * 1024;
}

/* Copies one line, runs of blanks made one. */
static void copy_line(char *out, size_t out_bytes, const char *text)
{
	size_t n = 0;

	for (; *text != '\0' && *text != '\n' && n + 1 < out_bytes; text++) {
		bool blank = isspace((unsigned char)*text) != 0;
		if (blank && (n == 0 || out[n - 1] == ' '))
			continue;
		out[n++] = blank ? ' ' : *text;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void read_names(struct hth_machine_info *out)
{
	struct utsname u;
	char text[SMALL_BYTES];
	int major = 0, minor = 0;

	memset(&u, 0, sizeof u);
	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	snprintf(out->os, sizeof out->os, "Linux %d.%d", major, minor);
	hth_read_small("/proc/cpuinfo", text, sizeof text);
	const char *name = after_name(text, "model name");
	if (name == NULL)
		name = after_name(text, "Model"); /* boards with ARM cores */
	copy_line(out->cpu, sizeof out->cpu, name == NULL ? u.machine : name);
}

static void read_caches(struct hth_machine_info *out)
{
	for (int i = 0; i < 8; i++) {
		char path[96], level[16], type[32], size[32], *end;
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
		if (hth_read_small(path, level, sizeof level) == 0)
			break;
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
		hth_read_small(path, type, sizeof type);
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
		hth_read_small(path, size, sizeof size);
		uint64_t bytes = strtoull(size, &end, 10);
		bytes *= *end == 'K' ? 1024 : *end == 'M' ? 1 << 20 : 1;
		if (level[0] == '1' && type[0] == 'D')
			out->l1d_bytes = bytes;
		else if (level[0] == '2')
			out->l2_bytes = bytes;
		else if (level[0] == '3')
			out->l3_bytes = bytes;
	}
#ifdef _SC_LEVEL1_DCACHE_SIZE
	/* Some virtual machines show no cache folder, but the C library asks the processor. */
	uint64_t *const to[] = {&out->l1d_bytes, &out->l2_bytes, &out->l3_bytes};
	static const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
	for (int i = 0; i < 3; i++) {
		long bytes = *to[i] == 0 ? sysconf(names[i]) : 0;
		if (bytes > 0)
			*to[i] = (uint64_t)bytes;
	}
#endif
}

static int online_cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (int)n;
}

static int threads_within(const struct hth_cgroup *cg)
{
	cpu_set_t sets[8]; /* 8192 processors: one set alone fails on larger machines */
	int n = online_cores();

	if (sched_getaffinity(0, sizeof sets, sets) == 0) {
		int allowed = CPU_COUNT_S(sizeof sets, sets);
		if (allowed > 0 && allowed < n)
			n = allowed;
	}
	if (cg->cpus > 0 && cg->cpus < n) {
		int whole = (int)cg->cpus;
		n = whole + (cg->cpus > whole);
	}
	return n < 1 ? 1 : n;
}

int hth_machine_threads(void)
{
	struct hth_cgroup cg;

	hth_cgroup_read("", &cg);
	return threads_within(&cg);
}

void hth_machine_info(struct hth_machine_info *out)
{
	struct hth_cgroup cg;
	char text[SMALL_BYTES];

	memset(out, 0, sizeof *out);
	hth_cgroup_read("", &cg);
	read_names(out);
	read_caches(out);
	out->cores = online_cores();
	out->usable_threads = threads_within(&cg);
	hth_read_small("/proc/meminfo", text, sizeof text);
	out->total_bytes = kib_field(text, "MemTotal");
	out->available_bytes = kib_field(text, "MemAvailable");
	if (out->available_bytes == 0)
		out->available_bytes = kib_field(text, "MemFree");
	if (cg.memory_bytes < out->total_bytes)
		out->total_bytes = cg.memory_bytes;
	if (cg.memory_free_bytes < out->available_bytes)
		out->available_bytes = cg.memory_free_bytes;
}

void hth_mem_sample(struct hth_mem_use *out)
{
	char text[SMALL_BYTES];

	hth_read_small("/proc/self/status", text, sizeof text);
	out->anon_bytes = kib_field(text, "RssAnon");
	out->mapped_bytes = kib_field(text, "RssFile");
	out->anon_peak_bytes = hth_mem_peak(out->anon_bytes);
}
#else
typedef int hth_machine_linux_unused;
#endif
