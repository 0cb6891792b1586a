/* Between machine.c and its platform files. */
#ifndef HTH_BASE_MACHINE_INT_H
#define HTH_BASE_MACHINE_INT_H

#include <stdint.h>

/* Raises the process's peak to `now` if it is higher, returns the peak. Thread-safe. */
uint64_t hth_mem_peak(uint64_t now);

/* What the control groups of this process allow; UINT64_MAX and 0 cpus mean no limit. */
struct hth_cgroup {
	uint64_t memory_bytes;      /* the lowest limit on the way to the root */
	uint64_t memory_free_bytes; /* what is left below the tightest of them, page cache that can be dropped included
				     */
	double cpus;                /* quota / period */
};

/* Linux. root: where /proc and /sys are looked for, "" but in tests. */
void hth_cgroup_read(const char *root, struct hth_cgroup *out);
/* Reads a small file into buf, NUL-terminated; the bytes read, 0 if there is none. Allocates nothing. */
int hth_read_small(const char *path, char *buf, int buf_bytes);

#endif
