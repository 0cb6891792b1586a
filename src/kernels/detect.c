/* What this processor and its system can run: one function per kernel set. Compiled without instruction-set flags, so
 * that nothing here can fault on an old processor.
 *
 * On x86 a flag of cpuid says that the processor has the instructions; XGETBV says that the system saves the
 * registers at a task switch. Both are needed; for AMX's tiles Linux wants to be asked, too. Sources: Intel SDM volume 1,
 * chapters 14, 15 and 18, and volume 2A (CPUID); Linux Documentation/arch/x86/xstate.rst. */
#include "kernels/detect.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <stddef.h>
#include <sys/sysctl.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xE6, XCR0_TILES = 0x60000 };

static bool system_saves(uint32_t xcr0_bits)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (a & xcr0_bits) == xcr0_bits;
}

bool hth_has_avx2(void)
{
	uint32_t a, b, c, d;

	if (!system_saves(XCR0_AVX) || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_F16C))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

bool hth_has_avx512(void)
{
	uint32_t a, b, c, d, need = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;

	if (!hth_has_avx2() || !system_saves(XCR0_AVX512))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & need) == need;
}

bool hth_has_avx512vnni(void)
{
	uint32_t a, b, c, d;

	return hth_has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_AVX512VNNI);
}

bool hth_has_avx512bf16(void)
{
	uint32_t a, b, c, d;

	return hth_has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
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

bool hth_has_amx(void)
{
	enum { BF16 = 1 << 22, TILE = 1 << 24 };
	uint32_t a, b, c, d;

	return hth_has_avx512bf16() && system_saves(XCR0_TILES) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) &&
	       (d & TILE) && tiles_granted();
}

/* AMX does 16 times the work. AMD's cores do as many VDPBF16PS as multiply-adds, of twice the work each; Intel's (Sapphire
 * Rapids, measured) half as many. */
bool hth_bf16_pays(void)
{
	uint32_t a, b, c, d;

	if (hth_has_amx())
		return true;
	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && hth_has_avx512bf16();
}
#elif !defined(__aarch64__)
bool hth_bf16_pays(void)
{
	return false;
}
#endif

bool hth_has_ref(void)
{
	return true;
}

#if defined(__aarch64__)
/* Part of every 64-bit Arm processor. */
bool hth_has_neon(void)
{
	return true;
}

#if defined(__linux__)
/* Bits of getauxval's words, for headers older than they are (Linux 5.6). */
enum { I8MM_BIT = 1 << 13, BF16_BIT = 1 << 14 };

bool hth_has_dotprod(void)
{
	return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

bool hth_has_i8mm(void)
{
	return hth_has_dotprod() && getauxval(AT_HWCAP2) & I8MM_BIT;
}

bool hth_has_neonbf16(void)
{
	return getauxval(AT_HWCAP2) & BF16_BIT;
}

/* Arm's own cores of 2021 and later, by what is published (docs/speed.md, bf16): Neoverse V1, N2, V2, Cortex-A710, X2. */
bool hth_bf16_pays(void)
{
	static const uint16_t parts[] = {0xD40, 0xD47, 0xD48, 0xD49, 0xD4F};
	enum { ARM = 0x41 };
	uint64_t id;

	if (!hth_has_neonbf16() || !(getauxval(AT_HWCAP) & HWCAP_CPUID))
		return false;
	__asm__("mrs %0, midr_el1" : "=r"(id)); /* Linux answers where HWCAP_CPUID says so */
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if ((id >> 24 & 0xFF) == ARM && (id >> 4 & 0xFFF) == parts[i])
			return true;
	return false;
}
#else
bool hth_has_dotprod(void)
{
#if defined(__APPLE__)
	return true; /* M1 and later */
#else
	return false;
#endif
}

/* Apple's cores from M2 on have SMMLA at half the rate of SDOT (M4: 7.9 and 15.1 billion a second): as much work, with more
 * instructions around it. So dotprod stays in force there. */
bool hth_has_i8mm(void)
{
	return false;
}

bool hth_has_neonbf16(void)
{
#if defined(__APPLE__)
	int value = 0;
	size_t bytes = sizeof value;

	return sysctlbyname("hw.optional.arm.FEAT_BF16", &value, &bytes, NULL, 0) == 0 && value != 0;
#else
	return false;
#endif
}

/* Apple's cores do fewer products a second with BFMMLA than with f32 multiply-adds (M4: 66 against 102 GFLOP/s). */
bool hth_bf16_pays(void)
{
	return false;
}
#endif
#endif
