/* Which of the instruction sets that only the peaks use are here. Compiled without instruction-set flags.
 * Sources: Intel SDM volume 2A (CPUID) and volume 1, chapter 18; Linux Documentation/arch/x86/xstate.rst. */
#include "kernels/peak_int.h"

#if defined(__x86_64__)
#include "kernels/detect.h"

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Leaf 7, where these flags stand. */
static bool leaf7(uint32_t sub, uint32_t *eax, uint32_t *ecx, uint32_t *edx)
{
	uint32_t b;

	return __get_cpuid_count(7, sub, eax, &b, ecx, edx) != 0;
}

bool hth_peak_has_vnni(void)
{
	uint32_t a, c, d;

	return hth_has_avx512() && leaf7(0, &a, &c, &d) && (c >> 11 & 1) != 0;
}

bool hth_peak_has_avx512_bf16(void)
{
	uint32_t a, c, d;

	return hth_has_avx512() && leaf7(0, &a, &c, &d) && a >= 1 && leaf7(1, &a, &c, &d) && (a >> 5 & 1) != 0;
}

/* A process must ask for the tiles' 8 KB of state before it touches them. */
static bool tiles_granted(void)
{
#if defined(__linux__)
	enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

	return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
	return false;
#endif
}

bool hth_peak_has_amx(void)
{
	uint32_t a, b, c, d, low, high;

	if (!hth_has_avx512() || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	if ((low >> 17 & 3) != 3 || !leaf7(0, &a, &c, &d))
		return false;
	return (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0 && tiles_granted();
}
#else
typedef int hth_peak_x86_unused;
#endif
