/* What the platforms share: the clock and the memory peak. The rest is in machine_linux.c, cgroup_linux.c and
 * machine_macos.c. */
#include "base/machine.h"
#include "base/machine_int.h"

#include <stdatomic.h>
#include <time.h>

double hth_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

uint64_t hth_mem_peak(uint64_t now)
{
	static _Atomic uint64_t peak;
	uint64_t seen = atomic_load(&peak);

	while (now > seen)
		if (atomic_compare_exchange_weak(&peak, &seen, now))
			return now;
	return seen;
}
