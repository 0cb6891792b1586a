/* What this machine is and what this process may use of it: cores, memory, limits of a container, time. */
#ifndef HTH_BASE_MACHINE_H
#define HTH_BASE_MACHINE_H

#include "base/status.h"

#include <stdint.h>

struct hth_machine_info {
	char cpu[128];              /* "AMD EPYC", "Apple M3 Max" */
	char os[128];               /* "Linux 6.1", "macOS 15.1" */
	int cores;                  /* online logical cores */
	int usable_threads;         /* after affinity mask and cgroup cpu quota (rounded up), at least 1 */
	uint64_t total_bytes;       /* physical memory, or the cgroup's limit where lower */
	uint64_t available_bytes;   /* what a new process may take now, under the same limits */
	uint64_t l1d_bytes, l2_bytes, l3_bytes; /* per core / per core / shared; 0 when unknown */
	bool unified_memory;        /* Apple Silicon */
};

void hth_machine_info(struct hth_machine_info *out);
int hth_machine_threads(void);
double hth_now_s(void);            /* monotonic seconds */
/* This process's memory now and at its peak. anon: RssAnon (Linux; the peak is sampled by hth_mem_sample) or
 * phys_footprint (macOS); mapped: resident file pages. */
struct hth_mem_use {
	uint64_t anon_bytes, anon_peak_bytes, mapped_bytes;
};
void hth_mem_sample(struct hth_mem_use *out);

#endif
